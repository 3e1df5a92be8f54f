//! SQL over the committed batches: the table `batches`, of the stream's columns and `_batch`, `_partition`, `_offset`, `_time`,
//! and whatever other tables and functions the session is given.
//!
//! A `Session` is a snapshot of the batches that were complete when it was made. It reads, and nothing else: what would write, or
//! read a file, is refused before it is planned. Memory is bounded by `Limits`; sorts and aggregations spill to temporary files.

mod answer;
mod bind;
mod cache;
mod check;
mod clauses;
mod error;
mod kept;
mod output;
mod prune;
mod scan;
mod sum;
mod table;
mod watch;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::catalog::{MemTable, MemoryCatalogProviderList, TableProvider};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, TableReference};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan, ScalarUDF, Volatility};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;

use futures_executor::block_on;

pub use answer::Answer;
pub use bind::{Bound, Parameters, placeholders};
pub use cache::ColumnCache;
pub use check::SQL_BYTES_MOST;
pub use error::{Place, QueryError, SqlFault};
pub use output::{OutputFormat, RowWriter};

use millstream_store::SharedStore;
use millstream_stream::batch::Batch;
use millstream_stream::expression::{CheckedIntegers, RealDivision, add_json_functions};
use millstream_stream::schema::{Dialect, StreamSchema};
use sum::CheckedSum;
use table::{BatchesTable, UnreadableTable};
use watch::{Watch, watched};

/// The table of all records.
pub const TABLE: &str = "batches";
/// The table of the items, where the pipeline has a catalogue.
pub const CATALOGUE: &str = "catalogue";
/// The table of kept answers, where the pipeline keeps some.
pub const ANSWERS: &str = "answers";
/// The number of a row's batch: added to what a part holds.
pub const BATCH_COLUMN: &str = "_batch";

/// For threads that parse, plan and run SQL: deep enough for any that a person writes; a debug build plans the deepest that `check` lets
/// through in a third of it.
pub const STACK_BYTES: usize = 64 << 20;
/// Temporary files of one session.
pub const SPILL_BYTES: u64 = 20 << 30;

/// What a query may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of sorts, aggregations and joins; beyond it they spill, and what cannot spill is an error.
    pub memory_bytes: usize,
    pub time: Option<Duration>,
    /// More rows are left out, and `Answer::is_cut` says so.
    pub rows: Option<usize>,
    /// Threads that read parts side by side.
    pub threads: NonZeroUsize,
}

impl Limits {
    pub const MEMORY_BYTES: usize = 1 << 30;
}

impl Default for Limits {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { memory_bytes: Self::MEMORY_BYTES, time: None, rows: None, threads }
    }
}

/// The options and the functions that every session begins with.
static PLANNER: LazyLock<SessionState> = LazyLock::new(|| planner_of(Dialect::CURRENT));
static FIRST_PLANNER: LazyLock<SessionState> = LazyLock::new(|| planner_of(Dialect::First));

fn planner_of(dialect: Dialect) -> SessionState {
    let config = SessionConfig::new()
        .with_information_schema(true)
        .set_bool("datafusion.sql_parser.enable_ident_normalization", false)
        .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false)
        .set_bool("datafusion.sql_parser.collect_spans", true);
    // Ours comes first: the others take what it leaves.
    let mut planners: Vec<Arc<dyn ExprPlanner>> = Vec::new();
    if dialect >= Dialect::Second {
        planners.push(Arc::new(RealDivision));
    }
    let builder = SessionStateBuilder::new().with_config(config).with_expr_planners(planners);
    let mut state = builder.with_default_features().build();
    // They only add to what the state holds, and none fails.
    let sum = state.register_udaf(Arc::new(AggregateUDF::new_from_impl(CheckedSum::default())));
    let operators = state.register_function_rewrite(Arc::new(CheckedIntegers));
    let json = add_json_functions(&mut state);
    debug_assert!(sum.is_ok() && operators.is_ok() && json.is_ok());
    state
}

/// The committed records that a session sees.
pub enum Records<'a> {
    /// The complete batches, as `StoredBatches::complete` answers them; the columns that queries read often may be kept.
    Stored { store: SharedStore, batches: &'a [Batch], cache: Option<Arc<ColumnCache>> },
    /// None of them: for checking SQL before there are any.
    None,
    /// Some cannot be read, and why: an error of the queries that ask for them.
    Unreadable(&'a str),
}

impl<'a> Records<'a> {
    pub fn of(store: &SharedStore, batches: &'a Result<impl AsRef<[Batch]>, String>, cache: &Arc<ColumnCache>) -> Self {
        match batches {
            Ok(batches) => {
                Self::Stored { store: Arc::clone(store), batches: batches.as_ref(), cache: Some(Arc::clone(cache)) }
            }
            Err(why) => Self::Unreadable(why),
        }
    }
}

/// Batches of another stream, as a table of their own.
pub fn batches_table(store: &SharedStore, schema: &StreamSchema, batches: &[Batch]) -> Arc<dyn TableProvider> {
    Arc::new(BatchesTable::new(Arc::clone(store), schema, batches, None))
}

/// What a session has besides the batches.
#[derive(Default)]
pub struct Extras {
    pub tables: Vec<(String, Arc<dyn TableProvider>)>,
    pub functions: Vec<ScalarUDF>,
    /// `None`: in the system's folder for temporary files.
    pub spill: Option<Spill>,
}

/// Where sorts, joins and aggregations put what has no room in memory.
#[derive(Debug, Clone)]
pub struct Spill {
    pub folder: PathBuf,
    pub bytes_most: u64,
}

/// A snapshot that answers queries, from any task, side by side; they share its memory.
pub struct Session {
    state: SessionState,
    limits: Limits,
    known: Arc<Known>,
}

/// What SQL may name, for messages.
struct Known {
    tables: Vec<String>,
    /// Of all tables.
    columns: SchemaRef,
}

/// One statement that reads.
pub struct Parsed {
    statement: Statement,
    sql: String,
    called: BTreeSet<String>,
}

impl Parsed {
    /// To be called on a thread with a stack of `STACK_BYTES`: parsing recurses as deep as the SQL is nested.
    pub fn new(sql: &str) -> Result<Self, QueryError> {
        let (statement, called) = check::statement(&PLANNER, sql)?;
        Ok(Self { statement, sql: sql.to_owned(), called })
    }

    /// The functions that it calls, in lower case.
    pub fn called(&self) -> &BTreeSet<String> {
        &self.called
    }
}

/// A query that is ready to run.
struct Planned {
    plan: Arc<dyn ExecutionPlan>,
    is_repeatable: bool,
}

impl Session {
    /// `batches`: the complete ones. What becomes complete later is not seen.
    pub fn new(
        store: SharedStore,
        schema: &StreamSchema,
        batches: &[Batch],
        limits: Limits,
    ) -> Result<Self, QueryError> {
        Self::with(schema, Records::Stored { store, batches, cache: None }, Extras::default(), limits)
    }

    pub fn with(schema: &StreamSchema, records: Records, extras: Extras, limits: Limits) -> Result<Self, QueryError> {
        if schema.column(BATCH_COLUMN).is_some() {
            return Err(QueryError::ReservedColumn);
        }
        let fault = |error: DataFusionError| QueryError::of(&error, "", limits);
        let records: Arc<dyn TableProvider> = match records {
            Records::Stored { store, batches, cache } => Arc::new(BatchesTable::new(store, schema, batches, cache)),
            Records::Unreadable(why) => Arc::new(UnreadableTable::new(schema, why)),
            Records::None => Arc::new(MemTable::try_new(table::columns(schema), vec![Vec::new()]).map_err(fault)?),
        };
        let planner: &SessionState = match schema.dialect {
            Dialect::First => &FIRST_PLANNER,
            Dialect::Second => &PLANNER,
        };
        let config = planner.config().clone().with_target_partitions(limits.threads.get());
        let catalogs = Arc::new(MemoryCatalogProviderList::new());
        let state = SessionStateBuilder::new_from_existing(planner.clone())
            .with_config(config)
            .with_catalog_list(catalogs)
            .with_runtime_env(runtime(limits, extras.spill).map_err(fault)?)
            .build();
        let context = SessionContext::new_with_state(state);
        let mut known = Known { tables: Vec::new(), columns: Arc::new(Schema::empty()) };
        let mut fields: Vec<FieldRef> = Vec::new();
        for (name, table) in [(TABLE.to_owned(), records)].into_iter().chain(extras.tables) {
            fields.extend(table.schema().fields().iter().cloned());
            context.register_table(TableReference::bare(name.as_str()), table).map_err(fault)?;
            known.tables.push(name);
        }
        known.columns = Arc::new(Schema::new(fields));
        for function in extras.functions {
            context.register_udf(function);
        }
        Ok(Self { state: context.state(), limits, known: Arc::new(known) })
    }

    /// Begins to answer one query of the pipeline's owner. To be called, and its answer read, inside a tokio runtime.
    pub async fn run(&self, sql: &str) -> Result<Answer, QueryError> {
        self.run_with(sql, &Parameters::new()).await
    }

    /// As `run`, with values for the SQL's `$name`s.
    pub async fn run_with(&self, sql: &str, parameters: &Parameters) -> Result<Answer, QueryError> {
        let deadline = self.deadline();
        let planned = answer::within(deadline, self.limits, self.plan(sql, parameters)).await??;
        self.execute(planned, sql, deadline)
    }

    /// As `run_with`, with what was parsed before; plans on this thread, which needs a stack of `STACK_BYTES`.
    pub fn start(&self, parsed: Parsed, parameters: &Parameters) -> Result<Answer, QueryError> {
        let (deadline, sql) = (self.deadline(), parsed.sql.clone());
        let planned = plan(self.state.clone(), &self.known, parsed, parameters, self.limits)?;
        self.execute(planned, &sql, deadline)
    }

    fn deadline(&self) -> Option<tokio::time::Instant> {
        self.limits.time.map(|time| tokio::time::Instant::now() + time)
    }

    fn execute(
        &self,
        planned: Planned,
        sql: &str,
        deadline: Option<tokio::time::Instant>,
    ) -> Result<Answer, QueryError> {
        let fault = |error: DataFusionError| QueryError::of(&error, sql, self.limits);
        let watch = Watch { deadline: deadline.map(Into::into), memory_bytes: self.limits.memory_bytes };
        let plan = watched(planned.plan, watch).map_err(fault)?;
        let stream = execute_stream(plan, self.state.task_ctx()).map_err(fault)?;
        Ok(Answer::new(stream, sql, self.limits, deadline, planned.is_repeatable))
    }

    /// The columns of the answer, without running it.
    pub fn columns(&self, sql: &str, parameters: &Parameters) -> Result<SchemaRef, QueryError> {
        block_on(self.plan(sql, parameters)).map(|planned| planned.plan.schema())
    }

    /// The columns of `batches` that the query reads.
    pub fn reads(&self, sql: &str, parameters: &Parameters) -> Result<BTreeSet<String>, QueryError> {
        let planned = block_on(self.plan(sql, parameters))?;
        let mut columns = BTreeSet::new();
        let walked = planned.plan.apply(|node| {
            if node.name() == scan::NAME {
                columns.extend(node.schema().fields().iter().map(|field| field.name().clone()));
            }
            Ok(TreeNodeRecursion::Continue)
        });
        // It never fails.
        debug_assert!(walked.is_ok());
        Ok(columns)
    }

    /// Plans on a thread with a stack of its own, since planning recurses as deep as the SQL is nested.
    async fn plan(&self, sql: &str, parameters: &Parameters) -> Result<Planned, QueryError> {
        let (state, known, limits) = (self.state.clone(), Arc::clone(&self.known), self.limits);
        let (sql, parameters) = (sql.to_owned(), parameters.clone());
        deep(move || plan(state, &known, Parsed::new(&sql)?, &parameters, limits)).await?
    }
}

/// What `work` answers on a thread with a large stack.
async fn deep<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, QueryError> {
    let (tell, done) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("plan".to_owned()).stack_size(STACK_BYTES);
    let started = thread.spawn(move || {
        // Nobody waits any more when the time was up.
        let _ = tell.send(work());
    });
    started.map_err(|error| QueryError::Broken(format!("no thread can be started: {error}")))?;
    let gone = |_| QueryError::Broken("the planner died; this is a bug, report it with the SQL".to_owned());
    done.await.map_err(gone)
}

fn plan(
    mut state: SessionState,
    known: &Known,
    parsed: Parsed,
    parameters: &Parameters,
    limits: Limits,
) -> Result<Planned, QueryError> {
    let Parsed { mut statement, sql, .. } = parsed;
    let sql = sql.as_str();
    check::tables(&state, &known.tables, &statement, sql)?;
    bind::bind(&mut statement, parameters, sql)?;
    let fault = |error: DataFusionError| QueryError::of_planning(&error, sql, &known.columns, limits);
    let plan = block_on(state.statement_to_plan(statement)).map_err(fault)?;
    // `check::statement` lets through only what reads; this is the second lock on the same door.
    let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    reads.verify_plan(&plan).map_err(fault)?;
    if keeps_order(&plan) {
        state.config_mut().options_mut().execution.target_partitions = 1;
    }
    // Times in `now()` are those of this query's beginning, not of the session's.
    state.mark_start_execution();
    let is_repeatable = is_repeatable(&plan);
    let plan = block_on(state.create_physical_plan(&plan)).map_err(fault)?;
    Ok(Planned { plan, is_repeatable })
}

/// Whether the same query over the same rows has the same answer: not with `now()` or `random()` in it.
fn is_repeatable(plan: &LogicalPlan) -> bool {
    let mut repeatable = true;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                if let Expr::ScalarFunction(function) = part
                    && function.func.signature().volatility != Volatility::Immutable
                {
                    repeatable = false;
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    repeatable && walked.is_ok()
}

/// A plan that picks rows and columns only answers them in the order in which they are stored when one thread does it: what
/// people expect of a first look, though SQL does not promise it. Everything else runs on all threads.
fn keeps_order(plan: &LogicalPlan) -> bool {
    let mut keeps = true;
    let walked = plan.apply_with_subqueries(|node| {
        keeps = matches!(
            node,
            LogicalPlan::Projection(_)
                | LogicalPlan::Filter(_)
                | LogicalPlan::Limit(_)
                | LogicalPlan::SubqueryAlias(_)
                | LogicalPlan::TableScan(_)
        );
        Ok(if keeps { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    keeps && walked.is_ok()
}

fn runtime(limits: Limits, spill: Option<Spill>) -> Result<Arc<RuntimeEnv>, DataFusionError> {
    let (mode, bytes_most) = match spill {
        Some(Spill { folder, bytes_most }) => (DiskManagerMode::Directories(vec![folder]), bytes_most),
        None => (DiskManagerMode::OsTmpDirectory, SPILL_BYTES),
    };
    let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(bytes_most);
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(limits.memory_bytes)))
        .with_disk_manager_builder(disk)
        .build_arc()
}

#[cfg(test)]
mod tests;
