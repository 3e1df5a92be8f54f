//! A fitted gradient boosting.

use crate::arrays::{Array, Arrays, Dim, damaged, read_finite, read_u32};
use crate::error::{LoadError, PredictError};
use crate::numeric::{sigmoids, softmax};
use crate::table::Table;
use crate::trees::bins::BinnedColumn;
use crate::trees::ensemble::{Task, Trees};

use super::fit::{Boosted, CLASSES_MAX};

/// Of a number the score, of two classes p₁ = σ(score), of more the softmax of their scores; score = start + Σ over trees of the value of the row's leaf.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    trees: Trees,
    /// n_outputs; tree t adds to output t mod n_outputs.
    start: Vec<f64>,
    /// Rounds fitted, at least those kept.
    rounds_fitted: u32,
}

impl Model {
    pub(super) fn new(task: Task, columns: Vec<BinnedColumn>, start: Vec<f64>, boosted: Boosted) -> Model {
        let features = columns.into_iter().map(|column| column.feature).collect();
        let trees = Trees::new(task, features, 1, boosted.trees);
        Model { trees, start, rounds_fitted: boosted.rounds }
    }

    pub fn task(&self) -> Task {
        self.trees.task()
    }

    /// For people: that later rounds were not kept, or `None`.
    pub fn note(&self) -> Option<String> {
        let (fitted, kept) = (self.rounds_fitted, self.n_rounds());
        let cut = fitted as usize > kept;
        cut.then(|| format!("fitted {fitted} rounds and kept {kept}: then the loss on validation rows was the lowest"))
    }

    /// Those kept.
    pub fn n_rounds(&self) -> usize {
        self.trees.n_trees() / self.start.len()
    }

    pub fn n_nodes(&self) -> usize {
        self.trees.n_nodes()
    }

    /// 0 for a regression.
    pub fn n_classes(&self) -> usize {
        match (self.task(), self.start.len()) {
            (Task::Regression, _) => 0,
            (Task::Classification, 1) => 2,
            (Task::Classification, n_classes) => n_classes,
        }
    }

    /// One prediction a row. Missing values and categories unknown at the fit go the learned way.
    pub fn predict(&self, table: &Table) -> Result<Vec<f64>, PredictError> {
        self.trees.sums(table, Task::Regression, &self.start)
    }

    /// n_rows × n_classes, row-major, each row summing to 1.
    pub fn probabilities(&self, table: &Table) -> Result<Vec<f64>, PredictError> {
        let mut scores = self.trees.sums(table, Task::Classification, &self.start)?;
        if self.start.len() == 1 {
            return Ok(scores.into_iter().flat_map(sigmoids).collect());
        }
        scores.chunks_exact_mut(self.start.len()).for_each(softmax);
        Ok(scores)
    }

    pub fn to_arrays(&self) -> Arrays {
        let mut arrays = self.trees.to_arrays();
        arrays.insert("start".to_owned(), Array::f64s(self.start.clone()));
        arrays.insert("rounds_fitted".to_owned(), Array::u32s(vec![self.rounds_fitted]));
        arrays
    }

    /// Reads what `to_arrays` gave; anything else is an error which names the array.
    pub fn from_arrays(arrays: &Arrays) -> Result<Model, LoadError> {
        let trees = Trees::from_arrays(arrays)?;
        let start = read_finite(arrays, "start", &[Dim::Any])?.to_vec();
        let outputs = match trees.task() {
            Task::Regression => 1..=1,
            Task::Classification => 1..=CLASSES_MAX as usize,
        };
        if !outputs.contains(&start.len()) || start.len() == 2 || trees.n_trees() % start.len() != 0 {
            return Err(damaged("start", format!("{} outputs of {} trees", start.len(), trees.n_trees())));
        }
        if trees.width() != 1 {
            return Err(damaged("leaf_values", format!("{} values a leaf", trees.width())));
        }
        let rounds_fitted = read_u32(arrays, "rounds_fitted", &[Dim::Exactly(1)])?[0];
        if (rounds_fitted as usize) < trees.n_trees() / start.len() {
            return Err(damaged("rounds_fitted", format!("{rounds_fitted}, and {} trees", trees.n_trees())));
        }
        Ok(Model { trees, start, rounds_fitted })
    }
}
