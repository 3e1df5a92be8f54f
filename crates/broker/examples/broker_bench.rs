//! Moves rows of 79 bytes into a fresh broker and out again with plain librdkafka clients, and prints one JSON line.
//! `cargo run --release -p millstream-broker --example broker_bench -- [rows] [data folder]`
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use millstream_broker::{Config, Opened};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Message, Offset, TopicPartitionList};

const TOPIC: &str = "bench";
/// A minute of the bitcoin file as JSON, without its closing brace: what differs is the number in front.
const ROW_BYTES: usize = 79;
/// Ready-made payloads, so that formatting is not measured.
const PAYLOADS: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let rows: usize = arguments.next().map_or(Ok(8_000_000), |rows| rows.parse())?;
    let folder = tempfile::tempdir()?;
    let data = arguments.next().map_or(folder.path().join("broker"), PathBuf::from);
    let config = Config::new(data, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let Opened::Started(broker) = millstream_broker::open(config)? else {
        return Err("another process serves this folder".into());
    };
    let address = broker.address().to_string();
    let payloads: Vec<Vec<u8>> = (0..PAYLOADS).map(payload).collect();
    // The clients stay open until the broker's threads are counted: an ended thread's time is gone from `/proc`.
    let (producer, seconds_in) = produce(&address, &payloads, rows)?;
    let (consumer, seconds_out) = consume(&address, rows)?;
    let broker_cpu = broker_cpu_seconds().map_or("null".to_owned(), |cpu| format!("{cpu:.2}"));
    drop((producer, consumer));
    let peak = peak_bytes().map_or("null".to_owned(), |bytes| bytes.to_string());
    let ack = ack_p50_seconds(&address)?;
    println!(
        "{{\"rows\":{rows},\"row_bytes\":{ROW_BYTES},\"seconds_in\":{seconds_in:.3},\"seconds_out\":{seconds_out:.3},\
         \"rows_per_second_in\":{:.0},\"rows_per_second_out\":{:.0},\"broker_cpu_seconds\":{broker_cpu},\
         \"process_peak_bytes\":{peak},\"ack_p50_ms\":{:.3}}}",
        rows_per_second(rows, seconds_in),
        rows_per_second(rows, seconds_out),
        ack * 1000.0,
    );
    broker.stop();
    Ok(())
}

fn rows_per_second(rows: usize, seconds: f64) -> f64 {
    u32::try_from(rows).map_or(f64::INFINITY, f64::from) / seconds
}

fn payload(index: usize) -> Vec<u8> {
    let text = format!(
        "{:010}.0,{}.58,{}.91,{}.42,{}.58,0.{:08}",
        1_325_412_060 + index * 60,
        4000 + index % 997,
        4100 + index % 877,
        3900 + index % 787,
        4000 + index % 991,
        index * 7919 % 99_999_989,
    );
    format!("{text:0<ROW_BYTES$}").into_bytes()
}

fn produce(address: &str, payloads: &[Vec<u8>], rows: usize) -> Result<(BaseProducer, f64), Box<dyn Error>> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("linger.ms", "20")
        .set("batch.num.messages", "50000")
        .set("batch.size", "1000000")
        .set("compression.type", "lz4")
        .set("enable.idempotence", "true")
        .set("queue.buffering.max.messages", "500000")
        .create()?;
    let start = Instant::now();
    for payload in payloads.iter().cycle().take(rows) {
        let mut record = BaseRecord::<(), [u8]>::to(TOPIC).partition(0).payload(payload);
        while let Err((error, back)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            record = back;
            producer.poll(Duration::from_millis(5));
        }
    }
    producer.flush(Duration::from_secs(120))?;
    let seconds = start.elapsed().as_secs_f64();
    Ok((producer, seconds))
}

fn consume(address: &str, rows: usize) -> Result<(BaseConsumer, f64), Box<dyn Error>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("check.crcs", "true")
        // librdkafka pauses a full second (its default) whenever 100 000 records are queued.
        .set("fetch.queue.backoff.ms", "5")
        .create()?;
    let start = Instant::now();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, 0, Offset::Beginning)?;
    consumer.assign(&list)?;
    let mut next_offset = 0;
    while next_offset < i64::try_from(rows)? {
        let Some(message) = consumer.poll(Duration::from_secs(30)) else {
            return Err(format!("nothing came after {next_offset} rows").into());
        };
        let message = message?;
        let is_right = message.offset() == next_offset && message.payload_len() == ROW_BYTES;
        if !is_right {
            return Err(format!("offset {} came instead of {next_offset}", message.offset()).into());
        }
        next_offset += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok((consumer, seconds))
}

/// Tells when a record is acknowledged.
struct Acknowledged(Sender<Instant>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {
        // The receiver outlives the last record.
        let _ = self.0.send(Instant::now());
    }
}

/// Median time of one record sent alone and acknowledged.
fn ack_p50_seconds(address: &str) -> Result<f64, Box<dyn Error>> {
    let (sender, receiver) = channel();
    let producer: ThreadedProducer<Acknowledged> = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("linger.ms", "0")
        .create_with_context(Acknowledged(sender))?;
    let mut seconds = Vec::new();
    for _ in 0..1001 {
        let start = Instant::now();
        let record = BaseRecord::<(), str>::to("ack").partition(0).payload("x");
        producer.send(record).map_err(|(error, _)| error)?;
        let end = receiver.recv_timeout(Duration::from_secs(30))?;
        seconds.push(end.duration_since(start).as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[seconds.len() / 2])
}

/// CPU seconds of the broker's own threads, from `/proc` (Linux): those named `broker-…`.
fn broker_cpu_seconds() -> Option<f64> {
    let mut nanoseconds = 0_u64;
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        if name.starts_with("broker-") {
            let schedule = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            nanoseconds += schedule.split(' ').next()?.parse::<u64>().ok()?;
        }
    }
    Some(Duration::from_nanos(nanoseconds).as_secs_f64())
}

fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}
