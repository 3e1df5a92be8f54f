//! The rows of a request in one of the protocol's four forms, still as they came: a row is made when it is its turn.

use std::collections::HashSet;

use millstream_model::model::Action;
use millstream_model::registry::Version;
use millstream_stream::schema::ColumnType;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::error::{ApiError, hint, shortened};
use super::super::oip;
use super::super::predict::{check_cells, kept_inputs, width};
use super::super::rows::{self, ROWS_MAX, Row, noun};

const FORMS: [&str; 4] = ["dataframe_split", "dataframe_records", "instances", "inputs"];

pub struct Frame {
    n_rows: usize,
    rows: Rows,
    /// What reads a row of objects by its names: as `predict`, or by the columns of pairs.
    columns: Vec<(String, ColumnType)>,
}

/// `None` as a name: a column of the stream that the model does not use.
enum Rows {
    Objects(Vec<Value>),
    Lists { names: Vec<Option<String>>, rows: Vec<Value> },
    Columns(Vec<(Option<String>, Vec<Value>)>),
}

impl Frame {
    pub fn read(version: &Version, bytes: &[u8]) -> Result<Self, ApiError> {
        let expected = format!("one of {}", FORMS.join(", "));
        let Value::Object(mut body) = rows::parse_json(bytes)? else {
            return Err(ApiError::shape(format!("the body must be an object with {expected}")));
        };
        let given: Vec<&str> = FORMS.into_iter().filter(|form| body.contains_key(*form)).collect();
        let &[form] = given.as_slice() else {
            let found = match (given.is_empty(), body.keys().next()) {
                (false, _) => format!("{} of them", given.len()),
                (true, Some(name)) => shortened(name),
                (true, None) => "nothing".to_owned(),
            };
            return Err(ApiError::shape(format!("the body must have exactly {expected}; it has {found}")));
        };
        // `params` are passed over, as MLflow does for a model that declares none, and so is what else stands there.
        let value = body.remove(form).unwrap_or_default();
        let columns = oip::columns(version);
        let reading = Reading { version, columns: &columns, form };
        let rows = match (form, value) {
            ("dataframe_split", Value::Object(split)) => reading.split(split)?,
            ("dataframe_records" | "instances" | "inputs", Value::Array(values)) => reading.list(values)?,
            ("inputs", Value::Object(by_name)) => reading.columns(by_name)?,
            (form, other) => {
                let expected = match form {
                    "dataframe_split" => "an object with columns and data",
                    "inputs" => "a list of rows, or an object with a list for each column",
                    _ => "a list of rows",
                };
                return Err(reading.fault(&format!("expected {expected}, got {}", noun(&other))));
            }
        };
        let n_rows = match &rows {
            Rows::Objects(rows) | Rows::Lists { rows, .. } => rows.len(),
            Rows::Columns(columns) => columns.first().map_or(0, |(_, values)| values.len()),
        };
        if n_rows > ROWS_MAX {
            return Err(ApiError::too_large(format!("{n_rows} rows in one request: at most {ROWS_MAX}")));
        }
        check_cells(n_rows, width(version))?;
        Ok(Self { n_rows, rows, columns })
    }

    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// A row, which is taken out.
    pub fn take(&mut self, index: usize, version: &Version) -> Result<Row, ApiError> {
        let named = |(name, value): (&Option<String>, Value)| Some((name.clone()?, value));
        match &mut self.rows {
            Rows::Columns(columns) => {
                let cells = columns
                    .iter_mut()
                    .map(|(name, values)| (&*name, values.get_mut(index).map_or(Value::Null, Value::take)));
                Ok(cells.filter_map(named).collect())
            }
            Rows::Lists { names, rows } => match rows.get_mut(index).map(Value::take) {
                Some(Value::Array(values)) if values.len() == names.len() => {
                    Ok(names.iter().zip(values).filter_map(named).collect())
                }
                Some(Value::Array(values)) => {
                    let (found, expected) = (values.len(), names.len());
                    Err(ApiError::shape(format!(
                        "row {index}: has {found} values, expected {expected}, one for each column"
                    )))
                }
                other => Err(unlike(index, "a list of values", &other.unwrap_or_default())),
            },
            Rows::Objects(rows) => match rows.get_mut(index).map(Value::take) {
                Some(Value::Object(row)) if oip::action(version)? == Action::Predict => {
                    kept_inputs(version, row, Some(index))
                }
                Some(Value::Object(row)) => {
                    let is_known = |name: &String| self.columns.iter().any(|(column, _)| column == name);
                    match row.keys().find(|name| !is_known(name) && !version.knows(name)) {
                        Some(name) => Err(unknown(name, &self.columns)),
                        None => Ok(row),
                    }
                }
                other => Err(unlike(index, "an object", &other.unwrap_or_default())),
            },
        }
    }
}

fn unlike(index: usize, expected: &str, found: &Value) -> ApiError {
    ApiError::shape(format!("row {index}: expected {expected}, got {}", noun(found)))
}

fn unknown(name: &str, columns: &[(String, ColumnType)]) -> ApiError {
    let known = hint(name, columns.iter().map(|(column, _)| column.as_str()));
    ApiError::value("unknown_parameter", name, format!("{name}: no input of this model{known}"))
}

struct Reading<'a> {
    version: &'a Version,
    columns: &'a [(String, ColumnType)],
    form: &'a str,
}

impl Reading<'_> {
    fn fault(&self, message: &str) -> ApiError {
        ApiError::value("bad_value", self.form, format!("{}: {message}", self.form))
    }

    /// The columns that some names speak of, each once.
    fn resolve<'n>(&self, names: impl Iterator<Item = &'n str>) -> Result<Vec<Option<String>>, ApiError> {
        let known: HashSet<&str> = self.columns.iter().map(|(column, _)| column.as_str()).collect();
        let mut seen = HashSet::new();
        let resolve = |name: &'n str| {
            let column = self.version.renamed(name).unwrap_or(name);
            if !seen.insert(column.to_owned()) {
                return Err(rows::repeated(name));
            }
            match known.contains(column) {
                true => Ok(Some(column.to_owned())),
                false if self.version.knows(column) => Ok(None),
                false => Err(unknown(name, self.columns)),
            }
        };
        names.map(resolve).collect()
    }

    /// `index` is passed over.
    fn split(&self, mut split: Map<String, Value>) -> Result<Rows, ApiError> {
        let mut part = |name: &str| match split.remove(name) {
            Some(Value::Array(values)) => Ok(values),
            Some(other) => Err(self.fault(&format!("{name}: expected a list, got {}", noun(&other)))),
            None => Err(self.fault(&format!("{name}: is missing; expected a list"))),
        };
        let (columns, rows) = (part("columns")?, part("data")?);
        let names = columns.iter().map(|name| {
            name.as_str().ok_or_else(|| self.fault(&format!("columns: expected names, got {}", noun(name))))
        });
        let names: Vec<&str> = names.collect::<Result<_, _>>()?;
        Ok(Rows::Lists { names: self.resolve(names.into_iter())?, rows })
    }

    /// Objects by name, lists in the order of the model's inputs, or, of a model with one input, its values.
    fn list(&self, values: Vec<Value>) -> Result<Rows, ApiError> {
        let in_order = || self.columns.iter().map(|(name, _)| Some(name.clone()));
        match (values.first(), self.form, self.columns) {
            (None | Some(Value::Object(_)), _, _) | (_, "dataframe_records", _) => Ok(Rows::Objects(values)),
            (Some(Value::Array(_)), _, _) => Ok(Rows::Lists { names: in_order().collect(), rows: values }),
            (Some(_), _, [(only, _)]) => match values.iter().find(|value| value.is_array() || value.is_object()) {
                None => Ok(Rows::Columns(vec![(Some(only.clone()), values)])),
                Some(other) => Err(self.fault(&format!("expected values alone, got {} among them", noun(other)))),
            },
            (Some(other), _, columns) => {
                let message = format!("expected rows of {} values, got {}", columns.len(), noun(other));
                Err(self.fault(&message))
            }
        }
    }

    fn columns(&self, by_name: Map<String, Value>) -> Result<Rows, ApiError> {
        let names = self.resolve(by_name.keys().map(String::as_str))?;
        let mut columns: Vec<(Option<String>, Vec<Value>)> = Vec::with_capacity(names.len());
        for (column, (name, value)) in names.into_iter().zip(by_name) {
            let Value::Array(values) = value else {
                return Err(self.fault(&format!("{name}: expected a list of values, got {}", noun(&value))));
            };
            // A column of numpy is [n] or [n, 1].
            let values: Vec<Value> = values.into_iter().map(only_one).collect();
            if let Some((_, first)) = columns.first().filter(|(_, first)| first.len() != values.len()) {
                let (found, expected) = (values.len(), first.len());
                return Err(self.fault(&format!("{name}: has {found} values, the column before it {expected}")));
            }
            columns.push((column, values));
        }
        Ok(Rows::Columns(columns))
    }
}

fn only_one(value: Value) -> Value {
    match value {
        Value::Array(mut values) if values.len() == 1 => values.pop().unwrap_or_default(),
        value => value,
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    dataframe_split: Option<&'a RawValue>,
    #[serde(borrow)]
    dataframe_records: Option<&'a RawValue>,
    #[serde(borrow)]
    instances: Option<&'a RawValue>,
    #[serde(borrow)]
    inputs: Option<&'a RawValue>,
}

/// The rows that a body may have, before anything of it is checked: a row is a list or an object, or, of values alone and of columns, what
/// stands between two commas.
pub fn rows_claimed(bytes: &[u8]) -> usize {
    let Ok(Head { dataframe_split, dataframe_records, instances, inputs }) = serde_json::from_slice(bytes) else {
        return 0;
    };
    let rows = dataframe_split.into_iter().chain(dataframe_records).chain(instances).chain(inputs).map(|raw| {
        let text = raw.get();
        let of_values = match text.strip_prefix('[') {
            Some(rest) => !rest.trim_start().starts_with(['[', '{']),
            None => dataframe_split.is_none(),
        };
        let count = |what: &[char]| text.matches(what).count();
        if of_values { count(&[',']) + 1 } else { count(&['[', '{']) }
    });
    rows.max().unwrap_or(0)
}
