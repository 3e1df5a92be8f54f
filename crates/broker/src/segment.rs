//! One segment file of a partition: batches end to end, as the clients sent them.
//!
//! Named by its first offset (`00000000000000000000.log`). When it is full it is sealed: synced, then joined by a
//! `.index` file, so that opening need not read it again; the index file's presence means that the data is on disk.
//! Fence: one segment at a time; which one and when to roll is `log`'s.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::batch::{self, BatchHeader, CRC_FROM, HEADER_BYTES, STAMP_BYTES};
use crate::error::BrokerError;
use crate::files::{self, FORMAT};
use crate::producers::Producers;
use crate::records;
use crate::retention::Piece;

/// One index entry at most every so many bytes: 8192 entries of 24 bytes for a segment of 256 MiB.
const INDEX_INTERVAL_BYTES: u64 = 32 * 1024;
/// Batches that one lookup by time unfolds in a segment; an honest header is right the first time, or the second.
const UNFOLDED_MOST: u32 = 4;
/// Read at once when a segment is scanned.
const SCAN_CHUNK_BYTES: usize = 256 * 1024;

/// A batch's place: its first offset, its byte position, and the largest timestamp of all batches before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) offset: i64,
    pub(crate) position: u64,
    pub(crate) max_timestamp_before: i64,
}

/// What is known of a segment without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extent {
    pub(crate) base_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) bytes: u64,
    pub(crate) max_timestamp: i64,
    /// The last offset of the batch that holds `max_timestamp`.
    pub(crate) max_timestamp_offset: i64,
    pub(crate) marks: Vec<Mark>,
}

/// The `.index` file of a sealed segment.
#[derive(Debug, Serialize, Deserialize)]
struct Index {
    format: u64,
    #[serde(flatten)]
    extent: Extent,
    /// The partition's producers at the end of this segment.
    producers: Producers,
}

/// A segment; `file` is open while it is written to or not yet sealed.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) extent: Extent,
    pub(crate) file: Option<Arc<File>>,
    /// The largest timestamp of the first batch, known while `file` is open: how old the oldest data is.
    pub(crate) first_timestamp: Option<i64>,
}

/// Where a record at or past a time may lie: from `position` on in a segment that holds one.
pub(crate) struct TimeSearch {
    pub(crate) base_offset: i64,
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl Extent {
    fn empty(base_offset: i64) -> Self {
        Self {
            base_offset,
            next_offset: base_offset,
            bytes: 0,
            max_timestamp: -1,
            max_timestamp_offset: -1,
            marks: Vec::new(),
        }
    }

    /// Notes a batch at the end.
    fn note(&mut self, header: &BatchHeader) {
        let due = match self.marks.last() {
            None => true,
            Some(last) => self.bytes - last.position >= INDEX_INTERVAL_BYTES,
        };
        if due {
            self.marks.push(Mark {
                offset: header.base_offset,
                position: self.bytes,
                max_timestamp_before: self.max_timestamp,
            });
        }
        if header.max_timestamp > self.max_timestamp {
            self.max_timestamp = header.max_timestamp;
            self.max_timestamp_offset = header.next_offset() - 1;
        }
        self.bytes += header.bytes as u64;
        self.next_offset = header.next_offset();
    }

    /// The last mark at or before `offset`.
    fn mark_for_offset(&self, offset: i64) -> u64 {
        let after = self.marks.partition_point(|mark| mark.offset <= offset);
        self.marks[..after].last().map_or(0, |mark| mark.position)
    }

    /// The last mark before which no batch reaches `timestamp`.
    fn mark_for_timestamp(&self, timestamp: i64) -> u64 {
        let after = self.marks.partition_point(|mark| mark.max_timestamp_before < timestamp);
        self.marks[..after].last().map_or(0, |mark| mark.position)
    }
}

/// The file of the segment that begins with `base_offset`.
pub(crate) fn path_of(folder: &Path, base_offset: i64) -> PathBuf {
    folder.join(format!("{base_offset:020}.log"))
}

/// First offsets of the segments in a folder, ascending.
pub(crate) fn list(folder: &Path) -> Result<Vec<i64>, BrokerError> {
    let read = || -> io::Result<Vec<i64>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(".log"));
            if let Some(base_offset) = stem.and_then(|stem| stem.parse().ok()) {
                found.push(base_offset);
            }
        }
        found.sort_unstable();
        Ok(found)
    };
    read().map_err(BrokerError::disk("list", folder))
}

impl Segment {
    /// Creates the empty segment that begins with `base_offset`.
    pub(crate) fn create(folder: &Path, base_offset: i64) -> io::Result<Self> {
        let path = path_of(folder, base_offset);
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        // Nothing but an append that failed right after a roll can have left bytes here.
        file.set_len(0)?;
        Ok(Self { path, extent: Extent::empty(base_offset), file: Some(Arc::new(file)), first_timestamp: None })
    }

    /// A sealed segment from its index, with the producers at its end; `None` when it has no index that fits.
    pub(crate) fn open_sealed(folder: &Path, base_offset: i64) -> Result<Option<(Self, Producers)>, BrokerError> {
        let path = path_of(folder, base_offset);
        let Some(index) = files::read_json::<Index>(&path.with_extension("index"))? else {
            return Ok(None);
        };
        let length = fs::metadata(&path).map_err(BrokerError::disk("read", &path))?.len();
        let fits = index.extent.base_offset == base_offset && index.extent.bytes == length;
        Ok(fits.then_some((Self { path, extent: index.extent, file: None, first_timestamp: None }, index.producers)))
    }

    /// Opens a segment by reading it all: every batch's checksum, length and offset. The file is cut after the last
    /// good batch; returns the bytes that were cut. Batches are noted in `producers`.
    pub(crate) fn open_scanning(
        folder: &Path,
        base_offset: i64,
        producers: &mut Producers,
    ) -> Result<(Self, u64), BrokerError> {
        let path = path_of(folder, base_offset);
        let mut scan = || -> io::Result<(Self, u64)> {
            let file = OpenOptions::new().read(true).append(true).open(&path)?;
            let length = file.metadata()?.len();
            let mut extent = Extent::empty(base_offset);
            let mut chunk = vec![0; SCAN_CHUNK_BYTES];
            let mut first_timestamp = None;
            while let Some(header) = good_batch(&file, length, &extent, &mut chunk)? {
                first_timestamp = first_timestamp.or(Some(header.max_timestamp));
                extent.note(&header);
                producers.note(&header);
            }
            let cut = length - extent.bytes;
            if cut > 0 {
                file.set_len(extent.bytes)?;
                file.sync_all()?;
            }
            let file = Some(Arc::new(file));
            Ok((Self { path: path.clone(), extent, file, first_timestamp }, cut))
        };
        scan().map_err(BrokerError::disk("scan", &path))
    }

    /// Appends one batch that already has its offset. On an error the file is cut back to what it was; if even that
    /// fails the second value is true, and [`Self::cut_back`] must succeed before anything more is appended.
    pub(crate) fn append(&mut self, batch: &[u8], header: &BatchHeader) -> Result<(), (io::Error, bool)> {
        let Some(file) = &self.file else {
            return Err((io::Error::other("the segment is sealed"), true));
        };
        let stamp = batch::stamp(batch, header.base_offset);
        if let Err(error) = write_both(file, &stamp, &batch[STAMP_BYTES..]) {
            return Err((error, self.cut_back().is_err()));
        }
        self.first_timestamp = self.first_timestamp.or(Some(header.max_timestamp));
        self.extent.note(header);
        Ok(())
    }

    /// Takes what a failed append left behind off the file.
    pub(crate) fn cut_back(&self) -> io::Result<()> {
        match &self.file {
            Some(file) => file.set_len(self.extent.bytes),
            None => Err(io::Error::other("the segment is sealed")),
        }
    }

    /// Reads the segment again as an open would: whether all that was appended is there, checksums and all.
    pub(crate) fn is_whole(&self) -> io::Result<bool> {
        let file = self.reader()?;
        let mut extent = Extent::empty(self.extent.base_offset);
        let mut chunk = vec![0; SCAN_CHUNK_BYTES];
        while let Some(header) = good_batch(&file, self.extent.bytes, &extent, &mut chunk)? {
            extent.note(&header);
        }
        Ok(extent.bytes == self.extent.bytes)
    }

    /// What retention decides by.
    pub(crate) fn piece(&self) -> Piece {
        let Extent { bytes, max_timestamp, next_offset, .. } = self.extent;
        Piece { bytes, max_timestamp, next_offset }
    }

    /// The file, opened again when it is sealed.
    pub(crate) fn reader(&self) -> io::Result<Arc<File>> {
        match &self.file {
            Some(file) => Ok(Arc::clone(file)),
            None => File::open(&self.path).map(Arc::new),
        }
    }

    /// Byte position of the batch that holds `offset`, or the end.
    pub(crate) fn position_of(&self, offset: i64) -> io::Result<u64> {
        if offset >= self.extent.next_offset {
            return Ok(self.extent.bytes);
        }
        let start = self.extent.mark_for_offset(offset);
        let found = self.find(start, |header| header.next_offset() > offset)?;
        Ok(found.map_or(self.extent.bytes, |(position, _)| position))
    }

    /// Where to look for a record at or past `timestamp` (ms), not before `from_offset`; `None` when no batch here
    /// reaches either.
    pub(crate) fn time_search(&self, timestamp: i64, from_offset: i64) -> io::Result<Option<TimeSearch>> {
        let extent = &self.extent;
        if extent.max_timestamp < timestamp || extent.next_offset <= from_offset {
            return Ok(None);
        }
        let position = extent.mark_for_timestamp(timestamp).max(extent.mark_for_offset(from_offset));
        Ok(Some(TimeSearch { base_offset: extent.base_offset, file: self.reader()?, position, end: extent.bytes }))
    }

    /// Walks batch headers from `position` to the first that is `wanted`.
    fn find(&self, position: u64, wanted: impl Fn(&BatchHeader) -> bool) -> io::Result<Option<(u64, BatchHeader)>> {
        let file = self.reader()?;
        find(&file, position, self.extent.bytes, wanted)
    }
}

/// Walks batch headers of a file from `position` to the first that is `wanted`, not past `end`.
fn find(
    file: &File,
    mut position: u64,
    end: u64,
    wanted: impl Fn(&BatchHeader) -> bool,
) -> io::Result<Option<(u64, BatchHeader)>> {
    let mut bytes = [0; HEADER_BYTES];
    while position < end {
        file.read_exact_at(&mut bytes, position)?;
        let header = BatchHeader::parse(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        if wanted(&header) {
            return Ok(Some((position, header)));
        }
        position += header.bytes as u64;
    }
    Ok(None)
}

impl TimeSearch {
    /// The first record at or past `timestamp` (ms) and not before `from_offset`: its offset and its timestamp. The
    /// batch is found by its header, and only that one is read and unfolded. One that cannot be unfolded answers with
    /// its first offset: too early at worst, never too late. So does one behind some that promised too much: a lookup
    /// does not unfold a whole log of them.
    pub(crate) fn run(&self, timestamp: i64, from_offset: i64, unfold: &mut u64) -> io::Result<Option<(i64, i64)>> {
        let wanted = |header: &BatchHeader| header.max_timestamp >= timestamp && header.next_offset() > from_offset;
        let mut position = self.position;
        let mut unfolded = 0;
        while let Some((at, header)) = find(&self.file, position, self.end, wanted)? {
            let by_batch = Ok(Some((header.base_offset.max(from_offset), header.max_timestamp)));
            if unfolded == UNFOLDED_MOST {
                return by_batch;
            }
            unfolded += 1;
            let mut bytes = vec![0; header.bytes];
            self.file.read_exact_at(&mut bytes, at)?;
            match records::first_at_or_after(&bytes, &header, timestamp, from_offset, unfold) {
                Ok(Some(found)) => return Ok(Some(found)),
                // A header that promised more than its records hold, or only before `from_offset`.
                Ok(None) => position = at + header.bytes as u64,
                Err(cause) => {
                    let base_offset = header.base_offset;
                    warn!(base_offset, %cause, "records not readable; a time in them is answered by their batch");
                    return by_batch;
                }
            }
        }
        Ok(None)
    }
}

/// Removes a segment's files. The data goes first: an index without data is swept at the next open, while data
/// without an index would only be read again.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    for path in [path, &path.with_extension("index")] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// The partition's producers at the end of a sealed segment.
pub(crate) fn sealed_producers(path: &Path) -> Result<Option<Producers>, BrokerError> {
    let index = files::read_json::<Index>(&path.with_extension("index"))?;
    Ok(index.map(|index| index.producers))
}

/// Removes index files whose segment is gone.
pub(crate) fn sweep_indexes(folder: &Path) -> Result<(), BrokerError> {
    let sweep = || -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "index") && !path.with_extension("log").exists() {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    };
    sweep().map_err(BrokerError::disk("sweep", folder))
}

/// Seals a full segment: data first, then the index that vouches for it. A crash between leaves no index, and the
/// segment is read again at the next open.
pub(crate) fn seal(file: &File, path: &Path, extent: Extent, producers: Producers) -> Result<(), BrokerError> {
    file.sync_data().map_err(BrokerError::disk("sync", path))?;
    files::write_json(&path.with_extension("index"), &Index { format: FORMAT, extent, producers })
}

/// The batch at the end of what `extent` has seen, if it is whole, has the right checksum and follows on.
fn good_batch(file: &File, length: u64, extent: &Extent, chunk: &mut [u8]) -> io::Result<Option<BatchHeader>> {
    let rest = length - extent.bytes;
    if rest < HEADER_BYTES as u64 {
        return Ok(None);
    }
    let first = usize::try_from(rest).unwrap_or(usize::MAX).min(chunk.len());
    file.read_exact_at(&mut chunk[..first], extent.bytes)?;
    let Some(header) = BatchHeader::parse(&chunk[..first]) else {
        return Ok(None);
    };
    let follows = header.is_plausible() && header.base_offset == extent.next_offset;
    if !follows || header.bytes as u64 > rest {
        return Ok(None);
    }
    let mut read = first.min(header.bytes);
    let mut crc = crc32c::crc32c(&chunk[CRC_FROM..read]);
    while read < header.bytes {
        let more = (header.bytes - read).min(chunk.len());
        file.read_exact_at(&mut chunk[..more], extent.bytes + read as u64)?;
        crc = crc32c::crc32c_append(crc, &chunk[..more]);
        read += more;
    }
    Ok((crc == header.crc).then_some(header))
}

/// Writes two pieces as one where the system takes them whole.
fn write_both(mut file: &File, first: &[u8], second: &[u8]) -> io::Result<()> {
    let whole = first.len() + second.len();
    let written = loop {
        match file.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]) {
            Ok(written) => break written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    };
    if written == whole {
        return Ok(());
    }
    match written.checked_sub(first.len()) {
        Some(done) => file.write_all(&second[done..]),
        None => {
            file.write_all(&first[written..])?;
            file.write_all(second)
        }
    }
}
