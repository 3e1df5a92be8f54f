//! `[[view]]` of the pipeline file, and what a query may use.

use std::time::Duration;

use crate::schema::ColumnType;

/// One `[[view]]`: named SQL over the batches, the catalogue and the fixed tables.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub name: String,
    pub sql: String,
    /// In the file's order.
    pub params: Vec<(String, ViewParameter)>,
}

/// The longest text that a request gives a query, unless its parameter says otherwise.
pub const TEXT_BYTES: usize = 4 << 10;

/// What a view's parameter takes: it is bound as a value of its type.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewParameter {
    pub kind: ColumnType,
    /// Of numbers.
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// Of texts, the longest.
    pub text_bytes: usize,
    /// Nothing but these.
    pub values: Option<Vec<serde_json::Value>>,
    /// `None`: every request must give it.
    pub default: Option<serde_json::Value>,
}

/// What one view or query may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryLimits {
    pub time: Duration,
    /// More rows are left out, and the answer says so.
    pub rows: usize,
    /// Of all queries together while they run, and again of the columns that are kept for the next ones.
    pub memory_bytes: usize,
    /// Whether SQL that a request brings is answered at all.
    pub from_requests: bool,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self { time: Duration::from_secs(10), rows: 10_000, memory_bytes: 256 << 20, from_requests: true }
    }
}
