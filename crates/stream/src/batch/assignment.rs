//! Which partitions this worker reads: the consumer group gives and takes them, and each begins where its newest manifest ends. Also tells of
//! the broker's coming and going.

use std::sync::{Arc, Mutex, PoisonError};

use millstream_store::SharedStore;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::DecideError;
use super::committed::{Checkpoint, checkpoint};
use crate::topic::{Watch, kafka_partition};
use millstream_base::status::{EventKind, Status};

/// Says that the broker went away or came back.
type Say = Box<dyn Fn(bool, String) + Send + Sync>;

/// What the group did since it was last asked.
pub(super) enum Change {
    Given(Vec<Checkpoint>),
    Taken(Vec<u32>),
    /// The store did not tell where the partitions begin.
    Failed(DecideError),
    /// librdkafka did not take what the group gave or took: without it a partition would be held and never read.
    Refused(KafkaError),
}

pub(super) struct Group {
    store: SharedStore,
    base_offsets: Vec<i64>,
    changes: Mutex<Vec<Change>>,
    watch: Watch<Say>,
}

impl Group {
    pub fn new(store: SharedStore, base_offsets: Vec<i64>, status: Arc<Status>) -> Self {
        let say: Say = Box::new(move |reachable, message| {
            status.update(|snapshot| snapshot.broker.reachable = reachable);
            status.event(EventKind::Broker, message, serde_json::json!({ "reachable": reachable }));
        });
        Self { store, base_offsets, changes: Mutex::default(), watch: Watch::new(say) }
    }

    pub fn changes(&self) -> Vec<Change> {
        std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An answer came.
    pub fn here(&self) {
        self.watch.here();
    }

    fn note(&self, change: Change) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    }

    fn given(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) -> Result<(), KafkaError> {
        let asked = partitions(list);
        let positions = match checkpoint(self.store.as_ref(), &self.base_offsets) {
            Ok(found) => found.positions.into_iter().filter(|position| asked.contains(&position.partition)).collect(),
            Err(error) => {
                self.note(Change::Failed(error));
                Vec::new()
            }
        };
        let mut assigned = TopicPartitionList::new();
        for position in &positions {
            let name = list.elements().first().map_or_else(String::new, |element| element.topic().to_owned());
            let partition = kafka_partition(position.partition)?;
            assigned.add_partition_offset(&name, partition, Offset::Offset(position.offset))?;
        }
        consumer.incremental_assign(&assigned)?;
        self.note(Change::Given(positions));
        Ok(())
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<u32> {
    list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect()
}

impl ClientContext for Group {
    fn error(&self, error: KafkaError, reason: &str) {
        self.watch.error(error, reason);
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.watch.log(level, facility, message);
    }
}

impl ConsumerContext for Group {
    /// Called inside `poll`: the lanes are changed after it, before a message is looked at.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let done = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.given(consumer, list),
            _ => {
                self.note(Change::Taken(partitions(list)));
                consumer.incremental_unassign(list)
            }
        };
        if let Err(error) = done {
            self.note(Change::Refused(error));
        }
    }
}
