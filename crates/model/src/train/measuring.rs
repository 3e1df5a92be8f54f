//! Which measures are due, taking them in as few passes over the data as there are, and keeping what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millstream_base::error_chain;
use millstream_base::status::EventKind;
use serde_json::json;

use super::TrainError;
use super::evaluate::{Measured, Rows, evaluate};
use super::known::{Known, Unmeasured};
use super::trainer::{Trainer, new_attempt, select};
use crate::registry::{
    BatchRange, CommonRecord, Evaluation, EvaluationKind, FORMAT, RegistryError, Remedy, Scores, Version,
    publish_common, publish_evaluation, read_aliases,
};
use millstream_base::status::now_ms;
use millstream_stream::batch::Batch;

/// Up to here each batch is a tenth more; and a version that comes late is measured at once.
const COMMON_EVERY_BATCH: u32 = 10;

/// A measure that is to be taken.
#[derive(Debug)]
pub(super) struct Due {
    model: String,
    version: u32,
    kind: EvaluationKind,
}

/// A version that is loaded to be measured, and the batches it is measured on.
struct Ready<'a> {
    due: &'a Due,
    version: Arc<Version>,
    batches: Vec<u32>,
}

impl Trainer {
    /// The held-out records of its own batches, for every version that lacks the measure.
    pub(super) fn holdout_due(&self, known: &Known) -> Vec<Due> {
        self.due(known, EvaluationKind::Holdout, |unmeasured| unmeasured.holdout)
    }

    /// All records of batch `next`, for the versions whose newest batch is the one before.
    pub(super) fn next_batch_due(&self, known: &Known, next: u32) -> Vec<Due> {
        let is_due = |unmeasured: &Unmeasured| unmeasured.next_batch && unmeasured.newest_batch + 1 == next;
        self.due(known, EvaluationKind::NextBatch, is_due)
    }

    fn due(&self, known: &Known, kind: EvaluationKind, is_due: impl Fn(&Unmeasured) -> bool) -> Vec<Due> {
        let mut due = Vec::new();
        for model in &self.models {
            let unmeasured = known.models.get(&model.name).into_iter().flat_map(|known| &known.unmeasured);
            let versions = unmeasured.filter(|(_, unmeasured)| is_due(unmeasured));
            due.extend(versions.map(|(&version, _)| Due { model: model.name.clone(), version, kind }));
        }
        due
    }

    /// The held-out records of all batches, for the newest versions and those with an alias.
    pub(super) fn common_due(&self, known: &mut Known, complete: u32) -> Result<Vec<Due>, RegistryError> {
        known.common_looked = complete;
        let mut due = Vec::new();
        for model in self.models.iter().filter(|_| complete > 0) {
            let known = known.models.entry(model.name.clone()).or_default();
            let aliased =
                read_aliases(&*self.store, &model.name)?.into_values().flatten().map(|named| named.record.version);
            let mut versions: BTreeSet<u32> = known.recent().chain(aliased).collect();
            // One that cannot be loaded is said when it is to be measured.
            versions.retain(|&number| match known.load(&*self.store, &model.name, number, &self.owner) {
                Ok(version) => version.file.holdout.share > 0.0,
                Err(error) => !matches!(error, RegistryError::Removed { .. }),
            });
            if known.common.batches != complete || known.common.versions != versions {
                let one = |version| Due { model: model.name.clone(), version, kind: EvaluationKind::Common };
                due.extend(versions.into_iter().map(one));
            }
        }
        Ok(due)
    }

    /// All in one pass over the data. A measure that fails is said and left out; the version stays.
    pub(super) fn measure(&self, known: &mut Known, due: &[Due], batches: &[Batch], rows: Rows) {
        let mut ready = Vec::with_capacity(due.len());
        for one in due {
            let of_model = known.models.entry(one.model.clone()).or_default();
            match of_model.load(&*self.store, &one.model, one.version, &self.owner) {
                Ok(version) => {
                    let on = match one.kind {
                        EvaluationKind::Holdout => version.file.batches.iter().map(|batch| batch.batch).collect(),
                        EvaluationKind::Common => batches.iter().map(Batch::number).collect(),
                        EvaluationKind::NextBatch => vec![version.newest_batch() + 1],
                    };
                    ready.push(Ready { due: one, version, batches: on });
                }
                Err(RegistryError::Removed { .. }) => of_model.forget(one.version),
                Err(error) => self.not_measured(known, one, &error.into()),
            }
        }
        let scores = self.scores(&ready, batches, rows);
        let mut common: BTreeMap<&str, BTreeMap<u32, Scores>> = BTreeMap::new();
        for (ready, scores) in ready.iter().zip(scores) {
            match (scores, ready.due.kind) {
                (Ok(scores), EvaluationKind::Common) => {
                    common.entry(&ready.due.model).or_default().insert(ready.due.version, scores);
                }
                (Ok(scores), EvaluationKind::Holdout | EvaluationKind::NextBatch) => {
                    self.keep_scores(known, ready, scores);
                }
                (Err(error), _) => self.not_measured(known, ready.due, &error),
            }
        }
        for (model, versions) in common {
            self.keep_common(known, model, versions, batches);
        }
    }

    /// One version that cannot be measured does not take the others' measures.
    fn scores(&self, ready: &[Ready], batches: &[Batch], rows: Rows) -> Vec<Result<Scores, TrainError>> {
        if ready.is_empty() {
            return Vec::new();
        }
        let own = ready.iter().flat_map(|one| one.version.file.batches.iter().map(|batch| batch.batch));
        let read: BTreeSet<u32> = ready.iter().flat_map(|one| one.batches.iter().copied()).chain(own).collect();
        let read = select(batches, read);
        let measured: Vec<Measured> =
            ready.iter().map(|one| Measured { version: &one.version, batches: &one.batches }).collect();
        match (evaluate(&*self.store, &self.schema, &measured, &read, rows), ready) {
            (Ok(scores), _) => scores.into_iter().map(Ok).collect(),
            (Err(error), [_]) => vec![Err(error)],
            (Err(_), several) => several.chunks(1).flat_map(|one| self.scores(one, batches, rows)).collect(),
        }
    }

    fn not_measured(&self, known: &mut Known, due: &Due, error: &TrainError) {
        self.problem(&format!("{}@{} cannot be measured: {}", due.model, due.version, error_chain(error)));
        // Only what may pass by itself is tried again.
        if error.remedy() != Remedy::Retry {
            known.models.entry(due.model.clone()).or_default().measured(due.version, due.kind, None);
        }
    }

    fn keep_scores(&self, known: &mut Known, ready: &Ready, scores: Scores) {
        let Due { model, version, kind } = ready.due;
        let of_model = known.models.entry(model.clone()).or_default();
        let (attempt, batches) = (new_attempt(), ready.batches.clone());
        let evaluation =
            Evaluation { format: FORMAT, attempt, kind: *kind, batches, scores, evaluated_at_ms: now_ms() };
        let after = of_model.unmeasured.get(version).map_or(0, |unmeasured| unmeasured.evaluations);
        match publish_evaluation(&*self.store, model, *version, &evaluation, after) {
            Ok(number) => {
                of_model.measured(*version, *kind, Some(number));
                self.say_measured(model, *version, &evaluation);
            }
            Err(error) => {
                self.problem(&format!("{model}@{version}: a measure was not stored: {}", error_chain(&error)))
            }
        }
    }

    fn keep_common(&self, known: &mut Known, model: &str, versions: BTreeMap<u32, Scores>, batches: &[Batch]) {
        let batches = BatchRange { first: 1, last: batches.last().map_or(1, Batch::number) };
        let record =
            CommonRecord { format: FORMAT, attempt: new_attempt(), batches, versions, evaluated_at_ms: now_ms() };
        let of_model = known.models.entry(model.to_owned()).or_default();
        match publish_common(&*self.store, model, &record, of_model.common.number) {
            Ok(number) => {
                of_model.common.add(number, &record);
                for &version in record.versions.keys() {
                    record.evaluation(version).iter().for_each(|one| self.say_measured(model, version, one));
                }
            }
            Err(error) => self.problem(&format!("{model}: a measure was not stored: {}", error_chain(&error))),
        }
    }

    fn say_measured(&self, model: &str, version: u32, evaluation: &Evaluation) {
        let data = json!({ "model": model, "version": version, "evaluation": evaluation });
        let message = format!("{model}@{version} measured: {}", word(evaluation.kind));
        self.status.event(EventKind::VersionMeasured, message, data);
    }
}

/// When a tenth more batches are there, for each time reads the held-out records of all of them.
pub(super) fn common_is_due(known: &Known, complete: u32) -> bool {
    let last = known.models.values().map(|model| model.common.batches).max().unwrap_or(0).max(known.common_looked);
    complete <= COMMON_EVERY_BATCH || complete > last && u64::from(complete) * 10 >= u64::from(last) * 11
}

fn word(kind: EvaluationKind) -> &'static str {
    match kind {
        EvaluationKind::Holdout => "holdout",
        EvaluationKind::Common => "common",
        EvaluationKind::NextBatch => "next batch",
    }
}
