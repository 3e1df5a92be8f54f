//! A recipe and batches into a fitted model by an engine that encodes the rows itself: what it found becomes encodings by the rules of
//! `encode`, and no row is held here.

use millstream_learn::{FitError, random_forest};
use millstream_stream::batch::{Batch, verify_part};

use super::TrainError;
use super::columns::rows_of;
use super::encode::{FoundNumbers, category_encoding, mean_of_middle, number_encoding};
use super::fit::{Trained, TrainingRun, counted, frequencies, name_feature};
use super::prepare::{
    Counts, FeatureColumns, RowExpressions, inputs, number_classes, refuse_one_class, refuse_without_rows,
};
use super::recipe::DEFAULT_CATEGORICAL;
use crate::engine::raw::{
    ClassValues, Design, Designed, DesignedTarget, Encodes, Found, FoundFeature, FoundTarget, RawFeature, RawKind,
    RawRows, RawTarget,
};
use crate::engine::{EngineError, Job};
use crate::model::{Missing, Supervised};
use crate::registry::{Absent, Encoding, Feature, FeatureKind, Slots, TargetSummary, Task};
use crate::rows::RowsError;

/// Of every classifier.
const CLASSES_MOST: u32 = random_forest::CLASSES_MAX;

pub(super) fn train_raw(run: &TrainingRun, columns: &Supervised, engine: &dyn Encodes) -> Result<Trained, TrainError> {
    let compiled = RowExpressions::new(run.recipe, FeatureColumns::from(columns), run.schema)?;
    let files: Vec<String> = run.batches.iter().flat_map(Batch::files).collect();
    let rows = raw_rows(run, columns, &compiled, &files)?;
    let job: Job = run.job();
    // An engine believes what lies there.
    for file in rows.files {
        if (run.stopped)() {
            return Err(TrainError::Stopped);
        }
        verify_part(run.store, file).map_err(RowsError::from)?;
    }
    let found = engine.find(&job, &rows)?;
    let counts = counts_of(&found, rows.n_records)?;
    refuse_without_rows(Some(columns.target.as_str()), counts)?;
    let features = columns.features.iter().zip(&found.features);
    let features = features.map(|(text, found)| feature(run, columns, (text, found), counts.fitted));
    let features = features.collect::<Result<Vec<_>, _>>()?;
    let (target, task, target_summary) = designed_target(run, columns, &rows.target, &found.target)?;
    let named = |error: EngineError| name_feature(&columns.features, error);
    let designed = features.iter().zip(&found.features).enumerate();
    let designed = designed.map(|(column, pair)| designed_feature(column, pair, columns.missing, counts.fitted));
    let designed = designed.collect::<Result<Vec<_>, FitError>>().map_err(|error| named(error.into()))?;
    let independent = found.features.iter().zip(&designed);
    let independent: usize =
        independent.map(|(found, designed)| independent_parameters(found, designed, counts.fitted)).sum();
    let design = Design { n_rows: counts.fitted, features: designed, target };
    let fitted = engine.fit(&job, &rows, &design).map_err(named)?;
    let mut notes = fitted.notes(independent);
    notes.extend(counted([(counts.no_target, "rows had no target and were left out")]));
    let is_number = |place: usize| compiled.kinds.get(place) == Some(&FeatureKind::Number);
    let inputs = inputs(&compiled.features, is_number, run.schema);
    Ok(Trained { arrays: fitted.to_arrays(), features, inputs, task, target_summary, counts, notes })
}

fn raw_rows<'a>(
    run: &TrainingRun<'a>,
    columns: &'a Supervised,
    compiled: &'a RowExpressions,
    files: &'a [String],
) -> Result<RawRows<'a>, TrainError> {
    let missing = columns.missing;
    let features = compiled.features.iter().zip(&compiled.kinds).map(|(expression, kind)| {
        let absent = kind.absent(missing, run.recipe.algorithm);
        let kind = match kind {
            FeatureKind::Number => RawKind::Number { median: missing == Missing::Median },
            FeatureKind::Category => {
                let rule = columns.categorical.get(expression.text()).copied().unwrap_or(DEFAULT_CATEGORICAL);
                RawKind::Category { most: rule.max }
            }
            // `check` refuses it.
            FeatureKind::Words => return Err(RowsError::Impossible("an engine that encodes rows is to count words")),
        };
        // As `whole_rows`: what has no place under `category` is an error, and no row to leave out.
        let is_required = missing != Missing::Category && absent == Absent::Unfit;
        Ok(RawFeature { expression, is_required, kind })
    });
    let features = features.collect::<Result<Vec<_>, RowsError>>()?;
    let target = compiled.target.as_ref().ok_or(RowsError::Impossible("there is no target"))?;
    let target = match compiled.regression {
        true => RawTarget::Numbers { target, output: columns.output.as_deref() },
        false => RawTarget::Classes { target, most: CLASSES_MOST },
    };
    Ok(RawRows {
        store: run.store,
        files,
        n_records: rows_of(run.batches)? as u64,
        schema: &compiled.schema,
        dialect: run.recipe.dialect,
        holdout: run.recipe.holdout,
        filter: compiled.filter.as_ref(),
        features,
        target,
    })
}

/// As many as the manifests say, or the engine has read something else.
fn counts_of(found: &Found, n_records: u64) -> Result<Counts, RowsError> {
    let (held_out, filtered) = (found.rows.held_out, found.rows.filtered);
    let (no_target, missing, fitted) = (found.rows.no_target, found.rows.missing, found.rows.fitted);
    let total = held_out + filtered + no_target + missing + fitted;
    if total != n_records {
        let problem = format!("the engine read {total} rows of them, and their manifests say {n_records}");
        return Err(RowsError::Part { place: "the batches to train on".to_owned(), problem });
    }
    Ok(Counts { total, held_out, filtered, no_target, missing, fitted })
}

fn feature(
    run: &TrainingRun,
    columns: &Supervised,
    (text, found): (&String, &FoundFeature),
    n_rows: u64,
) -> Result<Feature, TrainError> {
    let encoding = match found {
        FoundFeature::Number { n_present, least, greatest, mean, middle } => {
            let found = FoundNumbers { n_rows, n_present: *n_present, range: least.zip(*greatest) };
            // A mean beyond all numbers is refused with the column's name, below.
            let mean = || mean.unwrap_or(f64::NAN);
            let median = || middle.map_or(f64::NAN, |(lower, upper)| mean_of_middle(lower, upper));
            number_encoding(columns.missing, run.recipe.algorithm, text, found, mean, median)?.0
        }
        FoundFeature::Category { n_distinct, most_frequent, .. } => {
            let rule = columns.categorical.get(text).copied().unwrap_or(DEFAULT_CATEGORICAL);
            let n_distinct = usize::try_from(*n_distinct);
            let n_distinct = n_distinct.map_err(|_| RowsError::Impossible("more categories than can be counted"))?;
            category_encoding(rule, text, n_distinct, most_frequent.clone())?
        }
    };
    Ok(Feature { expression: text.clone(), encoding })
}

fn designed_feature<'a>(
    column: usize,
    (feature, found): (&'a Feature, &FoundFeature),
    missing: Missing,
    n_rows: u64,
) -> Result<Designed<'a>, FitError> {
    match (&feature.encoding, found) {
        (Encoding::Numeric { fill, .. }, FoundFeature::Number { n_present, mean, .. }) => {
            let mean = mean.ok_or(FitError::TooLarge { column })?;
            let filled = (n_rows - n_present) as f64 / n_rows as f64;
            let mean = fill.map_or(mean, |fill| mean + (fill - mean) * filled);
            match mean.is_finite() && fill.is_none_or(f64::is_finite) {
                true => Ok(Designed::Number { fill: *fill, mean }),
                false => Err(FitError::TooLarge { column }),
            }
        }
        (Encoding::Categorical { categories, rule }, FoundFeature::Category { .. }) => {
            Ok(Designed::Category { known: categories, slots: Slots::new(categories.len(), *rule, missing) })
        }
        (Encoding::Numeric { .. } | Encoding::Categorical { .. } | Encoding::Text { .. }, _) => {
            Err(FitError::LayoutChanged)
        }
    }
}

fn designed_target<'a>(
    run: &TrainingRun,
    columns: &Supervised,
    target: &RawTarget,
    found: &'a FoundTarget,
) -> Result<(DesignedTarget<'a>, Task, TargetSummary), TrainError> {
    let too_large = || TrainError::from(EngineError::Fit(FitError::TargetTooLarge));
    match found {
        FoundTarget::Numbers { deviation, mean_answered } => {
            let (deviation, mean) = deviation.zip(*mean_answered).ok_or_else(too_large)?;
            Ok((DesignedTarget::Numbers { deviation }, Task::Regression, TargetSummary::Mean { mean }))
        }
        FoundTarget::Classes { n_distinct, values, counts } => {
            let found = usize::try_from(*n_distinct).unwrap_or(usize::MAX);
            run.engine.supports_classes(run.recipe.algorithm, found)?;
            if found > counts.len() {
                let max = CLASSES_MOST as usize;
                return Err(EngineError::Fit(FitError::TooManyClasses { found, max }).into());
            }
            let (codes, classes) = match values {
                ClassValues::Numbers(numbers) => {
                    number_classes(numbers, target.expression().data_type(), run.recipe.dialect)?
                }
                ClassValues::Texts(texts) => {
                    let codes = (0..).zip(texts).map(|(code, _)| code).collect();
                    (codes, texts.iter().map(|text| text.as_str().into()).collect())
                }
            };
            refuse_one_class(&columns.target, &classes)?;
            let target = DesignedTarget::Classes { values, codes };
            Ok((target, Task::Classification { classes }, frequencies(counts)))
        }
    }
}

/// As of a table's column.
fn independent_parameters(found: &FoundFeature, designed: &Designed, n_rows: u64) -> usize {
    match (found, designed) {
        (FoundFeature::Category { n_distinct, n_present, .. }, Designed::Category { known, slots }) => {
            let has_other = *n_distinct > known.len() as u64;
            let has_missing = slots.missing.is_some() && *n_present < n_rows;
            (known.len() + usize::from(has_other) + usize::from(has_missing)).saturating_sub(1)
        }
        (FoundFeature::Category { .. } | FoundFeature::Number { .. }, _) => 1,
    }
}
