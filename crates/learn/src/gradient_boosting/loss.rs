//! What boosting lowers: a loss of scores, by its first and second derivatives in fixed point.

use std::ops::Range;

use crate::chunks::fold_chunks;
use crate::numeric::sum;

/// Derivatives become whole numbers of at most this size.
const FIXED_POINT: f64 = (1 << 30) as f64;

/// WIDTH is 1 where every row has the second derivative 1, else 2.
pub(super) trait Loss<const WIDTH: usize>: Sync {
    /// Where the scores of a row begin; one for each output.
    fn start(&self) -> Vec<f64>;

    /// At least the largest absolute derivative of `rows`, whose scores are given.
    fn largest(&self, rows: Range<usize>, scores: &[f64]) -> f64;

    /// For each of `rows` less the first derivative by its score, and the second, times `scale`.
    fn steps(&self, rows: Range<usize>, scores: &[f64], scale: f64, steps: &mut [[i32; WIDTH]]);
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

    fn steps(&self, rows: Range<usize>, scores: &[f64], scale: f64, steps: &mut [[i32; 1]]) {
        for ((step, target), score) in steps.iter_mut().zip(&self.targets[rows]).zip(scores) {
            *step = [fixed_point((target - score) * scale)];
        }
    }
}
