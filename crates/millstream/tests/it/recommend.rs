//! Recommenders from ratings to answers, by the real binary and over HTTP.

use std::path::{Path, PathBuf};

use crate::common::{Answer, Bench, Served, finish, shared};
use serde_json::{Value, json};

const ANYWHERE: [&str; 4] = ["--set", "serve.listen=127.0.0.1:0", "--set", "stream.listen=127.0.0.1:0"];

fn floats(items: &Value, field: &str) -> Vec<f64> {
    items.as_array().unwrap().iter().map(|item| item[field].as_f64().unwrap()).collect()
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/movielens.toml")
}

/// The example on generated ratings, all of it done, then served.
fn served_demo(bench: &Bench, rows: &str) -> Served {
    let data = bench.path("data");
    let data = data.to_str().unwrap();
    let arguments =
        [&["demo", "movielens", "--rows", rows, "--data", data, "--exit-when-done"][..], &ANYWHERE].concat();
    let (code, said) = finish(&bench.output(&arguments));
    assert_eq!(code, 0, "{said}");
    let example = example();
    let sources = [
        format!("source.path={data}/rows.csv"),
        format!("catalogue.from={data}/movies.csv"),
        format!("store.url=file:{data}/store"),
    ];
    let mut arguments = vec!["run", example.to_str().unwrap()];
    arguments.extend(sources.iter().flat_map(|set| ["--set", set]));
    arguments.extend(ANYWHERE);
    bench.serving(&arguments, |_| {})
}

#[test]
fn the_demo_recommends_with_titles_within_the_scale_and_for_the_version_asked_for() {
    let bench = Bench::new(1, "");
    let served = served_demo(&bench, "20000");
    let route = |path: &str| -> Answer {
        let answer = served.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer
    };
    let top = route("/1/top/ratings/10/0");
    let keys: Vec<&String> = top.json.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["userId", "source", "recommendations"]);
    assert!(top.head.contains("x-model-version: taste@1"), "{}", top.head);
    let items = &top.json["recommendations"];
    assert_eq!(items.as_array().unwrap().len(), 10);
    assert!(items[0]["title"].as_str().unwrap().starts_with("The "), "{items}");
    assert!(items[0]["genres"].is_array() && items[0]["movieId"].is_i64(), "{items}");
    let scores = floats(items, "score");
    assert!(scores.iter().all(|score| (0.5..=5.0).contains(score)), "{scores:?}");

    // The original answered every model number alike.
    let last = route("/1/top/ratings/10/4");
    assert!(last.head.contains("x-model-version: taste@5"), "{}", last.head);
    assert_ne!(last.json["recommendations"], top.json["recommendations"]);
    assert_eq!(served.get("/1/top/ratings/10/5").status, 404);

    // Seen ones are left out unless asked for.
    let history = route("/1/history").json["ratings"].clone();
    let seen: Vec<i64> = history.as_array().unwrap().iter().map(|item| item["movieId"].as_i64().unwrap()).collect();
    let ids = |path: &str| -> Vec<i64> {
        let items = route(path).json["items"].clone();
        items.as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap()).collect()
    };
    assert!(!seen.is_empty());
    assert!(ids("/v1/models/taste/recommend/1?n=500").iter().all(|id| !seen.contains(id)));
    assert!(ids("/v1/models/taste/recommend/1?n=500&exclude_seen=false").iter().any(|id| seen.contains(id)));

    // What a route and the API say of one pair is the same.
    let rated = seen[0];
    let by_route = route(&format!("/1/ratings/{rated}/4")).json["prediction"].clone();
    assert_eq!(route(&format!("/v1/models/taste/versions/5/estimate/1/{rated}")).json["prediction"], by_route);

    let drama = route("/v1/models/taste/recommend/1?n=5&filter=array_has(genre,%20'Drama')%20and%20year%20%3E%201990");
    for item in drama.json["items"].as_array().unwrap() {
        assert!(
            item["genre"].as_array().unwrap().contains(&json!("Drama")) && item["year"].as_i64() > Some(1990),
            "{item}"
        );
    }
    assert_eq!(route("/v1/catalogue?genre=Drama&limit=1").json["items"].as_array().unwrap().len(), 1);

    let folded = served.post("/new/top/3", &format!("{{\"ratings\":{{\"{rated}\":5,\"999999\":4}}}}"));
    assert_eq!((folded.status, folded.json["recommendations"].as_array().unwrap().len()), (200, 3), "{}", folded.text);
    assert!(folded.json["unknown"].to_string().contains("999999"), "{}", folded.text);

    // Nobody has seen the last user of all plus one.
    let unknown = route("/v1/models/taste/recommend/987654321?n=3").json;
    assert_eq!((unknown["source"].as_str(), unknown["items"].as_array().unwrap().len()), (Some("popularity"), 3));
    assert_eq!(served.get("/v1/models/taste/recommend/987654321?strict=true").status, 404);
    assert_eq!(route("/v1/models/taste/recommend/1?n=0").json["items"], json!([]));
    served.signal("TERM");
    assert_eq!(served.end().0, 0);
}

#[test]
fn a_folded_in_user_is_recommended_what_the_trained_one_is() {
    let bench = Bench::new(1, "");
    millstream_stream::source::demo::write_ratings(&bench.path("rows.csv"), 8000, 3).unwrap();
    bench.pipeline(
        "batch.parts = 1\ntrain.holdout = 0\n[[model]]\nname = \"taste\"\nalgorithm = \"als\"\nuser = \"userId\"\nitem = \"movieId\"\nrating = \"rating\"\nparams = { rank = 8, iterations = 5 }\n",
    );
    let mut served = bench.serve(&[]);
    served.wait_for("taste@1 trained");
    served.wait_for("serving on http://");
    let history = served.get("/v1/models/taste/history/5?limit=1000").json["items"].clone();
    let ratings: serde_json::Map<String, Value> =
        history.as_array().unwrap().iter().map(|item| (item["id"].to_string(), item["rating"].clone())).collect();
    let body = json!({ "ratings": ratings, "n": 20 }).to_string();
    let (known, folded) =
        (served.get("/v1/models/taste/recommend/5?n=20").json, served.post("/v1/models/taste/recommend", &body).json);
    assert_eq!((known["source"].as_str(), folded["source"].as_str()), (Some("als"), Some("fold_in")));
    let ids = |answer: &Value| -> Vec<Value> {
        answer["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect()
    };
    assert_eq!(ids(&known), ids(&folded));

    // The contributions of all of the user's ratings add up to the score.
    let item = ids(&known)[0].clone();
    let because = served.get(&format!("/v1/models/taste/because/5/{item}?n=1000")).json;
    let sum: f64 = floats(&because["items"], "score").iter().sum();
    let score = because["score"].as_f64().unwrap();
    assert!((sum - score).abs() < 1e-3, "{because}");
    served.signal("TERM");
    assert_eq!(served.end().0, 0);
}

#[test]
fn text_ids_and_ids_beyond_doubles_come_back_as_they_went_in() {
    let bench = Bench::new(1, "");
    let (big, mut rows) = (9_007_199_254_740_993_i64, String::from("who,what,stars\n"));
    for user in 0..30_i64 {
        for item in 0..12 {
            if (user + item) % 3 != 0 {
                rows.push_str(&format!("{},film/{item} ü,{}\n", big + user, 1 + (user * item) % 5));
            }
        }
    }
    std::fs::write(bench.path("rows.csv"), rows).unwrap();
    bench.pipeline(
        "batch.parts = 2\n[[model]]\nname = \"taste\"\nalgorithm = \"als\"\nuser = \"who\"\nitem = \"what\"\nrating = \"stars\"\nparams = { rank = 3 }\n",
    );
    let mut served = bench.serve(&[]);
    served.wait_for("taste@2 trained");
    served.wait_for("serving on http://");
    let answer = served.get(&format!("/v1/models/taste/versions/1/estimate/{big}/film%2F1%20%C3%BC"));
    assert_eq!((answer.status, answer.json["prediction"].is_number()), (200, true), "{}", answer.text);
    let users = served.get("/v1/models/taste/versions/1/users/film%2F1%20%C3%BC?exclude_seen=false&limit=100").json;
    let ids: Vec<&Value> = users["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
    assert!(ids.iter().all(|id| id.is_string()) && ids.contains(&&json!(big.to_string())), "{users}");
    served.signal("TERM");
    assert_eq!(served.end().0, 0);
}

#[test]
fn the_movielens_example_runs_on_the_real_files() {
    let Some(real) = shared("movielens.toml on the real files", "movielens") else { return };
    let bench = Bench::new(1, "");
    let (ratings, movies) = (
        format!("source.path={}/ratings.csv", real.display()),
        format!("catalogue.from={}/movies.csv", real.display()),
    );
    let example = example();
    let arguments =
        [&["run", example.to_str().unwrap(), "--exit-when-done", "--set", &ratings, "--set", &movies][..], &ANYWHERE]
            .concat();
    let (code, said) = finish(&bench.output(&arguments));
    assert_eq!(code, 0, "{said}");
    let scores = bench.read("models/taste/000005/evaluations/000001.json")["scores"].clone();
    assert_eq!(scores["rows"].as_u64().map(|rows| (9_000..11_500).contains(&rows)), Some(true), "{scores}");
    assert!(scores["rmse"].as_f64().unwrap() < scores["baseline"]["rmse"].as_f64().unwrap(), "{scores}");
    assert!(scores["ndcg_10"].as_f64().unwrap() > scores["baseline"]["ndcg_10"].as_f64().unwrap(), "{scores}");
    let (code, said) = finish(
        &bench
            .output(&[&["models", "verify", example.to_str().unwrap(), "taste", "5", "--set", &ratings][..]].concat()),
    );
    assert_eq!((code, said.contains("same bytes")), (0, true), "{said}");
    // The original's own example line.
    let served = bench.serving(
        &[&["run", example.to_str().unwrap(), "--set", &ratings, "--set", &movies][..], &ANYWHERE].concat(),
        |_| {},
    );
    let rating = served.get("/76/ratings/553/2");
    assert_eq!(rating.status, 200, "{}", rating.text);
    assert!((0.5..=5.0).contains(&rating.json["prediction"].as_f64().unwrap()), "{}", rating.text);
    assert!(rating.head.contains("x-model-version: taste@3"), "{}", rating.head);
    served.signal("TERM");
    assert_eq!(served.end().0, 0);
}
