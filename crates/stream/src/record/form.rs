//! One record's value taken apart: a JSON object, or a csv line by position in the source columns.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::value::RawValue;

use super::Encoding;
use super::csv_text::{CsvFields, without_line_end};
use super::mend::mended;
use super::object::{Member, flattened, object_members};
use super::payload::key_prefix;
use super::time::TimeReader;
use super::value::{Misfit, Value, from_csv, from_json};
use crate::schema::{ColumnType, Dialect, StreamColumn, StreamSchema};

/// A serialiser of a schema registry writes a zero byte and the schema's id, four bytes, before the value.
const FRAME_BYTES: usize = 5;
/// Of keys that are no columns.
const NEW_KEYS_MOST: usize = 100;
/// Of a longer one nobody makes a column.
const NEW_KEY_BYTES_MOST: usize = 256;

/// How values are taken apart, and what their texts mean.
pub struct Form {
    framing: Framing,
    dialect: Dialect,
    flatten: bool,
    times: TimeReader,
    /// The last row holds what JSON does not know.
    is_mended: bool,
}

enum Framing {
    Json {
        /// What comes before each value in a record that our own `replay` wrote.
        prefixes: Vec<Vec<u8>>,
        keys: Keys,
        /// The value that was mended last.
        mended: Vec<u8>,
    },
    Csv(CsvFields),
}

/// A key of the values that is no column, with what it held first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    pub name: String,
    /// Of a column that would take it.
    pub kind: ColumnType,
}

/// The keys of objects: the columns, and others as they come.
pub struct Keys {
    known: HashSet<String>,
    most: usize,
    new: Vec<NewKey>,
}

impl Keys {
    fn new(columns: &[StreamColumn]) -> Self {
        let known = columns.iter().map(|column| column.key().to_owned());
        Self { known: known.collect(), most: columns.len() + NEW_KEYS_MOST, new: Vec::new() }
    }

    /// Notes the keys of an object that were not seen before and hold something.
    #[cold]
    fn note(&mut self, fields: &Object) {
        for (name, token) in fields {
            if self.known.len() >= self.most {
                return;
            }
            let kind = match token.get().as_bytes() {
                [b'n', ..] => continue,
                [b't' | b'f', ..] => ColumnType::Boolean,
                [b'-' | b'0'..=b'9', ..] => ColumnType::Float64,
                _ => ColumnType::Utf8,
            };
            if name.len() <= NEW_KEY_BYTES_MOST && !self.known.contains(name.as_ref()) {
                self.known.insert(name.as_ref().to_owned());
                self.new.push(NewKey { name: name.as_ref().to_owned(), kind });
            }
        }
    }
}

impl Form {
    pub fn new(schema: &StreamSchema, encoding: Encoding) -> Self {
        let framing = match encoding {
            Encoding::Json => {
                let prefixes = schema.columns.iter().enumerate().map(|(i, column)| key_prefix(i, column.key()));
                let (keys, mended) = (Keys::new(&schema.columns), Vec::new());
                Framing::Json { prefixes: prefixes.collect(), keys, mended }
            }
            Encoding::Csv => Framing::Csv(CsvFields::default()),
        };
        Self {
            framing,
            dialect: schema.dialect,
            flatten: schema.flatten,
            times: TimeReader::of(schema),
            is_mended: false,
        }
    }

    /// The keys that came since the last time and are no columns, each once.
    pub fn new_keys(&mut self) -> Vec<NewKey> {
        match &mut self.framing {
            Framing::Json { keys, .. } => std::mem::take(&mut keys.new),
            Framing::Csv(_) => Vec::new(),
        }
    }

    /// Whether the row that was read last held what JSON does not know; asked again, no.
    pub fn take_mended(&mut self) -> bool {
        std::mem::take(&mut self.is_mended)
    }

    /// A value for each of the columns, each of its type.
    #[inline]
    pub fn values<'a>(&'a mut self, value: &'a [u8], columns: &[StreamColumn]) -> Result<Vec<Value<'a>>, Misfit> {
        let Self { framing, dialect, flatten, is_mended, .. } = self;
        let (dialect, flatten) = (*dialect, *flatten);
        *is_mended = false;
        match framing {
            Framing::Json { prefixes, keys, mended: storage } => {
                match ours(value, prefixes, columns, dialect, is_mended) {
                    Some(values) => values,
                    None => {
                        let fields = match object(value, dialect, flatten) {
                            Err(misfit) if dialect >= Dialect::Second => {
                                *storage = mended(unframed(value)).ok_or(misfit)?;
                                *is_mended = true;
                                object(storage, Dialect::First, flatten)?
                            }
                            fields => fields?,
                        };
                        any_object(&fields, columns, keys, dialect, is_mended)
                    }
                }
            }
            Framing::Csv(fields) => {
                split(fields, value, columns.len())?;
                let fields = &*fields;
                columns.iter().enumerate().map(|(i, column)| from_csv(fields.get(i), column, dialect)).collect()
            }
        }
    }

    /// The event time in one column, the others only passed over.
    pub fn time_of(&mut self, value: &[u8], columns: &[StreamColumn], index: usize) -> Option<i64> {
        let (column, dialect, flatten) = (columns.get(index)?, self.dialect, self.flatten);
        let value = match &mut self.framing {
            Framing::Json { prefixes, .. } => {
                let mut rest = value;
                let passed = prefixes[..=index].iter().try_fold(None, |_, prefix| {
                    let token;
                    (token, rest) = next_token(rest, prefix)?;
                    Some(Some(token))
                });
                match passed.flatten() {
                    Some(token) => from_json(token, column, dialect, &mut false).ok()?,
                    None => {
                        let storage;
                        let fields = match object(value, dialect, flatten) {
                            Err(_) if dialect >= Dialect::Second => {
                                storage = mended(unframed(value))?;
                                object(&storage, Dialect::First, flatten).ok()?
                            }
                            fields => fields.ok()?,
                        };
                        let token = fields.get(column.key())?.get().as_bytes();
                        return self.times.read(&from_json(token, column, dialect, &mut false).ok()?);
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
    let misfit = |reason: String| Misfit { reason: registry_fault(value).unwrap_or(reason), inferred_column: None };
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
    is_mended: &mut bool,
) -> Option<Result<Vec<Value<'a>>, Misfit>> {
    let mut rest = value;
    let mut values = Vec::with_capacity(columns.len());
    for (prefix, column) in prefixes.iter().zip(columns) {
        let token;
        (token, rest) = next_token(rest, prefix)?;
        // What JSON does not know is mended first, whatever its column.
        if dialect >= Dialect::Second && matches!(token, [b'N' | b'I', ..] | [b'-', b'I', ..]) {
            return None;
        }
        match from_json(token, column, dialect, is_mended) {
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
fn any_object<'a>(
    fields: &Object<'a>,
    columns: &[StreamColumn],
    keys: &mut Keys,
    dialect: Dialect,
    is_mended: &mut bool,
) -> Result<Vec<Value<'a>>, Misfit> {
    let mut found = 0;
    let values = columns.iter().map(|column| match fields.get(column.key()) {
        Some(token) => {
            found += 1;
            from_json(token.get().as_bytes(), column, dialect, is_mended)
        }
        None => Ok(Value::Null),
    });
    let values = values.collect::<Result<Vec<_>, _>>()?;
    if fields.len() > found {
        keys.note(fields);
    }
    Ok(values)
}

/// A value without the frame of a schema registry, where a JSON object follows it.
pub fn unframed(value: &[u8]) -> &[u8] {
    match value.split_at_checked(FRAME_BYTES) {
        Some(([0, ..], rest)) if rest.trim_ascii_start().starts_with(b"{") => rest,
        Some(_) | None => value,
    }
}

/// Why a value that a schema registry's serialiser framed is no row; `None`: it has no frame.
pub fn registry_fault(value: &[u8]) -> Option<String> {
    let [0, id @ ..] = value.first_chunk::<FRAME_BYTES>()? else { return None };
    Some(format!(
        "written with schema {} of a schema registry, and not as JSON (Avro or Protobuf, most likely): Millstream reads JSON and \
         csv; let the producer write JSON (a JSON Schema serializer; in Kafka Connect a JsonConverter as value.converter)",
        u32::from_be_bytes(*id)
    ))
}

type Object<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

/// Stores of the first dialect take no value with the frame of a schema registry.
fn object(value: &[u8], dialect: Dialect, flatten: bool) -> Result<Object<'_>, Misfit> {
    let misfit = |error: &dyn std::fmt::Display| Misfit {
        reason: registry_fault(value).unwrap_or_else(|| format!("not a JSON object: {error}")),
        inferred_column: None,
    };
    let value = match dialect {
        Dialect::First => value,
        Dialect::Second => unframed(value),
    };
    if !flatten {
        return serde_json::from_slice(value).map_err(|error| misfit(&error));
    }
    let text = std::str::from_utf8(value).map_err(|error| misfit(&error))?;
    let members = object_members(text).map_err(|error| misfit(&error))?;
    let members = flattened(members).map_err(|reason| Misfit { reason, inferred_column: None })?;
    Ok(members.into_iter().map(Member::into_pair).collect())
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
