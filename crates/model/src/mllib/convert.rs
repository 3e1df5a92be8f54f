//! Saved models as arrays of ours. Spark's models take a vector; how columns of ours fill its slots is told by who calls.

use millstream_learn::{Algorithm, Array, Arrays, ForeignTrees, LoadError, als, kmeans, random_forest};

use super::saved::{Affine, AlsModel, KmeansModel, LinearModel, LogisticModel};
use super::trees::{Ensemble, SavedNode, SavedTree, SplitTest, TreeModel};
use crate::registry::Fitted;

/// A column of ours, and the slots of the vector that it fills.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorColumn {
    /// `None`: numbers, with one slot.
    pub n_categories: Option<u32>,
    pub slots: Vec<VectorSlot>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct VectorSlot {
    /// In the vector.
    pub place: usize,
    pub holds: Holds,
    /// What the value goes through, one after the other.
    pub steps: Vec<Affine>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    Number,
    /// The category's number; NaN for `unknown`.
    Code {
        unknown: Option<u32>,
    },
    /// 1 where the category is this one, else 0.
    Is(u32),
}

impl VectorColumn {
    pub fn number(place: usize) -> Self {
        Self { n_categories: None, slots: vec![VectorSlot { place, holds: Holds::Number, steps: Vec::new() }] }
    }

    /// A slot with the category's number; others than these are unknown to the trees.
    pub fn code(place: usize, n_categories: u32) -> Self {
        let holds = Holds::Code { unknown: None };
        Self { n_categories: Some(n_categories), slots: vec![VectorSlot { place, holds, steps: Vec::new() }] }
    }

    /// A slot for each category.
    pub fn one_hot(first: usize, n_categories: u32) -> Self {
        let slot = |(place, category)| VectorSlot { place, holds: Holds::Is(category), steps: Vec::new() };
        Self { n_categories: Some(n_categories), slots: (first..).zip(0..n_categories).map(slot).collect() }
    }

    fn n_parameters(&self) -> usize {
        self.n_categories.map_or(1, |n| n as usize)
    }
}

impl VectorSlot {
    fn value(&self, category: u32) -> f64 {
        let value = match self.holds {
            Holds::Number => f64::NAN,
            Holds::Code { unknown } if unknown == Some(category) => f64::NAN,
            Holds::Code { .. } => f64::from(category),
            Holds::Is(this) => f64::from(u8::from(this == category)),
        };
        self.steps.iter().fold(value, |value, step| (value - step.center) * step.factor + step.shift)
    }

    /// All steps as one.
    fn step(&self) -> Affine {
        let mut steps = self.steps.iter();
        let first = *steps.next().unwrap_or(&Affine::NONE);
        steps.fold(first, |all, step| Affine {
            center: all.center,
            factor: all.factor * step.factor,
            shift: (all.shift - step.center) * step.factor + step.shift,
        })
    }
}

/// Why a model and columns do not go together.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error("{0}")]
    Columns(String),
    #[error("it does not come out as a model of this Millstream")]
    Arrays(#[from] LoadError),
}

fn check(columns: &[VectorColumn], n_slots: usize) -> Result<(), ConvertError> {
    let found: usize = columns.iter().map(|column| column.slots.len()).sum();
    let is_inside = columns.iter().flat_map(|column| &column.slots).all(|slot| slot.place < n_slots);
    if found == n_slots && is_inside {
        return Ok(());
    }
    Err(ConvertError::Columns(format!("the model takes a vector of {n_slots} numbers, and there are {found}")))
}

fn f64s(data: Vec<f64>) -> Array {
    Array::F64 { shape: vec![data.len()], data }
}

fn u32s(data: Vec<u32>) -> Array {
    Array::U32 { shape: vec![data.len()], data }
}

fn named(arrays: impl IntoIterator<Item = (&'static str, Array)>) -> Arrays {
    arrays.into_iter().map(|(name, array)| (name.to_owned(), array)).collect()
}

fn layout(columns: &[VectorColumn]) -> (&'static str, Array) {
    ("column_categories", u32s(columns.iter().map(|column| column.n_categories.unwrap_or(0)).collect()))
}

/// Of a sum over the slots: what each parameter of ours gets of it, and what is added to all rows.
fn shared_out(columns: &[VectorColumn], coefficients: &[f64], offset: f64) -> (Vec<f64>, f64) {
    let mut shared = Vec::with_capacity(columns.iter().map(VectorColumn::n_parameters).sum());
    let mut offset = offset;
    for column in columns {
        let start = shared.len();
        shared.resize(start + column.n_parameters(), 0.0);
        for slot in &column.slots {
            let (coefficient, step) = (coefficients[slot.place], slot.step());
            match (slot.holds, column.n_categories) {
                (Holds::Number, _) => {
                    shared[start] += coefficient * step.factor;
                    offset += coefficient * step.shift;
                }
                (Holds::Is(category), _) => {
                    // Its slot is that of a 0 for every other one.
                    offset += coefficient * ((0.0 - step.center) * step.factor + step.shift);
                    if let Some(own) = shared[start..].get_mut(category as usize) {
                        *own += coefficient * step.factor;
                    }
                }
                (Holds::Code { .. }, n_categories) => {
                    for category in 0..n_categories.unwrap_or(0) {
                        shared[start + category as usize] += coefficient * slot.value(category);
                    }
                }
            }
        }
    }
    (shared, offset)
}

/// What is taken off a number before it is multiplied.
fn centers(columns: &[VectorColumn]) -> Array {
    let center = |column: &VectorColumn| match (column.n_categories, &column.slots[..]) {
        (None, [slot]) => slot.step().center,
        _ => 0.0,
    };
    f64s(columns.iter().map(center).collect())
}

pub fn linear(model: &LinearModel, columns: &[VectorColumn]) -> Result<Fitted, ConvertError> {
    check(columns, model.coefficients.len())?;
    let (coefficients, offset) = shared_out(columns, &model.coefficients, model.intercept);
    let rank = u32::try_from(coefficients.len()).unwrap_or(u32::MAX);
    let arrays = named([
        layout(columns),
        ("centers", centers(columns)),
        ("coefficients", f64s(coefficients)),
        ("offset", f64s(vec![offset])),
        ("rank", u32s(vec![rank])),
    ]);
    Ok(Fitted::from_arrays(Algorithm::LinearRegression, &arrays)?)
}

pub fn logistic(model: &LogisticModel, columns: &[VectorColumn]) -> Result<Fitted, ConvertError> {
    let n_slots = model.coefficients.n_columns;
    check(columns, n_slots)?;
    let mut rows: Vec<Vec<f64>> = model.coefficients.values.chunks(n_slots.max(1)).map(<[f64]>::to_vec).collect();
    let mut intercepts = model.intercepts.clone();
    // Of two classes only the difference counts.
    if let ([first, second], [low, high]) = (&rows[..], &intercepts[..]) {
        let difference = second.iter().zip(first).map(|(second, first)| second - first).collect();
        (rows, intercepts) = (vec![difference], vec![high - low]);
    }
    let outputs: Vec<(Vec<f64>, f64)> =
        rows.iter().zip(&intercepts).map(|(row, intercept)| shared_out(columns, row, *intercept)).collect();
    let n_parameters = columns.iter().map(VectorColumn::n_parameters).sum();
    let data = outputs.iter().flat_map(|(row, _)| row).copied().collect();
    let arrays = named([
        layout(columns),
        ("centers", centers(columns)),
        ("coefficients", Array::F64 { shape: vec![outputs.len(), n_parameters], data }),
        ("offsets", f64s(outputs.iter().map(|(_, offset)| *offset).collect())),
        ("ending", Array::U8 { shape: vec![1], data: vec![0] }),
        ("iterations", u32s(vec![0])),
    ]);
    Ok(Fitted::from_arrays(Algorithm::LogisticRegression, &arrays)?)
}

/// Numbers with a scale must be scaled by the column itself: a threshold lies where it lies.
pub fn trees(model: &TreeModel, columns: &[VectorColumn]) -> Result<Fitted, ConvertError> {
    check(columns, model.n_features)?;
    let mut slots = vec![None; model.n_features];
    for (number, column) in columns.iter().enumerate() {
        for slot in &column.slots {
            if slot.holds == Holds::Number && !slot.steps.is_empty() {
                return Err(ConvertError::Columns(format!("the number {} of the vector is scaled", slot.place)));
            }
            slots[slot.place] = Some((number, column.n_categories, slot));
        }
    }
    let task = match model.classes {
        None => random_forest::Task::Regression,
        Some(_) => random_forest::Task::Classification,
    };
    let n_counts = match (model.ensemble, &model.classes) {
        (Ensemble::Mean, Some(classes)) => classes.n_classes,
        (Ensemble::Mean, None) | (Ensemble::Boosted, _) => 0,
    };
    let n_categories = columns.iter().map(|column| column.n_categories).collect();
    let mut built = ForeignTrees::new(task, n_categories, n_counts.max(1));
    for tree in &model.trees {
        // Of two classes the second has p = 1 / (1 + e^(−2 · margin)).
        let leaf_weight = match (model.ensemble, &model.classes) {
            (Ensemble::Mean, _) => 1.0,
            (Ensemble::Boosted, None) => tree.weight,
            (Ensemble::Boosted, Some(_)) => 2.0 * tree.weight,
        };
        add_tree(&mut built, tree, &slots, leaf_weight)?;
    }
    let mut arrays = built.into_arrays();
    let algorithm = match model.ensemble {
        Ensemble::Mean => Algorithm::RandomForest,
        Ensemble::Boosted => {
            let rounds = u32::try_from(model.trees.len()).unwrap_or(u32::MAX);
            arrays.extend(named([("start", f64s(vec![0.0])), ("rounds_fitted", u32s(vec![rounds]))]));
            Algorithm::GradientBoosting
        }
    };
    Ok(Fitted::from_arrays(algorithm, &arrays)?)
}

/// By its place: the column, its categories, and the slot itself.
type Slots<'a> = [Option<(usize, Option<u32>, &'a VectorSlot)>];

fn add_tree(built: &mut ForeignTrees, tree: &SavedTree, slots: &Slots, weight: f64) -> Result<(), ConvertError> {
    let mut open = vec![(0, built.root())];
    while let Some((node, at)) = open.pop() {
        match &tree.nodes[node] {
            SavedNode::Leaf { prediction, counts } if counts.is_empty() => {
                built.leaf(at, [prediction * weight].into_iter());
            }
            SavedNode::Leaf { counts, .. } => {
                let total: f64 = counts.iter().sum();
                if total <= 0.0 {
                    return Err(ConvertError::Columns(format!("a leaf of the node {node} has no rows")));
                }
                built.leaf(at, counts.iter().map(|count| count / total));
            }
            SavedNode::Split { feature, test, left, right } => {
                let missing =
                    || ConvertError::Columns(format!("the number {feature} of the vector comes from nowhere"));
                let (column, n_categories, slot) = slots.get(*feature).copied().flatten().ok_or_else(missing)?;
                let child = match (n_categories, test) {
                    (Some(n_categories), test) => {
                        let left = goes_left(slot, n_categories, test);
                        built.split_set(at, column, left, test.unknown_goes_left())
                    }
                    (None, SplitTest::Threshold(threshold)) => built.split(at, column, *threshold),
                    (None, SplitTest::Categories { .. }) => {
                        let problem = format!("the number {feature} of the vector is a category to the trees");
                        return Err(ConvertError::Columns(problem));
                    }
                };
                open.extend([(*left, child), (*right, child + 1)]);
            }
        }
    }
    Ok(())
}

/// Of each category of a column.
fn goes_left<'a>(slot: &'a VectorSlot, n_categories: u32, test: &'a SplitTest) -> impl Iterator<Item = bool> + 'a {
    let mut known = match test {
        SplitTest::Threshold(_) => Vec::new(),
        SplitTest::Categories { n_categories, .. } => vec![false; *n_categories as usize],
    };
    if let SplitTest::Categories { left, .. } = test {
        left.iter().for_each(|category| known[*category as usize] = true);
    }
    (0..n_categories).map(move |category| {
        let value = slot.value(category);
        match test {
            SplitTest::Threshold(threshold) => value <= *threshold,
            SplitTest::Categories { .. } => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "only whole numbers from 0 on"
                )]
                let whole = (value >= 0.0 && value.fract() == 0.0).then_some(value as usize);
                let found = whole.and_then(|whole| known.get(whole)).copied();
                found.unwrap_or_else(|| test.unknown_goes_left())
            }
        }
    })
}

/// Numbers alone. Nothing is known of the rows; where the middle row of a cluster stands among all is told by its centre among the others.
pub fn clusters(model: &KmeansModel, columns: &[VectorColumn]) -> Result<kmeans::Model, ConvertError> {
    let (k, n_slots) = (model.k, model.centers.len() / model.k.max(1));
    check(columns, n_slots)?;
    let steps: Option<Vec<(usize, Affine)>> = columns
        .iter()
        .map(|column| match (column.n_categories, &column.slots[..]) {
            (None, [slot]) => Some((slot.place, slot.step())),
            _ => None,
        })
        .collect();
    let steps = steps.ok_or_else(|| ConvertError::Columns("clusters of categories are not taken over".to_owned()))?;
    let is_scaled = steps.iter().any(|(_, step)| *step != Affine::NONE);
    // In the units of the columns; one that the scaler makes constant is left out of all distances.
    let own = |center: &[f64], (place, step): (usize, Affine)| match step.factor {
        0.0 => step.center,
        factor => (center[place] - step.shift) / factor + step.center,
    };
    let centers: Vec<f64> =
        model.centers.chunks_exact(n_slots).flat_map(|center| steps.iter().map(|&step| own(center, step))).collect();
    let of_column = |column: usize| centers.iter().skip(column).step_by(n_slots);
    let means: Vec<f64> = (0..n_slots).map(|column| of_column(column).sum::<f64>() / k as f64).collect();
    let deviation = |(column, (_, step)): (usize, &(usize, Affine))| match (is_scaled, step.factor) {
        (true, 0.0) => 0.0,
        (true, factor) => 1.0 / factor.abs(),
        (false, _) => {
            let squares: f64 = of_column(column).map(|center| (center - means[column]).powi(2)).sum();
            (squares / k as f64).sqrt()
        }
    };
    let deviations: Vec<f64> = steps.iter().enumerate().map(deviation).collect();
    let mut ranks = vec![0.5; centers.len()];
    for column in 0..n_slots {
        let mut order: Vec<usize> = (0..k).collect();
        order.sort_by(|a, b| centers[a * n_slots + column].total_cmp(&centers[b * n_slots + column]));
        for (below, cluster) in order.into_iter().enumerate() {
            ranks[cluster * n_slots + column] = (below as f64 + 0.5) / k as f64;
        }
    }
    let matrix = |data: Vec<f64>| Array::F64 { shape: vec![k, n_slots], data };
    let arrays = named([
        layout(columns),
        ("means", f64s(means)),
        ("deviations", f64s(deviations)),
        ("spreads", matrix(vec![0.0; centers.len()])),
        ("medians", matrix(centers.clone())),
        ("centers", matrix(centers)),
        ("ranks", matrix(ranks)),
        ("sizes", u32s(vec![0; k])),
        ("inertia", f64s(vec![0.0])),
        ("iterations", u32s(vec![0])),
        ("standardised_converged", Array::U8 { shape: vec![2], data: vec![u8::from(is_scaled), 1] }),
        ("tried_k", u32s(Vec::new())),
        ("tried_silhouette", f64s(Vec::new())),
        ("tried_inertia_per_row", f64s(Vec::new())),
    ]);
    Ok(kmeans::Model::from_arrays(&arrays)?)
}

/// What a folder of factors does not say.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldIn {
    pub implicit: bool,
    pub lambda: f64,
    pub alpha: f64,
    pub nonnegative: bool,
}

/// Users and items in the order of their ids. Predictions are not clamped.
pub fn factors(model: &AlsModel, fold_in: &FoldIn) -> Result<als::Model, ConvertError> {
    let matrix =
        |data: &[f32]| Array::F32 { shape: vec![data.len() / model.rank.max(1), model.rank], data: data.to_vec() };
    let n_items = model.items.ids.len();
    // Spark takes lambda times the ratings.
    let kind = vec![u8::from(fold_in.implicit), 1, u8::from(fold_in.nonnegative)];
    let arrays = named([
        ("user_factors", matrix(&model.users.values)),
        ("item_factors", matrix(&model.items.values)),
        ("item_counts", u32s(vec![0; n_items])),
        ("item_means", Array::F32 { shape: vec![n_items], data: vec![0.0; n_items] }),
        ("mean", f64s(vec![0.0])),
        ("scale", f64s(Vec::new())),
        ("equation", f64s(vec![fold_in.lambda, fold_in.alpha])),
        ("kind", Array::U8 { shape: vec![3], data: kind }),
    ]);
    Ok(als::Model::from_arrays(&arrays)?)
}
