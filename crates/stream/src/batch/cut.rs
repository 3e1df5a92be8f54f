//! Decides a cut: the first create wins, and everyone obeys.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millstream_store::{Settled, SharedStore, Store, StoreError, read_optional, record_bytes, settle};
use millstream_untrusted::batch::check_after;

use super::manifest::{Cut, cut_key};
use super::part::fail_point;

#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "{place}: cannot be read as format 1: {reason}; restore it, or begin anew with another store.url and stream.topic"
    )]
    Unreadable { place: String, reason: String },
    #[error("{place}: does not add up with the manifests beside it: {reason}; restore what was changed there")]
    Unsound { place: String, reason: String },
    #[error("{place} is missing, and what comes after it is there: restore it, or what follows is not read")]
    Gap { place: String },
}

/// Creates the cut and answers the one that holds, which may be another's.
pub fn decide(store: &dyn Store, wanted: &Cut) -> Result<Cut, DecideError> {
    let key = cut_key(wanted.batch);
    let bytes = record_bytes(&key, wanted)?;
    fail_point("cut.before");
    let settled = settle(store, &key, &bytes)?;
    fail_point("cut.after");
    match settled {
        Settled::Mine => Ok(wanted.clone()),
        Settled::There(found) => parse(store, wanted.batch, &found),
    }
}

/// Is the batch cut?
pub fn cut_exists(store: &dyn Store, batch: u32) -> Result<bool, DecideError> {
    Ok(read(store, batch)?.is_some())
}

/// The cuts as far as they are known. One that is not there yet is asked for at most every `ask_pause`, which grows while none comes:
/// on S3 a question costs money.
pub(super) struct CutBook {
    store: SharedStore,
    complete: u32,
    known: BTreeMap<u32, Cut>,
    /// The lowest batch that was not there, when it was asked for, and when it may be asked for again.
    absent: Option<(u32, Instant)>,
    ask_pause: Duration,
}

const ASK_PAUSE_LEAST: Duration = Duration::from_millis(20);
const ASK_PAUSE_MOST: Duration = Duration::from_millis(200);

impl CutBook {
    /// `complete`: batches that are known to be complete, and so cut.
    pub fn new(store: SharedStore, complete: u32) -> Self {
        Self { store, complete, known: BTreeMap::new(), absent: None, ask_pause: ASK_PAUSE_LEAST }
    }

    pub fn get(&mut self, batch: u32) -> Result<Option<Cut>, DecideError> {
        if let Some(cut) = self.known.get(&batch) {
            return Ok(Some(cut.clone()));
        }
        if let Some((absent, asked)) = self.absent
            && batch >= absent
            && asked.elapsed() < self.ask_pause
        {
            return Ok(None);
        }
        let found = read(self.store.as_ref(), batch)?;
        match &found {
            Some(cut) => {
                if let Some(before) = batch.checked_sub(1).and_then(|before| self.known.get(&before)) {
                    let place = || self.store.place(&cut_key(batch));
                    check_after(cut, before).map_err(|reason| DecideError::Unsound { place: place(), reason })?;
                }
                self.known.insert(batch, cut.clone());
                (self.absent, self.ask_pause) = (None, ASK_PAUSE_LEAST);
            }
            None => {
                self.absent = Some((batch, Instant::now()));
                self.ask_pause = (self.ask_pause * 2).min(ASK_PAUSE_MOST);
            }
        }
        Ok(found)
    }

    /// The newest cut, as far as is known.
    pub fn newest(&mut self) -> Result<Option<Cut>, DecideError> {
        let mut newest = self.known.last_key_value().map(|(_, cut)| cut.clone());
        if newest.is_none() && self.complete > 0 {
            newest = self.get(self.complete)?;
        }
        loop {
            let next = newest.as_ref().map_or(1, |cut| cut.batch + 1);
            match self.get(next)? {
                Some(cut) => newest = Some(cut),
                None => return Ok(newest),
            }
        }
    }

    /// The newest cut, asked for now.
    pub fn newest_now(&mut self) -> Result<Option<Cut>, DecideError> {
        self.absent = None;
        self.newest()
    }

    /// Drops what is not needed any more; the newest stays.
    pub fn forget_before(&mut self, batch: u32) {
        if self.known.last_key_value().is_some_and(|(newest, _)| *newest >= batch) {
            self.known = self.known.split_off(&batch);
        }
    }
}

pub(super) fn read(store: &dyn Store, batch: u32) -> Result<Option<Cut>, DecideError> {
    let key = cut_key(batch);
    read_optional(store, &key)?.map(|bytes| parse(store, batch, &bytes)).transpose()
}

fn parse(store: &dyn Store, batch: u32, bytes: &[u8]) -> Result<Cut, DecideError> {
    Cut::read(bytes, batch).map_err(|reason| DecideError::Unreadable { place: store.place(&cut_key(batch)), reason })
}
