//! The same pipeline against Apache Kafka, as `ci/kafka.sh` starts it: the same batches, through the broker's restarts and deaths, and
//! a clear error wherever the topic is no longer the one the store was begun with.

use std::sync::OnceLock;
use std::time::Duration;

use crate::common::services::{self, Kafka, Sasl};
use crate::common::{Bench, Part, until};
use futures_executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const ROWS: u64 = 6000;
const BATCHES: &str = "batch.rows = 1700\nstream.partitions = 3\n";
/// Three thousand rows a second: two seconds in which something can happen.
const PACED: &str = "source.rate = 3000\n";
const AT_ONCE: &[&str] = &["--set", "source.rate=1000000"];

/// The batches as the embedded broker gives them.
fn expected() -> Vec<Part> {
    static EXPECTED: OnceLock<Vec<Part>> = OnceLock::new();
    let run = || {
        let bench = Bench::new(ROWS, BATCHES);
        bench.run_well(&[]);
        let parts = bench.parts();
        assert_eq!(parts.iter().map(|part| part.4).sum::<u64>(), ROWS);
        parts
    };
    EXPECTED.get_or_init(run).clone()
}

/// A pipeline on a topic of its own.
fn on_kafka(kafka: &Kafka, rest: &str) -> (Bench, String) {
    let (bench, topic) = (Bench::new(ROWS, ""), services::topic("kafka"));
    bench.pipeline_on(&kafka.servers, &format!("{BATCHES}stream.topic = \"{topic}\"\n{rest}"));
    (bench, topic)
}

fn admin(kafka: &Kafka) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &kafka.servers).create().unwrap()
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(Duration::from_secs(30))).operation_timeout(Some(Duration::from_secs(30)))
}

fn delete(kafka: &Kafka, topic: &str) {
    block_on(admin(kafka).delete_topics(&[topic], &options())).unwrap()[0].as_ref().unwrap();
    // Deleted once nobody knows of it any more.
    until("the topic is gone, and no client makes it again", || {
        let metadata = admin(kafka).inner().fetch_metadata(None, Duration::from_secs(10)).unwrap();
        (!metadata.topics().iter().any(|found| found.name() == topic)).then_some(())
    });
}

fn create(kafka: &Kafka, topic: &str, partitions: i32) {
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    block_on(admin(kafka).create_topics([&new], &options())).unwrap()[0].as_ref().unwrap();
}

fn send_one(kafka: &Kafka, topic: &str) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &kafka.servers).create().unwrap();
    producer.send(BaseRecord::<(), str>::to(topic).partition(1).payload("{\"mine\":1}")).unwrap();
    producer.flush(Duration::from_secs(20)).unwrap();
}

/// Runs, kills or stops in the middle, and answers what is in the store then: something, but not all.
fn stopped_after_batch_1(bench: &Bench) -> Vec<Part> {
    let mut served = bench.serve(&[]);
    served.wait_for("batch 1 committed");
    let sent = |status: &serde_json::Value| status["source"]["rows_sent"].as_u64();
    let before = sent(&served.ask("/v1/status"));
    served.wait_until("rows of the next batch are on their way", |status| sent(status) > before);
    served.signal("TERM");
    let (code, said) = served.end();
    assert_eq!(code, 0, "{said}");
    let parts = bench.parts();
    assert!(parts.len() >= 3 && parts.iter().map(|part| part.4).sum::<u64>() < ROWS, "{said}");
    parts
}

/// The run fails, and says all of this.
fn refused(bench: &Bench, texts: &[&str]) {
    let (code, said) = bench.run(AT_ONCE);
    assert_eq!(code, 1, "{said}");
    for text in texts {
        assert!(said.contains(text), "{text:?} is not in:\n{said}");
    }
}

#[test]
fn apache_kafka_gives_the_same_batches_as_the_embedded_broker() {
    let Some(kafka) = services::kafka("apache_kafka_gives_the_same_batches_as_the_embedded_broker") else { return };
    let (bench, _) = on_kafka(&kafka, "");
    bench.run_well(&[]);
    assert_eq!(bench.parts(), expected());
    let said = bench.run_well(&[]);
    assert!(said.contains(&format!("all {ROWS} rows are in the topic already")), "{said}");
}

#[test]
fn a_process_killed_again_and_again_goes_on_to_the_same_batches() {
    let Some(kafka) = services::kafka("a_process_killed_again_and_again_goes_on_to_the_same_batches") else { return };
    let (bench, _) = on_kafka(&kafka, PACED);
    for round in 0..5_u64 {
        let served = bench.serve(&[]);
        std::thread::sleep(Duration::from_millis(300 + 170 * round));
        served.signal("KILL");
        let _ = served.end();
    }
    bench.run_well(AT_ONCE);
    assert_eq!(bench.parts(), expected());
}

#[test]
fn a_broker_restarted_in_the_middle_is_waited_for() {
    let Some(kafka) = services::kafka_alone("a_broker_restarted_in_the_middle_is_waited_for") else { return };
    through(&kafka, || kafka.restart());
}

#[test]
fn a_broker_killed_in_the_middle_loses_nothing() {
    let Some(kafka) = services::kafka_alone("a_broker_killed_in_the_middle_loses_nothing") else { return };
    through(&kafka, || {
        kafka.kill();
        kafka.start();
    });
}

/// What happens to the broker after batch 1 changes no batch.
fn through(kafka: &Kafka, happens: impl FnOnce()) {
    let (bench, _) = on_kafka(kafka, PACED);
    let mut served = bench.serve(&["--exit-when-done"]);
    served.wait_for("batch 1 committed");
    happens();
    let (code, said) = served.end();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("the broker is away"), "{said}");
    assert_eq!(bench.parts(), expected(), "{said}");
}

#[test]
fn a_topic_made_again_under_the_same_name_is_another() {
    let Some(kafka) = services::kafka("a_topic_made_again_under_the_same_name_is_another") else { return };
    let (bench, topic) = on_kafka(&kafka, PACED);
    let before = stopped_after_batch_1(&bench);
    delete(&kafka, &topic);
    create(&kafka, &topic, 3);
    refused(&bench, &["this store belongs to another topic id", "the topic was deleted and made again"]);
    assert_eq!(bench.parts(), before);
}

#[test]
fn a_topic_made_again_while_rows_flow_stops_the_run() {
    let Some(kafka) = services::kafka("a_topic_made_again_while_rows_flow_stops_the_run") else { return };
    let (bench, topic) = on_kafka(&kafka, PACED);
    let mut served = bench.serve(&["--exit-when-done"]);
    served.wait_for("batch 1 committed");
    delete(&kafka, &topic);
    create(&kafka, &topic, 3);
    let (code, said) = served.end();
    assert_eq!(code, 1, "{said}");
    let clear = ["someone else writes to topic", "are not in partition", "deleted and made again"];
    assert!(clear.iter().any(|text| said.contains(text)), "{said}");
    refused(&bench, &["the topic was deleted and made again"]);
}

#[test]
fn a_partition_count_that_grew_is_refused() {
    let Some(kafka) = services::kafka("a_partition_count_that_grew_is_refused") else { return };
    let (bench, topic) = on_kafka(&kafka, PACED);
    let before = stopped_after_batch_1(&bench);
    grow(&kafka, &topic);
    // Setting stream.partitions to what the topic has would only lead to the next error.
    refused(&bench, &["number of partitions", "\"3\"", "\"5\"", "begin anew"]);
    assert_eq!(bench.parts(), before);
}

#[test]
fn a_partition_count_that_grows_while_rows_flow_changes_no_batch() {
    let Some(kafka) = services::kafka("a_partition_count_that_grows_while_rows_flow_changes_no_batch") else { return };
    let (bench, topic) = on_kafka(&kafka, &format!("{PACED}stream.\"topic.metadata.refresh.interval.ms\" = 200\n"));
    let mut served = bench.serve(&["--exit-when-done"]);
    served.wait_for("batch 1 committed");
    grow(&kafka, &topic);
    let (code, said) = served.end();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bench.parts(), expected(), "{said}");
}

fn grow(kafka: &Kafka, topic: &str) {
    block_on(admin(kafka).create_partitions([&NewPartitions::new(topic, 5)], &options())).unwrap()[0].as_ref().unwrap();
}

#[test]
fn records_removed_before_they_were_read_are_a_gap_with_a_name() {
    let Some(kafka) = services::kafka("records_removed_before_they_were_read_are_a_gap_with_a_name") else { return };
    let (bench, topic) = on_kafka(&kafka, PACED);
    let before = stopped_after_batch_1(&bench);
    let needed = before.iter().filter(|part| part.1 == 2).map(|part| part.3).max().unwrap();
    let mut removed = TopicPartitionList::new();
    removed.add_partition_offset(&topic, 2, Offset::Offset(needed + 5)).unwrap();
    block_on(admin(&kafka).delete_records(&removed, &options())).unwrap();
    let begins = format!("partition 2 of the topic begins at offset {}", needed + 5);
    refused(&bench, &[&begins, &format!("offsets from {needed} on are not in a batch yet"), "retention removed them"]);
    assert_eq!(bench.parts(), before);
}

#[test]
fn records_removed_after_they_were_read_are_not_missed() {
    let Some(kafka) = services::kafka("records_removed_after_they_were_read_are_not_missed") else { return };
    let (bench, topic) = on_kafka(&kafka, PACED);
    let before = stopped_after_batch_1(&bench);
    let mut removed = TopicPartitionList::new();
    for partition in 0..3 {
        let read = before.iter().filter(|part| part.1 == partition).map(|part| part.3).max().unwrap();
        let partition = i32::try_from(partition).unwrap();
        removed.add_partition_offset(&topic, partition, Offset::Offset(read)).unwrap();
    }
    block_on(admin(&kafka).delete_records(&removed, &options())).unwrap();
    bench.run_well(AT_ONCE);
    assert_eq!(bench.parts(), expected());
}

#[test]
fn a_second_pipeline_on_the_same_topic_begins_after_the_first() {
    let Some(kafka) = services::kafka("a_second_pipeline_on_the_same_topic_begins_after_the_first") else { return };
    let (first, topic) = on_kafka(&kafka, "");
    first.run_well(&[]);
    let second = Bench::new(ROWS, "");
    second.pipeline_on(&kafka.servers, &format!("{BATCHES}stream.topic = \"{topic}\"\n"));
    second.run_well(&[]);
    let before = i64::try_from(ROWS).unwrap() / 3;
    let shifted = expected().into_iter().map(|mut part| {
        (part.2, part.3) = (part.2 + before, part.3 + before);
        part
    });
    assert_eq!(second.parts(), shifted.collect::<Vec<_>>());
    assert_eq!(first.parts(), expected());
}

#[test]
fn a_foreign_writer_during_a_replay_stops_it() {
    let Some(kafka) = services::kafka("a_foreign_writer_during_a_replay_stops_it") else { return };
    let (bench, topic) = on_kafka(&kafka, PACED);
    let mut served = bench.serve(&["--exit-when-done"]);
    served.wait_for("batch 1 committed");
    send_one(&kafka, &topic);
    let (code, said) = served.end();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("someone else writes to topic \"{topic}\"")), "{said}");
    // What was committed before stays exact.
    let parts = bench.parts();
    assert_eq!(parts, expected()[..parts.len()]);
    refused(&bench, &["someone else writes to"]);
}

fn secured(sasl: &Sasl, password: &str, authority: &std::path::Path) -> String {
    let authority = authority.display();
    format!(
        "{BATCHES}stream.topic = \"{}\"\nstream.\"security.protocol\" = \"SASL_SSL\"\n\
         stream.\"sasl.mechanism\" = \"SCRAM-SHA-256\"\nstream.\"sasl.username\" = \"{}\"\n\
         stream.\"sasl.password\" = \"{password}\"\nstream.\"ssl.ca.location\" = \"{authority}\"\n",
        services::topic("secured"),
        sasl.user
    )
}

#[test]
fn sasl_over_tls_gives_the_same_batches() {
    let Some(kafka) = services::kafka("sasl_over_tls_gives_the_same_batches") else { return };
    let sasl = &kafka.sasl;
    let bench = Bench::new(ROWS, "");
    bench.pipeline_on(&sasl.servers, &secured(sasl, &sasl.password, &sasl.authority));
    bench.run_well(&[]);
    assert_eq!(bench.parts(), expected());
}

#[test]
fn a_wrong_password_or_authority_is_named_while_the_broker_is_waited_for() {
    let test = "a_wrong_password_or_authority_is_named_while_the_broker_is_waited_for";
    let Some(kafka) = services::kafka(test) else { return };
    let sasl = &kafka.sasl;
    let bench = Bench::new(ROWS, "");
    bench.pipeline_on(&sasl.servers, &secured(sasl, "wrong", &sasl.authority));
    bench.serve(&[]).wait_for("SASL authentication error");
    // A certificate that no authority of ours has signed.
    let other = sasl.authority.with_file_name("broker.pem");
    bench.pipeline_on(&sasl.servers, &secured(sasl, &sasl.password, &other));
    bench.serve(&[]).wait_for("certificate verify failed");
}

/// A pipeline that listens to `topic`.
fn listening_to(kafka: &Kafka, topic: &str, rest: &str) -> Bench {
    let bench = Bench::listening("");
    let head = "name = \"test\"\nserve.listen = \"127.0.0.1:0\"\n";
    let broker = format!("stream.\"bootstrap.servers\" = \"{}\"\nstream.topic = \"{topic}\"\n", kafka.servers);
    std::fs::write(bench.path("test.toml"), format!("{head}{broker}{rest}")).unwrap();
    bench
}

#[test]
fn offsets_that_hold_no_record_are_counted_and_skipped() {
    let Some(kafka) = services::kafka("offsets_that_hold_no_record_are_counted_and_skipped") else { return };
    let topic = services::topic("transactions");
    create(&kafka, &topic, 1);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka.servers).set("transactional.id", &topic);
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(Duration::from_secs(30)).unwrap();
    for (records, commit) in [(10, true), (5, false), (10, true)] {
        producer.begin_transaction().unwrap();
        for i in 0..records {
            let value = format!("{{\"i\":{i}}}");
            producer.send(BaseRecord::<(), str>::to(&topic).partition(0).payload(&value)).unwrap();
        }
        producer.flush(Duration::from_secs(20)).unwrap();
        let end = Duration::from_secs(30);
        if commit { producer.commit_transaction(end).unwrap() } else { producer.abort_transaction(end).unwrap() }
    }
    // 25 records and three markers: the last offset of all holds none.
    let bench = listening_to(&kafka, &topic, "batch.rows = 14\nbatch.limit = 2\n");
    let said = bench.run_well(&[]);
    let counted: Vec<(i64, i64, u64)> = bench.parts().iter().map(|part| (part.2, part.3, part.4)).collect();
    assert_eq!(counted, [(0, 14, 10), (14, 28, 10)], "{said}");
    for batch in 1..=2 {
        let manifest = bench.read(&format!("batches/batch={batch:06}/_manifest-0000.json"));
        assert_eq!(manifest["skipped"], 4);
    }
    let verified = bench.output(&["batches", "verify", "test.toml"]);
    assert!(String::from_utf8_lossy(&verified.stderr).contains(": whole"));
}

#[test]
fn two_workers_share_the_partitions_and_one_is_killed() {
    let Some(kafka) = services::kafka("two_workers_share_the_partitions_and_one_is_killed") else { return };
    let (bench, _) = on_kafka(&kafka, "source.rate = 600\nstream.\"session.timeout.ms\" = 6000\n");
    let mut replay = bench.spawn(&["replay", "test.toml"]);
    let mut first = bench.spawn(&["ingest", "test.toml", "--exit-when-done"]);
    first.wait_for("batch 1 committed");
    let mut second = bench.spawn(&["ingest", "test.toml", "--exit-when-done"]);
    second.wait_for("this worker has partitions");
    first.signal("KILL");
    let _ = first.end();
    replay.wait_for("rows sent");
    let (code, said) = second.end();
    assert_eq!(code, 0, "{said}");
    assert_eq!(bench.parts(), expected());
}

#[test]
fn windows_of_arrival_end_where_the_broker_says() {
    let Some(kafka) = services::kafka("windows_of_arrival_end_where_the_broker_says") else { return };
    let topic = services::topic("windows");
    create(&kafka, &topic, 2);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &kafka.servers)
        .set("compression.type", "lz4")
        .set("linger.ms", "200")
        .create()
        .unwrap();
    let start = 1_700_000_000_000;
    // In one compressed batch for each partition: the broker must look into it.
    for (i, second) in [0, 20, 59, 60, 61, 119, 500].into_iter().enumerate() {
        let mut record =
            BaseRecord::<(), str>::to(&topic).partition(i32::try_from(i % 2).unwrap()).payload("{\"a\":1}");
        record.timestamp = Some(start + second * 1000);
        producer.send(record).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
    let bench = listening_to(&kafka, &topic, "batch.window = \"1m\"\nbatch.limit = 2\n");
    bench.run_well(&[]);
    let ends: Vec<_> =
        (1..=2).map(|n| bench.read(&format!("batches/batch={n:06}/_cut.json"))["ends"].clone()).collect();
    assert_eq!(ends, [serde_json::json!([2, 1]), serde_json::json!([3, 3])]);
}
