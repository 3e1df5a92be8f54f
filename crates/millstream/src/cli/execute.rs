//! Carries a command out. Data goes to stdout, everything said goes to stderr; the exit codes are those of DESIGN §4.

use std::io::{IsTerminal, Write};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use indicatif::MultiProgress;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::debug_fn;

use super::table::{plain_json, table};
use super::{
    BatchesAction, Command, Demo, Invocation, KnownFile, LogFormat, ModelImport, ModelsAction, NewFrom, Said, Stage,
    exit, pipeline_for, said_of, write_new,
};
use crate::config::{Loaded, Overrides, Pipeline, Retention, load, store_url};
use crate::run::{
    self, Alone, Options, Outcome, Progress, check_data, open_broker, open_store_reading, run, with_rules,
};
use millstream_answer::catalogue::{CatalogueFrom, Lookups, check_file};
use millstream_answer::views::{answer_questions, check_files};
use millstream_base::status::{EventKind, Status, now_ms};
use millstream_base::{ConfigFaults, Fault, Faults, error_chain};
use millstream_http::serve::{DrawnKey, Gate, KeyScope};
use millstream_model::mllib::{FoldIn, Folder, ImportOptions, Limits, import};
use millstream_model::model::check::is_model_name;
use millstream_model::registry::{
    Found, Moved, Occasion, OwnerTexts, Published, Registry, RegistryError, Remedy, RemovedVersion, Version, lineage,
};
use millstream_model::train::{Explainer, Unexplained};
use millstream_store::{LocalStore, S3Store, SharedStore, StoreUrl, read_optional};
use millstream_stream::batch::{Batch, IDENTITY_KEY, StoredBatches};
use millstream_stream::record::write_instant;
use millstream_stream::schema::Dialect;
use millstream_stream::source::{Dataset, columns, look};

pub fn main(invocation: Invocation) -> ExitCode {
    let bars = Progress::on_terminal().filter(|_| invocation.log_format == LogFormat::Text);
    start_log(invocation.log_format, bars.clone());
    raise_descriptors();
    match execute(invocation.command, bars) {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(report(&error)),
    }
}

/// Takes as many file descriptors as this process may have: the usual 1,024 are not enough for as many connections.
fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of file descriptors stays as it is");
    }
}

/// Says what went wrong; answers the exit code.
fn report(error: &anyhow::Error) -> u8 {
    if let Some(faults) = error.downcast_ref::<ConfigFaults>() {
        for fault in &faults.0 {
            say(&fault.to_string());
        }
        return exit::CONFIG;
    }
    say(&format!("error: {error:#}"));
    exit::FAILED
}

fn execute(command: Command, bars: Option<MultiProgress>) -> anyhow::Result<u8> {
    match command {
        Command::Run { file, overrides, exit_when_done } => {
            run_pipeline(load(&file, &overrides)?, exit_when_done, bars, |_| {})
        }
        Command::Demo(demo) => run_demo(demo, bars),
        Command::Stage { stage: alone, file, overrides, exit_when_done } => {
            stage(load(&file, &overrides)?, alone, exit_when_done, bars)
        }
        Command::New { name, from } => new(&name, &from),
        Command::Check { file, overrides } => check(&file, &overrides),
        Command::NewKey { name, scopes, rate } => new_key(&name, &scopes, rate),
        Command::Broker { listen, advertise, data, retention } => serve_broker(listen, advertise, &data, retention),
        Command::Batches { file, overrides, action } => batches(&load(&file, &overrides)?, &action),
        Command::Models { file, overrides, action } => models(load(&file, &overrides)?, &action),
        Command::Status { url, watch, format } => super::status::status(&url, watch, format),
        Command::QueryProcess(limits) => {
            answer_questions(&limits)?;
            Ok(exit::DONE)
        }
        Command::Query { file, overrides, sql, format } => {
            let loaded = load(&file, &overrides)?;
            super::query::query(&loaded.pipeline, &open_existing_store(&loaded.pipeline.store)?, &sql, format)?;
            Ok(exit::DONE)
        }
    }
}

fn run_pipeline(
    loaded: Loaded,
    exit_when_done: bool,
    bars: Option<MultiProgress>,
    announce: impl FnOnce(&str) + 'static,
) -> anyhow::Result<u8> {
    let (pipeline, status, _progress) = begin(loaded, bars);
    let options = Options { exit_when_done, announce: announcing(&pipeline, status.clone(), announce) };
    run(&Arc::new(pipeline), options, &status).map(|outcome| exit_code(&outcome))
}

fn stage(loaded: Loaded, stage: Stage, exit_when_done: bool, bars: Option<MultiProgress>) -> anyhow::Result<u8> {
    let (pipeline, status, _progress) = begin(loaded, bars);
    let alone = Alone { exit_when_done, status: status.clone() };
    let outcome = match stage {
        Stage::Replay => run::replay(&pipeline, &alone)?,
        Stage::Ingest => run::ingest(&pipeline, &alone)?,
        Stage::Train => run::train(pipeline, &alone)?,
        Stage::Serve => {
            let options = Options { exit_when_done, announce: announcing(&pipeline, status.clone(), |_| {}) };
            run::serve_alone(&Arc::new(pipeline), options, &status)?
        }
    };
    Ok(exit_code(&outcome))
}

/// What all that goes on for long has: the warnings are said, memory is given back, and the bars live as long as the answer.
fn begin(loaded: Loaded, bars: Option<MultiProgress>) -> (Pipeline, Arc<Status>, Option<Progress>) {
    for warning in &loaded.warnings {
        say(&format!("warning: {warning}"));
    }
    run::give_back_memory();
    let status = Arc::new(Status::new(&loaded.pipeline.name));
    status.update(|snapshot| snapshot.source.topic.clone_from(&loaded.pipeline.stream.topic));
    let progress = bars.map(|bars| Progress::start(bars, status.clone()));
    (loaded.pipeline, status, progress)
}

/// `announce`: is told scheme and host.
fn announcing(
    pipeline: &Pipeline,
    status: Arc<Status>,
    announce: impl FnOnce(&str) + 'static,
) -> Box<dyn FnOnce(std::net::SocketAddr)> {
    let scheme = pipeline.serve.scheme();
    Box::new(move |address: std::net::SocketAddr| {
        let data = json!({ "address": address.to_string() });
        let site = format!("{scheme}://{address}");
        status.event(EventKind::Listening, format!("the page and the API: {site}"), data);
        announce(&site);
    })
}

fn exit_code(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Done | Outcome::Stopped => exit::DONE,
        Outcome::Failed(_) => exit::FAILED,
    }
}

fn run_demo(demo: Demo, bars: Option<MultiProgress>) -> anyhow::Result<u8> {
    let loaded = demo.pipeline()?;
    demo.generate().with_context(|| format!("{}: cannot be written", demo.data.display()))?;
    let csv = demo.csv();
    tracing::info!(target: "millstream", kind = "generated", rows = demo.rows, seed = demo.seed, "{}", csv.display());
    run_pipeline(loaded, demo.exit_when_done, bars, move |site| {
        say(&format!("try, once the first batches are trained:{}", demo.curl_lines(site)));
    })
}

fn new(name: &str, from: &NewFrom) -> anyhow::Result<u8> {
    let text = match from {
        NewFrom::Example(example) => example.renamed(name),
        NewFrom::File { path, kind } => {
            let look = look(path)?;
            let said = said_of(&look.profile.schema, &look.columns, look.profile.rows);
            for line in look.keys().iter().chain(&look.profile.warnings).chain(&said) {
                say(&format!("{}: {line}", path.display()));
            }
            pipeline_for(name, &KnownFile::of(&look, &path.display().to_string()), *kind)
        }
    };
    let file = write_new(Path::new("."), name, &text)?;
    say(&format!("{} is written; look at it, then: millstream run {}", file.display(), file.display()));
    Ok(exit::DONE)
}

/// Validates the file, and against the source's columns when it is there.
fn check(file: &Path, overrides: &Overrides) -> anyhow::Result<u8> {
    let loaded = load(file, overrides)?;
    let pipeline = &loaded.pipeline;
    for warning in &loaded.warnings {
        say(&format!("warning: {warning}"));
    }
    Gate::open(&pipeline.serve, &file.display().to_string())?;
    let mut faults = Faults::new(file.display().to_string());
    if let Some(rules) = &pipeline.catalogue
        && let CatalogueFrom::File(items) = &rules.from
    {
        // The tables' own faults are told below.
        let lookups = Lookups::read(&pipeline.tables, Dialect::CURRENT, &mut Faults::default());
        check_file(rules, items, &lookups, &pipeline.constant_filters(), &mut faults)?;
    }
    let Some(source) = &pipeline.source else {
        check_files(&pipeline.view_settings(), &mut faults);
        faults.finish()?;
        say(&format!("{}: good, as far as can be told without a record of the topic", file.display()));
        return Ok(exit::DONE);
    };
    let dataset = Dataset::new(source);
    let found = dataset.profile(&pipeline.schema)?;
    for warning in &found.warnings {
        say(&format!("warning: {}: {warning}", file.display()));
    }
    let schema = with_rules(pipeline, found.schema.clone())?;
    let checked = check_data(pipeline, &schema, &Status::new(&pipeline.name));
    let mistakes: Vec<Fault> =
        [checked.err(), faults.finish().err()].into_iter().flatten().flat_map(|faults| faults.0).collect();
    if !mistakes.is_empty() {
        return Err(ConfigFaults(mistakes).into());
    }
    if let (Some(time), Some((first, last))) = (&schema.time, found.times) {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        write_instant(first, &mut from);
        write_instant(last, &mut to);
        let [from, to] = [from, to].map(|text| String::from_utf8_lossy(&text).into_owned());
        say(&format!("{}: {time:?} reads from {from} to {to}", source.place));
    }
    if !dataset.reads_once() {
        let (looks, _) = columns(&dataset, &found)?;
        for line in said_of(&found.schema, &looks, found.rows) {
            say(&format!("{}: {line}", source.place));
        }
    }
    say(&format!(
        "{}: good: {}{} columns, {} models, {}{} routes",
        file.display(),
        found.rows.map_or(String::new(), |rows| format!("{rows} rows, ")),
        schema.arrow().fields().len(),
        pipeline.models.len(),
        if pipeline.views.is_empty() { String::new() } else { format!("{} views, ", pipeline.views.len()) },
        pipeline.routes.len()
    ));
    Ok(exit::DONE)
}

/// The key stands on stdout this once.
fn new_key(name: &str, scopes: &[KeyScope], rate: Option<NonZeroU32>) -> anyhow::Result<u8> {
    let key = DrawnKey::draw(name, scopes, rate).context("this machine gives no random numbers")?;
    say("the key, which is shown this once, and its line for the file of serve.keys:");
    print(&format!("{}\n{}\n", key.secret, key.line))?;
    Ok(exit::DONE)
}

fn serve_broker(
    listen: std::net::SocketAddr,
    advertise: Option<(String, u16)>,
    data: &Path,
    retention: Retention,
) -> anyhow::Result<u8> {
    let config = millstream_broker::Config {
        advertise,
        retention: retention.age,
        retention_bytes: retention.bytes,
        ..millstream_broker::Config::new(data, listen)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _inside = runtime.enter();
        run::StopSignals::watch()?
    };
    let (broker, address) = open_broker(config, &Status::new("broker"))?;
    let Some(broker) = broker else { bail!("{}: another process serves this log, at {address}", data.display()) };
    runtime.block_on(signals.next());
    run::end_broker(Some(broker));
    Ok(exit::DONE)
}

fn batches(loaded: &Loaded, action: &BatchesAction) -> anyhow::Result<u8> {
    let store = open_existing_store(&loaded.pipeline.store)?;
    let stored = StoredBatches::new(store.clone());
    match action {
        BatchesAction::List { files: true } => {
            let keys = stored.complete()?.iter().flat_map(Batch::files).collect::<Vec<_>>();
            print(&keys.iter().map(|key| store.place(key) + "\n").collect::<String>())?;
        }
        BatchesAction::List { files: false } => {
            let rows: Vec<Vec<String>> = stored.complete()?.iter().map(batch_row).collect();
            print(&table(&["batch", "rows", "rejects", "total", "reason", "offsets"], &rows))?;
        }
        BatchesAction::Show { batch } => {
            let batch = stored.get(batch.get())?;
            print(&pretty(&json!({ "cut": batch.cut, "parts": batch.parts }))?)?;
        }
        BatchesAction::Verify => {
            let faults = stored.verify()?;
            for fault in &faults {
                say(fault);
            }
            let verdict = if faults.is_empty() { "whole" } else { "not whole" };
            match stored.complete() {
                Ok(complete) => {
                    let rows: u64 = complete.iter().map(Batch::rows).sum();
                    say(&format!("{} batches, {rows} rows: {verdict}", complete.len()));
                }
                // What does not add up has no totals.
                Err(_) if !faults.is_empty() => say(&format!("the batches: {verdict}")),
                Err(error) => return Err(error.into()),
            }
            return Ok(if faults.is_empty() { exit::DONE } else { exit::FAILED });
        }
    }
    Ok(exit::DONE)
}

/// For the commands that only look: they make no store of a mistyped name.
fn open_existing_store(url: &StoreUrl) -> anyhow::Result<SharedStore> {
    let store = open_store_reading(url)?;
    match is_begun(&store)? {
        true => Ok(store),
        false => bail!("store.url: {url} holds no pipeline yet: run it first, or mend the path"),
    }
}

/// The same of models: a store may hold imported ones before the first run.
fn open_store_of_models(url: &StoreUrl) -> anyhow::Result<SharedStore> {
    let store = open_store_reading(url)?;
    match is_begun(&store)? || !store.folders("models/")?.is_empty() {
        true => Ok(store),
        false => {
            bail!("store.url: {url} holds no pipeline yet, and no model: run it or import one first, or mend the path")
        }
    }
}

fn is_begun(store: &SharedStore) -> anyhow::Result<bool> {
    Ok(read_optional(store.as_ref(), IDENTITY_KEY)?.is_some())
}

fn batch_row(batch: &Batch) -> Vec<String> {
    let offsets = batch.parts.iter().map(|part| format!("{}..{}", part.first_offset, part.end_offset));
    let reason = serde_json::to_value(batch.cut.reason).ok().and_then(|value| value.as_str().map(str::to_owned));
    vec![
        batch.number().to_string(),
        batch.rows().to_string(),
        batch.rejects().to_string(),
        batch.cut.total.to_string(),
        reason.unwrap_or_default(),
        offsets.collect::<Vec<_>>().join(" "),
    ]
}

/// The store need not have been begun: a model may be all that is served.
fn import_model(loaded: &Loaded, wanted: &ModelImport) -> anyhow::Result<u8> {
    let ModelImport { folder, model, features, implicit, lambda, alpha } = wanted;
    if !is_model_name(model) {
        bail!("--name {model}: a model's name is small letters, digits and `_`, a letter first");
    }
    if loaded.pipeline.models.iter().any(|trained| trained.name == *model) {
        bail!("--name {model}: the pipeline file trains a model of this name; import it under another one");
    }
    let place = match folder.strip_prefix("s3a://") {
        Some(rest) => format!("s3://{rest}"),
        None => folder.clone(),
    };
    let source: SharedStore = match place.starts_with("s3://") {
        true => match store_url(&place).map_err(|fault| anyhow!("{place}: {fault}"))? {
            StoreUrl::S3 { bucket, prefix } => Arc::new(S3Store::open_reading(&bucket, &prefix)?),
            StoreUrl::Local(folder) => Arc::new(LocalStore::open_reading(&folder)),
        },
        false => Arc::new(LocalStore::open_reading(Path::new(&place))),
    };
    let saved = Folder::open(source.as_ref(), "", Limits::FOREIGN)?;
    let store = run::open_store(&loaded.pipeline.store)?;
    let fold_in = FoldIn { implicit: *implicit, lambda: lambda.parse()?, alpha: alpha.parse()?, nonnegative: false };
    let options = ImportOptions { features: features.clone(), fold_in, now_ms: now_ms() };
    let (number, was_there) = match import(store.as_ref(), model, &saved, &options)? {
        Published::Mine(number) => (number, false),
        Published::Already(number) => (number, true),
    };
    let version = Version::load_unmeasured(store.as_ref(), model, number, &OwnerTexts::default())?;
    let inputs: Vec<&str> = version.file.inputs.iter().map(|input| input.name.as_str()).collect();
    let is_new = if was_there { "was imported before, as" } else { "is" };
    say(&format!(
        "{folder} {is_new} {model} version {number}: {}, takes {}",
        version.algorithm.name(),
        listed(&inputs)
    ));
    for note in &version.file.notes {
        say(&format!("note: {note}"));
    }
    Ok(exit::DONE)
}

/// The first of them, and how many more there are.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 20;
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

fn models(loaded: Loaded, action: &ModelsAction) -> anyhow::Result<u8> {
    if let ModelsAction::Import(wanted) = action {
        return import_model(&loaded, wanted);
    }
    let store = open_store_of_models(&loaded.pipeline.store)?;
    let owner = OwnerTexts::of(&loaded.pipeline.models);
    let registry = Registry::open_for(store.clone(), owner.clone())?;
    let served = registry.snapshot();
    let find = |name: &str| {
        let known = || served.models.keys().cloned().collect::<Vec<_>>().join(", ");
        served.models.get(name).with_context(|| format!("no version of a model {name:?}; there are: {}", known()))
    };
    match action {
        // Done above.
        ModelsAction::Import(_) => {}
        ModelsAction::List => {
            let mut rows: Vec<Vec<String>> = Vec::new();
            for model in served.models.values() {
                for number in model.numbers() {
                    match registry.read(&model.name, number) {
                        Ok(version) => rows.push(version_row(&version)),
                        Err(error) if error.remedy() == Remedy::Retry => return Err(error.into()),
                        Err(RegistryError::Removed { .. }) => {
                            rows.extend(registry.removed(&model.name, number)?.as_ref().map(removed_row));
                        }
                        Err(error) => say(&format!("warning: {}@{number}: {}", model.name, error_chain(&error))),
                    }
                }
            }
            print(&table(
                &["model", "version", "batches", "rows", "measured", "baseline", "verdict", "promote"],
                &rows,
            ))?;
        }
        ModelsAction::Show { model, version } => {
            let found = find(model)?;
            let shown = match version.map(NonZeroU32::get) {
                Some(number) => match found.find(number) {
                    Some(Found::Loaded(version)) => Some(version.to_json()),
                    Some(Found::Stored(number)) => match registry.load(model, number) {
                        Err(RegistryError::Removed { .. }) => {
                            registry.removed(model, number)?.map(|gone| gone.to_json())
                        }
                        loaded => loaded?.map(|version| version.to_json()),
                    },
                    None => None,
                },
                None => found.latest().map(|version| version.to_json()),
            };
            let shown = shown.with_context(|| format!("model {model} has versions 1 to {}", found.n_versions()))?;
            print(&pretty(&shown)?)?;
        }
        ModelsAction::Verify { model, version } => {
            let report = millstream_model::train::verify(store.as_ref(), model, version.get(), &owner)?;
            for fault in &report.faults {
                say(fault);
            }
            let verdict = match (report.is_whole(), &report.elsewhere) {
                (true, None) => "whole: training it again gives the same bytes".to_owned(),
                (true, Some(elsewhere)) => format!("whole; {elsewhere}"),
                (false, _) => "not whole".to_owned(),
            };
            say(&format!(
                "{model} version {version}, {} rows of {} batches: {verdict}",
                report.rows,
                report.batches.len()
            ));
            return Ok(if report.is_whole() { exit::DONE } else { exit::FAILED });
        }
        ModelsAction::Promote { model, version, alias, reason } => {
            let version = version.get();
            let writable = Registry::open_for(run::open_store(&loaded.pipeline.store)?, owner.clone())?;
            say_moved(model, alias, &writable.promote(model, version, alias, &occasion(reason.as_ref()))?);
        }
        ModelsAction::Rollback { model, alias, reason } => {
            find(model)?;
            let writable = Registry::open_for(run::open_store(&loaded.pipeline.store)?, owner.clone())?;
            say_moved(model, alias, &writable.roll_back(model, alias, &occasion(reason.as_ref()))?);
        }
        ModelsAction::Compare { model, versions, on, format } => {
            let known = find(model)?;
            let number = |name: &String| match known.resolve(name) {
                Some(Found::Loaded(version)) => Ok(version.file.version),
                Some(Found::Stored(number)) => Ok(number),
                None => bail!("model {model} has no version {name:?}; it has versions 1 to {}", known.n_versions()),
            };
            let numbers = (number(&versions[0])?, number(&versions[1])?);
            let batches = Arc::new(StoredBatches::new(store.clone()));
            let explainer = Explainer::new(store, Arc::new(registry), batches);
            let found = explainer.compare(model, numbers, *on).map_err(|Unexplained(why)| anyhow!(why))??;
            print(&match format {
                Said::Json => pretty(&found.to_json())?,
                Said::Text => super::compare::told(&found),
            })?;
        }
        ModelsAction::Aliases { model } => print(&super::aliases::listed(&registry, find(model)?)?)?,
        ModelsAction::Lineage { model, version, offset, limit, format } => {
            let known = find(model)?;
            let found = match version {
                Some(name) => known.resolve(name).with_context(|| {
                    let aliases = known.aliases.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                    format!(
                        "model {model} has no version {name:?}; it has {} and the aliases: {aliases}",
                        known.n_versions()
                    )
                })?,
                None => known.champion_or_latest().cloned().map(Found::Loaded).context("no version of it is served")?,
            };
            let number = match found {
                Found::Loaded(version) => version.file.version,
                Found::Stored(number) => number,
            };
            let batches = StoredBatches::new(store.clone());
            let lineage = lineage(store.as_ref(), &batches, (model, number), (*offset, *limit))?;
            match format {
                Said::Text => print(&super::lineage::listed(&lineage))?,
                Said::Json => print(&pretty(&json!(lineage))?)?,
            }
            for fault in &lineage.faults {
                say(&format!("warning: {fault}"));
            }
        }
    }
    for problem in &served.problems {
        say(&format!("warning: {problem}"));
    }
    Ok(exit::DONE)
}

/// Who gives the command.
fn occasion(reason: Option<&String>) -> Occasion {
    let user =
        ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let by = user.unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()));
    let reason = reason.filter(|reason| !reason.is_empty()).cloned();
    Occasion { by: by.chars().filter(|letter| !letter.is_control()).take(100).collect(), reason, now_ms: now_ms() }
}

fn say_moved(model: &str, alias: &str, moved: &Moved) {
    let before = moved.before.map_or("no version".to_owned(), |before| format!("version {before}"));
    say(&format!("{model}: {alias} names version {}; before, {before}", moved.version));
}

fn removed_row(removed: &RemovedVersion) -> Vec<String> {
    let RemovedVersion { file, tombstone, .. } = removed;
    vec![
        file.model.clone(),
        file.version.to_string(),
        file.batches.len().to_string(),
        file.rows.to_string(),
        String::new(),
        String::new(),
        format!("removed at {} ({})", removed.at(), tombstone.reason),
    ]
}

fn version_row(version: &Version) -> Vec<String> {
    let (file, verdict) = (&version.file, version.verdict());
    vec![
        file.model.clone(),
        file.version.to_string(),
        file.batches.len().to_string(),
        file.rows.to_string(),
        verdict.model,
        verdict.baseline,
        verdict.lists.map_or_else(|| verdict.words.to_owned(), |lists| format!("{}; {lists}", verdict.words)),
        match &version.decision {
            Some(decision) if decision.promote => "promoted".to_owned(),
            Some(decision) => format!("not promoted ({})", decision.rule),
            None => String::new(),
        },
    ]
}

fn pretty(value: &Value) -> anyhow::Result<String> {
    Ok(plain_json(serde_json::to_string_pretty(value)?) + "\n")
}

/// Data, to stdout. A reader that went away (`| head`) is no fault.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

/// To stderr; there is nowhere to report that stderr is gone.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn start_log(format: LogFormat, bars: Option<MultiProgress>) {
    let filter = EnvFilter::try_from_env("MILLSTREAM_LOG").unwrap_or_else(|_| EnvFilter::new("warn,millstream=info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Stderr { bars });
    match format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        LogFormat::Text => {
            // An event's fields say again what its message says: they are for `--log-format json`.
            let fields = debug_fn(|out, field, value| match field.name() {
                "message" => write!(out, "{value:?}"),
                "kind" | "data" => Ok(()),
                name => write!(out, " {name}={value:?}"),
            });
            log.fmt_fields(fields).with_target(false).with_ansi(std::io::stderr().is_terminal()).init();
        }
    }
}

/// Writes lines above the progress bars.
struct Stderr {
    bars: Option<MultiProgress>,
}

struct Line {
    bars: Option<MultiProgress>,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { bars: self.bars.clone(), text: Vec::new() }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let text = std::mem::take(&mut self.text);
        let write = || std::io::stderr().write_all(&text);
        let _ = match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        };
    }
}
