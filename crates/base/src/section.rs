//! The TOML as typed: tables whose keys are known, values of the expected type. Knows nothing of what they mean.

use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;
use toml::{Table, Value};

use crate::{Faults, duration, nearest};

/// The keys of one table: those that work, each with what it takes, and those that a later release will know, each with what to do
/// until then. What a key means, and what holds without it, stands in docs/configuration.md.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    pub known: &'static [(&'static str, Takes)],
    pub later: &'static [(&'static str, &'static str)],
}

/// Which values a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    Text,
    /// A list of texts.
    Texts,
    Flag,
    Number,
    /// From the least to the most.
    Whole(i64, i64),
    /// One of these texts.
    Choice(&'static [&'static str]),
    ChoiceOf(fn() -> Vec<&'static str>),
    Table,
    /// The tables of `[[name]]`.
    Tables,
    /// Names of the user's own, each with a table of these keys, or with a text.
    Named(&'static Keys),
    List,
    OneOf(&'static [Takes]),
}

impl Takes {
    /// Of a key that takes whole numbers, maybe among others.
    fn range(self) -> Option<(i64, i64)> {
        match self {
            Self::Whole(least, most) => Some((least, most)),
            Self::OneOf(all) => all.iter().find_map(|takes| takes.range()),
            _ => None,
        }
    }
}

impl Keys {
    pub fn names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.known.iter().map(|(name, _)| *name)
    }

    pub fn has(&self, key: &str) -> bool {
        self.names().any(|name| name == key)
    }
}

/// One table of the file. An absent table reads as an empty one.
#[derive(Debug, Clone)]
pub struct Section<'a> {
    /// How messages name it: `batch`, `model.close`, empty for the file's top level.
    name: String,
    table: Option<&'a Table>,
    keys: Keys,
}

/// Parses the file's text; a syntax error names line and column.
pub fn parse(text: &str, faults: &mut Faults) -> Option<Table> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.parse::<Table>() {
        Ok(table) => Some(table),
        Err(error) => {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            faults.add("", None, format!("line {line}, column {column}: this is not TOML: {}", error.message().trim()));
            None
        }
    }
}

/// The whole file as text.
pub fn read(file: &Path, faults: &mut Faults) -> Option<String> {
    match std::fs::read(file).map(String::from_utf8) {
        Ok(Ok(text)) => Some(text),
        Ok(Err(error)) => {
            let valid = error.utf8_error().valid_up_to();
            let (line, _) = position(&String::from_utf8_lossy(&error.as_bytes()[..valid]), valid);
            faults.add("", None, format!("line {line}: this is not UTF-8; save the file as UTF-8"));
            None
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            faults.add("", None, "no such file; `millstream new NAME` writes one to start from");
            None
        }
        Err(error) => {
            faults.add("", None, format!("cannot be read: {error}"));
            None
        }
    }
}

/// Line and column, both from 1, of a byte offset.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

impl<'a> Section<'a> {
    /// Takes a table and reports its unknown and its not-yet-known keys.
    pub fn new(name: impl Into<String>, table: Option<&'a Table>, keys: &Keys, faults: &mut Faults) -> Self {
        let section = Self { name: name.into(), table, keys: *keys };
        for (key, value) in table.into_iter().flatten() {
            section.check_key(key, value, faults);
        }
        section
    }

    /// The table of this name at the top of the file.
    pub fn of_root(root: &'a Table, name: &'static str, keys: &Keys, faults: &mut Faults) -> Self {
        let table = match root.get(name) {
            None => None,
            Some(Value::Table(table)) => Some(table),
            Some(other) => {
                faults.add(name, Some(other), format!("expected a table; write [{name}] and its keys below"));
                None
            }
        };
        Self::new(name, table, keys, faults)
    }

    fn check_key(&self, key: &str, value: &Value, faults: &mut Faults) {
        if self.keys.has(key) {
            return;
        }
        // A whole table as the value would only hide the message.
        let value = Some(value).filter(|value| !value.is_table() && !is_table_list(value));
        if let Some((_, instead)) = self.keys.later.iter().find(|(later, _)| *later == key) {
            return faults.add(self.key(key), value, format!("not yet in this version; {instead}"));
        }
        let names = self.keys.names();
        let hint = match nearest(key, names.clone()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("the keys here are {}", names.collect::<Vec<_>>().join(", ")),
        };
        faults.add(self.key(key), None, format!("unknown key; {hint}"));
    }

    /// The full name of one of its keys, for messages.
    pub fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.table.and_then(|table| table.get(key))
    }

    pub fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// A fault of `key`, with the value it has.
    pub fn fault(&self, key: &str, message: impl Into<String>, faults: &mut Faults) {
        faults.add(self.key(key), self.value(key), message);
    }

    pub fn text(&self, key: &str, faults: &mut Faults) -> Option<&'a str> {
        match self.value(key)? {
            Value::String(text) => Some(text),
            other => self.wrong_type(key, other, "text in quotes", faults),
        }
    }

    /// Text with something in it besides blanks.
    pub fn filled_text(&self, key: &str, faults: &mut Faults) -> Option<&'a str> {
        let text = self.text(key, faults)?;
        if text.trim().is_empty() {
            self.fault(key, "must not be empty; fill it in or remove it", faults);
            return None;
        }
        Some(text)
    }

    /// As `filled_text`, and it must be there; `remedy` says what to write.
    pub fn required_text(&self, key: &str, remedy: &str, faults: &mut Faults) -> Option<&'a str> {
        if !self.has(key) {
            faults.add(self.key(key), None, format!("missing; {remedy}"));
        }
        self.filled_text(key, faults)
    }

    /// A whole number in the range that the key takes; `remedy` says what else the user may have meant.
    pub fn whole(&self, key: &str, remedy: &str, faults: &mut Faults) -> Option<i64> {
        let takes = self.keys.known.iter().find(|(name, _)| *name == key);
        let Some((least, most)) = takes.and_then(|(_, takes)| takes.range()) else {
            self.fault(key, "takes no whole number, and is read as one: please report this as a bug", faults);
            return None;
        };
        let number = match self.value(key)? {
            Value::Integer(number) => *number,
            other => return self.wrong_type(key, other, "a whole number", faults),
        };
        let rule = match number {
            _ if number < least => format!("must be at least {least}"),
            _ if number > most => format!("must be at most {most}"),
            _ => return Some(number),
        };
        self.fault(key, if remedy.is_empty() { rule } else { format!("{rule}; {remedy}") }, faults);
        None
    }

    /// A number; whole ones are taken too.
    pub fn number(&self, key: &str, faults: &mut Faults) -> Option<f64> {
        match self.value(key)? {
            Value::Float(number) => Some(*number),
            #[allow(clippy::cast_precision_loss)]
            Value::Integer(number) => Some(*number as f64),
            other => self.wrong_type(key, other, "a number", faults),
        }
    }

    pub fn flag(&self, key: &str, faults: &mut Faults) -> Option<bool> {
        match self.value(key)? {
            Value::Boolean(flag) => Some(*flag),
            other => self.wrong_type(key, other, "true or false", faults),
        }
    }

    pub fn texts(&self, key: &str, faults: &mut Faults) -> Option<Vec<String>> {
        let items = match self.value(key)? {
            Value::Array(items) => items,
            other => return self.wrong_type(key, other, "a list of texts, such as [\"a\", \"b\"]", faults),
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Value::String(text) => texts.push(text.clone()),
                other => {
                    return self.wrong_type(key, other, "a list of texts, such as [\"a\", \"b\"]", faults);
                }
            }
        }
        Some(texts)
    }

    pub fn table(&self, key: &str, faults: &mut Faults) -> Option<&'a Table> {
        match self.value(key)? {
            Value::Table(table) => Some(table),
            other => self.wrong_type(key, other, "a table, such as { name = value }", faults),
        }
    }

    /// One of a closed set of names.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)], faults: &mut Faults) -> Option<T> {
        let text = self.text(key, faults)?;
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
        if found.is_none() {
            let names = choices.iter().map(|(name, _)| *name);
            let quoted = names.clone().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
            let hint = nearest(text, names).map_or(String::new(), |name| format!("; did you mean \"{name}\"?"));
            self.fault(key, format!("must be {quoted}{hint}"), faults);
        }
        found
    }

    /// Reports the type and returns `None`, so that a reader can end with it.
    pub fn wrong_type<T>(&self, key: &str, found: &Value, expected: &str, faults: &mut Faults) -> Option<T> {
        let found = type_name(found);
        self.fault(key, format!("expected {expected}, found {found}"), faults);
        None
    }
}

pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

pub fn is_table_list(value: &Value) -> bool {
    matches!(value, Value::Array(items) if items.iter().any(Value::is_table))
}

/// The tables of `[[name]]`, in the file's order.
pub fn table_list<'a>(root: &'a Table, name: &'static str, faults: &mut Faults) -> Vec<&'a Table> {
    let items = match root.get(name) {
        None => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => {
            faults.add(name, None, format!("expected a list of tables; write [[{name}]] with two brackets"));
            return Vec::new();
        }
    };
    let tables: Vec<&Table> = items.iter().filter_map(Value::as_table).collect();
    if tables.len() != items.len() {
        faults.add(name, None, format!("expected a list of tables; write [[{name}]] for each"));
    }
    tables
}

/// A TOML value as JSON; a date is its text.
pub fn json(value: &Value) -> Json {
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

/// A duration above zero.
pub fn time_span(section: &Section, key: &str, faults: &mut Faults) -> Option<Duration> {
    let length = duration(section.filled_text(key, faults)?);
    match length {
        Ok(length) if length >= Duration::from_millis(1) => return Some(length),
        Ok(_) => section.fault(key, "must be at least 1ms", faults),
        Err(message) => section.fault(key, message, faults),
    }
    None
}
