//! The equation of one user or item given the vectors of the other side, in f64: what fold-in solves exactly, and what
//! training goes back to where 32 bits do not do.
//!
//! Explicit: (Σ yyᵀ + λ·s·I) x = Σ r·y over the ratings r of the row (Zhou et al. 2008, eq. 4). Implicit:
//! (YᵀY + Σ α|r|·yyᵀ + λ·s·I) x = Σ over r > 0 of (1 + α·r)·y (Hu, Koren and Volinsky 2008, eq. 4; r ≤ 0 as in Spark:
//! confidence that the preference is 0). s is the number of ratings (implicit: of those above 0), or 1.

use crate::numeric::{axpy, dot};
use crate::solve::solve_psd;

use super::params::{Feedback, LambdaScale, Params};

/// Which equation it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Equation {
    pub(super) feedback: Feedback,
    pub(super) lambda: f64,
    pub(super) lambda_scale: LambdaScale,
    pub(super) alpha: f64,
    pub(super) nonnegative: bool,
}

impl Equation {
    pub(super) fn of(params: &Params) -> Equation {
        Equation {
            feedback: params.feedback,
            lambda: params.lambda,
            lambda_scale: params.lambda_scale(),
            alpha: params.alpha,
            nonnegative: params.nonnegative,
        }
    }

    #[inline(always)]
    pub(super) fn is_implicit(&self) -> bool {
        match self.feedback {
            Feedback::Explicit => false,
            Feedback::Implicit => true,
        }
    }

    /// What yyᵀ counts for a rating.
    #[inline(always)]
    pub(super) fn weight(&self, value: f32) -> f32 {
        narrow(self.weight_f64(value))
    }

    /// What y counts for a rating on the right-hand side.
    #[inline(always)]
    pub(super) fn target(&self, value: f32) -> f32 {
        narrow(self.target_f64(value))
    }

    #[inline(always)]
    fn weight_f64(&self, value: f32) -> f64 {
        match self.feedback {
            Feedback::Explicit => 1.0,
            Feedback::Implicit => self.alpha * f64::from(value.abs()),
        }
    }

    #[inline(always)]
    pub(super) fn target_f64(&self, value: f32) -> f64 {
        match self.feedback {
            Feedback::Explicit => f64::from(value),
            Feedback::Implicit if value > 0.0 => 1.0 + self.alpha * f64::from(value),
            Feedback::Implicit => 0.0,
        }
    }

    /// λ·s of a row.
    pub(super) fn penalty(&self, values: &[f32]) -> f64 {
        let times = match (self.lambda_scale, self.feedback) {
            (LambdaScale::None, _) => 1,
            (LambdaScale::Ratings, Feedback::Explicit) => values.len(),
            (LambdaScale::Ratings, Feedback::Implicit) => values.iter().filter(|value| **value > 0.0).count(),
        };
        self.lambda * times as f64
    }

    /// Whether the right-hand side of a row is 0, and so its vector.
    pub(super) fn is_zero(&self, values: &[f32]) -> bool {
        values.iter().all(|&value| self.target_f64(value) == 0.0)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "training is in 32-bit floats")]
#[inline(always)]
pub(super) fn narrow(value: f64) -> f32 {
    value as f32
}

/// A x = b for one row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct System {
    n: usize,
    /// n × n row-major, whole.
    a: Vec<f64>,
    b: Vec<f64>,
}

impl System {
    /// `base`: YᵀY, n × n, or empty for 0. `vectors` are those of the rated, as long as `values`.
    pub(super) fn new<'a>(
        equation: &Equation,
        base: &[f64],
        n: usize,
        vectors: impl Iterator<Item = &'a [f32]>,
        values: &[f32],
    ) -> System {
        let mut a = if base.is_empty() { vec![0.0; n * n] } else { base.to_vec() };
        let mut b = vec![0.0; n];
        let mut wide = vec![0.0; n];
        for (vector, &value) in vectors.zip(values) {
            wide.iter_mut().zip(vector).for_each(|(wide, value)| *wide = f64::from(*value));
            add_outer(equation.weight_f64(value), &wide, &mut a);
            axpy(equation.target_f64(value), &wide, &mut b);
        }
        let mut system = System { n, a, b };
        system.mirror();
        system.add_penalty(equation.penalty(values));
        system
    }

    /// Of a whole matrix without the penalty.
    pub(super) fn of_sums(a: Vec<f64>, b: Vec<f64>, penalty: f64) -> System {
        let mut system = System { n: b.len(), a, b };
        system.mirror();
        system.add_penalty(penalty);
        system
    }

    /// Copies the upper triangle to the lower.
    fn mirror(&mut self) {
        for i in 0..self.n {
            for j in 0..i {
                self.a[i * self.n + j] = self.a[j * self.n + i];
            }
        }
    }

    fn add_penalty(&mut self, penalty: f64) {
        for i in 0..self.n {
            self.a[i * self.n + i] += penalty;
        }
    }

    /// The x of A x = b; with `nonnegative` the x ≥ 0 of least xᵀAx/2 − bᵀx, looked for from the components above 0 in
    /// `start`.
    pub(super) fn solve(&self, nonnegative: bool, start: &[f32]) -> Vec<f64> {
        if nonnegative { self.solve_nonnegative(start) } else { self.solve_among(&(0..self.n).collect::<Vec<_>>()) }
    }

    /// The solution where only the components `free` may differ from 0.
    pub(super) fn solve_among(&self, free: &[usize]) -> Vec<f64> {
        let rhs: Vec<f64> = free.iter().map(|&i| self.b[i]).collect();
        self.spread(free, self.solve_for(free, rhs))
    }

    /// z with A z = c on the components `free`, and 0 elsewhere.
    pub(super) fn solve_for_vector(&self, free: &[usize], c: &[f32]) -> Vec<f64> {
        let rhs = free.iter().map(|&i| f64::from(c[i])).collect();
        self.spread(free, self.solve_for(free, rhs))
    }

    fn spread(&self, free: &[usize], values: Vec<f64>) -> Vec<f64> {
        let mut all = vec![0.0; self.n];
        free.iter().zip(values).for_each(|(&i, value)| all[i] = value);
        all
    }

    fn solve_for(&self, free: &[usize], rhs: Vec<f64>) -> Vec<f64> {
        let m = free.len();
        let mut lower = vec![0.0; m * m];
        for (row, &i) in free.iter().enumerate() {
            for (column, &j) in free[..=row].iter().enumerate() {
                lower[row * m + column] = self.a[i * self.n + j];
            }
        }
        if cholesky(&mut lower, m) {
            return solve_factored(&lower, rhs);
        }
        // Singular to 64 bits: the independent equations decide.
        let whole: Vec<f64> = free.iter().flat_map(|&i| free.iter().map(move |&j| self.a[i * self.n + j])).collect();
        solve_psd(&whole, &rhs).x
    }

    /// Block principal pivoting (Kim and Park 2011, §3): solve for the free components, then exchange all those which break
    /// x ≥ 0 or gradient ≥ 0. It needs a few solves; where exchanging has not helped three times it may go round in
    /// circles, and the slower descent ends what it began.
    fn solve_nonnegative(&self, start: &[f32]) -> Vec<f64> {
        let n = self.n;
        let mut is_free: Vec<bool> = start.iter().take(n).map(|value| *value > 0.0).collect();
        is_free.resize(n, false);
        let (mut fewest, mut chances) = (n + 1, 3);
        loop {
            let mut x = self.solve_among(&indices(&is_free));
            let broken: Vec<usize> =
                (0..n).filter(|&i| if is_free[i] { x[i] < 0.0 } else { self.pull(i, &x) > PULL_MIN }).collect();
            if broken.is_empty() {
                return x;
            }
            if broken.len() < fewest {
                (fewest, chances) = (broken.len(), 3);
            } else if chances > 0 {
                chances -= 1;
            } else {
                x.iter_mut().for_each(|value| *value = value.max(0.0));
                return self.descend(x);
            }
            broken.iter().for_each(|&i| is_free[i] = !is_free[i]);
        }
    }

    /// From a feasible x to the solution, never uphill (Lawson and Hanson 1974, ch. 23, on the normal equations): go
    /// towards the solution of the free components, as far as none falls below 0; one that reaches 0 is bound there. At
    /// the solution free the bound component that pulls most. Each set of free components is left for a lower one, so
    /// none comes twice, and what rounding makes of that ends with the budget.
    fn descend(&self, mut x: Vec<f64>) -> Vec<f64> {
        /// Solves to a component: far more than was ever seen.
        const SOLVES: usize = 6;
        let n = self.n;
        let mut is_free: Vec<bool> = x.iter().map(|value| *value > 0.0).collect();
        // Freed in vain: rounding, not the objective, had pulled.
        let mut is_refused = vec![false; n];
        let mut freed = false;
        for _ in 0..SOLVES * n {
            let free = indices(&is_free);
            let goal = self.solve_among(&free);
            let share = |i: usize| if goal[i] < 0.0 { x[i] / (x[i] - goal[i]) } else { 1.0 };
            let step = free.iter().map(|&i| share(i)).fold(1.0, f64::min);
            let reach_0: Vec<usize> = free.iter().copied().filter(|&i| goal[i] < 0.0 && share(i) <= step).collect();
            for &i in &free {
                x[i] = (x[i] + step * (goal[i] - x[i])).max(0.0);
            }
            if !reach_0.is_empty() {
                for &i in &reach_0 {
                    (x[i], is_free[i], is_refused[i]) = (0.0, false, is_refused[i] || step == 0.0);
                }
                freed &= step > 0.0;
                continue;
            }
            if freed {
                is_refused.fill(false);
            }
            let strongest = (0..n)
                .filter(|&i| !is_free[i] && !is_refused[i])
                .map(|i| (self.pull(i, &x), i))
                .max_by(|a, b| a.0.total_cmp(&b.0));
            match strongest {
                Some((pull, i)) if pull > PULL_MIN => (is_free[i], freed) = (true, true),
                Some(_) | None => return x,
            }
        }
        x
    }

    /// How far component i is from rest, upwards: minus its gradient, as a share of the terms that it is the sum of.
    fn pull(&self, i: usize, x: &[f64]) -> f64 {
        let row = &self.a[i * self.n..(i + 1) * self.n];
        let terms: f64 = row.iter().zip(x).map(|(a, x)| (a * x).abs()).sum();
        let largest = terms.max(self.b[i].abs());
        if largest > 0.0 { (self.b[i] - dot(row, x)) / largest } else { 0.0 }
    }
}

/// Below it a gradient is rounding.
const PULL_MIN: f64 = 1e-11;

fn indices(is_free: &[bool]) -> Vec<usize> {
    is_free.iter().enumerate().filter(|(_, free)| **free).map(|(i, _)| i).collect()
}

/// The upper triangle of a += w·yyᵀ.
pub(super) fn add_outer(weight: f64, y: &[f64], a: &mut [f64]) {
    let n = y.len();
    for (i, value) in y.iter().enumerate() {
        axpy(weight * value, &y[i..], &mut a[i * n + i..(i + 1) * n]);
    }
}

/// A = LLᵀ in place, the lower triangle being read and written. False where a pivot is only rounding.
fn cholesky(lower: &mut [f64], n: usize) -> bool {
    /// As a share of the diagonal element.
    const PIVOT_SHARE_MIN: f64 = 1e-13;
    for i in 0..n {
        let (above, row) = lower.split_at_mut(i * n);
        for j in 0..i {
            let other = &above[j * n..j * n + j + 1];
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let pivot = row[i] - dot(&row[..i], &row[..i]);
        let enough = pivot > PIVOT_SHARE_MIN * row[i];
        if !enough {
            return false;
        }
        row[i] = pivot.sqrt();
    }
    true
}

fn solve_factored(lower: &[f64], mut x: Vec<f64>) -> Vec<f64> {
    let n = x.len();
    for i in 0..n {
        x[i] = (x[i] - dot(&lower[i * n..i * n + i], &x[..i])) / lower[i * n + i];
    }
    for i in (0..n).rev() {
        x[i] /= lower[i * n + i];
        let value = -x[i];
        axpy(value, &lower[i * n..i * n + i], &mut x[..i]);
    }
    x
}
