//! Where a version came from: its configuration, its batches and what the store has of each now, what it started from, and which aliases
//! named it when. Reads alone. What is damaged or gone is said where it stands, and the rest stands; only a store that does not answer is
//! an error of the whole.

use std::collections::BTreeSet;

use millstream_base::error_chain;
use millstream_store::{Store, StoreError};
use millstream_stream::batch::{Batch, IdentityError, StoredBatches, batch_folder, read as read_identity};
use serde::Serialize;

use super::alias::{Records, read_record, records};
use super::{
    Holdout, Named, Parent, Provenance, RegistryError, Remedy, TrainedBatch, read_model_file, read_tombstone,
    version_folder,
};

/// Records of aliases that are read for one answer, the newest of each alias.
const RECORDS_MOST: usize = 50;
/// Parts of one answer, unless one batch alone has more: there are fewer batches than were asked for then.
const PARTS_MOST: usize = 10_000;

#[derive(Debug, Clone, Serialize)]
pub struct Lineage {
    pub model: String,
    pub version: u32,
    pub algorithm: String,
    /// Of (model, configuration, batches).
    pub identity: String,
    pub configuration_digest: String,
    /// The key of its arrays, and the digest of that file.
    pub file: String,
    pub file_digest: String,
    pub trained_at_ms: u64,
    /// Rows the fit saw: those of the batches that pass `where`, are not held out and lack nothing.
    pub rows: u64,
    #[serde(rename = "where")]
    pub filter: Option<String>,
    pub holdout: Holdout,
    /// The version that a warm start began from.
    pub parent: Option<Parent>,
    pub imported: Option<Provenance>,
    pub removed: Option<Removal>,
    /// `None`: the store has no stream, or does not say of which.
    pub stream: Option<StreamOrigin>,
    pub aliases: Vec<Naming>,
    /// Older records of aliases were not looked at.
    pub aliases_cut: bool,
    pub batches: Vec<TracedBatch>,
    /// Batches in all.
    pub total: usize,
    /// What is wrong, with the places of files: for the owner.
    #[serde(skip)]
    pub faults: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Removal {
    pub at_ms: u64,
    pub reason: String,
}

/// The topic that the batches are of.
#[derive(Debug, Clone, Serialize)]
pub struct StreamOrigin {
    pub cluster: String,
    pub topic: String,
    pub topic_id: Option<String>,
}

/// An alias named the version, from its record to the next one.
#[derive(Debug, Clone, Serialize)]
pub struct Naming {
    pub alias: String,
    pub record: u32,
    /// `None`, here and below: the record does not say it, as those of earlier releases.
    pub from_ms: Option<u64>,
    /// `None` as well while it does.
    pub until_ms: Option<u64>,
    pub in_force: bool,
    pub by: Option<String>,
    pub reason: Option<String>,
    pub rolled_back: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct TracedBatch {
    pub batch: u32,
    /// What the version was trained on.
    pub digest: String,
    pub state: BatchState,
    /// In words, where it is not there as it was.
    pub problem: Option<String>,
    pub rows: Option<u64>,
    pub rejects: Option<u64>,
    pub min_time: Option<i64>,
    pub max_time: Option<i64>,
    pub committed_at_ms: Option<u64>,
    pub parts: Vec<TracedPart>,
    pub sql: String,
    /// Of this API.
    pub rows_at: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchState {
    /// With the digest that the version was trained on, and all its files. Whether their bytes are what was written `batches verify` finds.
    There,
    /// Its records are others.
    Changed,
    Damaged,
    Gone,
}

impl BatchState {
    pub fn name(self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Changed => "changed",
            Self::Damaged => "damaged",
            Self::Gone => "gone",
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct TracedPart {
    pub partition: u32,
    pub first_offset: i64,
    /// Exclusive.
    pub end_offset: i64,
    pub rows: u64,
    /// Its key in the store; `None`: it has no row.
    pub file: Option<String>,
    pub file_digest: Option<String>,
}

/// Of its batches those from the `offset`-th on, so many at most.
pub fn lineage(
    store: &dyn Store,
    batches: &StoredBatches,
    (model, version): (&str, u32),
    (offset, limit): (usize, usize),
) -> Result<Lineage, RegistryError> {
    let file = read_model_file(store, model, version)?;
    let mut faults = Vec::new();
    let removed = known(read_tombstone(store, model, version), &mut faults)?.flatten();
    let (mut traced, mut n_parts) = (Vec::new(), 0);
    for trained in file.batches.iter().skip(offset).take(limit) {
        let batch = trace(store, batches, trained, &mut faults)?;
        n_parts += batch.parts.len();
        if n_parts > PARTS_MOST && !traced.is_empty() {
            break;
        }
        traced.push(batch);
    }
    let all = records(store, model)?;
    // Of many aliases each has fewer.
    let most = (RECORDS_MOST / all.len().max(1)).max(1);
    let mut aliases = Vec::new();
    for (alias, records) in all.iter().take(RECORDS_MOST) {
        aliases.extend(namings(store, (model, version), alias, records, most, &mut faults)?);
    }
    Ok(Lineage {
        stream: stream(store, &mut faults)?,
        aliases,
        aliases_cut: all.len() > RECORDS_MOST || all.values().any(|records| records.len() > most),
        parent: file.task.recommendation().and_then(|task| task.parent.clone()),
        removed: removed.map(|gone| Removal { at_ms: gone.removed_at_ms, reason: gone.reason }),
        total: file.batches.len(),
        file: format!("{}/{}", version_folder(model, version), file.file),
        batches: traced,
        model: file.model,
        version,
        algorithm: file.algorithm,
        identity: file.identity,
        configuration_digest: file.configuration_digest,
        file_digest: file.file_digest,
        trained_at_ms: file.trained_at_ms,
        rows: file.rows,
        filter: file.filter,
        holdout: file.holdout,
        imported: file.imported,
        faults,
    })
}

/// `None`: it cannot be read, which is told. An error of the whole is that of a store that does not answer.
fn known<T>(read: Result<T, RegistryError>, faults: &mut Vec<String>) -> Result<Option<T>, RegistryError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.remedy() == Remedy::Retry => Err(error),
        Err(error) => {
            faults.push(error_chain(&error));
            Ok(None)
        }
    }
}

fn stream(store: &dyn Store, faults: &mut Vec<String>) -> Result<Option<StreamOrigin>, RegistryError> {
    match read_identity(store) {
        Ok(identity) => Ok(identity.map(|identity| StreamOrigin {
            cluster: identity.cluster,
            topic: identity.topic,
            topic_id: identity.topic_id,
        })),
        Err(IdentityError::Store(error @ (StoreError::Io { .. } | StoreError::Denied { .. }))) => Err(error.into()),
        Err(error) => {
            faults.push(error_chain(&error));
            Ok(None)
        }
    }
}

fn trace(
    store: &dyn Store,
    batches: &StoredBatches,
    trained: &TrainedBatch,
    faults: &mut Vec<String>,
) -> Result<TracedBatch, RegistryError> {
    let number = trained.batch;
    let mut traced = TracedBatch {
        batch: number,
        digest: trained.digest.clone(),
        state: BatchState::There,
        problem: None,
        rows: None,
        rejects: None,
        min_time: None,
        max_time: None,
        committed_at_ms: None,
        parts: Vec::new(),
        sql: format!("select * from batches where _batch = {number}"),
        rows_at: format!("/v1/batches/{number}/rows"),
    };
    let found = match batches.find(number) {
        Ok(found) => found,
        Err(error) => {
            let error = match error.into_away() {
                Ok(away) => return Err(away.into()),
                Err(error) => error,
            };
            faults.push(format!("batch {number}: {}", error_chain(&error)));
            (traced.state, traced.problem) =
                (BatchState::Damaged, Some("what is stored of it cannot be read".to_owned()));
            return Ok(traced);
        }
    };
    let keys: BTreeSet<String> = store.list(&format!("{}/", batch_folder(number)))?.into_iter().collect();
    let Some(found) = found.filter(|_| !keys.is_empty()) else {
        faults.push(format!("batch {number}: {} is gone, or not complete", store.place(&batch_folder(number))));
        (traced.state, traced.problem) = (BatchState::Gone, Some("the store does not have it".to_owned()));
        return Ok(traced);
    };
    traced.fill(&found);
    let missing: Vec<&str> =
        traced.parts.iter().filter_map(|part| part.file.as_deref()).filter(|key| !keys.contains(*key)).collect();
    if let Some(first) = missing.first() {
        faults.push(format!("batch {number}: {} is missing", store.place(first)));
        let problem = format!("{} of its files are missing, such as {first}", missing.len());
        (traced.state, traced.problem) = (BatchState::Damaged, Some(problem));
    } else if found.digest() != trained.digest {
        let problem = format!("its digest is {} now", found.digest());
        faults.push(format!("batch {number}: {problem}, the version was trained on {}", trained.digest));
        (traced.state, traced.problem) = (BatchState::Changed, Some(problem));
    }
    Ok(traced)
}

impl TracedBatch {
    fn fill(&mut self, batch: &Batch) {
        let folder = batch_folder(self.batch);
        self.rows = Some(batch.rows());
        self.rejects = Some(batch.rejects());
        self.min_time = batch.parts.iter().filter_map(|part| part.min_time).min();
        self.max_time = batch.parts.iter().filter_map(|part| part.max_time).max();
        self.committed_at_ms = batch.parts.iter().map(|part| part.committed_at_ms).max();
        let part = |part: &millstream_stream::batch::Manifest| TracedPart {
            partition: part.partition,
            first_offset: part.first_offset,
            end_offset: part.end_offset,
            rows: part.rows,
            file: part.file.as_ref().map(|file| format!("{folder}/{file}")),
            file_digest: part.file_digest.clone(),
        };
        self.parts = batch.parts.iter().map(part).collect();
    }
}

/// When this alias named the version, oldest first, as its newest records say.
fn namings(
    store: &dyn Store,
    (model, version): (&str, u32),
    alias: &str,
    records: &Records,
    most: usize,
    faults: &mut Vec<String>,
) -> Result<Vec<Naming>, RegistryError> {
    let in_force = known(Named::find(store, model, records), faults)?.flatten().map(|named| named.number);
    let (mut found, mut next_from) = (Vec::new(), None);
    for (&number, key) in records.iter().rev().take(most) {
        let Some(record) = known(read_record(store, key), faults)? else {
            next_from = None;
            continue;
        };
        if record.version == version {
            found.push(Naming {
                alias: alias.to_owned(),
                record: number,
                from_ms: record.promoted_at_ms,
                until_ms: next_from,
                in_force: in_force == Some(number),
                by: record.by,
                reason: record.reason,
                rolled_back: record.rolled_back,
            });
        }
        next_from = record.promoted_at_ms;
    }
    found.reverse();
    Ok(found)
}
