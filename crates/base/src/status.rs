//! What the pipeline is doing now, for the page, `/v1/status`, `/v1/events` and the progress bars. Stages write it, nobody
//! decides by it: the store alone is the truth.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use tokio::sync::broadcast;

/// Events a slow listener may lag behind before it loses the oldest; each is under 1 KiB.
const EVENT_QUEUE: usize = 256;
/// Kept of all that was told.
const PROBLEMS_MOST: usize = 50;

#[derive(Debug, Clone, Default, Serialize)]
pub struct Snapshot {
    pub pipeline: String,
    /// One word: `starting | running | done | stopping | failed`.
    pub state: String,
    pub source: SourceStatus,
    pub batch: OpenBatch,
    pub training: Vec<Training>,
    pub broker: BrokerStatus,
    /// The newest last; at most 50.
    pub problems: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct SourceStatus {
    pub rows_sent: u64,
    /// `None` until the first pass has counted them.
    pub rows_total: Option<u64>,
    pub rows_per_second: f64,
    pub ended: bool,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct OpenBatch {
    /// The batch being filled, from 1; 0 before the first.
    pub batch: u32,
    pub rows: u64,
    pub rows_expected: Option<u64>,
    pub rejects_total: u64,
    /// Partitions of this worker whose records the batch still waits for.
    pub waits_for: Vec<u32>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Training {
    pub model: String,
    pub batches: Vec<u32>,
    pub started_ms: u64,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct BrokerStatus {
    pub address: String,
    pub reachable: bool,
}

/// What an event tells: who reacts to one knows it by this, never by its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    BatchCommitted,
    Broker,
    Catalogue,
    Failed,
    Idle,
    Listening,
    Partitions,
    Problem,
    ProblemOver,
    Serving,
    SourceEnded,
    SourceProfiled,
    SourceWasSent,
    TrainingFailed,
    Verdict,
    VersionMeasured,
    VersionRemoved,
    VersionTrained,
    Waiting,
    Warning,
}

impl EventKind {
    /// What is served has changed.
    pub fn is_of_version(self) -> bool {
        matches!(self, Self::VersionTrained | Self::VersionMeasured | Self::VersionRemoved)
    }

    /// As in the log and in `/v1/events`.
    pub fn name(self) -> &'static str {
        match self {
            Self::BatchCommitted => "batch_committed",
            Self::Broker => "broker",
            Self::Catalogue => "catalogue",
            Self::Failed => "failed",
            Self::Idle => "idle",
            Self::Listening => "listening",
            Self::Partitions => "partitions",
            Self::Problem => "problem",
            Self::ProblemOver => "problem_over",
            Self::Serving => "serving",
            Self::SourceEnded => "source_ended",
            Self::SourceProfiled => "source_profiled",
            Self::SourceWasSent => "source_was_sent",
            Self::TrainingFailed => "training_failed",
            Self::Verdict => "verdict",
            Self::VersionMeasured => "version_measured",
            Self::VersionRemoved => "version_removed",
            Self::VersionTrained => "version_trained",
            Self::Waiting => "waiting",
            Self::Warning => "warning",
        }
    }
}

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One line of `/v1/events`, and one line on a stderr that is no terminal.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    pub time_ms: u64,
    pub kind: EventKind,
    pub message: String,
    pub data: serde_json::Value,
}

pub struct Status {
    snapshot: Mutex<Snapshot>,
    events: broadcast::Sender<Event>,
}

impl Status {
    pub fn new(pipeline: &str) -> Self {
        let snapshot = Snapshot { pipeline: pipeline.to_owned(), state: "starting".to_owned(), ..Snapshot::default() };
        Self { snapshot: Mutex::new(snapshot), events: broadcast::channel(EVENT_QUEUE).0 }
    }

    pub fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.snapshot.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// A fault that stays until someone mends it: said once, and kept for `/v1/status` and `/healthz`.
    pub fn problem(&self, message: String) {
        let mut is_new = false;
        self.update(|snapshot| {
            is_new = !snapshot.problems.contains(&message);
            if is_new {
                snapshot.problems.push(message.clone());
                let too_many = snapshot.problems.len().saturating_sub(PROBLEMS_MOST);
                snapshot.problems.drain(..too_many);
            }
        });
        if is_new {
            self.event(EventKind::Problem, message, serde_json::json!({}));
        }
    }

    /// As `problem`, of one thing that is looked at again and again: `told` is what was said of it last, which is withdrawn when it changed.
    pub fn tell(&self, told: &mut Option<String>, now: Option<String>) {
        if let Some(before) = told.as_ref().filter(|before| Some(*before) != now.as_ref()) {
            self.withdraw(before);
        }
        if let Some(problem) = &now {
            self.problem(problem.clone());
        }
        *told = now;
    }

    /// The fault is over: nobody need mend it.
    pub fn withdraw(&self, problem: &str) {
        let mut was_there = false;
        self.update(|snapshot| {
            let before = snapshot.problems.len();
            snapshot.problems.retain(|kept| kept != problem);
            was_there = snapshot.problems.len() < before;
        });
        if was_there {
            self.event(EventKind::ProblemOver, format!("over: {problem}"), serde_json::json!({}));
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Tells the listeners and the log.
    pub fn event(&self, kind: EventKind, message: impl Into<String>, data: serde_json::Value) {
        let message = message.into();
        tracing::info!(target: "millstream", kind = kind.name(), %data, "{message}");
        // No listener is no fault.
        let _ = self.events.send(Event { time_ms: now_ms(), kind, message, data });
    }

    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}

/// As `now_ms`, for comparing with the times of records. It saturates in 292 million years.
pub fn clock_ms() -> i64 {
    i64::try_from(now_ms()).unwrap_or(i64::MAX)
}

/// Milliseconds since the epoch; it saturates at both ends, which no clock reaches.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_thing_only_the_latest_problem_stands() {
        let (status, mut told) = (Status::new("p"), None);
        for (now, expected) in
            [(Some("away"), vec!["away"]), (Some("away"), vec!["away"]), (Some("full"), vec!["full"]), (None, vec![])]
        {
            status.tell(&mut told, now.map(str::to_owned));
            assert_eq!(status.snapshot().problems, expected);
        }
    }

    #[test]
    fn a_problem_that_is_over_is_withdrawn_and_both_are_told_once() {
        let status = Status::new("p");
        let mut events = status.listen();
        status.problem("no record".to_owned());
        status.problem("another".to_owned());
        status.withdraw("no record");
        status.withdraw("no record");
        assert_eq!(status.snapshot().problems, ["another"]);
        let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.kind).collect();
        assert_eq!(told, [EventKind::Problem, EventKind::Problem, EventKind::ProblemOver]);
    }
}
