//! The live pages: what the pipeline does, what came of it, and forms to use it. Rendered on the server from answers of the API
//! (`serve::Asker`), complete without JavaScript.
//!
//! A page is a function of its URL: forms but those of SQL and of aliases are GET and come back to the page that has them, filled, with the answer below. So the script
//! has two things to do: it asks for the page's own URL again whenever the event stream says that something changed, and puts the
//! elements with `data-live` in place of the old ones; and it answers forms with `data-swap` without a reload, in the same way.

mod aliases;
mod ask;
mod batches;
mod cards;
mod chart;
mod compare;
mod declared;
mod docs;
mod drift;
mod fields;
mod format;
mod insights;
mod items;
mod models;
mod now;
mod pipeline;
mod shell;
mod sql;
mod taste;
#[cfg(test)]
mod tests;
mod traffic;
mod values;
mod version;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use maud::Markup;

use crate::serve::{Answer, ApiError, App, Asker, PageKind, Pages, asset, html_page};
use aliases::Way;
use values::Query;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const ICON: &str = include_str!("icon.svg");

/// A page's title, and what stands in it.
struct Page {
    title: String,
    body: Markup,
    /// Of the navigation: the path that is marked.
    place: String,
}

impl Page {
    fn new(title: impl Into<String>, place: impl Into<String>, body: Markup) -> Self {
        Self { title: title.into(), body, place: place.into() }
    }
}

type Made = Result<Page, ApiError>;

/// The pages of this crate.
pub struct LivePages;

impl Pages for LivePages {
    fn answer(&self, page: PageKind, app: Arc<App>, request: Request<Body>) -> BoxFuture<'static, Answer> {
        async move {
            match page {
                PageKind::Style => return Ok(asset("text/css; charset=utf-8", STYLE)),
                PageKind::Script => return Ok(asset("text/javascript; charset=utf-8", SCRIPT)),
                PageKind::Icon => return Ok(asset("image/svg+xml", ICON)),
                _ => {}
            }
            let (parts, body) = request.into_parts();
            let asker = Asker { app: &app, parts: &parts };
            let query = Query::parse(parts.uri.query().unwrap_or_default());
            let made = match (page, query) {
                (_, Err(error)) => Err(error),
                (PageKind::Sql, Ok(query)) => match sql::answer(&asker, &query, body).await {
                    Ok(sql::Out::Page(page)) => Ok(page),
                    Ok(sql::Out::Csv(response)) => return Ok(response),
                    Err(error) => Err(error),
                },
                (PageKind::Promote(model), Ok(_)) => match aliases::moved(&asker, &model, Way::Promote, body).await {
                    Ok(response) => return Ok(response),
                    Err(error) => Err(error),
                },
                (PageKind::RollBack(model), Ok(_)) => match aliases::moved(&asker, &model, Way::RollBack, body).await {
                    Ok(response) => return Ok(response),
                    Err(error) => Err(error),
                },
                (page, Ok(query)) => make(&asker, page, &query).await,
            };
            Ok(match made {
                Ok(page) => html_page(&app, StatusCode::OK, shell::shell(&app, &page)),
                Err(error) => LivePages.failure(&app, &error),
            })
        }
        .boxed()
    }

    fn failure(&self, app: &App, error: &ApiError) -> Response<Body> {
        html_page(app, error.status, shell::shell(app, &shell::failure(error)))
    }
}

async fn make(asker: &Asker<'_>, page: PageKind, query: &Query) -> Made {
    match page {
        PageKind::Now => now::page(asker, query).await,
        PageKind::Batches => batches::all(asker, query).await,
        PageKind::Batch(number) => batches::one(asker, &number).await,
        PageKind::Models => models::all(asker).await,
        PageKind::Model(model) => models::one(asker, &model, query).await,
        PageKind::Version(model, version) => version::page(asker, &model, &version).await,
        PageKind::Compare(model) => compare::page(asker, &model, query).await,
        PageKind::Try => ask::index(asker).await,
        PageKind::TryModel(model) => ask::model(asker, &model, query).await,
        PageKind::TryRoute(route) => ask::route(asker, &route, query).await,
        PageKind::TryView(view) => ask::view(asker, &view, query).await,
        PageKind::Rate(model) => taste::rate(asker, &model, query).await,
        PageKind::Catalogue => items::all(asker, query).await,
        PageKind::Item(id) => items::one(asker, &id).await,
        PageKind::Declared(name) => declared::page(asker, &name, query).await,
        PageKind::Docs => Ok(docs::page(asker)),
        PageKind::Pipeline => Ok(pipeline::page(asker)),
        // Each was answered before.
        PageKind::Sql
        | PageKind::Promote(_)
        | PageKind::RollBack(_)
        | PageKind::Style
        | PageKind::Script
        | PageKind::Icon => Err(ApiError::internal("this page is answered elsewhere")),
    }
}
