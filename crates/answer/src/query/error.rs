//! Why a query has no answer: the SQL, its limits, or a part that cannot be read; and where in the SQL.

use std::fmt;
use std::time::Duration;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;
use millstream_stream::batch::PartFault;
use millstream_stream::expression::nearest;

use super::table::Unreadable;
use super::watch::Late;
use super::{BATCH_COLUMN, Limits};

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The user's to mend.
    #[error(transparent)]
    Sql(#[from] SqlFault),
    #[error("a value cannot be computed: {0}")]
    Compute(String),
    #[error(
        "the query needs more than its {} MiB of memory: narrow it with `where`, select fewer columns, or join fewer rows", memory_bytes >> 20
    )]
    Memory { memory_bytes: usize },
    #[error("the query took longer than {limit:?}: narrow it, by `_batch` or `_time` for instance")]
    Time { limit: Duration },
    #[error("there is no more room for the query's temporary files: free space in the system's temporary folder ({0})")]
    Full(String),
    #[error(
        "the stream has a column `{BATCH_COLUMN}`, which a query needs for the batch's number: give it another name in the source"
    )]
    ReservedColumn,
    #[error(transparent)]
    Part(#[from] PartFault),
    #[error(transparent)]
    Batches(#[from] Unreadable),
    #[error("the query failed: {0}")]
    Broken(String),
}

/// What is wrong with the SQL, with the line it is in and a mark below the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlFault {
    pub message: String,
    pub place: Option<Place>,
    /// The line of the SQL that `place` is in.
    pub line_text: String,
}

/// A character of the SQL: line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    /// The parser counts from 1 and has 0 for "nowhere".
    pub(super) fn of(line: u64, column: u64) -> Option<Self> {
        let place = Self { line: usize::try_from(line).ok()?, column: usize::try_from(column).ok()? };
        (place.line > 0 && place.column > 0).then_some(place)
    }
}

impl SqlFault {
    pub(super) fn new(sql: &str, message: String, place: Option<Place>) -> Self {
        let line_text = place.and_then(|place| sql.lines().nth(place.line - 1)).unwrap_or_default().to_owned();
        Self { message, place, line_text }
    }
}

impl SqlFault {
    /// Of no place in it.
    pub fn of_whole(sql: &str, message: String) -> Self {
        Self::new(sql, message, None)
    }

    /// For a list of faults: the place in words, without the line itself.
    pub fn on_one_line(&self) -> String {
        match self.place {
            Some(Place { line: 1, column }) => format!("at character {column}: {}", self.message),
            Some(Place { line, column }) => format!("line {line}, column {column}: {}", self.message),
            None => self.message.clone(),
        }
    }
}

impl fmt::Display for SqlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Place { line, column }) = self.place else { return write!(f, "SQL: {}", self.message) };
        write!(f, "SQL, line {line}, column {column}: {}", self.message)?;
        if self.line_text.is_empty() {
            return Ok(());
        }
        // A tab stays a tab, so that the mark stands below its character.
        let before = self.line_text.chars().take(column - 1);
        let indent: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        write!(f, "\n  {}\n  {indent}^", self.line_text)
    }
}

impl std::error::Error for SqlFault {}

/// A fault of the parser, or of what is done before planning.
pub(super) fn parse_fault(error: &DataFusionError, sql: &str) -> SqlFault {
    let (message, in_message) = split_place(&plain(error));
    SqlFault::new(sql, message, in_message.or_else(|| place_of(error)))
}

impl QueryError {
    /// While planning: the SQL is at fault.
    pub(super) fn of_planning(error: &DataFusionError, sql: &str, columns: &SchemaRef, limits: Limits) -> Self {
        let place = place_of(error);
        let root = error.find_root();
        if let DataFusionError::SchemaError(inner, _) = root
            && let SchemaError::FieldNotFound { field, valid_fields } = inner.as_ref()
        {
            let own = columns.fields().iter().map(|field| field.name().as_str());
            let known = valid_fields.iter().map(|field| field.name()).chain(own);
            let remedy = match nearest(field.name(), known) {
                Some(name) => format!("did you mean `{name}`?"),
                None => "a text value goes in 'single quotes'; `describe batches` lists the columns".to_owned(),
            };
            return SqlFault::new(sql, format!("unknown column `{}`; {remedy}", field.name()), place).into();
        }
        match root {
            DataFusionError::Plan(_)
            | DataFusionError::SQL(..)
            | DataFusionError::SchemaError(..)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::Diagnostic(..)
            | DataFusionError::Execution(_)
            | DataFusionError::Configuration(_)
            | DataFusionError::Collection(_)
            | DataFusionError::Internal(_) => {
                let (message, in_message) = split_place(&plain(error));
                SqlFault::new(sql, message, place.or(in_message)).into()
            }
            _ => Self::of(error, sql, limits),
        }
    }

    /// While running.
    pub(super) fn of(error: &DataFusionError, sql: &str, limits: Limits) -> Self {
        let root = error.find_root();
        match root {
            DataFusionError::ResourcesExhausted(message) if message.contains("disk") => Self::Full(plain(root)),
            DataFusionError::ResourcesExhausted(_) => Self::Memory { memory_bytes: limits.memory_bytes },
            DataFusionError::External(cause) => match (cause.downcast_ref::<PartFault>(), cause.downcast_ref()) {
                (Some(fault), _) => Self::Part(fault.clone()),
                (None, Some(unreadable)) => Self::Batches(Unreadable::clone(unreadable)),
                (None, None) if cause.is::<Late>() => Self::Time { limit: limits.time.unwrap_or_default() },
                (None, None) => Self::Broken(plain(root)),
            },
            DataFusionError::IoError(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                Self::Full(error.to_string())
            }
            DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => Self::Compute(plain(root)),
            DataFusionError::Plan(_) | DataFusionError::NotImplemented(_) | DataFusionError::SchemaError(..) => {
                SqlFault::new(sql, plain(root), place_of(error)).into()
            }
            _ => Self::Broken(plain(root)),
        }
    }
}

/// Where DataFusion says the fault is.
fn place_of(error: &DataFusionError) -> Option<Place> {
    let start = error.diagnostic()?.span?.start;
    Place::of(start.line, start.column)
}

/// DataFusion's message on one line, without its kind and its backtrace.
fn plain(error: &DataFusionError) -> String {
    let text = match error.find_root() {
        DataFusionError::SQL(parser, _) => match parser.as_ref() {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
            ParserError::RecursionLimitExceeded => "it is nested too deep".to_owned(),
        },
        root => root.strip_backtrace(),
    };
    let kinds = [
        "Error during planning: ",
        "SQL error: ",
        "Execution error: ",
        "Arrow error: ",
        "Schema error: ",
        "Internal error: ",
        "Invalid or Unsupported Configuration: ",
        "This feature is not implemented: ",
    ];
    let text = kinds.iter().fold(text.as_str(), |text, kind| text.strip_prefix(kind).unwrap_or(text));
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("This issue was likely caused by"));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The parser writes the place at the end of its messages.
fn split_place(message: &str) -> (String, Option<Place>) {
    let Some((before, place)) = message.rsplit_once(" at Line: ") else { return (message.to_owned(), None) };
    let place = place
        .split_once(", Column: ")
        .and_then(|(line, column)| Place::of(line.trim().parse().ok()?, column.trim().parse().ok()?));
    (before.to_owned(), place)
}
