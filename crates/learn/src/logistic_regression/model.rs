//! A fitted logistic regression.

use std::ops::Range;

use crate::arrays::{Array, Arrays, Dim, damaged, read_finite, read_u8, read_u32};
use crate::chunks::fill_chunks;
use crate::error::{LoadError, PredictError};
use crate::layout::{Layout, add_scores};
use crate::numeric::{sigmoids, softmax};
use crate::table::Table;

use super::fit::{CLASSES_MAX, PARAMETERS_MAX};

/// How a fit came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The gradient is within the tolerance.
    Converged,
    /// Without a penalty and with classes (nearly) separated by the columns there is no finite optimum: the weights are
    /// those at which the search stopped.
    Separated,
    /// `max_iterations` came first.
    IterationLimit,
    /// No step lowers the loss any more, although the gradient is not within the tolerance.
    Stalled,
}

impl Ending {
    const ALL: [Ending; 4] = [Ending::Converged, Ending::Separated, Ending::IterationLimit, Ending::Stalled];

    /// As in the arrays.
    pub fn code(self) -> u8 {
        match self {
            Ending::Converged => 0,
            Ending::Separated => 1,
            Ending::IterationLimit => 2,
            Ending::Stalled => 3,
        }
    }
}

/// With one output (two classes) p₁ = σ(score); with K outputs p = softmax(scores).
/// score = offset + Σ over columns of weight·(value − centre), of the category's weight, or Σ weight·value of the terms.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub(super) layout: Layout,
    pub(super) n_classes: usize,
    /// n_columns; 0 for a column that is not numeric.
    pub(super) centers: Vec<f64>,
    /// n_outputs × n_parameters, row-major.
    pub(super) coefficients: Vec<f64>,
    /// n_outputs.
    pub(super) offsets: Vec<f64>,
    pub(super) ending: Ending,
    pub(super) iterations: u32,
}

impl Model {
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// 1 for two classes (the score of class 1), else one for each class.
    pub fn n_outputs(&self) -> usize {
        self.offsets.len()
    }

    /// n_outputs × n_parameters, row-major; parameters are in column order, one a category for a categorical column,
    /// one a term for a text.
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// Which of the parameters are those of a column; `None`: there is no such column.
    pub fn parameters(&self, column: usize) -> Option<Range<usize>> {
        (column < self.layout.n_columns()).then(|| self.layout.parameters(column))
    }

    /// n_outputs: the scores where every number is 0 and no category is set.
    pub fn intercepts(&self) -> Vec<f64> {
        let shift = |output: usize| -> f64 {
            let numeric = (0..self.layout.n_columns()).filter(|&column| self.layout.is_numeric(column));
            let weights = self.weights(output);
            numeric.map(|column| self.centers[column] * weights[self.layout.parameters(column).start]).sum()
        };
        self.offsets.iter().enumerate().map(|(output, offset)| offset - shift(output)).collect()
    }

    /// Whether the gradient came within the tolerance at a finite optimum.
    pub fn converged(&self) -> bool {
        self.ending == Ending::Converged
    }

    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// Steps taken over all rows.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// For people: what to know before trusting the weights, or `None`.
    pub fn note(&self) -> Option<&'static str> {
        match self.ending {
            Ending::Converged => None,
            Ending::Separated => Some(
                "the columns separate the classes, so without a penalty the best weights are infinite and these are \
                 only large: set l2 above 0",
            ),
            Ending::IterationLimit => Some("stopped at max_iterations before converging: raise it, or l2"),
            Ending::Stalled => Some("stopped where no step lowers the loss, short of the tolerance: raise tolerance"),
        }
    }

    /// n_rows × n_classes, row-major, each row summing to 1; NaN for a row where a value is missing or a category was
    /// not known at the fit.
    pub fn probabilities(&self, table: &Table) -> Result<Vec<f64>, PredictError> {
        self.layout.check(table)?;
        let mut probabilities = vec![0.0; table.n_rows() * self.n_classes];
        fill_chunks(table.n_rows(), self.n_classes, &mut probabilities, |rows, part| {
            if self.n_outputs() == 1 {
                self.fill_binary(table, rows, part)
            } else {
                self.fill_softmax(table, rows, part)
            }
        });
        Ok(probabilities)
    }

    fn weights(&self, output: usize) -> &[f64] {
        let p = self.layout.n_parameters();
        &self.coefficients[output * p..(output + 1) * p]
    }

    fn scores(&self, table: &Table, rows: Range<usize>, output: usize, scores: &mut [f64]) {
        let offset = self.offsets[output];
        add_scores(&self.layout, table, rows, &self.centers, self.weights(output), offset, scores);
    }

    fn fill_binary(&self, table: &Table, rows: Range<usize>, probabilities: &mut [f64]) {
        let mut scores = vec![0.0; rows.len()];
        self.scores(table, rows, 0, &mut scores);
        for (row, score) in probabilities.chunks_exact_mut(2).zip(scores) {
            row.copy_from_slice(&sigmoids(score));
        }
    }

    fn fill_softmax(&self, table: &Table, rows: Range<usize>, probabilities: &mut [f64]) {
        let k = self.n_classes;
        let mut scores = vec![0.0; rows.len()];
        for output in 0..k {
            self.scores(table, rows.clone(), output, &mut scores);
            for (row, score) in probabilities.chunks_exact_mut(k).zip(&scores) {
                row[output] = *score;
            }
        }
        probabilities.chunks_exact_mut(k).for_each(softmax);
    }

    pub fn to_arrays(&self) -> Arrays {
        let shape = vec![self.n_outputs(), self.layout.n_parameters()];
        let mut arrays = Arrays::new();
        self.layout.store(&mut arrays);
        arrays.insert("centers".to_owned(), Array::f64s(self.centers.clone()));
        arrays.insert("coefficients".to_owned(), Array::F64 { shape, data: self.coefficients.clone() });
        arrays.insert("offsets".to_owned(), Array::f64s(self.offsets.clone()));
        arrays.insert("ending".to_owned(), Array::u8s(vec![self.ending.code()]));
        arrays.insert("iterations".to_owned(), Array::u32s(vec![self.iterations]));
        arrays
    }

    /// Reads what `to_arrays` gave; anything else is an error which names the array.
    pub fn from_arrays(arrays: &Arrays) -> Result<Model, LoadError> {
        let layout = Layout::load_sparse(arrays, PARAMETERS_MAX)?;
        let offsets = read_finite(arrays, "offsets", &[Dim::Any])?.to_vec();
        let n_outputs = offsets.len();
        let n_classes = if n_outputs == 1 { 2 } else { n_outputs };
        if n_outputs == 0 || n_outputs == 2 || n_outputs > CLASSES_MAX as usize {
            return Err(damaged("offsets", format!("{n_outputs} outputs")));
        }
        let centers = read_finite(arrays, "centers", &[Dim::Exactly(layout.n_columns())])?.to_vec();
        let shape = [Dim::Exactly(n_outputs), Dim::Exactly(layout.n_parameters())];
        let coefficients = read_finite(arrays, "coefficients", &shape)?.to_vec();
        let code = read_u8(arrays, "ending", &[Dim::Exactly(1)])?[0];
        let ending = Ending::ALL.into_iter().find(|ending| ending.code() == code);
        let ending = ending.ok_or_else(|| damaged("ending", format!("code {code}")))?;
        let iterations = read_u32(arrays, "iterations", &[Dim::Exactly(1)])?[0];
        Ok(Model { layout, n_classes, centers, coefficients, offsets, ending, iterations })
    }
}
