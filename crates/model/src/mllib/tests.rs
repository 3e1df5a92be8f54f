//! Folders that a real Spark saved, each beside what that Spark answered (`ci/spark/golden.py`), whole and damaged.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use millstream_learn::Id;
use millstream_learn::top_n::Admit;
use millstream_store::LocalStore;
use serde_json::{Value, json};

use super::{FoldIn, Folder, ImportOptions, Limits, Saved, SavedError, SavedStage, import};
use crate::model::{Action, Ambiguous};
use crate::registry::{ListQuestion, OwnerTexts, Published, Row, Subject, Version};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/spark")
}

/// The folders of the cases of every release.
fn cases() -> Vec<PathBuf> {
    let folders = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = folders(&golden()).flat_map(|release| folders(&release)).collect();
    cases.sort();
    assert!(cases.len() > 20, "{cases:?}");
    cases
}

fn open(case: &Path) -> Folder {
    Folder::open(&LocalStore::open_reading(case), "model/", Limits::FOREIGN).unwrap()
}

#[test]
fn what_spark_saved_is_read() {
    for case in cases() {
        let read = Saved::read(&open(&case));
        match (case.ends_with("kmeans-cosine"), read) {
            (true, Err(error @ SavedError::Unsupported { .. })) => {
                assert!(error.to_string().contains("cosine"), "{error}")
            }
            (false, Ok(saved)) => assert!(saved.spark.starts_with(['3', '4']) && saved.saved_at_ms > 0, "{saved:?}"),
            (_, other) => panic!("{}: {other:?}", case.display()),
        }
    }
}

/// Every file of every model cut short at several places, emptied, and put in the place of another: read, or an error that names the
/// folder, and never a panic.
#[test]
fn a_folder_that_was_damaged_is_an_error() {
    let mut refused = 0;
    for case in cases() {
        let whole = open(&case);
        let names: Vec<String> = whole.file_names().map(str::to_owned).collect();
        for (at, name) in names.iter().enumerate() {
            let length = whole.bytes(name).len();
            let cuts = [0, 1, 7, length / 3, length / 2, length.saturating_sub(9), length.saturating_sub(1)];
            let cut = cuts.into_iter().map(|length| whole.with(name, |bytes| bytes.slice(..length.min(bytes.len()))));
            let other = &names[(at + 1) % names.len()];
            let swapped = whole.with(name, |_| whole.bytes(other));
            let gone = whole.without(name);
            for folder in cut.chain([swapped, gone]) {
                if let Err(error) = Saved::read(&folder) {
                    assert!(error.to_string().contains("model"), "{name}: {error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

/// Files of a few KB may say that they hold gigabytes, and a pipeline has many.
#[test]
fn all_stages_together_unpack_a_bounded_size() {
    const MOST: u64 = 1 << 20;
    let whole = open(&golden().join("4.0/pipeline-linear")).unpacking(MOST);
    Saved::read(&whole).unwrap();
    let taken = MOST - whole.unpacked_left();
    assert!(Saved::read(&whole.unpacking(taken)).is_ok());
    // The last stage has no more than the others left of it.
    let error = Saved::read(&whole.unpacking(taken - 1)).unwrap_err().to_string();
    assert!(error.contains("/6_LinearRegression_") && error.contains("when they are unpacked"), "{error}");
}

/// A sparse vector of a few bytes has as many numbers as it says.
#[test]
fn what_vectors_become_is_counted() {
    let whole = open(&golden().join("4.0/kmeans")).unpacking(1 << 20);
    let SavedStage::Kmeans(model) = Saved::read(&whole).unwrap().stage else { panic!("no k-means") };
    let taken = (1 << 20) - whole.unpacked_left();
    let numbers = size_of_val(&*model.centers) as u64;
    assert!(taken > numbers);
    let error = Saved::read(&whole.unpacking(taken - 1)).unwrap_err().to_string();
    assert!(error.contains("when they are unpacked"), "{error}");
}

fn options() -> ImportOptions {
    let fold_in = FoldIn { implicit: false, lambda: 0.1, alpha: 1.0, nonnegative: false };
    ImportOptions { features: None, fold_in, now_ms: 1 }
}

/// The folder of a case as a version of `m` in a store of its own; and that the same folder makes no other one.
fn imported(case: &Path) -> Version {
    let place = tempfile::tempdir().unwrap();
    let store = LocalStore::open(place.path()).unwrap();
    let folder = open(case);
    assert_eq!(import(&store, "m", &folder, &options()).unwrap(), Published::Mine(1), "{}", case.display());
    assert_eq!(import(&store, "m", &folder, &options()).unwrap(), Published::Already(1));
    Version::load(&store, "m", 1, &OwnerTexts::default()).unwrap()
}

fn answers(case: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(case.join("answers.json")).unwrap()).unwrap()
}

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() <= tolerance * expected.abs().max(1.0), "{what}: {found}, Spark {expected}");
}

/// Asks what Spark was asked; answers how many rows were compared.
fn answers_as_spark(version: &Version, case: &Path) -> usize {
    let mut compared = 0;
    let tolerance = if version.recommender().is_some() { 1e-5 } else { 1e-9 };
    let classes = version.file.task.classes().to_vec();
    for answer in answers(case)["answers"].as_array().unwrap() {
        let given = answer["row"].as_object().unwrap();
        // What the model does not read is not looked at; Spark refuses a label that it does not know, also where nothing takes it.
        let row: Row =
            given.iter().filter(|(name, _)| version.is_input(name)).map(|(k, v)| (k.clone(), v.clone())).collect();
        let what = format!("{} {answer}", case.display());
        let found = version.predict(std::slice::from_ref(&row));
        let Some(expected) = answer["prediction"].as_f64() else {
            let unread = row.len() < given.len() && [json!("castle"), Value::Null].contains(&given["kind"]);
            assert!(found.is_err() || unread, "{what}: {found:?}");
            continue;
        };
        let found = found.unwrap_or_else(|fault| panic!("{what}: {fault}")).remove(0);
        compared += 1;
        if classes.is_empty() {
            near(found.value.as_f64().unwrap(), expected, tolerance, &what);
            continue;
        }
        let class = (0_u32..).zip(&classes).find(|(number, _)| f64::from(*number).total_cmp(&expected).is_eq());
        assert_eq!(Some(&found.value), class.map(|(_, class)| class), "{what}");
        assert!(answer.get("named").is_none_or(|named| *named == found.value), "{what}");
        let probabilities = found.probability.unwrap();
        for (found, expected) in probabilities.values().zip(answer["probability"].as_array().unwrap()) {
            near(found.as_f64().unwrap(), expected.as_f64().unwrap(), tolerance, &what);
        }
    }
    compared
}

/// Rows with unseen categories, nulls, the ends of buckets, and ids that nobody had.
#[test]
fn an_imported_model_answers_as_spark_does() {
    let mut compared = 0;
    for case in cases().into_iter().filter(|case| !case.ends_with("kmeans-cosine")) {
        let version = imported(&case);
        assert!(version.file.imported.is_some() && version.file.batches.is_empty());
        compared += answers_as_spark(&version, &case);
    }
    assert!(compared > 200, "{compared}");
}

/// Imports came later, in format 1: what was stored of them must always load, and is never edited.
#[test]
fn what_was_stored_of_imports_still_loads_and_answers() {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("../millstream/testdata/golden/format-1-imports");
    let store = LocalStore::open_reading(&stored);
    for (model, case) in [("films", "4.0/als"), ("groups", "4.0/kmeans"), ("sold", "4.0/pipeline-forest")] {
        let version = Version::load(&store, model, 1, &OwnerTexts::default()).unwrap();
        assert!(answers_as_spark(&version, &golden().join(case)) > 3);
        let text = std::fs::read(stored.join(format!("models/{model}/000001/model.json"))).unwrap();
        assert_eq!(serde_json::to_value(&version.file).unwrap(), serde_json::from_slice::<Value>(&text).unwrap());
    }
}

#[test]
fn an_imported_recommender_lists_what_spark_lists() {
    for case in cases().into_iter().filter(|case| answers(case).get("recommend").is_some()) {
        let version = imported(&case);
        let recommender = version.recommender().unwrap();
        for list in answers(&case)["recommend"].as_array().unwrap() {
            let user = recommender.users.code(Id::Integer(list["user"].as_i64().unwrap())).unwrap();
            let subject = Subject::User(recommender.model.user(user));
            let admit = Admit { exclude: &[], only: None };
            let question = ListQuestion {
                action: Action::Recommend,
                subject,
                admit,
                n: 5,
                offset: 0,
                ambiguous: Ambiguous::Error,
            };
            let page = version.list(&question).unwrap();
            for ((_, found), expected) in page.rows.iter().zip(list["items"].as_array().unwrap()) {
                assert_eq!(found["id"], expected[0], "{list}");
                near(found["score"].as_f64().unwrap(), expected[1].as_f64().unwrap(), 1e-5, &list.to_string());
            }
            assert_eq!(page.rows.len(), 5);
        }
        // Somebody new, and what is like an item.
        let vector = recommender.model.fold_in(&[0, 2], &[5.0, 1.0]);
        assert!(vector.iter().any(|value| *value != 0.0) && vector.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn what_pipelines_do_stands_in_features() {
    let shown = |case: &str| {
        let version = imported(&golden().join("4.0").join(case));
        let inputs: Vec<String> =
            version.file.inputs.iter().map(|input| format!("{}: {}", input.name, input.kind.name())).collect();
        let features: Vec<String> = version.file.features.iter().map(|feature| feature.expression.clone()).collect();
        (version.file.algorithm.clone(), inputs.join(", "), features.join(", "), version.file.target.clone())
    };
    let (algorithm, inputs, features, target) = shown("pipeline-linear");
    assert_eq!((algorithm.as_str(), target.as_str()), ("linear_regression", "price"));
    assert_eq!(inputs, "area: float64, rooms: float64, city: utf8, kind: utf8");
    assert_eq!(features, "area, rooms, coalesce(\"city\", ''), coalesce(\"kind\", '')");
    let (algorithm, inputs, features, target) = shown("pipeline-tree");
    assert_eq!((algorithm.as_str(), target.as_str()), ("random_forest", "kind"));
    assert_eq!(
        (inputs.as_str(), features.as_str()),
        ("city: utf8, rooms: float64, area: float64", "city, rooms, area")
    );
}

/// Whatever of a folder is damaged: an error, or a version that answers or refuses rows.
#[test]
fn a_damaged_folder_never_makes_a_version_that_panics() {
    let mut tried = BTreeSet::new();
    for case in ["als", "kmeans", "pipeline-linear", "pipeline-forest", "boosted-classes", "logistic-sparse"] {
        let whole = open(&golden().join("4.0").join(case));
        let names: Vec<String> = whole.file_names().map(str::to_owned).collect();
        for name in names.iter().filter(|name| name.contains("metadata/")) {
            let text = String::from_utf8(whole.bytes(name).to_vec()).unwrap();
            for (from, to) in [
                ("\"numFeatures\":4", "\"numFeatures\":3"),
                ("\"numClasses\":3", "\"numClasses\":1000000000"),
                ("\"numTrees\":5", "\"numTrees\":4"),
                ("\"rank\":3", "\"rank\":4"),
                ("_index\"", "_other\""),
                ("\"city\"", "\"city_index\""),
                ("\"features\"", "\"scaled\""),
                ("keep", "maybe"),
                ("60.0", "160.0"),
            ] {
                let Some(changed) = text.contains(from).then(|| text.replace(from, to)) else { continue };
                tried.insert(from);
                let place = tempfile::tempdir().unwrap();
                let store = LocalStore::open(place.path()).unwrap();
                let folder = whole.with(name, |_| changed.into_bytes().into());
                match import(&store, "m", &folder, &options()) {
                    Err(error) => assert!(error.to_string().contains("model"), "{error}"),
                    Ok(_) => {
                        let version = Version::load(&store, "m", 1, &OwnerTexts::default()).unwrap();
                        drop(version.predict(&[Row::new()]));
                    }
                }
            }
        }
    }
    assert_eq!(tried.len(), 9, "each is in some folder: {tried:?}");
}

#[test]
fn numbers_of_a_bare_vector_are_called_as_told() {
    let place = tempfile::tempdir().unwrap();
    let store = LocalStore::open(place.path()).unwrap();
    let folder = open(&golden().join("4.0/linear"));
    let named = |names: &[&str]| {
        let features = Some(names.iter().map(|name| (*name).to_owned()).collect());
        import(&store, "m", &folder, &ImportOptions { features, ..options() })
    };
    let error = named(&["a", "b"]).unwrap_err().to_string();
    assert!(error.contains("--features has 2 names, and the model takes 4 numbers"), "{error}");
    assert_eq!(named(&["a", "b", "c", "d"]).unwrap(), Published::Mine(1));
    assert_eq!(import(&store, "m", &folder, &options()).unwrap(), Published::Mine(2));
    assert_eq!(named(&["a", "b", "c", "d"]).unwrap(), Published::Already(1));
    let version = Version::load(&store, "m", 1, &OwnerTexts::default()).unwrap();
    assert!(version.is_input("d") && !version.is_input("features_3"));
    let piped = open(&golden().join("4.0/pipeline-tree"));
    let options = ImportOptions { features: Some(vec!["a".to_owned()]), ..options() };
    let error = import(&store, "m", &piped, &options).unwrap_err().to_string();
    assert!(error.contains("leave --features out"), "{error}");
}

/// A number that nobody measured is no 0.
#[test]
fn what_spark_does_not_save_of_clusters_is_null() {
    let place = tempfile::tempdir().unwrap();
    let store = LocalStore::open(place.path()).unwrap();
    import(&store, "m", &open(&golden().join("4.0/kmeans")), &options()).unwrap();
    let path = place.path().join("models/m/000001/model.json");
    let mut stored: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let unknown = ["inertia", "iterations", "converged"];
    assert!(unknown.iter().all(|name| stored["task"][name].is_null()), "{stored}");
    // As it was written before.
    for (name, value) in unknown.iter().zip([json!(0.0), json!(0), json!(true)]) {
        stored["task"][name] = value;
    }
    stored["imported"].as_object_mut().unwrap().remove("parameters").unwrap();
    std::fs::write(&path, stored.to_string()).unwrap();
    let version = Version::load(&store, "m", 1, &OwnerTexts::default()).unwrap();
    let told = Value::Object(version.clusters().unwrap().to_json());
    assert!(told["inertia"].is_null() && told["iterations"].is_null(), "{told}");
    let clusters = told["clusters"].as_array().unwrap();
    assert!(!clusters.is_empty());
    for cluster in clusters {
        assert!(["size", "share"].iter().all(|name| cluster[name].is_null()), "{cluster}");
        assert!(cluster["spread"].as_object().unwrap().values().all(Value::is_null), "{cluster}");
        assert!(cluster["center"].as_object().unwrap().values().all(|center| !center.is_null()), "{cluster}");
    }
}

/// Under our names what means the same, and the rest by Spark's.
#[test]
fn what_is_known_of_the_fit_stands_in_its_parameters() {
    let told = |case: &str| {
        let file = imported(&golden().join(case)).file;
        (Value::Object(file.parameters), Value::Object(file.imported.unwrap().parameters))
    };
    assert_eq!(told("3.5/als").0, json!({ "rank": 3 }));
    assert_eq!(told("4.0/kmeans").0, json!({ "k": 3, "max_iterations": 20 }));
    let (linear, rest) = told("4.0/linear");
    assert_eq!((&linear, &rest["regParam"], &rest["maxIter"]), (&json!({}), &json!(0.0), &json!(100)));
    let (logistic, rest) = told("4.0/logistic-sparse");
    assert_eq!(logistic, json!({ "tolerance": 1e-6, "max_iterations": 100 }));
    assert_eq!((&rest["elasticNetParam"], rest.get("tol")), (&json!(1.0), None));
    for release in ["3.5", "4.0"] {
        let (forest, rest) = told(&format!("{release}/pipeline-forest"));
        assert_eq!(forest, json!({ "trees": 5, "max_depth": 4, "min_leaf": 1, "max_samples": 1.0, "bins": 32 }));
        assert_eq!((&rest["featureSubsetStrategy"], &rest["numClasses"]), (&json!("auto"), &json!(3)));
    }
    let boosted = json!({
        "rounds": 4, "learning_rate": 0.1, "max_depth": 3, "min_leaf": 1, "max_samples": 1.0, "bins": 32,
    });
    assert_eq!(told("4.0/boosted-classes").0, boosted);
}
