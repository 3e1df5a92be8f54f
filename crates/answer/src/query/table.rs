//! The table `batches`: which parts a query has to read, and which of their columns.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use millstream_store::SharedStore;
use millstream_stream::batch::{Batch, Manifest, batch_folder};
use millstream_stream::schema::{PARTITION_COLUMN, StreamSchema};

use super::BATCH_COLUMN;
use super::cache::ColumnCache;
use super::prune::{self, parts_that_may_match};
use super::scan::{Scan, ScanPart, Work};

pub(super) struct BatchesTable {
    store: SharedStore,
    /// The stream's columns, `_batch`, and what ingest adds to every row.
    columns: SchemaRef,
    /// Those with rows, in the order of batch and partition.
    parts: Vec<Manifest>,
    cache: Option<Arc<ColumnCache>>,
}

/// The stream's columns, `_batch`, and what ingest adds to every row.
pub(super) fn columns(schema: &StreamSchema) -> SchemaRef {
    let part = schema.part();
    let own = part.index_of(PARTITION_COLUMN).unwrap_or(part.fields().len());
    let (own, added) = part.fields().split_at(own);
    let batch = Arc::new(Field::new(BATCH_COLUMN, DataType::Int64, false));
    Arc::new(Schema::new(own.iter().cloned().chain([batch]).chain(added.iter().cloned()).collect::<Vec<_>>()))
}

impl BatchesTable {
    pub(super) fn new(
        store: SharedStore,
        schema: &StreamSchema,
        batches: &[Batch],
        cache: Option<Arc<ColumnCache>>,
    ) -> Self {
        let parts = batches.iter().flat_map(|batch| batch.parts.iter()).filter(|part| part.file.is_some());
        Self { store, columns: columns(schema), parts: parts.cloned().collect(), cache }
    }

    pub(super) fn columns(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    /// The filters as one predicate over this table's columns.
    fn predicate(
        &self,
        state: &dyn Session,
        filters: &[Expr],
    ) -> Result<Option<Arc<dyn PhysicalExpr>>, DataFusionError> {
        let Some(filter) = conjunction(filters.to_vec()) else { return Ok(None) };
        let schema = DFSchema::try_from(self.columns())?;
        state.create_physical_expr(filter, &schema).map(Some)
    }
}

impl std::fmt::Debug for BatchesTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchesTable").field("parts", &self.parts.len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for BatchesTable {
    fn schema(&self) -> SchemaRef {
        self.columns()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// A filter leaves out parts and row groups that cannot match; rows are filtered by DataFusion.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let predicate = self.predicate(state, filters)?.and_then(|filter| prune::pruning(filter, &self.columns));
        let mut parts: Vec<&Manifest> = self.parts.iter().collect();
        if let Some(predicate) = &predicate {
            let kept = parts_that_may_match(predicate, &self.parts);
            parts = parts.into_iter().zip(kept).filter_map(|(part, kept)| kept.then_some(part)).collect();
        }
        let parts = parts.into_iter().filter_map(|part| {
            let key = format!("{}/{}", batch_folder(part.batch), part.file.as_ref()?);
            Some(ScanPart { key, batch: i64::from(part.batch), rows: part.rows })
        });
        let columns = match projection {
            Some(projection) => Arc::new(self.columns.project(projection)?),
            None => self.columns(),
        };
        let threads = state.config().target_partitions();
        let work = Work::new(Arc::clone(&self.store), parts.collect(), columns, predicate, self.cache.clone(), threads);
        Ok(Arc::new(Scan::new(work, limit)))
    }
}

/// Batches of which some cannot be read: whoever asks for any of them is told so.
#[derive(Debug)]
pub(super) struct UnreadableTable {
    columns: SchemaRef,
    error: Unreadable,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl UnreadableTable {
    pub(super) fn new(schema: &StreamSchema, why: &str) -> Self {
        Self { columns: columns(schema), error: Unreadable(why.to_owned()) }
    }
}

#[async_trait]
impl TableProvider for UnreadableTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        Err(DataFusionError::External(Box::new(self.error.clone())))
    }
}
