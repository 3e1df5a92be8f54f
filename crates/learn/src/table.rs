//! The input of every fit and prediction: equally long columns, checked once here.

use crate::error::TableError;
use crate::sparse::SparseRows;

/// The code of a missing category.
pub const MISSING_CODE: u32 = u32::MAX;

/// One feature of every row.
///
/// Linear and logistic regression and k-means treat a categorical column as one-hot and refuse missing values when
/// fitting ([`FitError::Missing`](crate::FitError::Missing)); predicting, a row with one gets NaN, or no cluster. A forest
/// learns for every split which way missing values go.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// NaN means missing.
    Numeric(Vec<f64>),
    /// Codes are below `n_categories`, or [`MISSING_CODE`].
    Categorical { codes: Vec<u32>, n_categories: u32 },
    /// The words of a text. Linear and logistic regression have a weight for each; the others refuse it
    /// ([`FitError::Sparse`](crate::FitError::Sparse)).
    Sparse(Sparse),
}

/// Many numbers a row, nearly all of them 0, which take no memory; none is missing. `content::Bag` makes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sparse {
    n_terms: u32,
    rows: SparseRows,
}

impl Sparse {
    /// Terms of `rows` are below `n_terms`.
    pub(crate) fn new(n_terms: u32, rows: SparseRows) -> Sparse {
        debug_assert!(rows.terms.iter().all(|&term| term < n_terms));
        Sparse { n_terms, rows }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many numbers a row has, zeros included.
    pub fn n_terms(&self) -> u32 {
        self.n_terms
    }

    /// The terms of a row, ascending, and their values; the others are 0.
    pub fn row(&self, row: usize) -> impl Iterator<Item = (usize, f64)> + Clone {
        let row = self.rows.row_at(row);
        row.terms.iter().zip(row.values).map(|(&term, &value)| (term as usize, f64::from(value)))
    }

    /// Whether a row has zeros only.
    pub fn is_zero(&self, row: usize) -> bool {
        self.rows.row_at(row).terms.is_empty()
    }

    /// The rows of these numbers, in their order.
    pub(crate) fn gathered(&self, rows: &[usize]) -> Sparse {
        let parts = rows.iter().map(|&row| self.rows.only(row)).collect();
        Sparse { n_terms: self.n_terms, rows: SparseRows::concat(parts) }
    }
}

impl Column {
    /// The number of rows.
    pub fn len(&self) -> usize {
        match self {
            Column::Numeric(values) => values.len(),
            Column::Categorical { codes, .. } => codes.len(),
            Column::Sparse(sparse) => sparse.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows of these numbers, in their order.
    pub(crate) fn gathered(&self, rows: &[usize]) -> Column {
        match self {
            Column::Numeric(values) => Column::Numeric(rows.iter().map(|&row| values[row]).collect()),
            Column::Categorical { codes, n_categories } => {
                let codes = rows.iter().map(|&row| codes[row]).collect();
                Column::Categorical { codes, n_categories: *n_categories }
            }
            Column::Sparse(sparse) => Column::Sparse(sparse.gathered(rows)),
        }
    }
}

/// Columns of equal length; a table of no columns has no rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    n_rows: usize,
    columns: Vec<Column>,
}

impl Table {
    /// Checks lengths and category codes. Numeric values are checked by the algorithms, whose rules differ.
    pub fn new(columns: Vec<Column>) -> Result<Table, TableError> {
        let n_rows = columns.first().map_or(0, Column::len);
        for (column, values) in columns.iter().enumerate() {
            if values.len() != n_rows {
                return Err(TableError::UnequalLengths { column, expected: n_rows, found: values.len() });
            }
            if let Column::Categorical { codes, n_categories } = values {
                check_codes(column, codes, *n_categories)?;
            }
        }
        Ok(Table { n_rows, columns })
    }

    /// Columns gathered from a checked table, each of `n_rows`.
    pub(crate) fn gathered(n_rows: usize, columns: Vec<Column>) -> Table {
        debug_assert!(columns.iter().all(|column| column.len() == n_rows));
        Table { n_rows, columns }
    }

    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The rows of these numbers, in their order.
    pub fn rows(&self, rows: &[usize]) -> Table {
        Table::gathered(rows.len(), self.columns.iter().map(|column| column.gathered(rows)).collect())
    }

    /// `values`: as many, and of the kind that is there.
    pub(crate) fn replace(&mut self, column: usize, values: Column) {
        debug_assert_eq!(values.len(), self.n_rows);
        self.columns[column] = values;
    }
}

fn check_codes(column: usize, codes: &[u32], n_categories: u32) -> Result<(), TableError> {
    if n_categories == 0 {
        return Err(TableError::NoCategories { column });
    }
    let unknown = codes.iter().position(|&code| code >= n_categories && code != MISSING_CODE);
    match unknown {
        None => Ok(()),
        Some(row) => Err(TableError::UnknownCategory { column, row, code: codes[row], n_categories }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(columns: Vec<Column>, expected: Result<usize, TableError>) {
        assert_eq!(Table::new(columns).map(|table| table.n_rows()), expected);
    }

    #[test]
    fn equal_columns_make_a_table() {
        let city = Column::Categorical { codes: vec![0, MISSING_CODE], n_categories: 1 };
        check(vec![Column::Numeric(vec![1.0, f64::NAN]), city], Ok(2));
        check(vec![], Ok(0));
    }

    #[test]
    fn columns_of_other_lengths_or_codes_are_refused() {
        let short = vec![Column::Numeric(vec![1.0, 2.0]), Column::Numeric(vec![1.0])];
        check(short, Err(TableError::UnequalLengths { column: 1, expected: 2, found: 1 }));
        let code = Column::Categorical { codes: vec![0, 3], n_categories: 3 };
        check(vec![code], Err(TableError::UnknownCategory { column: 0, row: 1, code: 3, n_categories: 3 }));
        let none = Column::Categorical { codes: vec![], n_categories: 0 };
        check(vec![none], Err(TableError::NoCategories { column: 0 }));
    }
}
