//! The types of a stream's columns: inferred or pinned, written once (`schema/000001.json`), obeyed by every stage.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

/// Of every JSON in the store; another one is refused.
pub const FORMAT: u32 = 1;

/// Added to every part by ingest, after the stream's own columns.
pub const PARTITION_COLUMN: &str = "_partition";
pub const OFFSET_COLUMN: &str = "_offset";
pub const TIME_COLUMN: &str = "_time";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    Float64,
    Int64,
    Utf8,
    Boolean,
}

impl ColumnType {
    pub const NAMES: [&'static str; 4] = ["float64", "int64", "utf8", "boolean"];

    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "float64" => Some(Self::Float64),
            "int64" => Some(Self::Int64),
            "utf8" | "text" | "string" => Some(Self::Utf8),
            "boolean" | "bool" => Some(Self::Boolean),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Float64 => "float64",
            Self::Int64 => "int64",
            Self::Utf8 => "utf8",
            Self::Boolean => "boolean",
        }
    }

    pub fn arrow(self) -> DataType {
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
    pub columns: Vec<StreamColumn>,
    /// The event-time column.
    pub time: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamColumn {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// Pinned by the user, or inferred from the data.
    pub inferred: bool,
    /// Texts that mean null.
    pub null: Vec<String>,
}

impl StreamSchema {
    /// The stream's own columns: what expressions see, all nullable.
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

    pub fn column(&self, name: &str) -> Option<&StreamColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    fn fields(&self) -> Vec<Field> {
        self.columns.iter().map(|column| Field::new(&column.name, column.kind.arrow(), true)).collect()
    }
}
