//! `[batch]` of the pipeline file.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

/// `[batch]`, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchSettings {
    pub rule: BatchRule,
    /// Stop after so many batches.
    pub limit: Option<NonZeroU32>,
    /// Over the whole stream; `None`: not set by the user.
    pub max_rejects: Option<u64>,
    pub on_stop: OnStop,
    /// A part-filled batch is closed after so long a silence.
    pub idle: Option<Duration>,
    pub format: BatchFormat,
}

/// How parts are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchFormat {
    Parquet,
    Csv,
    Jsonl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchRule {
    Rows(NonZeroU64),
    Parts(NonZeroU32),
    Window { length_ms: NonZeroU64, time: WindowTime },
}

/// Which time a window counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowTime {
    /// Kafka's timestamp: when the record was sent.
    Arrival,
    /// `schema.time`.
    Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStop {
    Park,
    Cut,
}
