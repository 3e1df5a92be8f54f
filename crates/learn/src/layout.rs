//! How columns become parameters: a numeric column is one, a categorical column one for each category (one-hot).
//! Only the index of a row's category is ever held, never the row of zeros and a one.

use std::ops::Range;

use crate::arrays::{Array, Arrays, Dim, damaged, read_u32};
use crate::error::{FitError, LoadError, PredictError};
use crate::numeric::index_u32;
use crate::table::{Column, MISSING_CODE, Table};

const COLUMN_CATEGORIES: &str = "column_categories";

/// The kinds of a table's columns, and where the parameters of each begin.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    /// For each column 0 for numeric, or the number of categories.
    categories: Vec<u32>,
    offsets: Vec<usize>,
    n_parameters: usize,
}

impl Layout {
    pub(crate) fn of(table: &Table) -> Layout {
        let categories = table.columns().iter().map(|column| match column {
            Column::Numeric(_) => 0,
            Column::Categorical { n_categories, .. } => *n_categories,
        });
        Layout::new(categories.collect())
    }

    fn new(categories: Vec<u32>) -> Layout {
        let mut offsets = Vec::with_capacity(categories.len());
        let mut n_parameters = 0;
        for &n_categories in &categories {
            offsets.push(n_parameters);
            n_parameters += n_categories.max(1) as usize;
        }
        Layout { categories, offsets, n_parameters }
    }

    pub(crate) fn n_columns(&self) -> usize {
        self.categories.len()
    }

    pub(crate) fn n_parameters(&self) -> usize {
        self.n_parameters
    }

    /// The parameters of one column.
    pub(crate) fn parameters(&self, column: usize) -> Range<usize> {
        let start = self.offsets[column];
        start..start + self.n_categories(column).max(1)
    }

    /// 0 for a numeric column.
    pub(crate) fn n_categories(&self, column: usize) -> usize {
        self.categories[column] as usize
    }

    /// Whether `table` has columns of these kinds. The number of categories may differ: codes not known here count as
    /// missing.
    pub(crate) fn check(&self, table: &Table) -> Result<(), PredictError> {
        let found = table.columns().len();
        if found != self.n_columns() {
            return Err(PredictError::ColumnCount { expected: self.n_columns(), found });
        }
        for (column, values) in table.columns().iter().enumerate() {
            let found_numeric = matches!(values, Column::Numeric(_));
            let numeric = self.categories[column] == 0;
            if numeric != found_numeric {
                let (expected, found) = (kind(numeric), kind(found_numeric));
                return Err(PredictError::ColumnKind { column, expected, found });
            }
        }
        Ok(())
    }

    pub(crate) fn store(&self, arrays: &mut Arrays) {
        arrays.insert(COLUMN_CATEGORIES.to_owned(), Array::u32s(self.categories.clone()));
    }

    /// Reads what `store` wrote. `n_parameters_max` keeps a damaged file from asking for the memory of the machine.
    pub(crate) fn load(arrays: &Arrays, n_parameters_max: usize) -> Result<Layout, LoadError> {
        let categories = read_u32(arrays, COLUMN_CATEGORIES, &[Dim::Any])?.to_vec();
        let layout = Layout::new(categories);
        if layout.n_parameters > n_parameters_max {
            return Err(damaged(COLUMN_CATEGORIES, format!("{} parameters", layout.n_parameters)));
        }
        Ok(layout)
    }
}

fn kind(numeric: bool) -> &'static str {
    if numeric { "numeric" } else { "categorical" }
}

/// scores = bias + Σ over columns of weight·(value − centre), or of the category's weight; NaN where a value is missing
/// or its category unknown. The order of the sum is that of the columns, so a row alone scores as it does in a batch.
///
/// `weights`: n_parameters; `centers`: n_columns (unused for categorical ones); `scores`: one for each of `rows`.
pub(crate) fn add_scores(
    layout: &Layout,
    table: &Table,
    rows: Range<usize>,
    centers: &[f64],
    weights: &[f64],
    bias: f64,
    scores: &mut [f64],
) {
    scores.fill(bias);
    for (column, values) in table.columns().iter().enumerate() {
        let weights = &weights[layout.parameters(column)];
        match values {
            Column::Numeric(values) => {
                let (weight, center) = (weights[0], centers[column]);
                for (score, value) in scores.iter_mut().zip(&values[rows.clone()]) {
                    *score += weight * (value - center);
                }
            }
            Column::Categorical { codes, .. } => {
                for (score, &code) in scores.iter_mut().zip(&codes[rows.clone()]) {
                    *score += weights.get(code as usize).copied().unwrap_or(f64::NAN);
                }
            }
        }
    }
}

/// Names the first value of a column which linear models cannot use, or `None` when all are usable.
pub(crate) fn unusable_value(table: &Table) -> Option<FitError> {
    table.columns().iter().enumerate().find_map(|(column, values)| match values {
        Column::Numeric(values) => {
            let row = values.iter().position(|value| !value.is_finite())?;
            let missing = values[row].is_nan();
            Some(if missing { FitError::Missing { column, row } } else { FitError::NotFinite { column, row } })
        }
        Column::Categorical { codes, .. } => {
            let row = codes.iter().position(|&code| code == MISSING_CODE)?;
            Some(FitError::Missing { column, row })
        }
    })
}

/// Checks every class and counts the rows of each.
pub(crate) fn class_counts(classes: &[u32], n_classes: u32) -> Result<Vec<u64>, FitError> {
    let mut counts = vec![0; n_classes as usize];
    for (row, &class) in classes.iter().enumerate() {
        match counts.get_mut(class as usize) {
            Some(count) => *count += 1,
            None => return Err(FitError::UnknownClass { row, class, n_classes }),
        }
    }
    Ok(counts)
}

/// The class of the only non-empty count, when there is only one.
pub(crate) fn only_class(counts: &[u64]) -> Option<u32> {
    let mut seen = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    match (seen.next(), seen.next()) {
        (Some((class, _)), None) => Some(index_u32(class)),
        _ => None,
    }
}
