//! `[schema]` of the pipeline file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::ColumnType;

/// `[schema]`: what the user pins; the rest is inferred.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SchemaRules {
    /// The event-time column.
    pub time: Option<String>,
    /// Texts that mean null, besides the empty one.
    pub null: Vec<String>,
    pub columns: BTreeMap<String, ColumnRule>,
    pub ahead: Ahead,
    /// Columns that are ids of something, by what the other tables say of them: their whole numbers are int64.
    pub ids: BTreeSet<String>,
    /// Columns that are times to a model, likewise.
    pub times: BTreeSet<String>,
    /// Columns that are targets of models that would take classes, and make a regression of a number; with the model's name.
    pub regressions: BTreeMap<String, String>,
}

/// `schema.ahead`: how many milliseconds ahead of the clock an event time may lie; `None`: any time is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ahead(pub Option<u64>);

impl Default for Ahead {
    fn default() -> Self {
        Self(Some(86_400_000))
    }
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ms) if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            Some(ms) => write!(f, "{ms}ms"),
            None => write!(f, "any"),
        }
    }
}

impl Ahead {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The last time that is right.
    pub fn latest_ms(self, now_ms: i64) -> i64 {
        self.0.map_or(i64::MAX, |ahead_ms| now_ms.saturating_add_unsigned(ahead_ms))
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct ColumnRule {
    pub kind: Option<ColumnType>,
    /// Instead of `schema.null`, for this column.
    pub null: Option<Vec<String>>,
    /// SQL over the source's columns that makes this one.
    pub from: Option<String>,
    pub bad: Bad,
}

/// What becomes of a record whose value does not fit its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bad {
    /// The record is kept aside.
    #[default]
    Reject,
    /// The value is null.
    Null,
}
