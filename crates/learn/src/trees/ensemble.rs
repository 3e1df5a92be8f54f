//! Fitted trees in one flat list of nodes: walked side by side, to and from arrays, checked when read back.

use std::ops::Range;

use crate::arrays::{Array, Arrays, Dim, damaged, read_f64, read_finite, read_i64, read_u8, read_u32};
use crate::chunks::fill_chunks;
use crate::error::{LoadError, PredictError};
use crate::numeric::index_u32;
use crate::table::{Column, Table};

/// Marks a leaf in `Node::feature`; for other nodes its top bit says that missing values go left, and the next one that the categories
/// of a set do. A release that knows no sets takes the bit for an unknown column, and refuses the trees.
const LEAF: u32 = u32::MAX;
const MISSING_LEFT: u32 = 1 << 31;
const SET: u32 = 1 << 30;
const FLAGS: u32 = MISSING_LEFT | SET;

const SET_ENDS: &str = "set_ends";
const SET_WORDS: &str = "set_words";

/// What trees predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Regression,
    Classification,
}

/// One node; the right child follows the left one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Node {
    /// value ≤ threshold goes left; categories are compared by their position in the learned order. With [`SET`] the number of the set.
    threshold: f64,
    /// The column, with [`MISSING_LEFT`] and [`SET`]; or [`LEAF`].
    feature: u32,
    /// The left child, counted over all trees; of a leaf the row of `values`.
    child: u32,
}

/// A tree under construction, its own indices counted from 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
    /// n_leaves × width.
    pub(crate) values: Vec<f64>,
    n_leaves: u32,
}

impl Tree {
    /// A node to be filled by `split` or `leaf`.
    pub(crate) fn reserve(&mut self) -> usize {
        self.nodes.push(Node { threshold: 0.0, feature: LEAF, child: 0 });
        self.nodes.len() - 1
    }

    /// Makes `node` a split and gives its left child; the right one is next to it.
    pub(crate) fn split(&mut self, node: usize, feature: usize, threshold: f64, missing_left: bool) -> usize {
        let left = self.reserve();
        self.reserve();
        let flag = if missing_left { MISSING_LEFT } else { 0 };
        self.nodes[node] = Node { threshold, feature: index_u32(feature) | flag, child: index_u32(left) };
        left
    }

    /// Makes `node` a leaf with those outputs.
    pub(crate) fn leaf(&mut self, node: usize, outputs: impl Iterator<Item = f64>) {
        self.nodes[node] = Node { threshold: 0.0, feature: LEAF, child: self.n_leaves };
        self.values.extend(outputs);
        self.n_leaves += 1;
    }
}

/// How a column's values become numbers to compare.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Feature {
    Numeric,
    /// For each category its position in the learned order, or NaN for one which no row had.
    Categorical(Vec<f64>),
}

/// Trees in one flat list of nodes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trees {
    task: Task,
    features: Vec<Feature>,
    /// Values of a leaf.
    width: usize,
    /// The first node of each tree.
    roots: Vec<u32>,
    nodes: Vec<Node>,
    /// n_leaves × width.
    values: Vec<f64>,
    sets: Sets,
}

/// Which categories go left, where that is no matter of an order: of trees that were trained elsewhere.
#[derive(Debug, Clone, PartialEq, Default)]
struct Sets {
    /// Where the words of each set end.
    ends: Vec<usize>,
    /// A bit for each category of the column, the lowest first.
    words: Vec<u32>,
}

impl Sets {
    fn of(&self, set: usize) -> &[u32] {
        let start = if set == 0 { 0 } else { self.ends[set - 1] };
        &self.words[start..self.ends[set]]
    }

    /// The set of this number, which has at least one word.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 0 on")]
    fn find(&self, number: f64) -> Option<&[u32]> {
        let is_one = number.fract() == 0.0 && (0.0..self.ends.len() as f64).contains(&number);
        is_one.then(|| self.of(number as usize)).filter(|words| !words.is_empty())
    }

    /// Both are whole numbers, within what was checked.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole numbers from 0 on")]
    fn has(&self, set: f64, category: f64) -> bool {
        let category = category as usize;
        self.of(set as usize).get(category / 32).is_some_and(|word| word >> (category % 32) & 1 == 1)
    }
}

/// Trees that were trained elsewhere, put together node by node as arrays that `from_arrays` reads and checks.
#[derive(Debug, Clone)]
pub struct ForeignTrees {
    task: Task,
    /// Of each column; `None`: numbers.
    n_categories: Vec<Option<u32>>,
    width: usize,
    trees: Vec<Tree>,
    sets: Sets,
}

impl ForeignTrees {
    /// `n_categories`: of each column; `None`: numbers. `width`: values of a leaf.
    pub fn new(task: Task, n_categories: Vec<Option<u32>>, width: usize) -> Self {
        Self { task, n_categories, width, trees: Vec::new(), sets: Sets::default() }
    }

    /// Begins the next tree, and gives the place of its root.
    pub fn root(&mut self) -> usize {
        let mut tree = Tree::default();
        let root = tree.reserve();
        self.trees.push(tree);
        root
    }

    /// Makes a place of the newest tree a leaf.
    pub fn leaf(&mut self, at: usize, values: impl Iterator<Item = f64>) {
        if let Some(tree) = self.trees.last_mut() {
            tree.leaf(at, values);
        }
    }

    /// Makes a place of the newest tree a split of numbers, and gives that of its left child; the right one is next to it. What is missing
    /// goes right.
    pub fn split(&mut self, at: usize, column: usize, threshold: f64) -> usize {
        self.trees.last_mut().map_or(0, |tree| tree.split(at, column, threshold, false))
    }

    /// As `split`, of categories: whether each goes left, and one that is none of them.
    pub fn split_set(
        &mut self,
        at: usize,
        column: usize,
        left: impl Iterator<Item = bool>,
        others_left: bool,
    ) -> usize {
        let start = self.sets.words.len();
        for (category, left) in left.enumerate() {
            if category % 32 == 0 {
                self.sets.words.push(0);
            }
            self.sets.words[start + category / 32] |= u32::from(left) << (category % 32);
        }
        let set = self.sets.ends.len() as f64;
        self.sets.ends.push(self.sets.words.len());
        let Some(tree) = self.trees.last_mut() else { return 0 };
        let child = tree.split(at, column, set, others_left);
        tree.nodes[at].feature |= SET;
        child
    }

    pub fn into_arrays(self) -> Arrays {
        let features = self.n_categories.iter().map(|n_categories| match n_categories {
            None => Feature::Numeric,
            Some(n) => Feature::Categorical((0..*n).map(f64::from).collect()),
        });
        let trees = Trees::new(self.task, features.collect(), self.width.max(1), self.trees);
        Trees { sets: self.sets, ..trees }.to_arrays()
    }
}

impl Trees {
    pub(crate) fn new(task: Task, features: Vec<Feature>, width: usize, trees: Vec<Tree>) -> Trees {
        let (roots, nodes, values, sets) = Default::default();
        let mut all = Trees { task, features, width, roots, nodes, values, sets };
        for tree in trees {
            let first_node = index_u32(all.nodes.len());
            let first_leaf = index_u32(all.values.len() / width);
            all.roots.push(first_node);
            all.values.extend_from_slice(&tree.values);
            all.nodes.extend(tree.nodes.into_iter().map(|node| {
                let offset = if node.feature == LEAF { first_leaf } else { first_node };
                Node { child: node.child + offset, ..node }
            }));
        }
        all
    }

    pub(crate) fn task(&self) -> Task {
        self.task
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn n_trees(&self) -> usize {
        self.roots.len()
    }

    pub(crate) fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// n_rows × n_outputs, each row beginning with `start`, of which each tree adds to the next `width` outputs, those
    /// after the last being the first again. Missing values and categories unknown at the fit go the learned way.
    pub(crate) fn sums(&self, table: &Table, wanted: Task, start: &[f64]) -> Result<Vec<f64>, PredictError> {
        self.check(table, wanted)?;
        let mut sums = start.repeat(table.n_rows());
        fill_chunks(table.n_rows(), start.len(), &mut sums, |rows, part| self.add(table, rows, start.len(), part));
        Ok(sums)
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

    /// Adds to n_rows × n_outputs. Rows are taken in blocks, the trees one after the other, so that a tree stays in the
    /// cache while a block passes through it.
    fn add(&self, table: &Table, rows: Range<usize>, n_outputs: usize, outputs: &mut [f64]) {
        const BLOCK_ROWS: usize = 256;
        const LANES: usize = 8;
        let d = self.features.len();
        let mut block = vec![0.0; BLOCK_ROWS.min(rows.len()) * d];
        let mut start = rows.start;
        for outputs in outputs.chunks_mut(BLOCK_ROWS * n_outputs) {
            let n = outputs.len() / n_outputs;
            self.gather(table, start..start + n, &mut block);
            for (tree, &root) in self.roots.iter().enumerate() {
                let first = tree * self.width % n_outputs;
                for (lanes, outputs) in outputs.chunks_mut(LANES * n_outputs).enumerate() {
                    let rows = &block[lanes * LANES * d..];
                    if !self.sets.ends.is_empty() {
                        for (row, output) in rows.chunks_exact(d).zip(outputs.chunks_exact_mut(n_outputs)) {
                            self.add_leaves([self.leaf_by_sets(root, row)], n_outputs, first, output);
                        }
                    } else if outputs.len() == LANES * n_outputs {
                        self.add_leaves(self.leaves::<LANES>(root, rows), n_outputs, first, outputs);
                    } else {
                        for (row, output) in rows.chunks_exact(d).zip(outputs.chunks_exact_mut(n_outputs)) {
                            self.add_leaves(self.leaves::<1>(root, row), n_outputs, first, output);
                        }
                    }
                }
            }
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

    /// As `leaves`, of one row and of trees with sets.
    fn leaf_by_sets(&self, root: u32, row: &[f64]) -> u32 {
        let mut node = self.nodes[root as usize];
        while node.feature != LEAF {
            let value = row[(node.feature & !FLAGS) as usize];
            let left = match (value.is_nan(), node.feature & SET != 0) {
                (true, _) => node.feature & MISSING_LEFT != 0,
                (false, true) => self.sets.has(node.threshold, value),
                (false, false) => value <= node.threshold,
            };
            node = self.nodes[(node.child + u32::from(!left)) as usize];
        }
        node.child
    }

    /// Adds each leaf's values to its row of `outputs`, from the output `first` on.
    fn add_leaves<const N: usize>(&self, leaves: [u32; N], n_outputs: usize, first: usize, outputs: &mut [f64]) {
        for (leaf, output) in leaves.into_iter().zip(outputs.chunks_exact_mut(n_outputs)) {
            let start = leaf as usize * self.width;
            for (sum, value) in output[first..].iter_mut().zip(&self.values[start..start + self.width]) {
                *sum += value;
            }
        }
    }

    pub(crate) fn to_arrays(&self) -> Arrays {
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
        let shape = vec![self.values.len() / self.width, self.width];
        insert("leaf_values", Array::F64 { shape, data: self.values.clone() });
        if !self.sets.ends.is_empty() {
            insert(SET_ENDS, Array::ends(self.sets.ends.iter().copied()));
            insert(SET_WORDS, Array::u32s(self.sets.words.clone()));
        }
        arrays
    }

    /// Reads what `to_arrays` gave; anything else is an error which names the array. Children come after their parent
    /// and stay within the tree, so every walk ends.
    pub(crate) fn from_arrays(arrays: &Arrays) -> Result<Trees, LoadError> {
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
        let width = shape.get(1).copied().unwrap_or_default();
        let values = read_finite(arrays, "leaf_values", &[Dim::Any, Dim::Any])?.to_vec();
        if values.is_empty() || width == 0 || (task == Task::Regression && width != 1) {
            return Err(damaged("leaf_values", format!("{} values of {width} outputs", values.len())));
        }
        let columns = threshold.iter().zip(feature).zip(child);
        let nodes = columns.map(|((&threshold, &feature), &child)| Node { threshold, feature, child }).collect();
        let trees = Trees { task, features, width, roots, nodes, values, sets: read_sets(arrays)? };
        trees.check_trees()?;
        Ok(trees)
    }

    fn check_trees(&self) -> Result<(), LoadError> {
        let n_nodes = index_u32(self.nodes.len());
        let ascending = self.roots.windows(2).all(|pair| pair[0] < pair[1]);
        if self.roots.first() != Some(&0) || !ascending || self.roots.last() >= Some(&n_nodes) {
            return Err(damaged("roots", "they do not each begin a tree"));
        }
        let ends = self.roots[1..].iter().copied().chain([n_nodes]);
        // The words of a set of each column; 0 where a category's place is not its number.
        let set_words: Vec<usize> = self.features.iter().map(Feature::set_words).collect();
        for (&root, end) in self.roots.iter().zip(ends) {
            let mut n_splits = 0;
            for at in root..end {
                n_splits += u32::from(self.check_node(at, end, &set_words)?);
            }
            if 2 * n_splits + 1 != end - root {
                return Err(damaged("roots", format!("the tree at node {root} has {n_splits} splits")));
            }
        }
        let n_leaves = self.nodes.iter().filter(|node| node.feature == LEAF).count();
        if n_leaves * self.width != self.values.len() {
            return Err(damaged("leaf_values", format!("there are {n_leaves} leaves")));
        }
        Ok(())
    }

    /// Whether node `at`, of a tree whose nodes end before `end`, is a split.
    fn check_node(&self, at: u32, end: u32, set_words: &[usize]) -> Result<bool, LoadError> {
        let node = self.nodes[at as usize];
        if node.feature == LEAF {
            if node.child as usize >= self.values.len() / self.width {
                return Err(damaged("node_child", format!("leaf {at} has no value")));
            }
            return Ok(false);
        }
        let Some(&set_words) = set_words.get((node.feature & !FLAGS) as usize) else {
            return Err(damaged("node_feature", format!("node {at} splits an unknown column")));
        };
        if node.feature & SET != 0 && self.sets.find(node.threshold).is_none_or(|set| set.len() != set_words) {
            return Err(damaged("node_threshold", format!("node {at} splits by a set that its column has not")));
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

    /// Of a set of its categories; 0 where it can have none, for its categories have another order than that of their numbers.
    fn set_words(&self) -> usize {
        match self {
            Feature::Categorical(places) if places.iter().enumerate().all(|(at, place)| at as f64 == *place) => {
                places.len().div_ceil(32)
            }
            Feature::Numeric | Feature::Categorical(_) => 0,
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

fn read_sets(arrays: &Arrays) -> Result<Sets, LoadError> {
    if !arrays.contains_key(SET_ENDS) {
        return Ok(Sets::default());
    }
    let words = read_u32(arrays, SET_WORDS, &[Dim::Any])?.to_vec();
    let ends = read_i64(arrays, SET_ENDS, &[Dim::Any])?;
    let ends: Option<Vec<usize>> = ends.iter().map(|&end| usize::try_from(end).ok()).collect();
    let ends = ends.filter(|ends| ends.is_sorted() && ends.last() == Some(&words.len()));
    let ends = ends.ok_or_else(|| damaged(SET_ENDS, "they are not where sets end"))?;
    Ok(Sets { ends, words })
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
