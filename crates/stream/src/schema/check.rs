//! `[schema]` as the pipeline file has it.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_base::{Faults, Keys, Section, Takes, did_you_mean, duration};
use toml::{Table, Value};

use super::{
    Ahead, Bad, ColumnRule, ColumnType, EpochUnit, OFFSET_COLUMN, PARTITION_COLUMN, SchemaRules, TIME_COLUMN, TimeForm,
};

pub const SCHEMA: Keys = Keys {
    known: &[
        ("time", Takes::Text),
        ("time_format", Takes::Text),
        ("time_unit", Takes::Choice(&["s", "ms", "us", "ns", "days", "serial"])),
        ("null", Takes::Texts),
        ("ahead", Takes::Text),
        ("flatten", Takes::Flag),
        ("columns", Takes::Named(&COLUMN)),
    ],
    later: &[],
};

pub const COLUMN: Keys = Keys {
    known: &[
        ("type", Takes::Choice(&ColumnType::NAMES)),
        ("null", Takes::Texts),
        ("from", Takes::Text),
        ("bad", Takes::Choice(&["reject", "null"])),
    ],
    later: &[],
};

pub fn rules(root: &Table, faults: &mut Faults) -> SchemaRules {
    let section = Section::of_root(root, "schema", &SCHEMA, faults);
    let time = section.filled_text("time", faults).map(str::to_owned);
    let time_form = time_form(&section, time.is_some(), faults);
    let null = section.texts("null", faults);
    let ahead = ahead(&section, faults).unwrap_or_default();
    let flatten = section.flag("flatten", faults).unwrap_or_default();
    let mut columns = BTreeMap::new();
    for (name, value) in section.table("columns", faults).into_iter().flatten() {
        let key = format!("schema.columns.{name}");
        if [PARTITION_COLUMN, OFFSET_COLUMN, TIME_COLUMN].contains(&name.as_str()) {
            let message = format!(
                "is a column that Millstream adds itself; remove it; the source's own is kept as `source{name}`"
            );
            faults.add(key.as_str(), None, message);
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
    // What the models call ids and times is added once they are read.
    SchemaRules { time, time_form, null, columns, ahead, flatten, ..SchemaRules::default() }
}

/// Clocks differ by seconds.
const AHEAD_LEAST: Duration = Duration::from_secs(60);

fn ahead(section: &Section, faults: &mut Faults) -> Option<Ahead> {
    let text = section.filled_text("ahead", faults)?;
    if text == "any" {
        return Some(Ahead(None));
    }
    match duration(text) {
        Ok(length) if length >= AHEAD_LEAST => return Some(Ahead(u64::try_from(length.as_millis()).ok())),
        Ok(_) => section.fault("ahead", "must be at least 1m: clocks differ; \"any\" takes every time", faults),
        Err(message) => section.fault("ahead", format!("{message}; \"any\" takes every time"), faults),
    }
    None
}

fn time_form(section: &Section, has_time: bool, faults: &mut Faults) -> TimeForm {
    let format = section.filled_text("time_format", faults).map(str::to_owned);
    if format.as_deref().is_some_and(|format| !TimeForm::is_format(format)) {
        section.fault(
            "time_format",
            "is no format of times; write one such as \"%d/%m/%Y %H:%M\" (%Y year, %m month, %d day, %H hour, %M minute, %S second)",
            faults,
        );
    }
    let unit = section.choice("time_unit", &EpochUnit::ALL, faults);
    if format.is_some() && unit.is_some() {
        section.fault("time_unit", "is for numbers, and schema.time_format for texts: keep one of them", faults);
    }
    for key in ["time_format", "time_unit"] {
        if !has_time && section.has(key) {
            section.fault(key, "says how schema.time is written: name that column", faults);
        }
    }
    TimeForm { format, unit }
}

fn column(key: &str, value: &Value, faults: &mut Faults) -> Option<ColumnRule> {
    match value {
        Value::String(text) => {
            let kind = Some(column_type(key, text, faults)?);
            Some(ColumnRule { kind, null: None, from: None, bad: Bad::Reject })
        }
        Value::Table(table) => {
            let section = Section::new(key, Some(table), &COLUMN, faults);
            if table.is_empty() {
                faults.add(key, None, "says nothing; give it a type or null, or remove it");
            }
            let given = section.text("type", faults);
            let kind = given.and_then(|text| column_type(&section.key("type"), text, faults));
            let from = section.filled_text("from", faults).map(str::to_owned);
            if from.is_some() && !section.has("type") {
                faults.add(section.key("type"), None, "missing; a column made by `from` needs its type");
            }
            if from.is_some() && section.has("null") {
                section.fault(
                    "null",
                    "belongs to a column of the source; name null texts there or use nullif(…)",
                    faults,
                );
            }
            let bad = section.choice("bad", &[("reject", Bad::Reject), ("null", Bad::Null)], faults);
            let null = section.texts("null", faults);
            Some(ColumnRule { kind, null, from, bad: bad.unwrap_or_default() })
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
