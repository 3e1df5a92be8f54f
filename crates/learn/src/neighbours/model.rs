//! Stored rows, and which are nearest to one of them or to another.

use crate::arrays::{Array, Arrays, Dim, damaged, read_f64, read_finite, read_u8, read_u32};
use crate::error::{LoadError, PredictError};
use crate::layout::Layout;
use crate::table::{Column, MISSING_CODE, Table};
use crate::top_n::Admit;

use super::params::Metric;
use super::scan::{Value, nearest, parts};

/// A stored row and how far away it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    pub row: u32,
    /// Finite: the greatest f64 stands for what is further away than that.
    pub distance: f64,
}

/// One value of a stored row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StoredValue {
    Number(f64),
    Category(u32),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    metric: Metric,
    layout: Layout,
    n_rows: usize,
    columns: Vec<Stored>,
}

/// One feature of every row.
#[derive(Debug, Clone)]
pub(super) enum Stored {
    /// NaN is missing, of which there are some when `missing`. Differences are divided by `scale`; see [`Value`] for 0.
    Numeric {
        values: Vec<f64>,
        scale: f64,
        missing: bool,
    },
    Categorical(Codes),
}

/// Categories in the narrowest type with room for them and for a missing one, which is the greatest number.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Codes {
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
}

impl Stored {
    pub(super) fn numeric(values: Vec<f64>, scale: f64) -> Stored {
        let missing = values.iter().any(|value| value.is_nan());
        Stored::Numeric { values, scale, missing }
    }

    /// Whether a row has a value here; not beyond the last.
    fn has(&self, row: usize) -> bool {
        match self {
            Stored::Numeric { values, .. } => !values[row].is_nan(),
            Stored::Categorical(codes) => codes.get(row) != MISSING_CODE,
        }
    }
}

/// Missing values are equal.
impl PartialEq for Stored {
    fn eq(&self, other: &Stored) -> bool {
        match (self, other) {
            (Stored::Numeric { values, scale, .. }, Stored::Numeric { values: others, scale: other, .. }) => {
                let same = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan());
                scale == other && values.len() == others.len() && values.iter().zip(others).all(same)
            }
            (Stored::Categorical(codes), Stored::Categorical(others)) => codes == others,
            (Stored::Numeric { .. }, Stored::Categorical(_)) | (Stored::Categorical(_), Stored::Numeric { .. }) => {
                false
            }
        }
    }
}

impl Model {
    pub(super) fn new(metric: Metric, layout: Layout, n_rows: usize, columns: Vec<Stored>) -> Model {
        Model { metric, layout, n_rows, columns }
    }

    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    pub fn metric(&self) -> Metric {
        self.metric
    }

    pub fn n_columns(&self) -> usize {
        self.columns.len()
    }

    /// What a row was kept with; `None`: the value is missing, or there is no such row or column.
    pub fn value(&self, row: u32, column: usize) -> Option<StoredValue> {
        let row = row as usize;
        match self.columns.get(column).filter(|_| row < self.n_rows)? {
            Stored::Numeric { values, .. } => Some(values[row]).filter(|v| !v.is_nan()).map(StoredValue::Number),
            Stored::Categorical(codes) => {
                Some(codes.get(row)).filter(|c| *c != MISSING_CODE).map(StoredValue::Category)
            }
        }
    }

    /// The n admitted rows nearest to stored row `row`, which is left out; equal distances by row. None for a row beyond
    /// the last. Rows that have a value in none of the same columns are at no distance, and in no list.
    pub fn nearest_to_row(&self, row: u32, n: usize, admit: &Admit) -> Vec<Neighbour> {
        if row as usize >= self.n_rows {
            return Vec::new();
        }
        let exclude = admit.exclude_also(row);
        let query = self.query_of_row(row as usize);
        nearest(self.metric, &self.columns, self.n_rows, &query, n, &Admit { exclude: &exclude, only: admit.only })
    }

    /// The n admitted rows nearest to row `row` of `table`: as [`nearest_to_row`](Model::nearest_to_row). A number that
    /// is not finite counts as missing. A category that the fit did not have, whose code is beyond those of the fit,
    /// is at distance 1 from all.
    pub fn nearest(&self, table: &Table, row: usize, n: usize, admit: &Admit) -> Result<Vec<Neighbour>, PredictError> {
        self.layout.check(table)?;
        if row >= table.n_rows() {
            return Ok(Vec::new());
        }
        let query = self.query_of(table, row);
        Ok(nearest(self.metric, &self.columns, self.n_rows, &query, n, admit))
    }

    /// What each column adds to the distance between two stored rows: the parts add up to it. `None`: a row has no value there. Empty for
    /// a row beyond the last.
    pub fn parts_to_row(&self, row: u32, other: u32) -> Vec<Option<f64>> {
        let (row, other) = (row as usize, other as usize);
        if row.max(other) >= self.n_rows {
            return Vec::new();
        }
        parts(self.metric, &self.columns, &self.query_of_row(row), other)
    }

    /// As [`parts_to_row`](Model::parts_to_row), from row `row` of `table`, which [`nearest`](Model::nearest) takes.
    pub fn parts(&self, table: &Table, row: usize, other: u32) -> Result<Vec<Option<f64>>, PredictError> {
        self.layout.check(table)?;
        if row >= table.n_rows() || other as usize >= self.n_rows {
            return Ok(Vec::new());
        }
        Ok(parts(self.metric, &self.columns, &self.query_of(table, row), other as usize))
    }

    fn query_of_row(&self, row: usize) -> Vec<Value> {
        let value = |column: &Stored| match column {
            Stored::Numeric { values, .. } => Value::number(values[row]),
            Stored::Categorical(codes) => self.category(codes.get(row), u32::MAX),
        };
        self.columns.iter().map(value).collect()
    }

    /// `table`: of the layout.
    fn query_of(&self, table: &Table, row: usize) -> Vec<Value> {
        let value = |(column, values): (usize, &Column)| match values {
            Column::Numeric(values) => Value::number(values[row]),
            // The layout has none.
            Column::Sparse(_) => Value::Missing,
            Column::Categorical { codes, .. } => self.category(codes[row], self.layout.n_categories(column)),
        };
        table.columns().iter().enumerate().map(value).collect()
    }

    /// How many rows [`nearest_to_row`](Model::nearest_to_row) finds when none is too many.
    pub fn n_near_row(&self, row: u32, admit: &Admit) -> usize {
        if row as usize >= self.n_rows {
            return 0;
        }
        let exclude = admit.exclude_also(row);
        let asked = self.columns.iter().filter(|column| column.has(row as usize)).collect();
        self.n_comparable(asked, &Admit { exclude: &exclude, only: admit.only })
    }

    /// How many rows [`nearest`](Model::nearest) finds when none is too many.
    pub fn n_near(&self, table: &Table, row: usize, admit: &Admit) -> Result<usize, PredictError> {
        self.layout.check(table)?;
        let is_asked = |values: &Column| match values {
            Column::Numeric(values) => values.get(row).is_some_and(|value| value.is_finite()),
            Column::Categorical { codes, .. } => codes.get(row).is_some_and(|code| *code != MISSING_CODE),
            // The layout has none.
            Column::Sparse(_) => false,
        };
        let asked = self.columns.iter().zip(table.columns()).filter(|(_, values)| is_asked(values));
        Ok(self.n_comparable(asked.map(|(column, _)| column).collect(), admit))
    }

    /// Admitted rows that have a value in one of these columns.
    fn n_comparable(&self, asked: Vec<&Stored>, admit: &Admit) -> usize {
        if asked.iter().any(|column| matches!(column, Stored::Numeric { missing: false, .. })) {
            return admit.count(self.n_rows);
        }
        let rows = (0..).take(self.n_rows).filter(|row| admit.admits(*row));
        rows.filter(|row| asked.iter().any(|column| column.has(*row as usize))).count()
    }

    fn category(&self, code: u32, n_categories: u32) -> Value {
        match code {
            MISSING_CODE => Value::Missing,
            _ if code < n_categories => Value::Category(code),
            _ => Value::Unseen,
        }
    }

    pub fn to_arrays(&self) -> Arrays {
        let mut arrays = Arrays::new();
        self.layout.store(&mut arrays);
        arrays.insert("metric".to_owned(), Array::u8s(self.metric.name().as_bytes().to_vec()));
        let mut scales = Vec::new();
        for (number, column) in self.columns.iter().enumerate() {
            let (name, array) = match column {
                Stored::Numeric { values, scale, .. } => {
                    scales.push(*scale);
                    ("values", Array::f64s(values.clone()))
                }
                Stored::Categorical(Codes::U8(codes)) => ("codes", Array::u8s(codes.clone())),
                Stored::Categorical(codes) => ("codes", Array::u32s(codes.to_u32())),
            };
            arrays.insert(format!("{name}_{number}"), array);
        }
        arrays.insert("scales".to_owned(), Array::f64s(scales));
        arrays
    }

    /// Reads what `to_arrays` gave.
    pub fn from_arrays(arrays: &Arrays) -> Result<Model, LoadError> {
        let name = read_u8(arrays, "metric", &[Dim::Any])?;
        let metric = std::str::from_utf8(name).ok().and_then(Metric::from_name);
        let metric = metric.ok_or_else(|| damaged("metric", "it names no metric"))?;
        let layout = Layout::load(arrays, usize::MAX)?;
        let n_numeric = (0..layout.n_columns()).filter(|&column| layout.n_categories(column) == 0).count();
        let mut scales = read_finite(arrays, "scales", &[Dim::Exactly(n_numeric)])?.iter();
        let mut columns = Vec::new();
        let mut n_rows = None;
        for column in 0..layout.n_columns() {
            let length = n_rows.map_or(Dim::Any, Dim::Exactly);
            let stored = match layout.n_categories(column) {
                0 => {
                    let scale = scales.next().ok_or_else(|| LoadError::NotFound { name: "scales".to_owned() })?;
                    load_numeric(arrays, column, length, *scale)?
                }
                n_categories => load_codes(arrays, column, length, n_categories)?,
            };
            n_rows = Some(match &stored {
                Stored::Numeric { values, .. } => values.len(),
                Stored::Categorical(codes) => codes.len(),
            });
            columns.push(stored);
        }
        Ok(Model { metric, layout, n_rows: n_rows.unwrap_or(0), columns })
    }
}

fn load_numeric(arrays: &Arrays, column: usize, length: Dim, scale: f64) -> Result<Stored, LoadError> {
    let name = format!("values_{column}");
    let values = read_f64(arrays, &name, &[length])?.to_vec();
    if values.iter().any(|value| value.is_infinite()) {
        return Err(damaged(&name, "a value is infinite"));
    }
    if scale != 0.0 && scale < f64::MIN_POSITIVE {
        return Err(damaged("scales", format!("{scale} is no range")));
    }
    Ok(Stored::numeric(values, scale))
}

fn load_codes(arrays: &Arrays, column: usize, length: Dim, n_categories: u32) -> Result<Stored, LoadError> {
    let name = format!("codes_{column}");
    let codes = if n_categories <= u32::from(u8::MAX) {
        let codes = read_u8(arrays, &name, &[length])?;
        codes.iter().map(|&code| if code == u8::MAX { MISSING_CODE } else { code.into() }).collect()
    } else {
        read_u32(arrays, &name, &[length])?.to_vec()
    };
    if let Some(code) = codes.iter().find(|&&code| code >= n_categories && code != MISSING_CODE) {
        return Err(damaged(&name, format!("category {code} is not below {n_categories}")));
    }
    Ok(Stored::Categorical(Codes::new(&codes, n_categories)))
}
