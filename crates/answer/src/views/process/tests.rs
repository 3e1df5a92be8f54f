//! The server's side against processes that do anything: shell scripts in place of the real one, which `tests/it/questions.rs` runs.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_store::{LocalStore, Store};

use super::snapshot::Snapshot;
use super::{Pool, ProcessCommand, Question, TextRows};
use crate::query::Limits;
use crate::views::{AskError, FaultKind};

/// Ready, and a question begun.
const READY: &str = r"printf '\002\000\000\000\000\007\000\000\000\000'";
/// `{"columns":["x"],"versions":[]}`.
const COLUMNS: &str = r#"printf '\003\037\000\000\000{"columns":["x"],"versions":[]}'"#;
/// `{"is_cut":false,"is_worn":false}`.
const END: &str = r#"printf '\005\040\000\000\000{"is_cut":false,"is_worn":false}'"#;

fn pool(script: &str) -> Arc<Pool> {
    pool_over(script, tempfile::tempdir().unwrap().path())
}

fn pool_over(script: &str, store: &Path) -> Arc<Pool> {
    let limits = Limits {
        memory_bytes: 64 << 20,
        time: Some(Duration::from_millis(300)),
        rows: Some(3),
        threads: NonZeroUsize::MIN,
    };
    let arguments = vec!["-c".into(), script.into(), "sh".into()];
    let store = Arc::new(LocalStore::open_reading(store));
    Arc::new(Pool::new(ProcessCommand { executable: "/bin/sh".into(), arguments }, limits, store))
}

async fn ask(pool: &Arc<Pool>, number: u64) -> Result<TextRows, AskError> {
    let question = Question { sql: "select 1".to_owned(), parameters: BTreeMap::new() };
    let parts = Arc::new(PARTS.map(str::to_owned).into());
    let snapshot =
        move |_: &Pool| Ok(Arc::new(Snapshot { number: Some(number), file: tempfile::tempfile().unwrap(), parts }));
    pool.ask(question, snapshot).await
}

/// Of every state here.
const PARTS: [&str; 2] = ["batches/batch=000001/part-0000-a.parquet", "batches/batch=000001/part-0001-b.parquet"];

/// A frame that says something of a file.
fn of_file(kind: u8, key: &str) -> String {
    format!("printf '{}'", frame_of_file(kind, key))
}

/// As `printf` writes it.
fn frame_of_file(kind: u8, key: &str) -> String {
    let body = format!("\"{key}\"");
    format!(r"\{kind:03o}\{:03o}\000\000\000{body}", body.len())
}

#[tokio::test]
async fn whatever_a_process_says_is_an_answer_or_a_clear_error() {
    let check = async |script: String, expected: FaultKind| {
        let pool = pool(&script);
        for number in [1, 1, 2] {
            let error = ask(&pool, number).await.unwrap_err();
            assert_eq!(error.kind(), expected, "{script}: {error}");
        }
    };
    check("exit 3".to_owned(), FaultKind::Lost).await;
    check("printf 'garbage, and more of it'".to_owned(), FaultKind::Lost).await;
    check(format!("{READY}; exit 3"), FaultKind::BadSql).await;
    check(format!("{READY}; kill -KILL $$"), FaultKind::Lost).await;
    check(format!("{READY}; kill -ABRT $$"), FaultKind::TooLarge).await;
    check(format!("{READY}; kill -SEGV $$"), FaultKind::TooLarge).await;
    check(format!("{READY}; kill -XCPU $$"), FaultKind::TooSlow).await;
    check(format!("{READY}; sleep 100"), FaultKind::TooSlow).await;
    check(format!("{READY}; {COLUMNS}; sleep 100"), FaultKind::TooSlow).await;
    check(format!(r"{READY}; printf '\004\377\377\377\377'; sleep 100"), FaultKind::Lost).await;
    check(format!("{READY}; {END}; sleep 100"), FaultKind::Lost).await;
    // Of no file of its state, and of one that it did not begin with.
    check(format!("{READY}; {}; {COLUMNS}; {END}; sleep 100", of_file(9, "batches/a")), FaultKind::Lost).await;
    check(format!("{READY}; {}; {COLUMNS}; {END}; sleep 100", of_file(10, PARTS[0])), FaultKind::Lost).await;
    check(format!(r"{READY}; {COLUMNS}; printf '\004\004\000\000\000[1,]'; sleep 100"), FaultKind::Lost).await;
    check(format!(r"{READY}; {COLUMNS}; printf '\004\011\000\000\000[1,2,3,4]'; sleep 100"), FaultKind::Lost).await;
    check(format!("{READY}; {COLUMNS}; while true; do printf '\\004\\001\\000\\000\\000['; done"), FaultKind::Lost)
        .await;
    let absent = ProcessCommand { executable: "/nowhere/at/all".into(), arguments: Vec::new() };
    let store = Arc::new(LocalStore::open_reading(Path::new("/nowhere/at/all")));
    let pool = Arc::new(Pool::new(absent, Limits { rows: Some(1), ..Limits::default() }, store));
    assert_eq!(ask(&pool, 1).await.unwrap_err().kind(), FaultKind::Lost);
}

#[tokio::test]
async fn a_process_is_asked_again_until_the_state_is_another() {
    // Says which process it is: the rows are its number.
    let row = r#"printf '\004\012\000\000\000["%06d"]' "$$""#;
    let (ready, begun) = (r"printf '\002\000\000\000\000'", r"printf '\007\000\000\000\000'");
    let pool = pool(&format!("{ready}; while head -c 39 >/dev/null; do {begun}; {COLUMNS}; {row}; {END}; done"));
    let of = async |number: u64| ask(&pool, number).await.unwrap().rows[0].get().to_owned();
    let first = of(1).await;
    assert_eq!(of(1).await, first);
    let second = of(2).await;
    assert_ne!(second, first);
    assert_eq!(of(2).await, second);
    pool.stop();
    assert_eq!(ask(&pool, 2).await.unwrap_err().kind(), FaultKind::Lost);
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_gives_its_place_back() {
    let pool = pool(&format!("{READY}; sleep 100"));
    for _ in 0..5 {
        let asked = [ask(&pool, 1), ask(&pool, 1)].map(|asked| tokio::time::timeout(Duration::from_millis(50), asked));
        let [one, other] = asked;
        let (one, other) = tokio::join!(one, other);
        assert!(one.is_err() && other.is_err());
    }
    let began = Instant::now();
    assert_eq!(ask(&pool, 1).await.unwrap_err().kind(), FaultKind::TooSlow);
    assert!(began.elapsed() < Duration::from_secs(60));
}

/// A store with the second of `PARTS`; the first is nowhere, and can be known by hearsay alone.
fn store_of_a_part(folder: &Path) {
    let store = LocalStore::open(folder).unwrap();
    let content = b"rows";
    let manifest = serde_json::json!({
        "format": 1, "batch": 1, "partition": 1, "attempt": "b", "rows": 10, "rejects": 0, "first_offset": 0,
        "end_offset": 10, "skipped": 0, "late": 0, "min_time": null, "max_time": null, "digest": "d",
        "file": "part-0001-b.parquet", "file_digest": blake3::hash(content).to_hex().to_string(), "rejects_file": null,
        "schema": 1, "committed_at_ms": 0,
    });
    store.create(PARTS[1], content).unwrap();
    store.create("batches/batch=000001/_manifest-0001.json", manifest.to_string().as_bytes()).unwrap();
}

fn wait_until_both_are_known(pool: &Pool) {
    let end = Instant::now() + Duration::from_secs(60);
    while pool.store().verified().known_after(0).len() < 2 {
        assert!(Instant::now() < end, "what was begun is brought to its end");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn what_a_process_verified_outlives_it_and_is_told_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    store_of_a_part(folder.path());
    // The first process ends with its time while it hashes the second part; whoever comes after it keeps what it is told.
    let told = folder.path().join("told");
    let known = serde_json::to_vec(&PARTS).unwrap().len() + 5;
    let (ready, begun) = (r"printf '\002\000\000\000\000'", r"printf '\007\000\000\000\000'");
    let (first, once) = (folder.path().join("first"), folder.path().join("once"));
    let script = format!(
        "{ready}; if mkdir {first}; then {begun}; {}; {}; {}; sleep 100; fi; head -c {known} >{once}; mv {once} {told}; \
         head -c 39 >/dev/null; {begun}; {COLUMNS}; {END}; sleep 100",
        of_file(9, PARTS[0]),
        of_file(10, PARTS[0]),
        of_file(9, PARTS[1]),
        first = first.display(),
        once = once.display(),
        told = told.display(),
    );
    let pool = pool_over(&script, folder.path());
    assert_eq!(ask(&pool, 1).await.unwrap_err().kind(), FaultKind::TooSlow);
    wait_until_both_are_known(&pool);
    ask(&pool, 1).await.unwrap();
    let told = std::fs::read(told).unwrap();
    assert_eq!(serde_json::from_slice::<Vec<String>>(&told[5..]).unwrap(), PARTS);
}

#[tokio::test]
async fn what_an_idle_process_had_begun_outlives_it() {
    // The question fails with its time, inside the process, which goes on: it verifies the first part, and has begun with the second.
    let failed = r#"{"kind":"TooSlow","message":"too slow","is_worn":IS_WORN}"#;
    let begun = r"printf '\007\000\000\000\000'";
    let check = async |is_worn: bool, then: &str, second: u64| {
        let folder = tempfile::tempdir().unwrap();
        store_of_a_part(folder.path());
        let failed = failed.replace("IS_WORN", &is_worn.to_string());
        let script = format!(
            r"printf '\002\000\000\000\000'; if mkdir {first}; then {begun}; {}; {}; printf '\006\{:03o}\000\000\000{failed}{}';
             {then}; else {begun}; {COLUMNS}; {END}; sleep 100; fi",
            of_file(9, PARTS[0]),
            of_file(9, PARTS[1]),
            failed.len(),
            frame_of_file(10, PARTS[0]),
            first = folder.path().join("first").display(),
        );
        let pool = pool_over(&script, folder.path());
        assert_eq!(ask(&pool, 1).await.unwrap_err().kind(), FaultKind::TooSlow);
        ask(&pool, second).await.unwrap();
        wait_until_both_are_known(&pool);
    };
    // It is of an earlier state then; it is worn; it ended for itself.
    check(false, "sleep 100", 2).await;
    check(true, "sleep 100", 1).await;
    check(false, "exit 1", 1).await;
}

#[tokio::test]
async fn a_scratch_folder_that_somebody_removed_is_made_again() {
    let (ready, begun) = (r"printf '\002\000\000\000\000'", r"printf '\007\000\000\000\000'");
    let pool = pool(&format!("{ready}; while head -c 39 >/dev/null; do {begun}; {COLUMNS}; {END}; done"));
    ask(&pool, 1).await.unwrap();
    let scratch = pool.scratch().unwrap().path().to_owned();
    std::fs::remove_dir_all(&scratch).unwrap();
    ask(&pool, 1).await.unwrap();
    assert_ne!(pool.scratch().unwrap().path(), scratch);
    assert_eq!(pool.scratch().unwrap().path().read_dir().unwrap().count(), 2, "the lock, and the process's own");
    // Without its lock another server would take it for one that was left behind.
    let second = pool.scratch().unwrap().path().to_owned();
    std::fs::remove_file(second.join("lock")).unwrap();
    ask(&pool, 1).await.unwrap();
    assert_ne!(pool.scratch().unwrap().path(), second);
}

#[tokio::test]
async fn a_stop_removes_the_scratch_folder_whoever_holds_it() {
    let pool = pool("");
    let held = pool.scratch().unwrap();
    pool.stop();
    assert!(!held.path().exists());
}
