//! Stages alone: `replay`, `ingest`, `train` and `serve` as processes of their own around one broker, several ingest workers side by
//! side, one of them killed, one put to sleep and woken up.

use crate::common::{Bench, BrokerProcess, MODELS, Served, accounted, until};

const ROWS: u64 = 6000;

/// A worker with the name of its stage in what it says.
fn worker(bench: &Bench, stage: &str, more: &[&str]) -> Served {
    bench.spawn(&[&[stage, "test.toml"], more].concat())
}

#[test]
fn each_stage_alone_makes_what_run_makes() {
    let rest = format!("batch.rows = 1500\nstream.partitions = 3\n{}", MODELS);
    let expected = Bench::new(ROWS, &rest);
    expected.run_well(&[]);
    let bench = Bench::new(ROWS, &rest);
    let _broker = BrokerProcess::start(&bench);
    // The other way round: each waits for the stage before it.
    let mut train = worker(&bench, "train", &["--exit-when-done"]);
    train.wait_for("waiting for `replay` or `run`");
    let first = worker(&bench, "ingest", &["--exit-when-done"]);
    let second = worker(&bench, "ingest", &["--exit-when-done"]);
    let mut serve = worker(&bench, "serve", &[]);
    let address = serve.wait_for("the page and the API: http://");
    serve.address = address.split("http://").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    assert_eq!(serve.get("/readyz").status, 503);
    let (code, said) = worker(&bench, "replay", &[]).end();
    assert_eq!((code, said.contains("6000 rows sent")), (0, true), "{said}");
    for ingest in [first, second] {
        let (code, said) = ingest.end();
        assert_eq!(code, 0, "{said}");
    }
    let (code, said) = train.end();
    assert_eq!(code, 0, "{said}");
    accounted(&bench, 3, ROWS);
    assert_eq!(bench.parts(), expected.parts());
    until("the versions are served", || (serve.get("/readyz").status == 200).then_some(()));
    assert_eq!(serve.get("/predict/high_low?open=20000&volume=25").status, 200);
    assert_eq!(serve.get("/v1/batches").json["total"], 4);
}

#[test]
fn a_killed_workers_partitions_are_taken_over() {
    let rest = "batch.rows = 600\nstream.partitions = 3\nsource.rate = 600\n\"stream\".\"session.timeout.ms\" = 6000\n";
    let bench = Bench::new(ROWS, rest);
    let _broker = BrokerProcess::start(&bench);
    let mut replay = worker(&bench, "replay", &[]);
    let mut first = worker(&bench, "ingest", &["--exit-when-done"]);
    first.wait_for("batch 1 committed");
    let mut second = worker(&bench, "ingest", &["--exit-when-done"]);
    second.wait_for("this worker has partitions");
    first.signal("KILL");
    let _ = first.end();
    replay.wait_for("rows sent");
    let (code, said) = second.end();
    assert_eq!(code, 0, "{said}");
    accounted(&bench, 3, ROWS);
    let undisturbed = Bench::new(ROWS, "batch.rows = 600\nstream.partitions = 3\n");
    undisturbed.run_well(&[]);
    assert_eq!(bench.parts(), undisturbed.parts());
}

#[test]
fn a_worker_that_slept_wakes_up_to_what_others_did() {
    let rest = "batch.rows = 600\nstream.partitions = 2\nsource.rate = 500\n\"stream\".\"session.timeout.ms\" = 6000\n";
    let bench = Bench::new(ROWS, rest);
    let _broker = BrokerProcess::start(&bench);
    let mut replay = worker(&bench, "replay", &[]);
    let mut first = worker(&bench, "ingest", &["--exit-when-done"]);
    first.wait_for("batch 1 committed");
    first.signal("STOP");
    let mut second = worker(&bench, "ingest", &["--exit-when-done"]);
    // Only after the sleeper's session is over.
    second.wait_for("batch 4 committed");
    first.signal("CONT");
    replay.wait_for("rows sent");
    for ingest in [first, second] {
        let (code, said) = ingest.end();
        assert_eq!(code, 0, "{said}");
    }
    accounted(&bench, 2, ROWS);
    let undisturbed = Bench::new(ROWS, "batch.rows = 600\nstream.partitions = 2\n");
    undisturbed.run_well(&[]);
    assert_eq!(bench.parts(), undisturbed.parts());
}

#[test]
fn a_partition_that_nobody_reads_is_named() {
    let bench =
        Bench::new(ROWS, "batch.rows = 3000\nstream.partitions = 2\n\"stream\".\"session.timeout.ms\" = 60000\n");
    let _broker = BrokerProcess::start(&bench);
    assert_eq!(worker(&bench, "replay", &[]).end().0, 0);
    // Killed with its first part: the group does not know yet that it is dead.
    let first = bench.spawn_with(&["ingest", "test.toml"], |command| {
        command.env("MILLSTREAM_KILL_AT", "part.before_data:1");
    });
    let _ = first.end();
    let mut second = worker(&bench, "ingest", &[]);
    second.wait_for("is cut and waits for partition");
}
