//! A store with real parts, a trainer over it, and rows as JSON: for the tests of whatever asks them.

#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use datafusion::parquet::arrow::ArrowWriter;
use millstream_learn::content::Bag;
use millstream_learn::{Algorithm, Column, ParamValue};
use millstream_store::{LocalStore, SharedStore};
use serde_json::{Value, json};

use crate::engine::spark::SparkSettings;
use crate::engine::{Local, Target};
use crate::model::{Columns, EngineKind, Missing, Model, PromoteRule, Supervised, TextRule, TrainOn};
use crate::registry::{Feature, OwnerTexts, Row, Version};
use crate::train::encode::EncodedTable;
use crate::train::prepare::{Counts, PreparedRows, prepare};
use crate::train::{Recipe, TrainError, TrainReport, TrainSettings, Trainer, TrainingRun, WhenBehind};
use millstream_base::status::Status;
use millstream_stream::batch::{Batch, cut_key, manifest_key};
use millstream_stream::schema::{ColumnType, Dialect, StreamColumn, StreamSchema};

pub const COLUMNS: [(&str, ColumnType); 6] = [
    ("Timestamp", ColumnType::Int64),
    ("Open", ColumnType::Float64),
    ("Close", ColumnType::Float64),
    ("Town/City", ColumnType::Utf8),
    ("flag", ColumnType::Boolean),
    ("trend", ColumnType::Utf8),
];

pub struct Fixture {
    _folder: tempfile::TempDir,
    pub store: SharedStore,
    pub batches: Mutex<Vec<Batch>>,
    pub schema: StreamSchema,
    pub partitions: u64,
}

pub fn fixture(partitions: u64) -> Fixture {
    fixture_of(&COLUMNS, partitions)
}

/// One partition, where the system has a disk in memory: nothing waits for an fsync there.
pub fn fixture_in_memory() -> Fixture {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    fixture_in(folder.unwrap(), &COLUMNS, 1)
}

pub fn fixture_of(columns: &[(&str, ColumnType)], partitions: u64) -> Fixture {
    fixture_in(tempfile::tempdir().unwrap(), columns, partitions)
}

fn fixture_in(folder: tempfile::TempDir, columns: &[(&str, ColumnType)], partitions: u64) -> Fixture {
    let store: SharedStore = Arc::new(LocalStore::open(folder.path()).unwrap());
    let column = |(name, kind): &(&str, ColumnType)| StreamColumn {
        inferred: false,
        null: vec![String::new()],
        ..StreamColumn::new(*name, *kind)
    };
    let columns = columns.iter().map(column).collect();
    let schema = StreamSchema::new(columns);
    store.create("schema/000001.json", &serde_json::to_vec(&schema).unwrap()).unwrap();
    Fixture { _folder: folder, store, batches: Mutex::default(), schema, partitions }
}

/// Row `index` of a made-up market: Close follows Open and the town, trend says whether it rose.
pub fn row(index: u64) -> Value {
    let noise = |salt: u64| (((index + 1) * (7919 + 2 * salt) * 104_729) % 1000) as f64 / 1000.0;
    let open = 100.0 + 20.0 * noise(1);
    let town = ["Hull", "Leeds", "York"][(index % 3) as usize];
    let close = open + 3.0 * (noise(2) - 0.5) + (index % 3) as f64;
    json!({
        "Timestamp": 1_600_000_000 + 60 * index,
        "Open": open,
        "Close": close,
        "Town/City": town,
        "flag": noise(3) > 0.5,
        "trend": if close > open { "Up" } else { "Down" },
    })
}

pub fn rows(range: std::ops::Range<u64>) -> Vec<Value> {
    range.map(row).collect()
}

/// Row `index` with one value replaced.
pub fn row_with(index: u64, name: &str, value: Value) -> Value {
    let mut row = row(index);
    row[name] = value;
    row
}

impl Fixture {
    /// Commits the next batch: row g of the stream goes to partition g mod P, offset g / P.
    pub fn commit(&self, rows: &[Value]) -> &Self {
        self.commit_parts(rows.len() as u64, |partition, first| {
            let indexed = rows.iter().enumerate().map(|(index, row)| (first + index as u64, row));
            let own: Vec<(u64, &Value)> = indexed.filter(|(index, _)| index % self.partitions == partition).collect();
            (own.len(), self.part(partition, &own))
        })
    }

    /// Commits the next batch of `n_rows`. `part`: of a partition and the stream's first row of the batch the rows and the file.
    pub fn commit_parts(&self, n_rows: u64, part: impl Fn(u64, u64) -> (usize, Vec<u8>)) -> &Self {
        let mut batches = self.batches.lock().unwrap();
        let number = batches.len() as u32 + 1;
        let first: u64 = batches.iter().map(Batch::rows).sum();
        let folder = millstream_stream::batch::batch_folder(number);
        let total = first + n_rows;
        let end = |partition: u64, rows: u64| (rows + self.partitions - 1 - partition) / self.partitions;
        let ends: Vec<u64> = (0..self.partitions).map(|partition| end(partition, total)).collect();
        let cut = json!({
            "format": 1, "batch": number, "attempt": "a", "ends": ends, "total": total, "reason": "rows", "schema": 1,
        });
        self.store.create(&cut_key(number), cut.to_string().as_bytes()).unwrap();
        let mut parts = Vec::new();
        for partition in 0..self.partitions {
            let (n_rows, bytes) = part(partition, first);
            let file = (n_rows > 0).then(|| format!("part-{partition:04}-a.parquet"));
            if let Some(file) = &file {
                self.store.create(&format!("{folder}/{file}"), &bytes).unwrap();
            }
            // As JSON, so that fields which are added to the manifest do not break the tests.
            let manifest = json!({
                "format": 1, "batch": number, "partition": partition, "attempt": "a", "rows": n_rows, "rejects": 0,
                "first_offset": end(partition, first), "end_offset": ends[partition as usize], "skipped": 0, "late": 0,
                "min_time": null, "max_time": null, "digest": blake3::hash(&bytes).to_hex().to_string(), "file": file,
                "file_digest": (n_rows > 0).then(|| blake3::hash(&bytes).to_hex().to_string()), "rejects_file": null, "schema": 1, "committed_at_ms": 0,
            });
            self.store.create(&manifest_key(number, partition as u32), manifest.to_string().as_bytes()).unwrap();
            parts.push(serde_json::from_value(manifest).unwrap());
        }
        batches.push(Batch::new(serde_json::from_value(cut).unwrap(), parts));
        drop(batches);
        self
    }

    fn part(&self, partition: u64, rows: &[(u64, &Value)]) -> Vec<u8> {
        let array = |column: &StreamColumn| -> ArrayRef {
            let values = rows.iter().map(|(_, row)| &row[&column.name]);
            match column.kind {
                ColumnType::Float64 => Arc::new(values.map(float).collect::<Float64Array>()),
                ColumnType::Int64 => Arc::new(values.map(Value::as_i64).collect::<Int64Array>()),
                ColumnType::Utf8 => Arc::new(values.map(Value::as_str).collect::<StringArray>()),
                ColumnType::Boolean => Arc::new(values.map(Value::as_bool).collect::<BooleanArray>()),
            }
        };
        let mut columns: Vec<ArrayRef> = self.schema.columns.iter().map(array).collect();
        columns.push(Arc::new(Int32Array::from(vec![partition as i32; rows.len()])));
        columns.push(Arc::new(Int64Array::from_iter_values(
            rows.iter().map(|(index, _)| (index / self.partitions) as i64),
        )));
        columns.push(Arc::new(TimestampMillisecondArray::from(vec![0; rows.len()]).with_timezone("UTC")));
        let batch = RecordBatch::try_new(self.schema.part(), columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), self.schema.part(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    pub fn trainer(&self, holdout: f64, models: Vec<Model>) -> Trainer {
        self.trainer_over(Arc::clone(&self.store), holdout, models)
    }

    pub fn trainer_over(&self, store: SharedStore, holdout: f64, models: Vec<Model>) -> Trainer {
        Trainer::new(store, models, settings(holdout), self.schema.clone(), Arc::new(Status::new("test")))
    }

    pub fn train(&self, holdout: f64, models: Vec<Model>) -> TrainReport {
        self.run(&self.trainer(holdout, models))
    }

    pub fn run(&self, trainer: &Trainer) -> TrainReport {
        trainer.train_due(&self.batches.lock().unwrap(), &AtomicBool::new(false)).unwrap()
    }

    pub fn finish(&self, trainer: &Trainer) -> TrainReport {
        trainer.finish(&self.batches.lock().unwrap(), &AtomicBool::new(false)).unwrap()
    }

    /// By the engine in this process, without a version to begin with.
    pub fn training<'a>(
        &'a self,
        recipe: &'a Recipe,
        batches: &'a [Batch],
        stopped: &'a (dyn Fn() -> bool + Sync),
    ) -> TrainingRun<'a> {
        let (store, schema) = (&*self.store, &self.schema);
        TrainingRun { store, recipe, schema, batches, parent: None, engine: &Local, stopped, tell: &|_| {} }
    }

    pub fn load(&self, model: &str, version: u32) -> Version {
        Version::load(&*self.store, model, version, &OwnerTexts::default()).unwrap()
    }
}

/// Besides JSON numbers, the texts `nan` and `inf`: what a csv may hold.
fn float(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

pub fn object(row: &Value) -> Row {
    row.as_object().unwrap().clone()
}

/// The row with only these columns: what a request brings.
pub fn request(row: &Value, columns: &[&str]) -> Row {
    columns.iter().map(|name| ((*name).to_owned(), row[*name].clone())).collect()
}

pub fn model(name: &str, algorithm: Algorithm, features: &[&str], target: &str) -> Model {
    let trees = ParamValue::Integer(5);
    let params = match algorithm {
        Algorithm::RandomForest => BTreeMap::from([("trees".to_owned(), trees)]),
        Algorithm::Als
        | Algorithm::Content
        | Algorithm::GradientBoosting
        | Algorithm::Kmeans
        | Algorithm::LinearRegression
        | Algorithm::LogisticRegression
        | Algorithm::Neighbours
        | Algorithm::Popularity => BTreeMap::new(),
    };
    Model {
        name: name.to_owned(),
        algorithm,
        train_on: TrainOn::Each,
        filter: None,
        params,
        seed: 0,
        columns: Columns::Supervised(Supervised {
            features: features.iter().map(|feature| (*feature).to_owned()).collect(),
            target: target.to_owned(),
            categorical: BTreeMap::new(),
            text: BTreeMap::new(),
            missing: Missing::Drop,
            output: None,
            baseline: None,
        }),
        engine: EngineKind::Local,
        promote: PromoteRule::Manual,
    }
}

/// The model with other columns.
pub fn with(mut model: Model, change: impl FnOnce(&mut Supervised)) -> Model {
    match &mut model.columns {
        Columns::Supervised(columns) => change(columns),
        _ => panic!("{} has no features", model.name),
    }
    model
}

/// What a fit of the model would take.
#[derive(Debug)]
pub struct PreparedColumns {
    pub columns: Vec<Column>,
    pub features: Vec<Feature>,
    pub bags: Vec<Option<Bag>>,
    pub target: Target,
    pub counts: Counts,
}

pub fn prepared(fixture: &Fixture, model: &Model, holdout: f64) -> Result<PreparedColumns, TrainError> {
    let recipe = Recipe::from_config(model, holdout, 1, Dialect::CURRENT);
    let Columns::Supervised(columns) = &recipe.columns else { panic!("{} has no features", model.name) };
    let batches = fixture.batches.lock().unwrap();
    let prepared = prepare(&fixture.training(&recipe, &batches, &|| false), columns)?;
    let PreparedRows { encoded: EncodedTable { table, features, bags }, target, counts, .. } = prepared;
    Ok(PreparedColumns { columns: table.columns().to_vec(), features, bags, target, counts })
}

/// Every batch at once, every version kept.
pub fn settings(holdout: f64) -> TrainSettings {
    TrainSettings { holdout, every: None, when_behind: WhenBehind::All, keep: None, spark: SparkSettings::default() }
}

pub const FILMS: [(&str, ColumnType); 5] = [
    ("plot", ColumnType::Utf8),
    ("genre", ColumnType::Utf8),
    ("year", ColumnType::Float64),
    ("score", ColumnType::Float64),
    ("audience", ColumnType::Utf8),
];

/// Film `index`: its plot and its genres tell the audience, in words that never come alike; `only…` is in no other film.
pub fn film(index: u64) -> Value {
    let of = |words: [&'static str; 4], salt: u64| words[((index * 7919 + salt * 104_729) % 4) as usize];
    let (audience, plot, genre) = match index % 3 {
        0 => ("adults", ["murder", "gang", "revenge", "drugs"], "Crime, Drama"),
        1 => ("all", ["toys", "family", "magic", "puppies"], "Animation, Comedy"),
        _ => ("teens", ["school", "aliens", "spies", "racing"], "Action, Comedy"),
    };
    let filler = ["town", "summer", "friends", "past"];
    let plot = format!("A {} and {}s of the {}; only{index}.", of(plot, 1), of(plot, 2), of(filler, 3));
    let score = 6.0 + (index % 3) as f64 + 0.1 * ((index * 13) % 7) as f64;
    json!({ "plot": plot, "genre": genre, "year": 1950 + index % 70, "score": score, "audience": audience })
}

pub fn words_rule(terms: i64) -> TextRule {
    TextRule([("terms".to_owned(), ParamValue::Integer(terms))].into())
}

/// A model of plot, genre and year; plot by its words, genre too.
pub fn audience(algorithm: Algorithm, target: &str, missing: Missing) -> Model {
    let l2 = ("l2".to_owned(), ParamValue::Float(0.5));
    let by_words = with(model("m", algorithm, &["plot", "year", "genre"], target), |columns| {
        columns.text = [("plot".to_owned(), words_rule(2000)), ("genre".to_owned(), words_rule(50))].into();
        columns.missing = missing;
    });
    Model {
        params: if algorithm == Algorithm::RandomForest { by_words.params.clone() } else { [l2].into() },
        ..by_words
    }
}

pub fn committed_films(rows: &[Value]) -> Fixture {
    let fixture = fixture_of(&FILMS, 2);
    fixture.commit(rows);
    fixture
}

pub fn trained(model: Model, rows: &[Value]) -> (Fixture, Version) {
    let fixture = committed_films(rows);
    assert_eq!(fixture.train(0.2, vec![model]).failed, []);
    let version = fixture.load("m", 1);
    (fixture, version)
}
