//! One partition's part of a batch: its rows as Parquet, its rejects as JSON lines, its manifest.
//!
//! Rows are written as they come, so memory is one row group whatever the size of the batch.

use std::io::Write;

use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use serde_json::json;

use super::committed::parse_manifest;
use super::cut::DecideError;
use super::decode::{Misfit, RowDecoder};
use super::manifest::{Manifest, batch_folder, manifest_key};
use crate::schema::{FORMAT, StreamSchema};
use crate::status::now_ms;
use crate::store::{PartWriter, Settled, SharedStore, StoreError, settle};

/// Rows decoded before they go to the Parquet writer: a few hundred KiB.
const CHUNK_ROWS: usize = 16_384;
/// Rows of a row group: with ten columns of numbers about 10 MiB encoded.
const ROW_GROUP_ROWS: usize = 262_144;
/// A row group of wide text rows ends earlier.
const ROW_GROUP_BYTES: usize = 32 << 20;
const DIGEST_BUFFER_BYTES: usize = 64 * 1024;
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

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Mine(Manifest),
    /// Another attempt committed this part: go on from it.
    Anothers(Manifest),
}

pub struct Part {
    store: SharedStore,
    batch: u32,
    partition: u32,
    attempt: String,
    schema: u32,
    decoder: RowDecoder,
    part_schema: datafusion::arrow::datatypes::SchemaRef,
    writer: Option<ArrowWriter<Hashing>>,
    rejects_writer: Option<Box<dyn PartWriter>>,
    first_offset: i64,
    next_offset: i64,
    rows: u64,
    rejects: u64,
    skipped: u64,
    times: Option<(i64, i64)>,
    digest: blake3::Hasher,
    digest_buffer: Vec<u8>,
}

impl Part {
    pub fn new(store: SharedStore, schema: &StreamSchema, batch: u32, partition: u32, first_offset: i64) -> Self {
        Self {
            store,
            batch,
            partition,
            attempt: uuid::Uuid::new_v4().simple().to_string(),
            schema: schema.schema,
            decoder: RowDecoder::new(schema),
            part_schema: schema.part(),
            writer: None,
            rejects_writer: None,
            first_offset,
            next_offset: first_offset,
            rows: 0,
            rejects: 0,
            skipped: 0,
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

    /// Rows and rejects so far.
    pub fn records(&self) -> u64 {
        self.rows + self.rejects
    }

    /// Adds a record; answers why, when it became a reject. A record seen before (after a reconnect) is passed over.
    pub fn push(&mut self, record: Record) -> Result<Option<Misfit>, PartError> {
        if record.offset < self.next_offset {
            return Ok(None);
        }
        self.skipped += u64::try_from(record.offset - self.next_offset).unwrap_or(0);
        self.next_offset = record.offset + 1;
        self.hash(record.key);
        self.hash(record.value);
        let partition = i32::try_from(self.partition).unwrap_or(i32::MAX);
        let decoded = match (record.stub, record.value) {
            (Some(reason), _) => Err(Misfit { reason: reason.to_owned(), inferred_column: None }),
            (None, None) => Err(Misfit { reason: "no value (a tombstone)".to_owned(), inferred_column: None }),
            (None, Some(value)) => self.decoder.push(value, partition, record.offset, record.timestamp_ms),
        };
        match decoded {
            Ok(decoded) => {
                self.rows += 1;
                let time = decoded.time_ms;
                self.times = Some(self.times.map_or((time, time), |(low, high)| (low.min(time), high.max(time))));
                if self.decoder.rows() >= CHUNK_ROWS {
                    self.write_chunk()?;
                }
                Ok(None)
            }
            Err(misfit) => {
                self.reject(record, &misfit)?;
                Ok(Some(misfit))
            }
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
        let bytes = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
        let found = match settle(self.store.as_ref(), &key, &bytes)? {
            Settled::Mine => manifest,
            Settled::There(found) => parse_manifest(self.store.as_ref(), &key, &found)?,
        };
        fail_point("part.after_manifest");
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
        self.write_chunk()?;
        fail_point("part.before_data");
        let (file, file_digest) = match self.writer.take() {
            Some(writer) => {
                let hashing = writer.into_inner().map_err(|source| parquet_error(self.batch, source))?;
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
            late: 0,
            min_time: self.times.map(|(low, _)| low),
            max_time: self.times.map(|(_, high)| high),
            digest: self.digest.finalize().to_hex().to_string(),
            file,
            file_digest,
            rejects_file,
            schema: self.schema,
            committed_at_ms: now_ms(),
        })
    }

    fn data_name(&self) -> String {
        format!("part-{:04}-{}.parquet", self.partition, self.attempt)
    }

    fn rejects_name(&self) -> String {
        format!("_rejects-{:04}-{}.jsonl", self.partition, self.attempt)
    }

    fn write_chunk(&mut self) -> Result<(), PartError> {
        if self.decoder.rows() == 0 {
            return Ok(());
        }
        let batch = self.decoder.take().map_err(|source| PartError::Arrow { batch: self.batch, source })?;
        let number = self.batch;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let file = self.store.writer(&format!("{}/{}", batch_folder(self.batch), self.data_name()))?;
                let file = Hashing { writer: file, hasher: blake3::Hasher::new() };
                let writer = ArrowWriter::try_new(file, self.part_schema.clone(), Some(properties()))
                    .map_err(|source| parquet_error(number, source))?;
                self.writer.insert(writer)
            }
        };
        writer.write(&batch).map_err(|source| parquet_error(number, source))
    }

    fn reject(&mut self, record: Record, misfit: &Misfit) -> Result<(), PartError> {
        self.rejects += 1;
        let value = record.value.unwrap_or_default();
        let value = String::from_utf8_lossy(&value[..value.len().min(REJECT_VALUE_BYTES)]);
        let line = json!({
            "partition": self.partition, "offset": record.offset, "time": record.timestamp_ms,
            "reason": misfit.reason, "value": value,
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
        let length = bytes.map_or(u32::MAX, |bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1));
        self.digest_buffer.extend_from_slice(&length.to_le_bytes());
        self.digest_buffer.extend_from_slice(bytes.unwrap_or_default());
        if self.digest_buffer.len() >= DIGEST_BUFFER_BYTES {
            self.digest.update(&self.digest_buffer);
            self.digest_buffer.clear();
        }
    }
}

/// Deletes the part files of this partition and batch that its manifest does not name: what killed attempts left, and what a
/// slower rival wrote for nothing. Safe at any time: once the manifest exists, no other file will ever be named.
pub fn sweep(store: &dyn crate::store::Store, manifest: &Manifest) -> Result<(), StoreError> {
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

fn properties() -> WriterProperties {
    WriterProperties::builder()
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

/// The tests kill the process here: `MILLSTREAM_KILL_AT=name` or `name:n` for the n-th time the point is passed.
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
        && wanted == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count
    {
        // No destructor, no flush: as kill -9 leaves it.
        std::process::abort();
    }
}
