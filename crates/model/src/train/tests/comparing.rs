//! Two versions beside each other on the same records: what is said of them is what their evaluations say, and what cannot be compared says why.

use millstream_learn::Algorithm::{LinearRegression, LogisticRegression, RandomForest};
use millstream_learn::metrics::LEVEL;

use super::{grouping, recommending};
use crate::model::Model;
use crate::registry::{ComparedOn, EvaluationKind, Provenance, Version};
use crate::train::TrainError;
use crate::train::compare::{Comparison, compare};
use crate::train::fixture::*;

fn found(fixture: &Fixture, a: &Version, b: &Version, on: ComparedOn) -> Result<Comparison, TrainError> {
    compare(&*fixture.store, &fixture.schema, (a, b), on, LEVEL, &fixture.batches.lock().unwrap())
}

fn refused(fixture: &Fixture, a: &Version, b: &Version, on: ComparedOn) -> String {
    match found(fixture, a, b, on) {
        Err(TrainError::Incomparable { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_comparison_says_of_each_version_what_its_evaluations_say() {
    let fixture = fixture(2);
    fixture.commit(&rows(0..400)).commit(&rows(400..800)).commit(&rows(800..1200));
    let models = vec![
        model("number", LinearRegression, &["Open"], "Close"),
        model("two", LogisticRegression, &["Open"], "trend"),
        model("three", RandomForest, &["Close"], "Town/City"),
    ];
    assert_eq!(fixture.train(0.2, models).failed, []);
    for (model, measures) in [
        ("number", &["rmse", "mae", "r2"][..]),
        ("two", &["log_loss", "accuracy", "auc"]),
        ("three", &["log_loss", "accuracy"]),
    ] {
        let (a, b) = (fixture.load(model, 1), fixture.load(model, 2));
        let on_common = found(&fixture, &a, &b, ComparedOn::Common).unwrap();
        assert_eq!(on_common.measures.iter().map(|one| one.measure.as_str()).collect::<Vec<_>>(), measures);
        for difference in &on_common.measures {
            for (version, value) in [(&a, difference.a), (&b, difference.b)] {
                let evaluation = version.evaluation(EvaluationKind::Common).unwrap();
                let measured = evaluation.scores.measures[&difference.measure].unwrap();
                assert!((value - measured).abs() < 1e-9, "{model} {difference:?}: {measured}");
                assert_eq!(evaluation.scores.rows, on_common.compared as u64);
            }
        }
        // The batch after both is 3: version 2 was measured on it.
        let on_next = found(&fixture, &a, &b, ComparedOn::NextBatch).unwrap();
        let measured = &b.evaluation(EvaluationKind::NextBatch).unwrap().scores;
        assert_eq!((on_next.batches.first, on_next.batches.last, on_next.compared), (3, 3, 400));
        assert!((on_next.measures[0].b - measured.measures[measures[0]].unwrap()).abs() < 1e-9);
        // The other way round it is the same.
        let back = found(&fixture, &b, &a, ComparedOn::NextBatch).unwrap();
        assert_eq!(
            (back.measures[0].low, back.measures[0].high),
            (-on_next.measures[0].high, -on_next.measures[0].low)
        );
        // And beside itself no different.
        let same = found(&fixture, &a, &a, ComparedOn::Common).unwrap();
        assert!(same.measures.iter().all(|one| one.low == 0.0 && one.high == 0.0), "{same:?}");
    }
}

#[test]
fn lists_clusters_and_items_are_compared_by_what_they_have() {
    let fixture = recommending::fixture_of_ratings();
    for batch in 0..3 {
        fixture.commit(&recommending::planted(600 * batch..600 * (batch + 1)));
    }
    assert_eq!(fixture.train(0.2, vec![recommending::als(&[])]).failed, []);
    let (a, b) = (fixture.load("taste", 1), fixture.load("taste", 2));
    let taste = found(&fixture, &a, &b, ComparedOn::Common).unwrap();
    assert_eq!(taste.units, "users");
    assert!(taste.notes.iter().any(|note| note.contains("chose the number of iterations of version 1")), "{taste:?}");
    let next = found(&fixture, &a, &b, ComparedOn::NextBatch).unwrap();
    let names: Vec<&str> = next.measures.iter().map(|one| one.measure.as_str()).collect();
    assert_eq!(names, ["rmse", "mae", "ndcg_10", "recall_10", "map_10"]);
    // All items are known by now, and no user is new: the pairs are those of the evaluation.
    let scores = &b.evaluation(EvaluationKind::NextBatch).unwrap().scores;
    let beside_itself = found(&fixture, &b, &b, ComparedOn::NextBatch).unwrap();
    for difference in &beside_itself.measures {
        let measured = scores.measures[&difference.measure].unwrap();
        assert!((difference.b - measured).abs() < 1e-9, "{difference:?}: {measured}");
    }

    let (fixture, mut models) = grouping::of_every_algorithm();
    models.push(Model { name: "votes".to_owned(), ..grouping::popularity(None) });
    assert_eq!(fixture.train(0.2, models).failed, []);
    // More than half of the items come again.
    fixture.commit(&grouping::products(0..100));
    for (model, measures) in [
        ("groups", &["silhouette"][..]),
        ("like", &["known_items"]),
        ("near", &["known_items"]),
        ("best", &["known_items"]),
        ("votes", &["rmse", "known_items"]),
    ] {
        let version = fixture.load(model, 1);
        let found = found(&fixture, &version, &version, ComparedOn::NextBatch).unwrap();
        let names: Vec<&str> = found.measures.iter().map(|one| one.measure.as_str()).collect();
        assert_eq!((names.as_slice(), found.compared), (measures, 100), "{model}");
        assert!(found.measures.iter().all(|one| one.difference == 0.0 && one.low == 0.0), "{found:?}");
        let known = found.measures.iter().find(|one| one.measure == "known_items");
        assert!(known.is_none_or(|known| known.a == 0.6), "{known:?}");
    }
}

#[test]
fn what_cannot_be_compared_says_why() {
    let fixture = fixture(1);
    fixture.commit(&rows(0..200)).commit(&rows(200..400));
    let open = model("open", LinearRegression, &["Close"], "Open");
    let trend = model("trend", LogisticRegression, &["Open"], "trend");
    fixture.train(0.2, vec![model("close", LinearRegression, &["Open"], "Close"), open, trend]);
    fixture.train(0.0, vec![model("all", LinearRegression, &["Open"], "Close")]);
    let (one, two) = (fixture.load("close", 1), fixture.load("close", 2));
    let check = |a: &Version, b: &Version, on, expected: &str| {
        let why = refused(&fixture, a, b, on);
        assert!(why.contains(expected), "{why}");
    };
    check(&one, &fixture.load("open", 1), ComparedOn::Common, "their target is not the same, `Close` and `Open`");
    check(&fixture.load("trend", 2), &two, ComparedOn::Common, "their task is not the same");
    check(&one, &two, ComparedOn::NextBatch, "batch 3, the first one after both, is not complete yet");
    let all = [1, 2].map(|version| fixture.load("all", version));
    check(&all[0], &all[1], ComparedOn::Common, "compare them on next_batch");
    let mut imported = two.clone();
    imported.file.imported = Some(Provenance {
        from: "Spark".to_owned(),
        class: String::new(),
        uid: String::new(),
        digest: String::new(),
        imported_at_ms: 0,
        parameters: serde_json::Map::new(),
    });
    check(&one, &imported, ComparedOn::Common, "version 2 was imported");
    // Of a batch that is not complete nothing is compared, and few records are said to be few.
    fixture.commit(&rows(400..410));
    let few = found(&fixture, &one, &two, ComparedOn::NextBatch).unwrap();
    assert!(few.compared == 10 && few.notes.iter().any(|note| note.contains("too few")), "{few:?}");
}

#[test]
fn a_measure_that_goes_by_few_units_says_so() {
    let fixture = fixture(1);
    let rare = |range: std::ops::Range<u64>| -> Vec<serde_json::Value> {
        let class = |index: u64| if index.is_multiple_of(20) { "Up" } else { "Down" };
        range.map(|index| row_with(index, "trend", class(index).into())).collect()
    };
    fixture.commit(&rare(0..200)).commit(&rare(200..400));
    fixture.train(0.0, vec![model("trend", LogisticRegression, &["Open"], "trend")]);
    fixture.commit(&rare(400..600));
    let (a, b) = (fixture.load("trend", 1), fixture.load("trend", 2));
    let few = found(&fixture, &a, &b, ComparedOn::NextBatch).unwrap();
    let expected =
        "auc goes by 10 records of the rarer class, too few for its interval to be trusted, 30 are the least";
    assert_eq!((few.compared, few.notes.as_slice()), (200, &[expected.to_owned()][..]));
}
