//! Expressions over blocks, and the rows that pass conditions.

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::{filter_record_batch, not, prep_null_mask_filter};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use millstream_stream::expression::{Expression, ExpressionError, ExpressionFault, ValueKind, projected};
use millstream_untrusted::model::{Dialect, Holdout};

use super::RowsError;
use super::blocks::{block_schema, held_out};

/// `key`: of the pipeline file.
pub fn compile(key: &'static str, text: &str, schema: &Schema, dialect: Dialect) -> Result<Expression, RowsError> {
    Expression::compile(text, schema, dialect).map_err(RowsError::of(key))
}

/// `where`. `remedy`: with an example of a condition.
pub fn compile_filter(
    text: Option<&str>,
    remedy: &'static str,
    schema: &Schema,
    dialect: Dialect,
) -> Result<Option<Expression>, RowsError> {
    let filter = text.map(|text| compile("where", text, schema, dialect)).transpose()?;
    match filter {
        Some(filter) if filter.kind() != ValueKind::Boolean => Err(RowsError::kind("where", &filter, remedy)),
        filter => Ok(filter),
    }
}

/// The rows for which a condition holds; null is no.
pub fn condition(filter: &Expression, block: &RecordBatch) -> Result<BooleanArray, ExpressionError> {
    let flags = filter.evaluate(block)?;
    Ok(match flags.as_boolean_opt() {
        Some(flags) if flags.null_count() > 0 => prep_null_mask_filter(flags),
        Some(flags) => flags.clone(),
        None => {
            return Err(ExpressionError {
                text: filter.text().to_owned(),
                position: None,
                fault: ExpressionFault::Evaluate(format!("{} is no condition", flags.data_type())),
            });
        }
    })
}

/// The stream's schema of only these columns, as a block has them.
pub fn narrow<'a>(expressions: impl IntoIterator<Item = &'a Expression>, schema: &Schema) -> SchemaRef {
    block_schema(&projected(expressions, schema))
}

/// The rows of the block whose flag is set; the others are counted.
pub fn keep(block: &RecordBatch, flags: &BooleanArray, dropped: &mut u64) -> Result<RecordBatch, RowsError> {
    let kept = flags.true_count();
    *dropped += (block.num_rows() - kept) as u64;
    if kept == block.num_rows() {
        Ok(block.clone())
    } else {
        filter_record_batch(block, flags).map_err(RowsError::from)
    }
}

/// The rows that are trained on, as far as they pass `where`.
pub fn keep_trained(block: &RecordBatch, holdout: Holdout, held_out_rows: &mut u64) -> Result<RecordBatch, RowsError> {
    keep(block, &not(&held_out(block, holdout)?)?, held_out_rows)
}

/// The rows that pass `where`.
pub fn keep_passing(
    filter: Option<&Expression>,
    block: RecordBatch,
    filtered: &mut u64,
) -> Result<RecordBatch, RowsError> {
    match filter {
        Some(filter) => keep(&block, &condition(filter, &block).map_err(RowsError::of("where"))?, filtered),
        None => Ok(block),
    }
}

impl From<ArrowError> for RowsError {
    fn from(error: ArrowError) -> Self {
        Self::Part { place: "a block of rows".to_owned(), problem: error.to_string() }
    }
}
