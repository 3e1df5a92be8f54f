//! Rows of a Parquet file, a batch of them at a time in memory. Values become what JSON says of them: integers and decimals by
//! all their digits, floats so that they come back, times as ISO 8601, nested ones as JSON.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, FieldRef, Float16Type, Float32Type, Float64Type, Schema, SchemaRef, TimeUnit, UInt64Type,
};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{EncoderOptions, make_encoder};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use millstream_store::StoredFile;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::{LogicalType, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use uuid::Uuid;

use super::SourceError;
use super::parquet_batches::ParquetBatches;
use crate::record::Cell;
use crate::schema::{ColumnType, Dialect};

pub(super) struct ParquetRows {
    place: String,
    columns: Vec<String>,
    kinds: Vec<ColumnType>,
    /// Columns of bytes, which may be no text.
    binary: Vec<String>,
    uuids: HashSet<String>,
    /// The column whose order is asked for beside its text.
    order: Option<usize>,
    batches: ParquetBatches,
    texts: Vec<Texts>,
    /// Of a time, its count since the epoch: its ISO text does not sort by it.
    order_texts: Option<Texts>,
    /// In the current batch.
    row: usize,
    batch_rows: usize,
    rows_read: u64,
}

impl ParquetRows {
    pub fn open(place: &str, file: StoredFile, order_by: Option<&str>, dialect: Dialect) -> Result<Self, SourceError> {
        let fault = |source| SourceError::NotParquet { place: place.to_owned(), source };
        let unreadable = |source| SourceError::Unreadable { place: place.to_owned(), source };
        let length = file.length_bytes().map_err(unreadable)?;
        if length == 0 {
            return Err(SourceError::Empty { place: place.to_owned() });
        }
        let batches = ParquetBatches::open(file).map_err(fault)?;
        let batches = match dialect {
            Dialect::First => batches,
            Dialect::Second => {
                let metadata = with_long_times(batches.metadata().clone()).map_err(fault)?;
                batches.read_as(metadata)
            }
        };
        let (metadata, schema) = (batches.metadata(), batches.schema());
        let columns = names(place, schema)?;
        let uuids = match dialect {
            Dialect::First => HashSet::new(),
            Dialect::Second => uuids(metadata.metadata()),
        };
        Ok(Self {
            place: place.to_owned(),
            order: order_by.and_then(|name| columns.iter().position(|column| column == name)),
            columns,
            kinds: schema.fields().iter().map(|field| kind_of(field, metadata, dialect)).collect(),
            binary: schema
                .fields()
                .iter()
                .filter(|field| is_binary(field.data_type()) && !uuids.contains(field.name()))
                .map(|field| field.name().clone())
                .collect(),
            uuids,
            batches,
            texts: Vec::new(),
            order_texts: None,
            row: 0,
            batch_rows: 0,
            rows_read: 0,
        })
    }

    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The types by the file's own schema.
    pub fn kinds(&self) -> &[ColumnType] {
        &self.kinds
    }

    pub fn binary(&self) -> &[String] {
        &self.binary
    }

    pub fn rows_total(&self) -> u64 {
        self.batches.rows_total()
    }

    /// Goes to the next row; false at the end of the file.
    pub fn advance(&mut self) -> Result<bool, SourceError> {
        self.row += 1;
        while self.row >= self.batch_rows {
            let batch = match self.batches.read() {
                Ok(None) => return Ok(false),
                Ok(Some(batch)) => self.take(&batch),
                Err(error) => Err(error),
            };
            if let Err(error) = batch {
                let source = io::Error::other(error);
                return Err(SourceError::Read { place: self.place.clone(), row: self.rows_read + 1, source });
            }
        }
        self.rows_read += 1;
        Ok(true)
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let schema = batch.schema();
        let fields = schema.fields().iter().zip(batch.columns());
        let texts = fields.map(|(field, array)| Texts::of(field, array, self.uuids.contains(field.name())));
        self.texts = texts.collect::<Result<_, _>>()?;
        self.order_texts = match self.order {
            Some(index) if is_counted(schema.field(index).data_type()) => {
                Some(Texts::of(&schema.fields()[index], &counts(batch.column(index))?, false)?)
            }
            Some(_) | None => None,
        };
        (self.row, self.batch_rows) = (0, batch.num_rows());
        Ok(())
    }

    /// A value of the current row.
    pub fn cell(&self, column: usize) -> Cell<'_> {
        self.texts.get(column).map_or(Cell::Null, |texts| texts.cell(self.row))
    }

    /// What the current row is ordered by.
    pub fn order_cell(&self) -> Cell<'_> {
        match (&self.order_texts, self.order) {
            (Some(texts), _) => texts.cell(self.row),
            (None, Some(column)) => self.cell(column),
            (None, None) => Cell::Null,
        }
    }
}

fn names(place: &str, schema: &SchemaRef) -> Result<Vec<String>, SourceError> {
    let columns: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut seen = HashSet::with_capacity(columns.len());
    for name in &columns {
        if !seen.insert(name) {
            let fault = format!("names two columns {name:?}: rename one of them");
            return Err(SourceError::Header { place: place.to_owned(), fault });
        }
    }
    if columns.is_empty() {
        return Err(SourceError::Empty { place: place.to_owned() });
    }
    Ok(columns)
}

fn kind(data_type: &DataType) -> ColumnType {
    match data_type {
        DataType::Boolean => ColumnType::Boolean,
        data_type if data_type.is_integer() => ColumnType::Int64,
        data_type if data_type.is_numeric() => ColumnType::Float64,
        DataType::Dictionary(_, values) => kind(values),
        _ => ColumnType::Utf8,
    }
}

/// By the type, and where that holds more than a column's does without loss, by the largest and the smallest value: text keeps all digits.
fn kind_of(field: &FieldRef, metadata: &ArrowReaderMetadata, dialect: Dialect) -> ColumnType {
    let text_unless = |fits: bool, kind| if fits { kind } else { ColumnType::Utf8 };
    match (dialect, field.data_type()) {
        (Dialect::Second, DataType::UInt64) => {
            let fits = ends(field, metadata).is_some_and(|ends| {
                ends.iter().all(|ends| {
                    ends.as_primitive::<UInt64Type>().iter().flatten().all(|end| i64::try_from(end).is_ok())
                })
            });
            text_unless(fits, ColumnType::Int64)
        }
        (Dialect::Second, DataType::Decimal128(digits, scale)) => {
            let most = if *scale > 0 { 10_i128.pow(DIGITS_OF_F64) } else { i128::from(i64::MAX) };
            let fits_any = if *scale > 0 { u32::from(*digits) <= DIGITS_OF_F64 } else { *digits <= 18 && *scale == 0 };
            let fits = || {
                *scale >= 0
                    && ends(field, metadata).is_some_and(|ends| {
                        ends.iter().all(|ends| {
                            ends.as_primitive::<Decimal128Type>()
                                .iter()
                                .flatten()
                                .all(|end| (-most..=most).contains(&end))
                        })
                    })
            };
            let kind = if *scale > 0 { ColumnType::Float64 } else { ColumnType::Int64 };
            text_unless(fits_any || fits(), kind)
        }
        (Dialect::Second, DataType::Decimal256(..)) => ColumnType::Utf8,
        (Dialect::First | Dialect::Second, data_type) => kind(data_type),
    }
}

/// Of so many digits every decimal number comes back from a f64.
const DIGITS_OF_F64: u32 = 15;

/// The smallest and the largest value of each row group; `None`: the file does not say them of all.
fn ends(field: &FieldRef, metadata: &ArrowReaderMetadata) -> Option<[ArrayRef; 2]> {
    let groups = metadata.metadata().row_groups();
    let found = StatisticsConverter::try_new(field.name(), metadata.schema(), metadata.parquet_schema()).ok()?;
    let ends = [found.row_group_mins(groups).ok()?, found.row_group_maxes(groups).ok()?];
    let has_rows = |group: usize| groups.get(group).is_some_and(|group| group.num_rows() > 0);
    let are_all = ends.iter().all(|ends| (0..ends.len()).all(|group| ends.is_valid(group) || !has_rows(group)));
    (are_all && ends.iter().all(|ends| ends.data_type() == field.data_type())).then_some(ends)
}

/// Times of 96 bits (Spark, Impala, Hive) count nanoseconds, which in 64 bits end in 2262: they are read as microseconds.
fn with_long_times(metadata: ArrowReaderMetadata) -> Result<ArrowReaderMetadata, ParquetError> {
    let is_int96 = |name: &str| {
        let columns = metadata.parquet_schema().columns();
        columns.iter().any(|column| column.path().parts() == [name] && column.physical_type() == PhysicalType::INT96)
    };
    let fields = metadata.schema().fields().iter().map(|field| match is_int96(field.name()) {
        true => Arc::new(field.as_ref().clone().with_data_type(DataType::Timestamp(TimeUnit::Microsecond, None))),
        false => Arc::clone(field),
    });
    let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), metadata.schema().metadata().clone());
    if schema == *metadata.schema().as_ref() {
        return Ok(metadata);
    }
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)
}

/// Columns of 16 bytes that the file calls UUIDs.
fn uuids(metadata: &ParquetMetaData) -> HashSet<String> {
    let columns = metadata.file_metadata().schema_descr().columns();
    let found = columns.iter().filter(|column| matches!(column.logical_type_ref(), Some(LogicalType::Uuid)));
    found.filter_map(|column| column.path().parts().first().cloned()).collect()
}

fn is_binary(data_type: &DataType) -> bool {
    match data_type {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => true,
        DataType::Dictionary(_, values) => is_binary(values),
        _ => false,
    }
}

/// Times, dates and durations: their texts do not sort by them.
fn is_counted(data_type: &DataType) -> bool {
    data_type.is_temporal() && !matches!(data_type, DataType::Interval(_))
}

/// A time, date or duration as its count of units.
fn counts(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let array = match array.data_type() {
        DataType::Date32 | DataType::Time32(_) => cast(array, &DataType::Int32)?,
        _ => array.clone(),
    };
    cast(&array, &DataType::Int64)
}

/// A column of a batch as text, so that a row is put together without a look at types.
struct Texts {
    text: String,
    /// Where each row's text ends, and what it is.
    ends: Vec<(usize, Form)>,
}

#[derive(Clone, Copy)]
enum Form {
    Null,
    Text,
    Raw,
}

impl Texts {
    /// `is_uuid`: its bytes are one.
    fn of(field: &FieldRef, array: &ArrayRef, is_uuid: bool) -> Result<Self, ArrowError> {
        let mut texts = Self { text: String::new(), ends: Vec::with_capacity(array.len()) };
        match array.data_type() {
            DataType::Utf8 => texts.fill(array, |row, out| push(out, array.as_string::<i32>().value(row), Form::Text)),
            DataType::LargeUtf8 => {
                texts.fill(array, |row, out| push(out, array.as_string::<i64>().value(row), Form::Text))
            }
            DataType::Utf8View => {
                texts.fill(array, |row, out| push(out, array.as_string_view().value(row), Form::Text))
            }
            DataType::Float16 => {
                texts.fill(array, |row, out| float(out, f64::from(array.as_primitive::<Float16Type>().value(row))))
            }
            // By its own shortest text: 0.1 stays 0.1, and not what a wider float makes of it.
            DataType::Float32 => texts.fill(array, |row, out| {
                let number = array.as_primitive::<Float32Type>().value(row);
                if number.is_finite() { written(out, &format_args!("{number:?}"), Form::Raw) } else { Form::Null }
            }),
            DataType::Float64 => {
                texts.fill(array, |row, out| float(out, array.as_primitive::<Float64Type>().value(row)))
            }
            DataType::Binary => texts.fill(array, |row, out| bytes(out, array.as_binary::<i32>().value(row))),
            DataType::LargeBinary => texts.fill(array, |row, out| bytes(out, array.as_binary::<i64>().value(row))),
            DataType::BinaryView => texts.fill(array, |row, out| bytes(out, array.as_binary_view().value(row))),
            DataType::FixedSizeBinary(16) if is_uuid => {
                texts.fill(array, |row, out| match Uuid::from_slice(array.as_fixed_size_binary().value(row)) {
                    Ok(uuid) => written(out, &format_args!("{uuid}"), Form::Text),
                    Err(_) => Form::Null,
                })
            }
            DataType::FixedSizeBinary(_) => {
                texts.fill(array, |row, out| bytes(out, array.as_fixed_size_binary().value(row)))
            }
            DataType::Dictionary(_, values) => return Self::of(field, &cast(array, values)?, is_uuid),
            data_type if data_type.is_nested() => texts.fill_nested(field, array)?,
            data_type => {
                let form = match data_type {
                    DataType::Boolean => Form::Raw,
                    data_type if data_type.is_numeric() => Form::Raw,
                    _ => Form::Text,
                };
                texts.fill_formatted(array, form)?;
            }
        }
        Ok(texts)
    }

    fn fill(&mut self, array: &ArrayRef, mut value: impl FnMut(usize, &mut String) -> Form) {
        for row in 0..array.len() {
            let form = if array.is_null(row) { Form::Null } else { value(row, &mut self.text) };
            self.ends.push((self.text.len(), form));
        }
    }

    fn fill_formatted(&mut self, array: &ArrayRef, form: Form) -> Result<(), ArrowError> {
        let options = FormatOptions::default().with_display_error(false);
        let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
        for row in 0..array.len() {
            if array.is_null(row) {
                self.ends.push((self.text.len(), Form::Null));
                continue;
            }
            formatter.value(row).write(&mut self.text)?;
            self.ends.push((self.text.len(), form));
        }
        Ok(())
    }

    fn fill_nested(&mut self, field: &FieldRef, array: &ArrayRef) -> Result<(), ArrowError> {
        let options = EncoderOptions::default().with_explicit_nulls(true);
        let mut encoder = make_encoder(field, array.as_ref(), &options)?;
        let mut json = Vec::new();
        for row in 0..array.len() {
            if array.is_null(row) {
                self.ends.push((self.text.len(), Form::Null));
                continue;
            }
            json.clear();
            encoder.encode(row, &mut json);
            self.text.push_str(&String::from_utf8_lossy(&json));
            self.ends.push((self.text.len(), Form::Raw));
        }
        Ok(())
    }

    fn cell(&self, row: usize) -> Cell<'_> {
        let Some((end, form)) = self.ends.get(row) else { return Cell::Null };
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before].0);
        match form {
            Form::Null => Cell::Null,
            Form::Text => Cell::Text(&self.text[start..*end]),
            Form::Raw => Cell::Raw(&self.text[start..*end]),
        }
    }
}

fn push(out: &mut String, text: &str, form: Form) -> Form {
    out.push_str(text);
    form
}

fn written(out: &mut String, text: &std::fmt::Arguments, form: Form) -> Form {
    // Writing to a text cannot fail.
    let _ = out.write_fmt(*text);
    form
}

fn float(out: &mut String, number: f64) -> Form {
    if number.is_finite() { written(out, &format_args!("{number:?}"), Form::Raw) } else { Form::Null }
}

/// Older writers leave text without its mark. Bytes that are no text have no place in a record.
fn bytes(out: &mut String, bytes: &[u8]) -> Form {
    match std::str::from_utf8(bytes) {
        Ok(text) => push(out, text, Form::Text),
        Err(_) => Form::Null,
    }
}
