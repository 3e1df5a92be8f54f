//! Standard input: read once, by a thread of its own, so that a stream that falls silent can be told from one that is slow. What was
//! read for the sample is kept and given out again.

use std::collections::VecDeque;
use std::io::{self, Cursor, IsTerminal, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::SourceError;
use super::input::{Bytes, unpacked};
use crate::config::Compression;

/// A sample ends after so many bytes, …
const SAMPLE_BYTES: usize = 8 << 20;
/// … after so many lines (a header is one, and a quoted line end makes two of a row), …
const SAMPLE_LINES: usize = 10_001;
/// … or when there is a row, and nothing came for so long.
const SILENCE: Duration = Duration::from_secs(2);

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
}

impl Pipe {
    pub fn stdin() -> Result<Self, SourceError> {
        if io::stdin().is_terminal() {
            return Err(SourceError::Terminal);
        }
        Ok(Self::new(Box::new(io::stdin()), SILENCE))
    }

    /// The thread ends with the stream, or when nobody takes its chunks any more; one that waits for input ends with the process.
    pub fn new(raw: Bytes, silence: Duration) -> Self {
        let (sender, chunks) = sync_channel(CHUNKS_AHEAD);
        thread::spawn(move || pump(raw, &sender));
        Self { chunks, taken: Vec::new(), failed: VecDeque::new(), ended: false, silence }
    }

    /// Reads the sample; `has_row` tells whether the bytes so far hold a whole row. The answer: the sample, and whether it is all.
    pub fn sample(&mut self, has_row: impl Fn(&[u8]) -> bool) -> (&[u8], bool) {
        let mut lines = self.taken.iter().filter(|byte| **byte == b'\n').count();
        while !self.ended && self.taken.len() < SAMPLE_BYTES && lines < SAMPLE_LINES {
            match self.chunks.recv_timeout(self.silence) {
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
        let Self { chunks, taken, failed, ended, .. } = self;
        let rest = Rest { chunks: (!ended).then_some(chunks), failed, chunk: Cursor::default() };
        Box::new(Cursor::new(taken).chain(rest))
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
            match self.chunks.as_ref().map(Receiver::recv) {
                Some(Ok(chunk)) => self.chunk = Cursor::new(chunk?),
                Some(Err(_)) | None => return Ok(0),
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
