//! The live page: what the pipeline does, rendered on the server, complete without JavaScript. With it, `page.js` fetches
//! the same fragments again whenever the event stream says that something changed, and answers forms in place.

mod docs;
mod format;
mod forms;
mod state;
mod versions;

use axum::body::Body;
use axum::http::Response;
use maud::{DOCTYPE, Markup, html};

use crate::serve::{App, PageKind, Pages, all_batches, asset, html as html_response};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const ICON: &str = include_str!("icon.svg");

/// The live page and the description of the API.
pub struct LivePages;

impl Pages for LivePages {
    fn answer(&self, page: PageKind, app: &App) -> Response<Body> {
        match page {
            PageKind::Live => html_response(live_page(app)),
            PageKind::LiveFragment => html_response(live_fragment(app)),
            PageKind::Forms => html_response(forms::forms(app)),
            PageKind::Docs => html_response(docs::docs(app)),
            PageKind::Style => asset("text/css; charset=utf-8", STYLE),
            PageKind::Script => asset("text/javascript; charset=utf-8", SCRIPT),
            PageKind::Icon => asset("image/svg+xml", ICON),
        }
    }
}

fn live_page(app: &App) -> Markup {
    let live = live_fragment(app);
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
    shell(name, "/", &body, true)
}

fn live_fragment(app: &App) -> Markup {
    // What is damaged stands under "Needs attention"; all else goes on.
    let batches = all_batches(app);
    let batches = batches.as_deref();
    let snapshot = app.context.status.snapshot();
    let served = app.context.registry.snapshot();
    html! {
        (state::state(&snapshot, &served, batches))
        (state::batches(&snapshot, batches))
        (versions::models(app, &served))
    }
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
