//! `/docs`: the API of this pipeline, with a line to try each path, from the same document as `/openapi.json`.

use maud::{Markup, html};
use serde_json::Value;

use super::Page;
use super::ask::shell_line;
use super::values::{Curl, encode};
use crate::serve::{Asker, document};

pub fn page(asker: &Asker<'_>) -> Page {
    let app = asker.app;
    let document = document(app);
    let paths = document.get("paths").and_then(Value::as_object);
    let own: Vec<&str> = app.routes.iter().map(|route| route.route.path.as_str()).collect();
    let is_own = |path: &str| own.contains(&path);
    let is_model = |path: &str| path.starts_with("/v1/models/") && !path.contains("{model}") && !is_own(path);
    let entries = || paths.into_iter().flatten();
    let body = html! {
        div .docs {
            section {
                h1 { "Docs" }
                p { a href="/page/pipeline" { "This pipeline's file" } " · " a href="/openapi.json" { "OpenAPI" } " · " a href="/metrics" { "Metrics" } }
                h2 { "API" }
                p .muted {
                    "As OpenAPI 3.1: " a href="/openapi.json" { "/openapi.json" } ". Errors are "
                    code { "{\"error\":{\"code\",\"message\",\"field\"}}" } "; every answer of a model names its version in "
                    code { "x-model-version" } "."
                }
            }
            (group(asker, "This pipeline's routes", entries().filter(|(path, _)| is_own(path))))
            (group(asker, "Models", entries().filter(|(path, _)| is_model(path))))
            (group(asker, "Everything else", entries().filter(|(path, _)| !is_own(path) && !is_model(path))))
        }
    };
    Page::new("Docs", "/docs", body)
}

fn group<'a>(asker: &Asker<'_>, title: &str, entries: impl Iterator<Item = (&'a String, &'a Value)>) -> Markup {
    let entries: Vec<_> = entries.collect();
    html! {
        @if !entries.is_empty() {
            section {
                h2 { (title) }
                @for (path, methods) in entries { (operations(asker, path, methods)) }
            }
        }
    }
}

/// Where a path can be tried in a form, or opened as it is.
fn tried(asker: &Asker<'_>, path: &str, method: &str) -> Option<String> {
    if let Some(place) = asker.app.routes.iter().position(|route| route.route.path == path) {
        return Some(format!("/page/try/route/{place}"));
    }
    if let Some(view) = path.strip_prefix("/v1/views/") {
        return Some(format!("/page/try/view/{}", encode(view)));
    }
    let of_model = path.strip_prefix("/v1/models/").and_then(|rest| rest.split_once('/')).map(|(model, _)| model);
    match of_model.filter(|model| !model.starts_with('{')) {
        Some(model) => Some(format!("/page/try/model/{}", encode(model))),
        // The event stream never ends.
        None => (method == "get" && !path.contains('{') && path != "/v1/events").then(|| path.to_owned()),
    }
}

fn operations(asker: &Asker<'_>, path: &str, methods: &Value) -> Markup {
    html! {
        @for (method, operation) in methods.as_object().into_iter().flatten() {
            article .operation {
                h3 {
                    span .method { (method.to_uppercase()) } " " code { (path) }
                    @if let Some(url) = tried(asker, path, method) { " " a href=(url) { "try it" span .hidden { ": " (method) " " (path) } } }
                }
                p .muted { (operation["summary"].as_str().unwrap_or_default()) }
                @for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    div .parameter {
                        code { (parameter["name"].as_str().unwrap_or_default()) } " "
                        span .muted {
                            (parameter["schema"]["type"].as_str().unwrap_or_default()) ", in "
                            (parameter["in"].as_str().unwrap_or_default())
                        }
                    }
                }
                pre tabindex="0" { code { (curl(&shell_line(asker), path, method, operation)) } }
            }
        }
    }
}

fn curl(Curl { start, site }: &Curl, path: &str, method: &str, operation: &Value) -> String {
    let body = &operation["requestBody"]["content"]["application/json"];
    let sent = match method {
        "post" => Some(""),
        "put" => Some("-X PUT "),
        _ => None,
    };
    if let Some(how) = sent {
        let shown = body.get("example").cloned().unwrap_or_else(|| example(&body["schema"]));
        return format!("{start} {how}{site}{path} -H 'content-type: application/json' -d '{shown}'");
    }
    let query: Vec<String> = operation["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|parameter| parameter["in"] == "query" && parameter["name"] != "limit" && parameter["name"] != "offset")
        .map(|parameter| format!("{}=…", parameter["name"].as_str().unwrap_or_default()))
        .collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{start} \"{site}{path}{mark}{}\"", query.join("&"))
}

/// A value of the right shape; of an object that says what it needs, no more than that.
fn example(schema: &Value) -> Value {
    if let Some(first) = schema["oneOf"].get(0) {
        return example(first);
    }
    match schema["type"].as_str() {
        Some("object") if schema["additionalProperties"].is_object() => {
            [("…".to_owned(), example(&schema["additionalProperties"]))].into_iter().collect()
        }
        Some("object") => {
            let required = schema["required"].as_array();
            let is_needed = |name: &&String| required.is_none_or(|names| names.iter().any(|known| known == *name));
            let properties = schema["properties"].as_object().into_iter().flatten();
            let shown = properties.filter(|(name, _)| is_needed(name));
            shown.map(|(name, schema)| (name.clone(), example(schema))).collect()
        }
        Some("array") => [example(&schema["items"])].into_iter().collect(),
        Some("number") => Value::from(1.5),
        Some("integer") => Value::from(1),
        Some("boolean") => Value::from(true),
        _ => Value::from("…"),
    }
}
