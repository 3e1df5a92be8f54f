//! Limited-memory BFGS (Nocedal 1980; Nocedal and Wright 2006, algorithm 7.4) for many unknowns. The first estimate of
//! the inverse Hessian is a diagonal from the columns' own squares, so that rare categories do not wait for common ones.

use std::collections::VecDeque;

use crate::numeric::{axpy, dot};

use super::fit::Found;
use super::model::Ending;
use super::newton::{ending, line_search};
use super::params::Params;
use super::pass::Problem;

/// Pairs remembered.
const MEMORY: usize = 10;

struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// stepᵀ change, above 0.
    curvature: f64,
}

pub(super) fn minimise(problem: &Problem, start: &[f64], params: &Params) -> Found {
    let diagonal = problem.curvature_bound();
    let mut theta = start.to_vec();
    let mut here = problem.evaluate(&theta, false);
    let mut pairs: VecDeque<Pair> = VecDeque::with_capacity(MEMORY);
    let mut iterations = 0;
    let ending = loop {
        if let Some(ending) = ending(&here, params, iterations) {
            break ending;
        }
        let step = direction(&here.gradient, &diagonal, &pairs);
        let Some((next, there)) = line_search(problem, &theta, &here, &step, false) else {
            if pairs.is_empty() {
                break Ending::Stalled;
            }
            // What is remembered misleads: begin again from the gradient alone.
            pairs.clear();
            continue;
        };
        let step: Vec<f64> = next.iter().zip(&theta).map(|(next, theta)| next - theta).collect();
        let change: Vec<f64> = there.gradient.iter().zip(&here.gradient).map(|(new, old)| new - old).collect();
        let curvature = dot(&step, &change);
        if curvature > f64::EPSILON * dot(&change, &change).sqrt() * dot(&step, &step).sqrt() {
            if pairs.len() == MEMORY {
                pairs.pop_front();
            }
            pairs.push_back(Pair { step, change, curvature });
        }
        (theta, here) = (next, there);
        iterations += 1;
    };
    Found { theta, ending, iterations }
}

/// −H g by the two-loop recursion, H being the estimate of the inverse Hessian.
fn direction(gradient: &[f64], diagonal: &[f64], pairs: &VecDeque<Pair>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|value| -value).collect();
    let mut alphas = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let alpha = dot(&pair.step, &direction) / pair.curvature;
        axpy(-alpha, &pair.change, &mut direction);
        alphas.push(alpha);
    }
    let scale = pairs.back().map_or(1.0, |pair| {
        let scaled: f64 = pair.change.iter().zip(diagonal).map(|(change, diagonal)| change * change / diagonal).sum();
        pair.curvature / scaled
    });
    direction.iter_mut().zip(diagonal).for_each(|(value, diagonal)| *value *= scale / diagonal);
    for (pair, alpha) in pairs.iter().zip(alphas.iter().rev()) {
        let beta = dot(&pair.change, &direction) / pair.curvature;
        axpy(alpha - beta, &pair.step, &mut direction);
    }
    direction
}
