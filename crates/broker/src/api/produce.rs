//! Produce (versions 3 to 11) and InitProducerId (0 to 4).

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse, ProducerId, ResponseKind,
};
use tracing::error;

use super::{Answer, NONE, code};
use crate::batch::{self, BatchFault};
use crate::catalogue::Topic;
use crate::log::Refusal;
use crate::server::Shared;

/// Produce. The answer is sent when every batch is written or refused; with acks = 0 there is none. A transactional id
/// is answered TRANSACTIONAL_ID_AUTHORIZATION_FAILED: no transaction can be begun here.
pub(super) fn produce(shared: &Shared, request: ProduceRequest) -> Answer {
    let refused = if request.transactional_id.is_some() {
        Some(ResponseError::TransactionalIdAuthorizationFailed)
    } else if !(-1..=1).contains(&request.acks) {
        Some(ResponseError::InvalidRequiredAcks)
    } else {
        None
    };
    let responses = request
        .topic_data
        .into_iter()
        .map(|data| {
            let topic = shared.catalogue.topic(&data.name);
            let partitions = data
                .partition_data
                .into_iter()
                .map(|partition| {
                    let result = match refused {
                        Some(error) => Err(error),
                        None => append(shared, topic.as_deref(), &partition),
                    };
                    respond(partition.index, result)
                })
                .collect();
            TopicProduceResponse::default().with_name(data.name).with_partition_responses(partitions)
        })
        .collect();
    let response = ProduceResponse::default().with_responses(responses);
    Answer { response: (request.acks != 0).then_some(ResponseKind::Produce(response)), bytes_hint: 0, _grant: None }
}

/// `result`: the batch's base offset, and where the log begins.
fn respond(index: i32, result: Result<(i64, i64), ResponseError>) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index).with_log_append_time_ms(-1);
    match result {
        Ok((base_offset, start)) => response.with_base_offset(base_offset).with_log_start_offset(start),
        Err(error) => response.with_error_code(code(error)).with_base_offset(-1).with_log_start_offset(-1),
    }
}

/// Appends the one batch that a partition's part of the request holds.
fn append(shared: &Shared, topic: Option<&Topic>, data: &PartitionProduceData) -> Result<(i64, i64), ResponseError> {
    let log = topic.and_then(|topic| topic.partition(data.index)).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let records = data.records.as_ref().ok_or(ResponseError::InvalidRecord)?;
    if records.len() > shared.config.max_batch_bytes {
        return Err(ResponseError::MessageTooLarge);
    }
    let header = batch::check(records).map_err(|fault| match fault {
        BatchFault::Crc | BatchFault::Length => ResponseError::CorruptMessage,
        BatchFault::Magic => ResponseError::UnsupportedForMessageFormat,
        BatchFault::Content => ResponseError::InvalidRecord,
        BatchFault::Transactional => ResponseError::TransactionalIdAuthorizationFailed,
    })?;
    let base_offset = log.append(records, header).map_err(|refusal| match refusal {
        Refusal::OutOfOrder => ResponseError::OutOfOrderSequenceNumber,
        Refusal::Fenced => ResponseError::InvalidProducerEpoch,
        Refusal::Disk => ResponseError::KafkaStorageError,
    })?;
    Ok((base_offset, log.bounds().start))
}

/// InitProducerId. Every call gives a new id with epoch 0, as Apache Kafka does for producers without transactions; a
/// transactional id is answered TRANSACTIONAL_ID_AUTHORIZATION_FAILED.
pub(super) fn init_producer_id(shared: &Shared, request: &InitProducerIdRequest) -> ResponseKind {
    let refused = |error: ResponseError| {
        InitProducerIdResponse::default()
            .with_error_code(code(error))
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    let response = if request.transactional_id.is_some() {
        refused(ResponseError::TransactionalIdAuthorizationFailed)
    } else {
        match shared.catalogue.take_producer_id() {
            Ok(id) => InitProducerIdResponse::default()
                .with_error_code(NONE)
                .with_producer_id(ProducerId(id))
                .with_producer_epoch(0),
            Err(cause) => {
                error!(%cause, "no producer id");
                refused(ResponseError::KafkaStorageError)
            }
        }
    };
    ResponseKind::InitProducerId(response)
}
