//! What models answer besides predictions, for the API's own paths and for the user's routes alike: lists of items or users,
//! estimates, and what clusters are like.

mod arguments;
mod binding;
#[cfg(test)]
pub mod fixture;
#[cfg(test)]
mod likeness_tests;
mod paths;
mod posted;
#[cfg(test)]
mod tests;
mod work;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, Response};
use millstream_answer::interactions::{Rule, Shown};
use serde_json::{Map, Value};

use arguments::{Arguments, argument, is_long, read_id};
pub use arguments::{Given, OwnedId, Told, version_json};
pub use binding::Bindings;
use millstream_model::model::{Action, Ambiguous, Argument};
use millstream_model::registry::Version;
pub use paths::{AskPath, PATHS};
pub use work::{Answer, List};
use work::{ITEMS, Work};

use super::app::App;
use super::body;
use super::catalogue::loaded;
use super::error::ApiError;
use super::exchange::Responder;
use super::predict::{blocking, refuse_query, version_name};
use super::reply;
use super::rows::{self, Posted};

/// A path of the API below a model: `recommend/7`, `popular`, …
pub async fn answer(
    app: &Arc<App>,
    request: Request<Body>,
    version: Responder,
    action: Action,
    path: Vec<(Argument, String)>,
) -> Result<Response<Body>, ApiError> {
    check_able(&version, action)?;
    let query = request.uri().query().unwrap_or_default();
    let mut told: Vec<Told> =
        path.into_iter().map(|(argument, text)| (argument, argument.name().to_owned(), Given::Text(text))).collect();
    // Of a large body: its place, until the answer is made.
    let mut held = None;
    if request.method() == Method::POST {
        refuse_query(query)?;
        body::require_json(request.headers())?;
        let parse = move |bytes: &[u8]| told_by_body(action, bytes);
        let (posted, place) = body::receive(request.into_body(), &app.bodies, 1, parse).await?;
        told.extend(posted);
        held = place;
    } else {
        for (name, text) in rows::parse_query(query)? {
            let argument = argument(action, &name)?;
            let is_of_body = action == Action::Recommend && argument == Argument::Exclude;
            if is_of_body || matches!(argument, Argument::Ratings | Argument::Row) {
                return Err(ApiError::value("unknown_parameter", &name, format!("{name}: is posted, in a JSON body")));
            }
            refuse_repeated(&told, argument, &name)?;
            told.push((argument, name, Given::Text(text)));
        }
    }
    let name = version_name(&version.file);
    let answered = ask(app, version, action, told, Ambiguous::Error).await;
    drop(held);
    let (answer, _) = answered?;
    let is_long = answer.list.as_ref().is_some_and(|list| list.items.len() > ITEMS_SHORT);
    let show = move || Ok(reply::from_models(&answer.built_in(), &name));
    if is_long { blocking(show).await } else { show() }
}

/// So many items are written in about a quarter of a millisecond.
const ITEMS_SHORT: usize = 100;

fn told_by_body(action: Action, bytes: &[u8]) -> Result<Vec<Told>, ApiError> {
    let Posted::One(entries) = rows::parse_body(bytes)? else {
        return Err(ApiError::shape("the body must be an object that says what is asked, not a list"));
    };
    if action == Action::Recommend && !entries.contains_key(Argument::Ratings.name()) {
        let message = "ratings: is missing; expected an object {item: rating}, or a list of {\"item\", \"rating\"}";
        return Err(ApiError::value("missing", Argument::Ratings.name(), message));
    }
    let mut told: Vec<Told> = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        let argument = argument(action, &name)?;
        if matches!(argument, Argument::User | Argument::Strict) {
            let message = format!("{name}: the ratings are the user's own; GET …/recommend/{{user}} is for known ones");
            return Err(ApiError::value("unknown_parameter", name, message));
        }
        refuse_repeated(&told, argument, &name)?;
        told.push((argument, name, Given::Json(value)));
    }
    Ok(told)
}

/// `limit` is `n`, and a query can name what the path says.
fn refuse_repeated(told: &[Told], argument: Argument, name: &str) -> Result<(), ApiError> {
    match told.iter().any(|(known, ..)| *known == argument) {
        true => Err(ApiError::value("repeated", name, format!("{name}: {} is given twice", argument.name()))),
        false => Ok(()),
    }
}

/// Whether the version's algorithm does this at all.
pub fn check_able(version: &Version, action: Action) -> Result<(), ApiError> {
    let file = &version.file;
    let algorithm = version.algorithm;
    if action.suits(algorithm) {
        return Ok(());
    }
    let has = Action::ALL.into_iter().filter(|other| other.suits(algorithm)).map(Action::name);
    let has = has.collect::<Vec<_>>().join(" and ");
    let whose = match action {
        Action::Predict => {
            let instead = PATHS.iter().find(|path| path.action.suits(algorithm));
            instead.map_or_else(String::new, |path| {
                format!("; ask {} instead", path.of_model.pattern.replacen("{model}", &file.model, 1))
            })
        }
        _ => format!(", which is for {}", action.able()),
    };
    let message =
        format!("model {} is a {}: it has {has}, and no {}{whose}", file.model, file.algorithm, action.name());
    Err(ApiError::not_found("no_such_action", message))
}

/// Answers one question; also what was said, in its types. The version can do it: see `check_able`.
pub async fn ask(
    app: &App,
    version: Responder,
    action: Action,
    told: Vec<Told>,
    ambiguous: Ambiguous,
) -> Result<(Answer, Map<String, Value>), ApiError> {
    let (asked, is_long) = (version.clone(), is_long(&told));
    let read = move || {
        let noted = asked.note(action, &told);
        Ok((Arguments::read(action, told, &asked)?, noted))
    };
    let (mut arguments, noted) = if is_long { blocking(read).await? } else { read()? };
    arguments.ambiguous = ambiguous;
    let said = std::mem::take(&mut arguments.said);
    let binding = app.bindings.of(&version);
    let shown = match &binding.rule {
        Some(rule) if needs_interactions(action, &arguments, &version) => Some(shown(app, rule, &version).await?),
        Some(_) | None => None,
    };
    let catalogue = loaded(app)?;
    let work = Work { version: Arc::clone(version.version()), action, arguments, binding, shown, catalogue };
    let answer = if work.is_long() { blocking(move || work.run()).await? } else { work.run()? };
    version.answered(action, noted, ambiguous, &answer);
    Ok((answer, said))
}

/// Users and items of the rows of a request.
pub struct Pairs {
    ids: Vec<(OwnedId, OwnedId)>,
    /// Whether the version knows all of the users.
    are_known: bool,
}

impl Pairs {
    /// In the types of the version's ids.
    pub fn read(version: &Version, pairs: Vec<(Value, Value)>) -> Result<Self, ApiError> {
        let task = version.file.task.recommendation();
        let (Some(task), Some(model)) = (task, version.recommender()) else {
            return Err(ApiError::internal("the version recommends nothing"));
        };
        let read = |(row, (user, item)): (usize, (Value, Value))| {
            let id = |argument: Argument, value, kind| {
                read_id(argument.name(), Given::Json(value), kind)
                    .map_err(|error| ApiError { message: format!("row {row}: {}", error.message), ..error })
            };
            Ok((id(Argument::User, user, task.user.kind)?, id(Argument::Item, item, task.item.kind)?))
        };
        let ids: Vec<(OwnedId, OwnedId)> = pairs.into_iter().enumerate().map(read).collect::<Result<_, ApiError>>()?;
        let are_known = ids.iter().all(|(user, _)| model.users.code(user.id()).is_some());
        Ok(Self { ids, are_known })
    }
}

/// So many are estimated in a fraction of a millisecond, of users whom the version knows.
const PAIRS_SHORT: usize = 1_000;

/// What is expected of each pair; what nothing is known of is refused as one estimate is.
pub async fn estimates(app: &App, version: &Responder, pairs: Pairs) -> Result<Vec<Value>, ApiError> {
    let binding = app.bindings.of(version);
    let shown = match &binding.rule {
        Some(rule) if !pairs.are_known => Some(shown(app, rule, version).await?),
        Some(_) | None => None,
    };
    let is_long = shown.is_some() || pairs.ids.len() > PAIRS_SHORT;
    let arguments = Arguments::default();
    let (action, version, responder) = (Action::Estimate, Arc::clone(version.version()), version.clone());
    let work = Work { version, action, arguments, binding, shown, catalogue: None };
    let estimate = move || {
        let estimates = work.estimates(&pairs.ids)?;
        responder.estimated(&pairs.ids, &estimates);
        Ok(estimates)
    };
    if is_long { blocking(estimate).await } else { estimate() }
}

async fn shown(app: &App, rule: &Rule, version: &Version) -> Result<Arc<Shown>, ApiError> {
    let shown = app.context.interactions.shown(rule, version.newest_batch()).await;
    shown.map_err(|fault| ApiError::unavailable("loading", format!("{fault}; ask again in a moment")))
}

fn needs_interactions(action: Action, arguments: &Arguments, version: &Version) -> bool {
    let is_known = || {
        let code = arguments.user.as_ref().zip(version.recommender());
        code.is_some_and(|(user, model)| model.users.code(user.id()).is_some())
    };
    match action {
        Action::Predict | Action::Similar | Action::Clusters => false,
        Action::Estimate => !is_known(),
        Action::Recommend => match &arguments.ratings {
            Some(ratings) => ratings.items.is_empty(),
            None => arguments.exclude_seen || !is_known(),
        },
        Action::Users => arguments.exclude_seen || arguments.rated,
        Action::Popular | Action::History | Action::Because => true,
    }
}

impl Answer {
    /// Without a template.
    pub fn built_in(self) -> Value {
        let mut object = self.head;
        if let Some(List { key, items, total }) = self.list {
            object.insert(key.to_owned(), items.into_iter().map(Value::Object).collect());
            // Of others there is only one page.
            if key == ITEMS {
                object.insert("total".to_owned(), total.into());
            }
        }
        Value::Object(object)
    }
}
