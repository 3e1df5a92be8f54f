//! Apache Kafka's own console and admin tools against this broker. They come from Maven: `MILLSTREAM_KAFKA_LIBS` names
//! a folder with the jars of `org.apache.kafka:kafka_2.13` and what that needs. Without it the test says that it is
//! skipped.
#![allow(clippy::print_stderr)]

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{config, start};

const LIBS: &str = "MILLSTREAM_KAFKA_LIBS";
const PATIENCE: Duration = Duration::from_secs(180);

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const DELETE_RECORDS: &str = "org.apache.kafka.tools.DeleteRecordsCommand";
const LOG_DIRS: &str = "org.apache.kafka.tools.LogDirsCommand";

struct Tools {
    libs: String,
    address: String,
}

impl Tools {
    fn spawn(&self, class: &str, arguments: &[&str]) -> Child {
        Command::new("java")
            .args(["-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp", &format!("{}/*", self.libs), class])
            .args(["--bootstrap-server", &self.address])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs a tool to its end and returns what it said, all of it; it must succeed.
    fn run(&self, class: &str, arguments: &[&str], input: &str) -> String {
        let mut child = self.spawn(class, arguments);
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = finish(child);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        eprintln!("--- {class} {arguments:?}\n{said}");
        assert!(output.status.success(), "{class} {arguments:?}: {said}");
        said
    }

    fn fails(&self, class: &str, arguments: &[&str]) -> String {
        let output = finish(self.spawn(class, arguments));
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{class} {arguments:?}: {said}");
        said
    }
}

/// Waits for the end of a tool, but not for ever.
fn finish(mut child: Child) -> Output {
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.wait_with_output().unwrap()
}

fn has(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "no {part:?} in: {said}");
    }
}

/// A line that holds all of these.
fn has_line(said: &str, parts: &[&str]) {
    assert!(said.lines().any(|line| parts.iter().all(|part| line.contains(part))), "no line with {parts:?} in: {said}");
}

/// The tools of a folder, or `None` and a word about it.
fn tools(address: &str) -> Option<Tools> {
    let Ok(libs) = std::env::var(LIBS) else {
        eprintln!("SKIPPED: {LIBS} names no folder with Apache Kafka's jars");
        return None;
    };
    assert!(Path::new(&libs).is_dir(), "{LIBS} = {libs} is no folder");
    assert!(Command::new("java").arg("-version").output().is_ok(), "{LIBS} is set, but there is no java");
    Some(Tools { libs, address: address.to_owned() })
}

#[test]
fn apache_kafka_s_tools_work() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(config(folder.path()));
    let Some(tools) = tools(&broker.address().to_string()) else {
        return;
    };
    topics(&tools);
    records(&tools);
    groups(&tools);
    settings(&tools);
    ends(&tools);
    tools.run(TOPICS, &["--delete", "--topic", "made"], "");
    assert!(!tools.run(TOPICS, &["--list"], "").contains("made"));
}

fn topics(tools: &Tools) {
    let create = ["--create", "--topic", "made", "--partitions", "2", "--config", "retention.ms=86400000"];
    has(&tools.run(TOPICS, &create, ""), &["Created topic made"]);
    has(&tools.fails(TOPICS, &create), &["topic made exists"]);
    let compacted = ["--create", "--topic", "compacted", "--config", "cleanup.policy=compact"];
    has(&tools.fails(TOPICS, &compacted), &["cleanup.policy is delete in this broker"]);
    has_line(&tools.run(TOPICS, &["--list"], ""), &["made"]);
    let said = tools.run(TOPICS, &["--describe", "--topic", "made"], "");
    has_line(&said, &["Topic: made", "PartitionCount: 2", "ReplicationFactor: 1", "retention.ms=86400000"]);
    has_line(&said, &["Partition: 1", "Leader: 0", "Isr: 0"]);
    tools.run(TOPICS, &["--alter", "--topic", "made", "--partitions", "3"], "");
    has_line(&tools.run(TOPICS, &["--describe", "--topic", "made"], ""), &["PartitionCount: 3"]);
    has(&tools.fails(TOPICS, &["--alter", "--topic", "made", "--partitions", "2"]), &["has 3 partitions already"]);
}

fn records(tools: &Tools) {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let input = format!("a {codec}\nb {codec}\n");
        tools.run(PRODUCER, &["--topic", "made", "--compression-codec", codec], &input);
    }
    let all = ["--topic", "made", "--from-beginning", "--max-messages", "10", "--group", "readers"];
    let said = tools.run(CONSUMER, &all, "");
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        has(&said, &[&format!("a {codec}"), &format!("b {codec}")]);
    }
    has(&said, &["Processed a total of 10 messages"]);
}

fn groups(tools: &Tools) {
    has_line(&tools.run(GROUPS, &["--list"], ""), &["readers"]);
    has_line(&tools.run(GROUPS, &["--list", "--state"], ""), &["readers", "Empty"]);
    let describe = |more: &[&str]| {
        let mut arguments = vec!["--describe", "--group", "readers"];
        arguments.extend(more);
        tools.run(GROUPS, &arguments, "")
    };
    has_line(&describe(&[]), &["readers", "made"]);
    // With a member: who it is and what it reads.
    let mut consumer = tools.spawn(CONSUMER, &["--topic", "made", "--group", "readers"]);
    let deadline = Instant::now() + PATIENCE;
    while !describe(&["--state"]).contains("Stable") {
        assert!(Instant::now() < deadline, "the group does not get stable");
    }
    has_line(&describe(&["--members"]), &["readers", "console-consumer", "3"]);
    has_line(&describe(&[]), &["readers", "made", "console-consumer"]);
    let reset = ["--reset-offsets", "--to-earliest", "--execute", "--topic", "made", "--group", "readers"];
    has(&tools.run(GROUPS, &reset, ""), &["inactive"]);
    has(&tools.run(GROUPS, &["--delete", "--group", "readers"], ""), &["GroupNotEmptyException"]);
    consumer.kill().unwrap();
    consumer.wait().unwrap();
    // It was killed: its session is 45 s, so another group stands in for the rest.
    let all = ["--topic", "made", "--from-beginning", "--max-messages", "10", "--group", "others"];
    tools.run(CONSUMER, &all, "");
    let reset = ["--reset-offsets", "--to-earliest", "--execute", "--topic", "made", "--group", "others"];
    has_line(&tools.run(GROUPS, &reset, ""), &["others", "made", "0"]);
    has(&tools.run(CONSUMER, &all, ""), &["Processed a total of 10 messages"]);
    let forget = ["--delete-offsets", "--group", "others", "--topic", "made:0"];
    has_line(&tools.run(GROUPS, &forget, ""), &["made", "0", "Successful"]);
    has(&tools.run(GROUPS, &["--delete", "--group", "others"], ""), &["others", "successful"]);
    assert!(!tools.run(GROUPS, &["--list"], "").contains("others"));
}

fn settings(tools: &Tools) {
    let of_topic = ["--entity-type", "topics", "--entity-name", "made"];
    let with = |arguments: &[&'static str]| [&of_topic[..], arguments].concat();
    has(&tools.run(CONFIGS, &with(&["--describe"]), ""), &["retention.ms=86400000"]);
    tools.run(CONFIGS, &with(&["--alter", "--add-config", "retention.bytes=1000000,segment.bytes=100000"]), "");
    has(&tools.run(CONFIGS, &with(&["--describe"]), ""), &["retention.bytes=1000000", "segment.bytes=100000"]);
    tools.run(CONFIGS, &with(&["--alter", "--delete-config", "retention.bytes"]), "");
    has(&tools.run(CONFIGS, &with(&["--describe", "--all"]), ""), &["retention.bytes=-1", "cleanup.policy=delete"]);
    has(&tools.fails(CONFIGS, &with(&["--alter", "--add-config", "retention.ms=-7"])), &["to keep records for ever"]);
    let of_broker = ["--entity-type", "brokers", "--entity-name", "0", "--describe", "--all"];
    has(&tools.run(CONFIGS, &of_broker, ""), &["log.segment.bytes="]);
}

fn ends(tools: &Tools) {
    let sum = |time: &str| {
        let said = tools.run(OFFSETS, &["--topic", "made", "--time", time], "");
        let offsets =
            said.lines().filter_map(|line| line.strip_prefix("made:")?.split_once(':')?.1.parse::<i64>().ok());
        offsets.sum::<i64>()
    };
    assert_eq!((sum("latest"), sum("earliest"), sum("earliest-local"), sum("0")), (10, 0, 0, 0));
    assert!(sum("max-timestamp") >= 0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("offsets.json");
    let ends = (0..3).map(|partition| format!("{{\"topic\":\"made\",\"partition\":{partition},\"offset\":-1}}"));
    let ends = ends.collect::<Vec<_>>().join(",");
    std::fs::write(&file, format!("{{\"version\":1,\"partitions\":[{ends}]}}")).unwrap();
    let said = tools.run(DELETE_RECORDS, &["--offset-json-file", file.to_str().unwrap()], "");
    has(&said, &["low_watermark"]);
    assert_eq!((sum("latest"), sum("earliest")), (10, 10));
    has(&tools.run(LOG_DIRS, &["--describe", "--topic-list", "made"], ""), &["made-2", "\"size\":"]);
}
