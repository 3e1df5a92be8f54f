//! A text as a number, as people write them. Pure.

use super::payload::is_json_number;

/// What a text is, as far as numbers care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberText<'a> {
    /// Without the blanks around it; what `f64` and, of a whole one, `i64` parse.
    Number {
        text: &'a str,
        is_whole: bool,
    },
    /// `007` and `+48600123456`: a code, and a number only to who says so.
    Code(&'a str),
    /// NaN and the infinities: no value.
    NotFinite,
    Other,
}

/// Digits after a plus: as many are a telephone number.
const TELEPHONE_DIGITS: usize = 7;

/// Blanks around it, a plus before it and a point at either end of the digits are no harm.
pub fn number_text(text: &str) -> NumberText<'_> {
    let text = text.trim();
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let Some(shape) = Grammar::of(unsigned.as_bytes()) else {
        return if is_not_finite(unsigned) { NumberText::NotFinite } else { NumberText::Other };
    };
    let is_telephone = text.starts_with('+') && shape.is_whole && shape.digits >= TELEPHONE_DIGITS;
    if shape.is_padded || is_telephone {
        return NumberText::Code(text);
    }
    // Only an exponent or hundreds of digits leave the range.
    if shape.has_exponent || text.len() > 300 {
        return match finite(text) {
            Some(_) => NumberText::Number { text, is_whole: shape.is_whole },
            None => NumberText::Other,
        };
    }
    NumberText::Number { text, is_whole: shape.is_whole }
}

fn is_not_finite(unsigned: &str) -> bool {
    ["nan", "inf", "infinity"].iter().any(|name| name.eq_ignore_ascii_case(unsigned))
}

/// Beyond the range of f64 it is none.
#[inline]
pub fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// What JSON calls a number.
#[inline]
pub fn json_number(text: &str) -> Option<f64> {
    if is_json_number(text.as_bytes()) { finite(text) } else { None }
}

/// `digits* (. digits*)? ([eE] [+-]? digits+)?`, with a digit before the exponent.
struct Grammar {
    /// Before the point.
    digits: usize,
    is_whole: bool,
    /// A zero before other digits.
    is_padded: bool,
    has_exponent: bool,
}

impl Grammar {
    fn of(bytes: &[u8]) -> Option<Self> {
        let count = |rest: &[u8]| rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = count(bytes);
        let is_padded = digits > 1 && bytes[0] == b'0';
        let mut rest = &bytes[digits..];
        let is_whole = rest.is_empty();
        let mut decimals = 0;
        if let [b'.', fraction @ ..] = rest {
            decimals = count(fraction);
            rest = &fraction[decimals..];
        }
        let has_exponent = matches!(rest, [b'e' | b'E', ..]);
        if let [b'e' | b'E', exponent @ ..] = rest {
            let exponent = exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent);
            rest = if exponent.is_empty() { rest } else { &exponent[count(exponent)..] };
        }
        (digits + decimals > 0 && rest.is_empty()).then_some(Self { digits, is_whole, is_padded, has_exponent })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        match number_text(text) {
            NumberText::Number { text, is_whole: true } => format!("whole {}", text.parse::<i128>().unwrap()),
            NumberText::Number { text, is_whole: false } => format!("real {}", finite(text).unwrap()),
            NumberText::Code(text) => format!("code {text}"),
            NumberText::NotFinite => "not finite".to_owned(),
            NumberText::Other => "other".to_owned(),
        }
    }

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for (text, expected) in [
            ("0", "whole 0"),
            ("-0", "whole 0"),
            (" 12\t", "whole 12"),
            ("+5", "whole 5"),
            ("+123456", "whole 123456"),
            ("18446744073709551616", "whole 18446744073709551616"),
            ("+1.5", "real 1.5"),
            (".5", "real 0.5"),
            ("-.5", "real -0.5"),
            ("5.", "real 5"),
            ("1e3", "real 1000"),
            ("1.5E-3", "real 0.0015"),
            ("0.5", "real 0.5"),
            ("0e7", "real 0"),
            ("007", "code 007"),
            ("-007", "code -007"),
            ("00.5", "code 00.5"),
            ("00", "code 00"),
            ("+48600123456", "code +48600123456"),
            ("+1234567", "code +1234567"),
            ("NaN", "not finite"),
            ("-inf", "not finite"),
            ("+Infinity", "not finite"),
            ("1e999", "other"),
            ("", "other"),
            (".", "other"),
            ("-", "other"),
            ("+-1", "other"),
            ("1e", "other"),
            ("1e+", "other"),
            ("e5", "other"),
            (".e5", "other"),
            ("1.2.3", "other"),
            ("1 2", "other"),
            ("0x1f", "other"),
            ("1_000", "other"),
            ("12a", "other"),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_json_calls_a_number_is_the_same_number(text in "-?(0|[1-9][0-9]{0,4})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?") {
            let NumberText::Number { text: found, is_whole } = number_text(&text) else { panic!("{text}") };
            prop_assert_eq!(finite(found), json_number(&text));
            prop_assert_eq!(is_whole, text.parse::<i64>().is_ok());
        }

        #[test]
        fn any_text_is_read_and_a_number_parses(text in ".{0,12}|[-+0-9.eE ]{0,9}") {
            if let NumberText::Number { text, .. } | NumberText::Code(text) = number_text(&text) {
                prop_assert!(text.parse::<f64>().is_ok());
            }
        }
    }
}
