//! `[source]` and `[schema]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::{Table, Value};

use super::check::later_choice;
use super::fault::{Faults, did_you_mean};
use super::raw::{Keys, Section};
use super::{ColumnRule, CsvFormat, Pace, SchemaRules, Source, duration};
use crate::schema::{ColumnType, OFFSET_COLUMN, PARTITION_COLUMN, TIME_COLUMN};

pub(super) const SOURCE: Keys = Keys {
    known: &["path", "delay", "rate", "seed", "separator", "quote", "header", "encoding"],
    later: &[
        ("speed", "set the pace with source.delay or source.rate"),
        ("key", "without it, row i goes to partition i mod partitions"),
        ("order_by", "sort the file beforehand"),
    ],
};

pub(super) const SCHEMA: Keys = Keys { known: &["time", "null", "columns"], later: &[] };

pub(super) const COLUMN: Keys = Keys {
    known: &["type", "null"],
    later: &[
        ("from", "clean the column in the file beforehand, or use an expression among a model's features"),
        ("bad", "a record that does not fit is kept as a reject; remove it"),
    ],
};

const DEFAULT_SEED: u64 = 1;
/// File name endings of formats that later releases read.
const LATER_FORMATS: [&str; 10] =
    [".jsonl", ".json", ".ndjson", ".parquet", ".gz", ".zst", ".bz2", ".xz", ".zip", ".xlsx"];

pub(super) fn source(root: &Table, faults: &mut Faults) -> Option<Source> {
    let section = Section::of_root(root, "source", &SOURCE, faults);
    let path = path(&section, faults);
    let pace = pace(&section, faults);
    later_choice(&section, "encoding", "utf-8", &[], "save the file as UTF-8 (iconv does it) and remove this", faults);
    let csv = csv_format(&section, faults);
    let seed = seed(&section, DEFAULT_SEED, faults);
    Some(Source { path: path?, pace, csv, seed })
}

fn path(section: &Section, faults: &mut Faults) -> Option<PathBuf> {
    let path =
        section.required_text("path", "name the csv file to replay, such as path = \"data/rows.csv\"", faults)?;
    let lower = path.to_lowercase();
    let refused = match lower.as_str() {
        "-" => Some("standard input is not yet read in this version; write it to a csv file first".to_owned()),
        _ if lower.contains("://") => Some("URLs are not yet read in this version; download the file first".to_owned()),
        _ => LATER_FORMATS
            .iter()
            .find(|ending| lower.ends_with(*ending))
            .map(|ending| format!("`{ending}` files are not yet read in this version; turn it into a plain csv file")),
    };
    match refused {
        None => Some(PathBuf::from(path)),
        Some(message) => {
            section.fault("path", message, faults);
            None
        }
    }
}

fn pace(section: &Section, faults: &mut Faults) -> Pace {
    if section.has("delay") && section.has("rate") {
        faults.add("source", None, "has both delay and rate; keep one of them");
    }
    let delay = section.text("delay", faults).map(duration::delay);
    if let Some(Err(message)) = &delay {
        section.fault("delay", format!("{message}; a range is \"0ms..5ms\""), faults);
    }
    let rate = section.number("rate", faults);
    if rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
        section.fault("rate", "must be above 0 rows per second; for full speed, remove it", faults);
    }
    match (delay, rate) {
        (_, Some(rate)) => Pace::Rate(rate),
        (Some(Ok(pace)), None) => pace,
        (Some(Err(_)) | None, None) => Pace::FullSpeed,
    }
}

fn csv_format(section: &Section, faults: &mut Faults) -> CsvFormat {
    let separator = one_byte(section, "separator", b',', faults);
    let quote = one_byte(section, "quote", b'"', faults);
    if separator == quote {
        section.fault("separator", "must differ from source.quote", faults);
    }
    CsvFormat { separator, quote, header: section.flag("header", faults).unwrap_or(true) }
}

fn one_byte(section: &Section, key: &str, default: u8, faults: &mut Faults) -> u8 {
    let Some(text) = section.text(key, faults) else { return default };
    match text.as_bytes() {
        [byte] if *byte != b'\n' && *byte != b'\r' && *byte != 0 => *byte,
        _ => {
            section.fault(key, "must be one ASCII character, such as \";\" or \"\\t\"", faults);
            default
        }
    }
}

/// A `seed` key.
pub(super) fn seed(section: &Section, default: u64, faults: &mut Faults) -> u64 {
    let seed = section.whole("seed", 0, i64::MAX, "", faults);
    seed.and_then(|seed| u64::try_from(seed).ok()).unwrap_or(default)
}

pub(super) fn schema(root: &Table, faults: &mut Faults) -> SchemaRules {
    let section = Section::of_root(root, "schema", &SCHEMA, faults);
    let time = section.filled_text("time", faults).map(str::to_owned);
    let null = section.texts("null", faults).unwrap_or_default();
    let mut columns = BTreeMap::new();
    for (name, value) in section.table("columns", faults).into_iter().flatten() {
        let key = format!("schema.columns.{name}");
        if [PARTITION_COLUMN, OFFSET_COLUMN, TIME_COLUMN].contains(&name.as_str()) {
            faults.add(key.as_str(), None, "is a column that Millstream adds itself; remove it");
        }
        if let Some(rule) = column(&key, value, faults) {
            columns.insert(name.clone(), rule);
        }
    }
    if let Some(time) = &time
        && columns.get(time).and_then(|rule: &ColumnRule| rule.kind) == Some(ColumnType::Boolean)
    {
        section.fault("time", "is pinned as boolean below; a time is a number or text", faults);
    }
    SchemaRules { time, null, columns }
}

fn column(key: &str, value: &Value, faults: &mut Faults) -> Option<ColumnRule> {
    match value {
        Value::String(text) => Some(ColumnRule { kind: Some(column_type(key, text, faults)?), null: None }),
        Value::Table(table) => {
            let section = Section::new(key, Some(table), &COLUMN, faults);
            if table.is_empty() {
                faults.add(key, None, "says nothing; give it a type or null, or remove it");
            }
            let given = section.text("type", faults);
            let kind = given.and_then(|text| column_type(&section.key("type"), text, faults));
            Some(ColumnRule { kind, null: section.texts("null", faults) })
        }
        other => {
            faults.add(
                key,
                Some(other),
                "expected a type, such as \"float64\", or { type = \"float64\", null = [\"-\"] }",
            );
            None
        }
    }
}

fn column_type(key: &str, text: &str, faults: &mut Faults) -> Option<ColumnType> {
    let kind = ColumnType::from_name(text);
    if kind.is_none() {
        let hint = did_you_mean(text, ColumnType::NAMES);
        faults.add_text(key, text, format!("no such type{hint}"));
    }
    kind
}
