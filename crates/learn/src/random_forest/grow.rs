//! Grows one tree, depth first: a node's rows lie together, and its children's histograms come from one count and one
//! subtraction.

use crate::numeric::random;
use crate::trees::cut::{Cut, N_BINS};
use crate::trees::ensemble::Tree;

use super::criterion::Criterion;
use super::sample::{Sample, WideBins};

/// What every tree of a fit shares.
pub(super) struct Plan<'a, C> {
    pub(super) criterion: C,
    /// For each feature the values between its bins; a feature with none cannot be split.
    pub(super) thresholds: Vec<&'a [f64]>,
    pub(super) wide: WideBins,
    pub(super) mtry: usize,
    pub(super) max_depth: u32,
    pub(super) min_leaf: i64,
}

impl<C: Criterion> Plan<'_, C> {
    pub(super) fn n_features(&self) -> usize {
        self.thresholds.len()
    }

    /// Whether a node's histograms cover every feature, so that a sibling is one subtraction away.
    fn counts_all(&self) -> bool {
        self.mtry * 2 >= self.n_features()
    }

    /// Where the histogram of a node's candidate stands: under its feature, or in the order of the candidates.
    fn slot(&self, place: usize, feature: usize) -> usize {
        if self.counts_all() { feature } else { place }
    }
}

/// A tree in the making.
pub(super) struct Grower<'a, C> {
    plan: &'a Plan<'a, C>,
    /// Of this tree's random choices.
    key: u64,
    tree: Tree,
    /// Histograms to use again.
    free: Vec<Vec<i64>>,
    /// All features, shuffled anew for each node where mtry is less than all.
    candidates: Vec<usize>,
}

impl<'a, C: Criterion> Grower<'a, C> {
    pub(super) fn new(plan: &'a Plan<'a, C>, key: u64) -> Grower<'a, C> {
        let candidates = (0..plan.n_features()).collect();
        Grower { plan, key, tree: Tree::default(), free: Vec::new(), candidates }
    }

    /// Grows the tree of `samples`; `scratch` is as long. `totals` are theirs.
    pub(super) fn grow<S: Sample>(mut self, samples: &mut [S], scratch: &mut [S], totals: Vec<i64>) -> Tree {
        let root = self.tree.reserve();
        if self.is_leaf(&totals, 0) {
            self.tree.leaf(root, self.plan.criterion.outputs(&totals));
        } else {
            let histogram = if self.plan.counts_all() { self.count(samples, None) } else { Vec::new() };
            self.node(root, 0, samples, scratch, histogram, totals);
        }
        self.tree
    }

    fn is_leaf(&self, totals: &[i64], depth: u32) -> bool {
        depth >= self.plan.max_depth || self.plan.criterion.weight(totals) < 2 * self.plan.min_leaf
    }

    /// `histogram` is that of all features, or empty where nodes count only their candidates.
    fn node<S: Sample>(
        &mut self,
        node: usize,
        depth: u32,
        samples: &mut [S],
        scratch: &mut [S],
        mut histogram: Vec<i64>,
        totals: Vec<i64>,
    ) {
        self.draw_candidates(node);
        if histogram.is_empty() {
            let candidates = self.candidates[..self.plan.mtry].to_vec();
            histogram = self.count(samples, Some(&candidates));
        }
        let Some((place, cut)) = self.best_cut(&histogram, &totals) else {
            self.free.push(histogram);
            return self.tree.leaf(node, self.plan.criterion.outputs(&totals));
        };
        let feature = self.candidates[place];
        let left_totals = self.plan.criterion.left_totals(self.of_candidate(&histogram, place), cut);
        let right_totals: Vec<i64> = totals.iter().zip(&left_totals).map(|(all, left)| all - left).collect();
        let threshold = self.plan.thresholds[feature][usize::from(cut.bin) - 1];
        let left = self.tree.split(node, feature, threshold, cut.missing_left);
        let (left_is_leaf, right_is_leaf) =
            (self.is_leaf(&left_totals, depth + 1), self.is_leaf(&right_totals, depth + 1));
        if left_is_leaf && right_is_leaf {
            self.free.push(histogram);
            self.tree.leaf(left, self.plan.criterion.outputs(&left_totals));
            return self.tree.leaf(left + 1, self.plan.criterion.outputs(&right_totals));
        }
        // The children's rows are now in `scratch`, and `samples` is their scratch.
        let n_left = partition(samples, scratch, &self.plan.wide, feature, cut);
        let (left_rows, right_rows) = scratch.split_at_mut(n_left);
        let (left_scratch, right_scratch) = samples.split_at_mut(n_left);
        let (left_histogram, right_histogram) = self.child_histograms(histogram, left_rows, right_rows);
        for (child, is_leaf, rows, scratch, histogram, totals) in [
            (left, left_is_leaf, left_rows, left_scratch, left_histogram, left_totals),
            (left + 1, right_is_leaf, right_rows, right_scratch, right_histogram, right_totals),
        ] {
            if is_leaf {
                self.free.push(histogram);
                self.tree.leaf(child, self.plan.criterion.outputs(&totals));
            } else {
                self.node(child, depth + 1, rows, scratch, histogram, totals);
            }
        }
    }

    /// Counts the smaller child and subtracts it from the parent for the other.
    fn child_histograms<S: Sample>(&mut self, mut parent: Vec<i64>, left: &[S], right: &[S]) -> (Vec<i64>, Vec<i64>) {
        if !self.plan.counts_all() {
            self.free.push(parent);
            return (Vec::new(), Vec::new());
        }
        let left_is_smaller = left.len() < right.len();
        let smaller = self.count(if left_is_smaller { left } else { right }, None);
        parent.iter_mut().zip(&smaller).for_each(|(all, part)| *all -= part);
        if left_is_smaller { (smaller, parent) } else { (parent, smaller) }
    }

    fn count<S: Sample>(&mut self, samples: &[S], only: Option<&[usize]>) -> Vec<i64> {
        let mut histogram = self.free.pop().unwrap_or_default();
        histogram.clear();
        let n_slots = only.map_or_else(|| S::n_slots(self.plan.n_features()), <[usize]>::len);
        histogram.resize(n_slots * N_BINS * self.plan.criterion.width(), 0);
        self.plan.criterion.accumulate(samples, &self.plan.wide, only, &mut histogram);
        histogram
    }

    fn of_candidate<'h>(&self, histogram: &'h [i64], place: usize) -> &'h [i64] {
        let len = N_BINS * self.plan.criterion.width();
        let slot = self.plan.slot(place, self.candidates[place]);
        &histogram[slot * len..(slot + 1) * len]
    }

    /// Moves a random choice of mtry features to the front, by Fisher and Yates.
    fn draw_candidates(&mut self, node: usize) {
        let (n, mtry) = (self.candidates.len(), self.plan.mtry);
        if mtry == n {
            return;
        }
        let key = random(self.key, node as u64);
        for (place, index) in (0..mtry).zip(0u64..) {
            let offset = random(key, index) % (n - place) as u64;
            self.candidates.swap(place, place + usize::try_from(offset).unwrap_or_default());
        }
    }

    /// The first of the best, as a place among the candidates.
    fn best_cut(&self, histogram: &[i64], totals: &[i64]) -> Option<(usize, Cut)> {
        let mut best: Option<(usize, Cut)> = None;
        for (place, &feature) in self.candidates[..self.plan.mtry].iter().enumerate() {
            let n_bins = self.plan.thresholds[feature].len() + 1;
            let bins = self.of_candidate(histogram, place);
            let cut = self.plan.criterion.best_cut(bins, n_bins, totals, self.plan.min_leaf);
            if let Some(cut) = cut
                && best.is_none_or(|(_, best)| cut.gain > best.gain)
            {
                best = Some((place, cut));
            }
        }
        best
    }
}

/// Copies the rows going left to the front of `to`, the others to its end, and gives the number of the former. The
/// order within each does not matter: sums are of integers.
fn partition<S: Sample>(from: &[S], to: &mut [S], wide: &WideBins, feature: usize, cut: Cut) -> usize {
    let goes_right = cut.goes_right();
    let (mut left, mut right) = (0, from.len());
    for sample in from {
        let to_right = usize::from(goes_right[usize::from(sample.bins(wide)[feature])]);
        // No branch: half of them would be guessed wrong.
        right -= to_right;
        to[if to_right == 1 { right } else { left }] = *sample;
        left += 1 - to_right;
    }
    left
}
