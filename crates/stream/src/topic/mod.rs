//! The topic, through librdkafka: the same code for the embedded broker and for any Kafka. A broker that is not there yet or goes
//! away is waited for, and that is said once, not every second.

mod describe;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::source::Sampled;

/// Of our clients, unless `stream."client.id"` says otherwise.
pub const CLIENT_ID: &str = "millstream";
/// One request to the broker.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A broker older than Kafka 2.8 has no topic ids: after so many tries it is taken for one.
const TOPIC_ID_TRIES: u32 = 3;
/// Errors listened to after a request that failed: a few for each broker.
const HEARD_MOST: usize = 32;
/// A sample is complete when the topic has been silent for so long, or has given so much.
const SAMPLE_SILENCE: Duration = Duration::from_secs(1);
const SAMPLE_BYTES: usize = 8 << 20;
/// Between two tries while the broker is away.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    #[error("stream: librdkafka refuses the properties: {0}; mend or remove the key under [stream]")]
    Properties(KafkaError),
    #[error(
        "topic {topic:?} has {found} partitions, the pipeline says {expected}: set stream.partitions = {found}, or name another topic"
    )]
    Partitions { topic: String, found: usize, expected: u32 },
    #[error("topic {topic:?} cannot be made: {reason}; make it by hand or mend the rights of this client")]
    Create { topic: String, reason: String },
    #[error("stopped while waiting for the broker at {servers}")]
    Stopped { servers: String },
    #[error("the broker at {servers} fails: {source}")]
    Kafka { servers: String, source: KafkaError },
}

/// How to reach the topic; makes clients.
#[derive(Clone)]
pub struct Topic {
    pub name: String,
    pub servers: String,
    properties: BTreeMap<String, String>,
}

/// Kafka numbers partitions by i32: one beyond is none of any topic.
pub fn kafka_partition(partition: impl TryInto<i32>) -> Result<i32, KafkaError> {
    partition.try_into().map_err(|_| KafkaError::SetPartitionOffset(RDKafkaErrorCode::UnknownPartition))
}

/// What the broker says of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState {
    pub cluster: String,
    /// The topic's own id: another one means that it was deleted and made again. `None`: a broker older than Kafka 2.8.
    pub topic_id: Option<String>,
    /// First and end offset of every partition.
    pub watermarks: Vec<(i64, i64)>,
}

/// A topic that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTopic {
    pub cluster: String,
    /// As in `TopicState`; `None` also where the broker did not say it in time.
    pub topic_id: Option<String>,
    pub partitions: usize,
}

impl Topic {
    pub fn new(name: &str, servers: &str, properties: &BTreeMap<String, String>) -> Self {
        Self { name: name.to_owned(), servers: servers.to_owned(), properties: properties.clone() }
    }

    /// Another topic of the same broker.
    pub fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        self.lay_over(&mut config);
        config
    }

    /// What all clients share, over what is set already. Not by way of another client's `config_map`: that hides passwords.
    fn lay_over(&self, config: &mut ClientConfig) {
        config.set("client.id", CLIENT_ID);
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        // A producer's default is true: a topic that was deleted would come back at once, with the broker's own number of partitions.
        config.set("allow.auto.create.topics", "false");
        config.set("bootstrap.servers", &self.servers).set_log_level(RDKafkaLogLevel::Error);
    }

    /// An idempotent producer that never gives a record up and never sends one twice.
    pub fn producer<C: ProducerContext>(&self, context: C, linger_ms: u32) -> Result<BaseProducer<C>, TopicError> {
        self.producer_config(linger_ms, Duration::ZERO).create_with_context(context).map_err(TopicError::Properties)
    }

    /// An idempotent producer with a thread for what becomes of records. It sends none twice, and gives up one that was not
    /// acknowledged in `give_up`: its topic may have it or not.
    pub fn bounded_producer<C: ProducerContext + 'static>(
        &self,
        context: C,
        linger_ms: u32,
        give_up: Duration,
    ) -> Result<ThreadedProducer<C>, TopicError> {
        self.producer_config(linger_ms, give_up).create_with_context(context).map_err(TopicError::Properties)
    }

    /// `give_up`: of a record that is not acknowledged; zero: never.
    fn producer_config(&self, linger_ms: u32, give_up: Duration) -> ClientConfig {
        let mut config = ClientConfig::new();
        // Settings that pack well, by measurement; the user's own go over them.
        config
            .set("linger.ms", linger_ms.to_string())
            .set("batch.num.messages", "50000")
            .set("batch.size", "1000000")
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", "500000")
            // Bounds the memory of what waits for the broker.
            .set("queue.buffering.max.kbytes", "65536");
        self.lay_over(&mut config);
        config
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", give_up.as_millis().to_string())
            .set_log_level(RDKafkaLogLevel::Error);
        config
    }

    /// A consumer whose positions come from the manifests alone.
    pub fn consumer<C: ConsumerContext>(&self, context: C, group: &str) -> Result<BaseConsumer<C>, TopicError> {
        self.consumer_config(group).create_with_context(context).map_err(TopicError::Properties)
    }

    fn consumer_config(&self, group: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        // Bounds the memory of what was fetched ahead.
        config
            .set("queued.min.messages", "50000")
            .set("queued.max.messages.kbytes", "65536")
            .set("fetch.wait.max.ms", "100")
            // The default pauses a second whenever the queue is full: 8 M rows then take 5 to 20 s instead of 4.
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.message.max.bytes", "8388608")
            .set("check.crcs", "true")
            // A killed worker's partitions are taken over after this time.
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "2000");
        self.lay_over(&mut config);
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("partition.assignment.strategy", "cooperative-sticky")
            // Offsets without a record may be the last of a batch: only the end of the partition tells.
            .set("enable.partition.eof", "true")
            .set_log_level(RDKafkaLogLevel::Error);
        config
    }

    /// A consumer that reads ahead a little, of whatever partitions it is assigned.
    pub fn scout(&self) -> Result<BaseConsumer<Quiet>, TopicError> {
        let mut config = self.consumer_config("millstream-look");
        config.set("queued.min.messages", "10000").set("queued.max.messages.kbytes", "4096");
        config.create_with_context(Quiet).map_err(TopicError::Properties)
    }

    /// As `scout`, and records that are not committed yet by a transaction of others hide none behind them.
    pub fn finder(&self) -> Result<BaseConsumer<Quiet>, TopicError> {
        let mut config = self.consumer_config("millstream-look");
        config.set("queued.min.messages", "10000").set("queued.max.messages.kbytes", "4096");
        config.set("isolation.level", "read_uncommitted");
        config.create_with_context(Quiet).map_err(TopicError::Properties)
    }

    /// The topic as `client` finds it within `timeout` for each request; `None`: there is none of this name.
    pub fn look<C: ClientContext>(
        &self,
        client: &Client<C>,
        timeout: Duration,
    ) -> Result<Option<FoundTopic>, KafkaError> {
        // All topics: asking for one by name would make it, with the broker's default number of partitions.
        let metadata = client.fetch_metadata(None, timeout)?;
        let found = metadata.topics().iter().find(|topic| topic.name() == self.name && topic.error().is_none());
        let Some(partitions) = found.map(|topic| topic.partitions().len()).filter(|count| *count > 0) else {
            return Ok(None);
        };
        let away = || KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        let cluster = client.fetch_cluster_id(timeout).ok_or_else(away)?;
        Ok(Some(FoundTopic { cluster, topic_id: describe::topic_id(client, &self.name, timeout), partitions }))
    }

    /// The value of one record; `None` when it cannot be read within the request's time.
    pub fn read_one(&self, partition: usize, offset: i64, stop: &AtomicBool) -> Result<Option<Vec<u8>>, TopicError> {
        let consumer: BaseConsumer<Quiet> = self.consumer(Quiet, "millstream-look")?;
        let kafka = |source| TopicError::Kafka { servers: self.servers.clone(), source };
        let mut list = TopicPartitionList::new();
        let partition = kafka_partition(partition).map_err(kafka)?;
        list.add_partition_offset(&self.name, partition, Offset::Offset(offset)).map_err(kafka)?;
        consumer.assign(&list).map_err(kafka)?;
        let until = Instant::now() + REQUEST_TIMEOUT;
        while Instant::now() < until && !stop.load(Ordering::Relaxed) {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                return Ok((message.offset() == offset).then(|| message.payload().unwrap_or_default().to_vec()));
            }
        }
        Ok(None)
    }

    /// The first records at or after `from` that have a value, in whatever order the partitions give them: waits for the first, then
    /// takes what comes until the topic is silent and they are `enough`.
    pub fn sample(
        &self,
        from: &[i64],
        most: usize,
        enough: &mut dyn FnMut(&[Sampled]) -> bool,
        stop: &AtomicBool,
    ) -> Result<Vec<Sampled>, TopicError> {
        let consumer: BaseConsumer<Quiet> = self.scout()?;
        let kafka = |source| TopicError::Kafka { servers: self.servers.clone(), source };
        let mut list = TopicPartitionList::new();
        for (partition, offset) in (0..).zip(from) {
            list.add_partition_offset(&self.name, partition, Offset::Offset(*offset)).map_err(kafka)?;
        }
        consumer.assign(&list).map_err(kafka)?;
        // `asked`: so many were not enough.
        let (mut found, mut heard, mut bytes, mut asked) = (Vec::new(), Instant::now(), 0, 0);
        while found.len() < most && bytes < SAMPLE_BYTES {
            if found.len() > asked && heard.elapsed() >= SAMPLE_SILENCE {
                if enough(&found) {
                    break;
                }
                asked = found.len();
            }
            self.stopped(stop)?;
            match consumer.poll(Duration::from_millis(50)) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    if let Some(value) = message.payload() {
                        bytes += value.len();
                        let (partition, offset) = (message.partition(), message.offset());
                        found.push(Sampled { partition, offset, value: value.to_vec() });
                    }
                }
                None | Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) if is_away(&error) => {}
                Some(Err(error)) => return Err(kafka(error)),
            }
        }
        Ok(found)
    }

    /// Waits for the broker and reads the topic's state. `wanted`: partitions the topic must have. `make`: it is made when it is absent;
    /// otherwise others make it, and it is waited for.
    pub fn prepare(
        &self,
        wanted: Option<u32>,
        make: bool,
        stop: &AtomicBool,
        say: &dyn Fn(String),
    ) -> Result<TopicState, TopicError> {
        let asker = Asker::new(self)?;
        let found = self.wait_for_topic(&asker, make.then(|| wanted.unwrap_or(1)), stop, say)?;
        let kafka = |source| TopicError::Kafka { servers: self.servers.clone(), source };
        // So many can be counted by u32 too.
        let partitions = kafka_partition(found).map_err(kafka)?.unsigned_abs();
        if let Some(expected) = wanted.filter(|wanted| *wanted != partitions) {
            return Err(TopicError::Partitions { topic: self.name.clone(), found, expected });
        }
        let client = asker.client.client();
        let mut watermarks = Vec::new();
        for partition in 0..partitions {
            let partition = kafka_partition(partition).map_err(kafka)?;
            let ask = || client.fetch_watermarks(&self.name, partition, REQUEST_TIMEOUT);
            watermarks.push(self.retry(&asker, stop, say, ask)?);
        }
        // Both are kept for ever: a passing failure must not become part of the identity.
        let away = || KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        let cluster = self.retry(&asker, stop, say, || client.fetch_cluster_id(REQUEST_TIMEOUT).ok_or_else(away))?;
        let topic_id = (0..TOPIC_ID_TRIES).find_map(|_| describe::topic_id(client, &self.name, REQUEST_TIMEOUT));
        Ok(TopicState { cluster, topic_id, watermarks })
    }

    fn wait_for_topic(
        &self,
        asker: &Asker,
        make: Option<u32>,
        stop: &AtomicBool,
        say: &dyn Fn(String),
    ) -> Result<usize, TopicError> {
        let mut created = false;
        loop {
            // All topics: asking for one by name would make it, with the broker's default number of partitions.
            let ask = || asker.client.client().fetch_metadata(None, REQUEST_TIMEOUT);
            let metadata = self.retry(asker, stop, say, ask)?;
            if let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == self.name)
                && topic.error().is_none()
                && !topic.partitions().is_empty()
            {
                return Ok(topic.partitions().len());
            }
            match make {
                Some(partitions) if !created => self.create(partitions)?,
                None if !created => say(format!("waiting for topic {:?} to be made", self.name)),
                Some(_) | None => {}
            }
            created = true;
            // A topic just made is not at once in everybody's metadata; others take their time.
            pause(stop, if make.is_some() { Duration::from_millis(50) } else { RETRY_PAUSE });
            self.stopped(stop)?;
        }
    }

    /// Makes it, or finds that someone did. It is in everybody's metadata a moment later.
    pub(crate) fn create(&self, partitions: u32) -> Result<(), TopicError> {
        let admin: AdminClient<DefaultClientContext> = self.client().create().map_err(TopicError::Properties)?;
        let fail = |reason: String| TopicError::Create { topic: self.name.clone(), reason };
        let count = kafka_partition(partitions).map_err(|_| fail(format!("{partitions} partitions")))?;
        // −1: the broker's own default replication.
        let topic = NewTopic::new(&self.name, count, TopicReplication::Fixed(-1));
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
        let done = futures_executor::block_on(admin.create_topics([&topic], &options))
            .map_err(|error| fail(error.to_string()))?;
        match done.into_iter().next() {
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => Err(fail(code.to_string())),
        }
    }

    /// Repeats a request until it is answered; says once that it waits and for what cause, and once that it goes on.
    fn retry<T>(
        &self,
        asker: &Asker,
        stop: &AtomicBool,
        say: &dyn Fn(String),
        request: impl Fn() -> Result<T, KafkaError>,
    ) -> Result<T, TopicError> {
        let mut said = None;
        loop {
            match request() {
                Ok(answer) => {
                    if said.is_some() {
                        say(format!("the broker at {} answers", self.servers));
                    }
                    return Ok(answer);
                }
                Err(error) if is_away(&error) => {
                    let (cause, reason) = asker.cause().unwrap_or((None, error.to_string()));
                    // Another cause is news: the broker is there now, and refuses the password.
                    if said != Some(cause) {
                        say(format!("waiting for the broker at {}: {reason}", self.servers));
                        said = Some(cause);
                    }
                    pause(stop, RETRY_PAUSE);
                    self.stopped(stop)?;
                }
                Err(source) => return Err(TopicError::Kafka { servers: self.servers.clone(), source }),
            }
        }
    }

    fn stopped(&self, stop: &AtomicBool) -> Result<(), TopicError> {
        if stop.load(Ordering::Relaxed) { Err(TopicError::Stopped { servers: self.servers.clone() }) } else { Ok(()) }
    }
}

/// Asks the broker, and hears what librdkafka says of its connections: a request alone only fails, without the cause.
struct Asker {
    client: BaseProducer<Heard>,
}

impl Asker {
    fn new(topic: &Topic) -> Result<Self, TopicError> {
        let client = topic.client().create_with_context(Heard::default()).map_err(TopicError::Properties)?;
        Ok(Self { client })
    }

    /// The last cause, its code first; a refused password or certificate goes before a lost connection, which follows from it.
    fn cause(&self) -> Option<(Option<RDKafkaErrorCode>, String)> {
        // Each poll hears one thing.
        for _ in 0..HEARD_MOST {
            self.client.poll(Duration::ZERO);
        }
        let mut heard = self.client.context().0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let decisive =
            |code: &RDKafkaErrorCode| matches!(code, RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL);
        let found = heard.iter().rposition(|(code, _)| decisive(code)).or(heard.len().checked_sub(1))?;
        let (code, reason) = heard.swap_remove(found);
        heard.clear();
        Some((Some(code).filter(decisive), reason))
    }
}

/// Errors of the client since the last look; each request adds a few.
#[derive(Default)]
struct Heard(std::sync::Mutex<Vec<(RDKafkaErrorCode, String)>>);

impl ClientContext for Heard {
    fn error(&self, error: KafkaError, reason: &str) {
        let mut heard = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        heard.extend(error.rdkafka_error_code().map(|code| (code, reason.to_owned())));
    }

    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, message: &str) {
        tracing::debug!(message, "librdkafka");
    }
}

impl ProducerContext for Heard {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, (): ()) {}
}

/// Sleeps, but not through a stop.
pub fn pause(stop: &AtomicBool, length: Duration) {
    let step = Duration::from_millis(50);
    let mut left = length;
    while !left.is_zero() && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(left.min(step));
        left = left.saturating_sub(step);
    }
}

/// Errors that time mends: the broker is away, or is not ready.
pub fn is_away(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(code) => matches!(
            code,
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::Resolve
                | Code::RequestTimedOut
                | Code::NetworkException
                | Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::UnknownPartition
        ),
        None => false,
    }
}

/// The context of a client that only looks: ingest and replay tell of the broker's coming and going.
pub struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }

    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, message: &str) {
        tracing::debug!(message, "librdkafka");
    }
}

impl ConsumerContext for Quiet {}

/// A context that tells of the broker's coming and going.
pub struct Watch<F: Fn(bool, String) + Send + Sync> {
    pub say: F,
    pub away: AtomicBool,
}

impl<F: Fn(bool, String) + Send + Sync> Watch<F> {
    pub fn new(say: F) -> Self {
        Self { say, away: AtomicBool::new(false) }
    }

    /// An answer came.
    pub fn here(&self) {
        if self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed) {
            (self.say)(true, "the broker answers again".to_owned());
        }
    }
}

impl<F: Fn(bool, String) + Send + Sync> ClientContext for Watch<F> {
    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is no fault; it is asked for.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        if is_away(&error) {
            if !self.away.swap(true, Ordering::Relaxed) {
                (self.say)(false, format!("the broker is away, waiting for it: {reason}"));
            }
        } else {
            tracing::warn!(%error, reason, "librdkafka");
        }
    }

    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, message: &str) {
        tracing::debug!(message, "librdkafka");
    }
}

impl<F: Fn(bool, String) + Send + Sync> ConsumerContext for Watch<F> {}
