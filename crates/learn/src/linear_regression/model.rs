//! A fitted linear regression.

use std::ops::Range;

use crate::arrays::{Array, Arrays, Dim, damaged, read_finite, read_u32};
use crate::chunks::fill_chunks;
use crate::error::{LoadError, PredictError};
use crate::layout::{Layout, add_scores};
use crate::numeric::index_u32;
use crate::table::Table;

/// More than a fit here takes, for a model may have been trained elsewhere.
const PARAMETERS_MAX: usize = 1 << 20;

/// ŷ = offset + Σ over columns of coefficient·(value − centre), or of the category's coefficient. Centres are kept
/// apart from the offset because in the intercept of, say, a column of epoch seconds the digits would cancel.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub(super) layout: Layout,
    /// n_columns; 0 for a categorical column.
    pub(super) centers: Vec<f64>,
    /// n_parameters: in column order, one for a numeric column and one a category for a categorical one.
    pub(super) coefficients: Vec<f64>,
    pub(super) offset: f64,
    pub(super) rank: usize,
}

impl Model {
    /// n_parameters: in column order, one for a numeric column and one a category for a categorical one.
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// Which of the parameters are those of a column; `None`: there is no such column.
    pub fn parameters(&self, column: usize) -> Option<Range<usize>> {
        (column < self.layout.n_columns()).then(|| self.layout.parameters(column))
    }

    /// The prediction where every number is 0 and no category is set.
    pub fn intercept(&self) -> f64 {
        let numeric = (0..self.layout.n_columns()).filter(|&column| self.layout.n_categories(column) == 0);
        let shift: f64 =
            numeric.map(|column| self.centers[column] * self.coefficients[self.layout.parameters(column).start]).sum();
        self.offset - shift
    }

    /// The number of independent columns; less than that of `coefficients` when some were redundant or constant.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// One prediction a row; NaN where a value is missing or a category was not known at the fit.
    pub fn predict(&self, table: &Table) -> Result<Vec<f64>, PredictError> {
        self.layout.check(table)?;
        let mut predictions = vec![0.0; table.n_rows()];
        fill_chunks(table.n_rows(), 1, &mut predictions, |rows, part| {
            add_scores(&self.layout, table, rows, &self.centers, &self.coefficients, self.offset, part);
        });
        Ok(predictions)
    }

    pub fn to_arrays(&self) -> Arrays {
        let mut arrays = Arrays::new();
        self.layout.store(&mut arrays);
        arrays.insert("centers".to_owned(), Array::f64s(self.centers.clone()));
        arrays.insert("coefficients".to_owned(), Array::f64s(self.coefficients.clone()));
        arrays.insert("offset".to_owned(), Array::f64s(vec![self.offset]));
        arrays.insert("rank".to_owned(), Array::u32s(vec![index_u32(self.rank)]));
        arrays
    }

    /// Reads what `to_arrays` gave; anything else is an error which names the array.
    pub fn from_arrays(arrays: &Arrays) -> Result<Model, LoadError> {
        let layout = Layout::load_sparse(arrays, PARAMETERS_MAX)?;
        let centers = read_finite(arrays, "centers", &[Dim::Exactly(layout.n_columns())])?.to_vec();
        let coefficients = read_finite(arrays, "coefficients", &[Dim::Exactly(layout.n_parameters())])?.to_vec();
        let offset = read_finite(arrays, "offset", &[Dim::Exactly(1)])?[0];
        let rank = read_u32(arrays, "rank", &[Dim::Exactly(1)])?[0] as usize;
        if rank > coefficients.len() {
            return Err(damaged("rank", format!("{rank} of {} parameters", coefficients.len())));
        }
        Ok(Model { layout, centers, coefficients, offset, rank })
    }
}
