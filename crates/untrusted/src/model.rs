//! `model.json`: all that serving a version needs, frozen. Serving reads it, never the pipeline file. Format 1 is final;
//! golden files hold it.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelFile {
    pub format: u32,
    pub model: String,
    pub version: u32,
    /// The attempt that wrote it: tells "mine" from "another's" after a lost answer.
    pub attempt: String,
    pub algorithm: String,
    /// BLAKE3 of (model, configuration digest, batch digests): trained once, whoever asks.
    pub identity: String,
    pub configuration_digest: String,
    pub task: Task,
    pub target_summary: TargetSummary,
    /// The columns a request must bring, in the order of the features that need them.
    pub inputs: Vec<Input>,
    pub features: Vec<Feature>,
    /// The target's expression.
    pub target: String,
    pub filter: Option<String>,
    pub train_on: serde_json::Value,
    /// SQL over `prediction`.
    pub output: Option<String>,
    pub baseline: Option<String>,
    pub missing: Missing,
    /// Every parameter, defaults included; of an imported version those that are known.
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// The batches trained on, ascending, with the digests of their records.
    pub batches: Vec<TrainedBatch>,
    /// Rows the fit saw: after `where`, hold-out and dropped rows.
    pub rows: u64,
    pub dropped_missing: u64,
    pub holdout: Holdout,
    pub seed: u64,
    /// The file with the arrays, beside this one, and its BLAKE3.
    pub file: String,
    pub file_digest: String,
    pub schema: u32,
    /// What its expressions mean.
    #[serde(default, skip_serializing_if = "Dialect::is_first")]
    pub dialect: Dialect,
    pub trained_at_ms: u64,
    pub training_seconds: f64,
    /// What a reader should know of the fit: not converged, separable, rank-deficient.
    pub notes: Vec<String>,
    /// Where it is from, of a version that was not trained here: it has no batches and no measures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Provenance>,
    /// What fitted it; absent: the process that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineRecord>,
}

/// What trained a version, where that was not a Millstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Such as `Spark 4.0.1`.
    pub from: String,
    /// What that calls such a model.
    pub class: String,
    pub uid: String,
    /// Of the names and the contents of its files.
    pub digest: String,
    pub imported_at_ms: u64,
    /// What it was fitted with, by the names there, as far as `parameters` has no word that means the same.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub parameters: serde_json::Map<String, serde_json::Value>,
}

/// An engine outside the process that wrote a version. Its name and revision are in the identity; the rest is told, and nothing follows
/// from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineRecord {
    pub name: String,
    /// Of what is asked of it: another one may give another model.
    pub revision: u32,
    /// Its release, where it told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// As configured, without secrets.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// Of inputs and of features.
const COLUMNS_MOST: usize = 10_000;
const NAME_BYTES_MOST: usize = 255;

impl ModelFile {
    /// What can be said of it without its arrays: its file lies beside it, and there are not too many columns.
    pub fn check(&self) -> Result<(), String> {
        if !is_plain(&self.file) {
            let shown: String = self.file.chars().take(80).collect();
            return Err(format!("names the file {shown:?}, which is no plain name of one beside it"));
        }
        for (count, what) in [(self.inputs.len(), "inputs"), (self.features.len(), "features")] {
            if count > COLUMNS_MOST {
                return Err(format!("has {count} {what}, {COLUMNS_MOST} are the most"));
            }
        }
        Ok(())
    }

    /// Every column's name or SQL expression; an absent target is empty.
    pub fn texts(&self) -> Vec<&str> {
        let mut texts: Vec<&str> = self.features.iter().map(|feature| feature.expression.as_str()).collect();
        texts.push(&self.target);
        texts.extend([&self.filter, &self.output, &self.baseline].into_iter().flatten().map(String::as_str));
        match &self.task {
            Task::Regression | Task::Classification { .. } | Task::Clustering(_) => {}
            Task::Recommendation(Recommendation { user, item, rating, time, group, .. }) => {
                texts.extend([user, item].map(|id| id.expression.as_str()));
                texts.extend([rating, time, group].into_iter().flatten().map(String::as_str));
            }
            Task::Similarity(SimilarityTask { id, title, text, .. }) => {
                texts.push(&id.expression);
                texts.extend(title.as_deref());
                texts.extend(text.iter().map(|text| text.expression.as_str()));
            }
            Task::Neighbourhood(NeighbourhoodTask { id, .. }) => texts.push(&id.expression),
            Task::Popularity(PopularityTask { item, score, votes, group, .. }) => {
                texts.push(&item.expression);
                texts.extend([score, votes, group].into_iter().flatten().map(String::as_str));
            }
        }
        texts
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Task {
    Regression,
    /// Class names, sorted; the index is the class number. `text` tells whether they are JSON strings, numbers or booleans.
    Classification {
        classes: Vec<serde_json::Value>,
    },
    /// Who would like what. `features` are then none, `inputs` are `user` and `item`, `target` is the rating's text, `1` where a
    /// row itself says it all, and `target_summary` the mean of the ratings.
    Recommendation(Recommendation),
    /// Which rows are alike. `features` and `inputs` are those of a row; `target` is empty, and nothing is summed up of it: of this
    /// task and of those below.
    Clustering(ClusteringTask),
    /// Which items have similar texts. `inputs` are the columns that the texts are made of.
    Similarity(SimilarityTask),
    /// Which items have near values. `features` and `inputs` are those of a row.
    Neighbourhood(NeighbourhoodTask),
    /// Which items are liked best. `inputs` are none.
    Popularity(PopularityTask),
}

impl Task {
    /// As JSON and people call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Regression => "regression",
            Self::Classification { .. } => "classification",
            Self::Recommendation(_) => "recommendation",
            Self::Clustering(_) => "clustering",
            Self::Similarity(_) => "similarity",
            Self::Neighbourhood(_) => "neighbourhood",
            Self::Popularity(_) => "popularity",
        }
    }

    /// Of a classification.
    pub fn classes(&self) -> &[serde_json::Value] {
        if let Self::Classification { classes } = self { classes } else { &[] }
    }

    /// What tells its items apart, where it knows items.
    pub fn item(&self) -> Option<&IdColumn> {
        match self {
            Self::Regression | Self::Classification { .. } | Self::Clustering(_) => None,
            Self::Recommendation(task) => Some(&task.item),
            Self::Similarity(task) => Some(&task.id),
            Self::Neighbourhood(task) => Some(&task.id),
            Self::Popularity(task) => Some(&task.item),
        }
    }

    pub fn recommendation(&self) -> Option<&Recommendation> {
        if let Self::Recommendation(task) = self { Some(task) } else { None }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    pub user: IdColumn,
    pub item: IdColumn,
    pub rating: Option<String>,
    pub time: Option<String>,
    pub group: Option<String>,
    pub feedback: Feedback,
    /// As configured: ratings outside were left out. `None`: all were taken. What answers are clamped to is with the arrays.
    pub scale: Option<(f64, f64)>,
    /// As configured; `None`: relevant is what is rated at or above the mean of the training ratings.
    pub relevant: Option<f64>,
    pub users: u64,
    pub items: u64,
    /// Ratings in whose place a later one of the same user and item counts.
    pub duplicates: u64,
    pub out_of_scale: u64,
    pub iterations: u32,
    /// The version whose factors this one started from.
    pub parent: Option<Parent>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusteringTask {
    /// As found, where the number was left open.
    pub clusters: u32,
    /// Σ squared distance of the fitted rows to their centres. `None`, here and below: fitted elsewhere, and not known.
    pub inertia: Option<f64>,
    pub iterations: Option<u32>,
    pub converged: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimilarityTask {
    pub id: IdColumn,
    /// What items are looked up by.
    pub title: Option<String>,
    pub text: Vec<TextColumn>,
    pub items: u64,
    /// Items without a term: similar to none.
    pub without_text: u64,
    /// Records of an id in whose place a later one counts.
    pub replaced: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextColumn {
    pub expression: String,
    pub weight: f64,
    /// How many terms of it are kept.
    pub terms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NeighbourhoodTask {
    pub id: IdColumn,
    pub items: u64,
    /// Records of an id in whose place a later one counts.
    pub replaced: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PopularityTask {
    pub item: IdColumn,
    pub score: Option<String>,
    pub votes: Option<String>,
    pub group: Option<String>,
    pub items: u64,
    pub groups: u64,
    /// Of all votes; `None` without scores.
    pub mean: Option<f64>,
    /// Records of an item in whose place a later one counts: with `votes` only.
    pub replaced: u64,
}

/// A column or an expression whose values are ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdColumn {
    pub expression: String,
    /// `int64` or `utf8`.
    #[serde(rename = "type")]
    pub kind: ColumnType,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Feedback {
    Explicit,
    Implicit,
}

/// Of the same model; its arrays are known by their digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    pub version: u32,
    pub file_digest: String,
}

/// Of the rows that were fitted: the trivial prediction that every evaluation, also of later batches, is held against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum TargetSummary {
    /// Of the target as answered, after `output`.
    Mean { mean: f64 },
    /// Of each class, in the order of `task.classes`; they sum to 1.
    Frequencies { frequencies: Vec<f64> },
    /// There is no target.
    None,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: ColumnType,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// As written in the pipeline file: a column or an expression.
    pub expression: String,
    #[serde(flatten)]
    pub encoding: Encoding,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "encoding", rename_all = "lowercase")]
pub enum Encoding {
    Numeric {
        /// The range seen in training; answers outside it carry a warning. `None` when every value was missing.
        min: Option<f64>,
        max: Option<f64>,
        /// What a missing value becomes under `missing = "mean" | "median"`.
        fill: Option<f64>,
    },
    Categorical {
        /// The category's number is its index. Under `unseen = "other"` one more number, the last, is "other"; under
        /// `missing = "category"` one more after that is "missing".
        categories: Vec<String>,
        rule: Categorical,
    },
    /// Each word counts; the words and their weights are with the arrays, under `text_` and the feature's index.
    Text {
        words: u32,
        /// How the words were chosen: every parameter, defaults included.
        parameters: serde_json::Map<String, serde_json::Value>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainedBatch {
    pub batch: u32,
    pub digest: String,
}

/// A record is held out when `hash(seed, partition, offset)` falls under `share`: see `train::holdout`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Holdout {
    pub share: f64,
    pub seed: i64,
}

/// `removed.json`: the version is removed. Its arrays are deleted; `model.json` and the evaluations stay, so that its number and its
/// identity are used for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    pub format: u32,
    pub model: String,
    pub version: u32,
    pub identity: String,
    pub configuration_digest: String,
    pub file: String,
    pub file_digest: String,
    /// The rule, such as `train.keep = 20`.
    pub reason: String,
    pub removed_at_ms: u64,
}

/// `evaluations/000001.json`: one measurement of a version, numbered, create-only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    pub format: u32,
    pub attempt: String,
    pub kind: EvaluationKind,
    /// The batches whose records were scored.
    pub batches: Vec<u32>,
    pub scores: Scores,
    pub evaluated_at_ms: u64,
}

/// `models/<model>/common/000001.json`: some versions of a model, measured on the same records: the held-out ones of all batches
/// so far. Numbered, create-only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommonRecord {
    pub format: u32,
    pub attempt: String,
    pub batches: BatchRange,
    pub versions: std::collections::BTreeMap<u32, Scores>,
    pub evaluated_at_ms: u64,
}

/// Both ends are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRange {
    pub first: u32,
    pub last: u32,
}

/// Of a range: its list is 4 MiB long.
const BATCHES_MOST: u32 = 1 << 20;

impl CommonRecord {
    /// A range is short to write and long to list.
    pub fn check(&self) -> Result<(), String> {
        let BatchRange { first, last } = self.batches;
        match last.checked_sub(first) {
            Some(more) if first > 0 && more < BATCHES_MOST => Ok(()),
            _ => Err(format!("names the batches {first} to {last}, {BATCHES_MOST} are the most")),
        }
    }

    /// What it says of one version.
    pub fn evaluation(&self, version: u32) -> Option<Evaluation> {
        Some(Evaluation {
            format: self.format,
            attempt: self.attempt.clone(),
            kind: EvaluationKind::Common,
            batches: (self.batches.first..=self.batches.last).collect(),
            scores: self.versions.get(&version)?.clone(),
            evaluated_at_ms: self.evaluated_at_ms,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluationKind {
    /// The held-out records of the version's own batches.
    Holdout,
    /// The held-out records of all batches so far; older releases wrote it beside each version, see [`CommonRecord`].
    Common,
    /// All records of the first batch after its newest.
    NextBatch,
}

/// On which records two versions are compared: none of them was trained on by either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComparedOn {
    /// The held-out records of all batches so far.
    Common,
    /// All records of the first batch after the newest of both.
    NextBatch,
}

impl ComparedOn {
    pub const NAMES: [&'static str; 2] = ["common", "next_batch"];

    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "common" => Some(Self::Common),
            "next_batch" => Some(Self::NextBatch),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Common => "common",
            Self::NextBatch => "next_batch",
        }
    }
}

/// A measure of two versions, a and b, on the same records, and the interval of the difference, b − a.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasureDifference {
    pub measure: String,
    pub less_is_better: bool,
    pub a: f64,
    pub b: f64,
    pub difference: f64,
    pub low: f64,
    pub high: f64,
}

impl MeasureDifference {
    /// By how much b is better, as an interval.
    fn gain(&self) -> (f64, f64) {
        if self.less_is_better { (-self.high, -self.low) } else { (self.low, self.high) }
    }

    /// Whether the whole interval says that b is better by more than `margin`.
    pub fn b_is_better(&self, margin: f64) -> bool {
        self.gain().0 > margin
    }

    /// The same of worse.
    pub fn b_is_worse(&self) -> bool {
        self.gain().1 < 0.0
    }
}

/// `decision.json`: what the model's `promote` decided of the version. Create-only: a version is decided once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub format: u32,
    pub model: String,
    pub version: u32,
    /// `always` or `if_better`.
    pub rule: String,
    pub promote: bool,
    /// In words and numbers.
    pub reason: String,
    /// The version that the alias named then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub champion: Option<u32>,
    /// The number of the alias's newest record then; 0: there was none. Where another one is the newest, somebody has moved the alias since, and the
    /// decision moves it no more.
    pub after: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<DecidedBy>,
    pub decided_at_ms: u64,
}

/// What was compared: the champion is a, the version b.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecidedBy {
    pub on: ComparedOn,
    pub batches: BatchRange,
    /// Records, or users.
    pub compared: u64,
    pub level: f64,
    /// In the measure's units.
    pub margin: f64,
    #[serde(flatten)]
    pub measure: MeasureDifference,
}

/// Measures by name (`rmse`, `mae`, `r2` or `accuracy`, `log_loss`, `auc`, or `rmse`, `mae`, `ndcg_10`, `recall_10`, `map_10`,
/// `coverage`, or `silhouette`, `inertia`, or `known_items`, `rmse`, `votes`), beside the trivial baseline on the same rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    pub rows: u64,
    /// Of a recommendation. Before `measures`, which takes what is left.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub counts: Option<RatingCounts>,
    #[serde(flatten)]
    pub measures: std::collections::BTreeMap<String, Option<f64>>,
    pub baseline: Baseline,
    /// By RMSE, by log-loss with accuracy no worse, of implicit feedback by NDCG@10, or by silhouette and inertia both; `None` when there was nothing to measure.
    pub beats_baseline: Option<bool>,
}

/// Records of an earlier release have no such count.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Which records a recommender was measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RatingCounts {
    /// Scored: the version knows user and item.
    pub known_pairs: u64,
    /// Scored: of new users, after the first half of their records was folded in.
    pub new_user_pairs: u64,
    /// Not scored: the version does not know the item, or the user, and could fold in nothing.
    pub unknown_pairs: u64,
    /// Not scored: records of a pair that was trained on, or that has a later record among these.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeated: u64,
    /// Users of the batch that the version does not know, and those of them that were scored.
    pub new_users: u64,
    pub folded_in_users: u64,
    /// Users whose lists were measured.
    pub ranked_users: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// `mean`, `majority class`, `item mean and popularity` (errors beside the first, lists beside the second), `popularity`, `one
    /// cluster (inertia), random clusters (silhouette)`, `the item's plain mean`, `nothing trivial`, or the column or expression of
    /// `baseline`.
    pub kind: String,
    #[serde(flatten)]
    pub measures: std::collections::BTreeMap<String, Option<f64>>,
}

/// What the texts of a source and the expressions over its columns mean. A store keeps the dialect that it was begun with; where
/// a file names none, it is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub enum Dialect {
    /// Inferred numbers are float64; only what JSON calls a number is one; `/` of whole numbers leaves the fraction out.
    #[default]
    First,
    /// Columns of whole numbers are int64; numbers are read as people write them; `/` divides as real numbers.
    Second,
}

impl Dialect {
    /// Of a store that is begun now.
    pub const CURRENT: Self = Self::Second;

    pub fn is_first(&self) -> bool {
        *self == Self::First
    }
}

impl From<Dialect> for u32 {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::First => 1,
            Dialect::Second => 2,
        }
    }
}

impl TryFrom<u32> for Dialect {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        match number {
            1 => Ok(Self::First),
            2 => Ok(Self::Second),
            other => {
                Err(format!("dialect {other} is that of a later version of Millstream: read the store with that one"))
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    Float64,
    Int64,
    Utf8,
    Boolean,
}

impl ColumnType {
    pub const NAMES: [&'static str; 4] = ["float64", "int64", "utf8", "boolean"];

    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "float64" => Some(Self::Float64),
            "int64" => Some(Self::Int64),
            "utf8" | "text" | "string" => Some(Self::Utf8),
            "boolean" | "bool" => Some(Self::Boolean),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Float64 => "float64",
            Self::Int64 => "int64",
            Self::Utf8 => "utf8",
            Self::Boolean => "boolean",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Categorical {
    /// Categories kept, the most frequent first.
    pub max: u32,
    pub unseen: Unseen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unseen {
    Other,
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    Drop,
    Mean,
    Median,
    Category,
    /// What lacks a value is not compared; of `neighbours`, which take no other rule.
    Skip,
}

fn is_plain(name: &str) -> bool {
    let odd = |letter: char| matches!(letter, '/' | '\\' | ':') || letter.is_control();
    !name.is_empty() && name.len() <= NAME_BYTES_MOST && !name.starts_with('.') && !name.contains(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialect_is_its_number_and_one_that_is_not_known_is_refused() {
        for (dialect, number) in [(Dialect::First, "1"), (Dialect::Second, "2")] {
            assert_eq!(serde_json::to_string(&dialect).unwrap(), number);
            assert_eq!(serde_json::from_str::<Dialect>(number).unwrap(), dialect);
        }
        for other in ["0", "3"] {
            let error = serde_json::from_str::<Dialect>(other).unwrap_err().to_string();
            assert!(error.contains("a later version of Millstream"), "{error}");
        }
    }

    #[test]
    fn a_name_stays_in_its_folder() {
        for plain in ["model.safetensors", "model-0f3a.safetensors"] {
            assert!(is_plain(plain), "{plain}");
        }
        for odd in ["", ".", "..", "../x", "/dev/zero", "a/b", "a\\b", "c:x", "a\0", ".hidden", &"x".repeat(256)] {
            assert!(!is_plain(odd), "{odd}");
        }
    }
}
