//! Instants as text, in UTC: `2023-11-14T22:13:20.000Z`. Pure arithmetic on the proleptic Gregorian calendar.

pub const DAY_MS: i64 = 86_400_000;

/// Writes milliseconds since the epoch as ISO 8601. An instant outside the years 0 to 9999, which no four digits hold, is
/// written as the number.
pub fn write_instant(ms: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(ms.div_euclid(DAY_MS));
    if !(0..=9999).contains(&year) {
        out.extend_from_slice(ms.to_string().as_bytes());
        return;
    }
    let of_day = ms.rem_euclid(DAY_MS);
    let mut digits = |value: i64, width: u32, after: u8| {
        for place in (0..width).rev() {
            out.push(b'0' + u8::try_from(value / 10_i64.pow(place) % 10).unwrap_or(0));
        }
        out.push(after);
    };
    digits(year, 4, b'-');
    digits(month, 2, b'-');
    digits(day, 2, b'T');
    digits(of_day / 3_600_000, 2, b':');
    digits(of_day / 60_000 % 60, 2, b':');
    digits(of_day / 1_000 % 60, 2, b'.');
    digits(of_day % 1_000, 3, b'Z');
}

/// Reads what `write_instant` writes.
pub fn read_instant(text: &str) -> Option<i64> {
    const FORM: &[u8; 24] = b"0000-00-00T00:00:00.000Z";
    let bytes = text.as_bytes();
    let fits = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
    if bytes.len() != FORM.len() || !bytes.iter().zip(FORM).all(fits) {
        return text.parse().ok();
    }
    let number = |from: usize, to: usize| bytes[from..to].iter().fold(0, |sum, byte| sum * 10 + i64::from(byte - b'0'));
    let days = days(number(0, 4), number(5, 7), number(8, 10))?;
    let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
    (hour < 24 && minute < 60 && second < 60)
        .then(|| days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1_000 + number(20, 23))
}

/// Year, month and day of a day counted from 1970-01-01. Years are counted from March, so that the leap day is the last of
/// its year, in eras of 400 years of 146,097 days.
fn civil(day: i64) -> (i64, i64, i64) {
    let from_march = day + 719_468;
    let (era, day_of_era) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_year - (153 * month_from_march + 2) / 5 + 1)
}

/// The inverse of `civil`; `None`: the calendar has no such day.
pub fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) {
        return None;
    }
    let year_from_march = year - i64::from(month <= 2);
    let (era, year_of_era) = (year_from_march.div_euclid(400), year_from_march.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let found = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    (civil(found) == (year, month, day)).then_some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(ms: i64) -> String {
        let mut out = Vec::new();
        write_instant(ms, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn instants_are_iso_8601_in_utc() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "253402300800000"),
            (i64::MIN, "-9223372036854775808"),
        ] {
            assert_eq!(text(ms), expected);
            assert_eq!(read_instant(expected), Some(ms));
        }
        for wrong in ["", "2023-02-30T00:00:00.000Z", "2023-13-01T00:00:00.000Z", "2023-01-01T24:00:00.000Z", "soon"] {
            assert_eq!(read_instant(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_instant_comes_back(ms in prop_oneof![any::<i64>(), -70_000_000_000_000_i64..260_000_000_000_000]) {
            prop_assert_eq!(read_instant(&text(ms)), Some(ms));
        }
    }
}
