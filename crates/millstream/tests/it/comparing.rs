//! Two versions on the same records, by the real binary: by command, over HTTP and on the page.

use serde_json::{Value, json};

use crate::common::{Bench, finish};

const PIPELINE: &str = r#"
batch.rows = 400

[train]
holdout = 0.3

[[model]]
name = "close"
algorithm = "linear_regression"
train_on = "each"
features = ["Open"]
target = "Close"
"#;

#[test]
fn two_versions_are_compared_by_command_over_http_and_on_a_page() {
    // Three versions.
    let bench = Bench::new(1200, PIPELINE);
    bench.run_well(&[]);
    let compare = |more: &[&str]| bench.output(&[&["models", "compare", "test.toml", "close"], more].concat());
    let table = String::from_utf8(compare(&["1", "2"]).stdout).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("close on common: ") && lines[0].ends_with(" records of batches 1 to 3"), "{table}");
    assert!(lines[1].starts_with("measure  version 1") && lines[1].contains("95 % interval"), "{table}");
    assert!(["rmse", "mae", "r2"].iter().zip(&lines[2..]).all(|(measure, line)| line.starts_with(measure)), "{table}");
    let answer = compare(&["1", "2", "--on", "next_batch", "--format", "json"]);
    let by_command: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!((&by_command["batches"], &by_command["compared"]), (&json!({"first": 3, "last": 3}), &json!(400)));

    let serving = bench.serving(&["serve", "test.toml"], |_| {});
    let path = "/v1/models/close/compare";
    assert_eq!(serving.ask(&format!("{path}?a=1&b=2&on=next_batch")), by_command);
    let newest = serving.ask(&format!("{path}?a=1&b=latest"));
    assert_eq!((&newest["b"], &newest["on"], &newest["units"]), (&json!(3), &json!("common"), &json!("records")));
    for (query, status, code) in [
        ("a=1", 422, "missing"),
        ("a=1&b=2&on=holdout", 422, "bad_value"),
        ("a=1&b=2&c=3", 422, "unknown_parameter"),
        ("a=1&b=9", 404, "unknown_version"),
        ("a=2&b=3&on=next_batch", 409, "not_comparable"),
    ] {
        let answer = serving.get(&format!("{path}?{query}"));
        assert_eq!((answer.status, &answer.json["error"]["code"]), (status, &json!(code)), "{query}: {}", answer.text);
    }
    assert_eq!(serving.get("/v1/models/none/compare?a=1&b=2").status, 404);
    let (code, said) = finish(&compare(&["2", "3", "--on", "next_batch"]));
    assert!(code == 1 && said.contains("batch 4, the first one after both, is not complete yet"), "{said}");
    let (code, said) = finish(&compare(&["1", "best"]));
    assert!(code == 1 && said.contains("has no version \"best\""), "{said}");

    let page = serving.get("/page/models/close").text;
    assert!(page.contains("action=\"/page/compare/close\""), "{page}");
    let page = serving.get("/page/compare/close?a=1&b=2&on=").text;
    let is_said = ["✓ better", "✗ worse", "beyond noise"].iter().any(|said| page.contains(said));
    assert!(is_said && page.contains("95 % interval") && page.contains("rmse"), "{page}");
    let page = serving.get("/page/compare/close?a=2&b=3&on=next_batch").text;
    assert!(page.contains("is not complete yet"), "{page}");
    let openapi = serving.ask("/openapi.json");
    let operation = &openapi["paths"]["/v1/models/{model}/compare"]["get"];
    let names: Vec<&Value> = operation["parameters"].as_array().unwrap().iter().map(|own| &own["name"]).collect();
    assert_eq!(names, ["model", "a", "b", "on"]);
    serving.stopped();
}
