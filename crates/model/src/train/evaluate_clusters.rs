//! How good clusters are on committed rows, beside what no clusters and random ones would be.

use datafusion::arrow::array::RecordBatch;
use millstream_learn::kmeans::Params;
use millstream_learn::{Column, Seed, Table};

use super::TrainError;
use super::evaluate::Costed;
use super::fit::faults;
use super::losses::RecordLosses;
use super::measure::named;
use super::recipe::Recipe;
use crate::registry::{Baseline, Clusters, FeatureSet, ModelFile, Scores};
use crate::rows::{RowsError, holdout, record_hashes};

/// A version's rows, as they are gathered.
pub(super) struct ClusteredRows<'a> {
    clusters: &'a Clusters,
    columns: Vec<Column>,
    rows: u64,
    /// Of each row the hash of its record, where they are asked for.
    records: Option<Vec<u64>>,
}

impl<'a> ClusteredRows<'a> {
    /// `keeps`: with the silhouette of each record.
    pub fn new(clusters: &'a Clusters, keeps: bool) -> Self {
        Self { clusters, columns: Vec::new(), rows: 0, records: keeps.then(Vec::new) }
    }

    /// The rows that the version would answer.
    pub fn add(&mut self, features: &FeatureSet, block: &RecordBatch) -> Result<(), RowsError> {
        let (places, columns) = features.encode_fitting(block).map_err(RowsError::of("features"))?;
        self.rows += places.len() as u64;
        if let Some(records) = &mut self.records {
            let hashes = record_hashes(block, holdout::SEED)?;
            records.extend(places.iter().map(|&row| hashes[row]));
        }
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

    pub fn scores(self, file: &ModelFile) -> Result<Costed, TrainError> {
        let place = || format!("{}@{}", file.model, file.version);
        let silhouette_rows = match Recipe::from_file(file) {
            Some(recipe) => Params::from_values(&recipe.params).map_err(faults)?.silhouette_rows(),
            None => Params::default().silhouette_rows(),
        };
        let both = |inertia, silhouette| named([("inertia", inertia), ("silhouette", silhouette)]);
        let kind = "one cluster (inertia), random clusters (silhouette)".to_owned();
        if self.rows == 0 {
            let baseline = Baseline { kind, measures: both(None, None) };
            let scores = Scores { rows: 0, counts: None, measures: both(None, None), baseline, beats_baseline: None };
            return Ok((scores, self.records.map(|_| RecordLosses::default().finish())));
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
        let losses = self.records.map(|records| {
            // Each is held against all others: the sample is small.
            let mut order: Vec<(u64, usize)> = records.iter().copied().zip(0..).collect();
            order.sort_unstable();
            order.truncate(silhouette_rows as usize);
            let rows: Vec<usize> = order.iter().map(|(_, row)| *row).collect();
            let silhouettes = self.clusters.model.silhouettes(&table.rows(&rows));
            let mut losses = RecordLosses::default();
            for ((record, _), silhouette) in order.iter().zip(silhouettes.map_err(|error| part(error.to_string()))?) {
                silhouette.into_iter().for_each(|silhouette| losses.push(*record, [silhouette, 0.0, 0.0, 0.0]));
            }
            Ok::<_, RowsError>(losses.finish())
        });
        let scores = Scores {
            rows: measured.rows as u64,
            counts: None,
            measures: both(Some(measured.inertia), measured.silhouette),
            baseline: Baseline { kind, measures: both(Some(measured.one_cluster_inertia), measured.random_silhouette) },
            beats_baseline,
        };
        Ok((scores, losses.transpose()?))
    }
}
