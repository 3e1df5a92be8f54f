//! A store that fails on purpose, for the tests of whatever writes: lost answers, refused writes, rivals.

use std::sync::Mutex;

use super::{Created, PartWriter, SharedStore, Store, StoreError, StoredFile};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The create is done, its answer is lost.
    Lost,
    /// Nothing is done, and the answer is an error.
    Refused,
    /// The disk is full.
    Full,
    /// Another writer creates the key with these bytes just before.
    Rival(Vec<u8>),
}

/// Passes everything on to `inner`, except the creates that are arranged to fail.
pub struct FaultyStore {
    inner: SharedStore,
    /// A part of the key, and what happens to the next create of such a key; each once, in this order.
    arranged: Mutex<Vec<(String, Fault)>>,
}

impl FaultyStore {
    pub fn new(inner: SharedStore) -> Self {
        Self { inner, arranged: Mutex::default() }
    }

    pub fn on_create(self, key_part: &str, fault: Fault) -> Self {
        self.arranged.lock().unwrap().push((key_part.to_owned(), fault));
        self
    }

    /// Whether every arranged fault has happened.
    pub fn is_spent(&self) -> bool {
        self.arranged.lock().unwrap().is_empty()
    }

    fn next(&self, key: &str) -> Option<Fault> {
        let mut arranged = self.arranged.lock().unwrap();
        let index = arranged.iter().position(|(part, _)| key.contains(part))?;
        Some(arranged.remove(index).1)
    }
}

fn failed(key: &str, kind: std::io::ErrorKind) -> std::io::Error {
    std::io::Error::new(kind, format!("arranged to fail at {key}"))
}

impl Store for FaultyStore {
    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let io = || StoreError::Io { key: key.to_owned(), source: failed(key, std::io::ErrorKind::TimedOut) };
        match self.next(key) {
            None => self.inner.create(key, bytes),
            Some(Fault::Refused) => Err(io()),
            Some(Fault::Full) => {
                Err(StoreError::Full { key: key.to_owned(), source: failed(key, std::io::ErrorKind::StorageFull) })
            }
            Some(Fault::Lost) => {
                self.inner.create(key, bytes)?;
                Err(io())
            }
            Some(Fault::Rival(rival)) => {
                self.inner.create(key, &rival)?;
                self.inner.create(key, bytes)
            }
        }
    }

    fn writer(&self, key: &str) -> Result<Box<dyn PartWriter>, StoreError> {
        self.inner.writer(key)
    }

    fn read(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        self.inner.read(key)
    }

    fn open(&self, key: &str) -> Result<StoredFile, StoreError> {
        self.inner.open(key)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.inner.list(prefix)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key)
    }

    fn place(&self, key: &str) -> String {
        self.inner.place(key)
    }
}
