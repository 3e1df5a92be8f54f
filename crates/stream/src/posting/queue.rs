//! Records on their way to a topic from whoever must not wait for it: a queue with an end, and a thread that sends what is in it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millstream_base::error_chain;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::Reach;
use crate::topic::{Topic, TopicError, is_away, pause};

/// Waiting for the producer: a broker may be away for so long as they last.
const RECORDS_MOST: usize = 10_000;
const BYTES_MOST: usize = 16 << 20;
const LINGER_MS: u32 = 20;
const POLL: Duration = Duration::from_millis(50);
/// After so long without an acknowledgement nothing more is handed over, and it is asked whether the topic is reached elsewhere by now.
const SILENCE: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
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
    /// The producer sends nothing any more.
    is_over: AtomicBool,
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
    /// There was no room, the broker refused them, or it went away for good while they were on their way, and may have them.
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

    /// Sends what comes to the topic `name`, which is made when it is absent, until told to stop; then what is there, for a moment. Reaches the
    /// topic anew, by what `reach` says then, whenever it cannot be reached or is elsewhere by now. `tell`: what someone has to mend, and `None` when it is over.
    pub fn run(self: &Arc<Self>, name: &str, reach: &Reach, stop: &AtomicBool, tell: &mut dyn FnMut(Option<String>)) {
        self.wait_for_first(stop);
        let (mut connected, mut waits) = (None, false);
        while !stop.load(Ordering::Relaxed) {
            match self.connect(name, reach) {
                Ok(found) => {
                    tell(None);
                    waits = false;
                    let (producer, topic) = connected.insert(found);
                    self.send(producer, topic, reach, stop);
                }
                Err(Unreached::Away(reason)) if !waits => {
                    tracing::info!(topic = name, reason, "records of answers wait");
                    waits = true;
                }
                Err(Unreached::Away(_)) => {}
                Err(Unreached::Refused(error)) => tell(Some(format!("answers are not kept: {}", error_chain(&error)))),
            }
            if !stop.load(Ordering::Relaxed) {
                connected = None;
                pause(stop, REACH_PAUSE);
            }
        }
        if let Some((producer, _)) = &connected {
            let until = Instant::now() + FLUSH_MOST;
            while Instant::now() < until && self.counts().waiting > 0 {
                self.send_waiting(producer, name);
                producer.poll(POLL);
            }
        }
        let lost = self.counts().waiting;
        if lost > 0 {
            tracing::warn!(
                topic = name,
                records = lost,
                "records of answers were on their way when the server stopped"
            );
        }
    }

    fn connect(self: &Arc<Self>, name: &str, reach: &Reach) -> Result<(BaseProducer<Deliveries>, Topic), Unreached> {
        let topic = reach().map_err(Unreached::Away)?.topic.named(name);
        self.is_over.store(false, Ordering::Relaxed);
        let producer = topic.producer(Deliveries(Arc::clone(self)), LINGER_MS)?;
        match topic.look(producer.client(), REQUEST_TIMEOUT) {
            Ok(Some(_)) => {}
            Ok(None) => topic.create(1)?,
            Err(error) if is_away(&error) => return Err(Unreached::Away(error.to_string())),
            Err(source) => return Err(TopicError::Kafka { servers: topic.servers, source }.into()),
        }
        Ok((producer, topic))
    }

    /// Until told to stop, or until another producer is needed. What is on its way then may be there, and is not sent again.
    fn send(&self, producer: &BaseProducer<Deliveries>, topic: &Topic, reach: &Reach, stop: &AtomicBool) {
        let written = || self.written.load(Ordering::Relaxed);
        let (mut known, mut heard) = (written(), Instant::now());
        let is_elsewhere = || reach().is_ok_and(|reached| reached.topic.servers != topic.servers);
        while !stop.load(Ordering::Relaxed) {
            let is_silent = heard.elapsed() >= SILENCE;
            // What waits here can still go to another broker.
            if !is_silent {
                self.send_waiting(producer, &topic.name);
            }
            producer.poll(if is_silent { REACH_PAUSE } else { POLL });
            let under_way = self.under_way.load(Ordering::Relaxed);
            if under_way == 0 || written() != known {
                (known, heard) = (written(), Instant::now());
            }
            if self.is_over.load(Ordering::Relaxed) || is_silent && is_elsewhere() {
                tracing::warn!(topic = topic.name, records = under_way, "records of answers are given up on their way");
                return;
            }
        }
    }

    fn wait_for_first(&self, stop: &AtomicBool) {
        let mut kept = self.kept();
        while kept.values.is_empty() && !stop.load(Ordering::Relaxed) {
            (kept, _) = self.came.wait_timeout(kept, POLL).unwrap_or_else(PoisonError::into_inner);
        }
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
        if ends_producer(error) {
            self.is_over.store(true, Ordering::Relaxed);
        }
        // The first of many.
        if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(%error, "records of answers are dropped");
        }
    }

    fn kept(&self) -> MutexGuard<'_, Waiting> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the topic cannot be sent to just now.
enum Unreached {
    /// Time mends it.
    Away(String),
    Refused(TopicError),
}

impl From<TopicError> for Unreached {
    fn from(error: TopicError) -> Self {
        Self::Refused(error)
    }
}

/// Whether the producer sends nothing any more: it broke, or its topic was deleted, which another one makes.
fn ends_producer(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{Fatal, UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    let code = error.rdkafka_error_code();
    matches!(code, Some(Fatal | UnknownPartition | UnknownTopic | UnknownTopicOrPartition))
}

struct Deliveries(Arc<TopicQueue>);

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.0.is_over.store(true, Ordering::Relaxed);
        }
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
            // The producer is closed, which is told as a whole.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight), _)) => {
                self.0.dropped.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => self.0.refused(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reached;
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

    #[test]
    fn what_keeps_the_topic_from_being_reached_is_told_and_tried_again_with_what_is_there_then() {
        let queue = Arc::new(TopicQueue::default());
        queue.put(b"one".to_vec());
        let (stop, tries) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
        let told_to_stop = Arc::clone(&stop);
        let reach: Reach = Box::new(move || match tries.fetch_add(1, Ordering::Relaxed) {
            0 => {
                let mistyped = [("security.protocol".to_owned(), "tsl".to_owned())].into();
                Ok(Reached { topic: Topic::new("t", "127.0.0.1:1", &mistyped), sync_log: None })
            }
            1 => Err("the pipeline has not begun yet".to_owned()),
            _ => {
                told_to_stop.store(true, Ordering::Relaxed);
                Err("and so on".to_owned())
            }
        });
        let mut told = Vec::new();
        queue.run("t", &reach, &stop, &mut |problem| told.push(problem));
        assert_eq!(told.len(), 1);
        assert!(told[0].as_ref().unwrap().contains("security.protocol"), "{told:?}");
        assert_eq!(queue.counts(), QueueCounts { written: 0, waiting: 1, dropped: 0 });
    }
}
