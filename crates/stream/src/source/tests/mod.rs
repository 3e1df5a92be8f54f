//! Any rows of any format come through whole and in order; what is no source says so.

mod bad_input;
mod cases;
mod claims;
mod dialects;
mod files;
mod limits;
mod nested;
mod order;
mod packed;
mod profile;
mod stdin;
mod values;

use std::io::Write;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use parquet::arrow::ArrowWriter;

use super::fixture::{Bench, rows, said, texts};
use crate::record::Encoding;
use crate::schema::{Bad, ColumnRule, ColumnType, SchemaRules};

/// A Parquet file of these columns, in row groups of two rows.
fn parquet_of(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, array)| (*name, array.clone(), true)));
    let batch = batch.unwrap();
    let properties =
        parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(2)).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn array<A: datafusion::arrow::array::Array + 'static>(array: A) -> ArrayRef {
    Arc::new(array)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}
