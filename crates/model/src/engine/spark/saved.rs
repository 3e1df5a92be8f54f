//! What the job saved, as a fit takes it: of the estimator, the columns and the rows that were sent, and of nothing else.

use std::path::Path;

use millstream_store::LocalStore;

use super::diagnose::unreadable;
use super::rows::Slots;
use crate::engine::Failure;
use crate::mllib::{AlsModel, Factors, Folder, KmeansModel, LinearModel, LogisticModel, Saved, SavedError, Stage};
use crate::registry::Fitted;

pub struct Linear {
    /// n_intercepts × n_slots, row-major.
    pub coefficients: Vec<f64>,
    pub intercepts: Vec<f64>,
}

/// `n_slots`: of a row's vector.
pub fn linear(folder: &Path, n_slots: usize) -> Result<Linear, Failure> {
    match read(folder)? {
        Stage::Linear(LinearModel { coefficients, intercept, .. }) if coefficients.len() == n_slots => {
            Ok(Linear { coefficients, intercepts: vec![intercept] })
        }
        _ => Err(other(folder)),
    }
}

pub fn logistic(folder: &Path, n_slots: usize) -> Result<Linear, Failure> {
    match read(folder)? {
        Stage::Logistic(LogisticModel { coefficients, intercepts, .. })
            if (coefficients.n_rows, coefficients.n_columns) == (intercepts.len(), n_slots) =>
        {
            Ok(Linear { coefficients: coefficients.values, intercepts })
        }
        _ => Err(other(folder)),
    }
}

/// k × n_slots, row-major.
pub fn centers(folder: &Path, n_slots: usize) -> Result<Vec<f64>, Failure> {
    match read(folder)? {
        Stage::Kmeans(KmeansModel { centers, k, .. }) if centers.len() == k * n_slots => Ok(centers),
        _ => Err(other(folder)),
    }
}

/// Of users and of items: by code, rank values each, and 0 where there is no vector.
pub fn vectors(folder: &Path, rank: usize, n_users: usize, n_items: usize) -> Result<(Vec<f32>, Vec<f32>), Failure> {
    match read(folder)? {
        Stage::Als(AlsModel { rank: found, users, items, .. }) if found == rank => {
            let by_code = |factors: Factors, n_codes: usize| {
                let mut vectors = vec![0.0; n_codes * rank];
                for (id, vector) in factors.ids.iter().zip(factors.values.chunks_exact(rank)) {
                    let start = usize::try_from(*id).map_err(|_| other(folder))? * rank;
                    vectors.get_mut(start..start + rank).ok_or_else(|| other(folder))?.copy_from_slice(vector);
                }
                Ok(vectors)
            };
            Ok((by_code(users, n_users)?, by_code(items, n_items)?))
        }
        _ => Err(other(folder)),
    }
}

pub fn trees(folder: &Path, _slots: &[Slots], _is_forest: bool, _is_regression: bool) -> Result<Fitted, Failure> {
    Err(other(folder))
}

fn read(folder: &Path) -> Result<Stage, Failure> {
    let fault = |error: SavedError| unreadable(folder, &millstream_base::error_chain(&error));
    let saved = Saved::read(&Folder::open(&LocalStore::open_reading(folder), "").map_err(fault)?).map_err(fault)?;
    Ok(saved.stage)
}

fn other(folder: &Path) -> Failure {
    unreadable(folder, "it is no model of what was sent: this is a fault of Millstream, please report it")
}
