//! How rules are read in the background, and how requests wait for them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_learn::Id;
use millstream_stream::batch::{Batch, StoredBatches};
use millstream_stream::schema::ColumnType;
use serde_json::Value;

use super::{Interactions, NotLoaded, Read, Rule, Source, StoredRows};
use millstream_model::model::RatingColumns;
use millstream_model::registry::Holdout;
use millstream_model::train::fixture;
use millstream_stream::batch::fixture::batch;

fn rule(rating: &str) -> Rule {
    Rule {
        columns: RatingColumns {
            user: "Town/City".to_owned(),
            item: "trend".to_owned(),
            rating: Some(rating.to_owned()),
            time: Some("Timestamp".to_owned()),
            group: None,
            scale: None,
            relevant: None,
        },
        user_kind: ColumnType::Utf8,
        item_kind: ColumnType::Utf8,
        filter: Some("flag".to_owned()),
        holdout: Holdout { share: 0.3, seed: 0 },
    }
}

/// Each batch has one row more than its number; reading one may be made to fail.
#[derive(Default, Clone)]
struct Made {
    batches: Arc<Mutex<u32>>,
    broken: Arc<AtomicBool>,
    n_reads: Arc<Mutex<u32>>,
}

impl Source for Made {
    fn batches(&self) -> Result<Arc<[Batch]>, String> {
        Ok((1..=*self.batches.lock().unwrap()).map(|number| batch(number, 1, 0)).collect())
    }

    fn read(&self, _: &Rule, batch: &Batch, visit: &mut dyn FnMut(&Read)) -> Result<(), String> {
        *self.n_reads.lock().unwrap() += 1;
        for user in 0..=batch.number() {
            let user = user.to_string();
            visit(&Read {
                user: Id::Text(&user),
                item: Id::Text("x"),
                rating: None,
                time: None,
                group: None,
                held_out: false,
                passes: true,
            });
            if self.broken.load(Ordering::Relaxed) {
                return Err("the disk is gone".to_owned());
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_request_waits_for_what_was_there_and_not_for_what_comes() {
    let made = Made::default();
    *made.batches.lock().unwrap() = 2;
    let interactions = Arc::new(Interactions::new(made.clone()));
    // Nobody reads: the wait ends.
    let waited = interactions.shown(&rule("a"), 1).await;
    assert!(matches!(waited, Err(NotLoaded::Reading { loaded: 0, due: 1 })), "{waited:?}");
    let waiting = tokio::spawn({
        let interactions = interactions.clone();
        async move { interactions.shown(&rule("a"), 1).await }
    });
    tokio::task::yield_now().await;
    interactions.refresh(&[rule("a")]);
    assert_eq!(waiting.await.unwrap().unwrap().batches, 2, "all that was there, though the version is of batch 1");
    *made.batches.lock().unwrap() = 3;
    assert_eq!(interactions.shown(&rule("a"), 2).await.unwrap().batches, 2, "not for a batch that came later");
    interactions.refresh(&[rule("a")]);
    let shown = interactions.shown(&rule("a"), 3).await.unwrap();
    assert_eq!((shown.batches, shown.n_rows(), shown.n_users(), *made.n_reads.lock().unwrap()), (3, 9, 4, 3));
    // Another rule is read by itself; the first is let go once no version needs it.
    interactions.refresh(&[rule("b")]);
    assert_eq!(*made.n_reads.lock().unwrap(), 6);
    interactions.refresh(&[rule("a")]);
    assert_eq!(*made.n_reads.lock().unwrap(), 9, "a is read again");
}

#[tokio::test]
async fn a_rule_that_is_waited_for_while_it_is_let_go_is_read_from_the_beginning() {
    let made = Made::default();
    *made.batches.lock().unwrap() = 2;
    let interactions = Arc::new(Interactions::new(made.clone()));
    interactions.refresh(&[rule("a")]);
    let (slot, waiting) = interactions.slot(&rule("a"));
    // No version needs it; whoever holds it keeps it, though its rows go.
    interactions.refresh(&[rule("b")]);
    assert!(Arc::ptr_eq(&interactions.slot(&rule("a")).0, &slot));
    *made.batches.lock().unwrap() = 3;
    interactions.refresh(&[rule("a")]);
    let shown = waiting.borrow().shown.clone().unwrap();
    assert_eq!((shown.batches, shown.n_rows()), (3, 9), "the rows of the first two batches too");
    drop(waiting);
    interactions.refresh(&[rule("b")]);
    assert!(!Arc::ptr_eq(&interactions.slot(&rule("a")).0, &slot));
}

#[tokio::test]
async fn a_fault_is_told_at_once_and_mended_by_the_next_reading() {
    let made = Made::default();
    *made.batches.lock().unwrap() = 1;
    made.broken.store(true, Ordering::Relaxed);
    let interactions = Interactions::new(made.clone());
    interactions.refresh(&[rule("a")]);
    let fault = interactions.shown(&rule("a"), 1).await.unwrap_err();
    assert_eq!(fault, NotLoaded::Fault("the disk is gone".to_owned()));
    made.broken.store(false, Ordering::Relaxed);
    interactions.refresh(&[rule("a")]);
    assert_eq!(interactions.shown(&rule("a"), 1).await.unwrap().n_rows(), 2, "nothing of the broken try is there");
    made.broken.store(true, Ordering::Relaxed);
    *made.batches.lock().unwrap() = 2;
    interactions.refresh(&[rule("a")]);
    assert_eq!(interactions.shown(&rule("a"), 1).await.unwrap().batches, 1, "what is there is shown on");
}

/// The rows of the store's own parts, with their marks.
#[tokio::test]
async fn stored_batches_are_read_as_training_reads_them() {
    // Three towns in turn on two partitions: the newest of a town is on either of them.
    let stored = fixture::fixture(2);
    stored.commit(&fixture::rows(0..50)).commit(&fixture::rows(50..80));
    let batches = Arc::new(StoredBatches::new(stored.store.clone()));
    let interactions = Interactions::new(StoredRows { store: stored.store.clone(), batches });
    let rule = rule("Open");
    let untimed = Rule { columns: RatingColumns { time: None, ..rule.columns.clone() }, ..rule.clone() };
    interactions.refresh(&[rule.clone(), untimed.clone()]);
    let show = async |rule: &Rule| {
        tokio::time::timeout(Duration::from_secs(5), interactions.shown(rule, 2)).await.unwrap().unwrap()
    };
    let (shown, by_stream) = (show(&rule).await, show(&untimed).await);
    assert_eq!((shown.batches, shown.n_rows(), shown.n_users()), (2, 80, 3));
    let rows = fixture::rows(0..80);
    for town in ["Hull", "Leeds", "York"] {
        for trend in ["Up", "Down"] {
            let is_pair = |row: &&Value| row["Town/City"] == town && row["trend"] == trend;
            let Some(newest) = rows.iter().rfind(is_pair) else { continue };
            for shown in [&shown, &by_stream] {
                let (user, item) = (shown.user(Id::Text(town)).unwrap(), shown.item(Id::Text(trend)).unwrap());
                let entries = shown.of_user(user, |_| true);
                let entry = entries.iter().find(|entry| entry.item == item).unwrap();
                assert!((f64::from(entry.rating) - newest["Open"].as_f64().unwrap()).abs() < 1e-4);
                assert_eq!(entry.mark.passes(), newest["flag"] == true);
            }
            let (user, item) = (shown.user(Id::Text(town)).unwrap(), shown.item(Id::Text(trend)).unwrap());
            let entry = shown.of_user(user, |entry| entry.item == item)[0];
            assert_eq!(entry.time, newest["Timestamp"].as_i64().unwrap() * 1000);
        }
    }
    let marks =
        |keep: &dyn Fn(&super::Entry) -> bool| -> usize { (0..3).map(|user| shown.of_user(user, keep).len()).sum() };
    assert!(marks(&|entry| entry.mark.held_out()) > 0 && marks(&|entry| !entry.mark.held_out()) > 0);
    assert!(marks(&|entry| entry.mark.batch() == 2) > 0);
}
