//! A small world of ratings: rows in batches, versions fitted to them as training fits them, and the API over both.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use millstream_learn::{Id, Ids, ParamValue, Seed, als};
use serde_json::{Map, json};
use tokio::sync::watch;

use crate::serve::fixture::{Models, add_catalogue, context, route};
use crate::serve::{App, Origin, Route, ServeContext};
use millstream_answer::interactions::{Interactions, Read, Rule, Source};
use millstream_base::status::now_ms;
use millstream_model::model::{Argument, Missing};
use millstream_model::registry::{
    Draft, Feedback, Holdout, IdColumn, Input, ModelFile, Recommendation, TargetSummary, Task, TrainedBatch,
    arrays_to_bytes, publish, to_arrays,
};
use millstream_stream::batch::Batch;
use millstream_stream::batch::fixture::batch;
use millstream_stream::schema::ColumnType;

/// Beyond what a double keeps.
pub const LARGE_USER: i64 = 9_007_199_254_740_993;
/// Known from batch 3 on, of which no version was trained.
pub const LATE_USER: i64 = 50;

/// user, item, rating, time; group by user; the seventh part is held out, `where` leaves out what is rated 1.
#[derive(Debug, Clone, PartialEq)]
pub struct FakeRow {
    pub batch: u32,
    pub user: i64,
    pub item: &'static str,
    pub rating: Option<f32>,
    pub time: i64,
    pub held_out: bool,
}

impl FakeRow {
    fn read(&self) -> Read<'_> {
        Read {
            user: Id::Integer(self.user),
            item: Id::Text(self.item),
            rating: self.rating,
            time: Some(self.time),
            group: Some(if self.user % 2 == 0 { "even" } else { "odd" }),
            held_out: self.held_out,
            passes: self.rating != Some(1.0),
        }
    }
}

pub const ITEMS: [&str; 10] =
    ["a/b", "Amélie \"2001\"", "10", "11", "12", "13", "<b>", "15", "100%", "9007199254740993"];

/// Users like the first half of the items or the second, each has rated six or seven of the ten.
pub fn rows() -> Vec<FakeRow> {
    let mut rows = Vec::new();
    for (index, user) in (1..=12).chain([LARGE_USER]).enumerate() {
        for (item, name) in ITEMS.iter().enumerate() {
            if (index * 7 + item * 3) % 10 < 3 {
                continue;
            }
            let likes = (index % 2 == 0) == (item < 5);
            let rating = if likes { 5.0 - (index % 3) as f32 * 0.5 } else { 1.0 + (item % 3) as f32 * 0.5 };
            let number = i64::try_from(rows.len()).unwrap();
            rows.push(FakeRow {
                batch: if number % 3 == 0 { 2 } else { 1 },
                user,
                item: name,
                rating: Some(rating),
                time: 1_000 + (number * 37) % 101,
                held_out: number % 7 == 3,
            });
        }
    }
    // A change of mind, in the next batch and in the same one.
    for (batch, rating, time) in [(1, 2.0, 5_000), (1, 3.0, 4_000), (2, 4.5, 6_000)] {
        rows.push(FakeRow { batch, user: 1, item: "10", rating: Some(rating), time, held_out: false });
    }
    for (item, rating) in [("a/b", Some(5.0)), ("10", Some(4.5)), ("15", Some(1.5)), ("new", Some(5.0)), ("11", None)] {
        rows.push(FakeRow { batch: 3, user: LATE_USER, item, rating, time: 9_000, held_out: false });
    }
    rows
}

#[derive(Default, Clone)]
pub struct FakeRows(pub Arc<Mutex<Vec<FakeRow>>>);

impl Source for FakeRows {
    fn batches(&self) -> Result<Arc<[Batch]>, String> {
        let newest = self.0.lock().unwrap().iter().map(|row| row.batch).max().unwrap_or(0);
        Ok((1..=newest).map(|number| batch(number, 1, 0)).collect())
    }

    fn read(&self, _: &Rule, batch: &Batch, visit: &mut dyn FnMut(&Read)) -> Result<(), String> {
        let rows = self.0.lock().unwrap();
        rows.iter().filter(|row| row.batch == batch.number()).for_each(|row| visit(&row.read()));
        Ok(())
    }
}

pub struct World {
    pub app: Arc<App>,
    pub rows: FakeRows,
    pub models: Models,
    /// Dropped, it would look like a stop.
    _running: watch::Sender<bool>,
}

/// `taste` with versions 1 (batch 1) and 2 (batches 1 and 2), `clicks` of implicit feedback without times and groups,
/// `close`, which recommends nothing; three batches are there.
pub fn world(routes: Vec<Route>) -> World {
    world_with(routes, |_, _| {})
}

/// With titles, years and genres of most items.
pub fn world_with_catalogue(routes: Vec<Route>) -> World {
    let items = "id,name,year,genres\n\
        a/b,The Slash,1999,Drama|War\n\
        \"Amélie \"\"2001\"\"\",\"Amélie \"\"the\"\" film\",2001,Comedy\n\
        10,Ten,2010,Comedy|Drama\n11,Eleven,2011,War\n12,Twelve,2012,Comedy\n13,,2013,War\n\
        15,Fifteen,2015,Comedy\nnew,New,2024,Comedy\nelsewhere,Never Seen,1950,Comedy\n";
    let rules =
        "id = \"id\"\ntitle = \"name\"\ncolumns = { year = \"year\", genre = \"string_to_array(genres, '|')\" }\n";
    world_with(routes, |context, models| add_catalogue(context, models, items, rules))
}

pub fn world_with(routes: Vec<Route>, change: impl FnOnce(&mut ServeContext, &Models)) -> World {
    let rows = FakeRows(Arc::new(Mutex::new(rows())));
    let (mut context, models) = context(routes, Vec::new());
    context.interactions = Arc::new(Interactions::new(rows.clone()));
    change(&mut context, &models);
    models.publish("close", &[("Timestamp", ColumnType::Float64)]);
    publish_ratings(&models, &rows, "taste", &[1], Feedback::Explicit);
    publish_ratings(&models, &rows, "taste", &[1, 2], Feedback::Explicit);
    publish_ratings(&models, &rows, "clicks", &[1, 2], Feedback::Implicit);
    models.refresh();
    assert_eq!(models.registry.snapshot().problems, Vec::<String>::new());
    let (running, stopping) = watch::channel(false);
    let world = World { app: Arc::new(App::new(context, stopping)), rows, models, _running: running };
    world.read();
    world
}

impl World {
    /// As the background does.
    pub fn read(&self) {
        self.app.context.interactions.refresh_for(&self.models.registry);
    }

    /// The ratings that a version was trained on, as an object of a request.
    pub fn trained(&self, user: i64, batches: &[u32]) -> Map<String, serde_json::Value> {
        let latest = trained_on(&self.rows.0.lock().unwrap(), batches);
        let mine = latest.into_iter().filter(|row| row.user == user);
        mine.map(|row| (row.item.to_owned(), json!(row.rating))).collect()
    }
}

/// What training takes: not held out, passing `where`, of a pair the latest.
fn trained_on(rows: &[FakeRow], batches: &[u32]) -> Vec<FakeRow> {
    let mut taken: Vec<FakeRow> =
        rows.iter().filter(|row| batches.contains(&row.batch) && !row.held_out && row.read().passes).cloned().collect();
    taken.sort_by_key(|row| (row.batch, 0));
    taken.sort_by_key(|row| row.time);
    let mut latest: BTreeMap<(i64, &str), FakeRow> = BTreeMap::new();
    for row in taken {
        latest.insert((row.user, row.item), row);
    }
    latest.into_values().collect()
}

/// `unscaled` has no configured scale, `biased` has biases.
pub fn publish_ratings(models: &Models, rows: &FakeRows, model: &str, batches: &[u32], feedback: Feedback) {
    publish_of_rank(models, rows, model, batches, feedback, 3);
}

fn publish_of_rank(models: &Models, rows: &FakeRows, model: &str, batches: &[u32], feedback: Feedback, rank: i64) {
    let rows = trained_on(&rows.0.lock().unwrap(), batches);
    let (mut users, mut items) = (Ids::integers(), Ids::texts());
    let user_codes = rows.iter().map(|row| users.intern(Id::Integer(row.user))).collect();
    let item_codes = rows.iter().map(|row| items.intern(Id::Text(row.item))).collect();
    let is_implicit = feedback == Feedback::Implicit;
    let values = rows.iter().map(|row| if is_implicit { 1.0 } else { row.rating.unwrap() }).collect();
    let ratings = als::Ratings::new(user_codes, item_codes, values, users.len(), items.len()).unwrap();
    let mut given = BTreeMap::from([
        ("rank".to_owned(), ParamValue::Integer(rank)),
        ("iterations".to_owned(), ParamValue::Integer(if rank > 3 { 1 } else { 12 })),
        ("lambda".to_owned(), ParamValue::Float(0.05)),
    ]);
    if model == "biased" {
        given.insert("biases".to_owned(), ParamValue::Bool(true));
    }
    if is_implicit {
        given.insert("feedback".to_owned(), ParamValue::Text("implicit".to_owned()));
    }
    let mut params = als::Params::from_values(&given).unwrap();
    params.scale = (model != "unscaled").then_some((0.5, 5.0));
    let fit = als::fit(&ratings, None, None, &params, Seed(1)).unwrap();
    let number = u32::try_from(batches.len()).unwrap();
    let number = if is_implicit { 1 } else { number };
    let column = |text: &str, kind| IdColumn { expression: text.to_owned(), kind };
    let of = |text: &str| (!is_implicit).then(|| text.to_owned());
    let file = ModelFile {
        format: 1,
        model: model.to_owned(),
        version: number,
        attempt: format!("{model}-{number}"),
        algorithm: "als".to_owned(),
        identity: format!("{model}-{number}"),
        configuration_digest: String::new(),
        task: Task::Recommendation(Recommendation {
            user: column("userId", ColumnType::Int64),
            item: column("movieId", ColumnType::Utf8),
            rating: of("rating"),
            time: of("timestamp"),
            group: of("audience"),
            feedback,
            scale: (!is_implicit && model != "unscaled").then_some((0.5, 5.0)),
            relevant: None,
            users: users.len() as u64,
            items: items.len() as u64,
            duplicates: 0,
            out_of_scale: 0,
            iterations: fit.iterations,
            parent: None,
        }),
        target_summary: TargetSummary::Mean { mean: fit.model.mean() },
        inputs: [("user", ColumnType::Int64), ("item", ColumnType::Utf8)]
            .map(|(name, kind)| Input { name: name.to_owned(), kind })
            .to_vec(),
        features: Vec::new(),
        target: if is_implicit { "1" } else { "rating" }.to_owned(),
        filter: Some("rating <> 1".to_owned()),
        train_on: json!("cumulative"),
        output: None,
        baseline: None,
        missing: Missing::Drop,
        parameters: Map::new(),
        batches: batches.iter().map(|batch| TrainedBatch { batch: *batch, digest: String::new() }).collect(),
        rows: rows.len() as u64,
        dropped_missing: 0,
        holdout: Holdout { share: 0.1, seed: 0 },
        seed: 1,
        file: "model.safetensors".to_owned(),
        file_digest: String::new(),
        schema: 1,
        dialect: millstream_untrusted::model::Dialect::CURRENT,
        trained_at_ms: now_ms(),
        training_seconds: 0.1,
        imported: None,
        notes: Vec::new(),
        engine: None,
    };
    let arrays = arrays_to_bytes(&to_arrays(&fit.model, &users, &items)).unwrap();
    publish(&*models.store, &Draft { file, arrays }, 0).unwrap();
}

/// A route of `taste` with arguments from parameters of these names.
pub fn action_route(
    path: &str,
    action: millstream_model::model::Action,
    args: &[(Argument, &str)],
    response: Option<serde_json::Value>,
) -> Route {
    let args = args.iter().map(|(argument, name)| (*argument, Origin::Parameter((*name).to_owned())));
    Route { action, args: args.collect(), post: false, ..route(path, &["taste"], &[], response) }
}
