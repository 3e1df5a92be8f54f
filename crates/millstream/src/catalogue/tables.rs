//! Reads `[[table]]`s: whole, at start, into memory.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;

use crate::batch::RowDecoder;
use crate::config::{Encoding, Faults, FixedTable, SchemaRules};
use crate::source::{Dataset, Row, causes};

/// Rows that are typed at a time.
const CHUNK_ROWS: usize = 8192;
/// What is larger is a source, not a table beside one.
const BYTES_MOST: usize = 256 << 20;

/// Those that can be read; `faults` says why the others cannot.
pub fn load(tables: &[FixedTable], faults: &mut Faults) -> Vec<(String, RecordBatch)> {
    let mut loaded = Vec::new();
    for table in tables {
        match read(table) {
            Ok(rows) => loaded.push((table.name.clone(), rows)),
            Err(problem) => {
                faults.add_text(format!("table.{}.path", table.name), &table.source.place.to_string(), problem);
            }
        }
    }
    loaded
}

fn read(table: &FixedTable) -> Result<RecordBatch, String> {
    let place = format!("{}: ", table.source.place);
    let said = |error: crate::source::SourceError| {
        let text = causes(&error);
        text.strip_prefix(&place).unwrap_or(&text).replace("source.path", "path").replace("dataset", "file")
    };
    let dataset = Dataset::new(&table.source);
    let schema = dataset.profile(&SchemaRules::default()).map_err(said)?.schema;
    let mut decoder = RowDecoder::new(&schema, Encoding::Json).map_err(|error| error.to_string())?;
    let mut reader = dataset.reader(Encoding::Json).map_err(said)?;
    let (mut row, mut number, mut bytes) = (Row::default(), 0_i64, 0);
    let own: Vec<usize> = (0..schema.arrow().fields().len()).collect();
    let mut chunks = Vec::new();
    let mut take = |decoder: &mut RowDecoder, chunks: &mut Vec<RecordBatch>| -> Result<(), String> {
        let rows = decoder.take().and_then(|chunk| chunk.rows.project(&own)).map_err(|error| error.to_string())?;
        bytes += rows.get_array_memory_size();
        chunks.push(rows);
        match bytes > BYTES_MOST {
            true => Err(format!("has more than {} MiB: stream it instead, as a source of its own", BYTES_MOST >> 20)),
            false => Ok(()),
        }
    };
    while reader.next(&mut row).map_err(said)? {
        number += 1;
        if let Some(why) = &row.stub {
            return Err(format!("row {number} is none: {why}"));
        }
        // A file's times are no times of records: none is ahead of the clock.
        decoder
            .push(&row.value, 0, number, 0, i64::MAX)
            .map_err(|misfit| format!("row {number} does not fit: {}", misfit.reason))?;
        if decoder.rows() == CHUNK_ROWS {
            take(&mut decoder, &mut chunks)?;
        }
    }
    take(&mut decoder, &mut chunks)?;
    concat_batches(&schema.arrow(), &chunks).map_err(|error| error.to_string())
}
