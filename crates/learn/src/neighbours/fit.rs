//! From a table to stored columns: what a difference in each is divided by, and codes as narrow as they may be. Pure.

use crate::chunks::fold_chunks;
use crate::error::FitError;
use crate::layout::Layout;
use crate::numeric::index_u32;
use crate::table::{Column, MISSING_CODE, Table};

use super::model::{Codes, Model, Stored};
use super::params::{Metric, Params};

/// The most rows of a fit.
const ROWS_MAX: usize = 1 << 30;

/// Keeps the rows. A missing value is one that is not compared.
///
/// # Errors
/// [`FitError::NoRows`], [`FitError::TooManyRows`], [`FitError::NotFinite`], [`FitError::TooLarge`],
/// [`FitError::Sparse`].
pub fn fit(table: &Table, params: &Params) -> Result<Model, FitError> {
    let n_rows = table.n_rows();
    if n_rows == 0 {
        return Err(FitError::NoRows);
    }
    if n_rows > ROWS_MAX {
        return Err(FitError::TooManyRows { found: n_rows, max: ROWS_MAX });
    }
    let columns = table.columns().iter().enumerate().map(|(column, values)| match values {
        Column::Numeric(values) => {
            if let Some(row) = values.iter().position(|value| value.is_infinite()) {
                return Err(FitError::NotFinite { column, row });
            }
            let scale = scale(values, params.metric);
            // A range or variance beyond f64 would make every row as near as any other.
            if !scale.is_finite() {
                return Err(FitError::TooLarge { column });
            }
            Ok(Stored::numeric(values.clone(), scale))
        }
        Column::Sparse(_) => Err(FitError::Sparse { column }),
        Column::Categorical { codes, n_categories } => Ok(Stored::Categorical(Codes::new(codes, *n_categories))),
    });
    let columns = columns.collect::<Result<Vec<Stored>, FitError>>()?;
    Ok(Model::new(params.metric, Layout::of(table), n_rows, columns))
}

/// What differences are divided by: the range, or the standard deviation; 0 for a constant column or one without values.
fn scale(values: &[f64], metric: Metric) -> f64 {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for &value in values.iter().filter(|value| !value.is_nan()) {
        low = low.min(value);
        high = high.max(value);
    }
    if low >= high {
        return 0.0;
    }
    let scale = match metric {
        Metric::Gower => high - low,
        Metric::Euclidean => standard_deviation(values, low * 0.5 + high * 0.5),
    };
    // Of a smaller one the inverse would be infinite.
    if scale < f64::MIN_POSITIVE { 0.0 } else { scale }
}

/// Of the values present. `shift` lies among them, so that no digits are lost.
fn standard_deviation(values: &[f64], shift: f64) -> f64 {
    let (mut n, mut sum, mut squares) = (0.0, 0.0, 0.0);
    let chunk = |rows: std::ops::Range<usize>| {
        let mut sums = (0.0, 0.0, 0.0);
        for value in values[rows].iter().filter(|value| !value.is_nan()) {
            let shifted = value - shift;
            sums = (sums.0 + 1.0, sums.1 + shifted, sums.2 + shifted * shifted);
        }
        sums
    };
    fold_chunks(values.len(), 64, chunk, |sums: (f64, f64, f64)| {
        n += sums.0;
        sum += sums.1;
        squares += sums.2;
    });
    // Values that differ by less than the digits of their squares are constant to this measure.
    ((squares - sum * (sum / n)) / n).max(0.0).sqrt()
}

impl Codes {
    /// The greatest number of the type stands for a missing one.
    #[expect(clippy::cast_possible_truncation, reason = "codes are below n_categories or the greatest number")]
    pub(super) fn new(codes: &[u32], n_categories: u32) -> Codes {
        match n_categories {
            0..=255 => Codes::U8(codes.iter().map(|&code| code.min(u32::from(u8::MAX)) as u8).collect()),
            256..=65_535 => Codes::U16(codes.iter().map(|&code| code.min(u32::from(u16::MAX)) as u16).collect()),
            _ => Codes::U32(codes.to_vec()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Codes::U8(codes) => codes.len(),
            Codes::U16(codes) => codes.len(),
            Codes::U32(codes) => codes.len(),
        }
    }

    /// As in a [`Column`].
    pub(super) fn get(&self, row: usize) -> u32 {
        let wide = |code: u32, missing: u32| if code == missing { MISSING_CODE } else { code };
        match self {
            Codes::U8(codes) => wide(codes[row].into(), u8::MAX.into()),
            Codes::U16(codes) => wide(codes[row].into(), u16::MAX.into()),
            Codes::U32(codes) => codes[row],
        }
    }

    pub(super) fn to_u32(&self) -> Vec<u32> {
        (0..index_u32(self.len())).map(|row| self.get(row as usize)).collect()
    }
}
