//! From bytes to requests and from answers to bytes.
//!
//! Fence: no socket and no state; what a request means is `api`'s.

pub(crate) mod guard;
pub(crate) mod schema;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, RequestHeader, RequestKind, ResponseHeader, ResponseKind,
    api_versions_response::ApiVersion,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use guard::Malformed;

/// Key, version and correlation id: what every request begins with.
const PREFIX_BYTES: usize = 8;

/// Who asks, in which version.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: StrBytes,
}

/// A decoded frame.
#[derive(Debug)]
pub(crate) enum Decoded {
    Request(Box<(Envelope, RequestKind)>),
    /// ApiVersions in a version that is not served: answered in version 0 with UNSUPPORTED_VERSION (KIP-35).
    ApiVersionsTooNew {
        correlation_id: i32,
    },
}

/// Why a connection is closed instead of answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("request shorter than its header")]
    Short,
    #[error("unknown api key {key}")]
    KeyUnknown { key: i16 },
    #[error("version {version} of {key:?} is not served")]
    VersionUnknown { key: ApiKey, version: i16 },
    #[error("malformed {key:?} version {version}")]
    Malformed { key: ApiKey, version: i16, source: Malformed },
    #[error("{key:?} version {version} does not decode")]
    Undecodable { key: ApiKey, version: i16 },
    #[error("the answer to {key:?} version {version} does not encode: {detail}")]
    Unencodable { key: ApiKey, version: i16, detail: String },
}

/// Decodes one frame, without its length prefix. Never panics and never takes more memory than `reserve` grants for the
/// number of its array elements; `None`: it did not.
pub(crate) fn decode(frame: &Bytes, reserve: &mut dyn FnMut(usize) -> bool) -> Result<Option<Decoded>, WireError> {
    let mut prefix = frame.get(..PREFIX_BYTES).ok_or(WireError::Short)?;
    let (key, version) = (prefix.get_i16(), prefix.get_i16());
    let correlation_id = prefix.get_i32();
    let api = schema::api_of(key).ok_or(WireError::KeyUnknown { key })?;
    let key = api.key;
    if !(api.min..=api.max).contains(&version) {
        return match key {
            ApiKey::ApiVersions => Ok(Some(Decoded::ApiVersionsTooNew { correlation_id })),
            _ => Err(WireError::VersionUnknown { key, version }),
        };
    }
    let header_version = key.request_header_version(version);
    let measure = guard::check(&frame[PREFIX_BYTES..], api.fields, version, header_version >= 2)
        .map_err(|source| WireError::Malformed { key, version, source })?;
    if !reserve(measure.elements) {
        return Ok(None);
    }
    // The guard has measured every length; the codec may still refuse (text that is no UTF-8), and a panic inside it
    // would be ours to answer for.
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        let mut rest = frame.clone();
        let header = RequestHeader::decode(&mut rest, header_version)?;
        RequestKind::decode(key, &mut rest, version).map(|request| (header, request))
    }));
    match decoded {
        Ok(Ok((header, request))) => {
            let envelope = Envelope { key, version, correlation_id, client_id: header.client_id.unwrap_or_default() };
            Ok(Some(Decoded::Request(Box::new((envelope, request)))))
        }
        Ok(Err(_)) | Err(_) => Err(WireError::Undecodable { key, version }),
    }
}

/// Encodes an answer with its length prefix.
pub(crate) fn encode(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    response: &ResponseKind,
    size_hint: usize,
) -> Result<BytesMut, WireError> {
    let fault = |detail: String| WireError::Unencodable { key, version, detail };
    let mut bytes = BytesMut::with_capacity(size_hint + 512);
    bytes.put_i32(0);
    ResponseHeader::default()
        .with_correlation_id(correlation_id)
        .encode(&mut bytes, key.response_header_version(version))
        .and_then(|()| response.encode(&mut bytes, version))
        .map_err(|error| fault(format!("{error:#}")))?;
    let length = i32::try_from(bytes.len() - 4).map_err(|error| fault(error.to_string()))?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes)
}

/// The answer to ApiVersions: exactly the table in [`schema`].
pub(crate) fn api_versions() -> ApiVersionsResponse {
    let keys = schema::APIS
        .iter()
        .map(|api| {
            ApiVersion::default().with_api_key(api.key as i16).with_min_version(api.min).with_max_version(api.max)
        })
        .collect();
    ApiVersionsResponse::default().with_api_keys(keys)
}

/// The answer to an ApiVersions request that is too new (KIP-35): version 0, UNSUPPORTED_VERSION, and the versions
/// that are served, so that the client can ask again.
pub(crate) fn api_versions_too_new(correlation_id: i32) -> Result<BytesMut, WireError> {
    let response = api_versions().with_error_code(ResponseError::UnsupportedVersion.code());
    let response = ResponseKind::ApiVersions(response);
    encode(ApiKey::ApiVersions, 0, correlation_id, &response, 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever arrives: a request, or an error, in bounded memory and without a panic.
        #[test]
        fn any_bytes_decode_or_are_refused(
            key in 0_i16..80,
            version in 0_i16..20,
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut frame = BytesMut::new();
            frame.put_i16(key);
            frame.put_i16(version);
            frame.put_slice(&rest);
            let _ = decode(&frame.freeze(), &mut |_| true);
        }

        /// A true request with some bytes overwritten reaches deeper than noise does.
        #[test]
        fn a_garbled_request_decodes_or_is_refused(
            api in 0..schema::APIS.len(),
            above_min in 0_i16..20,
            changes in proptest::collection::vec((0_usize..400, any::<u8>()), 0..6),
        ) {
            let api = &schema::APIS[api];
            let version = (api.min + above_min).min(api.max);
            let mut frame = crate::samples::request(api.key, version);
            for (at, value) in changes {
                // Behind the correlation id, or the request is only an unknown one.
                let at = PREFIX_BYTES + at % (frame.len() - PREFIX_BYTES);
                frame[at] = value;
            }
            let _ = decode(&frame.freeze(), &mut |_| true);
        }
    }

    #[test]
    fn a_claimed_count_is_not_believed() {
        // Metadata version 1: no client id, then two thousand million topics.
        let mut frame = BytesMut::new();
        frame.put_slice(&[0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff]);
        frame.put_i32(i32::MAX);
        let refused = decode(&frame.freeze(), &mut |_| true);
        assert!(matches!(refused, Err(WireError::Malformed { source: Malformed::PastEnd, .. })));
    }

    #[test]
    fn a_newer_api_versions_is_answered_and_other_newer_requests_are_not() {
        let frame = |key: i16, version: i16| {
            let mut frame = BytesMut::new();
            frame.put_i16(key);
            frame.put_i16(version);
            frame.put_i32(9);
            decode(&frame.freeze(), &mut |_| true)
        };
        assert!(matches!(frame(18, 99), Ok(Some(Decoded::ApiVersionsTooNew { correlation_id: 9 }))));
        assert!(matches!(frame(1, 99), Err(WireError::VersionUnknown { .. })));
        assert!(matches!(frame(999, 0), Err(WireError::KeyUnknown { key: 999 })));
    }
}
