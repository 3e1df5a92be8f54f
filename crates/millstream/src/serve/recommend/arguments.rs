//! What an action is told: texts of a URL and values of a body, checked once, in their types.

use millstream_learn::Id;
use serde_json::{Number, Value};

use super::posted::{Ratings, posted_ratings};
use crate::batch::exact_integer;
use crate::catalogue::id_json;
use crate::config::{Action, Argument, ITEMS_DEFAULT, Sort};
use crate::registry::{Recommender, Task, Version};
use crate::schema::ColumnType;
use crate::serve::error::{ApiError, quote};
use crate::serve::rows::{self, Row, noun};

/// A value of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// Of the URL.
    Text(String),
    /// Of the body, or a constant of the route.
    Json(Value),
}

impl Given {
    /// Empty text is null, as in the source.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Json(value) => value.is_null(),
        }
    }
}

/// An argument, what the request calls it, and its value.
pub type Told = (Argument, String, Given);

/// A user's or an item's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnedId {
    Integer(i64),
    Text(String),
}

impl OwnedId {
    pub fn id(&self) -> Id<'_> {
        match self {
            Self::Integer(id) => Id::Integer(*id),
            Self::Text(id) => Id::Text(id),
        }
    }
}

/// To check so many takes about a tenth of a millisecond.
const ENTRIES_SHORT: usize = 1000;

/// Whether reading these arguments is too long for a thread that serves connections.
pub fn is_long(told: &[Told]) -> bool {
    let entries = |given: &Given| match given {
        Given::Json(Value::Array(values)) => values.len(),
        Given::Json(Value::Object(entries)) => entries.len(),
        Given::Text(_) | Given::Json(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => 0,
    };
    told.iter().map(|(.., given)| entries(given)).sum::<usize>() > ENTRIES_SHORT
}

#[derive(Debug, Clone, Default)]
pub struct Arguments {
    pub user: Option<OwnedId>,
    pub item: Option<OwnedId>,
    pub ratings: Option<Ratings>,
    pub n: usize,
    pub offset: usize,
    /// With the request's name for it.
    pub filter: Option<(String, String)>,
    pub group: Option<(String, String)>,
    pub exclude_seen: bool,
    pub exclude: Vec<OwnedId>,
    pub strict: bool,
    pub rated: bool,
    /// What the request said, by its own names, in its types.
    pub said: Row,
}

impl Arguments {
    /// Checks all but the version, which is found already.
    pub fn read(action: Action, told: Vec<Told>, version: &Version, model: &Recommender) -> Result<Self, ApiError> {
        let mut arguments =
            Self { n: usize::try_from(ITEMS_DEFAULT).unwrap_or(usize::MAX), exclude_seen: true, ..Self::default() };
        let kinds = Kinds::of(version);
        for (argument, name, given) in told {
            arguments.take(argument, name, given, &kinds, model)?;
        }
        arguments.check_required(action)?;
        Ok(arguments)
    }

    fn take(
        &mut self,
        argument: Argument,
        name: String,
        given: Given,
        kinds: &Kinds,
        model: &Recommender,
    ) -> Result<(), ApiError> {
        if given.is_absent() {
            return Ok(());
        }
        let said = match argument {
            Argument::User => {
                let id = read_id(&name, given, kinds.user)?;
                id_json(self.user.insert(id).id())
            }
            Argument::Item => {
                let id = read_id(&name, given, kinds.item)?;
                id_json(self.item.insert(id).id())
            }
            Argument::Exclude => {
                self.exclude = read_ids(&name, given, kinds.item)?;
                self.exclude.iter().map(|id| id_json(id.id())).collect()
            }
            Argument::Ratings => {
                let Given::Json(value) = given else { return Err(unfit(argument, &name, &given)) };
                self.ratings = Some(posted_ratings(&name, value, kinds.item, kinds.scale, model)?);
                return Ok(());
            }
            Argument::N => whole(&mut self.n, argument, &name, &given)?,
            Argument::Offset => whole(&mut self.offset, argument, &name, &given)?,
            Argument::ExcludeSeen => flag(&mut self.exclude_seen, argument, &name, &given)?,
            Argument::Strict => flag(&mut self.strict, argument, &name, &given)?,
            Argument::Rated => flag(&mut self.rated, argument, &name, &given)?,
            Argument::Filter => text(&mut self.filter, argument, &name, given)?,
            Argument::Group => text(&mut self.group, argument, &name, given)?,
            Argument::Version => version_json(given),
        };
        self.said.insert(name, said);
        Ok(())
    }

    fn check_required(&self, action: Action) -> Result<(), ApiError> {
        for argument in action.required() {
            let is_missing = match argument {
                Argument::User => self.user.is_none() && self.ratings.is_none(),
                Argument::Item => self.item.is_none(),
                Argument::Ratings => self.ratings.is_none(),
                Argument::N
                | Argument::Offset
                | Argument::Filter
                | Argument::ExcludeSeen
                | Argument::Exclude
                | Argument::Strict
                | Argument::Rated
                | Argument::Group
                | Argument::Version => false,
            };
            if is_missing {
                let name = argument.name();
                let message = format!("{name}: is missing; expected {}", argument.sort().expected());
                return Err(ApiError::value("missing", name, message));
            }
        }
        Ok(())
    }
}

struct Kinds {
    user: ColumnType,
    item: ColumnType,
    /// Of ratings, as configured.
    scale: Option<(f64, f64)>,
}

impl Kinds {
    fn of(version: &Version) -> Self {
        match &version.file.task {
            Task::Recommendation(task) => Self { user: task.user.kind, item: task.item.kind, scale: task.scale },
            Task::Regression | Task::Classification { .. } => {
                Self { user: ColumnType::Utf8, item: ColumnType::Utf8, scale: None }
            }
        }
    }
}

/// An id as JSON has it; `None`: it can be none.
pub fn id_of_json(value: Value) -> Option<OwnedId> {
    match value {
        Value::String(text) => Some(OwnedId::Text(text)),
        Value::Number(number) => whole_number(&number).map(OwnedId::Integer),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// `7.0` is 7.
fn whole_number(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| number.as_f64().and_then(exact_integer))
}

fn read_id(name: &str, given: Given, kind: ColumnType) -> Result<OwnedId, ApiError> {
    let expected = if kind == ColumnType::Int64 { "a whole number (int64)" } else { "an id: text or a whole number" };
    let fault = |got: String| ApiError::value("bad_value", name, format!("{name}: expected {expected}, got {got}"));
    let id = match given {
        Given::Text(text) => OwnedId::Text(text),
        Given::Json(value) => {
            let got = noun(&value);
            id_of_json(value).ok_or_else(|| fault(got.to_owned()))?
        }
    };
    match (kind, id) {
        (ColumnType::Int64, OwnedId::Text(text)) => text.parse().map(OwnedId::Integer).map_err(|_| fault(quote(&text))),
        (_, id) => Ok(id),
    }
}

fn read_ids(name: &str, given: Given, kind: ColumnType) -> Result<Vec<OwnedId>, ApiError> {
    match given {
        Given::Json(Value::Array(ids)) if ids.len() <= rows::ROWS_MAX => {
            ids.into_iter().map(|id| read_id(name, Given::Json(id), kind)).collect()
        }
        Given::Json(Value::Array(ids)) => {
            Err(ApiError::too_large(format!("{name}: {} ids: at most {}", ids.len(), rows::ROWS_MAX)))
        }
        other => Err(unfit(Argument::Exclude, name, &other)),
    }
}

fn whole(into: &mut usize, argument: Argument, name: &str, given: &Given) -> Result<Value, ApiError> {
    let Sort::Count(most) = argument.sort() else { return Ok(Value::Null) };
    let number = match given {
        Given::Text(text) => text.parse::<u64>().ok(),
        Given::Json(Value::Number(number)) => whole_number(number).and_then(|number| u64::try_from(number).ok()),
        Given::Json(_) => None,
    };
    match number.filter(|number| *number <= most).and_then(|number| usize::try_from(number).ok()) {
        Some(number) => {
            *into = number;
            Ok(Value::from(number))
        }
        None => Err(unfit(argument, name, given)),
    }
}

fn flag(into: &mut bool, argument: Argument, name: &str, given: &Given) -> Result<Value, ApiError> {
    let flag = match given {
        Given::Text(text) => rows::parse_text(name, text, ColumnType::Boolean)?.and_then(|value| value.as_bool()),
        Given::Json(value) => value.as_bool(),
    };
    *into = flag.ok_or_else(|| unfit(argument, name, given))?;
    Ok(Value::from(*into))
}

fn text(into: &mut Option<(String, String)>, argument: Argument, name: &str, given: Given) -> Result<Value, ApiError> {
    let text = match given {
        Given::Text(text) | Given::Json(Value::String(text)) => text,
        other @ Given::Json(_) => return Err(unfit(argument, name, &other)),
    };
    *into = Some((name.to_owned(), text.clone()));
    Ok(Value::from(text))
}

/// A number where it is one, for the answer.
pub fn version_json(given: Given) -> Value {
    match given {
        Given::Text(text) => text.parse::<u32>().map_or_else(|_| Value::from(text), Value::from),
        Given::Json(value) => value,
    }
}

fn unfit(argument: Argument, name: &str, given: &Given) -> ApiError {
    let got = match given {
        Given::Text(text) => quote(text),
        Given::Json(value @ (Value::Number(_) | Value::String(_))) => quote(&value.to_string()),
        Given::Json(value) => noun(value).to_owned(),
    };
    let more = if argument == Argument::N { "; more come with offset" } else { "" };
    let message = format!("{name}: expected {}, got {got}{more}", argument.sort().expected());
    ApiError::value("bad_value", name, message)
}

/// A float with as few digits as tell it from its neighbours: scores are f32 inside.
pub fn score_json(score: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "seven digits are all that f32 factors give")]
    let shortest = (score as f32).to_string().parse::<f64>();
    shortest.ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
}

/// What the API's other lists call `n`.
const LIMIT: &str = "limit";

/// The argument of that name, for a path of the API; the version stands in the path there.
pub fn argument(action: Action, name: &str) -> Result<Argument, ApiError> {
    let known = || action.arguments().iter().filter(|argument| **argument != Argument::Version);
    let name = if name == LIMIT { Argument::N.name() } else { name };
    known().find(|argument| argument.name() == name).copied().ok_or_else(|| {
        let hint = crate::serve::error::hint(name, known().map(|argument| argument.name()));
        ApiError::value("unknown_parameter", name, format!("{name}: not a parameter of {}{hint}", action.name()))
    })
}
