//! Why ingest ends before its stream does.

use rdkafka::error::KafkaError;

use super::super::cut::DecideError;
use super::super::part::PartError;
use crate::topic::TopicError;

#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error(transparent)]
    Part(#[from] PartError),
    #[error(transparent)]
    Decide(#[from] DecideError),
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(
        "the next record of partition {partition} of topic {topic:?} is at offset {offset}, the topic holds {low} to {high}: retention or another hand removed what lies between; it is lost: begin anew with another store.url and stream.topic"
    )]
    Gap { topic: String, partition: i32, offset: i64, low: i64, high: i64 },
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
        "batch {batch}: partition {partition} gave {found} records where {expected} were sent; nothing was committed; start again, and report this as a bug if it stays"
    )]
    Hole { batch: u32, partition: u32, found: u64, expected: u64 },
    #[error("the embedded broker's log cannot be made durable")]
    Sync(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(
        "partition {partition} of topic {topic:?} cannot be read on from offset {offset}, and holds records up to {high} ({reason}): what stands there is no record that a client can read, or is too large; begin anew with another store.url and stream.topic, or delete the records up to there by `kafka-delete-records`, which a new store.url then begins after"
    )]
    Unreadable { topic: String, partition: u32, offset: i64, high: i64, reason: String },
    #[error(
        "topic {topic:?} cannot be read on ({reason}): what stands in one of its partitions is no record that a client can read, or is too large; it may be any of these: {}; begin anew with another store.url and stream.topic",
        places_text(places)
    )]
    UnreadableAmong { topic: String, places: Vec<(u32, i64)>, reason: String },
    #[error(
        "ingest panicked at offset {offset} of partition {partition}: {reason}; nothing of the open batch was committed; please report this as a bug"
    )]
    Panicked { partition: i32, offset: i64, reason: String },
}

/// Of a thousand partitions the first few.
const PLACES_NAMED: usize = 8;

fn places_text(places: &[(u32, i64)]) -> String {
    let named = places.iter().take(PLACES_NAMED);
    let named: Vec<_> =
        named.map(|(partition, offset)| format!("partition {partition} from offset {offset} on")).collect();
    match places.len().saturating_sub(PLACES_NAMED) {
        0 => named.join(", "),
        more => format!("{}, and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_several_partitions_may_be_it_none_is_advised_to_be_deleted() {
        let error = |n: u32| {
            let places = (0..n).map(|partition| (partition, 7)).collect();
            IngestError::UnreadableAmong { topic: "t".to_owned(), places, reason: "bad".to_owned() }.to_string()
        };
        let (two, many) = (error(2), error(1000));
        assert!(
            two.contains("any of these: partition 0 from offset 7 on, partition 1 from offset 7 on; begin"),
            "{two}"
        );
        assert!(!two.contains("delete"), "{two}");
        assert!(many.contains("partition 7 from offset 7 on, and 992 more;"), "{many}");
    }
}
