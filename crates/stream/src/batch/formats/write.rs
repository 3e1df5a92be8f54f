//! Writes rows as csv or JSON lines.

use std::io::{self, Write};

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Float64Type, Int32Type, Int64Type, Schema, TimeUnit, TimestampMillisecondType,
};

use crate::record::{key_prefix, write_csv_text, write_instant};

/// Text gathered before it goes to the file.
const BUFFER_BYTES: usize = 256 * 1024;

/// Which text; what differs between them.
enum Form {
    Csv,
    /// What stands before each value: `{"a":`, `,"b":`, …
    Jsonl(Vec<Vec<u8>>),
}

/// Memory is one buffer and the longest row.
pub struct TextWriter<W: Write> {
    output: W,
    form: Form,
    buffer: Vec<u8>,
}

impl<W: Write> TextWriter<W> {
    /// Begins with the header line.
    pub fn csv(output: W, schema: &Schema) -> Self {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + 4096);
        write_csv_header(schema, &mut buffer);
        Self { output, form: Form::Csv, buffer }
    }

    pub fn jsonl(output: W, schema: &Schema) -> Self {
        let prefixes = schema.fields().iter().enumerate().map(|(i, field)| key_prefix(i, field.name())).collect();
        Self { output, form: Form::Jsonl(prefixes), buffer: Vec::with_capacity(BUFFER_BYTES + 4096) }
    }

    /// Adds the rows, which have the schema of the part.
    pub fn write(&mut self, rows: &RecordBatch) -> io::Result<()> {
        for row in 0..rows.num_rows() {
            match &self.form {
                Form::Csv => write_csv_row(rows, row, &mut self.buffer)?,
                Form::Jsonl(prefixes) => write_json_row(prefixes, rows, row, &mut self.buffer)?,
            }
            if self.buffer.len() >= BUFFER_BYTES {
                self.output.write_all(&self.buffer)?;
                self.buffer.clear();
            }
        }
        Ok(())
    }

    /// Hands back the output with everything in it.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.write_all(&self.buffer)?;
        Ok(self.output)
    }
}

/// The header line of a csv part.
pub fn write_csv_header(schema: &Schema, out: &mut Vec<u8>) {
    for (i, field) in schema.fields().iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_csv_text(field.name(), out);
    }
    out.push(b'\n');
}

fn write_csv_row(rows: &RecordBatch, row: usize, out: &mut Vec<u8>) -> io::Result<()> {
    for (i, column) in rows.columns().iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        match scalar(column.as_ref(), row)? {
            Scalar::Null => {}
            Scalar::Text(text) => write_csv_text(text, out),
            Scalar::Instant(ms) => write_instant(ms, out),
            Scalar::Float(value) => write!(out, "{value:?}")?,
            Scalar::Integer(value) => write!(out, "{value}")?,
            Scalar::Boolean(value) => write!(out, "{value}")?,
        }
    }
    out.push(b'\n');
    Ok(())
}

fn write_json_row(prefixes: &[Vec<u8>], rows: &RecordBatch, row: usize, out: &mut Vec<u8>) -> io::Result<()> {
    for (prefix, column) in prefixes.iter().zip(rows.columns()) {
        out.extend_from_slice(prefix);
        match scalar(column.as_ref(), row)? {
            Scalar::Text(text) => serde_json::to_writer(&mut *out, text)?,
            Scalar::Instant(ms) => {
                out.push(b'"');
                write_instant(ms, out);
                out.push(b'"');
            }
            Scalar::Float(value) if value.is_finite() => write!(out, "{value:?}")?,
            // JSON has no other floats, and no part holds them: records carry JSON numbers, and what a `from` computes is checked.
            Scalar::Null | Scalar::Float(_) => out.extend_from_slice(b"null"),
            Scalar::Integer(value) => write!(out, "{value}")?,
            Scalar::Boolean(value) => write!(out, "{value}")?,
        }
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

/// One value of a part, whatever its column's type.
enum Scalar<'a> {
    Null,
    Float(f64),
    Integer(i64),
    Boolean(bool),
    Text(&'a str),
    Instant(i64),
}

fn scalar(column: &dyn Array, row: usize) -> io::Result<Scalar<'_>> {
    if column.is_null(row) {
        return Ok(Scalar::Null);
    }
    Ok(match column.data_type() {
        DataType::Float64 => Scalar::Float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Int64 => Scalar::Integer(column.as_primitive::<Int64Type>().value(row)),
        DataType::Int32 => Scalar::Integer(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Boolean => Scalar::Boolean(column.as_boolean().value(row)),
        DataType::Utf8 => Scalar::Text(column.as_string::<i32>().value(row)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            Scalar::Instant(column.as_primitive::<TimestampMillisecondType>().value(row))
        }
        other => return Err(io::Error::other(format!("no part holds a column of type {other}"))),
    })
}
