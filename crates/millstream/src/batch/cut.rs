//! Decides a cut: the first create wins, and everyone obeys.

use super::manifest::{Cut, cut_key};
use super::part::fail_point;
use crate::store::{Settled, Store, StoreError, read_optional, settle};

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
    fail_point("cut.before");
    let settled = settle(store, &key, &bytes)?;
    fail_point("cut.after");
    match settled {
        Settled::Mine => Ok(wanted.clone()),
        Settled::There(found) => parse(store, wanted.batch, &found),
    }
}

pub(super) fn read(store: &dyn Store, batch: u32) -> Result<Option<Cut>, DecideError> {
    let key = cut_key(batch);
    read_optional(store, &key)?.map(|bytes| parse(store, batch, &bytes)).transpose()
}

fn parse(store: &dyn Store, batch: u32, bytes: &[u8]) -> Result<Cut, DecideError> {
    let unreadable = |reason| DecideError::Unreadable { place: store.place(&cut_key(batch)), reason };
    let cut: Cut = serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
    if cut.format != crate::schema::FORMAT || cut.batch != batch {
        return Err(unreadable(format!("format {}, batch {}", cut.format, cut.batch)));
    }
    Ok(cut)
}
