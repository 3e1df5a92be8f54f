//! A bound on memory: who wants bytes takes them here first and waits while there are none.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::locks::lock;

/// So many bytes, shared by all connections.
pub(crate) struct Budget {
    limit_bytes: usize,
    used_bytes: Mutex<usize>,
    freed: Condvar,
}

/// Bytes taken from a budget, given back when dropped.
pub(crate) struct Grant {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { limit_bytes, used_bytes: Mutex::new(0), freed: Condvar::new() })
    }

    /// An empty grant, to be grown.
    pub(crate) fn grant(self: &Arc<Self>) -> Grant {
        Grant { budget: Arc::clone(self), bytes: 0 }
    }
}

impl Grant {
    /// What it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back all but `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let back = self.bytes.saturating_sub(bytes);
        self.bytes -= back;
        *lock(&self.budget.used_bytes) -= back;
        self.budget.freed.notify_all();
    }

    /// Takes `bytes` more, waiting up to `patience` for others to give back. False: there were none, nothing taken.
    pub(crate) fn grow(&mut self, bytes: usize, patience: Duration) -> bool {
        let budget = &self.budget;
        let used = lock(&budget.used_bytes);
        let full = |used: &mut usize| used.saturating_add(bytes) > budget.limit_bytes;
        let (mut used, timeout) =
            budget.freed.wait_timeout_while(used, patience, full).unwrap_or_else(std::sync::PoisonError::into_inner);
        if timeout.timed_out() {
            return false;
        }
        *used += bytes;
        self.bytes += bytes;
        true
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} bytes", self.bytes)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        *lock(&self.budget.used_bytes) -= self.bytes;
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_budget_refuses_until_bytes_come_back() {
        let budget = Budget::new(10);
        let mut first = budget.grant();
        assert!(first.grow(8, Duration::ZERO));
        let mut second = budget.grant();
        assert!(!second.grow(3, Duration::from_millis(1)));
        first.shrink_to(7);
        assert!(second.grow(3, Duration::ZERO));
        assert!(!second.grow(1, Duration::ZERO));
        drop(first);
        assert!(second.grow(7, Duration::ZERO));
    }
}
