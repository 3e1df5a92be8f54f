//! Titles by the runs of three characters in their words.

use crate::ids::{Id, Ids};
use crate::numeric::index_u32;

use super::fold::for_each_word;

/// The least likeness of what may be meant.
pub(super) const LIKENESS_MIN: f32 = 0.4;

/// How much a trigram of the title that the name lacks counts, beside one of the name that the title lacks.
const MISSING_WEIGHT: f32 = 0.1;

/// For each trigram the rows that have it, and for each row how many it has.
#[derive(Debug, Clone)]
pub(super) struct Trigrams {
    codes: Ids,
    ends: Vec<usize>,
    rows: Vec<u32>,
    n_of_row: Vec<u16>,
}

impl Trigrams {
    pub(super) fn new<'a>(folded: impl Iterator<Item = &'a str>) -> Trigrams {
        let mut codes = Ids::integers();
        let mut all: Vec<u32> = Vec::new();
        let mut n_of_row = Vec::new();
        for title in folded {
            let trigrams = trigrams(title);
            n_of_row.push(u16::try_from(trigrams.len()).unwrap_or(u16::MAX));
            all.extend(trigrams.iter().map(|&trigram| codes.intern(Id::Integer(trigram))));
        }
        let mut starts = vec![0usize; codes.len() + 1];
        all.iter().for_each(|&code| starts[code as usize + 1] += 1);
        for code in 0..codes.len() {
            starts[code + 1] += starts[code];
        }
        let mut rows = vec![0; all.len()];
        let mut left = all.iter();
        for (row, &n) in n_of_row.iter().enumerate() {
            for &code in left.by_ref().take(usize::from(n)) {
                let at = &mut starts[code as usize];
                rows[*at] = index_u32(row);
                *at += 1;
            }
        }
        starts.truncate(codes.len());
        Trigrams { codes, ends: starts, rows, n_of_row }
    }

    /// Visits every row of at least so much likeness, which is above 0, ascending. The likeness of a name and a title with trigrams A and B is
    /// |A∩B| / (|A∩B| + |A\B| + 0.1·|B\A|) (Tversky 1977): a part of a title is nearly as like it as the whole.
    pub(super) fn for_each_like(&self, folded: &str, least: f32, mut visit: impl FnMut(u32, f32)) {
        let name = trigrams(folded);
        if name.is_empty() {
            return;
        }
        let mut shared = vec![0u16; self.n_of_row.len()];
        for &trigram in &name {
            if let Some(code) = self.codes.code(Id::Integer(trigram)) {
                self.rows_of(code).iter().for_each(|&row| shared[row as usize] += 1);
            }
        }
        // Fewer shared ones cannot make the likeness.
        let shared_least = least * name.len() as f32;
        for (row, (&shared, &n)) in shared.iter().zip(&self.n_of_row).enumerate() {
            let shared = f32::from(shared);
            if shared >= shared_least {
                let likeness = shared / (name.len() as f32 + MISSING_WEIGHT * (f32::from(n) - shared));
                if likeness >= least {
                    visit(index_u32(row), likeness);
                }
            }
        }
    }

    fn rows_of(&self, code: u32) -> &[u32] {
        let at = code as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.rows[start..self.ends[at]]
    }
}

/// The distinct trigrams of the words, each word with two spaces before and one after it. At most 65,535: a title longer
/// than that is known by its beginning.
fn trigrams(folded: &str) -> Vec<i64> {
    let mut trigrams = Vec::new();
    let mut padded = Vec::new();
    for_each_word(folded, |word| {
        padded.clear();
        padded.extend([' ', ' '].iter().chain(word).chain(&[' ']));
        let pack = |run: &[char]| run.iter().fold(0, |packed, &char| packed << 21 | i64::from(u32::from(char)));
        trigrams.extend(padded.windows(3).map(pack));
    });
    trigrams.truncate(usize::from(u16::MAX));
    trigrams.sort_unstable();
    trigrams.dedup();
    trigrams
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_nearly_as_like_as_the_whole() {
        let titles = ["dark knight", "the dark knight", "dark", "nothing"];
        let mut found = Vec::new();
        Trigrams::new(titles.into_iter())
            .for_each_like("dark knight", LIKENESS_MIN, |row, likeness| found.push((row, likeness)));
        assert_eq!(found, [(0, 1.0), (1, 12.0 / 12.4), (2, 5.0 / 12.0)]);
        Trigrams::new(titles.into_iter()).for_each_like("", LIKENESS_MIN, |_, _| panic!("no name is like nothing"));
    }
}
