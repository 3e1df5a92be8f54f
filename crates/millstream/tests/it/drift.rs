//! How a batch differs from those that a version was trained on, by the real binary.

use std::fmt::Write as _;

use serde_json::Value;

use crate::common::{Bench, Served, until};

const PIPELINE: &str = r#"
batch.rows = 500

[[model]]
name = "cost"
algorithm = "linear_regression"
train_on = { batches = [1, 2] }
features = ["size", "town"]
target = "price"
"#;

/// Three batches of one market, and one of a dearer one with a town of its own.
fn source() -> String {
    let mut rows = "size,town,price\n".to_owned();
    for row in 0..2000_u32 {
        let (size, town) = match row < 1500 {
            true => (40 + row * 37 % 101, ["Bath", "York", "Leeds"][row as usize % 3]),
            false => (90 + row * 37 % 101, ["Hull", "York"][row as usize % 2]),
        };
        writeln!(rows, "{size},{town},{}", size * 1000 + row % 7).unwrap();
    }
    rows
}

fn ready(served: &Served, query: &str) -> Value {
    let path = format!("/v1/models/cost/versions/latest/drift{query}");
    until(&path, || {
        let answer = served.get(&path);
        assert!(answer.status == 200 || answer.status == 202, "{path}: {}", answer.text);
        (answer.status == 200).then_some(answer.json)
    })
}

fn verdicts(drift: &Value) -> Vec<(&str, &str)> {
    let columns = drift["columns"].as_array().unwrap_or_else(|| panic!("{drift}"));
    columns.iter().map(|column| (column["name"].as_str().unwrap(), column["verdict"].as_str().unwrap())).collect()
}

#[test]
fn a_batch_of_another_market_is_seen_over_http_and_on_the_page() {
    let bench = Bench::with_source(source().as_bytes(), PIPELINE);
    bench.run_well(&[]);
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    let newest = ready(&served, "");
    assert_eq!(
        (&newest["batch"], &newest["against"], &newest["reference_batches"]),
        (&4.into(), &"training".into(), &serde_json::json!([1, 2]))
    );
    let mut found = verdicts(&newest);
    found.sort_unstable();
    assert_eq!(found, [("prediction", "major"), ("size", "major"), ("town", "major")], "{newest}");
    assert!(verdicts(&ready(&served, "?batch=3")).iter().all(|(_, verdict)| *verdict == "stable"));
    let before = ready(&served, "?batch=4&against=before");
    assert_eq!((&before["reference_batches"], verdicts(&before).len()), (&serde_json::json!([3]), 3));
    // Of its own batches each is held against the other one.
    assert_eq!(ready(&served, "?batch=2")["reference_batches"], serde_json::json!([1]));
    let page = served.get("/page/models/cost/1").text;
    assert!(
        page.contains("How the newest batch differs") && page.contains("new: Hull") && page.contains("major"),
        "{page}"
    );
    assert!(served.get("/metrics").text.contains("millstream_drift_psi{model=\"cost\"} "));
    served.stopped();
}
