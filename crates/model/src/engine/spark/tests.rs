//! The engine without a Spark: what stands in for spark-submit is a script.

use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millstream_learn::{Algorithm, Column, ParamValue, Seed, Table};
use millstream_store::LocalStore;

use super::*;
use crate::engine::{Engine, Target};
use crate::registry::Fitted;

/// A folder with a script for spark-submit in it, and another for what jobs leave.
struct Fake {
    folder: tempfile::TempDir,
    told: Mutex<Vec<News>>,
    stopped: AtomicBool,
}

impl Fake {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spark-submit");
        let here = folder.path().display();
        std::fs::write(&path, format!("#!/bin/sh\nhere={here}\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, told: Mutex::default(), stopped: AtomicBool::new(false) }
    }

    fn spark(&self) -> Spark {
        let store: SharedStore = Arc::new(LocalStore::open(self.folder.path()).unwrap());
        let settings = SparkSettings {
            master: "local[1]".to_owned(),
            submit: Some(self.folder.path().join("spark-submit")),
            conf: BTreeMap::from([("spark.hadoop.fs.s3a.secret.key".to_owned(), "geheim".to_owned())]),
            encode: Encode::Local,
            scratch: self.folder.path().join("scratch"),
            bucket: None,
        };
        Spark::new(settings, &store)
    }

    /// A linear fit of a few rows.
    fn fit(&self) -> Result<Fitted, EngineError> {
        let numbers: Vec<f64> = (0..20).map(f64::from).collect();
        let table = Table::new(vec![Column::Numeric(numbers.clone())]).unwrap();
        let params = BTreeMap::from([("l2".to_owned(), ParamValue::Float(1.0))]);
        let job = Job {
            algorithm: Algorithm::LinearRegression,
            params: &params,
            seed: Seed(1),
            stopped: &|| self.stopped.load(Ordering::Relaxed),
            tell: &|news| self.told.lock().unwrap().push(news),
        };
        self.spark().fit_rows(&job, &table, &Target::Numbers(numbers))
    }

    fn failure(&self) -> Failure {
        match self.fit() {
            Err(EngineError::Failed(failure)) => *failure,
            other => panic!("{other:?}"),
        }
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn left(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("scratch")).map_or(0, Iterator::count)
    }
}

/// Whether a process of this number runs still; one that ended and that nobody has asked after does not.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with('Z'))
}

#[test]
fn a_job_that_fails_shows_the_end_of_its_log_and_leaves_nothing() {
    let fake = Fake::new("echo one line of it >&2; seq 1 5000; echo 'ValueError: no such thing' >&2; exit 7");
    let failure = fake.failure();
    assert_eq!((failure.exit_code, failure.remedy, failure.is_lost), (Some(7), Remedy::Config, false));
    assert!(failure.log_tail.contains(&"ValueError: no such thing".to_owned()), "{failure}");
    assert!(failure.log_tail.len() <= 12, "{failure}");
    assert_eq!(fake.left(), 0);
}

#[test]
fn what_the_job_is_told_lies_beside_it_and_no_secret_is_on_the_command_line() {
    let fake = Fake::new(
        "echo \"$@\" > $here/arguments; for last; do :; done; cp $last $here/plan; ls rows > $here/rows; exit 1",
    );
    fake.failure();
    let (arguments, plan) = (fake.file("arguments"), fake.file("plan"));
    assert!(arguments.starts_with("--master local[1] --deploy-mode client"), "{arguments}");
    assert!(!arguments.contains("geheim") && plan.contains("geheim"), "{arguments}");
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    assert_eq!((plan["estimator"].as_str(), &plan["params"]["solver"]), (Some("LinearRegression"), &json!("normal")));
    assert!(plan["rows"].as_str().unwrap().starts_with("file:///"), "{plan}");
    assert_eq!(fake.file("rows"), "rows.parquet\n");
}

#[test]
fn progress_and_the_release_are_told_and_other_lines_are_log() {
    let fake = Fake::new(
        "echo 'millstream {\"version\": \"4.0.1\"}'
echo 'millstream {\"stage\": 3, \"done\": 5, \"tasks\": 8, \"active\": 2}'
echo 'millstream {\"stage\": 4, \"done\": 0, \"tasks\": 8, \"active\": 0}'
echo 'millstream of something else'
echo 'millstream {\"missing\": \"numpy\", \"python\": \"/usr/bin/python3\"}'; exit 3",
    );
    let failure = fake.failure();
    assert!(failure.problem.contains("/usr/bin/python3, has no numpy: install it there"), "{failure}");
    let told = fake.told.into_inner().unwrap();
    let progress = |text: &str| News::Progress(text.to_owned());
    assert_eq!(
        told,
        [
            News::Version("4.0.1".to_owned()),
            progress("Spark, stage 3: 5 of 8 tasks"),
            progress("Spark, stage 4: 0 of 8 tasks, waits for an executor")
        ]
    );
}

#[test]
fn a_job_that_lost_its_cluster_is_begun_once_more_and_another_is_not() {
    let counts = |end: &str| {
        let fake = Fake::new(&format!("echo once >> $here/begun; {end}"));
        let failure = fake.failure();
        (fake.file("begun").lines().count(), failure.remedy)
    };
    assert_eq!(counts("echo 'SparkContext was shut down' >&2; exit 1"), (2, Remedy::Retry));
    assert_eq!(counts("kill -9 $$"), (2, Remedy::Retry));
    assert_eq!(counts("exit 1"), (1, Remedy::Config));
}

#[test]
fn a_model_that_is_none_is_an_error() {
    let fake = Fake::new(
        "mkdir model; echo '{}' > model/metadata; echo 'millstream {\"fitted\": true, \"iterations\": null}'",
    );
    let failure = fake.failure();
    assert!(failure.problem.contains("cannot be used"), "{failure}");
    assert_eq!(fake.left(), 0);
}

#[test]
fn a_scratch_folder_that_cannot_be_made_is_told_and_tried_again() {
    let fake = Fake::new("exit 0");
    std::fs::write(fake.folder.path().join("scratch"), "a file").unwrap();
    let failure = fake.failure();
    assert!(failure.problem.contains("/scratch cannot be written"), "{failure}");
    assert_eq!(failure.remedy, Remedy::Retry);
}

#[test]
fn a_stop_ends_the_whole_process_group() {
    let fake = Fake::new(
        "sh -c 'trap \"\" TERM; echo $$ > '$here'/child; while :; do sleep 1; done' & echo $$ > $here/leader; wait",
    );
    std::thread::scope(|scope| {
        let fitted = scope.spawn(|| fake.fit());
        let begun = Instant::now();
        while fake.file("child").is_empty() || fake.file("leader").is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(20));
        }
        let pids = [fake.file("leader"), fake.file("child")];
        assert!(pids.iter().all(|pid| runs(pid)));
        fake.stopped.store(true, Ordering::Relaxed);
        assert!(matches!(fitted.join().unwrap(), Err(EngineError::Fit(FitError::Stopped))));
        assert!(!pids.iter().any(|pid| runs(pid)));
    });
    assert_eq!(fake.left(), 0);
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let fake = Fake::new("exit 0");
    std::fs::remove_file(fake.folder.path().join("spark-submit")).unwrap();
    let failure = fake.failure();
    assert!(failure.problem.contains("mend train.spark.submit"), "{failure}");
    let unreached = submit::reach("spark://127.0.0.1:1").unwrap_err();
    assert!(unreached.contains("refused"), "{unreached}");
    assert_eq!(submit::reach("yarn"), Ok(()));
}
