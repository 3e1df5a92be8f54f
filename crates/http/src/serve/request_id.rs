//! The id of a request, by which its answer and the lines of the log about it find each other: the client's own, else one of ours.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Of an id that a client sends.
const CHARS_MOST: usize = 128;

/// Counted from a random number: those of several processes lie far apart.
static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(std::process::id())));

/// The client's, where it is one id of visible ASCII characters: it goes into logs and into the answer's head as it is.
pub fn of(headers: &HeaderMap) -> HeaderValue {
    let mut given = headers.get_all(REQUEST_ID).iter();
    let is_visible = |value: &&HeaderValue| {
        (1..=CHARS_MOST).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    match (given.next().filter(is_visible), given.next()) {
        (Some(own), None) => own.clone(),
        _ => HeaderValue::from(NEXT.fetch_add(1, Ordering::Relaxed)),
    }
}

/// Puts it on an answer.
pub fn mark<B>(response: &mut Response<B>, id: HeaderValue) {
    response.headers_mut().insert(REQUEST_ID, id);
}

/// For the log.
pub fn text(id: &HeaderValue) -> &str {
    id.to_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(values: &[&[u8]]) -> HeaderMap {
        values.iter().map(|value| (REQUEST_ID, HeaderValue::from_bytes(value).unwrap())).collect()
    }

    #[test]
    fn an_id_of_visible_ascii_is_kept_and_any_other_replaced() {
        for own in ["a", "0f8fad5b-d9cb-469f-a165-70867728950e", "!~{}\"'<>\\%", &"x".repeat(128)] {
            assert_eq!(of(&sent(&[own.as_bytes()])), own);
        }
        // A line break is no header at all: hyper refuses the request.
        for other in [&b""[..], b"a b", b"a\tb", "é".as_bytes(), b"\xff", &[b'x'; 129], &[b'x'; 10_000]] {
            let id = of(&sent(&[other]));
            assert!(text(&id).parse::<u64>().is_ok(), "{id:?}");
        }
        assert!(text(&of(&sent(&[b"one", b"two"]))).parse::<u64>().is_ok());
        assert_ne!(of(&sent(&[])), of(&sent(&[])));
    }
}
