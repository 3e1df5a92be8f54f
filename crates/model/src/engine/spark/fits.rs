//! The fits of [`Spark`]: what is sent of each algorithm, and what its model becomes here.

use std::collections::BTreeMap;
use std::path::Path;

use millstream_learn::{
    Algorithm, Array, Arrays, Column, FitError, ParamFault, ParamValue, Table, als, gradient_boosting, kmeans,
    linear_regression, logistic_regression, random_forest,
};

use serde_json::json;

use super::exchange::Place;
use super::plan::TreeTable;
use super::rows::{Slots, WriteError, linear_slots, tree_slots, write_ratings, write_table};
use super::{Encode, Facts, NAME, Plan, REVISION, ROWS, Rows, Spark, cluster, diagnose, failure, plan, saved};
use crate::engine::raw::Encodes;
use crate::engine::{Engine, EngineError, Job, Local, RatingRows, Target};
use crate::model::Missing;
use crate::registry::{EngineRecord, Fitted};

impl Engine for Spark {
    fn supports(
        &self,
        algorithm: Algorithm,
        params: &BTreeMap<String, ParamValue>,
        missing: Missing,
    ) -> Result<(), EngineError> {
        Local.supports(algorithm, params, missing)?;
        let mut faults = plan::unsupported(algorithm, params, missing);
        if self.settings.encode == Encode::Cluster {
            faults.extend(cluster::unsupported(algorithm));
        }
        if !faults.is_empty() {
            return Err(EngineError::Unsupported(faults));
        }
        // Rows that nobody takes need not be read.
        self.reach()
    }

    fn starts_warm(&self) -> bool {
        false
    }

    fn record(&self) -> Option<EngineRecord> {
        Some(EngineRecord { name: NAME.to_owned(), revision: REVISION, version: None, settings: self.settings.told() })
    }

    fn encodes(&self) -> Option<&dyn Encodes> {
        (self.settings.encode == Encode::Cluster).then_some(self as &dyn Encodes)
    }

    fn supports_classes(&self, algorithm: Algorithm, n_classes: usize) -> Result<(), EngineError> {
        if algorithm != Algorithm::GradientBoosting || n_classes <= plan::BOOSTED_CLASSES_MOST {
            return Ok(());
        }
        let message = format!(
            "Spark boosts two classes, and the target has {n_classes}: take random_forest, or train with engine = \"local\""
        );
        Err(EngineError::Unsupported(vec![ParamFault { name: "target".to_owned(), message }]))
    }

    fn fit_rows(&self, job: &Job, table: &Table, target: &Target) -> Result<Fitted, EngineError> {
        let slots = if plan::is_tree(job.algorithm) { tree_slots(table)? } else { linear_slots(table)? };
        let write = |folder: &Path| write_table(&folder.join(ROWS), table, &slots, Some(target));
        self.fit_encoded(job, &slots, &TargetFacts::of(target, table.n_rows()), &encoded(&write))
    }

    fn fit_clusters(&self, job: &Job, table: &Table) -> Result<kmeans::Model, EngineError> {
        let params = kmeans::Params::from_values(job.params)?;
        // `supports` lets only a number through.
        let kmeans::Clusters::Exactly(k) = *params.clusters() else { return Err(EngineError::Target(job.algorithm)) };
        let axes = kmeans::axes(table, &params)?;
        let slots = table.columns().iter().zip(&axes.columns).map(|(column, &(center, weight))| match column {
            Column::Categorical { n_categories, .. } => Slots::OneHot { n_categories: *n_categories, weight },
            Column::Numeric(_) => Slots::Number { center, weight },
            Column::Sparse(sparse) => Slots::Words { n_terms: sparse.n_terms() },
        });
        let slots: Vec<Slots> = slots.collect();
        let estimator = plan::kmeans(&params, k, axes.mean_variance, job.seed.0);
        let write = |folder: &Path| write_table(&folder.join(ROWS), table, &slots, None);
        self.fit(job, &estimator, &encoded(&write), |folder, facts| {
            let centers = saved::centers(folder, n_slots(&slots)).map_err(failure)?;
            let iterations = facts.iterations.unwrap_or(params.max_iterations());
            let ending = (iterations, iterations < params.max_iterations());
            Ok(kmeans::from_centers(table, &params, &centers, ending, job.seed)?)
        })
    }

    fn fit_ratings(&self, job: &Job, rows: &RatingRows) -> Result<als::Fit, EngineError> {
        let mut params = als::Params::from_values(job.params)?;
        params.scale = rows.scale;
        let ratings = rows.ratings;
        let fitted_to = als::fitted_to(ratings, &params);
        let estimator = plan::als(&params, ratings.len(), job.seed.0);
        let write = |folder: &Path| write_ratings(&folder.join(ROWS), &fitted_to);
        self.fit(job, &estimator, &encoded(&write), |folder, _| {
            let rank = params.rank() as usize;
            let vectors = saved::vectors(folder, rank, ratings.n_users(), ratings.n_items()).map_err(failure)?;
            Ok(als::from_vectors(ratings, &params, vectors, params.iterations())?)
        })
    }
}

/// What a fit is told of its target.
pub(super) enum TargetFacts {
    Numbers { n_rows: u64, deviation: f64 },
    Classes { n_rows: u64, n_classes: usize },
}

impl TargetFacts {
    fn of(target: &Target, n_rows: usize) -> Self {
        let n_rows = n_rows as u64;
        match target {
            Target::Numbers(numbers) => Self::Numbers { n_rows, deviation: deviation(numbers) },
            Target::Classes { classes, .. } => Self::Classes { n_rows, n_classes: classes.len() },
        }
    }
}

/// Over all rows.
fn deviation(numbers: &[f64]) -> f64 {
    let n_rows = numbers.len().max(1) as f64;
    let mean = numbers.iter().sum::<f64>() / n_rows;
    (numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / n_rows).sqrt()
}

/// Rows that were encoded here.
fn encoded(write: &dyn Fn(&Path) -> Result<(), WriteError>) -> Rows<'_> {
    let plan = &|place: &Place| Plan::from_iter([("rows".to_owned(), json!(place.url(ROWS)))]);
    Rows { write, folders: vec![ROWS.to_owned()], n_parts: None, plan }
}

impl Spark {
    /// Of a model with a target, whoever encodes its rows.
    pub(super) fn fit_encoded(
        &self,
        job: &Job,
        slots: &[Slots],
        target: &TargetFacts,
        rows: &Rows,
    ) -> Result<Fitted, EngineError> {
        match (job.algorithm, target) {
            (Algorithm::LinearRegression, TargetFacts::Numbers { n_rows, deviation }) => {
                self.fit_linear(job, slots, (*n_rows, *deviation), rows)
            }
            (Algorithm::LogisticRegression, TargetFacts::Classes { n_rows, n_classes }) => {
                self.fit_logistic(job, slots, (*n_rows, *n_classes), rows)
            }
            (Algorithm::RandomForest | Algorithm::GradientBoosting, TargetFacts::Numbers { .. }) => {
                self.fit_trees(job, slots, 0, rows)
            }
            (Algorithm::RandomForest | Algorithm::GradientBoosting, TargetFacts::Classes { n_classes, .. }) => {
                self.fit_trees(job, slots, *n_classes, rows)
            }
            (Algorithm::LinearRegression, TargetFacts::Classes { .. })
            | (Algorithm::LogisticRegression, TargetFacts::Numbers { .. })
            | (
                Algorithm::Als | Algorithm::Content | Algorithm::Kmeans | Algorithm::Neighbours | Algorithm::Popularity,
                _,
            ) => Err(EngineError::Target(job.algorithm)),
        }
    }

    fn fit_linear(
        &self,
        job: &Job,
        slots: &[Slots],
        (n_rows, deviation): (u64, f64),
        rows: &Rows,
    ) -> Result<Fitted, EngineError> {
        let params = linear_regression::Params::from_values(job.params)?;
        let (found, max) = (n_slots(slots), linear_regression::PARAMETERS_MAX);
        if found > max {
            return Err(FitError::TooManyParameters { found, max }.into());
        }
        if !deviation.is_finite() {
            return Err(FitError::TargetTooLarge.into());
        }
        let estimator = plan::linear(&params, n_rows, deviation);
        self.fit(job, &estimator, rows, |folder, _| {
            let saved::Linear { coefficients, intercepts } = saved::linear(folder, found).map_err(failure)?;
            let mut arrays = of_layout(slots);
            // How many are independent only a fit of the normal equations knows.
            let rank = u32::try_from(coefficients.len()).map_err(|_| FitError::TooManyParameters { found, max })?;
            arrays.insert("coefficients".to_owned(), f64s(coefficients));
            arrays.insert("offset".to_owned(), f64s(intercepts));
            arrays.insert("rank".to_owned(), Array::U32 { shape: vec![1], data: vec![rank] });
            let model = linear_regression::Model::from_arrays(&arrays);
            model
                .map(Fitted::Linear)
                .map_err(|error| failure(diagnose::unusable(&folder.place(""), &error.to_string())))
        })
    }

    fn fit_logistic(
        &self,
        job: &Job,
        slots: &[Slots],
        (n_rows, n_classes): (u64, usize),
        rows: &Rows,
    ) -> Result<Fitted, EngineError> {
        let params = logistic_regression::Params::from_values(job.params)?;
        let (found, max) = (n_slots(slots), logistic_regression::PARAMETERS_MAX);
        if found > max {
            return Err(FitError::TooManyParameters { found, max }.into());
        }
        let max = logistic_regression::CLASSES_MAX as usize;
        if n_classes > max {
            return Err(FitError::TooManyClasses { found: n_classes, max }.into());
        }
        let estimator = plan::logistic(&params, n_rows, n_classes);
        self.fit(job, &estimator, rows, |folder, facts: &Facts| {
            let saved::Linear { coefficients, intercepts } = saved::logistic(folder, found).map_err(failure)?;
            let iterations = facts.iterations.unwrap_or(params.max_iterations());
            let ending = match iterations < params.max_iterations() {
                true => logistic_regression::Ending::Converged,
                false => logistic_regression::Ending::IterationLimit,
            };
            let mut arrays = of_layout(slots);
            let shape = vec![intercepts.len(), found];
            arrays.insert("coefficients".to_owned(), Array::F64 { shape, data: coefficients });
            arrays.insert("offsets".to_owned(), f64s(intercepts));
            arrays.insert("ending".to_owned(), Array::U8 { shape: vec![1], data: vec![ending.code()] });
            arrays.insert("iterations".to_owned(), Array::U32 { shape: vec![1], data: vec![iterations] });
            let model = logistic_regression::Model::from_arrays(&arrays);
            model
                .map(Fitted::Logistic)
                .map_err(|error| failure(diagnose::unusable(&folder.place(""), &error.to_string())))
        })
    }

    /// `n_classes`: 0 of a regression.
    fn fit_trees(&self, job: &Job, slots: &[Slots], n_classes: usize, rows: &Rows) -> Result<Fitted, EngineError> {
        self.supports_classes(job.algorithm, n_classes)?;
        let categories = slots.iter().map(|slots| match slots {
            Slots::Code { n_categories } => *n_categories,
            Slots::Number { .. } | Slots::OneHot { .. } | Slots::Words { .. } => 0,
        });
        let of_table = TreeTable { n_columns: slots.len(), categories_most: categories.max().unwrap_or(0) };
        let (is_regression, seed) = (n_classes == 0, job.seed.0);
        let estimator = match job.algorithm == Algorithm::RandomForest {
            true => plan::forest(&random_forest::Params::from_values(job.params)?, is_regression, of_table, seed),
            false => {
                plan::boosting(&gradient_boosting::Params::from_values(job.params)?, is_regression, of_table, seed)
            }
        };
        self.fit(job, &estimator, rows, |folder, _| {
            saved::trees(folder, job.algorithm, slots, n_classes).map_err(failure)
        })
    }
}

fn n_slots(slots: &[Slots]) -> usize {
    slots.iter().map(|slots| slots.len()).sum()
}

fn f64s(data: Vec<f64>) -> Array {
    Array::F64 { shape: vec![data.len()], data }
}

/// What linear models keep of their columns.
fn of_layout(slots: &[Slots]) -> Arrays {
    let u32s = |data: Vec<u32>| Array::U32 { shape: vec![data.len()], data };
    let categories = slots.iter().map(|slots| match slots {
        Slots::OneHot { n_categories, .. } => *n_categories,
        Slots::Number { .. } | Slots::Code { .. } | Slots::Words { .. } => 0,
    });
    let centers = slots.iter().map(|slots| match slots {
        Slots::Number { center, .. } => *center,
        Slots::Code { .. } | Slots::OneHot { .. } | Slots::Words { .. } => 0.0,
    });
    let mut arrays = Arrays::from([
        ("column_categories".to_owned(), u32s(categories.collect())),
        ("centers".to_owned(), f64s(centers.collect())),
    ]);
    let terms = slots.iter().map(|slots| match slots {
        Slots::Words { n_terms } => n_terms + 1,
        Slots::Number { .. } | Slots::Code { .. } | Slots::OneHot { .. } => 0,
    });
    if slots.iter().any(|slots| matches!(slots, Slots::Words { .. })) {
        arrays.insert("column_terms".to_owned(), u32s(terms.collect()));
    }
    arrays
}
