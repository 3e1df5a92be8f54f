//! What the API is given: the registry, kept up to date, and the stored batches.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_store::SharedStore;
use serde_json::json;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

use super::stop::Stop;
use crate::config::Pipeline;
use millstream_answer::catalogue::{CatalogueError, Catalogues, Images, Refreshed};
use millstream_answer::interactions::{Interactions, StoredRows};
use millstream_answer::views::{Now, Views};
use millstream_base::status::{Event, Status};
use millstream_http::serve::{BatchReadError, BatchSource};
use millstream_model::registry::Registry;
use millstream_stream::batch::{Batch, StoredBatches, StoredError};

/// Batches that come in a row are read ahead together.
const QUIET: Duration = Duration::from_millis(500);

/// So often it is looked for what other processes did: promotions, removals, versions.
const OTHERS_LOOK: Duration = Duration::from_secs(2);

/// New versions and evaluations are served as soon as they are stored, and what others did a moment later.
pub(super) async fn follow(registry: Arc<Registry>, mut events: broadcast::Receiver<Event>) {
    loop {
        match tokio::time::timeout(OTHERS_LOOK, events.recv()).await {
            Ok(Ok(event)) if !event.kind.starts_with("version") => {}
            // What was missed is read with the rest.
            Err(_) | Ok(Ok(_) | Err(broadcast::error::RecvError::Lagged(_))) => {
                // One look finds all that they tell of.
                while !matches!(events.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
                let registry = registry.clone();
                let refreshed = tokio::task::spawn_blocking(move || registry.refresh()).await;
                if let Ok(Err(error)) = refreshed {
                    tracing::warn!(%error, "the registry cannot be read");
                }
            }
            Ok(Err(broadcast::error::RecvError::Closed)) => return,
        }
    }
}

/// SQL of requests is ended at once when the server is told to stop: its processes wait for nobody.
pub(super) async fn end_questions(views: Arc<Views>, stop: Arc<Stop>) {
    stop.heard().await;
    // Waits for processes to end.
    let ended = tokio::task::spawn_blocking(move || views.stop()).await;
    if let Err(error) = ended {
        tracing::warn!(%error, "the processes of queries cannot be ended");
    }
}

/// What users have seen, read in the background for as long as the process serves.
pub(super) fn read_interactions(
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
pub(super) fn open_catalogue(
    pipeline: &Pipeline,
    store: &SharedStore,
    batches: &Arc<StoredBatches>,
    status: &Arc<Status>,
) -> anyhow::Result<Option<Arc<Catalogues>>> {
    let opened = Catalogues::open(&pipeline.catalogue_settings(), store).map_err(|error| match error {
        // A fault of the pipeline file ends the command as one.
        CatalogueError::Config(faults) => anyhow::Error::from(faults),
        other => other.into(),
    });
    let Some((catalogue, refreshed)) = opened? else { return Ok(None) };
    let catalogue = Arc::new(catalogue);
    if catalogue.is_from_batches() {
        let (reading, batches, status) = (catalogue.clone(), batches.clone(), status.clone());
        let read = move || {
            // What cannot be read is said, and lists go on without it; it is tried again until it can.
            let mut problem = refresh_catalogue(&reading, &batches, &status);
            reading.loaded();
            while let Some(told) = problem {
                std::thread::sleep(OTHERS_LOOK);
                problem = refresh_catalogue(&reading, &batches, &status);
                if problem.as_ref() != Some(&told) {
                    status.withdraw(&told);
                }
            }
        };
        // Nobody waits for its end: it holds nothing but memory.
        std::thread::Builder::new().name("catalogue".to_owned()).spawn(read)?;
    } else {
        say_catalogue(status, &refreshed);
    }
    Ok(Some(catalogue))
}

/// The folder of the items' pictures.
pub(super) fn open_images(pipeline: &Pipeline, store: &SharedStore) -> Option<Arc<Images>> {
    let folder = pipeline.catalogue.as_ref()?.images.as_ref()?;
    Some(Arc::new(Images::new(store, &pipeline.store, folder)))
}

/// The items that new batches bring are there as soon as they are committed.
pub(super) async fn follow_catalogue(
    catalogue: Arc<Catalogues>,
    batches: Arc<StoredBatches>,
    status: Arc<Status>,
    mut events: broadcast::Receiver<Event>,
) {
    if !catalogue.is_from_batches() {
        return;
    }
    loop {
        match events.recv().await {
            Ok(event) if event.kind != "batch_committed" => {}
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {
                let (catalogue, batches, status) = (catalogue.clone(), batches.clone(), status.clone());
                // Its fault is told by itself, and a panic by the runtime; the next batch tries again.
                let _ = tokio::task::spawn_blocking(move || refresh_catalogue(&catalogue, &batches, &status)).await;
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// What views see.
pub(super) struct Warmth {
    pub views: Arc<Views>,
    pub batches: Arc<StoredBatches>,
    pub registry: Arc<Registry>,
    pub catalogue: Option<Arc<Catalogues>>,
}

impl Warmth {
    /// Reads ahead what views will ask for, as it is now.
    pub(super) async fn keep(self: Arc<Self>) {
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

    /// At once, and again whenever the batches that came are followed by a moment of silence.
    pub(super) async fn follow(self: Arc<Self>, mut events: broadcast::Receiver<Event>) {
        loop {
            Arc::clone(&self).keep().await;
            let mut came = false;
            loop {
                let next = events.recv();
                let next = if came { tokio::time::timeout(QUIET, next).await } else { Ok(next.await) };
                match next {
                    Ok(Ok(event)) => came |= event.kind == "batch_committed",
                    Ok(Err(broadcast::error::RecvError::Lagged(_))) => came = true,
                    Ok(Err(broadcast::error::RecvError::Closed)) => return,
                    Err(_) => break,
                }
            }
        }
    }
}

/// Takes in what is complete. What cannot be read is said, and tried again with the next batch; until then the items stay
/// as they are.
pub(super) fn refresh_catalogue(catalogue: &Catalogues, batches: &StoredBatches, status: &Status) -> Option<String> {
    let complete = batches.complete().map_err(|error| error.to_string());
    let refreshed = complete.and_then(|complete| catalogue.refresh(&complete).map_err(|error| error.to_string()));
    match refreshed {
        Ok(None) => None,
        Ok(Some(refreshed)) => {
            say_catalogue(status, &refreshed);
            None
        }
        Err(problem) => {
            let problem = format!("the catalogue cannot be refreshed: {problem}");
            status.problem(problem.clone());
            Some(problem)
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
    status.event("catalogue", message, data);
}

pub(super) struct Stored {
    pub batches: Arc<StoredBatches>,
    pub status: Arc<Status>,
}

impl Stored {
    /// What is damaged is said to who runs the pipeline: see `BatchReadError`.
    fn said(&self, error: &StoredError) -> BatchReadError {
        let message = error.to_string();
        self.status.problem(format!("a stored batch cannot be read: {message}"));
        BatchReadError { message }
    }
}

impl BatchSource for Stored {
    fn batches(&self) -> Result<Arc<[Batch]>, BatchReadError> {
        self.batches.complete().map_err(|error| self.said(&error))
    }

    fn batch(&self, number: u32) -> Result<Option<Batch>, BatchReadError> {
        match self.batches.get(number) {
            Ok(batch) => Ok(Some(batch)),
            Err(StoredError::NoSuchBatch { .. }) => Ok(None),
            Err(error) => Err(self.said(&error)),
        }
    }

    fn unverified(&self, batch: u32, offset: usize, limit: usize) -> Result<Vec<String>, BatchReadError> {
        self.batches.unverified(batch, offset, limit).map_err(|error| self.said(&error))
    }

    fn is_verified(&self, file: &str) -> bool {
        self.batches.is_verified(file)
    }

    fn verify_file(&self, file: &str) -> Result<(), BatchReadError> {
        self.batches.verify_file(file).map_err(|error| self.said(&error))
    }

    fn rows(
        &self,
        batch: u32,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, BatchReadError> {
        self.batches.rows(batch, offset, limit).map_err(|error| self.said(&error))
    }
}
