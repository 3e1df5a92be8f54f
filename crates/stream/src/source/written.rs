//! Numbers as people write them: with thousands, a decimal comma, a currency or a percent sign. Tells how a column is written, and the
//! SQL that reads it. Pure.

use std::collections::BTreeSet;

/// Between the thousands of a number, besides the point or the comma that is not its decimal one.
const BLANKS: [char; 4] = [' ', '\u{a0}', '\u{202f}', '\''];
const SIGNS: [char; 17] = ['$', '€', '£', '¥', '₹', '₽', '₩', '₺', '₴', '₫', '₦', '₱', '฿', '₪', '¢', '%', '‰'];

/// How the numbers of a column are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberForm {
    /// `.` or `,`.
    pub decimal: char,
    pub thousands: Option<char>,
    /// Before or after the digits of some.
    pub signs: BTreeSet<char>,
    /// Another reading is possible too: `1,234` may be 1.234.
    pub is_ambiguous: bool,
}

/// A point and a comma, in each role; the likelier reading comes first.
fn readings() -> impl Iterator<Item = (char, Option<char>)> {
    let plain = [('.', None), ('.', Some(',')), (',', None), (',', Some('.'))];
    let blank = BLANKS.into_iter().flat_map(|blank| [('.', Some(blank)), (',', Some(blank))]);
    plain.into_iter().chain(blank)
}

impl NumberForm {
    /// That of all these values; `None`: they have none in common, or nothing sets them apart from plain numbers.
    pub fn of<'a>(values: impl Iterator<Item = &'a str> + Clone) -> Option<Self> {
        let mut signs = BTreeSet::new();
        let mut found = None;
        for value in values.clone() {
            signs.extend(apart(value)?.1);
        }
        for (decimal, thousands) in readings() {
            let fits = |value: &str| apart(value).is_some_and(|(digits, _)| is_number(&digits, decimal, thousands));
            if values.clone().all(fits) {
                match &mut found {
                    None => found = Some(Self { decimal, thousands, signs: signs.clone(), is_ambiguous: false }),
                    Some(form) => form.is_ambiguous |= form.thousands == Some(','),
                }
            }
        }
        found.filter(|form| form.decimal != '.' || form.thousands.is_some() || !form.signs.is_empty())
    }

    /// Of the column, whose name is SQL already.
    pub fn sql(&self, column: &str) -> String {
        let mut sql = column.to_owned();
        let mut replace = |found: char, by: &str| {
            let found = if found == '\'' { "''".to_owned() } else { found.to_string() };
            sql = format!("replace({sql}, '{found}', '{by}')");
        };
        self.signs.iter().for_each(|sign| replace(*sign, ""));
        if let Some(thousands) = self.thousands {
            replace(thousands, "");
        }
        if self.decimal == ',' {
            replace(',', ".");
        }
        sql
    }

    /// In words: `a decimal comma, thousands by "."`.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        if self.decimal == ',' {
            words.push("a decimal comma".to_owned());
        }
        if let Some(thousands) = self.thousands {
            words.push(format!("thousands by {thousands:?}"));
        }
        if !self.signs.is_empty() {
            words.push(self.signs.iter().collect());
        }
        words.join(", ")
    }
}

/// A number in some reading.
pub fn is_numberish(text: &str) -> bool {
    apart(text).is_some_and(|(digits, _)| readings().any(|(decimal, thousands)| is_number(&digits, decimal, thousands)))
}

/// A text without the signs at its ends and the blanks around, and those signs.
fn apart(text: &str) -> Option<(String, Vec<char>)> {
    let is_sign = |c: char| SIGNS.contains(&c);
    let text = text.trim();
    let (minus, text) = match text.strip_prefix('-') {
        Some(text) => ("-", text.trim_start()),
        None => ("", text),
    };
    let inner = text.trim_matches(|c: char| is_sign(c) || c.is_whitespace());
    if !inner.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | ',')) {
        return None;
    }
    Some((format!("{minus}{inner}"), text.chars().filter(|c| is_sign(*c)).collect()))
}

fn is_number(text: &str, decimal: char, thousands: Option<char>) -> bool {
    let begins_with_plus = text.starts_with('+');
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if exponent.is_some_and(|exponent| !digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))) {
        return false;
    }
    let (whole, fraction) = match number.split_once(decimal) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    if fraction.is_some_and(|fraction| !fraction.is_empty() && !digits(fraction)) {
        return false;
    }
    match thousands.filter(|thousands| whole.contains(*thousands)) {
        None => digits(whole) || whole.is_empty() && fraction.is_some_and(digits),
        Some(thousands) => {
            // Thousands of three digits; of lakhs and crores the groups before the last have two.
            let groups: Vec<&str> = whole.split(thousands).collect();
            let last = groups.len() - 1;
            // Codes and telephone numbers are no numbers.
            !begins_with_plus
                && !groups[0].starts_with('0')
                && groups.iter().enumerate().all(|(i, group)| {
                    let fits = match i {
                        0 => (1..=3).contains(&group.len()),
                        _ if i == last => group.len() == 3,
                        _ => (2..=3).contains(&group.len()),
                    };
                    fits && digits(group)
                })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_their_column_writes_them() {
        let check = |values: &[&str], expected: Option<&str>| {
            let form = NumberForm::of(values.iter().copied());
            assert_eq!(form.map(|form| form.sql("x")).as_deref(), expected, "{values:?}");
        };
        check(&["1.5", "-3", "1e3", ".5", "5."], None);
        check(&["1,5", "20,25"], Some("replace(x, ',', '.')"));
        check(&["1.234,5", "7"], Some("replace(replace(x, '.', ''), ',', '.')"));
        check(&["1,234.5", "1,000,000"], Some("replace(x, ',', '')"));
        check(&["₹1,39,900", "₹649"], Some("replace(replace(x, '₹', ''), ',', '')"));
        check(&["64%", "7 %"], Some("replace(x, '%', '')"));
        check(&["1 234,5", "12"], Some("replace(replace(x, ' ', ''), ',', '.')"));
        check(&["1'234.50"], Some("replace(x, '''', '')"));
        check(&["-$5.10", "$-3"], Some("replace(x, '$', '')"));
        check(&["022 123 456"], None);
        check(&["+48 600 100 200"], None);
        check(&["12 min"], None);
        check(&["1,2,3"], None);
        check(&["2020-01-05"], None);
        check(&["a", "1"], None);
        let ambiguous = |values: &[&str]| NumberForm::of(values.iter().copied()).unwrap().is_ambiguous;
        assert!(ambiguous(&["1,234", "5,678"]) && !ambiguous(&["1,234", "5,678.9"]) && !ambiguous(&["1,5"]));
    }
}
