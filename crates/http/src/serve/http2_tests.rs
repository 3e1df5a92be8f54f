//! HTTP/2 as its clients find it: calls of gRPC on one connection, and whoever only means to hold one.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::socket_tests::{start, start_with};

/// What a connection begins with: the preface and empty settings.
const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The kind of a frame.
const GO_AWAY: u8 = 7;
const PATIENCE: Duration = Duration::from_secs(30);

async fn connect_with(address: SocketAddr, change: impl FnOnce(&mut Builder<TokioExecutor>)) -> SendRequest<Body> {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = Builder::new(TokioExecutor::new());
    change(&mut builder);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn connect(address: SocketAddr) -> SendRequest<Body> {
    connect_with(address, |_| ()).await
}

fn call(method: &str, body: Body) -> Request<Body> {
    Request::post(format!("http://localhost/inference.GRPCInferenceService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

/// HTTP's status, the code of gRPC and where it stood, and the body.
#[derive(Debug, PartialEq)]
struct Answered {
    status: u16,
    code: Option<String>,
    in_trailers: bool,
    body: Vec<u8>,
    head: HeaderMap,
}

async fn ask(sender: &mut SendRequest<Body>, request: Request<Body>) -> Answered {
    sender.ready().await.unwrap();
    answered(sender.send_request(request).await.unwrap()).await
}

async fn answered(response: Response<Incoming>) -> Answered {
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let of_trailers = body.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
    let in_trailers = of_trailers.is_some();
    let code = of_trailers.or_else(|| head.headers.get("grpc-status").cloned());
    let code = code.map(|code| code.to_str().unwrap().to_owned());
    Answered { status: head.status.as_u16(), code, in_trailers, body: body.to_bytes().to_vec(), head: head.headers }
}

/// `ModelReady` of a model.
fn named(name: &str) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    [&[0, 0, 0, 0, 2 + length, 0x0a, length][..], name.as_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_end_by_the_rules_of_grpc_and_nothing_else_is_asked_by_http_2() {
    let running = start("127.0.0.1:0");
    let mut sender = connect(running.address).await;
    let ready = ask(&mut sender, call("ModelReady", named("close").into())).await;
    assert_eq!((ready.status, ready.code.as_deref(), ready.in_trailers), (200, Some("0"), true));
    assert_eq!(
        (ready.body.as_slice(), &ready.head["content-type"]),
        (&[0, 0, 0, 0, 2, 8, 1][..], &"application/grpc".parse().unwrap())
    );
    assert!(ready.head.contains_key("x-request-id"));
    let nobody = ask(&mut sender, call("ModelReady", named("nobody").into())).await;
    assert_eq!(
        (nobody.status, nobody.code.as_deref(), nobody.in_trailers),
        (200, Some("5"), false),
        "in the head alone"
    );
    assert!(
        nobody.body.is_empty() && nobody.head.contains_key("grpc-message") && nobody.head.contains_key("x-request-id")
    );
    for path in ["/v1/models", "/v1/events", "/grpc.health.v1.Health/Check"] {
        let request = Request::get(format!("http://localhost{path}")).body(Body::empty()).unwrap();
        let other = ask(&mut sender, request).await;
        assert_eq!((other.status, other.code), (404, None), "{path}");
        assert!(String::from_utf8(other.body).unwrap().contains("ask by HTTP/1.1"), "{path}");
    }
    let stranger = Request::post("http://evil.example/inference.GRPCInferenceService/ServerMetadata");
    let stranger = stranger.header("content-type", "application/grpc").body(Body::from(vec![0; 5])).unwrap();
    assert_eq!(ask(&mut sender, stranger).await.code.as_deref(), Some("7"), "no name of this server");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_bytes_say_which_http_it_is_however_they_come() {
    let running = start("127.0.0.1:0");
    for n_first in [1, 2, 3, 4, 10] {
        for (whole, expected) in [
            (BEGIN, &b"\0\0"[..]),
            (&b"POST /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n"[..], &b"HTTP/1.1 405"[..]),
            (&b"PRINT / HTTP/1.1\r\nhost: localhost\r\n\r\n"[..], &b"HTTP/1.1 "[..]),
        ] {
            let mut stream = TcpStream::connect(running.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (first, rest) = whole.split_at(n_first);
            stream.write_all(first).await.unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
            stream.write_all(rest).await.unwrap();
            let mut answer = vec![0; expected.len()];
            timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
            assert_eq!(answer, expected, "{n_first} bytes of {}", String::from_utf8_lossy(whole));
        }
    }
}

/// A call whose body comes in pieces, and which is on its way before any that is made after it.
async fn slow_call(sender: &mut SendRequest<Body>) -> (mpsc::Sender<Vec<u8>>, tokio::task::JoinHandle<Answered>) {
    let (send, mut pieces) = mpsc::channel::<Vec<u8>>(1);
    let body = stream::poll_fn(move |context| pieces.poll_recv(context));
    let body = Body::from_stream(body.map(|piece| Ok::<_, Infallible>(Bytes::from(piece))));
    sender.ready().await.unwrap();
    let response = sender.send_request(call("ModelReady", body));
    (send, tokio::spawn(async { answered(response.await.unwrap()).await }))
}

/// On one thread, so that calls are begun in the order in which they come.
#[tokio::test]
async fn a_call_beside_others_of_its_connection_takes_a_place_of_its_own() {
    let running = start_with("127.0.0.1:0", 2);
    let mut sender = connect(running.address).await;
    let slow = [slow_call(&mut sender).await, slow_call(&mut sender).await];
    let refused = ask(&mut sender, call("ModelReady", named("close").into())).await;
    assert_eq!((refused.status, refused.code.as_deref()), (200, Some("14")), "both places are taken");
    let health = ask(&mut sender, call("ServerLive", vec![0; 5].into())).await;
    assert_eq!(health.code.as_deref(), Some("0"), "health needs none");
    for (send, answered) in slow {
        send.send(named("close")).await.unwrap();
        drop(send);
        assert_eq!(timeout(PATIENCE, answered).await.unwrap().unwrap().code.as_deref(), Some("0"));
    }
    // A place comes back when its answer is read: the next connection has it.
    let next = ask(&mut connect(running.address).await, call("ModelReady", named("close").into())).await;
    assert_eq!(next.code.as_deref(), Some("0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_calls_under_way_end() {
    let running = start("127.0.0.1:0");
    let mut sender = connect(running.address).await;
    let (send, answered) = slow_call(&mut sender).await;
    // Whose first bytes were read.
    send.send(vec![0]).await.unwrap();
    assert_eq!(ask(&mut sender, call("ModelReady", named("close").into())).await.code.as_deref(), Some("0"));
    running.stop.send(()).unwrap();
    while TcpStream::connect(running.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    send.send(named("close")[1..].to_vec()).await.unwrap();
    drop(send);
    assert_eq!(timeout(PATIENCE, answered).await.unwrap().unwrap().code.as_deref(), Some("0"));
    timeout(PATIENCE, running.served).await.unwrap().unwrap();
}

/// An answer that its client grants no room is given up, and so is a connection that only stands there: without a place for long, and whether or not
/// its client takes the word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_only_holds_a_connection_loses_it() {
    let running = start("127.0.0.1:0");
    let mut sender = connect_with(running.address, |builder| {
        builder.initial_stream_window_size(0);
    })
    .await;
    sender.ready().await.unwrap();
    let response = sender.send_request(call("ModelReady", named("close").into())).await.unwrap();
    let read = timeout(PATIENCE, response.into_body().collect()).await;
    assert!(read.expect("its connection ends").is_err());

    let crowded = start_with("127.0.0.1:0", 1);
    let mut with_place = connect(crowded.address).await;
    assert_eq!(ask(&mut with_place, call("ServerLive", vec![0; 5].into())).await.code.as_deref(), Some("0"));
    let mut silent = TcpStream::connect(crowded.address).await.unwrap();
    silent.write_all(BEGIN).await.unwrap();
    let mut said = Vec::new();
    timeout(PATIENCE, silent.read_to_end(&mut said)).await.unwrap().unwrap();
    let (mut kinds, mut rest) = (Vec::new(), said.as_slice());
    while let Some(([a, b, c, kind, ..], payload)) = rest.split_first_chunk::<9>() {
        kinds.push(*kind);
        rest = payload.get(u32::from_be_bytes([0, *a, *b, *c]) as usize..).unwrap_or_default();
    }
    assert!(kinds.contains(&GO_AWAY), "it is told to go: {kinds:?}");
}

/// The reserve has a bound only if whoever was answered there goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_a_place_ends_after_its_answer_however_often_it_asks() {
    let crowded = start_with("127.0.0.1:0", 1);
    let live = || call("ServerLive", vec![0; 5].into());
    let mut with_place = connect(crowded.address).await;
    assert_eq!(ask(&mut with_place, live()).await.code.as_deref(), Some("0"));
    let mut others = Vec::new();
    for _ in 0..8 {
        let mut other = connect(crowded.address).await;
        assert_eq!(ask(&mut other, live()).await.code.as_deref(), Some("0"));
        others.push(other);
    }
    for mut other in others {
        let ended = async {
            while other.ready().await.is_ok() {
                let Ok(response) = other.send_request(live()).await else { return };
                // It may break off in the middle.
                let _ = response.into_body().collect().await;
            }
        };
        timeout(PATIENCE, ended).await.expect("its connection ends");
    }
    assert_eq!(ask(&mut with_place, live()).await.code.as_deref(), Some("0"), "the one with a place stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_without_an_end_cost_their_own_connection_alone() {
    let running = start("127.0.0.1:0");
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    // Headers that go on; streams that are opened and reset; pings; settings.
    let open = |stream: u32| frame(1, 4, stream, b"\x83\x86\x84\x41\x09localhost");
    let hostile: [Box<dyn Fn(u32) -> Vec<u8> + Send>; 4] = [
        Box::new(|n| match n {
            0 => frame(1, 0, 1, &[0x40, 0x01, b'x', 0x01, b'y'].repeat(1_000)),
            _ => frame(9, 0, 1, &[0x40, 0x01, b'x', 0x01, b'y'].repeat(1_000)),
        }),
        Box::new(|n| [open(2 * n + 1), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat()),
        Box::new(|_| frame(6, 0, 0, &[7; 8])),
        Box::new(|_| frame(4, 0, 0, &[0, 4, 0, 0, 1, 0])),
    ];
    for frames in hostile {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(BEGIN).await.unwrap();
        let flood = async {
            for n in 0..20_000 {
                if stream.write_all(&frames(n)).await.is_err() {
                    return;
                }
            }
        };
        // Whoever reads none of the answers may come to a stop.
        let _ = timeout(Duration::from_secs(5), flood).await;
        let mut sender = connect(running.address).await;
        let ready = timeout(PATIENCE, ask(&mut sender, call("ModelReady", named("close").into()))).await.unwrap();
        assert_eq!(ready.code.as_deref(), Some("0"));
    }
}
