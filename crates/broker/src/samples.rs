//! Batches and requests as clients send them, for tests and for fuzzing.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};

use crate::batch::{CRC_FROM, HEADER_BYTES, LENGTH_PREFIX_BYTES};

/// A batch of `count` one-byte records, `step_ms` apart.
pub(crate) fn batch(count: i32, producer: (i64, i16, i32), base_timestamp: i64) -> Vec<u8> {
    let mut records = Vec::new();
    for index in 0..count {
        // length 7: attributes, timestamp delta, offset delta, key -1, value length 1, value, no headers.
        let delta = u8::try_from(index * 2).expect("fewer than 64 records");
        records.extend_from_slice(&[14, 0, delta, delta, 1, 2, b'x', 0]);
    }
    sealed(&records, count, producer, (base_timestamp, base_timestamp + i64::from(count) - 1), 0)
}

/// A batch of these bytes as records, with a right checksum. `timestamps`: the base and the largest.
pub(crate) fn sealed(
    records: &[u8],
    count: i32,
    producer: (i64, i16, i32),
    timestamps: (i64, i64),
    attributes: i16,
) -> Vec<u8> {
    let mut batch = vec![0; HEADER_BYTES];
    batch[8..12].copy_from_slice(
        &i32::try_from(HEADER_BYTES - LENGTH_PREFIX_BYTES + records.len()).expect("small").to_be_bytes(),
    );
    batch[16] = 2;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[27..35].copy_from_slice(&timestamps.0.to_be_bytes());
    batch[35..43].copy_from_slice(&timestamps.1.to_be_bytes());
    batch[43..51].copy_from_slice(&producer.0.to_be_bytes());
    batch[51..53].copy_from_slice(&producer.1.to_be_bytes());
    batch[53..57].copy_from_slice(&producer.2.to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    batch.extend_from_slice(records);
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

pub(crate) fn text(text: &'static str) -> StrBytes {
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
            let records = Bytes::from(batch(3, (-1, -1, -1), 1000));
            let partition = PartitionProduceData::default().with_records(Some(records));
            let data = TopicProduceData::default().with_name(topic()).with_partition_data(vec![partition]);
            RequestKind::Produce(ProduceRequest::default().with_acks(-1).with_topic_data(vec![data]))
        }
        ApiKey::Fetch => {
            use fetch_request::{FetchPartition, FetchTopic};
            let partition = FetchPartition::default().with_partition_max_bytes(1000);
            let asked = FetchTopic::default().with_partitions(vec![partition]);
            let asked = if version < 13 { asked.with_topic(topic()) } else { asked.with_topic_id(uuid::Uuid::nil()) };
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
        ApiKey::DeleteRecords => {
            use delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
            let partition = DeleteRecordsPartition::default().with_offset(1);
            let asked = DeleteRecordsTopic::default().with_name(topic()).with_partitions(vec![partition]);
            RequestKind::DeleteRecords(DeleteRecordsRequest::default().with_topics(vec![asked]))
        }
        ApiKey::AlterConfigs => {
            use alter_configs_request::{AlterConfigsResource, AlterableConfig};
            let config = AlterableConfig::default().with_name(text("retention.ms")).with_value(Some(text("1000000")));
            let resource = AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text("t"))
                .with_configs(vec![config]);
            RequestKind::AlterConfigs(AlterConfigsRequest::default().with_resources(vec![resource]))
        }
        ApiKey::IncrementalAlterConfigs => {
            use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
            let config = AlterableConfig::default().with_name(text("segment.bytes")).with_value(Some(text("1000")));
            let resource = AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text("t"))
                .with_configs(vec![config]);
            RequestKind::IncrementalAlterConfigs(
                IncrementalAlterConfigsRequest::default().with_resources(vec![resource]),
            )
        }
        ApiKey::DescribeLogDirs => {
            use describe_log_dirs_request::DescribableLogDirTopic;
            let asked = DescribableLogDirTopic::default().with_topic(topic()).with_partitions(vec![0]);
            RequestKind::DescribeLogDirs(DescribeLogDirsRequest::default().with_topics(Some(vec![asked])))
        }
        ApiKey::CreatePartitions => {
            use create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
            let assignment = CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(0)]);
            let asked = CreatePartitionsTopic::default()
                .with_name(topic())
                .with_count(3)
                .with_assignments(Some(vec![assignment]));
            RequestKind::CreatePartitions(CreatePartitionsRequest::default().with_topics(vec![asked]))
        }
        ApiKey::OffsetDelete => {
            use offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
            let partitions = vec![OffsetDeleteRequestPartition::default()];
            let asked = OffsetDeleteRequestTopic::default().with_name(topic()).with_partitions(partitions);
            RequestKind::OffsetDelete(OffsetDeleteRequest::default().with_group_id(group()).with_topics(vec![asked]))
        }
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
        .expect("a served version");
    body(key, version).encode(&mut frame, version).expect("a served version");
    frame
}

/// The bytes as one batch: padded to a header, with the magic, the length and the checksum that belong to them.
pub(crate) fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut batch = bytes.to_vec();
    batch.resize(batch.len().max(HEADER_BYTES), 0);
    let length = i32::try_from(batch.len() - LENGTH_PREFIX_BYTES).unwrap_or(i32::MAX);
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}
