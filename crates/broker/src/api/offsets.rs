//! Where logs begin and end: ListOffsets (versions 1 to 9), OffsetForLeaderEpoch (2 to 4), DeleteRecords (0 to 2).

use std::collections::BTreeSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, ResponseKind,
};
use tracing::error;

use super::{Caller, NONE, code};
use crate::batch::LEADER_EPOCH;
use crate::log::{PartitionLog, StartFault};
use crate::shared::Shared;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// Of what lies on this disk (KIP-405): all of it does.
const EARLIEST_LOCAL: i64 = -4;
/// Of what lies elsewhere: nothing does.
const LATEST_TIERED: i64 = -5;
/// What one request unfolds at most: with an honest batch for each of all partitions, half of it.
const UNFOLD_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// "No such record": offset and timestamp of an answer without one.
const NOTHING: (i64, i64) = (-1, -1);

/// ListOffsets: earliest (−2), latest (−1), the first record with the largest timestamp (−3), or the first record at or
/// after a time in ms, to the record in compressed batches too. A partition that is named twice has an error the second
/// time, as in Apache Kafka; when very much is unfolded for one request, the last lookups are answered by their batch.
pub(super) fn list_offsets(shared: &Shared, caller: &Caller<'_>, request: ListOffsetsRequest) -> ResponseKind {
    let mut seen = BTreeSet::new();
    let mut unfold = UNFOLD_BYTES_MAX;
    let topics = request.topics.into_iter().map(|asked| {
        let topic = shared.catalogue.topic(&asked.name);
        let partitions = asked.partitions.iter().map(|partition| {
            let log = topic.as_deref().and_then(|topic| topic.partition(partition.partition_index));
            let result = match log {
                Some(_) if !seen.insert((asked.name.clone(), partition.partition_index)) => {
                    Err(ResponseError::InvalidRequest)
                }
                Some(log) => find(log, partition.timestamp, &mut unfold),
                None => Err(ResponseError::UnknownTopicOrPartition),
            };
            let response = ListOffsetsPartitionResponse::default().with_partition_index(partition.partition_index);
            match result {
                Ok((offset, timestamp)) => {
                    let response = response.with_error_code(NONE).with_offset(offset).with_timestamp(timestamp);
                    // The field exists from version 4 on (kcat 1.7.1 asks for less).
                    if caller.version >= 4 && offset >= 0 { response.with_leader_epoch(LEADER_EPOCH) } else { response }
                }
                Err(error) => response.with_error_code(code(error)),
            }
        });
        ListOffsetsTopicResponse::default().with_partitions(partitions.collect()).with_name(asked.name)
    });
    ResponseKind::ListOffsets(ListOffsetsResponse::default().with_topics(topics.collect()))
}

/// Offset and timestamp of what was asked for.
fn find(log: &PartitionLog, timestamp: i64, unfold: &mut u64) -> Result<(i64, i64), ResponseError> {
    let readable = |found: std::io::Result<Option<(i64, i64)>>| match found {
        Ok(found) => Ok(found.unwrap_or(NOTHING)),
        Err(cause) => {
            error!(%cause, "log not readable");
            Err(ResponseError::KafkaStorageError)
        }
    };
    match timestamp {
        LATEST => Ok((log.bounds().end, -1)),
        EARLIEST | EARLIEST_LOCAL => Ok((log.bounds().start, -1)),
        MAX_TIMESTAMP => readable(log.max_timestamp(unfold)),
        LATEST_TIERED => Ok(NOTHING),
        time if time < 0 => Err(ResponseError::UnsupportedVersion),
        time => readable(log.offset_of_timestamp(time, unfold)),
    }
}

/// OffsetForLeaderEpoch. There is one epoch, so its end is the end of the log; a later epoch is not known.
pub(super) fn leader_epoch(shared: &Shared, request: OffsetForLeaderEpochRequest) -> ResponseKind {
    let topics = request.topics.into_iter().map(|asked| {
        let topic = shared.catalogue.topic(&asked.topic);
        let partitions = asked.partitions.iter().map(|partition| {
            let response = EpochEndOffset::default().with_partition(partition.partition);
            let log = topic.as_deref().and_then(|topic| topic.partition(partition.partition));
            match log {
                None => response.with_error_code(code(ResponseError::UnknownTopicOrPartition)),
                Some(_) if partition.leader_epoch > LEADER_EPOCH => {
                    response.with_error_code(code(ResponseError::UnknownLeaderEpoch))
                }
                Some(log) => {
                    response.with_error_code(NONE).with_leader_epoch(LEADER_EPOCH).with_end_offset(log.bounds().end)
                }
            }
        });
        OffsetForLeaderTopicResult::default().with_partitions(partitions.collect()).with_topic(asked.topic)
    });
    ResponseKind::OffsetForLeaderEpoch(OffsetForLeaderEpochResponse::default().with_topics(topics.collect()))
}

/// DeleteRecords: lets logs begin later, durably; each log once.
pub(super) fn delete_records(shared: &Shared, request: DeleteRecordsRequest) -> ResponseKind {
    let mut seen = BTreeSet::new();
    let topics = request.topics.into_iter().map(|asked| {
        let topic = shared.catalogue.topic(&asked.name);
        let partitions = asked.partitions.iter().map(|partition| {
            let log = topic.as_deref().and_then(|topic| topic.partition(partition.partition_index));
            let is_new = seen.insert((asked.name.clone(), partition.partition_index));
            let result = match log.filter(|_| is_new).map(|log| log.move_start(partition.offset)) {
                None if !is_new => Err(ResponseError::InvalidRequest),
                None => Err(ResponseError::UnknownTopicOrPartition),
                Some(Err(StartFault::PastEnd)) => Err(ResponseError::OffsetOutOfRange),
                Some(Err(StartFault::Disk)) => Err(ResponseError::KafkaStorageError),
                Some(Ok(start)) => Ok(start),
            };
            DeleteRecordsPartitionResult::default()
                .with_partition_index(partition.partition_index)
                .with_low_watermark(result.unwrap_or(-1))
                .with_error_code(result.map_or_else(code, |_| NONE))
        });
        DeleteRecordsTopicResult::default().with_partitions(partitions.collect()).with_name(asked.name)
    });
    ResponseKind::DeleteRecords(DeleteRecordsResponse::default().with_topics(topics.collect()))
}
