//! `[[route]]`: paths, the models they ask, and the templates of their answers. What can be said without the data; the
//! columns themselves are checked in `model::check`.

use std::collections::{BTreeMap, BTreeSet};

use millstream_base::{Faults, Keys, Section, Takes, did_you_mean, json, nearest, type_name};
use millstream_learn::Algorithm;
use toml::{Table, Value};

use super::action::{FIRST_VERSION_MOST, asking, fits_models, is_posted};
use super::template::{self, Allowed};
use super::view_route::view_route;
use crate::serve::Route;
use crate::serve::endpoints::{is_reserved, path_parameters};
use millstream_answer::views::View;
use millstream_base::table_list;
use millstream_model::model::Action;
use millstream_model::model::check::{Draft, ModelColumns};
use millstream_stream::expression::words;

pub const ROUTE: Keys = Keys {
    known: &[
        ("path", Takes::Text),
        ("model", Takes::Text),
        ("models", Takes::Texts),
        ("view", Takes::Text),
        ("action", Takes::ChoiceOf(|| Action::ALL.map(Action::name).to_vec())),
        ("args", Takes::Table),
        ("first_version", Takes::Whole(0, FIRST_VERSION_MOST)),
        ("method", Takes::OneOf(&[Takes::Text, Takes::Texts])),
        ("input", Takes::Table),
        ("body", Takes::Text),
        ("response", Takes::OneOf(&[Takes::Table, Takes::List])),
        ("empty", Takes::Whole(404, 404)),
        ("ambiguous", Takes::Choice(&["error", "text", "list"])),
    ],
    later: &[],
};

pub fn routes(root: &Table, models: &[Draft], views: &[View], faults: &mut Faults) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    let shown = catalogue_columns(root);
    for (index, table) in table_list(root, "route", faults).into_iter().enumerate() {
        if let Some(route) = route(index + 1, table, models, views, &shown, faults) {
            if let Some(other) = routes.iter().find(|other| overlap(other, &route)) {
                let message = format!("the route `{}` answers some of the same URLs; change one of them", other.path);
                faults.add_text(format!("route[{}].path", index + 1), &route.path, message);
            }
            routes.push(route);
        }
    }
    routes
}

fn route(
    number: usize,
    table: &Table,
    models: &[Draft],
    views: &[View],
    shown: &[String],
    faults: &mut Faults,
) -> Option<Route> {
    let label = match table.get("path").and_then(Value::as_str) {
        Some(path) => format!("route[{path}]"),
        None => format!("route[{number}]"),
    };
    let section = Section::new(label, Some(table), &ROUTE, faults);
    let path = path(&section, faults);
    if section.has("view") {
        return view_route(&section, path?, views, faults);
    }
    let names = model_names(&section, models, faults);
    let parameters: Vec<&str> = path.iter().flat_map(|path| path_parameters(path)).collect();
    let asking = asking(&section, &parameters, faults);
    let is_posted = asking.as_ref().is_some_and(|asking| asking.args.keys().any(|argument| is_posted(*argument)));
    let (get, post) = methods(&section, is_posted, faults);
    let input = input(&section, faults);
    let body = section.filled_text("body", faults).map(str::to_owned);
    if body.is_some() && !post {
        section.fault("body", "is for POST, which this route does not answer; remove it or add the method", faults);
    }
    let asked: Option<Vec<&Draft>> = names.as_ref().map(|names| {
        let named = |name: &String| models.iter().find(|model| model.name.as_ref() == Some(name));
        names.iter().filter_map(named).collect()
    });
    let response = response(&section, faults);
    if let (Some(asking), Some(asked)) = (&asking, &asked) {
        fits_models(&section, asking, asked, faults);
    }
    let asking = asking?;
    let route = Route {
        path: path?,
        models: names?,
        view: None,
        action: asking.action,
        args: asking.args,
        first_version: asking.first_version,
        get,
        post,
        input,
        body,
        response,
        empty_is_error: asking.empty_is_error,
        ambiguous: asking.ambiguous,
    };
    match (route.action, asked) {
        // A model with faults of its own has unknown columns: what its route says of them is then not judged.
        (Action::Predict, Some(asked)) => {
            if let Some(asked) = asked.into_iter().map(asked_model).collect::<Option<Vec<_>>>() {
                columns_and_parameters(&route, &asked, faults);
            }
        }
        (_, asked) => {
            let algorithm = asked.iter().flatten().find_map(|draft| draft.algorithm);
            arguments_and_template(&route, algorithm, shown, faults);
        }
    }
    Some(route)
}

/// An object, or a list that repeats.
pub(super) fn response(section: &Section, faults: &mut Faults) -> Option<serde_json::Value> {
    match section.value("response")? {
        value @ (Value::Table(_) | Value::Array(_)) => Some(json(value)),
        other => section.wrong_type("response", other, "a table, such as { name = value }", faults),
    }
}

/// What items have besides their ids, when there is a catalogue.
fn catalogue_columns(root: &Table) -> Vec<String> {
    let Some(catalogue) = root.get("catalogue").and_then(Value::as_table) else { return Vec::new() };
    let image = catalogue.contains_key("image").then(|| "image".to_owned());
    let columns = catalogue.get("columns").and_then(Value::as_table).into_iter().flat_map(Table::keys).cloned();
    std::iter::once("title".to_owned()).chain(image).chain(columns).collect()
}

/// Checks the path's parameters and the template of a route with arguments.
fn arguments_and_template(route: &Route, algorithm: Option<Algorithm>, shown: &[String], faults: &mut Faults) {
    let label = format!("route[{}]", route.path);
    let taken: BTreeSet<String> =
        route.args.values().filter_map(|origin| origin.parameter()).map(str::to_owned).collect();
    let named = |parameter: &str| route.response.as_ref().is_some_and(|response| template::names(response, parameter));
    for parameter in path_parameters(&route.path).filter(|parameter| !taken.contains(*parameter) && !named(parameter)) {
        let message = format!("no argument takes the parameter `{parameter}`; map one to it with args");
        faults.add_text(format!("{label}.path"), &route.path, message);
    }
    let Some(response) = &route.response else { return };
    let shown = || shown.iter().filter(|_| route.action.shows_items()).cloned();
    let action = route.action;
    // That this one cannot do it is a fault already.
    let algorithm = algorithm.filter(|algorithm| action.suits(*algorithm));
    let outputs = action.outputs(algorithm).into_iter().map(str::to_owned);
    let items = action.item_outputs(algorithm).map(|names| names.into_iter().map(str::to_owned).chain(shown()));
    let allowed = Allowed {
        // The one item of an estimate is the answer's own.
        outputs: if items.is_some() { outputs.collect() } else { outputs.chain(shown()).collect() },
        inputs: path_parameters(&route.path).map(str::to_owned).chain(taken).collect(),
        items: items.map(Iterator::collect),
    };
    template::check(&format!("{label}.response"), response, &allowed, faults);
}

fn asked_model(draft: &Draft) -> Option<ModelColumns<'_>> {
    let inputs = draft.inputs.as_ref()?;
    // That one predicts nothing is a fault already.
    let predicting = draft.algorithm.filter(|algorithm| Action::Predict.suits(*algorithm));
    Some(ModelColumns {
        name: draft.name.as_deref()?,
        outputs: Action::Predict.outputs(predicting),
        columns: inputs.iter().flat_map(|feature| words(feature)).collect(),
    })
}

/// Checks `input`, the path's parameters and the template against the columns that the models read.
pub fn columns_and_parameters(route: &Route, models: &[ModelColumns], faults: &mut Faults) {
    let label = format!("route[{}]", route.path);
    let columns: BTreeSet<&str> = models.iter().flat_map(|model| &model.columns).map(String::as_str).collect();
    for column in route.input.keys().filter(|column| !columns.contains(column.as_str())) {
        let hint = nearest(column, columns.iter().copied());
        let hint = hint.map_or("name a column of the features".to_owned(), |name| format!("did you mean `{name}`?"));
        faults.add(format!("{label}.input.{column}"), None, format!("no model of this route reads it; {hint}"));
    }
    // What else there is to say of other actions is known without the columns.
    if route.action != Action::Predict {
        return;
    }
    for parameter in path_parameters(&route.path) {
        let taken = route.input.values().any(|name| name == parameter)
            || route.args.values().any(|origin| origin.parameter() == Some(parameter))
            || (columns.contains(parameter) && !route.input.contains_key(parameter))
            || route.response.as_ref().is_some_and(|response| template::names(response, parameter));
        if !taken {
            let message = format!("no model takes the parameter `{parameter}`; map a column to it with input");
            faults.add_text(format!("{label}.path"), &route.path, message);
        }
    }
    if let Some(response) = &route.response {
        template::check(&format!("{label}.response"), response, &allowed(route, models, &columns), faults);
    }
}

fn allowed(route: &Route, models: &[ModelColumns], columns: &BTreeSet<&str>) -> Allowed {
    let parameter = |column: &&str| route.input.get(*column).cloned().unwrap_or_else(|| (*column).to_owned());
    let mut inputs: BTreeSet<String> = columns.iter().map(parameter).collect();
    inputs.extend(path_parameters(&route.path).map(str::to_owned));
    inputs.extend(route.args.values().filter_map(|origin| origin.parameter()).map(str::to_owned));
    // With several models an output's name begins with its model's.
    let outputs: Vec<String> = match models {
        [one] => one.outputs.iter().map(|output| (*output).to_owned()).collect(),
        several => {
            let of_model = |model: &ModelColumns| {
                let name = model.name;
                model.outputs.iter().map(|output| format!("{name}.{output}")).collect::<Vec<_>>()
            };
            several.iter().flat_map(of_model).collect()
        }
    };
    Allowed { outputs, inputs, items: None }
}

fn path(section: &Section, faults: &mut Faults) -> Option<String> {
    let path = section.required_text("path", "give the route a URL path, such as path = \"/predict/close\"", faults)?;
    match path_fault(path) {
        None => Some(path.to_owned()),
        Some(message) => {
            section.fault("path", message, faults);
            None
        }
    }
}

fn path_fault(path: &str) -> Option<String> {
    let Some(rest) = path.strip_prefix('/') else { return Some(format!("must begin with `/`; write \"/{path}\"")) };
    if rest.is_empty() {
        return Some("is the live page's own; choose another path".to_owned());
    }
    let mut parameters = BTreeSet::new();
    for (index, segment) in rest.split('/').enumerate() {
        if segment.is_empty() {
            return Some("has an empty segment; remove the doubled or last `/`".to_owned());
        }
        if index == 0 && is_reserved(segment) {
            return Some(format!("`/{segment}` is Millstream's own; choose another beginning"));
        }
        match segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) {
            Some(name) if !is_parameter(name) => {
                return Some(format!(
                    "`{{{name}}}` is no parameter; a name has letters, digits and `_`, such as {{user}}"
                ));
            }
            Some(name) if !parameters.insert(name) => {
                return Some(format!("has the parameter `{name}` twice; give each its own name"));
            }
            Some(_) => {}
            None if segment.contains(['{', '}']) => {
                return Some(format!("`{segment}`: a parameter fills the whole segment, as in /{{user}}/"));
            }
            None if !segment.chars().all(|c| c.is_ascii_alphanumeric() || "-_.~".contains(c)) => {
                return Some(format!("`{segment}` must hold only letters, digits, `-`, `_`, `.` and `~`"));
            }
            None => {}
        }
    }
    None
}

fn is_parameter(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether some URL is answered by both.
fn overlap(one: &Route, other: &Route) -> bool {
    let same_method = (one.get && other.get) || (one.post && other.post);
    if one.path == other.path {
        return same_method;
    }
    let (ours, theirs): (Vec<&str>, Vec<&str>) = (one.path.split('/').collect(), other.path.split('/').collect());
    let both = |(a, b): (&&str, &&str)| a == b || a.starts_with('{') || b.starts_with('{');
    ours.len() == theirs.len() && ours.iter().zip(&theirs).all(both)
}

fn model_names(section: &Section, models: &[Draft], faults: &mut Faults) -> Option<Vec<String>> {
    let names = match (section.has("model"), section.has("models")) {
        (true, true) => {
            faults.add(section.name(), None, "has both model and models; keep one of them");
            return None;
        }
        (false, false) => {
            faults.add(section.key("model"), None, "missing; name the model that answers, or the view");
            return None;
        }
        (true, false) => vec![section.filled_text("model", faults)?.to_owned()],
        (false, true) => section.texts("models", faults)?,
    };
    let key = if section.has("model") { "model" } else { "models" };
    if names.is_empty() {
        section.fault(key, "must not be empty; name at least one model", faults);
        return None;
    }
    let known = || models.iter().filter_map(|model| model.name.as_deref());
    let mut faulty = false;
    for (index, name) in names.iter().enumerate() {
        if !known().any(|model| model == name) {
            let hint = did_you_mean(name, known().collect::<Vec<_>>());
            section.fault(key, format!("there is no model `{name}`{hint}"), faults);
            faulty = true;
        } else if names[..index].contains(name) {
            section.fault(key, format!("has `{name}` twice; keep one"), faults);
            faulty = true;
        }
    }
    Some(names).filter(|_| !faulty)
}

/// GET and POST, unless given. `is_posted`: the route takes ratings or a row.
pub(super) fn methods(section: &Section, is_posted: bool, faults: &mut Faults) -> (bool, bool) {
    let methods = match section.value("method") {
        None => return (!is_posted, true),
        Some(Value::String(method)) => vec![method.clone()],
        Some(_) => section.texts("method", faults).unwrap_or_else(|| vec!["GET".to_owned()]),
    };
    let has = |name: &str| methods.iter().any(|method| method.eq_ignore_ascii_case(name));
    let known = methods.iter().all(|method| ["GET", "POST"].iter().any(|known| method.eq_ignore_ascii_case(known)));
    if !known || methods.is_empty() {
        section.fault("method", "must be \"GET\", \"POST\" or [\"GET\", \"POST\"]", faults);
        return (true, true);
    }
    if is_posted && has("GET") {
        section.fault("method", "must be \"POST\": ratings and rows come in a body", faults);
    }
    (has("GET"), has("POST"))
}

fn input(section: &Section, faults: &mut Faults) -> BTreeMap<String, String> {
    let mut input = BTreeMap::new();
    for (column, value) in section.table("input", faults).into_iter().flatten() {
        let key = section.key(&format!("input.{column}"));
        match value {
            Value::String(parameter) if !parameter.trim().is_empty() => {
                input.insert(column.clone(), parameter.clone());
            }
            Value::String(_) => faults.add(key, Some(value), "must not be empty; name the request parameter"),
            other => {
                let found = type_name(other);
                faults.add(key, Some(other), format!("expected a request parameter's name in quotes, found {found}"));
            }
        }
    }
    input
}
