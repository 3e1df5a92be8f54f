//! `--set table.key=value` and `MILLSTREAM_SET='k=v;…'`: values that win over the file's. The arguments win over the
//! environment, and both over the file. The first segment of a key names the table, the rest is the key verbatim.

use millstream_base::{Faults, did_you_mean};
use toml::{Table, Value};

use super::check::KEYS;

const ARGUMENT: &str = "--set";
const ENVIRONMENT: &str = "MILLSTREAM_SET";
const BUILT_IN: &str = "built in";

/// Keys of which only one may be given: an override of one takes the place of the others in the file.
const EXCLUSIVE: [(&str, &[&str]); 2] =
    [("batch", &["parts", "rows", "window"]), ("source", &["delay", "rate", "speed"])];

/// Overrides as given; they are read when a file is loaded, so that their faults come with the file's.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// Of a command that fills in a file of its own, such as `demo`.
    built_in: Vec<(String, Value)>,
    environment: Vec<String>,
    arguments: Vec<String>,
}

impl Overrides {
    /// `environment` is the value of `MILLSTREAM_SET`, `arguments` those of `--set`.
    pub fn new(environment: Option<&str>, arguments: &[String]) -> Self {
        let environment = split(environment.unwrap_or_default());
        Self { built_in: Vec::new(), environment, arguments: arguments.to_vec() }
    }

    /// Values of a command itself: they win over the file, and lose to the environment and the arguments.
    pub fn with_built_in(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.built_in.push((key.to_owned(), value.into()));
        self
    }

    pub(super) fn apply(&self, root: &mut Table, faults: &mut Faults) {
        for (key, value) in &self.built_in {
            set(root, key, value.clone(), BUILT_IN, faults);
        }
        for (place, texts) in [(ENVIRONMENT, &self.environment), (ARGUMENT, &self.arguments)] {
            let mut given = Vec::new();
            for text in texts {
                match text.split_once('=') {
                    Some((key, value)) => given.push((key.trim(), value_of(value.trim()))),
                    None => faults.add_at(place, text, "expected table.key=value, such as batch.rows=1000"),
                }
            }
            for (key, _) in &given {
                drop_exclusive(root, key);
            }
            for (key, value) in given {
                set(root, key, value, place, faults);
            }
        }
    }
}

/// Splits at each `;` that stands in no quotes.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quote = None;
    for character in text.chars() {
        match (quote, character) {
            (None, ';') => parts.push(String::new()),
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), closing) if open == closing => quote = None,
            _ => {}
        }
        if let (Some(part), true) = (parts.last_mut(), character != ';' || quote.is_some()) {
            part.push(character);
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// A TOML value where it is one, else text. A date is text too: no key of ours is one.
fn value_of(text: &str) -> Value {
    match text.parse::<Value>() {
        Ok(Value::Datetime(_)) | Err(_) => Value::String(text.to_owned()),
        Ok(value) => value,
    }
}

fn drop_exclusive(root: &mut Table, key: &str) {
    for (table, keys) in EXCLUSIVE {
        let of_table = key.strip_prefix(table).and_then(|rest| rest.strip_prefix('.'));
        if let (Some(key), Some(Value::Table(table))) = (of_table, root.get_mut(table))
            && keys.contains(&key)
        {
            table.retain(|other, _| !keys.contains(&other));
            // It says which time a window counts, and goes with it.
            if keys.contains(&"window") && key != "window" {
                table.remove("time");
            }
        }
    }
}

fn set(root: &mut Table, key: &str, value: Value, place: &'static str, faults: &mut Faults) {
    match target(root, key) {
        Ok((table, leaf)) => {
            table.insert(leaf, value);
            faults.given_by(key.to_owned(), place);
        }
        Err(message) => faults.add_at(place, key, message),
    }
}

/// The table that `key` lies in, made if absent, and the key's name there.
fn target<'a>(root: &'a mut Table, key: &str) -> Result<(&'a mut Table, String), String> {
    let Some((first, rest)) = key.split_once('.') else { return top_level(root, key) };
    if rest.is_empty() {
        return Err(format!("name a key of {first}, such as {first}.key=value"));
    }
    match first {
        "model" => named_target(root, "model", rest, &["params", "categorical", "split", "text"]),
        "schema" if rest.starts_with("columns.") => {
            let column = rest["columns.".len()..].to_owned();
            Ok((child(child(root, "schema")?, "columns")?, column))
        }
        "catalogue" if rest.starts_with("columns.") => {
            let column = rest["columns.".len()..].to_owned();
            Ok((child(child(root, "catalogue")?, "columns")?, column))
        }
        "train" if rest.starts_with("spark.conf.") => {
            let key = rest["spark.conf.".len()..].to_owned();
            Ok((child(child(child(root, "train")?, "spark")?, "conf")?, key))
        }
        "train" if rest.starts_with("spark.") => {
            let key = rest["spark.".len()..].to_owned();
            Ok((child(child(root, "train")?, "spark")?, key))
        }
        "source" | "schema" | "stream" | "batch" | "store" | "train" | "catalogue" | "serve" => {
            Ok((child(root, first)?, rest.to_owned()))
        }
        "view" => named_target(root, "view", rest, &["params"]),
        "table" => named_target(root, "table", rest, &[]),
        "page" => named_target(root, "page", rest, &["card"]),
        "route" => Err("routes have no names to override them by; change the file".to_owned()),
        other => {
            let names = [
                "source",
                "schema",
                "stream",
                "batch",
                "store",
                "train",
                "model",
                "table",
                "view",
                "page",
                "catalogue",
                "serve",
            ];
            Err(format!("unknown table `{other}`{}", did_you_mean(other, names)))
        }
    }
}

fn top_level<'a>(root: &'a mut Table, key: &str) -> Result<(&'a mut Table, String), String> {
    if key == "name" {
        return Ok((root, key.to_owned()));
    }
    let owner = KEYS.iter().find(|(table, keys)| !table.is_empty() && keys.has(key));
    Err(match owner {
        Some(("model", _)) => format!("name the model too: model.NAME.{key}=value"),
        Some(("table" | "view" | "view.params", _)) => {
            format!("name the view or the table too, as in view.NAME.{key}=value")
        }
        Some(("schema.columns", _)) => format!("name the column too: schema.columns.NAME.{key}=value"),
        Some(("route", _)) => "routes have no names to override them by; change the file".to_owned(),
        Some((table, _)) => format!("name the table too: {table}.{key}=value"),
        None => "unknown key; an override is table.key=value, such as batch.rows=1000".to_owned(),
    })
}

/// In the table of `[[kind]]` that has the name which `rest` begins with. `groups`: its keys that are tables themselves.
fn named_target<'a>(
    root: &'a mut Table,
    kind: &str,
    rest: &str,
    groups: &[&str],
) -> Result<(&'a mut Table, String), String> {
    let Some((name, key)) = rest.split_once('.') else {
        return Err(format!("expected {kind}.NAME.key=value"));
    };
    let tables = match root.get_mut(kind) {
        Some(Value::Array(tables)) => tables.as_mut_slice(),
        _ => &mut [],
    };
    let name_of = |table: &Value| table.get("name").and_then(Value::as_str).map(str::to_owned);
    let names: Vec<String> = tables.iter().filter_map(name_of).collect();
    let table = tables.iter_mut().find(|table| name_of(table).as_deref() == Some(name));
    let Some(Value::Table(table)) = table else {
        let hint = did_you_mean(name, names.iter().map(String::as_str));
        return Err(format!("the file has no {kind} `{name}`{hint}"));
    };
    match key.split_once('.') {
        Some((group, inner)) if groups.contains(&group) => Ok((child(table, group)?, inner.to_owned())),
        _ => Ok((table, key.to_owned())),
    }
}

fn child<'a>(table: &'a mut Table, name: &str) -> Result<&'a mut Table, String> {
    let value = table.entry(name.to_owned()).or_insert_with(|| Value::Table(Table::new()));
    value.as_table_mut().ok_or_else(|| format!("the file's `{name}` is no table; mend the file first"))
}
