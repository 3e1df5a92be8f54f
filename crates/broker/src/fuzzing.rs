//! The codec path, opened to the targets in `fuzz/`: bytes in, and what must hold whatever they are.
//!
//! Each function takes a fresh, empty folder, so that an input that fails once fails again.

#![allow(clippy::missing_panics_doc)]

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;

use crate::api::{self, Caller};
use crate::batch::{self, BatchHeader};
use crate::log::PartitionLog;
use crate::records;
use crate::retention::Limits;
use crate::samples;
use crate::settings::Set;
use crate::shared::Shared;
use crate::wire::{self, Decoded, schema::APIS};

/// Small, so that a few batches roll.
const SEGMENT_BYTES: u64 = 400;
/// Small, so that inputs get past it.
const DECODED_BYTES_MAX: u64 = 1 << 16;
/// A log that no damage has reached yet: batches of three records.
const WHOLE_BATCHES: i32 = 12;

/// Frames with a length of two bytes each, one after the other through the dispatcher of one broker. What decodes is
/// handled, and its answer encodes.
pub fn requests(folder: &Path, mut input: &[u8]) {
    let shared = Shared::for_tests(folder);
    // A join or a fetch answers at once instead of waiting for others.
    shared.stop_waiting();
    shared.catalogue.create("t", 2, Set::new()).expect("a fresh folder");
    let address = SocketAddr::from(([127, 0, 0, 1], 9));
    while let Some((length, rest)) = input.split_first_chunk() {
        let (frame, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        input = rest;
        let Ok(Some(Decoded::Request(decoded))) = wire::decode(&Bytes::copy_from_slice(frame), &mut |_| true) else {
            continue;
        };
        let (envelope, request) = *decoded;
        let caller = Caller {
            version: envelope.version,
            client_id: &envelope.client_id,
            local: address,
            peer: address,
            advertise: None,
            is_gone: &|| false,
        };
        let answer = api::handle(&shared, &caller, request);
        if let Some(response) = answer.response {
            let encoded = wire::encode(envelope.key, envelope.version, envelope.correlation_id, &response, 0);
            assert!(encoded.is_ok(), "{encoded:?}");
        }
    }
}

/// Batches with a length of two bytes each, given a right length and checksum so that they get past those, then the
/// produce path and everything that reads what it let in.
pub fn batches(folder: &Path, mut input: &[u8]) {
    PartitionLog::create(folder).expect("a fresh folder");
    let log = PartitionLog::open(folder, SEGMENT_BYTES).expect("an empty log");
    let mut timestamps = vec![0, 1, i64::MAX];
    while let Some((length, rest)) = input.split_first_chunk() {
        let (bytes, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        input = rest;
        let bytes = samples::mended(bytes);
        if let Ok(header) = batch::check(&bytes)
            && records::check(&bytes, &header, DECODED_BYTES_MAX).is_ok()
        {
            timestamps.extend([header.base_timestamp, header.max_timestamp]);
            let _ = log.append(&bytes, header);
        }
    }
    log.seal_full();
    hold(&log, &timestamps);
    let again = PartitionLog::open(folder, SEGMENT_BYTES).expect("a log that was written by append");
    assert_eq!(again.bounds(), log.bounds());
    hold(&again, &timestamps);
}

/// A log of several segments, its files damaged as the input says: first a byte whose lowest bit leaves the segments
/// unsealed, then a file, a place and a value each; a place past the end cuts the file. What is sealed was forced to
/// the disk and is taken at its index's word, so it is only cut. Opening finds a log without holes that goes on.
pub fn segments(folder: &Path, input: &[u8]) {
    let (mode, damages) = input.split_first().unwrap_or((&0, &[]));
    PartitionLog::create(folder).expect("a fresh folder");
    {
        let log = PartitionLog::open(folder, SEGMENT_BYTES).expect("an empty log");
        for index in 0..WHOLE_BATCHES {
            let batch = samples::batch(3, (7, 0, index * 3), 1000 + i64::from(index));
            log.append(&batch, batch::check(&batch).expect("a sample")).expect("an empty disk");
        }
        if mode & 1 == 0 {
            log.seal_full();
        }
        log.retain(Limits { age: None, bytes: Some(800) }, 0);
    }
    let mut files: Vec<_> = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    files.sort();
    let is_open =
        |path: &Path| path.extension().is_some_and(|end| end == "log") && !path.with_extension("index").exists();
    for damage in damages.chunks_exact(3) {
        let path = &files[usize::from(damage[0]) % files.len()];
        let mut bytes = fs::read(path).expect("a file");
        // A file is up to a few hundred bytes: the place is a share of it.
        let at = usize::from(damage[1]) * bytes.len().max(1) / 250;
        match bytes.get_mut(at) {
            Some(byte) if is_open(path) => *byte = damage[2],
            Some(_) => {}
            None => bytes.truncate(usize::from(damage[2]) * 2),
        }
        fs::write(path, bytes).expect("room");
    }
    // Small files of ours may be refused, with an error; segments are cut.
    let Ok(log) = PartitionLog::open(folder, SEGMENT_BYTES) else {
        return;
    };
    hold(&log, &[0, 1005, 2000]);
    let bounds = log.bounds();
    let next = samples::batch(3, (9, 0, 0), 5000);
    let appended = log.append(&next, batch::check(&next).expect("a sample")).expect("room");
    assert_eq!(appended, bounds.end);
    let again = PartitionLog::open(folder, SEGMENT_BYTES).expect("a log that was opened before");
    assert_eq!(again.bounds(), log.bounds());
    hold(&again, &[1000]);
}

/// What must hold of any log: every offset is readable, none outside is, and a time is found inside.
fn hold(log: &PartitionLog, timestamps: &[i64]) {
    let bounds = log.bounds();
    assert!(bounds.start <= bounds.end, "{bounds:?}");
    let mut offset = bounds.start;
    while offset < bounds.end {
        let cursor = log.cursor(offset).expect("readable").expect("inside");
        let bytes = log.read(cursor, 1, true).expect("readable").expect("inside");
        let header = BatchHeader::parse(&bytes).expect("a batch");
        assert!((header.base_offset..header.next_offset()).contains(&offset), "{header:?} at {offset}");
        offset = header.next_offset();
    }
    assert_eq!(offset, bounds.end);
    assert_eq!(log.cursor(bounds.start - 1).expect("readable"), None);
    assert_eq!(log.cursor(bounds.end + 1).expect("readable"), None);
    for timestamp in timestamps {
        if let Some((found, _)) = log.offset_of_timestamp(*timestamp, &mut 100_000).expect("readable") {
            assert!((bounds.start..bounds.end).contains(&found), "{found} is not in {bounds:?}");
        }
    }
    let largest = log.max_timestamp(&mut 100_000).expect("readable");
    assert!(largest.is_none_or(|(found, _)| (bounds.start..bounds.end).contains(&found)), "{largest:?}");
}

fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let mut input = Vec::new();
    for part in parts {
        input.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        input.extend(*part);
    }
    input
}

/// Writes inputs to begin with to the folder that `MILLSTREAM_FUZZ_SEEDS` names, if it does. They are made by code, so
/// that a change of the protocol's versions changes them too.
pub fn write_seeds(seeds: Vec<Vec<u8>>) {
    let Some(folder) = std::env::var_os("MILLSTREAM_FUZZ_SEEDS") else {
        return;
    };
    for (number, seed) in seeds.into_iter().enumerate() {
        fs::write(Path::new(&folder).join(format!("seed-{number:03}")), seed).expect("a folder for seeds");
    }
}

/// Inputs to begin with, for [`requests`]: every request in its oldest and newest version, alone and after a produce.
pub fn seeds_of_requests() -> Vec<Vec<u8>> {
    let produce = samples::request(kafka_protocol::messages::ApiKey::Produce, 9);
    let of = |api: &wire::schema::Api| [api.min, api.max].map(|version| samples::request(api.key, version));
    APIS.iter().flat_map(of).flat_map(|frame| [framed(&[&frame]), framed(&[&produce, &frame])]).collect()
}

/// Inputs to begin with, for [`batches`]: one to three batches, of every codec.
pub fn seeds_of_batches() -> Vec<Vec<u8>> {
    let plain = samples::batch(3, (-1, -1, -1), 1000);
    let second = samples::batch(5, (4, 0, 0), 900);
    let mut seeds = vec![framed(&[&plain]), framed(&[&plain, &second, &plain])];
    for attributes in 0..=8 {
        seeds.push(framed(&[&samples::sealed(
            &plain[batch::HEADER_BYTES..],
            3,
            (-1, -1, -1),
            (1000, 1002),
            attributes,
        )]));
    }
    let records = &plain[batch::HEADER_BYTES..];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    let packed = [
        (1, gzip.write_all(records).and_then(|()| gzip.finish()).expect("memory")),
        (2, snap::raw::Encoder::new().compress_vec(records).expect("memory")),
        (3, lz4.write_all(records).map(|()| lz4.finish().expect("memory")).expect("memory")),
        (4, zstd::stream::encode_all(records, 1).expect("memory")),
    ];
    for (attributes, records) in packed {
        seeds.push(framed(&[&samples::sealed(&records, 3, (-1, -1, -1), (1000, 1002), attributes)]));
    }
    seeds
}

/// Inputs to begin with, for [`segments`].
pub fn seeds_of_segments() -> Vec<Vec<u8>> {
    let one = [0, 10, 255, 1, 255, 40, 2, 200, 1];
    let two = [3, 100, 7, 5, 251, 0, 4, 17, 9, 6, 3, 3];
    vec![
        vec![],
        [&[0][..], &one].concat(),
        [&[1][..], &one].concat(),
        [&[0][..], &two].concat(),
        [&[1][..], &two].concat(),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fresh(run: impl FnOnce(&Path)) {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path());
    }

    #[test]
    fn what_fuzzing_begins_with_holds() {
        seeds_of_requests().iter().for_each(|seed| fresh(|folder| requests(folder, seed)));
        seeds_of_batches().iter().for_each(|seed| fresh(|folder| batches(folder, seed)));
        seeds_of_segments().iter().for_each(|seed| fresh(|folder| segments(folder, seed)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_damaged_log_opens_without_holes(input in proptest::collection::vec(any::<u8>(), 0..30)) {
            fresh(|folder| segments(folder, &input));
        }
    }
}
