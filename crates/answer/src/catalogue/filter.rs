//! Filters: one text of the filter language over the columns of the catalogue, evaluated over all its rows once, and kept.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use millstream_base::Faults;
use millstream_learn::top_n::Bitmap;
use millstream_untrusted::filter::{Filter as Tree, SyntaxError};

use super::condition::{Condition, Pass};

/// So many filters are kept, and so many bytes of them: a site has a few, and what anybody may send must not fill the memory. At a
/// million items one is 125 KB.
const KEPT: usize = 64;
const KEPT_BYTES: usize = 16 << 20;
/// More requests with new filters than this do not wait for one another, each on a thread.
const WAITING_MOST: usize = 16;
/// A longer text over more items would hold up every new filter behind it.
const TIME_MOST: Duration = Duration::from_secs(2);

/// The rows that a filter lets through.
#[derive(Debug)]
pub struct Filter {
    rows: Bitmap,
}

impl Filter {
    /// Of items whose columns are not known yet.
    pub(super) fn of_nothing(text: &str) -> Result<Self, FilterError> {
        Tree::parse(text)?;
        Ok(Self { rows: Bitmap::new(0) })
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
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// It parses, and asks of these columns what they do not answer.
    #[error("`{text}`, at character {position}: {message}")]
    Unfit { text: String, position: usize, message: String },
    #[error("`{text}` takes more than {seconds} s over {items} items: make it simpler", seconds = TIME_MOST.as_secs())]
    TooSlow { text: String, items: u32 },
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
            Self::Syntax(error) => error.position,
            Self::Unfit { position, .. } => Some(*position),
            Self::TooSlow { .. } | Self::Busy | Self::Broken(_) => None,
        }
    }

    /// Without the text, for where that is shown already.
    fn reason(&self) -> String {
        match self {
            Self::Syntax(error) => error.reason(),
            Self::Unfit { position, message, .. } => format!("at character {position}: {message}"),
            Self::TooSlow { .. } | Self::Busy | Self::Broken(_) => self.to_string(),
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
        let started = Instant::now();
        let filter = Arc::new(Filter { rows: compute(text, items, &|| started.elapsed() > TIME_MOST)? });
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

/// Checks filters of the pipeline file, each with its key, against the columns of the items.
pub fn check_filters(filters: &[(String, &str)], items: &RecordBatch, faults: &mut Faults) {
    for (key, text) in filters {
        let checked = Tree::parse(text)
            .map_err(FilterError::from)
            .and_then(|tree| Condition::bind(&tree, text, items).map(|_| ()));
        if let Err(error) = checked {
            faults.add_text(key, text, error.reason());
        }
    }
}

/// Costs no more than the conditions of the text for each row.
fn compute(text: &str, items: &RecordBatch, is_up: &dyn Fn() -> bool) -> Result<Bitmap, FilterError> {
    let tree = Tree::parse(text)?;
    let condition = Condition::bind(&tree, text, items)?;
    // A row is counted as u32 everywhere.
    let n_rows = u32::try_from(items.num_rows()).map_err(|error| FilterError::Broken(error.to_string()))?;
    let (mut rows, pass) = (Bitmap::new(items.num_rows()), Pass::new(is_up));
    for row in 0..n_rows {
        let holds = condition.holds(row as usize, &pass);
        // `not` and the like make something of what was given up.
        if pass.is_late() {
            return Err(FilterError::TooSlow { text: text.to_owned(), items: n_rows });
        }
        if holds == Some(true) {
            rows.set(row);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, StringArray};

    use super::super::condition::BYTES_BETWEEN_LOOKS;
    use super::*;

    #[test]
    fn a_filter_that_takes_too_long_is_given_up() {
        let titles: ArrayRef = Arc::new(StringArray::from(vec!["Alien"; 1000]));
        let items = RecordBatch::try_from_iter([("title", titles)]).unwrap();
        assert_eq!(compute("title = 'Alien'", &items, &|| false).unwrap().count(), 1000);
        for text in ["title = 'Alien'", "not (title = 'Alien')", "title like '%x%'", "title is null", "title in ('a')"]
        {
            let error = compute(text, &items, &|| true).unwrap_err();
            assert_eq!(error, FilterError::TooSlow { text: text.to_owned(), items: 1000 });
        }
    }

    #[test]
    fn a_text_that_several_conditions_fold_is_each_row_s_own() {
        let column = |texts: &[&str]| -> ArrayRef { Arc::new(StringArray::from(texts.to_vec())) };
        let (titles, towns) =
            (column(&["", "ALIEN", "Aliens", "", "x", "ÄLIEN"]), column(&["ALIEN", "", "HULL", "", "alien", "x"]));
        let items = RecordBatch::try_from_iter([("title", titles), ("town", towns)]).unwrap();
        let check = |text: &str, expected: &[u32]| {
            let found = compute(text, &items, &|| false).unwrap();
            assert_eq!((0..6).filter(|row| found.contains(*row)).collect::<Vec<_>>(), expected, "{text}");
        };
        check("title ilike 'alien%' and title ilike '%N'", &[1]);
        check("title ilike 'alien%' or town ilike 'Alien' or title ilike ''", &[0, 1, 2, 3, 4]);
        check("title ilike '_liens' or title like 'ALIEN' or title ilike 'ä%'", &[1, 2, 5]);
        check("town ilike '' and title not ilike ''", &[1]);
    }

    #[test]
    fn the_clock_is_looked_at_by_bytes_and_not_by_rows() {
        let bytes = 10 * BYTES_BETWEEN_LOOKS;
        let titles: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(bytes); 3]));
        let items = RecordBatch::try_from_iter([("title", titles)]).unwrap();
        let looks = std::cell::Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            false
        };
        compute("title like '%y%' or title like '%z%' or title = 'x'", &items, &look).unwrap();
        assert_eq!(looks.get(), 9, "each row's text is looked at three times");
        looks.set(0);
        let short: ArrayRef = Arc::new(StringArray::from(vec!["x"; 100_000]));
        compute("title = 'y'", &RecordBatch::try_from_iter([("title", short)]).unwrap(), &look).unwrap();
        assert!((20..200).contains(&looks.get()), "{}", looks.get());
    }

    #[test]
    fn those_who_wait_for_a_new_filter_have_a_bound() {
        let titles: ArrayRef = Arc::new(StringArray::from(vec!["Alien"; 10]));
        let items = RecordBatch::try_from_iter([("title", titles)]).unwrap();
        let filters = Filters::default();
        let turn = filters.computing.lock().unwrap();
        std::thread::scope(|scope| {
            for n in 0..WAITING_MOST {
                let (filters, items) = (&filters, &items);
                scope.spawn(move || filters.get(&format!("title = '{n}'"), items).unwrap());
            }
            let end = Instant::now() + Duration::from_secs(60);
            while filters.waiting.load(Ordering::Relaxed) < WAITING_MOST {
                if Instant::now() > end {
                    drop(turn);
                    panic!("{WAITING_MOST} requests never wait");
                }
                std::thread::yield_now();
            }
            assert_eq!(filters.get("title = 'Alien'", &items).unwrap_err(), FilterError::Busy);
            drop(turn);
        });
        assert_eq!(filters.get("title = 'Alien'", &items).unwrap().count(), 10);
    }
}
