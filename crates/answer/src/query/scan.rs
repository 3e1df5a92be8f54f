//! Reads parts for a query: each stream has a thread of its own that decodes a few blocks ahead.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::pruning::PruningPredicate;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, StatisticsArgs,
};
use millstream_store::SharedStore;
use millstream_stream::batch::{Blocks, ParquetPart, PartFault, Selection, read_blocks};
use tokio::sync::mpsc::Sender;

use super::BATCH_COLUMN;
use super::cache::ColumnCache;
use super::kept::Kept;
use super::prune::row_groups_that_may_match;

/// Of the node in a plan.
pub(super) const NAME: &str = "Scan";
/// Enough to keep the reader and what follows it at work; 2 blocks of 20 columns are 5 MiB a stream.
const BLOCKS_AHEAD: usize = 2;
/// A Parquet part with more rows has several row groups (see `batch::part`) and is shared between all streams.
const SHARED_ROWS: u64 = 262_144;

#[derive(Debug, Clone)]
pub(super) struct ScanPart {
    pub(super) key: String,
    pub(super) batch: i64,
    pub(super) rows: u64,
}

pub(super) struct Scan {
    work: Arc<Work>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
}

/// What every stream of a scan knows.
pub(super) struct Work {
    store: SharedStore,
    parts: Vec<ScanPart>,
    /// What is answered, in this order.
    columns: SchemaRef,
    predicate: Option<Arc<PruningPredicate>>,
    cache: Option<Arc<ColumnCache>>,
    streams: usize,
}

impl Scan {
    pub(super) fn new(work: Work, limit: Option<usize>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&work.columns)),
            Partitioning::UnknownPartitioning(work.streams),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { work: Arc::new(work), limit, properties: Arc::new(properties) }
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("parts", &self.work.parts.len()).finish_non_exhaustive()
    }
}

impl DisplayAs for Scan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let Work { parts, columns, predicate, streams, .. } = self.work.as_ref();
        let names: Vec<&str> = columns.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "Scan: parts={}, streams={streams}, columns=[{}]", parts.len(), names.join(", "))?;
        if let Some(predicate) = predicate {
            write!(f, ", pruning={}", predicate.predicate_expr())?;
        }
        self.limit.map_or(Ok(()), |limit| write!(f, ", limit={limit}"))
    }
}

impl ExecutionPlan for Scan {
    fn name(&self) -> &'static str {
        NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion, DataFusionError>,
    ) -> Result<TreeNodeRecursion, DataFusionError> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        Ok(self)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        Ok(self)
    }

    /// The manifests know how many rows there are, so that `count(*)` reads no part.
    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>, DataFusionError> {
        let mut statistics = Statistics::new_unknown(&self.work.columns);
        if args.partition().is_none() {
            let rows = self.work.parts.iter().map(|part| part.rows).sum::<u64>();
            let rows = usize::try_from(rows).unwrap_or(usize::MAX);
            // Row groups may be left out, and a limit ends the reading.
            let all = self.work.predicate.is_none() && self.limit.is_none();
            statistics.num_rows = if all { Precision::Exact(rows) } else { Precision::Inexact(rows) };
        }
        Ok(Arc::new(statistics))
    }

    fn execute(&self, stream: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream, DataFusionError> {
        let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&self.work.columns), BLOCKS_AHEAD);
        let (work, limit, give) = (Arc::clone(&self.work), self.limit.unwrap_or(usize::MAX), builder.tx());
        builder.spawn_blocking(move || work.read(stream, limit, &give));
        Ok(builder.build())
    }
}

impl Work {
    pub(super) fn new(
        store: SharedStore,
        parts: Vec<ScanPart>,
        columns: SchemaRef,
        predicate: Option<Arc<PruningPredicate>>,
        cache: Option<Arc<ColumnCache>>,
        threads: usize,
    ) -> Self {
        let shared = parts.iter().any(|part| part.rows > SHARED_ROWS);
        let streams = if shared { threads } else { threads.min(parts.len()) }.max(1);
        Self { store, parts, columns, predicate, cache, streams }
    }

    /// Reads this stream's share, in the order in which it is stored, until all is given, or nobody takes it any more.
    fn read(
        &self,
        stream: usize,
        limit: usize,
        give: &Sender<Result<RecordBatch, DataFusionError>>,
    ) -> Result<(), DataFusionError> {
        let read: Vec<_> = self.columns.fields().iter().filter(|field| field.name() != BATCH_COLUMN).cloned().collect();
        let read = Arc::new(Schema::new(read));
        let mut left = limit;
        for (index, part) in self.parts.iter().enumerate() {
            let Some(share) = self.share(stream, index) else { continue };
            for block in self.blocks(part, &share, &read, limit).map_err(external)? {
                if left == 0 {
                    return Ok(());
                }
                let block = block.map_err(external)?;
                let block = block.slice(0, block.num_rows().min(left));
                left -= block.num_rows();
                if give.blocking_send(self.with_batch(&block, part.batch)).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The blocks of a share: from the file, or from what is kept of it.
    fn blocks<'a>(
        &'a self,
        part: &'a ScanPart,
        share: &Share,
        read: &'a SchemaRef,
        limit: usize,
    ) -> Result<Box<dyn Iterator<Item = Result<RecordBatch, PartFault>> + 'a>, PartFault> {
        let row_groups = |file: &ParquetPart| share.of(row_groups_that_may_match(self.predicate.as_deref(), file));
        // A few rows are read faster than a whole column is kept, and rows without columns are only counted.
        if let Some(cache) = self.cache.as_ref().filter(|_| limit == usize::MAX && !read.fields().is_empty()) {
            let kept = Kept { store: self.store.as_ref(), key: &part.key, cache };
            if let Some(chosen) = kept.chosen(part.rows, read, &row_groups)? {
                let blocks = chosen.into_iter().flat_map(move |row_group| -> Blocks {
                    kept.blocks(row_group, read).unwrap_or_else(|fault| Box::new(std::iter::once(Err(fault))))
                });
                return Ok(Box::new(blocks));
            }
        }
        let selection = Selection { skip: 0, limit: None, row_groups: Some(&row_groups) };
        Ok(read_blocks(self.store.as_ref(), &part.key, read, &selection)?)
    }

    /// What of the part is this stream's: all, none, or its share of the row groups. Every part begins with another stream, so
    /// that small ones are spread evenly.
    fn share(&self, stream: usize, index: usize) -> Option<Share> {
        let turn = (stream + index) % self.streams;
        let part = &self.parts[index];
        let shared = self.streams > 1 && part.rows > SHARED_ROWS && part.key.ends_with(".parquet");
        match (shared, turn) {
            (true, turn) => Some(Share { turn, of: self.streams }),
            (false, 0) => Some(Share { turn: 0, of: 1 }),
            (false, _) => None,
        }
    }

    fn with_batch(&self, block: &RecordBatch, batch: i64) -> Result<RecordBatch, DataFusionError> {
        let mut read = block.columns().iter();
        let columns = self.columns.fields().iter().filter_map(|field| -> Option<ArrayRef> {
            if field.name() == BATCH_COLUMN {
                return Some(Arc::new(Int64Array::from_value(batch, block.num_rows())));
            }
            read.next().map(Arc::clone)
        });
        let rows = RecordBatchOptions::new().with_row_count(Some(block.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.columns), columns.collect(), &rows)?)
    }
}

/// The `turn`-th of so many equal shares.
struct Share {
    turn: usize,
    of: usize,
}

impl Share {
    fn of(&self, row_groups: Vec<usize>) -> Vec<usize> {
        let bound = |turn: usize| turn * row_groups.len() / self.of;
        row_groups[bound(self.turn)..bound(self.turn + 1)].to_vec()
    }
}

fn external(fault: PartFault) -> DataFusionError {
    DataFusionError::External(Box::new(fault))
}
