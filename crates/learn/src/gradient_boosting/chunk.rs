//! A run of rows: their scores and derivatives, and which leaf of the growing tree each is in. Chunks know nothing of one
//! another, so threads share them without waiting, and what a chunk needs stays near its thread.

use std::ops::Range;

use rayon::prelude::*;

use crate::trees::bins::BinnedColumn;
use crate::trees::cut::N_BINS;

use super::draws::{Draws, RowDraw};
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
    training: Vec<u16>,
    validation: Vec<u16>,
    /// The rows this round is fitted on.
    drawn: Leaves,
    /// All others.
    rest: Leaves,
}

/// The bins of a few features.
struct Group {
    n_features: usize,
    /// n_rows × n_features, row-major.
    bins: Vec<u8>,
}

/// Rows of a chunk, those of a leaf together and in their order.
#[derive(Default)]
struct Leaves {
    /// At the begin of a tree.
    all: Vec<u16>,
    rows: Vec<u16>,
    /// Of each leaf in `rows`.
    ranges: Vec<Range<usize>>,
    scratch: Vec<u16>,
}

impl<const WIDTH: usize> Chunk<WIDTH> {
    /// `start`: the scores of every row.
    pub(super) fn all(n_rows: usize, draws: &Draws, start: &[f64]) -> Vec<Chunk<WIDTH>> {
        let starts: Vec<usize> = (0..n_rows).step_by(CHUNK_ROWS).collect();
        let chunks = starts.into_par_iter().map(|first| {
            let rows = first..(first + CHUNK_ROWS).min(n_rows);
            let n = rows.len();
            let places = (0..=u16::MAX).take(n);
            let (validation, training) = places.partition(|&row| draws.validates(first + usize::from(row)));
            Chunk {
                scores: start.iter().flat_map(|&score| std::iter::repeat_n(score, n)).collect(),
                norms: vec![Norm::default(); n],
                steps: vec![[0; WIDTH]; n],
                groups: Vec::new(),
                training,
                validation,
                drawn: Leaves::default(),
                rest: Leaves::default(),
                rows,
            }
        });
        chunks.collect()
    }

    /// Takes the bins of those columns.
    pub(super) fn group(&mut self, columns: &[BinnedColumn], features: &[usize]) {
        let n_groups = features.len().div_ceil(GROUP_FEATURES);
        let groups = features.chunks(features.len().div_ceil(n_groups));
        self.groups = groups.map(|features| Group::of(columns, features, &self.rows)).collect();
    }

    pub(super) fn scores(&self, output: usize) -> &[f64] {
        &self.scores[output * self.rows.len()..][..self.rows.len()]
    }

    pub(super) fn largest(&self, loss: &impl Loss<WIDTH>, output: usize) -> f64 {
        loss.largest(self.rows.start, &self.training, self.scores(output))
    }

    /// Draws the rows of a round, or takes all; gives how many.
    pub(super) fn begin_round(&mut self, loss: &impl Loss<WIDTH>, draw: Option<RowDraw>) -> usize {
        loss.norms(&self.scores, &mut self.norms);
        let first = self.rows.start;
        match draw {
            None => {
                self.drawn.all.clone_from(&self.training);
                self.rest.all.clear();
            }
            Some(draw) => {
                let takes = |row: &&u16| draw.takes(first + usize::from(**row));
                (self.drawn.all, self.rest.all) = self.training.iter().partition(takes);
            }
        }
        self.rest.all.extend(&self.validation);
        self.drawn.all.len()
    }

    /// Begins a tree: every row is in leaf 0.
    pub(super) fn begin_tree(&mut self, loss: &impl Loss<WIDTH>, output: usize, scale: f64) {
        let n = self.rows.len();
        let of = Output { output, scores: &self.scores[output * n..][..n], norms: &self.norms };
        loss.steps(self.rows.clone(), of, scale, &mut self.steps);
        self.drawn.begin();
        self.rest.begin();
    }

    /// Adds the rows of a leaf to a histogram.
    fn count(&self, leaf: usize, plan: &Plan, sums: &mut GroupSums<WIDTH>, histogram: &mut [Sums]) {
        let rows = &self.drawn.rows[self.drawn.ranges[leaf].clone()];
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
        let bins = &bins[self.rows.clone()];
        self.drawn.split(leaf, bins, goes_right);
        self.rest.split(leaf, bins, goes_right);
    }

    /// Adds to the scores of an output the value of each row's leaf.
    pub(super) fn end_tree(&mut self, output: usize, values: &[f64]) {
        let n = self.rows.len();
        let scores = &mut self.scores[output * n..][..n];
        for leaves in [&self.drawn, &self.rest] {
            for (rows, value) in leaves.ranges.iter().zip(values) {
                leaves.rows[rows.clone()].iter().for_each(|&row| scores[usize::from(row)] += value);
            }
        }
    }

    /// The losses of the rows kept apart, added, and how many there are.
    pub(super) fn validation_loss(&self, loss: &impl Loss<WIDTH>) -> (f64, usize) {
        let of_row = |&row: &u16| {
            let scores = self.scores[usize::from(row)..].iter().step_by(self.rows.len()).copied();
            loss.loss(self.rows.start + usize::from(row), &scores.collect::<Vec<f64>>())
        };
        (self.validation.iter().map(of_row).sum(), self.validation.len())
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
    fn begin(&mut self) {
        self.rows.clone_from(&self.all);
        self.scratch.resize(self.all.len(), 0);
        self.ranges.clear();
        self.ranges.push(0..self.all.len());
    }

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

impl Group {
    fn of(columns: &[BinnedColumn], features: &[usize], rows: &Range<usize>) -> Group {
        let n_features = features.len();
        let mut bins = vec![0; rows.len() * n_features];
        for (place, &feature) in features.iter().enumerate() {
            let cells = bins[place..].iter_mut().step_by(n_features);
            cells.zip(&columns[feature].bins[rows.clone()]).for_each(|(cell, bin)| *cell = *bin);
        }
        Group { n_features, bins }
    }
}
