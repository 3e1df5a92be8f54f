//! What is trained on, how it is measured, and what cannot be trained.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;

use millstream_learn::Algorithm::{self, GradientBoosting, LinearRegression, LogisticRegression, RandomForest};
use millstream_learn::{Column, ParamValue};
use millstream_stream::schema::Dialect;
use serde_json::{Value, json};

use crate::engine::Target;
use crate::model::{Categorical, Missing, Model, TrainOn, Unseen};
use crate::registry::{
    Encoding, Evaluation, EvaluationKind, Holdout, OwnerTexts, RECENT_MOST, Task, arrays_to_bytes, publish_evaluation,
    version_numbers,
};
use crate::rows::holdout::is_held_out;
use crate::train::fixture::*;
use crate::train::{Recipe, TrainError, train, verify};

const OPEN: &[&str] = &["Open", "Town/City"];

fn linear() -> Model {
    model("close", LinearRegression, OPEN, "Close")
}

fn trained_on(train_on: TrainOn, n_batches: u64) -> String {
    let fixture = fixture(1);
    for batch in 0..n_batches {
        fixture.commit(&rows(batch * 40..batch * 40 + 40));
    }
    let report = fixture.train(0.0, vec![Model { train_on, ..linear() }]);
    assert_eq!(report.failed, []);
    let shown = report.trained.iter().map(|(model, version)| {
        let version = fixture.load(model, *version).file;
        let batches: Vec<String> = version.batches.iter().map(|batch| batch.batch.to_string()).collect();
        assert_eq!(version.rows, 40 * version.batches.len() as u64);
        format!("{}: {}", version.version, batches.join(" "))
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[test]
fn every_form_of_train_on_trains_its_batches() {
    assert_eq!(trained_on(TrainOn::Each, 3), "1: 1, 2: 2, 3: 3");
    assert_eq!(trained_on(TrainOn::Cumulative, 3), "1: 1, 2: 1 2, 3: 1 2 3");
    assert_eq!(trained_on(TrainOn::Last(NonZeroU32::new(2).unwrap()), 3), "1: 1, 2: 1 2, 3: 2 3");
    assert_eq!(trained_on(TrainOn::Batches(vec![1, 3]), 3), "1: 1 3");
    assert_eq!(trained_on(TrainOn::Batches(vec![1, 3]), 2), "");
}

#[test]
fn a_version_is_trained_once_whoever_asks() {
    let fixture = fixture(2);
    fixture.commit(&rows(0..60)).commit(&rows(60..120));
    let trainer = fixture.trainer(0.1, vec![linear()]);
    assert_eq!(fixture.run(&trainer).trained.len(), 2);
    assert_eq!(fixture.run(&trainer).trained, []);
    let before = fixture.store.list("models/").unwrap();
    assert_eq!(fixture.train(0.1, vec![linear()]).trained, [], "another process");
    assert_eq!(fixture.store.list("models/").unwrap(), before, "nothing is measured twice");
    let cumulative = Model { train_on: TrainOn::Cumulative, ..linear() };
    assert_eq!(fixture.train(0.1, vec![cumulative]).trained, [("close".to_owned(), 3)], "batch 1 alone is there");
    let ridge = Model { params: [("l2".to_owned(), ParamValue::Integer(1))].into(), ..linear() };
    assert_eq!(fixture.train(0.1, vec![ridge]).trained.len(), 2, "another configuration");
    assert_eq!(version_numbers(&*fixture.store, "close").unwrap(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_stop_ends_between_trainings() {
    let fixture = fixture(1);
    fixture.commit(&rows(0..60));
    let trainer = fixture.trainer(0.1, vec![linear()]);
    let report = trainer.train_due(&fixture.batches.lock().unwrap(), &AtomicBool::new(true)).unwrap();
    assert_eq!(report.trained, []);
}

#[test]
fn held_out_records_are_never_trained_on() {
    let fixture = fixture(3);
    // A held-out row is marked by an absurd target; one of them in a fit would show.
    let holdout = Holdout { share: 0.3, seed: 0 };
    let marked = |index: u64| {
        let held_out = is_held_out(holdout, (index % 3) as i64, (index / 3) as i64);
        row_with(index, "Close", if held_out { json!(1e12) } else { row(index)["Close"].clone() })
    };
    let all: Vec<Value> = (0..300).map(marked).collect();
    let n_held_out = all.iter().filter(|row| row["Close"] == 1e12).count() as u64;
    assert!((60..120).contains(&n_held_out));
    fixture.commit(&all[..150]).commit(&all[150..]);
    let cumulative = Model { train_on: TrainOn::Cumulative, ..linear() };
    fixture.train(0.3, vec![cumulative.clone()]);
    let version = fixture.load("close", 2);
    assert_eq!(version.file.rows, 300 - n_held_out);
    let holdout_scores = &version.evaluation(EvaluationKind::Holdout).unwrap().scores;
    assert_eq!(holdout_scores.rows, n_held_out);
    assert!(holdout_scores.measures["rmse"].unwrap() > 1e11);
    let prepared = prepared(&fixture, &cumulative, 0.3).unwrap();
    let Target::Numbers(targets) = prepared.target else { panic!("{:?}", prepared.target) };
    assert!(targets.iter().all(|target| *target < 1e12));
    assert_eq!(prepared.counts.held_out, n_held_out);
}

#[test]
fn versions_are_measured_on_the_held_out_the_next_batch_and_all_so_far() {
    let fixture = fixture(1);
    fixture.commit(&rows(0..200)).commit(&rows(200..400));
    let trainer = fixture.trainer(0.2, vec![linear()]);
    fixture.run(&trainer);
    let kinds = |version: u32| {
        let version = fixture.load("close", version);
        let shown = version.evaluations.iter().map(|evaluation| {
            assert!(evaluation.scores.rows > 0 && evaluation.scores.measures["rmse"].is_some());
            format!("{:?} {:?}", evaluation.kind, evaluation.batches)
        });
        shown.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(kinds(1), "Holdout [1], NextBatch [2], Common [1, 2]");
    assert_eq!(kinds(2), "Holdout [2], Common [1, 2]");
    fixture.commit(&rows(400..600));
    fixture.run(&trainer);
    assert_eq!(kinds(1), "Holdout [1], NextBatch [2], Common [1, 2, 3]");
    assert_eq!(kinds(2), "Holdout [2], NextBatch [3], Common [1, 2, 3]");
    assert_eq!(kinds(3), "Holdout [3], Common [1, 2, 3]");
    let version = fixture.load("close", 1);
    assert_eq!(version.evaluation(EvaluationKind::NextBatch).unwrap().scores.rows, 200, "all its rows");
    let common = version.evaluation(EvaluationKind::Common).unwrap().scores.rows;
    assert_eq!(fixture.load("close", 3).evaluation(EvaluationKind::Common).unwrap().scores.rows, common);
    assert_eq!(version.beats_baseline(), Some(true));
    let shown = version.to_json();
    assert_eq!(shown["metrics"]["holdout"]["baseline"], shown["metrics"]["baseline"]);
    assert_eq!(shown["metrics"]["baseline"]["kind"], "mean");
    assert!(
        shown["metrics"]["common"]["rmse"].is_f64() && shown["metrics"]["next_batch"]["beats_baseline"].is_boolean()
    );
}

/// Of three versions more than are compared the first is aliased, and the second comes from a release that measured every version.
#[test]
fn the_newest_versions_and_those_with_an_alias_are_measured_on_all_batches() {
    let fixture = fixture(1);
    let n_batches = RECENT_MOST as u32 + 3;
    for batch in 0..u64::from(n_batches) {
        fixture.commit(&rows(batch * 40..batch * 40 + 40));
    }
    let trainer = fixture.trainer(0.3, vec![linear()]);
    fixture.store.create("aliases/close/champion/000001.json", br#"{"format": 1, "version": 1}"#).unwrap();
    fixture.run(&trainer);
    let common = |version| fixture.load("close", version).evaluation(EvaluationKind::Common).cloned();
    assert_eq!(fixture.store.list("models/close/common/").unwrap(), ["models/close/common/000001.json"]);
    let all: Vec<u32> = (1..=n_batches).collect();
    for version in 1..=n_batches {
        let is_compared = version == 1 || version > 3;
        assert_eq!(common(version).map(|found| found.batches), is_compared.then(|| all.clone()), "{version}");
    }
    let old = Evaluation { batches: vec![1, 2], ..common(1).unwrap() };
    publish_evaluation(&*fixture.store, "close", 2, &old, 0).unwrap();
    assert_eq!(common(2).unwrap().batches, [1, 2]);
    let newer = Evaluation { batches: (1..=99).collect(), ..old };
    publish_evaluation(&*fixture.store, "close", 1, &newer, 0).unwrap();
    assert_eq!(common(1).unwrap().batches.len(), 99, "an older release goes on beside this one");

    trainer.finish(&fixture.batches.lock().unwrap(), &AtomicBool::new(false)).unwrap();
    fixture.trainer(0.3, vec![linear()]).finish(&fixture.batches.lock().unwrap(), &AtomicBool::new(false)).unwrap();
    assert_eq!(fixture.store.list("models/close/common/").unwrap().len(), 1, "nothing is measured twice");
    fixture.commit(&rows(1000..1040));
    fixture.run(&trainer);
    assert_eq!(common(n_batches).unwrap().batches, all, "a batch is no tenth more");
    assert_eq!(common(n_batches + 1), None);
    trainer.finish(&fixture.batches.lock().unwrap(), &AtomicBool::new(false)).unwrap();
    assert_eq!(common(n_batches + 1).unwrap().batches.len(), all.len() + 1);
    assert_eq!(common(4).unwrap().batches, all, "an older version keeps what it has");
}

#[test]
fn a_baseline_column_is_measured_on_the_same_rows() {
    let fixture = fixture(1);
    fixture.commit(&rows(0..400));
    fixture.train(0.2, vec![with(linear(), |columns| columns.baseline = Some("Close".to_owned()))]);
    let scores = fixture.load("close", 1).evaluation(EvaluationKind::Holdout).unwrap().scores.clone();
    assert_eq!((scores.baseline.kind.as_str(), scores.baseline.measures["rmse"]), ("Close", Some(0.0)));
    assert_eq!(scores.beats_baseline, Some(false));
}

#[test]
fn classes_come_from_texts_booleans_and_numbers() {
    let fixture = fixture(1);
    fixture.commit(&rows(0..300));
    let check = |name: &str, algorithm: Algorithm, target: &str, expected: Value| {
        let report = fixture.train(0.2, vec![model(name, algorithm, &["Open", "Close"], target)]);
        assert_eq!(report.failed, []);
        let version = fixture.load(name, 1);
        assert_eq!(version.file.task, Task::Classification { classes: serde_json::from_value(expected).unwrap() });
        let scores = &version.evaluation(EvaluationKind::Holdout).unwrap().scores;
        assert_eq!(scores.baseline.kind, "majority class");
        assert!(scores.measures["log_loss"].unwrap() > 0.0);
    };
    check("a", LogisticRegression, "trend", json!(["Down", "Up"]));
    check("b", RandomForest, "trend", json!(["Down", "Up"]));
    check("c", RandomForest, "flag", json!([false, true]));
    check("d", LogisticRegression, "flag", json!([false, true]));
    check("e", LogisticRegression, "cast(floor(Timestamp / 60) as bigint) % 3 - 1", json!([-1, 0, 1]));
    check("whole", LogisticRegression, "case when flag then 1.0 else 0.0 end", json!([0, 1]));
    check("not_whole", LogisticRegression, "case when flag then 1.5 else 0.0 end", json!([0.0, 1.5]));
    check("f", LogisticRegression, "\"Town/City\"", json!(["Hull", "Leeds", "York"]));
    check("g", RandomForest, "Town/City", json!(["Hull", "Leeds", "York"]));
    check("boosted", GradientBoosting, "trend", json!(["Down", "Up"]));
    check("boosted_town", GradientBoosting, "Town/City", json!(["Hull", "Leeds", "York"]));
    check("h", LogisticRegression, "case when flag then 0.5 else -0.5 end", json!([-0.5, 0.5]));
    let trend = fixture.load("a", 1);
    assert_eq!(trend.evaluation(EvaluationKind::Holdout).unwrap().scores.beats_baseline, Some(true));
}

#[test]
fn a_store_of_an_earlier_release_keeps_what_its_expressions_mean() {
    let trained = |dialect: Dialect| {
        let mut fixture = fixture(1);
        fixture.schema.dialect = dialect;
        fixture.commit(&rows(0..300));
        let of_two_minutes = model("n", LinearRegression, &["Timestamp / 120", "Open"], "Close");
        assert_eq!(fixture.train(0.2, vec![of_two_minutes]).failed, []);
        let version = fixture.load("n", 1);
        let at = |time: i64| {
            let row = json!({ "Open": 100, "Timestamp": time });
            version.predict(&[row.as_object().unwrap().clone()]).unwrap().remove(0).value
        };
        // A minute more is the same number of two minutes, in whole numbers. Served as it was trained.
        let is_same = at(1_600_000_080) == at(1_600_000_140);
        let file = serde_json::to_value(&version.file).unwrap();
        (is_same, file.get("dialect").cloned(), file["inputs"][0]["type"].clone())
    };
    assert_eq!(trained(Dialect::First), (true, None, json!("int64")));
    assert_eq!(trained(Dialect::Second), (false, Some(json!(2)), json!("float64")));
}

#[test]
fn an_output_is_what_is_answered_and_measured() {
    let fixture = fixture(1);
    fixture.commit(&rows(0..300));
    let logarithm = with(linear(), |columns| {
        columns.target = "ln(Close)".to_owned();
        columns.output = Some("exp(prediction)".to_owned());
    });
    assert_eq!(fixture.train(0.2, vec![logarithm]).failed, []);
    let version = fixture.load("close", 1);
    let answer = version.predict(&[request(&row(7), OPEN)]).unwrap();
    assert!((90.0..130.0).contains(&answer[0].value.as_f64().unwrap()));
    let scores = &version.evaluation(EvaluationKind::Holdout).unwrap().scores;
    assert!(scores.measures["rmse"].unwrap() > 0.3 && scores.measures["rmse"].unwrap() < 3.0, "in the unit of Close");
    assert!(scores.baseline.measures["rmse"].unwrap() < 20.0, "the mean of Close, not of its logarithm");
}

fn encodings(model: Model, rows: &[Value]) -> Result<(Vec<Column>, Vec<Encoding>, u64), TrainError> {
    let fixture = fixture(1);
    fixture.commit(rows);
    let prepared = prepared(&fixture, &model, 0.0)?;
    let encodings = prepared.features.into_iter().map(|feature| feature.encoding).collect();
    Ok((prepared.columns, encodings, prepared.counts.missing))
}

#[test]
fn a_missing_number_follows_the_rule_and_is_never_a_silent_zero() {
    let rows: Vec<Value> = [json!(1.0), json!(null), json!(2.0), json!("inf"), json!("nan"), json!(6.0)]
        .into_iter()
        .enumerate()
        .map(|(index, open)| row_with(index as u64, "Open", open))
        .collect();
    let check = |missing: Missing, expected: &[f64], fill: Option<f64>, dropped: u64| {
        let model = with(model("m", RandomForest, &["Open"], "Close"), |columns| columns.missing = missing);
        let (columns, encodings, found) = encodings(model, &rows).unwrap();
        let Column::Numeric(values) = &columns[0] else { panic!() };
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(values), bits(expected), "{missing:?}");
        assert_eq!(encodings[0], Encoding::Numeric { min: Some(1.0), max: Some(6.0), fill });
        assert_eq!(found, dropped);
    };
    let nan = f64::NAN;
    check(Missing::Drop, &[1.0, 2.0, 6.0], None, 3);
    check(Missing::Mean, &[1.0, 3.0, 2.0, 3.0, 3.0, 6.0], Some(3.0), 0);
    check(Missing::Median, &[1.0, 2.0, 2.0, 2.0, 2.0, 6.0], Some(2.0), 0);
    check(Missing::Category, &[1.0, nan, 2.0, nan, nan, 6.0], None, 0);
    let model = with(model("m", LinearRegression, &["Open"], "Close"), |columns| columns.missing = Missing::Category);
    let error = encodings(model, &rows).unwrap_err();
    assert!(matches!(error, TrainError::MissingNumbers { rows: 3, .. }), "{error}");
}

#[test]
fn categories_are_the_most_frequent_texts_then_other_then_missing() {
    let towns = ["York", "Hull", "York", "Leeds", "Hull", "Ely", ""];
    let town = |town: &&str| if town.is_empty() { Value::Null } else { json!(town) };
    let rows: Vec<Value> =
        towns.iter().enumerate().map(|(index, text)| row_with(index as u64, "Town/City", town(text))).collect();
    let check = |missing: Missing, max: u32, unseen: Unseen, expected_codes: &[u32], n: u32, names: &[&str]| {
        let rule = Categorical { max, unseen };
        let categorical = [("Town/City".to_owned(), rule)].into();
        let model = with(model("m", RandomForest, &["Town/City"], "Close"), |columns| {
            columns.missing = missing;
            columns.categorical = categorical;
        });
        let (columns, encodings, _) = encodings(model, &rows).unwrap();
        assert_eq!(columns[0], Column::Categorical { codes: expected_codes.to_vec(), n_categories: n });
        let categories = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(encodings[0], Encoding::Categorical { categories, rule });
    };
    check(Missing::Drop, 10, Unseen::Other, &[1, 0, 1, 3, 0, 2], 5, &["Hull", "York", "Ely", "Leeds"]);
    check(Missing::Drop, 10, Unseen::Error, &[1, 0, 1, 3, 0, 2], 4, &["Hull", "York", "Ely", "Leeds"]);
    check(Missing::Mean, 2, Unseen::Other, &[1, 0, 1, 2, 0, 2], 3, &["Hull", "York"]);
    check(Missing::Category, 3, Unseen::Other, &[1, 0, 1, 3, 0, 2, 4], 5, &["Hull", "York", "Ely"]);
    let categorical = [("Town/City".to_owned(), Categorical { max: 3, unseen: Unseen::Error })].into();
    let error = encodings(with(linear(), |columns| columns.categorical = categorical), &rows).unwrap_err();
    assert!(matches!(error, TrainError::TooManyCategories { found: 4, max: 3, .. }), "{error}");
}

fn refuse(model: Model, rows: &[Value], expected: &str) {
    let fixture = fixture(1);
    fixture.commit(rows);
    let trainer = fixture.trainer(0.0, vec![model, linear()]);
    let report = fixture.run(&trainer);
    let reasons: Vec<&str> =
        report.failed.iter().filter(|(model, _)| model == "bad").map(|(_, reason)| reason.as_str()).collect();
    assert_eq!(reasons.len(), 1, "{report:?}");
    assert!(reasons[0].contains(expected), "{} lacks {expected}", reasons[0]);
    let again = fixture.run(&trainer);
    assert!(again.failed.iter().all(|(model, _)| model != "bad"), "said once: {again:?}");
}

#[test]
fn what_cannot_be_trained_says_what_to_mend_and_stops_no_other() {
    let good = rows(0..30);
    let all = |name: &str, value: Value| -> Vec<Value> {
        (0..30).map(|index| row_with(index, name, value.clone())).collect()
    };
    let bad = |algorithm, features: &[&str], target: &str| model("bad", algorithm, features, target);
    refuse(
        bad(LinearRegression, &["Open"], "Close"),
        &all("Close", Value::Null),
        "the target `Close` is null in all 30 rows",
    );
    refuse(bad(LinearRegression, &["Open"], "Close"), &all("Close", json!("nan")), "is null in all 30 rows");
    refuse(bad(LogisticRegression, &["Open"], "trend"), &all("trend", json!("Up")), "one class only, \"Up\"");
    refuse(bad(RandomForest, &["Open"], "flag"), &all("flag", json!(true)), "one class only, true");
    refuse(bad(LinearRegression, &["Opn"], "Close"), &good, "unknown column `Opn`; did you mean `Open`?");
    refuse(bad(LinearRegression, &["Open"], "Clse"), &good, "target = `Clse`, at character 1: unknown column");
    refuse(bad(LinearRegression, &["Open"], "trend"), &good, "the algorithm needs a number");
    refuse(
        bad(LinearRegression, &["Open"], "Close"),
        &all("Open", Value::Null),
        "no row is left to train on: of 30 rows",
    );
    let never = Model { filter: Some("Close < 0".to_owned()), ..bad(LinearRegression, &["Open"], "Close") };
    refuse(never, &good, "30 fail `where`");
    let not_a_condition = Model { filter: Some("Close".to_owned()), ..bad(LinearRegression, &["Open"], "Close") };
    refuse(not_a_condition, &good, "write a condition");
    let mean = with(bad(LinearRegression, &["Open", "Timestamp"], "Close"), |columns| columns.missing = Missing::Mean);
    refuse(mean, &all("Open", Value::Null), "feature `Open` has no value in any row");
    let typo = Model {
        params: [("l3".to_owned(), ParamValue::Integer(1))].into(),
        ..bad(LinearRegression, &["Open"], "Close")
    };
    refuse(typo, &good, "params.l3: unknown parameter");
    let output =
        with(bad(RandomForest, &["Open"], "trend"), |columns| columns.output = Some("exp(prediction)".to_owned()));
    refuse(output, &good, "remove output");
    refuse(bad(LinearRegression, &["cast(trend as double)"], "Close"), &good, "cannot be computed");
    refuse(bad(LinearRegression, &["1 / (Timestamp - Timestamp)"], "Close"), &good, "no row is left to train on");
    refuse(bad(LinearRegression, &["Open"], "Close"), &[], "no row is left");
}

#[test]
fn a_damaged_part_fails_the_training_and_names_the_file() {
    let fixture = fixture(1);
    fixture.commit(&rows(0..30));
    let path = fixture.store.place("batches/batch=000001/part-0000-a.parquet");
    std::fs::write(path, b"PAR1").unwrap();
    let report = fixture.train(0.0, vec![linear()]);
    assert!(report.failed[0].1.contains("part-0000-a.parquet: is not the file that was written"), "{report:?}");
}

#[test]
fn rows_without_target_or_outside_the_filter_are_counted() {
    let fixture = fixture(1);
    let mut all = rows(0..40);
    all[3]["Close"] = Value::Null;
    all[4]["Open"] = Value::Null;
    fixture.commit(&all);
    let filtered = Model { filter: Some("Timestamp >= 1600000060".to_owned()), ..linear() };
    assert_eq!(fixture.train(0.0, vec![filtered]).failed, []);
    let file = fixture.load("close", 1).file;
    assert_eq!((file.rows, file.dropped_missing), (37, 1));
    assert_eq!(file.notes, ["1 rows had no target and were left out"]);
}

#[test]
fn training_again_gives_the_same_bytes() {
    let fixture = fixture(2);
    fixture.commit(&rows(0..200)).commit(&rows(200..300));
    let rule = [("Town/City".to_owned(), Categorical { max: 2, unseen: Unseen::Other })];
    let boosted = Model {
        seed: 3,
        params: [("max_samples".to_owned(), ParamValue::Float(0.7)), ("early_stop".to_owned(), ParamValue::Integer(5))]
            .into(),
        ..with(model("boosted", GradientBoosting, OPEN, "Close"), |columns| columns.missing = Missing::Category)
    };
    let forest = Model {
        train_on: TrainOn::Cumulative,
        seed: 7,
        ..with(model("forest", RandomForest, OPEN, "Close"), |columns| {
            columns.missing = Missing::Median;
            columns.categorical = rule.into();
        })
    };
    fixture.train(0.2, vec![linear(), forest, boosted, model("trend", LogisticRegression, OPEN, "trend")]);
    for (model, version) in [("close", 2), ("forest", 2), ("boosted", 2), ("trend", 1)] {
        let report = verify(&*fixture.store, model, version, &OwnerTexts::default()).unwrap();
        assert_eq!(report.faults, [""; 0]);
        assert_eq!(report.retrained_digest.as_ref(), Some(&report.file_digest));
    }
    let path = fixture.store.place("models/forest/000002/model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let report = verify(&*fixture.store, "forest", 2, &OwnerTexts::default()).unwrap();
    assert!(report.faults.len() == 1 && report.faults[0].contains("was cut short or changed"), "{report:?}");
    std::fs::remove_file(fixture.store.place("batches/batch=000001/_manifest-0001.json")).unwrap();
    let report = verify(&*fixture.store, "close", 1, &OwnerTexts::default()).unwrap();
    assert!(report.faults[0].contains("_manifest-0001.json is missing"), "{report:?}");
    assert!(verify(&*fixture.store, "close", 9, &OwnerTexts::default()).is_err());
}

#[test]
fn the_number_of_partitions_does_not_change_what_a_stream_teaches() {
    let arrays = |partitions: u64| {
        let fixture = fixture(partitions);
        fixture.commit(&rows(0..100));
        let recipe = Recipe::from_config(&linear(), 0.0, 1, Dialect::CURRENT);
        let trained = train(&fixture.training(&recipe, &fixture.batches.lock().unwrap(), &|| false));
        trained.unwrap().arrays
    };
    // Not byte by byte: the rows come in another order.
    let (one, three) = (arrays(1), arrays(3));
    let [one, three] = [one, three].map(|arrays| match &arrays["coefficients"] {
        millstream_learn::Array::F64 { data, .. } => data.clone(),
        other => panic!("{other:?}"),
    });
    assert!(one.iter().zip(&three).all(|(a, b)| (a - b).abs() < 1e-9), "{one:?} {three:?}");
    let again = arrays_to_bytes(&arrays(3)).unwrap();
    assert_eq!(arrays_to_bytes(&arrays(3)).unwrap(), again);
}
