//! The types of a stream's columns: inferred or pinned, written once (`schema/000001.json`), obeyed by every stage.
//!
//! *Source columns* are what records carry. *Derived* ones are made of them by SQL at ingest (`from` in `[schema.columns]`); one
//! that has the name of a source column stands in its place. Expressions of models see what parts hold; `from` sees the source.

pub mod check;
mod missing;
mod rules;
mod settings;

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

pub use millstream_untrusted::model::{ColumnType, Dialect};
pub use missing::{USUAL_MARKERS, is_missing_marker};
pub use rules::RuleFault;
pub use settings::{Ahead, Bad, ColumnRule, EpochUnit, SchemaRules, TimeForm};

/// Of every JSON in the store; another one is refused.
pub const FORMAT: u32 = 1;

/// Added to every part by ingest, after the stream's own columns.
pub const PARTITION_COLUMN: &str = "_partition";
pub const OFFSET_COLUMN: &str = "_offset";
pub const TIME_COLUMN: &str = "_time";
/// Of the folders `batch=000001`, which DuckDB, Spark and pandas read as a column.
pub const FOLDER_COLUMN: &str = "batch";

/// The name under which a source's column is kept that has one of ours: `_time` is `source_time`. `others`: the source's names.
pub fn renamed(name: &str, others: &[String]) -> Option<String> {
    // `_batch` is added where SQL reads the batches.
    if ![PARTITION_COLUMN, OFFSET_COLUMN, TIME_COLUMN, "_batch"].contains(&name) {
        return None;
    }
    let mut found = format!("source{name}");
    while others.contains(&found) {
        found.push('_');
    }
    Some(found)
}

/// A column's type as Arrow has it.
pub trait ArrowType {
    fn arrow(self) -> DataType;
}

impl ArrowType for ColumnType {
    fn arrow(self) -> DataType {
        match self {
            Self::Float64 => DataType::Float64,
            Self::Int64 => DataType::Int64,
            Self::Utf8 => DataType::Utf8,
            Self::Boolean => DataType::Boolean,
        }
    }
}

/// `schema/000001.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSchema {
    pub format: u32,
    pub schema: u32,
    #[serde(default, skip_serializing_if = "Dialect::is_first")]
    pub dialect: Dialect,
    /// What records carry, in the order of a csv value's fields.
    pub columns: Vec<StreamColumn>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub derived: Vec<DerivedColumn>,
    /// Objects within a JSON value are taken apart: columns are values by their paths, such as `after.id`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flatten: bool,
    /// The event-time column.
    pub time: Option<String>,
    #[serde(default, skip_serializing_if = "Ahead::is_default")]
    pub ahead: Ahead,
    #[serde(flatten)]
    pub time_form: TimeForm,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamColumn {
    pub name: String,
    /// What the records call it, where that is a name of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// Pinned by the user, or inferred from the data.
    pub inferred: bool,
    /// Texts that mean null.
    pub null: Vec<String>,
    /// What becomes of a record whose value is not of the type.
    #[serde(default, skip_serializing_if = "is_reject")]
    pub bad: Bad,
}

impl StreamColumn {
    /// As it is found: without texts that mean null.
    pub fn new(name: impl Into<String>, kind: ColumnType) -> Self {
        Self { name: name.into(), key: None, kind, inferred: true, null: Vec::new(), bad: Bad::Reject }
    }

    /// What the records call it.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or(&self.name)
    }
}

/// A column made of the source's columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DerivedColumn {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// SQL of one row over the source columns.
    pub from: String,
    #[serde(default, skip_serializing_if = "is_reject")]
    pub bad: Bad,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_reject(bad: &Bad) -> bool {
    *bad == Bad::Reject
}

impl StreamSchema {
    /// Of a store that is begun now, of columns that the source has.
    pub fn new(columns: Vec<StreamColumn>) -> Self {
        let (derived, time, time_form) = (Vec::new(), None, TimeForm::default());
        let (dialect, ahead) = (Dialect::CURRENT, Ahead::default());
        Self { format: FORMAT, schema: 1, dialect, columns, derived, flatten: false, time, ahead, time_form }
    }

    /// The columns that parts hold of the stream itself: what the expressions of models see, all nullable.
    pub fn arrow(&self) -> SchemaRef {
        Arc::new(ArrowSchema::new(self.fields()))
    }

    /// What a part holds: the stream's columns, then `_partition`, `_offset`, `_time`.
    pub fn part(&self) -> SchemaRef {
        let mut fields = self.fields();
        fields.push(Field::new(PARTITION_COLUMN, DataType::Int32, false));
        fields.push(Field::new(OFFSET_COLUMN, DataType::Int64, false));
        fields.push(Field::new(TIME_COLUMN, DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false));
        Arc::new(ArrowSchema::new(fields))
    }

    /// The source columns: what a `from` sees.
    pub fn source(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|column| Field::new(&column.name, column.kind.arrow(), true));
        Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()))
    }

    /// A source column.
    pub fn column(&self, name: &str) -> Option<&StreamColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub fn derived(&self, name: &str) -> Option<&DerivedColumn> {
        self.derived.iter().find(|column| column.name == name)
    }

    /// The type of a column as parts hold it.
    pub fn kind_of(&self, name: &str) -> Option<ColumnType> {
        self.derived(name).map(|column| column.kind).or_else(|| self.column(name).map(|column| column.kind))
    }

    /// The source columns that no derived one replaces, by their places among the source columns: what parts hold of them.
    pub fn kept(&self) -> Vec<usize> {
        let kept = self.columns.iter().enumerate().filter(|(_, column)| self.derived(&column.name).is_none());
        kept.map(|(index, _)| index).collect()
    }

    fn fields(&self) -> Vec<Field> {
        let source = self.kept().into_iter().map(|index| (&self.columns[index].name, self.columns[index].kind));
        let derived = self.derived.iter().map(|column| (&column.name, column.kind));
        source.chain(derived).map(|(name, kind)| Field::new(name, kind.arrow(), true)).collect()
    }
}
