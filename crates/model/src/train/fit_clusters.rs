//! A recipe and batches into fitted clusters.

use millstream_learn::Column;
use millstream_learn::kmeans::{Clusters, Params};

use super::TrainError;
use super::encode::EncodedTable;
use super::fit::{Trained, TrainingRun, counted, faults, name_feature};
use super::prepare::{FeatureColumns, PreparedRows, prepare_rows};
use crate::model::ClusterColumns;
use crate::registry::{ClusteringTask, Task};
use crate::rows::RowsError;

pub(super) fn train_clusters(run: &TrainingRun, columns: &ClusterColumns) -> Result<Trained, TrainError> {
    let ClusterColumns { features, categorical, missing } = columns;
    let params = Params::from_values(&run.recipe.params).map_err(faults)?;
    let wanted = FeatureColumns { features, categorical, text: None, missing: *missing, target: None };
    let PreparedRows { encoded, inputs, counts, .. } = prepare_rows(run, wanted)?;
    let EncodedTable { table, features: encoded, .. } = encoded;
    let mut notes = constant(features, table.columns());
    let model = run.engine.fit_clusters(&run.job(), &table).map_err(|error| name_feature(features, error))?;
    notes.extend(model.note().map(str::to_owned));
    if let Clusters::BestOf(range) = params.clusters() {
        let (fewest, most) = (range.start(), model.tried().last().map_or(*range.end(), |tried| tried.k));
        notes.push(format!("{} clusters, of {fewest} to {most} those of the greatest silhouette", model.k()));
    }
    notes.extend(counted([(counts.missing, "rows lacked a feature and were left out")]));
    let task = ClusteringTask {
        clusters: u32::try_from(model.k()).map_err(|_| RowsError::Impossible("more clusters than can be counted"))?,
        inertia: Some(model.inertia()),
        iterations: Some(model.iterations()),
        converged: Some(model.converged()),
    };
    let trained = Trained::new(model.to_arrays(), Task::Clustering(task), counts, notes);
    Ok(Trained { features: encoded, inputs, ..trained })
}

/// What a reader should know of features that tell no two rows apart.
pub(super) fn constant(features: &[String], columns: &[Column]) -> Vec<String> {
    fn same<T: PartialEq>(values: &[T]) -> bool {
        values.windows(2).all(|pair| pair[0] == pair[1])
    }
    let constant = features.iter().zip(columns).filter(|(_, column)| match column {
        // No value at all is the same everywhere, too, though NaN is not NaN.
        Column::Numeric(values) => same(values) || values.iter().all(|value| value.is_nan()),
        Column::Categorical { codes, .. } => same(codes),
        // Words are not among these features.
        Column::Sparse(_) => false,
    });
    constant.map(|(feature, _)| format!("`{feature}` is the same in all rows: it tells none apart")).collect()
}
