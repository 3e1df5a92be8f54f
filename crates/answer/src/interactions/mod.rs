//! Who has taken up what, by all batches so far: what a user has seen, what is popular. Read in the background from the
//! complete batches, once for every rule that a served version was trained by, and kept in memory (24 bytes a row, 26 with groups).
//!
//! A request takes one state and keeps it. It waits, within a bound, only for batches that were there when the version was
//! first asked for, or that the version was trained on; later ones join as they come.

mod segment;
mod stored;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use millstream_model::model::RatingColumns;
use millstream_model::registry::{Holdout, ModelFile, Registry, Task};
use millstream_stream::batch::Batch;
use millstream_stream::schema::ColumnType;
pub use segment::Entry;
pub use stored::StoredRows;
use table::Table;
pub use table::{Popularity, Read, Shown};

/// Longer than a batch of a million rows takes; a client that waits longer has given up.
const WAIT_MOST: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 10_000 });
/// New batches are looked for so often.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// How rows are read: all of it stands in `model.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub columns: RatingColumns,
    pub user_kind: ColumnType,
    pub item_kind: ColumnType,
    pub filter: Option<String>,
    pub holdout: Holdout,
}

impl Rule {
    /// `None`: the version reads no ratings.
    pub fn of(file: &ModelFile) -> Option<Self> {
        let Task::Recommendation(task) = &file.task else { return None };
        Some(Self {
            // Ratings outside the scale are shown too; what is popular goes by the others.
            columns: RatingColumns { relevant: None, ..task.into() },
            user_kind: task.user.kind,
            item_kind: task.item.kind,
            filter: file.filter.clone(),
            holdout: file.holdout,
        })
    }

    /// Equal for equal rules.
    fn key(&self) -> String {
        format!("{:?}", (&self.columns, self.user_kind, self.item_kind, &self.filter, self.holdout))
    }
}

/// Where rows come from.
pub trait Source: Send + Sync {
    /// Complete batches, oldest first.
    fn batches(&self) -> Result<Arc<[Batch]>, String>;

    /// Calls `visit` with every row that names a user and an item, in the order of the stream.
    fn read(&self, rule: &Rule, batch: &Batch, visit: &mut dyn FnMut(&Read)) -> Result<(), String>;
}

/// Why there is no answer yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotLoaded {
    #[error("what users have seen is still being read: {loaded} of {due} batches so far")]
    Reading { loaded: u32, due: u32 },
    #[error("what users have seen cannot be read: {0}")]
    Fault(String),
}

pub struct Interactions {
    source: Box<dyn Source>,
    slots: RwLock<BTreeMap<String, Arc<Slot>>>,
    /// One reader at a time.
    tables: Mutex<BTreeMap<String, Table>>,
    /// Whether someone waits.
    asked: Mutex<bool>,
    ask: Condvar,
}

/// What is shown of one rule.
struct Slot {
    rule: Rule,
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    shown: Option<Arc<Shown>>,
    /// Batches that were complete when the rule was first asked for; `None`: not looked yet.
    due: Option<u32>,
    fault: Option<String>,
}

impl State {
    fn loaded(&self) -> u32 {
        self.shown.as_ref().map_or(0, |shown| shown.batches)
    }

    fn answer(&self, newest_batch: u32) -> Option<Result<Arc<Shown>, NotLoaded>> {
        let ready = |due: u32| self.shown.clone().filter(|shown| shown.batches >= due.max(newest_batch));
        match (self.due.and_then(ready), &self.fault) {
            (Some(shown), _) => Some(Ok(shown)),
            (None, Some(fault)) => Some(Err(NotLoaded::Fault(fault.clone()))),
            (None, None) => None,
        }
    }
}

impl Interactions {
    pub fn new(source: impl Source + 'static) -> Self {
        Self {
            source: Box::new(source),
            slots: RwLock::default(),
            tables: Mutex::default(),
            asked: Mutex::new(false),
            ask: Condvar::new(),
        }
    }

    /// The state for a version that was trained on batches up to `newest_batch`. Waits for it, a bounded time.
    pub async fn shown(&self, rule: &Rule, newest_batch: u32) -> Result<Arc<Shown>, NotLoaded> {
        let (_, mut state) = self.slot(rule);
        if let Some(answer) = state.borrow().answer(newest_batch) {
            return answer;
        }
        self.wake();
        let ready = state.wait_for(|state| state.answer(newest_batch).is_some());
        let waited = tokio::time::timeout(WAIT_MOST, ready).await;
        if let Ok(Ok(state)) = &waited
            && let Some(answer) = state.answer(newest_batch)
        {
            return answer;
        }
        drop(waited);
        let state = state.borrow();
        Err(NotLoaded::Reading { loaded: state.loaded(), due: state.due.unwrap_or(0).max(newest_batch) })
    }

    /// Whether batches that were there when a rule came are still to be read for it.
    pub fn is_loading(&self) -> bool {
        let is_loading = |slot: &Arc<Slot>| slot.state.borrow().answer(0).is_none();
        self.slots.read().unwrap_or_else(PoisonError::into_inner).values().any(is_loading)
    }

    /// Also a receiver of its state: while one is there the slot stays.
    fn slot(&self, rule: &Rule) -> (Arc<Slot>, watch::Receiver<State>) {
        let key = rule.key();
        // Subscribed to under the lock, or the slot could be let go before.
        let held = |slot: &Arc<Slot>| (Arc::clone(slot), slot.state.subscribe());
        if let Some(slot) = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return held(slot);
        }
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Slot { rule: rule.clone(), state: watch::Sender::new(State::default()) });
        held(slots.entry(key).or_insert_with(new))
    }

    fn wake(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ask.notify_all();
    }

    /// Reads what is new for the rules of the versions that are served, until told to stop.
    pub fn keep_up(&self, registry: &Registry, stopped: impl Fn() -> bool) {
        while !stopped() {
            self.refresh_for(registry);
            let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self.ask.wait_timeout_while(asked, LOOK_PAUSE, |asked| !*asked);
            let (mut asked, _) = waited.unwrap_or_else(PoisonError::into_inner);
            *asked = false;
        }
    }

    /// Reads what is new for the versions that are served.
    pub fn refresh_for(&self, registry: &Registry) {
        self.refresh(&rules(registry));
    }

    /// Reads what is new; a rule that no one needs any more is let go.
    pub fn refresh(&self, rules: &[Rule]) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let keys: Vec<String> = rules.iter().map(Rule::key).collect();
        tables.retain(|key, _| keys.contains(key));
        // A rule that is waited for is one of a version that came a moment ago.
        let is_needed = |key: &String, slot: &mut Arc<Slot>| keys.contains(key) || slot.state.receiver_count() > 0;
        self.slots.write().unwrap_or_else(PoisonError::into_inner).retain(is_needed);
        if rules.is_empty() {
            return;
        }
        let batches = self.source.batches();
        for (key, rule) in keys.into_iter().zip(rules) {
            let (slot, _) = self.slot(rule);
            let table = tables.entry(key).or_insert_with(|| Table::new(rule));
            let read = batches.as_ref().map_err(String::clone).and_then(|batches| self.read(&slot, table, batches));
            let fault = read.err();
            slot.state.send_if_modified(|state| {
                let changed = state.fault != fault;
                if let Some(fault) = fault.as_ref().filter(|_| changed) {
                    tracing::warn!(fault, "what users have seen cannot be read");
                }
                state.fault = fault;
                changed
            });
        }
    }

    /// Batch by batch: each is shown once it is read.
    fn read(&self, slot: &Slot, table: &mut Table, batches: &[Batch]) -> Result<(), String> {
        let due = batches.last().map_or(0, Batch::number);
        slot.state.send_modify(|state| {
            state.due.get_or_insert(due);
            // Nothing is there to be read, or all is read and only the slot is new.
            if state.shown.is_none() && due <= table.batches() {
                state.shown = Some(Arc::new(table.shown()));
            }
        });
        // What the table has, not what is shown: a slot that is waited for outlives its table.
        let loaded = table.batches();
        for batch in batches.iter().filter(|batch| batch.number() > loaded) {
            table.begin();
            self.source.read(&slot.rule, batch, &mut |row| table.add(batch.number(), row))?;
            let shown = Arc::new(table.end(batch.number()));
            slot.state.send_if_modified(|state| {
                let is_more = state.shown.is_none() || shown.batches > state.loaded();
                if is_more {
                    state.shown = Some(shown);
                }
                is_more
            });
        }
        Ok(())
    }
}

/// Of every version that is in memory, each once.
fn rules(registry: &Registry) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for rule in registry.in_memory().iter().filter_map(|version| Rule::of(&version.file)) {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}
