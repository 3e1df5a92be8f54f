//! Rows of an answer as JSON objects, as the API answers them everywhere: whole numbers without a fraction, integers that JSON
//! readers would round as text, times as ISO 8601, what is no number as null.

use datafusion::arrow::array::{Array, AsArray, RecordBatch, StructArray};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Number, Value};

/// 2^53: up to here a JSON reader that knows only doubles keeps every integer apart.
const EXACT_MOST: u64 = 1 << 53;

/// One object per row.
pub fn rows_of(block: &RecordBatch) -> Vec<Map<String, Value>> {
    let schema = block.schema();
    let row = |row: usize| {
        let columns = schema.fields().iter().zip(block.columns());
        columns.map(|(field, column)| (field.name().clone(), value_of(column.as_ref(), row))).collect()
    };
    (0..block.num_rows()).map(row).collect()
}

/// As people write it: numbers of a csv file are floats unless it is said otherwise, and 1995 is still a year. JSON has no word for
/// what is not a number.
#[allow(clippy::cast_possible_truncation)]
pub fn float_json(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 {
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// One value; the column may be of any type.
pub fn value_of(column: &dyn Array, row: usize) -> Value {
    if column.is_null(row) || *column.data_type() == DataType::Null {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::Int64 => integer_json(column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt64 => {
            let number = column.as_primitive::<UInt64Type>().value(row);
            if number <= EXACT_MOST { number.into() } else { number.to_string().into() }
        }
        DataType::Float64 => float_json(column.as_primitive::<Float64Type>().value(row)),
        DataType::List(_) => list(column.as_list::<i32>().value(row).as_ref()),
        DataType::LargeList(_) => list(column.as_list::<i64>().value(row).as_ref()),
        DataType::FixedSizeList(..) => list(column.as_fixed_size_list().value(row).as_ref()),
        DataType::Struct(_) => object(column.as_struct(), row),
        DataType::Map(..) => {
            let entries = column.as_map().value(row);
            let pairs = (0..entries.len())
                .map(|entry| (key(entries.column(0).as_ref(), entry), value_of(entries.column(1).as_ref(), entry)));
            Value::Object(pairs.collect())
        }
        _ => by_text(column, row),
    }
}

/// Beyond 2^53 a text: a reader that knows only doubles could not keep it apart from the next.
pub fn integer_json(number: i64) -> Value {
    if number.unsigned_abs() <= EXACT_MOST { number.into() } else { number.to_string().into() }
}

fn list(elements: &dyn Array) -> Value {
    (0..elements.len()).map(|element| value_of(elements, element)).collect()
}

fn object(values: &StructArray, row: usize) -> Value {
    let fields = values.fields().iter().zip(values.columns());
    Value::Object(fields.map(|(field, column)| (field.name().clone(), value_of(column.as_ref(), row))).collect())
}

fn key(column: &dyn Array, row: usize) -> String {
    match value_of(column, row) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// Types that are rare in an answer go through their text, which is a number's own for numbers.
fn by_text(column: &dyn Array, row: usize) -> Value {
    let options = FormatOptions::default();
    let text = ArrayFormatter::try_new(column, &options).and_then(|format| format.value(row).try_to_string());
    let Ok(text) = text else { return Value::Null };
    if !column.data_type().is_numeric() {
        return text.into();
    }
    match text.parse::<i64>() {
        Ok(number) => integer_json(number),
        Err(_) => text.parse::<f64>().map_or(Value::Null, float_json),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        ArrayRef, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array, ListArray, UInt8Array,
    };
    use datafusion::arrow::datatypes::Int64Type;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_type_has_its_json() {
        let check = |column: ArrayRef, expected: Value| {
            let found: Value = (0..column.len()).map(|row| value_of(column.as_ref(), row)).collect();
            assert_eq!(found, expected);
        };
        check(
            Arc::new(Float64Array::from(vec![Some(1.0), Some(1.5), None, Some(f64::NAN)])),
            json!([1, 1.5, null, null]),
        );
        check(Arc::new(Int64Array::from(vec![7, 9_007_199_254_740_993])), json!([7, "9007199254740993"]));
        check(Arc::new(UInt8Array::from(vec![7])), json!([7]));
        check(Arc::new(Float32Array::from(vec![0.5])), json!([0.5]));
        check(Arc::new(Date32Array::from(vec![0])), json!(["1970-01-01"]));
        let decimals = Decimal128Array::from(vec![1250, 300]).with_precision_and_scale(10, 2).unwrap();
        check(Arc::new(decimals), json!([12.5, 3]));
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
        check(Arc::new(lists), json!([[1, null], null]));
    }
}
