//! Small choices from lists of words, for generated text.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// One of `words`, which stand between bars.
pub(super) fn pick(rng: &mut ChaCha8Rng, words: &'static str) -> &'static str {
    nth(words, rng.random_range(0..count(words)))
}

/// `n` distinct ones in the list's order, or all where it has no more.
pub(super) fn pick_some(rng: &mut ChaCha8Rng, words: &'static str, n: usize) -> Vec<&'static str> {
    let (mut left, mut wanted) = (count(words), n);
    let chosen = words.split('|').filter(|_| {
        // Each is taken as often as any other (Knuth, Algorithm S).
        let taken = rng.random_range(0..left) < wanted;
        left -= 1;
        wanted -= usize::from(taken);
        taken
    });
    chosen.collect()
}

pub(super) fn nth(words: &'static str, index: usize) -> &'static str {
    words.split('|').nth(index % count(words)).unwrap_or_default()
}

pub(super) fn count(words: &str) -> usize {
    words.split('|').count()
}

/// `1234567` as "1,234,567".
pub(super) fn thousands(number: u64) -> String {
    grouped(number, 3)
}

/// `1234567` as "12,34,567", as rupees are written.
pub(super) fn lakhs(number: u64) -> String {
    grouped(number, 2)
}

/// The last three digits, and before them groups of `width`.
fn grouped(number: u64, width: usize) -> String {
    let digits = number.to_string();
    let Some((mut head, last)) = digits.len().checked_sub(3).filter(|&at| at > 0).map(|at| digits.split_at(at)) else {
        return digits;
    };
    let mut text = last.to_owned();
    while !head.is_empty() {
        let (rest, group) = head.split_at(head.len().saturating_sub(width));
        text = format!("{group},{text}");
        head = rest;
    }
    text
}

/// A csv field: in quotes where it holds what would end it.
pub(super) fn field(text: &str, separator: char) -> String {
    match text.contains([separator, '"', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn numbers_are_grouped_as_they_are_written() {
        let check = |number, by_thousands: &str, by_lakhs: &str| {
            assert_eq!((thousands(number).as_str(), lakhs(number).as_str()), (by_thousands, by_lakhs));
        };
        check(0, "0", "0");
        check(999, "999", "999");
        check(1099, "1,099", "1,099");
        check(139_900, "139,900", "1,39,900");
        check(12_345_678, "12,345,678", "1,23,45,678");
    }

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(field("a;b", ','), "a;b");
        assert_eq!(field("a;b", ';'), "\"a;b\"");
        assert_eq!(field("the \"last\" one", ';'), "\"the \"\"last\"\" one\"");
    }

    #[test]
    fn some_are_distinct_and_in_order() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for n in 0..6 {
            let chosen = pick_some(&mut rng, "a|b|c|d", n);
            assert!(chosen.len() == n.min(4) && chosen.windows(2).all(|pair| pair[0] < pair[1]), "{chosen:?}");
        }
        assert_eq!(nth("a|b|c", 4), "b");
    }
}
