//! Reads stored batches for people: which are complete, their rows, whether they are whole.

use std::sync::Mutex;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};

use super::committed::{committed, read_complete};
use super::manifest::{Batch, batch_folder};
use super::{DecideError, cuts};
use crate::store::{SharedStore, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    #[error(transparent)]
    Decide(#[from] DecideError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no complete batch {batch}: {complete} are complete")]
    NoSuchBatch { batch: u32, complete: usize },
    #[error("{place}: cannot be read: {reason}; restore the file, the topic still holds its records")]
    Unreadable { place: String, reason: String },
}

/// The complete batches of a store. They never change, so what was read once is kept.
pub struct StoredBatches {
    store: SharedStore,
    known: Mutex<Vec<Batch>>,
}

impl StoredBatches {
    pub fn new(store: SharedStore) -> Self {
        Self { store, known: Mutex::new(Vec::new()) }
    }

    /// Complete batches, oldest first.
    pub fn complete(&self) -> Result<Vec<Batch>, StoredError> {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            let batch = u32::try_from(known.len()).unwrap_or(u32::MAX) + 1;
            let Some(found) = read_complete(self.store.as_ref(), batch)? else { break };
            known.push(found);
        }
        Ok(known.clone())
    }

    pub fn get(&self, batch: u32) -> Result<Batch, StoredError> {
        let complete = self.complete()?;
        let index = (batch as usize).wrapping_sub(1);
        complete.get(index).cloned().ok_or(StoredError::NoSuchBatch { batch, complete: complete.len() })
    }

    /// Rows `offset..offset + limit`, partition 0 first, as JSON objects.
    pub fn rows(&self, batch: u32, offset: usize, limit: usize) -> Result<Vec<Map<String, Value>>, StoredError> {
        let batch = self.get(batch)?;
        let (mut skip, mut rows) = (offset, Vec::new());
        for part in &batch.parts {
            let Some(file) = &part.file else { continue };
            let part_rows = usize::try_from(part.rows).unwrap_or(usize::MAX);
            if skip >= part_rows {
                skip -= part_rows;
                continue;
            }
            let key = format!("{}/{file}", batch_folder(batch.number()));
            for found in self.read(&key, skip, limit - rows.len())? {
                append_rows(&found, &mut rows);
            }
            skip = 0;
            if rows.len() >= limit {
                break;
            }
        }
        Ok(rows)
    }

    fn read(&self, key: &str, offset: usize, limit: usize) -> Result<Vec<RecordBatch>, StoredError> {
        let unreadable = |reason: String| StoredError::Unreadable { place: self.store.place(key), reason };
        let file = self.store.open(key).map_err(|error| unreadable(error.to_string()))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(|builder| builder.with_offset(offset).with_limit(limit).build())
            .map_err(|error| unreadable(error.to_string()))?;
        reader.collect::<Result<_, _>>().map_err(|error| unreadable(error.to_string()))
    }

    /// Checks every batch against its manifests: the ranges abut, the files have the bytes that were written and hold each
    /// record once. Answers what is wrong, one line each; empty: all is whole.
    pub fn verify(&self) -> Result<Vec<String>, StoredError> {
        let cuts = cuts(self.store.as_ref())?;
        let Some(partitions) = cuts.first().map(|cut| cut.ends.len()) else { return Ok(Vec::new()) };
        let found = committed(self.store.as_ref(), &vec![0; partitions])?;
        let mut faults = Vec::new();
        let mut before: Vec<Option<i64>> = vec![None; partitions];
        let mut total = 0;
        for batch in &found.batches {
            let number = batch.number();
            for (part, before) in batch.parts.iter().zip(&mut before) {
                let partition = part.partition;
                if before.is_some_and(|end| end != part.first_offset) {
                    faults.push(format!(
                        "batch {number}, partition {partition}: begins at offset {}, the batch before ends at {}",
                        part.first_offset,
                        before.unwrap_or(0)
                    ));
                }
                let end = batch.cut.ends.get(partition as usize).copied().unwrap_or_default();
                if part.end_offset != end {
                    faults.push(format!(
                        "batch {number}, partition {partition}: ends at offset {}, its cut says {end}",
                        part.end_offset
                    ));
                }
                *before = Some(part.end_offset);
                total += part.rows + part.rejects;
                if let Some(file) = &part.file {
                    let key = format!("{}/{file}", batch_folder(number));
                    faults.extend(
                        self.verify_file(&key, part)
                            .err()
                            .map(|fault| format!("batch {number}, partition {partition}: {fault}")),
                    );
                }
            }
            if total != batch.cut.total {
                faults.push(format!("batch {number}: {total} records so far, its cut says {}", batch.cut.total));
            }
        }
        Ok(faults)
    }

    fn verify_file(&self, key: &str, part: &super::Manifest) -> Result<(), String> {
        let bytes = self.store.read(key).map_err(|error| error.to_string())?;
        let digest = blake3::hash(&bytes).to_hex().to_string();
        if part.file_digest.as_ref().is_some_and(|written| *written != digest) {
            return Err(format!("{}: the file is not the one that was written; restore it", self.store.place(key)));
        }
        let mut rows = 0;
        let mut last = part.first_offset - 1;
        for batch in self.read(key, 0, usize::MAX).map_err(|error| error.to_string())? {
            let offsets = batch.column_by_name(crate::schema::OFFSET_COLUMN).ok_or("no column _offset")?;
            for offset in offsets.as_primitive::<Int64Type>().values() {
                if *offset <= last || *offset >= part.end_offset {
                    return Err(format!("offset {offset} after {last}, in a part that ends at {}", part.end_offset));
                }
                last = *offset;
                rows += 1;
            }
        }
        if rows == part.rows { Ok(()) } else { Err(format!("{rows} rows, its manifest says {}", part.rows)) }
    }
}

fn append_rows(batch: &RecordBatch, rows: &mut Vec<Map<String, Value>>) {
    let schema = batch.schema();
    for row in 0..batch.num_rows() {
        let columns = schema.fields().iter().zip(batch.columns());
        rows.push(columns.map(|(field, column)| (field.name().clone(), json(column.as_ref(), row))).collect());
    }
}

fn json(column: &dyn Array, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::Timestamp(..) => column.as_primitive::<TimestampMillisecondType>().value(row).into(),
        // Parts hold no other type: see `StreamSchema::part`.
        other => format!("{other}").into(),
    }
}
