//! `[batch]` of the pipeline file.

use std::num::{NonZeroU32, NonZeroU64};

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
