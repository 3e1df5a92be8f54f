//! Produce (versions 3 to 11) and InitProducerId (0 to 4).

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse, ProducerId, ResponseKind,
};
use kafka_protocol::protocol::StrBytes;
use tracing::error;

use super::{Answer, Caller, NONE, code};
use crate::batch::{self, BatchFault};
use crate::catalogue::Topic;
use crate::log::Refusal;
use crate::records::{self, RecordFault};
use crate::shared::Shared;

/// The version from which on an answer explains an error.
const EXPLAINS_FROM: i16 = 8;

/// Why a partition's batch is not in the log: the error and, where there is more to say, its explanation.
struct Fault {
    error: ResponseError,
    message: Option<String>,
}

impl From<ResponseError> for Fault {
    fn from(error: ResponseError) -> Self {
        Self { error, message: None }
    }
}

/// Produce. The answer is sent when every batch is written or refused; with acks = 0 there is none. A transactional id
/// is answered UNSUPPORTED_VERSION: no transaction can be begun here.
pub(super) fn produce(shared: &Shared, caller: &Caller<'_>, request: ProduceRequest) -> Answer {
    let refused = if request.transactional_id.is_some() {
        Some(ResponseError::UnsupportedVersion)
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
                        Some(error) => Err(error.into()),
                        None => append(shared, topic.as_deref(), &partition),
                    };
                    respond(caller, partition.index, result)
                })
                .collect();
            TopicProduceResponse::default().with_name(data.name).with_partition_responses(partitions)
        })
        .collect();
    let response = ProduceResponse::default().with_responses(responses);
    Answer { response: (request.acks != 0).then_some(ResponseKind::Produce(response)), bytes_hint: 0, grant: None }
}

/// `result`: the batch's base offset, and where the log begins.
fn respond(caller: &Caller<'_>, index: i32, result: Result<(i64, i64), Fault>) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index).with_log_append_time_ms(-1);
    match result {
        Ok((base_offset, start)) => response.with_base_offset(base_offset).with_log_start_offset(start),
        Err(Fault { error, message }) => {
            let message = message.filter(|_| caller.version >= EXPLAINS_FROM).map(StrBytes::from_string);
            let response = response.with_error_code(code(error)).with_error_message(message);
            response.with_base_offset(-1).with_log_start_offset(-1)
        }
    }
}

/// Appends the one batch that a partition's part of the request holds, once it is known that consumers can read it.
fn append(shared: &Shared, topic: Option<&Topic>, data: &PartitionProduceData) -> Result<(i64, i64), Fault> {
    let log = topic.and_then(|topic| topic.partition(data.index)).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let records = data.records.as_ref().ok_or(ResponseError::InvalidRecord)?;
    if records.len() > shared.config.max_batch_bytes {
        return Err(ResponseError::MessageTooLarge.into());
    }
    let header = batch::check(records).map_err(|fault| match fault {
        BatchFault::Crc | BatchFault::Length => ResponseError::CorruptMessage,
        BatchFault::Magic => ResponseError::UnsupportedForMessageFormat,
        BatchFault::Content | BatchFault::Transactional => ResponseError::InvalidRecord,
        BatchFault::Timestamp => ResponseError::InvalidTimestamp,
    })?;
    records::check(records, &header, shared.config.max_decoded_bytes).map_err(|fault| Fault {
        error: match fault {
            RecordFault::Stream => ResponseError::CorruptMessage,
            RecordFault::Record => ResponseError::InvalidRecord,
            // A client that can split the batch does.
            RecordFault::TooLarge => ResponseError::MessageTooLarge,
            // Clients try again.
            RecordFault::Busy => ResponseError::RequestTimedOut,
        },
        message: Some(fault.to_string()),
    })?;
    let base_offset = log.append(records, header).map_err(|refusal| match refusal {
        Refusal::OutOfOrder => ResponseError::OutOfOrderSequenceNumber,
        Refusal::Fenced => ResponseError::InvalidProducerEpoch,
        Refusal::Disk => ResponseError::KafkaStorageError,
    })?;
    Ok((base_offset, log.bounds().start))
}

/// InitProducerId. Every call gives a new id with epoch 0, as Apache Kafka does for producers without transactions; a
/// transactional id is answered UNSUPPORTED_VERSION, which clients do not retry and name to their users.
pub(super) fn init_producer_id(shared: &Shared, request: &InitProducerIdRequest) -> ResponseKind {
    let refused = |error: ResponseError| {
        InitProducerIdResponse::default()
            .with_error_code(code(error))
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    let response = if request.transactional_id.is_some() {
        refused(ResponseError::UnsupportedVersion)
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
