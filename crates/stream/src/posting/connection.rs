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
/// How long records of an attempt are looked for.
const FIND_MOST: Duration = Duration::from_secs(20);

pub struct Connection {
    topic: Topic,
    reached: Reached,
    producer: ThreadedProducer<Deliveries>,
    pub partitions: i32,
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
        Ok(Self { topic, reached, producer, partitions })
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
    /// reports came. The offset of each row; `None`: it may be there or not.
    pub fn send(
        &self,
        attempt: &str,
        partition: i32,
        values: &[Vec<u8>],
        rows: &[usize],
        begun: Instant,
    ) -> Vec<Option<i64>> {
        let reports = Arc::new(Reports { kept: Mutex::new(Kept::of(values.len())), came: Condvar::new() });
        let mut sent = 0;
        for row in rows {
            match self.produce(attempt, partition, &values[*row], *row, &reports, begun) {
                Ok(()) => sent += 1,
                Err(error) => {
                    tracing::warn!(%error, topic = self.topic.name, "posted rows were not sent");
                    break;
                }
            }
        }
        let (mut kept, handed_over) = (reports.kept(), Instant::now());
        while kept.reported < sent && handed_over.elapsed() < GIVE_UP + REPORT_MOST {
            (kept, _) = reports.came.wait_timeout(kept, REPORT_MOST).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(failed) = kept.failed.take() {
            tracing::warn!(error = failed, topic = self.topic.name, "posted rows were not acknowledged");
        }
        // A report may still come.
        kept.offsets.clone()
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
        let sent = Box::new(Sent { reports: Arc::clone(reports), row });
        let record = BaseRecord::<(), [u8], _>::with_opaque_to(&self.topic.name, sent).partition(partition);
        let mut record = record.payload(value).headers(headers);
        while begun.elapsed() < SEND_MOST {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(QUEUE_PAUSE);
                }
                Err((error, _)) => return Err(error),
            }
        }
        Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull))
    }

    /// Records of these attempts from an offset to the end of the partition: the offset of each row, of several the first.
    pub fn find(&self, partition: i32, from: i64, attempts: &[&str]) -> Result<BTreeMap<usize, i64>, PostError> {
        let consumer = self.topic.finder()?;
        let failed = |error| away(&error);
        let (low, high) = consumer.fetch_watermarks(&self.topic.name, partition, REQUEST_TIMEOUT).map_err(failed)?;
        if low > from {
            return Err(PostError::Removed);
        }
        let mut found = BTreeMap::new();
        if from >= high {
            return Ok(found);
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic.name, partition, Offset::Offset(from)).map_err(failed)?;
        consumer.assign(&list).map_err(failed)?;
        let until = Instant::now() + FIND_MOST;
        while Instant::now() < until {
            match consumer.poll(Duration::from_millis(50)) {
                Some(Ok(message)) => {
                    if let Some(row) = message.headers().and_then(|headers| posted_row(headers, attempts)) {
                        found.entry(row).or_insert(message.offset());
                    }
                    if message.offset() + 1 >= high {
                        return Ok(found);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(found),
                Some(Err(error)) if !is_away(&error) => return Err(away(&error)),
                Some(Err(_)) | None => {}
            }
        }
        let reason = format!("the records from offset {from} on could not be read in {} s", FIND_MOST.as_secs());
        Err(PostError::Away { reason })
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
    /// By row. Negative: librdkafka knows that it is stored, not where (the answer was lost and the broker had it already).
    offsets: Vec<Option<i64>>,
    failed: Option<String>,
}

impl Kept {
    fn of(rows: usize) -> Self {
        Self { reported: 0, offsets: vec![None; rows], failed: None }
    }
}

impl Reports {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record on its way.
struct Sent {
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
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        let mut kept = sent.reports.kept();
        match result {
            Ok(message) => kept.offsets[sent.row] = Some(message.offset()),
            Err((error, _)) => kept.failed = Some(error.to_string()),
        }
        kept.reported += 1;
        drop(kept);
        sent.reports.came.notify_all();
    }
}
