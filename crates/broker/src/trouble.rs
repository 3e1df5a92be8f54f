//! Says once that something fails which is tried again and again, and once that it works again.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether it fails just now.
#[derive(Debug, Default)]
pub(crate) struct Trouble(AtomicBool);

impl Trouble {
    /// It failed. True: it worked before, so this is to be said.
    pub(crate) fn begins(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }

    /// It worked. True: it failed before, so this is to be said.
    pub(crate) fn ends(&self) -> bool {
        // Almost always there was no trouble, and a load is cheaper than a swap.
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_failure_and_the_first_success_after_it_are_said() {
        let trouble = Trouble::default();
        assert!(!trouble.ends());
        assert!(trouble.begins());
        assert!(!trouble.begins());
        assert!(trouble.ends());
        assert!(!trouble.ends());
        assert!(trouble.begins());
    }
}
