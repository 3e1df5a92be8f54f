//! JSON as other programs write it: `NaN`, `Infinity` and `-Infinity` are null, half a surrogate pair is U+FFFD.

const ESCAPE_BYTES: usize = 6;

/// The text with these mended; `None`: there is nothing to mend. Whether the rest is JSON is for its reader to say.
pub fn mended(text: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut copied, mut at, mut in_text) = (Vec::new(), 0, 0, false);
    while let Some(byte) = text.get(at) {
        let rest = &text[at..];
        let (passed, instead): (usize, &[u8]) = match byte {
            b'"' => {
                in_text = !in_text;
                (1, b"")
            }
            b'\\' if in_text => match surrogate(rest) {
                Some(0xd800..0xdc00) if matches!(surrogate(&rest[ESCAPE_BYTES..]), Some(0xdc00..0xe000)) => {
                    (2 * ESCAPE_BYTES, b"")
                }
                Some(_) => (ESCAPE_BYTES, b"\\ufffd"),
                None => (2, b""),
            },
            b'N' if !in_text && rest.starts_with(b"NaN") => (3, b"null"),
            b'I' if !in_text && rest.starts_with(b"Infinity") => (8, b"null"),
            b'-' if !in_text && rest.starts_with(b"-Infinity") => (9, b"null"),
            _ => (1, b""),
        };
        if !instead.is_empty() {
            out.extend_from_slice(&text[copied..at]);
            out.extend_from_slice(instead);
            copied = at + passed;
        }
        at += passed;
    }
    if copied == 0 {
        return None;
    }
    out.extend_from_slice(&text[copied..]);
    Some(out)
}

/// The code of an escape `\ud800` to `\udfff` at the start.
fn surrogate(rest: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(rest.strip_prefix(b"\\u")?.get(..4)?).ok()?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u32::from_str_radix(digits, 16).ok().filter(|code| is_hex && (0xd800..0xe000).contains(code))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let found = mended(text.as_bytes()).map(|found| String::from_utf8(found).unwrap());
        assert_eq!(found.as_deref(), expected, "{text}");
        if let Some(found) = found {
            serde_json::from_str::<serde_json::Value>(&found).unwrap_or_else(|error| panic!("{found}: {error}"));
        }
    }

    #[test]
    fn what_json_does_not_know_is_mended_outside_and_inside_of_texts() {
        check(r#"{"a":NaN,"b":[-Infinity, Infinity]}"#, Some(r#"{"a":null,"b":[null, null]}"#));
        check(r#"{"a":"NaN \" -Infinity","b":-1}"#, None);
        check(r#"{"a":"\ud83d\ude00 \u00e9 \\ud800"}"#, None);
        check(r#"{"a":"\ud83dx","b":"\ude00","c":"\uD83D"}"#, Some(r#"{"a":"\ufffdx","b":"\ufffd","c":"\ufffd"}"#));
        check(r#"{"a":"\ud83d\ud83d\ude00"}"#, Some(r#"{"a":"\ufffd\ud83d\ude00"}"#));
        check("", None);
        assert_eq!(mended(b"\"\\"), None);
        assert_eq!(mended(b"\"\\ud8"), None);
    }

    proptest! {
        #[test]
        fn json_is_never_changed(value in proptest::collection::vec("(?s).{0,12}", 0..5), numbers in proptest::collection::vec(any::<f64>(), 0..5)) {
            let text = serde_json::json!({ "texts": value, "numbers": numbers }).to_string();
            prop_assert_eq!(mended(text.as_bytes()), None);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\\'), Just(b'"'), Just(b'u'), Just(b'd')], 0..60)) {
            let _ = mended(&bytes);
        }
    }
}
