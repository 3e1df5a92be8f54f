//! What `train.keep` and `train.every` ask of a trainer: old versions go, and trainings wait for the clock.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_base::error_chain;
use millstream_base::status::EventKind;
use serde_json::json;

use super::clock;
use super::known::Known;
use super::trainer::Trainer;
use crate::registry::{RegistryError, Sweeper, Swept};

#[derive(Default)]
pub(super) struct Keeping {
    sweeper: Option<Sweeper>,
    /// Why a model could not be swept, until it could.
    problems: BTreeMap<String, Option<String>>,
}

impl Trainer {
    /// Removes the versions that `train.keep` lets go. What cannot be removed now is tried again by the next sweep.
    pub(super) fn sweep(&self, known: &mut Known) {
        let Some(keep) = self.settings.keep else { return };
        for model in &self.models {
            let Known { models, keeping, .. } = known;
            let of_model = models.entry(model.name.clone()).or_default();
            let sweeper = keeping.sweeper.get_or_insert_with(|| Sweeper::new(keep));
            let swept = sweeper.sweep(&*self.store, &model.name, of_model.newest());
            let why =
                |error: &RegistryError| format!("{}: old versions are not removed: {}", model.name, error_chain(error));
            let told = keeping.problems.entry(model.name.clone()).or_default();
            self.status.tell(told, swept.as_ref().err().map(why));
            let Swept { removed: tombstones, problems } = swept.unwrap_or_default();
            for tombstone in tombstones {
                of_model.forget(tombstone.version);
                let message = format!("{}@{} removed: {}", model.name, tombstone.version, tombstone.reason);
                self.status.event(EventKind::VersionRemoved, message, json!(tombstone));
            }
            for problem in problems {
                self.status.problem(format!("{}: a version is not removed: {}", model.name, error_chain(&problem)));
            }
        }
    }

    /// Until trainings may begin: `train.every` after the newest one began, in whichever process; at once at a start where a model has no
    /// version.
    pub(super) fn wait(&self, known: &Known, now_ms: u64) -> Duration {
        let Some(every) = self.settings.every else { return Duration::ZERO };
        let of_models = || self.models.iter().map(|model| known.models.get(&model.name)?.begun_ms);
        if known.begun_ms.is_none() && of_models().any(|begun_ms| begun_ms.is_none()) {
            return Duration::ZERO;
        }
        clock::wait(every, of_models().flatten().chain(known.begun_ms), now_ms)
    }
}
