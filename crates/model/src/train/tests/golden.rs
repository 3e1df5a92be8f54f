//! Format 1, as it was first released: what lies in `testdata/golden/format-1` must always load and answer as it did. The
//! files are never edited; another format joins them in a folder of its own.

use std::path::{Path, PathBuf};

use millstream_learn::Algorithm::{GradientBoosting, LinearRegression, LogisticRegression, RandomForest};
use millstream_learn::top_n::Admit;
use millstream_learn::{Id, Ids, ParamValue};
use millstream_store::{LocalStore, Store};
use serde_json::{Value, json};

use super::grouping;
use super::recommending::recommenders;
use crate::model::{Action, Ambiguous, Categorical, Missing, Model, Unseen};
use crate::registry::{
    ListQuestion, OwnerTexts, Subject, Version, decision_key, evaluations_prefix, insights_key, keep_decision,
    keep_insights, model_key, read_decision, read_insights,
};
use crate::train::fixture::*;

const FEATURES: &[&str] = &["Open", "Town/City", "Timestamp / 60"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../millstream/testdata/golden/format-1")
}

/// Recommenders came later, in the same format, and then biases: the folder, and the parameters of `taste`.
fn golden_recommenders() -> [(PathBuf, Vec<(&'static str, ParamValue)>); 2] {
    let folder = |name| Path::new(env!("CARGO_MANIFEST_DIR")).join("../millstream/testdata/golden").join(name);
    let rank = ("rank", ParamValue::Integer(3));
    [
        (folder("format-1-recommenders"), vec![rank.clone()]),
        (folder("format-1-biases"), vec![rank, ("biases", ParamValue::Bool(true))]),
    ]
}

fn models() -> Vec<Model> {
    let categorical = [("Town/City".to_owned(), Categorical { max: 2, unseen: Unseen::Other })];
    let price = with(model("price", RandomForest, FEATURES, "ln(Close)"), |price| {
        price.output = Some("exp(prediction)".to_owned());
        price.baseline = Some("Open".to_owned());
        price.missing = Missing::Category;
    });
    vec![
        with(model("close", LinearRegression, FEATURES, "Close"), |close| {
            close.categorical = categorical.into();
            close.missing = Missing::Mean;
        }),
        Model { filter: Some("Open > 0".to_owned()), ..model("trend", LogisticRegression, FEATURES, "trend") },
        price,
        model("town", RandomForest, &["Open", "Timestamp"], "Town/City"),
    ]
}

/// Boosting came later, in the same format.
fn golden_boosting() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../millstream/testdata/golden/format-1-boosting")
}

fn boosted() -> Vec<Model> {
    let close = with(model("close", GradientBoosting, FEATURES, "ln(Close)"), |close| {
        close.output = Some("exp(prediction)".to_owned());
        close.missing = Missing::Category;
    });
    vec![
        close,
        model("town", GradientBoosting, &["Open", "Close"], "Town/City"),
        model("trend", GradientBoosting, &["Open"], "trend"),
    ]
}

fn requests() -> Vec<Value> {
    let mut rows: Vec<Value> = [0, 1, 2, 57].map(row).to_vec();
    rows.push(row_with(3, "Town/City", json!("Paris")));
    rows
}

fn answers(version: &Version) -> Value {
    let columns: Vec<&str> = version.file.inputs.iter().map(|input| input.name.as_str()).collect();
    let rows: Vec<_> = requests().iter().map(|row| request(row, &columns)).collect();
    let answers = version.predict(&rows).unwrap();
    let shown = answers.iter().map(
        |answer| json!({ "prediction": answer.value, "probability": answer.probability, "warnings": answer.warnings }),
    );
    shown.collect()
}

#[test]
fn what_format_1_stored_still_loads_and_answers() {
    still_loads_and_answers(&golden(), 4);
}

#[test]
fn what_format_1_stored_of_boosting_still_loads_and_answers() {
    still_loads_and_answers(&golden_boosting(), 3);
}

fn still_loads_and_answers(golden: &Path, n_models: usize) {
    let folder = tempfile::tempdir().unwrap();
    copy(golden, folder.path());
    let store = LocalStore::open(folder.path()).unwrap();
    let expected: Value = serde_json::from_slice(&store.read("answers.json").unwrap()).unwrap();
    for (model, expected) in expected.as_object().unwrap() {
        let version = Version::load(&store, model, 1, &OwnerTexts::default()).unwrap();
        assert_close(&answers(&version), expected, model);
        assert!(!version.evaluations.is_empty());
        // Every field that was written is still read.
        let stored: Value =
            serde_json::from_slice(&store.read(&format!("models/{model}/000001/model.json")).unwrap()).unwrap();
        assert_eq!(serde_json::to_value(&version.file).unwrap(), stored);
        let stored: Value =
            serde_json::from_slice(&store.read(&format!("models/{model}/000001/evaluations/000001.json")).unwrap())
                .unwrap();
        assert_eq!(serde_json::to_value(&version.evaluations[0]).unwrap(), stored);
    }
    assert_eq!(expected.as_object().unwrap().len(), n_models);
}

/// Pairs of every kind: rated and not, an id beyond 2^53 as a number and as text.
fn pairs(version: &Version) -> Value {
    let recommender = version.recommender().unwrap();
    let id = |ids: &Ids, code: u32| match ids.get(code).unwrap() {
        Id::Integer(integer) => json!(integer),
        Id::Text(text) => json!(text),
    };
    let users = (0..4).map(|user| id(&recommender.users, user));
    users
        .flat_map(|user| (0..3).map(move |item| json!({ "user": user, "item": id(&recommender.items, item) })))
        .collect()
}

fn estimates(version: &Version, pairs: &Value) -> Value {
    let rows: Vec<_> = pairs.as_array().unwrap().iter().map(object).collect();
    version.predict(&rows).unwrap().into_iter().map(|answer| answer.value).collect()
}

/// The best three items of the first four users. Of the first recommenders nobody kept them.
fn lists(version: &Version) -> Value {
    let recommender = version.recommender().unwrap();
    let list = |user: u32| {
        let (action, ambiguous) = (Action::Recommend, Ambiguous::default());
        let subject = Subject::User(recommender.model.user(user));
        let question = ListQuestion { action, subject, admit: Admit::default(), n: 3, offset: 0, ambiguous };
        let rows = version.list(&question).unwrap().rows.into_iter();
        rows.map(|(_, row)| Value::Object(row)).collect::<Value>()
    };
    (0..4).map(list).collect()
}

#[test]
fn what_format_1_stored_of_recommenders_still_loads_and_answers() {
    for (golden, _) in golden_recommenders() {
        let folder = tempfile::tempdir().unwrap();
        copy(&golden, folder.path());
        let store = LocalStore::open(folder.path()).unwrap();
        let expected: Value = serde_json::from_slice(&store.read("answers.json").unwrap()).unwrap();
        let expected = expected.as_array().unwrap();
        assert_eq!(expected.len(), 3);
        for one in expected {
            let (model, number) = (one["model"].as_str().unwrap(), one["version"].as_u64().unwrap() as u32);
            let version = Version::load(&store, model, number, &OwnerTexts::default()).unwrap();
            assert_close(&estimates(&version, &one["pairs"]), &one["estimates"], model);
            if let Some(expected) = one.get("lists") {
                assert_close(&lists(&version), expected, model);
            }
            let stored: Value = serde_json::from_slice(&store.read(&model_key(model, number)).unwrap()).unwrap();
            assert_eq!(serde_json::to_value(&version.file).unwrap(), stored);
            let key = format!("{}000001.json", evaluations_prefix(model, number));
            let stored: Value = serde_json::from_slice(&store.read(&key).unwrap()).unwrap();
            assert_eq!(serde_json::to_value(&version.evaluations[0]).unwrap(), stored);
        }
    }
}

/// Made the files once, as `write_the_golden_files`.
#[test]
#[ignore = "writes the golden files of a new format"]
fn write_the_golden_recommenders() {
    let new = golden_recommenders().into_iter().find(|(golden, _)| !golden.exists());
    let (golden, params) = new.expect("golden files are never edited");
    let fixture = recommenders(&params);
    let mut expected = Vec::new();
    for key in fixture.store.list("models/").unwrap() {
        let target = golden.join(&key);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, fixture.store.read(&key).unwrap()).unwrap();
    }
    for (model, number) in [("taste", 1), ("taste", 2), ("watched", 1)] {
        let version = fixture.load(model, number);
        let pairs = pairs(&version);
        let estimates = estimates(&version, &pairs);
        let lists = lists(&version);
        let one = json!({ "model": model, "version": number, "pairs": pairs, "estimates": estimates, "lists": lists });
        expected.push(one);
    }
    let answers = serde_json::to_vec_pretty(&Value::Array(expected)).unwrap();
    std::fs::write(golden.join("answers.json"), answers).unwrap();
}

/// What was found of versions of the demos: a regression with coefficients and one without, a classification, clusters, a recommender.
#[test]
fn what_format_1_stored_of_insights_still_loads() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../millstream/testdata/golden/format-1-insights");
    let folder = tempfile::tempdir().unwrap();
    copy(&golden, folder.path());
    let store = LocalStore::open(folder.path()).unwrap();
    for model in ["price", "high", "trend", "kind", "taste"] {
        let found = read_insights(&store, model, 1).unwrap().unwrap();
        let stored: Value = serde_json::from_slice(&store.read(&insights_key(model, 1)).unwrap()).unwrap();
        assert_eq!(serde_json::to_value(&found).unwrap(), stored, "{model}");
        assert_eq!(keep_insights(&store, model, 1, &found).unwrap(), found);
    }
    assert_eq!(store.list("models/").unwrap().len(), 5);
    assert_eq!(read_insights(&store, "price", 2).unwrap(), None);
}

/// One where there was no champion, one that promotes, one that does not.
#[test]
fn what_format_1_stored_of_decisions_still_loads() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../millstream/testdata/golden/format-1-decisions");
    let folder = tempfile::tempdir().unwrap();
    copy(&golden, folder.path());
    let store = LocalStore::open(folder.path()).unwrap();
    for (version, promote) in [(1, true), (2, true), (3, false)] {
        let found = read_decision(&store, "close", version).unwrap().unwrap();
        let stored: Value = serde_json::from_slice(&store.read(&decision_key("close", version)).unwrap()).unwrap();
        assert_eq!((serde_json::to_value(&found).unwrap(), found.promote), (stored, promote));
        assert_eq!(keep_decision(&store, &found).unwrap(), found);
    }
    assert_eq!(read_decision(&store, "close", 4).unwrap(), None);
}

fn golden_groups() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../millstream/testdata/golden/format-1-groups")
}

#[test]
fn what_format_1_stored_of_groups_still_loads_and_answers() {
    let folder = tempfile::tempdir().unwrap();
    copy(&golden_groups(), folder.path());
    let store = LocalStore::open(folder.path()).unwrap();
    let expected: Value = serde_json::from_slice(&store.read("answers.json").unwrap()).unwrap();
    for (model, expected) in expected.as_object().unwrap() {
        let version = Version::load(&store, model, 1, &OwnerTexts::default()).unwrap();
        assert_close(&grouping::answers(&version), expected, model);
        let stored: Value = serde_json::from_slice(&store.read(&model_key(model, 1)).unwrap()).unwrap();
        assert_eq!(serde_json::to_value(&version.file).unwrap(), stored);
        let key = format!("{}000001.json", evaluations_prefix(model, 1));
        let stored: Value = serde_json::from_slice(&store.read(&key).unwrap()).unwrap();
        assert_eq!(serde_json::to_value(&version.evaluations[0]).unwrap(), stored);
    }
    assert_eq!(expected.as_object().unwrap().len(), 4);
}

/// Made the files once, as `write_the_golden_files`.
#[test]
#[ignore = "writes the golden files of a new format"]
fn write_the_golden_groups() {
    assert!(!golden_groups().exists(), "golden files are never edited");
    let fixture = grouping::grouped();
    let mut expected = serde_json::Map::new();
    for key in fixture.store.list("models/").unwrap() {
        if !key.contains("/000001/") {
            continue;
        }
        let target = golden_groups().join(&key);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, fixture.store.read(&key).unwrap()).unwrap();
    }
    for model in ["groups", "like", "near", "best"] {
        expected.insert(model.to_owned(), grouping::answers(&fixture.load(model, 1)));
    }
    std::fs::write(golden_groups().join("answers.json"), serde_json::to_vec_pretty(&Value::Object(expected)).unwrap())
        .unwrap();
}

/// Another processor may differ in the last bits of a sum.
fn assert_close(found: &Value, expected: &Value, place: &str) {
    match (found, expected) {
        (Value::Number(found), Value::Number(expected)) => {
            let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
            assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{place}: {found} is not {expected}");
        }
        (Value::Array(found), Value::Array(expected)) => {
            assert_eq!(found.len(), expected.len(), "{place}");
            found.iter().zip(expected).for_each(|(found, expected)| assert_close(found, expected, place));
        }
        (Value::Object(found), Value::Object(expected)) => {
            assert_eq!(found.len(), expected.len(), "{place}");
            expected.iter().for_each(|(key, expected)| assert_close(&found[key], expected, place));
        }
        _ => assert_eq!(found, expected, "{place}"),
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Made the files once. Run again it refuses: a format that is out is never written over.
#[test]
#[ignore = "writes the golden files of a new format"]
fn write_the_golden_files() {
    write(&golden(), models());
}

/// Made the files once, as `write_the_golden_files`.
#[test]
#[ignore = "writes the golden files of a new format"]
fn write_the_golden_boosting() {
    write(&golden_boosting(), boosted());
}

fn write(golden: &Path, models: Vec<Model>) {
    assert!(!golden.exists(), "golden files are never edited");
    let fixture = fixture(1);
    fixture.commit(&rows(0..60));
    assert_eq!(fixture.train(0.2, models.clone()).failed, []);
    let mut expected = serde_json::Map::new();
    for key in fixture.store.list("models/").unwrap() {
        let target = golden.join(&key);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, fixture.store.read(&key).unwrap()).unwrap();
    }
    for model in models {
        expected.insert(model.name.clone(), answers(&fixture.load(&model.name, 1)));
    }
    std::fs::write(golden.join("answers.json"), serde_json::to_vec_pretty(&Value::Object(expected)).unwrap()).unwrap();
}
