//! A record's value as typed columns. A record that does not fit leaves no trace in them: it is whole or it is a reject.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, RecordBatch,
    StringBuilder, TimestampMillisecondArray, TimestampMillisecondBuilder,
};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Float64Type, Int64Type, SchemaRef, TimestampMillisecondType};
use datafusion::arrow::error::ArrowError;

use super::Encoding;
use super::derive::{Derivation, DeriveError, Derived};
use super::form::{Form, NewKey};
use super::time::TimeReader;
use super::value::{Misfit, Value, checked_time};
use crate::schema::{ColumnType, StreamSchema};

/// The rows since the last `take`.
#[derive(Debug)]
pub struct Chunk {
    /// In the part's schema, those that fit.
    pub rows: RecordBatch,
    /// Those that turned out to be rejects once the derived columns were computed, by their places among the pushed ones, ascending.
    pub misfits: Vec<(usize, Misfit)>,
}

impl Chunk {
    /// `_time` of its rows.
    pub fn times(&self) -> &[i64] {
        let last = self.rows.columns().last().and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>());
        last.map_or(&[], |times| times.values())
    }
}

/// Where `_time` comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeFrom {
    /// The record's own time.
    Record,
    /// A place among the source columns.
    Source(usize),
    /// A place among the derived columns.
    Derived(usize),
}

enum Builder {
    Float64(Float64Builder),
    Int64(Int64Builder),
    Utf8(StringBuilder),
    Boolean(BooleanBuilder),
}

pub struct RowDecoder {
    schema: StreamSchema,
    source_schema: SchemaRef,
    part_schema: SchemaRef,
    derivation: Derivation,
    /// Source columns that parts hold.
    kept: Vec<usize>,
    form: Form,
    time: TimeFrom,
    reader: TimeReader,
    builders: Vec<Builder>,
    partitions: Int32Builder,
    offsets: Int64Builder,
    times: TimestampMillisecondBuilder,
    rows: usize,
    latest_ms: i64,
}

impl RowDecoder {
    pub fn new(schema: &StreamSchema, encoding: Encoding) -> Result<Self, DeriveError> {
        Ok(Self {
            source_schema: schema.source(),
            part_schema: schema.part(),
            derivation: Derivation::compile(schema)?,
            kept: schema.kept(),
            form: Form::new(schema, encoding),
            time: time_from(schema),
            reader: TimeReader::of(schema),
            builders: schema.columns.iter().map(|column| builder(column.kind)).collect(),
            partitions: Int32Builder::new(),
            offsets: Int64Builder::new(),
            times: TimestampMillisecondBuilder::new().with_timezone("UTC"),
            rows: 0,
            latest_ms: 0,
            schema: schema.clone(),
        })
    }

    /// Rows pushed since the last `take`.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Keys of the values since the last time that are no columns.
    pub fn new_keys(&mut self) -> Vec<NewKey> {
        self.form.new_keys()
    }

    /// Whether the row that was pushed last held what JSON does not know; asked again, no.
    pub fn take_mended(&mut self) -> bool {
        self.form.take_mended()
    }

    /// Whether a record that `push` took may still turn out to be a reject in `take`.
    pub fn judges_late(&self) -> bool {
        !self.derivation.is_empty()
    }

    /// Adds a record's row. `timestamp_ms`: the record's own time. `now_ms`: an event time that lies further ahead of it than the
    /// schema says is a misfit.
    pub fn push(
        &mut self,
        value: &[u8],
        partition: i32,
        offset: i64,
        timestamp_ms: i64,
        now_ms: i64,
    ) -> Result<(), Misfit> {
        let columns = &self.schema.columns;
        let latest_ms = self.schema.ahead.latest_ms(now_ms);
        let values = self.form.values(value, columns)?;
        let time_ms = match self.time {
            TimeFrom::Record | TimeFrom::Derived(_) => timestamp_ms,
            TimeFrom::Source(index) => checked_time(&self.reader, &values[index], &columns[index].name, latest_ms)?,
        };
        for (builder, value) in self.builders.iter_mut().zip(&values) {
            append(builder, value);
        }
        self.partitions.append_value(partition);
        self.offsets.append_value(offset);
        self.times.append_value(time_ms);
        self.rows += 1;
        self.latest_ms = latest_ms;
        Ok(())
    }

    /// The rows so far; the decoder is empty afterwards.
    pub fn take(&mut self) -> Result<Chunk, ArrowError> {
        let source: Vec<ArrayRef> = self.builders.iter_mut().map(finish).collect();
        let own: [ArrayRef; 2] = [Arc::new(self.partitions.finish()), Arc::new(self.offsets.finish())];
        let times = self.times.finish();
        let rows = std::mem::take(&mut self.rows);
        if self.derivation.is_empty() {
            let columns = source.into_iter().chain(own).chain([Arc::new(times) as ArrayRef]).collect();
            let rows = RecordBatch::try_new(self.part_schema.clone(), columns)?;
            return Ok(Chunk { rows, misfits: Vec::new() });
        }
        let mut derived = self.derivation.apply(&RecordBatch::try_new(self.source_schema.clone(), source.clone())?)?;
        let times = match self.time {
            TimeFrom::Record | TimeFrom::Source(_) => times,
            TimeFrom::Derived(index) => self.derived_times(index, &mut derived),
        };
        let kept = self.kept.iter().map(|index| Arc::clone(&source[*index]));
        let columns = kept.chain(derived.columns).chain(own).chain([Arc::new(times) as ArrayRef]).collect();
        let all = RecordBatch::try_new(self.part_schema.clone(), columns)?;
        let misfit = |(row, reason)| (row, Misfit { reason, inferred_column: None });
        let misfits: Vec<(usize, Misfit)> = derived.bad.into_iter().map(misfit).collect();
        if misfits.is_empty() {
            return Ok(Chunk { rows: all, misfits });
        }
        let mut fits = vec![true; rows];
        misfits.iter().for_each(|(row, _)| fits[*row] = false);
        Ok(Chunk { rows: filter_record_batch(&all, &BooleanArray::from(fits))?, misfits })
    }

    /// The event times of a derived column; rows without one are bad.
    fn derived_times(&self, index: usize, derived: &mut Derived) -> TimestampMillisecondArray {
        let (column, array) = (&self.schema.derived[index], &derived.columns[index]);
        let times = (0..array.len()).map(|row| {
            let value = value_at(array.as_ref(), column.kind, row);
            checked_time(&self.reader, &value, &column.name, self.latest_ms).unwrap_or_else(|misfit| {
                derived.bad.entry(row).or_insert(misfit.reason);
                0
            })
        });
        TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC")
    }
}

pub(super) fn time_from(schema: &StreamSchema) -> TimeFrom {
    let Some(time) = &schema.time else { return TimeFrom::Record };
    let derived = schema.derived.iter().position(|column| column.name == *time).map(TimeFrom::Derived);
    let source = || schema.columns.iter().position(|column| column.name == *time).map(TimeFrom::Source);
    derived.or_else(source).unwrap_or(TimeFrom::Record)
}

fn value_at(array: &dyn Array, kind: ColumnType, row: usize) -> Value<'_> {
    if array.is_null(row) {
        return Value::Null;
    }
    match kind {
        ColumnType::Float64 => Value::Float64(array.as_primitive::<Float64Type>().value(row)),
        ColumnType::Int64 => Value::Int64(array.as_primitive::<Int64Type>().value(row)),
        ColumnType::Utf8 => Value::Utf8(Cow::Borrowed(array.as_string::<i32>().value(row))),
        ColumnType::Boolean => Value::Boolean(array.as_boolean().value(row)),
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
        // A value is of its column's own type, or null.
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

#[cfg(test)]
mod tests;
