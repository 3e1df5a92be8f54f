//! The training stage: trains every due version that is not in the registry yet, one after the other (learning uses all
//! cores by itself), and measures them. What there is to do follows from the store alone, so a restart goes on where a
//! crash left off.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millstream_base::error_chain;
use millstream_store::SharedStore;
use serde_json::{Value, json};
use uuid::Uuid;

use super::TrainSettings;
use super::evaluate::Rows;
use super::fit::{Trained, TrainingRun, train};
use super::identity::{configuration_digest, identity};
use super::known::{Known, KnownModel, Unreadable};
use super::measuring::common_is_due;
use super::recipe::Recipe;
use super::{TrainError, plan};
use crate::engine::spark::Spark;
use crate::engine::{Engine, Local, News};
use crate::model::{Columns, EngineKind, Model, TrainOn};
use crate::registry::{
    Draft, EngineRecord, FORMAT, ModelFile, OwnerTexts, Published, RegistryError, Remedy, TrainedBatch, Version,
    arrays_to_bytes, publish,
};
use millstream_base::status::{EventKind, Status, Training, now_ms};
use millstream_stream::batch::Batch;
use millstream_stream::schema::StreamSchema;

/// What one call did, by model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrainReport {
    /// Model and version.
    pub trained: Vec<(String, u32)>,
    /// Model and reason. A training that only another configuration can mend is tried, and reported, once; one that is tried again is told
    /// as an event each time, and stands here when `finish` has tried it in vain.
    pub failed: Vec<(String, String)>,
    /// What is due begins in so long, on the clock of `train.every`.
    pub waits: Option<Duration>,
}

/// When a training is tried again: it waits for the clock or was stopped, or it failed by what may pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Later,
    AfterFailure,
}

pub struct Trainer {
    pub(super) store: SharedStore,
    pub(super) models: Vec<Model>,
    pub(super) settings: TrainSettings,
    pub(super) owner: OwnerTexts,
    pub(super) schema: StreamSchema,
    pub(super) status: Arc<Status>,
    pub(super) engine: Arc<dyn Engine>,
    known: Mutex<Known>,
}

/// When a pass trains.
#[derive(Clone, Copy)]
struct Turn<'a> {
    stop: &'a AtomicBool,
    now_ms: u64,
    /// Until the clock lets trainings begin.
    wait: Duration,
}

impl Trainer {
    /// One for each engine that a model names, to run side by side: a long job of one holds up no model of another.
    pub fn of_each_engine(
        store: &SharedStore,
        models: &[Model],
        settings: &TrainSettings,
        schema: &StreamSchema,
        status: &Arc<Status>,
    ) -> Vec<Self> {
        let of =
            |kind: EngineKind| -> Vec<Model> { models.iter().filter(|model| model.engine == kind).cloned().collect() };
        let trainer = |models: Vec<Model>, engine: Arc<dyn Engine>| {
            let (store, schema) = (Arc::clone(store), schema.clone());
            Self { engine, ..Self::new(store, models, settings.clone(), schema, Arc::clone(status)) }
        };
        let (local, outside) = (of(EngineKind::Local), of(EngineKind::Spark));
        let spark =
            (!outside.is_empty()).then(|| trainer(outside, Arc::new(Spark::new(settings.spark.clone(), store))));
        // Without a model there is a trainer all the same.
        let local = (!local.is_empty() || spark.is_none()).then(|| trainer(local, Arc::new(Local)));
        local.into_iter().chain(spark).collect()
    }

    /// In this process.
    pub fn new(
        store: SharedStore,
        models: Vec<Model>,
        settings: TrainSettings,
        schema: StreamSchema,
        status: Arc<Status>,
    ) -> Self {
        let owner = OwnerTexts::of(&models);
        Self { store, models, settings, owner, schema, status, engine: Arc::new(Local), known: Mutex::default() }
    }

    /// Trains and measures all that is due. `batches`: complete, from 1. `stop` is looked at between trainings and within long
    /// ones: what is stopped publishes nothing. One failed training never stops the others; an error is the registry's, which fails them all.
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
        self.pass(&mut known, whole_run(batches), turn)
    }

    fn pass(&self, known: &mut Known, batches: &[Batch], turn: Turn) -> Result<TrainReport, RegistryError> {
        let stop = turn.stop;
        let mut report = TrainReport::default();
        // What may pass by itself is not tried again at once with every batch that waits.
        let mut passed_over: BTreeSet<&str> = BTreeSet::new();
        // They are numbered from 1 on, without a gap.
        let complete = batches.last().map_or(0, Batch::number);
        for newest in known.due_batches(complete) {
            if stop.load(Ordering::Relaxed) {
                return Ok(report);
            }
            // Scored before anything trains on it.
            let next = self.next_batch_due(known, newest);
            self.measure(known, &next, batches, Rows::All);
            // Before `train.keep` lets the version go.
            self.decide(known, batches, stop);
            let trained = report.trained.len();
            // Where one waits for the clock, those after it do.
            let mut is_settled = report.waits.is_none();
            let waits = !is_settled;
            for model in self.models.iter().filter(|_| !waits) {
                let Some(chosen) = plan::due(&model.train_on, newest) else { continue };
                if self.settings.when_behind.passes_over(&model.train_on, newest, complete) {
                    continue;
                }
                if stop.load(Ordering::Relaxed) {
                    return Ok(report);
                }
                if passed_over.contains(&*model.name) {
                    is_settled = false;
                    continue;
                }
                if let ControlFlow::Break(again) = self.train_one(known, model, &chosen, (batches, turn), &mut report) {
                    is_settled = false;
                    if again == Again::AfterFailure {
                        passed_over.insert(&model.name);
                    }
                }
            }
            if is_settled {
                known.settle(newest);
            }
            self.decide(known, batches, stop);
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
            if common_is_due(known, complete) {
                due.extend(self.common_due(known, complete)?);
            }
            self.measure(known, &due, batches, Rows::HeldOut);
            self.decide(known, batches, stop);
            self.sweep(known);
        }
        Ok(report)
    }

    /// When the last batch has come: trains what waits for the clock, and measures `common` on all batches, whenever it was measured last.
    pub fn finish(&self, batches: &[Batch], stop: &AtomicBool) -> Result<TrainReport, RegistryError> {
        let mut known = self.known();
        let batches = whole_run(batches);
        self.refresh(&mut known)?;
        let mut report = self.pass(&mut known, batches, Turn { stop, now_ms: now_ms(), wait: Duration::ZERO })?;
        // Nobody tries them once more.
        report.failed.extend(std::mem::take(&mut known.retried).into_values());
        let due = self.common_due(&mut known, batches.last().map_or(0, Batch::number))?;
        self.measure(&mut known, &due, batches, Rows::HeldOut);
        // Nobody looks once more.
        report.failed.extend(self.decide(&mut known, batches, stop));
        Ok(report)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks for the versions of the pipeline's models that others wrote, or an earlier process.
    fn refresh(&self, known: &mut Known) -> Result<(), RegistryError> {
        for model in &self.models {
            let unreadable = match known.models.get_mut(&model.name) {
                Some(found) => found.refresh(&*self.store, &model.name)?,
                None => {
                    let (found, unreadable) = KnownModel::open(&*self.store, &model.name)?;
                    known.models.insert(model.name.clone(), found);
                    unreadable
                }
            };
            for Unreadable { number, error } in unreadable {
                self.problem(&format!("{}@{number} cannot be loaded: {}", model.name, error_chain(&error)));
            }
        }
        Ok(())
    }

    /// A break: it is to be tried again.
    fn train_one(
        &self,
        known: &mut Known,
        model: &Model,
        chosen: &[u32],
        (batches, turn): (&[Batch], Turn),
        report: &mut TrainReport,
    ) -> ControlFlow<Again> {
        let recipe = Recipe::from_config(model, self.settings.holdout, self.schema.schema, self.schema.dialect);
        let chosen = select(batches, chosen.iter().copied());
        let trained_on: Vec<TrainedBatch> =
            chosen.iter().map(|batch| TrainedBatch { batch: batch.number(), digest: batch.digest() }).collect();
        let configuration = configuration_digest(&recipe);
        let identity = identity(&model.name, &configuration, &trained_on);
        let Known { models, failed, retried, begun_ms, .. } = known;
        let of_model = models.entry(model.name.clone()).or_default();
        if of_model.has(&identity) || failed.contains(&identity) {
            retried.remove(&identity);
            return ControlFlow::Continue(());
        }
        if !turn.wait.is_zero() {
            report.waits = Some(turn.wait);
            return ControlFlow::Break(Again::Later);
        }
        *begun_ms = Some(turn.now_ms);
        let numbers: Vec<u32> = trained_on.iter().map(|batch| batch.batch).collect();
        let started_ms = now_ms();
        let training = Training { model: model.name.clone(), batches: numbers.clone(), started_ms, progress: None };
        self.status.update(|snapshot| snapshot.training.push(training));
        let is_this = |training: &Training| training.model == model.name && training.batches == numbers;
        let release = Mutex::new(None);
        let tell = |news| match news {
            News::Progress(progress) => self.status.update(|snapshot| {
                if let Some(training) = snapshot.training.iter_mut().find(|training| is_this(training)) {
                    training.progress = Some(progress);
                }
            }),
            News::Version(version) => *release.lock().unwrap_or_else(PoisonError::into_inner) = Some(version),
        };
        let parent = match model.train_on {
            TrainOn::Cumulative if self.engine.starts_warm() => {
                self.parent(of_model, model, &configuration, &trained_on)
            }
            TrainOn::Cumulative | TrainOn::Each | TrainOn::Last(_) | TrainOn::Batches(_) => Ok(None),
        };
        let identities = (trained_on, configuration, identity.clone());
        let version = parent.map_err(TrainError::from).and_then(|parent| {
            let run = TrainingRun {
                store: &*self.store,
                recipe: &recipe,
                schema: &self.schema,
                batches: &chosen,
                parent: parent.as_deref(),
                engine: &*self.engine,
                stopped: &|| turn.stop.load(Ordering::Relaxed),
                tell: &tell,
            };
            self.train_version(model, &run, &release, (identities, of_model.looked_through()))
        });
        self.status.update(|snapshot| snapshot.training.retain(|training| !is_this(training)));
        if !matches!(version, Err(TrainError::Stopped)) {
            retried.remove(&identity);
        }
        match version {
            Ok(version) => {
                self.say_trained(&version);
                report.trained.push((model.name.clone(), version.file.version));
                of_model.add_own(Arc::new(version));
                ControlFlow::Continue(())
            }
            // What is due is found again after the next start.
            Err(TrainError::Stopped) => ControlFlow::Break(Again::Later),
            // Another trainer was faster, and so many times that this one is old already.
            Err(TrainError::Registry(RegistryError::Removed { .. })) => {
                failed.insert(identity);
                ControlFlow::Continue(())
            }
            Err(error) => {
                let reason = error_chain(&error);
                let message = format!("{} on {}: {reason}", model.name, span(&numbers));
                self.status.trained(&model.name, None);
                self.status.event(
                    EventKind::TrainingFailed,
                    message,
                    json!({ "model": model.name, "batches": numbers, "error": reason }),
                );
                let fault = (model.name.clone(), format!("on {}: {reason}", span(&numbers)));
                if error.remedy() == Remedy::Retry {
                    retried.insert(identity, fault);
                    return ControlFlow::Break(Again::AfterFailure);
                }
                report.failed.push(fault);
                failed.insert(identity);
                ControlFlow::Continue(())
            }
        }
    }

    /// The version of the same configuration on all of these batches but the last: what the warm start of a cumulative model begins
    /// with.
    fn parent(
        &self,
        known: &mut KnownModel,
        model: &Model,
        configuration: &str,
        trained_on: &[TrainedBatch],
    ) -> Result<Option<Arc<Version>>, RegistryError> {
        let Some((_, before)) = trained_on.split_last().filter(|(_, before)| !before.is_empty()) else {
            return Ok(None);
        };
        let number = known.number_of(&identity(&model.name, configuration, before));
        match number.map(|number| known.load(&*self.store, &model.name, number, &self.owner)) {
            Some(Err(error)) if error.remedy() == Remedy::Retry => Err(error),
            // One that was removed, or is damaged, is none to begin with.
            None | Some(Err(_)) => Ok(None),
            Some(Ok(version)) => Ok(Some(version)),
        }
    }

    fn train_version(
        &self,
        model: &Model,
        run: &TrainingRun,
        release: &Mutex<Option<String>>,
        ((trained_on, configuration_digest, identity), after): ((Vec<TrainedBatch>, String, String), u32),
    ) -> Result<Version, TrainError> {
        let (started, recipe) = (Instant::now(), run.recipe);
        let Trained { arrays, features, inputs, task, target_summary, counts, notes } = train(run)?;
        let (target, output, baseline) = match &recipe.columns {
            Columns::Supervised(columns) => (columns.target.as_str(), columns.output.clone(), columns.baseline.clone()),
            // Every row is a 1 where none says more.
            Columns::Ratings(columns) => (columns.rating.as_deref().unwrap_or("1"), None, None),
            Columns::Clusters(_) | Columns::Neighbours(_) | Columns::Content(_) | Columns::Popularity(_) => {
                ("", None, None)
            }
        };
        let version = release.lock().unwrap_or_else(PoisonError::into_inner).take();
        let engine = run.engine.record().map(|record| EngineRecord { version, ..record });
        let file = ModelFile {
            format: FORMAT,
            model: model.name.clone(),
            version: 0,
            attempt: new_attempt(),
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
            missing: recipe.columns.missing(),
            parameters: recipe.parameters(),
            batches: trained_on,
            rows: counts.fitted,
            dropped_missing: counts.missing,
            holdout: recipe.holdout,
            seed: recipe.seed,
            file: String::new(),
            file_digest: String::new(),
            schema: recipe.schema,
            dialect: recipe.dialect,
            trained_at_ms: now_ms(),
            training_seconds: started.elapsed().as_secs_f64(),
            imported: None,
            notes,
            engine,
        };
        let arrays = arrays_to_bytes(&arrays)?;
        match publish(&*self.store, &Draft { file, arrays }, after)? {
            Published::Mine(number) => Ok(Version::load_unmeasured(&*self.store, &model.name, number, &self.owner)?),
            Published::Already(number) => Ok(Version::load(&*self.store, &model.name, number, &self.owner)?),
        }
    }

    fn say_trained(&self, version: &Version) {
        let file = &version.file;
        let batches: Vec<u32> = file.batches.iter().map(|batch| batch.batch).collect();
        self.status.trained(&file.model, Some(file.training_seconds));
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
        self.status.event(EventKind::VersionTrained, message, data);
    }

    pub(super) fn problem(&self, message: &str) {
        const PROBLEMS_KEPT: usize = 50;
        self.status.update(|snapshot| {
            snapshot.problems.push(message.to_owned());
            let over = snapshot.problems.len().saturating_sub(PROBLEMS_KEPT);
            snapshot.problems.drain(..over);
        });
        self.status.event(EventKind::Problem, message, Value::Null);
    }
}

pub(super) fn new_attempt() -> String {
    Uuid::new_v4().simple().to_string()
}

/// The batches from 1 on without a gap.
fn whole_run(batches: &[Batch]) -> &[Batch] {
    let whole = batches.iter().zip(1..).take_while(|(batch, number)| batch.number() == *number).count();
    &batches[..whole]
}

/// `batches`: from 1 on without a gap.
pub(super) fn select(batches: &[Batch], numbers: impl IntoIterator<Item = u32>) -> Vec<Batch> {
    let at = |number: u32| batches.get(number.checked_sub(1)? as usize).cloned();
    numbers.into_iter().filter_map(at).collect()
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

/// `batch 3`, `batches 1 to 3`, `batches 1, 3`.
fn span(batches: &[u32]) -> String {
    match batches {
        [one] => format!("batch {one}"),
        [first, .., last] if (last - first) as usize + 1 == batches.len() => format!("batches {first} to {last}"),
        several => format!("batches {}", several.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")),
    }
}
