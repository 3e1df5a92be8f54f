//! A recipe and batches into a fitted model: the same for a new version and for one that is verified.

use millstream_learn::{
    Algorithm, Arrays, Column, FitError, ParamFault, Seed, Table, gradient_boosting, linear_regression,
    logistic_regression, random_forest,
};
use millstream_store::Store;
use millstream_stream::batch::Batch;
use millstream_stream::schema::StreamSchema;

use super::TrainError;
use super::fit_clusters::train_clusters;
use super::fit_items::{train_content, train_neighbours, train_popularity};
use super::fit_ratings::train_ratings;
use super::prepare::{Counts, Prepared, Target, prepare};
use super::recipe::Recipe;
use crate::model::{Columns, Supervised};
use crate::registry::{Feature, Fitted, Input, Output, TargetSummary, Task, Version, store_bags};
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

/// `parent`: the version of the same configuration on all of `batches` but the last, where there is one; algorithms that can
/// start from it do. `stopped` is asked now and then where training is long: then it ends as [`TrainError::Stopped`].
pub fn train(
    store: &dyn Store,
    recipe: &Recipe,
    schema: &StreamSchema,
    batches: &[Batch],
    parent: Option<&Version>,
    stopped: &dyn Fn() -> bool,
) -> Result<Trained, TrainError> {
    match &recipe.columns {
        Columns::Supervised(columns) => train_supervised(store, recipe, columns, schema, batches, stopped),
        Columns::Ratings(columns) => train_ratings(store, recipe, columns, schema, batches, (parent, stopped)),
        Columns::Clusters(columns) => train_clusters(store, recipe, columns, schema, batches),
        Columns::Content(columns) => train_content(store, recipe, columns, schema, batches),
        Columns::Neighbours(columns) => train_neighbours(store, recipe, columns, schema, batches),
        Columns::Popularity(columns) => train_popularity(store, recipe, columns, schema, batches),
    }
}

fn train_supervised(
    store: &dyn Store,
    recipe: &Recipe,
    columns: &Supervised,
    schema: &StreamSchema,
    batches: &[Batch],
    stopped: &dyn Fn() -> bool,
) -> Result<Trained, TrainError> {
    let prepared = prepare(store, recipe, columns, schema, batches)?;
    let Prepared { columns: learned, bags, features, inputs, target, counts } = prepared;
    let n_parameters = learned.iter().map(independent_parameters).sum();
    let target_summary = summary(columns, &target)?;
    let fit_error = |source| name_feature(&columns.features, source);
    let table = Table::new(learned)
        .map_err(|error| RowsError::Part { place: "the prepared columns".to_owned(), problem: error.to_string() })?;
    let fitted = fit(recipe, columns, &table, &target, stopped)?.map_err(fit_error)?;
    if matches!(target_summary, TargetSummary::Mean { mean } if !mean.is_finite()) {
        return Err(fit_error(FitError::TargetTooLarge));
    }
    let mut notes = fitted.notes(n_parameters);
    if counts.no_target > 0 {
        notes.push(format!("{} rows had no target and were left out", counts.no_target));
    }
    let task = match target {
        Target::Numbers(_) => Task::Regression,
        Target::Classes { classes, .. } => Task::Classification { classes },
    };
    let mut arrays = fitted.to_arrays();
    store_bags(&bags, &mut arrays);
    Ok(Trained { arrays, features, inputs, task, target_summary, counts, notes })
}

/// The outer error is the configuration's, the inner one the data's.
fn fit(
    recipe: &Recipe,
    columns: &Supervised,
    table: &Table,
    target: &Target,
    stopped: &dyn Fn() -> bool,
) -> Result<Result<Fitted, FitError>, TrainError> {
    let seed = Seed(recipe.seed);
    let values = &recipe.params;
    Ok(match (recipe.algorithm, target) {
        (Algorithm::LinearRegression, Target::Numbers(numbers)) => {
            let params = linear_regression::Params::from_values(values).map_err(faults)?;
            linear_regression::fit(table, numbers, &params).map(Fitted::Linear)
        }
        (Algorithm::LogisticRegression, Target::Classes { codes, classes }) => {
            let params = logistic_regression::Params::from_values(values).map_err(faults)?;
            logistic_regression::fit(table, codes, n_classes(classes)?, &params).map(Fitted::Logistic)
        }
        (Algorithm::RandomForest, Target::Numbers(numbers)) => {
            let params = random_forest::Params::from_values(values).map_err(faults)?;
            random_forest::fit_regression(table, numbers, &params, seed).map(Fitted::Forest)
        }
        (Algorithm::RandomForest, Target::Classes { codes, classes }) => {
            let params = random_forest::Params::from_values(values).map_err(faults)?;
            random_forest::fit_classification(table, codes, n_classes(classes)?, &params, seed).map(Fitted::Forest)
        }
        (Algorithm::GradientBoosting, Target::Numbers(numbers)) => {
            let params = gradient_boosting::Params::from_values(values).map_err(faults)?;
            gradient_boosting::fit_regression(table, numbers, &params, seed, stopped).map(Fitted::Boosted)
        }
        (Algorithm::GradientBoosting, Target::Classes { codes, classes }) => {
            let (params, n_classes) =
                (gradient_boosting::Params::from_values(values).map_err(faults)?, n_classes(classes)?);
            gradient_boosting::fit_classification(table, codes, n_classes, &params, seed, stopped).map(Fitted::Boosted)
        }
        (Algorithm::LinearRegression, Target::Classes { .. })
        | (Algorithm::LogisticRegression, Target::Numbers(_))
        | (
            Algorithm::Als | Algorithm::Content | Algorithm::Kmeans | Algorithm::Neighbours | Algorithm::Popularity,
            _,
        ) => {
            return Err(RowsError::Kind {
                key: "target",
                text: columns.target.clone(),
                found: "another task's target".to_owned(),
                remedy: "this is a bug: please report it",
            }
            .into());
        }
    })
}

fn n_classes(classes: &[serde_json::Value]) -> Result<u32, TrainError> {
    u32::try_from(classes.len()).map_err(|_| RowsError::Impossible("more classes than can be counted").into())
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
pub(super) fn name_feature(features: &[String], source: FitError) -> TrainError {
    let column = match &source {
        FitError::Stopped => return TrainError::Stopped,
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
        | FitError::StartCode { .. } => None,
    };
    TrainError::Fit { feature: column.and_then(|column| features.get(column).cloned()), source }
}

/// The mean is of the target as answered, after `output`; a row whose output is not finite does not count.
fn summary(columns: &Supervised, target: &Target) -> Result<TargetSummary, TrainError> {
    let output_error = RowsError::of("output");
    match (target, &columns.output) {
        (Target::Numbers(numbers), None) => Ok(TargetSummary::Mean { mean: mean(numbers) }),
        (Target::Numbers(numbers), Some(output)) => {
            let output = Output::compile(output).map_err(&output_error)?;
            let mut answered = output.apply(numbers.clone()).map_err(&output_error)?;
            answered.retain(|number| number.is_finite());
            Ok(TargetSummary::Mean { mean: mean(&answered) })
        }
        (Target::Classes { codes, classes }, None) => {
            let mut counts = vec![0_u64; classes.len()];
            codes.iter().for_each(|&code| counts[code as usize] += 1);
            let frequencies = counts.iter().map(|&count| count as f64 / codes.len() as f64).collect();
            Ok(TargetSummary::Frequencies { frequencies })
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

fn mean(numbers: &[f64]) -> f64 {
    if numbers.is_empty() { 0.0 } else { numbers.iter().sum::<f64>() / numbers.len() as f64 }
}
