//! Numbers and times as people read them. Pure.

use millstream_base::grouped;

/// 2330000 → `2,330,000`.
pub fn count(number: u64) -> String {
    grouped(&number.to_string())
}

/// Four significant digits, or all whole ones: `31,450`, `28.31`, `0.004127`.
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs();
    if !(1e-4..1e15).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let decimals = match magnitude {
        m if m >= 1000.0 => 0,
        m if m >= 100.0 => 1,
        m if m >= 10.0 => 2,
        m if m >= 1.0 => 3,
        m if m >= 0.1 => 4,
        m if m >= 0.01 => 5,
        _ => 6,
    };
    let text = format!("{magnitude:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let sign = if value < 0.0 { "−" } else { "" };
    format!("{sign}{}{point}{fraction}", grouped(whole))
}

/// Milliseconds since the epoch as `2026-11-21 06:02:33` (UTC).
pub fn time(milliseconds: i64) -> String {
    let seconds = milliseconds.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// Milliseconds since the epoch as `06:02:33 UTC`.
pub fn clock(milliseconds: i64) -> String {
    let time = time(milliseconds);
    format!("{} UTC", time.split_once(' ').map_or("", |(_, clock)| clock))
}

/// `3 s`, `2 min 5 s`, `1 h 3 min`.
pub fn seconds(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    let parts = |of: f64| ((seconds / of).floor(), (seconds % of / (of / 60.0)).floor());
    match seconds {
        s if s < 10.0 => format!("{} s", number((s * 10.0).round() / 10.0)),
        s if s < 60.0 => format!("{s:.0} s"),
        s if s < 3600.0 => format!("{} min {} s", parts(60.0).0, parts(60.0).1),
        _ => format!("{} h {} min", parts(3600.0).0, parts(3600.0).1),
    }
}

/// Days since 1970-01-01 as a date of the Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// `[1, 2, 3, 5]` → `1–3, 5`.
pub fn ranges(numbers: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if number == last.saturating_add(1) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let texts = runs.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}–{last}"),
    });
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        for (value, text) in [
            (31_450.2, "31,450"),
            (28.307, "28.31"),
            (0.004_127, "0.004127"),
            (1.0, "1"),
            (-1234.0, "−1,234"),
            (0.0, "0"),
            (1e300, "1.000e300"),
            (0.5, "0.5"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(count(2_330_000), "2,330,000");
        assert_eq!(count(7), "7");
    }

    #[test]
    fn times_are_dates() {
        assert_eq!(time(0), "1970-01-01 00:00:00");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(time(1_325_412_060_000), "2012-01-01 10:01:00");
        assert_eq!(time(-1), "1969-12-31 23:59:59");
    }

    #[test]
    fn a_time_span_is_short() {
        for (span, text) in [(0.0, "0 s"), (0.44, "0.4 s"), (12.3, "12 s"), (125.0, "2 min 5 s"), (3780.0, "1 h 3 min")]
        {
            assert_eq!(seconds(span), text);
        }
    }

    #[test]
    fn neighbours_are_a_range() {
        assert_eq!(ranges(&[1, 2, 3, 5]), "1–3, 5");
        assert_eq!(ranges(&[]), "");
    }
}
