//! Rows of JSON, as a request brings them, into one record batch of a version's inputs: every value is checked against
//! its column's type, and every fault names the field and what was expected.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use millstream_stream::expression::nearest;
use millstream_stream::schema::{ArrowType, ColumnType};
use serde_json::{Map, Value};

use super::{Input, InputFault};

pub type Row = Map<String, Value>;

/// A whole number beyond this has no exact f64, so `1e16` in JSON cannot be trusted to be the integer that was meant.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

#[derive(Debug)]
pub struct Inputs {
    columns: Vec<Input>,
    schema: SchemaRef,
    /// Under `missing = "drop"` a request must bring every column; under the other rules an absent one is missing.
    all_required: bool,
}

impl Inputs {
    pub fn new(columns: &[Input], all_required: bool) -> Self {
        let fields: Vec<Field> =
            columns.iter().map(|input| Field::new(&input.name, input.kind.arrow(), true)).collect();
        Self { columns: columns.to_vec(), schema: Arc::new(Schema::new(fields)), all_required }
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn batch(&self, rows: &[Row]) -> Result<RecordBatch, InputFault> {
        for (index, row) in rows.iter().enumerate() {
            self.check_names(index, row)?;
        }
        let columns: Result<Vec<ArrayRef>, InputFault> = self.columns.iter().map(|input| column(input, rows)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns?, &options).map_err(|error| InputFault {
            row: 0,
            field: String::new(),
            message: error.to_string(),
        })
    }

    /// Where the columns of these names are, where they are floats and there are no others.
    pub fn floats(&self, names: &[&str]) -> Option<Vec<usize>> {
        let place = |name: &&str| self.columns.iter().position(|input| input.name == *name);
        let places: Vec<usize> = names.iter().map(place).collect::<Option<_>>()?;
        let is_among = |(place, input): (usize, &Input)| input.kind == ColumnType::Float64 && places.contains(&place);
        self.columns.iter().enumerate().all(is_among).then_some(places)
    }

    /// The columns at these places, which are all floats there are, NaN where there is no value; `None`: [`Self::batch`] says what is wrong.
    pub fn numbers(&self, places: &[usize], rows: &[Row]) -> Option<Vec<Vec<f64>>> {
        if rows.iter().any(|row| self.check_names(0, row).is_err()) {
            return None;
        }
        let of_place = |place: &usize| {
            let values = values(self.columns.get(*place)?, rows, float).ok()?;
            Some(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
        };
        places.iter().map(of_place).collect()
    }

    fn check_names(&self, index: usize, row: &Row) -> Result<(), InputFault> {
        let present = self.columns.iter().filter(|input| row.contains_key(&input.name)).count();
        if present < row.len() {
            let known = |name: &str| self.columns.iter().any(|input| input.name == name);
            let unknown = row.keys().find(|name| !known(name)).cloned().unwrap_or_default();
            return Err(self.unknown(index, unknown, row));
        }
        if present == self.columns.len() || !self.all_required {
            return Ok(());
        }
        let absent = self.columns.iter().find(|input| !row.contains_key(&input.name));
        let (field, kind) = absent.map_or((String::new(), ""), |input| (input.name.clone(), expected(input.kind)));
        Err(InputFault { row: index, message: format!("`{field}` is missing: expected {kind}"), field })
    }

    fn unknown(&self, row: usize, field: String, given: &Row) -> InputFault {
        // A column that is there already is not what was meant.
        let open = self.columns.iter().map(|input| input.name.as_str()).filter(|name| !given.contains_key(*name));
        let remedy = match nearest(&field, open) {
            Some(name) => format!("did you mean `{name}`?"),
            None => {
                let names: Vec<&str> = self.columns.iter().map(|input| input.name.as_str()).collect();
                format!("this model takes {}", names.join(", "))
            }
        };
        InputFault { row, message: format!("`{field}` is no input of this model; {remedy}"), field }
    }
}

fn column(input: &Input, rows: &[Row]) -> Result<ArrayRef, InputFault> {
    Ok(match input.kind {
        ColumnType::Float64 => Arc::new(Float64Array::from(values(input, rows, float)?)),
        ColumnType::Int64 => Arc::new(Int64Array::from(values(input, rows, integer)?)),
        ColumnType::Boolean => Arc::new(BooleanArray::from(values(input, rows, boolean)?)),
        ColumnType::Utf8 => Arc::new(values(input, rows, text)?.into_iter().collect::<StringArray>()),
    })
}

/// Null and an absent key are missing values, and so is an empty text where no text is expected, as in a row of csv. `read`: `None` where a value is of another type.
fn values<'a, T>(
    input: &Input,
    rows: &'a [Row],
    read: impl Fn(&'a Value) -> Option<T>,
) -> Result<Vec<Option<T>>, InputFault> {
    let is_missing = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => input.kind != ColumnType::Utf8 && text.trim().is_empty(),
        _ => false,
    };
    let value = |(row, given): (usize, &'a Row)| match given.get(&input.name).filter(|value| !is_missing(value)) {
        Some(value) => match read(value) {
            None => {
                Err(InputFault { row, field: input.name.clone(), message: mismatch(value, &input.name, input.kind) })
            }
            read => Ok(read),
        },
        None => Ok(None),
    };
    rows.iter().enumerate().map(value).collect()
}

/// A text that is a number is taken for it: a row of csv knows texts alone.
fn float(value: &Value) -> Option<f64> {
    // serde_json refuses numbers beyond f64, so what is a number here is finite.
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    number.filter(|number| number.is_finite())
}

fn integer(value: &Value) -> Option<i64> {
    if let Some(whole) = value.as_str().and_then(|text| text.trim().parse().ok()) {
        return Some(whole);
    }
    let whole = float(value).filter(|number| number.fract() == 0.0 && number.abs() <= EXACT_INTEGER_MAX);
    #[allow(clippy::cast_possible_truncation)] // Whole and within 2^53.
    value.as_i64().or(whole.map(|number| number as i64))
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => match text.trim() {
            "true" | "True" | "TRUE" | "1" => Some(true),
            "false" | "False" | "FALSE" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// A number is the text that it is written as.
fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// What a client is told of a value that its column cannot take.
pub fn mismatch(value: &Value, name: &str, kind: ColumnType) -> String {
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {:?}", shortened(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    format!("`{name}` is {found}: expected {}", expected(kind))
}

/// An answer must not repeat a megabyte that came in.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    if text.chars().count() <= SHOWN { text.to_owned() } else { text.chars().take(SHOWN).chain(['…']).collect() }
}

fn expected(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Float64 => "a number",
        ColumnType::Int64 => "a whole number of at most 64 bits",
        ColumnType::Utf8 => "a text",
        ColumnType::Boolean => "true or false",
    }
}
