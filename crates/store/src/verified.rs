//! Which files this process knows to be the ones that were written: what it wrote itself, and what it has read whole once and
//! found to have its digest. A file that is not is looked at again each time, so that a restored one is taken.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};

/// About 250 bytes a file.
#[derive(Default)]
pub struct Verified {
    files: Mutex<HashMap<Arc<str>, Arc<Mutex<bool>>>>,
    /// In the order in which they came to be known.
    known: Mutex<Vec<Arc<str>>>,
    listener: OnceLock<Listener>,
}

/// Told of each check that this process makes.
pub type Listener = Box<dyn Fn(&str, Check) + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    Begins,
    /// The file is the one that was written.
    Passed,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("known", &self.known().len()).finish_non_exhaustive()
    }
}

impl Verified {
    /// This process has written the file, or was told of it by one of its own that has read it.
    pub fn add(&self, key: &str) {
        match self.file(key).try_lock() {
            Ok(mut is_known) => self.set(key, &mut is_known),
            Err(TryLockError::Poisoned(held)) => self.set(key, &mut held.into_inner()),
            // Whoever checks it comes to know it.
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Runs `check` unless the file is known already. Who asks while another checks the same file waits for it.
    pub fn check<E>(&self, key: &str, check: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let file = self.file(key);
        let mut is_known = file.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_known {
            self.tell(key, Check::Begins);
            check()?;
            self.set(key, &mut is_known);
            self.tell(key, Check::Passed);
        }
        Ok(())
    }

    /// Waits for nobody: a file that is being checked is not known yet.
    pub fn is_known(&self, key: &str) -> bool {
        let file = self.files.lock().unwrap_or_else(PoisonError::into_inner).get(key).map(Arc::clone);
        file.is_some_and(|file| match file.try_lock() {
            Ok(is_known) => *is_known,
            Err(TryLockError::Poisoned(held)) => *held.into_inner(),
            Err(TryLockError::WouldBlock) => false,
        })
    }

    /// All but the first `n` that came to be known: for another process of this machine, which need not read them again.
    pub fn known_after(&self, n: usize) -> Vec<Arc<str>> {
        self.known().get(n..).unwrap_or_default().to_vec()
    }

    /// Once, before anything is checked.
    pub fn listen(&self, listener: Listener) {
        assert!(self.listener.set(listener).is_ok(), "checks are told to one listener");
    }

    fn set(&self, key: &str, is_known: &mut bool) {
        if !std::mem::replace(is_known, true) {
            self.known().push(key.into());
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Vec<Arc<str>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, key: &str, check: Check) {
        if let Some(listener) = self.listener.get() {
            listener(key, check);
        }
    }

    fn file(&self, key: &str) -> Arc<Mutex<bool>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        match files.get(key) {
            Some(file) => Arc::clone(file),
            None => Arc::clone(files.entry(key.into()).or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_checked_until_it_is_found_whole() {
        let (verified, mut checks) = (Verified::default(), 0);
        for (outcome, expected) in [(Err("torn"), Err("torn")), (Ok(()), Ok(())), (Err("never asked"), Ok(()))] {
            let found = verified.check("part", || {
                checks += 1;
                outcome
            });
            assert_eq!(found, expected);
        }
        assert_eq!(checks, 2);
        assert_eq!(["part", "never heard of"].map(|key| verified.is_known(key)), [true, false]);
        let found = verified.check("under way", || {
            assert!(!verified.is_known("under way"));
            Err("torn")
        });
        assert!(found.is_err() && !verified.is_known("under way"));
        verified.add("own");
        assert!(verified.check("other", || Err("torn")).is_err());
        verified.add("own");
        assert_eq!(verified.known_after(0), ["part".into(), "own".into()]);
        assert_eq!((verified.known_after(1), verified.known_after(9)), (vec!["own".into()], vec![]));
        assert_eq!(verified.check("own", || Err("never asked")), Ok(()));
    }
}
