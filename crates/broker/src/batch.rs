//! The header of a record batch, magic 2: read, checked, stamped with its offset.
//!
//! Pure: no clock, no I/O. Fence: the records inside stay as they came, compressed or not; `records` looks into them.
//!
//! Layout (Kafka protocol guide, "Record Batch"), big-endian: base offset i64 @0, batch length i32 @8 (of all that
//! follows it), partition leader epoch i32 @12, magic i8 @16, CRC-32C u32 @17 (over all from @21), attributes i16
//! @21, last offset delta i32 @23, base timestamp i64 @27, max timestamp i64 @35, producer id i64 @43, producer
//! epoch i16 @51, base sequence i32 @53, record count i32 @57, records @61.

/// Bytes of a batch before its first record.
pub(crate) const HEADER_BYTES: usize = 61;
/// Bytes of base offset and length, which the length does not count.
pub(crate) const LENGTH_PREFIX_BYTES: usize = 12;
/// Where the bytes that the CRC covers begin.
pub(crate) const CRC_FROM: usize = 21;
/// Bytes that [`stamp`] replaces: base offset, length, leader epoch.
pub(crate) const STAMP_BYTES: usize = 16;
/// A single node leads from the beginning to the end.
pub(crate) const LEADER_EPOCH: i32 = 0;
/// No producer id: the producer is not idempotent.
pub(crate) const NO_PRODUCER: i64 = -1;

const ATTRIBUTE_CODEC: i16 = 0x07;
/// The log's clock gave all records one time, the largest timestamp.
const ATTRIBUTE_LOG_APPEND_TIME: i16 = 0x08;
const ATTRIBUTE_TRANSACTIONAL: i16 = 0x10;
const ATTRIBUTE_CONTROL: i16 = 0x20;

/// How the records of a batch are compressed, by the protocol's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

/// What a batch says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) base_offset: i64,
    /// The whole batch, header included.
    pub(crate) bytes: usize,
    pub(crate) magic: i8,
    pub(crate) crc: u32,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) record_count: i32,
}

/// Why a produced batch is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchFault {
    /// Shorter than it says, longer than it says, or more than one batch.
    Length,
    /// A format before magic 2.
    Magic,
    /// The checksum does not match.
    Crc,
    /// The record count, offsets, sequence or codec make no sense, or it is a control batch.
    Content,
    /// It claims the log's own timestamps.
    Timestamp,
    /// Part of a transaction, which this broker does not serve.
    Transactional,
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`. `None` when there are fewer than 61 bytes or the length is
    /// too small for a batch.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let length = usize::try_from(i32::from_be_bytes(field(bytes, 8)?)).ok()?;
        let whole = length.checked_add(LENGTH_PREFIX_BYTES)?;
        if whole < HEADER_BYTES {
            return None;
        }
        Some(Self {
            base_offset: i64::from_be_bytes(field(bytes, 0)?),
            bytes: whole,
            magic: i8::from_be_bytes(field(bytes, 16)?),
            crc: u32::from_be_bytes(field(bytes, 17)?),
            attributes: i16::from_be_bytes(field(bytes, 21)?),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)?),
            base_timestamp: i64::from_be_bytes(field(bytes, 27)?),
            max_timestamp: i64::from_be_bytes(field(bytes, 35)?),
            producer_id: i64::from_be_bytes(field(bytes, 43)?),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)?),
            base_sequence: i32::from_be_bytes(field(bytes, 53)?),
            record_count: i32::from_be_bytes(field(bytes, 57)?),
        })
    }

    /// The offset after the last record.
    pub(crate) fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta) + 1
    }

    /// `None` for a number that no codec has.
    pub(crate) fn codec(&self) -> Option<Codec> {
        let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
        codecs.into_iter().find(|codec| *codec as i16 == self.attributes & ATTRIBUTE_CODEC)
    }

    pub(crate) fn is_log_append_time(&self) -> bool {
        self.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0
    }

    /// Whether the numbers fit together, for batches of clients and of our own log alike.
    pub(crate) fn is_plausible(&self) -> bool {
        self.magic == 2
            && self.base_offset >= 0
            && self.record_count >= 1
            && self.last_offset_delta == self.record_count - 1
            && self.base_offset < i64::MAX - i64::from(i32::MAX)
            && self.codec().is_some()
    }
}

/// Checks one produced batch: `bytes` is exactly one batch of magic 2 with a right CRC-32C.
pub(crate) fn check(bytes: &[u8]) -> Result<BatchHeader, BatchFault> {
    // Formats 0 and 1 have their magic at the same place and shorter headers.
    match bytes.get(16) {
        Some(2) => {}
        Some(_) => return Err(BatchFault::Magic),
        None => return Err(BatchFault::Length),
    }
    let header = BatchHeader::parse(bytes).ok_or(BatchFault::Length)?;
    if header.bytes != bytes.len() {
        return Err(BatchFault::Length);
    }
    if crc32c::crc32c(&bytes[CRC_FROM..]) != header.crc {
        return Err(BatchFault::Crc);
    }
    if header.attributes & ATTRIBUTE_TRANSACTIONAL != 0 {
        return Err(BatchFault::Transactional);
    }
    // The client's base offset has no meaning; the broker assigns it.
    let header = BatchHeader { base_offset: 0, ..header };
    let has_sequence = header.producer_id <= NO_PRODUCER || header.base_sequence >= 0;
    if !header.is_plausible() || !has_sequence || header.attributes & ATTRIBUTE_CONTROL != 0 {
        return Err(BatchFault::Content);
    }
    if header.is_log_append_time() {
        return Err(BatchFault::Timestamp);
    }
    Ok(header)
}

/// The first 16 bytes of the stored batch: its offset, its length as it came, the leader epoch. The CRC does
/// not cover them.
pub(crate) fn stamp(batch: &[u8], base_offset: i64) -> [u8; STAMP_BYTES] {
    let mut stamped = [0; STAMP_BYTES];
    stamped[..8].copy_from_slice(&base_offset.to_be_bytes());
    stamped[8..12].copy_from_slice(&batch[8..12]);
    stamped[12..].copy_from_slice(&LEADER_EPOCH.to_be_bytes());
    stamped
}

/// Length in bytes of the longest run of whole batches at the start of `bytes`.
pub(crate) fn whole_batches(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(header) = BatchHeader::parse(&bytes[end..]) {
        if header.bytes > bytes.len() - end {
            break;
        }
        end += header.bytes;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{batch as sample, sealed};

    #[test]
    fn a_batch_is_refused_for_what_is_wrong_with_it() {
        let good = sample(3, (NO_PRODUCER, -1, -1), 1000);
        assert!(check(&good).is_ok());
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            check(&bytes).unwrap_err()
        };
        assert_eq!(with(16, 1), BatchFault::Magic);
        assert_eq!(with(11, 1), BatchFault::Length);
        assert_eq!(with(70, 9), BatchFault::Crc);
        assert_eq!(check(&good[..40]).unwrap_err(), BatchFault::Length);
        assert_eq!(check(&[]).unwrap_err(), BatchFault::Length);
        let twice = [good.clone(), good].concat();
        assert_eq!(check(&twice).unwrap_err(), BatchFault::Length);
        let flagged = |attributes, producer| check(&sealed(b"", 1, producer, (0, 0), attributes)).unwrap_err();
        assert_eq!(flagged(0x08, (NO_PRODUCER, -1, -1)), BatchFault::Timestamp);
        assert_eq!(flagged(0x10, (NO_PRODUCER, -1, -1)), BatchFault::Transactional);
        assert_eq!(flagged(0x20, (NO_PRODUCER, -1, -1)), BatchFault::Content);
        assert_eq!(flagged(0, (7, 0, -1)), BatchFault::Content, "a producer without a sequence");
    }
}
