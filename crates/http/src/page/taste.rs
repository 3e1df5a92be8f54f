//! Recommenders: a user's history beside what they would like, why, and recommendations for who rates a few items right here.

use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::ask::{Asked, items, line, title_of, version_of};
use super::cards::grid;
use super::fields::action;
use super::items::{default_card, finder};
use super::values::{self, Query, encode, id, list, number, word};
use super::{Made, Page, format};
use crate::serve::{ApiError, Asker, Card};

const LIST_MOST: usize = 12;
const REASONS_MOST: usize = 5;
/// More ratings make the page's own URL too long.
const RATINGS_MOST: usize = 40;
/// The form's name for the rating of an item.
const RATE: &str = "rate.";

/// Some user that there is: of the newest batch's first row.
async fn some_user(asker: &Asker<'_>, version: &Value) -> Option<String> {
    let column = version.get("user").map(|user| word(user, "expression"))?;
    let batches = asker.get("/v1/batches?limit=0").await.ok()?;
    let rows = asker.get(&format!("/v1/batches/{}/rows?limit=1", values::whole(&batches, "total"))).await.ok()?;
    list(&rows, "rows").first()?.get(column).map(id)
}

pub async fn user(asker: &Asker<'_>, model: &str, here: &str, query: &Query) -> Result<Markup, ApiError> {
    let version = version_of(asker, model).await?;
    let path = format!("/v1/models/{}", encode(model));
    let example = some_user(asker, &version).await.unwrap_or_default();
    let user = query.get("user").unwrap_or(&example).to_owned();
    let card = Card { more: None, ..default_card(asker).await };
    let (path_here, fixed) = action(here);
    let why_url = |item: &str| {
        let query = format!("user={}&why={}", encode(&user), encode(item));
        format!("{}#answer", values::target(here, &query))
    };
    let answers = match user.is_empty() {
        true => None,
        false => {
            let recommended = Asked::get(asker, format!("{path}/recommend/{}?n={LIST_MOST}", encode(&user))).await;
            let history = asker.get(&format!("{path}/history/{}?limit={LIST_MOST}", encode(&user))).await.ok();
            Some((recommended, history))
        }
    };
    let why = match query.get("why") {
        Some(item) => {
            let because = format!("{path}/because/{}/{}?n={REASONS_MOST}", encode(&user), encode(item));
            Some((title_of(asker, item).await, Asked::get(asker, because).await))
        }
        None => None,
    };
    Ok(html! {
        form .ask action=(path_here) method="get" data-swap="answer" {
            (fixed)
            div .fields { div .field {
                label for="user" { (version.get("user").map_or("user", |user| word(user, "expression"))) }
                input #user type="text" name="user" value=(user) autocomplete="off" spellcheck="false";
            } }
            button type="submit" { "Recommend" }
            " " a .button href={ "/page/rate/" (encode(model)) } { "Rate a few yourself" }
        }
        div #answer {
            @if let Some((title, why)) = &why {
                section .why aria-labelledby="why" {
                    h2 #why { "Why " (title) }
                    (why.section(asker, |value| reasons(asker, value, &card)))
                }
            }
            @if let Some((recommended, history)) = &answers {
                section {
                    h2 { "What " (user) " would like" }
                    (recommended.section(asker, |value| html! {
                        @if word(value, "source") == "popularity" { p .notice { "This user is not known to the model: what is popular." } }
                        (items(asker, value, &card))
                        p .whys { "Why " @for item in list(value, "items") {
                            @let item_id = item.get("id").map(id).unwrap_or_default();
                            a href=(why_url(&item_id)) {
                                (values::item_name(item))
                            } " "
                        } }
                    }))
                }
                @if let Some(history) = history.as_ref().filter(|history| !list(history, "items").is_empty()) {
                    section {
                        h2 { "What they rated" span .muted { " the newest of " (format::count(values::whole(history, "total"))) } }
                        (grid(asker.app, list(history, "items"), &card))
                    }
                }
            }
        }
    })
}

/// The user's own items that speak for it, with how much each adds.
fn reasons(asker: &Asker<'_>, value: &Value, card: &Card) -> Markup {
    html! {
        @if let Some(score) = number(value, "score").or_else(|| number(value, "prediction")) { p { "Expected: " strong { (format::number(score)) } } }
        (items(asker, value, card))
    }
}

/// Ratings of the page's URL, in its order, the newest of an item.
fn ratings(query: &Query) -> Vec<(&str, f64)> {
    let mut ratings: Vec<(&str, f64)> = Vec::new();
    for (name, value) in query.pairs() {
        let Some(item) = name.strip_prefix(RATE) else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        if value.is_finite() && ratings.len() < RATINGS_MOST {
            ratings.retain(|(known, _)| *known != item);
            ratings.push((item, value));
        }
    }
    ratings
}

/// The steps of a scale, at most eleven.
fn steps(version: &Value) -> Vec<f64> {
    let scale = list(version, "scale");
    let (low, high) = match (scale.first().and_then(Value::as_f64), scale.get(1).and_then(Value::as_f64)) {
        (Some(low), Some(high)) if high > low => (low, high),
        _ => return vec![1.0],
    };
    let step =
        [0.5, 1.0, 2.0, 5.0, 10.0].into_iter().find(|step| (high - low) / step <= 10.0).unwrap_or((high - low) / 10.0);
    let n_steps = ((high - low) / step).round();
    (0..=10).map(f64::from).filter(|index| *index <= n_steps).map(|index| low + index * step).collect()
}

pub async fn rate(asker: &Asker<'_>, model: &str, query: &Query) -> Made {
    let version = version_of(asker, model).await?;
    if word(&version, "task") != "recommendation" {
        return Err(ApiError::not_found("no_ratings", format!("{model} is no recommender: it takes no ratings")));
    }
    let here = format!("/page/rate/{}", encode(model));
    let steps = steps(&version);
    let rated = ratings(query);
    let mut titles = Vec::new();
    for (item, _) in &rated {
        titles.push(title_of(asker, item).await);
    }
    let target = format!("/v1/models/{}/recommend", encode(model));
    let sent: Map<String, Value> = rated.iter().map(|(item, value)| ((*item).to_owned(), json!(value))).collect();
    let asked = match rated.is_empty() {
        true => None,
        false => Some(Asked::post(asker, target.clone(), json!({"ratings": sent, "n": LIST_MOST})).await),
    };
    let card = Card { more: None, ..default_card(asker).await };
    let new = query.get("item").filter(|item| rated.iter().all(|(known, _)| known != item));
    let kept = values::write(query.pairs().filter(|(name, _)| name.starts_with(RATE)));
    let url = |item: &str| format!("{}#rate", values::target(&here, &join(&kept, &format!("item={}", encode(item)))));
    let popular = popular(asker, model, &rated).await;
    let rating = |item: &str, value: Option<f64>, title: &str| {
        html! {
            select name={ (RATE) (item) } aria-label={ "Your rating of " (title) } {
                @for step in &steps { option value=(step) selected[value == Some(*step)] { (format::number(*step)) } }
                @if let Some(own) = value.filter(|value| !steps.contains(value)) { option value=(own) selected { (format::number(own)) } }
            }
        }
    };
    let body = html! {
        p .trail { a href="/page/try" { "Try it" } " / " a href={ "/page/try/model/" (encode(model)) } { (model) } }
        h1 { "Rate a few yourself" }
        p .muted { "Choose an item, say how you like it; recommendations come at once, from your ratings alone. Nothing is stored." }
        (finder(asker, &here, query, "item", &url).await)
        @if !popular.is_empty() {
            p .whys { "Many know " @for (item, title) in &popular { a href=(url(item)) { (title) } " " } }
        }
        div #rate {
            @if new.is_some() || !rated.is_empty() {
                form .ask action=(here) method="get" {
                    @if let Some(item) = new {
                        @let title = title_of(asker, item).await;
                        div .rated { strong { (title) } " " (rating(item, steps.last().copied(), &title)) " " button type="submit" { "Add" } }
                    }
                    @for ((item, value), title) in rated.iter().zip(&titles) {
                        div .rated {
                            (title) " " (rating(item, Some(*value), title)) " "
                            a href=(values::target(&here, &query.with(&[(&format!("{RATE}{item}"), None), ("item", None)]))) { "remove" span .hidden { " " (title) } }
                        }
                    }
                    @if !rated.is_empty() && new.is_none() { button type="submit" { "Rate so" } }
                    @if rated.len() >= RATINGS_MOST { p .notice { "That is as many as a URL holds; post more to " code { (target) } } }
                }
            }
        }
        div #answer {
            @match &asked {
                Some(asked) => { h2 { "What you would like" } (asked.section(asker, |value| items(asker, value, &card))) },
                None => {
                    p .empty { "Your recommendations appear here with your first rating." }
                    (line(asker, &target, Some(&json!({"ratings": {"…": 5}}))))
                },
            }
        }
    };
    Ok(Page::new("Rate a few", "/page/try", body))
}

fn join(left: &str, right: &str) -> String {
    if left.is_empty() { right.to_owned() } else { format!("{left}&{right}") }
}

/// What most have rated: easier to judge than a search.
async fn popular(asker: &Asker<'_>, model: &str, rated: &[(&str, f64)]) -> Vec<(String, String)> {
    let answer = asker.get(&format!("/v1/models/{}/popular?n=12", encode(model))).await.unwrap_or_default();
    let named = list(&answer, "items").iter().map(|item| {
        let item_id = item.get("id").map(id).unwrap_or_default();
        (item_id, values::item_name(item))
    });
    named.filter(|(item, _)| rated.iter().all(|(known, _)| known != item)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratings_come_from_the_url_once_each() {
        let query = Query::parse("rate.7=4&rate.8=x&rate.7=5&q=1&rate.9=NaN&rate.a%20b=1.5").unwrap();
        assert_eq!(ratings(&query), [("7", 5.0), ("a b", 1.5)]);
    }

    #[test]
    fn a_scale_has_few_steps_from_end_to_end() {
        for (scale, first, last, count) in
            [([0.5, 5.0], 0.5, 5.0, 10), ([1.0, 10.0], 1.0, 10.0, 10), ([0.0, 100.0], 0.0, 100.0, 11)]
        {
            let steps = steps(&json!({"scale": scale}));
            assert_eq!((steps[0], *steps.last().unwrap(), steps.len()), (first, last, count));
        }
        assert_eq!(steps(&json!({"scale": null})), [1.0]);
    }
}
