//! From a request to its endpoint, and around every answer: whose pages may read it, methods, counters, and a net for panics.
//!
//! A table of our own instead of a router: percent-decoding happens once, an unknown path is answered with the nearest
//! one, and a new endpoint breaks the build until its methods, label and handler are given.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use futures_util::FutureExt;
use millstream_model::model::Argument;
use millstream_model::registry::Served;
use tokio::sync::{Semaphore, watch};

use super::answers::Answers;
use super::body::Bodies;
use super::error::{ApiError, hint, shortened};
use super::guard::is_health;
use super::metrics::Metrics;
use super::pages::PageKind;
use super::recommend::{self, AskPath, AskedBy, Bindings, PATHS};
use super::route::{PathParameters, UserRoute};
use super::verifying::Verifying;
use super::{ServeContext, catalogue, lists, live, openapi, predict, reply, route, rows, site, views};

/// Open event streams; each holds a connection and a queue of 256 events.
const EVENT_STREAMS_MAX: usize = 256;
const READ: &str = "GET, HEAD";
const POST: &str = "POST";
const READ_AND_POST: &str = "GET, HEAD, POST";

pub struct App {
    pub context: ServeContext,
    pub routes: Vec<Arc<UserRoute>>,
    pub metrics: Metrics,
    pub bindings: Bindings,
    pub bodies: Bodies,
    pub answers: Answers,
    pub verifying: Arc<Verifying>,
    pub event_streams: Arc<Semaphore>,
    pub status_text: live::StatusText,
    /// True once the server drains: event streams end.
    pub stopping: watch::Receiver<bool>,
}

#[derive(Clone)]
pub enum Endpoint {
    Page(PageKind),
    OpenApi,
    Metrics,
    Alive,
    Ready,
    Health,
    Status,
    Events,
    Batches,
    Batch(String),
    BatchRows(String),
    Models,
    Model(String),
    Versions(String),
    Version(String, String),
    Predict(String, Option<String>),
    /// Besides predict: model, version, and what the path says.
    Ask(&'static AskPath, String, Option<String>, Vec<(Argument, String)>),
    Catalogue,
    CatalogueItem(String),
    CatalogueImage(String),
    Views,
    View(String),
    Query,
    User(Arc<UserRoute>, PathParameters),
}

impl Endpoint {
    fn built_in(path: &[&str]) -> Option<Self> {
        let endpoint = match path {
            ["openapi.json"] => Self::OpenApi,
            ["metrics"] => Self::Metrics,
            ["livez"] => Self::Alive,
            ["readyz"] => Self::Ready,
            ["healthz"] => Self::Health,
            ["v1", "status"] => Self::Status,
            ["v1", "events"] => Self::Events,
            ["v1", "batches"] => Self::Batches,
            ["v1", "batches", batch] => Self::Batch((*batch).to_owned()),
            ["v1", "batches", batch, "rows"] => Self::BatchRows((*batch).to_owned()),
            ["v1", "models"] => Self::Models,
            ["v1", "models", model] => Self::Model((*model).to_owned()),
            ["v1", "models", model, "predict"] => Self::Predict((*model).to_owned(), None),
            ["v1", "models", model, "versions"] => Self::Versions((*model).to_owned()),
            ["v1", "models", model, "versions", version] => Self::Version((*model).to_owned(), (*version).to_owned()),
            ["v1", "models", model, "versions", version, "predict"] => {
                Self::Predict((*model).to_owned(), Some((*version).to_owned()))
            }
            ["v1", "catalogue"] => Self::Catalogue,
            ["v1", "catalogue", id] => Self::CatalogueItem((*id).to_owned()),
            ["v1", "catalogue", id, "image"] => Self::CatalogueImage((*id).to_owned()),
            ["v1", "views"] => Self::Views,
            ["v1", "views", view] => Self::View((*view).to_owned()),
            ["v1", "query"] => Self::Query,
            ["v1", "models", model, "versions", version, tail @ ..] => {
                let (path, given) = recommend::find(tail)?;
                Self::Ask(path, (*model).to_owned(), Some((*version).to_owned()), given)
            }
            ["v1", "models", model, tail @ ..] => {
                let (path, given) = recommend::find(tail)?;
                Self::Ask(path, (*model).to_owned(), None, given)
            }
            _ => {
                let is_at = |page: &PageKind| page.path()[1..].split('/').eq(path.iter().copied());
                Self::Page(PageKind::ALL.into_iter().find(is_at)?)
            }
        };
        Some(endpoint)
    }

    /// None of these changes anything yet. One that does takes its own arm here, and must ask `guard` before it runs
    /// (DESIGN §8).
    fn allow(&self) -> &'static str {
        match self {
            Self::Page(_) | Self::OpenApi | Self::Metrics | Self::Alive | Self::Ready | Self::Health => READ,
            Self::Status | Self::Events | Self::Batches | Self::Batch(_) | Self::BatchRows(_) => READ,
            Self::Models | Self::Model(_) | Self::Versions(_) | Self::Version(..) => READ,
            Self::Catalogue | Self::CatalogueItem(_) | Self::CatalogueImage(_) | Self::Views | Self::View(_) => READ,
            // Loopback and same-origin requests only: it checks that itself.
            Self::Query => POST,
            Self::Predict(..) => READ_AND_POST,
            Self::Ask(path, ..) => match path.asked_by {
                AskedBy::Get => READ,
                AskedBy::Post => POST,
                AskedBy::Both => READ_AND_POST,
            },
            Self::User(route, _) => route.allow(),
        }
    }

    /// The path as a pattern: what counters and documentation call it.
    pub fn pattern(&self) -> &str {
        match self {
            Self::Page(page) => page.path(),
            Self::OpenApi => "/openapi.json",
            Self::Metrics => "/metrics",
            Self::Alive => "/livez",
            Self::Ready => "/readyz",
            Self::Health => "/healthz",
            Self::Status => "/v1/status",
            Self::Events => "/v1/events",
            Self::Batches => "/v1/batches",
            Self::Batch(_) => "/v1/batches/{batch}",
            Self::BatchRows(_) => "/v1/batches/{batch}/rows",
            Self::Models => "/v1/models",
            Self::Model(_) => "/v1/models/{model}",
            Self::Versions(_) => "/v1/models/{model}/versions",
            Self::Version(..) => "/v1/models/{model}/versions/{version}",
            Self::Predict(_, None) => "/v1/models/{model}/predict",
            Self::Predict(_, Some(_)) => "/v1/models/{model}/versions/{version}/predict",
            Self::Ask(path, _, version, _) => path.pattern(version.is_some()),
            Self::Catalogue => "/v1/catalogue",
            Self::CatalogueItem(_) => "/v1/catalogue/{id}",
            Self::CatalogueImage(_) => "/v1/catalogue/{id}/image",
            Self::Views => "/v1/views",
            Self::View(_) => "/v1/views/{view}",
            Self::Query => "/v1/query",
            Self::User(route, _) => &route.route.path,
        }
    }
}

/// For the nearest path of a 404.
const PATTERNS: [&str; 24] = [
    "/",
    "/docs",
    "/openapi.json",
    "/metrics",
    "/livez",
    "/readyz",
    "/healthz",
    "/v1/status",
    "/v1/events",
    "/v1/batches",
    "/v1/batches/{batch}",
    "/v1/batches/{batch}/rows",
    "/v1/models",
    "/v1/models/{model}",
    "/v1/models/{model}/predict",
    "/v1/models/{model}/versions",
    "/v1/models/{model}/versions/{version}",
    "/v1/models/{model}/versions/{version}/predict",
    "/v1/catalogue",
    "/v1/catalogue/{id}",
    "/v1/catalogue/{id}/image",
    "/v1/views",
    "/v1/views/{view}",
    "/v1/query",
];

impl App {
    pub fn new(context: ServeContext, stopping: watch::Receiver<bool>) -> Self {
        Self {
            routes: UserRoute::compile(&context.settings.routes),
            context,
            metrics: Metrics::default(),
            bindings: Bindings::default(),
            bodies: Bodies::default(),
            answers: Answers::default(),
            verifying: Arc::default(),
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

    pub async fn handle(self: &Arc<Self>, request: Request<Body>) -> Response<Body> {
        let started = Instant::now();
        let sites = &self.context.settings.serve.sites;
        let reader = match site::admit(sites, &request) {
            // A probe may come by any name; what it is told is no secret.
            Err(_) if is_health(request.uri().path()) => Ok(None),
            admitted => admitted,
        };
        let (mut response, endpoint) = match &reader {
            Err(error) => (error.clone().into_response(), None),
            Ok(_) => match self.find(request.uri().path()) {
                Err(error) if request.method() != Method::OPTIONS => (error.into_response(), None),
                Err(_) => (preflight(READ_AND_POST, request.headers()), None),
                Ok(endpoint) => (self.answer(endpoint.clone(), request).await, Some(endpoint)),
            },
        };
        let pattern = match &reader {
            Ok(_) => endpoint.as_ref().map_or("unmatched", Endpoint::pattern),
            Err(_) => "refused",
        };
        site::mark(sites, reader.ok().flatten(), &mut response);
        self.metrics.count(pattern, response.status(), started.elapsed());
        response
    }

    fn find(&self, path: &str) -> Result<Endpoint, ApiError> {
        let segments = path.strip_prefix('/').unwrap_or(path).split('/');
        let segments: Vec<String> = segments.map(rows::decode).collect::<Result<_, _>>()?;
        let borrowed: Vec<&str> = segments.iter().map(String::as_str).collect();
        if let Some(endpoint) = Endpoint::built_in(&borrowed) {
            return Ok(endpoint);
        }
        let user = self.routes.iter().find_map(|route| Some((route, route.matches(&segments)?)));
        match user {
            Some((route, parameters)) => Ok(Endpoint::User(Arc::clone(route), parameters)),
            None => {
                let of_recommenders = PATHS.iter().map(|path| path.pattern(false));
                let own = self.routes.iter().map(|route| route.route.path.as_str());
                let known = own.chain(PATTERNS).chain(of_recommenders);
                Err(ApiError::not_found("unknown_path", format!("nothing at {}{}", shortened(path), hint(path, known))))
            }
        }
    }

    async fn answer(self: &Arc<Self>, endpoint: Endpoint, request: Request<Body>) -> Response<Body> {
        let allow = endpoint.allow();
        let method = request.method().clone();
        if method == Method::OPTIONS {
            return preflight(allow, request.headers());
        }
        if !allow.split(", ").any(|allowed| allowed == method.as_str()) {
            return ApiError::method(allow, endpoint.pattern()).into_response();
        }
        let pattern = endpoint.pattern().to_owned();
        match AssertUnwindSafe(self.run(endpoint, request)).catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                if error.status.is_server_error() && error.status != StatusCode::SERVICE_UNAVAILABLE {
                    tracing::error!(%pattern, message = error.message, "a request failed");
                }
                error.into_response()
            }
            Err(panic) => {
                let message = panic.downcast_ref::<String>().map(String::as_str);
                let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                tracing::error!(%pattern, message, "a request's handler panicked");
                ApiError::internal("the server failed to answer this; its log says why").into_response()
            }
        }
    }

    async fn run(self: &Arc<Self>, endpoint: Endpoint, request: Request<Body>) -> Result<Response<Body>, ApiError> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        match endpoint {
            Endpoint::Page(page) => self.context.pages.answer(page, self).await,
            Endpoint::OpenApi => Ok(reply::json(StatusCode::OK, &openapi::document(self))),
            Endpoint::Metrics => live::metrics(self).await,
            Endpoint::Alive => Ok(live::alive()),
            Endpoint::Ready => Ok(live::ready(self)),
            Endpoint::Health => Ok(live::health(self)),
            Endpoint::Status => Ok(live::status(self)),
            Endpoint::Events => live::events(self),
            Endpoint::Batches => lists::batches(self, &query).await,
            Endpoint::Batch(batch) => lists::batch(self, &batch).await,
            Endpoint::BatchRows(batch) => lists::batch_rows(self, &batch, &query).await,
            Endpoint::Models => lists::models(self, &query),
            Endpoint::Model(model) => lists::model(self, &model),
            Endpoint::Versions(model) => lists::versions(self, &model, &query).await,
            Endpoint::Version(model, version) => lists::version(self, &model, &version).await,
            Endpoint::Predict(model, version) => {
                let version = predict::find_version(self, &model, version.as_deref()).await?;
                predict::answer(self, request, version).await
            }
            Endpoint::Ask(path, model, version, given) => {
                let version = predict::find_version(self, &model, version.as_deref()).await?;
                recommend::answer(self, request, version, path.action, given).await
            }
            Endpoint::Catalogue => catalogue::list(self, &query).await,
            Endpoint::CatalogueItem(id) => catalogue::item(self, &id).await,
            Endpoint::CatalogueImage(id) => catalogue::image(self, &id).await,
            Endpoint::Views => Ok(views::list(self)),
            Endpoint::View(view) => views::view(self, &view, &query).await,
            Endpoint::Query => views::query(self, request).await,
            Endpoint::User(route, path) if route.route.view.is_some() => views::route(self, request, route, path).await,
            Endpoint::User(route, path) => route::answer(self, request, route, path).await,
        }
    }
}

/// OPTIONS: what may be asked here, and by which scripts.
fn preflight(allow: &'static str, asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    site::preflight(allow, asked, response.headers_mut());
    response
}
