//! Newton's method with a line search: few unknowns, few passes.

use crate::numeric::{dot, max_abs};
use crate::solve::solve_psd;

use super::fit::Found;
use super::model::Ending;
use super::params::Params;
use super::pass::{Evaluation, Problem};

/// A step is taken when it gains at least this share of what its slope promises (Armijo 1966).
pub(super) const SUFFICIENT: f64 = 1e-4;

/// Halvings of a step before it counts as leading nowhere.
pub(super) const HALVINGS_MAX: u32 = 40;

/// Every row right, and by so much that the mean loss is below this: only a penalty could stop the weights now.
const SEPARATED_LOSS: f64 = 0.01;

pub(super) fn minimise(problem: &Problem, start: &[f64], params: &Params) -> Found {
    let here = problem.evaluate(start, true);
    minimise_from(problem, start.to_vec(), here, params)
}

/// As [`minimise`], where `here` is the evaluation at `theta`.
pub(super) fn minimise_from(problem: &Problem, mut theta: Vec<f64>, mut here: Evaluation, params: &Params) -> Found {
    let mut iterations = 0;
    let ending = loop {
        if let Some(ending) = ending(&here, params, iterations) {
            break ending;
        }
        let downhill: Vec<f64> = here.gradient.iter().map(|value| -value).collect();
        // A singular Hessian gets the shortest step, which keeps outputs which only differ by a constant centred.
        let step = solve_psd(&here.hessian, &downhill).x;
        let Some((next, there)) = line_search(problem, &theta, &here, &step, true) else {
            break Ending::Stalled;
        };
        (theta, here) = (next, there);
        iterations += 1;
    };
    Found { theta, ending, iterations }
}

/// Why to stop here, if so.
pub(super) fn ending(here: &Evaluation, params: &Params, iterations: u32) -> Option<Ending> {
    if params.l2 == 0.0 && here.wrong == 0 && here.loss <= SEPARATED_LOSS * here.n_rows {
        Some(Ending::Separated)
    } else if max_abs(&here.gradient) <= params.tolerance * here.n_rows {
        Some(Ending::Converged)
    } else if iterations >= params.max_iterations {
        Some(Ending::IterationLimit)
    } else {
        None
    }
}

/// Halves the step until the loss falls enough; `None` when it never does.
pub(super) fn line_search(
    problem: &Problem,
    theta: &[f64],
    here: &Evaluation,
    step: &[f64],
    with_hessian: bool,
) -> Option<(Vec<f64>, Evaluation)> {
    let slope = dot(&here.gradient, step);
    // Differences of the loss below this are rounding.
    let rounding = 64.0 * f64::EPSILON * here.loss.abs();
    let mut length = 1.0;
    for _ in 0..HALVINGS_MAX {
        let next: Vec<f64> = theta.iter().zip(step).map(|(theta, step)| theta + length * step).collect();
        let there = problem.evaluate(&next, with_hessian);
        // NaN is refused as well.
        if there.loss <= here.loss + SUFFICIENT * length * slope + rounding {
            return Some((next, there));
        }
        length *= 0.5;
    }
    None
}
