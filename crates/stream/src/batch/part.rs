//! One partition's part of a batch: its rows as a file, its rejects as JSON lines, its manifest.
//!
//! Rows are written as they come, so memory is one chunk and one row group (of text files one buffer) whatever the size of the
//! batch. A schema with derived columns judges records late, when their chunk is full: until then their values are kept, since
//! any of them may be a reject.

use std::io::Write;
use std::ops::Range;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{self, Compression};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use datafusion::parquet::schema::types::ColumnPath;
use millstream_store::{PartWriter, Settled, SharedStore, StoreError, record_bytes, settle};
use serde_json::json;

use super::committed::parse_manifest;
use super::cut::DecideError;
use super::formats::TextWriter;
use super::manifest::{Manifest, batch_folder, manifest_key};
use crate::batch::BatchFormat;
use crate::record::{DeriveError, Encoding, Misfit, NewKey, RowDecoder};
use crate::schema::{FORMAT, OFFSET_COLUMN, StreamSchema, TIME_COLUMN};
use millstream_base::status::now_ms;

/// Rows decoded before they go to the file's writer: a few hundred KiB.
const CHUNK_ROWS: usize = 16_384;
/// A chunk of large records ends earlier.
const CHUNK_BYTES: usize = 8 << 20;
/// Rows of a row group: with ten columns of numbers about 10 MiB encoded.
const ROW_GROUP_ROWS: usize = 262_144;
/// A row group of wide text rows ends earlier.
const ROW_GROUP_BYTES: usize = 32 << 20;
/// Of the values of a column that differ; where there are more of them in a row group they are written as they are.
const DICTIONARY_BYTES: usize = 128 << 10;
const DIGEST_BUFFER_BYTES: usize = 64 * 1024;
/// The largest value of a record; the embedded broker lets none through that is larger, another Kafka may.
const VALUE_BYTES_MAX: usize = 64 << 20;
/// Of a reject's value kept in the rejects file.
const REJECT_VALUE_BYTES: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum PartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Decide(#[from] DecideError),
    #[error("batch {batch}: the Parquet writer failed")]
    Parquet {
        batch: u32,
        #[source]
        source: ParquetError,
    },
    #[error("partition {0}: Kafka has none of that number")]
    Partition(u32),
    #[error(transparent)]
    Derive(#[from] DeriveError),
    #[error("batch {batch}: building columns failed")]
    Arrow {
        batch: u32,
        #[source]
        source: datafusion::arrow::error::ArrowError,
    },
    #[error(
        "the store is full: free space or point store.url elsewhere, then start again; nothing that was committed is lost"
    )]
    Full,
}

/// A record as it came from the topic.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// The reason, when the record is a stub.
    pub stub: Option<&'a str>,
}

/// A record that was kept aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    pub offset: i64,
    pub misfit: Misfit,
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Mine(Manifest),
    /// Another attempt committed this part: go on from it.
    Anothers(Manifest),
}

/// What all parts of a stream have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct PartSettings {
    pub schema: StreamSchema,
    pub encoding: Encoding,
    pub format: BatchFormat,
}

pub struct Part {
    late_before: Option<i64>,
    late: u64,
    store: SharedStore,
    batch: u32,
    partition: u32,
    attempt: String,
    settings: PartSettings,
    /// Made with the first record.
    decoder: Option<RowDecoder>,
    open: OpenChunk,
    writer: Option<Writer>,
    rejects_writer: Option<Box<dyn PartWriter>>,
    first_offset: i64,
    next_offset: i64,
    rows: u64,
    rejects: u64,
    skipped: u64,
    /// Of the skipped offsets, those of records without a value.
    tombstones: u64,
    times: Option<(i64, i64)>,
    digest: blake3::Hasher,
    digest_buffer: Vec<u8>,
}

/// The records of the chunk that is being filled.
#[derive(Default)]
struct OpenChunk {
    /// How many, and the bytes of their values.
    records: u64,
    bytes: usize,
    /// Where records are judged late: each of them, and what of their values a rejects file would keep.
    kept: Vec<Kept>,
    values: Vec<u8>,
}

struct Kept {
    offset: i64,
    timestamp_ms: i64,
    /// Within `values`.
    value: Range<usize>,
    /// Known before the chunk is judged.
    misfit: Option<Misfit>,
}

enum Writer {
    Parquet(Box<ArrowWriter<Hashing>>),
    Text(Box<TextWriter<Hashing>>),
}

impl Part {
    /// `late_before`: records of an earlier time are counted as late.
    pub fn new(
        store: SharedStore,
        settings: &PartSettings,
        batch: u32,
        partition: u32,
        first_offset: i64,
        late_before: Option<i64>,
    ) -> Self {
        Self {
            late_before,
            late: 0,
            store,
            batch,
            partition,
            attempt: uuid::Uuid::new_v4().simple().to_string(),
            settings: settings.clone(),
            decoder: None,
            open: OpenChunk::default(),
            writer: None,
            rejects_writer: None,
            first_offset,
            next_offset: first_offset,
            rows: 0,
            rejects: 0,
            skipped: 0,
            tombstones: 0,
            times: None,
            digest: blake3::Hasher::new(),
            digest_buffer: Vec::with_capacity(DIGEST_BUFFER_BYTES + 4096),
        }
    }

    pub fn batch(&self) -> u32 {
        self.batch
    }

    pub fn first_offset(&self) -> i64 {
        self.first_offset
    }

    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Rows, rejects and tombstones so far, and what is not yet judged.
    pub fn records(&self) -> u64 {
        self.rows + self.rejects + self.tombstones + self.open.records
    }

    /// Does a record without a value (a tombstone) count as skipped? In stores of the first dialect it is a reject.
    pub fn skips_tombstones(&self) -> bool {
        !self.settings.schema.dialect.is_first()
    }

    /// Adds a record; answers the rejects that came to light, which need not be this one. A record seen before (after a reconnect)
    /// is passed over. `now_ms`: an event time too far ahead of it makes a reject.
    pub fn push(&mut self, record: Record, now_ms: i64) -> Result<Vec<Reject>, PartError> {
        if record.offset < self.next_offset {
            return Ok(Vec::new());
        }
        // It is not below: see above.
        self.skipped += (record.offset - self.next_offset).unsigned_abs();
        self.next_offset = record.offset + 1;
        self.hash(record.key);
        self.hash(record.value);
        // It is neither row nor reject: cuts count offsets, so that it counts as a hole does.
        if record.value.is_none() && record.stub.is_none() && self.skips_tombstones() {
            (self.skipped, self.tombstones) = (self.skipped + 1, self.tombstones + 1);
            return Ok(Vec::new());
        }
        let partition = i32::try_from(self.partition).map_err(|_| PartError::Partition(self.partition))?;
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            None => self.decoder.insert(RowDecoder::new(&self.settings.schema, self.settings.encoding)?),
        };
        let decoded = match (record.stub, record.value) {
            (Some(reason), _) => Err(Misfit { reason: reason.to_owned(), inferred_column: None }),
            (None, None) => Err(Misfit { reason: "no value (a tombstone)".to_owned(), inferred_column: None }),
            (None, Some(value)) if value.len() > VALUE_BYTES_MAX => {
                let reason = format!("a value of {} bytes: at most {VALUE_BYTES_MAX} are taken", value.len());
                Err(Misfit { reason, inferred_column: None })
            }
            (None, Some(value)) => decoder.push(value, partition, record.offset, record.timestamp_ms, now_ms),
        };
        let judges_late = decoder.judges_late();
        let mut rejects = Vec::new();
        self.open.bytes += record.value.map_or(0, <[u8]>::len);
        match decoded {
            Err(misfit) if !judges_late => {
                self.reject(record.offset, record.timestamp_ms, record.value.unwrap_or_default(), &misfit)?;
                rejects.push(Reject { offset: record.offset, misfit });
            }
            decoded => {
                self.open.records += 1;
                if judges_late {
                    self.open.keep(record, decoded.err());
                }
            }
        }
        if self.open.records >= CHUNK_ROWS as u64 || self.open.bytes >= CHUNK_BYTES {
            rejects.extend(self.settle()?);
        }
        Ok(rejects)
    }

    /// Keys of the values since the last time that are no columns.
    pub fn new_keys(&mut self) -> Vec<NewKey> {
        self.decoder.as_mut().map_or_else(Vec::new, RowDecoder::new_keys)
    }

    /// Whether the value that was pushed last held what JSON does not know; asked again, no.
    pub fn take_mended(&mut self) -> bool {
        self.decoder.as_mut().is_some_and(RowDecoder::take_mended)
    }

    /// Judges and writes the records of the open chunk; answers the rejects among them. To be called before `commit` by who counts
    /// rejects.
    pub fn settle(&mut self) -> Result<Vec<Reject>, PartError> {
        let open = std::mem::take(&mut self.open);
        let Some(decoder) = self.decoder.as_mut().filter(|_| open.records > 0) else { return Ok(Vec::new()) };
        let chunk = decoder.take().map_err(|source| PartError::Arrow { batch: self.batch, source })?;
        for time in chunk.times().iter().copied() {
            self.late += u64::from(self.late_before.is_some_and(|before| time < before));
            self.times = Some(self.times.map_or((time, time), |(low, high)| (low.min(time), high.max(time))));
        }
        self.rows += chunk.rows.num_rows() as u64;
        if chunk.rows.num_rows() > 0 {
            self.write(&chunk.rows)?;
        }
        let mut misfits = chunk.misfits.into_iter().peekable();
        let (mut row, mut rejects) = (0, Vec::new());
        for kept in open.kept {
            let misfit = kept.misfit.or_else(|| {
                let found = misfits.next_if(|(of, _)| *of == row);
                row += 1;
                found.map(|(_, misfit)| misfit)
            });
            if let Some(misfit) = misfit {
                self.reject(kept.offset, kept.timestamp_ms, &open.values[kept.value], &misfit)?;
                rejects.push(Reject { offset: kept.offset, misfit });
            }
        }
        Ok(rejects)
    }

    /// The offsets up to `end` hold no record.
    pub fn skip_to(&mut self, end: i64) {
        if end > self.next_offset {
            self.skipped += (end - self.next_offset).unsigned_abs();
            self.next_offset = end;
        }
    }

    /// Commits the part: its files first, each durable, then the manifest, which names them and carries the offsets.
    ///
    /// A crash before the manifest leaves files that nothing names; the next attempt reads the same offsets again under names of
    /// its own. Once the manifest exists the part is committed, whole.
    pub fn commit(mut self) -> Result<Outcome, PartError> {
        let key = manifest_key(self.batch, self.partition);
        let manifest = self.finish_files()?;
        fail_point("part.before_manifest");
        let bytes = record_bytes(&key, &manifest)?;
        let found = match settle(self.store.as_ref(), &key, &bytes)? {
            Settled::Mine => manifest,
            Settled::There(found) => parse_manifest(self.store.as_ref(), self.batch, self.partition, &found)?,
        };
        fail_point("part.after_manifest");
        if let Some(file) = found.file.as_ref().filter(|_| found.attempt == self.attempt) {
            self.store.verified().add(&format!("{}/{file}", batch_folder(self.batch)));
        }
        if let Err(error) = sweep(self.store.as_ref(), &found) {
            // The part is committed; what stays costs space, nothing else.
            tracing::warn!(error = %error, batch = self.batch, "files that no manifest names could not be removed");
        }
        if found.attempt == self.attempt {
            return Ok(Outcome::Mine(found));
        }
        Ok(Outcome::Anothers(found))
    }

    fn finish_files(&mut self) -> Result<Manifest, PartError> {
        self.settle()?;
        fail_point("part.before_data");
        let (file, file_digest) = match self.writer.take() {
            Some(writer) => {
                let hashing = match writer {
                    Writer::Parquet(writer) => {
                        writer.into_inner().map_err(|source| parquet_error(self.batch, source))?
                    }
                    Writer::Text(writer) => writer.finish().map_err(|source| io_error(self.batch, source))?,
                };
                let digest = hashing.hasher.finalize().to_hex().to_string();
                hashing.writer.finish()?;
                (Some(self.data_name()), Some(digest))
            }
            None => (None, None),
        };
        let rejects_file = match self.rejects_writer.take() {
            Some(writer) => {
                writer.finish()?;
                Some(self.rejects_name())
            }
            None => None,
        };
        fail_point("part.after_data");
        self.digest.update(&self.digest_buffer);
        self.digest_buffer.clear();
        Ok(Manifest {
            format: FORMAT,
            batch: self.batch,
            partition: self.partition,
            attempt: self.attempt.clone(),
            rows: self.rows,
            rejects: self.rejects,
            first_offset: self.first_offset,
            end_offset: self.next_offset,
            skipped: self.skipped,
            late: self.late,
            min_time: self.times.map(|(low, _)| low),
            max_time: self.times.map(|(_, high)| high),
            digest: self.digest.finalize().to_hex().to_string(),
            file,
            file_digest,
            rejects_file,
            schema: self.settings.schema.schema,
            committed_at_ms: now_ms(),
        })
    }

    fn data_name(&self) -> String {
        format!("part-{:04}-{}.{}", self.partition, self.attempt, self.settings.format.extension())
    }

    fn rejects_name(&self) -> String {
        format!("_rejects-{:04}-{}.jsonl", self.partition, self.attempt)
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<(), PartError> {
        let number = self.batch;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let file = self.store.writer(&format!("{}/{}", batch_folder(self.batch), self.data_name()))?;
                let file = Hashing { writer: file, hasher: blake3::Hasher::new() };
                let writer = Writer::new(file, self.settings.format, rows.schema())
                    .map_err(|source| parquet_error(number, source))?;
                self.writer.insert(writer)
            }
        };
        match writer {
            Writer::Parquet(writer) => writer.write(rows).map_err(|source| parquet_error(number, source)),
            Writer::Text(writer) => writer.write(rows).map_err(|source| io_error(number, source)),
        }
    }

    fn reject(&mut self, offset: i64, timestamp_ms: i64, value: &[u8], misfit: &Misfit) -> Result<(), PartError> {
        self.rejects += 1;
        let value = String::from_utf8_lossy(&value[..value.len().min(REJECT_VALUE_BYTES)]);
        let line = json!({
            "partition": self.partition, "offset": offset, "time": timestamp_ms, "reason": misfit.reason, "value": value,
        });
        let writer = match &mut self.rejects_writer {
            Some(writer) => writer,
            None => {
                let key = format!("{}/{}", batch_folder(self.batch), self.rejects_name());
                self.rejects_writer.insert(self.store.writer(&key)?)
            }
        };
        writeln!(writer, "{line}").map_err(|source| io_error(self.batch, source))
    }

    /// The digest is over key and value of every record in offset order, each as its length (u32, little endian; all ones for
    /// null) and its bytes: the same records give the same digest whenever they were sent.
    fn hash(&mut self, bytes: Option<&[u8]>) {
        // Kafka's lengths are i32: no key and no value is as long as this could not say.
        let length = bytes.map_or(u32::MAX, |bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1));
        self.digest_buffer.extend_from_slice(&length.to_le_bytes());
        let bytes = bytes.unwrap_or_default();
        if bytes.len() >= DIGEST_BUFFER_BYTES {
            self.digest.update(&self.digest_buffer);
            self.digest.update(bytes);
            self.digest_buffer.clear();
            return;
        }
        self.digest_buffer.extend_from_slice(bytes);
        if self.digest_buffer.len() >= DIGEST_BUFFER_BYTES {
            self.digest.update(&self.digest_buffer);
            self.digest_buffer.clear();
        }
    }
}

impl OpenChunk {
    fn keep(&mut self, record: Record, misfit: Option<Misfit>) {
        let (value, start) = (record.value.unwrap_or_default(), self.values.len());
        self.values.extend_from_slice(&value[..value.len().min(REJECT_VALUE_BYTES)]);
        let value = start..self.values.len();
        self.kept.push(Kept { offset: record.offset, timestamp_ms: record.timestamp_ms, value, misfit });
    }
}

impl Writer {
    fn new(file: Hashing, format: BatchFormat, schema: SchemaRef) -> Result<Self, ParquetError> {
        Ok(match format {
            BatchFormat::Parquet => Self::Parquet(Box::new(ArrowWriter::try_new(file, schema, Some(properties()))?)),
            BatchFormat::Csv => Self::Text(Box::new(TextWriter::csv(file, &schema))),
            BatchFormat::Jsonl => Self::Text(Box::new(TextWriter::jsonl(file, &schema))),
        })
    }
}

/// Deletes the part files of this partition and batch that its manifest does not name: what killed attempts left, and what a
/// slower rival wrote for nothing. Safe at any time: once the manifest exists, no other file will ever be named.
pub fn sweep(store: &dyn millstream_store::Store, manifest: &Manifest) -> Result<(), StoreError> {
    let (folder, partition) = (batch_folder(manifest.batch), manifest.partition);
    let named: Vec<String> =
        [&manifest.file, &manifest.rejects_file].into_iter().flatten().map(|file| format!("{folder}/{file}")).collect();
    for prefix in [format!("{folder}/part-{partition:04}-"), format!("{folder}/_rejects-{partition:04}-")] {
        for key in store.list(&prefix)?.into_iter().filter(|key| !named.contains(key)) {
            store.delete(&key)?;
        }
    }
    Ok(())
}

/// Writes a part and hashes what it writes.
struct Hashing {
    writer: Box<dyn PartWriter>,
    hasher: blake3::Hasher,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.writer.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}

/// Offsets and times grow from row to row, and are small as differences. Other columns whose values hardly come again begin a dictionary
/// in each row group, which is time for nothing.
fn properties() -> WriterProperties {
    let growing = [OFFSET_COLUMN, TIME_COLUMN].map(ColumnPath::from);
    let builder = growing.into_iter().fold(WriterProperties::builder(), |builder, column| {
        let builder = builder.set_column_dictionary_enabled(column.clone(), false);
        builder.set_column_encoding(column, basic::Encoding::DELTA_BINARY_PACKED)
    });
    builder
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by(concat!("millstream ", env!("CARGO_PKG_VERSION")).to_owned())
        .build()
}

fn parquet_error(batch: u32, source: ParquetError) -> PartError {
    let mut cause: Option<&dyn std::error::Error> = Some(&source);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::StorageFull
        {
            return PartError::Full;
        }
        cause = error.source();
    }
    if source.to_string().contains("No space left") { PartError::Full } else { PartError::Parquet { batch, source } }
}

fn io_error(batch: u32, source: std::io::Error) -> PartError {
    let key = batch_folder(batch);
    match source.kind() {
        std::io::ErrorKind::StorageFull => PartError::Full,
        _ => StoreError::Io { key, source }.into(),
    }
}

/// The tests kill the process here: `MILLSTREAM_KILL_AT=name` or `name:n` for the n-th time the point is passed; `name!` panics.
pub fn fail_point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    static TARGET: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let target = TARGET.get_or_init(|| {
        let text = std::env::var("MILLSTREAM_KILL_AT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), count.parse().unwrap_or(1)))
    });
    if let Some((wanted, count)) = target
        && wanted.trim_end_matches('!') == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count
    {
        assert!(!wanted.ends_with('!'), "told to panic at {name}");
        // No destructor, no flush: as kill -9 leaves it.
        std::process::abort();
    }
}

#[cfg(test)]
mod tests;
