//! What became of each record that was sent: acknowledgements, the first fault, and a broker that says nothing.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;

use super::{Replay, ReplayError};
use crate::topic::is_away;
use millstream_base::status::{EventKind, Status};

/// About a batch of records.
const PROBE_BYTES: usize = 1 << 20;
/// How long no acknowledgement may come while rows are on their way, before someone is told.
const SILENCE: Duration = Duration::from_secs(5);

/// Delivery reports: how far each partition is acknowledged, and the first fault.
pub(super) struct Deliveries {
    acknowledged: Vec<AtomicI64>,
    pub(super) sent: AtomicU64,
    reported: AtomicU64,
    /// When `reported` last moved, and whether its standing still was said.
    silence: Mutex<Silence>,
    topic: String,
    embedded_log: Option<PathBuf>,
    fault: Mutex<Option<ReplayError>>,
    failed: AtomicBool,
    away: AtomicBool,
    status: Arc<Status>,
}

struct Silence {
    reported: u64,
    since: Instant,
    said: bool,
}

impl Deliveries {
    pub(super) fn new(replay: &Replay) -> Self {
        // What an earlier run put there is acknowledged.
        let start = replay.identity.base_offsets.iter().zip(&replay.state.watermarks);
        Self {
            acknowledged: start.map(|(base, (_, high))| AtomicI64::new(*base.max(high))).collect(),
            sent: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            silence: Mutex::new(Silence { reported: 0, since: Instant::now(), said: false }),
            topic: replay.topic.name.clone(),
            embedded_log: replay.embedded_log.clone(),
            fault: Mutex::new(None),
            failed: AtomicBool::new(false),
            away: AtomicBool::new(false),
            status: replay.status.clone(),
        }
    }

    /// A broker that refuses every record is retried by librdkafka without a word: its silence is looked into here.
    fn look_into_silence(&self) -> Result<(), ReplayError> {
        let (sent, reported) = (self.sent.load(Ordering::Relaxed), self.reported.load(Ordering::Relaxed));
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        if reported != silence.reported || sent == reported {
            *silence = Silence { reported, since: Instant::now(), said: false };
        }
        if silence.said || silence.since.elapsed() < SILENCE {
            return Ok(());
        }
        silence.said = true;
        if let Some(place) = self.embedded_log.as_ref().filter(|place| is_full(place)) {
            return Err(ReplayError::LogFull { place: place.clone() });
        }
        let message = format!(
            "{} rows wait for an acknowledgement of the broker, none came for {} s",
            sent - reported,
            SILENCE.as_secs()
        );
        self.status.event(EventKind::Broker, message, serde_json::json!({ "reachable": false }));
        Ok(())
    }

    pub(super) fn acknowledged(&self, ends: &[i64]) -> bool {
        self.acknowledged.iter().zip(ends).all(|(acknowledged, end)| acknowledged.load(Ordering::Acquire) >= *end)
    }

    pub(super) fn check(&self) -> Result<(), ReplayError> {
        if !self.failed.load(Ordering::Acquire) {
            return self.look_into_silence();
        }
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.take().map_or(Ok(()), Err)
    }

    fn fail(&self, error: ReplayError) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.failed.swap(true, Ordering::AcqRel) {
            *fault = Some(error);
        }
    }
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        if is_away(&error) {
            if !self.away.swap(true, Ordering::Relaxed) {
                let message = format!("the broker is away, rows wait for it: {reason}");
                self.status.event(EventKind::Broker, message, serde_json::json!({ "reachable": false }));
            }
        } else if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.fail(ReplayError::Send { topic: self.topic.clone(), reason: reason.to_owned() });
        } else {
            tracing::warn!(%error, reason, "librdkafka");
        }
    }

    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, message: &str) {
        tracing::debug!(message, "librdkafka");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, expected: usize) {
        self.reported.fetch_add(1, Ordering::Relaxed);
        let Ok(expected) = i64::try_from(expected) else {
            let reason = format!("a record was to have the offset {expected}");
            return self.fail(ReplayError::Send { topic: self.topic.clone(), reason });
        };
        match result {
            // −1001: librdkafka knows that it is stored, not where (the answer was lost and the broker had it already). The next
            // report of the partition tells whether the offsets still agree.
            Ok(message) if message.offset() == expected || message.offset() < 0 => {
                let index = usize::try_from(message.partition()).ok();
                if let Some(acknowledged) = index.and_then(|index| self.acknowledged.get(index)) {
                    acknowledged.store(expected + 1, Ordering::Release);
                }
                if self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed) {
                    self.status.event(
                        EventKind::Broker,
                        "the broker answers again",
                        serde_json::json!({ "reachable": true }),
                    );
                }
            }
            Ok(message) => {
                self.fail(ReplayError::ForeignWriter { topic: self.topic.clone(), expected, found: message.offset() })
            }
            // A stop purges nothing, but closing the producer does: those rows are sent next time.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight), _)) => {
            }
            Err((error, _)) => self.fail(ReplayError::Send { topic: self.topic.clone(), reason: error.to_string() }),
        }
    }
}

/// Is there no room left for another batch of records in the folder?
fn is_full(folder: &Path) -> bool {
    let probe = folder.join(format!(".probe-{}", uuid::Uuid::new_v4().simple()));
    let written = std::fs::write(&probe, vec![0_u8; PROBE_BYTES]);
    // The probe has done its work, whatever came of it.
    let _ = std::fs::remove_file(&probe);
    written.is_err_and(|error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}
