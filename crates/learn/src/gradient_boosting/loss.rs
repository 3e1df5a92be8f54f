//! What boosting lowers: a loss of scores, by its first and second derivatives in fixed point.

use std::ops::Range;

use crate::numeric::exp_nonpositive;

/// Derivatives become whole numbers of at most this size.
const FIXED_POINT: f64 = (1 << 30) as f64;

/// WIDTH is 1 where every row has the second derivative 1, else 2.
pub(super) trait Loss<const WIDTH: usize>: Sync {
    /// What the steps of every output of a round need of each row. `scores`: n_outputs × n_rows.
    fn norms(&self, _scores: &[f64], _norms: &mut [Norm]) {}

    /// At least the largest absolute derivative of `rows`, counted from `first`, from where the scores are given.
    fn largest(&self, first: usize, rows: &[u16], scores: &[f64]) -> f64;

    /// For each of `rows` less the first derivative by its score, and the second, times `scale`.
    fn steps(&self, rows: Range<usize>, output: Output, scale: f64, steps: &mut [[i32; WIDTH]]);

    /// The loss of one row with those scores.
    fn loss(&self, row: usize, scores: &[f64]) -> f64;
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

/// Rounds without a branch or a library call: adding 1.5·2⁵² leaves the whole number in the low bits.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most 2³⁰ either side of 0, which stand in the low 32 bits")]
pub(super) fn fixed_point(value: f64) -> i32 {
    const ROUND: f64 = 6_755_399_441_055_744.0;
    ((value.clamp(-FIXED_POINT, FIXED_POINT) + ROUND).to_bits() as u32).cast_signed()
}

/// Half the squared error.
pub(super) struct SquaredError<'a> {
    pub(super) targets: &'a [f64],
}

impl Loss<1> for SquaredError<'_> {
    fn largest(&self, first: usize, rows: &[u16], scores: &[f64]) -> f64 {
        let targets = &self.targets[first..first + scores.len()];
        let residual = |&row: &u16| (targets[usize::from(row)] - scores[usize::from(row)]).abs();
        let (rows, rest) = rows.as_chunks::<8>();
        // As many at once, so that none waits for the one before.
        let mut largest = [0.0f64; 8];
        for rows in rows {
            largest.iter_mut().zip(rows).for_each(|(largest, row)| *largest = largest.max(residual(row)));
        }
        largest.into_iter().chain(rest.iter().map(residual)).fold(0.0, f64::max)
    }

    fn steps(&self, rows: Range<usize>, of: Output, scale: f64, steps: &mut [[i32; 1]]) {
        for ((step, target), score) in steps.iter_mut().zip(&self.targets[rows]).zip(of.scores) {
            *step = [fixed_point((target - score) * scale)];
        }
    }

    fn loss(&self, row: usize, scores: &[f64]) -> f64 {
        let residual = self.targets[row] - scores[0];
        residual * residual / 2.0
    }
}

/// Log-loss of two classes by the score of class 1.
pub(super) struct Logistic<'a> {
    pub(super) classes: &'a [u32],
}

impl Loss<2> for Logistic<'_> {
    fn largest(&self, _first: usize, _rows: &[u16], _scores: &[f64]) -> f64 {
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

    /// ln(1 + e^−s) for class 1, with the score turned round for class 0.
    fn loss(&self, row: usize, scores: &[f64]) -> f64 {
        let score = if self.classes[row] == 1 { scores[0] } else { -scores[0] };
        (-score).max(0.0) + (-score.abs()).exp().ln_1p()
    }
}

/// Log-loss of three classes and more, each with a score of its own.
pub(super) struct Softmax<'a> {
    pub(super) classes: &'a [u32],
}

impl Loss<2> for Softmax<'_> {
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

    fn largest(&self, _first: usize, _rows: &[u16], _scores: &[f64]) -> f64 {
        1.0
    }

    /// The second derivative is that of one score alone, p·(1 − p), as scikit-learn has it; Friedman's (2001, eq. 31), as
    /// LightGBM has it, is K / (K − 1) times that, and the slower steps did worse on held-out rows.
    fn steps(&self, rows: Range<usize>, of: Output, scale: f64, steps: &mut [[i32; 2]]) {
        let rows = steps.iter_mut().zip(&self.classes[rows]).zip(of.scores).zip(of.norms);
        for (((step, &class), score), norm) in rows {
            let probability = exp_nonpositive(score - norm.top) * norm.inverse;
            let target = f64::from(u8::from(class as usize == of.output));
            let second = probability * (1.0 - probability);
            *step = [fixed_point((target - probability) * scale), fixed_point(second * scale)];
        }
    }

    /// ln Σ e^s − s of the row's class.
    fn loss(&self, row: usize, scores: &[f64]) -> f64 {
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|score| (score - top).exp()).sum();
        total.ln() + top - scores[self.classes[row] as usize]
    }
}
