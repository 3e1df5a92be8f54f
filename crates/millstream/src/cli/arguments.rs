//! Arguments as typed, for clap.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use super::{
    BatchesAction, Command, Demo, DemoSystem, Example, Invocation, LogFormat, ModelImport, ModelsAction, NewFrom,
    NewKind, Said, Stage, server_url,
};
use millstream_answer::query::OutputFormat;
use millstream_answer::views::{ProcessLimits, QUERY_PROCESS};
use millstream_base::{address, host_and_port};
use millstream_http::serve::{KeyScope, check_key_name, parse_rate};
use millstream_model::registry::{ComparedOn, check_reason};

use crate::config::{Overrides, Retention, pipeline_name_fault, retention_age, retention_bytes};

/// The environment's overrides.
const ENVIRONMENT: &str = "MILLSTREAM_SET";

/// Turns a stream of rows into served models.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, about, after_help = EXIT_CODES, arg_required_else_help = true)]
struct Typed {
    #[command(subcommand)]
    command: TypedCommand,
    #[command(flatten)]
    global: Global,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 78 bad configuration.
MILLSTREAM_SET='key=value;…' overrides the pipeline file as --set does; --set wins.";

#[derive(Debug, Args)]
struct Global {
    /// Override a key of the pipeline file; here or after FILE
    // Not `global`: clap would drop these where there are others after the subcommand.
    #[arg(long, value_name = SET)]
    set: Vec<String>,
    /// How events are written to stderr
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
}

const SET: &str = "TABLE.KEY=VALUE";

/// A pipeline file and what it is overridden with.
#[derive(Debug, Args)]
struct Target {
    /// The pipeline file
    file: PathBuf,
    #[command(flatten)]
    overridden: Overridden,
}

#[derive(Debug, Args)]
struct Overridden {
    /// Override a key of the pipeline file, such as batch.rows=1000 or model.NAME.target=Close; may be repeated
    #[arg(long, value_name = SET)]
    set: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum TypedCommand {
    /// Run the whole pipeline in one process, and serve until stopped
    Run {
        #[command(flatten)]
        target: Target,
        /// End when all batches are complete and every due version is trained
        #[arg(long)]
        exit_when_done: bool,
    },
    /// Run a pipeline on generated data: nothing to configure
    Demo(TypedDemo),
    /// Send the source's rows to the topic, and nothing else; ends with the source
    Replay(Target),
    /// Read the topic into batches, and nothing else; several share the partitions
    Ingest {
        #[command(flatten)]
        target: Target,
        /// End when the source has ended and all its batches are complete
        #[arg(long)]
        exit_when_done: bool,
    },
    /// Train every due version as batches become complete, and nothing else
    Train {
        #[command(flatten)]
        target: Target,
        /// End when the source has ended and every due version is trained
        #[arg(long)]
        exit_when_done: bool,
    },
    /// Serve the versions of the store, and nothing else
    Serve(Target),
    /// Write a pipeline file, NAME.toml, to start from
    New {
        /// The pipeline's name; the file is NAME.toml
        #[arg(value_parser = pipeline_name)]
        name: String,
        /// Start from one of the examples
        #[arg(long, value_enum, conflicts_with = "from")]
        example: Option<Example>,
        /// Start from your own file, a folder or a pattern: csv, jsonl or Parquet; how it is written, its columns, a model, routes
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// What to make of it, instead of what its columns suggest
        #[arg(long, value_enum, requires = "from")]
        kind: Option<NewKind>,
    },
    /// Validate a pipeline file: every fault at once
    Check(Target),
    /// Run the embedded broker alone
    Broker {
        /// The address to listen on; port 0 takes a free one
        #[arg(long, default_value = "127.0.0.1:9092", value_parser = address)]
        listen: SocketAddr,
        /// The address that clients are told to connect to: of a proxy or a forwarded port before this broker
        #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
        advertise: Option<(String, u16)>,
        /// The folder of its log
        #[arg(long, default_value = "millstream-data/topic")]
        data: PathBuf,
        /// Remove records older than this, such as 7d [default: keep everything]
        #[arg(long, value_name = "AGE", value_parser = retention_age)]
        retention: Option<Duration>,
        /// Remove a partition's oldest records beyond this, such as 10GB [default: keep everything]
        #[arg(long, value_name = "SIZE", value_parser = retention_bytes)]
        retention_bytes: Option<u64>,
    },
    /// List, show or verify the committed batches
    #[command(subcommand)]
    Batches(TypedBatches),
    /// List, show, compare or verify the trained versions; promote them, roll back, list their aliases, see where they came from
    #[command(subcommand)]
    Models(TypedModels),
    /// Draw keys for who may ask the server what
    #[command(subcommand)]
    Keys(TypedKeys),
    /// Answer SQL over the committed batches: the tables are `batches`, `catalogue` and each [[table]], names keep their case
    Query {
        #[command(flatten)]
        target: Target,
        /// Such as "select _batch, count(*), avg(Close) from batches group by _batch"
        sql: String,
        #[arg(long, value_enum, default_value_t)]
        format: OutputFormat,
    },
    /// Show the pipeline behind an address: source, topic, batches, models with their measures, requests, problems
    Status {
        /// Such as http://127.0.0.1:8080; the environment variable MILLSTREAM_KEY holds the key, where one is needed
        #[arg(value_parser = server_url)]
        url: String,
        /// Refresh every second, until Ctrl-C
        #[arg(long)]
        watch: bool,
        #[arg(long, value_enum, default_value_t)]
        format: Said,
    },
    /// Answer SQL of requests for the server that started this
    #[command(name = QUERY_PROCESS, hide = true)]
    QueryProcess {
        /// Bytes of address space beyond the program's own
        #[arg(long)]
        memory: u64,
        /// Of one question
        #[arg(long)]
        seconds: u64,
        /// The process id of the server
        #[arg(long)]
        parent: u32,
        /// The folder for what queries spill
        #[arg(long)]
        scratch: PathBuf,
    },
}

#[derive(Debug, Args)]
struct TypedDemo {
    #[arg(value_enum, default_value_t)]
    system: DemoSystem,
    /// Rows to generate [default: 300000; of products 1500, of movies 1000, of houses 30000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(30..=1_000_000_000))]
    rows: Option<u64>,
    /// Of the generated data: the same seed makes the same rows
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=9_223_372_036_854_775_807))]
    seed: u64,
    /// Where data, batches and models go; another one starts afresh [default: millstream-demo/SYSTEM-ROWS-SEED]
    #[arg(long)]
    data: Option<PathBuf>,
    /// End when all is done instead of serving until stopped
    #[arg(long)]
    exit_when_done: bool,
    #[command(flatten)]
    overridden: Overridden,
}

#[derive(Debug, Subcommand)]
enum TypedBatches {
    /// List the committed batches
    List {
        #[command(flatten)]
        target: Target,
        /// List the committed part files instead
        #[arg(long)]
        files: bool,
    },
    /// Show one batch: its cut, its parts, its rejects
    Show {
        #[command(flatten)]
        target: Target,
        /// The batch's number, from 1
        batch: NonZeroU32,
    },
    /// Read every batch again and compare it with its digest
    Verify(Target),
}

#[derive(Debug, Subcommand)]
enum TypedModels {
    /// List the models and their newest versions
    List(Target),
    /// Show a version: its batches, parameters and measures
    Show {
        #[command(flatten)]
        target: Target,
        model: String,
        /// The version's number, from 1 [default: the newest]
        version: Option<NonZeroU32>,
    },
    /// Train a version again from its batches and compare the bytes
    Verify {
        #[command(flatten)]
        target: Target,
        model: String,
        /// The version's number, from 1
        version: NonZeroU32,
    },
    /// Import a model that Spark's ML saved as a version of a model that FILE does not train
    Import {
        /// The pipeline file, whose store the version goes to
        file: PathBuf,
        /// What `model.write().save(…)` wrote: a folder, or s3://BUCKET/PREFIX
        folder: String,
        /// What the model is called here
        #[arg(long, value_name = "MODEL")]
        name: String,
        /// What the numbers of its vector are called, where no stage of a pipeline says it [default: features_0, features_1, …]
        #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
        features: Option<Vec<String>>,
        /// Of an ALSModel, which does not say it: it was fitted to implicit feedback
        #[arg(long)]
        implicit: bool,
        /// Of an ALSModel: its regParam, by which new users are folded in
        #[arg(long, default_value = "0.1", value_parser = positive)]
        lambda: String,
        /// Of an ALSModel of implicit feedback: its alpha
        #[arg(long, default_value = "1", value_parser = positive)]
        alpha: String,
        #[command(flatten)]
        overridden: Overridden,
    },
    /// Let an alias name a version: requests that name none are answered by the champion
    Promote {
        #[command(flatten)]
        target: Target,
        model: String,
        /// The version's number, from 1
        version: NonZeroU32,
        #[command(flatten)]
        moved: TypedMove,
    },
    /// Let an alias name the version that it named before; again, the one before that
    Rollback {
        #[command(flatten)]
        target: Target,
        model: String,
        #[command(flatten)]
        moved: TypedMove,
    },
    /// Hold two versions against each other on the same records, which neither was trained on: each measure, with an interval of the difference
    Compare {
        #[command(flatten)]
        target: Target,
        model: String,
        /// A version's number, or an alias
        a: String,
        /// The one that is held against it
        b: String,
        /// The held-out records of all batches (common), or the batch after both (next_batch) [default: common where there are some]
        #[arg(long, value_name = "RECORDS", value_parser = compared_on)]
        on: Option<ComparedOn>,
        #[arg(long, value_enum, default_value_t)]
        format: Said,
    },
    /// List the aliases of a model: what each names, since when, by whom and why; and its history, the newest first
    Aliases {
        #[command(flatten)]
        target: Target,
        model: String,
    },
    /// Show where a version came from: its configuration, its batches with their offsets and files, and when an alias named it
    Lineage {
        #[command(flatten)]
        target: Target,
        model: String,
        /// The version's number or an alias [default: what serves]
        version: Option<String>,
        /// Batches to show
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// … from this one of the version's batches on, counted from 0
        #[arg(long, value_name = "N", default_value_t = 0)]
        offset: usize,
        #[arg(long, value_enum, default_value_t)]
        format: Said,
    },
}

#[derive(Debug, Subcommand)]
enum TypedKeys {
    /// Draw a key: prints the key, which is shown this once, and the line for the file of serve.keys
    New {
        /// Whose it is
        #[arg(value_parser = key_name)]
        name: String,
        /// What it is for: read, write, query, several with commas between them
        #[arg(long, value_name = "SCOPES", value_delimiter = ',', required = true, value_parser = key_scope)]
        scope: Vec<KeyScope>,
        /// Requests a second that it may send [default: any number]
        #[arg(long, value_name = "N", value_parser = parse_rate)]
        rate: Option<NonZeroU32>,
    },
}

fn key_name(name: &str) -> Result<String, String> {
    check_key_name(name).map(|()| name.to_owned())
}

fn key_scope(text: &str) -> Result<KeyScope, String> {
    KeyScope::parse(text)
}

#[derive(Debug, Args)]
struct TypedMove {
    #[arg(long, default_value = "champion")]
    alias: String,
    /// Why, in one line: kept with the alias
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<String>,
}

fn compared_on(text: &str) -> Result<ComparedOn, String> {
    ComparedOn::from_name(text).ok_or_else(|| format!("expected {}", ComparedOn::NAMES.join(" or ")))
}

fn reason(text: &str) -> Result<String, String> {
    check_reason(text).map(Option::unwrap_or_default)
}

/// The command line of this process. Ends it for `--help` and for what cannot be understood (exit code 2).
pub fn parse() -> Invocation {
    let invocation = parse_from(std::env::args_os(), std::env::var(ENVIRONMENT).ok().as_deref());
    invocation.unwrap_or_else(|error| error.exit())
}

/// As `parse`, of any arguments (the first is the program's name) and any value of `MILLSTREAM_SET`.
pub fn parse_from<A: Into<OsString> + Clone>(
    arguments: impl IntoIterator<Item = A>,
    environment: Option<&str>,
) -> Result<Invocation, clap::Error> {
    let Typed { command, global } = Typed::try_parse_from(arguments)?;
    let reads_no_file = matches!(
        command,
        TypedCommand::New { .. } | TypedCommand::Broker { .. } | TypedCommand::Status { .. } | TypedCommand::Keys(_)
    );
    if reads_no_file && !global.set.is_empty() {
        let message = "--set overrides a pipeline file, and this command reads none";
        return Err(Typed::command().error(ErrorKind::ArgumentConflict, message));
    }
    let ready = Ready { environment, before: global.set };
    Ok(Invocation { command: ready.command(command), log_format: global.log_format })
}

/// Turns arguments as typed into ready ones.
struct Ready<'a> {
    environment: Option<&'a str>,
    /// `--set` before the subcommand.
    before: Vec<String>,
}

impl Ready<'_> {
    fn command(self, typed: TypedCommand) -> Command {
        match typed {
            TypedCommand::Run { target, exit_when_done } => {
                let (file, overrides) = self.target(target);
                Command::Run { file, overrides, exit_when_done }
            }
            TypedCommand::Demo(demo) => Command::Demo(self.demo(demo)),
            TypedCommand::Replay(target) => self.stage(target, Stage::Replay, false),
            TypedCommand::Ingest { target, exit_when_done } => self.stage(target, Stage::Ingest, exit_when_done),
            TypedCommand::Train { target, exit_when_done } => self.stage(target, Stage::Train, exit_when_done),
            TypedCommand::Serve(target) => self.stage(target, Stage::Serve, false),
            TypedCommand::New { name, example, from, kind } => {
                let from = match (from, example) {
                    (Some(path), _) => NewFrom::File { path, kind },
                    (None, example) => NewFrom::Example(example.unwrap_or_default()),
                };
                Command::New { name, from }
            }
            TypedCommand::Keys(TypedKeys::New { name, scope, rate }) => Command::NewKey { name, scopes: scope, rate },
            TypedCommand::Check(target) => {
                let (file, overrides) = self.target(target);
                Command::Check { file, overrides }
            }
            TypedCommand::Broker { listen, advertise, data, retention, retention_bytes } => {
                let retention = Retention { age: retention, bytes: retention_bytes };
                Command::Broker { listen, advertise, data, retention }
            }
            TypedCommand::Batches(action) => {
                let (target, action) = match action {
                    TypedBatches::List { target, files } => (target, BatchesAction::List { files }),
                    TypedBatches::Show { target, batch } => (target, BatchesAction::Show { batch }),
                    TypedBatches::Verify(target) => (target, BatchesAction::Verify),
                };
                let (file, overrides) = self.target(target);
                Command::Batches { file, overrides, action }
            }
            TypedCommand::Models(action) => {
                let (target, action) = match action {
                    TypedModels::List(target) => (target, ModelsAction::List),
                    TypedModels::Import { file, folder, name, features, implicit, lambda, alpha, overridden } => {
                        let import = ModelImport { folder, model: name, features, implicit, lambda, alpha };
                        (Target { file, overridden }, ModelsAction::Import(import))
                    }
                    TypedModels::Show { target, model, version } => (target, ModelsAction::Show { model, version }),
                    TypedModels::Verify { target, model, version } => (target, ModelsAction::Verify { model, version }),
                    TypedModels::Promote { target, model, version, moved: TypedMove { alias, reason } } => {
                        (target, ModelsAction::Promote { model, version, alias, reason })
                    }
                    TypedModels::Rollback { target, model, moved: TypedMove { alias, reason } } => {
                        (target, ModelsAction::Rollback { model, alias, reason })
                    }
                    TypedModels::Aliases { target, model } => (target, ModelsAction::Aliases { model }),
                    TypedModels::Lineage { target, model, version, limit, offset, format } => {
                        (target, ModelsAction::Lineage { model, version, offset, limit, format })
                    }
                    TypedModels::Compare { target, model, a, b, on, format } => {
                        (target, ModelsAction::Compare { model, versions: [a, b], on, format })
                    }
                };
                let (file, overrides) = self.target(target);
                Command::Models { file, overrides, action }
            }
            TypedCommand::Status { url, watch, format } => Command::Status { url, watch, format },
            TypedCommand::QueryProcess { memory, seconds, parent, scratch } => {
                Command::QueryProcess(ProcessLimits { memory_bytes: memory, seconds, parent, scratch })
            }
            TypedCommand::Query { target, sql, format } => {
                let (file, overrides) = self.target(target);
                Command::Query { file, overrides, sql, format }
            }
        }
    }

    fn stage(self, target: Target, stage: Stage, exit_when_done: bool) -> Command {
        let (file, overrides) = self.target(target);
        Command::Stage { stage, file, overrides, exit_when_done }
    }

    fn target(self, target: Target) -> (PathBuf, Overrides) {
        (target.file, self.overrides(target.overridden))
    }

    /// What stands later on the command line wins.
    fn overrides(mut self, overridden: Overridden) -> Overrides {
        self.before.extend(overridden.set);
        Overrides::new(self.environment, &self.before)
    }

    fn demo(self, demo: TypedDemo) -> Demo {
        let TypedDemo { system, rows, seed, data, exit_when_done, overridden } = demo;
        let rows = rows.unwrap_or_else(|| system.rows());
        let name = system.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        // Other rows are another stream, which must not meet the batches of the first.
        let data = data.unwrap_or_else(|| PathBuf::from("millstream-demo").join(format!("{name}-{rows}-{seed}")));
        Demo { system, rows, seed, data, exit_when_done, overrides: self.overrides(overridden) }
    }
}

fn positive(text: &str) -> Result<String, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.map(|_| text.to_owned()).ok_or_else(|| "a number above 0".to_owned())
}

/// `NAME`, or `NAME.toml` as people type it.
fn pipeline_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix(".toml").unwrap_or(text);
    match pipeline_name_fault(name) {
        None => Ok(name.to_owned()),
        Some(rule) => Err(rule),
    }
}
