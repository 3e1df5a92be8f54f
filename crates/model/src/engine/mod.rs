//! What fits arrays: the seam between what prepares rows and what learns from them. Which records are held out, filtered or replaced,
//! the encodings and the tables of ids are settled before a job, and what becomes of the fitted arrays after it: an engine
//! sees numbers and codes.

mod failure;
mod local;
pub mod raw;
pub mod spark;

use std::collections::BTreeMap;

use millstream_learn::als::{self, Ratings, Start};
use millstream_learn::content::{self, Corpus};
use millstream_learn::popularity::{self, Sums};
use millstream_learn::{Algorithm, FitError, ParamFault, ParamValue, Seed, Table, kmeans, neighbours};
use serde_json::Value;

use crate::model::Missing;
use crate::registry::{EngineRecord, Fitted, Remedy};

pub use failure::Failure;
pub use local::Local;

/// One fit for each kind of model. What is stopped or fails leaves nothing behind.
pub trait Engine: Send + Sync {
    /// Asked before any row is read.
    fn supports(
        &self,
        algorithm: Algorithm,
        params: &BTreeMap<String, ParamValue>,
        missing: Missing,
    ) -> Result<(), EngineError>;

    /// Whether a fit can begin where an earlier version ended.
    fn starts_warm(&self) -> bool {
        true
    }

    /// What `model.json` says of it; `None`: this process, which says nothing.
    fn record(&self) -> Option<EngineRecord> {
        None
    }

    /// Of an engine that reads and encodes rows with a target itself.
    fn encodes(&self) -> Option<&dyn raw::Encodes> {
        None
    }

    /// Asked once the classes of a target are known, before any row is encoded.
    fn supports_classes(&self, _: Algorithm, _n_classes: usize) -> Result<(), EngineError> {
        Ok(())
    }

    fn fit_rows(&self, job: &Job, table: &Table, target: &Target) -> Result<Fitted, EngineError>;

    fn fit_clusters(&self, job: &Job, table: &Table) -> Result<kmeans::Model, EngineError>;

    fn fit_ratings(&self, job: &Job, ratings: &RatingRows) -> Result<als::Fit, EngineError>;

    // What no other engine has is fitted by this process.

    fn fit_neighbours(&self, job: &Job, table: &Table) -> Result<neighbours::Model, EngineError> {
        Local.fit_neighbours(job, table)
    }

    fn fit_content(&self, job: &Job, corpus: &Corpus) -> Result<content::Model, EngineError> {
        Local.fit_content(job, corpus)
    }

    fn fit_popularity(&self, job: &Job, sums: &Sums) -> Result<popularity::Model, EngineError> {
        Local.fit_popularity(job, sums)
    }
}

/// What is told of every fit besides its rows.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    pub algorithm: Algorithm,
    pub params: &'a BTreeMap<String, ParamValue>,
    pub seed: Seed,
    /// Asked now and then where a fit is long: then it ends as [`FitError::Stopped`].
    pub stopped: &'a (dyn Fn() -> bool + Sync),
    pub tell: &'a (dyn Fn(News) + Sync),
}

/// What an engine tells while it fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// How far it is, in words.
    Progress(String),
    /// Its release.
    Version(String),
}

/// What a model of rows learns to answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    Numbers(Vec<f64>),
    Classes {
        /// Index into `classes`, per row.
        codes: Vec<u32>,
        /// Sorted: numbers by size, texts by their bytes, false before true.
        classes: Vec<Value>,
    },
}

/// Of each user and item the latest rating, under codes.
#[derive(Clone, Copy)]
pub struct RatingRows<'a> {
    pub ratings: &'a Ratings,
    /// Of the same codes: to stop on.
    pub validation: Option<&'a Ratings>,
    /// The model to begin with.
    pub start: Option<&'a Start<'a>>,
    /// What predictions are clamped to; of the ratings where there is none.
    pub scale: Option<(f32, f32)>,
}

/// Why an engine has fitted nothing.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("params.{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; params."))]
    Params(Vec<ParamFault>),
    /// Each names its key of `[[model]]`.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unsupported(Vec<ParamFault>),
    #[error("{} does not learn such a target: this is a fault of Millstream, please report it", .0.name())]
    Target(Algorithm),
    #[error(transparent)]
    Fit(#[from] FitError),
    #[error(transparent)]
    Failed(#[from] Box<Failure>),
}

impl From<Vec<ParamFault>> for EngineError {
    fn from(faults: Vec<ParamFault>) -> Self {
        Self::Params(faults)
    }
}

impl EngineError {
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Params(_) | Self::Unsupported(_) | Self::Target(_) | Self::Fit(_) => Remedy::Config,
            Self::Failed(failure) => failure.remedy,
        }
    }
}
