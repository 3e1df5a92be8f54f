//! What the job saved, as a fit takes it: of the estimator, the columns and the rows that were sent, and of nothing else.

use std::collections::VecDeque;
use std::path::Path;

use millstream_learn::{Algorithm, Array, Arrays};
use millstream_store::LocalStore;

use super::diagnose::unreadable;
use crate::engine::Failure;
use crate::mllib::{
    AlsModel, Ensemble, Factors, Folder, KmeansModel, LinearModel, LogisticModel, Node, Saved, SavedError, Stage, Test,
    Tree,
};
use crate::registry::Fitted;

pub struct Linear {
    /// n_intercepts × n_slots, row-major.
    pub coefficients: Vec<f64>,
    pub intercepts: Vec<f64>,
}

/// `n_slots`: of a row's vector.
pub fn linear(folder: &Path, n_slots: usize) -> Result<Linear, Failure> {
    match read(folder)? {
        Stage::Linear(LinearModel { coefficients, intercept, .. }) if coefficients.len() == n_slots => {
            Ok(Linear { coefficients, intercepts: vec![intercept] })
        }
        _ => Err(other(folder)),
    }
}

pub fn logistic(folder: &Path, n_slots: usize) -> Result<Linear, Failure> {
    match read(folder)? {
        Stage::Logistic(LogisticModel { coefficients, intercepts, .. })
            if (coefficients.n_rows, coefficients.n_columns) == (intercepts.len(), n_slots) =>
        {
            Ok(Linear { coefficients: coefficients.values, intercepts })
        }
        _ => Err(other(folder)),
    }
}

/// k × n_slots, row-major.
pub fn centers(folder: &Path, n_slots: usize) -> Result<Vec<f64>, Failure> {
    match read(folder)? {
        Stage::Kmeans(KmeansModel { centers, k, .. }) if centers.len() == k * n_slots => Ok(centers),
        _ => Err(other(folder)),
    }
}

/// Of users and of items: by code, rank values each, and 0 where there is no vector.
pub fn vectors(folder: &Path, rank: usize, n_users: usize, n_items: usize) -> Result<(Vec<f32>, Vec<f32>), Failure> {
    match read(folder)? {
        Stage::Als(AlsModel { rank: found, users, items, .. }) if found == rank => {
            let by_code = |factors: Factors, n_codes: usize| {
                let mut vectors = vec![0.0; n_codes * rank];
                for (id, vector) in factors.ids.iter().zip(factors.values.chunks_exact(rank)) {
                    let start = usize::try_from(*id).map_err(|_| other(folder))? * rank;
                    vectors.get_mut(start..start + rank).ok_or_else(|| other(folder))?.copy_from_slice(vector);
                }
                Ok(vectors)
            };
            Ok((by_code(users, n_users)?, by_code(items, n_items)?))
        }
        _ => Err(other(folder)),
    }
}

/// Of numbers alone. `n_classes`: 0 of a regression.
pub fn trees(folder: &Path, algorithm: Algorithm, n_columns: usize, n_classes: usize) -> Result<Fitted, Failure> {
    let Stage::Trees(model) = read(folder)? else { return Err(other(folder)) };
    let is_boosted = model.ensemble == Ensemble::Boosted;
    let n_found = model.classes.as_ref().map_or(0, |classes| classes.n_classes);
    if (model.n_features, n_found, is_boosted) != (n_columns, n_classes, algorithm == Algorithm::GradientBoosting) {
        return Err(other(folder));
    }
    let mut flat = FlatTrees::default();
    for tree in &model.trees {
        // Of two classes MLlib's p is σ(2 · margin).
        let weight = if is_boosted && n_classes > 0 { 2.0 * tree.weight } else { tree.weight };
        flat.add(tree, if is_boosted { weight } else { 1.0 }).ok_or_else(|| other(folder))?;
    }
    let n_trees = u32::try_from(model.trees.len()).map_err(|_| other(folder))?;
    let width = if is_boosted { 1 } else { n_classes.max(1) };
    let mut arrays = flat.into_arrays(n_columns, width, n_classes > 0);
    if is_boosted {
        arrays.insert("start".to_owned(), Array::F64 { shape: vec![1], data: vec![0.0] });
        arrays.insert("rounds_fitted".to_owned(), Array::U32 { shape: vec![1], data: vec![n_trees] });
    }
    Fitted::from_arrays(algorithm, &arrays).map_err(|error| unreadable(folder, &error.to_string()))
}

/// The arrays of trees, as `millstream_learn` keeps them: the right child follows the left one, and both come after their parent.
#[derive(Default)]
struct FlatTrees {
    roots: Vec<u32>,
    thresholds: Vec<f64>,
    features: Vec<u32>,
    children: Vec<u32>,
    values: Vec<f64>,
    n_leaves: u32,
}

impl FlatTrees {
    const LEAF: u32 = u32::MAX;

    fn reserve(&mut self) -> usize {
        self.thresholds.push(0.0);
        self.features.push(Self::LEAF);
        self.children.push(0);
        self.thresholds.len() - 1
    }

    /// `None`: it splits categories, or is larger than can be.
    fn add(&mut self, tree: &Tree, weight: f64) -> Option<()> {
        let root = self.reserve();
        self.roots.push(u32::try_from(root).ok()?);
        let mut open = VecDeque::from([(0, root)]);
        while let Some((node, at)) = open.pop_front() {
            match tree.nodes.get(node)? {
                Node::Leaf { prediction, counts } => {
                    let total: f64 = counts.iter().sum();
                    match counts.is_empty() {
                        true => self.values.push(prediction * weight),
                        false if total > 0.0 => self.values.extend(counts.iter().map(|count| count / total)),
                        false => return None,
                    }
                    self.children[at] = self.n_leaves;
                    self.n_leaves = self.n_leaves.checked_add(1)?;
                }
                Node::Split { feature, test: Test::Threshold(threshold), left, right } => {
                    let (left_at, right_at) = (self.reserve(), self.reserve());
                    self.thresholds[at] = *threshold;
                    self.features[at] = u32::try_from(*feature).ok()?;
                    self.children[at] = u32::try_from(left_at).ok()?;
                    open.extend([(*left, left_at), (*right, right_at)]);
                }
                Node::Split { test: Test::Categories { .. }, .. } => return None,
            }
        }
        Some(())
    }

    fn into_arrays(self, n_columns: usize, width: usize, is_classification: bool) -> Arrays {
        let u32s = |data: Vec<u32>| Array::U32 { shape: vec![data.len()], data };
        let f64s = |data: Vec<f64>| Array::F64 { shape: vec![data.len()], data };
        let shape = vec![self.values.len() / width, width];
        let arrays = [
            ("column_categories", u32s(vec![0; n_columns])),
            ("category_positions", f64s(Vec::new())),
            ("task", Array::U8 { shape: vec![1], data: vec![u8::from(is_classification)] }),
            ("roots", u32s(self.roots)),
            ("node_threshold", f64s(self.thresholds)),
            ("node_feature", u32s(self.features)),
            ("node_child", u32s(self.children)),
            ("leaf_values", Array::F64 { shape, data: self.values }),
        ];
        arrays.into_iter().map(|(name, array)| (name.to_owned(), array)).collect()
    }
}

fn read(folder: &Path) -> Result<Stage, Failure> {
    let fault = |error: SavedError| unreadable(folder, &millstream_base::error_chain(&error));
    let saved = Saved::read(&Folder::open(&LocalStore::open_reading(folder), "").map_err(fault)?).map_err(fault)?;
    Ok(saved.stage)
}

fn other(folder: &Path) -> Failure {
    unreadable(folder, "it is no model of what was sent: this is a fault of Millstream, please report it")
}
