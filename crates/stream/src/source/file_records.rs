//! The records of all files of a source, one after the other. Knows the files' order and that their columns agree; knows no rows.

use std::collections::VecDeque;

use millstream_store::StoredFile;

use super::csv_rows::{CsvRows, ROWS_LOOKED_AT};
use super::files::{FILE_COLUMN, Files};
use super::input::{self, Input, Stopped};
use super::jsonl::JsonLines;
use super::parquet_rows::ParquetRows;
use super::records::Records;
use super::{Row, SourceError, s3};
use crate::record::{Cell, Encoding, STUB_BYTES, key_prefix, too_large};
use crate::schema::Dialect;
use crate::source::{Source, SourceFormat, SourcePlace};

/// Opens the files of a source, each in the same way.
pub(super) struct Opener {
    pub source: Source,
    pub encoding: Encoding,
    /// That the source must have, where they are known.
    pub columns: Option<Vec<String>>,
    pub dialect: Dialect,
    pub flatten: bool,
    pub stop: Stopped,
}

impl Opener {
    pub fn csv(&self, file: &str, input: Input) -> Result<CsvRows, SourceError> {
        // Whoever sends the rows of a stream may wait long between them.
        let looked_at = if self.source.place == SourcePlace::Stdin { 1 } else { ROWS_LOOKED_AT };
        let mut rows = CsvRows::open(file, input, &self.source.csv, self.dialect, looked_at)?;
        if rows.is_empty() {
            return Err(SourceError::HeaderOnly { place: file.to_owned() });
        }
        let n_known = self.columns.as_ref().map(|columns| columns.iter().filter(|name| *name != FILE_COLUMN).count());
        if rows.ends_unnamed() && n_known == Some(rows.columns().len() - 1) {
            rows.leave_last_out();
        }
        Ok(rows)
    }

    pub fn jsonl(&self, file: &str, input: Input) -> Result<JsonLines, SourceError> {
        JsonLines::open(file, input, self.dialect)
    }

    /// `own`: columns that the source has of itself, not of its files.
    fn records(&self, file: &str, input: Input, own: &[&str]) -> Result<Records, SourceError> {
        let (key, order) = (self.source.key.as_deref(), self.source.order_by.as_deref());
        let key = key.filter(|key| !own.contains(key));
        let columns = self.columns.iter().flatten().filter(|column| !own.contains(&column.as_str()));
        let columns: Vec<String> = columns.cloned().collect();
        match self.source.format {
            SourceFormat::Csv => Records::csv(file, self.csv(file, input)?, self.encoding, self.dialect, key, order),
            SourceFormat::Jsonl => {
                let columns = match self.encoding {
                    Encoding::Json => Vec::new(),
                    Encoding::Csv => columns,
                };
                Ok(Records::jsonl(self.jsonl(file, input)?, self.encoding, self.flatten, &columns, key, order))
            }
            SourceFormat::Parquet => Err(SourceError::ReadTwice),
        }
    }

    fn open(&self, place: &SourcePlace, own: &[&str]) -> Result<Records, SourceError> {
        let file = place.to_string();
        let records = match self.source.format {
            SourceFormat::Csv | SourceFormat::Jsonl => {
                self.records(&file, input::open(&self.source, place, false, &self.stop)?, own)?
            }
            SourceFormat::Parquet => {
                let (key, order) = (self.source.key.as_deref(), self.source.order_by.as_deref());
                let rows = ParquetRows::open(&file, stored_file(place)?, order, self.dialect)?;
                if rows.rows_total() == 0 {
                    return Err(SourceError::Empty { place: file });
                }
                Records::parquet(&file, rows, self.encoding, key.filter(|key| !own.contains(key)), order)?
            }
        };
        if let (Some(known), Some(found)) = (&self.columns, records.columns()) {
            let known = known.iter().filter(|column| !own.contains(&column.as_str()));
            same_columns(&file, found, known)?;
        }
        Ok(records)
    }
}

/// Files of one source have the same columns, and a source those that it was begun with.
pub(super) fn same_columns<'a>(
    file: &str,
    found: &[String],
    expected: impl Iterator<Item = &'a String> + Clone,
) -> Result<(), SourceError> {
    if found.iter().eq(expected.clone()) {
        return Ok(());
    }
    let expected = expected.map(String::as_str).collect::<Vec<_>>();
    let fault = format!(
        "its columns are {}, and those that the source began with {}: files of one source have the same columns in the same order, and the \
         keys that say how they are read (separator, header, skip, …) stay as they were",
        found.join(", "),
        expected.join(", ")
    );
    Err(SourceError::NoFile { place: file.to_owned(), fault })
}

/// Parquet is read from its end, in ranges.
pub(super) fn stored_file(place: &SourcePlace) -> Result<StoredFile, SourceError> {
    match place {
        SourcePlace::File(path) => Ok(StoredFile::Local(input::open_file(path)?)),
        SourcePlace::S3(url) => s3::open(url),
        SourcePlace::Stdin => Err(SourceError::ReadTwice),
    }
}

pub(super) struct FileRecords {
    opener: Opener,
    rest: VecDeque<(SourcePlace, Option<String>)>,
    current: Records,
    /// Of the current file; `None`: the source is one file.
    name: Option<String>,
}

impl FileRecords {
    pub fn of_stdin(opener: Opener, input: Input) -> Result<Self, SourceError> {
        let place = opener.source.place.to_string();
        let current = opener.records(&place, input, &[])?;
        if let (Some(known), Some(found)) = (&opener.columns, current.columns()) {
            same_columns(&place, found, known.iter())?;
        }
        Ok(Self { opener, rest: VecDeque::new(), current, name: None })
    }

    pub fn open(mut opener: Opener, files: Files) -> Result<Self, SourceError> {
        let names: Vec<Option<String>> = match files.names {
            Some(names) => names.into_iter().map(Some).collect(),
            None => vec![None],
        };
        let mut rest: VecDeque<_> = files.places.into_iter().zip(names).collect();
        while let Some((place, name)) = rest.pop_front() {
            let own = own(name.as_deref());
            match opener.open(&place, own) {
                Ok(current) => {
                    opener.columns = opener.columns.take().or_else(|| current.columns().map(<[String]>::to_vec));
                    return Ok(Self { opener, rest, current, name });
                }
                Err(SourceError::Empty { .. } | SourceError::HeaderOnly { .. }) if !rest.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        Err(SourceError::Empty { place: opener.source.place.to_string() })
    }

    /// Reads the next row; false at the end of the last file.
    pub fn next(&mut self, row: &mut Row) -> Result<bool, SourceError> {
        self.read(row, None)
    }

    /// As `next`, and writes what the row is ordered by.
    pub fn next_with_order(&mut self, row: &mut Row, order: &mut Vec<u8>) -> Result<bool, SourceError> {
        self.read(row, Some(order))
    }

    fn read(&mut self, row: &mut Row, mut order: Option<&mut Vec<u8>>) -> Result<bool, SourceError> {
        loop {
            let more = match &mut order {
                None => self.current.next(row)?,
                Some(order) => self.current.next_with_order(row, order)?,
            };
            if more {
                if let Some(name) = &self.name {
                    with_file(row, name, self.opener.encoding, self.opener.source.key.as_deref());
                }
                return Ok(true);
            }
            let Some((place, name)) = self.rest.pop_front() else { return Ok(false) };
            match self.opener.open(&place, own(name.as_deref())) {
                Ok(records) => (self.current, self.name) = (records, name),
                Err(SourceError::Empty { .. } | SourceError::HeaderOnly { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Columns of a file that has a name.
fn own(name: Option<&str>) -> &'static [&'static str] {
    if name.is_some() { &[FILE_COLUMN] } else { &[] }
}

/// Adds the file's name to a row that is one.
fn with_file(row: &mut Row, name: &str, encoding: Encoding, key: Option<&str>) {
    if row.stub.is_some() {
        return;
    }
    match encoding {
        Encoding::Json => {
            // It is an object, and ends with a brace.
            row.value.pop();
            let is_empty = row.value.trim_ascii() == b"{";
            let prefix = key_prefix(1, FILE_COLUMN);
            row.value.extend_from_slice(if is_empty { &prefix[1..] } else { &prefix });
            Cell::Text(name).write_json(&mut row.value);
            row.value.push(b'}');
        }
        Encoding::Csv => {
            row.value.push(b',');
            Cell::Text(name).write_csv(&mut row.value);
        }
    }
    if key == Some(FILE_COLUMN) {
        row.key = Some(name.as_bytes().to_vec());
    }
    row.stub = too_large(&row.value, row.key.as_deref());
    if row.stub.is_some() {
        row.key = None;
        row.value.truncate(STUB_BYTES);
    }
}
