//! `[[route]]`: what it asks of its model. Which argument comes from where, and whether nothing is missing.

use std::collections::BTreeMap;

use millstream_base::{Faults, Section, did_you_mean, json, type_name};
use millstream_model::model::check::Draft;
use millstream_model::model::{Action, Argument, Sort};
use millstream_untrusted::filter::Filter;
use toml::Value;

use crate::serve::{Ambiguous, Origin};

/// An API that counts from more is a slip of the keyboard.
pub(super) const FIRST_VERSION_MOST: i64 = 1_000_000;
const NOT_FOUND: i64 = 404;

/// What a route says of its action.
pub(super) struct Asking {
    pub action: Action,
    pub args: BTreeMap<Argument, Origin>,
    pub first_version: u32,
    pub empty_is_error: bool,
    pub ambiguous: Ambiguous,
}

/// `None`: the action is faulty, and nothing more can be said of the route. `parameters`: those of the path.
pub(super) fn asking(section: &Section, parameters: &[&str], faults: &mut Faults) -> Option<Asking> {
    let choices = Action::ALL.map(|action| (action.name(), action));
    let action = match section.has("action") {
        true => section.choice("action", &choices, faults)?,
        false => Action::Predict,
    };
    let first_version = section.whole("first_version", "", faults).unwrap_or(1);
    let args = arguments(section, action, parameters, first_version, faults);
    let ambiguous = ambiguous(section, &args, faults);
    Some(Asking {
        action,
        args,
        first_version: u32::try_from(first_version).unwrap_or(1),
        empty_is_error: empty(section, action, faults),
        ambiguous,
    })
}

fn ambiguous(section: &Section, args: &BTreeMap<Argument, Origin>, faults: &mut Faults) -> Ambiguous {
    let choices = [("error", Ambiguous::Error), ("text", Ambiguous::Text), ("list", Ambiguous::List)];
    if !section.has("ambiguous") {
        return Ambiguous::default();
    }
    if !args.contains_key(&Argument::Title) {
        let message = "says what to do with a name that stands for no one title, and no argument takes a title; \
                       remove it, or name the request parameter with args = { title = \"title\" }";
        section.fault("ambiguous", message, faults);
    }
    section.choice("ambiguous", &choices, faults).unwrap_or_default()
}

fn empty(section: &Section, action: Action, faults: &mut Faults) -> bool {
    let Some(value) = section.value("empty") else { return false };
    if !action.has_items() {
        section.fault("empty", format!("is for lists, and {} answers none; remove it", action.name()), faults);
    } else if value.as_integer() != Some(NOT_FOUND) {
        section.fault("empty", "must be 404: what to answer when there are no items; or remove it", faults);
    }
    true
}

fn arguments(
    section: &Section,
    action: Action,
    parameters: &[&str],
    first_version: i64,
    faults: &mut Faults,
) -> BTreeMap<Argument, Origin> {
    let mut args = BTreeMap::new();
    // A predicting route has the query and the body for the models' columns.
    let is_elsewhere = |origin: &Origin| {
        action == Action::Predict && origin.parameter().is_some_and(|name| !parameters.contains(&name))
    };
    let known = action.arguments(None);
    let mut complete = true;
    for (name, value) in section.table("args", faults).into_iter().flatten() {
        let key = section.key(&format!("args.{name}"));
        let Some(argument) = known.iter().find(|argument| argument.name() == name).copied() else {
            let names = known.iter().map(|argument| argument.name());
            faults.add(key, None, format!("{} takes no such argument{}", action.name(), did_you_mean(name, names)));
            complete = false;
            continue;
        };
        match origin(argument, value, first_version) {
            Ok(origin) if is_elsewhere(&origin) => {
                faults.add(key, Some(value), "must be a parameter of the path, such as /{version}/…, or a constant");
            }
            Ok(origin) => {
                args.insert(argument, origin);
            }
            Err(message) => {
                faults.add(key, Some(value).filter(|value| !value.is_table()), message);
                complete = false;
            }
        }
    }
    by_own_name(action, &known, parameters, &mut args);
    if complete {
        together(section, action, &args, faults);
    }
    args
}

/// An argument that nobody mentions is the path's parameter of its name, where there is one.
fn by_own_name(action: Action, known: &[Argument], parameters: &[&str], args: &mut BTreeMap<Argument, Origin>) {
    if action == Action::Predict {
        // A model's column may be called `version`.
        return;
    }
    for argument in known {
        let name = argument.name();
        let is_free = !args.values().any(|origin| origin.parameter() == Some(name));
        if parameters.contains(&name) && is_free && !is_posted(*argument) {
            args.entry(*argument).or_insert_with(|| Origin::Parameter(name.to_owned()));
        }
    }
}

/// What no URL can hold.
pub(super) fn is_posted(argument: Argument) -> bool {
    matches!(argument.sort(), Sort::Ratings | Sort::Row)
}

/// Which arguments exclude or need each other.
fn together(section: &Section, action: Action, args: &BTreeMap<Argument, Origin>, faults: &mut Faults) {
    let has = |argument| args.contains_key(&argument);
    let folds_in = has(Argument::Ratings);
    let mut missing = |name: &str, needed: &str, also: &str| {
        let message = format!(
            "missing; {} needs {needed}: name the request parameter it comes from, as in args = {{ {name} = \"{name}\" }}{also}",
            action.name()
        );
        faults.add(section.key(&format!("args.{name}")), None, message);
    };
    for argument in action.required().iter().filter(|argument| !has(**argument)) {
        if *argument != Argument::User || !folds_in {
            let also = if action == Action::Recommend { "; or take ratings, for users who are not known" } else { "" };
            missing(argument.name(), "it", also);
        }
    }
    let one_of = action.one_of();
    if let Some(first) = one_of.first().filter(|_| !one_of.iter().any(|argument| has(*argument))) {
        let names: Vec<&str> = one_of.iter().map(|argument| argument.name()).collect();
        missing(first.name(), &format!("one of {}", names.join(", ")), "");
    }
    let mut clash = |argument: Argument, message: &str| {
        faults.add(section.key(&format!("args.{}", argument.name())), None, message);
    };
    if folds_in && has(Argument::User) {
        clash(Argument::User, "the ratings are the user's own; keep one of user and ratings");
    }
    if folds_in && has(Argument::Strict) {
        clash(Argument::Strict, "is about users who are not known, and ratings bring their own user; remove it");
    }
    if action == Action::Recommend && !folds_in && has(Argument::Exclude) {
        clash(Argument::Exclude, "goes with ratings; for a user exclude_seen leaves out what was seen");
    }
}

/// A text is a request parameter's name; a number, true or false or a list is a constant, and so is what stands in
/// `{ value = … }`.
fn origin(argument: Argument, value: &Value, first_version: i64) -> Result<Origin, String> {
    let constant = match value {
        Value::String(name) if name == "*" && is_posted(argument) => return Ok(Origin::Body),
        Value::String(name) if name.trim().is_empty() => {
            return Err("must not be empty; name the request parameter".to_owned());
        }
        Value::String(name) => return Ok(Origin::Parameter(name.clone())),
        Value::Table(table) => match table.get("value") {
            Some(value) if table.len() == 1 => value,
            _ => return Err("expected a request parameter's name in quotes, or a constant as { value = … }".to_owned()),
        },
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) => value,
    };
    let is_id = |value: &Value| value.is_integer() || value.is_str();
    let fits = match argument.sort() {
        Sort::Ratings | Sort::Row => {
            return Err("comes with each request; name the request parameter, or \"*\"".to_owned());
        }
        Sort::Id => is_id(constant),
        Sort::Ids => is_id(constant) || constant.as_array().is_some_and(|ids| ids.iter().all(is_id)),
        Sort::Count(most) => {
            constant.as_integer().and_then(|count| u64::try_from(count).ok()).is_some_and(|count| count <= most)
        }
        Sort::Flag => constant.is_bool(),
        Sort::Text => constant.is_str(),
        Sort::Version => constant.is_str() || constant.as_integer().is_some_and(|number| number >= first_version),
    };
    if !fits {
        let expected = argument.sort().expected();
        return Err(format!(
            "expected {expected}, or a request parameter's name in quotes, found {}",
            type_name(constant)
        ));
    }
    if let (Argument::Filter, Some(text)) = (argument, constant.as_str().filter(|text| !text.trim().is_empty())) {
        Filter::parse(text).map_err(|error| error.to_string())?;
    }
    Ok(Origin::Constant(json(constant)))
}

/// Whether the models of a route can do what it asks, in the words it may use.
pub(super) fn fits_models(section: &Section, asking: &Asking, asked: &[&Draft], faults: &mut Faults) {
    let Asking { action, args, .. } = asking;
    let action = *action;
    if action != Action::Predict && section.has("input") && !args.contains_key(&Argument::Row) {
        let message = format!("names a model's columns, and {} takes arguments; use args", action.name());
        section.fault("input", message, faults);
    }
    if action != Action::Predict && asked.len() > 1 {
        section.fault("models", format!("{} asks one model; name it with model", action.name()), faults);
    }
    for draft in asked {
        let (Some(name), Some(algorithm)) = (&draft.name, draft.algorithm) else { continue };
        if !action.suits(algorithm) {
            let message =
                format!("model `{name}` is a {}: {} is for {}", algorithm.name(), action.name(), action.able());
            section.fault("action", message, faults);
            continue;
        }
        let known = action.arguments(Some(algorithm));
        for argument in args.keys().filter(|argument| !known.contains(argument)) {
            let message = format!("model `{name}` is a {}, which takes none; remove it", algorithm.name());
            faults.add(section.key(&format!("args.{}", argument.name())), None, message);
        }
    }
}
