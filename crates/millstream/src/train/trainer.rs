//! The training stage: trains every due version that is not in the registry yet, one after the other (learning uses all
//! cores by itself), and measures them. What there is to do follows from the store alone, so a restart goes on where a
//! crash left off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millstream_base::error_chain;
use millstream_store::SharedStore;
use serde_json::{Value, json};
use uuid::Uuid;

use super::evaluate::{Measured, Rows, evaluate};
use super::fit::{Trained, train};
use super::identity::{configuration_digest, identity};
use super::keeping::Keeping;
use super::recipe::Recipe;
use super::{TrainError, plan};
use crate::config::Pipeline;
use crate::model::{Columns, Missing, Model, TrainOn};
use crate::registry::{
    Draft, Evaluation, EvaluationKind, FORMAT, ModelFile, OwnerTexts, Published, RegistryError, Remedy, Scores,
    TrainedBatch, Version, arrays_to_bytes, publish, publish_evaluation, read_evaluations, read_model_file,
    version_numbers,
};
use millstream_base::status::{Status, Training, now_ms};
use millstream_stream::batch::Batch;
use millstream_stream::schema::StreamSchema;

/// `common` is measured again with every batch up to here; later, when a tenth more batches are there, for each time
/// reads the held-out records of all of them and leaves a record per version.
const COMMON_EVERY_BATCH: usize = 10;

/// What one call did, by model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrainReport {
    /// Model and version.
    pub trained: Vec<(String, u32)>,
    /// Model and reason. A training that only another configuration can mend is tried, and reported, once.
    pub failed: Vec<(String, String)>,
    /// What is due begins in so long, on the clock of `train.every`.
    pub waits: Option<Duration>,
}

pub struct Trainer {
    pub(super) store: SharedStore,
    pub(super) pipeline: Arc<Pipeline>,
    owner: OwnerTexts,
    schema: StreamSchema,
    pub(super) status: Arc<Status>,
    known: Mutex<Known>,
}

/// What was read or decided before; the store is the truth.
#[derive(Default)]
pub(super) struct Known {
    pub versions: BTreeMap<String, BTreeMap<u32, Version>>,
    /// Identities of versions that were removed.
    pub removed: BTreeSet<String>,
    /// When this process last began to train.
    pub begun_ms: Option<u64>,
    pub keeping: Keeping,
    /// Stored versions that could not be loaded, so that each is said once.
    broken: BTreeSet<(String, u32)>,
    /// Identities whose training failed for good.
    failed: BTreeSet<String>,
}

/// When a pass trains.
#[derive(Clone, Copy)]
struct Turn<'a> {
    stop: &'a AtomicBool,
    now_ms: u64,
    /// Until the clock lets trainings begin.
    wait: Duration,
}

/// A measure that is to be taken.
#[derive(Debug)]
struct Due {
    model: String,
    version: u32,
    kind: EvaluationKind,
    batches: Vec<u32>,
}

impl Trainer {
    pub fn new(store: SharedStore, pipeline: Arc<Pipeline>, schema: StreamSchema, status: Arc<Status>) -> Self {
        let owner = OwnerTexts::of(&pipeline.models);
        Self { store, pipeline, owner, schema, status, known: Mutex::default() }
    }

    /// Trains and measures all that is due. `batches`: complete, from 1. `stop` is looked at between trainings, and while a
    /// recommender trains: what is stopped publishes nothing. One failed training never stops the others; an error is the registry's, which fails them all.
    pub fn train_due(&self, batches: &[Batch], stop: &AtomicBool) -> Result<TrainReport, RegistryError> {
        self.train_due_at(batches, stop, now_ms())
    }

    /// At this time of `train.every`.
    pub(super) fn train_due_at(
        &self,
        batches: &[Batch],
        stop: &AtomicBool,
        now_ms: u64,
    ) -> Result<TrainReport, RegistryError> {
        let mut known = self.known();
        self.refresh(&mut known)?;
        let turn = Turn { stop, now_ms, wait: self.wait(&known, now_ms) };
        Ok(self.pass(&mut known, whole_run(batches), turn))
    }

    fn pass(&self, known: &mut Known, batches: &[Batch], turn: Turn) -> TrainReport {
        let stop = turn.stop;
        let mut report = TrainReport::default();
        // They are numbered from 1 on, without a gap.
        let complete = batches.last().map_or(0, Batch::number);
        for newest in 1..=complete {
            if stop.load(Ordering::Relaxed) {
                return report;
            }
            // Scored before anything trains on it.
            let next = self.next_batch_due(known, newest);
            self.measure(known, &next, batches, Rows::All);
            let trained = report.trained.len();
            for model in &self.pipeline.models {
                let due = plan::due(&model.train_on, complete);
                for chosen in due.iter().filter(|chosen| chosen.last() == Some(&newest)) {
                    if stop.load(Ordering::Relaxed) {
                        return report;
                    }
                    if self.pipeline.train.when_behind.passes_over(&model.train_on, newest, complete) {
                        continue;
                    }
                    self.train_one(known, model, chosen, (batches, turn), &mut report);
                }
            }
            // With the last batch comes the pass over all of them.
            if newest < complete {
                let due = self.holdout_due(known);
                self.measure(known, &due, batches, Rows::HeldOut);
                if report.trained.len() > trained {
                    self.sweep(known);
                }
            }
        }
        if !stop.load(Ordering::Relaxed) {
            let mut due = self.holdout_due(known);
            if self.common_grew(known, batches) {
                due.extend(self.common_due(known, batches));
            }
            self.measure(known, &due, batches, Rows::HeldOut);
            self.sweep(known);
        }
        report
    }

    /// When the last batch has come: trains what waits for the clock, and measures `common` on all batches, whenever it was measured last.
    pub fn finish(&self, batches: &[Batch], stop: &AtomicBool) -> Result<TrainReport, RegistryError> {
        let mut known = self.known();
        let batches = whole_run(batches);
        self.refresh(&mut known)?;
        let report = self.pass(&mut known, batches, Turn { stop, now_ms: now_ms(), wait: Duration::ZERO });
        let due = self.common_due(&known, batches);
        self.measure(&mut known, &due, batches, Rows::HeldOut);
        Ok(report)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads the versions of the pipeline's models that others wrote, or an earlier process.
    fn refresh(&self, known: &mut Known) -> Result<(), RegistryError> {
        for model in &self.pipeline.models {
            for number in version_numbers(&*self.store, &model.name)? {
                let place = (model.name.clone(), number);
                let versions = known.versions.entry(model.name.clone()).or_default();
                if versions.contains_key(&number) || known.broken.contains(&place) {
                    continue;
                }
                match Version::load(&*self.store, &model.name, number, &self.owner) {
                    Ok(version) => {
                        versions.insert(number, version);
                    }
                    Err(RegistryError::Removed { .. }) => {
                        known.removed.insert(read_model_file(&*self.store, &model.name, number)?.identity);
                        known.broken.insert(place);
                    }
                    Err(error) => {
                        if error.remedy() != Remedy::Retry {
                            known.broken.insert(place);
                        }
                        self.problem(&format!("{}@{number} cannot be loaded: {}", model.name, error_chain(&error)));
                    }
                }
            }
        }
        Ok(())
    }

    fn train_one(
        &self,
        known: &mut Known,
        model: &Model,
        chosen: &[u32],
        (batches, turn): (&[Batch], Turn),
        report: &mut TrainReport,
    ) {
        let recipe = Recipe::from_config(model, self.pipeline.train.holdout, self.schema.schema);
        let chosen = select(batches, chosen);
        let trained_on: Vec<TrainedBatch> =
            chosen.iter().map(|batch| TrainedBatch { batch: batch.number(), digest: batch.digest() }).collect();
        let configuration = configuration_digest(&recipe);
        let identity = identity(&model.name, &configuration, &trained_on);
        let versions = known.versions.get(&model.name);
        let exists =
            versions.is_some_and(|versions| versions.values().any(|version| version.file.identity == identity));
        if exists || known.removed.contains(&identity) || known.failed.contains(&identity) {
            return;
        }
        if !turn.wait.is_zero() {
            report.waits = Some(turn.wait);
            return;
        }
        known.begun_ms = Some(turn.now_ms);
        let numbers: Vec<u32> = trained_on.iter().map(|batch| batch.batch).collect();
        let started_ms = now_ms();
        let training = Training { model: model.name.clone(), batches: numbers.clone(), started_ms };
        self.status.update(|snapshot| snapshot.training.push(training));
        let parent = versions
            .filter(|_| model.train_on == TrainOn::Cumulative)
            .and_then(|versions| parent(versions, &configuration, &trained_on));
        let identities = (trained_on, configuration, identity.clone());
        let version = self.train_version(model, &recipe, &chosen, (parent, turn.stop), identities);
        let is_this = |training: &Training| training.model == model.name && training.batches == numbers;
        self.status.update(|snapshot| snapshot.training.retain(|training| !is_this(training)));
        match version {
            Ok(version) => {
                self.say_trained(&version);
                report.trained.push((model.name.clone(), version.file.version));
                let versions = known.versions.entry(model.name.clone()).or_default();
                versions.insert(version.file.version, version);
            }
            // What is due is found again after the next start.
            Err(TrainError::Stopped) => {}
            // Another trainer was faster, and so many times that this one is old already.
            Err(TrainError::Registry(RegistryError::Removed { .. })) => {
                known.removed.insert(identity);
            }
            Err(error) => {
                if error.remedy() != Remedy::Retry {
                    known.failed.insert(identity);
                }
                let reason = error_chain(&error);
                let message = format!("{} on {}: {reason}", model.name, span(&numbers));
                self.status.event(
                    "training_failed",
                    message,
                    json!({ "model": model.name, "batches": numbers, "error": reason }),
                );
                report.failed.push((model.name.clone(), format!("on {}: {reason}", span(&numbers))));
            }
        }
    }

    fn train_version(
        &self,
        model: &Model,
        recipe: &Recipe,
        batches: &[Batch],
        (parent, stop): (Option<&Version>, &AtomicBool),
        (trained_on, configuration_digest, identity): (Vec<TrainedBatch>, String, String),
    ) -> Result<Version, TrainError> {
        let started = Instant::now();
        let Trained { arrays, features, inputs, task, target_summary, counts, notes } =
            train(&*self.store, recipe, &self.schema, batches, parent, &|| stop.load(Ordering::Relaxed))?;
        let (target, missing, output, baseline) = match &recipe.columns {
            Columns::Supervised(columns) => {
                (columns.target.as_str(), columns.missing, columns.output.clone(), columns.baseline.clone())
            }
            // Every row is a 1 where none says more.
            Columns::Ratings(columns) => (columns.rating.as_deref().unwrap_or("1"), Missing::Drop, None, None),
            Columns::Clusters(columns) => ("", columns.missing, None, None),
            Columns::Neighbours(_) => ("", Missing::Skip, None, None),
            Columns::Content(_) | Columns::Popularity(_) => ("", Missing::Drop, None, None),
        };
        let file = ModelFile {
            format: FORMAT,
            model: model.name.clone(),
            version: 0,
            attempt: Uuid::new_v4().simple().to_string(),
            algorithm: recipe.algorithm.name().to_owned(),
            identity,
            configuration_digest,
            task,
            target_summary,
            inputs,
            features,
            target: target.to_owned(),
            filter: recipe.filter.clone(),
            train_on: train_on_json(&model.train_on),
            output,
            baseline,
            missing,
            parameters: recipe.parameters(),
            batches: trained_on,
            rows: counts.fitted,
            dropped_missing: counts.missing,
            holdout: recipe.holdout,
            seed: recipe.seed,
            file: String::new(),
            file_digest: String::new(),
            schema: recipe.schema,
            trained_at_ms: now_ms(),
            training_seconds: started.elapsed().as_secs_f64(),
            notes,
        };
        let arrays = arrays_to_bytes(&arrays)?;
        let (Published::Mine(number) | Published::Already(number)) = publish(&*self.store, &Draft { file, arrays })?;
        Ok(Version::load(&*self.store, &model.name, number, &self.owner)?)
    }

    fn say_trained(&self, version: &Version) {
        let file = &version.file;
        let batches: Vec<u32> = file.batches.iter().map(|batch| batch.batch).collect();
        let message = format!(
            "{}@{} trained on {}: {} rows in {:.2} s",
            file.model,
            file.version,
            span(&batches),
            file.rows,
            file.training_seconds
        );
        let data = json!({
            "model": file.model,
            "version": file.version,
            "batches": batches,
            "rows": file.rows,
            "seconds": file.training_seconds,
        });
        self.status.event("version_trained", message, data);
    }

    /// The held-out records of its own batches, for every version that lacks the measure.
    fn holdout_due(&self, known: &Known) -> Vec<Due> {
        let kind = EvaluationKind::Holdout;
        self.due(known, kind, |version| {
            let own = version.file.batches.iter().map(|batch| batch.batch).collect();
            (version.file.holdout.share > 0.0 && version.evaluation(kind).is_none()).then_some(own)
        })
    }

    /// All records of batch `next`, for the versions whose newest batch is the one before.
    fn next_batch_due(&self, known: &Known, next: u32) -> Vec<Due> {
        let kind = EvaluationKind::NextBatch;
        self.due(known, kind, |version| {
            (version.newest_batch() + 1 == next && version.evaluation(kind).is_none()).then(|| vec![next])
        })
    }

    /// The held-out records of all batches, for every version.
    fn common_due(&self, known: &Known, batches: &[Batch]) -> Vec<Due> {
        let all: Vec<u32> = batches.iter().map(Batch::number).collect();
        let kind = EvaluationKind::Common;
        self.due(known, kind, |version| {
            let measured = version.evaluation(kind).is_some_and(|evaluation| evaluation.batches == all);
            (version.file.holdout.share > 0.0 && !measured).then(|| all.clone())
        })
    }

    fn due(&self, known: &Known, kind: EvaluationKind, batches: impl Fn(&Version) -> Option<Vec<u32>>) -> Vec<Due> {
        let mut due = Vec::new();
        for model in &self.pipeline.models {
            for (&version, loaded) in known.versions.get(&model.name).into_iter().flatten() {
                if let Some(batches) = batches(loaded) {
                    due.push(Due { model: model.name.clone(), version, kind, batches });
                }
            }
        }
        due
    }

    fn common_grew(&self, known: &Known, batches: &[Batch]) -> bool {
        let measured = |version: &Version| {
            version.evaluation(EvaluationKind::Common).map_or(0, |evaluation| evaluation.batches.len())
        };
        let last = known.versions.values().flat_map(BTreeMap::values).map(measured).max().unwrap_or(0);
        batches.len() <= COMMON_EVERY_BATCH || batches.len() * 10 >= last * 11
    }

    /// All in one pass over the data. A measure that fails is said and left out; the version stays.
    fn measure(&self, known: &mut Known, due: &[Due], batches: &[Batch], rows: Rows) {
        let find = |due: &Due| known.versions.get(&due.model).and_then(|versions| versions.get(&due.version));
        let measured = due.iter().filter_map(|due| Some(Measured { version: find(due)?, batches: &due.batches }));
        let measured: Vec<Measured> = measured.collect();
        if measured.is_empty() {
            return;
        }
        match evaluate(&*self.store, &self.schema, &measured, batches, rows) {
            Ok(scores) => due.iter().zip(scores).for_each(|(due, scores)| self.keep_scores(known, due, scores)),
            Err(error) => match due {
                [one] => {
                    self.problem(&format!("{}@{} cannot be measured: {}", one.model, one.version, error_chain(&error)))
                }
                // One version that cannot be measured does not take the others' measures.
                several => several.iter().for_each(|one| self.measure(known, std::slice::from_ref(one), batches, rows)),
            },
        }
    }

    fn keep_scores(&self, known: &mut Known, due: &Due, scores: Scores) {
        let Due { model, version, kind, batches } = due;
        let (attempt, batches) = (Uuid::new_v4().simple().to_string(), batches.clone());
        let evaluation =
            Evaluation { format: FORMAT, attempt, kind: *kind, batches, scores, evaluated_at_ms: now_ms() };
        let stored = publish_evaluation(&*self.store, model, *version, &evaluation)
            .and_then(|()| read_evaluations(&*self.store, model, *version));
        match stored {
            Ok(evaluations) => {
                let known = known.versions.get_mut(model).and_then(|versions| versions.get_mut(version));
                known.into_iter().for_each(|version| version.evaluations.clone_from(&evaluations));
                let data = json!({ "model": model, "version": version, "evaluation": evaluation });
                self.status.event("version_measured", format!("{model}@{version} measured: {}", word(*kind)), data);
            }
            Err(error) => {
                self.problem(&format!("{model}@{version}: a measure was not stored: {}", error_chain(&error)))
            }
        }
    }

    fn problem(&self, message: &str) {
        const PROBLEMS_KEPT: usize = 50;
        self.status.update(|snapshot| {
            snapshot.problems.push(message.to_owned());
            let over = snapshot.problems.len().saturating_sub(PROBLEMS_KEPT);
            snapshot.problems.drain(..over);
        });
        self.status.event("problem", message, Value::Null);
    }
}

/// The version of the same configuration on all of these batches but the last: what the warm start of a cumulative model begins
/// with.
fn parent<'a>(
    versions: &'a BTreeMap<u32, Version>,
    configuration: &str,
    trained_on: &[TrainedBatch],
) -> Option<&'a Version> {
    let (_, before) = trained_on.split_last().filter(|(_, before)| !before.is_empty())?;
    let same =
        |version: &&Version| version.file.configuration_digest == configuration && version.file.batches == before;
    versions.values().find(same)
}

/// The batches from 1 on without a gap.
fn whole_run(batches: &[Batch]) -> &[Batch] {
    let whole = batches.iter().zip(1..).take_while(|(batch, number)| batch.number() == *number).count();
    &batches[..whole]
}

fn select(batches: &[Batch], numbers: &[u32]) -> Vec<Batch> {
    batches.iter().filter(|batch| numbers.contains(&batch.number())).cloned().collect()
}

/// As in the pipeline file.
fn train_on_json(train_on: &TrainOn) -> Value {
    match train_on {
        TrainOn::Each => json!("each"),
        TrainOn::Cumulative => json!("cumulative"),
        TrainOn::Last(count) => json!({ "last": count }),
        TrainOn::Batches(batches) => json!({ "batches": batches }),
    }
}

fn word(kind: EvaluationKind) -> &'static str {
    match kind {
        EvaluationKind::Holdout => "holdout",
        EvaluationKind::Common => "common",
        EvaluationKind::NextBatch => "next batch",
    }
}

/// `batch 3`, `batches 1 to 3`, `batches 1, 3`.
fn span(batches: &[u32]) -> String {
    match batches {
        [one] => format!("batch {one}"),
        [first, .., last] if (last - first) as usize + 1 == batches.len() => format!("batches {first} to {last}"),
        several => format!("batches {}", several.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")),
    }
}
