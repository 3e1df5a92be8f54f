//! Where batches, models and decisions are kept: keys to bytes, each created once and never changed.
//!
//! `Store` is small on purpose (a local disk, a bucket of S3): create-only writes with the three outcomes of DESIGN §6,
//! streamed part files, reads, listing. It has no rename, no overwrite and no append.

#![cfg_attr(any(test, feature = "testing"), allow(clippy::unwrap_used))]

#[cfg(test)]
mod conformance;
#[cfg(any(test, feature = "testing"))]
pub mod counting;
#[cfg(any(test, feature = "testing"))]
pub mod faulty;
mod file;
mod local;
mod s3;
mod url;
mod verified;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

pub use bytes::Bytes;
pub use file::{ReadAt, StoredFile, StoredRead};
pub use local::LocalStore;
pub use s3::{S3Endpoint, S3Store};
pub use url::StoreUrl;
pub use verified::{Check, Verified};

/// The answer to a create that did not fail. The third outcome, a lost answer, is `Err`: read the key back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    Mine,
    /// The key exists already, with whatever content: it may be that of an earlier try of this very create.
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
    #[error("{place}: {problem}")]
    Unusable {
        place: String,
        /// With its remedy.
        problem: String,
        #[source]
        source: io::Error,
    },
    #[error("{key}: the record cannot be written as JSON: this is a fault of Millstream, please report it")]
    NotWritable {
        key: String,
        #[source]
        source: serde_json::Error,
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

impl StoreError {
    /// Whether trying again may help, without anyone mending anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Missing { .. } => true,
            Self::Full { .. }
            | Self::Denied { .. }
            | Self::Unusable { .. }
            | Self::NotWritable { .. }
            | Self::NotExclusive { .. } => false,
        }
    }
}

/// A file being written under a name of its own attempt; invisible until `finish`.
pub trait PartWriter: Write + Send {
    /// Makes the file durable under its key, which no one else uses.
    fn finish(self: Box<Self>) -> Result<(), StoreError>;
}

/// Of a cut, a manifest, a schema, a `model.json`, ...: the cut of the most partitions there can be has 3 MiB.
pub const RECORD_BYTES_MOST: u64 = 32 << 20;

pub trait Store: Send + Sync {
    /// Creates `key` with `bytes`, durably, only if it is absent.
    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError>;
    fn writer(&self, key: &str) -> Result<Box<dyn PartWriter>, StoreError>;
    /// A record.
    fn read(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        self.read_up_to(key, RECORD_BYTES_MOST)
    }
    /// A whole file, whose length is looked at before memory is taken: whoever can write to the store can put anything there.
    fn read_up_to(&self, key: &str, bytes_most: u64) -> Result<Vec<u8>, StoreError>;
    /// For files that are not read whole: Parquet needs seeks.
    fn open(&self, key: &str) -> Result<StoredFile, StoreError>;
    /// Every key that starts with `prefix`, sorted.
    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;
    /// The names between `prefix`, which is empty or ends with `/`, and the next `/` of the keys that have one, each once, sorted:
    /// stores that can do not list what is behind them.
    fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let keys = self.list(prefix)?;
        let names = keys.iter().filter_map(|key| Some(key.strip_prefix(prefix)?.split_once('/')?.0));
        let names: BTreeSet<&str> = names.collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }
    /// For what no manifest names any more; an absent key is no error.
    fn delete(&self, key: &str) -> Result<(), StoreError>;
    /// For people: a path or URL.
    fn place(&self, key: &str) -> String;
    /// The files that need no look at their digests any more.
    fn verified(&self) -> &Verified;
    /// Before the second try of a create whose outcome is unknown; doubled before each next one, so that a rival who is at work
    /// comes to an end.
    fn settle_pause(&self) -> Duration {
        Duration::from_millis(50)
    }
    /// Whether what lies there leads elsewhere; in a bucket nothing does.
    fn is_link(&self, _key: &str) -> bool {
        false
    }
}

pub type SharedStore = Arc<dyn Store>;

/// What a create came to, once a lost answer has been read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    Mine,
    /// Another's content; or that of an earlier attempt of ours, when `bytes` differ from attempt to attempt.
    There(Vec<u8>),
}

/// A create whose outcome is unknown, and whose key is absent then, is tried so often.
const SETTLE_TRIES: u32 = 5;

/// A create with its three outcomes (DESIGN §6): after "exists" and after any error the key is read back. `bytes` must be
/// the caller's own, by an attempt's id in them, or be the same whoever writes them.
pub fn settle(store: &dyn Store, key: &str, bytes: &[u8]) -> Result<Settled, StoreError> {
    let mut tried = 0;
    loop {
        tried += 1;
        let created = store.create(key, bytes);
        if let Ok(Created::Mine) = created {
            return Ok(Settled::Mine);
        }
        let error = match (created, read_optional(store, key)) {
            (_, Ok(Some(found))) if found == bytes => return Ok(Settled::Mine),
            (_, Ok(Some(found))) => return Ok(Settled::There(found)),
            (_, Err(error)) | (Err(error), Ok(None)) => error,
            (Ok(_), Ok(None)) => StoreError::Missing { key: key.to_owned() },
        };
        if tried == SETTLE_TRIES || !error.is_transient() {
            return Err(error);
        }
        pause(store, tried);
    }
}

/// After the `tried`-th try, counted from 1, of a create.
pub fn pause(store: &dyn Store, tried: u32) {
    std::thread::sleep(store.settle_pause() * 2_u32.pow(tried - 1));
}

fn too_large(place: String, length: u64, bytes_most: u64) -> StoreError {
    let problem =
        format!("has {length} bytes, {bytes_most} are the most: it is not the file that was written, restore it");
    StoreError::Unusable { place, problem, source: io::Error::from(io::ErrorKind::FileTooLarge) }
}

/// The bytes of a record that is created under `key` and never changes: what cannot be written is an error, never an empty file.
pub fn record_bytes(key: &str, record: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec_pretty(record).map_err(|source| StoreError::NotWritable { key: key.to_owned(), source })
}

/// `read`, with an absent key as `None`.
pub fn read_optional(store: &dyn Store, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    match store.read(key) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_json_cannot_say_is_no_empty_file() {
        // A map whose keys are no text.
        let record = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = record_bytes("batches/batch=000001/_cut.json", &record).unwrap_err();
        assert!(!error.is_transient() && error.to_string().starts_with("batches/batch=000001/_cut.json"), "{error}");
        assert_eq!(record_bytes("key", &[1]).unwrap(), b"[\n  1\n]");
    }
}
