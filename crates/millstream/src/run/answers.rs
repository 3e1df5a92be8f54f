//! The answers that are kept (`serve.log`), as batches: their topic is ingested as any topic of others, into a store of its own below the
//! pipeline's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use millstream_base::error_chain;
use millstream_base::status::Status;
use millstream_stream::batch::Signals;
use millstream_stream::batch::ingest::{Outside, Sharing};
use millstream_stream::topic::pause;

use super::open_store;
use super::posting::OwnTopic;
use super::prepare::{Join, prepare};
use super::stages::Stages;
use super::supervisor::panicked;
use crate::config::Pipeline;

/// Between two looks whether the broker is reached.
const REACH_PAUSE: Duration = Duration::from_millis(100);
/// Before it is begun anew after a fault; twice as long each time, up to the second.
const AGAIN_PAUSE: Duration = Duration::from_secs(1);
const AGAIN_PAUSE_MOST: Duration = Duration::from_secs(60);

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
            again_and_again(&status, &stopped, |begun| ingest(&answers, &topic, sharing, &stopped, begun));
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

/// Runs `ingest` until told to stop. What ends it before is told and tried again, as it would be after a start of the process; what was told is
/// over once it has `begun`.
fn again_and_again(status: &Status, stop: &AtomicBool, mut ingest: impl FnMut(&mut dyn FnMut()) -> anyhow::Result<()>) {
    let (mut told, mut wait) = (None, AGAIN_PAUSE);
    while !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| ingest(&mut || status.tell(&mut told, None))));
        let ended = ended.unwrap_or_else(|_| Err(panicked("what cuts kept answers into batches")));
        if let Err(error) = ended
            && !stop.load(Ordering::Relaxed)
        {
            let problem = format!("kept answers are cut into no batches just now: {}", error_chain(error.as_ref()));
            status.tell(&mut told, Some(problem));
        }
        wait = if started.elapsed() > AGAIN_PAUSE_MOST { AGAIN_PAUSE } else { wait };
        pause(stop, wait);
        wait = (wait * 2).min(AGAIN_PAUSE_MOST);
    }
}

fn ingest(
    pipeline: &Pipeline,
    topic: &OwnTopic,
    sharing: Sharing,
    stop: &AtomicBool,
    begun: &mut dyn FnMut(),
) -> anyhow::Result<()> {
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
    let (leads, nobody) = (AtomicBool::new(false), AtomicBool::new(false));
    begun();
    let decide = |ended: &AtomicBool| -> anyhow::Result<()> {
        let over = || Ok(None);
        Ok(decider.run(&Signals { active: &leads, stop: ended, asked: &nobody, cut_at_stop: false, over: &over })?)
    };
    let ingest = |ended: &AtomicBool| -> anyhow::Result<()> {
        let outside = Outside { stop: ended, no_more: &|_| false, leads: &leads, complete: &|_| {} };
        Ok(ingest.run(&outside)?)
    };
    both(stop, decide, ingest)
}

/// Runs both until told to stop. Either that ends, fails or panics ends the other, by the flag that they are given.
fn both(
    stop: &AtomicBool,
    decide: impl FnOnce(&AtomicBool) -> anyhow::Result<()> + Send,
    ingest: impl FnOnce(&AtomicBool) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                pause(stop, REACH_PAUSE);
                ended.fetch_or(stop.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        });
        let deciding = scope.spawn(|| {
            let _ends = Ends(&ended);
            decide(&ended)
        });
        let ingested = {
            let _ends = Ends(&ended);
            ingest(&ended)
        };
        let decided = deciding.join().unwrap_or_else(|_| Err(panicked("the decider of kept answers")));
        ingested.and(decided)
    })
}

/// Sets the flag however it is left.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn until_ended(ended: &AtomicBool) -> anyhow::Result<()> {
        while !ended.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    #[test]
    fn either_that_fails_or_panics_ends_the_other() {
        let running = AtomicBool::new(false);
        let error = both(&running, |_| panic!("an impossible state"), until_ended).unwrap_err();
        assert_eq!(error.to_string(), "the decider of kept answers panicked: please report this as a bug");
        let error = both(&running, |_| Err(anyhow!("the store is away")), until_ended).unwrap_err();
        assert_eq!(error.to_string(), "the store is away");
        let error = both(&running, until_ended, |_| Err(anyhow!("the broker is away"))).unwrap_err();
        assert_eq!(error.to_string(), "the broker is away");
        let ended = catch_unwind(AssertUnwindSafe(|| both(&running, until_ended, |_| panic!("an impossible state"))));
        assert!(ended.is_err());
        assert!(both(&AtomicBool::new(true), until_ended, until_ended).is_ok());
    }

    #[test]
    fn what_ends_it_is_told_until_it_has_begun_again() {
        let (status, stop, mut tries) = (Status::new("p"), AtomicBool::new(false), 0);
        again_and_again(&status, &stop, |begun| {
            tries += 1;
            let problems = status.snapshot().problems;
            match tries {
                1 => panic!("an impossible state"),
                2 => {
                    assert!(problems[0].ends_with("panicked: please report this as a bug"), "{problems:?}");
                    Err(anyhow!("the store is away"))
                }
                _ => {
                    assert_eq!(problems, ["kept answers are cut into no batches just now: the store is away"]);
                    begun();
                    assert_eq!(status.snapshot().problems, Vec::<String>::new());
                    stop.store(true, Ordering::Relaxed);
                    Ok(())
                }
            }
        });
        assert_eq!((tries, status.snapshot().problems.len()), (3, 0));
    }
}
