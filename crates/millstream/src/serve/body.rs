//! Reads request bodies inside fixed bounds of size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::error::ApiError;

pub const BODY_BYTES_MAX: usize = 32 << 20;
/// Bodies up to this size need no permit: 1,024 connections hold 64 MiB of them.
pub const SMALL_BODY_BYTES: usize = 64 << 10;
/// 4 × 32 MiB of text, and what they become, are what the process spends on large bodies.
pub const LARGE_BODIES: usize = 4;
const FRAME_TIMEOUT: Duration = Duration::from_secs(15);
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// A refused body is thrown away as it comes for so long, so that its sender gets to read the answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A body, and its share of the memory for large ones: keep it until the answer is made.
pub struct Received {
    pub bytes: Bytes,
    pub permit: Option<OwnedSemaphorePermit>,
}

/// A missing content type is taken for JSON.
pub fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or("something unreadable");
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json") {
        return Ok(());
    }
    Err(ApiError::content_type(text))
}

pub async fn read(mut body: Body, large: &Arc<Semaphore>) -> Result<Received, ApiError> {
    let declared = body.size_hint().lower();
    if declared > BODY_BYTES_MAX as u64 {
        return Err(refuse(body, Some(declared)));
    }
    let deadline = Instant::now() + BODY_TIMEOUT;
    let mut received = Received { bytes: Bytes::new(), permit: None };
    let mut buffer = BytesMut::new();
    loop {
        let next = timeout(FRAME_TIMEOUT, body.frame());
        let frame = match timeout_at(deadline, next).await {
            Ok(Ok(Some(frame))) => {
                frame.map_err(|error| ApiError::bad_request(format!("the body broke off: {error}")))?
            }
            Ok(Ok(None)) => break,
            Ok(Err(_)) | Err(_) => return Err(ApiError::slow_body()),
        };
        let Ok(data) = frame.into_data() else { continue };
        if buffer.len() + data.len() > BODY_BYTES_MAX {
            drop(buffer);
            return Err(refuse(body, None));
        }
        if buffer.is_empty() && data.len() as u64 == declared {
            received.bytes = data;
            continue;
        }
        buffer.extend_from_slice(&data);
        if buffer.len() > SMALL_BODY_BYTES && received.permit.is_none() {
            let permit = timeout_at(deadline, Arc::clone(large).acquire_owned()).await;
            received.permit = permit.map_err(|_| ApiError::slow_body())?.ok();
        }
    }
    if !buffer.is_empty() {
        received.bytes = buffer.freeze();
    }
    Ok(received)
}

/// Answers at once. What is still coming is read and dropped, frame by frame: closing instead would reset the
/// connection, and the client would see that in place of the answer.
fn refuse(mut body: Body, declared: Option<u64>) -> ApiError {
    tokio::spawn(timeout(DRAIN_TIMEOUT, async move { while let Some(Ok(_)) = body.frame().await {} }));
    let size = declared.map_or_else(String::new, |bytes| format!(" of {bytes} bytes"));
    ApiError::too_large(format!("a body{size}: at most {BODY_BYTES_MAX} bytes; send the rows in several requests"))
}
