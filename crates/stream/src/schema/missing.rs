//! Texts that stand for a missing value in many files.

/// In any case.
const MARKERS: [&str; 26] = [
    "", "na", "n/a", "n.a.", "#n/a", "#na", "<na>", "nan", "null", "(null)", "#null!", "none", "nil", "#div/0!",
    "#value!", "#ref!", "\\n", "?", "-", "--", "---", "–", "—", ".", "..", "...",
];

/// Those that are usual, as they are written: of a stream whose other texts are still to come.
pub const USUAL_MARKERS: [&str; 16] =
    ["", "NA", "N/A", "n/a", "na", "NaN", "nan", "null", "NULL", "None", "\\N", "?", "-", "--", "..", "."];

pub fn is_missing_marker(text: &str) -> bool {
    let text = text.trim();
    text == "…" || MARKERS.iter().any(|marker| marker.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_known_in_any_case_and_those_of_samples_are_among_them() {
        for marker in ["NA", "n/a", " ? ", "None", "NULL", "\\N", "..", "", "  ", "#DIV/0!", "…"] {
            assert!(is_missing_marker(marker), "{marker:?}");
        }
        for text in ["0", "x", "no", "unknown", "-1", "nano"] {
            assert!(!is_missing_marker(text), "{text:?}");
        }
        assert!(USUAL_MARKERS.iter().all(|marker| is_missing_marker(marker)));
    }
}
