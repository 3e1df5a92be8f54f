//! From a text to the terms that are counted: its Unicode words, lower-cased, without stop words, stemmed.

use std::borrow::Cow;

use rust_stemmers::{Algorithm, Stemmer};
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

use super::stop_words::ENGLISH;

/// A language with a stemmer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Language(usize);

const LANGUAGES: [(&str, Algorithm); 18] = [
    ("arabic", Algorithm::Arabic),
    ("danish", Algorithm::Danish),
    ("dutch", Algorithm::Dutch),
    ("english", Algorithm::English),
    ("finnish", Algorithm::Finnish),
    ("french", Algorithm::French),
    ("german", Algorithm::German),
    ("greek", Algorithm::Greek),
    ("hungarian", Algorithm::Hungarian),
    ("italian", Algorithm::Italian),
    ("norwegian", Algorithm::Norwegian),
    ("portuguese", Algorithm::Portuguese),
    ("romanian", Algorithm::Romanian),
    ("russian", Algorithm::Russian),
    ("spanish", Algorithm::Spanish),
    ("swedish", Algorithm::Swedish),
    ("tamil", Algorithm::Tamil),
    ("turkish", Algorithm::Turkish),
];

impl Language {
    pub fn from_name(name: &str) -> Option<Language> {
        LANGUAGES.iter().position(|(known, _)| *known == name).map(Language)
    }

    pub fn name(self) -> &'static str {
        LANGUAGES[self.0].0
    }

    pub fn names() -> impl Iterator<Item = &'static str> {
        LANGUAGES.iter().map(|(name, _)| *name)
    }
}

/// Which words are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopWords {
    None,
    English,
}

impl StopWords {
    pub fn from_name(name: &str) -> Option<StopWords> {
        [StopWords::None, StopWords::English].into_iter().find(|words| words.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            StopWords::None => "none",
            StopWords::English => "english",
        }
    }

    fn contains(self, word: &str) -> bool {
        match self {
            StopWords::None => false,
            StopWords::English => ENGLISH.binary_search(&word).is_ok(),
        }
    }
}

/// What makes terms of words, the same at the fit and for a text asked about.
pub(super) struct Analyser {
    stemmer: Option<Stemmer>,
    stop_words: StopWords,
}

impl Analyser {
    pub(super) fn new(stem: Option<Language>, stop_words: StopWords) -> Analyser {
        Analyser { stemmer: stem.map(|language| Stemmer::create(LANGUAGES[language.0].1)), stop_words }
    }

    /// Whether every word is the term it counts as.
    pub(super) fn keeps_words(&self) -> bool {
        self.stemmer.is_none() && self.stop_words == StopWords::None
    }

    /// The term that a lower-cased word counts as; `None` for a stop word.
    pub(super) fn term<'a>(&self, word: &'a str) -> Option<Cow<'a, str>> {
        if self.stop_words.contains(word) {
            return None;
        }
        match &self.stemmer {
            None => Some(Cow::Borrowed(word)),
            Some(stemmer) => Some(stemmer.stem(word)),
        }
    }
}

/// Visits the words of `text` (Unicode Standard Annex 29, of which those with a letter or digit), lower-cased. What looks
/// alike is alike: compatibility forms are decomposed and composed again, and ’ is '.
pub(super) fn for_each_word(text: &str, mut visit: impl FnMut(&str)) {
    let mut lower = String::new();
    if text.is_ascii() {
        return for_each_ascii_word(text, &mut lower, &mut visit);
    }
    // No word has a space in it, and the parts that are ASCII are segmented many times faster.
    for part in text.split(' ') {
        if part.is_ascii() {
            for_each_ascii_word(part, &mut lower, &mut visit);
        } else {
            let part: String = part.nfkc().map(|char| if char == '’' { '\'' } else { char }).collect();
            part.unicode_words().for_each(|word| visit(&word.to_lowercase()));
        }
    }
}

fn for_each_ascii_word(text: &str, lower: &mut String, visit: &mut impl FnMut(&str)) {
    for word in text.unicode_words() {
        lower.clear();
        lower.push_str(word);
        lower.make_ascii_lowercase();
        visit(lower);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        for_each_word(text, |word| words.push(word.to_owned()));
        words
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(words(text).join(" "), expected, "{text:?}");
    }

    #[test]
    fn words_are_unicode_words_in_lower_case() {
        check(
            "The quick (\"brown\") fox can't jump 32.3 feet, right?",
            "the quick brown fox can't jump 32.3 feet right",
        );
        check("Computers&Accessories|Cables", "computers accessories cables");
        check("don’t ÜBER Straße ΟΔΟΣ", "don't über straße οδος");
        check("Ame\u{301}lie ﬁlm", "amélie film");
        check("七人の侍", "七 人 の 侍");
        check("", "");
        check(" %_*.+?^${}()|[]\\'\" ", "");
    }

    #[test]
    fn terms_are_stems_of_words_that_are_no_stop_words() {
        let check = |stem: &str, stop_words, word: &str, expected: Option<&str>| {
            let analyser = Analyser::new(Language::from_name(stem), stop_words);
            assert_eq!(analyser.term(word).as_deref(), expected, "{word}");
        };
        check("none", StopWords::None, "running", Some("running"));
        check("english", StopWords::None, "running", Some("run"));
        check("english", StopWords::English, "the", None);
        check("english", StopWords::English, "don't", None);
        check("german", StopWords::None, "häuser", Some("haus"));
        for (at, name) in Language::names().enumerate() {
            assert_eq!(Language::from_name(name), Some(Language(at)));
        }
    }

    #[test]
    fn the_stop_words_can_be_searched() {
        assert!(ENGLISH.is_sorted_by(|a, b| a < b));
        assert!(ENGLISH.iter().all(|word| words(word) == [*word]), "a stop word must be one word");
    }

    proptest! {
        #[test]
        fn splitting_at_spaces_changes_no_word(text in "[ a-cé'’.,:;_0-9あ\u{301}\u{200d}]{0,30}") {
            let whole: String = text.nfkc().map(|char| if char == '’' { '\'' } else { char }).collect();
            let expected: Vec<String> = whole.unicode_words().map(str::to_lowercase).collect();
            prop_assert_eq!(words(&text), expected);
        }
    }
}
