//! Peers that are no Kafka clients, or too many of them.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::common::{self, call, client, config, flush, producer, read_all, send, start};
use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, CreateTopicsRequest, DescribeConfigsRequest, FetchRequest, GroupId, JoinGroupRequest,
    ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, ProduceRequest, RequestKind, ResponseKind, TopicName,
    create_topics_request, describe_configs_request, fetch_request, join_group_request, list_offsets_request,
    metadata_request, offset_commit_request,
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
fn idle_connections_make_room_for_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = config(folder.path());
    settings.max_connections = 8;
    let broker = start(settings);
    let connect = || TcpStream::connect(broker.address()).unwrap();
    let idle: Vec<TcpStream> = (0..50).map(|_| connect()).collect();
    // Some are refused at first, while all are new; whoever comes later gets a place, and does its work in it.
    still_serves(&broker, "room");
    drop(idle);
}

#[test]
fn who_claims_a_large_request_and_stops_makes_room_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = config(folder.path());
    settings.max_connections = 8;
    settings.max_request_bytes = 8 << 20;
    settings.max_in_flight_bytes = 8 << 20;
    let broker = start(settings);
    let claim = |sent: usize| {
        let mut stream = TcpStream::connect(broker.address()).unwrap();
        let _ = stream.write_all(&(8_i32 << 20).to_be_bytes());
        let _ = stream.write_all(&vec![0; sent]);
        stream
    };
    // All places, then all memory.
    let places: Vec<TcpStream> = (0..8).map(|_| claim(2)).collect();
    still_serves(&broker, "places");
    drop(places);
    let memory: Vec<TcpStream> = (0..4).map(|_| claim(2 << 20)).collect();
    still_serves(&broker, "memory");
    drop(memory);
}

#[test]
fn connections_beyond_the_limit_are_closed_and_room_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = config(folder.path());
    settings.max_connections = 8;
    let broker = start(settings);
    let mut stream = TcpStream::connect(broker.address()).unwrap();
    let request = RequestKind::ApiVersions(ApiVersionsRequest::default());
    let ResponseKind::ApiVersions(answer) = call(&mut stream, ApiKey::ApiVersions, 3, &request) else {
        panic!("no ApiVersions");
    };
    let produce = answer.api_keys.iter().find(|api| api.api_key == 0).unwrap();
    assert_eq!((produce.min_version, produce.max_version), (3, 11));
    make(&mut stream, "t");
    drop(stream);
    // All places are in use: each waits for a record.
    let topic = fetch_request::FetchTopic::default()
        .with_topic(topic_name("t"))
        .with_partitions(vec![fetch_request::FetchPartition::default()]);
    let fetch = FetchRequest::default().with_min_bytes(1).with_max_wait_ms(60_000).with_topics(vec![topic]);
    let held: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect(broker.address()).unwrap();
            call(&mut stream, ApiKey::ApiVersions, 0, &request);
            common::ask(&mut stream, ApiKey::Fetch, 11, &RequestKind::Fetch(fetch.clone()));
            stream
        })
        .collect();
    poke(&broker, b"", false);
    drop(held);
    // Each notices within a second that nobody waits for its answer.
    let free = || -> std::io::Result<()> {
        let mut streams = Vec::new();
        for _ in 0..6 {
            let mut stream = TcpStream::connect(broker.address())?;
            common::ask(&mut stream, ApiKey::ApiVersions, 0, &request);
            stream.read_exact(&mut [0; 4])?;
            streams.push(stream);
        }
        Ok(())
    };
    while free().is_err() {}
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
        (batch(&good, 1, 0x10), INVALID),
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

fn group(name: &str) -> GroupId {
    GroupId(StrBytes::from_string(name.to_owned()))
}

/// JoinGroup with metadata of so many bytes; the error code.
fn join(stream: &mut TcpStream, name: &str, bytes: usize) -> i16 {
    let protocol = join_group_request::JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(Bytes::from(vec![0; bytes]));
    let request = JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(60_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    match call(stream, ApiKey::JoinGroup, 5, &RequestKind::JoinGroup(request)) {
        ResponseKind::JoinGroup(answer) => answer.error_code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_metadata_of_members_is_bounded_and_the_pipeline_s_group_gets_in() {
    const MEMBER_ID_REQUIRED: i16 = 79;
    let folder = tempfile::tempdir().unwrap();
    let broker = start(config(folder.path()));
    broker.reserve_group("ours");
    let mut stream = TcpStream::connect(broker.address()).unwrap();
    assert_eq!(join(&mut stream, "g", 40_000_000), 42, "INVALID_REQUEST");
    assert_eq!(join(&mut stream, &"g".repeat(256), 1), 24, "INVALID_GROUP_ID");
    let refused = (0..100).find(|index| match join(&mut stream, &format!("g-{index}"), 1_000_000) {
        MEMBER_ID_REQUIRED => false,
        error => {
            assert_eq!(error, 81, "GROUP_MAX_SIZE_REACHED");
            true
        }
    });
    assert!(refused.is_some());
    assert_eq!(join(&mut stream, "ours", 1000), MEMBER_ID_REQUIRED);
}

/// OffsetCommit of one partition with so much metadata; the error code.
fn commit(stream: &mut TcpStream, name: &str, metadata_bytes: usize) -> i16 {
    let partition = offset_commit_request::OffsetCommitRequestPartition::default()
        .with_committed_metadata(Some(StrBytes::from_string("m".repeat(metadata_bytes))));
    let topic = offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(vec![partition; 3]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    match call(stream, ApiKey::OffsetCommit, 8, &RequestKind::OffsetCommit(request)) {
        ResponseKind::OffsetCommit(answer) => answer.topics[0].partitions[0].error_code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_offsets_of_strangers_are_bounded_and_the_pipeline_s_group_commits() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(config(folder.path()));
    broker.reserve_group("ours");
    let mut stream = TcpStream::connect(broker.address()).unwrap();
    make(&mut stream, "t");
    assert_eq!(commit(&mut stream, "g", 4097), 12, "OFFSET_METADATA_TOO_LARGE");
    let refused = (0..10_000).find(|index| match commit(&mut stream, &format!("g-{index}"), 4096) {
        0 => false,
        error => {
            assert_eq!(error, 28, "INVALID_COMMIT_OFFSET_SIZE");
            true
        }
    });
    assert!(refused.is_some());
    assert_eq!(commit(&mut stream, "ours", 4096), 0);
    assert_eq!(commit(&mut stream, "g-1", 4096), 0, "what is there may change");
    let on_disk = std::fs::metadata(folder.path().join("offsets.log")).unwrap().len();
    assert!(on_disk < 64 << 20, "{on_disk}");
}

#[test]
fn an_answer_does_not_multiply_what_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(config(folder.path()));
    let mut stream = TcpStream::connect(broker.address()).unwrap();
    let topic = create_topics_request::CreatableTopic::default()
        .with_name(topic_name("wide"))
        .with_num_partitions(400)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic.clone(), topic]).with_timeout_ms(60_000);
    match call(&mut stream, ApiKey::CreateTopics, 7, &RequestKind::CreateTopics(request)) {
        ResponseKind::CreateTopics(answer) => {
            let errors: Vec<i16> = answer.topics.iter().map(|topic| topic.error_code).collect();
            assert_eq!(errors, [0, 42]);
        }
        other => panic!("{other:?}"),
    }
    let asked = metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name("wide")));
    let request = MetadataRequest::default().with_topics(Some(vec![asked; 15_000]));
    match call(&mut stream, ApiKey::Metadata, 9, &RequestKind::Metadata(request)) {
        ResponseKind::Metadata(answer) => assert_eq!(answer.topics.len(), 1),
        other => panic!("{other:?}"),
    }
    let resource = describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_static_str("wide"))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource.clone(); 15_000]);
    match call(&mut stream, ApiKey::DescribeConfigs, 4, &RequestKind::DescribeConfigs(request)) {
        ResponseKind::DescribeConfigs(answer) => assert_eq!(answer.results.len(), 1),
        other => panic!("{other:?}"),
    }
    let partition = list_offsets_request::ListOffsetsPartition::default().with_timestamp(5);
    let topic = list_offsets_request::ListOffsetsTopic::default()
        .with_name(topic_name("wide"))
        .with_partitions(vec![partition; 10_000]);
    let request = ListOffsetsRequest::default().with_topics(vec![topic]);
    match call(&mut stream, ApiKey::ListOffsets, 7, &RequestKind::ListOffsets(request)) {
        ResponseKind::ListOffsets(answer) => {
            let good = answer.topics[0].partitions.iter().filter(|partition| partition.error_code == 0);
            assert_eq!(good.count(), 1);
        }
        other => panic!("{other:?}"),
    }
    // A million of anything is not decoded.
    let request = DescribeConfigsRequest::default().with_resources(vec![resource; 1_000_000]);
    let mut frame = vec![0, 0, 0, 0, 0, 32, 0, 1, 0, 0, 0, 1, 0xff, 0xff];
    let mut body = bytes::BytesMut::new();
    kafka_protocol::protocol::Encodable::encode(&request, &mut body, 1).unwrap();
    frame.extend_from_slice(&body);
    let length = i32::try_from(frame.len() - 4).unwrap();
    frame[..4].copy_from_slice(&length.to_be_bytes());
    poke(&broker, &frame, false);
    still_serves(&broker, "after");
}

#[test]
fn a_consumer_of_many_large_partitions_is_answered_with_what_fits() {
    const PARTITIONS: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let mut settings = config(folder.path());
    // As in the default's proportion: an answer is a small part of the budget, all partitions together are not.
    settings.max_fetch_bytes = 2 << 20;
    settings.max_in_flight_bytes = 8 << 20;
    settings.max_request_bytes = 8 << 20;
    settings.max_batch_bytes = 1 << 20;
    let broker = start(settings);
    let mut stream = TcpStream::connect(broker.address()).unwrap();
    let topic = create_topics_request::CreatableTopic::default()
        .with_name(topic_name("large"))
        .with_num_partitions(i32::try_from(PARTITIONS).unwrap())
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
    call(&mut stream, ApiKey::CreateTopics, 7, &RequestKind::CreateTopics(request));
    // One record of 700 KB in each partition.
    let value = 700_000_i64;
    let varint = |value: i64| {
        let (mut rest, mut bytes) = ((value << 1).cast_unsigned(), Vec::new());
        while rest > 0x7f {
            bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        bytes.push(u8::try_from(rest).unwrap());
        bytes
    };
    let mut body = vec![0, 0, 0, 1];
    body.extend(varint(value));
    body.extend(vec![b'x'; usize::try_from(value).unwrap()]);
    body.push(0);
    let mut record = varint(i64::try_from(body.len()).unwrap());
    record.extend(body);
    for index in 0..PARTITIONS {
        let partition = PartitionProduceData::default()
            .with_index(i32::try_from(index).unwrap())
            .with_records(Some(batch(&record, 1, 0)));
        let data = TopicProduceData::default().with_name(topic_name("large")).with_partition_data(vec![partition]);
        let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![data]);
        call(&mut stream, ApiKey::Produce, 9, &RequestKind::Produce(request));
    }
    // A fetch of all of them, until each was read.
    let mut offsets = [0_i64; PARTITIONS];
    let began = std::time::Instant::now();
    while offsets.contains(&0) {
        let partition = |(index, offset): (i32, &i64)| {
            let partition = fetch_request::FetchPartition::default().with_partition(index).with_fetch_offset(*offset);
            partition.with_partition_max_bytes(1 << 20)
        };
        let partitions = (0..).zip(&offsets).map(partition).collect();
        let topic = fetch_request::FetchTopic::default().with_topic(topic_name("large")).with_partitions(partitions);
        let request = FetchRequest::default().with_max_bytes(50 << 20).with_min_bytes(1).with_topics(vec![topic]);
        match call(&mut stream, ApiKey::Fetch, 11, &RequestKind::Fetch(request)) {
            ResponseKind::Fetch(answer) => {
                let read = answer.responses[0]
                    .partitions
                    .iter()
                    .filter(|one| one.records.as_ref().is_some_and(|r| !r.is_empty()));
                let read: Vec<usize> = read.map(|one| usize::try_from(one.partition_index).unwrap()).collect();
                assert!(!read.is_empty(), "an empty answer");
                read.into_iter().for_each(|index| offsets[index] = 1);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
