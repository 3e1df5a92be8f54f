//! A batch beside those that a version was trained on: by the explainer, from stored batches.

use std::sync::Arc;

use millstream_learn::Algorithm;
use millstream_stream::batch::StoredBatches;
use serde_json::{Value, json};

use crate::model::Missing;
use crate::registry::Registry;
use crate::train::fixture::{Fixture, audience, committed_films, film, fixture, model, row_with, rows};
use crate::train::{BatchDrift, ColumnDrift, Explainer, Reference};

fn explainer(fixture: &Fixture) -> Explainer {
    let registry = Arc::new(Registry::open(Arc::clone(&fixture.store)).unwrap());
    Explainer::new(Arc::clone(&fixture.store), registry, Arc::new(StoredBatches::new(Arc::clone(&fixture.store))))
}

fn drift(fixture: &Fixture, name: &str, version: u32, batch: u32, against: Reference) -> BatchDrift {
    explainer(fixture).drift(name, version, batch, against).unwrap_or_else(|why| panic!("{}", why.0))
}

fn column<'a>(drift: &'a BatchDrift, name: &str) -> &'a ColumnDrift {
    drift.columns.iter().find(|column| column.name == name).unwrap_or_else(|| panic!("{name}: {drift:?}"))
}

fn regression() -> crate::model::Model {
    model("m", Algorithm::LinearRegression, &["Open", "Town/City", "Open * 2"], "Close")
}

/// Rows of another market: dearer, and half of them of a town that was not there.
fn other_rows(range: std::ops::Range<u64>) -> Vec<Value> {
    let change = |index: u64| {
        let mut row = row_with(index, "Town/City", if index.is_multiple_of(2) { "Bath".into() } else { "York".into() });
        row["Open"] = json!(row["Open"].as_f64().unwrap() + 30.0);
        row
    };
    range.map(change).collect()
}

#[test]
fn a_batch_that_is_another_is_told_and_one_that_is_not_is_not() {
    let fixture = fixture(2);
    fixture.commit(&rows(0..1000)).commit(&rows(1000..2000));
    assert_eq!(fixture.train(0.2, vec![regression()]).failed, []);
    fixture.commit(&other_rows(2000..3000));
    let same = drift(&fixture, "m", 1, 2, Reference::Training);
    assert_eq!((same.rows, same.of, same.reference_rows, &same.reference_batches), (1000, 1000, 1000, &vec![1]));
    assert!(same.columns.iter().all(|column| column.verdict == "stable"), "{same:?}");
    assert_eq!(same, drift(&fixture, "m", 1, 2, Reference::Training), "the same for whoever takes it");
    for (version, against, reference) in
        [(1, Reference::Training, 1), (1, Reference::Before, 2), (2, Reference::Training, 2)]
    {
        let other = drift(&fixture, "m", version, 3, against);
        assert_eq!(other.reference_batches, [reference]);
        assert_eq!((other.columns[0].role, other.columns.len()), ("prediction", 4));
        assert!(other.columns.iter().all(|column| column.verdict == "major"), "{other:?}");
        let (open, town) = (column(&other, "Open"), column(&other, "Town/City"));
        assert!(open.statistic.unwrap() > 0.99 && open.p.unwrap() < 1e-9 && town.test == "chi_squared", "{other:?}");
        assert_eq!((town.new[0].value.as_str(), town.new[0].rows), ("Bath", 500));
        assert_eq!(town.bins.iter().map(|bin| bin.rows).sum::<u64>(), 1000);
        assert!(open.bins.last().unwrap().to.is_none() && open.bins.last().unwrap().rows > 900, "{open:?}");
    }
}

#[test]
fn rows_without_values_without_labels_and_no_rows_at_all_are_compared_as_they_are() {
    let fixture = fixture(1);
    fixture.commit(&rows(0..600));
    assert_eq!(fixture.train(0.2, vec![regression()]).failed, []);
    let unlabelled: Vec<Value> = (1000..1600).map(|index| row_with(index, "Close", Value::Null)).collect();
    let without: Vec<Value> = (2000..2600).map(|index| row_with(index, "Open", Value::Null)).collect();
    fixture.commit(&unlabelled).commit(&without).commit(&[]).commit(&rows(3000..3001));
    let labels = drift(&fixture, "m", 1, 2, Reference::Training);
    assert_eq!((labels.rows, column(&labels, "prediction").verdict), (600, "stable"), "{labels:?}");
    let none = drift(&fixture, "m", 1, 3, Reference::Training);
    let open = column(&none, "Open");
    assert_eq!(
        (open.verdict, open.missing, open.reference_missing, open.statistic),
        ("major", Some(1.0), Some(0.0), None)
    );
    assert_eq!(column(&none, "prediction").verdict, "unknown");
    assert!(none.notes.iter().any(|note| note.contains("600 of 600 rows get no answer")), "{none:?}");
    let empty = drift(&fixture, "m", 1, 4, Reference::Training);
    assert!(empty.rows == 0 && empty.columns.iter().all(|column| column.verdict == "unknown"), "{empty:?}");
    assert!(empty.notes.iter().any(|note| note.contains("the batch has no row")), "{empty:?}");
    // Of one row nothing is said.
    let one = drift(&fixture, "m", 1, 5, Reference::Training);
    assert!(one.rows == 1 && one.columns.iter().all(|column| column.verdict == "stable"), "{one:?}");
    let gone = explainer(&fixture).drift("m", 1, 9, Reference::Training).unwrap_err();
    assert!(gone.0.contains("batch 9"), "{}", gone.0);
}

#[test]
fn classes_are_compared_and_words_are_not() {
    let films: Vec<Value> = (0..300).map(film).collect();
    let fixture = committed_films(&films);
    assert_eq!(fixture.train(0.2, vec![audience(Algorithm::LogisticRegression, "audience", Missing::Drop)]).failed, []);
    let crime: Vec<Value> = (300..600).map(|index| film(index * 3)).collect();
    fixture.commit(&crime);
    let found = drift(&fixture, "m", 1, 2, Reference::Training);
    assert_eq!(found.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["prediction", "year"]);
    let answers = column(&found, "prediction");
    assert_eq!((answers.verdict, answers.kind), ("major", "category"));
    assert!(answers.bins.iter().any(|bin| bin.value.as_deref() == Some("adults") && bin.rows > 290), "{answers:?}");
    assert!(found.notes.iter().any(|note| note.contains("2 features are of words")), "{found:?}");
}

#[test]
fn a_version_of_every_algorithm_is_compared_or_says_that_there_is_nothing() {
    let (fixture, models) = super::grouping::of_every_algorithm();
    let names: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
    assert_eq!(fixture.train(0.2, models).failed, []);
    fixture.commit(&super::grouping::products(0..60));
    for name in names {
        let version = fixture.load(&name, 1);
        let found = drift(&fixture, &name, 1, 2, Reference::Training);
        if version.feature_set().is_some() {
            assert_eq!(found.columns.len(), 1 + version.file.features.len(), "{name}: {found:?}");
            // The same products again.
            assert!(found.columns.iter().all(|column| column.verdict == "stable"), "{name}: {found:?}");
            assert_eq!(found.columns[0].bins.iter().map(|bin| bin.rows).sum::<u64>(), found.rows, "{name}: {found:?}");
        } else {
            assert!(found.columns.is_empty() && found.notes[0].contains("nothing to compare"), "{name}: {found:?}");
        }
    }
}

/// A forest answers rows that it was trained on with more spread than new ones, where the target is noise.
#[test]
fn what_was_answered_by_heart_is_no_drift() {
    let mixed = |seed: u64| {
        let first = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let second = (first ^ (first >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (second >> 11) as f64 / (1_u64 << 53) as f64
    };
    let noise = |index: u64| {
        let mut row = row_with(index, "Close", json!(mixed(0x9e37_79b9 * (2 * index + 1))));
        row["Open"] = json!(mixed(0x9e37_79b9 * (2 * index + 2)));
        row
    };
    let fixture = fixture(1);
    fixture.commit(&(0..2000).map(noise).collect::<Vec<Value>>());
    let forest = model("m", Algorithm::RandomForest, &["Open"], "Close");
    assert_eq!(fixture.train(0.2, vec![forest]).failed, []);
    fixture.commit(&(2000..4000).map(noise).collect::<Vec<Value>>());
    let found = drift(&fixture, "m", 1, 2, Reference::Training);
    let answers = column(&found, "prediction");
    assert_eq!(answers.verdict, "stable", "{answers:?}");
    let n_held: u64 = answers.bins.iter().map(|bin| bin.reference).sum();
    assert!((300..500).contains(&n_held) && found.reference_rows == 2000, "{n_held}");
    assert!(found.notes.iter().any(|note| note.contains("held-out rows alone")), "{found:?}");
}
