//! `[train]` of the pipeline file.

use std::num::NonZeroU32;
use std::time::Duration;

use super::WhenBehind;
use crate::engine::spark::SparkSettings;

#[derive(Debug, Clone, PartialEq)]
pub struct TrainSettings {
    /// The share of records that no model ever trains on, in 0 ≤ share < 1.
    pub holdout: f64,
    /// So long after one training the next one begins; `None`: with every batch.
    pub every: Option<Duration>,
    pub when_behind: WhenBehind,
    /// So many versions of a model, and those with an alias; `None`: all.
    pub keep: Option<NonZeroU32>,
    pub spark: SparkSettings,
}
