//! Whatever fits, it is asked through one seam, and what it does not fit leaves nothing behind.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use millstream_learn::als;
use millstream_learn::content::{self, Corpus};
use millstream_learn::popularity::{self, Sums};
use millstream_learn::{Algorithm, Column, FitError, ParamFault, ParamValue, Seed, Table, kmeans, neighbours};

use super::grouping;
use crate::engine::{Engine, EngineError, Failure, Job, Local, News, RatingRows, Target};
use crate::model::{Missing, Model};
use crate::registry::{Fitted, Remedy};
use crate::train::fixture::*;
use crate::train::{TrainReport, Trainer};

/// Fits as `Local` does after it has been told to.
struct Watched {
    fits: Mutex<Vec<Algorithm>>,
    supports: fn() -> Result<(), EngineError>,
    begins: fn() -> Result<(), EngineError>,
}

impl Watched {
    fn new(supports: fn() -> Result<(), EngineError>, begins: fn() -> Result<(), EngineError>) -> Arc<Self> {
        Arc::new(Self { fits: Mutex::default(), supports, begins })
    }

    fn begin(&self, job: &Job) -> Result<(), EngineError> {
        self.fits.lock().unwrap().push(job.algorithm);
        (self.begins)()
    }
}

impl Engine for Watched {
    fn supports(
        &self,
        algorithm: Algorithm,
        params: &BTreeMap<String, ParamValue>,
        missing: Missing,
    ) -> Result<(), EngineError> {
        (self.supports)()?;
        Local.supports(algorithm, params, missing)
    }

    fn fit_rows(&self, job: &Job, table: &Table, target: &Target) -> Result<Fitted, EngineError> {
        self.begin(job)?;
        Local.fit_rows(job, table, target)
    }

    fn fit_clusters(&self, job: &Job, table: &Table) -> Result<kmeans::Model, EngineError> {
        self.begin(job)?;
        Local.fit_clusters(job, table)
    }

    fn fit_neighbours(&self, job: &Job, table: &Table) -> Result<neighbours::Model, EngineError> {
        self.begin(job)?;
        Local.fit_neighbours(job, table)
    }

    fn fit_ratings(&self, job: &Job, ratings: &RatingRows) -> Result<als::Fit, EngineError> {
        self.begin(job)?;
        Local.fit_ratings(job, ratings)
    }

    fn fit_content(&self, job: &Job, corpus: &Corpus) -> Result<content::Model, EngineError> {
        self.begin(job)?;
        Local.fit_content(job, corpus)
    }

    fn fit_popularity(&self, job: &Job, sums: &Sums) -> Result<popularity::Model, EngineError> {
        self.begin(job)?;
        Local.fit_popularity(job, sums)
    }
}

fn trainer(fixture: &Fixture, engine: &Arc<Watched>, models: Vec<Model>) -> Trainer {
    let mut trainer = fixture.trainer(0.2, models);
    trainer.engine = Arc::clone(engine) as Arc<dyn Engine>;
    trainer
}

#[test]
fn every_algorithm_is_fitted_by_the_engine() {
    let (fixture, models) = grouping::of_every_algorithm();
    let engine = Watched::new(|| Ok(()), || Ok(()));
    let report = fixture.run(&trainer(&fixture, &engine, models));
    assert_eq!((report.failed, report.trained.len()), (vec![], Algorithm::ALL.len()));
    assert_eq!(*engine.fits.lock().unwrap(), Algorithm::ALL);
}

/// What comes of all models where the engine answers so, of two passes; and how often it began to fit.
fn refused(
    supports: fn() -> Result<(), EngineError>,
    begins: fn() -> Result<(), EngineError>,
) -> ([TrainReport; 2], usize) {
    let (fixture, models) = grouping::of_every_algorithm();
    let engine = Watched::new(supports, begins);
    let trainer = trainer(&fixture, &engine, models);
    let reports = [fixture.run(&trainer), fixture.run(&trainer)];
    assert_eq!(fixture.store.list("models/").unwrap(), [""; 0], "nothing is published");
    let fits = engine.fits.lock().unwrap().len();
    (reports, fits)
}

#[test]
fn what_an_engine_does_not_support_is_said_once_and_not_begun() {
    let fault =
        || Err(EngineError::Params(vec![ParamFault { name: "rank".to_owned(), message: "too long".to_owned() }]));
    let ([first, second], fits) = refused(fault, || Ok(()));
    assert_eq!((first.failed.len(), fits), (Algorithm::ALL.len(), 0));
    assert!(first.failed.iter().all(|(_, reason)| reason.ends_with("on batch 1: params.rank: too long")), "{first:?}");
    assert_eq!(second, TrainReport::default());
}

#[test]
fn an_engine_that_fails_is_said_once_and_one_that_was_stopped_is_asked_again() {
    let ([first, second], _) = refused(|| Ok(()), || Err(FitError::TargetTooLarge.into()));
    assert_eq!(first.failed.len(), Algorithm::ALL.len());
    assert!(first.failed.iter().all(|(_, reason)| reason.contains("the fit failed: the target")), "{first:?}");
    assert_eq!(second, TrainReport::default());
    let (reports, fits) = refused(|| Ok(()), || Err(FitError::Stopped.into()));
    assert_eq!((reports, fits), ([TrainReport::default(), TrainReport::default()], 2 * Algorithm::ALL.len()));
}

#[test]
fn a_fit_of_many_steps_tells_how_far_it_is() {
    let numbers: Vec<f64> = (0..300).map(f64::from).collect();
    let table = Table::new(vec![Column::Numeric(numbers.clone())]).unwrap();
    let first = |algorithm, steps: &str| {
        let params = [(steps.to_owned(), ParamValue::Integer(30))].into();
        let told = Mutex::new(Vec::new());
        let tell = |news| told.lock().unwrap().push(news);
        let job = Job { algorithm, params: &params, seed: Seed(1), stopped: &|| false, tell: &tell };
        Local.fit_rows(&job, &table, &Target::Numbers(numbers.clone())).unwrap();
        told.into_inner().unwrap().swap_remove(0)
    };
    assert_eq!(first(Algorithm::RandomForest, "trees"), News::Progress("tree 1 of 30".to_owned()));
    assert_eq!(first(Algorithm::GradientBoosting, "rounds"), News::Progress("round 1 of 30".to_owned()));
}

/// What may pass by itself.
fn lost() -> Result<(), EngineError> {
    let problem = "the cluster was lost".to_owned();
    Err(Box::new(Failure { problem, exit_code: None, log_tail: Vec::new(), remedy: Remedy::Retry, is_lost: true })
        .into())
}

#[test]
fn a_training_that_fails_and_then_succeeds_has_not_failed() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let (fixture, models) = grouping::of_every_algorithm();
    let never = trainer(&fixture, &Watched::new(|| Ok(()), lost), models.clone());
    assert_eq!((fixture.run(&never), fixture.run(&never)), Default::default());
    let failed = fixture.finish(&never).failed;
    assert_eq!(failed.len(), Algorithm::ALL.len(), "each once: {failed:?}");
    assert!(failed.iter().all(|(_, reason)| reason.ends_with("on batch 1: the cluster was lost")), "{failed:?}");

    let at_last = || if ASKED.fetch_add(1, Ordering::Relaxed) < Algorithm::ALL.len() { lost() } else { Ok(()) };
    let at_last = trainer(&fixture, &Watched::new(|| Ok(()), at_last), models);
    assert_eq!(fixture.run(&at_last), TrainReport::default());
    let report = fixture.finish(&at_last);
    assert_eq!((report.failed, report.trained.len()), (vec![], Algorithm::ALL.len()));
}
