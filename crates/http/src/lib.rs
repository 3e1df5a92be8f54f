//! The HTTP API and the live page.
//!
//! `serve` answers requests from what the registry, the views and the catalogue hold now; `page` renders what people look at, and is asked for
//! it through `serve::Pages`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod page;
pub mod serve;
