//! Patterns of `like`: `%` stands for any text, `_` for one character, `\` before one of them for itself. Matching takes time linear
//! in the text, whatever the pattern: what stands between two `%` is taken where it is found first, and never looked for again.

use std::collections::BTreeMap;

/// Of the characters between two `%`, where one of them is `_`: each has a bit of the number that the search is done with.
pub(super) const RUN_CHARS: usize = 128;

/// A pattern, ready to be matched.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    ignores_case: bool,
    /// No shorter text matches, in characters.
    chars_least: usize,
    /// Before the first `%`; everything, where there is none.
    start: Run,
    /// After the first `%`: what is between two, and what is after the last.
    rest: Option<(Vec<Search>, Run)>,
}

/// What stands between two `%`. `None` is any character.
type Run = Vec<Option<char>>;

#[derive(Debug, Clone)]
enum Search {
    Plain(String),
    /// The bits of a character are the places of the run where it may stand (Baeza-Yates, Gonnet 1992: "shift-and").
    Places {
        bits: BTreeMap<char, u128>,
        anywhere: u128,
        last: u128,
    },
}

impl Pattern {
    /// `None`: there are too many characters between two `%` where one of them is `_`.
    pub(super) fn new(text: &str, ignores_case: bool) -> Option<Self> {
        let mut runs = vec![Run::new()];
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            let piece = match letter {
                '%' => {
                    runs.push(Run::new());
                    continue;
                }
                '_' => None,
                // At the end it stands for itself.
                '\\' => Some(letters.next().unwrap_or('\\')),
                letter => Some(letter),
            };
            let piece = piece.map(|letter| if ignores_case { folded(letter) } else { letter });
            if let Some(run) = runs.last_mut() {
                run.push(piece);
            }
        }
        let chars_least = runs.iter().map(Vec::len).sum();
        let mut runs = runs.into_iter();
        let start = runs.next()?;
        let rest = match runs.next_back() {
            Some(end) => {
                let between: Option<Vec<Search>> = runs.filter(|run| !run.is_empty()).map(Search::new).collect();
                Some((between?, end))
            }
            None => None,
        };
        Some(Self { text: text.to_owned(), ignores_case, chars_least, start, rest })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn ignores_case(&self) -> bool {
        self.ignores_case
    }

    pub fn matches(&self, text: &str) -> bool {
        if text.len() < self.chars_least {
            return false;
        }
        if self.ignores_case { self.matches_as_it_is(&fold_case(text)) } else { self.matches_as_it_is(text) }
    }

    /// Of a text that is folded already, where the pattern ignores case.
    pub fn matches_as_it_is(&self, text: &str) -> bool {
        let mut letters = text.chars();
        if !self.start.iter().all(|piece| letters.next().is_some_and(|letter| fits(*piece, letter))) {
            return false;
        }
        let Some((between, end)) = &self.rest else { return letters.next().is_none() };
        if !end.iter().rev().all(|piece| letters.next_back().is_some_and(|letter| fits(*piece, letter))) {
            return false;
        }
        between.iter().try_fold(letters.as_str(), |rest, search| search.after_first(rest)).is_some()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.ignores_case) == (&other.text, other.ignores_case)
    }
}

impl Search {
    fn new(run: Run) -> Option<Self> {
        if let Some(plain) = run.iter().copied().collect::<Option<String>>() {
            return Some(Self::Plain(plain));
        }
        if run.len() > RUN_CHARS {
            return None;
        }
        let bit = |place: usize| 1_u128 << place;
        let places = |piece: Option<char>| {
            let fitting = run.iter().enumerate().filter(move |(_, other)| other.is_none() || **other == piece);
            fitting.fold(0, |bits, (place, _)| bits | bit(place))
        };
        let bits = run.iter().flatten().map(|letter| (*letter, places(Some(*letter)))).collect();
        Some(Self::Places { bits, anywhere: places(None), last: bit(run.len() - 1) })
    }

    /// What follows the first place where it stands in `text`.
    fn after_first<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Plain(plain) => text.find(plain).map(|start| &text[start + plain.len()..]),
            Self::Places { bits, anywhere, last } => {
                let (mut letters, mut found) = (text.chars(), 0_u128);
                while let Some(letter) = letters.next() {
                    found = (found << 1 | 1) & bits.get(&letter).unwrap_or(anywhere);
                    if found & last != 0 {
                        return Some(letters.as_str());
                    }
                }
                None
            }
        }
    }
}

fn fits(piece: Option<char>, letter: char) -> bool {
    piece.is_none_or(|expected| expected == letter)
}

/// A text as patterns that ignore case look at it.
pub fn fold_case(text: &str) -> String {
    text.chars().map(folded).collect()
}

/// One character for all that differ in case alone; one that becomes several in another case stays as it is.
fn folded(letter: char) -> char {
    if letter.is_ascii() {
        return letter.to_ascii_lowercase();
    }
    let upper = single(letter.to_uppercase()).unwrap_or(letter);
    single(upper.to_lowercase()).unwrap_or(upper)
}

fn single(mut letters: impl Iterator<Item = char>) -> Option<char> {
    letters.next().filter(|_| letters.next().is_none())
}
