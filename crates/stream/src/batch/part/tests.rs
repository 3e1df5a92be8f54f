use std::fs::File;
use std::sync::Arc;

use datafusion::arrow::compute::concat_batches;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use millstream_store::{LocalStore, Store};

use super::*;
use crate::batch::read_part;
use crate::schema::{Bad, ColumnType, DerivedColumn, Dialect, StreamColumn};

const NOW_MS: i64 = 1_700_000_000_000;

fn settings(format: BatchFormat, from: Option<&str>) -> PartSettings {
    let column = |(name, kind): (&str, ColumnType)| StreamColumn::new(name, kind);
    let derived = |from: &str| DerivedColumn {
        name: "price".to_owned(),
        kind: ColumnType::Float64,
        from: from.to_owned(),
        bad: Bad::Reject,
    };
    let schema = StreamSchema {
        derived: from.map(derived).into_iter().collect(),
        ..StreamSchema::new([("text", ColumnType::Utf8), ("n", ColumnType::Float64)].map(column).to_vec())
    };
    PartSettings { schema, encoding: Encoding::Csv, format }
}

struct Bench {
    _folder: tempfile::TempDir,
    store: Arc<LocalStore>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(LocalStore::open(folder.path()).unwrap());
        Self { _folder: folder, store }
    }

    fn part(&self, settings: &PartSettings) -> Part {
        Part::new(self.store.clone(), settings, 1, 2, 0, None)
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.store.place(&format!("{}/{file}", batch_folder(1))).into()
    }

    fn rows(&self, settings: &PartSettings, manifest: &Manifest) -> RecordBatch {
        let name = manifest.file.as_ref().unwrap();
        assert_eq!(BatchFormat::of_file(name), Some(settings.format));
        let file = File::open(self.path(name)).unwrap();
        let schema = settings.schema.part();
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let blocks: Vec<RecordBatch> = match settings.format {
            BatchFormat::Parquet => {
                let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
                reader.collect::<Result<_, _>>().unwrap()
            }
            format @ (BatchFormat::Csv | BatchFormat::Jsonl) => {
                let blocks = read_part(format, Box::new(file), schema.clone(), &all, 3).unwrap();
                blocks.collect::<Result<_, _>>().unwrap()
            }
        };
        concat_batches(&schema, &blocks).unwrap()
    }
}

fn record(offset: i64, value: &str) -> Record<'_> {
    Record { offset, timestamp_ms: NOW_MS + offset, key: None, value: Some(value.as_bytes()), stub: None }
}

fn offsets(rejects: &[Reject]) -> Vec<i64> {
    rejects.iter().map(|reject| reject.offset).collect()
}

fn mine(outcome: Outcome) -> Manifest {
    match outcome {
        Outcome::Mine(manifest) => manifest,
        Outcome::Anothers(manifest) => panic!("another's: {manifest:?}"),
    }
}

/// Rows, a stub, a hole, a tombstone, misfits of a plain and of the derived column.
fn push_all(part: &mut Part) -> Vec<i64> {
    let mut found = Vec::new();
    let stub = Record { stub: Some("too long"), ..record(2, "₹9,9") };
    let tombstone = Record { value: None, ..record(6, "") };
    for record in [
        record(0, "₹1,1"),
        record(1, "free,2"),
        stub,
        record(4, "₹4,x"),
        record(5, "\"₹5\",5"),
        tombstone,
        record(7, "none,7"),
        record(7, "seen before,7"),
        record(8, ",8"),
    ] {
        found.extend(offsets(&part.push(record, NOW_MS).unwrap()));
    }
    found
}

#[test]
fn rejects_found_late_are_counted_once_and_kept_in_offset_order() {
    for format in [BatchFormat::Parquet, BatchFormat::Csv, BatchFormat::Jsonl] {
        let bench = Bench::new();
        let settings = settings(format, Some("replace(text, '₹', '')"));
        let mut part = bench.part(&settings);
        assert_eq!(push_all(&mut part), [0_i64; 0], "judged with the chunk");
        assert_eq!((part.records(), part.next_offset()), (8, 9));
        assert_eq!(offsets(&part.settle().unwrap()), [1, 2, 4, 7]);
        assert_eq!((part.records(), part.settle().unwrap().len()), (8, 0));
        let manifest = mine(part.commit().unwrap());
        assert_eq!((manifest.rows, manifest.rejects, manifest.skipped), (3, 4, 2));
        assert_eq!((manifest.first_offset, manifest.end_offset), (0, 9));
        assert_eq!((manifest.min_time, manifest.max_time), (Some(NOW_MS), Some(NOW_MS + 8)));
        let rows = bench.rows(&settings, &manifest);
        let table = datafusion::arrow::util::pretty::pretty_format_batches(&[rows]).unwrap().to_string();
        let expected = [
            "+------+-----+-------+------------+---------+--------------------------+",
            "| text | n   | price | _partition | _offset | _time                    |",
            "+------+-----+-------+------------+---------+--------------------------+",
            "| ₹1   | 1.0 | 1.0   | 2          | 0       | 2023-11-14T22:13:20Z     |",
            "| ₹5   | 5.0 | 5.0   | 2          | 5       | 2023-11-14T22:13:20.005Z |",
            "|      | 8.0 |       | 2          | 8       | 2023-11-14T22:13:20.008Z |",
            "+------+-----+-------+------------+---------+--------------------------+",
        ];
        assert_eq!(table.lines().collect::<Vec<_>>(), expected, "{format:?}");
        let rejects = std::fs::read_to_string(bench.path(manifest.rejects_file.as_ref().unwrap())).unwrap();
        let rejects: Vec<serde_json::Value> = rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let found: Vec<_> =
            rejects.iter().map(|line| (line["offset"].as_i64().unwrap(), line["value"].as_str().unwrap())).collect();
        assert_eq!(found, [(1, "free,2"), (2, "₹9,9"), (4, "₹4,x"), (7, "none,7")]);
        assert_eq!(rejects[0]["time"], NOW_MS + 1);
        assert!(rejects[0]["reason"].as_str().unwrap().starts_with("column \"price\" from"), "{rejects:?}");
        assert_eq!(rejects[1]["reason"], "too long");
    }
}

#[test]
fn derived_columns_change_neither_digest_nor_offsets() {
    let digests = [None, Some("replace(text, '₹', '')")].map(|from| {
        let bench = Bench::new();
        let mut part = bench.part(&settings(BatchFormat::Parquet, from));
        let at_once = push_all(&mut part);
        assert_eq!(at_once, if from.is_none() { vec![2, 4] } else { Vec::new() });
        let manifest = mine(part.commit().unwrap());
        assert_eq!(manifest.rows + manifest.rejects, 7);
        (manifest.digest, manifest.first_offset, manifest.end_offset, manifest.skipped)
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_tombstone_is_skipped_and_in_a_store_of_the_first_dialect_a_reject() {
    let check = |dialect, expected| {
        let bench = Bench::new();
        let mut settings = settings(BatchFormat::Parquet, None);
        settings.schema.dialect = dialect;
        let mut part = bench.part(&settings);
        for offset in 0..3 {
            let record = Record { value: (offset != 1).then_some(b"a,1"), ..record(offset, "") };
            part.push(record, NOW_MS).unwrap();
        }
        assert_eq!(part.records(), 3);
        let manifest = mine(part.commit().unwrap());
        assert_eq!((manifest.rows, manifest.rejects, manifest.skipped, manifest.end_offset), expected);
        manifest.digest
    };
    let digests = [check(Dialect::Second, (2, 0, 1, 3)), check(Dialect::First, (2, 1, 0, 3))];
    assert_eq!(digests[0], digests[1], "the digest is over the records, however they are counted");
}

#[test]
fn a_part_of_several_chunks_keeps_every_row_in_order() {
    let bench = Bench::new();
    let settings = settings(BatchFormat::Csv, Some("case when n % 1000 = 7 then 'no' else text end"));
    let mut part = bench.part(&settings);
    let (mut rejects, count) = (Vec::new(), 2 * i64::try_from(CHUNK_ROWS).unwrap() + 10);
    for offset in 0..count {
        rejects.extend(offsets(&part.push(record(offset, &format!("{offset},{offset}")), NOW_MS).unwrap()));
        assert_eq!(part.records(), offset.unsigned_abs() + 1);
    }
    rejects.extend(offsets(&part.settle().unwrap()));
    let expected: Vec<i64> = (0..count).filter(|offset| offset % 1000 == 7).collect();
    assert_eq!(rejects, expected);
    let manifest = mine(part.commit().unwrap());
    assert_eq!(manifest.rows + expected.len() as u64, count.unsigned_abs());
    let rows = bench.rows(&settings, &manifest);
    let (numbers, made) = (rows.column(1).to_data(), rows.column(2).to_data());
    assert_eq!(numbers.buffers(), made.buffers(), "the derived column is that of its own row");
}

#[test]
fn a_chunk_of_large_records_ends_early() {
    let bench = Bench::new();
    let mut part = bench.part(&settings(BatchFormat::Jsonl, Some("substr(text, 1, 1)")));
    let value = format!("{},1", "7".repeat(1 << 20));
    for offset in 0..20 {
        part.push(record(offset, &value), NOW_MS).unwrap();
        assert!(part.open.bytes < CHUNK_BYTES);
        assert!(part.open.values.len() <= part.open.kept.len() * REJECT_VALUE_BYTES);
    }
    assert_eq!(part.rows, 16, "two chunks of eight were judged");
    assert_eq!(mine(part.commit().unwrap()).rows, 20);
}

#[test]
fn late_records_are_counted_by_their_time() {
    let bench = Bench::new();
    let settings = settings(BatchFormat::Csv, None);
    let mut part = Part::new(bench.store.clone(), &settings, 1, 0, 0, Some(NOW_MS + 2));
    for offset in 0..5 {
        part.push(record(offset, "a,1"), NOW_MS).unwrap();
    }
    assert_eq!(mine(part.commit().unwrap()).late, 2);
}

#[test]
fn an_empty_part_names_no_file() {
    let bench = Bench::new();
    let manifest = mine(bench.part(&settings(BatchFormat::Csv, Some("n"))).commit().unwrap());
    assert_eq!((manifest.file, manifest.rejects_file, manifest.rows), (None, None, 0));
}

#[test]
fn a_value_of_monstrous_size_is_a_reject() {
    let bench = Bench::new();
    let mut part = bench.part(&settings(BatchFormat::Parquet, None));
    let value = vec![b'x'; VALUE_BYTES_MAX + 1];
    let record = Record { offset: 0, timestamp_ms: 0, key: None, value: Some(&value), stub: None };
    let rejects = part.push(record, NOW_MS).unwrap();
    assert!(rejects[0].misfit.reason.contains("a value of 67108865 bytes"), "{rejects:?}");
    assert!(part.digest_buffer.capacity() < 1 << 20, "the value was hashed where it lies");
}
