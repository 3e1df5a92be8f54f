//! Items by their values: lists of near ones. Row `i` of the model is the item of the `i`-th id.

use millstream_learn::neighbours::{self, Neighbour, StoredValue};
use millstream_learn::table::MISSING_CODE;
use millstream_learn::top_n::Admit;
use millstream_learn::{Algorithm, Arrays, Column, Ids, LoadError, Table};
use millstream_stream::expression::ExpressionError;
use serde_json::Value;

use super::clusters::category_name;
use super::list::{number_json, stored};
use super::{ITEM, InputFault, ListFault, ListPage, ListQuestion, LoadedKind, Subject, list_row, load_ids};
use crate::model::Missing;
use crate::registry::encoder::{RowEncoder, general_fault};
use crate::registry::{FeatureSet, ModelFile, Row};

/// The arrays of a model of near rows.
#[derive(Debug)]
pub struct NeighbourParts {
    pub model: neighbours::Model,
    pub ids: Ids,
}

impl NeighbourParts {
    pub fn from_arrays(arrays: &Arrays) -> Result<Self, LoadError> {
        let model = neighbours::Model::from_arrays(arrays)?;
        let ids = load_ids(ITEM, arrays, model.n_rows(), "rows")?;
        Ok(Self { model, ids })
    }

    pub fn to_arrays(&self) -> Arrays {
        let mut arrays = self.model.to_arrays();
        self.ids.store(ITEM, &mut arrays);
        arrays
    }
}

/// Items and their values.
#[derive(Debug)]
pub struct Neighbourhood {
    pub model: neighbours::Model,
    pub ids: Ids,
    encoder: RowEncoder,
}

impl Neighbourhood {
    pub fn new(file: &ModelFile, algorithm: Algorithm, parts: NeighbourParts) -> Result<Self, ExpressionError> {
        let encoder = RowEncoder::new(file, algorithm, Vec::new())?;
        Ok(Self { model: parts.model, ids: parts.ids, encoder })
    }

    pub fn feature_set(&self) -> &FeatureSet {
        self.encoder.feature_set()
    }

    /// What a stored row was compared by: its features, in their order; a missing value is null.
    pub fn row(&self, row: u32) -> Row {
        let features = self.feature_set().features();
        let shown = features.iter().enumerate().map(|(column, feature)| {
            let value = match self.model.value(row, column) {
                Some(StoredValue::Number(number)) => number_json(number),
                Some(StoredValue::Category(code)) => Value::from(category_name(feature, Missing::Skip, code)),
                None => Value::Null,
            };
            (feature.expression.clone(), value)
        });
        shown.collect()
    }

    /// A posted row as the model compares it: a table of that one row. It may lack columns, but not all.
    pub fn posted(&self, row: &Row) -> Result<Table, InputFault> {
        let encoded = self.encoder.encode(std::slice::from_ref(row))?;
        let table = Table::new(encoded.columns).map_err(|error| general_fault(&error))?;
        if table.columns().iter().all(is_first_missing) {
            let names: Vec<&str> =
                self.feature_set().features().iter().map(|feature| feature.expression.as_str()).collect();
            let message = format!("the row has no value to compare by: give at least one of {}", names.join(", "));
            return Err(InputFault { row: 0, field: String::new(), message });
        }
        Ok(table)
    }

    /// The admitted rows nearest to a row of `posted`.
    pub fn nearest_in(&self, posted: &Table, n: usize, admit: &Admit) -> Result<Vec<Neighbour>, InputFault> {
        self.model.nearest(posted, 0, n, admit).map_err(|error| general_fault(&error))
    }

    /// How many rows `nearest_in` finds when none is too many.
    pub fn n_near(&self, posted: &Table, admit: &Admit) -> Result<usize, InputFault> {
        self.model.n_near(posted, 0, admit).map_err(|error| general_fault(&error))
    }
}

/// So many values are compared in about a quarter of a millisecond.
const VALUES_SHORT: usize = 200_000;

impl LoadedKind for Neighbourhood {
    fn items(&self) -> Option<&Ids> {
        Some(&self.ids)
    }

    fn list(&self, file: &ModelFile, question: &ListQuestion) -> Result<ListPage, ListFault> {
        let admit = &question.admit;
        let row = |found: &Neighbour, parts: Vec<Option<f64>>| {
            let parts = self.feature_set().features().iter().zip(parts);
            let parts = parts.map(|(feature, part)| (feature.expression.clone(), part.into()));
            let more = [
                ("distance", Value::from(found.distance)),
                ("parts", Value::Object(parts.collect())),
                ("row", Value::Object(self.row(found.row))),
            ];
            (found.row, list_row(self.ids.get(found.row), more))
        };
        match question.subject {
            Subject::Row(given) => {
                let posted = self.posted(given).map_err(ListFault::Row)?;
                let total = self.n_near(&posted, admit).map_err(ListFault::Row)?;
                let search = |n| self.nearest_in(&posted, n, admit).map_err(ListFault::Row);
                // What was searched by was checked: no row fails here alone.
                let parts = |found: &Neighbour| self.model.parts(&posted, 0, found.row).unwrap_or_default();
                question.list(total, search, |found| row(found, parts(found)))
            }
            Subject::Item(id) => {
                let stored = stored(file, &self.ids, id)?;
                let total = self.model.n_near_row(stored, admit);
                let search = |n| Ok(self.model.nearest_to_row(stored, n, admit));
                question.list(total, search, |found| row(found, self.model.parts_to_row(stored, found.row)))
            }
            _ => Err(ListFault::NoSuchList),
        }
    }

    fn is_long(&self, _subject: &Subject) -> bool {
        self.model.n_rows() * self.model.n_columns() > VALUES_SHORT
    }
}

fn is_first_missing(column: &Column) -> bool {
    match column {
        Column::Numeric(values) => values.first().is_none_or(|value| !value.is_finite()),
        Column::Categorical { codes, .. } => codes.first().is_none_or(|code| *code == MISSING_CODE),
        Column::Sparse(words) => words.is_empty() || words.is_zero(0),
    }
}
