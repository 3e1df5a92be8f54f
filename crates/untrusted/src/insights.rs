//! `insights/000001.json` beside a `model.json`: what was found by asking a version about the held-out rows of its own batches. It has
//! no time and no attempt in it: whoever computes it writes the same bytes.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Insights {
    pub format: u32,
    /// Held-out rows that were used, and how many there are; of models of stored items, items.
    pub rows: u64,
    pub of: u64,
    /// For people: what was left out, and why.
    pub notes: Vec<String>,
    #[serde(flatten)]
    pub findings: Findings,
}

/// By the task of the version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Findings {
    Regression {
        #[serde(flatten)]
        influence: Influence,
        /// Actual and predicted.
        predicted: Vec<[f64; 2]>,
        /// Actual less predicted; `None` without rows.
        residuals: Option<Residuals>,
    },
    Classification {
        #[serde(flatten)]
        influence: Influence,
        /// The commonest, and then, where there are more, all others as one.
        classes: Vec<String>,
        /// Rows by actual class, then by predicted one.
        confusion: Vec<Vec<u64>>,
        roc: Vec<ClassRoc>,
        calibration: Vec<ClassCalibration>,
    },
    Clustering {
        /// Along the first and the second component, and the cluster.
        scatter: Vec<(f64, f64, u32)>,
        /// Shares of the variance.
        explained: [f64; 2],
        loadings: Vec<Loading>,
    },
    Recommendation {
        by_popularity: Vec<RatingBucket>,
        by_history: Vec<RatingBucket>,
    },
    /// Records of earlier releases have nothing of these two kinds.
    Similarity {
        #[serde(default)]
        columns: Vec<ColumnShare>,
        /// The greatest shares first.
        #[serde(default)]
        terms: Vec<TermShare>,
    },
    Neighbourhood {
        /// The greatest shares first.
        #[serde(default)]
        features: Vec<FeatureShare>,
    },
    Popularity,
}

/// What the answers go by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Influence {
    /// `rmse` or `log_loss`, and what it is of the sample; `None` without rows.
    pub measure: String,
    pub base: Option<f64>,
    /// The most important first.
    pub importance: Vec<FeatureImportance>,
    pub partial: Vec<PartialDependence>,
    /// Of linear models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coefficients: Option<Vec<Coefficient>>,
}

/// How much the measure gets worse when the feature's values are dealt to the rows anew: mean and standard deviation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureImportance {
    pub feature: String,
    /// `None`: it cannot be told.
    pub increase: Option<f64>,
    pub spread: Option<f64>,
}

/// The mean answer when every row has the same value of the feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartialDependence {
    pub feature: String,
    pub kind: PartialKind,
    /// What the numbers of `y` are the probabilities of; `None` for a regression, which has one number.
    pub classes: Option<Vec<String>>,
    pub points: Vec<PartialPoint>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartialKind {
    Number,
    Category,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartialPoint {
    pub x: PartialValue,
    pub y: Vec<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PartialValue {
    Number(f64),
    Category(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coefficient {
    /// Its expression; `intercept` for what all rows have.
    pub feature: String,
    /// The category or the word that it is of.
    pub level: Option<String>,
    /// Whose score it adds to; `None` for a regression.
    pub class: Option<String>,
    pub value: f64,
    /// What it is per.
    pub unit: String,
    /// Per standard deviation of the sample; `None` for an intercept, and without rows.
    pub standardised: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Residuals {
    /// One more than there are counts.
    pub edges: Vec<f64>,
    pub counts: Vec<u64>,
}

/// Of a class against all others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassRoc {
    pub class: String,
    pub auc: f64,
    /// False and true positives, from (0, 0) to (1, 1).
    pub points: Vec<[f64; 2]>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassCalibration {
    pub class: String,
    pub bins: Vec<CalibrationBin>,
}

/// Rows whose probabilities fall into one range: the mean of these, and the share of rows that are of the class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    pub predicted: f64,
    pub observed: f64,
    pub rows: u64,
}

/// How much of an axis of the rows is in each component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loading {
    pub feature: String,
    /// The category that it is of.
    pub level: Option<String>,
    pub x: f64,
    pub y: f64,
}

/// What a column of texts is of all scores of items that are alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnShare {
    pub column: String,
    pub share: f64,
}

/// What a word is of all scores of items that are alike, and how many pairs of them share it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TermShare {
    pub term: String,
    pub column: String,
    pub share: f64,
    pub pairs: u64,
}

/// What a feature is of all distances of near items; of how many pairs both have it, and in how many of them it is equal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureShare {
    pub feature: String,
    pub share: f64,
    pub pairs: u64,
    pub equal: u64,
}

/// Held-out ratings whose item, or user, had so many ratings in training: both ends are in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RatingBucket {
    pub from: u64,
    pub to: u64,
    pub ratings: u64,
    /// Of explicit feedback; the baseline is the item's mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rmse: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_rmse: Option<f64>,
    /// Users with a relevant rating among these, and those of them whose list of ten has an item of one.
    pub users: u64,
    pub hits: u64,
}
