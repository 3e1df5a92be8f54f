//! Two versions on the same records, and `promote`, by the real binary: by command, over HTTP and on the page, killed in between.

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

/// Three versions.
fn bench(promote: &str) -> Bench {
    Bench::new(1200, &format!("{PIPELINE}{promote}"))
}

#[test]
fn two_versions_are_compared_by_command_over_http_and_on_a_page() {
    let bench = bench("");
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

/// The versions that the champion named, and what moved it.
fn history(bench: &Bench) -> Vec<(Value, Value)> {
    let records = (1..).map(|number| format!("millstream-data/aliases/close/champion/{number:06}.json"));
    let records = records.take_while(|path| bench.path(path).exists());
    let record =
        |path: String| -> Value { serde_json::from_slice(&std::fs::read(bench.path(&path)).unwrap()).unwrap() };
    records.map(record).map(|record| (record["version"].clone(), record["by"].clone())).collect()
}

#[test]
fn promotion_decides_itself_once_also_when_it_is_killed_in_between() {
    let rule = "promote = { when = \"if_better\", on = \"next_batch\" }\n";
    let whole = bench(rule);
    let said = whole.run_well(&[]);
    assert!(said.contains("close@1 is promoted: there was no champion"), "{said}");
    assert!(said.contains("close@2 is ") && said.contains("on next_batch (400 records)"), "{said}");
    let expected = history(&whole);
    assert_eq!(expected[0], (json!(1), json!("if_better")));
    let listed = String::from_utf8(whole.output(&["models", "list", "test.toml"]).stdout).unwrap();
    let ends: Vec<bool> = listed.lines().map(|line| line.contains("promoted")).collect();
    assert_eq!(ends, [false, true, true, false], "{listed}");
    let shown = whole.output(&["models", "show", "test.toml", "close", "2"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&shown["decision"]["rule"], &shown["decision"]["on"]), (&json!("if_better"), &Value::Null));
    assert_eq!(shown["decision"]["compared"]["on"], "next_batch");
    let serving = whole.serving(&["serve", "test.toml"], |_| {});
    assert_eq!(serving.ask("/v1/models/close/versions/2")["decision"], shown["decision"]);
    let reason = shown["decision"]["reason"].as_str().unwrap();
    assert!(serving.get("/page/models/close/2").text.contains(reason), "{reason}");
    assert!(serving.get("/page/models/close").text.contains("promoted (if_better)"));
    serving.stopped();

    for point in
        ["decision.before_record", "decision.after_record", "promotion.before_record", "promotion.after_record"]
    {
        let bench = bench(rule);
        let mut command = bench.command(&["run", "test.toml", "--exit-when-done"]);
        let killed = command.env("MILLSTREAM_KILL_AT", point).output().unwrap();
        assert_eq!(killed.status.code(), None, "{point} was not reached: {}", finish(&killed).1);
        bench.run_well(&[]);
        assert_eq!(history(&bench), expected, "{point}");
        // And nothing is left to decide.
        bench.run_well(&[]);
        assert_eq!(history(&bench), expected, "{point}");
    }
}
