//! Batches are exact through any end of the process: the real binary, killed at every step of a commit and at random moments.

use std::time::Duration;

use crate::common::{self, Bench, finish};

fn accounted(bench: &Bench, partitions: u64) {
    common::accounted(bench, partitions, ROWS);
}

const ROWS: u64 = 5000;

fn undisturbed(rest: &str) -> Vec<(u64, u64, i64, i64, u64, u64, String)> {
    let bench = Bench::new(ROWS, rest);
    bench.run_well(&[]);
    accounted(&bench, bench.parts().iter().map(|part| part.1 + 1).max().unwrap());
    bench.parts()
}

#[test]
fn batches_by_rows_hold_exactly_their_rows_and_the_last_may_be_short() {
    for partitions in [1, 3, 16] {
        let bench = Bench::new(ROWS, &format!("batch.rows = 1999\nstream.partitions = {partitions}\n"));
        bench.run_well(&[]);
        accounted(&bench, partitions);
        let totals: Vec<u64> = (1..=3)
            .map(|batch| bench.read(&format!("batches/batch={batch:06}/_cut.json"))["total"].as_u64().unwrap())
            .collect();
        assert_eq!(totals, [1999, 3998, 5000]);
        assert_eq!(bench.read("batches/batch=000003/_cut.json")["reason"], "end");
        assert_eq!(bench.read("source/end.json")["rows"], ROWS);
        // The rows themselves, not only their number: batch 2 begins with row 2000 of the file.
        let show = bench.output(&["batches", "list", "test.toml", "--files"]);
        assert_eq!(String::from_utf8(show.stdout).unwrap().lines().count() as u64, 3 * partitions);
    }
}

#[test]
fn parts_are_thirds_and_a_second_run_says_that_all_is_done() {
    let bench = Bench::new(ROWS, "batch.parts = 3\n");
    bench.run_well(&[]);
    let first = bench.parts();
    assert_eq!(first.iter().map(|part| part.4).collect::<Vec<_>>(), [1666, 1667, 1667]);
    let said = bench.run_well(&[]);
    assert!(said.contains("all 5000 rows are in the topic already"), "{said}");
    assert_eq!(bench.parts(), first);
}

#[test]
fn a_limit_stops_the_replay_and_a_higher_one_goes_on() {
    let bench = Bench::new(ROWS, "batch.rows = 1000\n");
    let said = bench.run_well(&["--set", "batch.limit=2"]);
    assert!(said.contains("2000 rows sent, 3000 left"), "{said}");
    assert_eq!(bench.parts().len(), 2);
    bench.run_well(&[]);
    accounted(&bench, 1);
    assert_eq!(bench.parts(), undisturbed("batch.rows = 1000\n"));
}

#[test]
fn killed_at_every_step_of_a_commit_it_goes_on_to_the_same_batches() {
    for partitions in [1, 3] {
        let rest = format!("batch.rows = 1500\nstream.partitions = {partitions}\n");
        let expected = undisturbed(&rest);
        for point in [
            "part.before_data",
            "part.after_data",
            "part.before_manifest",
            "part.after_manifest",
            "cut.before",
            "cut.after",
        ] {
            for pass in [1, 3] {
                let bench = Bench::new(ROWS, &rest);
                let killed = bench
                    .command(&["run", "test.toml", "--exit-when-done"])
                    .env("MILLSTREAM_KILL_AT", format!("{point}:{pass}"))
                    .output()
                    .unwrap();
                assert_eq!(killed.status.code(), None, "{point}:{pass} was not reached: {}", finish(&killed).1);
                bench.run_well(&[]);
                accounted(&bench, partitions);
                assert_eq!(bench.parts(), expected, "{point}:{pass}");
            }
        }
    }
}

#[test]
fn killed_at_random_moments_it_loses_nothing_and_doubles_nothing() {
    let rest = "batch.rows = 700\nsource.rate = 4000\nstream.partitions = 3\n";
    let expected = undisturbed("batch.rows = 700\nstream.partitions = 3\n");
    let bench = Bench::new(ROWS, rest);
    for round in 0..6_u64 {
        let served = bench.serve(&[]);
        std::thread::sleep(Duration::from_millis(60 + 97 * round % 211));
        served.signal("KILL");
        let _ = served.end();
    }
    bench.run_well(&["--set", "source.rate=1000000"]);
    accounted(&bench, 3);
    assert_eq!(bench.parts(), expected);
}

#[test]
fn a_stop_parks_the_open_batch_and_exits_0() {
    for signal in ["TERM", "INT"] {
        let bench = Bench::new(ROWS, "batch.rows = 2000\nsource.rate = 1000\n");
        let mut served = bench.serve(&[]);
        served.wait_for("batch 1 committed");
        served.signal(signal);
        let (code, said) = served.end();
        assert_eq!(code, 0, "{said}");
        assert!(bench.parts().len() < 3, "{said}");
        bench.run_well(&["--set", "source.rate=1000000"]);
        accounted(&bench, 1);
        assert_eq!(bench.parts(), undisturbed("batch.rows = 2000\n"));
    }
}

#[test]
fn on_stop_cut_commits_what_was_sent() {
    let bench = Bench::new(ROWS, "batch.rows = 4000\nbatch.on_stop = \"cut\"\nsource.rate = 1000\n");
    let served = bench.serve(&[]);
    served.wait_until("rows are sent", |status| status["source"]["rows_sent"].as_u64() > Some(100));
    served.signal("TERM");
    let (code, said) = served.end();
    assert_eq!(code, 0, "{said}");
    let parts = bench.parts();
    assert_eq!(
        (parts.len(), bench.read("batches/batch=000001/_cut.json")["reason"].as_str()),
        (1, Some("stop")),
        "{said}"
    );
    bench.run_well(&["--set", "source.rate=1000000"]);
    accounted(&bench, 1);
}

#[test]
fn rejects_are_kept_with_their_reason_and_offset() {
    let bench = Bench::with_source(
        b"a,b\n1,2\nragged\n3,4\n\xff,5\n6,\"7\n8\"\n",
        "batch.parts = 1\nschema.columns.b = \"float64\"\n",
    );
    let said = bench.run_well(&[]);
    assert!(said.contains("batch 1 committed: 2 rows, 3 rejects"), "{said}");
    let manifest = bench.read("batches/batch=000001/_manifest-0000.json");
    let file = bench.path("millstream-data/batches/batch=000001").join(manifest["rejects_file"].as_str().unwrap());
    let lines: Vec<serde_json::Value> =
        std::fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<(i64, &str)> =
        lines.iter().map(|line| (line["offset"].as_i64().unwrap(), line["reason"].as_str().unwrap())).collect();
    assert_eq!(found[0], (1, "1 fields, the header has 2"));
    assert_eq!(found[1], (3, "column \"a\" is not UTF-8"));
    assert_eq!((found[2].0, found[2].1.contains("expected float64")), (4, true));
}

#[test]
fn a_foreign_record_while_replay_was_down_is_found() {
    let bench = Bench::new(ROWS, "batch.rows = 2000\nsource.rate = 2000\n");
    let mut served = bench.serve(&[]);
    served.wait_for("batch 1 committed");
    served.signal("KILL");
    let _ = served.end();
    // Someone writes one record of their own to the log.
    let config = millstream_broker::Config::new(bench.path("millstream-data/topic"), "127.0.0.1:0".parse().unwrap());
    let millstream_broker::Opened::Started(broker) = millstream_broker::open(config).unwrap() else {
        panic!("still open")
    };
    send_one(&broker.address().to_string(), "test");
    broker.stop();
    let (code, said) = bench.run(&[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("someone else writes to the topic"), "{said}");
}

fn send_one(servers: &str, topic: &str) {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let producer: BaseProducer = rdkafka::ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
    producer.send(BaseRecord::<(), str>::to(topic).partition(0).payload("{\"mine\":1}")).unwrap();
    producer.flush(Duration::from_secs(20)).unwrap();
}

#[test]
fn a_second_run_on_the_same_store_is_refused() {
    let bench = Bench::new(ROWS, "batch.rows = 4000\nsource.rate = 1000\n");
    let served = bench.serve(&[]);
    let (code, said) = bench.run(&[]);
    assert_eq!((code, said.contains("another process runs a pipeline on this store")), (1, true), "{said}");
    served.signal("TERM");
    assert_eq!(served.end().0, 0);
}

#[test]
fn a_source_cut_short_while_it_runs_is_said() {
    let bench = Bench::new(60_000, "batch.rows = 1000\nsource.rate = 20000\n");
    let mut served = bench.serve(&["--exit-when-done"]);
    served.wait_for("batch 1 committed");
    // The reader has a mebibyte of the three ahead.
    std::fs::OpenOptions::new().write(true).open(bench.path("rows.csv")).unwrap().set_len(1000).unwrap();
    let (code, said) = served.end();
    assert_eq!(
        (code, said.contains("60000 were counted at first: it changed while it was replayed")),
        (1, true),
        "{said}"
    );
}

#[test]
fn a_training_that_panics_is_a_failure_that_is_served_on() {
    let model =
        "[[model]]\nname = \"m\"\nalgorithm = \"linear_regression\"\nfeatures = [\"Open\"]\ntarget = \"Close\"\n";
    let bench = Bench::new(ROWS, &format!("batch.rows = 1000\nsource.rate = 3000\n{model}"));
    let mut served = bench.serve_with(&[], |command| {
        command.env("MILLSTREAM_KILL_AT", "train.due!:2");
    });
    served.wait_for("training panicked");
    served.wait_for("until stopped");
    assert_eq!(served.ask("/healthz")["state"], "failed");
    served.signal("TERM");
    assert_eq!(served.end().0, 1);
    bench.run_well(&["--set", "source.rate=1000000"]);
    accounted(&bench, 1);
}

#[test]
fn an_ingest_that_panics_is_told_at_once_with_its_place() {
    let bench = Bench::new(ROWS, "batch.rows = 1000\nsource.rate = 3000\n");
    let mut served = bench.serve_with(&[], |command| {
        command.env("MILLSTREAM_KILL_AT", "part.before_data!");
    });
    served.wait_for("ingest panicked at offset 999 of partition 0");
    for path in ["/healthz", "/v1/status"] {
        let told = served.ask(path);
        assert_eq!(told["state"], "failed", "{told}");
        assert!(told["problems"][0].as_str().unwrap().contains("at offset 999 of partition 0"), "{told}");
    }
    assert_eq!(served.ask("/healthz")["status"], "degraded");
    served.signal("TERM");
    assert_eq!(served.end().0, 1);
    bench.run_well(&["--set", "source.rate=1000000"]);
    accounted(&bench, 1);
}
