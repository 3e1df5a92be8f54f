//! From the text of a request to rows of typed values: query strings and JSON bodies. Knows no model.

use std::borrow::Cow;
use std::collections::HashSet;

use millstream_stream::schema::ColumnType;
use millstream_untrusted::json::{self, JsonFault};
use millstream_untrusted::query_string;
pub use millstream_untrusted::{ROWS_MAX, VALUES_MAX};
use serde_json::{Map, Number, Value};

use super::error::{ApiError, quote};

pub type Row = Map<String, Value>;

/// `a=1&b=x%20y`, decoded once, each name once.
pub fn parse_query(query: &str) -> Result<Vec<(String, String)>, ApiError> {
    let pairs = parse_pairs(query)?;
    let mut names = HashSet::with_capacity(pairs.len());
    match pairs.iter().find(|(name, _)| !names.insert(name.as_str())) {
        Some((name, _)) => Err(repeated(name)),
        None => Ok(pairs),
    }
}

/// As `parse_query`, and a name may be given more than once.
pub fn parse_pairs(query: &str) -> Result<Vec<(String, String)>, ApiError> {
    query_string::pairs(query).map_err(|error| ApiError::bad_request(error.to_string()))
}

pub fn repeated(name: &str) -> ApiError {
    ApiError::value("repeated", name, format!("{name}: given more than once"))
}

/// Percent-decoding, once.
pub fn decode(text: &str) -> Result<Cow<'_, str>, ApiError> {
    query_string::decode(text).map_err(|error| ApiError::bad_request(error.to_string()))
}

/// A value from the text of a URL, by the column's type. `None`: empty text is null, as in the source.
pub fn parse_text(field: &str, text: &str, kind: ColumnType) -> Result<Option<Value>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let value = match kind {
        ColumnType::Utf8 => Some(Value::from(text)),
        ColumnType::Int64 => text.parse::<i64>().ok().map(Value::from),
        // As it is written: a whole number is said again without a fraction.
        ColumnType::Float64 => {
            let float = || text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number);
            text.parse::<i64>().ok().map(Value::from).or_else(float)
        }
        ColumnType::Boolean => match text {
            "true" | "True" | "TRUE" => Some(Value::Bool(true)),
            "false" | "False" | "FALSE" => Some(Value::Bool(false)),
            _ => None,
        },
    };
    let fault =
        || ApiError::value("bad_value", field, format!("{field}: expected {}, got {}", expected(kind), quote(text)));
    value.ok_or_else(fault).map(Some)
}

/// A count of a query, at most `most` where there is a bound.
pub fn parse_count(name: &str, text: &str, most: Option<usize>) -> Result<usize, ApiError> {
    let number = text.parse().ok().filter(|number| most.is_none_or(|most| *number <= most));
    number.ok_or_else(|| {
        let bound = most.map_or_else(String::new, |most| format!(" to {most}"));
        ApiError::value("bad_value", name, format!("{name}: expected a whole number from 0{bound}"))
    })
}

/// What a value of this type looks like, for a message.
pub fn expected(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Float64 => "a finite number (float64)",
        ColumnType::Int64 => "a whole number (int64)",
        ColumnType::Utf8 => "text (utf8)",
        ColumnType::Boolean => "true or false (boolean)",
    }
}

/// What was posted.
#[derive(Debug, Clone, PartialEq)]
pub enum Posted {
    One(Row),
    /// Answered as a list.
    Many(Vec<Row>),
}

/// Reads a JSON body: an object, or a list of them.
pub fn parse_body(body: &[u8]) -> Result<Posted, ApiError> {
    posted(parse_json(body)?)
}

/// What a body is when it holds rows.
pub fn posted(value: Value) -> Result<Posted, ApiError> {
    match value {
        Value::Object(row) => Ok(Posted::One(row)),
        Value::Array(values) => Ok(Posted::Many(rows_of(values, None)?)),
        other => Err(ApiError::shape(format!("the body must be an object or a list of objects, not {}", noun(&other)))),
    }
}

/// The rows of `{"rows": […]}`, unless `is_column`: there is a column of that name.
pub fn listed(posted: Posted, is_column: bool) -> Result<Posted, ApiError> {
    match posted {
        Posted::One(mut row) if row.len() == 1 && !is_column => match row.remove("rows") {
            Some(Value::Array(values)) => Ok(Posted::Many(rows_of(values, Some("rows"))?)),
            Some(other) => {
                let message = format!("rows: expected a list of objects, got {}", noun(&other));
                Err(ApiError::value("bad_value", "rows", message))
            }
            None => Ok(Posted::One(row)),
        },
        other => Ok(other),
    }
}

/// The columns that a row's names speak of.
pub trait RowNames {
    /// Whether there is a column within an object of this name, such as `after.id` in `after`.
    fn has_within(&self, object: &str) -> bool;
    /// The column that the source calls so, where the stream calls it otherwise.
    fn renamed(&self, source_name: &str) -> Option<&str>;
}

/// A row by the columns of the stream: what is in its objects by their paths, as `schema.flatten` reads them, and by the stream's name
/// what the source calls otherwise.
pub fn by_columns(row: Row, names: &impl RowNames) -> Result<Row, ApiError> {
    let is_plain = |(name, value): (&String, &Value)| {
        names.renamed(name).is_none() && !((value.is_object() || value.is_null()) && names.has_within(name))
    };
    if row.iter().all(is_plain) {
        return Ok(row);
    }
    let mut flat = Row::new();
    for (name, value) in row {
        let name = names.renamed(&name).map(str::to_owned).unwrap_or(name);
        flatten(name, value, names, &mut flat)?;
    }
    Ok(flat)
}

/// A path grows only as long as a column lies within it.
fn flatten(path: String, value: Value, names: &impl RowNames, flat: &mut Row) -> Result<(), ApiError> {
    match value {
        Value::Object(inner) if !inner.is_empty() && names.has_within(&path) => {
            inner.into_iter().try_for_each(|(name, value)| flatten(format!("{path}.{name}"), value, names, flat))
        }
        // An object that is null has nothing in it.
        Value::Null if names.has_within(&path) => Ok(()),
        _ if flat.contains_key(&path) => Err(repeated(&path)),
        value => {
            flat.insert(path, value);
            Ok(())
        }
    }
}

/// The elements of a posted list, each of which must be an object.
pub fn rows_of(values: Vec<Value>, field: Option<&str>) -> Result<Vec<Row>, ApiError> {
    if values.len() > ROWS_MAX {
        return Err(ApiError::too_large(format!("{} rows in one request: at most {ROWS_MAX}", values.len())));
    }
    let row_of = |(index, value): (usize, Value)| match value {
        Value::Object(row) => Ok(row),
        other => {
            let message = format!("row {index}: expected an object, got {}", noun(&other));
            Err(ApiError { field: field.map(str::to_owned), ..ApiError::shape(message) })
        }
    };
    values.into_iter().enumerate().map(row_of).collect()
}

pub fn noun(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

pub fn parse_json(body: &[u8]) -> Result<Value, ApiError> {
    json::read(body, VALUES_MAX).map_err(json_error)
}

/// What a client is told of a body that is no JSON of ours.
pub fn json_error(fault: JsonFault) -> ApiError {
    match fault {
        JsonFault::Empty => ApiError::not_json("the body is empty: expected a JSON object or a list of objects"),
        JsonFault::TooMany { most } => ApiError::too_large(format!("more than {most} values in one body")),
        JsonFault::Repeated { name } => repeated(&name),
        JsonFault::OutOfRange { field } => {
            let message = format!("{field}: expected a finite number, got one beyond the range of float64");
            ApiError::value("bad_value", &field, message)
        }
        JsonFault::Syntax { source } => {
            let hint = if source.is_syntax() {
                " (JSON knows no NaN, Infinity, single quotes or trailing commas)"
            } else {
                ""
            };
            ApiError::not_json(format!("the body is not JSON: {source}{hint}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Stream;

    impl RowNames for Stream {
        fn has_within(&self, object: &str) -> bool {
            ["after", "after.at"].contains(&object)
        }

        fn renamed(&self, source_name: &str) -> Option<&str> {
            (source_name == "_time").then_some("source_time")
        }
    }

    #[test]
    fn names_of_rows_are_those_of_columns() {
        let check = |row: Value, expected: Value| {
            let Value::Object(row) = row else { panic!("{row}") };
            let found = by_columns(row, &Stream).map_err(|error| error.field.unwrap());
            assert_eq!(found.map_or_else(Value::from, Value::Object), expected);
        };
        check(json!({"a": 1, "b": {"c": 1}, "d": null}), json!({"a": 1, "b": {"c": 1}, "d": null}));
        check(
            json!({"_time": 1, "after": {"id": 7, "at": {"x": [1]}, "t": {}}}),
            json!({"source_time": 1, "after.id": 7, "after.at.x": [1], "after.t": {}}),
        );
        check(json!({"after": null, "a": 1}), json!({"a": 1}));
        check(json!({"after": {"at": {"deep": {"er": 1}}}}), json!({"after.at.deep": {"er": 1}}));
        check(json!({"after": {"id": 1}, "after.id": 2}), json!("after.id"));
        check(json!({"_time": 1, "source_time": 2}), json!("source_time"));
    }
}
