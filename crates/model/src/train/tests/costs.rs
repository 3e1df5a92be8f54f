//! What a new batch costs does not grow with the batches and versions before it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use millstream_learn::Algorithm::LinearRegression;
use millstream_store::counting::{CountingStore, Counts};
use millstream_stream::batch::StoredBatches;

use crate::registry::Registry;
use crate::train::fixture::*;

/// What each batch up to `n_batches` asked of the store: found, trained on by two models, measured, served.
fn costs(holdout: f64, n_batches: u64) -> Vec<Counts> {
    const ROWS: u64 = 30;
    let fixture = fixture_in_memory();
    let store = Arc::new(CountingStore::new(Arc::clone(&fixture.store)));
    let models = ["close", "high"].map(|name| model(name, LinearRegression, &["Open"], "Close"));
    let trainer = fixture.trainer_over(Arc::clone(&store) as _, holdout, models.to_vec());
    let (batches, registry) =
        (StoredBatches::new(Arc::clone(&store) as _), Registry::open(Arc::clone(&store) as _).unwrap());
    let cost = |batch: u64| {
        fixture.commit(&rows(batch * ROWS..(batch + 1) * ROWS));
        store.take();
        let report = trainer.train_due(&batches.complete().unwrap(), &AtomicBool::new(false)).unwrap();
        assert_eq!(report.trained.len(), 2);
        registry.refresh().unwrap();
        let served = registry.snapshot();
        assert_eq!(served.problems, Vec::<String>::new());
        assert_eq!(served.models["high"].n_versions() as u64, batch + 1);
        store.take()
    };
    (0..n_batches).map(cost).collect()
}

#[test]
fn a_batch_costs_the_same_whatever_came_before_it() {
    let costs = costs(0.0, 1000);
    let at = |batch: usize| Counts { bytes_read: 0, ..costs[batch - 1] };
    // At none of them `common` is looked at.
    assert_eq!(at(100), at(12));
    assert_eq!(at(1000), at(12));
    // Numbers have more digits later.
    assert!(costs[999].bytes_read < costs[11].bytes_read * 21 / 20, "{:?} {:?}", costs[11], costs[999]);
    assert!(at(1000).keys < 20 && at(1000).reads < 60, "{:?}", at(1000));
}

/// A pass over all batches comes when they grew by a tenth: eleven reads of a batch for each new one.
#[test]
fn measuring_on_all_batches_costs_the_same_per_batch() {
    let costs = costs(0.3, 250);
    let mean = |batches: std::ops::Range<usize>, of: &dyn Fn(&Counts) -> u64| {
        costs[batches.clone()].iter().map(of).sum::<u64>() / batches.len() as u64
    };
    for (name, of) in [
        ("creates", &(|counts: &Counts| counts.creates) as &dyn Fn(&Counts) -> u64),
        ("reads", &|counts| counts.reads),
        ("lists", &|counts| counts.lists),
        ("keys", &|counts| counts.keys),
    ] {
        let (early, late) = (mean(30..60, of), mean(150..250, of));
        assert!(late <= early + 5, "{name}: {early} a batch, then {late}");
    }
}
