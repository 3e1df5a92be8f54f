//! Between every two steps of a plan: is there time left, and does a block of rows fit the query's memory?
//!
//! Sorts, joins and aggregations ask for their memory; expressions take what they need. A block that is too large is seen here, before
//! the next step makes more of it. A step that makes no rows for long is ended when it asks for its next input.

use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures_util::StreamExt;

/// Why a query was ended between two steps.
#[derive(Debug, thiserror::Error)]
#[error("the time is up")]
pub(super) struct Late;

#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    pub deadline: Option<Instant>,
    /// Of one block of rows.
    pub memory_bytes: usize,
}

/// A join can make more rows than anyone waits for, out of input that was read long ago: it gives way now and then, so that the
/// time limit is seen and a query that nobody waits for ends. (What reads gives way by itself.)
pub(super) fn watched(plan: Arc<dyn ExecutionPlan>, watch: Watch) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let wrapped = plan.transform_up(|node| {
        let makes_rows = node.name().ends_with("JoinExec") || node.name() == "UnnestExec";
        let node = if makes_rows { Arc::new(CooperativeExec::new(node)) as _ } else { node };
        Ok(Transformed::yes(Arc::new(Watched::new(node, watch)) as _))
    });
    wrapped.map(|wrapped| wrapped.data)
}

#[derive(Debug)]
struct Watched {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    watch: Watch,
}

impl Watched {
    fn new(input: Arc<dyn ExecutionPlan>, watch: Watch) -> Self {
        let properties = Arc::clone(input.properties());
        Self { input, properties, watch }
    }
}

impl DisplayAs for Watched {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Watched")
    }
}

impl ExecutionPlan for Watched {
    fn name(&self) -> &'static str {
        "Watched"
    }

    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion, DataFusionError>,
    ) -> Result<TreeNodeRecursion, DataFusionError> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        match children.pop() {
            Some(input) => Ok(Arc::new(Self::new(input, self.watch))),
            None => Ok(self),
        }
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream, DataFusionError> {
        let watch = self.watch;
        let blocks = self.input.execute(partition, task)?;
        let blocks = blocks.map(move |block| block.and_then(|block| watch.let_through(block)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), blocks)))
    }
}

impl Watch {
    fn let_through(self, block: RecordBatch) -> Result<RecordBatch, DataFusionError> {
        if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return Err(DataFusionError::External(Box::new(Late)));
        }
        let bytes = block.columns().iter().map(|column| bytes_of(column.as_ref())).fold(0, usize::saturating_add);
        if bytes > self.memory_bytes {
            return Err(DataFusionError::ResourcesExhausted(format!("{bytes} bytes in one block of rows")));
        }
        Ok(block)
    }
}

/// Of its rows alone, where they are a slice of more.
fn bytes_of(column: &dyn Array) -> usize {
    match column.data_type() {
        // Arrow counts their texts with the whole alone.
        DataType::Utf8View | DataType::BinaryView => column.get_array_memory_size(),
        _ => column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size()),
    }
}
