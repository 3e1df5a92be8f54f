//! Locking that outlives a panic, and waking of those who wait for an append.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Locks. A poisoned lock is taken all the same: a panic ends one connection, not the broker, and no state here is
/// left half-changed across a call that can panic.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One waiting request: it sleeps until one of the partitions it asked for has grown.
#[derive(Default)]
pub(crate) struct Waiter {
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Waiter {
    pub(crate) fn wake(&self) {
        *lock(&self.woken) = true;
        self.wake.notify_one();
    }

    /// Sleeps until woken, at most `patience`. A wake before the sleep is not lost.
    pub(crate) fn sleep(&self, patience: Duration) {
        let woken = lock(&self.woken);
        let (mut woken, _) =
            self.wake.wait_timeout_while(woken, patience, |woken| !*woken).unwrap_or_else(PoisonError::into_inner);
        *woken = false;
    }
}

/// Those who wait for one partition.
#[derive(Default)]
pub(crate) struct Waiters {
    list: Mutex<Vec<Arc<Waiter>>>,
}

impl Waiters {
    pub(crate) fn add(&self, waiter: &Arc<Waiter>) {
        lock(&self.list).push(Arc::clone(waiter));
    }

    pub(crate) fn remove(&self, waiter: &Arc<Waiter>) {
        lock(&self.list).retain(|other| !Arc::ptr_eq(other, waiter));
    }

    pub(crate) fn wake_all(&self) {
        for waiter in lock(&self.list).iter() {
            waiter.wake();
        }
    }
}
