//! The whole pipeline in one process: replay, the decider, ingest and training side by side.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context;
use millstream_base::error_chain;
use millstream_store::SharedStore;
use serde_json::json;

use super::Outcome;
use super::broker::{Reached, reach};
use super::posting::OwnTopic;
use super::prepare::{Join, Prepared, prepare};
use super::stages::{Stages, say_batch, say_source_ended, source_ends};
use super::stop::{CUT_MOST, Stop};
use super::supervisor::{Others, Stage, Supervisor};
use crate::config::Pipeline;
use millstream_base::status::{EventKind, Status};
use millstream_model::registry::Registry;
use millstream_model::train::plan::never_came;
use millstream_model::train::{TrainReport, Trainer, come_last};
use millstream_stream::batch::ingest::{Outside, Sharing};
use millstream_stream::batch::{OnStop, Signals, StoredBatches, fail_point};
use millstream_stream::replay::Ended;
use millstream_stream::source::Dataset;
use millstream_stream::topic::pause;

pub(super) struct Flow {
    pub pipeline: Arc<Pipeline>,
    pub store: SharedStore,
    pub batches: Arc<StoredBatches>,
    pub registry: Arc<Registry>,
    pub status: Arc<Status>,
    pub stop: Arc<Stop>,
    /// Told once the broker is reached.
    pub topic: OwnTopic,
}

impl Flow {
    pub fn run(&self, broker: &mut Option<millstream_broker::Broker>) -> anyhow::Result<Outcome> {
        let Reached { broker: started, topic, log } = reach(&self.pipeline, &self.status)?;
        *broker = started;
        // Who posts rows waits for nothing else.
        let _ = self.topic.set((topic.clone(), log.clone()));
        let until = || self.stop.pipeline.clone();
        let dataset = self.pipeline.source.as_ref().map(|source| Arc::new(Dataset::new(source).until(until())));
        let begin = dataset.as_deref().map_or(Join::Listen, Join::Begin);
        let prepared = prepare(&self.pipeline, &self.store, &topic, begin, &self.status, &self.stop.pipeline);
        let prepared = match prepared {
            Err(_) if self.stopped() => return Ok(Outcome::Stopped),
            prepared => prepared?,
        };
        if let Some(broker) = broker {
            broker.reserve_group(&prepared.identity.group());
        }
        let Pipeline { models, train, .. } = &*self.pipeline;
        let trainers = Trainer::of_each_engine(&self.store, models, train, &prepared.schema, &self.status);
        let stages = Stages {
            pipeline: &self.pipeline,
            store: &self.store,
            status: &self.status,
            topic: &topic,
            prepared: &prepared,
            log: &log,
        };
        self.flow(&stages, dataset, &trainers, &prepared)
    }

    fn flow(
        &self,
        stages: &Stages,
        dataset: Option<Arc<Dataset>>,
        trainers: &[Trainer],
        prepared: &Prepared,
    ) -> anyhow::Result<Outcome> {
        let replay = dataset.map(|dataset| stages.replay(dataset)).transpose()?;
        let (ingest, decider) = (stages.ingest(Sharing::Alone), stages.decider());
        let cuts_at_stop = self.pipeline.batch.on_stop == OnStop::Cut;
        let (leads, no_more) = (AtomicBool::new(false), AtomicBool::new(false));
        let (stop_ingest, stop_decider, source_over) =
            (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
        let (complete, completed): (Vec<_>, Vec<_>) = trainers.iter().map(|_| mpsc::channel::<()>()).unzip();
        let supervisor = Supervisor { status: &self.status, stop: &self.stop };
        std::thread::scope(|scope| {
            let start = |(trainer, completed): (_, mpsc::Receiver<()>)| {
                supervisor.start(scope, "training", Others::GoOn, move || {
                    come_last(move || self.train(trainer, &completed).context("training"))
                })
            };
            let training: Vec<_> = trainers.iter().zip(completed).map(start).collect();
            let ingest = || {
                // Trainers end once they have seen every batch: they are told when all know whether that was the end or a fault.
                let complete = complete;
                supervisor.watch("ingest", Others::End, || {
                    let tell = |batch| self.batch_complete(batch, &complete);
                    let no_more = |_: Option<&_>| no_more.load(Ordering::Acquire);
                    ingest.run(&Outside { stop: &stop_ingest, no_more: &no_more, leads: &leads, complete: &tell })
                })
            };
            let ingesting = Stage { name: "ingest", thread: scope.spawn(ingest) };
            let deciding = supervisor.start(scope, "the decider", Others::End, || {
                let over = || if source_over.load(Ordering::Acquire) { source_ends(&self.store) } else { Ok(None) };
                decider.run(&Signals {
                    active: &leads,
                    stop: &stop_decider,
                    asked: &self.stop.asked,
                    cut_at_stop: cuts_at_stop,
                    over: &over,
                })
            });
            let replayed = match &replay {
                Some(replay) => {
                    supervisor.watch("the replay", Others::GoOn, || replay.run(&self.stop.pipeline, &self.stop.asked))
                }
                None => Ok(self.listen(&|| ingesting.is_finished())),
            };
            say_source_ended(&self.status, replayed.as_ref().ok());
            if matches!(replayed, Ok(Ended::Source)) {
                source_over.store(true, Ordering::Release);
            }
            // Where replay decides, all is decided; otherwise the decider goes on until the last record is in a cut.
            let decided =
                prepared.plan.replay_decides() || !matches!(replayed, Ok(Ended::Source | Ended::Limit { .. }));
            while !decided && !deciding.is_finished() && !self.stopped() {
                std::thread::sleep(Duration::from_millis(20));
            }
            stop_decider.store(true, Ordering::Relaxed);
            let decided = deciding.join();
            // A batch cut by the stop is still to be committed; otherwise a stop parks it.
            let park = (matches!(replayed, Err(_) | Ok(Ended::Stopped)) || self.stopped()) && !cuts_at_stop;
            stop_ingest.store(park || decided.is_err(), Ordering::Relaxed);
            no_more.store(true, Ordering::Release);
            // A signal after the source's end must reach ingest as well.
            let told = Instant::now();
            while !ingesting.is_finished() {
                std::thread::sleep(Duration::from_millis(20));
                // What a stop has cut is committed, unless the broker is away for too long: it is committed then at the next start.
                if self.stopped() && (!cuts_at_stop || told.elapsed() > CUT_MOST) {
                    stop_ingest.store(true, Ordering::Relaxed);
                }
            }
            let ingested = ingesting.join();
            let trained = training.into_iter().map(Stage::join);
            let reason = |error: &anyhow::Error| error_chain(error.as_ref());
            let mut faults: Vec<String> =
                trained.flat_map(|trained| trained.unwrap_or_else(|error| vec![reason(&error)])).collect();
            let failed = [ingested.as_ref().err(), decided.as_ref().err(), replayed.as_ref().err()];
            faults.extend(failed.into_iter().flatten().map(reason));
            if failed.iter().any(Option::is_some) {
                return Ok(Outcome::Failed(faults));
            }
            if self.stop.asked.load(Ordering::Relaxed) {
                return Ok(Outcome::Stopped);
            }
            // Nobody asked: a training that panicked ended the others.
            if self.stopped() {
                return Ok(Outcome::Failed(faults));
            }
            faults.extend(self.never_came()?);
            faults.extend(self.nothing_but_rejects()?);
            self.verdicts();
            Ok(if faults.is_empty() { Outcome::Done } else { Outcome::Failed(faults) })
        })
    }

    /// Others write the topic: there is nothing to send, until the limit is reached or someone says stop.
    fn listen(&self, ended: &dyn Fn() -> bool) -> Ended {
        while !self.stopped() {
            if ended() {
                return Ended::Limit { left: None };
            }
            pause(&self.stop.pipeline, Duration::from_millis(50));
        }
        Ended::Stopped
    }

    fn stopped(&self) -> bool {
        self.stop.pipeline.load(Ordering::Relaxed)
    }

    fn batch_complete(&self, batch: u32, tell: &[mpsc::Sender<()>]) {
        let Ok(found) = self.batches.get(batch) else { return };
        say_batch(&self.status, &found);
        // A trainer may be gone after a panic; `flow` reports that.
        tell.iter().for_each(|tell| {
            let _ = tell.send(());
        });
    }

    /// Trains what is due whenever batches are complete; several that came meanwhile are taken together.
    fn train(&self, trainer: &Trainer, completed: &mpsc::Receiver<()>) -> anyhow::Result<Vec<String>> {
        let mut faults = Vec::new();
        let mut done = |report: TrainReport| {
            faults.extend(report.failed.into_iter().map(|(model, reason)| format!("model {model}: {reason}")));
            self.registry.refresh()
        };
        loop {
            fail_point("train.due");
            // At first what an earlier run left untrained.
            let report = trainer.train_due(&self.batches.complete()?, &self.stop.pipeline)?;
            let waits = report.waits;
            done(report)?;
            let came = match waits {
                Some(wait) => completed.recv_timeout(wait),
                None => completed.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            if came == Err(RecvTimeoutError::Disconnected) {
                break;
            }
            while completed.try_recv().is_ok() {}
        }
        if !self.stopped() {
            done(trainer.finish(&self.batches.complete()?, &self.stop.pipeline)?)?;
        }
        Ok(faults)
    }

    /// What each model is worth, in one line each.
    fn verdicts(&self) {
        let served = self.registry.snapshot();
        for version in served.models.values().filter_map(|model| model.latest()) {
            let verdict = version.verdict();
            let name = format!("{}@{}", version.file.model, version.file.version);
            let message = format!("{name} {verdict}");
            self.status.event(EventKind::Verdict, message, json!({ "version": name, "verdict": verdict.words }));
        }
    }

    /// A stream of which no record fits is no success.
    fn nothing_but_rejects(&self) -> anyhow::Result<Option<String>> {
        let complete = self.batches.complete()?;
        let (rows, rejects) =
            complete.iter().fold((0, 0), |(rows, rejects), batch| (rows + batch.rows(), rejects + batch.rejects()));
        let file = complete.iter().flat_map(|batch| batch.parts.iter()).find_map(|part| {
            let file = part.rejects_file.as_ref()?;
            Some(self.store.place(&format!("{}/{file}", millstream_stream::batch::batch_folder(part.batch))))
        });
        Ok((rows == 0 && rejects > 0).then(|| {
            let file = file.map_or_else(String::new, |file| format!("; {file} has the reason of each"));
            format!("all {rejects} records of the stream are rejects{file}: mend [schema] or [source], and begin anew")
        }))
    }

    /// Chosen batches that the stream did not bring.
    fn never_came(&self) -> anyhow::Result<Vec<String>> {
        let complete = self.batches.complete()?.last().map_or(0, millstream_stream::batch::Batch::number);
        let missing = self.pipeline.models.iter().flat_map(|model| {
            let absent = never_came(&model.train_on, complete).into_iter();
            absent.map(|batch| {
                format!("model {}: batch {batch} of its train_on never came: the stream has {complete}", model.name)
            })
        });
        Ok(missing.collect())
    }
}
