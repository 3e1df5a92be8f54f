//! `/v1/batches/{batch}/statistics`: what a batch's columns are like. One batch is looked at at a time, and what was found is kept: a
//! batch never changes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::app::App;
use super::error::ApiError;
use super::lists::{find_batch, unreadable_rows};
use super::predict::blocking;
use super::reply;

/// Answers that are kept, of some KiB each.
const KEPT_MOST: usize = 256;
/// Requests that wait for their turn, besides the one that has it.
const WAITING_MOST: usize = 16;
/// Who waits longer is told to ask again.
const WAIT: Duration = Duration::from_secs(20);

/// A batch's number and digest.
type Key = (u32, String);

pub struct BatchAnswers {
    /// The newest last.
    kept: Mutex<VecDeque<(Key, Arc<Value>)>>,
    queue: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

impl Default for BatchAnswers {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            queue: Arc::new(Semaphore::new(1 + WAITING_MOST)),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl BatchAnswers {
    fn get(&self, key: &Key) -> Option<Arc<Value>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(known, _)| known == key).map(|(_, answer)| Arc::clone(answer))
    }

    fn keep(&self, key: Key, answer: &Arc<Value>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MOST {
            kept.pop_front();
        }
        kept.push_back((key, Arc::clone(answer)));
    }
}

pub async fn statistics(app: &Arc<App>, number: &str) -> Result<Response<Body>, ApiError> {
    Ok(reply::json(StatusCode::OK, &*of_batch(app, number).await?))
}

/// The answer as JSON.
pub async fn of_batch(app: &Arc<App>, number: &str) -> Result<Arc<Value>, ApiError> {
    let batch = find_batch(app, number)?;
    let key = (batch.number(), batch.digest());
    if let Some(answer) = app.batch_answers.get(&key) {
        return Ok(answer);
    }
    let queue = Arc::clone(&app.batch_answers.queue).try_acquire_owned();
    let place = queue.map_err(|_| ApiError::too_many("too_many_statistics", "too many statistics are waited for"))?;
    let Ok(Ok(turn)) = timeout(WAIT, Arc::clone(&app.batch_answers.turn).acquire_owned()).await else {
        return Err(ApiError::busy("the statistics of other batches are computed"));
    };
    // Who had the turn before may have computed this.
    if let Some(answer) = app.batch_answers.get(&key) {
        return Ok(answer);
    }
    let source = Arc::clone(&app.context.batches);
    // As for rows: a large part is hashed for long, the first time.
    app.verifying.verify(&source, &batch, 0, usize::MAX).await?;
    let app = Arc::clone(app);
    // Brought to its end also where whoever asked has gone: the turn ends with it.
    let compute = move || {
        let found = source.statistics(&batch).map_err(|error| unreadable_rows(batch.number(), &error))?;
        let answer = Arc::new(json!({
            "batch": batch.number(), "rows": batch.rows(), "rows_read": found.rows_read, "columns": found.columns,
        }));
        app.batch_answers.keep(key, &answer);
        drop((turn, place));
        Ok(answer)
    };
    blocking(compute).await
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use millstream_stream::batch::fixture::batch;
    use millstream_stream::batch::{Batch, BatchSnapshot, BatchStatistics, Completeness};
    use serde_json::Map;

    use super::super::fixture::fixture_of;
    use super::super::tests::ask;
    use super::super::{BatchReadError, BatchSource};
    use super::*;

    /// Statistics that wait to be let go, and are counted by the rows they say they read.
    struct Gated(Mutex<(usize, mpsc::Receiver<()>)>);

    impl BatchSource for Gated {
        fn snapshot(&self) -> BatchSnapshot {
            let batches = (1..=30).map(|number| batch(number, 10, 0)).collect();
            BatchSnapshot { batches, completeness: Completeness::Whole, away: None }
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

        fn rows(&self, _: &Batch, _: usize, _: usize) -> Result<Vec<Map<String, Value>>, BatchReadError> {
            Ok(Vec::new())
        }

        fn rejects(&self, _: &Batch, _: usize, _: usize) -> Result<Vec<Map<String, Value>>, BatchReadError> {
            Ok(Vec::new())
        }

        fn statistics(&self, batch: &Batch) -> Result<BatchStatistics, BatchReadError> {
            let Ok(mut gate) = self.0.try_lock() else { panic!("two at a time") };
            gate.1.recv().unwrap();
            gate.0 += 1;
            if batch.number() == 30 {
                return Err(BatchReadError { message: "the disk is gone".to_owned(), is_away: false });
            }
            Ok(BatchStatistics { rows_read: gate.0, columns: Vec::new() })
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_is_computed_at_a_time_once_and_too_many_are_refused() {
        let (let_go, gate) = mpsc::channel();
        let f = fixture_of(Arc::new(Gated(Mutex::new((0, gate)))));
        let path = |number: usize| format!("/v1/batches/{number}/statistics");
        let asking: Vec<_> = (0..=WAITING_MOST)
            .map(|n| {
                let (app, path) = (Arc::clone(&f.app), path(1 + n / 2));
                tokio::spawn(async move { ask(&app, "GET", &path, "").await })
            })
            .collect();
        while f.app.batch_answers.queue.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (status, _, body) = ask(&f.app, "GET", &path(20), "").await;
        assert!(status == 429 && body.contains("too_many_statistics"), "{status} {body}");
        (0..=WAITING_MOST).for_each(|_| let_go.send(()).unwrap());
        for asked in asking {
            let (status, _, body) = asked.await.unwrap();
            assert!(status == 200 && body.contains("\"rows\":10"), "{body}");
        }
        // Each of the nine batches once; what is kept waits for nobody.
        let (_, _, body) = ask(&f.app, "GET", &path(1), "").await;
        assert!(serde_json::from_str::<Value>(&body).unwrap()["rows_read"].as_u64().unwrap() <= 9, "{body}");
        let (status, _, body) = ask(&f.app, "GET", &path(30), "").await;
        assert!(status == 503 && body.contains("damaged_store"), "{status} {body}");
        assert_eq!(ask(&f.app, "GET", &path(31), "").await.0, 404);
        assert_eq!(f.app.batch_answers.queue.available_permits(), 1 + WAITING_MOST, "a fault gives its place back");
    }
}
