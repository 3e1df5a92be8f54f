//! Metadata (versions 0 to 13).

use std::collections::BTreeSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, ResponseKind, TopicName};
use kafka_protocol::protocol::StrBytes;
use tracing::error;

use super::{Caller, NODE, NONE, code};
use crate::batch::LEADER_EPOCH;
use crate::catalogue::{CreateFault, Topic};
use crate::settings::Set;
use crate::shared::Shared;

/// Metadata. The one broker is at the address by which this client came. Unknown topics are made when both the client
/// (always before version 4) and the configuration allow it.
pub(super) fn metadata(shared: &Shared, caller: &Caller<'_>, request: MetadataRequest) -> ResponseKind {
    let may_create = shared.config.auto_create && (caller.version < 4 || request.allow_auto_topic_creation);
    let is_all = match &request.topics {
        None => true,
        Some(topics) => topics.is_empty() && caller.version == 0,
    };
    let topics = if is_all {
        shared.catalogue.topics().iter().map(|topic| describe(topic)).collect()
    } else {
        // A topic that is named again is not answered again, as in Apache Kafka.
        let mut seen = BTreeSet::new();
        let asked = request.topics.unwrap_or_default().into_iter();
        asked
            .filter(|asked| seen.insert((asked.name.clone(), asked.topic_id)))
            .map(|asked| one(shared, caller.version, asked, may_create))
            .collect()
    };
    let broker = MetadataResponseBroker::default().with_node_id(NODE).with_host(caller.host()).with_port(caller.port());
    ResponseKind::Metadata(
        MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_cluster_id(Some(StrBytes::from_string(shared.catalogue.cluster_id.clone())))
            .with_controller_id(NODE)
            .with_topics(topics),
    )
}

/// One topic by name, or by id (versions 12 and later; ids came with 10).
fn one(shared: &Shared, version: i16, asked: MetadataRequestTopic, may_create: bool) -> MetadataResponseTopic {
    let fault = |error: ResponseError, name: Option<TopicName>| {
        // A null name is allowed from version 12 on.
        let name = if version < 12 { Some(name.unwrap_or_default()) } else { name };
        MetadataResponseTopic::default().with_error_code(code(error)).with_name(name).with_topic_id(asked.topic_id)
    };
    let Some(name) = asked.name else {
        return match shared.catalogue.topic_of_id(asked.topic_id) {
            Some(topic) => describe(&topic),
            None => fault(ResponseError::UnknownTopicId, None),
        };
    };
    if let Some(topic) = shared.catalogue.topic(&name) {
        return describe(&topic);
    }
    if !may_create {
        return fault(ResponseError::UnknownTopicOrPartition, Some(name));
    }
    match shared.catalogue.create(&name, shared.config.default_partitions, Set::new()) {
        Ok(topic) => describe(&topic),
        Err(CreateFault::Exists) => match shared.catalogue.topic(&name) {
            Some(topic) => describe(&topic),
            None => fault(ResponseError::UnknownTopicOrPartition, Some(name)),
        },
        Err(CreateFault::NameInvalid) => fault(ResponseError::InvalidTopicException, Some(name)),
        Err(CreateFault::PartitionsInvalid | CreateFault::TooManyPartitions) => {
            fault(ResponseError::InvalidPartitions, Some(name))
        }
        Err(CreateFault::Disk(cause)) => {
            error!(%cause, "topic not created");
            fault(ResponseError::KafkaStorageError, Some(name))
        }
    }
}

fn describe(topic: &Topic) -> MetadataResponseTopic {
    let partitions = (0..).zip(&topic.partitions).map(|(index, _)| {
        MetadataResponsePartition::default()
            .with_error_code(NONE)
            .with_partition_index(index)
            .with_leader_id(NODE)
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![NODE])
            .with_isr_nodes(vec![NODE])
    });
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(topic.name.clone()))))
        .with_topic_id(topic.id)
        .with_partitions(partitions.collect())
}
