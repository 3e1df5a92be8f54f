//! The first pass over a source: how many rows, of which types, with which digest. What it finds is written to the store
//! once and obeyed from then on.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use csv::{ByteRecord, ReaderBuilder};
use serde::{Deserialize, Serialize};

use super::csv_rows::{CsvRows, column_name};
use super::infer::{Columns, Mixed, TooMany};
use super::jsonl::JsonLines;
use super::limits::COLUMNS_MOST;
use super::parquet_rows::ParquetRows;
use super::{Dataset, SourceError};
use crate::record::{Encoding, mended, registry_fault, unframed};
use crate::schema::{ColumnType, SchemaRules, StreamSchema};
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
    /// What a person should know: columns that are almost numbers.
    pub warnings: Vec<String>,
}

/// A record of a topic that others write, as a sample has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sampled {
    pub partition: i32,
    pub offset: i64,
    pub value: Vec<u8>,
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

/// Infers the columns of a topic that others write from some of its records. Csv values have no names: their columns are called
/// `column_1`, `column_2`, … What cannot be read says nothing, and a stray value among many others decides nothing. A column that the
/// rules pin may come later.
pub fn profile_records(records: &[Sampled], encoding: Encoding, rules: &SchemaRules) -> Result<Profile, SourceError> {
    let (mut columns, why) = match encoding {
        Encoding::Json => see_objects(records, rules)?,
        Encoding::Csv => see_csv_records(records, rules),
    };
    if columns.is_empty() {
        return Err(SourceError::NoRow { place: SAMPLE.to_owned(), reason: why });
    }
    columns.forgives = true;
    let mut warnings: Vec<String> = columns.mixed().map(|mixed| mixed_warning(&mixed, records)).collect();
    warnings.extend(columns.notes());
    let pinned = rules.columns.iter().filter(|(_, rule)| rule.from.is_none() && rule.kind.is_some());
    for (name, _) in pinned.filter(|_| encoding == Encoding::Json) {
        if !columns.has(name) {
            warnings.push(format!(
                "column {name:?} of [schema.columns] is in none of the first {} records: it is null until it comes",
                records.len()
            ));
            columns.add(name);
        }
    }
    Ok(Profile { schema: columns.schema(None), rows: None, fingerprint: None, warnings })
}

const SAMPLE: &str = "the topic's first records";

/// The columns of JSON objects, and why the last value that is none is none.
fn see_objects<'a>(records: &[Sampled], rules: &'a SchemaRules) -> Result<(Columns<'a>, String), SourceError> {
    let mut columns = Columns::new(rules, None, &[]);
    let mut why = "there is none".to_owned();
    for (row, Sampled { value, .. }) in (1..).zip(records) {
        let value_read = unframed(value).trim_ascii();
        match columns.see_object(&mended(value_read).map_or(Cow::Borrowed(value_read), Cow::Owned), row) {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => why = registry_fault(value).unwrap_or(reason),
            Err(TooMany) => {
                return Err(SourceError::TooManyColumns { place: SAMPLE.to_owned(), most: COLUMNS_MOST });
            }
        }
    }
    Ok((columns, why))
}

/// The columns of csv records: as many as most of them have fields, and of several such numbers the one that came first.
fn see_csv_records<'a>(records: &[Sampled], rules: &'a SchemaRules) -> (Columns<'a>, String) {
    let mut why = "there is none".to_owned();
    let mut read = Vec::new();
    for (row, Sampled { value, .. }) in (1..).zip(records) {
        match registry_fault(value).map_or_else(|| csv_value(value), Err) {
            Ok(record) => read.push((row, record)),
            Err(reason) => why = reason,
        }
    }
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    read.iter().for_each(|(_, record)| *counts.entry(record.len()).or_default() += 1);
    let most = counts.values().copied().max();
    let fields = read.iter().map(|(_, record)| record.len()).find(|fields| counts.get(fields).copied() == most);
    let names: Vec<String> = (1..=fields.unwrap_or(0)).map(column_name).collect();
    let mut columns = Columns::new(rules, None, &names);
    for (row, record) in &read {
        columns.see_fields(record.iter(), *row);
    }
    (columns, why)
}

/// Of a column with texts and something else: what becomes of the records, and the line that makes it otherwise.
fn mixed_warning(mixed: &Mixed, records: &[Sampled]) -> String {
    let Mixed { name, kind, texts, others, first_text: (row, text) } = mixed;
    let record = usize::try_from(*row).ok().and_then(|row| records.get(row.checked_sub(1)?));
    let place = record.map_or_else(String::new, |Sampled { partition, offset, .. }| {
        format!(", record {offset} of partition {partition}")
    });
    let seen = format!("column {name:?} holds {texts} texts ({text:?} first{place}) and {others} numbers or flags");
    match kind {
        ColumnType::Utf8 => format!(
            "{seen}: it is text; to make it a column of numbers, and rejects of records with texts, add to [schema.columns]: \
             {name:?} = \"float64\"; where such a text means null: {name:?} = {{ type = \"float64\", null = [\"\", {text:?}] }}"
        ),
        kind => format!(
            "{seen}: it is {}, and records with texts there are rejects; to take any text add to [schema.columns]: {name:?} = \
             \"utf8\"; where such a text means null: {name:?} = {{ null = [\"\", {text:?}] }}",
            kind.name()
        ),
    }
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
            Some(_) | None => {
                let mut profile = self.profile(&columns, lines.rows_read(), lines.fingerprint());
                if lines.rows_mended > 0 {
                    profile.warnings.push(format!(
                        "{} rows hold what JSON does not know: NaN and Infinity are read as null, half a surrogate pair (\\ud800 to \
                         \\udfff) as U+FFFD",
                        lines.rows_mended
                    ));
                }
                Ok(profile)
            }
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
            schema: columns.schema(Some(rows.kinds())),
            rows: Some(rows.rows_total()),
            fingerprint: Some(fingerprint),
            warnings: binary.chain(columns.notes()).collect(),
        })
    }

    fn profile(&self, columns: &Columns, rows: u64, fingerprint: Option<Fingerprint>) -> Profile {
        // Without a fingerprint it was a sample.
        let rows = fingerprint.is_some().then_some(rows);
        Profile { schema: columns.schema(None), rows, fingerprint, warnings: columns.warnings() }
    }
}
