//! The pipeline file, checked: what every stage reads. Nothing here can hold a wrong value; `raw` reads the
//! TOML as typed, `check` turns it into these types and reports every fault at once.
//!
//! Paths in the file are relative to the working directory, as on the command line.

mod action;
mod check;
mod check_action;
mod check_catalogue;
mod check_model;
mod check_models;
mod check_ratings;
mod check_route;
mod check_similar;
mod check_site;
mod check_source;
mod check_stream;
mod check_table;
mod check_text;
mod check_view;
mod check_view_route;
mod overrides;
mod template;
#[cfg(test)]
mod tests;

pub use action::{Action, Ambiguous, Argument, ITEMS_DEFAULT, ITEMS_MOST, Sort};
pub use check::{Loaded, address, load, load_text, pipeline_name_fault};
pub use check_catalogue::check_catalogue;
pub use check_model::RATING_INPUTS;
pub use check_models::check_models;
pub use check_site::{Sites, host_and_port, is_address, origin};
pub use check_source::format_by_name;
pub use check_stream::{retention_age, retention_bytes};
pub use check_view_route::check_view_route;
pub use overrides::Overrides;

pub use millstream_untrusted::model::{Categorical, Missing, Unseen};

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use millstream_learn::{Algorithm, ParamValue};
use millstream_store::StoreUrl;
use millstream_untrusted::model::Recommendation;

use crate::record::Encoding;

#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// As given on the command line; names the file in every message.
    pub file: PathBuf,
    pub name: String,
    /// `None`: listen only, to a topic that others write.
    pub source: Option<Source>,
    pub schema: SchemaRules,
    pub stream: Stream,
    pub batch: Batch,
    pub store: StoreUrl,
    pub train: Train,
    pub models: Vec<Model>,
    pub routes: Vec<Route>,
    pub catalogue: Option<CatalogueRules>,
    pub tables: Vec<FixedTable>,
    pub views: Vec<View>,
    pub serve: Serve,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub place: SourcePlace,
    pub format: SourceFormat,
    pub compression: Compression,
    pub pace: Pace,
    pub csv: CsvFormat,
    /// The column whose value is the Kafka key; `None`: rows go to the partitions in turn.
    pub key: Option<String>,
    /// The column whose order the rows are replayed in.
    pub order_by: Option<String>,
    /// Of the random delays.
    pub seed: u64,
}

/// Where the rows lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourcePlace {
    File(PathBuf),
    Stdin,
    /// `s3://bucket/key`.
    S3(String),
}

impl std::fmt::Display for SourcePlace {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(out, "{}", path.display()),
            Self::Stdin => write!(out, "standard input"),
            Self::S3(url) => write!(out, "{url}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFormat {
    Csv,
    Jsonl,
    Parquet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// How fast rows are replayed.
#[derive(Debug, Clone, PartialEq)]
pub enum Pace {
    FullSpeed,
    Fixed(Duration),
    /// Uniform in `low..=high`, per record.
    Uniform {
        low: Duration,
        high: Duration,
    },
    /// Rows per second.
    Rate(f64),
    /// By event time, so many times faster.
    Speed(f64),
}

#[derive(Debug, Clone, PartialEq)]
pub struct CsvFormat {
    pub separator: u8,
    pub quote: u8,
    /// Without a header line columns are called `column_1`, `column_2`, …
    pub header: bool,
}

impl Default for CsvFormat {
    fn default() -> Self {
        Self { separator: b',', quote: b'"', header: true }
    }
}

/// `[schema]`: what the user pins; the rest is inferred.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SchemaRules {
    /// The event-time column.
    pub time: Option<String>,
    /// Texts that mean null, besides the empty one.
    pub null: Vec<String>,
    pub columns: BTreeMap<String, ColumnRule>,
    /// Columns that are ids of something, by what the other tables say of them: their whole numbers are int64.
    pub ids: BTreeSet<String>,
    /// Columns that are times to a model, likewise.
    pub times: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ColumnRule {
    pub kind: Option<crate::schema::ColumnType>,
    /// Instead of `schema.null`, for this column.
    pub null: Option<Vec<String>>,
    /// SQL over the source's columns that makes this one.
    pub from: Option<String>,
    pub bad: Bad,
}

/// What becomes of a record whose value does not fit its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bad {
    /// The record is kept aside.
    #[default]
    Reject,
    /// The value is null.
    Null,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    pub topic: String,
    /// `None`: one for a topic that is made, as many as there are for one that others made.
    pub partitions: Option<NonZeroU32>,
    pub broker: BrokerChoice,
    pub encoding: Encoding,
    pub start: Start,
    /// Of the embedded broker.
    pub retention: Retention,
    /// librdkafka properties by their own names, without `bootstrap.servers`.
    pub properties: BTreeMap<String, String>,
}

/// What the embedded broker keeps of topics that do not say so themselves; `None`: everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    pub age: Option<Duration>,
    /// In each partition.
    pub bytes: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum BrokerChoice {
    Embedded {
        listen: SocketAddr,
        data: PathBuf,
    },
    /// `bootstrap.servers`.
    Servers(String),
}

/// Where a topic that others write is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    pub rule: BatchRule,
    /// Stop after so many batches.
    pub limit: Option<NonZeroU32>,
    /// Over the whole stream; `None`: not set by the user.
    pub max_rejects: Option<u64>,
    pub on_stop: OnStop,
    /// A part-filled batch is closed after so long a silence.
    pub idle: Option<Duration>,
    pub format: BatchFormat,
}

/// How parts are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchFormat {
    Parquet,
    Csv,
    Jsonl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchRule {
    Rows(NonZeroU64),
    Parts(NonZeroU32),
    Window { length_ms: NonZeroU64, time: WindowTime },
}

/// Which time a window counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowTime {
    /// Kafka's timestamp: when the record was sent.
    Arrival,
    /// `schema.time`.
    Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStop {
    Park,
    Cut,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Train {
    /// The share of records that no model ever trains on, in 0 ≤ share < 1.
    pub holdout: f64,
}

/// One `[[model]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub name: String,
    pub algorithm: Algorithm,
    pub train_on: TrainOn,
    /// `where`: filters training only.
    pub filter: Option<String>,
    /// Checked by the algorithm's own `Params::from_values`.
    pub params: BTreeMap<String, ParamValue>,
    /// Of the forest's bootstrap, of the first factors; and of whatever else draws.
    pub seed: u64,
    pub columns: Columns,
}

/// What a model reads: the kind follows from its algorithm.
#[derive(Debug, Clone, PartialEq)]
pub enum Columns {
    /// `linear_regression`, `logistic_regression`, `random_forest`.
    Supervised(Supervised),
    /// `als`.
    Ratings(RatingColumns),
    /// `kmeans`.
    Clusters(ClusterColumns),
    /// `content`.
    Content(ContentColumns),
    /// `neighbours`.
    Neighbours(NeighbourColumns),
    /// `popularity`.
    Popularity(PopularityColumns),
}

impl Columns {
    /// Every column's name or SQL expression.
    pub fn texts(&self) -> Vec<&str> {
        let (all, some): (Vec<&String>, Vec<&Option<String>>) = match self {
            Self::Supervised(Supervised { features, target, output, baseline, .. }) => {
                (features.iter().chain([target]).collect(), vec![output, baseline])
            }
            Self::Ratings(RatingColumns { user, item, rating, time, group, .. }) => {
                (vec![user, item], vec![rating, time, group])
            }
            Self::Clusters(ClusterColumns { features, .. }) => (features.iter().collect(), Vec::new()),
            Self::Content(ContentColumns { id, title, text }) => {
                (text.iter().map(|(text, _)| text).chain([id]).collect(), vec![title])
            }
            Self::Neighbours(NeighbourColumns { id, features, .. }) => {
                (features.iter().chain([id]).collect(), Vec::new())
            }
            Self::Popularity(PopularityColumns { item, score, votes, group }) => {
                (vec![item], vec![score, votes, group])
            }
        };
        all.into_iter().chain(some.into_iter().flatten()).map(String::as_str).collect()
    }
}

/// Features and a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Supervised {
    /// A column's name, or a SQL expression.
    pub features: Vec<String>,
    pub target: String,
    pub categorical: BTreeMap<String, Categorical>,
    /// Features of which each word counts; the keys are among `features`.
    pub text: BTreeMap<String, TextRule>,
    pub missing: Missing,
    /// SQL over the one column `prediction`; metrics are on its result.
    pub output: Option<String>,
    /// A column or SQL expression to measure against beside the mean, such as the previous value.
    pub baseline: Option<String>,
}

/// How a text becomes words: every parameter of `millstream_learn::content`, defaults included.
#[derive(Debug, Clone, PartialEq)]
pub struct TextRule(pub BTreeMap<String, ParamValue>);

/// Who rated what, and how: each a column's name, or a SQL expression.
#[derive(Debug, Clone, PartialEq)]
pub struct RatingColumns {
    pub user: String,
    pub item: String,
    /// `None`: that a row is there is all it says (implicit feedback).
    pub rating: Option<String>,
    /// Of two ratings of one item by one user the later counts; `None`: the last in the stream.
    pub time: Option<String>,
    /// By which popular items can be asked for.
    pub group: Option<String>,
    /// The least and the greatest rating; others are left out. `None`: as the ratings are.
    pub scale: Option<(f64, f64)>,
    /// A held-out item counts as relevant from this rating on; `None`: the mean of the training ratings.
    pub relevant: Option<f64>,
}

/// As in the pipeline file that the version was trained by.
impl From<&Recommendation> for RatingColumns {
    fn from(task: &Recommendation) -> Self {
        Self {
            user: task.user.expression.clone(),
            item: task.item.expression.clone(),
            rating: task.rating.clone(),
            time: task.time.clone(),
            group: task.group.clone(),
            scale: task.scale,
            relevant: task.relevant,
        }
    }
}

/// Features without a target.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterColumns {
    /// A column's name, or a SQL expression.
    pub features: Vec<String>,
    pub categorical: BTreeMap<String, Categorical>,
    /// Any but `Skip`.
    pub missing: Missing,
}

/// Items and their texts: each a column's name, or a SQL expression.
#[derive(Debug, Clone, PartialEq)]
pub struct ContentColumns {
    /// The latest record of an id counts.
    pub id: String,
    /// What items are looked up by; `None`: they are not looked up by a title.
    pub title: Option<String>,
    /// What is compared, and how much it counts beside the others; in the file's order.
    pub text: Vec<(String, f64)>,
}

/// Rows that are compared: each a column's name, or a SQL expression.
#[derive(Debug, Clone, PartialEq)]
pub struct NeighbourColumns {
    /// The latest record of an id counts.
    pub id: String,
    pub features: Vec<String>,
    pub categorical: BTreeMap<String, Categorical>,
}

/// Who is liked, how well, and by how many: each a column's name, or a SQL expression.
#[derive(Debug, Clone, PartialEq)]
pub struct PopularityColumns {
    pub item: String,
    /// `None`: items are ranked by votes alone.
    pub score: Option<String>,
    /// How many votes a record sums up, and then the latest record of an item counts; `None`: each record is one vote.
    pub votes: Option<String>,
    /// A text, or a list of them: each has a list of its own.
    pub group: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrainOn {
    Each,
    Cumulative,
    Last(NonZeroU32),
    /// Ascending, without doubles, from 1.
    Batches(Vec<u32>),
}

/// One `[[route]]`: a URL of the user's choosing that answers from models.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Segments of the path; `{name}` is a parameter.
    pub path: String,
    /// None of them where a view answers.
    pub models: Vec<String>,
    pub view: Option<ViewCall>,
    pub action: Action,
    /// Where the action's arguments come from; one that is absent has its default.
    pub args: BTreeMap<Argument, Origin>,
    /// What this API calls version 1.
    pub first_version: u32,
    pub get: bool,
    pub post: bool,
    /// Model column → request parameter; a column that is absent goes by its own name.
    pub input: BTreeMap<String, String>,
    /// Where the row lies in a posted object.
    pub body: Option<String>,
    /// The JSON template; `None`: the built-in shape.
    pub response: Option<serde_json::Value>,
    /// 404 instead of a list without items.
    pub empty_is_error: bool,
    pub ambiguous: Ambiguous,
}

/// The view that a route answers from.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewCall {
    pub name: String,
    /// Where each of the view's parameters comes from.
    pub args: BTreeMap<String, Origin>,
}

/// One `[[view]]`: named SQL over the batches, the catalogue and the fixed tables.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub name: String,
    pub sql: String,
    /// In the file's order.
    pub params: Vec<(String, ViewParameter)>,
}

/// The longest text that a request gives a query, unless its parameter says otherwise.
pub const TEXT_BYTES: usize = 4 << 10;

/// What a view's parameter takes: it is bound as a value of its type.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewParameter {
    pub kind: crate::schema::ColumnType,
    /// Of numbers.
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// Of texts, the longest.
    pub text_bytes: usize,
    /// Nothing but these.
    pub values: Option<Vec<serde_json::Value>>,
    /// `None`: every request must give it.
    pub default: Option<serde_json::Value>,
}

/// One `[[table]]`: rows that views may select from, and the catalogue look up.
#[derive(Debug, Clone, PartialEq)]
pub struct FixedTable {
    pub name: String,
    /// The column by which the catalogue's expressions find the others.
    pub key: Option<String>,
    pub rows: TableRows,
}

/// Where the rows of a fixed table are.
#[derive(Debug, Clone, PartialEq)]
pub enum TableRows {
    File(Source),
    /// In the pipeline file itself.
    Given(GivenRows),
}

/// A column that a row does not name is null there.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenRows {
    pub schema: crate::schema::StreamSchema,
    pub rows: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// Where a route takes an argument from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// The request's parameter of this name.
    Parameter(String),
    /// The same for every request.
    Constant(serde_json::Value),
    /// The posted object or list itself: of ratings.
    Body,
}

/// `[catalogue]`: the items that pages and recommendations show. Its expressions are columns' names or SQL.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogueRules {
    pub from: CatalogueFrom,
    pub id: String,
    pub title: Option<String>,
    /// Gives a URL; or, with `images`, the name of a file.
    pub image: Option<String>,
    /// The folder of the store that pictures lie in, without a slash at its end.
    pub images: Option<String>,
    /// Name and expression, in the file's order.
    pub columns: Vec<(String, String)>,
    /// Names among `columns`.
    pub facets: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum CatalogueFrom {
    /// The records of the stream.
    Batches,
    /// A file of its own; neither `stdin` nor paced.
    File(Box<Source>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Serve {
    pub listen: SocketAddr,
    pub sites: Sites,
    pub query: QueryLimits,
}

/// What one view or query may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryLimits {
    pub time: Duration,
    /// More rows are left out, and the answer says so.
    pub rows: usize,
    /// Of all queries together while they run, and again of the columns that are kept for the next ones.
    pub memory_bytes: usize,
    /// Whether SQL that a request brings is answered at all.
    pub from_requests: bool,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self { time: Duration::from_secs(10), rows: 10_000, memory_bytes: 256 << 20, from_requests: true }
    }
}
