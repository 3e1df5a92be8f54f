//! One record's value taken apart: a JSON object, or a csv line by position in the source columns.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

use super::Encoding;
use super::csv_text::{CsvFields, without_line_end};
use super::payload::key_prefix;
use super::time::TimeReader;
use super::value::{Misfit, Value, from_csv, from_json};
use crate::schema::{Dialect, StreamColumn, StreamSchema};

/// How values are taken apart, and what their texts mean.
pub struct Form {
    framing: Framing,
    dialect: Dialect,
    times: TimeReader,
}

enum Framing {
    /// What comes before each value in a record that our own `replay` wrote.
    Json {
        prefixes: Vec<Vec<u8>>,
    },
    Csv(CsvFields),
}

impl Form {
    pub fn new(encoding: Encoding, schema: &StreamSchema) -> Self {
        let framing = match encoding {
            Encoding::Json => {
                let prefixes = schema.columns.iter().enumerate().map(|(i, column)| key_prefix(i, &column.name));
                Framing::Json { prefixes: prefixes.collect() }
            }
            Encoding::Csv => Framing::Csv(CsvFields::default()),
        };
        Self { framing, dialect: schema.dialect, times: TimeReader::of(schema) }
    }

    /// A value for each of the columns, each of its type.
    #[inline]
    pub fn values<'a>(&'a mut self, value: &'a [u8], columns: &[StreamColumn]) -> Result<Vec<Value<'a>>, Misfit> {
        let dialect = self.dialect;
        match &mut self.framing {
            Framing::Json { prefixes } => match ours(value, prefixes, columns, dialect) {
                Some(values) => values,
                None => any_object(value, columns, dialect),
            },
            Framing::Csv(fields) => {
                split(fields, value, columns.len())?;
                let fields = &*fields;
                columns.iter().enumerate().map(|(i, column)| from_csv(fields.get(i), column, dialect)).collect()
            }
        }
    }

    /// The event time in one column, the others only passed over.
    pub fn time_of(&mut self, value: &[u8], columns: &[StreamColumn], index: usize) -> Option<i64> {
        let (column, dialect) = (columns.get(index)?, self.dialect);
        let value = match &mut self.framing {
            Framing::Json { prefixes } => {
                let mut rest = value;
                let passed = prefixes[..=index].iter().try_fold(None, |_, prefix| {
                    let token;
                    (token, rest) = next_token(rest, prefix)?;
                    Some(Some(token))
                });
                match passed.flatten() {
                    Some(token) => from_json(token, column, dialect).ok()?,
                    None => {
                        let object = object(value).ok()?;
                        from_json(object.get(column.name.as_str())?.get().as_bytes(), column, dialect).ok()?
                    }
                }
            }
            Framing::Csv(fields) => {
                split(fields, value, columns.len()).ok()?;
                from_csv(fields.get(index), column, dialect).ok()?
            }
        };
        self.times.read(&value)
    }
}

/// Takes a csv value apart into as many fields as there are columns.
#[inline]
fn split(fields: &mut CsvFields, value: &[u8], expected: usize) -> Result<(), Misfit> {
    let misfit = |reason: String| Misfit { reason, inferred_column: None };
    fields.split(without_line_end(value)).map_err(|reason| misfit(format!("not a csv record: {reason}")))?;
    if fields.count() == expected {
        return Ok(());
    }
    Err(misfit(format!("{} fields, expected {expected}", fields.count())))
}

/// A record as `RowEncoder` writes it: the columns in order, no white space. `None`: it is not of that form.
#[inline]
fn ours<'a>(
    value: &'a [u8],
    prefixes: &[Vec<u8>],
    columns: &[StreamColumn],
    dialect: Dialect,
) -> Option<Result<Vec<Value<'a>>, Misfit>> {
    let mut rest = value;
    let mut values = Vec::with_capacity(columns.len());
    for (prefix, column) in prefixes.iter().zip(columns) {
        let token;
        (token, rest) = next_token(rest, prefix)?;
        match from_json(token, column, dialect) {
            Ok(value) => values.push(value),
            Err(misfit) => return Some(Err(misfit)),
        }
    }
    (rest == b"}").then_some(Ok(values))
}

/// The token after its column's prefix, and what follows it.
#[inline]
fn next_token<'a>(rest: &'a [u8], prefix: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let rest = rest.strip_prefix(prefix)?;
    Some(rest.split_at(token_length(rest)?))
}

/// Any JSON object: columns by name, absent ones null.
fn any_object<'a>(value: &'a [u8], columns: &[StreamColumn], dialect: Dialect) -> Result<Vec<Value<'a>>, Misfit> {
    let fields = object(value)?;
    columns
        .iter()
        .map(|column| match fields.get(column.name.as_str()) {
            Some(token) => from_json(token.get().as_bytes(), column, dialect),
            None => Ok(Value::Null),
        })
        .collect()
}

fn object(value: &[u8]) -> Result<HashMap<Cow<'_, str>, &RawValue>, Misfit> {
    let misfit = |error| Misfit { reason: format!("not a JSON object: {error}"), inferred_column: None };
    serde_json::from_slice(value).map_err(misfit)
}

/// The length of the JSON scalar at the start.
#[inline]
fn token_length(rest: &[u8]) -> Option<usize> {
    if rest.first()? != &b'"' {
        let end = rest.iter().position(|byte| matches!(byte, b',' | b'}'))?;
        // `{` and `[` are no scalars: the general path reads them.
        return (!matches!(rest[0], b'{' | b'[' | b' ')).then_some(end);
    }
    let mut i = 1;
    loop {
        match rest.get(i)? {
            b'"' => return Some(i + 1),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
}
