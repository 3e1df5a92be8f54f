//! The aliases of a model: what each names, how it came to that, and the two requests that move one. What moves is served on when it is answered.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use millstream_base::status::{EventKind, now_ms};
use millstream_model::registry::{
    Moved, Named, Occasion, Registry, RegistryError, Remedy, ServedModel, check_alias, check_reason,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::app::App;
use super::endpoints::Answer;
use super::error::{ApiError, hint, quote, shortened};
use super::guard::who;
use super::lists::{Window, store_away};
use super::predict::{blocking, find_in, main_version, reading, refuse_query, store_is_away, unknown_version};
use super::rows::{self, Posted, Row};
use super::{body, reply};

const CHAMPION: &str = "champion";

/// One at a time: each may load a version.
static MOVING: Semaphore = Semaphore::const_new(1);
const MOVING_WAIT: Duration = Duration::from_secs(20);

/// From memory alone.
pub fn list(app: &App, model: &str, query: &str) -> Answer {
    let window = Window::parse(query)?;
    let all: Vec<Value> = match find_in(app, model, |known| Ok(known.named.iter().map(alias_json).collect())) {
        Err(error) if error.status == StatusCode::NOT_FOUND => return Err(error),
        // Configured, not trained yet: an empty list, not an error.
        found => found.unwrap_or_default(),
    };
    let total = all.len();
    Ok(reply::json(StatusCode::OK, &json!({"model": model, "aliases": window.of(all.into_iter()), "total": total})))
}

fn alias_json((alias, named): (&String, &Named)) -> Value {
    let mut shown = json!({ "alias": alias });
    if let (Some(shown), Value::Object(record)) = (shown.as_object_mut(), named.record.to_json(named.number)) {
        shown.extend(record);
    }
    shown
}

/// The records of an alias, the newest first.
pub async fn history(app: &App, model: &str, alias: &str, query: &str) -> Answer {
    let window = Window::parse(query)?;
    let named =
        find_in(app, model, |known| known.named.get(alias).cloned().ok_or_else(|| unknown_alias(known, alias)))?;
    let shown = window.of(named.numbers.iter().rev().copied());
    let (registry, model, alias) = (Arc::clone(&app.context.registry), model.to_owned(), alias.to_owned());
    let answer = move || {
        let history: Vec<Value> = shown
            .into_iter()
            .filter_map(|number| record_json(&registry, &model, &alias, number).transpose())
            .collect::<Result<_, _>>()?;
        let answer = json!({"model": model, "alias": alias, "version": named.record.version, "record": named.number,
            "history": history, "total": named.numbers.len()});
        Ok(reply::json(StatusCode::OK, &answer))
    };
    blocking(answer).await
}

/// `None`: somebody deleted it.
fn record_json(registry: &Registry, model: &str, alias: &str, number: u32) -> Result<Option<Value>, ApiError> {
    match registry.alias_record(model, alias, number) {
        Ok(record) => Ok(record.map(|record| record.to_json(number))),
        Err(error) if error.remedy() == Remedy::Retry => Err(store_is_away(&error)),
        Err(error) => {
            tracing::warn!(%error, "a record of an alias cannot be read");
            Ok(Some(json!({"record": number, "problem": "it cannot be read; the server's log says why"})))
        }
    }
}

fn unknown_alias(model: &ServedModel, alias: &str) -> ApiError {
    let known = model.named.keys().map(String::as_str);
    let message = match model.named.is_empty() {
        true => format!("model {} has no aliases yet", model.name),
        false => format!("model {} has no alias {}{}", model.name, quote(alias), hint(alias, known)),
    };
    ApiError::not_found("unknown_alias", message)
}

/// What a body says.
#[derive(Default)]
struct Wish {
    version: Option<u32>,
    alias: Option<String>,
    reason: Option<String>,
}

impl Wish {
    const OF_PROMOTION: [&str; 2] = ["version", "reason"];
    const OF_ROLLBACK: [&str; 2] = ["alias", "reason"];

    fn parse(bytes: &[u8], known: [&str; 2]) -> Result<Self, ApiError> {
        let shape = || ApiError::shape("the body must be an object, such as {\"reason\": \"…\"}");
        let Posted::One(row) = rows::parse_body(bytes)? else { return Err(shape()) };
        Self::of_row(row, known)
    }

    fn of_row(row: Row, known: [&str; 2]) -> Result<Self, ApiError> {
        let mut wish = Self::default();
        for (name, value) in row {
            let expected = |what: &str| {
                let message = format!("{name}: expected {what}, got {}", shortened(&value.to_string()));
                ApiError::value("bad_value", &name, message)
            };
            match (name.as_str(), &value) {
                (name, _) if !known.contains(&name) => {
                    return Err(ApiError::unknown_parameter(name, known.into_iter()));
                }
                ("version", value) => {
                    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
                    let number = number.filter(|number| *number > 0);
                    wish.version = Some(number.ok_or_else(|| expected("the number of a version, from 1"))?);
                }
                ("alias", Value::String(alias)) => wish.alias = Some(checked(alias)?),
                ("reason", Value::String(reason)) => {
                    let unfit = |problem| ApiError::value("bad_value", "reason", format!("reason: {problem}"));
                    wish.reason = check_reason(reason).map_err(unfit)?;
                }
                ("alias" | "reason", Value::Null) => {}
                _ => return Err(expected("a text")),
            }
        }
        Ok(wish)
    }
}

fn checked(alias: &str) -> Result<String, ApiError> {
    let unfit = |error: RegistryError| ApiError::value("bad_value", "alias", error.to_string());
    check_alias(alias).map(|()| alias.to_owned()).map_err(unfit)
}

async fn wish(
    app: &App,
    request: Request<Body>,
    known: [&'static str; 2],
    is_optional: bool,
) -> Result<Wish, ApiError> {
    body::require_json(request.headers())?;
    refuse_query(request.uri().query().unwrap_or_default())?;
    let parse = move |bytes: &[u8]| match is_optional && bytes.is_empty() {
        true => Ok(Wish::default()),
        false => Wish::parse(bytes, known),
    };
    body::receive(request.into_body(), &app.bodies, 1, parse).await.map(|(wish, _)| wish)
}

/// `PUT /v1/models/{model}/aliases/{alias}`
pub async fn promote(app: &Arc<App>, model: &str, alias: &str, request: Request<Body>) -> Answer {
    let by = who(request.extensions());
    let Wish { version, reason, .. } = wish(app, request, Wish::OF_PROMOTION, false).await?;
    let missing =
        || ApiError::value("missing", "version", "version: is missing; expected the number of a version, from 1");
    let version = version.ok_or_else(missing)?;
    moved(app, model, checked(alias)?, (by, reason), move |registry, model, alias, why| {
        registry.promote(model, version, alias, why)
    })
    .await
}

/// `POST /v1/models/{model}/rollback`
pub async fn roll_back(app: &Arc<App>, model: &str, request: Request<Body>) -> Answer {
    let by = who(request.extensions());
    let Wish { alias, reason, .. } = wish(app, request, Wish::OF_ROLLBACK, true).await?;
    moved(app, model, alias.unwrap_or_else(|| CHAMPION.to_owned()), (by, reason), Registry::roll_back).await
}

async fn moved(
    app: &Arc<App>,
    model: &str,
    alias: String,
    (by, reason): (String, Option<String>),
    moves: impl FnOnce(&Registry, &str, &str, &Occasion) -> Result<Moved, RegistryError> + Send + 'static,
) -> Answer {
    // Its name becomes a part of a path of the store: it is one that is known.
    find_in(app, model, main_version)?;
    let Ok(Ok(place)) = timeout(MOVING_WAIT, MOVING.acquire()).await else {
        return Err(ApiError::busy("other aliases are moved"));
    };
    let (app, model) = (Arc::clone(app), model.to_owned());
    // Goes on to its end also when nobody waits for the answer any more.
    reading(move || {
        let _place = place;
        let occasion = Occasion { by, reason, now_ms: now_ms() };
        match moves(&app.context.registry, &model, &alias, &occasion) {
            Ok(moved) => Ok(told(&app, &model, &alias, &moved)),
            Err(error) => Err(refused(&app, &model, &error)),
        }
    })
    .await
}

fn told(app: &App, model: &str, alias: &str, moved: &Moved) -> Response<Body> {
    let Moved { version, before, record } = *moved;
    let answer = json!({"model": model, "alias": alias, "version": version, "before": before, "record": record});
    if before != Some(version) {
        let before = before.map_or("no version".to_owned(), |before| format!("version {before}"));
        let message = format!("{model}: {alias} names version {version}; before, {before}");
        app.context.status.event(EventKind::AliasMoved, message, answer.clone());
    }
    reply::json(StatusCode::OK, &answer)
}

fn refused(app: &App, model: &str, error: &RegistryError) -> ApiError {
    let message = error.to_string();
    match error {
        RegistryError::UnknownVersion { version, .. } => {
            let unknown = |known: &ServedModel| Err(unknown_version(known, &version.to_string(), 1));
            let told: Result<(), ApiError> = find_in(app, model, unknown);
            told.err().unwrap_or_else(|| ApiError::not_found("unknown_version", message))
        }
        RegistryError::NoAlias { .. } => ApiError::value("bad_value", "alias", message),
        RegistryError::Removed { .. } | RegistryError::RemovedMeanwhile { .. } => {
            ApiError::conflict("version_removed", message)
        }
        RegistryError::MovedMeanwhile { .. } => ApiError::conflict("moved_meanwhile", message),
        RegistryError::NothingBefore { .. } => ApiError::conflict("nothing_before", message),
        RegistryError::PromotionUnknown { .. } | RegistryError::RollbackUnknown { .. } => {
            tracing::warn!(%error, "whether an alias was moved is not known");
            ApiError::unavailable("not_known", message)
        }
        error if error.is_denied() => {
            ApiError::forbidden("read_only", "this server may only read its store: nothing in it is changed from here")
        }
        error if error.remedy() == Remedy::Retry => {
            tracing::warn!(%error, "an alias cannot be moved");
            store_away("no alias is moved")
        }
        error => {
            tracing::warn!(%error, "an alias cannot be moved");
            let message = "a version or a record of the alias cannot be read, and nothing was changed; the server's log says which";
            ApiError::conflict("damaged_version", message)
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName};
    use http_body_util::BodyExt;

    use super::super::fixture::{Fixture, fixture};
    use super::super::guard::Peer;
    use super::super::tests::{ask, check, refuse};
    use super::*;

    const JSON: (&str, &str) = ("content-type", "application/json");

    async fn send(fixture: &Fixture, what: (&str, &str), headers: &[(&'static str, &str)], body: &str) -> (u16, Value) {
        let (status, _, text) = sent(fixture, what, headers, body).await;
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// From this machine.
    async fn sent(
        fixture: &Fixture,
        (method, target): (&str, &str),
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> (u16, HeaderMap, String) {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(HeaderName::from_static(name), *value);
        }
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "localhost:8080");
        }
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        request.extensions_mut().insert(Peer("127.0.0.1:4000".parse().unwrap()));
        let response = fixture.app.handle(request).await;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), head.headers, String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn put(fixture: &Fixture, alias: &str, body: &str) -> (u16, Value) {
        send(fixture, ("PUT", &format!("/v1/models/close/aliases/{alias}")), &[JSON], body).await
    }

    async fn back(fixture: &Fixture, body: &str) -> (u16, Value) {
        send(fixture, ("POST", "/v1/models/close/rollback"), &[JSON], body).await
    }

    #[tokio::test]
    async fn an_alias_moves_and_the_next_request_is_answered_by_what_it_names() {
        let fixture = fixture(Vec::new());
        let mut events = fixture.status.listen();
        let answered = async |number: u32| {
            let expected = json!({"model": "close", "version": number, "prediction": 10.0 * f64::from(number)});
            check(&fixture, "GET /v1/models/close/predict?Timestamp=10", 200, expected).await;
        };
        answered(2).await;
        let moved = |version, before, record| {
            (
                200,
                json!({"model": "close", "alias": "champion", "version": version, "before": before, "record": record}),
            )
        };
        assert_eq!(put(&fixture, "champion", r#"{"version":3,"reason":"less error"}"#).await, moved(3, 2, 2));
        answered(3).await;
        assert_eq!(put(&fixture, "champion", r#"{"version":3}"#).await, moved(3, 3, 2));
        assert_eq!(put(&fixture, "champion", r#"{"version":1}"#).await, moved(1, 3, 3));
        assert_eq!(back(&fixture, "").await, moved(3, 1, 4));
        assert_eq!(back(&fixture, r#"{"alias":"champion","reason":"still worse"}"#).await, moved(2, 3, 5));
        answered(2).await;
        let (status, answer) = back(&fixture, "{}").await;
        assert_eq!((status, &answer["error"]["code"]), (409, &json!("nothing_before")), "{answer}");
        let told: Vec<EventKind> = std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.kind).collect();
        assert_eq!(told, [EventKind::AliasMoved; 4]);

        let (_, _, listed) = ask(&fixture.app, "GET", "/v1/models/close/aliases", "").await;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let champion = &listed["aliases"][0];
        assert_eq!(
            (&listed["total"], &champion["alias"], &champion["version"]),
            (&json!(1), &json!("champion"), &json!(2))
        );
        let (_, _, body) = ask(&fixture.app, "GET", "/v1/models/close/aliases/champion?limit=4", "").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["total"], &body["version"], &body["record"]), (&json!(5), &json!(2), &json!(5)));
        let of = |key: &str| -> Vec<Value> {
            body["history"].as_array().unwrap().iter().map(|record| record[key].clone()).collect()
        };
        assert_eq!(of("record"), [5, 4, 3, 2]);
        assert_eq!(of("version"), [2, 3, 1, 3]);
        assert_eq!(of("rolled_back"), [true, true, false, false]);
        assert_eq!(of("reason"), [json!("still worse"), Value::Null, Value::Null, json!("less error")]);
        assert!(of("by").iter().all(|by| by == "http") && of("promoted_at_ms").iter().all(Value::is_u64));
        // The champion before was measured on its next batch; all at about the same moment.
        let measures = &body["history"][3]["measures"];
        assert!(
            measures["version"]["scores"]["rmse"].is_number() && measures["before"]["kind"].is_string(),
            "{measures}"
        );
        let (_, _, first) = ask(&fixture.app, "GET", "/v1/models/close/aliases/champion?offset=4", "").await;
        assert!(first.contains(r#""record":1,"version":2,"before":null,"promoted_at_ms":null"#), "{first}");
        check(&fixture, "GET /v1/models/waiting/aliases", 200, json!({"model": "waiting", "aliases": [], "total": 0}))
            .await;
    }

    #[tokio::test]
    async fn what_cannot_be_done_says_why() {
        let fixture = fixture(Vec::new());
        let f = &fixture;
        refuse(f, "GET /v1/models/clse/aliases", 404, "unknown_model", None, &["did you mean close"]).await;
        refuse(f, "GET /v1/models/close/aliases/champio", 404, "unknown_alias", None, &["did you mean champion"]).await;
        refuse(f, "GET /v1/models/low/aliases/x", 404, "unknown_alias", None, &["no aliases yet"]).await;
        refuse(f, "GET /v1/models/close/aliases?limt=1", 422, "unknown_parameter", Some("limt"), &["limit"]).await;
        let check = |(status, answer): (u16, Value), expected: u16, code: &str, field: Option<&str>, word: &str| {
            let error = &answer["error"];
            assert_eq!(
                (status, error["code"].as_str(), error["field"].as_str()),
                (expected, Some(code), field),
                "{answer}"
            );
            assert!(error["message"].as_str().unwrap().contains(word), "{answer}");
        };
        for (body, code, field, word) in [
            ("{}", "missing", "version", "from 1"),
            (r#"{"version":0}"#, "bad_value", "version", "got 0"),
            (r#"{"version":1.5}"#, "bad_value", "version", "got 1.5"),
            (r#"{"version":"2"}"#, "bad_value", "version", "from 1"),
            (r#"{"version":4294967296}"#, "bad_value", "version", "from 1"),
            (r#"{"version":1,"why":"x"}"#, "unknown_parameter", "why", "why"),
            (r#"{"version":1,"reason":3}"#, "bad_value", "reason", "a text"),
            (r#"{"version":1,"reason":"a\nb"}"#, "bad_value", "reason", "one line"),
        ] {
            check(put(f, "champion", body).await, 422, code, Some(field), word);
        }
        check(put(f, "latest", r#"{"version":1}"#).await, 422, "bad_value", Some("alias"), "no alias");
        check(put(f, "A", r#"{"version":1}"#).await, 422, "bad_value", Some("alias"), "small letters");
        check(put(f, "champion", "[1").await, 400, "not_json", None, "");
        check(put(f, "champion", r#"{"version":9}"#).await, 404, "unknown_version", None, "known: 1, 2, 3");
        check(back(f, r#"{"alias":"../x"}"#).await, 422, "bad_value", Some("alias"), "no alias");
        check(back(f, r#"{"version":1}"#).await, 422, "unknown_parameter", Some("version"), "alias");
        check(back(f, r#"{"alias":"best"}"#).await, 409, "nothing_before", None, "names no version");
        let other = |model| ("PUT", model);
        let body = r#"{"version":1}"#;
        check(send(f, other("/v1/models/..%2F/aliases/a"), &[JSON], body).await, 404, "unknown_model", None, "");
        check(send(f, other("/v1/models/waiting/aliases/a"), &[JSON], body).await, 503, "no_version", None, "");
        check(
            send(f, other("/v1/models/low/aliases/a?x=1"), &[JSON], body).await,
            422,
            "unknown_parameter",
            Some("x"),
            "",
        );
    }

    #[tokio::test]
    async fn only_this_machine_and_pages_of_this_server_move_an_alias() {
        let fixture = fixture(Vec::new());
        let target = ("PUT", "/v1/models/close/aliases/champion");
        let body = r#"{"version":1}"#;
        let check = async |headers: &[(&'static str, &str)], expected: (u16, &str)| {
            for (target, body) in [(target, body), (("POST", "/v1/models/close/rollback"), "")] {
                let (status, answer) = send(&fixture, target, headers, body).await;
                assert_eq!((status, answer["error"]["code"].as_str().unwrap_or_default()), expected, "{headers:?}");
            }
        };
        check(&[], (415, "content_type")).await;
        check(&[("content-type", "text/plain")], (415, "content_type")).await;
        check(&[JSON, ("origin", "http://evil.example")], (403, "origin")).await;
        check(&[JSON, ("origin", "null")], (403, "origin")).await;
        check(&[JSON, ("sec-fetch-site", "cross-site")], (403, "origin")).await;
        check(&[JSON, ("x-forwarded-for", "10.0.0.1")], (403, "not_local")).await;
        check(&[JSON, ("host", "10.0.0.3:8080")], (403, "not_local")).await;
        check(&[JSON, ("host", "evil.example")], (403, "host")).await;
        let (status, _, answer) = ask(&fixture.app, "PUT", target.1, body).await;
        assert!(status == 403 && answer.contains("not_local"), "nobody knows from where: {answer}");
        let own = [JSON, ("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")];
        assert_eq!(send(&fixture, target, &own, body).await.0, 200);
    }

    #[tokio::test]
    async fn the_document_has_both_with_examples() {
        let fixture = fixture(Vec::new());
        let (_, _, document) = ask(&fixture.app, "GET", "/openapi.json", "").await;
        let document: Value = serde_json::from_str(&document).unwrap();
        let alias = &document["paths"]["/v1/models/{model}/aliases/{alias}"];
        let answers = ["/put/responses/200", "/get/responses/200", "/put/requestBody"];
        let has_example =
            |place: &str| alias.pointer(place).unwrap()["content"]["application/json"]["example"].is_object();
        assert!(answers.into_iter().all(has_example), "{alias}");
        assert_eq!(document["paths"]["/v1/models/{model}/rollback"]["post"]["requestBody"]["required"], false);
        let (_, _, docs) = ask(&fixture.app, "GET", "/docs", "").await;
        assert!(docs.contains("curl -s -X PUT http://localhost/v1/models/{model}/aliases/{alias}"), "{docs}");
        let (status, headers, _) = ask(&fixture.app, "DELETE", "/v1/models/close/aliases/champion", "").await;
        assert_eq!((status, headers["allow"].to_str().unwrap()), (405, "GET, HEAD, PUT"));
    }

    /// What `serve.cors` lets read changes nothing.
    #[tokio::test]
    async fn a_site_that_may_read_moves_no_alias() {
        let (mut context, models) = super::super::fixture::context(Vec::new(), Vec::new());
        models.publish_all(3);
        context.settings.serve.sites.cors = vec!["https://app.example".to_owned()];
        let fixture = super::super::fixture::of_context(context, models);
        let target = ("PUT", "/v1/models/close/aliases/champion");
        for header in [("origin", "https://app.example"), ("sec-fetch-site", "cross-site")] {
            let (status, answer) = send(&fixture, target, &[JSON, header], r#"{"version":1}"#).await;
            assert_eq!((status, &answer["error"]["code"]), (403, &json!("origin")), "{header:?}");
        }
    }

    #[tokio::test]
    async fn a_form_moves_an_alias_and_comes_back_to_the_page() {
        let fixture = fixture(Vec::new());
        const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
        let page =
            async |headers: &[(&'static str, &str)]| sent(&fixture, ("GET", "/page/models/close"), headers, "").await.2;
        let forms = ["/page/models/close/aliases/promote", "/page/models/close/aliases/rollback"];
        let shown = page(&[]).await;
        assert!(forms.iter().all(|form| shown.contains(&format!("action=\"{form}\""))), "{shown}");
        // Whoever may not is shown none.
        for header in [("via", "1.1 proxy"), ("host", "10.0.0.3")] {
            let shown = page(&[header]).await;
            assert!(!shown.contains("Move an alias") && shown.contains("champion names version 2"), "{shown}");
        }
        let body = "version=3&alias=champion&reason=%3Cb%3Eless+error";
        let (status, headers, _) = sent(&fixture, ("POST", forms[0]), &[FORM], body).await;
        assert_eq!((status, headers["location"].to_str().unwrap()), (303, "/page/models/close"));
        let shown = page(&[]).await;
        assert!(shown.contains("champion names version 3") && shown.contains("&lt;b&gt;less error"), "{shown}");
        assert_eq!(sent(&fixture, ("POST", forms[1]), &[FORM], "").await.0, 303);
        assert!(page(&[]).await.contains("champion names version 2"));
        for (form, headers, body, status, word) in [
            (forms[1], vec![FORM], "", 409, "nothing before it"),
            (forms[0], vec![FORM], "version=x", 422, "the number of a version"),
            (forms[0], vec![FORM], "version=9", 404, "known: 1, 2, 3"),
            (forms[0], vec![FORM], "version=1&alias=A", 422, "small letters"),
            (forms[0], vec![FORM, ("origin", "http://evil.example")], body, 403, "another site"),
            (forms[0], vec![FORM, ("x-real-ip", "10.0.0.1")], body, 403, "this machine alone"),
            ("/page/models/none/aliases/promote", vec![FORM], body, 404, "no model none"),
        ] {
            let (found, headers, text) = sent(&fixture, ("POST", form), &headers, body).await;
            assert!(found == status && text.contains(word), "{form} {body}: {found} {text}");
            assert!(!headers.contains_key("location"));
        }
    }
}
