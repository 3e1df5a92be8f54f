//! Decides the cuts that follow from what the topic holds (`proposal` says where), and watches that the topic keeps its partitions.
//!
//! Any number of workers may run one; a decider works while its worker holds partition 0, so that the topic is asked once and not by
//! everyone. That is for thrift only: the first create of a cut wins, and one that was asleep finds the cut made and goes on from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millstream_store::SharedStore;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;

use super::cut::{self, DecideError, decide};
use super::identity::Identity;
use super::manifest::{Cut, new_cut};
use super::plan::Plan;
use super::proposal::{Moment, propose};
use super::views::{ArrivalTimes, EventTimes};
use super::{PartSettings, TopicView};
use crate::batch::{BatchRule, WindowTime};
use crate::topic::{Quiet, Topic, TopicError, is_away, pause};
use millstream_base::status::{Status, clock_ms};

/// Between two looks at the topic.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks at the cuts that others made.
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);
/// A partition that is added while a pipeline runs is found within this time.
const PARTITIONS_PAUSE: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum DeciderError {
    #[error(transparent)]
    Decide(#[from] DecideError),
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error("asking for the offsets of topic {topic:?} failed: {source}")]
    Kafka { topic: String, source: KafkaError },
    #[error(
        "topic {topic:?} now has {found} partitions, it had {expected} when this store was begun: records of the new ones would be in no batch; begin anew with another store.url and stream.topic"
    )]
    Grown { topic: String, found: usize, expected: usize },
    #[error("the end of the source cannot be read: {0}")]
    Source(String),
}

pub struct Decider {
    pub store: SharedStore,
    pub settings: PartSettings,
    pub identity: Identity,
    pub plan: Plan,
    pub topic: Topic,
    pub idle: Option<Duration>,
    pub status: Arc<Status>,
}

/// What a decider is told from outside.
pub struct Signals<'a> {
    /// This worker is to do it.
    pub active: &'a AtomicBool,
    pub stop: &'a AtomicBool,
    /// A person said stop, and no stage failed: only then is a batch cut by it.
    pub asked: &'a AtomicBool,
    /// At such a stop, the open batch is cut.
    pub cut_at_stop: bool,
    /// The end offsets of a source that has ended.
    pub over: &'a (dyn Fn() -> Result<Option<Vec<i64>>, String> + Sync),
}

impl Decider {
    /// Runs until the last cut is decided, or until it is told to stop.
    pub fn run(&self, signals: &Signals) -> Result<(), DeciderError> {
        let consumer = self.topic.scout()?;
        let mut partitions_asked = Instant::now();
        if self.plan.replay_decides() {
            while !signals.stop.load(Ordering::Relaxed) {
                self.look_at_partitions(&consumer, &mut partitions_asked)?;
                pause(signals.stop, LOOK_PAUSE);
            }
            return Ok(());
        }
        let mut watched = Watched::default();
        match self.plan.rule {
            BatchRule::Window { time: WindowTime::Event, .. } => {
                let view = EventTimes::open(&self.topic, &self.settings, &self.plan.base_offsets)?;
                self.decide_all(view, &consumer, &mut watched, partitions_asked, signals)
            }
            BatchRule::Window { time: WindowTime::Arrival, .. } | BatchRule::Rows(_) | BatchRule::Parts(_) => {
                let view = ArrivalTimes::open(&self.topic, &self.plan.base_offsets)?;
                self.decide_all(view, &consumer, &mut watched, partitions_asked, signals)
            }
        }
    }

    fn decide_all<V: TopicView<Error = KafkaError>>(
        &self,
        mut view: V,
        consumer: &BaseConsumer<Quiet>,
        watched: &mut Watched,
        mut partitions_asked: Instant,
        signals: &Signals,
    ) -> Result<(), DeciderError> {
        loop {
            let stopping = signals.stop.load(Ordering::Relaxed);
            if stopping && !(signals.cut_at_stop && signals.asked.load(Ordering::Relaxed)) {
                return Ok(());
            }
            if signals.active.load(Ordering::Relaxed) {
                self.look_at_partitions(consumer, &mut partitions_asked)?;
                match self.decide_what_is_due(&mut view, watched, signals, stopping) {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    // The broker is away: ingest says so.
                    Err(DeciderError::Kafka { source, .. }) if is_away(&source) => {}
                    Err(error) => return Err(error),
                }
            }
            if stopping {
                return Ok(());
            }
            pause(signals.stop, LOOK_PAUSE);
        }
    }

    /// Decides every cut that can be decided now; true when none comes after them.
    fn decide_what_is_due<V: TopicView<Error = KafkaError>>(
        &self,
        view: &mut V,
        watched: &mut Watched,
        signals: &Signals,
        stopping: bool,
    ) -> Result<bool, DeciderError> {
        loop {
            if watched.followed.is_none_or(|followed| followed.elapsed() >= FOLLOW_PAUSE) {
                self.follow(watched)?;
                watched.followed = Some(Instant::now());
            }
            if self.plan.next(watched.last.as_ref()).is_none() {
                return Ok(true);
            }
            let over = (signals.over)().map_err(DeciderError::Source)?;
            if over.is_some() && over.as_ref() == watched.last.as_ref().map(|cut| &cut.ends) {
                return Ok(true);
            }
            let kafka = |source| DeciderError::Kafka { topic: self.topic.name.clone(), source };
            let ends = view.ends().map_err(kafka)?;
            let silence = watched.silence(&ends);
            self.tell(watched.last.as_ref(), &ends);
            let moment = Moment { now_ms: clock_ms(), silence, idle: self.idle, over: over.as_deref(), stop: stopping };
            let Some(found) = propose(&self.plan, watched.last.as_ref(), moment, view).map_err(kafka)? else {
                return Ok(false);
            };
            let wanted = new_cut(found.batch, found.ends, found.total, found.reason, found.window);
            watched.last = Some(decide(self.store.as_ref(), &wanted)?);
        }
    }

    /// Goes on from cuts that others made.
    fn follow(&self, watched: &mut Watched) -> Result<(), DeciderError> {
        loop {
            let next = watched.last.as_ref().map_or(1, |cut| cut.batch + 1);
            match cut::read(self.store.as_ref(), next)? {
                Some(cut) => watched.last = Some(cut),
                None => return Ok(()),
            }
        }
    }

    /// How far the open batch has filled.
    fn tell(&self, last: Option<&Cut>, ends: &[i64]) {
        let from = last.map_or(&self.plan.base_offsets, |cut| &cut.ends);
        let open = from.iter().zip(ends).map(|(from, to)| u64::try_from(to - from).unwrap_or(0)).sum();
        let expected = self.plan.expected(last);
        let batch = last.map_or(1, |cut| cut.batch + 1);
        let records = |(end, base): (&i64, &i64)| u64::try_from(end - base).unwrap_or(0);
        let held = ends.iter().zip(&self.plan.base_offsets).map(records).sum();
        self.status.update(|snapshot| {
            snapshot.source.records_in_topic = Some(held);
            snapshot.batch.batch = batch;
            snapshot.batch.rows = open;
            snapshot.batch.rows_expected = expected;
        });
    }

    fn look_at_partitions(&self, consumer: &BaseConsumer<Quiet>, asked: &mut Instant) -> Result<(), DeciderError> {
        if asked.elapsed() < PARTITIONS_PAUSE {
            return Ok(());
        }
        *asked = Instant::now();
        // A broker that is away says nothing of the topic.
        let Ok(metadata) = consumer.fetch_metadata(Some(&self.topic.name), REQUEST_TIMEOUT) else { return Ok(()) };
        let found = metadata.topics().iter().find(|topic| topic.name() == self.topic.name && topic.error().is_none());
        let found = found.map_or(0, |topic| topic.partitions().len());
        let expected = self.identity.base_offsets.len();
        if found > expected {
            return Err(DeciderError::Grown { topic: self.topic.name.clone(), found, expected });
        }
        Ok(())
    }
}

/// What a decider knows between two looks.
#[derive(Default)]
struct Watched {
    last: Option<Cut>,
    ends: Vec<i64>,
    since: Option<Instant>,
    /// When the store was last asked for cuts that others made; to decide one that is made already tells as well.
    followed: Option<Instant>,
}

impl Watched {
    /// How long the topic has had these ends.
    fn silence(&mut self, ends: &[i64]) -> Duration {
        if self.ends != ends || self.since.is_none() {
            self.ends = ends.to_vec();
            self.since = Some(Instant::now());
        }
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}
