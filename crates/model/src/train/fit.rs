//! A recipe and batches into a fitted model: the same for a new version and for one that is verified.

use millstream_learn::{Arrays, Column, FitError, ParamFault, Seed};
use millstream_store::Store;
use millstream_stream::batch::Batch;
use millstream_stream::schema::{Dialect, StreamSchema};

use super::TrainError;
use super::encode::EncodedTable;
use super::fit_clusters::train_clusters;
use super::fit_items::{train_content, train_neighbours, train_popularity};
use super::fit_ratings::train_ratings;
use super::fit_raw::train_raw;
use super::prepare::{Counts, PreparedRows, prepare};
use super::recipe::Recipe;
use crate::engine::{Engine, EngineError, Job, News, Target};
use crate::model::{Columns, Supervised};
use crate::registry::{Feature, Input, Output, TargetSummary, Task, Version, store_bags};
use crate::rows::RowsError;

/// All of a version but its name and its place.
#[derive(Debug)]
pub struct Trained {
    pub arrays: Arrays,
    pub features: Vec<Feature>,
    pub inputs: Vec<Input>,
    pub task: Task,
    pub target_summary: TargetSummary,
    pub counts: Counts,
    pub notes: Vec<String>,
}

impl Trained {
    /// Of no features and no target.
    pub(super) fn new(arrays: Arrays, task: Task, counts: Counts, notes: Vec<String>) -> Self {
        let (features, inputs, target_summary) = (Vec::new(), Vec::new(), TargetSummary::None);
        Self { arrays, features, inputs, task, target_summary, counts, notes }
    }
}

/// One training.
#[derive(Clone, Copy)]
pub struct TrainingRun<'a> {
    pub store: &'a dyn Store,
    pub recipe: &'a Recipe,
    pub schema: &'a StreamSchema,
    pub batches: &'a [Batch],
    /// The version of the same configuration on all of `batches` but the last, where there is one; algorithms that can start from
    /// it do.
    pub parent: Option<&'a Version>,
    pub engine: &'a dyn Engine,
    /// Asked now and then where training is long: then it ends as [`TrainError::Stopped`].
    pub stopped: &'a (dyn Fn() -> bool + Sync),
    pub tell: &'a (dyn Fn(News) + Sync),
}

impl<'a> TrainingRun<'a> {
    pub(super) fn job(&self) -> Job<'a> {
        let Recipe { algorithm, params, seed, .. } = self.recipe;
        Job { algorithm: *algorithm, params, seed: Seed(*seed), stopped: self.stopped, tell: self.tell }
    }
}

pub fn train(run: &TrainingRun) -> Result<Trained, TrainError> {
    run.engine.supports(run.recipe.algorithm, &run.recipe.params, run.recipe.columns.missing())?;
    match &run.recipe.columns {
        Columns::Supervised(columns) => match run.engine.encodes() {
            Some(engine) => train_raw(run, columns, engine),
            None => train_supervised(run, columns),
        },
        Columns::Ratings(columns) => train_ratings(run, columns),
        Columns::Clusters(columns) => train_clusters(run, columns),
        Columns::Content(columns) => train_content(run, columns),
        Columns::Neighbours(columns) => train_neighbours(run, columns),
        Columns::Popularity(columns) => train_popularity(run, columns),
    }
}

fn train_supervised(run: &TrainingRun, columns: &Supervised) -> Result<Trained, TrainError> {
    let PreparedRows { encoded, inputs, target, counts } = prepare(run, columns)?;
    let EncodedTable { table, features, bags } = encoded;
    let target_summary = summary(columns, &target, run.recipe.dialect)?;
    let fit_error = |source| name_feature(&columns.features, source);
    let fitted = run.engine.fit_rows(&run.job(), &table, &target).map_err(fit_error)?;
    if matches!(target_summary, TargetSummary::Mean { mean } if !mean.is_finite()) {
        return Err(fit_error(FitError::TargetTooLarge.into()));
    }
    let mut notes = fitted.notes(table.columns().iter().map(independent_parameters).sum());
    notes.extend(counted([(counts.no_target, "rows had no target and were left out")]));
    let task = match target {
        Target::Numbers(_) => Task::Regression,
        Target::Classes { classes, .. } => Task::Classification { classes },
    };
    let mut arrays = fitted.to_arrays();
    store_bags(&bags, &mut arrays);
    Ok(Trained { arrays, features, inputs, task, target_summary, counts, notes })
}

/// How many a least-squares fit can tell apart.
fn independent_parameters(column: &Column) -> usize {
    match column {
        Column::Numeric(_) => 1,
        Column::Sparse(sparse) => sparse.n_terms() as usize,
        // One-hot: the categories of a row sum to 1, as the intercept does, so one of them is redundant by nature; so are
        // those that no row has.
        Column::Categorical { codes, n_categories } => {
            let mut used = vec![false; *n_categories as usize];
            codes.iter().for_each(|&code| used[code as usize] = true);
            used.iter().filter(|used| **used).count().saturating_sub(1)
        }
    }
}

pub(super) fn faults(faults: Vec<ParamFault>) -> TrainError {
    TrainError::Params(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; params."))
}

/// Learning counts columns, people name them.
pub(super) fn name_feature(features: &[String], error: EngineError) -> TrainError {
    let source = match TrainError::from(error) {
        TrainError::Fit { source, .. } => source,
        other => return other,
    };
    let column = match &source {
        FitError::Missing { column, .. }
        | FitError::NotFinite { column, .. }
        | FitError::TooLarge { column }
        | FitError::Sparse { column } => Some(*column),
        FitError::NoRows
        | FitError::NoTerms
        | FitError::TargetCount { .. }
        | FitError::TargetNotFinite { .. }
        | FitError::TargetTooLarge
        | FitError::UnknownClass { .. }
        | FitError::OneClass { .. }
        | FitError::TooManyParameters { .. }
        | FitError::TooManyRows { .. }
        | FitError::TooManyClasses { .. }
        | FitError::TooFewDistinctRows { .. }
        | FitError::LayoutChanged
        | FitError::RatingLengths { .. }
        | FitError::UnknownUser { .. }
        | FitError::UnknownItem { .. }
        | FitError::RatingNotFinite { .. }
        | FitError::RatingTooLarge { .. }
        | FitError::ValidationShape { .. }
        | FitError::StartLength { .. }
        | FitError::StartCode { .. }
        | FitError::VectorCount { .. }
        | FitError::Stopped => None,
    };
    TrainError::Fit { feature: column.and_then(|column| features.get(column).cloned()), source }
}

/// What a reader of the version should know of the records it did not take, of each kind that there are.
pub(super) fn counted<const N: usize>(kinds: [(u64, &str); N]) -> impl Iterator<Item = String> {
    kinds.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"))
}

/// The mean is of the target as answered, after `output`; a row whose output is not finite does not count.
fn summary(columns: &Supervised, target: &Target, dialect: Dialect) -> Result<TargetSummary, TrainError> {
    let output_error = RowsError::of("output");
    match (target, &columns.output) {
        (Target::Numbers(numbers), None) => Ok(TargetSummary::Mean { mean: mean(numbers) }),
        (Target::Numbers(numbers), Some(output)) => {
            let output = Output::compile(output, dialect).map_err(&output_error)?;
            let mut answered = output.apply(numbers.clone()).map_err(&output_error)?;
            answered.retain(|number| number.is_finite());
            Ok(TargetSummary::Mean { mean: mean(&answered) })
        }
        (Target::Classes { codes, classes }, None) => {
            let mut counts = vec![0_u64; classes.len()];
            codes.iter().for_each(|&code| counts[code as usize] += 1);
            Ok(frequencies(&counts))
        }
        (Target::Classes { .. }, Some(output)) => Err(RowsError::Kind {
            key: "output",
            text: output.clone(),
            found: "a number from a class".to_owned(),
            remedy: "a classifier answers with a class: remove output",
        }
        .into()),
    }
}

/// `counts`: rows of each class.
pub(super) fn frequencies(counts: &[u64]) -> TargetSummary {
    let total = counts.iter().sum::<u64>();
    TargetSummary::Frequencies { frequencies: counts.iter().map(|&count| count as f64 / total as f64).collect() }
}

fn mean(numbers: &[f64]) -> f64 {
    if numbers.is_empty() { 0.0 } else { numbers.iter().sum::<f64>() / numbers.len() as f64 }
}
