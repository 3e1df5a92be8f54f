//! Two trainers and three replicas on one store, killed at random while batches come and the alias moves: versions stay unique, the alias
//! moves forward, and nobody answers by half a version or by another version's numbers. On local disk and on S3.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::services::{self, S3};
use crate::common::{Answer, Bench, BrokerProcess, Served, finish, until};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

const BATCH_ROWS: u64 = 100;
const BATCHES: u64 = 40;
/// So that versions come for some 15 seconds.
const RATE: u64 = 250;
const LONGEST: Duration = Duration::from_secs(300);
const MODELS: [&str; 2] = ["rule", "other"];

/// Batch n has y = 1000 n + 2 a + 3 b: what a version answers says of which batch it is.
fn rows() -> Vec<u8> {
    let row = |i: u64| {
        let (a, b) = (i % 97, i * 31 % 89);
        format!("{a},{b},{}\n", 1000 * (i / BATCH_ROWS + 1) + 2 * a + 3 * b)
    };
    format!("a,b,y\n{}", (0..BATCHES * BATCH_ROWS).map(row).collect::<String>()).into_bytes()
}

fn pipeline() -> String {
    let model = |name: &&str| {
        format!(
            "[[model]]\nname = \"{name}\"\nalgorithm = \"linear_regression\"\ntrain_on = \"each\"\nfeatures = [\"a\", \"b\"]\ntarget = \"y\"\n"
        )
    };
    format!(
        "batch.rows = {BATCH_ROWS}\nsource.rate = {RATE}\nstream.data = \"millstream-data/topic\"\n{}",
        MODELS.iter().map(model).collect::<String>()
    )
}

/// The batch that an answer speaks of, by its number alone.
fn batch_of(answer: &Answer, a: u64, b: u64) -> u64 {
    let prediction = answer.json["prediction"].as_f64().unwrap();
    let is_of = |batch: &u64| ((1000 * batch + 2 * a + 3 * b) as f64 - prediction).abs() < 1e-3;
    (1..=BATCHES).find(is_of).unwrap_or_else(|| panic!("by no version's rule: {}", answer.text))
}

struct Scene<'a> {
    bench: &'a Bench,
    variables: &'a BTreeMap<String, String>,
    url: Option<String>,
    chance: ChaCha8Rng,
    /// By model and version.
    batches: BTreeMap<(String, u64), u64>,
    promoted: u64,
}

impl Scene<'_> {
    fn arguments<'b>(&'b self, more: &[&'b str]) -> Vec<String> {
        let url = self.url.iter().map(|url| format!("--set=store.url={url}"));
        more.iter().map(|word| (*word).to_owned()).chain(url).collect()
    }

    fn spawn(&self, more: &[&str]) -> Served {
        let arguments = self.arguments(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.bench.spawn_with(&arguments, |command: &mut Command| {
            command.envs(self.variables);
        })
    }

    fn replica(&self, address: &str) -> Served {
        let listen = format!("serve.listen={address}");
        let mut served = self.spawn(&["serve", "test.toml", "--set", &listen]);
        address.clone_into(&mut served.address);
        served
    }

    fn command(&self, more: &[&str]) -> Command {
        let arguments = self.arguments(more);
        let mut command = self.bench.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        command.envs(self.variables);
        command
    }

    /// Asks a replica that listens; `None`: it does not yet, or has nothing loaded yet and says so.
    fn ask(&mut self, replica: &Served, model: &str) -> Option<u64> {
        TcpStream::connect(&replica.address).ok()?;
        let (a, b) = (self.chance.random_range(0..97), self.chance.random_range(0..89));
        let answer = replica.get(&format!("/v1/models/{model}/predict?a={a}&b={b}"));
        if answer.status == 503 {
            assert!(answer.head.contains("retry-after"), "{}", answer.text);
            return None;
        }
        assert_eq!(answer.status, 200, "{}", answer.text);
        let version = answer.json["version"].as_u64().unwrap();
        assert!(answer.head.contains(&format!("x-model-version: {model}@{version}\r\n")), "{}", answer.head);
        let batch = batch_of(&answer, a, b);
        let known = *self.batches.entry((model.to_owned(), version)).or_insert(batch);
        assert_eq!(batch, known, "{model} version {version}, asked before, was of another batch");
        Some(version)
    }

    /// Promotes a version of `rule`; killed now and then, when it has happened or has not.
    fn promote(&mut self, version: u64) {
        let mut command = self.command(&["models", "promote", "test.toml", "rule", &version.to_string()]);
        if self.chance.random_bool(0.3) {
            let mut child = command.spawn().unwrap();
            std::thread::sleep(Duration::from_millis(self.chance.random_range(5..80)));
            child.kill().unwrap();
            child.wait().unwrap();
            return;
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", finish(&output).1);
        self.promoted = version;
    }
}

/// Versions of a model with their batches, through a replica.
fn versions(replica: &Served, model: &str) -> Vec<(u64, u64)> {
    let listed = replica.ask(&format!("/v1/models/{model}/versions?limit=1000"));
    let of = |version: &Value| (version["version"].as_u64().unwrap(), version["batches"][0].as_u64().unwrap());
    listed["versions"].as_array().unwrap().iter().map(of).collect()
}

fn check(s3: Option<&S3>) {
    let seed = rand::rng().random();
    eprintln!("seed {seed}");
    let bench = Bench::with_source(&rows(), &pipeline());
    let nothing = BTreeMap::new();
    let mut scene = Scene {
        bench: &bench,
        variables: s3.map_or(&nothing, |s3| &s3.variables),
        url: s3.map(|s3| format!("{}/replicas-{}", s3.url, uuid::Uuid::new_v4().simple())),
        chance: ChaCha8Rng::seed_from_u64(seed),
        batches: BTreeMap::new(),
        promoted: 0,
    };
    let _broker = BrokerProcess::start(&bench);
    let replay = scene.spawn(&["replay", "test.toml"]);
    let ingest = scene.spawn(&["ingest", "test.toml", "--exit-when-done"]);
    let mut trainers = Vec::from([0; 2].map(|_| scene.spawn(&["train", "test.toml"])));
    let addresses = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string());
    let mut replicas: Vec<Served> = addresses.iter().map(|address| scene.replica(address)).collect();
    until("a first version", || scene.ask(&replicas[0], "rule"));
    while scene.promoted == 0 {
        scene.promote(1);
    }
    // Until a replica knows that there is a champion, the newest version answers.
    until("each replica knows the champion", || {
        let knows = |replica: &Served| {
            TcpStream::connect(&replica.address).is_ok()
                && replica.get("/v1/models/rule/aliases/champion").status == 200
        };
        replicas.iter().all(knows).then_some(())
    });
    let mut least = [0; 3].map(|_| None);
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < LONGEST, "versions stopped coming: {:?}", scene.batches);
        let place = scene.chance.random_range(0..3);
        match scene.chance.random_range(0..100) {
            0..3 => {
                let place = scene.chance.random_range(0..2);
                drop(trainers.remove(place));
                trainers.insert(place, scene.spawn(&["train", "test.toml"]));
            }
            3..6 => {
                // One that starts now has seen what was promoted before.
                least[place] = Some(scene.promoted);
                let killed = replicas.remove(place);
                let address = killed.address.clone();
                drop(killed);
                replicas.insert(place, scene.replica(&address));
            }
            6..12 => {
                let newest =
                    scene.batches.keys().filter(|(model, _)| model == "rule").map(|(_, version)| *version).max();
                let newest = newest.unwrap().max(scene.promoted);
                scene.promote(newest);
            }
            12..50 => {
                scene.ask(&replicas[place], "other");
            }
            _ => {
                // By its number: a version that one replica knows, another reads when it is asked for.
                if let Some(version) = scene.ask(&replicas[place], "rule") {
                    let before = least[place].unwrap_or_default();
                    assert!(version >= before, "replica {place} answered by version {version} after {before}");
                    least[place] = Some(version);
                }
            }
        }
        let complete = versions_if_there(&replicas[place], "other");
        if complete == Some(BATCHES) {
            break;
        }
    }
    for (name, stage) in [("replay", replay), ("ingest", ingest)] {
        let (code, said) = stage.end();
        assert_eq!(code, 0, "{name}: {said}");
    }
    for model in MODELS {
        until("each replica knows all versions", || {
            replicas.iter().all(|replica| versions_if_there(replica, model) == Some(BATCHES)).then_some(())
        });
        let listed = versions(&replicas[0], model);
        assert!(replicas.iter().all(|replica| versions(replica, model) == listed));
        let (mut numbers, mut batches): (Vec<u64>, Vec<u64>) = listed.iter().copied().unzip();
        numbers.sort_unstable();
        batches.sort_unstable();
        assert_eq!(numbers, (1..=BATCHES).collect::<Vec<_>>(), "{model}");
        assert_eq!(batches, (1..=BATCHES).collect::<Vec<_>>(), "{model}: a version for each batch, and one alone");
        for (version, batch) in listed {
            let seen = scene.batches.get(&(model.to_owned(), version));
            assert!(
                seen.is_none_or(|seen| *seen == batch),
                "{model} {version} is of {batch}, and answered by {seen:?}"
            );
        }
    }
    scene.promoted = 0;
    while scene.promoted == 0 {
        scene.promote(BATCHES);
    }
    until("each replica follows the last promotion", || {
        replicas.iter().all(|replica| scene.ask(replica, "rule") == Some(BATCHES)).then_some(())
    });
    let history = replicas[1].ask("/v1/models/rule/aliases/champion");
    let records = |key: &str| -> Vec<u64> {
        history["history"].as_array().unwrap().iter().rev().map(|record| record[key].as_u64().unwrap()).collect()
    };
    assert!(records("version").is_sorted(), "{history}");
    let first = records("record")[0];
    let n_records = records("record").len() as u64;
    assert_eq!(records("record"), (first..first + n_records).collect::<Vec<_>>());
    for stage in trainers.into_iter().chain(replicas) {
        stage.stopped();
    }
    for model in MODELS {
        let verified = scene.command(&["models", "verify", "test.toml", model, "7"]).output().unwrap();
        assert!(verified.status.success(), "{}", finish(&verified).1);
    }
}

fn versions_if_there(replica: &Served, model: &str) -> Option<u64> {
    TcpStream::connect(&replica.address).ok()?;
    let answer = replica.get(&format!("/v1/models/{model}/versions?limit=1"));
    answer.json["total"].as_u64()
}

#[test]
fn two_trainers_and_three_replicas_on_local_disk() {
    check(None);
}

#[test]
fn two_trainers_and_three_replicas_on_s3() {
    let Some(s3) = services::s3("two_trainers_and_three_replicas_on_s3") else { return };
    check(Some(&s3));
}
