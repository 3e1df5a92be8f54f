//! A kept column's values as JSON.

use datafusion::arrow::array::{Array, AsArray, ListArray};
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use datafusion::arrow::util::display::array_value_to_string;
use millstream_stream::record::float_json;
use serde_json::Value;

use super::plan::{Kind, Scalar};

pub fn json(column: &dyn Array, kind: Kind, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match kind {
        Kind::One(scalar) => scalar_json(column, scalar, row),
        Kind::List(scalar) => {
            let elements = column.as_list::<i32>().value(row);
            (0..elements.len()).map(|place| nullable_json(elements.as_ref(), scalar, place)).collect()
        }
    }
}

fn nullable_json(column: &dyn Array, scalar: Scalar, row: usize) -> Value {
    if column.is_null(row) { Value::Null } else { scalar_json(column, scalar, row) }
}

fn scalar_json(column: &dyn Array, scalar: Scalar, row: usize) -> Value {
    match scalar {
        Scalar::Boolean => column.as_boolean().value(row).into(),
        Scalar::Integer => column.as_primitive::<Int64Type>().value(row).into(),
        Scalar::Float => float_json(column.as_primitive::<Float64Type>().value(row)),
        Scalar::Text => column.as_string::<i32>().value(row).into(),
        Scalar::Time => array_value_to_string(column, row).map_or(Value::Null, Value::from),
    }
}

/// The elements of every row of a column, whatever it holds: a plain value is a list of one. Null ones are left out.
pub struct Elements<'a> {
    values: &'a dyn Array,
    scalar: Scalar,
    list: Option<&'a ListArray>,
}

impl<'a> Elements<'a> {
    pub fn new(column: &'a dyn Array, kind: Kind) -> Self {
        match kind {
            Kind::One(scalar) => Self { values: column, scalar, list: None },
            Kind::List(scalar) => {
                let list = column.as_list::<i32>();
                Self { values: list.values().as_ref(), scalar, list: Some(list) }
            }
        }
    }

    pub fn scalar(&self) -> Scalar {
        self.scalar
    }

    /// Places of the row's elements, for `text` and `json`.
    pub fn of(&self, row: usize) -> impl Iterator<Item = usize> {
        let places = match self.list {
            None => row..row + 1,
            Some(list) if list.is_null(row) => 0..0,
            Some(list) => {
                let offsets = list.value_offsets();
                usize::try_from(offsets[row]).unwrap_or(0)..usize::try_from(offsets[row + 1]).unwrap_or(0)
            }
        };
        places.filter(|place| self.values.is_valid(*place))
    }

    pub fn json(&self, place: usize) -> Value {
        scalar_json(self.values, self.scalar, place)
    }

    /// Of a text, without a copy.
    pub fn text(&self, place: usize) -> Option<&'a str> {
        match self.scalar {
            Scalar::Text => Some(self.values.as_string::<i32>().value(place)),
            Scalar::Boolean | Scalar::Integer | Scalar::Float | Scalar::Time => None,
        }
    }
}
