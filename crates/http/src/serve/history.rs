//! The last ten minutes, a point a second, whatever is looked at: `/v1/status/history`.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use millstream_base::status::now_ms;
use millstream_stream::batch::{Batch, Completeness};
use serde::Serialize;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::app::App;
use super::metrics::Totals;
use super::{reply, stopped};

const EVERY_MS: u64 = 1000;
/// Ten minutes: 600 × 72 bytes.
const POINTS_MOST: usize = 600;

#[derive(Default)]
pub struct History(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    points: VecDeque<Point>,
    /// As of the newest point.
    requests: Totals,
    /// The rows of so many batches: the list only grows.
    committed: (usize, u64),
}

/// Counts are totals; `None`: not known here.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Point {
    time_ms: u64,
    rows_sent: u64,
    rows_read: Option<u64>,
    rows_committed: Option<u64>,
    behind: Option<u64>,
    requests: u64,
    errors: u64,
    /// The mean of the requests since the point before.
    latency_ms: Option<f64>,
}

impl History {
    /// Adds a point every second until the server stops.
    pub async fn keep(app: Arc<App>) {
        let mut tick = interval(Duration::from_millis(EVERY_MS));
        // After a standstill no points are made up.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = app.stopping.clone();
        loop {
            tokio::select! {
                () = stopped(&mut stopping) => return,
                // A fault of ours costs a point, and is told.
                _ = tick.tick() => if catch_unwind(AssertUnwindSafe(|| app.history.add(&app))).is_err() {
                    tracing::error!("a second is missing in the history of this server: please report it");
                },
            }
        }
    }

    fn add(&self, app: &App) {
        let requests = app.metrics.totals();
        let batches = app.context.batches.snapshot();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, rows) = kept.committed;
        let new: u64 = batches.batches.iter().skip(known).map(Batch::rows).sum();
        kept.committed = (batches.batches.len().max(known), rows + new);
        let rows_committed = (batches.completeness != Completeness::Unread).then_some(kept.committed.1);
        let of_second = requests.count.saturating_sub(kept.requests.count);
        let seconds = requests.seconds - kept.requests.seconds;
        let latency_ms = (of_second > 0).then(|| (seconds * 1e3 / of_second as f64).max(0.0));
        kept.requests = requests;
        let point = app.context.status.look(|snapshot| Point {
            time_ms: now_ms(),
            rows_sent: snapshot.source.rows_sent,
            rows_read: snapshot.batch.rows_read,
            rows_committed,
            behind: snapshot.source.records_behind,
            requests: requests.count,
            errors: requests.errors,
            latency_ms,
        });
        if kept.points.len() >= POINTS_MOST {
            kept.points.pop_front();
        }
        kept.points.push_back(point);
    }
}

/// The newest point last.
pub fn history(app: &App) -> Response<Body> {
    let points: Vec<Point> = {
        let kept = app.history.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.points.iter().copied().collect()
    };
    reply::json(StatusCode::OK, &json!({ "every_ms": EVERY_MS, "points": points }))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::fixture::fixture;
    use super::super::tests::ask;
    use super::*;

    async fn points(app: &Arc<App>) -> Vec<Value> {
        let (status, _, body) = ask(app, "GET", "/v1/status/history", "").await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &answer["every_ms"]), (200, &json!(1000)));
        answer["points"].as_array().unwrap().clone()
    }

    #[tokio::test]
    async fn a_point_tells_totals_and_the_requests_since_the_one_before() {
        let f = fixture(Vec::new());
        f.app.history.add(&f.app);
        ask(&f.app, "GET", "/v1/models", "").await;
        ask(&f.app, "GET", "/v1/modells", "").await;
        f.status.update(|snapshot| {
            snapshot.source.rows_sent = 40;
            snapshot.source.records_behind = Some(3);
            snapshot.batch.rows_read = Some(37);
        });
        f.app.history.add(&f.app);
        f.app.history.add(&f.app);
        let found = points(&f.app).await;
        // Nothing is made up: what another process reads is not known, and no request has no mean.
        let expected = json!({"rows_sent": 0, "rows_read": null, "rows_committed": 28, "behind": null,
            "requests": 0, "errors": 0, "latency_ms": null});
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&found[0][name], value, "{name}");
        }
        assert_eq!((&found[1]["rows_sent"], &found[1]["rows_read"]), (&json!(40), &json!(37)));
        assert_eq!(
            (&found[1]["behind"], &found[1]["requests"], &found[1]["errors"]),
            (&json!(3), &json!(2), &json!(1))
        );
        assert!(found[1]["latency_ms"].as_f64().unwrap() >= 0.0 && found[1]["time_ms"].as_u64().unwrap() > 0);
        assert_eq!((&found[2]["requests"], &found[2]["latency_ms"]), (&json!(2), &Value::Null));
    }

    #[tokio::test]
    async fn ten_minutes_are_kept() {
        let f = fixture(Vec::new());
        for n in 0..POINTS_MOST as u64 + 5 {
            f.status.update(|snapshot| snapshot.source.rows_sent = n);
            f.app.history.add(&f.app);
        }
        let found = points(&f.app).await;
        assert_eq!((found.len(), &found[0]["rows_sent"], &found[599]["rows_sent"]), (600, &json!(5), &json!(604)));
    }

    #[tokio::test]
    async fn points_come_without_anyone_looking_until_the_server_stops() {
        let (context, _models) = super::super::fixture::context(Vec::new(), Vec::new());
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let app = Arc::new(App::new(context, stopping));
        let keeping = tokio::spawn(History::keep(Arc::clone(&app)));
        tokio::time::sleep(Duration::from_millis(EVERY_MS + 500)).await;
        assert!(points(&app).await.len() > 1);
        stop.send(true).unwrap();
        keeping.await.unwrap();
    }
}
