//! Which files of the store need no look at their digests any more, as the server and a process tell each other: what a process has
//! hashed is not lost with it, and a store that takes longer to hash than a question may last is hashed in the course of several.
//!
//! A process is believed here. It is this very executable, which hashed the file itself, and its SQL has no function that reaches these
//! frames; whoever had it in their hands could write to the store as well, for it has the server's rights. Still only files of its state
//! are taken, after it said that it began with them, so that nothing grows with what it says.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::frames::Kind;
use super::talk::not_now;
use crate::batch::verify_part;
use crate::store::SharedStore;

/// Of one process.
pub(super) struct Checks {
    store: SharedStore,
    /// Of its state.
    parts: Arc<HashSet<String>>,
    /// So many of the known files it was told.
    n_told: usize,
    /// Begun, and not passed.
    open: BTreeSet<String>,
}

impl Checks {
    pub(super) fn new(store: SharedStore, parts: Arc<HashSet<String>>) -> Self {
        Self { store, parts, n_told: 0, open: BTreeSet::new() }
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

    /// Of a process that has ended: hashes what it had begun, since one file may take longer than any question. One thread at a time.
    pub(super) fn finish(&mut self, is_at_work: &Arc<AtomicBool>) {
        let (store, open, at_work) = (Arc::clone(&self.store), std::mem::take(&mut self.open), Arc::clone(is_at_work));
        if open.is_empty() || at_work.swap(true, Ordering::AcqRel) {
            return;
        }
        let work = move || {
            for key in open {
                // Who asks for its rows is told, and the status with it.
                if let Err(fault) = verify_part(store.as_ref(), &key) {
                    tracing::warn!(%fault, "a part cannot be verified");
                }
            }
            at_work.store(false, Ordering::Release);
        };
        if let Err(error) = std::thread::Builder::new().name("verify".to_owned()).spawn(work) {
            is_at_work.store(false, Ordering::Release);
            tracing::warn!(%error, "no thread can be started");
        }
    }
}
