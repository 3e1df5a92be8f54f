//! A Parquet file that nobody vouches for, as record batches: its footer and the pages of each row group are looked at before memory
//! is taken for them, and what the library panics over is an error.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use millstream_store::StoredFile;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use super::parquet_limits::{check_footer, rows_at_once};

/// Of values, in one batch.
const BATCH_BYTES: u64 = 8 << 20;
const BATCH_ROWS_MOST: u64 = 4096;

pub struct ParquetBatches {
    file: Arc<StoredFile>,
    metadata: ArrowReaderMetadata,
    rows_total: u64,
    /// Of the row group that is being read; `None`: the next one is to be opened.
    reader: Option<ParquetRecordBatchReader>,
    next_group: usize,
}

impl ParquetBatches {
    pub fn open(file: StoredFile) -> Result<Self, ParquetError> {
        let length = file.length_bytes()?;
        caught(|| check_footer(&file, length))?;
        let metadata = caught(|| ArrowReaderMetadata::load(&file, ArrowReaderOptions::default()))?;
        lies_inside(metadata.metadata(), length)?;
        let rows_total = rows_of(metadata.metadata())?;
        Ok(Self { file: Arc::new(file), metadata, rows_total, reader: None, next_group: 0 })
    }

    /// The same file, its columns read as other types.
    pub(super) fn read_as(self, metadata: ArrowReaderMetadata) -> Self {
        Self { metadata, ..self }
    }

    pub(super) fn metadata(&self) -> &ArrowReaderMetadata {
        &self.metadata
    }

    pub fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    pub fn rows_total(&self) -> u64 {
        self.rows_total
    }

    /// The next rows; `None` at the end. After an error it is not used again.
    pub fn read(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        loop {
            let Some(reader) = &mut self.reader else {
                if self.next_group == self.metadata.metadata().num_row_groups() {
                    return Ok(None);
                }
                self.open_group()?;
                continue;
            };
            match caught(|| reader.next().transpose())? {
                Some(batch) => return Ok(Some(batch)),
                None => self.reader = None,
            }
        }
    }

    /// Begins with the next row group, in batches of as many rows as are sure to be unpacked in bounded memory.
    fn open_group(&mut self) -> Result<(), ParquetError> {
        let index = self.next_group;
        self.next_group += 1;
        let group = self.metadata.metadata().row_group(index);
        let rows = u64::try_from(group.num_rows()).ok().filter(|rows| *rows > 0);
        let Some(rows) = rows else { return Ok(()) };
        // What is usual; and no more than what is safe.
        let width = u64::try_from(group.total_byte_size()).map_or(BATCH_BYTES, |bytes| bytes / rows).max(1);
        let usual = (BATCH_BYTES / width).clamp(1, BATCH_ROWS_MOST);
        let batch_rows = caught(|| rows_at_once(&self.file, group, usual))?;
        let batch_rows =
            usize::try_from(batch_rows).map_err(|_| ParquetError::General(format!("{batch_rows} rows")))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.again()?, self.metadata.clone());
        let builder = builder.with_row_groups(vec![index]).with_batch_size(batch_rows);
        self.reader = Some(caught(|| builder.build())?);
        Ok(())
    }
}

fn rows_of(metadata: &ParquetMetaData) -> Result<u64, ParquetError> {
    let rows = metadata
        .row_groups()
        .iter()
        .try_fold(0_u64, |total, group| u64::try_from(group.num_rows()).ok().and_then(|rows| total.checked_add(rows)));
    rows.ok_or_else(|| ParquetError::General("its row groups have rows that cannot be counted".to_owned()))
}

/// The library takes what a damaged footer says of places for granted.
fn lies_inside(metadata: &ParquetMetaData, length: u64) -> Result<(), ParquetError> {
    for column in metadata.row_groups().iter().flat_map(RowGroupMetaData::columns) {
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let end = u64::try_from(start).ok().zip(u64::try_from(column.compressed_size()).ok());
        if end.and_then(|(start, bytes)| start.checked_add(bytes)).is_none_or(|end| end > length) {
            let name = column.column_path();
            return Err(ParquetError::EOF(format!("column {name} lies outside the file")));
        }
    }
    Ok(())
}

/// The library panics over some damaged files, where it should err. What it worked on is not used again.
fn caught<T, E: From<ParquetError>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(ParquetError::General("the file is damaged".to_owned()).into()))
}
