//! The broker as another process: not there yet, gone in the middle, back again. It is waited for, and nothing is lost.

use std::process::{Child, Stdio};

use crate::common::Bench;

fn broker(bench: &Bench, address: &str) -> Child {
    let mut command = bench.command(&["broker", "--listen", address, "--data", "topic"]);
    command.stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_broker_that_is_not_there_yet_or_goes_away_is_waited_for() {
    let rest = "batch.rows = 2000\nsource.rate = 3000\nstream.partitions = 2\n";
    let bench = Bench::new(6000, rest);
    // A port that is free now.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let servers = format!("stream.bootstrap.servers={address}");
    // The embedded broker's own key would be of no use here.
    let text = std::fs::read_to_string(bench.path("test.toml")).unwrap();
    std::fs::write(bench.path("test.toml"), text.replace("stream.listen = \"127.0.0.1:0\"\n", "")).unwrap();
    let mut served = bench.serve(&["--exit-when-done", "--set", &servers]);
    served.wait_for("waiting for the broker");
    let mut first = broker(&bench, &address);
    served.wait_for("batch 1 committed");
    first.kill().unwrap();
    first.wait().unwrap();
    served.wait_for("the broker is away");
    let mut second = broker(&bench, &address);
    let (code, said) = served.end();
    second.kill().unwrap();
    second.wait().unwrap();
    assert_eq!(code, 0, "{said}");
    let parts = bench.parts();
    assert_eq!(parts.iter().map(|part| part.4).sum::<u64>(), 6000, "{said}");
    let undisturbed = Bench::new(6000, &rest.replace("3000", "1000000"));
    undisturbed.run_well(&[]);
    assert_eq!(parts, undisturbed.parts());
}

#[test]
fn a_broker_of_its_own_does_not_move_to_another_port() {
    let bench = Bench::new(10, "");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = bench.command(&["broker", "--listen", &address, "--data", "topic"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains(&format!("another program listens on {address}")), "{said}");
}
