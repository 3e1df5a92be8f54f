//! One partition's log: segments on disk, the producers it knows, those who wait for it to grow.
//!
//! Fence: knows batches, not requests. An append is in the page cache when [`PartitionLog::append`] returns; no byte
//! waits in this process.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tracing::{error, info, warn};

use crate::batch::{self, BatchHeader, HEADER_BYTES};
use crate::error::BrokerError;
use crate::files;
use crate::locks::{Waiters, lock};
use crate::producers::{Producers, Verdict};
use crate::segment::{self, Segment};

/// Why a batch was not appended.
#[derive(Debug)]
pub(crate) enum Refusal {
    OutOfOrder,
    Fenced,
    /// The disk refused; nothing of the batch is in the log.
    Disk,
}

/// A place to read from: the batch at `position` of the segment that begins with `segment_base`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    segment_base: i64,
    position: u64,
}

/// Where a log begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) start: i64,
    /// The next offset to be written; the high watermark of a single node.
    pub(crate) end: i64,
}

/// A log, shared by all connections.
pub(crate) struct PartitionLog {
    folder: PathBuf,
    segment_bytes: u64,
    state: Mutex<State>,
    pub(crate) waiters: Waiters,
}

struct State {
    /// Never empty; the last is written to.
    segments: Vec<Segment>,
    producers: Producers,
    /// Full segments that wait to be sealed, with the producers at their end.
    to_seal: Vec<(i64, Producers)>,
    /// Set when the disk left the log in doubt: nothing is appended until it is opened again.
    broken: bool,
    unsynced: bool,
    /// The topic is deleted.
    closed: bool,
}

impl PartitionLog {
    /// Makes an empty log, durable in name.
    pub(crate) fn create(folder: &Path) -> Result<(), BrokerError> {
        files::create_folder(folder)?;
        Segment::create(folder, 0).map_err(BrokerError::disk("create a segment in", folder))?;
        files::sync_folder(folder)
    }

    /// Opens a log. Segments with an index are taken at its word; the others, at least the last, are read through
    /// and cut after the last good batch. What lies behind a cut is not part of the log any more: a hole would break
    /// the promise that offsets are dense.
    pub(crate) fn open(folder: &Path, segment_bytes: u64) -> Result<Self, BrokerError> {
        let mut producers = Producers::default();
        let mut segments: Vec<Segment> = Vec::new();
        let bases = segment::list(folder)?;
        let mut to_seal = Vec::new();
        let mut cut_short = false;
        for (index, &base_offset) in bases.iter().enumerate() {
            let expected = segments.last().map_or(base_offset, |last| last.extent.next_offset);
            if cut_short || base_offset != expected {
                cut_short = true;
                let path = segment::path_of(folder, base_offset);
                error!(path = %path.display(), "segment behind a torn one set aside");
                let aside = path.with_extension("torn");
                fs::rename(&path, aside).map_err(BrokerError::disk("rename", &path))?;
                continue;
            }
            let is_last = index + 1 == bases.len();
            if !is_last && let Some((segment, known)) = Segment::open_sealed(folder, base_offset)? {
                segments.push(segment);
                producers = known;
                continue;
            }
            let (segment, cut) = Segment::open_scanning(folder, base_offset, &mut producers)?;
            if cut > 0 {
                warn!(path = %segment.path.display(), bytes = cut, "torn tail cut");
            }
            if !is_last {
                to_seal.push((base_offset, producers.clone()));
            }
            segments.push(segment);
        }
        if segments.is_empty() {
            segments.push(Segment::create(folder, 0).map_err(BrokerError::disk("create a segment in", folder))?);
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            segment_bytes,
            state: Mutex::new(State { segments, producers, to_seal, broken: false, unsynced: true, closed: false }),
            waiters: Waiters::default(),
        })
    }

    /// Appends a checked batch and returns its base offset; for a batch that is already there, the offset it has.
    pub(crate) fn append(&self, bytes: &[u8], header: BatchHeader) -> Result<i64, Refusal> {
        let base_offset = {
            let mut state = lock(&self.state);
            match state.producers.judge(&header) {
                Verdict::Append => {}
                Verdict::Duplicate { base_offset } => return Ok(base_offset),
                Verdict::OutOfOrder => return Err(Refusal::OutOfOrder),
                Verdict::Fenced => return Err(Refusal::Fenced),
            }
            self.write(&mut state, bytes, header)?
        };
        self.waiters.wake_all();
        Ok(base_offset)
    }

    /// Writes one batch at the end; on any error the log is what it was.
    fn write(&self, state: &mut State, bytes: &[u8], header: BatchHeader) -> Result<i64, Refusal> {
        if state.broken {
            return Err(Refusal::Disk);
        }
        self.roll_if_full(state, header.bytes as u64)?;
        let active = state.active();
        let header = BatchHeader { base_offset: active.extent.next_offset, ..header };
        if let Err((cause, broken)) = active.append(bytes, &header) {
            error!(folder = %self.folder.display(), %cause, broken, "append failed");
            state.broken = broken;
            return Err(Refusal::Disk);
        }
        state.producers.note(&header);
        state.unsynced = true;
        Ok(header.base_offset)
    }

    /// Begins a new segment when the batch would not fit the active one. An empty segment takes any batch.
    fn roll_if_full(&self, state: &mut State, batch_bytes: u64) -> Result<(), Refusal> {
        let extent = &state.active().extent;
        let base_offset = extent.base_offset;
        if extent.bytes == 0 || extent.bytes + batch_bytes <= self.segment_bytes {
            return Ok(());
        }
        match Segment::create(&self.folder, extent.next_offset) {
            Ok(segment) => {
                state.to_seal.push((base_offset, state.producers.clone()));
                state.segments.push(segment);
                Ok(())
            }
            Err(cause) => {
                error!(folder = %self.folder.display(), %cause, "new segment failed");
                Err(Refusal::Disk)
            }
        }
    }

    /// Where the log begins and ends.
    pub(crate) fn bounds(&self) -> Bounds {
        let state = lock(&self.state);
        Bounds {
            start: state.segments.first().map_or(0, |first| first.extent.base_offset),
            end: state.segments.last().map_or(0, |last| last.extent.next_offset),
        }
    }

    /// The place of the batch that holds `offset`; `None` outside of the log. The end is a place.
    pub(crate) fn cursor(&self, offset: i64) -> io::Result<Option<Cursor>> {
        let state = lock(&self.state);
        let after = state.segments.partition_point(|segment| segment.extent.base_offset <= offset);
        let Some(segment) = state.segments[..after].last() else {
            return Ok(None);
        };
        if offset > segment.extent.next_offset {
            return Ok(None);
        }
        Ok(Some(Cursor { segment_base: segment.extent.base_offset, position: segment.position_of(offset)? }))
    }

    /// Bytes from a place to the end of the log.
    pub(crate) fn bytes_after(&self, cursor: Cursor) -> u64 {
        let state = lock(&self.state);
        let from = state.segments.partition_point(|segment| segment.extent.base_offset < cursor.segment_base);
        let total: u64 = state.segments[from..].iter().map(|segment| segment.extent.bytes).sum();
        total.saturating_sub(cursor.position)
    }

    /// Whole batches from a place on, at most `limit` bytes of them, but with `one_at_least` the first whatever its
    /// size. Reads of one call stay inside one segment.
    pub(crate) fn read(&self, cursor: Cursor, limit: usize, one_at_least: bool) -> io::Result<Bytes> {
        let (file, position, available) = {
            let state = lock(&self.state);
            let at = state.segments.partition_point(|segment| segment.extent.base_offset < cursor.segment_base);
            let mut rest = state.segments[at..].iter();
            let Some(mut segment) = rest.next() else {
                return Ok(Bytes::new());
            };
            let mut position = cursor.position;
            if position >= segment.extent.bytes
                && let Some(next) = rest.next()
            {
                segment = next;
                position = 0;
            }
            let available = segment.extent.bytes.saturating_sub(position);
            (segment.reader()?, position, usize::try_from(available).unwrap_or(usize::MAX))
        };
        let mut bytes = vec![0; limit.max(HEADER_BYTES).min(available)];
        file.read_exact_at(&mut bytes, position)?;
        let whole = batch::whole_batches(&bytes[..bytes.len().min(limit)]);
        if whole > 0 || !one_at_least {
            bytes.truncate(whole);
            return Ok(Bytes::from(bytes));
        }
        match BatchHeader::parse(&bytes) {
            Some(header) if header.bytes <= available => {
                bytes.resize(header.bytes, 0);
                file.read_exact_at(&mut bytes, position)?;
                Ok(Bytes::from(bytes))
            }
            Some(_) | None => Ok(Bytes::new()),
        }
    }

    /// The first record with at least `timestamp` (ms since 1970): offset and timestamp.
    pub(crate) fn offset_of_timestamp(&self, timestamp: i64) -> io::Result<Option<(i64, i64)>> {
        let state = lock(&self.state);
        for segment in &state.segments {
            if let Some(found) = segment.offset_of_timestamp(timestamp)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The largest timestamp and the last offset of the first batch that holds it; `None` when empty.
    pub(crate) fn max_timestamp(&self) -> Option<(i64, i64)> {
        let state = lock(&self.state);
        state
            .segments
            .iter()
            .map(|segment| &segment.extent)
            .filter(|extent| extent.max_timestamp >= 0)
            .max_by_key(|extent| (extent.max_timestamp, -extent.base_offset))
            .map(|extent| (extent.max_timestamp_offset, extent.max_timestamp))
    }

    /// Seals what is full. An error is logged and tried again; the data is served all the same.
    pub(crate) fn seal_full(&self) {
        loop {
            let next = {
                let state = lock(&self.state);
                let Some((base_offset, producers)) = state.to_seal.first() else {
                    return;
                };
                state.segments.iter().find(|segment| segment.extent.base_offset == *base_offset).and_then(|segment| {
                    let file = segment.file.clone()?;
                    let extent = segment.extent.clone();
                    Some((segment.path.clone(), extent, file, producers.clone()))
                })
            };
            if let Some((path, extent, file, producers)) = next {
                if let Err(cause) = segment::seal(&file, &path, extent, producers) {
                    warn!(%cause, "segment not sealed");
                    return;
                }
                info!(path = %path.display(), "segment sealed");
            }
            let mut state = lock(&self.state);
            let (base_offset, _) = state.to_seal.remove(0);
            for segment in &mut state.segments {
                if segment.extent.base_offset == base_offset {
                    segment.file = None;
                }
            }
        }
    }

    /// Ends the log of a deleted topic: nothing is appended any more, and those who wait are woken.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.broken = true;
        state.closed = true;
        state.to_seal.clear();
        drop(state);
        self.waiters.wake_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// Forces all that is written to the disk. After an error nothing is appended any more: the system may have
    /// dropped the pages that it failed to write.
    pub(crate) fn sync(&self) {
        let open: Vec<Arc<File>> = {
            let mut state = lock(&self.state);
            if !std::mem::take(&mut state.unsynced) {
                return;
            }
            state.segments.iter().filter_map(|segment| segment.file.clone()).collect()
        };
        for file in open {
            if let Err(cause) = file.sync_data() {
                error!(folder = %self.folder.display(), %cause, "sync failed");
                lock(&self.state).broken = true;
            }
        }
    }
}

impl State {
    fn active(&mut self) -> &mut Segment {
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }
}

/// Forces the segments that hold offsets below `end_offset` to the disk, and their names. A sealed segment is
/// there already.
pub(crate) fn sync_folder_through(folder: &Path, end_offset: i64) -> Result<bool, BrokerError> {
    let bases = segment::list(folder)?;
    let holds_start = bases.first().is_some_and(|first| *first <= end_offset);
    for base_offset in bases.into_iter().filter(|base| *base < end_offset) {
        let path = segment::path_of(folder, base_offset);
        if !path.with_extension("index").exists() {
            File::open(&path).and_then(|file| file.sync_data()).map_err(BrokerError::disk("sync", &path))?;
        }
    }
    files::sync_folder(folder)?;
    Ok(holds_start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::check;
    use crate::batch::tests::sample;

    const SEGMENT_BYTES: u64 = 300;

    fn append(log: &PartitionLog, sequence: i32) -> i64 {
        let batch = sample(3, (7, 0, sequence), 1000 + i64::from(sequence));
        log.append(&batch, check(&batch).unwrap()).unwrap()
    }

    /// 20 batches of 3 records in segments of 3 batches.
    fn filled(folder: &Path) -> PartitionLog {
        PartitionLog::create(folder).unwrap();
        let log = PartitionLog::open(folder, SEGMENT_BYTES).unwrap();
        for batch in 0..20 {
            assert_eq!(append(&log, batch * 3), i64::from(batch) * 3);
        }
        log
    }

    fn indexes(folder: &Path) -> usize {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.extension().is_some_and(|end| end == "index")).count()
    }

    #[test]
    fn sealed_segments_are_opened_by_their_index_and_know_their_producers() {
        let folder = tempfile::tempdir().unwrap();
        let log = filled(folder.path());
        log.seal_full();
        assert_eq!(indexes(folder.path()), 6);
        for _ in 0..2 {
            let log = PartitionLog::open(folder.path(), SEGMENT_BYTES).unwrap();
            assert_eq!(log.bounds(), Bounds { start: 0, end: 60 });
            // The last batch again is a duplicate, the one after it is next.
            assert_eq!(append(&log, 57), 57);
            assert_eq!(log.bounds().end, 60);
        }
        // Without any index the same log comes out of the segments alone.
        for base in segment::list(folder.path()).unwrap() {
            let _ = fs::remove_file(segment::path_of(folder.path(), base).with_extension("index"));
        }
        let log = PartitionLog::open(folder.path(), SEGMENT_BYTES).unwrap();
        assert_eq!(append(&log, 57), 57);
        assert_eq!(append(&log, 60), 60);
        log.seal_full();
        assert_eq!(indexes(folder.path()), 6);
    }

    #[test]
    fn every_offset_and_every_time_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let log = filled(folder.path());
        log.seal_full();
        for offset in 0..60 {
            let cursor = log.cursor(offset).unwrap().unwrap();
            let bytes = log.read(cursor, 1, true).unwrap();
            let header = BatchHeader::parse(&bytes).unwrap();
            assert_eq!(header.base_offset, offset / 3 * 3);
            assert_eq!(log.offset_of_timestamp(1000 + offset).unwrap().unwrap().0, offset);
        }
        let end = log.cursor(60).unwrap().unwrap();
        assert_eq!(log.bytes_after(end), 0);
        assert_eq!(log.cursor(61).unwrap(), None);
        assert_eq!(log.cursor(-1).unwrap(), None);
        assert_eq!(log.max_timestamp(), Some((59, 1059)));
        // A cursor at the end is good for what comes later, in a new segment too.
        for batch in 20..24 {
            append(&log, batch * 3);
        }
        let bytes = log.read(end, usize::MAX, true).unwrap();
        assert_eq!(BatchHeader::parse(&bytes).unwrap().base_offset, 60);
    }

    #[test]
    fn what_lies_behind_a_damaged_segment_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        drop(filled(folder.path()));
        let path = segment::path_of(folder.path(), 9);
        let mut bytes = fs::read(&path).unwrap();
        // In the records of the second batch.
        bytes[150] ^= 1;
        fs::write(&path, bytes).unwrap();
        let log = PartitionLog::open(folder.path(), SEGMENT_BYTES).unwrap();
        assert_eq!(log.bounds(), Bounds { start: 0, end: 12 });
        assert!(folder.path().join(format!("{:020}.torn", 18)).exists());
    }
}
