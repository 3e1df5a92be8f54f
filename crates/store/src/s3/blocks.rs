//! A stored object read in pieces: whole blocks are fetched and held, since a Parquet reader asks for little at a time and
//! goes to and fro between the columns of a row group.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use object_store::{GetOptions, GetRange, ObjectStore};

use super::Service;
use crate::{ReadAt, StoreError};

const BLOCK_BYTES: u64 = 4 << 20;
/// With these a row group of 32 MiB is fetched once, however its columns are read: an open file holds at most 48 MiB.
const BLOCKS_HELD: usize = 12;
/// The end of the file comes with its length in one request: Parquet's footer is there, and a small file is whole.
const TAIL_BYTES: u64 = 512 << 10;

pub(super) struct Blocks {
    service: Arc<Service>,
    key: String,
    length: u64,
    tail: Bytes,
    /// Number and content, the one used last at the end.
    held: Mutex<VecDeque<(u64, Bytes)>>,
}

impl Blocks {
    pub(super) fn open(service: Arc<Service>, key: &str) -> Result<Self, StoreError> {
        let (length, tail) = match service.get(key, GetRange::Suffix(TAIL_BYTES)) {
            Ok(found) => found,
            Err(error) => match service.failed(key, &error) {
                // An empty file has no last bytes: S3 refuses the range, MinIO's answer makes no sense.
                StoreError::Io { .. } if matches!(service.length(key), Ok(0)) => (0, Bytes::new()),
                failed => return Err(failed),
            },
        };
        Ok(Self { service, key: key.to_owned(), length, tail, held: Mutex::default() })
    }

    fn block(&self, number: u64) -> Result<Bytes, StoreError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let known = held.iter().position(|(known, _)| *known == number).and_then(|index| held.remove(index));
        let block = match known {
            Some((_, block)) => block,
            None => {
                let start = number * BLOCK_BYTES;
                let range = GetRange::Bounded(start..self.length.min(start + BLOCK_BYTES));
                self.service.get(&self.key, range).map_err(|error| self.service.failed(&self.key, &error))?.1
            }
        };
        while held.len() >= BLOCKS_HELD {
            held.pop_front();
        }
        held.push_back((number, block.clone()));
        Ok(block)
    }
}

impl ReadAt for Blocks {
    fn length_bytes(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, length_most: usize) -> Result<Bytes, StoreError> {
        if offset >= self.length {
            return Ok(Bytes::new());
        }
        let tail_start = self.length - self.tail.len() as u64;
        let (bytes, start) = match offset.checked_sub(tail_start) {
            Some(start) => (self.tail.clone(), start),
            None => (self.block(offset / BLOCK_BYTES)?, offset % BLOCK_BYTES),
        };
        // Both lie in memory, so the length fits.
        let start = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes.slice(start..bytes.len().min(start.saturating_add(length_most))))
    }
}

impl Service {
    /// A range of an object, and the length of the whole.
    fn get(self: &Arc<Self>, key: &str, range: GetRange) -> Result<(u64, Bytes), object_store::Error> {
        let (client, path) = (self.client.clone(), self.object_path(key)?);
        let options = GetOptions { range: Some(range), ..GetOptions::default() };
        self.wait(async move {
            let found = client.get_opts(&path, options).await?;
            Ok((found.meta.size, found.bytes().await?))
        })
    }
}
