//! A stop ends the process in time and with 0, whatever its source or its clients do.

use std::io::Write;
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Bench, MODELS, Served};

/// Eight seconds by the process itself, and some for a busy machine.
const STOP_MOST: Duration = Duration::from_secs(15);

fn ends(served: Served, what: &str) {
    let told = Instant::now();
    served.signal("TERM");
    let (code, said) = served.end();
    assert_eq!(code, 0, "{what}: {said}");
    assert!(told.elapsed() < STOP_MOST, "{what} took {:?}: {said}", told.elapsed());
}

#[test]
fn a_source_without_data_is_waited_for_until_the_stop() {
    let bench = Bench::listening("source.path = \"-\"\nsource.format = \"csv\"\nbatch.rows = 10\n");
    let mut held = None;
    let served = bench.serving(&["run", "test.toml"], |command| {
        let (reader, writer) = std::io::pipe().unwrap();
        command.stdin(Stdio::from(reader));
        held = Some(writer);
    });
    ends(served, "a silent standard input");
    // Something, and then nothing.
    let served = bench.serving(&["run", "test.toml"], |command| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"a,b\n1,").unwrap();
        command.stdin(Stdio::from(reader));
        held = Some(writer);
    });
    ends(served, "half a row on standard input");
    drop(held);
}

#[test]
fn a_pipe_that_nobody_writes_is_waited_for_until_the_stop() {
    let bench = Bench::listening("source.path = \"pipe.csv\"\nbatch.rows = 10\n");
    let made = std::process::Command::new("mkfifo").arg(bench.path("pipe.csv")).status().unwrap();
    assert!(made.success());
    ends(bench.serving(&["run", "test.toml"], |_| {}), "a pipe without a writer");
}

#[test]
fn a_source_that_is_counted_or_sorted_is_left_at_the_stop() {
    for order in ["", "source.order_by = \"Timestamp\"\n"] {
        let bench = Bench::new(400_000, &format!("batch.rows = 1000\n{order}"));
        ends(bench.serving(&["run", "test.toml"], |_| {}), "a long first pass");
    }
}

#[test]
fn clients_that_hold_their_connections_do_not_hold_the_process() {
    let bench = Bench::new(2000, &format!("batch.parts = 2\n{MODELS}"));
    let mut served = bench.serve(&[]);
    served.wait_for("until stopped");
    let held: Vec<TcpStream> = (0..60)
        .map(|index| {
            let mut stream = TcpStream::connect(&served.address).unwrap();
            let text = match index % 4 {
                0 => "",
                1 => "GET / HT",
                2 => "GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n",
                _ => "POST /v1/models/close/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
            };
            stream.write_all(text.as_bytes()).unwrap();
            stream
        })
        .collect();
    assert_eq!(served.get("/livez").status, 200);
    ends(served, "held connections");
    drop(held);
}

#[test]
fn a_want_of_descriptors_is_said_and_passes() {
    let bench = Bench::new(2000, "batch.parts = 2\n");
    let arguments = ["-c", "ulimit -n 100; exec \"$0\" run test.toml", env!("CARGO_BIN_EXE_millstream")];
    let mut served = bench.serving_by("sh", &arguments);
    served.wait_for("until stopped");
    let held: Vec<TcpStream> = (0..200).filter_map(|_| TcpStream::connect(&served.address).ok()).collect();
    for stream in &held {
        let _ = (&*stream).write_all(b"GET / HTTP/1.1\r\nhost: ");
    }
    assert_eq!(served.get("/livez").status, 200, "health is answered meanwhile");
    drop(held);
    assert_eq!(served.get("/v1/status").status, 200);
    ends(served, "few descriptors");
}
