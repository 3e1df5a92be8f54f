//! Rows as clients post them, JSON objects by the stream's columns, as the values of records. Each is read as ingest will read it: what
//! is taken here is a row there, and no reject.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use serde_json::{Map, Value};

use super::Encoding;
use super::decode::RowDecoder;
use super::derive::DeriveError;
use super::payload::{Cell, key_prefix};
use super::value::{Misfit, from_json};
use crate::schema::{ColumnType, StreamSchema};

/// Rows whose derived columns are computed together.
const CHUNK_ROWS: usize = 1024;

/// Why a posted row is none of the stream's.
#[derive(Debug, Clone, PartialEq)]
pub enum Unfit {
    UnknownColumn {
        name: String,
    },
    Type {
        column: String,
        kind: ColumnType,
        found: Value,
    },
    TooLarge {
        reason: String,
    },
    /// Its time, or what is derived of it.
    Other {
        reason: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct UnfitRow {
    /// From 0.
    pub row: usize,
    pub unfit: Unfit,
}

/// Records of posted rows, in the rows' order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostedRecords {
    pub values: Vec<Vec<u8>>,
    /// BLAKE3 of what was posted, whatever the schema was then: of names in their alphabetical order, without nulls.
    pub digest: String,
}

/// Makes records of posted rows.
pub struct PostedRows {
    schema: StreamSchema,
    encoding: Encoding,
    value_bytes_most: usize,
    columns: HashMap<String, usize>,
    /// `{"a":`, `,"b":`, …
    prefixes: Vec<Vec<u8>>,
    decoder: RowDecoder,
}

impl PostedRows {
    /// `value_bytes_most`: of a record.
    pub fn new(schema: &StreamSchema, encoding: Encoding, value_bytes_most: usize) -> Result<Self, DeriveError> {
        let columns = schema.columns.iter().enumerate();
        Ok(Self {
            columns: columns.clone().map(|(place, column)| (column.name.clone(), place)).collect(),
            prefixes: columns.map(|(place, column)| key_prefix(place, column.key())).collect(),
            decoder: RowDecoder::new(schema, encoding)?,
            schema: schema.clone(),
            encoding,
            value_bytes_most,
        })
    }

    /// The rows' records. Absent columns are null. `now_ms`: event times may lie so far ahead of it as the schema says.
    pub fn encode(mut self, rows: &[Map<String, Value>], now_ms: i64) -> Result<PostedRecords, UnfitRow> {
        let mut values = Vec::with_capacity(rows.len());
        let mut digest = blake3::Hasher::new();
        for (row, members) in rows.iter().enumerate() {
            let at = |unfit| UnfitRow { row, unfit };
            let value = self.value_of(members).map_err(at)?;
            add_row(&mut digest, members);
            self.decoder.push(&value, 0, 0, now_ms, now_ms).map_err(|misfit| at(other(misfit)))?;
            values.push(value);
            if self.decoder.rows() == CHUNK_ROWS || row + 1 == rows.len() {
                let first = row + 1 - self.decoder.rows();
                let chunk = self.decoder.take().map_err(|error| at(Unfit::Other { reason: error.to_string() }))?;
                if let Some((place, misfit)) = chunk.misfits.into_iter().next() {
                    return Err(UnfitRow { row: first + place, unfit: other(misfit) });
                }
            }
        }
        Ok(PostedRecords { values, digest: digest.finalize().to_hex().to_string() })
    }

    fn value_of(&self, members: &Map<String, Value>) -> Result<Vec<u8>, Unfit> {
        let mut cells = vec![&Value::Null; self.prefixes.len()];
        for (name, value) in members {
            match self.columns.get(name) {
                Some(place) => cells[*place] = value,
                None => return Err(Unfit::UnknownColumn { name: name.clone() }),
            }
        }
        let mut out = Vec::new();
        let mut token = Vec::new();
        for ((cell, column), prefix) in cells.into_iter().zip(&self.schema.columns).zip(&self.prefixes) {
            let held;
            let written = match cell {
                Value::Null => Cell::Null,
                Value::String(text) => Cell::Text(text),
                other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                    held = other.to_string();
                    Cell::Raw(&held)
                }
            };
            token.clear();
            written.write_json(&mut token);
            if from_json(&token, column, self.schema.dialect, &mut false).is_err() {
                return Err(Unfit::Type { column: column.name.clone(), kind: column.kind, found: cell.clone() });
            }
            match self.encoding {
                Encoding::Json => {
                    out.extend_from_slice(prefix);
                    out.extend_from_slice(&token);
                }
                Encoding::Csv => {
                    // Every one but the first begins with a comma.
                    out.extend(prefix.first().filter(|byte| **byte == b','));
                    written.write_csv(&mut out);
                }
            }
        }
        if self.encoding == Encoding::Json {
            out.push(b'}');
        }
        if out.len() > self.value_bytes_most {
            let reason = format!("{} bytes, at most {} fit into a record", out.len(), self.value_bytes_most);
            return Err(Unfit::TooLarge { reason });
        }
        Ok(out)
    }
}

fn add_row(digest: &mut blake3::Hasher, members: &Map<String, Value>) {
    let mut members: Vec<(&String, &Value)> = members.iter().filter(|(_, value)| !value.is_null()).collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    digest.update(&members.len().to_le_bytes());
    for (name, value) in members {
        for text in [name.as_str(), &value.to_string()] {
            digest.update(&text.len().to_le_bytes());
            digest.update(text.as_bytes());
        }
    }
}

fn other(misfit: Misfit) -> Unfit {
    Unfit::Other { reason: misfit.reason }
}

/// What rows may call the columns of a stream.
pub struct StreamNames {
    columns: BTreeSet<String>,
    /// By the source's names.
    renamed: HashMap<String, String>,
    flatten: bool,
}

impl StreamNames {
    pub fn new(schema: &StreamSchema) -> Self {
        let renamed = schema.columns.iter().filter(|column| column.key() != column.name);
        Self {
            columns: schema.columns.iter().map(|column| column.name.clone()).collect(),
            renamed: renamed.map(|column| (column.key().to_owned(), column.name.clone())).collect(),
            flatten: schema.flatten,
        }
    }

    /// In their alphabetical order.
    pub fn columns(&self) -> impl Iterator<Item = &str> + Clone {
        self.columns.iter().map(String::as_str)
    }

    /// Whether there is a column within an object of this name, such as `after.id` in `after`.
    pub fn has_within(&self, object: &str) -> bool {
        if !self.flatten {
            return false;
        }
        let prefix = format!("{object}.");
        let next = self.columns.range::<str, _>((Bound::Excluded(prefix.as_str()), Bound::Unbounded)).next();
        next.is_some_and(|name| name.starts_with(&prefix))
    }

    /// The column that the source calls so, where the stream calls it otherwise: `source_time` of `_time`.
    pub fn renamed(&self, source_name: &str) -> Option<&str> {
        self.renamed.get(source_name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::StreamColumn;

    fn schema() -> StreamSchema {
        let column = |(name, kind)| StreamColumn { inferred: false, ..StreamColumn::new(name, kind) };
        let kinds = [
            ("id", ColumnType::Int64),
            ("x", ColumnType::Float64),
            ("town", ColumnType::Utf8),
            ("new", ColumnType::Boolean),
        ];
        StreamSchema::new(kinds.map(column).to_vec())
    }

    fn encoded(schema: &StreamSchema, encoding: Encoding, rows: Value) -> Result<Vec<String>, UnfitRow> {
        let Value::Array(rows) = rows else { panic!("{rows}") };
        let rows: Vec<Map<String, Value>> = rows.into_iter().map(|row| row.as_object().unwrap().clone()).collect();
        let records = PostedRows::new(schema, encoding, 1000).unwrap().encode(&rows, 1_764_000_000_000)?;
        Ok(records.values.into_iter().map(|value| String::from_utf8(value).unwrap()).collect())
    }

    #[test]
    fn rows_become_records_that_say_what_was_posted() {
        let rows =
            json!([{"town": "a \"b\", c", "id": 9_007_199_254_740_993_i64}, {"x": 1.5, "new": true, "town": ""}]);
        let json = encoded(&schema(), Encoding::Json, rows.clone()).unwrap();
        assert_eq!(
            json,
            [
                r#"{"id":9007199254740993,"x":null,"town":"a \"b\", c","new":null}"#,
                r#"{"id":null,"x":1.5,"town":"","new":true}"#
            ]
        );
        let csv = encoded(&schema(), Encoding::Csv, rows).unwrap();
        assert_eq!(csv, ["9007199254740993,,\"a \"\"b\"\", c\",", ",1.5,\"\",true"]);
        assert_eq!(encoded(&schema(), Encoding::Json, json!([])).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn the_digest_is_of_what_was_posted_whatever_the_order_of_the_columns() {
        let mut turned = schema();
        turned.columns.reverse();
        let digest = |schema: &StreamSchema, rows: Value| {
            let rows: Vec<Map<String, Value>> =
                rows.as_array().unwrap().iter().map(|row| row.as_object().unwrap().clone()).collect();
            PostedRows::new(schema, Encoding::Json, 1000).unwrap().encode(&rows, 0).unwrap().digest
        };
        let first = digest(&schema(), json!([{"id": 1, "town": "a"}, {"x": 2}]));
        assert_eq!(digest(&turned, json!([{"town": "a", "id": 1, "new": null}, {"x": 2}])), first);
        for other in [
            json!([{"id": 1, "town": "a"}]),
            json!([{"id": 1}, {"town": "a", "x": 2}]),
            json!([{"x": 2}, {"id": 1, "town": "a"}]),
            json!([{"id": 1, "town": "a"}, {"x": 3}]),
            json!([{"id": 1, "town": "a"}, {"x": 2}, {}]),
        ] {
            assert_ne!(digest(&schema(), other.clone()), first, "{other}");
        }
    }

    #[test]
    fn what_is_no_row_of_the_stream_is_named() {
        let check = |row: Value, expected: Unfit| {
            for encoding in [Encoding::Json, Encoding::Csv] {
                let found = encoded(&schema(), encoding, json!([{"id": 1}, row])).unwrap_err();
                assert_eq!(found, UnfitRow { row: 1, unfit: expected.clone() });
            }
        };
        check(json!({"id": 1, "twn": "x"}), Unfit::UnknownColumn { name: "twn".to_owned() });
        let unfit = |column: &str, kind, found| Unfit::Type { column: column.to_owned(), kind, found };
        check(json!({"id": 1.5}), unfit("id", ColumnType::Int64, json!(1.5)));
        check(json!({"x": "much"}), unfit("x", ColumnType::Float64, json!("much")));
        check(json!({"x": [1]}), unfit("x", ColumnType::Float64, json!([1])));
        check(json!({"new": 7}), unfit("new", ColumnType::Boolean, json!(7)));
        let large = encoded(&schema(), Encoding::Json, json!([{"town": "x".repeat(1_000_000)}])).unwrap_err();
        assert!(matches!(large.unfit, Unfit::TooLarge { .. }), "{large:?}");
    }

    #[test]
    fn times_and_derived_columns_are_looked_at_in_every_row() {
        let mut schema = schema();
        schema.time = Some("id".to_owned());
        let other = |rows: Value| match encoded(&schema, Encoding::Json, rows).unwrap_err() {
            UnfitRow { row, unfit: Unfit::Other { reason } } => (row, reason),
            found => panic!("{found:?}"),
        };
        assert_eq!(other(json!([{"x": 1}])).0, 0);
        let (row, reason) = other(json!([{"id": 1_700_000_000}, {"id": 1_900_000_000}]));
        assert!(row == 1 && reason.contains("further ahead"), "{reason}");
        let toml = "[schema.columns]\nhalf = { type = \"int64\", from = \"x / 2\", bad = \"reject\" }";
        let mut faults = millstream_base::Faults::new("x.toml");
        let rules = crate::schema::check::rules(&toml.parse().unwrap(), &mut faults);
        let derived = super::tests::schema().apply_rules(&rules).unwrap();
        let mut rows = vec![json!({"x": 4}); 1500];
        rows[1200] = json!({"x": 5});
        assert_eq!(encoded(&derived, Encoding::Json, rows.into()).unwrap_err().row, 1200);
    }

    #[test]
    fn names_are_those_of_columns_and_of_the_source() {
        let mut schema = schema();
        schema.columns.push(StreamColumn::new("after.at.x", ColumnType::Utf8));
        schema
            .columns
            .push(StreamColumn { key: Some("_time".to_owned()), ..StreamColumn::new("source_time", ColumnType::Utf8) });
        let flat = StreamNames::new(&StreamSchema { flatten: true, ..schema.clone() });
        assert!(flat.has_within("after") && flat.has_within("after.at") && !flat.has_within("after.at.x"));
        assert_eq!((flat.renamed("_time"), flat.renamed("id")), (Some("source_time"), None));
        assert!(!StreamNames::new(&schema).has_within("after"));
    }
}
