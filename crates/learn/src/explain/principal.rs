//! The two directions in which rows differ most.

use crate::layout::Layout;
use crate::numeric::{axpy, dot, uniform};
use crate::table::{Column, Table};

/// Directions that are iterated on: the more, the sooner the first two are found.
const DIRECTIONS: usize = 8;
const ITERATIONS: usize = 30;
/// One-sided differences of an orthogonal basis after so many sweeps are rounding.
const SWEEPS: usize = 60;

/// Principal components (Hotelling 1933) of encoded rows: a number is one axis, a category one for each category (0 or 1).
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// Of all variance.
    pub shares: [f64; 2],
    /// n_rows.
    pub scores: Vec<[f64; 2]>,
    /// n_axes, in column order; each of the two is of length 1, its largest number positive.
    pub loadings: Vec<[f64; 2]>,
}

/// `weights`: n_columns, what a difference in a column is multiplied by. By subspace iteration (Halko, Martinsson and Tropp 2011, §4.5),
/// which never makes the matrix of rows or of covariances; exact up to rounding for at most 8 axes. A missing value counts as the mean, words
/// of a text do not count. `None` where the rows do not differ, or differ too much for 64 bits.
pub fn principal(table: &Table, weights: &[f64]) -> Option<Principal> {
    let rows = Centred::of(table, weights);
    let n_axes = rows.layout.n_parameters();
    let k = n_axes.min(DIRECTIONS);
    let total = rows.total();
    if k == 0 || !(total.is_finite() && total > 0.0) {
        return None;
    }
    let mut basis: Vec<Vec<f64>> =
        (0..k).map(|of| (0..n_axes).map(|axis| uniform(of as u64 + 1, axis as u64) - 0.5).collect()).collect();
    orthogonalise(&mut basis);
    for _ in 0..if n_axes <= k { 0 } else { ITERATIONS } {
        basis = basis.iter().map(|direction| rows.back(&rows.along(direction))).collect();
        orthogonalise(&mut basis);
    }
    // Within the subspace the directions of most variance, by one-sided rotations of the scores (Hestenes 1958).
    let mut scores: Vec<Vec<f64>> = basis.iter().map(|direction| rows.along(direction)).collect();
    for _ in 0..SWEEPS {
        let mut is_turned = false;
        for a in 0..k {
            for b in a + 1..k {
                is_turned |= turn(&mut scores, &mut basis, a, b);
            }
        }
        if !is_turned {
            break;
        }
    }
    let variance = |at: usize| dot(&scores[at], &scores[at]);
    let mut order: Vec<usize> = (0..k).collect();
    order.sort_by(|&a, &b| variance(b).total_cmp(&variance(a)));
    let first = order[0];
    let second = order.get(1).copied().filter(|&at| variance(at) > 0.0);
    let signs = [Some(first), second].map(|at| at.map_or(0.0, |at| sign(&basis[at])));
    let of_two =
        |of: &[Vec<f64>], row: usize| [of[first][row] * signs[0], second.map_or(0.0, |at| of[at][row] * signs[1])];
    let found = Principal {
        shares: [variance(first) / total, second.map_or(0.0, |at| variance(at) / total)],
        scores: (0..table.n_rows()).map(|row| of_two(&scores, row)).collect(),
        loadings: (0..n_axes).map(|axis| of_two(&basis, axis)).collect(),
    };
    let all = found.scores.iter().chain(&found.loadings).flatten().chain(&found.shares);
    all.copied().all(f64::is_finite).then_some(found)
}

/// The rows less their means, times the weights of their columns.
struct Centred<'a> {
    table: &'a Table,
    layout: Layout,
    weights: &'a [f64],
    /// n_axes: of a category its share of the rows.
    means: Vec<f64>,
}

impl<'a> Centred<'a> {
    fn of(table: &'a Table, weights: &'a [f64]) -> Self {
        let layout = Layout::of(table);
        let mut means = vec![0.0; layout.n_parameters()];
        for (column, values) in table.columns().iter().enumerate() {
            let means = &mut means[layout.parameters(column)];
            match values {
                Column::Numeric(values) => {
                    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
                    means[0] = finite.iter().sum::<f64>() / finite.len().max(1) as f64;
                }
                Column::Categorical { codes, .. } => {
                    let share = 1.0 / codes.len().max(1) as f64;
                    for &code in codes {
                        if let Some(mean) = means.get_mut(code as usize) {
                            *mean += share;
                        }
                    }
                }
                Column::Sparse(_) => {}
            }
        }
        Self { table, layout, weights, means }
    }

    /// The rows along a direction: n_axes numbers in, n_rows out.
    fn along(&self, direction: &[f64]) -> Vec<f64> {
        let mut scores = vec![0.0; self.table.n_rows()];
        for (column, values) in self.table.columns().iter().enumerate() {
            let parameters = self.layout.parameters(column);
            let (direction, means) = (&direction[parameters.clone()], &self.means[parameters]);
            let weight = self.weights[column];
            match values {
                Column::Numeric(values) => {
                    let (mean, factor) = (means[0], direction[0] * weight);
                    for (score, value) in scores.iter_mut().zip(values).filter(|(_, value)| value.is_finite()) {
                        *score += (value - mean) * factor;
                    }
                }
                Column::Categorical { codes, .. } => {
                    let center = dot(direction, means);
                    for (score, &code) in scores.iter_mut().zip(codes) {
                        *score += (direction.get(code as usize).copied().unwrap_or(center) - center) * weight;
                    }
                }
                Column::Sparse(_) => {}
            }
        }
        scores
    }

    /// The transpose of `along`: n_rows numbers in, n_axes out.
    fn back(&self, scores: &[f64]) -> Vec<f64> {
        let mut direction = vec![0.0; self.means.len()];
        for (column, values) in self.table.columns().iter().enumerate() {
            let parameters = self.layout.parameters(column);
            let (direction, means) = (&mut direction[parameters.clone()], &self.means[parameters]);
            match values {
                Column::Numeric(values) => {
                    let present = scores.iter().zip(values).filter(|(_, value)| value.is_finite());
                    direction[0] = present.map(|(score, value)| score * (value - means[0])).sum();
                }
                Column::Categorical { codes, .. } => {
                    let mut all = 0.0;
                    for (score, &code) in scores.iter().zip(codes) {
                        if let Some(sum) = direction.get_mut(code as usize) {
                            *sum += score;
                            all += score;
                        }
                    }
                    axpy(-all, means, direction);
                }
                Column::Sparse(_) => {}
            }
            direction.iter_mut().for_each(|number| *number *= self.weights[column]);
        }
        direction
    }

    /// Σ squared distance of the rows from their mean.
    fn total(&self) -> f64 {
        let columns = self.table.columns().iter().enumerate();
        let squares = columns.map(|(column, values)| {
            let means = &self.means[self.layout.parameters(column)];
            let squares: f64 = match values {
                Column::Numeric(values) => {
                    values.iter().filter(|value| value.is_finite()).map(|value| (value - means[0]).powi(2)).sum()
                }
                Column::Categorical { codes, .. } => {
                    let even = dot(means, means);
                    let known = codes.iter().filter_map(|&code| means.get(code as usize));
                    known.map(|mean| 1.0 - 2.0 * mean + even).sum()
                }
                Column::Sparse(_) => 0.0,
            };
            squares * self.weights[column].powi(2)
        });
        squares.sum()
    }
}

/// Gram and Schmidt, twice, which leaves rounding only; what is left of a dependent direction is 0.
fn orthogonalise(basis: &mut [Vec<f64>]) {
    for at in 0..basis.len() {
        let (done, rest) = basis.split_at_mut(at);
        let own = &mut rest[0];
        let before = dot(own, own).sqrt();
        for _ in 0..2 {
            for other in done.iter() {
                let shared = dot(own, other);
                axpy(-shared, other, own);
            }
        }
        let length = dot(own, own).sqrt();
        let scale = if length > before * 1e-12 { 1.0 / length } else { 0.0 };
        own.iter_mut().for_each(|number| *number *= scale);
    }
}

/// Turns two directions, and the scores along them, so that the scores have nothing in common. Says whether they had.
fn turn(scores: &mut [Vec<f64>], basis: &mut [Vec<f64>], a: usize, b: usize) -> bool {
    let (of_a, of_b) = (dot(&scores[a], &scores[a]), dot(&scores[b], &scores[b]));
    let shared = dot(&scores[a], &scores[b]);
    if shared.abs() <= 1e-15 * (of_a * of_b).sqrt() || !shared.is_finite() {
        return false;
    }
    let ratio = (of_b - of_a) / (2.0 * shared);
    let tangent = ratio.signum() / (ratio.abs() + (1.0 + ratio * ratio).sqrt());
    let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
    for of in [scores, basis] {
        let (before, from_b) = of.split_at_mut(b);
        for (x, y) in before[a].iter_mut().zip(&mut from_b[0]) {
            (*x, *y) = (cosine * (*x - tangent * *y), cosine * (*y + tangent * *x));
        }
    }
    true
}

fn sign(direction: &[f64]) -> f64 {
    let largest = direction.iter().copied().fold(0.0_f64, |largest, number| {
        // By rounding alone the later of two equal numbers may seem larger.
        if number.abs() > largest.abs() * (1.0 + 1e-9) { number } else { largest }
    });
    if largest < 0.0 { -1.0 } else { 1.0 }
}
