//! `[schema]` of the pipeline file.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ColumnType, Dialect};

/// `[schema]`: what the user pins; the rest is inferred.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaRules {
    /// Of what is read by them.
    pub dialect: Dialect,
    /// The event-time column.
    pub time: Option<String>,
    /// Texts that mean null, besides the empty one; `None`: those that are well known.
    pub null: Option<Vec<String>>,
    pub columns: BTreeMap<String, ColumnRule>,
    /// Columns that are ids of something, by what the other tables say of them: their whole numbers are int64.
    pub ids: BTreeSet<String>,
    /// Columns that are times to a model, likewise.
    pub times: BTreeSet<String>,
}

impl Default for SchemaRules {
    fn default() -> Self {
        Self {
            dialect: Dialect::CURRENT,
            time: None,
            null: None,
            columns: BTreeMap::new(),
            ids: BTreeSet::new(),
            times: BTreeSet::new(),
        }
    }
}

impl SchemaRules {
    /// The texts that mean null in a column, where the user says so.
    pub fn null_of(&self, column: &str) -> Option<&[String]> {
        let own = self.columns.get(column).and_then(|rule| rule.null.as_ref());
        own.or(self.null.as_ref()).map(Vec::as_slice)
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
