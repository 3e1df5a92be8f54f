//! What the tests share: a broker in a fresh folder, clients, and a raw connection.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};
use millstream_broker::{Broker, Config, Opened};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

pub fn free_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

pub fn config(data: &Path) -> Config {
    Config::new(data, free_port())
}

pub fn start(config: Config) -> Broker {
    match millstream_broker::open(config).unwrap() {
        Opened::Started(broker) => broker,
        Opened::Running { address } => panic!("runs already at {address}"),
    }
}

pub fn client(address: SocketAddr) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", address.to_string());
    client
}

pub fn producer(address: SocketAddr, settings: &[(&str, &str)]) -> BaseProducer {
    let mut client = client(address);
    client.set("linger.ms", "5").set("message.timeout.ms", "60000");
    for (key, value) in settings {
        client.set(*key, *value);
    }
    client.create().unwrap()
}

/// Queues one record, serving callbacks while the queue is full.
pub fn send<C>(producer: &BaseProducer<C>, topic: &str, partition: i32, payload: &str)
where
    C: rdkafka::producer::ProducerContext<DeliveryOpaque = ()>,
{
    let mut record = BaseRecord::<(), str>::to(topic).partition(partition).payload(payload);
    while let Err((error, back)) = producer.send(record) {
        let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        assert_eq!(error, full);
        record = back;
        producer.poll(Duration::from_millis(10));
    }
}

pub fn flush<C: rdkafka::producer::ProducerContext>(producer: &BaseProducer<C>) {
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// A consumer of one partition from its beginning.
pub fn reader(address: SocketAddr, topic: &str, partition: i32) -> BaseConsumer {
    let consumer: BaseConsumer = client(address)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset(topic, partition, rdkafka::Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    consumer
}

/// All payloads of one partition, in order.
pub fn read_all(address: SocketAddr, topic: &str, partition: i32) -> Vec<String> {
    use rdkafka::Message;
    let consumer = reader(address, topic, partition);
    let mut payloads = Vec::new();
    loop {
        match consumer.poll(Duration::from_secs(20)) {
            Some(Ok(message)) => {
                assert_eq!(usize::try_from(message.offset()).unwrap(), payloads.len());
                payloads.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return payloads,
            Some(Err(error)) => panic!("{error}"),
            None => panic!("no answer after {} records", payloads.len()),
        }
    }
}

/// Sends one request on a raw connection; whether it arrived shows in the answer.
pub fn ask(stream: &mut TcpStream, key: ApiKey, version: i16, request: &RequestKind) {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .encode(&mut frame, key.request_header_version(version))
        .unwrap();
    request.encode(&mut frame, version).unwrap();
    let length = i32::try_from(frame.len() - 4).unwrap();
    frame[..4].copy_from_slice(&length.to_be_bytes());
    let _ = stream.write_all(&frame);
}

/// One request and its answer on a raw connection.
pub fn call(stream: &mut TcpStream, key: ApiKey, version: i16, request: &RequestKind) -> ResponseKind {
    ask(stream, key, version, request);
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut answer).unwrap();
    let mut answer = bytes::Bytes::from(answer);
    ResponseHeader::decode(&mut answer, key.response_header_version(version)).unwrap();
    let response = ResponseKind::decode(key, &mut answer, version).unwrap();
    assert!(!answer.has_remaining());
    response
}

/// Runs a future of librdkafka's admin client, which is completed by its own thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
