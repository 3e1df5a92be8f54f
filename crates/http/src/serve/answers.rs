//! The memory of answers that are on their way to their clients.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::sync::Notify;

use super::error::ApiError;
use super::shares::{Share, Shares};

/// 1,024 connections hold 64 MiB of answers up to this size.
const SMALL_ANSWER_BYTES: usize = 64 << 10;
/// Of all larger answers together, until their clients have read them.
const ANSWERS_BYTES: usize = 256 << 20;
/// So long a client may take to read while others wait for room.
const READ_LEAST: Duration = Duration::from_secs(5);
/// An answer that finds no room does not wait for it: it would take the room while it waits.
const SHARE_WAIT: Duration = Duration::ZERO;

pub struct Answers(Shares);

impl Default for Answers {
    fn default() -> Self {
        Self(Shares::new(ANSWERS_BYTES, READ_LEAST))
    }
}

/// An answer's bytes, and their share: hyper lets them go when the last of them is written.
struct Held {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Answers {
    /// The answer with its share of the memory, or the word that there is none left. Event streams have no size, and a bound of
    /// their own. `give_up` is told when the client has had its time and others need the room.
    /// `path`: what was asked.
    pub async fn held(&self, response: Response<Body>, path: &str, give_up: &Arc<Notify>) -> Response<Body> {
        let size = response.body().size_hint().exact().and_then(|size| usize::try_from(size).ok());
        let Some(size) = size.filter(|size| *size > SMALL_ANSWER_BYTES) else { return response };
        if size > ANSWERS_BYTES {
            let message = format!("an answer of {size} bytes: at most {ANSWERS_BYTES}; ask for fewer rows");
            return ApiError::too_large(message).into_response_at(path);
        }
        let Some(share) = self.0.take(size, give_up, SHARE_WAIT).await else {
            return ApiError::busy("large answers that others have not read yet take all the memory for them")
                .into_response_at(path);
        };
        let (head, mut body) = response.into_parts();
        match body.frame().now_or_never() {
            Some(Some(Ok(frame))) if frame.data_ref().is_some_and(|bytes| bytes.len() == size) => match frame
                .into_data()
            {
                Ok(bytes) => Response::from_parts(head, Body::from(Bytes::from_owner(Held { bytes, _share: share }))),
                Err(_) => ApiError::internal("an answer has no data").into_response_at(path),
            },
            _ => ApiError::internal("an answer of a known size is not in one piece").into_response_at(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::super::reply;
    use super::*;

    #[tokio::test]
    async fn large_answers_share_a_bound_until_they_are_read() {
        let answers = Answers::default();
        let give_up: Arc<Notify> = Arc::default();
        let answer = async |bytes: usize| {
            answers.held(reply::bytes(StatusCode::OK, "text/plain", "x".repeat(bytes)), "/", &give_up).await
        };
        assert_eq!(answer(ANSWERS_BYTES + 1).await.status(), 413);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(answer(ANSWERS_BYTES / 4).await);
        }
        assert!(held.iter().all(|held| held.status() == 200));
        assert_eq!(answer(SMALL_ANSWER_BYTES + 1).await.status(), 503);
        assert_eq!(answer(SMALL_ANSWER_BYTES).await.status(), 200);
        for held in held {
            assert_eq!(held.into_body().collect().await.unwrap().to_bytes().len(), ANSWERS_BYTES / 4);
        }
        assert_eq!(answer(ANSWERS_BYTES).await.status(), 200);
    }
}
