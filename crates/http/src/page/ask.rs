//! "Try it": a form for each model, route and view, made from what each says of itself, filled with a row of the data; below it the answer,
//! drawn, and the line for a shell that asks the same.

use axum::http::{Method, header};
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::cards::{columns, grid, likeness, pager, table};
use super::fields::{self, Field, field};
use super::items::{default_card, finder};
use super::values::{self, Curl, Query, curl, encode, id, list, number, text, whole, word};
use super::{Made, Page, chart, format, taste};
use crate::serve::{Answered, ApiError, Asker, Card, document};

const LIST_MOST: usize = 12;

/// One thing to try.
pub struct Choice {
    pub url: String,
    pub name: String,
    pub about: String,
}

/// All of them: models that have a version, routes, views.
pub async fn choices(asker: &Asker<'_>) -> Result<Vec<(&'static str, Vec<Choice>)>, ApiError> {
    let models = asker.get("/v1/models?limit=1000").await?;
    let is_served = |model: &&Value| !model.get("serving").is_none_or(Value::is_null);
    let of_model = |model: &Value| Choice {
        url: format!("/page/try/model/{}", encode(word(model, "name"))),
        name: word(model, "name").to_owned(),
        about: word(model, "algorithm").replace('_', " "),
    };
    let of_route = |(index, route): (usize, &std::sync::Arc<crate::serve::UserRoute>)| Choice {
        url: format!("/page/try/route/{index}"),
        name: route.route.path.clone(),
        about: match &route.route.view {
            Some(view) => format!("from view {}", view.name),
            None => format!("from {}", route.route.models.join(", ")),
        },
    };
    let of_view = |view: &millstream_answer::views::View| Choice {
        url: format!("/page/try/view/{}", encode(&view.name)),
        name: view.name.clone(),
        about: "SQL over the stored rows".to_owned(),
    };
    Ok(vec![
        ("Models", list(&models, "models").iter().filter(is_served).map(of_model).collect()),
        ("Routes", asker.app.routes.iter().enumerate().map(of_route).collect()),
        ("Views", asker.app.context.settings.views.iter().map(of_view).collect()),
    ])
}

pub async fn index(asker: &Asker<'_>) -> Made {
    let groups = choices(asker).await?;
    let body = html! {
        h1 { "Try it" }
        @if groups.iter().all(|(_, choices)| choices.is_empty()) {
            p .empty { "There is something to try with the first version of a model." }
        }
        @for (title, choices) in groups.iter().filter(|(_, choices)| !choices.is_empty()) {
            section {
                h2 { (title) }
                ul .choices {
                    @for choice in choices { li { a href=(choice.url) { strong { (choice.name) } span .muted { (choice.about) } } } }
                }
            }
        }
    };
    Ok(Page::new("Try it", "/page/try", body))
}

/// As whoever asks for the page reaches it; with a key where there are some.
pub fn shell_line(asker: &Asker) -> Curl {
    let host = asker.parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let key = if asker.app.context.gate.has_keys() { " -H \"authorization: Bearer $MILLSTREAM_KEY\"" } else { "" };
    Curl { start: format!("curl -s{key}"), site: format!("{}://{host}", asker.app.context.settings.serve.scheme()) }
}

/// What was asked, and what came of it.
pub struct Asked {
    target: String,
    body: Option<Value>,
    answer: Result<Answered, ApiError>,
}

impl Asked {
    pub async fn get(asker: &Asker<'_>, target: String) -> Self {
        let answer = asker.ask(Method::GET, &target, None).await;
        Self { target, body: None, answer }
    }

    pub async fn post(asker: &Asker<'_>, target: String, body: Value) -> Self {
        let answer = asker.ask(Method::POST, &target, Some(&body)).await;
        Self { target, body: Some(body), answer }
    }

    /// The field that the answer finds fault with, and what is wrong with it.
    fn fault(&self) -> Option<(&str, &str)> {
        let error = self.answer.as_ref().err()?;
        Some((error.field.as_deref()?, &error.message))
    }

    pub fn value(&self) -> Option<&Value> {
        self.answer.as_ref().ok().map(|answered| &answered.value)
    }

    pub fn section(&self, asker: &Asker<'_>, drawn: impl FnOnce(&Value) -> Markup) -> Markup {
        html! {
            div .answer role="status" {
                @match &self.answer {
                    Ok(answered) => {
                        (drawn(&answered.value))
                        @for warning in list(&answered.value, "warnings") {
                            p .warning { (warning.as_str().unwrap_or_else(|| word(warning, "message"))) }
                        }
                        @if let Some(version) = &answered.version { p .muted { "answered by " (version) } }
                    },
                    Err(error) => p .bad { (error.message) },
                }
            }
            (line(asker, &self.target, self.body.as_ref()))
        }
    }
}

/// The same question from a shell.
pub fn line(asker: &Asker<'_>, target: &str, body: Option<&Value>) -> Markup {
    html! { pre .curl tabindex="0" aria-label="The same from a shell" { code { (curl(&shell_line(asker), target, body)) } } }
}

fn form(here: &str, fields: &[Field], query: &Query, faults: &[(&str, &str)], button: &str) -> Markup {
    let (path, fixed) = fields::action(here);
    html! {
        form .ask action=(path) method="get" data-swap="answer" {
            (fixed)
            @if fields.is_empty() { p .muted { "It takes nothing." } }
            div .fields {
                @for (index, one) in fields.iter().enumerate() {
                    @let fault = faults.iter().find(|(name, _)| *name == one.name).map(|(_, fault)| *fault);
                    @let typed = if query.is_asked() { Some(query.get(&one.name).unwrap_or_default()) } else { None };
                    (field("in", index, one, typed, fault))
                }
            }
            button type="submit" name="_ask" value="1" { (button) }
        }
    }
}

/// A stored row of the newest batch: what the fields are filled with. None where rows cannot be read now.
async fn example(asker: &Asker<'_>) -> Map<String, Value> {
    let Ok(batches) = asker.get("/v1/batches?limit=0").await else { return Map::new() };
    let rows = asker.get(&format!("/v1/batches/{}/rows?limit=1", whole(&batches, "total"))).await;
    let row = rows.ok().and_then(|rows| list(&rows, "rows").first().and_then(Value::as_object).cloned());
    row.unwrap_or_default()
}

pub async fn version_of(asker: &Asker<'_>, model: &str) -> Result<Value, ApiError> {
    let described = asker.get(&format!("/v1/models/{}", encode(model))).await?;
    let serving = whole(&described, "serving");
    if serving == 0 {
        return Err(ApiError::no_version(model));
    }
    asker.get(&format!("/v1/models/{}/versions/{serving}", encode(model))).await
}

pub async fn model(asker: &Asker<'_>, model: &str, query: &Query) -> Made {
    let here = format!("/page/try/model/{}", encode(model));
    let version = version_of(asker, model).await?;
    let inner = of_version(asker, model, &version, &here, query).await?;
    let body = html! {
        (trail(model))
        p .muted { (word(&version, "algorithm").replace('_', " ")) " · " a href={ "/page/models/" (encode(model)) } { "its versions and measures" } }
        (inner)
    };
    Ok(Page::new(model, "/page/try", body))
}

/// What suits the model's kind.
pub async fn of_model(asker: &Asker<'_>, model: &str, here: &str, query: &Query) -> Result<Markup, ApiError> {
    of_version(asker, model, &version_of(asker, model).await?, here, query).await
}

async fn of_version(
    asker: &Asker<'_>,
    model: &str,
    version: &Value,
    here: &str,
    query: &Query,
) -> Result<Markup, ApiError> {
    Ok(match word(version, "task") {
        "recommendation" => taste::user(asker, model, here, query).await?,
        "similarity" => alike(asker, model, here, query).await?,
        "popularity" => popular(asker, model, version, here, query).await?,
        _ => rows(asker, &[model.to_owned()], here, query).await?,
    })
}

fn trail(title: &str) -> Markup {
    html! {
        p .trail { a href="/page/try" { "Try it" } }
        h1 { (title) }
    }
}

/// One form for models that take rows: each answers below.
pub async fn rows(asker: &Asker<'_>, models: &[String], here: &str, query: &Query) -> Result<Markup, ApiError> {
    let example = example(asker).await;
    let mut fields: Vec<Field> = Vec::new();
    let mut versions = Vec::new();
    for model in models {
        let version = version_of(asker, model).await?;
        for input in list(&version, "inputs") {
            if fields.iter().all(|known| known.name != word(input, "name")) {
                fields.push(fields::of_input(input, example.get(word(input, "name"))));
            }
        }
        versions.push((model, version));
    }
    let mut asked: Vec<(&String, &Value, Asked)> = Vec::new();
    if query.is_asked() {
        for (model, version) in &versions {
            let inputs: Vec<&str> = list(version, "inputs").iter().map(|input| word(input, "name")).collect();
            let own: Vec<Field> =
                fields.iter().filter(|field| inputs.contains(&field.name.as_str())).cloned().collect();
            let path = format!("/v1/models/{}", encode(model));
            let one = match word(version, "task") {
                "neighbourhood" => {
                    let body = json!({"row": fields::body(&own, query), "n": LIST_MOST});
                    Asked::post(asker, format!("{path}/similar"), body).await
                }
                _ => Asked::get(asker, fields::target(&format!("{path}/predict"), &own, query)).await,
            };
            asked.push((model, version, one));
        }
    }
    let faults: Vec<(&str, &str)> = asked.iter().filter_map(|(_, _, one)| one.fault()).collect();
    let card = default_card(asker).await;
    Ok(html! {
        (form(here, &fields, query, &faults, "Ask"))
        div #answer {
            @for (model, version, one) in &asked {
                @if models.len() > 1 { h2 { (model) } }
                (one.section(asker, |value| predicted(asker, value, version, &card)))
            }
        }
    })
}

fn predicted(asker: &Asker<'_>, value: &Value, version: &Value, card: &Card) -> Markup {
    let name = match word(version, "task") {
        "regression" | "classification" => super::models::answer_name(version),
        _ => "prediction".to_owned(),
    };
    let shares: Vec<(String, f64, Option<f64>)> = value
        .get("probability")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, share)| Some((name.clone(), share.as_f64()?, None)))
        .collect();
    html! {
        @if let Some(prediction) = value.get("prediction") {
            p { span .muted { (name) } }
            p .figure { (text(prediction)) }
        }
        @if !shares.is_empty() { (chart::bars("Probability of each class", &shares)) }
        @if let Some(cluster) = value.get("cluster") {
            p .figure { "cluster " (text(cluster)) }
            p { (word(value, "label")) }
            @if let Some(distance) = number(value, "distance") { p .muted { "at distance " (format::number(distance)) " from its centre" } }
        }
        @if value.get("items").is_some() { (items(asker, value, card)) }
    }
}

/// A list of an answer: as cards where they have titles, else as a table of their rows.
pub fn items(asker: &Asker<'_>, value: &Value, card: &Card) -> Markup {
    let items = list(value, "items");
    let has_titles = items.iter().any(|item| !item.get("title").is_none_or(Value::is_null));
    let rows: Vec<Value> = items
        .iter()
        .filter_map(Value::as_object)
        .map(|item| {
            let own = item.iter().filter(|(name, _)| !["row", "parts", "terms"].contains(&name.as_str()));
            let likeness = likeness(item).map(|said| ("alike by".to_owned(), said.into()));
            // What is near comes with its row: the columns of both, side by side.
            let row = item.get("row").and_then(Value::as_object).into_iter().flatten();
            let pairs = own.chain(row.filter(|(name, _)| !item.contains_key(name.as_str())));
            Value::Object(pairs.map(|(name, value)| (name.clone(), value.clone())).chain(likeness).collect())
        })
        .collect();
    html! {
        @if items.is_empty() { p .empty { "An empty list: nothing fits." } }
        @else if has_titles { (grid(asker.app, items, card)) }
        @else { (table("Items", &columns(&rows), &rows)) }
    }
}

/// What is like one item; the item is searched for where there is a catalogue.
async fn alike(asker: &Asker<'_>, model: &str, here: &str, query: &Query) -> Result<Markup, ApiError> {
    let path = format!("/v1/models/{}/similar", encode(model));
    let asked = match query.get("item") {
        Some(item) => Some(Asked::get(asker, format!("{path}/{}?n={LIST_MOST}", encode(item))).await),
        None => None,
    };
    let card = Card { more: Some(model.to_owned()), ..default_card(asker).await };
    let found =
        finder(asker, here, query, "item", |item| values::target(here, &format!("item={}", encode(item)))).await;
    let item = Field {
        name: "item".to_owned(),
        kind: fields::FieldKind::Text,
        hint: "the id of an item".to_owned(),
        choices: Vec::new(),
        example: String::new(),
        is_needed: true,
    };
    Ok(html! {
        @if asker.app.context.catalogue.is_some() { (found) } @else { (form(here, &[item], query, &[], "Show what is like it")) }
        div #answer {
            @if let (Some(asked), Some(item)) = (&asked, query.get("item")) {
                h2 { "Like " (title_of(asker, item).await) }
                (asked.section(asker, |value| items(asker, value, &card)))
            }
        }
    })
}

/// The item's title, where the catalogue knows it.
pub async fn title_of(asker: &Asker<'_>, item: &str) -> String {
    let found = match asker.app.context.catalogue.is_some() {
        true => asker.get(&format!("/v1/catalogue/{}", encode(item))).await.ok(),
        false => None,
    };
    values::item_name(&found.unwrap_or_else(|| json!({ "id": item })))
}

async fn popular(
    asker: &Asker<'_>,
    model: &str,
    version: &Value,
    here: &str,
    query: &Query,
) -> Result<Markup, ApiError> {
    let path = format!("/v1/models/{}/popular", encode(model));
    let has_groups = !version.get("group").is_none_or(Value::is_null);
    let group = query.get("group");
    let offset = query.offset(u64::from(u32::MAX));
    let offset_text = offset.to_string();
    let count = LIST_MOST.to_string();
    let pairs =
        [("n", Some(count.as_str())), ("offset", (offset > 0).then_some(offset_text.as_str())), ("group", group)];
    let pairs = pairs.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
    let asked = Asked::get(asker, values::target(&path, &values::write(pairs))).await;
    let total = asked.value().map(|value| whole(value, "total")).unwrap_or_default();
    let card = default_card(asker).await;
    let field = Field {
        name: "group".to_owned(),
        kind: fields::FieldKind::Text,
        hint: format!("a value of {}", word(version, "group")),
        choices: group_names(asker, version).await,
        example: String::new(),
        is_needed: false,
    };
    let faults: Vec<(&str, &str)> = asked.fault().into_iter().collect();
    Ok(html! {
        @if has_groups { (form(here, &[field], query, &faults, "Show")) }
        div #answer {
            (asked.section(asker, |value| items(asker, value, &card)))
            (pager(offset, LIST_MOST, total, |offset| values::target(here, &query.with(&[("offset", Some(&offset.to_string()))]))))
        }
    })
}

/// Of a facet that the model's groups are: the expression is the same.
async fn group_names(asker: &Asker<'_>, version: &Value) -> Vec<String> {
    let rules = asker.app.context.settings.catalogue.as_ref();
    let same = |(_, expression): &&(String, String)| expression == word(version, "group");
    let Some((name, _)) = rules.and_then(|rules| rules.columns.iter().find(same)) else { return Vec::new() };
    let Ok(answer) = asker.get("/v1/catalogue?limit=0").await else { return Vec::new() };
    let counted = answer.get("facets").map_or(&[][..], |facets| list(facets, name));
    counted.iter().filter_map(|value| value.get("value")).map(id).collect()
}

/// A route of the user's, by its operation in the document of the API.
pub async fn route(asker: &Asker<'_>, index: &str, query: &Query) -> Made {
    let route = index.parse::<usize>().ok().and_then(|index| asker.app.routes.get(index));
    let route = route.ok_or_else(|| ApiError::not_found("unknown_route", format!("there is no route {index}")))?;
    let here = format!("/page/try/route/{index}");
    let body = html! { (trail(&route.route.path)) (operation(asker, &route.route.path, &here, query).await?) };
    Ok(Page::new(&route.route.path, "/page/try", body))
}

pub async fn view(asker: &Asker<'_>, name: &str, query: &Query) -> Made {
    let path = format!("/v1/views/{}", encode(name));
    if asker.app.context.settings.views.iter().all(|view| view.name != name) {
        // It says which there are.
        asker.get(&path).await?;
    }
    let here = format!("/page/try/view/{}", encode(name));
    let body = html! { (trail(name)) (view_form(asker, name, &here, query, None, true).await?) };
    Ok(Page::new(name, "/page/try", body))
}

/// A form for the view's parameters, and its rows: with a `card` as a grid, else as a table, below a picture where it `is_drawn`.
pub async fn view_form(
    asker: &Asker<'_>,
    name: &str,
    here: &str,
    query: &Query,
    card: Option<&Card>,
    is_drawn: bool,
) -> Result<Markup, ApiError> {
    let views = asker.get("/v1/views").await?;
    let described = list(&views, "views").iter().find(|view| word(view, "name") == name);
    let parameters = described.and_then(|view| view.get("params")).and_then(Value::as_object);
    let of_parameter = |(name, said): (&String, &Value)| {
        let kind = match word(said, "type") {
            "utf8" => "string",
            "boolean" => "boolean",
            _ => "number",
        };
        let mut schema = json!({"type": kind, "enum": list(said, "values")});
        let bounds = [("minimum", "min"), ("maximum", "max"), ("default", "default")];
        for (key, own) in bounds.into_iter().filter(|(key, _)| *key == "default" || kind == "number") {
            if let Some(value) = said.get(own) {
                schema[key] = value.clone();
            }
        }
        fields::of_schema(name, &schema, said.get("default").is_none())
    };
    let fields: Vec<Field> = parameters.into_iter().flatten().map(of_parameter).collect();
    // One that needs nothing answers at once, and a choice begins with the first.
    let needed: Vec<&Field> = fields.iter().filter(|field| field.is_needed).collect();
    let first: Vec<(&str, &str)> =
        needed.iter().filter_map(|field| Some((field.name.as_str(), field.choices.first()?.as_str()))).collect();
    let at_once = !query.is_asked() && first.len() == needed.len();
    let at_once_query = Query::parse(&values::write(first.into_iter()))?;
    let asked = if at_once { &at_once_query } else { query };
    let path = format!("/v1/views/{}", encode(name));
    let answered = match at_once || query.is_asked() {
        true => Some(Asked::get(asker, fields::target(&path, &fields, asked)).await),
        false => None,
    };
    let faults: Vec<(&str, &str)> = answered.iter().filter_map(Asked::fault).collect();
    let drawn = |value: &Value| match card {
        Some(card) if !list(value, "rows").is_empty() => grid(asker.app, list(value, "rows"), card),
        _ if is_drawn => result(value),
        _ => rows_of(value),
    };
    Ok(html! {
        @if !fields.is_empty() { (form(here, &fields, asked, &faults, "Show")) }
        div #answer { @if let Some(answered) = &answered { (answered.section(asker, drawn)) } }
    })
}

/// Rows of SQL, as a table, and as a picture where they make one.
pub fn result(value: &Value) -> Markup {
    html! { (picture(&column_names(value), list(value, "rows"))) (rows_of(value)) }
}

fn column_names(value: &Value) -> Vec<&str> {
    list(value, "columns").iter().filter_map(Value::as_str).collect()
}

fn rows_of(value: &Value) -> Markup {
    let rows = list(value, "rows");
    html! {
        @if rows.is_empty() { p .empty { "No rows." } }
        @else {
            @if let Some(cut) = value.get("cut") { p .warning { (text(cut)) } }
            (table("Rows", &column_names(value), rows))
            p .muted { (format::count(whole(value, "total"))) " rows" }
        }
    }
}

/// Numbers over a first column: of numbers or times as lines, of few texts as bars.
pub fn picture(columns: &[&str], rows: &[Value]) -> Markup {
    let Some((first, rest)) = columns.split_first() else { return html! {} };
    let numeric = |column: &&&str| rows.iter().any(|row| row.get(**column).is_some_and(Value::is_number));
    let numbers: Vec<&&str> = rest.iter().filter(numeric).filter(|name| !name.starts_with('_')).take(4).collect();
    if rows.len() < 2 || numbers.is_empty() {
        return html! {};
    }
    let at = |row: &Value| row.get(*first).and_then(Value::as_f64);
    if rows.iter().all(|row| at(row).is_some()) {
        let series: Vec<chart::Series<'_>> = numbers
            .iter()
            .map(|name| {
                let mut points: Vec<(f64, f64)> =
                    rows.iter().filter_map(|row| Some((at(row)?, number(row, name)?))).collect();
                points.sort_by(|left, right| left.0.total_cmp(&right.0));
                chart::Series { name, points, is_baseline: false }
            })
            .collect();
        let axes = chart::Axes {
            title: "The rows as lines",
            x: first,
            y: numbers.first().map_or("", |name| **name),
            x_text: format::number,
            from_zero: false,
            counts: false,
        };
        return chart::lines(&axes, &series, None);
    }
    let Some(name) = numbers.first().filter(|_| rows.len() <= 30) else { return html! {} };
    let bars: Vec<(String, f64, Option<f64>)> =
        rows.iter().filter_map(|row| Some((row.get(*first).map(values::cell)?, number(row, name)?, None))).collect();
    chart::bars(name, &bars)
}

/// A form for a path of the document, and what it answers.
pub async fn operation(asker: &Asker<'_>, path: &str, here: &str, query: &Query) -> Result<Markup, ApiError> {
    let document = document(asker.app);
    let operations = document.get("paths").and_then(|paths| paths.get(path));
    let operations = operations.ok_or_else(|| ApiError::no_version(path))?;
    let (method, operation) = match (operations.get("get"), operations.get("post")) {
        (Some(get), _) => (Method::GET, get),
        (None, Some(post)) => (Method::POST, post),
        (None, None) => return Err(ApiError::internal("a path of the document answers nothing")),
    };
    let (parameters, body) = fields::of_operation(operation);
    let example = example(asker).await;
    let all: Vec<Field> = parameters
        .iter()
        .chain(&body)
        .map(|field| {
            let column = field.name.rsplit('.').next().unwrap_or(&field.name);
            let seen = example.get(column).filter(|value| !value.is_null()).map(id);
            Field { example: seen.unwrap_or_else(|| field.example.clone()), ..field.clone() }
        })
        .collect();
    let asked = match (query.is_asked(), method == Method::POST) {
        (false, _) => None,
        (true, false) => Some(Asked::get(asker, fields::target(path, &parameters, query)).await),
        (true, true) => {
            let target = fields::target(path, &parameters, query);
            Some(Asked::post(asker, target, fields::body(&body, query)).await)
        }
    };
    let faults: Vec<(&str, &str)> = asked.iter().filter_map(Asked::fault).collect();
    Ok(html! {
        p .muted { span .method { (method.as_str()) } " " (word(operation, "summary")) }
        (form(here, &all, query, &faults, "Ask"))
        div #answer { @if let Some(asked) = &asked { (asked.section(asker, |value| any(asker, value))) } }
    })
}

/// Whatever a route's template makes: names and values, lists of objects as tables or cards, the rest as JSON.
fn any(asker: &Asker<'_>, value: &Value) -> Markup {
    let card = Card::default();
    let is_rows =
        |value: &Value| value.as_array().is_some_and(|rows| !rows.is_empty() && rows.iter().all(Value::is_object));
    let rows = |rows: &Value| {
        let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
        match rows.iter().any(|row| !row.get("title").is_none_or(Value::is_null)) {
            true => grid(asker.app, rows, &card),
            false => table("Rows", &columns(rows), rows),
        }
    };
    match value {
        Value::Object(entries) if entries.contains_key("columns") && entries.contains_key("rows") => result(value),
        Value::Object(entries) => html! {
            dl .facts {
                @for (name, value) in entries.iter().filter(|(name, value)| !is_rows(value) && *name != "warnings") {
                    div { dt { (name) } dd { (text(value)) } }
                }
            }
            @for (name, value) in entries.iter().filter(|(_, value)| is_rows(value)) { h2 { (name) } (rows(value)) }
        },
        value if is_rows(value) => rows(value),
        value => html! { p .figure { (text(value)) } },
    }
}
