//! Signals, and what they end. After the first one the process ends in good order, and in any case soon: whatever still runs then
//! keeps nothing that another start would need.

use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use millstream_broker::Broker;
use millstream_stream::batch::OnStop;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;

use crate::config::Pipeline;

/// How long the last cut of a stop may take to be committed.
pub(super) const CUT_MOST: Duration = Duration::from_secs(30);
/// From a signal to the end, without such a cut. The store is as after a kill: whole.
pub(super) const STOP_MOST: Duration = Duration::from_secs(8);
/// What requests compute gets so long to end once they are answered or cut off.
const COMPUTING_MOST: Duration = Duration::from_secs(1);
/// And so long the threads of the broker: clients may hold them.
const BROKER_MOST: Duration = Duration::from_secs(2);
const _: () = assert!(
    2 * millstream_broker::DRAIN.as_millis() <= BROKER_MOST.as_millis(),
    "the broker has to end its connections in the time it is given, and to sync what they wrote in as much again"
);

/// What tells everyone to stop: threads poll the flags, tasks await the tokens.
#[derive(Default)]
pub(super) struct Stop {
    /// A signal came.
    pub asked: AtomicBool,
    /// The stages are to end: a signal came, or one of them failed.
    pub pipeline: Arc<AtomicBool>,
    /// How the process ends when something does not.
    pub failed: AtomicBool,
    /// As `asked`.
    pub told: CancellationToken,
    /// The server is to drain.
    pub serving: CancellationToken,
}

impl Stop {
    /// A signal came: the stages end, then the server.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.pipeline.store(true, Ordering::Relaxed);
        self.told.cancel();
    }

    pub fn all(&self) {
        self.ask();
        self.serving.cancel();
    }
}

/// How long a stop may take.
pub(super) fn stop_most(pipeline: &Pipeline) -> Duration {
    match pipeline.batch.on_stop {
        OnStop::Park => STOP_MOST,
        OnStop::Cut => CUT_MOST + STOP_MOST,
    }
}

/// The first signal ends the pipeline in good order, and after `most` in any case; the second at once.
pub(super) async fn stop_on_signal(mut signals: StopSignals, stop: Arc<Stop>, most: Duration) {
    for round in 0.. {
        signals.next().await;
        if round > 0 {
            std::process::exit(130);
        }
        tracing::info!(target: "millstream", kind = "stopping", "stopping: the open batch is parked; once more stops at once");
        stop.ask();
        end_after(stop.clone(), most);
    }
}

fn end_after(stop: Arc<Stop>, most: Duration) {
    // Nothing else may be needed for it: the runtime's threads may all be lost.
    let ending = thread::Builder::new().name("stop".to_owned()).spawn(move || {
        thread::sleep(most);
        tracing::warn!(seconds = most.as_secs(), "what still runs is ended without waiting for it");
        exit(i32::from(stop.failed.load(Ordering::Relaxed)));
    });
    if let Err(error) = ending {
        tracing::warn!(%error, "the end of the stop cannot be watched");
    }
}

/// A runtime that waits only a moment for what is lost in it.
pub(super) struct ServingRuntime {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl ServingRuntime {
    pub fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread().enable_all().thread_name("serve").build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for ServingRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(COMPUTING_MOST);
        }
    }
}

/// Ends the broker's threads, and waits only a moment for one that is lost.
pub(crate) fn end_broker(broker: Option<Broker>) {
    let (tell, ended) = mpsc::channel();
    let ending = thread::spawn(move || {
        drop(broker);
        // Who waited may be gone.
        let _ = tell.send(());
    });
    match ended.recv_timeout(BROKER_MOST) {
        Err(mpsc::RecvTimeoutError::Timeout) => tracing::warn!("the broker's threads did not end in time"),
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
            // Its panic is in the log.
            let _ = ending.join();
        }
    }
}

/// Signals that end the process in good order: watched from here on, not only once somebody waits for them.
pub(crate) struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    /// Inside a runtime.
    pub fn watch() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_signal_that_comes_before_anybody_waits_for_it_is_heard() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let inside = runtime.enter();
        let mut signals = StopSignals::watch().unwrap();
        drop(inside);
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::Term).unwrap();
        runtime.block_on(signals.next());
    }

    #[test]
    fn a_thread_that_is_lost_does_not_hold_the_runtime() {
        let serving = ServingRuntime::start().unwrap();
        let (began, (tell, told)) = (Instant::now(), mpsc::channel::<()>());
        serving.handle().spawn_blocking(move || told.recv());
        serving.handle().spawn(async { thread::sleep(Duration::from_secs(20)) });
        drop(serving);
        assert!(began.elapsed() < Duration::from_secs(10));
        drop(tell);
    }
}
