//! The stages of one process as named threads: nothing may look like running that is gone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::thread::{Scope, ScopedJoinHandle};

use anyhow::anyhow;
use millstream_base::error_chain;
use millstream_base::status::{EventKind, Status};
use serde_json::json;

use super::stop::Stop;

pub(super) struct Supervisor<'a> {
    pub status: &'a Status,
    pub stop: &'a Stop,
}

/// What the others do when a stage fails. When it panics they end in any case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    End,
    GoOn,
}

/// A stage in a thread of its own.
pub(super) struct Stage<'scope, T> {
    pub name: &'static str,
    pub thread: ScopedJoinHandle<'scope, anyhow::Result<T>>,
}

impl Supervisor<'_> {
    /// Runs a stage here. Its error, which a panic is too, is told at once and not when the others have ended.
    pub fn watch<T, E: Into<anyhow::Error>>(
        &self,
        name: &str,
        others: Others,
        run: impl FnOnce() -> Result<T, E>,
    ) -> anyhow::Result<T> {
        let ended = catch_unwind(AssertUnwindSafe(run));
        let ends_others = others == Others::End || ended.is_err();
        let ended = ended.map_or_else(|_| Err(panicked(name)), |ended| ended.map_err(Into::into));
        if let Err(error) = &ended {
            let message = error_chain(error.as_ref());
            self.status.update(|snapshot| {
                "failed".clone_into(&mut snapshot.state);
                snapshot.problems.push(message.clone());
            });
            self.status.event(EventKind::Problem, message, json!({}));
            if ends_others {
                self.stop.pipeline.store(true, Ordering::Relaxed);
            }
        }
        ended
    }

    /// As `watch`, in a thread.
    pub fn start<'scope, T: Send + 'scope, E: Into<anyhow::Error>>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        name: &'static str,
        others: Others,
        run: impl FnOnce() -> Result<T, E> + Send + 'scope,
    ) -> Stage<'scope, T> {
        Stage { name, thread: scope.spawn(move || self.watch(name, others, run)) }
    }
}

impl<T> Stage<'_, T> {
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    pub fn join(self) -> anyhow::Result<T> {
        self.thread.join().unwrap_or_else(|_| Err(panicked(self.name)))
    }
}

pub(super) fn panicked(name: &str) -> anyhow::Error {
    anyhow!("{name} panicked: please report this as a bug")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a stage that ends so, and whether the others are to end.
    fn ended(
        others: Others,
        run: impl FnOnce() -> anyhow::Result<u8> + Send,
    ) -> (anyhow::Result<u8>, Vec<String>, bool) {
        let (status, stop) = (Status::new("p"), Stop::default());
        let supervisor = Supervisor { status: &status, stop: &stop };
        let ended = std::thread::scope(|scope| supervisor.start(scope, "ingest", others, run).join());
        (ended, status.snapshot().problems, stop.pipeline.load(Ordering::Relaxed))
    }

    #[test]
    fn a_stage_that_fails_or_panics_is_told_and_ends_the_others() {
        let (result, problems, others_end) = ended(Others::End, || Ok(1));
        assert!(matches!(result, Ok(1)) && problems.is_empty() && !others_end);
        let failing = || Err(anyhow!("the disk is full").context("batch 3"));
        for others in [Others::End, Others::GoOn] {
            let (result, problems, others_end) = ended(others, failing);
            assert!(result.is_err());
            assert_eq!((problems, others_end), (vec!["batch 3: the disk is full".to_owned()], others == Others::End));
        }
        let (result, problems, others_end) = ended(Others::GoOn, || panic!("an impossible state"));
        let expected = "ingest panicked: please report this as a bug";
        assert_eq!(
            (result.unwrap_err().to_string(), problems, others_end),
            (expected.to_owned(), vec![expected.to_owned()], true)
        );
    }
}
