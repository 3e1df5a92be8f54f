//! Rows that clients post, into a topic that others write: acknowledged once the topic has them, and those of an id once.
//!
//! Of an id the steps are: the store has no answer → the end of the partition is asked for → a claim is created in the store, with the
//! attempt's own name → the records are sent, each with that name and its row's number in a header → all are acknowledged → the answer
//! is created in the store. A crash before the claim leaves nothing. After it, whoever gets the id again reads the partition from where
//! the claim was made: all rows there are the answer; of some or none it may be that the attempt is still under way, and its server
//! gives records up after `GIVE_UP`. So the rows are not known until a second look, `REST` later, by the same server; then the next claim is created, of
//! which one wins, and the rows that are missing are sent. docs/decisions/0028-posted-records.md has the limits.

mod claim;
mod connection;
mod ids;
mod queue;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use millstream_base::status::now_ms;
use millstream_store::{SharedStore, StoreError};

use self::claim::{Answer, Claim, ClaimError, Id};
pub use self::connection::value_bytes_most;
use self::connection::{Connection, FIND_MOST, Looked, Missing};
use self::ids::{Ids, Look};
pub use self::queue::{QueueCounts, TopicQueue};
use crate::batch::ingest::SyncLog;
use crate::batch::{DecideError, IdentityError, fail_point, read as read_identity, read_schema};
use crate::record::{DeriveError, Encoding, PostedRecords, PostedRows};
use crate::schema::{FORMAT, SchemaRules, StreamColumn, StreamSchema};
use crate::topic::{Topic, TopicError};

/// A record that is not acknowledged for so long is given up by its producer.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(10);
/// So long after it was begun to be claimed an attempt may hand records to its producer.
pub(crate) const SEND_MOST: Duration = Duration::from_secs(4);
/// Until records that a leader took can be read although a follower stands still: Kafka's `replica.lag.time.max.ms` of 30 s, which the
/// leader looks at each half of it.
const REPLICA_LAG: Duration = Duration::from_secs(45);
/// Between the first look for records of an attempt that ended and the one that is believed: no producer sends any more, and what a
/// broker had received is in its log and can be read.
const REST: Duration = Duration::from_secs(60);
const _: () = assert!(SEND_MOST.as_secs() + GIVE_UP.as_secs() + REPLICA_LAG.as_secs() < REST.as_secs());
/// So old, a connection is opened anew: the topic may be another one by now, and no longer the store's.
const CONNECTION_KEPT: Duration = Duration::from_secs(60);
/// Who connects after others failed to is told the same for so long.
const FAILURE_KEPT: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum PostError {
    #[error(
        "this pipeline replays a source: its batches are cut by counting its own rows, and a record of others would end it; post to a \
         pipeline without [source], which takes what others write to its topic"
    )]
    Replays,
    #[error(
        "the stream has no schema yet, so nothing says what a row is: name every column with its type in [schema.columns] (of JSON \
         records), or let the first records come by a Kafka client"
    )]
    NoSchema,
    #[error("these are other rows than those that were sent with this id first: send new rows with an id of their own")]
    OtherRows,
    #[error("topic {topic:?} is not made yet: start `millstream run` or `ingest`, or make it")]
    NoTopic { topic: String },
    #[error("the broker does not answer just now ({reason}), and nothing was sent")]
    Away { reason: String },
    #[error("the broker takes no rows just now ({reason}), and nothing was sent")]
    NotSent { reason: String },
    #[error(
        "the broker refuses these rows ({reason}), and would again until the topic's settings, [stream] or the rights of this client are \
         mended; {n_there} of them are in the topic"
    )]
    Refused { reason: String, n_there: usize },
    /// Rows may be in the topic.
    #[error("whether the topic has these rows is not known")]
    Unknown { has_id: bool },
    #[error(
        "whether the topic has these rows will not be known any more: the broker's retention removed the records of the time when they \
         were sent first"
    )]
    Removed,
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error(transparent)]
    Schema(#[from] DecideError),
}

/// Nothing was sent by this request, by the store's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreTrouble {
    /// This process may not write to it.
    Denied,
    Away,
}

impl PostError {
    pub fn of_store(&self) -> Option<StoreTrouble> {
        let error = match self {
            Self::Claim(ClaimError::Store(error))
            | Self::Identity(IdentityError::Store(error))
            | Self::Schema(DecideError::Store(error)) => error,
            Self::Replays
            | Self::NoSchema
            | Self::OtherRows
            | Self::NoTopic { .. }
            | Self::Away { .. }
            | Self::NotSent { .. }
            | Self::Refused { .. }
            | Self::Unknown { .. }
            | Self::Removed
            | Self::Identity(_)
            | Self::Topic(_)
            | Self::Claim(_)
            | Self::Schema(_) => return None,
        };
        let is_denied = matches!(error, StoreError::Denied { .. });
        Some(if is_denied { StoreTrouble::Denied } else { StoreTrouble::Away })
    }
}

/// What the pipeline file says of the stream.
pub struct PostingSettings {
    pub rules: SchemaRules,
    pub encoding: Encoding,
    /// Longer values are refused, as by [`value_bytes_most`].
    pub value_bytes_most: usize,
    /// The topic is this pipeline's own, for the rows of its source.
    pub replays: bool,
}

/// The topic, and how its records are made durable where its log lies on this machine.
pub struct Reached {
    pub topic: Topic,
    pub sync_log: Option<SyncLog>,
}

/// How to reach the topic now, or why it cannot be reached.
pub type Reach = Box<dyn Fn() -> Result<Reached, String> + Send + Sync>;

/// Where posted rows lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    pub rows: usize,
    pub partition: i32,
    /// Of the first and the last of them; records of others may lie between.
    pub first_offset: i64,
    pub last_offset: i64,
    /// They were there already.
    pub is_repeated: bool,
}

/// Since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PostedCounts {
    /// Rows that were acknowledged, those of a repeated id once.
    pub rows: u64,
    /// Requests whose outcome was not known when they were answered.
    pub unknown: u64,
}

pub struct Posting {
    store: SharedStore,
    settings: PostingSettings,
    reach: Reach,
    schema: OnceLock<Arc<StreamSchema>>,
    link: Mutex<Link>,
    ids: Ids,
    /// Of rows without an id, each request's partition in turn.
    turn: AtomicU64,
    rows: AtomicU64,
    unknown: AtomicU64,
}

#[derive(Default)]
struct Link {
    connection: Option<Arc<Connection>>,
    /// When it was opened, or was to be opened anew.
    looked: Option<Instant>,
    failed: Option<(Instant, String)>,
}

impl Posting {
    pub fn new(store: SharedStore, settings: PostingSettings, reach: Reach) -> Self {
        Self {
            store,
            settings,
            reach,
            schema: OnceLock::new(),
            link: Mutex::default(),
            ids: Ids::default(),
            turn: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
        }
    }

    /// Makes records of rows.
    pub fn encoder(&self, schema: &StreamSchema) -> Result<PostedRows, DeriveError> {
        PostedRows::new(schema, self.settings.encoding, self.settings.value_bytes_most)
    }

    pub fn replays(&self) -> bool {
        self.settings.replays
    }

    pub fn counts(&self) -> PostedCounts {
        PostedCounts { rows: self.rows.load(Ordering::Relaxed), unknown: self.unknown.load(Ordering::Relaxed) }
    }

    /// As `schema`, where it was read already.
    pub fn known_schema(&self) -> Option<Arc<StreamSchema>> {
        self.schema.get().cloned()
    }

    /// What rows are held to: the schema of the store, and before there is one what the pipeline file pins. Reads the store until it
    /// has one.
    pub fn schema(&self) -> Result<Arc<StreamSchema>, PostError> {
        if self.settings.replays {
            return Err(PostError::Replays);
        }
        if let Some(schema) = self.schema.get() {
            return Ok(Arc::clone(schema));
        }
        match read_schema(self.store.as_ref())? {
            Some(schema) => Ok(Arc::clone(self.schema.get_or_init(|| Arc::new(schema)))),
            None => pinned(&self.settings).map(Arc::new).ok_or(PostError::NoSchema),
        }
    }

    /// Sends records, and waits until the topic has them all; waits for the store and the broker. Rows of an `id` are sent
    /// once, whoever asks for them again.
    ///
    /// # Errors
    /// [`PostError::Unknown`] when some may be in the topic; of an id the same request may be made again. [`PostError::Away`] and
    /// [`PostError::NotSent`] say that none is, nor of an earlier request of the id.
    pub fn post(&self, id: Option<&str>, records: &PostedRecords) -> Result<Receipt, PostError> {
        let receipt = match id {
            Some(id) => self.post_once(&Id::new(id, records), &records.values),
            None => self.post_anew(&records.values),
        };
        match &receipt {
            // Those of an id count where it is settled.
            Ok(receipt) if id.is_none() => {
                self.rows.fetch_add(receipt.rows as u64, Ordering::Relaxed);
            }
            Err(PostError::Unknown { .. }) => {
                self.unknown.fetch_add(1, Ordering::Relaxed);
            }
            Err(PostError::Away { .. }) => self.link().connection = None,
            Ok(_) | Err(_) => {}
        }
        receipt
    }

    fn post_anew(&self, values: &[Vec<u8>]) -> Result<Receipt, PostError> {
        let connection = self.connect()?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let partition = partition_of(turn, connection.partitions);
        let from = connection.end(partition)?;
        let attempt = uuid::Uuid::new_v4().simple().to_string();
        let all: Vec<usize> = (0..values.len()).collect();
        let sent = connection.send(&attempt, partition, values, &all, Instant::now());
        let unknown = |_| PostError::Unknown { has_id: false };
        let found = placed(&connection, &sent.offsets, &all, (partition, from), &attempt).map_err(unknown)?;
        let Some((first_offset, last_offset)) = bounds(&found, values.len()) else {
            return Err(of_missing(sent.missing, found.len(), false));
        };
        connection.sync(partition, last_offset + 1).map_err(unknown)?;
        Ok(Receipt { rows: values.len(), partition, first_offset, last_offset, is_repeated: false })
    }

    fn post_once(&self, id: &Id, values: &[Vec<u8>]) -> Result<Receipt, PostError> {
        let store = self.store.as_ref();
        let _turn = self.ids.enter(&id.hash)?;
        if let Some(answer) = claim::answer(store, id)? {
            return repeated(id, &answer);
        }
        // Before the broker is asked for anything: only where there is no claim nothing was sent.
        let mut claims = claim::claims(store, id)?;
        if claims.is_empty() {
            let connection = self.connect()?;
            let partition = partition_of(first_bytes(&id.hash), connection.partitions);
            let own = Claim::new(id, partition, connection.end(partition)?, now_ms());
            let begun = Instant::now();
            if claim::make(store, id, 1, &own)? {
                fail_point("records.claimed");
                let mut look = Look::new(0, own.from_offset);
                let receipt = self.attempt(&connection, id, values, &own, &mut look, begun);
                return self.keep_unless(receipt, id, look);
            }
            claims = claim::claims(store, id).map_err(|error| self.of_claimed(error.into()))?;
        }
        self.resolve(id, values, &claims)
    }

    /// What became of the attempts of others, or of own ones.
    fn resolve(&self, id: &Id, values: &[Vec<u8>], claims: &[Claim]) -> Result<Receipt, PostError> {
        let first = claims.first().ok_or(PostError::Unknown { has_id: true })?;
        if first.digest != id.digest {
            return Err(PostError::OtherRows);
        }
        let mut look = self.ids.take(&id.hash, claims.len(), first.from_offset);
        let receipt = self.look_again(id, values, first, claims, &mut look).map_err(|error| self.of_claimed(error));
        self.keep_unless(receipt, id, look)
    }

    fn look_again(
        &self,
        id: &Id,
        values: &[Vec<u8>],
        first: &Claim,
        claims: &[Claim],
        look: &mut Look,
    ) -> Result<Receipt, PostError> {
        let unknown = || PostError::Unknown { has_id: true };
        // Before it is looked: what the attempts sent is found then.
        let has_rested = look.has_rested();
        let connection = self.connect()?;
        let attempts: Vec<&str> = claims.iter().map(|claim| claim.attempt.as_str()).collect();
        let is_whole = connection.find(first.partition, &attempts, &mut look.looked, FIND_MOST)?;
        look.rest_begins(REST);
        if bounds(&look.looked.rows, values.len()).is_some() {
            return self.answered(&connection, id, first.partition, &look.looked.rows, true);
        }
        if !has_rested || !is_whole {
            return Err(look.refusal().unwrap_or_else(unknown));
        }
        let own = Claim::new(id, first.partition, first.from_offset, now_ms());
        let begun = Instant::now();
        // Of all who found the same one goes on.
        if !claim::make(self.store.as_ref(), id, claims.len() + 1, &own)? {
            return Err(unknown());
        }
        fail_point("records.taken_over");
        self.attempt(&connection, id, values, &own, look, begun)
    }

    /// Sends the rows that were not found, by an own claim, which was `begun` to be made then.
    fn attempt(
        &self,
        connection: &Connection,
        id: &Id,
        values: &[Vec<u8>],
        own: &Claim,
        look: &mut Look,
        begun: Instant,
    ) -> Result<Receipt, PostError> {
        let missing: Vec<usize> = (0..values.len()).filter(|row| !look.looked.rows.contains_key(row)).collect();
        let sent = connection.send(&own.attempt, own.partition, values, &missing, begun);
        fail_point("records.sent");
        let from = (own.partition, look.looked.next_offset);
        let missing = match placed(connection, &sent.offsets, &missing, from, &own.attempt) {
            Ok(placed) => {
                look.looked.rows.extend(placed);
                sent.missing
            }
            Err(error) => {
                tracing::warn!(%error, "what became of posted rows is not known yet");
                Missing::Open
            }
        };
        if bounds(&look.looked.rows, values.len()).is_some() {
            return self.answered(connection, id, own.partition, &look.looked.rows, false);
        }
        let n_there = look.looked.rows.len();
        // All reports came: the rest begins now.
        look.attempted(&missing, n_there, REST);
        Err(of_missing(missing, n_there, true))
    }

    /// What is known is kept for the next request, unless it was answered.
    fn keep_unless(&self, receipt: Result<Receipt, PostError>, id: &Id, look: Look) -> Result<Receipt, PostError> {
        if receipt.is_err() {
            self.ids.keep(&id.hash, look);
        }
        receipt
    }

    /// Of an id that was claimed: rows may be in the topic, whatever kept this request from looking.
    fn of_claimed(&self, error: PostError) -> PostError {
        let is_away = matches!(error, PostError::Away { .. });
        if is_away {
            self.link().connection = None;
        }
        if is_away || matches!(error, PostError::NoTopic { .. }) || error.of_store().is_some() {
            tracing::warn!(%error, "what became of posted rows is not known yet");
            return PostError::Unknown { has_id: true };
        }
        error
    }

    fn answered(
        &self,
        connection: &Connection,
        id: &Id,
        partition: i32,
        found: &BTreeMap<usize, i64>,
        is_repeated: bool,
    ) -> Result<Receipt, PostError> {
        let unknown = || PostError::Unknown { has_id: true };
        let (first_offset, last_offset) = bounds(found, id.rows).ok_or_else(unknown)?;
        connection.sync(partition, last_offset + 1).map_err(|_| unknown())?;
        self.rows.fetch_add(id.rows as u64, Ordering::Relaxed);
        let own =
            Answer { format: FORMAT, digest: id.digest.clone(), rows: id.rows, partition, first_offset, last_offset };
        let kept = claim::keep_answer(self.store.as_ref(), id, &own);
        let answer = kept.unwrap_or_else(|error| {
            // The topic has the rows; who asks again finds them there.
            tracing::warn!(%error, "where posted rows lie was not written to the store");
            own
        });
        Ok(Receipt { is_repeated, ..repeated(id, &answer)? })
    }

    fn connect(&self) -> Result<Arc<Connection>, PostError> {
        let mut link = self.link();
        if let Some(known) = link.connection.as_ref().filter(|known| !known.is_broken()).cloned() {
            if link.looked.is_some_and(|looked| looked.elapsed() < CONNECTION_KEPT) {
                return Ok(known);
            }
            // Others go on with it meanwhile, and all do while the store cannot say whose topic it is.
            link.looked = Some(Instant::now());
            drop(link);
            return match self.open() {
                Err(error) if error.of_store().is_some() => {
                    tracing::warn!(%error, "whether the topic is still the store's is not known: rows are sent to it");
                    Ok(known)
                }
                opened => Self::keep(&mut self.link(), opened),
            };
        }
        if let Some((_, reason)) = link.failed.as_ref().filter(|(when, _)| when.elapsed() < FAILURE_KEPT) {
            return Err(PostError::Away { reason: reason.clone() });
        }
        let opened = self.open();
        Self::keep(&mut link, opened)
    }

    fn keep(link: &mut Link, opened: Result<Connection, PostError>) -> Result<Arc<Connection>, PostError> {
        link.failed = match &opened {
            Err(PostError::Away { reason }) => Some((Instant::now(), reason.clone())),
            Ok(_) | Err(_) => None,
        };
        let connection = Arc::new(opened?);
        link.connection = connection.is_checked.then(|| Arc::clone(&connection));
        link.looked = Some(Instant::now());
        Ok(connection)
    }

    fn open(&self) -> Result<Connection, PostError> {
        let identity = read_identity(self.store.as_ref())?;
        if identity.as_ref().is_some_and(|identity| identity.source.is_some()) {
            return Err(PostError::Replays);
        }
        let reached = (self.reach)().map_err(|reason| PostError::Away { reason })?;
        Connection::open(reached, identity.as_ref())
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `[schema.columns]` says alone, where that is enough for a row.
fn pinned(settings: &PostingSettings) -> Option<StreamSchema> {
    let rules = &settings.rules;
    if settings.encoding != Encoding::Json {
        // The order of a csv value's fields is nowhere in the file.
        return None;
    }
    let own = rules.columns.iter().filter(|(_, rule)| rule.from.is_none());
    let column = |(name, rule): (&String, &crate::schema::ColumnRule)| {
        let null = rules.null_of(name).unwrap_or_default().to_vec();
        Some(StreamColumn { inferred: false, null, ..StreamColumn::new(name, rule.kind?) })
    };
    let columns = own.map(column).collect::<Option<Vec<_>>>().filter(|columns| !columns.is_empty())?;
    StreamSchema::new(columns).apply_rules(rules).ok()
}

fn repeated(id: &Id, answer: &Answer) -> Result<Receipt, PostError> {
    if answer.digest != id.digest {
        return Err(PostError::OtherRows);
    }
    let Answer { rows, partition, first_offset, last_offset, .. } = *answer;
    Ok(Receipt { rows, partition, first_offset, last_offset, is_repeated: true })
}

/// The offsets of rows that were sent, by their numbers; those that librdkafka does not know are looked for.
fn placed(
    connection: &Connection,
    offsets: &[Option<i64>],
    rows: &[usize],
    (partition, next_offset): (i32, i64),
    attempt: &str,
) -> Result<BTreeMap<usize, i64>, PostError> {
    if offsets.iter().any(|offset| offset.is_some_and(|offset| offset < 0)) {
        let mut looked = Looked { rows: BTreeMap::new(), next_offset };
        if !connection.find(partition, &[attempt], &mut looked, FIND_MOST)? {
            let reason = format!("the records from offset {next_offset} on could not be read in time");
            return Err(PostError::Away { reason });
        }
        return Ok(looked.rows);
    }
    Ok(rows.iter().filter_map(|row| Some((*row, (*offsets.get(*row)?)?))).collect())
}

fn of_missing(missing: Missing, n_there: usize, has_id: bool) -> PostError {
    match missing {
        Missing::Refused { reason } => PostError::Refused { reason, n_there },
        Missing::NotSent { reason } if n_there == 0 => PostError::NotSent { reason },
        Missing::NotSent { .. } | Missing::Open => PostError::Unknown { has_id },
    }
}

/// The first and the last offset, where every row has one.
fn bounds(found: &BTreeMap<usize, i64>, rows: usize) -> Option<(i64, i64)> {
    if (0..rows).any(|row| !found.contains_key(&row)) {
        return None;
    }
    Some((found.values().copied().min()?, found.values().copied().max()?))
}

fn partition_of(number: u64, partitions: i32) -> i32 {
    let partitions = u64::from(partitions.unsigned_abs().max(1));
    i32::try_from(number % partitions).unwrap_or(0)
}

fn first_bytes(hash: &str) -> u64 {
    hash.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
