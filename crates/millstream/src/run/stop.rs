//! Signals, and what they end.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// What tells everyone to stop. The pipeline's flag is polled by threads, the server's is awaited.
#[derive(Default)]
pub(super) struct Stop {
    /// A signal came.
    pub asked: AtomicBool,
    /// The stages are to end: a signal came, or one of them failed.
    pub pipeline: AtomicBool,
    told: Notify,
    serving: Arc<Notify>,
}

impl Stop {
    /// A signal came: the stages end, then the server.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.pipeline.store(true, Ordering::Relaxed);
        // `notify_one` keeps a permit for a waiter that comes later.
        self.told.notify_one();
    }

    pub fn all(&self) {
        self.ask();
        self.serving.notify_one();
    }

    pub fn serving(&self) -> impl Future<Output = ()> + use<> {
        let serving = self.serving.clone();
        async move { serving.notified().await }
    }

    pub async fn told(&self) {
        if !self.asked.load(Ordering::Relaxed) {
            self.told.notified().await;
        }
    }
}

/// The first signal ends the pipeline in good order, the second at once.
pub(super) async fn stop_on_signal(stop: Arc<Stop>) {
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
