//! Whatever the store does to them, writers that start again come to one cut, one manifest of each part, and every record.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use millstream_store::{LocalStore, SharedStore, faulty::FaultyStore};
use proptest::prelude::*;

use super::committed::committed;
use super::part::{Outcome, Part, PartError, Record, sweep};
use super::{Cut, CutReason, Manifest, PartSettings, StoredBatches, batch_folder, cuts, decide};
use crate::batch::BatchFormat;
use crate::record::Encoding;
use crate::schema::{ColumnType, OFFSET_COLUMN, StreamColumn, StreamSchema};

const PARTITIONS: u32 = 2;
const BATCHES: u32 = 3;
/// Of a partition, in a batch, at the least.
const RECORDS: i64 = 20;
/// A writer that is told "error" for so long will never come through.
const PATIENCE: Duration = Duration::from_secs(60);

fn settings() -> PartSettings {
    let (name, kind) = ("a".to_owned(), ColumnType::Int64);
    let column = StreamColumn { inferred: false, ..StreamColumn::new(name, kind) };
    let schema = StreamSchema::new(vec![column]);
    PartSettings { schema, encoding: Encoding::Json, format: BatchFormat::Parquet }
}

/// One life of a writer, from where the manifests say to the last batch; any error ends it. Each rival would cut elsewhere.
fn live(store: &SharedStore, rival: i64) -> Result<(), PartError> {
    let found = committed(store.as_ref(), &[0; PARTITIONS as usize])?;
    let mut starts = vec![0; PARTITIONS as usize];
    for batch in 1..=BATCHES {
        let ends: Vec<i64> = starts.iter().map(|start| start + RECORDS + rival).collect();
        let wanted = Cut {
            format: 1,
            batch,
            attempt: format!("{rival}-{}", uuid::Uuid::new_v4().simple()),
            total: ends.iter().sum::<i64>() as u64,
            ends,
            reason: CutReason::Rows,
            schema: 1,
            window: None,
        };
        let cut = decide(store.as_ref(), &wanted)?;
        for partition in 0..PARTITIONS {
            let (start, end) = (starts[partition as usize], cut.ends[partition as usize]);
            let (newest, checkpoint) = found.checkpoint[partition as usize];
            if batch <= newest {
                assert!(end <= checkpoint);
                continue;
            }
            assert!(checkpoint <= start);
            let mut part = Part::new(store.clone(), &settings(), batch, partition, start, None);
            for offset in start..end {
                // Every seventh record is a reject.
                let value = if offset % 7 == 3 { "{\"a\":\"x\"}".to_owned() } else { format!("{{\"a\":{offset}}}") };
                let (value, timestamp_ms) = (Some(value.as_bytes()), 1_700_000_000_000);
                part.push(Record { offset, timestamp_ms, key: None, value, stub: None }, timestamp_ms)?;
            }
            match part.commit()? {
                Outcome::Mine(manifest) | Outcome::Anothers(manifest) => {
                    assert_eq!((manifest.first_offset, manifest.end_offset), (start, end));
                }
            }
        }
        starts = cut.ends;
    }
    Ok(())
}

/// Lives until one life comes to its end; answers how many it took.
fn persist(store: &SharedStore, rival: i64) -> u32 {
    let until = Instant::now() + PATIENCE;
    for lives in 1.. {
        match live(store, rival) {
            Ok(()) => return lives,
            Err(error) => assert!(Instant::now() < until, "writer {rival} never came through: {error}"),
        }
    }
    unreachable!()
}

/// What must hold in the end, seen without faults.
fn is_exact(store: &SharedStore) {
    let cuts = cuts(store.as_ref()).unwrap();
    assert_eq!(cuts.len() as u32, BATCHES);
    let found = committed(store.as_ref(), &[0; PARTITIONS as usize]).unwrap();
    assert_eq!(found.batches.len() as u32, BATCHES);
    for batch in &found.batches {
        for manifest in batch.parts.iter() {
            sweep(store.as_ref(), manifest).unwrap();
            is_whole(store, manifest);
        }
        let folder = batch_folder(batch.number());
        let found: BTreeSet<String> = store.list(&format!("{folder}/")).unwrap().into_iter().collect();
        let file = |name: &String| format!("{folder}/{name}");
        let named = batch.parts.iter().flat_map(|part| [part.file.as_ref(), part.rejects_file.as_ref()]);
        let mut expected: BTreeSet<String> = named.flatten().map(file).collect();
        expected.insert(file(&"_cut.json".into()));
        expected.extend((0..PARTITIONS).map(|partition| file(&format!("_manifest-{partition:04}.json"))));
        assert_eq!(found, expected);
    }
    assert_eq!(StoredBatches::new(store.clone()).verify().unwrap(), [""; 0]);
}

/// Every offset of the range is a row or a reject, once, and the files have the digests of the manifest.
fn is_whole(store: &SharedStore, manifest: &Manifest) {
    let folder = batch_folder(manifest.batch);
    let key = format!("{folder}/{}", manifest.file.as_ref().unwrap());
    let bytes = store.read(&key).unwrap();
    assert_eq!(blake3::hash(&bytes).to_hex().as_str(), manifest.file_digest.as_ref().unwrap());
    let mut offsets = Vec::new();
    let file = store.open(&key).unwrap();
    let reader = datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(file, 1024).unwrap();
    for rows in reader {
        let rows = rows.unwrap();
        let column = rows.column_by_name(OFFSET_COLUMN).unwrap();
        offsets.extend_from_slice(column.as_primitive::<Int64Type>().values());
    }
    assert_eq!(offsets.len() as u64, manifest.rows);
    let rejects = store.read(&format!("{folder}/{}", manifest.rejects_file.as_ref().unwrap())).unwrap();
    let rejects = String::from_utf8(rejects).unwrap();
    assert_eq!(rejects.lines().count() as u64, manifest.rejects);
    for line in rejects.lines() {
        offsets.push(serde_json::from_str::<serde_json::Value>(line).unwrap()["offset"].as_i64().unwrap());
    }
    offsets.sort_unstable();
    assert_eq!(offsets, (manifest.first_offset..manifest.end_offset).collect::<Vec<_>>());
}

fn check(seed: u64, chance: f64) {
    let folder = tempfile::tempdir().unwrap();
    let inner: SharedStore = Arc::new(LocalStore::open(folder.path()).unwrap());
    // Two rivals, each with its own bad luck, on one store.
    std::thread::scope(|scope| {
        for rival in 0..2 {
            let store: SharedStore = Arc::new(FaultyStore::seeded(inner.clone(), seed ^ (rival << 63), chance));
            scope.spawn(move || persist(&store, rival as i64));
        }
    });
    is_exact(&inner);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_every_record_is_committed_once(seed: u64, percent in 0_u32..15) {
        check(seed, f64::from(percent) / 100.0);
    }
}
