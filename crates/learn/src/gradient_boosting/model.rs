//! A fitted gradient boosting.

use crate::arrays::{Array, Arrays, Dim, damaged, read_finite};
use crate::error::{LoadError, PredictError};
use crate::table::Table;
use crate::trees::bins::BinnedColumn;
use crate::trees::ensemble::{Task, Tree, Trees};

/// score = start + Σ over trees of the value of the row's leaf.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    trees: Trees,
    /// n_outputs; tree t adds to output t mod n_outputs.
    start: Vec<f64>,
}

impl Model {
    pub(super) fn new(task: Task, columns: Vec<BinnedColumn>, start: Vec<f64>, trees: Vec<Tree>) -> Model {
        let features = columns.into_iter().map(|column| column.feature).collect();
        Model { trees: Trees::new(task, features, 1, trees), start }
    }

    pub fn task(&self) -> Task {
        self.trees.task()
    }

    pub fn n_rounds(&self) -> usize {
        self.trees.n_trees() / self.start.len()
    }

    pub fn n_nodes(&self) -> usize {
        self.trees.n_nodes()
    }

    /// One prediction a row. Missing values and categories unknown at the fit go the learned way.
    pub fn predict(&self, table: &Table) -> Result<Vec<f64>, PredictError> {
        self.trees.sums(table, Task::Regression, &self.start)
    }

    pub fn to_arrays(&self) -> Arrays {
        let mut arrays = self.trees.to_arrays();
        arrays.insert("start".to_owned(), Array::f64s(self.start.clone()));
        arrays
    }

    /// Reads what `to_arrays` gave; anything else is an error which names the array.
    pub fn from_arrays(arrays: &Arrays) -> Result<Model, LoadError> {
        let trees = Trees::from_arrays(arrays)?;
        let start = read_finite(arrays, "start", &[Dim::Exactly(1)])?.to_vec();
        if trees.width() != 1 {
            return Err(damaged("leaf_values", format!("{} values a leaf", trees.width())));
        }
        Ok(Model { trees, start })
    }
}
