//! What a `[[table]]` with a `key` adds to the rows that items are made of: its other columns, found by the column that has the key's
//! name. So a film's certificate brings its audience, and expressions name both alike.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Float64Type, Schema};
use datafusion::arrow::error::ArrowError;
use millstream_base::Faults;
use millstream_stream::schema::Dialect;

use super::tables;
use crate::catalogue::FixedTable;

/// The tables that have a key.
#[derive(Debug, Clone, Default)]
pub struct Lookups(Vec<Lookup>);

#[derive(Debug, Clone)]
struct Lookup {
    key: String,
    /// Without the key.
    rows: RecordBatch,
    places: Arc<HashMap<String, u32>>,
}

impl Lookups {
    /// Reads the files of those that have a key.
    pub fn read(all: &[FixedTable], dialect: Dialect, faults: &mut Faults) -> Self {
        let keyed: Vec<FixedTable> = all.iter().filter(|table| table.key.is_some()).cloned().collect();
        let loaded = tables::load(&keyed, dialect, faults);
        Self::of(all, &loaded, faults)
    }

    /// Of tables that are loaded.
    pub fn of(all: &[FixedTable], loaded: &[(String, RecordBatch)], faults: &mut Faults) -> Self {
        let mut lookups = Vec::new();
        for (name, rows) in loaded {
            let Some(key) = all.iter().find(|table| table.name == *name).and_then(|table| table.key.as_ref()) else {
                continue;
            };
            match Lookup::new(key, rows) {
                Ok(lookup) => lookups.push(lookup),
                Err(problem) => faults.add_text(format!("table.{name}.key"), key, problem),
            }
        }
        Self(lookups)
    }

    /// The columns of rows, and those that the tables add to them. A column of the rows themselves comes before one of a table.
    pub fn extended(&self, rows: &Schema) -> Schema {
        let mut fields: Vec<Arc<Field>> = rows.fields().iter().cloned().collect();
        for (_, _, field) in self.added(rows.fields()) {
            fields.push(field);
        }
        Schema::new(fields)
    }

    /// What has to be read of rows so that these columns can be had: a table's column needs its key.
    pub fn sources(&self, wanted: &Schema, rows: &Schema) -> Schema {
        let added = self.added(rows.fields());
        let keys: Vec<&str> = added
            .iter()
            .filter(|(_, _, field)| wanted.index_of(field.name()).is_ok())
            .map(|(lookup, ..)| lookup.key.as_str())
            .collect();
        let is_needed =
            |field: &&Arc<Field>| wanted.index_of(field.name()).is_ok() || keys.contains(&field.name().as_str());
        Schema::new(rows.fields().iter().filter(is_needed).cloned().collect::<Vec<_>>())
    }

    /// The rows with what the tables add to them, in the schema that `extended` gives; null where a key is in no table.
    pub fn extend(&self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let schema = self.extended(&rows.schema());
        let mut columns = rows.columns().to_vec();
        for (lookup, place, _) in self.added(rows.schema().fields()) {
            let keys = texts(rows.column(rows.schema().index_of(&lookup.key)?))?;
            let found = keys.iter().map(|key| lookup.places.get(key.as_deref()?).copied());
            columns.push(take(lookup.rows.column(place), &found.collect::<UInt32Array>(), None)?);
        }
        let counted = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(schema), columns, &counted)
    }

    /// Which column of which table is added to rows of these columns.
    fn added(&self, rows: &Fields) -> Vec<(&Lookup, usize, Arc<Field>)> {
        let mut added: Vec<(&Lookup, usize, Arc<Field>)> = Vec::new();
        for lookup in self.0.iter().filter(|lookup| rows.find(&lookup.key).is_some()) {
            for (place, field) in lookup.rows.schema().fields().iter().enumerate() {
                let is_there = rows.find(field.name()).is_some();
                if !is_there && !added.iter().any(|(_, _, other)| other.name() == field.name()) {
                    added.push((lookup, place, Arc::clone(field)));
                }
            }
        }
        added
    }
}

impl Lookup {
    fn new(key: &str, rows: &RecordBatch) -> Result<Self, String> {
        let schema = rows.schema();
        let names = || schema.fields().iter().map(|field| field.name().as_str());
        let Ok(place) = schema.index_of(key) else {
            return Err(format!("no such column{}", millstream_base::did_you_mean(key, names().collect::<Vec<_>>())));
        };
        let mut places = HashMap::new();
        for (row, text) in (0_u32..).zip(texts(rows.column(place)).map_err(|error| error.to_string())?) {
            let Some(text) = text else { continue };
            if places.contains_key(&text) {
                return Err(format!("`{text}` is there twice; a key has one row"));
            }
            places.insert(text, row);
        }
        let mut rows = rows.clone();
        rows.remove_column(place);
        Ok(Self { key: key.to_owned(), rows, places: Arc::new(places) })
    }
}

/// Keys as text: a number is the same key whatever its type is.
fn texts(column: &ArrayRef) -> Result<Vec<Option<String>>, ArrowError> {
    if column.data_type().is_numeric() {
        let numbers = cast(column, &DataType::Float64)?;
        return Ok(numbers.as_primitive::<Float64Type>().iter().map(|number| Some(number?.to_string())).collect());
    }
    let texts = cast(column, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    Ok((0..texts.len()).map(|row| texts.is_valid(row).then(|| texts.value(row).to_owned())).collect())
}
