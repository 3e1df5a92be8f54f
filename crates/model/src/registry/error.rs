//! What can be wrong with a stored version, and who can mend it.

use millstream_learn::LoadError;
use millstream_store::StoreError;
use millstream_stream::expression::ExpressionError;

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("there is no version {version} of model `{model}` in the store")]
    UnknownVersion { model: String, version: u32 },
    #[error("version {version} of model `{model}` was removed at {at} ({reason}): its arrays are deleted")]
    Removed { model: String, version: u32, at: String, reason: String },
    #[error(
        "version {version} of model `{model}` was removed while it was promoted: the alias {alias} names {named} as before"
    )]
    RemovedMeanwhile { model: String, version: u32, alias: String, named: String },
    #[error(
        "the alias {alias} of model `{model}` was moved by another meanwhile: it names {named} now; look at that, and ask again"
    )]
    MovedMeanwhile { model: String, alias: String, named: String },
    #[error(
        "the alias {alias} of model `{model}` names {named}, and nothing before it that is still there: promote the version that it shall name"
    )]
    NothingBefore { model: String, alias: String, named: String },
    #[error(
        "whether the alias {alias} of model `{model}` was rolled back cannot be told: see what it names now before you ask again"
    )]
    RollbackUnknown {
        model: String,
        alias: String,
        #[source]
        source: StoreError,
    },
    #[error(
        "the alias {alias} of model `{model}` names version {version} now, but whether that was removed meanwhile cannot be told: promote it again"
    )]
    PromotionUnknown {
        model: String,
        version: u32,
        alias: String,
        #[source]
        source: StoreError,
    },
    #[error(
        "{alias:?} is no alias: small letters, digits, `_` and `-`, a letter first, at most 64 of them, and not `latest`"
    )]
    NoAlias { alias: String },
    #[error(
        "{place} has format {found}, and this Millstream reads format {known}: use the Millstream that wrote it, or a newer one"
    )]
    UnknownFormat { place: String, found: u64, known: u32 },
    #[error(
        "{place} is no record of the kind its name says: restore it from a copy, or delete its folder and train again"
    )]
    NotTheRecord {
        place: String,
        #[source]
        source: serde_json::Error,
    },
    #[error(
        "{place} disagrees with its place: it says it is {found}: restore it from a copy, or delete its folder and train again"
    )]
    WrongPlace { place: String, found: String },
    #[error(
        "{place} was cut short or changed: its digest is {found}, model.json says {expected}: restore it from a copy, or delete \
         its folder and train again"
    )]
    Digest { place: String, found: String, expected: String },
    #[error(
        "{place} is not what this version started from: its digest is {found}, expected {expected}: restore it from a copy"
    )]
    NotTheParent { place: String, found: String, expected: String },
    #[error("{place} {problem}: restore it from a copy, or delete its folder and train again")]
    NotOurs { place: String, problem: String },
    #[error("{place} is missing beside its model.json: restore it from a copy, or delete its folder and train again")]
    FileMissing { place: String },
    #[error("{place} is no safetensors file: {problem}")]
    NotSafetensors { place: String, problem: String },
    #[error("{place} does not hold the model that model.json describes: {problem}")]
    Unfit { place: String, problem: String },
    #[error("{place}: an array does not fit")]
    Arrays {
        place: String,
        #[source]
        source: LoadError,
    },
    #[error("{place}: an expression does not compile")]
    Expression {
        place: String,
        #[source]
        source: ExpressionError,
    },
    #[error(
        "{key}: the store answered {tries} creates with errors, and the record is not there: see that the store works, then start again"
    )]
    Uncertain {
        key: String,
        tries: u32,
        #[source]
        source: StoreError,
    },
    #[error(
        "{place}: no number is left after {last}: the folder or file of that number was not made by Millstream; remove it"
    )]
    NoNumber { place: String, last: u32 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who can mend an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// It may pass by itself: try again.
    Retry,
    /// The pipeline file or the data.
    Config,
    /// A stored file.
    Store,
}

impl RegistryError {
    /// Whoever asks may not write to the store.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Store(StoreError::Denied { .. }))
    }

    pub fn remedy(&self) -> Remedy {
        match self {
            Self::UnknownVersion { .. }
            | Self::Removed { .. }
            | Self::RemovedMeanwhile { .. }
            | Self::MovedMeanwhile { .. }
            | Self::NothingBefore { .. }
            | Self::RollbackUnknown { .. }
            | Self::NoAlias { .. } => Remedy::Config,
            Self::UnknownFormat { .. }
            | Self::NotTheRecord { .. }
            | Self::WrongPlace { .. }
            | Self::Digest { .. }
            | Self::NotTheParent { .. }
            | Self::NotOurs { .. }
            | Self::FileMissing { .. }
            | Self::NotSafetensors { .. }
            | Self::Unfit { .. }
            | Self::Arrays { .. }
            | Self::NoNumber { .. }
            | Self::Expression { .. } => Remedy::Store,
            Self::Uncertain { .. } | Self::PromotionUnknown { .. } | Self::Store(_) => Remedy::Retry,
        }
    }
}
