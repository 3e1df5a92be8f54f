//! What a trainer knows between batches, so that a new one costs the same whatever their number. The store is the truth: a start reads
//! each `model.json` once, and from then on only the numbers behind the highest known one are looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::keeping::Keeping;
use crate::registry::{
    CommonRecord, DECISION_FILE, Evaluation, EvaluationKind, ModelFile, OwnerTexts, RECENT_MOST, RegistryError, Remedy,
    Version, number_in, read_common, read_evaluations, read_model_file,
};
use millstream_store::Store;

#[derive(Default)]
pub(super) struct Known {
    pub models: BTreeMap<String, KnownModel>,
    /// Identities that are not tried again: their training failed for good, or another process has removed the version.
    pub failed: HashSet<String>,
    /// Model and reason of those that are, by identity.
    pub retried: BTreeMap<String, (String, String)>,
    /// When this process last began to train.
    pub begun_ms: Option<u64>,
    pub keeping: Keeping,
    /// Complete batches when `common` was last looked at.
    pub common_looked: u32,
    /// Batches up to this one were looked at; those of them that are not settled are in `open`.
    looked: u32,
    open: BTreeSet<u32>,
}

impl Known {
    /// The batches to look at, in their order: new ones, those with a training that is to be tried again, and those on which a
    /// version still is to be measured.
    pub fn due_batches(&mut self, complete: u32) -> BTreeSet<u32> {
        if complete > self.looked {
            self.open.extend(self.looked + 1..=complete);
            self.looked = complete;
        }
        let awaited = self.models.values().flat_map(|model| model.unmeasured.values());
        let awaited = awaited.filter(|version| version.next_batch).map(|version| version.newest_batch + 1);
        self.open.iter().copied().chain(awaited).filter(|batch| *batch <= complete).collect()
    }

    /// Nothing of this batch need be tried again.
    pub fn settle(&mut self, batch: u32) {
        self.open.remove(&batch);
    }
}

#[derive(Default)]
pub(super) struct KnownModel {
    /// Numbers up to this one were looked at.
    newest: u32,
    /// Of them those that could not be read just now.
    unread: BTreeSet<u32>,
    /// By identity.
    numbers: HashMap<String, u32>,
    /// The newest ones, as far as they are loaded.
    recent: BTreeMap<u32, Option<Arc<Version>>>,
    pub unmeasured: BTreeMap<u32, Unmeasured>,
    pub common: Common,
    /// When the training of the latest one began.
    pub begun_ms: Option<u64>,
    pub decided: Decided,
}

/// How far `promote` has come.
#[derive(Default)]
pub(super) struct Decided {
    /// What was decided of versions up to this one was carried out, or never will be.
    pub up_to: u32,
    /// Those of which nothing can be decided, until the next start.
    pub given_up: BTreeSet<u32>,
    /// What is in the way now.
    pub problem: Option<String>,
}

/// The newest measure on `common`.
#[derive(Default)]
pub(super) struct Common {
    /// Of its record; 0: there is none.
    pub number: u32,
    /// It was taken on batches 1 to this one.
    pub batches: u32,
    pub versions: BTreeSet<u32>,
}

impl Common {
    pub fn add(&mut self, number: u32, record: &CommonRecord) {
        self.number = number;
        self.batches = record.batches.last;
        self.versions = record.versions.keys().copied().collect();
    }
}

/// What a version is still to be measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unmeasured {
    pub holdout: bool,
    pub next_batch: bool,
    pub newest_batch: u32,
    /// The highest number of its evaluations.
    pub evaluations: u32,
}

/// A version that was found in the store and cannot be read.
pub(super) struct Unreadable {
    pub number: u32,
    pub error: RegistryError,
}

impl KnownModel {
    /// Lists the model and reads every `model.json`.
    pub fn open(store: &dyn Store, model: &str) -> Result<(Self, Vec<Unreadable>), RegistryError> {
        let prefix = format!("models/{model}/");
        let mut evaluations: BTreeMap<u32, usize> = BTreeMap::new();
        let (mut common, mut decided) = (0, 0);
        for key in store.list(&prefix)? {
            let Some((folder, name)) = key.strip_prefix(&prefix).and_then(|rest| rest.split_once('/')) else {
                continue;
            };
            if folder == "common" {
                common = number_in(name).unwrap_or(0).max(common);
            }
            let Some(number) = number_in(folder) else { continue };
            if name == DECISION_FILE {
                // The last one may not have been carried out.
                decided = decided.max(number - 1);
            }
            match name.strip_prefix("evaluations/") {
                Some(_) => *evaluations.entry(number).or_default() += 1,
                None if name == "model.json" => drop(evaluations.entry(number).or_default()),
                None => {}
            }
        }
        let mut known = Self::default();
        known.decided.up_to = decided;
        let mut unreadable = Vec::new();
        let first_recent = evaluations.len().saturating_sub(RECENT_MOST);
        for (place, (&number, &count)) in evaluations.iter().enumerate() {
            // One that has two is measured on its hold-out and on the batch that came next.
            let is_measured = place < first_recent && count >= 2;
            known.newest = number;
            if let Err(error) = known.look_at(store, model, number, is_measured) {
                known.try_later(number, &error);
                unreadable.push(Unreadable { number, error });
            }
        }
        match read_common(store, model, common) {
            Ok(Some(record)) => known.common.add(common, &record),
            Ok(None) => {}
            Err(error) if error.remedy() == Remedy::Retry => return Err(error),
            // Derived, and written anew under the next number.
            Err(error) => {
                tracing::warn!(target: "millstream", %error, "a measure on common cannot be read");
                known.common.number = common;
            }
        }
        Ok((known, unreadable))
    }

    /// Reads what others published, and what could not be read before.
    pub fn refresh(&mut self, store: &dyn Store, model: &str) -> Result<Vec<Unreadable>, RegistryError> {
        let mut unreadable = Vec::new();
        for number in std::mem::take(&mut self.unread) {
            if let Err(error) = self.look_at(store, model, number, false) {
                self.try_later(number, &error);
                unreadable.push(Unreadable { number, error });
            }
        }
        while let Some(number) = self.newest.checked_add(1) {
            match self.look_at(store, model, number, false) {
                Ok(()) => {}
                Err(RegistryError::UnknownVersion { .. }) => break,
                // Nobody knows whether there is one.
                Err(error) if error.remedy() == Remedy::Retry => return Err(error),
                Err(error) => unreadable.push(Unreadable { number, error }),
            }
        }
        Ok(unreadable)
    }

    fn try_later(&mut self, number: u32, error: &RegistryError) {
        if error.remedy() == Remedy::Retry {
            self.unread.insert(number);
        }
    }

    fn look_at(&mut self, store: &dyn Store, model: &str, number: u32, is_measured: bool) -> Result<(), RegistryError> {
        match read_model_file(store, model, number) {
            Ok(file) => {
                let evaluations = match is_measured {
                    true => Ok(None),
                    false => read_evaluations(store, model, number).map(Some),
                };
                if matches!(&evaluations, Err(error) if error.remedy() == Remedy::Retry) {
                    return evaluations.map(drop);
                }
                // Its identity is known whatever its measures are: it is not trained again.
                self.newest = self.newest.max(number);
                self.add(&file, evaluations.as_ref().ok().and_then(|found| found.as_deref()));
                evaluations.map(drop)
            }
            Err(error) => {
                let is_there = !matches!(error, RegistryError::UnknownVersion { .. });
                if is_there && error.remedy() != Remedy::Retry {
                    self.newest = self.newest.max(number);
                }
                Err(error)
            }
        }
    }

    /// `evaluations`: `None` where it lacks none.
    fn add(&mut self, file: &ModelFile, evaluations: Option<&[Evaluation]>) {
        self.numbers.entry(file.identity.clone()).or_insert(file.version);
        let seconds = Duration::try_from_secs_f64(file.training_seconds).unwrap_or_default();
        let ms = u64::try_from(seconds.as_millis()).unwrap_or(u64::MAX);
        // Not the highest time: one by a clock that is ahead would hide all after it.
        if file.version >= self.newest {
            self.begun_ms = Some(file.trained_at_ms.saturating_sub(ms));
        }
        self.recent.entry(file.version).or_default();
        while self.recent.len() > RECENT_MOST {
            self.recent.pop_first();
        }
        let Some(evaluations) = evaluations else { return };
        let newest = |kind| evaluations.iter().rev().find(|evaluation| evaluation.kind == kind);
        let lacks = Unmeasured {
            holdout: file.holdout.share > 0.0 && newest(EvaluationKind::Holdout).is_none(),
            next_batch: file.imported.is_none() && newest(EvaluationKind::NextBatch).is_none(),
            newest_batch: file.batches.iter().map(|batch| batch.batch).max().unwrap_or(0),
            evaluations: u32::try_from(evaluations.len()).unwrap_or(u32::MAX),
        };
        if lacks.holdout || lacks.next_batch {
            self.unmeasured.insert(file.version, lacks);
        }
        // Older releases kept it beside each version.
        let common = newest(EvaluationKind::Common).and_then(|evaluation| evaluation.batches.last().copied());
        self.common.batches = common.unwrap_or(0).max(self.common.batches);
    }

    /// One that this process has just published.
    pub fn add_own(&mut self, version: Arc<Version>) {
        let number = version.file.version;
        // Others may have taken the numbers between: those are looked at before the next training.
        if number == self.newest + 1 {
            self.newest = number;
        }
        self.add(&version.file, Some(&version.evaluations));
        if let Some(place) = self.recent.get_mut(&number) {
            *place = Some(version);
        }
    }

    /// Its arrays are gone. Its identity stays used.
    pub fn forget(&mut self, number: u32) {
        self.recent.remove(&number);
        self.unmeasured.remove(&number);
    }

    /// Numbers up to this one were looked at.
    pub fn newest(&self) -> u32 {
        self.newest
    }

    pub fn has(&self, identity: &str) -> bool {
        self.numbers.contains_key(identity)
    }

    /// No version up to this number has an identity that is not known.
    pub fn looked_through(&self) -> u32 {
        self.unread.first().map_or(self.newest, |first| first - 1)
    }

    /// The version, which is loaded unless it is among the newest.
    pub fn load(
        &mut self,
        store: &dyn Store,
        model: &str,
        number: u32,
        owner: &OwnerTexts,
    ) -> Result<Arc<Version>, RegistryError> {
        if let Some(Some(version)) = self.recent.get(&number) {
            return Ok(Arc::clone(version));
        }
        let version = Arc::new(Version::load_unmeasured(store, model, number, owner)?);
        if let Some(place) = self.recent.get_mut(&number) {
            *place = Some(Arc::clone(&version));
        }
        Ok(version)
    }

    /// The numbers of the newest versions.
    pub fn recent(&self) -> impl Iterator<Item = u32> + '_ {
        self.recent.keys().copied()
    }

    pub fn number_of(&self, identity: &str) -> Option<u32> {
        self.numbers.get(identity).copied()
    }

    /// `evaluation`: its number; `None` where it is not to be tried again.
    pub fn measured(&mut self, version: u32, kind: EvaluationKind, evaluation: Option<u32>) {
        let Some(lacks) = self.unmeasured.get_mut(&version) else { return };
        lacks.evaluations = evaluation.unwrap_or(lacks.evaluations);
        match kind {
            EvaluationKind::Holdout => lacks.holdout = false,
            EvaluationKind::NextBatch => lacks.next_batch = false,
            EvaluationKind::Common => {}
        }
        if !lacks.holdout && !lacks.next_batch {
            self.unmeasured.remove(&version);
        }
    }
}
