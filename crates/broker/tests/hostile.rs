//! Peers that are no Kafka clients, or too many of them.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{call, config, flush, producer, read_all, send, start};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, RequestKind, ResponseKind};
use millstream_broker::Broker;

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
