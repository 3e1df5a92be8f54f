//! A question under way, as it is ended from outside.

use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::talk::kill;

/// One question under way, to be ended from outside.
#[derive(Default)]
pub(super) struct Watch(Mutex<Watched>);

#[derive(Default)]
struct Watched {
    child: Option<Arc<Mutex<Child>>>,
    ended: Option<Ended>,
}

/// Why the server ended a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    NotReady,
    Late,
    /// Nobody waits any more.
    Left,
    Stopped,
}

impl Watch {
    fn held(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False: it was ended before it began.
    pub(super) fn attach(&self, child: &Arc<Mutex<Child>>) -> bool {
        let mut held = self.held();
        held.child = Some(Arc::clone(child));
        held.ended.is_none()
    }

    pub(super) fn detach(&self) {
        self.held().child = None;
    }

    pub(super) fn end(&self, why: Ended) {
        let mut held = self.held();
        held.ended.get_or_insert(why);
        if let Some(child) = held.child.take() {
            kill(&mut child.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    pub(super) fn ended(&self) -> Option<Ended> {
        self.held().ended
    }
}

/// Ends the question when whoever asked it is gone.
pub(super) struct Asker(pub Arc<Watch>);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.end(Ended::Left);
    }
}
