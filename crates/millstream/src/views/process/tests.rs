//! The server's side against processes that do anything: shell scripts in place of the real one, which `tests/questions.rs` runs.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    let limits = Limits {
        memory_bytes: 64 << 20,
        time: Some(Duration::from_millis(300)),
        rows: Some(3),
        threads: NonZeroUsize::MIN,
    };
    let arguments = vec!["-c".into(), script.into(), "sh".into()];
    Arc::new(Pool::new(ProcessCommand { executable: "/bin/sh".into(), arguments }, limits))
}

async fn ask(pool: &Arc<Pool>, number: u64) -> Result<TextRows, AskError> {
    let question = Question { sql: "select 1".to_owned(), parameters: BTreeMap::new() };
    let snapshot = move |_: &Pool| Ok(Arc::new(Snapshot { number, file: tempfile::tempfile().unwrap() }));
    pool.ask(question, snapshot).await
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
    check(format!(r"{READY}; {COLUMNS}; printf '\004\004\000\000\000[1,]'; sleep 100"), FaultKind::Lost).await;
    check(format!(r"{READY}; {COLUMNS}; printf '\004\011\000\000\000[1,2,3,4]'; sleep 100"), FaultKind::Lost).await;
    check(format!("{READY}; {COLUMNS}; while true; do printf '\\004\\001\\000\\000\\000['; done"), FaultKind::Lost)
        .await;
    let absent = ProcessCommand { executable: "/nowhere/at/all".into(), arguments: Vec::new() };
    let pool = Arc::new(Pool::new(absent, Limits { rows: Some(1), ..Limits::default() }));
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
