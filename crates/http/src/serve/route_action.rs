//! A route that asks for more than predictions: its arguments from the path, the query or the body, its answer by the template.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response};
use millstream_model::model::Argument;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::app::App;
use super::body;
use super::error::{ApiError, hint};
use super::exchange::Exchange;
use super::predict::{refuse_query, version_name};
use super::recommend::{Answer, Given, List, Told, ask, check_able};
use super::reply;
use super::route::{PathParameters, UserRoute};
use super::rows::{self, Posted, Row};
use super::template::{Room, Scope, Template};
use crate::serve::Origin;

/// Rows of one posted list: each may be answered by a list of a thousand items, or by one number.
const LIST_ROWS_MOST: usize = 100;
const ESTIMATE_ROWS_MOST: usize = 1000;

/// Of all lists of one answer.
const LIST_ITEMS_MOST: usize = 20_000;
/// Posted lists that are answered at once; who waits longer for a place is told to ask again.
static LISTS: Semaphore = Semaphore::const_new(8);
const LISTS_WAIT: Duration = Duration::from_secs(20);

/// What a request says, by its own names.
pub type Parameters = Vec<(String, Given)>;

pub async fn answer(
    app: &App,
    request: Request<Body>,
    route: Arc<UserRoute>,
    path: PathParameters,
) -> Result<Response<Body>, ApiError> {
    let mut parameters: Parameters = path.into_iter().map(|(name, text)| (name, Given::Text(text))).collect();
    let call = Call { app, route: &route, exchange: Exchange::of(&request)? };
    let query = request.uri().query().unwrap_or_default();
    if request.method() != Method::POST {
        let query = rows::parse_query(query)?;
        add(&mut parameters, query.into_iter().map(|(name, text)| (name, Given::Text(text))), "query")?;
        let answered = call.one(parameters, None).await?;
        return call.reply(&[answered], false);
    }
    refuse_query(query)?;
    body::require_json(request.headers())?;
    // The posted values are there until the answer is: so is their place.
    let (value, _place) = body::receive(request.into_body(), &app.bodies, 1, rows::parse_json).await?;
    call.posted(parameters, value).await
}

/// The same name twice is a fault, whichever of the two is meant. Each of `more` is there once.
pub fn add(
    parameters: &mut Parameters,
    more: impl Iterator<Item = (String, Given)>,
    place: &str,
) -> Result<(), ApiError> {
    let n_path = parameters.len();
    for (name, given) in more {
        if parameters.iter().take(n_path).any(|(known, _)| *known == name) {
            return Err(ApiError::value("repeated", &name, format!("{name}: given in the path and in the {place}")));
        }
        parameters.push((name, given));
    }
    Ok(())
}

struct Call<'a> {
    app: &'a App,
    route: &'a UserRoute,
    exchange: Arc<Exchange>,
}

/// One question, answered.
struct Answered {
    version: String,
    said: Row,
    answer: Answer,
}

impl Call<'_> {
    async fn posted(&self, path: Parameters, value: Value) -> Result<Response<Body>, ApiError> {
        let is_body = |origin: &Origin| *origin == Origin::Body;
        if self.route.route.args.values().any(is_body) {
            let value = match (&self.route.route.body, value) {
                (Some(_), Value::Object(outer)) => self.route.row_in(outer, None)?,
                (_, value) => value,
            };
            let answered = self.one(path, Some(value)).await?;
            return self.reply(&[answered], false);
        }
        let (rows, is_list) = match rows::posted(value)? {
            Posted::One(outer) => match self.route.row_in(outer, None)? {
                Value::Object(row) => (vec![row], false),
                Value::Array(values) => (rows::rows_of(values, self.route.route.body.as_deref())?, true),
                other => return Err(self.route.no_row(&other, None)),
            },
            Posted::Many(outers) => {
                let row_in = |(index, outer)| match self.route.row_in(outer, Some(index))? {
                    Value::Object(row) => Ok(row),
                    other => Err(self.route.no_row(&other, Some(index))),
                };
                (outers.into_iter().enumerate().map(row_in).collect::<Result<_, _>>()?, true)
            }
        };
        let is_short = !self.route.route.action.has_items();
        let most = if is_short { ESTIMATE_ROWS_MOST } else { LIST_ROWS_MOST };
        if rows.len() > most {
            return Err(ApiError::too_large(format!("{} rows in one request: at most {most}", rows.len())));
        }
        // Each row is work of its own, and all their items are there until the last is answered.
        let lists = timeout(LISTS_WAIT, LISTS.acquire()).await;
        let Ok(Ok(_lists)) = lists else { return Err(ApiError::busy("other posted lists are answered")) };
        let (mut answered, mut n_items) = (Vec::with_capacity(rows.len()), 0);
        for (index, row) in rows.into_iter().enumerate() {
            let mut parameters = path.clone();
            add(&mut parameters, row.into_iter().map(|(name, value)| (name, Given::Json(value))), "body")?;
            let one = self.one(parameters, None).await;
            let one = one.map_err(|fault| if is_list { of_row(fault, index) } else { fault })?;
            n_items += one.answer.list.as_ref().map_or(0, |list| list.items.len());
            if n_items > LIST_ITEMS_MOST {
                let message = format!(
                    "the lists of {} rows would be more than {LIST_ITEMS_MOST} items: send fewer rows, or ask for fewer of each",
                    index + 1
                );
                return Err(ApiError::too_large(message));
            }
            answered.push(one);
        }
        self.reply(&answered, is_list)
    }

    /// `body`: the whole of it, where it is an argument.
    async fn one(&self, parameters: Parameters, body: Option<Value>) -> Result<Answered, ApiError> {
        let route = &self.route.route;
        let named = || route.args.values().filter_map(Origin::parameter);
        // Of the path all are taken; `check` has seen to it that some argument or the template names each.
        let is_known = |name: &str| named().any(|known| known == name) || self.route.is_path_parameter(name);
        if let Some((name, _)) = parameters.iter().find(|(name, _)| !is_known(name)) {
            let message = format!("{name}: not a parameter of {}{}", route.path, hint(name, named()));
            return Err(ApiError::value("unknown_parameter", name, message));
        }
        let mut told: Vec<Told> = Vec::with_capacity(route.args.len());
        for (argument, origin) in &route.args {
            match origin {
                Origin::Constant(value) => {
                    told.push((*argument, argument.name().to_owned(), Given::Json(value.clone())));
                }
                Origin::Parameter(name) => {
                    let given = parameters.iter().find(|(known, given)| known == name && !given.is_absent());
                    if given.is_none() && route.needs(*argument) {
                        let message = format!("{name}: is missing; expected {}", argument.sort().expected());
                        return Err(ApiError::value("missing", name, message));
                    }
                    if let Some((_, given)) = given {
                        told.push((*argument, name.clone(), self.in_columns(*argument, given.clone())?));
                    }
                }
                Origin::Body => {
                    let value = body.clone().unwrap_or(Value::Null);
                    let given = self.in_columns(*argument, Given::Json(value))?;
                    told.push((*argument, argument.name().to_owned(), given));
                }
            }
        }
        let one_of = route.action.one_of();
        if !one_of.is_empty() && !told.iter().any(|(argument, ..)| one_of.contains(argument)) {
            let names: Vec<&str> = one_of.iter().filter_map(|argument| route.args.get(argument)?.parameter()).collect();
            let name = names.first().copied().unwrap_or_default();
            return Err(ApiError::value(
                "missing",
                name,
                format!("{name}: is missing; give one of {}", names.join(", ")),
            ));
        }
        let of = |wanted| told.iter().find(|(argument, ..)| *argument == wanted).map(|(.., given)| given);
        let (wanted, user) = (of(Argument::Version), of(Argument::User).map(Given::text));
        let Some(model) = route.models.first() else { return Err(ApiError::internal("the route asks no model")) };
        let version = self.route.version(self.app, &self.exchange, model, wanted, user.as_deref()).await?;
        check_able(&version, route.action)?;
        let name = version_name(&version.file);
        let number = self.route.number(version.file.version);
        let (mut answer, mut said) = ask(self.app, version, route.action, told, route.ambiguous)
            .await
            .map_err(|fault| self.in_parameters(fault))?;
        answer.head.insert("version".to_owned(), number.into());
        // What no argument takes is there for the template.
        for (name, given) in parameters {
            if let Given::Text(text) = given {
                said.entry(name).or_insert_with(|| Value::from(text));
            }
        }
        if route.empty_is_error && answer.list.as_ref().is_some_and(|list| list.items.is_empty()) {
            return Err(ApiError::not_found("empty", format!("{} has no items to answer", route.action.name())));
        }
        Ok(Answered { version: name, said, answer })
    }

    /// A row by the model's columns, where the request has names of its own for them.
    fn in_columns(&self, argument: Argument, given: Given) -> Result<Given, ApiError> {
        let input = &self.route.route.input;
        let row = match given {
            Given::Json(Value::Object(row)) if argument == Argument::Row && !input.is_empty() => row,
            other => return Ok(other),
        };
        let mut renamed = Row::new();
        for (name, value) in row {
            let column = input.iter().find(|(_, parameter)| **parameter == name).map(|(column, _)| column.clone());
            if column.is_none() && input.contains_key(&name) {
                let message =
                    format!("{name}: not a parameter of {}; it is called {}", self.route.route.path, input[&name]);
                return Err(ApiError::value("unknown_parameter", name, message));
            }
            renamed.insert(column.unwrap_or(name), value);
        }
        Ok(Given::Json(Value::Object(renamed)))
    }

    /// What is said of a column of the row, by the request's name for it.
    fn in_parameters(&self, fault: ApiError) -> ApiError {
        let input = &self.route.route.input;
        let renamed = fault.field.as_ref().and_then(|field| Some((field.clone(), input.get(field)?.clone())));
        let Some((column, parameter)) = renamed else { return fault };
        let message = fault.message.replace(&format!("`{column}`"), &format!("`{parameter}`"));
        ApiError { message, field: Some(parameter), ..fault }
    }

    fn reply(&self, answered: &[Answered], is_list: bool) -> Result<Response<Body>, ApiError> {
        let (template, mut room) = (self.route.template(), Room::default());
        let value = match (template, answered, is_list) {
            // Of estimates the template repeats per row, of lists per item.
            (Some(template), answered, true)
                if template.repeats() && answered.iter().all(|one| one.answer.list.is_none()) =>
            {
                let parts: Vec<Part> = answered.iter().map(Answered::part).collect();
                template.render(parts.first(), &parts, &mut room)?
            }
            (template, [one], false) => one.render(template, &mut room)?,
            (template, several, _) => {
                several.iter().map(|one| one.render(template, &mut room)).collect::<Result<_, _>>()?
            }
        };
        let versions: BTreeSet<&str> = answered.iter().map(|one| one.version.as_str()).collect();
        let versions: Vec<&str> = versions.into_iter().collect();
        Ok(reply::from_models(&value, &versions.join(", ")))
    }
}

fn of_row(fault: ApiError, index: usize) -> ApiError {
    ApiError { message: format!("row {index}: {}", fault.message), ..fault }
}

impl Answered {
    fn part(&self) -> Part<'_> {
        Part { said: &self.said, head: &self.answer.head, item: None }
    }

    fn render(&self, template: Option<&Template>, room: &mut Room) -> Result<Value, ApiError> {
        let Some(template) = template else { return Ok(self.answer.clone().built_in()) };
        let whole = self.part();
        let parts: Vec<Part> = match &self.answer.list {
            Some(List { items, .. }) => items.iter().map(|item| Part { item: Some(item), ..whole }).collect(),
            None => vec![whole],
        };
        template.render(Some(&whole), &parts, room)
    }
}

/// What a name of the template stands for: in an item its own values first, then what the request said, then the answer.
#[derive(Clone, Copy)]
struct Part<'a> {
    said: &'a Row,
    head: &'a Row,
    item: Option<&'a Row>,
}

impl Scope for Part<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        let item = self.item.and_then(|item| item.get(name));
        item.or_else(|| self.said.get(name)).or_else(|| self.head.get(name)).cloned()
    }

    fn row(&self) -> &Row {
        self.item.unwrap_or(self.said)
    }
}
