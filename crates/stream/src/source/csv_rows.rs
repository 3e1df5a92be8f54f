//! Rows of a csv source, as bytes. Knows quoting, headers and byte-order marks; knows nothing of types.

use std::collections::HashMap;
use std::io;

use csv::ByteRecord;

use super::SourceError;
use super::input::{Input, READ_BUFFER_BYTES, RowGuard, SharedDigest};
use super::limits::COLUMNS_MOST;
use super::profile::Fingerprint;
use crate::source::CsvFormat;

pub(super) struct CsvRows {
    place: String,
    reader: csv::Reader<RowGuard>,
    digest: Option<SharedDigest>,
    columns: Vec<String>,
    /// Of a file without a header: read to count its columns, still to be given out.
    pending: Option<ByteRecord>,
    rows_read: u64,
}

impl CsvRows {
    /// Reads the header.
    pub fn open(place: &str, input: Input, format: &CsvFormat) -> Result<Self, SourceError> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(format.separator)
            .quote(format.quote)
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(READ_BUFFER_BYTES)
            .from_reader(input.bytes);
        let mut first = ByteRecord::new();
        let place = place.to_owned();
        match reader.read_byte_record(&mut first) {
            Ok(true) => {}
            Ok(false) => return Err(SourceError::Empty { place }),
            Err(error) => return Err(SourceError::Read { place, row: 1, source: io::Error::from(error) }),
        }
        reader.get_mut().bytes_of_row = 0;
        if is_utf16(&first) {
            return Err(SourceError::Utf16 { place });
        }
        if first.len() > COLUMNS_MOST {
            let fault =
                format!("has {} columns: at most {COLUMNS_MOST}; turn names that are data into values", first.len());
            return Err(SourceError::Header { place, fault });
        }
        let (columns, pending) = if format.header {
            let columns = header(&first).map_err(|fault| SourceError::Header { place: place.clone(), fault })?;
            (columns, None)
        } else {
            ((1..=first.len()).map(column_name).collect(), Some(without_mark(first)))
        };
        Ok(Self { place, reader, digest: input.digest, columns, pending, rows_read: 0 })
    }

    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Rows given out so far.
    pub fn rows_read(&self) -> u64 {
        self.rows_read
    }

    /// Reads the next row; false at the end of the file.
    pub fn next(&mut self, record: &mut ByteRecord) -> Result<bool, SourceError> {
        if let Some(pending) = self.pending.take() {
            *record = pending;
            self.rows_read += 1;
            return Ok(true);
        }
        let more = self.reader.read_byte_record(record).map_err(|error| SourceError::Read {
            place: self.place.clone(),
            row: self.rows_read + 1,
            source: io::Error::from(error),
        })?;
        self.reader.get_mut().bytes_of_row = 0;
        self.rows_read += u64::from(more);
        Ok(more)
    }

    /// Of what is stored, where it was asked for. Whole once `next` has answered false.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.digest.as_ref().map(SharedDigest::finish)
    }
}

/// The name of the column at a place, from 1, that has none.
pub(super) fn column_name(place: usize) -> String {
    format!("column_{place}")
}

const MARK: &[u8] = b"\xef\xbb\xbf";

/// A byte-order mark before the first row is no data.
fn without_mark(record: ByteRecord) -> ByteRecord {
    match record.get(0).and_then(|first| first.strip_prefix(MARK)) {
        None => record,
        Some(rest) => std::iter::once(rest).chain(record.iter().skip(1)).collect(),
    }
}

/// By its mark, or by the zero bytes that ASCII has in it.
fn is_utf16(record: &ByteRecord) -> bool {
    let first = record.as_slice();
    first.starts_with(&[0xff, 0xfe]) || first.starts_with(&[0xfe, 0xff]) || first.contains(&0)
}

/// Column names of a header line: UTF-8, trimmed, without doubles; an empty one is called by its place.
fn header(record: &ByteRecord) -> Result<Vec<String>, String> {
    let mut columns: Vec<String> = Vec::with_capacity(record.len());
    let mut places: HashMap<String, usize> = HashMap::with_capacity(record.len());
    for (i, field) in record.iter().enumerate() {
        let field = if i == 0 { field.strip_prefix(MARK).unwrap_or(field) } else { field };
        let name =
            std::str::from_utf8(field).map_err(|_| format!("is not UTF-8 in column {}: convert the file", i + 1))?;
        let name = match name.trim() {
            "" => column_name(i + 1),
            name => name.to_owned(),
        };
        if let Some(first) = places.insert(name.clone(), i + 1) {
            return Err(format!("names columns {first} and {} both {name:?}: rename one of them", i + 1));
        }
        columns.push(name);
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Bench;

    fn read(text: &[u8], header: bool) -> Result<(Vec<String>, Vec<Vec<String>>), String> {
        let bench = Bench::new("a.csv", text);
        let input = crate::source::input::open(&bench.source, true, &std::sync::Arc::default())
            .map_err(|error| error.to_string())?;
        let format = CsvFormat { separator: b',', quote: b'"', header };
        let mut rows = CsvRows::open("a.csv", input, &format).map_err(|error| error.to_string())?;
        let (mut record, mut found) = (ByteRecord::new(), Vec::new());
        while rows.next(&mut record).unwrap() {
            found.push(record.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect());
        }
        assert_eq!(rows.fingerprint().unwrap().digest, blake3::hash(text).to_hex().to_string());
        Ok((rows.columns().to_vec(), found))
    }

    fn check(text: &[u8], columns: &[&str], expected: &[&[&str]]) {
        let (found_columns, rows) = read(text, true).unwrap();
        assert_eq!(found_columns, columns);
        assert_eq!(rows, expected);
    }

    fn check_error(text: &[u8], expected: &str) {
        let error = read(text, true).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_file_without_a_header_begins_with_a_row() {
        let (columns, rows) = read(b"\xef\xbb\xbf1,2\n3,4\n", false).unwrap();
        assert_eq!(columns, ["column_1", "column_2"]);
        assert_eq!(rows, [["1", "2"], ["3", "4"]]);
    }

    #[test]
    fn a_quoted_comma_or_newline_is_one_field() {
        check(b"a,b\n\"x,y\",\"1\n2\"\n3,\"say \"\"hi\"\"\"\n", &["a", "b"], &[&["x,y", "1\n2"], &["3", "say \"hi\""]]);
    }

    #[test]
    fn marks_and_line_ends_of_other_systems_are_no_data() {
        check(b"\xef\xbb\xbfa,b\r\n1,2\r\n", &["a", "b"], &[&["1", "2"]]);
    }

    #[test]
    fn ragged_rows_are_given_out_as_they_are() {
        check(b"a,b\n1\n1,2,3\n", &["a", "b"], &[&["1"], &["1", "2", "3"]]);
    }

    #[test]
    fn an_unnamed_column_goes_by_its_place() {
        check(b"a,\n1,2\n", &["a", "column_2"], &[&["1", "2"]]);
    }

    #[test]
    fn a_header_that_cannot_serve_is_an_error() {
        check_error(b"", "is empty");
        check_error(b"a,b,a\n1,2,3\n", "columns 1 and 3 both \"a\"");
        check_error(b"\xff\xfea\0", "UTF-16");
        check_error(b"a\0,\0b\0\n\0", "UTF-16");
        check_error(b"a,\xe9\n1,2\n", "not UTF-8 in column 2");
    }
}
