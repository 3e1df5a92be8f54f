//! Between the clients and the broker stands a proxy that cuts, delays, loses answers and delivers requests twice or late: the
//! batches are exact all the same.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::common::proxy::{Fault, Faults, Proxy};
use crate::common::{Bench, Part, services};

const ROWS: u64 = 6000;
const BATCHES: &str = "batch.rows = 1700\nstream.partitions = 3\n";
/// Small requests, so that there are many; short waits, so that the test is.
const CLIENT: &str = "stream.\"batch.num.messages\" = 40\nstream.\"reconnect.backoff.ms\" = 20\n\
    stream.\"reconnect.backoff.max.ms\" = 100\nstream.\"retry.backoff.ms\" = 10\nstream.\"retry.backoff.max.ms\" = 50\n";

/// The embedded broker in a process of its own, which tells its clients the proxy's address.
struct Broker {
    child: Child,
    address: String,
}

impl Broker {
    fn start(bench: &Bench, advertise: &str) -> Self {
        let arguments = ["broker", "--listen", "127.0.0.1:0", "--data", "log", "--advertise", advertise];
        let mut child = bench.command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.find(|line| line.as_ref().unwrap().contains("listens on")).unwrap().unwrap();
        let address = line.split("listens on ").nth(1).unwrap().trim().to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn undisturbed() -> Vec<Part> {
    static UNDISTURBED: OnceLock<Vec<Part>> = OnceLock::new();
    let run = || {
        let bench = Bench::new(ROWS, BATCHES);
        bench.run_well(&[]);
        bench.parts()
    };
    UNDISTURBED.get_or_init(run).clone()
}

/// A run on the embedded broker, through a proxy with these faults. `least`: so many faults must have befallen produce requests for the test to mean anything.
fn through_a_proxy(faults: Faults, least: u64) {
    let seed = faults.seed;
    let proxy = Proxy::listen("127.0.0.1:0", faults);
    let bench = Bench::new(ROWS, "");
    let broker = Broker::start(&bench, &proxy.address.to_string());
    proxy.forward_to(&broker.address);
    bench.pipeline_on(&proxy.address.to_string(), &format!("{BATCHES}{CLIENT}source.rate = 4000\n"));
    let said = bench.run_well(&[]);
    exact(&bench, &proxy, seed, least, &said);
}

fn exact(bench: &Bench, proxy: &Proxy, seed: u64, least: u64, said: &str) {
    let happened: Vec<_> = Fault::ALL.iter().map(|fault| (*fault, proxy.happened(*fault))).collect();
    eprintln!("seed {seed}: {} connections; (produce, others) of {happened:?}", proxy.connections());
    assert_eq!(bench.parts(), undisturbed(), "seed {seed}, {happened:?}: {said}");
    let befell: u64 = happened.iter().map(|(_, (produce, _))| produce).sum();
    assert!(befell >= least, "only {befell} faults, the test says nothing: {happened:?}");
}

#[test]
fn without_faults_the_proxy_changes_nothing() {
    through_a_proxy(Faults::none(), 0);
}

#[test]
fn any_fault_at_random_leaves_the_batches_exact() {
    for seed in 1..=4 {
        through_a_proxy(Faults::every(seed, 0.02, 0.004), 5);
    }
}

#[test]
fn each_fault_alone_and_often_leaves_the_batches_exact() {
    for (seed, fault) in (100..).zip(Fault::ALL) {
        let faults = Faults {
            seed,
            produce: vec![(fault, 0.1)],
            others: vec![(fault, 0.01)],
            pause_most: Duration::from_millis(300),
        };
        through_a_proxy(faults, 3);
    }
}

#[test]
fn a_request_that_outlives_its_timeout_arrives_twice_and_counts_once() {
    // The client gives a request up after a second and sends it again, on a new connection, while the first is under way.
    let faults = Faults {
        seed: 7,
        produce: vec![(Fault::Late, 0.1), (Fault::Pause, 0.1)],
        others: Vec::new(),
        pause_most: Duration::from_secs(3),
    };
    let proxy = Proxy::listen("127.0.0.1:0", faults);
    let bench = Bench::new(ROWS, "");
    let broker = Broker::start(&bench, &proxy.address.to_string());
    proxy.forward_to(&broker.address);
    let rest = format!("{BATCHES}{CLIENT}source.rate = 4000\nstream.\"socket.timeout.ms\" = 1000\n");
    bench.pipeline_on(&proxy.address.to_string(), &rest);
    let said = bench.run_well(&[]);
    exact(&bench, &proxy, 7, 5, &said);
}

#[test]
fn a_broker_that_answers_nothing_for_a_while_is_waited_for() {
    let proxy = Proxy::listen("127.0.0.1:0", Faults::none());
    let bench = Bench::new(ROWS, "");
    let broker = Broker::start(&bench, &proxy.address.to_string());
    proxy.forward_to(&broker.address);
    bench.pipeline_on(&proxy.address.to_string(), &format!("{BATCHES}{CLIENT}source.rate = 3000\n"));
    let mut served = bench.serve(&["--exit-when-done"]);
    served.wait_for("batch 1 committed");
    proxy.hold(true);
    served.wait_for("wait for an acknowledgement of the broker, none came for 5 s");
    proxy.cut_all();
    proxy.hold(false);
    let (code, said) = served.end();
    assert_eq!(code, 0, "{said}");
    exact(&bench, &proxy, 0, 0, &said);
}

#[test]
fn any_fault_at_random_before_apache_kafka_leaves_the_batches_exact() {
    let Some(kafka) = services::kafka_alone("any_fault_at_random_before_apache_kafka_leaves_the_batches_exact") else {
        return;
    };
    for seed in 11..=13 {
        let proxy = Proxy::listen(&kafka.proxy, Faults::every(seed, 0.02, 0.004));
        proxy.forward_to(&kafka.proxied);
        let bench = Bench::new(ROWS, "");
        let topic = services::topic("proxied");
        let rest = format!("{BATCHES}{CLIENT}source.rate = 4000\nstream.topic = \"{topic}\"\n");
        bench.pipeline_on(&kafka.proxy, &rest);
        let said = bench.run_well(&[]);
        exact(&bench, &proxy, seed, 5, &said);
    }
}
