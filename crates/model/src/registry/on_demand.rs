//! Versions that were loaded because somebody asked for them: as many as a bound lets stay, the latest asked for last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Version;

/// Together they hold at most so many versions, …
const VERSIONS_MOST: usize = 64;
/// … and so many bytes of arrays; the last one stays whatever it has.
const ARRAYS_BYTES_MOST: u64 = 256 << 20;

/// Of all models.
const PROBLEMS_MOST: usize = 50;

#[derive(Default)]
pub(super) struct OnDemand {
    /// The latest asked for is the last.
    kept: Mutex<Vec<Arc<Version>>>,
    /// How often one of them was looked at.
    looked: Mutex<usize>,
    /// Why a version could not be loaded when it was last asked for.
    problems: Mutex<BTreeMap<(String, u32), String>>,
}

impl OnDemand {
    pub fn get(&self, model: &str, number: u32) -> Option<Arc<Version>> {
        let mut kept = self.kept();
        let place = kept.iter().position(|version| version.file.model == model && version.file.version == number)?;
        let version = kept.remove(place);
        kept.push(Arc::clone(&version));
        Some(version)
    }

    pub fn keep(&self, version: &Arc<Version>) {
        let file = &version.file;
        self.problems().remove(&(file.model.clone(), file.version));
        let mut kept = self.kept();
        kept.retain(|other| (&other.file.model, other.file.version) != (&file.model, file.version));
        kept.push(Arc::clone(version));
        let bytes = |kept: &[Arc<Version>]| kept.iter().map(|version| version.arrays_bytes()).sum::<u64>();
        while kept.len() > VERSIONS_MOST || (kept.len() > 1 && bytes(&kept) > ARRAYS_BYTES_MOST) {
            kept.remove(0);
        }
    }

    /// Lets one version go if it was removed, each time the one that was looked at longest ago: few are kept, and requests bring them.
    pub fn forget_removed<E>(&self, is_removed: impl FnOnce(&str, u32) -> Result<bool, E>) -> Result<(), E> {
        let next = {
            let kept = self.kept();
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            *looked += 1;
            kept.get(*looked % kept.len().max(1)).map(|version| (version.file.model.clone(), version.file.version))
        };
        let Some((model, number)) = next else { return Ok(()) };
        if is_removed(&model, number)? {
            self.kept().retain(|version| (&version.file.model, version.file.version) != (&model, number));
        }
        Ok(())
    }

    pub fn all(&self) -> Vec<Arc<Version>> {
        self.kept().clone()
    }

    /// Remembers it.
    pub fn is_new_problem(&self, model: &str, number: u32, problem: &str) -> bool {
        let mut problems = self.problems();
        let before = problems.insert((model.to_owned(), number), problem.to_owned());
        if problems.len() > PROBLEMS_MOST {
            problems.pop_first();
        }
        before.as_deref() != Some(problem)
    }

    pub fn broken(&self, model: &str) -> Vec<u32> {
        self.problems().keys().filter(|(name, _)| name == model).map(|(_, number)| *number).collect()
    }

    pub fn all_problems(&self) -> Vec<String> {
        self.problems().values().cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Arc<Version>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn problems(&self) -> MutexGuard<'_, BTreeMap<(String, u32), String>> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
