//! What all requests share, and what is around every answer: whose pages may read it, methods, counters, and a net for panics.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use futures_util::FutureExt;
use hyper::body::Body as _;
use millstream_model::registry::{Served, Version};
use tokio::sync::{Semaphore, watch};

use super::answer_log::{self, LoggedRequest};
use super::answers::Answers;
use super::body::Bodies;
use super::endpoints::{Endpoint, Methods};
use super::error::ApiError;
use super::exchange::{AskedVersion, Ended, Exchange};
use super::guard::{Peer, admit, is_for_any_host, is_probe, key_name};
use super::history::History;
use super::insights::Explaining;
use super::keys::KeyScope;
use super::metrics::Metrics;
use super::recommend::Bindings;
use super::records::Posts;
use super::reply::MODEL_VERSION;
use super::request_id::{self, REQUEST_ID};
use super::route::UserRoute;
use super::shadow::Shadows;
use super::statistics::BatchAnswers;
use super::verifying::Verifying;
use super::{ServeContext, live, site};

/// Open event streams; each holds a connection and a queue of 256 events.
const EVENT_STREAMS_MAX: usize = 256;
/// A request that takes longer is told in the log.
const SLOW: Duration = Duration::from_secs(5);
/// A browser forgets after thirty days without an answer that the name is asked by https.
const HTTPS_ALONE: &str = "max-age=2592000";

pub struct App {
    pub context: ServeContext,
    pub routes: Vec<Arc<UserRoute>>,
    pub metrics: Metrics,
    pub history: History,
    pub bindings: Bindings,
    pub bodies: Bodies,
    pub answers: Answers,
    pub batch_answers: BatchAnswers,
    pub verifying: Arc<Verifying>,
    pub explaining: Arc<Explaining>,
    pub shadows: Shadows,
    pub posts: Posts,
    pub event_streams: Arc<Semaphore>,
    pub status_text: live::StatusText,
    /// True once the server drains: event streams end.
    pub stopping: watch::Receiver<bool>,
}

impl App {
    pub fn new(context: ServeContext, stopping: watch::Receiver<bool>) -> Self {
        Self {
            routes: UserRoute::compile(&context.settings.routes),
            context,
            metrics: Metrics::default(),
            history: History::default(),
            bindings: Bindings::default(),
            bodies: Bodies::default(),
            answers: Answers::default(),
            batch_answers: BatchAnswers::default(),
            verifying: Arc::default(),
            explaining: Arc::default(),
            shadows: Shadows::default(),
            posts: Posts::default(),
            event_streams: Arc::new(Semaphore::new(EVENT_STREAMS_MAX)),
            status_text: live::StatusText::default(),
            stopping,
        }
    }

    /// Configured or in the store.
    pub fn model_names(&self, served: &Served) -> Vec<String> {
        let mut names: Vec<String> = self.context.settings.models.iter().map(|model| model.name.clone()).collect();
        names.extend(served.models.keys().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
        names
    }

    pub async fn handle(self: &Arc<Self>, mut request: Request<Body>) -> Response<Body> {
        let started = Instant::now();
        let serve = &self.context.settings.serve;
        let sites = &serve.sites;
        let answer_log = self.context.answer_log.as_deref();
        let exchange = Arc::new(Exchange::new(serve, request.headers(), answer_log));
        request.extensions_mut().insert(Arc::clone(&exchange));
        let method = request.method().clone();
        let reader = match site::admit(sites, &request) {
            // A probe may come by any name; what it is told is no secret.
            Err(_) if is_for_any_host(request.uri()) => Ok(None),
            admitted => admitted,
        };
        let is_for_ever_https = site::is_for_ever_https(sites, request.headers());
        let mut key = None;
        let (mut response, pattern) = match &reader {
            Err(error) => (error.clone().into_response_at(request.uri().path()), Cow::Borrowed("refused")),
            Ok(_) => match self.counted(&mut request) {
                Ok(()) => {
                    key = exchange.is_logged.then(|| key_name(request.extensions())).flatten();
                    self.routed(request, &exchange.id).await
                }
                Err(error) => (error.into_response_at(request.uri().path()), Cow::Borrowed("refused")),
            },
        };
        site::mark(sites, reader.ok().flatten(), &mut response);
        if is_for_ever_https {
            response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HTTPS_ALONE));
        }
        let Ended { asked, shadows } = exchange.end(&mut response);
        let elapsed = started.elapsed();
        // Two aliases may name one version: the request counts once.
        let is_first = |(place, one): &(usize, &AskedVersion)| {
            asked.iter().take(*place).all(|before| !Arc::ptr_eq(&before.version, &one.version))
        };
        let versions = asked.iter().enumerate().filter(is_first).map(|(_, one)| &*one.version);
        let is_named = |version: &Version| self.is_named(version);
        self.metrics.count(&pattern, response.status(), elapsed, versions, is_named);
        self.shadows.take(shadows);
        if let Some(log) = answer_log.filter(|_| exchange.is_logged) {
            let (id, key) = (request_id::text(&exchange.id), key.as_deref());
            answer_log::put(log, &LoggedRequest { id, route: &pattern, key, status: response.status() }, &asked);
        }
        if serve.access_log || elapsed >= SLOW {
            self.log(&method, &pattern, &response, elapsed);
        }
        response
    }

    /// Whether an alias, or `latest`, names it.
    fn is_named(&self, version: &Version) -> bool {
        let served = self.context.registry.snapshot();
        let number = version.file.version;
        served.models.get(&version.file.model).is_some_and(|model| {
            model.aliases.values().any(|named| *named == number)
                || model.latest().is_some_and(|latest| latest.file.version == number)
        })
    }

    /// The line of a request. Of its path only the pattern: what a client says there, and in its query, may be a secret.
    fn log(&self, method: &Method, pattern: &str, response: &Response<Body>, elapsed: Duration) {
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (request_id, version) = (header(&REQUEST_ID), header(&MODEL_VERSION));
        let (status, bytes) = (response.status().as_u16(), response.body().size_hint().exact());
        let milliseconds = elapsed.as_secs_f64() * 1e3;
        if self.context.settings.serve.access_log {
            tracing::info!(kind = "request", request_id, %method, pattern, status, version, milliseconds, bytes, "request");
        }
        if elapsed >= SLOW {
            tracing::warn!(request_id, %method, pattern, status, version, milliseconds, "a request was slow");
        }
    }

    /// Who asks is known from here on, and within their rate. Probes have none.
    fn counted(&self, request: &mut Request<Body>) -> Result<(), ApiError> {
        let gate = &self.context.gate;
        let credential = gate.credential(request.headers());
        if !is_probe(request.uri()) {
            gate.count(&credential, request.extensions().get::<Peer>())?;
        }
        if gate.has_keys() {
            request.extensions_mut().insert(credential);
        }
        Ok(())
    }

    async fn routed(
        self: &Arc<Self>,
        request: Request<Body>,
        request_id: &HeaderValue,
    ) -> (Response<Body>, Cow<'static, str>) {
        let path = request.uri().path();
        match Endpoint::find(path, &self.routes) {
            Ok(endpoint) => {
                let pattern = endpoint.pattern();
                (self.answer(endpoint, &pattern, request, request_id).await, pattern)
            }
            Err(_) if request.method() == Method::OPTIONS => {
                (self.preflight(Methods::BOTH.allow(), request.headers()), Cow::Borrowed("unmatched"))
            }
            Err(unknown) => {
                let refused = self.may_not_read(&request).unwrap_or(unknown);
                (refused.into_response_at(path), Cow::Borrowed("unmatched"))
            }
        }
    }

    /// Which paths there are, and by which methods, is read, too. `None`: who asks may.
    fn may_not_read(&self, request: &Request<Body>) -> Option<ApiError> {
        admit(self, KeyScope::Read, request.extensions(), request.headers()).err()
    }

    /// OPTIONS: what may be asked here, and by which scripts.
    fn preflight(&self, allow: &'static str, asked: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        site::preflight(allow, &self.context.settings.serve, asked, response.headers_mut());
        response
    }

    async fn answer(
        self: &Arc<Self>,
        endpoint: Endpoint,
        pattern: &str,
        request: Request<Body>,
        request_id: &HeaderValue,
    ) -> Response<Body> {
        let request_id = request_id::text(request_id);
        let allow = endpoint.methods().allow();
        if request.method() == Method::OPTIONS {
            // A browser sends no key with it, and is told the same of every path.
            let allow = if self.may_not_read(&request).is_none() { allow } else { Methods::BOTH.allow() };
            return self.preflight(allow, request.headers());
        }
        if !allow.split(", ").any(|allowed| allowed == request.method().as_str()) {
            let refused = self.may_not_read(&request).unwrap_or_else(|| ApiError::method(allow, pattern));
            return refused.into_response_at(pattern);
        }
        match AssertUnwindSafe(endpoint.answer(self, request)).catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                if error.is_fault() {
                    tracing::error!(request_id, %pattern, code = error.code, message = error.message, "a request failed");
                }
                error.into_response_at(pattern)
            }
            Err(panic) => {
                let message = panic.downcast_ref::<String>().map(String::as_str);
                let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                tracing::error!(request_id, %pattern, message, "a request's handler panicked");
                ApiError::internal("the server failed to answer this; its log says why").into_response_at(pattern)
            }
        }
    }
}
