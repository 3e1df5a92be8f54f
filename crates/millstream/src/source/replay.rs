//! Sends the source's rows to the topic, each exactly once, and decides the cuts.
//!
//! Partition and offset are functions of the row: row i (from 0) is record ⌊i/P⌋ of partition i mod P. Started again, replay asks
//! each partition for its end and passes over what is there. It never sends a record twice itself: the producer is
//! idempotent, waits for the broker for ever, and a delivery report with another offset than computed means that someone else
//! writes to the topic. A cut is created once all its records are acknowledged: it never names an offset that does not exist.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use csv::ByteRecord;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde::{Deserialize, Serialize};

use super::deliveries::Deliveries;
use super::{Pacer, Payload, REJECT_HEADER, RowEncoder, Rows, SourceError};
use crate::batch::{Cut, CutReason, DecideError, Identity, Plan, Planned, RuleChanged, cuts, decide, ends_in_turn};
use crate::config::{OnStop, Source};
use crate::schema::FORMAT;
use crate::status::Status;
use crate::store::{Created, SharedStore, StoreError};
use crate::topic::{Topic, TopicError, TopicState};

pub const END_KEY: &str = "source/end.json";
/// Rows between two looks at acknowledgements, cuts and the stop flag.
const LOOK_EVERY: u64 = 1024;
/// At full speed rows wait this long for company; paced ones are sent at once.
const LINGER_MS: u32 = 20;
const LINGER_PACED_MS: u32 = 2;
/// How long a stop waits for acknowledgements; what is not acknowledged is sent again next time.
const STOP_FLUSH: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Decide(#[from] DecideError),
    #[error(transparent)]
    Rule(#[from] RuleChanged),
    #[error(
        "partition {partition} of topic {topic:?} holds {found} records from this pipeline's base on, the source has only {expected} for it: someone else writes to the topic; use a topic of this pipeline's own, and begin anew with another store.url"
    )]
    ForeignRecords { topic: String, partition: usize, found: i64, expected: i64 },
    #[error(
        "a record was stored at offset {found} instead of {expected}: someone else writes to topic {topic:?}; use a topic of this pipeline's own, and begin anew with another store.url"
    )]
    ForeignWriter { topic: String, expected: i64, found: i64 },
    #[error("batch {batch} is cut otherwise than this source would cut it: another pipeline uses this store")]
    CutDisagrees { batch: u32 },
    #[error(
        "the source has {found} rows, {expected} were counted at first: it changed while it was replayed; put the file back and start again"
    )]
    SourceChanged { found: u64, expected: u64 },
    #[error(
        "the last record of partition {partition} of topic {topic:?} (offset {offset}) is not this source's row: someone else writes to the topic; use a topic of this pipeline's own, and begin anew with another store.url"
    )]
    ForeignTail { topic: String, partition: usize, offset: i64 },
    #[error("the embedded broker's log is full: free space for {} (stream.data) and start again; nothing is lost", place.display())]
    LogFull { place: PathBuf },
    #[error("sending to topic {topic:?} failed: {reason}")]
    Send { topic: String, reason: String },
}

/// `source/end.json`: written after the last acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceEnd {
    pub format: u32,
    pub rows: u64,
    pub ends: Vec<i64>,
}

pub struct Replay {
    pub store: SharedStore,
    pub source: Source,
    pub identity: Identity,
    pub plan: Plan,
    pub topic: Topic,
    pub state: TopicState,
    pub on_stop: OnStop,
    /// The embedded broker's log, on this machine.
    pub embedded_log: Option<PathBuf>,
    pub status: Arc<Status>,
}

/// How a replay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every row is in the topic and in a cut.
    Source,
    /// `batch.limit` is reached; `left` rows were not sent.
    Limit {
        left: u64,
    },
    Stopped,
}

impl Replay {
    /// Runs until all is sent, or until `stop`; `asked` tells that a person stopped it, and no other stage's failure.
    pub fn run(&self, stop: &AtomicBool, asked: &AtomicBool) -> Result<Ended, ReplayError> {
        let base = &self.identity.base_offsets;
        let total = self.identity.source.as_ref().map_or(0, |source| source.rows);
        let (to_send, limited) = self.rows_to_send(total)?;
        self.check_log(to_send, total)?;
        let context = Deliveries::new(self);
        let mut pacer = Pacer::new(&self.source.pace, self.source.seed);
        let linger_ms = if pacer.is_full_speed() { LINGER_MS } else { LINGER_PACED_MS };
        let producer = self.topic.producer(context, linger_ms)?;
        let context = producer.context().clone();
        let mut cutter = Cutter::open(self)?;
        let mut rows = Rows::open(&self.source.path, &self.source.csv, false)?;
        let encoder = RowEncoder::new(rows.columns());
        let (mut record, mut value) = (ByteRecord::new(), Vec::with_capacity(4096));
        let started = Instant::now();
        let mut sent: Vec<i64> = base.clone();
        let mut partition = 0;
        // An earlier run sent it all: the file need not be read.
        let needed = ends_in_turn(base, to_send);
        let all_there = needed.iter().zip(&self.state.watermarks).all(|(end, (_, high))| high >= end)
            && (limited || self.store.read(END_KEY).is_ok());
        if all_there {
            let message = format!("all {to_send} rows are in the topic already");
            self.status.event("source_was_sent", message, serde_json::json!({ "rows": to_send }));
        }
        for row in 0..if all_there { 0 } else { to_send } {
            if row.is_multiple_of(LOOK_EVERY) {
                producer.poll(Duration::ZERO);
                context.check()?;
                cutter.decide_acknowledged(self, &context, row)?;
                self.status.update(|snapshot| snapshot.source.rows_sent = row);
                if stop.load(Ordering::Relaxed) {
                    return self.stopped(&producer, &context, &mut cutter, row, asked);
                }
            }
            if !rows.next(&mut record)? {
                return Err(ReplayError::SourceChanged { found: row, expected: total });
            }
            let offset = sent[partition];
            sent[partition] += 1;
            let at = partition;
            partition = if partition + 1 == base.len() { 0 } else { partition + 1 };
            let high = self.state.watermarks[at].1;
            if offset < high {
                if offset + 1 == high {
                    encoder.encode(&record, &mut value);
                    self.check_tail(at, offset, &value, stop)?;
                }
                continue;
            }
            if !pacer.is_full_speed() && !self.wait(&mut pacer, started, &producer, &context, &mut cutter, row, stop)? {
                return self.stopped(&producer, &context, &mut cutter, row, asked);
            }
            let payload = encoder.encode(&record, &mut value);
            if !self.send(&producer, &context, at, offset, &payload, &value, stop)? {
                return self.stopped(&producer, &context, &mut cutter, row, asked);
            }
        }
        self.finish(&producer, &context, &mut cutter, to_send, stop)?;
        if !cutter.pending.is_empty() {
            return Ok(Ended::Stopped);
        }
        if limited {
            return Ok(Ended::Limit { left: total - to_send });
        }
        self.write_end(total)?;
        self.status.update(|snapshot| snapshot.source.ended = true);
        Ok(Ended::Source)
    }

    /// All rows, or those up to the limit's last cut.
    fn rows_to_send(&self, total: u64) -> Result<(u64, bool), ReplayError> {
        let mut last: Option<Cut> = None;
        for cut in cuts(self.store.as_ref())? {
            self.plan.accepts(&cut)?;
            if self.plan.limit.is_some_and(|limit| cut.batch > limit.get()) {
                break;
            }
            last = Some(cut);
        }
        let mut reached = last.as_ref().map_or(0, |cut| cut.total);
        while reached < total {
            let Some(next) = self.plan.next(last.as_ref()) else { return Ok((reached, true)) };
            reached = next.total;
            last = Some(cut_of(&next, CutReason::Rows));
        }
        Ok((total, false))
    }

    /// Does the topic hold what this source put there, and no more?
    fn check_log(&self, to_send: u64, total: u64) -> Result<(), ReplayError> {
        let ends = ends_in_turn(&self.identity.base_offsets, to_send.max(total));
        for (partition, ((_, high), end)) in self.state.watermarks.iter().zip(&ends).enumerate() {
            if high > end {
                let base = self.identity.base_offsets[partition];
                return Err(ReplayError::ForeignRecords {
                    topic: self.topic.name.clone(),
                    partition,
                    found: high - base,
                    expected: end - base,
                });
            }
        }
        Ok(())
    }

    /// Is the last record of a partition the row that belongs there? Another writer's records shift all that follow.
    fn check_tail(&self, partition: usize, offset: i64, expected: &[u8], stop: &AtomicBool) -> Result<(), ReplayError> {
        match self.topic.read_one(partition, offset, stop)? {
            Some(found) if found != expected => {
                Err(ReplayError::ForeignTail { topic: self.topic.name.clone(), partition, offset })
            }
            // Not readable now: the delivery reports still tell.
            Some(_) | None => Ok(()),
        }
    }

    /// Waits until the row is due; false when stopped.
    #[expect(clippy::too_many_arguments, reason = "the loop's whole state; a struct would only rename it")]
    fn wait(
        &self,
        pacer: &mut Pacer,
        started: Instant,
        producer: &BaseProducer<Deliveries>,
        context: &Deliveries,
        cutter: &mut Cutter,
        row: u64,
        stop: &AtomicBool,
    ) -> Result<bool, ReplayError> {
        let due = pacer.next(started.elapsed());
        loop {
            let now = started.elapsed();
            if now >= due {
                return Ok(true);
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let left = due - now;
            // A full batch must not wait for the next row.
            context.check()?;
            cutter.decide_acknowledged(self, context, row)?;
            self.status.update(|snapshot| snapshot.source.rows_sent = row);
            producer.poll(left.min(Duration::from_millis(50)));
        }
    }

    /// Queues the record; false when stopped before there was room for it.
    #[expect(clippy::too_many_arguments, reason = "one record's parts and where it goes")]
    fn send(
        &self,
        producer: &BaseProducer<Deliveries>,
        context: &Deliveries,
        partition: usize,
        offset: i64,
        payload: &Payload,
        value: &[u8],
        stop: &AtomicBool,
    ) -> Result<bool, ReplayError> {
        let opaque = usize::try_from(offset).unwrap_or(usize::MAX);
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        let mut record: BaseRecord<'_, (), [u8], usize> =
            BaseRecord::with_opaque_to(&self.topic.name, opaque).partition(partition).payload(value);
        if let Payload::Stub { reason } = payload {
            let header = Header { key: REJECT_HEADER, value: Some(reason.as_bytes()) };
            record = record.headers(OwnedHeaders::new().insert(header));
        }
        loop {
            match producer.send(record) {
                Ok(()) => {
                    context.sent.fetch_add(1, Ordering::Relaxed);
                    return Ok(true);
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    // The queue's bound is the back-pressure; a stop must not wait for a broker that is away.
                    record = back;
                    producer.poll(Duration::from_millis(20));
                    context.check()?;
                    if stop.load(Ordering::Relaxed) {
                        return Ok(false);
                    }
                }
                Err((error, _)) => {
                    return Err(ReplayError::Send { topic: self.topic.name.clone(), reason: error.to_string() });
                }
            }
        }
    }

    /// Waits for every acknowledgement, however long the broker stays away, and decides the cuts that are left.
    fn finish(
        &self,
        producer: &BaseProducer<Deliveries>,
        context: &Deliveries,
        cutter: &mut Cutter,
        rows: u64,
        stop: &AtomicBool,
    ) -> Result<(), ReplayError> {
        cutter.end_of_source(self, rows);
        loop {
            let flushed = producer.flush(Duration::from_millis(100));
            context.check()?;
            cutter.decide_acknowledged(self, context, rows)?;
            self.status.update(|snapshot| snapshot.source.rows_sent = rows);
            if (flushed.is_ok() && cutter.pending.is_empty()) || stop.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }

    fn stopped(
        &self,
        producer: &BaseProducer<Deliveries>,
        context: &Deliveries,
        cutter: &mut Cutter,
        rows: u64,
        asked: &AtomicBool,
    ) -> Result<Ended, ReplayError> {
        let flushed = producer.flush(STOP_FLUSH);
        context.check()?;
        cutter.decide_acknowledged(self, context, rows)?;
        let ends = ends_in_turn(&self.identity.base_offsets, rows);
        // While an earlier run's rows are still passed over, ingest may have read beyond this one.
        let at_the_end = ends.iter().zip(&self.state.watermarks).all(|(end, (_, high))| end >= high);
        let cut = self.on_stop == OnStop::Cut && asked.load(Ordering::Relaxed);
        if cut && at_the_end && flushed.is_ok() && rows > cutter.last_total() {
            cutter.pending.clear();
            let batch = cutter.last.as_ref().map_or(1, |cut| cut.batch + 1);
            cutter.pending.push_back((Planned { batch, total: rows, ends }, CutReason::Stop));
            cutter.decide_acknowledged(self, context, rows)?;
        }
        Ok(Ended::Stopped)
    }

    fn write_end(&self, rows: u64) -> Result<(), ReplayError> {
        let end = SourceEnd { format: FORMAT, rows, ends: ends_in_turn(&self.identity.base_offsets, rows) };
        let bytes = serde_json::to_vec_pretty(&end).unwrap_or_default();
        match self.store.create(END_KEY, &bytes) {
            Ok(Created::Mine | Created::Exists) => Ok(()),
            // A lost answer: the key tells.
            Err(error) => self.store.read(END_KEY).map(|_| ()).map_err(|_| error.into()),
        }
    }
}

/// The cuts that are due as rows go out, decided in order once their records are acknowledged.
struct Cutter {
    last: Option<Cut>,
    /// The newest planned batch, decided or not.
    planned: Option<Cut>,
    pending: VecDeque<(Planned, CutReason)>,
}

impl Cutter {
    fn open(replay: &Replay) -> Result<Self, ReplayError> {
        let last = cuts(replay.store.as_ref())?.pop();
        Ok(Self { planned: last.clone(), last, pending: VecDeque::new() })
    }

    fn last_total(&self) -> u64 {
        self.last.as_ref().map_or(0, |cut| cut.total)
    }

    /// Creates each planned cut whose rows are all sent (`rows` so far) and acknowledged.
    fn decide_acknowledged(&mut self, replay: &Replay, context: &Deliveries, rows: u64) -> Result<(), ReplayError> {
        self.plan_full(replay, rows);
        while let Some((planned, reason)) = self.pending.front() {
            if !context.acknowledged(&planned.ends) {
                return Ok(());
            }
            let wanted = cut_of(planned, *reason);
            let holds = decide(replay.store.as_ref(), &wanted)?;
            if (&holds.ends, holds.total) != (&wanted.ends, wanted.total) {
                return Err(ReplayError::CutDisagrees { batch: wanted.batch });
            }
            self.last = Some(holds);
            self.pending.pop_front();
        }
        Ok(())
    }

    /// Queues every batch that `rows` rows fill.
    fn plan_full(&mut self, replay: &Replay, rows: u64) {
        while let Some(next) = replay.plan.next(self.planned.as_ref()).filter(|next| next.total <= rows) {
            // A part of no rows (fewer rows than parts) is still a batch.
            self.planned = Some(cut_of(&next, CutReason::Rows));
            self.pending.push_back((next, CutReason::Rows));
        }
    }

    /// The last rows make a short batch.
    fn end_of_source(&mut self, replay: &Replay, rows: u64) {
        self.plan_full(replay, rows);
        let before = self.planned.as_ref().map_or(0, |cut| cut.total);
        let Some(next) = replay.plan.next(self.planned.as_ref()) else { return };
        if rows > before && next.total > rows {
            let ends = ends_in_turn(&replay.identity.base_offsets, rows);
            let planned = Planned { batch: next.batch, total: rows, ends };
            self.planned = Some(cut_of(&planned, CutReason::End));
            self.pending.push_back((planned, CutReason::End));
        }
    }
}

fn cut_of(planned: &Planned, reason: CutReason) -> Cut {
    Cut {
        format: FORMAT,
        batch: planned.batch,
        attempt: uuid::Uuid::new_v4().simple().to_string(),
        ends: planned.ends.clone(),
        total: planned.total,
        reason,
        schema: 1,
    }
}
