//! Items as cards, and rows as tables.

use maud::{Markup, html};
use millstream_answer::catalogue::is_url;
use serde_json::{Map, Value};

use super::values::{cell, cut, encode, fill, id, is_blank, is_number, text};
use crate::serve::{App, Card, ImagesFrom};

/// Of a table, and cards of a grid.
const ROWS_MOST: usize = 200;
/// Words, or features, that say what makes two items alike.
const REASONS_SAID: usize = 4;
/// Columns that a card without a line of its own says.
const COLUMNS_SAID: usize = 3;
/// What is no column of the item: it is shown apart, or as the card's title and picture.
const NOT_SAID: [&str; 10] =
    ["id", "title", "image", "score", "distance", "rating", "time", "name", "description", "mean"];

pub fn grid(app: &App, items: &[Value], card: &Card) -> Markup {
    html! {
        ul .grid {
            @for item in items.iter().take(ROWS_MOST).filter_map(Value::as_object) { li { (one(app, item, card)) } }
        }
    }
}

fn one(app: &App, item: &Map<String, Value>, card: &Card) -> Markup {
    let has_catalogue = app.context.catalogue.is_some();
    let item_id = item.get("id").map(id).filter(|_| has_catalogue);
    let title = title(item, card);
    html! {
        article .item {
            @if let Some(picture) = picture(app, item, card) {
                // What is drawn behind it is seen where a picture is missing or does not come.
                div .picture {
                    span aria-hidden="true" { (title.chars().next().unwrap_or('·')) }
                    @if !picture.is_empty() { img src=(picture) alt="" loading="lazy" width="200" height="280"; }
                }
            }
            p .name {
                @match &item_id {
                    Some(item_id) => { a href={ "/page/catalogue/" (encode(item_id)) } { (title) } },
                    None => { (title) },
                }
            }
            p .muted { (line(item, card)) }
            @if let Some(likeness) = likeness(item) { p .muted { (likeness) } }
            @for key in ["score", "distance", "rating"] {
                @if let Some(value) = item.get(key).filter(|value| is_number(value)) { p .score { (key) " " strong { (text(value)) } } }
            }
            @if let (Some(more), Some(item_id)) = (&card.more, &item_id) {
                a .more href={ "/page/try/model/" (encode(more)) "?item=" (encode(item_id)) } { "More like this" span .hidden { ": " (title) } }
            }
        }
    }
}

/// What makes it like what was asked for: the words of both, or which features are equal and which one is most apart.
pub fn likeness(item: &Map<String, Value>) -> Option<String> {
    if let Some(terms) = item.get("terms").and_then(Value::as_array).filter(|terms| !terms.is_empty()) {
        let words = terms.iter().filter_map(|term| term.get("term")).take(REASONS_SAID).map(text);
        return Some(format!("both have {}", words.collect::<Vec<_>>().join(", ")));
    }
    let parts = item.get("parts")?.as_object()?.iter();
    let mut parts: Vec<(&str, f64)> = parts.filter_map(|(name, part)| Some((name.as_str(), part.as_f64()?))).collect();
    parts.sort_by(|left, right| left.1.total_cmp(&right.1));
    let equal: Vec<&str> =
        parts.iter().take_while(|(_, part)| *part == 0.0).map(|(name, _)| *name).take(REASONS_SAID).collect();
    let apart = parts.last().filter(|(_, part)| *part > 0.0).map(|(name, _)| *name);
    let said = [("equal", equal.join(", ")), ("most apart", apart.unwrap_or_default().to_owned())];
    let said = said.iter().filter(|(_, names)| !names.is_empty()).map(|(how, names)| format!("{how}: {names}"));
    Some(said.collect::<Vec<_>>().join("; ")).filter(|said| !said.is_empty())
}

/// Where its picture is; empty where there is none for this item, `None` where items have none.
fn picture(app: &App, item: &Map<String, Value>, card: &Card) -> Option<String> {
    if let Some(column) = &card.image {
        let url = item.get(column).and_then(Value::as_str).filter(|url| is_url(url));
        let may_show = app.context.settings.serve.images == ImagesFrom::Anywhere;
        return Some(url.filter(|_| may_show).unwrap_or_default().to_owned());
    }
    let item_id = item.get("id").map(id).filter(|_| shows_pictures(app))?;
    Some(format!("/v1/catalogue/{}/image", encode(&item_id)))
}

/// Whether items may have pictures: without a rule for them there is nothing to see but drawings.
pub fn shows_pictures(app: &App) -> bool {
    app.context.settings.catalogue.as_ref().is_some_and(|rules| rules.image.is_some())
}

fn title(item: &Map<String, Value>, card: &Card) -> String {
    let named = card.title.as_deref().and_then(|column| item.get(column));
    let known = ["title", "name", "id"].iter().filter_map(|name| item.get(*name));
    let mut titles = named.into_iter().chain(known).filter(|value| !value.is_null()).map(text);
    titles.find(|title| !is_blank(title)).map(|title| cut(&title)).unwrap_or_else(|| "without a title".to_owned())
}

fn line(item: &Map<String, Value>, card: &Card) -> String {
    if let Some(line) = &card.line {
        return fill(line, item);
    }
    let said = item.iter().filter(|(name, value)| !NOT_SAID.contains(&name.as_str()) && !value.is_null());
    let said = said.map(|(_, value)| cell(value)).filter(|text| text.chars().count() < 60);
    said.take(COLUMNS_SAID).collect::<Vec<_>>().join(" · ")
}

/// The columns of rows that are objects, in their order; `_`-columns of the store last.
pub fn columns(rows: &[Value]) -> Vec<&str> {
    let first = rows.first().and_then(Value::as_object);
    let names = || first.into_iter().flat_map(Map::keys).map(String::as_str);
    names().filter(|name| !name.starts_with('_')).chain(names().filter(|name| name.starts_with('_'))).collect()
}

/// The first rows of them; more are no page's.
pub fn table(caption: &str, columns: &[&str], rows: &[Value]) -> Markup {
    let shown = rows.get(..ROWS_MOST).unwrap_or(rows);
    let is_numeric = |column: &&str| shown.iter().filter_map(|row| row.get(*column)).any(is_number);
    let columns: Vec<(&str, bool)> = columns.iter().map(|column| (*column, is_numeric(column))).collect();
    html! {
        div .scroll tabindex="0" role="region" aria-label=(caption) {
            table {
                caption .hidden { (caption) }
                thead { tr { @for (column, is_numeric) in &columns { th scope="col" .num[*is_numeric] { (column) } } } }
                tbody {
                    @for row in shown {
                        tr {
                            @for (column, is_numeric) in &columns {
                                @let value = row.get(*column).unwrap_or(&Value::Null);
                                td .num[*is_numeric] { (of_column(column, value)) }
                            }
                        }
                    }
                }
            }
        }
        @if shown.len() < rows.len() { p .muted { "The first " (ROWS_MOST) " of " (super::format::count(rows.len() as u64)) " are shown." } }
    }
}

/// The store's own times are milliseconds.
fn of_column(column: &str, value: &Value) -> String {
    match value.as_i64().filter(|_| column == "_time") {
        Some(milliseconds) => super::format::time(milliseconds),
        None => cell(value),
    }
}

/// Names and values; what is an object or a list of objects comes as JSON.
pub fn facts(entries: &[(&str, String)]) -> Markup {
    html! {
        dl .facts {
            @for (name, value) in entries { div { dt { (name) } dd { (value) } } }
        }
    }
}

/// Before and after, of what is shown in pages.
pub fn pager(offset: usize, limit: usize, total: u64, url: impl Fn(usize) -> String) -> Markup {
    let next = offset.saturating_add(limit);
    let has_next = u64::try_from(next).is_ok_and(|next| next < total);
    html! {
        @if offset > 0 || has_next {
            nav .pager aria-label="Further pages" {
                @if offset > 0 { a rel="prev" href=(url(offset.saturating_sub(limit))) { "← before" } }
                span .muted { (offset.saturating_add(1)) "–" (next.min(usize::try_from(total).unwrap_or(usize::MAX))) " of " (super::format::count(total)) }
                @if has_next { a rel="next" href=(url(next)) { "after →" } }
            }
        }
    }
}
