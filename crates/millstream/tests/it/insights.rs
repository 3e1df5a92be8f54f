//! What a version goes by, by the real binary: every kind, computed once and kept, whoever asks and whatever is killed.

use crate::common::{Bench, MODELS, Served, finish, served_demo, until};
use serde_json::Value;

/// Waits until it is there.
fn ready(served: &Served, model: &str, version: &str) -> Value {
    let path = format!("/v1/models/{model}/versions/{version}/insights");
    let found = until(&path, || {
        let answer = served.get(&path);
        assert!(answer.status == 200 || answer.status == 202, "{path}: {}", answer.text);
        let computing = answer.json["status"] == "computing";
        assert_eq!(answer.status == 202, computing, "{}", answer.text);
        (!computing).then_some(answer.json)
    });
    assert_eq!((&found["status"], &found["model"]), (&"ready".into(), &model.into()), "{found}");
    found
}

fn list<'a>(found: &'a Value, name: &str) -> &'a Vec<Value> {
    found[name].as_array().unwrap_or_else(|| panic!("{name} of {found}"))
}

#[test]
fn models_of_rows_say_what_they_go_by_and_keep_it() {
    let bench = Bench::new(3000, &format!("batch.parts = 2\n{MODELS}"));
    bench.run_well(&[]);
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    let high = ready(&served, "high", "latest");
    assert_eq!((&high["kind"], &high["measure"], &high["version"]), (&"regression".into(), &"rmse".into(), &2.into()));
    assert!(high["rows"].as_u64().unwrap() > 100 && high["rows"] == high["of"], "{high}");
    let importance = list(&high, "importance");
    // High follows Open.
    assert_eq!((importance.len(), &importance[0]["feature"]), (2, &"Open".into()));
    assert!(importance[0]["increase"].as_f64().unwrap() > 10.0 * importance[1]["increase"].as_f64().unwrap().abs());
    let points = list(&high["partial"][0], "points");
    assert!((10..=20).contains(&points.len()) && high["partial"][0]["kind"] == "number", "{high}");
    let ends = [0, points.len() - 1].map(|at| points[at]["y"][0].as_f64().unwrap());
    assert!(ends[0] < ends[1], "{points:?}");
    assert_eq!(list(&high, "predicted").len() as u64, high["rows"].as_u64().unwrap().min(400));
    let counts: u64 = list(&high["residuals"], "counts").iter().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!((counts, high.get("coefficients")), (high["rows"].as_u64().unwrap(), None));

    let close = ready(&served, "close", "1");
    let coefficients = list(&close, "coefficients");
    let told: Vec<&str> = coefficients.iter().map(|one| one["feature"].as_str().unwrap()).collect();
    assert_eq!((told, coefficients[1]["unit"].as_str()), (vec!["intercept", "Timestamp"], Some("per 1 of Timestamp")));
    assert!(coefficients[1]["standardised"].as_f64().unwrap().abs() > coefficients[1]["value"].as_f64().unwrap().abs());

    let trend = ready(&served, "trend", "1");
    assert_eq!((&trend["kind"], &trend["measure"]), (&"classification".into(), &"log_loss".into()));
    assert_eq!(trend["classes"], serde_json::json!(["Down", "Up"]));
    let confusion = list(&trend, "confusion").iter().flat_map(|row| row.as_array().unwrap());
    assert_eq!(confusion.map(|rows| rows.as_u64().unwrap()).sum::<u64>(), trend["rows"].as_u64().unwrap());
    let (curves, calibration) = (list(&trend, "roc"), list(&trend, "calibration"));
    assert_eq!((curves.len(), &curves[0]["class"], calibration.len()), (1, &"Up".into(), 1));
    assert!(list(&curves[0], "points").len() <= 60 && curves[0]["auc"].as_f64().unwrap() > 0.5, "{trend}");
    assert_eq!(list(&trend, "coefficients").len(), 4);
    assert_eq!(served.get("/v1/models/high/versions/9/insights").status, 404);
    served.stopped();

    // It is kept, as it was told, and the next server reads it.
    let kept = bench.read("models/high/000002/insights/000001.json");
    assert_eq!((&kept["format"], &kept["importance"]), (&1.into(), &high["importance"]));
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    let again = served.get("/v1/models/high/versions/2/insights");
    assert_eq!((again.status, &again.json), (200, &high));
    served.stopped();
    // And nothing else minds the folder.
    for command in [&["models", "verify", "test.toml", "high", "2"][..], &["batches", "verify", "test.toml"]] {
        let (code, said) = finish(&bench.output(command));
        assert_eq!(code, 0, "{said}");
    }
    let said = bench.run_well(&["--set", "train.keep=1"]);
    assert!(said.contains("high@1 removed") && !said.contains("problem"), "{said}");
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    assert_eq!(served.get("/v1/models/high/versions/1/insights").status, 410);
}

// Tests may run as root, whom no rights keep from writing: here the folder's name is taken.
#[test]
fn what_cannot_be_kept_is_told_from_memory() {
    let bench = Bench::new(1000, &format!("batch.parts = 1\n{MODELS}"));
    bench.run_well(&["--set", "train.holdout=0"]);
    let taken = bench.path("millstream-data/models/close/000001/insights");
    std::fs::write(&taken, "").unwrap();
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    let found = ready(&served, "close", "1");
    assert_eq!(served.ask("/v1/models/close/versions/1/insights"), found);
    // Nothing is held out: coefficients need nothing more.
    assert_eq!((&found["rows"], &found["of"], &found["base"]), (&0.into(), &0.into(), &Value::Null));
    assert!(found["notes"].to_string().contains("hold-out is empty"), "{found}");
    assert_eq!(list(&found, "coefficients").len(), 2);
    served.stopped();
}

#[test]
fn clusters_are_a_picture_and_near_rows_say_what_they_have_in_common() {
    let bench = Bench::new(1, "");
    let served = served_demo(&bench, "houses", "3000");
    let clusters = ready(&served, "kind", "latest");
    assert_eq!(clusters["kind"], "clustering");
    let (scatter, loadings) = (list(&clusters, "scatter"), list(&clusters, "loadings"));
    let rows = clusters["rows"].as_u64().unwrap();
    assert!(rows > 50 && scatter.len() as u64 == rows.min(600), "{clusters}");
    assert!(scatter.iter().all(|point| point[0].is_f64() && point[1].is_f64() && point[2].is_u64()));
    let explained: Vec<f64> = list(&clusters, "explained").iter().map(|share| share.as_f64().unwrap()).collect();
    assert!(explained[0] >= explained[1] && explained[1] > 0.0 && explained[0] + explained[1] <= 1.0 + 1e-9);
    assert!(loadings.len() > 1 && loadings[0]["feature"].is_string(), "{clusters}");
    let alike = ready(&served, "alike", "latest");
    assert_eq!((&alike["kind"], &alike["rows"]), (&"neighbourhood".into(), &200.into()));
    let features = list(&alike, "features");
    let shares: Vec<f64> = features.iter().map(|feature| feature["share"].as_f64().unwrap()).collect();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9 && shares.is_sorted_by(|a, b| a >= b), "{alike}");
    // Categories cost a whole difference: the nearest rows have them in common.
    let count = |feature: &Value, name: &str| feature[name].as_u64().unwrap();
    assert!(features.iter().all(|feature| count(feature, "equal") <= count(feature, "pairs")), "{alike}");
    let row = served.get("/v1/batches/3/rows?limit=1").json["rows"][0].clone();
    let id: String = row["sale"].as_str().unwrap().bytes().map(|byte| format!("%{byte:02X}")).collect();
    let listed = served.ask(&format!("/v1/models/alike/similar/{id}?n=5"));
    for item in list(&listed, "items") {
        let parts: f64 = item["parts"].as_object().unwrap().values().filter_map(Value::as_f64).sum();
        assert!((parts - item["distance"].as_f64().unwrap()).abs() < 1e-9, "{item}");
    }
    served.stopped();
}

#[test]
fn recommenders_say_where_they_are_right() {
    let bench = Bench::new(1, "");
    let served = served_demo(&bench, "movielens", "20000");
    let watched = ready(&served, "watched", "1");
    assert!(list(&watched, "by_history").iter().all(|bucket| bucket.get("rmse").is_none()), "{watched}");
    let taste = ready(&served, "taste", "1");
    assert_eq!(taste["kind"], "recommendation");
    for name in ["by_popularity", "by_history"] {
        let buckets = list(&taste, name);
        assert!((2..=5).contains(&buckets.len()), "{taste}");
        let number = |bucket: &Value, name: &str| bucket[name].as_u64().unwrap();
        let ratings: u64 = buckets.iter().map(|bucket| number(bucket, "ratings")).sum();
        assert_eq!(ratings, taste["rows"].as_u64().unwrap());
        for bucket in buckets {
            assert!(number(bucket, "from") <= number(bucket, "to"), "{bucket}");
            assert!(number(bucket, "hits") <= number(bucket, "users"), "{bucket}");
            assert!(bucket["rmse"].as_f64().unwrap() > 0.0 && bucket["baseline_rmse"].is_f64(), "{bucket}");
        }
        assert!(buckets.windows(2).all(|two| number(&two[0], "to") < number(&two[1], "from")), "{taste}");
    }
    served.stopped();
}

#[test]
fn killed_before_it_is_kept_the_next_demand_computes_the_same() {
    let bench = Bench::new(2000, &format!("batch.parts = 1\n{MODELS}"));
    bench.run_well(&[]);
    let file = bench.path("millstream-data/models/high/000001/insights/000001.json");
    let mut kept = Vec::new();
    for point in ["before_record", "after_record"] {
        let kill = |command: &mut std::process::Command| {
            command.env("MILLSTREAM_KILL_AT", format!("insights.{point}"));
        };
        let served = bench.serving(&["serve", "test.toml"], kill);
        assert_eq!(served.get("/v1/models/high/versions/1/insights").status, 202);
        let (code, said) = served.end();
        assert_eq!(code, -1, "{point} was not reached: {said}");
        assert_eq!(file.exists(), point == "after_record");
        let served = bench.serving(&["serve", "test.toml"], |_| {});
        ready(&served, "high", "1");
        served.stopped();
        kept.push(std::fs::read(&file).unwrap());
        std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }
    assert_eq!(kept[0], kept[1]);
}
