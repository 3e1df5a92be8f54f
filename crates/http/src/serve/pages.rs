//! What people look at, seen from below: the API asks whoever wired it for a page, and knows none of them itself. A page is made from
//! answers of this API and of nothing else (`Asker`), so it can show nothing that a client could not ask for.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Request, Response, header};
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::App;
use super::body;
use super::endpoints::{Answer, Endpoint};
use super::error::ApiError;
use super::guard::admit;
use super::keys::KeyScope;
use super::reply::MODEL_VERSION;

/// More is no page's: it asks for a window of what there is.
const ANSWER_BYTES_MOST: usize = 32 << 20;

/// A page or a file of one; with what the path says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageKind {
    Now,
    Batches,
    Batch(String),
    Sql,
    Models,
    Model(String),
    Version(String, String),
    /// Of a model: two versions of it.
    Compare(String),
    /// Forms, posted.
    Promote(String),
    RollBack(String),
    Try,
    TryModel(String),
    /// By the place of the `[[route]]` among those that are served, from 0.
    TryRoute(String),
    TryView(String),
    Rate(String),
    Catalogue,
    Item(String),
    /// A `[[page]]` of the pipeline file.
    Declared(String),
    Pipeline,
    Docs,
    Style,
    Script,
    Icon,
}

/// Renders the pages of an app.
pub trait Pages: Send + Sync {
    fn answer(&self, page: PageKind, app: Arc<App>, request: Request<Body>) -> BoxFuture<'static, Answer>;

    /// What is shown in place of a page.
    fn failure(&self, app: &App, error: &ApiError) -> Response<Body>;
}

/// What the API answered.
#[derive(Debug, Clone)]
pub struct Answered {
    pub value: Value,
    /// `close@3`; of a model's answer alone.
    pub version: Option<String>,
}

/// Asks the API on behalf of whoever asked for the page: what they may not ask, no page asks for them.
pub struct Asker<'a> {
    pub app: &'a Arc<App>,
    pub parts: &'a Parts,
}

impl Asker<'_> {
    /// Whether whoever asks for the page may change what is served.
    pub fn may_change(&self) -> bool {
        admit(self.app, KeyScope::Write, &self.parts.extensions, &self.parts.headers).is_ok()
    }

    /// A posted form, with the same bounds on what a client sends.
    pub async fn form(&self, body: Body) -> Result<String, ApiError> {
        let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(ApiError::bad_request("the form is no UTF-8")),
        };
        body::receive(body, &self.app.bodies, 1, text).await.map(|(text, _)| text)
    }

    pub async fn get(&self, target: &str) -> Result<Value, ApiError> {
        self.ask(Method::GET, target, None).await.map(|answered| answered.value)
    }

    pub async fn ask(&self, method: Method, target: &str, body: Option<&Value>) -> Result<Answered, ApiError> {
        let mut request = Request::builder().method(method).uri(target);
        if let Some(headers) = request.headers_mut() {
            headers.clone_from(&self.parts.headers);
            headers.remove(header::CONTENT_LENGTH);
            headers.remove(header::CONTENT_TYPE);
            if body.is_some() {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
        }
        if let Some(extensions) = request.extensions_mut() {
            extensions.clone_from(&self.parts.extensions);
        }
        let request = request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())));
        let request = request.map_err(|error| ApiError::bad_request(format!("{target}: {error}")))?;
        let endpoint = Endpoint::find(request.uri().path(), &self.app.routes)?;
        let response: Response<Body> = endpoint.answer(self.app, request).await?;
        let version = response.headers().get(MODEL_VERSION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let bytes = to_bytes(response.into_body(), ANSWER_BYTES_MOST).await;
        let bytes = bytes.map_err(|_| ApiError::too_large("the answer is too large for a page; ask for less"))?;
        let value = serde_json::from_slice(&bytes).map_err(|_| ApiError::internal("the answer is no JSON"))?;
        Ok(Answered { value, version })
    }
}
