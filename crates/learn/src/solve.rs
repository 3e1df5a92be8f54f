//! Symmetric positive semi-definite systems, of full rank or not.

use crate::numeric::{axpy, dot};

/// A pivot of the unit-diagonal matrix is 1 − R² of its column on those before: below this it is rounding.
const PIVOT_MIN: f64 = 1e-12;

/// The answer of [`solve_psd`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Solution {
    pub(crate) x: Vec<f64>,
    pub(crate) rank: usize,
}

/// Solves A x = b with A scaled to a unit diagonal and factored by Cholesky with diagonal pivoting. When A is singular
/// the answer is the x of least Euclidean norm among those solving the independent equations: the null space is read
/// off the factor (Golub and Van Loan 2013, §5.5) and projected out. A row and column of zeros gives x = 0.
///
/// `a`: n × n row-major, the upper triangle is read; `b`: n.
pub(crate) fn solve_psd(a: &[f64], b: &[f64]) -> Solution {
    let n = b.len();
    let active: Vec<usize> = (0..n).filter(|&i| a[i * n + i] > 0.0).collect();
    let scales: Vec<f64> = active.iter().map(|&i| a[i * n + i].sqrt()).collect();
    let m = active.len();
    let mut lower = vec![0.0; m * m];
    for i in 0..m {
        for j in 0..=i {
            let upper = a[active[j] * n + active[i]];
            lower[i * m + j] = upper / scales[i] / scales[j];
        }
    }
    let (order, rank) = factor(&mut lower, m);
    let scales: Vec<f64> = order.iter().map(|&i| scales[i]).collect();
    let mut solution: Vec<f64> = (0..rank).map(|i| b[active[order[i]]] / scales[i]).collect();
    solve_lower(&lower, m, &mut solution);
    solve_lower_transposed(&lower, m, &mut solution);
    solution.resize(m, 0.0);
    for (value, scale) in solution.iter_mut().zip(&scales) {
        *value /= scale;
    }
    project_null_space_out(&lower, rank, &scales, &mut solution);
    let mut x = vec![0.0; n];
    for (position, value) in solution.into_iter().enumerate() {
        x[active[order[position]]] = value;
    }
    Solution { x, rank }
}

/// PᵀAP = LLᵀ in place, stopping at the first pivot which is only rounding. Gives the order (position → index) and
/// the rank r; the first r columns of `lower` are then L.
fn factor(lower: &mut [f64], n: usize) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..n).collect();
    let mut column = vec![0.0; n];
    for k in 0..n {
        let mut pivot = k;
        for i in k + 1..n {
            if lower[i * n + i] > lower[pivot * n + pivot] {
                pivot = i;
            }
        }
        // Written so that NaN ends the factorisation too.
        let usable = lower[pivot * n + pivot] > PIVOT_MIN;
        if !usable {
            return (order, k);
        }
        swap_symmetric(lower, n, k, pivot);
        order.swap(k, pivot);
        let diagonal = lower[k * n + k].sqrt();
        lower[k * n + k] = diagonal;
        for i in k + 1..n {
            lower[i * n + k] /= diagonal;
            column[i] = lower[i * n + k];
        }
        for i in k + 1..n {
            axpy(-column[i], &column[k + 1..=i], &mut lower[i * n + k + 1..=i * n + i]);
        }
    }
    (order, n)
}

/// Exchanges rows and columns `k` < `p` of a symmetric matrix held as its lower triangle.
fn swap_symmetric(lower: &mut [f64], n: usize, k: usize, p: usize) {
    if k == p {
        return;
    }
    for j in 0..k {
        lower.swap(k * n + j, p * n + j);
    }
    for i in k + 1..p {
        lower.swap(i * n + k, p * n + i);
    }
    for i in p + 1..n {
        lower.swap(i * n + k, i * n + p);
    }
    lower.swap(k * n + k, p * n + p);
}

/// L y = b in place for the leading block of b's length.
fn solve_lower(lower: &[f64], n: usize, b: &mut [f64]) {
    for i in 0..b.len() {
        let known = dot(&lower[i * n..i * n + i], &b[..i]);
        b[i] = (b[i] - known) / lower[i * n + i];
    }
}

/// Lᵀ y = b in place for the leading block of b's length.
fn solve_lower_transposed(lower: &[f64], n: usize, b: &mut [f64]) {
    for i in (0..b.len()).rev() {
        b[i] /= lower[i * n + i];
        let (before, value) = (&lower[i * n..i * n + i], -b[i]);
        axpy(value, before, &mut b[..i]);
    }
}

/// Removes from x its part in the null space of A, one basis vector for each dependent column, made orthonormal by
/// Gram–Schmidt run twice. `x` and `scales` are in pivot order.
fn project_null_space_out(lower: &[f64], rank: usize, scales: &[f64], x: &mut [f64]) {
    let n = x.len();
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(n - rank);
    for dependent in rank..n {
        let mut vector: Vec<f64> = lower[dependent * n..dependent * n + rank].iter().map(|value| -value).collect();
        solve_lower_transposed(lower, n, &mut vector);
        vector.resize(n, 0.0);
        vector[dependent] = 1.0;
        for (value, scale) in vector.iter_mut().zip(scales) {
            *value /= scale;
        }
        normalise(&mut vector);
        for _ in 0..2 {
            for earlier in &basis {
                axpy(-dot(earlier, &vector), earlier, &mut vector);
            }
        }
        normalise(&mut vector);
        axpy(-dot(&vector, x), &vector, x);
        basis.push(vector);
    }
}

fn normalise(vector: &mut [f64]) {
    let norm = dot(vector, vector).sqrt();
    if norm > 0.0 {
        vector.iter_mut().for_each(|value| *value /= norm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(a: &[f64], b: &[f64], expected: &[f64], rank: usize) {
        let solution = solve_psd(a, b);
        assert_eq!(solution.rank, rank);
        for (x, y) in solution.x.iter().zip(expected) {
            assert!((x - y).abs() < 1e-12, "{:?} is not {expected:?}", solution.x);
        }
    }

    #[test]
    fn a_regular_system_is_solved() {
        check(&[4.0, 1.0, 1.0, 3.0], &[1.0, 2.0], &[1.0 / 11.0, 7.0 / 11.0], 2);
    }

    #[test]
    fn equal_columns_share_the_weight() {
        check(&[2.0, 2.0, 2.0, 2.0], &[3.0, 3.0], &[0.75, 0.75], 1);
    }

    #[test]
    fn a_column_twice_as_long_takes_four_fifths() {
        check(&[1.0, 2.0, 2.0, 4.0], &[5.0, 10.0], &[1.0, 2.0], 1);
    }

    #[test]
    fn zeros_give_zero_and_nothing_gives_nothing() {
        check(&[0.0, 0.0, 0.0, 2.0], &[0.0, 4.0], &[0.0, 2.0], 1);
        check(&[], &[], &[], 0);
    }

    proptest! {
        /// For A = BᵀB of any rank and b in its range: A x = b, and x is orthogonal to the null space, that is, x = A z
        /// has no shorter solution: moving along any other solution only adds length.
        #[test]
        fn the_answer_solves_and_is_shortest(
            rows in prop::collection::vec(prop::collection::vec(-2i32..3, 5), 1..8),
            weights in prop::collection::vec(-3i32..4, 5),
        ) {
            let n = 5;
            let mut a = vec![0.0; n * n];
            for row in &rows {
                for i in 0..n {
                    for j in 0..n {
                        a[i * n + j] += f64::from(row[i] * row[j]);
                    }
                }
            }
            let given: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
            let b: Vec<f64> = (0..n).map(|i| dot(&a[i * n..i * n + n], &given)).collect();
            let x = solve_psd(&a, &b).x;
            for i in 0..n {
                prop_assert!((dot(&a[i * n..i * n + n], &x) - b[i]).abs() < 1e-8);
            }
            let null: Vec<f64> = given.iter().zip(&x).map(|(g, x)| g - x).collect();
            prop_assert!(dot(&null, &x).abs() < 1e-8);
        }
    }
}
