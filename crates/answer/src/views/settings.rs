//! `[[view]]` of the pipeline file, and what a query may use.

use std::path::Path;
use std::time::Duration;

use millstream_model::model::Model;
use millstream_store::StoreUrl;
use millstream_stream::schema::ColumnType;
use serde_json::Value as Json;

use crate::catalogue::{CatalogueRules, CatalogueSettings, FixedTable};

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

impl ViewParameter {
    /// The value in the parameter's type; else what was expected.
    pub fn fit(&self, value: Json) -> Result<Json, String> {
        let value = match (self.kind, value) {
            (ColumnType::Float64, Json::Number(number)) => {
                number.as_f64().filter(|number| number.is_finite()).map(Json::from)
            }
            (ColumnType::Int64, Json::Number(number)) => {
                let whole =
                    number.as_i64().or_else(|| number.as_f64().and_then(millstream_stream::record::exact_integer));
                whole.map(Json::from)
            }
            (ColumnType::Utf8, Json::String(text)) => Some(Json::String(text)),
            (ColumnType::Boolean, Json::Bool(flag)) => Some(Json::Bool(flag)),
            _ => None,
        };
        value.filter(|value| self.admits(value)).ok_or_else(|| self.expected())
    }

    fn admits(&self, value: &Json) -> bool {
        let above = |min: f64| value.as_f64().is_some_and(|number| number >= min);
        let below = |max: f64| value.as_f64().is_some_and(|number| number <= max);
        self.min.is_none_or(above)
            && self.max.is_none_or(below)
            && value.as_str().is_none_or(|text| text.len() <= self.text_bytes)
            && self.values.as_ref().is_none_or(|values| values.contains(value))
    }

    /// For messages.
    pub fn expected(&self) -> String {
        if let Some(values) = &self.values {
            let values: Vec<String> = values.iter().map(Json::to_string).collect();
            return format!("one of {}", values.join(", "));
        }
        let noun = match self.kind {
            ColumnType::Float64 => "a number",
            ColumnType::Int64 => "a whole number",
            ColumnType::Utf8 => return format!("text of at most {} bytes", self.text_bytes),
            ColumnType::Boolean => "true or false",
        };
        match (self.min, self.max) {
            (Some(min), Some(max)) => format!("{noun} from {min} to {max}"),
            (Some(min), None) => format!("{noun} of at least {min}"),
            (None, Some(max)) => format!("{noun} of at most {max}"),
            (None, None) => noun.to_owned(),
        }
    }

    /// Some value that it takes: what a view is planned with before anyone asks it.
    pub fn example(&self) -> Json {
        let first = self.default.clone().or_else(|| self.values.as_ref()?.first().cloned());
        first.unwrap_or_else(|| {
            let number = self.min.or(self.max).unwrap_or(1.0);
            match self.kind {
                ColumnType::Float64 => number.into(),
                ColumnType::Int64 => millstream_stream::record::exact_integer(number.ceil()).unwrap_or(1).into(),
                ColumnType::Utf8 => "".into(),
                ColumnType::Boolean => false.into(),
            }
        })
    }
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

/// What the pipeline file says of all that a query may read; `file` names it in messages.
#[derive(Debug, Clone, Copy)]
pub struct ViewSettings<'a> {
    pub file: &'a Path,
    pub store: &'a StoreUrl,
    pub views: &'a [View],
    pub tables: &'a [FixedTable],
    /// `None`: there is no `[catalogue]`.
    pub catalogue: Option<&'a CatalogueRules>,
    pub models: &'a [Model],
    pub query: QueryLimits,
}

impl<'a> ViewSettings<'a> {
    pub fn catalogue_settings(&self) -> CatalogueSettings<'a> {
        CatalogueSettings { file: self.file, rules: self.catalogue, tables: self.tables }
    }
}
