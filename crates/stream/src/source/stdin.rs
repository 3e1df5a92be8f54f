//! Standard input: read once, by a thread of its own, so that a stream that falls silent can be told from one that is slow. What was
//! read for the sample is kept and given out again.

use std::collections::VecDeque;
use std::io::{self, Cursor, IsTerminal, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::SourceError;
use super::input::{Bytes, Stopped, unless_stopped, unpacked};
use crate::source::Compression;

/// A sample ends after so many bytes, …
const SAMPLE_BYTES: usize = 8 << 20;
/// … after so many lines (a header is one, and a quoted line end makes two of a row), …
const SAMPLE_LINES: usize = 10_001;
/// … or when there is a row, and nothing came for so long.
pub(super) const SILENCE: Duration = Duration::from_secs(2);

/// Who waits for bytes looks so often whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

const CHUNK_BYTES: usize = 64 << 10;
/// Read ahead of the rows: 4 chunks keep the thread busy and the memory flat.
const CHUNKS_AHEAD: usize = 4;

/// The bytes of a stream, with what was taken of them for a sample in front.
pub(super) struct Pipe {
    chunks: Receiver<io::Result<Vec<u8>>>,
    /// What the sample took.
    taken: Vec<u8>,
    /// An error that came during the sample, for the reader to meet in its place.
    failed: VecDeque<io::Error>,
    ended: bool,
    silence: Duration,
    stop: Stopped,
}

impl Pipe {
    pub fn stdin(stop: &Stopped) -> Result<Self, SourceError> {
        if io::stdin().is_terminal() {
            return Err(SourceError::Terminal);
        }
        Ok(Self::new(Box::new(io::stdin()), SILENCE, stop))
    }

    /// The thread ends with the stream, or when nobody takes its chunks any more; one that waits for input ends with the process.
    pub fn new(raw: Bytes, silence: Duration, stop: &Stopped) -> Self {
        let (sender, chunks) = sync_channel(CHUNKS_AHEAD);
        thread::spawn(move || pump(raw, &sender));
        Self { chunks, taken: Vec::new(), failed: VecDeque::new(), ended: false, silence, stop: stop.clone() }
    }

    /// Reads the sample; `has_row` tells whether the bytes so far hold a whole row. The answer: the sample, and whether it is all.
    pub fn sample(&mut self, has_row: impl Fn(&[u8]) -> bool) -> (&[u8], bool) {
        let mut lines = self.taken.iter().filter(|byte| **byte == b'\n').count();
        while !self.ended && self.taken.len() < SAMPLE_BYTES && lines < SAMPLE_LINES {
            match next_chunk(&self.chunks, self.silence, &self.stop) {
                Ok(Ok(chunk)) => {
                    lines += chunk.iter().filter(|byte| **byte == b'\n').count();
                    self.taken.extend_from_slice(&chunk);
                }
                Ok(Err(error)) => {
                    self.failed.push_back(error);
                    self.ended = true;
                }
                Err(RecvTimeoutError::Disconnected) => self.ended = true,
                Err(RecvTimeoutError::Timeout) if has_row(&self.taken) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        (&self.taken, self.ended)
    }

    /// All the bytes, those of the sample first.
    pub fn bytes(self) -> Bytes {
        let Self { chunks, taken, failed, ended, stop, .. } = self;
        let rest = Rest { chunks: (!ended).then_some(chunks), failed, chunk: Cursor::default(), stop };
        Box::new(Cursor::new(taken).chain(rest))
    }
}

type Chunk = io::Result<Vec<u8>>;

/// The next chunk, which may be the error of a stop; waits for it for so long at most.
fn next_chunk(chunks: &Receiver<Chunk>, most: Duration, stop: &Stopped) -> Result<Chunk, RecvTimeoutError> {
    let until = Instant::now().checked_add(most);
    loop {
        if let Err(stopped) = unless_stopped(stop) {
            return Ok(Err(stopped));
        }
        let left = until.map_or(LOOK_EVERY, |until| until.saturating_duration_since(Instant::now()).min(LOOK_EVERY));
        match chunks.recv_timeout(left) {
            Err(RecvTimeoutError::Timeout) if until.is_none_or(|until| Instant::now() < until) => {}
            chunk => return chunk,
        }
    }
}

fn pump(raw: Bytes, sender: &SyncSender<io::Result<Vec<u8>>>) {
    let mut bytes = match unpacked(raw, Compression::None) {
        Ok(bytes) => bytes,
        Err(error) => {
            let _ = sender.send(Err(error));
            return;
        }
    };
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = bytes.read(&mut chunk);
        let sent = match read {
            Ok(0) => return,
            Ok(count) => {
                chunk.truncate(count);
                sender.send(Ok(chunk))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let _ = sender.send(Err(error));
                return;
            }
        };
        // Nobody reads on.
        if sent.is_err() {
            return;
        }
    }
}

/// What comes after the sample.
struct Rest {
    chunks: Option<Receiver<io::Result<Vec<u8>>>>,
    failed: VecDeque<io::Error>,
    chunk: Cursor<Vec<u8>>,
    stop: Stopped,
}

impl Read for Rest {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.chunk.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            if let Some(error) = self.failed.pop_front() {
                return Err(error);
            }
            let Some(chunks) = &self.chunks else { return Ok(0) };
            match next_chunk(chunks, Duration::MAX, &self.stop) {
                Ok(chunk) => self.chunk = Cursor::new(chunk?),
                Err(_) => return Ok(0),
            }
        }
    }
}

/// The sample as a stream of its own, that notes when a reader met its end: the row that was being read may go on beyond.
pub(super) struct Part {
    bytes: Cursor<Vec<u8>>,
    met_end: Arc<AtomicBool>,
}

impl Part {
    pub fn new(bytes: &[u8]) -> (Self, Arc<AtomicBool>) {
        let met_end = Arc::new(AtomicBool::new(false));
        (Self { bytes: Cursor::new(bytes.to_vec()), met_end: met_end.clone() }, met_end)
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.bytes.read(buffer)?;
        if count == 0 {
            self.met_end.store(true, Ordering::Relaxed);
        }
        Ok(count)
    }
}
