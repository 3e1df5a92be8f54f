//! Calls of gRPC as the table of routes answers them: the numbers of REST, and a code for whatever does not fit.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Version};
use http_body_util::BodyExt;
use millstream_untrusted::protobuf::{Message, Wire, fields};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::grpc::{self, ended, is_call};
use crate::serve::App;
use crate::serve::error::ApiError;
use crate::serve::fixture::{fixture, keep_answers, kept_answers};
use crate::serve::recommend::fixture::world_with;
use crate::serve::tests::ask;

fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0], &length.to_be_bytes()[..], message].concat()
}

fn request(method: &str, body: Vec<u8>) -> Request<Body> {
    Request::post(format!("/inference.GRPCInferenceService/{method}"))
        .version(Version::HTTP_2)
        .header("host", "localhost")
        .header("content-type", "application/grpc")
        .body(Body::from(body))
        .unwrap()
}

/// HTTP's status, the head, and the body.
async fn send(app: &Arc<App>, request: Request<Body>) -> (u16, HeaderMap, Vec<u8>) {
    let (head, body) = app.handle(request).await.into_parts();
    (head.status.as_u16(), head.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

async fn call(app: &Arc<App>, method: &str, message: Message) -> (HeaderMap, Vec<u8>) {
    let (status, head, body) = send(app, request(method, frame(&message.into_bytes()))).await;
    assert_eq!((status, &head["content-type"]), (200, &"application/grpc".parse().unwrap()), "{head:?}");
    (head, grpc::message(&body).unwrap().to_vec())
}

/// All values of a field.
fn values(message: &[u8], number: u32) -> Vec<Wire<'_>> {
    fields(message).map(Result::unwrap).filter(|(found, _)| *found == number).map(|(_, value)| value).collect()
}

fn texts(message: &[u8], number: u32) -> Vec<String> {
    let text = |value: Wire| match value {
        Wire::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    };
    values(message, number).into_iter().map(text).collect()
}

fn bytes(message: &[u8], number: u32) -> &[u8] {
    match values(message, number)[..] {
        [Wire::Bytes(bytes)] => bytes,
        ref other => panic!("{other:?}"),
    }
}

fn doubles(packed: &[u8]) -> Value {
    packed.chunks(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

fn model(name: &str, version: &str) -> Message {
    let mut message = Message::default();
    message.text(1, name);
    message.text(2, version);
    message
}

/// A request for FP64 columns, raw or as contents.
fn infer(name: &str, columns: &[(&str, &[f64])], is_raw: bool) -> Message {
    let mut message = model(name, "");
    message.text(3, "a7");
    for (column, values) in columns {
        let packed: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut input = Message::default();
        input.text(1, column);
        input.text(2, "FP64");
        input.number(3, values.len() as u64);
        if is_raw {
            message.bytes(7, &packed);
        } else {
            let mut contents = Message::default();
            contents.bytes(7, &packed);
            input.message(5, contents);
        }
        message.message(5, input);
    }
    message
}

#[tokio::test]
async fn estimates_are_kept_with_their_questions_whichever_protocol_asks_for_them() {
    let mut queue = None;
    let world = world_with(Vec::new(), |context, _| queue = Some(keep_answers(context)));
    let queue = queue.unwrap();
    let mut message = model("taste", "");
    for (name, datatype, field, values) in
        [("user", "INT64", 3, vec![&[1][..], &[2]]), ("item", "BYTES", 8, vec![&b"10"[..], b"11"])]
    {
        let (mut input, mut contents) = (Message::default(), Message::default());
        values.iter().for_each(|value| contents.bytes(field, value));
        input.text(1, name);
        input.text(2, datatype);
        input.number(3, 2);
        input.message(5, contents);
        message.message(5, input);
    }
    call(&world.app, "ModelInfer", message).await;
    let tensors = json!({"inputs": [
        {"name": "user", "datatype": "INT64", "shape": [2], "data": [1, 2]},
        {"name": "item", "datatype": "BYTES", "shape": [2], "data": ["10", "11"]}]});
    let frame = json!({"inputs": {"user": [1, 2], "item": ["10", "11"]}});
    for (target, body) in [("/v2/models/taste/infer", &tensors), ("/v1/models/taste/invocations", &frame)] {
        let (status, _, answer) = ask(&world.app, "POST", target, &body.to_string()).await;
        assert_eq!(status, 200, "{answer}");
    }
    let mut expected = Vec::new();
    for (user, item) in [(1, "10"), (2, "11")] {
        let (_, _, answer) = ask(&world.app, "GET", &format!("/v1/models/taste/estimate/{user}/{item}"), "").await;
        expected.push(json!({"prediction": answer.parse::<Value>().unwrap()["prediction"]}));
    }
    let records = kept_answers(&queue);
    assert_eq!(records.len(), 5);
    for record in &records[..3] {
        let questions =
            json!([{"action": "estimate", "user": 1, "item": "10"}, {"action": "estimate", "user": 2, "item": "11"}]);
        assert_eq!((&record["question"], &record["answer"]), (&questions, &json!(expected)), "{record}");
        assert_eq!((&record["rows"], &record["cut"], &record["status"]), (&json!(2), &json!(false), &json!(200)));
    }
}

#[tokio::test]
async fn health_and_metadata_are_those_of_rest() {
    let app = fixture(Vec::new()).app;
    for method in ["ServerLive", "ServerReady"] {
        assert_eq!(call(&app, method, Message::default()).await.1, [8, 1]);
    }
    let (_, server) = call(&app, "ServerMetadata", Message::default()).await;
    assert_eq!(
        (texts(&server, 1), texts(&server, 3)),
        (vec!["millstream".to_owned()], vec!["binary_tensor_data".to_owned()])
    );
    assert_eq!(call(&app, "ModelReady", model("close", "champion")).await.1, [8, 1]);
    assert_eq!(call(&app, "ModelReady", model("waiting", "")).await.1, [0_u8; 0], "false is not written");
    let (head, metadata) = call(&app, "ModelMetadata", model("typed", "latest")).await;
    let rest: Value = serde_json::from_str(&ask(&app, "GET", "/v2/models/typed", "").await.2).unwrap();
    assert_eq!(json!(texts(&metadata, 2)), rest["versions"]);
    assert!(head["x-model-version"].to_str().unwrap().starts_with("typed@"));
    let tensors = |number| {
        let of = |tensor: &Wire| match tensor {
            Wire::Bytes(tensor) => json!([texts(tensor, 1)[0], texts(tensor, 2)[0]]),
            other => panic!("{other:?}"),
        };
        values(&metadata, number).iter().map(of).collect::<Value>()
    };
    let expected = |key: &str| {
        let of = |tensor: &Value| json!([tensor["name"], tensor["datatype"]]);
        rest[key].as_array().unwrap().iter().map(of).collect::<Value>()
    };
    assert_eq!((tensors(4), tensors(5)), (expected("inputs"), expected("outputs")));
}

#[tokio::test]
async fn tensors_are_answered_in_the_way_they_came_with_the_numbers_of_rest() {
    let app = fixture(Vec::new()).app;
    let rows = json!([{"Open": 1.5, "Volume": 2}, {"Open": 0, "Volume": -4.25}]);
    let rows = ask(&app, "POST", "/v1/models/high/predict", &rows.to_string()).await.2;
    let rows: Value = serde_json::from_str(&rows).unwrap();
    let columns: [(&str, &[f64]); 2] = [("Open", &[1.5, 0.0]), ("Volume", &[2.0, -4.25])];
    for is_raw in [false, true] {
        let (head, answer) = call(&app, "ModelInfer", infer("high", &columns, is_raw)).await;
        assert_eq!([1, 2, 3].map(|number| texts(&answer, number).concat()), ["high", "2", "a7"]);
        assert_eq!(
            (&head["x-model-version"], &head["x-model-alias"]),
            (&"high@2".parse().unwrap(), &"latest".parse().unwrap())
        );
        assert!(head.contains_key("x-request-id"));
        let output = bytes(&answer, 5);
        assert_eq!(
            (texts(output, 1).concat(), texts(output, 2).concat()),
            ("prediction".to_owned(), "FP64".to_owned())
        );
        let found = if is_raw { bytes(&answer, 6) } else { bytes(bytes(output, 5), 7) };
        assert_eq!(doubles(found), rows["predictions"]);
        assert_eq!(values(output, 5).len(), usize::from(!is_raw), "one of both");
        let warnings = bytes(bytes(bytes(&answer, 4), 2), 3);
        assert_eq!(serde_json::from_slice::<Value>(warnings).unwrap(), rows["warnings"]);
    }
}

#[tokio::test]
async fn what_cannot_be_answered_is_told_by_a_code_and_a_word() {
    let app = fixture(Vec::new()).app;
    let check = async |request: Request<Body>, status: u16, code: &str, words: &[&str]| {
        let target = request.uri().to_string();
        let (found, head, body) = send(&app, request).await;
        let text = |name: &str| head.get(name).map_or("none", |value| value.to_str().unwrap());
        assert_eq!((found, text("grpc-status"), body.len()), (status, code, 0), "{target}: {head:?}");
        let message = percent_encoding::percent_decode_str(text("grpc-message")).decode_utf8().unwrap();
        for word in words {
            assert!(message.contains(word), "{target}: no {word:?} in {message}");
        }
    };
    let asked = |method: &str, message: Message| request(method, frame(&message.into_bytes()));
    let one = |columns: &[(&str, &[f64])]| asked("ModelInfer", infer("high", columns, false));
    for method in ["ModelInfer", "ModelMetadata", "ModelReady"] {
        check(asked(method, model("nobody", "")), 404, "5", &["there is no model nobody"]).await;
        check(asked(method, model("close", "9")), 404, "5", &["no version 9"]).await;
        check(asked(method, Message::default()), 422, "3", &["name: is missing"]).await;
        check(request(method, frame(b"\x0a\x05cut")), 400, "3", &["cannot be read"]).await;
    }
    check(asked("ModelInfer", model("waiting", "")), 503, "14", &["no version yet"]).await;
    check(one(&[]), 422, "3", &["inputs"]).await;
    check(one(&[("Open", &[1.0])]), 422, "3", &["Volume"]).await;
    check(one(&[("Open", &[1.0]), ("Volume", &[1.0, 2.0])]), 422, "3", &["Volume", "2 rows"]).await;
    check(one(&[("Opén", &[1.0]), ("Volume", &[1.0])]), 422, "3", &["Opén", "did you mean Open"]).await;
    check(one(&[("Open", &[f64::NAN]), ("Volume", &[1.0])]), 422, "3", &["Open", "missing"]).await;
    let many = vec![1.0; 100_001];
    check(one(&[("Open", &many), ("Volume", &many)]), 413, "8", &["at most 100000"]).await;
    let long = infer("nobody", &[("Open", &many)], false);
    check(asked("ModelInfer", long), 404, "5", &["there is no model nobody"]).await;
    check(asked("ModelInfer", model(&"é".repeat(5_000), "")), 404, "5", &["there is no model é"]).await;
    for method in ["ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata"] {
        check(request(method, frame(&[0; 5_000])), 413, "8", &["at most 4096 bytes"]).await;
    }
    check(request("ModelInfer", Vec::new()), 400, "3", &["one message"]).await;
    check(request("ModelInfer", [frame(b""), frame(b"")].concat()), 400, "3", &["5 bytes", "says that it has 0"]).await;
    check(request("ModelInfer", vec![0, 0xff, 0xff, 0xff, 0xff]), 400, "3", &["4294967295"]).await;
    check(request("ModelInfer", vec![1, 0, 0, 0, 0]), 415, "12", &["compressed"]).await;
    check(request("RepositoryIndex", frame(b"")), 404, "12", &["RepositoryIndex"]).await;
    let mut old = asked("ModelInfer", model("close", ""));
    *old.version_mut() = Version::HTTP_11;
    check(old, 415, "12", &["HTTP/2", "/v2"]).await;
    let mut json = asked("ModelInfer", model("close", ""));
    json.headers_mut().insert("content-type", "application/json".parse().unwrap());
    check(json, 415, "12", &["application/grpc"]).await;
    let mut get = asked("ModelInfer", model("close", ""));
    *get.method_mut() = axum::http::Method::GET;
    check(get, 405, "12", &["POST only"]).await;
    let mut foreign = asked("ServerMetadata", Message::default());
    foreign.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    check(foreign, 403, "7", &["evil.example"]).await;
    let metrics = ask(&app, "GET", "/metrics", "").await.2;
    assert!(metrics.contains("route=\"/inference.GRPCInferenceService/ModelInfer\",status=\"422\""), "{metrics}");
}

#[test]
fn a_long_message_fits_into_a_head_and_says_no_more_than_text() {
    let response = grpc::refused(&ApiError::bad_request(format!("100 % \r\n{}", "é".repeat(5_000))));
    let message = response.headers()["grpc-message"].to_str().unwrap();
    assert!(message.starts_with("100 %25 %0D%0A%C3%A9") && message.len() < 4_096, "{message}");
}

#[test]
fn a_call_has_the_path_the_method_and_the_content_type_of_one() {
    let is_one = |change: fn(&mut Request<Body>)| {
        let mut request = request("ModelInfer", Vec::new());
        change(&mut request);
        is_call(&request)
    };
    assert!(is_one(|_| ()));
    for kind in ["application/grpc+proto", "application/grpc;x=y"] {
        let mut request = request("ModelInfer", Vec::new());
        request.headers_mut().insert("content-type", kind.parse().unwrap());
        assert!(is_call(&request), "{kind}");
    }
    assert!(!is_one(|request| *request.version_mut() = Version::HTTP_11));
    assert!(!is_one(|request| *request.method_mut() = axum::http::Method::GET));
    assert!(!is_one(|request| *request.uri_mut() = "/v1/models".parse().unwrap()));
    assert!(!is_one(|request| {
        request.headers_mut().remove("content-type");
    }));
    assert!(!is_one(|request| {
        request.headers_mut().insert("content-type", "application/grpc-web".parse().unwrap());
    }));
}

#[tokio::test]
async fn an_answer_ends_with_its_trailers_and_is_held_until_its_bytes_are_gone() {
    let app = fixture(Vec::new()).app;
    let (unread, mut read) = oneshot::channel::<()>();
    let response = app.handle(request("ServerLive", frame(b""))).await;
    let mut body = ended(response, unread).into_body();
    let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    assert!(body.frame().await.is_none());
    drop(body);
    assert!(
        read.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty),
        "its bytes are not written yet"
    );
    drop(data);
    assert!(read.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
    let refused = ended(app.handle(request("ModelReady", frame(b""))).await, ());
    assert_eq!((refused.status().as_u16(), &refused.headers()["grpc-status"]), (200, &"3".parse().unwrap()));
}
