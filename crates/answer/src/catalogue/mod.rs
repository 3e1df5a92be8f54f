//! The items that pages, views and recommendations show (`[catalogue]`): who they are, what they are called, and by what they
//! are found. From a file of their own, read at start, or from the stream, where each complete batch adds what it brings.
//!
//! One state is never changed: a request holds the one it began with, and a new one takes its place. All of it is in memory. An
//! item costs about 100 bytes besides its own texts and numbers (which are there once, the latest record's, with 1 GiB as the
//! bound for all): 16 to 24 for its id in both directions, 32 for where its record stood, 8 and 4 a word for the search, 4
//! and 4 a value for each facet, 4 for each order that was asked for. While a batch is taken in, the old state and the new
//! one are both there.

pub mod check;
mod condition;
mod facets;
mod filter;
mod gather;
mod images;
mod load;
mod lookup;
mod order;
mod page;
mod plan;
mod settings;
mod tables;
#[cfg(test)]
mod tests;
mod value;
mod words;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::error::ArrowError;
use millstream_learn::{Id, Ids};
use serde_json::{Map, Value};

pub use facets::{Choice, Facet, Unfit};
pub use filter::{Filter, FilterError, check_filters};
pub use gather::Tally;
pub use images::{ImageFault, Images, Picture, is_url, placeholder};
pub use load::{check_file, empty_catalogue, empty_items};
pub use lookup::Lookups;
pub use page::{Page, Query, Sort};
pub use plan::{IDENTITY, Kind, Plan, Scalar, check_catalogue};
pub use settings::{CatalogueFrom, CatalogueRules, CatalogueSettings, FixedTable, GivenRows, TableRows};
pub use tables::load as load_tables;

use filter::Filters;
use gather::Gather;
use load::PartColumns;
use millstream_base::{ConfigFaults, Faults};
use millstream_model::registry::id_json;
use millstream_store::SharedStore;
use millstream_stream::batch::{Batch, DecideError, PartFault, read_schema};
use millstream_stream::expression::ExpressionError;
use millstream_stream::record::DeriveError;
use millstream_stream::schema::{Dialect, RuleFault};
use millstream_stream::source::SourceError;
use words::Words;

#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error(transparent)]
    Config(#[from] ConfigFaults),
    #[error("{}", rule_lines(.0))]
    Rules(Vec<RuleFault>),
    #[error(
        "the catalogue has {items} items of {bytes} bytes, {most} are the most: name fewer columns, or shorter ones"
    )]
    TooLarge { items: usize, bytes: usize, most: usize },
    #[error("the catalogue has more {0} than can be counted: name fewer columns, or shorter ones")]
    TooMany(&'static str),
    #[error("catalogue.from: {}", millstream_base::error_chain(.0))]
    File(#[from] SourceError),
    #[error(transparent)]
    Schema(#[from] DecideError),
    #[error(transparent)]
    Part(#[from] PartFault),
    #[error(transparent)]
    Expression(#[from] ExpressionError),
    #[error(transparent)]
    Derive(#[from] DeriveError),
    #[error("the items cannot be put together: {0}")]
    Arrow(#[from] ArrowError),
}

fn rule_lines(faults: &[RuleFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// One state of the items. Row `i` is the item whose id came as the `i`-th, of its latest record.
#[derive(Debug)]
pub struct Catalogue {
    ids: Ids,
    n_rows: u32,
    /// `id`, `title`, `image` where it is configured, then the configured columns.
    items: RecordBatch,
    /// What `image` gives, where `items` has the path that it is served under.
    images: Option<StringArray>,
    /// Of the columns of `items`.
    kinds: Vec<Kind>,
    words: Words,
    facets: Vec<Facet>,
    orders: Vec<OnceLock<Vec<u32>>>,
    filters: Filters,
    /// The first batch is not in yet: not even the columns' types are known.
    waits: bool,
}

impl Catalogue {
    /// `columns`: all but the ids, a row for each of them.
    fn new(ids: Ids, columns: &RecordBatch, rules: &CatalogueRules) -> Result<Self, CatalogueError> {
        let n_rows = columns.num_rows();
        let counted = count(n_rows, "items")?;
        let id_column = id_column(&ids)?;
        let schema = columns.schema();
        let mut fields = vec![Field::new(plan::ID, id_column.data_type().clone(), false)];
        let mut arrays = vec![id_column];
        if schema.index_of(plan::TITLE).is_err() {
            fields.push(Field::new(plan::TITLE, DataType::Utf8, true));
            arrays.push(Arc::new(StringArray::new_null(n_rows)));
        }
        fields.extend(schema.fields().iter().map(|field| field.as_ref().clone()));
        arrays.extend(columns.columns().iter().cloned());
        let image = fields.iter().position(|field| field.name() == plan::IMAGE);
        let images = image.map(|place| arrays[place].as_string::<i32>().clone());
        if let (Some(place), Some(images), true) = (image, &images, rules.images.is_some()) {
            arrays[place] = Arc::new(images::shown(&ids, images));
        }
        let kinds: Vec<Kind> = fields.iter().map(|field| plan::kind_of(field.data_type())).collect();
        let titles = arrays[1].as_string::<i32>();
        let words = Words::new((0..n_rows).map(|row| titles.is_valid(row).then(|| titles.value(row))))?;
        let faceted = rules.facets.iter().filter_map(|name| {
            let place = fields.iter().position(|field| field.name() == name)?;
            Some(Facet::new(name, arrays[place].as_ref(), kinds[place]))
        });
        let facets = faceted.collect::<Result<_, _>>()?;
        let orders = kinds.iter().map(|_| OnceLock::new()).collect();
        let items = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
        let filters = Filters::default();
        Ok(Self { ids, n_rows: counted, items, images, kinds, words, facets, orders, filters, waits: false })
    }

    fn waiting(rules: &CatalogueRules) -> Result<Self, CatalogueError> {
        let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
        Ok(Self { waits: true, ..Self::new(Ids::integers(), &nothing, rules)? })
    }

    /// Has no batch brought items yet? Whatever is asked of the catalogue then finds nothing.
    pub fn waits(&self) -> bool {
        self.waits
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    pub fn row(&self, id: Id) -> Option<u32> {
        self.ids.code(id)
    }

    /// `id`, `title` (null where there is none), `image` when it is configured, then the configured columns. Empty past the
    /// last row.
    pub fn item(&self, row: u32) -> Map<String, Value> {
        let Some(id) = self.ids.get(row) else { return Map::new() };
        let row = row as usize;
        let names = self.items.schema_ref().fields().iter().map(|field| field.name().clone());
        let columns = self.items.columns().iter().zip(&self.kinds);
        let values = columns.map(|(column, kind)| value::json(column.as_ref(), *kind, row));
        // The id itself may have more digits than JSON keeps.
        names.zip([id_json(id)].into_iter().chain(values.skip(1))).collect()
    }

    pub fn title(&self, row: u32) -> Option<&str> {
        let (titles, row) = (self.items.column(1).as_string::<i32>(), row as usize);
        (row < titles.len() && titles.is_valid(row)).then(|| titles.value(row))
    }

    /// Where an item's picture is: a URL, or a file's name.
    pub fn image(&self, row: u32) -> Option<&str> {
        let (images, row) = (self.images.as_ref()?, row as usize);
        (row < images.len() && images.is_valid(row)).then(|| images.value(row)).filter(|text| !text.trim().is_empty())
    }

    /// All items as rows; `None`: no batch has brought any, and not even their columns are known.
    pub fn items(&self) -> Option<&RecordBatch> {
        (!self.waits && !self.is_empty()).then_some(&self.items)
    }

    /// Of an item, in its order.
    pub fn columns(&self) -> Vec<String> {
        self.items.schema_ref().fields().iter().map(|field| field.name().clone()).collect()
    }

    /// What a column holds.
    pub fn kind(&self, column: usize) -> Kind {
        self.kinds[column]
    }

    pub fn facets(&self) -> &[Facet] {
        &self.facets
    }

    /// The rows that a text of the filter language lets through, computed when it is first asked for. That may take a second of a
    /// large catalogue and a long text: not for a thread that serves.
    pub fn filter(&self, text: &str) -> Result<Arc<Filter>, FilterError> {
        if self.waits { Filter::of_nothing(text).map(Arc::new) } else { self.filters.get(text, &self.items) }
    }
}

/// As everything here is counted.
fn count(number: usize, what: &'static str) -> Result<u32, CatalogueError> {
    u32::try_from(number).map_err(|_| CatalogueError::TooMany(what))
}

/// They are all numbers or all texts.
fn id_column(ids: &Ids) -> Result<ArrayRef, CatalogueError> {
    if let Some(Id::Text(_)) = ids.get(0) {
        return Ok(Arc::new(StringArray::from_iter_values(ids.iter().map(|id| id.to_string()))));
    }
    let numbers: Option<Vec<i64>> =
        ids.iter().map(|id| if let Id::Integer(number) = id { Some(number) } else { None }).collect();
    let mixed = || ArrowError::InvalidArgumentError("some ids are numbers and others texts".to_owned());
    Ok(Arc::new(Int64Array::from(numbers.ok_or_else(mixed)?)))
}

/// What a refresh brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refreshed {
    pub items: usize,
    /// Since the catalogue was opened.
    pub tally: Tally,
}

/// The catalogue of a pipeline, kept up to date.
pub struct Catalogues {
    rules: CatalogueRules,
    lookups: Lookups,
    store: SharedStore,
    state: RwLock<Arc<Catalogue>>,
    /// The batches that were there at the start are still to be read.
    is_loading: AtomicBool,
    stream: Mutex<Stream>,
}

/// What was read of the batches.
#[derive(Default)]
struct Stream {
    /// The newest batch that is in.
    newest: u32,
    /// From the first batch on: before it there is no schema.
    read: Option<(PartColumns, Gather)>,
}

impl Catalogues {
    /// Reads the file, when the items have one of their own; those of the stream come with `refresh`. `None`: there is no
    /// `[catalogue]`.
    pub fn open(
        settings: &CatalogueSettings,
        store: &SharedStore,
    ) -> Result<Option<(Self, Refreshed)>, CatalogueError> {
        let Some(rules) = settings.rules else { return Ok(None) };
        let mut faults = Faults::new(settings.file.display().to_string());
        let dialect = read_schema(&**store)?.map_or(Dialect::CURRENT, |schema| schema.dialect);
        let lookups = Lookups::read(settings.tables, dialect, &mut faults);
        let (catalogue, tally) = match &rules.from {
            CatalogueFrom::Batches => (Catalogue::waiting(rules)?, Tally::default()),
            CatalogueFrom::File(source) => {
                let loaded = load::file(rules, source, &lookups, dialect, &mut faults)?;
                std::mem::take(&mut faults).finish()?;
                // Where there is no fault, there are items.
                let Some((mut gather, _)) = loaded else { return Ok(None) };
                let items = gather.items()?;
                (Catalogue::new(gather.ids, &items, rules)?, gather.tally)
            }
        };
        faults.finish()?;
        let refreshed = Refreshed { items: catalogue.len(), tally };
        let catalogues = Self {
            rules: rules.clone(),
            lookups,
            store: Arc::clone(store),
            state: RwLock::new(Arc::new(catalogue)),
            is_loading: AtomicBool::new(rules.from == CatalogueFrom::Batches),
            stream: Mutex::default(),
        };
        Ok(Some((catalogues, refreshed)))
    }

    /// The state to answer one request from.
    pub fn snapshot(&self) -> Arc<Catalogue> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Until it has tried once to read the batches.
    pub fn is_loading(&self) -> bool {
        self.is_loading.load(Ordering::Acquire)
    }

    /// Whoever reads them first says that it has tried.
    pub fn loaded(&self) {
        self.is_loading.store(false, Ordering::Release);
    }

    pub fn is_from_batches(&self) -> bool {
        self.rules.from == CatalogueFrom::Batches
    }

    /// Takes in what new batches bring; `None`: nothing. `batches`: the complete ones, oldest first. Reads files, and takes seconds
    /// of a long batch: not for a thread that serves. After an error the old state stays, and the next call tries again.
    pub fn refresh(&self, batches: &[Batch]) -> Result<Option<Refreshed>, CatalogueError> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<&Batch> = batches.iter().filter(|batch| batch.number() > stream.newest).collect();
        let Some(newest) = new.last().map(|batch| batch.number()).filter(|_| self.is_from_batches()) else {
            return Ok(None);
        };
        let (columns, mut gather) = match &stream.read {
            Some((columns, gather)) => (columns.clone(), gather.clone()),
            None => {
                // Whoever began the store wrote the schema before the first batch.
                let Some(schema) = read_schema(self.store.as_ref())? else { return Ok(None) };
                let columns = PartColumns::new(&self.rules, &self.lookups, &schema)?;
                let gather = Gather::new(columns.plan());
                (columns, gather)
            }
        };
        for batch in new {
            columns.read(self.store.as_ref(), batch, &mut gather)?;
        }
        let items = gather.items()?;
        let catalogue = Catalogue::new(gather.ids.clone(), &items, &self.rules)?;
        let refreshed = Refreshed { items: catalogue.len(), tally: gather.tally };
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalogue);
        *stream = Stream { newest, read: Some((columns, gather)) };
        Ok(Some(refreshed))
    }
}
