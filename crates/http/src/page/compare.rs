//! Two versions of a model on the same records: a form, and each measure of both with the interval of the difference, drawn about 0 and in words.

use maud::{Markup, html};
use serde_json::Value;

use super::fields::{Field, FieldKind, field};
use super::format;
use super::values::{self, Query, encode, id, list, number, text, whole, word};
use super::{Made, Page};
use crate::serve::Asker;

const VERSIONS_MOST: usize = 12;
/// The picture of an interval: 0 lies in the middle.
const WIDTH: f64 = 100.0;
const HEIGHT: f64 = 24.0;

pub async fn page(asker: &Asker<'_>, model: &str, query: &Query) -> Made {
    let path = format!("/v1/models/{}", encode(model));
    let described = asker.get(&path).await?;
    let asked = ["a", "b", "on"].map(|name| query.get(name).map(|value| (name, value)));
    let path = values::target(&format!("{path}/compare"), &values::write(asked.into_iter().flatten()));
    let answer = match query.is_asked() {
        true => Some(asker.get(&path).await),
        false => None,
    };
    let body = html! {
        p .trail { a href="/page/models" { "Models" } " / " a href={ "/page/models/" (encode(model)) } { (model) } }
        h1 { "Two versions of " (model) }
        p .lead { "Both are scored on the same records, which neither was trained on. What differs by no more than the luck of which records these are is noise." }
        (form(model, &described, query))
        @match &answer {
            None => {},
            Some(Err(error)) => p .notice { (error.message) },
            Some(Ok(found)) => { (result(model, found)) p { a href=(path) { "All of it as JSON" } } },
        }
    };
    Ok(Page::new(format!("Compare {model}"), "/page/models", body))
}

/// `described`: the model. It says what it is asked for, or proposes the version that is served and the newest.
pub fn form(model: &str, described: &Value, query: &Query) -> Markup {
    let versions: Vec<String> = list(described, "versions").iter().rev().take(VERSIONS_MOST).map(id).collect();
    let newest = whole(described, "latest");
    let serving = whole(described, "serving");
    // Where that is the newest, it is held against the one before.
    let before = list(described, "versions").iter().rev().filter_map(Value::as_u64).find(|version| *version < newest);
    let first = if serving == newest { before.unwrap_or(serving) } else { serving };
    let of = |name: &str, hint: &str, example: String, choices: Vec<String>| {
        let (name, hint) = (name.to_owned(), hint.to_owned());
        Field { name, kind: FieldKind::Text, hint, choices, example, is_needed: true }
    };
    let places = ["common", "next_batch"].map(str::to_owned).to_vec();
    let on = Field {
        is_needed: false,
        ..of("on", "held-out records of all batches, or the batch after both", String::new(), places)
    };
    let choices = if list(described, "versions").len() > VERSIONS_MOST { Vec::new() } else { versions };
    let fields = [
        of("a", "a version or an alias", first.to_string(), choices.clone()),
        of("b", "held against a", newest.to_string(), choices),
        on,
    ];
    html! {
        form .ask action={ "/page/compare/" (encode(model)) } method="get" {
            div .fields { @for (index, one) in fields.iter().enumerate() { (field("compare", index, one, query.get(&one.name), None)) } }
            button type="submit" { "Compare" }
        }
    }
}

fn result(model: &str, found: &Value) -> Markup {
    let (a, b) = (whole(found, "a"), whole(found, "b"));
    let number_of = |of: &Value, key: &str| number(of, key).map_or_else(|| "–".to_owned(), format::number);
    let range = |key: &str| found.pointer(&format!("/batches/{key}")).map(text).unwrap_or_default();
    let level = number(found, "level").unwrap_or_default() * 100.0;
    let place = if word(found, "on") == "common" { "held-out records of all batches" } else { "the batch after both" };
    html! {
        section {
            h2 { "Version " (b) " beside version " (a) }
            p .muted { (format::count(whole(found, "compared"))) " " (word(found, "units")) " of batches " (range("first")) " to " (range("last")) ": " (place) }
            div .scroll tabindex="0" role="region" aria-label={ "Measures of " (model) } {
                table {
                    thead { tr {
                        th scope="col" { "Measure" } th .num scope="col" { "Version " (a) } th .num scope="col" { "Version " (b) } th .num scope="col" { "Difference" }
                        th scope="col" { (format::number(level)) " % interval" } th scope="col" { "Version " (b) " is" }
                    } }
                    tbody {
                        @for measure in list(found, "measures") {
                            @let (low, high) = (number(measure, "low").unwrap_or_default(), number(measure, "high").unwrap_or_default());
                            tr {
                                th scope="row" { (word(measure, "measure")) }
                                td .num { (number_of(measure, "a")) } td .num { (number_of(measure, "b")) } td .num { (number_of(measure, "difference")) }
                                td { (interval(low, high)) div .muted .nowrap { (format::number(low)) " to " (format::number(high)) } }
                                td { (said(word(measure, "b_is"))) }
                            }
                        }
                    }
                }
            }
            @for note in list(found, "notes") { p .notice { (text(note)) } }
        }
    }
}

fn said(verdict: &str) -> Markup {
    html! {
        @match verdict {
            "better" => span .verdict .good { "✓ better" },
            "worse" => span .verdict .bad { "✗ worse" },
            _ => span .muted { "no different beyond noise" },
        }
    }
}

/// The line of the interval, and 0 as a mark across it.
fn interval(low: f64, high: f64) -> Markup {
    let most = low.abs().max(high.abs());
    let place = |value: f64| {
        let share = if most > 0.0 && most.is_finite() { value / most } else { 0.0 };
        format!("{:.1}", WIDTH / 2.0 + share * (WIDTH / 2.0 - 4.0))
    };
    let middle = HEIGHT / 2.0;
    html! {
        svg .spark viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label={ "from " (format::number(low)) " to " (format::number(high)) } {
            line .axis x1=(place(0.0)) x2=(place(0.0)) y1="2" y2=(HEIGHT - 2.0) {}
            line .line .s0 x1=(place(low)) x2=(place(high)) y1=(middle) y2=(middle) {}
        }
    }
}
