//! The state that a process sees, in an unlinked file: a head in JSON, and fixed tables and items as streams of Arrow's IPC format. Written
//! once per state; a process reads the head when it begins, and a table when a query asks for its rows.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use millstream_model::registry::OwnerTexts;
use millstream_store::StoreUrl;
use millstream_stream::batch::Batch;
use millstream_stream::schema::StreamSchema;
use serde::{Deserialize, Serialize};

use crate::views::blocks_of;

/// The place of the head's own place and length.
const PLACE_BYTES: usize = 16;
const HEAD_BYTES_MOST: u64 = 1 << 30;

/// What a state is made of, besides its tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::views) struct Contents {
    pub store: StoreUrl,
    pub schema: StreamSchema,
    /// The complete ones, oldest first; or why they cannot be read.
    pub batches: Result<Vec<Batch>, String>,
    /// The number of the version that answers for each model.
    pub served: BTreeMap<String, u32>,
    /// Of the pipeline file.
    pub models: Vec<String>,
    pub owner: OwnerTexts,
    pub rows_most: usize,
    pub memory_bytes: usize,
    pub seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    name: String,
    start: u64,
    end: u64,
}

#[derive(Serialize, Deserialize)]
struct Head {
    contents: Contents,
    tables: Vec<Place>,
}

/// By their names.
pub(super) type Tables = Vec<(String, Arc<dyn TableProvider>)>;

/// One state, as the server holds it.
#[derive(Debug)]
pub(in crate::views) struct Snapshot {
    /// Of the state; the newest is the highest. `None`: of one question alone.
    pub number: Option<u64>,
    /// Opened for reading, and in no folder any more.
    pub file: File,
    /// The keys of its batches' files.
    pub parts: Arc<HashSet<String>>,
}

impl Snapshot {
    pub(in crate::views) fn write(
        number: Option<u64>,
        folder: &Path,
        contents: Contents,
        tables: &[(String, RecordBatch)],
    ) -> io::Result<Self> {
        let parts = Arc::new(contents.batches.iter().flatten().flat_map(Batch::files).collect());
        let named = tempfile::NamedTempFile::new_in(folder)?;
        let file = File::open(named.path())?;
        let mut out = BufWriter::new(named.as_file());
        out.write_all(&[0; PLACE_BYTES])?;
        let mut places = Vec::new();
        for (name, rows) in tables {
            let start = out.stream_position()?;
            let mut writer = StreamWriter::try_new(&mut out, &rows.schema()).map_err(into_io)?;
            for block in blocks_of(rows) {
                writer.write(&block).map_err(into_io)?;
            }
            writer.finish().map_err(into_io)?;
            drop(writer);
            places.push(Place { name: name.clone(), start, end: out.stream_position()? });
        }
        let head = serde_json::to_vec(&Head { contents, tables: places })?;
        let start = out.stream_position()?;
        out.write_all(&head)?;
        out.seek(SeekFrom::Start(0))?;
        out.write_all(&start.to_le_bytes())?;
        out.write_all(&(head.len() as u64).to_le_bytes())?;
        out.flush()?;
        drop(out);
        named.close()?;
        Ok(Self { number, file, parts })
    }

    /// As a process reads it.
    pub(super) fn read(file: File) -> io::Result<(Contents, Tables)> {
        let file = Arc::new(file);
        let mut place = Span { file: Arc::clone(&file), at: 0, end: PLACE_BYTES as u64 };
        let mut number = || -> io::Result<u64> {
            let mut bytes = [0; 8];
            place.read_exact(&mut bytes)?;
            Ok(u64::from_le_bytes(bytes))
        };
        let (start, length) = (number()?, number()?);
        if length > HEAD_BYTES_MOST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the head of a snapshot is too long"));
        }
        let head = Span { file: Arc::clone(&file), at: start, end: start.saturating_add(length) };
        let Head { contents, tables } = serde_json::from_reader(BufReader::new(head))?;
        let table = |Place { name, start, end }| -> io::Result<_> {
            let span = Span { file: Arc::clone(&file), at: start, end };
            Ok((name, Arc::new(Stored::open(span)?) as Arc<dyn TableProvider>))
        };
        Ok((contents, tables.into_iter().map(table).collect::<io::Result<_>>()?))
    }
}

fn into_io(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, source) => source,
        other => io::Error::other(other),
    }
}

/// A part of a file, read from its own place: others read the same file.
#[derive(Debug, Clone)]
struct Span {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Span {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// A table whose rows are read when the first query asks for them.
#[derive(Debug)]
struct Stored {
    span: Span,
    schema: SchemaRef,
    rows: Mutex<Option<Arc<MemTable>>>,
}

impl Stored {
    fn open(span: Span) -> io::Result<Self> {
        let schema = StreamReader::try_new(BufReader::new(span.clone()), None).map_err(into_io)?.schema();
        Ok(Self { span, schema, rows: Mutex::default() })
    }

    fn rows(&self) -> Result<Arc<MemTable>, DataFusionError> {
        let mut held = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rows) = held.as_ref() {
            return Ok(Arc::clone(rows));
        }
        let reader = StreamReader::try_new(BufReader::new(self.span.clone()), None)?;
        let blocks = reader.collect::<Result<Vec<RecordBatch>, ArrowError>>()?;
        let rows = Arc::new(MemTable::try_new(Arc::clone(&self.schema), vec![blocks])?);
        *held = Some(Arc::clone(&rows));
        Ok(rows)
    }
}

#[async_trait]
impl TableProvider for Stored {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        self.rows()?.scan(state, projection, filters, limit).await
    }
}
