//! What of a title counts when names are compared.

use unicode_normalization::UnicodeNormalization;

/// Appends `text` in lower case, without accents, with single spaces and none at its ends.
pub(super) fn fold(text: &str, folded: &mut String) {
    let start = folded.len();
    let decomposed = text.nfkd().filter(|char| !is_accent(*char)).flat_map(char::to_lowercase);
    for char in decomposed.filter(|char| !is_accent(*char)) {
        match char {
            _ if char.is_whitespace() => {
                if folded.len() > start && !folded.ends_with(' ') {
                    folded.push(' ');
                }
            }
            // Letters that are not a plain one with an accent, as they are written without.
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'ø' => folded.push('o'),
            'ł' => folded.push('l'),
            'đ' | 'ð' => folded.push('d'),
            'þ' => folded.push_str("th"),
            'ı' => folded.push('i'),
            _ => folded.push(char),
        }
    }
    if folded.len() > start && folded.ends_with(' ') {
        folded.pop();
    }
}

/// The marks of Latin, Greek and Cyrillic letters. Those of other scripts are vowels and the like, which count.
fn is_accent(char: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&char)
}

/// The letters and digits of a folded text; of one that has none all but its spaces.
pub(super) fn letters(folded: &str, letters: &mut Vec<char>) {
    letters.clear();
    letters.extend(folded.chars().filter(|char| !is_punctuation(*char) && *char != ' '));
    if letters.is_empty() {
        letters.extend(folded.chars().filter(|char| *char != ' '));
    }
}

/// Visits the words of a folded text. Quotes and full stops stand inside words, other punctuation between them.
pub(super) fn for_each_word(folded: &str, mut visit: impl FnMut(&[char])) {
    let mut word = Vec::new();
    for char in folded.chars().chain([' ']) {
        if !is_punctuation(char) && char != ' ' {
            word.push(char);
        } else if !matches!(char, '\'' | '’' | '"' | '.' | '·') && !word.is_empty() {
            visit(&word);
            word.clear();
        }
    }
}

/// ASCII and general punctuation, and symbols: all that is neither a letter, a digit nor one of their marks.
fn is_punctuation(char: char) -> bool {
    if char.is_ascii() {
        return !char.is_ascii_alphanumeric();
    }
    !char.is_alphanumeric() && !unicode_normalization::char::is_combining_mark(char)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_texts_have_words_and_letters() {
        let check = |text: &str, expected: &str, words: &str, expected_letters: &str| {
            let (mut folded, mut of, mut found) = (String::new(), Vec::new(), Vec::new());
            fold(text, &mut folded);
            assert_eq!(folded, expected);
            letters(&folded, &mut of);
            assert_eq!(of.iter().collect::<String>(), expected_letters);
            for_each_word(&folded, |word| found.push(word.iter().collect::<String>()));
            assert_eq!(found.join(" "), words);
        };
        check("  The  Amélie\tFilm ", "the amelie film", "the amelie film", "theameliefilm");
        check("M*A*S*H", "m*a*s*h", "m a s h", "mash");
        check("What's Up, Doc?", "what's up, doc?", "whats up doc", "whatsupdoc");
        check(
            "İstanbul STRASSE Straße",
            "istanbul strasse strasse",
            "istanbul strasse strasse",
            "istanbulstrassestrasse",
        );
        check("...", "...", "", "...");
        check("हिन्दी", "हिन्दी", "हिन्दी", "हिन्दी");
        check("", "", "", "");
    }
}
