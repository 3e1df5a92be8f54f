//! Removing versions. A removed version has a tombstone, `removed.json`, created only if absent, and then its arrays are deleted. Its
//! `model.json` and its evaluations stay: its number and its identity are used, and nothing is trained again.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use super::alias::{read_record, records};
use super::load::from_record;
use super::{
    Alias, FORMAT, ModelFile, Recommendation, RegistryError, Remedy, Task, Tombstone, foreign, number_in,
    read_model_file, version_folder,
};
use millstream_base::status::now_ms;
use millstream_store::{RECORD_BYTES_MOST, Settled, Store, StoreError, read_optional, record_bytes, settle};
use millstream_stream::batch::fail_point;
use millstream_stream::record::write_instant;

const ARRAYS_SUFFIX: &str = ".safetensors";
const NAME: &str = "removed.json";

/// Removes what `train.keep` lets go. It remembers what it has seen of each model, so that a sweep costs what is new.
pub struct Sweeper {
    keep: NonZeroU32,
    models: BTreeMap<String, Stored>,
}

/// Of a model the versions whose arrays may be there.
#[derive(Default)]
struct Stored {
    /// Numbers up to this one were looked at.
    newest: u32,
    /// Without a tombstone, and what each started from, once that was asked.
    whole: BTreeMap<u32, Option<Origin>>,
    /// With a tombstone, and arrays still to be deleted.
    removed: BTreeSet<u32>,
}

/// The version whose factors a version started from.
#[derive(Clone, Copy)]
struct Origin(Option<u32>);

/// What one sweep did to a model.
#[derive(Debug, Default)]
pub struct Swept {
    pub removed: Vec<Tombstone>,
    /// Damaged versions, which stay; each is told once.
    pub problems: Vec<RegistryError>,
}

impl Sweeper {
    pub fn new(keep: NonZeroU32) -> Self {
        Self { keep, models: BTreeMap::new() }
    }

    /// Removes versions but the newest `keep`, those that an alias names, and those that one of these started from; and brings removals
    /// to their end that were interrupted. `newest`: the highest number that is known of this model.
    ///
    /// All tombstones first, then a look at the aliases, then the arrays of what no alias names: a promotion that found no tombstone
    /// is seen here, one that comes later finds it. A crash, or an error, after a tombstone leaves a version that is removed and whose
    /// arrays the next sweep deletes, whoever does it. Several sweeps at once do the same thing.
    pub fn sweep(&mut self, store: &dyn Store, model: &str, newest: u32) -> Result<Swept, RegistryError> {
        let stored = match self.models.get_mut(model) {
            Some(stored) => stored,
            None => self.models.entry(model.to_owned()).or_insert(Stored::open(store, model)?),
        };
        stored.whole.extend((stored.newest..newest).map(|before| (before + 1, None)));
        stored.newest = stored.newest.max(newest);
        let mut swept = Swept::default();
        let old: Vec<u32> = stored.whole.keys().rev().skip(self.keep.get() as usize).copied().collect();
        if old.is_empty() && stored.removed.is_empty() {
            return Ok(swept);
        }
        let kept = stored.kept(store, model, &old, &held(store, model)?)?;
        for &number in old.iter().rev().filter(|number| !kept.contains(number)) {
            match bury(store, model, number, &format!("train.keep = {}", self.keep)) {
                Ok(()) => {
                    stored.removed.insert(number);
                }
                Err(error) if error.remedy() == Remedy::Retry => return Err(error),
                // Somebody deleted its folder.
                Err(RegistryError::UnknownVersion { .. }) => {}
                Err(error) => swept.problems.push(error),
            }
            stored.whole.remove(&number);
        }
        if stored.removed.is_empty() {
            return Ok(swept);
        }
        let held = held(store, model)?;
        for number in stored.removed.clone().difference(&held) {
            delete_arrays(store, model, *number)?;
            stored.removed.remove(number);
            match read_tombstone(store, model, *number) {
                Ok(tombstone) => swept.removed.extend(tombstone),
                Err(error) => swept.problems.push(error),
            }
        }
        Ok(swept)
    }
}

impl Stored {
    fn open(store: &dyn Store, model: &str) -> Result<Self, RegistryError> {
        let prefix = format!("models/{model}/");
        let (mut whole, mut removed, mut arrays) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for key in store.list(&prefix)? {
            let Some((folder, name)) = key.strip_prefix(&prefix).and_then(|rest| rest.split_once('/')) else {
                continue;
            };
            let Some(number) = number_in(folder) else { continue };
            match name {
                "model.json" => whole.insert(number),
                NAME => removed.insert(number),
                name => name.ends_with(ARRAYS_SUFFIX) && arrays.insert(number),
            };
        }
        Ok(Self {
            newest: whole.last().copied().unwrap_or(0),
            whole: whole.difference(&removed).map(|number| (*number, None)).collect(),
            removed: removed.intersection(&arrays).copied().collect(),
        })
    }

    /// Those of `old` that stay, by an alias or as what a version that stays started from.
    fn kept(
        &mut self,
        store: &dyn Store,
        model: &str,
        old: &[u32],
        held: &BTreeSet<u32>,
    ) -> Result<BTreeSet<u32>, RegistryError> {
        let mut kept: BTreeSet<u32> = old.iter().copied().filter(|number| held.contains(number)).collect();
        let newest_old = old.first().copied().unwrap_or(0);
        for (number, origin) in
            self.whole.iter_mut().filter(|(number, _)| **number > newest_old || held.contains(*number))
        {
            let Origin(parent) = match *origin {
                Some(origin) => origin,
                None => *origin.insert(Origin::read(store, model, *number)?),
            };
            kept.extend(parent);
        }
        Ok(kept)
    }
}

impl Origin {
    fn read(store: &dyn Store, model: &str, version: u32) -> Result<Self, RegistryError> {
        match read_model_file(store, model, version) {
            Ok(ModelFile { task: Task::Recommendation(Recommendation { parent: Some(parent), .. }), .. }) => {
                Ok(Self(Some(parent.version)))
            }
            Err(error) if error.remedy() == Remedy::Retry => Err(error),
            // A damaged one is told by whoever loads it.
            Ok(_) | Err(_) => Ok(Self(None)),
        }
    }
}

/// The versions that aliases of a model name, or name again when a promotion is taken back: of each alias the newest record, and those
/// before it down to one of a version without a tombstone.
fn held(store: &dyn Store, model: &str) -> Result<BTreeSet<u32>, RegistryError> {
    let mut held = BTreeSet::new();
    for records in records(store, model)?.values() {
        for key in records.values().rev() {
            let Alias { version, .. } = read_record(store, key)?;
            if version == 0 {
                break;
            }
            held.insert(version);
            if !is_removed(store, model, version)? {
                break;
            }
        }
    }
    Ok(held)
}

/// Writes the tombstone, unless there is one.
fn bury(store: &dyn Store, model: &str, version: u32, reason: &str) -> Result<(), RegistryError> {
    let file = read_model_file(store, model, version)?;
    let tombstone = Tombstone {
        format: FORMAT,
        model: model.to_owned(),
        version,
        identity: file.identity,
        configuration_digest: file.configuration_digest,
        file: file.file,
        file_digest: file.file_digest,
        reason: reason.to_owned(),
        removed_at_ms: now_ms(),
    };
    let key = tombstone_key(model, version);
    fail_point("removal.before_tombstone");
    // Another's says the same.
    let (Settled::Mine | Settled::There(_)) = settle(store, &key, &record_bytes(&key, &tombstone)?)?;
    fail_point("removal.after_tombstone");
    Ok(())
}

/// Also those of writers who lost their number.
fn delete_arrays(store: &dyn Store, model: &str, version: u32) -> Result<(), StoreError> {
    for key in arrays(store, model, version)? {
        fail_point("removal.before_delete");
        store.delete(&key)?;
        fail_point("removal.after_delete");
    }
    Ok(())
}

pub(super) fn arrays(store: &dyn Store, model: &str, version: u32) -> Result<Vec<String>, StoreError> {
    let mut keys = store.list(&format!("{}/", version_folder(model, version)))?;
    keys.retain(|key| key.ends_with(ARRAYS_SUFFIX));
    Ok(keys)
}

fn tombstone_key(model: &str, version: u32) -> String {
    format!("{}/{NAME}", version_folder(model, version))
}

pub fn read_tombstone(store: &dyn Store, model: &str, version: u32) -> Result<Option<Tombstone>, RegistryError> {
    let key = tombstone_key(model, version);
    let Some(bytes) = foreign::read(store, &key, RECORD_BYTES_MOST)? else { return Ok(None) };
    let tombstone: Tombstone = from_record(&bytes, || store.place(&key))?;
    if tombstone.model != model || tombstone.version != version {
        let found = format!("version {} of `{}`", tombstone.version, tombstone.model);
        return Err(RegistryError::WrongPlace { place: store.place(&key), found });
    }
    Ok(Some(tombstone))
}

/// It has a tombstone, whatever that says.
pub(super) fn is_removed(store: &dyn Store, model: &str, version: u32) -> Result<bool, StoreError> {
    Ok(read_optional(store, &tombstone_key(model, version))?.is_some())
}

/// It has a tombstone and no arrays: an alias cannot hold it any more.
pub(super) fn is_gone(store: &dyn Store, model: &str, version: u32) -> Result<bool, StoreError> {
    Ok(is_removed(store, model, version)? && arrays(store, model, version)?.is_empty())
}

impl From<Tombstone> for RegistryError {
    fn from(tombstone: Tombstone) -> Self {
        let at = removed_at(&tombstone);
        let Tombstone { model, version, reason, .. } = tombstone;
        Self::Removed { model, version, at, reason }
    }
}

pub(super) fn removed_at(tombstone: &Tombstone) -> String {
    let mut at = Vec::new();
    // A time beyond all years is written as the number.
    write_instant(i64::try_from(tombstone.removed_at_ms).unwrap_or(i64::MAX), &mut at);
    String::from_utf8_lossy(&at).into_owned()
}
