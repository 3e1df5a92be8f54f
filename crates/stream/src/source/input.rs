//! The bytes of a source, unpacked: a file, standard input or an object in S3. Counts and hashes what is stored; knows no rows.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::SourceError;
use super::limits::ROW_READ_BYTES_MOST;
use super::profile::Fingerprint;
use super::stdin::{Pipe, SILENCE};
use crate::source::{Compression, Source, SourcePlace};

pub(super) const READ_BUFFER_BYTES: usize = 1 << 20;
/// What the decoders take at once.
const PACKED_BUFFER_BYTES: usize = 128 << 10;

pub(super) type Bytes = Box<dyn Read + Send>;

/// The unpacked bytes of a source, and a hash of the stored ones where it was asked for.
pub(super) struct Input {
    pub bytes: RowGuard,
    pub digest: Option<SharedDigest>,
}

/// Opens what the source's path names, other than standard input. `hash`: keep a BLAKE3 of what is read.
pub(super) fn open(source: &Source, hash: bool, stop: &Stopped) -> Result<Input, SourceError> {
    let unreadable = |error| SourceError::Unreadable { place: source.place.to_string(), source: error };
    let raw: Bytes = match &source.place {
        // A thread of its own waits for who writes it.
        SourcePlace::File(path) if is_stream(path) => {
            Pipe::new(Box::new(Late { path: path.clone(), file: None }), SILENCE, stop).bytes()
        }
        SourcePlace::File(path) => Box::new(open_file(path)?),
        SourcePlace::S3(url) => Box::new(super::s3::open(url)?.reader().map_err(unreadable)?),
        SourcePlace::Stdin => return Err(SourceError::ReadTwice),
    };
    let digest = hash.then(SharedDigest::default);
    let raw: Bytes = match &digest {
        Some(digest) => Box::new(Hashing { inner: raw, digest: digest.clone() }),
        None => raw,
    };
    let compression = match &source.place {
        // Its thread unpacks it.
        SourcePlace::File(path) if is_stream(path) => Compression::None,
        SourcePlace::File(_) | SourcePlace::S3(_) | SourcePlace::Stdin => source.compression,
    };
    let bytes = unpacked(raw, compression).map_err(unreadable)?;
    Ok(Input { bytes: RowGuard::new(bytes, stop), digest })
}

/// Whether the process is to stop.
pub(super) type Stopped = Arc<AtomicBool>;

/// The error of a read that a stop ended. Whoever stops asks the flag, not the error.
pub(super) fn unless_stopped(stop: &Stopped) -> io::Result<()> {
    if stop.load(Ordering::Relaxed) { Err(io::Error::other("told to stop")) } else { Ok(()) }
}

/// A named pipe or a device: opening it may wait, and reading it too.
fn is_stream(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir())
}

/// A file that is opened when it is first read.
struct Late {
    path: PathBuf,
    file: Option<File>,
}

impl Read for Late {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.file.is_none() {
            self.file = Some(File::open(&self.path)?);
        }
        self.file.as_mut().map_or(Ok(0), |file| file.read(buffer))
    }
}

pub(super) fn open_file(path: &Path) -> Result<File, SourceError> {
    let place = || path.display().to_string();
    let unreadable = |source| SourceError::Unreadable { place: place(), source };
    if is_stream(path) {
        let message = "it is a pipe or a device, which can be read only once and from its beginning; use csv or jsonl, and a store of its own";
        return Err(unreadable(io::Error::other(message)));
    }
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => SourceError::Missing { place: place() },
        _ => unreadable(source),
    })?;
    match file.metadata() {
        Ok(meta) if meta.is_dir() => Err(unreadable(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"))),
        Ok(_) => Ok(file),
        Err(source) => Err(unreadable(source)),
    }
}

/// Reads the whole of `raw` for its digest alone.
pub(super) fn fingerprint_of(mut raw: impl Read, stop: &Stopped) -> io::Result<Fingerprint> {
    let mut digest = Digest::default();
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    loop {
        unless_stopped(stop)?;
        match raw.read(&mut buffer)? {
            0 => return Ok(digest.finish()),
            count => digest.update(&buffer[..count]),
        }
    }
}

#[derive(Default)]
struct Digest {
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Digest {
    fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn finish(&self) -> Fingerprint {
        Fingerprint { bytes: self.bytes, digest: self.hasher.finalize().to_hex().to_string() }
    }
}

/// What was read so far; the decoders between it and the rows give no way back to it.
#[derive(Default, Clone)]
pub(super) struct SharedDigest(Arc<Mutex<Digest>>);

impl SharedDigest {
    /// Whole once the rows are at their end.
    pub fn finish(&self) -> Fingerprint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).finish()
    }
}

/// Hashes what is read through it.
struct Hashing {
    inner: Bytes,
    digest: SharedDigest,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digest.0.lock().unwrap_or_else(PoisonError::into_inner).update(&buffer[..count]);
        Ok(count)
    }
}

/// The bytes without their packing. What is packed though its name does not say so is known by its first bytes: standard input
/// has no name.
pub(super) fn unpacked(mut raw: Bytes, compression: Compression) -> io::Result<Bytes> {
    let mut first = [0; 4];
    let mut length = 0;
    while length < first.len() {
        match raw.read(&mut first[length..])? {
            0 => break,
            count => length += count,
        }
    }
    let found = match &first[..length] {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Compression::Zstd,
        _ => Compression::None,
    };
    let raw = Cursor::new(first[..length].to_vec()).chain(raw);
    let compression = if compression == Compression::None { found } else { compression };
    let packed = BufReader::with_capacity(PACKED_BUFFER_BYTES, raw);
    Ok(match compression {
        Compression::None => Box::new(packed.into_inner()),
        // An empty file is no rows, whatever its name.
        Compression::Gzip | Compression::Zstd if length == 0 => Box::new(io::empty()),
        Compression::Gzip => {
            Box::new(Unpacking { name: "gzip", inner: Box::new(flate2::bufread::MultiGzDecoder::new(packed)) })
        }
        Compression::Zstd => {
            Box::new(Unpacking { name: "zstd", inner: Box::new(zstd::stream::read::Decoder::with_buffer(packed)?) })
        }
    })
}

/// Says of which packing an error speaks.
struct Unpacking {
    name: &'static str,
    inner: Bytes,
}

impl Read for Unpacking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            let message = format!("the {} data is cut short, damaged, or none at all ({error})", self.name);
            io::Error::new(error.kind(), message)
        })
    }
}

/// Stops a row that never ends, and ends with the process.
pub(super) struct RowGuard {
    inner: Bytes,
    stop: Stopped,
    /// Since the last row was complete.
    pub bytes_of_row: usize,
}

impl RowGuard {
    pub fn new(inner: Bytes, stop: &Stopped) -> Self {
        Self { inner, stop: stop.clone(), bytes_of_row: 0 }
    }
}

impl Read for RowGuard {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes_of_row > ROW_READ_BYTES_MOST {
            let message = format!("a row of more than {} MiB: is a quote never closed?", ROW_READ_BYTES_MOST >> 20);
            return Err(io::Error::other(message));
        }
        unless_stopped(&self.stop)?;
        let count = self.inner.read(buffer)?;
        self.bytes_of_row += count;
        Ok(count)
    }
}
