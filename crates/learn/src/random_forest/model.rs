//! A fitted random forest.

use std::ops::Range;

use crate::arrays::{Array, Arrays, Dim, damaged, read_f64, read_finite, read_u8, read_u32};
use crate::chunks::fill_chunks;
use crate::error::{LoadError, PredictError};
use crate::numeric::index_u32;
use crate::table::{Column, Table};

/// Marks a leaf in `Node::feature`; for other nodes its top bit says that missing values go left.
const LEAF: u32 = u32::MAX;
const MISSING_LEFT: u32 = 1 << 31;

/// What a forest predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Regression,
    Classification,
}

/// One node; the right child follows the left one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Node {
    /// value ≤ threshold goes left; categories are compared by their position in the learned order.
    threshold: f64,
    /// The column, with [`MISSING_LEFT`]; or [`LEAF`].
    feature: u32,
    /// The left child, counted over all trees; of a leaf the row of `values`.
    child: u32,
}

/// A tree under construction, its own indices counted from 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    /// n_leaves × n_outputs.
    pub(super) values: Vec<f64>,
    n_leaves: u32,
}

impl Tree {
    /// A node to be filled by `split` or `leaf`.
    pub(super) fn reserve(&mut self) -> usize {
        self.nodes.push(Node { threshold: 0.0, feature: LEAF, child: 0 });
        self.nodes.len() - 1
    }

    /// Makes `node` a split and gives its left child; the right one is next to it.
    pub(super) fn split(&mut self, node: usize, feature: usize, threshold: f64, missing_left: bool) -> usize {
        let left = self.reserve();
        self.reserve();
        let flag = if missing_left { MISSING_LEFT } else { 0 };
        self.nodes[node] = Node { threshold, feature: index_u32(feature) | flag, child: index_u32(left) };
        left
    }

    /// Makes `node` a leaf with those outputs.
    pub(super) fn leaf(&mut self, node: usize, outputs: impl Iterator<Item = f64>) {
        self.nodes[node] = Node { threshold: 0.0, feature: LEAF, child: self.n_leaves };
        self.values.extend(outputs);
        self.n_leaves += 1;
    }
}

/// How a column's values become numbers to compare.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Feature {
    Numeric,
    /// For each category its position in the learned order, or NaN for one which no row had.
    Categorical(Vec<f64>),
}

/// Trees in one flat list of nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    task: Task,
    features: Vec<Feature>,
    n_outputs: usize,
    /// The first node of each tree.
    roots: Vec<u32>,
    nodes: Vec<Node>,
    /// n_leaves × n_outputs.
    values: Vec<f64>,
}

impl Model {
    pub(super) fn new(task: Task, features: Vec<Feature>, n_outputs: usize, trees: Vec<Tree>) -> Model {
        let mut model = Model { task, features, n_outputs, roots: Vec::new(), nodes: Vec::new(), values: Vec::new() };
        for tree in trees {
            let first_node = index_u32(model.nodes.len());
            let first_leaf = index_u32(model.values.len() / n_outputs);
            model.roots.push(first_node);
            model.values.extend_from_slice(&tree.values);
            model.nodes.extend(tree.nodes.into_iter().map(|node| {
                let offset = if node.feature == LEAF { first_leaf } else { first_node };
                Node { child: node.child + offset, ..node }
            }));
        }
        model
    }

    pub fn task(&self) -> Task {
        self.task
    }

    pub fn n_trees(&self) -> usize {
        self.roots.len()
    }

    pub fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// 0 for a regression.
    pub fn n_classes(&self) -> usize {
        match self.task {
            Task::Regression => 0,
            Task::Classification if self.n_outputs == 1 => 2,
            Task::Classification => self.n_outputs,
        }
    }

    /// One prediction a row, the mean of the trees'. Missing values and categories unknown at the fit go the learned way.
    pub fn predict(&self, table: &Table) -> Result<Vec<f64>, PredictError> {
        self.check(table, Task::Regression)?;
        let mut predictions = vec![0.0; table.n_rows()];
        fill_chunks(table.n_rows(), 1, &mut predictions, |rows, part| self.fill(table, rows, part));
        Ok(predictions)
    }

    /// n_rows × n_classes, row-major: the mean over the trees of the classes' shares in the leaf.
    pub fn probabilities(&self, table: &Table) -> Result<Vec<f64>, PredictError> {
        self.check(table, Task::Classification)?;
        let n_classes = self.n_classes();
        let mut probabilities = vec![0.0; table.n_rows() * n_classes];
        fill_chunks(table.n_rows(), n_classes, &mut probabilities, |rows, part| {
            if self.n_outputs == n_classes {
                return self.fill(table, rows, part);
            }
            let mut of_class_1 = vec![0.0; rows.len()];
            self.fill(table, rows, &mut of_class_1);
            for (row, probability) in part.chunks_exact_mut(2).zip(of_class_1) {
                row[0] = 1.0 - probability;
                row[1] = probability;
            }
        });
        Ok(probabilities)
    }

    fn check(&self, table: &Table, wanted: Task) -> Result<(), PredictError> {
        if self.task != wanted {
            let name = |task| match task {
                Task::Regression => "regression",
                Task::Classification => "classification",
            };
            return Err(PredictError::Task { expected: name(self.task), found: name(wanted) });
        }
        let (expected, found) = (self.features.len(), table.columns().len());
        if expected != found {
            return Err(PredictError::ColumnCount { expected, found });
        }
        for (column, (feature, values)) in self.features.iter().zip(table.columns()).enumerate() {
            let (expected, found) = (feature.kind(), kind(values));
            if expected != found {
                return Err(PredictError::ColumnKind { column, expected, found });
            }
        }
        Ok(())
    }

    /// Fills n_rows × n_outputs. Rows are taken in blocks, the trees one after the other, so that a tree stays in the
    /// cache while a block passes through it.
    fn fill(&self, table: &Table, rows: Range<usize>, outputs: &mut [f64]) {
        const BLOCK_ROWS: usize = 256;
        const LANES: usize = 8;
        let d = self.features.len();
        let mut block = vec![0.0; BLOCK_ROWS.min(rows.len()) * d];
        let mut start = rows.start;
        let n_trees = self.roots.len() as f64;
        for outputs in outputs.chunks_mut(BLOCK_ROWS * self.n_outputs) {
            let n = outputs.len() / self.n_outputs;
            self.gather(table, start..start + n, &mut block);
            for &root in &self.roots {
                for (lanes, outputs) in outputs.chunks_mut(LANES * self.n_outputs).enumerate() {
                    let rows = &block[lanes * LANES * d..];
                    if outputs.len() == LANES * self.n_outputs {
                        self.add_leaves(self.leaves::<LANES>(root, rows), outputs);
                    } else {
                        for (row, output) in rows.chunks_exact(d).zip(outputs.chunks_exact_mut(self.n_outputs)) {
                            self.add_leaves(self.leaves::<1>(root, row), output);
                        }
                    }
                }
            }
            outputs.iter_mut().for_each(|sum| *sum /= n_trees);
            start += n;
        }
    }

    /// Writes rows × features, row-major, NaN for missing.
    fn gather(&self, table: &Table, rows: Range<usize>, block: &mut [f64]) {
        let d = self.features.len();
        for (column, (values, feature)) in table.columns().iter().zip(&self.features).enumerate() {
            let cells = block[column..].iter_mut().step_by(d);
            match (values, feature) {
                (Column::Numeric(values), _) => {
                    cells.zip(&values[rows.clone()]).for_each(|(cell, value)| *cell = *value);
                }
                (Column::Categorical { codes, .. }, Feature::Categorical(positions)) => {
                    for (cell, &code) in cells.zip(&codes[rows.clone()]) {
                        *cell = positions.get(code as usize).copied().unwrap_or(f64::NAN);
                    }
                }
                // `check` has refused this.
                (Column::Categorical { .. }, Feature::Numeric) | (Column::Sparse(_), _) => {
                    cells.for_each(|cell| *cell = f64::NAN)
                }
            }
        }
    }

    /// Walks N rows (N × features, row-major) down a tree side by side, so that the memory waits of one are the steps of
    /// the others; no branch depends on a value. Gives their leaves' rows of `values`.
    fn leaves<const N: usize>(&self, root: u32, rows: &[f64]) -> [u32; N] {
        let d = self.features.len();
        let mut at = [root; N];
        loop {
            let mut walking = false;
            for (lane, at) in at.iter_mut().enumerate() {
                let node = self.nodes[*at as usize];
                let leaf = node.feature == LEAF;
                let column = if leaf { 0 } else { (node.feature & !MISSING_LEFT) as usize };
                let value = rows[lane * d + column];
                let missing_right = node.feature & MISSING_LEFT == 0;
                let right = (value > node.threshold) | (value.is_nan() & missing_right);
                *at = if leaf { *at } else { node.child + u32::from(right) };
                walking |= !leaf;
            }
            if !walking {
                return at.map(|at| self.nodes[at as usize].child);
            }
        }
    }

    /// Adds each leaf's values to its row of `outputs`.
    fn add_leaves<const N: usize>(&self, leaves: [u32; N], outputs: &mut [f64]) {
        let k = self.n_outputs;
        for (leaf, output) in leaves.into_iter().zip(outputs.chunks_exact_mut(k)) {
            let start = leaf as usize * k;
            for (sum, value) in output.iter_mut().zip(&self.values[start..start + k]) {
                *sum += value;
            }
        }
    }

    pub fn to_arrays(&self) -> Arrays {
        let mut arrays = Arrays::new();
        let mut insert = |name: &str, array| arrays.insert(name.to_owned(), array);
        let categories = self.features.iter().map(|feature| match feature {
            Feature::Numeric => 0,
            Feature::Categorical(positions) => index_u32(positions.len()),
        });
        insert("column_categories", Array::u32s(categories.collect()));
        let positions = self.features.iter().flat_map(|feature| match feature {
            Feature::Numeric => &[][..],
            Feature::Categorical(positions) => positions,
        });
        insert("category_positions", Array::f64s(positions.copied().collect()));
        insert("task", Array::u8s(vec![u8::from(self.task == Task::Classification)]));
        insert("roots", Array::u32s(self.roots.clone()));
        insert("node_threshold", Array::f64s(self.nodes.iter().map(|node| node.threshold).collect()));
        insert("node_feature", Array::u32s(self.nodes.iter().map(|node| node.feature).collect()));
        insert("node_child", Array::u32s(self.nodes.iter().map(|node| node.child).collect()));
        let shape = vec![self.values.len() / self.n_outputs, self.n_outputs];
        insert("leaf_values", Array::F64 { shape, data: self.values.clone() });
        arrays
    }

    /// Reads what `to_arrays` gave; anything else is an error which names the array. Children come after their parent
    /// and stay within the tree, so every walk ends.
    pub fn from_arrays(arrays: &Arrays) -> Result<Model, LoadError> {
        let features = read_features(arrays)?;
        let task = match read_u8(arrays, "task", &[Dim::Exactly(1)])?[0] {
            0 => Task::Regression,
            1 => Task::Classification,
            other => return Err(damaged("task", format!("code {other}"))),
        };
        let roots = read_u32(arrays, "roots", &[Dim::Any])?.to_vec();
        let threshold = read_finite(arrays, "node_threshold", &[Dim::Any])?;
        let n_nodes = [Dim::Exactly(threshold.len())];
        let feature = read_u32(arrays, "node_feature", &n_nodes)?;
        let child = read_u32(arrays, "node_child", &n_nodes)?;
        let shape = arrays.get("leaf_values").map(Array::shape).unwrap_or_default();
        let n_outputs = shape.get(1).copied().unwrap_or_default();
        let values = read_finite(arrays, "leaf_values", &[Dim::Any, Dim::Any])?.to_vec();
        if values.is_empty() || n_outputs == 0 || (task == Task::Regression && n_outputs != 1) {
            return Err(damaged("leaf_values", format!("{} values of {n_outputs} outputs", values.len())));
        }
        let columns = threshold.iter().zip(feature).zip(child);
        let nodes = columns.map(|((&threshold, &feature), &child)| Node { threshold, feature, child }).collect();
        let model = Model { task, features, n_outputs, roots, nodes, values };
        model.check_trees()?;
        Ok(model)
    }

    fn check_trees(&self) -> Result<(), LoadError> {
        let n_nodes = index_u32(self.nodes.len());
        let ascending = self.roots.windows(2).all(|pair| pair[0] < pair[1]);
        if self.roots.first() != Some(&0) || !ascending || self.roots.last() >= Some(&n_nodes) {
            return Err(damaged("roots", "they do not each begin a tree"));
        }
        let ends = self.roots[1..].iter().copied().chain([n_nodes]);
        for (&root, end) in self.roots.iter().zip(ends) {
            let mut n_splits = 0;
            for at in root..end {
                n_splits += u32::from(self.check_node(at, end)?);
            }
            if 2 * n_splits + 1 != end - root {
                return Err(damaged("roots", format!("the tree at node {root} has {n_splits} splits")));
            }
        }
        let n_leaves = self.nodes.iter().filter(|node| node.feature == LEAF).count();
        if n_leaves * self.n_outputs != self.values.len() {
            return Err(damaged("leaf_values", format!("there are {n_leaves} leaves")));
        }
        Ok(())
    }

    /// Whether node `at`, of a tree whose nodes end before `end`, is a split.
    fn check_node(&self, at: u32, end: u32) -> Result<bool, LoadError> {
        let node = self.nodes[at as usize];
        if node.feature == LEAF {
            if node.child as usize >= self.values.len() / self.n_outputs {
                return Err(damaged("node_child", format!("leaf {at} has no value")));
            }
            return Ok(false);
        }
        if (node.feature & !MISSING_LEFT) as usize >= self.features.len() {
            return Err(damaged("node_feature", format!("node {at} splits an unknown column")));
        }
        if node.child <= at || node.child >= end - 1 {
            return Err(damaged("node_child", format!("node {at} has children outside what follows it")));
        }
        Ok(true)
    }
}

impl Feature {
    fn kind(&self) -> &'static str {
        match self {
            Feature::Numeric => "numeric",
            Feature::Categorical(_) => "categorical",
        }
    }
}

fn kind(column: &Column) -> &'static str {
    match column {
        Column::Numeric(_) => "numeric",
        Column::Categorical { .. } => "categorical",
        Column::Sparse(_) => "the words of a text",
    }
}

fn read_features(arrays: &Arrays) -> Result<Vec<Feature>, LoadError> {
    let name = "category_positions";
    let categories = read_u32(arrays, "column_categories", &[Dim::Any])?;
    let mut positions = read_f64(arrays, name, &[Dim::Any])?;
    let mut features = Vec::with_capacity(categories.len());
    for &n_categories in categories {
        if n_categories == 0 {
            features.push(Feature::Numeric);
            continue;
        }
        let Some((of_column, rest)) = positions.split_at_checked(n_categories as usize) else {
            return Err(damaged(name, "fewer than there are categories"));
        };
        features.push(Feature::Categorical(of_column.to_vec()));
        positions = rest;
    }
    if positions.is_empty() { Ok(features) } else { Err(damaged(name, "more than there are categories")) }
}
