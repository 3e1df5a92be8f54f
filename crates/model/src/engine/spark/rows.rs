//! Encoded rows as Parquet that Spark reads as they lie: MLlib's vectors, or ratings of codes.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Float32Array, Float64Array, Float64Builder, Int8Array, Int32Array, Int32Builder, ListBuilder,
    RecordBatch, StructArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::metadata::KeyValue;
use datafusion::parquet::file::properties::WriterProperties;
use millstream_learn::als::Ratings;
use millstream_learn::{Column, FitError, Table};
use serde_json::{Value, json};

use crate::engine::Target;

/// Of a block in memory, and of what Spark reads at once.
const BLOCK_ROWS: usize = 16_384;
const GROUP_ROWS: usize = 131_072;
pub const FILE: &str = "rows.parquet";
/// Under this key Spark keeps the types that Parquet has no word for.
const SPARK_SCHEMA: &str = "org.apache.spark.sql.parquet.row.metadata";

/// Why rows could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Fit(#[from] FitError),
    #[error("the rows for Spark cannot be written: {0}")]
    Io(#[from] std::io::Error),
    #[error("the rows for Spark cannot be written: {0}")]
    Parquet(#[from] datafusion::parquet::errors::ParquetError),
    #[error("the rows for Spark cannot be written: {0}")]
    Arrow(#[from] datafusion::arrow::error::ArrowError),
}

/// What becomes of a column in the vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Slots {
    /// One: (value − center) · weight.
    Number { center: f64, weight: f64 },
    /// One: the number of the category, and MLlib is told that it is one.
    Code { n_categories: u32 },
    /// One for each category: 0, or the weight.
    OneHot { n_categories: u32, weight: f64 },
    /// One for each word.
    Words { n_terms: u32 },
}

impl Slots {
    pub fn len(self) -> usize {
        match self {
            Self::Number { .. } | Self::Code { .. } => 1,
            Self::OneHot { n_categories, .. } => n_categories as usize,
            Self::Words { n_terms } => n_terms as usize,
        }
    }
}

/// One-hot, and centred: where numbers are far from 0 for their spread, digits of an intercept would cancel. Distances and penalties are as
/// without.
pub fn linear_slots(table: &Table) -> Result<Vec<Slots>, FitError> {
    let slots = |(column, values): (usize, &Column)| match values {
        Column::Numeric(values) => Ok(Slots::Number { center: mean(column, values)?, weight: 1.0 }),
        Column::Categorical { codes, n_categories } => {
            all_known(column, codes, *n_categories)?;
            Ok(Slots::OneHot { n_categories: *n_categories, weight: 1.0 })
        }
        Column::Sparse(sparse) => Ok(Slots::Words { n_terms: sparse.n_terms() }),
    };
    table.columns().iter().enumerate().map(slots).collect()
}

/// Numbers as they are, and categories by their numbers.
pub fn tree_slots(table: &Table) -> Result<Vec<Slots>, FitError> {
    let slots = |(column, values): (usize, &Column)| match values {
        Column::Numeric(values) => {
            mean(column, values)?;
            Ok(Slots::Number { center: 0.0, weight: 1.0 })
        }
        Column::Categorical { codes, n_categories } => {
            all_known(column, codes, *n_categories)?;
            Ok(Slots::Code { n_categories: *n_categories })
        }
        Column::Sparse(_) => Err(FitError::Sparse { column }),
    };
    table.columns().iter().enumerate().map(slots).collect()
}

/// Of numbers that are all finite.
fn mean(column: usize, values: &[f64]) -> Result<f64, FitError> {
    if let Some(row) = values.iter().position(|value| !value.is_finite()) {
        return Err(if values[row].is_nan() {
            FitError::Missing { column, row }
        } else {
            FitError::NotFinite { column, row }
        });
    }
    // Shifted by the first, so that the sum is of what differs.
    let first = values.first().copied().unwrap_or_default();
    let mean = first + values.iter().map(|value| value - first).sum::<f64>() / values.len().max(1) as f64;
    if mean.is_finite() { Ok(mean) } else { Err(FitError::TooLarge { column }) }
}

fn all_known(column: usize, codes: &[u32], n_categories: u32) -> Result<(), FitError> {
    match codes.iter().position(|code| *code >= n_categories) {
        None => Ok(()),
        Some(row) => Err(FitError::Missing { column, row }),
    }
}

/// A vector a row, `features`, and where there is a target its number or class, `label`.
pub fn write_table(folder: &Path, table: &Table, slots: &[Slots], target: Option<&Target>) -> Result<(), WriteError> {
    let sparse = slots.iter().any(|slots| matches!(slots, Slots::OneHot { .. } | Slots::Words { .. }));
    let element = |kind| DataType::List(Arc::new(Field::new("element", kind, false)));
    let vector = Fields::from(vec![
        Field::new("type", DataType::Int8, false),
        Field::new("size", DataType::Int32, true),
        Field::new("indices", element(DataType::Int32), true),
        Field::new("values", element(DataType::Float64), true),
    ]);
    let mut fields = vec![Field::new("features", DataType::Struct(vector.clone()), false)];
    fields.extend(target.map(|_| Field::new("label", DataType::Float64, false)));
    let schema = Arc::new(Schema::new(fields));
    let mut writer = writer(folder, &schema, Some(spark_schema(slots, target.is_some())))?;
    for start in (0..table.n_rows()).step_by(BLOCK_ROWS) {
        let rows = start..(start + BLOCK_ROWS).min(table.n_rows());
        let n_rows = rows.len();
        let mut indices =
            ListBuilder::new(Int32Builder::new()).with_field(Field::new("element", DataType::Int32, false));
        let mut values =
            ListBuilder::new(Float64Builder::new()).with_field(Field::new("element", DataType::Float64, false));
        for row in rows.clone() {
            let mut first = 0;
            for (column, slots) in table.columns().iter().zip(slots) {
                let mut push = |slot: usize, value: f64| {
                    if sparse {
                        indices.values().append_value(signed(first + slot)?);
                    }
                    values.values().append_value(value);
                    Ok::<(), FitError>(())
                };
                match (column, slots) {
                    (Column::Numeric(numbers), Slots::Number { center, weight }) => {
                        push(0, (numbers[row] - center) * weight)?;
                    }
                    (Column::Categorical { codes, .. }, Slots::Code { .. }) => push(0, f64::from(codes[row]))?,
                    (Column::Categorical { codes, .. }, Slots::OneHot { weight, .. }) => {
                        push(codes[row] as usize, *weight)?;
                    }
                    (Column::Sparse(words), Slots::Words { .. }) => {
                        for (term, value) in words.row(row) {
                            push(term, value)?;
                        }
                    }
                    (Column::Numeric(_) | Column::Categorical { .. } | Column::Sparse(_), _) => {
                        return Err(FitError::LayoutChanged.into());
                    }
                }
                first += slots.len();
            }
            indices.append(sparse);
            values.append(true);
        }
        let size = signed(slots.iter().map(|slots| slots.len()).sum())?;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int8Array::from(vec![i8::from(!sparse); n_rows])),
            Arc::new(Int32Array::from(vec![sparse.then_some(size); n_rows])),
            Arc::new(indices.finish()),
            Arc::new(values.finish()),
        ];
        let mut block: Vec<ArrayRef> = vec![Arc::new(StructArray::try_new(vector.clone(), columns, None)?)];
        block.extend(target.map(|target| -> ArrayRef {
            Arc::new(match target {
                Target::Numbers(numbers) => Float64Array::from_iter_values(numbers[rows.clone()].iter().copied()),
                Target::Classes { codes, .. } => {
                    Float64Array::from_iter_values(codes[rows.clone()].iter().map(|code| f64::from(*code)))
                }
            })
        }));
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), block)?)?;
    }
    writer.close()?;
    Ok(())
}

/// `user`, `item` and `rating`; ids are their codes.
pub fn write_ratings(folder: &Path, ratings: &Ratings) -> Result<(), WriteError> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("user", DataType::Int32, false),
        Field::new("item", DataType::Int32, false),
        Field::new("rating", DataType::Float32, false),
    ]));
    signed(ratings.n_items())?;
    let n_users = signed(ratings.n_users())?;
    let mut writer = writer(folder, &schema, None)?;
    let (mut users, mut items, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut write = |users: &mut Vec<i32>, items: &mut Vec<i32>, values: &mut Vec<f32>| -> Result<(), WriteError> {
        let columns: [ArrayRef; 3] = [
            Arc::new(Int32Array::from(std::mem::take(users))),
            Arc::new(Int32Array::from(std::mem::take(items))),
            Arc::new(Float32Array::from(std::mem::take(values))),
        ];
        Ok(writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns.to_vec())?)?)
    };
    for user in 0..n_users {
        let (rated, given) = ratings.of_user(user.cast_unsigned());
        users.resize(users.len() + rated.len(), user);
        // Below their number, which fits.
        items.extend(rated.iter().map(|item| item.cast_signed()));
        values.extend_from_slice(given);
        if values.len() >= BLOCK_ROWS {
            write(&mut users, &mut items, &mut values)?;
        }
    }
    write(&mut users, &mut items, &mut values)?;
    writer.close()?;
    Ok(())
}

/// The code of each value, under `value` and `code`.
pub fn write_codes(folder: &Path, values: ArrayRef, codes: Vec<i32>) -> Result<(), WriteError> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("value", values.data_type().clone(), false),
        Field::new("code", DataType::Int32, false),
    ]));
    let mut writer = writer(folder, &schema, None)?;
    writer.write(&RecordBatch::try_new(schema, vec![values, Arc::new(Int32Array::from(codes))])?)?;
    writer.close()?;
    Ok(())
}

/// Of what was written.
pub fn bytes(folder: &Path) -> u64 {
    std::fs::metadata(folder.join(FILE)).map_or(0, |file| file.len())
}

fn writer(folder: &Path, schema: &SchemaRef, spark: Option<Value>) -> Result<ArrowWriter<File>, WriteError> {
    std::fs::create_dir(folder)?;
    let told = spark.map(|schema| vec![KeyValue::new(SPARK_SCHEMA.to_owned(), schema.to_string())]);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_key_value_metadata(told)
        .build();
    Ok(ArrowWriter::try_new(File::create(folder.join(FILE))?, Arc::clone(schema), Some(properties))?)
}

/// MLlib counts with 32 bits and a sign.
pub fn signed(count: usize) -> Result<i32, FitError> {
    i32::try_from(count).map_err(|_| FitError::TooManyRows { found: count, max: i32::MAX as usize })
}

/// That `features` are vectors, and which of their numbers are categories.
fn spark_schema(slots: &[Slots], has_label: bool) -> Value {
    let list = |kind: &str| json!({ "type": "array", "elementType": kind, "containsNull": false });
    let field_with = |name: &str, kind: Value, nullable: bool, metadata: Value| json!({ "name": name, "type": kind, "nullable": nullable, "metadata": metadata });
    let field = |name: &str, kind: Value, nullable: bool| field_with(name, kind, nullable, json!({}));
    let vector = json!({
        "type": "udt",
        "class": "org.apache.spark.ml.linalg.VectorUDT",
        "pyClass": "pyspark.ml.linalg.VectorUDT",
        "sqlType": { "type": "struct", "fields": [
            field("type", json!("byte"), false),
            field("size", json!("integer"), true),
            field("indices", list("integer"), true),
            field("values", list("double"), true),
        ] },
    });
    let label = has_label.then(|| field("label", json!("double"), false));
    let fields: Vec<Value> =
        [field_with("features", vector, false, attributes(slots))].into_iter().chain(label).collect();
    json!({ "type": "struct", "fields": fields })
}

/// Spark's words for the categories of a vector; nothing where all are numbers.
fn attributes(slots: &[Slots]) -> Value {
    let (mut numeric, mut nominal, mut place) = (Vec::new(), Vec::new(), 0);
    for slots in slots {
        match slots {
            Slots::Code { n_categories } => nominal.push(json!({ "idx": place, "num_vals": n_categories })),
            Slots::Number { .. } | Slots::OneHot { .. } | Slots::Words { .. } => {
                numeric.extend((place..place + slots.len()).map(|place| json!({ "idx": place })));
            }
        }
        place += slots.len();
    }
    match nominal.is_empty() {
        true => json!({}),
        false => json!({ "ml_attr": { "attrs": { "numeric": numeric, "nominal": nominal }, "num_attrs": place } }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mllib_is_told_which_numbers_are_categories() {
        let number = Slots::Number { center: 0.0, weight: 1.0 };
        assert_eq!(attributes(&[number, Slots::OneHot { n_categories: 3, weight: 1.0 }]), json!({}));
        let told = attributes(&[number, Slots::Code { n_categories: 7 }, number]);
        assert_eq!(
            told["ml_attr"],
            json!({ "attrs": { "numeric": [{ "idx": 0 }, { "idx": 2 }], "nominal": [{ "idx": 1, "num_vals": 7 }] }, "num_attrs": 3 })
        );
    }

    #[test]
    fn a_missing_category_is_refused_before_anything_is_written() {
        let codes = vec![0, millstream_learn::table::MISSING_CODE];
        let table = Table::new(vec![Column::Categorical { codes, n_categories: 1 }]).unwrap();
        assert!(matches!(tree_slots(&table), Err(FitError::Missing { column: 0, row: 1 })));
    }
}
