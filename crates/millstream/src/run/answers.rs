//! The answers that are kept (`serve.log`), as batches: their topic is ingested as any topic of others, into a store of its own below the
//! pipeline's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use millstream_base::error_chain;
use millstream_base::status::Status;
use millstream_stream::batch::Signals;
use millstream_stream::batch::ingest::{Outside, Sharing};
use millstream_stream::topic::pause;

use super::open_store;
use super::posting::OwnTopic;
use super::prepare::{Join, prepare};
use super::stages::Stages;
use crate::config::Pipeline;

/// Between two looks whether the broker is reached.
const REACH_PAUSE: Duration = Duration::from_millis(100);

/// The thread that cuts kept answers into batches.
pub(super) struct AnswerBatches {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl AnswerBatches {
    /// `None`: the pipeline keeps no answers. `topic`: of the stream, once it is reached; `status`: is told what goes wrong.
    pub fn start(
        pipeline: &Pipeline,
        topic: &OwnTopic,
        sharing: Sharing,
        status: &Arc<Status>,
    ) -> std::io::Result<Option<Self>> {
        let Some(answers) = pipeline.answers() else { return Ok(None) };
        let stop = Arc::new(AtomicBool::new(false));
        let (topic, status, stopped) = (topic.clone(), status.clone(), stop.clone());
        let work = move || {
            if let Err(error) = ingest(&answers, &topic, sharing, &stopped)
                && !stopped.load(Ordering::Relaxed)
            {
                let problem = format!("kept answers are cut into no batches: {}", error_chain(error.as_ref()));
                status.tell(&mut None, Some(problem));
            }
        };
        let thread = std::thread::Builder::new().name("answer batches".to_owned()).spawn(work)?;
        Ok(Some(Self { stop, thread }))
    }

    /// Parks the open batch.
    pub fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            tracing::error!("the thread that cuts kept answers into batches panicked");
        }
    }
}

fn ingest(pipeline: &Pipeline, topic: &OwnTopic, sharing: Sharing, stop: &AtomicBool) -> anyhow::Result<()> {
    let (topic, log) = loop {
        match topic.get() {
            Some((topic, log)) => break (topic.named(&pipeline.stream.topic), log.clone()),
            None if stop.load(Ordering::Relaxed) => return Ok(()),
            None => pause(stop, REACH_PAUSE),
        }
    };
    let store = open_store(&pipeline.store)?;
    // What it tells of its batches is not the pipeline's.
    let status = Arc::new(Status::new(&pipeline.name));
    let prepared = prepare(pipeline, &store, &topic, Join::Listen, &status, stop)?;
    let stages = Stages { pipeline, store: &store, status: &status, topic: &topic, prepared: &prepared, log: &log };
    let (ingest, decider) = (stages.ingest(sharing), stages.decider());
    let (leads, nobody, ended) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // Either ends the other, and both end with the process.
        let watching = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                pause(stop, REACH_PAUSE);
                ended.fetch_or(stop.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        });
        let deciding = scope.spawn(|| {
            let over = || Ok(None);
            let signals = Signals { active: &leads, stop: &ended, asked: &nobody, cut_at_stop: false, over: &over };
            let decided = decider.run(&signals);
            ended.store(true, Ordering::Relaxed);
            decided
        });
        let outside = Outside { stop: &ended, no_more: &|_| false, leads: &leads, complete: &|_| {} };
        let ingested = ingest.run(&outside);
        ended.store(true, Ordering::Relaxed);
        let panicked = || anyhow::anyhow!("it panicked; this is a fault of Millstream, please report it");
        let decided = deciding.join().map_err(|_| panicked())?;
        watching.join().map_err(|_| panicked())?;
        ingested?;
        Ok(decided?)
    })
}
