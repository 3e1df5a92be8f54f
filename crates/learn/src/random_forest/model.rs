//! A fitted random forest.

use crate::arrays::Arrays;
use crate::error::{LoadError, PredictError};
use crate::table::Table;
use crate::trees::ensemble::{Feature, Task, Tree, Trees};

/// A leaf has one value, or for more than two classes the share of each.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    trees: Trees,
}

impl Model {
    pub(super) fn new(task: Task, features: Vec<Feature>, n_outputs: usize, trees: Vec<Tree>) -> Model {
        Model { trees: Trees::new(task, features, n_outputs, trees) }
    }

    pub fn task(&self) -> Task {
        self.trees.task()
    }

    pub fn n_trees(&self) -> usize {
        self.trees.n_trees()
    }

    pub fn n_nodes(&self) -> usize {
        self.trees.n_nodes()
    }

    /// 0 for a regression.
    pub fn n_classes(&self) -> usize {
        match (self.task(), self.trees.width()) {
            (Task::Regression, _) => 0,
            (Task::Classification, 1) => 2,
            (Task::Classification, n_classes) => n_classes,
        }
    }

    /// One prediction a row, the mean of the trees'. Missing values and categories unknown at the fit go the learned way.
    pub fn predict(&self, table: &Table) -> Result<Vec<f64>, PredictError> {
        self.means(table, Task::Regression)
    }

    /// n_rows × n_classes, row-major: the mean over the trees of the classes' shares in the leaf.
    pub fn probabilities(&self, table: &Table) -> Result<Vec<f64>, PredictError> {
        let means = self.means(table, Task::Classification)?;
        if self.trees.width() > 1 {
            return Ok(means);
        }
        Ok(means.into_iter().flat_map(|of_class_1| [1.0 - of_class_1, of_class_1]).collect())
    }

    fn means(&self, table: &Table, wanted: Task) -> Result<Vec<f64>, PredictError> {
        let mut means = self.trees.sums(table, wanted, &vec![0.0; self.trees.width()])?;
        let n_trees = self.n_trees() as f64;
        means.iter_mut().for_each(|sum| *sum /= n_trees);
        Ok(means)
    }

    pub fn to_arrays(&self) -> Arrays {
        self.trees.to_arrays()
    }

    /// Reads what `to_arrays` gave; anything else is an error which names the array.
    pub fn from_arrays(arrays: &Arrays) -> Result<Model, LoadError> {
        Ok(Model { trees: Trees::from_arrays(arrays)? })
    }
}
