//! One stage alone, from the same pipeline file, on any machine that reaches the broker and the store: any number of each, but one replay.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use millstream_base::status::{EventKind, Status};
use millstream_model::train::{TrainReport, Trainer, come_last};
use millstream_store::SharedStore;
use millstream_stream::batch::ingest::{Outside, Sharing};
use millstream_stream::batch::{Cut, OnStop, Signals, StoredBatches};
use millstream_stream::replay::Ended;
use millstream_stream::source::Dataset;
use millstream_stream::topic::pause;
use serde_json::json;

use super::answers::AnswerBatches;
use super::broker::{Reached, reach};
use super::posting::{OwnTopic, reach_others};
use super::prepare::{Join, prepare, wait_for_schema};
use super::serving::{Pace, Server};
use super::stages::{Stages, is_last, say_batch, say_source_ended, source_ends};
use super::stop::{STOP_MOST, Stop, StopSignals, stop_most, stop_on_signal};
use super::supervisor::{Others, Stage, Supervisor, panicked};
use super::{Options, Outcome, lock_store, open_store, open_store_reading};
use crate::config::Pipeline;

/// How often a stage looks whether the one before it has brought something.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// How often the store is asked whether the source has ended.
const END_PAUSE: Duration = Duration::from_secs(1);

/// What a stage alone needs beside the pipeline.
pub struct Alone {
    pub exit_when_done: bool,
    pub status: Arc<Status>,
}

/// The signals of a process without a server.
struct Watching {
    stop: Arc<Stop>,
    _runtime: tokio::runtime::Runtime,
}

fn watch_signals(pipeline: &Pipeline) -> anyhow::Result<Watching> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let stop = Arc::new(Stop::default());
    let signals = {
        let _inside = runtime.enter();
        StopSignals::watch()?
    };
    runtime.spawn(stop_on_signal(signals, stop.clone(), stop_most(pipeline)));
    Ok(Watching { stop, _runtime: runtime })
}

/// Sends the source's rows and decides the cuts that follow from them; ends with the source.
pub fn replay(pipeline: &Pipeline, alone: &Alone) -> anyhow::Result<Outcome> {
    let store = open_store(&pipeline.store)?;
    let Some(source) = &pipeline.source else {
        anyhow::bail!("there is no [source] to replay: this pipeline listens only")
    };
    let _ours = lock_store(&pipeline.store)?;
    let watching = watch_signals(pipeline)?;
    let Reached { broker, topic, log } = reach(pipeline, &alone.status)?;
    let stop = &watching.stop;
    let dataset = Arc::new(Dataset::new(source).until(stop.pipeline.clone()));
    let prepared = match prepare(pipeline, &store, &topic, Join::Begin(&dataset), &alone.status, &stop.pipeline) {
        Err(_) if stop.pipeline.load(Ordering::Relaxed) => return Ok(Outcome::Stopped),
        prepared => prepared?,
    };
    if let Some(broker) = &broker {
        broker.reserve_group(&prepared.identity.group());
    }
    let stages =
        Stages { pipeline, store: &store, status: &alone.status, topic: &topic, prepared: &prepared, log: &log };
    let replayed = stages.replay(dataset)?.run(&stop.pipeline, &stop.asked);
    say_source_ended(&alone.status, replayed.as_ref().ok());
    let ended = replayed?;
    if broker.is_some() && ended != Ended::Stopped {
        alone.status.event(
            EventKind::Broker,
            "the embedded broker ends with this process: others read the topic while `millstream broker` runs",
            json!({}),
        );
    }
    Ok(if ended == Ended::Stopped { Outcome::Stopped } else { Outcome::Done })
}

/// Reads its share of the partitions into batches, until told to stop.
pub fn ingest(pipeline: &Pipeline, alone: &Alone) -> anyhow::Result<Outcome> {
    let store = open_store(&pipeline.store)?;
    let watching = watch_signals(pipeline)?;
    let stop = &watching.stop;
    let Reached { broker, topic, log } = reach(pipeline, &alone.status)?;
    let join = if pipeline.source.is_some() { Join::Wait } else { Join::Listen };
    let prepared = match prepare(pipeline, &store, &topic, join, &alone.status, &stop.pipeline) {
        Err(_) if stop.pipeline.load(Ordering::Relaxed) => return Ok(Outcome::Stopped),
        prepared => prepared?,
    };
    if let Some(broker) = &broker {
        broker.reserve_group(&prepared.identity.group());
    }
    let stages =
        Stages { pipeline, store: &store, status: &alone.status, topic: &topic, prepared: &prepared, log: &log };
    let reached = OwnTopic::new(OnceLock::from((topic.clone(), log.clone())));
    let answers = AnswerBatches::start(pipeline, &reached, Sharing::Group, &alone.status)?;
    let (ingest, decider) = (stages.ingest(Sharing::Group), stages.decider());
    let cuts_at_stop = pipeline.batch.on_stop == OnStop::Cut && !prepared.plan.replay_decides();
    let batches = StoredBatches::new(store.clone());
    let end = SourceWatch::new(&store);
    let (leads, stop_ingest) = (AtomicBool::new(false), AtomicBool::new(false));
    let stopped_at_cut = AtomicBool::new(false);
    let supervisor = Supervisor { status: &alone.status, stop };
    let outcome = std::thread::scope(|scope| {
        let deciding = scope.spawn(|| {
            let over = || end.ends();
            let signals = Signals {
                active: &leads,
                stop: &stop.pipeline,
                asked: &stop.asked,
                cut_at_stop: cuts_at_stop,
                over: &over,
            };
            let ended = supervisor.watch("the decider", Others::End, || decider.run(&signals));
            // All may be decided before anyone says stop.
            while !stop.pipeline.load(Ordering::Relaxed) {
                pause(&stop.pipeline, LOOK_PAUSE);
            }
            // A decider that ended with an error ends the worker; at a stop its last cut is still to be committed.
            let ends_at_cut = cuts_at_stop && stop.asked.load(Ordering::Relaxed) && ended.is_ok();
            let flag = if ends_at_cut { &stopped_at_cut } else { &stop_ingest };
            flag.store(true, Ordering::Release);
            ended
        });
        let complete = |batch| {
            if let Ok(found) = batches.get(batch) {
                say_batch(&alone.status, &found);
            }
        };
        let no_more = |last: Option<&Cut>| {
            stopped_at_cut.load(Ordering::Acquire)
                || (alone.exit_when_done && is_last(pipeline, end.ends().ok().flatten().as_deref(), last))
        };
        let outside = Outside { stop: &stop_ingest, no_more: &no_more, leads: &leads, complete: &complete };
        let ingested = supervisor.watch("ingest", Others::End, || ingest.run(&outside));
        // All is done, and more may come with a higher limit: only the flag ends a worker.
        if ingested.is_ok()
            && !alone.exit_when_done
            && !stop.pipeline.load(Ordering::Relaxed)
            && !deciding.is_finished()
        {
            alone.status.event(EventKind::Idle, "all batches are complete; waiting to be stopped", json!({}));
            while !stop.pipeline.load(Ordering::Relaxed) && !deciding.is_finished() {
                pause(&stop.pipeline, LOOK_PAUSE);
            }
        }
        let stopped = stop.asked.load(Ordering::Relaxed);
        stop.pipeline.store(true, Ordering::Relaxed);
        let decided = deciding.join().unwrap_or_else(|_| Err(panicked("the decider")));
        ingested.and(decided)?;
        Ok(if stopped { Outcome::Stopped } else { Outcome::Done })
    });
    if let Some(answers) = answers {
        answers.end();
    }
    outcome
}

/// Trains every due version as batches become complete, until told to stop.
pub fn train(pipeline: Pipeline, alone: &Alone) -> anyhow::Result<Outcome> {
    let store = open_store(&pipeline.store)?;
    let watching = watch_signals(&pipeline)?;
    let stop = &watching.stop.pipeline;
    let pipeline = Arc::new(pipeline);
    let Some(schema) = wait_for_schema(&pipeline, &store, &alone.status, stop)? else { return Ok(Outcome::Stopped) };
    let trainers = Trainer::of_each_engine(&store, &pipeline.models, &pipeline.train, &schema, &alone.status);
    let (batches, end) = (StoredBatches::new(store.clone()), SourceWatch::new(&store));
    let training = Training { pipeline: &pipeline, alone, batches: &batches, end: &end, stop };
    let supervisor = Supervisor { status: &alone.status, stop: &watching.stop };
    let outcomes: Vec<anyhow::Result<Outcome>> = std::thread::scope(|scope| {
        let start =
            |trainer| supervisor.start(scope, "training", Others::End, move || come_last(|| training.run(trainer)));
        let stages: Vec<_> = trainers.iter().map(start).collect();
        stages.into_iter().map(Stage::join).collect()
    });
    let mut failed = Vec::new();
    let mut whole = Outcome::Done;
    for outcome in outcomes {
        match outcome? {
            Outcome::Done => {}
            Outcome::Stopped => whole = Outcome::Stopped,
            Outcome::Failed(faults) => failed.extend(faults),
        }
    }
    Ok(if failed.is_empty() { whole } else { Outcome::Failed(failed) })
}

/// What the trainers of one process share.
#[derive(Clone, Copy)]
struct Training<'a> {
    pipeline: &'a Pipeline,
    alone: &'a Alone,
    batches: &'a StoredBatches,
    end: &'a SourceWatch<'a>,
    stop: &'a AtomicBool,
}

impl Training<'_> {
    fn run(&self, trainer: &Trainer) -> anyhow::Result<Outcome> {
        let Self { pipeline, alone, batches, end, stop } = *self;
        let (mut seen, mut failed) = (None, Vec::new());
        // Until when what is due waits for the clock.
        let mut waits_until: Option<Instant> = None;
        let mut done = |report: TrainReport| {
            failed.extend(report.failed.into_iter().map(|(model, reason)| format!("model {model}: {reason}")));
            report.waits.map(|wait| Instant::now() + wait)
        };
        while !stop.load(Ordering::Relaxed) {
            // Asked before the batches are: what the end names is then among them.
            let ends = end.ends().map_err(|error| anyhow::anyhow!("{error}"))?;
            let complete = batches.complete()?;
            if seen != Some(complete.len()) || waits_until.is_some_and(|until| Instant::now() >= until) {
                waits_until = done(trainer.train_due(&complete, stop)?);
                seen = Some(complete.len());
            }
            let last = complete.last().map(|batch| &*batch.cut);
            let limit = pipeline.batch.limit.map(|limit| limit.get());
            let parts = millstream_stream::batch::last_part(&pipeline.batch.rule);
            let reached = |most: Option<u32>| most.is_some() && last.map(|cut| cut.batch) >= most;
            if alone.exit_when_done && (reached(limit) || reached(parts) || is_last(pipeline, ends.as_deref(), last)) {
                done(trainer.finish(&complete, stop)?);
                return Ok(if failed.is_empty() { Outcome::Done } else { Outcome::Failed(failed) });
            }
            pause(stop, LOOK_PAUSE);
        }
        Ok(Outcome::Stopped)
    }
}

/// Serves every version as it appears in the store, until told to stop.
pub fn serve_alone(pipeline: &Arc<Pipeline>, options: Options, status: &Arc<Status>) -> anyhow::Result<Outcome> {
    let store = open_store_reading(&pipeline.store)?;
    let stop = Arc::new(Stop::default());
    let pace = Pace { stop: STOP_MOST, look: LOOK_PAUSE };
    let server = Server::start(pipeline, &store, status, &stop, pace, &|| reach_others(pipeline))?;
    server.announce(options.announce, status);
    server.wait(&stop);
    server.end(&stop)?;
    Ok(Outcome::Stopped)
}

/// Whether the source has ended, asked of the store now and then; once known it stays.
struct SourceWatch<'a> {
    store: &'a SharedStore,
    known: Mutex<(Option<Instant>, Option<Vec<i64>>)>,
}

impl<'a> SourceWatch<'a> {
    fn new(store: &'a SharedStore) -> Self {
        Self { store, known: Mutex::default() }
    }

    fn ends(&self) -> Result<Option<Vec<i64>>, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, ends) = &mut *known;
        if ends.is_none() && asked.is_none_or(|asked| asked.elapsed() >= END_PAUSE) {
            *ends = source_ends(self.store)?;
            *asked = Some(Instant::now());
        }
        Ok(ends.clone())
    }
}
