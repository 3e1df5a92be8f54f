//! `[schema]` of the pipeline file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ColumnType, Dialect};
use crate::expression::words;

/// `[schema]`: what the user pins; the rest is inferred.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaRules {
    /// Of what is read by them.
    pub dialect: Dialect,
    /// The event-time column.
    pub time: Option<String>,
    pub time_form: TimeForm,
    /// Texts that mean null, besides the empty one; `None`: those that are well known.
    pub null: Option<Vec<String>>,
    pub columns: BTreeMap<String, ColumnRule>,
    pub ahead: Ahead,
    /// Objects within JSON values are taken apart into columns.
    pub flatten: bool,
    /// Columns that are ids of something, by what the other tables say of them: their whole numbers are int64.
    pub ids: BTreeSet<String>,
    /// Columns that are times to a model, likewise.
    pub times: BTreeSet<String>,
    /// Columns that are targets of models that would take classes, and make a regression of a number; with the model's name.
    pub regressions: BTreeMap<String, String>,
}

impl Default for SchemaRules {
    fn default() -> Self {
        Self {
            dialect: Dialect::CURRENT,
            time: None,
            time_form: TimeForm::default(),
            null: None,
            columns: BTreeMap::new(),
            ahead: Ahead::default(),
            flatten: false,
            ids: BTreeSet::new(),
            times: BTreeSet::new(),
            regressions: BTreeMap::new(),
        }
    }
}

impl SchemaRules {
    /// The texts that mean null in a column, where the user says so.
    pub fn null_of(&self, column: &str) -> Option<&[String]> {
        let own = self.columns.get(column).and_then(|rule| rule.null.as_ref());
        own.or(self.null.as_ref()).map(Vec::as_slice)
    }

    /// Whether a `from` speaks of the column.
    pub fn is_read_by_from(&self, column: &str) -> bool {
        let reads = |from: &String| words(from).contains(column) || from.contains(&format!("\"{column}\""));
        self.columns.values().any(|rule| rule.from.as_ref().is_some_and(reads))
    }
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

/// How the event times are written, where no guess is to be made: by a format, or numbers by their unit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TimeForm {
    /// Of strftime.
    #[serde(rename = "time_format", default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    #[serde(rename = "time_unit", default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<EpochUnit>,
}

impl TimeForm {
    /// A day as a number: `20240131`.
    pub const COMPACT_DATE: &str = "%Y%m%d";

    /// Whether a format says what it is to say.
    pub fn is_format(format: &str) -> bool {
        let mut items = chrono::format::StrftimeItems::new(format);
        format.contains('%') && items.all(|item| item != chrono::format::Item::Error)
    }

    pub fn is_empty(&self) -> bool {
        self.format.is_none() && self.unit.is_none()
    }
}

/// What a number counts since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EpochUnit {
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "us")]
    Microseconds,
    #[serde(rename = "ns")]
    Nanoseconds,
    #[serde(rename = "days")]
    Days,
    /// Days as spreadsheets count them, since the end of 1899.
    #[serde(rename = "serial")]
    Serial,
}

impl EpochUnit {
    pub const ALL: [(&'static str, Self); 6] = [
        ("s", Self::Seconds),
        ("ms", Self::Milliseconds),
        ("us", Self::Microseconds),
        ("ns", Self::Nanoseconds),
        ("days", Self::Days),
        ("serial", Self::Serial),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, unit)| *unit == self).map_or("", |(name, _)| name)
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
