//! How many typing slips lie between two names.

/// What tells most titles apart from a name without a look at their letters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Letters {
    /// One bit for each letter and digit that occurs; several other characters share one.
    set: u64,
    n_letters: u32,
}

impl Letters {
    pub(super) fn of(letters: &[char]) -> Letters {
        let set = letters.iter().fold(0, |set, &char| set | 1 << bit(char));
        Letters { set, n_letters: u32::try_from(letters.len()).unwrap_or(u32::MAX) }
    }

    /// False only where there are more slips: each takes one letter of a name away at most, adds one at most and
    /// changes the length by one at most.
    pub(super) fn may_be_within(&self, other: &Letters, slips: usize) -> bool {
        let slips = u32::try_from(slips).unwrap_or(u32::MAX);
        self.n_letters.abs_diff(other.n_letters) <= slips
            && (self.set & !other.set).count_ones() <= slips
            && (other.set & !self.set).count_ones() <= slips
    }
}

fn bit(char: char) -> u32 {
    match char {
        'a'..='z' => u32::from(char) - u32::from('a'),
        '0'..='9' => 26 + u32::from(char) - u32::from('0'),
        _ => 36 + u32::from(char) % 28,
    }
}

/// How many slips a name of so many letters may have: more would make other titles of it.
pub(super) fn slips_max(n_letters: usize) -> usize {
    match n_letters {
        0..=2 => 0,
        3..=5 => 1,
        6..=10 => 2,
        _ => 3,
    }
}

/// The fewest letters added, left out, changed or swapped with their neighbour, no letter twice (Damerau 1964; the optimal
/// string alignment distance); `None` when more than `most`.
pub(super) fn slips(a: &[char], b: &[char], most: usize) -> Option<usize> {
    if a.len().abs_diff(b.len()) > most {
        return None;
    }
    let beyond = most + 1;
    // The rows of the table for the letters before, and for the one before those.
    let mut last: Vec<usize> = (0..=b.len()).map(|j| j.min(beyond)).collect();
    let mut before = last.clone();
    let mut current = vec![beyond; b.len() + 1];
    let mut last_least = 0;
    for i in 1..=a.len() {
        // Further from the diagonal than `most` there are more slips than that. Only what the next rows read is written, so
        // that two long names cost no more than their length.
        let (low, high) = (i.saturating_sub(most).max(1), (i + most).min(b.len()));
        current[low - 1] = if low == 1 { i.min(beyond) } else { beyond };
        let mut least = current[low - 1];
        for j in low..=high {
            let changed = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut fewest = changed.min(last[j] + 1).min(current[j - 1] + 1).min(beyond);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                fewest = fewest.min(before[j - 2] + 1);
            }
            current[j] = fewest;
            least = least.min(fewest);
        }
        if let Some(after) = current.get_mut(high + 1) {
            *after = beyond;
        }
        if least > most && last_least > most {
            return None;
        }
        last_least = least;
        std::mem::swap(&mut before, &mut last);
        std::mem::swap(&mut last, &mut current);
    }
    Some(last[b.len()]).filter(|slips| *slips <= most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The recurrence as it is defined.
    fn plain(a: &[char], b: &[char]) -> usize {
        let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 0..=a.len() {
            for j in 0..=b.len() {
                table[i][j] = if i == 0 || j == 0 {
                    i + j
                } else {
                    let changed = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let fewest = changed.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
                    let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    if swapped { fewest.min(table[i - 2][j - 2] + 1) } else { fewest }
                };
            }
        }
        table[a.len()][b.len()]
    }

    #[test]
    fn names_as_long_as_books_are_compared_at_once() {
        let long: Vec<char> = ('a'..='z').cycle().take(1_000_000).collect();
        let mut slip = long.clone();
        slip.remove(17);
        slip.swap(500_000, 500_001);
        slip.push('q');
        assert_eq!(slips(&long, &slip, 3), Some(3));
        assert_eq!(slips(&long, &slip, 2), None);
    }

    proptest! {
        #[test]
        fn slips_are_counted_up_to_the_most(a in "[abcé]{0,14}", b in "[abcé]{0,14}", most in 0usize..5) {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            let expected = Some(plain(&a, &b)).filter(|slips| *slips <= most);
            prop_assert_eq!(slips(&a, &b, most), expected);
            prop_assert!(expected.is_none() || Letters::of(&a).may_be_within(&Letters::of(&b), most));
        }
    }
}
