//! Reads the topic into parts, one open part per partition, and commits each where its cut says.
//!
//! A part is filled up to the end that the plan foretells (rows go to the partitions in turn) and committed once the cut is
//! decided. A cut that ends earlier (the end of the source, a stop) is looked for whenever the topic is quiet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Headers;
use rdkafka::{Offset, TopicPartitionList};

use super::Identity;
use super::committed::{self, Committed};
use super::cut::{self, DecideError};
use super::manifest::Cut;
use super::part::{Outcome, Part, PartError, Record, sweep};
use super::plan::Plan;
use crate::schema::StreamSchema;
use crate::source::REJECT_HEADER;
use crate::status::Status;
use crate::store::SharedStore;
use crate::topic::{Topic, TopicError, Watch, is_away};

/// How long a quiet topic is waited for before the store is asked for a cut.
const POLL: Duration = Duration::from_millis(50);
/// Progress is told so often.
const STATUS_EVERY: u64 = 4096;
/// More rejects than this and the stream is not what it claims to be, unless `batch.max_rejects` says otherwise.
const DEFAULT_MAX_REJECTS: u64 = 1000;

#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error(transparent)]
    Part(#[from] PartError),
    #[error(transparent)]
    Decide(#[from] DecideError),
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(
        "offsets from {offset} on are not in partition {partition} of topic {topic:?} any more: retention or another hand removed them; begin anew with another store.url and stream.topic"
    )]
    Gap { topic: String, partition: i32, offset: i64 },
    #[error("reading topic {topic:?} failed: {source}")]
    Kafka { topic: String, source: KafkaError },
    #[error(
        "record {offset} of partition {partition} does not fit the inferred schema: {reason}; pin the column in [schema.columns] ({column:?} = \"utf8\" takes anything), and begin anew with another store.url and stream.topic; or set batch.max_rejects, which keeps such records aside, and start again"
    )]
    Misfit { partition: u32, offset: i64, reason: String, column: String },
    #[error(
        "{rejects} rejects, more than batch.max_rejects = {limit}: the stream is not what it claims to be (the last: {reason}); mend the source or raise the limit"
    )]
    Rejects { rejects: u64, limit: u64, reason: String },
    #[error(
        "batch {batch} of partition {partition} was read to offset {read}, its cut says {cut}: two pipelines share this store"
    )]
    CutDisagrees { batch: u32, partition: u32, read: i64, cut: i64 },
    #[error(
        "batch {batch}: partition {partition} gave {found} records where {expected} were sent; nothing was committed; start again, and report this as a bug if it stays"
    )]
    Hole { batch: u32, partition: u32, found: u64, expected: u64 },
    #[error("the embedded broker's log cannot be made durable")]
    Sync(#[source] millstream_broker::BrokerError),
}

/// What ingest needs to know; all of it was written once in the store.
pub struct Ingest {
    pub store: SharedStore,
    pub schema: StreamSchema,
    pub identity: Identity,
    pub plan: Plan,
    pub topic: Topic,
    pub max_rejects: Option<u64>,
    /// The embedded broker's log: fsynced through a manifest's end offset before the manifest is written.
    pub embedded_log: Option<std::path::PathBuf>,
    pub status: Arc<Status>,
}

/// One partition: the open part and where it is to end.
struct Lane {
    partition: u32,
    part: Part,
    /// The end foretold by the plan or decided by the cut; `None`: nothing more is due.
    end: Option<i64>,
    last_cut: Option<Cut>,
    paused: bool,
}

impl Ingest {
    /// Runs until every batch of the plan, or of a source that ended (`no_more`), is complete, or until `stop`. `complete` is called after each
    /// batch that became complete. An open part is dropped at the end: its records stay in the topic.
    pub fn run(&self, stop: &AtomicBool, no_more: &AtomicBool, complete: &dyn Fn(u32)) -> Result<(), IngestError> {
        let start = self.committed()?;
        let status = self.status.clone();
        let watch = Watch::new(move |reachable, message| {
            status.update(|snapshot| snapshot.broker.reachable = reachable);
            status.event("broker", message, serde_json::json!({ "reachable": reachable }));
        });
        let consumer = self.topic.consumer(watch, &self.identity.group())?;
        let mut run = Run {
            ingest: self,
            rejects: start.rejects,
            complete_batches: start.batches.len(),
            lanes: Vec::new(),
            complete,
        };
        for (partition, (batch, offset)) in (0..).zip(&start.checkpoint) {
            // A crash between a manifest and the sweep after it.
            if let Some(manifest) = committed::read_manifest(self.store.as_ref(), *batch, partition)? {
                sweep(self.store.as_ref(), &manifest).map_err(PartError::from)?;
            }
            let lane = run.lane(partition, *batch, *offset)?;
            run.lanes.push(lane);
        }
        self.assign(&consumer, &run.lanes)?;
        run.tell();
        run.consume(&consumer, stop, no_more)
    }

    fn committed(&self) -> Result<Committed, DecideError> {
        committed::committed(self.store.as_ref(), &self.identity.base_offsets)
    }

    fn assign<F: Fn(bool, String) + Send + Sync>(
        &self,
        consumer: &BaseConsumer<Watch<F>>,
        lanes: &[Lane],
    ) -> Result<(), IngestError> {
        let mut list = TopicPartitionList::new();
        for lane in lanes {
            let partition = i32::try_from(lane.partition).unwrap_or(i32::MAX);
            let offset = Offset::Offset(lane.part.next_offset());
            list.add_partition_offset(&self.topic.name, partition, offset).map_err(|source| self.kafka(source))?;
        }
        consumer.assign(&list).map_err(|source| self.kafka(source))
    }

    fn kafka(&self, source: KafkaError) -> IngestError {
        IngestError::Kafka { topic: self.topic.name.clone(), source }
    }

    /// Makes the records below `end` durable before a manifest names them.
    fn sync_log(&self, partition: u32, end: i64) -> Result<(), IngestError> {
        let Some(data) = &self.embedded_log else { return Ok(()) };
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        millstream_broker::sync_through(data, &self.topic.name, partition, end).map_err(IngestError::Sync)
    }
}

struct Run<'a> {
    ingest: &'a Ingest,
    lanes: Vec<Lane>,
    rejects: u64,
    complete_batches: usize,
    complete: &'a dyn Fn(u32),
}

impl Run<'_> {
    /// The lane of a partition whose newest manifest is that of `batch`, ending at `offset`.
    fn lane(&self, partition: u32, batch: u32, offset: i64) -> Result<Lane, IngestError> {
        let ingest = self.ingest;
        let store = ingest.store.as_ref();
        let last_cut = if batch == 0 { None } else { cut::read(store, batch)? };
        let part = Part::new(ingest.store.clone(), &ingest.schema, batch + 1, partition, offset);
        let decided = cut::read(store, batch + 1)?;
        let planned = || ingest.plan.next(last_cut.as_ref()).map(|planned| planned.ends);
        let ends = decided.map(|cut| cut.ends).or_else(planned);
        let end = ends.and_then(|ends| ends.get(partition as usize).copied());
        Ok(Lane { partition, part, end, last_cut, paused: false })
    }

    fn consume<F: Fn(bool, String) + Send + Sync>(
        &mut self,
        consumer: &BaseConsumer<Watch<F>>,
        stop: &AtomicBool,
        no_more: &AtomicBool,
    ) -> Result<(), IngestError> {
        let mut seen = 0_u64;
        let mut asked = Instant::now();
        self.advance(consumer)?;
        while !stop.load(Ordering::Relaxed) {
            // Read before the poll: what was acknowledged before the source ended is then seen by it.
            let ended = no_more.load(Ordering::Acquire);
            match consumer.poll(POLL) {
                Some(Ok(message)) => {
                    self.push(&message)?;
                    seen += 1;
                    let full = self.lane_is_full(message.partition());
                    if full || seen.is_multiple_of(STATUS_EVERY) {
                        consumer.context().here();
                        self.tell();
                        self.advance(consumer)?;
                    }
                    continue;
                }
                Some(Err(error)) => self.trouble(error)?,
                None => {}
            }
            if asked.elapsed() >= POLL {
                self.tell();
                self.advance(consumer)?;
                asked = Instant::now();
            }
            if self.done(ended)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn lane_is_full(&self, partition: i32) -> bool {
        let lane = usize::try_from(partition).ok().and_then(|index| self.lanes.get(index));
        lane.is_some_and(|lane| lane.end.is_some_and(|end| lane.part.next_offset() >= end))
    }

    fn push(&mut self, message: &rdkafka::message::BorrowedMessage) -> Result<(), IngestError> {
        let Some(lane) = usize::try_from(message.partition()).ok().and_then(|index| self.lanes.get_mut(index)) else {
            return Ok(());
        };
        let stub = message.headers().and_then(|headers| {
            headers
                .iter()
                .find(|header| header.key == REJECT_HEADER)
                .map(|header| String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned())
        });
        let record = Record {
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
            key: message.key(),
            value: message.payload(),
            stub: stub.as_deref(),
        };
        let Some(misfit) = lane.part.push(record)? else { return Ok(()) };
        self.rejects += 1;
        if let (Some(column), None) = (&misfit.inferred_column, self.ingest.max_rejects) {
            return Err(IngestError::Misfit {
                partition: lane.partition,
                offset: message.offset(),
                reason: misfit.reason.clone(),
                column: column.clone(),
            });
        }
        let limit = self.ingest.max_rejects.unwrap_or(DEFAULT_MAX_REJECTS);
        if self.rejects > limit {
            return Err(IngestError::Rejects { rejects: self.rejects, limit, reason: misfit.reason });
        }
        Ok(())
    }

    /// Commits every lane that has reached the end of its cut, as far as cuts are decided. A lane that waits for its cut, or that has
    /// all it is to have, is paused: librdkafka then drops what it fetched ahead and fetches it again on resuming.
    fn advance<F: Fn(bool, String) + Send + Sync>(
        &mut self,
        consumer: &BaseConsumer<Watch<F>>,
    ) -> Result<(), IngestError> {
        for index in 0..self.lanes.len() {
            while self.commit_if_due(index)? {
                self.show_lag(consumer, index);
                self.report_complete();
            }
            let lane = &mut self.lanes[index];
            let waits = lane.end.is_none_or(|end| lane.part.next_offset() >= end);
            if waits != lane.paused {
                lane.paused = waits;
                let mut list = TopicPartitionList::new();
                list.add_partition(&self.ingest.topic.name, i32::try_from(lane.partition).unwrap_or(i32::MAX));
                let changed = if waits { consumer.pause(&list) } else { consumer.resume(&list) };
                changed.map_err(|source| self.ingest.kafka(source))?;
            }
        }
        Ok(())
    }

    /// True when the lane went on to its next batch.
    fn commit_if_due(&mut self, index: usize) -> Result<bool, IngestError> {
        let lane = &mut self.lanes[index];
        let batch = lane.part.batch();
        let Some(decided) = cut::read(self.ingest.store.as_ref(), batch)? else { return Ok(false) };
        let end = decided.ends.get(lane.partition as usize).copied().unwrap_or(i64::MAX);
        lane.end = Some(end);
        let read = lane.part.next_offset();
        if read > end {
            return Err(IngestError::CutDisagrees { batch, partition: lane.partition, read, cut: end });
        }
        if read < end {
            return Ok(false);
        }
        // Our own producer leaves no holes: one would be a row that was not read.
        let expected = u64::try_from(end - lane.part.first_offset()).unwrap_or(0);
        if self.ingest.identity.source.is_some() && lane.part.records() != expected {
            return Err(IngestError::Hole { batch, partition: lane.partition, found: lane.part.records(), expected });
        }
        self.ingest.sync_log(lane.partition, end)?;
        let (partition, paused, ingest) = (lane.partition, lane.paused, self.ingest);
        let next = Part::new(ingest.store.clone(), &ingest.schema, batch + 1, partition, end);
        let outcome = std::mem::replace(&mut lane.part, next).commit()?;
        if let Outcome::Anothers(found) = &outcome {
            tracing::warn!(
                batch,
                partition,
                attempt = found.attempt,
                "another worker committed this part; going on from it"
            );
        }
        self.lanes[index] = Lane { paused, ..self.lane(partition, batch, end)? };
        Ok(true)
    }

    /// Commits the position to Kafka, for lag displays only; nobody reads it back.
    fn show_lag<F: Fn(bool, String) + Send + Sync>(&self, consumer: &BaseConsumer<Watch<F>>, index: usize) {
        let lane = &self.lanes[index];
        let partition = i32::try_from(lane.partition).unwrap_or(i32::MAX);
        let mut list = TopicPartitionList::new();
        let added =
            list.add_partition_offset(&self.ingest.topic.name, partition, Offset::Offset(lane.part.next_offset()));
        if let Err(error) = added.and_then(|()| consumer.commit(&list, CommitMode::Async)) {
            tracing::debug!(%error, "committing the offset for lag displays failed");
        }
    }

    fn report_complete(&mut self) {
        let oldest_open = self.lanes.iter().map(|lane| lane.part.batch()).min().unwrap_or(1);
        while (self.complete_batches as u64) < u64::from(oldest_open - 1) {
            self.complete_batches += 1;
            (self.complete)(u32::try_from(self.complete_batches).unwrap_or(u32::MAX));
        }
    }

    /// Nothing more will come: the limit is reached in every lane, or the source has ended and its last cut is committed.
    fn done(&self, source_ended: bool) -> Result<bool, IngestError> {
        if self.lanes.iter().all(|lane| lane.end.is_none()) {
            return Ok(true);
        }
        if !source_ended {
            return Ok(false);
        }
        for lane in &self.lanes {
            if cut::read(self.ingest.store.as_ref(), lane.part.batch())?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn trouble(&self, error: KafkaError) -> Result<(), IngestError> {
        let code = error.rdkafka_error_code();
        if matches!(code, Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)) {
            let lane = self.lanes.iter().min_by_key(|lane| lane.part.next_offset());
            let (partition, offset) = lane.map_or((0, 0), |lane| (lane.partition, lane.part.next_offset()));
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            return Err(IngestError::Gap { topic: self.ingest.topic.name.clone(), partition, offset });
        }
        if is_away(&error) { Ok(()) } else { Err(self.ingest.kafka(error)) }
    }

    fn tell(&self) {
        let Some(batch) = self.lanes.iter().map(|lane| lane.part.batch()).min() else { return };
        let open = self.lanes.iter().filter(|lane| lane.part.batch() == batch);
        let rows = open.map(|lane| lane.part.records()).sum();
        let first = self.lanes.iter().find(|lane| lane.part.batch() == batch);
        let expected = first.and_then(|lane| {
            let planned = self.ingest.plan.next(lane.last_cut.as_ref())?;
            Some(planned.total - lane.last_cut.as_ref().map_or(0, |cut| cut.total))
        });
        self.ingest.status.update(|snapshot| {
            snapshot.batch.batch = batch;
            snapshot.batch.rows = rows;
            snapshot.batch.rows_expected = expected;
            snapshot.batch.rejects_total = self.rejects;
        });
    }
}
