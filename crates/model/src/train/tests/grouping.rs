//! Clusters, similar texts, near rows and popularity from committed records: what they learn, what is left out, how they are
//! measured, and bad input.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array, StringArray};
use datafusion::arrow::datatypes::Float64Type;
use millstream_base::error_chain;
use millstream_learn::content::Lookup;
use millstream_learn::top_n::Admit;
use millstream_learn::{Algorithm, Id, ParamValue};
use millstream_stream::schema::ColumnType;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::model::{
    Categorical, ClusterColumns, Columns, ContentColumns, EngineKind, Missing, Model, NeighbourColumns,
    PopularityColumns, PromoteRule, RatingColumns, TrainOn, Unseen,
};
use crate::registry::{Encoding, EvaluationKind, OwnerTexts, RegistryError, Row, Version, version_folder};
use crate::train::fixture::*;
use crate::train::verify;

const PRODUCTS: [(&str, ColumnType); 8] = [
    ("id", ColumnType::Int64),
    ("name", ColumnType::Utf8),
    ("about", ColumnType::Utf8),
    ("genre", ColumnType::Utf8),
    ("price", ColumnType::Float64),
    ("rating", ColumnType::Float64),
    ("votes", ColumnType::Int64),
    ("empty", ColumnType::Utf8),
];

fn of(name: &str, algorithm: Algorithm, columns: Columns, params: &[(&str, ParamValue)]) -> Model {
    Model {
        name: name.to_owned(),
        algorithm,
        train_on: TrainOn::Cumulative,
        filter: None,
        params: params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        seed: 1,
        columns,
        engine: EngineKind::Local,
        promote: PromoteRule::Manual,
    }
}

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn kmeans_on(features: &[&str], params: &[(&str, ParamValue)]) -> Model {
    let columns = ClusterColumns { features: texts(features), categorical: BTreeMap::new(), missing: Missing::Drop };
    of("groups", Algorithm::Kmeans, Columns::Clusters(columns), params)
}

fn kmeans(params: &[(&str, ParamValue)]) -> Model {
    kmeans_on(&["price", "rating", "genre"], params)
}

fn content_on(text: &[(&str, f64)]) -> Model {
    let text = text.iter().map(|(text, weight)| ((*text).to_owned(), *weight)).collect();
    let columns = ContentColumns { id: "id".to_owned(), title: Some("name".to_owned()), text };
    of("like", Algorithm::Content, Columns::Content(columns), &[])
}

fn content() -> Model {
    content_on(&[("about", 1.0), ("genre", 0.5)])
}

fn neighbours_on(features: &[&str]) -> Model {
    let columns = NeighbourColumns { id: "id".to_owned(), features: texts(features), categorical: BTreeMap::new() };
    of("near", Algorithm::Neighbours, Columns::Neighbours(columns), &[])
}

fn neighbours() -> Model {
    neighbours_on(&["price", "rating", "genre"])
}

pub fn popularity(votes: Option<&str>) -> Model {
    let columns = PopularityColumns {
        item: "id".to_owned(),
        score: Some("rating".to_owned()),
        votes: votes.map(str::to_owned),
        group: Some("genre".to_owned()),
    };
    of("best", Algorithm::Popularity, Columns::Popularity(columns), &[])
}

/// Product `id` of one of three kinds, which differ in everything.
fn product(id: u64) -> Value {
    let wobble = |salt: u64| ((id + 1) * (7919 + salt) % 101) as f64 / 101.0;
    let (genre, price, rating, about) = [
        ("crime", 10.0, 4.5, "a detective hunts a killer"),
        ("space", 100.0, 3.0, "astronauts land on a distant planet"),
        ("dance", 1000.0, 1.5, "ballet dancers rehearse for the stage"),
    ][(id % 3) as usize];
    json!({
        "id": id, "name": format!("The {genre} of number {id}"), "about": format!("{about} in part{id}"), "genre": genre,
        "price": price * (1.0 + 0.2 * wobble(1)), "rating": rating + 0.3 * wobble(2), "votes": 1 + id % 50, "empty": null,
    })
}

pub fn products(ids: std::ops::Range<u64>) -> Vec<Value> {
    ids.map(product).collect()
}

fn product_with(id: u64, changes: &[(&str, Value)]) -> Value {
    let mut row = product(id);
    changes.iter().for_each(|(name, value)| row[*name] = value.clone());
    row
}

fn stored(partitions: u64) -> Fixture {
    fixture_of(&PRODUCTS, partitions)
}

fn three() -> [(&'static str, ParamValue); 1] {
    [("k", ParamValue::Integer(3))]
}

/// What is said of the only training.
fn failure(fixture: &Fixture, model: Model) -> String {
    let report = fixture.train(0.0, vec![model]);
    assert_eq!(report.trained, []);
    report.failed.into_iter().map(|(_, reason)| reason).collect()
}

fn measures(version: &Version, kind: EvaluationKind) -> Value {
    serde_json::to_value(&version.evaluation(kind).unwrap().scores).unwrap()
}

fn has_note(version: &Version, note: &str) -> bool {
    version.file.notes.iter().any(|found| found.contains(note))
}

fn row(ids: &millstream_learn::Ids, id: i64) -> u32 {
    ids.code(Id::Integer(id)).unwrap()
}

/// A model of each kind, trained on two batches.
pub fn grouped() -> Fixture {
    let fixture = stored(1);
    fixture.commit(&products(0..24)).commit(&products(24..36));
    let clusters = kmeans(&[("k", ParamValue::Text("auto".to_owned())), ("k_max", ParamValue::Integer(4))]);
    let models = vec![clusters, content(), neighbours(), popularity(Some("votes"))];
    assert_eq!(fixture.train(0.2, models).failed, []);
    fixture
}

/// A store of products, and one model of each algorithm over them.
pub fn of_every_algorithm() -> (Fixture, Vec<Model>) {
    let fixture = stored(1);
    fixture.commit(&products(0..60));
    let ratings = RatingColumns {
        user: "votes".to_owned(),
        item: "id % 7".to_owned(),
        rating: Some("rating".to_owned()),
        time: None,
        group: None,
        scale: None,
        relevant: None,
    };
    let models = Algorithm::ALL.iter().map(|&algorithm| match algorithm {
        Algorithm::Als => of("liked", algorithm, Columns::Ratings(ratings.clone()), &[]),
        Algorithm::Content => content(),
        Algorithm::Kmeans => kmeans(&three()),
        Algorithm::LogisticRegression => model("kind", algorithm, &["price", "rating"], "genre"),
        Algorithm::GradientBoosting | Algorithm::LinearRegression | Algorithm::RandomForest => {
            model(algorithm.name(), algorithm, &["rating", "genre"], "price")
        }
        Algorithm::Neighbours => neighbours(),
        Algorithm::Popularity => popularity(Some("votes")),
    });
    (fixture, models.collect())
}

/// What versions of `grouped` answer.
pub fn answers(version: &Version) -> Value {
    let all = Admit::default();
    let posted = request(&product(40), &["price", "rating", "genre"]);
    if let Some(clusters) = version.clusters() {
        let assigned = &clusters.assign(&[posted]).unwrap()[0];
        return json!({ "distances": assigned.distances, "label": assigned.label, "clusters": clusters.to_json() });
    }
    if let Some(content) = version.content() {
        let texts = content.texts_of_row(&request(&product(40), &["about", "genre"])).unwrap();
        let ids = |found: Vec<millstream_learn::top_n::Scored>| -> Vec<Value> {
            found.iter().map(|one| json!([content.ids.get(one.item).unwrap().to_string(), one.score])).collect()
        };
        let stored = ids(content.model.similar(3, 3, &all));
        return json!({ "stored": stored, "texts": ids(content.model.similar_to(&content.query(&texts), 3, &all)), "title": content.title(3) });
    }
    if let Some(near) = version.neighbours() {
        let found = near.nearest_in(&near.posted(&posted).unwrap(), 3, &all).unwrap();
        let found = found.iter().map(|one| json!([near.ids.get(one.row).unwrap().to_string(), one.distance]));
        return json!({ "posted": found.collect::<Vec<_>>(), "row": near.row(3) });
    }
    let best = version.popularity().unwrap();
    let top = best.model.top(best.group("space"), 3, &all);
    top.iter()
        .map(|one| json!([best.items.get(one.item).unwrap().to_string(), one.votes, one.mean, one.score]))
        .collect()
}

#[test]
fn every_form_of_training_takes_its_batches_and_verify_repeats_the_bytes() {
    let fixture = stored(2);
    for batch in 0..3 {
        fixture.commit(&products(batch * 60..(batch + 1) * 60));
    }
    let forms = [
        ("each", TrainOn::Each, vec![vec![1], vec![2], vec![3]]),
        ("all", TrainOn::Cumulative, vec![vec![1], vec![1, 2], vec![1, 2, 3]]),
        ("last", TrainOn::Last(NonZeroU32::new(2).unwrap()), vec![vec![1], vec![1, 2], vec![2, 3]]),
        ("chosen", TrainOn::Batches(vec![1, 3]), vec![vec![1, 3]]),
    ];
    let kinds = [kmeans(&three()), content(), neighbours(), popularity(None), popularity(Some("votes"))];
    let mut models = Vec::new();
    for (form, train_on, _) in &forms {
        for (number, kind) in kinds.iter().enumerate() {
            let name = format!("{}{number}_{form}", kind.name);
            models.push(Model { name, train_on: train_on.clone(), ..kind.clone() });
        }
    }
    let report = fixture.train(0.1, models);
    assert_eq!(report.failed, []);
    for (form, _, expected) in &forms {
        for (number, kind) in kinds.iter().enumerate() {
            let name = format!("{}{number}_{form}", kind.name);
            for (batches, version) in expected.iter().zip(1..) {
                let version = fixture.load(&name, version);
                let found: Vec<u32> = version.file.batches.iter().map(|batch| batch.batch).collect();
                assert_eq!(found, *batches, "{name}");
                let all = batches.len() as u64 * 60;
                match kind.algorithm {
                    Algorithm::Kmeans => assert!(version.file.rows < all && version.file.rows > all / 2, "{name}"),
                    _ => {
                        assert_eq!((version.file.rows, version.file.holdout.share), (all, 0.0), "{name}");
                        assert!(has_note(&version, "every record was taken"), "{name}");
                    }
                }
                let report = verify(&*fixture.store, &name, version.file.version, &OwnerTexts::default()).unwrap();
                assert_eq!(report.faults, [""; 0], "{name}");
                assert_eq!(report.retrained_digest.as_ref(), Some(&report.file_digest));
            }
        }
    }
}

/// `predict_<model>` in SQL.
#[test]
fn clusters_of_columns_are_those_of_the_rows_one_by_one() {
    let fixture = stored(1);
    fixture.commit(&products(0..60));
    assert_eq!(fixture.train(0.0, vec![kmeans(&three())]).failed, []);
    let version = fixture.load("groups", 1);
    let ids = 0..2_000;
    let prices: Vec<Option<f64>> =
        ids.clone().map(|id| (id % 7 != 0).then_some(if id % 11 == 0 { 1e300 } else { id as f64 })).collect();
    let ratings: Vec<f64> = ids.clone().map(|id| id as f64 % 5.0).collect();
    let genres: Vec<&str> = ids.map(|id| ["crime", "space", "dance", "never seen"][id as usize % 4]).collect();
    let column = |name: &str| -> ArrayRef {
        match name {
            "price" => Arc::new(Float64Array::from(prices.clone())),
            "rating" => Arc::new(Float64Array::from(ratings.clone())),
            _ => Arc::new(StringArray::from(genres.clone())),
        }
    };
    let columns: Vec<ArrayRef> = version.file.inputs.iter().map(|input| column(&input.name)).collect();
    let row = |row: usize| -> Row {
        let values = [("price", json!(prices[row])), ("rating", json!(ratings[row])), ("genre", json!(genres[row]))];
        values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    };
    let one_by_one: Vec<Option<f64>> =
        (0..prices.len()).map(|place| version.predict(&[row(place)]).ok()?[0].value.as_f64()).collect();
    let at_once = version.predict_columns(&columns, prices.len()).unwrap();
    let at_once: Vec<Option<f64>> = at_once.as_primitive::<Float64Type>().iter().collect();
    assert!(at_once == one_by_one);
    assert!(at_once.contains(&None) && at_once.contains(&Some(0.0)) && at_once.contains(&Some(2.0)));
}

/// A null would be taken for an answer.
#[test]
fn models_of_lists_have_no_answer_to_columns() {
    let fixture = grouped();
    for name in ["like", "near", "best"] {
        let version = fixture.load(name, 1);
        let columns: Vec<ArrayRef> =
            version.file.inputs.iter().map(|_| Arc::new(StringArray::from(vec!["1"])) as ArrayRef).collect();
        let said = version.predict_columns(&columns, 1).unwrap_err();
        assert!(said.contains(&format!("there is no function predict_{name}")), "{said}");
    }
}

#[test]
fn planted_clusters_are_found_and_beat_none_and_random_ones() {
    let fixture = stored(1);
    fixture.commit(&products(0..150)).commit(&products(150..300));
    assert_eq!(fixture.train(0.2, vec![kmeans(&[])]).failed, []);
    let version = fixture.load("groups", 1);
    let clusters = version.clusters().unwrap();
    assert_eq!(clusters.model.k(), 3, "{:?}", clusters.model.tried());
    assert!(has_note(&version, "3 clusters, of 2 to 10"), "{:?}", version.file.notes);
    for kind in [EvaluationKind::Holdout, EvaluationKind::NextBatch] {
        let scores = measures(&version, kind);
        assert_eq!(scores["beats_baseline"], true, "{scores}");
        assert!(scores["silhouette"].as_f64().unwrap() > 0.6, "{scores}");
        assert!(scores["baseline"]["silhouette"].as_f64().unwrap() < 0.1, "{scores}");
        assert!(scores["inertia"].as_f64().unwrap() < 0.2 * scores["baseline"]["inertia"].as_f64().unwrap());
    }
    assert_eq!(measures(&version, EvaluationKind::NextBatch)["rows"], 150);
    let common = measures(&fixture.load("groups", 2), EvaluationKind::Common);
    assert!((30..90).contains(&common["rows"].as_u64().unwrap()), "{common}");

    let requests: Vec<_> = (900..906).map(|id| request(&product(id), &["price", "rating", "genre"])).collect();
    let assigned = clusters.assign(&requests).unwrap();
    for (a, b) in [(0, 3), (1, 4), (2, 5)] {
        assert_eq!(assigned[a].cluster, assigned[b].cluster);
    }
    for (one, prediction) in assigned.iter().zip(version.predict(&requests).unwrap()) {
        assert_eq!((one.distances.len(), prediction.value), (3, json!(one.cluster)));
        assert!(one.distances.iter().all(|distance| *distance >= one.distance));
        assert_eq!(one.distances[one.cluster as usize].to_bits(), one.distance.to_bits());
        assert_eq!(one.label, clusters.labels()[one.cluster as usize]);
    }
    let shown = Value::Object(clusters.to_json());
    let crime = &shown["clusters"][assigned[0].cluster as usize];
    assert_eq!(crime["center"]["genre"], json!({ "crime": 1.0 }));
    assert!((10.0..12.0).contains(&crime["center"]["price"].as_f64().unwrap()), "{crime}");
    assert!(crime["label"].as_str().unwrap().contains("price"), "{crime}");
    let sizes: u64 = shown["clusters"].as_array().unwrap().iter().map(|one| one["size"].as_u64().unwrap()).sum();
    assert_eq!(sizes, version.file.rows);
    assert_eq!(shown["tried"].as_array().unwrap().len(), 9);
}

#[test]
fn a_row_that_no_cluster_can_take_is_named() {
    let fixture = stored(1);
    fixture.commit(&products(0..60));
    let mut strict = kmeans(&three());
    let rule = Categorical { max: 10, unseen: Unseen::Error };
    let Columns::Clusters(columns) = &mut strict.columns else { panic!("clusters") };
    columns.categorical.insert("genre".to_owned(), rule);
    strict.name = "strict".to_owned();
    assert_eq!(fixture.train(0.0, vec![kmeans(&three()), strict]).failed, []);
    let ask = |model: &str, row: Value| {
        let assigned = fixture.load(model, 1).clusters().unwrap().assign(&[object(&row)]);
        assigned.map(|assigned| assigned[0].warnings.clone()).map_err(|fault| (fault.field, fault.message))
    };
    let unseen = json!({ "price": 11.0, "rating": 4.6, "genre": "opera" });
    assert_eq!(ask("groups", unseen.clone()), Ok(Vec::new()), "an unseen category is \"other\" unless told otherwise");
    let (field, message) = ask("strict", unseen).unwrap_err();
    assert_eq!(field, "genre");
    assert!(message.contains("which training did not see"), "{message}");
    let (field, _) = ask("groups", json!({ "price": 10.0, "genre": "crime" })).unwrap_err();
    assert_eq!(field, "rating");
    let far = ask("groups", json!({ "price": 1e9, "rating": 4.5, "genre": "crime" })).unwrap();
    assert!(far[0].contains("outside what training saw"), "{far:?}");
    let (_, message) = ask("groups", json!({ "price": 1e300, "rating": 4.5, "genre": "crime" })).unwrap_err();
    assert!(message.contains("no cluster is at a finite distance"), "{message}");
}

#[test]
fn clusters_that_cannot_be_are_said_and_others_still_train() {
    let fixture = stored(1);
    let same: Vec<Value> = (0..20).map(|id| product_with(3, &[("id", json!(id))])).collect();
    fixture.commit(&same);
    let few = [("k", ParamValue::Integer(4))];
    assert!(failure(&fixture, kmeans(&few)).contains("only 1 rows differ, too few for 4 clusters"));
    assert!(failure(&fixture, kmeans(&[])).contains("only 1 rows differ, too few for 2 clusters"));
    assert!(failure(&fixture, kmeans_on(&["empty"], &few)).contains("no row is left to train on"));
    let nothing = Model { filter: Some("price < 0".to_owned()), ..kmeans(&few) };
    assert!(failure(&fixture, nothing).contains("fail `where`"));
    let report = fixture.train(0.0, vec![kmeans(&few), neighbours()]);
    assert_eq!((report.trained, report.failed.len()), (vec![("near".to_owned(), 1)], 1));

    let one = Model { name: "one".to_owned(), ..kmeans(&[("k", ParamValue::Integer(1))]) };
    assert_eq!(fixture.train(0.0, vec![one]).failed, []);
    assert_eq!(fixture.load("one", 1).clusters().unwrap().model.sizes(), [20]);

    let fixture = stored(1);
    fixture.commit(&products(0..3));
    assert!(failure(&fixture, kmeans(&few)).contains("only 3 rows differ, too few for 4 clusters"));
}

#[test]
fn a_parameter_keeps_its_meaning_when_its_defaults_are_written_down() {
    let fixture = stored(1);
    fixture.commit(&products(0..60));
    let open = |name: &str, params: &[(&str, ParamValue)]| Model { name: name.to_owned(), ..kmeans(params) };
    let counted = |name: &str, most: ParamValue| {
        let params = [("max_documents".to_owned(), most)].into();
        Model { name: name.to_owned(), params, ..content() }
    };
    let models = vec![
        open("many", &[("k_min", ParamValue::Integer(12))]),
        open("auto", &[("k", ParamValue::Text("auto".to_owned())), ("k_max", ParamValue::Integer(4))]),
        counted("share", ParamValue::Float(1.0)),
        counted("count", ParamValue::Integer(1)),
    ];
    assert_eq!(fixture.train(0.0, models).failed, []);
    assert_eq!(fixture.load("many", 1).clusters().unwrap().model.k(), 12);
    assert_eq!(fixture.load("auto", 1).clusters().unwrap().model.k(), 3);
    let terms = |model: &str| fixture.load(model, 1).content().unwrap().model.n_terms(0);
    // Each text has one word of its own.
    assert_eq!(terms("count"), 60);
    assert!(terms("share") > 70);
    for model in ["many", "auto", "share", "count"] {
        assert_eq!(verify(&*fixture.store, model, 1, &OwnerTexts::default()).unwrap().faults, [""; 0]);
    }
}

#[test]
fn a_text_without_its_words_is_refused_where_the_version_is_loaded() {
    let fixture = grouped();
    let mut file = fixture.load("groups", 1).file;
    let bytes = fixture.store.read(&format!("{}/{}", version_folder("groups", 1), file.file)).unwrap();
    let load = |file| Version::from_parts(file, Vec::new(), &bytes, "here".to_owned());
    assert!(load(file.clone()).is_ok());
    file.features[2].encoding = Encoding::Text { words: 3, parameters: Map::new() };
    let error = load(file).unwrap_err();
    assert!(matches!(error, RegistryError::Expression { .. }), "{error}");
    assert!(error_chain(&error).contains("its words are unknown"), "{error}");
}

#[test]
fn a_constant_column_is_noted() {
    let fixture = stored(1);
    let rows: Vec<Value> = (0..60).map(|id| product_with(id, &[("votes", json!(7))])).collect();
    fixture.commit(&rows);
    let models = vec![kmeans_on(&["price", "votes"], &three()), neighbours_on(&["price", "votes", "empty"])];
    assert_eq!(fixture.train(0.0, models).failed, []);
    assert!(has_note(&fixture.load("groups", 1), "`votes` is the same in all rows"));
    assert!(has_note(&fixture.load("near", 1), "`votes` is the same in all rows"));
    assert!(has_note(&fixture.load("near", 1), "`empty` is the same in all rows"));
}

#[test]
fn missing_values_follow_their_rule() {
    let fixture = stored(1);
    let rows: Vec<Value> =
        (0..60).map(|id| product_with(id, if id % 6 == 0 { &[("price", Value::Null)] } else { &[] })).collect();
    fixture.commit(&rows);
    let filled = |missing: Missing, name: &str| {
        let mut model = Model { name: name.to_owned(), ..kmeans_on(&["price", "rating"], &three()) };
        let Columns::Clusters(columns) = &mut model.columns else { panic!("clusters") };
        columns.missing = missing;
        model
    };
    let models = vec![filled(Missing::Drop, "dropped"), filled(Missing::Median, "median")];
    assert_eq!(fixture.train(0.0, models).failed, []);
    let dropped = fixture.load("dropped", 1);
    assert_eq!((dropped.file.rows, dropped.file.dropped_missing), (50, 10));
    assert!(has_note(&dropped, "10 rows lacked a feature"));
    let median = fixture.load("median", 1);
    assert_eq!(median.file.rows, 60);
    let asked = object(&json!({ "rating": 4.5 }));
    assert!(median.clusters().unwrap().assign(&[asked]).is_ok());
}

#[test]
fn similar_texts_are_found_by_the_latest_record_of_each_id() {
    let fixture = stored(2);
    fixture.commit(&products(0..30));
    // Product 0 turns into one of space; 33 has no id; 4 has no text any more.
    fixture.commit(&[
        product_with(0, &[("about", json!("astronauts on a planet")), ("genre", json!("space"))]),
        product_with(33, &[("id", Value::Null)]),
        product_with(4, &[("about", json!("  ")), ("genre", Value::Null)]),
        product(34),
    ]);
    assert_eq!(fixture.train(0.5, vec![content()]).failed, []);
    let version = fixture.load("like", 2);
    let content = version.content().unwrap();
    assert_eq!((content.ids.len(), version.file.rows, version.file.dropped_missing), (31, 31, 1));
    for note in ["1 records had no id", "2 records were replaced", "1 items have no term"] {
        assert!(has_note(&version, note), "{note}: {:?}", version.file.notes);
    }
    let all = Admit::default();
    let similar = content.model.similar(row(&content.ids, 0), 5, &all);
    assert_eq!(similar.len(), 5);
    for found in &similar {
        let Some(Id::Integer(id)) = content.ids.get(found.item) else { panic!("an id is text") };
        assert_eq!(id % 3, 1, "product 0 is of space now");
        let shared = content.model.shared_terms(row(&content.ids, 0), found.item);
        assert!(shared.iter().any(|term| term.term == "astronauts"), "{shared:?}");
    }
    assert_eq!(content.model.similar(row(&content.ids, 4), 5, &all), []);
    // A slip of typing.
    let Lookup::Found(found) = content.lookup("the dance of nmber 29", 5, &all) else { panic!("a slip is forgiven") };
    assert_eq!(content.title(found.row), Some("The dance of number 29"));
    assert_eq!(content.lookup("%'.*\"", 5, &all), Lookup::NotFound);
    let texts = content.texts_of_row(&object(&json!({ "about": "Ballet dancers" }))).unwrap();
    assert_eq!(texts, ["Ballet dancers", ""]);
    let found = content.model.similar_to(&content.query(&texts), 1, &all);
    assert_eq!(content.ids.get(found[0].item).map(|id| id.to_string().parse::<u64>().unwrap() % 3), Some(2));
    let fault = content.texts_of_row(&object(&json!({ "abuot": "x" }))).unwrap_err();
    assert!(fault.message.contains("did you mean `about`?"), "{}", fault.message);
    let (words, free) = (content.query(&content.texts_of_words("killer crime")), &["crime", "killer"]);
    let best = content.model.similar_to(&words, 1, &all)[0].item;
    let mut terms: Vec<&str> = content.model.terms_shared_with(&words, best).iter().map(|term| term.term).collect();
    terms.sort_unstable();
    assert_eq!(terms, free);

    // Nothing trivial does this: what is measured is how much of a later batch is known.
    let first = fixture.load("like", 1);
    let scores = measures(&first, EvaluationKind::NextBatch);
    assert_eq!((&scores["rows"], &scores["beats_baseline"]), (&json!(3), &Value::Null));
    assert!((scores["known_items"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-12, "{scores}");
    assert_eq!(first.verdict().to_string(), "has no trivial baseline: known_items 0.66667");
    assert_eq!(version.verdict().to_string(), "has no trivial baseline", "nothing came after it");
    assert!(!version.predicts());
    assert!(first.evaluation(EvaluationKind::Holdout).is_none() && first.evaluation(EvaluationKind::Common).is_none());
    assert!(fixture.load("like", 2).predict(&[object(&json!({}))]).unwrap_err().message.contains("/similar"));
}

#[test]
fn texts_without_a_word_are_noted_or_said() {
    let fixture = stored(1);
    fixture.commit(&products(0..12));
    assert_eq!(fixture.train(0.0, vec![content_on(&[("about", 1.0), ("empty", 0.5)])]).failed, []);
    assert!(has_note(&fixture.load("like", 1), "`empty` has no term that is kept"));
    let nothing = Model { name: "none".to_owned(), ..content_on(&[("empty", 1.0)]) };
    assert!(failure(&fixture, nothing).contains("no text has a term that is kept"));
}

#[test]
fn where_looks_at_the_latest_record_of_an_item() {
    let fixture = stored(1);
    fixture.commit(&products(0..9));
    fixture.commit(&[product_with(2, &[("price", json!(-1.0))]), product_with(20, &[("price", json!(-1.0))])]);
    let model = Model { filter: Some("price > 0".to_owned()), ..neighbours() };
    assert_eq!(fixture.train(0.0, vec![model]).failed, []);
    let version = fixture.load("near", 2);
    let ids = &version.neighbours().unwrap().ids;
    assert_eq!((ids.len(), ids.code(Id::Integer(2)), ids.code(Id::Integer(20))), (8, None, None));
    assert!(has_note(&version, "2 items were left out"), "{:?}", version.file.notes);
    let none = Model { name: "none".to_owned(), filter: Some("price > 1e6".to_owned()), ..neighbours() };
    let report = fixture.train(0.0, vec![none]);
    assert!(report.failed[0].1.contains("no item is left: of 9 rows 0 have no id, and 9 items fail `where`"));
}

#[test]
fn near_rows_leave_out_what_is_missing_and_the_row_itself() {
    let fixture = stored(1);
    let mut rows = products(0..30);
    rows[6]["price"] = Value::Null;
    rows[7]["genre"] = Value::Null;
    fixture.commit(&rows);
    assert_eq!(fixture.train(0.0, vec![neighbours()]).failed, []);
    let version = fixture.load("near", 1);
    let near = version.neighbours().unwrap();
    assert_eq!(version.file.rows, 30, "no row is dropped for what it lacks");
    assert_eq!(near.row(row(&near.ids, 6))["price"], Value::Null);
    assert_eq!(near.row(row(&near.ids, 7))["genre"], Value::Null);
    assert_eq!(near.row(row(&near.ids, 8))["genre"], "dance");
    let found = near.model.nearest_to_row(row(&near.ids, 6), 30, &Admit::default());
    assert_eq!(found.len(), 29);
    assert!(found.iter().all(|found| found.row != row(&near.ids, 6)));
    assert!(found[..9].iter().all(|found| near.row(found.row)["genre"] == "crime"), "those of its kind come first");
    let post = |posted: Value| near.nearest_in(&near.posted(&object(&posted))?, 1, &Admit::default());
    let itself = post(request(&product(8), &["price", "rating", "genre"]).into()).unwrap();
    assert_eq!((itself[0].row, itself[0].distance), (row(&near.ids, 8), 0.0));
    let unseen = post(json!({ "price": 1100.0, "genre": "opera" })).unwrap();
    assert!(unseen[0].distance >= 0.5, "an unseen category is as far as another one: {unseen:?}");
    let fault = post(json!({ "price": null })).unwrap_err();
    assert!(fault.message.contains("no value to compare by: give at least one of price, rating, genre"));
    let fault = post(json!({ "price": "cheap" })).unwrap_err();
    assert_eq!(fault.field, "price");
}

#[test]
fn the_best_of_each_group_is_weighted_by_its_votes() {
    let fixture = stored(1);
    let liked = |id: u64, genre: &str, rating: f64, votes: Value| {
        product_with(id, &[("genre", json!(genre)), ("rating", json!(rating)), ("votes", votes)])
    };
    fixture.commit(&[
        liked(1, "crime|space", 4.8, json!(2)),
        liked(2, "crime", 4.5, json!(1000)),
        liked(3, "space", 2.0, json!(800)),
        liked(4, "", 5.0, Value::Null),
        liked(5, "crime", 4.9, json!(-3)),
    ]);
    // A film is rated better by now.
    fixture.commit(&[liked(3, "space", 3.0, json!(900))]);
    let mut model = popularity(Some("votes"));
    let Columns::Popularity(columns) = &mut model.columns else { panic!("popularity") };
    columns.group = Some("string_to_array(genre, '|')".to_owned());
    assert_eq!(fixture.train(0.2, vec![model]).failed, []);
    let version = fixture.load("best", 2);
    let best = version.popularity().unwrap();
    let ids = |group: Option<&str>| -> Vec<String> {
        let group = group.map(|name| best.group(name).unwrap());
        let top = best.model.top(group, 10, &Admit::default());
        top.iter().map(|popular| best.items.get(popular.item).unwrap().to_string()).collect()
    };
    assert_eq!(ids(Some("crime")), ["2", "1"], "two votes do not make the best");
    assert_eq!(ids(Some("space")), ["1", "3"]);
    assert_eq!((best.group("opera"), best.group("")), (None, None));
    let third = best.model.top(None, 10, &Admit::default()).into_iter().find(|found| found.votes == 900.0).unwrap();
    assert_eq!(third.mean, Some(3.0), "the latest record counts, not the sum");
    assert!(has_note(&version, "1 records count for nothing"), "{:?}", version.file.notes);
    let scores = measures(&fixture.load("best", 1), EvaluationKind::NextBatch);
    assert_eq!((&scores["known_items"], scores.get("rmse")), (&json!(1.0), None), "a sum of votes measures nothing");
}

#[test]
fn votes_one_by_one_are_held_against_the_plain_mean() {
    let fixture = stored(2);
    // Items that few have rated, all alike beneath: their plain means are noise.
    let noisy = |rows: std::ops::Range<u64>| -> Vec<Value> {
        let mix = |index: u64| (index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
        rows.map(|index| {
            let rating = 1.0 + (mix(index) % 5) as f64;
            product_with(mix(index + 1000) % 80, &[("rating", json!(rating))])
        })
        .collect()
    };
    fixture.commit(&noisy(0..240)).commit(&noisy(240..480));
    assert_eq!(fixture.train(0.2, vec![popularity(None)]).failed, []);
    let version = fixture.load("best", 1);
    assert_eq!(version.file.rows, 240);
    let scores = measures(&version, EvaluationKind::NextBatch);
    assert_eq!((&scores["rows"], &scores["beats_baseline"]), (&json!(240), &json!(true)), "{scores}");
    assert!(scores["rmse"].as_f64().unwrap() < scores["baseline"]["rmse"].as_f64().unwrap());
    assert_eq!(version.verdict().words, "beats its baseline");
    let nobody = Model { filter: Some("rating > 9".to_owned()), name: "none".to_owned(), ..popularity(None) };
    assert!(fixture.train(0.0, vec![nobody]).failed[0].1.contains("no item is left"));
}

#[test]
fn versions_of_all_kinds_are_measured_in_one_call() {
    let fixture = stored(1);
    fixture.commit(&products(0..90)).commit(&products(45..135));
    let price = model("price", Algorithm::LinearRegression, &["rating"], "price");
    let models = vec![content(), kmeans(&three()), price, popularity(None), neighbours()];
    assert_eq!(fixture.train(0.2, models).failed, []);
    let has = |model: &str, name: &str| measures(&fixture.load(model, 1), EvaluationKind::NextBatch)[name].is_number();
    assert!(has("like", "known_items") && has("near", "known_items") && has("best", "rmse"));
    assert!(has("groups", "silhouette") && has("price", "r2") && !has("price", "silhouette"));
}

/// Of each id the features of its latest record: batch, then offset, then partition.
fn naive(batches: &[Vec<(u8, Option<u8>)>], partitions: u64) -> BTreeMap<i64, Value> {
    let mut found: BTreeMap<i64, ((usize, u64, u64), Value)> = BTreeMap::new();
    let mut index = 0;
    for (batch, rows) in batches.iter().enumerate() {
        for (id, price) in rows {
            let place = (batch, index / partitions, index % partitions);
            index += 1;
            let entry = found.entry((*id).into()).or_insert((place, Value::Null));
            if place >= entry.0 {
                *entry = (place, price.map_or(Value::Null, |price| json!(price)));
            }
        }
    }
    found.into_iter().map(|(id, (_, price))| (id, price)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_latest_record_of_an_id_counts_on_any_number_of_partitions(
        batches in prop::collection::vec(prop::collection::vec((0_u8..6, prop::option::of(any::<u8>())), 1..12), 1..4),
        partitions in 1_u64..4,
    ) {
        let fixture = stored(partitions);
        for batch in &batches {
            let rows: Vec<Value> = batch
                .iter()
                .map(|(id, price)| product_with((*id).into(), &[("price", json!(price))]))
                .collect();
            fixture.commit(&rows);
        }
        let model = Model { train_on: TrainOn::Batches((1..=batches.len() as u32).collect()), ..neighbours_on(&["price"]) };
        let report = fixture.train(0.3, vec![model]);
        prop_assert_eq!(report.failed, []);
        let version = fixture.load("near", 1);
        let near = version.neighbours().unwrap();
        let found: BTreeMap<i64, Value> = (0..near.ids.len() as u32)
            .map(|row| {
                let Some(Id::Integer(id)) = near.ids.get(row) else { panic!("an id is text") };
                (id, near.row(row)["price"].clone())
            })
            .collect();
        prop_assert_eq!(found, naive(&batches, partitions));
    }
}
