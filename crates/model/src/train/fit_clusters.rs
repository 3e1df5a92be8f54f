//! A recipe and batches into fitted clusters.

use millstream_learn::kmeans::{self, Clusters, Params};
use millstream_learn::{Column, Seed, Table};
use millstream_store::Store;
use millstream_stream::batch::Batch;
use millstream_stream::schema::StreamSchema;

use super::TrainError;
use super::fit::{Trained, faults, name_feature};
use super::prepare::{PreparedRows, Wanted, prepare_rows};
use super::recipe::Recipe;
use crate::model::ClusterColumns;
use crate::registry::{ClusteringTask, TargetSummary, Task};
use crate::rows::RowsError;

pub(super) fn train_clusters(
    store: &dyn Store,
    recipe: &Recipe,
    columns: &ClusterColumns,
    schema: &StreamSchema,
    batches: &[Batch],
) -> Result<Trained, TrainError> {
    let ClusterColumns { features, categorical, missing } = columns;
    let params = Params::from_values(&recipe.params).map_err(faults)?;
    let wanted = Wanted { features, categorical, text: None, missing: *missing, target: None };
    let PreparedRows { columns, features: encoded, inputs, counts, .. } =
        prepare_rows(store, recipe, wanted, schema, batches)?;
    let mut notes = constant(features, &columns);
    let table = Table::new(columns)
        .map_err(|error| RowsError::Part { place: "the prepared columns".to_owned(), problem: error.to_string() })?;
    let model = kmeans::fit(&table, &params, Seed(recipe.seed)).map_err(|source| name_feature(features, source))?;
    notes.extend(model.note().map(str::to_owned));
    if let Clusters::BestOf(range) = params.clusters() {
        let (fewest, most) = (range.start(), model.tried().last().map_or(*range.end(), |tried| tried.k));
        notes.push(format!("{} clusters, of {fewest} to {most} those of the greatest silhouette", model.k()));
    }
    if counts.missing > 0 {
        notes.push(format!("{} rows lacked a feature and were left out", counts.missing));
    }
    let task = ClusteringTask {
        clusters: u32::try_from(model.k()).map_err(|_| RowsError::Impossible("more clusters than can be counted"))?,
        inertia: model.inertia(),
        iterations: model.iterations(),
        converged: model.converged(),
    };
    Ok(Trained {
        arrays: model.to_arrays(),
        features: encoded,
        inputs,
        task: Task::Clustering(task),
        target_summary: TargetSummary::None,
        counts,
        notes,
    })
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
