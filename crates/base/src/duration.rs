//! Spans of time as text: "5ms", "1.5s", "2m".

use std::time::Duration;

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
