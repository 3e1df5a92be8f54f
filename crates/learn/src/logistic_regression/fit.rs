//! Standardises, chooses the method, and returns to the columns' own units. Pure.

use crate::chunks::CHUNK_ROWS;
use crate::error::FitError;
use crate::layout::{Layout, check_classes};
use crate::numeric::max_abs;
use crate::table::Table;

use super::lbfgs;
use super::model::{Ending, Model};
use super::newton;
use super::params::Params;
use super::pass::Problem;
use crate::scales::Scales;

/// The most parameters (numeric columns plus categories) of a fit, over all classes.
pub const PARAMETERS_MAX: usize = 1 << 20;

/// The most classes of a fit.
pub const CLASSES_MAX: u32 = 1024;

/// Up to so many unknowns their Hessian is cheaper than the steps it saves.
const NEWTON_UNKNOWNS_MAX: usize = 256;

/// From so many rows on the search starts on every [`WARM_START_STEP`]th block of rows, which leaves two or three steps
/// over all of them.
const WARM_START_ROWS_MIN: usize = 4 * CHUNK_ROWS;
const WARM_START_STEP: usize = 16;

/// A standardised weight beyond this multiplies odds by e²⁰ for one standard deviation: the classes are separated.
const SEPARATED_WEIGHT: f64 = 20.0;

/// What the methods find, in standardised units.
pub(super) struct Found {
    /// n_outputs × (n_parameters + 1), row-major, the bias last.
    pub(super) theta: Vec<f64>,
    pub(super) ending: Ending,
    pub(super) iterations: u32,
}

/// Maximum likelihood with an l2 penalty. `classes`: n_rows, each below `n_classes`; classes without rows are allowed
/// as long as two have some.
///
/// # Errors
/// [`FitError::NoRows`], [`FitError::TargetCount`], [`FitError::UnknownClass`], [`FitError::OneClass`],
/// [`FitError::Missing`], [`FitError::NotFinite`], [`FitError::TooLarge`], [`FitError::TooManyClasses`],
/// [`FitError::TooManyParameters`].
pub fn fit(table: &Table, classes: &[u32], n_classes: u32, params: &Params) -> Result<Model, FitError> {
    let rows = table.n_rows();
    if rows != classes.len() {
        return Err(FitError::TargetCount { rows, targets: classes.len() });
    }
    if rows == 0 {
        return Err(FitError::NoRows);
    }
    let counts = check_classes(classes, n_classes, CLASSES_MAX)?;
    let layout = Layout::of(table);
    let n_outputs = if n_classes == 2 { 1 } else { n_classes as usize };
    let found = layout.n_parameters().saturating_mul(n_outputs);
    if found > PARAMETERS_MAX {
        return Err(FitError::TooManyParameters { found, max: PARAMETERS_MAX });
    }
    let scales = Scales::of(&layout, table)?;
    let problem = Problem::new(&layout, &scales, table, classes, n_outputs, params.l2);
    let found = search(&problem, &start(&problem, &counts), prior_loss(&counts), params);
    Ok(model(layout, scales, n_classes as usize, found, params.l2))
}

/// No weights, and the biases which give every row the shares of the classes.
fn start(problem: &Problem, counts: &[u64]) -> Vec<f64> {
    let q = problem.n_weights();
    let mut theta = vec![0.0; problem.n_outputs() * q];
    // A class without rows is given half a row, that its logarithm be finite.
    let logs: Vec<f64> = counts.iter().map(|&count| (count as f64).max(0.5).ln()).collect();
    if problem.n_outputs() == 1 {
        theta[q - 1] = logs[1] - logs[0];
    } else {
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        for (output, log) in logs.iter().enumerate() {
            theta[output * q + q - 1] = log - mean;
        }
    }
    theta
}

/// The loss of knowing only the shares of the classes.
fn prior_loss(counts: &[u64]) -> f64 {
    let n: u64 = counts.iter().sum();
    let of_class = |count: &u64| if *count == 0 { 0.0 } else { *count as f64 * (n as f64 / *count as f64).ln() };
    counts.iter().map(of_class).sum()
}

fn search(problem: &Problem, start: &[f64], prior_loss: f64, params: &Params) -> Found {
    if start.len() > NEWTON_UNKNOWNS_MAX {
        return lbfgs::minimise(problem, start, params);
    }
    if problem.n_rows() >= WARM_START_ROWS_MIN {
        let sample = problem.every(WARM_START_STEP);
        let rough = Params { tolerance: params.tolerance.max(1e-4), max_iterations: 20, ..*params };
        let first = newton::minimise(&sample, start, &rough);
        // A sample may be separable where the whole is not: then its weights are worse than none.
        let there = problem.evaluate(&first.theta, true);
        if there.loss < prior_loss {
            return newton::minimise_from(problem, first.theta, there, params);
        }
    }
    newton::minimise(problem, start, params)
}

fn model(layout: Layout, scales: Scales, n_classes: usize, found: Found, l2: f64) -> Model {
    let q = layout.n_parameters() + 1;
    let mut coefficients = Vec::with_capacity(found.theta.len());
    let mut offsets = Vec::new();
    let mut largest: f64 = 0.0;
    for of_output in found.theta.chunks_exact(q) {
        let (weights, bias) = of_output.split_at(q - 1);
        largest = largest.max(max_abs(weights));
        coefficients.extend(weights.iter().zip(&scales.inverse).map(|(weight, inverse)| weight * inverse));
        offsets.extend_from_slice(bias);
    }
    let separated = l2 == 0.0 && largest > SEPARATED_WEIGHT;
    let ending = if separated { Ending::Separated } else { found.ending };
    Model { layout, n_classes, centers: scales.centers, coefficients, offsets, ending, iterations: found.iterations }
}
