//! What is around every page: navigation, the state of the connection, and what is said where a page cannot be.

use maud::{DOCTYPE, Markup, html};
use millstream_base::status::clock_ms;

use super::{Page, format};
use crate::serve::{ApiError, App};

pub fn shell(app: &App, page: &Page) -> Markup {
    let settings = &app.context.settings;
    let link = |path: &str, text: &str| {
        html! { a href=(path) aria-current=[(path == page.place).then_some("page")] { (text) } }
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (page.title) " · " (settings.name) }
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/page.css";
                script src="/assets/page.js" defer {}
            }
            body {
                a .skip href="#main" { "To the content" }
                header .top {
                    a .brand href="/" { img src="/assets/icon.svg" alt="" width="28" height="28"; span { "Millstream" } span .pipeline { (settings.name) } }
                    nav aria-label="Pages" {
                        (link("/", "Now"))
                        @for page in &settings.pages { (link(&format!("/p/{}", page.name), &page.title)) }
                        (link("/page/batches", "Batches"))
                        (link("/page/models", "Models"))
                        (link("/page/try", "Try it"))
                        @if app.context.catalogue.is_some() { (link("/page/catalogue", "Catalogue")) }
                        (link("/page/sql", "SQL"))
                        (link("/docs", "Docs"))
                    }
                    p .made {
                        span #connection role="status" { "static page" }
                        " " span #made data-live { "as of " (format::clock(clock_ms())) }
                        " " span #skipped {}
                    }
                }
                main #main tabindex="-1" { (page.body) }
                p #announcer .hidden aria-live="polite" {}
            }
        }
    }
}

/// What is shown in place of a page.
pub fn failure(error: &ApiError) -> Page {
    let again = error.status.as_u16() == 503;
    let title = match error.status.as_u16() {
        404 => "Not here",
        409 => "Nothing was changed",
        410 => "Removed",
        503 => "Not yet",
        _ => "This cannot be shown",
    };
    let body = html! {
        h1 { (title) }
        p .notice role="alert" { (error.message) }
        @if again { p { "Reload the page in a moment." } }
        p { a href="/" { "What the pipeline does now" } }
    };
    Page::new(title, "", body)
}
