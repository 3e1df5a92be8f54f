//! Rows of a csv source, as bytes. Knows quoting, headers, separators and the habits of who writes such files; knows nothing of types.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;

use csv::ByteRecord;

use super::SourceError;
use super::csv_bytes::{CsvBytes, SEPARATOR};
use super::input::{Input, READ_BUFFER_BYTES, SharedDigest};
use super::limits::COLUMNS_MOST;
use super::profile::Fingerprint;
use crate::schema::Dialect;
use crate::source::CsvFormat;

/// Rows that are looked at to tell how they are meant, before the first is given out.
pub(super) const ROWS_LOOKED_AT: usize = 100;
/// And no more than so many bytes of them, with the row that goes beyond.
const BYTES_LOOKED_AT: usize = 8 << 20;
/// The names of a header that is one short: what R and others write before the first column.
const ROW_NAME: &str = "row_name";

pub(super) struct CsvRows {
    place: String,
    reader: csv::Reader<CsvBytes>,
    digest: Option<SharedDigest>,
    dialect: Dialect,
    columns: Vec<String>,
    /// A line like it, further down, is no row: files are put together so.
    header: Option<ByteRecord>,
    /// Every row ends with a separator, and no field comes after it.
    ends_with_separator: bool,
    ends_unnamed: bool,
    rows_looked_at: usize,
    /// What `SEPARATOR` stands for.
    separator: Option<Vec<u8>>,
    quote: Option<u8>,
    /// Rows that were looked at and are still to be given out, each with its lines.
    ahead: VecDeque<(ByteRecord, Lines)>,
    lines_before: u64,
    lines: Lines,
    rows_read: u64,
    headers_again: u64,
    notes: Vec<String>,
}

/// Where a row lies, in lines from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lines {
    pub first: u64,
    pub count: u64,
    /// Its last field has the rest of the source in it.
    pub is_unclosed: bool,
}

impl CsvRows {
    /// Reads the header, and so many rows at most to tell how they are meant.
    pub fn open(
        place: &str,
        input: Input,
        format: &CsvFormat,
        dialect: Dialect,
        rows_looked_at: usize,
    ) -> Result<Self, SourceError> {
        let failed = |source| SourceError::Read { place: place.to_owned(), row: 1, source };
        let mut bytes = CsvBytes::new(input.bytes);
        let mut notes = Vec::new();
        let (separator, lines_before) = before_rows(&mut bytes, format, dialect, &mut notes).map_err(failed)?;
        if is_utf16(bytes.line().map_err(failed)?) {
            return Err(SourceError::Utf16 { place: place.to_owned() });
        }
        let delimiter = bytes.separate_by(&separator);
        let separator = (delimiter == SEPARATOR).then_some(separator);
        let reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(format.quote.is_some())
            .quote(format.quote.unwrap_or(b'"'))
            .escape(format.escape)
            .comment(format.comment)
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(READ_BUFFER_BYTES)
            .from_reader(bytes);
        let mut rows = Self {
            place: place.to_owned(),
            reader,
            digest: input.digest,
            dialect,
            columns: Vec::new(),
            header: None,
            ends_with_separator: false,
            ends_unnamed: false,
            rows_looked_at: 0,
            separator,
            quote: format.quote,
            ahead: VecDeque::new(),
            lines_before,
            lines: Lines::default(),
            rows_read: 0,
            headers_again: 0,
            notes,
        };
        rows.read_head(format.header, rows_looked_at)?;
        Ok(rows)
    }

    fn read_head(&mut self, header_lines: u32, rows_looked_at: usize) -> Result<(), SourceError> {
        let mut first = ByteRecord::new();
        if !self.read(&mut first)? {
            return Err(SourceError::Empty { place: self.place.clone() });
        }
        if first.len() > COLUMNS_MOST {
            let fault =
                format!("has {} columns: at most {COLUMNS_MOST}; turn names that are data into values", first.len());
            return Err(SourceError::Header { place: self.place.clone(), fault });
        }
        if header_lines == 0 {
            self.columns = (1..=first.len()).map(column_name).collect();
            self.ahead.push_back((first, self.lines));
            return Ok(());
        }
        let mut header = vec![first];
        for _ in 1..header_lines {
            let mut line = ByteRecord::new();
            if !self.read(&mut line)? {
                return Err(SourceError::HeaderOnly { place: self.place.clone() });
            }
            header.push(line);
        }
        let bad_header = |fault| SourceError::Header { place: self.place.clone(), fault };
        let names = joined(&header).map_err(bad_header)?;
        if self.dialect == Dialect::First {
            self.columns = single_names(names).map_err(bad_header)?;
            return Ok(());
        }
        self.look_at(rows_looked_at)?;
        self.ends_unnamed = names.len() > 1 && names.last().is_some_and(String::is_empty);
        let names = self.as_rows_have_it(names);
        self.columns = named(names, &mut self.notes);
        if let ([header], true) = (header.as_slice(), header_lines == 1) {
            self.header = Some(header.clone());
            let again = |(record, _): &(ByteRecord, Lines)| record == header;
            let found = self.ahead.iter().filter(|row| again(row)).count();
            self.ahead.retain(|row| !again(row));
            self.headers_again = found as u64;
        }
        Ok(())
    }

    fn look_at(&mut self, rows: usize) -> Result<(), SourceError> {
        self.rows_looked_at = rows;
        let mut bytes = 0;
        while self.ahead.len() < rows && bytes < BYTES_LOOKED_AT {
            let mut record = ByteRecord::new();
            if !self.read(&mut record)? {
                break;
            }
            bytes += record.as_slice().len();
            self.ahead.push_back((record, self.lines));
        }
        Ok(())
    }

    /// There is a header and no row: known of the current dialect alone.
    pub fn is_empty(&self) -> bool {
        self.rows_looked_at > 0 && self.ahead.is_empty()
    }

    /// The names of the header for the fields that the rows have, where each has one more: a name of its own before them, or a separator
    /// after them.
    fn as_rows_have_it(&mut self, mut names: Vec<String>) -> Vec<String> {
        let n_names = names.len();
        if self.ahead.is_empty() || self.ahead.iter().any(|(record, _)| record.len() != n_names + 1) {
            return names;
        }
        self.ends_with_separator =
            self.ahead.iter().all(|(record, _)| record.iter().next_back().is_some_and(<[u8]>::is_empty));
        if self.ends_with_separator {
            self.notes.push("every row ends with a separator, after which there is no column".to_owned());
        } else if n_names > 1 && self.rows_looked_at > 1 {
            // One name above two fields is more likely another separator, and one row more likely a slip.
            self.notes.push(format!(
                "the header has {n_names} names for {} fields in every row: the first field is the row's name, in column \
                 {ROW_NAME:?}",
                n_names + 1
            ));
            names.insert(0, ROW_NAME.to_owned());
        }
        names
    }

    /// Whether the header ends with a separator: its last column has no name.
    pub fn ends_unnamed(&self) -> bool {
        self.ends_unnamed
    }

    /// Leaves the last column out, which is empty in every row.
    pub fn leave_last_out(&mut self) {
        self.columns.pop();
        self.ends_with_separator = true;
    }

    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Of the row that was given out last.
    pub fn lines(&self) -> Lines {
        self.lines
    }

    /// What a person should know of how the rows are read. Whole once `next` has answered false.
    pub fn notes(&self) -> Vec<String> {
        let again = (self.headers_again > 0)
            .then(|| format!("the header comes again {} times further down: no rows", self.headers_again));
        self.notes.iter().cloned().chain(again).collect()
    }

    /// Reads the next row; false at the end of the file.
    pub fn next(&mut self, record: &mut ByteRecord) -> Result<bool, SourceError> {
        match self.ahead.pop_front() {
            Some((ahead, lines)) => (*record, self.lines) = (ahead, lines),
            None => loop {
                if !self.read(record)? {
                    return Ok(false);
                }
                if self.header.as_ref() != Some(record) {
                    break;
                }
                self.headers_again += 1;
            },
        }
        let n_columns = self.columns.len();
        if self.ends_with_separator && record.len() == n_columns + 1 && record[n_columns].is_empty() {
            record.truncate(n_columns);
        }
        self.rows_read += 1;
        Ok(true)
    }

    /// Reads whatever comes next.
    fn read(&mut self, record: &mut ByteRecord) -> Result<bool, SourceError> {
        let line = self.reader.position().line();
        let more = self.reader.read_byte_record(record).map_err(|error| {
            let error = io::Error::from(error);
            let message = format!("{error} (the row begins in line {})", self.lines_before + line);
            let source = io::Error::new(error.kind(), message);
            SourceError::Read { place: self.place.clone(), row: self.rows_read + self.ahead.len() as u64 + 1, source }
        })?;
        let first = record.position().map_or(line, csv::Position::line);
        let (end, bytes) = (self.reader.position().line(), self.reader.get_mut());
        bytes.row_ended();
        // A row that the end of the source ended within quotes: what ends with a line end of its own is not read to the end.
        let is_unclosed = self.dialect >= Dialect::Second
            && bytes.is_ended()
            && end > first
            && Some(bytes.last()) != self.quote
            && record.iter().next_back().is_some_and(|last| last.contains(&b'\n'));
        self.lines = Lines { first: self.lines_before + first, count: end.saturating_sub(first).max(1), is_unclosed };
        if let Some(separator) = &self.separator
            && record.as_slice().contains(&SEPARATOR)
        {
            *record = record.iter().map(|field| with_separators(field, separator)).collect();
        }
        Ok(more)
    }

    /// Of what is stored, where it was asked for. Whole once `next` has answered false.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.digest.as_ref().map(SharedDigest::finish)
    }
}

/// Reads what comes before the header: a byte-order mark, the lines to skip, a line of spreadsheets that names the separator. The answer: the
/// separator, and how many lines that were.
fn before_rows(
    bytes: &mut CsvBytes,
    format: &CsvFormat,
    dialect: Dialect,
    notes: &mut Vec<String>,
) -> io::Result<(Vec<u8>, u64)> {
    if bytes.line()?.starts_with(MARK) {
        bytes.pass_over(MARK.len());
    }
    let mut lines = 0;
    for _ in 0..format.skip {
        lines += u64::from(bytes.pass_over_line()?);
    }
    let told = match (dialect, named_separator(bytes.line()?)) {
        (Dialect::Second, Some(separator)) => separator.to_vec(),
        (Dialect::Second, None) | (Dialect::First, _) => return Ok((format.separator.clone().into_bytes(), lines)),
    };
    bytes.pass_over_line()?;
    let said = String::from_utf8_lossy(&told).into_owned();
    notes.push(match said == format.separator {
        true => format!("the first line names the separator, {said:?}"),
        false => format!("the first line names the separator, {said:?}, which is taken for {:?}", format.separator),
    });
    Ok((told, lines + 1))
}

/// `sep=;`, which spreadsheets write and read.
pub(super) fn named_separator(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let separator = line.strip_suffix(b"\r").unwrap_or(line).strip_prefix(b"sep=")?;
    (separator.len() == 1 && separator.is_ascii()).then_some(separator)
}

fn with_separators(field: &[u8], separator: &[u8]) -> Vec<u8> {
    field.split(|byte| *byte == SEPARATOR).collect::<Vec<_>>().join(separator)
}

/// The name of the column at a place, from 1, that has none.
pub(super) fn column_name(place: usize) -> String {
    format!("column_{place}")
}

const MARK: &[u8] = b"\xef\xbb\xbf";

/// By its mark, or by the zero bytes that ASCII has in it.
fn is_utf16(line: &[u8]) -> bool {
    line.starts_with(&[0xff, 0xfe]) || line.starts_with(&[0xfe, 0xff]) || line.contains(&0)
}

/// The names of a header of one or several lines, trimmed: those that stand in one column are one name.
fn joined(lines: &[ByteRecord]) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::new();
    for line in lines {
        names.resize(names.len().max(line.len()), String::new());
        for (i, (name, field)) in names.iter_mut().zip(line).enumerate() {
            let field = std::str::from_utf8(field).map_err(|_| {
                format!("is not UTF-8 in column {}: name what it is, such as encoding = \"windows-1252\"", i + 1)
            })?;
            let field = field.trim();
            if !name.is_empty() && !field.is_empty() {
                name.push('_');
            }
            name.push_str(field);
        }
    }
    Ok(names)
}

/// An unnamed column is called by its place, and the second of a name `name_2`.
fn named(names: Vec<String>, notes: &mut Vec<String>) -> Vec<String> {
    let given: HashSet<String> = names.iter().cloned().collect();
    let mut taken = HashSet::with_capacity(names.len());
    let mut numbers: HashMap<String, u64> = HashMap::new();
    let mut columns = Vec::with_capacity(names.len());
    for (i, name) in names.into_iter().enumerate() {
        let plain = if name.is_empty() { column_name(i + 1) } else { name.clone() };
        let mut column = plain.clone();
        while taken.contains(&column) || (column != name && given.contains(&column)) {
            let number = numbers.entry(plain.clone()).and_modify(|number| *number += 1).or_insert(2);
            column = format!("{plain}_{number}");
        }
        if name.is_empty() {
            notes.push(format!("column {} of the header has no name: it is called {column:?}", i + 1));
        } else if column != name {
            notes.push(format!("column {} is called {name:?}, as another one is: it is read as {column:?}", i + 1));
        }
        taken.insert(column.clone());
        columns.push(column);
    }
    columns
}

/// As `named`, as earlier stores were begun: two columns of one name are an error.
fn single_names(names: Vec<String>) -> Result<Vec<String>, String> {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(names.len());
    let mut columns = Vec::with_capacity(names.len());
    for (i, name) in names.into_iter().enumerate() {
        let name = if name.is_empty() { column_name(i + 1) } else { name };
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
        read_in(text, header, Dialect::CURRENT)
    }

    fn read_in(text: &[u8], header: bool, dialect: Dialect) -> Result<(Vec<String>, Vec<Vec<String>>), String> {
        let bench = Bench::new("a.csv", text);
        let input = crate::source::input::open(&bench.source, &bench.source.place, true, &std::sync::Arc::default())
            .map_err(|error| error.to_string())?;
        let format = CsvFormat { header: u32::from(header), ..CsvFormat::of_name("a.csv") };
        let mut rows =
            CsvRows::open("a.csv", input, &format, dialect, ROWS_LOOKED_AT).map_err(|error| error.to_string())?;
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
        check_error(b"\xff\xfea\0", "UTF-16");
        check_error(b"a\0,\0b\0\n\0", "UTF-16");
        check_error(b"a,\xe9\n1,2\n", "not UTF-8 in column 2");
    }

    #[test]
    fn an_earlier_store_is_read_as_it_was_begun() {
        let read = |text: &[u8]| read_in(text, true, Dialect::First);
        assert!(read(b"a,b,a\n1,2,3\n").unwrap_err().contains("columns 1 and 3 both \"a\""));
        let (columns, rows) = read(b"sep=;\na;b\n").unwrap();
        assert_eq!((columns, rows), (vec!["sep=;".to_owned()], vec![vec!["a;b".to_owned()]]));
        let (columns, rows) = read(b"a,b\n1,2,\na,b\n").unwrap();
        assert_eq!(columns, ["a", "b"]);
        assert_eq!(rows, [vec!["1", "2", ""], vec!["a", "b"]]);
    }
}
