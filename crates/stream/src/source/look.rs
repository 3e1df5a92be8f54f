//! What a file holds, for who writes a pipeline for it or asks whether one fits: how it is written, its columns, and what their values
//! look like in its first rows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use super::jsonl::members;
use super::sniff::Sniffed;
use super::written::NumberForm;
use super::{Dataset, Profile, Row, SourceError};
use crate::record::{Encoding, Member, TimeReader, Value as Cell, is_json_number};
use crate::schema::{ColumnType, Dialect, SchemaRules, TimeForm};
use crate::source::{Compression, CsvFormat, Source, SourceFormat, SourcePlace, format_by_name};
use chrono::{Datelike, NaiveDate, NaiveDateTime};

const ROWS_MOST: usize = 5_000;
const BYTES_MOST: usize = 32 << 20;
/// More different values of a column are not told apart.
const DISTINCT_MOST: usize = 2_000;
/// Texts in a column of numbers that stand for none, and their share of its values.
const ODD_TEXTS_MOST: usize = 5;
const ODD_SHARE_MOST: f64 = 0.1;

/// How times that are no ISO 8601 are written; what a day and a month could both be is decided by the rows.
const TIME_FORMATS: [&str; 25] = [
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%d-%m-%Y %H:%M:%S",
    "%d-%m-%Y %H:%M",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%d %b %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d %B %Y",
    "%Y%m%d",
    "%d/%m/%y",
    "%m/%d/%y",
    "%d.%m.%y",
    "%d/%m/%y %H:%M",
    "%m/%d/%y %H:%M",
];

/// A file, and how it is best read.
#[derive(Debug)]
pub struct Look {
    pub source: Source,
    pub sniffed: Sniffed,
    pub profile: Profile,
    pub columns: Vec<ColumnLook>,
    /// The first rows are all.
    pub is_all: bool,
}

/// A column of the first rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ColumnLook {
    pub first: Option<String>,
    /// Values that are not null, and how many different ones.
    pub values: usize,
    pub distinct: usize,
    /// Words of its texts, in the mean.
    pub words: f64,
    /// Of a column of texts: how its numbers are written, if it is one of numbers.
    pub number: Option<NumberForm>,
    /// Its numbers are plain, but for these texts.
    pub odd_texts: Vec<String>,
    /// Its numbers are whole.
    pub is_whole: bool,
    pub time: Option<TimeLook>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeLook {
    /// ISO 8601.
    Iso,
    /// By `strftime`. `is_ambiguous`: day and month may be the other way round.
    Format { format: &'static str, is_ambiguous: bool },
}

/// Looks at the file, or the files of a folder or a pattern, of this path.
pub fn look(path: &Path) -> Result<Look, SourceError> {
    let name = path.to_string_lossy();
    if [".xlsx", ".xls", ".ods"].iter().any(|ending| name.to_lowercase().ends_with(ending)) {
        let fault = "this is a spreadsheet: save its sheet as csv".to_owned();
        return Err(SourceError::NoFile { place: name.into_owned(), fault });
    }
    let plain = Source::of_name(SourcePlace::File(path.to_owned()), &name);
    let plain = Source { format: format_in_folder(path).unwrap_or(plain.format), ..plain };
    let once = || SourceError::NoFile {
        place: name.to_string(),
        fault: "can be read only once: write it to a file first".to_owned(),
    };
    let sniffed = Dataset::new(&plain).sniff()?.ok_or_else(once)?;
    let compression = if sniffed.format == SourceFormat::Parquet { Compression::None } else { plain.compression };
    let (csv, charset) = (sniffed.csv.clone(), sniffed.charset);
    let source = Source { format: sniffed.format, compression, csv, charset, ..plain };
    let mut dataset = Dataset::new(&source);
    let mut profile = dataset.profile(&SchemaRules::default())?;
    if profile.nests {
        let (flat, rules) = (Dataset::new(&source), SchemaRules { flatten: true, ..SchemaRules::default() });
        // What cannot be taken apart, by its depth or by how much it is, stays JSON.
        if let Ok(found) = flat.profile(&rules) {
            (dataset, profile) = (flat, found);
        }
    }
    let (columns, is_all) = columns(&dataset, &profile)?;
    Ok(Look { source, sniffed, profile, columns, is_all })
}

impl Look {
    /// The lines of `[source]` that the file needs beside its path.
    pub fn keys(&self) -> Vec<String> {
        let name = self.source.place.to_string();
        let (format, _) = format_by_name(&name);
        // What a folder holds, no name tells.
        self.sniffed.keys(format, encoding_rs::UTF_8, &CsvFormat::of_name(&name))
    }
}

/// Of the first file in a folder that says what it is.
fn format_in_folder(path: &Path) -> Option<SourceFormat> {
    let entries = std::fs::read_dir(path).ok()?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names.iter().filter(|name| !name.starts_with(['.', '_'])).find_map(|name| SourceFormat::of_ending(name))
}

/// Of the columns of a profile, in their order; and whether the rows looked at are all.
pub fn columns(dataset: &Dataset, profile: &Profile) -> Result<(Vec<ColumnLook>, bool), SourceError> {
    let mut values: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut reader = dataset.first_rows(Encoding::Json)?;
    let (mut row, mut bytes, mut is_all) = (Row::default(), 0, true);
    for seen in 0.. {
        if !reader.next(&mut row)? {
            break;
        }
        if seen == ROWS_MOST || bytes > BYTES_MOST {
            is_all = false;
            break;
        }
        bytes += row.value.len();
        let Ok(members) = members(&row.value, profile.schema.flatten) else { continue };
        let members: HashMap<&str, &Member> = members.iter().map(|member| (member.name.as_ref(), member)).collect();
        let mut held = String::new();
        for column in &profile.schema.columns {
            let value =
                members.get(column.key()).and_then(|member| member.cell(&mut held).ok()?.text().map(str::to_owned));
            if let Some(value) = value.filter(|value| !column.null.contains(value)) {
                values.entry(&column.name).or_default().push(value);
            }
        }
    }
    let looked = profile.schema.columns.iter().map(|column| {
        let values = values.get(column.name.as_str()).map_or([].as_slice(), Vec::as_slice);
        looked_at(values, column.kind)
    });
    Ok((looked.collect(), is_all))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a sample")]
fn looked_at(values: &[String], kind: ColumnType) -> ColumnLook {
    let distinct: HashSet<&str> = values.iter().map(String::as_str).take(DISTINCT_MOST).collect();
    let words: usize = values.iter().map(|value| value.split_whitespace().count()).sum();
    let mut look = ColumnLook {
        first: values.first().cloned(),
        values: values.len(),
        distinct: distinct.len(),
        words: if values.is_empty() { 0.0 } else { words as f64 / values.len() as f64 },
        ..ColumnLook::default()
    };
    let is_plain = |value: &str| is_json_number(value.trim().as_bytes());
    match kind {
        ColumnType::Float64 | ColumnType::Int64 => {
            look.is_whole = values.iter().all(|value| !value.contains(['.', 'e', 'E']));
        }
        ColumnType::Boolean => {}
        ColumnType::Utf8 if values.is_empty() => {}
        ColumnType::Utf8 => {
            look.time = time(values);
            let texts = || values.iter().map(String::as_str);
            // What has no digit is no number, in whatever form.
            let odd: HashSet<&str> = texts().filter(|text| !text.contains(|c: char| c.is_ascii_digit())).collect();
            let n_odd = texts().filter(|text| odd.contains(text)).count();
            let some_numbers = n_odd < values.len() && odd.len() <= ODD_TEXTS_MOST;
            if some_numbers && n_odd as f64 <= ODD_SHARE_MOST * values.len() as f64 && look.time.is_none() {
                let numbers: Vec<&str> = texts().filter(|text| !odd.contains(text)).collect();
                look.number = NumberForm::of(numbers.iter().copied());
                if look.number.is_some() || !odd.is_empty() && numbers.iter().all(|number| is_plain(number)) {
                    look.odd_texts = odd.into_iter().map(str::to_owned).collect();
                    look.odd_texts.sort();
                }
                look.is_whole = numbers.iter().all(|number| !number.contains('.') && !number.contains('%'));
            }
        }
    }
    look
}

fn time(values: &[String]) -> Option<TimeLook> {
    let parses = |format: &str| {
        values.iter().all(|value| {
            let value = value.trim();
            let time = NaiveDateTime::parse_from_str(value, format).map(|time| time.date());
            // A year of two digits is no year of the first century.
            time.or_else(|_| NaiveDate::parse_from_str(value, format)).is_ok_and(|day| day.year() >= 1000)
        })
    };
    let reader = TimeReader::new(Dialect::CURRENT, TimeForm::default());
    // Numbers among texts are ids or codes before they are times.
    let reads =
        |value: &String| value.contains(['-', '/', ':']) && reader.read(&Cell::Utf8(value.as_str().into())).is_some();
    if values.iter().all(reads) {
        return Some(TimeLook::Iso);
    }
    let mut formats = TIME_FORMATS.into_iter().filter(|format| parses(format));
    let format = formats.next()?;
    Some(TimeLook::Format { format, is_ambiguous: formats.next().is_some() })
}
