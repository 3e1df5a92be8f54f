//! Splits and shadows, ids of requests, and what is counted by version, from outside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use millstream_model::model::{Action, Argument};
use millstream_model::registry::drawn;
use millstream_stream::schema::ColumnType;
use serde_json::{Value, json};

use super::fixture::{Fixture, Models, context, fixture, keep_answers, kept_answers, of_context, route};
use super::recommend::fixture::{World, action_route, world_with};
use super::tests::{ask, refuse, routes};
use super::{App, ServeContext, shadow};
use crate::serve::{Route, Shadow, Traffic};

fn split(of: &[(&str, f64)]) -> BTreeMap<String, f64> {
    of.iter().map(|(alias, share)| ((*alias).to_owned(), *share)).collect()
}

fn traffic(of: &[(&str, f64)], shadow: Option<(&str, f64)>) -> Traffic {
    Traffic { split: split(of), shadow: shadow.map(|(alias, share)| Shadow { alias: alias.to_owned(), share }) }
}

fn alias(models: &Models, model: &str, alias: &str, version: u32) {
    let record = json!({"format": 1, "version": version}).to_string();
    models.store.create(&format!("aliases/{model}/{alias}/000001.json"), record.as_bytes()).unwrap();
}

/// `close` with three versions, of which 2 is champion and 3 `challenger`.
fn close(traffic: Traffic, routes: Vec<Route>) -> Fixture {
    let (mut context, models) = context(routes, Vec::new());
    context.settings.serve.traffic.insert("close".to_owned(), traffic);
    alias(&models, "close", "challenger", 3);
    models.publish_all(3);
    of_context(context, models)
}

/// `taste` with two versions, of which 1 is `challenger`.
fn taste(traffic: Traffic, routes: Vec<Route>) -> World {
    world_with(routes, |context: &mut ServeContext, models: &Models| {
        context.settings.serve.traffic.insert("taste".to_owned(), traffic);
        alias(models, "taste", "challenger", 1);
    })
}

async fn send(
    app: &Arc<App>,
    (method, target, body): (&str, &str, &str),
    headers: &[(&str, &str)],
) -> (u16, HeaderMap, String) {
    let mut request = Request::builder().method(method).uri(target).header("host", "localhost");
    request = request.header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = app.handle(request.body(Body::from(body.to_owned())).unwrap()).await;
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), head.headers, String::from_utf8_lossy(&bytes).into_owned())
}

/// The version that answered, and the alias that it was found by.
fn who(headers: &HeaderMap) -> (String, String) {
    let text = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    (text("x-model-version"), text("x-model-alias"))
}

#[track_caller]
fn binomial(found: u32, of: u32, share: f64) {
    let n = f64::from(of);
    let deviation = (n * share * (1.0 - share)).sqrt();
    assert!((f64::from(found) - n * share).abs() <= 5.0 * deviation, "{found} of {of} for {share}");
}

#[tokio::test]
async fn who_asks_is_always_answered_by_the_same_version_and_each_alias_has_its_share() {
    let fixture = close(traffic(&[("challenger", 0.2), ("nothing", 0.3)], None), Vec::new());
    let predict = ("GET", "/v1/models/close/predict?Timestamp=10", "");
    let mut n_challenger = 0;
    for user in 0..1500_u32 {
        let key = format!("user {user}");
        let mine = [("x-split-key", key.as_str())];
        let (status, headers, body) = send(&fixture.app, predict, &mine).await;
        // An alias that names nothing leaves its share to the champion.
        let expected = match drawn("close", &split(&[("challenger", 0.2), ("nothing", 0.3)]), key.as_bytes()) {
            Some("challenger") => ("close@3", "challenger"),
            _ => ("close@2", "champion"),
        };
        assert_eq!((status, who(&headers)), (200, (expected.0.to_owned(), expected.1.to_owned())), "{body}");
        n_challenger += u32::from(expected.1 == "challenger");
        if user % 100 == 0 {
            let posted = ("POST", "/v1/models/close/predict", r#"{"Timestamp":10}"#);
            assert_eq!(who(&send(&fixture.app, posted, &mine).await.1).0, expected.0);
            let input = r#"{"inputs":[{"name":"Timestamp","datatype":"FP64","shape":[1],"data":[10]}]}"#;
            let inferred = send(&fixture.app, ("POST", "/v2/models/close/infer", input), &mine).await;
            assert_eq!((inferred.0, who(&inferred.1).0), (200, expected.0.to_owned()), "{}", inferred.2);
        }
    }
    binomial(n_challenger, 1500, 0.2);
}

#[tokio::test]
async fn who_says_nothing_is_drawn_by_the_request_s_id() {
    let fixture = close(traffic(&[("challenger", 0.25)], None), Vec::new());
    let predict = ("GET", "/v1/models/close/predict?Timestamp=10", "");
    let mut n_challenger = 0;
    for _ in 0..2000 {
        let (_, headers, _) = send(&fixture.app, predict, &[]).await;
        let id = headers["x-request-id"].as_bytes();
        let is_challenger = who(&headers).1 == "challenger";
        assert_eq!(is_challenger, drawn("close", &split(&[("challenger", 0.25)]), id).is_some());
        n_challenger += u32::from(is_challenger);
    }
    binomial(n_challenger, 2000, 0.25);
    // A version that is named is the one that answers.
    for (name, expected) in
        [("1", ("close@1", "")), ("latest", ("close@3", "latest")), ("champion", ("close@2", "champion"))]
    {
        let target = format!("/v1/models/close/versions/{name}/predict?Timestamp=10");
        let (_, headers, _) = send(&fixture.app, ("GET", &target, ""), &[]).await;
        assert_eq!(who(&headers), (expected.0.to_owned(), expected.1.to_owned()));
    }
}

#[tokio::test]
async fn a_user_of_a_recommender_is_the_key_in_paths_and_routes() {
    let by_user = action_route("/mine/{user}", Action::Recommend, &[(Argument::User, "user")], None);
    let world = taste(traffic(&[("challenger", 0.3)], None), vec![by_user]);
    let mut n_challenger = 0;
    for user in 1..=400_u32 {
        let key = user.to_string();
        let is_challenger = drawn("taste", &split(&[("challenger", 0.3)]), key.as_bytes()).is_some();
        let expected = if is_challenger { ("taste@1", "challenger") } else { ("taste@2", "latest") };
        for target in [format!("/v1/models/taste/recommend/{user}"), format!("/mine/{user}")] {
            // The header says something else, and the user goes before it.
            let (status, headers, body) = send(&world.app, ("GET", &target, ""), &[("x-split-key", "x")]).await;
            assert_eq!(
                (status, who(&headers)),
                (200, (expected.0.to_owned(), expected.1.to_owned())),
                "{target}: {body}"
            );
        }
        n_challenger += u32::from(is_challenger);
    }
    binomial(n_challenger, 400, 0.3);
}

#[tokio::test]
async fn rows_of_a_posted_list_are_kept_under_the_alias_that_each_drew_also_where_both_name_one_version() {
    let args = [(Argument::User, "user"), (Argument::Item, "item")];
    let list = Route { post: true, ..action_route("/guess", Action::Estimate, &args, None) };
    let shares = [("challenger", 0.5)];
    let mut queue = None;
    let world = world_with(vec![list], |context, models| {
        context.settings.serve.traffic.insert("taste".to_owned(), traffic(&shares, None));
        alias(models, "taste", "challenger", 2);
        queue = Some(keep_answers(context));
    });
    let rows: Value = (1..=12).map(|user| json!({"user": user, "item": "10"})).collect();
    let (status, headers, body) = send(&world.app, ("POST", "/guess", &rows.to_string()), &[]).await;
    assert_eq!((status, who(&headers).0.as_str()), (200, "taste@2"), "{body}");
    let records = kept_answers(&queue.unwrap());
    assert_eq!(records.len(), 2);
    for record in records {
        let is_challenger = record["alias"] == "challenger";
        let drew = |user: &u32| drawn("taste", &split(&shares), user.to_string().as_bytes()).is_some();
        let expected: Vec<u32> = (1..=12).filter(|user| drew(user) == is_challenger).collect();
        assert!(!expected.is_empty());
        let users: Value = record["question"].as_array().unwrap().iter().map(|one| one["user"].clone()).collect();
        assert_eq!((&record["rows"], &users), (&json!(expected.len()), &json!(expected)), "{record}");
        assert_eq!(record["answer"].as_array().map(Vec::len), Some(expected.len()));
    }
    let (_, _, metrics) = ask(&world.app, "GET", "/metrics", "").await;
    let once = "millstream_model_requests_total{model=\"taste\",version=\"2\",status=\"200\"} 1\n";
    assert!(metrics.contains(once), "{metrics}");
}

#[tokio::test]
async fn routes_of_several_models_say_each_alias_and_the_model_says_its_traffic() {
    let both = route("/both", &["close", "low"], &[], None);
    let fixture =
        close(traffic(&[("challenger", 1.0)], Some(("latest", 0.5))), vec![both, route("/one", &["close"], &[], None)]);
    let (_, headers, _) = send(&fixture.app, ("GET", "/one?Timestamp=10", ""), &[]).await;
    assert_eq!(who(&headers), ("close@3".to_owned(), "challenger".to_owned()));
    let (_, headers, _) = send(&fixture.app, ("GET", "/both?Timestamp=10&Open=1&Volume=2", ""), &[]).await;
    assert_eq!(who(&headers), ("close@3, low@1".to_owned(), "challenger, latest".to_owned()));
    let (_, _, body) = ask(&fixture.app, "GET", "/v1/models/close", "").await;
    let model: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&model["split"], &model["shadow"]), (&json!({"challenger": 1.0}), &json!({"latest": 0.5})));
    let (_, _, body) = ask(&fixture.app, "GET", "/v1/models/high", "").await;
    assert!(!body.contains("split"), "{body}");
    let (status, _, page) = ask(&fixture.app, "GET", "/page/models/close", "").await;
    assert!(status == 200 && page.contains("<h2>Traffic</h2>") && page.contains("challenger"), "{page}");
}

/// Waits until so many tasks are done.
async fn compared(app: &Arc<App>, model: &str, is_done: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..1000 {
        let (status, _, body) = ask(app, "GET", &format!("/v1/models/{model}/shadow"), "").await;
        assert_eq!(status, 200, "{body}");
        let found: Value = serde_json::from_str(&body).unwrap();
        if is_done(&found) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the shadow of {model} never came that far");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_s_answers_are_compared_and_never_sent() {
    let fixture = close(traffic(&[], Some(("challenger", 1.0))), Vec::new());
    let working = tokio::spawn(shadow::keep(Arc::clone(&fixture.app)));
    let (_, headers, body) =
        send(&fixture.app, ("POST", "/v1/models/close/predict", r#"[{"Timestamp":10},{"Timestamp":20}]"#), &[]).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((who(&headers).0.as_str(), &answer["version"]), ("close@2", &json!(2)));
    // 20 and 40 beside 30 and 60.
    let found = compared(&fixture.app, "close", |found| found["compared"] == 1).await;
    let pair = &found["comparisons"][0];
    assert_eq!(
        (&found["alias"], &found["version"], &pair["version"], &pair["shadow"]),
        (&json!("challenger"), &json!(3), &json!(2), &json!(3))
    );
    let rounded = |key: &str| pair["numbers"][key].as_f64().unwrap().round();
    assert_eq!((rounded("compared"), rounded("mean"), rounded("max_absolute")), (2.0, 15.0, 20.0));
    // Who names a version is not compared, nor is the shadow with itself.
    for target in
        ["/v1/models/close/versions/champion/predict?Timestamp=1", "/v1/models/close/versions/3/predict?Timestamp=1"]
    {
        assert_eq!(ask(&fixture.app, "GET", target, "").await.0, 200);
    }
    assert_eq!(fixture.app.shadows.waiting(), 0);
    let (_, _, metrics) = ask(&fixture.app, "GET", "/metrics", "").await;
    for line in [
        "millstream_shadow_requests_total{model=\"close\",outcome=\"compared\"} 1",
        "millstream_shadow_numbers_total{model=\"close\"} 2",
        "millstream_shadow_difference_total{model=\"close\"} ",
    ] {
        assert!(metrics.contains(line), "no {line} in\n{metrics}");
    }
    working.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_estimates_are_compared_too() {
    let world = taste(traffic(&[], Some(("challenger", 1.0))), Vec::new());
    let working = tokio::spawn(shadow::keep(Arc::clone(&world.app)));
    for target in ["/v1/models/taste/recommend/1?n=5", "/v1/models/taste/estimate/1/10"] {
        let (status, headers, body) = send(&world.app, ("GET", target, ""), &[]).await;
        assert_eq!((status, who(&headers).0.as_str()), (200, "taste@2"), "{body}");
    }
    let posted = ("POST", "/v1/models/taste/recommend", r#"{"ratings":{"10":5.0},"n":3}"#);
    assert_eq!(send(&world.app, posted, &[]).await.0, 200);
    let found = compared(&world.app, "taste", |found| found["compared"] == 3).await;
    let pair = &found["comparisons"][0];
    assert_eq!((&pair["lists"]["compared"], &pair["numbers"]["compared"]), (&json!(2), &json!(1)), "{found}");
    let overlap = pair["lists"]["overlap"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&overlap));
    working.abort();
}

/// The challenger takes another column.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_that_fails_is_counted_and_nobody_knows() {
    let (mut context, models) = context(Vec::new(), Vec::new());
    context.settings.serve.traffic.insert("close".to_owned(), traffic(&[], Some(("latest", 1.0))));
    models.publish_all(3);
    models.publish("close", &[("Volume", ColumnType::Float64)]);
    models.refresh();
    let fixture = of_context(context, models);
    let working = tokio::spawn(shadow::keep(Arc::clone(&fixture.app)));
    let (status, _, body) = ask(&fixture.app, "GET", "/v1/models/close/predict?Timestamp=10", "").await;
    assert_eq!((status, body.as_str()), (200, r#"{"model":"close","version":2,"prediction":20.0}"#));
    let found = compared(&fixture.app, "close", |found| found["failed"] == 1).await;
    assert_eq!(found["compared"], 0);
    working.abort();
}

#[tokio::test]
async fn every_answer_has_the_request_s_id() {
    let fixture = fixture(routes());
    for (method, target) in [
        ("GET", "/livez"),
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", "/v1/models/close/predict?Timestamp=x"),
        ("GET", "/soon"),
        ("GET", "/v2/models/none"),
        ("DELETE", "/v1/models"),
        ("OPTIONS", "/v1/models"),
        ("GET", "/%ff"),
    ] {
        let (_, headers, _) = send(&fixture.app, (method, target, ""), &[("x-request-id", "mine-1")]).await;
        assert_eq!(headers["x-request-id"], "mine-1", "{method} {target}");
        let (_, headers, _) = send(&fixture.app, (method, target, ""), &[("x-request-id", &"x".repeat(10_000))]).await;
        assert!(headers["x-request-id"].to_str().unwrap().parse::<u64>().is_ok(), "{headers:?}");
    }
    let (status, headers, _) = send(&fixture.app, ("GET", "/livez", ""), &[("host", "evil.example")]).await;
    assert!(headers.contains_key("x-request-id"), "{status}");
}

#[tokio::test]
async fn a_model_s_readiness_is_its_own() {
    let fixture = fixture(Vec::new());
    let (status, _, body) = ask(&fixture.app, "GET", "/readyz?model=close", "").await;
    assert_eq!((status, body.as_str()), (200, r#"{"status":"ready","model":"close","version":2}"#));
    refuse(&fixture, "GET /readyz?model=waiting", 503, "no_version", None, &["waiting"]).await;
    refuse(&fixture, "GET /readyz?model=clse", 404, "unknown_model", None, &["did you mean close"]).await;
    assert_eq!(ask(&fixture.app, "GET", "/readyz?probe=1", "").await.0, 200);
    // It tells names, to no page of another site.
    for (target, expected) in [("/readyz", 200), ("/readyz?model=close", 403)] {
        let (status, _, body) = send(&fixture.app, ("GET", target, ""), &[("origin", "https://evil.example")]).await;
        assert_eq!(status, expected, "{target}: {body}");
    }
}

#[tokio::test]
async fn requests_are_counted_by_version_and_invented_names_make_no_series() {
    let fixture = fixture(Vec::new());
    for (target, status) in [
        ("/v1/models/close/predict?Timestamp=1", 200),
        ("/v1/models/close/predict?Timestamp=x", 422),
        ("/v1/models/close/versions/1/predict?Timestamp=1", 200),
        // What a model is tells nothing of its answers.
        ("/v1/models/close/versions/3", 200),
        ("/v2/models/close", 200),
    ] {
        assert_eq!(ask(&fixture.app, "GET", target, "").await.0, status, "{target}");
    }
    let series = async || -> Vec<String> {
        let (_, _, metrics) = ask(&fixture.app, "GET", "/metrics", "").await;
        let of_models = metrics.lines().filter(|line| line.starts_with("millstream_model_requests_total{"));
        of_models.map(str::to_owned).collect()
    };
    let expected = [
        r#"millstream_model_requests_total{model="close",version="1",status="200"} 1"#,
        r#"millstream_model_requests_total{model="close",version="2",status="200"} 1"#,
        r#"millstream_model_requests_total{model="close",version="2",status="422"} 1"#,
    ];
    assert_eq!(series().await, expected);
    for n in 0..5000 {
        for target in [format!("/v1/models/m{n}/predict?x=1"), format!("/v1/models/close/versions/{}/predict", n + 10)]
        {
            assert_eq!(ask(&fixture.app, "GET", &target, "").await.0, 404);
        }
    }
    assert_eq!(series().await, expected);
}
