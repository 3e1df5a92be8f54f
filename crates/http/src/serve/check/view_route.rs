//! `[[route]]` with a view: where its parameters come from, and, once the view's columns are known, what its template names.

use std::collections::{BTreeMap, BTreeSet};

use millstream_answer::views::View;
use millstream_base::{Faults, Section, did_you_mean, json};
use millstream_model::model::Action;
use toml::Value;

use super::route::{methods, response};
use super::template::{self, Allowed};
use crate::serve::endpoints::path_parameters;
use crate::serve::{Ambiguous, Origin, Route, ViewCall};

/// What a template may name of the answer besides the view's columns.
const OUTPUTS: [&str; 1] = ["total"];
/// Keys that are for models.
const OF_MODELS: [&str; 7] = ["model", "models", "action", "first_version", "input", "body", "ambiguous"];

pub(super) fn view_route(section: &Section, path: String, views: &[View], faults: &mut Faults) -> Option<Route> {
    for key in OF_MODELS.into_iter().filter(|key| section.has(key)) {
        let remedy = match key {
            "input" => "say with args which request parameter each of the view's parameters comes from",
            _ => "keep one of it and view",
        };
        section.fault(key, format!("is for models; {remedy}"), faults);
    }
    let name = section.filled_text("view", faults)?;
    let Some(view) = views.iter().find(|view| view.name == name) else {
        let hint = did_you_mean(name, views.iter().map(|view| view.name.as_str()).collect::<Vec<_>>());
        section.fault("view", format!("there is no view `{name}`{hint}"), faults);
        return None;
    };
    let args = arguments(section, view, faults);
    let (get, post) = methods(section, false, faults);
    if section.has("empty") && section.value("empty").and_then(Value::as_integer) != Some(404) {
        section.fault("empty", "must be 404: what to answer when there are no rows; or remove it", faults);
    }
    let route = Route {
        path,
        models: Vec::new(),
        view: Some(ViewCall { name: name.to_owned(), args }),
        action: Action::Predict,
        args: BTreeMap::new(),
        first_version: 1,
        get,
        post,
        input: BTreeMap::new(),
        body: None,
        response: response(section, faults),
        empty_is_error: section.has("empty"),
        ambiguous: Ambiguous::default(),
    };
    let taken: BTreeSet<&str> = parameters(&route).collect();
    for parameter in path_parameters(&route.path).filter(|parameter| !taken.contains(parameter)) {
        if !route.response.as_ref().is_some_and(|response| template::names(response, parameter)) {
            let message = format!("the view does not take the parameter `{parameter}`; map one to it with args");
            faults.add_text(section.key("path"), &route.path, message);
        }
    }
    Some(route)
}

/// Each of the view's parameters, with its origin: the request's parameter of its own name unless it is said otherwise.
fn arguments(section: &Section, view: &View, faults: &mut Faults) -> BTreeMap<String, Origin> {
    let own = view.params.iter().map(|(name, _)| (name.clone(), Origin::Parameter(name.clone())));
    let mut args: BTreeMap<String, Origin> = own.collect();
    for (name, value) in section.table("args", faults).into_iter().flatten() {
        let key = section.key(&format!("args.{name}"));
        let Some((_, parameter)) = view.params.iter().find(|(known, _)| known == name) else {
            let hint = did_you_mean(name, view.params.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>());
            faults.add(key, None, format!("the view `{}` has no such parameter{hint}", view.name));
            continue;
        };
        let constant = match value {
            Value::String(text) if text.trim().is_empty() => {
                faults.add(key, Some(value), "must not be empty; name the request parameter");
                continue;
            }
            Value::String(text) => {
                args.insert(name.clone(), Origin::Parameter(text.clone()));
                continue;
            }
            Value::Table(table) => match table.get("value") {
                Some(value) if table.len() == 1 => value,
                _ => {
                    let message = "expected a request parameter's name in quotes, or a constant as { value = … }";
                    faults.add(key, None, message);
                    continue;
                }
            },
            other => other,
        };
        match parameter.fit(json(constant)) {
            Ok(constant) => {
                args.insert(name.clone(), Origin::Constant(constant));
            }
            Err(expected) => {
                let message = format!("expected {expected}, or a request parameter's name in quotes");
                faults.add(key, Some(constant).filter(|value| !value.is_table()), message);
            }
        }
    }
    args
}

/// What a request may say, by its own names.
fn parameters(route: &Route) -> impl Iterator<Item = &str> {
    route.view.iter().flat_map(|call| call.args.values()).filter_map(Origin::parameter)
}

/// Checks the template against the columns that the view answers.
pub fn check_view_route(route: &Route, columns: &[String], faults: &mut Faults) {
    let Some(response) = &route.response else { return };
    let inputs = path_parameters(&route.path).chain(parameters(route)).map(str::to_owned);
    let outputs = OUTPUTS.into_iter().map(str::to_owned).chain(columns.iter().cloned());
    let allowed = Allowed { outputs: outputs.collect(), inputs: inputs.collect(), items: Some(columns.to_vec()) };
    template::check(&format!("route[{}].response", route.path), response, &allowed, faults);
}
