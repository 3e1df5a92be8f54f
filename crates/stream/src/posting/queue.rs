//! Records on their way to a topic from whoever must not wait for it: a queue with an end, and a thread that sends what is in it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, ProducerContext};

use super::Reach;
use crate::topic::{Topic, TopicError, pause};

/// Waiting for the producer: together with as much on its way, a broker may be away for so long as they last.
const RECORDS_MOST: usize = 10_000;
const BYTES_MOST: usize = 16 << 20;
const LINGER_MS: u32 = 20;
const POLL: Duration = Duration::from_millis(50);
/// Between two tries to reach the topic.
const REACH_PAUSE: Duration = Duration::from_secs(1);
/// At a stop, for what is on its way.
const FLUSH_MOST: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct TopicQueue {
    kept: Mutex<Waiting>,
    came: Condvar,
    /// Sent and not acknowledged.
    under_way: AtomicUsize,
    under_way_bytes: AtomicUsize,
    written: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    values: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// Since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Acknowledged.
    pub written: u64,
    /// Not yet.
    pub waiting: usize,
    /// There was no room, or the broker refused them.
    pub dropped: u64,
}

impl TopicQueue {
    /// Takes a record's value where there is room for it; waits for nobody.
    pub fn put(&self, value: Vec<u8>) {
        let mut kept = self.kept();
        if kept.values.len() >= RECORDS_MOST || kept.bytes + value.len() > BYTES_MOST {
            drop(kept);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        kept.bytes += value.len();
        kept.values.push_back(value);
        drop(kept);
        self.came.notify_one();
    }

    pub fn counts(&self) -> QueueCounts {
        QueueCounts {
            written: self.written.load(Ordering::Relaxed),
            waiting: self.kept().values.len() + self.under_way.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    /// What waits, which is not sent then.
    #[cfg(any(test, feature = "testing"))]
    pub fn taken(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.kept()).values.into()
    }

    /// Sends what comes to the topic `name`, which is made when it is absent, until told to stop; then what is there, for a moment.
    pub fn run(self: &Arc<Self>, name: &str, reach: &Reach, stop: &AtomicBool) -> Result<(), TopicError> {
        if !self.wait_for_first(stop) {
            return Ok(());
        }
        let Some(topic) = reached(name, reach, stop) else { return Ok(()) };
        match topic.prepare(None, true, stop, &|message| tracing::info!(topic = name, "{message}")) {
            Err(_) if stop.load(Ordering::Relaxed) => return Ok(()),
            prepared => drop(prepared?),
        }
        let producer = topic.producer(Deliveries(Arc::clone(self)), LINGER_MS)?;
        while !stop.load(Ordering::Relaxed) {
            self.send_waiting(&producer, name);
            producer.poll(POLL);
        }
        let until = Instant::now() + FLUSH_MOST;
        while Instant::now() < until && self.counts().waiting > 0 {
            self.send_waiting(&producer, name);
            producer.poll(POLL);
        }
        let lost = self.counts().waiting;
        if lost > 0 {
            tracing::warn!(
                topic = name,
                records = lost,
                "records of answers were on their way when the server stopped"
            );
        }
        Ok(())
    }

    fn wait_for_first(&self, stop: &AtomicBool) -> bool {
        let mut kept = self.kept();
        while kept.values.is_empty() {
            if stop.load(Ordering::Relaxed) {
                return false;
            }
            (kept, _) = self.came.wait_timeout(kept, POLL).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// As much as there is room for on the way.
    fn send_waiting(&self, producer: &BaseProducer<Deliveries>, name: &str) {
        while self.under_way_bytes.load(Ordering::Relaxed) < BYTES_MOST {
            let mut kept = self.kept();
            let Some(value) = kept.values.pop_front() else { return };
            kept.bytes -= value.len();
            self.under_way.fetch_add(1, Ordering::Relaxed);
            self.under_way_bytes.fetch_add(value.len(), Ordering::Relaxed);
            drop(kept);
            let record = BaseRecord::<(), [u8], usize>::with_opaque_to(name, value.len()).payload(&value);
            match producer.send(record) {
                Ok(()) => {}
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.came_back(value.len());
                    let mut kept = self.kept();
                    kept.bytes += value.len();
                    kept.values.push_front(value);
                    return;
                }
                Err((error, _)) => {
                    self.came_back(value.len());
                    self.refused(&error);
                }
            }
        }
    }

    fn came_back(&self, bytes: usize) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        self.under_way_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn refused(&self, error: &KafkaError) {
        // The first of many.
        if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(%error, "records of answers are dropped");
        }
    }

    fn kept(&self) -> MutexGuard<'_, Waiting> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `None`: told to stop before it could be.
fn reached(name: &str, reach: &Reach, stop: &AtomicBool) -> Option<Topic> {
    let mut told = false;
    while !stop.load(Ordering::Relaxed) {
        match reach() {
            Ok(reached) => return Some(reached.topic.named(name)),
            Err(reason) if !told => {
                tracing::info!(topic = name, reason, "records of answers wait");
                told = true;
            }
            Err(_) => {}
        }
        pause(stop, REACH_PAUSE);
    }
    None
}

struct Deliveries(Arc<TopicQueue>);

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }

    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, message: &str) {
        tracing::debug!(message, "librdkafka");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, bytes: usize) {
        self.0.came_back(bytes);
        match result {
            Ok(_) => {
                self.0.written.fetch_add(1, Ordering::Relaxed);
            }
            // The producer is closed.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight), _)) => {
            }
            Err((error, _)) => self.0.refused(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_room_for_is_counted_and_nobody_waits() {
        let queue = TopicQueue::default();
        (0..RECORDS_MOST + 7).for_each(|_| queue.put(vec![b'x'; 10]));
        assert_eq!(queue.counts(), QueueCounts { written: 0, waiting: RECORDS_MOST, dropped: 7 });
        let queue = TopicQueue::default();
        (0..20).for_each(|_| queue.put(vec![b'x'; 1 << 20]));
        assert_eq!(queue.counts(), QueueCounts { written: 0, waiting: 16, dropped: 4 });
    }
}
