//! Reads stored batches for people: which are complete, their rows, whether they are whole.

use std::sync::Mutex;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use serde_json::{Map, Value};

use super::DecideError;
use super::blocks::{PartFault, Selection, read_blocks};
use super::committed::{SCHEMA_KEY, check_no_gap, read_complete, read_schema};
use super::manifest::{Batch, batch_folder};
use super::verify::verify;
use crate::store::{SharedStore, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    #[error(transparent)]
    Decide(#[from] DecideError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no complete batch {batch}: {complete} are complete")]
    NoSuchBatch { batch: u32, complete: usize },
    #[error(transparent)]
    Unreadable(#[from] PartFault),
}

/// The complete batches of a store. They never change, so what was read once is kept.
pub struct StoredBatches {
    store: SharedStore,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    batches: Vec<Batch>,
    /// That nothing is missing between batches has been seen, once.
    no_gap: bool,
}

impl StoredBatches {
    pub fn new(store: SharedStore) -> Self {
        Self { store, known: Mutex::default() }
    }

    /// Complete batches, oldest first.
    pub fn complete(&self) -> Result<Vec<Batch>, StoredError> {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let store = self.store.as_ref();
        loop {
            let before = known.batches.last().map(|batch| &batch.cut);
            let batch = before.map_or(1, |cut| cut.batch + 1);
            let Some(found) = read_complete(store, batch, before)? else { break };
            known.batches.push(found);
        }
        if !known.no_gap {
            check_no_gap(store, &store.list("batches/")?)?;
            known.no_gap = true;
        }
        Ok(known.batches.clone())
    }

    /// A batch that is known to be whole is there, whatever is wrong with others.
    pub fn get(&self, batch: u32) -> Result<Batch, StoredError> {
        let complete = self.complete();
        let known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let found = batch.checked_sub(1).and_then(|index| known.batches.get(index as usize));
        match (found, complete) {
            (Some(found), _) => Ok(found.clone()),
            (None, Ok(complete)) => Err(StoredError::NoSuchBatch { batch, complete: complete.len() }),
            (None, Err(error)) => Err(error),
        }
    }

    /// Rows `offset..offset + limit`, partition 0 first, as JSON objects.
    pub fn rows(&self, batch: u32, offset: usize, limit: usize) -> Result<Vec<Map<String, Value>>, StoredError> {
        let batch = self.get(batch)?;
        let schema = read_schema(self.store.as_ref())?;
        let schema = schema.ok_or_else(|| StoreError::Missing { key: SCHEMA_KEY.to_owned() })?.part();
        let (mut skip, mut rows) = (offset, Vec::new());
        for part in &batch.parts {
            let Some(file) = &part.file else { continue };
            // More rows than can be counted are not passed over.
            if let Some(left) = usize::try_from(part.rows).ok().and_then(|rows| skip.checked_sub(rows)) {
                skip = left;
                continue;
            }
            if rows.len() >= limit {
                break;
            }
            let key = format!("{}/{file}", batch_folder(batch.number()));
            let selection = Selection { skip, limit: Some(limit - rows.len()), row_groups: None };
            for block in read_blocks(self.store.as_ref(), &key, &schema, &selection)? {
                append_rows(&block?, &mut rows);
            }
            skip = 0;
        }
        Ok(rows)
    }

    /// Checks every batch against its manifests. Answers what is wrong, one line each; empty: all is whole.
    pub fn verify(&self) -> Result<Vec<String>, StoredError> {
        Ok(verify(self.store.as_ref())?)
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
