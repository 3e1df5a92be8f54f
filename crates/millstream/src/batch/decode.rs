//! A record's value as typed columns. A record that does not fit leaves no trace in them: it is whole or it is a reject.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMillisecondBuilder,
};
use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use serde_json::value::RawValue;

use crate::schema::{ColumnType, StreamColumn, StreamSchema};
use crate::source::is_json_number;

/// Why a record is a reject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    pub reason: String,
    /// The column whose inferred type it breaks: the schema is to be pinned.
    pub inferred_column: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Milliseconds since the epoch: the event time where the schema names its column, else the record's own.
    pub time_ms: i64,
}

enum Builder {
    Float64(Float64Builder),
    Int64(Int64Builder),
    Utf8(StringBuilder),
    Boolean(BooleanBuilder),
}

/// One column's value, before the whole record is known to fit.
enum Value<'a> {
    Null,
    Float64(f64),
    Int64(i64),
    Utf8(Cow<'a, str>),
    Boolean(bool),
}

pub struct RowDecoder {
    schema: StreamSchema,
    part_schema: SchemaRef,
    /// What comes before each value in a record that our own `replay` wrote.
    prefixes: Vec<Vec<u8>>,
    time_column: Option<usize>,
    builders: Vec<Builder>,
    partitions: Int32Builder,
    offsets: Int64Builder,
    times: TimestampMillisecondBuilder,
    rows: usize,
}

impl RowDecoder {
    pub fn new(schema: &StreamSchema) -> Self {
        let prefixes = schema.columns.iter().enumerate().map(|(i, column)| crate::source::key_prefix(i, &column.name));
        let time = schema.time.as_ref();
        Self {
            part_schema: schema.part(),
            prefixes: prefixes.collect(),
            time_column: time.and_then(|time| schema.columns.iter().position(|column| column.name == *time)),
            builders: schema.columns.iter().map(|column| builder(column.kind)).collect(),
            partitions: Int32Builder::new(),
            offsets: Int64Builder::new(),
            times: TimestampMillisecondBuilder::new().with_timezone("UTC"),
            rows: 0,
            schema: schema.clone(),
        }
    }

    /// Rows since the last `take`.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a record's row. `timestamp_ms`: the record's own time.
    pub fn push(&mut self, value: &[u8], partition: i32, offset: i64, timestamp_ms: i64) -> Result<Decoded, Misfit> {
        let values = match ours(value, &self.prefixes, &self.schema.columns) {
            Some(values) => values,
            None => any_object(value, &self.schema.columns),
        }?;
        let time_ms = match self.time_column.map(|i| event_time(&values[i])) {
            None => timestamp_ms,
            Some(Some(time_ms)) => time_ms,
            Some(None) => {
                let column = self.schema.time.clone().unwrap_or_default();
                return Err(Misfit { reason: format!("column {column:?} is no time"), inferred_column: None });
            }
        };
        for (builder, value) in self.builders.iter_mut().zip(&values) {
            append(builder, value);
        }
        self.partitions.append_value(partition);
        self.offsets.append_value(offset);
        self.times.append_value(time_ms);
        self.rows += 1;
        Ok(Decoded { time_ms })
    }

    /// The rows so far, in the part's schema; the decoder is empty afterwards.
    pub fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let mut columns: Vec<ArrayRef> = self.builders.iter_mut().map(finish).collect();
        columns.push(Arc::new(self.partitions.finish()));
        columns.push(Arc::new(self.offsets.finish()));
        columns.push(Arc::new(self.times.finish()));
        self.rows = 0;
        RecordBatch::try_new(self.part_schema.clone(), columns)
    }
}

fn builder(kind: ColumnType) -> Builder {
    match kind {
        ColumnType::Float64 => Builder::Float64(Float64Builder::new()),
        ColumnType::Int64 => Builder::Int64(Int64Builder::new()),
        ColumnType::Utf8 => Builder::Utf8(StringBuilder::new()),
        ColumnType::Boolean => Builder::Boolean(BooleanBuilder::new()),
    }
}

fn append(builder: &mut Builder, value: &Value) {
    match (builder, value) {
        (Builder::Float64(builder), Value::Float64(value)) => builder.append_value(*value),
        (Builder::Int64(builder), Value::Int64(value)) => builder.append_value(*value),
        (Builder::Utf8(builder), Value::Utf8(value)) => builder.append_value(value),
        (Builder::Boolean(builder), Value::Boolean(value)) => builder.append_value(*value),
        // `typed` gives a column's own type or null.
        (Builder::Float64(builder), _) => builder.append_null(),
        (Builder::Int64(builder), _) => builder.append_null(),
        (Builder::Utf8(builder), _) => builder.append_null(),
        (Builder::Boolean(builder), _) => builder.append_null(),
    }
}

fn finish(builder: &mut Builder) -> ArrayRef {
    match builder {
        Builder::Float64(builder) => Arc::new(builder.finish()),
        Builder::Int64(builder) => Arc::new(builder.finish()),
        Builder::Utf8(builder) => Arc::new(builder.finish()),
        Builder::Boolean(builder) => Arc::new(builder.finish()),
    }
}

/// A record as `RowEncoder` writes it: the columns in order, no white space. `None`: it is not of that form.
fn ours<'a>(value: &'a [u8], prefixes: &[Vec<u8>], columns: &[StreamColumn]) -> Option<Result<Vec<Value<'a>>, Misfit>> {
    let mut rest = value;
    let mut values = Vec::with_capacity(columns.len());
    for (prefix, column) in prefixes.iter().zip(columns) {
        rest = rest.strip_prefix(prefix.as_slice())?;
        let length = token_length(rest)?;
        match typed(&rest[..length], column) {
            Ok(value) => values.push(value),
            Err(misfit) => return Some(Err(misfit)),
        }
        rest = &rest[length..];
    }
    (rest == b"}").then_some(Ok(values))
}

/// Any JSON object: columns by name, absent ones null.
fn any_object<'a>(value: &'a [u8], columns: &[StreamColumn]) -> Result<Vec<Value<'a>>, Misfit> {
    let fields: HashMap<Cow<str>, &'a RawValue> = serde_json::from_slice(value)
        .map_err(|error| Misfit { reason: format!("not a JSON object: {error}"), inferred_column: None })?;
    columns
        .iter()
        .map(|column| match fields.get(column.name.as_str()) {
            Some(token) => typed(token.get().as_bytes(), column),
            None => Ok(Value::Null),
        })
        .collect()
}

/// The length of the JSON scalar at the start.
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

/// A JSON token as the column's type.
fn typed<'a>(token: &'a [u8], column: &StreamColumn) -> Result<Value<'a>, Misfit> {
    let misfit = || {
        let shown: String = String::from_utf8_lossy(token).chars().take(60).collect();
        Misfit {
            reason: format!("column {:?} holds {shown}, expected {}", column.name, column.kind.name()),
            inferred_column: column.inferred.then(|| column.name.clone()),
        }
    };
    let text = match token {
        b"null" => return Ok(Value::Null),
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => {
            Cow::Borrowed(std::str::from_utf8(inner).map_err(|_| misfit())?)
        }
        [b'"', ..] => Cow::Owned(serde_json::from_slice(token).map_err(|_| misfit())?),
        _ => Cow::Borrowed(std::str::from_utf8(token).map_err(|_| misfit())?),
    };
    if column.null.iter().any(|null| *null == text) {
        return Ok(Value::Null);
    }
    let number =
        || is_json_number(text.as_bytes()).then(|| text.parse::<f64>().ok()).flatten().filter(|x| x.is_finite());
    let value = match column.kind {
        ColumnType::Float64 => number().map(Value::Float64),
        ColumnType::Int64 => text.parse().ok().or_else(|| number().and_then(exact_integer)).map(Value::Int64),
        ColumnType::Boolean => match text.as_ref() {
            "true" | "True" | "TRUE" | "1" => Some(Value::Boolean(true)),
            "false" | "False" | "FALSE" | "0" => Some(Value::Boolean(false)),
            _ => None,
        },
        ColumnType::Utf8 => return Ok(Value::Utf8(text)),
    };
    value.ok_or_else(misfit)
}

/// `3.0` and `1e3` are integers.
#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and below 2^53")]
fn exact_integer(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0).then_some(number as i64)
}

/// Milliseconds since the epoch. Numbers are seconds, milli-, micro- or nanoseconds by their size; texts are ISO 8601.
#[expect(clippy::cast_possible_truncation, reason = "a float outside i64 saturates and stays absurd")]
fn event_time(value: &Value) -> Option<i64> {
    let from_number = |number: f64| match number.abs() {
        size if size < 1e11 => (number * 1e3) as i64,
        size if size < 1e14 => number as i64,
        size if size < 1e17 => (number / 1e3) as i64,
        _ => (number / 1e6) as i64,
    };
    match value {
        #[expect(clippy::cast_precision_loss, reason = "a millisecond of an epoch fits")]
        Value::Int64(number) => Some(from_number(*number as f64)),
        Value::Float64(number) => Some(from_number(*number)),
        Value::Utf8(text) => string_to_timestamp_nanos(text).ok().map(|nanos| nanos.div_euclid(1_000_000)),
        Value::Null | Value::Boolean(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use csv::ByteRecord;
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use proptest::prelude::*;

    use super::*;
    use crate::source::RowEncoder;

    fn schema(columns: &[(&str, ColumnType)], time: Option<&str>) -> StreamSchema {
        let column = |(name, kind): &(&str, ColumnType)| StreamColumn {
            name: (*name).to_owned(),
            kind: *kind,
            inferred: true,
            null: vec!["NA".to_owned()],
        };
        StreamSchema {
            format: 1,
            schema: 1,
            columns: columns.iter().map(column).collect(),
            time: time.map(str::to_owned),
        }
    }

    fn check(kind: ColumnType, token: &str, expected: &str) {
        // Both paths: as we write it, and as another producer might.
        for record in [format!("{{\"x\":{token}}}"), format!("{{ \"other\": [1], \"x\" : {token} }}")] {
            let mut decoder = RowDecoder::new(&schema(&[("x", kind)], None));
            let found = match decoder.push(record.as_bytes(), 0, 0, 0) {
                Ok(_) => {
                    let batch = decoder.take().unwrap();
                    let array = batch.column(0);
                    datafusion::arrow::util::display::array_value_to_string(array, 0).unwrap()
                }
                Err(misfit) => misfit.reason,
            };
            assert_eq!(found, expected, "{record}");
        }
    }

    #[test]
    fn tokens_become_the_column_s_type_or_a_reason() {
        use ColumnType::{Boolean, Float64, Int64, Utf8};
        check(Float64, "1.5", "1.5");
        check(Float64, "\"1.5\"", "1.5");
        check(Float64, "null", "");
        check(Float64, "\"NA\"", "");
        check(Float64, "1e999", "column \"x\" holds 1e999, expected float64");
        check(Float64, "\"abc\"", "column \"x\" holds \"abc\", expected float64");
        check(Float64, "\"inf\"", "column \"x\" holds \"inf\", expected float64");
        check(Int64, "9007199254740993", "9007199254740993");
        check(Int64, "1e3", "1000");
        check(Int64, "1.5", "column \"x\" holds 1.5, expected int64");
        check(Utf8, "1.50", "1.50");
        check(Utf8, r#""a\"é""#, "a\"é");
        check(Boolean, "true", "true");
        check(Boolean, "2", "column \"x\" holds 2, expected boolean");
    }

    #[test]
    fn a_misfit_leaves_no_trace() {
        let mut decoder = RowDecoder::new(&schema(&[("a", ColumnType::Float64), ("b", ColumnType::Float64)], None));
        decoder.push(br#"{"a":1,"b":2}"#, 0, 7, 5).unwrap();
        let misfit = decoder.push(br#"{"a":1,"b":"x"}"#, 0, 8, 5).unwrap_err();
        assert_eq!(misfit.inferred_column.as_deref(), Some("b"));
        assert!(decoder.push(b"\xff\x00 no JSON", 0, 9, 5).unwrap_err().reason.contains("not a JSON object"));
        assert!(decoder.push(b"", 0, 9, 5).is_err());
        let batch = decoder.take().unwrap();
        let table = pretty_format_batches(&[batch]).unwrap().to_string();
        assert!(table.contains("| 1.0 | 2.0 | 0          | 7       | 1970-01-01T00:00:00.005Z |"), "{table}");
    }

    #[test]
    fn event_times_are_read_from_numbers_and_texts() {
        let time = |kind, token: &str| {
            let mut decoder = RowDecoder::new(&schema(&[("t", kind)], Some("t")));
            decoder.push(format!("{{\"t\":{token}}}").as_bytes(), 0, 0, 0).map(|decoded| decoded.time_ms)
        };
        use ColumnType::{Int64, Utf8};
        for token in ["1700000000", "1700000000000", "1700000000000000", "1700000000000000000"] {
            assert_eq!(time(Int64, token), Ok(1_700_000_000_000));
        }
        assert_eq!(time(Utf8, "\"2023-11-14T22:13:20Z\""), Ok(1_700_000_000_000));
        assert_eq!(time(Utf8, "\"2023-11-14 22:13:20\""), Ok(1_700_000_000_000));
        assert_eq!(time(Utf8, "\"soon\"").unwrap_err().reason, "column \"t\" is no time");
        assert_eq!(time(Int64, "null").unwrap_err().reason, "column \"t\" is no time");
    }

    proptest! {
        #[test]
        fn what_replay_writes_is_read_back_the_short_way(fields in proptest::collection::vec(".{0,12}", 1..5)) {
            let names: Vec<String> = (0..fields.len()).map(|i| format!("c{i}\"")).collect();
            let kinds: Vec<(&str, ColumnType)> = names.iter().map(|name| (name.as_str(), ColumnType::Utf8)).collect();
            let schema = schema(&kinds, None);
            let mut value = Vec::new();
            RowEncoder::new(&names).encode(&ByteRecord::from(fields.clone()), &mut value);
            let prefixes: Vec<_> = names.iter().enumerate().map(|(i, name)| crate::source::key_prefix(i, name)).collect();
            let short = ours(&value, &prefixes, &schema.columns).expect("of our form").unwrap();
            for (value, field) in short.iter().zip(&fields) {
                match value {
                    Value::Utf8(text) => prop_assert_eq!(text.as_ref(), field),
                    _ => prop_assert!(field.is_empty() || field == "NA"),
                }
            }
        }

        #[test]
        fn random_bytes_are_a_reject_at_worst(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut decoder = RowDecoder::new(&schema(&[("x", ColumnType::Float64)], None));
            let _ = decoder.push(&bytes, 0, 0, 0);
            let mut framed = b"{\"x\":".to_vec();
            framed.extend(&bytes);
            framed.push(b'}');
            let _ = decoder.push(&framed, 0, 0, 0);
        }
    }
}
