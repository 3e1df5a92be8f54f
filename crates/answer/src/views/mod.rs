//! Named SQL over the batches, the catalogue and fixed tables (`[[view]]`, `[[table]]`), and SQL that a request brings (`process`).
//!
//! A query sees the complete batches, the items and the served versions that the last look found when it is asked (what this process
//! committed is found at once); the items of a batch come a moment after it. That state is made once and kept until something new comes; answers to the same question are kept as long. All
//! of it is bounded: how long a query takes, how many rows and bytes it answers, how many run side by side, and the memory of all.

mod answers;
mod check;
mod error;
mod functions;
mod given;
pub mod keys;
mod owner;
mod process;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::catalog::{MemTable, TableProvider};
use serde_json::{Map, Value};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

pub use check::{check_files, check_views};
pub use error::{AskError, FaultKind};
pub use owner::session_of_owner;
pub use process::{ProcessCommand, ProcessLimits, QUERY_PROCESS, Question, TextRows, answer_questions};
pub use settings::{QueryLimits, TEXT_BYTES, View, ViewParameter, ViewSettings};

use crate::catalogue::{Catalogue, CatalogueRules, Lookups, empty_items, load_tables};
use crate::query::{
    CATALOGUE, ColumnCache, Extras, Limits, Parameters, Parsed, QueryError, Records, SPILL_BYTES, STACK_BYTES, Session,
    Spill, SqlFault, TABLE,
};
use answers::Answers;
use millstream_base::{ConfigFaults, Faults, error_chain};
use millstream_model::registry::{OwnerTexts, Served};
use millstream_store::{SharedStore, StoreUrl};
use millstream_stream::batch::{Batch, read_schema};
use millstream_stream::record::rows_of;
use millstream_stream::schema::{Dialect, StreamSchema};
use process::{Contents, Pool, Scratch, Snapshot};

/// Of views; whoever else asks waits for one of these to end, for a moment.
const VIEWS_AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(2);
/// Of one answer, as JSON: what a page takes, and what each place may hold at a time.
const ANSWER_BYTES_MOST: usize = 32 << 20;
/// A query that has lost its way inside one block of rows is left alone so long after its time.
const GRACE: Duration = Duration::from_millis(500);
/// Rows of a table in memory that are looked at between two looks at the clock.
const BLOCK_ROWS: usize = 8192;

/// What a query sees.
#[derive(Clone)]
pub struct Now {
    /// The complete ones, oldest first; or why they cannot be read, for queries that ask for them.
    pub batches: Result<Arc<[Batch]>, String>,
    pub catalogue: Option<Arc<Catalogue>>,
    pub served: Arc<Served>,
}

/// A question of a view.
pub struct Asked {
    pub sql: String,
    pub parameters: Parameters,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Map<String, Value>>,
    /// There were more than the limit.
    pub is_cut: bool,
    /// Of the models that were asked for it: `model@version`.
    pub versions: Vec<String>,
}

/// What answers views and queries of a pipeline.
pub struct Views {
    store: SharedStore,
    views: Vec<View>,
    catalogue: Option<CatalogueRules>,
    lookups: Lookups,
    place: StoreUrl,
    tables: Vec<(String, RecordBatch)>,
    models: Vec<String>,
    /// Expressions of the pipeline file, which its versions may have.
    owner: OwnerTexts,
    limits: Limits,
    columns: Arc<ColumnCache>,
    /// So many states were begun: each has a number of its own.
    n_states: AtomicU64,
    /// The newest state that was asked for.
    current: Mutex<Option<(Seen, State)>>,
    answers: Mutex<Answers>,
    places: Arc<Semaphore>,
    /// What answers SQL of requests, and the newest state that it was asked about.
    pool: Arc<Pool>,
    snapshot: Mutex<Option<(Seen, Arc<Snapshot>)>>,
}

/// What views are answered from.
#[derive(Clone)]
struct State {
    number: u64,
    session: Arc<Session>,
    scratch: Option<Arc<Scratch>>,
}

/// Which state it is. Batches, versions and catalogues never change: it is enough to know which ones they are.
#[derive(Clone)]
struct Seen {
    n_batches: usize,
    /// Weak: the tables hold what they need of it, and the rest of an old catalogue is let go. No other one takes its address.
    catalogue: Option<Weak<Catalogue>>,
    versions: Vec<(String, u32)>,
}

impl Views {
    /// Reads the fixed tables. `command`: what answers SQL of requests.
    pub fn open(settings: &ViewSettings, store: &SharedStore, command: ProcessCommand) -> Result<Self, ConfigFaults> {
        let mut faults = Faults::new(settings.file.display().to_string());
        let dialect = match read_schema(store.as_ref()) {
            Ok(schema) => schema.map_or(Dialect::CURRENT, |schema| schema.dialect),
            Err(error) => {
                faults.add("store.url", None, error_chain(&error));
                Dialect::CURRENT
            }
        };
        let tables = load_tables(settings.tables, dialect, &mut faults);
        let lookups = Lookups::of(settings.tables, &tables, &mut faults);
        faults.finish()?;
        let query = settings.query;
        let limits = Limits {
            memory_bytes: query.memory_bytes,
            time: Some(query.time),
            rows: Some(query.rows),
            // Each query has one; they run side by side.
            threads: NonZeroUsize::MIN,
        };
        Ok(Self {
            store: Arc::clone(store),
            place: settings.store.clone(),
            views: settings.views.to_vec(),
            catalogue: settings.catalogue.cloned(),
            lookups,
            tables,
            models: settings.models.iter().map(|model| model.name.clone()).collect(),
            owner: OwnerTexts::of(settings.models),
            limits,
            columns: Arc::new(ColumnCache::new(query.memory_bytes)),
            n_states: AtomicU64::new(0),
            current: Mutex::default(),
            answers: Mutex::default(),
            places: Arc::new(Semaphore::new(VIEWS_AT_ONCE)),
            pool: Arc::new(Pool::new(command, limits, Arc::clone(store))),
            snapshot: Mutex::default(),
        })
    }

    /// Ends the questions of requests that are under way, and takes no more.
    pub fn stop(&self) {
        self.pool.stop();
    }

    /// Answers SQL of a request, in a process that can be killed. Neither parses nor looks at it.
    pub async fn ask_apart(self: &Arc<Self>, question: Question, now: Now) -> Result<TextRows, AskError> {
        let views = Arc::clone(self);
        self.pool.ask(question, move |pool| views.snapshot(&now, pool)).await
    }

    /// The state of this moment as processes see it: the one that is there, or a new one.
    fn snapshot(&self, now: &Now, pool: &Pool) -> Result<Arc<Snapshot>, AskError> {
        // One read that fails ends neither the state nor its processes.
        let Some(seen) = Seen::of(now) else { return Ok(Arc::new(self.write_snapshot(None, now, pool)?)) };
        let mut held = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, snapshot)) = held.as_ref()
            // An older question must not throw away the newest state.
            && (*known == seen || known.is_after(&seen))
        {
            return Ok(Arc::clone(snapshot));
        }
        let snapshot = Arc::new(self.write_snapshot(Some(self.next_number()), now, pool)?);
        *held = Some((seen, Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    fn next_number(&self) -> u64 {
        self.n_states.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn write_snapshot(&self, number: Option<u64>, now: &Now, pool: &Pool) -> Result<Snapshot, AskError> {
        let schema = self.schema()?;
        let mut tables = self.tables.clone();
        tables.extend(self.items(now, &schema)?.map(|items| (CATALOGUE.to_owned(), items)));
        let served = now.served.models.iter();
        let served = served.filter_map(|(name, model)| Some((name.clone(), model.champion_or_latest()?.file.version)));
        let contents = Contents {
            store: self.place.clone(),
            schema,
            batches: now.batches.as_ref().map(|batches| batches.to_vec()).map_err(String::clone),
            served: served.collect::<BTreeMap<_, _>>(),
            models: self.models.clone(),
            owner: self.owner.clone(),
            rows_most: self.rows_most(),
            memory_bytes: self.limits.memory_bytes,
            seconds: self.limits.time.unwrap_or(Duration::MAX).as_secs_f64(),
        };
        let full = |error: std::io::Error| AskError::Query(QueryError::Full(error.to_string()));
        Snapshot::write(number, pool.scratch()?.path(), contents, &tables).map_err(full)
    }

    fn schema(&self) -> Result<StreamSchema, AskError> {
        let schema = read_schema(self.store.as_ref()).map_err(|error| AskError::Broken(error.to_string()))?;
        schema.ok_or(AskError::NoSchema)
    }

    /// The items, where the pipeline has a catalogue.
    fn items(&self, now: &Now, schema: &StreamSchema) -> Result<Option<RecordBatch>, AskError> {
        let (Some(catalogue), Some(rules)) = (&now.catalogue, &self.catalogue) else { return Ok(None) };
        match catalogue.items() {
            Some(items) => Ok(Some(items.clone())),
            None => {
                let empty = empty_items(rules, &self.lookups, &schema.arrow(), schema.dialect);
                empty.map(Some).map_err(|error| AskError::Broken(error.to_string()))
            }
        }
    }

    pub fn rows_most(&self) -> usize {
        self.limits.rows.unwrap_or(usize::MAX)
    }

    /// The versions whose functions are called.
    fn asked_versions(&self, called: &BTreeSet<String>, served: &Served) -> Result<Vec<String>, AskError> {
        let of_store = served.models.keys().filter(|name| !self.models.contains(name));
        let named = self.models.iter().chain(of_store).filter(|model| functions::is_among(called, model));
        let version = |model: &String| {
            let version = served.models.get(model).and_then(|model| model.champion_or_latest());
            let version = version.ok_or_else(|| AskError::NoVersion(model.clone()))?;
            Ok(format!("{}@{}", version.file.model, version.file.version))
        };
        named.map(version).collect()
    }

    pub async fn ask(self: &Arc<Self>, asked: Asked, now: Now) -> Result<Arc<Rows>, AskError> {
        if let Some(rows) = self.kept_of(&asked, &now) {
            return Ok(rows);
        }
        let limit = self.limits.time.unwrap_or(Duration::MAX);
        let place = self.place().await?;
        let (views, sql) = (Arc::clone(self), asked.sql.clone());
        let answer = on_a_thread(place, move || async move { views.answer(asked, now).await })?;
        match tokio::time::timeout(limit.saturating_add(GRACE), answer).await {
            Ok(Ok(answer)) => answer?,
            Ok(Err(_)) => {
                tracing::error!(sql, "a query panicked");
                Err(AskError::Broken("the query failed inside; write it in another way".to_owned()))
            }
            Err(_) => Err(QueryError::Time { limit }.into()),
        }
    }

    /// What was answered before to the same question, if nothing came since. Waits for nobody.
    fn kept_of(&self, asked: &Asked, now: &Now) -> Option<Arc<Rows>> {
        let seen = Seen::of(now)?;
        let held = self.current.try_lock().ok()?;
        let (_, state) = held.as_ref().filter(|(known, _)| *known == seen)?;
        let question = answers::Question::new(state.number, &asked.sql, &asked.parameters);
        drop(held);
        self.kept().get(&question)
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, AskError> {
        let patience = self.limits.time.unwrap_or(PATIENCE).min(PATIENCE);
        match tokio::time::timeout(patience, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(AskError::Busy),
        }
    }

    async fn answer(self: &Arc<Self>, asked: Asked, now: Now) -> Result<Arc<Rows>, AskError> {
        let Asked { sql, parameters } = asked;
        let sql = sql.as_str();
        let parsed = Parsed::new(sql)?;
        let versions = self.asked_versions(parsed.called(), &now.served)?;
        let state = self.current(now)?;
        let question = answers::Question::new(state.number, sql, &parameters);
        if let Some(rows) = self.kept().get(&question) {
            return Ok(rows);
        }
        let mut answer = state.session.start(parsed, &parameters)?;
        let columns: Vec<String> = answer.schema().fields().iter().map(|field| field.name().clone()).collect();
        check_names(sql, &columns)?;
        let mut rows = Rows { columns, rows: Vec::new(), is_cut: false, versions };
        let mut bytes = 0;
        while let Some(block) = answer.next().await? {
            for start in (0..block.num_rows()).step_by(BLOCK_ROWS) {
                let block = rows_of(&block.slice(start, BLOCK_ROWS.min(block.num_rows() - start)));
                bytes += block.iter().map(answers::bytes_of_row).sum::<usize>();
                if bytes > ANSWER_BYTES_MOST {
                    return Err(AskError::TooLarge);
                }
                rows.rows.extend(block);
            }
        }
        rows.is_cut = answer.is_cut();
        let rows = Arc::new(rows);
        if answer.is_repeatable() {
            self.kept().put(question, &rows, bytes);
        }
        Ok(rows)
    }

    /// Reads the columns that the pipeline's views will ask for, so that the first to ask does not wait for it. What would not find
    /// room is left to who asks. Reads files: not for a thread that serves.
    pub fn warm(self: &Arc<Self>, now: Now) -> Result<(), AskError> {
        let rows: u64 = now.batches.iter().flat_map(|batches| batches.iter()).map(Batch::rows).sum();
        if self.views.is_empty() || rows == 0 {
            return Ok(());
        }
        let session = self.current(now)?.session;
        // A view that cannot be planned, for want of a version for instance, is told to who asks it.
        let reads = self.views.iter().filter_map(|view| session.reads(&view.sql, &check::examples(view)).ok());
        let columns: BTreeSet<String> = reads.flatten().filter(|name| !name.starts_with('_')).collect();
        if columns.is_empty() || !self.columns.holds(rows.saturating_mul(columns.len() as u64)) {
            return Ok(());
        }
        // A column that may be null is counted by reading it.
        let counts = columns.iter().map(|name| format!("count(\"{}\")", name.replace('"', "\"\"")));
        let sql = format!("select {} from {TABLE}", counts.collect::<Vec<_>>().join(", "));
        let read = async move {
            let mut answer = session.run(&sql).await?;
            while answer.next().await?.is_some() {}
            Ok::<_, QueryError>(())
        };
        let runtime = runtime()?;
        let read = runtime.block_on(read);
        runtime.shutdown_background();
        Ok(read?)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of this moment: the one that is there, or a new one.
    fn current(&self, now: Now) -> Result<State, AskError> {
        // One read that fails does not end what is kept: nothing is kept of it.
        let Some(seen) = Seen::of(&now) else { return self.begin(&now) };
        let mut held = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let can_spill = |state: &State| state.scratch.as_ref().is_none_or(|scratch| scratch.is_there());
        match held.as_ref().filter(|(_, state)| can_spill(state)) {
            // An older question must not throw away the newest state.
            Some((known, state)) if *known == seen || known.is_after(&seen) => return Ok(state.clone()),
            Some(_) | None => {}
        }
        let state = self.begin(&now)?;
        *held = Some((seen, state.clone()));
        self.kept().begin(state.number);
        Ok(state)
    }

    fn begin(&self, now: &Now) -> Result<State, AskError> {
        let scratch = self.pool.scratch().ok();
        let session = Arc::new(self.session(now, scratch.as_deref())?);
        Ok(State { number: self.next_number(), session, scratch })
    }

    /// `scratch`: else it spills where the system says.
    fn session(&self, now: &Now, scratch: Option<&Scratch>) -> Result<Session, AskError> {
        let schema = self.schema()?;
        let named = self.tables.iter().map(|(name, rows)| (name.clone(), rows.clone()));
        let items = self.items(now, &schema)?.map(|items| (CATALOGUE.to_owned(), items));
        let tables = named.chain(items).filter_map(|(name, rows)| Some((name, in_memory(&rows)?)));
        let functions = functions::of_versions(&now.served);
        let spill = scratch.map(|scratch| Spill { folder: scratch.path().to_owned(), bytes_most: SPILL_BYTES });
        let extras = Extras { tables: tables.collect(), functions, spill };
        let records = Records::of(&self.store, &now.batches, &self.columns);
        Ok(Session::with(&schema, records, extras, self.limits)?)
    }
}

/// Answers on a thread of its own, with a stack for any SQL. The place is held until the thread has really ended: a query that is lost
/// between two blocks of rows takes no other's thread, and what is lost is bounded by the places. One that nobody waits for ends at
/// its next block.
fn on_a_thread<T, F>(
    place: OwnedSemaphorePermit,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<oneshot::Receiver<Result<T, AskError>>, AskError>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let (mut tell, told) = oneshot::channel();
    let thread = std::thread::Builder::new().name("query".to_owned()).stack_size(STACK_BYTES);
    let started = thread.spawn(move || {
        // Dropped last, and also where the query panics.
        let _place = place;
        let answer = runtime().map(|runtime| {
            let answer = runtime.block_on(async {
                tokio::select! {
                    answer = work() => Some(answer),
                    () = tell.closed() => None,
                }
            });
            // Threads that decode ahead end when they find that nobody listens.
            runtime.shutdown_background();
            answer
        });
        if let Some(answer) = answer.transpose() {
            // Whoever asked may have gone.
            let _ = tell.send(answer);
        }
    });
    started.map_err(|error| AskError::Broken(format!("no thread can be started: {error}")))?;
    Ok(told)
}

/// Of one query.
fn runtime() -> Result<Runtime, AskError> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| AskError::Broken(format!("no runtime can be started: {error}")))
}

impl Seen {
    /// None where the batches cannot be read.
    fn of(now: &Now) -> Option<Self> {
        let n_batches = now.batches.as_ref().ok()?.len();
        let versions = now.served.models.values().filter_map(|model| model.champion_or_latest());
        Some(Self {
            n_batches,
            catalogue: now.catalogue.as_ref().map(Arc::downgrade),
            versions: versions.map(|version| (version.file.model.clone(), version.file.version)).collect(),
        })
    }

    fn is_after(&self, other: &Self) -> bool {
        self.n_batches > other.n_batches
    }
}

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        let same_catalogue = match (&self.catalogue, &other.catalogue) {
            (Some(one), Some(other)) => Weak::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same_catalogue && self.n_batches == other.n_batches && self.versions == other.versions
    }
}

/// A row is an object, and an object has each name once.
fn check_names(sql: &str, columns: &[String]) -> Result<(), AskError> {
    let mut names: Vec<&String> = columns.iter().collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => {
            let message = format!("two columns are named `{}`: name one of them with `as`", pair[0]);
            Err(QueryError::Sql(SqlFault::of_whole(sql, message)).into())
        }
    }
}

/// Rows that are there, as a table.
fn in_memory(rows: &RecordBatch) -> Option<Arc<dyn TableProvider>> {
    let table = MemTable::try_new(rows.schema(), vec![blocks_of(rows).collect()]).ok()?;
    Some(Arc::new(table))
}

fn blocks_of(rows: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let starts = (0..rows.num_rows()).step_by(BLOCK_ROWS);
    starts.map(|start| rows.slice(start, BLOCK_ROWS.min(rows.num_rows() - start)))
}
