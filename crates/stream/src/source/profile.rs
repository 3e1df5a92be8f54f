//! The first pass over a source: how many rows, of which types, with which digest. What it finds is written to the store
//! once and obeyed from then on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use csv::{ByteRecord, ReaderBuilder};
use serde::{Deserialize, Serialize};

use super::csv_rows::{CsvRows, column_name};
use super::infer::{Columns, Coverage, TooMany};
use super::jsonl::JsonLines;
use super::limits::COLUMNS_MOST;
use super::parquet_rows::ParquetRows;
use super::{Dataset, SourceError};
use crate::record::Encoding;
use crate::schema::{SchemaRules, StreamSchema};
use crate::source::{CsvFormat, Pace, Source, SourcePlace, format_by_name};

/// What tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    pub bytes: u64,
    /// BLAKE3 of the whole file, as it is stored.
    pub digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub schema: StreamSchema,
    /// `None`: the source can be read only once.
    pub rows: Option<u64>,
    pub fingerprint: Option<Fingerprint>,
    /// What a person should know: texts that became null, columns that are almost numbers.
    pub warnings: Vec<String>,
    /// The first and the last event time, in milliseconds since the epoch, where the values of `schema.time` were read.
    pub times: Option<(i64, i64)>,
}

/// Profiles a file by its name's ending: for one that no pipeline names yet.
pub fn profile(path: &Path, csv: &CsvFormat, rules: &SchemaRules) -> Result<Profile, SourceError> {
    let (format, compression) = format_by_name(&path.to_string_lossy());
    let source = Source {
        place: SourcePlace::File(path.to_owned()),
        format,
        compression,
        pace: Pace::FullSpeed,
        csv: csv.clone(),
        key: None,
        order_by: None,
        seed: 1,
    };
    Dataset::new(&source).profile(rules)
}

/// Infers the columns of a topic that others write from the values of some of its records. Csv values have no names: their columns
/// are called `column_1`, `column_2`, … Values that cannot be read say nothing; some must.
pub fn profile_values<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    encoding: Encoding,
    rules: &SchemaRules,
) -> Result<Profile, SourceError> {
    let place = || "the topic's first records".to_owned();
    let mut columns = Columns::new(rules, None, &[]);
    let mut why = "there is none".to_owned();
    for (row, value) in (1..).zip(values) {
        match encoding {
            Encoding::Json => match columns.see_object(value.trim_ascii(), row) {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => why = reason,
                Err(TooMany) => return Err(SourceError::TooManyColumns { place: place(), most: COLUMNS_MOST }),
            },
            Encoding::Csv => match csv_value(value) {
                Ok(record) => {
                    if columns.is_empty() {
                        let names: Vec<String> = (1..=record.len()).map(column_name).collect();
                        columns = Columns::new(rules, None, &names);
                    }
                    columns.see_fields(record.iter(), row);
                }
                Err(reason) => why = reason,
            },
        }
    }
    if columns.is_empty() {
        return Err(SourceError::NoRow { place: place(), reason: why });
    }
    Ok(Profile {
        schema: columns.schema(None, Coverage::Sample),
        rows: None,
        fingerprint: None,
        warnings: columns.warnings(Coverage::Sample),
        times: columns.times(),
    })
}

/// A record's value as one csv record.
fn csv_value(value: &[u8]) -> Result<ByteRecord, String> {
    let mut record = ByteRecord::new();
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).buffer_capacity(1024).from_reader(value);
    match reader.read_byte_record(&mut record) {
        Ok(_) if std::str::from_utf8(record.as_slice()).is_err() => Err("not UTF-8".to_owned()),
        Ok(true) if record.len() <= COLUMNS_MOST => Ok(record),
        Ok(true) => Err(format!("more than {COLUMNS_MOST} fields")),
        Ok(false) => Err("empty".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A pass over the rows of one format, all of them or a sample.
pub(super) struct Pass<'a> {
    pub place: &'a str,
    pub key: Option<&'a str>,
    pub rules: &'a SchemaRules,
    /// Of a sample that was cut anywhere: set once its end was met. The row that was being read then is left out.
    pub cut: Option<Arc<AtomicBool>>,
}

impl Pass<'_> {
    fn is_cut_off(&self) -> bool {
        self.cut.as_ref().is_some_and(|met_end| met_end.load(Ordering::Relaxed))
    }

    pub fn csv(&self, mut rows: CsvRows) -> Result<Profile, SourceError> {
        let mut columns = Columns::new(self.rules, self.key, rows.columns());
        let mut record = ByteRecord::new();
        let mut rows_seen = 0;
        while rows.next(&mut record)? && !self.is_cut_off() {
            rows_seen = rows.rows_read();
            columns.see_fields(record.iter(), rows_seen);
        }
        if rows_seen == 0 {
            return Err(SourceError::HeaderOnly { place: self.place.to_owned() });
        }
        Ok(self.profile(&columns, rows_seen, rows.fingerprint()))
    }

    pub fn jsonl(&self, mut lines: JsonLines) -> Result<Profile, SourceError> {
        let place = || self.place.to_owned();
        let mut columns = Columns::new(self.rules, self.key, &[]);
        let mut first_reason = None;
        loop {
            let row = lines.rows_read() + 1;
            let Some(line) = lines.next()? else { break };
            if self.is_cut_off() {
                break;
            }
            match columns.see_object(line, row) {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => {
                    first_reason.get_or_insert(reason);
                }
                Err(TooMany) => return Err(SourceError::TooManyColumns { place: place(), most: COLUMNS_MOST }),
            }
        }
        match first_reason {
            _ if lines.rows_read() == 0 => Err(SourceError::Empty { place: place() }),
            Some(reason) if columns.is_empty() => Err(SourceError::NoRow { place: place(), reason }),
            None if columns.is_empty() => {
                Err(SourceError::NoRow { place: place(), reason: "its objects are empty".to_owned() })
            }
            Some(_) | None => Ok(self.profile(&columns, lines.rows_read(), lines.fingerprint())),
        }
    }

    /// By the file's own schema; its values are not read.
    pub fn parquet(&self, rows: &ParquetRows, fingerprint: Fingerprint) -> Result<Profile, SourceError> {
        if rows.rows_total() == 0 {
            return Err(SourceError::Empty { place: self.place.to_owned() });
        }
        let columns = Columns::new(self.rules, self.key, rows.columns());
        let binary = rows
            .binary()
            .iter()
            .map(|name| format!("column {name:?} holds bytes: values that are no UTF-8 text become null"));
        Ok(Profile {
            schema: columns.schema(Some(rows.kinds()), Coverage::All),
            rows: Some(rows.rows_total()),
            fingerprint: Some(fingerprint),
            warnings: binary.collect(),
            times: None,
        })
    }

    fn profile(&self, columns: &Columns, rows: u64, fingerprint: Option<Fingerprint>) -> Profile {
        // Without a fingerprint it was a sample.
        let seen = if fingerprint.is_some() { Coverage::All } else { Coverage::Sample };
        let rows = fingerprint.is_some().then_some(rows);
        let (warnings, times) = (columns.warnings(seen), columns.times());
        Profile { schema: columns.schema(None, seen), rows, fingerprint, warnings, times }
    }
}
