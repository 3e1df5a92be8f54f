//! Training on Spark: the encoded rows lie in a scratch folder, spark-submit runs our job on them, and the model that MLlib saved there
//! becomes arrays of ours. What is decided is decided here; the job does what its plan says.

mod cluster;
mod diagnose;
mod exchange;
mod fits;
mod found;
mod plan;
mod raw_fits;
mod rows;
mod saved;
mod scratch;
mod settings;
mod submit;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream_base::secrets::is_secret;
use millstream_base::sweep_scratch;
use millstream_learn::FitError;
use millstream_store::SharedStore;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{EngineError, Failure, Job, News};
use crate::mllib::Folder;
use crate::registry::Remedy;
use diagnose::Ended;
use exchange::{Exchange, Place};
use plan::Estimator;
use rows::WriteError;
use scratch::Scratch;
use submit::{Program, Went};

pub use cluster::SESSION;
pub use settings::{Encode, SPARK, SparkSettings, check, check_columns};

/// Of what is asked of Spark for one recipe: another number where the same rows and parameters may give another model.
pub const REVISION: u32 = 1;
pub const NAME: &str = "spark";

const JOB: &str = include_str!("job.py");
/// Before a line of the job that is for us.
const PREFIX: &str = "millstream ";
/// A cluster that was lost may be there again.
const PAUSE: Duration = Duration::from_secs(3);

pub struct Spark {
    settings: SparkSettings,
    exchange: Exchange,
}

impl Spark {
    /// `store`: where rows for a cluster go when it is a bucket.
    pub fn new(settings: SparkSettings, store: &SharedStore) -> Self {
        let exchange = match &settings.bucket {
            None => Exchange::Folder,
            Some(url) => Exchange::Bucket { store: Arc::clone(store), url: url.clone() },
        };
        Self { settings, exchange }
    }

    /// Runs a job that fits, and takes its model.
    fn fit<T>(
        &self,
        job: &Job,
        estimator: &Estimator,
        rows: &Rows,
        take: impl FnOnce(&Folder, &Facts) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let plan = |place: &Place, _: &Path| {
            let mut plan = (rows.plan)(place);
            plan.insert("estimator".to_owned(), json!(estimator.name));
            plan.insert("params".to_owned(), json!(estimator.params));
            plan.insert("model".to_owned(), json!(place.url(MODEL)));
            plan
        };
        let Ran { scratch: _scratch, place, facts } =
            self.ran(job, &Work { write: rows.write, folders: &rows.folders, n_parts: rows.n_parts, plan: &plan })?;
        let model = place.open(MODEL).map_err(|error| failure(diagnose::unreadable(&place.url(MODEL), &error)))?;
        take(&model, &facts)
    }

    /// Runs a job to its end; once more where the cluster was lost. What jobs of killed processes left behind goes first.
    fn ran(&self, job: &Job, work: &Work) -> Result<Ran, EngineError> {
        sweep_scratch(&self.settings.scratch, scratch::PREFIX);
        let program =
            submit::find(self.settings.submit.as_deref()).map_err(|problem| failed(problem, Remedy::Config))?;
        let ran = self.run(job, &program, work);
        if let Err(EngineError::Failed(failure)) = &ran
            && failure.is_lost
        {
            (job.tell)(News::Progress(format!("{}; once more", failure.problem)));
            wait(PAUSE, job.stopped)?;
            return self.run(job, &program, work);
        }
        ran
    }

    /// Of a standalone cluster: that its master listens.
    fn reach(&self) -> Result<(), EngineError> {
        let master = &self.settings.master;
        submit::reach(master).map_err(|error| {
            let problem = format!(
                "no master answers at {master}: {error}; see that it runs and that train.spark.master names it"
            );
            failed(problem, Remedy::Retry)
        })
    }

    fn run(&self, job: &Job, program: &Program, work: &Work) -> Result<Ran, EngineError> {
        let SparkSettings { master, conf, scratch: root, .. } = &self.settings;
        self.reach()?;
        let at_root = |error| failed(format!("{} cannot be written: {error}", root.display()), Remedy::Retry);
        let scratch = Scratch::new(root).map_err(at_root)?;
        let folder = scratch.path();
        let (job_file, plan_file) = (folder.join("job.py"), folder.join("plan.json"));
        (work.write)(folder).map_err(EngineError::from)?;
        let place = self.exchange.place(folder);
        for name in work.folders {
            place.send(folder, &format!("{name}/{}", rows::FILE), job.stopped).map_err(|error| match error.kind() {
                io::ErrorKind::Interrupted => FitError::Stopped.into(),
                _ => EngineError::from(WriteError::Io(error)),
            })?;
        }
        let app = format!("millstream {}", job.algorithm.name());
        // What anybody may see in a list of processes is not there.
        let (secret, plain): (Vec<_>, Vec<_>) = conf.iter().partition(|(key, _)| is_secret(key));
        let mut of_session: BTreeMap<&str, &str> =
            secret.into_iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        // As many parts as the rows ask for and not as the cluster has cores: a forest draws by parts.
        let parts = work.n_parts.unwrap_or_else(|| rows::bytes(&folder.join(ROWS)) / PART_BYTES);
        let parts = parts.clamp(1, PARTS_MOST).to_string();
        of_session.entry("spark.sql.files.minPartitionNum").or_insert(&parts);
        let of_place = place.conf();
        let of_place = of_place.iter().map(|(key, value)| (*key, value.as_str()));
        of_session.extend(of_place.filter(|(key, _)| !conf.contains_key(*key)));
        let mut plan = (work.plan)(&place, folder);
        plan.insert("app".to_owned(), json!(app));
        plan.insert("checkpoints".to_owned(), json!(place.url("checkpoints")));
        plan.insert("conf".to_owned(), json!(of_session));
        let plan = Value::Object(plan).to_string();
        std::fs::write(&job_file, JOB).and_then(|()| std::fs::write(&plan_file, plan)).map_err(at_root)?;
        let local = folder.join("local").display().to_string();
        let own = [
            ("spark.ui.enabled", "false"),
            ("spark.ui.showConsoleProgress", "false"),
            ("spark.local.dir", local.as_str()),
        ];
        // On a cluster the workers have a disk of their own.
        let own = own
            .into_iter()
            .filter(|(key, _)| !conf.contains_key(*key) && (*key != "spark.local.dir" || self.settings.is_local()));
        let plain = plain.into_iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let conf: Vec<String> = own.chain(plain).map(|(key, value)| format!("{key}={value}")).collect();
        let mut arguments: Vec<&OsStr> =
            ["--master", master, "--deploy-mode", "client", "--name", &app].map(OsStr::new).to_vec();
        arguments.extend(conf.iter().flat_map(|pair| [OsStr::new("--conf"), OsStr::new(pair)]));
        arguments.extend([job_file.as_os_str(), plan_file.as_os_str()]);
        let heard = RefCell::new(Heard::default());
        let (went, log) = submit::run(&arguments, program, folder, job.stopped, &mut |line| hear(line, job, &heard))
            .map_err(|error| failed(format!("{} cannot be run: {error}", program.path.display()), Remedy::Config))?;
        let Heard { facts, missing } = heard.into_inner();
        match (went, facts, missing) {
            (Went::Stopped, ..) => Err(FitError::Stopped.into()),
            (Went::Exited(_), _, Some((module, python))) => Err(failure(diagnose::missing_module(&module, &python))),
            // What it has saved is whole, however it went after.
            (Went::Exited(_), Some(facts), None) => Ok(Ran { scratch, place, facts }),
            (Went::Exited(status), None, None) => Err(failure(diagnose::failure(Ended::from(status), &log))),
        }
    }
}

const PART_BYTES: u64 = 8 << 20;
const PARTS_MOST: u64 = 1000;
const ROWS: &str = "rows";
const MODEL: &str = "model";

/// The rows of a fit.
struct Rows<'a> {
    /// Into folders of their own in the scratch folder, each with one file.
    write: &'a dyn Fn(&Path) -> Result<(), WriteError>,
    folders: Vec<String>,
    /// Of what Spark reads; `None`: as the bytes that were written ask for.
    n_parts: Option<u64>,
    /// What the job is told of them.
    plan: &'a dyn Fn(&Place) -> Plan,
}

type Plan = Map<String, Value>;

/// What a job is given.
struct Work<'a> {
    write: &'a dyn Fn(&Path) -> Result<(), WriteError>,
    folders: &'a [String],
    n_parts: Option<u64>,
    /// Besides what every job is told.
    plan: &'a dyn Fn(&Place, &Path) -> Plan,
}

/// A job that did its work, and where.
struct Ran {
    scratch: Scratch,
    place: Place,
    facts: Facts,
}

/// What the job tells of its fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Facts {
    iterations: Option<u32>,
}

#[derive(Debug, Default)]
struct Heard {
    /// `None` until the job has done its work.
    facts: Option<Facts>,
    /// A module, and the Python that lacks it.
    missing: Option<(String, String)>,
}

/// One line of the job.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Stage {
        stage: i64,
        done: u64,
        tasks: u64,
        active: u64,
    },
    Fitted {
        #[serde(rename = "fitted")]
        _fitted: bool,
        iterations: Option<u32>,
    },
    Missing {
        missing: String,
        python: String,
    },
    Version {
        version: String,
    },
}

/// Whether the line was for us.
fn hear(line: &str, job: &Job, heard: &RefCell<Heard>) -> bool {
    let Some(Ok(line)) = line.strip_prefix(PREFIX).map(serde_json::from_str::<Line>) else { return false };
    match line {
        Line::Stage { stage, done, tasks, active } => {
            let waits = if active == 0 && done < tasks { ", waits for an executor" } else { "" };
            (job.tell)(News::Progress(format!("Spark, stage {stage}: {done} of {tasks} tasks{waits}")));
        }
        Line::Fitted { iterations, .. } => heard.borrow_mut().facts = Some(Facts { iterations }),
        Line::Missing { missing, python } => heard.borrow_mut().missing = Some((missing, python)),
        Line::Version { version } => (job.tell)(News::Version(version)),
    }
    true
}

fn failed(problem: String, remedy: Remedy) -> EngineError {
    let problem = format!("Spark: {problem}");
    failure(Failure { problem, exit_code: None, log_tail: Vec::new(), remedy, is_lost: false })
}

fn failure(failure: Failure) -> EngineError {
    EngineError::Failed(Box::new(failure))
}

fn wait(length: Duration, stopped: &dyn Fn() -> bool) -> Result<(), EngineError> {
    const LOOK: Duration = Duration::from_millis(50);
    for _ in 0..length.as_millis() / LOOK.as_millis() {
        if stopped() {
            return Err(FitError::Stopped.into());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

impl From<WriteError> for EngineError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Fit(error) => error.into(),
            // A full disk, mostly.
            WriteError::Io(_) | WriteError::Parquet(_) | WriteError::Arrow(_) => {
                failed(error.to_string(), Remedy::Retry)
            }
        }
    }
}
