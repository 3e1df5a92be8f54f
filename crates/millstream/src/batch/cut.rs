//! Decides a cut: the first create wins, and everyone obeys.

use super::manifest::{Cut, cut_key};
use super::part::fail_point;
use crate::store::{Created, Store, StoreError, read_optional};

/// A create whose answer was lost is tried so often.
const TRIES: u32 = 5;

#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "{place}: cannot be read as format 1: {reason}; restore it, or begin anew with another store.url and stream.topic"
    )]
    Unreadable { place: String, reason: String },
}

/// Creates the cut and answers the one that holds, which may be another's.
pub fn decide(store: &dyn Store, wanted: &Cut) -> Result<Cut, DecideError> {
    let key = cut_key(wanted.batch);
    let bytes = serde_json::to_vec_pretty(wanted).unwrap_or_default();
    let mut tried = 0;
    loop {
        tried += 1;
        fail_point("cut.before");
        let created = store.create(&key, &bytes);
        fail_point("cut.after");
        match created {
            Ok(Created::Mine) => return Ok(wanted.clone()),
            Ok(Created::Exists) => {
                let missing = || StoreError::Missing { key: key.clone() };
                return read(store, wanted.batch)?.ok_or_else(|| missing().into());
            }
            // Unknown: mine, another's, or nobody's. What is there now tells.
            Err(error) => match read(store, wanted.batch)? {
                Some(found) => return Ok(found),
                None if tried < TRIES && matches!(error, StoreError::Io { .. }) => {}
                None => return Err(error.into()),
            },
        }
    }
}

pub(super) fn read(store: &dyn Store, batch: u32) -> Result<Option<Cut>, DecideError> {
    let key = cut_key(batch);
    let Some(bytes) = read_optional(store, &key)? else { return Ok(None) };
    let unreadable = |reason| DecideError::Unreadable { place: store.place(&key), reason };
    let cut: Cut = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if cut.format != crate::schema::FORMAT || cut.batch != batch {
        return Err(unreadable(format!("format {}, batch {}", cut.format, cut.batch)));
    }
    Ok(Some(cut))
}
