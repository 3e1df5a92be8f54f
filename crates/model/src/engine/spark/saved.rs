//! What the job saved, as a fit takes it: of the estimator, the columns and the rows that were sent, and of nothing else.

use millstream_learn::Algorithm;

use super::diagnose::{unreadable, unusable};
use super::rows::Slots;
use crate::engine::Failure;
use crate::mllib::{
    self, AlsModel, Ensemble, Folder, KmeansModel, LinearModel, LogisticModel, Saved, SavedFactors, SavedStage,
    VectorColumn,
};
use crate::registry::Fitted;

pub struct Linear {
    /// n_intercepts × n_slots, row-major.
    pub coefficients: Vec<f64>,
    pub intercepts: Vec<f64>,
}

/// `n_slots`: of a row's vector.
pub fn linear(folder: &Folder, n_slots: usize) -> Result<Linear, Failure> {
    match read(folder)? {
        SavedStage::Linear(LinearModel { coefficients, intercept, .. }) if coefficients.len() == n_slots => {
            Ok(Linear { coefficients, intercepts: vec![intercept] })
        }
        _ => Err(other(folder)),
    }
}

pub fn logistic(folder: &Folder, n_slots: usize) -> Result<Linear, Failure> {
    match read(folder)? {
        SavedStage::Logistic(LogisticModel { coefficients, intercepts, .. })
            if (coefficients.n_rows, coefficients.n_columns) == (intercepts.len(), n_slots) =>
        {
            Ok(Linear { coefficients: coefficients.values, intercepts })
        }
        _ => Err(other(folder)),
    }
}

/// k × n_slots, row-major.
pub fn centers(folder: &Folder, n_slots: usize) -> Result<Vec<f64>, Failure> {
    match read(folder)? {
        SavedStage::Kmeans(KmeansModel { centers, k, .. }) if centers.len() == k * n_slots => Ok(centers),
        _ => Err(other(folder)),
    }
}

/// Of users and of items: by code, rank values each, and 0 where there is no vector.
pub fn vectors(folder: &Folder, rank: usize, n_users: usize, n_items: usize) -> Result<(Vec<f32>, Vec<f32>), Failure> {
    match read(folder)? {
        SavedStage::Als(AlsModel { rank: found, users, items, .. }) if found == rank => {
            let by_code = |factors: SavedFactors, n_codes: usize| {
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

/// `slots`: of numbers and of codes, one each. `n_classes`: 0 of a regression.
pub fn trees(folder: &Folder, algorithm: Algorithm, slots: &[Slots], n_classes: usize) -> Result<Fitted, Failure> {
    let SavedStage::Trees(model) = read(folder)? else { return Err(other(folder)) };
    let is_boosted = model.ensemble == Ensemble::Boosted;
    let n_found = model.classes.as_ref().map_or(0, |classes| classes.n_classes);
    if (model.n_features, n_found, is_boosted) != (slots.len(), n_classes, algorithm == Algorithm::GradientBoosting) {
        return Err(other(folder));
    }
    let columns = slots.iter().enumerate().map(|(place, slots)| match slots {
        Slots::Code { n_categories } => Ok(VectorColumn::code(place, *n_categories)),
        Slots::Number { .. } => Ok(VectorColumn::number(place)),
        Slots::OneHot { .. } | Slots::Words { .. } => Err(other(folder)),
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    mllib::trees(&model, &columns).map_err(|error| unusable(&folder.place(""), &error.to_string()))
}

fn read(folder: &Folder) -> Result<SavedStage, Failure> {
    let saved = Saved::read(folder);
    saved.map(|saved| saved.stage).map_err(|error| unreadable(&folder.place(""), &error))
}

fn other(folder: &Folder) -> Failure {
    unusable(&folder.place(""), "it is no model of what was sent: this is a fault of Millstream, please report it")
}
