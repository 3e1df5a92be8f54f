//! Titles looked up by name: a typing slip, another case, missing accents or punctuation, and a part of the title still
//! find it. Every character is plain text.
//!
//! Two searches together, because each misses what the other finds: the edit distance to the whole title (a slip in a
//! short title leaves few of its trigrams), and the trigrams of its words (a part of a title is many edits away).

mod fold;
mod slips;
mod trigrams;

use crate::top_n::{Admit, Best};

use fold::{fold, letters};
use slips::{Letters, slips, slips_max};
use trigrams::{LIKENESS_MIN, Trigrams};

/// A title found, by its row. The score is 1 for the title as written but for case, accents and spaces, 0.99 when only
/// punctuation differs too, and less for each slip or the more of the title is missing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TitleMatch {
    pub row: u32,
    pub score: f32,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// One title is clearly meant.
    Found(TitleMatch),
    /// Several may be, best first.
    Ambiguous(Vec<TitleMatch>),
    NotFound,
}

const SAME: f32 = 1.0;
const SAME_LETTERS: f32 = 0.99;
const SLIPS: f32 = 0.98;
const PART: f32 = 0.95;

/// A title less like a name than this is no help to who wrote it.
const NEAREST_MIN: f32 = 0.1;

/// How much better than the next the best part must be to be clearly meant.
const CLEAR_LEAD: f32 = 0.15;

/// The titles of all rows.
#[derive(Debug, Clone)]
pub struct Titles {
    /// All folded titles one after the other.
    folded: String,
    ends: Vec<usize>,
    letters: Vec<Letters>,
    trigrams: Trigrams,
}

impl Titles {
    /// One title a row; empty ones are found by no name.
    pub fn new<'a>(titles: impl IntoIterator<Item = &'a str>) -> Titles {
        let mut folded = String::new();
        let mut ends = Vec::new();
        let mut all_letters = Vec::new();
        let mut buffer = Vec::new();
        for title in titles {
            let start = folded.len();
            fold(title, &mut folded);
            letters(&folded[start..], &mut buffer);
            all_letters.push(Letters::of(&buffer));
            ends.push(folded.len());
        }
        let trigrams = Trigrams::new((0..ends.len()).map(|row| title_at(&folded, &ends, row)));
        Titles { folded, ends, letters: all_letters, trigrams }
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The n titles most like `name`, best first, equal ones by row.
    pub fn search(&self, name: &str, n: usize, admit: &Admit) -> Vec<TitleMatch> {
        let mut folded = String::new();
        fold(name, &mut folded);
        let mut best = Best::new(n.min(self.len()));
        // The better of a row's two scores, whole titles being met first.
        let whole = self.whole(&folded, admit);
        let mut met = whole.iter().peekable();
        self.trigrams.for_each_like(&folded, LIKENESS_MIN, |row, likeness| {
            while let Some(found) = met.next_if(|found| found.row < row) {
                best.push(found.row, found.score);
            }
            let as_whole = met.next_if(|found| found.row == row).map_or(0.0, |found| found.score);
            let score = as_whole.max(PART * likeness);
            if best.floor().is_none_or(|floor| score >= floor) && admit.admits(row) {
                best.push(row, score);
            }
        });
        met.for_each(|found| best.push(found.row, found.score));
        best.into_sorted().into_iter().map(|scored| TitleMatch { row: scored.item, score: scored.score }).collect()
    }

    /// The n titles nearest to a name that stands for none of them, best first, equal ones by row: what may help who wrote
    /// it.
    pub fn nearest(&self, name: &str, n: usize, admit: &Admit) -> Vec<TitleMatch> {
        let mut folded = String::new();
        fold(name, &mut folded);
        let mut best = Best::new(n.min(self.len()));
        self.trigrams.for_each_like(&folded, NEAREST_MIN, |row, likeness| {
            if admit.admits(row) {
                best.push(row, PART * likeness);
            }
        });
        best.into_sorted().into_iter().map(|scored| TitleMatch { row: scored.item, score: scored.score }).collect()
    }

    /// The title that `name` stands for: that which is the same; else that which differs by punctuation only; else that
    /// with the fewest slips; else that of which it is clearly a part; else the only one with all its words. At most n are listed where several may be meant.
    pub fn lookup(&self, name: &str, n: usize, admit: &Admit) -> Lookup {
        let found = self.search(name, n.max(2), admit);
        let Some(&first) = found.first() else { return Lookup::NotFound };
        if first.score >= SAME_LETTERS {
            let same: Vec<TitleMatch> = found.iter().copied().filter(|other| other.score == first.score).collect();
            return if same.len() == 1 { Lookup::Found(first) } else { listed(same, n) };
        }
        let mut folded = String::new();
        fold(name, &mut folded);
        let fewest = self.fewest_slips(&folded, admit);
        match (&fewest[..], found.get(1)) {
            ([only], _) => Lookup::Found(*only),
            ([], None) => Lookup::Found(first),
            ([], Some(second)) if first.score - second.score >= CLEAR_LEAD => Lookup::Found(first),
            ([], Some(_)) => self.only_one_with_words(&folded, admit).map_or_else(|| listed(found, n), Lookup::Found),
            (_, _) => listed(found, n),
        }
    }

    /// The admitted titles whose letters differ from those of the folded name by few slips, by row.
    fn whole(&self, folded: &str, admit: &Admit) -> Vec<TitleMatch> {
        let mut found = Vec::new();
        self.for_each_whole(folded, admit, |row, n_slips, longest| {
            let score = match n_slips {
                0 if self.title(row) == folded => SAME,
                0 => SAME_LETTERS,
                _ => SLIPS * (1.0 - n_slips as f32 / longest as f32),
            };
            found.push(TitleMatch { row, score });
        });
        found
    }

    fn fewest_slips(&self, folded: &str, admit: &Admit) -> Vec<TitleMatch> {
        let mut fewest = usize::MAX;
        let mut found = Vec::new();
        self.for_each_whole(folded, admit, |row, n_slips, longest| {
            if n_slips < fewest {
                fewest = n_slips;
                found.clear();
            }
            if n_slips == fewest {
                found.push(TitleMatch { row, score: SLIPS * (1.0 - n_slips as f32 / longest as f32) });
            }
        });
        found
    }

    /// The title that holds every word of the folded name, if no other does. Its score tells how much of it the name is.
    fn only_one_with_words(&self, folded: &str, admit: &Admit) -> Option<TitleMatch> {
        words_of(folded).next()?;
        // The look for its letters alone is quick, and rules out most.
        let holds = |title: &str, word: &str| title.contains(word) && words_of(title).any(|own| own == word);
        let holds_all = |row: &u32| words_of(folded).all(|word| holds(self.title(*row), word));
        let mut holding = (0..).take(self.len()).filter(|row| admit.admits(*row)).filter(holds_all);
        let row = holding.next()?;
        let share = folded.len() as f32 / self.title(row).len().max(folded.len()) as f32;
        holding.next().is_none().then_some(TitleMatch { row, score: PART * share })
    }

    /// Visits rows with the number of slips and the letters of the longer of name and title.
    fn for_each_whole(&self, folded: &str, admit: &Admit, mut visit: impl FnMut(u32, usize, usize)) {
        let (mut name, mut title) = (Vec::new(), Vec::new());
        letters(folded, &mut name);
        if name.is_empty() {
            return;
        }
        let of_name = Letters::of(&name);
        let most = slips_max(name.len());
        for (row, of_title) in (0..).zip(&self.letters) {
            if of_name.may_be_within(of_title, most) && admit.admits(row) {
                letters(self.title(row), &mut title);
                if let Some(n_slips) = slips(&name, &title, most) {
                    visit(row, n_slips, name.len().max(title.len()));
                }
            }
        }
    }

    fn title(&self, row: u32) -> &str {
        title_at(&self.folded, &self.ends, row as usize)
    }
}

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn title_at<'a>(folded: &'a str, ends: &[usize], row: usize) -> &'a str {
    let start = if row == 0 { 0 } else { ends[row - 1] };
    &folded[start..ends[row]]
}

fn listed(mut found: Vec<TitleMatch>, n: usize) -> Lookup {
    found.truncate(n.max(1));
    Lookup::Ambiguous(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TITLES: [&str; 22] = [
        "Alien",
        "Aliens",
        "Amélie",
        "The Dark Knight",
        "The Dark Knight Rises",
        "Spider-Man: No Way Home",
        "King Kong",
        "King Kong",
        "M*A*S*H",
        "100%",
        "100",
        "What's \"Up\", Doc?",
        "[REC]²",
        "...",
        "",
        "The Lord of the Rings: The Fellowship of the Ring",
        "The Lord of the Rings: The Two Towers",
        "Łódź Ghetto",
        "七人の侍",
        "Robert'); DROP TABLE films;--",
        "C:\\a+b.*(c|d)?$",
        "WALL·E",
    ];

    fn check(name: &str, expected: &[u32]) {
        let found = match Titles::new(TITLES).lookup(name, 10, &Admit::default()) {
            Lookup::Found(found) => vec![found.row],
            Lookup::Ambiguous(found) => {
                assert!(found.is_sorted_by(|a, b| (b.score, a.row) <= (a.score, b.row)), "{found:?}");
                assert!(found.len() > 1);
                found.iter().map(|found| found.row).collect()
            }
            Lookup::NotFound => vec![],
        };
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn a_slip_another_case_or_no_accent_finds_the_film() {
        check("alien", &[0]);
        check("ALEIN", &[0]);
        check("Alienss", &[1]);
        check("amelie", &[2]);
        check("AMÉLIE ", &[2]);
        check("Ame\u{301}lie", &[2]);
        check("the dark night", &[3]);
        check("the  dark knight", &[3]);
        check("spiderman no way home", &[5]);
        check("spider man no way hoem", &[5]);
        check("mash", &[8]);
        check("whats up doc", &[11]);
        check("lodz getto", &[17]);
        check("七人の侍", &[18]);
        check("wall-e", &[21]);
    }

    #[test]
    fn a_part_finds_the_film_when_only_one_is_meant() {
        check("fellowship of the ring", &[15]);
        check("felowship of the rign", &[15]);
        check("two towers", &[16]);
        check("dark knight", &[3, 4]);
    }

    #[test]
    fn words_that_only_one_title_holds_find_it_however_long_the_titles_are() {
        let titles = Titles::new([
            "Wayona Nylon Braided USB to Lightning Fast Charging and Data Sync Cable, 3 FT, Grey",
            "Ambrane Unbreakable 60W Type C Fast Charging Braided Cable with Data Sync, 1.5 m, Black",
            "Portronics Konnect L Fast Charging Type C Cable with Data Sync, 1 m, Grey",
        ]);
        let found = |name: &str| match titles.lookup(name, 5, &Admit::default()) {
            Lookup::Found(found) => vec![found.row],
            Lookup::Ambiguous(found) => found.iter().map(|found| found.row).collect(),
            Lookup::NotFound => vec![],
        };
        assert_eq!(found("braided charging cable wayona"), [0]);
        assert_eq!(found("type c cable 60w"), [1]);
        assert!(found("type c charging cable").len() > 1);
    }

    #[test]
    fn ambiguous_names_are_listed() {
        check("king kong", &[6, 7]);
        check("kingkong", &[6, 7]);
        let found = Titles::new(TITLES).search("king kong", 1, &Admit { exclude: &[6], only: None });
        assert_eq!(found, [TitleMatch { row: 7, score: 1.0 }]);
        let found = Titles::new(TITLES).lookup("king kong", 10, &Admit { exclude: &[6], only: None });
        assert_eq!(found, Lookup::Found(TitleMatch { row: 7, score: 1.0 }));
        let found = Titles::new(TITLES).lookup("king kong", 0, &Admit::default());
        assert_eq!(found, Lookup::Ambiguous(vec![TitleMatch { row: 6, score: 1.0 }]));
    }

    #[test]
    fn every_character_is_plain_text() {
        check("100%", &[9]);
        check("100", &[10]);
        check("[rec]2", &[12]);
        check("...", &[13]);
        check("robert'); drop table films;--", &[19]);
        check("C:\\a+b.*(c|d)?$", &[20]);
        for name in ["", " ", "%", ".*", "'", "\"", "_", "(", "\\", "\0", "zzzz", "xylophone"] {
            check(name, &[]);
        }
    }

    #[test]
    fn names_of_nothing_have_nearest_titles() {
        let titles = Titles::new(TITLES);
        let nearest = |name: &str| -> Vec<u32> {
            titles.nearest(name, 2, &Admit::default()).iter().map(|found| found.row).collect()
        };
        assert_eq!(titles.lookup("kongs ballroom sweepstakes", 5, &Admit::default()), Lookup::NotFound);
        assert_eq!(nearest("kongs ballroom sweepstakes"), [6, 7]);
        assert_eq!(nearest("%"), []);
        assert_eq!(nearest("zzzz"), []);
    }

    #[test]
    fn no_titles_find_nothing() {
        let titles = Titles::new([]);
        assert!(titles.is_empty() && titles.search("a", 5, &Admit::default()).is_empty());
        assert_eq!(titles.lookup("a", 5, &Admit::default()), Lookup::NotFound);
    }

    proptest! {
        #[test]
        fn every_title_is_found_by_itself_and_with_a_slip(
            titles in prop::collection::vec("[a-dé ]{6,14}", 1..20), pick: prop::sample::Index, at: prop::sample::Index,
        ) {
            let all = Titles::new(titles.iter().map(String::as_str));
            let row = pick.index(titles.len());
            let found = all.search(&titles[row], titles.len(), &Admit::default());
            let own = |found: &[TitleMatch]| found.iter().find(|found| found.row as usize == row).map(|found| found.score);
            let (mut folded, mut letters_of) = (String::new(), Vec::new());
            fold(&titles[row], &mut folded);
            letters(&folded, &mut letters_of);
            prop_assume!(letters_of.len() >= 3);
            prop_assert_eq!(own(&found), Some(1.0));
            let at = at.index(letters_of.len());
            letters_of[at] = 'z';
            let slip: String = letters_of.into_iter().collect();
            prop_assert!(own(&all.search(&slip, titles.len(), &Admit::default())).is_some(), "{slip}");
        }

        #[test]
        fn no_name_fails(titles in prop::collection::vec("\\PC{0,12}", 0..8), name in "\\PC{0,12}") {
            let all = Titles::new(titles.iter().map(String::as_str));
            prop_assert!(all.search(&name, 3, &Admit::default()).len() <= 3);
            all.lookup(&name, 3, &Admit::default());
        }
    }
}
