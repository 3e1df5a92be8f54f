//! Which files this process knows to be the ones that were written: what it wrote itself, and what it has read whole once and
//! found to have its digest. A file that is not is looked at again each time, so that a restored one is taken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// About 200 bytes a file.
#[derive(Debug, Default)]
pub struct Verified {
    files: Mutex<HashMap<String, Arc<Mutex<bool>>>>,
}

impl Verified {
    /// This process has written the file.
    pub fn add(&self, key: &str) {
        let file = self.file(key);
        *file.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Runs `check` unless the file is known already. Who asks while another checks the same file waits for it.
    pub fn check<E>(&self, key: &str, check: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let file = self.file(key);
        let mut is_known = file.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_known {
            check()?;
            *is_known = true;
        }
        Ok(())
    }

    /// For another process of this machine, which need not read them again.
    pub fn known(&self) -> Vec<String> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is being checked is not known yet; nobody waits for it.
        let known = |file: &Arc<Mutex<bool>>| file.try_lock().is_ok_and(|is_known| *is_known);
        files.iter().filter(|(_, file)| known(file)).map(|(key, _)| key.clone()).collect()
    }

    fn file(&self, key: &str) -> Arc<Mutex<bool>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        match files.get(key) {
            Some(file) => Arc::clone(file),
            None => Arc::clone(files.entry(key.to_owned()).or_default()),
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
        verified.add("own");
        assert!(verified.check("other", || Err("torn")).is_err());
        let mut known = verified.known();
        known.sort();
        assert_eq!(known, ["own", "part"]);
        assert_eq!(verified.check("own", || Err("never asked")), Ok(()));
    }
}
