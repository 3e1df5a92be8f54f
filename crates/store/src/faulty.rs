//! A store that fails on purpose, for the tests of whatever writes: arranged faults, or random ones by a seed.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Created, PartWriter, SharedStore, Store, StoreError, StoredFile, Verified};

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

/// What a random fault does to a call, whatever the call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    /// An error, and nothing was done: a lost request, a 409. Of a part that is finished: it was torn, and is not to be seen.
    Before,
    /// All was done, and the answer is an error.
    After,
    /// It takes long, so that a rival may come between.
    Delay,
}

/// Passes everything on to `inner`, except what is to fail.
pub struct FaultyStore {
    inner: SharedStore,
    /// A part of the key, and what happens to the next create of such a key; each once, in this order.
    arranged: Mutex<Vec<(String, Fault)>>,
    dice: Arc<Dice>,
    after_read: Option<AfterRead>,
}

/// What happens between a read and its answer: given the key, an error is the answer.
type AfterRead = Box<dyn Fn(&str) -> io::Result<()> + Send + Sync>;

/// About so many small writes make a part; together they have the chance of one call.
const WRITES_OF_A_PART: f64 = 100.0;

struct Dice {
    /// Of each call.
    chance: f64,
    random: Mutex<ChaCha8Rng>,
}

impl Dice {
    /// `calls_in_one`: of how many calls this is a small one.
    fn roll(&self, calls_in_one: f64) -> Option<Mishap> {
        let mut random = self.random.lock().unwrap();
        if !random.random_bool(self.chance / calls_in_one) {
            return None;
        }
        Some([Mishap::Before, Mishap::After, Mishap::Delay][random.random_range(0..3)])
    }

    /// Does `work` with what befalls it.
    fn befall<T>(&self, key: &str, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let failed = || StoreError::Io { key: key.to_owned(), source: failed(key, ErrorKind::TimedOut) };
        match self.roll(1.0) {
            None => work(),
            Some(Mishap::Before) => Err(failed()),
            Some(Mishap::After) => work().and_then(|_| Err(failed())),
            Some(Mishap::Delay) => {
                std::thread::sleep(Duration::from_millis(2));
                work()
            }
        }
    }
}

impl FaultyStore {
    /// Without any fault, unless one is arranged.
    pub fn new(inner: SharedStore) -> Self {
        Self::seeded(inner, 0, 0.0)
    }

    /// Every call has this chance of a mishap.
    pub fn seeded(inner: SharedStore, seed: u64, chance: f64) -> Self {
        let random = Mutex::new(ChaCha8Rng::seed_from_u64(seed));
        Self { inner, arranged: Mutex::default(), dice: Arc::new(Dice { chance, random }), after_read: None }
    }

    /// Calls `happens` with the key after each read and before its answer, which is an error where it says so.
    pub fn after_read(self, happens: impl Fn(&str) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self { after_read: Some(Box::new(happens)), ..self }
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

fn failed(key: &str, kind: ErrorKind) -> io::Error {
    io::Error::new(kind, format!("arranged to fail at {key}"))
}

impl Store for FaultyStore {
    fn settle_pause(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let io = || StoreError::Io { key: key.to_owned(), source: failed(key, ErrorKind::TimedOut) };
        match self.next(key) {
            None => self.dice.befall(key, || self.inner.create(key, bytes)),
            Some(Fault::Refused) => Err(io()),
            Some(Fault::Full) => {
                Err(StoreError::Full { key: key.to_owned(), source: failed(key, ErrorKind::StorageFull) })
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
        let inner = self.dice.befall(key, || self.inner.writer(key))?;
        Ok(Box::new(FaultyWriter { inner, key: key.to_owned(), dice: Arc::clone(&self.dice) }))
    }

    fn read_up_to(&self, key: &str, bytes_most: u64) -> Result<Vec<u8>, StoreError> {
        let read = self.dice.befall(key, || self.inner.read_up_to(key, bytes_most));
        let happened = self.after_read.as_ref().map_or(Ok(()), |happens| happens(key));
        happened.map_err(|source| StoreError::Io { key: key.to_owned(), source })?;
        read
    }

    fn open(&self, key: &str) -> Result<StoredFile, StoreError> {
        self.dice.befall(key, || self.inner.open(key))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.dice.befall(prefix, || self.inner.list(prefix))
    }

    fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.dice.befall(prefix, || self.inner.folders(prefix))
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.dice.befall(key, || self.inner.delete(key))
    }

    fn place(&self, key: &str) -> String {
        self.inner.place(key)
    }

    fn verified(&self) -> &Verified {
        self.inner.verified()
    }
}

struct FaultyWriter {
    inner: Box<dyn PartWriter>,
    key: String,
    dice: Arc<Dice>,
}

impl Write for FaultyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let inner = &mut self.inner;
        // A writer that took the bytes and answers with an error would be a lie that `Write` does not allow for.
        match self.dice.roll(WRITES_OF_A_PART) {
            Some(Mishap::Before | Mishap::After) => Err(failed(&self.key, ErrorKind::TimedOut)),
            None | Some(Mishap::Delay) => inner.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl PartWriter for FaultyWriter {
    fn finish(self: Box<Self>) -> Result<(), StoreError> {
        let Self { inner, key, dice } = *self;
        dice.befall(&key, || inner.finish())
    }
}
