//! The API from outside: each status and message.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use millstream_answer::views::View;
use millstream_stream::batch::{BatchSnapshot, Completeness};
use serde_json::{Value, json};

use super::App;
use super::fixture::{FakeBatches, Fixture, batch, context, fixture, fixture_of_stream, route};
use crate::serve::Route;

pub(super) fn routes() -> Vec<Route> {
    let high_low = json!({"open": "open", "volume": "volume", "predicted_high": "high.prediction",
        "predicted_low": "low.prediction"});
    let mut nested = route("/nested", &["typed"], &[], Some(json!({"n": "count", "town": "town"})));
    nested.body = Some("features".to_owned());
    let mut post_only = route("/post-only", &["close"], &[], None);
    post_only.get = false;
    vec![
        route(
            "/predict/close",
            &["close"],
            &[("Timestamp", "timestamp")],
            Some(json!({"timestamp": "timestamp", "predicted_close": "prediction"})),
        ),
        route("/predict/high_low", &["high", "low"], &[("Open", "open"), ("Volume", "volume")], Some(high_low)),
        route("/both", &["high", "low"], &[], None),
        route("/list", &["close"], &[], Some(json!({"results": [{"p": "prediction"}], "k": 1}))),
        route("/{town}/of/{count}", &["typed"], &[], Some(json!({"*": "", "p": "prediction", "v": "version"}))),
        route("/exact/of/{count}", &["typed"], &[], Some(json!({"exact": true}))),
        route("/soon", &["waiting"], &[], None),
        nested,
        post_only,
    ]
}

pub(crate) async fn ask(app: &Arc<App>, method: &str, target: &str, body: &str) -> (u16, HeaderMap, String) {
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "localhost")
        .header("content-type", "application/json");
    let response = app.handle(request.body(Body::from(body.to_owned())).unwrap()).await;
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), head.headers, String::from_utf8(bytes.to_vec()).unwrap())
}

/// Runs `METHOD target [body]` and compares the whole answer, with floats rounded to 6 digits.
pub(super) async fn check(fixture: &Fixture, request: &str, status: u16, expected: Value) {
    let mut words = request.splitn(3, ' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (found, _, body) = ask(&fixture.app, method, target, words.next().unwrap_or("")).await;
    let answer = rounded(serde_json::from_str(&body).unwrap());
    assert_eq!((found, answer), (status, rounded(expected)), "{request}");
}

/// An error: its status, code, field, and words of its message.
pub(super) async fn refuse(
    fixture: &Fixture,
    request: &str,
    status: u16,
    code: &str,
    field: Option<&str>,
    words: &[&str],
) {
    let mut parts = request.splitn(3, ' ');
    let (method, target) = (parts.next().unwrap(), parts.next().unwrap());
    let (found, _, body) = ask(&fixture.app, method, target, parts.next().unwrap_or("")).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    let error = answer["error"].as_object().unwrap_or_else(|| panic!("{request} gave {body}"));
    assert_eq!(error.keys().collect::<Vec<_>>(), ["code", "message", "field"], "{request}");
    assert_eq!(
        (found, error["code"].as_str(), error["field"].as_str()),
        (status, Some(code), field),
        "{request}: {body}"
    );
    for word in words {
        assert!(error["message"].as_str().unwrap().contains(word), "{request}: no {word:?} in {body}");
    }
}

fn rounded(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => json!((number.as_f64().unwrap() * 1e6).round() / 1e6),
        Value::Array(values) => values.into_iter().map(rounded).collect(),
        Value::Object(entries) => entries.into_iter().map(|(key, value)| (key, rounded(value))).collect(),
        other => other,
    }
}

/// A model that reads a text, trained as the trainer does it.
#[tokio::test]
async fn a_text_is_brought_whole_and_answered_by_its_words() {
    use millstream_model::train::fixture::{audience, film, trained};
    let model =
        audience(millstream_learn::Algorithm::LogisticRegression, "audience", millstream_model::model::Missing::Drop);
    let (films, version) = trained(model, &(0..300).map(film).collect::<Vec<_>>());
    let (context, _models) = context(vec![route("/audience", &["m"], &[], Some(json!({"for": "prediction"})))], vec![]);
    let registry = Arc::new(millstream_model::registry::Registry::open(Arc::clone(&films.store)).unwrap());
    let (_running, stopping) = tokio::sync::watch::channel(false);
    let app = Arc::new(App::new(super::ServeContext { registry, ..context }, stopping));
    let plot = json!({"plot": "Puppies, toys & magic", "genre": "Animation, Comedy", "year": 2001});
    let row = plot.as_object().unwrap().clone();
    let (status, _, body) = ask(&app, "POST", "/v1/models/m/predict", &plot.to_string()).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["prediction"]), (200, &json!("all")), "{body}");
    assert_eq!(answer["probability"], json!(version.predict(&[row]).unwrap()[0].probability), "{body}");
    let (status, _, body) = ask(&app, "GET", "/audience?plot=a+gang,+a+murder&genre=Crime&year=1980", "").await;
    assert_eq!((status, body.as_str()), (200, r#"{"for":"adults"}"#));
    let unknown = json!({"plot": "Zyzzyva!", "genre": "Crime", "year": 1980}).to_string();
    let (status, _, body) = ask(&app, "POST", "/v1/models/m/predict", &unknown).await;
    assert!(status == 200 && body.contains("`plot` has no word that training knew"), "{body}");
    let (status, _, body) = ask(&app, "POST", "/v1/models/m/predict", r#"{"genre":"Crime","year":1980}"#).await;
    assert!(status == 422 && body.contains("`plot` is missing: expected a text"), "{status} {body}");
    let (status, _, body) = ask(&app, "POST", "/v1/models/m/predict", r#"{"plot":[1],"genre":"","year":1980}"#).await;
    assert!(status == 422 && body.contains("`plot` is a list: expected a text"), "{status} {body}");
    let (status, _, body) = ask(&app, "GET", "/v1/models/m/versions/1", "").await;
    let shown: Value = serde_json::from_str(&body).unwrap();
    assert!(status == 200 && shown["metrics"]["holdout"]["baseline"]["accuracy"].is_number(), "{body}");
    let (status, _, body) = ask(&app, "GET", "/openapi.json", "").await;
    assert!(status == 200 && body.contains("\"plot\""), "{status}");
}

#[tokio::test]
async fn a_model_predicts_for_one_object_a_list_rows_and_a_query() {
    let fixture = fixture(routes());
    let one = json!({"model": "close", "version": 2, "prediction": 20.0});
    check(&fixture, r#"POST /v1/models/close/predict {"Timestamp": 10}"#, 200, one.clone()).await;
    check(&fixture, "GET /v1/models/close/predict?Timestamp=10", 200, one.clone()).await;
    check(&fixture, "GET /v1/models/close/versions/champion/predict?Timestamp=1e1", 200, one).await;
    let three = json!({"model": "close", "version": 3, "predictions": [30.0, 33.0]});
    for list in [r#"[{"Timestamp":10},{"Timestamp":11}]"#, r#"{"rows":[{"Timestamp":10},{"Timestamp":11}]}"#] {
        check(&fixture, &format!("POST /v1/models/close/versions/3/predict {list}"), 200, three.clone()).await;
        check(&fixture, &format!("POST /v1/models/close/versions/latest/predict {list}"), 200, three.clone()).await;
    }
    let none = json!({"model": "close", "version": 2, "predictions": []});
    check(&fixture, "POST /v1/models/close/predict []", 200, none).await;
    let (_, headers, _) = ask(&fixture.app, "GET", "/v1/models/close/predict?Timestamp=10", "").await;
    assert_eq!(headers["x-model-version"], "close@2");
    assert!(!headers.contains_key("access-control-allow-origin") && !headers.contains_key("vary"), "{headers:?}");
}

#[tokio::test]
async fn a_bad_row_is_told_its_field_and_what_was_expected() {
    let fixture = fixture(routes());
    let post = |body: &str| format!("POST /v1/models/close/predict {body}");
    let f = &fixture;
    refuse(f, &post("{}"), 422, "bad_value", Some("Timestamp"), &["missing", "expected"]).await;
    refuse(f, &post(r#"{"Timestamp":null}"#), 422, "bad_value", Some("Timestamp"), &["missing"]).await;
    refuse(f, &post(r#"{"Timestamp":"ten"}"#), 422, "bad_value", Some("Timestamp"), &["expected", "ten"]).await;
    refuse(f, &post(r#"{"Timestamp":[1]}"#), 422, "bad_value", Some("Timestamp"), &["expected"]).await;
    refuse(f, &post(r#"{"Timestamp":1e999}"#), 422, "bad_value", Some("Timestamp"), &["finite"]).await;
    refuse(f, &post(r#"{"Timestamp":1,"Timestamp":2}"#), 422, "repeated", Some("Timestamp"), &["more than once"]).await;
    refuse(f, &post(r#"{"timestam":1}"#), 422, "unknown_parameter", Some("timestam"), &["did you mean Timestamp"])
        .await;
    refuse(f, &post(r#"[{"Timestamp":1},{"Timestamp":"x"}]"#), 422, "bad_value", Some("Timestamp"), &["row 1:"]).await;
    refuse(f, &post(r#"[{"Timestamp":1},{"Other":1}]"#), 422, "unknown_parameter", Some("Other"), &["row 1:"]).await;
    refuse(f, &post("[1]"), 422, "bad_value", None, &["row 0", "an object, got a number"]).await;
    refuse(f, &post(r#"{"rows":3}"#), 422, "bad_value", Some("rows"), &["a list of objects"]).await;
    refuse(f, &post("3"), 422, "bad_value", None, &["an object or a list"]).await;
    for text in ["", "  ", "{", "{'a':1}", r#"{"Timestamp":NaN}"#, "{} {}", "\u{1}", &"[".repeat(10_000)] {
        refuse(f, &post(text), 400, "not_json", None, &[]).await;
    }
    let many = format!("[{}]", vec!["{}"; 100_001].join(","));
    refuse(f, &post(&many), 413, "too_large", None, &["100000"]).await;
    let values = format!("[{}]", vec!["0"; 1_000_001].join(","));
    refuse(f, &post(&values), 413, "too_large", None, &["values"]).await;
    refuse(f, "POST /v1/models/close/predict?a=1 {}", 422, "unknown_parameter", Some("a"), &["body alone"]).await;
}

#[tokio::test]
async fn a_row_of_the_stream_is_taken_whole_and_its_texts_for_what_they_say() {
    let f = &fixture_of_stream(routes(), &["Timestamp", "Open", "Volume", "High", "count", "town", "x"]);
    let one = json!({"model": "close", "version": 2, "prediction": 20.0});
    for body in [r#"{"Timestamp":"10","High":"n/a","_offset":7}"#, r#"{"High":null,"Timestamp":10,"Open":1}"#] {
        check(f, &format!("POST /v1/models/close/predict {body}"), 200, one.clone()).await;
    }
    check(f, "GET /v1/models/close/predict?Timestamp=10&High=x&town=York", 200, one).await;
    let two = json!({"model": "close", "version": 2, "predictions": [20.0, 22.0]});
    let rows = r#"[{"Timestamp":10,"High":1},{"Open":2,"Timestamp":"11"}]"#;
    check(f, &format!("POST /v1/models/close/predict {rows}"), 200, two.clone()).await;
    check(f, &format!(r#"POST /v1/models/close/predict {{"rows":{rows}}}"#), 200, two).await;
    let low = |answer: &str| format!("{answer} /predict/high_low");
    let answer = json!({"open": 1, "volume": 2, "predicted_high": 6.0, "predicted_low": 3.0});
    check(f, &format!("{}?open=1&volume=2&High=3", low("GET")), 200, answer).await;
    let (status, _, body) =
        ask(&f.app, "POST", "/nested", r#"{"features":{"count":"3","town":1234,"x":"0.5","Open":1}}"#).await;
    assert_eq!((status, body.as_str()), (200, r#"{"n":"3","town":1234}"#));
    // A name that is nowhere is still a fault, and so is a column that the route calls by another name.
    let post = |body: &str| format!("POST /v1/models/close/predict {body}");
    let hint = &["did you mean Timestamp?"];
    refuse(f, &post(r#"{"Timestam":1,"High":2}"#), 422, "unknown_parameter", Some("Timestam"), hint).await;
    refuse(f, "GET /v1/models/close/predict?Timestam=1&High=2", 422, "unknown_parameter", Some("Timestam"), hint).await;
    let unknown = "GET /predict/high_low?open=1&volume=2&hih=3";
    refuse(f, unknown, 422, "unknown_parameter", Some("hih"), &["not a parameter of /predict/high_low"]).await;
    let renamed = "GET /predict/high_low?Open=1&volume=2";
    refuse(f, renamed, 422, "unknown_parameter", Some("Open"), &["did you mean open?"]).await;
    // Without a schema in the store every name must be the model's.
    let bare = &fixture(routes());
    refuse(bare, &post(r#"{"Timestamp":1,"High":2}"#), 422, "unknown_parameter", Some("High"), &["not an input"]).await;
}

#[tokio::test]
async fn objects_of_a_row_are_taken_apart_as_the_stream_s_are() {
    let f = &fixture_of_stream(routes(), &["Timestamp", "Open", "deep.x", "deep.er.y"]);
    let post = |body: &str| format!("POST /v1/models/close/predict {body}");
    let one = json!({"model": "close", "version": 2, "prediction": 20.0});
    for rest in [r#""deep":{"x":1,"er":{"y":null}}"#, r#""deep":null"#, r#""deep.x":1"#, r#""deep":{"er":null}"#] {
        check(f, &post(&format!(r#"{{"Timestamp":10,{rest}}}"#)), 200, one.clone()).await;
        let row = format!(r#"{{"town":"York","count":3,"x":0.5,{rest}}}"#);
        let (status, _, body) = ask(&f.app, "POST", "/nested", &format!(r#"{{"features":{row}}}"#)).await;
        assert_eq!((status, body.as_str()), (200, r#"{"n":3,"town":"York"}"#), "{row}");
    }
    let unknown = [
        (r#""deep":{"z":1}"#, "deep.z"),
        (r#""deep":{"er":{"yy":{"y":1}}}"#, "deep.er.yy"),
        (r#""flat":{"x":1}"#, "flat"),
    ];
    for (rest, name) in unknown {
        refuse(f, &post(&format!(r#"{{"Timestamp":10,{rest}}}"#)), 422, "unknown_parameter", Some(name), &[name]).await;
    }
    let twice = post(r#"{"Timestamp":10,"deep.x":1,"deep":{"x":1}}"#);
    refuse(f, &twice, 422, "repeated", Some("deep.x"), &["given more than once"]).await;
}

#[tokio::test]
async fn a_query_is_read_by_the_columns_types() {
    let fixture = fixture(routes());
    let f = &fixture;
    let get = |query: &str| format!("GET /v1/models/close/predict?{query}");
    refuse(f, &get(""), 422, "bad_value", Some("Timestamp"), &["missing"]).await;
    refuse(f, &get("Timestamp="), 422, "bad_value", Some("Timestamp"), &["missing"]).await;
    for bad in ["abc", "NaN", "inf", "-Infinity", "1e999", "0x10", "1,5", "1%205"] {
        refuse(f, &get(&format!("Timestamp={bad}")), 422, "bad_value", Some("Timestamp"), &["finite number"]).await;
    }
    refuse(f, &get("Timestamp=1&Timestamp=2"), 422, "repeated", Some("Timestamp"), &[]).await;
    refuse(f, &get("Timestam=1"), 422, "unknown_parameter", Some("Timestam"), &["did you mean Timestamp?"]).await;
    refuse(f, &get("%ff=1"), 400, "bad_request", None, &["UTF-8"]).await;
    let echo = |count: i64, town: &str| json!({"town": town, "count": count, "x": 0, "p": 0, "v": 1});
    for (target, count, town) in [
        ("/007/of/3?x=0", 3, "007"),
        ("/a%2Fb/of/9007199254740993?x=0", 9_007_199_254_740_993, "a/b"),
        ("/%2541/of/-9223372036854775808?x=0", i64::MIN, "%41"),
        ("/%C3%A9%20%3Cb%3E/of/0?x=0", 0, "é <b>"),
    ] {
        let (status, _, body) = ask(&f.app, "GET", target, "").await;
        let mut answer: Value = serde_json::from_str(&body).unwrap();
        answer["p"] = json!(0);
        let keys =
            |value: &Value| value.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
        assert_eq!((status, keys(&answer)), (200, keys(&echo(count, town))), "{target}");
        assert_eq!(answer, echo(count, town), "{target}");
    }
    for bad in ["1.5", "9223372036854775808", "x"] {
        refuse(f, &format!("GET /York/of/{bad}?x=0"), 422, "bad_value", Some("count"), &["whole number"]).await;
    }
}

#[tokio::test]
async fn routes_answer_as_their_templates_say() {
    let fixture = fixture(routes());
    let f = &fixture;
    let close = json!({"timestamp": 5, "predicted_close": 10.0});
    check(f, "GET /predict/close?timestamp=5", 200, close).await;
    check(f, r#"POST /predict/close {"timestamp": 5}"#, 200, json!({"timestamp": 5, "predicted_close": 10.0})).await;
    let list = json!([{"timestamp": 5, "predicted_close": 10.0}, {"timestamp": 6, "predicted_close": 12.0}]);
    check(f, r#"POST /predict/close [{"timestamp": 5}, {"timestamp": 6}]"#, 200, list).await;
    check(f, "POST /predict/close []", 200, json!([])).await;
    let high_low = json!({"open": 1, "volume": 2, "predicted_high": 6.0, "predicted_low": 3.0});
    check(f, "GET /predict/high_low?open=1&volume=2", 200, high_low).await;
    let (_, headers, _) = ask(&f.app, "GET", "/predict/high_low?open=1&volume=2", "").await;
    assert_eq!(headers["x-model-version"], "high@2, low@1");
    let both = json!({"high": {"model": "high", "version": 2, "prediction": 6.0},
        "low": {"model": "low", "version": 1, "prediction": 3.0}});
    check(f, "GET /both?Open=1&Volume=2", 200, both).await;
    check(f, "GET /list?Timestamp=2", 200, json!({"results": [{"p": 4.0}], "k": 1})).await;
    check(f, "GET /exact/of/1?town=x&x=1", 200, json!({"exact": true})).await;
    let nested = r#"{"features": {"count": 1, "town": "x", "x": 2}}"#;
    check(f, &format!("POST /nested {nested}"), 200, json!({"n": 1, "town": "x"})).await;
    check(f, &format!("POST /nested [{nested}]"), 200, json!([{"n": 1, "town": "x"}])).await;
    // What a template answers whole may hold more than the model reads, and that never stands for what the model says.
    let (status, _, body) =
        ask(&f.app, "POST", "/York/of/1", r#"{"x": 1, "colour": "red", "prediction": "mine"}"#).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["colour"], &answer["prediction"]), (200, &json!("red"), &json!("mine")), "{body}");
    assert!(answer["p"].is_number(), "{body}");
    refuse(
        f,
        r#"POST /predict/close {"timestamp": 5, "colour": "red"}"#,
        422,
        "unknown_parameter",
        Some("colour"),
        &[],
    )
    .await;

    refuse(f, "GET /predict/close", 422, "bad_value", Some("timestamp"), &["missing", "expected"]).await;
    refuse(f, "GET /predict/close?Timestamp=5", 422, "unknown_parameter", Some("Timestamp"), &["timestamp"]).await;
    refuse(f, "GET /predict/high_low?open=1", 422, "bad_value", Some("volume"), &["missing"]).await;
    refuse(f, "GET /York/of/1?town=x&x=1", 422, "repeated", Some("town"), &[]).await;
    refuse(f, r#"POST /York/of/1 {"town":"x","x":1}"#, 422, "repeated", Some("town"), &["body"]).await;
    refuse(f, r#"POST /predict/close [{"timestamp":1},{}]"#, 422, "bad_value", Some("timestamp"), &["row 1: "]).await;
    refuse(f, r#"POST /nested {"count":1}"#, 422, "missing", Some("features"), &["an object"]).await;
    refuse(f, r#"POST /nested {"features":1}"#, 422, "bad_value", Some("features"), &["an object, got a number"]).await;
    refuse(f, "GET /soon?Open=1", 503, "no_version", None, &["waiting"]).await;
    refuse(f, "GET /post-only?Timestamp=1", 405, "method_not_allowed", None, &["POST only"]).await;
}

#[tokio::test]
async fn unknown_things_are_named_beside_the_known_ones() {
    let fixture = fixture(routes());
    let f = &fixture;
    refuse(f, "GET /predict/clos", 404, "unknown_path", None, &["did you mean /predict/close?"]).await;
    refuse(f, "GET /v1/model", 404, "unknown_path", None, &["did you mean /v1/models?"]).await;
    refuse(f, "GET /a/b/c/d/e", 404, "unknown_path", None, &["/predict/close", "/v1/models"]).await;
    refuse(f, "GET /v1/models/clse", 404, "unknown_model", None, &["did you mean close?"]).await;
    refuse(f, "GET /v1/models/nothing/predict", 404, "unknown_model", None, &["close, high, low"]).await;
    refuse(f, "GET /v1/models/close/versions/9", 404, "unknown_version", None, &["1, 2, 3, latest, champion"]).await;
    refuse(f, "POST /v1/models/close/versions/best/predict {}", 404, "unknown_version", None, &["champion"]).await;
    refuse(f, "GET /v1/models/waiting/predict", 503, "no_version", None, &["first training"]).await;
    refuse(f, "GET /v1/batches/4", 404, "unknown_batch", None, &["1 to 3"]).await;
    refuse(f, "GET /v1/batches/x/rows", 404, "unknown_batch", None, &[]).await;
    refuse(f, "GET /v1/batches/3/rows", 503, "damaged_store", None, &["log"]).await;
    refuse(f, "GET /v1/batches?limit=1001", 422, "bad_value", Some("limit"), &["1000"]).await;
    refuse(f, "GET /v1/batches?limt=1", 422, "unknown_parameter", Some("limt"), &["did you mean limit"]).await;
    refuse(f, "GET /%ff", 400, "bad_request", None, &["UTF-8"]).await;
    let (_, headers, _) = ask(&f.app, "GET", "/v1/models/waiting/predict", "").await;
    assert_eq!(headers["retry-after"], "5");
    for (method, target, allow) in [
        ("DELETE", "/v1/models/close", "GET, HEAD"),
        ("PUT", "/predict/close", "GET, HEAD, POST"),
        ("POST", "/v1/batches", "GET, HEAD"),
        ("BREW", "/v1/models/close/predict", "GET, HEAD, POST"),
    ] {
        let (status, headers, _) = ask(&f.app, method, target, "").await;
        assert_eq!((status, headers["allow"].to_str().unwrap()), (405, allow), "{method} {target}");
    }
    let request =
        Request::post("/v1/models/close/predict").header("host", "localhost").header("content-type", "text/plain");
    assert_eq!(f.app.handle(request.body(Body::from("{}")).unwrap()).await.status(), 415);
}

#[tokio::test]
async fn lists_take_limit_and_offset_and_tell_the_total() {
    let fixture = fixture(routes());
    let f = &fixture;
    for (target, list, n_items, total) in [
        ("/v1/batches", "batches", 3, 3),
        ("/v1/batches?limit=1&offset=1", "batches", 1, 3),
        ("/v1/batches/1/rows?limit=4&offset=8", "rows", 2, 10),
        ("/v1/batches/1/rows?offset=99999999999", "rows", 0, 10),
        ("/v1/models?limit=0", "models", 0, 5),
        ("/v1/models/close/versions?offset=2", "versions", 1, 3),
        ("/v1/models/waiting/versions", "versions", 0, 0),
    ] {
        let (status, _, body) = ask(&f.app, "GET", target, "").await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        let found = (status, answer[list].as_array().map(Vec::len), answer["total"].as_u64());
        assert_eq!(found, (200, Some(n_items), Some(total)), "{target}: {body}");
    }
    let (_, _, body) = ask(&f.app, "GET", "/v1/models/close", "").await;
    let model: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&model["latest"], &model["champion"]), (&json!(3), &json!(2)));
    let (_, _, body) = ask(&f.app, "GET", "/v1/models/waiting", "").await;
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["latest"], Value::Null);
}

#[tokio::test]
async fn health_tells_what_can_be_asked() {
    let fixture = fixture(routes());
    let f = &fixture;
    for target in ["/livez", "/readyz", "/healthz", "/v1/status", "/openapi.json", "/docs", "/", "/page/models"] {
        let (status, _, body) = ask(&f.app, "GET", target, "").await;
        assert_eq!((status, body.is_empty()), (200, false), "{target}");
    }
    let (_, _, metrics) = ask(&f.app, "GET", "/metrics", "").await;
    for line in [
        r#"millstream_requests_total{route="/livez",status="200"} 1"#,
        r#"millstream_request_duration_seconds_count{route="/livez"} 1"#,
        "millstream_batches 3",
        r#"millstream_versions{model="close"} 3"#,
    ] {
        assert!(metrics.contains(line), "no {line} in\n{metrics}");
    }
    let (_, _, document) = ask(&f.app, "GET", "/openapi.json", "").await;
    let document: Value = serde_json::from_str(&document).unwrap();
    let town = &document["paths"]["/{town}/of/{count}"]["get"]["parameters"];
    assert_eq!(
        town[0],
        json!({"name": "count", "in": "path", "required": true,
        "schema": {"type": "integer", "format": "int64"}})
    );
    let (context, _models) = context(routes(), Vec::new());
    let empty = Arc::new(App::new(context, tokio::sync::watch::channel(false).1));
    for (target, status) in [("/readyz", 503), ("/livez", 200), ("/", 200), ("/docs", 200), ("/openapi.json", 200)] {
        assert_eq!(ask(&empty, "GET", target, "").await.0, status, "{target}");
    }
}

/// Without models, of batches 1 and 2.
fn app_of(completeness: Completeness, away: Option<&str>) -> Arc<App> {
    let (mut context, _models) = context(Vec::new(), Vec::new());
    let batches = [batch(1, 10, 0), batch(2, 10, 2)].into();
    context.batches = Arc::new(FakeBatches(BatchSnapshot { batches, completeness, away: away.map(str::to_owned) }));
    let view = |(name, sql): (&str, &str)| View { name: name.to_owned(), sql: sql.to_owned(), params: Vec::new() };
    context.settings.models.clear();
    context.settings.views =
        [("all", "select * from batches"), ("one", "select 'Batches' as batches_")].map(view).to_vec();
    Arc::new(App::new(context, tokio::sync::watch::channel(false).1))
}

#[tokio::test]
async fn batches_are_answered_as_they_are_known_and_never_waited_for() {
    let check = async |app: &Arc<App>, list: (u16, &str), first: u16, readiness: Value| {
        let code = async |target: &str| {
            let (status, headers, body) = ask(app, "GET", target, "").await;
            let answer: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(headers.contains_key("retry-after"), status == 503, "{target}");
            (status, answer["error"]["code"].as_str().unwrap_or_default().to_owned())
        };
        let list = (list.0, list.1.to_owned());
        assert_eq!(code("/v1/batches").await, list);
        assert_eq!(
            code("/v1/batches/3").await,
            if list.0 == 200 { (404, "unknown_batch".to_owned()) } else { list.clone() }
        );
        // What could be read is there.
        assert_eq!((code("/v1/batches/2").await.0, code("/v1/batches/2/rows").await.0), (first, first));
        let (_, _, metrics) = ask(app, "GET", "/metrics", "").await;
        assert_eq!(metrics.contains("millstream_batches 2"), list.0 == 200);
        let (_, _, ready) = ask(app, "GET", "/readyz", "").await;
        assert_eq!(serde_json::from_str::<Value>(&ready).unwrap(), readiness);
        let (_, _, page) = ask(app, "GET", "/", "").await;
        assert_eq!(page.contains("are still being read"), list.1 == "loading");
        assert_eq!(page.contains("cannot be read"), ["damaged_store", "store_away"].contains(&list.1.as_str()));
        let (_, _, status) = ask(app, "GET", "/v1/status", "").await;
        let is_loading = serde_json::from_str::<Value>(&status).unwrap()["loading"] == json!(["batches"]);
        assert_eq!(is_loading, ["loading", "store_away"].contains(&list.1.as_str()));
        // A view that names no batches does not wait for them; this store has no schema, which is another matter.
        assert_eq!(code("/v1/views/one").await.1, "no_schema");
        assert_eq!(code("/v1/views/all").await.1, if is_loading { list.1 } else { "no_schema".to_owned() });
    };
    let ready = json!({"status": "ready"});
    let away =
        json!({"status": "ready", "detail": "the store does not answer just now; what was read before is served on"});
    check(&app_of(Completeness::Whole, None), (200, ""), 200, ready.clone()).await;
    check(&app_of(Completeness::Whole, Some("no route")), (200, ""), 200, away.clone()).await;
    check(&app_of(Completeness::Unread, None), (503, "loading"), 200, ready.clone()).await;
    check(&app_of(Completeness::Unread, Some("no route")), (503, "store_away"), 200, away).await;
    check(&app_of(Completeness::Damaged("torn".to_owned()), None), (503, "damaged_store"), 200, ready).await;
}

#[tokio::test]
async fn versions_are_listed_without_their_arrays() {
    let (context, models) = context(Vec::new(), Vec::new());
    models.publish_all(23);
    let app = Arc::new(App::new(context, tokio::sync::watch::channel(false).1));
    let list = async || ask(&app, "GET", "/v1/models/close/versions?limit=1000", "").await.2;
    let before = list().await;
    // Version 2 is the champion, and the newest 20 are loaded.
    for number in [1, 3] {
        models.store.delete(&format!("models/close/{number:06}/model.safetensors")).unwrap();
    }
    assert_eq!((list().await, before.matches("\"identity\"").count()), (before, 23));
}

#[tokio::test]
async fn options_and_head_say_what_is_there() {
    let fixture = fixture(routes());
    let request = Request::options("/v1/models/close/predict").header("host", "localhost");
    let response = fixture.app.handle(request.body(Body::empty()).unwrap()).await;
    assert_eq!((response.status().as_u16(), response.headers()["allow"].to_str().unwrap()), (204, "GET, HEAD, POST"));
    let (status, headers, _) = ask(&fixture.app, "HEAD", "/v1/models/close/predict?Timestamp=1", "").await;
    assert_eq!((status, headers["x-model-version"].to_str().unwrap()), (200, "close@2"));
}

#[tokio::test]
async fn other_sites_read_only_what_the_pipeline_file_opens_to_them() {
    const APP: &str = "https://app.example";
    let (closed, models) = context(routes(), Vec::new());
    models.publish_all(3);
    let mut settings = closed.settings.clone();
    settings.serve.sites.cors = vec![APP.to_owned()];
    let (other, _models) = context(routes(), Vec::new());
    let opened = super::ServeContext { settings, registry: Arc::clone(&closed.registry), ..other };
    let (_running, stopping) = tokio::sync::watch::channel(false);
    let [closed, opened] = [closed, opened].map(|context| Arc::new(App::new(context, stopping.clone())));
    let asked = async |app: &Arc<App>, method: &str, target: &str, pairs: &[(&str, &str)]| {
        let mut request = Request::builder().method(method).uri(target).header("content-type", "application/json");
        for (name, value) in pairs {
            request = request.header(*name, *value);
        }
        let response = app.handle(request.body(Body::from(r#"{"Timestamp":1}"#)).unwrap()).await;
        let allowed = response.headers().get("access-control-allow-origin").cloned();
        (
            response.status().as_u16(),
            allowed.map(|origin| origin.to_str().unwrap().to_owned()),
            response.into_parts().0.headers,
        )
    };
    let local = ("host", "localhost:8080");
    for (method, target) in [
        ("GET", "/"),
        ("GET", "/v1/status"),
        ("GET", "/v1/events"),
        ("POST", "/predict/close"),
        ("GET", "/nothing"),
        ("OPTIONS", "/v1/models/close/predict"),
        ("OPTIONS", "/nothing"),
        ("POST", "/v1/models/close/predict"),
        ("DELETE", "/v1/status"),
        ("HEAD", "/docs"),
    ] {
        for app in [&closed, &opened] {
            let evil = [local, ("origin", "https://evil.example"), ("access-control-request-method", "POST")];
            let (status, allowed, _) = asked(app, method, target, &evil).await;
            assert_eq!((status, allowed), (403, None), "{method} {target}");
            let (status, ..) = asked(app, method, target, &[("host", "evil.example")]).await;
            assert_eq!(status, 403, "{method} {target}");
        }
        let (status, allowed, headers) =
            asked(&opened, method, target, &[local, ("origin", APP), ("access-control-request-method", "POST")]).await;
        assert!(
            status != 403 && allowed.as_deref() == Some(APP) && headers["vary"] == "origin",
            "{method} {target}: {status}"
        );
        let (status, allowed, _) = asked(&closed, method, target, &[local, ("origin", "http://localhost:8080")]).await;
        assert!(status != 403 && allowed.is_none(), "{method} {target}: {status}");
    }
    let (status, _, headers) = asked(
        &opened,
        "OPTIONS",
        "/v1/models/close/predict",
        &[local, ("origin", APP), ("access-control-request-method", "POST")],
    )
    .await;
    assert_eq!((status, headers["access-control-allow-methods"].to_str().unwrap()), (204, "GET, HEAD, POST"));
    assert_eq!(headers["access-control-allow-headers"], "content-type");
    for target in ["/livez", "/readyz", "/metrics"] {
        for pairs in [&[("host", "evil.example")][..], &[local, ("origin", "https://evil.example")], &[]] {
            let (status, allowed, _) = asked(&closed, "GET", target, pairs).await;
            assert_eq!((status, allowed), (200, None), "{target} {pairs:?}");
        }
    }
    for (app, kind) in [
        (&closed, "text/plain"),
        (&closed, "application/x-www-form-urlencoded"),
        (&opened, "multipart/form-data; boundary=x"),
    ] {
        let request = Request::post("/predict/close").header("host", "localhost").header("content-type", kind);
        assert_eq!(app.handle(request.body(Body::from("{}")).unwrap()).await.status(), 415, "{kind}");
    }
    let request = Request::post("/predict/close").header("host", "localhost");
    assert_eq!(closed.handle(request.body(Body::from("{}")).unwrap()).await.status(), 415, "no content type");
}

#[tokio::test]
async fn the_page_escapes_what_it_shows() {
    let fixture = fixture(routes());
    fixture.status.update(|snapshot| snapshot.problems.push("<script>alert(1)</script>".to_owned()));
    let (_, headers, body) = ask(&fixture.app, "GET", "/", "").await;
    assert!(body.contains("&lt;script&gt;alert(1)") && !body.contains("<script>alert"));
    assert!(body.contains("does not beat its baseline"));
    let (_, _, versions) = ask(&fixture.app, "GET", "/page/models/close", "").await;
    assert!(versions.contains("does not beat its baseline") && versions.contains("31,450"), "{versions}");
    assert!(headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
}
