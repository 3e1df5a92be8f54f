//! The first pass over a source: how many rows, of which types, with which digest. What it finds is written to the store
//! once and obeyed from then on.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use csv::{ByteRecord, ReaderBuilder};
use serde::{Deserialize, Serialize};

use super::SourceError;
use super::csv_ahead::each_row;
use super::csv_rows::{CsvRows, Lines, column_name};
use super::file_records::same_columns;
use super::files::FILE_COLUMN;
use super::infer::{Columns, Coverage, Mixed, TooMany, regression_note};
use super::jsonl::JsonLines;
use super::limits::COLUMNS_MOST;
use super::parquet_rows::ParquetRows;
use super::sniff::proposal;
use crate::record::{Cell, Encoding, mended, registry_fault, unframed};
use crate::schema::{ColumnType, SchemaRules, StreamSchema};

/// Rows of a Parquet file, for whether its targets are all 0 or 1.
const TARGETS_LOOKED_AT: u64 = 10_000;

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
    /// There are JSON objects that `schema.flatten` would make columns of.
    pub nests: bool,
}

/// A record of a topic that others write, as a sample has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sampled {
    pub partition: i32,
    pub offset: i64,
    pub value: Vec<u8>,
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
    columns.leave_null_objects_out();
    let mut warnings: Vec<String> = columns.mixed().map(|mixed| mixed_warning(&mixed, records)).collect();
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
    warnings.extend(columns.warnings(Coverage::Sample));
    let (schema, times) = (columns.schema(None, Coverage::Sample), columns.times());
    Ok(Profile { schema, rows: None, fingerprint: None, warnings, times, nests: columns.nests() })
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

/// A pass over the rows of a source's files, all of them or a sample.
pub(super) struct Pass<'a> {
    place: &'a str,
    key: Option<&'a str>,
    rules: &'a SchemaRules,
    /// Of a sample that was cut anywhere: set once its end was met. The row that was being read then is left out.
    cut: Option<Arc<AtomicBool>>,
    columns: Option<Columns<'a>>,
    /// That the files tell themselves.
    kinds: Option<Vec<ColumnType>>,
    rows: u64,
    /// Rows that are none, and why the first is not.
    bad_rows: u64,
    bad_row: Option<String>,
    /// The last column has no name.
    ends_unnamed: bool,
    notes: Vec<String>,
}

impl<'a> Pass<'a> {
    pub fn new(place: &'a str, key: Option<&'a str>, rules: &'a SchemaRules, cut: Option<Arc<AtomicBool>>) -> Self {
        let (columns, kinds, bad_row, notes) = (None, None, None, Vec::new());
        let (rows, bad_rows, ends_unnamed) = (0, 0, false);
        Self { place, key, rules, cut, columns, kinds, rows, bad_rows, bad_row, ends_unnamed, notes }
    }

    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Whether something tells that the source is written in another way than it is read.
    pub fn is_odd(&self) -> bool {
        self.bad_rows > 0 || self.columns.as_ref().is_some_and(|columns| columns.names().len() == 1)
    }

    /// Keys of the source that would read it otherwise.
    pub fn propose(&mut self, keys: &[String]) {
        let proposal = proposal(keys);
        if let Some(reason) = self.bad_row.as_mut().filter(|_| self.bad_rows == self.rows) {
            *reason = format!("{reason}; {proposal}");
        } else {
            self.notes.push(proposal);
        }
    }

    fn is_cut_off(&self) -> bool {
        self.cut.as_ref().is_some_and(|met_end| met_end.load(Ordering::Relaxed))
    }

    /// The columns so far; those of a file that names its own must be the same in all.
    fn columns(&mut self, file: &str, own: Option<&[String]>) -> Result<&mut Columns<'a>, SourceError> {
        let (key, rules) = (self.key, self.rules);
        if let (Some(columns), Some(own)) = (&self.columns, own) {
            same_columns(file, own, columns.names().iter())?;
        }
        Ok(self.columns.get_or_insert_with(|| Columns::new(rules, key, own.unwrap_or_default())))
    }

    /// Reads a file to its end; the answer is its fingerprint, where that was asked for.
    pub fn csv(&mut self, file: &str, mut rows: CsvRows) -> Result<Option<Fingerprint>, SourceError> {
        let header = rows.columns().to_vec();
        self.columns(file, Some(&header))?;
        self.ends_unnamed = rows.ends_unnamed();
        let before = self.rows;
        if self.cut.is_none() {
            rows = each_row(rows, |fields, lines| self.csv_row(fields, lines, &header))?;
        } else {
            let mut record = ByteRecord::new();
            while rows.next(&mut record)? && !self.is_cut_off() {
                self.csv_row(record.iter(), rows.lines(), &header);
            }
        }
        if self.rows == before {
            return Err(SourceError::HeaderOnly { place: file.to_owned() });
        }
        self.notes.extend(rows.notes());
        Ok(rows.fingerprint())
    }

    fn csv_row<'f>(&mut self, fields: impl ExactSizeIterator<Item = &'f [u8]>, lines: Lines, header: &[String]) {
        self.rows += 1;
        let (found, n_columns) = (fields.len(), header.len());
        if found == n_columns && !lines.is_unclosed {
            let (key, rules, row) = (self.key, self.rules, self.rows);
            return self.columns.get_or_insert_with(|| Columns::new(rules, key, header)).see_fields(fields, row);
        }
        self.bad_rows += 1;
        self.bad_row.get_or_insert_with(|| match lines.is_unclosed {
            true => format!("a quote that begins in line {} is never closed", lines.first),
            false => format!("line {} has {found} fields, the header has {n_columns}", lines.first),
        });
    }

    pub fn jsonl(&mut self, file: &str, mut lines: JsonLines) -> Result<Option<Fingerprint>, SourceError> {
        self.columns(file, None)?;
        let before = self.rows;
        loop {
            let row = before + lines.rows_read() + 1;
            let Some(line) = lines.next()? else { break };
            if self.is_cut_off() {
                break;
            }
            self.rows = row;
            match self.columns(file, None)?.see_object(line, row) {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => {
                    self.bad_rows += 1;
                    self.bad_row.get_or_insert(reason);
                }
                Err(TooMany) => {
                    return Err(SourceError::TooManyColumns { place: file.to_owned(), most: COLUMNS_MOST });
                }
            }
        }
        if lines.rows_mended > 0 {
            self.notes.push(format!(
                "{} rows hold what JSON does not know: NaN and Infinity are read as null, half a surrogate pair (\\ud800 to \
                 \\udfff) as U+FFFD",
                lines.rows_mended
            ));
        }
        if lines.rows_read() == 0 {
            return Err(SourceError::Empty { place: file.to_owned() });
        }
        Ok(lines.fingerprint())
    }

    /// By the file's own schema; of its values only those of targets are looked at, in the first rows.
    pub fn parquet(&mut self, file: &str, mut rows: ParquetRows) -> Result<Option<Fingerprint>, SourceError> {
        if rows.rows_total() == 0 {
            return Err(SourceError::Empty { place: file.to_owned() });
        }
        if self.rules.flatten {
            let fault = "schema.flatten is for JSON: of Parquet, name what is in a struct in [schema.columns], such as name = { type = \
                         \"utf8\", from = \"json_get_str(person, 'name')\" }, and leave schema.flatten out";
            return Err(SourceError::NoFile { place: file.to_owned(), fault: fault.to_owned() });
        }
        self.columns(file, Some(rows.columns()))?;
        self.rows += rows.rows_total();
        let is_first = self.kinds.is_none();
        let kinds = self.kinds.get_or_insert_with(|| rows.kinds().to_vec());
        for ((name, kind), first) in rows.columns().iter().zip(rows.kinds()).zip(kinds) {
            if kind != first {
                let fault =
                    format!("column {name:?} is {} here and {} in the files before it", kind.name(), first.name());
                return Err(SourceError::NoFile { place: file.to_owned(), fault });
            }
        }
        if is_first {
            self.notes.extend(self.regressions(&mut rows)?);
        }
        for name in rows.binary() {
            let note = format!("column {name:?} holds bytes: values that are no UTF-8 text become null");
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        Ok(None)
    }

    /// What targets of 0 and 1 mean to their models.
    fn regressions(&self, rows: &mut ParquetRows) -> Result<Vec<String>, SourceError> {
        let targets = rows
            .columns()
            .iter()
            .enumerate()
            .filter_map(|(place, name)| Some((place, name.clone(), self.rules.regressions.get(name)?)));
        let mut targets: Vec<_> = targets.collect();
        let (mut seen, mut is_held) = (0, false);
        while seen < TARGETS_LOOKED_AT && !targets.is_empty() && rows.advance()? {
            seen += 1;
            targets.retain(|(place, ..)| {
                let cell = rows.cell(*place);
                is_held |= cell != Cell::Null;
                matches!(cell, Cell::Null | Cell::Raw("0" | "1" | "0.0" | "1.0"))
            });
        }
        let looked_at =
            if seen < TARGETS_LOOKED_AT { "every row".to_owned() } else { format!("the first {seen} rows") };
        let notes = targets.iter().filter(|_| is_held && seen > 1);
        Ok(notes.map(|(_, name, model)| regression_note(model, name, &looked_at)).collect())
    }

    /// `several`: the source is several files, and says of each row which it is from.
    pub fn finish(mut self, fingerprint: Option<Fingerprint>, several: bool) -> Result<Profile, SourceError> {
        let place = || self.place.to_owned();
        let no_row = |reason| Err(SourceError::NoRow { place: place(), reason });
        let Some(mut columns) = self.columns.filter(|_| self.rows > 0) else {
            return Err(SourceError::Empty { place: place() });
        };
        match self.bad_row {
            Some(reason) if self.bad_rows == self.rows => return no_row(reason),
            None if columns.is_empty() => return no_row("its objects are empty".to_owned()),
            Some(_) | None => {}
        }
        columns.leave_null_objects_out();
        // A sample may not have met its values yet.
        if self.ends_unnamed && fingerprint.is_some() && columns.leave_empty_last_out() {
            self.notes.push("every row ends with a separator, after which there is no column".to_owned());
        }
        if several {
            if columns.names().iter().any(|name| name == FILE_COLUMN) {
                let fault = format!(
                    "the files have a column {FILE_COLUMN} of their own, which is where each file's name stands; rename it"
                );
                return Err(SourceError::NoFile { place: place(), fault });
            }
            columns.add(FILE_COLUMN);
        }
        // Without a fingerprint it was a sample.
        let seen = if fingerprint.is_some() { Coverage::All } else { Coverage::Sample };
        let rows = fingerprint.is_some().then_some(self.rows);
        let schema = columns.schema(self.kinds.as_deref(), seen);
        let mut warnings = self.notes;
        warnings.extend(columns.warnings(seen));
        Ok(Profile { schema, rows, fingerprint, warnings, times: columns.times(), nests: columns.nests() })
    }
}
