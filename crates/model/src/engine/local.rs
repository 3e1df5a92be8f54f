//! The engine within this process: the algorithms of `learn`, on all cores.

use std::collections::BTreeMap;

use millstream_learn::content::{self, Corpus};
use millstream_learn::popularity::{self, Sums};
use millstream_learn::{
    Algorithm, FitError, ParamValue, Table, als, gradient_boosting, kmeans, linear_regression, logistic_regression,
    neighbours, random_forest,
};

use super::{Engine, EngineError, Job, RatingRows, Target};
use crate::model::Missing;
use crate::registry::Fitted;

#[derive(Debug, Clone, Copy)]
pub struct Local;

impl Engine for Local {
    fn supports(
        &self,
        algorithm: Algorithm,
        params: &BTreeMap<String, ParamValue>,
        _: Missing,
    ) -> Result<(), EngineError> {
        let faults = algorithm.param_faults(params);
        if faults.is_empty() { Ok(()) } else { Err(EngineError::Params(faults)) }
    }

    fn fit_rows(&self, job: &Job, table: &Table, target: &Target) -> Result<Fitted, EngineError> {
        let Job { algorithm, params, seed, stopped, .. } = *job;
        Ok(match (algorithm, target) {
            (Algorithm::LinearRegression, Target::Numbers(numbers)) => {
                let params = linear_regression::Params::from_values(params)?;
                Fitted::Linear(linear_regression::fit(table, numbers, &params)?)
            }
            (Algorithm::LogisticRegression, Target::Classes { codes, classes }) => {
                let params = logistic_regression::Params::from_values(params)?;
                Fitted::Logistic(logistic_regression::fit(table, codes, count(classes)?, &params)?)
            }
            (Algorithm::RandomForest, target) => {
                let params = random_forest::Params::from_values(params)?;
                Fitted::Forest(match target {
                    Target::Numbers(numbers) => random_forest::fit_regression(table, numbers, &params, seed)?,
                    Target::Classes { codes, classes } => {
                        random_forest::fit_classification(table, codes, count(classes)?, &params, seed)?
                    }
                })
            }
            (Algorithm::GradientBoosting, target) => {
                let params = gradient_boosting::Params::from_values(params)?;
                Fitted::Boosted(match target {
                    Target::Numbers(numbers) => {
                        gradient_boosting::fit_regression(table, numbers, &params, seed, stopped)?
                    }
                    Target::Classes { codes, classes } => {
                        gradient_boosting::fit_classification(table, codes, count(classes)?, &params, seed, stopped)?
                    }
                })
            }
            (Algorithm::LinearRegression, Target::Classes { .. })
            | (Algorithm::LogisticRegression, Target::Numbers(_))
            | (
                Algorithm::Als | Algorithm::Content | Algorithm::Kmeans | Algorithm::Neighbours | Algorithm::Popularity,
                _,
            ) => return Err(EngineError::Target(algorithm)),
        })
    }

    fn fit_clusters(&self, job: &Job, table: &Table) -> Result<kmeans::Model, EngineError> {
        Ok(kmeans::fit(table, &kmeans::Params::from_values(job.params)?, job.seed)?)
    }

    fn fit_neighbours(&self, job: &Job, table: &Table) -> Result<neighbours::Model, EngineError> {
        Ok(neighbours::fit(table, &neighbours::Params::from_values(job.params)?)?)
    }

    fn fit_ratings(&self, job: &Job, rows: &RatingRows) -> Result<als::Fit, EngineError> {
        let RatingRows { ratings, validation, start, scale } = *rows;
        let mut params = als::Params::from_values(job.params)?;
        params.scale = scale;
        Ok(als::fit_until(ratings, validation, start, &params, job.seed, job.stopped)?)
    }

    fn fit_content(&self, job: &Job, corpus: &Corpus) -> Result<content::Model, EngineError> {
        Ok(content::fit(corpus, &content::Params::from_values(job.params)?)?)
    }

    fn fit_popularity(&self, job: &Job, sums: &Sums) -> Result<popularity::Model, EngineError> {
        Ok(popularity::fit(sums, &popularity::Params::from_values(job.params)?)?)
    }
}

fn count(classes: &[serde_json::Value]) -> Result<u32, FitError> {
    let (found, max) = (classes.len(), u32::MAX as usize);
    u32::try_from(found).map_err(|_| FitError::TooManyClasses { found, max })
}
