//! What people look at, seen from below: the API asks whoever wired it for a page, and knows none of them itself.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::Response;

use super::App;
use super::error::ApiError;

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
#[async_trait]
pub trait Pages: Send + Sync {
    async fn answer(&self, page: PageKind, app: &Arc<App>) -> Result<Response<Body>, ApiError>;
}
