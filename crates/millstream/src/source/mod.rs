//! The dataset that is replayed: read row by row, profiled once (rows, types, digest), paced, and sent as records.
//! A row is one record whatever it looks like; a malformed one becomes a stub with its reason, never a hole.

mod deliveries;
pub mod demo;
mod pace;
mod payload;
mod profile;
pub mod replay;
mod rows;

pub use pace::Pacer;
pub use payload::{MAX_RECORD_BYTES, Payload, REJECT_HEADER, RowEncoder, is_json_number, key_prefix};
pub use profile::{Fingerprint, Profile, fingerprint, profile};
pub use rows::{Rows, SourceError};
