//! Reads what is decided and committed. The store is the truth; the pipeline's view of it comes from here.

use std::collections::{BTreeMap, BTreeSet};

use millstream_store::{Store, read_optional};
use millstream_untrusted::batch::{check_after, check_batch};

use super::cut::{self, DecideError};
use super::manifest::{Batch, Cut, Manifest, cut_key, manifest_key};
use crate::schema::{FORMAT, StreamSchema};

pub const SCHEMA_KEY: &str = "schema/000001.json";

/// The types of the stream's columns, once they are decided.
pub fn read_schema(store: &dyn Store) -> Result<Option<StreamSchema>, DecideError> {
    let Some(bytes) = read_optional(store, SCHEMA_KEY)? else { return Ok(None) };
    let unreadable = |reason| DecideError::Unreadable { place: store.place(SCHEMA_KEY), reason };
    let schema: StreamSchema = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if schema.format != FORMAT {
        return Err(unreadable(format!("format {}", schema.format)));
    }
    Ok(Some(schema))
}

/// All cuts, in order; the first absent one ends the list.
pub fn cuts(store: &dyn Store) -> Result<Vec<Cut>, DecideError> {
    let mut cuts = Vec::new();
    for batch in 1.. {
        let Some(cut) = cut::read(store, batch)? else { break };
        if let Some(before) = cuts.last() {
            check_after(&cut, before).map_err(|reason| adds_up_not(store, batch, reason))?;
        }
        cuts.push(cut);
    }
    Ok(cuts)
}

fn adds_up_not(store: &dyn Store, batch: u32, reason: String) -> DecideError {
    DecideError::Unsound { place: store.place(&cut_key(batch)), reason }
}

#[derive(Debug, Clone, Default)]
pub struct Committed {
    /// Complete batches, from 1, without a gap.
    pub batches: Vec<Batch>,
    /// Per partition: the newest batch with a manifest (0: none) and the end offset there.
    pub checkpoint: Vec<(u32, i64)>,
    /// Rejects of every manifest, also of batches that are not complete yet.
    pub rejects: u64,
}

/// Reads every manifest. `base_offsets`: where each partition begins.
pub fn committed(store: &dyn Store, base_offsets: &[i64]) -> Result<Committed, DecideError> {
    let mut found =
        Committed { checkpoint: base_offsets.iter().map(|base| (0, *base)).collect(), ..Committed::default() };
    for cut in cuts(store)? {
        let parts = parts_of(store, &cut)?;
        for manifest in &parts {
            if let Some(checkpoint) = found.checkpoint.get_mut(manifest.partition as usize) {
                *checkpoint = (cut.batch, manifest.end_offset);
            }
            found.rejects += manifest.rejects;
        }
        let next = found.batches.len() + 1 == cut.batch as usize;
        if next && parts.len() == base_offsets.len() {
            let before = found.batches.last().map(|before| &*before.cut);
            check_batch(&cut, &parts, before).map_err(|reason| adds_up_not(store, cut.batch, reason))?;
            found.batches.push(Batch::new(cut, parts));
        }
    }
    Ok(found)
}

/// Where a partition goes on: behind its newest manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    pub partition: u32,
    /// The newest batch with a manifest; 0: none.
    pub batch: u32,
    /// The next offset.
    pub offset: i64,
}

/// All of it that a worker needs to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    /// One per partition, partition 0 first.
    pub positions: Vec<Checkpoint>,
    /// Batches from 1 on that are complete.
    pub complete: u32,
    /// Batches and partitions with a file of rejects.
    pub rejected: BTreeSet<(u32, u32)>,
}

/// Finds the newest manifests by one listing and reads those alone. `base_offsets`: where each partition
/// begins.
pub(super) fn checkpoint(store: &dyn Store, base_offsets: &[i64]) -> Result<Start, DecideError> {
    let mut newest = vec![0; base_offsets.len()];
    let mut rejected: BTreeSet<(u32, u32)> = BTreeSet::new();
    let keys = store.list("batches/")?;
    check_no_gap(store, &keys)?;
    for key in &keys {
        let Some((batch, name)) = folder_and_name(key) else { continue };
        if let Some(newest) = partition_of(name, "_manifest-").and_then(|partition| newest.get_mut(partition as usize))
        {
            *newest = batch.max(*newest);
        }
        rejected.extend(partition_of(name, "_rejects-").map(|partition| (batch, partition)));
    }
    let mut start = Start { positions: Vec::new(), complete: newest.iter().copied().min().unwrap_or(0), rejected };
    for ((partition, batch), base) in (0..).zip(&newest).zip(base_offsets) {
        let manifest = if *batch == 0 { None } else { read_manifest(store, *batch, partition)? };
        let offset = manifest.as_ref().map_or(*base, |manifest| manifest.end_offset);
        start.positions.push(Checkpoint { partition, batch: manifest.map_or(0, |_| *batch), offset });
    }
    Ok(start)
}

/// Cuts are made one after the other, and so are the manifests of a partition: one that is missing before another is lost.
/// `keys`: of all batches. They may be older than the store is now.
pub(super) fn check_no_gap(store: &dyn Store, keys: &[String]) -> Result<(), DecideError> {
    let mut cuts = BTreeSet::new();
    let mut manifests: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (batch, name) in keys.iter().filter_map(|key| folder_and_name(key)) {
        match partition_of(name, "_manifest-") {
            Some(partition) => drop(manifests.entry(partition).or_default().insert(batch)),
            None if name == "_cut.json" => drop(cuts.insert(batch)),
            None => {}
        }
    }
    let first_missing = |found: &BTreeSet<u32>| (1..).zip(found).find(|(due, batch)| due != *batch).map(|(due, _)| due);
    let of_partition =
        |(partition, found): (&u32, &BTreeSet<u32>)| first_missing(found).map(|batch| manifest_key(batch, *partition));
    let missing = first_missing(&cuts).map(cut_key).into_iter().chain(manifests.iter().filter_map(of_partition));
    for key in missing {
        // A listing may have missed what was made meanwhile.
        if read_optional(store, &key)?.is_none() {
            return Err(DecideError::Gap { place: store.place(&key) });
        }
    }
    Ok(())
}

/// Rejects of every manifest.
pub(super) fn count_rejects(store: &dyn Store, start: &Start) -> Result<u64, DecideError> {
    let mut rejects = 0;
    for (batch, partition) in &start.rejected {
        // A file without a manifest is nothing.
        rejects += read_manifest(store, *batch, *partition)?.map_or(0, |manifest| manifest.rejects);
    }
    Ok(rejects)
}

/// The next offset of every partition.
pub fn positions(store: &dyn Store, base_offsets: &[i64]) -> Result<Vec<i64>, DecideError> {
    Ok(checkpoint(store, base_offsets)?.positions.iter().map(|position| position.offset).collect())
}

/// The batch and the partition of `batches/batch=000007/part-0000-….parquet`.
pub(super) fn part_of_key(key: &str) -> Option<(u32, u32)> {
    let (batch, name) = folder_and_name(key)?;
    Some((batch, partition_of(name, "part-")?))
}

/// `batches/batch=000007/name`.
fn folder_and_name(key: &str) -> Option<(u32, &str)> {
    let (number, name) = key.strip_prefix("batches/batch=")?.split_once('/')?;
    Some((number.parse().ok()?, name))
}

/// The partition in a file's name: four digits or more after the prefix.
fn partition_of(name: &str, prefix: &str) -> Option<u32> {
    let rest = name.strip_prefix(prefix)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// The partitions of a cut batch that have no manifest yet.
pub(super) fn missing(store: &dyn Store, batch: u32) -> Result<Vec<u32>, DecideError> {
    let Some(cut) = cut::read(store, batch)? else { return Ok(Vec::new()) };
    let mut missing = Vec::new();
    for partition in (0..).take(cut.ends.len()) {
        if read_manifest(store, batch, partition)?.is_none() {
            missing.push(partition);
        }
    }
    Ok(missing)
}

/// A batch, once every partition's manifest is there. `before`: the cut of the batch before, where it is known.
pub(super) fn read_complete(store: &dyn Store, batch: u32, before: Option<&Cut>) -> Result<Option<Batch>, DecideError> {
    let Some(cut) = cut::read(store, batch)? else { return Ok(None) };
    let mut parts = Vec::with_capacity(cut.ends.len());
    for partition in (0..).take(cut.ends.len()) {
        let Some(manifest) = read_manifest(store, batch, partition)? else { return Ok(None) };
        parts.push(manifest);
    }
    let complete = Batch::new(cut, parts);
    // The first batch may begin anywhere in the topic.
    if batch == 1 || before.is_some() {
        check_batch(&complete.cut, &complete.parts, before).map_err(|reason| adds_up_not(store, batch, reason))?;
    }
    Ok(Some(complete))
}

/// The manifests of a cut that exist so far, partition 0 first.
fn parts_of(store: &dyn Store, cut: &Cut) -> Result<Vec<Manifest>, DecideError> {
    let partitions = (0..).take(cut.ends.len());
    partitions.filter_map(|partition| read_manifest(store, cut.batch, partition).transpose()).collect()
}

pub(super) fn read_manifest(store: &dyn Store, batch: u32, partition: u32) -> Result<Option<Manifest>, DecideError> {
    let bytes = read_optional(store, &manifest_key(batch, partition))?;
    bytes.map(|bytes| parse_manifest(store, batch, partition, &bytes)).transpose()
}

pub(super) fn parse_manifest(
    store: &dyn Store,
    batch: u32,
    partition: u32,
    bytes: &[u8],
) -> Result<Manifest, DecideError> {
    Manifest::read(bytes, batch, partition)
        .map_err(|reason| DecideError::Unreadable { place: store.place(&manifest_key(batch, partition)), reason })
}
