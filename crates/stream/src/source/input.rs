//! The bytes of a source, unpacked: a file, standard input or an object in S3. Counts and hashes what is stored; knows no rows.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use encoding_rs_io::DecodeReaderBytesBuilder;
use flate2::bufread::GzDecoder;

use super::SourceError;
use super::limits::ROW_READ_BYTES_MOST;
use super::profile::Fingerprint;
use super::stdin::{Pipe, SILENCE};
use crate::source::{Charset, Compression, Source, SourcePlace};

pub(super) const READ_BUFFER_BYTES: usize = 1 << 20;
/// What the decoders take at once.
const PACKED_BUFFER_BYTES: usize = 128 << 10;

pub(super) type Bytes = Box<dyn Read + Send>;

/// The unpacked bytes of a source, and a hash of the stored ones where it was asked for.
pub(super) struct Input {
    pub bytes: RowGuard,
    pub digest: Option<SharedDigest>,
}

/// Opens one of the source's files, other than standard input. `hash`: keep a BLAKE3 of what is read.
pub(super) fn open(source: &Source, place: &SourcePlace, hash: bool, stop: &Stopped) -> Result<Input, SourceError> {
    let unreadable = |error| SourceError::Unreadable { place: place.to_string(), source: error };
    let raw: Bytes = match place {
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
    let compression = match place {
        // Its thread unpacks it.
        SourcePlace::File(path) if is_stream(path) => Compression::None,
        SourcePlace::File(_) | SourcePlace::S3(_) | SourcePlace::Stdin => source.compression,
    };
    let bytes = decoded(unpacked(raw, compression).map_err(unreadable)?, source.charset);
    Ok(Input { bytes: RowGuard::new(bytes, stop), digest })
}

/// The text as UTF-8; what is no text in its encoding becomes U+FFFD. UTF-8 itself is left as it is: a row that is none is told so.
pub(super) fn decoded(bytes: Bytes, charset: &'static Charset) -> Bytes {
    if charset == encoding_rs::UTF_8 {
        return bytes;
    }
    // A mark at the beginning tells which of the two UTF-16 it is.
    let decoder = DecodeReaderBytesBuilder::new().encoding(Some(charset)).bom_override(true).build(bytes);
    Box::new(decoder)
}

/// Whether the process is to stop.
pub(super) type Stopped = Arc<AtomicBool>;

/// The error of a read that a stop ended. Whoever stops asks the flag, not the error.
pub(super) fn unless_stopped(stop: &Stopped) -> io::Result<()> {
    if stop.load(Ordering::Relaxed) { Err(io::Error::other("told to stop")) } else { Ok(()) }
}

/// A named pipe or a device: opening it may wait, and reading it too.
pub(super) fn is_stream(path: &Path) -> bool {
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
    if let (4, Some(message)) = (length, other_packing(first)) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let raw = Cursor::new(first[..length].to_vec()).chain(raw);
    let compression = if compression == Compression::None { found } else { compression };
    let packed = BufReader::with_capacity(PACKED_BUFFER_BYTES, raw);
    Ok(match compression {
        Compression::None => Box::new(packed.into_inner()),
        // An empty file is no rows, whatever its name.
        Compression::Gzip | Compression::Zstd if length == 0 => Box::new(io::empty()),
        Compression::Gzip => Box::new(GzipMembers { member: Some(GzDecoder::new(packed)), unpacked: 0 }),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
            // As `zstd --long=31` writes at the most; memory is taken as a frame asks for it.
            decoder.window_log_max(31)?;
            Box::new(Unpacking { name: "zstd", inner: Box::new(decoder) })
        }
    })
}

/// What a file that is no packed csv or jsonl is, and how it becomes one.
fn other_packing(first: [u8; 4]) -> Option<&'static str> {
    match first {
        [b'P', b'K', 3, 4] => Some("it is a zip archive: unpack it first, such as with `unzip -p FILE > rows.csv`"),
        [b'B', b'Z', b'h', _] => Some("it is packed by bzip2: unpack it first, such as with `bunzip2 FILE`"),
        [0xfd, b'7', b'z', b'X'] => Some("it is packed by xz: unpack it first, such as with `unxz FILE`"),
        _ => None,
    }
}

type Packed = BufReader<std::io::Chain<Cursor<Vec<u8>>, Bytes>>;

/// The members of a gzip file, one after the other. Zeros after the last one, as tapes and blocks have them, are no data.
struct GzipMembers {
    /// `None`: all are read.
    member: Option<GzDecoder<Packed>>,
    unpacked: u64,
}

impl Read for GzipMembers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(buffer).map_err(|error| damaged("gzip", &error))?;
            if count > 0 || buffer.is_empty() {
                self.unpacked += count as u64;
                return Ok(count);
            }
            let Some(mut packed) = self.member.take().map(GzDecoder::into_inner) else { break };
            loop {
                let rest = packed.fill_buf()?;
                let zeros = rest.iter().take_while(|byte| **byte == 0).count();
                match (rest.len(), rest.get(zeros)) {
                    (0, _) => return Ok(0),
                    (_, None) => packed.consume(zeros),
                    (_, Some(0x1f)) if zeros == 0 => break,
                    (_, Some(_)) => {
                        let message = format!(
                            "after the gzip data, which unpacks to {} bytes, comes something else: cut it off, or pack the file again",
                            self.unpacked
                        );
                        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                    }
                }
            }
            self.member = Some(GzDecoder::new(packed));
        }
        Ok(0)
    }
}

fn damaged(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the {name} data is cut short, damaged, or none at all ({error})"))
}

/// Says of which packing an error speaks.
struct Unpacking {
    name: &'static str,
    inner: Bytes,
}

impl Read for Unpacking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| damaged(self.name, &error))
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
