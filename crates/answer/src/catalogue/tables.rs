//! `[[table]]`s: read whole, at start, into memory.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use millstream_base::{Faults, error_chain};
use millstream_stream::record::{Encoding, RowDecoder};
use millstream_stream::schema::{Dialect, SchemaRules};
use millstream_stream::source::{Dataset, Row, Source};

use crate::catalogue::{FixedTable, GivenRows, TableRows};

/// Rows that are typed at a time.
const CHUNK_ROWS: usize = 8192;
/// What is larger is a source, not a table beside one.
const BYTES_MOST: usize = 256 << 20;

/// Those that can be read; `faults` says why the others cannot. Files are read as the store was begun.
pub fn load(tables: &[FixedTable], dialect: Dialect, faults: &mut Faults) -> Vec<(String, RecordBatch)> {
    let mut loaded = Vec::new();
    for table in tables {
        let read = match &table.rows {
            TableRows::File(source) => read(source, dialect, BYTES_MOST).map_err(|problem| {
                faults.add_text(format!("table.{}.path", table.name), &source.place.to_string(), problem);
            }),
            TableRows::Given(rows) => given(rows).map_err(|problem| {
                faults.add(format!("table.{}.rows", table.name), None, problem);
            }),
        };
        loaded.extend(read.ok().map(|rows| (table.name.clone(), rows)));
    }
    loaded
}

fn given(given: &GivenRows) -> Result<RecordBatch, String> {
    let mut decoder = RowDecoder::new(&given.schema, Encoding::Json).map_err(|error| error.to_string())?;
    for (number, row) in (1_i64..).zip(&given.rows) {
        let value = serde_json::to_vec(row).map_err(|error| error.to_string())?;
        let misfit =
            |misfit: millstream_stream::record::Misfit| format!("row {number} does not fit: {}", misfit.reason);
        decoder.push(&value, 0, number, 0, i64::MAX).map_err(misfit)?;
    }
    let own: Vec<usize> = (0..given.schema.arrow().fields().len()).collect();
    decoder.take().and_then(|chunk| chunk.rows.project(&own)).map_err(|error| error.to_string())
}

fn read(source: &Source, dialect: Dialect, bytes_most: usize) -> Result<RecordBatch, String> {
    let place = format!("{}: ", source.place);
    let said = |error: millstream_stream::source::SourceError| {
        let text = error_chain(&error);
        text.strip_prefix(&place).unwrap_or(&text).replace("source.path", "path").replace("dataset", "file")
    };
    let dataset = Dataset::new(source);
    let schema = dataset.profile(&SchemaRules { dialect, ..SchemaRules::default() }).map_err(said)?.schema;
    let mut decoder = RowDecoder::new(&schema, Encoding::Json).map_err(|error| error.to_string())?;
    let mut reader = dataset.reader(Encoding::Json).map_err(said)?;
    let (mut row, mut number, mut bytes) = (Row::default(), 0_i64, 0);
    let own: Vec<usize> = (0..schema.arrow().fields().len()).collect();
    let mut chunks = Vec::new();
    let mut take = |decoder: &mut RowDecoder, chunks: &mut Vec<RecordBatch>| -> Result<(), String> {
        let rows = decoder.take().and_then(|chunk| chunk.rows.project(&own)).map_err(|error| error.to_string())?;
        bytes += rows.get_array_memory_size();
        chunks.push(rows);
        match bytes > bytes_most {
            true => Err(format!("has more than {} MiB: stream it instead, as a source of its own", bytes_most >> 20)),
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

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;

    use super::*;

    #[test]
    fn rows_of_the_pipeline_file_are_typed_by_all_of_them() {
        let mut faults = Faults::new("p.toml");
        let text = "[[table]]\nname = \"t\"\nrows = [ { a = \"x, y\", b = 1 }, { b = 2.5, c = true }, {} ]\n";
        let declared = crate::views::keys::tables(&text.parse().unwrap(), &mut faults);
        let tables = load(&declared, Dialect::CURRENT, &mut faults);
        assert_eq!(faults.faults(), []);
        let shown = pretty_format_batches(&[tables[0].1.clone()]).unwrap().to_string();
        let rows: Vec<String> =
            shown.lines().filter(|line| line.starts_with('|')).map(|line| line.replace(' ', "")).collect();
        assert_eq!(rows, ["|a|b|c|", "|x,y|1.0||", "||2.5|true|", "||||"], "{shown}");
    }

    #[test]
    fn a_file_that_is_no_table_is_not_held_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, "a\n".to_owned() + &format!("{}\n", "x".repeat(100)).repeat(30_000)).unwrap();
        let text = format!("[[table]]\nname = \"t\"\npath = \"{}\"\n", path.display());
        let declared = crate::views::keys::tables(&text.parse().unwrap(), &mut Faults::default());
        let TableRows::File(source) = &declared[0].rows else { panic!("it is a file") };
        assert_eq!(read(source, Dialect::CURRENT, BYTES_MOST).unwrap().num_rows(), 30_000);
        let fault = read(source, Dialect::CURRENT, 1 << 20).unwrap_err();
        assert_eq!(fault, "has more than 1 MiB: stream it instead, as a source of its own");
    }

    #[test]
    fn a_file_beside_a_store_of_an_earlier_release_means_what_it_meant() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, "year\n1995\n").unwrap();
        let text = format!("[[table]]\nname = \"t\"\npath = \"{}\"\n", path.display());
        let declared = crate::views::keys::tables(&text.parse().unwrap(), &mut Faults::default());
        let kind = |dialect| {
            let tables = load(&declared, dialect, &mut Faults::default());
            tables[0].1.schema().field(0).data_type().to_string()
        };
        assert_eq!([Dialect::First, Dialect::Second].map(kind), ["Float64", "Int64"]);
    }
}
