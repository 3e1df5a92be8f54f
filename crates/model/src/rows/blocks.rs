//! The rows of committed parts, block by block, with only the columns that are asked for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, mpsc};
use std::thread;

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::interleave_record_batch;
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
use millstream_store::Store;
use millstream_stream::batch::{Batch, Blocks, Selection, read_blocks};
use millstream_stream::schema::{OFFSET_COLUMN, PARTITION_COLUMN};
use millstream_untrusted::model::Holdout;

use super::RowsError;
use super::holdout::{self, Sieve};

/// Enough to keep both threads at work; 4 blocks of 20 columns are 10 MiB.
const BLOCKS_AHEAD: usize = 4;
/// Rows of several parts that are put in order at once.
const MERGED_ROWS: usize = 16_384;
/// Each open part holds a file, and one more for every column; of more parts each is opened again for its next block.
const OPEN_PARTS_MOST: usize = 32;

/// The asked columns, then `_partition` and `_offset`: what a block holds.
pub fn block_schema(columns: &Schema) -> SchemaRef {
    let own = [Field::new(PARTITION_COLUMN, DataType::Int32, false), Field::new(OFFSET_COLUMN, DataType::Int64, false)];
    let fields: Vec<_> = columns.fields().iter().cloned().chain(own.map(Arc::new)).collect();
    Arc::new(Schema::new(fields))
}

/// Calls `visit` with every block of the batch, partition by partition, in offset order. One thread decodes ahead of the
/// visitor. `schema`: made by `block_schema`.
pub fn for_each_block<E: From<RowsError>>(
    store: &dyn Store,
    batch: &Batch,
    schema: &SchemaRef,
    visit: impl FnMut(&RecordBatch) -> Result<(), E>,
) -> Result<(), E> {
    ahead(|give| decode(store, batch, schema, give), visit)
}

/// As `for_each_block`, with the rows in the order of the stream: by offset, those of one offset by partition. So replay in turn
/// has the order of its file, and a key has the order of its partition.
pub fn for_each_block_in_order<E: From<RowsError>>(
    store: &dyn Store,
    batch: &Batch,
    schema: &SchemaRef,
    visit: impl FnMut(&RecordBatch) -> Result<(), E>,
) -> Result<(), E> {
    let keys = batch.files();
    if keys.len() < 2 {
        return for_each_block(store, batch, schema, visit);
    }
    let give = |give: &mut dyn FnMut(Result<RecordBatch, RowsError>) -> bool| {
        if let Err(fault) = Merge::open(store, keys, schema).and_then(|mut merge| merge.run(give)) {
            give(Err(fault));
        }
    };
    ahead(give, visit)
}

type Give<'a> = &'a mut dyn FnMut(Result<RecordBatch, RowsError>) -> bool;

/// `decode` gives blocks, or an error that ends them, until its argument wants no more.
fn ahead<E: From<RowsError>>(
    decode: impl FnOnce(Give) + Send,
    mut visit: impl FnMut(&RecordBatch) -> Result<(), E>,
) -> Result<(), E> {
    thread::scope(|scope| {
        let (blocks, decoded) = mpsc::sync_channel(BLOCKS_AHEAD);
        // Ends when the visitor gave up and dropped its end.
        scope.spawn(move || decode(&mut |block| blocks.send(block).is_ok()));
        decoded.into_iter().try_for_each(|block: Result<RecordBatch, RowsError>| visit(&block?))
    })
}

/// Gives the blocks, or the error that ends them, until `give` wants no more.
fn decode(store: &dyn Store, batch: &Batch, schema: &SchemaRef, give: Give) {
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
            if !give(block.map_err(RowsError::from)) || failed {
                return;
            }
        }
    }
}

/// The parts of one batch, put into one order while they are read: a block of each is held.
struct Merge<'a> {
    store: &'a dyn Store,
    schema: &'a SchemaRef,
    parts: Vec<Part>,
    /// Of each part that has rows left its next one: offset, partition, place among the parts.
    heads: BinaryHeap<Reverse<(i64, i32, usize)>>,
    /// Blocks that rows below are of.
    blocks: Vec<RecordBatch>,
    /// The next rows, in order: which block, which of its rows.
    rows: Vec<(usize, usize)>,
}

struct Part {
    key: String,
    /// `None`: it is opened again for the next block.
    open: Option<Blocks>,
    rows_read: usize,
    /// The place in `blocks` of its block, and the next row in it.
    block: usize,
    row: usize,
}

impl<'a> Merge<'a> {
    fn open(store: &'a dyn Store, keys: Vec<String>, schema: &'a SchemaRef) -> Result<Self, RowsError> {
        let stay_open = keys.len() <= OPEN_PARTS_MOST;
        let part = |key: String| {
            let open = stay_open.then(|| read_blocks(store, &key, schema, &Selection::all())).transpose()?;
            Ok(Part { key, open, rows_read: 0, block: 0, row: 0 })
        };
        let parts = keys.into_iter().map(part).collect::<Result<Vec<Part>, RowsError>>()?;
        let heads = BinaryHeap::with_capacity(parts.len());
        let mut merge = Self { store, schema, parts, heads, blocks: Vec::new(), rows: Vec::with_capacity(MERGED_ROWS) };
        (0..merge.parts.len()).try_for_each(|at| merge.read(at))?;
        Ok(merge)
    }

    fn run(&mut self, give: Give) -> Result<(), RowsError> {
        while let Some(Reverse((.., at))) = self.heads.pop() {
            let part = &mut self.parts[at];
            self.rows.push((part.block, part.row));
            part.row += 1;
            if part.row < self.blocks[part.block].num_rows() {
                self.push_head(at)?;
            } else {
                self.read(at)?;
            }
            if (self.rows.len() == MERGED_ROWS || self.heads.is_empty()) && !give(Ok(self.take()?)) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next block of a part, where it has one.
    fn read(&mut self, at: usize) -> Result<(), RowsError> {
        let part = &mut self.parts[at];
        loop {
            let block = match &mut part.open {
                Some(blocks) => blocks.next(),
                None => {
                    let next = Selection { skip: part.rows_read, limit: Some(MERGED_ROWS), row_groups: None };
                    read_blocks(self.store, &part.key, self.schema, &next)?.next()
                }
            };
            let Some(block) = block.transpose()? else { return Ok(()) };
            if block.num_rows() > 0 {
                part.rows_read += block.num_rows();
                (part.block, part.row) = (self.blocks.len(), 0);
                self.blocks.push(block);
                return self.push_head(at);
            }
        }
    }

    fn push_head(&mut self, at: usize) -> Result<(), RowsError> {
        let Part { block, row, .. } = self.parts[at];
        let block = &self.blocks[block];
        let (partitions, offsets) = identities(block)?;
        self.heads.push(Reverse((offsets[row], partitions[row], at)));
        Ok(())
    }

    /// The rows in order so far, as a block; blocks that are used up are let go.
    fn take(&mut self) -> Result<RecordBatch, RowsError> {
        let merged = interleave_record_batch(&self.blocks.iter().collect::<Vec<_>>(), &self.rows);
        let merged = merged.map_err(|error| RowsError::Part {
            place: self.parts.first().map_or(String::new(), |part| part.key.clone()),
            problem: error.to_string(),
        })?;
        self.rows.clear();
        let mut left = Vec::with_capacity(self.parts.len());
        for Reverse((.., at)) in &self.heads {
            let part = &mut self.parts[*at];
            left.push(self.blocks[part.block].clone());
            part.block = left.len() - 1;
        }
        self.blocks = left;
        Ok(merged)
    }
}

/// Which rows of a block no version trains on.
pub fn held_out(block: &RecordBatch, holdout: Holdout) -> Result<BooleanArray, RowsError> {
    let mut sieve = Sieve::new(holdout);
    let (partitions, offsets) = identities(block)?;
    let records = partitions.iter().zip(offsets);
    Ok(records.map(|(&partition, &offset)| Some(sieve.is_held_out(i64::from(partition), offset))).collect())
}

/// Which records the rows of a block are: `_partition` and `_offset` of each. A block without them is an error, since nothing
/// could be held out of it.
pub fn identities(block: &RecordBatch) -> Result<(&[i32], &[i64]), RowsError> {
    let column = |name| block.column_by_name(name).filter(|column| column.null_count() == 0);
    let partitions = column(PARTITION_COLUMN).and_then(|column| column.as_primitive_opt::<Int32Type>());
    let offsets = column(OFFSET_COLUMN).and_then(|column| column.as_primitive_opt::<Int64Type>());
    match (partitions, offsets) {
        (Some(partitions), Some(offsets)) => Ok((partitions.values(), offsets.values())),
        (None, _) | (_, None) => Err(RowsError::Impossible("a block of rows does not say which records they are")),
    }
}

/// The hash of each row's record that the hold-out goes by.
pub fn record_hashes(block: &RecordBatch, seed: i64) -> Result<Vec<u64>, RowsError> {
    let (partitions, offsets) = identities(block)?;
    let records = partitions.iter().zip(offsets);
    Ok(records.map(|(&partition, &offset)| holdout::hash(seed, i64::from(partition), offset)).collect())
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int32Array, Int64Array};

    use super::*;

    fn block(columns: &[(&str, ArrayRef)]) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(
            columns.iter().map(|(name, column)| (*name, Arc::clone(column), column.is_nullable())),
        )
        .unwrap()
    }

    #[test]
    fn rows_that_do_not_say_which_records_they_are_are_never_trained_on() {
        let holdout = Holdout { share: 0.5, seed: 0 };
        let partitions: ArrayRef = Arc::new(Int32Array::from(vec![0; 100]));
        let offsets: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
        let nulls: ArrayRef = Arc::new((0..100).map(|row| (row != 7).then_some(row)).collect::<Int64Array>());
        let whole = block(&[(PARTITION_COLUMN, Arc::clone(&partitions)), (OFFSET_COLUMN, Arc::clone(&offsets))]);
        assert!((20..80).contains(&held_out(&whole, holdout).unwrap().true_count()));
        for lacking in [
            block(&[(OFFSET_COLUMN, Arc::clone(&offsets))]),
            block(&[(PARTITION_COLUMN, Arc::clone(&partitions))]),
            block(&[(PARTITION_COLUMN, Arc::clone(&offsets)), (OFFSET_COLUMN, Arc::clone(&offsets))]),
            block(&[(PARTITION_COLUMN, partitions), (OFFSET_COLUMN, nulls)]),
        ] {
            assert!(matches!(held_out(&lacking, holdout), Err(RowsError::Impossible(_))), "{lacking:?}");
        }
    }
}
