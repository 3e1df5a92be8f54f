//! Reads the topic into parts, one open part per partition, and commits each where its cut says.
//!
//! Where the plan foretells the end (rows of our own source, counted, in turn) a part is filled before its cut is decided; otherwise
//! the partition waits for the cut, and its records wait in Kafka: no row is ever read that might belong to the next batch. One process
//! reads all partitions, or several share them as a consumer group: positions come from the manifests alone, a partition that is
//! taken over begins where its newest manifest ends, and whoever comes second with a part drops it and goes on from the first.

mod error;
mod progress;
mod shown;
mod told;
mod trouble;

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millstream_store::SharedStore;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Headers;
use rdkafka::{Offset, TopicPartitionList};

use super::Identity;
use super::assignment::{Change, Group};
use super::committed::{self, Checkpoint};
use super::cut::{CutBook, DecideError};
use super::manifest::{Cut, cut_key};
use super::part::{Outcome, Part, PartError, PartSettings, Record, Reject, sweep};
use super::plan::Plan;
use super::stuck::Stuck;
use crate::batch::{BatchRule, WindowTime};
use crate::record::REJECT_HEADER;
use crate::schema::Ahead;
use crate::topic::{Topic, kafka_partition};
use millstream_base::status::{Status, clock_ms};

pub use error::IngestError;
use shown::Shown;
use told::Told;

/// How long a quiet topic is waited for before the store is asked for a cut.
const POLL: Duration = Duration::from_millis(50);
/// Progress is told so often.
const STATUS_EVERY: u64 = 4096;
const SEEK_TIMEOUT: Duration = Duration::from_secs(10);
/// More rejects than this and the stream is not what it claims to be, unless `batch.max_rejects` says otherwise.
const DEFAULT_MAX_REJECTS: u64 = 1000;

/// Makes the log of a partition (topic, partition) durable below an end offset. An error means that records may be lost.
pub type SyncLog = Box<dyn Fn(&str, i32, i64) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync>;

/// What ingest needs to know; all of it was written once in the store.
pub struct Ingest {
    pub store: SharedStore,
    pub settings: PartSettings,
    pub identity: Identity,
    pub plan: Plan,
    pub topic: Topic,
    pub sharing: Sharing,
    pub max_rejects: Option<u64>,
    /// A part-filled batch is closed after so long a silence: said, and done by others.
    pub idle: Option<Duration>,
    /// Of the embedded broker: makes its log durable through a manifest's end offset, before the manifest is written.
    pub sync_log: Option<SyncLog>,
    pub status: Arc<Status>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// This process reads all partitions.
    Alone,
    /// The consumer group gives each worker its partitions.
    Group,
}

/// What ingest is told from outside, and tells.
pub struct Outside<'a> {
    /// An open part is dropped: its records stay in the topic.
    pub stop: &'a AtomicBool,
    /// No cut will come after the ones that are decided: ingest ends with them.
    pub no_more: &'a (dyn Fn(Option<&Cut>) -> bool + Sync),
    /// This worker holds partition 0.
    pub leads: &'a AtomicBool,
    /// Called after each batch that became complete, by whichever worker.
    pub complete: &'a dyn Fn(u32),
}

/// One partition: the open part and where it is to end.
struct Lane {
    partition: u32,
    part: Part,
    /// The end that the cut decided, or the plan foretells; `None`: the cut will tell.
    end: Option<i64>,
    last_cut: Option<Cut>,
    paused: bool,
    /// Of the open part: when it is dropped, its records are judged again.
    rejects: u64,
    /// A record came that this part may not have: it is fetched again.
    passed_over: bool,
    /// Sought anew since the last record: an end of the partition that is told now is none of an earlier time.
    fresh: bool,
}

impl Ingest {
    /// Runs until no batch comes any more, or until it is told to stop.
    pub fn run(&self, outside: &Outside) -> Result<(), IngestError> {
        let start = committed::checkpoint(self.store.as_ref(), &self.identity.base_offsets)?;
        let rejects = committed::count_rejects(self.store.as_ref(), &start)?;
        let group = Group::new(self.store.clone(), self.identity.base_offsets.clone(), self.status.clone());
        let consumer = self.topic.consumer(group, &self.identity.group())?;
        let mut run = Run {
            ingest: self,
            outside,
            rejects,
            complete_batches: start.complete,
            complete_asked: Instant::now(),
            waiting: None,
            at: (0, 0),
            told: Told::default(),
            shown: Shown::new(&self.settings.schema, self.settings.encoding),
            stuck: Stuck::new(&self.topic.name),
            cuts: CutBook::new(self.store.clone(), start.complete),
            lanes: BTreeMap::new(),
        };
        match self.sharing {
            Sharing::Alone => {
                run.take(&start.positions)?;
                run.assign_all(&consumer)?;
            }
            Sharing::Group => {
                consumer.subscribe(&[self.topic.name.as_str()]).map_err(|source| self.kafka(source))?;
            }
        }
        run.tell();
        // A panic is told as an error with its place: a stage that is gone must not look like one that waits.
        let consumed = catch_unwind(AssertUnwindSafe(|| run.consume(&consumer))).unwrap_or_else(|panic| {
            let (partition, offset) = run.at;
            Err(IngestError::Panicked { partition, offset, reason: panic_text(panic.as_ref()) })
        });
        run.told.end(&self.status);
        consumed
    }

    fn kafka(&self, source: KafkaError) -> IngestError {
        IngestError::Kafka { topic: self.topic.name.clone(), source }
    }

    /// Our own producer leaves none, and the embedded broker, which has no transactions and no compaction, neither.
    fn has_no_holes(&self) -> bool {
        self.plan.own_source || self.sync_log.is_some()
    }

    /// Makes the records below `end` durable before a manifest names them.
    fn sync_log(&self, partition: u32, end: i64) -> Result<(), IngestError> {
        let Some(sync) = &self.sync_log else { return Ok(()) };
        let partition = kafka_partition(partition).map_err(|source| self.kafka(source))?;
        sync(&self.topic.name, partition, end).map_err(IngestError::Sync)
    }
}

struct Run<'a> {
    ingest: &'a Ingest,
    outside: &'a Outside<'a>,
    lanes: BTreeMap<u32, Lane>,
    cuts: CutBook,
    rejects: u64,
    complete_batches: u32,
    complete_asked: Instant,
    /// The oldest batch that is cut and not complete, since when, and whether that was said.
    waiting: Option<(u32, Instant, bool)>,
    /// Partition and offset of the newest record.
    at: (i32, i64),
    told: Told,
    shown: Shown,
    stuck: Stuck,
}

impl Run<'_> {
    /// Opens a lane for each position.
    fn take(&mut self, positions: &[Checkpoint]) -> Result<(), IngestError> {
        for position in positions {
            let Checkpoint { partition, batch, offset } = *position;
            // A crash between a manifest and the sweep after it.
            if let Some(manifest) = committed::read_manifest(self.ingest.store.as_ref(), batch, partition)? {
                sweep(self.ingest.store.as_ref(), &manifest).map_err(PartError::from)?;
            }
            let lane = self.lane(partition, batch, offset)?;
            self.lanes.insert(partition, lane);
        }
        self.outside.leads.store(self.lanes.contains_key(&0), Ordering::Relaxed);
        Ok(())
    }

    /// The lane of a partition whose newest manifest is that of `batch`, ending at `offset`.
    fn lane(&mut self, partition: u32, batch: u32, offset: i64) -> Result<Lane, IngestError> {
        let ingest = self.ingest;
        let last_cut = if batch == 0 { None } else { self.cuts.get(batch)? };
        // A part's times are the events' where the schema names them: windows of arrival say nothing of those.
        let by_event = matches!(ingest.plan.rule, BatchRule::Window { time: WindowTime::Event, .. });
        let comparable = by_event == ingest.settings.schema.time.is_some();
        let last_window = last_cut.as_ref().and_then(|cut| cut.window).filter(|_| comparable);
        let late_before = last_window.map(|window| window.end_ms);
        let part = Part::new(ingest.store.clone(), &ingest.settings, batch + 1, partition, offset, late_before);
        let foretold = || ingest.plan.foretell(last_cut.as_ref()).map(|planned| planned.ends);
        let ends = self.cuts.get(batch + 1)?.map(|cut| cut.ends).or_else(foretold);
        let end = ends.and_then(|ends| ends.get(partition as usize).copied());
        Ok(Lane { partition, part, end, last_cut, paused: false, rejects: 0, passed_over: false, fresh: false })
    }

    fn assign_all(&self, consumer: &BaseConsumer<Group>) -> Result<(), IngestError> {
        let mut list = TopicPartitionList::new();
        for lane in self.lanes.values() {
            let offset = Offset::Offset(lane.part.next_offset());
            kafka_partition(lane.partition)
                .and_then(|partition| list.add_partition_offset(&self.ingest.topic.name, partition, offset))
                .map_err(|source| self.ingest.kafka(source))?;
        }
        consumer.assign(&list).map_err(|source| self.ingest.kafka(source))
    }

    fn consume(&mut self, consumer: &BaseConsumer<Group>) -> Result<(), IngestError> {
        let mut seen = 0_u64;
        let mut asked = Instant::now();
        // Asked now and then, not for every record.
        let mut now = clock_ms();
        // The poll before gave nothing.
        let mut listens = false;
        self.advance(consumer)?;
        while !self.outside.stop.load(Ordering::Relaxed) {
            let began = listens.then(Instant::now);
            // What is there already is had without a look at the clock.
            let polled = consumer.poll(Duration::ZERO).or_else(|| consumer.poll(POLL));
            listens = polled.is_none();
            if let Some(began) = began.filter(|_| listens) {
                self.stuck.listened(began.elapsed());
            }
            self.follow_group(consumer)?;
            match polled {
                Some(Ok(message)) => {
                    self.push(&message, now)?;
                    seen += 1;
                    let full = self.lane_is_full(message.partition());
                    if full || seen.is_multiple_of(STATUS_EVERY) {
                        now = clock_ms();
                        consumer.context().here();
                        self.tell();
                        self.advance(consumer)?;
                    } else if self.shown.is_due() {
                        self.tell();
                    }
                    continue;
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => self.end_of_partition(consumer, partition)?,
                Some(Err(error)) => self.trouble(consumer, error)?,
                None => self.shown.silence(),
            }
            now = clock_ms();
            if asked.elapsed() >= POLL {
                self.tell();
                self.advance(consumer)?;
                self.find_stuck(consumer)?;
                asked = Instant::now();
            }
            if self.done()? {
                self.tell();
                return Ok(());
            }
        }
        Ok(())
    }

    /// Partitions that the group has given to this worker, or taken from it.
    fn follow_group(&mut self, consumer: &BaseConsumer<Group>) -> Result<(), IngestError> {
        for change in consumer.context().changes() {
            match change {
                Change::Given(positions) => {
                    self.take(&positions)?;
                    // librdkafka keeps a partition paused that was paused when it was taken away.
                    for position in &positions {
                        let list = one(&self.ingest.topic.name, position.partition);
                        list.and_then(|list| consumer.resume(&list)).map_err(|source| self.ingest.kafka(source))?;
                    }
                    self.say_partitions();
                }
                // The open part is dropped: whoever gets the partition reads its records again.
                Change::Taken(partitions) => {
                    for lane in partitions.iter().filter_map(|partition| self.lanes.remove(partition)) {
                        self.rejects -= lane.rejects;
                    }
                    self.outside.leads.store(self.lanes.contains_key(&0), Ordering::Relaxed);
                    self.say_partitions();
                }
                Change::Failed(error) => return Err(error.into()),
                Change::Refused(source) => return Err(self.ingest.kafka(source)),
            }
        }
        Ok(())
    }

    fn lane_of(&mut self, partition: i32) -> Option<&mut Lane> {
        u32::try_from(partition).ok().and_then(|partition| self.lanes.get_mut(&partition))
    }

    fn lane_is_full(&mut self, partition: i32) -> bool {
        let lane = self.lane_of(partition);
        lane.is_some_and(|lane| lane.end.is_some_and(|end| lane.part.next_offset() >= end))
    }

    fn push(&mut self, message: &rdkafka::message::BorrowedMessage, now_ms: i64) -> Result<(), IngestError> {
        self.at = (message.partition(), message.offset());
        let is_first = self.ingest.settings.schema.dialect.is_first();
        let Some(lane) = self.lane_of(message.partition()) else { return Ok(()) };
        // Records past the end are fetched again for the next part: nothing of them may get into this one.
        if lane.end.is_none_or(|end| message.offset() >= end) {
            // They come in order: when none was passed over before, the offsets up to the end hold no record.
            if let Some(end) = lane.end.filter(|_| !lane.passed_over) {
                lane.part.skip_to(end);
            }
            lane.passed_over = true;
            return Ok(());
        }
        lane.fresh = false;
        let is_of_future = |sent_ms| !is_first && sent_ms > Ahead::default().latest_ms(now_ms);
        let stub = message.headers().and_then(stub_reason);
        let sent_ms = message.timestamp().to_millis().unwrap_or(0);
        let record = Record {
            offset: message.offset(),
            // Of a sender whose clock is far ahead: windows of arrival take it as they find it, between its neighbours.
            timestamp_ms: if is_of_future(sent_ms) { now_ms } else { sent_ms },
            key: message.key(),
            value: message.payload(),
            stub: stub.as_deref(),
        };
        let rejects = lane.part.push(record, now_ms)?;
        let is_tombstone = record.value.is_none() && record.stub.is_none() && lane.part.skips_tombstones();
        let (partition, new_keys) = (lane.partition, lane.part.new_keys());
        let is_mended = lane.part.take_mended() && rejects.is_empty();
        if self.shown.count()
            && let Some(value) = record.value
            && record.stub.is_none()
            && !rejects.iter().any(|reject| reject.offset == record.offset)
        {
            self.shown.row(partition, record.offset, value);
        }
        if is_tombstone {
            self.told.tombstone(&self.ingest.status, (partition, record.offset));
        }
        if is_of_future(sent_ms) {
            self.told.future(&self.ingest.status, (partition, record.offset), sent_ms);
        }
        if is_mended && !self.ingest.plan.own_source {
            self.told.mended(&self.ingest.status, (partition, record.offset));
        }
        // Our own source was looked through before, or pins what its first rows do not have.
        for key in new_keys.iter().filter(|_| !self.ingest.plan.own_source) {
            self.told.new_key(&self.ingest.status, (partition, record.offset), key);
        }
        self.count(partition, rejects)
    }

    /// Counts rejects, and stops at one that the schema did not foresee, or at too many.
    fn count(&mut self, partition: u32, rejects: Vec<Reject>) -> Result<(), IngestError> {
        for Reject { offset, misfit } in rejects {
            self.rejects += 1;
            self.shown.reject(partition, offset, &misfit.reason);
            if let Some(lane) = self.lanes.get_mut(&partition) {
                lane.rejects += 1;
            }
            if let Some(column) = &misfit.inferred_column {
                if self.keeps_misfits_aside() {
                    self.told.misfit(&self.ingest.status, (partition, offset), column, &misfit.reason);
                } else if self.ingest.max_rejects.is_none() {
                    let (reason, column) = (misfit.reason, column.clone());
                    return Err(IngestError::Misfit { partition, offset, reason, column });
                }
            }
            let limit = self.ingest.max_rejects.unwrap_or(DEFAULT_MAX_REJECTS);
            if self.rejects > limit {
                return Err(IngestError::Rejects { rejects: self.rejects, limit, reason: misfit.reason });
            }
        }
        Ok(())
    }

    /// Of a topic that others write one stray record must not end the run; what our own source sends was looked through before.
    fn keeps_misfits_aside(&self) -> bool {
        !self.ingest.plan.own_source && !self.ingest.settings.schema.dialect.is_first()
    }

    /// Commits every lane that has reached the end of its cut, as far as cuts are decided. A lane that waits for its cut, or that has
    /// all it is to have, is paused: librdkafka then drops what it fetched ahead and fetches it again on resuming.
    fn advance(&mut self, consumer: &BaseConsumer<Group>) -> Result<(), IngestError> {
        let partitions: Vec<u32> = self.lanes.keys().copied().collect();
        let mut committed = false;
        for partition in partitions {
            while self.commit_if_due(consumer, partition)? {
                self.show_lag(consumer, partition);
                committed = true;
            }
            let Some(lane) = self.lanes.get_mut(&partition) else { continue };
            let waits = lane.end.is_none_or(|end| lane.part.next_offset() >= end);
            if !waits && lane.passed_over {
                lane.passed_over = false;
                let next = lane.part.next_offset();
                self.seek(consumer, partition, next)?;
            }
            let Some(lane) = self.lanes.get_mut(&partition) else { continue };
            if waits != lane.paused {
                lane.paused = waits;
                let list = one(&self.ingest.topic.name, partition);
                let changed = list.and_then(|list| if waits { consumer.pause(&list) } else { consumer.resume(&list) });
                changed.map_err(|source| self.ingest.kafka(source))?;
            }
        }
        self.withdraw();
        // Once for all of them: each look reads every part's manifest.
        if committed { self.report_complete() } else { Ok(()) }
    }

    /// True when the lane went on to its next batch.
    fn commit_if_due(&mut self, consumer: &BaseConsumer<Group>, partition: u32) -> Result<bool, IngestError> {
        let Some(lane) = self.lanes.get_mut(&partition) else { return Ok(false) };
        let batch = lane.part.batch();
        let Some(decided) = self.cuts.get(batch)? else { return Ok(false) };
        let Some(&end) = decided.ends.get(partition as usize) else {
            let (place, found) = (self.ingest.store.place(&cut_key(batch)), decided.ends.len());
            let reason = format!("{found} partitions, and the topic has the partition {partition}");
            return Err(DecideError::Unsound { place, reason }.into());
        };
        lane.end = Some(end);
        let (first, read) = (lane.part.first_offset(), lane.part.next_offset());
        if read > end {
            // The cut came earlier than foretold, from a replay with another rule: the part is filled again.
            let (paused, rejects) = (lane.paused, lane.rejects);
            self.rejects -= rejects;
            let again = Lane { paused, ..self.lane(partition, batch - 1, first)? };
            self.lanes.insert(partition, again);
            self.seek(consumer, partition, first)?;
            return Ok(false);
        }
        if read < end {
            return Ok(false);
        }
        // What is not yet judged may hold rejects that must stop it before it is committed.
        let rejects = lane.part.settle()?;
        self.count(partition, rejects)?;
        let Some(lane) = self.lanes.get(&partition) else { return Ok(false) };
        // A hole where there can be none would be a row that was not read.
        let expected = end.abs_diff(first);
        if self.ingest.has_no_holes() && lane.part.records() != expected {
            return Err(IngestError::Hole { batch, partition, found: lane.part.records(), expected });
        }
        self.ingest.sync_log(partition, end)?;
        let Some(lane) = self.lanes.remove(&partition) else { return Ok(false) };
        let (paused, passed_over, rejects) = (lane.paused, lane.passed_over, lane.rejects);
        if let Outcome::Anothers(found) = lane.part.commit()? {
            self.rejects = self.rejects - rejects + found.rejects;
            tracing::warn!(
                batch,
                partition,
                attempt = found.attempt,
                "another worker committed this part; going on from it"
            );
        }
        let next = Lane { paused, passed_over, ..self.lane(partition, batch, end)? };
        self.lanes.insert(partition, next);
        Ok(true)
    }

    fn seek(&self, consumer: &BaseConsumer<Group>, partition: u32, offset: i64) -> Result<(), IngestError> {
        let topic = &self.ingest.topic.name;
        let seek = kafka_partition(partition)
            .and_then(|partition| consumer.seek(topic, partition, Offset::Offset(offset), SEEK_TIMEOUT));
        seek.map_err(|source| self.ingest.kafka(source))
    }

    /// Offsets that hold no record (transactions, compaction) may be the last ones of a part: the end of the partition tells, when it
    /// is told after the cut was known.
    fn end_of_partition(&mut self, consumer: &BaseConsumer<Group>, partition: i32) -> Result<(), IngestError> {
        let no_holes = self.ingest.has_no_holes();
        let Some(lane) = self.lane_of(partition) else { return Ok(()) };
        let Some(end) = lane.end.filter(|end| *end > lane.part.next_offset() && !no_holes) else { return Ok(()) };
        if lane.fresh {
            lane.part.skip_to(end);
            return Ok(());
        }
        // A broker that has just become the leader may not know yet how far the partition goes.
        let watermarks = consumer.fetch_watermarks(&self.ingest.topic.name, partition, SEEK_TIMEOUT);
        let reaches = watermarks.is_ok_and(|(_, high)| high >= end);
        let Some(lane) = self.lane_of(partition) else { return Ok(()) };
        lane.fresh = reaches;
        let (partition, next) = (lane.partition, lane.part.next_offset());
        self.seek(consumer, partition, next)
    }

    /// Commits the position to Kafka, for lag displays only; nobody reads it back.
    fn show_lag(&self, consumer: &BaseConsumer<Group>, partition: u32) {
        let Some(lane) = self.lanes.get(&partition) else { return };
        let mut list = TopicPartitionList::new();
        let offset = Offset::Offset(lane.part.next_offset());
        let added = kafka_partition(partition)
            .and_then(|partition| list.add_partition_offset(&self.ingest.topic.name, partition, offset));
        if let Err(error) = added.and_then(|()| consumer.commit(&list, CommitMode::Async)) {
            tracing::debug!(%error, "committing the offset for lag displays failed");
        }
    }
}

/// Why a record is a stub, if it is. The names of headers are looked at one by one: `rdkafka` panics at one that is no text, and
/// such a name is none of ours.
fn stub_reason(headers: &rdkafka::message::BorrowedHeaders) -> Option<String> {
    let header = |index| catch_unwind(AssertUnwindSafe(|| headers.try_get(index))).ok().flatten();
    let found = (0..headers.count()).filter_map(header).find(|header| header.key == REJECT_HEADER)?;
    Some(String::from_utf8_lossy(found.value.unwrap_or_default()).into_owned())
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".to_owned())
}

fn one(topic: &str, partition: u32) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, kafka_partition(partition)?);
    Ok(list)
}
