//! Every request in every version that is advertised: it passes the guard, is handled, and its answer encodes.

use std::net::SocketAddr;

use kafka_protocol::messages::{ResponseHeader, ResponseKind};
use kafka_protocol::protocol::Decodable;

use super::{Caller, handle};
use crate::samples::{request, text};
use crate::shared::Shared;
use crate::wire::{self, Decoded, guard, schema::APIS};

#[test]
fn every_advertised_version_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let shared = Shared::for_tests(folder.path());
    shared.catalogue.create("t", 2, crate::settings::Set::new()).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 9));
    for api in APIS {
        for version in api.min..=api.max {
            let context = format!("{:?} version {version}", api.key);
            let frame = request(api.key, version).freeze();
            let Ok(Some(Decoded::Request(decoded))) = wire::decode(&frame, &mut |_| true) else {
                panic!("{context}: does not decode");
            };
            let (envelope, kind) = *decoded;
            assert_eq!(envelope.client_id, text("test"), "{context}");
            let client_id = &envelope.client_id;
            let caller =
                Caller { version, client_id, local: address, advertise: None, peer: address, is_gone: &|| false };
            let response = handle(&shared, &caller, kind).response;
            let response = response.unwrap_or_else(|| panic!("{context}: no answer"));
            let bytes = wire::encode(api.key, version, 7, &response, 0);
            let mut bytes = bytes.unwrap_or_else(|error| panic!("{context}: {error}")).freeze();
            let _length = bytes::Buf::get_i32(&mut bytes);
            ResponseHeader::decode(&mut bytes, api.key.response_header_version(version)).unwrap();
            ResponseKind::decode(api.key, &mut bytes, version).unwrap_or_else(|error| panic!("{context}: {error:#}"));
            assert!(bytes.is_empty(), "{context}: bytes left");
        }
    }
}

#[test]
fn a_request_cut_anywhere_is_refused() {
    for api in APIS {
        for version in api.min..=api.max {
            let frame = request(api.key, version).freeze();
            for length in 0..frame.len() {
                let cut = wire::decode(&frame.slice(..length), &mut |_| true);
                assert!(cut.is_err(), "{:?} version {version} cut at {length}", api.key);
            }
            // The table in `schema` and the codec agree to the byte.
            let flexible = api.key.request_header_version(version) >= 2;
            let left = guard::check(&frame[8..], api.fields, version, flexible);
            assert_eq!(left.map(|measure| measure.left), Ok(0), "{:?} version {version}", api.key);
        }
    }
}
