//! How a file is most likely written: encoding, separator, quotes, lines before the header, the header itself. Looks at its beginning
//! alone, proposes keys of `[source]` and changes nothing: who reads a file obeys its keys. Pure.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::io::{self, Cursor};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use csv::ByteRecord;

use super::csv_bytes::CsvBytes;
use super::csv_rows::named_separator;
use super::input::{RowGuard, Stopped};
use super::written::is_numberish;
use crate::schema::is_missing_marker;
use crate::source::{Charset, CsvFormat, SourceFormat};

/// Of an unpacked file.
pub(super) const LOOKED_AT_BYTES: usize = 1 << 20;
const ROWS_LOOKED_AT: usize = 1000;
const SEPARATORS: [&str; 6] = [",", ";", "\t", "|", "::", " "];
/// The score of a reading that may be a guess.
const SURE: f64 = 0.5;
/// Of the values of a column that is a number's.
const MOST: f64 = 0.9;

/// How a file is written, as far as its beginning tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Sniffed {
    pub format: SourceFormat,
    pub charset: &'static Charset,
    pub csv: CsvFormat,
}

impl Sniffed {
    /// The lines of `[source]` that say so, of what differs from how the file is read.
    pub fn keys(&self, format: SourceFormat, charset: &Charset, csv: &CsvFormat) -> Vec<String> {
        let mut keys = Vec::new();
        if self.format != format {
            keys.push(format!("format = {:?}", self.format.name()));
        }
        if self.charset != charset {
            keys.push(format!("encoding = {:?}", self.charset.name().to_lowercase()));
        }
        if self.format != SourceFormat::Csv {
            return keys;
        }
        let found = &self.csv;
        if found.separator != csv.separator {
            keys.push(format!("separator = {:?}", found.separator));
        }
        for (key, found, read) in [
            ("quote", found.quote, csv.quote),
            ("escape", found.escape, csv.escape),
            ("comment", found.comment, csv.comment),
        ] {
            if found != read {
                keys.push(format!("{key} = {:?}", found.map_or(String::new(), |byte| char::from(byte).to_string())));
            }
        }
        if found.skip != csv.skip {
            keys.push(format!("skip = {}", found.skip));
        }
        if found.header != csv.header {
            let header = match found.header {
                0 => "false".to_owned(),
                1 => "true".to_owned(),
                lines => lines.to_string(),
            };
            keys.push(format!("header = {header}"));
        }
        keys
    }
}

/// `bytes`: the beginning of the file, unpacked. `is_all`: there is no more.
pub(super) fn sniff(bytes: &[u8], is_all: bool, name: &str) -> Sniffed {
    let default = CsvFormat::of_name(name);
    if bytes.starts_with(b"PAR1") {
        return Sniffed { format: SourceFormat::Parquet, charset: encoding_rs::UTF_8, csv: default };
    }
    let charset = charset(bytes, is_all);
    let (text, _, _) = charset.decode(bytes);
    let text = if is_all { &text } else { text.rsplit_once('\n').map_or(text.as_ref(), |(whole, _)| whole) };
    let format = match text.trim_start().chars().next() {
        Some('{') => SourceFormat::Jsonl,
        Some('[') if text.trim_start()[1..].trim_start().starts_with(['{', ']']) => SourceFormat::Jsonl,
        _ => SourceFormat::Csv,
    };
    let csv = if format == SourceFormat::Csv { csv(text, default) } else { default };
    Sniffed { format, charset, csv }
}

/// By its mark, by being UTF-8, by the zero bytes of UTF-16, else by what its bytes are likely to be.
fn charset(bytes: &[u8], is_all: bool) -> &'static Charset {
    if let Some((charset, _)) = Charset::for_bom(bytes) {
        return charset;
    }
    let is_utf_8 = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        // The last character may be cut off.
        Err(error) => !is_all && error.error_len().is_none(),
    };
    let zeros = |from: usize| bytes.iter().skip(from).step_by(2).take(512).filter(|byte| **byte == 0).count();
    match (zeros(0), zeros(1)) {
        (even, odd) if even > 4 * odd && even > bytes.len().min(1024) / 8 => encoding_rs::UTF_16BE,
        (even, odd) if odd > 4 * even && odd > bytes.len().min(1024) / 8 => encoding_rs::UTF_16LE,
        _ if is_utf_8 => encoding_rs::UTF_8,
        _ => {
            let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
            detector.feed(bytes, is_all);
            detector.guess(None, Utf8Detection::Deny)
        }
    }
}

/// A way to take the rows apart, and how well it does.
struct Reading {
    csv: CsvFormat,
    rows: Vec<ByteRecord>,
    /// Fields of most rows.
    n_fields: usize,
    score: f64,
}

fn csv(text: &str, default: CsvFormat) -> CsvFormat {
    let first = text.lines().next().unwrap_or_default();
    let named = named_separator(first.as_bytes()).and_then(|separator| std::str::from_utf8(separator).ok());
    let body = if named.is_some() { text.split_once('\n').map_or("", |(_, body)| body) } else { text };
    let mut best: Option<Reading> = None;
    // What the name says goes first among equals.
    let separators: Vec<&str> = match named {
        Some(named) => vec![named],
        None => std::iter::once(default.separator.as_str()).chain(SEPARATORS).collect(),
    };
    for separator in separators {
        for (quote, escape) in [(Some(b'"'), None), (Some(b'"'), Some(b'\\')), (Some(b'\''), None), (None, None)] {
            let may_be = match (quote, escape) {
                (Some(b'"'), None) => true,
                (Some(b'"'), Some(_)) => body.contains("\\\""),
                (Some(_), _) => body.contains('\''),
                (None, _) => body.contains('"'),
            };
            if !may_be {
                continue;
            }
            let csv = CsvFormat { separator: separator.to_owned(), quote, escape, ..default.clone() };
            let reading = read(body, csv);
            // Whatever else is as good as what is most usual is taken for that.
            if best.as_ref().is_none_or(|best| reading.score > best.score + 0.001) {
                best = Some(reading);
            }
        }
    }
    match best {
        Some(best) if best.n_fields > 1 && best.score > SURE => {
            let mut csv = with_head(body, best);
            // Counted from the beginning of the file.
            csv.skip += u32::from(named.is_some() && csv.skip > 0);
            csv
        }
        Some(_) | None => default,
    }
}

fn read(text: &str, csv: CsvFormat) -> Reading {
    let rows = rows(text, &csv).unwrap_or_default();
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for row in &rows {
        *counts.entry(row.len()).or_default() += 1;
    }
    let (n_fields, n_rows) =
        counts.iter().max_by_key(|(_, rows)| **rows).map_or((0, 0), |(fields, rows)| (*fields, *rows));
    let regular: Vec<&ByteRecord> = rows.iter().filter(|row| row.len() == n_fields).collect();
    let fields = regular.iter().flat_map(|row| row.iter());
    let (mut clean, mut numbers, mut all) = (0_usize, 0_usize, 0_usize);
    for field in fields {
        all += 1;
        let field = String::from_utf8_lossy(field);
        numbers += usize::from(is_numberish(&field));
        clean += usize::from(is_clean(&field, &csv));
    }
    // A row that goes over many lines had most likely a quote that is none.
    let lines = text.lines().filter(|line| !line.trim().is_empty()).count().min(ROWS_LOOKED_AT);
    let kept = share(rows.len().min(lines), lines);
    // Of a blank it is likely only that numbers are separated by it.
    let likely = if csv.separator == " " { 0.9 * share(numbers, all) } else { 1.0 };
    let score = match n_fields {
        0 | 1 => 0.0,
        _ => share(n_rows, rows.len()) * share(clean, all) * (0.5 + 0.5 * kept) * likely,
    };
    Reading { csv, rows, n_fields, score }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a sample")]
fn share(part: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

/// A field that another separator, or a quote, would not take apart.
fn is_clean(field: &str, csv: &CsvFormat) -> bool {
    if is_numberish(field) {
        return true;
    }
    let wrapped =
        ['"', '\''].iter().any(|quote| field.len() > 1 && field.starts_with(*quote) && field.ends_with(*quote));
    if wrapped || field.contains("\\\"") && csv.escape.is_none() && csv.quote.is_some() {
        return false;
    }
    let between = |separator: &str| {
        field.match_indices(separator).any(|(at, _)| {
            let after = field[at + separator.len()..].chars().next();
            field[..at].chars().next_back().is_some_and(|c| !c.is_whitespace())
                && after.is_some_and(|c| !c.is_whitespace())
        })
    };
    // Commas and blanks stand in many texts.
    ![";", "\t", "|", "::"].into_iter().filter(|separator| *separator != csv.separator).any(between)
}

fn rows(text: &str, csv: &CsvFormat) -> io::Result<Vec<ByteRecord>> {
    let guard = RowGuard::new(Box::new(Cursor::new(text.as_bytes().to_vec())), &Stopped::default());
    let mut bytes = CsvBytes::new(guard);
    let delimiter = bytes.separate_by(csv.separator.as_bytes());
    let mut builder = csv::ReaderBuilder::new();
    builder.delimiter(delimiter).quoting(csv.quote.is_some()).quote(csv.quote.unwrap_or(b'"')).escape(csv.escape);
    let mut reader = builder.has_headers(false).flexible(true).from_reader(bytes);
    let mut rows = Vec::new();
    let mut record = ByteRecord::new();
    while rows.len() < ROWS_LOOKED_AT && reader.read_byte_record(&mut record)? {
        rows.push(record.clone());
    }
    Ok(rows)
}

/// The reading with what comes before its rows.
fn with_head(text: &str, reading: Reading) -> CsvFormat {
    let Reading { mut csv, mut rows, n_fields, .. } = reading;
    let begins = |row: &ByteRecord| row.get(0).is_some_and(|field| field.starts_with(b"#"));
    // Before the first row alone, and of rows none begins so.
    let before = rows.iter().take_while(|row| row.len() != n_fields).filter(|row| begins(row)).count();
    if before > 0 && !rows.iter().any(|row| row.len() == n_fields && begins(row)) {
        csv.comment = Some(b'#');
        rows.retain(|row| row.len() == n_fields || !begins(row));
    }
    let Some(first) = rows.iter().position(|row| row.len() == n_fields) else { return csv };
    let numbers = number_columns(&rows[first..], n_fields);
    let says_names =
        |row: &ByteRecord| row.iter().all(|field| !is_numberish(&String::from_utf8_lossy(field)) && !field.is_empty());
    // A header that is one name short, or has no separator at its end as the rows have.
    let is_short = first > 0
        && rows[first - 1].len() + 1 == n_fields
        && says_names(&rows[first - 1])
        && !is_header(&rows[first], &rows[first + 1..], &numbers);
    let start = if is_short { first - 1 } else { first };
    if let Some(position) = rows[start].position() {
        // A line of its own before the rows may be one that is empty, which is none of csv, or a comment.
        let before = usize::try_from(position.line()).unwrap_or(1).saturating_sub(1);
        let is_none = |line: &str| line.trim().is_empty() || csv.comment.is_some() && line.starts_with('#');
        csv.skip = if text.lines().take(before).all(is_none) { 0 } else { u32::try_from(before).unwrap_or(0) };
    }
    if is_short {
        return csv;
    }
    let rest = &rows[first + 1..];
    if !rest.is_empty() && !is_header(&rows[first], rest, &numbers) {
        csv.header = 0;
    } else if rest.len() > 1 && is_second_header(&rest[0], &number_columns(&rest[1..], n_fields)) {
        csv.header = 2;
    }
    csv
}

/// Whose values are numbers, the first row's apart.
fn number_columns(rows: &[ByteRecord], n_fields: usize) -> Vec<bool> {
    let column = |column: usize| {
        let values = rows.iter().skip(1).filter(|row| row.len() == n_fields).filter_map(|row| row.get(column));
        let (mut numbers, mut all) = (0, 0);
        for value in values.map(String::from_utf8_lossy).filter(|value| !is_missing_marker(value)) {
            all += 1;
            numbers += usize::from(is_numberish(&value));
        }
        all > 0 && share(numbers, all) >= MOST
    };
    (0..n_fields).map(column).collect()
}

fn is_header(row: &ByteRecord, rest: &[ByteRecord], numbers: &[bool]) -> bool {
    let is_number = |field: &[u8]| is_numberish(&String::from_utf8_lossy(field));
    if numbers.contains(&true) {
        // Names that are years stand above values that are none.
        let years = |row: &ByteRecord| {
            row.iter().zip(numbers).filter(|(_, numbers)| **numbers).all(|(field, _)| is_year(field))
        };
        if years(row) && !rest.iter().any(years) {
            return true;
        }
        let is_name = |field: &[u8]| {
            let text = String::from_utf8_lossy(field);
            !is_missing_marker(&text) && !is_numberish(&text)
        };
        return row.iter().zip(numbers).any(|(field, numbers)| *numbers && is_name(field));
    }
    // Texts alone: names come once.
    let comes_again = |column: usize| rest.iter().any(|other| other.get(column) == row.get(column));
    let again = (0..row.len()).filter(|column| comes_again(*column)).count();
    let distinct: HashSet<&[u8]> = row.iter().collect();
    again * 2 < row.len().max(1) && distinct.len() == row.len() && !row.iter().any(is_number)
}

fn is_year(field: &[u8]) -> bool {
    let year = std::str::from_utf8(field).ok().and_then(|text| text.trim().parse::<u32>().ok());
    year.is_some_and(|year| (1900..=2100).contains(&year))
}

/// Units or a second line of names above numbers.
fn is_second_header(row: &ByteRecord, numbers: &[bool]) -> bool {
    let is_text = |field: &[u8]| {
        let text = String::from_utf8_lossy(field);
        !is_missing_marker(&text) && !is_numberish(&text)
    };
    numbers.contains(&true) && row.iter().zip(numbers).all(|(field, numbers)| !numbers || is_text(field))
}

/// The keys, as one sentence's end.
pub(super) fn proposal(keys: &[String]) -> String {
    let mut text = String::from("it looks as if it were written so: ");
    for (i, key) in keys.iter().enumerate() {
        let _ = write!(text, "{}{key}", if i == 0 { "" } else { ", " });
    }
    text
}
