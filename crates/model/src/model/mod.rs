//! `[[model]]` of the pipeline file: what a model reads, what it is trained on, and what can be asked of it.

mod action;
pub mod check;
mod kinds;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use millstream_learn::{Algorithm, ParamValue};
use millstream_untrusted::model::{ComparedOn, Recommendation};

pub use action::{Action, Ambiguous, Argument, ITEMS_DEFAULT, ITEMS_MOST, Sort};
pub use kinds::{ActionSpec, KindSpec};
pub use millstream_untrusted::model::{Categorical, Missing, Unseen};

/// What a recommender is asked with, whatever the stream's columns are called.
pub const RATING_INPUTS: [&str; 2] = ["user", "item"];

/// The one column that `output` sees.
pub const PREDICTION: &str = "prediction";

/// What `output` is compiled against.
pub fn prediction_schema() -> Schema {
    Schema::new(vec![Field::new(PREDICTION, DataType::Float64, true)])
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
    pub engine: EngineKind,
    pub promote: PromoteRule,
}

/// When training lets the champion name a new version.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum PromoteRule {
    #[default]
    Manual,
    Always,
    IfBetter(IfBetter),
}

/// Beside the champion, on the same records.
#[derive(Debug, Clone, PartialEq)]
pub struct IfBetter {
    /// `None`: the main one of the version's task.
    pub measure: Option<String>,
    /// In the measure's units, from 0.
    pub margin: f64,
    pub on: ComparedOn,
    /// Of the interval that must lie beyond the margin.
    pub level: f64,
}

/// What fits a model's arrays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum EngineKind {
    /// This process.
    #[default]
    Local,
    /// `[train.spark]`.
    Spark,
}

impl EngineKind {
    /// Whether it fits such models.
    pub fn has(self, algorithm: Algorithm) -> bool {
        match (self, algorithm) {
            (Self::Local, _) => true,
            (
                Self::Spark,
                Algorithm::Als
                | Algorithm::GradientBoosting
                | Algorithm::Kmeans
                | Algorithm::LinearRegression
                | Algorithm::LogisticRegression
                | Algorithm::RandomForest,
            ) => true,
            (Self::Spark, Algorithm::Content | Algorithm::Neighbours | Algorithm::Popularity) => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrainOn {
    Each,
    Cumulative,
    Last(NonZeroU32),
    /// Ascending, without doubles, from 1.
    Batches(Vec<u32>),
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
    /// What becomes of rows with missing values.
    pub fn missing(&self) -> Missing {
        match self {
            Self::Supervised(Supervised { missing, .. }) | Self::Clusters(ClusterColumns { missing, .. }) => *missing,
            Self::Neighbours(_) => Missing::Skip,
            Self::Ratings(_) | Self::Content(_) | Self::Popularity(_) => Missing::Drop,
        }
    }

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
