//! A route's `response`: a JSON template whose texts name request parameters or outputs of the models. A one-element list
//! repeats per row or item, a key `"{column}"` makes one entry per row or item, and `"*"` stands for the row or item itself.

use std::collections::BTreeSet;

use millstream_base::{Faults, nearest};
use serde_json::Value as Json;

/// What the texts of a template may name.
#[derive(Debug, Clone, PartialEq)]
pub struct Allowed {
    /// `prediction`, … with one model, `high.prediction`, … with several.
    pub outputs: Vec<String>,
    /// Request parameters.
    pub inputs: BTreeSet<String>,
    /// Of an action that answers a list: what each item has. It is named where the template repeats.
    pub items: Option<Vec<String>>,
}

impl Allowed {
    fn has(&self, name: &str, place: Place) -> bool {
        self.inputs.contains(name)
            || self.outputs.iter().any(|output| output == name)
            || (place == Place::Item && self.is_of_items(name))
    }

    fn is_of_items(&self, name: &str) -> bool {
        self.items.iter().flatten().any(|output| output == name)
    }
}

/// Where in a template a name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Answer,
    /// In a one-element list, or below a key in braces.
    Item,
}

/// `key` names the place in messages; `template` is the whole.
pub(super) fn check(key: &str, template: &Json, allowed: &Allowed, faults: &mut Faults) {
    check_part(key, template, Place::Answer, allowed, faults);
}

fn check_part(key: &str, template: &Json, place: Place, allowed: &Allowed, faults: &mut Faults) {
    match template {
        Json::String(name) => {
            if name != "*" && !allowed.has(name, place) {
                faults.add_text(key, name, unknown(name, place, allowed));
            }
        }
        // Constants are answered as they are.
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
        Json::Array(items) => {
            let place = if items.len() == 1 { Place::Item } else { place };
            for item in items {
                check_part(key, item, place, allowed, faults);
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
                    && !allowed.has(column, Place::Item)
                {
                    faults.add(key.as_str(), None, format!("the key {}", unknown(column, Place::Item, allowed)));
                }
                // `"*" = ""`: the key says all.
                if name == "*" && value.as_str() == Some("") {
                    continue;
                }
                let place = if column.is_some() { Place::Item } else { place };
                check_part(&key, value, place, allowed, faults);
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

fn unknown(name: &str, place: Place, allowed: &Allowed) -> String {
    const RULE: &str = "names neither an output nor a request parameter";
    if place == Place::Answer && allowed.is_of_items(name) {
        return "is each item's own: name it in a list of one element, which repeats for every item".to_owned();
    }
    let of_items = allowed.items.iter().flatten().filter(|_| place == Place::Item);
    let outputs = || of_items.clone().chain(&allowed.outputs).map(String::as_str);
    if let Some(name) = nearest(name, outputs().chain(allowed.inputs.iter().map(String::as_str))) {
        return format!("{RULE}; did you mean `{name}`?");
    }
    let inputs = allowed.inputs.iter().map(String::as_str).filter(|name| is_plain(name));
    let allowed = outputs().chain(inputs).collect::<Vec<_>>().join(", ");
    format!("{RULE}; allowed are {allowed}")
}

/// Leaves the texts of whole expressions out of a list for people.
fn is_plain(name: &str) -> bool {
    !name.contains(['(', ')', '"', '\'', '+', '*', '|'])
}
