//! Saved trees: the nodes of all of them, put in order and checked to be trees.

use std::collections::BTreeMap;

use datafusion::arrow::array::{ArrayRef, RecordBatch};

use super::SavedError;
use super::columns::{column, doubles, integers, lists};
use super::folder::{Folder, Metadata};
use super::saved::{ClassColumns, class_columns, has_column};

const TREES_MOST: usize = 1 << 16;
/// Of what all leaves say.
const VALUES_MOST: usize = 1 << 26;
/// Of all splits by categories, each with all categories of its column: so many are asked about, and have a bit.
const CATEGORIES_MOST: usize = 1 << 28;
const CLASSES_MOST: usize = 1024;

#[derive(Debug, Clone, PartialEq)]
pub struct TreeModel {
    pub ensemble: Ensemble,
    pub n_features: usize,
    /// Of a classifier.
    pub classes: Option<SavedClasses>,
    pub features_column: String,
    pub label_column: String,
    pub trees: Vec<SavedTree>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SavedClasses {
    pub n_classes: usize,
    pub columns: ClassColumns,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensemble {
    /// The mean of the trees; of one tree itself.
    Mean,
    /// Σ weight · prediction.
    Boosted,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SavedTree {
    pub weight: f64,
    /// The first is the root; children come after their parent.
    pub nodes: Vec<SavedNode>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SavedNode {
    Leaf {
        prediction: f64,
        /// Of a classifier: how much of each class.
        counts: Vec<f64>,
    },
    Split {
        feature: usize,
        test: SplitTest,
        left: usize,
        right: usize,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum SplitTest {
    /// What is not larger goes left.
    Threshold(f64),
    /// These categories go left; of others than 0 … `n_categories` see [`SplitTest::unknown_goes_left`].
    Categories { left: Vec<u32>, n_categories: u32 },
}

impl SplitTest {
    /// Spark keeps the smaller half and tests whether a value is in it.
    pub fn unknown_goes_left(&self) -> bool {
        match self {
            Self::Threshold(_) => false,
            Self::Categories { left, n_categories } => left.len() > *n_categories as usize / 2,
        }
    }
}

pub(super) fn read_trees(folder: &Folder, metadata: &Metadata) -> Result<TreeModel, SavedError> {
    let class = metadata.class.rsplit('.').next().unwrap_or_default();
    let is_one = class.starts_with("DecisionTree");
    let ensemble = if class.starts_with("GBT") { Ensemble::Boosted } else { Ensemble::Mean };
    let n_features = metadata.count("numFeatures")?;
    let classes = match class.contains("Classification") {
        false => None,
        true => {
            // Boosting is of two classes, and its trees are of numbers.
            let n_classes = if ensemble == Ensemble::Boosted { 2 } else { metadata.count("numClasses")? };
            if !(2..=CLASSES_MOST).contains(&n_classes) {
                return Err(
                    folder.unsupported(format!("it has {n_classes} classes, 2 to {CLASSES_MOST} are taken over"))
                );
            }
            Some(SavedClasses { n_classes, columns: class_columns(folder, metadata)? })
        }
    };
    let weights = if is_one { vec![1.0] } else { tree_weights(folder, metadata)? };
    let counts = classes.as_ref().filter(|_| ensemble == Ensemble::Mean).map_or(0, |classes| classes.n_classes);
    let mut rows = NodeRows { n_features, n_trees: weights.len(), counts, values: 0, categories: 0, nodes: Vec::new() };
    folder.rows("data", folder.limits.nodes, |batch| rows.read(batch, is_one))?;
    let trees = rows.trees(&weights).map_err(|problem| {
        folder.damaged(
            "data",
            format!("{problem}: the folder was not copied whole, or is of another model; save it again"),
        )
    })?;
    let (features_column, label_column) = (metadata.text("featuresCol")?, metadata.text("labelCol")?);
    Ok(TreeModel { ensemble, n_features, classes, features_column, label_column, trees })
}

/// By the trees' numbers. The columns have other names from release to release, and stand in the same order.
fn tree_weights(folder: &Folder, metadata: &Metadata) -> Result<Vec<f64>, SavedError> {
    const NAME: &str = "treesMetadata";
    let mut found: BTreeMap<i64, f64> = BTreeMap::new();
    folder.rows(NAME, TREES_MOST as u64, |batch| {
        let [ids, _, weights] = batch.columns() else {
            return Err(format!("it has {} columns and not 3", batch.num_columns()));
        };
        for (id, weight) in integers(ids, "treeID")?.into_iter().zip(doubles(weights, "weights")?) {
            if !weight.is_finite() || found.insert(id, weight).is_some() {
                return Err(format!("the tree {id} is there twice, or weighs {weight}"));
            }
        }
        Ok(())
    })?;
    let n_trees = metadata.count("numTrees")?;
    if found.is_empty() || !found.keys().copied().eq((0_i64..).take(found.len())) || found.len() != n_trees {
        let problem = format!("it has {} trees, the metadata says {n_trees}: save the model again", found.len());
        return Err(folder.damaged(NAME, problem));
    }
    Ok(found.into_values().collect())
}

struct NodeRows {
    n_features: usize,
    n_trees: usize,
    /// How many numbers a leaf has; 0 where it has a prediction alone.
    counts: usize,
    values: usize,
    categories: usize,
    /// SavedTree, number, and the node.
    nodes: Vec<(u32, u32, SavedNode)>,
}

impl NodeRows {
    fn read(&mut self, batch: &RecordBatch, is_one: bool) -> Result<(), String> {
        const NODE: &str = "nodeData";
        let prefix: &[&str] = if is_one || !has_column(batch, NODE) { &[] } else { &[NODE] };
        let at = |name: &[&str]| -> Result<ArrayRef, String> { Ok(column(batch, &[prefix, name].concat())?.clone()) };
        let whole = |name: &'static str| integers(&at(&[name])?, name);
        let trees = if is_one { vec![0; batch.num_rows()] } else { integers(column(batch, &["treeID"])?, "treeID")? };
        let (ids, left, right) = (whole("id")?, whole("leftChild")?, whole("rightChild")?);
        let predictions = doubles(&at(&["prediction"])?, "prediction")?;
        let stats = lists(&at(&["impurityStats"])?, "impurityStats")?;
        let features = integers(&at(&["split", "featureIndex"])?, "featureIndex")?;
        let sets = lists(&at(&["split", "leftCategoriesOrThreshold"])?, "leftCategoriesOrThreshold")?;
        let n_categories = integers(&at(&["split", "numCategories"])?, "numCategories")?;
        for row in 0..batch.num_rows() {
            let (tree, id) = (below(trees[row], self.n_trees, "treeID")?, below(ids[row], u32::MAX as usize, "id")?);
            let node = if left[row] < 0 && right[row] < 0 {
                if !predictions[row].is_finite() {
                    return Err(format!("the node {id} predicts {}", predictions[row]));
                }
                let counts = match (self.counts, &stats[row]) {
                    (0, _) => Vec::new(),
                    (_, Some(stats)) => doubles(stats, "impurityStats")?,
                    (_, None) => return Err(format!("the leaf {id} has no impurityStats")),
                };
                if counts.len() != self.counts || counts.iter().any(|count| !count.is_finite() || *count < 0.0) {
                    return Err(format!("the leaf {id} has no {} counts of classes", self.counts));
                }
                self.values += self.counts;
                SavedNode::Leaf { prediction: predictions[row], counts }
            } else {
                let feature = below(features[row], self.n_features, "featureIndex")?;
                let values = sets[row].as_ref().ok_or_else(|| format!("the node {id} has no split"))?;
                let values = doubles(values, "leftCategoriesOrThreshold")?;
                self.categories += usize::try_from(n_categories[row]).unwrap_or(0);
                let test = test(values, n_categories[row]).map_err(|problem| format!("the node {id}: {problem}"))?;
                let [left, right] = [left[row], right[row]].map(|child| below(child, u32::MAX as usize, "a child"));
                SavedNode::Split { feature, test, left: left?, right: right? }
            };
            if self.values > VALUES_MOST || self.categories > CATEGORIES_MOST {
                return Err("its leaves, or its splits by categories, are too many".to_owned());
            }
            let number = |of: usize| u32::try_from(of).map_err(|error| error.to_string());
            self.nodes.push((number(tree)?, number(id)?, node));
        }
        Ok(())
    }

    fn trees(mut self, weights: &[f64]) -> Result<Vec<SavedTree>, String> {
        self.nodes.sort_by_key(|(tree, id, _)| (*tree, *id));
        let mut trees: Vec<SavedTree> = weights.iter().map(|&weight| SavedTree { weight, nodes: Vec::new() }).collect();
        for (tree, id, node) in self.nodes {
            let nodes = &mut trees[tree as usize].nodes;
            if id as usize != nodes.len() {
                return Err(format!("the tree {tree} has no node {}, or has one twice", nodes.len()));
            }
            nodes.push(node);
        }
        for (number, tree) in trees.iter().enumerate() {
            check_tree(&tree.nodes).map_err(|problem| format!("the tree {number} {problem}"))?;
        }
        Ok(trees)
    }
}

fn below(value: i64, most: usize, what: &str) -> Result<usize, String> {
    usize::try_from(value).ok().filter(|value| *value < most).ok_or_else(|| format!("`{what}` is {value} of {most}"))
}

fn test(values: Vec<f64>, n_categories: i64) -> Result<SplitTest, String> {
    const OF_ONE: i64 = 1 << 20;
    match (n_categories, &values[..]) {
        (-1, [threshold]) if !threshold.is_nan() => Ok(SplitTest::Threshold(*threshold)),
        (1..=OF_ONE, _) => {
            let n_categories = u32::try_from(n_categories).map_err(|error| error.to_string())?;
            let category = |value: &f64| {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
                let whole = (0.0..f64::from(n_categories)).contains(value).then_some(*value as u32);
                whole.filter(|whole| f64::from(*whole).total_cmp(value).is_eq())
            };
            let mut left: Vec<u32> = values
                .iter()
                .map(|value| category(value).ok_or_else(|| format!("{value} is no category of {n_categories}")))
                .collect::<Result<_, _>>()?;
            left.sort_unstable();
            if left.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err("a category goes left twice".to_owned());
            }
            Ok(SplitTest::Categories { left, n_categories })
        }
        _ => Err(format!("a split by {} values of {n_categories} categories", values.len())),
    }
}

/// Every node but the first is the child of one before it.
fn check_tree(nodes: &[SavedNode]) -> Result<(), String> {
    if nodes.is_empty() {
        return Err("has no node".to_owned());
    }
    let mut has_parent = vec![false; nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        let SavedNode::Split { left, right, .. } = node else { continue };
        for child in [*left, *right] {
            let fresh = child > at && has_parent.get(child).is_some_and(|has_parent| !has_parent);
            if !fresh {
                return Err(format!("has a node {at} whose child {child} is none"));
            }
            has_parent[child] = true;
        }
    }
    match has_parent[1..].iter().position(|has_parent| !has_parent) {
        None => Ok(()),
        Some(at) => Err(format!("has a node {} that no way leads to", at + 1)),
    }
}
