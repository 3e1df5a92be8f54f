//! How good clusters are on committed rows, beside what no clusters and random ones would be.

use std::collections::BTreeMap;

use datafusion::arrow::array::RecordBatch;
use millstream_learn::kmeans::Params;
use millstream_learn::{Column, Seed, Table};
use millstream_store::Store;
use millstream_stream::batch::Batch;
use millstream_stream::expression::Expression;
use millstream_stream::schema::StreamSchema;

use super::TrainError;
use super::evaluate::{Measured, Rows};
use super::fit::faults;
use super::recipe::Recipe;
use crate::registry::{Baseline, Clusters, FeatureSet, Scores, Version};
use crate::rows::{RowsError, for_each_block, held_out, keep, keep_passing, narrow};

/// The rows of so many versions are in memory at a time, and read in one pass.
const VERSIONS_AT_ONCE: usize = 4;

/// A version to be measured, and its rows as they are gathered.
struct Asked<'a> {
    version: &'a Version,
    clusters: &'a Clusters,
    batches: &'a [u32],
    features: FeatureSet,
    filter: Option<Expression>,
    columns: Vec<Column>,
    rows: u64,
}

/// The scores of each, in their order. `batches`: all there are.
pub(super) fn evaluate_clusters(
    store: &dyn Store,
    schema: &StreamSchema,
    measured: &[Measured],
    batches: &[Batch],
    rows: Rows,
) -> Result<Vec<Scores>, TrainError> {
    let mut scores = Vec::with_capacity(measured.len());
    for measured in measured.chunks(VERSIONS_AT_ONCE) {
        // Loading has made clusters of every task that comes here.
        let asked = measured.iter().filter_map(|one| Some(Asked::new(one, one.version.clusters()?, schema)));
        let mut asked = asked.collect::<Result<Vec<_>, _>>()?;
        gather(store, schema, &mut asked, batches, rows)?;
        for one in asked {
            scores.push(one.scores()?);
        }
    }
    Ok(scores)
}

fn gather(
    store: &dyn Store,
    schema: &StreamSchema,
    asked: &mut [Asked],
    batches: &[Batch],
    rows: Rows,
) -> Result<(), TrainError> {
    let expressions = asked.iter().flat_map(|one| one.features.expressions().iter().chain(&one.filter));
    let block_schema = narrow(expressions, &schema.arrow());
    for one in asked.iter_mut() {
        one.features = one.features.rebind(&block_schema).map_err(RowsError::of("features"))?;
        let filter = one.filter.as_ref().map(|filter| filter.rebind(&block_schema)).transpose();
        one.filter = filter.map_err(RowsError::of("where"))?;
    }
    let is_asked = |batch: &&Batch| asked.iter().any(|one| one.batches.binary_search(&batch.number()).is_ok());
    let batches: Vec<&Batch> = batches.iter().filter(is_asked).collect();
    for batch in batches {
        for_each_block(store, batch, &block_schema, |block| {
            for one in asked.iter_mut().filter(|one| one.batches.binary_search(&batch.number()).is_ok()) {
                let block = match rows {
                    Rows::All => block.clone(),
                    Rows::HeldOut => keep(block, &held_out(block, one.version.file.holdout)?, &mut 0)?,
                };
                one.add(&keep_passing(one.filter.as_ref(), block, &mut 0)?)?;
            }
            Ok::<(), TrainError>(())
        })?;
    }
    Ok(())
}

impl<'a> Asked<'a> {
    fn new(one: &Measured<'a>, clusters: &'a Clusters, schema: &StreamSchema) -> Result<Self, TrainError> {
        let stream = schema.arrow();
        let filter = one.version.file.filter.as_deref();
        Ok(Self {
            version: one.version,
            clusters,
            batches: one.batches,
            features: clusters.feature_set().rebind(&stream).map_err(RowsError::of("features"))?,
            filter: filter
                .map(|text| Expression::compile(text, &stream))
                .transpose()
                .map_err(RowsError::of("where"))?,
            columns: Vec::new(),
            rows: 0,
        })
    }

    /// The rows that the version would answer.
    fn add(&mut self, block: &RecordBatch) -> Result<(), TrainError> {
        let (places, columns) = self.features.encode_fitting(block).map_err(RowsError::of("features"))?;
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
                    return Err(
                        RowsError::Impossible("a feature of clusters is encoded in two ways, or by its words").into()
                    );
                }
            }
        }
        Ok(())
    }

    fn scores(self) -> Result<Scores, TrainError> {
        let file = &self.version.file;
        let place = || format!("{}@{}", file.model, file.version);
        let silhouette_rows = match Recipe::from_file(file) {
            Some(recipe) => Params::from_values(&recipe.params).map_err(faults)?.silhouette_rows(),
            None => Params::default().silhouette_rows(),
        };
        let kind = "one cluster (inertia), random clusters (silhouette)".to_owned();
        if self.rows == 0 {
            let nothing = || BTreeMap::from(["inertia", "silhouette"].map(|name| (name.to_owned(), None)));
            let baseline = Baseline { kind, measures: nothing() };
            return Ok(Scores { rows: 0, counts: None, measures: nothing(), baseline, beats_baseline: None });
        }
        let part = |problem: String| RowsError::Part { place: place(), problem };
        let table = Table::new(self.columns).map_err(|error| part(error.to_string()))?;
        let measured = self.clusters.model.evaluate(&table, silhouette_rows, Seed(file.seed));
        let measured = measured.map_err(|error| part(error.to_string()))?;
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        let named = |inertia: f64, silhouette: Option<f64>| {
            BTreeMap::from([
                ("inertia".to_owned(), finite(inertia)),
                ("silhouette".to_owned(), silhouette.and_then(finite)),
            ])
        };
        let beats_baseline = match (measured.silhouette, measured.random_silhouette) {
            (Some(own), Some(random)) => Some(own > random && measured.inertia < measured.one_cluster_inertia),
            // With one cluster, or all rows in one, there is nothing to hold it against.
            (_, _) => None,
        };
        Ok(Scores {
            rows: measured.rows as u64,
            counts: None,
            measures: named(measured.inertia, measured.silhouette),
            baseline: Baseline { kind, measures: named(measured.one_cluster_inertia, measured.random_silhouette) },
            beats_baseline,
        })
    }
}
