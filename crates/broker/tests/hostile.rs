//! Peers that are no Kafka clients, or too many of them.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use common::{call, client, config, flush, producer, read_all, send, start};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, MetadataRequest, ProduceRequest, RequestKind, ResponseKind, TopicName, metadata_request,
};
use kafka_protocol::protocol::StrBytes;
use millstream_broker::Broker;
use rdkafka::producer::{BaseProducer, Producer};

/// Sends bytes and waits for the end of the connection; what came back is dropped.
fn poke(broker: &Broker, bytes: &[u8], then_close: bool) {
    let mut stream = TcpStream::connect(broker.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // The broker may have closed already.
    let _ = stream.write_all(bytes);
    if then_close {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the broker did not close: {error}"),
    }
}

fn still_serves(broker: &Broker, topic: &str) {
    let producer = producer(broker.address(), &[]);
    send(&producer, topic, 0, "well");
    flush(&producer);
    assert_eq!(read_all(broker.address(), topic, 0), ["well"]);
}

#[test]
fn nonsense_closes_its_own_connection_only() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(config(folder.path()));
    poke(&broker, &i32::MAX.to_be_bytes(), false);
    poke(&broker, &(-1_i32).to_be_bytes(), false);
    poke(&broker, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", false);
    poke(&broker, &[0, 0, 0, 0], false);
    poke(&broker, &[0, 0, 0, 9, 3, 0xe7, 0, 0, 0, 0, 0, 1, 0], false);
    // A frame that ends in the middle.
    poke(&broker, &[0, 0, 1, 0, 0, 3, 0, 1, 0, 0], true);
    // Metadata version 1 that claims two thousand million topics.
    let mut claim = vec![0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff];
    claim.extend_from_slice(&i32::MAX.to_be_bytes());
    poke(&broker, &claim, false);
    // Noise, from a fixed seed.
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..100 {
        let mut noise = vec![0, 0, 0, 200];
        for _ in 0..200 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            noise.push(state.to_be_bytes()[0]);
        }
        // A known key, so that some of them reach the codec.
        noise[4] = 0;
        noise[5] %= 24;
        noise[6] = 0;
        noise[7] %= 13;
        poke(&broker, &noise, true);
    }
    still_serves(&broker, "after");
}

#[test]
fn connections_beyond_the_limit_are_closed_and_room_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = config(folder.path());
    settings.max_connections = 8;
    let broker = start(settings);
    let request = RequestKind::ApiVersions(ApiVersionsRequest::default());
    let mut held: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect(broker.address()).unwrap();
            call(&mut stream, ApiKey::ApiVersions, 0, &request);
            stream
        })
        .collect();
    poke(&broker, b"", false);
    let answer = call(&mut held[0], ApiKey::ApiVersions, 3, &request);
    let ResponseKind::ApiVersions(answer) = answer else {
        panic!("{answer:?}");
    };
    let produce = answer.api_keys.iter().find(|api| api.api_key == 0).unwrap();
    assert_eq!((produce.min_version, produce.max_version), (3, 11));
    drop(held);
    still_serves(&broker, "room");
}

#[test]
fn an_api_versions_from_the_future_is_answered_in_version_0() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(config(folder.path()));
    let mut stream = TcpStream::connect(broker.address()).unwrap();
    stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 99, 0, 0, 0, 5, 0, 0]).unwrap();
    let mut head = [0; 14];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[4..8], [0, 0, 0, 5], "correlation id");
    assert_eq!(head[8..10], [0, 35], "UNSUPPORTED_VERSION");
    assert!(head[13] > 10, "the versions that are served");
}

#[test]
fn many_connections_share_a_small_budget() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = config(folder.path());
    settings.max_request_bytes = 2 * 1024 * 1024;
    settings.max_in_flight_bytes = 2 * 1024 * 1024;
    let broker = start(settings);
    let address = broker.address();
    let writers: Vec<_> = (0..6)
        .map(|writer| {
            std::thread::spawn(move || {
                let topic = format!("budget-{writer}");
                let producer = producer(address, &[("batch.size", "1000000")]);
                let payload = "x".repeat(1000);
                for _ in 0..5000 {
                    send(&producer, &topic, 0, &payload);
                }
                flush(&producer);
                assert_eq!(read_all(address, &topic, 0).len(), 5000);
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
}

/// A batch of these bytes as its records, with a right checksum.
fn batch(records: &[u8], count: i32, attributes: i16) -> Bytes {
    let mut batch = vec![0; 61];
    batch[8..12].copy_from_slice(&i32::try_from(49 + records.len()).unwrap().to_be_bytes());
    batch[16] = 2;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    // No producer id, no epoch, no sequence.
    batch[43..57].fill(0xff);
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    batch.extend_from_slice(records);
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// Makes a topic by asking for it.
fn make(stream: &mut TcpStream, topic: &str) {
    let asked = metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
    let request = MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(true);
    call(stream, ApiKey::Metadata, 9, &RequestKind::Metadata(request));
}

/// Produces one batch; the error code and its explanation.
fn produce(stream: &mut TcpStream, topic: &str, records: Bytes) -> (i16, String) {
    let partition = PartitionProduceData::default().with_records(Some(records));
    let data = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![partition]);
    let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![data]);
    match call(stream, ApiKey::Produce, 9, &RequestKind::Produce(request)) {
        ResponseKind::Produce(answer) => {
            let partition = &answer.responses[0].partition_responses[0];
            (partition.error_code, partition.error_message.clone().unwrap_or_default().to_string())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_no_consumer_could_read_is_not_stored() {
    const CORRUPT: i16 = 2;
    const TOO_LARGE: i16 = 10;
    const TIMESTAMP: i16 = 32;
    const UNSUPPORTED: i16 = 35;
    const INVALID: i16 = 87;
    let folder = tempfile::tempdir().unwrap();
    let broker = start(config(folder.path()));
    let mut stream = TcpStream::connect(broker.address()).unwrap();
    make(&mut stream, "t");
    let good = [12, 0, 0, 0, 1, 1, 0];
    // A value of 3 GB, by its length: the zeros end earlier, for a test's sake.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&[0xec, 0xfb, 0x87, 0xad, 0x16, 0, 0, 0, 1, 0x80, 0xfb, 0x87, 0xad, 0x16]).unwrap();
    gzip.write_all(&vec![0; 1 << 20]).unwrap();
    let bomb = gzip.finish().unwrap();
    let refused = [
        (batch(b"\xde\xad\xbe\xefgarbage with a right checksum", 1, 0), INVALID),
        (batch(&good, i32::MAX, 0), INVALID),
        (batch(&good, 2, 0), INVALID),
        (batch(&[good, good].concat(), 1, 0), INVALID),
        (batch(b"no gzip", 1, 1), CORRUPT),
        (batch(b"no snappy", 1, 2), CORRUPT),
        (batch(b"no lz4", 1, 3), CORRUPT),
        (batch(b"no zstd", 1, 4), CORRUPT),
        (batch(&good, 1, 5), INVALID),
        (batch(&bomb, 1, 1), TOO_LARGE),
        (batch(&good, 1, 0x08), TIMESTAMP),
        (batch(&good, 1, 0x10), UNSUPPORTED),
        (batch(&good, 1, 0x20), INVALID),
    ];
    for (records, expected) in refused {
        let (error, message) = produce(&mut stream, "t", records.clone());
        assert_eq!(error, expected, "{:?}: {message}", &records[..records.len().min(80)]);
    }
    let (error, message) = produce(&mut stream, "t", batch(&good, 2, 0));
    assert!(error == INVALID && message.contains("claims"), "{message}");
    assert_eq!(produce(&mut stream, "t", batch(&good, 1, 0)).0, 0);
    assert_eq!(read_all_empty(&broker, "t"), 1);
    still_serves(&broker, "after");
}

/// How many records without a value a partition holds.
fn read_all_empty(broker: &Broker, topic: &str) -> usize {
    use rdkafka::consumer::Consumer;
    let consumer = common::reader(broker.address(), topic, 0);
    let (low, high) = consumer.fetch_watermarks(topic, 0, Duration::from_secs(10)).unwrap();
    let message = consumer.poll(Duration::from_secs(10)).unwrap().unwrap();
    assert_eq!(rdkafka::Message::payload(&message), None);
    usize::try_from(high - low).unwrap()
}

#[test]
fn a_transactional_producer_is_told_that_it_is_not_supported() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(config(folder.path()));
    let producer: BaseProducer = client(broker.address()).set("transactional.id", "t").create().unwrap();
    let error = producer.init_transactions(Duration::from_secs(5)).unwrap_err();
    let text = format!("{error} {error:?}").to_lowercase();
    assert!(text.contains("unsupported") || text.contains("not supported"), "{text}");
    assert!(!text.contains("authorization"), "{text}");
}
