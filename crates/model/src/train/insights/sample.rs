//! The rows that a version is asked about: a bounded sample that is the same for whoever takes it.

use datafusion::arrow::array::{Array, BooleanArray, RecordBatch, UInt64Array};
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use millstream_store::Store;
use millstream_stream::batch::Batch;
use millstream_stream::schema::StreamSchema;

use super::super::TrainError;
use super::super::evaluate::{Rows, VersionExpressions};
use crate::registry::Version;
use crate::rows::{RowsError, for_each_block, held_out, keep, keep_passing, narrow, record_hashes};

/// Rows of a sample, …
const ROWS_MOST: usize = 20_000;
/// … numbers that are read and answered of them, 64 MiB, …
const VALUES_MOST: usize = 8_000_000;
/// … but never fewer rows for that than these; …
const ROWS_LEAST: usize = 500;
/// … and what they take in memory, half of it while more are looked at: texts may be long.
const BYTES_MOST: usize = 128 << 20;

/// Rows that pass `where`, and, of held-out ones, have a target, by the version's expressions, in an order that is theirs by chance: the first
/// ones are a sample of the sample.
pub(super) struct Sample {
    pub bound: VersionExpressions,
    pub rows: RecordBatch,
    /// How many there are.
    pub of: u64,
}

impl Sample {
    /// `batches`: of held-out rows the version's own.
    pub fn take(
        store: &dyn Store,
        schema: &StreamSchema,
        version: &Version,
        batches: &[Batch],
        rows: Rows,
    ) -> Result<Self, TrainError> {
        let file = &version.file;
        let stream = schema.arrow();
        let columns = narrow(VersionExpressions::compile(version, &stream)?.expressions(), &stream);
        let bound = VersionExpressions::compile(version, &columns)?;
        let width = bound.expressions().count() + file.task.classes().len();
        let mut pool = Pool::new(columns, (VALUES_MOST / width.max(1)).clamp(ROWS_LEAST, ROWS_MOST));
        let is_held_out = rows == Rows::HeldOut;
        // Nothing is held out of a version that trained on all.
        let read = if !is_held_out || file.holdout.share > 0.0 { batches } else { &[] };
        for batch in read {
            for_each_block(store, batch, &pool.schema.clone(), |block| {
                let block = match rows {
                    Rows::HeldOut => keep(block, &held_out(block, file.holdout)?, &mut 0)?,
                    Rows::All => block.clone(),
                };
                let block = keep_passing(bound.filter.as_ref(), block, &mut 0)?;
                let block = match bound.target.as_ref().filter(|_| is_held_out) {
                    Some(target) => {
                        let targets = target.evaluate(&block).map_err(RowsError::of("target"))?;
                        let present: BooleanArray =
                            (0..block.num_rows()).map(|row| Some(targets.is_valid(row))).collect();
                        keep(&block, &present, &mut 0)?
                    }
                    None => block,
                };
                pool.add(block, file.holdout.seed)
            })?;
        }
        let of = pool.of;
        Ok(Self { bound, rows: pool.finish()?, of })
    }
}

/// Of all rows that come those of the smallest hashes, the ones that the hold-out goes by: among rows that are held out they are chance, and
/// among all rows they are held-out ones first.
struct Pool {
    schema: SchemaRef,
    most: usize,
    blocks: Vec<RecordBatch>,
    hashes: Vec<u64>,
    bytes: usize,
    /// Rows of a larger hash do not come in any more.
    last: u64,
    of: u64,
}

impl Pool {
    fn new(schema: SchemaRef, most: usize) -> Self {
        Self { schema, most, blocks: Vec::new(), hashes: Vec::new(), bytes: 0, last: u64::MAX, of: 0 }
    }

    fn add(&mut self, block: RecordBatch, seed: i64) -> Result<(), RowsError> {
        self.of += block.num_rows() as u64;
        let hashes = record_hashes(&block, seed)?;
        let near: BooleanArray = hashes.iter().map(|hash| Some(*hash <= self.last)).collect();
        let block = keep(&block, &near, &mut 0)?;
        self.hashes.extend(hashes.into_iter().filter(|hash| *hash <= self.last));
        self.bytes += block.get_array_memory_size();
        self.blocks.push(block);
        if self.hashes.len() > 2 * self.most || self.bytes > BYTES_MOST { self.cut() } else { Ok(()) }
    }

    fn cut(&mut self) -> Result<(), RowsError> {
        let mut order: Vec<(u64, u64)> = self.hashes.iter().copied().zip(0..).collect();
        order.sort_unstable();
        order.truncate(self.most);
        let all = concat_batches(&self.schema, &self.blocks)?;
        let mut rows = take_record_batch(&all, &UInt64Array::from_iter_values(order.iter().map(|(_, row)| *row)))?;
        self.bytes = rows.get_array_memory_size();
        while self.bytes > BYTES_MOST / 2 && rows.num_rows() > 1 {
            self.most = (rows.num_rows() / 2).max(1);
            order.truncate(self.most);
            rows = take_record_batch(&rows, &UInt64Array::from_iter_values(0..self.most as u64))?;
            self.bytes = rows.get_array_memory_size();
        }
        if let (true, Some((last, _))) = (order.len() == self.most, order.last()) {
            self.last = *last;
        }
        self.hashes = order.into_iter().map(|(hash, _)| hash).collect();
        self.blocks = vec![rows];
        Ok(())
    }

    fn finish(mut self) -> Result<RecordBatch, RowsError> {
        self.cut()?;
        self.blocks.pop().ok_or(RowsError::Impossible("a sample is no block of rows"))
    }
}
