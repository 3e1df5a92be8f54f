//! The topic of posted rows: one producer for all requests, and a reader that finds the records of an attempt again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};

use super::{GIVE_UP, PostError, Reached, SEND_MOST};
use crate::batch::Identity;
use crate::record::MAX_RECORD_BYTES;
use crate::topic::{Topic, is_away};

/// The header of a posted record: the attempt that sent it, and the number of its row.
const POSTED_HEADER: &str = "millstream-record";
/// Someone waits for each row: it waits a little for company of the same request.
const LINGER_MS: u32 = 2;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries while the producer's queue is full.
const QUEUE_PAUSE: Duration = Duration::from_millis(5);
/// What reports may come late by, beyond the time in which records are given up.
const REPORT_MOST: Duration = Duration::from_secs(5);
/// How long a request looks for records of an attempt; the next one goes on from there.
pub const FIND_MOST: Duration = Duration::from_secs(20);
/// What librdkafka counts of a record beside its value: 36 bytes of framing, and at most 76 of the header.
const BESIDE_VALUE_BYTES: usize = 128;
/// librdkafka's own `message.max.bytes`.
const MESSAGE_BYTES: usize = 1_000_000;

/// The longest value that librdkafka takes by these properties of `[stream]`.
pub fn value_bytes_most(properties: &BTreeMap<String, String>) -> usize {
    // What is no number is refused when a client is made.
    let message = properties.get("message.max.bytes").and_then(|text| text.trim().parse().ok());
    message.unwrap_or(MESSAGE_BYTES).saturating_sub(BESIDE_VALUE_BYTES).min(MAX_RECORD_BYTES)
}

pub struct Connection {
    topic: Topic,
    reached: Reached,
    producer: ThreadedProducer<Deliveries>,
    pub partitions: i32,
    /// The topic is the store's. Before the store was begun nobody could tell.
    pub is_checked: bool,
}

/// What became of rows that were to be sent.
pub struct Sent {
    /// By row. Negative: librdkafka knows that it is stored, not where (the answer was lost and the broker had it already).
    pub offsets: Vec<Option<i64>>,
    /// Of those without an offset.
    pub missing: Missing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// They may be in the topic, or come into it yet.
    Open,
    /// They are not in the topic, and will not be.
    NotSent { reason: String },
    /// The same, and the broker would refuse them again.
    Refused { reason: String },
}

/// How far a partition was looked through for the records of attempts.
#[derive(Debug, Default)]
pub struct Looked {
    /// The offset of each row that was found, of several the first.
    pub rows: BTreeMap<usize, i64>,
    pub next_offset: i64,
}

impl Connection {
    /// `identity`: of the store, which must have been begun with this topic.
    pub fn open(reached: Reached, identity: Option<&Identity>) -> Result<Self, PostError> {
        let topic = reached.topic.clone();
        let producer = topic.bounded_producer(Deliveries::default(), LINGER_MS, GIVE_UP)?;
        let found = topic.look(producer.client(), REQUEST_TIMEOUT).map_err(|error| away(&error))?;
        let found = found.ok_or_else(|| PostError::NoTopic { topic: topic.name.clone() })?;
        if let Some(identity) = identity {
            identity.matches_found(&found)?;
        }
        let partitions =
            i32::try_from(found.partitions).map_err(|_| PostError::NoTopic { topic: topic.name.clone() })?;
        Ok(Self { topic, reached, producer, partitions, is_checked: identity.is_some() })
    }

    /// It will not send anything any more.
    pub fn is_broken(&self) -> bool {
        self.producer.client().context().is_broken.load(Ordering::Relaxed)
    }

    /// The end of a partition: nothing that is sent from now on lies before it.
    pub fn end(&self, partition: i32) -> Result<i64, PostError> {
        let found = self.producer.client().fetch_watermarks(&self.topic.name, partition, REQUEST_TIMEOUT);
        found.map(|(_, high)| high).map_err(|error| away(&error))
    }

    /// Sends rows of an attempt, by their numbers, as far as it takes no longer than `SEND_MOST` from when the attempt was `begun`; waits until all
    /// reports came.
    pub fn send(&self, attempt: &str, partition: i32, values: &[Vec<u8>], rows: &[usize], begun: Instant) -> Sent {
        let reports = Arc::new(Reports { kept: Mutex::new(Kept::of(values.len())), came: Condvar::new() });
        let (mut handed_over, mut held_back) = (0, None);
        for row in rows {
            match self.produce(attempt, partition, &values[*row], *row, &reports, begun) {
                Ok(()) => handed_over += 1,
                Err(error) => {
                    tracing::warn!(%error, topic = self.topic.name, "posted rows were not sent");
                    held_back = Some(error);
                    break;
                }
            }
        }
        let (mut kept, since) = (reports.kept(), Instant::now());
        while kept.reported < handed_over && since.elapsed() < GIVE_UP + REPORT_MOST {
            (kept, _) = reports.came.wait_timeout(kept, REPORT_MOST).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(error) = kept.lost.as_ref().or(kept.refused.as_ref()) {
            tracing::warn!(%error, topic = self.topic.name, "posted rows were not acknowledged");
        }
        let is_open = kept.reported < handed_over || kept.lost.is_some();
        let missing = match kept.refused.take().or(held_back).filter(|_| !is_open) {
            Some(error) if is_refusal(&error) => Missing::Refused { reason: error.to_string() },
            Some(error) => Missing::NotSent { reason: error.to_string() },
            None => Missing::Open,
        };
        // A report may still come.
        Sent { offsets: kept.offsets.clone(), missing }
    }

    fn produce(
        &self,
        attempt: &str,
        partition: i32,
        value: &[u8],
        row: usize,
        reports: &Arc<Reports>,
        begun: Instant,
    ) -> Result<(), KafkaError> {
        let header = format!("{attempt} {row}");
        let headers = OwnedHeaders::new().insert(Header { key: POSTED_HEADER, value: Some(header.as_bytes()) });
        let sent = Box::new(UnderWay { reports: Arc::clone(reports), row });
        let record = BaseRecord::<(), [u8], _>::with_opaque_to(&self.topic.name, sent).partition(partition);
        let mut record = record.payload(value).headers(headers);
        // Unless the queue is full, it was the claim that took so long.
        let mut failed = KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut);
        while begun.elapsed() < SEND_MOST {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error @ KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    (record, failed) = (back, error);
                    std::thread::sleep(QUEUE_PAUSE);
                }
                Err((error, _)) => return Err(error),
            }
        }
        Err(failed)
    }

    /// Looks on for records of these attempts, to where the partition ends now; whether it came so far in `time_most`.
    pub fn find(
        &self,
        partition: i32,
        attempts: &[&str],
        looked: &mut Looked,
        time_most: Duration,
    ) -> Result<bool, PostError> {
        let consumer = self.topic.finder()?;
        let failed = |error| away(&error);
        let (low, high) = consumer.fetch_watermarks(&self.topic.name, partition, REQUEST_TIMEOUT).map_err(failed)?;
        if low > looked.next_offset {
            return Err(PostError::Removed);
        }
        if looked.next_offset >= high {
            return Ok(true);
        }
        let mut list = TopicPartitionList::new();
        let from = Offset::Offset(looked.next_offset);
        list.add_partition_offset(&self.topic.name, partition, from).map_err(failed)?;
        consumer.assign(&list).map_err(failed)?;
        let until = Instant::now() + time_most;
        while looked.next_offset < high {
            if Instant::now() >= until {
                return Ok(false);
            }
            match consumer.poll(Duration::from_millis(50)) {
                Some(Ok(message)) => {
                    if let Some(row) = message.headers().and_then(|headers| posted_row(headers, attempts)) {
                        looked.rows.entry(row).or_insert(message.offset());
                    }
                    looked.next_offset = message.offset() + 1;
                }
                // The last offsets may hold no record, such as the end of a transaction. And a broker that has just become the leader may
                // not know yet how far the partition goes.
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    let position = consumer.position().map_err(failed)?;
                    let position = position.find_partition(&self.topic.name, partition).map(|found| found.offset());
                    if let Some(Offset::Offset(position)) = position {
                        looked.next_offset = looked.next_offset.max(position);
                    }
                }
                Some(Err(error)) if !is_away(&error) => return Err(away(&error)),
                Some(Err(_)) | None => {}
            }
        }
        Ok(true)
    }

    /// Makes records durable below an end offset, where the topic lies on this machine.
    pub fn sync(&self, partition: i32, end: i64) -> Result<(), PostError> {
        let Some(sync) = &self.reached.sync_log else { return Ok(()) };
        sync(&self.topic.name, partition, end).map_err(|error| PostError::Away { reason: error.to_string() })
    }
}

fn away(error: &KafkaError) -> PostError {
    PostError::Away { reason: error.to_string() }
}

/// Whether the broker, or librdkafka by itself, did not take a record, and would not take it again as things are.
fn is_refusal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let code = error.rdkafka_error_code();
    code.is_some_and(|code| {
        matches!(
            code,
            Code::MessageSizeTooLarge
                | Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::InvalidRecord
                | Code::InvalidDifferentRecord
                | Code::InvalidTimestamp
                | Code::UnsupportedForMessageFormat
                | Code::PolicyViolation
        )
    })
}

fn posted_row(headers: &impl Headers, attempts: &[&str]) -> Option<usize> {
    let header = (0..headers.count()).filter_map(|place| headers.try_get(place));
    let value = header.filter(|header| header.key == POSTED_HEADER).find_map(|header| header.value)?;
    let (attempt, row) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    attempts.contains(&attempt).then(|| row.parse().ok()).flatten()
}

/// What became of the rows of one request.
struct Reports {
    kept: Mutex<Kept>,
    came: Condvar,
}

struct Kept {
    reported: usize,
    /// As in `Sent`.
    offsets: Vec<Option<i64>>,
    /// Why one is not in the topic.
    refused: Option<KafkaError>,
    /// Why it is not known of one.
    lost: Option<KafkaError>,
}

impl Kept {
    fn of(rows: usize) -> Self {
        Self { reported: 0, offsets: vec![None; rows], refused: None, lost: None }
    }
}

impl Reports {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record on its way.
struct UnderWay {
    reports: Arc<Reports>,
    row: usize,
}

#[derive(Default)]
struct Deliveries {
    is_broken: AtomicBool,
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.is_broken.store(true, Ordering::Relaxed);
        }
        tracing::debug!(%error, reason, "librdkafka");
    }

    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, message: &str) {
        tracing::debug!(message, "librdkafka");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<UnderWay>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<UnderWay>) {
        let mut kept = sent.reports.kept();
        match result {
            Ok(message) => kept.offsets[sent.row] = Some(message.offset()),
            Err((error, _)) if is_refusal(error) => kept.refused = Some(error.clone()),
            Err((error, _)) => kept.lost = Some(error.clone()),
        }
        kept.reported += 1;
        drop(kept);
        sent.reports.came.notify_all();
    }
}
