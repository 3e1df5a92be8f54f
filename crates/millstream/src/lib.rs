//! Millstream turns a stream of rows into served models.
//!
//! The modules lie in the order of a record's path: `source` → `topic` → `batch` → `train` → `registry` → `serve` →
//! `page`, with `views` beside the registry. A stage knows the contract of the stage before it (a manifest, a version) and nothing else of it;
//! `run` is the one file that wires them. `config`, `schema`, `expression`, `ratings`, `store`,
//! `query` and `status` serve all of them.

#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "Millstream runs on Linux: SQL of requests is answered in processes that end with their parent (prctl) and read /proc"
);

pub mod cli;
pub mod config;
pub mod page;
pub mod run;
pub mod serve;
