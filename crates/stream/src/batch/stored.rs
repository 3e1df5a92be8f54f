//! Reads stored batches for people: which are complete, their rows and rejects, what their columns are like, whether they are whole.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use millstream_store::{SharedStore, StoreError};
use serde_json::{Map, Value};

use super::DecideError;
use super::blocks::{Blocks, PartFault, Selection, open, read_blocks, verify_part};
use super::committed::{SCHEMA_KEY, check_no_gap, read_complete, read_schema};
use super::manifest::{Batch, Manifest, batch_folder};
use super::statistics::{BatchStatistics, STATISTICS_ROWS_MOST, statistics};
use super::verify::verify;
use crate::schema::{OFFSET_COLUMN, PARTITION_COLUMN};

#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    #[error(transparent)]
    Decide(#[from] DecideError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no complete batch {batch}: {complete} are complete")]
    NoSuchBatch { batch: u32, complete: usize },
    #[error(transparent)]
    Unreadable(#[from] PartFault),
}

impl StoredError {
    /// Whether the store did not give what it has: nothing is known to be wrong with that.
    fn is_away(&self) -> bool {
        match self {
            Self::Store(error) | Self::Decide(DecideError::Store(error)) => {
                matches!(error, StoreError::Io { .. } | StoreError::Denied { .. })
            }
            Self::Decide(_) | Self::NoSuchBatch { .. } | Self::Unreadable(_) => false,
        }
    }

    /// What the store said, where it is away; else the error itself.
    pub fn into_away(self) -> Result<StoreError, Self> {
        match self {
            Self::Store(error) | Self::Decide(DecideError::Store(error))
                if matches!(error, StoreError::Io { .. } | StoreError::Denied { .. }) =>
            {
                Ok(error)
            }
            other => Err(other),
        }
    }
}

/// The complete batches of a store, as a look at it found them.
#[derive(Debug, Clone, Default)]
pub struct BatchSnapshot {
    /// Oldest first: all of them, or those before one that cannot be read.
    pub batches: Arc<[Batch]>,
    pub completeness: Completeness,
    /// Why the store did not answer at the last look; what it answered before is here.
    pub away: Option<String>,
}

impl BatchSnapshot {
    pub fn find(&self, batch: u32) -> Option<&Batch> {
        self.batches.get(usize::try_from(batch.checked_sub(1)?).ok()?)
    }
}

/// How far the list was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Completeness {
    /// Not to its end yet.
    #[default]
    Unread,
    Whole,
    /// To a batch that cannot be read, and why.
    Damaged(String),
}

/// The complete batches of a store. They never change, so what was read once is kept.
pub struct StoredBatches {
    store: SharedStore,
    snapshot: RwLock<BatchSnapshot>,
    /// One reads at a time. Whether that nothing is missing between batches has been seen, once.
    no_gap: Mutex<bool>,
}

impl StoredBatches {
    pub fn new(store: SharedStore) -> Self {
        Self { store, snapshot: RwLock::default(), no_gap: Mutex::default() }
    }

    /// What was found last. Reads nothing and waits for nobody.
    pub fn snapshot(&self) -> BatchSnapshot {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads which batches are complete by now, oldest first. Who asks shares the list until there are more.
    pub fn complete(&self) -> Result<Arc<[Batch]>, StoredError> {
        let mut no_gap = self.no_gap.lock().unwrap_or_else(PoisonError::into_inner);
        let BatchSnapshot { mut batches, mut completeness, .. } = self.snapshot();
        let mut new: Vec<Batch> = Vec::new();
        let read = self.read_new(&batches, &mut new, &mut no_gap);
        // What was read before a fault is kept.
        if !new.is_empty() {
            batches = batches.iter().cloned().chain(new).collect();
        }
        let away = read.as_ref().err().filter(|error| error.is_away()).map(ToString::to_string);
        match &read {
            Ok(()) => completeness = Completeness::Whole,
            Err(error) if away.is_none() => completeness = Completeness::Damaged(error.to_string()),
            Err(_) => {}
        }
        let snapshot = BatchSnapshot { batches: Arc::clone(&batches), completeness, away };
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
        read.map(|()| batches)
    }

    fn read_new(&self, known: &[Batch], new: &mut Vec<Batch>, no_gap: &mut bool) -> Result<(), StoredError> {
        let store = self.store.as_ref();
        loop {
            let before = new.last().or(known.last()).map(|batch| &*batch.cut);
            let Some(found) = read_complete(store, before.map_or(1, |cut| cut.batch + 1), before)? else { break };
            new.push(found);
        }
        if !*no_gap {
            check_no_gap(store, &store.list("batches/")?)?;
            *no_gap = true;
        }
        Ok(())
    }

    /// A batch that is known to be whole is there, whatever is wrong with others.
    pub fn get(&self, batch: u32) -> Result<Batch, StoredError> {
        let complete = self.complete();
        match (self.snapshot().find(batch), complete) {
            (Some(found), _) => Ok(found.clone()),
            (None, Ok(complete)) => Err(StoredError::NoSuchBatch { batch, complete: complete.len() }),
            (None, Err(error)) => Err(error),
        }
    }

    /// One batch for itself, whatever is wrong with those before it; read where it is not among those that are known. `None`: it is not
    /// complete.
    pub fn find(&self, batch: u32) -> Result<Option<Batch>, StoredError> {
        match self.snapshot().find(batch) {
            Some(known) => Ok(Some(known.clone())),
            None => Ok(read_complete(self.store.as_ref(), batch, None)?),
        }
    }

    /// Rows `offset..offset + limit`, partition 0 first, as JSON objects.
    pub fn rows(&self, batch: &Batch, offset: usize, limit: usize) -> Result<Vec<Map<String, Value>>, StoredError> {
        let schema = read_schema(self.store.as_ref())?;
        let schema = schema.ok_or_else(|| StoreError::Missing { key: SCHEMA_KEY.to_owned() })?.part();
        let mut rows = Vec::new();
        for share in shares(batch, offset, limit) {
            let selection = Selection { skip: share.skip, limit: Some(limit - rows.len()), row_groups: None };
            for block in read_blocks(self.store.as_ref(), &share.key, &schema, &selection)? {
                append_rows(&block?, &mut rows);
            }
        }
        Ok(rows)
    }

    /// Rejects `offset..offset + limit` as they are stored, partition 0 first. Those before are read over, line by line.
    pub fn rejects(&self, batch: &Batch, offset: usize, limit: usize) -> Result<Vec<Map<String, Value>>, StoredError> {
        let (mut rejects, mut skip) = (Vec::new(), offset as u64);
        for part in batch.parts.iter() {
            let Some(file) = part.rejects_file.as_ref().filter(|_| skip < part.rejects && rejects.len() < limit) else {
                skip = skip.saturating_sub(part.rejects);
                continue;
            };
            let key = format!("{}/{file}", batch_folder(batch.number()));
            self.read_rejects(&key, part, std::mem::take(&mut skip), limit, &mut rejects)?;
        }
        Ok(rejects)
    }

    fn read_rejects(
        &self,
        key: &str,
        part: &Manifest,
        skip: u64,
        limit: usize,
        rejects: &mut Vec<Map<String, Value>>,
    ) -> Result<(), StoredError> {
        let store = self.store.as_ref();
        let fault = |problem: String| PartFault { place: store.place(key), problem };
        let file = open(store, key)?;
        let mut lines = BufReader::new(file.reader().map_err(|error| fault(format!("cannot be read: {error}")))?);
        let mut line = Vec::new();
        for number in 0..part.rejects {
            if rejects.len() >= limit {
                break;
            }
            line.clear();
            let read = lines.by_ref().take(REJECT_LINE_BYTES_MOST).read_until(b'\n', &mut line);
            read.map_err(|error| fault(format!("cannot be read: {error}")))?;
            if line.is_empty() {
                return Err(fault(format!("has {number} rejects, and its manifest says {}", part.rejects)).into());
            }
            if number >= skip {
                let reject = serde_json::from_slice(&line);
                rejects.push(reject.map_err(|error| fault(format!("line {} is no reject: {error}", number + 1)))?);
            }
        }
        Ok(())
    }

    /// What the columns are like, of so many rows as are read for it: of each part its share. Parts are read twice.
    pub fn statistics(&self, batch: &Batch) -> Result<BatchStatistics, StoredError> {
        let schema = read_schema(self.store.as_ref())?;
        let schema = schema.ok_or_else(|| StoreError::Missing { key: SCHEMA_KEY.to_owned() })?.part();
        let own = [PARTITION_COLUMN, OFFSET_COLUMN];
        let columns: Vec<usize> =
            (0..schema.fields().len()).filter(|index| !own.contains(&schema.field(*index).name().as_str())).collect();
        let schema = Arc::new(schema.project(&columns).map_err(|error| PartFault {
            place: self.store.place(SCHEMA_KEY),
            problem: format!("cannot be used: {error}"),
        })?);
        let shares = statistics_shares(batch);
        let blocks = || -> Result<_, StoredError> {
            let blocks = shares.iter().map(|(key, limit)| {
                let selection = Selection { skip: 0, limit: Some(*limit), row_groups: None };
                read_blocks(self.store.as_ref(), key, &schema, &selection)
            });
            let flat = blocks.flat_map(|blocks| match blocks {
                Ok(blocks) => blocks,
                Err(fault) => Box::new(std::iter::once(Err(fault))) as Blocks,
            });
            Ok(flat.map(|block| block.map_err(StoredError::from)))
        };
        statistics(&schema, blocks)
    }

    /// The keys of the parts that have these rows and whose digests are to be looked at before they are read.
    pub fn unverified(&self, batch: &Batch, offset: usize, limit: usize) -> Vec<String> {
        let keys = shares(batch, offset, limit).into_iter().map(|share| share.key);
        keys.filter(|key| !self.is_verified(key)).collect()
    }

    /// Reads nothing and waits for nobody.
    pub fn is_verified(&self, key: &str) -> bool {
        self.store.verified().is_known(key)
    }

    /// Looks at the digest of a part, unless it is known, so that who reads its rows afterwards need not wait for it.
    pub fn verify_file(&self, key: &str) -> Result<(), StoredError> {
        Ok(verify_part(self.store.as_ref(), key)?)
    }

    /// Checks every batch against its manifests. Answers what is wrong, one line each; empty: all is whole.
    pub fn verify(&self) -> Result<Vec<String>, StoredError> {
        Ok(verify(self.store.as_ref())?)
    }
}

/// A value of 64 KiB may need six times as much as JSON.
const REJECT_LINE_BYTES_MOST: u64 = 1 << 20;

/// The parts with rows, and how many of each are read for statistics: all, or as many as it has of the batch.
fn statistics_shares(batch: &Batch) -> Vec<(String, usize)> {
    let (total, most) = (u128::from(batch.rows()), STATISTICS_ROWS_MOST as u128);
    let of_first = |rows: u128| if total <= most { rows } else { rows * most / total };
    let (mut shares, mut before) = (Vec::new(), 0_u128);
    for part in batch.parts.iter() {
        let after = before + u128::from(part.rows);
        let share = usize::try_from(of_first(after) - of_first(before)).unwrap_or(STATISTICS_ROWS_MOST);
        before = after;
        if let Some(file) = part.file.as_ref().filter(|_| share > 0) {
            shares.push((format!("{}/{file}", batch_folder(batch.number())), share));
        }
    }
    shares
}

/// What a part has of some rows.
struct Share {
    key: String,
    /// Of its rows.
    skip: usize,
}

fn shares(batch: &Batch, offset: usize, limit: usize) -> Vec<Share> {
    let (mut shares, mut skip, mut left) = (Vec::new(), offset, limit as u64);
    for part in batch.parts.iter() {
        let Some(file) = &part.file else { continue };
        // More rows than can be counted are not passed over.
        if let Some(rest) = usize::try_from(part.rows).ok().and_then(|rows| skip.checked_sub(rows)) {
            skip = rest;
            continue;
        }
        if left == 0 {
            break;
        }
        shares.push(Share { key: format!("{}/{file}", batch_folder(batch.number())), skip });
        left = left.saturating_sub(part.rows - skip as u64);
        skip = 0;
    }
    shares
}

fn append_rows(batch: &RecordBatch, rows: &mut Vec<Map<String, Value>>) {
    let schema = batch.schema();
    for row in 0..batch.num_rows() {
        let columns = schema.fields().iter().zip(batch.columns());
        rows.push(columns.map(|(field, column)| (field.name().clone(), json(column.as_ref(), row))).collect());
    }
}

fn json(column: &dyn Array, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::Timestamp(..) => column.as_primitive::<TimestampMillisecondType>().value(row).into(),
        // Parts hold no other type: see `StreamSchema::part`.
        other => format!("{other}").into(),
    }
}

#[cfg(test)]
mod tests {
    use millstream_store::LocalStore;
    use millstream_store::counting::{CountingStore, Counts};
    use millstream_store::faulty::FaultyStore;
    use serde_json::json;

    use super::super::fixture::batch;
    use super::super::manifest::{Manifest, cut_key, manifest_key};
    use super::*;

    #[test]
    fn a_snapshot_reads_nothing_and_outlasts_a_store_that_is_away() {
        let folder = tempfile::tempdir().unwrap();
        let disk: SharedStore = Arc::new(LocalStore::open(folder.path()).unwrap());
        let put = |number: u32| {
            let batch = batch(number, 10, 0);
            let part = Manifest { file_digest: Some("d".repeat(64)), ..batch.parts[0].clone() };
            disk.create(&manifest_key(number, 0), &serde_json::to_vec(&part).unwrap()).unwrap();
            disk.create(&cut_key(number), &serde_json::to_vec(&*batch.cut).unwrap()).unwrap();
        };
        // Every second call fails, or takes long.
        let store = Arc::new(CountingStore::new(Arc::new(FaultyStore::seeded(Arc::clone(&disk), 1, 0.5))));
        let stored = StoredBatches::new(Arc::clone(&store) as SharedStore);
        let (mut completeness, mut n_away) = (Completeness::Unread, 0);
        let mut read = |n_batches: usize| {
            loop {
                let found = stored.complete();
                store.take();
                let snapshot = stored.snapshot();
                assert_eq!(store.take(), Counts::default());
                if found.is_ok() {
                    completeness = Completeness::Whole;
                }
                assert_eq!((&snapshot.completeness, snapshot.away.is_some()), (&completeness, found.is_err()));
                n_away += u32::from(found.is_err());
                if let Ok(batches) = found {
                    assert_eq!((batches.len(), snapshot.batches.len()), (n_batches, n_batches));
                    assert!(snapshot.find(0).is_none() && snapshot.find(9).is_none() && snapshot.find(1).is_some());
                    break;
                }
            }
        };
        assert_eq!(stored.snapshot().completeness, Completeness::Unread);
        (1..=2).for_each(put);
        read(2);
        put(3);
        (0..20).for_each(|_| read(3));
        assert!(n_away > 0);
        // What is damaged is told as long as it is, and what was read before stays.
        let next = folder.path().join(cut_key(4));
        std::fs::create_dir_all(next.parent().unwrap()).unwrap();
        std::fs::write(&next, "{").unwrap();
        while stored.complete().is_ok() || stored.snapshot().away.is_some() {}
        let snapshot = stored.snapshot();
        assert!(matches!(snapshot.completeness, Completeness::Damaged(why) if why.contains("_cut.json")));
        assert_eq!(snapshot.batches.len(), 3);
        std::fs::remove_file(&next).unwrap();
        put(4);
        while stored.complete().is_err() {}
        assert_eq!(stored.snapshot().completeness, Completeness::Whole);
    }

    #[test]
    fn rejects_are_read_line_by_line_from_the_parts_that_have_them() {
        let folder = tempfile::tempdir().unwrap();
        let store: SharedStore = Arc::new(LocalStore::open(folder.path()).unwrap());
        let part = |(partition, rejects): (u32, u64)| Manifest {
            partition,
            rejects_file: (rejects > 0).then(|| format!("_rejects-{partition:04}-a.jsonl")),
            ..batch(1, 10, rejects).parts[0].clone()
        };
        let parts: Vec<Manifest> = (0..).zip([3, 0, 2]).map(part).collect();
        for part in parts.iter().filter(|part| part.rejects > 0) {
            let lines: String = (0..part.rejects)
                .map(|offset| format!("{}\n", json!({"partition": part.partition, "offset": offset, "value": "\n"})))
                .collect();
            let key = format!("{}/{}", batch_folder(1), part.rejects_file.as_ref().unwrap());
            store.create(&key, lines.as_bytes()).unwrap();
        }
        let stored = StoredBatches::new(store);
        let one = Batch::new((*batch(1, 10, 0).cut).clone(), parts.clone());
        let read = |offset, limit| -> Vec<(u64, u64)> {
            let rejects = stored.rejects(&one, offset, limit).unwrap();
            let place = |reject: &Map<String, Value>| Some((reject["partition"].as_u64()?, reject["offset"].as_u64()?));
            rejects.iter().filter_map(place).collect()
        };
        let all = [(0, 0), (0, 1), (0, 2), (2, 0), (2, 1)];
        for offset in 0..7 {
            for limit in 0..7 {
                let expected: Vec<_> = all.into_iter().skip(offset).take(limit).collect();
                assert_eq!(read(offset, limit), expected, "{offset} {limit}");
            }
        }
        // A file that lost its end is no shorter list.
        let damaged = Manifest { rejects: 4, ..parts[0].clone() };
        let damaged = Batch::new((*one.cut).clone(), vec![damaged]);
        let fault = stored.rejects(&damaged, 0, 10).unwrap_err().to_string();
        assert!(fault.contains("has 3 rejects, and its manifest says 4"), "{fault}");
    }

    #[test]
    fn statistics_take_of_each_part_its_share() {
        let batch_of = |rows: &[u64]| {
            let part = |(partition, rows): (u32, u64)| Manifest {
                partition,
                file: (rows > 0).then(|| format!("{partition}")),
                rows,
                ..batch(1, 10, 0).parts[0].clone()
            };
            let parts = (0..).zip(rows.iter().copied()).map(part).collect();
            let shares = statistics_shares(&Batch::new((*batch(1, 10, 0).cut).clone(), parts));
            shares.into_iter().map(|(_, rows)| rows).collect::<Vec<_>>()
        };
        assert_eq!(batch_of(&[10, 0, 5]), [10, 5]);
        assert_eq!(batch_of(&[600_000, 0, 200_000]), [150_000, 50_000]);
        assert_eq!(batch_of(&[u64::MAX / 2, u64::MAX / 2]), [100_000, 100_000]);
    }

    #[test]
    fn rows_lie_in_the_parts_that_have_them() {
        let part = |(partition, rows): (u32, u64)| {
            json!({
                "format": 1, "batch": 1, "partition": partition, "attempt": "a", "rows": rows, "rejects": 0,
                "first_offset": 0, "end_offset": rows, "skipped": 0, "late": 0, "min_time": null, "max_time": null,
                "digest": "d", "file": (rows > 0).then(|| format!("{partition}")), "rejects_file": null, "schema": 1,
                "committed_at_ms": 0,
            })
        };
        let parts = (0..).zip([10, 0, 5, 8]).map(|part_of| serde_json::from_value(part(part_of)).unwrap());
        let cut = json!({"format": 1, "batch": 1, "attempt": "a", "ends": [10, 0, 5, 8], "total": 23, "reason": "rows", "schema": 1});
        let batch = Batch::new(serde_json::from_value(cut).unwrap(), parts.collect());
        let check = |offset: usize, limit: usize, expected: &[(&str, usize)]| {
            let expected: Vec<(String, usize)> =
                expected.iter().map(|(file, skip)| (format!("batches/batch=000001/{file}"), *skip)).collect();
            let found: Vec<(String, usize)> =
                shares(&batch, offset, limit).into_iter().map(|share| (share.key, share.skip)).collect();
            assert_eq!(found, expected, "{offset} {limit}");
        };
        check(0, 10, &[("0", 0)]);
        check(0, 11, &[("0", 0), ("2", 0)]);
        check(9, 2, &[("0", 9), ("2", 0)]);
        check(10, 1, &[("2", 0)]);
        check(12, 3, &[("2", 2)]);
        check(12, 4, &[("2", 2), ("3", 0)]);
        check(0, usize::MAX, &[("0", 0), ("2", 0), ("3", 0)]);
        check(23, 5, &[]);
        check(0, 0, &[]);
        check(usize::MAX, usize::MAX, &[]);
    }
}
