//! What forests and boosting share: columns as bins, the order of categories, places to split at, and trees in one list.

pub(crate) mod bins;
pub(crate) mod cut;
pub(crate) mod ensemble;
pub(crate) mod rank;

use crate::error::FitError;
use crate::table::Table;

/// The most rows of a fit: their fixed-point targets then add up within 63 bits.
const ROWS_MAX: usize = 1 << 30;

pub(crate) fn check_rows(table: &Table, targets: usize) -> Result<(), FitError> {
    let rows = table.n_rows();
    match rows {
        _ if rows != targets => Err(FitError::TargetCount { rows, targets }),
        0 => Err(FitError::NoRows),
        _ if rows > ROWS_MAX => Err(FitError::TooManyRows { found: rows, max: ROWS_MAX }),
        _ => Ok(()),
    }
}

/// A share of n as a whole number from 1 to n (which is at least 1); a search, not a cast.
pub(crate) fn rounded_share(wanted: f64, n: usize) -> usize {
    (1..n).find(|&k| k as f64 + 0.5 > wanted).unwrap_or(n)
}
