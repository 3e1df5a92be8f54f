//! What user interfaces and admin clients ask: DescribeGroups (versions 0 to 5), ListGroups (0 to 5), DeleteGroups
//! (0 to 2), OffsetDelete (0), DescribeLogDirs (1 to 3), DescribeCluster (0 to 1).

use std::collections::BTreeSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::offset_delete_request::OffsetDeleteRequestPartition;
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeClusterResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    DescribeLogDirsRequest, DescribeLogDirsResponse, GroupId, ListGroupsRequest, ListGroupsResponse,
    OffsetDeleteRequest, OffsetDeleteResponse, ResponseKind, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::{Caller, NODE, NONE, code};
use crate::group::Group;
use crate::shared::Shared;

/// The protocol of groups of consumers; a group without members has no other trace of it.
const CONSUMER: &str = "consumer";

fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// DescribeGroups. A group with committed offsets and no members is Empty, an unknown one Dead. One that is named again
/// is not described again.
pub(super) fn describe_groups(shared: &Shared, request: DescribeGroupsRequest) -> ResponseKind {
    let asked: BTreeSet<GroupId> = request.groups.into_iter().collect();
    let groups = asked.into_iter().map(|id| {
        let described = shared.coordinator.with(&id, |group| describe_group(group)).unwrap_or_else(|| {
            let known = shared.committed.has(&id);
            let (state, protocol) = if known { ("Empty", CONSUMER) } else { ("Dead", "") };
            DescribedGroup::default().with_group_state(text(state)).with_protocol_type(text(protocol))
        });
        described.with_group_id(id)
    });
    ResponseKind::DescribeGroups(DescribeGroupsResponse::default().with_groups(groups.collect()))
}

fn describe_group(group: &Group) -> DescribedGroup {
    let members = group.members.iter().map(|(id, member)| {
        DescribedGroupMember::default()
            .with_member_id(text(id.as_str()))
            .with_client_id(text(member.application.client_id.as_str()))
            .with_client_host(text(member.application.client_host.as_str()))
            .with_member_metadata(member.metadata(&group.protocol))
            .with_member_assignment(member.assignment.clone())
    });
    DescribedGroup::default()
        .with_group_state(text(group.state_name()))
        .with_protocol_type(text(group.protocol_type.as_str()))
        .with_protocol_data(text(group.protocol.as_str()))
        .with_members(members.collect())
}

/// ListGroups: those with members and those with committed offsets, filtered by state from version 4 on.
pub(super) fn list_groups(shared: &Shared, caller: &Caller<'_>, request: &ListGroupsRequest) -> ResponseKind {
    let mut names: BTreeSet<String> = shared.committed.groups().into_iter().collect();
    names.extend(shared.coordinator.names());
    let wants = |filter: &[StrBytes], value: &str| {
        filter.is_empty() || filter.iter().any(|one| one.eq_ignore_ascii_case(value))
    };
    let mut groups = Vec::new();
    for name in names {
        let (state, protocol_type) = shared
            .coordinator
            .with(&name, |group| (group.state_name(), group.protocol_type.clone()))
            .unwrap_or(("Empty", CONSUMER.to_owned()));
        if !wants(&request.states_filter, state) || !wants(&request.types_filter, "classic") {
            continue;
        }
        let group = ListedGroup::default().with_group_id(GroupId(text(name))).with_protocol_type(text(protocol_type));
        let group = if caller.version >= 4 { group.with_group_state(text(state)) } else { group };
        groups.push(if caller.version >= 5 { group.with_group_type(text("classic")) } else { group });
    }
    ResponseKind::ListGroups(ListGroupsResponse::default().with_groups(groups))
}

/// DeleteGroups: forgets the committed offsets of groups without members.
pub(super) fn delete_groups(shared: &Shared, request: DeleteGroupsRequest) -> ResponseKind {
    let check = |id: &GroupId| match shared.coordinator.with(id, |group| group.is_vacant()) {
        Some(false) => code(ResponseError::NonEmptyGroup),
        None if !shared.committed.has(id) => code(ResponseError::GroupIdNotFound),
        Some(true) | None => NONE,
    };
    let asked: Vec<(GroupId, i16)> = request.groups_names.into_iter().map(|id| (id.clone(), check(&id))).collect();
    let deleted: BTreeSet<&str> = asked.iter().filter(|(_, code)| *code == NONE).map(|(id, _)| id.as_str()).collect();
    let forgotten = shared.committed.forget(|group, _, _| deleted.contains(group));
    let storage = if forgotten { NONE } else { code(ResponseError::KafkaStorageError) };
    let results = asked.iter().map(|(id, error_code)| {
        let error_code = if *error_code == NONE { storage } else { *error_code };
        DeletableGroupResult::default().with_group_id(id.clone()).with_error_code(error_code)
    });
    ResponseKind::DeleteGroups(DeleteGroupsResponse::default().with_results(results.collect()))
}

/// OffsetDelete: forgets single positions of a group. While the group has members nothing is forgotten: which topics
/// they read is their own affair here (assignments are opaque), so all count as subscribed to.
pub(super) fn delete_offsets(shared: &Shared, request: OffsetDeleteRequest) -> ResponseKind {
    let group = request.group_id.as_str();
    let is_vacant = shared.coordinator.with(group, |group| group.is_vacant());
    if is_vacant.is_none() && !shared.committed.has(group) {
        let response = OffsetDeleteResponse::default().with_error_code(code(ResponseError::GroupIdNotFound));
        return ResponseKind::OffsetDelete(response);
    }
    let exists = |name: &str, index| shared.catalogue.topic(name).is_some_and(|topic| topic.partition(index).is_some());
    let places = request.topics.iter().flat_map(|topic| {
        let index_of = |partition: &OffsetDeleteRequestPartition| partition.partition_index;
        topic.partitions.iter().map(move |partition| (topic.name.as_str(), index_of(partition)))
    });
    let picked: BTreeSet<(&str, i32)> =
        places.filter(|(name, index)| is_vacant != Some(false) && exists(name, *index)).collect();
    let forgotten = shared.committed.forget(|of, name, at| of == group && picked.contains(&(name, at)));
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            let error_code = if is_vacant == Some(false) {
                code(ResponseError::GroupSubscribedToTopic)
            } else if !picked.contains(&(topic.name.as_str(), index)) {
                code(ResponseError::UnknownTopicOrPartition)
            } else if forgotten {
                NONE
            } else {
                code(ResponseError::KafkaStorageError)
            };
            OffsetDeleteResponsePartition::default().with_partition_index(index).with_error_code(error_code)
        });
        OffsetDeleteResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    ResponseKind::OffsetDelete(OffsetDeleteResponse::default().with_topics(topics.collect()))
}

/// DescribeLogDirs: the one data folder, and what each partition takes in it.
pub(super) fn describe_log_dirs(shared: &Shared, request: &DescribeLogDirsRequest) -> ResponseKind {
    let asked: Option<BTreeSet<(&str, i32)>> = request.topics.as_ref().map(|topics| {
        let places =
            topics.iter().flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic.as_str(), *index)));
        places.collect()
    });
    let asked = |name: &str, index: i32| asked.as_ref().is_none_or(|asked| asked.contains(&(name, index)));
    let topics = shared.catalogue.topics().into_iter().filter_map(|topic| {
        let partitions: Vec<DescribeLogDirsPartition> = (0..)
            .zip(&topic.partitions)
            .filter(|(index, _)| asked(&topic.name, *index))
            .map(|(index, log)| {
                let bytes = i64::try_from(log.bytes()).unwrap_or(i64::MAX);
                DescribeLogDirsPartition::default().with_partition_index(index).with_partition_size(bytes)
            })
            .collect();
        let name = TopicName(text(topic.name.as_str()));
        let described = DescribeLogDirsTopic::default().with_name(name);
        (!partitions.is_empty()).then(|| described.with_partitions(partitions))
    });
    let folder = shared.config.data.display().to_string();
    let result = DescribeLogDirsResult::default().with_log_dir(text(folder)).with_topics(topics.collect());
    ResponseKind::DescribeLogDirs(DescribeLogDirsResponse::default().with_results(vec![result]))
}

/// DescribeCluster.
pub(super) fn describe_cluster(shared: &Shared, caller: &Caller<'_>) -> ResponseKind {
    let broker =
        DescribeClusterBroker::default().with_broker_id(NODE).with_host(caller.host()).with_port(caller.port());
    ResponseKind::DescribeCluster(
        DescribeClusterResponse::default()
            .with_cluster_id(text(shared.catalogue.cluster_id.as_str()))
            .with_controller_id(NODE)
            .with_brokers(vec![broker]),
    )
}
