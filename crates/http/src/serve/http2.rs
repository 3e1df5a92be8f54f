//! HTTP/2 as gRPC needs it: how it is told from HTTP/1.1, and its bounds. What is not said here is as over HTTP/1.1.

use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::stream::{READ_PER_SECOND_LEAST, UNREAD_MOST};

/// Requests of a connection at once.
const REQUESTS_MOST: u32 = 32;
/// What a client may send of one request before it is read.
const WINDOW_BYTES: u32 = 128 << 10;
/// The same of all requests of its connection, so that one large body that waits for memory does not stop the others: 1,024 connections hold
/// 256 MiB at most, as much as the kernel keeps of them.
const CONNECTION_WINDOW_BYTES: u32 = 2 * WINDOW_BYTES;
/// A head of more is refused with 431.
const HEAD_BYTES_MOST: u32 = 16 << 10;
/// Of an answer, beyond the piece that is being written.
const SEND_BYTES: usize = 64 << 10;
/// A client has so long to take the word that its connection takes no more requests.
pub const FAREWELL: Duration = Duration::from_secs(1);
/// Idle connections are looked for so often.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After a few first bytes that may be either; each time twice as long, for a client may send no more.
const PEEK_AFTER: Duration = Duration::from_millis(10);
const PEEK_AFTER_MOST: Duration = Duration::from_millis(250);
/// No method of HTTP/1.1 begins so.
const PREFACE: &[u8; 4] = b"PRI ";

/// Whether a client that knows it without being told speaks it, by its first bytes; `None`: it says nothing.
pub async fn is_spoken(stream: &TcpStream) -> Option<bool> {
    let mut first = [0; PREFACE.len()];
    let mut pause = PEEK_AFTER;
    loop {
        let n_bytes = stream.peek(&mut first).await.ok().filter(|n_bytes| *n_bytes > 0)?;
        let begins = &first[..n_bytes];
        if !PREFACE.starts_with(begins) || begins == PREFACE {
            return Some(begins == PREFACE);
        }
        sleep(pause).await;
        pause = (2 * pause).min(PEEK_AFTER_MOST);
    }
}

pub fn builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(REQUESTS_MOST)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES_MOST)
        .max_send_buf_size(SEND_BYTES);
    builder
}

/// How long a client may take to read so many bytes.
pub fn read_within(bytes: u64) -> Duration {
    UNREAD_MOST + Duration::from_secs(bytes / u64::from(READ_PER_SECOND_LEAST))
}
