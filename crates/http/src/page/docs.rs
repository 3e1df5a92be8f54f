//! `/docs`: the API of this pipeline, with a line to try each path, from the same document as `/openapi.json`.

use maud::{Markup, html};
use serde_json::Value;

use super::Page;
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
            (group("This pipeline's routes", entries().filter(|(path, _)| is_own(path))))
            (group("Models", entries().filter(|(path, _)| is_model(path))))
            (group("Everything else", entries().filter(|(path, _)| !is_own(path) && !is_model(path))))
        }
    };
    Page::new("Docs", "/docs", body)
}

fn group<'a>(title: &str, entries: impl Iterator<Item = (&'a String, &'a Value)>) -> Markup {
    let entries: Vec<_> = entries.collect();
    html! {
        @if !entries.is_empty() {
            section {
                h2 { (title) }
                @for (path, methods) in entries { (operations(path, methods)) }
            }
        }
    }
}

fn operations(path: &str, methods: &Value) -> Markup {
    html! {
        @for (method, operation) in methods.as_object().into_iter().flatten() {
            article .operation {
                h3 { span .method { (method.to_uppercase()) } " " code { (path) } }
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
                pre tabindex="0" { code { (curl(path, method, operation)) } }
            }
        }
    }
}

fn curl(path: &str, method: &str, operation: &Value) -> String {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    if method == "post" {
        return format!("curl -s $URL{path} -H 'content-type: application/json' -d '{}'", example(schema));
    }
    let query: Vec<String> = operation["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|parameter| parameter["in"] == "query" && parameter["name"] != "limit" && parameter["name"] != "offset")
        .map(|parameter| format!("{}=…", parameter["name"].as_str().unwrap_or_default()))
        .collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("curl -s \"$URL{path}{mark}{}\"", query.join("&"))
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
