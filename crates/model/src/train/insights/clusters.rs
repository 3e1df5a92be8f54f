//! Clusters as a picture: the rows along the two directions in which they differ most.

use millstream_learn::Table;
use millstream_learn::explain::principal;
use millstream_untrusted::insights::{Findings, Insights, Loading};

use super::super::TrainError;
use super::super::evaluate::NOT_OF_ROWS;
use super::rows::fault;
use super::sample::Sample;
use crate::registry::{Encoding, FORMAT, Version, category_name};
use crate::rows::RowsError;

const SCATTER_ROWS: usize = 600;
/// Categories may be many: the largest are told.
const LOADINGS_MOST: usize = 60;

pub(super) fn of_clusters(version: &Version, sample: &Sample) -> Result<Insights, TrainError> {
    let file = &version.file;
    let clusters = version.clusters().ok_or(NOT_OF_ROWS)?;
    let (places, columns) = sample.bound.features.encode_fitting(&sample.rows).map_err(RowsError::of("features"))?;
    let nearest = clusters.nearest(columns.clone()).map_err(|problem| fault(version, problem))?;
    let table = Table::new(columns).map_err(|error| fault(version, error.to_string()))?;
    let kept: Vec<usize> = (0..places.len()).filter(|&row| nearest[row].is_some()).collect();
    let table = table.rows(&kept);
    let mut notes = Vec::new();
    let unfit = sample.rows.num_rows() - kept.len();
    if unfit > 0 {
        notes.push(format!("{unfit} of {} rows belong to no cluster", sample.rows.num_rows()));
    }
    // As distances are measured.
    let weight = |deviation: &f64| match (clusters.model.standardised(), *deviation > 0.0) {
        (false, _) => 1.0,
        (true, true) => 1.0 / deviation,
        (true, false) => 0.0,
    };
    let weights: Vec<f64> = clusters.model.deviations().iter().map(weight).collect();
    let (mut scatter, mut explained, mut loadings) = (Vec::new(), [0.0; 2], Vec::new());
    if let Some(found) = principal(&table, &weights) {
        explained = found.shares;
        let points = found.scores.iter().zip(&kept).take(SCATTER_ROWS);
        scatter = points.filter_map(|([x, y], &row)| Some((*x, *y, nearest[row]?))).collect();
        let mut axes = found.loadings.iter();
        for feature in &file.features {
            let levels: Vec<Option<String>> = match &feature.encoding {
                Encoding::Numeric { .. } | Encoding::Text { .. } => vec![None],
                Encoding::Categorical { categories, rule } => {
                    let slots = crate::registry::Slots::new(categories.len(), *rule, file.missing);
                    (0..slots.n_categories).map(|code| Some(category_name(feature, file.missing, code))).collect()
                }
            };
            for (level, [x, y]) in levels.into_iter().zip(axes.by_ref()) {
                loadings.push(Loading { feature: feature.expression.clone(), level, x: *x, y: *y });
            }
        }
        // Stable: of equals the order of the features.
        let length = |loading: &Loading| loading.x.hypot(loading.y);
        loadings.sort_by(|a, b| length(b).total_cmp(&length(a)));
        loadings.truncate(LOADINGS_MOST);
    } else if !kept.is_empty() {
        notes.push("the rows do not differ in any feature that counts, or by more than can be computed".to_owned());
    }
    let findings = Findings::Clustering { scatter, explained, loadings };
    Ok(Insights { format: FORMAT, rows: kept.len() as u64, of: sample.of, notes, findings })
}
