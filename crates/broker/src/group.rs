//! A consumer group as a state machine: members join a round, its leader assigns, all get their part.
//!
//! Pure: the clock comes in, nobody waits here (`coordinator` does). Assignments are opaque, so every assignor works,
//! cooperative-sticky included. Fence: no static membership; a `group.instance.id` is kept for display only.
//!
//! A round: *joining* until all known members have joined or the deadline has passed (who has not is out), then
//! *syncing* until the leader has sent the assignments, then *stable* until somebody joins, leaves or falls silent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::budget::Grant;

/// Members of one group; a client beyond gets GROUP_MAX_SIZE_REACHED.
const MEMBERS_MAX: usize = 1000;
/// What the members of one group say of themselves, together, and what their leader assigns.
pub(crate) const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What is kept of a member beside its own words.
const MEMBER_BASE_BYTES: usize = 1024;

/// Why a member is refused. The protocol's errors of the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    UnknownMember,
    IllegalGeneration,
    RebalanceInProgress,
    InconsistentProtocol,
    GroupFull,
    /// One member says, or one leader assigns, more than is kept.
    TooLarge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Empty,
    Joining { not_before: Instant, deadline: Instant },
    Syncing,
    Stable,
}

/// What a client says of itself when it joins.
#[derive(Debug, Clone)]
pub(crate) struct Application {
    /// Empty at the first try.
    pub(crate) member_id: String,
    /// An id to use if it has none.
    pub(crate) fresh_id: String,
    /// Whether it must come back with its id before it is a member (JoinGroup version 4 and later, KIP-394).
    pub(crate) must_return: bool,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) protocol_type: String,
    /// Assignors by preference, each with the member's metadata for it.
    pub(crate) protocols: Vec<(String, Bytes)>,
    /// The memory that it takes, as long as it is kept.
    pub(crate) grant: Option<Arc<Grant>>,
}

impl Application {
    /// About what it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let protocols: usize = self.protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum();
        let texts = [&self.member_id, &self.fresh_id, &self.client_id, &self.client_host, &self.protocol_type];
        let texts: usize = texts.into_iter().chain(&self.instance_id).map(String::len).sum();
        MEMBER_BASE_BYTES + protocols + texts
    }
}

/// One member.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) application: Application,
    pub(crate) assignment: Bytes,
    expires: Instant,
    /// Waits for the end of the joining phase.
    joined: bool,
    /// Waits for its assignment.
    awaits_sync: bool,
    /// Order of arrival; the first is the leader.
    arrival: u64,
}

/// The end of a joining phase, as one member sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) member_id: String,
    /// For the leader only: id, instance id, metadata.
    pub(crate) members: Vec<(String, Option<String>, Bytes)>,
}

/// What a joining client gets at once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum JoinStep {
    Done(Round),
    /// MEMBER_ID_REQUIRED: come back with this id.
    Return(String),
    /// Ask [`Group::round_after`] until it answers.
    Wait {
        member_id: String,
        generation: i32,
    },
}

/// A consumer group.
#[derive(Debug)]
pub(crate) struct Group {
    phase: Phase,
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) members: BTreeMap<String, Member>,
    /// Ids given out that have not come back.
    pending: BTreeMap<String, Pending>,
    arrivals: u64,
    /// The memory of all assignments.
    assigned: Option<Grant>,
}

/// An id that was given out.
#[derive(Debug)]
struct Pending {
    expires: Instant,
    _grant: Option<Arc<Grant>>,
}

impl Group {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            pending: BTreeMap::new(),
            arrivals: 0,
            assigned: None,
        }
    }

    /// Apache Kafka's name of the state (DescribeGroups, ListGroups).
    pub(crate) fn state_name(&self) -> &'static str {
        match self.phase {
            Phase::Empty => "Empty",
            Phase::Joining { .. } => "PreparingRebalance",
            Phase::Syncing => "CompletingRebalance",
            Phase::Stable => "Stable",
        }
    }

    /// No members, and nobody on the way.
    pub(crate) fn is_vacant(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    /// JoinGroup. `initial_delay` is how long the first round of an empty group stays open.
    pub(crate) fn join(
        &mut self,
        application: Application,
        now: Instant,
        initial_delay: Duration,
    ) -> Result<JoinStep, Fault> {
        if !self.accepts(&application) {
            return Err(Fault::InconsistentProtocol);
        }
        let is_new = application.member_id.is_empty();
        let returns = self.pending.remove(&application.member_id).is_some();
        if !is_new && !returns && !self.members.contains_key(&application.member_id) {
            return Err(Fault::UnknownMember);
        }
        if (is_new || returns) && self.members.len() + self.pending.len() >= MEMBERS_MAX {
            return Err(Fault::GroupFull);
        }
        let others = self.members.iter().filter(|(id, _)| **id != application.member_id);
        let others: usize = others.map(|(_, member)| member.application.bytes()).sum();
        if others + application.bytes() > GROUP_BYTES_MAX {
            return Err(Fault::GroupFull);
        }
        if is_new && application.must_return {
            let id = application.fresh_id;
            let expires = now + application.session_timeout;
            self.pending.insert(id.clone(), Pending { expires, _grant: application.grant });
            return Ok(JoinStep::Return(id));
        }
        let member_id = if is_new { application.fresh_id.clone() } else { application.member_id.clone() };
        if let Some(round) = self.current_round(&member_id, &application) {
            self.touch(&member_id, now);
            return Ok(JoinStep::Done(round));
        }
        self.enrol(member_id.clone(), application, now);
        if !matches!(self.phase, Phase::Joining { .. }) {
            self.begin_round(now, initial_delay);
        }
        if let Some(member) = self.members.get_mut(&member_id) {
            member.joined = true;
        }
        let generation = self.generation;
        self.advance(now);
        Ok(JoinStep::Wait { member_id, generation })
    }

    /// Whether the client speaks the group's protocol type and an assignor that all members know.
    fn accepts(&self, application: &Application) -> bool {
        if application.protocols.is_empty() || application.protocol_type.is_empty() {
            return false;
        }
        let mut others =
            self.members.iter().filter(|(id, _)| **id != application.member_id).map(|(_, member)| member).peekable();
        if others.peek().is_none() {
            return true;
        }
        let others: Vec<&Member> = others.collect();
        self.protocol_type == application.protocol_type
            && application.protocols.iter().any(|(name, _)| others.iter().all(|other| other.knows(name)))
    }

    /// The round that stands, for a member that joins again and changes nothing: its answer was lost. A leader that
    /// joins again in a stable group wants a new round.
    fn current_round(&self, member_id: &str, application: &Application) -> Option<Round> {
        let member = self.members.get(member_id)?;
        let is_same = member.application.protocols == application.protocols;
        let stands = match self.phase {
            Phase::Syncing => is_same,
            Phase::Stable => is_same && self.leader != member_id,
            Phase::Empty | Phase::Joining { .. } => false,
        };
        stands.then(|| self.round_of(member_id))
    }

    fn enrol(&mut self, member_id: String, application: Application, now: Instant) {
        if self.members.is_empty() {
            self.protocol_type.clone_from(&application.protocol_type);
        }
        let expires = now + application.session_timeout;
        let arrival = match self.members.get(&member_id) {
            Some(member) => member.arrival,
            None => {
                self.arrivals += 1;
                self.arrivals
            }
        };
        let assignment = Bytes::new();
        let member = Member { application, assignment, expires, joined: false, awaits_sync: false, arrival };
        let old = self.members.insert(member_id.clone(), member);
        if let (Some(old), Some(member)) = (old, self.members.get_mut(&member_id)) {
            member.joined = old.joined;
        }
    }

    fn begin_round(&mut self, now: Instant, initial_delay: Duration) {
        let is_first = self.phase == Phase::Empty;
        let timeouts = self.members.values();
        let longest = timeouts.map(|member| member.application.rebalance_timeout).max();
        self.phase = Phase::Joining {
            not_before: if is_first { now + initial_delay } else { now },
            deadline: now + longest.unwrap_or_default().max(initial_delay),
        };
        for member in self.members.values_mut() {
            member.joined = false;
            if std::mem::take(&mut member.awaits_sync) {
                member.expires = now + member.application.session_timeout;
            }
        }
    }

    /// Moves on what the clock allows: removes who was silent for too long, ends the joining phase. True: something
    /// changed, those who wait should look again.
    pub(crate) fn advance(&mut self, now: Instant) -> bool {
        let known = (self.members.len(), self.pending.len());
        self.pending.retain(|_, pending| pending.expires > now);
        self.members.retain(|_, member| member.joined || member.awaits_sync || member.expires > now);
        let lost_members = self.members.len() < known.0;
        if lost_members {
            self.after_loss(now);
        }
        let ended = self.end_joining(now);
        ended || lost_members || self.pending.len() < known.1
    }

    /// After members have gone: an empty group, or a new round for the others.
    fn after_loss(&mut self, now: Instant) {
        if self.members.is_empty() && !matches!(self.phase, Phase::Empty) {
            self.phase = Phase::Empty;
            self.generation += 1;
            self.leader.clear();
            self.protocol.clear();
        } else if matches!(self.phase, Phase::Syncing | Phase::Stable) {
            self.begin_round(now, Duration::ZERO);
        }
    }

    fn end_joining(&mut self, now: Instant) -> bool {
        let Phase::Joining { not_before, deadline } = self.phase else {
            return false;
        };
        let all = self.pending.is_empty() && self.members.values().all(|member| member.joined);
        if now < not_before || (!all && now < deadline) {
            return false;
        }
        self.members.retain(|_, member| member.joined);
        if self.members.is_empty() {
            self.after_loss(now);
            return true;
        }
        self.generation += 1;
        if !self.members.contains_key(&self.leader) {
            let first = self.members.iter().min_by_key(|(_, member)| member.arrival);
            self.leader = first.map(|(id, _)| id.clone()).unwrap_or_default();
        }
        self.protocol = self.choose_protocol();
        self.phase = Phase::Syncing;
        for member in self.members.values_mut() {
            member.joined = false;
            member.assignment = Bytes::new();
            member.expires = now + member.application.session_timeout;
        }
        true
    }

    /// The assignor that all know and most prefer; the leader's order decides between equals.
    fn choose_protocol(&self) -> String {
        let Some(leader) = self.members.get(&self.leader) else {
            return String::new();
        };
        let common: Vec<&String> = leader
            .application
            .protocols
            .iter()
            .map(|(name, _)| name)
            .filter(|name| self.members.values().all(|member| member.knows(name)))
            .collect();
        let votes = |candidate: &String| {
            self.members
                .values()
                .filter(|member| {
                    let names = member.application.protocols.iter().map(|(name, _)| name);
                    names.into_iter().find(|name| common.contains(name)) == Some(candidate)
                })
                .count()
        };
        // `max_by_key` takes the last of equals, so the walk is backwards.
        let best = common.iter().rev().max_by_key(|name| votes(name));
        best.map(|name| (*name).clone()).unwrap_or_default()
    }

    /// The answer for a member that waits since `generation`: `None` while the phase lasts.
    pub(crate) fn round_after(&self, member_id: &str, generation: i32) -> Option<Result<Round, Fault>> {
        match self.members.get(member_id) {
            None => Some(Err(Fault::UnknownMember)),
            Some(_) if self.generation == generation => None,
            // It missed a round that ended, and waits in the next one already.
            Some(member) if member.joined => None,
            Some(_) => Some(Ok(self.round_of(member_id))),
        }
    }

    fn round_of(&self, member_id: &str) -> Round {
        let members = if member_id == self.leader {
            let describe = |(id, member): (&String, &Member)| {
                let instance_id = member.application.instance_id.clone();
                (id.clone(), instance_id, member.metadata(&self.protocol))
            };
            self.members.iter().map(describe).collect()
        } else {
            Vec::new()
        };
        Round {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member_id: member_id.to_owned(),
            members,
        }
    }

    /// SyncGroup. The leader brings everybody's assignment, and the memory that all of them take; the answer is this
    /// member's, `None` while it must wait.
    pub(crate) fn sync(
        &mut self,
        member_id: &str,
        generation: i32,
        (assignments, grant): (impl IntoIterator<Item = (String, Bytes)>, Option<Grant>),
        now: Instant,
    ) -> Result<Option<Bytes>, Fault> {
        self.check(member_id, generation)?;
        self.touch(member_id, now);
        if self.phase == Phase::Syncing && member_id == self.leader {
            for (id, assignment) in assignments {
                if let Some(member) = self.members.get_mut(&id) {
                    member.assignment = assignment;
                }
            }
            self.assigned = grant;
            self.phase = Phase::Stable;
            for member in self.members.values_mut() {
                member.awaits_sync = false;
                member.expires = now + member.application.session_timeout;
            }
        }
        if self.phase == Phase::Syncing
            && let Some(member) = self.members.get_mut(member_id)
        {
            member.awaits_sync = true;
        }
        self.assignment(member_id, generation)
    }

    /// The assignment of a member that waits for it: `None` while the leader has not sent it.
    pub(crate) fn assignment(&self, member_id: &str, generation: i32) -> Result<Option<Bytes>, Fault> {
        match (self.phase, self.members.get(member_id)) {
            (_, None) => Err(Fault::UnknownMember),
            (Phase::Joining { .. } | Phase::Empty, _) => Err(Fault::RebalanceInProgress),
            (Phase::Syncing | Phase::Stable, _) if self.generation != generation => Err(Fault::RebalanceInProgress),
            (Phase::Syncing, _) => Ok(None),
            (Phase::Stable, Some(member)) => Ok(Some(member.assignment.clone())),
        }
    }

    /// Heartbeat: keeps the session; REBALANCE_IN_PROGRESS asks the member to join again.
    pub(crate) fn heartbeat(&mut self, member_id: &str, generation: i32, now: Instant) -> Result<(), Fault> {
        self.check(member_id, generation)?;
        self.touch(member_id, now);
        match self.phase {
            Phase::Joining { .. } => Err(Fault::RebalanceInProgress),
            Phase::Empty | Phase::Syncing | Phase::Stable => Ok(()),
        }
    }

    /// LeaveGroup, for one member.
    pub(crate) fn leave(&mut self, member_id: &str, now: Instant) -> Result<(), Fault> {
        let was_pending = self.pending.remove(member_id).is_some();
        let was_member = self.members.remove(member_id).is_some();
        if was_member {
            self.after_loss(now);
        }
        self.advance(now);
        if was_member || was_pending { Ok(()) } else { Err(Fault::UnknownMember) }
    }

    /// OffsetCommit: from a member of this generation, or from anyone while the group has no members (a consumer that
    /// assigns itself). While the leader has not assigned yet, positions of the last round could be meant.
    pub(crate) fn may_commit(&mut self, member_id: &str, generation: i32, now: Instant) -> Result<(), Fault> {
        if self.members.is_empty() && generation < 0 {
            return Ok(());
        }
        self.check(member_id, generation)?;
        self.touch(member_id, now);
        match self.phase {
            Phase::Syncing => Err(Fault::RebalanceInProgress),
            Phase::Empty | Phase::Joining { .. } | Phase::Stable => Ok(()),
        }
    }

    /// When something is due by the clock alone.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let Phase::Joining { not_before, deadline } = self.phase else {
            return None;
        };
        let all = self.pending.is_empty() && self.members.values().all(|member| member.joined);
        Some(if all { not_before } else { deadline })
    }

    fn check(&self, member_id: &str, generation: i32) -> Result<(), Fault> {
        if !self.members.contains_key(member_id) {
            return Err(Fault::UnknownMember);
        }
        if generation != self.generation {
            return Err(Fault::IllegalGeneration);
        }
        Ok(())
    }

    fn touch(&mut self, member_id: &str, now: Instant) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.expires = now + member.application.session_timeout;
        }
    }
}

impl Member {
    fn knows(&self, protocol: &str) -> bool {
        let mut protocols = self.application.protocols.iter();
        protocols.any(|(name, _)| name == protocol)
    }

    /// What the member says of itself for an assignor.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let mut protocols = self.application.protocols.iter();
        protocols.find(|(name, _)| name == protocol).map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
