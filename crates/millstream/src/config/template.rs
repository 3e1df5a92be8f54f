//! A route's `response`: a JSON template whose texts name request parameters or outputs of the models. A one-element list
//! repeats per row, a key `"{column}"` makes one entry per row, and `"*"` stands for the row itself.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use toml::Value;

use super::fault::{Faults, nearest};

/// What the texts of a template may name.
#[derive(Debug, Clone, PartialEq)]
pub struct Allowed {
    /// `prediction`, … with one model, `high.prediction`, … with several.
    pub outputs: Vec<String>,
    /// Request parameters.
    pub inputs: BTreeSet<String>,
}

impl Allowed {
    fn has(&self, name: &str) -> bool {
        self.inputs.contains(name) || self.outputs.iter().any(|output| output == name)
    }
}

/// `key` names the place in messages; `template` is the whole, or a part of one.
pub(super) fn check(key: &str, template: &Json, allowed: &Allowed, faults: &mut Faults) {
    match template {
        Json::String(name) => {
            if name != "*" && !allowed.has(name) {
                faults.add_text(key, name, unknown(name, allowed));
            }
        }
        // Constants are answered as they are.
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
        Json::Array(items) => {
            for item in items {
                check(key, item, allowed, faults);
            }
        }
        Json::Object(object) if object.is_empty() => {
            faults.add(key, None, "is empty; name what to answer, or remove it for the built-in shape");
        }
        Json::Object(object) => {
            for (name, value) in object {
                let key = format!("{key}.{name}");
                let column = name.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
                if let Some(column) = column
                    && !allowed.has(column)
                {
                    faults.add(key.as_str(), None, format!("the key {}", unknown(column, allowed)));
                }
                check(&key, value, allowed, faults);
            }
        }
    }
}

/// Whether some part of the template is this name.
pub(super) fn names(template: &Json, name: &str) -> bool {
    match template {
        Json::String(text) => text == name,
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
        Json::Array(items) => items.iter().any(|item| names(item, name)),
        Json::Object(object) => object.iter().any(|(key, value)| *key == format!("{{{name}}}") || names(value, name)),
    }
}

fn unknown(name: &str, allowed: &Allowed) -> String {
    let names = || allowed.outputs.iter().chain(&allowed.inputs).map(String::as_str);
    if let Some(name) = nearest(name, names()) {
        return format!("names neither an output nor a request parameter; did you mean `{name}`?");
    }
    let of_inputs = || allowed.inputs.iter().map(String::as_str).filter(|name| is_plain(name));
    let allowed = allowed.outputs.iter().map(String::as_str).chain(of_inputs()).collect::<Vec<_>>().join(", ");
    format!("names neither an output nor a request parameter; allowed are {allowed}")
}

/// Leaves the texts of whole expressions out of a list for people.
fn is_plain(name: &str) -> bool {
    !name.contains(['(', ')', '"', '\'', '+', '*', '|'])
}

pub(super) fn json(value: &Value) -> Json {
    match value {
        Value::String(text) => Json::from(text.as_str()),
        Value::Integer(number) => Json::from(*number),
        Value::Float(number) => Json::from(*number),
        Value::Boolean(flag) => Json::from(*flag),
        Value::Datetime(date) => Json::from(date.to_string()),
        Value::Array(items) => Json::Array(items.iter().map(json).collect()),
        Value::Table(table) => Json::Object(table.iter().map(|(key, value)| (key.clone(), json(value))).collect()),
    }
}
