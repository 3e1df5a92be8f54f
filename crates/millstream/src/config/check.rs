//! Turns the TOML as typed into a checked [`Pipeline`]: every fault is found before any is reported.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use millstream_answer::catalogue::{self, CatalogueFrom};
use millstream_base::{ConfigFaults, Fault, Faults, Keys, Section, Takes, secrets, section, time_span};
use millstream_model::engine::spark::{self, SparkSettings};
use millstream_model::model::{self, EngineKind, Model};
use millstream_model::train::{TrainSettings, WhenBehind};
use millstream_store::StoreUrl;
use millstream_stream::batch::{self, BatchRule, BatchSettings, WindowTime};
use millstream_stream::schema::{self, SchemaRules};
use millstream_stream::source::{self, Pace, Source, SourcePlace};
use toml::Table;

use super::check_stream;
use super::{Overrides, Pipeline};
use millstream_answer::query::ANSWERS;
use millstream_answer::views;
use millstream_http::serve;

/// Every table of the file; `--set` looks here for the table of a key.
pub(super) const KEYS: &[(&str, &Keys)] = &[
    ("", &TOP),
    ("source", &source::check::SOURCE),
    ("schema", &schema::check::SCHEMA),
    ("stream", &check_stream::STREAM),
    ("batch", &batch::check::BATCH),
    ("store", &STORE),
    ("train", &TRAIN),
    ("train.spark", &spark::SPARK),
    ("serve", &serve::check::SERVE),
    ("serve.tls", &serve::check::TLS),
    ("serve.log", &serve::check::LOG),
    ("catalogue", &catalogue::check::CATALOGUE),
    ("model", &model::check::MODEL),
    ("model.promote", &model::check::PROMOTE),
    ("route", &serve::check::ROUTE),
    ("page", &serve::check::PAGE),
    ("page.card", &serve::check::CARD),
    ("table", &views::keys::FIXED_TABLE),
    ("view", &views::keys::VIEW),
    ("view.params", &views::keys::PARAMETER),
    ("schema.columns", &schema::check::COLUMN),
];

const TOP: Keys = Keys {
    known: &[
        ("name", Takes::Text),
        ("source", Takes::Table),
        ("schema", Takes::Table),
        ("stream", Takes::Table),
        ("batch", Takes::Table),
        ("store", Takes::Table),
        ("train", Takes::Table),
        ("model", Takes::Tables),
        ("route", Takes::Tables),
        ("page", Takes::Tables),
        ("table", Takes::Tables),
        ("view", Takes::Tables),
        ("catalogue", Takes::Table),
        ("serve", Takes::Table),
    ],
    later: &[],
};

const STORE: Keys = Keys { known: &[("url", Takes::Text)], later: &[] };

const TRAIN: Keys = Keys {
    known: &[
        ("engine", Takes::Choice(&["local", "spark"])),
        ("holdout", Takes::Number),
        ("every", Takes::Text),
        ("when_behind", Takes::Choice(&["all", "newest"])),
        ("keep", Takes::Whole(1, u32::MAX as i64)),
        ("spark", Takes::Table),
    ],
    later: &[],
};

const NAME_CHARS_MOST: usize = 100;
const DEFAULT_HOLDOUT: f64 = 0.1;
pub(super) const DEFAULT_STORE: &str = "millstream-data";

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
    let batch = batch::check::batch(&root, faults);
    if let Some(batch) = &batch {
        fits_source(batch, source.as_ref().and_then(Option::as_ref), &schema, listens, faults);
    }
    let (train, engine) = train(&root, store.as_ref(), faults);
    let models = model::check::models(&root, batch.as_ref(), engine, faults);
    let tables = views::keys::tables(&root, faults);
    let views = views::keys::views(&root, faults);
    let routes = serve::check::routes(&root, &models, &views, faults);
    let mut models: Vec<Model> = models.into_iter().filter_map(|model| model.checked).collect();
    spark::check(&models, train.spark.encode, batch.as_ref().map(|batch| batch.format), faults);
    model::check::name_ids(&models, &mut schema);
    let catalogue = catalogue::check::catalogue(&root, faults);
    catalogue::check::name_titles(&mut models, catalogue.as_ref());
    if let Some(rules) = catalogue.as_ref().filter(|rules| rules.from == CatalogueFrom::Batches) {
        schema.ids.extend(rules.id_columns());
    }
    let shown =
        serve::check::Shown { models: &models, views: &views, routes: &routes, has_catalogue: catalogue.is_some() };
    let pages = serve::check::pages(&root, &shown, faults);
    let serve = serve::check::serve(&root, faults);
    if let (Some(log), Some(stream)) = (&serve.log, &stream) {
        check_stream::answers_topic(log, &stream.topic, faults);
        if tables.iter().any(|table| table.name == ANSWERS) {
            let rule = "`answers` is the table of what serve.log keeps; choose another name";
            faults.add_text("table[answers].name", ANSWERS, rule);
        }
    }
    Some(Pipeline {
        file: file.to_owned(),
        text: secrets::without_secrets(text),
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
        pages,
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

/// What the rule needs of the source and the schema.
fn fits_source(
    batch: &BatchSettings,
    source: Option<&Source>,
    schema: &SchemaRules,
    listens: bool,
    faults: &mut Faults,
) {
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

pub fn store_url(url: &str) -> Result<StoreUrl, String> {
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

/// With the engine of the models that name none.
fn train(root: &Table, store: Option<&StoreUrl>, faults: &mut Faults) -> (TrainSettings, EngineKind) {
    let section = Section::of_root(root, "train", &TRAIN, faults);
    let engine = model::check::engine(&section, "engine", faults).unwrap_or_default();
    let holdout = section.number("holdout", faults).unwrap_or(DEFAULT_HOLDOUT);
    if !(0.0..1.0).contains(&holdout) {
        section.fault("holdout", "must be at least 0 and below 1; 0.1 holds out a tenth, 0 nothing", faults);
    }
    let every = time_span(&section, "every", faults);
    let otherwise = if every.is_some() { WhenBehind::Newest } else { WhenBehind::All };
    let choices = [("all", WhenBehind::All), ("newest", WhenBehind::Newest)];
    let when_behind = section.choice("when_behind", &choices, faults).unwrap_or(otherwise);
    let keep = section.whole("keep", "to keep every version, remove it", faults);
    let keep = keep.and_then(|keep| NonZeroU32::new(u32::try_from(keep).ok()?));
    let spark = SparkSettings::read(&section, store, faults);
    (TrainSettings { holdout, every, when_behind, keep, spark }, engine)
}
