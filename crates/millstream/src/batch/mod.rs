//! Exact batches. `plan` says where a batch ends, `cut` decides it once, `ingest` reads the topic and obeys, `part` writes one
//! partition's part and its manifest once. Nothing here keeps a position of its own: the newest manifests are the checkpoint.

mod committed;
mod cut;
mod decode;
#[cfg(test)]
mod fault_tests;
mod identity;
pub mod ingest;
mod manifest;
mod part;
mod plan;
mod stored;

pub use committed::{Committed, committed, cuts};
pub use cut::{DecideError, decide};
pub use decode::{Decoded, RowDecoder};
pub use identity::*;
pub use manifest::*;
pub use plan::*;
pub use stored::{StoredBatches, StoredError};
