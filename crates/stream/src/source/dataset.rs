//! The dataset as the pipeline file names it: profiled once, then read row by row as records, in replay order.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_store::StoredFile;

use super::csv_rows::CsvRows;
use super::input::{self, Input, RowGuard, Stopped};
use super::jsonl::JsonLines;
use super::order::{CHUNK_BYTES, Sorted, Sorter, spill_folder};
use super::parquet_rows::ParquetRows;
use super::profile::{Fingerprint, Pass, Profile};
use super::records::{Records, has_column};
use super::stdin::{Part, Pipe};
use super::{SourceError, s3};
use crate::record::Encoding;
use crate::schema::{Dialect, SchemaRules};
use crate::source::{Source, SourceFormat, SourcePlace};

/// One source, for the life of the process: standard input can be read only once, so what was read of it for the sample is kept.
pub struct Dataset {
    source: Source,
    place: String,
    /// The columns of a jsonl source, which a csv value needs: no line of it names them all.
    columns: Mutex<Option<Vec<String>>>,
    /// Of the store that the rows are for, once that is known.
    dialect: Mutex<Dialect>,
    stdin: Mutex<Stdin>,
    stop: Stopped,
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
            columns: Mutex::new(None),
            dialect: Mutex::new(Dialect::CURRENT),
            stdin: Mutex::new(Stdin::Untouched),
            stop: Stopped::default(),
        }
    }

    /// Whatever reads it ends, with an error, once this is true.
    pub fn until(self, stop: Arc<AtomicBool>) -> Self {
        Self { stop, ..self }
    }

    /// The source columns of a schema that was stored earlier: a csv value of a jsonl source has its fields in their order. Without
    /// them, and without a profile, they are found by another pass.
    pub fn set_columns(&self, columns: Vec<String>) {
        *lock(&self.columns) = Some(columns);
    }

    /// Of the store that the rows are for: those of an earlier one are read as they were.
    pub fn set_dialect(&self, dialect: Dialect) {
        *lock(&self.dialect) = dialect;
    }

    /// A stream may be silent for as long as it likes; a file may not.
    pub fn may_go_quiet(&self) -> bool {
        self.source.place == SourcePlace::Stdin
    }

    /// Reads the whole source once, or a sample where it can be read only once.
    pub fn profile(&self, rules: &SchemaRules) -> Result<Profile, SourceError> {
        let profile = match &self.source.place {
            SourcePlace::Stdin => self.profile_sample(rules)?,
            SourcePlace::File(_) | SourcePlace::S3(_) => self.profile_whole(rules)?,
        };
        for (key, name) in [("source.key", &self.source.key), ("source.order_by", &self.source.order_by)] {
            let columns = || profile.schema.columns.iter().map(|column| column.name.as_str());
            has_column(&self.place, key, name.as_deref(), columns)?;
        }
        let columns = profile.schema.columns.iter().map(|column| column.name.clone());
        lock(&self.columns).get_or_insert_with(|| columns.collect());
        Ok(profile)
    }

    fn pass<'a>(&'a self, rules: &'a SchemaRules) -> Pass<'a> {
        Pass { place: &self.place, key: self.source.key.as_deref(), rules, cut: None }
    }

    fn profile_whole(&self, rules: &SchemaRules) -> Result<Profile, SourceError> {
        let pass = self.pass(rules);
        let open = || input::open(&self.source, true, &self.stop);
        match self.source.format {
            SourceFormat::Csv => pass.csv(CsvRows::open(&self.place, open()?, &self.source.csv)?),
            SourceFormat::Jsonl => pass.jsonl(JsonLines::open(&self.place, open()?)?),
            SourceFormat::Parquet => {
                let file = self.stored_file()?;
                let fingerprint = file.reader().and_then(|bytes| input::fingerprint_of(bytes, &self.stop));
                let fingerprint = fingerprint.map_err(|source| self.unreadable(source))?;
                pass.parquet(&ParquetRows::open(&self.place, file, None)?, fingerprint)
            }
        }
    }

    fn profile_sample(&self, rules: &SchemaRules) -> Result<Profile, SourceError> {
        let mut stdin = lock(&self.stdin);
        let (sample, ended) = self.pipe(&mut stdin)?.sample(|bytes| self.sampled(bytes, false, rules).is_ok());
        self.sampled(sample, ended, rules)
    }

    /// The profile of the beginning of a stream, or of all of it.
    fn sampled(&self, sample: &[u8], ended: bool, rules: &SchemaRules) -> Result<Profile, SourceError> {
        let (part, met_end) = Part::new(sample);
        let mut pass = self.pass(rules);
        pass.cut = (!ended).then_some(met_end);
        let input = Input { bytes: RowGuard::new(Box::new(part), &self.stop), digest: None };
        match self.source.format {
            SourceFormat::Csv => pass.csv(CsvRows::open(&self.place, input, &self.source.csv)?),
            SourceFormat::Jsonl => pass.jsonl(JsonLines::open(&self.place, input)?),
            SourceFormat::Parquet => Err(SourceError::ReadTwice),
        }
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
        let bytes = self.stored_file()?.reader();
        let fingerprint = bytes.and_then(|bytes| input::fingerprint_of(bytes, &self.stop));
        fingerprint.map(Some).map_err(|source| self.unreadable(source))
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

    fn records(&self, encoding: Encoding) -> Result<Records, SourceError> {
        let (key, order) = (self.source.key.as_deref(), self.source.order_by.as_deref());
        match self.source.format {
            SourceFormat::Csv => {
                let rows = CsvRows::open(&self.place, self.open()?, &self.source.csv)?;
                Records::csv(&self.place, rows, encoding, key, order)
            }
            SourceFormat::Jsonl => {
                let columns = match encoding {
                    Encoding::Json => Vec::new(),
                    Encoding::Csv => self.jsonl_columns()?,
                };
                let mut lines = JsonLines::open(&self.place, self.open()?)?;
                lines.verbatim = lock(&self.dialect).is_first();
                Ok(Records::jsonl(lines, encoding, &columns, key, order))
            }
            SourceFormat::Parquet => {
                let rows = ParquetRows::open(&self.place, self.stored_file()?, order)?;
                Records::parquet(&self.place, rows, encoding, key, order)
            }
        }
    }

    fn jsonl_columns(&self) -> Result<Vec<String>, SourceError> {
        if lock(&self.columns).is_none() {
            self.profile(&SchemaRules::default())?;
        }
        Ok(lock(&self.columns).clone().unwrap_or_default())
    }

    fn open(&self) -> Result<Input, SourceError> {
        if self.source.place != SourcePlace::Stdin {
            return input::open(&self.source, false, &self.stop);
        }
        let mut stdin = lock(&self.stdin);
        self.pipe(&mut stdin)?;
        match std::mem::replace(&mut *stdin, Stdin::Gone) {
            Stdin::Open(pipe) => Ok(Input { bytes: RowGuard::new(pipe.bytes(), &self.stop), digest: None }),
            Stdin::Untouched | Stdin::Gone => Err(SourceError::ReadTwice),
        }
    }

    /// Parquet is read from its end, in ranges.
    fn stored_file(&self) -> Result<StoredFile, SourceError> {
        match &self.source.place {
            SourcePlace::File(path) => Ok(StoredFile::Local(input::open_file(path)?)),
            SourcePlace::S3(url) => s3::open(url),
            SourcePlace::Stdin => Err(SourceError::ReadTwice),
        }
    }

    fn unreadable(&self, source: io::Error) -> SourceError {
        SourceError::Unreadable { place: self.place.clone(), source }
    }

    #[cfg(test)]
    pub(super) fn records_of_a_test(&self, encoding: Encoding) -> Records {
        self.records(encoding).unwrap()
    }

    /// As standard input would be, of bytes that a test sends.
    #[cfg(test)]
    pub(super) fn with_stdin(self, bytes: input::Bytes, silence: std::time::Duration) -> Self {
        *lock(&self.stdin) = Stdin::Open(Pipe::new(bytes, silence, &self.stop));
        self
    }
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
    AsTheyCome(Records),
    /// Taken while it is sorted.
    Unsorted(Option<Records>),
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
    mut records: Records,
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
