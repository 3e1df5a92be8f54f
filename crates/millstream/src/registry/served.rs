//! All versions and aliases of the store, as they are served: loaded once, refreshed by what is new, swapped whole, so
//! that a request sees one state from its beginning to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use millstream_base::error_chain;
use millstream_store::{RECORD_BYTES_MOST, SharedStore, StoreError};
use serde::{Deserialize, Serialize};

use super::foreign::{self, OwnerTexts};
use super::load::from_record;
use super::{RegistryError, Version, number_in, read_evaluations};

pub const CHAMPION: &str = "champion";
pub const LATEST: &str = "latest";

/// `aliases/<model>/<alias>/<NNNNNN>.json`: the newest record of an alias is where it points. Version 0: to none, for a
/// promotion that had to be taken back and was the alias's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    pub format: u32,
    pub version: u32,
}

/// One consistent state.
#[derive(Debug, Clone, Default)]
pub struct Served {
    pub models: BTreeMap<String, ServedModel>,
    /// What could not be loaded, by name (`close@3`), with the remedy; all else is served.
    pub problems: Vec<String>,
}

/// A model with at least one version.
#[derive(Debug, Clone)]
pub struct ServedModel {
    pub name: String,
    pub algorithm: String,
    pub versions: BTreeMap<u32, Arc<Version>>,
    pub aliases: BTreeMap<String, u32>,
}

impl ServedModel {
    pub fn latest(&self) -> Option<&Arc<Version>> {
        self.versions.values().next_back()
    }

    /// What answers when a request names no version.
    pub fn champion_or_latest(&self) -> Option<&Arc<Version>> {
        self.aliases.get(CHAMPION).and_then(|version| self.versions.get(version)).or_else(|| self.latest())
    }

    /// A number, `latest`, or an alias.
    pub fn resolve(&self, name: &str) -> Option<&Arc<Version>> {
        if name == LATEST {
            return self.latest();
        }
        if let Some(version) = self.aliases.get(name) {
            return self.versions.get(version);
        }
        // "+3" and "003" are no names of version 3.
        let number: u32 = name.parse().ok().filter(|number: &u32| number.to_string() == name)?;
        self.versions.get(&number)
    }
}

pub struct Registry {
    store: SharedStore,
    owner: OwnerTexts,
    served: RwLock<Arc<Served>>,
    /// One refresh at a time; the lists of evaluations as last seen, to tell what is new.
    refreshing: Mutex<BTreeMap<(String, u32), BTreeSet<String>>>,
}

/// The keys of one model.
#[derive(Default)]
struct Listed {
    versions: BTreeMap<u32, BTreeSet<String>>,
    whole: BTreeSet<u32>,
    aliases: BTreeMap<String, (u32, String)>,
}

impl Registry {
    /// As `open_for`, with no pipeline file to trust.
    pub fn open(store: SharedStore) -> Result<Self, RegistryError> {
        Self::open_for(store, OwnerTexts::default())
    }

    /// Loads what is there; an empty store is fine.
    pub fn open_for(store: SharedStore, owner: OwnerTexts) -> Result<Self, RegistryError> {
        let registry = Self { store, owner, served: RwLock::default(), refreshing: Mutex::default() };
        registry.refresh()?;
        Ok(registry)
    }

    /// The state to answer one request from.
    pub fn snapshot(&self) -> Arc<Served> {
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves this instead, for tests of what serves it.
    #[cfg(test)]
    pub fn replace(&self, served: Served) {
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(served);
    }

    /// Loads what is new. On an error, which only a failing listing can cause, the old state stays.
    pub fn refresh(&self) -> Result<(), RegistryError> {
        let mut seen = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, listed) = (self.snapshot(), self.list()?);
        let mut served = Served::default();
        for (name, listed) in &listed {
            let versions = self.versions(name, listed, &old, &mut seen, &mut served.problems);
            let aliases = self.aliases(name, listed, &versions, &mut served.problems);
            if let Some(newest) = versions.values().next_back() {
                let algorithm = newest.file.algorithm.clone();
                served.models.insert(name.clone(), ServedModel { name: name.clone(), algorithm, versions, aliases });
            }
        }
        for problem in served.problems.iter().filter(|problem| !old.problems.contains(problem)) {
            tracing::warn!(target: "millstream", kind = "problem", "not served: {problem}");
        }
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(served);
        Ok(())
    }

    fn list(&self) -> Result<BTreeMap<String, Listed>, RegistryError> {
        let mut models: BTreeMap<String, Listed> = BTreeMap::new();
        for key in self.store.list("models/")? {
            let parts: Vec<&str> = key.split('/').collect();
            match parts.as_slice() {
                [_, model, folder, "model.json"] => {
                    let Some(number) = number_in(folder) else { continue };
                    models.entry((*model).to_owned()).or_default().whole.insert(number);
                }
                [_, model, folder, "evaluations", name] if number_in(name).is_some() => {
                    let Some(number) = number_in(folder) else { continue };
                    let listed = models.entry((*model).to_owned()).or_default();
                    listed.versions.entry(number).or_default().insert((*name).to_owned());
                }
                _ => {}
            }
        }
        for key in self.store.list("aliases/")? {
            let parts: Vec<&str> = key.split('/').collect();
            let [_, model, alias, name] = parts.as_slice() else { continue };
            let (Some(number), Some(listed)) = (number_in(name), models.get_mut(*model)) else { continue };
            let newest = listed.aliases.entry((*alias).to_owned()).or_default();
            if number >= newest.0 {
                *newest = (number, key.clone());
            }
        }
        Ok(models)
    }

    fn versions(
        &self,
        model: &str,
        listed: &Listed,
        old: &Served,
        seen: &mut BTreeMap<(String, u32), BTreeSet<String>>,
        problems: &mut Vec<String>,
    ) -> BTreeMap<u32, Arc<Version>> {
        let mut versions = BTreeMap::new();
        for &number in &listed.whole {
            let evaluations = listed.versions.get(&number).cloned().unwrap_or_default();
            let known = old.models.get(model).and_then(|model| model.versions.get(&number));
            let place = (model.to_owned(), number);
            let loaded = match known {
                Some(version) if seen.get(&place) == Some(&evaluations) => Ok(Arc::clone(version)),
                Some(version) => read_evaluations(&*self.store, model, number)
                    .map(|evaluations| Arc::new(version.with_evaluations(evaluations))),
                None => Version::load(&*self.store, model, number, &self.owner).map(Arc::new),
            };
            match loaded {
                Ok(version) => {
                    seen.insert(place, evaluations);
                    versions.insert(number, version);
                }
                Err(RegistryError::Removed { .. }) => {}
                Err(error) => problems.push(format!("{model}@{number}: {}", error_chain(&error))),
            }
        }
        versions
    }

    fn aliases(
        &self,
        model: &str,
        listed: &Listed,
        versions: &BTreeMap<u32, Arc<Version>>,
        problems: &mut Vec<String>,
    ) -> BTreeMap<String, u32> {
        let mut aliases = BTreeMap::new();
        for (alias, (_, key)) in &listed.aliases {
            let record = foreign::read(&*self.store, key, RECORD_BYTES_MOST);
            let record = record.and_then(|bytes| match bytes {
                Some(bytes) => from_record::<Alias>(&bytes, || self.store.place(key)),
                None => Err(StoreError::Missing { key: key.clone() }.into()),
            });
            let name = format!("{model}@{alias}");
            match record {
                Ok(record) if versions.contains_key(&record.version) => {
                    aliases.insert(alias.clone(), record.version);
                }
                Ok(record) => {
                    problems.push(format!("{name}: it points to version {}, which is not served", record.version));
                }
                Err(error) => problems.push(format!("{name}: {}", error_chain(&error))),
            }
        }
        aliases
    }
}
