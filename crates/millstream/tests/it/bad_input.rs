//! Wrong inputs: a clear error that says what to mend, exit code 1 or 78, nothing lost, nothing panics.

use crate::common::{Bench, MODELS, finish, small_disk};

const GOOD: &[u8] = b"a,b,c\n1,2,x\n2,3,y\n3,5,x\n4,7,y\n5,9,x\n6,11,y\n";
const MODEL: &str = "batch.parts = 1\ntrain.holdout = 0\n[[model]]\nname = \"m\"\nalgorithm = \"linear_regression\"\nfeatures = [\"a\"]\ntarget = \"b\"\n";

/// Runs and expects a failure that says every one of `expected`.
fn check(source: &[u8], rest: &str, more: &[&str], code: i32, expected: &[&str]) {
    let bench = Bench::with_source(source, rest);
    let (found, said) = bench.run(more);
    assert_eq!(found, code, "{said}");
    for words in expected {
        assert!(said.contains(words), "{words:?} is not in:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_source_that_is_no_source() {
    check(GOOD, MODEL, &["--set", "source.path=nowhere.csv"], 1, &["nowhere.csv: no such file"]);
    let empty = tempfile::tempdir().unwrap();
    let folder = format!("source.path={}", empty.path().display());
    check(GOOD, MODEL, &["--set", &folder], 1, &["the folder holds no csv file"]);
    check(b"", MODEL, &[], 1, &["rows.csv: the file is empty"]);
    check(b"a,b,c\n", MODEL, &[], 1, &["a header line and no row"]);
    check(b"a;b;c\n1,5;2;3\n1,7;2;3\n", MODEL, &[], 1, &["line 2 has 2 fields", "separator = \";\""]);
    check(
        b"a,b\nx,1\ny,2\n",
        "batch.parts = 1\nschema.columns.a = \"int64\"\n",
        &[],
        1,
        &["all 2 records of the stream are rejects", "_rejects-0000-"],
    );
    check(b"\xff\xfea\0,\0b\0\n\0", MODEL, &[], 1, &["UTF-16"]);
}

#[test]
fn a_stream_that_is_not_what_it_claims() {
    let mut ragged = b"a,b\n".to_vec();
    ragged.extend(b"1,2\nx\n".repeat(30));
    check(
        &ragged,
        "batch.parts = 1\nbatch.max_rejects = 10\n",
        &[],
        1,
        &["11 rejects", "batch.max_rejects = 10", "1 fields, the header has 2"],
    );
}

#[test]
fn columns_and_targets_that_cannot_serve() {
    let model = |lines: &str| format!("batch.parts = 1\ntrain.holdout = 0\n[[model]]\nname = \"m\"\n{lines}");
    check(
        GOOD,
        &model("algorithm = \"linear_regression\"\nfeatures = [\"A\"]\ntarget = \"b\"\n"),
        &[],
        78,
        &["test.toml: model.m.features", "`a`"],
    );
    check(
        GOOD,
        &model("algorithm = \"linear_regression\"\nfeatures = [\"a\"]\ntarget = \"c\"\n"),
        &[],
        78,
        &["model.m.target"],
    );
    check(
        GOOD,
        &model("algorithm = \"linear_regression\"\nfeatures = [\"sum(a)\"]\ntarget = \"b\"\n"),
        &[],
        78,
        &["sum"],
    );
    check(
        GOOD,
        &model(
            "algorithm = \"logistic_regression\"\nfeatures = [\"a\"]\ntarget = \"case when a > 100 then 'big' else 'small' end\"\n",
        ),
        &[],
        1,
        &["one class"],
    );
    let nulls = b"a,b\n1,\n2,\n3,\n";
    check(
        nulls,
        &model(
            "algorithm = \"linear_regression\"\nfeatures = [\"a\"]\ntarget = \"b\"\n[schema.columns]\nb = \"float64\"\n",
        ),
        &[],
        1,
        &["model m", "null"],
    );
}

#[test]
fn ten_faults_are_told_at_once() {
    let rest = "batch.rows = 0\nbatch.formt = \"csv\"\nstream.partitions = 0\ntrain.holdout = 2\nsource.delay = \"soon\"\n\
                [[model]]\nname = \"m\"\nalgorithm = \"magic\"\nfeatures = []\n[[route]]\npath = \"/v1/x\"\nmodel = \"n\"\n";
    let bench = Bench::with_source(GOOD, rest);
    let (code, said) = bench.run(&[]);
    assert_eq!(code, 78, "{said}");
    assert!(said.lines().filter(|line| line.starts_with("test.toml: ")).count() >= 10, "{said}");
    assert!(said.contains("batch.formt: unknown key; did you mean `format`?"), "{said}");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    check(
        GOOD,
        MODEL,
        &["--set", &format!("serve.listen={address}")],
        1,
        &[&format!("serve.listen = {address}: the port is in use")],
    );
    // The broker's own port is no reason to fail.
    let bench = Bench::with_source(GOOD, MODEL);
    let said = bench.run_well(&["--set", &format!("stream.listen={address}")]);
    assert!(said.contains(&format!("stream.listen = {address} is taken")), "{said}");
}

#[test]
fn a_store_that_cannot_be_written() {
    let bench = Bench::with_source(GOOD, MODEL);
    std::fs::write(bench.path("file"), b"").unwrap();
    let (code, said) = bench.run(&["--set", "store.url=file:file/store"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("store.url"), "{said}");
}

/// Runs on a disk of `size`, expects `said`; then on a larger one, where all must be whole.
fn check_full_disk(size: &str, rest: &str, said: &str, whole: &str) {
    let bench = Bench::new(60_000, rest);
    let Some(disk) = small_disk(&bench, size, "a full disk") else { return };
    let store = ["--set", "store.url=file:small/store"];
    let full = bench.run(&store);
    // Room again: the same command goes on.
    disk.grow("64m");
    let again = bench.run(&store);
    let verified = finish(&bench.output(&[&["batches", "verify", "test.toml"], &store[..]].concat()));
    assert_eq!(full.0, 1, "{}", full.1);
    assert!(full.1.contains(said), "{}", full.1);
    assert_eq!(again.0, 0, "{}", again.1);
    assert!(verified.1.contains(whole), "{}", verified.1);
}

#[test]
fn a_full_store_in_the_middle_loses_nothing() {
    check_full_disk(
        "1500k",
        "batch.parts = 2\nstream.data = \"topic\"\n",
        "the store is full",
        "2 batches, 60000 rows: whole",
    );
}

#[test]
fn a_full_log_in_the_middle_loses_nothing() {
    check_full_disk("700k", "batch.parts = 1\n", "the embedded broker's log is full", "1 batches, 60000 rows: whole");
}

#[test]
fn a_source_that_changed_between_two_runs() {
    let bench = Bench::with_source(GOOD, MODEL);
    bench.run_well(&[]);
    std::fs::write(bench.path("rows.csv"), b"a,b,c\n1,2,x\n").unwrap();
    let (code, said) = bench.run(&[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the source changed since this store was begun"), "{said}");
}

#[test]
fn a_topic_that_was_deleted_or_belongs_to_others() {
    let bench = Bench::with_source(GOOD, MODEL);
    bench.run_well(&[]);
    std::fs::remove_dir_all(bench.path("millstream-data/topic")).unwrap();
    let (code, said) = bench.run(&[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("this store belongs to another cluster"), "{said}");
    let (code, said) = bench.run(&["--set", "batch.parts=2", "--set", "store.url=file:other"]);
    assert_eq!(code, 0, "a new store is begun anew: {said}");
    let (code, said) = bench.run(&["--set", "batch.parts=3", "--set", "store.url=file:other"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the rule changed"), "{said}");
}

#[test]
fn a_model_file_cut_short_is_said_and_the_others_are_served() {
    let bench = Bench::new(600, &format!("batch.parts = 2\n{MODELS}"));
    bench.run_well(&[]);
    let file = bench.path("millstream-data/models/close/000002/model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let (code, said) = finish(&bench.output(&["models", "verify", "test.toml", "close", "2"]));
    assert_eq!((code, said.contains("model.safetensors")), (1, true), "{said}");
    let served = bench.serve(&[]);
    assert_eq!(served.get("/v1/models/close/predict?Timestamp=1500000000").json["version"], 1);
    assert_eq!(served.get("/v1/models/close/versions/2/predict?Timestamp=1500000000").status, 404);
    assert_eq!(served.get("/v1/models/high/predict?Open=1&Volume=1").status, 200);
}

#[test]
fn new_does_not_overwrite_and_what_it_writes_runs() {
    let bench = Bench::with_source(GOOD, MODEL);
    let (code, said) = finish(&bench.output(&["new", "mine", "--from", "rows.csv"]));
    assert_eq!(code, 0, "{said}");
    let (code, said) = finish(&bench.output(&["new", "mine"]));
    assert_eq!((code, said.contains("exists already")), (1, true), "{said}");
    let (code, said) = finish(&bench.output(&["check", "mine.toml"]));
    assert_eq!(code, 0, "{said}");
    let run = [
        "run",
        "mine.toml",
        "--exit-when-done",
        "--set",
        "serve.listen=127.0.0.1:0",
        "--set",
        "stream.listen=127.0.0.1:0",
    ];
    let (code, said) = finish(&bench.output(&run));
    assert_eq!(code, 0, "{said}");
}
