//! A stored file, read in pieces: a Parquet reader seeks, a csv reader goes from its beginning to its end.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

use super::StoreError;

/// A file of a store that is no folder of this machine: any range of it, at any time, by any thread.
pub trait ReadAt: Send + Sync {
    fn length_bytes(&self) -> u64;
    /// Some bytes from `offset` on, at most `length_most`; none only at the end of the file.
    fn read_at(&self, offset: u64, length_most: usize) -> Result<Bytes, StoreError>;
}

/// A file of any store. A local one is the plain file, so that the kernel reads ahead.
pub enum StoredFile {
    Local(File),
    Remote(Arc<dyn ReadAt>),
}

impl StoredFile {
    pub fn length_bytes(&self) -> io::Result<u64> {
        match self {
            Self::Local(file) => Ok(file.metadata()?.len()),
            Self::Remote(file) => Ok(file.length_bytes()),
        }
    }

    /// The same file once more.
    pub fn again(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Local(file) => Self::Local(file.try_clone()?),
            Self::Remote(file) => Self::Remote(Arc::clone(file)),
        })
    }

    /// The bytes from the beginning to the end. One at a time: readers of a local file share its position.
    pub fn reader(&self) -> io::Result<StoredRead> {
        Ok(self.get_read(0)?)
    }
}

impl Length for StoredFile {
    fn len(&self) -> u64 {
        // The trait has no error; a file without a length is refused as one that is too short.
        self.length_bytes().unwrap_or(0)
    }
}

impl ChunkReader for StoredFile {
    type T = StoredRead;

    fn get_read(&self, start: u64) -> ParquetResult<StoredRead> {
        match self {
            Self::Local(file) => Ok(StoredRead::Local(file.get_read(start)?)),
            Self::Remote(file) => {
                Ok(StoredRead::Remote(RemoteRead { file: Arc::clone(file), offset: start, held: Bytes::new() }))
            }
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let file = match self {
            Self::Local(file) => return file.get_bytes(start, length),
            Self::Remote(file) => file,
        };
        let first = file.read_at(start, length).map_err(outside)?;
        if first.len() == length {
            return Ok(first);
        }
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(&first);
        while bytes.len() < length {
            let more = file.read_at(start + bytes.len() as u64, length - bytes.len()).map_err(outside)?;
            if more.is_empty() {
                let found = bytes.len();
                return Err(ParquetError::EOF(format!("{length} bytes wanted at {start}, {found} are there")));
            }
            bytes.extend_from_slice(&more);
        }
        Ok(bytes.into())
    }
}

fn outside(error: StoreError) -> ParquetError {
    ParquetError::External(Box::new(error))
}

pub enum StoredRead {
    Local(BufReader<File>),
    Remote(RemoteRead),
}

impl Read for StoredRead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Local(file) => file.read(into),
            Self::Remote(file) => file.read(into),
        }
    }
}

/// Goes through a remote file from an offset.
pub struct RemoteRead {
    file: Arc<dyn ReadAt>,
    offset: u64,
    /// Read and not yet given. It shares its memory with what the file itself holds.
    held: Bytes,
}

/// What is taken of a remote file at once: its own blocks decide how much is fetched.
const PIECE_BYTES: usize = 1 << 20;

impl Read for RemoteRead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.held.is_empty() {
            self.held = self.file.read_at(self.offset, PIECE_BYTES).map_err(io::Error::other)?;
            self.offset += self.held.len() as u64;
        }
        let count = self.held.len().min(into.len());
        into[..count].copy_from_slice(&self.held.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives three bytes at a time, so that every piece has to be put together.
    struct Slow(&'static [u8]);

    impl ReadAt for Slow {
        fn length_bytes(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, offset: u64, length_most: usize) -> Result<Bytes, StoreError> {
            let start = usize::try_from(offset).unwrap().min(self.0.len());
            let end = (start + length_most.min(3)).min(self.0.len());
            Ok(Bytes::from_static(&self.0[start..end]))
        }
    }

    #[test]
    fn a_remote_file_reads_as_a_local_one_does() {
        let text: &'static [u8] = b"one,two,three";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, text).unwrap();
        for file in [StoredFile::Local(File::open(path).unwrap()), StoredFile::Remote(Arc::new(Slow(text)))] {
            assert_eq!((file.len(), file.length_bytes().unwrap()), (13, 13));
            assert_eq!(&file.get_bytes(4, 9).unwrap()[..], b"two,three");
            assert!(matches!(file.get_bytes(4, 10), Err(ParquetError::EOF(_))));
            let mut rest = String::new();
            file.get_read(8).unwrap().read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "three");
            let mut whole = String::new();
            file.reader().unwrap().read_to_string(&mut whole).unwrap();
            assert_eq!(whole.as_bytes(), text);
        }
    }
}
