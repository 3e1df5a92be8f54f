//! Exact batches. `plan` says where a batch ends, `cut` decides it once, `ingest` reads the topic and obeys, `part` writes one
//! partition's part and its manifest once. Nothing here keeps a position of its own: the newest manifests are the checkpoint.

mod assignment;
mod blocks;
mod committed;
mod csv_fields;
mod cut;
mod decider;
mod decode;
mod derive;
#[cfg(test)]
mod fault_tests;
mod formats;
mod identity;
pub mod ingest;
mod instant;
mod manifest;
mod part;
mod plan;
mod proposal;
mod record;
mod row_clock;
mod stored;
mod stuck;
mod value;
mod verify;
mod views;

pub use blocks::{Blocks, ParquetPart, PartFault, Selection, read_blocks, verify_part};
pub use committed::{Checkpoint, Committed, SCHEMA_KEY, committed, cuts, positions, read_schema};
pub use csv_fields::write_csv_text;
pub use cut::{DecideError, cut_exists, decide};
pub use decider::{Decider, DeciderError, Signals};
pub use decode::{Chunk, RowDecoder};
pub use derive::DeriveError;
pub use formats::{TextWriter, read_part};
pub use identity::*;
pub use manifest::*;
pub use millstream_untrusted::batch::check_offsets;
pub use part::{PartSettings, Reject};
pub use plan::*;
pub use proposal::{Moment, Proposal, TopicView, propose};
pub use row_clock::RowClock;
pub use stored::{StoredBatches, StoredError};
pub use value::{AHEAD_MS, Misfit, Value, event_time, exact_integer};
