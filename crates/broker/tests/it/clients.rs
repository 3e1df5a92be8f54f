//! Real clients against a real broker: librdkafka by rdkafka, and kcat where it is installed.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{self, block_on, call, client, config, flush, producer, read_all, reader, send, start};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, InitProducerIdRequest, RequestKind, ResponseKind, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use millstream_broker::{BrokerError, Opened, Remedy, sync_through};
use rdkafka::Message;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};

#[test]
fn records_come_out_as_they_went_in_whatever_the_codec() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = config(folder.path());
    settings.segment_bytes = 1024 * 1024;
    let broker = start(settings.clone());
    let rows = 200_000;
    for codec in ["none", "lz4", "zstd", "gzip"] {
        let producer = producer(broker.address(), &[("compression.type", codec), ("enable.idempotence", "true")]);
        for row in 0..rows {
            send(&producer, codec, 0, &format!("{row:020}-{codec}"));
        }
        flush(&producer);
    }
    for codec in ["none", "lz4", "zstd", "gzip"] {
        let payloads = read_all(broker.address(), codec, 0);
        assert_eq!(payloads.len(), rows);
        for (row, payload) in payloads.iter().enumerate() {
            assert_eq!(*payload, format!("{row:020}-{codec}"));
        }
        sync_through(folder.path(), codec, 0, i64::try_from(rows).unwrap()).unwrap();
    }
    let cluster = broker.cluster_id().to_owned();
    broker.stop();
    let broker = start(settings);
    assert_eq!(broker.cluster_id(), cluster);
    assert_eq!(read_all(broker.address(), "none", 0).len(), rows);
    // Any offset, of sealed segments too, is found.
    let consumer = reader(broker.address(), "none", 0);
    for offset in [0, 1, 77_777, 150_001, 199_999] {
        consumer.seek("none", 0, rdkafka::Offset::Offset(offset), Duration::from_secs(5)).unwrap();
        let message = loop {
            if let Some(Ok(message)) = consumer.poll(Duration::from_secs(10)) {
                break message;
            }
        };
        assert_eq!(message.offset(), offset);
    }
}

/// Finds offsets by time among 2000 records whose timestamps go up and down, `codec` compressed.
fn finds_by_time(codec: &str) {
    use rdkafka::producer::BaseRecord;
    let folder = tempfile::tempdir().unwrap();
    let mut settings = config(folder.path());
    settings.segment_bytes = 8 * 1024;
    let broker = start(settings);
    let producer = producer(broker.address(), &[("linger.ms", "50"), ("compression.type", codec)]);
    // Three steps forward, two back, so that no two searches are alike.
    let timestamps: Vec<i64> = (0..2000_i64).map(|row| 1_000_000 + row * 10 - row % 5 * 25).collect();
    for (row, timestamp) in timestamps.iter().enumerate() {
        let text = format!("{row} {}", "padding that compresses well".repeat(row % 7));
        let record = BaseRecord::<(), str>::to("times").partition(0).payload(&text).timestamp(*timestamp);
        producer.send(record).unwrap();
        if row % 100 == 99 {
            flush(&producer);
        }
    }
    let consumer = reader(broker.address(), "times", 0);
    let patience = Duration::from_secs(10);
    assert_eq!(consumer.fetch_watermarks("times", 0, patience).unwrap(), (0, 2000));
    let found = |time: i64| {
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset("times", 0, rdkafka::Offset::Offset(time)).unwrap();
        consumer.offsets_for_times(list, patience).unwrap().elements()[0].offset()
    };
    for time in (999_000..1_021_000).step_by(83) {
        let expected = timestamps.iter().position(|timestamp| *timestamp >= time);
        let expected = expected.map_or(rdkafka::Offset::End, |row| rdkafka::Offset::Offset(row.try_into().unwrap()));
        assert_eq!(found(time), expected, "{codec}: {time}");
    }
}

#[test]
fn offsets_are_found_by_time_to_the_record_whatever_the_codec() {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        finds_by_time(codec);
    }
}

fn member(broker: &millstream_broker::Broker, strategy: &str) -> BaseConsumer {
    let consumer: BaseConsumer = client(broker.address())
        .set("group.id", "workers")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "200")
        .set("enable.auto.commit", "false")
        .set("partition.assignment.strategy", strategy)
        .create()
        .unwrap();
    consumer.subscribe(&["shared"]).unwrap();
    consumer
}

fn owned(consumer: &BaseConsumer) -> BTreeSet<i32> {
    let list = consumer.assignment().unwrap();
    list.elements().iter().map(rdkafka::topic_partition_list::TopicPartitionListElem::partition).collect()
}

/// Polls all until their parts are disjoint, together all four partitions, and `even`.
fn settle(consumers: &[&BaseConsumer], each: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        for consumer in consumers {
            let _ = consumer.poll(Duration::from_millis(20));
        }
        let parts: Vec<BTreeSet<i32>> = consumers.iter().map(|one| owned(one)).collect();
        let union: BTreeSet<i32> = parts.iter().flatten().copied().collect();
        if union.len() == 4 && parts.iter().all(|part| part.len() == each) {
            return;
        }
        assert!(Instant::now() < deadline, "not settled: {parts:?}");
    }
}

fn rebalances(strategy: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = config(folder.path());
    settings.default_partitions = 4;
    let broker = start(settings.clone());
    let producer = producer(broker.address(), &[]);
    for row in 0..400 {
        send(&producer, "shared", row % 4, &row.to_string());
    }
    flush(&producer);
    let first = member(&broker, strategy);
    settle(&[&first], 4);
    let second = member(&broker, strategy);
    settle(&[&first, &second], 2);
    let groups = first.fetch_group_list(Some("workers"), Duration::from_secs(5)).unwrap();
    assert_eq!(groups.groups()[0].state(), "Stable");
    assert_eq!(groups.groups()[0].members().len(), 2);
    // One leaves: the other takes over all, and goes on where the committed offsets are.
    drop(second);
    settle(&[&first], 4);
    let mut list = rdkafka::TopicPartitionList::new();
    for partition in 0..4 {
        list.add_partition_offset("shared", partition, rdkafka::Offset::Offset(90)).unwrap();
    }
    first.commit(&list, CommitMode::Sync).unwrap();
    drop(first);
    broker.stop();
    let broker = start(settings);
    let third = member(&broker, strategy);
    let mut seen = 0;
    let deadline = Instant::now() + Duration::from_secs(20);
    while seen < 40 && Instant::now() < deadline {
        if let Some(Ok(message)) = third.poll(Duration::from_millis(100)) {
            assert!(message.offset() >= 90);
            seen += 1;
        }
    }
    assert_eq!(seen, 40);
}

#[test]
fn members_share_the_partitions_and_take_over_from_who_leaves() {
    rebalances("range");
}

#[test]
fn cooperative_members_do_the_same() {
    rebalances("cooperative-sticky");
}

fn error_of(consumer: &BaseConsumer) -> rdkafka::error::RDKafkaErrorCode {
    loop {
        if let Some(Err(error)) = consumer.poll(Duration::from_secs(20)) {
            return error.rdkafka_error_code().unwrap();
        }
    }
}

#[test]
fn a_topic_keeps_what_its_settings_say_and_readers_below_are_told() {
    use rdkafka::admin::{AlterConfig, ResourceSpecifier};
    let folder = tempfile::tempdir().unwrap();
    let broker = start(config(folder.path()));
    let admin: AdminClient<DefaultClientContext> = client(broker.address()).create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    let limited = NewTopic::new("limited", 1, TopicReplication::Fixed(1)).set("segment.bytes", "20000");
    let whole = NewTopic::new("whole", 1, TopicReplication::Fixed(1)).set("segment.bytes", "20000");
    let whole = whole.set("segment.ms", "1").set("delete.retention.ms", "1").set("min.insync.replicas", "2");
    let refused = NewTopic::new("refused", 1, TopicReplication::Fixed(1)).set("retention.ms", "a week");
    let made = block_on(admin.create_topics([&limited, &whole, &refused], &options)).unwrap();
    assert!(made[0].is_ok() && made[1].is_ok() && made[2].is_err(), "{made:?}");
    let writer = producer(broker.address(), &[("linger.ms", "0")]);
    let row = "x".repeat(1000);
    for topic in ["limited", "whole"] {
        for _ in 0..100 {
            send(&writer, topic, 0, &row);
            flush(&writer);
        }
    }
    let alter = AlterConfig::new(ResourceSpecifier::Topic("limited")).set("retention.bytes", "50000");
    let altered = block_on(admin.alter_configs([&alter.set("segment.bytes", "20000")], &options)).unwrap();
    assert!(altered[0].is_ok(), "{altered:?}");
    let consumer = client(broker.address())
        .set("group.id", "below")
        .set("auto.offset.reset", "error")
        .create::<BaseConsumer>()
        .unwrap();
    let patience = Duration::from_secs(10);
    let bounds = |topic: &str| consumer.fetch_watermarks(topic, 0, patience).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while bounds("limited").0 == 0 {
        assert!(Instant::now() < deadline, "nothing was removed");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (first, end) = bounds("limited");
    assert!((30..=50).contains(&first) && end == 100, "{first} to {end}");
    assert_eq!(bounds("whole"), (0, 100), "who asks for nothing keeps all");
    let from = |topic: &str, offset| {
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset(topic, 0, rdkafka::Offset::Offset(offset)).unwrap();
        consumer.assign(&list).unwrap();
    };
    from("limited", first - 1);
    assert_eq!(error_of(&consumer), rdkafka::error::RDKafkaErrorCode::AutoOffsetReset);
    from("limited", first);
    let message = consumer.poll(Duration::from_secs(20)).unwrap().unwrap();
    assert_eq!(message.offset(), first);
    drop(message);
    // Settings, the start and added partitions outlive the broker.
    let more = rdkafka::admin::NewPartitions::new("limited", 3);
    let grown = block_on(admin.create_partitions([&more], &options)).unwrap();
    assert!(grown[0].is_ok(), "{grown:?}");
    // A client that was there before would first have to ask for the topic again.
    let writer = producer(broker.address(), &[]);
    send(&writer, "limited", 2, "in the new one");
    flush(&writer);
    broker.stop();
    let broker = start(config(folder.path()));
    let admin: AdminClient<DefaultClientContext> = client(broker.address()).create().unwrap();
    let described = block_on(admin.describe_configs([&ResourceSpecifier::Topic("limited")], &options)).unwrap();
    let settings = described[0].as_ref().unwrap().entry_map();
    assert_eq!(settings["retention.bytes"].value.as_deref(), Some("50000"));
    assert_eq!(settings["retention.ms"].value.as_deref(), Some("-1"));
    assert_eq!(read_all(broker.address(), "limited", 2), ["in the new one"]);
    let consumer = reader(broker.address(), "limited", 0);
    assert_eq!(consumer.fetch_watermarks("limited", 0, patience).unwrap().0, first);
}

#[test]
fn old_records_go_by_age_when_all_topics_are_asked_to() {
    use rdkafka::producer::BaseRecord;
    let folder = tempfile::tempdir().unwrap();
    let mut settings = config(folder.path());
    settings.retention = Some(Duration::from_secs(3600));
    let broker = start(settings);
    let producer = producer(broker.address(), &[("linger.ms", "0")]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now_ms = i64::try_from(now.as_millis()).unwrap();
    for (topic, age_ms) in [("old", 3_700_000), ("young", 100_000)] {
        let record = BaseRecord::<(), str>::to(topic).partition(0).payload("x");
        producer.send(record.timestamp(now_ms - age_ms)).unwrap();
    }
    flush(&producer);
    let consumer = reader(broker.address(), "young", 0);
    let bounds = |topic: &str| consumer.fetch_watermarks(topic, 0, Duration::from_secs(10)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while bounds("old") != (1, 1) {
        assert!(Instant::now() < deadline, "{:?}", bounds("old"));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(bounds("young"), (0, 1));
}

#[test]
fn an_append_wakes_a_waiting_fetch() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(config(folder.path()));
    let producer = producer(broker.address(), &[("linger.ms", "0")]);
    send(&producer, "waited", 0, "first");
    flush(&producer);
    let consumer: BaseConsumer = client(broker.address())
        .set("group.id", "g")
        .set("fetch.wait.max.ms", "30000")
        .set("socket.timeout.ms", "60000")
        .create()
        .unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset("waited", 0, rdkafka::Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let next = |patience| consumer.poll(patience).map(|message| message.unwrap().offset());
    assert_eq!(next(Duration::from_secs(20)), Some(0));
    // The next fetch is under way now, and would return after 30 s.
    assert_eq!(next(Duration::from_millis(500)), None);
    let start = Instant::now();
    send(&producer, "waited", 0, "second");
    flush(&producer);
    assert_eq!(next(Duration::from_secs(20)), Some(1));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_stop_answers_a_waiting_fetch() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(config(folder.path()));
    let producer = producer(broker.address(), &[]);
    send(&producer, "waited", 0, "first");
    flush(&producer);
    let mut stream = TcpStream::connect(broker.address()).unwrap();
    let partition = FetchPartition::default().with_fetch_offset(1).with_partition_max_bytes(1000);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str("waited")))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_max_wait_ms(30_000)
        .with_min_bytes(1)
        .with_max_bytes(1000)
        .with_topics(vec![topic]);
    let request = RequestKind::Fetch(request);
    let waiting = std::thread::spawn(move || call(&mut stream, ApiKey::Fetch, 11, &request));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!waiting.is_finished());
    let start = Instant::now();
    broker.stop();
    let ResponseKind::Fetch(answer) = waiting.join().unwrap() else {
        panic!("another answer");
    };
    assert_eq!(answer.responses[0].partitions[0].high_watermark, 1);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn a_second_open_finds_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(config(folder.path()));
    match millstream_broker::open(config(folder.path())).unwrap() {
        Opened::Running { address } => assert_eq!(address, broker.address()),
        Opened::Started(_) => panic!("two brokers on one folder"),
    }
    broker.stop();
    start(config(folder.path()));
}

#[test]
fn a_taken_port_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind(common::free_port()).unwrap();
    let mut settings = config(folder.path());
    settings.listen = taken.local_addr().unwrap();
    let Err(error) = millstream_broker::open(settings.clone()) else {
        panic!("two listeners on one port");
    };
    assert_eq!(error.remedy(), Remedy::FixConfig);
    assert!(error.to_string().contains("`stream.listen`"), "{error}");
    assert!(matches!(error, BrokerError::PortInUse { address } if address == settings.listen));
    settings.listen = common::free_port();
    start(settings);
}

#[test]
fn an_unknown_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("meta.json"), "{\"format\":2}").unwrap();
    let refused = millstream_broker::open(config(folder.path())).err().unwrap();
    assert!(matches!(refused, BrokerError::FormatUnknown { .. }), "{refused}");
}

fn producer_id(stream: &mut TcpStream, request: InitProducerIdRequest) -> (i16, i64) {
    let request = RequestKind::InitProducerId(request);
    match call(stream, ApiKey::InitProducerId, 4, &request) {
        ResponseKind::InitProducerId(response) => (response.error_code, response.producer_id.0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn producer_ids_are_never_given_twice_and_transactions_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let broker = start(config(folder.path()));
        let mut stream = TcpStream::connect(broker.address()).unwrap();
        for _ in 0..5 {
            let request = InitProducerIdRequest::default().with_transactional_id(None);
            let (error_code, id) = producer_id(&mut stream, request);
            assert_eq!(error_code, 0);
            assert!(seen.insert(id), "{id} given twice");
        }
        let transactional = TransactionalId(StrBytes::from_static_str("t"));
        let request = InitProducerIdRequest::default().with_transactional_id(Some(transactional));
        let (error_code, _) = producer_id(&mut stream, request);
        assert_eq!(error_code, 35, "UNSUPPORTED_VERSION");
    }
}

#[test]
fn topics_are_made_described_and_deleted_by_an_admin_client() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(config(folder.path()));
    let admin: AdminClient<DefaultClientContext> = client(broker.address()).create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    let topic = NewTopic::new("made", 3, TopicReplication::Fixed(1));
    let made = block_on(admin.create_topics([&topic], &options)).unwrap();
    assert!(made[0].is_ok(), "{made:?}");
    let again = block_on(admin.create_topics([&topic], &options)).unwrap();
    assert!(again[0].is_err(), "{again:?}");
    let patience = Duration::from_secs(10);
    let metadata = admin.inner().fetch_metadata(Some("made"), patience).unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 3);
    let deleted = block_on(admin.delete_topics(&["made"], &options)).unwrap();
    assert!(deleted[0].is_ok(), "{deleted:?}");
    let left = std::fs::read_dir(folder.path().join("topics")).unwrap().count();
    assert_eq!(left, 0);
}

fn kcat(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("timeout")
        .arg("30")
        .arg("kcat")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "kcat {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn kcat_lists_produces_and_consumes() {
    if Command::new("kcat").arg("-V").output().is_err() {
        eprintln!("SKIPPED: kcat is not installed (apt-get install kcat)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let broker = start(config(folder.path()));
    let address = broker.address().to_string();
    kcat(&["-b", &address, "-P", "-t", "cat", "-p", "0"], "a\nb\nc\n");
    assert!(kcat(&["-b", &address, "-L"], "").contains("topic \"cat\" with 1 partitions"));
    let all = kcat(&["-b", &address, "-C", "-t", "cat", "-e", "-q"], "");
    assert_eq!(all, "a\nb\nc\n");
    let last = kcat(&["-b", &address, "-C", "-t", "cat", "-o", "-1", "-e", "-q"], "");
    assert_eq!(last, "c\n");
    let mut group = vec!["-b", &address, "-X", "auto.offset.reset=earliest", "-c", "3", "-q"];
    group.extend(["-G", "cats", "cat"]);
    assert_eq!(kcat(&group, ""), "a\nb\nc\n");
    let found = kcat(&["-b", &address, "-Q", "-t", "cat:0:1"], "");
    assert!(found.contains("offset 0"), "{found}");
}
