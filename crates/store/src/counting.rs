//! A store that counts what is asked of it, for the tests of what a batch costs.

use std::sync::{Mutex, PoisonError};

use super::{Created, PartWriter, SharedStore, Store, StoreError, StoredFile, Verified};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub creates: u64,
    pub reads: u64,
    /// Of a file that is opened: its length.
    pub bytes_read: u64,
    pub lists: u64,
    /// That the lists returned.
    pub keys: u64,
}

/// Passes everything on to `inner`.
pub struct CountingStore {
    inner: SharedStore,
    counts: Mutex<Counts>,
}

impl CountingStore {
    pub fn new(inner: SharedStore) -> Self {
        Self { inner, counts: Mutex::default() }
    }

    /// What was asked since the last call.
    pub fn take(&self) -> Counts {
        std::mem::take(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn listed(&self, found: Result<Vec<String>, StoreError>) -> Result<Vec<String>, StoreError> {
        self.count(|counts| {
            counts.lists += 1;
            counts.keys += found.as_ref().map_or(0, Vec::len) as u64;
        });
        found
    }
}

impl Store for CountingStore {
    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        self.count(|counts| counts.creates += 1);
        self.inner.create(key, bytes)
    }

    fn writer(&self, key: &str) -> Result<Box<dyn PartWriter>, StoreError> {
        self.count(|counts| counts.creates += 1);
        self.inner.writer(key)
    }

    fn read_up_to(&self, key: &str, bytes_most: u64) -> Result<Vec<u8>, StoreError> {
        let found = self.inner.read_up_to(key, bytes_most);
        self.count(|counts| {
            counts.reads += 1;
            counts.bytes_read += found.as_ref().map_or(0, Vec::len) as u64;
        });
        found
    }

    fn open(&self, key: &str) -> Result<StoredFile, StoreError> {
        let found = self.inner.open(key)?;
        self.count(|counts| {
            counts.reads += 1;
            counts.bytes_read += found.length_bytes().unwrap_or_default();
        });
        Ok(found)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.listed(self.inner.list(prefix))
    }

    fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.listed(self.inner.folders(prefix))
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key)
    }

    fn place(&self, key: &str) -> String {
        self.inner.place(key)
    }

    fn verified(&self) -> &Verified {
        self.inner.verified()
    }

    fn is_link(&self, key: &str) -> bool {
        self.inner.is_link(key)
    }
}
