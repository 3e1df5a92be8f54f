//! Consumer groups whose members die, hang and come back: members are processes of their own, killed and stopped.
// The tests kill and reap what `Member::start` returns.
#![allow(clippy::zombie_processes)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::common::{call, client, config, flush, producer, send, start};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{
    ApiKey, DescribeGroupsRequest, GroupId, HeartbeatRequest, OffsetCommitRequest, RequestKind, ResponseKind, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use millstream_broker::Broker;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};

const ADDRESS: &str = "GROUP_TEST_ADDRESS";
const STRATEGY: &str = "GROUP_TEST_STRATEGY";
const DIARY: &str = "GROUP_TEST_DIARY";
const TOPIC: &str = "shared";
const GROUP: &str = "workers";
const PARTITIONS: i32 = 4;
const SESSION: Duration = Duration::from_secs(3);
/// The protocol's numbers.
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
const PATIENCE: Duration = Duration::from_secs(60);

fn member(address: &str, strategy: &str, name: &str) -> BaseConsumer {
    let consumer: BaseConsumer = client(address.parse().unwrap())
        .set("group.id", GROUP)
        .set("client.id", name)
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", SESSION.as_millis().to_string())
        .set("heartbeat.interval.ms", "200")
        .set("enable.auto.commit", "false")
        .set("partition.assignment.strategy", strategy)
        .create()
        .unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    consumer
}

/// Not a test of its own: a member that keeps a diary of what it owns, what it read, and how its commits went.
#[test]
#[ignore = "started by the other tests as a process of its own"]
fn child_member() {
    let Ok(address) = std::env::var(ADDRESS) else {
        return;
    };
    let path = PathBuf::from(std::env::var(DIARY).unwrap());
    let mut diary = OpenOptions::new().append(true).create(true).open(&path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let consumer = member(&address, &std::env::var(STRATEGY).unwrap(), name);
    let begin = Instant::now();
    let mut owns = String::new();
    while begin.elapsed() < Duration::from_secs(180) {
        let message = consumer.poll(Duration::from_millis(20));
        let assignment = consumer.assignment().unwrap();
        let partitions: BTreeSet<i32> = assignment.elements().iter().map(|one| one.partition()).collect();
        let now = format!("owns {}", partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
        if now != owns {
            writeln!(diary, "{now}").unwrap();
            owns = now;
        }
        if let Some(Ok(message)) = message {
            let committed = consumer.commit_message(&message, CommitMode::Sync).is_ok();
            writeln!(diary, "read {} {} {committed}", message.partition(), message.offset()).unwrap();
        }
    }
}

struct Member {
    child: Child,
    diary: PathBuf,
}

impl Member {
    fn start(folder: &Path, name: &str, broker: &Broker, strategy: &str) -> Self {
        let diary = folder.join(name);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "groups::child_member", "--ignored", "--nocapture"])
            .env(ADDRESS, broker.address().to_string())
            .env(STRATEGY, strategy)
            .env(DIARY, &diary)
            .spawn()
            .unwrap();
        Self { child, diary }
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.diary).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    fn owns(&self) -> BTreeSet<i32> {
        let lines = self.lines();
        let last = lines.iter().rev().find_map(|line| line.strip_prefix("owns "));
        last.unwrap_or_default().split(',').filter_map(|number| number.parse().ok()).collect()
    }

    /// (partition, offset, whether it was committed) of each record it read, in order.
    fn read(&self) -> Vec<(i32, i64, bool)> {
        let parse = |line: &String| {
            let mut words = line.strip_prefix("read ")?.split(' ');
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()? == "true"))
        };
        self.lines().iter().filter_map(parse).collect()
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn share(members: &[&Member], each: usize) {
    until("fair shares", || {
        let parts: Vec<BTreeSet<i32>> = members.iter().map(|member| member.owns()).collect();
        let all: BTreeSet<i32> = parts.iter().flatten().copied().collect();
        all.len() == 4 && parts.iter().all(|part| part.len() == each)
    });
}

/// A broker with a topic of four partitions, and how many rows were sent.
struct Stream {
    broker: Broker,
    sent: i32,
    _folder: tempfile::TempDir,
}

impl Stream {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = config(folder.path());
        settings.default_partitions = PARTITIONS;
        let mut stream = Self { broker: start(settings), sent: 0, _folder: folder };
        stream.send(40);
        stream
    }

    fn send(&mut self, rows: i32) {
        let producer = producer(self.broker.address(), &[]);
        for row in self.sent..self.sent + rows {
            send(&producer, TOPIC, row % PARTITIONS, &row.to_string());
        }
        flush(&producer);
        self.sent += rows;
    }

    /// Waits until every record was read by one of them, and its position committed.
    fn all_read(&self, members: &[&Member]) {
        let each = i64::from(self.sent / PARTITIONS);
        until("every record read", || {
            let read: BTreeSet<(i32, i64)> = members
                .iter()
                .flat_map(|member| member.read())
                .filter(|(_, _, committed)| *committed)
                .map(|(partition, offset, _)| (partition, offset))
                .collect();
            (0..PARTITIONS).all(|partition| (0..each).all(|offset| read.contains(&(partition, offset))))
        });
        let committed = self.committed();
        assert!(committed.values().all(|offset| *offset == each), "{committed:?}, {each} each");
    }

    fn committed(&self) -> BTreeMap<i32, i64> {
        let consumer: BaseConsumer = client(self.broker.address()).set("group.id", GROUP).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(TOPIC, 0, PARTITIONS - 1);
        let list = consumer.committed_offsets(list, Duration::from_secs(10)).unwrap();
        let pair = |one: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match one.offset() {
            Offset::Offset(offset) => (one.partition(), offset),
            other => panic!("{other:?}"),
        };
        list.elements().into_iter().map(pair).collect()
    }
}

impl Stream {
    fn call(&self, key: ApiKey, version: i16, request: &RequestKind) -> ResponseKind {
        call(&mut TcpStream::connect(self.broker.address()).unwrap(), key, version, request)
    }

    /// The id of the member whose client has this name.
    fn member_id(&self, name: &str) -> StrBytes {
        let request = DescribeGroupsRequest::default().with_groups(vec![group()]);
        match self.call(ApiKey::DescribeGroups, 5, &RequestKind::DescribeGroups(request)) {
            ResponseKind::DescribeGroups(answer) => {
                let members = &answer.groups[0].members;
                members.iter().find(|member| member.client_id.as_str() == name).unwrap().member_id.clone()
            }
            other => panic!("{other:?}"),
        }
    }

    /// The error codes of a heartbeat and of a commit that would take partition 0 back to its begin.
    fn heartbeat_and_commit(&self, member_id: &StrBytes, generation: i32) -> [i16; 2] {
        let beat = HeartbeatRequest::default()
            .with_group_id(group())
            .with_member_id(member_id.clone())
            .with_generation_id(generation);
        let beaten = match self.call(ApiKey::Heartbeat, 4, &RequestKind::Heartbeat(beat)) {
            ResponseKind::Heartbeat(answer) => answer.error_code,
            other => panic!("{other:?}"),
        };
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
            .with_partitions(vec![OffsetCommitRequestPartition::default()]);
        let commit = OffsetCommitRequest::default()
            .with_group_id(group())
            .with_member_id(member_id.clone())
            .with_generation_id_or_member_epoch(generation)
            .with_topics(vec![topic]);
        let committed = match self.call(ApiKey::OffsetCommit, 8, &RequestKind::OffsetCommit(commit)) {
            ResponseKind::OffsetCommit(answer) => answer.topics[0].partitions[0].error_code,
            other => panic!("{other:?}"),
        };
        [beaten, committed]
    }
}

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str(GROUP))
}

fn takes_over(strategy: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = Stream::new();
    let first = Member::start(folder.path(), "first", &stream.broker, strategy);
    share(&[&first], 4);
    let second = Member::start(folder.path(), "second", &stream.broker, strategy);
    share(&[&first, &second], 2);
    stream.send(40);
    stream.all_read(&[&first, &second]);
    // Killed: its connection ends without a LeaveGroup, and its partitions wait for the end of its session.
    second.signal("-KILL");
    let killed = Instant::now();
    stream.send(40);
    share(&[&first], 4);
    let taken = killed.elapsed();
    assert!(taken > SESSION / 2 && taken < SESSION * 5, "taken over after {taken:?}");
    stream.all_read(&[&first, &second]);
    // Two more come; one is killed while the group takes the other in.
    let third = Member::start(folder.path(), "third", &stream.broker, strategy);
    let fourth = Member::start(folder.path(), "fourth", &stream.broker, strategy);
    until("the fourth is in", || !fourth.owns().is_empty());
    fourth.signal("-KILL");
    share(&[&first, &third], 2);
    stream.send(40);
    stream.all_read(&[&first, &second, &third, &fourth]);
    // Nothing was read twice by one member, and no member lost its place.
    for member in [&first, &third] {
        let mut last = BTreeMap::new();
        for (partition, offset, _) in member.read() {
            assert!(last.insert(partition, offset).is_none_or(|before| before < offset), "{partition} {offset}");
        }
    }
}

#[test]
fn a_killed_member_s_partitions_are_taken_over() {
    takes_over("range");
}

#[test]
fn a_killed_cooperative_member_s_partitions_are_taken_over() {
    takes_over("cooperative-sticky");
}

#[test]
fn cooperative_members_keep_what_they_need_not_give_away() {
    let folder = tempfile::tempdir().unwrap();
    let stream = Stream::new();
    let first = Member::start(folder.path(), "first", &stream.broker, "cooperative-sticky");
    share(&[&first], 4);
    let second = Member::start(folder.path(), "second", &stream.broker, "cooperative-sticky");
    share(&[&first, &second], 2);
    let kept = first.owns();
    // From the time it owned all four it never owned less than what it kept.
    let history = first.lines();
    let owned = history.iter().filter_map(|line| line.strip_prefix("owns "));
    let owned = owned.map(|list| list.split(',').filter_map(|number| number.parse().ok()).collect::<BTreeSet<i32>>());
    let since: Vec<BTreeSet<i32>> = owned.skip_while(|part| part.len() < 4).collect();
    assert!(since.iter().all(|part| part.is_superset(&kept)), "{since:?}");
}

fn fences(strategy: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = Stream::new();
    let first = Member::start(folder.path(), "first", &stream.broker, strategy);
    let second = Member::start(folder.path(), "second", &stream.broker, strategy);
    share(&[&first, &second], 2);
    stream.all_read(&[&first, &second]);
    let sleeper = stream.member_id("second");
    second.signal("-STOP");
    share(&[&first], 4);
    stream.send(40);
    stream.all_read(&[&first, &second]);
    // Whatever round it takes itself to be in.
    for generation in 0..10 {
        assert_eq!(stream.heartbeat_and_commit(&sleeper, generation), [UNKNOWN_MEMBER_ID; 2], "{generation}");
    }
    // The one that is in cannot speak for another round either.
    let awake = stream.member_id("first");
    assert_eq!(stream.heartbeat_and_commit(&awake, 0), [ILLEGAL_GENERATION; 2]);
    second.signal("-CONT");
    // It joins again and has its share.
    share(&[&first, &second], 2);
    assert_ne!(stream.member_id("second"), sleeper);
    stream.send(40);
    stream.all_read(&[&first, &second]);
}

#[test]
fn a_member_that_slept_past_its_session_is_fenced_and_joins_again() {
    fences("range");
}

#[test]
fn a_cooperative_member_that_slept_past_its_session_is_fenced_and_joins_again() {
    fences("cooperative-sticky");
}
