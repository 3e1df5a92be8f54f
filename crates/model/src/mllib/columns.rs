//! Columns of a batch as Spark's ML writes them: numbers, lists of them, vectors and matrices, sparse and dense.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};

/// Of one matrix.
const VALUES_MOST: usize = 1 << 24;
/// Of one vector.
const SLOTS_MOST: usize = 1 << 20;

/// A column, or a field of one, by the names on the way to it.
pub fn column<'a>(batch: &'a RecordBatch, path: &[&str]) -> Result<&'a ArrayRef, String> {
    let missing = || format!("it has no column `{}`", path.join("."));
    let (first, rest) = path.split_first().ok_or_else(missing)?;
    rest.iter().try_fold(batch.column_by_name(first).ok_or_else(missing)?, |array, name| {
        array.as_struct_opt().and_then(|fields| fields.column_by_name(name)).ok_or_else(missing)
    })
}

fn without_nulls(array: ArrayRef, what: &str) -> Result<ArrayRef, String> {
    if array.null_count() == 0 { Ok(array) } else { Err(format!("a value of `{what}` is missing")) }
}

fn cast_to(array: &ArrayRef, to: &DataType, what: &str) -> Result<ArrayRef, String> {
    let is_number = array.data_type().is_numeric();
    if !is_number || to.is_integer() && !array.data_type().is_integer() {
        return Err(format!("`{what}` is {} where numbers are expected", array.data_type()));
    }
    without_nulls(cast(array, to).map_err(|error| error.to_string())?, what)
}

pub fn integers(array: &ArrayRef, what: &str) -> Result<Vec<i64>, String> {
    Ok(cast_to(array, &DataType::Int64, what)?.as_primitive::<Int64Type>().values().to_vec())
}

pub fn doubles(array: &ArrayRef, what: &str) -> Result<Vec<f64>, String> {
    let doubles = cast_to(array, &DataType::Float64, what)?.as_primitive::<Float64Type>().values().to_vec();
    Ok(doubles)
}

pub fn texts(array: &ArrayRef, what: &str) -> Result<Vec<String>, String> {
    let texts = array.as_string_opt::<i32>().ok_or_else(|| format!("`{what}` is no text"))?;
    let texts: Option<Vec<String>> = texts.iter().map(|text| text.map(str::to_owned)).collect();
    texts.ok_or_else(|| format!("a value of `{what}` is missing"))
}

pub fn flags(array: &ArrayRef, what: &str) -> Result<Vec<bool>, String> {
    let flags = array.as_boolean_opt().ok_or_else(|| format!("`{what}` is not true or false"))?;
    let flags: Option<Vec<bool>> = flags.iter().collect();
    flags.ok_or_else(|| format!("a value of `{what}` is missing"))
}

/// The list of each row. `None`: there is none.
pub fn lists(array: &ArrayRef, what: &str) -> Result<Vec<Option<ArrayRef>>, String> {
    let lists = array.as_list_opt::<i32>().ok_or_else(|| format!("`{what}` is {} and no list", array.data_type()))?;
    Ok(lists.iter().collect())
}

/// The lists of all rows, which must be equally long, one after the other: the length, and the values.
pub fn equal_lists(array: &ArrayRef, what: &str) -> Result<(usize, Vec<f32>), String> {
    let lists = array.as_list_opt::<i32>().ok_or_else(|| format!("`{what}` is {} and no list", array.data_type()))?;
    if lists.null_count() > 0 {
        return Err(format!("a value of `{what}` is missing"));
    }
    let offsets = lists.value_offsets();
    let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else { return Ok((0, Vec::new())) };
    let length = offsets.windows(2).map(|ends| ends[1] - ends[0]);
    let mut lengths = length.clone();
    let width = lengths.next().unwrap_or(0);
    if lengths.any(|length| length != width) {
        return Err(format!("the lists of `{what}` are not equally long"));
    }
    let count = |number: i32| usize::try_from(number).map_err(|error| error.to_string());
    let values = lists.values().slice(count(first)?, count(last - first)?);
    let values = cast_to(&values, &DataType::Float32, what)?.as_primitive::<Float32Type>().values().to_vec();
    Ok((count(width)?, values))
}

fn list_of<T>(
    fields: &StructArray,
    name: &str,
    row: usize,
    read: impl Fn(&ArrayRef, &str) -> Result<Vec<T>, String>,
) -> Result<Vec<T>, String> {
    let array = fields.column_by_name(name).ok_or_else(|| format!("it has no field `{name}`"))?;
    let list = array.as_list_opt::<i32>().ok_or_else(|| format!("`{name}` is no list"))?;
    if list.is_null(row) { Err(format!("`{name}` is missing")) } else { read(&list.value(row), name) }
}

fn one<T: Copy>(
    fields: &StructArray,
    name: &str,
    row: usize,
    read: impl Fn(&ArrayRef, &str) -> Result<Vec<T>, String>,
) -> Result<T, String> {
    let array = fields.column_by_name(name).ok_or_else(|| format!("it has no field `{name}`"))?;
    read(&array.slice(row, 1), name)?.first().copied().ok_or_else(|| format!("`{name}` is missing"))
}

fn count(fields: &StructArray, name: &str, row: usize) -> Result<usize, String> {
    let value = one(fields, name, row, integers)?;
    usize::try_from(value).map_err(|_| format!("`{name}` is {value}"))
}

fn places(values: Vec<i64>, below: usize, what: &str) -> Result<Vec<usize>, String> {
    let place = |value: i64| usize::try_from(value).ok().filter(|place| *place < below);
    values.into_iter().map(|value| place(value).ok_or_else(|| format!("`{what}` has {value} of {below}"))).collect()
}

fn struct_of(array: &ArrayRef, row: usize) -> Result<&StructArray, String> {
    let fields = array.as_struct_opt().ok_or("it is no vector or matrix")?;
    if row < fields.len() && fields.is_valid(row) {
        Ok(fields)
    } else {
        Err("a vector or matrix is missing".to_owned())
    }
}

const SPARSE: i64 = 0;
const DENSE: i64 = 1;

/// The vector of a row, all of its values.
pub fn vector(array: &ArrayRef, row: usize) -> Result<Vec<f64>, String> {
    let fields = struct_of(array, row)?;
    let values = list_of(fields, "values", row, doubles)?;
    match one(fields, "type", row, integers)? {
        DENSE => Ok(values),
        SPARSE => {
            let size = count(fields, "size", row)?;
            let indices = places(list_of(fields, "indices", row, integers)?, size, "indices")?;
            if size > SLOTS_MOST || indices.len() != values.len() || !indices.is_sorted_by(|a, b| a < b) {
                return Err(format!("a vector of {size} has {} indices and {} values", indices.len(), values.len()));
            }
            let mut dense = vec![0.0; size];
            indices.into_iter().zip(values).for_each(|(index, value)| dense[index] = value);
            Ok(dense)
        }
        other => Err(format!("a vector is of type {other}, which is unknown here")),
    }
}

/// Row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    pub n_rows: usize,
    pub n_columns: usize,
    pub values: Vec<f64>,
}

/// The matrix of a row.
pub fn matrix(array: &ArrayRef, row: usize) -> Result<Matrix, String> {
    let fields = struct_of(array, row)?;
    let (n_rows, n_columns) = (count(fields, "numRows", row)?, count(fields, "numCols", row)?);
    let size = n_rows.checked_mul(n_columns).filter(|size| *size <= VALUES_MOST);
    let size = size.ok_or_else(|| format!("a matrix has {n_rows} × {n_columns} values, {VALUES_MOST} are the most"))?;
    let by_rows = one(fields, "isTransposed", row, flags)?;
    let values = list_of(fields, "values", row, doubles)?;
    // As it lies: `outer` runs of `inner` values.
    let (outer, inner) = if by_rows { (n_rows, n_columns) } else { (n_columns, n_rows) };
    let place =
        |outer: usize, inner: usize| if by_rows { outer * n_columns + inner } else { inner * n_columns + outer };
    let mut dense = vec![0.0; size];
    match one(fields, "type", row, integers)? {
        DENSE if values.len() == size => {
            for (at, value) in values.into_iter().enumerate() {
                dense[place(at / inner, at % inner)] = value;
            }
        }
        SPARSE => {
            let ends = places(list_of(fields, "colPtrs", row, integers)?, values.len() + 1, "colPtrs")?;
            let inside = places(list_of(fields, "rowIndices", row, integers)?, inner, "rowIndices")?;
            let is_whole = ends.len() == outer + 1
                && ends.is_sorted()
                && ends.first() == Some(&0)
                && ends.last() == Some(&values.len())
                && inside.len() == values.len();
            if !is_whole {
                return Err(format!("a sparse matrix of {n_rows} × {n_columns} does not add up"));
            }
            for (run, ends) in ends.windows(2).enumerate() {
                for at in ends[0]..ends[1] {
                    dense[place(run, inside[at])] = values[at];
                }
            }
        }
        DENSE => return Err(format!("a matrix of {n_rows} × {n_columns} has {} values", values.len())),
        other => return Err(format!("a matrix is of type {other}, which is unknown here")),
    }
    Ok(Matrix { n_rows, n_columns, values: dense })
}
