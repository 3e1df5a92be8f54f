//! Removals and promotions side by side: in every order of their steps, killed after any of them, and on a store that fails.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::alias::records;
use super::removal::{arrays, is_removed};
use super::{
    Found, Mover, Named, Occasion, OwnerTexts, Registry, RegistryError, Sweeper, Version, model_key, read_tombstone,
    version_folder,
};
use millstream_store::counting::CountingStore;
use millstream_store::faulty::FaultyStore;
use millstream_store::{Created, LocalStore, PartWriter, SharedStore, Store, StoreError, StoredFile, Verified};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../millstream/testdata/golden");
const PATIENCE: Duration = Duration::from_secs(60);

/// Puts the golden version there under this number.
pub(super) fn put(store: &dyn Store, model: &str, number: u32, change: impl Fn(&mut Value)) {
    let golden = match model {
        "taste" => format!("{GOLDEN}/format-1-recommenders/models/taste/000001"),
        _ => format!("{GOLDEN}/format-1/models/close/000001"),
    };
    let mut file: Value = serde_json::from_slice(&std::fs::read(format!("{golden}/model.json")).unwrap()).unwrap();
    file["version"] = json!(number);
    file["identity"] = json!(format!("identity {number}"));
    change(&mut file);
    let folder = version_folder(model, number);
    let arrays = std::fs::read(format!("{golden}/model.safetensors")).unwrap();
    store.create(&format!("{folder}/model.safetensors"), &arrays).unwrap();
    store.create(&model_key(model, number), &serde_json::to_vec(&file).unwrap()).unwrap();
}

pub(super) fn put_all(store: &dyn Store, numbers: std::ops::RangeInclusive<u32>) {
    numbers.for_each(|number| put(store, "close", number, |_| {}));
}

fn sweeper(keep: u32) -> Sweeper {
    Sweeper::new(NonZeroU32::new(keep).unwrap())
}

/// The numbers that a sweep by a new process removes.
fn sweep(store: &dyn Store, keep: u32, newest: u32) -> Vec<u32> {
    let swept = sweeper(keep).sweep(store, "close", newest).unwrap();
    assert!(swept.problems.is_empty(), "{:?}", swept.problems);
    swept.removed.iter().map(|tombstone| tombstone.version).collect()
}

fn with_arrays(store: &dyn Store, model: &str, numbers: std::ops::RangeInclusive<u32>) -> Vec<u32> {
    numbers.filter(|number| !arrays(store, model, *number).unwrap().is_empty()).collect()
}

pub(super) fn named(store: &dyn Store, alias: &str) -> Option<u32> {
    let records = records(store, "close").unwrap().remove(alias).unwrap_or_default();
    Named::find(store, "close", &records).unwrap().map(|named| named.version())
}

/// The version that the alias named before.
fn promote(store: &dyn Store, model: &str, version: u32, alias: &str) -> Result<Option<u32>, RegistryError> {
    let mover = Mover { store, model, alias, occasion: &Occasion::default(), usable: &|_| Ok(()) };
    mover.promote(version).map(|moved| moved.before)
}

pub(super) fn local() -> (tempfile::TempDir, SharedStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(LocalStore::open(folder.path()).unwrap());
    (folder, store)
}

#[test]
fn all_but_the_newest_and_those_with_an_alias_go_and_leave_what_they_were() {
    let (_folder, store) = local();
    put_all(&*store, 1..=6);
    assert_eq!(promote(&*store, "close", 2, "champion").unwrap(), None);
    let mut sweeper = sweeper(2);
    let mut removed = |newest| -> Vec<u32> {
        let swept = sweeper.sweep(&*store, "close", newest).unwrap();
        swept.removed.iter().map(|tombstone| tombstone.version).collect()
    };
    assert_eq!(removed(6), [1, 3, 4]);
    assert_eq!(removed(6), [0; 0]);
    assert_eq!(with_arrays(&*store, "close", 1..=6), [2, 5, 6]);
    let tombstone = read_tombstone(&*store, "close", 3).unwrap().unwrap();
    assert_eq!((tombstone.identity.as_str(), tombstone.reason.as_str()), ("identity 3", "train.keep = 2"));
    for number in 1..=6 {
        assert!(store.read(&model_key("close", number)).is_ok(), "its number and its identity stay used");
    }
    let error = Version::load(&*store, "close", 3, &OwnerTexts::default()).unwrap_err();
    assert!(error.to_string().contains("version 3 of model `close` was removed at 2"), "{error}");
    assert!(matches!(promote(&*store, "close", 3, "champion"), Err(RegistryError::Removed { version: 3, .. })));
    // The alias moves on, and a new version comes.
    assert_eq!(promote(&*store, "close", 5, "champion").unwrap(), Some(2));
    put_all(&*store, 7..=7);
    assert_eq!(removed(7), [2]);
    assert_eq!((named(&*store, "champion"), sweep(&*store, 1, 7)), (Some(5), vec![6]));
}

#[test]
fn what_is_removed_is_known_not_loaded_and_costs_a_refresh_nothing() {
    let (_folder, inner) = local();
    put_all(&*inner, 1..=60);
    promote(&*inner, "close", 2, "champion").unwrap();
    assert_eq!(sweep(&*inner, 5, 60).len(), 54);
    let store = Arc::new(CountingStore::new(Arc::clone(&inner)));
    let registry = Registry::open(Arc::clone(&store) as _).unwrap();
    let loaded =
        || -> Vec<u32> { registry.snapshot().models["close"].loaded().map(|version| version.file.version).collect() };
    assert_eq!((loaded(), registry.snapshot().problems.len()), (vec![2, 56, 57, 58, 59, 60], 0));
    let served = registry.snapshot();
    let close = &served.models["close"];
    assert!(matches!((close.find(2), close.find(10)), (Some(Found::Loaded(_)), Some(Found::Stored(10)))));
    assert!(matches!(registry.load("close", 10), Err(RegistryError::Removed { version: 10, .. })));
    put_all(&*inner, 61..=61);
    registry.refresh().unwrap();
    assert_eq!(loaded(), [2, 56, 57, 58, 59, 60, 61]);
    store.take();
    registry.refresh().unwrap();
    assert!(store.take().reads < 20);
}

/// Two versions of which the first is the champion, and what happens between a read of this key and its answer, once.
fn champion_while(
    key: &'static str,
    happens: impl Fn(&dyn Store) -> std::io::Result<()> + Send + Sync + 'static,
) -> (tempfile::TempDir, SharedStore, Registry) {
    let (folder, inner) = local();
    put_all(&*inner, 1..=2);
    promote(&*inner, "close", 1, "champion").unwrap();
    let (within, first) = (Arc::clone(&inner), Mutex::new(true));
    let store = FaultyStore::new(Arc::clone(&inner)).after_read(move |read| {
        let is_first = || std::mem::take(&mut *first.lock().unwrap());
        if read == key && is_first() { happens(&*within) } else { Ok(()) }
    });
    let registry = Registry::open(Arc::new(store)).unwrap();
    (folder, inner, registry)
}

fn champion(registry: &Registry) -> u32 {
    registry.snapshot().models["close"].champion_or_latest().unwrap().file.version
}

#[test]
fn a_version_that_is_promoted_while_a_refresh_looks_leaves_the_champion_until_the_next() {
    // Nobody promoted version 2: it is not what answers meanwhile.
    let (_folder, inner, registry) = champion_while("models/close/000004/model.json", |store| {
        put_all(store, 4..=4);
        promote(store, "close", 4, "champion").unwrap();
        Ok(())
    });
    put_all(&*inner, 3..=3);
    registry.refresh().unwrap();
    assert_eq!((champion(&registry), registry.snapshot().problems.clone()), (1, Vec::new()));
    registry.refresh().unwrap();
    assert_eq!(champion(&registry), 4);
}

#[test]
fn a_store_that_fails_to_say_or_to_bring_a_new_champion_leaves_the_old_one() {
    for key in ["models/close/000003/model.safetensors", "aliases/close/champion/000002.json"] {
        let fails = |_: &dyn Store| Err(std::io::Error::from(std::io::ErrorKind::TimedOut));
        let (_folder, inner, registry) = champion_while(key, fails);
        put_all(&*inner, 3..=3);
        promote(&*inner, "close", 3, "champion").unwrap();
        // Others are served on, and what is new of them.
        put(&*inner, "other", 1, |file| file["model"] = "other".into());
        registry.refresh().unwrap();
        let served = registry.snapshot();
        assert_eq!((champion(&registry), served.problems.len(), served.models.len()), (1, 1, 2), "{key}");
        registry.refresh().unwrap();
        assert_eq!((champion(&registry), registry.snapshot().problems.len()), (3, 0), "{key}");
    }
}

#[test]
fn a_version_is_described_without_its_arrays_unless_they_alone_know_its_scale() {
    let (_folder, inner) = local();
    put_all(&*inner, 1..=1);
    put(&*inner, "taste", 1, |_| {});
    put(&*inner, "taste", 2, |file| file["task"]["scale"] = Value::Null);
    let store = Arc::new(CountingStore::new(Arc::clone(&inner)));
    let registry = Registry::open(Arc::clone(&store) as _).unwrap();
    for (model, number, reads_arrays) in [("close", 1, false), ("taste", 1, false), ("taste", 2, true)] {
        store.take();
        let version = registry.read(model, number).unwrap();
        let whole = store.take().bytes_read;
        assert_eq!(registry.describe(model, number).unwrap(), version.to_json(), "{model}@{number}");
        let described = store.take().bytes_read;
        assert_eq!(described + version.arrays_bytes() > whole, reads_arrays, "{model}@{number}");
    }
    store.delete("models/close/000001/model.safetensors").unwrap();
    assert!(registry.describe("close", 1).is_ok() && registry.read("close", 1).is_err());
}

#[test]
fn names_that_are_no_aliases_are_refused_and_so_is_a_version_that_is_not_there() {
    let (_folder, store) = local();
    put_all(&*store, 1..=1);
    for alias in ["latest", "", "2", "Best", "a/b", "é", &"a".repeat(65)] {
        assert!(matches!(promote(&*store, "close", 1, alias), Err(RegistryError::NoAlias { .. })), "{alias}");
    }
    assert!(matches!(promote(&*store, "close", 2, "best"), Err(RegistryError::UnknownVersion { .. })));
    assert_eq!(store.list("aliases/").unwrap(), [""; 0]);
}

#[test]
fn what_a_version_that_stays_started_from_stays() {
    let (_folder, store) = local();
    for number in 1..=6 {
        put(&*store, "taste", number, |file| {
            file["task"]["parent"] = json!({ "version": number - 1, "file_digest": "" });
        });
    }
    store.create("aliases/taste/best/000001.json", br#"{"format":1,"version":3}"#).unwrap();
    let swept = sweeper(1).sweep(&*store, "taste", 6).unwrap();
    assert_eq!(swept.removed.iter().map(|tombstone| tombstone.version).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(
        with_arrays(&*store, "taste", 1..=6),
        [2, 3, 5, 6],
        "3 by its alias, 2 and 5 as what 3 and 6 started from"
    );
}

#[test]
fn what_cannot_be_read_is_not_removed_and_told_once() {
    let (_folder, store) = local();
    put_all(&*store, 1..=2);
    put(&*store, "close", 3, |_| {});
    std::fs::write(store.place(&model_key("close", 1)), b"{}").unwrap();
    let mut sweeper = sweeper(1);
    let swept = sweeper.sweep(&*store, "close", 3).unwrap();
    assert_eq!((swept.removed.len(), swept.problems.len()), (1, 1), "{swept:?}");
    assert!(sweeper.sweep(&*store, "close", 3).unwrap().problems.is_empty());
    assert_eq!(with_arrays(&*store, "close", 1..=3), [1, 3]);
    // An alias that cannot be read may name any version.
    put_all(&*store, 4..=4);
    store.create("aliases/close/best/000001.json", b"torn").unwrap();
    assert!(matches!(sweeper.sweep(&*store, "close", 4), Err(RegistryError::NotTheRecord { .. })));
    assert_eq!(with_arrays(&*store, "close", 1..=4), [1, 3, 4]);
}

/// Lets one actor at a time take its next step, a call of the store, in an order that is given.
pub(super) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Which actor may step, and how often before the next look at the order.
    turn: Option<(usize, usize)>,
    waiting: Vec<bool>,
    ended: Vec<bool>,
    /// Every further call fails.
    killed: Vec<bool>,
}

impl Turns {
    pub fn new(actors: usize) -> Self {
        let none = || vec![false; actors];
        Self {
            state: Mutex::new(State { turn: None, waiting: none(), ended: none(), killed: none() }),
            changed: Condvar::new(),
        }
    }

    fn step(&self, actor: usize) -> Result<(), StoreError> {
        let mut state = self.state.lock().unwrap();
        state.waiting[actor] = true;
        self.changed.notify_all();
        loop {
            if state.killed[actor] {
                break;
            }
            match &mut state.turn {
                Some((whose, left)) if *whose == actor && *left > 0 => {
                    *left -= 1;
                    break;
                }
                Some(_) | None => state = self.changed.wait(state).unwrap(),
            }
        }
        state.waiting[actor] = false;
        if !state.killed[actor] {
            return Ok(());
        }
        let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        Err(StoreError::Denied { key: String::new(), place: String::new(), source })
    }

    /// Lets `actor` take so many steps, or all that it has.
    pub fn run(&self, actor: usize, steps: usize) {
        let mut state = self.state.lock().unwrap();
        state.turn = Some((actor, steps));
        self.changed.notify_all();
        let at_rest = |state: &State| {
            state.ended[actor] || (state.waiting[actor] && state.turn.is_none_or(|(_, left)| left == 0))
        };
        while !at_rest(&state) {
            state = self.changed.wait(state).unwrap();
        }
        state.turn = None;
    }

    fn kill(&self, actor: usize) {
        self.state.lock().unwrap().killed[actor] = true;
        self.run(actor, 0);
    }

    pub fn end(&self, actor: usize) {
        self.state.lock().unwrap().ended[actor] = true;
        self.changed.notify_all();
    }
}

#[derive(Default)]
pub(super) struct MemoryStore {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    verified: Verified,
}

impl Store for MemoryStore {
    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let mut files = self.files.lock().unwrap();
        if files.contains_key(key) {
            return Ok(Created::Exists);
        }
        files.insert(key.to_owned(), bytes.to_vec());
        Ok(Created::Mine)
    }

    fn writer(&self, _: &str) -> Result<Box<dyn PartWriter>, StoreError> {
        panic!("no part is written here")
    }

    fn read_up_to(&self, key: &str, _: u64) -> Result<Vec<u8>, StoreError> {
        let missing = || StoreError::Missing { key: key.to_owned() };
        self.files.lock().unwrap().get(key).cloned().ok_or_else(missing)
    }

    fn open(&self, _: &str) -> Result<StoredFile, StoreError> {
        panic!("no part is read here")
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.files.lock().unwrap().keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.files.lock().unwrap().remove(key);
        Ok(())
    }

    fn place(&self, key: &str) -> String {
        key.to_owned()
    }

    fn verified(&self) -> &Verified {
        &self.verified
    }
}

/// The store as one actor sees it.
pub(super) struct Seen<'a> {
    pub store: &'a MemoryStore,
    pub turns: &'a Turns,
    pub actor: usize,
}

impl Store for Seen<'_> {
    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        self.turns.step(self.actor)?;
        self.store.create(key, bytes)
    }

    fn writer(&self, key: &str) -> Result<Box<dyn PartWriter>, StoreError> {
        self.store.writer(key)
    }

    fn read_up_to(&self, key: &str, bytes_most: u64) -> Result<Vec<u8>, StoreError> {
        self.turns.step(self.actor)?;
        self.store.read_up_to(key, bytes_most)
    }

    fn open(&self, key: &str) -> Result<StoredFile, StoreError> {
        self.store.open(key)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.turns.step(self.actor)?;
        self.store.list(prefix)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.turns.step(self.actor)?;
        self.store.delete(key)
    }

    fn place(&self, key: &str) -> String {
        self.store.place(key)
    }

    fn verified(&self) -> &Verified {
        self.store.verified()
    }
}

/// Who takes part: one promotes version 1, the others sweep.
const PROMOTER: usize = 0;

/// Of three versions 2 is champion and one is kept. `order`: actors and their steps; `killed`: takes no step after them, the others go on to their ends.
fn check(order: &[(usize, usize)], killed: Option<usize>, sweepers: usize) {
    let store = MemoryStore::default();
    put_all(&store, 1..=3);
    promote(&store, "close", 2, "champion").unwrap();
    let actors = 1 + sweepers;
    let turns = Turns::new(actors);
    let promoted = std::thread::scope(|scope| {
        let seen = |actor| Seen { store: &store, turns: &turns, actor };
        let (turns, seen_by_promoter) = (&turns, seen(PROMOTER));
        let promoter = scope.spawn(move || {
            let promoted = promote(&seen_by_promoter, "close", 1, "champion");
            turns.end(PROMOTER);
            promoted
        });
        let sweepers: Vec<_> = (1..actors)
            .map(|actor| {
                let seen = seen(actor);
                scope.spawn(move || {
                    let swept = sweeper(1).sweep(&seen, "close", 3);
                    turns.end(actor);
                    swept.map(drop)
                })
            })
            .collect();
        order.iter().for_each(|(actor, steps)| turns.run(*actor, *steps));
        killed.into_iter().for_each(|actor| turns.kill(actor));
        (0..actors).rev().for_each(|actor| turns.run(actor, usize::MAX));
        for (sweeper, actor) in sweepers.into_iter().zip(1..) {
            let swept = sweeper.join().unwrap();
            assert!(swept.is_ok() || killed == Some(actor), "{swept:?}");
        }
        promoter.join().unwrap()
    });
    let about = format!("{order:?}, killed {killed:?}: {promoted:?}");
    let intact = |version| Version::load(&store, "close", version, &OwnerTexts::default()).is_ok();
    let right = || {
        let named = named(&store, "champion").unwrap_or_else(|| panic!("no champion: {about}"));
        assert!(intact(named) && intact(3), "{about}");
        match &promoted {
            Ok(before) => assert_eq!((*before, named), (Some(2), 1), "{about}"),
            Err(RegistryError::Removed { .. }) => assert_eq!(named, 2, "{about}"),
            Err(RegistryError::RemovedMeanwhile { named: told, .. }) => {
                assert!(*told == format!("version {named}") && (named == 2 || sweepers > 1), "{about}");
            }
            Err(_) => assert_eq!(killed, Some(PROMOTER), "{about}"),
        }
    };
    right();
    // Whoever sweeps next ends what was begun.
    sweep(&store, 1, 3);
    right();
    for version in 1..=3 {
        let has_arrays = !arrays(&store, "close", version).unwrap().is_empty();
        assert!(has_arrays || is_removed(&store, "close", version).unwrap(), "no tombstone of {version}: {about}");
        assert!(store.read(&model_key("close", version)).is_ok());
    }
    if matches!(promoted, Err(RegistryError::Removed { .. }))
        || (sweepers == 1 && matches!(promoted, Err(RegistryError::RemovedMeanwhile { .. })))
    {
        assert_eq!(with_arrays(&store, "close", 1..=3), [2, 3], "{about}");
    }
}

/// More than any of them takes.
const STEPS: usize = 24;

#[test]
fn a_removal_and_a_promotion_in_any_order_of_their_steps_leave_what_the_alias_names() {
    for (one, other) in [(PROMOTER, 1), (1, PROMOTER)] {
        for first in 0..STEPS {
            for second in 0..STEPS {
                check(&[(one, first), (other, second)], None, 1);
                check(&[(one, first), (other, second), (one, 2)], None, 1);
            }
        }
    }
}

#[test]
fn killed_after_any_step_the_next_sweep_ends_what_was_begun() {
    for killed in [PROMOTER, 1] {
        for first in 0..STEPS {
            for second in 0..STEPS {
                check(&[(1 - killed, first), (killed, second)], Some(killed), 1);
            }
        }
    }
}

/// Again and again until it is answered.
fn persist<T>(mut work: impl FnMut() -> Result<T, RegistryError>) -> Result<T, RegistryError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match work() {
            Err(error) if error.remedy() == super::Remedy::Retry => assert!(Instant::now() < until, "{error}"),
            done => return done,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn two_sweeps_and_a_promotion_at_once_leave_what_the_alias_names(
        order in prop::collection::vec((0_usize..3, 0_usize..6), 0..12),
        killed in prop::option::of(0_usize..3),
    ) {
        check(&order, killed, 2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_the_newest_and_the_aliased_stay_and_the_others_go(seed: u64, percent in 0_u32..30) {
        let (_folder, inner) = local();
        put_all(&*inner, 1..=8);
        let faulty = |rival: u64| FaultyStore::seeded(inner.clone(), seed ^ (rival << 60), f64::from(percent) / 100.0);
        let promoted = std::thread::scope(|scope| {
            for rival in [1, 2] {
                let store = faulty(rival);
                scope.spawn(move || {
                    let mut sweeper = sweeper(2);
                    persist(|| sweeper.sweep(&store, "close", 8)).unwrap()
                });
            }
            let store = faulty(3);
            let promoter = scope.spawn(move || persist(|| promote(&store, "close", 3, "champion")));
            promoter.join().unwrap()
        });
        sweep(&*inner, 2, 8);
        let named = named(&*inner, "champion");
        // Of one that failed a try before it may have written the record, and its look for the tombstone failed.
        match promoted {
            Ok(_) => prop_assert_eq!(named, Some(3)),
            Err(RegistryError::Removed { .. }) => prop_assert!(named.is_none_or(|version| version == 3)),
            Err(RegistryError::RemovedMeanwhile { .. }) => prop_assert_eq!(named, None),
            Err(error) => panic!("{error}"),
        }
        let expected: Vec<u32> = named.into_iter().chain([7, 8]).collect();
        prop_assert_eq!(with_arrays(&*inner, "close", 1..=8), expected);
    }
}

fn answering(registry: &Registry) -> Vec<u32> {
    let served = registry.snapshot();
    let answers = |number: &u32| match served.models["close"].find(*number) {
        Some(Found::Loaded(_)) => true,
        Some(Found::Stored(number)) => registry.load("close", number).is_ok(),
        None => false,
    };
    served.models["close"].numbers().filter(answers).collect()
}

#[test]
fn a_refresh_lets_go_of_what_was_removed_and_of_nothing_else() {
    let (_folder, store) = local();
    put_all(&*store, 1..=30);
    let registry = Registry::open(Arc::clone(&store)).unwrap();
    let loaded =
        || -> Vec<u32> { registry.snapshot().models["close"].loaded().map(|version| version.file.version).collect() };
    assert_eq!(loaded(), (11..=30).collect::<Vec<_>>());
    // One is in the cache of those that were asked for.
    assert!(registry.load("close", 5).unwrap().is_some());
    promote(&*store, "close", 20, "champion").unwrap();
    sweep(&*store, 3, 30);
    assert!(registry.load("close", 5).unwrap().is_some(), "what is loaded answers until the next refresh");
    registry.refresh().unwrap();
    assert_eq!(loaded(), [20, 28, 29, 30]);
    assert_eq!(registry.snapshot().problems, [""; 0]);
    assert!(matches!(registry.load("close", 5), Err(RegistryError::Removed { version: 5, .. })));
    assert_eq!(answering(&registry), [20, 28, 29, 30]);
    let removed = registry.removed("close", 5).unwrap().unwrap().to_json();
    assert_eq!((&removed["version"], &removed["removed"]["reason"]), (&json!(5), &json!("train.keep = 3")));
    // The champion moves on, and a process that begins now finds the same.
    promote(&*store, "close", 30, "champion").unwrap();
    sweep(&*store, 3, 30);
    let again = Registry::open(Arc::clone(&store)).unwrap();
    for registry in [&registry, &again] {
        registry.refresh().unwrap();
        assert_eq!(answering(registry), [28, 29, 30]);
    }
}

#[test]
fn a_version_with_a_tombstone_is_served_while_an_alias_that_came_in_time_names_it() {
    let (_folder, store) = local();
    put_all(&*store, 1..=3);
    let mut sweeper = sweeper(1);
    promote(&*store, "close", 1, "best").unwrap();
    assert_eq!(sweeper.sweep(&*store, "close", 3).unwrap().removed.len(), 1);
    // As of a sweep that looked at the aliases before the promotion, and again after its tombstone.
    let mut tombstone = read_tombstone(&*store, "close", 2).unwrap().unwrap();
    tombstone.version = 1;
    store.create("models/close/000001/removed.json", &serde_json::to_vec(&tombstone).unwrap()).unwrap();
    let registry = Registry::open(Arc::clone(&store)).unwrap();
    assert_eq!(answering(&registry), [1, 3]);
    promote(&*store, "close", 3, "best").unwrap();
    registry.refresh().unwrap();
    assert_eq!(answering(&registry), [3], "a tombstone with arrays is a removal that was begun");
    assert_eq!(sweep(&*store, 1, 3), [1]);
}
