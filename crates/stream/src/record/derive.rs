//! Computes derived columns (`from` in `[schema.columns]`) of a chunk of rows at once, and finds the rows whose values are bad.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, new_null_array,
};
use datafusion::arrow::compute::{cast, concat};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::array_value_to_string;

use super::number::{NumberText, finite, number_text};
use super::value::{boolean, exact_integer, integer};
use crate::expression::{Expression, ValueKind};
use crate::schema::{ArrowType, Bad, ColumnType, DerivedColumn, Dialect, StreamSchema};

/// Of a value in a reason.
const VALUE_SHOWN_CHARS: usize = 60;

/// A stored schema whose expressions this version of Millstream does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("schema.columns.{column}.from: {problem}; the store was made by another version: read it with that one")]
pub struct DeriveError {
    pub column: String,
    pub problem: String,
}

/// The derived columns of a schema, compiled.
pub struct Derivation {
    columns: Vec<Compiled>,
}

struct Compiled {
    column: DerivedColumn,
    expression: Expression,
    /// Places of the columns it reads, among the source columns.
    reads: Vec<usize>,
    dialect: Dialect,
}

/// Of one chunk.
pub struct Derived {
    /// In the order of the schema's derived columns.
    pub columns: Vec<ArrayRef>,
    /// Why a row is a reject, by its place in the chunk; its first fault.
    pub bad: BTreeMap<usize, String>,
}

impl Derivation {
    pub fn compile(schema: &StreamSchema) -> Result<Self, DeriveError> {
        let source = schema.source();
        let compiled = schema.derived.iter().map(|column| {
            let expression = column
                .compile(&source, schema.dialect)
                .map_err(|problem| DeriveError { column: column.name.clone(), problem })?;
            let reads = expression.columns().iter().filter_map(|name| source.index_of(name).ok()).collect();
            Ok(Compiled { column: column.clone(), expression, reads, dialect: schema.dialect })
        });
        Ok(Self { columns: compiled.collect::<Result<_, _>>()? })
    }

    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// `rows` hold the source columns.
    pub fn apply(&self, rows: &RecordBatch) -> Result<Derived, ArrowError> {
        let mut derived = Derived { columns: Vec::with_capacity(self.columns.len()), bad: BTreeMap::new() };
        for column in &self.columns {
            derived.columns.push(column.apply(rows, &mut derived.bad)?);
        }
        Ok(derived)
    }
}

impl Compiled {
    fn apply(&self, rows: &RecordBatch, bad: &mut BTreeMap<usize, String>) -> Result<ArrayRef, ArrowError> {
        let mut errors = BTreeMap::new();
        let mut pieces = Vec::new();
        self.evaluate(rows, 0, &mut pieces, &mut errors);
        let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
        let result = match pieces.as_slice() {
            [] => new_null_array(self.expression.data_type(), 0),
            pieces => concat(pieces)?,
        };
        let values = typed(&result, self.expression.kind(), self.column.kind, self.dialect)?;
        if self.column.bad == Bad::Null {
            return Ok(values);
        }
        for row in (0..rows.num_rows()).filter(|row| values.is_null(*row)) {
            // Null of null is no fault; a value that its type cannot hold always is one.
            let of_null = self.reads.iter().any(|index| rows.column(*index).is_null(row));
            let is_fault = !of_null || !result.is_null(row) || errors.contains_key(&row);
            if is_fault && !self.says_no_number(&result, row) {
                bad.entry(row).or_insert_with(|| self.reason(rows, row, &result, errors.get(&row)));
            }
        }
        Ok(values)
    }

    /// A text that says itself that there is no number, such as NaN, is null and no fault.
    fn says_no_number(&self, result: &ArrayRef, row: usize) -> bool {
        let is_number = matches!(self.column.kind, ColumnType::Float64 | ColumnType::Int64);
        self.dialect >= Dialect::Second
            && is_number
            && self.expression.kind() == ValueKind::Text
            && !result.is_null(row)
            && array_value_to_string(result, row).is_ok_and(|text| number_text(&text) == NumberText::NotFinite)
    }

    /// All rows at once; where that fails, the halves, down to the rows that cannot be computed.
    fn evaluate(
        &self,
        rows: &RecordBatch,
        first: usize,
        pieces: &mut Vec<ArrayRef>,
        errors: &mut BTreeMap<usize, String>,
    ) {
        match (rows.num_rows(), self.expression.evaluate(rows)) {
            (0, _) => {}
            (_, Ok(piece)) => pieces.push(piece),
            (1, Err(error)) => {
                pieces.push(new_null_array(self.expression.data_type(), 1));
                errors.insert(first, error.fault.to_string());
            }
            (count, Err(_)) => {
                let half = count / 2;
                self.evaluate(&rows.slice(0, half), first, pieces, errors);
                self.evaluate(&rows.slice(half, count - half), first + half, pieces, errors);
            }
        }
    }

    fn reason(&self, rows: &RecordBatch, row: usize, result: &ArrayRef, error: Option<&String>) -> String {
        let found = match error {
            Some(error) => error.clone(),
            None => format!("it gives {}, expected {}", shown(result.as_ref(), row), self.column.kind.name()),
        };
        let schema = rows.schema();
        let read = self
            .reads
            .iter()
            .map(|&index| format!("{} = {}", schema.field(index).name(), shown(rows.column(index).as_ref(), row)));
        let read = read.collect::<Vec<_>>().join(", ");
        format!("column {:?} from `{}`: {found}, of {read}", self.column.name, self.column.from)
    }
}

fn shown(array: &dyn Array, row: usize) -> String {
    if array.is_null(row) {
        return "null".to_owned();
    }
    let text = array_value_to_string(array, row).unwrap_or_default();
    let cut: String = text.chars().take(VALUE_SHOWN_CHARS).collect();
    if array.data_type().is_numeric() { cut } else { format!("{cut:?}") }
}

/// The values as the column's type; null where it cannot hold them.
fn typed(result: &ArrayRef, kind: ValueKind, wanted: ColumnType, dialect: Dialect) -> Result<ArrayRef, ArrowError> {
    let wanted_type = wanted.arrow();
    if wanted == ColumnType::Utf8 {
        return cast(result, &wanted_type);
    }
    Ok(match kind {
        ValueKind::Text => {
            let texts = cast(result, &DataType::Utf8)?;
            from_texts(texts.as_string::<i32>(), wanted, dialect)
        }
        ValueKind::Number if !result.data_type().is_integer() || wanted == ColumnType::Float64 => {
            let numbers = cast(result, &DataType::Float64)?;
            from_numbers(numbers.as_primitive::<Float64Type>(), wanted)
        }
        ValueKind::Number | ValueKind::Boolean | ValueKind::Other => cast(result, &wanted_type)?,
    })
}

/// Blanks around a number are no part of it; `type` says that it is one, though it looks like a code.
fn from_texts(texts: &StringArray, wanted: ColumnType, dialect: Dialect) -> ArrayRef {
    fn number(text: &str, dialect: Dialect) -> Option<&str> {
        match (dialect, number_text(text)) {
            (Dialect::First, _) => Some(text.trim()),
            (Dialect::Second, NumberText::Number { text, .. } | NumberText::Code(text)) => Some(text),
            (Dialect::Second, NumberText::NotFinite | NumberText::Other) => None,
        }
    }
    let texts = texts.iter();
    match wanted {
        ColumnType::Float64 => Arc::new(texts.map(|text| finite(number(text?, dialect)?)).collect::<Float64Array>()),
        ColumnType::Int64 => Arc::new(texts.map(|text| integer(number(text?, dialect)?)).collect::<Int64Array>()),
        ColumnType::Boolean => {
            Arc::new(texts.map(|text| text.and_then(|text| boolean(text.trim()))).collect::<BooleanArray>())
        }
        ColumnType::Utf8 => Arc::new(texts.collect::<StringArray>()),
    }
}

/// No part holds a float that is not finite, and an integer column takes whole numbers only.
fn from_numbers(numbers: &Float64Array, wanted: ColumnType) -> ArrayRef {
    let numbers = numbers.iter().map(|number| number.filter(|number| number.is_finite()));
    match wanted {
        ColumnType::Float64 => Arc::new(numbers.collect::<Float64Array>()),
        ColumnType::Int64 => Arc::new(numbers.map(|number| number.and_then(exact_integer)).collect::<Int64Array>()),
        ColumnType::Boolean => {
            Arc::new(numbers.map(|number| number.map(|number| number != 0.0)).collect::<BooleanArray>())
        }
        ColumnType::Utf8 => {
            Arc::new(numbers.map(|number| number.map(|number| number.to_string())).collect::<StringArray>())
        }
    }
}

#[cfg(test)]
mod tests;
