//! The texts of a fit: equally long weighted columns, checked once here.

use crate::error::TableError;

/// How much a text column counts beside the others: the score of two rows is the mean of their columns' cosines,
/// weighted by these.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Weight(f64);

impl Weight {
    pub const ONE: Weight = Weight(1.0);

    /// From 10⁻⁶ to 10⁶, or `None`. A column of no weight is one to leave out.
    pub fn new(weight: f64) -> Option<Weight> {
        (1e-6..=1e6).contains(&weight).then_some(Weight(weight))
    }

    pub fn get(self) -> f64 {
        self.0
    }
}

/// One text a row. A row without one has the empty text.
#[derive(Debug, Clone)]
pub struct TextColumn<'a> {
    pub weight: Weight,
    pub texts: Vec<&'a str>,
}

/// Text columns of equal length.
#[derive(Debug, Clone)]
pub struct Corpus<'a> {
    n_rows: usize,
    columns: Vec<TextColumn<'a>>,
}

impl<'a> Corpus<'a> {
    pub fn new(columns: Vec<TextColumn<'a>>) -> Result<Corpus<'a>, TableError> {
        let n_rows = columns.first().map_or(0, |column| column.texts.len());
        match columns.iter().position(|column| column.texts.len() != n_rows) {
            None => Ok(Corpus { n_rows, columns }),
            Some(column) => {
                let found = columns[column].texts.len();
                Err(TableError::UnequalLengths { column, expected: n_rows, found })
            }
        }
    }

    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    pub fn columns(&self) -> &[TextColumn<'a>] {
        &self.columns
    }
}
