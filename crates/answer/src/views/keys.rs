//! `[[view]]` and `[[table]]`: what can be said of them without data. The SQL is read here, so that what writes, what cannot be
//! parsed and parameters that do not exist are faults at once; its tables and columns are checked once they are known.

use std::collections::BTreeSet;

use millstream_base::{Faults, Keys, Section, Takes, did_you_mean, json, type_name};
use serde_json::Value as Json;
use toml::{Table, Value};

use super::given;
use super::{TEXT_BYTES, View, ViewParameter};
use crate::catalogue::{FixedTable, TableRows};
use crate::query::{CATALOGUE, TABLE, placeholders};
use millstream_base::table_list;
use millstream_stream::schema::ColumnType;
use millstream_stream::source::Source;
use millstream_stream::source::check::{CSV_KEYS, HEADER, SKIP, read_anew};

pub const VIEW: Keys =
    Keys { known: &[("name", Takes::Text), ("sql", Takes::Text), ("params", Takes::Named(&PARAMETER))], later: &[] };
pub const PARAMETER: Keys = Keys {
    known: &[
        ("type", Takes::Choice(&ColumnType::NAMES)),
        ("min", Takes::Number),
        ("max", Takes::OneOf(&[Takes::Whole(1, TEXT_BYTES_MOST), Takes::Number])),
        ("values", Takes::List),
        ("default", Takes::OneOf(&[Takes::Text, Takes::Number, Takes::Flag])),
    ],
    later: &[],
};
pub const FIXED_TABLE: Keys = Keys {
    known: &[
        ("name", Takes::Text),
        ("rows", Takes::List),
        ("path", Takes::Text),
        ("key", Takes::Text),
        ("format", Takes::Choice(&["csv", "jsonl", "parquet"])),
        ("separator", Takes::Text),
        ("quote", Takes::Text),
        ("escape", Takes::Text),
        ("header", HEADER),
        ("skip", SKIP),
        ("comment", Takes::Text),
        ("encoding", Takes::Text),
    ],
    later: &[],
};

const NAME_CHARS_MOST: usize = 100;
/// A longer text is no parameter's.
const TEXT_BYTES_MOST: i64 = 1 << 20;

pub fn tables(root: &Table, faults: &mut Faults) -> Vec<FixedTable> {
    let mut names = BTreeSet::new();
    let mut tables = Vec::new();
    for (index, table) in table_list(root, "table", faults).into_iter().enumerate() {
        let section = named_section("table", index, table, &FIXED_TABLE, faults);
        let name = name(&section, "SQL, such as name = \"audiences\"", &mut names, faults);
        if let Some(own) = name.as_deref().filter(|name| [TABLE, CATALOGUE].contains(name)) {
            section.fault("name", format!("`{own}` is Millstream's own table; choose another name"), faults);
        }
        let key = section.filled_text("key", faults).map(str::to_owned);
        let rows = match section.has("rows") {
            true => given(&section, faults),
            false => file(&section, faults).map(TableRows::File),
        };
        if let (Some(name), Some(rows)) = (name, rows) {
            tables.push(FixedTable { name, key, rows });
        }
    }
    tables
}

fn given(section: &Section, faults: &mut Faults) -> Option<TableRows> {
    let of_file = ["path", "format", "encoding"].into_iter().chain(CSV_KEYS);
    for key in of_file.filter(|key| section.has(key)) {
        section.fault(key, "is of a file, and its rows stand in rows; keep one of path and rows", faults);
    }
    given::rows(section, faults).map(TableRows::Given)
}

fn file(section: &Section, faults: &mut Faults) -> Option<Source> {
    let remedy = "name its file, such as path = \"data/audiences.csv\", or write its rows here";
    let path = section.required_text("path", remedy, faults)?;
    read_anew(section, "path", path, faults)
}

pub fn views(root: &Table, faults: &mut Faults) -> Vec<View> {
    let mut names = BTreeSet::new();
    let mut views = Vec::new();
    for (index, table) in table_list(root, "view", faults).into_iter().enumerate() {
        let section = named_section("view", index, table, &VIEW, faults);
        let name = name(&section, "URLs, such as name = \"top_products\"", &mut names, faults);
        let params = parameters(&section, faults);
        let remedy = "write a query, such as sql = \"select * from catalogue limit 10\"";
        let sql = section.required_text("sql", remedy, faults);
        if let Some(sql) = sql {
            reads(&section, sql, &params, faults);
        }
        let params = params.into_iter().filter_map(|(name, parameter)| Some((name, parameter?)));
        if let (Some(name), Some(sql)) = (name, sql) {
            views.push(View { name, sql: sql.to_owned(), params: params.collect() });
        }
    }
    views
}

fn named_section<'a>(kind: &str, index: usize, table: &'a Table, keys: &Keys, faults: &mut Faults) -> Section<'a> {
    let label = match table.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()) {
        Some(name) => format!("{kind}.{name}"),
        None => format!("{kind}[{}]", index + 1),
    };
    Section::new(label, Some(table), keys, faults)
}

fn name(section: &Section, stands_in: &str, names: &mut BTreeSet<String>, faults: &mut Faults) -> Option<String> {
    let name = section.required_text("name", &format!("it stands in {stands_in}"), faults)?;
    if !is_plain(name) || name.len() > NAME_CHARS_MOST {
        let message = "must begin with a letter and hold only letters, digits and `_`: it stands in URLs and in SQL";
        section.fault("name", message, faults);
        return None;
    }
    if !names.insert(name.to_owned()) {
        section.fault("name", "is there twice; give each its own name", faults);
        return None;
    }
    Some(name.to_owned())
}

fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Is it one query that reads, of parameters that are there?
fn reads(section: &Section, sql: &str, params: &[(String, Option<ViewParameter>)], faults: &mut Faults) {
    let used = match placeholders(sql) {
        Ok(used) => used,
        Err(fault) => return faults.add(section.key("sql"), None, fault.on_one_line()),
    };
    let known = || params.iter().map(|(name, _)| name.as_str());
    for name in used.iter().filter(|name| !known().any(|known| known == name.as_str())) {
        let hint = did_you_mean(name, known().collect::<Vec<_>>());
        let hint = if hint.is_empty() { format!("; add params = {{ {name} = {{ type = \"utf8\" }} }}") } else { hint };
        faults.add(section.key("sql"), None, format!("`${name}` is none of its params{hint}"));
    }
    for name in known().filter(|name| !used.contains(*name)) {
        let key = section.key(&format!("params.{name}"));
        faults.add(key, None, format!("the SQL does not use it; write `${name}` there, or remove it"));
    }
}

/// Every name, with what is said of it where that is without a fault.
fn parameters(section: &Section, faults: &mut Faults) -> Vec<(String, Option<ViewParameter>)> {
    let mut parameters = Vec::new();
    for (name, value) in section.table("params", faults).into_iter().flatten() {
        let key = section.key(&format!("params.{name}"));
        if !is_plain(name) {
            let message = "must begin with a letter and hold only letters, digits and `_`: it stands in SQL as `$name`";
            faults.add(key.as_str(), None, message);
        }
        let parameter = match value {
            // The type alone.
            Value::String(_) => {
                let table: Table = [("type".to_owned(), value.clone())].into_iter().collect();
                parameter(&Section::new(key, Some(&table), &PARAMETER, faults), faults)
            }
            Value::Table(table) => parameter(&Section::new(key, Some(table), &PARAMETER, faults), faults),
            other => {
                let message = format!("expected a type, such as {{ type = \"float64\" }}, found {}", type_name(other));
                faults.add(key, Some(other), message);
                None
            }
        };
        parameters.push((name.clone(), parameter));
    }
    parameters
}

fn parameter(section: &Section, faults: &mut Faults) -> Option<ViewParameter> {
    let remedy = format!("its type is one of {}", ColumnType::NAMES.join(", "));
    let text = section.required_text("type", &remedy, faults)?;
    let Some(kind) = ColumnType::from_name(text) else {
        let hint = did_you_mean(text, ColumnType::NAMES);
        section.fault("type", format!("there is no such type{hint}"), faults);
        return None;
    };
    let mut parameter =
        ViewParameter { kind, min: None, max: None, text_bytes: TEXT_BYTES, values: None, default: None };
    for (key, bound) in [("min", &mut parameter.min), ("max", &mut parameter.max)] {
        if key == "max" && kind == ColumnType::Utf8 {
            let bytes = section.whole(key, "", faults);
            parameter.text_bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(TEXT_BYTES);
        } else if section.has(key) && !matches!(kind, ColumnType::Float64 | ColumnType::Int64) {
            section.fault(key, "is for numbers; use values for a choice of texts", faults);
        } else {
            *bound = section.number(key, faults);
        }
    }
    if let (Some(min), Some(max)) = (parameter.min, parameter.max)
        && min > max
    {
        section.fault("max", format!("must be at least min, which is {min}"), faults);
    }
    match section.value("values") {
        None => {}
        Some(Value::Array(values)) if !values.is_empty() => {
            let typed: Vec<Json> =
                values.iter().filter_map(|value| typed(section, "values", value, &parameter, faults)).collect();
            parameter.values = Some(typed);
        }
        Some(_) => section.fault("values", "expected a list of values, such as [\"a\", \"b\"]", faults),
    }
    if let Some(value) = section.value("default") {
        parameter.default = typed(section, "default", value, &parameter, faults);
    }
    Some(parameter)
}

fn typed(section: &Section, key: &str, value: &Value, parameter: &ViewParameter, faults: &mut Faults) -> Option<Json> {
    match parameter.fit(json(value)) {
        Ok(value) => Some(value),
        Err(expected) => {
            section.fault(key, format!("expected {expected}"), faults);
            None
        }
    }
}
