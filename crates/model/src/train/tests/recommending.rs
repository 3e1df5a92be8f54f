//! Recommenders from committed ratings: what they learn, what is left out, warm starts, and bad input.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use datafusion::parquet::arrow::ArrowWriter;
use millstream_base::status::Status;
use millstream_learn::{Algorithm, Array, Id, ParamValue};
use millstream_stream::schema::ColumnType;
use serde_json::{Value, json};

use crate::model::{Columns, EngineKind, Model, PromoteRule, RatingColumns, TrainOn};
use crate::registry::{EvaluationKind, Holdout, OwnerTexts, Recommendation, Remedy, Task, Version};
use crate::rows::holdout;
use crate::train::fixture::*;
use crate::train::identity::configuration_digest;
use crate::train::{Recipe, TrainError, TrainReport, Trainer, train, verify};

const RATINGS: [(&str, ColumnType); 5] = [
    ("userId", ColumnType::Int64),
    ("movieId", ColumnType::Int64),
    ("rating", ColumnType::Float64),
    ("timestamp", ColumnType::Int64),
    ("device", ColumnType::Utf8),
];

pub fn als(params: &[(&str, ParamValue)]) -> Model {
    Model {
        name: "taste".to_owned(),
        algorithm: Algorithm::Als,
        train_on: TrainOn::Cumulative,
        filter: None,
        params: params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        seed: 1,
        columns: Columns::Ratings(RatingColumns {
            user: "userId".to_owned(),
            item: "movieId".to_owned(),
            rating: Some("rating".to_owned()),
            time: None,
            group: None,
            scale: None,
            relevant: None,
        }),
        engine: EngineKind::Local,
        promote: PromoteRule::Manual,
    }
}

fn with_columns(mut model: Model, change: impl FnOnce(&mut RatingColumns)) -> Model {
    match &mut model.columns {
        Columns::Ratings(columns) => change(columns),
        _ => panic!("{} has no ratings", model.name),
    }
    model
}

pub fn fixture_of_ratings() -> Fixture {
    fixture_of(&RATINGS, 1)
}

fn rating(user: u64, item: u64, rating: f64, time: u64) -> Value {
    json!({ "userId": user, "movieId": item, "rating": rating, "timestamp": time, "device": "phone" })
}

/// A stream of ratings with a planted taste: every user likes one of three kinds of items, some items are better than others.
pub fn planted(rows: std::ops::Range<u64>) -> Vec<Value> {
    let mix = |index: u64, salt: u64| (index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ (salt << 17)) >> 33;
    rows.map(|row| {
        // Users come one after the other, and popular items often.
        let user = mix(row, 1) % (20 + row / 20);
        let item = (mix(row, 2) % 60).min(mix(row, 3) % 60);
        let likes = if user % 3 == item % 3 { 1.5 } else { -0.75 };
        let quality = f64::from(u8::try_from(item % 7).unwrap()) / 7.0;
        let noise = (mix(row, 4) % 100) as f64 / 100.0 - 0.5;
        let stars = (2.0 * (2.6 + likes + quality + noise)).round() / 2.0;
        rating(user, item, stars.clamp(0.5, 5.0), 1_000_000_000 + row)
    })
    .collect()
}

fn task(version: &Version) -> &Recommendation {
    match &version.file.task {
        Task::Recommendation(task) => task,
        other => panic!("{other:?}"),
    }
}

fn measures(version: &Version, kind: EvaluationKind) -> Value {
    serde_json::to_value(&version.evaluation(kind).unwrap().scores).unwrap()
}

/// Ratings of MovieLens in the order of time, where they are; found above the repository, so that a clone without them still tests.
fn movielens() -> Option<Vec<Value>> {
    let above = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let file =
        above.ancestors().map(|folder| folder.join("shared/data/movielens/ratings.csv")).find(|file| file.exists())?;
    let text = std::fs::read_to_string(file).unwrap();
    let row = |line: &str| {
        let fields: Vec<f64> = line.split(',').map(|field| field.parse().unwrap()).collect();
        rating(fields[0] as u64, fields[1] as u64, fields[2], fields[3] as u64)
    };
    let mut rows: Vec<Value> = text.lines().skip(1).map(row).collect();
    rows.sort_by_key(|row| row["timestamp"].as_u64());
    Some(rows)
}

#[test]
fn a_warm_start_needs_fewer_iterations_for_the_same_quality_on_movielens() {
    let Some(rows) = movielens() else {
        eprintln!("SKIPPED: shared/data/movielens/ratings.csv is not there");
        return;
    };
    let fixture = fixture_of(&RATINGS, 1);
    for rows in rows.chunks(rows.len().div_ceil(5)) {
        fixture.commit(rows);
    }
    let warm = als(&[]);
    // Under names of their own they have no version before them.
    let cold = |newest: u32| Model {
        name: format!("cold_{newest}"),
        train_on: TrainOn::Batches((1..=newest).collect()),
        ..als(&[])
    };
    let mut models: Vec<Model> = (2..=5).map(cold).collect();
    models.push(warm);
    assert_eq!(fixture.train(0.1, models).failed, []);
    for number in 2..=5 {
        let (warm, cold) = (fixture.load("taste", number), fixture.load(&format!("cold_{number}"), 1));
        assert_eq!(warm.file.batches, cold.file.batches);
        assert_eq!(task(&cold).parent, None);
        assert_eq!(task(&warm).parent.as_ref().unwrap().version, number - 1);
        let rmse = |version: &Version, kind| measures(version, kind)["rmse"].as_f64().unwrap();
        let (kind, next) = (EvaluationKind::Holdout, EvaluationKind::NextBatch);
        eprintln!(
            "batches 1 to {number}: iterations warm {} cold {}, rmse warm {:.4} cold {:.4}, item mean {}, next batch {}",
            task(&warm).iterations,
            task(&cold).iterations,
            rmse(&warm, kind),
            rmse(&cold, kind),
            measures(&warm, kind)["baseline"]["rmse"],
            if number < 5 {
                format!("warm {:.4} cold {:.4}", rmse(&warm, next), rmse(&cold, next))
            } else {
                String::new()
            },
        );
        assert!(2 * task(&warm).iterations <= task(&cold).iterations, "{number}");
        assert!(rmse(&warm, kind) < 1.01 * rmse(&cold, kind), "{number}");
        assert_eq!(warm.beats_baseline(), Some(true));
    }
}

#[test]
fn versions_start_from_the_one_before_and_verify_repeats_it() {
    let fixture = fixture_of(&RATINGS, 2);
    fixture.commit(&planted(0..400)).commit(&planted(400..800)).commit(&planted(800..1200));
    let without_holdout = Model { name: "all".to_owned(), ..als(&[]) };
    let named = |name: &str, train_on| Model { name: name.to_owned(), train_on, ..als(&[]) };
    // Of the last three batches the first two versions are on all so far, and still no one's children.
    let biased = Model { name: "biased".to_owned(), ..als(&[("biases", ParamValue::Bool(true))]) };
    let others = [named("each", TrainOn::Each), named("last", TrainOn::Last(NonZeroU32::new(3).unwrap())), biased];
    assert_eq!(fixture.train(0.2, [als(&[])].into_iter().chain(others).collect()).failed, []);
    assert_eq!(fixture.train(0.0, vec![without_holdout]).failed, []);
    for (model, version, parent) in [
        ("taste", 1, None),
        ("taste", 2, Some(1)),
        ("taste", 3, Some(2)),
        ("each", 2, None),
        ("last", 2, None),
        ("all", 3, Some(2)),
        ("biased", 3, Some(2)),
    ] {
        let loaded = fixture.load(model, version);
        let found = task(&loaded).parent.clone();
        assert_eq!(found.as_ref().map(|parent| parent.version), parent, "{model}@{version}");
        if let Some(parent) = found {
            assert_eq!(parent.file_digest, fixture.load(model, parent.version).file.file_digest);
        }
        let report = verify(&*fixture.store, model, version, &OwnerTexts::default()).unwrap();
        assert_eq!(report.faults, [""; 0]);
        assert_eq!(report.retrained_digest.as_deref(), Some(report.file_digest.as_str()));
    }
    let notes = fixture.load("taste", 2).file.notes;
    assert!(notes.iter().any(|note| note.contains("slightly optimistic")), "{notes:?}");
    // What came later is named in a version that has it alone.
    assert_eq!(fixture.load("biased", 1).file.parameters.get("biases"), Some(&json!(true)));
    assert!(!["biases", "ranking"].iter().any(|name| fixture.load("taste", 1).file.parameters.contains_key(*name)));
    // Without records to stop on a warm start does half of them.
    assert_eq!([1, 2].map(|version| task(&fixture.load("all", version)).iterations), [10, 5]);
    assert_eq!(fixture.load("all", 3).verdict().to_string(), "was not measured");
    let shown = fixture.load("taste", 2).to_json();
    assert_eq!((&shown["task"], &shown["feedback"]), (&json!("recommendation"), &json!("explicit")));
    assert_eq!(
        (&shown["parent"]["version"], &shown["users"]),
        (&json!(1), &json!(task(&fixture.load("taste", 2)).users))
    );
    assert!(shown["scale"][1].as_f64().unwrap() <= 5.0 && shown["iterations"].as_u64().unwrap() > 0);

    // Its parent's folder is gone: the version answers, and verify says what is missing.
    let place = fixture.store.place("models/taste/000001");
    std::fs::rename(&place, format!("{place}-away")).unwrap();
    assert_eq!(fixture.load("taste", 2).predict(&[object(&json!({ "user": 1, "item": 1 }))]).unwrap().len(), 1);
    let report = verify(&*fixture.store, "taste", 2, &OwnerTexts::default()).unwrap();
    assert!(report.faults[0].contains("there is no version 1 of model `taste`"), "{report:?}");
}

/// Whatever partitions carry the stream, the last of two ratings counts: the same bytes come out. Of equal times it is the last, too.
#[test]
fn the_last_rating_in_the_stream_counts_over_any_number_of_partitions() {
    let digests = |partitions: u64| {
        let fixture = fixture_of(&RATINGS, partitions);
        let mut rows = planted(0..900);
        rows.iter_mut().enumerate().for_each(|(row, value)| value["timestamp"] = json!(1_000_000_000 + row / 300));
        rows.chunks(450).for_each(|rows| {
            fixture.commit(rows);
        });
        let timed = with_columns(Model { name: "timed".to_owned(), ..als(&[]) }, |columns| {
            columns.time = Some("timestamp".to_owned());
        });
        assert_eq!(fixture.train(0.0, vec![als(&[]), timed]).failed, []);
        ["taste", "timed"].map(|model| {
            let version = fixture.load(model, 2);
            assert!(task(&version).duplicates > 100, "{}", task(&version).duplicates);
            version.file.file_digest.clone()
        })
    };
    let expected = digests(1);
    for partitions in [2, 3, 7, 40] {
        assert_eq!(digests(partitions), expected, "{partitions} partitions");
    }
}

#[test]
fn a_training_that_is_stopped_publishes_nothing_and_is_made_up_for() {
    let fixture = fixture_of(&RATINGS, 1);
    fixture.commit(&planted(0..400));
    let model = als(&[("iterations", ParamValue::Integer(1000)), ("early_stop", ParamValue::Integer(0))]);
    // In the middle of a trainer's work, which would take a minute and more.
    let long = Model { params: als(&[("rank", ParamValue::Integer(512))]).params, ..model.clone() };
    let long = Model { params: long.params.into_iter().chain(model.params.clone()).collect(), ..long };
    let batches = fixture.batches.lock().unwrap().clone();
    for model in [&model, &long] {
        let recipe = Recipe::from_config(model, 0.1, 1, millstream_stream::schema::Dialect::CURRENT);
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let stopped = || asked.fetch_add(1, Ordering::Relaxed) == 20;
        let error = train(&fixture.training(&recipe, &batches, &stopped)).unwrap_err();
        assert!(matches!(error, TrainError::Stopped) && error.remedy() == Remedy::Retry, "{error}");
        assert_eq!(asked.load(Ordering::Relaxed), 21);
    }
    let status = Arc::new(Status::new("test"));
    let trainer = Trainer::new(
        Arc::clone(&fixture.store),
        vec![long],
        settings(0.1),
        fixture.schema.clone(),
        Arc::clone(&status),
    );
    let (stop, begun) = (AtomicBool::new(false), std::time::Instant::now());
    let report = std::thread::scope(|scope| {
        let training = scope.spawn(|| trainer.train_due(&batches, &stop).unwrap());
        while status.snapshot().training.is_empty() && !training.is_finished() {
            std::thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        training.join().unwrap()
    });
    assert_eq!(report, TrainReport::default(), "neither trained nor failed");
    assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
    let short = als(&[]);
    assert_eq!(fixture.train(0.1, vec![short]).trained, [("taste".to_owned(), 1)]);
}

#[test]
fn what_is_no_rating_is_left_out_and_counted() {
    let fixture = fixture_of(&RATINGS, 1);
    let mut rows = planted(0..100);
    rows.push(rating(1, 2, 4.0, 5));
    rows.push(rating(1, 2, 3.0, 4));
    for (name, value) in
        [("userId", Value::Null), ("movieId", Value::Null), ("rating", Value::Null), ("rating", json!("nan"))]
    {
        let mut row = rating(1, 3, 3.0, 9);
        row[name] = value;
        rows.push(row);
    }
    rows.push(rating(900, 3, 9.0, 9));
    rows.push(rating(901, 3, -1.0, 9));
    rows.push(rating(903, 3, 2e9, 9));
    rows.push(rating(903, 3, 1e300, 9));
    rows.push(json!({ "userId": 902, "movieId": 3, "rating": 3.0, "timestamp": 9, "device": "tv" }));
    fixture.commit(&rows);
    let model = with_columns(als(&[]), |columns| columns.scale = Some((0.5, 5.0)));
    let model = Model { filter: Some("device = 'phone'".to_owned()), ..model };
    let timed = with_columns(Model { name: "timed".to_owned(), ..model.clone() }, |columns| {
        columns.time = Some("timestamp".to_owned());
    });
    // Without a scale what is too large to be fitted to is left out all the same.
    let unscaled = Model { name: "unscaled".to_owned(), ..model.clone() };
    let unscaled = with_columns(unscaled, |columns| columns.scale = None);
    assert_eq!(fixture.train(0.0, vec![model, timed, unscaled]).failed, []);
    let (version, timed) = (fixture.load("taste", 1), fixture.load("timed", 1));
    assert_eq!((version.file.dropped_missing, task(&version).out_of_scale), (4, 4));
    let unscaled = fixture.load("unscaled", 1);
    assert_eq!((unscaled.file.dropped_missing, task(&unscaled).out_of_scale), (4, 2));
    assert_eq!(unscaled.recommender().unwrap().model.scale(), Some((-1.0, 9.0)));
    for version in [&version, &timed, &unscaled] {
        let said = version.file.notes.iter().filter(|note| note.contains("later"));
        assert_eq!(said.count(), 1, "{:?}", version.file.notes);
    }
    assert_eq!(version.file.rows + task(&version).duplicates, 102);
    assert!(task(&version).duplicates > 0);
    assert_eq!(task(&timed).duplicates, task(&version).duplicates);
    assert_eq!(version.recommender().unwrap().users.code(Id::Integer(902)), None);
    assert_ne!(version.file.file_digest, timed.file.file_digest, "another of the two ratings counts");
    let notes = version.file.notes.join("; ");
    assert!(
        notes.contains("4 rows had no user") && notes.contains("4 rows had a rating outside the scale, or beyond"),
        "{notes}"
    );
}

#[test]
fn ids_are_what_they_are_in_the_data() {
    let check = |user: ColumnType, item: ColumnType, ids: [(Value, Value); 3]| {
        let columns = [("userId", user), ("movieId", item), ("rating", ColumnType::Float64)];
        let fixture = fixture_of(&columns, 1);
        let rows: Vec<Value> = ids
            .iter()
            .enumerate()
            .map(|(row, (user, item))| json!({ "userId": user, "movieId": item, "rating": 1.0 + row as f64 }))
            .collect();
        fixture.commit(&rows);
        let report = fixture.train(0.0, vec![als(&[("rank", ParamValue::Integer(2))])]);
        assert_eq!(report.failed, []);
        let version = fixture.load("taste", 1);
        let pairs: Vec<_> = ids.iter().map(|(user, item)| object(&json!({ "user": user, "item": item }))).collect();
        let answers = version.predict(&pairs).unwrap();
        assert!(answers.iter().all(|answer| (1.0..=3.0).contains(&answer.value.as_f64().unwrap())), "{answers:?}");
        version
    };
    let big = 9_007_199_254_740_993_i64;
    let version = check(
        ColumnType::Int64,
        ColumnType::Utf8,
        [(json!(big), json!("tt01")), (json!(big - 1), json!("tt1")), (json!(-7), json!("été"))],
    );
    let one = |user: Value, item: Value| version.predict(&[object(&json!({ "user": user, "item": item }))]);
    // Neighbours beyond 2^53 are two users, and such an id may come as text.
    assert_eq!(
        [big, big - 1, -7].map(|id| version.recommender().unwrap().users.code(Id::Integer(id))),
        [Some(0), Some(1), Some(2)]
    );
    assert_eq!(one(json!(big), json!("tt01")), one(json!(big.to_string()), json!("tt01")));
    let fault = |user: Value, item: Value| one(user, item).unwrap_err().to_string();
    assert_eq!(fault(json!(5), json!("tt1")), "row 0: `user` is 5, which this version did not see in training");
    assert_eq!(fault(json!(-7), Value::Null), "row 0: `item` is missing: expected an id");
    assert_eq!(fault(json!(1.5), json!("tt1")), "row 0: `user` is no id: expected a whole number or a text");
    // Texts that are numbers stay texts: 07 is not 7.
    let texts = check(
        ColumnType::Utf8,
        ColumnType::Float64,
        [(json!("07"), json!(1.0)), (json!("7"), json!(2.0)), (json!("x"), json!(3.0))],
    );
    assert_eq!(texts.recommender().unwrap().users.len(), 3);
}

#[test]
fn whatever_the_ratings_are_a_version_comes_or_one_clear_message() {
    let check = |what: &str, rows: &[Value], holdout: f64, model: Model, expected: &str| {
        let fixture = fixture_of(&RATINGS, 1);
        fixture.commit(rows);
        let report = fixture.train(holdout, vec![model]);
        match expected {
            "" => {
                assert_eq!(report.failed, [], "{what}");
                assert!(verify(&*fixture.store, "taste", 1, &OwnerTexts::default()).unwrap().is_whole(), "{what}");
                serde_json::to_string(&fixture.load("taste", 1).to_json()).unwrap();
            }
            expected => {
                assert!(report.trained.is_empty(), "{what}");
                let [(_, reason)] = &report.failed[..] else { panic!("{what}: {report:?}") };
                assert!(reason.contains(expected), "{what}: {reason}");
            }
        }
    };
    let few: Vec<Value> = (0..6).map(|row| rating(row % 3, row, 3.0, row)).collect();
    check("one rating", &few[..1], 0.0, als(&[]), "");
    check("all equal", &few, 0.3, als(&[]), "");
    check("all zero", &[rating(1, 1, 0.0, 0), rating(2, 2, 0.0, 0)], 0.0, als(&[]), "");
    check("rank above items", &few, 0.2, als(&[("rank", ParamValue::Integer(64))]), "");
    check("huge ratings", &[rating(1, 1, 1e30, 0)], 0.0, als(&[]), "rescale those in `rating`");
    check("implicit", &planted(0..200), 0.2, implicit(), "");
    check(
        "explicit with non-negative factors",
        &planted(0..200),
        0.2,
        als(&[("nonnegative", ParamValue::Bool(true))]),
        "",
    );
    check("no rows", &[], 0.0, als(&[]), "no rating is left to train on: of 0 rows 0 are held out");
    check("all held out", &few, 0.999_999_999, als(&[]), "no rating is left to train on: of 6 rows 6 are held out");
    let scaled = with_columns(als(&[]), |columns| columns.scale = Some((10.0, 20.0)));
    check("no rating in range", &few, 0.0, scaled, "and 6 have a rating outside `scale`");
    let filtered = Model { filter: Some("rating > 100".to_owned()), ..als(&[]) };
    check("nothing passes", &few, 0.0, filtered, "6 fail `where`");
    let unknown = with_columns(als(&[]), |columns| columns.user = "usr".to_owned());
    check("no such column", &few, 0.0, unknown, "unknown column `usr`");
    let flag = with_columns(als(&[]), |columns| columns.item = "rating > 2".to_owned());
    check("an id that is none", &few, 0.0, flag, "ids are whole numbers or text");
}

/// Two versions of an explicit model, the second warm, and an implicit one of texts: what the golden files were made of.
/// `taste`, with these parameters, of two batches, and `watched`.
pub fn recommenders(params: &[(&str, ParamValue)]) -> Fixture {
    let fixture = fixture_of(&RATINGS, 1);
    let mut rows = planted(0..160);
    for (row, user) in [(0, 9_007_199_254_740_993_i64), (7, -1)] {
        rows[row]["userId"] = json!(user);
    }
    fixture.commit(&rows[..80]).commit(&rows[80..]);
    let taste = with_columns(als(params), |columns| {
        columns.time = Some("timestamp".to_owned());
        columns.group = Some("device".to_owned());
        columns.scale = Some((0.5, 5.0));
        columns.relevant = Some(4.0);
    });
    let watched = with_columns(Model { name: "watched".to_owned(), ..implicit() }, |columns| {
        columns.user = "concat('u', userId)".to_owned();
        columns.item = "concat('é', movieId)".to_owned();
    });
    let watched = Model { filter: Some("rating >= 2".to_owned()), ..watched };
    assert_eq!(fixture.train(0.2, vec![taste, watched]).failed, []);
    fixture
}

fn implicit() -> Model {
    let params = [
        ("feedback", ParamValue::Text("implicit".to_owned())),
        ("alpha", ParamValue::Float(20.0)),
        ("rank", ParamValue::Integer(6)),
    ];
    with_columns(als(&params), |columns| columns.rating = None)
}

/// A batch of ratings by `n_users` of `n_items`, written without JSON between: popular items often.
fn commit_many(fixture: &Fixture, n_rows: u64, n_users: u64, n_items: u64) {
    const ROWS_PER_GROUP: usize = 1 << 20;
    let schema = fixture.schema.part();
    let partitions = fixture.partitions;
    fixture.commit_parts(n_rows, |partition, first| {
        let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), None).unwrap();
        let own: Vec<u64> = (0..n_rows).filter(|row| (first + row) % partitions == partition).collect();
        for rows in own.chunks(ROWS_PER_GROUP) {
            let mix = |row: u64, salt: u64| (row + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ (salt << 17)) >> 33;
            let user = |&row: &u64| (mix(row, 1) % n_users) as i64;
            let item = |&row: &u64| (mix(row, 2) % n_items).min(mix(row, 3) % n_items) as i64;
            let stars = |row: &u64| ((user(row) + item(row)) % 5) as f64 * 0.8 + (mix(*row, 4) % 2) as f64 + 0.5;
            let n = rows.len();
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int64Array::from_iter_values(rows.iter().map(user))),
                Arc::new(Int64Array::from_iter_values(rows.iter().map(item))),
                Arc::new(Float64Array::from_iter_values(rows.iter().map(stars))),
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|&row| row as i64 ^ 1))),
                Arc::new(StringArray::from(vec!["phone"; n])),
                Arc::new(Int32Array::from(vec![partition as i32; n])),
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| ((first + row) / partitions) as i64))),
                Arc::new(TimestampMillisecondArray::from(vec![0; n]).with_timezone("UTC")),
            ];
            writer.write(&RecordBatch::try_new(schema.clone(), columns).unwrap()).unwrap();
            writer.flush().unwrap();
        }
        (own.len(), writer.into_inner().unwrap())
    });
}

/// The most memory that the process held since the last call, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    peak.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() / 1024
}

/// `RATINGS=20000000 cargo test --workspace --lib twenty_million -- --ignored --nocapture`, in a process of its own.
#[test]
#[ignore = "minutes, and gigabytes"]
fn twenty_million_ratings_train_within_three_times_their_size_and_load_in_a_second() {
    let n_ratings = std::env::var("RATINGS").map_or(20_000_000, |count| count.parse().unwrap());
    let partitions = std::env::var("PARTITIONS").map_or(1, |count| count.parse().unwrap());
    let fixture = fixture_of(&RATINGS, partitions);
    commit_many(&fixture, n_ratings, 138_000, 27_000);
    let rank = std::env::var("RANK").map_or(64, |rank| rank.parse().unwrap());
    let params = [("rank", ParamValue::Integer(rank)), ("iterations", ParamValue::Integer(1))];
    for (name, time) in [("in_turn", None), ("timed", Some("timestamp".to_owned()))] {
        let model = with_columns(Model { name: name.to_owned(), ..als(&params) }, |columns| columns.time = time);
        let before = {
            peak_mib();
            peak_mib()
        };
        let started = std::time::Instant::now();
        let recipe = Recipe::from_config(&model, 0.1, 1, millstream_stream::schema::Dialect::CURRENT);
        let trained = train(&fixture.training(&recipe, &fixture.batches.lock().unwrap(), &|| false)).unwrap();
        let mib = peak_mib() - before;
        let factors = 4 * rank as u64 * (138_000 + 27_000) / (1 << 20);
        let allowed = 3 * 12 * n_ratings / (1 << 20);
        eprintln!(
            "{name}: {} ratings in {:?}, {mib} MiB more at the peak; three times their 12 bytes are {allowed} MiB, factors {factors} MiB",
            trained.counts.fitted,
            started.elapsed(),
        );
        drop(trained);
    }
    let model = als(&params);
    peak_mib();
    let started = std::time::Instant::now();
    assert_eq!(fixture.train(0.1, vec![model]).failed, []);
    eprintln!("trained, measured and published in {:?}, peak {} MiB", started.elapsed(), peak_mib());
    let started = std::time::Instant::now();
    let version = fixture.load("taste", 1);
    eprintln!("loaded in {:?}, {}", started.elapsed(), serde_json::to_string(&version.evaluations).unwrap());
}

/// An item whose every rating is held out, a user likewise, a batch without a new user and one with only new ones.
#[test]
fn unknown_users_and_items_are_counted_not_scored() {
    let fixture = fixture_of(&RATINGS, 1);
    let share = Holdout { share: 0.3, seed: holdout::SEED };
    let mut rows = planted(0..300);
    let held_out: Vec<usize> = (0..300).filter(|&row| holdout::is_held_out(share, 0, row as i64)).collect();
    rows[held_out[0]]["movieId"] = json!(7777);
    rows[held_out[1]]["userId"] = json!(8888);
    fixture.commit(&rows);
    let of_known: Vec<Value> = rows
        .iter()
        .enumerate()
        .filter(|(row, _)| !held_out.contains(row))
        .map(|(_, row)| row.clone())
        .take(50)
        .collect();
    fixture.commit(&of_known);
    let new: Vec<Value> = (0..40).map(|row| rating(9000 + row / 4, row % 5, 4.0, row)).collect();
    fixture.commit(&new);
    // One rating each, and items that nobody knows.
    let strangers: Vec<Value> = (0..10).map(|row| rating(9500 + row, 5000 + row, 4.0, row)).collect();
    fixture.commit(&strangers);
    let only =
        |batch: u32| Model { name: format!("batch_{batch}"), train_on: TrainOn::Batches(vec![batch]), ..als(&[]) };
    let first = Model { train_on: TrainOn::Batches((1..=2).collect()), name: "two".to_owned(), ..als(&[]) };
    assert_eq!(fixture.train(0.3, vec![only(1), only(3), first]).failed, []);
    let counts = |model: &str, kind| fixture.load(model, 1).evaluation(kind).unwrap().scores.counts.unwrap();
    let holdout = counts("batch_1", EvaluationKind::Holdout);
    let told = holdout.known_pairs + holdout.unknown_pairs + holdout.repeated;
    assert!(holdout.unknown_pairs >= 2 && told == held_out.len() as u64, "{holdout:?}");
    // All of them were trained on.
    let next = counts("batch_1", EvaluationKind::NextBatch);
    assert_eq!((next.known_pairs, next.repeated, next.new_users, next.unknown_pairs), (0, 50, 0, 0));
    let next = counts("two", EvaluationKind::NextBatch);
    assert_eq!((next.known_pairs, next.new_users, next.folded_in_users), (0, 10, 10));
    assert_eq!(next.new_user_pairs, 20);
    let next = counts("batch_3", EvaluationKind::NextBatch);
    assert_eq!((next.known_pairs, next.new_users, next.folded_in_users, next.ranked_users), (0, 10, 0, 0));
    assert_eq!(fixture.load("batch_3", 1).evaluation(EvaluationKind::NextBatch).unwrap().scores.beats_baseline, None);
}

/// Ratings of one version's world, for the naive measures.
struct Row {
    user: i64,
    item: i64,
    value: f64,
    held_out: bool,
}

/// The rows of batch `number` in the order of the stream.
fn stored(batches: &[Vec<Value>], partitions: u64, share: Holdout, number: u32) -> Vec<Row> {
    let first: usize = batches[..number as usize - 1].iter().map(Vec::len).sum();
    let rows = (first as u64..).zip(&batches[number as usize - 1]);
    rows.map(|(row, value)| Row {
        user: value["userId"].as_i64().unwrap(),
        item: value["movieId"].as_i64().unwrap(),
        value: value["rating"].as_f64().unwrap(),
        held_out: holdout::is_held_out(share, (row % partitions) as i64, (row / partitions) as i64),
    })
    .collect()
}

#[derive(Default)]
struct Naive {
    squares: Vec<f64>,
    trivial: Vec<f64>,
    ndcg: Vec<f64>,
    recall: Vec<f64>,
    precision: Vec<f64>,
    popular_ndcg: Vec<f64>,
}

impl Naive {
    fn rank(
        &mut self,
        version: &Version,
        vector: &[f32],
        seen: &BTreeSet<i64>,
        relevant: &BTreeSet<i64>,
        counts: &BTreeMap<i64, u32>,
    ) {
        let recommender = version.recommender().unwrap();
        let relevant: BTreeSet<i64> = relevant.difference(seen).copied().collect();
        if relevant.is_empty() {
            return;
        }
        let items: Vec<(u32, i64)> = (0..)
            .zip(recommender.items.iter())
            .map(|(code, id)| match id {
                Id::Integer(item) => (code, item),
                Id::Text(text) => panic!("{text}"),
            })
            .filter(|(_, item)| !seen.contains(item))
            .collect();
        let mut by_score = items.clone();
        let weight = match recommender.to_arrays().get("support_weight") {
            Some(Array::F64 { data, .. }) => data[0],
            _ => 0.0,
        };
        let support = |code: u32| weight * f64::from(recommender.model.item_counts()[code as usize]).ln_1p();
        let score = |code: u32| (recommender.model.score(vector, code) + support(code)) as f32;
        by_score.sort_by(|a, b| score(b.0).total_cmp(&score(a.0)).then(a.0.cmp(&b.0)));
        let mut by_count = items;
        by_count.sort_by_key(|(code, item)| (std::cmp::Reverse(counts[item]), *code));
        let gains = |list: &[(u32, i64)]| -> f64 {
            list.iter()
                .take(10)
                .enumerate()
                .map(|(at, (_, item))| if relevant.contains(item) { 1.0 / (at as f64 + 2.0).log2() } else { 0.0 })
                .sum()
        };
        let best: f64 = (0..relevant.len().min(10)).map(|at| 1.0 / (at as f64 + 2.0).log2()).sum();
        self.ndcg.push(gains(&by_score) / best);
        self.popular_ndcg.push(gains(&by_count) / best);
        let hits: Vec<usize> = (0..by_score.len().min(10)).filter(|&at| relevant.contains(&by_score[at].1)).collect();
        self.recall.push(hits.len() as f64 / relevant.len() as f64);
        let precision: f64 = hits.iter().enumerate().map(|(hit, at)| (hit + 1) as f64 / (at + 1) as f64).sum();
        self.precision.push(precision / relevant.len().min(10) as f64);
    }
}

#[test]
fn measures_are_those_of_a_naive_computation() {
    let rank = ("rank", ParamValue::Integer(4));
    check_measures(als(std::slice::from_ref(&rank)));
    check_measures(als(&[rank, ("biases", ParamValue::Bool(true))]));
}

fn check_measures(model: Model) {
    const PARTITIONS: u64 = 2;
    let share = Holdout { share: 0.25, seed: holdout::SEED };
    let fixture = fixture_of(&RATINGS, PARTITIONS);
    let batches = [planted(0..300), planted(300..600), planted(600..900)];
    for batch in &batches {
        fixture.commit(batch);
    }
    let model = with_columns(model, |columns| columns.relevant = Some(4.0));
    assert_eq!(fixture.train(share.share, vec![model]).failed, []);
    let version = fixture.load("taste", 2);
    let recommender = version.recommender().unwrap();
    let own: Vec<Row> = [1, 2].iter().flat_map(|&batch| stored(&batches, PARTITIONS, share, batch)).collect();
    let mut last: BTreeMap<(i64, i64), f64> = BTreeMap::new();
    own.iter().filter(|row| !row.held_out).for_each(|row| {
        last.insert((row.user, row.item), row.value);
    });
    let (mut counts, mut sums, mut seen) =
        (BTreeMap::<i64, u32>::new(), BTreeMap::<i64, f64>::new(), BTreeMap::<i64, BTreeSet<i64>>::new());
    for (&(user, item), value) in &last {
        *counts.entry(item).or_default() += 1;
        *sums.entry(item).or_default() += value;
        seen.entry(user).or_default().insert(item);
    }
    assert_eq!(version.file.rows, last.len() as u64);
    let estimate = |row: &Row| {
        let pair = object(&json!({ "user": row.user, "item": row.item }));
        version.predict(&[pair]).ok().map(|answers| answers[0].value.as_f64().unwrap())
    };
    // Of a pair its last record counts, and none of a pair that was trained on.
    let latest = |rows: &[&Row]| -> Vec<usize> {
        let of_pair: BTreeMap<(i64, i64), usize> =
            rows.iter().enumerate().map(|(at, row)| ((row.user, row.item), at)).collect();
        let mut kept: Vec<usize> =
            of_pair.into_iter().filter(|(pair, _)| !last.contains_key(pair)).map(|(_, at)| at).collect();
        kept.sort_unstable();
        kept
    };
    let known = |rows: &[&Row], naive: &mut Naive| {
        let mut relevant: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
        let kept = latest(rows);
        assert!(kept.len() < rows.len(), "there are repeated ones");
        for row in kept.into_iter().map(|at| rows[at]) {
            let Some(estimate) = estimate(row) else { continue };
            naive.squares.push((estimate - row.value).powi(2));
            naive.trivial.push((sums[&row.item] / f64::from(counts[&row.item]) - row.value).powi(2));
            if row.value >= 4.0 {
                relevant.entry(row.user).or_default().insert(row.item);
            }
        }
        for (user, relevant) in relevant {
            let code = recommender.users.code(Id::Integer(user)).unwrap();
            naive.rank(&version, recommender.model.user(code), &seen[&user], &relevant, &counts);
        }
    };
    let check = |naive: &Naive, kind: EvaluationKind| {
        let shown = measures(&version, kind);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        assert!(!naive.ndcg.is_empty() && !naive.squares.is_empty());
        assert_eq!(
            (shown["rows"].as_u64(), shown["ranked_users"].as_u64()),
            (Some(naive.squares.len() as u64), Some(naive.ndcg.len() as u64))
        );
        for (found, expected) in [
            (&shown["rmse"], mean(&naive.squares).sqrt()),
            (&shown["baseline"]["rmse"], mean(&naive.trivial).sqrt()),
            (&shown["ndcg_10"], mean(&naive.ndcg)),
            (&shown["recall_10"], mean(&naive.recall)),
            (&shown["map_10"], mean(&naive.precision)),
            (&shown["baseline"]["ndcg_10"], mean(&naive.popular_ndcg)),
        ] {
            // The item's mean is kept as f32.
            assert!((found.as_f64().unwrap() - expected).abs() < 1e-6, "{kind:?}: {found} is not {expected}: {shown}");
        }
    };
    let mut naive = Naive::default();
    known(&own.iter().filter(|row| row.held_out).collect::<Vec<_>>(), &mut naive);
    check(&naive, EvaluationKind::Holdout);

    let mut naive = Naive::default();
    let next = stored(&batches, PARTITIONS, share, 3);
    known(&next.iter().collect::<Vec<_>>(), &mut naive);
    let mut of_new: BTreeMap<i64, Vec<&Row>> = BTreeMap::new();
    for row in next.iter().filter(|row| !seen.contains_key(&row.user)) {
        of_new.entry(row.user).or_default().push(row);
    }
    assert!(of_new.len() > 2, "{}", of_new.len());
    for rows in of_new.values() {
        let rows: Vec<&Row> = latest(rows).into_iter().map(|at| rows[at]).collect();
        let (first, second) = rows.split_at(rows.len().div_ceil(2));
        let code = |row: &&&Row| recommender.items.code(Id::Integer(row.item));
        let folded: BTreeMap<u32, f32> = first.iter().filter_map(|row| Some((code(&row)?, row.value as f32))).collect();
        if folded.is_empty() {
            continue;
        }
        let (items, values): (Vec<u32>, Vec<f32>) = folded.into_iter().unzip();
        let vector = recommender.model.fold_in(&items, &values);
        let mut relevant = BTreeSet::new();
        for row in second {
            let Some(code) = code(&row) else { continue };
            let estimate = recommender.model.clamp(recommender.model.score(&vector, code));
            naive.squares.push((estimate - row.value).powi(2));
            naive.trivial.push((sums[&row.item] / f64::from(counts[&row.item]) - row.value).powi(2));
            if row.value >= 4.0 {
                relevant.insert(row.item);
            }
        }
        let seen: BTreeSet<i64> = first.iter().map(|row| row.item).collect();
        naive.rank(&version, &vector, &seen, &relevant, &counts);
    }
    check(&naive, EvaluationKind::NextBatch);
    let shown = measures(&version, EvaluationKind::NextBatch);
    assert_eq!(shown["new_users"], json!(of_new.len()));
    assert!(shown["rmse_new_users"].is_number() && shown["ndcg_10_known_users"].is_number());
}

#[test]
fn implicit_feedback_is_measured_by_its_lists() {
    let fixture = fixture_of(&RATINGS, 1);
    // Only what was liked.
    let rows: Vec<Value> = planted(0..3000).into_iter().filter(|row| row["rating"].as_f64().unwrap() >= 3.5).collect();
    fixture.commit(&rows);
    assert_eq!(fixture.train(0.2, vec![implicit()]).failed, []);
    let version = fixture.load("taste", 1);
    let scores = measures(&version, EvaluationKind::Holdout);
    assert_eq!((scores.get("rmse"), &scores["baseline"]["kind"]), (None, &json!("popularity")));
    assert!(scores["ndcg_10"].as_f64() > scores["baseline"]["ndcg_10"].as_f64(), "{scores}");
    assert_eq!(version.beats_baseline(), Some(true));
    assert_eq!(version.verdict().model, format!("ndcg_10 {:.5}", scores["ndcg_10"].as_f64().unwrap()));
    assert_eq!(version.recommender().unwrap().model.scale(), None);
    assert_eq!(version.verdict().lists, None);
}

// Frozen: another digest for the same configuration would train every version of every store once more.
#[test]
fn the_digest_of_a_configuration_of_ratings_never_changes() {
    let digest = |model: &Model| {
        configuration_digest(&Recipe::from_config(model, 0.1, 1, millstream_stream::schema::Dialect::First))
    };
    let bare = als(&[]);
    assert_eq!(digest(&bare), "d94d04db205355e31ec35b8ac815131f1fb5743d233665fbc3f67e7b5c9e10b0");
    let change = |change: &dyn Fn(&mut RatingColumns)| with_columns(als(&[]), change);
    let mut others = vec![
        change(&|columns| columns.user = "device".to_owned()),
        change(&|columns| columns.item = "device".to_owned()),
        change(&|columns| columns.rating = None),
        change(&|columns| columns.time = Some("timestamp".to_owned())),
        change(&|columns| columns.group = Some("device".to_owned())),
        change(&|columns| columns.scale = Some((0.5, 5.0))),
        change(&|columns| columns.relevant = Some(4.0)),
        als(&[("rank", ParamValue::Integer(11))]),
        als(&[("biases", ParamValue::Bool(true))]),
        als(&[("ranking", ParamValue::Text("support".to_owned()))]),
        Model { seed: 2, ..als(&[]) },
        Model { filter: Some("rating > 1".to_owned()), ..als(&[]) },
    ];
    others.push(bare);
    let digests: BTreeSet<String> = others.iter().map(digest).collect();
    assert_eq!(digests.len(), others.len());
    assert_eq!(
        digest(&als(&[])),
        digest(&als(&[("rank", ParamValue::Integer(10)), ("lambda", ParamValue::Float(0.1))]))
    );
    let later = [("biases", ParamValue::Bool(false)), ("ranking", ParamValue::Text("auto".to_owned()))];
    assert_eq!(digest(&als(&[])), digest(&als(&later)));
}
