//! Why a question has no answer.

use serde::{Deserialize, Serialize};

use super::ANSWER_BYTES_MOST;
use crate::query::QueryError;

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("the stream's columns are not known yet: they are once its first record was read")]
    NoSchema,
    #[error("model {0} has no version yet: it is served as soon as its first training is done")]
    NoVersion(String),
    #[error(
        "as many queries as are answered side by side are under way, and none of them ended in time: ask again later"
    )]
    Busy,
    #[error("the answer has more than {most} MiB: select fewer columns, shorter ones, or fewer rows", most = ANSWER_BYTES_MOST >> 20)]
    TooLarge,
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("{0}")]
    Broken(String),
    /// A process could not have what it asked for.
    #[error(
        "the query needs more memory than one may have (serve.query_memory), or is nested too deep: narrow it with `where`, or select fewer columns"
    )]
    Outgrown,
    #[error("{0}; ask again")]
    Lost(String),
    /// As a process said it.
    #[error("{message}")]
    Refused { kind: FaultKind, message: String },
}

/// What a client can do about a question without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    NoSchema,
    NoVersion,
    Busy,
    Lost,
    TooLarge,
    TooSlow,
    BadSql,
    NotComputable,
    Full,
    ReservedColumn,
    /// A part or a version of the store: nothing that a client can mend.
    Unreadable,
}

impl AskError {
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::NoSchema => FaultKind::NoSchema,
            Self::NoVersion(_) => FaultKind::NoVersion,
            Self::Busy => FaultKind::Busy,
            Self::Lost(_) => FaultKind::Lost,
            Self::TooLarge | Self::Outgrown => FaultKind::TooLarge,
            Self::Broken(_) => FaultKind::BadSql,
            Self::Refused { kind, .. } => *kind,
            Self::Query(error) => match error {
                QueryError::Sql(_) | QueryError::Broken(_) => FaultKind::BadSql,
                QueryError::Compute(_) => FaultKind::NotComputable,
                QueryError::Memory { .. } => FaultKind::TooLarge,
                QueryError::Time { .. } => FaultKind::TooSlow,
                QueryError::Full(_) => FaultKind::Full,
                QueryError::ReservedColumn => FaultKind::ReservedColumn,
                QueryError::Part(_) | QueryError::Batches(_) => FaultKind::Unreadable,
            },
        }
    }
}
