//! Answers: a status, a content type, bytes.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use millstream_answer::catalogue::Picture;
use serde_json::Value;

use super::{App, ImagesFrom};

pub const MODEL_VERSION: HeaderName = HeaderName::from_static("x-model-version");
/// By which the version was found, where it was by one.
pub const MODEL_ALIAS: HeaderName = HeaderName::from_static("x-model-alias");

/// Nothing but our own files may be loaded by our pages, and no other site may frame them.
macro_rules! policy {
    ($pictures:literal) => {
        concat!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src ",
            $pictures,
            "; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
    };
}
const PAGE_POLICY: &str = policy!("'self' data:");
/// The same, and pictures at the URLs that the catalogue has.
const PICTURES_POLICY: &str = policy!("'self' data: http: https:");

pub fn bytes(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

pub fn json(status: StatusCode, value: &Value) -> Response<Body> {
    bytes(status, "application/json", value.to_string())
}

/// An answer from models, with their versions in the header; from none without it.
pub fn from_models(value: &Value, versions: &str) -> Response<Body> {
    with_versions(json(StatusCode::OK, value), versions)
}

pub fn with_versions(mut response: Response<Body>, versions: &str) -> Response<Body> {
    // A model's name is checked with the pipeline file; one that is no header value is left out, not a fault.
    if let Ok(versions) = HeaderValue::from_str(versions)
        && !versions.is_empty()
    {
        response.headers_mut().insert(MODEL_VERSION, versions);
    }
    response
}

/// A picture is only ever looked at: whatever it holds, nothing of it runs.
pub fn picture(picture: Picture, kept_seconds: u32) -> Response<Body> {
    let mut response = bytes(StatusCode::OK, picture.content_type, picture.bytes);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    if let Ok(kept) = HeaderValue::from_str(&format!("max-age={kept_seconds}")) {
        headers.insert(header::CACHE_CONTROL, kept);
    }
    response
}

/// What is asked for lies at another URL, which is one.
pub fn elsewhere(url: &str) -> Response<Body> {
    let mut response = bytes(StatusCode::FOUND, "text/plain; charset=utf-8", format!("{url}\n"));
    if let Ok(url) = HeaderValue::from_str(url) {
        response.headers_mut().insert(header::LOCATION, url);
    }
    response
}

/// A form was taken: what became of it is at another URL of this server, to be asked for by GET.
pub fn see_other(path: &str) -> Response<Body> {
    let mut response = elsewhere(path);
    *response.status_mut() = StatusCode::SEE_OTHER;
    response
}

/// A page. Pictures of other hosts may be shown where the catalogue's own items name them.
pub fn html_page(app: &App, status: StatusCode, markup: maud::Markup) -> Response<Body> {
    let mut response = bytes(status, "text/html; charset=utf-8", markup.into_string());
    let headers = response.headers_mut();
    let settings = &app.context.settings;
    let rules = settings.catalogue.as_ref();
    let may_show = settings.serve.images == ImagesFrom::Anywhere;
    let of_items = rules.is_some_and(|rules| rules.image.is_some() && rules.images.is_none());
    let has_urls = may_show && (of_items || settings.pages.iter().any(|page| page.card.image.is_some()));
    let policy = HeaderValue::from_static(if has_urls { PICTURES_POLICY } else { PAGE_POLICY });
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

pub fn csv_answer(status: StatusCode, text: String) -> Response<Body> {
    bytes(status, "text/csv; charset=utf-8", text)
}

pub fn asset(content_type: &'static str, body: &'static str) -> Response<Body> {
    let mut response = bytes(StatusCode::OK, content_type, body);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
