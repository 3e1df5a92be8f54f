//! What is found of a version by asking it (`insights` here, `drift` beside): on first demand, one thing at a time, in the background.
//! Nobody waits for it: a demand is told where it stands.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Response, StatusCode};
use millstream_model::registry::Version;
use millstream_model::train::{BatchDrift, Reference, Unexplained};
use millstream_untrusted::insights::Insights;
use serde_json::{Map, Value, json};

use super::app::App;
use super::error::ApiError;
use super::predict::{find_version, reading, store_is_away, version_name};
use super::reply;

/// Versions that wait behind the one at work: each takes seconds.
const WAITING_MOST: usize = 16;
/// Found ones in memory, the last asked for last: a store that can only be read keeps none. The largest of ours have about 300 KB, and none is
/// read that has more than 1 MiB.
const FOUND_MOST: usize = 64;
/// Of their JSON, unless one alone has more.
const FOUND_BYTES_MOST: usize = 16 << 20;
const FAILED_MOST: usize = 64;
/// What failed is not tried again before.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// A model, a version, and what is asked of it.
pub type Key = (String, u32, Question);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    Insights,
    /// Of a batch.
    Drift(u32, Reference),
}

#[derive(Debug, Clone)]
pub enum Finding {
    Insights(Arc<Insights>),
    Drift(Arc<BatchDrift>),
}

impl Finding {
    /// About what it takes.
    fn bytes(&self) -> usize {
        let json = match self {
            Self::Insights(insights) => serde_json::to_vec(&**insights),
            Self::Drift(drift) => serde_json::to_vec(&**drift),
        };
        json.map_or(0, |json| json.len())
    }
}

/// Takes as long as it takes.
pub type Find = dyn Fn(&Key) -> Result<Finding, Unexplained> + Send + Sync;

/// Where a version stands.
#[derive(Debug, Clone)]
pub enum Insight {
    /// It waits, or is at work.
    Computing,
    Failed(Unexplained),
    Ready(Finding),
}

#[derive(Default)]
pub struct Explaining {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    at_work: Option<Key>,
    waiting: VecDeque<Key>,
    /// Each with its bytes.
    found: VecDeque<(Key, Finding, usize)>,
    failed: BTreeMap<Key, (Unexplained, Instant)>,
}

impl Queue {
    /// `None`: it must be demanded.
    fn stands(&mut self, key: &Key) -> Option<Insight> {
        if let Some(place) = self.found.iter().position(|(found, ..)| found == key) {
            let found = self.found.remove(place)?;
            let finding = found.1.clone();
            self.found.push_back(found);
            return Some(Insight::Ready(finding));
        }
        if self.at_work.as_ref() == Some(key) || self.waiting.contains(key) {
            return Some(Insight::Computing);
        }
        let (why, at) = self.failed.get(key)?;
        (at.elapsed() < AGAIN_AFTER).then(|| Insight::Failed(why.clone()))
    }

    fn keep(&mut self, key: Key, finding: Finding) {
        self.failed.remove(&key);
        self.found.retain(|(found, ..)| *found != key);
        let bytes = finding.bytes();
        self.found.push_back((key, finding, bytes));
        let mut bytes: usize = self.found.iter().map(|(.., bytes)| bytes).sum();
        while self.found.len() > FOUND_MOST || (self.found.len() > 1 && bytes > FOUND_BYTES_MOST) {
            let Some((.., freed)) = self.found.pop_front() else { break };
            bytes = bytes.saturating_sub(freed);
        }
    }

    fn fail(&mut self, key: Key, why: Unexplained) {
        self.failed.retain(|_, (_, at)| at.elapsed() < AGAIN_AFTER);
        while self.failed.len() >= FAILED_MOST {
            self.failed.pop_first();
        }
        self.failed.insert(key, (why, Instant::now()));
    }
}

impl Explaining {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts it into the queue, and begins to work where nobody does.
    pub fn demand(self: &Arc<Self>, find: Arc<Find>, key: Key) -> Result<Insight, ApiError> {
        let mut queue = self.queue();
        if let Some(stands) = queue.stands(&key) {
            return Ok(stands);
        }
        if queue.waiting.len() >= WAITING_MOST {
            let message = format!("{WAITING_MOST} versions wait to be looked at already; ask again in a moment");
            return Err(ApiError::too_many("too_many_insights", message));
        }
        queue.waiting.push_back(key);
        if queue.at_work.is_none() {
            queue.at_work = queue.waiting.pop_front();
            let explaining = Arc::clone(self);
            let thread = std::thread::Builder::new().name("insights".to_owned());
            if let Err(error) = thread.spawn(move || explaining.work(&*find)) {
                tracing::warn!(%error, "no thread for what is asked of versions");
                queue.at_work = None;
                return Err(ApiError::busy("other work takes all threads"));
            }
        }
        Ok(Insight::Computing)
    }

    /// Of each model the newest batch that was compared, of the newest version: its largest stability index above what chance alone gives, or 0.
    pub fn newest_drift(&self) -> BTreeMap<String, f64> {
        let queue = self.queue();
        let mut newest: BTreeMap<&str, (u32, u32, f64)> = BTreeMap::new();
        for ((model, version, _), finding, _) in &queue.found {
            let Finding::Drift(drift) = finding else { continue };
            let indices = drift.columns.iter().map(|column| (column.psi, column.chance));
            let Some(psi) = largest_above_chance(indices) else { continue };
            let known = newest.entry(model).or_insert((0, 0, psi));
            if (known.0, known.1) <= (*version, drift.batch) {
                *known = (*version, drift.batch, psi);
            }
        }
        newest.into_iter().map(|(model, (.., psi))| (model.to_owned(), psi)).collect()
    }

    /// Until nobody waits. Brought to its end also where whoever asked has gone.
    fn work(&self, find: &Find) {
        loop {
            let Some(key) = self.queue().at_work.clone() else { return };
            let found = catch_unwind(AssertUnwindSafe(|| find(&key)));
            let found = found.unwrap_or_else(|_| {
                tracing::error!("what was asked of {}@{} panicked", key.0, key.1);
                Err(Unexplained("the server failed to compute it: its log says why".to_owned()))
            });
            let mut queue = self.queue();
            match found {
                Ok(finding) => queue.keep(key, finding),
                Err(why) => queue.fail(key, why),
            }
            queue.at_work = queue.waiting.pop_front();
        }
    }
}

/// Of stability indices, each with what chance alone gives; 0 where none is above that. `None`: there is none.
fn largest_above_chance(indices: impl Iterator<Item = (Option<f64>, Option<f64>)>) -> Option<f64> {
    let known = indices.filter_map(|(psi, chance)| Some((psi?, chance)));
    known.map(|(psi, chance)| if chance.is_some_and(|chance| psi > chance) { psi } else { 0.0 }).reduce(f64::max)
}

/// Whatever is asked, by whoever has it.
pub fn finder(app: &App) -> Arc<Find> {
    let explainer = Arc::clone(&app.context.explainer);
    Arc::new(move |(model, version, question): &Key| match question {
        Question::Insights => explainer.find(model, *version).map(|found| Finding::Insights(Arc::new(found))),
        Question::Drift(batch, reference) => {
            explainer.drift(model, *version, *batch, *reference).map(|found| Finding::Drift(Arc::new(found)))
        }
    })
}

/// Where the version stands; it is demanded where it must be.
async fn insight(app: &App, model: &str, version: u32) -> Result<Insight, ApiError> {
    let key = (model.to_owned(), version, Question::Insights);
    if let Some(stands) = app.explaining.queue().stands(&key) {
        return Ok(stands);
    }
    let (explainer, name) = (Arc::clone(&app.context.explainer), model.to_owned());
    let kept = reading(move || explainer.kept(&name, version).map_err(|error| store_is_away(&error))).await?;
    match kept {
        Some(insights) => {
            let finding = Finding::Insights(Arc::new(insights));
            app.explaining.queue().keep(key, finding.clone());
            Ok(Insight::Ready(finding))
        }
        None => app.explaining.demand(finder(app), key),
    }
}

/// `version`: a number or an alias.
pub async fn answer(app: &App, model: &str, version: &str) -> Result<Response<Body>, ApiError> {
    let version = find_version(app, model, Some(version)).await?;
    let insight = insight(app, model, version.file.version).await?;
    Ok(told(&version, insight))
}

/// 202 while it is computed.
pub fn told(version: &Version, insight: Insight) -> Response<Body> {
    let status = match &insight {
        Insight::Computing => StatusCode::ACCEPTED,
        Insight::Failed(_) | Insight::Ready(_) => StatusCode::OK,
    };
    let mut told = Map::new();
    told.insert("model".to_owned(), version.file.model.clone().into());
    told.insert("version".to_owned(), version.file.version.into());
    match insight {
        Insight::Computing => drop(told.insert("status".to_owned(), "computing".into())),
        Insight::Failed(Unexplained(reason)) => {
            told.insert("status".to_owned(), "failed".into());
            told.insert("reason".to_owned(), reason.into());
        }
        Insight::Ready(finding) => {
            told.insert("status".to_owned(), "ready".into());
            let found = match finding {
                Finding::Insights(insights) => json!(*insights),
                Finding::Drift(drift) => json!(*drift),
            };
            if let Value::Object(found) = found {
                told.extend(found.into_iter().filter(|(name, _)| name != "format"));
            }
        }
    }
    reply::with_versions(reply::json(status, &Value::Object(told)), &version_name(&version.file))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use millstream_untrusted::insights::Findings;

    use super::super::fixture::fixture_of_stream;
    use super::super::tests::ask;
    use super::*;

    fn nothing() -> Finding {
        let findings = Findings::Popularity;
        Finding::Insights(Arc::new(Insights { format: 1, rows: 0, of: 0, notes: Vec::new(), findings }))
    }

    fn key(version: u32) -> Key {
        ("close".to_owned(), version, Question::Insights)
    }

    fn until(is_so: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < end, "never");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn one_is_found_at_a_time_and_once_for_all_who_demand_it_and_few_wait() {
        let (let_go, go) = mpsc::channel::<()>();
        let go = Mutex::new(go);
        let (begun, at_once) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let find: Arc<Find> = Arc::new({
            let (begun, at_once) = (Arc::clone(&begun), Arc::clone(&at_once));
            move |_: &Key| {
                assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0);
                begun.fetch_add(1, Ordering::SeqCst);
                go.lock().unwrap().recv().unwrap();
                at_once.fetch_sub(1, Ordering::SeqCst);
                Ok(nothing())
            }
        });
        let explaining: Arc<Explaining> = Arc::default();
        let demand = |version| explaining.demand(Arc::clone(&find), key(version));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert!(matches!(demand(1), Ok(Insight::Computing))));
            }
        });
        for version in 2..=17 {
            assert!(matches!(demand(version), Ok(Insight::Computing)));
        }
        let refused = demand(18).unwrap_err();
        assert_eq!((refused.status, refused.code), (StatusCode::TOO_MANY_REQUESTS, "too_many_insights"));
        assert!(matches!(demand(17), Ok(Insight::Computing)), "one that waits is not refused");
        until(|| begun.load(Ordering::SeqCst) == 1);
        (1..=17).for_each(|_| let_go.send(()).unwrap());
        until(|| explaining.queue().at_work.is_none());
        assert_eq!(begun.load(Ordering::SeqCst), 17);
        assert!((1..=17).all(|version| matches!(demand(version), Ok(Insight::Ready(_)))));
        assert_eq!(begun.load(Ordering::SeqCst), 17);
    }

    #[test]
    fn what_failed_or_panicked_is_told_and_tried_again_after_a_while() {
        let explaining: Arc<Explaining> = Arc::default();
        let find: Arc<Find> = Arc::new(|key: &Key| match key.1 {
            1 => Err(Unexplained("the store is away".to_owned())),
            _ => panic!("as a fault of ours"),
        });
        for (version, said) in [(1, "the store is away"), (2, "the server failed")] {
            assert!(matches!(explaining.demand(Arc::clone(&find), key(version)), Ok(Insight::Computing)));
            until(|| explaining.queue().at_work.is_none());
            let Ok(Insight::Failed(Unexplained(why))) = explaining.demand(Arc::clone(&find), key(version)) else {
                panic!("version {version} did not fail")
            };
            assert!(why.starts_with(said), "{why}");
        }
        let long_ago = Instant::now().checked_sub(AGAIN_AFTER).unwrap();
        explaining.queue().failed.get_mut(&key(1)).unwrap().1 = long_ago;
        assert!(matches!(explaining.demand(find, key(1)), Ok(Insight::Computing)));
    }

    #[test]
    fn what_chance_gives_is_no_drift() {
        let largest = |indices: &[(Option<f64>, Option<f64>)]| largest_above_chance(indices.iter().copied());
        let (by_chance, drifted) = ((Some(0.9), Some(1.5)), (Some(0.3), Some(0.01)));
        assert_eq!(largest(&[by_chance, (None, None), drifted, (Some(0.2), Some(0.01))]), Some(0.3));
        assert_eq!(largest(&[by_chance, (Some(0.5), None)]), Some(0.0));
        assert_eq!(largest(&[(None, None)]), None);
    }

    #[test]
    fn what_is_in_memory_has_a_bound_and_the_last_asked_for_stay() {
        let mut queue = Queue::default();
        for version in 0..=64 {
            queue.keep(key(version), nothing());
            assert!(queue.stands(&key(1)).is_some() || version == 0);
        }
        assert!(queue.stands(&key(0)).is_none() && queue.stands(&key(1)).is_some());
        let large = || {
            let notes = vec!["x".repeat(1 << 20)];
            Finding::Insights(Arc::new(Insights { format: 1, rows: 0, of: 0, notes, findings: Findings::Popularity }))
        };
        (100..200).for_each(|version| queue.keep(key(version), large()));
        assert!((10..17).contains(&queue.found.len()), "{}", queue.found.len());
        assert!(queue.stands(&key(199)).is_some() && queue.stands(&key(100)).is_none());
        let huge =
            Insights { format: 1, rows: 0, of: 0, notes: vec!["x".repeat(20 << 20)], findings: Findings::Popularity };
        queue.keep(key(200), Finding::Insights(Arc::new(huge)));
        assert!(queue.found.len() == 1 && queue.stands(&key(200)).is_some());
        (0..=64).for_each(|version| queue.keep(key(version), nothing()));
        (0..=64).for_each(|version| queue.fail(key(version), Unexplained(String::new())));
        assert_eq!((queue.found.len(), queue.failed.len()), (FOUND_MOST, FAILED_MOST));
    }

    #[tokio::test]
    async fn a_version_whose_batches_are_not_there_says_so() {
        let fixture = fixture_of_stream(Vec::new(), &["Timestamp"]);
        let app = &fixture.app;
        let path = "/v1/models/close/versions/champion/insights";
        assert_eq!(ask(app, "GET", path, "").await.0, 202);
        until(|| app.explaining.queue().at_work.is_none());
        let (status, _, body) = ask(app, "GET", path, "").await;
        let told: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &told["status"], &told["version"]), (200, &json!("failed"), &json!(2)));
        assert!(told["reason"].as_str().unwrap().contains("cannot be read"), "{told}");
        assert_eq!(ask(app, "GET", "/v1/models/close/versions/9/insights", "").await.0, 404);
    }
}
