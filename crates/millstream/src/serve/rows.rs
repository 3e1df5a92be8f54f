//! From the text of a request to rows of typed values: query strings and JSON bodies. Knows no model.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use percent_encoding::percent_decode_str;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::error::{ApiError, quote};
use crate::schema::ColumnType;

pub type Row = Map<String, Value>;

/// Rows of one request.
pub const ROWS_MAX: usize = 100_000;
/// Values of one body: with about 130 bytes each, 130 MB, whatever the text looks like.
const VALUES_MAX: usize = 1_000_000;

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
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode_query(name)?, decode_query(text)?))
    });
    decoded.collect()
}

pub fn repeated(name: &str) -> ApiError {
    ApiError::value("repeated", name, format!("{name}: given more than once"))
}

fn decode_query(text: &str) -> Result<String, ApiError> {
    decode(&text.replace('+', " "))
}

/// Percent-decoding, once.
pub fn decode(text: &str) -> Result<String, ApiError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(|text| text.into_owned())
        .map_err(|_| ApiError::bad_request("the URL is not UTF-8 once percent-decoded"))
}

/// A value from the text of a URL, by the column's type. `None`: empty text is null, as in the source.
pub fn parse_text(field: &str, text: &str, kind: ColumnType) -> Result<Option<Value>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let value = match kind {
        ColumnType::Utf8 => Some(Value::from(text)),
        ColumnType::Int64 => text.parse::<i64>().ok().map(Value::from),
        ColumnType::Float64 => text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number),
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
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::not_json("the body is empty: expected a JSON object or a list of objects"));
    }
    let reading = Reading { values: Cell::new(0), field: RefCell::default(), fault: RefCell::default() };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = Node(&reading).deserialize(&mut deserializer);
    let read = read.and_then(|value| deserializer.end().map(|()| value));
    read.map_err(|error| reading.fault.take().unwrap_or_else(|| json_fault(&error, &reading)))
}

fn json_fault(error: &serde_json::Error, reading: &Reading) -> ApiError {
    // serde_json has no kind of its own for a number that is good JSON and too large for a float64, such as 1e999.
    if error.to_string().starts_with("number out of range") {
        let field = reading.field.borrow().clone();
        let message = format!("{field}: expected a finite number, got one beyond the range of float64");
        return ApiError::value("bad_value", field, message);
    }
    let hint = if error.is_syntax() { " (JSON knows no NaN, Infinity, single quotes or trailing commas)" } else { "" };
    ApiError::not_json(format!("the body is not JSON: {error}{hint}"))
}

/// State of one read: how many values so far, the key last seen, and our own fault if there is one.
struct Reading {
    values: Cell<usize>,
    field: RefCell<String>,
    fault: RefCell<Option<ApiError>>,
}

impl Reading {
    fn count<E: serde::de::Error>(&self) -> Result<(), E> {
        self.values.set(self.values.get() + 1);
        if self.values.get() > VALUES_MAX {
            return Err(self.fail(ApiError::too_large(format!("more than {VALUES_MAX} values in one body"))));
        }
        Ok(())
    }

    fn fail<E: serde::de::Error>(&self, fault: ApiError) -> E {
        let error = E::custom(&fault.message);
        self.fault.replace(Some(fault));
        error
    }
}

/// Builds a [`Value`] with a bound on the number of values; a key given twice is a fault, not the last one's win.
#[derive(Clone, Copy)]
struct Node<'a>(&'a Reading);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut row = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if row.contains_key(&key) {
                return Err(self.0.fail(ApiError::value("repeated", &key, format!("{key}: given more than once"))));
            }
            self.0.field.borrow_mut().clone_from(&key);
            let value = entries.next_value_seed(self)?;
            row.insert(key, value);
        }
        Ok(Value::Object(row))
    }
}
