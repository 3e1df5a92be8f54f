//! The loss with its gradient and Hessian in one pass over the rows.

use std::ops::Range;

use crate::chunks::{BLOCK_ROWS, fold_chunks, split};
use crate::layout::Layout;
use crate::numeric::{dot, exp_nonpositive, sum};
use crate::table::{Column, Sparse, Table};

use crate::scales::Scales;

/// What is minimised: Σ log-loss + Σ penalty/2·θ² over standardised columns.
///
/// θ is n_outputs × q, row-major, with q = n_parameters + 1 and the bias last.
#[derive(Clone)]
pub(super) struct Problem<'a> {
    numeric: Vec<NumericColumn<'a>>,
    /// The first parameter and the codes of each.
    categorical: Vec<(usize, &'a [u32])>,
    /// The first parameter and the rows of each.
    sparse: Vec<(usize, &'a Sparse)>,
    classes: &'a [u32],
    n_outputs: usize,
    q: usize,
    /// q; 0 for the bias.
    penalties: Vec<f64>,
    /// q: Σ z² over all rows.
    squares: Vec<f64>,
    /// Only every so manyth block of rows is looked at.
    block_step: usize,
}

#[derive(Clone)]
struct NumericColumn<'a> {
    parameter: usize,
    values: &'a [f64],
    center: f64,
    inverse: f64,
}

/// The objective at one θ.
pub(super) struct Evaluation {
    pub(super) loss: f64,
    /// n_outputs × q.
    pub(super) gradient: Vec<f64>,
    /// (n_outputs·q)², row-major, the upper triangle; empty when not asked for.
    pub(super) hessian: Vec<f64>,
    /// Blocks or rows with a row whose own class does not have the highest score; 0 means that all have.
    pub(super) wrong: u64,
    /// Rows looked at.
    pub(super) n_rows: f64,
}

/// Sums over some rows. `hessian` holds a q × q upper triangle for every pair of outputs a ≤ b.
struct Sums {
    loss: f64,
    gradient: Vec<f64>,
    hessian: Vec<f64>,
    wrong: u64,
    n_rows: usize,
}

/// Buffers for one block of rows.
struct Block {
    /// For each numeric column.
    z: Vec<[f64; BLOCK_ROWS]>,
    /// For each output: scores, then probabilities less the truth.
    residuals: Vec<[f64; BLOCK_ROWS]>,
    /// For each output the probabilities; not used with one.
    probabilities: Vec<[f64; BLOCK_ROWS]>,
    weights: [f64; BLOCK_ROWS],
    weighted: [f64; BLOCK_ROWS],
}

impl<'a> Problem<'a> {
    pub(super) fn new(
        layout: &Layout,
        scales: &Scales,
        table: &'a Table,
        classes: &'a [u32],
        n_outputs: usize,
        l2: f64,
    ) -> Problem<'a> {
        let (mut numeric, mut categorical, mut sparse) = (Vec::new(), Vec::new(), Vec::new());
        for (column, values) in table.columns().iter().enumerate() {
            let parameter = layout.parameters(column).start;
            match values {
                Column::Numeric(values) => {
                    let (center, inverse) = (scales.centers[column], scales.inverse[parameter]);
                    numeric.push(NumericColumn { parameter, values, center, inverse });
                }
                Column::Categorical { codes, .. } => categorical.push((parameter, codes.as_slice())),
                Column::Sparse(values) => sparse.push((parameter, values)),
            }
        }
        // A standardised weight is the weight times the standard deviation. That of a constant column stays 0.
        let penalty = |inverse: &f64| l2 * inverse * inverse;
        let penalties = scales.inverse.iter().map(penalty).chain([0.0]).collect();
        let squares = scales.squares.iter().copied().chain([classes.len() as f64]).collect();
        let q = layout.n_parameters() + 1;
        Problem { numeric, categorical, sparse, classes, n_outputs, q, penalties, squares, block_step: 1 }
    }

    /// The same on every `block_step`th block of rows, with so much less of a penalty.
    pub(super) fn every(&self, block_step: usize) -> Problem<'a> {
        let mut sample = self.clone();
        sample.block_step = block_step;
        sample.penalties.iter_mut().for_each(|penalty| *penalty /= block_step as f64);
        sample
    }

    pub(super) fn n_rows(&self) -> usize {
        self.classes.len()
    }

    pub(super) fn n_outputs(&self) -> usize {
        self.n_outputs
    }

    /// q.
    pub(super) fn n_weights(&self) -> usize {
        self.q
    }

    /// A diagonal of about the Hessian's size at equal probabilities (Böhning 1992); never 0.
    pub(super) fn curvature_bound(&self) -> Vec<f64> {
        let of_output = || self.squares.iter().zip(&self.penalties).map(|(squares, penalty)| 0.25 * squares + penalty);
        (0..self.n_outputs).flat_map(|_| of_output()).map(|bound| if bound > 0.0 { bound } else { 1.0 }).collect()
    }

    pub(super) fn evaluate(&self, theta: &[f64], with_hessian: bool) -> Evaluation {
        let mut total: Option<Sums> = None;
        // Results in flight are limited to about 64 MiB.
        let in_flight = (8_000_000 / self.sums_len(with_hessian)).clamp(1, 64);
        let of_chunk = |rows| self.sum_chunk(theta, rows, with_hessian);
        fold_chunks(self.n_rows(), in_flight, of_chunk, |chunk| match &mut total {
            None => total = Some(chunk),
            Some(total) => total.add(&chunk),
        });
        let sums = total.unwrap_or_else(|| Sums::new(self, with_hessian));
        self.penalise(sums, theta)
    }

    fn sums_len(&self, with_hessian: bool) -> usize {
        let n_pairs = self.n_outputs * (self.n_outputs + 1) / 2;
        self.n_outputs * self.q + if with_hessian { n_pairs * self.q * self.q } else { 0 }
    }

    fn penalise(&self, sums: Sums, theta: &[f64]) -> Evaluation {
        let mut evaluation = Evaluation {
            loss: sums.loss,
            hessian: self.assemble(&sums.hessian),
            gradient: sums.gradient,
            wrong: sums.wrong,
            n_rows: sums.n_rows as f64,
        };
        let d = theta.len();
        for (index, (theta, penalty)) in theta.iter().zip(self.penalties.iter().cycle()).enumerate() {
            evaluation.loss += 0.5 * penalty * theta * theta;
            evaluation.gradient[index] += penalty * theta;
            if let Some(diagonal) = evaluation.hessian.get_mut(index * d + index) {
                *diagonal += penalty;
            }
        }
        evaluation
    }

    /// From blocks of pairs of outputs to one matrix.
    fn assemble(&self, pairs: &[f64]) -> Vec<f64> {
        let (q, d) = (self.q, self.n_outputs * self.q);
        let mut full = vec![0.0; if pairs.is_empty() { 0 } else { d * d }];
        let mut blocks = pairs.chunks_exact(q * q);
        for a in 0..self.n_outputs {
            for b in a..self.n_outputs {
                let Some(block) = blocks.next() else { return full };
                for i in 0..q {
                    for j in i..q {
                        full[(a * q + i) * d + b * q + j] = block[i * q + j];
                        full[(a * q + j) * d + b * q + i] = block[i * q + j];
                    }
                }
            }
        }
        full
    }

    fn sum_chunk(&self, theta: &[f64], rows: Range<usize>, with_hessian: bool) -> Sums {
        let mut sums = Sums::new(self, with_hessian);
        let mut block = Block {
            z: vec![[0.0; BLOCK_ROWS]; self.numeric.len()],
            residuals: vec![[0.0; BLOCK_ROWS]; self.n_outputs],
            probabilities: vec![[0.0; BLOCK_ROWS]; if self.n_outputs == 1 { 0 } else { self.n_outputs }],
            weights: [0.0; BLOCK_ROWS],
            weighted: [0.0; BLOCK_ROWS],
        };
        for rows in split(rows, BLOCK_ROWS).step_by(self.block_step) {
            sums.n_rows += rows.len();
            self.standardise(&rows, &mut block);
            self.score(theta, &rows, &mut block);
            if self.n_outputs == 1 {
                binary(&self.classes[rows.clone()], &mut block, &mut sums);
            } else {
                softmax(&self.classes[rows.clone()], &mut block, &mut sums);
            }
            self.add_gradient(&rows, &block, &mut sums);
            if with_hessian {
                self.add_hessian(&rows, &mut block, &mut sums);
            }
        }
        sums
    }

    fn standardise(&self, rows: &Range<usize>, block: &mut Block) {
        for (column, z) in self.numeric.iter().zip(&mut block.z) {
            for (z, value) in z.iter_mut().zip(&column.values[rows.clone()]) {
                *z = (value - column.center) * column.inverse;
            }
        }
    }

    fn score(&self, theta: &[f64], rows: &Range<usize>, block: &mut Block) {
        let n = rows.len();
        for (scores, theta) in block.residuals.iter_mut().zip(theta.chunks_exact(self.q)) {
            let scores = &mut scores[..n];
            scores.fill(theta[self.q - 1]);
            for (column, z) in self.numeric.iter().zip(&block.z) {
                crate::numeric::axpy(theta[column.parameter], &z[..n], scores);
            }
            for (start, codes) in &self.categorical {
                for (score, &code) in scores.iter_mut().zip(&codes[rows.clone()]) {
                    *score += theta[start + code as usize];
                }
            }
            for (start, sparse) in &self.sparse {
                let theta = &theta[*start..start + sparse.n_terms() as usize];
                for (score, row) in scores.iter_mut().zip(rows.clone()) {
                    *score += sparse.row(row).map(|(term, value)| theta[term] * value).sum::<f64>();
                }
            }
        }
    }

    fn add_gradient(&self, rows: &Range<usize>, block: &Block, sums: &mut Sums) {
        let n = rows.len();
        for (residuals, gradient) in block.residuals.iter().zip(sums.gradient.chunks_exact_mut(self.q)) {
            let residuals = &residuals[..n];
            for (column, z) in self.numeric.iter().zip(&block.z) {
                gradient[column.parameter] += dot(residuals, &z[..n]);
            }
            for (start, codes) in &self.categorical {
                for (residual, &code) in residuals.iter().zip(&codes[rows.clone()]) {
                    gradient[start + code as usize] += residual;
                }
            }
            for (start, sparse) in &self.sparse {
                let gradient = &mut gradient[*start..start + sparse.n_terms() as usize];
                for (residual, row) in residuals.iter().zip(rows.clone()) {
                    sparse.row(row).for_each(|(term, value)| gradient[term] += residual * value);
                }
            }
            gradient[self.q - 1] += sum(residuals);
        }
    }

    /// ∂²/∂θₐ∂θ_b = Σ wₐ_b z zᵀ with wₐ_b = pₐ(δₐ_b − p_b).
    fn add_hessian(&self, rows: &Range<usize>, block: &mut Block, sums: &mut Sums) {
        let (n, size) = (rows.len(), self.q * self.q);
        if self.n_outputs == 1 {
            return self.add_weighted(rows, block, &mut sums.hessian);
        }
        let mut pair = 0;
        for a in 0..self.n_outputs {
            for b in a..self.n_outputs {
                let own = if a == b { 1.0 } else { 0.0 };
                let (left, right) = (&block.probabilities[a][..n], &block.probabilities[b][..n]);
                for (weight, (left, right)) in block.weights.iter_mut().zip(left.iter().zip(right)) {
                    *weight = left * (own - right);
                }
                self.add_weighted(rows, block, &mut sums.hessian[pair * size..(pair + 1) * size]);
                pair += 1;
            }
        }
    }

    /// Adds Σ w z zᵀ to a q × q upper triangle.
    fn add_weighted(&self, rows: &Range<usize>, block: &mut Block, hessian: &mut [f64]) {
        let (n, q) = (rows.len(), self.q);
        let weights = &block.weights[..n];
        let weighted = &mut block.weighted[..n];
        for (index, (column, z)) in self.numeric.iter().zip(&block.z).enumerate() {
            for (weighted, (weight, z)) in weighted.iter_mut().zip(weights.iter().zip(z)) {
                *weighted = weight * z;
            }
            let row = &mut hessian[column.parameter * q..(column.parameter + 1) * q];
            row[q - 1] += sum(weighted);
            for (other, z) in self.numeric[index..].iter().zip(&block.z[index..]) {
                row[other.parameter] += dot(weighted, &z[..n]);
            }
            for (start, codes) in &self.categorical {
                for (weighted, &code) in weighted.iter().zip(&codes[rows.clone()]) {
                    let parameter = start + code as usize;
                    let (low, high) = (column.parameter.min(parameter), column.parameter.max(parameter));
                    hessian[low * q + high] += weighted;
                }
            }
        }
        for (position, (start, codes)) in self.categorical.iter().enumerate() {
            for (row, (weight, &code)) in rows.clone().zip(weights.iter().zip(&codes[rows.clone()])) {
                let parameter = start + code as usize;
                hessian[parameter * q + parameter] += weight;
                hessian[parameter * q + q - 1] += weight;
                for (start, codes) in &self.categorical[position + 1..] {
                    hessian[parameter * q + start + codes[row] as usize] += weight;
                }
            }
        }
        hessian[q * q - 1] += sum(weights);
        if !self.sparse.is_empty() {
            self.add_weighted_terms(rows, block, hessian);
        }
    }

    /// The part of Σ w z zᵀ that has a term in it.
    fn add_weighted_terms(&self, rows: &Range<usize>, block: &Block, hessian: &mut [f64]) {
        let q = self.q;
        let mut add = |a: usize, b: usize, value: f64| hessian[a.min(b) * q + a.max(b)] += value;
        for (at, row) in rows.clone().enumerate() {
            let weight = block.weights[at];
            for (position, (start, sparse)) in self.sparse.iter().enumerate() {
                let terms = sparse.row(row);
                for (place, (term, value)) in terms.clone().enumerate() {
                    let (parameter, weighted) = (start + term, weight * value);
                    add(parameter, q - 1, weighted);
                    terms
                        .clone()
                        .skip(place)
                        .for_each(|(other, value)| add(parameter, start + other, weighted * value));
                    for (start, sparse) in &self.sparse[position + 1..] {
                        sparse.row(row).for_each(|(other, value)| add(parameter, start + other, weighted * value));
                    }
                    for (column, z) in self.numeric.iter().zip(&block.z) {
                        add(parameter, column.parameter, weighted * z[at]);
                    }
                    for (start, codes) in &self.categorical {
                        add(parameter, start + codes[row] as usize, weighted);
                    }
                }
            }
        }
    }
}

impl Sums {
    fn new(problem: &Problem, with_hessian: bool) -> Sums {
        let gradient = vec![0.0; problem.n_outputs * problem.q];
        let hessian = vec![0.0; problem.sums_len(with_hessian) - gradient.len()];
        Sums { loss: 0.0, gradient, hessian, wrong: 0, n_rows: 0 }
    }

    fn add(&mut self, other: &Sums) {
        self.loss += other.loss;
        self.gradient.iter_mut().zip(&other.gradient).for_each(|(sum, value)| *sum += value);
        self.hessian.iter_mut().zip(&other.hessian).for_each(|(sum, value)| *sum += value);
        self.wrong += other.wrong;
        self.n_rows += other.n_rows;
    }
}

/// Turns the scores s of class 1 into p − y, and sets the weights p(1 − p); the loss is ln(1 + e^−|s|) + max(±s, 0).
///
/// Classes are 0 and 1. Several short loops, each without a branch or a sum, so that the compiler uses wide registers.
fn binary(classes: &[u32], block: &mut Block, sums: &mut Sums) {
    let n = classes.len();
    let scores = &mut block.residuals[0][..n];
    let weights = &mut block.weights[..n];
    let margins = &mut block.weighted[..n];
    for (margin, (score, &class)) in margins.iter_mut().zip(scores.iter().zip(classes)) {
        *margin = score * (f64::from(class) * 2.0 - 1.0);
    }
    for (exp, score) in weights.iter_mut().zip(scores.iter()) {
        *exp = exp_nonpositive(-score.abs());
    }
    let all_right = margins.iter().fold(true, |right, margin| right & (*margin > 0.0));
    margins.iter_mut().for_each(|margin| *margin = (-*margin).max(0.0));
    sums.loss += ln_product_of_one_plus(weights) + sum(margins);
    sums.wrong += u64::from(!all_right);
    for ((score, weight), &class) in scores.iter_mut().zip(weights.iter_mut()).zip(classes) {
        let inverse = 1.0 / (1.0 + *weight);
        let small = *weight * inverse;
        let probability = if *score >= 0.0 { inverse } else { small };
        *score = probability - f64::from(class);
        *weight = inverse * small;
    }
}

/// Σ ln(1 + eᵢ) for 0 ≤ eᵢ ≤ 1: the product is at most 2²⁵⁶ in a block, so one logarithm does for all its rows.
fn ln_product_of_one_plus(exps: &[f64]) -> f64 {
    let mut lanes = [1.0; 8];
    let (wide, rest) = exps.as_chunks::<8>();
    for exps in wide {
        for lane in 0..8 {
            lanes[lane] *= 1.0 + exps[lane];
        }
    }
    let rest: f64 = rest.iter().map(|exp| 1.0 + exp).product();
    (lanes.iter().product::<f64>() * rest).ln()
}

/// Turns scores into probabilities and residuals.
fn softmax(classes: &[u32], block: &mut Block, sums: &mut Sums) {
    let k = block.residuals.len();
    for (row, &class) in classes.iter().enumerate() {
        let own = block.residuals[class as usize][row];
        let top = (0..k).map(|output| block.residuals[output][row]).fold(f64::NEG_INFINITY, f64::max);
        let at_top = (0..k).filter(|&output| block.residuals[output][row] == top).count();
        sums.wrong += u64::from(own < top || at_top > 1);
        let mut total = 0.0;
        for output in 0..k {
            let exp = exp_nonpositive(block.residuals[output][row] - top);
            block.probabilities[output][row] = exp;
            total += exp;
        }
        sums.loss += total.ln() + top - own;
        for output in 0..k {
            let probability = block.probabilities[output][row] / total;
            block.probabilities[output][row] = probability;
            block.residuals[output][row] = probability - if output == class as usize { 1.0 } else { 0.0 };
        }
    }
}
