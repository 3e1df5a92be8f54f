//! What the pipeline is doing now, for the page, `/v1/status`, `/v1/events` and the progress bars. Stages write it, nobody
//! decides by it: the store alone is the truth.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    /// Of those that this process's ingest reads, the newest last; `None`: another process reads them.
    pub latest: Option<Vec<LatestRow>>,
    /// Since this process's ingest began; `None` as above.
    pub rejects: Option<Rejects>,
    pub training: Vec<Training>,
    /// By model, of this process: for `/metrics`.
    #[serde(skip)]
    pub trainings: BTreeMap<String, TrainingCounts>,
    pub broker: BrokerStatus,
    /// The newest last; at most 50.
    pub problems: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct SourceStatus {
    pub topic: String,
    pub rows_sent: u64,
    /// `None` until the first pass has counted them.
    pub rows_total: Option<u64>,
    pub rows_per_second: f64,
    /// Since this pipeline's base, where someone in this process asks the topic for it.
    #[serde(skip)]
    pub records_in_topic: Option<u64>,
    /// Records of the topic that ingest has still to read; `None`: not known, or another process reads them.
    pub records_behind: Option<u64>,
    pub ended: bool,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct OpenBatch {
    /// The batch being filled, from 1; 0 before the first.
    pub batch: u32,
    pub rows: u64,
    pub rows_expected: Option<u64>,
    pub rejects_total: u64,
    /// What will close it, as the end of a sentence: "at 300,000 rows"; `None`: no batch comes, or it is not known.
    pub closes: Option<String>,
    /// Records that this process's ingest has read since it began; `None`: another process reads them.
    pub rows_read: Option<u64>,
    pub rows_per_second: Option<f64>,
    /// Partitions of this worker whose records the batch still waits for.
    pub waits_for: Vec<u32>,
}

/// A record as it lies in the topic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatestRow {
    pub partition: u32,
    pub offset: i64,
    /// Its columns, as far as they have room.
    pub row: serde_json::Map<String, serde_json::Value>,
    /// Something was left out.
    pub cut: bool,
}

/// Records that were kept aside.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Rejects {
    /// The newest last.
    pub newest: Vec<NewestReject>,
    /// The first reasons that came, without the values in them.
    pub reasons: Vec<RejectReason>,
    /// Those of further reasons.
    pub others: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewestReject {
    pub partition: u32,
    pub offset: i64,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RejectReason {
    pub reason: String,
    pub records: u64,
}

impl Rejects {
    pub const NEWEST_MOST: usize = 8;
    pub const REASONS_MOST: usize = 20;
    const REASON_CHARS_MOST: usize = 300;

    pub fn add(&mut self, partition: u32, offset: i64, reason: &str) {
        let without_value = without_value(reason);
        let n_reasons = self.reasons.len();
        match self.reasons.iter_mut().find(|known| known.reason == without_value) {
            Some(known) => known.records += 1,
            None if n_reasons < Self::REASONS_MOST => {
                self.reasons.push(RejectReason { reason: without_value, records: 1 });
            }
            None => self.others += 1,
        }
        if self.newest.len() >= Self::NEWEST_MOST {
            self.newest.remove(0);
        }
        let reason = reason.chars().take(Self::REASON_CHARS_MOST).collect();
        self.newest.push(NewestReject { partition, offset, reason });
    }
}

/// `column "price" holds abc, expected float64`: what differs from record to record is no other reason.
fn without_value(reason: &str) -> String {
    const HOLDS: &str = " holds ";
    let found = reason.find(HOLDS).map(|start| start + HOLDS.len());
    let cut = found.and_then(|start| Some((start, start + reason.get(start..)?.rfind(", ")?)));
    let text = match cut {
        Some((start, end)) => format!("{}…{}", &reason[..start], &reason[end..]),
        None => reason.to_owned(),
    };
    text.chars().take(Rejects::REASON_CHARS_MOST).collect()
}

/// How many a second, over a second or more.
#[derive(Debug)]
pub struct Rate {
    since: Instant,
    count: u64,
    per_second: f64,
}

impl Rate {
    const LEAST: Duration = Duration::from_secs(1);

    /// `count`: so many there are already.
    pub fn new(count: u64) -> Self {
        Self { since: Instant::now(), count, per_second: 0.0 }
    }

    /// As of now, when there are `count`.
    pub fn of(&mut self, count: u64) -> f64 {
        let elapsed = self.since.elapsed();
        if elapsed >= Self::LEAST {
            // Of a second or an hour: exact enough as f64.
            self.per_second = count.saturating_sub(self.count) as f64 / elapsed.as_secs_f64();
            (self.since, self.count) = (Instant::now(), count);
        }
        self.per_second
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Training {
    pub model: String,
    pub batches: Vec<u32>,
    pub started_ms: u64,
    /// How far it is, in words; absent where nothing is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

/// Since the process began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrainingCounts {
    pub trained: u64,
    pub failed: u64,
    /// Of those that made a version.
    pub seconds: f64,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct BrokerStatus {
    pub address: String,
    pub reachable: bool,
}

/// What an event tells: who reacts to one knows it by this, never by its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    AliasMoved,
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
    VersionDecided,
    VersionMeasured,
    VersionRemoved,
    VersionTrained,
    Waiting,
    Warning,
}

impl EventKind {
    /// What is served has changed.
    pub fn is_of_version(self) -> bool {
        matches!(
            self,
            Self::AliasMoved
                | Self::VersionDecided
                | Self::VersionMeasured
                | Self::VersionRemoved
                | Self::VersionTrained
        )
    }

    /// As in the log and in `/v1/events`.
    pub fn name(self) -> &'static str {
        match self {
            Self::AliasMoved => "alias_moved",
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
            Self::VersionDecided => "version_decided",
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

    /// A training ended: in so many seconds, or without a version.
    pub fn trained(&self, model: &str, seconds: Option<f64>) {
        self.update(|snapshot| {
            let counts = snapshot.trainings.entry(model.to_owned()).or_default();
            match seconds {
                Some(seconds) => (counts.trained, counts.seconds) = (counts.trained + 1, counts.seconds + seconds),
                None => counts.failed += 1,
            }
        });
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
        self.look(Snapshot::clone)
    }

    /// For a few numbers nothing is copied.
    pub fn look<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> T {
        read(&self.snapshot.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
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
    fn rejects_are_counted_by_reason_in_bounded_memory() {
        let mut rejects = Rejects::default();
        for offset in 0..100 {
            rejects.add(0, offset, &format!("column \"a, b\" holds {offset}, {offset}, expected float64"));
        }
        for offset in 100..130 {
            rejects.add(1, offset, &format!("reason {offset}"));
        }
        assert_eq!(rejects.reasons.len(), Rejects::REASONS_MOST);
        let first = RejectReason { reason: "column \"a, b\" holds …, expected float64".to_owned(), records: 100 };
        assert_eq!((&rejects.reasons[0], rejects.others), (&first, 11));
        let offsets: Vec<i64> = rejects.newest.iter().map(|reject| reject.offset).collect();
        assert_eq!(offsets, (122..130).collect::<Vec<_>>());
        rejects.add(0, 1, &"ü".repeat(1000));
        assert_eq!(rejects.newest[7].reason.chars().count(), 300);
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
