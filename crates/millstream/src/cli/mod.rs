//! The command line: arguments as typed (`arguments`) and arguments ready to use, which is all that `main` sees.

mod aliases;
mod arguments;
mod compare;
mod demo;
mod execute;
mod lineage;
mod new;
mod proposal;
mod query;
mod shape;
mod status;
mod table;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

pub use arguments::{parse, parse_from};
pub use demo::{Demo, DemoSystem};
pub use execute::main;
pub use new::{Example, NewError, NewFrom, NewKind, write_new};
pub use proposal::pipeline_for;
pub use shape::{KnownFile, said_of};
pub use status::server_url;

use millstream_answer::query::OutputFormat;
use millstream_answer::views::ProcessLimits;
use millstream_http::serve::KeyScope;
use millstream_model::registry::ComparedOn;

use crate::config::{Overrides, Retention};

/// Exit codes: DESIGN §4.
pub mod exit {
    pub const DONE: u8 = 0;
    pub const FAILED: u8 = 1;
    /// clap's own for a bad command line.
    pub const USAGE: u8 = 2;
    /// `EX_CONFIG` of sysexits.h.
    pub const CONFIG: u8 = 78;
}

#[derive(Debug, Clone, PartialEq)]
pub struct Invocation {
    pub command: Command,
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Run {
        file: PathBuf,
        overrides: Overrides,
        exit_when_done: bool,
    },
    Demo(Demo),
    Stage {
        stage: Stage,
        file: PathBuf,
        overrides: Overrides,
        exit_when_done: bool,
    },
    New {
        name: String,
        from: NewFrom,
    },
    Check {
        file: PathBuf,
        overrides: Overrides,
    },
    /// Draws a key, for the file of `serve.keys`.
    NewKey {
        name: String,
        scopes: Vec<KeyScope>,
        rate: Option<NonZeroU32>,
    },
    Broker {
        listen: SocketAddr,
        advertise: Option<(String, u16)>,
        data: PathBuf,
        retention: Retention,
    },
    Batches {
        file: PathBuf,
        overrides: Overrides,
        action: BatchesAction,
    },
    Models {
        file: PathBuf,
        overrides: Overrides,
        action: ModelsAction,
    },
    Query {
        file: PathBuf,
        overrides: Overrides,
        sql: String,
        format: OutputFormat,
    },
    Status {
        /// As `server_url` writes it.
        url: String,
        watch: bool,
        format: Said,
    },
    /// Of the server's own: what answers SQL of requests.
    QueryProcess(ProcessLimits),
}

/// One stage alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Replay,
    Ingest,
    Train,
    Serve,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchesAction {
    /// With `files`, the committed part files instead of the batches.
    List {
        files: bool,
    },
    Show {
        batch: NonZeroU32,
    },
    Verify,
}

/// A model that Spark saved, and what its folder does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelImport {
    /// A path, or `s3://BUCKET/PREFIX`.
    pub folder: String,
    pub model: String,
    pub features: Option<Vec<String>>,
    pub implicit: bool,
    /// As typed, checked to be numbers above 0.
    pub lambda: String,
    pub alpha: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelsAction {
    List,
    Import(ModelImport),
    /// Without a version, the newest.
    Show {
        model: String,
        version: Option<NonZeroU32>,
    },
    Verify {
        model: String,
        version: NonZeroU32,
    },
    Promote {
        model: String,
        version: NonZeroU32,
        alias: String,
        reason: Option<String>,
    },
    Rollback {
        model: String,
        alias: String,
        reason: Option<String>,
    },
    Aliases {
        model: String,
    },
    Compare {
        model: String,
        /// Numbers or aliases.
        versions: [String; 2],
        /// Without it, what the versions have.
        on: Option<ComparedOn>,
        format: Said,
    },
    Lineage {
        model: String,
        /// A number or an alias; without one, what serves.
        version: Option<String>,
        offset: usize,
        limit: usize,
        format: Said,
    },
}

/// How a command answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Said {
    #[default]
    Text,
    Json,
}
