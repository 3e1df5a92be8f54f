//! What in a text may be a column, before the columns are known.

use std::collections::BTreeSet;

/// Everything in a feature that may be a column: the whole text, quoted identifiers, words outside of quotes. More than
/// the columns themselves, so that nothing right is refused; the schema sharpens it later.
pub fn words(feature: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let (mut word, mut quote) = (String::new(), None);
    for character in feature.chars().chain([' ']) {
        match (quote, character) {
            (Some(open), closing) if open == closing => {
                if open == '"' {
                    words.insert(std::mem::take(&mut word));
                }
                word.clear();
                quote = None;
            }
            (None, '"' | '\'') => quote = Some(character),
            (Some(_), other) => word.push(other),
            (None, other) if other.is_alphanumeric() || other == '_' => word.push(other),
            (None, _) => {
                words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
            }
        }
    }
    words.retain(|word| !word.is_empty() && !word.starts_with(|c: char| c.is_ascii_digit()));
    words.insert(feature.to_owned());
    words
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn columns_are_guessed_from_expressions() {
        let found = |feature: &str| words(feature).into_iter().collect::<Vec<_>>();
        assert_eq!(found("Open"), ["Open"]);
        assert_eq!(found("Town/City"), ["City", "Town", "Town/City"]);
        assert_eq!(found("abs(Close - 2)"), ["Close", "abs", "abs(Close - 2)"]);
        assert_eq!(found("\"A b\" || 'c d'"), ["\"A b\" || 'c d'", "A b"]);
    }
}
