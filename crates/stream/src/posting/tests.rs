//! Posting to librdkafka's own mock of a cluster, which refuses and goes away as it is told.

use std::sync::Barrier;

use millstream_store::LocalStore;
use millstream_store::faulty::FaultyStore;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tempfile::TempDir;

use super::*;
use crate::batch::Identity;

const TOPIC: &str = "t";

struct Bench {
    cluster: MockCluster<'static, DefaultProducerContext>,
    folder: TempDir,
    /// The mock knows no ids of topics, and asking for one takes seconds.
    connection: OnceLock<Connection>,
}

impl Bench {
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 1, 1).unwrap();
        Self { cluster, folder: tempfile::tempdir().unwrap(), connection: OnceLock::new() }
    }

    fn store(&self) -> SharedStore {
        Arc::new(LocalStore::open(self.folder.path()).unwrap())
    }

    fn topic(&self, properties: &[(&str, &str)]) -> Topic {
        let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Topic::new(TOPIC, &self.cluster.bootstrap_servers(), &properties)
    }

    fn posting(&self, properties: &[(&str, &str)]) -> Posting {
        let topic = self.topic(properties);
        posting(self.store(), move || Ok(topic.clone()))
    }

    fn connection(&self) -> &Connection {
        let reached = Reached { topic: self.topic(&[]), sync_log: None };
        self.connection.get_or_init(|| Connection::open(reached, None).unwrap())
    }

    /// The store was begun with this topic, or another cluster's.
    fn begin(&self, is_another: bool) {
        let (topic, mut config) = (self.topic(&[]), ClientConfig::new());
        let client: BaseProducer = config.set("bootstrap.servers", &topic.servers).create().unwrap();
        let found = topic.look(client.client(), Duration::from_secs(5)).unwrap().unwrap();
        let cluster = if is_another { "another" } else { found.cluster.as_str() };
        let identity = Identity {
            format: FORMAT,
            attempt: "a".to_owned(),
            store_id: "s".to_owned(),
            name: "n".to_owned(),
            cluster: cluster.to_owned(),
            topic: topic.name,
            topic_id: found.topic_id,
            partitions: 1,
            base_offsets: vec![0],
            encoding: "json".to_owned(),
            key: None,
            source: None,
            created_at_ms: 0,
        };
        crate::batch::create_or_read(self.store().as_ref(), &identity).unwrap();
    }

    fn refuse(&self, error: RDKafkaRespErr) {
        self.cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
    }

    fn claims(&self, id: &str) -> Vec<Claim> {
        claim::claims(self.store().as_ref(), &Id::new(id, &rows(1))).unwrap()
    }

    /// A server claimed these rows and ended.
    fn claimed(&self, id: &str, rows: &PostedRecords) {
        let id = Id::new(id, rows);
        assert!(claim::make(self.store().as_ref(), &id, 1, &Claim::new(&id, 0, 0, 0)).unwrap());
    }

    /// Records that any attempt of an id sent.
    fn records(&self, id: &str) -> usize {
        let (claims, connection) = (self.claims(id), self.connection());
        let count = |claim: &Claim| {
            let mut looked = Looked::default();
            assert!(connection.find(0, &[&claim.attempt], &mut looked, FIND_MOST).unwrap());
            looked.rows.len()
        };
        claims.iter().map(count).sum()
    }
}

fn posting(store: SharedStore, topic: impl Fn() -> Result<Topic, String> + Send + Sync + 'static) -> Posting {
    let settings = PostingSettings {
        rules: SchemaRules::default(),
        encoding: Encoding::Json,
        value_bytes_most: 1000,
        replays: false,
    };
    Posting::new(store, settings, Box::new(move || Ok(Reached { topic: topic()?, sync_log: None })))
}

fn rows(count: usize) -> PostedRecords {
    PostedRecords { values: vec![b"{}".to_vec(); count], digest: count.to_string() }
}

fn rested(posting: &Posting, id: &str) {
    let mut look = Look::new(1, 0);
    look.rest_begins(Duration::ZERO);
    posting.ids.keep(&Id::new(id, &rows(1)).hash, look);
}

#[test]
fn a_refusal_is_told_with_its_cause_and_costs_one_claim() {
    let bench = Bench::new();
    let posting = bench.posting(&[]);
    let refused = |id: Option<&str>, records: &PostedRecords, n_there: usize, words: &str| {
        let error = posting.post(id, records).unwrap_err();
        assert!(matches!(error, PostError::Refused { n_there: found, .. } if found == n_there), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    bench.refuse(RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    refused(None, &rows(1), 0, "Message size too large");
    bench.refuse(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    refused(Some("id"), &rows(1), 0, "Topic authorization failed");
    // It would be refused again: not each time by another claim.
    refused(Some("id"), &rows(1), 0, "Topic authorization failed");
    assert_eq!((bench.claims("id").len(), bench.records("id")), (1, 0));
    // librdkafka refuses the second by itself.
    let two = PostedRecords { values: vec![b"{}".to_vec(), vec![b'x'; 1_000_000]], digest: "two".to_owned() };
    refused(None, &two, 1, "1 of them are in the topic");
    assert_eq!(posting.counts(), PostedCounts::default());
    assert_eq!(posting.post(None, &rows(3)).unwrap().rows, 3);
}

#[test]
fn a_value_of_the_longest_that_is_taken_fits_into_a_message() {
    let bench = Bench::new();
    for most in ["2000", "1000000", "4000000"] {
        let properties: &[(&str, &str)] = &[("message.max.bytes", most)];
        let longest = value_bytes_most(&properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        assert_eq!(longest, (most.parse::<usize>().unwrap() - 128).min(1_000_000));
        let records = PostedRecords { values: vec![vec![b'x'; longest]], digest: String::new() };
        assert_eq!(bench.posting(properties).post(None, &records).unwrap().rows, 1);
    }
    assert_eq!(value_bytes_most(&Default::default()), 1_000_000 - 128);
}

#[test]
fn nothing_was_sent_where_the_producer_has_no_room_and_the_id_is_taken_at_once_when_it_has() {
    let bench = Bench::new();
    bench.begin(false);
    // One record fills the queue, for longer than the other request may take to hand its own over.
    let posting = bench.posting(&[("queue.buffering.max.messages", "1"), ("linger.ms", "7000")]);
    let outcomes = std::thread::scope(|scope| {
        let posting = &posting;
        let both = ["a", "b"].map(|id| scope.spawn(move || posting.post(Some(id), &rows(1))));
        both.map(|post| post.join().unwrap())
    });
    let full = |outcome: &Result<Receipt, PostError>| matches!(outcome, Err(PostError::NotSent { .. }));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| full(outcome)).count(), 1, "{outcomes:?}");
    let id = if full(&outcomes[0]) { "a" } else { "b" };
    assert_eq!((bench.claims(id).len(), bench.records(id)), (1, 0));
    assert_eq!(posting.post(Some(id), &rows(1)).unwrap().rows, 1);
    assert_eq!((bench.claims(id).len(), bench.records(id)), (2, 1));
}

#[test]
fn once_an_id_is_claimed_nobody_says_that_nothing_was_sent() {
    let bench = Bench::new();
    bench.claimed("claimed", &rows(1));
    let unknown = |posting: &Posting| {
        let error = posting.post(Some("claimed"), &rows(1)).unwrap_err();
        assert!(matches!(error, PostError::Unknown { has_id: true }), "{error}");
        let other = posting.post(Some("claimed"), &rows(2)).unwrap_err();
        assert!(matches!(other, PostError::OtherRows), "{other}");
        posting.post(Some("new"), &rows(1)).unwrap_err()
    };
    let away = posting(bench.store(), || Err("away".to_owned()));
    assert!(matches!(unknown(&away), PostError::Away { .. }));
    let other = bench.topic(&[]).named("other");
    let no_topic = posting(bench.store(), move || Ok(other.clone()));
    assert!(matches!(unknown(&no_topic), PostError::NoTopic { .. }));
    // The identity cannot be read any more, once the claims were.
    let is_away =
        |key: &str| if key.ends_with(crate::batch::IDENTITY_KEY) { Err(std::io::Error::other("away")) } else { Ok(()) };
    bench.begin(false);
    let topic = bench.topic(&[]);
    let no_store = posting(Arc::new(FaultyStore::new(bench.store()).after_read(is_away)), move || Ok(topic.clone()));
    assert_eq!(unknown(&no_store).of_store(), Some(StoreTrouble::Away));
    assert_eq!((bench.claims("claimed").len(), bench.claims("new").len()), (1, 0));
}

#[test]
fn of_two_servers_that_get_an_id_at_once_one_sends_its_rows() {
    let bench = Bench::new();
    bench.begin(false);
    let servers = [bench.posting(&[]), bench.posting(&[])];
    // An attempt that ended before its first record, or none.
    for (number, is_takeover) in (0..20).map(|number| (number, number % 2 == 0)) {
        let id = format!("{is_takeover} {number}");
        if is_takeover {
            bench.claimed(&id, &rows(3));
            servers.iter().for_each(|server| rested(server, &id));
        }
        let start = Barrier::new(2);
        let post = |server: &Posting| {
            start.wait();
            server.post(Some(&id), &rows(3))
        };
        let both = std::thread::scope(|scope| {
            let both = servers.each_ref().map(|server| scope.spawn(move || post(server)));
            both.map(|post| post.join().unwrap())
        });
        let sent = both.iter().filter(|outcome| matches!(outcome, Ok(receipt) if !receipt.is_repeated)).count();
        let told = |outcome: &Result<Receipt, PostError>| {
            matches!(outcome, Ok(Receipt { is_repeated: true, .. }) | Err(PostError::Unknown { has_id: true }))
        };
        assert_eq!((sent, both.iter().filter(|outcome| told(outcome)).count()), (1, 1), "{id}: {both:?}");
        assert_eq!(bench.records(&id), 3, "{id}");
        assert_eq!(bench.claims(&id).len(), 1 + usize::from(is_takeover));
        let [first, second] = servers.each_ref().map(|server| server.post(Some(&id), &rows(3)).unwrap());
        assert_eq!((first, first.is_repeated), (second, true));
    }
}

#[test]
fn a_look_that_ends_early_is_gone_on_with() {
    let bench = Bench::new();
    let connection = bench.connection();
    let send = |attempt: &str, count: usize| {
        let (values, all) = (rows(count).values, (0..count).collect::<Vec<_>>());
        let sent = connection.send(attempt, 0, &values, &all, Instant::now());
        assert!(sent.offsets.iter().all(Option::is_some), "{:?}", sent.missing);
    };
    send("a", 3);
    let mut looked = Looked::default();
    assert!(!connection.find(0, &["a"], &mut looked, Duration::ZERO).unwrap());
    assert_eq!((looked.rows.len(), looked.next_offset), (0, 0));
    assert!(connection.find(0, &["a"], &mut looked, FIND_MOST).unwrap());
    assert_eq!((looked.rows.len(), looked.next_offset), (3, 3));
    // From there on; what was found is kept.
    send("b", 2);
    send("a", 4);
    looked.rows.remove(&1);
    assert!(connection.find(0, &["a"], &mut looked, FIND_MOST).unwrap());
    assert_eq!(looked.rows, [(0, 0), (1, 6), (2, 2), (3, 8)].into());
    assert_eq!(looked.next_offset, 9);
}

#[test]
fn a_topic_is_held_to_the_store_as_soon_as_that_is_begun() {
    let bench = Bench::new();
    let posting = bench.posting(&[]);
    posting.post(None, &rows(1)).unwrap();
    bench.begin(true);
    let error = posting.post(None, &rows(1)).unwrap_err();
    assert!(matches!(error, PostError::Identity(_)), "{error}");
}
