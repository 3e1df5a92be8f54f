//! Why rows could not be read.

use millstream_stream::batch::PartFault;
use millstream_stream::expression::ExpressionError;

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
