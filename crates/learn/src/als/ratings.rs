//! The input of a fit: who rated what, checked once, by user.

use rayon::prelude::*;

use crate::chunks::fold_chunks;
use crate::error::FitError;
use crate::numeric::{index_u32, mix};

use super::rows::{Rows, ends_of, entries, parts, split_lengths};

/// Ratings are refused above this magnitude, so that sums of their squares stay far inside 32-bit floats.
pub const RATING_MAX: f32 = 1e9;

/// Ratings by user, one a pair of user and item; the items of a user are ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct Ratings {
    pub(super) rows: Rows,
    n_items: usize,
    duplicates: u64,
}

impl Ratings {
    /// `users`, `items` and `values` are equally long: one rating each. Codes count from 0; users and items without a
    /// rating are allowed. Of several ratings of a pair the last given counts.
    ///
    /// Memory: 12 bytes a rating come in, 8 stay, 20 are held between.
    ///
    /// # Errors
    /// [`FitError::RatingLengths`], [`FitError::TooManyRows`], [`FitError::UnknownUser`], [`FitError::UnknownItem`],
    /// [`FitError::RatingNotFinite`], [`FitError::RatingTooLarge`]: the first in the order given.
    pub fn new(
        users: Vec<u32>,
        items: Vec<u32>,
        values: Vec<f32>,
        n_users: usize,
        n_items: usize,
    ) -> Result<Ratings, FitError> {
        check(&users, &items, &values, n_users, n_items)?;
        let mut rows = by_user(users, items, values, n_users);
        let kept = sort_rows(&mut rows);
        let duplicates = remove_gaps(&mut rows, &kept);
        Ok(Ratings { rows, n_items, duplicates })
    }

    /// How many ratings were dropped because a later one of the same pair was given.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// The number of ratings.
    pub fn len(&self) -> usize {
        self.rows.columns.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.columns.is_empty()
    }

    pub fn n_users(&self) -> usize {
        self.rows.n_rows()
    }

    pub fn n_items(&self) -> usize {
        self.n_items
    }

    /// The items a user rated, ascending, and the ratings. A user out of range has none.
    pub fn of_user(&self, user: u32) -> (&[u32], &[f32]) {
        if (user as usize) < self.n_users() { self.rows.row(user as usize) } else { (&[], &[]) }
    }

    /// The mean rating; 0 of none.
    pub fn mean(&self) -> f64 {
        let mut total = 0.0;
        let of_chunk =
            |range: std::ops::Range<usize>| -> f64 { self.rows.values[range].iter().map(|&v| f64::from(v)).sum() };
        fold_chunks(self.len(), 64, of_chunk, |sum| total += sum);
        if self.is_empty() { 0.0 } else { total / self.len() as f64 }
    }

    /// The standard deviation of the ratings; 0 of none.
    pub(super) fn deviation(&self) -> f64 {
        let mean = self.mean();
        let mut total = 0.0;
        let of_chunk = |range: std::ops::Range<usize>| -> f64 {
            self.rows.values[range].iter().map(|&value| (f64::from(value) - mean).powi(2)).sum()
        };
        fold_chunks(self.len(), 64, of_chunk, |sum| total += sum);
        if self.is_empty() { 0.0 } else { (total / self.len() as f64).sqrt() }
    }

    /// The same pairs with other values, one for each.
    pub(super) fn with_values(&self, values: Vec<f32>) -> Ratings {
        let Rows { ends, columns, .. } = &self.rows;
        let rows = Rows { ends: ends.clone(), columns: columns.clone(), values };
        Ratings { rows, n_items: self.n_items, duplicates: self.duplicates }
    }

    /// The lowest and the highest rating; `None` of none.
    pub(super) fn extremes(&self) -> Option<(f32, f32)> {
        let first = *self.rows.values.first()?;
        Some(self.rows.values.iter().fold((first, first), |(low, high), &value| (low.min(value), high.max(value))))
    }

    /// How many ratings each item has.
    pub fn item_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.n_items];
        for &item in &self.rows.columns {
            counts[item as usize] += 1;
        }
        counts
    }

    /// The mean rating of each item; 0 of an item without ratings.
    pub fn item_means(&self) -> Vec<f32> {
        let mut sums = vec![0.0f64; self.n_items];
        for (&item, &value) in self.rows.columns.iter().zip(&self.rows.values) {
            sums[item as usize] += f64::from(value);
        }
        #[expect(clippy::cast_possible_truncation, reason = "a mean of 32-bit floats is kept as one")]
        let mean = |sum: f64, count: u32| if count == 0 { 0.0 } else { (sum / f64::from(count)) as f32 };
        sums.into_iter().zip(self.item_counts()).map(|(sum, count)| mean(sum, count)).collect()
    }

    /// At most `n_users` users with ratings, ascending: those whose code has the smallest hash, so that the same users
    /// are taken whatever the order of the ratings.
    pub(super) fn sample_users(&self, n_users: usize) -> Vec<u32> {
        let with_ratings = (0..self.n_users()).filter(|&user| !self.rows.range(user).is_empty());
        let mut users: Vec<u32> = with_ratings.map(index_u32).collect();
        if users.len() > n_users {
            users.sort_unstable_by_key(|&user| mix(u64::from(user)));
            users.truncate(n_users);
            users.sort_unstable();
        }
        users
    }
}

fn check(users: &[u32], items: &[u32], values: &[f32], n_users: usize, n_items: usize) -> Result<(), FitError> {
    /// Row numbers, and the codes beside the one which means "new" in a warm start, fit u32.
    const ROWS_MAX: usize = u32::MAX as usize;
    if users.len() != items.len() || users.len() != values.len() {
        return Err(FitError::RatingLengths { users: users.len(), items: items.len(), values: values.len() });
    }
    for found in [users.len(), n_users, n_items] {
        if found > ROWS_MAX {
            return Err(FitError::TooManyRows { found, max: ROWS_MAX });
        }
    }
    let faulty = |((user, item), value): ((&u32, &u32), &f32)| {
        let in_range = (*user as usize) < n_users && (*item as usize) < n_items;
        !(in_range && value.abs() <= RATING_MAX)
    };
    let Some(row) = users.iter().zip(items).zip(values).position(faulty) else {
        return Ok(());
    };
    let (user, item, value) = (users[row], items[row], values[row]);
    Err(if user as usize >= n_users {
        FitError::UnknownUser { row, user, n_users }
    } else if item as usize >= n_items {
        FitError::UnknownItem { row, item, n_items }
    } else if value.is_finite() {
        FitError::RatingTooLarge { row }
    } else {
        FitError::RatingNotFinite { row }
    })
}

/// A counting sort, which keeps the order of a user's ratings.
fn by_user(users: Vec<u32>, items: Vec<u32>, values: Vec<f32>, n_users: usize) -> Rows {
    let ends = ends_of(&users, n_users);
    let mut next: Vec<usize> = (0..n_users).map(|user| if user == 0 { 0 } else { ends[user - 1] }).collect();
    let mut columns = vec![0; items.len()];
    let mut sorted = vec![0.0; values.len()];
    for ((&user, &item), &value) in users.iter().zip(&items).zip(&values) {
        let at = &mut next[user as usize];
        columns[*at] = item;
        sorted[*at] = value;
        *at += 1;
    }
    Rows { ends, columns, values: sorted }
}

/// Sorts every row by column and moves what counts of it to its front; gives how much that is.
fn sort_rows(rows: &mut Rows) -> Vec<usize> {
    /// More parts than threads, so that they end together.
    const PARTS: usize = 64;
    let ends = &rows.ends;
    let parts = parts(ends, 1, PARTS);
    let mut kept = vec![0; ends.len()];
    let lengths = parts.iter().map(|part| entries(ends, part).len());
    let columns = split_lengths(&mut rows.columns, lengths.clone());
    let values = split_lengths(&mut rows.values, lengths);
    let kept_of_parts = split_lengths(&mut kept, parts.iter().map(ExactSizeIterator::len));
    let parts = parts.par_iter().zip(columns).zip(values).zip(kept_of_parts);
    parts.with_max_len(1).for_each(|(((part, columns), values), kept)| {
        let origin = entries(ends, part).start;
        let mut sorter = RowSorter::default();
        for (row, kept) in part.clone().zip(kept) {
            let range = entries(ends, &(row..row + 1));
            let range = range.start - origin..range.end - origin;
            *kept = sorter.sort(&mut columns[range.clone()], &mut values[range]);
        }
    });
    kept
}

/// Memory used from row to row.
#[derive(Default)]
struct RowSorter {
    /// The column above the position in the row.
    keys: Vec<u64>,
    values: Vec<f32>,
}

impl RowSorter {
    fn sort(&mut self, columns: &mut [u32], values: &mut [f32]) -> usize {
        if columns.is_sorted_by(|a, b| a < b) {
            return columns.len();
        }
        self.keys.clear();
        self.keys.extend(columns.iter().zip(0u64..).map(|(&column, position)| u64::from(column) << 32 | position));
        self.keys.sort_unstable();
        self.values.clear();
        self.values.extend_from_slice(values);
        let mut kept = 0;
        for of_column in self.keys.chunk_by(|a, b| a >> 32 == b >> 32) {
            let Some(&last) = of_column.last() else { continue };
            let (column, position) = halves(last);
            columns[kept] = column;
            values[kept] = self.values[position as usize];
            kept += 1;
        }
        kept
    }
}

/// The high and the low 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "the halves of 64 bits are 32 bits")]
fn halves(key: u64) -> (u32, u32) {
    ((key >> 32) as u32, key as u32)
}

/// Closes the gaps behind the first `kept` entries of each row; gives the number of entries that were in them.
fn remove_gaps(rows: &mut Rows, kept: &[usize]) -> u64 {
    let before = rows.columns.len();
    if kept.iter().sum::<usize>() == before {
        return 0;
    }
    let (mut start, mut end) = (0, 0);
    for (row_end, kept) in rows.ends.iter_mut().zip(kept) {
        rows.columns.copy_within(start..start + kept, end);
        rows.values.copy_within(start..start + kept, end);
        start = *row_end;
        end += kept;
        *row_end = end;
    }
    rows.columns.truncate(end);
    rows.values.truncate(end);
    (before - end) as u64
}
