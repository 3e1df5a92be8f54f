//! What a log no longer keeps: which of its oldest segments may go, and the file that says where it begins.
//!
//! `start.json` of a partition: `{"format":1, offset, producers_at, producers}`. It is written before anything is
//! removed, so that an open after a crash finishes what was begun; without it a log begins with its first segment.
//! Fence: the decisions are pure; removing is `log`'s.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::BrokerError;
use crate::files::{self, FORMAT};
use crate::producers::Producers;

/// The segment being written ends when its first record is as old as this part of the age limit, so that what is kept
/// beyond the limit is at most so much.
const AGE_PARTS: u32 = 8;
/// ... but not before it is so old: a limit of seconds must not make a file a second.
const SEGMENT_AGE_LEAST: Duration = Duration::from_secs(10);
/// The segment being written is at most this part of the size limit, for the same reason.
const SIZE_PARTS: u64 = 4;
/// ... but not smaller than this.
const SEGMENT_BYTES_LEAST: u64 = 1024 * 1024;

/// How long and how much a topic keeps, each partition by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    pub(crate) age: Option<Duration>,
    pub(crate) bytes: Option<u64>,
}

/// What is decided by: one segment's size, its largest timestamp in ms (−1: none), the offset after its last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) bytes: u64,
    pub(crate) max_timestamp: i64,
    pub(crate) next_offset: i64,
}

impl Limits {
    fn is_expired(&self, timestamp: i64, now_ms: i64) -> bool {
        is_older(timestamp, self.age, now_ms)
    }

    /// How many of the oldest segments may go. The last one, which is written to, never does. A segment may go when it
    /// lies below `start`, when its newest record is too old, or when what follows it is still as large as the limit:
    /// never more than asked for is removed.
    pub(crate) fn removable(&self, pieces: &[Piece], start: i64, now_ms: i64) -> usize {
        let mut following: u64 = pieces.iter().map(|piece| piece.bytes).sum();
        let mut count = 0;
        for piece in &pieces[..pieces.len().saturating_sub(1)] {
            following -= piece.bytes;
            let is_too_much = self.bytes.is_some_and(|limit| following >= limit);
            if piece.next_offset > start && !is_too_much && !self.is_expired(piece.max_timestamp, now_ms) {
                break;
            }
            count += 1;
        }
        count
    }

    /// Whether the segment that is written to should end now, so that it can go later.
    pub(crate) fn ends(&self, active: Piece, first_timestamp: i64, start: i64, now_ms: i64) -> bool {
        let part = self.age.map(|age| (age / AGE_PARTS).max(SEGMENT_AGE_LEAST));
        active.bytes > 0
            && (active.next_offset <= start
                || self.is_expired(active.max_timestamp, now_ms)
                || is_older(first_timestamp, part, now_ms))
    }

    /// The size at which a segment ends: the topic's, or less when the topic keeps little.
    pub(crate) fn segment_bytes(&self, segment_bytes: u64) -> u64 {
        let part = self.bytes.map(|limit| (limit / SIZE_PARTS).max(SEGMENT_BYTES_LEAST));
        part.map_or(segment_bytes, |part| part.min(segment_bytes))
    }
}

/// A record without a timestamp (−1) is never too old, and nor is one from the future.
fn is_older(timestamp: i64, age: Option<Duration>, now_ms: i64) -> bool {
    let Some(age) = age else {
        return false;
    };
    let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    timestamp >= 0 && now_ms.saturating_sub(timestamp) > age_ms
}

/// Where a log begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) offset: i64,
    /// The first offset of the segment before which `producers` are what they are.
    pub(crate) producers_at: i64,
    /// The producers of all that was removed: they may still be writing.
    pub(crate) producers: Producers,
}

#[derive(Serialize, Deserialize)]
struct StartFile {
    format: u64,
    offset: i64,
    producers_at: i64,
    producers: Producers,
}

fn path_of(folder: &Path) -> PathBuf {
    folder.join("start.json")
}

/// Where the log of a folder begins; `None` when nothing was ever removed.
pub(crate) fn read_start(folder: &Path) -> Result<Option<Start>, BrokerError> {
    let file = files::read_json::<StartFile>(&path_of(folder))?;
    Ok(file.map(|StartFile { offset, producers_at, producers, .. }| Start { offset, producers_at, producers }))
}

/// Says durably where the log begins.
pub(crate) fn write_start(folder: &Path, start: Start) -> Result<(), BrokerError> {
    let Start { offset, producers_at, producers } = start;
    files::write_json(&path_of(folder), &StartFile { format: FORMAT, offset, producers_at, producers })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    /// Segments of 100 bytes and 10 records with these newest timestamps.
    fn pieces(timestamps: &[i64]) -> Vec<Piece> {
        let piece =
            |(next_offset, timestamp): (i64, &i64)| Piece { bytes: 100, max_timestamp: *timestamp, next_offset };
        (1..).map(|index| index * 10).zip(timestamps).map(piece).collect()
    }

    fn removable(age_ms: Option<u64>, bytes: Option<u64>, start: i64, timestamps: &[i64]) -> usize {
        let limits = Limits { age: age_ms.map(Duration::from_millis), bytes };
        limits.removable(&pieces(timestamps), start, NOW)
    }

    #[test]
    fn nothing_goes_unless_asked_for() {
        assert_eq!(removable(None, None, 0, &[0, 0, 0, 0]), 0);
    }

    #[test]
    fn old_segments_go_up_to_the_first_that_is_not_old() {
        let age = Some(1000);
        assert_eq!(removable(age, None, 0, &[NOW - 5000, NOW - 1001, NOW - 1000, NOW - 5000, NOW]), 2);
        assert_eq!(removable(age, None, 0, &[NOW + 5000, 0, 0]), 0, "from the future");
        assert_eq!(removable(age, None, 0, &[-1, 0, 0]), 0, "without a time");
        assert_eq!(removable(age, None, 0, &[0, 0, 0]), 2, "the last is written to");
    }

    #[test]
    fn segments_go_while_what_follows_is_large_enough() {
        let all = [NOW; 5];
        assert_eq!(removable(None, Some(500), 0, &all), 0);
        assert_eq!(removable(None, Some(400), 0, &all), 1);
        assert_eq!(removable(None, Some(399), 0, &all), 1);
        assert_eq!(removable(None, Some(0), 0, &all), 4);
    }

    #[test]
    fn what_lies_below_the_start_goes() {
        assert_eq!(removable(None, None, 29, &[NOW; 5]), 2);
        assert_eq!(removable(None, None, 30, &[NOW; 5]), 3);
    }

    #[test]
    fn the_written_segment_ends_when_it_is_old_itself() {
        let limits = Limits { age: Some(Duration::from_secs(800)), bytes: None };
        let active = |max_timestamp| Piece { bytes: 1, max_timestamp, next_offset: 10 };
        assert!(!limits.ends(active(NOW), NOW - 100_000, 0, NOW));
        assert!(limits.ends(active(NOW), NOW - 100_001, 0, NOW), "an eighth of the age");
        assert!(limits.ends(active(NOW - 800_001), NOW, 0, NOW), "all of it is too old");
        assert!(limits.ends(active(NOW), NOW, 10, NOW), "below the start");
        assert!(!Limits::default().ends(active(0), 0, 0, NOW), "nothing is asked for");
        assert_eq!(limits.segment_bytes(77), 77);
        let limits = Limits { age: None, bytes: Some(40 << 20) };
        assert_eq!((limits.segment_bytes(77), limits.segment_bytes(1 << 30)), (77, 10 << 20));
    }
}
