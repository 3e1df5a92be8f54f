//! Every request in every version that is advertised: it passes the guard, is handled, and its answer encodes.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::{Caller, handle};
use crate::batch::tests::sample;
use crate::server::Shared;
use crate::wire::{self, Decoded, guard, schema::APIS};

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn topic() -> TopicName {
    TopicName(text("t"))
}

fn group() -> GroupId {
    GroupId(text("g"))
}

/// A filled-in request: one element in each array.
#[allow(clippy::too_many_lines)]
fn body(key: ApiKey, version: i16) -> RequestKind {
    match key {
        ApiKey::Produce => {
            use produce_request::{PartitionProduceData, TopicProduceData};
            let records = Bytes::from(sample(3, (-1, -1, -1), 1000));
            let partition = PartitionProduceData::default().with_records(Some(records));
            let data = TopicProduceData::default().with_name(topic()).with_partition_data(vec![partition]);
            RequestKind::Produce(ProduceRequest::default().with_acks(-1).with_topic_data(vec![data]))
        }
        ApiKey::Fetch => {
            use fetch_request::{FetchPartition, FetchTopic};
            let partition = FetchPartition::default().with_partition_max_bytes(1000);
            let asked = FetchTopic::default().with_topic(topic()).with_partitions(vec![partition]);
            RequestKind::Fetch(FetchRequest::default().with_max_bytes(1000).with_topics(vec![asked]))
        }
        ApiKey::ListOffsets => {
            use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
            let at = |timestamp| ListOffsetsPartition::default().with_timestamp(timestamp);
            let asked =
                ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![at(-1), at(-2), at(-3), at(1001)]);
            RequestKind::ListOffsets(ListOffsetsRequest::default().with_topics(vec![asked]))
        }
        ApiKey::Metadata => {
            use metadata_request::MetadataRequestTopic;
            let asked = MetadataRequestTopic::default().with_name(Some(topic()));
            RequestKind::Metadata(MetadataRequest::default().with_topics(Some(vec![asked])))
        }
        ApiKey::OffsetCommit => {
            use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
            let partition = OffsetCommitRequestPartition::default()
                .with_committed_offset(2)
                .with_committed_metadata(Some(text("m")));
            let asked = OffsetCommitRequestTopic::default().with_name(topic()).with_partitions(vec![partition]);
            RequestKind::OffsetCommit(OffsetCommitRequest::default().with_group_id(group()).with_topics(vec![asked]))
        }
        ApiKey::OffsetFetch => {
            use offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics};
            let request = OffsetFetchRequest::default();
            RequestKind::OffsetFetch(if version < 8 {
                let asked = OffsetFetchRequestTopic::default().with_name(topic()).with_partition_indexes(vec![0, 1]);
                request.with_group_id(group()).with_topics(Some(vec![asked]))
            } else {
                let asked = OffsetFetchRequestTopics::default().with_name(topic()).with_partition_indexes(vec![0, 1]);
                request.with_groups(vec![
                    OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(vec![asked])),
                ])
            })
        }
        ApiKey::FindCoordinator => {
            let request = FindCoordinatorRequest::default();
            RequestKind::FindCoordinator(if version < 4 {
                request.with_key(text("g"))
            } else {
                request.with_coordinator_keys(vec![text("g")])
            })
        }
        ApiKey::JoinGroup => {
            use join_group_request::JoinGroupRequestProtocol;
            let protocol =
                JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from_static(b"x"));
            RequestKind::JoinGroup(
                JoinGroupRequest::default()
                    .with_group_id(group())
                    .with_session_timeout_ms(100)
                    .with_protocol_type(text("consumer"))
                    .with_protocols(vec![protocol]),
            )
        }
        ApiKey::SyncGroup => {
            use sync_group_request::SyncGroupRequestAssignment;
            let one = SyncGroupRequestAssignment::default().with_member_id(text("m"));
            RequestKind::SyncGroup(SyncGroupRequest::default().with_group_id(group()).with_assignments(vec![one]))
        }
        ApiKey::Heartbeat => RequestKind::Heartbeat(HeartbeatRequest::default().with_group_id(group())),
        ApiKey::LeaveGroup => {
            use leave_group_request::MemberIdentity;
            let request = LeaveGroupRequest::default().with_group_id(group());
            RequestKind::LeaveGroup(if version < 3 {
                request.with_member_id(text("m"))
            } else {
                request.with_members(vec![MemberIdentity::default().with_member_id(text("m"))])
            })
        }
        ApiKey::DescribeGroups => {
            RequestKind::DescribeGroups(DescribeGroupsRequest::default().with_groups(vec![group()]))
        }
        ApiKey::ListGroups => RequestKind::ListGroups(ListGroupsRequest::default()),
        ApiKey::DeleteGroups => {
            RequestKind::DeleteGroups(DeleteGroupsRequest::default().with_groups_names(vec![group()]))
        }
        ApiKey::ApiVersions => RequestKind::ApiVersions(ApiVersionsRequest::default()),
        ApiKey::CreateTopics => {
            use create_topics_request::{CreatableTopic, CreatableTopicConfig};
            let config = CreatableTopicConfig::default().with_name(text("retention.ms")).with_value(Some(text("1")));
            let asked = CreatableTopic::default()
                .with_name(TopicName(text("new")))
                .with_num_partitions(1)
                .with_replication_factor(1)
                .with_configs(vec![config]);
            RequestKind::CreateTopics(CreateTopicsRequest::default().with_topics(vec![asked]))
        }
        ApiKey::DeleteTopics => {
            use delete_topics_request::DeleteTopicState;
            let name = TopicName(text("new"));
            let request = DeleteTopicsRequest::default();
            RequestKind::DeleteTopics(if version < 6 {
                request.with_topic_names(vec![name])
            } else {
                request.with_topics(vec![DeleteTopicState::default().with_name(Some(name))])
            })
        }
        ApiKey::InitProducerId => RequestKind::InitProducerId(InitProducerIdRequest::default()),
        ApiKey::OffsetForLeaderEpoch => {
            use offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
            let asked = OffsetForLeaderTopic::default()
                .with_topic(topic())
                .with_partitions(vec![OffsetForLeaderPartition::default()]);
            RequestKind::OffsetForLeaderEpoch(OffsetForLeaderEpochRequest::default().with_topics(vec![asked]))
        }
        ApiKey::DescribeConfigs => {
            use describe_configs_request::DescribeConfigsResource;
            let of =
                |kind, name| DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(text(name));
            RequestKind::DescribeConfigs(DescribeConfigsRequest::default().with_resources(vec![of(2, "t"), of(4, "0")]))
        }
        ApiKey::DescribeCluster => RequestKind::DescribeCluster(DescribeClusterRequest::default()),
        other => panic!("{other:?} is advertised and has no test"),
    }
}

/// The frame of a filled-in request, without its length.
pub(crate) fn request(key: ApiKey, version: i16) -> BytesMut {
    let mut frame = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(7)
        .with_client_id(Some(text("test")))
        .encode(&mut frame, key.request_header_version(version))
        .unwrap();
    body(key, version).encode(&mut frame, version).unwrap();
    frame
}

#[test]
fn every_advertised_version_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let shared = Shared::for_tests(folder.path());
    shared.catalogue.create("t", 2).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 9));
    for api in APIS {
        for version in api.min..=api.max {
            let context = format!("{:?} version {version}", api.key);
            let frame = request(api.key, version).freeze();
            let Ok(Decoded::Request(decoded)) = wire::decode(&frame) else {
                panic!("{context}: {:?}", wire::decode(&frame).err());
            };
            let (envelope, kind) = *decoded;
            assert_eq!(envelope.client_id, text("test"), "{context}");
            let caller = Caller { version, client_id: &envelope.client_id, local: address, peer: address };
            let response = handle(&shared, &caller, kind).response;
            let response = response.unwrap_or_else(|| panic!("{context}: no answer"));
            let bytes = wire::encode(api.key, version, 7, &response, 0);
            let mut bytes = bytes.unwrap_or_else(|error| panic!("{context}: {error}")).freeze();
            let _length = bytes::Buf::get_i32(&mut bytes);
            ResponseHeader::decode(&mut bytes, api.key.response_header_version(version)).unwrap();
            ResponseKind::decode(api.key, &mut bytes, version).unwrap_or_else(|error| panic!("{context}: {error:#}"));
            assert!(bytes.is_empty(), "{context}: bytes left");
        }
    }
}

#[test]
fn a_request_cut_anywhere_is_refused() {
    for api in APIS {
        for version in api.min..=api.max {
            let frame = request(api.key, version).freeze();
            for length in 0..frame.len() {
                let cut = wire::decode(&frame.slice(..length));
                assert!(cut.is_err(), "{:?} version {version} cut at {length}", api.key);
            }
            // The table in `schema` and the codec agree to the byte.
            let flexible = api.key.request_header_version(version) >= 2;
            let left = guard::check(&frame[8..], api.fields, version, flexible);
            assert_eq!(left, Ok(0), "{:?} version {version}", api.key);
        }
    }
}
