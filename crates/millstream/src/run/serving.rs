//! The server of a pipeline: the API and the page, what they are given, and what keeps that up with the store.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millstream_answer::catalogue::{CatalogueError, Catalogues, Images, Refreshed};
use millstream_answer::interactions::{Interactions, StoredRows};
use millstream_answer::views::{Now, ProcessCommand, Views};
use millstream_base::error_chain;
use millstream_base::status::{Event, EventKind, Status};
use millstream_http::page::LivePages;
use millstream_http::serve::{BatchReadError, BatchSource, Gate, ServeContext, bind, serve};
use millstream_model::registry::{OwnerTexts, Registry};
use millstream_model::train::Explainer;
use millstream_store::SharedStore;
use millstream_stream::batch::{
    Batch, BatchSnapshot, BatchStatistics, Completeness, StoredBatches, StoredError, batch_folder,
};
use millstream_stream::posting::Reach;
use serde_json::json;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::posting::{Answers, posting};
use super::stop::{ServingRuntime, Stop, StopSignals, stop_on_signal};
use crate::config::Pipeline;

/// Batches that come in a row are read ahead together.
const QUIET: Duration = Duration::from_millis(500);

/// A batch that cannot be read into the catalogue is tried again after so long at most.
const UNREADABLE_PAUSE_MOST: Duration = Duration::from_secs(60);

/// The list of a small store is known before the first request comes.
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// The API and the page, and what keeps them up with the store: there before the first row, and until the process is told to stop,
/// whatever happens to the pipeline.
pub(super) struct Server {
    pub registry: Arc<Registry>,
    pub batches: Arc<StoredBatches>,
    pub address: SocketAddr,
    answering: JoinHandle<()>,
    answers: Option<Answers>,
    runtime: ServingRuntime,
}

/// How long a stop may take, and how often is looked for what other processes did: promotions, removals, versions.
pub(super) struct Pace {
    pub stop: Duration,
    pub look: Duration,
}

impl Server {
    pub fn start(
        pipeline: &Arc<Pipeline>,
        store: &SharedStore,
        status: &Arc<Status>,
        stop: &Arc<Stop>,
        pace: Pace,
        reach: &dyn Fn() -> Reach,
    ) -> anyhow::Result<Self> {
        let gate = Gate::open(&pipeline.serve, &pipeline.file.display().to_string())?;
        let runtime = ServingRuntime::start()?;
        let tasks = runtime.handle().clone();
        let _inside = tasks.enter();
        let listener = bind(pipeline.serve.listen)?;
        let address = listener.local_addr()?;
        tasks.spawn(stop_on_signal(StopSignals::watch()?, stop.clone(), pace.stop));
        let registry = Arc::new(Registry::open_for(store.clone(), OwnerTexts::of(&pipeline.models))?);
        let batches = Arc::new(StoredBatches::new(store.clone()));
        let catalogue = open_catalogue(pipeline, store, status)?;
        let answers = Answers::start(pipeline, status, reach)?;
        let views = Arc::new(Views::open(&pipeline.view_settings(), store, ProcessCommand::own()?)?);
        let context = ServeContext {
            settings: pipeline.serve_settings(),
            registry: registry.clone(),
            status: status.clone(),
            batches: Arc::new(Stored { batches: batches.clone(), status: status.clone(), told: Mutex::default() }),
            interactions: read_interactions(store, &batches, &registry, stop)?,
            catalogue: catalogue.clone(),
            images: open_images(pipeline, store),
            views: views.clone(),
            explainer: Arc::new(Explainer::new(store.clone(), registry.clone(), batches.clone())),
            pages: Arc::new(LivePages),
            gate,
            posting: Arc::new(posting(pipeline, store, reach())),
            answer_log: answers.as_ref().map(|answers| answers.log.clone()),
        };
        tasks.spawn(end_questions(views.clone(), stop.clone()));
        let answering = tasks.spawn(serve(listener, context, stop.serving.clone().cancelled_owned()));
        let warmth =
            Warmth { views, batches: batches.clone(), registry: registry.clone(), catalogue: catalogue.clone() };
        tasks.spawn(Arc::new(warmth).follow(status.listen()));
        let refresh = refresh_registry(registry.clone(), status.clone());
        tasks.spawn(follow(status.listen(), pace.look, EventKind::is_of_version, refresh));
        let is_of_batch = |kind| kind == EventKind::BatchCommitted;
        let refresh = refresh_batches(batches.clone(), status.clone());
        tasks.spawn(follow(status.listen(), pace.look, is_of_batch, refresh));
        if let Some(catalogue) = catalogue.filter(|catalogue| catalogue.is_from_batches()) {
            let refresh = refresh_catalogue(catalogue, batches.clone(), status.clone());
            tasks.spawn(follow(status.listen(), pace.look, is_of_batch, refresh));
        }
        let began = Instant::now();
        while batches.snapshot().completeness == Completeness::Unread && began.elapsed() < FIRST_LOOK {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Self { registry, batches, address, answering, answers, runtime })
    }

    /// The API answers, and the pipeline may begin.
    pub fn announce(&self, announce: Box<dyn FnOnce(SocketAddr)>, status: &Status) {
        announce(self.address);
        status.update(|snapshot| "running".clone_into(&mut snapshot.state));
    }

    /// Until a signal comes.
    pub fn wait(&self, stop: &Stop) {
        self.runtime.handle().block_on(stop.told.cancelled());
    }

    /// Drains, and tells everyone else to stop. Signals are heard for as long as the runtime is there.
    pub fn end(self, stop: &Stop) -> anyhow::Result<ServingRuntime> {
        stop.all();
        self.runtime.handle().block_on(self.answering)?;
        if let Some(answers) = self.answers {
            answers.end();
        }
        Ok(self.runtime)
    }
}

/// Reads what is new: at once, whenever an event says that there is something, and every `look` for what other processes did.
async fn follow(
    mut events: broadcast::Receiver<Event>,
    look: Duration,
    concerns: fn(EventKind) -> bool,
    refresh: impl FnMut() + Send + 'static,
) {
    let refresh = Arc::new(Mutex::new(refresh));
    let mut looks = tokio::time::interval(look);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            event = events.recv() => match event {
                Ok(event) if !concerns(event.kind) => continue,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
        // One look finds all that those still waiting tell of.
        events = events.resubscribe();
        let refresh = refresh.clone();
        let read = move || (refresh.lock().unwrap_or_else(PoisonError::into_inner))();
        if let Err(error) = tokio::task::spawn_blocking(read).await {
            tracing::warn!(%error, "what is new in the store was not read");
        }
    }
}

fn refresh_registry(registry: Arc<Registry>, status: Arc<Status>) -> impl FnMut() {
    let mut told = None;
    move || {
        let why = |error| format!("the registry cannot be read: {}", error_chain(&error));
        status.tell(&mut told, registry.refresh().err().map(why));
    }
}

fn refresh_batches(batches: Arc<StoredBatches>, status: Arc<Status>) -> impl FnMut() {
    let mut told = None;
    move || {
        let failed = batches.complete().err();
        let is_away = batches.snapshot().away.is_some();
        let what = if is_away { "the store does not answer" } else { "a stored batch cannot be read" };
        status.tell(&mut told, failed.map(|error| format!("{what}: {}", error_chain(&error))));
    }
}

/// The items of what is complete; of what cannot be read they stay as they are, and lists go on without it. To find that out may take
/// long: no more than a tenth of the time goes into it.
fn refresh_catalogue(catalogue: Arc<Catalogues>, batches: Arc<StoredBatches>, status: Arc<Status>) -> impl FnMut() {
    let mut told = None;
    let mut again = Instant::now();
    move || {
        // The list is read by another, who says what is wrong with it.
        let BatchSnapshot { batches, completeness, .. } = batches.snapshot();
        if completeness == Completeness::Unread || (told.is_some() && Instant::now() < again) {
            return;
        }
        let began = Instant::now();
        let refreshed = catalogue.refresh(&batches);
        again = Instant::now() + (began.elapsed() * 9).min(UNREADABLE_PAUSE_MOST);
        catalogue.loaded();
        if let Ok(Some(refreshed)) = &refreshed {
            say_catalogue(&status, refreshed);
        }
        let why = |error| format!("the catalogue cannot be refreshed: {error}");
        status.tell(&mut told, refreshed.err().map(why));
    }
}

/// SQL of requests is ended at once when the server is told to stop: its processes wait for nobody.
async fn end_questions(views: Arc<Views>, stop: Arc<Stop>) {
    stop.told.cancelled().await;
    // Waits for processes to end.
    let ended = tokio::task::spawn_blocking(move || views.stop()).await;
    if let Err(error) = ended {
        tracing::warn!(%error, "the processes of queries cannot be ended");
    }
}

/// What users have seen, read in the background for as long as the process serves.
fn read_interactions(
    store: &SharedStore,
    batches: &Arc<StoredBatches>,
    registry: &Arc<Registry>,
    stop: &Arc<Stop>,
) -> std::io::Result<Arc<Interactions>> {
    let rows = StoredRows { store: store.clone(), batches: batches.clone() };
    let interactions = Arc::new(Interactions::new(rows));
    let (reading, registry, stop) = (interactions.clone(), registry.clone(), stop.clone());
    let read = move || reading.keep_up(&registry, || stop.asked.load(Ordering::Relaxed));
    // Nobody waits for its end: it holds nothing but memory.
    std::thread::Builder::new().name("interactions".to_owned()).spawn(read)?;
    Ok(interactions)
}

/// The items: those of a file, or of the batches, which are read behind.
fn open_catalogue(
    pipeline: &Pipeline,
    store: &SharedStore,
    status: &Status,
) -> anyhow::Result<Option<Arc<Catalogues>>> {
    let opened = Catalogues::open(&pipeline.catalogue_settings(), store).map_err(|error| match error {
        // A fault of the pipeline file ends the command as one.
        CatalogueError::Config(faults) => anyhow::Error::from(faults),
        other => other.into(),
    });
    let Some((catalogue, refreshed)) = opened? else { return Ok(None) };
    if !catalogue.is_from_batches() {
        say_catalogue(status, &refreshed);
    }
    Ok(Some(Arc::new(catalogue)))
}

/// The folder of the items' pictures.
fn open_images(pipeline: &Pipeline, store: &SharedStore) -> Option<Arc<Images>> {
    let folder = pipeline.catalogue.as_ref()?.images.as_ref()?;
    Some(Arc::new(Images::new(store, &pipeline.store, folder)))
}

/// What views see.
struct Warmth {
    views: Arc<Views>,
    batches: Arc<StoredBatches>,
    registry: Arc<Registry>,
    catalogue: Option<Arc<Catalogues>>,
}

impl Warmth {
    /// Reads ahead what views will ask for: at once, and again whenever the batches that came are followed by a moment of silence.
    async fn follow(self: Arc<Self>, mut events: broadcast::Receiver<Event>) {
        loop {
            Arc::clone(&self).keep().await;
            let mut came = false;
            loop {
                let next = events.recv();
                let next = if came { tokio::time::timeout(QUIET, next).await } else { Ok(next.await) };
                match next {
                    Ok(Ok(event)) => came |= event.kind == EventKind::BatchCommitted,
                    Ok(Err(RecvError::Lagged(_))) => came = true,
                    Ok(Err(RecvError::Closed)) => return,
                    Err(_) => break,
                }
            }
        }
    }

    async fn keep(self: Arc<Self>) {
        let warm = move || {
            // Views then say themselves what is wrong.
            let Ok(batches) = self.batches.complete() else { return Ok(()) };
            let catalogue = self.catalogue.as_ref().map(|catalogue| catalogue.snapshot());
            self.views.warm(Now { batches: Ok(batches), catalogue, served: self.registry.snapshot() })
        };
        // Whoever asks then waits a little longer, and is told what is wrong.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(warm).await {
            tracing::debug!(%error, "the views' columns cannot be read ahead");
        }
    }
}

fn say_catalogue(status: &Status, refreshed: &Refreshed) {
    let Refreshed { items, tally } = refreshed;
    let count = |number: u64, what: &str| if number == 0 { String::new() } else { format!(", {number} {what}") };
    let message = format!(
        "catalogue: {items} items of {} records{}{}{}",
        tally.records,
        count(tally.without_id, "left out without an id"),
        count(tally.unreadable, "left out as no rows"),
        count(tally.uncomputable, "values that the SQL could not compute"),
    );
    let data = json!({"items": items, "records": tally.records, "without_id": tally.without_id,
        "unreadable": tally.unreadable, "uncomputable": tally.uncomputable});
    status.event(EventKind::Catalogue, message, data);
}

struct Stored {
    batches: Arc<StoredBatches>,
    status: Arc<Status>,
    /// What was damaged when it was last read, by file or folder.
    told: Mutex<BTreeMap<String, Option<String>>>,
}

impl Stored {
    /// What is damaged is said to who runs the pipeline until it is read again; that the store is away, the look at it says.
    fn said<T>(&self, place: &str, read: Result<T, StoredError>) -> Result<T, BatchReadError> {
        let is_away = self.batches.snapshot().away.is_some();
        let read = read.map_err(|error| BatchReadError { message: error.to_string(), is_away });
        let problem = read.as_ref().err().filter(|_| !is_away).map(ToString::to_string);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if read.is_ok() {
            told.remove(place).iter_mut().for_each(|told| self.status.tell(told, None));
        } else if problem.is_some() {
            self.status.tell(told.entry(place.to_owned()).or_default(), problem);
        }
        read
    }
}

impl BatchSource for Stored {
    fn snapshot(&self) -> BatchSnapshot {
        self.batches.snapshot()
    }

    fn unverified(&self, batch: &Batch, offset: usize, limit: usize) -> Vec<String> {
        self.batches.unverified(batch, offset, limit)
    }

    fn is_verified(&self, file: &str) -> bool {
        self.batches.is_verified(file)
    }

    fn verify_file(&self, file: &str) -> Result<(), BatchReadError> {
        self.said(file, self.batches.verify_file(file))
    }

    fn rows(
        &self,
        batch: &Batch,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, BatchReadError> {
        self.said(&batch_folder(batch.number()), self.batches.rows(batch, offset, limit))
    }

    fn rejects(
        &self,
        batch: &Batch,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, BatchReadError> {
        let place = format!("{}/_rejects", batch_folder(batch.number()));
        self.said(&place, self.batches.rejects(batch, offset, limit))
    }

    fn statistics(&self, batch: &Batch) -> Result<BatchStatistics, BatchReadError> {
        self.said(&batch_folder(batch.number()), self.batches.statistics(batch))
    }
}
