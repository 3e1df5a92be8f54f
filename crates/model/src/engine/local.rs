//! The engine within this process: the algorithms of `learn`, on all cores.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use millstream_learn::content::{self, Corpus};
use millstream_learn::popularity::{self, Sums};
use millstream_learn::{
    Algorithm, FitError, ParamValue, Step, Table, als, gradient_boosting, kmeans, linear_regression,
    logistic_regression, neighbours, random_forest,
};

use super::{Engine, EngineError, Job, News, RatingRows, Target};
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
        let Job { algorithm, params, seed, .. } = *job;
        let watch = Watch::new(job);
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
                    Target::Numbers(numbers) => {
                        random_forest::fit_regression(table, numbers, &params, seed, &watch.of("tree"))?
                    }
                    Target::Classes { codes, classes } => random_forest::fit_classification(
                        table,
                        codes,
                        count(classes)?,
                        &params,
                        seed,
                        &watch.of("tree"),
                    )?,
                })
            }
            (Algorithm::GradientBoosting, target) => {
                let params = gradient_boosting::Params::from_values(params)?;
                Fitted::Boosted(match target {
                    Target::Numbers(numbers) => {
                        gradient_boosting::fit_regression(table, numbers, &params, seed, &watch.of("round"))?
                    }
                    Target::Classes { codes, classes } => gradient_boosting::fit_classification(
                        table,
                        codes,
                        count(classes)?,
                        &params,
                        seed,
                        &watch.of("round"),
                    )?,
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
        Ok(als::fit_until(ratings, validation, start, &params, job.seed, &Watch::new(job).of("iteration"))?)
    }

    fn fit_content(&self, job: &Job, corpus: &Corpus) -> Result<content::Model, EngineError> {
        Ok(content::fit(corpus, &content::Params::from_values(job.params)?)?)
    }

    fn fit_popularity(&self, job: &Job, sums: &Sums) -> Result<popularity::Model, EngineError> {
        Ok(popularity::fit(sums, &popularity::Params::from_values(job.params)?)?)
    }
}

/// Of one fit: asks whether it is to end, and tells how far it is, now and then.
struct Watch<'a> {
    job: &'a Job<'a>,
    told: Mutex<Option<Instant>>,
}

/// A page and a terminal show no more.
const TELL: Duration = Duration::from_millis(250);

impl<'a> Watch<'a> {
    fn new(job: &'a Job<'a>) -> Self {
        Self { job, told: Mutex::default() }
    }

    /// `unit`: what its steps are.
    fn of(&self, unit: &'static str) -> impl Fn(Step) -> bool + Sync {
        move |Step { done, of }| {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.is_none_or(|told| told.elapsed() >= TELL) {
                *told = Some(Instant::now());
                (self.job.tell)(News::Progress(format!("{unit} {} of {of}", (done + 1).min(of))));
            }
            drop(told);
            (self.job.stopped)()
        }
    }
}

fn count(classes: &[serde_json::Value]) -> Result<u32, FitError> {
    let (found, max) = (classes.len(), u32::MAX as usize);
    u32::try_from(found).map_err(|_| FitError::TooManyClasses { found, max })
}
