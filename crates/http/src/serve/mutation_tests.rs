//! Good requests of every decoder (testdata/requests) with something changed in them: each is answered, or refused with what to mend. Without coverage, and so
//! beside the fuzzers of `untrusted`, which stop where a model is asked.

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Version};
use http_body_util::BodyExt;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use super::App;
use super::fixture::fixture;
use super::oip::grpc::is_of_grpc;
use super::tests::routes;

/// A file: method and target, a header a line, an empty line, and the body.
struct Seed {
    name: String,
    head: String,
    body: Vec<u8>,
}

fn seeds() -> Vec<Seed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/requests");
    let mut seeds: Vec<Seed> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let bytes = std::fs::read(entry.path()).unwrap();
            let end = bytes.windows(2).position(|bytes| bytes == b"\n\n").unwrap();
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            Seed { name: entry.file_name().into_string().unwrap(), head, body: bytes[end + 2..].to_vec() }
        })
        .collect();
    seeds.sort_by(|a, b| a.name.cmp(&b.name));
    seeds
}

/// `None`: the change left no request that HTTP would let through.
fn request(head: &str, body: Vec<u8>) -> Option<Request<Body>> {
    let mut lines = head.lines();
    let (method, target) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(target).header("host", "localhost");
    if is_of_grpc(target) {
        request = request.version(Version::HTTP_2);
    }
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        request = request.header(name, value);
    }
    request.body(Body::from(body)).ok()
}

/// What is put where something else was.
const PIECES: [&[u8]; 16] = [
    b"",
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"\"\"",
    b"[]",
    b"{}",
    b"[[[[",
    b"\\ud800",
    b"%00",
];

#[derive(Debug, Clone)]
struct Change {
    /// Shares of the text, from 0 to 65,535: where it begins, and how much of the rest goes.
    at: u16,
    gone: u16,
    piece: prop::sample::Index,
    /// That much of the text is put there once more instead.
    copied: Option<u16>,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let gone = prop_oneof![3 => 0..2_000_u16, 1 => any::<u16>()];
    let change = (any::<u16>(), gone, any::<prop::sample::Index>(), prop::option::weighted(0.2, any::<u16>()));
    let change = change.prop_map(|(at, gone, piece, copied)| Change { at, gone, piece, copied });
    prop::collection::vec(change, 1..4)
}

fn changed(mut text: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    let share = |of: usize, part: u16| of * usize::from(part) / 65_536;
    for Change { at, gone, piece, copied } in changes {
        let at = share(text.len() + 1, *at);
        let piece = match copied {
            Some(copied) => text[..share(text.len() + 1, *copied)].to_vec(),
            None => piece.get(&PIECES).to_vec(),
        };
        let gone = share(text.len() - at + 1, *gone);
        text.splice(at..at + gone, piece);
    }
    text
}

async fn ask(app: &Arc<App>, request: Request<Body>) -> (u16, Option<String>, Vec<u8>) {
    let (head, body) = app.handle(request).await.into_parts();
    let code = head.headers.get("grpc-status").map(|code| code.to_str().unwrap().to_owned());
    (head.status.as_u16(), code, body.collect().await.unwrap().to_bytes().to_vec())
}

#[test]
fn a_good_request_with_something_changed_is_answered_or_refused_and_never_a_fault_of_ours() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let app = fixture(routes()).app;
    let seeds = seeds();
    for seed in &seeds {
        let request = request(&seed.head, seed.body.clone()).unwrap();
        let (status, code, body) = runtime.block_on(ask(&app, request));
        assert_eq!((status, code), (200, None), "{}: {}", seed.name, String::from_utf8_lossy(&body));
    }
    let strategy = (any::<prop::sample::Index>(), changes(), prop::option::weighted(0.3, changes()));
    // The same ones each time.
    let mut runner = TestRunner::new_with_rng(
        ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let run = runner.run(&strategy, |(seed, of_body, of_head)| {
        let seed = seed.get(&seeds);
        let head = of_head
            .map_or_else(|| seed.head.clone().into_bytes(), |changes| changed(seed.head.clone().into(), &changes));
        let body = changed(seed.body.clone(), &of_body);
        let request = String::from_utf8(head).ok().and_then(|head| request(&head, body.clone()));
        let Some(request) = request else { return Ok(()) };
        let is_call = is_of_grpc(request.uri().path());
        let (status, code, answer) = runtime.block_on(ask(&app, request));
        let text = String::from_utf8_lossy(&answer);
        prop_assert!(
            status < 500 || status == 503,
            "{status} {text} of {} with {:?}",
            seed.name,
            String::from_utf8_lossy(&body)
        );
        if is_call {
            let is_told = (status >= 400) == code.as_deref().is_some_and(|code| !["0", "2", "13"].contains(&code));
            prop_assert!(is_told, "{status} with {code:?}");
        } else if status >= 400 {
            prop_assert!(serde_json::from_slice::<Value>(&answer).is_ok(), "{text}");
        }
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}
