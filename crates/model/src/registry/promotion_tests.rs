//! Promotions and rollbacks beside a plain stack: in any order, of two at once, on a store that fails, over versions that are removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::alias::{alias_key, first_beneath, records};
use super::removal_tests::{MemoryStore, Seen, Turns, local, named, put, put_all};
use super::{
    Alias, Evaluation, EvaluationKind, Moved, Mover, Named, Occasion, Registry, RegistryError, Remedy, check_reason,
    evaluation_key, from_record, read_alias, version_folder,
};
use millstream_store::faulty::FaultyStore;
use millstream_store::{LocalStore, SharedStore, Store};

const VERSIONS: u32 = 5;

#[derive(Debug, Clone, Copy)]
enum Act {
    Promote(u32),
    /// As a release before rollbacks wrote it.
    PromoteOfOld(u32),
    RollBack,
    Remove(u32),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1..=VERSIONS).prop_map(Act::Promote),
        1 => (1..=VERSIONS).prop_map(Act::PromoteOfOld),
        4 => Just(Act::RollBack),
        1 => (1..=VERSIONS).prop_map(Act::Remove),
    ]
}

fn mover<'a>(store: &'a dyn Store, occasion: &'a Occasion) -> Mover<'a> {
    Mover { store, model: "close", alias: "champion", occasion, usable: &|_| Ok(()) }
}

fn promote(store: &dyn Store, version: u32) -> Result<Moved, RegistryError> {
    mover(store, &Occasion::default()).promote(version)
}

fn roll_back(store: &dyn Store) -> Result<Moved, RegistryError> {
    mover(store, &Occasion::default()).roll_back()
}

/// As `train.keep` does it.
fn remove(store: &dyn Store, version: u32) {
    let folder = version_folder("close", version);
    let tombstone = json!({ "format": 1, "model": "close", "version": version, "identity": "", "configuration_digest": "",
        "file": "", "file_digest": "", "reason": "a test", "removed_at_ms": 0 });
    store.create(&format!("{folder}/removed.json"), tombstone.to_string().as_bytes()).unwrap();
    store.delete(&format!("{folder}/model.safetensors")).unwrap();
}

/// The versions from the bottom to the one that the alias names, as the records have it.
fn stack(store: &dyn Store) -> Vec<u32> {
    let records = records(store, "close").unwrap().remove("champion").unwrap_or_default();
    let Some(named) = Named::find(store, "close", &records).unwrap() else { return Vec::new() };
    let mut versions = vec![named.version()];
    let mut number = named.beneath(store, &records).unwrap();
    while let Some((record, beneath)) = first_beneath(store, &records, number, |_| Ok(true)).unwrap() {
        versions.push(record.version);
        number = beneath;
    }
    versions.reverse();
    versions
}

/// What an alias is.
#[derive(Debug, Clone, Default)]
struct Plain {
    stack: Vec<u32>,
    removed: BTreeSet<u32>,
}

impl Plain {
    /// Whether it may be done.
    fn act(&mut self, act: Act) -> bool {
        let top = self.stack.last().copied();
        match act {
            Act::Promote(version) | Act::PromoteOfOld(version) if self.removed.contains(&version) => return false,
            Act::Promote(version) | Act::PromoteOfOld(version) => {
                self.stack.extend(Some(version).filter(|version| top != Some(*version)));
            }
            Act::RollBack => {
                let fits = |version: &u32| Some(*version) != top && !self.removed.contains(version);
                let Some(at) = self.stack.iter().rposition(fits) else { return false };
                self.stack.truncate(at + 1);
            }
            Act::Remove(version) => drop(self.removed.insert(version)),
        }
        true
    }
}

/// Does what the plain stack did; whether it was done.
fn done(store: &dyn Store, act: Act) -> Result<(), RegistryError> {
    match act {
        Act::Promote(version) => promote(store, version).map(drop),
        Act::RollBack => roll_back(store).map(drop),
        Act::Remove(version) => {
            remove(store, version);
            Ok(())
        }
        Act::PromoteOfOld(version) => {
            let newest =
                records(store, "close")?.remove("champion").and_then(|records| Some(*records.last_key_value()?.0));
            let record = json!({ "format": 1, "version": version }).to_string();
            store.create(&alias_key("close", "champion", newest.unwrap_or(0) + 1), record.as_bytes())?;
            Ok(())
        }
    }
}

/// What `train.keep` never does, and an old release never wrote.
fn is_foreign(plain: &Plain, act: Act) -> bool {
    let top = plain.stack.last().copied();
    match act {
        Act::Remove(version) => top == Some(version),
        Act::PromoteOfOld(version) => top == Some(version) || plain.removed.contains(&version),
        Act::Promote(_) | Act::RollBack => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_that_of_a_stack(acts in prop::collection::vec(act(), 0..24)) {
        let store = MemoryStore::default();
        put_all(&store, 1..=VERSIONS);
        let mut plain = Plain::default();
        for act in acts {
            if is_foreign(&plain, act) {
                continue;
            }
            let is_done = plain.act(act);
            let found = done(&store, act);
            match &found {
                Ok(()) => prop_assert!(is_done, "{act:?}"),
                Err(RegistryError::Removed { .. } | RegistryError::NothingBefore { .. }) => prop_assert!(!is_done, "{act:?}"),
                Err(error) => panic!("{act:?}: {error}"),
            }
            prop_assert_eq!(&stack(&store), &plain.stack, "{:?}: {:?}", act, found);
            prop_assert_eq!(named(&store, "champion"), plain.stack.last().copied());
        }
    }

    /// Whatever the order of their steps, it is as if one came after the other, and who came too late is told.
    #[test]
    fn of_two_at_once_one_comes_first(
        before in prop::collection::vec(1..=VERSIONS, 0..5),
        acts in prop::array::uniform2(prop_oneof![(1..=VERSIONS).prop_map(Act::Promote), Just(Act::RollBack)]),
        order in prop::collection::vec((0_usize..2, 0_usize..6), 0..12),
    ) {
        let store = MemoryStore::default();
        put_all(&store, 1..=VERSIONS);
        let mut plain = Plain::default();
        for version in before {
            plain.act(Act::Promote(version));
            promote(&store, version).unwrap();
        }
        let turns = Turns::new(2);
        let came = std::thread::scope(|scope| {
            let actors = [0, 1].map(|actor| {
                let (seen, turns) = (Seen { store: &store, turns: &turns, actor }, &turns);
                scope.spawn(move || {
                    let came = match acts[actor] {
                        Act::Promote(version) => promote(&seen, version),
                        _ => roll_back(&seen),
                    };
                    turns.end(actor);
                    came
                })
            });
            order.iter().for_each(|(actor, steps)| turns.run(*actor, *steps));
            (0..2).for_each(|actor| turns.run(actor, usize::MAX));
            actors.map(|actor| actor.join().unwrap())
        });
        let serial = |order: [usize; 2]| {
            let mut plain = plain.clone();
            let is_right = order.iter().all(|actor| match &came[*actor] {
                // Nothing was written.
                Err(RegistryError::MovedMeanwhile { .. }) => came[1 - *actor].is_ok(),
                Err(RegistryError::NothingBefore { .. }) => !plain.clone().act(acts[*actor]),
                Ok(moved) => plain.act(acts[*actor]) && plain.stack.last() == Some(&moved.version),
                Err(error) => panic!("{error}"),
            });
            is_right && plain.stack == stack(&store)
        };
        prop_assert!(serial([0, 1]) || serial([1, 0]), "{plain:?} {acts:?} {order:?}: {came:?}, {:?}", stack(&store));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_an_alias_moves_by_one_or_not_at_all(
        acts in prop::collection::vec(prop_oneof![(1..=VERSIONS).prop_map(Act::Promote), Just(Act::RollBack)], 1..10),
        seed: u64,
        percent in 0_u32..30,
    ) {
        let (_folder, inner) = local();
        put_all(&*inner, 1..=VERSIONS);
        let store = FaultyStore::seeded(inner.clone(), seed, f64::from(percent) / 100.0);
        let mut plain = Plain::default();
        for act in acts {
            let mut moved = plain.clone();
            let is_done = moved.act(act);
            match done(&store, act) {
                Ok(()) => prop_assert!(is_done && stack(&*inner) == moved.stack, "{act:?}"),
                Err(RegistryError::NothingBefore { .. }) => prop_assert!(!is_done),
                Err(error) => {
                    let is_unknown = matches!(error, RegistryError::RollbackUnknown { .. });
                    prop_assert!(is_unknown || error.remedy() == Remedy::Retry, "{error}");
                    prop_assert!([&plain.stack, &moved.stack].contains(&&stack(&*inner)), "{act:?}: {error}");
                }
            }
            plain.stack = stack(&*inner);
        }
    }
}

#[test]
fn a_version_that_is_removed_while_it_is_rolled_back_to_is_passed_over_the_next_time() {
    let (_folder, store) = local();
    put_all(&*store, 1..=3);
    for version in 1..=3 {
        promote(&*store, version).unwrap();
    }
    let occasion = Occasion::default();
    let removed = |version| {
        remove(&*store, version);
        Ok(())
    };
    let error = Mover { usable: &removed, ..mover(&*store, &occasion) }.roll_back().unwrap_err();
    assert!(
        matches!(&error, RegistryError::RemovedMeanwhile { version: 2, named, .. } if named == "version 3"),
        "{error}"
    );
    assert_eq!(stack(&*store), [1, 2, 3, 3]);
    let returned = read_alias(&*store, "close", "champion", 5).unwrap().unwrap();
    assert_eq!((returned.version, returned.before, returned.rolled_back), (3, Some(2), true));
    assert_eq!(returned.reason.as_deref(), Some("version 2 was removed while it was promoted"));
    assert_eq!(roll_back(&*store).unwrap(), Moved { version: 1, before: Some(3), record: 6 });
    let error = roll_back(&*store).unwrap_err();
    assert!(matches!(error, RegistryError::NothingBefore { .. }), "{error}");
}

#[test]
fn a_rollback_that_was_killed_before_it_could_be_taken_back_counts_for_nothing() {
    let (_folder, store) = local();
    put_all(&*store, 1..=4);
    for version in 1..=3 {
        promote(&*store, version).unwrap();
    }
    let record = json!({ "format": 1, "version": 2, "beneath": 1, "rolled_back": true }).to_string();
    store.create(&alias_key("close", "champion", 4), record.as_bytes()).unwrap();
    assert_eq!(stack(&*store), [1, 2]);
    remove(&*store, 2);
    assert_eq!(stack(&*store), [1, 2, 3]);
    assert_eq!(promote(&*store, 4).unwrap(), Moved { version: 4, before: Some(3), record: 5 });
    assert_eq!(roll_back(&*store).unwrap(), Moved { version: 3, before: Some(4), record: 6 });
    assert_eq!(roll_back(&*store).unwrap(), Moved { version: 1, before: Some(3), record: 7 });
}

#[test]
fn a_record_says_who_when_why_and_by_which_measures_and_an_earlier_release_reads_it() {
    let (_folder, store) = local();
    put_all(&*store, 1..=2);
    let evaluation = |kind, rmse: f64, at: u64| -> Vec<u8> {
        let scores =
            json!({ "rows": 9, "rmse": rmse, "baseline": { "kind": "mean", "rmse": 5.0 }, "beats_baseline": true });
        let evaluation = json!({ "format": 1, "attempt": "a", "kind": kind, "batches": [1], "scores": scores, "evaluated_at_ms": at });
        let read: Evaluation = serde_json::from_value(evaluation).unwrap();
        serde_json::to_vec(&read).unwrap()
    };
    store.create(&evaluation_key("close", 1, 1), &evaluation("holdout", 3.0, 8)).unwrap();
    store.create(&evaluation_key("close", 2, 1), &evaluation("holdout", 2.0, 8)).unwrap();
    store.create(&evaluation_key("close", 2, 2), &evaluation("next_batch", 2.5, 9)).unwrap();
    let registry = Registry::open(Arc::clone(&store)).unwrap();
    let occasion = Occasion { by: "ann".to_owned(), reason: Some("first".to_owned()), now_ms: 7 };
    registry.promote("close", 1, "champion", &occasion).unwrap();
    let occasion = Occasion { reason: None, now_ms: 9, ..occasion };
    let moved = registry.promote("close", 2, "champion", &occasion).unwrap();
    assert_eq!(moved, Moved { version: 2, before: Some(1), record: 2 });
    assert_eq!(registry.snapshot().models["close"].aliases["champion"], 2, "it is served at once");
    // Nothing is written twice.
    assert_eq!(registry.promote("close", 2, "champion", &occasion).unwrap(), Moved { before: Some(2), ..moved });
    let record = |number| read_alias(&*store, "close", "champion", number).unwrap();
    let (first, second) = (record(1).unwrap(), record(2).unwrap());
    assert_eq!(
        (first.promoted_at_ms, first.by.as_deref(), first.reason.as_deref()),
        (Some(7), Some("ann"), Some("first"))
    );
    assert_eq!((first.before, second.before, second.reason.as_deref(), record(3)), (None, Some(1), None, None));
    let measures = second.measures.unwrap();
    let (version, before) = (measures.version.unwrap(), measures.before.unwrap());
    assert_eq!((version.kind, before.kind), (EvaluationKind::NextBatch, EvaluationKind::Holdout));
    assert_eq!((version.scores.measures["rmse"], before.scores.baseline.measures["rmse"]), (Some(2.5), Some(5.0)));

    #[derive(serde::Deserialize)]
    struct Earlier {
        format: u32,
        version: u32,
    }
    let bytes = store.read(&alias_key("close", "champion", 2)).unwrap();
    let earlier: Earlier = from_record(&bytes, String::new).unwrap();
    assert_eq!((earlier.format, earlier.version), (1, 2));
}

#[test]
fn what_cannot_be_served_is_not_promoted_and_not_rolled_back_to() {
    let (_folder, store) = local();
    put_all(&*store, 1..=3);
    let registry = Registry::open(Arc::clone(&store)).unwrap();
    let occasion = Occasion::default();
    registry.promote("close", 1, "champion", &occasion).unwrap();
    registry.promote("close", 2, "champion", &occasion).unwrap();
    for version in [1, 3] {
        std::fs::write(store.place(&format!("{}/model.safetensors", version_folder("close", version))), b"torn")
            .unwrap();
    }
    let registry = Registry::open(Arc::clone(&store) as SharedStore).unwrap();
    assert!(matches!(registry.promote("close", 3, "champion", &occasion), Err(RegistryError::Digest { .. })));
    assert!(matches!(registry.roll_back("close", "champion", &occasion), Err(RegistryError::Digest { .. })));
    // One whose folder somebody deleted is passed over.
    put(&*store, "close", 4, |_| {});
    registry.promote("close", 4, "champion", &occasion).unwrap();
    store.delete("models/close/000002/model.json").unwrap();
    assert!(matches!(registry.roll_back("close", "champion", &occasion), Err(RegistryError::Digest { .. })));
    assert_eq!(named(&*store, "champion"), Some(4));
}

#[test]
fn records_that_were_tampered_with_are_refused() {
    let (_folder, store) = local();
    put_all(&*store, 1..=2);
    promote(&*store, 1).unwrap();
    for (number, beneath) in [(2, 2), (3, 7)] {
        let record = json!({ "format": 1, "version": 2, "beneath": beneath }).to_string();
        store.create(&alias_key("close", "champion", number), record.as_bytes()).unwrap();
        let error = roll_back(&*store).unwrap_err();
        assert!(error.to_string().contains(&format!("names record {beneath} beneath it")), "{error}");
    }
    let long = json!({ "format": 1, "version": 2, "reason": "x".repeat(70_000) }).to_string();
    store.create(&alias_key("close", "champion", 4), long.as_bytes()).unwrap();
    assert!(matches!(roll_back(&*store), Err(RegistryError::NotOurs { .. })));
    let _: Option<Alias> = read_alias(&*store, "close", "champion", 9).unwrap();
}

#[test]
fn a_reason_is_one_line_of_text() {
    assert_eq!(check_reason(" it is better \n").unwrap().as_deref(), Some("it is better"));
    assert_eq!(check_reason("  ").unwrap(), None);
    assert_eq!(check_reason(&"é".repeat(500)).unwrap().map(|reason| reason.chars().count()), Some(500));
    for bad in ["a\nb", "\u{1b}[2J x", &"é".repeat(501)] {
        assert!(check_reason(bad).is_err(), "{bad:?}");
    }
}

/// `testdata/golden/format-1-aliases` is never edited; later formats join it.
#[test]
fn records_of_this_release_and_of_those_before_load_for_ever() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../millstream/testdata/golden/format-1-aliases");
    let store = LocalStore::open_reading(folder.as_ref());
    for (number, version, rolled_back) in [(1, 1, false), (2, 2, false), (3, 1, true)] {
        let record = read_alias(&store, "close", "champion", number).unwrap().unwrap();
        assert_eq!((record.version, record.rolled_back), (version, rolled_back));
        let text = String::from_utf8(store.read(&alias_key("close", "champion", number)).unwrap()).unwrap();
        assert_eq!(serde_json::to_string_pretty(&record).unwrap(), text.trim_end(), "it is written as it was");
    }
    assert_eq!(stack(&store), [1]);
}
