//! What user interfaces and admin clients ask: DescribeGroups (versions 0 to 5), ListGroups (0 to 5), DeleteGroups
//! (0 to 2), DescribeConfigs (1 to 4), DescribeCluster (0 to 1).

use std::collections::BTreeSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeClusterResponse, DescribeConfigsRequest,
    DescribeConfigsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId, ListGroupsRequest,
    ListGroupsResponse, ResponseKind,
};
use kafka_protocol::protocol::StrBytes;

use super::{Caller, NODE, NONE, code};
use crate::group::Group;
use crate::server::Shared;

const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;
/// DEFAULT_CONFIG: nobody set it.
const SOURCE_DEFAULT: i8 = 5;
/// STATIC_BROKER_CONFIG: set where the broker is started.
const SOURCE_BROKER: i8 = 4;
/// The protocol of groups of consumers; a group without members has no other trace of it.
const CONSUMER: &str = "consumer";

fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// DescribeGroups. A group with committed offsets and no members is Empty, an unknown one Dead.
pub(super) fn describe_groups(shared: &Shared, request: DescribeGroupsRequest) -> ResponseKind {
    let groups = request.groups.into_iter().map(|id| {
        let described = shared.coordinator.with(&id, |group| describe_group(group)).unwrap_or_else(|| {
            let known = !shared.committed.positions(&id).is_empty();
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
    let results = request.groups_names.into_iter().map(|id| {
        let is_vacant = shared.coordinator.with(&id, |group| group.is_vacant());
        let error_code = if is_vacant == Some(false) {
            code(ResponseError::NonEmptyGroup)
        } else if is_vacant.is_none() && shared.committed.positions(&id).is_empty() {
            code(ResponseError::GroupIdNotFound)
        } else if shared.committed.forget(|group, _| group == id.as_str()) {
            NONE
        } else {
            code(ResponseError::KafkaStorageError)
        };
        DeletableGroupResult::default().with_group_id(id).with_error_code(error_code)
    });
    ResponseKind::DeleteGroups(DeleteGroupsResponse::default().with_results(results.collect()))
}

/// DescribeConfigs: the few settings that clients look at, read-only.
pub(super) fn describe_configs(shared: &Shared, request: DescribeConfigsRequest) -> ResponseKind {
    let results = request.resources.into_iter().map(|resource| {
        let result = DescribeConfigsResult::default().with_resource_type(resource.resource_type);
        let result = match settings(shared, &resource) {
            Ok(settings) => result.with_error_code(NONE).with_configs(settings),
            Err(error) => result.with_error_code(code(error)),
        };
        result.with_resource_name(resource.resource_name)
    });
    ResponseKind::DescribeConfigs(DescribeConfigsResponse::default().with_results(results.collect()))
}

fn settings(
    shared: &Shared,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, ResponseError> {
    let config = &shared.config;
    let batch_bytes = config.max_batch_bytes.to_string();
    let segment_bytes = config.segment_bytes.to_string();
    let all = match resource.resource_type {
        RESOURCE_TOPIC => {
            if shared.catalogue.topic(&resource.resource_name).is_none() {
                return Err(ResponseError::UnknownTopicOrPartition);
            }
            vec![
                ("cleanup.policy", "delete".to_owned(), SOURCE_DEFAULT),
                ("compression.type", "producer".to_owned(), SOURCE_DEFAULT),
                ("max.message.bytes", batch_bytes, SOURCE_BROKER),
                ("message.timestamp.type", "CreateTime".to_owned(), SOURCE_DEFAULT),
                ("min.insync.replicas", "1".to_owned(), SOURCE_DEFAULT),
                ("retention.bytes", "-1".to_owned(), SOURCE_DEFAULT),
                ("retention.ms", "-1".to_owned(), SOURCE_DEFAULT),
                ("segment.bytes", segment_bytes, SOURCE_BROKER),
            ]
        }
        RESOURCE_BROKER => vec![
            ("auto.create.topics.enable", config.auto_create.to_string(), SOURCE_BROKER),
            ("default.replication.factor", "1".to_owned(), SOURCE_DEFAULT),
            ("log.segment.bytes", segment_bytes, SOURCE_BROKER),
            ("message.max.bytes", batch_bytes, SOURCE_BROKER),
            ("num.partitions", config.default_partitions.to_string(), SOURCE_BROKER),
        ],
        _ => return Err(ResponseError::InvalidRequest),
    };
    let keys = resource.configuration_keys.as_ref();
    let wanted = |name: &str| keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == name));
    let describe = |(name, value, source): (&str, String, i8)| {
        DescribeConfigsResourceResult::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
            .with_read_only(true)
            .with_config_source(source)
    };
    let all = all.into_iter().filter(|(name, _, _)| wanted(name));
    Ok(all.map(describe).collect())
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
