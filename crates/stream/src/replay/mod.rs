//! Sends the source's rows to the topic, each exactly once, and decides the cuts that follow from the rows.
//!
//! Partition and offset are functions of the row: without a key row i (from 0) is record ⌊i/P⌋ of partition i mod P, with one the partition
//! is a hash of the key and the offset the number of rows before it there. Started again, replay asks each partition for its end and
//! passes over what is there. It never sends a record twice itself: the producer is idempotent, waits for the broker for ever, and a
//! delivery report with another offset than computed means that someone else writes to the topic. A cut is created once all its
//! records are acknowledged: it never names an offset that does not exist.

mod deliveries;
mod feed;
mod pace;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millstream_store::{Created, SharedStore, StoreError, read_optional, record_bytes};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde::{Deserialize, Serialize};

use self::deliveries::Deliveries;
use self::feed::{Feed, Next};
use self::pace::Pacer;
use crate::batch::{
    Boundary, Cut, CutReason, DecideError, Identity, OnStop, Plan, RowCutter, RuleChanged, check_offsets, cut_exists,
    cuts, decide, ends_in_turn, new_cut,
};
use crate::record::{Encoding, REJECT_HEADER, RowClock};
use crate::schema::{FORMAT, StreamSchema};
use crate::source::{Dataset, Pace, Row, Source, SourceError};
use crate::topic::{Topic, TopicError, TopicState, kafka_partition};
use millstream_base::status::{EventKind, Rate, Status, clock_ms};

pub const END_KEY: &str = "source/end.json";
/// Rows between two looks at acknowledgements, cuts and the stop flag.
const LOOK_EVERY: u64 = 1024;
/// While a row is waited for, the same looks are taken so often.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Where others decide the cuts, the store is asked so often whether the limit is reached.
const LIMIT_PAUSE: Duration = Duration::from_millis(500);
/// At full speed rows wait this long for company; paced ones are sent at once.
const LINGER_MS: u32 = 20;
const LINGER_PACED_MS: u32 = 2;
/// How long a stop waits for acknowledgements; what is not acknowledged is sent again next time.
const STOP_FLUSH: Duration = Duration::from_secs(5);
/// Of the hash that makes a key's partition; another one would send the rows elsewhere.
const KEY_SEED: u64 = 0;

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
    #[error(
        "batch {batch} is cut otherwise than this source would cut it: the rule was a window of arrival time before, another pipeline uses this store, or standard input is not the stream it was at first; begin anew with another store.url and stream.topic"
    )]
    CutDisagrees { batch: u32 },
    #[error(
        "the source has {found} rows, {expected} were counted at first: it changed while it was replayed; put the file back and start again"
    )]
    SourceChanged { found: u64, expected: u64 },
    #[error(
        "the last record of partition {partition} of topic {topic:?} (offset {offset}) is not this source's row: someone else writes to the topic, or standard input is not the stream it was at first; use a topic of this pipeline's own, and begin anew with another store.url"
    )]
    ForeignTail { topic: String, partition: usize, offset: i64 },
    #[error("the embedded broker's log is full: free space for {} (stream.data) and start again; nothing is lost", place.display())]
    LogFull { place: PathBuf },
    #[error("sending to topic {topic:?} failed: {reason}")]
    Send { topic: String, reason: String },
    #[error("{END_KEY}: cannot be read as format 1: {reason}; restore it, or begin anew with another store.url")]
    End { reason: String },
}

/// `source/end.json`: written after the last acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceEnd {
    pub format: u32,
    pub rows: u64,
    pub ends: Vec<i64>,
}

impl SourceEnd {
    /// `None`: the source has not ended yet.
    pub fn read(store: &dyn millstream_store::Store) -> Result<Option<Self>, ReplayError> {
        let Some(bytes) = read_optional(store, END_KEY)? else { return Ok(None) };
        let unreadable = |reason: String| ReplayError::End { reason };
        let end: Self = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if end.format != FORMAT {
            return Err(unreadable(format!("format {}", end.format)));
        }
        check_offsets(&end.ends).map_err(unreadable)?;
        Ok(Some(end))
    }
}

pub struct Replay {
    pub store: SharedStore,
    pub source: Source,
    pub dataset: Arc<Dataset>,
    pub schema: StreamSchema,
    pub encoding: Encoding,
    pub identity: Identity,
    pub plan: Plan,
    pub topic: Topic,
    pub state: TopicState,
    pub on_stop: OnStop,
    /// A part-filled batch is closed after so long a silence.
    pub idle: Option<Duration>,
    /// The embedded broker's log, on this machine.
    pub embedded_log: Option<PathBuf>,
    pub status: Arc<Status>,
}

/// How a replay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every row is in the topic, and in a cut where replay decides them.
    Source,
    /// `batch.limit` is reached; `left` rows were not sent, where that is known.
    Limit {
        left: Option<u64>,
    },
    Stopped,
}

impl Replay {
    /// Runs until all is sent, or until `stop`; `asked` tells that a person stopped it, and no other stage's failure.
    pub fn run(&self, stop: &AtomicBool, asked: &AtomicBool) -> Result<Ended, ReplayError> {
        let decided = cuts(self.store.as_ref())?;
        decided.iter().try_for_each(|cut| self.plan.accepts(cut))?;
        if let Some(ended) = self.was_sent(&decided)? {
            return Ok(ended);
        }
        let mut sending = Sending::open(self, decided, stop)?;
        self.dataset.obey(&self.schema);
        let mut feed = match Feed::open(&self.dataset, self.encoding) {
            // The stop ended the read, too.
            Err(_) if sending.stopping() => return Ok(Ended::Stopped),
            feed => feed?,
        };
        let ended = sending.rows(&mut feed);
        self.status.update(|snapshot| snapshot.source.rows_per_second = 0.0);
        let ended = ended?;
        match ended {
            Ended::Stopped => sending.stopped(asked)?,
            Ended::Source | Ended::Limit { .. } if !sending.finish(ended)? => return Ok(Ended::Stopped),
            Ended::Source => {
                self.write_end(&sending)?;
                self.status.update(|snapshot| snapshot.source.ended = true);
            }
            Ended::Limit { .. } => {}
        }
        Ok(ended)
    }

    /// Did an earlier run send it all? Then the file need not be read. Also looks for records that are not the source's.
    fn was_sent(&self, decided: &[Cut]) -> Result<Option<Ended>, ReplayError> {
        let end = SourceEnd::read(self.store.as_ref())?;
        let in_turn = || Some(ends_in_turn(&self.identity.base_offsets, self.plan.source_rows?));
        let known = end.as_ref().map(|end| end.ends.clone()).or_else(|| if self.plan.keyed { None } else { in_turn() });
        if let Some(ends) = known {
            self.no_foreign_records(&ends)?;
        }
        let total = decided.last().map_or(0, |cut| cut.total);
        let rows = end.as_ref().map(|end| end.rows);
        let limit = self.plan.limit.map(|limit| limit.get() as usize);
        let ended = if rows.is_some_and(|rows| total >= rows || !self.plan.replay_decides()) {
            self.status.update(|snapshot| snapshot.source.ended = true);
            Ended::Source
        } else if limit.is_some_and(|limit| decided.len() >= limit) && self.plan.source_rows != Some(total) {
            Ended::Limit { left: self.plan.source_rows.map(|rows| rows.saturating_sub(total)) }
        } else {
            return Ok(None);
        };
        let sent = if ended == Ended::Source { rows.unwrap_or(total) } else { total };
        let message = format!("all {sent} rows are in the topic already");
        self.status.event(EventKind::SourceWasSent, message, serde_json::json!({ "rows": sent }));
        self.status.update(|snapshot| snapshot.source.rows_sent = sent);
        Ok(Some(ended))
    }

    /// Does the topic hold no more than what this source puts there?
    fn no_foreign_records(&self, ends: &[i64]) -> Result<(), ReplayError> {
        for (partition, ((_, high), end)) in self.state.watermarks.iter().zip(ends).enumerate() {
            if high > end {
                let base = self.identity.base_offsets[partition];
                let (found, expected) = (high - base, end - base);
                return Err(ReplayError::ForeignRecords { topic: self.topic.name.clone(), partition, found, expected });
            }
        }
        Ok(())
    }

    fn write_end(&self, sending: &Sending) -> Result<(), ReplayError> {
        let end = SourceEnd { format: FORMAT, rows: sending.rows, ends: sending.sent.clone() };
        let bytes = record_bytes(END_KEY, &end)?;
        match self.store.create(END_KEY, &bytes) {
            Ok(Created::Mine | Created::Exists) => Ok(()),
            // A lost answer: the key tells.
            Err(error) => self.store.read(END_KEY).map(|_| ()).map_err(|_| error.into()),
        }
    }
}

/// A replay under way.
struct Sending<'a> {
    replay: &'a Replay,
    stop: &'a AtomicBool,
    producer: BaseProducer<Deliveries>,
    context: Arc<Deliveries>,
    pacer: Pacer,
    /// Of the rows' event times, where the pace or the batches need them.
    clock: RowClock,
    started: Instant,
    /// `None`: the cuts follow from what the topic holds, and ingest decides them.
    cutter: Option<RowCutter>,
    decided: Vec<Cut>,
    /// Planned, and created once their records are acknowledged.
    pending: VecDeque<Cut>,
    /// The next offset per partition.
    sent: Vec<i64>,
    rows: u64,
    rate: Rate,
    last_sent: Instant,
    limit_asked: Instant,
}

impl<'a> Sending<'a> {
    fn open(replay: &'a Replay, decided: Vec<Cut>, stop: &'a AtomicBool) -> Result<Self, ReplayError> {
        let pacer = Pacer::new(&replay.source.pace, replay.source.seed);
        let linger_ms = if pacer.is_full_speed() { LINGER_MS } else { LINGER_PACED_MS };
        let producer = replay.topic.producer(Deliveries::new(replay), linger_ms)?;
        let context = producer.context().clone();
        let cutter = replay.plan.replay_decides().then(|| RowCutter::new(&replay.plan, decided.clone()));
        let now = Instant::now();
        Ok(Self {
            stop,
            context,
            producer,
            pacer,
            clock: RowClock::new(&replay.schema, replay.encoding),
            started: now,
            cutter,
            decided,
            pending: VecDeque::new(),
            sent: replay.identity.base_offsets.clone(),
            rows: 0,
            rate: Rate::new(0),
            last_sent: now,
            limit_asked: now,
            replay,
        })
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sends row after row until the source ends, the limit is reached, or it is told to stop.
    fn rows(&mut self, feed: &mut Feed) -> Result<Ended, ReplayError> {
        let total = self.replay.plan.source_rows;
        let mut row = Row::default();
        self.cut_what_is_due()?;
        loop {
            if self.rows.is_multiple_of(LOOK_EVERY) {
                self.look()?;
                if self.stopping() {
                    return Ok(Ended::Stopped);
                }
            }
            if total == Some(self.rows) {
                return Ok(Ended::Source);
            }
            if self.limit_is_reached()? {
                return Ok(Ended::Limit { left: total.map(|total| total - self.rows) });
            }
            let next = match feed.next(&mut row, LOOK_PAUSE) {
                Err(_) if self.stopping() => return Ok(Ended::Stopped),
                next => next?,
            };
            match next {
                Next::Row => {}
                Next::Quiet => {
                    self.look_while_waiting()?;
                    if self.stopping() {
                        return Ok(Ended::Stopped);
                    }
                    continue;
                }
                Next::End => match total {
                    Some(expected) => return Err(ReplayError::SourceChanged { found: self.rows, expected }),
                    None => return Ok(Ended::Source),
                },
            }
            if !self.row(&row)? {
                return Ok(Ended::Stopped);
            }
        }
    }

    /// Sends one row, unless an earlier run did; false when told to stop before that.
    fn row(&mut self, row: &Row) -> Result<bool, ReplayError> {
        let by_event_time = matches!(self.replay.source.pace, Pace::Speed(_));
        let partition = self.partition(row);
        let offset = self.sent[partition];
        let high = self.replay.state.watermarks[partition].1;
        let is_new = offset >= high;
        let needs_time = (is_new && by_event_time) || self.cutter.as_ref().is_some_and(RowCutter::needs_times);
        let time_ms = if needs_time && row.stub.is_none() { self.time_ms(row) } else { None };
        if is_new && !self.pacer.is_full_speed() && !self.wait(time_ms)? {
            return Ok(false);
        }
        if let Some(boundary) = self.cutter.as_mut().and_then(|cutter| cutter.before_row(time_ms)) {
            self.plan_cut(boundary)?;
        }
        if is_new {
            if !self.send(partition, offset, row)? {
                return Ok(false);
            }
        } else if offset + 1 == high {
            self.check_tail(partition, offset, &row.value)?;
        }
        self.sent[partition] += 1;
        self.rows += 1;
        if let Some(cutter) = &mut self.cutter {
            cutter.row();
        }
        self.cut_what_is_due()?;
        Ok(true)
    }

    /// The event time, unless it makes the row a reject.
    fn time_ms(&mut self, row: &Row) -> Option<i64> {
        self.clock.time_ms(&row.value, clock_ms())
    }

    fn partition(&self, row: &Row) -> usize {
        let partitions = self.sent.len() as u64;
        let number = if self.replay.plan.keyed {
            xxhash_rust::xxh64::xxh64(row.key.as_deref().unwrap_or_default(), KEY_SEED) % partitions
        } else {
            self.rows % partitions
        };
        usize::try_from(number).unwrap_or(0)
    }

    fn cut_what_is_due(&mut self) -> Result<(), ReplayError> {
        while let Some(boundary) = self.cutter.as_mut().and_then(RowCutter::due) {
            self.plan_cut(boundary)?;
        }
        Ok(())
    }

    /// Queues a cut at the rows so far; one that is decided already must be the same.
    fn plan_cut(&mut self, boundary: Boundary) -> Result<(), ReplayError> {
        let Boundary { batch, total, reason, window } = boundary;
        if let Some(cut) = self.decided.get(batch as usize - 1) {
            return if cut.ends == self.sent { Ok(()) } else { Err(ReplayError::CutDisagrees { batch }) };
        }
        self.pending.push_back(new_cut(batch, self.sent.clone(), total, reason, window));
        Ok(())
    }

    /// Serves the producer and creates each planned cut whose rows are acknowledged.
    fn look(&mut self) -> Result<(), ReplayError> {
        self.producer.poll(Duration::ZERO);
        self.context.check()?;
        while self.pending.front().is_some_and(|cut| self.context.acknowledged(&cut.ends)) {
            let Some(wanted) = self.pending.pop_front() else { break };
            let holds = decide(self.replay.store.as_ref(), &wanted)?;
            if (&holds.ends, holds.total) != (&wanted.ends, wanted.total) {
                return Err(ReplayError::CutDisagrees { batch: wanted.batch });
            }
        }
        let (rows, rate) = (self.rows, self.rate.of(self.rows));
        self.replay.status.update(|snapshot| {
            (snapshot.source.rows_sent, snapshot.source.rows_per_second) = (rows, rate);
        });
        Ok(())
    }

    /// As `look`; and a silence that has lasted closes the open batch.
    fn look_while_waiting(&mut self) -> Result<(), ReplayError> {
        self.look()?;
        let silent = self.replay.idle.is_some_and(|idle| self.last_sent.elapsed() >= idle);
        // An earlier run's rows are still passed over: ingest may have read beyond this one.
        if silent
            && self.at_the_end()
            && self.context.acknowledged(&self.sent)
            && let Some(boundary) = self.cutter.as_mut().and_then(|cutter| cutter.close(CutReason::Idle))
        {
            self.plan_cut(boundary)?;
            self.look()?;
        }
        Ok(())
    }

    fn at_the_end(&self) -> bool {
        self.sent.iter().zip(&self.replay.state.watermarks).all(|(sent, (_, high))| sent >= high)
    }

    fn limit_is_reached(&mut self) -> Result<bool, ReplayError> {
        if let Some(cutter) = &self.cutter {
            return Ok(cutter.is_over());
        }
        let Some(limit) = self.replay.plan.limit.filter(|_| self.limit_asked.elapsed() >= LIMIT_PAUSE) else {
            return Ok(false);
        };
        self.limit_asked = Instant::now();
        Ok(cut_exists(self.replay.store.as_ref(), limit.get())?)
    }

    /// Waits until the row is due; false when told to stop.
    fn wait(&mut self, time_ms: Option<i64>) -> Result<bool, ReplayError> {
        let now = self.started.elapsed();
        let due = match self.replay.source.pace {
            Pace::Speed(_) => self.pacer.next_event(now, time_ms),
            Pace::FullSpeed | Pace::Fixed(_) | Pace::Uniform { .. } | Pace::Rate(_) => self.pacer.next(now),
        };
        loop {
            let now = self.started.elapsed();
            if now >= due {
                return Ok(true);
            }
            if self.stopping() {
                return Ok(false);
            }
            // A full batch must not wait for the next row.
            self.look_while_waiting()?;
            self.producer.poll((due - now).min(LOOK_PAUSE));
        }
    }

    /// Queues the record; false when told to stop before there was room for it.
    fn send(&mut self, partition: usize, offset: i64, row: &Row) -> Result<bool, ReplayError> {
        let topic = &self.replay.topic.name;
        let unsent =
            |what: &str| ReplayError::Send { topic: topic.clone(), reason: format!("there is no such {what}") };
        let opaque = usize::try_from(offset).map_err(|_| unsent(&format!("offset as {offset}")))?;
        let partition = kafka_partition(partition).map_err(|_| unsent(&format!("partition as {partition}")))?;
        let mut record: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(topic, opaque).partition(partition).payload(&row.value);
        if let Some(key) = &row.key {
            record = record.key(key);
        }
        if let Some(reason) = &row.stub {
            let header = Header { key: REJECT_HEADER, value: Some(reason.as_bytes()) };
            record = record.headers(OwnedHeaders::new().insert(header));
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => {
                    self.context.sent.fetch_add(1, Ordering::Relaxed);
                    if self.replay.idle.is_some() {
                        self.last_sent = Instant::now();
                    }
                    return Ok(true);
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    // The queue's bound is the back-pressure; a stop must not wait for a broker that is away.
                    record = back;
                    self.producer.poll(Duration::from_millis(20));
                    self.context.check()?;
                    if self.stopping() {
                        return Ok(false);
                    }
                }
                Err((error, _)) => {
                    return Err(ReplayError::Send { topic: topic.clone(), reason: error.to_string() });
                }
            }
        }
    }

    /// Is the last record of a partition the row that belongs there? Another writer's records shift all that follow.
    fn check_tail(&self, partition: usize, offset: i64, expected: &[u8]) -> Result<(), ReplayError> {
        match self.replay.topic.read_one(partition, offset, self.stop)? {
            Some(found) if found != expected => {
                Err(ReplayError::ForeignTail { topic: self.replay.topic.name.clone(), partition, offset })
            }
            // Not readable now: the delivery reports still tell.
            Some(_) | None => Ok(()),
        }
    }

    /// Waits for every acknowledgement, however long the broker stays away, and creates the cuts that are left; false when told to
    /// stop before that.
    fn finish(&mut self, ended: Ended) -> Result<bool, ReplayError> {
        if ended == Ended::Source {
            self.replay.no_foreign_records(&self.sent)?;
            if let Some(boundary) = self.cutter.as_mut().and_then(|cutter| cutter.close(CutReason::End)) {
                self.plan_cut(boundary)?;
            }
        }
        loop {
            let flushed = self.producer.flush(Duration::from_millis(100));
            self.look()?;
            if flushed.is_ok() && self.pending.is_empty() {
                return Ok(true);
            }
            if self.stopping() {
                return Ok(false);
            }
        }
    }

    /// Told to stop: what is on its way is waited for, and `on_stop = "cut"` ends the open batch there.
    fn stopped(&mut self, asked: &AtomicBool) -> Result<(), ReplayError> {
        let flushed = self.producer.flush(STOP_FLUSH);
        self.look()?;
        let cut = self.replay.on_stop == OnStop::Cut && asked.load(Ordering::Relaxed);
        // While an earlier run's rows are still passed over, ingest may have read beyond this one.
        if cut
            && self.at_the_end()
            && flushed.is_ok()
            && let Some(boundary) = self.cutter.as_mut().and_then(|cutter| cutter.close(CutReason::Stop))
        {
            self.plan_cut(boundary)?;
            self.look()?;
        }
        Ok(())
    }
}
