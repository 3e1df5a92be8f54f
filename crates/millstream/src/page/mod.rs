//! The live page: what the pipeline does, rendered on the server, complete without JavaScript. With it, `page.js` fetches
//! the same fragments again whenever the event stream says that something changed, and answers forms in place.

mod docs;
mod format;
mod forms;
mod state;
mod versions;

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use maud::{DOCTYPE, Markup, html};

use crate::serve::{App, all_batches, html as html_response};

pub use docs::docs;

pub const STYLE: &str = include_str!("page.css");
pub const SCRIPT: &str = include_str!("page.js");
pub const ICON: &str = include_str!("icon.svg");

type ApiResult = Result<Response<Body>, crate::serve::ApiError>;

/// `/`
pub async fn page(app: &Arc<App>) -> ApiResult {
    let live = live_fragment(app).await?;
    let name = &app.context.settings.name;
    let body = html! {
        main {
            div #live { (live) }
            section aria-labelledby="ask" {
                h2 #ask { "Ask a model" }
                div #forms { (forms::forms(app)) }
            }
        }
        p #announcer .hidden aria-live="polite" {}
    };
    Ok(html_response(shell(name, "/", &body, true)))
}

/// `/page/live`
pub async fn live(app: &Arc<App>) -> ApiResult {
    Ok(html_response(live_fragment(app).await?))
}

/// `/page/forms`
pub fn forms(app: &App) -> Response<Body> {
    html_response(forms::forms(app))
}

async fn live_fragment(app: &Arc<App>) -> Result<Markup, crate::serve::ApiError> {
    // What is damaged stands under "Needs attention"; all else goes on.
    let batches = all_batches(app).await.ok();
    let batches = batches.as_deref();
    let snapshot = app.context.status.snapshot();
    let served = app.context.registry.snapshot();
    Ok(html! {
        (state::state(&snapshot, &served, batches))
        (state::batches(&snapshot, batches))
        (versions::models(app, &served))
    })
}

fn shell(pipeline: &str, here: &str, body: &Markup, live: bool) -> Markup {
    let link = |path: &'static str, text: &'static str| {
        html! { a href=(path) aria-current=[(path == here).then_some("page")] { (text) } }
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (pipeline) " · Millstream" }
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/page.css";
                @if live { script src="/assets/page.js" defer {} }
            }
            body {
                header .top {
                    a .brand href="/" {
                        img src="/assets/icon.svg" alt="" width="28" height="28";
                        span { "Millstream" }
                        span .pipeline { (pipeline) }
                    }
                    nav aria-label="Pages" {
                        (link("/", "Live"))
                        (link("/docs", "API"))
                        (link("/metrics", "Metrics"))
                    }
                    @if live { span #connection .connection { "static page" } }
                }
                (body)
            }
        }
    }
}
