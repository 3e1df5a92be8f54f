//! Turns the TOML as typed into a checked [`Pipeline`]: every fault is found before any is reported.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Table;

use super::{Batch, Overrides, Pipeline, Train};
use super::{check_catalogue, check_model, check_ratings, check_route, check_similar, check_stream, check_view};
use crate::catalogue::CatalogueFrom;
use crate::model::Model;
use crate::serve::{Serve, sites};
use crate::train::WhenBehind;
use crate::views::QueryLimits;
use millstream_base::{ConfigFaults, Fault, Faults, Keys, Section, duration, later_choice, section, size};
use millstream_store::StoreUrl;
use millstream_stream::batch::{BatchFormat, BatchRule, OnStop, WindowTime};
use millstream_stream::schema::{self, SchemaRules};
use millstream_stream::source::{self, Pace, Source, SourcePlace};

/// Every table of the file; `--set` looks here for the table of a key.
pub(super) const KEYS: &[(&str, &Keys)] = &[
    ("", &TOP),
    ("source", &source::check::SOURCE),
    ("schema", &schema::check::SCHEMA),
    ("stream", &check_stream::STREAM),
    ("batch", &BATCH),
    ("store", &STORE),
    ("train", &TRAIN),
    ("serve", &SERVE),
    ("catalogue", &check_catalogue::CATALOGUE),
    ("model", &check_model::MODEL),
    ("route", &check_route::ROUTE),
    ("table", &check_view::FIXED_TABLE),
    ("view", &check_view::VIEW),
    ("view.params", &check_view::PARAMETER),
    ("schema.columns", &schema::check::COLUMN),
];

const TOP: Keys = Keys {
    known: &[
        "name",
        "source",
        "schema",
        "stream",
        "batch",
        "store",
        "train",
        "model",
        "route",
        "table",
        "view",
        "catalogue",
        "serve",
    ],
    later: &[],
};

const BATCH: Keys = Keys {
    known: &["parts", "rows", "window", "time", "idle", "limit", "max_rejects", "format", "on_stop"],
    later: &[],
};

const STORE: Keys = Keys { known: &["url"], later: &[] };

const TRAIN: Keys = Keys {
    known: &["engine", "holdout", "every", "when_behind", "keep"],
    later: &[
        ("spark", "train with engine = \"local\""),
        ("spark.master", "train with engine = \"local\""),
        ("spark.submit", "train with engine = \"local\""),
        ("spark.conf", "train with engine = \"local\""),
    ],
};

const SERVE: Keys = Keys {
    known: &["listen", "cors", "hosts", "query", "query_seconds", "query_rows", "query_memory"],
    later: &[("keys", "bind serve.listen to an address that only you reach")],
};

/// A longer query is no request's.
const QUERY_SECONDS_MOST: f64 = 3600.0;
/// More rows are no page's.
const QUERY_ROWS_MOST: i64 = 1_000_000;
/// Less would not hold a block of rows.
const QUERY_BYTES_LEAST: u64 = 16 << 20;

/// More batches than this are a slip of the keyboard.
const PARTS_MOST: i64 = 1_000_000;
const NAME_CHARS_MOST: usize = 100;
const DEFAULT_HOLDOUT: f64 = 0.1;
pub(super) const DEFAULT_STORE: &str = "millstream-data";
const DEFAULT_SERVE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// A pipeline without faults, and what it should nevertheless be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub pipeline: Pipeline,
    pub warnings: Vec<Fault>,
}

/// Reads a pipeline file.
pub fn load(file: &Path, overrides: &Overrides) -> Result<Loaded, ConfigFaults> {
    let mut faults = Faults::new(file.display().to_string());
    let pipeline = section::read(file, &mut faults).and_then(|text| checked(file, &text, overrides, &mut faults));
    conclude(pipeline, faults)
}

/// As `load`, of a text that is in memory; `file` names it in messages.
pub fn load_text(file: &Path, text: &str, overrides: &Overrides) -> Result<Loaded, ConfigFaults> {
    let mut faults = Faults::new(file.display().to_string());
    let pipeline = checked(file, text, overrides, &mut faults);
    conclude(pipeline, faults)
}

fn conclude(pipeline: Option<Pipeline>, mut faults: Faults) -> Result<Loaded, ConfigFaults> {
    if pipeline.is_none() && faults.is_empty() {
        faults.add("", None, "the file cannot be used, and Millstream cannot say why; please report this as a bug");
    }
    let warnings = faults.finish()?;
    match pipeline {
        Some(pipeline) => Ok(Loaded { pipeline, warnings }),
        None => Err(ConfigFaults(Vec::new())),
    }
}

fn checked(file: &Path, text: &str, overrides: &Overrides, faults: &mut Faults) -> Option<Pipeline> {
    let mut root = section::parse(text, faults)?;
    check_stream::flatten_properties(&mut root, faults);
    overrides.apply(&mut root, faults);
    let top = Section::new("", Some(&root), &TOP, faults);

    let name = pipeline_name(&top, faults);
    let listens = !root.contains_key("source");
    let source = if listens { None } else { Some(source::check::source(&root, faults)) };
    let mut schema = schema::check::rules(&root, faults);
    let store = store(&root, faults);
    let stream = check_stream::stream(&root, name.as_deref(), store.as_ref(), faults);
    let batch = batch(&root, faults);
    if let Some(batch) = &batch {
        fits_source(batch, source.as_ref().and_then(Option::as_ref), &schema, listens, faults);
    }
    let train = train(&root, faults);
    let models = check_model::models(&root, batch.as_ref(), faults);
    let tables = check_view::tables(&root, faults);
    let views = check_view::views(&root, faults);
    let routes = check_route::routes(&root, &models, &views, faults);
    let mut models: Vec<Model> = models.into_iter().filter_map(|model| model.checked).collect();
    check_ratings::name_ids(&models, &mut schema);
    check_similar::name_ids(&models, &mut schema);
    let catalogue = check_catalogue::catalogue(&root, faults);
    check_similar::name_titles(&mut models, catalogue.as_ref());
    if let Some(rules) = catalogue.as_ref().filter(|rules| rules.from == CatalogueFrom::Batches) {
        schema.ids.extend(rules.id_columns());
    }
    let serve = serve(&root, faults);
    Some(Pipeline {
        file: file.to_owned(),
        name: name?,
        source: match source {
            Some(source) => Some(source?),
            None => None,
        },
        schema,
        stream: stream?,
        batch: batch?,
        store: store?,
        train,
        models,
        routes,
        catalogue,
        tables,
        views,
        serve,
    })
}

fn pipeline_name(top: &Section, faults: &mut Faults) -> Option<String> {
    let name = top.required_text("name", "give the pipeline a name, such as name = \"bitcoin\"", faults)?;
    if let Some(rule) = pipeline_name_fault(name) {
        top.fault("name", rule, faults);
        return None;
    }
    Some(name.to_owned())
}

/// The name goes into the topic, the consumer group and file names.
pub fn pipeline_name_fault(name: &str) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts && name.chars().all(legal) && name.len() <= NAME_CHARS_MOST {
        return None;
    }
    Some(format!(
        "must begin with a letter or digit and hold only letters, digits, `_`, `-` and `.`, \
         at most {NAME_CHARS_MOST} of them"
    ))
}

fn batch(root: &Table, faults: &mut Faults) -> Option<Batch> {
    let section = Section::of_root(root, "batch", &BATCH, faults);
    let rule = batch_rule(&section, faults);
    let limit = section.whole("limit", 1, u32::MAX.into(), "to take all batches, remove it", faults);
    let max_rejects = section.whole("max_rejects", 0, i64::MAX, "", faults);
    let formats = [("parquet", BatchFormat::Parquet), ("csv", BatchFormat::Csv), ("jsonl", BatchFormat::Jsonl)];
    let format = section.choice("format", &formats, faults).unwrap_or(BatchFormat::Parquet);
    let idle = time_span(&section, "idle", faults);
    let on_stop = section.choice("on_stop", &[("park", OnStop::Park), ("cut", OnStop::Cut)], faults);
    if matches!(rule, Some(BatchRule::Parts(_))) && on_stop == Some(OnStop::Cut) {
        section.fault(
            "on_stop",
            "parts are fixed shares of the source and cannot be cut early; use batch.rows, or \"park\"",
            faults,
        );
    }
    let limit = limit.and_then(|limit| NonZeroU32::new(u32::try_from(limit).ok()?));
    if let (Some(BatchRule::Parts(parts)), Some(limit)) = (rule, limit)
        && limit > parts
    {
        faults.warn("batch.limit", None, format!("{limit} is never reached: batch.parts makes only {parts} batches"));
    }
    Some(Batch {
        rule: rule?,
        limit,
        max_rejects: max_rejects.and_then(|most| u64::try_from(most).ok()),
        on_stop: on_stop.unwrap_or(OnStop::Park),
        idle,
        format,
    })
}

/// A duration above zero.
fn time_span(section: &Section, key: &str, faults: &mut Faults) -> Option<Duration> {
    let length = duration(section.filled_text(key, faults)?);
    match length {
        Ok(length) if length >= Duration::from_millis(1) => return Some(length),
        Ok(_) => section.fault(key, "must be at least 1ms", faults),
        Err(message) => section.fault(key, message, faults),
    }
    None
}

/// What the rule needs of the source and the schema.
fn fits_source(batch: &Batch, source: Option<&Source>, schema: &SchemaRules, listens: bool, faults: &mut Faults) {
    match batch.rule {
        BatchRule::Parts(_) if listens => {
            let message = "needs a source of known length, and there is no [source]; use batch.rows or batch.window";
            faults.add("batch.parts", None, message);
        }
        BatchRule::Parts(_) if source.is_some_and(|source| source.place == SourcePlace::Stdin) => {
            let message = "needs a source of known length, which standard input is not; use batch.rows or batch.window";
            faults.add("batch.parts", None, message);
        }
        BatchRule::Window { time: WindowTime::Event, .. } if schema.time.is_none() => {
            faults.add("batch.time", None, "\"event\" needs the event-time column: name it as schema.time");
        }
        BatchRule::Parts(_) if batch.idle.is_some() => {
            faults.add(
                "batch.idle",
                None,
                "parts are fixed shares of the source and cannot be cut early; use batch.rows",
            );
        }
        BatchRule::Rows(_) | BatchRule::Parts(_) | BatchRule::Window { .. } => {}
    }
    let by_event_time = source.is_some_and(|source| matches!(source.pace, Pace::Speed(_)));
    if by_event_time && schema.time.is_none() {
        faults.add("source.speed", None, "needs the event-time column: name it as schema.time");
    }
}

fn batch_rule(section: &Section, faults: &mut Faults) -> Option<BatchRule> {
    let rows = section.whole("rows", 1, i64::MAX, "it counts the rows of a batch", faults);
    let parts = section.whole("parts", 1, PARTS_MOST, "it counts the batches of the whole source", faults);
    let window = time_span(section, "window", faults);
    let times = [("arrival", WindowTime::Arrival), ("event", WindowTime::Event)];
    let time = section.choice("time", &times, faults);
    if section.has("time") && !section.has("window") {
        section.fault("time", "belongs to batch.window; remove it", faults);
    }
    let given: Vec<&str> = ["parts", "rows", "window"].into_iter().filter(|key| section.has(key)).collect();
    match given.as_slice() {
        [] => {
            faults.add(
                "batch",
                None,
                "exactly one of parts, rows or window must be set; rows = 100000 cuts after so many rows, \
                 parts = 3 cuts the source into thirds, window = \"5m\" cuts every five minutes",
            );
            None
        }
        ["parts"] => Some(BatchRule::Parts(NonZeroU32::new(u32::try_from(parts?).ok()?)?)),
        ["rows"] => Some(BatchRule::Rows(NonZeroU64::new(u64::try_from(rows?).ok()?)?)),
        ["window"] => {
            let length_ms = NonZeroU64::new(u64::try_from(window?.as_millis()).ok()?)?;
            Some(BatchRule::Window { length_ms, time: time.unwrap_or(WindowTime::Arrival) })
        }
        several => {
            faults.add("batch", None, format!("has {}; keep exactly one of them", several.join(" and ")));
            None
        }
    }
}

fn store(root: &Table, faults: &mut Faults) -> Option<StoreUrl> {
    let section = Section::of_root(root, "store", &STORE, faults);
    if !section.has("url") {
        return Some(StoreUrl::Local(PathBuf::from(DEFAULT_STORE)));
    }
    let url = section.filled_text("url", faults)?;
    match store_url(url) {
        Ok(url) => Some(url),
        Err(message) => {
            section.fault("url", message, faults);
            None
        }
    }
}

fn store_url(url: &str) -> Result<StoreUrl, String> {
    let path = match url.split_once(':') {
        Some(("file", path)) => path,
        Some(("s3", rest)) => return bucket(rest),
        // One letter is a Windows drive, not a scheme.
        Some((scheme, _)) if scheme.len() > 1 && !scheme.contains('/') => {
            return Err(format!(
                "there is no store `{scheme}:`; use a folder, such as \"file:millstream-data\", or \"s3://bucket/prefix\""
            ));
        }
        _ => return Err(format!("must be a URL; for a folder write \"file:{url}\"")),
    };
    match path.strip_prefix("//") {
        None if path.is_empty() => Err("the folder is missing; write, for example, \"file:millstream-data\"".into()),
        None => Ok(StoreUrl::Local(PathBuf::from(path))),
        Some(absolute) if absolute.starts_with('/') => Ok(StoreUrl::Local(PathBuf::from(absolute))),
        Some(relative) => Err(format!("write \"file:{relative}\", or \"file:///\" and an absolute path")),
    }
}

/// What stands behind `s3:`.
fn bucket(rest: &str) -> Result<StoreUrl, String> {
    let example = "write, for example, \"s3://bucket/prefix\"";
    let path = rest.strip_prefix("//").ok_or_else(|| format!("the slashes are missing; {example}"))?;
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let known = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
    if bucket.is_empty() {
        return Err(format!("the bucket is missing; {example}"));
    }
    if !bucket.chars().all(known) {
        return Err(format!("a bucket's name holds only letters, digits, `.`, `-` and `_`; {example}"));
    }
    let odd = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains(|c: char| c.is_control());
    if !prefix.is_empty() && prefix.split('/').any(odd) {
        return Err(format!("the prefix must be names with one `/` between them; {example}"));
    }
    if prefix.contains(['?', '#']) {
        return Err(format!(
            "no `?` and no `#`: the credentials and the endpoint come from the AWS_* variables; {example}"
        ));
    }
    Ok(StoreUrl::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

fn train(root: &Table, faults: &mut Faults) -> Train {
    let section = Section::of_root(root, "train", &TRAIN, faults);
    later_choice(&section, "engine", "local", &["spark"], "train with engine = \"local\"", faults);
    let holdout = section.number("holdout", faults).unwrap_or(DEFAULT_HOLDOUT);
    if !(0.0..1.0).contains(&holdout) {
        section.fault("holdout", "must be at least 0 and below 1; 0.1 holds out a tenth, 0 nothing", faults);
    }
    let every = time_span(&section, "every", faults);
    let otherwise = if every.is_some() { WhenBehind::Newest } else { WhenBehind::All };
    let choices = [("all", WhenBehind::All), ("newest", WhenBehind::Newest)];
    let when_behind = section.choice("when_behind", &choices, faults).unwrap_or(otherwise);
    let keep = section.whole("keep", 1, u32::MAX.into(), "to keep every version, remove it", faults);
    let keep = keep.and_then(|keep| NonZeroU32::new(u32::try_from(keep).ok()?));
    Train { holdout, every, when_behind, keep }
}

fn serve(root: &Table, faults: &mut Faults) -> Serve {
    let section = Section::of_root(root, "serve", &SERVE, faults);
    let listen = listen(&section, faults).unwrap_or(DEFAULT_SERVE);
    Serve { listen, sites: sites(&section, faults), query: query_limits(&section, faults) }
}

fn query_limits(section: &Section, faults: &mut Faults) -> QueryLimits {
    let mut limits = QueryLimits::default();
    limits.from_requests = section.flag("query", faults).unwrap_or(limits.from_requests);
    match section.number("query_seconds", faults) {
        Some(seconds) if seconds > 0.0 && seconds <= QUERY_SECONDS_MOST => {
            limits.time = Duration::from_secs_f64(seconds)
        }
        Some(_) => section.fault("query_seconds", format!("must be above 0 and at most {QUERY_SECONDS_MOST}"), faults),
        None => {}
    }
    if let Some(rows) = section.whole("query_rows", 1, QUERY_ROWS_MOST, "", faults) {
        limits.rows = usize::try_from(rows).unwrap_or(limits.rows);
    }
    match section.text("query_memory", faults).map(size) {
        Some(Ok(bytes)) if bytes >= QUERY_BYTES_LEAST => {
            limits.memory_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        Some(Ok(_)) => section.fault("query_memory", "must be at least \"16MiB\"", faults),
        Some(Err(message)) => section.fault("query_memory", message, faults),
        None => {}
    }
    limits
}

/// The `listen` key of a section, as an address.
pub(super) fn listen(section: &Section, faults: &mut Faults) -> Option<SocketAddr> {
    let text = section.filled_text("listen", faults)?;
    let address = address(text);
    if let Err(message) = &address {
        section.fault("listen", message.clone(), faults);
    }
    address.ok()
}

/// `host:port` with a numeric host, or `localhost`. A port of 0 takes a free one.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.replacen("localhost", "127.0.0.1", 1).parse() {
        return Ok(address);
    }
    let hint = match text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        Ok(port) => format!("; did you mean \"127.0.0.1:{port}\"?"),
        Err(_) => String::new(),
    };
    Err(format!("must be an IP address and a port, such as \"127.0.0.1:8080\" or \"0.0.0.0:8080\"{hint}"))
}
