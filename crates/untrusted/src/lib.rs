//! Parsers of what clients send and what files hold: text in, checked values out. Nothing here does I/O or knows DataFusion, so that
//! fuzzing builds in a minute (`fuzz/`).
//!
//! Every parser bounds the length and the depth of its input before it parses, costs no more than linear work, and answers with a
//! value or an error: no input makes it panic.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod alias;
pub mod batch;
pub mod filter;
pub mod inference;
pub mod insights;
pub mod json;
pub mod keys;
pub mod model;
pub mod protobuf;
pub mod query_string;
pub mod record;

/// Rows of one request.
pub const ROWS_MAX: usize = 100_000;
/// Values of one body: with about 130 bytes each, 130 MB, whatever the text looks like.
pub const VALUES_MAX: usize = 1_000_000;
