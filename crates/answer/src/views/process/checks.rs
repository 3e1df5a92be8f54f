//! Which files of the store need no look at their digests any more, as the server and a process tell each other: what a process has
//! hashed is not lost with it, and a store that takes longer to hash than a question may last is hashed in the course of several.
//!
//! A process is believed here. It is this very executable, which hashed the file itself, and its SQL has no function that reaches these
//! frames; whoever had it in their hands could write to the store as well, for it has the server's rights. Still only files of its state
//! are taken, after it said that it began with them, so that nothing grows with what it says.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_store::SharedStore;

use super::frames::Kind;
use super::talk::not_now;

/// Of one process.
pub(super) struct Checks {
    store: SharedStore,
    /// Of its state.
    parts: Arc<HashSet<String>>,
    /// So many of the known files it was told.
    n_told: usize,
    /// Begun, and not passed.
    open: BTreeSet<String>,
    finisher: Arc<Finisher>,
}

impl Checks {
    pub(super) fn new(store: SharedStore, parts: Arc<HashSet<String>>, finisher: Arc<Finisher>) -> Self {
        Self { store, parts, n_told: 0, open: BTreeSet::new(), finisher }
    }

    /// The files that the process was not told of yet.
    pub(super) fn news(&mut self) -> Vec<Arc<str>> {
        let known = self.store.verified().known_after(self.n_told);
        self.n_told += known.len();
        known
    }

    pub(super) fn begun(&mut self, key: String) -> io::Result<()> {
        if !self.parts.contains(&key) {
            return Err(not_now(Kind::Checking));
        }
        self.open.insert(key);
        Ok(())
    }

    pub(super) fn passed(&mut self, key: &str) -> io::Result<()> {
        if !self.open.remove(key) {
            return Err(not_now(Kind::Verified));
        }
        self.store.verified().add(key);
        Ok(())
    }

    /// The process has ended: what it had begun is left to the server.
    pub(super) fn ended(&mut self) {
        self.finisher.take(std::mem::take(&mut self.open));
    }
}

/// Hashes what processes had begun when they ended, since one file may take longer than any question. One thread at a time, for all.
pub(super) struct Finisher {
    verify: Box<dyn Fn(&str) + Send + Sync>,
    left: Mutex<Left>,
}

#[derive(Default)]
struct Left {
    keys: BTreeSet<String>,
    /// A thread takes them, until there is none.
    is_at_work: bool,
}

impl Finisher {
    pub(super) fn new(verify: impl Fn(&str) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { verify: Box::new(verify), left: Mutex::default() })
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, mut keys: BTreeSet<String>) {
        let mut left = self.left();
        left.keys.append(&mut keys);
        if left.keys.is_empty() || std::mem::replace(&mut left.is_at_work, true) {
            return;
        }
        drop(left);
        let own = Arc::clone(self);
        let work = move || {
            while let Some(key) = own.next() {
                // One that fails inside, which the log has, keeps no other waiting.
                let _ = catch_unwind(AssertUnwindSafe(|| (own.verify)(&key)));
            }
        };
        if let Err(error) = std::thread::Builder::new().name("verify".to_owned()).spawn(work) {
            self.left().is_at_work = false;
            tracing::warn!(%error, "no thread can be started");
        }
    }

    fn next(&self) -> Option<String> {
        let mut left = self.left();
        let key = left.keys.pop_first();
        // With the lock held: who brings more either sees that nobody is at work, or came before.
        left.is_at_work = key.is_some();
        key
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_comes_while_a_file_is_hashed_or_after_one_that_panics_is_hashed_as_well() {
        let (begun, begins) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<()>();
        let may_go = Mutex::new(may_go);
        let finisher = Finisher::new(move |key| {
            begun.send(key.to_owned()).unwrap();
            may_go.lock().unwrap_or_else(PoisonError::into_inner).recv().unwrap();
            assert!(!key.starts_with("broken"), "{key}");
        });
        let take = |keys: &[&str]| finisher.take(keys.iter().map(|key| (*key).to_owned()).collect());
        let check = |expected: &str| {
            assert_eq!(begins.recv_timeout(Duration::from_secs(60)).unwrap(), expected);
        };
        take(&[]);
        take(&["broken 1", "c"]);
        check("broken 1");
        take(&["b", "c"]);
        for expected in ["b", "c"] {
            go.send(()).unwrap();
            check(expected);
        }
        // It waits for `c` no more; one that is the last and panics keeps nobody from what comes then.
        take(&["broken 2"]);
        go.send(()).unwrap();
        check("broken 2");
        go.send(()).unwrap();
        take(&["d"]);
        check("d");
        go.send(()).unwrap();
        assert!(begins.try_recv().is_err());
    }
}
