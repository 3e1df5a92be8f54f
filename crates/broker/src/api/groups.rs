//! Consumer groups: FindCoordinator (versions 0 to 4), JoinGroup (0 to 9), SyncGroup (0 to 5), Heartbeat (0 to 4),
//! LeaveGroup (0 to 5), OffsetCommit (2 to 8), OffsetFetch (1 to 8).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator as Place;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse, ResponseKind, SyncGroupRequest, SyncGroupResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{Caller, NODE, NONE, code};
use crate::batch::LEADER_EPOCH;
use crate::clock::now_ms;
use crate::committed::{CommitFault, Committer, Entry, Position};
use crate::coordinator::{GroupName, JoinEnd, MEMBER_BYTES_MAX, SyncEnd};
use crate::group::{Application, Fault};
use crate::shared::Shared;

/// What a key in FindCoordinator names: a group, or a transaction.
const KEY_TYPES: [i8; 2] = [0, 1];
/// Session timeouts in ms, from a test's to Apache Kafka's largest.
const SESSION_TIMEOUT_MS: std::ops::RangeInclusive<i32> = 100..=1_800_000;
/// The longest name of a group: all of them are kept in memory.
const GROUP_ID_BYTES_MAX: usize = 255;
/// The longest client id that is kept of a member.
const CLIENT_ID_CHARS_MAX: usize = 255;
/// Assignors of one member; two members are compared by all of theirs.
const PROTOCOLS_MAX: usize = 16;
/// The longest metadata of a committed offset, Apache Kafka's default (`offset.metadata.max.bytes`).
const METADATA_BYTES_MAX: usize = 4096;
/// The longest round, whatever `max.poll.interval.ms` says; Apache Kafka has no bound.
const REBALANCE_TIMEOUT_MS_MAX: i32 = 3_600_000;

fn fault_code(fault: Fault) -> i16 {
    code(match fault {
        Fault::UnknownMember => ResponseError::UnknownMemberId,
        Fault::IllegalGeneration => ResponseError::IllegalGeneration,
        Fault::RebalanceInProgress => ResponseError::RebalanceInProgress,
        Fault::InconsistentProtocol => ResponseError::InconsistentGroupProtocol,
        Fault::GroupFull => ResponseError::GroupMaxSizeReached,
        Fault::TooLarge => ResponseError::InvalidRequest,
    })
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// What the broker keeps must not hold on to the request it came in.
fn keep(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn is_group_id(id: &str) -> bool {
    (1..=GROUP_ID_BYTES_MAX).contains(&id.len())
}

fn group_name<'a>(shared: &Shared, id: &'a str) -> GroupName<'a> {
    GroupName { id, is_reserved: shared.is_reserved(id) }
}

/// FindCoordinator. This node coordinates every group. It is also named for transactions, which it does not serve: the
/// InitProducerId that follows is answered UNSUPPORTED_VERSION, which clients hand to their users, while an error here
/// makes librdkafka ask again until it times out.
pub(super) fn find_coordinator(caller: &Caller<'_>, request: FindCoordinatorRequest) -> ResponseKind {
    let refusal = (!KEY_TYPES.contains(&request.key_type)).then(|| code(ResponseError::InvalidRequest));
    let error_code = refusal.unwrap_or(NONE);
    let response = if caller.version >= 4 {
        let place = |key| {
            Place::default()
                .with_key(key)
                .with_error_code(error_code)
                .with_node_id(NODE)
                .with_host(caller.host())
                .with_port(caller.port())
        };
        FindCoordinatorResponse::default().with_coordinators(request.coordinator_keys.into_iter().map(place).collect())
    } else {
        FindCoordinatorResponse::default()
            .with_error_code(error_code)
            .with_node_id(NODE)
            .with_host(caller.host())
            .with_port(caller.port())
    };
    ResponseKind::FindCoordinator(response)
}

/// JoinGroup. Returns when the round's joining phase is over.
pub(super) fn join(shared: &Shared, caller: &Caller<'_>, request: JoinGroupRequest) -> ResponseKind {
    let refuse = |error_code: i16, member_id: &str| {
        let response = JoinGroupResponse::default()
            .with_error_code(error_code)
            .with_generation_id(-1)
            .with_protocol_name(Some(StrBytes::default()))
            .with_member_id(text(member_id));
        ResponseKind::JoinGroup(response)
    };
    if !is_group_id(&request.group_id) {
        return refuse(code(ResponseError::InvalidGroupId), &request.member_id);
    }
    // Before any of it is copied.
    let metadata_bytes: usize = request.protocols.iter().map(|protocol| protocol.metadata.len()).sum();
    if request.protocols.len() > PROTOCOLS_MAX || metadata_bytes > MEMBER_BYTES_MAX {
        return refuse(fault_code(Fault::TooLarge), &request.member_id);
    }
    if !SESSION_TIMEOUT_MS.contains(&request.session_timeout_ms) {
        return refuse(code(ResponseError::InvalidSessionTimeout), &request.member_id);
    }
    let application = application(caller, &request);
    let name = group_name(shared, &request.group_id);
    let end = shared.coordinator.join(name, application, || shared.is_stopping() || (caller.is_gone)());
    let round = match end {
        JoinEnd::Joined(round) => round,
        JoinEnd::Return(id) => return refuse(code(ResponseError::MemberIdRequired), &id),
        JoinEnd::Refused(fault) => return refuse(fault_code(fault), &request.member_id),
        JoinEnd::Stopping => {
            return refuse(code(ResponseError::CoordinatorNotAvailable), &request.member_id);
        }
    };
    let members = round.members.iter().map(|(id, instance_id, metadata)| {
        let member = JoinGroupResponseMember::default().with_member_id(text(id)).with_metadata(metadata.clone());
        match instance_id {
            Some(instance_id) if caller.version >= 5 => member.with_group_instance_id(Some(text(instance_id))),
            Some(_) | None => member,
        }
    });
    let response = JoinGroupResponse::default()
        .with_error_code(NONE)
        .with_generation_id(round.generation)
        .with_protocol_type(Some(text(&round.protocol_type)))
        .with_protocol_name(Some(text(&round.protocol)))
        .with_leader(text(&round.leader))
        .with_member_id(text(&round.member_id))
        .with_members(members.collect());
    ResponseKind::JoinGroup(response)
}

fn application(caller: &Caller<'_>, request: &JoinGroupRequest) -> Application {
    let milliseconds = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let rebalance_ms = if caller.version >= 1 {
        request.rebalance_timeout_ms.min(REBALANCE_TIMEOUT_MS_MAX)
    } else {
        request.session_timeout_ms
    };
    let client_id: String = caller.client_id.chars().take(CLIENT_ID_CHARS_MAX).collect();
    let fresh_id = format!("{client_id}-{}", Uuid::new_v4());
    let protocols = request.protocols.iter();
    Application {
        member_id: request.member_id.to_string(),
        fresh_id,
        must_return: caller.version >= 4,
        instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
        client_id,
        client_host: format!("/{}", caller.peer.ip()),
        session_timeout: milliseconds(request.session_timeout_ms),
        rebalance_timeout: milliseconds(rebalance_ms),
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.map(|protocol| (protocol.name.to_string(), keep(&protocol.metadata))).collect(),
        grant: None,
    }
}

/// SyncGroup. Returns when the leader has sent the assignments.
pub(super) fn sync(shared: &Shared, caller: &Caller<'_>, request: SyncGroupRequest) -> ResponseKind {
    let assignments = request.assignments.iter().map(|one| (one.member_id.to_string(), one.assignment.clone()));
    let name = group_name(shared, &request.group_id);
    let is_over = || shared.is_stopping() || (caller.is_gone)();
    let (member_id, generation) = (&request.member_id, request.generation_id);
    let end = shared.coordinator.sync(name, member_id, generation, assignments.collect(), is_over);
    let response = SyncGroupResponse::default();
    let response = match end {
        SyncEnd::Assigned { assignment, protocol_type, protocol } => {
            let response = response.with_assignment(assignment);
            if caller.version >= 5 {
                response.with_protocol_type(Some(text(&protocol_type))).with_protocol_name(Some(text(&protocol)))
            } else {
                response
            }
        }
        SyncEnd::Refused(fault) => response.with_error_code(fault_code(fault)),
        SyncEnd::Stopping => response.with_error_code(code(ResponseError::CoordinatorNotAvailable)),
    };
    ResponseKind::SyncGroup(response)
}

/// Heartbeat.
pub(super) fn heartbeat(shared: &Shared, request: &HeartbeatRequest) -> ResponseKind {
    let beat = shared
        .coordinator
        .with(&request.group_id, |group| group.heartbeat(&request.member_id, request.generation_id, Instant::now()));
    let error_code = match beat {
        Some(Ok(())) => NONE,
        Some(Err(fault)) => fault_code(fault),
        None => code(ResponseError::UnknownMemberId),
    };
    ResponseKind::Heartbeat(HeartbeatResponse::default().with_error_code(error_code))
}

/// LeaveGroup. From version 3 on several members at once, each with its own error.
pub(super) fn leave(shared: &Shared, caller: &Caller<'_>, request: LeaveGroupRequest) -> ResponseKind {
    let leave_one = |member_id: &str| {
        let left = shared.coordinator.with(&request.group_id, |group| group.leave(member_id, Instant::now()));
        match left {
            Some(Ok(())) => NONE,
            Some(Err(fault)) => fault_code(fault),
            None => code(ResponseError::UnknownMemberId),
        }
    };
    let response = if caller.version >= 3 {
        let members = request.members.iter().map(|member| {
            MemberResponse::default()
                .with_member_id(member.member_id.clone())
                .with_group_instance_id(member.group_instance_id.clone())
                .with_error_code(leave_one(&member.member_id))
        });
        LeaveGroupResponse::default().with_members(members.collect())
    } else {
        LeaveGroupResponse::default().with_error_code(leave_one(&request.member_id))
    };
    ResponseKind::LeaveGroup(response)
}

/// OffsetCommit. The offsets of one request are one write, in the page cache when it is answered.
pub(super) fn commit(shared: &Shared, request: OffsetCommitRequest) -> ResponseKind {
    let generation = request.generation_id_or_member_epoch;
    let allowed = shared
        .coordinator
        .with(&request.group_id, |group| group.may_commit(&request.member_id, generation, Instant::now()));
    let refusal = match allowed {
        _ if !is_group_id(&request.group_id) => Some(code(ResponseError::InvalidGroupId)),
        Some(Err(fault)) => Some(fault_code(fault)),
        // A group without members: only a consumer that assigns itself may commit.
        None if generation >= 0 => Some(code(ResponseError::IllegalGeneration)),
        Some(Ok(())) | None => None,
    };
    let now_ms = now_ms();
    // Of a partition that is named more than once the last counts.
    let mut entries = BTreeMap::new();
    let mut answers = Vec::new();
    for topic in &request.topics {
        let known = shared.catalogue.topic(&topic.name);
        for partition in &topic.partitions {
            let exists = known.as_deref().is_some_and(|known| known.partition(partition.partition_index).is_some());
            let metadata = partition.committed_metadata.as_ref().map_or("", |metadata| metadata.as_str());
            let error_code = match refusal {
                Some(error_code) => error_code,
                None if !exists => code(ResponseError::UnknownTopicOrPartition),
                None if metadata.len() > METADATA_BYTES_MAX => code(ResponseError::OffsetMetadataTooLarge),
                None => {
                    let position = Position {
                        offset: partition.committed_offset,
                        leader_epoch: partition.committed_leader_epoch,
                        metadata: metadata.to_owned(),
                        time_ms: now_ms,
                    };
                    entries.insert((topic.name.as_str(), partition.partition_index), position);
                    NONE
                }
            };
            answers.push(error_code);
        }
    }
    let entry = |((topic, partition), position): ((&str, i32), Position)| Entry {
        group: request.group_id.to_string(),
        topic: topic.to_owned(),
        partition,
        position: Some(position),
    };
    let entries: Vec<Entry> = entries.into_iter().map(entry).collect();
    let committer = Committer {
        group: &request.group_id,
        is_reserved: shared.is_reserved(&request.group_id),
        now_ms,
        has_members: &|group| shared.coordinator.has_members(group),
    };
    let committed = if entries.is_empty() { Ok(()) } else { shared.committed.commit(&committer, &entries) };
    if let Err(fault) = committed {
        let refused = code(match fault {
            CommitFault::Disk => ResponseError::KafkaStorageError,
            CommitFault::Full => ResponseError::InvalidCommitOffsetSize,
        });
        for answer in answers.iter_mut().filter(|answer| **answer == NONE) {
            *answer = refused;
        }
    }
    let mut answers = answers.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().zip(answers.by_ref());
        let partitions = partitions.map(|(partition, error_code)| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(error_code)
        });
        OffsetCommitResponseTopic::default().with_partitions(partitions.collect()).with_name(topic.name)
    });
    ResponseKind::OffsetCommit(OffsetCommitResponse::default().with_topics(topics.collect()))
}

/// One partition's position as OffsetFetch answers it: offset −1 when there is none.
struct Answered {
    partition: i32,
    offset: i64,
    metadata: StrBytes,
}

/// The positions of a group: those asked for, or all when `asked` is `None`.
fn positions(
    shared: &Shared,
    group: &str,
    asked: Option<Vec<(TopicName, Vec<i32>)>>,
) -> Vec<(TopicName, Vec<Answered>)> {
    let answer = |partition: i32, position: Option<Position>| Answered {
        partition,
        offset: position.as_ref().map_or(-1, |position| position.offset),
        metadata: position.map(|position| StrBytes::from_string(position.metadata)).unwrap_or_default(),
    };
    if let Some(asked) = asked {
        // A partition that is named again is not answered again: its metadata would be multiplied.
        let mut seen = BTreeSet::new();
        let mut one = |(topic, mut partitions): (TopicName, Vec<i32>)| {
            partitions.retain(|partition| seen.insert((topic.clone(), *partition)));
            let answers = partitions.into_iter().map(|partition| {
                let position = shared.committed.position(group, &topic, partition);
                answer(partition, position)
            });
            let answers = answers.collect();
            (topic, answers)
        };
        return asked.into_iter().map(&mut one).collect();
    }
    let mut topics: Vec<(TopicName, Vec<Answered>)> = Vec::new();
    for ((topic, partition), position) in shared.committed.positions(group) {
        let answer = answer(partition, Some(position));
        match topics.last_mut() {
            Some((last, answers)) if last.as_str() == topic => answers.push(answer),
            Some(_) | None => {
                topics.push((TopicName(StrBytes::from_string(topic)), vec![answer]));
            }
        }
    }
    topics
}

/// OffsetFetch. From version 8 on several groups at once, each answered once.
pub(super) fn fetch_offsets(shared: &Shared, caller: &Caller<'_>, request: OffsetFetchRequest) -> ResponseKind {
    if caller.version < 8 {
        let asked = request.topics.map(|topics| {
            let pair = topics.into_iter().map(|topic| (topic.name, topic.partition_indexes));
            pair.collect()
        });
        // Before version 2 "all" could not be said.
        let asked = if caller.version < 2 { Some(asked.unwrap_or_default()) } else { asked };
        let topics = positions(shared, &request.group_id, asked);
        let topics = topics.into_iter().map(|(name, answers)| {
            let partitions = answers.into_iter().map(|answer| {
                let partition = OffsetFetchResponsePartition::default()
                    .with_partition_index(answer.partition)
                    .with_committed_offset(answer.offset)
                    .with_metadata(Some(answer.metadata));
                if caller.version >= 5 && answer.offset >= 0 {
                    partition.with_committed_leader_epoch(LEADER_EPOCH)
                } else {
                    partition
                }
            });
            OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
        });
        let response = OffsetFetchResponse::default().with_topics(topics.collect());
        return ResponseKind::OffsetFetch(response);
    }
    let mut seen = BTreeSet::new();
    let groups = request.groups.into_iter().filter(|group| seen.insert(group.group_id.clone())).map(|group| {
        let asked = group.topics.map(|topics| {
            let pair = topics.into_iter().map(|topic| (topic.name, topic.partition_indexes));
            pair.collect()
        });
        let topics = positions(shared, &group.group_id, asked);
        let topics = topics.into_iter().map(|(name, answers)| {
            let partitions = answers.into_iter().map(|answer| {
                OffsetFetchResponsePartitions::default()
                    .with_partition_index(answer.partition)
                    .with_committed_offset(answer.offset)
                    .with_committed_leader_epoch(if answer.offset >= 0 { LEADER_EPOCH } else { -1 })
                    .with_metadata(Some(answer.metadata))
            });
            OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.collect())
        });
        OffsetFetchResponseGroup::default().with_topics(topics.collect()).with_group_id(group.group_id)
    });
    ResponseKind::OffsetFetch(OffsetFetchResponse::default().with_groups(groups.collect()))
}
