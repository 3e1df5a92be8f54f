//! `train.keep`, `train.when_behind` and `train.every`: what is trained, when, and what stays.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use millstream_base::status::{Status, now_ms};
use millstream_learn::Algorithm::LinearRegression;
use serde_json::{Value, json};

use super::recommending;
use crate::model::{Model, TrainOn};
use crate::registry::{
    EvaluationKind, Occasion, OwnerTexts, Registry, model_key, read_evaluations, read_model_file, read_tombstone,
};
use crate::train::fixture::*;
use crate::train::{TrainSettings, Trainer, WhenBehind, verify};

fn linear(name: &str, train_on: TrainOn) -> Model {
    Model { train_on, ..model(name, LinearRegression, &["Open"], "Close") }
}

fn trainer(fixture: &Fixture, models: Vec<Model>, change: impl FnOnce(&mut TrainSettings)) -> Trainer {
    let mut settings = settings(0.1);
    change(&mut settings);
    let status = Arc::new(Status::new("test"));
    Trainer::new(Arc::clone(&fixture.store), models, settings, fixture.schema.clone(), status)
}

fn keep(versions: u32) -> impl FnOnce(&mut TrainSettings) {
    move |train| train.keep = NonZeroU32::new(versions)
}

/// The batches of every version by its number, and whether its arrays are there.
fn versions(fixture: &Fixture, model: &str) -> BTreeMap<u32, (Vec<u32>, bool)> {
    let numbers = crate::registry::version_numbers(&*fixture.store, model).unwrap();
    let version = |number| {
        let file = read_model_file(&*fixture.store, model, number).unwrap();
        let has_arrays = fixture.store.read(&format!("models/{model}/{number:06}/{}", file.file)).is_ok();
        assert_eq!(has_arrays, read_tombstone(&*fixture.store, model, number).unwrap().is_none());
        (number, (file.batches.iter().map(|batch| batch.batch).collect(), has_arrays))
    };
    numbers.into_iter().map(version).collect()
}

fn stored(fixture: &Fixture, model: &str) -> Vec<u32> {
    versions(fixture, model).into_iter().filter_map(|(number, (_, has_arrays))| has_arrays.then_some(number)).collect()
}

fn trained_on(fixture: &Fixture, model: &str) -> Vec<Vec<u32>> {
    versions(fixture, model).into_values().map(|(batches, _)| batches).collect()
}

fn commit(fixture: &Fixture, batches: u64) {
    let first = fixture.batches.lock().unwrap().len() as u64;
    for batch in first..first + batches {
        fixture.commit(&rows(50 * batch..50 * (batch + 1)));
    }
}

#[test]
fn a_removed_version_was_measured_and_is_not_trained_again() {
    let fixture = fixture(1);
    commit(&fixture, 4);
    let start = |versions| trainer(&fixture, vec![linear("close", TrainOn::Each)], keep(versions));
    let report = fixture.run(&start(2));
    assert_eq!(report.trained.len(), 4, "{report:?}");
    assert_eq!(stored(&fixture, "close"), [3, 4]);
    // Measured on its hold-out and on the next batch before it went.
    let kinds = |version| -> Vec<EvaluationKind> {
        let found = read_evaluations(&*fixture.store, "close", version).unwrap();
        found.iter().map(|evaluation| evaluation.kind).collect()
    };
    assert!(kinds(1).contains(&EvaluationKind::Holdout) && kinds(1).contains(&EvaluationKind::NextBatch));
    // Another process trains what is new, and so does one that keeps less, or all.
    assert_eq!(fixture.run(&start(2)).trained, []);
    let registry = Registry::open(fixture.store.clone()).unwrap();
    registry.promote("close", 3, "champion", &Occasion::default()).unwrap();
    commit(&fixture, 1);
    assert_eq!(fixture.run(&start(1)).trained, [("close".to_owned(), 5)]);
    assert_eq!(stored(&fixture, "close"), [3, 5]);
    assert!(kinds(4).contains(&EvaluationKind::NextBatch));
    assert_eq!(fixture.run(&trainer(&fixture, vec![linear("close", TrainOn::Each)], |_| {})).trained, []);
    assert_eq!(trained_on(&fixture, "close"), [[1], [2], [3], [4], [5]]);
}

#[test]
fn what_a_kept_version_began_with_stays_and_verify_says_what_is_gone() {
    let fixture = recommending::fixture_of_ratings();
    let start = |change: fn(&mut TrainSettings)| trainer(&fixture, vec![recommending::als(&[])], change);
    for batch in 0..4 {
        fixture.commit(&recommending::planted(600 * batch..600 * (batch + 1)));
    }
    fixture.run(&start(|train| train.keep = NonZeroU32::new(1)));
    assert_eq!(stored(&fixture, "taste"), [3, 4], "4 began with 3");
    let faults = |version| verify(&*fixture.store, "taste", version, &OwnerTexts::default()).unwrap().faults;
    assert_eq!(faults(4), [""; 0]);
    let [fault] = faults(3).try_into().unwrap();
    assert!(
        fault.contains("cannot be verified: it began with version 2") && fault.contains("(train.keep = 1)"),
        "{fault}"
    );
    let [fault] = faults(1).try_into().unwrap();
    assert!(fault.starts_with("version 1 of model `taste` was removed at "), "{fault}");
}

#[test]
fn two_trainers_that_keep_one_version_leave_the_newest() {
    let fixture = fixture(1);
    commit(&fixture, 8);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let trainer = trainer(&fixture, vec![linear("close", TrainOn::Each)], keep(1));
            let batches = fixture.batches.lock().unwrap().clone();
            scope.spawn(move || {
                let report = trainer.train_due(&batches, &AtomicBool::new(false)).unwrap();
                assert_eq!(report.failed, []);
            });
        }
    });
    let mut trained = trained_on(&fixture, "close");
    trained.sort();
    assert_eq!(trained, (1..=8).map(|batch| vec![batch]).collect::<Vec<_>>(), "each once");
    assert_eq!(stored(&fixture, "close"), [8]);
}

#[test]
fn one_that_is_behind_trains_the_newest_and_measures_on_the_batch_after_it() {
    let last = TrainOn::Last(NonZeroU32::new(2).unwrap());
    let models = vec![
        linear("each", TrainOn::Each),
        linear("cumulative", TrainOn::Cumulative),
        linear("last", last),
        linear("chosen", TrainOn::Batches(vec![1, 2])),
    ];
    let fixture = fixture(1);
    commit(&fixture, 3);
    let trainer = trainer(&fixture, models, |train| train.when_behind = WhenBehind::Newest);
    assert_eq!(fixture.run(&trainer).trained.len(), 4);
    commit(&fixture, 2);
    assert_eq!(fixture.run(&trainer).trained.len(), 3);
    assert_eq!(fixture.run(&trainer).trained, []);
    assert_eq!(trained_on(&fixture, "each"), [[3], [5]]);
    assert_eq!(trained_on(&fixture, "cumulative"), [vec![1, 2, 3], vec![1, 2, 3, 4, 5]]);
    assert_eq!(trained_on(&fixture, "last"), [[2, 3], [4, 5]]);
    assert_eq!(trained_on(&fixture, "chosen"), [[1, 2]]);
    let next = fixture.load("each", 1);
    assert_eq!(next.evaluation(EvaluationKind::NextBatch).unwrap().batches, [4]);
}

#[test]
fn on_a_clock_trainings_wait_for_their_time_and_the_end_of_the_stream_waits_for_none() {
    let every = Duration::from_secs(300);
    let fixture = fixture(1);
    let start = |when_behind| {
        trainer(&fixture, vec![linear("close", TrainOn::Each)], |train| {
            (train.every, train.when_behind) = (Some(every), when_behind);
        })
    };
    let stop = AtomicBool::new(false);
    let run = |trainer: &Trainer, at_ms| {
        let report = trainer.train_due_at(&fixture.batches.lock().unwrap(), &stop, at_ms).unwrap();
        (report.trained.len(), report.waits)
    };
    // Later than the wall clock, so that the times of the versions are in the past.
    let begin = now_ms() + 1_000_000;
    let newest = start(WhenBehind::Newest);
    commit(&fixture, 1);
    assert_eq!(run(&newest, begin), (1, None), "at first at once");
    commit(&fixture, 1);
    assert_eq!(run(&newest, begin + 1_000), (0, Some(every - Duration::from_secs(1))));
    commit(&fixture, 1);
    assert_eq!(run(&newest, begin + 299_999), (0, Some(Duration::from_millis(1))));
    assert_eq!(run(&newest, begin + 300_000), (1, None));
    assert_eq!(run(&newest, begin + 900_000), (0, None), "nothing is due");
    assert_eq!(trained_on(&fixture, "close"), [[1], [3]]);
    assert_eq!(fixture.load("close", 1).evaluation(EvaluationKind::NextBatch).unwrap().batches, [2]);
    // A new process goes by the newest version, here of the wall clock.
    commit(&fixture, 2);
    let all = start(WhenBehind::All);
    assert!(run(&all, now_ms()).1.is_some_and(|wait| wait <= every && wait > every / 2));
    let report = all.finish(&fixture.batches.lock().unwrap(), &stop).unwrap();
    assert_eq!(report.trained.len(), 3, "2, which was overtaken, and 4 and 5");
    // One that began in the future, by the clock of another machine, hides none that began since.
    let key = model_key("close", 1);
    let mut file: Value = serde_json::from_slice(&fixture.store.read(&key).unwrap()).unwrap();
    file["trained_at_ms"] = json!(now_ms() + 7_200_000);
    std::fs::write(fixture.store.place(&key), file.to_string()).unwrap();
    commit(&fixture, 1);
    assert!(run(&start(WhenBehind::All), now_ms()).1.is_some_and(|wait| wait > every / 2));
}
