//! The records of an alias: what each says, which of them is in force, and which stands beneath it. Reads only.

use std::collections::BTreeMap;

pub use millstream_untrusted::alias::{Alias, DecidedOn, Measured};

use super::load::from_record;
use super::removal::is_gone;
use super::{RegistryError, foreign, number_in};
use millstream_store::{Store, StoreError};

/// The keys of an alias's records by their numbers.
pub(super) type Records = BTreeMap<u32, String>;

/// A record has a reason of 500 characters and the measures of two versions.
const RECORD_BYTES_MOST: u64 = 64 << 10;

/// Where an alias points.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// Of the record that is in force.
    pub number: u32,
    pub record: Alias,
    /// Of all its records, ascending.
    pub numbers: Vec<u32>,
}

impl Named {
    pub(super) fn version(&self) -> u32 {
        self.record.version
    }

    /// What an alias names, by all its records: that of its newest one, or, where its version was promoted while it was removed and nobody
    /// took that back, that of the record before.
    pub(super) fn find(store: &dyn Store, model: &str, records: &Records) -> Result<Option<Self>, RegistryError> {
        for (&number, key) in records.iter().rev() {
            let record = read_record(store, key)?;
            if record.version == 0 {
                return Ok(None);
            }
            if !is_gone(store, model, record.version)? {
                return Ok(Some(Self { number, record, numbers: records.keys().copied().collect() }));
            }
        }
        Ok(None)
    }

    /// The number of the record beneath this one, which is one of `records`; 0: there is none.
    pub(super) fn beneath(&self, store: &dyn Store, records: &Records) -> Result<u32, RegistryError> {
        beneath(store, records, self.number, &self.record)
    }
}

fn beneath(store: &dyn Store, records: &Records, number: u32, record: &Alias) -> Result<u32, RegistryError> {
    let key = || records.get(&number).map_or("", String::as_str);
    record.beneath(number, records).map_err(|problem| RegistryError::NotOurs { place: store.place(key()), problem })
}

/// From the record `number` downwards the first one that `fits`, and the number of the one beneath it.
pub(super) fn first_beneath(
    store: &dyn Store,
    records: &Records,
    mut number: u32,
    fits: impl Fn(u32) -> Result<bool, RegistryError>,
) -> Result<Option<(Alias, u32)>, RegistryError> {
    while let Some(key) = records.get(&number) {
        let record = read_record(store, key)?;
        if record.version == 0 {
            break;
        }
        let next = beneath(store, records, number, &record)?;
        if fits(record.version)? {
            return Ok(Some((record, next)));
        }
        number = next;
    }
    Ok(None)
}

/// What each alias of a model names, or what is wrong with its records.
pub fn read_aliases(
    store: &dyn Store,
    model: &str,
) -> Result<BTreeMap<String, Result<Named, RegistryError>>, RegistryError> {
    let aliases = records(store, model)?.into_iter();
    let named = aliases.filter_map(|(alias, records)| Some((alias, Named::find(store, model, &records).transpose()?)));
    Ok(named.collect())
}

/// A record of an alias; `None`: there is none of this number.
pub fn read_alias(store: &dyn Store, model: &str, alias: &str, number: u32) -> Result<Option<Alias>, RegistryError> {
    match read_record(store, &alias_key(model, alias, number)) {
        Err(RegistryError::Store(StoreError::Missing { .. })) => Ok(None),
        read => read.map(Some),
    }
}

pub(super) fn alias_key(model: &str, alias: &str, number: u32) -> String {
    format!("aliases/{model}/{alias}/{number:06}.json")
}

/// Of every alias of a model.
pub(super) fn records(store: &dyn Store, model: &str) -> Result<BTreeMap<String, Records>, StoreError> {
    let prefix = format!("aliases/{model}/");
    let mut found: BTreeMap<String, Records> = BTreeMap::new();
    for key in store.list(&prefix)? {
        let Some((alias, name)) = key.strip_prefix(&prefix).and_then(|rest| rest.split_once('/')) else { continue };
        if let Some(number) = number_in(name) {
            found.entry(alias.to_owned()).or_default().insert(number, key.clone());
        }
    }
    Ok(found)
}

pub(super) fn read_record(store: &dyn Store, key: &str) -> Result<Alias, RegistryError> {
    match foreign::read(store, key, RECORD_BYTES_MOST)? {
        Some(bytes) => from_record(&bytes, || store.place(key)),
        None => Err(StoreError::Missing { key: key.to_owned() }.into()),
    }
}
