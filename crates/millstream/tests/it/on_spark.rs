//! Training on Spark: the real binary, with a real Spark where one is there (`ci/spark.sh start FOLDER`, and export what it prints), and
//! with a script in its place where the script can tell as much.

mod encode;
mod expressions;

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use millstream_store::{S3Store, Store};

use crate::common::services::s3;
use crate::common::{Bench, Served, small_disk, until};

const ROWS: u64 = 8000;
/// Of one whole run with a job for every algorithm, on a machine that does much else.
const JOBS_MOST: Duration = Duration::from_secs(600);

/// One test at a time has the cluster and the processors.
static ALONE: Mutex<()> = Mutex::new(());

struct Cluster {
    home: PathBuf,
    python: String,
    master: String,
    folder: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Cluster {
    /// `None` after saying that `test` is skipped.
    fn find(test: &str) -> Option<Self> {
        let Some(home) = std::env::var("MILLSTREAM_SPARK").ok().filter(|home| !home.is_empty()) else {
            let why = format!("{test}: no Spark (MILLSTREAM_SPARK is not set; ci/spark.sh start FOLDER)");
            assert!(std::env::var("MILLSTREAM_TEST_SERVICES").as_deref() != Ok("required"), "{why}");
            // Past the capture of the test harness: a skipped test must be seen.
            std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).unwrap();
            return None;
        };
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: set all that ci/spark.sh prints"))
        };
        Some(Self {
            home: home.into(),
            python: variable("MILLSTREAM_SPARK_PYTHON"),
            master: variable("MILLSTREAM_SPARK_MASTER"),
            folder: variable("MILLSTREAM_SPARK_FOLDER").into(),
            _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
        })
    }

    /// With which Spark reads and writes `s3a://`.
    fn jars(&self) -> PathBuf {
        std::env::var("MILLSTREAM_SPARK_JARS").expect("all that ci/spark.sh prints is set").into()
    }

    fn set_variables(&self, command: &mut Command) {
        command.env("SPARK_HOME", &self.home).env("PYSPARK_PYTHON", &self.python).env("SPARK_LOCAL_IP", "127.0.0.1");
    }

    fn script(&self, arguments: &[&str]) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ci/spark.sh");
        let [command, rest @ ..] = arguments else { panic!("a command") };
        let output = Command::new(path).arg(command).arg(&self.folder).args(rest).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A small driver that starts fast; an executor on each worker.
fn train(master: &str, rest: &str) -> String {
    format!(
        "batch.rows = {ROWS}\n[train]\nholdout = 0.2\n{rest}\n[train.spark]\nmaster = \"{master}\"\nconf = {{ \
         \"spark.driver.memory\" = \"600m\", \"spark.executor.memory\" = \"512m\", \"spark.sql.shuffle.partitions\" = 2, \
         \"spark.driver.extraJavaOptions\" = \"-XX:TieredStopAtLevel=1 -XX:+UseSerialGC\", \
         \"spark.executor.extraJavaOptions\" = \"-XX:TieredStopAtLevel=1 -XX:+UseSerialGC\" }}\n"
    )
}

/// Ratings of a taste of three parts, and measures that numbers, classes and groups follow from.
fn rows() -> String {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut normal = move || (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
    let mut draw = ChaCha8Rng::seed_from_u64(8);
    let vector = |normal: &mut dyn FnMut() -> f64| [normal(), normal(), normal()];
    let users: Vec<_> = (0..150).map(|_| vector(&mut normal)).collect();
    let items: Vec<_> = (0..60).map(|_| vector(&mut normal)).collect();
    let mut text = "user,item,rating,plays,x,y,z,town,target,up,kind\n".to_owned();
    for _ in 0..ROWS {
        let (user, item) = (draw.random_range(0..users.len()), draw.random_range(0..items.len()));
        let taste: f64 = users[user].iter().zip(&items[item]).map(|(a, b)| a * b).sum();
        let rating = (3.0 + 0.7 * taste + 0.4 * normal()).clamp(1.0, 5.0);
        let plays = 1 + draw.random_range(0..3_i64) + if taste > 0.0 { 3 } else { 0 };
        let (x, y) = (5.0 + 2.0 * normal(), draw.random::<f64>() * 10.0);
        let (town, group) = (draw.random_range(0..3_usize), draw.random_range(0..3_usize));
        let z = [-20.0, 0.0, 20.0][group] + 2.0 * normal();
        let target = 3.0 * x - 2.0 * y + [0.0, 4.0, -3.0][town] + if y > 5.0 { 6.0 } else { 0.0 } + normal();
        let up = draw.random::<f64>() < 1.0 / (1.0 + (5.0 - x - 0.5 * (y - 5.0)).exp());
        let kind = if draw.random::<f64>() < 0.9 { group } else { draw.random_range(0..3) };
        let (town, kind) = (["Hull", "Leeds", "York"][town], ["low", "mid", "high"][kind]);
        let up = if up { "Up" } else { "Down" };
        writeln!(text, "{user},m{item},{rating:.1},{plays},{x:.4},{y:.4},{z:.4},{town},{target:.4},{up},{kind}")
            .unwrap();
    }
    text
}

/// What is compared of a model, by how much the engines may differ (as a share of the local one's), and its lines.
const MODELS: &[Compared] = &[
    (
        "taste",
        "rmse",
        0.03,
        "algorithm = \"als\"\nuser = \"user\"\nitem = \"item\"\nrating = \"rating\"\nparams = { rank = 4, early_stop = 0 }",
    ),
    (
        "watched",
        "ndcg_10",
        0.1,
        "algorithm = \"als\"\nuser = \"user\"\nitem = \"item\"\nrating = \"plays\"\nparams = { rank = 4, early_stop = 0, feedback \
         = \"implicit\", lambda_scale = \"ratings\" }",
    ),
    ("groups", "silhouette", 0.01, "algorithm = \"kmeans\"\nfeatures = [\"x\", \"z\", \"town\"]\nparams = { k = 3 }"),
    (
        "line",
        "rmse",
        1e-6,
        "algorithm = \"linear_regression\"\nfeatures = [\"x\", \"y\", \"town\"]\ntarget = \"target\"\nparams = { l2 = 30.0 }",
    ),
    (
        "sign",
        "log_loss",
        1e-4,
        "algorithm = \"logistic_regression\"\nfeatures = [\"x\", \"y\", \"town\"]\ntarget = \"up\"\nparams = { l2 = 20.0 }",
    ),
    ("classes", "log_loss", 1e-3, "algorithm = \"logistic_regression\"\nfeatures = [\"x\", \"z\"]\ntarget = \"kind\""),
    (
        "forest",
        "rmse",
        0.1,
        "algorithm = \"random_forest\"\nfeatures = [\"x\", \"town\", \"y\"]\ntarget = \"target\"\nparams = { trees = 10, max_depth = 6 }",
    ),
    (
        "wood",
        "log_loss",
        0.1,
        "algorithm = \"random_forest\"\nfeatures = [\"x\", \"z\"]\ntarget = \"kind\"\nparams = { trees = 10, max_depth = 5 }",
    ),
    (
        "boost",
        "rmse",
        // Its trees grow level by level, ours leaf by leaf: with a category they differ the most.
        0.2,
        "algorithm = \"gradient_boosting\"\nfeatures = [\"x\", \"y\", \"town\"]\ntarget = \"target\"\nparams = { rounds = 20, learning_rate = 0.3 }",
    ),
    (
        "rise",
        "log_loss",
        0.1,
        "algorithm = \"gradient_boosting\"\nfeatures = [\"x\", \"y\"]\ntarget = \"up\"\nparams = { rounds = 15 }",
    ),
];

type Compared = (&'static str, &'static str, f64, &'static str);

/// Trained on both engines, and compared.
fn both(cluster: &Cluster, master: &str, models: &[Compared]) -> (Bench, Served) {
    let mut lines = String::new();
    for (name, _, _, model) in models {
        for engine in ["local", "spark"] {
            writeln!(lines, "[[model]]\nname = \"{name}_{engine}\"\nengine = \"{engine}\"\n{model}").unwrap();
        }
    }
    let bench = Bench::with_source(rows().as_bytes(), &format!("{}{lines}", train(master, "")));
    let served = done(&bench, cluster);
    for (name, measure, tolerance, _) in models {
        let version = |engine: &str| served.ask(&format!("/v1/models/{name}_{engine}/versions/1"));
        let of = |engine: &str| {
            let file = bench.read(&format!("models/{name}_{engine}/000001/evaluations/000001.json"));
            assert_eq!(file["kind"], "holdout", "{file}");
            let found = found(&file, measure).unwrap_or_else(|| panic!("no {measure} in {file}"));
            (found, version(engine)["rows"].clone())
        };
        let ((local, local_rows), (spark, spark_rows)) = (of("local"), of("spark"));
        assert_eq!(local_rows, spark_rows, "{name}");
        assert!((local - spark).abs() <= tolerance * local.abs(), "{name}: {measure} {local} here, {spark} on Spark");
        let file = bench.read(&format!("models/{name}_spark/000001/model.json"));
        assert_eq!((&file["engine"]["name"], &file["engine"]["revision"]), (&json!("spark"), &json!(1)));
        assert_eq!(file["engine"]["settings"]["master"], json!(master));
        assert!(file["engine"]["version"].as_str().unwrap().starts_with("4."), "{file}");
        assert_eq!(bench.read(&format!("models/{name}_local/000001/model.json")).get("engine"), None);
    }
    (bench, served)
}

/// Serves, once all is trained.
fn done(bench: &Bench, cluster: &Cluster) -> Served {
    let served = bench.serve_with(&[], |command| cluster.set_variables(command));
    let begun = Instant::now();
    let mut progress = false;
    loop {
        let status = served.ask("/v1/status");
        progress |= status["training"].to_string().contains("Spark, stage ");
        assert_ne!(status["state"], "failed", "{status}");
        if status["state"] == "done" {
            break;
        }
        assert!(begun.elapsed() < JOBS_MOST, "{status}");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(progress, "no stage was ever told");
    served
}

#[test]
fn each_algorithm_learns_the_same_on_both_engines() {
    let Some(cluster) = Cluster::find("each_algorithm_learns_the_same_on_both_engines") else { return };
    // Where Spark runs is nothing to an algorithm, and executors of their own take their time to start.
    let (on_cluster, here) = MODELS.split_at(4);
    both(&cluster, "local[2]", here).1.stopped();
    let (bench, served) = both(&cluster, &cluster.master, on_cluster);
    // Served as any other: fold-in, clusters.
    let rated = json!({ "ratings": [{ "item": "m1", "rating": 5 }, { "item": "m2", "rating": 1 }], "n": 3 });
    let listed = served.send("/v1/models/taste_spark/recommend", &rated);
    assert_eq!(listed["items"].as_array().unwrap().len(), 3, "{listed}");
    let clusters = served.ask("/v1/models/groups_spark/clusters");
    assert_eq!(clusters["clusters"].as_array().or(clusters["items"].as_array()).unwrap().len(), 3, "{clusters}");
    let answers = ["local", "spark"].map(|engine| {
        served.ask(&format!("/v1/models/line_{engine}/predict?x=5&y=3&town=York"))["prediction"].as_f64().unwrap()
    });
    assert!((answers[0] - answers[1]).abs() < 1e-6, "{answers:?}");
    served.stopped();
    assert_eq!(std::fs::read_dir(bench.path("millstream-data/scratch")).map_or(0, Iterator::count), 0);
    let verified = bench.output(&["models", "verify", "test.toml", "taste_spark", "1"]);
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && said.contains("spark 4.") && said.contains("nothing here repeats"), "{said}");
    // All is known: no job begins, and none could.
    bench.run_well(&["--set", "train.spark.submit=/nowhere"]);
}

#[test]
fn a_cluster_takes_rows_from_a_bucket_and_leaves_nothing_there() {
    let test = "a_cluster_takes_rows_from_a_bucket_and_leaves_nothing_there";
    let (Some(cluster), Some(s3)) = (Cluster::find(test), s3(test)) else { return };
    // So many that there are checkpoints.
    let model = ALS.replace("iterations = 60", "iterations = 12");
    let bench = Bench::with_source(rows().as_bytes(), &(train(&cluster.master, "engine = \"spark\"") + &model));
    let place = format!("{}/tests/{test}-{}", s3.url.trim_end_matches('/'), uuid::Uuid::new_v4().simple());
    let (bucket, prefix) = place.strip_prefix("s3://").unwrap().split_once('/').unwrap();
    let set = ["--set", &format!("store.url={place}")];
    let run = |more: &[&str]| {
        let arguments = [&["run", "test.toml", "--exit-when-done"], &set[..], more].concat();
        let served = bench.spawn_with(&arguments, |command| {
            cluster.set_variables(command);
            command.envs(s3.variables.clone());
        });
        served.end()
    };
    let (code, said) = run(&[]);
    assert!(code == 1 && said.contains("has no file system for s3a://"), "{said}");
    let jars = std::fs::read_dir(cluster.jars()).unwrap().map(|jar| jar.unwrap().path().display().to_string());
    let jars = format!("train.spark.conf.spark.jars={}", jars.collect::<Vec<_>>().join(","));
    let (code, said) = run(&["--set", &jars]);
    assert!(code == 0 && said.contains("taste@1 trained"), "{said}");
    let store = S3Store::open(bucket, prefix).unwrap();
    assert_eq!(store.list("scratch/").unwrap(), [""; 0]);
}

/// The number under a name, wherever it stands.
fn found(value: &Value, name: &str) -> Option<f64> {
    match value {
        Value::Object(map) => map.get(name).and_then(Value::as_f64).or_else(|| {
            // What it is held against stands beside it.
            map.iter().filter(|(key, _)| *key != "baseline").find_map(|(_, value)| found(value, name))
        }),
        _ => None,
    }
}

/// Whether such a process runs: one whose command line holds the text.
fn running(text: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let holds = |pid: &u32| {
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&read("cmdline")).contains(text)
    };
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(holds).collect()
}

const ALS: &str = "[[model]]\nname = \"taste\"\nalgorithm = \"als\"\nuser = \"user\"\nitem = \"item\"\nrating = \"rating\"\nparams = \
                   { iterations = 60, early_stop = 0 }\n";

#[test]
fn a_worker_and_a_driver_may_die_in_the_middle() {
    let Some(cluster) = Cluster::find("a_worker_and_a_driver_may_die_in_the_middle") else { return };
    let bench = Bench::with_source(rows().as_bytes(), &(train(&cluster.master, "engine = \"spark\"") + ALS));
    let mut served = bench.serve_with(&[], |command| cluster.set_variables(command));
    let works = |served: &Served| {
        served.wait_until("a stage", |status| {
            let progress = &status["training"][0]["progress"];
            progress.as_str().is_some_and(|text| text.starts_with("Spark, stage") && !text.contains("waits"))
        });
    };
    works(&served);
    let scratch = bench.path("millstream-data/scratch").display().to_string();
    let drivers = || running(&format!("{scratch}/millstream-spark-"));
    for pid in drivers() {
        // Of the whole group: the guard that stands beside it is a shell, and goes with it.
        let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    }
    served.wait_until("it begins once more", |status| {
        status["training"][0]["progress"].as_str().is_some_and(|text| text.contains("once more"))
    });
    works(&served);
    cluster.script(&["kill", "worker-1"]);
    served.wait_for("taste@1 trained on batch 1");
    served.stopped();
    cluster.script(&["start"]);
    assert_eq!(drivers(), [0; 0]);
    assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0);
}

#[test]
fn what_a_real_spark_lacks_is_named_and_ctrl_c_leaves_no_process() {
    let Some(cluster) = Cluster::find("what_a_real_spark_lacks_is_named_and_ctrl_c_leaves_no_process") else { return };
    let bench = Bench::with_source(rows().as_bytes(), &(train("local[1]", "engine = \"spark\"") + ALS));
    let said = |change: &dyn Fn(&mut Command)| {
        let served = bench.spawn_with(&["run", "test.toml", "--exit-when-done"], |command| {
            cluster.set_variables(command);
            command.env("TMPDIR", bench.folder.path());
            change(command);
        });
        let (code, said) = served.end();
        assert_eq!(code, 1, "{said}");
        said
    };
    let no_java = said(&|command| {
        command.env("JAVA_HOME", "/nowhere");
    });
    assert!(no_java.contains("install a Java 17 runtime, or set JAVA_HOME"), "{no_java}");
    // Without the packages that are installed for it.
    let python = bench.path("python");
    std::fs::write(&python, format!("#!/bin/sh\nexec {} -S \"$@\"\n", cluster.python)).unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let no_numpy = said(&|command| {
        command.env("PYSPARK_PYTHON", &python).env_remove("PYSPARK_DRIVER_PYTHON");
    });
    assert!(no_numpy.contains("has no numpy: install it there"), "{no_numpy}");

    let served = bench.serve_with(&[], |command| {
        cluster.set_variables(command);
        command.env("TMPDIR", bench.folder.path());
    });
    served.wait_until("a stage", |status| status["training"][0]["progress"].is_string());
    let of_job = || running(&format!("{}/millstream-spark-", bench.folder.path().display()));
    assert!(!of_job().is_empty());
    served.signal("INT");
    let (code, said) = served.end();
    assert_eq!(code, 0, "{said}");
    assert_eq!(of_job(), [0; 0]);
    let left = std::fs::read_dir(bench.folder.path()).unwrap().filter_map(Result::ok);
    let left: Vec<_> =
        left.filter(|entry| entry.file_name().to_string_lossy().starts_with("millstream-spark-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A pipeline whose spark-submit is a script.
fn scripted(script: &str, more: &str) -> Bench {
    let bench = Bench::new(300, "");
    let path = bench.path("submit");
    std::fs::write(&path, format!("#!/bin/sh\nhere={}\n{script}\n", bench.folder.path().display())).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let model = |name: &str, engine: &str| {
        format!(
            "[[model]]\nname = \"{name}\"\nengine = \"{engine}\"\nalgorithm = \"linear_regression\"\nfeatures = [\"Open\"]\ntarget = \"Close\"\n"
        )
    };
    bench.pipeline(&format!(
        "batch.rows = 300\n[train.spark]\nsubmit = \"submit\"\n{more}\n{}{}",
        model("there", "spark"),
        model("here", "local")
    ));
    bench
}

#[test]
fn a_job_holds_up_no_model_of_this_process_and_goes_with_it() {
    let bench = scripted(
        "echo 'millstream {\"stage\": 1, \"done\": 2, \"tasks\": 4, \"active\": 1}'; echo $$ > $here/pid; sleep 600",
        "",
    );
    // What a killed process leaves behind goes with this test.
    let mut served = bench.serve_with(&[], |command| {
        command.env("TMPDIR", bench.folder.path());
    });
    served.wait_for("here@1 trained on batch 1");
    served.wait_until("its progress", |status| status["training"][0]["progress"] == "Spark, stage 1: 2 of 4 tasks");
    assert_eq!(served.ask("/v1/status")["training"][0]["model"], "there");
    let page = served.get("/now").text + &served.get("/").text;
    assert!(page.contains("Spark, stage 1: 2 of 4 tasks"), "{page}");
    let pid = std::fs::read_to_string(bench.path("pid")).unwrap();
    let is_there =
        || std::fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).is_ok_and(|line| !line.is_empty());
    assert!(is_there());
    // Nobody is left to end it but the guard.
    served.signal("KILL");
    until("the job goes with the process that began it", || (!is_there()).then_some(()));
}

#[test]
fn a_job_that_fails_leaves_what_serves_and_says_what_to_mend() {
    let bench = scripted("echo 'java.lang.OutOfMemoryError: Java heap space' >&2; exit 1", "");
    let (code, said) = bench.run(&[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("raise spark.driver.memory or spark.executor.memory in train.spark.conf"), "{said}");
    assert!(said.contains("here@1 trained"), "{said}");
    let gone = bench.run(&["--set", "train.spark.submit=gone"]).1;
    assert!(gone.contains("there is no file gone: mend train.spark.submit"), "{gone}");
    let unreached = bench.run(&["--set", "train.spark.master=spark://127.0.0.1:1"]).1;
    assert!(unreached.contains("no master answers at spark://127.0.0.1:1"), "{unreached}");
}

#[test]
fn check_says_what_spark_cannot_be_told() {
    let bench = scripted("", "master = \"mesos://x\"\nencode = \"elsewhere\"\nconf = { driver = 1 }");
    let model = "[[model]]\nname = \"m\"\nengine = \"spark\"\nalgorithm = \"kmeans\"\nfeatures = [\"Open\"]\nparams = { inits = 7 }\n\
                 [[model]]\nname = \"best\"\nengine = \"spark\"\nalgorithm = \"popularity\"\nitem = \"Open\"\n";
    let file = std::fs::read_to_string(bench.path("test.toml")).unwrap();
    std::fs::write(bench.path("test.toml"), file + model).unwrap();
    let output = bench.output(&["check", "test.toml"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(78), "{said}");
    for expected in [
        "train.spark.master = \"mesos://x\": must be \"local[*]\"",
        "train.spark.encode = \"elsewhere\": must be \"local\" or \"cluster\"",
        "train.spark.conf.driver: must be a key of Spark's",
        "model.m.params.inits: engine = \"spark\" begins once",
        "model.m.params.k: engine = \"spark\" needs the number of clusters",
        "model.best.engine = \"spark\": has no popularity; remove it",
    ] {
        assert!(said.contains(expected), "{said} lacks {expected}");
    }
}

const RISE: &str =
    "[[model]]\nname = \"rise\"\nengine = \"spark\"\nalgorithm = \"gradient_boosting\"\nfeatures = [\"x\"]\n";

#[test]
fn more_classes_than_spark_boosts_are_refused_as_soon_as_they_are_known() {
    let bench = scripted("echo ran > $here/ran; exit 1", "");
    let pipeline = |target: &str| {
        std::fs::write(bench.path("rows.csv"), rows()).unwrap();
        bench.pipeline(&format!("batch.rows = {ROWS}\n[train.spark]\nsubmit = \"submit\"\n{RISE}target = {target}\n"));
    };
    let check = || {
        let output = bench.output(&["check", "test.toml"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        (output.status.code(), said)
    };
    // The text of the target says it.
    pipeline("\"case when y > 6 then 'high' when y > 3 then 'mid' else 'low' end\"");
    let (code, said) = check();
    assert!(
        code == Some(78) && said.contains("has 3 classes, and engine = \"spark\" boosts two: take random_forest"),
        "{said}"
    );
    pipeline("\"case when y > 5 then 'high' else 'low' end\"");
    assert_eq!(check().0, Some(0));
    // The rows say it, before any of them is encoded or sent.
    pipeline("\"kind\"");
    let (code, said) = check();
    assert!(code == Some(0) && said.contains("engine = \"spark\" boosts two classes"), "{said}");
    let (code, said) = bench.run(&[]);
    assert!(
        code == 1 && said.contains("target: Spark boosts two classes, and the target has 3: take random_forest"),
        "{said}"
    );
    assert!(!bench.path("ran").exists());
}

#[test]
fn a_full_scratch_folder_is_told_and_holds_up_nothing() {
    let what = "a full scratch folder of a Spark job";
    // The rows do not fit; and then they do, and what the job writes does not.
    for (size, script) in [
        ("64k", "echo ran > $here/ran"),
        ("16m", "dd if=/dev/zero of=more bs=1M 2>&1; echo 'java.io.IOException: No space left on device' >&2; exit 1"),
    ] {
        let bench = scripted(script, "");
        let Some(disk) = small_disk(&bench, size, what) else { return };
        std::fs::write(bench.path("rows.csv"), many_candles()).unwrap();
        let served =
            bench.spawn_with(&["run", "test.toml", "--exit-when-done", "--set", "batch.rows=20000"], |command| {
                command.env("TMPDIR", &disk.folder);
            });
        let (code, said) = served.end();
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("No space left on device") && said.contains("here@1 trained"), "{said}");
        assert!(!bench.path("ran").exists(), "a job began without its rows");
        let left = std::fs::read_dir(&disk.folder).unwrap().filter_map(Result::ok);
        let left: Vec<_> =
            left.filter(|entry| entry.file_name().to_string_lossy().starts_with("millstream-spark-")).collect();
        assert!(left.is_empty() && running(&disk.folder.display().to_string()).is_empty(), "{left:?}");
    }
}

fn many_candles() -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    millstream_stream::source::demo::write_bitcoin(file.path(), 20_000, 1).unwrap();
    std::fs::read(file.path()).unwrap()
}
