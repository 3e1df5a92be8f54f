//! The aliases of a model: what each names, how it came to that, and, for whoever may, forms that move one. They are posted and come back to the
//! model's page, so that a page asked for again does nothing again.

use axum::body::Body;
use axum::http::{Method, Response};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::fields::{Field, FieldKind, field};
use super::format;
use super::values::{Query, cell, encode, list, text, word};
use crate::serve::{ApiError, Asker, see_other};

const CHAMPION: &str = "champion";
const ALIASES_MOST: usize = 10;
/// Of each alias; the rest is in the API.
const RECORDS_MOST: usize = 10;
const VERSIONS_MOST: usize = 12;

/// How a form moves an alias.
pub enum Way {
    Promote,
    RollBack,
}

/// `body`: the form.
pub async fn moved(asker: &Asker<'_>, model: &str, way: Way, body: Body) -> Result<Response<Body>, ApiError> {
    let form = Query::parse_form(&asker.form(body).await?)?;
    let (alias, model) = (form.get("alias").unwrap_or(CHAMPION), encode(model));
    let reason = form.get("reason");
    match way {
        Way::Promote => {
            let typed =
                form.get("version").map(|typed| typed.parse::<u32>().map_or_else(|_| json!(typed), Value::from));
            let wish = json!({"version": typed, "reason": reason});
            asker.ask(Method::PUT, &format!("/v1/models/{model}/aliases/{}", encode(alias)), Some(&wish)).await?
        }
        Way::RollBack => {
            let wish = json!({"alias": alias, "reason": reason});
            asker.ask(Method::POST, &format!("/v1/models/{model}/rollback"), Some(&wish)).await?
        }
    };
    Ok(see_other(&format!("/page/models/{model}")))
}

/// `versions`: numbers, ascending.
pub async fn section(asker: &Asker<'_>, model: &str, versions: &[Value]) -> Result<Markup, ApiError> {
    let path = format!("/v1/models/{}/aliases", encode(model));
    let aliases = asker.get(&format!("{path}?limit={ALIASES_MOST}")).await?;
    let aliases = list(&aliases, "aliases");
    let mut histories = Vec::new();
    for alias in aliases {
        let alias = word(alias, "alias");
        histories.push((alias, asker.get(&format!("{path}/{}?limit={RECORDS_MOST}", encode(alias))).await?));
    }
    Ok(html! {
        section #aliases data-live {
            h2 { "Aliases" }
            @if aliases.is_empty() { p .empty { "None yet: the newest version answers whoever names none." } }
            @for (alias, history) in &histories { (table(model, alias, history)) }
        }
        @if asker.may_change() { section { h2 { "Move an alias" } div .columns { (promote(model, versions)) (roll_back(model, aliases)) } } }
    })
}

fn table(model: &str, alias: &str, history: &Value) -> Markup {
    let records = list(history, "history");
    let total = history.get("total").map(text).unwrap_or_default();
    let json = format!("/v1/models/{}/aliases/{}", encode(model), encode(alias));
    html! {
        div .scroll tabindex="0" role="region" aria-label={ "History of " (alias) } {
            table {
                caption { (alias) " names version " (history.get("version").map(text).unwrap_or_default()) "; " (records.len()) " of " a href=(json) { (total) " records" } ", the newest first" }
                thead { tr { th scope="col" { "Record" } th scope="col" { "Version" } th scope="col" { "What" } th scope="col" { "At" } th scope="col" { "By" } th scope="col" { "Why" } } }
                tbody { @for record in records { (row(record, record.get("record") == history.get("record"))) } }
            }
        }
    }
}

fn row(record: &Value, is_in_force: bool) -> Markup {
    let shown = |key: &str| record.get(key).map_or_else(|| "–".to_owned(), cell);
    let at = record.get("promoted_at_ms").and_then(Value::as_i64);
    html! {
        tr {
            th scope="row" { (shown("record")) @if is_in_force { " " span .tag .alias { "in force" } } }
            td { (shown("version")) }
            td {
                @match record.get("problem") {
                    Some(problem) => span .bad { (cell(problem)) },
                    None if record.get("rolled_back") == Some(&json!(true)) => "rolled back",
                    None => "promoted",
                }
            }
            td .nowrap { (at.map_or_else(|| "–".to_owned(), |at| format!("{} UTC", format::time(at)))) }
            td { (shown("by")) }
            td { (shown("reason")) }
        }
    }
}

fn promote(model: &str, versions: &[Value]) -> Markup {
    let newest: Vec<String> = versions.iter().rev().take(VERSIONS_MOST).map(text).collect();
    let version = Field { is_needed: true, ..named("version", "", newest.first().cloned().unwrap_or_default()) };
    // Of more than these any number may be typed.
    let choices = if versions.len() > VERSIONS_MOST { Vec::new() } else { newest };
    let version = Field { choices, kind: FieldKind::Number, ..version };
    let alias = named("alias", "a new name makes a new alias", CHAMPION.to_owned());
    let action = format!("/page/models/{}/aliases/promote", encode(model));
    form("promote", &action, &[version, alias, reason()], "Promote")
}

fn roll_back(model: &str, aliases: &[Value]) -> Markup {
    if aliases.is_empty() {
        return html! {};
    }
    let choices: Vec<String> = aliases.iter().map(|alias| word(alias, "alias").to_owned()).collect();
    let first = choices.iter().find(|alias| *alias == CHAMPION).or(choices.first()).cloned().unwrap_or_default();
    let alias = Field { choices, is_needed: true, ..named("alias", "names what it named before", first) };
    form("rollback", &format!("/page/models/{}/aliases/rollback", encode(model)), &[alias, reason()], "Roll back")
}

fn named(name: &str, hint: &str, example: String) -> Field {
    let (name, hint) = (name.to_owned(), hint.to_owned());
    Field { name, kind: FieldKind::Text, hint, choices: Vec::new(), example, is_needed: false }
}

fn reason() -> Field {
    named("reason", "one line, kept with the alias", String::new())
}

fn form(id: &str, action: &str, fields: &[Field], button: &str) -> Markup {
    html! {
        form .ask action=(action) method="post" {
            div .fields { @for (index, one) in fields.iter().enumerate() { (field(id, index, one, None, None)) } }
            button type="submit" { (button) }
        }
    }
}
