//! `common`: versions of a model measured on the same records, one record for all of them and each pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::foreign;
use super::load::from_record;
use super::write::{Attempted, create_numbered};
use super::{CommonRecord, Evaluation, EvaluationKind, RegistryError, Remedy, Version, number_in};
use millstream_store::{RECORD_BYTES_MOST, Store};

fn prefix(model: &str) -> String {
    format!("models/{model}/common/")
}

fn key(model: &str, number: u32) -> String {
    format!("{}{number:06}.json", prefix(model))
}

/// `None`: there is none of this number.
pub fn read_common(store: &dyn Store, model: &str, number: u32) -> Result<Option<CommonRecord>, RegistryError> {
    let key = key(model, number);
    let Some(bytes) = foreign::read(store, &key, RECORD_BYTES_MOST)? else { return Ok(None) };
    let record: CommonRecord = from_record(&bytes, || store.place(&key))?;
    record.check().map_err(|problem| RegistryError::NotOurs { place: store.place(&key), problem })?;
    Ok(Some(record))
}

/// Writes the next record of a model, unless the same versions were measured on the same batches. `after`: records up to this
/// number are known. Answers the number under which it stands.
pub fn publish_common(store: &dyn Store, model: &str, record: &CommonRecord, after: u32) -> Result<u32, RegistryError> {
    let same =
        |other: &CommonRecord| other.batches == record.batches && other.versions.keys().eq(record.versions.keys());
    create_numbered(store, &prefix(model), record, after, same)
}

impl Attempted for CommonRecord {
    fn attempt(&self) -> &str {
        &self.attempt
    }
}

/// The records of a model, each read once, from the newest on.
#[derive(Debug, Default)]
pub struct CommonRecords {
    newest: u32,
    /// `None`: it is absent or damaged, which is said when it is read.
    read: BTreeMap<u32, Option<Arc<CommonRecord>>>,
}

impl CommonRecords {
    /// Finds the newest one by a list; there are few.
    pub fn open(store: &dyn Store, model: &str) -> Result<Self, RegistryError> {
        let prefix = prefix(model);
        let numbers = store.list(&prefix)?;
        let newest = numbers.iter().filter_map(|key| number_in(key.strip_prefix(&prefix)?)).max();
        Ok(Self { newest: newest.unwrap_or(0), read: BTreeMap::new() })
    }

    /// Whether there are new ones.
    pub fn look_for_new(&mut self, store: &dyn Store, model: &str) -> Result<bool, RegistryError> {
        let before = self.newest;
        while let Some(next) = self.newest.checked_add(1) {
            match read_common(store, model, next) {
                Ok(None) => break,
                Ok(Some(record)) => drop(self.read.insert(next, Some(Arc::new(record)))),
                Err(error) if error.remedy() == Remedy::Retry => return Err(error),
                Err(error) => {
                    tracing::warn!(target: "millstream", %error, "a measure on common cannot be read");
                    self.read.insert(next, None);
                }
            }
            self.newest = next;
        }
        Ok(self.newest > before)
    }

    /// The newest measure of a version.
    pub fn find(&mut self, store: &dyn Store, model: &str, version: u32) -> Result<Option<Evaluation>, RegistryError> {
        for number in (1..=self.newest).rev() {
            let Some(record) = self.get(store, model, number)? else { continue };
            let evaluation = record.evaluation(version);
            // A record whose versions are all older was written before this one was.
            let is_older = record.versions.last_key_value().is_none_or(|(newest, _)| *newest < version);
            if evaluation.is_some() || is_older {
                return Ok(evaluation);
            }
        }
        Ok(None)
    }

    fn get(&mut self, store: &dyn Store, model: &str, number: u32) -> Result<Option<Arc<CommonRecord>>, RegistryError> {
        if let Some(known) = self.read.get(&number) {
            return Ok(known.clone());
        }
        let record = match read_common(store, model, number) {
            Ok(record) => record.map(Arc::new),
            Err(error) if error.remedy() == Remedy::Retry => return Err(error),
            Err(error) => {
                tracing::warn!(target: "millstream", %error, "a measure on common cannot be read");
                None
            }
        };
        self.read.insert(number, record.clone());
        Ok(record)
    }
}

impl Version {
    /// With the evaluations of its folder, and the newest measure on `common` unless an older release has written a newer one there.
    pub fn measured(&self, evaluations: Vec<Evaluation>, common: Option<Evaluation>) -> Self {
        let mut version = self.clone();
        version.evaluations = with_common(evaluations, common);
        version
    }
}

pub(super) fn with_common(mut evaluations: Vec<Evaluation>, common: Option<Evaluation>) -> Vec<Evaluation> {
    let own =
        evaluations.iter().rev().find(|own| own.kind == EvaluationKind::Common).map_or(0, |own| own.batches.len());
    evaluations.extend(common.filter(|common| common.batches.len() >= own));
    evaluations
}
