//! What Kafka's errors mean to ingest, and records that do not come.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::super::assignment::Group;
use super::super::stuck::{Verdict, Waiting};
use super::{IngestError, Run, SEEK_TIMEOUT};
use crate::topic::{is_away, kafka_partition};

/// For one answer, and for all that one look or one error asks for.
const END_TIMEOUT: Duration = Duration::from_secs(2);
const LOOK_MOST: Duration = Duration::from_millis(200);
const ALL_MOST: Duration = Duration::from_secs(10);
/// What librdkafka says of records that it cannot read.
const UNREADABLE: [RDKafkaErrorCode; 5] = [
    RDKafkaErrorCode::BadMessage,
    RDKafkaErrorCode::BadCompression,
    RDKafkaErrorCode::InvalidMessage,
    RDKafkaErrorCode::InvalidMessageSize,
    RDKafkaErrorCode::MessageSizeTooLarge,
];

impl Run<'_> {
    pub(super) fn trouble(&self, consumer: &BaseConsumer<Group>, error: KafkaError) -> Result<(), IngestError> {
        let code = error.rdkafka_error_code();
        if matches!(code, Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)) {
            return Err(self.gap(consumer).unwrap_or_else(|| self.ingest.kafka(error)));
        }
        if code.is_some_and(|code| UNREADABLE.contains(&code))
            && let Some(unreadable) = self.unreadable(consumer, &error.to_string())
        {
            return Err(unreadable);
        }
        // After a long upload the group has given this worker's partitions away: the next poll joins it again.
        let joins_again = code == Some(RDKafkaErrorCode::PollExceeded);
        if joins_again || is_away(&error) { Ok(()) } else { Err(self.ingest.kafka(error)) }
    }

    /// The lanes whose next record may come at any time.
    fn waiting(&self) -> Vec<Waiting> {
        let lanes = self.lanes.values().filter(|lane| !lane.paused);
        let lanes = lanes.map(|lane| (lane.partition, lane.part.next_offset(), lane.end));
        lanes
            .filter(|(_, next, end)| end.is_some_and(|end| *next < end))
            .map(|(partition, next, _)| (partition, next))
            .collect()
    }

    /// Where a partition ends; `None`: the broker does not answer.
    fn end_at(&self, consumer: &BaseConsumer<Group>, partition: u32) -> Option<i64> {
        let partition = kafka_partition(partition).ok()?;
        let watermarks = consumer.fetch_watermarks(&self.ingest.topic.name, partition, END_TIMEOUT);
        watermarks.ok().map(|(_, high)| high)
    }

    /// What cannot be read, where Kafka's client does not say which partition's record it is; `None`: none is there to be read.
    fn unreadable(&self, consumer: &BaseConsumer<Group>, reason: &str) -> Option<IngestError> {
        let began = Instant::now();
        let mut found = Vec::new();
        for (partition, offset) in self.waiting() {
            let high = if began.elapsed() < ALL_MOST { self.end_at(consumer, partition) } else { None };
            if high.is_none_or(|high| high > offset) {
                found.push((partition, offset, high));
            }
        }
        let (topic, reason) = (self.ingest.topic.name.clone(), reason.to_owned());
        match *found.as_slice() {
            [] => None,
            [(partition, offset, Some(high))] => {
                Some(IngestError::Unreadable { topic, partition, offset, high, reason })
            }
            _ => {
                let places = found.iter().map(|(partition, offset, _)| (*partition, *offset)).collect();
                Some(IngestError::UnreadableAmong { topic, places, reason })
            }
        }
    }

    /// Withdraws what was said of lanes that have moved on.
    pub(super) fn withdraw(&mut self) {
        if self.stuck.finds_none() {
            return;
        }
        let waiting = self.waiting();
        for message in self.stuck.moved_on(&waiting) {
            self.ingest.status.withdraw(&message);
        }
    }

    /// Says which partitions give no record although they hold some, and ends ingest where that lasts.
    pub(super) fn find_stuck(&mut self, consumer: &BaseConsumer<Group>) -> Result<(), IngestError> {
        if !self.stuck.is_due() {
            return Ok(());
        }
        let began = Instant::now();
        let waiting = self.waiting();
        for lane in self.stuck.to_ask(&waiting) {
            if began.elapsed() >= LOOK_MOST {
                break;
            }
            let Some(high) = self.end_at(consumer, lane.0) else {
                self.stuck.no_answer(lane);
                break;
            };
            match self.stuck.answer(lane, high) {
                None => {}
                Some(Verdict::Say(message)) => self.ingest.status.problem(message),
                Some(Verdict::End(silent)) => {
                    let reason = format!("nothing came for {} s", silent.as_secs());
                    if let Some(unreadable) = self.unreadable(consumer, &reason) {
                        return Err(unreadable);
                    }
                }
            }
        }
        Ok(())
    }

    /// The partition whose next record is not there any more.
    fn gap(&self, consumer: &BaseConsumer<Group>) -> Option<IngestError> {
        let topic = &self.ingest.topic.name;
        self.lanes.values().find_map(|lane| {
            let (partition, offset) = (kafka_partition(lane.partition).ok()?, lane.part.next_offset());
            let (low, high) = consumer.fetch_watermarks(topic, partition, SEEK_TIMEOUT).ok()?;
            let gone = offset < low || offset > high;
            gone.then(|| IngestError::Gap { topic: topic.clone(), partition, offset, low, high })
        })
    }
}
