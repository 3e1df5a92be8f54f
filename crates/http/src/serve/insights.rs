//! What is found of a version by asking it: on first demand, one version at a time, in the background. Nobody waits for it: a demand
//! is told where it stands.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Response, StatusCode};
use millstream_model::train::{Explainer, Unexplained};
use millstream_untrusted::insights::Insights;
use serde_json::{Map, Value, json};

use super::app::App;
use super::error::ApiError;
use super::predict::{find_version, reading, store_is_away, version_name};
use super::reply;

/// Versions that wait behind the one at work: each takes seconds.
const WAITING_MOST: usize = 16;
/// Found ones in memory, the last asked for last: a store that can only be read keeps none. The largest have about 300 KB.
const FOUND_MOST: usize = 64;
const FAILED_MOST: usize = 64;
/// What failed is not tried again before.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// A model and a version.
type Key = (String, u32);

/// Where a version stands.
#[derive(Debug, Clone)]
pub enum Insight {
    /// It waits, or is at work.
    Computing,
    Failed(Unexplained),
    Ready(Arc<Insights>),
}

#[derive(Default)]
pub struct Explaining {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    at_work: Option<Key>,
    waiting: VecDeque<Key>,
    found: VecDeque<(Key, Arc<Insights>)>,
    failed: BTreeMap<Key, (Unexplained, Instant)>,
}

impl Queue {
    /// `None`: it must be demanded.
    fn stands(&mut self, key: &Key) -> Option<Insight> {
        if let Some(place) = self.found.iter().position(|(found, _)| found == key) {
            let found = self.found.remove(place)?;
            let insights = Arc::clone(&found.1);
            self.found.push_back(found);
            return Some(Insight::Ready(insights));
        }
        if self.at_work.as_ref() == Some(key) || self.waiting.contains(key) {
            return Some(Insight::Computing);
        }
        let (why, at) = self.failed.get(key)?;
        (at.elapsed() < AGAIN_AFTER).then(|| Insight::Failed(why.clone()))
    }

    fn keep(&mut self, key: Key, insights: Insights) -> Arc<Insights> {
        let insights = Arc::new(insights);
        self.failed.remove(&key);
        self.found.retain(|(found, _)| *found != key);
        self.found.push_back((key, Arc::clone(&insights)));
        if self.found.len() > FOUND_MOST {
            self.found.pop_front();
        }
        insights
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
    fn demand(self: &Arc<Self>, explainer: &Arc<Explainer>, key: Key) -> Result<Insight, ApiError> {
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
            let (explaining, explainer) = (Arc::clone(self), Arc::clone(explainer));
            let thread = std::thread::Builder::new().name("insights".to_owned());
            if let Err(error) = thread.spawn(move || explaining.work(&explainer)) {
                tracing::warn!(%error, "no thread for what is asked of versions");
                queue.at_work = None;
                return Err(ApiError::busy("other work takes all threads"));
            }
        }
        Ok(Insight::Computing)
    }

    /// Until nobody waits. Brought to its end also where whoever asked has gone.
    fn work(&self, explainer: &Explainer) {
        loop {
            let Some((model, version)) = self.queue().at_work.clone() else { return };
            let found = catch_unwind(AssertUnwindSafe(|| explainer.find(&model, version)));
            let found = found.unwrap_or_else(|_| {
                tracing::error!("what was asked of {model}@{version} panicked");
                Err(Unexplained("the server failed to compute it: its log says why".to_owned()))
            });
            let mut queue = self.queue();
            match found {
                Ok(insights) => drop(queue.keep((model, version), insights)),
                Err(why) => queue.fail((model, version), why),
            }
            queue.at_work = queue.waiting.pop_front();
        }
    }
}

/// Where the version stands; it is demanded where it must be. `version`: a number or an alias.
pub async fn insight(app: &App, model: &str, version: u32) -> Result<Insight, ApiError> {
    let key = (model.to_owned(), version);
    if let Some(stands) = app.explaining.queue().stands(&key) {
        return Ok(stands);
    }
    let (explainer, name) = (Arc::clone(&app.context.explainer), model.to_owned());
    let kept = reading(move || explainer.kept(&name, version).map_err(|error| store_is_away(&error))).await?;
    match kept {
        Some(insights) => Ok(Insight::Ready(app.explaining.queue().keep(key, insights))),
        None => app.explaining.demand(&app.context.explainer, key),
    }
}

pub async fn answer(app: &App, model: &str, version: &str) -> Result<Response<Body>, ApiError> {
    let version = find_version(app, model, Some(version)).await?;
    let insight = insight(app, model, version.file.version).await?;
    let status = match &insight {
        Insight::Computing => StatusCode::ACCEPTED,
        Insight::Failed(_) | Insight::Ready(_) => StatusCode::OK,
    };
    let mut told = Map::new();
    told.insert("model".to_owned(), model.into());
    told.insert("version".to_owned(), version.file.version.into());
    match insight {
        Insight::Computing => drop(told.insert("status".to_owned(), "computing".into())),
        Insight::Failed(Unexplained(reason)) => {
            told.insert("status".to_owned(), "failed".into());
            told.insert("reason".to_owned(), reason.into());
        }
        Insight::Ready(insights) => {
            told.insert("status".to_owned(), "ready".into());
            if let Value::Object(found) = json!(*insights) {
                told.extend(found.into_iter().filter(|(name, _)| name != "format"));
            }
        }
    }
    Ok(reply::with_versions(reply::json(status, &Value::Object(told)), &version_name(&version.file)))
}
