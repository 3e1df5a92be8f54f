//! Rows of a csv file, as bytes. Knows quoting, headers and byte-order marks; knows nothing of types.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use csv::ByteRecord;

use crate::config::CsvFormat;

const READ_BUFFER_BYTES: usize = 1 << 20;
/// A quote that is never closed would swallow the rest of the file.
const MAX_ROW_BYTES: usize = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{}: no such file: point source.path at the dataset (relative to the working directory)", path.display())]
    Missing { path: PathBuf },
    #[error("{}: cannot be read: mend its rights or point source.path elsewhere", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}: the file is empty: it needs a header line and at least one row", path.display())]
    Empty { path: PathBuf },
    #[error("{}: the file has a header line and no row after it", path.display())]
    HeaderOnly { path: PathBuf },
    #[error("{}: the header line {fault}", path.display())]
    Header { path: PathBuf, fault: String },
    #[error("{}: reading failed at row {row}", path.display())]
    Read {
        path: PathBuf,
        row: u64,
        #[source]
        source: csv::Error,
    },
}

/// Reads and hashes what it read.
struct Hashing {
    file: File,
    hasher: Option<blake3::Hasher>,
    bytes: u64,
    /// Since the last row was complete.
    bytes_of_row: usize,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes_of_row > MAX_ROW_BYTES {
            return Err(io::Error::other(format!(
                "a row of more than {} MiB: is a quote never closed?",
                MAX_ROW_BYTES >> 20
            )));
        }
        let count = self.file.read(buffer)?;
        self.bytes_of_row += count;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        self.bytes += count as u64;
        Ok(count)
    }
}

pub struct Rows {
    path: PathBuf,
    reader: csv::Reader<Hashing>,
    columns: Vec<String>,
    /// Of a file without a header: read to count its columns, still to be given out.
    pending: Option<ByteRecord>,
    rows_read: u64,
}

impl Rows {
    /// Opens the file and reads its header. `hash`: keep a BLAKE3 of what is read.
    pub fn open(path: &Path, format: &CsvFormat, hash: bool) -> Result<Self, SourceError> {
        let file = open_file(path)?;
        let hashing = Hashing { file, hasher: hash.then(blake3::Hasher::new), bytes: 0, bytes_of_row: 0 };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(format.separator)
            .quote(format.quote)
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(READ_BUFFER_BYTES)
            .from_reader(hashing);
        let mut first = ByteRecord::new();
        let read = |source| SourceError::Read { path: path.to_owned(), row: 0, source };
        if !reader.read_byte_record(&mut first).map_err(read)? {
            return Err(SourceError::Empty { path: path.to_owned() });
        }
        let (columns, pending) = if format.header {
            let columns = header(&first).map_err(|fault| SourceError::Header { path: path.to_owned(), fault })?;
            (columns, None)
        } else {
            ((1..=first.len()).map(|i| format!("column_{i}")).collect(), Some(first))
        };
        Ok(Self { path: path.to_owned(), reader, columns, pending, rows_read: 0 })
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
        let more = self.reader.read_byte_record(record).map_err(|source| SourceError::Read {
            path: self.path.clone(),
            row: self.rows_read + 1,
            source,
        })?;
        self.reader.get_mut().bytes_of_row = 0;
        self.rows_read += u64::from(more);
        Ok(more)
    }

    /// Bytes read, and their BLAKE3 when it was asked for. Whole once `next` has answered false.
    pub fn read_so_far(&self) -> (u64, Option<String>) {
        let hashing = self.reader.get_ref();
        (hashing.bytes, hashing.hasher.as_ref().map(|hasher| hasher.finalize().to_hex().to_string()))
    }
}

pub(super) fn open_file(path: &Path) -> Result<File, SourceError> {
    let unreadable = |source| SourceError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => SourceError::Missing { path: path.to_owned() },
        _ => unreadable(source),
    })?;
    match file.metadata() {
        Ok(meta) if meta.is_dir() => Err(unreadable(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"))),
        Ok(_) => Ok(file),
        Err(source) => Err(unreadable(source)),
    }
}

/// Column names of a header line: UTF-8, trimmed, without doubles; an empty one is called by its place.
fn header(record: &ByteRecord) -> Result<Vec<String>, String> {
    if record.iter().next().is_some_and(|first| first.starts_with(&[0xff, 0xfe]) || first.starts_with(&[0xfe, 0xff])) {
        return Err("is UTF-16: convert the file to UTF-8".to_owned());
    }
    let mut columns: Vec<String> = Vec::with_capacity(record.len());
    for (i, field) in record.iter().enumerate() {
        let field = if i == 0 { field.strip_prefix(b"\xef\xbb\xbf").unwrap_or(field) } else { field };
        let name =
            std::str::from_utf8(field).map_err(|_| format!("is not UTF-8 in column {}: convert the file", i + 1))?;
        let name = match name.trim() {
            "" => format!("column_{}", i + 1),
            name => name.to_owned(),
        };
        if let Some(first) = columns.iter().position(|other| *other == name) {
            return Err(format!("names columns {} and {} both {name:?}: rename one of them", first + 1, i + 1));
        }
        columns.push(name);
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<(Vec<String>, Vec<Vec<String>>), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, text).unwrap();
        let format = CsvFormat { separator: b',', quote: b'"', header: true };
        let mut rows = Rows::open(&path, &format, true).map_err(|error| error.to_string())?;
        let (mut record, mut found) = (ByteRecord::new(), Vec::new());
        while rows.next(&mut record).unwrap() {
            found.push(record.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect());
        }
        assert_eq!(rows.read_so_far().1.unwrap(), blake3::hash(text).to_hex().to_string());
        Ok((rows.columns().to_vec(), found))
    }

    fn check(text: &[u8], columns: &[&str], expected: &[&[&str]]) {
        let (found_columns, rows) = read(text).unwrap();
        assert_eq!(found_columns, columns);
        assert_eq!(rows, expected);
    }

    fn check_error(text: &[u8], expected: &str) {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{error}");
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
        check_error(b"a,\xe9\n1,2\n", "not UTF-8 in column 2");
    }
}
