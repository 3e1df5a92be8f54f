//! The rows of a part, block by block, with only the columns that are asked for: one place for every format and every store.
//!
//! Parquet says of itself what it holds; csv and JSON lines are read by the stream's schema, which lies in the store.

use std::io::Read;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use millstream_store::{Store, StoredFile};

use super::committed::{part_of_key, read_manifest, read_schema};
use super::formats::read_part;
use crate::batch::BatchFormat;
use crate::schema::OFFSET_COLUMN;

/// A few columns of so many rows stay in the second-level cache, and the cost of a block is lost in them.
const BLOCK_ROWS: usize = 16_384;

const HASHED_AT_ONCE_BYTES: usize = 256 << 10;

/// A stored file that cannot be read, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}; restore the file, the topic still holds its records")]
pub struct PartFault {
    pub place: String,
    pub problem: String,
}

/// The blocks of a part, in offset order, each with the schema that was asked for.
pub type Blocks = Box<dyn Iterator<Item = Result<RecordBatch, PartFault>> + Send>;

/// An opened Parquet part, before its row groups are chosen.
pub type ParquetPart = ParquetRecordBatchReaderBuilder<StoredFile>;

/// Answers which row groups are to be read.
pub type ChooseRowGroups<'a> = &'a dyn Fn(&ParquetPart) -> Vec<usize>;

/// Which rows of a part are read.
#[derive(Default)]
pub struct Selection<'a> {
    /// Rows to pass over.
    pub skip: usize,
    pub limit: Option<usize>,
    /// Of a Parquet part: the row groups to read. The other formats have none and are read from their beginning.
    pub row_groups: Option<ChooseRowGroups<'a>>,
}

impl Selection<'_> {
    pub fn all() -> Self {
        Self::default()
    }
}

/// Opens the part under `key` and answers its rows. `wanted`: the columns of a block, by their names, in any order; their types
/// must be the part's.
pub fn read_blocks(
    store: &dyn Store,
    key: &str,
    wanted: &SchemaRef,
    selection: &Selection,
) -> Result<Blocks, PartFault> {
    let place = store.place(key);
    let fault = |problem: String| PartFault { place: place.clone(), problem };
    let format = BatchFormat::of_file(key)
        .ok_or_else(|| fault("is no part: its name ends in none of the formats".to_owned()))?;
    let blocks = match format {
        BatchFormat::Parquet => parquet_blocks(open_verified(store, key)?, wanted, selection),
        BatchFormat::Csv | BatchFormat::Jsonl => {
            // Text does not say of itself which types it has.
            let schema = read_schema(store).map_err(|error| fault(error.to_string()))?;
            let schema = schema.ok_or_else(|| fault("cannot be read without the schema".to_owned()))?.part();
            text_blocks(format, open_verified(store, key)?, &schema, wanted, selection)
        }
    };
    let blocks = blocks.map_err(fault)?;
    Ok(Box::new(blocks.map(move |block| {
        block.map_err(|error| PartFault { place: place.clone(), problem: format!("cannot be read: {error}") })
    })))
}

/// The file under `key`.
pub(super) fn open(store: &dyn Store, key: &str) -> Result<StoredFile, PartFault> {
    let opened = store.open(key);
    opened.map_err(|error| PartFault { place: store.place(key), problem: format!("cannot be opened: {error}") })
}

/// The file of a part, which has the digest that its manifest says: the first time that this process opens it, it is read whole
/// and hashed, unless the process has written it itself. Everybody who reads rows comes through here.
fn open_verified(store: &dyn Store, key: &str) -> Result<StoredFile, PartFault> {
    let file = open(store, key)?;
    store.verified().check(key, || check_digest(store, key, &file))?;
    Ok(file)
}

/// Reads the part under `key` whole, unless it is known to be the file that was written.
pub fn verify_part(store: &dyn Store, key: &str) -> Result<(), PartFault> {
    open_verified(store, key).map(drop)
}

/// Whether the opened file has the digest that its manifest says. Reads all of it.
pub(super) fn check_digest(store: &dyn Store, key: &str, file: &StoredFile) -> Result<(), PartFault> {
    let fault = |problem: String| PartFault { place: store.place(key), problem };
    let (batch, partition) = part_of_key(key).ok_or_else(|| fault("is no part of a batch".to_owned()))?;
    let manifest = read_manifest(store, batch, partition).map_err(|error| fault(error.to_string()))?;
    let manifest = manifest.filter(|manifest| manifest.file.as_deref() == key.rsplit('/').next());
    let manifest = manifest.ok_or_else(|| fault("is not the file that its manifest names".to_owned()))?;
    let found = digest(file).map_err(|error| fault(format!("cannot be read: {error}")))?;
    match manifest.file_digest {
        Some(written) if written == found => Ok(()),
        Some(_) | None => Err(fault("is not the file that was written: its digest is another".to_owned())),
    }
}

/// BLAKE3 over the file's bytes.
fn digest(file: &StoredFile) -> std::io::Result<String> {
    let mut bytes = file.reader()?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; HASHED_AT_ONCE_BYTES];
    loop {
        match bytes.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            count => hasher.update(&buffer[..count]),
        };
    }
}

type ArrowBlocks = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

fn parquet_blocks(file: StoredFile, wanted: &SchemaRef, selection: &Selection) -> Result<ArrowBlocks, String> {
    let builder = ParquetPart::try_new(file).map_err(|error| format!("is no Parquet: {error}"))?;
    let stored = Arc::clone(builder.schema());
    let mut roots = Vec::with_capacity(wanted.fields().len());
    for field in wanted.fields() {
        roots.push(stored.index_of(field.name()).map_err(|_| format!("has no column `{}`", field.name()))?);
    }
    let row_groups = selection.row_groups.map(|choose| choose(&builder));
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots.iter().copied());
    let mut builder = builder.with_projection(mask).with_batch_size(BLOCK_ROWS).with_offset(selection.skip);
    if let Some(limit) = selection.limit {
        builder = builder.with_limit(limit);
    }
    if let Some(row_groups) = row_groups {
        builder = builder.with_row_groups(row_groups);
    }
    let reader = builder.build().map_err(|error| format!("is no Parquet: {error}"))?;
    let (order, wanted) = (places(&roots), Arc::clone(wanted));
    Ok(Box::new(reader.map(move |block| in_order(&block?, &order, &wanted))))
}

fn text_blocks(
    format: BatchFormat,
    file: StoredFile,
    schema: &SchemaRef,
    wanted: &SchemaRef,
    selection: &Selection,
) -> Result<ArrowBlocks, String> {
    let mut roots = Vec::with_capacity(wanted.fields().len());
    for field in wanted.fields() {
        roots.push(schema.index_of(field.name()).map_err(|_| format!("has no column `{}`", field.name()))?);
    }
    // Without a column there would be no rows to count.
    let counted = if roots.is_empty() { schema.index_of(OFFSET_COLUMN).ok() } else { None };
    let mut columns: Vec<usize> = roots.iter().copied().chain(counted).collect();
    columns.sort_unstable();
    columns.dedup();
    let input = file.reader().map_err(|error| format!("cannot be read: {error}"))?;
    let blocks = read_part(format, Box::new(input), Arc::clone(schema), &columns, BLOCK_ROWS)
        .map_err(|error| format!("cannot be read: {error}"))?;
    let (order, wanted) = (places(&roots), Arc::clone(wanted));
    let (mut skip, mut left) = (selection.skip, selection.limit.unwrap_or(usize::MAX));
    let blocks = blocks.map_while(move |block| {
        let block = match block {
            Ok(_) if left == 0 => return None,
            Ok(block) => block,
            Err(error) => return Some(Err(error)),
        };
        let first = skip.min(block.num_rows());
        let rows = (block.num_rows() - first).min(left);
        (skip, left) = (skip - first, left - rows);
        Some(in_order(&block.slice(first, rows), &order, &wanted))
    });
    Ok(Box::new(blocks))
}

/// The columns of `block` as `wanted` has them. Nullability may differ from the file's; names and types may not.
fn in_order(block: &RecordBatch, order: &[usize], wanted: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = order.iter().map(|&place| Arc::clone(block.column(place))).collect();
    let rows = RecordBatchOptions::new().with_row_count(Some(block.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(wanted), columns, &rows)
}

/// A reader gives columns in the file's order: where each of `roots` is among them.
fn places(roots: &[usize]) -> Vec<usize> {
    let mut sorted = roots.to_vec();
    sorted.sort_unstable();
    roots.iter().map(|root| sorted.partition_point(|other| other < root)).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
    use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::parquet::arrow::ArrowWriter;

    use super::*;
    use crate::batch::manifest_key;
    use millstream_store::LocalStore;

    fn schema(names: &[(&str, DataType)]) -> SchemaRef {
        Arc::new(Schema::new(
            names.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>(),
        ))
    }

    fn store() -> (tempfile::TempDir, LocalStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).unwrap();
        let schema = schema(&[("a", DataType::Int64), ("b", DataType::Utf8), ("c", DataType::Int64)]);
        let numbers = |from: i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(from..from + 10)) };
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..10).map(|row| format!("t{row}"))));
        let rows = RecordBatch::try_new(schema.clone(), vec![numbers(0), texts, numbers(100)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).unwrap();
        writer.write(&rows).unwrap();
        commit(&store, PART, &writer.into_inner().unwrap());
        (folder, store)
    }

    const PART: &str = "batches/batch=000001/part-0000-a.parquet";
    const TORN: &str = "batches/batch=000001/part-0001-a.parquet";

    /// A file, and the manifest that names it.
    fn commit(store: &LocalStore, key: &str, bytes: &[u8]) {
        let (batch, partition) = part_of_key(key).unwrap();
        let manifest = serde_json::json!({
            "format": 1, "batch": batch, "partition": partition, "attempt": "a", "rows": 10, "rejects": 0,
            "first_offset": 0, "end_offset": 10, "skipped": 0, "late": 0, "min_time": null, "max_time": null, "digest": "d",
            "file": key.rsplit('/').next(), "file_digest": blake3::hash(bytes).to_hex().to_string(), "rejects_file": null,
            "schema": 1, "committed_at_ms": 0,
        });
        store.create(key, bytes).unwrap();
        store.create(&manifest_key(batch, partition), manifest.to_string().as_bytes()).unwrap();
    }

    #[test]
    fn columns_come_in_the_order_that_is_asked_for() {
        let (_folder, store) = store();
        let wanted = schema(&[("c", DataType::Int64), ("a", DataType::Int64)]);
        let selection = Selection { skip: 3, limit: Some(2), row_groups: None };
        let blocks: Vec<_> = read_blocks(&store, PART, &wanted, &selection).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(blocks.len(), 1);
        assert_eq!(blocks[0].column(0).as_primitive::<Int64Type>().values(), &[103, 104]);
        assert_eq!(blocks[0].column(1).as_primitive::<Int64Type>().values(), &[3, 4]);
    }

    #[test]
    fn rows_are_counted_without_a_column() {
        let (_folder, store) = store();
        let mut blocks = read_blocks(&store, PART, &schema(&[]), &Selection::all()).unwrap();
        assert_eq!(blocks.next().unwrap().unwrap().num_rows(), 10);
    }

    #[test]
    fn what_cannot_be_read_names_the_file_and_the_fault() {
        let (_folder, store) = store();
        commit(&store, TORN, b"PAR1");
        let check = |key: &str, column: &str, kind: DataType, problem: &str| {
            let blocks = read_blocks(&store, key, &schema(&[(column, kind)]), &Selection::all());
            let fault = match blocks {
                Ok(mut blocks) => blocks.next().unwrap().unwrap_err(),
                Err(fault) => fault,
            };
            assert!(fault.place.ends_with(key) && fault.problem.contains(problem), "{fault}");
        };
        check("batches/batch=000001/part-0002-a.parquet", "a", DataType::Int64, "cannot be opened");
        check(TORN, "a", DataType::Int64, "is no Parquet");
        check(PART, "z", DataType::Int64, "has no column `z`");
        check(PART, "b", DataType::Int64, "cannot be read: ");
        check("_cut.json", "a", DataType::Int64, "is no part");
    }

    #[test]
    fn a_file_that_is_not_the_one_that_was_written_is_no_rows() {
        let (folder, store) = store();
        let read =
            |key: &str| read_blocks(&store, key, &schema(&[("a", DataType::Int64)]), &Selection::all()).map(|_| ());
        let path = folder.path().join(PART);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        // Within a page: Parquet itself sees nothing of it.
        flipped[20] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        let fault = read(PART).unwrap_err();
        assert!(fault.place.ends_with(PART) && fault.problem.contains("its digest is another"), "{fault}");
        // Restored, it is read, and need not be hashed again.
        std::fs::write(&path, &whole).unwrap();
        read(PART).unwrap();
        std::fs::write(&path, &flipped).unwrap();
        read(PART).unwrap();

        let strange = "batches/batch=000001/part-0000-b.parquet";
        store.create(strange, &whole).unwrap();
        assert!(read(strange).unwrap_err().problem.contains("its manifest names"), "another file of the partition");
        store.create("part-0000-a.parquet", &whole).unwrap();
        assert!(read("part-0000-a.parquet").unwrap_err().problem.contains("is no part of a batch"));
        assert!(read("batches/batch=000009/part-0000-a.parquet").is_err());
    }
}
