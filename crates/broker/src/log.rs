//! One partition's log: segments on disk, the producers it knows, those who wait for it to grow.
//!
//! Fence: knows batches, not requests. An append is in the page cache when [`PartitionLog::append`] returns; no byte
//! waits in this process.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tracing::{error, info, warn};

use crate::batch::{self, BatchHeader, HEADER_BYTES};
use crate::error::BrokerError;
use crate::files;
use crate::locks::{Waiters, lock};
use crate::producers::{Producers, Verdict};
use crate::retention::{self, Limits, Piece, Start};
use crate::segment::{self, Segment};
use crate::trouble::Trouble;

/// A partition with so many segments makes no more small ones: each is a file, and is known in memory.
const SMALL_SEGMENTS_MAX: usize = 200;
const USUAL_SEGMENT_BYTES: u64 = 256 * 1024 * 1024;
/// Full segments of one partition that wait to be sealed, at most.
const TO_SEAL_MAX: usize = 8;

/// Why a batch was not appended.
#[derive(Debug)]
pub(crate) enum Refusal {
    OutOfOrder,
    Fenced,
    /// The disk refused; nothing of the batch is in the log.
    Disk,
}

/// A place to read from: the batch that holds `offset`, at `position` of the segment that begins with `segment_base`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    offset: i64,
    segment_base: i64,
    position: u64,
}

/// Why nothing may be appended just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// A failed append left bytes behind that could not be cut off.
    Tail,
    /// The system could not write what it had taken; some of it may be gone.
    Unsynced,
    /// Some of it is gone. Only an open, which cuts the log there, mends that.
    Lost,
}

/// Why the start of a log was not moved.
#[derive(Debug)]
pub(crate) enum StartFault {
    /// Beyond the end of the log.
    PastEnd,
    Disk,
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
    segment_bytes: AtomicU64,
    state: Mutex<State>,
    /// Held while files are made or removed beside the one that is written to: `start.json`, indexes, old segments.
    files: Mutex<()>,
    appending: Trouble,
    sealing: Trouble,
    removing: Trouble,
    pub(crate) waiters: Waiters,
}

struct State {
    /// Never empty; the last is written to.
    segments: Vec<Segment>,
    /// The first offset that is served; inside of the first segment.
    start: i64,
    producers: Producers,
    /// Full segments that wait to be sealed, with the producers at their end.
    to_seal: Vec<(i64, Producers)>,
    doubt: Option<Doubt>,
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
    /// the promise that offsets are dense. Segments below the start are what a removal left behind when it was cut
    /// short.
    pub(crate) fn open(folder: &Path, segment_bytes: u64) -> Result<Self, BrokerError> {
        let start = retention::read_start(folder)?;
        let start_offset = start.as_ref().map_or(0, |start| start.offset);
        let mut bases = segment::list(folder)?;
        let below = bases.windows(2).take_while(|pair| pair[1] <= start_offset).count();
        for base_offset in bases.drain(..below) {
            let path = segment::path_of(folder, base_offset);
            segment::remove(&path).map_err(BrokerError::disk("remove", &path))?;
        }
        segment::sweep_indexes(folder)?;
        let mut producers = match start {
            Some(start) if bases.first().is_none_or(|first| *first == start.producers_at) => start.producers,
            Some(_) | None => Producers::default(),
        };
        let mut segments: Vec<Segment> = Vec::new();
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
            let first = Segment::create(folder, start_offset);
            segments.push(first.map_err(BrokerError::disk("create a segment in", folder))?);
        }
        let first = segments.first().map_or(0, |first| first.extent.base_offset);
        let end = segments.last().map_or(0, |last| last.extent.next_offset);
        let state = State {
            segments,
            // A start past the end names records that are lost, with the disk's word that they were there.
            start: start_offset.clamp(first, end),
            producers,
            to_seal,
            doubt: None,
            unsynced: true,
            closed: false,
        };
        Ok(Self {
            folder: folder.to_path_buf(),
            segment_bytes: AtomicU64::new(segment_bytes),
            state: Mutex::new(state),
            files: Mutex::new(()),
            appending: Trouble::default(),
            sealing: Trouble::default(),
            removing: Trouble::default(),
            waiters: Waiters::default(),
        })
    }

    /// Changes the size at which a segment ends, from the next append on.
    pub(crate) fn set_segment_bytes(&self, bytes: u64) {
        self.segment_bytes.store(bytes, Ordering::Relaxed);
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
        if state.closed || !state.is_in_order() {
            return Err(Refusal::Disk);
        }
        let extent = &state.active().extent;
        let after = extent.bytes + header.bytes as u64;
        let is_full = after > self.segment_bytes.load(Ordering::Relaxed)
            && (state.segments.len() < SMALL_SEGMENTS_MAX || after > USUAL_SEGMENT_BYTES);
        let extent = &state.active().extent;
        // An empty segment takes any batch, and a full one more while others wait to be sealed: each is an open file.
        if extent.bytes > 0 && is_full && state.to_seal.len() < TO_SEAL_MAX {
            self.roll(state)?;
        }
        let active = state.active();
        let header = BatchHeader { base_offset: active.extent.next_offset, ..header };
        if let Err((cause, is_torn)) = active.append(bytes, &header) {
            if self.appending.begins() {
                error!(folder = %self.folder.display(), %cause, "append failed; it is tried again when a client does");
            }
            state.doubt = is_torn.then_some(Doubt::Tail);
            return Err(Refusal::Disk);
        }
        if self.appending.ends() {
            info!(folder = %self.folder.display(), "the log is written again");
        }
        state.producers.note(&header);
        state.unsynced = true;
        Ok(header.base_offset)
    }

    /// Begins a new segment.
    fn roll(&self, state: &mut State) -> Result<(), Refusal> {
        let extent = &state.active().extent;
        let base_offset = extent.base_offset;
        match Segment::create(&self.folder, extent.next_offset) {
            Ok(segment) => {
                state.to_seal.push((base_offset, state.producers.clone()));
                state.segments.push(segment);
                Ok(())
            }
            Err(cause) => {
                if self.appending.begins() {
                    error!(folder = %self.folder.display(), %cause, "new segment failed; it is tried again");
                }
                Err(Refusal::Disk)
            }
        }
    }

    /// Where the log begins and ends.
    pub(crate) fn bounds(&self) -> Bounds {
        let state = lock(&self.state);
        Bounds { start: state.start, end: state.end() }
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        lock(&self.state).segments.iter().map(|segment| segment.extent.bytes).sum()
    }

    /// The place of the batch that holds `offset`; `None` outside of the log. The end is a place.
    pub(crate) fn cursor(&self, offset: i64) -> io::Result<Option<Cursor>> {
        lock(&self.state).cursor(offset)
    }

    /// Bytes from a place to the end of the log. A place that is gone counts as very much: whoever waits there must
    /// look.
    pub(crate) fn bytes_after(&self, cursor: Cursor) -> u64 {
        let state = lock(&self.state);
        if cursor.offset < state.start {
            return u64::MAX;
        }
        let from = state.segments.partition_point(|segment| segment.extent.base_offset < cursor.segment_base);
        let rest = &state.segments[from..];
        let total: u64 = rest.iter().map(|segment| segment.extent.bytes).sum();
        let is_there = rest.first().is_some_and(|first| first.extent.base_offset == cursor.segment_base);
        total.saturating_sub(if is_there { cursor.position } else { 0 })
    }

    /// How much [`Self::read`] would read at most: nothing when the first batch is larger than `limit`, unless it must be
    /// `one_at_least`. `None`: the place was removed.
    pub(crate) fn measure(&self, cursor: Cursor, limit: usize, one_at_least: bool) -> io::Result<Option<usize>> {
        let Some((file, position, available)) = self.reader_at(cursor)? else {
            return Ok(None);
        };
        if available < HEADER_BYTES {
            return Ok(Some(0));
        }
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact_at(&mut bytes, position)?;
        let first = BatchHeader::parse(&bytes).map_or(0, |header| header.bytes);
        let readable = match first {
            0 => 0,
            first if first <= limit => limit.min(available),
            first if one_at_least => first.min(available),
            _ => 0,
        };
        Ok(Some(readable))
    }

    /// Whole batches from a place on, at most `limit` bytes of them, but with `one_at_least` the first whatever its
    /// size. Reads of one call stay inside one segment. `None`: the place was removed.
    pub(crate) fn read(&self, cursor: Cursor, limit: usize, one_at_least: bool) -> io::Result<Option<Bytes>> {
        let Some((file, position, available)) = self.reader_at(cursor)? else {
            return Ok(None);
        };
        let mut bytes = vec![0; limit.max(HEADER_BYTES).min(available)];
        file.read_exact_at(&mut bytes, position)?;
        let whole = batch::whole_batches(&bytes[..bytes.len().min(limit)]);
        if whole > 0 || !one_at_least {
            bytes.truncate(whole);
            // What was cut off is not held until the answer is sent.
            bytes.shrink_to_fit();
            return Ok(Some(Bytes::from(bytes)));
        }
        match BatchHeader::parse(&bytes) {
            Some(header) if header.bytes <= available => {
                bytes.resize(header.bytes, 0);
                file.read_exact_at(&mut bytes, position)?;
                Ok(Some(Bytes::from(bytes)))
            }
            Some(_) | None => Ok(Some(Bytes::new())),
        }
    }

    /// The file of a place, the position in it and the bytes from there on.
    fn reader_at(&self, cursor: Cursor) -> io::Result<Option<(Arc<File>, u64, usize)>> {
        let state = lock(&self.state);
        if cursor.offset < state.start {
            return Ok(None);
        }
        let Some((segment, position)) = state.place(cursor)? else {
            return Ok(None);
        };
        let available = segment.extent.bytes.saturating_sub(position);
        Ok(Some((segment.reader()?, position, usize::try_from(available).unwrap_or(usize::MAX))))
    }

    /// The first record with at least `timestamp` (ms since 1970): offset and timestamp. Reading and unfolding happen
    /// outside of the lock: appends go on. `unfold`: bytes that may be unfolded, less those that were.
    pub(crate) fn offset_of_timestamp(&self, timestamp: i64, unfold: &mut u64) -> io::Result<Option<(i64, i64)>> {
        let mut past = -1;
        loop {
            let (search, start) = {
                let state = lock(&self.state);
                let start = state.start;
                let mut search = None;
                for segment in state.segments.iter().filter(|segment| segment.extent.base_offset > past) {
                    search = segment.time_search(timestamp, start)?;
                    if search.is_some() {
                        break;
                    }
                }
                (search, start)
            };
            let Some(search) = search else {
                return Ok(None);
            };
            if let Some(found) = search.run(timestamp, start, unfold)? {
                return Ok(Some(found));
            }
            past = search.base_offset;
        }
    }

    /// The first record with the largest timestamp: offset and timestamp; `None` when empty.
    pub(crate) fn max_timestamp(&self, unfold: &mut u64) -> io::Result<Option<(i64, i64)>> {
        let largest = {
            let state = lock(&self.state);
            state.segments.iter().map(|segment| segment.extent.max_timestamp).max().unwrap_or(-1)
        };
        if largest < 0 { Ok(None) } else { self.offset_of_timestamp(largest, unfold) }
    }

    /// Lets the log begin at `offset`, or at its end when that is −1, and returns where it begins: never earlier than
    /// it did. The records below are gone when this returns; their segments are removed a moment later.
    ///
    /// All that is written is forced to the disk before `start.json` says so: else a power cut could leave a log that
    /// begins after its end.
    pub(crate) fn move_start(&self, offset: i64) -> Result<i64, StartFault> {
        let _only_one = lock(&self.files);
        let (start, end) = {
            let state = lock(&self.state);
            (state.start, state.end())
        };
        let offset = if offset == -1 { end } else { offset };
        if !(0..=end).contains(&offset) {
            return Err(StartFault::PastEnd);
        }
        if offset <= start {
            return Ok(start);
        }
        self.sync();
        {
            let state = lock(&self.state);
            if state.closed || state.doubt.is_some() {
                return Err(StartFault::Disk);
            }
        }
        let write = || {
            let known = retention::read_start(&self.folder)?;
            let known = known.unwrap_or(Start { offset: 0, producers_at: 0, producers: Producers::default() });
            retention::write_start(&self.folder, Start { offset, ..known })
        };
        if let Err(cause) = write() {
            error!(%cause, "log start not moved");
            return Err(StartFault::Disk);
        }
        lock(&self.state).start = offset;
        self.waiters.wake_all();
        Ok(offset)
    }

    /// Removes the oldest segments that `limits` no longer keep and those below the start. Called by one thread only.
    ///
    /// `start.json` comes first: from then on the segments are not part of the log, and a crash at any point leaves
    /// files that the next open removes. A full disk may have no room for it, and removing is what makes room: where
    /// the first segment that stays is sealed, its index knows the producers and its name the start, and the removal
    /// goes on without. An error is said once and tried again.
    pub(crate) fn retain(&self, limits: Limits, now_ms: i64) {
        match self.remove_oldest(limits, now_ms) {
            Ok(0) => {}
            Ok(segments) => {
                self.waiters.wake_all();
                info!(folder = %self.folder.display(), segments, start = self.bounds().start, "old segments removed");
                let _ = self.removing.ends();
            }
            Err(cause) => {
                if self.removing.begins() {
                    warn!(%cause, "old segments not removed; it is tried again");
                }
            }
        }
    }

    fn remove_oldest(&self, limits: Limits, now_ms: i64) -> Result<usize, BrokerError> {
        let _only_one = lock(&self.files);
        let (removed, first_kept, is_sealed, start, known) = {
            let mut state = lock(&self.state);
            if state.closed {
                return Ok(0);
            }
            let active = state.active();
            let first_timestamp = active.first_timestamp.unwrap_or(-1);
            let piece = active.piece();
            if limits.ends(piece, first_timestamp, state.start, now_ms) && self.roll(&mut state).is_err() {
                return Ok(0);
            }
            let pieces: Vec<Piece> = state.segments.iter().map(Segment::piece).collect();
            let count = limits.removable(&pieces, state.start, now_ms);
            let (removed, kept) = state.segments.split_at(count);
            let (Some(last), Some(first_kept)) = (removed.last(), kept.first()) else {
                return Ok(0);
            };
            let unsealed = state.to_seal.iter().find(|(base_offset, _)| *base_offset == last.extent.base_offset);
            let known = match unsealed {
                Some((_, producers)) => Ok(producers.clone()),
                None => Err(last.path.clone()),
            };
            let paths: Vec<PathBuf> = removed.iter().map(|segment| segment.path.clone()).collect();
            let is_sealed = first_kept.file.is_none();
            let first_kept = first_kept.extent.base_offset;
            (paths, first_kept, is_sealed, state.start.max(first_kept), known)
        };
        let producers = match known {
            Ok(producers) => producers,
            Err(sealed) => segment::sealed_producers(&sealed)?.unwrap_or_default(),
        };
        let written =
            retention::write_start(&self.folder, Start { offset: start, producers_at: first_kept, producers });
        if !is_sealed {
            written?;
        }
        {
            let mut state = lock(&self.state);
            state.segments.drain(..removed.len());
            state.to_seal.retain(|(base_offset, _)| *base_offset >= first_kept);
            state.start = start;
        }
        for path in &removed {
            segment::remove(path).map_err(BrokerError::disk("remove", path))?;
        }
        Ok(removed.len())
    }

    /// Seals what is full. An error is logged and tried again; the data is served all the same.
    pub(crate) fn seal_full(&self) {
        loop {
            let _only_one = lock(&self.files);
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
                    if self.sealing.begins() {
                        warn!(%cause, "segment not sealed; it is tried again");
                    }
                    return;
                }
                let _ = self.sealing.ends();
                info!(path = %path.display(), "segment sealed");
            }
            let mut state = lock(&self.state);
            let Some((base_offset, _)) = state.to_seal.first() else {
                return;
            };
            let base_offset = *base_offset;
            state.to_seal.remove(0);
            for segment in &mut state.segments {
                if segment.extent.base_offset == base_offset {
                    segment.file = None;
                }
            }
        }
    }

    /// Ends the log of a deleted topic: nothing is appended any more, and those who wait are woken.
    pub(crate) fn close(&self) {
        let _only_one = lock(&self.files);
        let mut state = lock(&self.state);
        state.closed = true;
        state.to_seal.clear();
        drop(state);
        self.waiters.wake_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// Forces all that is written to the disk. After an error nothing is appended until [`Self::mend`] has found all of
    /// it: the system may have dropped the pages that it failed to write.
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
                if self.appending.begins() {
                    error!(folder = %self.folder.display(), %cause, "sync failed; it is tried again");
                }
                let mut state = lock(&self.state);
                state.unsynced = true;
                state.doubt = Some(Doubt::Unsynced);
            }
        }
    }

    /// Takes a log out of doubt when the disk allows it again. Called by one thread only, now and then.
    pub(crate) fn mend(&self) {
        let mut state = lock(&self.state);
        if state.closed || state.doubt.is_none() || state.is_in_order() || state.doubt != Some(Doubt::Unsynced) {
            return;
        }
        let open = || state.segments.iter().filter(|segment| segment.file.is_some());
        if !open().filter_map(|segment| segment.file.as_ref()).all(|file| file.sync_data().is_ok()) {
            return;
        }
        // The second sync says nothing of the pages that the first one lost, so the data is read again.
        let is_whole = open().all(|segment| segment.is_whole().unwrap_or(false));
        state.doubt = if is_whole { None } else { Some(Doubt::Lost) };
        state.unsynced = false;
        if is_whole {
            info!(folder = %self.folder.display(), "all that was written is on the disk");
        } else {
            error!(folder = %self.folder.display(), "the disk lost records; start the broker again to cut them off");
        }
    }
}

impl State {
    fn active(&mut self) -> &mut Segment {
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    fn end(&self) -> i64 {
        self.segments.last().map_or(0, |last| last.extent.next_offset)
    }

    /// Whether an append may follow what is there. Bytes that a failed one left are cut off here, as soon as that
    /// works.
    fn is_in_order(&mut self) -> bool {
        match self.doubt {
            None => true,
            Some(Doubt::Tail) => {
                let is_cut = self.active().cut_back().is_ok();
                if is_cut {
                    self.doubt = None;
                }
                is_cut
            }
            Some(Doubt::Unsynced | Doubt::Lost) => false,
        }
    }

    fn cursor(&self, offset: i64) -> io::Result<Option<Cursor>> {
        let after = self.segments.partition_point(|segment| segment.extent.base_offset <= offset);
        let Some(segment) = self.segments[..after].last() else {
            return Ok(None);
        };
        if offset < self.start || offset > segment.extent.next_offset {
            return Ok(None);
        }
        let position = segment.position_of(offset)?;
        Ok(Some(Cursor { offset, segment_base: segment.extent.base_offset, position }))
    }

    /// The segment and the position that a cursor means now: at the end of its segment that is the next one's begin,
    /// and when its segment is removed and the offset still there, where that lies now.
    fn place(&self, cursor: Cursor) -> io::Result<Option<(&Segment, u64)>> {
        let at = self.segments.partition_point(|segment| segment.extent.base_offset < cursor.segment_base);
        let mut rest = self.segments[at..].iter();
        let Some(segment) = rest.next() else {
            return Ok(None);
        };
        if segment.extent.base_offset != cursor.segment_base {
            return Ok(Some((segment, segment.position_of(cursor.offset)?)));
        }
        if cursor.position >= segment.extent.bytes
            && let Some(next) = rest.next()
        {
            return Ok(Some((next, 0)));
        }
        Ok(Some((segment, cursor.position)))
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
            match File::open(&path).and_then(|file| file.sync_data()) {
                // Removed by retention since the folder was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result.map_err(BrokerError::disk("sync", &path))?,
            }
        }
    }
    files::sync_folder(folder)?;
    Ok(holds_start)
}

#[cfg(test)]
mod tests;
