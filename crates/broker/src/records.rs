//! The records inside a batch, walked end to end, whatever the codec.
//!
//! Pure: no clock, no I/O. Decompression is a stream and values are skipped, so a batch that unfolds to gigabytes costs
//! time but no memory beyond a codec's window. Two callers: a produced batch is held to what it claims before it is
//! stored ([`check`]), and an offset is looked up by time ([`first_at_or_after`]). Fence: what is served stays as it came.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::batch::{BatchHeader, Codec, HEADER_BYTES};
use crate::budget::{Budget, Grant};

/// Records of one batch. A consumer makes some 400 bytes of each at once (librdkafka), however small they are.
pub(crate) const RECORDS_MAX: i32 = 1 << 18;
/// The longest name of a record's header.
const HEADER_NAME_BYTES_MAX: usize = 32 * 1024;
/// The one block of a snappy batch that is not framed unfolds in memory, up to this.
const SNAPPY_BLOCK_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Snappy's densest element makes 64 bytes of 3, so a claim beyond this is no snappy.
const SNAPPY_RATIO_MAX: usize = 32;
/// What Java clients put before snappy: this, two version numbers, then blocks with a length of four bytes each.
const SNAPPY_FRAMED: &[u8] = b"\x82SNAPPY\0";
const SNAPPY_FRAMED_HEADER_BYTES: usize = 16;
/// The current lz4 frame, little endian; the decoder would also take the legacy one, which consumers do not.
const LZ4_MAGIC: &[u8] = &[0x04, 0x22, 0x4d, 0x18];
/// A zstd window of 64 MiB; a decoder keeps as much.
const ZSTD_WINDOW_LOG_MAX: u32 = 26;
/// Between gzip's decoder and the walk.
const GZIP_BUFFER_BYTES: usize = 32 * 1024;

/// All decoders that run at one time.
const DECODERS_BYTES: usize = 256 * 1024 * 1024;
/// How long a batch waits for its decoder's memory: others need some tenths of a second for theirs.
const DECODER_PATIENCE: Duration = Duration::from_secs(20);
static DECODERS: LazyLock<Arc<Budget>> = LazyLock::new(|| Budget::new(DECODERS_BYTES));

/// Why the records of a batch are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordFault {
    #[error("the records do not decompress by the codec that the batch names")]
    Stream,
    #[error("the records are not what the batch claims: their number, their offsets, or a length in them is wrong")]
    Record,
    #[error("the batch unfolds to more bytes, or to more records, than this broker takes in one batch")]
    TooLarge,
    #[error("too many batches are being decoded")]
    Busy,
}

impl From<RecordFault> for io::Error {
    fn from(fault: RecordFault) -> Self {
        Self::new(ErrorKind::InvalidData, fault)
    }
}

/// Holds a produced batch to what it claims: as many records as it says, each whole and numbered in turn from 0, at
/// most `bytes_max` of them decompressed, and nothing behind them. What passes can be read by every consumer.
pub(crate) fn check(batch: &[u8], header: &BatchHeader, bytes_max: u64) -> Result<(), RecordFault> {
    let records = batch.get(HEADER_BYTES..header.bytes).ok_or(RecordFault::Record)?;
    let codec = header.codec().ok_or(RecordFault::Record)?;
    let _share = share(codec)?;
    let stream = |_: io::Error| RecordFault::Stream;
    // What a decoder leaves unread of its input would be no part of any record.
    let left = match codec {
        Codec::None => {
            // The batch's own size bounds them.
            let mut rest = records;
            check_all(&mut rest, header, u64::MAX)?;
            rest.len()
        }
        Codec::Gzip => {
            // One member only: consumers read no further.
            let decoder = flate2::bufread::GzDecoder::new(records);
            let mut buffered = BufReader::with_capacity(GZIP_BUFFER_BYTES, decoder);
            check_all(&mut buffered, header, bytes_max)?;
            buffered.into_inner().into_inner().len()
        }
        Codec::Snappy => match framed_snappy(records).map_err(stream)? {
            None => {
                let block = snappy_block(records).map_err(stream)?;
                let mut rest = block.as_slice();
                check_all(&mut rest, header, bytes_max)?;
                rest.len()
            }
            Some(blocks) => {
                let mut buffered = BufReader::new(blocks);
                check_all(&mut buffered, header, bytes_max)?;
                buffered.into_inner().rest.len()
            }
        },
        Codec::Lz4 => {
            if !records.starts_with(LZ4_MAGIC) {
                return Err(RecordFault::Stream);
            }
            let mut decoder = lz4_flex::frame::FrameDecoder::new(records);
            check_all(&mut decoder, header, bytes_max)?;
            decoder.into_inner().len()
        }
        Codec::Zstd => {
            let mut buffered = BufReader::new(zstd_decoder(records).map_err(stream)?);
            check_all(&mut buffered, header, bytes_max)?;
            buffered.into_inner().finish().len()
        }
    };
    if left == 0 { Ok(()) } else { Err(RecordFault::Record) }
}

/// Walks all records and finds the stream's end behind the last.
fn check_all(stream: impl BufRead, header: &BatchHeader, bytes_max: u64) -> Result<(), RecordFault> {
    let mut walk = Walk { stream, taken: 0, bytes_max };
    for index in 0..header.record_count {
        if index >= RECORDS_MAX {
            return Err(RecordFault::TooLarge);
        }
        let timestamp_delta = walk.record(index)?;
        if header.base_timestamp.checked_add(timestamp_delta).is_none() {
            return Err(RecordFault::Record);
        }
    }
    if walk.fill()?.is_empty() { Ok(()) } else { Err(RecordFault::Record) }
}

/// The first record of `batch` at or after `from_offset` with at least `timestamp` (ms): its offset and its timestamp.
///
/// # Errors
/// When the records cannot be read: a garbled stream, or more than `unfold` bytes before the answer, from which those
/// that were unfolded are taken.
pub(crate) fn first_at_or_after(
    batch: &[u8],
    header: &BatchHeader,
    timestamp: i64,
    from_offset: i64,
    unfold: &mut u64,
) -> io::Result<Option<(i64, i64)>> {
    let first = header.base_offset.max(from_offset);
    if header.is_log_append_time() {
        let is_there = header.max_timestamp >= timestamp && first < header.next_offset();
        return Ok(is_there.then_some((first, header.max_timestamp)));
    }
    let records = batch.get(HEADER_BYTES..header.bytes).ok_or(ErrorKind::UnexpectedEof)?;
    let codec = header.codec().ok_or(ErrorKind::InvalidData)?;
    let _share = share(codec)?;
    let mut walk = Walk { stream: plain(codec, records)?, taken: 0, bytes_max: *unfold };
    let found = (header.base_offset..header.next_offset()).find_map(|offset| {
        let delta = match walk.timestamp_delta() {
            Ok(delta) => delta,
            Err(fault) => return Some(Err(fault)),
        };
        let record_timestamp = header.base_timestamp.saturating_add(delta);
        (offset >= from_offset && record_timestamp >= timestamp).then_some(Ok((offset, record_timestamp)))
    });
    *unfold = unfold.saturating_sub(walk.taken);
    Ok(found.transpose()?)
}

/// Takes the memory that a decoder of this codec may need.
fn share(codec: Codec) -> Result<Grant, RecordFault> {
    let mut grant = DECODERS.grant();
    let bytes = match codec {
        Codec::None => 0,
        Codec::Gzip => 128 * 1024,
        // Blocks of at most 4 MiB: one read, and two and a window decoded.
        Codec::Lz4 => 13 * 1024 * 1024,
        Codec::Snappy | Codec::Zstd => SNAPPY_BLOCK_BYTES_MAX,
    };
    if grant.grow(bytes, DECODER_PATIENCE) { Ok(grant) } else { Err(RecordFault::Busy) }
}

/// The plain bytes behind a codec.
fn plain(codec: Codec, records: &[u8]) -> io::Result<Box<dyn BufRead + '_>> {
    Ok(match codec {
        Codec::None => Box::new(records),
        Codec::Gzip => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(records))),
        Codec::Snappy => match framed_snappy(records)? {
            None => Box::new(io::Cursor::new(snappy_block(records)?)),
            Some(blocks) => Box::new(BufReader::new(blocks)),
        },
        Codec::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(records)),
        Codec::Zstd => Box::new(BufReader::new(zstd_decoder(records)?)),
    })
}

fn zstd_decoder(records: &[u8]) -> io::Result<zstd::stream::read::Decoder<'_, &[u8]>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(records)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

/// The blocks of snappy as Java clients frame it; `None`: it is not framed.
fn framed_snappy(records: &[u8]) -> io::Result<Option<SnappyBlocks<'_>>> {
    if !records.starts_with(SNAPPY_FRAMED) {
        return Ok(None);
    }
    let rest = records.get(SNAPPY_FRAMED_HEADER_BYTES..).ok_or(ErrorKind::UnexpectedEof)?;
    Ok(Some(SnappyBlocks { rest, block: io::Cursor::default() }))
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
struct Walk<S> {
    stream: S,
    taken: u64,
    bytes_max: u64,
}

impl<S: BufRead> Walk<S> {
    /// Reads one record through and says its timestamp delta. Layout (Kafka protocol guide, "Record"): length varint,
    /// attributes i8, timestamp delta varlong, offset delta varint, key and value each with a varint length (−1: null),
    /// headers: their number as a varint, then name and value of each.
    #[inline]
    fn record(&mut self, index: i32) -> Result<i64, RecordFault> {
        let end = self.length()?;
        self.byte()?;
        let delta = self.varint::<10>()?;
        if self.varint::<5>()? != i64::from(index) {
            return Err(RecordFault::Record);
        }
        self.bytes_or_null(end)?;
        self.bytes_or_null(end)?;
        let headers = self.varint::<5>()?;
        if headers != 0 {
            self.headers(headers, end)?;
        }
        if self.taken == end { Ok(delta) } else { Err(RecordFault::Record) }
    }

    /// Passes one record that was stored by whatever version, and says its timestamp delta.
    fn timestamp_delta(&mut self) -> Result<i64, RecordFault> {
        let end = self.length()?;
        self.byte()?;
        let delta = self.varint::<10>()?;
        self.skip(end.checked_sub(self.taken).ok_or(RecordFault::Record)?)?;
        Ok(delta)
    }

    /// A record's length; the place where it ends.
    #[inline]
    fn length(&mut self) -> Result<u64, RecordFault> {
        let length = u64::try_from(self.varint::<5>()?).map_err(|_| RecordFault::Record)?;
        let end = self.taken + length;
        if end > self.bytes_max { Err(RecordFault::TooLarge) } else { Ok(end) }
    }

    /// Passes a key or a value of a record that ends at `end`.
    #[inline]
    fn bytes_or_null(&mut self, end: u64) -> Result<(), RecordFault> {
        match self.varint::<5>()? {
            -1 => Ok(()),
            length => self.skip(self.inside(length, end)?),
        }
    }

    /// A length that stays inside of the record.
    #[inline]
    fn inside(&self, length: i64, end: u64) -> Result<u64, RecordFault> {
        let left = end.checked_sub(self.taken);
        let length = u64::try_from(length).ok().filter(|length| left.is_some_and(|left| *length <= left));
        length.ok_or(RecordFault::Record)
    }

    /// A record's headers; a name is text, as consumers take it for.
    fn headers(&mut self, count: i64, end: u64) -> Result<(), RecordFault> {
        // Each has two bytes at least: a claim of more is not followed.
        self.inside(count.saturating_mul(2), end)?;
        let mut name = Vec::new();
        for _ in 0..count {
            let length = self.varint::<5>()?;
            let length = usize::try_from(self.inside(length, end)?).map_err(|_| RecordFault::Record)?;
            if length > HEADER_NAME_BYTES_MAX {
                return Err(RecordFault::Record);
            }
            name.resize(length, 0);
            self.stream.read_exact(&mut name).map_err(|_| RecordFault::Record)?;
            self.taken += length as u64;
            if std::str::from_utf8(&name).is_err() {
                return Err(RecordFault::Record);
            }
            self.bytes_or_null(end)?;
        }
        Ok(())
    }

    /// What comes next; empty at the end of the stream.
    #[inline]
    fn fill(&mut self) -> Result<&[u8], RecordFault> {
        self.stream.fill_buf().map_err(|_| RecordFault::Stream)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, RecordFault> {
        let byte = *self.fill()?.first().ok_or(RecordFault::Record)?;
        self.stream.consume(1);
        self.taken += 1;
        Ok(byte)
    }

    /// A zigzag varint of at most `BYTES` bytes: 5 for 32 bits, 10 for 64.
    #[inline]
    fn varint<const BYTES: usize>(&mut self) -> Result<i64, RecordFault> {
        // Nearly all have one byte or two; they are read where they lie.
        let (value, bytes) = match *self.fill()? {
            [first, ..] if first < 0x80 => (u64::from(first), 1),
            [first, second, ..] if second < 0x80 => (u64::from(first & 0x7f) | u64::from(second) << 7, 2),
            _ => return self.long_varint::<BYTES>(),
        };
        self.stream.consume(bytes);
        self.taken += bytes as u64;
        Ok(unzigzag(value))
    }

    fn long_varint<const BYTES: usize>(&mut self) -> Result<i64, RecordFault> {
        let mut value: u64 = 0;
        for index in 0..BYTES {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (index * 7).min(63);
            if byte & 0x80 == 0 {
                return Ok(unzigzag(value));
            }
        }
        Err(RecordFault::Record)
    }

    #[inline]
    fn skip(&mut self, mut bytes: u64) -> Result<(), RecordFault> {
        while bytes > 0 {
            let available = self.fill()?.len();
            if available == 0 {
                return Err(RecordFault::Record);
            }
            let step = usize::try_from(bytes).map_or(available, |bytes| bytes.min(available));
            self.stream.consume(step);
            self.taken += step as u64;
            bytes -= step as u64;
        }
        Ok(())
    }
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests;
