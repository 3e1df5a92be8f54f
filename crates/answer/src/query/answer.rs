//! What a query answers, block by block, within its limits.

use std::future::Future;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures_util::StreamExt;
use tokio::time::Instant;

use super::{Limits, QueryError};

/// A running query; dropping it ends it.
pub struct Answer {
    stream: SendableRecordBatchStream,
    sql: String,
    limits: Limits,
    deadline: Option<Instant>,
    rows_left: usize,
    cut: bool,
    is_repeatable: bool,
}

impl Answer {
    pub(super) fn new(
        stream: SendableRecordBatchStream,
        sql: &str,
        limits: Limits,
        deadline: Option<Instant>,
        is_repeatable: bool,
    ) -> Self {
        let rows_left = limits.rows.unwrap_or(usize::MAX);
        Self { stream, sql: sql.to_owned(), limits, deadline, rows_left, cut: false, is_repeatable }
    }

    /// Whether the same query over the same rows has this answer again.
    pub fn is_repeatable(&self) -> bool {
        self.is_repeatable
    }

    pub fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    /// The next rows; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        while !self.cut {
            let next = within(self.deadline, self.limits, self.stream.next()).await?;
            let Some(block) = next else { return Ok(None) };
            let block = block.map_err(|error| QueryError::of(&error, &self.sql, self.limits))?;
            if block.num_rows() == 0 {
                continue;
            }
            self.cut = block.num_rows() > self.rows_left;
            let rows = block.num_rows().min(self.rows_left);
            self.rows_left -= rows;
            return Ok((rows > 0).then(|| block.slice(0, rows)));
        }
        Ok(None)
    }

    /// True once rows were left out because of `Limits::rows`.
    pub fn is_cut(&self) -> bool {
        self.cut
    }
}

/// What `work` gives, or that the time is up.
pub(super) async fn within<T>(
    deadline: Option<Instant>,
    limits: Limits,
    work: impl Future<Output = T>,
) -> Result<T, QueryError> {
    match deadline {
        None => Ok(work.await),
        Some(deadline) => {
            let late = |_| QueryError::Time { limit: limits.time.unwrap_or_default() };
            tokio::time::timeout_at(deadline, work).await.map_err(late)
        }
    }
}
