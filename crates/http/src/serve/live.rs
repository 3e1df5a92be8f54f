//! How the pipeline is: health, status, events and counters.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::app::App;
use super::error::ApiError;
use super::predict::{find_in, main_version};
use super::{gauges, lists, reply, rows, stopped};
use millstream_base::status::Event;
use millstream_stream::batch::Completeness;

/// How often a listener is told of changed numbers.
const STATUS_EVERY: Duration = Duration::from_millis(500);
/// Shorter than the idle limits of the usual proxies.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
const RECONNECT_AFTER: Duration = Duration::from_secs(2);

/// The process serves.
pub fn alive() -> Response<Body> {
    reply::json(StatusCode::OK, &json!({"status": "alive"}))
}

/// Some version can be asked. A broker that is down changes nothing in that, nor does a store that is away.
pub fn is_ready(app: &App) -> bool {
    let served = app.context.registry.snapshot();
    !served.models.is_empty() || app.model_names(&served).is_empty()
}

/// Of a model where the query names one, to whoever may read; what else a probe adds is left alone. `reads`: whether who asks may.
pub fn ready(app: &App, query: &str, reads: Result<(), ApiError>) -> Result<Response<Body>, ApiError> {
    let model = rows::parse_query(query)?.into_iter().find(|(name, _)| name == "model").map(|(_, model)| model);
    let mut ready = json!({"status": "ready"});
    if let Some(model) = model {
        reads?;
        let version = find_in(app, &model, main_version)?;
        ready["model"] = model.into();
        ready["version"] = version.file.version.into();
    } else if !is_ready(app) {
        return Err(ApiError::unavailable("not_ready", "no model has a version yet"));
    }
    if app.context.batches.snapshot().away.is_some() {
        ready["detail"] = "the store does not answer just now; what was read before is served on".into();
    }
    Ok(reply::json(StatusCode::OK, &ready))
}

/// `may_read`: whoever asks; a probe that may not is told no names.
pub fn health(app: &App, may_read: bool) -> Response<Body> {
    let snapshot = app.context.status.snapshot();
    let served = app.context.registry.snapshot();
    let problems: Vec<&String> = snapshot.problems.iter().chain(&served.problems).collect();
    let status = if problems.is_empty() { "ok" } else { "degraded" };
    let mut health = json!({"status": status, "state": snapshot.state});
    if may_read {
        health["broker"] = json!(snapshot.broker);
        health["problems"] = json!(problems);
    }
    reply::json(StatusCode::OK, &health)
}

pub fn status(app: &App) -> Response<Body> {
    reply::json(StatusCode::OK, &status_json(app))
}

fn status_json(app: &App) -> Value {
    let mut value = json!(app.context.status.snapshot());
    let served = app.context.registry.snapshot();
    let serving = app.model_names(&served).into_iter().map(|name| {
        let version = served.models.get(&name).and_then(|model| model.champion_or_latest());
        (name, json!(version.map(|version| version.file.version)))
    });
    if let Some(object) = value.as_object_mut() {
        object.insert("serving".to_owned(), Value::Object(serving.collect()));
        object.insert("loading".to_owned(), json!(loading(app)));
        object.insert("registry_problems".to_owned(), json!(served.problems));
        object.insert("answer_log".to_owned(), json!(app.context.answer_log.as_ref().map(|log| log.to_json())));
        object.insert("millstream".to_owned(), env!("CARGO_PKG_VERSION").into());
    }
    value
}

/// What is still being read behind: requests that need it are told 503.
fn loading(app: &App) -> Vec<&'static str> {
    let catalogue = app.context.catalogue.as_ref().is_some_and(|catalogue| catalogue.is_loading());
    let batches = app.context.batches.snapshot().completeness == Completeness::Unread;
    let all = [(batches, "batches"), (catalogue, "catalogue"), (app.context.interactions.is_loading(), "interactions")];
    all.into_iter().filter_map(|(is_loading, name)| is_loading.then_some(name)).collect()
}

/// The status as text, made once for all who listen.
#[derive(Default)]
pub struct StatusText(Mutex<Option<(Instant, Arc<str>)>>);

impl StatusText {
    fn get(&self, app: &App) -> Arc<str> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((at, text)) if at.elapsed() < STATUS_EVERY / 2 => Arc::clone(text),
            _ => {
                let text: Arc<str> = status_json(app).to_string().into();
                *made = Some((Instant::now(), Arc::clone(&text)));
                text
            }
        }
    }
}

/// `status` at once and whenever it changes, and every event as it comes, under its own kind.
pub fn events(app: &Arc<App>, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let permit = Arc::clone(&app.event_streams).try_acquire_owned();
    let permit = permit.map_err(|_| ApiError::too_many("too_many_listeners", "too many event streams are open"))?;
    let mut tick = interval(STATUS_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let listener = Listener {
        app: Arc::clone(app),
        events: app.context.status.listen(),
        stopping: app.stopping.clone(),
        tick,
        told: Arc::from(""),
        ready: VecDeque::from([SseEvent::default().retry(RECONNECT_AFTER)]),
        authorization: headers
            .get_all(header::AUTHORIZATION)
            .iter()
            .map(|key| (header::AUTHORIZATION, key.clone()))
            .collect(),
        _permit: permit,
    };
    let stream = stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    let mut response = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_EVERY)).into_response();
    // nginx would hold events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

struct Listener {
    app: Arc<App>,
    events: broadcast::Receiver<Event>,
    stopping: watch::Receiver<bool>,
    tick: Interval,
    /// The status last sent.
    told: Arc<str>,
    ready: VecDeque<SseEvent>,
    /// A key may be taken away while its owner listens.
    authorization: HeaderMap,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    /// `None` when the server stops, or who listens may read no more.
    async fn next(&mut self) -> Option<SseEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let event = tokio::select! {
                () = stopped(&mut self.stopping) => return None,
                event = self.events.recv() => match event {
                    Ok(event) => Some(sse(event.kind.name(), &json!(event).to_string())),
                    Err(RecvError::Lagged(lost)) => Some(sse("lagged", &json!({"lost": lost}).to_string())),
                    // The sender lives in `self.app`.
                    Err(RecvError::Closed) => return None,
                },
                _ = self.tick.tick() => match self.app.context.gate.lets_read(&self.authorization) {
                    true => None,
                    false => return None,
                },
            };
            match event {
                Some(event) => self.ready.push_back(event),
                None => self.tell_status(),
            }
        }
    }

    fn tell_status(&mut self) {
        let text = self.app.status_text.get(&self.app);
        if text != self.told {
            self.ready.push_back(sse("status", &text));
            self.told = text;
        }
    }
}

/// JSON has no raw line breaks, so one `data:` line holds it.
fn sse(kind: &str, json: &str) -> SseEvent {
    SseEvent::default().event(kind).data(json)
}

pub fn metrics(app: &App) -> Response<Body> {
    let (status, served) = (app.context.status.snapshot(), app.context.registry.snapshot());
    // Of batches that are not known there is no number, and the other numbers go on.
    let batches = lists::all_batches(app).ok();
    let text = gauges::render(app, &status, &served, batches.as_deref());
    reply::bytes(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}
