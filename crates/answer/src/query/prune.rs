//! What need not be read: parts, by what their manifests say, and row groups of Parquet, by their statistics.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, TimestampMillisecondArray, UInt64Array,
};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};
use millstream_stream::batch::{Manifest, ParquetPart};
use millstream_stream::schema::{OFFSET_COLUMN, PARTITION_COLUMN, TIME_COLUMN};

use super::BATCH_COLUMN;

/// The filter as far as ranges of values can refute it; `None` when they cannot.
pub(super) fn pruning(filter: Arc<dyn PhysicalExpr>, columns: &SchemaRef) -> Option<Arc<PruningPredicate>> {
    // Pruning only saves work: a filter that it does not understand is no fault.
    let predicate = PruningPredicateBuilder::new().with_file_schema(Arc::clone(columns)).try_build(filter).ok()?;
    (!predicate.always_true()).then(|| Arc::new(predicate))
}

/// For each part, whether a row of it may pass the filter.
pub(super) fn parts_that_may_match(predicate: &PruningPredicate, parts: &[Manifest]) -> Vec<bool> {
    predicate.prune(&Parts(parts)).unwrap_or_else(|_| vec![true; parts.len()])
}

/// The row groups of a part that may hold a row that passes the filter.
pub(super) fn row_groups_that_may_match(predicate: Option<&PruningPredicate>, part: &ParquetPart) -> Vec<usize> {
    let all = 0..part.metadata().num_row_groups();
    let Some(predicate) = predicate else { return all.collect() };
    match predicate.prune(&RowGroups(part)) {
        Ok(kept) => all.zip(kept).filter_map(|(group, kept)| kept.then_some(group)).collect(),
        Err(_) => all.collect(),
    }
}

struct Parts<'a>(&'a [Manifest]);

#[derive(Clone, Copy)]
enum Bound {
    Least,
    Most,
}

impl Parts<'_> {
    fn bounds(&self, column: &Column, bound: Bound) -> Option<ArrayRef> {
        let parts = self.0.iter();
        Some(match column.name() {
            BATCH_COLUMN => Arc::new(Int64Array::from_iter_values(parts.map(|part| i64::from(part.batch)))),
            PARTITION_COLUMN => Arc::new(parts.map(|part| i32::try_from(part.partition).ok()).collect::<Int32Array>()),
            OFFSET_COLUMN => Arc::new(Int64Array::from_iter_values(parts.map(|part| match bound {
                Bound::Least => part.first_offset,
                Bound::Most => part.end_offset - 1,
            }))),
            TIME_COLUMN => {
                let times = parts.map(|part| match bound {
                    Bound::Least => part.min_time,
                    Bound::Most => part.max_time,
                });
                Arc::new(times.collect::<TimestampMillisecondArray>().with_timezone("UTC"))
            }
            _ => return None,
        })
    }
}

impl PruningStatistics for Parts<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, Bound::Least)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, Bound::Most)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, _column: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.0.iter().map(|part| part.rows))))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

struct RowGroups<'a>(&'a ParquetPart);

impl RowGroups<'_> {
    fn statistics<A>(&self, column: &Column, of: impl Fn(&StatisticsConverter) -> Option<A>) -> Option<A> {
        let schema = self.0.schema();
        // Statistics leave out NaN, which SQL orders above all numbers: they do not bound a column of floats.
        if schema.field_with_name(column.name()).ok()?.data_type().is_floating() {
            return None;
        }
        of(&StatisticsConverter::try_new(column.name(), schema, self.0.parquet_schema()).ok()?)
    }
}

impl PruningStatistics for RowGroups<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.statistics(column, |of| of.row_group_mins(self.0.metadata().row_groups()).ok())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.statistics(column, |of| of.row_group_maxes(self.0.metadata().row_groups()).ok())
    }

    fn num_containers(&self) -> usize {
        self.0.metadata().num_row_groups()
    }

    fn null_counts(&self, _column: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows = self.0.metadata().row_groups().iter().map(|group| u64::try_from(group.num_rows()).ok());
        Some(Arc::new(rows.collect::<UInt64Array>()))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
