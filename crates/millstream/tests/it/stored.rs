//! A store that is damaged, and one that can only be read.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::common::{Bench, finish, until};
use serde_json::{Value, json};

const ONE_MODEL: &str = r#"
batch.parts = 3

[[model]]
name = "close"
algorithm = "linear_regression"
train_on = "each"
features = ["Timestamp"]
target = "Close"

[catalogue]
from = "batches"
id = "Timestamp"
title = "cast(Timestamp as varchar)"
"#;

fn file_of(bench: &Bench, batch: u32, prefix: &str) -> PathBuf {
    let folder = bench.path(&format!("millstream-data/batches/batch={batch:06}"));
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix)).unwrap()
}

fn change(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

#[test]
fn a_flipped_byte_is_an_error_that_names_the_file_and_nothing_else_suffers() {
    let bench = Bench::new(600, ONE_MODEL);
    bench.run_well(&[]);
    let part = file_of(&bench, 2, "part-");
    let whole = std::fs::read(&part).unwrap();
    let mut bytes = whole.clone();
    // In a page of values, where Parquet itself would read on with another number.
    bytes[60] ^= 0x10;
    std::fs::write(&part, bytes).unwrap();
    let name = part.file_name().unwrap().to_string_lossy().into_owned();

    let query = |sql: &str| finish(&bench.output(&["query", "test.toml", sql]));
    let (code, said) = query("select sum(Close) from batches");
    assert!(code == 1 && said.contains(&name) && said.contains("not the file that was written"), "{said}");
    assert_eq!(query("select sum(Close) from batches where _batch <> 2").0, 0);
    let (code, said) = finish(&bench.output(&["batches", "verify", "test.toml"]));
    assert!(code == 1 && said.contains(&name), "{said}");
    let (code, said) = finish(&bench.output(&["models", "verify", "test.toml", "close", "2"]));
    assert!(code == 1 && said.contains(&name), "{said}");
    assert_eq!(finish(&bench.output(&["models", "verify", "test.toml", "close", "3"])).0, 0);

    let served = bench.serving(&["serve", "test.toml"], |_| {});
    let damaged = served.get("/v1/batches/2/rows");
    assert_eq!(
        (damaged.status, damaged.json["error"]["code"].as_str()),
        (503, Some("damaged_store")),
        "{}",
        damaged.text
    );
    assert!(damaged.json["error"]["message"].as_str().unwrap().contains("batch 2"), "{}", damaged.text);
    let damaged = served.post("/v1/query", &json!({"sql": "select sum(Close) from batches"}).to_string());
    assert_eq!(damaged.status, 503, "{}", damaged.text);
    // Who runs it is told which file, and all else goes on.
    let status = served.ask("/v1/status");
    assert!(status["problems"].to_string().contains(&name), "{status}");
    assert_eq!(served.ask("/healthz")["status"], "degraded");
    assert_eq!(served.ask("/v1/batches/1/rows?limit=1")["rows"].as_array().unwrap().len(), 1);
    assert_eq!(served.ask("/v1/batches")["total"], 3);
    assert_eq!(served.get("/v1/models/close/predict?Timestamp=1").status, 200);
    assert_eq!(served.get("/").status, 200);
    // Restored, it is read again without a new start.
    std::fs::write(&part, whole).unwrap();
    assert_eq!(served.ask("/v1/batches/2/rows?limit=1")["rows"].as_array().unwrap().len(), 1);
    served.stopped();
}

#[test]
fn a_store_that_is_away_is_said_and_what_was_read_before_is_served_on() {
    let bench = Bench::new(600, ONE_MODEL);
    bench.run_well(&[]);
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    let problems = || served.ask("/healthz")["problems"].to_string();
    until("the catalogue is read", || (served.ask("/v1/status")["loading"] == json!([])).then_some(()));
    let (store, away) = (bench.path("millstream-data"), bench.path("away"));
    // Gone, and as a mount leaves it.
    for instead in [false, true] {
        std::fs::rename(&store, &away).unwrap();
        if instead {
            std::fs::create_dir(&store).unwrap();
        }
        until("the store is away", || problems().contains("the store does not answer").then_some(()));
        until("versions are away", || problems().contains("the registry cannot be read").then_some(()));
        let ready = served.get("/readyz");
        assert!(ready.status == 200 && ready.json["detail"].as_str().is_some(), "{}", ready.text);
        assert_eq!(served.get("/v1/models/close/predict?Timestamp=1").status, 200);
        assert_eq!(served.ask("/v1/models")["total"], 1);
        assert_eq!(served.ask("/v1/batches")["total"], 3);
        let rows = served.get("/v1/batches/1/rows");
        assert_eq!((rows.status, &rows.json["error"]["code"]), (503, &json!("store_away")), "{}", rows.text);
        if instead {
            std::fs::remove_dir(&store).unwrap();
        }
        std::fs::rename(&away, &store).unwrap();
        until("the store is back", || (problems() == "[]").then_some(()));
        assert_eq!(served.get("/v1/batches/1/rows").status, 200);
    }
    // What is damaged is said until it is read again.
    let part = file_of(&bench, 2, "part-");
    let whole = std::fs::read(&part).unwrap();
    std::fs::write(&part, &whole[1..]).unwrap();
    assert_eq!(served.get("/v1/batches/2/rows").status, 503);
    assert!(problems().contains("part-"), "{}", problems());
    std::fs::write(&part, whole).unwrap();
    until("it is read", || (served.get("/v1/batches/2/rows").status == 200).then_some(()));
    assert_eq!(problems(), "[]");
    served.stopped();
}

#[test]
fn a_manifest_that_does_not_add_up_is_an_error_and_no_total() {
    let bench = Bench::new(300, ONE_MODEL);
    bench.run_well(&[]);
    let (manifest, cut) = (file_of(&bench, 2, "_manifest-"), file_of(&bench, 2, "_cut"));
    let list = || finish(&bench.output(&["batches", "list", "test.toml"]));
    let check = |path: &Path, what: &dyn Fn(&mut Value)| {
        let whole = std::fs::read(path).unwrap();
        change(path, |value| what(value));
        let changed = std::fs::read_to_string(path).unwrap();
        let (code, said) = list();
        let place = "batch=000002/_";
        assert!(code == 1 && said.contains(place) && !said.contains("panicked"), "{changed}: {said}");
        let (code, said) = finish(&bench.output(&["batches", "verify", "test.toml"]));
        assert!(code == 1 && said.contains("not whole") && !said.contains(" rows: "), "{changed}: {said}");
        let (code, said) = finish(&bench.output(&["query", "test.toml", "select count(*) from batches"]));
        assert!(code == 1 && said.contains(place), "{changed}: {said}");
        std::fs::write(path, whole).unwrap();
    };
    check(&manifest, &|part| part["rows"] = json!(99));
    check(&manifest, &|part| part["rows"] = json!(u64::MAX));
    check(&manifest, &|part| part["end_offset"] = json!(i64::MAX));
    check(&manifest, &|part| part["first_offset"] = json!(-5));
    check(&manifest, &|part| (part["rows"], part["end_offset"]) = (json!(90), json!(190)));
    check(&manifest, &|part| part["file"] = json!("../../../../etc/passwd"));
    check(&cut, &|cut| cut["total"] = json!(201));
    check(&cut, &|cut| cut["ends"] = json!([0]));
    check(&cut, &|cut| cut["ends"] = json!([]));
    assert_eq!(list().0, 0);

    change(&manifest, |part| part["rows"] = json!(99));
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    served.wait_for_loaded();
    let damaged = served.get("/v1/batches");
    assert_eq!(
        (damaged.status, damaged.json["error"]["code"].as_str()),
        (503, Some("damaged_store")),
        "{}",
        damaged.text
    );
    assert_eq!(served.ask("/v1/batches/1")["rows"], 100);
    assert!(served.ask("/v1/status")["problems"].to_string().contains("batch=000002/_manifest-0000.json"));
    assert_eq!(served.get("/v1/models/close/predict?Timestamp=1").status, 200);
    assert!(served.get("/").text.contains("cannot be read"));
    let metrics = served.get("/metrics");
    assert!(metrics.status == 200 && !metrics.text.contains("millstream_batches "), "{}", metrics.text);
    served.stopped();
}

#[test]
fn a_query_that_asks_for_no_batches_needs_no_manifest() {
    let views = r#"
batch.parts = 3

[[table]]
name = "towns"
rows = [ { town = "Hull", size = 1 }, { town = "Leeds", size = 2 } ]

[[view]]
name = "towns_by_size"
sql = "select town from towns order by size"

[[view]]
name = "records"
sql = "select count(*) as n from batches"
"#;
    let bench = Bench::new(300, views);
    bench.run_well(&[]);
    let manifest = file_of(&bench, 2, "_manifest-");
    let whole = std::fs::read(&manifest).unwrap();
    change(&manifest, |part| part["rows"] = json!(99));
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    let query = |sql: &str| served.post("/v1/query", &json!({"sql": sql}).to_string());
    let of_batches = || [served.get("/v1/views/records"), query("select max(Close) as n from batches")];
    assert_eq!(served.ask("/v1/views/towns_by_size")["rows"][0]["town"], "Hull");
    assert_eq!(query("select sum(size) as n from towns").json["rows"][0]["n"], 3);
    for damaged in of_batches() {
        assert_eq!(
            (damaged.status, damaged.json["error"]["code"].as_str()),
            (503, Some("damaged_store")),
            "{}",
            damaged.text
        );
    }
    assert!(served.ask("/v1/status")["problems"].to_string().contains("batch=000002/_manifest-0000.json"));
    // Restored, it is read again without a new start.
    std::fs::write(&manifest, whole).unwrap();
    until("the batches are read again", || (served.get("/v1/batches").status == 200).then_some(()));
    for answer in of_batches() {
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert_eq!(served.ask("/v1/views/towns_by_size")["rows"][0]["town"], "Hull");
    served.stopped();
}

#[test]
fn a_batch_that_is_missing_between_others_is_an_error() {
    let bench = Bench::new(300, "batch.parts = 3\n");
    bench.run_well(&[]);
    for name in ["_cut", "_manifest-"] {
        let path = file_of(&bench, 2, name);
        let whole = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (code, said) = finish(&bench.output(&["batches", "list", "test.toml"]));
        assert!(code == 1 && said.contains(&path.file_name().unwrap().to_string_lossy().into_owned()), "{said}");
        let (code, said) = bench.run(&[]);
        assert!(code == 1 && said.contains("is missing"), "{said}");
        std::fs::write(&path, whole).unwrap();
    }
    bench.run_well(&[]);
}

/// Every file and folder, with its length and when it was changed: of a folder, when something was made or removed in it.
fn state(folder: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let meta = std::fs::metadata(&path).unwrap();
        if meta.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.push((path, if meta.is_dir() { 0 } else { meta.len() }, meta.modified().unwrap()));
    }
    found.sort();
    found
}

// Tests may run as root, whom no rights keep from writing: that nothing was written shows that nothing has to be.
#[test]
fn who_only_reads_writes_nothing_to_the_store() {
    let bench = Bench::new(300, ONE_MODEL);
    bench.run_well(&[]);
    let store = bench.path("millstream-data");
    let before = state(&store);
    for arguments in [
        &["batches", "list"][..],
        &["batches", "show", "1"],
        &["batches", "verify"],
        &["models", "list"],
        &["models", "verify", "close", "3"],
        &["query", "select count(*), avg(Close) from batches"],
    ] {
        let (command, rest) = arguments.split_at(if arguments[0] == "query" { 1 } else { 2 });
        let (code, said) = finish(&bench.output(&[command, &["test.toml"], rest].concat()));
        assert_eq!(code, 0, "{arguments:?}: {said}");
        assert_eq!(state(&store), before, "{arguments:?}");
    }
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    served.wait_for_loaded();
    assert_eq!(served.ask("/v1/batches")["total"], 3);
    assert_eq!(served.get("/v1/models/close/predict?Timestamp=1").status, 200);
    assert_eq!(served.ask("/v1/catalogue?limit=1")["total"], 300);
    served.send("/v1/query", &json!({"sql": "select count(*) from batches"}));
    served.stopped();
    assert_eq!(state(&store), before);
}
