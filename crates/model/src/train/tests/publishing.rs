//! Lost answers, rivals, orphans, damage: a version is published once, whole, and only then served.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use millstream_base::status::EventKind;
use millstream_learn::Algorithm::{LinearRegression, RandomForest};
use millstream_store::counting::{CountingStore, Counts};
use millstream_store::faulty::{Fault, FaultyStore};
use serde_json::{Value, json};

use crate::model::Model;
use crate::registry::{
    EvaluationKind, Found, OwnerTexts, RECENT_MOST, Registry, RegistryError, Remedy, Served, Version, read_model_file,
};
use crate::train::fixture::*;
use crate::train::verify;

fn linear() -> Model {
    model("close", LinearRegression, &["Open"], "Close")
}

/// Trains one version through a store that fails as arranged; gives the keys under `models/`.
fn publish(fixture: &Fixture, arrange: impl Fn(FaultyStore) -> FaultyStore) -> (Vec<String>, usize) {
    if fixture.batches.lock().unwrap().is_empty() {
        fixture.commit(&rows(0..50));
    }
    let store = Arc::new(arrange(FaultyStore::new(Arc::clone(&fixture.store))));
    let trainer = fixture.trainer_over(Arc::clone(&store) as _, 0.0, vec![linear()]);
    let mut events = trainer.status.listen();
    trainer.train_due(&fixture.batches.lock().unwrap(), &AtomicBool::new(false)).unwrap();
    assert!(store.is_spent());
    // What will be tried again is told, and is not in the report.
    let told = std::iter::from_fn(|| events.try_recv().ok());
    (fixture.store.list("models/").unwrap(), told.filter(|event| event.kind == EventKind::TrainingFailed).count())
}

const ARRAYS: &str = "models/close/000001/model.safetensors";
const MODEL: &str = "models/close/000001/model.json";

#[test]
fn a_lost_answer_is_read_back() {
    let plain = [MODEL, ARRAYS];
    for key in ["model.safetensors", "model.json"] {
        for fault in [Fault::Lost, Fault::Refused] {
            let fixture = fixture(1);
            assert_eq!(
                publish(&fixture, |store| store.on_create(key, fault.clone())),
                (plain.map(str::to_owned).to_vec(), 0)
            );
            assert_eq!(fixture.load("close", 1).file.version, 1);
        }
    }
}

#[test]
fn a_store_that_keeps_failing_fails_the_training_and_a_later_one_mends_it() {
    let fixture = fixture(1);
    let refused = |store: FaultyStore| (0..3).fold(store, |store, _| store.on_create("model.json", Fault::Refused));
    assert_eq!(publish(&fixture, refused), (vec![ARRAYS.to_owned()], 1));
    let full = |store: FaultyStore| store.on_create("model.json", Fault::Full);
    assert_eq!(publish(&fixture, full), (vec![ARRAYS.to_owned()], 1));
    // The orphan has the same bytes: it is used.
    assert_eq!(publish(&fixture, |store| store).0, [MODEL, ARRAYS]);
    assert_eq!(fixture.load("close", 1).file.file, "model.safetensors");
}

#[test]
fn an_orphan_of_other_bytes_is_left_and_written_beside() {
    let fixture = fixture(1);
    fixture.store.create(ARRAYS, b"torn").unwrap();
    let (keys, _) = publish(&fixture, |store| store);
    let file = fixture.load("close", 1).file;
    assert_eq!(file.file, format!("model-{}.safetensors", file.attempt));
    assert_eq!(keys.len(), 3);
}

#[test]
fn a_rival_with_another_identity_takes_the_number_and_one_with_the_same_is_ours() {
    let donor = fixture(1);
    publish(&donor, |store| store);
    let rival = |change: &dyn Fn(&mut Value)| {
        let mut file: Value = serde_json::from_slice(&donor.store.read(MODEL).unwrap()).unwrap();
        file["attempt"] = json!("rival");
        change(&mut file);
        serde_json::to_vec(&file).unwrap()
    };
    let fixture_1 = fixture(1);
    let other = rival(&|file| {
        file["identity"] = json!("other");
        file["file"] = json!("model-rival.safetensors");
    });
    let (keys, failed) = publish(&fixture_1, |store| store.on_create("model.json", Fault::Rival(other.clone())));
    assert_eq!(
        (keys, failed),
        (
            vec![MODEL, "models/close/000002/model.json", "models/close/000002/model.safetensors"]
                .into_iter()
                .map(str::to_owned)
                .collect(),
            0
        ),
        "ours went to number 2, and our arrays of number 1 were deleted"
    );
    assert_eq!(read_model_file(&*fixture_1.store, "close", 1).unwrap().attempt, "rival");

    let fixture_2 = fixture(1);
    let same = rival(&|_| {});
    let (keys, failed) = publish(&fixture_2, |store| store.on_create("model.json", Fault::Rival(same.clone())));
    assert_eq!((keys, failed), (vec![MODEL.to_owned(), ARRAYS.to_owned()], 0), "the arrays that the rival names stay");
}

#[test]
fn an_evaluation_with_a_lost_answer_is_written_once() {
    let fixture = fixture(1);
    fixture.commit(&rows(0..200));
    let faulty = FaultyStore::new(Arc::clone(&fixture.store))
        .on_create("evaluations/000001", Fault::Lost)
        .on_create("evaluations/000002", Fault::Refused);
    let trainer = fixture.trainer_over(Arc::new(faulty), 0.2, vec![linear()]);
    fixture.run(&trainer);
    assert_eq!(fixture.load("close", 1).evaluations.len(), 2, "holdout and common");
}

fn damaged(damage: impl Fn(&Fixture)) -> (RegistryError, String) {
    let fixture = fixture(1);
    fixture.commit(&rows(0..50));
    fixture.train(0.0, vec![linear(), model("forest", RandomForest, &["Open"], "Close")]);
    damage(&fixture);
    let registry = Registry::open(Arc::clone(&fixture.store)).unwrap();
    let served = registry.snapshot();
    assert!(served.models.contains_key("forest") && !served.models.contains_key("close"), "the others are served");
    let [problem] = served.problems.as_slice() else { panic!("{:?}", served.problems) };
    assert!(problem.starts_with("close@1: "), "{problem}");
    (Version::load(&*fixture.store, "close", 1, &OwnerTexts::default()).unwrap_err(), problem.clone())
}

fn rewrite(fixture: &Fixture, key: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) {
    let path = fixture.store.place(key);
    let bytes = change(std::fs::read(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn rewrite_json(fixture: &Fixture, change: impl Fn(&mut Value)) {
    rewrite(fixture, MODEL, |bytes| {
        let mut file: Value = serde_json::from_slice(&bytes).unwrap();
        change(&mut file);
        serde_json::to_vec(&file).unwrap()
    });
}

#[test]
fn a_damaged_version_is_refused_with_its_file_and_remedy_and_the_others_are_served() {
    let (error, problem) = damaged(|fixture| rewrite(fixture, ARRAYS, |bytes| bytes[..bytes.len() / 2].to_vec()));
    assert!(matches!(error, RegistryError::Digest { .. }), "{error}");
    assert!(
        problem.contains("model.safetensors was cut short or changed") && problem.contains("restore it from a copy"),
        "{problem}"
    );
    let (error, _) = damaged(|fixture| std::fs::remove_file(fixture.store.place(ARRAYS)).unwrap());
    assert!(matches!(error, RegistryError::FileMissing { .. }), "{error}");
    let (error, problem) = damaged(|fixture| rewrite_json(fixture, |file| file["format"] = json!(2)));
    assert!(matches!(error, RegistryError::UnknownFormat { found: 2, .. }), "{error}");
    assert!(problem.contains("format 2"), "{problem}");
    let (error, _) = damaged(|fixture| rewrite(fixture, MODEL, |bytes| bytes[..bytes.len() / 2].to_vec()));
    assert!(matches!(error, RegistryError::NotTheRecord { .. }), "{error}");
    let (error, _) = damaged(|fixture| rewrite_json(fixture, |file| file["version"] = json!(7)));
    assert!(matches!(error, RegistryError::WrongPlace { .. }), "{error}");
    let (error, _) = damaged(|fixture| rewrite_json(fixture, |file| file["algorithm"] = json!("oracle")));
    assert!(matches!(error, RegistryError::Unfit { .. }), "{error}");
    let (error, _) = damaged(|fixture| rewrite_json(fixture, |file| file["algorithm"] = json!("random_forest")));
    assert!(matches!(error, RegistryError::Arrays { .. }), "{error}");
    let (error, _) = damaged(|fixture| rewrite_json(fixture, |file| file["features"][0]["expression"] = json!("Clse")));
    assert!(matches!(error, RegistryError::Expression { .. }), "{error}");
}

/// What would hang, fill the memory or crash: it is passed over, and says why.
#[test]
fn a_version_that_somebody_else_wrote_is_bounded_before_it_is_believed() {
    let check = |damage: &dyn Fn(&Fixture), expected: &str| {
        let (error, problem) = damaged(damage);
        assert!(problem.contains(expected), "{problem}");
        assert_eq!(error.remedy(), Remedy::Store, "{problem}");
        assert!(problem.len() < 6000, "{} bytes", problem.len());
    };
    let nested = |open: &str, close: &str, times: usize| format!("{}Open{}", open.repeat(times), close.repeat(times));
    for (text, expected) in [
        (vec!["Open"; 2000].join("+"), "bytes long, 4096 are the most"),
        (vec!["Open"; 700].join("+"), "nested more than 32 deep"),
        (nested("cast(", " as int)", 60), "nested more than 32 deep"),
        (nested("cast(", " as int)", 30), "nested too deep"),
        (nested("coalesce(", ", 2)", 30), "nested too deep"),
        (nested("(", ")", 1500), "nested more than 32 deep"),
        ("length(repeat('x', 2000000000))".to_owned(), "`repeat` is not for texts of others"),
        ("Open + (select 1)".to_owned(), "a subquery looks at other rows"),
    ] {
        for place in ["/features/0/expression", "/target", "/filter", "/output", "/baseline"] {
            check(&|fixture| rewrite_json(fixture, |file| *file.pointer_mut(place).unwrap() = json!(text)), expected);
        }
    }
    for name in ["/dev/zero", "../000001/model.safetensors", "..", "", "a\\b", "sub/model.safetensors"] {
        check(&|fixture| rewrite_json(fixture, |file| file["file"] = json!(name)), "no plain name");
    }
    let input = json!({"name": "Open", "type": "float64"});
    let many = |fixture: &Fixture| rewrite_json(fixture, |file| file["inputs"] = vec![input.clone(); 10_001].into());
    check(&many, "10001 inputs, 10000 are the most");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    check(&|fixture| rewrite(fixture, MODEL, |_| deep.clone().into_bytes()), "is no record");
}

#[test]
fn a_link_a_device_a_pipe_or_a_huge_file_is_no_file_of_a_version() {
    let instead = |key: &'static str, make: &'static dyn Fn(&Path), expected: &str| {
        let (_, problem) = damaged(|fixture| {
            let path = PathBuf::from(fixture.store.place(key));
            std::fs::remove_file(&path).unwrap();
            make(&path);
        });
        assert!(problem.contains(expected), "{problem}");
    };
    for key in [MODEL, ARRAYS] {
        instead(key, &|path| symlink("/dev/zero", path).unwrap(), "is a link");
        instead(key, &|path| symlink("../elsewhere", path).unwrap(), "is a link");
        let pipe = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        instead(key, Box::leak(Box::new(pipe)), "is no file but a folder, a device or a pipe");
        // It takes no space, and would take memory.
        let sparse = |path: &Path| std::fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
        instead(key, Box::leak(Box::new(sparse)), "has 1099511627776 bytes");
    }
}

/// What `check` allows, its author may use; who is handed the store without the pipeline file may not.
#[test]
fn the_owners_own_text_needs_no_bound() {
    let fixture = fixture(1);
    fixture.commit(&rows(0..50));
    let mut own = linear();
    own.filter = Some("length(replace(cast(Open as varchar), '1', '22')) > 0".to_owned());
    fixture.train(0.0, vec![own.clone()]);
    let models = vec![own];
    let open = |owner| Registry::open_for(Arc::clone(&fixture.store), owner).unwrap().snapshot();
    assert_eq!(open(OwnerTexts::of(&models)).problems, Vec::<String>::new());
    let [problem] = open(OwnerTexts::default()).problems.clone().try_into().unwrap();
    assert!(problem.contains("`replace` is not for texts of others"), "{problem}");
    assert!(verify(&*fixture.store, "close", 1, &OwnerTexts::of(&models)).unwrap().is_whole());
    assert!(!verify(&*fixture.store, "close", 1, &OwnerTexts::default()).unwrap().is_whole());
}

#[test]
fn a_refresh_brings_new_versions_measures_and_aliases_and_keeps_the_rest() {
    let fixture = fixture(1);
    let registry = Registry::open(Arc::clone(&fixture.store)).unwrap();
    assert!(registry.snapshot().models.is_empty());
    fixture.commit(&rows(0..100));
    let trainer = fixture.trainer(0.2, vec![linear()]);
    fixture.run(&trainer);
    registry.refresh().unwrap();
    let before = registry.snapshot();
    let number = |served: &Served, name: &str| match served.models["close"].resolve(name)? {
        Found::Loaded(version) => Some(version.file.version),
        Found::Stored(number) => panic!("{number} is not loaded"),
    };
    let served = |name: &str| number(&before, name);
    assert_eq!(
        (served("1"), served("latest"), served("2"), served("champion"), served("01")),
        (Some(1), Some(1), None, None, None)
    );
    assert_eq!(before.models["close"].champion_or_latest().unwrap().file.version, 1);

    fixture.commit(&rows(100..200));
    fixture.run(&trainer);
    let alias = |number: u32, version: u32| {
        let record = json!({ "format": 1, "version": version }).to_string();
        fixture.store.create(&format!("aliases/close/champion/{number:06}.json"), record.as_bytes()).unwrap();
    };
    alias(1, 2);
    alias(2, 1);
    alias(3, 9);
    registry.refresh().unwrap();
    let after = registry.snapshot();
    let close = &after.models["close"];
    assert_eq!(close.latest().unwrap().file.version, 2);
    assert_eq!(after.problems, ["close@champion: it points to version 9, which is not served"]);
    let measures = |served: &Served| served.models["close"].loaded().next().map(|first| first.evaluations.len());
    assert_eq!(measures(&after), Some(3), "next batch and common are new");
    assert_eq!(measures(&before), Some(2), "a request in flight keeps its state");
    alias(4, 1);
    registry.refresh().unwrap();
    let last = registry.snapshot();
    assert_eq!(last.models["close"].champion_or_latest().unwrap().file.version, 1);
    assert_eq!(number(&last, "champion"), Some(1));
    assert!(Arc::ptr_eq(last.models["close"].latest().unwrap(), close.latest().unwrap()), "loaded once");
}

/// Three versions more than stay loaded, of which the first is aliased, the second stays as it is, and the third is damaged.
#[test]
fn an_older_version_is_loaded_when_it_is_asked_for() {
    let fixture = fixture(1);
    let n_versions = RECENT_MOST as u32 + 3;
    for batch in 0..u64::from(n_versions) {
        fixture.commit(&rows(batch * 40..batch * 40 + 40));
    }
    fixture.train(0.0, vec![linear()]);
    fixture.store.create("aliases/close/champion/000001.json", br#"{"format": 1, "version": 1}"#).unwrap();
    // A training that was killed, or is under way.
    fixture.store.create(&format!("models/close/{:06}/model.safetensors", n_versions + 1), b"torn").unwrap();
    let counting = Arc::new(CountingStore::new(Arc::clone(&fixture.store)));
    let registry = Registry::open(Arc::clone(&counting) as _).unwrap();
    let served = registry.snapshot();
    let close = &served.models["close"];
    let loaded: Vec<u32> = close.loaded().map(|version| version.file.version).collect();
    assert_eq!(loaded, [1].into_iter().chain(4..=n_versions).collect::<Vec<_>>());
    assert_eq!((close.n_versions() as u32, close.numbers().count() as u32), (n_versions, n_versions));
    let stored = |number: u32| matches!(close.find(number), Some(Found::Stored(found)) if found == number);
    assert!(stored(2) && stored(3) && close.find(0).is_none() && close.find(n_versions + 1).is_none());
    assert!(matches!(close.resolve("champion"), Some(Found::Loaded(_))));

    counting.take();
    let second = registry.load("close", 2).unwrap().unwrap();
    assert_eq!((second.file.version, second.evaluation(EvaluationKind::NextBatch).is_some()), (2, true));
    assert!(counting.take().reads > 0);
    assert!(Arc::ptr_eq(&registry.load("close", 2).unwrap().unwrap(), &second));
    assert_eq!(counting.take(), Counts::default(), "it is kept");
    assert!(registry.in_memory().iter().any(|version| version.file.version == 2));

    let key = "models/close/000003/model.safetensors";
    let whole = std::fs::read(fixture.store.place(key)).unwrap();
    rewrite(&fixture, key, |bytes| bytes[..bytes.len() / 2].to_vec());
    assert!(registry.load("close", 3).unwrap().is_none());
    for _ in 0..2 {
        let served = registry.snapshot();
        let [problem] = served.problems.as_slice() else { panic!("{:?}", served.problems) };
        assert!(problem.starts_with("close@3: ") && problem.contains("cut short or changed"), "{problem}");
        assert_eq!(served.models["close"].n_versions() as u32, n_versions - 1);
        registry.refresh().unwrap();
    }
    rewrite(&fixture, key, |_| whole.clone());
    assert!(registry.load("close", 3).unwrap().is_some(), "a file that is restored is read again");
    registry.refresh().unwrap();
    assert_eq!(registry.snapshot().problems, Vec::<String>::new());
}

#[test]
fn a_folder_of_the_last_number_there_is_fails_the_training_and_is_named() {
    let fixture = fixture(1);
    fixture.commit(&rows(0..30));
    let model = || vec![linear()];
    assert_eq!(fixture.train(0.0, model()).failed, []);
    fixture.store.create("models/close/4294967295/model.json", b"{}").unwrap();
    fixture.commit(&rows(30..60));
    let report = fixture.train(0.0, model());
    assert!(report.failed[0].1.contains("no number is left after 4294967295"), "{report:?}");
}

/// What is said of a version besides it may be damaged, or of a later format: the version is there all the same.
#[test]
fn damaged_measures_train_nothing_again_and_stop_nobody() {
    let fixture = fixture(1);
    fixture.commit(&rows(0..50));
    assert_eq!(fixture.train(0.2, vec![linear()]).trained, [("close".to_owned(), 1)]);
    for key in ["models/close/000001/evaluations/000001.json", "models/close/common/000001.json"] {
        assert!(fixture.store.read(key).is_ok(), "{key}");
        std::fs::write(fixture.store.place(key), b"{}").unwrap();
    }
    assert_eq!(fixture.train(0.2, vec![linear()]).trained, []);
    fixture.commit(&rows(50..100));
    assert_eq!(fixture.train(0.2, vec![linear()]).trained, [("close".to_owned(), 2)]);
    assert_eq!(fixture.load("close", 2).file.batches.len(), 1);
}
