//! What this server answers, in one table: pattern, methods, documentation, handler. From it come `Allow`, the document of the API, the
//! nearest path of a 404, and the beginnings that no `[[route]]` may have. docs/decisions/0004-http-without-a-router.md says why it is our own.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use millstream_model::model::Argument;

use super::app::App;
use super::error::{ApiError, hint, is_of_inference, shortened};
use super::exchange::Exchange;
use super::guard::admit;
use super::keys::KeyScope;
use super::oip::grpc::is_of_grpc;
use super::pages::PageKind;
use super::recommend::PATHS;
use super::route::{PathParameters, UserRoute};
use super::{
    aliases, catalogue, compare, drift, history, insights, lineage, lists, live, mlflow, oip, openapi, predict,
    records, reply, route, rows, shadow, statistics, views,
};

/// HEAD comes with GET, GET with PUT, and OPTIONS is answered everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Methods {
    pub get: bool,
    pub post: bool,
    pub put: bool,
}

impl Methods {
    pub const READ: Self = Self { get: true, post: false, put: false };
    pub const POST: Self = Self { get: false, post: true, put: false };
    pub const BOTH: Self = Self { get: true, post: true, put: false };
    pub const PUT: Self = Self { get: true, post: false, put: true };

    pub fn allow(self) -> &'static str {
        match (self.get, self.post, self.put) {
            (true, true, true) => "GET, HEAD, POST, PUT",
            (true, true, false) => "GET, HEAD, POST",
            (true, false, true) => "GET, HEAD, PUT",
            (true, false, false) => "GET, HEAD",
            (false, true, true) => "POST, PUT",
            (false, true, false) => "POST",
            (false, false, true) => "PUT",
            (false, false, false) => "",
        }
    }
}

/// What is needed to ask a route; `None`: nothing, whatever needs keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// By GET and HEAD.
    get: Option<KeyScope>,
    /// By any other method.
    other: Option<KeyScope>,
}

impl Needs {
    /// Of probes.
    pub const NOTHING: Self = Self { get: None, other: None };
    /// However it is asked.
    pub const READING: Self = Self { get: Some(KeyScope::Read), other: Some(KeyScope::Read) };
    pub const QUERYING: Self = Self { get: Some(KeyScope::Read), other: Some(KeyScope::Query) };
    pub const WRITING: Self = Self { get: Some(KeyScope::Read), other: Some(KeyScope::Write) };

    fn of(self, method: &Method) -> Option<KeyScope> {
        if *method == Method::GET || *method == Method::HEAD { self.get } else { self.other }
    }
}

/// Where a route is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is a part of another.
    Nowhere,
    /// It is a page, or each model and view has it in the document.
    InHints,
    /// In the document of the API, and in hints.
    As(&'static str),
    /// The same of a list, which takes `limit` and `offset`.
    AsList(&'static str),
}
use Told::{As, AsList, InHints, Nowhere};

pub type Answer = Result<Response<Body>, ApiError>;

/// A route of the server's own.
pub struct OwnRoute {
    /// Names in braces are parameters.
    pub pattern: &'static str,
    pub methods: Methods,
    pub needs: Needs,
    pub told: Told,
    pub handler: fn(Arc<App>, PathParameters, Request<Body>) -> BoxFuture<'static, Answer>,
}

macro_rules! table {
    ($($methods:ident $needs:ident $pattern:literal $told:expr => |$app:pat_param, $path:pat_param, $request:pat_param| $answer:expr;)*) => {
        &[$(OwnRoute {
            pattern: $pattern,
            methods: Methods::$methods,
            needs: Needs::$needs,
            told: $told,
            handler: |$app, path, $request| {
                async move {
                    let $path = texts(path)?;
                    $answer
                }
                .boxed()
            },
        }),*]
    };
}

/// About the server: its pages and its documents.
const ABOUT: &[OwnRoute] = table! {
    READ READING "/" InHints => |app, [], request| page(app, PageKind::Now, request).await;
    READ READING "/page/batches" Nowhere => |app, [], request| page(app, PageKind::Batches, request).await;
    READ READING "/page/batches/{batch}" Nowhere => |app, [batch], request| page(app, PageKind::Batch(batch), request).await;
    BOTH QUERYING "/page/sql" Nowhere => |app, [], request| page(app, PageKind::Sql, request).await;
    READ READING "/page/models" Nowhere => |app, [], request| page(app, PageKind::Models, request).await;
    READ READING "/page/models/{model}" Nowhere => |app, [model], request| page(app, PageKind::Model(model), request).await;
    READ READING "/page/compare/{model}" Nowhere => |app, [model], request| page(app, PageKind::Compare(model), request).await;
    READ READING "/page/models/{model}/{version}" Nowhere => |app, [model, version], request| page(app, PageKind::Version(model, version), request).await;
    POST WRITING "/page/models/{model}/aliases/promote" Nowhere => |app, [model], request| page(app, PageKind::Promote(model), request).await;
    POST WRITING "/page/models/{model}/aliases/rollback" Nowhere => |app, [model], request| page(app, PageKind::RollBack(model), request).await;
    READ READING "/page/try" Nowhere => |app, [], request| page(app, PageKind::Try, request).await;
    READ READING "/page/try/model/{model}" Nowhere => |app, [model], request| page(app, PageKind::TryModel(model), request).await;
    READ READING "/page/try/route/{route}" Nowhere => |app, [route], request| page(app, PageKind::TryRoute(route), request).await;
    READ READING "/page/try/view/{view}" Nowhere => |app, [view], request| page(app, PageKind::TryView(view), request).await;
    READ READING "/page/rate/{model}" Nowhere => |app, [model], request| page(app, PageKind::Rate(model), request).await;
    READ READING "/page/catalogue" Nowhere => |app, [], request| page(app, PageKind::Catalogue, request).await;
    READ READING "/page/catalogue/{id}" Nowhere => |app, [id], request| page(app, PageKind::Item(id), request).await;
    READ READING "/page/pipeline" Nowhere => |app, [], request| page(app, PageKind::Pipeline, request).await;
    READ READING "/p/{page}" InHints => |app, [name], request| page(app, PageKind::Declared(name), request).await;
    READ READING "/assets/page.css" Nowhere => |app, [], request| page(app, PageKind::Style, request).await;
    READ READING "/assets/page.js" Nowhere => |app, [], request| page(app, PageKind::Script, request).await;
    READ READING "/assets/icon.svg" Nowhere => |app, [], request| page(app, PageKind::Icon, request).await;
    READ READING "/docs" InHints => |app, [], request| page(app, PageKind::Docs, request).await;
    READ READING "/openapi.json" As("This document") => |app, [], _| Ok(reply::json(StatusCode::OK, &openapi::document(&app)));
    READ READING "/metrics" As("Counters, for Prometheus") => |app, [], _| Ok(live::metrics(&app));
};

/// What it answers from.
const API: &[OwnRoute] = table! {
    READ NOTHING "/livez" As("The process serves") => |_, [], _| Ok(live::alive());
    READ NOTHING "/readyz" As("200 once a version can be asked, else 503; with ?model=, of that model") =>
        |app, [], request| live::ready(&app, &query(&request), admit(&app, KeyScope::Read, request.extensions(), request.headers()));
    READ NOTHING "/healthz" As("State and problems") => |app, [], request| Ok(live::health(&app, admit(&app, KeyScope::Read, request.extensions(), request.headers()).is_ok()));
    READ READING "/v1/status" As("The whole pipeline, now") => |app, [], _| Ok(live::status(&app));
    READ READING "/v1/status/history" As("Its numbers of the last ten minutes, a point a second") =>
        |app, [], _| Ok(history::history(&app));
    READ READING "/v1/events" As("The whole pipeline, live (server-sent events)") => |app, [], request| live::events(&app, request.headers());
    READ READING "/v1/batches" AsList("Complete batches, oldest first") =>
        |app, [], request| lists::batches(&app, &query(&request));
    READ READING "/v1/batches/{batch}" As("One batch, with its parts") => |app, [batch], _| lists::batch(&app, &batch);
    READ READING "/v1/batches/{batch}/rows" AsList("Rows of a batch, in stored order") =>
        |app, [batch], request| lists::batch_rows(&app, &batch, &query(&request)).await;
    READ READING "/v1/batches/{batch}/rejects" AsList("Records of a batch that were kept aside, with their reasons") =>
        |app, [batch], request| lists::batch_rejects(&app, &batch, &query(&request)).await;
    READ READING "/v1/batches/{batch}/statistics" As("What the columns of a batch are like: numbers, histograms, frequent texts") =>
        |app, [batch], _| statistics::statistics(&app, &batch).await;
    READ READING "/v1/models" AsList("All models") => |app, [], request| lists::models(&app, &query(&request));
    READ READING "/v1/models/{model}" As("One model") => |app, [model], _| lists::model(&app, &model);
    READ READING "/v1/models/{model}/shadow" As("How far the answers of a shadow, which are never sent, agree with those that were") =>
        |app, [model], _| shadow::shadow(&app, &model);
    BOTH READING "/v1/models/{model}/predict" InHints => |app, [model], request| {
        let version = Exchange::of(&request)?.responder(&app, &model, None, None).await?;
        predict::answer(&app, request, version).await
    };
    READ READING "/v1/models/{model}/aliases" AsList("What the aliases of a model name, since when, by whom and why") =>
        |app, [model], request| aliases::list(&app, &model, &query(&request));
    PUT WRITING "/v1/models/{model}/aliases/{alias}" AsList("How an alias came to what it names, the newest first") =>
        |app, [model, alias], request| match *request.method() {
            Method::PUT => aliases::promote(&app, &model, &alias, request).await,
            _ => aliases::history(&app, &model, &alias, &query(&request)).await,
        };
    POST WRITING "/v1/models/{model}/rollback" InHints => |app, [model], request| aliases::roll_back(&app, &model, request).await;
    READ READING "/v1/models/{model}/compare" As("Two versions on the same records, which neither was trained on: each measure, with an interval of the difference") =>
        |app, [model], request| compare::answer(&app, &model, &query(&request)).await;
    READ READING "/v1/models/{model}/versions" AsList("Versions of a model") =>
        |app, [model], request| lists::versions(&app, &model, &query(&request)).await;
    READ READING "/v1/models/{model}/versions/{version}" As("One version (a number or an alias), with its metrics") =>
        |app, [model, version], _| lists::version(&app, &model, &version).await;
    READ READING "/v1/models/{model}/versions/{version}/insights" As(
        "What a version goes by and where it is right, on its held-out rows; computed on first demand: 202 until it is there"
    ) => |app, [model, version], _| insights::answer(&app, &model, &version).await;
    READ READING "/v1/models/{model}/versions/{version}/drift" As(
        "How a batch's rows differ from those that a version was trained on: each feature and what it answers; computed on demand: 202 until it is there"
    ) => |app, [model, version], request| drift::answer(&app, &model, &version, &query(&request)).await;
    READ READING "/v1/models/{model}/versions/{version}/lineage" AsList(
        "Where a version came from: its configuration, its batches with their offsets and files, and when an alias named it"
    ) => |app, [model, version], request| lineage::answer(&app, &model, &version, &query(&request)).await;
    BOTH READING "/v1/models/{model}/versions/{version}/predict" InHints => |app, [model, version], request| {
        let version = Exchange::of(&request)?.responder(&app, &model, Some(&version), None).await?;
        predict::answer(&app, request, version).await
    };
    READ READING "/v1/catalogue" AsList(
        "Items: q searches titles, filter is a condition on their columns, sort names columns (-year,title), a facet takes any of its values"
    ) => |app, [], request| catalogue::list(&app, &query(&request)).await;
    READ READING "/v1/catalogue/{id}" As("One item") => |app, [id], _| catalogue::item(&app, &id).await;
    READ READING "/v1/catalogue/{id}/image" As("Its picture; a drawn one for an item without") =>
        |app, [id], _| catalogue::image(&app, &id).await;
    READ READING "/v1/views" As("All views, with their parameters") => |app, [], _| Ok(views::list(&app));
    READ READING "/v1/views/{view}" InHints => |app, [view], request| views::view(&app, &view, &query(&request)).await;
    POST WRITING "/v1/records" InHints => |app, [], request| records::post(&app, request).await;
    POST QUERYING "/v1/query" InHints => |app, [], request| views::query(&app, request).await;
};

/// The Open Inference Protocol.
const INFERENCE: &[OwnRoute] = table! {
    READ READING "/v2" InHints => |_, [], _| Ok(oip::server());
    READ READING "/v2/" Nowhere => |_, [], _| Ok(oip::server());
    READ NOTHING "/v2/health/live" InHints => |_, [], _| Ok(oip::alive());
    READ NOTHING "/v2/health/ready" InHints => |app, [], _| Ok(oip::ready(&app));
    READ READING "/v2/models/{model}" InHints => |app, [model], _| oip::model(&app, &model, None).await;
    READ READING "/v2/models/{model}/ready" InHints => |app, [model], _| oip::model_ready(&app, &model, None).await;
    POST READING "/v2/models/{model}/infer" InHints => |app, [model], request| oip::infer(&app, request, &model, None).await;
    READ READING "/v2/models/{model}/versions/{version}" InHints =>
        |app, [model, version], _| oip::model(&app, &model, Some(&version)).await;
    READ READING "/v2/models/{model}/versions/{version}/ready" InHints =>
        |app, [model, version], _| oip::model_ready(&app, &model, Some(&version)).await;
    POST READING "/v2/models/{model}/versions/{version}/infer" InHints =>
        |app, [model, version], request| oip::infer(&app, request, &model, Some(&version)).await;
};

/// The same over gRPC.
const GRPC: &[OwnRoute] = table! {
    POST NOTHING "/inference.GRPCInferenceService/ServerLive" InHints => |app, [], request| oip::grpc::server_live(&app, request).await;
    POST NOTHING "/inference.GRPCInferenceService/ServerReady" InHints => |app, [], request| oip::grpc::server_ready(&app, request).await;
    POST READING "/inference.GRPCInferenceService/ModelReady" InHints => |app, [], request| oip::grpc::model_ready(&app, request).await;
    POST READING "/inference.GRPCInferenceService/ServerMetadata" InHints => |app, [], request| oip::grpc::server(&app, request).await;
    POST READING "/inference.GRPCInferenceService/ModelMetadata" InHints => |app, [], request| oip::grpc::model(&app, request).await;
    POST READING "/inference.GRPCInferenceService/ModelInfer" InHints => |app, [], request| oip::grpc::infer(&app, request).await;
};

/// MLflow's scoring protocol.
const MLFLOW: &[OwnRoute] = table! {
    POST READING "/invocations" InHints => |app, [], request| mlflow::of_query(&app, request).await;
    READ NOTHING "/ping" InHints => |app, [], _| mlflow::ping(&app);
    READ READING "/version" InHints => |_, [], _| Ok(mlflow::release());
    POST READING "/v1/models/{model}/invocations" InHints => |app, [model], request| mlflow::of_path(&app, request, &model, None).await;
    POST READING "/v1/models/{model}/versions/{version}/invocations" InHints =>
        |app, [model, version], request| mlflow::of_path(&app, request, &model, Some(&version)).await;
};

async fn page(app: Arc<App>, page: PageKind, request: Request<Body>) -> Answer {
    let pages = Arc::clone(&app.context.pages);
    pages.answer(page, app, request).await
}

pub(super) fn own_routes() -> impl Iterator<Item = &'static OwnRoute> + Clone {
    let actions = PATHS.iter().flat_map(|path| [&path.of_model, &path.of_version]);
    ABOUT.iter().chain(API).chain(INFERENCE).chain(GRPC).chain(MLFLOW).chain(actions)
}

/// Each with the parts of its pattern: they are not taken apart for every request.
static OWN: LazyLock<Vec<(Vec<&str>, &OwnRoute)>> =
    LazyLock::new(|| own_routes().map(|own| (parts(own.pattern).collect(), own)).collect());

/// In the order of the document.
pub fn documented() -> impl Iterator<Item = &'static OwnRoute> {
    API.iter().chain(ABOUT.iter().rev())
}

/// Whether what begins so is the server's own.
pub fn is_reserved(first_segment: &str) -> bool {
    own_routes().any(|own| own.pattern.split('/').nth(1) == Some(first_segment))
}

/// What the path says, as many as the pattern has names.
fn texts<const N: usize>(path: PathParameters) -> Result<[String; N], ApiError> {
    let texts: Vec<String> = path.into_iter().map(|(_, text)| text).collect();
    texts.try_into().map_err(|_| ApiError::internal("the route's handler takes other parameters than its pattern has"))
}

fn query(request: &Request<Body>) -> String {
    request.uri().query().unwrap_or_default().to_owned()
}

/// What a request is for, and what its path says.
pub enum Endpoint {
    Own(&'static OwnRoute, PathParameters),
    User(Arc<UserRoute>, PathParameters),
}

impl Endpoint {
    /// The server's own come first. Percent-decoding happens here, once.
    pub fn find(path: &str, routes: &[Arc<UserRoute>]) -> Result<Self, ApiError> {
        let segments = path.strip_prefix('/').unwrap_or(path).split('/');
        let segments: Vec<Cow<str>> = segments.map(rows::decode).collect::<Result<_, _>>()?;
        // An action without its argument is another path; a model without a name is an unknown one.
        let is_argument = |name: &str| [Argument::User, Argument::Item].iter().any(|argument| argument.name() == name);
        let own = OWN.iter().find_map(|(parts, own)| Some((*own, values(parts, &segments, is_argument)?)));
        if let Some((own, values)) = own {
            return Ok(Self::Own(own, values));
        }
        let user = |route: &Arc<UserRoute>| {
            let parts: Vec<&str> = parts(&route.route.path).collect();
            Some(Self::User(Arc::clone(route), values(&parts, &segments, |_| true)?))
        };
        routes.iter().find_map(user).ok_or_else(|| {
            let message = format!("nothing at {}{}", shortened(path), hint(path, known(routes, path)));
            ApiError::not_found("unknown_path", message)
        })
    }

    /// The path as a pattern: what counters and documentation call it.
    pub fn pattern(&self) -> Cow<'static, str> {
        match self {
            Self::Own(own, _) => Cow::Borrowed(own.pattern),
            Self::User(route, _) => Cow::Owned(route.route.path.clone()),
        }
    }

    pub fn methods(&self) -> Methods {
        match self {
            Self::Own(own, _) => own.methods,
            Self::User(route, _) => route.methods(),
        }
    }

    fn needs(&self, method: &Method) -> Option<KeyScope> {
        match self {
            Self::Own(own, _) => own.needs.of(method),
            Self::User(..) => Some(KeyScope::Read),
        }
    }

    /// Of whoever may ask it: nothing is answered that was not admitted here, to pages neither.
    pub async fn answer(self, app: &Arc<App>, request: Request<Body>) -> Answer {
        let needs = self.needs(request.method());
        if let Some(Err(error)) = needs.map(|scope| admit(app, scope, request.extensions(), request.headers())) {
            // Who may see the page is told on it.
            let is_shown = self.pattern().starts_with("/page/") && error.status == StatusCode::FORBIDDEN;
            return if is_shown { Ok(app.context.pages.failure(app, &error)) } else { Err(error) };
        }
        match self {
            Self::Own(own, path) => (own.handler)(Arc::clone(app), path, request).await,
            Self::User(route, path) if route.route.view.is_some() => views::route(app, request, route, path).await,
            Self::User(route, path) => route::answer(app, request, route, path).await,
        }
    }
}

/// What a 404 at this path names: of the Open Inference Protocol its own paths, by REST or gRPC, else all others.
fn known<'a>(routes: &'a [Arc<UserRoute>], path: &str) -> impl Iterator<Item = &'a str> + Clone {
    let family = |path: &str| (is_of_inference(path), is_of_grpc(path));
    let wanted = family(path);
    let own = own_routes().filter(|own| own.told != Nowhere).map(|own| own.pattern);
    let all = routes.iter().map(|route| route.route.path.as_str()).chain(own);
    all.filter(move |path| family(path) == wanted)
}

/// The names in braces, in order.
pub fn path_parameters(pattern: &str) -> impl Iterator<Item = &str> {
    pattern.split('/').filter_map(name)
}

fn name(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

fn parts(pattern: &str) -> impl Iterator<Item = &str> {
    pattern.trim_start_matches('/').split('/')
}

/// What a path that fits the parts of a pattern says. `is_needed`: whether that name stands for some text.
fn values(parts: &[&str], path: &[Cow<str>], is_needed: impl Fn(&str) -> bool) -> Option<PathParameters> {
    let fits = |(part, text): (&&str, &Cow<str>)| match name(part) {
        Some(name) => !text.is_empty() || !is_needed(name),
        None => part == text,
    };
    // Of all patterns one fits: nothing is copied before it is known which.
    if parts.len() != path.len() || !parts.iter().zip(path).all(fits) {
        return None;
    }
    let said =
        parts.iter().zip(path).filter_map(|(part, text)| Some((name(part)?.to_owned(), text.clone().into_owned())));
    Some(said.collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::fixture::{fixture, route};
    use super::super::tests::ask;
    use super::*;

    async fn status(app: &Arc<App>, method: &str, target: &str) -> u16 {
        let request = Request::builder().method(method).uri(target).header("host", "localhost");
        app.handle(request.body(Body::empty()).unwrap()).await.status().as_u16()
    }

    #[tokio::test]
    async fn every_route_is_found_by_its_pattern_and_takes_what_its_path_says() {
        let app = fixture(Vec::new()).app;
        let patterns: BTreeSet<&str> = own_routes().map(|own| own.pattern).collect();
        assert_eq!(patterns.len(), own_routes().count(), "each stands there once");
        for own in own_routes() {
            let Ok(Endpoint::Own(found, values)) = Endpoint::find(own.pattern, &[]) else { panic!("{}", own.pattern) };
            assert_eq!(found.pattern, own.pattern);
            let expected = path_parameters(own.pattern).map(|name| (name.to_owned(), format!("{{{name}}}")));
            assert_eq!(values, expected.collect::<Vec<_>>());
            for method in own.methods.allow().split(", ") {
                assert_ne!(status(&app, method, &own.pattern.replace(['{', '}'], "")).await, 500, "{}", own.pattern);
            }
        }
        for none in ["/v1/models/m/recommend/", "/v1/models/m/estimate/1", "/v1/models/m/nothing", "/v2/models", "//"] {
            assert!(Endpoint::find(none, &[]).is_err(), "{none}");
        }
    }

    #[tokio::test]
    async fn a_404_names_all_paths_that_are_there_and_no_other() {
        let app = fixture(vec![route("/mine/{town}", &["typed"], &[], None)]).app;
        let family = |path: &str| (is_of_inference(path), is_of_grpc(path));
        for (target, own, pointer) in
            [("/a/b/c/d/e/f/g/h", 1, "/error/message"), ("/v2/b/c/d/e/f/g/h/i/j", 0, "/error")]
        {
            let (_, _, answer) = ask(&app, "GET", target, "").await;
            let message: serde_json::Value = serde_json::from_str(&answer).unwrap();
            let message = message.pointer(pointer).unwrap().as_str().unwrap();
            let known = message.split("; known: ").nth(1).unwrap_or_else(|| panic!("{message}"));
            let told = own_routes().filter(|own| own.told != Nowhere);
            let expected = told.filter(|own| family(own.pattern) == family(target)).count();
            assert_eq!(known.split(", ").count(), own + expected);
            for path in known.split(", ") {
                assert_ne!(status(&app, "TRACE", path).await, 404, "{path}");
            }
        }
        assert!(ask(&app, "GET", "/v1/batchs", "").await.2.contains("did you mean /v1/batches?"));
    }
}
