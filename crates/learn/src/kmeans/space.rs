//! The space distances are measured in: which columns count, and how much.

use crate::error::FitError;
use crate::layout::Layout;
use crate::scales::Scales;
use crate::table::Table;

/// A row's numbers less their means, times the column's weight; a category is a 0 or 1 for each category (one-hot), times
/// the column's weight.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Space {
    pub(super) layout: Layout,
    /// n_parameters: the mean of a numeric column, the share of a category.
    pub(super) means: Vec<f64>,
    /// n_columns: the root of the mean squared distance from the mean. Of a numeric column that is the standard deviation,
    /// of a categorical one √(1 − Σ share²). 0 for a constant column.
    pub(super) deviations: Vec<f64>,
    /// Whether every column is to weigh the same, whatever its unit.
    pub(super) standardised: bool,
}

impl Space {
    /// # Errors
    /// [`FitError::Missing`], [`FitError::NotFinite`], [`FitError::TooLarge`].
    pub(super) fn of(table: &Table, standardised: bool) -> Result<Space, FitError> {
        let layout = Layout::of(table);
        let scales = Scales::of(&layout, table)?;
        let n_rows = table.n_rows() as f64;
        let mut means = vec![0.0; layout.n_parameters()];
        let mut deviations = vec![0.0; layout.n_columns()];
        for (column, deviation) in deviations.iter_mut().enumerate() {
            let parameters = layout.parameters(column);
            let start = parameters.start;
            if layout.n_categories(column) == 0 {
                means[start] = scales.centers[column];
                let inverse = scales.inverse[start];
                *deviation = if inverse > 0.0 { 1.0 / inverse } else { 0.0 };
            } else {
                let shares = scales.squares[parameters.clone()].iter().map(|count| count / n_rows);
                let mut even = 1.0;
                for (mean, share) in means[parameters].iter_mut().zip(shares) {
                    *mean = share;
                    even -= share * share;
                }
                // With one category the shares leave at most their rounding.
                *deviation = if even > 1e-14 { even.sqrt() } else { 0.0 };
            }
        }
        let space = Space { layout, means, deviations, standardised };
        match space.column_too_wide(n_rows) {
            None => Ok(space),
            Some(column) => Err(FitError::TooLarge { column }),
        }
    }

    /// The widest column where the squared distances of the rows of the fit, or their sum, may not fit into 64 bits. No two
    /// of n rows are farther apart than √(2n) deviations.
    fn column_too_wide(&self, n_rows: f64) -> Option<usize> {
        let widest = |column: usize| self.weight(column) * self.deviations[column];
        let columns = 0..self.layout.n_columns();
        let squares: f64 = columns.clone().map(|column| widest(column).powi(2)).sum();
        if (2.0 * n_rows * squares).is_finite() {
            return None;
        }
        columns.min_by(|&a, &b| widest(b).total_cmp(&widest(a)))
    }

    /// What a difference in this column is multiplied by.
    pub(super) fn weight(&self, column: usize) -> f64 {
        match (self.standardised, self.deviations[column] > 0.0) {
            (false, _) => 1.0,
            (true, true) => 1.0 / self.deviations[column],
            (true, false) => 0.0,
        }
    }

    /// The columns which tell rows apart, numeric or categorical.
    pub(super) fn varying(&self, categorical: bool) -> Vec<usize> {
        let varies =
            |column: &usize| self.deviations[*column] > 0.0 && (self.layout.n_categories(*column) > 0) == categorical;
        (0..self.layout.n_columns()).filter(varies).collect()
    }

    /// The mean variance of the columns that vary, in this space; 0 where none does.
    pub(super) fn mean_variance(&self) -> f64 {
        let varying = self.varying(false).into_iter().chain(self.varying(true));
        let variances: Vec<f64> =
            varying.map(|column| (self.weight(column) * self.deviations[column]).powi(2)).collect();
        variances.iter().sum::<f64>() / variances.len().max(1) as f64
    }
}
