//! What one request may cost: each of these was quadratic, multiplied, or echoed whole. Were one again, the test would not end in time.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::fixture::{fixture, fixture_with_catalogue, route};
use super::tests::ask;

/// Ten times what the slowest takes without optimisation on a busy machine; the quadratic ones took hours.
const LONG: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MOST: usize = 20_000;

/// `{"k0":0,"k1":0,…}`
fn object(n: usize) -> String {
    let mut text = String::with_capacity(14 * n);
    (0..n).for_each(|key| write!(text, "{}\"k{key}\":0", if key == 0 { "{" } else { "," }).unwrap());
    text + "}"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_costs_what_it_is_long() {
    let mut whole = route("/whole", &["typed"], &[], Some(json!({"*": "", "p": "prediction"})));
    whole.body = None;
    let mut nested = route("/nested", &["typed"], &[], None);
    nested.body = Some("features".to_owned());
    let fixture = fixture(vec![route("/plain", &["close"], &[], None), whole, nested]);
    let keys = object(300_000);
    let long = format!("{{\"{}\":1}}", "x".repeat(4 << 20));
    let rows = format!("[{}]", vec![r#"{"a":1}"#; 20_000].join(","));
    let empty = format!("[{}]", vec!["{}"; 20_000].join(","));
    for target in ["/plain", "/whole", "/nested", "/v1/models/close/predict", "/v1/models/typed/versions/1/predict"] {
        for (what, body) in [("keys", &keys), ("a long key", &long), ("rows", &rows), ("empty rows", &empty)] {
            let answer = timeout(LONG, ask(&fixture.app, "POST", target, body)).await;
            let (status, _, answer) = answer.unwrap_or_else(|_| panic!("{what} to {target}"));
            assert_eq!((status, answer.len() < ANSWER_BYTES_MOST), (422, true), "{what} to {target}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_costs_what_it_is_long() {
    let fixture = fixture(vec![route("/plain", &["close"], &[], None), route("/{town}/x", &["typed"], &[], None)]);
    let mut many = String::new();
    (0..8000).for_each(|key| write!(many, "k{key}=&").unwrap());
    // No URL that hyper takes is longer.
    let long = "x".repeat(60_000);
    let slashes = "/".repeat(60_000);
    for target in
        ["/plain", "/v1/models/close/predict", "/v1/batches", "/v1/models", "/York/x", "/v1/models/close/versions"]
    {
        for query in [&many, &format!("{long}=1"), &format!("Timestamp={long}"), &format!("{many}k0=")] {
            let answer = timeout(LONG, ask(&fixture.app, "GET", &format!("{target}?{query}"), "")).await;
            let (status, _, answer) = answer.unwrap_or_else(|_| panic!("{target}"));
            assert!(status == 422 && answer.len() < ANSWER_BYTES_MOST, "{target}: {status}, {} bytes", answer.len());
        }
    }
    for path in [format!("/{long}"), slashes, format!("/v1/models/{long}"), format!("/v1/batches/{long}/rows")] {
        let (status, _, answer) = timeout(LONG, ask(&fixture.app, "GET", &path, "")).await.unwrap();
        assert!(status == 404 && answer.len() < ANSWER_BYTES_MOST, "{status}, {} bytes", answer.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_is_part_of_every_row_has_a_bound() {
    let fixture = fixture(vec![route("/{town}/of", &["typed"], &[], Some(json!({"t": "town"})))]);
    let row = r#"{"count":1,"x":2}"#;
    let rows = format!("[{}]", vec![row; 20_000].join(","));
    let (status, _, answer) = ask(&fixture.app, "POST", &format!("/{}/of", "x".repeat(60_000)), &rows).await;
    assert!(status == 413 && answer.contains("of the path"), "{status} {answer}");
    let (status, _, _) = ask(&fixture.app, "POST", "/York/of", &rows).await;
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facets_and_sorts_are_looked_for_once_each() {
    let mut items = "id,title,town\n".to_owned();
    (0..100_000).for_each(|item| writeln!(items, "{item},Title {item},Town {item}").unwrap());
    let fixture = fixture_with_catalogue(
        &items,
        "id = \"id\"\ntitle = \"title\"\nfacets = [\"town\"]\ncolumns = { town = \"town\" }\n",
    );
    let mut facets = String::new();
    (0..3500).for_each(|town| write!(facets, "town=TOWN+{town}&").unwrap());
    let answer = timeout(LONG, ask(&fixture.app, "GET", &format!("/v1/catalogue?{facets}"), "")).await;
    let (status, _, answer) = answer.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["total"]), (200, &json!(3500)));
    let sort = "nothing,".repeat(7000);
    let (status, _, answer) = ask(&fixture.app, "GET", &format!("/v1/catalogue?sort={sort}"), "").await;
    assert!(status == 422 && answer.contains("at most 4 columns, got 7001"), "{answer}");
}
