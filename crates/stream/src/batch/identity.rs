//! `_millstream.json`: which stream this store belongs to. Written once; a later start must find the same cluster, topic, source
//! and partitions, or say which gap there is and how to mend it.

use millstream_store::{Created, Store, StoreError, read_optional, record_bytes};
use millstream_untrusted::batch::check_offsets;
use serde::{Deserialize, Serialize};

use crate::source::Fingerprint;
use crate::topic::{FoundTopic, TopicState};

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
    /// `None`: the source can be read only once (standard input).
    pub rows: Option<u64>,
    #[serde(flatten)]
    pub fingerprint: Option<Fingerprint>,
    /// The column whose order the rows are replayed in.
    #[serde(default)]
    pub order_by: Option<String>,
}

/// What a pipeline file says of its stream, and a store keeps for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    pub name: String,
    pub topic: String,
    pub encoding: String,
    pub key: Option<String>,
    pub order_by: Option<String>,
    /// Others write the topic.
    pub listens: bool,
    /// The source can be read only once (standard input).
    pub once: bool,
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
    let bytes = record_bytes(IDENTITY_KEY, wanted)?;
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
    check_offsets(&identity.base_offsets).map_err(unreadable)?;
    if identity.has_other_partitions(identity.base_offsets.len()) {
        let (partitions, found) = (identity.partitions, identity.base_offsets.len());
        return Err(unreadable(format!("{partitions} partitions, and the first offsets of {found}")));
    }
    Ok(Some(identity))
}

const ANEW: &str = "use another store.url, or put the old one back";
const KEPT: &str = "put it back, or begin anew with another store.url and stream.topic";
const RECREATED: &str = "the topic was deleted and made again, or its log folder replaced: restore it, or begin anew with another \
                         store.url";

fn same(what: &'static str, stored: &str, found: &str, remedy: &'static str) -> Result<(), IdentityError> {
    if stored == found {
        return Ok(());
    }
    Err(IdentityError::Another { what, stored: stored.to_owned(), found: found.to_owned(), remedy })
}

impl Identity {
    /// Does the pipeline file say what it said when the store was begun?
    pub fn begun_as(&self, begun: &Begun) -> Result<(), IdentityError> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        same("pipeline", &self.name, &begun.name, ANEW)?;
        same("topic", &self.topic, &begun.topic, ANEW)?;
        let source = |listens, once| match (listens, once) {
            (true, _) => "others write the topic",
            (false, true) => "standard input",
            (false, false) => "a file",
        };
        let once = self.source.as_ref().is_some_and(|source| source.rows.is_none());
        same("kind of source", source(self.source.is_none(), once), source(begun.listens, begun.once), KEPT)?;
        same("stream.encoding", &self.encoding, &begun.encoding, KEPT)?;
        same("source.key", &text(&self.key), &text(&begun.key), KEPT)?;
        let order_by = self.source.as_ref().and_then(|source| source.order_by.clone());
        same("source.order_by", &text(&order_by), &text(&begun.order_by), KEPT)
    }

    /// Is this the topic the store was begun with?
    pub fn matches(&self, state: &TopicState) -> Result<(), IdentityError> {
        let id = |id: &Option<String>| id.clone().unwrap_or_default();
        same("cluster", &self.cluster, &state.cluster, RECREATED)?;
        same("topic id", &id(&self.topic_id), &id(&state.topic_id), RECREATED)?;
        self.has_partitions(state.watermarks.len())
    }

    /// As `matches`, of a topic whose id the broker may not have said.
    pub fn matches_found(&self, found: &FoundTopic) -> Result<(), IdentityError> {
        same("cluster", &self.cluster, &found.cluster, RECREATED)?;
        if let (Some(own), Some(found)) = (&self.topic_id, &found.topic_id) {
            same("topic id", own, found, RECREATED)?;
        }
        self.has_partitions(found.partitions)
    }

    fn has_partitions(&self, found: usize) -> Result<(), IdentityError> {
        if self.has_other_partitions(found) { Err(self.partitions_changed(found)) } else { Ok(()) }
    }

    /// Does the topic have another number of partitions than when the store was begun?
    pub fn has_other_partitions(&self, found: usize) -> bool {
        u32::try_from(found) != Ok(self.partitions)
    }

    pub fn partitions_changed(&self, found: usize) -> IdentityError {
        IdentityError::Another {
            what: "number of partitions",
            stored: self.partitions.to_string(),
            found: found.to_string(),
            remedy: "partitions were added to the topic, and Kafka cannot take them away again: begin anew with another store.url \
                     and stream.topic",
        }
    }

    pub fn matches_source(&self, found: Option<&Fingerprint>) -> Result<(), IdentityError> {
        match &self.source {
            Some(source) if source.fingerprint.as_ref() == found => Ok(()),
            Some(source) => {
                let bytes = |fingerprint: Option<&Fingerprint>| fingerprint.map_or(0, |fingerprint| fingerprint.bytes);
                Err(IdentityError::SourceChanged { stored: bytes(source.fingerprint.as_ref()), found: bytes(found) })
            }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use millstream_store::LocalStore;

    #[test]
    fn an_identity_that_does_not_add_up_is_an_error() {
        let read_with = |partitions: u64, offsets: serde_json::Value| {
            let folder = tempfile::tempdir().unwrap();
            let store = LocalStore::open(folder.path()).unwrap();
            let identity = json!({
                "format": 1, "attempt": "a", "store_id": "s", "name": "n", "cluster": "c", "topic": "t", "topic_id": null,
                "partitions": partitions, "base_offsets": offsets, "encoding": "json", "key": null, "source": null,
                "created_at_ms": 1,
            });
            store.create(IDENTITY_KEY, identity.to_string().as_bytes()).unwrap();
            read(&store)
        };
        assert!(read_with(2, json!([0, 7])).is_ok());
        for (partitions, offsets) in
            [(3, json!([0, 7])), (2, json!([0, -7])), (2, json!([0, i64::MAX])), (0, json!([])), (u64::MAX, json!([0]))]
        {
            assert!(matches!(read_with(partitions, offsets), Err(IdentityError::Unreadable { .. })), "{partitions}");
        }
    }
}
