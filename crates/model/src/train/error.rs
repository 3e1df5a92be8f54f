//! Why a version could not be trained, and who can mend it.

use millstream_learn::FitError;
use millstream_store::StoreError;

use crate::engine::EngineError;
use crate::registry::{RegistryError, Remedy};
use crate::rows::RowsError;

#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Rows(#[from] RowsError),
    #[error("params.{0}")]
    Params(String),
    #[error("the target `{target}` is null in all {rows} rows: name another column, or mend the schema's types")]
    TargetAllNull { target: String, rows: u64 },
    #[error(
        "the target `{target}` has one class only, {class}: a classifier needs two; check `target` and `where`, or train on more batches"
    )]
    OneClass { target: String, class: String },
    #[error(
        "no row is left to train on: of {total} rows {held_out} are held out, {filtered} fail `where`, {no_target} have no target and {missing} lack a feature (missing = …)"
    )]
    NoRows { total: u64, held_out: u64, filtered: u64, no_target: u64, missing: u64 },
    #[error(
        "no rating is left to train on: of {total} rows {held_out} are held out, {filtered} fail `where`, {missing} lack a user, an item or a rating, and {out_of_scale} have a rating outside `scale`, or beyond a thousand million: rescale those in `rating`"
    )]
    NoRatings { total: u64, held_out: u64, filtered: u64, missing: u64, out_of_scale: u64 },
    #[error("no item is left: of {total} rows {without_id} have no id, and {filtered} items fail `where`")]
    NoItems { total: u64, without_id: u64, filtered: u64 },
    #[error("feature `{feature}` has no value in any row: leave it out, or mend the schema's types")]
    NoValues { feature: String },
    #[error(
        "feature `{feature}` has {found} categories and max = {max} with unseen = \"error\": raise max or take unseen = \"other\""
    )]
    TooManyCategories { feature: String, found: usize, max: u32 },
    #[error(
        "feature `{feature}` lacks {rows} numbers, and {algorithm} has no category for them: use missing = \"drop\", \"mean\" or \"median\""
    )]
    MissingNumbers { feature: String, rows: u64, algorithm: &'static str },
    #[error("the fit failed{}: {source}", feature_text(.feature.as_deref()))]
    Fit {
        feature: Option<String>,
        #[source]
        source: FitError,
    },
    #[error(transparent)]
    Engine(EngineError),
    #[error("versions {a} and {b} of `{model}` cannot be compared: {why}")]
    Incomparable { model: String, a: u32, b: u32, why: String },
    #[error("the training was stopped before its end")]
    Stopped,
    #[error("batch {batch} is not in the store any more, or not the one that was trained on: {problem}")]
    Batch { batch: u32, problem: String },
    #[error("the model could not be written as safetensors: {0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn feature_text(feature: Option<&str>) -> String {
    feature.map_or(String::new(), |feature| format!(" at feature `{feature}`"))
}

impl TrainError {
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Rows(RowsError::Expression { .. } | RowsError::Kind { .. })
            | Self::Params(_)
            | Self::TargetAllNull { .. }
            | Self::OneClass { .. }
            | Self::NoRows { .. }
            | Self::NoRatings { .. }
            | Self::NoItems { .. }
            | Self::NoValues { .. }
            | Self::TooManyCategories { .. }
            | Self::MissingNumbers { .. }
            | Self::Incomparable { .. }
            | Self::Fit { .. } => Remedy::Config,
            Self::Engine(error) => error.remedy(),
            // What serves goes on; only another Millstream mends it.
            Self::Rows(RowsError::Impossible(_)) => Remedy::Config,
            Self::Rows(RowsError::Part { .. } | RowsError::Unreadable(_))
            | Self::Batch { .. }
            | Self::Safetensors(_) => Remedy::Store,
            Self::Registry(error) => error.remedy(),
            Self::Stopped | Self::Store(_) => Remedy::Retry,
        }
    }
}

impl From<EngineError> for TrainError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Fit(FitError::Stopped) => Self::Stopped,
            EngineError::Fit(source) => Self::Fit { feature: None, source },
            other @ (EngineError::Params(_)
            | EngineError::Unsupported(_)
            | EngineError::Target(_)
            | EngineError::Failed(_)) => Self::Engine(other),
        }
    }
}
