//! What an engine that encodes rows itself finds becomes the same version as rows that are encoded here.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::compute::is_not_null;
use millstream_learn::{Algorithm, Column, ParamValue, Table, als, kmeans};
use millstream_stream::batch::{Batch, Selection, read_blocks};
use millstream_stream::expression::{Expression, ValueKind};
use serde_json::{Value, json};

use crate::engine::raw::{
    ClassValues, Design, Designed, DesignedTarget, Encodes, Found, FoundFeature, FoundRows, FoundTarget, RawKind,
    RawRows, RawTarget,
};
use crate::engine::{Engine, EngineError, Job, Local, RatingRows, Target};
use crate::model::{Categorical, Missing, Model, Unseen};
use crate::registry::{Fitted, numbers, texts};
use crate::rows::{keep, keep_passing, keep_trained};
use crate::train::fixture::*;

/// Reads and encodes in the plainest way, and fits as `Local` does.
struct Elsewhere;

impl Engine for Elsewhere {
    fn supports(
        &self,
        algorithm: Algorithm,
        params: &BTreeMap<String, ParamValue>,
        missing: Missing,
    ) -> Result<(), EngineError> {
        Local.supports(algorithm, params, missing)
    }

    fn encodes(&self) -> Option<&dyn Encodes> {
        Some(self)
    }

    fn fit_rows(&self, _: &Job, _: &Table, _: &Target) -> Result<Fitted, EngineError> {
        panic!("rows were encoded here")
    }

    fn fit_clusters(&self, job: &Job, _: &Table) -> Result<kmeans::Model, EngineError> {
        Err(EngineError::Target(job.algorithm))
    }

    fn fit_ratings(&self, job: &Job, _: &RatingRows) -> Result<als::Fit, EngineError> {
        Err(EngineError::Target(job.algorithm))
    }
}

/// The rows that are fitted, and how many are not.
fn fitted_rows(rows: &RawRows) -> (Vec<RecordBatch>, FoundRows) {
    let (mut found, mut kept) = (FoundRows::default(), Vec::new());
    for file in rows.files {
        for block in read_blocks(rows.store, file, rows.schema, &Selection::all()).unwrap() {
            let block = keep_trained(&block.unwrap(), rows.holdout, &mut found.held_out).unwrap();
            let block = keep_passing(rows.filter, block, &mut found.filtered).unwrap();
            let target = is_not_null(&rows.target.expression().evaluate(&block).unwrap()).unwrap();
            let mut block = keep(&block, &target, &mut found.no_target).unwrap();
            for feature in rows.features.iter().filter(|feature| feature.is_required) {
                let is_there: BooleanArray = match feature.kind {
                    RawKind::Number { .. } => numbers(feature.expression, &block)
                        .unwrap()
                        .iter()
                        .map(|number| Some(!number.is_nan()))
                        .collect(),
                    RawKind::Category { .. } => is_not_null(&texts(feature.expression, &block).unwrap()).unwrap(),
                };
                block = keep(&block, &is_there, &mut found.missing).unwrap();
            }
            found.fitted += block.num_rows() as u64;
            kept.push(block);
        }
    }
    (kept, found)
}

fn all_numbers(blocks: &[RecordBatch], expression: &Expression) -> Vec<f64> {
    blocks.iter().flat_map(|block| numbers(expression, block).unwrap()).collect()
}

fn all_texts(blocks: &[RecordBatch], expression: &Expression) -> Vec<Option<String>> {
    let of = |block| texts(expression, block).unwrap().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>();
    blocks.iter().flat_map(of).collect()
}

fn counts<T: Ord>(values: impl Iterator<Item = T>) -> BTreeMap<T, u64> {
    let mut counts = BTreeMap::new();
    values.for_each(|value| *counts.entry(value).or_default() += 1);
    counts
}

impl Encodes for Elsewhere {
    fn find(&self, _: &Job, rows: &RawRows) -> Result<Found, EngineError> {
        let (blocks, found) = fitted_rows(rows);
        let features = rows.features.iter().map(|feature| match feature.kind {
            RawKind::Number { median } => {
                let mut present = all_numbers(&blocks, feature.expression);
                present.retain(|number| !number.is_nan());
                let (n, sum) = (present.len(), present.iter().sum::<f64>());
                present.sort_by(f64::total_cmp);
                FoundFeature::Number {
                    n_present: n as u64,
                    least: present.first().copied(),
                    greatest: present.last().copied(),
                    mean: (n > 0).then(|| sum / n as f64),
                    middle: (median && n > 0).then(|| (present[(n - 1) / 2], present[n / 2])),
                }
            }
            RawKind::Category { most } => {
                let counts = counts(all_texts(&blocks, feature.expression).into_iter().flatten());
                let (n_distinct, n_present) = (counts.len() as u64, counts.values().sum());
                let mut order: Vec<(String, u64)> = counts.into_iter().collect();
                order.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
                let most_frequent = order.into_iter().take(most as usize).map(|(text, _)| text).collect();
                FoundFeature::Category { n_distinct, most_frequent, n_present }
            }
        });
        let features = features.collect();
        let target = match rows.target {
            RawTarget::Numbers { target, .. } => {
                let numbers = all_numbers(&blocks, target);
                let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
                FoundTarget::Numbers { deviation: Some(1.0), mean_answered: Some(mean) }
            }
            RawTarget::Classes { target, .. } => {
                let (values, counts) = match target.kind() {
                    ValueKind::Text => {
                        let counts = counts(all_texts(&blocks, target).into_iter().flatten());
                        let (texts, counts): (Vec<String>, Vec<u64>) = counts.into_iter().unzip();
                        (ClassValues::Texts(texts), counts)
                    }
                    ValueKind::Number | ValueKind::Boolean | ValueKind::Other => {
                        // Of none below 0 the bits are in the order of the numbers.
                        let counts = counts(all_numbers(&blocks, target).into_iter().map(f64::to_bits));
                        let (bits, counts): (Vec<u64>, Vec<u64>) = counts.into_iter().unzip();
                        (ClassValues::Numbers(bits.into_iter().map(f64::from_bits).collect()), counts)
                    }
                };
                FoundTarget::Classes { n_distinct: counts.len() as u64, values, counts }
            }
        };
        Ok(Found { rows: found, features, target })
    }

    fn fit(&self, job: &Job, rows: &RawRows, design: &Design) -> Result<Fitted, EngineError> {
        let (blocks, _) = fitted_rows(rows);
        let columns = rows.features.iter().zip(&design.features).map(|(feature, designed)| match designed {
            Designed::Number { fill, .. } => {
                let number = |number: f64| if number.is_nan() { fill.unwrap() } else { number };
                Column::Numeric(all_numbers(&blocks, feature.expression).into_iter().map(number).collect())
            }
            Designed::Category { known, slots } => {
                let code = |text: Option<String>| match text {
                    None => slots.missing.unwrap(),
                    Some(text) => match known.iter().position(|known| *known == text) {
                        Some(place) => u32::try_from(place).unwrap(),
                        None => slots.other.unwrap(),
                    },
                };
                let codes = all_texts(&blocks, feature.expression).into_iter().map(code).collect();
                Column::Categorical { codes, n_categories: slots.n_categories }
            }
        });
        let table = Table::new(columns.collect()).unwrap();
        let target = rows.target.expression();
        let target = match &design.target {
            DesignedTarget::Numbers { .. } => Target::Numbers(all_numbers(&blocks, target)),
            DesignedTarget::Classes { values: ClassValues::Texts(texts), codes } => {
                let code =
                    |text: Option<String>| codes[texts.iter().position(|known| Some(known) == text.as_ref()).unwrap()];
                let classes = vec![Value::Null; texts.len()];
                Target::Classes { codes: all_texts(&blocks, target).into_iter().map(code).collect(), classes }
            }
            DesignedTarget::Classes { values: ClassValues::Numbers(numbers), codes } => {
                let code = |number: f64| codes[numbers.iter().position(|known| *known == number).unwrap()];
                let classes = vec![Value::Null; numbers.len()];
                Target::Classes { codes: all_numbers(&blocks, target).into_iter().map(code).collect(), classes }
            }
        };
        Local.fit_rows(job, &table, &target)
    }
}

/// Rows with missing numbers, towns and targets.
fn holed() -> Vec<Value> {
    let hole = |index: u64| match index % 20 {
        3 => row_with(index, "Open", Value::Null),
        7 => row_with(index, "Town/City", Value::Null),
        11 => row_with(index, "Close", Value::Null),
        13 => row_with(index, "Town/City", json!(format!("rare {}", index % 3))),
        _ => row(index),
    };
    (0..400).map(hole).collect()
}

fn trained(models: &[Model], elsewhere: bool) -> (Fixture, crate::train::TrainReport) {
    let fixture = fixture(2);
    fixture.commit(&holed());
    let mut trainer = fixture.trainer(0.2, models.to_vec());
    if elsewhere {
        trainer.engine = Arc::new(Elsewhere);
    }
    let report = fixture.run(&trainer);
    (fixture, report)
}

#[test]
fn what_is_found_elsewhere_becomes_the_same_version() {
    let few = Categorical { max: 2, unseen: Unseen::Other };
    let line = || model("line", Algorithm::LinearRegression, &["Open", "Town/City", "flag"], "Close");
    let models = [
        line(),
        with(Model { name: "filled".to_owned(), filter: Some("flag".to_owned()), ..line() }, |columns| {
            columns.missing = Missing::Mean;
            columns.categorical.insert("Town/City".to_owned(), few);
        }),
        with(model("wood", Algorithm::RandomForest, &["Open", "Town/City"], "Close"), |columns| {
            columns.missing = Missing::Median
        }),
        with(model("kind", Algorithm::LogisticRegression, &["Town/City"], "trend"), |columns| {
            columns.missing = Missing::Category
        }),
        with(model("sign", Algorithm::LogisticRegression, &["Open", "Town/City"], "flag"), |columns| {
            columns.missing = Missing::Mean
        }),
        model("third", Algorithm::RandomForest, &["Open", "Close", "flag"], "Timestamp % 180"),
    ];
    let ((here, report), (there, of_there)) = (trained(&models, false), trained(&models, true));
    assert_eq!((report.failed.len(), &report, report.trained.len()), (0, &of_there, models.len()));
    for model in &models {
        let [here, there] = [&here, &there].map(|fixture| fixture.load(&model.name, 1).file);
        assert_eq!(here.features, there.features, "{}", model.name);
        assert_eq!(
            (&here.inputs, &here.task, &here.target_summary),
            (&there.inputs, &there.task, &there.target_summary)
        );
        assert_eq!((here.rows, here.dropped_missing, &here.notes), (there.rows, there.dropped_missing, &there.notes));
        assert_eq!((&here.identity, &here.file_digest), (&there.identity, &there.file_digest), "{}", model.name);
    }
}

#[test]
fn what_no_model_is_made_of_is_told_alike() {
    let all = Categorical { max: 2, unseen: Unseen::Error };
    let line = |name: &str, features: &[&str], target: &str| model(name, Algorithm::LinearRegression, features, target);
    let models = [
        line("nothing", &["Open"], "cast(null as double)"),
        Model { filter: Some("Open < 0".to_owned()), ..line("nobody", &["Open"], "Close") },
        with(line("many", &["Town/City"], "Close"), |columns| {
            columns.categorical.insert("Town/City".to_owned(), all);
        }),
        with(line("lacking", &["Open"], "Close"), |columns| columns.missing = Missing::Category),
        model("one", Algorithm::LogisticRegression, &["Open"], "case when flag then 'a' else 'a' end"),
    ];
    let (here, there) = (trained(&models, false).1, trained(&models, true).1);
    assert_eq!(here.failed.len(), models.len(), "{here:?}");
    assert_eq!(here, there);
}

#[test]
fn an_engine_is_given_no_part_that_is_another_than_was_written() {
    let fixture = fixture(2);
    fixture.commit(&holed());
    let part = fixture.batches.lock().unwrap().iter().flat_map(Batch::files).last().unwrap();
    let place = fixture.store.place(&part);
    let mut bytes = std::fs::read(&place).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&place, bytes).unwrap();
    let mut trainer = fixture.trainer(0.2, vec![model("line", Algorithm::LinearRegression, &["Open"], "Close")]);
    trainer.engine = Arc::new(Elsewhere);
    let failed = fixture.run(&trainer).failed;
    let reason = &failed[0].1;
    assert!(reason.contains(&place) && reason.contains("is not the file that was written"), "{reason}");
}
