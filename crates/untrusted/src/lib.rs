//! Parsers of what clients send and what files hold: text in, checked values out. Nothing here does I/O or knows DataFusion, so that
//! fuzzing builds in a minute (`fuzz/`).
//!
//! Every parser bounds the length and the depth of its input before it parses, costs no more than linear work, and answers with a
//! value or an error: no input makes it panic.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod batch;
pub mod filter;
pub mod insights;
pub mod json;
pub mod model;
pub mod query_string;
pub mod record;
