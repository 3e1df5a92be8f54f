//! `_millstream.json`: which stream this store belongs to. Written once; a later start must find the same cluster, topic, source
//! and partitions, or say which gap there is and how to mend it.

use serde::{Deserialize, Serialize};

use crate::source::Fingerprint;
use crate::store::{Created, Store, StoreError, read_optional};
use crate::topic::TopicState;

pub const IDENTITY_KEY: &str = "_millstream.json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub format: u32,
    pub attempt: String,
    pub store_id: String,
    pub name: String,
    pub cluster: String,
    pub topic: String,
    pub topic_id: Option<String>,
    pub partitions: u32,
    /// The first offset of this pipeline's records, per partition.
    pub base_offsets: Vec<i64>,
    pub encoding: String,
    /// The column that is the Kafka key; `None`: rows go to the partitions in turn.
    pub key: Option<String>,
    pub source: Option<SourceIdentity>,
    pub created_at_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceIdentity {
    pub rows: u64,
    #[serde(flatten)]
    pub fingerprint: Fingerprint,
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "{place}: cannot be read as format 1: {reason}; it was written by another version or damaged: restore it, or use another store.url"
    )]
    Unreadable { place: String, reason: String },
    #[error("this store belongs to another {what}: it has {stored:?}, the pipeline finds {found:?}; {remedy}")]
    Another { what: &'static str, stored: String, found: String, remedy: &'static str },
    #[error(
        "the source changed since this store was begun (then {stored} bytes, now {found}, or other content): put the file back, or \
         begin anew with another store.url and stream.topic"
    )]
    SourceChanged { stored: u64, found: u64 },
    #[error(
        "partition {partition} of the topic begins at offset {low}, but offsets from {needed} on are not in a batch yet: the broker's retention removed them; they are lost, begin anew with another store.url and stream.topic"
    )]
    Removed { partition: usize, low: i64, needed: i64 },
    #[error(
        "partition {partition} of the topic ends at offset {high}, but batches hold its records up to {committed}: the log was cut or replaced; restore it, or begin anew with another store.url and stream.topic"
    )]
    Shorter { partition: usize, high: i64, committed: i64 },
}

/// Creates the identity, or reads the one that is there.
pub fn create_or_read(store: &dyn Store, wanted: &Identity) -> Result<Identity, IdentityError> {
    let bytes = serde_json::to_vec_pretty(wanted).unwrap_or_default();
    match store.create(IDENTITY_KEY, &bytes) {
        Ok(Created::Mine) => return Ok(wanted.clone()),
        Ok(Created::Exists) => {}
        // A lost answer: the key tells.
        Err(error) => match read(store) {
            Ok(Some(identity)) => return Ok(identity),
            _ => return Err(error.into()),
        },
    }
    let missing = || StoreError::Missing { key: IDENTITY_KEY.to_owned() };
    read(store)?.ok_or_else(|| missing().into())
}

pub fn read(store: &dyn Store) -> Result<Option<Identity>, IdentityError> {
    let Some(bytes) = read_optional(store, IDENTITY_KEY)? else { return Ok(None) };
    let unreadable = |reason: String| IdentityError::Unreadable { place: store.place(IDENTITY_KEY), reason };
    let identity: Identity = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if identity.format != crate::schema::FORMAT {
        return Err(unreadable(format!("format {}", identity.format)));
    }
    Ok(Some(identity))
}

impl Identity {
    /// Is this the stream the store was begun with?
    pub fn matches(&self, name: &str, topic: &str, state: &TopicState) -> Result<(), IdentityError> {
        const ANEW: &str = "use another store.url, or put the old one back";
        const RECREATED: &str = "the topic was deleted and made again, or its log folder replaced: restore it, or begin anew with \
                                 another store.url";
        let check = |what, stored: &str, found: &str, remedy| {
            if stored == found {
                return Ok(());
            }
            Err(IdentityError::Another { what, stored: stored.to_owned(), found: found.to_owned(), remedy })
        };
        check("pipeline", &self.name, name, ANEW)?;
        check("topic", &self.topic, topic, ANEW)?;
        check("cluster", &self.cluster, &state.cluster, RECREATED)?;
        let id = |id: &Option<String>| id.clone().unwrap_or_default();
        check("topic id", &id(&self.topic_id), &id(&state.topic_id), RECREATED)?;
        let found = state.watermarks.len().to_string();
        check("number of partitions", &self.partitions.to_string(), &found, "put stream.partitions back, or begin anew")
    }

    pub fn matches_source(&self, found: &Fingerprint) -> Result<(), IdentityError> {
        match &self.source {
            Some(source) if source.fingerprint == *found => Ok(()),
            Some(source) => Err(IdentityError::SourceChanged { stored: source.fingerprint.bytes, found: found.bytes }),
            None => Err(IdentityError::Another {
                what: "source",
                stored: "none, it listens only".to_owned(),
                found: "a file".to_owned(),
                remedy: "use another store.url",
            }),
        }
    }

    /// Is all that is still needed in the topic? `positions`: the next offset per partition.
    pub fn log_reaches(&self, positions: &[i64], state: &TopicState) -> Result<(), IdentityError> {
        for (partition, (position, (low, high))) in positions.iter().zip(&state.watermarks).enumerate() {
            if low > position {
                return Err(IdentityError::Removed { partition, low: *low, needed: *position });
            }
            if high < position {
                return Err(IdentityError::Shorter { partition, high: *high, committed: *position });
            }
        }
        Ok(())
    }

    pub fn group(&self) -> String {
        format!("{}-{}", self.name, self.store_id)
    }
}
