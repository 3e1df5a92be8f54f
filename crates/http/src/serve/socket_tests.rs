//! The server as its clients find it: connections, slow and endless ones, stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use millstream_base::status::EventKind;
use millstream_stream::schema::ColumnType;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::connections::serve_most;
use super::fixture::{Models, batch, context, fixture};
use super::tests::routes;
use super::{ServeError, bind};

pub(super) struct Running {
    pub address: std::net::SocketAddr,
    models: Models,
    status: Arc<millstream_base::status::Status>,
    pub stop: oneshot::Sender<()>,
    pub served: tokio::task::JoinHandle<()>,
}

pub(super) fn start(address: &str) -> Running {
    start_with(address, 1024)
}

pub(super) fn start_with(address: &str, connections: usize) -> Running {
    let (context, models) = context(routes(), vec![batch(1, 2_330_000, 0), batch(2, 2_330_000, 17)]);
    models.publish_all(3);
    let status = Arc::clone(&context.status);
    let listener = bind(address.parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(serve_most(listener, context, stopped, connections));
    Running { address, models, status, stop, served }
}

/// Writes, closes its half where asked, and reads to the end.
async fn raw(address: std::net::SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_port_in_use_names_the_address_and_the_key() {
    let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = first.local_addr().unwrap();
    let error = bind(address).unwrap_err();
    assert!(matches!(error, ServeError::InUse { .. }));
    assert!(error.to_string().contains(&format!("serve.listen = {address}")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_a_gigabyte_is_refused_and_its_sender_reads_the_answer() {
    const CHUNK: usize = 1 << 20;
    let running = start("127.0.0.1:0");
    let head = "POST /v1/models/close/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n";
    for chunked in [false, true] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let framing =
            if chunked { "transfer-encoding: chunked".to_owned() } else { format!("content-length: {}", 1 << 30) };
        stream.write_all(format!("{head}{framing}\r\n\r\n").as_bytes()).await.unwrap();
        let chunk = vec![b' '; CHUNK];
        let n_chunks = if chunked { 64 } else { 1024 };
        for _ in 0..n_chunks {
            if chunked {
                stream.write_all(format!("{CHUNK:x}\r\n").as_bytes()).await.unwrap();
            }
            stream.write_all(&chunk).await.unwrap();
            if chunked {
                stream.write_all(b"\r\n").await.unwrap();
            }
        }
        if chunked {
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "chunked {chunked}: {answer}");
        assert!(answer.contains("too_large"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_come_and_go_under_load_without_a_failed_request() {
    let running = start("127.0.0.1:0");
    let done = Arc::new(AtomicBool::new(false));
    let n_answers = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (done, n_answers, address) = (Arc::clone(&done), Arc::clone(&n_answers), running.address);
        clients.push(tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let answer = raw(
                    address,
                    "GET /predict/close?timestamp=5 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
                )
                .await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                n_answers.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for _ in 0..25 {
        running.models.publish("close", &[("Timestamp", ColumnType::Float64)]);
        running.models.refresh();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert!(n_answers.load(Ordering::Relaxed) > 100);
    let answer =
        raw(running.address, "GET /v1/models/close HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains(r#""latest":28"#), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_stream_until_the_server_stops_and_requests_are_drained() {
    let running = start("127.0.0.1:0");
    // Under way when the stop comes: its body is complete only later.
    let mut half = TcpStream::connect(running.address).await.unwrap();
    let head = "POST /v1/models/close/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n";
    half.write_all(head.as_bytes()).await.unwrap();
    let mut listening = TcpStream::connect(running.address).await.unwrap();
    listening.write_all(b"GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut events = String::new();
    read_until(&mut listening, &mut events, "event: status").await;
    running.status.event(EventKind::BatchCommitted, "batch 3 committed", json!({"batch": 3}));
    read_until(&mut listening, &mut events, "event: batch_committed").await;
    running.stop.send(()).unwrap();
    while TcpStream::connect(running.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    half.write_all(br#"{"Timestamp":1}"#).await.unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    running.served.await.unwrap();
    listening.read_to_string(&mut events).await.unwrap();
    for part in ["retry: 2000", r#""pipeline":"bitcoin""#, "text/event-stream"] {
        assert!(events.contains(part), "no {part} in {events}");
    }
}

/// Reads on until `text` has come.
async fn read_until(stream: &mut TcpStream, read: &mut String, text: &str) {
    while !read.contains(text) {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        assert!(count > 0, "no {text} in {read}");
        read.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
}

/// The status, and whether the connection is closed after.
async fn status(stream: &mut TcpStream, target: &str) -> u16 {
    stream.write_all(format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    String::from_utf8_lossy(&head[9..]).parse().unwrap()
}

/// Opens so many, and waits until the server has them.
async fn connect(address: std::net::SocketAddr, n: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..n {
        streams.push(TcpStream::connect(address).await.unwrap());
    }
    streams
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_streams_have_a_bound() {
    let running = start("127.0.0.1:0");
    let mut streams = connect(running.address, 300).await;
    let mut found = [0, 0];
    for stream in &mut streams {
        match status(stream, "/v1/events").await {
            200 => found[0] += 1,
            429 => found[1] += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(found, [256, 44]);
}

#[tokio::test]
async fn a_query_takes_so_many_parameters() {
    let fixture = fixture(routes());
    let parameters: serde_json::Map<String, Value> = (0..1001).map(|name| (format!("p{name}"), json!(1))).collect();
    let question = json!({"sql": "select 1", "params": parameters}).to_string();
    let mut request = Request::post("/v1/query").header("host", "localhost").header("content-type", "application/json");
    let peer = super::guard::Peer("127.0.0.1:4000".parse().unwrap());
    request.extensions_mut().unwrap().insert(peer);
    let response = fixture.app.handle(request.body(Body::from(question)).unwrap()).await;
    assert_eq!(response.status(), 422);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("at most 1000"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_answered_whatever_the_connections_do() {
    let running = start_with("127.0.0.1:0", 32);
    // Half a head each, and then silence.
    let mut silent = connect(running.address, 300).await;
    for stream in &mut silent {
        // Those that had to go already do not matter.
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: ").await;
    }
    for target in ["/livez", "/readyz", "/metrics", "/livez"] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        assert_eq!(status(&mut stream, target).await, 200, "{target}");
    }
    // Whoever has said nothing for a second makes room.
    let asked = async {
        loop {
            let mut stream = TcpStream::connect(running.address).await.unwrap();
            match status(&mut stream, "/v1/status").await {
                200 => return,
                found => assert_eq!(found, 503),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap();
}

/// Whether the connection answers, and stays.
async fn is_kept(stream: &mut TcpStream) -> bool {
    if stream.write_all(b"HEAD /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n").await.is_err() {
        return false;
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return false };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    head.starts_with("HTTP/1.1 200") && !head.contains("connection: close")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_kept_as_long_as_there_is_a_place_for_each() {
    let end = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let running = start_with("127.0.0.1:0", 160);
        let mut kept = connect(running.address, 160).await;
        for stream in kept.iter_mut() {
            assert!(is_kept(stream).await);
        }
        let asked = std::time::Instant::now();
        for stream in kept.iter_mut() {
            assert!(is_kept(stream).await);
        }
        // One more takes the places of a few.
        assert_eq!(status(&mut connect(running.address, 1).await[0], "/v1/status").await, 200);
        // Who was silent for a second would have gone as well.
        if asked.elapsed() < Duration::from_millis(800) {
            let mut n_gone = 0;
            for stream in kept.iter_mut() {
                n_gone += usize::from(!is_kept(stream).await);
            }
            assert!((1..=5).contains(&n_gone), "{n_gone}");
            return;
        }
        assert!(std::time::Instant::now() < end, "160 requests always take longer");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_make_room_and_busy_ones_do_not() {
    let running = start_with("127.0.0.1:0", 8);
    let mut busy = TcpStream::connect(running.address).await.unwrap();
    let head = "POST /v1/models/close/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n";
    busy.write_all(head.as_bytes()).await.unwrap();
    // Four times as many as there are places, all of them kept open.
    let mut idle = Vec::new();
    for number in 0..32 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        assert_eq!(status(&mut stream, "/v1/status").await, 200, "connection {number}");
        idle.push(stream);
    }
    busy.write_all(br#"{"Timestamp":1}"#).await.unwrap();
    let mut answer = vec![0; 12];
    busy.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_without_an_end_is_refused() {
    let running = start("127.0.0.1:0");
    for head in [
        format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}", "x".repeat(200_000)),
        format!("GET /{} ", "x".repeat(200_000)),
        format!("GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: y\r\n".repeat(1000)),
    ] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        // The server may have closed before all of it is written.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = [0; 12];
        if stream.read_exact(&mut answer).await.is_ok() {
            assert!(
                ["HTTP/1.1 431", "HTTP/1.1 414", "HTTP/1.1 400"].contains(&&*String::from_utf8_lossy(&answer)),
                "{answer:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_is_given_up() {
    let running = start("127.0.0.1:0");
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let request = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(2000);
    // Pipelined: the answers fill all buffers, then nothing moves.
    let (mut reading, mut writing) = stream.split();
    let _ = tokio::time::timeout(Duration::from_secs(3), writing.write_all(request.as_bytes())).await;
    let given_up = async {
        // What is in the buffers is read after the server has let go; a reset says it as well.
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if writing
                .write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000).as_slice())
                .await
                .is_err()
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), given_up).await.unwrap();
    let _ = reading.read(&mut [0; 1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_senders_of_large_bodies_keep_nobody_waiting() {
    let running = start("127.0.0.1:0");
    let head = "POST /v1/models/close/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let mut slow = connect(running.address, 8).await;
    for stream in &mut slow {
        stream.write_all(format!("{head}content-length: {}\r\n\r\n[", 32 << 20).as_bytes()).await.unwrap();
    }
    // Four of them take all the room there is, for more than half of a body came.
    for (index, stream) in slow.iter_mut().enumerate() {
        let bytes = if index % 2 == 0 { 17 << 20 } else { 100_000 };
        let _ = tokio::time::timeout(Duration::from_secs(8), stream.write_all(&vec![b' '; bytes])).await;
    }
    let rows = format!("[{}]", vec![r#"{"Timestamp":1}"#; 20_000].join(","));
    let request = format!("{head}content-length: {}\r\n\r\n{rows}", rows.len());
    let answer = tokio::time::timeout(Duration::from_secs(30), raw(running.address, &request)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{}", answer.chars().take(200).collect::<String>());
    // A trickle is given up, long before its body could end.
    let trickle = async {
        let stream = &mut slow[0];
        loop {
            if stream.write_all(b"  ").await.is_err() {
                return;
            }
            let mut answer = [0; 12];
            if let Ok(read) = tokio::time::timeout(Duration::from_millis(200), stream.read_exact(&mut answer)).await {
                assert!(read.is_err() || &answer == b"HTTP/1.1 408");
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(40), trickle).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_ends_whatever_its_clients_do() {
    let running = start("127.0.0.1:0");
    let _silent = connect(running.address, 20).await;
    let mut half = connect(running.address, 20).await;
    for (index, stream) in half.iter_mut().enumerate() {
        let text = match index % 4 {
            0 => "GET / HT",
            1 => {
                "POST /v1/models/close/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
            }
            2 => "GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n",
            _ => "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n",
        };
        stream.write_all(text.as_bytes()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    running.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(8), running.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_text_that_is_no_http_does_no_harm() {
    let running = start("127.0.0.1:0");
    assert!(raw(running.address, "\x16\x03\x01 nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    let answer = raw(running.address, "GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_request_id_reaches_no_head() {
    let running = start_with("127.0.0.1:0", 1);
    let ask = async |id: &str| {
        raw(
            running.address,
            &format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx-request-id: {id}\r\nconnection: close\r\n\r\n"),
        )
        .await
    };
    assert!(ask("0f8fad5b-d9cb").await.contains("\r\nx-request-id: 0f8fad5b-d9cb\r\n"));
    for id in ["a\rset-cookie: a=b", "a\nset-cookie: a=b", "a\r\n set-cookie: a=b", "a\0b"] {
        let answer = ask(id).await;
        assert!(answer.starts_with("HTTP/1.1 ") && !answer.contains("set-cookie"), "{answer}");
    }
    for id in [&"x".repeat(10_000), "é", "a b", ""] {
        let answer = ask(id).await;
        let found = answer.split("x-request-id: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && found.parse::<u64>().is_ok(), "{answer}");
    }
    // Also an answer that there is no place has it.
    let _idle = TcpStream::connect(running.address).await.unwrap();
    let mut keeps_the_place = TcpStream::connect(running.address).await.unwrap();
    let events = "GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n";
    keeps_the_place.write_all(events.as_bytes()).await.unwrap();
    let answer = raw(
        running.address,
        "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx-request-id: refused-1\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.contains("x-request-id: refused-1\r\n"), "{answer}");
}
