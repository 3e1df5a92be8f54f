//! For each term the rows that have it, and the search for the most similar rows.
//!
//! The answer is that of scoring every row exactly. Terms are taken in order of how much they can add to a score; once
//! those left cannot lift a row that has none of the terms before into the list, only the rows met so far are
//! looked at again. So the lists of common words, by far the longest, are seldom read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::numeric::index_u32;
use crate::top_n::{Admit, Best, Bitmap, Scored};

use crate::sparse::{SparseRow, SparseRows};

/// `rows` and `values` of term t are those before `ends[t]` and from the end of the term before.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Index {
    ends: Vec<usize>,
    rows: Vec<u32>,
    values: Vec<f32>,
    /// The greatest value of each term.
    greatest: Vec<f32>,
}

/// What scoring a row again costs, counted in steps along a term's list.
const RESCORE_STEPS: usize = 48;

impl Index {
    /// Terms are below `n_terms`.
    pub(super) fn new(rows: &SparseRows, n_terms: usize) -> Index {
        let mut starts = vec![0usize; n_terms + 1];
        for &term in &rows.terms {
            starts[term as usize + 1] += 1;
        }
        for term in 0..n_terms {
            starts[term + 1] += starts[term];
        }
        let mut index = Index {
            ends: Vec::new(),
            rows: vec![0; rows.terms.len()],
            values: vec![0.0; rows.terms.len()],
            greatest: vec![0.0; n_terms],
        };
        // Each start moves to its end.
        for row in 0..index_u32(rows.len()) {
            let SparseRow { terms, values } = rows.row(row);
            for (&term, &value) in terms.iter().zip(values) {
                let term = term as usize;
                let at = starts[term];
                index.rows[at] = row;
                index.values[at] = value;
                index.greatest[term] = index.greatest[term].max(value);
                starts[term] = at + 1;
            }
        }
        starts.truncate(n_terms);
        index.ends = starts;
        index
    }

    fn range(&self, term: u32) -> std::ops::Range<usize> {
        let at = term as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        start..self.ends[at]
    }

    /// The n best of the admitted rows by their cosine with `query`; none without a shared term. `rows`: those that
    /// this index was made of.
    pub(super) fn search(&self, rows: &SparseRows, query: SparseRow, n: usize, admit: &Admit) -> Vec<Scored> {
        let n = n.min(rows.len());
        if n == 0 {
            return Vec::new();
        }
        let (sums, left) = self.sums(rows.len(), query, n, admit);
        let mut candidates: Vec<(f32, u32)> = sums.candidates(n, left, admit);
        candidates.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut best = Best::new(n);
        for (sum, row) in candidates {
            if best.floor().is_some_and(|floor| sum + left < floor) {
                break;
            }
            best.push(row, score(query, rows.row(row)));
        }
        best.into_sorted()
    }

    /// How many admitted rows share a term with `query`: as long as a list can be. `n_rows`: those that this index was
    /// made of.
    pub(super) fn count(&self, n_rows: usize, query: SparseRow, admit: &Admit) -> usize {
        let mut met = Bitmap::new(n_rows);
        for &term in query.terms {
            self.rows[self.range(term)].iter().for_each(|&row| met.set(row));
        }
        met.iter().filter(|row| admit.admits(*row)).count()
    }

    /// Adds up the scores term by term, until adding more costs more than it saves; with what a score may at most lack,
    /// rounding included.
    fn sums(&self, n_rows: usize, query: SparseRow, n: usize, admit: &Admit) -> (Sums, f32) {
        let mut terms: Vec<(f32, u32, f32)> = Vec::with_capacity(query.terms.len());
        for (&term, &value) in query.terms.iter().zip(query.values) {
            terms.push((value * self.greatest[term as usize], term, value));
        }
        terms.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        // Scores are below 1 and each addition, like each product, rounds by half an epsilon of it at most; twice, for a
        // row's own sum and for the one it is compared with.
        let rounding = 2.0 * (terms.len() + 2) as f32 * f32::EPSILON;
        let mut left: Vec<f32> = vec![rounding; terms.len() + 1];
        for at in (0..terms.len()).rev() {
            left[at] = left[at + 1] + terms[at].0 * (1.0 + f32::EPSILON);
        }
        let mut sums = Sums::new(n_rows);
        let mut closed = false;
        for (at, &(_, term, value)) in terms.iter().enumerate() {
            let postings = self.range(term);
            // Looking for the n-th best sum is worth it only before a longer list.
            if at > 0 && sums.n_met < postings.len() {
                let floor = sums.floor(n, admit);
                closed |= floor.is_some_and(|floor| left[at] + rounding < floor);
                if let Some(floor) = floor.filter(|_| closed) {
                    let again = sums.met().iter().filter(|&&row| sums.of_row[row as usize] + left[at] >= floor).count();
                    if again * RESCORE_STEPS < postings.len() {
                        return (sums, left[at]);
                    }
                }
            }
            let rows = self.rows[postings.clone()].iter().zip(&self.values[postings]);
            if closed {
                rows.for_each(|(&row, &other)| sums.add_to_met(row, value * other));
            } else {
                rows.for_each(|(&row, &other)| sums.add(row, value * other));
            }
        }
        (sums, rounding)
    }
}

/// The score of a list. It is 1 for equal rows; the last digits of f32 could make it a little more.
#[expect(clippy::cast_possible_truncation, reason = "from 0 to about 1")]
pub(super) fn score(query: SparseRow, row: SparseRow) -> f32 {
    (query.score(row) as f32).min(1.0)
}

/// Unfinished scores, below the true ones.
struct Sums {
    /// 0 for a row not met.
    of_row: Vec<f32>,
    /// The first `n_met` are the rows met; room for all and one more.
    rows: Vec<u32>,
    n_met: usize,
}

impl Sums {
    fn new(n_rows: usize) -> Sums {
        Sums { of_row: vec![0.0; n_rows], rows: vec![0; n_rows + 1], n_met: 0 }
    }

    fn met(&self) -> &[u32] {
        &self.rows[..self.n_met]
    }

    fn add(&mut self, row: u32, value: f32) {
        let sum = &mut self.of_row[row as usize];
        // Without a branch, which nobody could predict.
        self.rows[self.n_met] = row;
        self.n_met += usize::from(*sum == 0.0);
        *sum += value;
    }

    fn add_to_met(&mut self, row: u32, value: f32) {
        let sum = &mut self.of_row[row as usize];
        if *sum != 0.0 {
            *sum += value;
        }
    }

    /// The n-th greatest sum of the admitted rows; `None` when there are fewer.
    fn floor(&self, n: usize, admit: &Admit) -> Option<f32> {
        // Sums are positive, and the bits of positive numbers are in their order.
        let mut greatest: BinaryHeap<Reverse<u32>> = BinaryHeap::with_capacity(n);
        let mut floor = 0;
        for &row in self.met() {
            let bits = self.of_row[row as usize].to_bits();
            if bits > floor && admit.admits(row) {
                if greatest.len() == n {
                    greatest.pop();
                }
                greatest.push(Reverse(bits));
                if greatest.len() == n {
                    floor = greatest.peek().map_or(0, |least| least.0);
                }
            }
        }
        (greatest.len() == n).then(|| f32::from_bits(floor))
    }

    /// The admitted rows whose score may be among the n best, given what each may lack.
    fn candidates(&self, n: usize, left: f32, admit: &Admit) -> Vec<(f32, u32)> {
        let floor = self.floor(n, admit).unwrap_or(0.0);
        let may_reach = |row: u32| {
            let sum = self.of_row[row as usize];
            (sum + left >= floor && admit.admits(row)).then_some((sum, row))
        };
        self.met().iter().filter_map(|&row| may_reach(row)).collect()
    }
}
