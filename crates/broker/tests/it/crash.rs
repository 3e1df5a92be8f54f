//! What is left after kill -9, torn files and full disks.
// The tests kill and reap what `spawn` returns.
#![allow(clippy::zombie_processes)]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::{self, client, config, flush, producer, read_all, send, start};
use rdkafka::ClientContext;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, ProducerContext};

const CHILD_DATA: &str = "BROKER_TEST_DATA";
const CHILD_ADDRESS: &str = "BROKER_TEST_ADDRESS";
/// Bytes of a partition that the child keeps, in segments of an eighth.
const CHILD_RETENTION: &str = "BROKER_TEST_RETENTION";

/// Not a test of its own: the broker that the others kill. They start this test binary again with these variables.
#[test]
#[ignore = "started by the other tests as a process of its own"]
fn child_broker() {
    let Ok(data) = std::env::var(CHILD_DATA) else {
        return;
    };
    let mut settings = config(Path::new(&data));
    settings.listen = std::env::var(CHILD_ADDRESS).unwrap().parse().unwrap();
    settings.segment_bytes = 4 * 1024 * 1024;
    if let Ok(bytes) = std::env::var(CHILD_RETENTION) {
        let bytes: u64 = bytes.parse().unwrap();
        settings.retention_bytes = Some(bytes);
        settings.segment_bytes = bytes / 8;
    }
    let _broker = start(settings);
    std::thread::sleep(Duration::from_secs(120));
}

fn spawn(data: &Path, address: SocketAddr, limit_blocks: Option<u32>) -> (Child, SocketAddr) {
    spawn_with(data, address, limit_blocks, None)
}

/// A broker in a process of its own; `limit_blocks` bounds its files (512 bytes each), as a full disk would.
fn spawn_with(
    data: &Path,
    address: SocketAddr,
    limit_blocks: Option<u32>,
    retention: Option<u64>,
) -> (Child, SocketAddr) {
    let _ = fs::remove_file(data.join("lock"));
    let limit = limit_blocks.map_or(String::new(), |blocks| format!("trap '' XFSZ; ulimit -S -f {blocks}; "));
    let child = Command::new("sh")
        .arg("-c")
        .arg(format!("{limit}exec \"$0\" --exact crash::child_broker --ignored --nocapture"))
        .arg(std::env::current_exe().unwrap())
        .env(CHILD_DATA, data)
        .env(CHILD_ADDRESS, address.to_string())
        .envs(retention.map(|bytes| (CHILD_RETENTION, bytes.to_string())))
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let text = fs::read_to_string(data.join("lock")).unwrap_or_default();
        if text.ends_with('\n') {
            let start = text.find("\"address\":\"").unwrap() + 11;
            let end = start + text[start..].find('"').unwrap();
            return (child, text[start..end].parse().unwrap());
        }
        assert!(Instant::now() < deadline, "the child does not serve");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Notes what was acknowledged.
#[derive(Default)]
struct Acknowledged(Mutex<Vec<(i64, usize)>>, AtomicBool);

impl ClientContext for Acknowledged {}
impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<usize>;
    fn delivery(&self, result: &DeliveryResult<'_>, row: Box<usize>) {
        use rdkafka::Message;
        match result {
            Ok(message) => self.0.lock().unwrap().push((message.offset(), *row)),
            Err(_) => self.1.store(true, Ordering::Release),
        }
    }
}

#[test]
fn kill_9_loses_nothing_acknowledged_and_doubles_nothing() {
    use rdkafka::producer::{BaseRecord, Producer};
    let folder = tempfile::tempdir().unwrap();
    let (mut child, address) = spawn(folder.path(), common::free_port(), None);
    let producer: BaseProducer<Acknowledged> = client(address)
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .set("batch.num.messages", "500")
        .set("message.timeout.ms", "0")
        .set("reconnect.backoff.max.ms", "200")
        .create_with_context(Acknowledged::default())
        .unwrap();
    let mut row = 0;
    for life in 0..4 {
        // Rows go on being sent while the broker dies and comes back.
        let until = row + 100_000;
        let kill_at = row + 60_000;
        while row < until {
            let text = row.to_string();
            let record = BaseRecord::<(), str, _>::with_opaque_to("crash", Box::new(row));
            if producer.send(record.partition(0).payload(&text)).is_ok() {
                row += 1;
            } else {
                producer.poll(Duration::from_millis(5));
            }
            if row % 1000 == 0 {
                producer.poll(Duration::ZERO);
            }
            if row == kill_at && life < 3 {
                child.kill().unwrap();
                child.wait().unwrap();
                (child, _) = spawn(folder.path(), address, None);
            }
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    assert!(!producer.context().1.load(Ordering::Acquire), "a record failed");
    let acknowledged = producer.context().0.lock().unwrap().clone();
    child.kill().unwrap();
    child.wait().unwrap();
    let broker = start(config(folder.path()));
    let payloads = read_all(broker.address(), "crash", 0);
    // Every row once, in order, at the offset that its acknowledgement named.
    assert_eq!(payloads.len(), row);
    assert_eq!(acknowledged.len(), row);
    for (index, payload) in payloads.iter().enumerate() {
        assert_eq!(payload.parse(), Ok(index));
    }
    for (offset, row) in acknowledged {
        assert_eq!(usize::try_from(offset), Ok(row));
    }
}

fn only_segment(data: &Path) -> PathBuf {
    let topic = fs::read_dir(data.join("topics")).unwrap().next().unwrap().unwrap().path();
    topic.join("0").join(format!("{:020}.log", 0))
}

/// Writes 10 batches of one record, damages the segment, and says what is left after a new open.
fn left_after(damage: impl Fn(&Path)) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(config(folder.path()));
    let writer = producer(broker.address(), &[("linger.ms", "0")]);
    for row in 0..10 {
        send(&writer, "torn", 0, &row.to_string());
        flush(&writer);
    }
    broker.stop();
    damage(&only_segment(folder.path()));
    let broker = start(config(folder.path()));
    // What comes next follows on without a hole.
    let writer = producer(broker.address(), &[]);
    send(&writer, "torn", 0, "next");
    flush(&writer);
    read_all(broker.address(), "torn", 0)
}

fn rows(count: usize) -> Vec<String> {
    (0..count).map(|row| row.to_string()).chain(["next".to_owned()]).collect()
}

#[test]
fn a_torn_tail_is_cut_at_open() {
    let length = |path: &Path| fs::metadata(path).unwrap().len();
    let cut = |path: &Path, bytes: u64| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(length(path) - bytes).unwrap();
    };
    assert_eq!(left_after(|_| {}), rows(10));
    assert_eq!(left_after(|path| cut(path, 1)), rows(9));
    assert_eq!(left_after(|path| cut(path, 69)), rows(9));
    let garble = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let last = bytes.len() - 2;
        bytes[last] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    assert_eq!(left_after(garble), rows(9));
    let append = |path: &Path| {
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(&[0; 100]).unwrap();
    };
    assert_eq!(left_after(append), rows(10));
}

#[test]
fn a_full_disk_is_answered_and_leaves_no_half_batch() {
    use kafka_protocol::messages::{ApiKey, ProduceRequest, RequestKind, ResponseKind, TopicName};
    use kafka_protocol::messages::{MetadataRequest, produce_request};
    let folder = tempfile::tempdir().unwrap();
    // 256 KiB for each file.
    let (mut child, address) = spawn(folder.path(), common::free_port(), Some(512));
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let name = || TopicName("full".to_owned().into());
    let topic = kafka_protocol::messages::metadata_request::MetadataRequestTopic::default().with_name(Some(name()));
    let metadata = MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(true);
    common::call(&mut stream, ApiKey::Metadata, 4, &RequestKind::Metadata(metadata));
    let mut append = |bytes: usize| {
        let data = produce_request::PartitionProduceData::default().with_records(Some(batch(bytes).into()));
        let data = produce_request::TopicProduceData::default().with_name(name()).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![data]);
        let answer = common::call(&mut stream, ApiKey::Produce, 9, &RequestKind::Produce(request));
        let ResponseKind::Produce(answer) = answer else {
            panic!("{answer:?}");
        };
        let partition = &answer.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset)
    };
    assert_eq!(append(100_000), (0, 0));
    assert_eq!(append(100_000), (0, 1));
    assert_eq!(append(100_000), (56, -1), "KAFKA_STORAGE_ERROR");
    // What fits still goes in: the torn bytes were cut at once.
    assert_eq!(append(1_000), (0, 2));
    for _ in 0..3 {
        assert_eq!(append(100_000), (56, -1), "KAFKA_STORAGE_ERROR");
    }
    // Room is made, and the broker goes on by itself.
    let pid = child.id().to_string();
    assert!(Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status().unwrap().success());
    assert_eq!(append(100_000), (0, 3));
    child.kill().unwrap();
    child.wait().unwrap();
    let broker = start(config(folder.path()));
    let lengths: Vec<usize> = read_all(broker.address(), "full", 0).iter().map(String::len).collect();
    assert_eq!(lengths, [100_000, 100_000, 1_000, 100_000]);
}

/// First and last offset of what a reader from the beginning gets, and that nothing is missing between but what was
/// removed while it read.
fn check_rest(address: SocketAddr, topic: &str) -> (i64, i64) {
    use rdkafka::Message;
    use rdkafka::consumer::Consumer;
    let consumer: rdkafka::consumer::BaseConsumer =
        client(address).set("group.id", "rest").set("auto.offset.reset", "earliest").create().unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset(topic, 0, rdkafka::Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let patience = Duration::from_secs(20);
    let (start, end) = consumer.fetch_watermarks(topic, 0, patience).unwrap();
    let mut next = start;
    while next < end {
        match consumer.poll(patience) {
            Some(Ok(message)) => {
                let offset = message.offset();
                if offset != next {
                    let (low, _) = consumer.fetch_watermarks(topic, 0, patience).unwrap();
                    assert!(offset > next && offset <= low, "{offset} came instead of {next}, the log begins at {low}");
                }
                let text = std::str::from_utf8(message.payload().unwrap()).unwrap();
                assert!(text.trim_start_matches('x').parse() == Ok(offset), "{text} at {offset}");
                next = offset + 1;
            }
            other => panic!("{other:?} at {next}"),
        }
    }
    (start, end)
}

#[test]
fn kill_9_while_old_segments_go_leaves_a_log_without_holes() {
    use rdkafka::admin::{AdminClient, AdminOptions};
    use rdkafka::producer::{BaseRecord, Producer};
    const RETENTION: u64 = 256 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let life = |address| spawn_with(folder.path(), address, None, Some(RETENTION));
    let (mut child, address) = life(common::free_port());
    let producer: BaseProducer = client(address)
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .set("batch.num.messages", "50")
        .set("message.timeout.ms", "0")
        .set("reconnect.backoff.max.ms", "200")
        .create()
        .unwrap();
    let admin: AdminClient<rdkafka::client::DefaultClientContext> = client(address).create().unwrap();
    let mut row = 0;
    let mut starts = vec![0];
    let mut state: u64 = 11;
    for round in 0..12 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let kill_after = Duration::from_millis(150 + (state >> 33) % 500);
        let begin = Instant::now();
        while begin.elapsed() < kill_after {
            let text = format!("{row:x>200}");
            if producer.send(BaseRecord::<(), str>::to("kept").partition(0).payload(&text)).is_ok() {
                row += 1;
            }
            if row % 200 == 0 {
                producer.poll(Duration::from_millis(2));
            }
        }
        if round % 3 == 2 {
            // The start inside of a segment, too.
            producer.flush(Duration::from_secs(30)).unwrap();
            let mut list = rdkafka::TopicPartitionList::new();
            list.add_partition_offset("kept", 0, rdkafka::Offset::Offset(row - 77)).unwrap();
            let deleted = common::block_on(admin.delete_records(&list, &AdminOptions::new())).unwrap();
            assert_eq!(deleted.elements()[0].offset(), rdkafka::Offset::Offset(row - 77));
            starts.push(row - 77);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        (child, _) = life(address);
        let (first, _) = check_rest(address, "kept");
        assert!(first >= *starts.last().unwrap(), "{first} after {starts:?}");
        starts.push(first);
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    let (first, end) = check_rest(address, "kept");
    assert_eq!(end, row, "all that was sent is in, once");
    assert!(first > 0, "something was removed");
    child.kill().unwrap();
    child.wait().unwrap();
    // No file is left that belongs to nothing, and what is kept is about what was asked for.
    let mut settings = config(folder.path());
    settings.listen = address;
    settings.retention_bytes = Some(RETENTION);
    settings.segment_bytes = RETENTION / 8;
    let broker = start(settings);
    let log = only_segment(folder.path()).parent().unwrap().to_path_buf();
    // The segment that is written to stays, and grows while many wait to be sealed: what comes after it lets it go.
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        for _ in 0..200 {
            let text = format!("{row:x>200}");
            row += i64::from(producer.send(BaseRecord::<(), str>::to("kept").partition(0).payload(&text)).is_ok());
        }
        producer.flush(Duration::from_secs(60)).unwrap();
        // A file may go between the listing and the question.
        let files = fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path());
        let bytes: u64 = files.filter_map(|path| fs::metadata(path).ok()).map(|found| found.len()).sum();
        if bytes < 8 * RETENTION {
            break;
        }
        assert!(Instant::now() < end, "{bytes} bytes kept");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(broker);
    let files: Vec<PathBuf> = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()).collect();
    let orphan =
        |path: &&PathBuf| path.extension().is_some_and(|end| end == "index") && !path.with_extension("log").exists();
    assert_eq!(files.iter().find(orphan), None);
}

/// A batch of one record with so many bytes, by the protocol guide.
fn batch(value_bytes: usize) -> Vec<u8> {
    let varint = |value: usize| {
        let mut rest = value << 1;
        let mut bytes = Vec::new();
        while rest > 0x7f {
            bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        bytes.push(u8::try_from(rest).unwrap());
        bytes
    };
    let mut record = vec![0, 0, 0, 1];
    record.extend(varint(value_bytes));
    record.extend(std::iter::repeat_n(b'x', value_bytes));
    record.push(0);
    let mut covered = vec![0; 40];
    covered[22..36].fill(0xff);
    covered[36..40].copy_from_slice(&1_i32.to_be_bytes());
    covered.extend(varint(record.len()));
    covered.extend(record);
    let mut batch = vec![0; 8];
    batch.extend(i32::try_from(covered.len() + 9).unwrap().to_be_bytes());
    batch.extend([0, 0, 0, 0, 2]);
    batch.extend(crc32c::crc32c(&covered).to_be_bytes());
    batch.extend(covered);
    batch
}
