//! Turns the TOML as typed into a checked [`Pipeline`]: every fault is found before any is reported.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::fault::{ConfigFaults, Fault, Faults};
use super::raw::{self, Keys, Section};
use super::{Batch, BatchRule, OnStop, Overrides, Pipeline, Serve, StoreUrl, Train};
use super::{check_model, check_route, check_source, check_stream};

/// Every table of the file; `--set` looks here for the table of a key.
pub(super) const KEYS: &[(&str, &Keys)] = &[
    ("", &TOP),
    ("source", &check_source::SOURCE),
    ("schema", &check_source::SCHEMA),
    ("stream", &check_stream::STREAM),
    ("batch", &BATCH),
    ("store", &STORE),
    ("train", &TRAIN),
    ("serve", &SERVE),
    ("model", &check_model::MODEL),
    ("route", &check_route::ROUTE),
    ("schema.columns", &check_source::COLUMN),
];

const TOP: Keys = Keys {
    known: &["name", "source", "schema", "stream", "batch", "store", "train", "model", "route", "serve"],
    later: &[
        ("table", "join the columns into the source file beforehand"),
        ("view", "query the Parquet files of the store with DuckDB or pandas"),
        ("catalogue", "remove it"),
    ],
};

const BATCH: Keys = Keys {
    known: &["parts", "rows", "limit", "max_rejects", "format", "on_stop"],
    later: &[
        ("window", "cut by batch.rows or batch.parts"),
        ("time", "it belongs to batch.window; cut by batch.rows or batch.parts"),
        ("idle", "an open batch waits for its rows; remove it"),
    ],
};

const STORE: Keys = Keys { known: &["url"], later: &[] };

const TRAIN: Keys = Keys {
    known: &["engine", "holdout"],
    later: &[
        ("every", "models are trained at every batch; remove it"),
        ("keep", "every version is kept; remove it"),
        ("when_behind", "every due version is trained; remove it"),
        ("spark", "train with engine = \"local\""),
        ("spark.master", "train with engine = \"local\""),
        ("spark.submit", "train with engine = \"local\""),
        ("spark.conf", "train with engine = \"local\""),
    ],
};

const SERVE: Keys =
    Keys { known: &["listen"], later: &[("keys", "bind serve.listen to an address that only you reach")] };

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
    let pipeline = raw::read(file, &mut faults).and_then(|text| checked(file, &text, overrides, &mut faults));
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
    let mut root = raw::parse(text, faults)?;
    check_stream::flatten_properties(&mut root, faults);
    overrides.apply(&mut root, faults);
    let top = Section::new("", Some(&root), &TOP, faults);

    let name = pipeline_name(&top, faults);
    let source = check_source::source(&root, faults);
    let schema = check_source::schema(&root, faults);
    let store = store(&root, faults);
    let stream = check_stream::stream(&root, name.as_deref(), store.as_ref(), faults);
    let batch = batch(&root, faults);
    let train = train(&root, faults);
    let models = check_model::models(&root, batch.as_ref(), faults);
    let routes = check_route::routes(&root, &models, faults);
    let serve = serve(&root, faults);
    Some(Pipeline {
        file: file.to_owned(),
        name: name?,
        source: source?,
        schema,
        stream: stream?,
        batch: batch?,
        store: store?,
        train,
        models: models.into_iter().filter_map(|model| model.checked).collect(),
        routes,
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
    later_choice(&section, "format", "parquet", &["csv", "jsonl"], "write \"parquet\"", faults);
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
    })
}

fn batch_rule(section: &Section, faults: &mut Faults) -> Option<BatchRule> {
    let rows = section.whole("rows", 1, i64::MAX, "it counts the rows of a batch", faults);
    let parts = section.whole("parts", 1, PARTS_MOST, "it counts the batches of the whole source", faults);
    match (section.has("parts"), section.has("rows")) {
        (true, true) => {
            faults.add("batch", None, "has both parts and rows; keep exactly one of them");
            None
        }
        (false, false) if section.has("window") => None,
        (false, false) => {
            faults.add(
                "batch",
                None,
                "exactly one of parts or rows must be set; \
                 rows = 100000 cuts after so many rows, parts = 3 cuts the source into thirds",
            );
            None
        }
        (true, false) => Some(BatchRule::Parts(NonZeroU32::new(u32::try_from(parts?).ok()?)?)),
        (false, true) => Some(BatchRule::Rows(NonZeroU64::new(u64::try_from(rows?).ok()?)?)),
    }
}

/// A key with one value that works and others that a later release will know.
pub(super) fn later_choice(
    section: &Section,
    key: &str,
    works: &str,
    later: &[&str],
    instead: &str,
    faults: &mut Faults,
) {
    match section.text(key, faults) {
        None => {}
        Some(text) if text == works => {}
        Some(text) if later.contains(&text) => {
            section.fault(key, format!("not yet in this version; {instead}"), faults);
        }
        Some(_) => section.fault(key, format!("must be \"{works}\"; {instead}"), faults),
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
    Train { holdout }
}

fn serve(root: &Table, faults: &mut Faults) -> Serve {
    let section = Section::of_root(root, "serve", &SERVE, faults);
    Serve { listen: listen(&section, faults).unwrap_or(DEFAULT_SERVE) }
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

/// The tables of `[[name]]`, in the file's order.
pub(super) fn table_list<'a>(root: &'a Table, name: &'static str, faults: &mut Faults) -> Vec<&'a Table> {
    let items = match root.get(name) {
        None => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => {
            faults.add(name, None, format!("expected a list of tables; write [[{name}]] with two brackets"));
            return Vec::new();
        }
    };
    let tables: Vec<&Table> = items.iter().filter_map(Value::as_table).collect();
    if tables.len() != items.len() {
        faults.add(name, None, format!("expected a list of tables; write [[{name}]] for each"));
    }
    tables
}
