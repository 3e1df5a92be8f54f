//! One field of a record as a column's type, and as an event time. Pure.

use std::borrow::Cow;

use super::instant::write_instant;
use super::mend::mended;
use super::number::{NumberText, finite, json_number, number_text};
use super::time::TimeReader;
use crate::schema::{Bad, ColumnType, Dialect, StreamColumn};

/// Why a record is a reject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    pub reason: String,
    /// The column whose inferred type it breaks: the schema is to be pinned.
    pub inferred_column: Option<String>,
}

/// One column's value, before the whole record is known to fit.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Null,
    Float64(f64),
    Int64(i64),
    Utf8(Cow<'a, str>),
    Boolean(bool),
}

/// A JSON token as the column's type. `is_mended` becomes true where it was no JSON before.
#[inline]
pub fn from_json<'a>(
    token: &'a [u8],
    column: &StreamColumn,
    dialect: Dialect,
    is_mended: &mut bool,
) -> Result<Value<'a>, Misfit> {
    let text = match token {
        b"null" => return Ok(Value::Null),
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => std::str::from_utf8(inner).ok().map(Cow::Borrowed),
        [b'"', ..] => {
            serde_json::from_slice(token).ok().or_else(|| mended_text(token, dialect, is_mended)).map(Cow::Owned)
        }
        _ => std::str::from_utf8(token).ok().map(Cow::Borrowed),
    };
    from_text(text, token, column, dialect)
}

/// A text with half a surrogate pair.
#[cold]
fn mended_text(token: &[u8], dialect: Dialect, is_mended: &mut bool) -> Option<String> {
    match dialect {
        Dialect::First => None,
        Dialect::Second => {
            let text = serde_json::from_slice(&mended(token)?).ok();
            *is_mended |= text.is_some();
            text
        }
    }
}

/// A csv field as the column's type.
#[inline]
pub fn from_csv<'a>(field: Option<&'a [u8]>, column: &StreamColumn, dialect: Dialect) -> Result<Value<'a>, Misfit> {
    match field {
        None => Ok(Value::Null),
        Some(field) => from_text(std::str::from_utf8(field).ok().map(Cow::Borrowed), field, column, dialect),
    }
}

/// `text`: `None` when it is not UTF-8; `raw`: what a reason shows.
#[inline]
fn from_text<'a>(
    text: Option<Cow<'a, str>>,
    raw: &[u8],
    column: &StreamColumn,
    dialect: Dialect,
) -> Result<Value<'a>, Misfit> {
    match text.and_then(|text| of_type(text, column, dialect)) {
        Some(value) => Ok(value),
        None if column.bad == Bad::Null => Ok(Value::Null),
        None => Err(not_of_type(raw, column)),
    }
}

#[cold]
fn not_of_type(raw: &[u8], column: &StreamColumn) -> Misfit {
    let shown: String = String::from_utf8_lossy(raw).chars().take(60).collect();
    Misfit {
        reason: format!("column {:?} holds {shown}, expected {}", column.name, column.kind.name()),
        inferred_column: column.inferred.then(|| column.name.clone()),
    }
}

#[inline]
fn of_type<'a>(text: Cow<'a, str>, column: &StreamColumn, dialect: Dialect) -> Option<Value<'a>> {
    let first = text.as_bytes().first();
    // The first byte tells most texts apart: a list of markers costs a column of numbers next to nothing.
    if column.null.iter().any(|null| null.as_bytes().first() == first && *null == text) {
        return Some(Value::Null);
    }
    match (column.kind, dialect) {
        (ColumnType::Utf8, _) => Some(Value::Utf8(text)),
        (ColumnType::Boolean, _) => boolean(&text).map(Value::Boolean),
        (ColumnType::Float64, Dialect::First) => json_number(&text).map(Value::Float64),
        (ColumnType::Int64, Dialect::First) => {
            text.parse().ok().or_else(|| json_number(&text).and_then(exact_integer)).map(Value::Int64)
        }
        (ColumnType::Float64, Dialect::Second) => match json_number(&text) {
            Some(number) => Some(Value::Float64(number)),
            None => as_people_write(&text, column, |text| finite(text).map(Value::Float64)),
        },
        (ColumnType::Int64, Dialect::Second) => match plain_integer(&text) {
            Some(integer) => Some(Value::Int64(integer)),
            None => as_people_write(&text, column, |text| integer(text).map(Value::Int64)),
        },
    }
}

/// A number that no one calls a code.
#[inline]
fn plain_integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = matches!(digits.as_bytes(), [b'0'] | [b'1'..=b'9', ..]);
    if is_plain { text.parse().ok() } else { None }
}

/// What is a code in a column that was found to be of numbers is a number where the user says that it is one.
#[cold]
fn as_people_write(
    text: &str,
    column: &StreamColumn,
    read: impl Fn(&str) -> Option<Value<'static>>,
) -> Option<Value<'static>> {
    match number_text(text) {
        NumberText::Number { text, .. } => read(text),
        NumberText::Code(text) if !column.inferred => read(text),
        NumberText::NotFinite => Some(Value::Null),
        NumberText::Code(_) | NumberText::Other => None,
    }
}

/// Whole, however it is written.
pub fn integer(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| finite(text).and_then(exact_integer))
}

pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "1" => Some(true),
        "false" | "False" | "FALSE" | "0" => Some(false),
        _ => None,
    }
}

/// `3.0` and `1e3` are integers.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and below 2^53")]
pub fn exact_integer(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0).then_some(number as i64)
}

/// The event time of a value, or why its record is a reject.
#[inline]
pub fn checked_time(times: &TimeReader, value: &Value, column: &str, latest_ms: i64) -> Result<i64, Misfit> {
    match times.read(value) {
        Some(time_ms) if time_ms <= latest_ms => Ok(time_ms),
        found => Err(no_time(found, value, column)),
    }
}

/// `found`: a time that lies too far ahead.
#[cold]
fn no_time(found: Option<i64>, value: &Value, column: &str) -> Misfit {
    let shown = match (found, value) {
        (Some(time_ms), _) => {
            let mut text = Vec::new();
            write_instant(time_ms, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        }
        (None, Value::Null) => "null".to_owned(),
        (None, Value::Float64(number)) => number.to_string(),
        (None, Value::Int64(number)) => number.to_string(),
        (None, Value::Utf8(text)) => format!("{:?}", text.chars().take(60).collect::<String>()),
        (None, Value::Boolean(value)) => value.to_string(),
    };
    let fault = match found {
        Some(_) => "further ahead of the clock than schema.ahead (a day, unless it is given; \"any\" takes every time)",
        None => "no time",
    };
    Misfit { reason: format!("column {column:?} holds {shown}, which is {fault}"), inferred_column: None }
}
