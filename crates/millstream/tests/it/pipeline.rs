//! From a file to served models, by the real binary and over HTTP.

use std::path::Path;

use crate::common::{Bench, MODELS, finish, shared};
use serde_json::json;

#[test]
fn rows_become_batches_models_and_answers() {
    let bench = Bench::new(3000, &format!("batch.parts = 3\n{MODELS}"));
    let mut served = bench.serve(&[]);
    served.wait_for("serving on http://");
    let answer = served.get("/predict/high_low?open=20000&volume=25");
    assert_eq!(answer.status, 200, "{}", answer.text);
    let keys: Vec<&String> = answer.json.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["open", "volume", "predicted_high", "predicted_low"]);
    assert!(answer.head.contains("x-model-version: high@3, low@3"), "{}", answer.head);
    assert_eq!(served.get("/predict/trend?open=20000&close=20010&volume=25").json["predicted_trend"], "Up");

    let models = served.get("/v1/models").json;
    let names: Vec<&str> =
        models["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!((names, &models["total"]), (vec!["close", "high", "low", "trend"], &json!(4)));
    // each: one version a batch; cumulative: 1, 1–2, 1–3; last 2: 1, 1–2, 2–3; chosen: batch 1 alone.
    let batches = |model: &str, version: u32| {
        served.get(&format!("/v1/models/{model}/versions/{version}")).json["batches"].clone()
    };
    assert_eq!([batches("close", 1), batches("close", 3)], [json!([1]), json!([3])]);
    assert_eq!([batches("high", 1), batches("high", 3)], [json!([1]), json!([1, 2, 3])]);
    assert_eq!([batches("low", 2), batches("low", 3)], [json!([1, 2]), json!([2, 3])]);
    assert_eq!((batches("trend", 1), served.get("/v1/models/trend/versions/2").status), (json!([1]), 404));

    let version = served.get("/v1/models/high/versions/1").json;
    for kind in ["holdout", "common", "next_batch"] {
        let measured = &version["metrics"][kind];
        assert!(measured["rmse"].is_number() && measured["baseline"]["rmse"].is_number(), "{kind}: {version}");
    }
    assert_eq!(version["metrics"]["next_batch"]["rows"], 1000);
    assert_eq!(version["metrics"]["baseline"]["kind"], "Open");
    assert_eq!(served.get("/v1/batches").json["total"], 3);
    assert_eq!(served.get("/v1/batches/2/rows?limit=1").json["rows"][0]["_offset"], 1000);
    assert_eq!(served.get("/readyz").status, 200);

    let page = served.get("/");
    assert!(page.text.contains("high@3"), "{}", page.text);
    let form = served.get("/page/try/model/high");
    assert!(form.text.contains("<form") && form.text.contains("name=\"Open\""), "{}", form.text);
    served.signal("TERM");
    assert_eq!(served.end().0, 0);
}

#[test]
fn a_second_run_trains_nothing_again_and_verify_repeats_the_bytes() {
    let bench = Bench::new(900, &format!("batch.parts = 3\n{MODELS}"));
    let first = bench.run_well(&[]);
    let second = bench.run_well(&[]);
    assert!(first.contains("close@3 trained") && !second.contains(" trained on"), "{second}");
    for (model, version) in [("close", "3"), ("high", "2"), ("low", "1"), ("trend", "1")] {
        let (code, said) = finish(&bench.output(&["models", "verify", "test.toml", model, version]));
        assert_eq!((code, said.contains("same bytes")), (0, true), "{said}");
    }
}

#[test]
fn a_training_that_fails_does_not_stop_the_others_and_makes_the_run_fail() {
    let more = "[[model]]\nname = \"never\"\nalgorithm = \"linear_regression\"\ntrain_on = { batches = [2] }\nfeatures = [\"Open\"]\ntarget = \"Close\"\nwhere = \"Open < 0\"\n";
    let bench = Bench::new(900, &format!("batch.parts = 3\n{more}{MODELS}"));
    let (code, said) = bench.run(&[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("model never:") && said.contains("close@3 trained"), "{said}");
}

#[test]
fn a_chosen_batch_that_never_came_makes_the_run_fail() {
    let model = "[[model]]\nname = \"late\"\nalgorithm = \"linear_regression\"\ntrain_on = { batches = [9] }\nfeatures = [\"Open\"]\ntarget = \"Close\"\n";
    let bench = Bench::new(300, &format!("batch.rows = 100\n{model}"));
    let (code, said) = bench.run(&[]);
    assert_eq!((code, said.contains("batch 9 of its train_on never came: the stream has 3")), (1, true), "{said}");
}

#[test]
fn trainings_begin_again_after_a_kill_in_their_middle() {
    let bench = Bench::new(3000, &format!("batch.parts = 3\n{MODELS}"));
    let mut served = bench.serve(&[]);
    served.wait_for("trained on");
    served.signal("KILL");
    let _ = served.end();
    bench.run_well(&[]);
    let list = String::from_utf8(bench.output(&["models", "list", "test.toml"]).stdout).unwrap();
    let versions = |model: &str| list.lines().filter(|line| line.split_whitespace().next() == Some(model)).count();
    assert_eq!([versions("close"), versions("high"), versions("low"), versions("trend")], [3, 3, 3, 1], "{list}");
}

#[test]
fn the_demo_needs_nothing() {
    let bench = Bench::new(1, "");
    let arguments = [
        "demo",
        "--rows",
        "3000",
        "--exit-when-done",
        "--set",
        "serve.listen=127.0.0.1:0",
        "--set",
        "stream.listen=127.0.0.1:0",
    ];
    let (code, said) = finish(&bench.output(&arguments));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("beats its baseline"), "{said}");
}

#[test]
fn the_bitcoin_example_runs_on_the_real_file() {
    let Some(real) = shared("bitcoin.toml on the real file", "bitcoin/btcusdt_1min.csv") else { return };
    let bench = Bench::new(1, "");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/bitcoin.toml");
    std::fs::copy(example, bench.path("test.toml")).unwrap();
    let source = format!("source.path={}", real.display());
    let mut served =
        bench.serve(&["--set", &source, "--set", "serve.listen=127.0.0.1:0", "--set", "stream.listen=127.0.0.1:0"]);
    served.wait_for("serving on http://");
    let rows: Vec<u64> = served.get("/v1/batches").json["batches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|batch| batch["rows"].as_u64().unwrap())
        .collect();
    assert_eq!(rows, [79_741, 79_741, 79_741]);
    let close = served.get("/predict/close?timestamp=1700000000").json;
    assert!(close["timestamp"] == 1_700_000_000 && close["predicted_close"].is_number(), "{close}");
    let trend = served.get("/predict/trend?open=30000&close=30010&volume=50").json;
    assert_eq!(trend["predicted_trend"], "Up");
    let high_low = served.get("/predict/high_low?open=37000&volume=50").json;
    assert!(high_low["predicted_high"].is_number() && high_low["predicted_low"].is_number(), "{high_low}");
    let range = served.get("/v1/models/range/versions/latest").json;
    assert_eq!(range["metrics"]["common"]["beats_baseline"], true, "{range}");
    let close = served.get("/v1/models/close/versions/latest").json;
    assert_eq!(close["metrics"]["holdout"]["beats_baseline"], false, "{close}");
}
