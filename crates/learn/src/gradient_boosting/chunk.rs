//! A run of rows: their scores and derivatives, and which leaf of the growing tree each is in. Chunks know nothing of one
//! another, so threads share them without waiting, and what a chunk needs stays near its thread.

use std::ops::Range;

use rayon::prelude::*;

use crate::trees::bins::BinnedColumn;
use crate::trees::cut::N_BINS;

use super::histogram::{CHUNK_ROWS, GROUP_FEATURES, GroupSums, Plan, Sums};
use super::loss::{Loss, Norm, Output};

pub(super) struct Chunk<const WIDTH: usize> {
    /// In the table.
    rows: Range<usize>,
    /// n_outputs × n_rows.
    scores: Vec<f64>,
    /// n_rows.
    norms: Vec<Norm>,
    /// n_rows: less the first derivative, and the second where it is not 1 for all.
    steps: Vec<[i32; WIDTH]>,
    groups: Vec<Group>,
    leaves: Leaves,
}

/// The bins of a few features.
struct Group {
    n_features: usize,
    /// n_rows × n_features, row-major.
    bins: Vec<u8>,
}

/// The rows of a chunk, those of a leaf together and in their order.
struct Leaves {
    rows: Vec<u16>,
    /// Of each leaf in `rows`.
    ranges: Vec<Range<usize>>,
    scratch: Vec<u16>,
}

impl<const WIDTH: usize> Chunk<WIDTH> {
    /// `start`: the scores of every row.
    pub(super) fn all(n_rows: usize, columns: &[BinnedColumn], start: &[f64]) -> Vec<Chunk<WIDTH>> {
        let starts: Vec<usize> = (0..n_rows).step_by(CHUNK_ROWS).collect();
        let chunks = starts.into_par_iter().map(|first| {
            let rows = first..(first + CHUNK_ROWS).min(n_rows);
            let n = rows.len();
            Chunk {
                groups: group(columns, &rows),
                scores: start.iter().flat_map(|&score| std::iter::repeat_n(score, n)).collect(),
                norms: vec![Norm::default(); n],
                steps: vec![[0; WIDTH]; n],
                leaves: Leaves { rows: Vec::new(), ranges: Vec::new(), scratch: vec![0; n] },
                rows,
            }
        });
        chunks.collect()
    }

    fn scores(&self, output: usize) -> &[f64] {
        &self.scores[output * self.rows.len()..][..self.rows.len()]
    }

    pub(super) fn largest(&self, loss: &impl Loss<WIDTH>, output: usize) -> f64 {
        loss.largest(self.rows.clone(), self.scores(output))
    }

    pub(super) fn begin_round(&mut self, loss: &impl Loss<WIDTH>) {
        loss.norms(&self.scores, &mut self.norms);
    }

    /// Begins a tree: every row is in leaf 0.
    pub(super) fn begin_tree(&mut self, loss: &impl Loss<WIDTH>, output: usize, scale: f64) {
        let n = self.rows.len();
        let of = Output { output, scores: &self.scores[output * n..][..n], norms: &self.norms };
        loss.steps(self.rows.clone(), of, scale, &mut self.steps);
        self.leaves.rows.clear();
        self.leaves.rows.extend((0..=u16::MAX).take(n));
        self.leaves.ranges.clear();
        self.leaves.ranges.push(0..n);
    }

    /// Adds the rows of a leaf to a histogram.
    fn count(&self, leaf: usize, plan: &Plan, sums: &mut GroupSums<WIDTH>, histogram: &mut [Sums]) {
        let rows = &self.leaves.rows[self.leaves.ranges[leaf].clone()];
        if rows.is_empty() {
            return;
        }
        let mut first = 0;
        for Group { n_features, bins } in &self.groups {
            match n_features {
                1 => sums.add::<1>(rows, &self.steps, bins),
                2 => sums.add::<2>(rows, &self.steps, bins),
                3 => sums.add::<3>(rows, &self.steps, bins),
                4 => sums.add::<4>(rows, &self.steps, bins),
                5 => sums.add::<5>(rows, &self.steps, bins),
                6 => sums.add::<6>(rows, &self.steps, bins),
                7 => sums.add::<7>(rows, &self.steps, bins),
                _ => sums.add::<GROUP_FEATURES>(rows, &self.steps, bins),
            }
            for feature in 0..*n_features {
                sums.drain(feature, plan.of_feature(first + feature, histogram));
            }
            first += n_features;
        }
    }

    /// Splits a leaf: what goes right becomes the next leaf. `bins`: those of the feature, of all rows of the table.
    pub(super) fn split(&mut self, leaf: usize, bins: &[u8], goes_right: &[bool; N_BINS]) {
        self.leaves.split(leaf, &bins[self.rows.clone()], goes_right);
    }

    /// Adds to the scores of an output the value of each row's leaf.
    pub(super) fn end_tree(&mut self, output: usize, values: &[f64]) {
        let n = self.rows.len();
        let scores = &mut self.scores[output * n..][..n];
        for (rows, value) in self.leaves.ranges.iter().zip(values) {
            self.leaves.rows[rows.clone()].iter().for_each(|&row| scores[usize::from(row)] += value);
        }
    }
}

/// The histogram of a leaf.
pub(super) fn count<const WIDTH: usize>(chunks: &[Chunk<WIDTH>], leaf: usize, plan: &Plan) -> Vec<Sums> {
    let none = || (plan.new_histogram(), GroupSums::new());
    let add = |(mut histogram, mut sums): (Vec<Sums>, GroupSums<WIDTH>), chunk: &Chunk<WIDTH>| {
        chunk.count(leaf, plan, &mut sums, &mut histogram);
        (histogram, sums)
    };
    if let [chunk] = chunks {
        return add(none(), chunk).0;
    }
    let histograms = chunks.par_iter().fold(none, add).map(|(histogram, _)| histogram);
    histograms.reduce(
        || plan.new_histogram(),
        |mut all, part| {
            all.iter_mut().zip(part).for_each(|(sums, part)| sums.add(part));
            all
        },
    )
}

impl Leaves {
    /// The order within each part stays, so that memory is read in order.
    fn split(&mut self, leaf: usize, bins: &[u8], goes_right: &[bool; N_BINS]) {
        let whole = self.ranges[leaf].clone();
        let rows = &mut self.rows[whole.clone()];
        let (mut left, mut right) = (0, 0);
        for at in 0..rows.len() {
            let row = rows[at];
            let to_right = usize::from(goes_right[usize::from(bins[usize::from(row)])]);
            // No branch: half of them would be guessed wrong. `left` is never beyond `at`.
            rows[left] = row;
            self.scratch[right] = row;
            left += 1 - to_right;
            right += to_right;
        }
        rows[left..].copy_from_slice(&self.scratch[..right]);
        let middle = whole.start + left;
        self.ranges[leaf] = whole.start..middle;
        self.ranges.push(middle..whole.end);
    }
}

/// The bins of `rows`, features in groups of nearly equal size.
fn group(columns: &[BinnedColumn], rows: &Range<usize>) -> Vec<Group> {
    let n_groups = columns.len().div_ceil(GROUP_FEATURES);
    let groups = columns.chunks(columns.len().div_ceil(n_groups));
    let of_group = |columns: &[BinnedColumn]| {
        let n_features = columns.len();
        let mut bins = vec![0; rows.len() * n_features];
        for (feature, column) in columns.iter().enumerate() {
            let cells = bins[feature..].iter_mut().step_by(n_features);
            cells.zip(&column.bins[rows.clone()]).for_each(|(cell, bin)| *cell = *bin);
        }
        Group { n_features, bins }
    };
    groups.map(of_group).collect()
}
