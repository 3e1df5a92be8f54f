//! Sizes as text: "500MB", "10GB", "1GiB", or a plain number of bytes.

const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// The rule and the remedy, when `text` is no size.
pub fn size(text: &str) -> Result<u64, String> {
    let rule = "expected a whole number and a unit (B, kB, MB, GB, TB, KiB, MiB, GiB), such as \"10GB\"";
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim_start());
    let number: u64 = number.parse().map_err(|_| rule.to_owned())?;
    let Some((_, bytes)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("{rule}; there is no unit `{unit}`"));
    };
    number.checked_mul(*bytes).filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn a_size_is_a_number_and_a_unit() {
        for (text, bytes) in [("7", 7), ("10GB", 10_000_000_000), ("64 KiB", 65_536), (" 5kB ", 5000)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for (text, said) in [
            ("", "whole number"),
            ("GB", "whole number"),
            ("1.5GB", "no unit `.5GB`"),
            ("3gb", "no unit `gb`"),
            ("-1", "whole number"),
            ("99999999999GB", "too large"),
        ] {
            let error = size(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
