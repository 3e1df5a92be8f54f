//! What the store remembers of an id: `records/HASH/000001.json`, … claim its rows for one attempt to send them, `answer.json` says
//! where they lie. All are created once and never changed.

use millstream_store::{Settled, Store, StoreError, record_bytes, settle};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::record::PostedRecords;
use crate::schema::FORMAT;

const FOLDER: &str = "records";
/// Of a claim or an answer, looked at before it is read.
const BYTES_MOST: u64 = 64 << 10;
/// Each follows a server that ended before it knew; one more than these is no accident.
const ATTEMPTS_MOST: u32 = 1000;

/// The rows of an id as they were sent first, and by which key the store has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id {
    /// BLAKE3 of the client's id.
    pub hash: String,
    /// Of what was posted.
    pub digest: String,
    pub rows: usize,
}

impl Id {
    pub fn new(id: &str, records: &PostedRecords) -> Self {
        let hash = blake3::hash(id.as_bytes()).to_hex().to_string();
        Self { hash, digest: records.digest.clone(), rows: records.values.len() }
    }

    fn claim_key(&self, attempt: u32) -> String {
        format!("{FOLDER}/{}/{attempt:06}.json", self.hash)
    }

    fn answer_key(&self) -> String {
        format!("{FOLDER}/{}/answer.json", self.hash)
    }
}

/// One attempt to send the rows, before its first record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub format: u32,
    /// In a header of each of its records.
    pub attempt: String,
    pub digest: String,
    pub rows: usize,
    pub partition: i32,
    /// No record of the id lies before it.
    pub from_offset: i64,
    pub claimed_at_ms: u64,
}

/// Where the rows lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub format: u32,
    pub digest: String,
    pub rows: usize,
    pub partition: i32,
    /// Of the first and the last of them; records of others may lie between.
    pub first_offset: i64,
    pub last_offset: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "{place}: cannot be read as format 1: {reason}; restore it, or delete its folder when nobody sends its id again"
    )]
    Unreadable { place: String, reason: String },
}

/// What was answered, where it was.
pub fn answer(store: &dyn Store, id: &Id) -> Result<Option<Answer>, ClaimError> {
    let key = id.answer_key();
    let found: Option<Answer> = read(store, &key)?;
    found.map(|found| sound(store, &key, found.format, found.partition, found.first_offset).map(|()| found)).transpose()
}

/// Keeps where the rows lie; the first answer is the one that holds.
pub fn keep_answer(store: &dyn Store, id: &Id, wanted: &Answer) -> Result<Answer, ClaimError> {
    let key = id.answer_key();
    match settle(store, &key, &record_bytes(&key, wanted)?)? {
        Settled::Mine => Ok(wanted.clone()),
        Settled::There(bytes) => parse(store, &key, &bytes),
    }
}

/// The attempts so far, the oldest first.
pub fn claims(store: &dyn Store, id: &Id) -> Result<Vec<Claim>, ClaimError> {
    let mut claims = Vec::new();
    for attempt in 1..=ATTEMPTS_MOST {
        let key = id.claim_key(attempt);
        let Some(claim) = read::<Claim>(store, &key)? else { return Ok(claims) };
        sound(store, &key, claim.format, claim.partition, claim.from_offset)?;
        claims.push(claim);
    }
    let (place, reason) = (store.place(&id.claim_key(1)), format!("{ATTEMPTS_MOST} attempts"));
    Err(ClaimError::Unreadable { place, reason })
}

/// Claims the rows for an attempt, which is number `attempt` from 1; false: another has that number.
pub fn make(store: &dyn Store, id: &Id, attempt: usize, claim: &Claim) -> Result<bool, ClaimError> {
    let number = u32::try_from(attempt).unwrap_or(u32::MAX);
    let key = id.claim_key(number);
    Ok(settle(store, &key, &record_bytes(&key, claim)?)? == Settled::Mine)
}

impl Claim {
    pub fn new(id: &Id, partition: i32, from_offset: i64, claimed_at_ms: u64) -> Self {
        let (attempt, digest) = (uuid::Uuid::new_v4().simple().to_string(), id.digest.clone());
        Self { format: FORMAT, attempt, digest, rows: id.rows, partition, from_offset, claimed_at_ms }
    }
}

fn read<T: DeserializeOwned>(store: &dyn Store, key: &str) -> Result<Option<T>, ClaimError> {
    match store.read_up_to(key, BYTES_MOST) {
        Ok(bytes) => parse(store, key, &bytes).map(Some),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn parse<T: DeserializeOwned>(store: &dyn Store, key: &str, bytes: &[u8]) -> Result<T, ClaimError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ClaimError::Unreadable { place: store.place(key), reason: error.to_string() })
}

fn sound(store: &dyn Store, key: &str, format: u32, partition: i32, offset: i64) -> Result<(), ClaimError> {
    if format == FORMAT && partition >= 0 && offset >= 0 {
        return Ok(());
    }
    let reason = format!("format {format}, partition {partition}, offset {offset}");
    Err(ClaimError::Unreadable { place: store.place(key), reason })
}

#[cfg(test)]
mod tests {
    use millstream_store::LocalStore;

    use super::*;

    fn id(text: &str) -> Id {
        Id::new(text, &PostedRecords { values: vec![b"{}".to_vec()], digest: "d".to_owned() })
    }

    #[test]
    fn the_first_claim_and_the_first_answer_hold() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).unwrap();
        let id = id("order 7");
        assert_eq!((claims(&store, &id).unwrap(), answer(&store, &id).unwrap()), (Vec::new(), None));
        let [first, second] = [1, 2].map(|partition| Claim::new(&id, partition, 5, 0));
        assert!(make(&store, &id, 1, &first).unwrap() && !make(&store, &id, 1, &second).unwrap());
        assert!(make(&store, &id, 2, &second).unwrap());
        assert_eq!(claims(&store, &id).unwrap(), [first, second]);
        let answered = |first_offset| Answer {
            format: FORMAT,
            digest: id.digest.clone(),
            rows: 1,
            partition: 1,
            first_offset,
            last_offset: first_offset,
        };
        assert_eq!(keep_answer(&store, &id, &answered(5)).unwrap(), answered(5));
        assert_eq!(keep_answer(&store, &id, &answered(9)).unwrap(), answered(5));
        assert_eq!(answer(&store, &id).unwrap(), Some(answered(5)));
    }

    #[test]
    fn a_claim_that_was_tampered_with_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).unwrap();
        for (number, text) in ["", "{}", r#"{"format":2}"#, "[1]"].iter().enumerate() {
            let id = id(&number.to_string());
            store.create(&id.claim_key(1), text.as_bytes()).unwrap();
            store.create(&id.answer_key(), text.as_bytes()).unwrap();
            let error = claims(&store, &id).unwrap_err().to_string();
            assert!(error.contains(&id.hash) && error.contains("000001.json"), "{error}");
            assert!(answer(&store, &id).is_err());
        }
        let id = id("negative");
        let claim = Claim { partition: -1, ..Claim::new(&id, 0, 0, 0) };
        assert!(make(&store, &id, 1, &claim).unwrap());
        assert!(claims(&store, &id).is_err());
    }
}
