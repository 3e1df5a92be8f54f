//! Reads back what `write` wrote, line by line.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMillisecondBuilder,
};
use datafusion::arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use serde_json::value::RawValue;

use super::write::write_csv_header;
use crate::record::{CsvFields, read_instant, without_line_end};

const READ_BUFFER_BYTES: usize = 256 * 1024;
/// A damaged file may have a quote that is never closed; no row that was written is as long as this.
const MAX_ROW_BYTES: usize = 64 << 20;

type Input = BufReader<Box<dyn Read + Send>>;

pub(super) fn csv(
    input: Box<dyn Read + Send>,
    schema: SchemaRef,
    columns: &[usize],
    batch_rows: usize,
) -> Result<Reader<CsvRow>, ArrowError> {
    let row = CsvRow { fields: CsvFields::default(), width: schema.fields().len() };
    let mut header = Vec::new();
    write_csv_header(&schema, &mut header);
    let mut reader = Reader::new(input, schema, columns, batch_rows, row)?;
    if !reader.next_row()? || reader.row != header {
        let expected = String::from_utf8_lossy(without_line_end(&header)).into_owned();
        return Err(reader.fault(&format!("the header is not that of its schema, {expected}")));
    }
    Ok(reader)
}

pub(super) fn jsonl(
    input: Box<dyn Read + Send>,
    schema: SchemaRef,
    columns: &[usize],
    batch_rows: usize,
) -> Result<Reader<JsonRow>, ArrowError> {
    Reader::new(input, schema, columns, batch_rows, JsonRow)
}

/// How a row's bytes become values.
pub(super) trait Row {
    /// Whether the bytes so far are a whole row, or go on after this line end.
    fn is_whole(&self, bytes: &[u8]) -> bool;
    /// Adds a value to each of the wanted columns, or says what is wrong with the row.
    fn append(&mut self, row: &[u8], columns: &mut [Wanted]) -> Result<(), String>;
}

/// A column that was asked for.
pub(super) struct Wanted {
    index: usize,
    name: String,
    values: Values,
}

pub(super) struct Reader<R> {
    input: Input,
    /// Of the blocks: the wanted columns.
    schema: SchemaRef,
    columns: Vec<Wanted>,
    batch_rows: usize,
    parser: R,
    row: Vec<u8>,
    /// Rows read, the header counted.
    rows_read: u64,
    failed: bool,
}

impl<R: Row> Reader<R> {
    fn new(
        input: Box<dyn Read + Send>,
        schema: SchemaRef,
        columns: &[usize],
        batch_rows: usize,
        parser: R,
    ) -> Result<Self, ArrowError> {
        let projected = Arc::new(schema.project(columns)?);
        let wanted = columns.iter().zip(projected.fields()).map(|(&index, field)| {
            Ok(Wanted { index, name: field.name().clone(), values: Values::new(field.data_type())? })
        });
        Ok(Self {
            input: BufReader::with_capacity(READ_BUFFER_BYTES, input),
            columns: wanted.collect::<Result<_, ArrowError>>()?,
            schema: projected,
            batch_rows: batch_rows.max(1),
            parser,
            row: Vec::new(),
            rows_read: 0,
            failed: false,
        })
    }

    /// Reads the next row's bytes, its line end with it; false at the end of the part.
    fn next_row(&mut self) -> Result<bool, ArrowError> {
        self.row.clear();
        self.rows_read += 1;
        loop {
            let limit = (MAX_ROW_BYTES + 1 - self.row.len()) as u64;
            let count = (&mut self.input).take(limit).read_until(b'\n', &mut self.row)?;
            if count == 0 && self.row.is_empty() {
                return Ok(false);
            }
            if self.row.len() > MAX_ROW_BYTES {
                return Err(self.fault(&format!("a row of more than {} MiB", MAX_ROW_BYTES >> 20)));
            }
            if count == 0 || self.row.last() != Some(&b'\n') {
                return Err(self.fault("the file ends in the middle of a row"));
            }
            if self.parser.is_whole(&self.row) {
                return Ok(true);
            }
        }
    }

    fn next_block(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let mut rows = 0;
        while rows < self.batch_rows && self.next_row()? {
            if let Err(reason) = self.parser.append(without_line_end(&self.row), &mut self.columns) {
                return Err(self.fault(&reason));
            }
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        let arrays = self.columns.iter_mut().map(|column| column.values.finish()).collect();
        // A block of no column still has its rows: they are counted.
        let options = datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options).map(Some)
    }

    fn fault(&self, reason: &str) -> ArrowError {
        ArrowError::ParseError(format!("row {} of the file: {reason}", self.rows_read))
    }
}

impl<R: Row> Iterator for Reader<R> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let block = self.next_block();
        self.failed = block.is_err();
        block.transpose()
    }
}

pub(super) struct CsvRow {
    fields: CsvFields,
    width: usize,
}

impl Row for CsvRow {
    // A quote inside a field is doubled, so a line end with an odd number of quotes before it lies in a field.
    fn is_whole(&self, bytes: &[u8]) -> bool {
        bytes.iter().filter(|byte| **byte == b'"').count().is_multiple_of(2)
    }

    fn append(&mut self, row: &[u8], columns: &mut [Wanted]) -> Result<(), String> {
        self.fields.split(row)?;
        if self.fields.count() != self.width {
            return Err(format!("{} fields, its schema has {}", self.fields.count(), self.width));
        }
        for column in columns {
            let text = self.fields.get(column.index).map(std::str::from_utf8).transpose();
            column.append(text.map_err(|_| format!("column {:?} is not UTF-8", column.name))?)?;
        }
        Ok(())
    }
}

pub(super) struct JsonRow;

impl Row for JsonRow {
    fn is_whole(&self, _bytes: &[u8]) -> bool {
        true
    }

    fn append(&mut self, row: &[u8], columns: &mut [Wanted]) -> Result<(), String> {
        let fields: HashMap<Cow<str>, &RawValue> =
            serde_json::from_slice(row).map_err(|error| format!("no JSON object: {error}"))?;
        for column in columns {
            let token = fields.get(column.name.as_str()).ok_or_else(|| format!("no column {:?}", column.name))?.get();
            if token == "null" {
                column.append(None)?;
            } else if token.starts_with('"') {
                let text: Cow<str> = serde_json::from_str(token).map_err(|error| error.to_string())?;
                column.append(Some(&text))?;
            } else {
                column.append(Some(token))?;
            }
        }
        Ok(())
    }
}

impl Wanted {
    fn append(&mut self, text: Option<&str>) -> Result<(), String> {
        let Self { name, values, .. } = self;
        let wrong = || {
            let shown: String = text.unwrap_or_default().chars().take(60).collect();
            format!("column {name:?} holds {shown:?}, which is not of its type")
        };
        match values {
            Values::Utf8(builder) => builder.append_option(text),
            Values::Float64(builder) => builder.append_option(parsed(text).map_err(|()| wrong())?),
            Values::Int64(builder) => builder.append_option(parsed(text).map_err(|()| wrong())?),
            Values::Int32(builder) => builder.append_option(parsed(text).map_err(|()| wrong())?),
            Values::Boolean(builder) => builder.append_option(parsed(text).map_err(|()| wrong())?),
            Values::Instant(builder) => {
                builder.append_option(text.map(|text| read_instant(text).ok_or_else(wrong)).transpose()?);
            }
        }
        Ok(())
    }
}

fn parsed<T: std::str::FromStr>(text: Option<&str>) -> Result<Option<T>, ()> {
    text.map(|text| text.parse().map_err(|_| ())).transpose()
}

enum Values {
    Float64(Float64Builder),
    Int64(Int64Builder),
    Int32(Int32Builder),
    Boolean(BooleanBuilder),
    Utf8(StringBuilder),
    Instant(TimestampMillisecondBuilder),
}

impl Values {
    fn new(data_type: &DataType) -> Result<Self, ArrowError> {
        Ok(match data_type {
            DataType::Float64 => Self::Float64(Float64Builder::new()),
            DataType::Int64 => Self::Int64(Int64Builder::new()),
            DataType::Int32 => Self::Int32(Int32Builder::new()),
            DataType::Boolean => Self::Boolean(BooleanBuilder::new()),
            DataType::Utf8 => Self::Utf8(StringBuilder::new()),
            DataType::Timestamp(TimeUnit::Millisecond, zone) => {
                Self::Instant(TimestampMillisecondBuilder::new().with_timezone_opt(zone.clone()))
            }
            other => return Err(ArrowError::SchemaError(format!("no part holds a column of type {other}"))),
        })
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) => Arc::new(builder.finish()),
            Self::Int32(builder) => Arc::new(builder.finish()),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Utf8(builder) => Arc::new(builder.finish()),
            Self::Instant(builder) => Arc::new(builder.finish()),
        }
    }
}
