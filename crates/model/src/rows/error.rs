//! Why rows could not be read.

use millstream_stream::batch::PartFault;
use millstream_stream::expression::{Expression, ExpressionError};

#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// `key`: of the pipeline file.
    #[error("{key} = {source}")]
    Expression {
        key: &'static str,
        #[source]
        source: ExpressionError,
    },
    #[error("{key} = `{text}` gives {found}: {remedy}")]
    Kind { key: &'static str, text: String, found: String, remedy: &'static str },
    #[error("{place}: {problem}")]
    Part { place: String, problem: String },
    #[error(transparent)]
    Unreadable(#[from] PartFault),
    #[error("{0}: this is a fault of Millstream, please report it")]
    Impossible(&'static str),
}

impl RowsError {
    /// Of an expression under this key of the pipeline file.
    pub fn of(key: &'static str) -> impl Fn(ExpressionError) -> Self {
        move |source| Self::Expression { key, source }
    }

    /// The expression is of no type that its key can have.
    pub fn kind(key: &'static str, expression: &Expression, remedy: &'static str) -> Self {
        let found = expression.data_type().to_string();
        Self::Kind { key, text: expression.text().to_owned(), found, remedy }
    }
}
