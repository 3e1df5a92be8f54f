//! A pipeline, batches and small real models for tests, and for a look at the page.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_learn::{Algorithm, Column, Table, linear_regression};
use millstream_store::{LocalStore, SharedStore, StoreUrl};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::recommend::fixture::FakeRows;
use super::{AnswerLog, App, BatchReadError, BatchSource, ServeContext};
use crate::serve::{Route, ServeSettings};
use millstream_answer::catalogue::{CatalogueSettings, Catalogues};
use millstream_answer::interactions::Interactions;
use millstream_answer::views::{ProcessCommand, QueryLimits, ViewSettings, Views};
use millstream_base::Faults;
use millstream_base::status::{Status, now_ms};
use millstream_model::model::{Columns, Missing, Supervised, TrainOn};
use millstream_model::registry::{
    Baseline, Draft, Encoding, Evaluation, EvaluationKind, Feature, Holdout, Input, ModelFile, Registry, Scores,
    TargetSummary, Task, TrainedBatch, arrays_to_bytes, publish, publish_evaluation, version_numbers,
};
use millstream_model::train::Explainer;
pub use millstream_stream::batch::fixture::batch;
use millstream_stream::batch::{Batch, BatchSnapshot, BatchStatistics, Completeness, StoredBatches};
use millstream_stream::posting::{Posting, PostingSettings, TopicQueue};
use millstream_stream::record::Encoding as RecordEncoding;
use millstream_stream::schema::{ColumnType, SchemaRules};

pub struct Fixture {
    pub app: Arc<App>,
    pub status: Arc<Status>,
    models: Models,
    /// Dropped, it would look like a stop.
    _running: watch::Sender<bool>,
}

impl Fixture {
    pub fn models(&self) -> &Models {
        &self.models
    }
}

pub struct FakeBatches(pub BatchSnapshot);

impl BatchSource for FakeBatches {
    fn snapshot(&self) -> BatchSnapshot {
        self.0.clone()
    }

    fn unverified(&self, _: &Batch, _: usize, _: usize) -> Vec<String> {
        Vec::new()
    }

    fn is_verified(&self, _: &str) -> bool {
        true
    }

    fn verify_file(&self, _: &str) -> Result<(), BatchReadError> {
        Ok(())
    }

    fn rows(&self, batch: &Batch, offset: usize, limit: usize) -> Result<Vec<Map<String, Value>>, BatchReadError> {
        if batch.number() == 3 {
            return Err(BatchReadError { message: "the disk is gone".to_owned(), is_away: false });
        }
        let row = |index: usize| [("Open".to_owned(), json!(index))].into_iter().collect();
        Ok((offset..(offset + limit).min(10)).map(row).collect())
    }

    fn rejects(&self, batch: &Batch, offset: usize, limit: usize) -> Result<Vec<Map<String, Value>>, BatchReadError> {
        let n_rejects = usize::try_from(batch.rejects()).unwrap();
        let reject = |offset: usize| {
            let reject = json!({"partition": 0, "offset": offset, "reason": "no number", "value": "x"});
            reject.as_object().unwrap().clone()
        };
        Ok((offset..(offset + limit).min(n_rejects)).map(reject).collect())
    }

    fn statistics(&self, batch: &Batch) -> Result<BatchStatistics, BatchReadError> {
        if batch.number() == 3 {
            return Err(BatchReadError { message: "the disk is gone".to_owned(), is_away: false });
        }
        Ok(BatchStatistics { rows_read: 10, columns: Vec::new() })
    }
}

pub fn fixture(routes: Vec<Route>) -> Fixture {
    let batches = vec![batch(1, 10, 0), batch(2, 10, 2), batch(3, 10, 0)];
    let (context, models) = context(routes, batches);
    models.publish_all(3);
    of_context(context, models)
}

/// Of a store that knows the columns of its stream, all of them numbers.
pub fn fixture_of_stream(routes: Vec<Route>, columns: &[&str]) -> Fixture {
    let (context, models) = context(routes, Vec::new());
    let column = |name: &&str| json!({ "name": name, "type": "float64", "inferred": true, "null": [] });
    let columns: Vec<Value> = columns.iter().map(column).collect();
    let schema = json!({ "format": 1, "schema": 1, "dialect": 2, "columns": columns, "time": null });
    models.store.create("schema/000001.json", schema.to_string().as_bytes()).unwrap();
    models.publish_all(3);
    of_context(context, models)
}

/// Without models: any batches.
pub fn fixture_of(batches: Arc<dyn BatchSource>) -> Fixture {
    let (mut context, models) = context(Vec::new(), Vec::new());
    context.batches = batches;
    of_context(context, models)
}

/// Without models: the items of a csv file, by the keys of `[catalogue]`, which need no `from`.
pub fn fixture_with_catalogue(items: &str, rules: &str) -> Fixture {
    let (mut context, models) = context(Vec::new(), Vec::new());
    add_catalogue(&mut context, &models, items, rules);
    of_context(context, models)
}

/// As `fixture_with_catalogue`, of models that are there.
pub fn add_catalogue(context: &mut ServeContext, models: &Models, items: &str, rules: &str) {
    let path = models.folder.path().join("items.csv");
    std::fs::write(&path, items).unwrap();
    let from = if rules.contains("from =") { String::new() } else { format!("from = '{}'\n", path.display()) };
    let root = format!("[catalogue]\n{from}{rules}").parse().unwrap();
    let mut faults = Faults::new("p.toml");
    let rules = millstream_answer::catalogue::check::catalogue(&root, &mut faults);
    faults.finish().unwrap_or_else(|faults| panic!("{faults}"));
    let settings = CatalogueSettings { file: "p.toml".as_ref(), rules: rules.as_ref(), tables: &[] };
    let opened = Catalogues::open(&settings, &models.store).unwrap_or_else(|error| panic!("{error}"));
    context.catalogue = opened.map(|(catalogues, _)| Arc::new(catalogues));
    context.settings.catalogue = rules;
}

pub fn of_context(context: ServeContext, models: Models) -> Fixture {
    let status = Arc::clone(&context.status);
    let (running, stopping) = watch::channel(false);
    Fixture { app: Arc::new(App::new(context, stopping)), status, models, _running: running }
}

/// A store of its own, and the registry that reads it.
pub struct Models {
    pub store: SharedStore,
    pub registry: Arc<Registry>,
    folder: TempDir,
}

pub fn context(routes: Vec<Route>, batches: Vec<Batch>) -> (ServeContext, Models) {
    let folder = tempfile::tempdir().unwrap();
    let store: SharedStore = Arc::new(LocalStore::open(folder.path()).unwrap());
    let registry = Arc::new(Registry::open(Arc::clone(&store)).unwrap());
    let settings = settings(routes);
    let stored = Arc::new(StoredBatches::new(Arc::clone(&store)));
    let context = ServeContext {
        explainer: Arc::new(Explainer::new(Arc::clone(&store), Arc::clone(&registry), stored)),
        views: views(&settings, &store),
        images: None,
        pages: Arc::new(crate::page::LivePages),
        gate: crate::serve::Gate::default(),
        posting: Arc::new(posting(&store)),
        answer_log: None,
        settings,
        registry: Arc::clone(&registry),
        status: Arc::new(Status::new("bitcoin")),
        batches: Arc::new(FakeBatches(BatchSnapshot {
            batches: batches.into(),
            completeness: Completeness::Whole,
            away: None,
        })),
        interactions: Arc::new(Interactions::new(FakeRows::default())),
        catalogue: None,
    };
    (context, Models { store, registry, folder })
}

/// All that is answered; the queue that it waits in.
pub fn keep_answers(context: &mut ServeContext) -> Arc<TopicQueue> {
    let queue = Arc::<TopicQueue>::default();
    let log = AnswerLog { share: 1.0, topic: "t".to_owned(), queue: Arc::clone(&queue) };
    context.answer_log = Some(Arc::new(log));
    queue
}

/// The records of answers that wait, which are taken out.
pub fn kept_answers(queue: &TopicQueue) -> Vec<Value> {
    queue.taken().iter().map(|record| serde_json::from_slice(record).unwrap()).collect()
}

/// To a topic that cannot be reached.
fn posting(store: &SharedStore) -> Posting {
    let settings = PostingSettings {
        rules: SchemaRules::default(),
        encoding: RecordEncoding::Json,
        value_bytes_most: 1000,
        replays: false,
    };
    Posting::new(Arc::clone(store), settings, Box::new(|| Err("there is no broker".to_owned())))
}

impl Models {
    /// `close` with `n` versions, of which 2 is champion, `high` with two, `low` with one, and `typed` with a column of
    /// every type.
    pub fn publish_all(&self, n_versions: u32) {
        let open = [("Open", ColumnType::Float64), ("Volume", ColumnType::Float64)];
        let typed = [("count", ColumnType::Int64), ("town", ColumnType::Utf8), ("x", ColumnType::Float64)];
        for _ in 0..n_versions {
            self.publish("close", &[("Timestamp", ColumnType::Float64)]);
        }
        self.publish("high", &open);
        self.publish("high", &open);
        self.publish("low", &open);
        self.publish("typed", &typed);
        self.store.create("aliases/close/champion/000001.json", br#"{"format":1,"version":2}"#).unwrap();
        self.registry.refresh().unwrap();
        assert_eq!(self.registry.snapshot().problems, Vec::<String>::new());
    }

    /// The next version of a model: ŷ = its number × the sum of its numeric inputs, fitted from rows that say so.
    pub fn publish(&self, model: &str, inputs: &[(&str, ColumnType)]) {
        let number = version_numbers(&*self.store, model).unwrap().last().map_or(1, |newest| newest + 1);
        let n_rows = 40 * inputs.len();
        let value = |column: usize, row: usize| (row * (7 + 4 * column)) % 31;
        let column = |(index, (_, kind)): (usize, &(&str, ColumnType))| match kind {
            ColumnType::Utf8 => {
                let codes = (0..n_rows).map(|row| u32::try_from(value(index, row) % 4).unwrap()).collect();
                Column::Categorical { codes, n_categories: 4 }
            }
            _ => Column::Numeric((0..n_rows).map(|row| value(index, row) as f64).collect()),
        };
        let columns: Vec<Column> = inputs.iter().enumerate().map(column).collect();
        let sum = |row: usize| {
            let numbers = columns.iter().map(|column| match column {
                Column::Numeric(values) => values[row],
                Column::Categorical { .. } | Column::Sparse(_) => 0.0,
            });
            f64::from(number) * numbers.sum::<f64>()
        };
        let targets: Vec<f64> = (0..n_rows).map(sum).collect();
        let table = Table::new(columns.clone()).unwrap();
        let params = linear_regression::Params::from_values(&BTreeMap::new()).unwrap();
        let fitted = linear_regression::fit(&table, &targets, &params).unwrap();
        let arrays = arrays_to_bytes(&fitted.to_arrays()).unwrap();
        publish(&*self.store, &Draft { file: file(model, number, inputs), arrays }, 0).unwrap();
        for evaluation in evaluations(number) {
            publish_evaluation(&*self.store, model, number, &evaluation, 0).unwrap();
        }
    }

    pub fn refresh(&self) {
        self.registry.refresh().unwrap();
    }
}

fn file(model: &str, number: u32, inputs: &[(&str, ColumnType)]) -> ModelFile {
    let numeric = Encoding::Numeric { min: Some(0.0), max: Some(30.0), fill: None };
    let towns = ["Bath", "York", "Leeds"].map(str::to_owned).to_vec();
    let rule = millstream_model::model::Categorical { max: 10, unseen: millstream_model::model::Unseen::Other };
    let encoding = |kind: ColumnType| match kind {
        ColumnType::Utf8 => Encoding::Categorical { categories: towns.clone(), rule },
        ColumnType::Float64 | ColumnType::Int64 | ColumnType::Boolean => numeric.clone(),
    };
    let feature =
        |(name, kind): &(&str, ColumnType)| Feature { expression: (*name).to_owned(), encoding: encoding(*kind) };
    ModelFile {
        format: 1,
        model: model.to_owned(),
        version: number,
        attempt: format!("{model}-{number}"),
        algorithm: "linear_regression".to_owned(),
        identity: format!("{model}-{number}"),
        configuration_digest: String::new(),
        task: Task::Regression,
        target_summary: TargetSummary::Mean { mean: 1.0 },
        inputs: inputs.iter().map(|(name, kind)| Input { name: (*name).to_owned(), kind: *kind }).collect(),
        features: inputs.iter().map(feature).collect(),
        target: "Close".to_owned(),
        filter: None,
        train_on: json!("each"),
        output: None,
        baseline: None,
        missing: Missing::Drop,
        parameters: Map::new(),
        batches: vec![TrainedBatch { batch: number, digest: String::new() }],
        rows: 2_097_000,
        dropped_missing: 0,
        holdout: Holdout { share: 0.1, seed: 1 },
        seed: 1,
        file: "model.safetensors".to_owned(),
        file_digest: String::new(),
        schema: 1,
        dialect: millstream_untrusted::model::Dialect::CURRENT,
        trained_at_ms: now_ms(),
        training_seconds: 0.42,
        imported: None,
        notes: if number == 2 { vec!["two columns carry the same information".to_owned()] } else { Vec::new() },
        engine: None,
    }
}

fn evaluations(number: u32) -> Vec<Evaluation> {
    let one = |kind, rmse: f64, baseline: f64| Evaluation {
        format: 1,
        attempt: format!("{number}-{kind:?}"),
        kind,
        batches: vec![number],
        scores: Scores {
            rows: 233_012,
            counts: None,
            measures: BTreeMap::from([("rmse".to_owned(), Some(rmse))]),
            baseline: Baseline {
                kind: "mean".to_owned(),
                measures: BTreeMap::from([("rmse".to_owned(), Some(baseline))]),
            },
            beats_baseline: Some(rmse < baseline),
        },
        evaluated_at_ms: now_ms(),
    };
    let mut all = vec![one(EvaluationKind::Holdout, 1210.5, 5213.25), one(EvaluationKind::Common, 9114.0, 8800.75)];
    if number < 3 {
        all.push(if number == 1 {
            one(EvaluationKind::NextBatch, 31_450.2, 28.31)
        } else {
            one(EvaluationKind::NextBatch, 21.7, 28.31)
        });
    }
    all
}

pub fn route(path: &str, models: &[&str], input: &[(&str, &str)], response: Option<Value>) -> Route {
    Route {
        path: path.to_owned(),
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        view: None,
        action: millstream_model::model::Action::Predict,
        args: BTreeMap::new(),
        first_version: 1,
        get: true,
        post: true,
        input: input.iter().map(|(column, name)| ((*column).to_owned(), (*name).to_owned())).collect(),
        body: None,
        response,
        empty_is_error: false,
        ambiguous: crate::serve::Ambiguous::default(),
    }
}

fn settings(routes: Vec<Route>) -> ServeSettings {
    let model = |name: &str| millstream_model::model::Model {
        name: name.to_owned(),
        algorithm: Algorithm::LinearRegression,
        train_on: TrainOn::Each,
        filter: None,
        params: BTreeMap::new(),
        columns: Columns::Supervised(Supervised {
            features: vec!["Open".to_owned()],
            target: "Close".to_owned(),
            categorical: BTreeMap::new(),
            text: BTreeMap::new(),
            missing: Missing::Drop,
            output: None,
            baseline: None,
        }),
        seed: 1,
        engine: millstream_model::model::EngineKind::Local,
        promote: millstream_model::model::PromoteRule::Manual,
    };
    ServeSettings {
        name: "bitcoin".to_owned(),
        models: ["close", "high", "low", "typed", "waiting"].map(model).to_vec(),
        routes,
        views: Vec::new(),
        pages: Vec::new(),
        catalogue: None,
        file: "name = \"bitcoin\"\n".to_owned(),
        serve: crate::serve::Serve {
            listen: "127.0.0.1:0".parse().unwrap(),
            sites: crate::serve::Sites::default(),
            query: QueryLimits::default(),
            images: crate::serve::ImagesFrom::default(),
            access_log: false,
            split_header: crate::serve::check::SPLIT_HEADER,
            traffic: BTreeMap::new(),
            log: None,
            keys: None,
            reads_by_key: false,
            rate: None,
            concurrency: None,
            tls: None,
        },
    }
}

fn views(settings: &ServeSettings, store: &SharedStore) -> Arc<Views> {
    let settings = ViewSettings {
        file: "bitcoin.toml".as_ref(),
        store: &StoreUrl::Local("store".into()),
        views: &settings.views,
        tables: &[],
        catalogue: None,
        models: &settings.models,
        query: settings.serve.query,
    };
    Arc::new(Views::open(&settings, store, ProcessCommand::own().unwrap()).unwrap())
}
