//! Letting an alias name a version, by its next record; its history stays.
//!
//! Whoever promotes a version writes the record and then looks for the version's tombstone; whoever removes one writes the tombstone
//! and then looks at the aliases. Whichever create came first, the writer of the second sees it: the arrays stay, or the promotion is taken back, or both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::load::from_record;
use super::removal::{is_gone, is_removed, read_tombstone};
use super::{FORMAT, LATEST, RegistryError, foreign, number_in, read_model_file};
use millstream_store::{RECORD_BYTES_MOST, Settled, Store, StoreError, record_bytes, settle};
use millstream_stream::batch::fail_point;

/// The keys of an alias's records by their numbers.
pub(super) type Records = BTreeMap<u32, String>;

/// Lets an alias name a version; answers the version that it named before. The alias names that one again, and this is an error, when
/// the version is removed meanwhile. A crash before the record changes nothing. After it the alias names the version as long as its arrays are
/// there, and else what it named before: see `in_force`.
pub fn promote(store: &dyn Store, model: &str, version: u32, alias: &str) -> Result<Option<u32>, RegistryError> {
    check_name(alias)?;
    let records = records(store, model)?.remove(alias).unwrap_or_default();
    let gone = |version| is_gone(store, model, version);
    let before = in_force(store, &records, gone)?;
    read_model_file(store, model, version)?;
    if let Some(tombstone) = read_tombstone(store, model, version)? {
        return Err(tombstone.into());
    }
    if before == Some(version) {
        return Ok(before);
    }
    let newest = records.last_key_value().map_or(0, |(number, _)| *number);
    let number = write_after(store, model, alias, newest, version)?;
    fail_point("promotion.after_record");
    let unknown =
        |source| RegistryError::PromotionUnknown { model: model.to_owned(), version, alias: alias.to_owned(), source };
    if !is_removed(store, model, version).map_err(unknown)? {
        return Ok(before);
    }
    // Where another promotion has the next number already, that one is in force.
    let key = alias_key(model, alias, number + 1);
    let back = Alias { format: FORMAT, version: before.unwrap_or(0) };
    settle(store, &key, &record_bytes(&key, &back)?).map_err(unknown)?;
    let now = in_force(store, &self::records(store, model)?.remove(alias).unwrap_or_default(), gone)?;
    let named = now.map_or("no version".to_owned(), |version| format!("version {version}"));
    Err(RegistryError::RemovedMeanwhile { model: model.to_owned(), version, alias: alias.to_owned(), named })
}

/// `aliases/<model>/<alias>/<NNNNNN>.json`: the newest record of an alias is where it points. Version 0: to none, for a
/// promotion that had to be taken back and was the alias's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    pub format: u32,
    pub version: u32,
}

/// The version that each alias of a model names, or what is wrong with its records.
pub fn read_aliases(
    store: &dyn Store,
    model: &str,
) -> Result<BTreeMap<String, Result<u32, RegistryError>>, RegistryError> {
    let named = |records: &Records| in_force(store, records, |version| is_gone(store, model, version)).transpose();
    let aliases = records(store, model)?.into_iter();
    Ok(aliases.filter_map(|(alias, records)| Some((alias, named(&records)?))).collect())
}

/// Under the first free number after `number`, which is answered.
fn write_after(
    store: &dyn Store,
    model: &str,
    alias: &str,
    mut number: u32,
    version: u32,
) -> Result<u32, RegistryError> {
    loop {
        let place = || store.place(&format!("aliases/{model}/{alias}"));
        // One more is left for taking it back.
        number = number
            .checked_add(1)
            .filter(|number| *number < u32::MAX)
            .ok_or_else(|| RegistryError::NoNumber { place: place(), last: number })?;
        let key = alias_key(model, alias, number);
        let record = Alias { format: FORMAT, version };
        if settle(store, &key, &record_bytes(&key, &record)?)? == Settled::Mine {
            return Ok(number);
        }
    }
}

fn check_name(alias: &str) -> Result<(), RegistryError> {
    const BYTES_MOST: usize = 64;
    let known = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_-".contains(letter);
    let begins = alias.starts_with(|letter: char| letter.is_ascii_lowercase());
    if begins && alias.chars().all(known) && alias.len() <= BYTES_MOST && alias != LATEST {
        return Ok(());
    }
    Err(RegistryError::NoAlias { alias: alias.to_owned() })
}

fn alias_key(model: &str, alias: &str, number: u32) -> String {
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

pub(super) fn read_alias(store: &dyn Store, key: &str) -> Result<Alias, RegistryError> {
    match foreign::read(store, key, RECORD_BYTES_MOST)? {
        Some(bytes) => from_record(&bytes, || store.place(key)),
        None => Err(StoreError::Missing { key: key.to_owned() }.into()),
    }
}

/// The version that an alias names: that of its newest record, or, where it was promoted while it was removed and nobody took that
/// back, that of the record before.
pub(super) fn in_force(
    store: &dyn Store,
    records: &Records,
    is_gone: impl Fn(u32) -> Result<bool, StoreError>,
) -> Result<Option<u32>, RegistryError> {
    for key in records.values().rev() {
        let Alias { version, .. } = read_alias(store, key)?;
        if version == 0 {
            return Ok(None);
        }
        if !is_gone(version)? {
            return Ok(Some(version));
        }
    }
    Ok(None)
}
