//! Why a folder is not imported, and who can mend it.

use millstream_store::StoreError;

use crate::registry::{RegistryError, Remedy};

#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// What it says of itself does not add up, or is not what Spark writes.
    #[error("{place}: {problem}")]
    Damaged { place: String, problem: String },
    /// It is whole, and more than is understood here.
    #[error("{place}: {problem}")]
    Unsupported { place: String, problem: String },
    #[error("the folder of the model cannot be read")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl SavedError {
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Damaged { .. } | Self::Unsupported { .. } => Remedy::Config,
            Self::Store(error) if error.is_transient() => Remedy::Retry,
            Self::Store(_) => Remedy::Config,
            Self::Registry(error) => error.remedy(),
        }
    }
}
