//! What makes items alike: of a sample of stored items and those nearest to each, what their scores or distances are made of.

use std::collections::BTreeMap;

use millstream_learn::top_n::Admit;
use millstream_untrusted::insights::{ColumnShare, FeatureShare, Findings, Insights, TermShare};

use super::super::TrainError;
use super::super::evaluate::NOT_OF_ROWS;
use crate::registry::{FORMAT, Task, Version};

const ITEMS_MOST: usize = 200;
const NEAREST: usize = 10;
const TERMS_MOST: usize = 30;

/// Rows at equal steps: which ones has nothing to do with what is in them.
fn sample(n_rows: usize) -> Vec<u32> {
    let taken = n_rows.min(ITEMS_MOST);
    (0..taken).filter_map(|place| u32::try_from(place * n_rows / taken).ok()).collect()
}

fn told(n_rows: usize, looked_at: usize, findings: Findings) -> Insights {
    let notes = match looked_at {
        0 => vec!["it has no item with anything to compare by".to_owned()],
        _ => vec![format!("of {looked_at} of {n_rows} items and the {NEAREST} nearest to each")],
    };
    Insights { format: FORMAT, rows: looked_at as u64, of: n_rows as u64, notes, findings }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

pub(super) fn of_texts(version: &Version) -> Result<Insights, TrainError> {
    let (Task::Similarity(task), Some(content)) = (&version.file.task, version.content()) else {
        return Err(NOT_OF_ROWS.into());
    };
    let model = &content.model;
    let mut scores = 0.0;
    let mut columns = vec![0.0; task.text.len()];
    let mut terms: BTreeMap<(usize, String), (f64, u64)> = BTreeMap::new();
    let rows = sample(model.n_rows());
    for row in &rows {
        for near in model.similar(*row, NEAREST, &Admit::default()) {
            for term in model.shared_terms(*row, near.item) {
                scores += term.weight;
                columns.iter_mut().skip(term.column).take(1).for_each(|sum| *sum += term.weight);
                let of_term = terms.entry((term.column, term.term.to_owned())).or_default();
                *of_term = (of_term.0 + term.weight, of_term.1 + 1);
            }
        }
    }
    let name = |column: usize| task.text.get(column).map(|text| text.expression.clone()).unwrap_or_default();
    let columns = columns.iter().enumerate();
    let columns = columns.map(|(column, sum)| ColumnShare { column: name(column), share: share(*sum, scores) });
    let terms = terms.into_iter().map(|((column, term), (sum, pairs))| TermShare {
        term,
        column: name(column),
        share: share(sum, scores),
        pairs,
    });
    let mut terms: Vec<TermShare> = terms.collect();
    // Stable: of equals the order of columns and letters.
    terms.sort_by(|a, b| b.share.total_cmp(&a.share));
    terms.truncate(TERMS_MOST);
    Ok(told(model.n_rows(), rows.len(), Findings::Similarity { columns: columns.collect(), terms }))
}

pub(super) fn of_neighbours(version: &Version) -> Result<Insights, TrainError> {
    let neighbours = version.neighbours().ok_or(NOT_OF_ROWS)?;
    let model = &neighbours.model;
    // Of each feature: its part of all distances, pairs that were compared by it, and those of them without a difference.
    let mut features = vec![(0.0, 0u64, 0u64); version.file.features.len()];
    let mut distances = 0.0;
    let rows = sample(model.n_rows());
    for row in &rows {
        for near in model.nearest_to_row(*row, NEAREST, &Admit::default()) {
            let parts = model.parts_to_row(*row, near.row);
            for (feature, part) in features.iter_mut().zip(&parts) {
                let Some(part) = part else { continue };
                distances += part;
                *feature = (feature.0 + part, feature.1 + 1, feature.2 + u64::from(*part == 0.0));
            }
        }
    }
    let features = version.file.features.iter().zip(features).map(|(feature, (sum, pairs, equal))| FeatureShare {
        feature: feature.expression.clone(),
        share: share(sum, distances),
        pairs,
        equal,
    });
    let mut features: Vec<FeatureShare> = features.collect();
    features.sort_by(|a, b| b.share.total_cmp(&a.share));
    Ok(told(model.n_rows(), rows.len(), Findings::Neighbourhood { features }))
}
