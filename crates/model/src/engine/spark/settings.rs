//! `[train.spark]`: where jobs run, and which models may.

use std::collections::BTreeMap;
use std::path::PathBuf;

use millstream_base::secrets::{holds_secret, is_secret};
use millstream_base::{Faults, Keys, Section, Takes};
use millstream_store::StoreUrl;
use serde_json::{Map, Value as Json};
use toml::Value;

use millstream_stream::batch::BatchFormat;
use millstream_stream::schema::StreamSchema;

use super::{cluster, plan};
use crate::model::{EngineKind, Model};

pub const SPARK: Keys = Keys {
    known: &[
        ("master", Takes::Text),
        ("submit", Takes::Text),
        ("conf", Takes::Table),
        ("encode", Takes::Choice(&["local", "cluster"])),
    ],
    later: &[],
};

const DEFAULT_MASTER: &str = "local[*]";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparkSettings {
    pub master: String,
    /// `None`: it is looked for.
    pub submit: Option<PathBuf>,
    /// Spark's own keys.
    pub conf: BTreeMap<String, String>,
    pub encode: Encode,
    /// Below it is a folder for each job; the executors reach it by the same path, but where there is a bucket.
    pub scratch: PathBuf,
    /// `s3a://bucket/prefix` of the store, when Spark is to take rows from there.
    pub bucket: Option<String>,
}

/// Where rows are encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Encode {
    /// In this process: Spark gets them encoded.
    #[default]
    Local,
    /// In Spark, which reads the batches itself.
    Cluster,
}

impl Default for SparkSettings {
    fn default() -> Self {
        let (master, scratch) = (DEFAULT_MASTER.to_owned(), std::env::temp_dir());
        Self { master, submit: None, conf: BTreeMap::new(), encode: Encode::Local, scratch, bucket: None }
    }
}

impl SparkSettings {
    pub fn read(train: &Section, store: Option<&StoreUrl>, faults: &mut Faults) -> Self {
        let table = train.table("spark", faults);
        let section = Section::new(train.key("spark"), table, &SPARK, faults);
        let mut settings = Self::default();
        if let Some(master) = section.filled_text("master", faults) {
            match master_fault(master) {
                None => master.clone_into(&mut settings.master),
                Some(message) => section.fault("master", message, faults),
            }
        }
        settings.submit = section.filled_text("submit", faults).map(PathBuf::from);
        settings.conf = conf(&section, faults);
        let encodes = [("local", Encode::Local), ("cluster", Encode::Cluster)];
        settings.encode = section.choice("encode", &encodes, faults).unwrap_or_default();
        let reads_store = !settings.is_local() || settings.encode == Encode::Cluster;
        match store {
            Some(StoreUrl::Local(folder)) if !settings.is_local() => settings.scratch = folder.join("scratch"),
            Some(url @ StoreUrl::S3 { .. }) if reads_store => {
                settings.bucket = Some(url.to_string().replacen("s3:", "s3a:", 1));
            }
            Some(_) | None => {}
        }
        settings
    }

    /// Spark runs in one process on this machine.
    pub fn is_local(&self) -> bool {
        is_local(&self.master)
    }

    /// What `model.json` tells of them.
    pub fn told(&self) -> Map<String, Json> {
        let conf = self.conf.iter().filter(|(key, value)| !is_secret(key) && !holds_secret(value));
        let conf: Map<String, Json> = conf.map(|(key, value)| (key.clone(), Json::from(value.as_str()))).collect();
        let master = ("master".to_owned(), Json::from(self.master.as_str()));
        let conf = (!conf.is_empty()).then(|| ("conf".to_owned(), Json::Object(conf)));
        let encode = (self.encode == Encode::Cluster).then(|| ("encode".to_owned(), Json::from("cluster")));
        [master].into_iter().chain(conf).chain(encode).collect()
    }
}

fn is_local(master: &str) -> bool {
    master == "local" || master.starts_with("local[")
}

fn master_fault(master: &str) -> Option<&'static str> {
    let known = is_local(master)
        || master == "yarn"
        || ["spark://", "k8s://"].iter().any(|scheme| master.len() > scheme.len() && master.starts_with(scheme));
    (!known).then_some("must be \"local[*]\", \"spark://host:7077\", \"yarn\" or \"k8s://https://host:6443\"")
}

fn conf(section: &Section, faults: &mut Faults) -> BTreeMap<String, String> {
    let mut conf = BTreeMap::new();
    for (key, value) in section.table("conf", faults).into_iter().flatten() {
        let name = section.key(&format!("conf.{key}"));
        let text = match value {
            Value::String(text) => Some(text.clone()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            Value::Boolean(flag) => Some(flag.to_string()),
            Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
        };
        if !key.starts_with("spark.") {
            faults.add(name, None, "must be a key of Spark's, such as \"spark.executor.memory\", in quotes");
        } else if let Some(text) = text {
            conf.insert(key.clone(), text);
        } else {
            faults.add(name, None, "expected text, a number, or true or false; write Spark's keys in quotes");
        }
    }
    conf
}

/// Tells what Spark cannot be told.
pub fn check(models: &[Model], encode: Encode, format: Option<BatchFormat>, faults: &mut Faults) {
    let mut on_spark = models.iter().filter(|model| model.engine == EngineKind::Spark).peekable();
    if encode == Encode::Cluster
        && on_spark.peek().is_some()
        && let Some(BatchFormat::Csv | BatchFormat::Jsonl) = format
    {
        let message = "\"cluster\" reads batches as Parquet: remove batch.format, or take encode = \"local\"";
        faults.add("train.spark.encode", None, message);
    }
    for model in on_spark {
        let mut found = plan::unsupported(model.algorithm, &model.params, model.columns.missing());
        if encode == Encode::Cluster {
            found.extend(cluster::unsupported(model.algorithm));
            found.extend(cluster::words(&model.columns));
        }
        for fault in found {
            faults.add(format!("model.{}.{}", model.name, fault.name), None, fault.message);
        }
    }
}

/// Tells what Spark's SQL is not known to answer the same of, once the columns are known.
pub fn check_columns(models: &[Model], encode: Encode, schema: &StreamSchema, faults: &mut Faults) {
    for model in models.iter().filter(|model| model.engine == EngineKind::Spark) {
        if encode == Encode::Cluster {
            cluster::check(model, schema, faults);
        }
        plan::check_classes(model, schema, faults);
    }
}
