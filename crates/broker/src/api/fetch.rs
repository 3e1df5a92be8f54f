//! Fetch (versions 4 to 17), with waiting that an append ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse, ResponseKind};
use tracing::error;

use super::{Answer, Caller, NONE, code};
use crate::budget::Grant;
use crate::catalogue::Topic;
use crate::locks::Waiter;
use crate::log::{Bounds, Cursor, PartitionLog};
use crate::shared::Shared;

/// The longest a fetch may wait, whatever the client asks; a client that went away is noticed after it.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// How long the first records of an answer wait for memory before it goes out empty; the client asks again. What follows
/// does not wait: an answer carries what fits.
const MEMORY_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks whether the client is still there.
const LOOK: Duration = Duration::from_secs(1);

/// One partition that was asked for.
struct Wanted<'a> {
    request: &'a FetchPartition,
    found: Result<Found<'a>, ResponseError>,
}

struct Found<'a> {
    log: &'a PartitionLog,
    cursor: Cursor,
}

/// Fetch. Waits until `min_bytes` are there, a partition has an error, or `max_wait_ms` is over. Sessions (KIP-227) are
/// declined: the answer's session id is 0, and a client that names one gets FETCH_SESSION_ID_NOT_FOUND.
/// From version 13 on topics are asked for by their ids. A partition that is named twice has an error the second time.
pub(super) fn fetch(shared: &Shared, caller: &Caller<'_>, request: &FetchRequest) -> Answer {
    if request.session_id != 0 {
        let response = FetchResponse::default().with_error_code(code(ResponseError::FetchSessionIdNotFound));
        return ResponseKind::Fetch(response).into();
    }
    let by_id = caller.version >= 13;
    let topic_of = |asked: &FetchTopic| {
        if by_id {
            shared.catalogue.topic_of_id(asked.topic_id).ok_or(ResponseError::UnknownTopicId)
        } else {
            shared.catalogue.topic(&asked.topic).ok_or(ResponseError::UnknownTopicOrPartition)
        }
    };
    let topics: Vec<Result<Arc<Topic>, ResponseError>> = request.topics.iter().map(topic_of).collect();
    let mut seen = BTreeSet::new();
    let wanted: Vec<Vec<Wanted<'_>>> = request
        .topics
        .iter()
        .zip(&topics)
        .map(|(asked, topic)| {
            let find = |partition: &'_ FetchPartition| match topic {
                Ok(topic) if !seen.insert((topic.id, partition.partition)) => Err(ResponseError::InvalidRequest),
                topic => find(topic.as_deref(), partition),
            };
            asked.partitions.iter().zip(asked.partitions.iter().map(find)).map(Wanted::from).collect()
        })
        .collect();
    wait(shared, caller, request, &wanted);
    let mut grant = shared.answers.grant();
    let mut left = usize::try_from(request.max_bytes).unwrap_or(0).min(shared.config.max_fetch_bytes);
    let mut total = 0;
    let responses = request
        .topics
        .iter()
        .zip(&wanted)
        .map(|(asked, wanted)| {
            let mut partitions = Vec::with_capacity(wanted.len());
            for one in wanted {
                let (data, bytes) = read(shared, one, left, total == 0, &mut grant);
                left = left.saturating_sub(bytes);
                total += bytes;
                partitions.push(data);
            }
            let answer = FetchableTopicResponse::default().with_partitions(partitions);
            if by_id { answer.with_topic_id(asked.topic_id) } else { answer.with_topic(asked.topic.clone()) }
        })
        .collect();
    Answer {
        response: Some(ResponseKind::Fetch(FetchResponse::default().with_responses(responses))),
        bytes_hint: total,
        grant: Some(grant),
    }
}

impl<'a> From<(&'a FetchPartition, Result<Found<'a>, ResponseError>)> for Wanted<'a> {
    fn from((request, found): (&'a FetchPartition, Result<Found<'a>, ResponseError>)) -> Self {
        Self { request, found }
    }
}

fn find<'a>(topic: Result<&'a Topic, &ResponseError>, partition: &FetchPartition) -> Result<Found<'a>, ResponseError> {
    let topic = topic.map_err(|error| *error)?;
    let log = topic.partition(partition.partition).ok_or(ResponseError::UnknownTopicOrPartition)?;
    match log.cursor(partition.fetch_offset) {
        Ok(Some(cursor)) => Ok(Found { log, cursor }),
        Ok(None) => Err(ResponseError::OffsetOutOfRange),
        Err(cause) => {
            error!(%cause, "log not readable");
            Err(ResponseError::KafkaStorageError)
        }
    }
}

/// Whether there is enough to answer: an error, or `min_bytes` of batches.
fn is_enough(wanted: &[Vec<Wanted<'_>>], min_bytes: u64) -> bool {
    let mut bytes = 0;
    for one in wanted.iter().flatten() {
        match &one.found {
            Err(_) => return true,
            Ok(found) => bytes = u64::saturating_add(bytes, found.log.bytes_after(found.cursor)),
        }
    }
    bytes >= min_bytes
}

/// Sleeps until there is enough. The waiter is known to every log before the first look, so no append is missed.
fn wait(shared: &Shared, caller: &Caller<'_>, request: &FetchRequest, wanted: &[Vec<Wanted<'_>>]) {
    let min_bytes = u64::try_from(request.min_bytes).unwrap_or(0);
    let max_wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    if max_wait.is_zero() || is_enough(wanted, min_bytes) {
        return;
    }
    let logs = || {
        let found = wanted.iter().flatten().filter_map(|one| one.found.as_ref().ok());
        found.map(|found| found.log)
    };
    let waiter = Arc::new(Waiter::default());
    logs().for_each(|log| log.waiters.add(&waiter));
    let deadline = Instant::now() + max_wait.min(WAIT_MAX);
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        let is_closed = logs().any(PartitionLog::is_closed);
        let is_over = rest.is_zero() || is_closed || shared.is_stopping() || (caller.is_gone)();
        if is_over || is_enough(wanted, min_bytes) {
            break;
        }
        waiter.sleep(rest.min(LOOK));
    }
    logs().for_each(|log| log.waiters.remove(&waiter));
}

/// One partition's answer and the bytes of its records. `left` is what the whole answer may still carry; the first
/// records of an answer are at least one batch, or a consumer could never pass a large one.
fn read(
    shared: &Shared,
    wanted: &Wanted<'_>,
    left: usize,
    is_first: bool,
    grant: &mut Grant,
) -> (PartitionData, usize) {
    let limit = usize::try_from(wanted.request.partition_max_bytes).unwrap_or(0).min(left);
    let result = match &wanted.found {
        Err(error) => Err((*error, None)),
        Ok(found) => records(shared, found, limit, is_first, grant)
            .map(|records| (records, found.log.bounds()))
            .map_err(|error| (error, Some(found.log.bounds()))),
    };
    let data = PartitionData::default().with_partition_index(wanted.request.partition).with_aborted_transactions(None);
    match result {
        Ok((records, bounds)) => {
            let bytes = records.len();
            let data = with_bounds(data, Some(bounds)).with_error_code(NONE);
            (data.with_records(Some(records)), bytes)
        }
        Err((error, bounds)) => {
            let data = with_bounds(data, bounds).with_error_code(code(error));
            (data.with_records(Some(Bytes::new())), 0)
        }
    }
}

fn with_bounds(data: PartitionData, bounds: Option<Bounds>) -> PartitionData {
    let (start, end) = bounds.map_or((-1, -1), |bounds| (bounds.start, bounds.end));
    data.with_high_watermark(end).with_last_stable_offset(end).with_log_start_offset(start)
}

fn records(
    shared: &Shared,
    found: &Found<'_>,
    limit: usize,
    is_first: bool,
    grant: &mut Grant,
) -> Result<Bytes, ResponseError> {
    if limit == 0 && !is_first {
        return Ok(Bytes::new());
    }
    let storage = |cause: std::io::Error| {
        error!(%cause, "log not readable");
        ResponseError::KafkaStorageError
    };
    let Some(wanted) = found.log.measure(found.cursor, limit, is_first).map_err(storage)? else {
        return Err(ResponseError::OffsetOutOfRange);
    };
    if wanted == 0 {
        return Ok(Bytes::new());
    }
    // Twice: once as read, once encoded.
    let before = grant.bytes();
    let patience = if is_first { MEMORY_PATIENCE } else { Duration::ZERO };
    if !shared.take(grant, wanted * 2, patience) {
        return Ok(Bytes::new());
    }
    let records = found.log.read(found.cursor, wanted, is_first).map_err(storage)?;
    grant.shrink_to(before + records.as_ref().map_or(0, Bytes::len) * 2);
    records.ok_or(ResponseError::OffsetOutOfRange)
}
