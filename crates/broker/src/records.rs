//! The records inside a batch, walked for their timestamps, whatever the codec.
//!
//! Pure: no clock, no I/O. Decompression is a stream and values are skipped, so a batch that unfolds to gigabytes costs
//! time but no memory beyond a codec's window. Fence: only looking up an offset by time comes here; what is served
//! stays as it came.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::sync::Mutex;

use crate::batch::{BatchHeader, Codec, HEADER_BYTES};
use crate::locks::lock;

/// A batch is not followed further than this: a second of work, and more than any honest batch of at most
/// [`crate::Config::max_batch_bytes`] unfolds to.
const DECODED_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// The one block of a snappy batch that is not framed unfolds in memory, up to this.
const SNAPPY_BLOCK_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Snappy's densest element makes 64 bytes of 3, so a claim beyond this is no snappy.
const SNAPPY_RATIO_MAX: usize = 32;
/// What Java clients put before snappy: this, two version numbers, then blocks with a length of four bytes each.
const SNAPPY_FRAMED: &[u8] = b"\x82SNAPPY\0";
const SNAPPY_FRAMED_HEADER_BYTES: usize = 16;

/// One batch is unfolded at a time: a decoder may need 128 MiB.
static UNFOLDING: Mutex<()> = Mutex::new(());

/// The first record of `batch` at or after `from_offset` with at least `timestamp` (ms): its offset and its timestamp.
///
/// # Errors
/// When the records cannot be read: a garbled stream, or more than [`DECODED_BYTES_MAX`] before the answer.
pub(crate) fn first_at_or_after(
    batch: &[u8],
    header: &BatchHeader,
    timestamp: i64,
    from_offset: i64,
) -> io::Result<Option<(i64, i64)>> {
    let first = header.base_offset.max(from_offset);
    if header.is_log_append_time() {
        let is_there = header.max_timestamp >= timestamp && first < header.next_offset();
        return Ok(is_there.then_some((first, header.max_timestamp)));
    }
    let records = batch.get(HEADER_BYTES..header.bytes).ok_or(ErrorKind::UnexpectedEof)?;
    let codec = header.codec().ok_or(ErrorKind::InvalidData)?;
    let _one_at_a_time = (codec != Codec::None).then(|| lock(&UNFOLDING));
    let mut walk = Walk { stream: unfold(codec, records)?, taken: 0 };
    for offset in header.base_offset..header.next_offset() {
        let record_timestamp = header.base_timestamp.saturating_add(walk.timestamp_delta()?);
        if offset >= from_offset && record_timestamp >= timestamp {
            return Ok(Some((offset, record_timestamp)));
        }
    }
    Ok(None)
}

/// The plain bytes behind a codec.
fn unfold(codec: Codec, records: &[u8]) -> io::Result<Box<dyn BufRead + '_>> {
    Ok(match codec {
        Codec::None => Box::new(records),
        Codec::Gzip => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(records))),
        Codec::Snappy => match records.strip_prefix(SNAPPY_FRAMED) {
            None => Box::new(io::Cursor::new(snappy_block(records)?)),
            Some(_) => {
                let rest = records.get(SNAPPY_FRAMED_HEADER_BYTES..).ok_or(ErrorKind::UnexpectedEof)?;
                Box::new(BufReader::new(SnappyBlocks { rest, block: io::Cursor::default() }))
            }
        },
        Codec::Lz4 => Box::new(BufReader::new(lz4_flex::frame::FrameDecoder::new(records))),
        Codec::Zstd => Box::new(BufReader::new(zstd::stream::read::Decoder::with_buffer(records)?)),
    })
}

fn snappy_block(block: &[u8]) -> io::Result<Vec<u8>> {
    let bytes = snap::raw::decompress_len(block)?;
    if bytes > SNAPPY_BLOCK_BYTES_MAX || bytes / SNAPPY_RATIO_MAX > block.len() {
        return Err(io::Error::new(ErrorKind::InvalidData, "a snappy block claims too much"));
    }
    Ok(snap::raw::Decoder::new().decompress_vec(block)?)
}

/// Framed snappy, one block in memory.
struct SnappyBlocks<'a> {
    rest: &'a [u8],
    block: io::Cursor<Vec<u8>>,
}

impl Read for SnappyBlocks<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.block.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            let Some((length, rest)) = self.rest.split_first_chunk() else {
                return Ok(0);
            };
            let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| ErrorKind::InvalidData)?;
            let (block, rest) = rest.split_at_checked(length).ok_or(ErrorKind::UnexpectedEof)?;
            self.block = io::Cursor::new(snappy_block(block)?);
            self.rest = rest;
        }
    }
}

/// Reads records end to end.
struct Walk<'a> {
    stream: Box<dyn BufRead + 'a>,
    taken: u64,
}

impl Walk<'_> {
    /// Passes one record and says its timestamp delta. Layout (Kafka protocol guide, "Record"): length varint,
    /// attributes i8, timestamp delta varlong, then what is not looked at.
    fn timestamp_delta(&mut self) -> io::Result<i64> {
        let length = self.varint()?;
        let begin = self.taken;
        self.byte()?;
        let delta = self.varint()?;
        let rest = u64::try_from(length).ok().and_then(|length| length.checked_sub(self.taken - begin));
        self.skip(rest.ok_or(ErrorKind::InvalidData)?)?;
        Ok(delta)
    }

    fn byte(&mut self) -> io::Result<u8> {
        let byte = *self.stream.fill_buf()?.first().ok_or(ErrorKind::UnexpectedEof)?;
        self.stream.consume(1);
        self.taken += 1;
        Ok(byte)
    }

    /// A zigzag varint of at most ten bytes.
    fn varint(&mut self) -> io::Result<i64> {
        let mut value: u64 = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            value |= bits << shift.min(63);
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(ErrorKind::InvalidData.into())
    }

    fn skip(&mut self, mut bytes: u64) -> io::Result<()> {
        if self.taken.saturating_add(bytes) > DECODED_BYTES_MAX {
            return Err(io::Error::new(ErrorKind::InvalidData, "the batch unfolds to more than 1 GiB"));
        }
        while bytes > 0 {
            let available = self.stream.fill_buf()?.len();
            if available == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let step = available.min(usize::try_from(bytes).unwrap_or(usize::MAX));
            self.stream.consume(step);
            self.taken += step as u64;
            bytes -= step as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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

    /// A batch whose records have these timestamps, at `base_offset`.
    fn timed(codec: Codec, framed: bool, base_offset: i64, timestamps: &[i64]) -> Vec<u8> {
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
        let max = *timestamps.iter().max().unwrap();
        let records = folded(codec, &plain, framed);
        let count = i32::try_from(timestamps.len()).unwrap();
        let mut batch = sealed(&records, count, (-1, -1, -1), (timestamps[0], max), codec as i16);
        batch[..8].copy_from_slice(&base_offset.to_be_bytes());
        batch
    }

    fn found(batch: &[u8], timestamp: i64, from_offset: i64) -> io::Result<Option<(i64, i64)>> {
        first_at_or_after(batch, &BatchHeader::parse(batch).unwrap(), timestamp, from_offset)
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
        }
    }
}
