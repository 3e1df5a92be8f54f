//! The catalogue: found by words and facets, as a grid, and each item by itself with what is like it.

use maud::{Markup, html};
use millstream_model::model::Action;
use serde_json::{Map, Value};

use super::cards::{facts, grid, pager, shows_pictures};
use super::values::{self, Query, encode, id, list, text, whole};
use super::{Made, Page};
use crate::serve::{Asker, Card};

const PER_PAGE: usize = 20;
/// Of a facet, before one asks for more.
const VALUES_FIRST: usize = 8;
const VALUES_MOST: usize = 60;
const LIKE_MOST: usize = 6;
const LONG_CHARS: usize = 400;

pub async fn list_of(
    asker: &Asker<'_>,
    here: &str,
    query: &Query,
    card: &Card,
) -> Result<Markup, crate::serve::ApiError> {
    let limit = PER_PAGE.to_string();
    let answer = asker.get(&values::target("/v1/catalogue", &query.with(&[("limit", Some(&limit))]))).await?;
    let items = list(&answer, "items");
    let total = whole(&answer, "total");
    let facets = answer.get("facets").and_then(Value::as_object).cloned().unwrap_or_default();
    let chosen: Vec<(&str, &str)> = query.pairs().filter(|(name, _)| facets.contains_key(*name)).collect();
    let link = |changes: &[(&str, Option<&str>)]| values::target(here, &query.with(changes));
    let (path, fixed) = super::fields::action(here);
    Ok(html! {
        form .search role="search" action=(path) method="get" data-swap="found" {
            (fixed)
            div .field .wide {
                label for="q" { "Search" }
                input #q type="search" name="q" value=[query.get("q")] autocomplete="off";
            }
            (sorts(items, query))
            @for (name, value) in &chosen { input type="hidden" name=(name) value=(value); }
            button type="submit" { "Find" }
        }
        div #found .browse {
            aside aria-label="Facets" {
                @for (name, counted) in &facets { (facet(name, counted, &chosen, here, query)) }
            }
            div {
                p role="status" { (super::format::count(total)) @if total == 1 { " item" } @else { " items" } }
                @if !chosen.is_empty() {
                    ul .chosen {
                        @for (name, value) in &chosen {
                            li { a href=(without(here, query, name, value)) { (name) ": " (value) " ✕" span .hidden { " remove" } } }
                        }
                    }
                }
                @if items.is_empty() {
                    p .empty { "Nothing is found so. " a href=(link(&[("q", None), ("offset", None)])) { "Show all" } }
                }
                (grid(asker.app, items, card))
                (pager(query.offset(total), PER_PAGE, total, |offset| link(&[("offset", Some(&offset.to_string()))])))
            }
        }
    })
}

fn sorts(items: &[Value], query: &Query) -> Markup {
    let first = items.first().and_then(Value::as_object);
    let orders = |(_, value): &(&String, &Value)| !value.is_array() && !value.is_object();
    let columns: Vec<&String> = first.into_iter().flatten().filter(orders).map(|(name, _)| name).collect();
    let chosen = query.get("sort");
    html! {
        @if !columns.is_empty() || chosen.is_some() {
            div .field {
                label for="sort" { "Order" }
                select #sort name="sort" {
                    option value="" { "as found" }
                    @for column in columns.iter().filter(|name| !["id", "image", "description"].contains(&name.as_str())) {
                        @let down = format!("-{column}");
                        option value=(down) selected[chosen == Some(down.as_str())] { (column) ", highest first" }
                        option value=(column) selected[chosen == Some(column.as_str())] { (column) ", lowest first" }
                    }
                }
            }
        }
    }
}

fn facet(name: &str, counted: &Value, chosen: &[(&str, &str)], here: &str, query: &Query) -> Markup {
    let counted = counted.as_array().map_or(&[][..], Vec::as_slice);
    let entry = |value: &Value| {
        let said = value.get("value").map(id).unwrap_or_default();
        let is_chosen = chosen.contains(&(name, said.as_str()));
        let url = if is_chosen { without(here, query, name, &said) } else { with(here, query, name, &said) };
        html! {
            li { a href=(url) aria-current=[is_chosen.then_some("true")] { (said) " " span .muted { (whole(value, "count")) } } }
        }
    };
    html! {
        @if !counted.is_empty() {
            section .facet {
                h2 { (name) }
                ul { @for value in counted.iter().take(VALUES_FIRST) { (entry(value)) } }
                @if counted.len() > VALUES_FIRST {
                    details {
                        summary { (counted.len() - VALUES_FIRST) " more" span .hidden { " of " (name) } }
                        ul { @for value in counted.iter().skip(VALUES_FIRST).take(VALUES_MOST) { (entry(value)) } }
                    }
                }
            }
        }
    }
}

fn with(here: &str, query: &Query, name: &str, value: &str) -> String {
    let kept = query.pairs().filter(|(known, _)| *known != "offset").chain([(name, value)]);
    values::target(here, &values::write(kept))
}

fn without(here: &str, query: &Query, name: &str, value: &str) -> String {
    values::target(here, &values::write(query.pairs().filter(|pair| *pair != (name, value) && pair.0 != "offset")))
}

pub async fn all(asker: &Asker<'_>, query: &Query) -> Made {
    let found = list_of(asker, "/page/catalogue", query, &default_card(asker).await).await?;
    let body = html! { h1 { "Catalogue" } (found) };
    Ok(Page::new("Catalogue", "/page/catalogue", body))
}

/// Cards as the first `[[page]]` of the catalogue has them; else with the first model that knows what is alike.
pub async fn default_card(asker: &Asker<'_>) -> Card {
    let declared = asker.app.context.settings.pages.iter().find(|page| page.card != Card::default());
    match declared {
        Some(page) => page.card.clone(),
        None => Card { more: alike_models(asker).await.into_iter().next(), ..Card::default() },
    }
}

/// Models whose items may be those of the catalogue.
async fn alike_models(asker: &Asker<'_>) -> Vec<String> {
    let settings = &asker.app.context.settings;
    let models = settings.models.iter().filter(|model| Action::Similar.suits(model.algorithm));
    models.map(|model| model.name.clone()).collect()
}

pub async fn one(asker: &Asker<'_>, wanted: &str) -> Made {
    let found = asker.get(&format!("/v1/catalogue/{}", encode(wanted))).await?;
    let item: &Map<String, Value> = found.as_object().unwrap_or(&EMPTY);
    let title = values::item_name(&found);
    let long = |value: &Value| text(value).chars().count() > 80;
    let shown =
        || item.iter().filter(|(name, value)| name.as_str() != "image" && (name.as_str() != "title" || long(value)));
    let short: Vec<(&str, String)> =
        shown().filter(|(_, value)| !long(value)).map(|(name, value)| (name.as_str(), text(value))).collect();
    let card = default_card(asker).await;
    let mut alike = Vec::new();
    for model in alike_models(asker).await {
        let path = format!("/v1/models/{}/similar/{}?n={LIKE_MOST}", encode(&model), encode(wanted));
        // A model that does not know the item says nothing of it.
        if let Ok(answer) = asker.get(&path).await {
            alike.push((model, list(&answer, "items").to_vec()));
        }
    }
    let body = html! {
        article .detail {
            @if shows_pictures(asker.app) {
                div .picture .large {
                    span aria-hidden="true" { (title.chars().next().unwrap_or('·')) }
                    img src={ "/v1/catalogue/" (encode(wanted)) "/image" } alt="" width="300" height="420";
                }
            }
            div {
                h1 { (title) }
                @for (name, value) in shown().filter(|(_, value)| long(value)) { (long_text(name, &text(value))) }
                (facts(&short))
            }
        }
        @for (model, items) in alike.iter().filter(|(_, items)| !items.is_empty()) {
            section {
                h2 { "More like this" @if alike.len() > 1 { span .muted { " by " (model) } } }
                (grid(asker.app, items, &card))
            }
        }
    };
    Ok(Page::new(title, "/page/catalogue", body))
}

static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);

/// A text of any length: its beginning, and the whole of it on demand.
fn long_text(name: &str, text: &str) -> Markup {
    let end = text.char_indices().nth(LONG_CHARS).map(|(end, _)| end);
    html! {
        section .long {
            h2 { (name) }
            @match end.and_then(|end| text.split_at_checked(end)) {
                Some((beginning, _)) => { p { (beginning) "…" } details { summary { "The whole of " (name) } p { (text) } } },
                None => { p { (text) } },
            }
        }
    }
}

/// What a search among items finds, as links to a page that takes one of them.
pub async fn finder(asker: &Asker<'_>, here: &str, query: &Query, name: &str, url: impl Fn(&str) -> String) -> Markup {
    let wanted = query.get("q").unwrap_or_default();
    let pairs = [("q", wanted), ("limit", "8")].into_iter().filter(|(_, value)| !value.is_empty());
    let found = match asker.app.context.catalogue.is_some() {
        true => asker.get(&values::target("/v1/catalogue", &values::write(pairs))).await.ok(),
        false => None,
    };
    let kept = || query.pairs().filter(|(known, _)| *known != "q" && *known != name);
    let (path, fixed) = super::fields::action(here);
    html! {
        @if let Some(found) = found {
            form .search role="search" action=(path) method="get" data-swap="finder" {
                (fixed)
                div .field .wide {
                    label for="q" { "Search for a title" }
                    input #q type="search" name="q" value=(wanted) autocomplete="off";
                }
                @for (name, value) in kept() { input type="hidden" name=(name) value=(value); }
                button type="submit" { "Find" }
            }
            ul #finder .found {
                @for item in list(&found, "items") {
                    @let item_id = item.get("id").map(id).unwrap_or_default();
                    li { a href=(url(&item_id)) { (values::item_name(item)) } }
                }
            }
        }
    }
}
