//! Reads request bodies inside fixed bounds of size, speed and memory, and has large ones parsed off the serving threads.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::error::ApiError;
use super::patience::Patience;
use super::predict::blocking;
use super::shares::{Share, Shares};

pub const BODY_BYTES_MAX: usize = 32 << 20;
/// Bodies up to this size need no share and no place: 1,024 connections hold 64 MiB of them.
const SMALL_BODY_BYTES: usize = 64 << 10;
/// Bodies up to this size are worked on where their connection is served; a thousand rows may be in one.
const INLINE_BODY_BYTES: usize = 8 << 10;
/// What comes of a body, in values of about 130 bytes: its rows, each with what is answered for it. So much is worked on where the
/// connection is served, more on another thread, and much more in the place of a large body.
const INLINE_VALUES: usize = 16 << 10;
const SMALL_VALUES: usize = 64 << 10;
/// Of all large bodies together, as far as they have come.
const BODIES_BYTES: usize = 128 << 20;
/// So long a sender may take while others wait for room.
const SEND_LEAST: Duration = Duration::from_secs(5);
/// Large bodies that are parsed or worked on at once: each becomes up to a million values of about 130 bytes.
pub const LARGE_BODIES: usize = 4;
/// Who finds no share or place for so long is told to ask again.
const SHARE_WAIT: Duration = Duration::from_secs(8);
const PLACE_WAIT: Duration = Duration::from_secs(30);
/// A sender may pause for so long, and earns more by the bytes that come.
const PAUSE_MOST: Duration = Duration::from_secs(10);
const BYTES_PER_SECOND_LEAST: u32 = 128 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// A refused body is thrown away as it comes for so long, so that its sender gets to read the answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What large bodies may take together.
pub struct Bodies {
    shares: Shares,
    pub places: Arc<Semaphore>,
}

impl Default for Bodies {
    fn default() -> Self {
        Self { shares: Shares::new(BODIES_BYTES, SEND_LEAST), places: Arc::new(Semaphore::new(LARGE_BODIES)) }
    }
}

/// The place of a large body. Who keeps what was parsed keeps it until the answer is made; who kept only a little of it lets it go.
pub type Place = Option<OwnedSemaphorePermit>;

/// A missing content type is taken for JSON by nobody: a form of another site can send a body without one.
pub fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Err(ApiError::content_type("nothing")) };
    let text = value.to_str().unwrap_or("something unreadable");
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json") {
        return Ok(());
    }
    Err(ApiError::content_type(&super::error::shortened(text)))
}

/// Where a body is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Workplace {
    /// Where its connection is served.
    Connection,
    Thread,
    /// A thread, and one of the places of large bodies.
    Place,
}

impl Workplace {
    /// `values_per_row`: what a row becomes, read and answered.
    fn of(bytes: &[u8], is_large: bool, n_rows: impl Fn(&[u8]) -> usize, values_per_row: usize) -> Self {
        if is_large {
            return Self::Place;
        }
        let n_rows = n_rows(bytes);
        let n_values = n_rows.saturating_mul(values_per_row);
        // One row waits for no large body, whatever it becomes.
        if n_values > SMALL_VALUES && n_rows > 1 {
            Self::Place
        } else if n_values > INLINE_VALUES || bytes.len() > INLINE_BODY_BYTES {
            Self::Thread
        } else {
            Self::Connection
        }
    }
}

/// Reads a body and has it worked on: little here, much on a thread for long work. `values_per_row`: what a row of it becomes.
pub async fn receive<T: Send + 'static>(
    body: Body,
    bodies: &Bodies,
    values_per_row: usize,
    work: impl FnOnce(&[u8]) -> Result<T, ApiError> + Send + 'static,
) -> Result<(T, Place), ApiError> {
    receive_counted(body, bodies, objects, values_per_row, work).await
}

/// A row is an object: there are no more of them than braces.
fn objects(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'{').count()
}

/// As `receive`, of a body whose rows are no objects. `n_rows`: how many are in it, at most.
pub async fn receive_counted<T: Send + 'static>(
    body: Body,
    bodies: &Bodies,
    n_rows: impl Fn(&[u8]) -> usize,
    values_per_row: usize,
    work: impl FnOnce(&[u8]) -> Result<T, ApiError> + Send + 'static,
) -> Result<(T, Place), ApiError> {
    read(body, bodies).await?.work(bodies, n_rows, values_per_row, work).await
}

/// A whole body that nobody has looked at yet.
pub struct Received {
    pub bytes: Bytes,
    /// Of the memory for large bodies; `None`: it is small.
    share: Option<Share>,
}

impl Received {
    /// As `receive_counted`.
    pub async fn work<T: Send + 'static>(
        self,
        bodies: &Bodies,
        n_rows: impl Fn(&[u8]) -> usize,
        values_per_row: usize,
        work: impl FnOnce(&[u8]) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<(T, Place), ApiError> {
        let Self { bytes, share } = self;
        match Workplace::of(&bytes, share.is_some(), n_rows, values_per_row) {
            Workplace::Connection => return Ok((work(&bytes)?, None)),
            Workplace::Thread => return Ok((blocking(move || work(&bytes)).await?, None)),
            Workplace::Place => {}
        }
        let place = timeout(PLACE_WAIT, Arc::clone(&bodies.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(ApiError::busy("other large bodies are worked on")) };
        blocking(move || {
            let done = work(&bytes)?;
            drop((bytes, share));
            Ok((done, Some(place)))
        })
        .await
    }
}

/// Has a body looked at from its beginning to its end, before it is worked on: a little one here, a long one on a thread for long work.
pub async fn look<T: Send + 'static>(
    bytes: Bytes,
    look: impl FnOnce(&[u8]) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if bytes.len() <= INLINE_BODY_BYTES {
        return look(&bytes);
    }
    blocking(move || look(&bytes)).await
}

/// Reads a body to its end.
pub async fn read(body: Body, bodies: &Bodies) -> Result<Received, ApiError> {
    read_most(body, bodies, BODY_BYTES_MAX).await
}

/// The same of a body that may have so many bytes.
pub async fn read_most(mut body: Body, bodies: &Bodies, bytes_most: usize) -> Result<Received, ApiError> {
    let declared = body.size_hint().lower();
    if declared > bytes_most as u64 {
        return Err(refuse(body, Some(declared), bytes_most));
    }
    let most = if body.size_hint().exact().is_some() { usize::try_from(declared).ok() } else { None };
    let most = most.unwrap_or(bytes_most);
    let began = Instant::now();
    let mut patience = Patience::new(PAUSE_MOST, BYTES_PER_SECOND_LEAST);
    let mut received = Received { bytes: Bytes::new(), share: None };
    let mut buffer: Vec<u8> = Vec::new();
    // Told when others need the room; who needs none is not asked.
    let give_up = (most > SMALL_BODY_BYTES).then(Arc::<Notify>::default);
    loop {
        let frame = match soon(&mut body).await {
            Some(frame) => frame,
            None => {
                let left = patience.left().min(BODY_TIMEOUT.saturating_sub(began.elapsed()));
                let waits = Instant::now();
                // In a box of its own, so that small requests, which do not come here, have small futures.
                let next = Box::pin(within(left, &mut body, give_up.as_deref())).await;
                let Some(frame) = next else { return Err(ApiError::slow_body()) };
                patience.waited(waits.elapsed());
                frame
            }
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| ApiError::bad_request(format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        patience.moved(data.len());
        let length = buffer.len() + data.len();
        if length > bytes_most {
            drop(buffer);
            return Err(refuse(body, None, bytes_most));
        }
        if length > buffer.capacity() {
            if length == most && buffer.is_empty() && length <= SMALL_BODY_BYTES {
                received.bytes = data;
                continue;
            }
            let capacity = (2 * buffer.capacity()).max(length).min(most.max(length));
            if let Some(give_up) = &give_up {
                hold(&mut received.share, capacity, bodies, give_up).await?;
            }
            buffer.reserve_exact(capacity - buffer.len());
        }
        buffer.extend_from_slice(&data);
    }
    if !buffer.is_empty() {
        received.bytes = buffer.into();
    }
    // It is whole: what is left is our work.
    if let Some(share) = &mut received.share {
        share.keep();
    }
    Ok(received)
}

/// A piece of a body; `None`: it is at its end.
type Piece = Option<Result<Frame<Bytes>, axum::Error>>;

/// The next piece, where it has come: hyper hands over what it has read once it was asked for, and so no clock is set for it.
async fn soon(body: &mut Body) -> Option<Piece> {
    if body.is_end_stream() {
        return Some(None);
    }
    let mut was_asked = false;
    poll_fn(|context| match Pin::new(&mut *body).poll_frame(context) {
        Poll::Ready(piece) => Poll::Ready(Some(piece)),
        Poll::Pending if was_asked => Poll::Ready(None),
        Poll::Pending => {
            was_asked = true;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// The next piece; `None`: it did not come in time, or others need the room.
async fn within(left: Duration, body: &mut Body, give_up: Option<&Notify>) -> Option<Piece> {
    let next = timeout(left, body.frame());
    let Some(give_up) = give_up else { return next.await.ok() };
    tokio::select! {
        next = next => next.ok(),
        () = give_up.notified() => None,
    }
}

/// Makes the share large enough for so many bytes.
async fn hold(share: &mut Option<Share>, bytes: usize, bodies: &Bodies, give_up: &Arc<Notify>) -> Result<(), ApiError> {
    if bytes <= SMALL_BODY_BYTES {
        return Ok(());
    }
    let has_room = match share {
        Some(share) => bodies.shares.grow(share, bytes, SHARE_WAIT).await,
        None => {
            *share = bodies.shares.take(bytes, give_up, SHARE_WAIT).await;
            share.is_some()
        }
    };
    if has_room { Ok(()) } else { Err(ApiError::busy("other large bodies take all the memory for them")) }
}

/// Answers at once. What is still coming is read and dropped, frame by frame: closing instead would reset the
/// connection, and the client would see that in place of the answer.
fn refuse(mut body: Body, declared: Option<u64>, bytes_most: usize) -> ApiError {
    tokio::spawn(timeout(DRAIN_TIMEOUT, async move { while let Some(Ok(_)) = body.frame().await {} }));
    let size = declared.map_or_else(String::new, |bytes| format!(" of {bytes} bytes"));
    let advice = if bytes_most == BODY_BYTES_MAX { "; send the rows in several requests" } else { "" };
    ApiError::too_large(format!("a body{size}: at most {bytes_most} bytes{advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body of 60 KB is 20,000 rows, and of a classifier of 300 classes six million probabilities.
    #[test]
    fn what_comes_of_a_body_decides_where_it_is_worked_on() {
        let rows = |n_rows: usize| format!("[{}]", vec!["{}"; n_rows].join(","));
        let of = |n_rows, values_per_row| Workplace::of(rows(n_rows).as_bytes(), false, objects, values_per_row);
        assert_eq!(of(1, 5), Workplace::Connection);
        assert_eq!(of(1000, 5), Workplace::Connection);
        assert_eq!(of(4000, 1), Workplace::Thread);
        assert_eq!(of(1000, 40), Workplace::Thread);
        assert_eq!(of(1000, 1200), Workplace::Place);
        assert_eq!(of(20_000, 1200), Workplace::Place);
        assert_eq!(of(20_000, usize::MAX), Workplace::Place);
        assert_eq!(of(1, 100_000), Workplace::Thread);
        assert_eq!(Workplace::of(b"{}", true, objects, 1), Workplace::Place);
    }
}
