//! How parts are stored: Parquet, csv or JSON lines. A part written as text is read back with exactly the same values.
//!
//! csv is RFC 4180 with a header line: null is an empty field, the empty text a quoted one. JSON lines have one object a row,
//! with every column in it. Instants are ISO 8601 in UTC, floats have as many digits as it takes to be read back the same.

mod read;
mod write;

use std::io::Read;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;

pub use write::TextWriter;

use crate::batch::BatchFormat;

/// Blocks of a part that was stored as text.
pub type Blocks = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

impl BatchFormat {
    /// How the names of such files end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }

    /// The format of a part by its file's name.
    pub fn of_file(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        [Self::Parquet, Self::Csv, Self::Jsonl].into_iter().find(|format| format.extension() == extension)
    }
}

/// Reads a csv or jsonl part in blocks of `batch_rows`. `schema`: that of the whole part; `columns`: which of its columns are
/// wanted, ascending; the blocks have these columns only. A part that is not what its schema says is an error that names the
/// line. Parquet needs a file that can be sought in, so its own reader is to be used.
pub fn read_part(
    format: BatchFormat,
    input: Box<dyn Read + Send>,
    schema: SchemaRef,
    columns: &[usize],
    batch_rows: usize,
) -> Result<Blocks, ArrowError> {
    match format {
        BatchFormat::Parquet => {
            let message = "a Parquet part is read with the Parquet reader: it begins at the end of its file";
            Err(ArrowError::InvalidArgumentError(message.to_owned()))
        }
        BatchFormat::Csv => Ok(Box::new(read::csv(input, schema, columns, batch_rows)?)),
        BatchFormat::Jsonl => Ok(Box::new(read::jsonl(input, schema, columns, batch_rows)?)),
    }
}

#[cfg(test)]
mod tests;
