//! The pipeline's own file, with the meaning of each key beside it: from the same description that editors check it by.

use std::sync::LazyLock;

use maud::{Markup, html};
use serde_json::Value;

use super::Page;
use crate::serve::Asker;

/// Written from the code and docs/configuration.md by `make docs`.
static KEYS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../../docs/pipeline.schema.json")).unwrap_or_default());

pub fn page(asker: &Asker<'_>) -> Page {
    let text = &asker.app.context.settings.file;
    let body = html! {
        p .trail { a href="/docs" { "Docs" } }
        h1 { "The pipeline's file" }
        p .lead { "As it was read, without its secrets; what each key means stands beside it." }
        @if text.is_empty() { p .empty { "Its text is not known." } }
        (annotated(text))
    };
    Page::new("The pipeline's file", "/docs", body)
}

fn annotated(text: &str) -> Markup {
    let mut table = String::new();
    let lines: Vec<(&str, Option<&str>)> = text
        .lines()
        .map(|line| {
            let trimmed = line.trim();
            if let Some(header) = header(trimmed) {
                table = header.to_owned();
                return (line, None);
            }
            (line, key(trimmed).and_then(|key| meaning(&table, key)))
        })
        .collect();
    html! {
        div .scroll tabindex="0" role="region" aria-label="The file" {
            table .annotated {
                thead { tr { th scope="col" { "Line" } th scope="col" { "What it means" } } }
                tbody { @for (line, meaning) in &lines { tr { td { code { (line) } } td .muted { (meaning.unwrap_or_default()) } } } }
            }
        }
    }
}

/// `[[model]]` and `[batch]`, with what follows them.
fn header(line: &str) -> Option<&str> {
    let inner = line.strip_prefix("[[").or_else(|| line.strip_prefix('['))?;
    let (name, rest) = inner.split_once(']')?;
    (!rest.contains('=')).then_some(name.trim())
}

fn key(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (!key.is_empty() && key.chars().all(is_bare)).then_some(key)
}

fn meaning(table: &str, key: &str) -> Option<&'static str> {
    let path = table.split('.').chain(key.split('.')).filter(|part| !part.is_empty());
    let mut place: &'static Value = &KEYS;
    for part in path {
        let object = place.get("items").unwrap_or(place);
        place = object.get("properties")?.get(part)?;
    }
    place.get("description")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_meaning_and_all_else_is_left_alone() {
        for (table, key) in [("batch", "rows"), ("model", "algorithm"), ("page", "show"), ("source", "path")] {
            assert!(meaning(table, key).is_some(), "{table}.{key}");
        }
        for (table, key) in [("batch", "none"), ("none", "rows"), ("model.params", "k"), ("schema.columns", "x")] {
            assert!(meaning(table, key).is_none(), "{table}.{key}");
        }
        let shown = annotated("[batch]\nrows = 5 # <b>\n\"a\" = 1\n[[1, 2], [3]]\n=\n[").into_string();
        assert!(
            shown.contains("&lt;b&gt;") && shown.contains("in a batch") && shown.matches("<tr>").count() == 7,
            "{shown}"
        );
    }
}
