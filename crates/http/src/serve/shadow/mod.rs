//! Answers of a version that are never sent: computed when the real answer is made, one after another and from a queue with an end, and
//! compared with it. Whatever becomes of one, the request it is of knows nothing of it.

mod agreement;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::http::{Response, StatusCode};
use millstream_base::status::now_ms;
use millstream_model::model::{Action, Ambiguous};
use millstream_model::registry::{Prediction, Row, Version};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::app::App;
use super::error::ApiError;
use super::exchange::Responder;
use super::predict::{find_in, main_version, reading};
use super::recommend::{self, Given, Told};
use super::template::{weight, weight_of_row};
use super::{reply, stopped};
pub use agreement::AgreementSums;
use agreement::{Agreement, Comparable};

/// Waiting tasks; more are dropped.
const QUEUE_MOST: usize = 64;
/// Of one task's rows or arguments: all that wait take 4 MiB.
const TASK_BYTES: usize = 64 << 10;
/// Of a request; the rest is not computed again.
const ROWS_MOST: usize = 1000;
/// Of a model: the pairs of versions that were compared last.
const PAIRS_MOST: usize = 8;

/// What a shadow is to compute, and what was answered.
pub struct ShadowTask {
    /// The number of the version that answered.
    answered: u32,
    version: Arc<Version>,
    work: ShadowWork,
}

enum ShadowWork {
    Rows(Vec<Row>, Vec<Comparable>),
    Action((Action, Vec<Told>, Ambiguous), Comparable),
    #[cfg(test)]
    Test(Box<dyn FnOnce() + Send>),
}

impl ShadowTask {
    pub fn of_rows(answered: u32, shadow: &Arc<Version>, rows: &[Row], predictions: &[Prediction]) -> Self {
        let mut room = TASK_BYTES;
        let fits = |row: &&Row| room.checked_sub(weight_of_row(row)).map(|left| room = left).is_some();
        let rows: Vec<Row> = rows.iter().take(ROWS_MOST).take_while(fits).cloned().collect();
        let answers = predictions.iter().take(rows.len()).map(of_prediction).collect();
        Self { answered, version: Arc::clone(shadow), work: ShadowWork::Rows(rows, answers) }
    }

    pub fn of_action(
        answered: u32,
        shadow: &Arc<Version>,
        asked: (Action, Vec<Told>, Ambiguous),
        answer: &recommend::Answer,
    ) -> Self {
        let work = ShadowWork::Action(asked, of_answer(answer));
        Self { answered, version: Arc::clone(shadow), work }
    }

    /// What is longer is not computed again.
    pub fn has_room_for(told: &[Told]) -> bool {
        let bytes = |given: &Given| match given {
            Given::Text(text) => text.len(),
            Given::Json(value) => weight(value),
        };
        told.iter().map(|(.., given)| bytes(given)).sum::<usize>() <= TASK_BYTES
    }

    pub fn model(&self) -> &str {
        &self.version.file.model
    }

    /// `None`: it failed.
    async fn compute(self, app: Arc<App>) -> Option<Vec<(Comparable, Comparable)>> {
        let version = self.version;
        match self.work {
            ShadowWork::Rows(rows, answers) => {
                let found = reading(move || Ok(version.predict(&rows))).await.ok()?.ok()?;
                Some(answers.into_iter().zip(found.iter().map(of_prediction)).collect())
            }
            ShadowWork::Action((action, told, ambiguous), answer) => {
                let (found, _) = recommend::ask(&app, Responder::alone(version), action, told, ambiguous).await.ok()?;
                Some(vec![(answer, of_answer(&found))])
            }
            #[cfg(test)]
            ShadowWork::Test(run) => {
                run();
                Some(Vec::new())
            }
        }
    }
}

/// The number of a cluster says nothing beside that of another version: how far the row is from its centre does.
fn of_prediction(prediction: &Prediction) -> Comparable {
    match (&prediction.cluster, &prediction.probability, prediction.value.as_f64()) {
        (Some(assigned), ..) => Comparable::Number(assigned.distance),
        (None, Some(_), _) => Comparable::Class(prediction.value.clone()),
        (None, None, Some(number)) => Comparable::Number(number),
        (None, None, None) => Comparable::Nothing,
    }
}

fn of_answer(answer: &recommend::Answer) -> Comparable {
    let ids = |items: &[Row]| items.iter().map(|item| item.get("id").map(Value::to_string)).collect::<Option<_>>();
    match &answer.list {
        Some(list) => ids(&list.items).map_or(Comparable::Nothing, Comparable::Items),
        None => {
            let number = answer.head.get("prediction").and_then(Value::as_f64);
            number.map_or(Comparable::Nothing, Comparable::Number)
        }
    }
}

#[derive(Default)]
pub struct Shadows {
    queue: Mutex<VecDeque<ShadowTask>>,
    came: Notify,
    models: Mutex<BTreeMap<String, OfShadow>>,
}

/// What became of a model's shadow since the process began.
#[derive(Debug, Clone, Default)]
struct OfShadow {
    all: ShadowCounts,
    /// The queue was full.
    dropped: u64,
    /// The last that were begun at the end.
    pairs: Vec<ShadowPair>,
}

/// The same for counters.
#[derive(Debug, Clone, Copy, Default)]
pub struct ShadowSums {
    pub compared: u64,
    pub failed: u64,
    pub dropped: u64,
    pub agreement: AgreementSums,
}

#[derive(Debug, Clone, Default)]
struct ShadowCounts {
    compared: u64,
    failed: u64,
    agreement: Agreement,
}

/// Two versions: the one that answered, and the one whose answers were not sent.
#[derive(Debug, Clone)]
struct ShadowPair {
    versions: (u32, u32),
    since_ms: u64,
    counts: ShadowCounts,
}

impl ShadowCounts {
    /// `None`: it failed.
    fn add(&mut self, found: Option<&[(Comparable, Comparable)]>) {
        let Some(found) = found else {
            self.failed += 1;
            return;
        };
        self.compared += 1;
        found.iter().for_each(|(answered, shadow)| self.agreement.add(answered, shadow));
    }

    fn to_json(&self) -> Value {
        let mut shown = self.agreement.to_json();
        shown["compared"] = self.compared.into();
        shown["failed"] = self.failed.into();
        shown
    }
}

impl Shadows {
    /// Takes what there is room for.
    pub fn take(&self, tasks: Vec<ShadowTask>) {
        for task in tasks {
            let mut queue = lock(&self.queue);
            if queue.len() < QUEUE_MOST {
                queue.push_back(task);
                self.came.notify_one();
            } else {
                drop(queue);
                lock(&self.models).entry(task.model().to_owned()).or_default().dropped += 1;
            }
        }
    }

    /// By model.
    pub fn sums(&self) -> BTreeMap<String, ShadowSums> {
        let sums = |OfShadow { all, dropped, .. }: &OfShadow| ShadowSums {
            compared: all.compared,
            failed: all.failed,
            dropped: *dropped,
            agreement: all.agreement.sums(),
        };
        lock(&self.models).iter().map(|(model, of)| (model.clone(), sums(of))).collect()
    }

    pub fn waiting(&self) -> usize {
        lock(&self.queue).len()
    }

    fn record(&self, model: String, versions: (u32, u32), found: Option<&[(Comparable, Comparable)]>) {
        let mut models = lock(&self.models);
        let OfShadow { all, pairs, .. } = models.entry(model).or_default();
        all.add(found);
        if let Some(pair) = pairs.iter_mut().find(|pair| pair.versions == versions) {
            pair.counts.add(found);
            return;
        }
        if pairs.len() == PAIRS_MOST {
            pairs.remove(0);
        }
        let mut counts = ShadowCounts::default();
        counts.add(found);
        pairs.push(ShadowPair { versions, since_ms: now_ms(), counts });
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Computes what comes, one after another, until the server stops.
pub async fn keep(app: Arc<App>) {
    let mut stopping = app.stopping.clone();
    loop {
        let next = lock(&app.shadows.queue).pop_front();
        let Some(task) = next else {
            tokio::select! {
                () = stopped(&mut stopping) => return,
                () = app.shadows.came.notified() => continue,
            }
        };
        if *stopping.borrow() {
            return;
        }
        let (model, versions) = (task.model().to_owned(), (task.answered, task.version.file.version));
        // A panic ends this task alone.
        let found = tokio::spawn(task.compute(Arc::clone(&app))).await;
        app.shadows.record(model, versions, found.ok().flatten().as_deref());
    }
}

/// `/v1/models/{model}/shadow`
pub fn shadow(app: &App, model: &str) -> Result<Response<Body>, ApiError> {
    // Configured, not trained yet: nothing was compared.
    if let Err(error) = find_in(app, model, main_version)
        && error.status == StatusCode::NOT_FOUND
    {
        return Err(error);
    }
    let shadow = app.context.settings.serve.traffic.get(model).and_then(|traffic| traffic.shadow.as_ref());
    let served = app.context.registry.snapshot();
    let version = shadow.and_then(|shadow| served.models.get(model)?.of_alias(&shadow.alias));
    let found = lock(&app.shadows.models).get(model).cloned().unwrap_or_default();
    let mut answer = found.all.to_json();
    answer["model"] = model.into();
    answer["alias"] = json!(shadow.map(|shadow| &shadow.alias));
    answer["share"] = json!(shadow.map(|shadow| shadow.share));
    answer["version"] = json!(version.map(|version| version.file.version));
    answer["dropped"] = found.dropped.into();
    answer["waiting"] = app.shadows.waiting().into();
    answer["comparisons"] = found.pairs.iter().rev().map(ShadowPair::to_json).collect();
    Ok(reply::json(StatusCode::OK, &answer))
}

impl ShadowPair {
    fn to_json(&self) -> Value {
        let mut shown = self.counts.to_json();
        (shown["version"], shown["shadow"]) = (self.versions.0.into(), self.versions.1.into());
        shown["since_ms"] = self.since_ms.into();
        shown
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::super::fixture::fixture;
    use super::super::tests::ask;
    use super::*;

    fn task(app: &App, run: impl FnOnce() + Send + 'static) -> ShadowTask {
        let served = app.context.registry.snapshot();
        let version = Arc::clone(served.models["close"].of_alias("latest").unwrap());
        ShadowTask { answered: 2, version, work: ShadowWork::Test(Box::new(run)) }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_shadow_that_panics_or_hangs_harms_nothing_and_what_waits_is_bounded() {
        let fixture = fixture(Vec::new());
        let app = Arc::clone(&fixture.app);
        let (let_go, gate) = mpsc::channel::<()>();
        let working = tokio::spawn(keep(Arc::clone(&app)));
        app.shadows.take(vec![task(&app, || panic!("a shadow that panics, as it should here"))]);
        app.shadows.take(vec![task(&app, move || gate.recv().unwrap())]);
        // The panic is behind it, and the one that hangs is taken.
        while app.shadows.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let too_many = 10;
        app.shadows.take((0..QUEUE_MOST + too_many).map(|_| task(&app, || {})).collect());
        assert_eq!(app.shadows.waiting(), QUEUE_MOST);
        let (status, _, body) = ask(&app, "GET", "/v1/models/close/predict?Timestamp=10", "").await;
        assert_eq!(status, 200, "{body}");
        let_go.send(()).unwrap();
        let of = || app.shadows.sums()["close"];
        while of().compared < 1 + QUEUE_MOST as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let ShadowSums { failed, dropped, .. } = of();
        assert_eq!((failed, dropped), (1, too_many as u64));
        working.abort();
    }

    #[test]
    fn of_many_rows_and_of_large_ones_a_task_keeps_the_first() {
        let fixture = fixture(Vec::new());
        let app = Arc::clone(&fixture.app);
        let served = app.context.registry.snapshot();
        let version = served.models["close"].of_alias("latest").unwrap();
        let check = |text: &str, n_rows: usize, expected: std::ops::Range<usize>| {
            let row: Row = [("Timestamp".to_owned(), Value::from(text))].into_iter().collect();
            let predictions = vec![Prediction::new(1.5.into()); n_rows];
            let task = ShadowTask::of_rows(1, version, &vec![row; n_rows], &predictions);
            let ShadowWork::Rows(rows, answers) = task.work else { panic!("rows") };
            assert!(expected.contains(&rows.len()) && answers.len() == rows.len(), "{}", rows.len());
        };
        check("1", 1, 1..2);
        check("1", 10_000, 100..ROWS_MOST);
        check(&"x".repeat(TASK_BYTES), 2, 0..1);
        let told =
            |n: usize| vec![(millstream_model::model::Argument::Title, "title".to_owned(), Given::Text("x".repeat(n)))];
        assert!(ShadowTask::has_room_for(&told(TASK_BYTES)) && !ShadowTask::has_room_for(&told(TASK_BYTES + 1)));
    }
}
