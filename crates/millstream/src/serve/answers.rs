//! The memory of answers that are on their way to their clients.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;

/// 1,024 connections hold 64 MiB of answers up to this size.
const SMALL_ANSWER_BYTES: usize = 64 << 10;
/// Of all larger answers together, until their clients have read them.
const ANSWERS_BYTES: usize = 256 << 20;
/// Shares are counted in these.
const SHARE_BYTES: usize = 64 << 10;

pub struct Answers(Arc<Semaphore>);

impl Default for Answers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ANSWERS_BYTES / SHARE_BYTES)))
    }
}

/// An answer's bytes, and their share: hyper lets them go when the last of them is written.
struct Held {
    bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Answers {
    /// The answer with its share of the memory, or the word that there is none left. Event streams have no size, and a bound of
    /// their own.
    pub fn held(&self, response: Response<Body>) -> Response<Body> {
        let size = response.body().size_hint().exact().and_then(|size| usize::try_from(size).ok());
        let Some(size) = size.filter(|size| *size > SMALL_ANSWER_BYTES) else { return response };
        if size > ANSWERS_BYTES {
            let message = format!("an answer of {size} bytes: at most {ANSWERS_BYTES}; ask for fewer rows");
            return ApiError::too_large(message).into_response();
        }
        let shares = u32::try_from(size.div_ceil(SHARE_BYTES)).unwrap_or(u32::MAX);
        let Ok(share) = Arc::clone(&self.0).try_acquire_many_owned(shares) else {
            return ApiError::busy("large answers that others have not read yet take all the memory for them")
                .into_response();
        };
        let (head, mut body) = response.into_parts();
        match body.frame().now_or_never() {
            Some(Some(Ok(frame))) if frame.data_ref().is_some_and(|bytes| bytes.len() == size) => match frame
                .into_data()
            {
                Ok(bytes) => Response::from_parts(head, Body::from(Bytes::from_owner(Held { bytes, _share: share }))),
                Err(_) => ApiError::internal("an answer has no data").into_response(),
            },
            _ => ApiError::internal("an answer of a known size is not in one piece").into_response(),
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
        let answer = |bytes: usize| answers.held(reply::bytes(StatusCode::OK, "text/plain", "x".repeat(bytes)));
        assert_eq!(answer(ANSWERS_BYTES + 1).status(), 413);
        let held: Vec<Response<Body>> = (0..4).map(|_| answer(ANSWERS_BYTES / 4)).collect();
        assert!(held.iter().all(|held| held.status() == 200));
        assert_eq!(answer(SMALL_ANSWER_BYTES + 1).status(), 503);
        assert_eq!(answer(SMALL_ANSWER_BYTES).status(), 200);
        for held in held {
            assert_eq!(held.into_body().collect().await.unwrap().to_bytes().len(), ANSWERS_BYTES / 4);
        }
        assert_eq!(answer(ANSWERS_BYTES).status(), 200);
    }
}
