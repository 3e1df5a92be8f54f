//! What boosting lowers: a loss of scores, by its first and second derivatives in fixed point.

use std::ops::Range;

use crate::chunks::fold_chunks;
use crate::numeric::{exp_nonpositive, sum};

/// Derivatives become whole numbers of at most this size.
const FIXED_POINT: f64 = (1 << 30) as f64;

/// WIDTH is 1 where every row has the second derivative 1, else 2.
pub(super) trait Loss<const WIDTH: usize>: Sync {
    /// Where the scores of a row begin; one for each output.
    fn start(&self) -> Vec<f64>;

    /// What the steps of every output of a round need of each row. `scores`: n_outputs × n_rows.
    fn norms(&self, _scores: &[f64], _norms: &mut [Norm]) {}

    /// At least the largest absolute derivative of `rows`, whose scores are given.
    fn largest(&self, rows: Range<usize>, scores: &[f64]) -> f64;

    /// For each of `rows` less the first derivative by its score, and the second, times `scale`.
    fn steps(&self, rows: Range<usize>, output: Output, scale: f64, steps: &mut [[i32; WIDTH]]);
}

/// The scores of one output.
pub(super) struct Output<'a> {
    pub(super) output: usize,
    pub(super) scores: &'a [f64],
    pub(super) norms: &'a [Norm],
}

/// Of the scores of a row when the round began.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Norm {
    top: f64,
    /// 1 / Σ e^(score − top).
    inverse: f64,
}

/// By what derivatives of at most `largest` are multiplied.
pub(super) fn scale(largest: f64) -> f64 {
    let scale = FIXED_POINT / largest;
    // Where all are 0, every fixed-point value is 0.
    if scale.is_finite() { scale } else { 1.0 }
}

#[expect(clippy::cast_possible_truncation, reason = "at most 2³⁰ either side of 0, rounded")]
pub(super) fn fixed_point(value: f64) -> i32 {
    value.clamp(-FIXED_POINT, FIXED_POINT).round_ties_even() as i32
}

/// Half the squared error.
pub(super) struct SquaredError<'a> {
    pub(super) targets: &'a [f64],
}

impl Loss<1> for SquaredError<'_> {
    fn start(&self) -> Vec<f64> {
        let mut total = 0.0;
        fold_chunks(self.targets.len(), 16, |rows| sum(&self.targets[rows]), |of_chunk| total += of_chunk);
        vec![total / self.targets.len() as f64]
    }

    fn largest(&self, rows: Range<usize>, scores: &[f64]) -> f64 {
        let residuals = self.targets[rows].iter().zip(scores).map(|(target, score)| target - score);
        residuals.fold(0.0, |largest, residual| largest.max(residual.abs()))
    }

    fn steps(&self, rows: Range<usize>, of: Output, scale: f64, steps: &mut [[i32; 1]]) {
        for ((step, target), score) in steps.iter_mut().zip(&self.targets[rows]).zip(of.scores) {
            *step = [fixed_point((target - score) * scale)];
        }
    }
}

/// Log-loss of two classes by the score of class 1.
pub(super) struct Logistic<'a> {
    pub(super) classes: &'a [u32],
    /// Rows of each class.
    pub(super) counts: &'a [u64],
}

impl Loss<2> for Logistic<'_> {
    fn start(&self) -> Vec<f64> {
        let [log_0, log_1] = [0, 1].map(|class| log_share(self.counts, class));
        vec![log_1 - log_0]
    }

    fn largest(&self, _rows: Range<usize>, _scores: &[f64]) -> f64 {
        1.0
    }

    fn steps(&self, rows: Range<usize>, of: Output, scale: f64, steps: &mut [[i32; 2]]) {
        for ((step, &class), &score) in steps.iter_mut().zip(&self.classes[rows]).zip(of.scores) {
            let exp = exp_nonpositive(-score.abs());
            let probability = if score < 0.0 { exp } else { 1.0 } / (1.0 + exp);
            let second = exp / ((1.0 + exp) * (1.0 + exp));
            *step = [fixed_point((f64::from(class) - probability) * scale), fixed_point(second * scale)];
        }
    }
}

/// Log-loss of three classes and more, each with a score of its own.
pub(super) struct Softmax<'a> {
    pub(super) classes: &'a [u32],
    /// Rows of each class.
    pub(super) counts: &'a [u64],
}

impl Loss<2> for Softmax<'_> {
    fn start(&self) -> Vec<f64> {
        (0..self.counts.len()).map(|class| log_share(self.counts, class)).collect()
    }

    fn norms(&self, scores: &[f64], norms: &mut [Norm]) {
        norms.fill(Norm { top: f64::NEG_INFINITY, inverse: 0.0 });
        for scores in scores.chunks_exact(norms.len()) {
            norms.iter_mut().zip(scores).for_each(|(norm, score)| norm.top = norm.top.max(*score));
        }
        for scores in scores.chunks_exact(norms.len()) {
            norms.iter_mut().zip(scores).for_each(|(norm, score)| norm.inverse += exp_nonpositive(score - norm.top));
        }
        norms.iter_mut().for_each(|norm| norm.inverse = norm.inverse.recip());
    }

    fn largest(&self, _rows: Range<usize>, _scores: &[f64]) -> f64 {
        1.0
    }

    /// The second derivative is K / (K − 1) times that of one score alone: the scores of the other classes move as well
    /// (Friedman 2001, eq. 31).
    fn steps(&self, rows: Range<usize>, of: Output, scale: f64, steps: &mut [[i32; 2]]) {
        let n_classes = self.counts.len() as f64;
        let second_scale = scale * n_classes / (n_classes - 1.0);
        let rows = steps.iter_mut().zip(&self.classes[rows]).zip(of.scores).zip(of.norms);
        for (((step, &class), score), norm) in rows {
            let probability = exp_nonpositive(score - norm.top) * norm.inverse;
            let target = f64::from(u8::from(class as usize == of.output));
            let second = probability * (1.0 - probability);
            *step = [fixed_point((target - probability) * scale), fixed_point(second * second_scale)];
        }
    }
}

/// The logarithm of a class's share of the rows, that of a class without rows being 10⁻¹⁵.
fn log_share(counts: &[u64], class: usize) -> f64 {
    let n_rows: u64 = counts.iter().sum();
    (counts[class] as f64 / n_rows as f64).max(1e-15).ln()
}
