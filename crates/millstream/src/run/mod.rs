//! The one file that wires the stages: source → topic → batch → train → registry → serve, in one process.
//!
//! Each stage is a thread that knows its neighbours only through the store and the topic. The API and the page are up first and
//! stay up whatever happens to the pipeline, until the process is told to stop.

mod prepare;
mod progress;

use std::fs::{File, TryLockError};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use anyhow::{Context, anyhow, bail};
use serde_json::json;
use tokio::sync::{Notify, broadcast};

pub use prepare::{SCHEMA_KEY, check_data, read_schema};
pub use progress::Progress;

use crate::batch::{Batch, StoredBatches, ingest::Ingest};
use crate::config::{BrokerChoice, OnStop, Pipeline, Retention, StoreUrl};
use crate::registry::Registry;
use crate::serve::{BatchReadError, BatchSource, ServeContext, bind, serve};
use crate::source::replay::{Ended, Replay};
use crate::status::{Event, Status};
use crate::store::{LocalStore, S3Store, SharedStore};
use crate::topic::Topic;
use crate::train::Trainer;
use crate::train::plan::never_came;
use prepare::{Prepared, prepare};

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Told to stop; the open batch is parked.
    Stopped,
    /// What failed, one line each.
    Failed(Vec<String>),
}

pub fn open_store(url: &StoreUrl) -> anyhow::Result<SharedStore> {
    match url {
        StoreUrl::Local(folder) => Ok(Arc::new(LocalStore::open(folder).context("store.url")?)),
        StoreUrl::S3 { bucket, prefix } => Ok(Arc::new(S3Store::open(bucket, prefix).context("store.url")?)),
    }
}

/// One `run` per store: two replays of one source would send every row twice. Held until the process ends, however it ends.
fn lock_store(url: &StoreUrl) -> anyhow::Result<File> {
    let path = match url {
        StoreUrl::Local(folder) => folder.join(".run-lock"),
        // Keeps out a second run of this machine; what keeps out others stands in docs/decisions/0007-s3.md.
        StoreUrl::S3 { .. } => {
            let endpoint = std::env::var("AWS_ENDPOINT_URL").unwrap_or_default();
            let name = blake3::hash(format!("{endpoint} {url}").as_bytes()).to_hex();
            std::env::temp_dir().join(format!("millstream-run-{}.lock", &name[..16]))
        }
    };
    let file = File::create(&path).with_context(|| format!("{}: cannot be written", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("{url}: another process runs a pipeline on this store: stop it, or use another store.url")
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{}: cannot be locked", path.display())),
    }
}

/// What `run` needs beside the pipeline.
pub struct Options {
    pub exit_when_done: bool,
    /// Called once the API answers.
    pub announce: Box<dyn FnOnce(SocketAddr)>,
}

/// Runs the whole pipeline; serves until stopped, or until all is done with `exit_when_done`.
pub fn run(pipeline: Pipeline, options: Options, status: Arc<Status>) -> anyhow::Result<Outcome> {
    let pipeline = Arc::new(pipeline);
    let store = open_store(&pipeline.store)?;
    let _ours = lock_store(&pipeline.store)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("serve").build()?;
    let _inside = runtime.enter();
    let listener = bind(pipeline.serve.listen)?;
    let address = listener.local_addr()?;
    let registry = Arc::new(Registry::open(store.clone())?);
    let batches = Arc::new(StoredBatches::new(store.clone()));
    let context = ServeContext {
        pipeline: pipeline.clone(),
        registry: registry.clone(),
        status: status.clone(),
        batches: Arc::new(Stored(batches.clone())),
    };
    let stop = Arc::new(Stop::default());
    runtime.spawn(stop_on_signal(stop.clone()));
    let server = runtime.spawn(serve(listener, context, stop.serving()));
    runtime.spawn(follow(registry.clone(), status.listen()));
    (options.announce)(address);
    status.update(|snapshot| "running".clone_into(&mut snapshot.state));

    let stages = Stages { pipeline, store, batches, registry, status: status.clone(), stop: stop.clone() };
    // Lives until the end: others may read the topic while the models are served.
    let mut broker = None;
    let outcome = stages.run(&mut broker);
    match &outcome {
        Ok(Outcome::Done) => status.update(|snapshot| {
            "done".clone_into(&mut snapshot.state);
            // No batch is open any more.
            (snapshot.batch.batch, snapshot.batch.rows, snapshot.batch.rows_expected) = (0, 0, None);
        }),
        Ok(Outcome::Stopped) => status.update(|snapshot| "stopping".clone_into(&mut snapshot.state)),
        Ok(Outcome::Failed(faults)) => fail(&status, faults),
        // The caller says it: the process ends with it.
        Err(_) => status.update(|snapshot| "failed".clone_into(&mut snapshot.state)),
    }
    // What was trained is served on, even when the pipeline failed.
    let serve_on = matches!(outcome, Ok(Outcome::Done | Outcome::Failed(_))) && !options.exit_when_done;
    if serve_on {
        status.event("serving", format!("serving on http://{address} until stopped"), json!({}));
        runtime.block_on(stop.told());
    }
    stop.all();
    runtime.block_on(server)?;
    drop(broker);
    // A failure that was served on is still one: the exit code says so.
    outcome
}

fn fail(status: &Status, faults: &[String]) {
    status.update(|snapshot| {
        "failed".clone_into(&mut snapshot.state);
        snapshot.problems.extend_from_slice(faults);
    });
    for fault in faults {
        status.event("failed", fault.clone(), json!({}));
    }
}

/// What tells everyone to stop. The pipeline's flag is polled by threads, the server's is awaited.
#[derive(Default)]
struct Stop {
    /// A signal came.
    asked: AtomicBool,
    /// The stages are to end: a signal came, or one of them failed.
    pipeline: AtomicBool,
    told: Notify,
    serving: Arc<Notify>,
}

impl Stop {
    /// A signal came: the stages end, then the server.
    fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.pipeline.store(true, Ordering::Relaxed);
        // `notify_one` keeps a permit for a waiter that comes later.
        self.told.notify_one();
    }

    fn all(&self) {
        self.ask();
        self.serving.notify_one();
    }

    fn serving(&self) -> impl Future<Output = ()> + use<> {
        let serving = self.serving.clone();
        async move { serving.notified().await }
    }

    async fn told(&self) {
        if !self.asked.load(Ordering::Relaxed) {
            self.told.notified().await;
        }
    }
}

/// The first signal ends the pipeline in good order, the second at once.
async fn stop_on_signal(stop: Arc<Stop>) {
    for round in 0.. {
        if let Err(error) = signal().await {
            tracing::warn!(%error, "signals cannot be watched");
            return;
        }
        if round > 0 {
            std::process::exit(130);
        }
        tracing::info!(target: "millstream", kind = "stopping", "stopping: the open batch is parked; once more stops at once");
        stop.ask();
    }
}

pub(crate) async fn signal() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// New versions and evaluations are served as soon as they are stored.
async fn follow(registry: Arc<Registry>, mut events: broadcast::Receiver<Event>) {
    loop {
        match events.recv().await {
            Ok(event) if !event.kind.starts_with("version") => {}
            // What was missed is read with the rest.
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {
                let registry = registry.clone();
                let refreshed = tokio::task::spawn_blocking(move || registry.refresh()).await;
                if let Ok(Err(error)) = refreshed {
                    tracing::warn!(%error, "the registry cannot be read");
                }
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

struct Stored(Arc<StoredBatches>);

impl BatchSource for Stored {
    fn batches(&self) -> Vec<Batch> {
        self.0.complete().unwrap_or_else(|error| {
            tracing::warn!(%error, "the batches cannot be listed");
            Vec::new()
        })
    }

    fn rows(
        &self,
        batch: u32,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, BatchReadError> {
        self.0.rows(batch, offset, limit).map_err(|error| BatchReadError { batch, message: error.to_string() })
    }
}

struct Stages {
    pipeline: Arc<Pipeline>,
    store: SharedStore,
    batches: Arc<StoredBatches>,
    registry: Arc<Registry>,
    status: Arc<Status>,
    stop: Arc<Stop>,
}

impl Stages {
    fn run(&self, broker: &mut Option<millstream_broker::Broker>) -> anyhow::Result<Outcome> {
        let (started, servers, log) = self.broker()?;
        *broker = started;
        self.status.update(|snapshot| snapshot.broker.address.clone_from(&servers));
        let stream = &self.pipeline.stream;
        let topic = Topic::new(&stream.topic, &servers, &stream.properties);
        let prepared = match prepare(&self.pipeline, &self.store, &topic, &self.status, &self.stop.pipeline) {
            Err(_) if self.stopped() => return Ok(Outcome::Stopped),
            prepared => prepared?,
        };
        let trainer =
            Trainer::new(self.store.clone(), self.pipeline.clone(), prepared.schema.clone(), self.status.clone());
        self.flow(&topic, prepared, &trainer, log)
    }

    /// Starts the embedded broker, or names the one to go to.
    fn broker(&self) -> anyhow::Result<(Option<millstream_broker::Broker>, String, Option<std::path::PathBuf>)> {
        let (listen, data) = match &self.pipeline.stream.broker {
            BrokerChoice::Servers(servers) => return Ok((None, servers.clone(), None)),
            BrokerChoice::Embedded { listen, data } => (*listen, data.clone()),
        };
        let (broker, address) = open_broker(listen, &data, self.pipeline.stream.retention, &self.status)?;
        Ok((broker, address.to_string(), Some(data)))
    }

    fn flow(
        &self,
        topic: &Topic,
        prepared: Prepared,
        trainer: &Trainer,
        log: Option<std::path::PathBuf>,
    ) -> anyhow::Result<Outcome> {
        let Prepared { identity, schema, state, plan } = prepared;
        let replay = Replay {
            store: self.store.clone(),
            source: self.pipeline.source.clone(),
            identity: identity.clone(),
            plan: plan.clone(),
            topic: topic.clone(),
            state,
            on_stop: self.pipeline.batch.on_stop,
            embedded_log: log.clone(),
            status: self.status.clone(),
        };
        let ingest = Ingest {
            store: self.store.clone(),
            schema,
            identity,
            plan,
            topic: topic.clone(),
            max_rejects: self.pipeline.batch.max_rejects,
            embedded_log: log,
            status: self.status.clone(),
        };
        let (stop, no_more) = (&self.stop.pipeline, AtomicBool::new(false));
        let stop_ingest = AtomicBool::new(false);
        let (complete, completed) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let training = scope.spawn(move || {
                let trained = self.train(trainer, &completed);
                if let Err(error) = &trained {
                    self.problem(&format!("training ended: {error:#}"));
                }
                trained
            });
            let ingesting = scope.spawn(|| {
                let tell = |batch| self.batch_complete(batch, &complete);
                let ended = ingest.run(&stop_ingest, &no_more, &tell);
                // The trainer ends once it has seen every batch; a failed ingest ends the replay too.
                if ended.is_err() {
                    self.stop_stages();
                }
                drop(complete);
                ended
            });
            let replayed = replay.run(stop, &self.stop.asked);
            if let Ok(Ended::Source | Ended::Limit { .. }) = &replayed {
                self.source_ended(&replayed);
            }
            // A batch cut by the stop is still to be committed; otherwise a stop parks it.
            let park = matches!(replayed, Err(_) | Ok(Ended::Stopped)) && self.pipeline.batch.on_stop == OnStop::Park;
            stop_ingest.store(park, Ordering::Relaxed);
            no_more.store(true, Ordering::Release);
            // A signal after the source's end must reach ingest as well.
            while !ingesting.is_finished() {
                std::thread::sleep(std::time::Duration::from_millis(20));
                if self.stopped() && self.pipeline.batch.on_stop == OnStop::Park {
                    stop_ingest.store(true, Ordering::Relaxed);
                }
            }
            let ingested = ingesting.join().map_err(|_| anyhow!("ingest panicked: please report this as a bug"))?;
            let faults = training.join().map_err(|_| anyhow!("training panicked: please report this as a bug"))?;
            // What was trained is served on when a stage fails.
            let mut faults = faults.unwrap_or_else(|error| vec![format!("training: {error:#}")]);
            let stage = |error: &dyn std::error::Error| format!("{}", Causes(error));
            faults.extend(ingested.as_ref().err().map(|error| stage(error)));
            faults.extend(replayed.as_ref().err().map(|error| stage(error)));
            if ingested.is_err() || replayed.is_err() {
                return Ok(Outcome::Failed(faults));
            }
            if matches!(replayed, Ok(Ended::Stopped)) || self.stopped() {
                return Ok(Outcome::Stopped);
            }
            faults.extend(self.never_came()?);
            self.verdicts();
            Ok(if faults.is_empty() { Outcome::Done } else { Outcome::Failed(faults) })
        })
    }

    fn problem(&self, message: &str) {
        self.status.update(|snapshot| snapshot.problems.push(message.to_owned()));
        self.status.event("problem", message, json!({}));
    }

    fn stopped(&self) -> bool {
        self.stop.pipeline.load(Ordering::Relaxed)
    }

    fn stop_stages(&self) {
        self.stop.pipeline.store(true, Ordering::Relaxed);
    }

    fn batch_complete(&self, batch: u32, tell: &mpsc::Sender<()>) {
        let Ok(found) = self.batches.get(batch) else { return };
        let (rows, rejects) = (found.rows(), found.rejects());
        let kept_aside = if rejects == 0 { String::new() } else { format!(", {rejects} rejects") };
        let message = format!("batch {batch} committed: {rows} rows{kept_aside}");
        let data = json!({ "batch": batch, "rows": rows, "rejects": rejects, "total": found.cut.total });
        self.status.event("batch_committed", message, data);
        // The trainer may be gone after a panic; `flow` reports that.
        let _ = tell.send(());
    }

    fn source_ended(&self, ended: &Result<Ended, crate::source::replay::ReplayError>) {
        let rows = self.status.snapshot().source.rows_sent;
        match ended {
            Ok(Ended::Source) => self.status.event(
                "source_ended",
                format!("the source has ended: {rows} rows sent"),
                json!({ "rows": rows }),
            ),
            Ok(Ended::Limit { left }) => {
                let message = format!("batch.limit is reached: {rows} rows sent, {left} left");
                self.status.event("source_ended", message, json!({ "rows": rows, "left": left }));
            }
            Ok(Ended::Stopped) | Err(_) => {}
        }
    }

    /// Trains what is due whenever batches are complete; several that came meanwhile are taken together.
    fn train(&self, trainer: &Trainer, completed: &mpsc::Receiver<()>) -> anyhow::Result<Vec<String>> {
        let mut faults = Vec::new();
        let mut train = || -> anyhow::Result<()> {
            let report = trainer.train_due(&self.batches.complete()?, &self.stop.pipeline)?;
            self.registry.refresh()?;
            faults.extend(report.failed.into_iter().map(|(model, reason)| format!("model {model}: {reason}")));
            Ok(())
        };
        // What an earlier run left untrained.
        train()?;
        while completed.recv().is_ok() {
            while completed.try_recv().is_ok() {}
            train()?;
        }
        if !self.stopped() {
            trainer.finish(&self.batches.complete()?)?;
            self.registry.refresh()?;
        }
        faults.sort();
        faults.dedup();
        Ok(faults)
    }

    /// What each model is worth, in one line each.
    fn verdicts(&self) {
        let served = self.registry.snapshot();
        for version in served.models.values().filter_map(|model| model.latest()) {
            let verdict = version.verdict();
            let name = format!("{}@{}", version.file.model, version.file.version);
            let message = format!("{name} {}: {}, the baseline {}", verdict.words, verdict.model, verdict.baseline);
            self.status.event("verdict", message, json!({ "version": name, "verdict": verdict.words }));
        }
    }

    /// Chosen batches that the stream did not bring.
    fn never_came(&self) -> anyhow::Result<Vec<String>> {
        let complete = u32::try_from(self.batches.complete()?.len()).unwrap_or(u32::MAX);
        let missing = self.pipeline.models.iter().flat_map(|model| {
            let absent = never_came(&model.train_on, complete).into_iter();
            absent.map(|batch| {
                format!("model {}: batch {batch} of its train_on never came: the stream has {complete}", model.name)
            })
        });
        Ok(missing.collect())
    }
}

/// An error with its causes, in one line.
struct Causes<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.0)?;
        let mut said = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            // A transparent error says what its cause says.
            if !said.contains(&error.to_string()) {
                said = error.to_string();
                write!(out, ": {said}")?;
            }
            cause = error.source();
        }
        Ok(())
    }
}

/// Opens the embedded broker's log, or finds who has it open. A taken port is no reason to fail: a free one is taken, and said.
pub fn open_broker(
    listen: SocketAddr,
    data: &std::path::Path,
    retention: Retention,
    status: &Status,
) -> anyhow::Result<(Option<millstream_broker::Broker>, SocketAddr)> {
    use millstream_broker::{BrokerError, Config, Opened, open};
    let config =
        |listen| Config { retention: retention.age, retention_bytes: retention.bytes, ..Config::new(data, listen) };
    let opened = match open(config(listen)) {
        Err(BrokerError::PortInUse { address }) => {
            let free = SocketAddr::new(address.ip(), 0);
            let opened = open(config(free))?;
            let message =
                format!("stream.listen = {address} is taken by another program; the embedded broker takes a free port");
            status.event("broker", message, json!({}));
            opened
        }
        opened => opened?,
    };
    Ok(match opened {
        Opened::Started(broker) => {
            let address = broker.address();
            status.event(
                "broker",
                format!("the embedded broker listens on {address}"),
                json!({ "address": address.to_string() }),
            );
            (Some(broker), address)
        }
        Opened::Running { address } => {
            status.event(
                "broker",
                format!("the log is served by another process, at {address}"),
                json!({ "address": address.to_string() }),
            );
            (None, address)
        }
    })
}
