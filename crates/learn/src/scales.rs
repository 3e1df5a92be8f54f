//! The means and spreads by which numeric columns are standardised, from one pass.

use std::ops::Range;

use crate::chunks::{BLOCK_ROWS, fold_chunks};
use crate::error::FitError;
use crate::layout::{Layout, unusable_value};
use crate::numeric::sum;
use crate::table::{Column, Table};

pub(crate) struct Scales {
    /// n_columns: the means of numeric columns, 0 for others.
    pub(crate) centers: Vec<f64>,
    /// n_parameters: 1 / standard deviation, 0 for a constant column; 1 for categories and terms.
    pub(crate) inverse: Vec<f64>,
    /// n_parameters: Σ z² of each, z being the standardised value, 0 and 1 for a category, or a term's value.
    pub(crate) squares: Vec<f64>,
}

/// Of one column over some rows: the mean and Σ(x − mean)², or rows in each category.
#[derive(Clone)]
enum Spread {
    Numeric {
        n_rows: f64,
        mean: f64,
        squares: f64,
    },
    Counts {
        counts: Vec<f64>,
        missing: bool,
    },
    /// Σ value² of each term.
    Terms {
        squares: Vec<f64>,
    },
}

impl Scales {
    pub(crate) fn of(layout: &Layout, table: &Table) -> Result<Scales, FitError> {
        let mut spreads: Vec<Spread> = Vec::new();
        let of_chunk = |rows: Range<usize>| -> Vec<Spread> {
            table.columns().iter().map(|column| Spread::of(column, rows.clone())).collect()
        };
        fold_chunks(table.n_rows(), 16, of_chunk, |chunk| {
            if spreads.is_empty() {
                spreads = chunk;
            } else {
                spreads.iter_mut().zip(&chunk).for_each(|(spread, other)| spread.merge(other));
            }
        });
        if let Some(column) = spreads.iter().position(|spread| !spread.usable()) {
            return Err(unusable_value(table).unwrap_or(FitError::TooLarge { column }));
        }
        let mut scales = Scales { centers: Vec::new(), inverse: Vec::new(), squares: Vec::new() };
        for spread in spreads {
            scales.push(spread);
        }
        debug_assert_eq!(scales.inverse.len(), layout.n_parameters());
        Ok(scales)
    }

    fn push(&mut self, spread: Spread) {
        match spread {
            Spread::Numeric { n_rows, mean, squares } => {
                // The spread a constant column gets from rounding its mean.
                let rounding = 4.0 * f64::EPSILON * mean;
                let varies = squares > n_rows * rounding * rounding;
                self.centers.push(mean);
                self.inverse.push(if varies { (n_rows / squares).sqrt() } else { 0.0 });
                self.squares.push(if varies { n_rows } else { 0.0 });
            }
            Spread::Counts { counts, .. } => {
                self.centers.push(0.0);
                self.inverse.extend(counts.iter().map(|_| 1.0));
                self.squares.extend(counts);
            }
            Spread::Terms { squares } => {
                self.centers.push(0.0);
                self.inverse.extend(squares.iter().map(|_| 1.0));
                self.squares.extend(squares);
            }
        }
    }
}

impl Spread {
    fn of(column: &Column, rows: Range<usize>) -> Spread {
        match column {
            Column::Numeric(values) => Spread::of_values(&values[rows]),
            Column::Categorical { codes, n_categories } => {
                let mut counts = vec![0.0; *n_categories as usize];
                let mut missing = false;
                for &code in &codes[rows] {
                    match counts.get_mut(code as usize) {
                        Some(count) => *count += 1.0,
                        None => missing = true,
                    }
                }
                Spread::Counts { counts, missing }
            }
            Column::Sparse(sparse) => {
                let mut squares = vec![0.0; sparse.n_terms() as usize];
                rows.flat_map(|row| sparse.row(row)).for_each(|(term, value)| squares[term] += value * value);
                Spread::Terms { squares }
            }
        }
    }

    /// Shifted by the mean of the first block, so that a column far from 0 keeps its digits.
    fn of_values(values: &[f64]) -> Spread {
        let first = &values[..values.len().min(BLOCK_ROWS)];
        let shift = sum(first) / first.len() as f64;
        let (mut total, mut squares) = (0.0, 0.0);
        let mut shifted = [0.0; BLOCK_ROWS];
        for block in values.chunks(BLOCK_ROWS) {
            let shifted = &mut shifted[..block.len()];
            shifted.iter_mut().zip(block).for_each(|(to, value)| *to = value - shift);
            total += sum(shifted);
            squares += crate::numeric::dot(shifted, shifted);
        }
        let n_rows = values.len() as f64;
        Spread::Numeric { n_rows, mean: shift + total / n_rows, squares: squares - total * total / n_rows }
    }

    /// Chan, Golub and LeVeque 1983, eq. 1.5.
    fn merge(&mut self, other: &Spread) {
        match (self, other) {
            (
                Spread::Numeric { n_rows, mean, squares },
                Spread::Numeric { n_rows: other_rows, mean: other_mean, squares: other_squares },
            ) => {
                let delta = other_mean - *mean;
                let share = other_rows / (*n_rows + other_rows);
                *squares += other_squares + delta * delta * *n_rows * share;
                *mean += delta * share;
                *n_rows += other_rows;
            }
            (Spread::Counts { counts, missing }, Spread::Counts { counts: other, missing: other_missing }) => {
                counts.iter_mut().zip(other).for_each(|(count, other)| *count += other);
                *missing |= other_missing;
            }
            (Spread::Terms { squares }, Spread::Terms { squares: other }) => {
                squares.iter_mut().zip(other).for_each(|(square, other)| *square += other);
            }
            // Chunks are of one table.
            (Spread::Numeric { .. } | Spread::Counts { .. } | Spread::Terms { .. }, _) => {}
        }
    }

    fn usable(&self) -> bool {
        match self {
            Spread::Numeric { squares, mean, .. } => squares.is_finite() && mean.is_finite(),
            Spread::Counts { missing, .. } => !missing,
            Spread::Terms { .. } => true,
        }
    }
}
