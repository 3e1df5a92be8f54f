//! The dataset as the pipeline file names it: profiled once, then read row by row as records, in replay order.

use std::io::{self, Read};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::SourceError;
use super::file_records::{FileRecords, Opener, stored_file};
use super::files::{FILE_COLUMN, Files};
use super::input::{self, Input, RowGuard, Stopped};
use super::order::{CHUNK_BYTES, Sorted, Sorter, spill_folder};
use super::parquet_rows::ParquetRows;
use super::profile::{Fingerprint, Pass, Profile};
use super::records::has_column;
use super::sniff::{LOOKED_AT_BYTES, Sniffed, sniff};
use super::stdin::{Part, Pipe};
use crate::record::Encoding;
use crate::schema::{Dialect, SchemaRules, StreamColumn, StreamSchema};
use crate::source::{Source, SourceFormat, SourcePlace};

/// One source, for the life of the process: standard input can be read only once, so what was read of it for the sample is kept.
pub struct Dataset {
    source: Source,
    place: String,
    known: Mutex<Known>,
    stdin: Mutex<Stdin>,
    stop: Stopped,
}

/// What an earlier look at the source, or the store that was begun with it, says of it.
#[derive(Debug, Clone)]
struct Known {
    /// A csv source must still have these; of a jsonl source a csv value has its fields in their order, for no line names them all.
    columns: Option<Vec<String>>,
    dialect: Dialect,
    flatten: bool,
    files: Option<Files>,
}

enum Stdin {
    Untouched,
    Open(Pipe),
    /// Given out to a reader.
    Gone,
}

/// One row as a record.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The field of `source.key` as the file has it; `None`: no key is named, the field is empty, or the row is a stub.
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    /// Why the row cannot be a record; `value` then holds what is kept of it.
    pub stub: Option<String>,
}

impl Dataset {
    pub fn new(source: &Source) -> Self {
        Self {
            place: source.place.to_string(),
            source: source.clone(),
            known: Mutex::new(Known { columns: None, dialect: Dialect::CURRENT, flatten: false, files: None }),
            stdin: Mutex::new(Stdin::Untouched),
            stop: Stopped::default(),
        }
    }

    /// Whatever reads it ends, with an error, once this is true.
    pub fn until(self, stop: Arc<AtomicBool>) -> Self {
        Self { stop, ..self }
    }

    /// Reads as the store was begun: its dialect, its source columns, and whether objects are taken apart.
    pub fn obey(&self, schema: &StreamSchema) {
        let columns = schema.columns.iter().map(|column| column.key().to_owned()).collect();
        let mut known = lock(&self.known);
        (known.columns, known.dialect, known.flatten) = (Some(columns), schema.dialect, schema.flatten);
    }

    /// A stream may be silent for as long as it likes; a file may not.
    pub fn may_go_quiet(&self) -> bool {
        self.source.place == SourcePlace::Stdin
    }

    /// Reads the whole source once, or a sample where it can be read only once.
    pub fn profile(&self, rules: &SchemaRules) -> Result<Profile, SourceError> {
        {
            let mut known = lock(&self.known);
            (known.dialect, known.flatten) = (rules.dialect, rules.flatten);
        }
        let profile = match &self.source.place {
            SourcePlace::Stdin => self.profile_sample(rules)?,
            SourcePlace::File(_) | SourcePlace::S3(_) => self.profile_whole(rules)?,
        };
        if self.source.order_by.as_deref() == Some(FILE_COLUMN) && self.files()?.names.is_some() {
            let fault =
                format!("source.order_by = {FILE_COLUMN:?}: files are read in the order of their names; remove it");
            return Err(SourceError::NoFile { place: self.place.clone(), fault });
        }
        for (key, name) in [("source.key", &self.source.key), ("source.order_by", &self.source.order_by)] {
            let columns = || profile.schema.columns.iter().map(StreamColumn::key);
            has_column(&self.place, key, name.as_deref(), columns)?;
        }
        let columns = profile.schema.columns.iter().map(|column| column.key().to_owned());
        lock(&self.known).columns.get_or_insert_with(|| columns.collect());
        Ok(profile)
    }

    /// Those of the first look: files that come while it is read are another source's.
    fn files(&self) -> Result<Files, SourceError> {
        let mut known = lock(&self.known);
        match &known.files {
            Some(files) => Ok(files.clone()),
            None => Ok(known.files.insert(Files::of(&self.source)?).clone()),
        }
    }

    /// Standard input, a pipe or a device.
    pub fn reads_once(&self) -> bool {
        match &self.source.place {
            SourcePlace::Stdin => true,
            SourcePlace::File(path) => input::is_stream(path),
            SourcePlace::S3(_) => false,
        }
    }

    /// Rows as they lie in the source, whatever they are ordered by in a replay.
    pub(super) fn first_rows(&self, encoding: Encoding) -> Result<Reader, SourceError> {
        let rows = Box::new(Rows::AsTheyCome(self.records(encoding)?));
        Ok(Reader { place: self.place.clone(), rows, stop: self.stop.clone() })
    }

    fn opener(&self, encoding: Encoding) -> Opener {
        let Known { columns, dialect, flatten, .. } = lock(&self.known).clone();
        Opener { source: self.source.clone(), encoding, columns, dialect, flatten, stop: self.stop.clone() }
    }

    fn profile_whole(&self, rules: &SchemaRules) -> Result<Profile, SourceError> {
        let files = self.files()?;
        let opener = self.opener(Encoding::Json);
        let mut pass = Pass::new(&self.place, self.source.key.as_deref(), rules, None);
        let mut fingerprints = Vec::with_capacity(files.places.len());
        for place in &files.places {
            let file = place.to_string();
            let hashed = || input::open(&self.source, place, true, &self.stop);
            let passed = match self.source.format {
                SourceFormat::Csv => hashed().and_then(|input| pass.csv(&file, opener.csv(&file, input)?)),
                SourceFormat::Jsonl => hashed().and_then(|input| pass.jsonl(&file, opener.jsonl(&file, input)?)),
                SourceFormat::Parquet => {
                    let rows = ParquetRows::open(&file, stored_file(place)?, None, rules.dialect)?;
                    pass.parquet(&file, rows)
                }
            };
            let fingerprint = match passed {
                Ok(Some(fingerprint)) => fingerprint,
                // Read from its end, or not to its end.
                Ok(None) => fingerprint(place, &self.stop)?,
                Err(SourceError::Empty { .. } | SourceError::HeaderOnly { .. }) if files.names.is_some() => {
                    pass.note(format!("{file} has no row"));
                    fingerprint(place, &self.stop)?
                }
                Err(error) => return Err(error),
            };
            fingerprints.push(fingerprint);
        }
        // What is not as the file's own look would have it is worth a word where rows are none, or a row is one field.
        if pass.is_odd() && !self.reads_once() {
            let keys =
                self.sniff_file(&files.places[0])?.keys(self.source.format, self.source.charset, &self.source.csv);
            if !keys.is_empty() {
                pass.propose(&keys);
            }
        }
        if files.others > 0 {
            pass.note(format!("{} other files of the folder are not read", files.others));
        }
        pass.finish(files.fingerprint(fingerprints), files.names.is_some())
    }

    /// How the source is most likely written, whatever its keys say of that; of several files, the first. `None`: it can be read only once.
    pub fn sniff(&self) -> Result<Option<Sniffed>, SourceError> {
        if self.reads_once() {
            return Ok(None);
        }
        let files = self.files()?;
        files.places.first().map(|place| self.sniff_file(place)).transpose()
    }

    fn sniff_file(&self, place: &SourcePlace) -> Result<Sniffed, SourceError> {
        let source = Source { charset: encoding_rs::UTF_8, ..self.source.clone() };
        let name = place.to_string();
        let mut bytes = Vec::new();
        let mut input = input::open(&source, place, false, &self.stop)?;
        let read = input.bytes.by_ref().take(LOOKED_AT_BYTES as u64).read_to_end(&mut bytes);
        let read = read.map_err(|source| SourceError::Unreadable { place: name.clone(), source })?;
        Ok(sniff(&bytes, read < LOOKED_AT_BYTES, &name))
    }

    fn profile_sample(&self, rules: &SchemaRules) -> Result<Profile, SourceError> {
        let mut stdin = lock(&self.stdin);
        let (sample, ended) = self.pipe(&mut stdin)?.sample(|bytes| self.sampled(bytes, false, rules).is_ok());
        self.sampled(sample, ended, rules)
    }

    /// The profile of the beginning of a stream, or of all of it.
    fn sampled(&self, sample: &[u8], ended: bool, rules: &SchemaRules) -> Result<Profile, SourceError> {
        let (part, met_end) = Part::new(sample);
        let opener = self.opener(Encoding::Json);
        let cut = (!ended).then_some(met_end);
        let mut pass = Pass::new(&self.place, self.source.key.as_deref(), rules, cut);
        let text = input::decoded(Box::new(part), self.source.charset);
        let input = Input { bytes: RowGuard::new(text, &self.stop), digest: None };
        match self.source.format {
            SourceFormat::Csv => pass.csv(&self.place, opener.csv(&self.place, input)?)?,
            SourceFormat::Jsonl => pass.jsonl(&self.place, opener.jsonl(&self.place, input)?)?,
            SourceFormat::Parquet => return Err(SourceError::ReadTwice),
        };
        pass.finish(None, false)
    }

    fn pipe<'a>(&self, stdin: &'a mut Stdin) -> Result<&'a mut Pipe, SourceError> {
        if matches!(stdin, Stdin::Untouched) {
            *stdin = Stdin::Open(Pipe::stdin(&self.stop)?);
        }
        match stdin {
            Stdin::Open(pipe) => Ok(pipe),
            Stdin::Untouched | Stdin::Gone => Err(SourceError::ReadTwice),
        }
    }

    /// What tells whether it is still the same file; `None`: nothing does.
    pub fn fingerprint(&self) -> Result<Option<Fingerprint>, SourceError> {
        if self.source.place == SourcePlace::Stdin {
            return Ok(None);
        }
        let files = self.files()?;
        let each = files.places.iter().map(|place| fingerprint(place, &self.stop)).collect::<Result<_, _>>()?;
        Ok(files.fingerprint(each))
    }

    /// The rows in replay order. Those of an ordered source are sorted when the first one is asked for, which takes a pass.
    pub fn reader(&self, encoding: Encoding) -> Result<Reader, SourceError> {
        let records = self.records(encoding)?;
        let rows = match &self.source.order_by {
            None => Rows::AsTheyCome(records),
            Some(_) => Rows::Unsorted(Some(records)),
        };
        Ok(Reader { place: self.place.clone(), rows: Box::new(rows), stop: self.stop.clone() })
    }

    fn records(&self, encoding: Encoding) -> Result<FileRecords, SourceError> {
        let needs_columns = self.source.format == SourceFormat::Jsonl && encoding == Encoding::Csv;
        if needs_columns && lock(&self.known).columns.is_none() {
            self.profile(&SchemaRules::default())?;
        }
        let opener = self.opener(encoding);
        if self.source.place == SourcePlace::Stdin {
            let input = self.stdin()?;
            return FileRecords::of_stdin(opener, input);
        }
        FileRecords::open(opener, self.files()?)
    }

    fn stdin(&self) -> Result<Input, SourceError> {
        let mut stdin = lock(&self.stdin);
        self.pipe(&mut stdin)?;
        match std::mem::replace(&mut *stdin, Stdin::Gone) {
            Stdin::Open(pipe) => {
                let text = input::decoded(pipe.bytes(), self.source.charset);
                Ok(Input { bytes: RowGuard::new(text, &self.stop), digest: None })
            }
            Stdin::Untouched | Stdin::Gone => Err(SourceError::ReadTwice),
        }
    }

    #[cfg(test)]
    pub(super) fn records_of_a_test(&self, encoding: Encoding) -> FileRecords {
        self.records(encoding).unwrap()
    }

    /// As standard input would be, of bytes that a test sends.
    #[cfg(test)]
    pub(super) fn with_stdin(self, bytes: input::Bytes, silence: std::time::Duration) -> Self {
        *lock(&self.stdin) = Stdin::Open(Pipe::new(bytes, silence, &self.stop));
        self
    }
}

fn fingerprint(place: &SourcePlace, stop: &Stopped) -> Result<Fingerprint, SourceError> {
    let bytes = stored_file(place)?.reader();
    let fingerprint = bytes.and_then(|bytes| input::fingerprint_of(bytes, stop));
    fingerprint.map_err(|source| SourceError::Unreadable { place: place.to_string(), source })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Reader {
    place: String,
    rows: Box<Rows>,
    stop: Stopped,
}

enum Rows {
    AsTheyCome(FileRecords),
    /// Taken while it is sorted.
    Unsorted(Option<FileRecords>),
    Sorted(Sorted),
}

impl Reader {
    /// Reads the next row into `row`; false at the end.
    pub fn next(&mut self, row: &mut Row) -> Result<bool, SourceError> {
        match &mut *self.rows {
            Rows::AsTheyCome(records) => records.next(row),
            Rows::Unsorted(records) => match records.take() {
                Some(records) => {
                    *self.rows = Rows::Sorted(sort(&self.place, records, row, CHUNK_BYTES, &self.stop)?);
                    self.next(row)
                }
                None => Ok(false),
            },
            Rows::Sorted(sorted) => sorted.next(row).map_err(|source| spill_error(&self.place, source)),
        }
    }
}

pub(super) fn sort(
    place: &str,
    mut records: FileRecords,
    row: &mut Row,
    chunk_bytes: usize,
    stop: &Stopped,
) -> Result<Sorted, SourceError> {
    let failed = |source| spill_error(place, source);
    let mut sorter = Sorter::new(spill_folder(), chunk_bytes, stop.clone());
    let mut order = Vec::new();
    while records.next_with_order(row, &mut order)? {
        sorter.push(&order, row).map_err(failed)?;
    }
    sorter.finish().map_err(failed)
}

fn spill_error(place: &str, source: io::Error) -> SourceError {
    SourceError::Spill { place: place.to_owned(), folder: spill_folder().display().to_string(), source }
}
