//! Centres in a frame, in f64.

use super::kernel::{Candidate, Moves};
use super::points::{Block, Frame, Points};
use super::space::Space;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Centers<'a> {
    pub(super) frame: &'a Frame,
    pub(super) k: usize,
    /// k × numeric axes.
    pub(super) numeric: Vec<f64>,
    /// k × categories: the share of the cluster's rows that are of the category.
    pub(super) shares: Vec<f64>,
}

impl<'a> Centers<'a> {
    /// A centre on each of these rows.
    pub(super) fn on(points: &Points<'a>, rows: &[usize]) -> Centers<'a> {
        let frame = points.frame;
        let (mut numeric, mut shares) = (Vec::new(), vec![0.0; rows.len() * frame.n_categories]);
        for (cluster, &row) in rows.iter().enumerate() {
            let (block, lane) = points.at(row);
            let row = Candidate::of(block, lane);
            numeric.extend(row.numeric.iter().map(|&value| f64::from(value)));
            for code in row.codes {
                shares[cluster * frame.n_categories + code as usize] = 1.0;
            }
        }
        Centers { frame, k: rows.len(), numeric, shares }
    }

    /// One centre on the mean of all rows of the space's table.
    pub(super) fn mean(frame: &'a Frame, space: &Space) -> Centers<'a> {
        let parameters = frame.coded.iter().flat_map(|axis| space.layout.parameters(axis.column));
        let shares = parameters.map(|parameter| space.means[parameter]).collect();
        Centers { frame, k: 1, numeric: vec![0.0; frame.numeric.len()], shares }
    }

    pub(super) fn numeric_of(&self, cluster: usize) -> &[f64] {
        let width = self.frame.numeric.len();
        &self.numeric[cluster * width..(cluster + 1) * width]
    }

    pub(super) fn shares_of(&self, cluster: usize) -> &[f64] {
        let width = self.frame.n_categories;
        &self.shares[cluster * width..(cluster + 1) * width]
    }

    /// Moves every centre to the mean of its rows, one without rows not at all. Gives the sum of the squared shifts.
    pub(super) fn update(&mut self, sums: &Moves) -> f64 {
        let (n_numeric, n_categories) = (self.frame.numeric.len(), self.frame.n_categories);
        let weights = self.frame.coded.iter().flat_map(|axis| axis.categories.clone().map(|_| axis.weight));
        let weights: Vec<f64> = weights.collect();
        let mut shift = 0.0;
        for (cluster, &count) in sums.counts.iter().enumerate() {
            if count < 0.5 {
                continue;
            }
            for at in cluster * n_numeric..(cluster + 1) * n_numeric {
                let mean = sums.sums[at] / count;
                shift += (mean - self.numeric[at]).powi(2);
                self.numeric[at] = mean;
            }
            for at in cluster * n_categories..(cluster + 1) * n_categories {
                let share = sums.categories[at] / count;
                shift += weights[at % n_categories] * (share - self.shares[at]).powi(2);
                self.shares[at] = share;
            }
        }
        shift
    }

    /// The squared distance of a row of a block from a centre.
    pub(super) fn squared_distance(&self, cluster: usize, block: Block, lane: usize) -> f64 {
        let numeric = block.numeric.iter().zip(self.numeric_of(cluster));
        let mut distance: f64 = numeric.map(|(values, center)| (f64::from(values[lane]) - center).powi(2)).sum();
        let shares = self.shares_of(cluster);
        for (codes, axis) in block.codes.iter().zip(&self.frame.coded) {
            let squares: f64 = shares[axis.categories.clone()].iter().map(|share| share * share).sum();
            distance += axis.weight * (1.0 - 2.0 * shares[codes[lane] as usize] + squares).max(0.0);
        }
        distance
    }
}
