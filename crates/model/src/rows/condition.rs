//! Conditions on rows, and the columns that expressions read.

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::prep_null_mask_filter;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use millstream_stream::expression::{Expression, ExpressionError, ExpressionFault, projected};

use super::blocks::block_schema;

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
