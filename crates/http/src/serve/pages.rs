//! What people look at, seen from below: the API asks whoever wired it for a page, and knows none of them itself.

use axum::body::Body;
use axum::http::Response;

use super::App;

/// A page or a file of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    Live,
    /// What of the live page changes by itself.
    LiveFragment,
    Forms,
    Docs,
    Style,
    Script,
    Icon,
}

/// Renders the pages of an app.
pub trait Pages: Send + Sync {
    fn answer(&self, page: PageKind, app: &App) -> Response<Body>;
}
