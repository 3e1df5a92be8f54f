//! Filters: one boolean SQL expression over the columns of the catalogue, evaluated over all its rows once, and kept.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::Schema;
use millstream_learn::top_n::Bitmap;

use super::plan::noun;
use crate::expression::{Expression, ExpressionError, ExpressionFault, STRANGERS_STACK_BYTES, ValueKind};

/// So many filters are kept, and so many bytes of them: a site has a few, and what anybody may send must not fill the memory. At a
/// million items one is 125 KB.
const KEPT: usize = 64;
const KEPT_BYTES: usize = 16 << 20;
/// More requests with new filters than this do not wait for one another, each on a thread.
const WAITING_MOST: usize = 16;
/// A longer text over more items is asked of the files themselves.
const TIME_MOST: Duration = Duration::from_secs(5);
/// Evaluated so many rows at a time: what is computed on the way stays small.
const BLOCK_ROWS: usize = 1024;

/// The rows that a filter lets through.
#[derive(Debug)]
pub struct Filter {
    rows: Bitmap,
}

impl Filter {
    pub(super) fn of_nothing() -> Self {
        Self { rows: Bitmap::new(0) }
    }

    /// A row where the expression is null is not let through.
    pub fn admits(&self, row: u32) -> bool {
        self.rows.contains(row)
    }

    pub fn count(&self) -> usize {
        self.rows.count()
    }

    pub fn rows(&self) -> &Bitmap {
        &self.rows
    }
}

/// Why a text is no filter of this catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// `hint`: what to write instead, or nothing.
    #[error("{error}{hint}")]
    Expression { error: ExpressionError, hint: String },
    #[error("`{text}` is {found}: a filter must be true or false for every item: compare it with something{hint}")]
    NotBoolean { text: String, found: String, hint: String },
    #[error("`{text}` takes more than {seconds} s over {items} items: make it simpler", seconds = TIME_MOST.as_secs())]
    TooSlow { text: String, items: usize },
    #[error("too many new filters are being computed: ask again in a moment")]
    Busy,
    /// A fault of ours.
    #[error("the filter cannot be computed now: {0}")]
    Broken(String),
}

impl FilterError {
    /// The character the fault is at, from 1.
    pub fn position(&self) -> Option<usize> {
        match self {
            Self::Expression { error, .. } => error.position,
            Self::NotBoolean { .. } | Self::TooSlow { .. } | Self::Busy | Self::Broken(_) => None,
        }
    }
}

/// The filters of one state of the catalogue, the latest used last.
#[derive(Debug, Default)]
pub struct Filters {
    kept: Mutex<Vec<(String, Arc<Filter>)>>,
    /// One is computed at a time: many at once would take the processor from those who are served.
    computing: Mutex<()>,
    waiting: AtomicUsize,
}

impl Filters {
    pub fn get(&self, text: &str, items: &RecordBatch) -> Result<Arc<Filter>, FilterError> {
        let text = text.trim();
        if let Some(filter) = self.known(text) {
            return Ok(filter);
        }
        let _place = Waiting::among(&self.waiting).ok_or(FilterError::Busy)?;
        let _turn = self.computing.lock().unwrap_or_else(PoisonError::into_inner);
        // Another request may have asked the same while this one waited.
        if let Some(filter) = self.known(text) {
            return Ok(filter);
        }
        let filter = Arc::new(Filter { rows: with_stack(|| compute(text, items))? });
        self.keep(text, &filter);
        Ok(filter)
    }

    fn known(&self, text: &str) -> Option<Arc<Filter>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|(known, _)| known == text)?;
        kept[place..].rotate_left(1);
        kept.last().map(|(_, filter)| Arc::clone(filter))
    }

    fn keep(&self, text: &str, filter: &Arc<Filter>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = |text: &str, filter: &Filter| text.len() + filter.rows.len() / 8 + 64;
        let mut total: usize = kept.iter().map(|(text, filter)| bytes(text, filter)).sum();
        total += bytes(text, filter);
        let mut over = 0;
        while over < kept.len() && (kept.len() - over >= KEPT || total > KEPT_BYTES) {
            total -= bytes(&kept[over].0, &kept[over].1);
            over += 1;
        }
        kept.drain(..over);
        if total <= KEPT_BYTES {
            kept.push((text.to_owned(), Arc::clone(filter)));
        }
    }
}

/// A place among those who wait, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MOST).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Planning and computing recurse as deep as the text is nested.
fn with_stack<T: Send>(work: impl FnOnce() -> Result<T, FilterError> + Send) -> Result<T, FilterError> {
    std::thread::scope(|scope| {
        let named = std::thread::Builder::new().name("filter".to_owned()).stack_size(STRANGERS_STACK_BYTES);
        let started = named.spawn_scoped(scope, work);
        let thread = started.map_err(|error| FilterError::Broken(format!("no thread can be started: {error}")))?;
        thread
            .join()
            .unwrap_or_else(|_| Err(FilterError::Broken("it panicked; please report this as a bug".to_owned())))
    })
}

fn compute(text: &str, items: &RecordBatch) -> Result<Bitmap, FilterError> {
    let schema = items.schema();
    let fault = |error: ExpressionError| {
        let hint = hint(&error, &schema);
        FilterError::Expression { error, hint }
    };
    let expression = Expression::compile_of_stranger(text, &schema).map_err(fault)?;
    if expression.kind() != ValueKind::Boolean {
        let found = noun(expression.data_type());
        return Err(FilterError::NotBoolean { text: text.to_owned(), found, hint: hint_of_lists(text, &schema) });
    }
    let (mut rows, started) = (Bitmap::new(items.num_rows()), Instant::now());
    for start in (0..items.num_rows()).step_by(BLOCK_ROWS) {
        if started.elapsed() > TIME_MOST {
            return Err(FilterError::TooSlow { text: text.to_owned(), items: items.num_rows() });
        }
        let block = items.slice(start, BLOCK_ROWS.min(items.num_rows() - start));
        let answers = expression.evaluate(&block).map_err(fault)?;
        let answers = answers.as_boolean();
        for row in (0..answers.len()).filter(|row| answers.is_valid(*row) && answers.value(*row)) {
            // A row is counted as u32 everywhere.
            rows.set(u32::try_from(start + row).unwrap_or(u32::MAX));
        }
    }
    Ok(rows)
}

/// Of a text that asks a list as if it were a value.
fn hint(error: &ExpressionError, schema: &Schema) -> String {
    let asked_wrongly = match &error.fault {
        ExpressionFault::Plan(_) | ExpressionFault::Evaluate(_) | ExpressionFault::NotScalar { .. } => true,
        ExpressionFault::Empty
        | ExpressionFault::Syntax(_)
        | ExpressionFault::UnknownColumn { .. }
        | ExpressionFault::ManyRows { .. }
        | ExpressionFault::Subquery
        | ExpressionFault::NotDeterministic { .. }
        | ExpressionFault::Unsupported { .. }
        | ExpressionFault::TooLong { .. }
        | ExpressionFault::TooDeep { .. }
        | ExpressionFault::NotForStrangers { .. } => false,
    };
    if asked_wrongly { hint_of_lists(&error.text, schema) } else { String::new() }
}

fn hint_of_lists(text: &str, schema: &Schema) -> String {
    let is_list = |name: &str| schema.field_with_name(name).is_ok_and(|field| field.data_type().is_nested());
    let mut words = text.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
    match words.find(|word| is_list(word)) {
        Some(list) => {
            format!("; `{list}` is a list: ask what it holds with {list} = 'a value' or array_has({list}, 'a value')")
        }
        None => String::new(),
    }
}
