//! The API answers tensors as `/v1` answers rows, and says of what does not fit what to mend.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use millstream_learn::Algorithm;
use millstream_model::model::Missing;
use millstream_model::registry::Registry;
use millstream_model::train::fixture::{audience, film, trained};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::serve::fixture::{Fixture, context, fixture, fixture_of_stream};
use crate::serve::recommend::fixture::{FakeRow, LATE_USER, World, world};
use crate::serve::tests::ask;
use crate::serve::{App, ServeContext};

/// `METHOD target`, posted as JSON; a text is sent as it is.
async fn v2(app: &Arc<App>, method: &str, target: &str, body: &Value) -> (u16, HeaderMap, Value) {
    let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
    let (status, headers, text) = ask(app, method, target, &body).await;
    (status, headers, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{target}: {text}")))
}

async fn infer(app: &Arc<App>, model: &str, inputs: Value) -> Value {
    let (status, _, answer) = v2(app, "POST", &format!("/v2/models/{model}/infer"), &json!({ "inputs": inputs })).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// An error in the protocol's own shape, with all these words.
async fn refuse(app: &Arc<App>, target: &str, body: Value, status: u16, words: &[&str]) {
    let method = if body.is_null() { "GET" } else { "POST" };
    let (found, _, answer) = v2(app, method, target, &body).await;
    let message = answer["error"].as_str().unwrap_or_else(|| panic!("{target} {body}: {answer}"));
    assert_eq!((found, answer.as_object().unwrap().len()), (status, 1), "{target} {body}: {answer}");
    for word in words {
        assert!(message.contains(word), "{target} {body}: no {word:?} in {message}");
    }
}

fn tensor(name: &str, datatype: &str, data: Value) -> Value {
    json!({"name": name, "datatype": datatype, "shape": [data.as_array().unwrap().len()], "data": data})
}

#[tokio::test]
async fn the_server_and_its_models_say_what_they_take_and_give() {
    let app = fixture(Vec::new()).app;
    for target in ["/v2", "/v2/"] {
        let (status, _, server) = v2(&app, "GET", target, &json!("")).await;
        assert_eq!((status, &server["extensions"]), (200, &json!(["binary_tensor_data"])));
    }
    assert_eq!(v2(&app, "GET", "/v2/health/live", &json!("")).await.2, json!({"live": true}));
    assert_eq!(v2(&app, "GET", "/v2/health/ready", &json!("")).await.2, json!({"live": true, "ready": true}));
    let (_, headers, close) = v2(&app, "GET", "/v2/models/close", &json!("")).await;
    assert_eq!(headers["x-model-version"], "close@2", "the champion");
    let time = json!({"name": "Timestamp", "datatype": "FP64", "shape": [-1]});
    let prediction = json!({"name": "prediction", "datatype": "FP64", "shape": [-1]});
    let expected = json!({"name": "close", "versions": ["1", "2", "3"], "platform": "millstream", "inputs": [time], "outputs": [prediction]});
    assert_eq!(close, expected);
    let (_, _, typed) = v2(&app, "GET", "/v2/models/typed/versions/latest", &json!("")).await;
    let types: Vec<&Value> = typed["inputs"].as_array().unwrap().iter().map(|input| &input["datatype"]).collect();
    assert_eq!(types, ["INT64", "BYTES", "FP64"]);
    for (target, status) in
        [("close", 200), ("close/versions/3", 200), ("close/versions/champion", 200), ("waiting", 503)]
    {
        let (found, headers, answer) = v2(&app, "GET", &format!("/v2/models/{target}/ready"), &json!("")).await;
        let name = target.split('/').next().unwrap();
        assert_eq!((found, answer), (status, json!({"name": name, "ready": status == 200})), "{target}");
        assert!(headers.contains_key("content-type"));
    }
    refuse(&app, "/v2/models/waiting", Value::Null, 503, &["no version yet"]).await;
    refuse(&app, "/v2/models/nobody/ready", Value::Null, 404, &["there is no model nobody", "close"]).await;
    refuse(&app, "/v2/models/close/versions/9", Value::Null, 404, &["no version 9", "champion"]).await;
    refuse(&app, "/v2/models", Value::Null, 404, &["nothing at /v2/models"]).await;
    refuse(&app, "/v2/models/close", json!({}), 405, &["GET, HEAD only"]).await;
    let metrics = ask(&app, "GET", "/metrics", "").await.2;
    assert!(metrics.contains("route=\"/v2/models/{model}/versions/{version}\",status=\"404\""), "{metrics}");
}

#[tokio::test]
async fn a_server_without_a_version_is_not_ready() {
    let (context, _models) = context(Vec::new(), Vec::new());
    let (_running, stopping) = watch::channel(false);
    let app = Arc::new(App::new(context, stopping));
    let (status, _, answer) = v2(&app, "GET", "/v2/health/ready", &json!("")).await;
    assert_eq!((status, answer), (503, json!({"live": true, "ready": false})));
    assert_eq!(v2(&app, "GET", "/v2/health/live", &json!("")).await.0, 200);
}

#[tokio::test]
async fn tensors_are_answered_as_rows_are() {
    let app = fixture(Vec::new()).app;
    let rows = json!([{"Open": 1.5, "Volume": 2}, {"Open": 7, "Volume": 30}, {"Open": 0, "Volume": -4.25}]);
    let (_, _, by_rows) = v2(&app, "POST", "/v1/models/high/predict", &rows).await;
    let (open, volume) =
        (tensor("Open", "FP64", json!([1.5, 7, 0])), tensor("Volume", "FP32", json!([2, 30.0, -4.25])));
    let answer = infer(&app, "high", json!([volume, open])).await;
    assert_eq!(answer["outputs"][0]["data"], by_rows["predictions"]);
    assert_eq!(answer["outputs"][0]["shape"], json!([3]));
    assert_eq!((&answer["model_name"], &answer["model_version"]), (&json!("high"), &json!("2")));
    assert_eq!(answer["parameters"]["warnings"], by_rows["warnings"], "of -4.25");
    let all = |data: Value| json!([{"name": "input", "datatype": "FP64", "shape": [3, 2], "data": data}]);
    for data in [json!([1.5, 2, 7, 30, 0, -4.25]), json!([[1.5, 2], [7, 30], [0, -4.25]])] {
        assert_eq!(infer(&app, "high", all(data)).await["outputs"], answer["outputs"]);
    }
    // Any numeric datatype, [n] and [n, 1], and a flag is 0 or 1.
    for (datatype, data) in [("INT8", json!([3])), ("UINT64", json!([3.0])), ("FP64", json!([[3]]))] {
        let open = json!({"name": "Open", "datatype": datatype, "shape": [1, 1], "data": data});
        let answer = infer(&app, "high", json!([open, tensor("Volume", "BOOL", json!([true]))])).await;
        let same = v2(&app, "POST", "/v1/models/high/predict", &json!({"Open": 3, "Volume": 1})).await.2;
        assert_eq!(answer["outputs"][0]["data"][0], same["prediction"], "{datatype}");
    }
    // Without rows, without a prediction; and what was asked comes back with its id.
    let none =
        json!({"id": "a7", "inputs": [tensor("Timestamp", "INT64", json!([]))], "outputs": [{"name": "prediction"}]});
    let (_, headers, answer) = v2(&app, "POST", "/v2/models/close/versions/1/infer", &none).await;
    assert_eq!(headers["x-model-version"], "close@1");
    let output = json!({"name": "prediction", "datatype": "FP64", "shape": [0], "data": []});
    assert_eq!(answer, json!({"model_name": "close", "model_version": "1", "id": "a7", "outputs": [output]}));
    // Text, and a column of the stream that the model does not use.
    let town = tensor("town", "BYTES", json!(["York", "Bath"]));
    let typed = json!([tensor("count", "INT32", json!([2, 3])), town, tensor("x", "FP64", json!([1, 2]))]);
    let rows = json!([{"count": 2, "town": "York", "x": 1}, {"count": 3, "town": "Bath", "x": 2}]);
    let by_rows = v2(&app, "POST", "/v1/models/typed/predict", &rows).await.2;
    assert_eq!(infer(&app, "typed", typed).await["outputs"][0]["data"], by_rows["predictions"]);
    let of_stream = fixture_of_stream(Vec::new(), &["Open", "Volume", "Low"]).app;
    let inputs = ["Low", "Open", "Volume"].map(|name| tensor(name, "FP64", json!([1])));
    assert_eq!(infer(&of_stream, "high", json!(inputs)).await["outputs"][0]["shape"], json!([1]));
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_what_to_mend() {
    let app = fixture(Vec::new()).app;
    let check = async |inputs: Value, status: u16, words: &[&str]| {
        refuse(&app, "/v2/models/high/infer", json!({ "inputs": inputs }), status, words).await;
    };
    let one = |name: &str| tensor(name, "FP64", json!([1]));
    let with = |key: &str, value: Value| {
        let mut input = one("Open");
        input[key] = value;
        json!([input, one("Volume")])
    };
    check(json!([]), 422, &["inputs"]).await;
    check(json!([one("Open")]), 422, &["Volume"]).await;
    check(json!([one("Open"), one("Open"), one("Volume")]), 422, &["Open: given more than once"]).await;
    check(json!([one("Opn"), one("Volume")]), 422, &["Opn", "did you mean Open"]).await;
    check(with("datatype", json!("FP16")), 422, &["FP16", "FP32"]).await;
    check(with("datatype", json!("float")), 422, &["Open", "FP64"]).await;
    check(with("shape", json!([2])), 422, &["Open", "1 elements", "2"]).await;
    check(with("shape", json!([])), 422, &["[n, 1]"]).await;
    check(with("shape", json!([1, 1, 1])), 422, &["[n, 1]"]).await;
    check(with("shape", json!([1, 1, 1, 1])), 422, &["more than 3"]).await;
    check(with("shape", json!([-1])), 422, &["-1"]).await;
    check(with("shape", json!([1_u64 << 60])), 413, &["at most 100000"]).await;
    check(with("shape", json!([1, 1_u64 << 60])), 413, &["1000000 values"]).await;
    check(with("data", json!([null])), 422, &["Open", "missing"]).await;
    check(with("data", json!(["a"])), 422, &["element 0 is \"a\"", "FP64"]).await;
    check(with("data", json!([1, 2])), 422, &["more elements than the 1"]).await;
    check(with("data", json!(5)), 422, &["list"]).await;
    check(with("data", Value::Null), 422, &["neither data nor binary_data_size"]).await;
    check(with("parameters", json!({"binary_data_size": 8})), 422, &["one of them"]).await;
    check(json!([one("Open"), tensor("Volume", "FP64", json!([1, 2]))]), 422, &["Volume", "2 rows"]).await;
    check(json!([tensor("Open", "INT8", json!([200])), one("Volume")]), 422, &["200", "INT8"]).await;
    check(json!([tensor("Open", "UINT8", json!([0.5])), one("Volume")]), 422, &["0.5", "UINT8"]).await;
    check(json!([tensor("Open", "FP32", json!([1e39])), one("Volume")]), 422, &["FP32"]).await;
    check(json!([tensor("Open", "BYTES", json!(["x"])), one("Volume")]), 422, &["Open", "number"]).await;
    check(json!([{"name": "input", "datatype": "FP64", "shape": [1, 3], "data": [1, 2, 3]}]), 422, &["expected 2"])
        .await;
    check(
        json!([{"name": "input", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}, one("Open")]),
        422,
        &["beside"],
    )
    .await;
    check(json!([{"name": "Open", "shape": [1], "data": [1]}]), 422, &["datatype"]).await;
    let ok = json!([one("Open"), one("Volume")]);
    let whole = async |body: Value, status: u16, words: &[&str]| {
        refuse(&app, "/v2/models/high/infer", body, status, words).await
    };
    whole(json!({"inputs": ok, "outputs": [{"name": "probability"}]}), 422, &["probability", "prediction"]).await;
    whole(json!({"inputs": ok, "outputs": [{"name": "prediction"}, {"name": "prediction"}]}), 422, &["more than once"])
        .await;
    whole(
        json!({"inputs": ok, "outputs": [{"name": "prediction", "parameters": {"classification": 2}}]}),
        422,
        &["extension"],
    )
    .await;
    whole(json!({"id": 7, "inputs": ok}), 422, &["string"]).await;
    whole(json!("{\"inputs\":[NaN]}"), 400, &["not JSON"]).await;
    whole(json!(""), 400, &["empty"]).await;
    whole(json!("[1]"), 422, &["object"]).await;
    whole(json!("{\"inputs\":[],\"inputs\":[]}"), 422, &["duplicate"]).await;
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    for key in ["data", "more"] {
        let text = format!(r#"{{"inputs":[{{"name":"Open","datatype":"FP64","shape":[1],"{key}":{deep}}}]}}"#);
        whole(json!(text), 422, &["Open"]).await;
    }
    refuse(&app, "/v2/models/high/infer?a=1", json!({ "inputs": ok }), 422, &["a: "]).await;
    refuse(&app, "/v2/models/waiting/infer", json!({}), 503, &["no version yet"]).await;
}

/// A request as bytes, with headers.
async fn send(app: &Arc<App>, target: &str, headers: &[(&str, String)], body: Vec<u8>) -> (u16, HeaderMap, Vec<u8>) {
    let request = Request::post(target).header("host", "localhost");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
    let response = app.handle(request.body(Body::from(body)).unwrap()).await;
    let (head, body) = response.into_parts();
    (head.status.as_u16(), head.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

/// The JSON with its length told, then the rest.
async fn binary(app: &Arc<App>, target: &str, json: &Value, rest: &[u8]) -> (u16, HeaderMap, Vec<u8>) {
    let json = json.to_string();
    let headers = [
        ("content-type", "application/octet-stream".to_owned()),
        ("inference-header-content-length", json.len().to_string()),
    ];
    send(app, target, &headers, [json.as_bytes(), rest].concat()).await
}

#[tokio::test]
async fn binary_data_goes_both_ways() {
    let app = fixture(Vec::new()).app;
    let of = |name: &str, datatype: &str, size: usize| json!({"name": name, "datatype": datatype, "shape": [2], "parameters": {"binary_data_size": size}});
    let rest: Vec<u8> = [7_i64.to_le_bytes(), 9_i64.to_le_bytes()]
        .concat()
        .into_iter()
        .chain([4, 0, 0, 0])
        .chain(*b"York")
        .chain([4, 0, 0, 0])
        .chain(*b"Bath")
        .chain([0.5_f32.to_le_bytes(), 1.5_f32.to_le_bytes()].concat())
        .collect();
    let request = |outputs: Value| json!({"inputs": [of("count", "INT64", 16), of("town", "BYTES", 16), of("x", "FP32", 8)], "parameters": outputs});
    let target = "/v2/models/typed/infer";
    let (status, headers, body) = binary(&app, target, &request(json!({"binary_data_output": true})), &rest).await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "application/octet-stream"));
    let length: usize = headers["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    let head: Value = serde_json::from_slice(&body[..length]).unwrap();
    assert_eq!(head["outputs"][0]["parameters"], json!({"binary_data_size": 16}));
    assert!(head["outputs"][0].get("data").is_none());
    let numbers: Vec<f64> =
        body[length..].chunks(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect();
    let rows = json!([{"count": 7, "town": "York", "x": 0.5}, {"count": 9, "town": "Bath", "x": 1.5}]);
    let by_rows = v2(&app, "POST", "/v1/models/typed/predict", &rows).await.2;
    assert_eq!(json!(numbers), by_rows["predictions"]);
    // In as bytes, out as JSON.
    let (status, headers, body) = binary(&app, target, &request(json!({})), &rest).await;
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &answer["outputs"][0]["data"]), (200, &by_rows["predictions"]));
    assert!(headers["content-type"] == "application/json" && !headers.contains_key("inference-header-content-length"));
    // NaN is a missing value, as null is.
    let nan = json!({"inputs": [{"name": "Timestamp", "datatype": "FP64", "shape": [1], "parameters": {"binary_data_size": 8}}]});
    let (status, _, body) = binary(&app, "/v2/models/close/infer", &nan, &f64::NAN.to_le_bytes()).await;
    assert!(status == 422 && String::from_utf8(body).unwrap().contains("missing"));
    let refuse = async |json: Value, rest: &[u8], status: u16, word: &str| {
        let (found, _, body) = binary(&app, "/v2/models/close/infer", &json, rest).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert!(found == status && answer["error"].as_str().unwrap().contains(word), "{json}: {found} {answer}");
    };
    let sized = |datatype: &str, n: u64, size: u64| json!({"inputs": [{"name": "Timestamp", "datatype": datatype, "shape": [n], "parameters": {"binary_data_size": size}}]});
    refuse(sized("FP64", 1, 16), &[0; 8], 422, "8 bytes are left").await;
    refuse(sized("FP64", 1, u64::MAX), &[0; 8], 422, "8 bytes are left").await;
    refuse(sized("FP64", 2, 8), &[0; 8], 422, "8 bytes, but 2 elements").await;
    refuse(sized("FP64", 1, 8), &[0; 9], 422, "1 bytes are left").await;
    refuse(sized("FP64", 1, 8), &f64::INFINITY.to_le_bytes(), 422, "finite").await;
    refuse(sized("BOOL", 1, 1), &[2], 422, "BOOL").await;
    refuse(sized("BYTES", 1, 8), &[255, 255, 255, 255, 0, 0, 0, 0], 422, "beyond").await;
    refuse(sized("BYTES", 1, 5), &[1, 0, 0, 0, 0xff], 422, "UTF-8").await;
    refuse(sized("BOOL", 4_000_000, 4_000_000), &vec![0; 4_000_000], 413, "100000").await;
    refuse(sized("BOOL", 1 << 60, 8), &[0; 8], 413, "100000").await;
}

#[tokio::test]
async fn no_page_of_another_site_sends_a_request() {
    let app = fixture(Vec::new()).app;
    let body = json!({"inputs": [tensor("Timestamp", "FP64", json!([1]))]}).to_string();
    let length = ("inference-header-content-length", body.len().to_string());
    let status = async |headers: &[(&str, String)]| {
        let (status, _, answer) = send(&app, "/v2/models/close/infer", headers, body.clone().into_bytes()).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert!(status == 200 || answer["error"].is_string(), "{headers:?}: {answer}");
        status
    };
    let of = |name: &'static str, value: &str| (name, value.to_owned());
    // What programs send: `tritonclient` says no content type.
    assert_eq!(status(&[]).await, 200);
    assert_eq!(status(&[of("content-type", "application/json; charset=utf-8")]).await, 200);
    assert_eq!(status(&[of("content-type", "application/octet-stream"), length.clone()]).await, 200);
    assert_eq!(status(std::slice::from_ref(&length)).await, 200);
    assert_eq!(status(&[of("content-type", "application/octet-stream")]).await, 400);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        assert_eq!(status(&[of("content-type", kind)]).await, 415, "{kind}");
        assert_eq!(status(&[of("content-type", kind), length.clone()]).await, 415, "{kind}");
    }
    assert_eq!(status(&[of("origin", "http://localhost")]).await, 415, "a page says its content type");
    assert_eq!(status(&[of("sec-fetch-site", "same-origin")]).await, 415);
    assert_eq!(status(&[of("origin", "https://evil.example"), of("content-type", "application/json")]).await, 403);
    assert_eq!(status(&[of("content-encoding", "gzip")]).await, 415);
    assert_eq!(status(&[of("inference-header-content-length", "-1")]).await, 400);
    assert_eq!(status(&[of("inference-header-content-length", "99999999999999999999")]).await, 400);
    assert_eq!(status(&[of("inference-header-content-length", "100000")]).await, 400);
    // A probe may come by any name.
    for (target, expected) in [("/v2/health/live", 200), ("/v2/health/ready", 200), ("/v2", 403)] {
        let request = Request::get(target).header("host", "evil.example").body(Body::empty()).unwrap();
        assert_eq!(app.handle(request).await.status().as_u16(), expected, "{target}");
    }
}

/// A classifier of texts.
fn classifier() -> (Arc<App>, impl Sized) {
    let (films, _) = trained(
        audience(Algorithm::LogisticRegression, "audience", Missing::Drop),
        &(0..300).map(film).collect::<Vec<_>>(),
    );
    let (context, models) = context(Vec::new(), Vec::new());
    let registry = Arc::new(Registry::open(Arc::clone(&films.store)).unwrap());
    let (running, stopping) = watch::channel(false);
    (Arc::new(App::new(ServeContext { registry, ..context }, stopping)), (films, models, running))
}

#[tokio::test]
async fn classes_come_with_the_probability_of_each() {
    let (app, _held) = classifier();
    let (_, _, metadata) = v2(&app, "GET", "/v2/models/m", &json!("")).await;
    let classes = json!({"classes": ["adults", "all", "teens"]});
    let probability = json!({"name": "probability", "datatype": "FP64", "shape": [-1, 3], "parameters": classes});
    assert_eq!(metadata["outputs"], json!([{"name": "prediction", "datatype": "BYTES", "shape": [-1]}, probability]));
    let rows: Vec<Value> = (0..2)
        .map(|index| {
            let film = film(index);
            json!({"plot": film["plot"], "genre": film["genre"], "year": film["year"]})
        })
        .collect();
    let by_rows = v2(&app, "POST", "/v1/models/m/predict", &json!(rows)).await.2;
    let column = |name: &str| rows.iter().map(|row| row[name].clone()).collect::<Value>();
    let inputs = json!([
        tensor("plot", "BYTES", column("plot")),
        tensor("genre", "BYTES", column("genre")),
        tensor("year", "INT16", column("year"))
    ]);
    let answer = infer(&app, "m", inputs.clone()).await;
    assert_eq!(answer["outputs"][0]["data"], by_rows["predictions"]);
    let probabilities =
        by_rows["probabilities"].as_array().unwrap().iter().flat_map(|row| row.as_object().unwrap().values());
    assert_eq!(answer["outputs"][1]["data"], probabilities.cloned().collect::<Value>());
    assert_eq!((&answer["outputs"][1]["shape"], &answer["outputs"][1]["parameters"]), (&json!([2, 3]), &classes));
    // Chosen, in the order of the choice, one as bytes.
    let outputs = json!([{"name": "probability"}, {"name": "prediction", "parameters": {"binary_data": true}}]);
    let (_, headers, body) =
        send(&app, "/v2/models/m/infer", &[], json!({"inputs": inputs, "outputs": outputs}).to_string().into_bytes())
            .await;
    let length: usize = headers["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    let chosen: Value = serde_json::from_slice(&body[..length]).unwrap();
    assert_eq!(chosen["outputs"][0], answer["outputs"][1]);
    assert_eq!(body[length..], *b"\x06\0\0\0adults\x03\0\0\0all");
}

async fn estimate(world: &World, user: i64, item: &str) -> Value {
    ask(&world.app, "GET", &format!("/v1/models/taste/estimate/{user}/{item}"), "").await.2.parse().unwrap()
}

#[tokio::test]
async fn a_recommender_estimates_pairs() {
    let world = world(Vec::new());
    let (_, _, metadata) = v2(&world.app, "GET", "/v2/models/taste", &json!("")).await;
    let inputs = json!([{"name": "user", "datatype": "INT64", "shape": [-1]}, {"name": "item", "datatype": "BYTES", "shape": [-1]}]);
    assert_eq!(metadata["inputs"], inputs);
    let pairs = [(1, "10"), (2, "11"), (1, "15"), (LATE_USER, "12"), (LATE_USER, "13")];
    let of = |users: Value, items: Value| json!([tensor("user", "INT64", users), tensor("item", "BYTES", items)]);
    let inputs = of(pairs.iter().map(|pair| pair.0).collect(), pairs.iter().map(|pair| pair.1).collect());
    let answer = infer(&world.app, "taste", inputs).await;
    for (place, (user, item)) in pairs.into_iter().enumerate() {
        assert_eq!(
            answer["outputs"][0]["data"][place],
            estimate(&world, user, item).await["prediction"],
            "{user} {item}"
        );
    }
    let target = "/v2/models/taste/infer";
    let app = &world.app;
    refuse(app, target, json!({"inputs": of(json!([999]), json!(["10"]))}), 404, &["does not know the user", "999"])
        .await;
    refuse(app, target, json!({"inputs": of(json!([1]), json!(["nothing"]))}), 404, &["nothing"]).await;
    refuse(
        app,
        target,
        json!({"inputs": of(json!([1, null]), json!(["10", "10"]))}),
        422,
        &["row 1: user", "whole number"],
    )
    .await;
    refuse(app, target, json!({"inputs": [tensor("user", "INT64", json!([1]))]}), 422, &["item: is missing"]).await;
    refuse(app, target, json!({"inputs": of(json!([1]), json!([]))}), 422, &["item", "0 rows"]).await;
}

/// Each of them is folded in, once, whatever the pairs.
#[tokio::test]
async fn users_who_came_after_the_version_have_a_bound() {
    let world = world(Vec::new());
    let late = |user| FakeRow { batch: 4, user, item: "10", rating: Some(5.0), time: 9_001, held_out: false };
    world.rows.0.lock().unwrap().extend((1_000..2_001).map(late));
    world.read();
    let of = |n: i64| {
        let users: Vec<i64> = (1_000..1_000 + n).chain(1_000..1_000 + n).collect();
        let items = vec!["11"; users.len()];
        json!({"inputs": [tensor("user", "INT64", json!(users)), tensor("item", "BYTES", json!(items))]})
    };
    let (status, _, answer) = v2(&world.app, "POST", "/v2/models/taste/infer", &of(1_000)).await;
    assert_eq!((status, &answer["outputs"][0]["shape"]), (200, &json!([2_000])), "{}", answer["error"]);
    let data = answer["outputs"][0]["data"].as_array().unwrap();
    assert!(data[..1_000] == data[1_000..] && data[0] == estimate(&world, 1_000, "11").await["prediction"]);
    refuse(&world.app, "/v2/models/taste/infer", of(1_001), 413, &["1000 users"]).await;
}

/// What one request may cost: were one of these quadratic, the test would not end in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_costs_what_it_is_long() {
    let app = fixture(Vec::new()).app;
    let ones = |n: usize| vec!["1"; n].join(",");
    let data = |n: usize| {
        format!(r#"{{"inputs":[{{"name":"Timestamp","datatype":"FP64","shape":[{n}],"data":[{}]}}]}}"#, ones(n))
    };
    let (status, _, answer) = ask(&app, "POST", "/v2/models/close/infer", &data(100_000)).await;
    assert_eq!(status, 200, "{}", &answer[..answer.len().min(300)]);
    let one = r#"{"name":"a","datatype":"FP64","shape":[1],"data":[1]}"#;
    let many: Vec<String> = (0..9_000).map(|place| one.replace("\"a\"", &format!("\"a{place}\""))).collect();
    let empty = vec!["[]"; 1_000_000].join(",");
    let long = "x".repeat(4 << 20);
    for (body, status) in [
        (data(100_001), 413),
        (format!(r#"{{"inputs":[{}]}}"#, vec![one; 20_000].join(",")), 422),
        (format!(r#"{{"inputs":[{}]}}"#, many.join(",")), 422),
        (
            format!(
                r#"{{"inputs":[{{"name":"Timestamp","datatype":"FP64","shape":[{}],"data":[1]}}]}}"#,
                ones(1_000_000)
            ),
            422,
        ),
        (
            format!(
                r#"{{"inputs":[{{"name":"Timestamp","datatype":"FP64","shape":[1],"data":[{}]}}]}}"#,
                ones(1_000_000)
            ),
            422,
        ),
        (
            format!(r#"{{"inputs":[{{"name":"Timestamp","datatype":"FP64","shape":[100000,0],"data":[{empty}]}}]}}"#),
            422,
        ),
        (format!(r#"{{"inputs":[{{"name":"{long}","datatype":"FP64","shape":[1],"data":[1]}}]}}"#), 422),
        (format!(r#"{{"inputs":[{{"name":"Timestamp","datatype":"{long}","shape":[1],"data":[1]}}]}}"#), 422),
    ] {
        let (found, _, answer) = ask(&app, "POST", "/v2/models/close/infer", &body).await;
        assert!(found == status && answer.len() < 20_000, "{found} {}", &answer[..answer.len().min(300)]);
    }
}

#[tokio::test]
async fn the_document_has_every_path_with_an_example_that_is_answered() {
    let Fixture { app, .. } = &fixture(Vec::new());
    let document: Value = ask(app, "GET", "/openapi.json", "").await.2.parse().unwrap();
    let paths = document["paths"].as_object().unwrap();
    let below: Vec<&String> = paths.keys().filter(|path| path.starts_with("/v2")).collect();
    assert_eq!(below.len(), 9 + 4, "{below:?}");
    for (path, operations) in paths.iter().filter(|(path, _)| path.starts_with("/v2")) {
        let fill = |path: &str| path.replace("{model}", "close").replace("{version}", "1");
        let (method, operation) = operations.as_object().unwrap().iter().next().unwrap();
        let shown = &operation["responses"]["200"]["content"]["application/json"]["example"];
        assert!(shown.is_object(), "{path}");
        let body = &operation["requestBody"]["content"]["application/json"]["example"];
        let body = if body.is_null() { json!("") } else { body.clone() };
        let (status, _, answer) = v2(app, &method.to_uppercase(), &fill(path), &body).await;
        assert_eq!(status, 200, "{path} {body}: {answer}");
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let told = keys(&answer).into_iter().filter(|key| key != "parameters").collect::<Vec<_>>();
        assert_eq!(told, keys(shown), "{path}");
    }
    assert!(ask(app, "GET", "/docs", "").await.2.contains("/v2/models/close/infer"));
}
