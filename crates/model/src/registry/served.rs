//! The versions and aliases of the store, as they are served: the newest versions of each model and those with an alias are loaded,
//! every other one is known by its number. What is new is found by the next number; the state is swapped whole, so that a request
//! sees one from its beginning to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use super::common::with_common;
use super::decision::shown_decision;
use super::foreign::{OwnerTexts, check_apart};
use super::load::{StreamNames, configured_scale, version_json};
use super::on_demand::OnDemand;
use super::removal::is_removed;
use super::{
    Alias, CommonRecords, Evaluation, EvaluationKind, Moved, Mover, Named, Occasion, RECENT_MOST, RegistryError,
    Remedy, RemovedVersion, Version, model_key, number_in, read_alias, read_aliases, read_decision, read_evaluation,
    read_evaluations, read_model_file, read_tombstone,
};
use millstream_base::error_chain;
use millstream_store::{SharedStore, StoreError};
use millstream_stream::batch::read_schema;
use millstream_stream::schema::{OFFSET_COLUMN, PARTITION_COLUMN, TIME_COLUMN};
use serde_json::Value;

pub const CHAMPION: &str = "champion";
pub const LATEST: &str = "latest";

/// Where no version is decided, as without `promote`, so many of the newest are looked at: the last one, and one that waits for its next batch.
const OPEN_LOOKED_AT: usize = 2;

/// So many of the newest numbers are tried to find those that can be loaded.
const TRIED_MOST: usize = 2 * RECENT_MOST;

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
    numbers: Numbers,
    /// Of them those that cannot be loaded.
    broken: BTreeSet<u32>,
    loaded: BTreeMap<u32, Arc<Version>>,
    /// Of those whose version is served.
    pub aliases: BTreeMap<String, u32>,
    pub named: BTreeMap<String, Named>,
}

/// Which numbers are versions: runs of them, ascending, both ends included.
#[derive(Debug, Clone, Default)]
struct Numbers(Vec<(u32, u32)>);

/// A version that there is.
#[derive(Debug, Clone)]
pub enum Found {
    Loaded(Arc<Version>),
    /// To be loaded by [`Registry::load`].
    Stored(u32),
}

impl ServedModel {
    pub fn latest(&self) -> Option<&Arc<Version>> {
        self.loaded.values().next_back()
    }

    /// What answers when a request names no version.
    pub fn champion_or_latest(&self) -> Option<&Arc<Version>> {
        self.of_alias(CHAMPION).or_else(|| self.latest())
    }

    /// What an alias, or `latest`, names.
    pub fn of_alias(&self, alias: &str) -> Option<&Arc<Version>> {
        if alias == LATEST { self.latest() } else { self.loaded.get(self.aliases.get(alias)?) }
    }

    /// A number, `latest`, or an alias.
    pub fn resolve(&self, name: &str) -> Option<Found> {
        if name == LATEST {
            return self.latest().cloned().map(Found::Loaded);
        }
        if let Some(version) = self.aliases.get(name) {
            return self.find(*version);
        }
        // "+3" and "003" are no names of version 3.
        let number: u32 = name.parse().ok().filter(|number: &u32| number.to_string() == name)?;
        self.find(number)
    }

    pub fn find(&self, number: u32) -> Option<Found> {
        match self.loaded.get(&number) {
            Some(version) => Some(Found::Loaded(Arc::clone(version))),
            None if self.numbers.contains(number) => Some(Found::Stored(number)),
            None => None,
        }
    }

    /// Of every version, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.numbers.0.iter().flat_map(|(first, last)| *first..=*last).filter(|number| !self.broken.contains(number))
    }

    pub fn n_versions(&self) -> usize {
        self.numbers.len() - self.broken.len()
    }

    /// Whether an alias does.
    fn names(&self, number: u32) -> bool {
        self.aliases.values().any(|named| *named == number)
    }

    /// The loaded ones, ascending: the newest, and those with an alias.
    pub fn loaded(&self) -> impl DoubleEndedIterator<Item = &Arc<Version>> {
        self.loaded.values()
    }
}

impl Numbers {
    /// Higher than all before.
    fn push(&mut self, number: u32) {
        match self.0.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => self.0.push((number, number)),
        }
    }

    fn newest(&self) -> u32 {
        self.0.last().map_or(0, |(_, last)| *last)
    }

    fn contains(&self, number: u32) -> bool {
        let run = self.0.partition_point(|(_, last)| *last < number);
        self.0.get(run).is_some_and(|(first, _)| *first <= number)
    }

    fn descending(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().rev().flat_map(|(first, last)| (*first..=*last).rev())
    }

    fn len(&self) -> usize {
        self.0.iter().map(|(first, last)| (last - first) as usize + 1).sum()
    }
}

pub struct Registry {
    store: SharedStore,
    owner: OwnerTexts,
    served: RwLock<Arc<Served>>,
    /// One refresh at a time.
    refreshing: Mutex<BTreeMap<String, Followed>>,
    on_demand: OnDemand,
    /// Of the stream's schema, which is written once: asked for with each version that is loaded until it is there.
    stream: OnceLock<Arc<StreamNames>>,
}

/// What a refresh goes on from, of one model.
struct Followed {
    numbers: Numbers,
    /// Of the versions up to this one only those with an alias are kept loaded: it was removed, and so the others may have been.
    removed_up_to: u32,
    loaded: BTreeMap<u32, LoadedVersion>,
    common: CommonRecords,
}

struct LoadedVersion {
    /// With the newest measure on `common`, where there is one.
    version: Arc<Version>,
    /// Those of its own folder.
    evaluations: Vec<Evaluation>,
}

impl LoadedVersion {
    /// Measures that may still come: those on `common` are records of the model.
    fn lacks_measures(&self) -> bool {
        let lacks = |kind| !self.evaluations.iter().any(|evaluation| evaluation.kind == kind);
        lacks(EvaluationKind::NextBatch) || (self.version.file.holdout.share > 0.0 && lacks(EvaluationKind::Holdout))
    }
}

impl Registry {
    /// As `open_for`, with no pipeline file to trust.
    pub fn open(store: SharedStore) -> Result<Self, RegistryError> {
        Self::open_for(store, OwnerTexts::default())
    }

    /// Loads what is there; an empty store is fine.
    pub fn open_for(store: SharedStore, owner: OwnerTexts) -> Result<Self, RegistryError> {
        let (served, refreshing, on_demand, stream) = Default::default();
        let registry = Self { store, owner, served, refreshing, on_demand, stream };
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

    /// A version that is [`Found::Stored`]: from the cache, or from the store, for which the caller waits. `None`: it cannot be served,
    /// and the problems say why; the error is of a store that is away, or says that the version was removed.
    pub fn load(&self, model: &str, number: u32) -> Result<Option<Arc<Version>>, RegistryError> {
        if let Some(version) = self.on_demand.get(model, number) {
            return Ok(Some(version));
        }
        match self.read(model, number) {
            Ok(version) => {
                self.on_demand.keep(&version);
                Ok(Some(version))
            }
            Err(error @ RegistryError::Removed { .. }) => Err(error),
            Err(error) if error.remedy() == Remedy::Retry => Err(error),
            Err(error) => {
                self.say_broken(model, number, &error);
                Ok(None)
            }
        }
    }

    /// As `load`, for one look at many of them: the cache stays as it is.
    pub fn read(&self, model: &str, number: u32) -> Result<Arc<Version>, RegistryError> {
        let version = self.load_live(model, number, self.is_named(model, number))?;
        let evaluations = read_evaluations(&*self.store, model, number)?;
        let measured = version.measured(evaluations, self.common(model, number)?);
        Ok(Arc::new(measured.decided(shown_decision(&*self.store, model, number)?)))
    }

    /// As [`Version::to_json`] of it; its arrays are read only where they alone know a part of that.
    pub fn describe(&self, model: &str, number: u32) -> Result<Value, RegistryError> {
        self.check_live(model, number, self.is_named(model, number))?;
        let file = read_model_file(&*self.store, model, number)?;
        let Some(scale) = configured_scale(&file) else { return Ok(self.read(model, number)?.to_json()) };
        check_apart(&file, &self.owner, &self.store.place(&model_key(model, number)))?;
        let evaluations = read_evaluations(&*self.store, model, number)?;
        let decision = shown_decision(&*self.store, model, number)?;
        Ok(version_json(&file, &with_common(evaluations, self.common(model, number)?), decision.as_ref(), &scale))
    }

    /// Whether an alias holds it.
    fn is_named(&self, model: &str, number: u32) -> bool {
        self.snapshot().models.get(model).is_some_and(|model| model.names(number))
    }

    /// What is left of a version that was removed; `None`: it was not.
    pub fn removed(&self, model: &str, number: u32) -> Result<Option<RemovedVersion>, RegistryError> {
        let Some(tombstone) = read_tombstone(&*self.store, model, number)? else { return Ok(None) };
        let file = read_model_file(&*self.store, model, number)?;
        let evaluations = read_evaluations(&*self.store, model, number)?;
        let evaluations = with_common(evaluations, self.common(model, number)?);
        let decision = shown_decision(&*self.store, model, number)?;
        Ok(Some(RemovedVersion { file, evaluations, decision, tombstone }))
    }

    /// Lets an alias name a version; by what is served when this answers.
    pub fn promote(&self, model: &str, version: u32, alias: &str, why: &Occasion) -> Result<Moved, RegistryError> {
        self.moved(model, alias, why, |mover| mover.promote(version))
    }

    /// Lets an alias name what it named before the newest promotion still in force; by what is served when this answers.
    pub fn roll_back(&self, model: &str, alias: &str, why: &Occasion) -> Result<Moved, RegistryError> {
        self.moved(model, alias, why, |mover| mover.roll_back())
    }

    fn moved(
        &self,
        model: &str,
        alias: &str,
        occasion: &Occasion,
        by: impl FnOnce(&Mover) -> Result<Moved, RegistryError>,
    ) -> Result<Moved, RegistryError> {
        let usable = |number| match self.snapshot().models.get(model).and_then(|model| model.find(number)) {
            Some(Found::Loaded(_)) => Ok(()),
            _ => Version::load_unmeasured(&*self.store, model, number, &self.owner).map(drop),
        };
        let moved = by(&Mover { store: &*self.store, model, alias, occasion, usable: &usable });
        // Of an error too: something may have been written. What cannot be read now is found by the next look.
        if let Err(error) = self.refresh() {
            tracing::warn!(%error, "what an alias names now is served after the next look at the store");
        }
        moved
    }

    /// A record of an alias; `None`: there is none of this number.
    pub fn alias_record(&self, model: &str, alias: &str, number: u32) -> Result<Option<Alias>, RegistryError> {
        read_alias(&*self.store, model, alias, number)
    }

    fn common(&self, model: &str, number: u32) -> Result<Option<Evaluation>, RegistryError> {
        let mut followed = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        followed.get_mut(model).map_or(Ok(None), |followed| followed.common.find(&*self.store, model, number))
    }

    /// `is_named`: an alias holds it, also where it has a tombstone.
    fn load_live(&self, model: &str, number: u32, is_named: bool) -> Result<Version, RegistryError> {
        self.check_live(model, number, is_named)?;
        let version = Version::load_unmeasured(&*self.store, model, number, &self.owner)?;
        Ok(version.of_stream(self.stream_names()))
    }

    /// None are known where the store has no schema; one that cannot be read is told where batches are read.
    fn stream_names(&self) -> Arc<StreamNames> {
        if let Some(names) = self.stream.get() {
            return Arc::clone(names);
        }
        match read_schema(&*self.store) {
            Ok(Some(schema)) => {
                let source = schema.columns.iter().map(|column| &column.name);
                let names = source.chain(schema.derived.iter().map(|column| &column.name)).cloned();
                // A name that the source has as well is not ours alone: its column goes by another name.
                let is_renamed = |name: &&str| schema.columns.iter().any(|column| column.key() == *name);
                let own = [PARTITION_COLUMN, OFFSET_COLUMN, TIME_COLUMN, "_batch"].into_iter();
                let own = own.filter(|name| !is_renamed(name)).map(str::to_owned);
                let renamed = schema.columns.iter().filter(|column| column.key() != column.name);
                let renamed = renamed.map(|column| (column.key().to_owned(), column.name.clone())).collect();
                let found = StreamNames { columns: names.chain(own).collect(), renamed };
                Arc::clone(self.stream.get_or_init(|| Arc::new(found)))
            }
            Ok(None) => Arc::default(),
            Err(error) => {
                tracing::warn!(%error, "requests must leave out the columns that a model does not use");
                Arc::default()
            }
        }
    }

    fn check_live(&self, model: &str, number: u32, is_named: bool) -> Result<(), RegistryError> {
        let tombstone = if is_named { None } else { read_tombstone(&*self.store, model, number)? };
        tombstone.map_or(Ok(()), |tombstone| Err(tombstone.into()))
    }

    fn say_broken(&self, model: &str, number: u32, error: &RegistryError) {
        let problem = format!("{model}@{number}: {}", error_chain(error));
        if !self.on_demand.is_new_problem(model, number, &problem) {
            return;
        }
        tracing::warn!(target: "millstream", kind = "problem", "not served: {problem}");
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        let served = Arc::make_mut(&mut served);
        if let Some(model) = served.models.get_mut(model) {
            model.broken.insert(number);
        }
        served.problems.push(problem);
    }

    /// All that are in memory.
    pub fn in_memory(&self) -> Vec<Arc<Version>> {
        let served = self.snapshot();
        let loaded = served.models.values().flat_map(|model| model.loaded.values().cloned());
        loaded.chain(self.on_demand.all()).collect()
    }

    /// Loads what is new. On an error, which only a store that is away can cause, the old state stays.
    pub fn refresh(&self) -> Result<(), RegistryError> {
        let mut followed = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut served = Served::default();
        for name in self.store.folders("models/")? {
            let model = match followed.get_mut(&name) {
                Some(model) => model,
                None => followed.entry(name.clone()).or_insert(self.follow(&name)?),
            };
            served.models.extend(self.refresh_model(&name, model, &mut served.problems)?.map(|model| (name, model)));
        }
        self.on_demand.forget_removed(|model, number| {
            let is_named = served.models.get(model).is_some_and(|model| model.names(number));
            Ok::<bool, StoreError>(!is_named && is_removed(&*self.store, model, number)?)
        })?;
        served.problems.extend(self.on_demand.all_problems());
        let old = self.snapshot();
        for problem in served.problems.iter().filter(|problem| !old.problems.contains(problem)) {
            tracing::warn!(target: "millstream", kind = "problem", "not served: {problem}");
        }
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(served);
        Ok(())
    }

    /// The numbers of a model that was not known. A folder without a `model.json` is a version that is being written, or was: it has
    /// the highest number.
    fn follow(&self, model: &str) -> Result<Followed, RegistryError> {
        let folders = self.store.folders(&format!("models/{model}/"))?;
        let mut found: BTreeSet<u32> = folders.iter().filter_map(|name| number_in(name)).collect();
        while let Some(newest) = found.last().copied() {
            if self.exists(model, newest)? {
                break;
            }
            found.remove(&newest);
        }
        let mut numbers = Numbers::default();
        found.into_iter().for_each(|number| numbers.push(number));
        let common = CommonRecords::open(&*self.store, model)?;
        Ok(Followed { numbers, removed_up_to: 0, loaded: BTreeMap::new(), common })
    }

    fn exists(&self, model: &str, number: u32) -> Result<bool, RegistryError> {
        let key = model_key(model, number);
        match self.store.read(&key) {
            // It may lead nowhere.
            Err(_) if self.store.is_link(&key) => Ok(true),
            Err(StoreError::Missing { .. }) => Ok(false),
            Err(error) if error.is_transient() => Err(error.into()),
            // One that is damaged is told when it is loaded.
            Ok(_) => Ok(true),
            // Whoever may not read is told nothing of what is there: the folder must be.
            Err(_) => {
                let folders = self.store.folders(&format!("models/{model}/"))?;
                Ok(folders.iter().any(|name| number_in(name) == Some(number)))
            }
        }
    }

    fn refresh_model(
        &self,
        name: &str,
        model: &mut Followed,
        problems: &mut Vec<String>,
    ) -> Result<Option<ServedModel>, RegistryError> {
        // Before the numbers: a version that comes and is promoted between the two looks is named by the next refresh, and not missed by this one.
        let named = read_aliases(&*self.store, name)?;
        while let Some(next) = model.numbers.newest().checked_add(1) {
            if !self.exists(name, next)? {
                break;
            }
            model.numbers.push(next);
        }
        let held: BTreeSet<u32> = named.values().flatten().map(Named::version).collect();
        if let Some(served) = self.as_it_was(name, model, &named, &held, problems) {
            return Ok(Some(served));
        }
        // Before they are taken: a store that is away for this look changes nothing.
        self.forget_removed(name, &mut model.loaded, &held, &mut model.removed_up_to)?;
        let new_common = model.common.look_for_new(&*self.store, name)?;
        let mut before = std::mem::take(&mut model.loaded);
        let mut broken = BTreeSet::new();
        let newest: Vec<u32> = model.numbers.descending().take(TRIED_MOST).collect();
        for number in newest {
            if model.loaded.len() == RECENT_MOST || number <= model.removed_up_to {
                break;
            }
            self.keep(name, number, model, (&mut before, held.contains(&number)), (&mut broken, problems));
        }
        let (mut aliases, mut readable) = (BTreeMap::new(), BTreeMap::new());
        for (alias, named) in named {
            let named = match named {
                Ok(named) => named,
                Err(error) => {
                    problems.push(format!("{name}@{alias}: {}", error_chain(&error)));
                    continue;
                }
            };
            let number = named.version();
            readable.insert(alias.clone(), named);
            if model.numbers.contains(number) && !model.loaded.contains_key(&number) && !broken.contains(&number) {
                self.keep(name, number, model, (&mut before, true), (&mut broken, problems));
            }
            if model.loaded.contains_key(&number) {
                aliases.insert(alias, number);
            } else {
                problems.push(format!("{name}@{alias}: it points to version {number}, which is not served"));
            }
        }
        for loaded in model.loaded.values_mut() {
            let number = loaded.version.file.version;
            match self.look_for_measures(name, loaded, &mut model.common, new_common) {
                Err(error) if error.remedy() != Remedy::Retry => {
                    problems.push(format!("{name}@{number}: {}", error_chain(&error)));
                }
                looked => looked?,
            }
        }
        self.look_for_decisions(name, &mut model.loaded)?;
        let loaded: BTreeMap<u32, Arc<Version>> =
            model.loaded.iter().map(|(number, loaded)| (*number, Arc::clone(&loaded.version))).collect();
        let Some(newest) = loaded.values().next_back() else { return Ok(None) };
        let algorithm = newest.file.algorithm.clone();
        broken.extend(self.on_demand.broken(name).into_iter().filter(|number| model.numbers.contains(*number)));
        let numbers = model.numbers.clone();
        Ok(Some(ServedModel { name: name.to_owned(), algorithm, numbers, broken, loaded, aliases, named: readable }))
    }

    /// Lets go of what was removed since. The oldest versions are removed first, and of those without an alias there stay, below the others, at
    /// most as many as aliased ones began with them.
    fn forget_removed(
        &self,
        name: &str,
        loaded: &mut BTreeMap<u32, LoadedVersion>,
        held: &BTreeSet<u32>,
        removed_up_to: &mut u32,
    ) -> Result<(), StoreError> {
        let mut n_stay = 0;
        let numbers: Vec<u32> = loaded.keys().filter(|number| !held.contains(number)).copied().collect();
        for number in numbers {
            if is_removed(&*self.store, name, number)? {
                loaded.remove(&number);
                *removed_up_to = number.max(*removed_up_to);
            } else if n_stay == held.len() {
                break;
            } else {
                n_stay += 1;
            }
        }
        Ok(())
    }

    /// Where the store fails to say what an alias names, or to bring what it came to name, its model stays as it was: the newest version, which
    /// answers where there is no champion, is one that nobody promoted. At the first look there is nothing to stay. `None`: nothing failed so.
    fn as_it_was(
        &self,
        name: &str,
        model: &mut Followed,
        named: &BTreeMap<String, Result<Named, RegistryError>>,
        held: &BTreeSet<u32>,
        problems: &mut Vec<String>,
    ) -> Option<ServedModel> {
        let was = self.snapshot().models.get(name)?.clone();
        let fails = |error: &RegistryError| matches!(error, RegistryError::Store(StoreError::Io { .. }));
        let unread = named.iter().find_map(|(alias, named)| Some((alias, named.as_ref().err().filter(|e| fails(e))?)));
        if let Some((alias, error)) = unread {
            problems.push(format!("{name}@{alias}: {}", error_chain(error)));
            return Some(was);
        }
        for &number in held {
            if model.loaded.contains_key(&number) || !model.numbers.contains(number) {
                continue;
            }
            match self.load_new(name, number, &mut model.common, true) {
                Ok(loaded) => drop(model.loaded.insert(number, loaded)),
                Err(error) if fails(&error) => {
                    problems.push(format!("{name}@{number}: {}", error_chain(&error)));
                    return Some(was);
                }
                // `keep` says it.
                Err(_) => {}
            }
        }
        None
    }

    fn load_new(
        &self,
        name: &str,
        number: u32,
        common: &mut CommonRecords,
        is_named: bool,
    ) -> Result<LoadedVersion, RegistryError> {
        let version = self.load_live(name, number, is_named)?;
        let evaluations = read_evaluations(&*self.store, name, number)?;
        let found = common.find(&*self.store, name, number)?;
        let version = version.measured(evaluations.clone(), found);
        let version = version.decided(shown_decision(&*self.store, name, number)?);
        Ok(LoadedVersion { version: Arc::new(version), evaluations })
    }

    /// Goes on with a version that is loaded, or loads it.
    fn keep(
        &self,
        name: &str,
        number: u32,
        model: &mut Followed,
        (before, is_named): (&mut BTreeMap<u32, LoadedVersion>, bool),
        (broken, problems): (&mut BTreeSet<u32>, &mut Vec<String>),
    ) {
        let loaded = match before.remove(&number) {
            Some(loaded) => Ok(loaded),
            None => self.load_new(name, number, &mut model.common, is_named),
        };
        match loaded {
            Ok(loaded) => drop(model.loaded.insert(number, loaded)),
            Err(RegistryError::Removed { .. }) => model.removed_up_to = number.max(model.removed_up_to),
            Err(error) => {
                problems.push(format!("{name}@{number}: {}", error_chain(&error)));
                broken.insert(number);
            }
        }
    }

    /// What `promote` has decided since: of any version that is loaded and was not decided, since an older one may come after a newer one, or have
    /// been unreadable while that was found.
    fn look_for_decisions(&self, name: &str, loaded: &mut BTreeMap<u32, LoadedVersion>) -> Result<(), RegistryError> {
        let mut is_decided = loaded.values().any(|loaded| loaded.version.decision.is_some());
        let mut n_open = 0;
        let open = loaded.iter_mut().rev().filter(|(_, loaded)| loaded.version.decision.is_none());
        for (number, loaded) in open.take(RECENT_MOST) {
            match read_decision(&*self.store, name, *number) {
                Ok(Some(decision)) => {
                    is_decided = true;
                    Arc::make_mut(&mut loaded.version).decision = Some(Arc::new(decision));
                }
                Err(error) if error.remedy() == Remedy::Retry => return Err(error),
                // A damaged one was told when the version was loaded.
                Ok(None) | Err(_) => n_open += 1,
            }
            if n_open >= OPEN_LOOKED_AT && !is_decided {
                break;
            }
        }
        Ok(())
    }

    /// The evaluations that came since, and the newest measure on `common`.
    fn look_for_measures(
        &self,
        name: &str,
        loaded: &mut LoadedVersion,
        common: &mut CommonRecords,
        mut is_new: bool,
    ) -> Result<(), RegistryError> {
        let number = loaded.version.file.version;
        while loaded.lacks_measures() {
            let next = u32::try_from(loaded.evaluations.len()).unwrap_or(u32::MAX).saturating_add(1);
            let Some(evaluation) = read_evaluation(&*self.store, name, number, next)? else { break };
            loaded.evaluations.push(evaluation);
            is_new = true;
        }
        if is_new {
            let found = common.find(&*self.store, name, number)?;
            loaded.version = Arc::new(loaded.version.measured(loaded.evaluations.clone(), found));
        }
        Ok(())
    }
}
