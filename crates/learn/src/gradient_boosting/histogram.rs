//! Sums over the rows of a leaf in the bins of each feature, and the best place to split at. Sums are of integers, so they
//! do not depend on their order.

use crate::trees::bins::{BinnedColumn, MISSING_BIN};
use crate::trees::cut::{Cut, N_BINS, when_none_missing};

use super::params::Params;

/// Rows of a chunk: a row's place in it is a u16, and its share of the features' bins stays in the second-level cache.
pub(super) const CHUNK_ROWS: usize = 1 << 15;

/// Features whose bins are summed in one pass over a leaf's rows.
pub(super) const GROUP_FEATURES: usize = 8;

/// The least sum of second derivatives of a leaf, as LightGBM and scikit-learn have it: below it a Newton step means nothing.
const HESSIAN_MIN: f64 = 1e-3;

/// Sums that are kept for subtraction, in all leaves of a tree together: 256 MiB. Beyond it both children are counted.
const KEPT_SUMS_MAX: usize = (256 << 20) / size_of::<Sums>();

/// What is summed over rows, in fixed point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Less the first derivatives.
    pub(super) gradient: i64,
    pub(super) hessian: i64,
    pub(super) rows: i64,
}

impl Sums {
    pub(super) fn add(&mut self, other: Sums) {
        self.gradient += other.gradient;
        self.hessian += other.hessian;
        self.rows += other.rows;
    }

    pub(super) fn less(self, other: Sums) -> Sums {
        Sums {
            gradient: self.gradient - other.gradient,
            hessian: self.hessian - other.hessian,
            rows: self.rows - other.rows,
        }
    }
}

/// Sums of one chunk's rows, a group's features at a time: little enough memory for the first-level cache.
pub(super) struct GroupSums<const WIDTH: usize> {
    /// The first derivative above 16 bits that count the rows, and the second one.
    sums: Box<[[[i64; WIDTH]; N_BINS]; GROUP_FEATURES]>,
}

/// The bits which count the rows of a chunk.
const COUNT_BITS: u32 = 16;

impl<const WIDTH: usize> GroupSums<WIDTH> {
    pub(super) fn new() -> GroupSums<WIDTH> {
        GroupSums { sums: Box::new([[[0; WIDTH]; N_BINS]; GROUP_FEATURES]) }
    }

    /// Adds `rows` of a chunk. `steps`: its rows'; `bins`: its rows × G, row-major.
    pub(super) fn add<const G: usize>(&mut self, rows: &[u16], steps: &[[i32; WIDTH]], bins: &[u8]) {
        let bins = bins.as_chunks::<G>().0;
        for &row in rows {
            let mut terms = steps[usize::from(row)].map(i64::from);
            terms[0] = (terms[0] << COUNT_BITS) | 1;
            for (feature, bin) in self.sums.iter_mut().zip(bins[usize::from(row)]) {
                for (sum, term) in feature[usize::from(bin)].iter_mut().zip(terms) {
                    *sum += term;
                }
            }
        }
    }

    /// Moves the sums of one feature of the group to a histogram.
    pub(super) fn drain(&mut self, feature: usize, histogram: &mut [Sums]) {
        for (to, from) in histogram.iter_mut().zip(&mut self.sums[feature]) {
            let rows = from[0] & ((1 << COUNT_BITS) - 1);
            let hessian = if WIDTH == 1 { rows } else { from[WIDTH - 1] };
            to.add(Sums { gradient: from[0] >> COUNT_BITS, hessian, rows });
            *from = [0; WIDTH];
        }
    }
}

/// What the leaves of one tree share.
pub(super) struct Plan<'a> {
    pub(super) params: &'a Params,
    pub(super) columns: &'a [BinnedColumn],
    /// The columns that may be split at.
    features: &'a [usize],
    /// Where each feature's bins begin in a histogram, and where the last one's end.
    starts: Vec<usize>,
    /// By what the derivatives were multiplied, the first and the second.
    scales: [f64; 2],
    pub(super) kept_sums_max: usize,
}

/// The best split of a leaf.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split {
    /// The column.
    pub(super) feature: usize,
    pub(super) cut: Cut,
    /// What goes left.
    pub(super) left: Sums,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        params: &'a Params,
        columns: &'a [BinnedColumn],
        features: &'a [usize],
        scales: [f64; 2],
    ) -> Plan<'a> {
        let mut starts = vec![0];
        let mut end = 0;
        for &feature in features {
            end += columns[feature].thresholds.len() + 2;
            starts.push(end);
        }
        Plan { params, columns, features, starts, scales, kept_sums_max: KEPT_SUMS_MAX }
    }

    pub(super) fn new_histogram(&self) -> Vec<Sums> {
        vec![Sums::default(); self.starts[self.starts.len() - 1]]
    }

    /// The bins of the feature at that place among those drawn.
    pub(super) fn of_feature<'h>(&self, place: usize, histogram: &'h mut [Sums]) -> &'h mut [Sums] {
        &mut histogram[self.starts[place]..self.starts[place + 1]]
    }

    /// Of all rows in a histogram: each has a bin in the first feature.
    pub(super) fn totals(&self, histogram: &[Sums]) -> Sums {
        let mut totals = Sums::default();
        histogram[..self.starts[1]].iter().for_each(|sums| totals.add(*sums));
        totals
    }

    /// Whether both children of a leaf could have enough rows.
    pub(super) fn can_split(&self, totals: Sums, depth: u32) -> bool {
        depth < self.params.max_depth && totals.rows >= 2 * i64::from(self.params.min_leaf)
    }

    /// The value of a leaf: the Newton step G / (H + l2) (Chen and Guestrin 2016, eq. 5), shrunk.
    pub(super) fn value(&self, totals: Sums) -> f64 {
        let hessian = totals.hessian as f64 / self.scales[1] + self.params.l2;
        let step = totals.gradient as f64 / self.scales[0] / hessian;
        // No rows of any weight and no penalty: no step.
        if step.is_finite() { self.params.learning_rate * step } else { 0.0 }
    }

    /// The first of the best splits.
    pub(super) fn best_split(&self, histogram: &[Sums], totals: Sums) -> Option<Split> {
        let splits = self.features.iter().zip(self.starts.windows(2)).filter_map(|(&feature, ends)| {
            let (cut, left) = self.best_cut(&histogram[ends[0]..ends[1]], totals)?;
            Some(Split { feature, cut, left })
        });
        splits.reduce(|best, split| if split.cut.gain > best.cut.gain { split } else { best })
    }

    /// The loss falls by half of G_left² / (H_left + l2) + G_right² / (H_right + l2) − G² / (H + l2) (ibid., eq. 7); G stays
    /// in fixed point, whose square is never too small or too large.
    fn best_cut(&self, bins: &[Sums], totals: Sums) -> Option<(Cut, Sums)> {
        let hessian_unit = self.scales[1].recip();
        let min_leaf = i64::from(self.params.min_leaf);
        let gain = |sums: Sums| {
            let (gradient, hessian) = (sums.gradient as f64, sums.hessian as f64 * hessian_unit);
            (gradient * gradient / (hessian + self.params.l2), hessian >= HESSIAN_MIN)
        };
        let (whole, _) = gain(totals);
        // What rounding alone can make of the sum of two parts.
        let mut best_parts = whole * (1.0 + 1e-12);
        let mut best = None;
        let missing = bins[usize::from(MISSING_BIN)];
        for missing_left in [false, true] {
            if missing_left && missing.rows == 0 {
                break;
            }
            let mut left = if missing_left { missing } else { Sums::default() };
            // Up to the last bin where that parts missing values from all others.
            let end = if missing_left || missing.rows == 0 { bins.len() - 1 } else { bins.len() };
            for (bin, &sums) in (1..=u8::MAX).zip(&bins[1..end]) {
                if sums.rows == 0 {
                    continue;
                }
                left.add(sums);
                let right = totals.less(left);
                if right.rows < min_leaf {
                    break;
                }
                let ((left_part, left_fits), (right_part, right_fits)) = (gain(left), gain(right));
                let fits = left.rows >= min_leaf && left_fits && right_fits;
                if fits && left_part + right_part > best_parts {
                    best_parts = left_part + right_part;
                    best = Some((Cut { gain: best_parts - whole, bin, missing_left }, left));
                }
            }
        }
        best.map(|(cut, left)| (when_none_missing(cut, missing.rows, totals.rows, || left.rows), left))
    }
}
