//! `/v1/views`, routes that answer from a view, and `POST /v1/query`. Parameters are typed here, before they meet the SQL.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use millstream_answer::query::{Bound, CATALOGUE, Parameters, TABLE};
use millstream_answer::views::{
    AskError, Asked, FaultKind, Now, Question, Rows, TEXT_BYTES, TextRows, View, ViewParameter,
};
use millstream_stream::batch::{BatchSnapshot, Completeness};
use millstream_stream::schema::ColumnType;
use serde_json::{Map, Value, json};

use super::app::App;
use super::catalogue::loaded;
use super::error::{ApiError, hint, quote};
use super::lists::{all_batches, store_away};
use super::predict::{blocking, refuse_query};
use super::recommend::Given;
use super::route::{PathParameters, UserRoute};
use super::route_action::add;
use super::rows::{self, Posted};
use super::template::{Room, Scope};
use super::{BatchReadError, body, reply};
use crate::serve::Origin;

const PAGE: [&str; 2] = ["limit", "offset"];

/// Which rows of an answer are shown.
#[derive(Debug, Clone, Copy)]
struct Window {
    limit: usize,
    offset: usize,
}

impl Window {
    const ALL: Self = Self { limit: usize::MAX, offset: 0 };

    fn set(&mut self, name: &str, given: &Given) -> Result<(), ApiError> {
        let number = match given {
            Given::Text(text) => rows::parse_count(name, text, None)?,
            Given::Json(value) => rows::parse_count(name, &value.to_string(), None)?,
        };
        if name == "limit" {
            self.limit = number
        } else {
            self.offset = number
        }
        Ok(())
    }
}

pub fn list(app: &App) -> Response<Body> {
    let views: Vec<Value> = app.context.settings.views.iter().map(described).collect();
    reply::json(StatusCode::OK, &json!({"total": views.len(), "views": views}))
}

fn described(view: &View) -> Value {
    let parameters = view.params.iter().map(|(name, parameter)| {
        let mut described = Map::new();
        described.insert("type".to_owned(), parameter.kind.name().into());
        for (key, value) in [("min", parameter.min.map(Value::from)), ("max", parameter.max.map(Value::from))] {
            described.extend(value.map(|value| (key.to_owned(), value)));
        }
        if parameter.kind == ColumnType::Utf8 {
            described.insert("max".to_owned(), parameter.text_bytes.into());
        }
        described.extend(parameter.values.clone().map(|values| ("values".to_owned(), Value::Array(values))));
        described.extend(parameter.default.clone().map(|value| ("default".to_owned(), value)));
        (name.clone(), Value::Object(described))
    });
    json!({"name": view.name, "path": format!("/v1/views/{}", view.name),
        "params": parameters.collect::<Map<_, _>>()})
}

fn find<'a>(app: &'a App, name: &str) -> Result<&'a View, ApiError> {
    let views = &app.context.settings.views;
    views.iter().find(|view| view.name == name).ok_or_else(|| {
        let message = match views.is_empty() {
            true => "this pipeline has no views: add a [[view]] to its file, and start it again".to_owned(),
            false => {
                format!("there is no view {}{}", quote(name), hint(name, views.iter().map(|view| view.name.as_str())))
            }
        };
        ApiError::not_found("unknown_view", message)
    })
}

pub async fn view(app: &Arc<App>, name: &str, query: &str) -> Result<Response<Body>, ApiError> {
    let view = find(app, name)?;
    let (mut given, mut window) = (Vec::new(), Window::ALL);
    for (name, text) in rows::parse_query(query)? {
        let own = view.params.iter().any(|(known, _)| *known == name);
        if !own && PAGE.contains(&name.as_str()) {
            window.set(&name, &Given::Text(text))?;
        } else {
            given.push((name, Given::Text(text)));
        }
    }
    if let Some((name, _)) = given.iter().find(|(name, _)| view.params.iter().all(|(known, _)| known != name)) {
        let known = view.params.iter().map(|(name, _)| name.as_str()).chain(PAGE);
        return Err(ApiError::unknown_parameter(name, known));
    }
    let bound = view.params.iter().map(|(name, parameter)| {
        let given = given.iter().find(|(known, _)| known == name).map(|(_, given)| given);
        Ok((name.clone(), bind(name, parameter, given)?))
    });
    let bound = bound.collect::<Result<Parameters, ApiError>>()?;
    let rows = ask(app, view_asks(view, bound)).await?;
    shown(app, rows, move |rows, most| Ok(built_in(rows, window, most))).await
}

/// One value in its type; a parameter that is absent has its default.
fn bind(name: &str, parameter: &ViewParameter, given: Option<&Given>) -> Result<Bound, ApiError> {
    let kind = parameter.kind;
    let expected = |found: &str| {
        let message = format!("{name}: expected {}, got {found}", parameter.expected());
        ApiError::value("bad_value", name, message)
    };
    let value = match given {
        // An empty field of a form says nothing, unless nothing else is said of it.
        Some(Given::Text(text)) if text.is_empty() && (kind != ColumnType::Utf8 || parameter.default.is_some()) => None,
        Some(Given::Text(text)) if kind == ColumnType::Utf8 => Some(Value::from(text.as_str())),
        Some(Given::Text(text)) => match rows::parse_text(name, text, kind) {
            Ok(value) => value,
            Err(_) => return Err(expected(&quote(text))),
        },
        Some(Given::Json(Value::Null)) | None => None,
        Some(Given::Json(value)) => Some(value.clone()),
    };
    match (value, &parameter.default) {
        (Some(value), _) => {
            let shown = value.to_string();
            let value = parameter.fit(value).map_err(|_| expected(&super::error::shortened(&shown)))?;
            Ok(Bound { kind, value })
        }
        (None, Some(default)) => Ok(Bound { kind, value: default.clone() }),
        (None, None) => {
            let message = format!("{name}: is missing; expected {}", parameter.expected());
            Err(ApiError::value("missing", name, message))
        }
    }
}

fn view_asks(view: &View, parameters: Parameters) -> Asked {
    Asked { sql: view.sql.clone(), parameters }
}

async fn ask(app: &Arc<App>, asked: Asked) -> Result<Arc<Rows>, ApiError> {
    let now = now(app, &asked.sql)?;
    app.context.views.ask(asked, now).await.map_err(|error| fault(app, error))
}

/// What is not read yet, and what cannot be, is told to who asks for it alone.
fn now(app: &App, sql: &str) -> Result<Now, ApiError> {
    let names = |table: &str| sql.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == table);
    // Before the batches, so that no item is seen whose batch is not.
    let catalogue = match names(CATALOGUE) {
        true => loaded(app)?,
        false => app.context.catalogue.as_ref().map(|catalogues| catalogues.snapshot()),
    };
    let BatchSnapshot { batches, completeness, .. } = app.context.batches.snapshot();
    let batches = match completeness {
        Completeness::Whole => Ok(batches),
        Completeness::Damaged(why) => Err(why),
        Completeness::Unread if names(TABLE) => Ok(all_batches(app)?),
        Completeness::Unread => Err("they are still being read".to_owned()),
    };
    Ok(Now { batches, catalogue, served: app.context.registry.snapshot() })
}

/// What a client is told. Nothing that it can ask is a fault of ours; which part is damaged is the owner's to know.
fn fault(app: &App, error: AskError) -> ApiError {
    let message = error.to_string();
    match error.kind() {
        FaultKind::NoSchema => ApiError::unavailable("no_schema", message),
        FaultKind::NoVersion => ApiError::unavailable("no_version", message),
        FaultKind::Busy => ApiError::unavailable("busy", message),
        FaultKind::Lost => ApiError::unavailable("query_lost", message),
        FaultKind::TooLarge => ApiError::value("too_large", "sql", message),
        FaultKind::TooSlow => ApiError::value("too_slow", "sql", message),
        FaultKind::BadSql => ApiError::value("bad_sql", "sql", message),
        FaultKind::NotComputable => ApiError::value("not_computable", "sql", message),
        FaultKind::Full => ApiError::unavailable("full", message),
        FaultKind::ReservedColumn => ApiError::value("reserved_column", "sql", message),
        FaultKind::Unreadable if app.context.batches.snapshot().away.is_some() => store_away("rows are not in memory"),
        FaultKind::Unreadable => {
            let damaged = BatchReadError { message, is_away: false };
            app.context.status.problem(damaged.to_string());
            super::lists::damaged(&damaged)
        }
    }
}

/// So many rows are put together in about a quarter of a millisecond.
const ROWS_SHORT: usize = 200;

/// Puts an answer together, off the serving threads where it is long.
async fn shown(
    app: &App,
    rows: Arc<Rows>,
    show: impl FnOnce(&Rows, usize) -> Result<Response<Body>, ApiError> + Send + 'static,
) -> Result<Response<Body>, ApiError> {
    let most = app.context.views.rows_most();
    if rows.rows.len() <= ROWS_SHORT {
        return show(&rows, most);
    }
    blocking(move || show(&rows, most)).await
}

/// `{"columns", "rows", "total"}`, and why rows are missing where some are.
fn built_in(rows: &Rows, window: Window, most: usize) -> Response<Body> {
    let shown: Vec<Value> =
        rows.rows.iter().skip(window.offset).take(window.limit).cloned().map(Value::Object).collect();
    let mut answer = json!({"columns": rows.columns, "rows": shown, "total": rows.rows.len()});
    if rows.is_cut {
        answer["cut"] = cut(most).into();
    }
    reply::from_models(&answer, &rows.versions.join(", "))
}

/// The same of an answer whose rows are text already.
fn from_text(answer: &TextRows, window: Window, most: usize) -> Result<Response<Body>, ApiError> {
    #[derive(serde::Serialize)]
    struct Shown<'a> {
        columns: &'a [String],
        rows: Vec<&'a serde_json::value::RawValue>,
        total: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        cut: Option<String>,
    }
    let rows = answer.rows.iter().skip(window.offset).take(window.limit).map(AsRef::as_ref).collect();
    let cut = answer.is_cut.then(|| cut(most));
    let shown = Shown { columns: &answer.columns, rows, total: answer.rows.len(), cut };
    let text = serde_json::to_vec(&shown).map_err(|error| ApiError::internal(error.to_string()))?;
    let response = reply::bytes(StatusCode::OK, "application/json", text);
    Ok(reply::with_versions(response, &answer.versions.join(", ")))
}

fn cut(most: usize) -> String {
    format!("there are more than {most} rows: narrow them with where, group by or limit, or raise serve.query_rows")
}

pub async fn route(
    app: &Arc<App>,
    request: Request<Body>,
    route: Arc<UserRoute>,
    path: PathParameters,
) -> Result<Response<Body>, ApiError> {
    let Some(call) = &route.route.view else { return Err(ApiError::internal("the route asks no view")) };
    let view = find(app, &call.name)?;
    let mut given: Vec<(String, Given)> = path.into_iter().map(|(name, text)| (name, Given::Text(text))).collect();
    let query = request.uri().query().unwrap_or_default();
    if request.method() == Method::POST {
        refuse_query(query)?;
        body::require_json(request.headers())?;
        let (posted, _) = body::receive(request.into_body(), &app.bodies, 1, rows::parse_body).await?;
        match posted {
            Posted::One(row) => {
                add(&mut given, row.into_iter().map(|(name, value)| (name, Given::Json(value))), "body")?;
            }
            Posted::Many(_) => return Err(ApiError::shape("the body must be one object: the view's parameters")),
        }
    } else {
        let query = rows::parse_query(query)?;
        add(&mut given, query.into_iter().map(|(name, text)| (name, Given::Text(text))), "query")?;
    }
    let named = || call.args.values().filter_map(Origin::parameter);
    let is_known = |name: &str| named().any(|known| known == name) || route.is_path_parameter(name);
    if let Some((name, _)) = given.iter().find(|(name, _)| !is_known(name)) {
        let message = format!("{name}: not a parameter of {}{}", route.route.path, hint(name, named()));
        return Err(ApiError::value("unknown_parameter", name, message));
    }
    let (mut parameters, mut said) = (Parameters::new(), Map::new());
    for (name, parameter) in &view.params {
        let bound = match call.args.get(name) {
            Some(Origin::Constant(value)) => Bound { kind: parameter.kind, value: value.clone() },
            Some(Origin::Parameter(asked)) => {
                let value = given.iter().find(|(known, _)| known == asked).map(|(_, given)| given);
                let bound = bind(asked, parameter, value)?;
                said.insert(asked.clone(), bound.value.clone());
                bound
            }
            Some(Origin::Body) | None => bind(name, parameter, None)?,
        };
        parameters.insert(name.clone(), bound);
    }
    // What the view does not take is there for the template.
    for (name, given) in given {
        if let Given::Text(text) = given {
            said.entry(name).or_insert_with(|| Value::from(text));
        }
    }
    let rows = ask(app, view_asks(view, parameters)).await?;
    if route.route.empty_is_error && rows.rows.is_empty() {
        let asked: Vec<String> = said.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        return Err(ApiError::not_found("empty", format!("nothing is there for {}", asked.join(", "))));
    }
    shown(app, rows, move |rows, most| {
        let Some(template) = route.template() else { return Ok(built_in(rows, Window::ALL, most)) };
        let (total, none) = (rows.rows.len(), Map::new());
        let whole = Part { said: &said, total, row: rows.rows.first().unwrap_or(&none), is_row: false };
        let parts: Vec<Part> = rows.rows.iter().map(|row| Part { row, is_row: true, ..whole }).collect();
        let answer = template.render(Some(&whole), &parts, &mut Room::default())?;
        Ok(reply::from_models(&answer, &rows.versions.join(", ")))
    })
    .await
}

/// What a name of the template stands for. In a repetition: a row's own value, then what the request said; outside: what the
/// request said, then the first row's.
#[derive(Clone, Copy)]
struct Part<'a> {
    said: &'a Map<String, Value>,
    total: usize,
    row: &'a Map<String, Value>,
    is_row: bool,
}

impl Scope for Part<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        let (first, second) = if self.is_row { (self.row, self.said) } else { (self.said, self.row) };
        let found = first.get(name).or_else(|| second.get(name)).cloned();
        found.or_else(|| (name == "total").then(|| self.total.into()))
    }

    fn row(&self) -> &Map<String, Value> {
        self.row
    }
}

pub async fn query(app: &Arc<App>, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    if !app.context.settings.serve.query.from_requests {
        let message = "this pipeline answers no SQL of requests (serve.query = false); GET /v1/views lists its views";
        return Err(ApiError::forbidden("query_off", message));
    }
    body::require_json(request.headers())?;
    refuse_query(request.uri().query().unwrap_or_default())?;
    // What is kept of the body is small: its place is free while the query runs.
    let (posed, _) = body::receive(request.into_body(), &app.bodies, 1, posed).await?;
    let Posed { question, window } = posed;
    let now = now(app, &question.sql)?;
    let answer = app.context.views.ask_apart(question, now).await.map_err(|error| fault(app, error))?;
    let most = app.context.views.rows_most();
    if answer.rows.len() <= ROWS_SHORT {
        return from_text(&answer, window, most);
    }
    blocking(move || from_text(&answer, window, most)).await
}

/// A query of a person has a handful.
const PARAMETERS_MOST: usize = 1000;

struct Posed {
    question: Question,
    window: Window,
}

fn posed(body: &[u8]) -> Result<Posed, ApiError> {
    let shape = || ApiError::shape("the body must be an object: {\"sql\": \"select …\"}");
    let Posted::One(posted) = rows::parse_body(body)? else { return Err(shape()) };
    let (mut sql, mut parameters, mut window) = (None, Parameters::new(), Window::ALL);
    for (name, value) in posted {
        match (name.as_str(), value) {
            ("sql", Value::String(text)) => sql = Some(text),
            ("params", Value::Object(values)) if values.len() > PARAMETERS_MOST => {
                let message = format!("params: {} parameters: at most {PARAMETERS_MOST}", values.len());
                return Err(ApiError::value("too_large", "params", message));
            }
            ("params", Value::Object(values)) => {
                for (name, value) in values {
                    let bound = bound_by_itself(&name, value)?;
                    parameters.insert(name, bound);
                }
            }
            ("limit" | "offset", value) => window.set(&name, &Given::Json(value))?,
            ("sql", other) => {
                let message = format!("sql: expected text, got {}", rows::noun(&other));
                return Err(ApiError::value("bad_value", "sql", message));
            }
            ("params", other) => {
                let message = format!("params: expected an object, got {}", rows::noun(&other));
                return Err(ApiError::value("bad_value", "params", message));
            }
            _ => {
                let hint = hint(&name, ["sql", "params", "limit", "offset"].into_iter());
                return Err(ApiError::value("unknown_parameter", &name, format!("{name}: unknown{hint}")));
            }
        }
    }
    let missing = || {
        ApiError::value("missing", "sql", "sql: is missing; expected a query, such as select * from batches limit 10")
    };
    Ok(Posed { question: Question { sql: sql.ok_or_else(missing)?, parameters }, window })
}

/// A value of JSON says its type itself.
fn bound_by_itself(name: &str, value: Value) -> Result<Bound, ApiError> {
    let kind = match &value {
        Value::String(text) if text.len() > TEXT_BYTES => {
            let message = format!("{name}: expected text of at most {TEXT_BYTES} bytes, got {}", text.len());
            return Err(ApiError::value("bad_value", name, message));
        }
        Value::Null | Value::String(_) => ColumnType::Utf8,
        Value::Bool(_) => ColumnType::Boolean,
        Value::Number(number) if number.is_i64() => ColumnType::Int64,
        Value::Number(_) => ColumnType::Float64,
        Value::Array(_) | Value::Object(_) => {
            let message = format!("{name}: expected a number, text, or true or false, got {}", rows::noun(&value));
            return Err(ApiError::value("bad_value", name, message));
        }
    };
    Ok(Bound { kind, value })
}
