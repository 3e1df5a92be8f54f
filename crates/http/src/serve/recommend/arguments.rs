//! What an action is told: texts of a URL and values of a body, checked once, in their types.

use std::collections::BTreeMap;

use millstream_learn::Id;
use millstream_model::model::{Action, Ambiguous, Argument, ITEMS_DEFAULT, Sort};
use millstream_model::registry::{Subject, Version, id_json};
use millstream_stream::record::exact_integer;
use millstream_stream::schema::ColumnType;
use serde_json::{Number, Value};

use super::posted::{Ratings, posted_ratings};
use crate::serve::error::{ApiError, hint, quote};
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

    pub fn text(&self) -> String {
        match self {
            Self::Text(text) | Self::Json(Value::String(text)) => text.clone(),
            Self::Json(value) => value.to_string(),
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
    pub title: Option<String>,
    pub text: Option<String>,
    pub row: Option<Row>,
    pub ratings: Option<Ratings>,
    pub n: usize,
    pub offset: usize,
    pub filter: Option<String>,
    pub group: Option<String>,
    pub exclude_seen: bool,
    pub exclude: Vec<OwnedId>,
    pub strict: bool,
    pub rated: bool,
    /// What a name is taken for that stands for no one title: the route's to say.
    pub ambiguous: Ambiguous,
    /// What the request said, by its own names, in its types.
    pub said: Row,
    /// What the request calls each that it gave.
    names: BTreeMap<Argument, String>,
}

impl Arguments {
    /// Checks all but the version, which is found already.
    pub fn read(action: Action, told: Vec<Told>, version: &Version) -> Result<Self, ApiError> {
        let mut arguments =
            Self { n: usize::try_from(ITEMS_DEFAULT).unwrap_or(usize::MAX), exclude_seen: true, ..Self::default() };
        let known = action.arguments(Some(version.algorithm));
        for (argument, name, given) in told.into_iter().filter(|(.., given)| !given.is_absent()) {
            if !known.contains(&argument) {
                return Err(not_of_model(action, &name, &known, version));
            }
            arguments.take(argument, name, given, version)?;
        }
        arguments.check_required(action)?;
        arguments.check_one_of(action, &known)?;
        Ok(arguments)
    }

    /// The request's name for it.
    pub fn name(&self, argument: Argument) -> &str {
        self.names.get(&argument).map_or(argument.name(), String::as_str)
    }

    /// Whose list is asked for, or what its items are to be like.
    pub fn subject(&self) -> Subject<'_> {
        let title = self.title.as_deref().map(Subject::Title);
        let text = || self.text.as_deref().map(Subject::Text);
        let row = || self.row.as_ref().map(Subject::Row);
        let item = || self.item.as_ref().map(|item| Subject::Item(item.id()));
        let group = || self.group.as_deref().map(Subject::Group);
        title.or_else(text).or_else(row).or_else(item).or_else(group).unwrap_or(Subject::All)
    }

    fn take(&mut self, argument: Argument, name: String, given: Given, version: &Version) -> Result<(), ApiError> {
        let task = &version.file.task;
        let item_kind = || task.item().map_or(ColumnType::Utf8, |item| item.kind);
        let said = match argument {
            Argument::User => {
                let kind = task.recommendation().map_or(ColumnType::Utf8, |task| task.user.kind);
                let id = read_id(&name, given, kind)?;
                id_json(self.user.insert(id).id())
            }
            Argument::Item => {
                let id = read_id(&name, given, item_kind())?;
                id_json(self.item.insert(id).id())
            }
            Argument::Exclude => {
                self.exclude = read_ids(&name, given, item_kind())?;
                self.exclude.iter().map(|id| id_json(id.id())).collect()
            }
            Argument::Title => text(&mut self.title, argument, &name, given)?,
            Argument::Text => text(&mut self.text, argument, &name, given)?,
            Argument::Row => {
                let Given::Json(Value::Object(row)) = given else { return Err(unfit(argument, &name, &given)) };
                Value::Object(self.row.insert(row).clone())
            }
            Argument::Ratings => {
                let Given::Json(value) = given else { return Err(unfit(argument, &name, &given)) };
                let (Some(task), Some(model)) = (task.recommendation(), version.recommender()) else {
                    return Err(ApiError::internal("the version takes no ratings"));
                };
                self.ratings = Some(posted_ratings(&name, value, task.item.kind, task.scale, model)?);
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
        self.names.insert(argument, name.clone());
        self.said.insert(name, said);
        Ok(())
    }

    /// Ratings bring their own user.
    fn check_required(&self, action: Action) -> Result<(), ApiError> {
        let is_given = |argument: Argument| {
            self.names.contains_key(&argument) || (argument == Argument::User && self.ratings.is_some())
        };
        let Some(missing) = action.required().iter().find(|argument| !is_given(**argument)) else { return Ok(()) };
        let name = missing.name();
        let message = format!("{name}: is missing; expected {}", missing.sort().expected());
        Err(ApiError::value("missing", name, message))
    }

    /// `known`: what the version's algorithm can be told.
    fn check_one_of(&self, action: Action, known: &[Argument]) -> Result<(), ApiError> {
        let one_of: Vec<Argument> = action.one_of().iter().copied().filter(|one| known.contains(one)).collect();
        // An item goes by its own name.
        let name = |argument: Argument| if argument == Argument::Item { argument.name() } else { self.name(argument) };
        let given = one_of.iter().filter(|argument| self.names.contains_key(argument));
        let given: Vec<&str> = given.map(|argument| name(*argument)).collect();
        match (one_of.as_slice(), given.as_slice()) {
            ([], _) | (_, [_]) => Ok(()),
            ([first, ..], []) => {
                let name = first.name();
                let names: Vec<&str> = one_of.iter().map(|argument| argument.name()).collect();
                let message = match names.as_slice() {
                    [_] => format!("{name}: is missing; expected {}", first.sort().expected()),
                    names => format!("{name}: is missing; give one of {}", names.join(", ")),
                };
                Err(ApiError::value("missing", name, message))
            }
            (_, [first, second, ..]) => {
                let message = format!("{second}: {first} is given too; give one of them");
                Err(ApiError::value("bad_value", *second, message))
            }
        }
    }
}

fn not_of_model(action: Action, name: &str, known: &[Argument], version: &Version) -> ApiError {
    let (model, algorithm) = (&version.file.model, &version.file.algorithm);
    let known = known.iter().filter(|argument| **argument != Argument::Version).map(|argument| argument.name());
    let known = known.collect::<Vec<_>>().join(", ");
    let message = format!("{name}: model {model} is a {algorithm}, of which {} takes {known}", action.name());
    ApiError::value("unknown_parameter", name, message)
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

pub fn read_id(name: &str, given: Given, kind: ColumnType) -> Result<OwnedId, ApiError> {
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

/// One, or a list of them.
fn read_ids(name: &str, given: Given, kind: ColumnType) -> Result<Vec<OwnedId>, ApiError> {
    match given {
        Given::Json(Value::Array(ids)) if ids.len() <= rows::ROWS_MAX => {
            ids.into_iter().map(|id| read_id(name, Given::Json(id), kind)).collect()
        }
        Given::Json(Value::Array(ids)) => {
            Err(ApiError::too_large(format!("{name}: {} ids: at most {}", ids.len(), rows::ROWS_MAX)))
        }
        one @ (Given::Text(_) | Given::Json(Value::String(_) | Value::Number(_))) => {
            Ok(vec![read_id(name, one, kind)?])
        }
        other @ Given::Json(_) => Err(unfit(Argument::Exclude, name, &other)),
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

fn text(into: &mut Option<String>, argument: Argument, name: &str, given: Given) -> Result<Value, ApiError> {
    let text = match given {
        Given::Text(text) | Given::Json(Value::String(text)) => text,
        other @ Given::Json(_) => return Err(unfit(argument, name, &other)),
    };
    Ok(Value::from(into.insert(text).clone()))
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

/// What the API's other lists call `n`.
const LIMIT: &str = "limit";

/// As items themselves call it.
const ID: &str = "id";

/// The argument of that name, for a path of the API; the version stands in the path there.
pub fn argument(action: Action, name: &str) -> Result<Argument, ApiError> {
    let known: Vec<Argument> = action.arguments(None).into_iter().filter(|one| *one != Argument::Version).collect();
    let name = match name {
        LIMIT => Argument::N.name(),
        ID if !action.one_of().is_empty() => Argument::Item.name(),
        name => name,
    };
    known.iter().find(|argument| argument.name() == name).copied().ok_or_else(|| {
        let hint = hint(name, known.iter().map(|argument| argument.name()));
        ApiError::value("unknown_parameter", name, format!("{name}: not a parameter of {}{hint}", action.name()))
    })
}
