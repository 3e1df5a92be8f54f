//! Exact batches. `plan` says where a batch ends, `cut` decides it once, `ingest` reads the topic and obeys, `part` writes one
//! partition's part and its manifest once. Nothing here keeps a position of its own: the newest manifests are the checkpoint.

mod assignment;
mod blocks;
pub mod check;
mod closes;
mod committed;
mod cut;
mod decider;
#[cfg(test)]
mod fault_tests;
#[cfg(any(test, feature = "testing"))]
pub mod fixture;
mod formats;
mod identity;
pub mod ingest;
mod manifest;
mod part;
mod plan;
mod proposal;
mod settings;
mod statistics;
mod stored;
mod stuck;
mod verify;
mod views;

pub use blocks::{Blocks, ParquetPart, PartFault, Selection, read_blocks, verify_part};
pub use committed::{Checkpoint, Committed, SCHEMA_KEY, committed, cuts, positions, read_schema};
pub use cut::{DecideError, cut_exists, decide};
pub use decider::{Decider, DeciderError, Signals};
pub use formats::{TextWriter, read_part};
pub use identity::*;
pub use manifest::*;
pub use millstream_untrusted::batch::check_offsets;
pub use part::{PartSettings, Reject, fail_point};
pub use plan::*;
pub use proposal::{Moment, Proposal, TopicView, propose};
pub use settings::{BatchFormat, BatchRule, BatchSettings, OnStop, WindowTime};
pub use statistics::{BatchStatistics, ColumnStatistics, Histogram, NumberStatistics, STATISTICS_ROWS_MOST, TopValue};
pub use stored::{BatchSnapshot, Completeness, StoredBatches, StoredError};
