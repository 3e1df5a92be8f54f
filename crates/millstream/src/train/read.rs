//! The rows of committed parts, block by block, with only the columns that are asked for.

use std::sync::{Arc, mpsc};
use std::thread;

use datafusion::arrow::array::{AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};

use super::TrainError;
use super::holdout::Sieve;
use crate::batch::{Batch, Selection, read_blocks};
use crate::registry::Holdout;
use crate::schema::{OFFSET_COLUMN, PARTITION_COLUMN};
use crate::store::Store;

/// Enough to keep both threads at work; 4 blocks of 20 columns are 10 MiB.
const BLOCKS_AHEAD: usize = 4;

/// The asked columns, then `_partition` and `_offset`: what a block holds.
pub fn block_schema(columns: &Schema) -> SchemaRef {
    let own = [Field::new(PARTITION_COLUMN, DataType::Int32, false), Field::new(OFFSET_COLUMN, DataType::Int64, false)];
    let fields: Vec<_> = columns.fields().iter().cloned().chain(own.map(Arc::new)).collect();
    Arc::new(Schema::new(fields))
}

/// Calls `visit` with every block of the batch, partition by partition, in offset order. One thread decodes ahead of the
/// visitor. `schema`: made by `block_schema`.
pub fn for_each_block(
    store: &dyn Store,
    batch: &Batch,
    schema: &SchemaRef,
    mut visit: impl FnMut(&RecordBatch) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    thread::scope(|scope| {
        let (blocks, decoded) = mpsc::sync_channel(BLOCKS_AHEAD);
        // Ends when the visitor gave up and dropped its end.
        scope.spawn(move || decode(store, batch, schema, |block| blocks.send(block).is_ok()));
        decoded.into_iter().try_for_each(|block| visit(&block?))
    })
}

/// Gives the blocks, or the error that ends them, until `give` wants no more.
fn decode(
    store: &dyn Store,
    batch: &Batch,
    schema: &SchemaRef,
    mut give: impl FnMut(Result<RecordBatch, TrainError>) -> bool,
) {
    for key in batch.files() {
        let blocks = match read_blocks(store, &key, schema, &Selection::all()) {
            Ok(blocks) => blocks,
            Err(fault) => {
                give(Err(fault.into()));
                return;
            }
        };
        for block in blocks {
            let failed = block.is_err();
            if !give(block.map_err(TrainError::from)) || failed {
                return;
            }
        }
    }
}

/// Which rows of a block no version trains on.
pub fn held_out(block: &RecordBatch, holdout: Holdout) -> BooleanArray {
    let mut sieve = Sieve::new(holdout);
    let columns = (block.column_by_name(PARTITION_COLUMN), block.column_by_name(OFFSET_COLUMN));
    let (Some(partitions), Some(offsets)) = columns else {
        return BooleanArray::from(vec![false; block.num_rows()]);
    };
    let partitions = partitions.as_primitive::<Int32Type>().values();
    let offsets = offsets.as_primitive::<Int64Type>().values();
    partitions
        .iter()
        .zip(offsets)
        .map(|(&partition, &offset)| Some(sieve.is_held_out(i64::from(partition), offset)))
        .collect()
}
