//! Compressed sparse rows, their transposition, and how they are shared out to threads.

use std::ops::Range;

use rayon::prelude::*;

use crate::numeric::index_u32;

/// A matrix of which few entries are known. The columns of a row are ascending.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rows {
    /// Where each row ends; a row begins where the one before ends.
    pub(super) ends: Vec<usize>,
    pub(super) columns: Vec<u32>,
    pub(super) values: Vec<f32>,
}

impl Rows {
    pub(super) fn n_rows(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn range(&self, row: usize) -> Range<usize> {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        start..self.ends[row]
    }

    pub(super) fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.range(row);
        (&self.columns[range.clone()], &self.values[range])
    }

    /// The same entries by column. Each part of the columns is filled by one thread, which walks all rows: a part's
    /// writes then stay in its own region of memory.
    pub(super) fn transposed(&self, n_columns: usize) -> Rows {
        const PARTS: usize = 8;
        let ends = ends_of(&self.columns, n_columns);
        let mut columns = vec![0; self.columns.len()];
        let mut values = vec![0.0; self.values.len()];
        let parts = parts(&ends, 0, PARTS);
        let lengths = parts.iter().map(|part| entries(&ends, part).len());
        let columns_of_parts = split_lengths(&mut columns, lengths.clone());
        let values_of_parts = split_lengths(&mut values, lengths);
        parts.par_iter().zip(columns_of_parts).zip(values_of_parts).with_max_len(1).for_each(
            |((part, columns), values)| {
                let origin = entries(&ends, part).start;
                let mut next: Vec<usize> =
                    part.clone().map(|at| entries(&ends, &(at..at + 1)).start - origin).collect();
                let (low, high) = (index_u32(part.start), index_u32(part.end));
                for row in 0..self.n_rows() {
                    let (row_columns, row_values) = self.row(row);
                    let start = row_columns.partition_point(|&column| column < low);
                    for (&column, &value) in row_columns[start..].iter().zip(&row_values[start..]) {
                        if column >= high {
                            break;
                        }
                        let at = &mut next[(column - low) as usize];
                        columns[*at] = index_u32(row);
                        values[*at] = value;
                        *at += 1;
                    }
                }
            },
        );
        Rows { ends, columns, values }
    }
}

/// Where each of `n` codes ends when `codes` are sorted.
pub(super) fn ends_of(codes: &[u32], n: usize) -> Vec<usize> {
    let mut ends = vec![0; n];
    for &code in codes {
        ends[code as usize] += 1;
    }
    let mut total = 0;
    for end in &mut ends {
        total += *end;
        *end = total;
    }
    ends
}

/// The entries of a range of rows.
pub(super) fn entries(ends: &[usize], rows: &Range<usize>) -> Range<usize> {
    let before = |row: usize| if row == 0 { 0 } else { ends[row - 1] };
    before(rows.start)..before(rows.end)
}

/// All rows in at most about `n_parts` ranges of nearly equal work, a row counting its entries and `row_work` more.
pub(super) fn parts(ends: &[usize], row_work: usize, n_parts: usize) -> Vec<Range<usize>> {
    let total = ends.last().copied().unwrap_or_default() + row_work * ends.len();
    let share = total.div_ceil(n_parts).max(1);
    let mut parts = Vec::with_capacity(n_parts + 1);
    let (mut start, mut done) = (0, 0);
    for (row, end) in ends.iter().enumerate() {
        let work = end + row_work * (row + 1);
        if work - done >= share {
            parts.push(start..row + 1);
            (start, done) = (row + 1, work);
        }
    }
    if start < ends.len() {
        parts.push(start..ends.len());
    }
    parts
}

/// `values` in consecutive pieces of these lengths.
pub(super) fn split_lengths<T>(values: &mut [T], lengths: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    let mut rest = values;
    let mut pieces = Vec::new();
    for length in lengths {
        let (piece, after) = rest.split_at_mut(length);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn transposing_twice_gives_the_rows_back(
            rows in prop::collection::vec(prop::collection::btree_map(0u32..40, -5.0f32..5.0, 0..20), 0..60),
        ) {
            let mut matrix = Rows { ends: vec![], columns: vec![], values: vec![] };
            for row in &rows {
                matrix.columns.extend(row.keys());
                matrix.values.extend(row.values());
                matrix.ends.push(matrix.columns.len());
            }
            let turned = matrix.transposed(40);
            for (column, at) in rows.iter().enumerate().flat_map(|(at, row)| row.keys().map(move |key| (*key, at))) {
                prop_assert!(turned.row(column as usize).0.contains(&index_u32(at)));
            }
            prop_assert_eq!(turned.transposed(rows.len()), matrix);
        }

        #[test]
        fn parts_are_all_rows_once(lengths in prop::collection::vec(0usize..50, 0..80), n in 1usize..9, work in 0usize..5) {
            let ends: Vec<usize> = lengths.iter().scan(0, |sum, n| { *sum += n; Some(*sum) }).collect();
            let parts = parts(&ends, work, n);
            prop_assert!(parts.iter().cloned().flatten().eq(0..lengths.len()));
            prop_assert!(parts.len() <= n + 1);
        }
    }
}
