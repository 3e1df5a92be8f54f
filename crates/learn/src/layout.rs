//! How columns become parameters: a numeric column is one, a categorical column one for each category (one-hot), the
//! words of a text one for each term.
//! Only the index of a row's category is ever held, never the row of zeros and a one.

use std::ops::Range;

use crate::arrays::{Array, Arrays, Dim, damaged, read_u32};
use crate::error::{FitError, LoadError, PredictError};
use crate::numeric::index_u32;
use crate::table::{Column, MISSING_CODE, Table};

const COLUMN_CATEGORIES: &str = "column_categories";
/// Only there when a column is sparse.
const COLUMN_TERMS: &str = "column_terms";

/// What a column is, and how many parameters that makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Numeric,
    /// At least 1.
    Categorical(u32),
    Sparse(u32),
}

impl Kind {
    fn of(column: &Column) -> Kind {
        match column {
            Column::Numeric(_) => Kind::Numeric,
            Column::Categorical { n_categories, .. } => Kind::Categorical(*n_categories),
            Column::Sparse(sparse) => Kind::Sparse(sparse.n_terms()),
        }
    }

    fn n_parameters(self) -> usize {
        match self {
            Kind::Numeric => 1,
            Kind::Categorical(n) | Kind::Sparse(n) => n as usize,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Numeric => "numeric",
            Kind::Categorical(_) => "categorical",
            Kind::Sparse(_) => "the words of a text",
        }
    }
}

/// The kinds of a table's columns, and where the parameters of each begin.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    kinds: Vec<Kind>,
    offsets: Vec<usize>,
    n_parameters: usize,
}

impl Layout {
    pub(crate) fn of(table: &Table) -> Layout {
        Layout::new(table.columns().iter().map(Kind::of).collect())
    }

    fn new(kinds: Vec<Kind>) -> Layout {
        let mut offsets = Vec::with_capacity(kinds.len());
        let mut n_parameters = 0;
        for kind in &kinds {
            offsets.push(n_parameters);
            n_parameters += kind.n_parameters();
        }
        Layout { kinds, offsets, n_parameters }
    }

    pub(crate) fn n_columns(&self) -> usize {
        self.kinds.len()
    }

    pub(crate) fn n_parameters(&self) -> usize {
        self.n_parameters
    }

    /// The parameters of one column.
    pub(crate) fn parameters(&self, column: usize) -> Range<usize> {
        let start = self.offsets[column];
        start..start + self.kinds[column].n_parameters()
    }

    pub(crate) fn is_numeric(&self, column: usize) -> bool {
        self.kinds[column] == Kind::Numeric
    }

    /// 0 for a column that is not categorical.
    pub(crate) fn n_categories(&self, column: usize) -> u32 {
        match self.kinds[column] {
            Kind::Categorical(n_categories) => n_categories,
            Kind::Numeric | Kind::Sparse(_) => 0,
        }
    }

    /// Whether `table` has columns of these kinds. The number of categories may differ: codes not known here count as
    /// missing. The terms of a sparse column are the same ones, of one [`Bag`](crate::content::Bag).
    pub(crate) fn check(&self, table: &Table) -> Result<(), PredictError> {
        let found = table.columns().len();
        if found != self.n_columns() {
            return Err(PredictError::ColumnCount { expected: self.n_columns(), found });
        }
        for (column, values) in table.columns().iter().enumerate() {
            match (self.kinds[column], Kind::of(values)) {
                (Kind::Numeric, Kind::Numeric) | (Kind::Categorical(_), Kind::Categorical(_)) => {}
                (Kind::Sparse(expected), Kind::Sparse(found)) if expected == found => {}
                (Kind::Sparse(expected), Kind::Sparse(found)) => {
                    let (expected, found) = (expected as usize, found as usize);
                    return Err(PredictError::TermCount { column, expected, found });
                }
                (expected, found) => {
                    let (expected, found) = (expected.name(), found.name());
                    return Err(PredictError::ColumnKind { column, expected, found });
                }
            }
        }
        Ok(())
    }

    pub(crate) fn store(&self, arrays: &mut Arrays) {
        let of_each = |count: fn(Kind) -> u32| Array::u32s(self.kinds.iter().map(|kind| count(*kind)).collect());
        let categories = of_each(|kind| match kind {
            Kind::Categorical(n_categories) => n_categories,
            Kind::Numeric | Kind::Sparse(_) => 0,
        });
        arrays.insert(COLUMN_CATEGORIES.to_owned(), categories);
        if self.kinds.iter().any(|kind| matches!(kind, Kind::Sparse(_))) {
            // One more than there are, for a text may have none, and 0 is a column without.
            let terms = of_each(|kind| match kind {
                Kind::Sparse(n_terms) => n_terms + 1,
                Kind::Numeric | Kind::Categorical(_) => 0,
            });
            arrays.insert(COLUMN_TERMS.to_owned(), terms);
        }
    }

    /// Reads what `store` wrote. `n_parameters_max` keeps a damaged file from asking for the memory of the machine.
    pub(crate) fn load(arrays: &Arrays, n_parameters_max: usize) -> Result<Layout, LoadError> {
        let categories = read_u32(arrays, COLUMN_CATEGORIES, &[Dim::Any])?.iter();
        let kinds = categories.map(|&n| if n == 0 { Kind::Numeric } else { Kind::Categorical(n) });
        Layout::limited(kinds.collect(), n_parameters_max)
    }

    /// As `load`, of a model that takes sparse columns too.
    pub(crate) fn load_sparse(arrays: &Arrays, n_parameters_max: usize) -> Result<Layout, LoadError> {
        let mut layout = Layout::load(arrays, n_parameters_max)?;
        if !arrays.contains_key(COLUMN_TERMS) {
            return Ok(layout);
        }
        let terms = read_u32(arrays, COLUMN_TERMS, &[Dim::Exactly(layout.n_columns())])?;
        for (kind, n_terms) in layout.kinds.iter_mut().zip(terms) {
            match (*kind, n_terms.checked_sub(1)) {
                (_, None) => {}
                (Kind::Numeric, Some(n_terms)) => *kind = Kind::Sparse(n_terms),
                (Kind::Categorical(_) | Kind::Sparse(_), Some(_)) => {
                    return Err(damaged(COLUMN_TERMS, "a column has categories and terms"));
                }
            }
        }
        Layout::limited(layout.kinds, n_parameters_max)
    }

    fn limited(kinds: Vec<Kind>, n_parameters_max: usize) -> Result<Layout, LoadError> {
        let layout = Layout::new(kinds);
        if layout.n_parameters > n_parameters_max {
            return Err(damaged(COLUMN_CATEGORIES, format!("{} parameters", layout.n_parameters)));
        }
        Ok(layout)
    }
}

/// For models that have no use for words.
pub(crate) fn refuse_sparse(table: &Table) -> Result<(), FitError> {
    match table.columns().iter().position(|column| matches!(column, Column::Sparse(_))) {
        None => Ok(()),
        Some(column) => Err(FitError::Sparse { column }),
    }
}

/// scores = bias + Σ over columns of weight·(value − centre), of the category's weight, or Σ weight·value of a text's
/// terms; NaN where a value is missing
/// or its category unknown. The order of the sum is that of the columns, so a row alone scores as it does in a batch.
///
/// `weights`: n_parameters; `centers`: n_columns (unused for others than numeric ones); `scores`: one for each of `rows`.
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
            Column::Sparse(sparse) => {
                for (score, row) in scores.iter_mut().zip(rows.clone()) {
                    *score += sparse.row(row).map(|(term, value)| weights[term] * value).sum::<f64>();
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
        Column::Sparse(_) => None,
    })
}

/// Checks every class, that there are not too many of them, and that two have rows; gives the number of rows of each.
pub(crate) fn check_classes(classes: &[u32], n_classes: u32, max: u32) -> Result<Vec<u64>, FitError> {
    if n_classes > max {
        return Err(FitError::TooManyClasses { found: n_classes as usize, max: max as usize });
    }
    let mut counts = vec![0; n_classes as usize];
    for (row, &class) in classes.iter().enumerate() {
        match counts.get_mut(class as usize) {
            Some(count) => *count += 1,
            None => return Err(FitError::UnknownClass { row, class, n_classes }),
        }
    }
    let mut seen = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    match (seen.next(), seen.next()) {
        (Some((class, _)), None) => Err(FitError::OneClass { class: index_u32(class) }),
        _ => Ok(counts),
    }
}
