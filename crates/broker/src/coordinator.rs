//! All consumer groups, and the waiting that their rounds ask for.
//!
//! Fence: what a group does is `group`'s; here are only the table, the locks and the sleeping.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::budget::{Budget, Grant};
use crate::group::{Application, Fault, GROUP_BYTES_MAX, Group, JoinStep, Round};
use crate::locks::lock;

/// Groups with members at one time.
const GROUPS_MAX: usize = 1000;
/// What one member says of itself, for all assignors together.
pub(crate) const MEMBER_BYTES_MAX: usize = 1024 * 1024;
/// What the members of all groups say of themselves and are assigned; the reserved group has as much again for itself.
const GROUPS_BYTES_MAX: usize = 64 * 1024 * 1024;
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
    memory: Arc<Budget>,
    reserved_memory: Arc<Budget>,
}

/// A group as a request names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupName<'a> {
    pub(crate) id: &'a str,
    /// It has a place and memory of its own.
    pub(crate) is_reserved: bool,
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
        let budget = || Budget::new(GROUPS_BYTES_MAX);
        Self { groups: Mutex::new(BTreeMap::new()), initial_delay, memory: budget(), reserved_memory: budget() }
    }

    /// Takes memory for what a group keeps; `None`: there is none left.
    fn take(&self, name: GroupName<'_>, bytes: usize) -> Option<Grant> {
        let budget = if name.is_reserved { &self.reserved_memory } else { &self.memory };
        let mut grant = budget.grant();
        grant.grow(bytes, Duration::ZERO).then_some(grant)
    }

    fn cell(&self, group_id: &str) -> Option<Arc<Cell>> {
        lock(&self.groups).get(group_id).cloned()
    }

    fn cell_or_new(&self, name: GroupName<'_>) -> Option<Arc<Cell>> {
        let group_id = name.id;
        let mut groups = lock(&self.groups);
        if let Some(cell) = groups.get(group_id) {
            return Some(Arc::clone(cell));
        }
        if groups.len() >= GROUPS_MAX && !name.is_reserved {
            return None;
        }
        let cell = Arc::new(Cell { group: Mutex::new(Group::new()), changed: Condvar::new() });
        groups.insert(group_id.to_owned(), Arc::clone(&cell));
        Some(cell)
    }

    /// JoinGroup; returns when the joining phase is over.
    pub(crate) fn join(
        &self,
        name: GroupName<'_>,
        mut application: Application,
        is_stopping: impl Fn() -> bool,
    ) -> JoinEnd {
        let bytes = application.bytes();
        if bytes > MEMBER_BYTES_MAX {
            return JoinEnd::Refused(Fault::TooLarge);
        }
        let Some(grant) = self.take(name, bytes) else {
            return JoinEnd::Refused(Fault::GroupFull);
        };
        application.grant = Some(Arc::new(grant));
        let Some(cell) = self.cell_or_new(name) else {
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
        name: GroupName<'_>,
        member_id: &str,
        generation: i32,
        assignments: Vec<(String, Bytes)>,
        is_stopping: impl Fn() -> bool,
    ) -> SyncEnd {
        let Some(cell) = self.cell(name.id) else {
            return SyncEnd::Refused(Fault::UnknownMember);
        };
        let bytes: usize = assignments.iter().map(|(id, assignment)| id.len() + assignment.len()).sum();
        if bytes > GROUP_BYTES_MAX {
            return SyncEnd::Refused(Fault::TooLarge);
        }
        let Some(grant) = self.take(name, bytes) else {
            return SyncEnd::Refused(Fault::GroupFull);
        };
        let assignments = assignments.iter().map(|(id, assignment)| (id.clone(), Bytes::copy_from_slice(assignment)));
        let mut group = lock(&cell.group);
        let mut step = group.sync(member_id, generation, (assignments, Some(grant)), Instant::now());
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

    pub(crate) fn has_members(&self, group_id: &str) -> bool {
        self.cell(group_id).is_some_and(|cell| !lock(&cell.group).is_vacant())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn application(id: &str, metadata_bytes: usize) -> Application {
        Application {
            member_id: String::new(),
            fresh_id: id.to_owned(),
            must_return: true,
            instance_id: None,
            client_id: id.to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(10),
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), Bytes::from(vec![0; metadata_bytes]))],
            grant: None,
        }
    }

    fn is_full(coordinator: &Coordinator, id: &str, is_reserved: bool, bytes: usize) -> bool {
        match coordinator.join(GroupName { id, is_reserved }, application("m", bytes), || true) {
            JoinEnd::Return(_) => false,
            JoinEnd::Refused(Fault::GroupFull) => true,
            JoinEnd::Refused(fault) => panic!("{fault:?}"),
            JoinEnd::Joined(_) | JoinEnd::Stopping => panic!("joined"),
        }
    }

    #[test]
    fn groups_and_their_memory_are_bounded_and_the_reserved_group_always_has_its_place() {
        let many = Coordinator::new(Duration::ZERO);
        let refused = (0..GROUPS_MAX + 5).filter(|index| is_full(&many, &format!("g{index}"), false, 10)).count();
        assert_eq!(refused, 5);
        assert!(!is_full(&many, "ours", true, 10));
        let large = Coordinator::new(Duration::ZERO);
        let taken = (0..100).filter(|index| !is_full(&large, &format!("g{index}"), false, 1_000_000)).count();
        assert_eq!(taken, GROUPS_BYTES_MAX / 1_001_064);
        assert!(is_full(&large, "g0", false, 1_000_000));
        assert!(!is_full(&large, "ours", true, 1_000_000));
        let end = large.join(GroupName { id: "g0", is_reserved: false }, application("m", MEMBER_BYTES_MAX), || true);
        assert!(matches!(end, JoinEnd::Refused(Fault::TooLarge)));
        // Who does not come back gives the memory back.
        large.tick(Instant::now() + Duration::from_secs(11));
        assert!(!is_full(&large, "g0", false, 1_000_000));
    }
}
