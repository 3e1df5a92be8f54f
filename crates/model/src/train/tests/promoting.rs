//! `promote`: what is promoted, what is not and why, once, whatever fails between.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use millstream_base::status::Status;
use millstream_learn::Algorithm::{GradientBoosting, LinearRegression, LogisticRegression};
use millstream_learn::ParamValue;
use millstream_learn::metrics::LEVEL;
use millstream_store::faulty::FaultyStore;
use millstream_store::{SharedStore, Store};
use proptest::prelude::*;
use serde_json::json;

use super::recommending;
use crate::model::{IfBetter, Model, PromoteRule};
use crate::registry::{
    ComparedOn, Decision, Mover, Occasion, Registry, decision_key, keep_decision, read_alias, read_aliases,
    read_decision,
};
use crate::train::fixture::*;
use crate::train::{TrainSettings, Trainer};

fn if_better(on: ComparedOn) -> PromoteRule {
    PromoteRule::IfBetter(IfBetter { measure: None, margin: 0.0, on, level: LEVEL })
}

fn with_rule(promote: PromoteRule) -> Vec<Model> {
    vec![Model { promote, ..model("close", LinearRegression, &["Open"], "Close") }]
}

/// Nothing can be learnt of these.
fn spoilt(range: std::ops::Range<u64>) -> Vec<serde_json::Value> {
    range.map(|index| row_with(index, "Close", json!(50.0 + (index % 7) as f64))).collect()
}

/// A small batch that misleads, and one batch after the other that does not: version 2 is better than 1, and 3 is as good as 2.
fn improving(n_batches: u64) -> Fixture {
    let fixture = fixture(1);
    fixture.commit(&spoilt(0..60));
    for batch in 1..n_batches {
        fixture.commit(&rows(400 * batch..400 * (batch + 1)));
    }
    fixture
}

/// The versions that the champion named, each with who moved it there.
fn history(store: &dyn Store, model: &str) -> Vec<(u32, String)> {
    let record = |number| read_alias(store, model, "champion", number).unwrap();
    let records = (1..).map_while(record);
    records.map(|record| (record.version, record.by.unwrap_or_default())).collect()
}

fn decision(fixture: &Fixture, model: &str, version: u32) -> Decision {
    read_decision(&*fixture.store, model, version).unwrap().unwrap_or_else(|| panic!("{version} is not decided"))
}

#[test]
fn a_better_version_is_promoted_and_one_that_is_as_good_is_not() {
    for on in [ComparedOn::Common, ComparedOn::NextBatch] {
        let fixture = improving(4);
        let trainer = fixture.trainer(0.2, with_rule(if_better(on)));
        fixture.run(&trainer);
        let promoted = [(1, "if_better".to_owned()), (2, "if_better".to_owned())];
        assert_eq!(history(&*fixture.store, "close"), promoted, "{on:?}");
        let why = read_alias(&*fixture.store, "close", "champion", 2).unwrap().unwrap().reason.unwrap();
        assert!(why.starts_with("rmse ") && why.contains("better by more than the margin"), "{why}");
        let not = decision(&fixture, "close", 3);
        assert!(!not.promote && not.champion == Some(2), "{not:?}");
        assert!(not.reason.contains("95 % interval"), "{}", not.reason);
        let compared = not.compared.clone().unwrap();
        assert!(compared.on == on && !compared.measure.b_is_better(0.0), "{compared:?}");
        // Shown with the version, whether that was served before or is loaded now.
        let shown = fixture.load("close", 3).to_json();
        assert_eq!(shown["decision"], json!(not));
        let registry = Registry::open(fixture.store.clone()).unwrap();
        assert_eq!(registry.describe("close", 3).unwrap()["decision"]["promote"], false);
        // Another process finds nothing left to decide, and one more batch changes nothing of what was.
        fixture.run(&fixture.trainer(0.2, with_rule(if_better(on))));
        assert_eq!(history(&*fixture.store, "close"), promoted);
    }
}

#[test]
fn a_served_version_shows_what_was_decided_since() {
    let fixture = improving(2);
    fixture.train(0.2, with_rule(PromoteRule::Manual));
    let registry = Registry::open(fixture.store.clone()).unwrap();
    let shown = |registry: &Registry| -> Vec<bool> {
        let served = registry.snapshot();
        served.models["close"].loaded().map(|version| version.decision.is_some()).collect()
    };
    assert_eq!(shown(&registry), [false, false]);
    // It begins with the newest, which answers already.
    fixture.train(0.2, with_rule(if_better(ComparedOn::Common)));
    registry.refresh().unwrap();
    assert_eq!(shown(&registry), [false, true]);
    assert_eq!(history(&*fixture.store, "close"), [(2, "if_better".to_owned())]);
    // Of an older one it may come after that of a newer one.
    let older = Decision { version: 1, promote: false, ..decision(&fixture, "close", 2) };
    keep_decision(&*fixture.store, &older).unwrap();
    registry.refresh().unwrap();
    assert_eq!(shown(&registry), [true, true]);
}

#[test]
fn what_was_promoted_by_hand_and_rolled_back_is_not_promoted_again() {
    for promote in [if_better(ComparedOn::Common), PromoteRule::Always] {
        let fixture = improving(3);
        fixture.train(0.2, with_rule(PromoteRule::Manual));
        let occasion = Occasion { by: "somebody".to_owned(), reason: None, now_ms: 0 };
        let mover = Mover {
            store: &*fixture.store,
            model: "close",
            alias: "champion",
            occasion: &occasion,
            usable: &|_| Ok(()),
        };
        // Version 3 has no decision when the user goes back from it.
        for version in [1, 3, 2] {
            mover.promote(version).unwrap();
        }
        assert_eq!((mover.roll_back().unwrap().version, mover.roll_back().unwrap().version), (3, 1));
        let by_hand = history(&*fixture.store, "close");
        let trainer = fixture.trainer(0.2, with_rule(promote));
        fixture.run(&trainer);
        fixture.run(&trainer);
        assert_eq!(history(&*fixture.store, "close"), by_hand);
        for version in [2, 3] {
            assert_eq!(read_decision(&*fixture.store, "close", version).unwrap(), None, "{version}");
        }
        // A new one is held against what the user went back to.
        fixture.commit(&rows(1200..1600));
        fixture.run(&trainer);
        assert_eq!(decision(&fixture, "close", 4).champion, Some(1));
    }
}

#[test]
fn a_version_that_cannot_be_loaded_is_not_decided_and_one_that_was_is_told() {
    let arrays = |version: u32| format!("models/close/{version:06}/model.safetensors");
    for is_decided in [false, true] {
        let fixture = improving(3);
        fixture.train(0.2, with_rule(PromoteRule::Manual));
        fixture.store.delete(&arrays(3)).unwrap();
        fixture.store.create(&arrays(3), b"torn").unwrap();
        if is_decided {
            let decided = Decision {
                format: 1,
                model: "close".to_owned(),
                version: 3,
                rule: "always".to_owned(),
                promote: true,
                reason: "each new version is promoted".to_owned(),
                champion: None,
                after: 0,
                compared: None,
                decided_at_ms: 0,
            };
            keep_decision(&*fixture.store, &decided).unwrap();
        }
        let status = Arc::new(Status::new("test"));
        let models = with_rule(PromoteRule::Always);
        let store = Arc::clone(&fixture.store);
        let trainer = Trainer::new(store, models, settings(0.2), fixture.schema.clone(), Arc::clone(&status));
        fixture.run(&trainer);
        fixture.run(&trainer);
        let problems = status.snapshot().problems;
        let expected = if is_decided { "is to be promoted and cannot be" } else { "cannot be decided" };
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{problems:?}");
        assert_eq!(read_decision(&*fixture.store, "close", 3).unwrap().is_some(), is_decided);
        // The newest of those that can be.
        let expected = if is_decided { vec![] } else { vec![(2, "always".to_owned())] };
        assert_eq!(history(&*fixture.store, "close"), expected);
    }
}

#[test]
fn what_is_not_decided_after_the_last_batch_is_told_and_a_stop_decides_nothing() {
    let fixture = improving(2);
    fixture.train(0.2, with_rule(PromoteRule::Manual));
    // Nothing is due when it is stopped: as it was.
    let trainer = fixture.trainer(0.2, with_rule(PromoteRule::Always));
    let batches = fixture.batches.lock().unwrap().clone();
    trainer.finish(&batches, &AtomicBool::new(true)).unwrap();
    assert_eq!(read_decision(&*fixture.store, "close", 2).unwrap(), None);
    // A record of the alias that cannot be read.
    fixture.store.create("aliases/close/champion/000001.json", b"{").unwrap();
    let failed = fixture.finish(&trainer).failed;
    assert!(
        matches!(failed.as_slice(), [(model, reason)] if model == "close" && reason.contains("no version is promoted")),
        "{failed:?}"
    );
    fixture.store.delete("aliases/close/champion/000001.json").unwrap();
    assert_eq!(fixture.finish(&trainer).failed, []);
    assert_eq!(history(&*fixture.store, "close"), [(2, "always".to_owned())]);
}

#[test]
fn a_measure_of_few_units_decides_nothing() {
    let fixture = fixture(1);
    // Of 200 records that are compared ten are of the rarer class.
    let rare = |range: std::ops::Range<u64>| -> Vec<serde_json::Value> {
        range.map(|index| row_with(index, "trend", json!(if index % 20 == 0 { "Up" } else { "Down" }))).collect()
    };
    let rule = IfBetter { measure: Some("auc".to_owned()), margin: 0.0, on: ComparedOn::NextBatch, level: LEVEL };
    let trend =
        Model { promote: PromoteRule::IfBetter(rule), ..model("trend", LogisticRegression, &["Open"], "trend") };
    let trainer = fixture.trainer(0.0, vec![trend]);
    for batch in 0..3 {
        fixture.commit(&rare(200 * batch..200 * (batch + 1)));
        fixture.run(&trainer);
    }
    let not = decision(&fixture, "trend", 2);
    let expected = "(200 records): auc goes by 10 records of the rarer class, too few to decide by, 30 are the least";
    assert!(!not.promote && not.reason.contains(expected), "{}", not.reason);
}

#[test]
fn a_margin_is_in_the_units_of_the_measure_and_always_needs_none() {
    let rule = |measure: &str, margin| {
        let measure = Some(measure.to_owned());
        with_rule(PromoteRule::IfBetter(IfBetter { measure, margin, on: ComparedOn::Common, level: LEVEL }))
    };
    let fixture = improving(2);
    fixture.train(0.2, rule("mae", 1000.0));
    assert_eq!(history(&*fixture.store, "close").len(), 1);
    let not = decision(&fixture, "close", 2);
    assert!(not.reason.starts_with("mae ") && not.reason.ends_with("margin 1000"), "{}", not.reason);
    let fixture = improving(2);
    fixture.train(0.2, rule("auc", 0.0));
    assert!(decision(&fixture, "close", 2).reason.starts_with("there is no auc "));
    let fixture = improving(3);
    fixture.train(0.2, with_rule(PromoteRule::Always));
    let always = |version| (version, "always".to_owned());
    assert_eq!(history(&*fixture.store, "close"), [always(1), always(2), always(3)]);
}

#[test]
fn a_version_that_held_out_records_chose_is_judged_on_the_next_batch() {
    let fixture = recommending::fixture_of_ratings();
    let taste = Model { promote: if_better(ComparedOn::Common), ..recommending::als(&[]) };
    let trainer = fixture.trainer(0.2, vec![taste]);
    let commit = |batch: u64| {
        fixture.commit(&recommending::planted(600 * batch..600 * (batch + 1)));
        fixture.run(&trainer);
    };
    commit(0);
    commit(1);
    assert_eq!(history(&*fixture.store, "taste"), [(1, "if_better".to_owned())]);
    assert_eq!(read_decision(&*fixture.store, "taste", 2).unwrap(), None, "its next batch is not there yet");
    commit(2);
    let judged = decision(&fixture, "taste", 2);
    assert_eq!(judged.compared.as_ref().unwrap().on, ComparedOn::NextBatch);
    assert!(judged.reason.contains("held-out records had a say"), "{}", judged.reason);
    // Boosting stops by rows of its own.
    let stops = [("early_stop".to_owned(), ParamValue::Integer(2)), ("rounds".to_owned(), ParamValue::Integer(5))];
    let boosted = Model {
        params: stops.into(),
        promote: if_better(ComparedOn::Common),
        ..model("boosted", GradientBoosting, &["Open"], "Close")
    };
    let fixture = improving(2);
    fixture.train(0.2, vec![boosted]);
    assert_eq!(decision(&fixture, "boosted", 2).compared.unwrap().on, ComparedOn::Common);
}

#[test]
fn a_rollback_and_a_promotion_by_hand_stand() {
    let fixture = improving(3);
    let trainer = fixture.trainer(0.2, with_rule(if_better(ComparedOn::Common)));
    fixture.run(&trainer);
    let occasion = Occasion { by: "somebody".to_owned(), reason: None, now_ms: 0 };
    let mover =
        Mover { store: &*fixture.store, model: "close", alias: "champion", occasion: &occasion, usable: &|_| Ok(()) };
    assert_eq!(mover.roll_back().unwrap().version, 1);
    let by_hand = history(&*fixture.store, "close");
    // Neither this trainer nor the next decides 2 again.
    fixture.run(&trainer);
    fixture.run(&fixture.trainer(0.2, with_rule(if_better(ComparedOn::Common))));
    assert_eq!(history(&*fixture.store, "close"), by_hand);
    // A new version is held against what the user went back to.
    fixture.commit(&rows(1200..1600));
    fixture.run(&trainer);
    let named = read_aliases(&*fixture.store, "close").unwrap().remove("champion").unwrap().unwrap();
    assert_eq!((named.record.version, named.record.before), (4, Some(1)));
    assert_eq!(decision(&fixture, "close", 4).champion, Some(1));
    // What names a newer one already needs no decision on an older one.
    let fixture = improving(3);
    fixture.train(0.2, with_rule(PromoteRule::Manual));
    Mover { store: &*fixture.store, ..mover }.promote(3).unwrap();
    fixture.train(0.2, with_rule(if_better(ComparedOn::Common)));
    assert_eq!(history(&*fixture.store, "close"), [(3, "somebody".to_owned())]);
    assert_eq!(read_decision(&*fixture.store, "close", 2).unwrap(), None);
}

#[test]
fn a_decision_without_its_promotion_is_carried_out_unless_the_alias_has_moved() {
    for has_moved in [false, true] {
        let fixture = improving(3);
        fixture.train(0.2, with_rule(PromoteRule::Manual));
        let occasion = Occasion { by: "somebody".to_owned(), reason: None, now_ms: 0 };
        let mover = Mover {
            store: &*fixture.store,
            model: "close",
            alias: "champion",
            occasion: &occasion,
            usable: &|_| Ok(()),
        };
        mover.promote(1).unwrap();
        // As a trainer that was killed between left it.
        let decided = Decision {
            format: 1,
            model: "close".to_owned(),
            version: 3,
            rule: "if_better".to_owned(),
            promote: true,
            reason: "rmse is less".to_owned(),
            champion: Some(1),
            after: 1,
            compared: None,
            decided_at_ms: 0,
        };
        assert_eq!(keep_decision(&*fixture.store, &decided).unwrap(), decided);
        if has_moved {
            mover.promote(2).unwrap();
        }
        let stands = |fixture: &Fixture| history(&*fixture.store, "close").pop().unwrap();
        for _ in 0..2 {
            fixture.train(0.2, with_rule(if_better(ComparedOn::Common)));
            let expected = if has_moved { (2, "somebody") } else { (3, "if_better") };
            assert_eq!(stands(&fixture), (expected.0, expected.1.to_owned()));
        }
        assert_eq!(history(&*fixture.store, "close").len(), 2);
        // Another decision on it is not taken.
        let other = Decision { promote: false, ..decided.clone() };
        assert_eq!(keep_decision(&*fixture.store, &other).unwrap(), decided);
    }
}

#[test]
fn a_version_is_judged_before_train_keep_lets_it_go_and_the_champion_stays() {
    let fixture = improving(1);
    let settings = TrainSettings { keep: NonZeroU32::new(1), ..settings(0.2) };
    let models = with_rule(if_better(ComparedOn::NextBatch));
    let status = Arc::new(Status::new("test"));
    let trainer = Trainer::new(Arc::clone(&fixture.store), models, settings, fixture.schema.clone(), status);
    fixture.run(&trainer);
    for batch in 1..4 {
        fixture.commit(&rows(400 * batch..400 * (batch + 1)));
        fixture.run(&trainer);
    }
    assert!(decision(&fixture, "close", 2).promote && !decision(&fixture, "close", 3).promote);
    let named: Vec<u32> = history(&*fixture.store, "close").into_iter().map(|(version, _)| version).collect();
    assert_eq!(named, [1, 2]);
    assert!(fixture.store.read("models/close/000002/model.safetensors").is_ok());
    assert!(fixture.store.read("models/close/000003/model.safetensors").is_err());
    // Of a removed version it is told as well.
    let registry = Registry::open(fixture.store.clone()).unwrap();
    assert_eq!(registry.removed("close", 3).unwrap().unwrap().to_json()["decision"]["promote"], false);
}

#[test]
fn a_damaged_decision_is_shown_as_none_and_decides_nothing_again() {
    let fixture = improving(2);
    let trainer = fixture.trainer(0.2, with_rule(PromoteRule::Manual));
    fixture.run(&trainer);
    fixture.store.create(&decision_key("close", 2), b"{\"format\":1}").unwrap();
    assert_eq!(fixture.load("close", 2).decision, None);
    fixture.train(0.2, with_rule(if_better(ComparedOn::Common)));
    assert_eq!(history(&*fixture.store, "close"), []);
    assert!(read_decision(&*fixture.store, "close", 2).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_two_trainers_promote_the_same_versions_once(seed: u64, percent in 0_u32..4) {
        let fixture = improving(3);
        let batches = fixture.batches.lock().unwrap().clone();
        std::thread::scope(|scope| {
            for rival in 0..2_u64 {
                let chance = f64::from(percent) / 100.0;
                let store: SharedStore =
                    Arc::new(FaultyStore::seeded(fixture.store.clone(), seed ^ (rival << 63), chance));
                let (fixture, batches) = (&fixture, &batches);
                scope.spawn(move || {
                    let never = AtomicBool::new(false);
                    // One batch after the other, as they come, each until nothing fails.
                    let mut trainer = fixture.trainer_over(Arc::clone(&store), 0.2, with_rule(if_better(ComparedOn::Common)));
                    for complete in 1..=batches.len() {
                        let deadline = Instant::now() + Duration::from_secs(60);
                        while read_decision(&*fixture.store, "close", u32::try_from(complete).unwrap()).unwrap().is_none() {
                            assert!(Instant::now() < deadline, "{complete} is never decided");
                            drop(trainer.train_due(&batches[..complete], &never));
                            // As a new process.
                            trainer = fixture.trainer_over(Arc::clone(&store), 0.2, with_rule(if_better(ComparedOn::Common)));
                        }
                    }
                });
            }
        });
        // What the last of them left is carried out.
        fixture.run(&fixture.trainer(0.2, with_rule(if_better(ComparedOn::Common))));
        let named: Vec<u32> = history(&*fixture.store, "close").into_iter().map(|(version, _)| version).collect();
        prop_assert_eq!(named, [1, 2]);
        prop_assert!(!decision(&fixture, "close", 3).promote);
    }
}
