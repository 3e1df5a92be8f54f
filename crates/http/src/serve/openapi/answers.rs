//! What each operation of the API answers, by an example that `described` reads: see there what `?`, `~` and `*` mean in a name.

use millstream_model::model::Action;
use millstream_model::registry::{ModelFile, Task};
use serde_json::{Value, json};

/// Of a path of the server's own, by its pattern. `None`: its answer is no JSON, or depends on the model.
pub fn of_pattern(pattern: &str) -> Option<Value> {
    Some(match pattern {
        "/livez" => json!({"status": "alive"}),
        "/readyz" => {
            json!({"status": "ready", "model?": "price", "version?": 2, "detail?": "the store does not answer just now; what was read before is served on"})
        }
        "/healthz" => {
            json!({"status": "ok", "state": "running", "broker?": broker(), "problems?": ["the broker does not answer"]})
        }
        "/openapi.json" => json!({"openapi": "3.1.0", "info": {"*": "…"}, "paths": {"*": {}}, "components": {"*": {}}}),
        "/v1/status" => status(),
        "/v1/status/history" => {
            json!({"every_ms": 1000, "points": [{"time_ms": TIME, "rows_sent": 6000, "rows_read~": 6000,
            "rows_committed~": 4000, "behind~": 0, "requests": 120, "errors": 0, "latency_ms~": 0.4}]})
        }
        "/v1/batches" => json!({"batches": [batch()], "total": 3}),
        "/v1/batches/{batch}" => batch(),
        "/v1/batches/{batch}/rows" => {
            json!({"batch": 1, "rows": [{"price?": null, "_partition": 0, "_offset": 0, "_time~": TIME}], "total": 2000})
        }
        "/v1/batches/{batch}/rejects" => {
            json!({"batch": 1, "rejects": [{"partition": 0, "offset": 17, "reason": "column \"price\" holds abc, expected float64"}], "total": 1})
        }
        "/v1/batches/{batch}/statistics" => {
            json!({"batch": 1, "rows": 2000, "rows_read": 2000, "columns": [{"name": "price", "type": "float64",
            "nulls": 0, "distinct~": 1830, "distinct_counted": 1830, "min?~": null, "max?~": null, "mean?~": null, "deviation?~": null,
            "histogram?~": {"edges": [0.5, 1.5], "counts": [2000]}, "top?": [{"value": null, "rows": 3}]}]})
        }
        "/v1/models" => json!({"models": [model()], "total": 7}),
        "/v1/models/{model}" => model(),
        "/v1/models/{model}/versions" => json!({"versions": [version()], "total": 1}),
        "/v1/models/{model}/versions/{version}" => version(),
        "/v1/models/{model}/versions/{version}/insights" => {
            json!({"model": "price", "version": 2, "status": "ready", "rows?": 205, "of?": 205,
            "notes?": ["of 205 rows"], "kind?": "regression", "reason?": "the rows cannot be read"})
        }
        "/v1/models/{model}/versions/{version}/drift" => drift(),
        "/v1/models/{model}/versions/{version}/lineage" => lineage(),
        "/v1/models/{model}/compare" => comparison(),
        "/v1/models/{model}/shadow" => {
            json!({"model": "price", "alias~": "candidate", "share~": 0.5, "version~": 3, "dropped": 0, "waiting": 0,
            "numbers?": {"compared": 120, "mean": 0.1, "mean_absolute": 0.2, "max_absolute": 1.5, "p50": 0.1, "p90": 0.5, "p99": 1.1},
            "classes?": {"compared": 120, "other": 3, "share": 0.025}, "lists?": {"compared": 120, "overlap": 0.9, "same": 80}, "incomparable?": 1,
            "comparisons": [{"version": 2, "shadow": 3, "since_ms": TIME}]})
        }
        "/v1/models/{model}/aliases" => {
            let mut named = json!({"alias": "champion"});
            if let (Some(named), Value::Object(record)) = (named.as_object_mut(), record()) {
                named.extend(record);
            }
            json!({"model": "price", "aliases": [named], "total": 1})
        }
        "/v1/models/{model}/aliases/{alias}" => {
            json!({"model": "price", "alias": "champion", "version": 3, "record": 4, "history": [record()], "total": 4})
        }
        "/v1/catalogue" => json!({"items": [item()], "total": 6000, "facets": {"*": [{"value": null, "count": 4500}]}}),
        "/v1/catalogue/{id}" => item(),
        "/v1/views" => {
            json!({"views": [{"name": "near_price", "path": "/v1/views/near_price", "params": {"*": {"type": "float64", "min?": 0.5}}}], "total": 1})
        }
        _ => return None,
    })
}

/// Of what is computed behind.
pub fn computing() -> Value {
    json!({"model": "price", "version": 2, "status": "computing"})
}

/// Of rows that the topic has.
pub fn taken() -> Value {
    json!({"rows": 20, "partition": 0, "first_offset": 1200, "last_offset": 1219})
}

/// Of an alias that was moved.
pub fn moved() -> Value {
    json!({"model": "price", "alias": "champion", "version": 3, "before~": 2, "record": 4})
}

/// Of a view, and of SQL.
pub fn rows() -> Value {
    json!({"columns": ["price"], "rows": [{"*": null}], "total": 1, "cut?": "there are more than 10000 rows"})
}

/// Of a model's action, in the shape that the API gives it.
pub fn of_action(action: Action, file: Option<&ModelFile>) -> Value {
    let (model, number) = file.map_or(("taste", 2), |file| (file.model.as_str(), file.version));
    let list = |item: Value| json!({"model": model, "version": number, "source": "als", "items": [item], "total": 1});
    match action {
        Action::Predict => prediction(model, number, file.map(|file| &file.task)),
        Action::Estimate => json!({"model": model, "version": number, "source": "als", "prediction": 4.1}),
        Action::Recommend | Action::Similar | Action::Popular | Action::Because => {
            list(json!({"id": null, "score?~": 4.5}))
        }
        Action::History => list(json!({"id": null, "rating?~": 4.5})),
        Action::Users => list(json!({"id": null, "score": 4.5})),
        Action::Clusters => {
            json!({"model": model, "version": number, "clusters": [{"cluster": 0, "size": 1212, "share": 0.67,
            "label": "price high", "center": {"*": null}, "spread": {"*": null}}]})
        }
    }
}

/// Of one row; of several, `predictions` and what belongs to each.
fn prediction(model: &str, number: u32, task: Option<&Task>) -> Value {
    let mut answer = json!({"model": model, "version": number, "warnings?": [null]});
    let of_one = match task {
        Some(Task::Clustering { .. }) => json!({"cluster?": 0, "distance?": 0.5, "label?~": "price high"}),
        Some(task) if !task.classes().is_empty() => {
            json!({"prediction?": null, "probability?": {"*": 0.5}, "probabilities?": [{"*": 0.5}]})
        }
        _ => json!({"prediction?": 1.5}),
    };
    if let (Some(answer), Value::Object(of_one)) = (answer.as_object_mut(), of_one) {
        answer.extend(of_one);
        answer.insert("predictions?".to_owned(), json!([null]));
    }
    answer
}

const TIME: u64 = 1_764_492_000_000;

fn broker() -> Value {
    json!({"address": "127.0.0.1:9092", "reachable": true})
}

fn status() -> Value {
    json!({
        "pipeline": "houses", "state": "running", "millstream": env!("CARGO_PKG_VERSION"),
        "source": {"rows_sent": 6000, "rows_total~": 6000, "rows_per_second": 1500.5, "records_behind~": 0, "ended": true},
        "batch": {"batch": 3, "rows": 200, "rows_expected~": 2000, "rejects_total": 0, "closes~": "at 2,000 rows", "rows_read~": 6000,
            "rows_per_second~": 3766.2, "waits_for": [0]},
        "latest~": [{"partition": 0, "offset": 4000, "row": {"*": null}, "cut": false}],
        "rejects~": {"newest": [{"partition": 0, "offset": 17, "reason": "no JSON"}], "reasons": [{"reason": "no JSON", "records": 1}], "others": 0},
        "training": [{"model": "price", "batches": [1], "started_ms": TIME, "progress?": "tree 7 of 100"}],
        "broker": broker(), "problems": ["the broker does not answer"], "serving": {"*~": null}, "loading": ["batches"],
        "answer_log~": {"topic": "houses.answers", "share": 0.5, "written": 1200, "waiting": 3, "dropped": 0},
        "registry_problems": ["models/price/000003/model.json is damaged"],
    })
}

fn batch() -> Value {
    const DIGEST: &str = "1506bc55857430e9…";
    json!({
        "batch": 1, "rows": 2000, "rejects": 0, "total": 2000, "reason": "rows", "digest": DIGEST, "min_time~": TIME, "max_time~": TIME,
        "committed_at_ms~": TIME,
        "parts": [{"partition": 0, "rows": 2000, "rejects": 0, "skipped": 0, "late": 0, "first_offset": 0, "end_offset": 2000,
            "min_time~": TIME, "max_time~": TIME, "digest": DIGEST, "schema": 1, "file~": "batches/batch=000001/part-0000-….parquet",
            "committed_at_ms": TIME}],
    })
}

fn model() -> Value {
    json!({
        "name": "price", "algorithm~": "linear_regression", "latest~": 3, "champion~": 2, "serving~": 2, "aliases": {"*": 2}, "versions": [3],
        "inputs~": [{"name": "area", "type": "float64"}],
    })
}

fn version() -> Value {
    let measured = json!({"rows": 205, "baseline": {"kind": "mean"}, "beats_baseline~": true, "batches": [1]});
    json!({
        "model": "price", "version": 2, "algorithm": "linear_regression", "batches": [1], "rows": 1795, "parameters~": {"*": null},
        "features": ["area"], "target~": "price", "task": "regression", "classes~": [null], "inputs": [{"name": "area", "type": "float64"}],
        "metrics": {"holdout~": measured, "common~": measured, "next_batch~": measured, "baseline~": {"kind": "mean"}},
        "beats_baseline~": true, "trained_at_ms": TIME, "training_seconds~": 0.5, "identity": "a6bbdb079980ee41…", "seed": 1, "notes": ["…"],
        "removed?": {"at_ms": TIME, "reason": "train.keep = 20"},
    })
}

/// Without what was found while it is computed, and where that failed.
fn drift() -> Value {
    json!({
        "model": "price", "version": 2, "status": "ready", "reason?": "the rows cannot be read", "batch?": 5, "against?": "training",
        "reference_batches?": [1, 2], "rows?": 20_000, "of?": 89_951, "reference_rows?": 20_000, "reference_of?": 180_102,
        "thresholds?": {"moderate": 0.1, "major": 0.25, "by_chance": 0.01},
        "columns?": [{"name": "area", "role": "feature", "kind": "number", "verdict": "moderate", "psi~": 0.18, "chance~": 0.0022,
            "test": "kolmogorov_smirnov", "statistic~": 0.16, "p~": 1e-200, "missing~": 0.5, "reference_missing~": 0.5,
            "new": [{"value": "garage", "rows": 3}],
            "bins": [{"from?": 1.5, "to?": 2.5, "value?": "house", "group?": "others", "reference": 2000, "rows": 3104}]}],
        "notes?": ["…"],
    })
}

fn lineage() -> Value {
    const DIGEST: &str = "3f1c55857430e9a6…";
    json!({
        "model": "price", "version": 2, "algorithm": "linear_regression", "identity": DIGEST, "configuration_digest": DIGEST,
        "file": "models/price/000002/model.safetensors", "file_digest": DIGEST, "trained_at_ms": TIME, "rows": 1795, "where~": "price > 0",
        "holdout": {"share": 0.1, "seed": 1}, "parent~": {"version": 1, "file_digest": DIGEST},
        "imported~": {"from": "Spark 4.0.1", "class": "LinearRegressionModel", "uid": "linReg_1", "digest": DIGEST, "imported_at_ms": TIME,
            "parameters?": {"*": null}},
        "removed~": {"at_ms": TIME, "reason": "train.keep = 20"},
        "stream~": {"cluster": "millstream", "topic": "houses", "topic_id~": "3jXKp0mQSfWnT8m0k1c0Zg"},
        "aliases": [{"alias": "champion", "record": 1, "from_ms~": TIME, "until_ms~": TIME, "in_force": true, "by~": "http",
            "reason~": "less error", "rolled_back": false}],
        "aliases_cut": false,
        "batches": [{"batch": 1, "digest": DIGEST, "state": "there", "problem~": "the store does not have it", "rows~": 2000, "rejects~": 0,
            "min_time~": TIME, "max_time~": TIME, "committed_at_ms~": TIME,
            "parts": [{"partition": 0, "first_offset": 0, "end_offset": 2000, "rows": 2000,
                "file~": "batches/batch=000001/part-0000-….parquet", "file_digest~": DIGEST}],
            "sql": "select * from batches where _batch = 1", "rows_at": "/v1/batches/1/rows"}],
        "total": 1,
    })
}

fn comparison() -> Value {
    json!({
        "model": "price", "a": 2, "b": 3, "on": "common", "batches": {"first": 1, "last": 9}, "units": "records", "compared": 900,
        "level": 0.95, "resamples": 2000,
        "measures": [{"measure": "rmse", "less_is_better": true, "a": 3.25, "b": 3.0, "difference": -0.25, "low": -0.375, "high": -0.125,
            "b_is": "better"}],
        "notes": ["…"],
    })
}

fn record() -> Value {
    json!({
        "record": 4, "version?": 3, "before?~": 2, "promoted_at_ms?~": TIME, "by?~": "http", "reason?~": "less error on the next batch",
        "rolled_back?": false, "measures?~": {"version?~": null, "before?~": null}, "problem?": "it cannot be read; the server's log says why",
    })
}

fn item() -> Value {
    json!({"id": null, "title?~": "The Distant Orbit"})
}
