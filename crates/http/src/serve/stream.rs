//! A connection's bytes, with a bound on how long its client may leave an answer unread.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::patience::Patience;

/// A client that reads nothing is given up after so long, …
pub const UNREAD_MOST: Duration = Duration::from_secs(10);
/// … and one that reads more slowly than this a little later.
pub const READ_PER_SECOND_LEAST: u32 = 32 << 10;

pub struct Paced {
    stream: TcpStream,
    patience: Patience,
    /// Since when the client has taken nothing, and when that is too long.
    unread: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Paced {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, patience: Patience::new(UNREAD_MOST, READ_PER_SECOND_LEAST), unread: None }
    }

    fn watched(&mut self, context: &mut Context, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => {
                if let Some((since, _)) = self.unread.take() {
                    self.patience.waited(since.elapsed());
                }
                self.patience.moved(*bytes);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let left = self.patience.left();
                let (_, end) = self.unread.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
                if end.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly")));
                }
            }
        }
        written
    }
}

impl AsyncRead for Paced {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context, into: &mut ReadBuf) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        bytes: &[IoSlice],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.watched(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
