//! Who may ask what: every route by every kind of key, and by none.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, Request, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::endpoints::own_routes;
use super::fixture::{Fixture, context, of_context};
use super::guard::Peer;
use super::keys::{DrawnKey, KeyScope, parse_rate};
use super::tests::routes;
use super::{App, Gate, Serve};

/// A server with keys, and the folder of their file.
struct Keyed {
    fixture: Fixture,
    folder: TempDir,
}

impl Keyed {
    fn new(lines: &[String], change: impl FnOnce(&mut Serve)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.txt");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let (mut context, models) = context(routes(), Vec::new());
        models.publish_all(3);
        let serve = &mut context.settings.serve;
        serve.keys = Some(path);
        change(serve);
        context.gate = Gate::open(serve, "p.toml").unwrap();
        Self { fixture: of_context(context, models), folder }
    }

    fn closed(lines: &[String]) -> Self {
        Self::new(lines, |serve| serve.reads_by_key = true)
    }

    fn app(&self) -> &Arc<App> {
        &self.fixture.app
    }

    fn write(&self, lines: &[&str]) {
        std::fs::write(self.folder.path().join("keys.txt"), lines.join("\n")).unwrap();
        // What is seen once may be half written.
        (0..2).for_each(|_| self.app().context.gate.look(self.app()));
    }
}

fn key(name: &str, scopes: &[KeyScope]) -> DrawnKey {
    DrawnKey::draw(name, scopes, None).unwrap()
}

fn bearer(key: &DrawnKey) -> String {
    format!("Bearer {}", key.secret)
}

/// Of another machine, as JSON.
async fn sent(
    app: &Arc<App>,
    (method, target): (&str, &str),
    headers: &[(&'static str, &str)],
    body: &str,
) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(target).header("host", "localhost:8080");
    for (name, value) in [("content-type", "application/json")].iter().chain(headers) {
        request = request.header(HeaderName::from_static(name), *value);
    }
    let mut request = request.body(Body::from(body.to_owned())).unwrap();
    request.extensions_mut().insert(Peer("10.0.0.3:4000".parse().unwrap()));
    app.handle(request).await
}

async fn asked(
    app: &Arc<App>,
    what: (&str, &str),
    authorization: Option<&str>,
    body: &str,
) -> (u16, HeaderMap, String) {
    let headers: Vec<(&'static str, &str)> = authorization.into_iter().map(|value| ("authorization", value)).collect();
    let (head, body) = sent(app, what, &headers, body).await.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), head.headers, String::from_utf8_lossy(&bytes).into_owned())
}

/// By hand, so that a new route is looked at: what it needs.
fn needed(method: &str, pattern: &str) -> Option<KeyScope> {
    let is_reading = ["GET", "HEAD"].contains(&method);
    match pattern {
        "/livez" | "/readyz" | "/healthz" | "/v2/health/live" | "/v2/health/ready" | "/ping" => None,
        "/inference.GRPCInferenceService/ServerLive" | "/inference.GRPCInferenceService/ServerReady" => None,
        _ if is_reading || pattern.starts_with("/inference.GRPCInferenceService/") => Some(KeyScope::Read),
        "/v1/query" | "/page/sql" => Some(KeyScope::Query),
        // What posts its question.
        _ if ["predict", "infer", "recommend", "similar", "invocations"].iter().any(|end| pattern.ends_with(end)) => {
            Some(KeyScope::Read)
        }
        _ => Some(KeyScope::Write),
    }
}

#[tokio::test]
async fn every_route_is_answered_to_the_keys_of_its_scope_alone() {
    use KeyScope::{Query, Read, Write};
    let keys: Vec<(Vec<KeyScope>, DrawnKey)> = [vec![Read], vec![Write], vec![Query], vec![Read, Write, Query]]
        .into_iter()
        .enumerate()
        .map(|(number, scopes)| (scopes.clone(), key(&format!("k{number}"), &scopes)))
        .collect();
    let lines: Vec<String> = keys.iter().map(|(_, key)| key.line.clone()).collect();
    let gone = key("gone", &KeyScope::ALL);
    for is_closed in [false, true] {
        let keyed = Keyed::new(&lines, |serve| serve.reads_by_key = is_closed);
        for own in own_routes() {
            let target = own.pattern.replace(['{', '}'], "");
            for method in own.methods.allow().split(", ") {
                let needed = needed(method, own.pattern).filter(|scope| is_closed || *scope != Read);
                let status = async |authorization: Option<&str>| {
                    let headers: Vec<(&'static str, &str)> =
                        authorization.into_iter().map(|value| ("authorization", value)).collect();
                    // The event stream has no end.
                    let response = sent(keyed.app(), (method, &target), &headers, "{}").await;
                    let status = response.status().as_u16();
                    let has_challenge = response.headers().contains_key("www-authenticate");
                    assert_eq!(has_challenge, status == 401, "{method} {target}");
                    status
                };
                let what = format!("{method} {target}, closed: {is_closed}");
                for none in [None, Some(bearer(&gone)), Some("Bearer".to_owned()), Some("Basic Og==".to_owned())] {
                    let found = status(none.as_deref()).await;
                    assert_eq!(found == 401, needed.is_some(), "{what}: {found}");
                    assert_ne!(found, 403, "{what}");
                }
                for (scopes, key) in &keys {
                    let found = status(Some(&bearer(key))).await;
                    let may = needed.is_none_or(|needed| scopes.contains(&needed));
                    assert_eq!(found == 403, !may, "{what} by {scopes:?}: {found}");
                    assert!(found != 401 && found != 500, "{what} by {scopes:?}: {found}");
                }
            }
        }
        // Routes of the pipeline file are read, and so is which paths there are.
        for target in ["/predict/close?timestamp=5", "/nothing/here"] {
            let (status, _, body) = asked(keyed.app(), ("GET", target), None, "").await;
            assert_eq!(status == 401, is_closed, "{target}: {body}");
            assert_eq!(body.contains("/predict/high_low"), !is_closed && status == 404, "{body}");
        }
    }
}

#[tokio::test]
async fn who_is_refused_is_told_how_to_be_known_and_nothing_of_a_key() {
    let reader = key("shop", &[KeyScope::Read]);
    let keyed = Keyed::closed(std::slice::from_ref(&reader.line));
    let challenges = |headers: &HeaderMap| -> Vec<String> {
        headers.get_all("www-authenticate").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    let basic = "Basic realm=\"millstream\", charset=\"UTF-8\"";
    let (status, headers, body) = asked(keyed.app(), ("GET", "/v1/status"), None, "").await;
    let error = &serde_json::from_str::<Value>(&body).unwrap()["error"];
    assert_eq!((status, &error["code"], &error["field"]), (401, &json!("no_key"), &Value::Null));
    assert_eq!(challenges(&headers), ["Bearer realm=\"millstream\"", basic]);
    let mistyped = format!("Bearer {}0", reader.secret);
    let (status, headers, body) = asked(keyed.app(), ("GET", "/v1/status"), Some(&mistyped), "").await;
    assert!(status == 401 && body.contains("unknown_key") && !body.contains(&reader.secret), "{body}");
    assert_eq!(challenges(&headers), ["Bearer realm=\"millstream\", error=\"invalid_token\"", basic]);
    let (status, _, body) = asked(keyed.app(), ("GET", "/v2/models/close"), None, "").await;
    assert!(status == 401 && serde_json::from_str::<Value>(&body).unwrap()["error"].is_string(), "{body}");
    let (status, _, body) = asked(keyed.app(), ("POST", "/v1/models/close/rollback"), Some(&bearer(&reader)), "").await;
    assert!(status == 403 && body.contains("the key shop has not the scope write"), "{body}");
    // Twice is not once.
    let twice = [("authorization", bearer(&reader)), ("authorization", bearer(&reader))];
    let twice: Vec<(&'static str, &str)> = twice.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(sent(keyed.app(), ("GET", "/v1/status"), &twice, "").await.status(), 401);
    for target in ["/v1/status", "/v1/models", "/docs", "/page/pipeline", "/metrics"] {
        let (status, _, body) = asked(keyed.app(), ("GET", target), Some(&bearer(&reader)), "").await;
        assert!(status == 200 && !body.contains(&reader.secret) && !body.contains(&reader.secret[3..]), "{target}");
    }
    // A probe is told how it is, and no names.
    let health = async |authorization: Option<&str>| -> Value {
        let (status, _, body) = asked(keyed.app(), ("GET", "/healthz"), authorization, "").await;
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    };
    assert_eq!(health(None).await, json!({"status": "ok", "state": "starting"}));
    assert!(health(Some(&bearer(&reader))).await["problems"].is_array());
    let (status, _, body) = asked(keyed.app(), ("GET", "/readyz"), None, "").await;
    assert_eq!((status, body.as_str()), (200, r#"{"status":"ready"}"#));
    for target in ["/readyz?model=close", "/readyz?model=nothing"] {
        let (status, _, body) = asked(keyed.app(), ("GET", target), None, "").await;
        assert!(status == 401 && !body.contains("close") && !body.contains("version"), "{target}: {body}");
    }
    let (status, _, body) = asked(keyed.app(), ("GET", "/readyz?model=close"), Some(&bearer(&reader)), "").await;
    assert!(status == 200 && body.contains(r#""version":2"#), "{body}");
}

#[tokio::test]
async fn which_methods_a_path_has_is_told_to_who_may_read() {
    let reader = key("shop", &[KeyScope::Read]);
    let (closed, open) =
        (Keyed::closed(std::slice::from_ref(&reader.line)), Keyed::new(std::slice::from_ref(&reader.line), |_| {}));
    let with_key = bearer(&reader);
    for (keyed, authorization, is_told) in
        [(&closed, None, false), (&closed, Some(with_key.as_str()), true), (&open, None, true)]
    {
        let (status, headers, body) = asked(keyed.app(), ("POST", "/v1/models"), authorization, "{}").await;
        assert_eq!((status, headers.contains_key("allow")), if is_told { (405, true) } else { (401, false) }, "{body}");
        for (target, allow) in [
            ("/v1/models/close/aliases/champion", "GET, HEAD, PUT"),
            ("/v1/models", "GET, HEAD"),
            ("/nothing", "GET, HEAD, POST"),
        ] {
            let (status, headers, _) = asked(keyed.app(), ("OPTIONS", target), authorization, "").await;
            let expected = if is_told { allow } else { "GET, HEAD, POST" };
            assert_eq!((status, headers["allow"].to_str().unwrap()), (204, expected), "{target}");
        }
    }
}

#[tokio::test]
async fn a_browser_sends_a_key_as_the_password_where_reading_needs_one() {
    let [reader, owner] = [key("reader", &[KeyScope::Read]), key("owner", &KeyScope::ALL)];
    let keyed = Keyed::closed(&[reader.line.clone(), owner.line.clone()]);
    let basic = |key: &DrawnKey| format!("Basic {}", STANDARD.encode(format!("me:{}", key.secret)));
    let page = ("GET", "/page/models/close");
    let (status, _, body) = asked(keyed.app(), page, Some(&basic(&reader)), "").await;
    assert!(status == 200 && !body.contains("Move an alias"), "{body}");
    let (_, _, body) = asked(keyed.app(), page, Some(&basic(&owner)), "").await;
    assert!(body.contains("Move an alias"), "{body}");
    let form = async |key: &DrawnKey, origin: &str| {
        let key = basic(key);
        let headers = [("authorization", key.as_str()), ("origin", origin)];
        let target = "/page/models/close/aliases/promote";
        sent(keyed.app(), ("POST", target), &headers, "version=1&alias=champion").await.status().as_u16()
    };
    assert_eq!(form(&owner, "http://evil.example").await, 403);
    assert_eq!(form(&reader, "http://localhost:8080").await, 403);
    assert_eq!(form(&owner, "http://localhost:8080").await, 303);
    let (_, _, body) = asked(keyed.app(), ("GET", "/v1/models/close/aliases"), Some(&basic(&reader)), "").await;
    assert!(body.contains(r#""by":"key owner""#), "{body}");
    let (status, _, body) = asked(keyed.app(), ("POST", "/page/sql"), Some(&basic(&reader)), "sql=select+1").await;
    assert!(status == 403 && body.contains("<h1>") && body.contains("has not the scope query"), "{body}");
    for garbage in [
        "Basic",
        "Basic !",
        "Basic bWU=",
        &format!("Basic {}", "A".repeat(100_000)),
        &basic(&reader).replace("Basic", "Digest"),
    ] {
        assert_eq!(asked(keyed.app(), page, Some(garbage), "").await.0, 401);
    }
    // Where reading is open no browser asks, and no proxy's own password is taken for a key.
    let open = Keyed::new(std::slice::from_ref(&owner.line), |_| {});
    assert_eq!(asked(open.app(), page, Some("Basic bWU6aHVudGVyMg=="), "").await.0, 200);
    let (status, headers, _) = asked(open.app(), ("POST", "/v1/models/close/rollback"), Some(&basic(&owner)), "").await;
    assert_eq!((status, headers.get_all("www-authenticate").iter().count()), (401, 1));
}

#[tokio::test]
async fn a_key_is_taken_away_and_given_while_the_server_goes_on() {
    let [first, second] = ["first", "second"].map(|name| key(name, &KeyScope::ALL));
    let keyed = Keyed::closed(std::slice::from_ref(&first.line));
    let status = async |key: &DrawnKey| asked(keyed.app(), ("GET", "/v1/models"), Some(&bearer(key)), "").await.0;
    assert_eq!((status(&first).await, status(&second).await), (200, 401));
    let mut events =
        sent(keyed.app(), ("GET", "/v1/events"), &[("authorization", bearer(&first).as_str())], "").await.into_body();
    assert!(events.frame().await.is_some());
    keyed.write(&[&second.line]);
    assert_eq!((status(&first).await, status(&second).await), (401, 200));
    let ended = async { while events.frame().await.is_some() {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.expect("an event stream outlives its key");
    keyed.write(&[&first.line, "second everything"]);
    assert_eq!((status(&first).await, status(&second).await), (401, 200), "what means nothing changes nothing");
    let (_, _, health) = asked(keyed.app(), ("GET", "/healthz"), Some(&bearer(&second)), "").await;
    assert!(health.contains("serve.keys: line 2: must be a name"), "{health}");
    keyed.write(&[]);
    assert_eq!((status(&first).await, status(&second).await), (401, 401), "an empty file has no keys");
    keyed.write(&[&first.line]);
    assert_eq!(status(&first).await, 200);
}

#[tokio::test]
async fn each_key_and_each_address_has_its_rate() {
    let limited = DrawnKey::draw("limited", &[KeyScope::Read], parse_rate("2").ok()).unwrap();
    let free = key("free", &[KeyScope::Read]);
    let keyed = Keyed::new(&[limited.line.clone(), free.line.clone()], |serve| serve.rate = parse_rate("3").ok());
    let n_answered = async |target: &str, authorization: Option<&str>| {
        let mut n_answered = 0;
        for _ in 0..50 {
            let (status, headers, body) = asked(keyed.app(), ("GET", target), authorization, "").await;
            match status {
                200 => n_answered += 1,
                _ => assert!(
                    status == 429 && headers["retry-after"] == "1" && body.contains("\"rate\""),
                    "{status} {body}"
                ),
            }
        }
        n_answered
    };
    let check = |found: usize, least: usize| assert!((least..50).contains(&found), "{found}");
    check(n_answered("/v1/models", Some(&bearer(&limited))).await, 2);
    assert_eq!(n_answered("/v1/models", Some(&bearer(&free))).await, 50);
    check(n_answered("/v1/models", None).await, 3);
    // Garbage is no way around it, and probes are not counted.
    assert!(n_answered("/v1/models", Some("Bearer x")).await < 50);
    assert_eq!(n_answered("/livez", None).await, 50);
    assert_eq!(n_answered("/readyz", None).await, 50);
    for read in ["/metrics", "/readyz?model=close"] {
        assert!(n_answered(read, None).await < 50, "{read}");
    }
}

#[tokio::test]
async fn a_site_that_may_read_may_send_a_key_and_is_never_sent_one_by_the_browser() {
    // Without it no page could send tensors as binary data, nor read them.
    const LENGTH: &str = "inference-header-content-length";
    let allowed = |answer: &Response<Body>| -> Vec<String> {
        let names = answer.headers().get_all("access-control-allow-headers").iter();
        names.map(|name| name.to_str().unwrap().to_owned()).collect()
    };
    let keyed = Keyed::new(&[], |serve| serve.sites.cors = vec!["https://app.example".to_owned()]);
    let headers = [("origin", "https://app.example"), ("access-control-request-method", "POST")];
    for target in ["/v1/models/close/predict", "/v2/models/close/infer"] {
        let answer = sent(keyed.app(), ("OPTIONS", target), &headers, "").await;
        assert_eq!(allowed(&answer), ["content-type", "x-request-id", "x-split-key", LENGTH, "authorization"]);
        assert_eq!(answer.headers()["access-control-allow-origin"], "https://app.example");
        assert!(answer.headers()["access-control-expose-headers"].to_str().unwrap().contains(LENGTH));
        assert!(!answer.headers().contains_key("access-control-allow-credentials"));
    }
    let (context, models) = context(routes(), Vec::new());
    let without = of_context(context, models);
    let headers = [("access-control-request-method", "POST")];
    let answer = sent(&without.app, ("OPTIONS", "/v1/models/close/predict"), &headers, "").await;
    assert_eq!(allowed(&answer), ["content-type", "x-request-id", "x-split-key", LENGTH]);
}
