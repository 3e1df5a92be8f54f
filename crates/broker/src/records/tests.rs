//! Batches of every codec, good ones and others.

use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::samples::sealed;

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn varint(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while rest > 0x7f {
        bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

fn folded(codec: Codec, plain: &[u8], framed: bool) -> Vec<u8> {
    match codec {
        Codec::None => plain.to_vec(),
        Codec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Codec::Snappy if framed => {
            let mut bytes = SNAPPY_FRAMED.to_vec();
            bytes.extend([0, 0, 0, 1, 0, 0, 0, 1]);
            for chunk in plain.chunks(50) {
                let block = snap::raw::Encoder::new().compress_vec(chunk).unwrap();
                bytes.extend(i32::try_from(block.len()).unwrap().to_be_bytes());
                bytes.extend(block);
            }
            bytes
        }
        Codec::Snappy => snap::raw::Encoder::new().compress_vec(plain).unwrap(),
        Codec::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Codec::Zstd => zstd::stream::encode_all(plain, 1).unwrap(),
    }
}

/// Records with these timestamps, end to end.
fn plain(timestamps: &[i64]) -> Vec<u8> {
    let mut plain = Vec::new();
    for (index, timestamp) in timestamps.iter().enumerate() {
        let value = b"some value that is worth compressing, some value";
        let mut record = vec![0];
        record.extend(varint(timestamp - timestamps[0]));
        record.extend(varint(i64::try_from(index).unwrap()));
        record.extend(varint(-1));
        record.extend(varint(i64::try_from(value.len()).unwrap()));
        record.extend(value);
        record.push(0);
        plain.extend(varint(i64::try_from(record.len()).unwrap()));
        plain.extend(record);
    }
    plain
}

/// A batch whose records have these timestamps, at `base_offset`.
fn timed(codec: Codec, framed: bool, base_offset: i64, timestamps: &[i64]) -> Vec<u8> {
    let max = *timestamps.iter().max().unwrap();
    let records = folded(codec, &plain(timestamps), framed);
    let count = i32::try_from(timestamps.len()).unwrap();
    let mut batch = sealed(&records, count, (-1, -1, -1), (timestamps[0], max), codec as i16);
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch
}

fn found(batch: &[u8], timestamp: i64, from_offset: i64) -> io::Result<Option<(i64, i64)>> {
    first_at_or_after(batch, &BatchHeader::parse(batch).unwrap(), timestamp, from_offset, &mut (1 << 30))
}

#[test]
fn the_first_record_at_or_past_a_time_is_found_in_every_codec_and_out_of_order() {
    let timestamps = [50, 70, 60, 10, 90, 90, 20];
    for codec in CODECS {
        for framed in [false, true] {
            let batch = timed(codec, framed, 1000, &timestamps);
            for (asked, expected) in [
                (0, Some((1000, 50))),
                (50, Some((1000, 50))),
                (51, Some((1001, 70))),
                (70, Some((1001, 70))),
                (71, Some((1004, 90))),
                (90, Some((1004, 90))),
                (91, None),
            ] {
                assert_eq!(found(&batch, asked, 0).unwrap(), expected, "{codec:?} at {asked}");
            }
            assert_eq!(found(&batch, 0, 1003).unwrap(), Some((1003, 10)));
            assert_eq!(found(&batch, 90, 1005).unwrap(), Some((1005, 90)));
        }
    }
}

#[test]
fn a_stream_that_is_cut_is_an_error_and_no_answer() {
    for codec in CODECS {
        let mut batch = timed(codec, true, 0, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        batch.truncate(HEADER_BYTES + (batch.len() - HEADER_BYTES) / 2);
        let length = i32::try_from(batch.len() - 12).unwrap();
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        assert!(found(&batch, 10, 0).is_err(), "{codec:?}");
    }
}

#[test]
fn a_claim_of_much_is_not_believed() {
    // Snappy that claims 4 GiB less one, and one record that claims as much.
    let claim = sealed(&[0xff, 0xff, 0xff, 0xff, 0x0f], 1, (-1, -1, -1), (0, 9), Codec::Snappy as i16);
    assert!(found(&claim, 5, 0).is_err());
    let mut record = varint(1 << 32);
    record.extend([0, 0]);
    let claim = sealed(&record, 1, (-1, -1, -1), (0, 9), 0);
    assert!(found(&claim, 5, 0).is_err());
}

#[test]
fn a_batch_stamped_by_a_log_has_one_time() {
    let stamped = sealed(b"not looked at", 5, (-1, -1, -1), (3, 40), 0x08);
    assert_eq!(found(&stamped, 40, 2).unwrap(), Some((2, 40)));
    assert_eq!(found(&stamped, 41, 0).unwrap(), None);
}

/// What is said of a batch of these bytes as records, by each codec, framed and not.
fn verdicts(plain: &[u8], count: i32, bytes_max: u64) -> Vec<Result<(), RecordFault>> {
    let check_one = |(codec, framed): (Codec, bool)| {
        let batch = sealed(&folded(codec, plain, framed), count, (-1, -1, -1), (0, 9), codec as i16);
        check(&batch, &BatchHeader::parse(&batch).unwrap(), bytes_max)
    };
    CODECS.into_iter().flat_map(|codec| [(codec, false), (codec, true)]).map(check_one).collect()
}

#[test]
fn a_batch_is_held_to_what_it_claims_in_every_codec() {
    let good = plain(&[5, 6, 7]);
    let all = |plain: &[u8], count, expected: Result<(), RecordFault>| {
        for (index, verdict) in verdicts(plain, count, 1 << 20).into_iter().enumerate() {
            assert_eq!(verdict, expected, "{plain:?} as {count}, codec {}", index / 2);
        }
    };
    all(&good, 3, Ok(()));
    for count in [1, 2, 4, i32::MAX] {
        all(&good, count, Err(RecordFault::Record));
    }
    all(&[&good[..], &[0]].concat(), 3, Err(RecordFault::Record));
    all(&good[..good.len() - 1], 3, Err(RecordFault::Record));
    // Each is one record: length, attributes, timestamp delta, offset delta, key, value, headers.
    let one = |body: &[u8]| [&varint(i64::try_from(body.len()).unwrap())[..], body].concat();
    all(&one(&[0, 0, 0, 1, 1, 0]), 1, Ok(()));
    all(&one(&[0, 0, 0, 1, 1, 2, 2, b'h', 2, b'v']), 1, Ok(()));
    let bad: [&[u8]; 9] = [
        &[0, 0, 2, 1, 1, 0],                            // an offset that is not its own
        &[0, 0, 0, 1, 1],                               // without headers
        &[0, 0, 0, 1, 1, 0, 0],                         // a byte too many
        &[0, 0, 0, 3, 1, 0],                            // a key of −2 bytes
        &[0, 0, 0, 1, 9, 0],                            // a value of −5
        &[0, 0, 0, 1, 100, 0],                          // a value past the record
        &[0, 0, 0, 1, 1, 1],                            // −1 headers
        &[0, 0, 0, 1, 1, 2, 2, 0xff, 1],                // a header's name that is no text
        &[0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f], // two thousand million headers
    ];
    for body in bad {
        all(&one(body), 1, Err(RecordFault::Record));
    }
    all(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", 1, Err(RecordFault::Record));
    all(b"", 1, Err(RecordFault::Record));
}

#[test]
fn a_batch_that_unfolds_to_too_much_is_refused_however_small_it_is() {
    // A value of 3 GB in gzip, of which only the first kilobytes are there: its length is enough.
    let bytes: i64 = 3_000_000_000;
    let mut record = varint(bytes + 20);
    record.extend([0, 0, 0, 1]);
    record.extend(varint(bytes));
    record.resize(1 << 20, b'x');
    for verdict in verdicts(&record, 1, 64 << 20).into_iter().skip(2) {
        assert_eq!(verdict, Err(RecordFault::TooLarge));
    }
    // As many records as there may be are taken, and not one more.
    let tiny = |index: i32| {
        let delta = varint(i64::from(index));
        let length = u8::try_from(2 * (delta.len() + 5)).unwrap();
        [&[length, 0, 0][..], &delta, &[1, 1, 0]].concat()
    };
    let records: Vec<u8> = (0..=RECORDS_MAX).flat_map(tiny).collect();
    let last = tiny(RECORDS_MAX).len();
    for (count, bytes, expected) in
        [(RECORDS_MAX, records.len() - last, Ok(())), (RECORDS_MAX + 1, records.len(), Err(RecordFault::TooLarge))]
    {
        for verdict in verdicts(&records[..bytes], count, 64 << 20) {
            assert_eq!(verdict, expected, "{count}");
        }
    }
}

#[test]
fn what_follows_a_compressed_stream_is_refused() {
    for codec in CODECS.into_iter().skip(1) {
        // Whatever a decoder makes of it: more of the stream, or less.
        for tail in [&b"x"[..], &[0; 20], &folded(codec, b"more", true)] {
            let mut records = folded(codec, &plain(&[5, 6, 7]), true);
            records.extend(tail);
            let batch = sealed(&records, 3, (-1, -1, -1), (0, 9), codec as i16);
            let verdict = check(&batch, &BatchHeader::parse(&batch).unwrap(), 1 << 20);
            assert!(verdict.is_err(), "{codec:?} with {tail:?}");
        }
    }
    let legacy = [&[0x02, 0x21, 0x4c, 0x18][..], &[0; 30]].concat();
    let batch = sealed(&legacy, 1, (-1, -1, -1), (0, 9), Codec::Lz4 as i16);
    assert_eq!(check(&batch, &BatchHeader::parse(&batch).unwrap(), 1 << 20), Err(RecordFault::Stream));
}

proptest! {
    /// Whatever is in the batch: an answer or an error, no panic.
    #[test]
    fn any_records_are_read_or_refused(
        codec in 0_i16..8,
        count in 1_i32..50,
        records in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let batch = sealed(&records, count, (-1, -1, -1), (0, 1000), codec);
        let _ = found(&batch, 500, 0);
        let _ = check(&batch, &BatchHeader::parse(&batch).unwrap(), 1 << 20);
    }
}
