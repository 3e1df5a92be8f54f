//! What Kafka's errors mean to ingest, and records that do not come.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::super::assignment::Group;
use super::{IngestError, Run, SEEK_TIMEOUT};
use crate::topic::{is_away, kafka_partition};

/// How often lanes are looked for that get no records although there are some, and how long that lasts before it is said, and
/// before it ends ingest: a broker far away may need its time for a fetch.
const STUCK_LOOK: Duration = Duration::from_secs(5);
const STUCK_SAID: Duration = Duration::from_secs(5);
const STUCK_END: Duration = Duration::from_secs(60);
const WATERMARKS_TIMEOUT: Duration = Duration::from_secs(2);
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
            && let Some((partition, offset, high)) = self.behind(consumer, Duration::ZERO).first().copied()
        {
            let topic = self.ingest.topic.name.clone();
            return Err(IngestError::Unreadable { topic, partition, offset, high, reason: error.to_string() });
        }
        // After a long upload the group has given this worker's partitions away: the next poll joins it again.
        let joins_again = code == Some(RDKafkaErrorCode::PollExceeded);
        if joins_again || is_away(&error) { Ok(()) } else { Err(self.ingest.kafka(error)) }
    }

    /// The lanes that have had no record for so long although there are some: partition, next offset, end of the partition.
    fn behind(&self, consumer: &BaseConsumer<Group>, silence: Duration) -> Vec<(i32, i64, i64)> {
        let topic = &self.ingest.topic.name;
        let quiet = self.lanes.values().filter(|lane| {
            let waits = lane.end.is_some_and(|end| lane.part.next_offset() < end);
            waits && !lane.paused && lane.heard.elapsed() >= silence
        });
        let behind = quiet.map_while(|lane| {
            // A broker that does not answer is away, which is said elsewhere.
            let partition = kafka_partition(lane.partition).ok()?;
            let (_, high) = consumer.fetch_watermarks(topic, partition, WATERMARKS_TIMEOUT).ok()?;
            Some((partition, lane.part.next_offset(), high))
        });
        behind.filter(|(_, next, high)| high > next).collect()
    }

    /// librdkafka asks again and again, and says nothing, where it cannot read what the broker sends: that is said here, and
    /// ends ingest when it lasts.
    pub(super) fn find_stuck(&mut self, consumer: &BaseConsumer<Group>) -> Result<(), IngestError> {
        if self.looked.elapsed() < STUCK_LOOK {
            return Ok(());
        }
        self.looked = Instant::now();
        let name = self.ingest.topic.name.clone();
        for (partition, offset, high) in self.behind(consumer, STUCK_SAID) {
            let Some(lane) = self.lane_of(partition) else { continue };
            let silent = lane.heard.elapsed();
            if silent >= STUCK_END {
                let reason = format!("nothing came for {} s", silent.as_secs());
                return Err(IngestError::Unreadable { topic: name, partition, offset, high, reason });
            }
            if std::mem::replace(&mut lane.said_stuck, true) {
                continue;
            }
            let message = format!(
                "partition {partition} of topic {name:?} gives no record from offset {offset} on, although it holds some up to {high}: \
                 one that cannot be read, or a slow broker; ingest ends when this lasts {} s",
                STUCK_END.as_secs()
            );
            let data = serde_json::json!({ "partition": partition, "offset": offset, "end": high });
            self.ingest.status.update(|snapshot| snapshot.problems.push(message.clone()));
            self.ingest.status.event("problem", message, data);
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
