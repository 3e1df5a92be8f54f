//! How good clusters are on committed rows, beside what no clusters and random ones would be.

use datafusion::arrow::array::RecordBatch;
use millstream_learn::kmeans::Params;
use millstream_learn::{Column, Seed, Table};

use super::TrainError;
use super::fit::faults;
use super::measure::named;
use super::recipe::Recipe;
use crate::registry::{Baseline, Clusters, FeatureSet, ModelFile, Scores};
use crate::rows::RowsError;

/// A version's rows, as they are gathered.
pub(super) struct ClusteredRows<'a> {
    clusters: &'a Clusters,
    columns: Vec<Column>,
    rows: u64,
}

impl<'a> ClusteredRows<'a> {
    pub fn new(clusters: &'a Clusters) -> Self {
        Self { clusters, columns: Vec::new(), rows: 0 }
    }

    /// The rows that the version would answer.
    pub fn add(&mut self, features: &FeatureSet, block: &RecordBatch) -> Result<(), RowsError> {
        let (places, columns) = features.encode_fitting(block).map_err(RowsError::of("features"))?;
        self.rows += places.len() as u64;
        if self.columns.is_empty() {
            self.columns = columns;
            return Ok(());
        }
        for (all, new) in self.columns.iter_mut().zip(columns) {
            match (all, new) {
                (Column::Numeric(all), Column::Numeric(new)) => all.extend(new),
                (Column::Categorical { codes, .. }, Column::Categorical { codes: new, .. }) => codes.extend(new),
                (Column::Numeric(_) | Column::Categorical { .. } | Column::Sparse(_), _) => {
                    return Err(RowsError::Impossible("a feature of clusters is encoded in two ways, or by its words"));
                }
            }
        }
        Ok(())
    }

    pub fn scores(self, file: &ModelFile) -> Result<Scores, TrainError> {
        let place = || format!("{}@{}", file.model, file.version);
        let silhouette_rows = match Recipe::from_file(file) {
            Some(recipe) => Params::from_values(&recipe.params).map_err(faults)?.silhouette_rows(),
            None => Params::default().silhouette_rows(),
        };
        let both = |inertia, silhouette| named([("inertia", inertia), ("silhouette", silhouette)]);
        let kind = "one cluster (inertia), random clusters (silhouette)".to_owned();
        if self.rows == 0 {
            let baseline = Baseline { kind, measures: both(None, None) };
            return Ok(Scores { rows: 0, counts: None, measures: both(None, None), baseline, beats_baseline: None });
        }
        let part = |problem: String| RowsError::Part { place: place(), problem };
        let table = Table::new(self.columns).map_err(|error| part(error.to_string()))?;
        let measured = self.clusters.model.evaluate(&table, silhouette_rows, Seed(file.seed));
        let measured = measured.map_err(|error| part(error.to_string()))?;
        let beats_baseline = match (measured.silhouette, measured.random_silhouette) {
            (Some(own), Some(random)) => Some(own > random && measured.inertia < measured.one_cluster_inertia),
            // With one cluster, or all rows in one, there is nothing to hold it against.
            (_, _) => None,
        };
        Ok(Scores {
            rows: measured.rows as u64,
            counts: None,
            measures: both(Some(measured.inertia), measured.silhouette),
            baseline: Baseline { kind, measures: both(Some(measured.one_cluster_inertia), measured.random_silhouette) },
            beats_baseline,
        })
    }
}
