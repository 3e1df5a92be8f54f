//! `rows` of a `[[table]]`: a small table that stands in the pipeline file itself.

use millstream_base::{Faults, Section, json, type_name};
use millstream_stream::schema::{ColumnType, StreamColumn, StreamSchema};
use serde_json::{Map, Value as Json};
use toml::{Table, Value};

use crate::catalogue::GivenRows;

const EXAMPLE: &str = "such as rows = [ { certificate = \"U\", audience = \"children\" } ]";

/// `None`: they are faulty, which is said.
pub(super) fn rows(section: &Section, faults: &mut Faults) -> Option<GivenRows> {
    let rows = match section.value("rows")? {
        Value::Array(rows) if !rows.is_empty() => rows,
        Value::Array(_) => {
            section.fault("rows", format!("must not be empty; write some, {EXAMPLE}"), faults);
            return None;
        }
        other => return section.wrong_type("rows", other, &format!("a list of rows, {EXAMPLE}"), faults),
    };
    let mut columns: Vec<(String, ColumnType)> = Vec::new();
    let mut given = Vec::new();
    let mut sound = true;
    for (index, row) in rows.iter().enumerate() {
        match row {
            Value::Table(row) => given.extend(typed(section, index, row, &mut columns, faults)),
            other => {
                let message = format!("expected a row, {EXAMPLE}, found {}", type_name(other));
                faults.add(section.key(&format!("rows[{}]", index + 1)), None, message);
            }
        }
        sound &= given.len() == index + 1;
    }
    let column = |(name, kind): (String, ColumnType)| StreamColumn::new(name, kind);
    let columns = columns.into_iter().map(column).collect();
    let schema = StreamSchema::new(columns);
    sound.then_some(GivenRows { schema, rows: given })
}

/// The row, and what it tells of the columns. A whole number fits a column of numbers with fractions, and makes itself one.
fn typed(
    section: &Section,
    index: usize,
    row: &Table,
    columns: &mut Vec<(String, ColumnType)>,
    faults: &mut Faults,
) -> Option<Map<String, Json>> {
    let mut sound = true;
    for (name, value) in row {
        let mut fault = |message: String| {
            faults.add(section.key(&format!("rows[{}].{name}", index + 1)), Some(value).filter(is_plain), message);
            sound = false;
        };
        let kind = match value {
            Value::String(_) | Value::Datetime(_) => ColumnType::Utf8,
            Value::Integer(_) => ColumnType::Int64,
            Value::Float(_) => ColumnType::Float64,
            Value::Boolean(_) => ColumnType::Boolean,
            Value::Array(_) | Value::Table(_) => {
                fault(format!("expected a text, a number or true or false, found {}", type_name(value)));
                continue;
            }
        };
        match columns.iter_mut().find(|(known, _)| known == name) {
            None => columns.push((name.clone(), kind)),
            Some((_, known)) if *known == kind => {}
            Some((_, known @ (ColumnType::Int64 | ColumnType::Float64)))
                if matches!(kind, ColumnType::Int64 | ColumnType::Float64) =>
            {
                *known = ColumnType::Float64;
            }
            Some((_, known)) => {
                fault(format!("is {}, and rows before it have {} there; write all alike", kind.name(), known.name()));
            }
        }
    }
    sound.then(|| row.iter().map(|(name, value)| (name.clone(), json(value))).collect())
}

fn is_plain(value: &&Value) -> bool {
    !matches!(value, Value::Array(_) | Value::Table(_))
}
