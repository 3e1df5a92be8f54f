//! Spans of time as text: "5ms", "1.5s", "2m", and ranges of them: "0ms..5ms".

use std::time::Duration;

use super::Pace;

const UNITS: [(&str, f64); 6] = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0)];

/// The rule and the remedy, when `text` is no duration.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim_start());
    let rule = || "expected a number and a unit (us, ms, s, m, h, d), such as \"5ms\"".to_owned();
    let number: f64 = number.parse().map_err(|_| rule())?;
    let Some((_, seconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(match unit {
            "" => format!("{}: the unit is missing", rule()),
            unit => format!("{}; there is no unit `{unit}`", rule()),
        });
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| "too long".to_owned())
}

/// `source.delay`: one duration, or `low..high`.
pub fn delay(text: &str) -> Result<Pace, String> {
    let Some((low, high)) = text.split_once("..") else {
        let fixed = duration(text)?;
        return Ok(if fixed.is_zero() { Pace::FullSpeed } else { Pace::Fixed(fixed) });
    };
    let (low, high) = (duration(low)?, duration(high)?);
    if low > high {
        return Err("the low end must not be above the high end; swap them".to_owned());
    }
    Ok(match (low, high) {
        _ if high.is_zero() => Pace::FullSpeed,
        _ if low == high => Pace::Fixed(low),
        _ => Pace::Uniform { low, high },
    })
}
