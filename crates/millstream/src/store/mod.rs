//! Where batches, models and decisions are kept: keys to bytes, each created once and never changed.
//!
//! `Store` is small on purpose (local disk now, S3 later): create-only writes with the three outcomes of DESIGN §6,
//! streamed part files, reads, listing. It has no rename, no overwrite and no append.

#[cfg(test)]
pub mod faulty;
mod file;
mod local;

use std::io::{self, Write};
use std::sync::Arc;

pub use file::{ReadAt, StoredFile, StoredRead};
pub use local::LocalStore;

/// The answer to a create that did not fail. The third outcome, a lost answer, is `Err`: read the key back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    Mine,
    /// The key exists already, with whatever content.
    Exists,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("no such key in the store: {key}")]
    Missing { key: String },
    #[error("{key}: the store is full: free space or point store.url elsewhere; nothing that was committed is lost")]
    Full {
        key: String,
        #[source]
        source: io::Error,
    },
    #[error("{key}: the store refuses access: mend the rights of {place} or point store.url elsewhere")]
    Denied {
        key: String,
        place: String,
        #[source]
        source: io::Error,
    },
    #[error("{key}: the store failed")]
    Io {
        key: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "{place}: this store let a second create of one key through; it cannot keep batches exact: choose another store.url"
    )]
    NotExclusive { place: String },
}

/// A file being written under a name of its own attempt; invisible until `finish`.
pub trait PartWriter: Write + Send {
    /// Makes the file durable under its key, which no one else uses.
    fn finish(self: Box<Self>) -> Result<(), StoreError>;
}

pub trait Store: Send + Sync {
    /// Creates `key` with `bytes`, durably, only if it is absent.
    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError>;
    fn writer(&self, key: &str) -> Result<Box<dyn PartWriter>, StoreError>;
    fn read(&self, key: &str) -> Result<Vec<u8>, StoreError>;
    /// For files that are not read whole: Parquet needs seeks.
    fn open(&self, key: &str) -> Result<StoredFile, StoreError>;
    /// Every key that starts with `prefix`, sorted.
    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;
    /// For what no manifest names any more; an absent key is no error.
    fn delete(&self, key: &str) -> Result<(), StoreError>;
    /// For people: a path or URL.
    fn place(&self, key: &str) -> String;
}

pub type SharedStore = Arc<dyn Store>;

/// `read`, with an absent key as `None`.
pub fn read_optional(store: &dyn Store, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    match store.read(key) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
