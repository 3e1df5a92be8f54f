//! Millstream turns a stream of rows into served models: the binary's own part, above all other crates.
//!
//! `config` reads the pipeline file and composes what each crate says of its sections, `run` wires the stages, `cli` is the command line.

#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "Millstream runs on Linux: SQL of requests is answered in processes that end with their parent (prctl) and read /proc"
);

pub mod cli;
pub mod config;
pub mod run;
