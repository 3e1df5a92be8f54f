//! The order of the rows by a column, made once and kept: 4 bytes a row.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};

use super::plan::{Kind, Scalar};
use super::words::fold;

/// Of a row without a value: it comes last, up and down.
const NONE: u32 = u32::MAX;

/// Each row's place in the order of a column; equal values have equal places. `None`: lists have no order.
pub fn places(column: &ArrayRef, kind: Kind) -> Option<Vec<u32>> {
    let Kind::One(scalar) = kind else { return None };
    Some(match scalar {
        Scalar::Text => {
            let texts = column.as_string::<i32>();
            // As a person sorts: without regard to case and accents, and only then with.
            let keys = texts.iter().map(|text| text.map(|text| (fold(text), text)));
            places_of(keys.collect(), Ord::cmp)
        }
        Scalar::Integer => places_of(column.as_primitive::<Int64Type>().iter().collect(), i64::cmp),
        Scalar::Float => {
            let numbers = column.as_primitive::<Float64Type>().iter();
            places_of(numbers.map(|number| number.filter(|number| !number.is_nan())).collect(), f64::total_cmp)
        }
        Scalar::Boolean => places_of(column.as_boolean().iter().collect(), bool::cmp),
        Scalar::Time => {
            let moments = moments(column);
            places_of(moments.iter().collect(), i64::cmp)
        }
    })
}

/// Dates, times and timestamps are integers underneath, some of them of 32 bits.
fn moments(column: &ArrayRef) -> Int64Array {
    let is_narrow = matches!(column.data_type(), DataType::Date32 | DataType::Time32(_));
    let narrow = if is_narrow { cast(column, &DataType::Int32) } else { Ok(Arc::clone(column)) };
    let wide = narrow.and_then(|column| cast(&column, &DataType::Int64));
    wide.map_or_else(|_| Int64Array::new_null(column.len()), |wide| wide.as_primitive::<Int64Type>().clone())
}

fn places_of<K>(keys: Vec<Option<K>>, compare: impl Fn(&K, &K) -> Ordering) -> Vec<u32> {
    let mut places = vec![NONE; keys.len()];
    let keyed = keys.into_iter().enumerate().filter_map(|(row, key)| Some((key?, row)));
    let mut sorted: Vec<(K, usize)> = keyed.collect();
    // Equal keys get equal places, so that the sort need not be stable.
    sorted.sort_unstable_by(|left, right| compare(&left.0, &right.0));
    let mut place = 0;
    for (index, (key, row)) in sorted.iter().enumerate() {
        if index > 0 && compare(&sorted[index - 1].0, key) != Ordering::Equal {
            place += 1;
        }
        places[*row] = place;
    }
    places
}

/// A sort key of a row: less comes first.
pub fn key(places: &[u32], row: u32, descending: bool) -> u32 {
    match places[row as usize] {
        NONE => NONE,
        // Below `NONE`, whatever the place: there are fewer rows than that.
        place if descending => NONE - 1 - place,
        place => place,
    }
}
