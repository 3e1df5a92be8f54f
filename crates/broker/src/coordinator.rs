//! All consumer groups, and the waiting that their rounds ask for.
//!
//! Fence: what a group does is `group`'s; here are only the table, the locks and the sleeping.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::group::{Application, Fault, Group, JoinStep, Round};
use crate::locks::lock;

/// Groups with members at one time.
const GROUPS_MAX: usize = 1000;
/// The longest sleep between two looks at a stop.
const LOOK: Duration = Duration::from_secs(1);

struct Cell {
    group: Mutex<Group>,
    changed: Condvar,
}

/// The group coordinator.
pub(crate) struct Coordinator {
    groups: Mutex<BTreeMap<String, Arc<Cell>>>,
    initial_delay: Duration,
}

/// How a join ended.
pub(crate) enum JoinEnd {
    Joined(Round),
    Return(String),
    Refused(Fault),
    /// The broker stops.
    Stopping,
}

/// How a sync ended.
pub(crate) enum SyncEnd {
    Assigned { assignment: Bytes, protocol_type: String, protocol: String },
    Refused(Fault),
    Stopping,
}

impl Coordinator {
    pub(crate) fn new(initial_delay: Duration) -> Self {
        Self { groups: Mutex::new(BTreeMap::new()), initial_delay }
    }

    fn cell(&self, group_id: &str) -> Option<Arc<Cell>> {
        lock(&self.groups).get(group_id).cloned()
    }

    fn cell_or_new(&self, group_id: &str) -> Option<Arc<Cell>> {
        let mut groups = lock(&self.groups);
        if let Some(cell) = groups.get(group_id) {
            return Some(Arc::clone(cell));
        }
        if groups.len() >= GROUPS_MAX {
            return None;
        }
        let cell = Arc::new(Cell { group: Mutex::new(Group::new()), changed: Condvar::new() });
        groups.insert(group_id.to_owned(), Arc::clone(&cell));
        Some(cell)
    }

    /// JoinGroup; returns when the joining phase is over.
    pub(crate) fn join(&self, group_id: &str, application: Application, is_stopping: impl Fn() -> bool) -> JoinEnd {
        let Some(cell) = self.cell_or_new(group_id) else {
            return JoinEnd::Refused(Fault::GroupFull);
        };
        let mut group = lock(&cell.group);
        let step = group.join(application, Instant::now(), self.initial_delay);
        cell.changed.notify_all();
        let (member_id, generation) = match step {
            Err(fault) => return JoinEnd::Refused(fault),
            Ok(JoinStep::Done(round)) => return JoinEnd::Joined(round),
            Ok(JoinStep::Return(member_id)) => return JoinEnd::Return(member_id),
            Ok(JoinStep::Wait { member_id, generation }) => (member_id, generation),
        };
        loop {
            if let Some(end) = group.round_after(&member_id, generation) {
                return end.map_or_else(JoinEnd::Refused, JoinEnd::Joined);
            }
            if is_stopping() {
                return JoinEnd::Stopping;
            }
            let now = Instant::now();
            let due = group.next_deadline().unwrap_or(now + LOOK);
            let rest = due.saturating_duration_since(now).min(LOOK);
            group = cell.changed.wait_timeout(group, rest).unwrap_or_else(PoisonError::into_inner).0;
            if group.advance(Instant::now()) {
                cell.changed.notify_all();
            }
        }
    }

    /// SyncGroup; returns when the leader has assigned.
    pub(crate) fn sync(
        &self,
        group_id: &str,
        member_id: &str,
        generation: i32,
        assignments: Vec<(String, Bytes)>,
        is_stopping: impl Fn() -> bool,
    ) -> SyncEnd {
        let Some(cell) = self.cell(group_id) else {
            return SyncEnd::Refused(Fault::UnknownMember);
        };
        let mut group = lock(&cell.group);
        let mut step = group.sync(member_id, generation, assignments, Instant::now());
        cell.changed.notify_all();
        loop {
            match step {
                Err(fault) => return SyncEnd::Refused(fault),
                Ok(Some(assignment)) => {
                    return SyncEnd::Assigned {
                        assignment,
                        protocol_type: group.protocol_type.clone(),
                        protocol: group.protocol.clone(),
                    };
                }
                Ok(None) if is_stopping() => return SyncEnd::Stopping,
                Ok(None) => {}
            }
            group = cell.changed.wait_timeout(group, LOOK).unwrap_or_else(PoisonError::into_inner).0;
            step = group.assignment(member_id, generation);
        }
    }

    /// Asks or changes a group that exists; whoever waits in it looks again.
    pub(crate) fn with<T>(&self, group_id: &str, ask: impl FnOnce(&mut Group) -> T) -> Option<T> {
        let cell = self.cell(group_id)?;
        let answer = ask(&mut lock(&cell.group));
        cell.changed.notify_all();
        Some(answer)
    }

    /// Names of the groups that have members, or had some a moment ago.
    pub(crate) fn names(&self) -> Vec<String> {
        lock(&self.groups).keys().cloned().collect()
    }

    /// Moves all groups on by the clock, and drops the vacant ones that nobody holds.
    pub(crate) fn tick(&self, now: Instant) {
        let mut groups = lock(&self.groups);
        groups.retain(|_, cell| {
            let mut group = lock(&cell.group);
            if group.advance(now) {
                cell.changed.notify_all();
            }
            // A thread gets hold of a cell only under the table's lock, so a count of one stays one.
            !(group.is_vacant() && Arc::strong_count(cell) == 1)
        });
    }

    /// Lets all waiting requests see that the broker stops.
    pub(crate) fn wake_all(&self) {
        for cell in lock(&self.groups).values() {
            let _group = lock(&cell.group);
            cell.changed.notify_all();
        }
    }
}
