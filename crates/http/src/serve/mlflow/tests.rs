//! The four forms answer what `predict` answers, errors have MLflow's shape, and nothing that a client sends is a fault of ours.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::frame::rows_claimed;
use crate::serve::fixture::{Fixture, context, fixture, fixture_of_stream, of_context};
use crate::serve::recommend::fixture::world;
use crate::serve::tests::ask;

async fn invoke(fixture: &Fixture, path: &str, body: &Value) -> (u16, Value) {
    let (status, headers, text) = ask(&fixture.app, "POST", path, &body.to_string()).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    match status {
        200 => assert!(headers.contains_key("x-model-version") && answer.as_object().unwrap().len() == 1, "{text}"),
        _ => assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), ["error_code", "message"], "{text}"),
    }
    (status, answer)
}

#[tokio::test]
async fn rows_of_every_form_are_answered_in_their_order() {
    let f = fixture(Vec::new());
    let check = async |path: &str, body: Value, expected: Value| {
        let (status, answer) = invoke(&f, path, &body).await;
        assert_eq!((status, rounded(&answer["predictions"])), (200, expected), "{body}: {answer}");
    };
    // The champion, version 2: twice its input.
    let close = "/v1/models/close/invocations";
    for body in [
        json!({"dataframe_split": {"index": [0, 1], "columns": ["Timestamp"], "data": [[1], [2.5]]}, "params": {"a": 1}}),
        json!({"dataframe_records": [{"Timestamp": 1}, {"Timestamp": 2.5}]}),
        json!({"instances": [{"Timestamp": 1}, {"Timestamp": 2.5}]}),
        json!({"instances": [[1], [2.5]]}),
        json!({"instances": [1, 2.5]}),
        json!({"inputs": [1, 2.5]}),
        json!({"inputs": [[1], [2.5]]}),
        json!({"inputs": {"Timestamp": [1, 2.5]}}),
        json!({"inputs": {"Timestamp": [[1], [2.5]]}}),
    ] {
        check(close, body, json!([2.0, 5.0])).await;
    }
    check("/v1/models/close/versions/3/invocations", json!({"inputs": [1]}), json!([3.0])).await;
    check("/invocations?model=close", json!({"inputs": [1]}), json!([2.0])).await;
    check("/invocations?model=close&version=latest", json!({"inputs": [1]}), json!([3.0])).await;
    check(close, json!({"inputs": []}), json!([])).await;
    // In the order of the inputs, or by name in any.
    check("/v1/models/high/invocations", json!({"instances": [[1, 10], [2, 20]]}), json!([22.0, 44.0])).await;
    let split = json!({"dataframe_split": {"columns": ["Volume", "Open"], "data": [[10, 1], [20, 2]]}});
    check("/v1/models/high/invocations", split, json!([22.0, 44.0])).await;
}

fn rounded(predictions: &Value) -> Value {
    let numbers = predictions.as_array().map_or(&[][..], Vec::as_slice).iter();
    numbers.map(|number| json!((number.as_f64().unwrap() * 1e6).round() / 1e6)).collect()
}

#[tokio::test]
async fn columns_of_the_stream_that_a_model_does_not_use_are_passed_over() {
    let f = fixture_of_stream(Vec::new(), &["Timestamp", "Other"]);
    for body in [
        json!({"dataframe_split": {"columns": ["Other", "Timestamp"], "data": [["x", 1]]}}),
        json!({"dataframe_records": [{"Other": 7, "Timestamp": 1}]}),
        json!({"inputs": {"Other": [null], "Timestamp": [1]}}),
    ] {
        let (status, answer) = invoke(&f, "/v1/models/close/invocations", &body).await;
        assert_eq!((status, rounded(&answer["predictions"])), (200, json!([2.0])), "{body}: {answer}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_in_mlflows_shape() {
    let f = fixture(Vec::new());
    let check = async |path: &str, body: Value, status: u16, code: &str, word: &str| {
        let (found, answer) = invoke(&f, path, &body).await;
        assert_eq!((found, &answer["error_code"]), (status, &json!(code)), "{body}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(word), "{word:?}: {answer}");
    };
    let close = "/v1/models/close/invocations";
    let bad = "INVALID_PARAMETER_VALUE";
    check("/invocations", json!({"inputs": [1]}), 422, bad, "/invocations?model=close").await;
    check("/invocations?modell=close", json!({"inputs": [1]}), 422, bad, "did you mean model?").await;
    check("/invocations?model=none", json!({"inputs": [1]}), 404, "RESOURCE_DOES_NOT_EXIST", "no model none").await;
    check("/v1/models/waiting/invocations", json!({"inputs": [1]}), 503, "TEMPORARILY_UNAVAILABLE", "no version yet")
        .await;
    check(close, json!([1]), 422, bad, "one of dataframe_split").await;
    check(close, json!({"data": []}), 422, bad, "it has data").await;
    check(close, json!({"inputs": [], "instances": []}), 422, bad, "it has 2 of them").await;
    check(close, json!({"dataframe_split": {"columns": ["Timestamp"]}}), 422, bad, "data: is missing").await;
    check(close, json!({"dataframe_split": {"columns": [1], "data": []}}), 422, bad, "expected names").await;
    let twice = json!({"dataframe_split": {"columns": ["Timestamp", "Timestamp"], "data": []}});
    check(close, twice, 422, bad, "more than once").await;
    check(
        close,
        json!({"dataframe_split": {"columns": ["Timestamp"], "data": [[1], [1, 2]]}}),
        422,
        bad,
        "row 1: has 2 values",
    )
    .await;
    check(close, json!({"dataframe_records": [[1]]}), 422, bad, "row 0: expected an object, got a list").await;
    check(close, json!({"dataframe_records": [{"timestamp": 1}]}), 422, bad, "did you mean Timestamp?").await;
    check(close, json!({"inputs": {"Timestamp": [1], "x": [1]}}), 422, bad, "x: no input of this model").await;
    check(close, json!({"inputs": {"Timestamp": 1}}), 422, bad, "expected a list of values, got a number").await;
    check(close, json!({"inputs": [1, [2]]}), 422, bad, "got a list among them").await;
    check(close, json!({"instances": {"Timestamp": [1]}}), 422, bad, "expected a list of rows").await;
    check("/v1/models/high/invocations", json!({"inputs": [1]}), 422, bad, "rows of 2 values").await;
    check("/v1/models/high/invocations", json!({"inputs": {"Open": [1], "Volume": [1, 2]}}), 422, bad, "has 2 values")
        .await;
    let unfit = json!({"dataframe_split": {"columns": ["Timestamp"], "data": [[1], ["x"]]}});
    check(close, unfit, 422, bad, "row 1").await;
    check(close, json!({"inputs": vec![0; 100_001]}), 413, "BAD_REQUEST", "at most 100000").await;
    let (status, _, body) = ask(&f.app, "POST", close, "{\"inputs\": [NaN]}").await;
    assert!(status == 400 && body.contains("\"error_code\":\"BAD_REQUEST\"") && body.contains("NaN"), "{body}");
    let (status, _, body) = ask(&f.app, "GET", "/invocations", "").await;
    assert!(status == 405 && body.contains("error_code"), "{body}");
}

#[tokio::test]
async fn the_only_model_needs_no_name_and_ping_says_when_it_answers() {
    let (mut context, models) = context(Vec::new(), Vec::new());
    context.settings.models.retain(|model| model.name == "close");
    let f = of_context(context, models);
    let (status, answer) = invoke(&f, "/invocations", &json!({"inputs": [1]})).await;
    assert_eq!((status, &answer["error_code"]), (503, &json!("TEMPORARILY_UNAVAILABLE")));
    assert_eq!(ask(&f.app, "GET", "/ping", "").await.0, 503);
    f.models().publish("close", &[("Timestamp", millstream_stream::schema::ColumnType::Float64)]);
    f.models().refresh();
    let (status, answer) = invoke(&f, "/invocations", &json!({"inputs": [7]})).await;
    assert_eq!((status, rounded(&answer["predictions"])), (200, json!([7.0])));
    let (status, _, body) = ask(&f.app, "GET", "/ping", "").await;
    assert_eq!((status, body.as_str()), (200, "\n"));
    assert_eq!(ask(&f.app, "GET", "/version", "").await.2, env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn a_recommender_answers_pairs_as_it_estimates_them() {
    let world = world(Vec::new());
    let (_, _, one) = ask(&world.app, "GET", "/v1/models/taste/estimate/1/10", "").await;
    let one: Value = serde_json::from_str(&one).unwrap();
    for body in [
        json!({"dataframe_split": {"columns": ["item", "user"], "data": [["10", 1]]}}),
        json!({"dataframe_records": [{"user": 1, "item": "10"}]}),
        json!({"inputs": {"user": [1], "item": ["10"]}}),
        json!({"instances": [[1, "10"]]}),
    ] {
        let (status, _, answer) = ask(&world.app, "POST", "/v1/models/taste/invocations", &body.to_string()).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, &answer), (200, &json!({"predictions": [one["prediction"]]})), "{body}");
    }
    let (status, _, answer) =
        ask(&world.app, "POST", "/v1/models/taste/invocations", "{\"inputs\": {\"user\": [1]}}").await;
    assert!(status == 422 && answer.contains("item: is missing"), "{answer}");
}

#[test]
fn a_body_claims_at_least_its_rows() {
    let check = |body: Value, rows: usize| {
        let claimed = rows_claimed(body.to_string().as_bytes());
        assert!((rows..=4 * rows + 4).contains(&claimed), "{body}: {claimed}");
    };
    check(json!({"dataframe_split": {"columns": ["a", "b"], "data": vec![[1, 2]; 50]}}), 50);
    check(json!({"dataframe_records": vec![json!({"a": 1}); 50]}), 50);
    check(json!({"instances": vec![7; 50]}), 50);
    check(json!({"inputs": vec![[1, 2]; 50]}), 50);
    check(json!({"inputs": {"a": vec![1; 50]}}), 50);
    check(json!({"a": 1}), 0);
}

fn any_body() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from),
    ];
    let names = vec!["Timestamp", "Open", "Volume", "columns", "data", "index", "x"];
    let value = leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(names.clone()), inner), 0..6).prop_map(object),
        ]
    });
    let forms = vec!["dataframe_split", "dataframe_records", "instances", "inputs", "params"];
    prop::collection::vec((prop::sample::select(forms), value), 0..3).prop_map(object)
}

fn object(pairs: Vec<(&'static str, Value)>) -> Value {
    Value::Object(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

#[test]
fn any_body_is_answered_or_an_error_of_the_client() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let f = fixture(Vec::new());
    let mut runner = proptest::test_runner::TestRunner::default();
    let checked = runner.run(&(any_body(), prop::sample::select(vec!["close", "high", "typed"])), |(body, model)| {
        let path = format!("/v1/models/{model}/invocations");
        let (status, answer) = runtime.block_on(invoke(&f, &path, &body));
        prop_assert!(matches!(status, 200 | 400 | 413 | 422), "{status} {body} {answer}");
        Ok(())
    });
    checked.unwrap_or_else(|error| panic!("{error}"));
}
