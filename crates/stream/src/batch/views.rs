//! What a topic holds, by time: arrival times are asked of the broker, event times are read from the records.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Message, Offset, TopicPartitionList};

use super::{PartSettings, TopicView};
use crate::record::RowClock;
use crate::schema::Ahead;
use crate::topic::{Quiet, Topic, TopicError, kafka_partition};
use millstream_base::status::clock_ms;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// By Kafka's timestamp: the broker finds the record.
pub(super) struct ArrivalTimes {
    scout: Scout,
}

impl ArrivalTimes {
    pub fn open(topic: &Topic, base_offsets: &[i64]) -> Result<Self, TopicError> {
        Ok(Self { scout: Scout::open(topic, None, base_offsets)? })
    }
}

impl TopicView for ArrivalTimes {
    type Error = KafkaError;

    fn ends(&mut self) -> KafkaResult<Vec<i64>> {
        self.scout.offsets(Offset::End).map(|ends| ends.into_iter().map(|end| end.unwrap_or(0)).collect())
    }

    fn first_at(&mut self, time_ms: i64, from: &[i64], to: &[i64]) -> KafkaResult<Vec<Option<i64>>> {
        let found = self.scout.offsets(Offset::Offset(time_ms.max(0)))?;
        if found.iter().any(Option::is_some) {
            // The broker finds the first record at or past a time: one with a time of the future, in a batch already or still to come,
            // hides all that come after it. Then the records themselves tell.
            let latest_ms = Ahead::default().latest_ms(clock_ms());
            let future = self.scout.offsets(Offset::Offset(latest_ms.saturating_add(1)))?;
            let hidden = |((found, future), from): ((&Option<i64>, &Option<i64>), &i64)| {
                found.is_some_and(|found| found < *from || Some(found) == *future)
            };
            if found.iter().zip(&future).zip(from).any(hidden) {
                return self.scout.first_at(time_ms, from, to);
            }
        }
        // One that came just now lies behind the ends that were asked for: up to there all are before the time.
        Ok(found.into_iter().zip(to).map(|(found, to)| found.filter(|found| found < to)).collect())
    }

    fn first_time(&mut self, from: &[i64], to: &[i64]) -> KafkaResult<Option<i64>> {
        self.scout.first_time(from, to)
    }
}

/// By the schema's event time: every record is read once, beside ingest, as far as the window goes.
pub(super) struct EventTimes {
    scout: Scout,
}

impl EventTimes {
    pub fn open(topic: &Topic, settings: &PartSettings, base_offsets: &[i64]) -> Result<Self, TopicError> {
        let clock = RowClock::new(&settings.schema, settings.encoding);
        Ok(Self { scout: Scout::open(topic, Some(clock), base_offsets)? })
    }
}

impl TopicView for EventTimes {
    type Error = KafkaError;

    fn ends(&mut self) -> KafkaResult<Vec<i64>> {
        self.scout.offsets(Offset::End).map(|ends| ends.into_iter().map(|end| end.unwrap_or(0)).collect())
    }

    fn first_at(&mut self, time_ms: i64, from: &[i64], to: &[i64]) -> KafkaResult<Vec<Option<i64>>> {
        self.scout.first_at(time_ms, from, to)
    }

    fn first_time(&mut self, from: &[i64], to: &[i64]) -> KafkaResult<Option<i64>> {
        self.scout.first_time(from, to)
    }
}

/// Reads ahead of ingest, for times alone.
struct Scout {
    consumer: BaseConsumer<Quiet>,
    topic: String,
    /// `None`: Kafka's timestamps.
    clock: Option<RowClock>,
    seen: Vec<Seen>,
    assigned: bool,
}

/// How far a partition was looked at.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Records in `from..position` were looked at; those before `held` are all earlier than `time_ms`.
    from: i64,
    position: i64,
    time_ms: i64,
    /// The record at `position − 1`, when its time is at or past `time_ms`.
    held: Option<(i64, i64)>,
    /// The first record from `head_from` on that has a time, once it was read.
    head: Option<(i64, i64)>,
    head_from: i64,
    paused: bool,
    /// Assigned anew since the last record: an end of the partition that is told now is none of an earlier time.
    fresh: bool,
}

impl Seen {
    fn at(offset: i64) -> Self {
        let (time_ms, held, head, head_from) = (i64::MIN, None, None, offset);
        Self { from: offset, position: offset, time_ms, held, head, head_from, paused: false, fresh: false }
    }

    /// The time of the first record in `from..to` that has one; `None`: it is not known.
    fn first_time(&self, from: i64, to: i64) -> Option<Option<i64>> {
        let known = |(offset, time): (i64, i64)| (offset < to).then_some(time);
        match (self.head, self.held) {
            _ if from >= to => Some(None),
            (Some(head), _) if self.head_from <= from && from <= head.0 => Some(known(head)),
            (_, Some(held)) if held.0 == from => Some(known(held)),
            _ => None,
        }
    }

    /// Does what was seen answer for a search from `from` on?
    fn serves(&self, from: i64, time_ms: i64) -> bool {
        let nothing_between = from == self.position || self.held.is_some_and(|(offset, _)| offset == from);
        self.from <= from && from <= self.position && (nothing_between || time_ms >= self.time_ms)
    }
}

impl Scout {
    fn open(topic: &Topic, clock: Option<RowClock>, base_offsets: &[i64]) -> Result<Self, TopicError> {
        let consumer = topic.scout()?;
        let seen = base_offsets.iter().map(|base| Seen::at(*base)).collect();
        Ok(Self { consumer, topic: topic.name.clone(), clock, seen, assigned: false })
    }

    /// Asks the broker for one offset of every partition: its end, or the first at or past a time.
    fn offsets(&self, asked: Offset) -> KafkaResult<Vec<Option<i64>>> {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.seen.len() {
            list.add_partition_offset(&self.topic, kafka_partition(partition)?, asked)?;
        }
        let answered = self.consumer.offsets_for_times(list, REQUEST_TIMEOUT)?;
        let mut offsets = vec![None; self.seen.len()];
        for element in answered.elements_for_topic(&self.topic) {
            element.error()?;
            if let (Some(place), Offset::Offset(offset)) =
                (index(element.partition()).and_then(|index| offsets.get_mut(index)), element.offset())
            {
                *place = Some(offset);
            }
        }
        Ok(offsets)
    }

    fn first_at(&mut self, time_ms: i64, from: &[i64], to: &[i64]) -> KafkaResult<Vec<Option<i64>>> {
        let found = self.search(time_ms, from, to)?;
        Ok(found.into_iter().map(|found| found.map(|(offset, _)| offset)).collect())
    }

    fn first_time(&mut self, from: &[i64], to: &[i64]) -> KafkaResult<Option<i64>> {
        let heads: Option<Vec<Option<i64>>> =
            self.seen.iter().zip(from).zip(to).map(|((seen, from), to)| seen.first_time(*from, *to)).collect();
        // What is known need not be read again.
        if let Some(heads) = heads {
            return Ok(heads.into_iter().flatten().min());
        }
        let found = self.search(i64::MIN, from, to)?;
        Ok(found.into_iter().flatten().map(|(_, time)| time).min())
    }

    /// Offset and time of every partition's first record in `from..to` at or past `time_ms`.
    fn search(&mut self, time_ms: i64, from: &[i64], to: &[i64]) -> KafkaResult<Vec<Option<(i64, i64)>>> {
        for (seen, from) in self.seen.iter_mut().zip(from) {
            if !seen.serves(*from, time_ms) {
                *seen = Seen { paused: seen.paused, ..Seen::at(*from) };
                self.assigned = false;
            }
            if seen.head.is_some_and(|(offset, _)| offset < *from) {
                seen.head = seen.held.filter(|(offset, _)| offset == from);
                seen.head_from = if seen.head.is_some() { *from } else { seen.position };
            }
            seen.time_ms = time_ms;
            // What was held for an earlier time may be too early for this one.
            seen.held = seen.held.filter(|(offset, time)| offset >= from && *time >= time_ms);
        }
        let mut heard = Instant::now();
        loop {
            let wanted: Vec<bool> =
                self.seen.iter().zip(to).map(|(seen, to)| seen.held.is_none() && seen.position < *to).collect();
            if !wanted.contains(&true) {
                break;
            }
            self.read_only(&wanted)?;
            if self.poll_once(time_ms, to)? {
                heard = Instant::now();
            } else if heard.elapsed() > REQUEST_TIMEOUT {
                self.assigned = false;
                return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
            }
        }
        let within = |(seen, to): (&Seen, &i64)| seen.held.filter(|(offset, _)| offset < to);
        Ok(self.seen.iter().zip(to).map(within).collect())
    }

    /// Lets the consumer fetch the wanted partitions alone.
    fn read_only(&mut self, wanted: &[bool]) -> KafkaResult<()> {
        if !self.assigned {
            self.assign()?;
        }
        for (partition, (seen, wanted)) in self.seen.iter_mut().zip(wanted).enumerate() {
            if seen.paused != *wanted {
                continue;
            }
            seen.paused = !*wanted;
            let mut list = TopicPartitionList::new();
            list.add_partition(&self.topic, kafka_partition(partition)?);
            if seen.paused { self.consumer.pause(&list)? } else { self.consumer.resume(&list)? }
        }
        Ok(())
    }

    fn assign(&mut self) -> KafkaResult<()> {
        // An assignment does not undo a pause, and a resume after it may come before its offsets: then there is none to begin at.
        let mut paused = TopicPartitionList::new();
        let mut list = TopicPartitionList::new();
        for (partition, seen) in self.seen.iter().enumerate() {
            let partition = kafka_partition(partition)?;
            if seen.paused {
                paused.add_partition(&self.topic, partition);
            }
            list.add_partition_offset(&self.topic, partition, Offset::Offset(seen.position))?;
        }
        if paused.count() > 0 {
            self.consumer.resume(&paused)?;
        }
        self.consumer.assign(&list)?;
        for seen in &mut self.seen {
            (seen.paused, seen.fresh) = (false, true);
        }
        self.assigned = true;
        Ok(())
    }

    /// True when the topic said something.
    fn poll_once(&mut self, time_ms: i64, to: &[i64]) -> KafkaResult<bool> {
        match self.consumer.poll(POLL) {
            None => Ok(false),
            Some(Ok(message)) => {
                let partition = index(message.partition());
                let Some(seen) = partition.and_then(|index| self.seen.get_mut(index)) else { return Ok(true) };
                if message.offset() < seen.position || seen.held.is_some() {
                    return Ok(true);
                }
                seen.position = message.offset() + 1;
                seen.fresh = false;
                // A time of the far future would hold the windows up until then.
                let now_ms = clock_ms();
                let time = match &mut self.clock {
                    None => message.timestamp().to_millis().filter(|ms| *ms <= Ahead::default().latest_ms(now_ms)),
                    Some(clock) => message.payload().and_then(|value| clock.time_ms(value, now_ms)),
                };
                if seen.head.is_none() {
                    seen.head = time.map(|time| (message.offset(), time));
                }
                seen.held = time.filter(|time| *time >= time_ms).map(|time| (message.offset(), time));
                Ok(true)
            }
            // Offsets that hold no record (transactions, compaction) may be the last ones.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let Some(index) = index(partition) else { return Ok(true) };
                let (Some(seen), Some(&to)) = (self.seen.get_mut(index), to.get(index)) else { return Ok(true) };
                if seen.position < to && seen.held.is_none() {
                    if seen.fresh { seen.position = to } else { self.assigned = false }
                }
                Ok(true)
            }
            Some(Err(error)) => Err(error),
        }
    }
}

/// A negative one is none of the topic's.
fn index(partition: i32) -> Option<usize> {
    usize::try_from(partition).ok()
}
