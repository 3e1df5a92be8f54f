//! SIGKILL at random moments, again and again, of whoever is at work: `run` whole, or the broker, the replay and two ingest workers as
//! processes of their own; on local disk and on S3, with 1 and 3 partitions. Afterwards every record is in exactly one batch, exactly
//! where an undisturbed run puts it.
//!
//! `MILLSTREAM_KILLS` says how many kills in all (40 unless given; `.ci/run` takes 200), `MILLSTREAM_KILLS_SEED` repeats a run.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{self, Bench, Part, finish, part_of};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

const ROWS: u64 = 12_000;
/// Slow enough that kills meet every stage at work.
const RATE: u64 = 3000;
/// A test ends with an error, not with the patience of who waits for it.
const LONGEST: Duration = Duration::from_secs(600);

/// Where the store lies, and the variables to reach it.
struct Place {
    url: Option<String>,
    variables: BTreeMap<String, String>,
}

fn kills() -> u64 {
    std::env::var("MILLSTREAM_KILLS").map_or(40, |text| text.parse().unwrap())
}

fn seed() -> u64 {
    let given = std::env::var("MILLSTREAM_KILLS_SEED").ok().map(|text| text.parse().unwrap());
    let seed = given.unwrap_or_else(|| rand::rng().random());
    eprintln!("MILLSTREAM_KILLS_SEED={seed}");
    seed
}

fn rest(partitions: u64, place: &Place) -> String {
    let url = place.url.as_ref().map_or(String::new(), |url| format!("store.url = \"{url}\"\n"));
    format!(
        "{url}batch.rows = 700\nstream.partitions = {partitions}\nstream.data = \"topic\"\n\
         stream.\"session.timeout.ms\" = 6000\ntrain.holdout = 0.0\n"
    )
}

/// What the manifests say, through the command line: the same on every store.
fn parts(bench: &Bench, place: &Place) -> Vec<Part> {
    let ask = |arguments: &[&str]| {
        let output = bench.command(arguments).envs(&place.variables).output().unwrap();
        assert!(output.status.success(), "{}", finish(&output).1);
        String::from_utf8(output.stdout).unwrap()
    };
    let batches = ask(&["batches", "list", "test.toml"]).lines().count() - 1;
    let shown = (1..=batches).map(|batch| ask(&["batches", "show", "test.toml", &batch.to_string()]));
    let mut parts = Vec::new();
    for batch in shown.map(|text| serde_json::from_str::<Value>(&text).unwrap()) {
        parts.extend(batch["parts"].as_array().unwrap().iter().map(part_of));
    }
    parts
}

fn undisturbed(partitions: u64) -> Vec<Part> {
    let here = Place { url: None, variables: BTreeMap::new() };
    let bench = Bench::new(ROWS, &rest(partitions, &here));
    bench.run_well(&[]);
    parts(&bench, &here)
}

/// Killed at each named step of a cut and of a commit, and started again.
fn check_named_points(partitions: u64, place: &dyn Fn() -> Place) {
    let expected = undisturbed(partitions);
    let steps = ["before_data", "after_data", "before_manifest", "after_manifest"].map(|step| format!("part.{step}"));
    for point in steps.into_iter().chain(["cut.before".to_owned(), "cut.after".to_owned()]) {
        let place = place();
        let bench = Bench::new(ROWS, &rest(partitions, &place));
        let run = |kill_at: Option<String>| {
            let mut command = bench.command(&["run", "test.toml", "--exit-when-done"]);
            command.envs(&place.variables).envs(kill_at.map(|point| ("MILLSTREAM_KILL_AT", point)));
            command.output().unwrap()
        };
        let killed = run(Some(format!("{point}:3")));
        assert_eq!(killed.status.code(), None, "{point} was not reached: {}", finish(&killed).1);
        let ended = run(None);
        assert_eq!(ended.status.code(), Some(0), "{}", finish(&ended).1);
        assert_eq!(parts(&bench, &place), expected, "{point}");
    }
}

/// One process of the pipeline, started again whenever it is killed, until it ends by itself.
struct Process {
    arguments: Vec<String>,
    child: Option<Child>,
    /// Goes on until it is killed.
    lasting: bool,
}

impl Process {
    fn start(&mut self, bench: &Bench, place: &Place) {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let mut command: Command = bench.command(&arguments);
        command.envs(&place.variables).stdin(Stdio::null()).stdout(Stdio::null());
        let said = std::fs::OpenOptions::new().create(true).append(true).open(bench.path("said.txt")).unwrap();
        self.child = Some(command.stderr(said).spawn().unwrap());
    }

    /// True once it has ended well; another end is an error.
    fn has_ended(&mut self, bench: &Bench) -> bool {
        let Some(child) = &mut self.child else { return true };
        let Some(status) = child.try_wait().unwrap() else { return false };
        let said = || std::fs::read_to_string(bench.path("said.txt")).unwrap();
        assert_eq!((status.code(), self.lasting), (Some(0), false), "{:?}:\n{}", self.arguments, said());
        self.child = None;
        true
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn processes(apart: bool) -> Vec<Process> {
    let process = |arguments: &[&str], lasting| Process {
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        child: None,
        lasting,
    };
    let rate = format!("source.rate={RATE}");
    // The broker comes back where it was.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    if !apart {
        return vec![process(&["run", "test.toml", "--exit-when-done", "--set", &rate], false)];
    }
    // Named, so that no worker that starts while it is dead opens the log itself, at another address.
    let servers = format!("stream.bootstrap.servers={address}");
    vec![
        process(&["broker", "--listen", &address, "--data", "topic"], true),
        process(&["replay", "test.toml", "--set", &rate, "--set", &servers], false),
        process(&["ingest", "test.toml", "--exit-when-done", "--set", &servers], false),
        process(&["ingest", "test.toml", "--exit-when-done", "--set", &servers], false),
    ]
}

/// Streams until so many kills are done; a stream that ends before is checked and followed by another one.
fn check(apart: bool, partitions: u64, kills: u64, place: &dyn Fn() -> Place) {
    let expected = undisturbed(partitions);
    let mut random = ChaCha8Rng::seed_from_u64(seed());
    let started = Instant::now();
    let mut killed = 0;
    while killed < kills {
        let place = place();
        let bench = Bench::new(ROWS, &rest(partitions, &place));
        let mut processes = processes(apart);
        for process in &mut processes {
            process.start(&bench, &place);
        }
        loop {
            assert!(started.elapsed() < LONGEST, "{}", std::fs::read_to_string(bench.path("said.txt")).unwrap());
            std::thread::sleep(Duration::from_millis(random.random_range(20..900)));
            let mut at_work: Vec<&mut Process> =
                processes.iter_mut().filter_map(|process| (!process.has_ended(&bench)).then_some(process)).collect();
            if at_work.iter().all(|process| process.lasting) {
                break;
            }
            if killed < kills {
                let victim = random.random_range(0..at_work.len());
                at_work[victim].kill();
                killed += 1;
                std::thread::sleep(Duration::from_millis(random.random_range(0..200)));
                at_work[victim].start(&bench, &place);
            }
        }
        drop(processes);
        assert_eq!(parts(&bench, &place), expected);
        let verified = bench.command(&["batches", "verify", "test.toml"]).envs(&place.variables).output().unwrap();
        assert!(finish(&verified).1.contains(": whole"), "{}", finish(&verified).1);
    }
}

fn here() -> Place {
    Place { url: None, variables: BTreeMap::new() }
}

/// A prefix of its own in the bucket.
fn on_s3(s3: &common::services::S3) -> Place {
    let url = format!("{}/kills-{}", s3.url, uuid::Uuid::new_v4().simple());
    Place { url: Some(url), variables: s3.variables.clone() }
}

#[test]
fn run_on_local_disk() {
    check(false, 1, kills() / 8, &here);
    check(false, 3, kills() / 8, &here);
}

#[test]
fn broker_replay_and_two_workers_on_local_disk() {
    check(true, 1, kills() / 8, &here);
    check(true, 3, kills() / 8, &here);
}

#[test]
fn run_on_s3() {
    let Some(s3) = common::services::s3("run_on_s3") else { return };
    check(false, 1, kills() / 8, &|| on_s3(&s3));
    check(false, 3, kills() / 8, &|| on_s3(&s3));
}

#[test]
fn broker_replay_and_two_workers_on_s3() {
    let Some(s3) = common::services::s3("broker_replay_and_two_workers_on_s3") else { return };
    check(true, 1, kills() / 8, &|| on_s3(&s3));
    check(true, 3, kills() / 8, &|| on_s3(&s3));
}

#[test]
fn run_on_s3_at_every_step_of_a_commit() {
    let Some(s3) = common::services::s3("run_on_s3_at_every_step_of_a_commit") else { return };
    check_named_points(1, &|| on_s3(&s3));
    check_named_points(3, &|| on_s3(&s3));
}
