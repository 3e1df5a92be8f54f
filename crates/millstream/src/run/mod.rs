//! The file that wires the stages: source → topic → batch → train → registry → serve, in one process or each in its own.
//!
//! Each stage is a thread that knows its neighbours only through the store and the topic. The API and the page are up first and
//! stay up whatever happens to the pipeline, until the process is told to stop.

mod alone;
mod answers;
mod broker;
mod flow;
mod memory;
mod posting;
mod prepare;
mod progress;
mod serving;
mod stages;
mod stop;
mod supervisor;

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;

pub use alone::{Alone, ingest, replay, serve_alone, train};
pub use broker::open_broker;
pub use memory::give_back_memory;
pub use millstream_stream::batch::{SCHEMA_KEY, read_schema};
pub use prepare::{check_data, with_rules};
pub use progress::Progress;
pub(crate) use stop::{StopSignals, end_broker};

use crate::config::Pipeline;
use answers::AnswerBatches;
use flow::Flow;
use millstream_base::status::{EventKind, Status};
use millstream_store::{LocalStore, S3Store, SharedStore, StoreUrl};
use millstream_stream::batch::ingest::Sharing;
use posting::OwnTopic;
use serving::{Pace, Server};
use stop::{Stop, stop_most};

/// So often a whole pipeline looks for what other processes did: its own stages tell theirs.
const LOOK: Duration = Duration::from_secs(2);

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

/// For who only reads: serving, queries, lists and verifying work on a store that nobody may write to.
pub fn open_store_reading(url: &StoreUrl) -> anyhow::Result<SharedStore> {
    match url {
        StoreUrl::Local(folder) => Ok(Arc::new(LocalStore::open_reading(folder))),
        StoreUrl::S3 { bucket, prefix } => Ok(Arc::new(S3Store::open_reading(bucket, prefix).context("store.url")?)),
    }
}

/// One replay per store: two of one source would send every row twice. Held until the process ends, however it ends.
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
            bail!(
                "{url}: another process runs a pipeline on this store (run or replay): stop it, or use another store.url"
            )
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
pub fn run(pipeline: &Arc<Pipeline>, options: Options, status: &Arc<Status>) -> anyhow::Result<Outcome> {
    let store = open_store(&pipeline.store)?;
    // Who listens only sends nothing twice.
    let _ours = pipeline.source.as_ref().map(|_| lock_store(&pipeline.store)).transpose()?;
    let stop = Arc::new(Stop::default());
    let topic = OwnTopic::default();
    let pace = Pace { stop: stop_most(pipeline), look: LOOK };
    let server = Server::start(pipeline, &store, status, &stop, pace, &|| posting::reach_own(&topic))?;
    server.announce(options.announce, status);
    let answers = AnswerBatches::start(pipeline, &topic, Sharing::Alone, status)?;
    let flow = Flow {
        pipeline: pipeline.clone(),
        store,
        batches: server.batches.clone(),
        registry: server.registry.clone(),
        status: status.clone(),
        stop: stop.clone(),
        topic,
    };
    // Lives until the end: others may read the topic while the models are served.
    let mut broker = None;
    let outcome = flow.run(&mut broker);
    conclude(status, &outcome);
    stop.failed.store(matches!(outcome, Ok(Outcome::Failed(_)) | Err(_)), Ordering::Relaxed);
    // What was trained is served on, even when the pipeline failed.
    let serve_on = matches!(outcome, Ok(Outcome::Done | Outcome::Failed(_))) && !options.exit_when_done;
    if serve_on {
        let message = format!("serving on {}://{} until stopped", pipeline.serve.scheme(), server.address);
        status.event(EventKind::Serving, message, json!({}));
        server.wait(&stop);
    }
    let _hears_signals = server.end(&stop)?;
    if let Some(answers) = answers {
        answers.end();
    }
    end_broker(broker);
    // A failure that was served on is still one: the exit code says so.
    outcome
}

/// Tells the page and the log how it ended.
fn conclude(status: &Status, outcome: &anyhow::Result<Outcome>) {
    match outcome {
        Ok(Outcome::Done) => status.update(|snapshot| {
            "done".clone_into(&mut snapshot.state);
            // No batch is open any more.
            (snapshot.batch.batch, snapshot.batch.rows, snapshot.batch.rows_expected) = (0, 0, None);
        }),
        Ok(Outcome::Stopped) => status.update(|snapshot| "stopping".clone_into(&mut snapshot.state)),
        Ok(Outcome::Failed(faults)) => {
            status.update(|snapshot| {
                "failed".clone_into(&mut snapshot.state);
                // Some were told when they came up.
                let known: HashSet<String> = snapshot.problems.iter().cloned().collect();
                snapshot.problems.extend(faults.iter().filter(|fault| !known.contains(*fault)).cloned());
            });
            for fault in faults {
                status.event(EventKind::Failed, fault.clone(), json!({}));
            }
        }
        // The caller says it: the process ends with it.
        Err(_) => status.update(|snapshot| "failed".clone_into(&mut snapshot.state)),
    }
}
