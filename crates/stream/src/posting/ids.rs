//! The ids that this process works on, and what it knows of those whose rows are not all in the topic yet.

use std::collections::{HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::PostError;
use super::connection::{Looked, Missing};

/// How long a second request of an id waits for the first.
const TURN_MOST: Duration = Duration::from_secs(20);
/// Ids that something is known of, and rows of them that were found; when there are more, all begin anew.
const LOOKS_MOST: usize = 10_000;
const ROWS_MOST: usize = 1_000_000;

/// The ids of this process: each is worked on by one request at a time.
#[derive(Default)]
pub struct Ids {
    at_work: Mutex<AtWork>,
    freed: Condvar,
    looks: Mutex<HashMap<String, Look>>,
}

#[derive(Default)]
struct AtWork {
    ids: HashSet<String>,
    /// One request waits for each of these. More would take the places of other ids.
    awaited: HashSet<String>,
}

pub struct Turn<'a> {
    ids: &'a Ids,
    hash: String,
}

/// What is known of an id.
#[derive(Debug)]
pub struct Look {
    /// Of so many claims, the first ones.
    n_claims: usize,
    pub looked: Looked,
    /// Until then one of the attempts may be under way. `None`: no broker has said yet what is there.
    rests_until: Option<Instant>,
    /// The last attempt was refused, why, and so many rows are there.
    refused: Option<(String, usize)>,
}

impl Look {
    pub fn new(n_claims: usize, next_offset: i64) -> Self {
        let looked = Looked { next_offset, ..Looked::default() };
        Self { n_claims, looked, rests_until: None, refused: None }
    }

    pub fn has_rested(&self) -> bool {
        self.rests_until.is_some_and(|until| Instant::now() >= until)
    }

    /// Once: a broker said what is there.
    pub fn rest_begins(&mut self, rest: Duration) {
        self.rests_until.get_or_insert_with(|| Instant::now() + rest);
    }

    /// An own attempt by the next claim ended so. Where nothing was handed over, nothing is to be waited for.
    pub fn attempted(&mut self, missing: &Missing, n_there: usize, rest: Duration) {
        let (rest, refused) = match missing {
            Missing::Open => (rest, None),
            Missing::NotSent { .. } => (Duration::ZERO, None),
            // Not each time that it is sent again another claim.
            Missing::Refused { reason } => (rest, Some((reason.clone(), n_there))),
        };
        self.n_claims += 1;
        self.rests_until = Some(Instant::now() + rest);
        self.refused = refused;
    }

    /// What is answered instead of another attempt.
    pub fn refusal(&self) -> Option<PostError> {
        let (reason, n_there) = self.refused.clone()?;
        Some(PostError::Refused { reason, n_there })
    }
}

impl Ids {
    /// The turn of an id, after the request that has it; who comes when another one waits already is not kept waiting.
    pub fn enter(&self, hash: &str) -> Result<Turn<'_>, PostError> {
        let unknown = PostError::Unknown { has_id: true };
        let mut work = self.at_work();
        if work.ids.contains(hash) {
            if !work.awaited.insert(hash.to_owned()) {
                return Err(unknown);
            }
            let is_taken = |work: &mut AtWork| work.ids.contains(hash);
            let waited = self.freed.wait_timeout_while(work, TURN_MOST, is_taken);
            (work, _) = waited.unwrap_or_else(PoisonError::into_inner);
            work.awaited.remove(hash);
        }
        if !work.ids.insert(hash.to_owned()) {
            return Err(unknown);
        }
        Ok(Turn { ids: self, hash: hash.to_owned() })
    }

    /// What is known of an id that has so many claims; `from_offset`: of the first.
    pub fn take(&self, hash: &str, n_claims: usize, from_offset: i64) -> Look {
        let known = self.looks().remove(hash).filter(|look| look.n_claims == n_claims);
        // Of another claim records may lie where it was looked already.
        known.unwrap_or_else(|| Look::new(n_claims, from_offset))
    }

    pub fn keep(&self, hash: &str, look: Look) {
        let mut looks = self.looks();
        let rows: usize = looks.values().map(|look| look.looked.rows.len()).sum();
        if looks.len() >= LOOKS_MOST || rows >= ROWS_MOST {
            looks.clear();
        }
        looks.insert(hash.to_owned(), look);
    }

    fn at_work(&self) -> MutexGuard<'_, AtWork> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn looks(&self) -> MutexGuard<'_, HashMap<String, Look>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.ids.at_work().ids.remove(&self.hash);
        self.ids.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_of_an_id_is_at_work_one_waits_and_more_are_told() {
        let ids = Ids::default();
        let first = ids.enter("a").unwrap();
        assert!(ids.enter("b").is_ok());
        std::thread::scope(|scope| {
            let second = scope.spawn(|| ids.enter("a").map(drop));
            while !ids.at_work().awaited.contains("a") {
                std::thread::yield_now();
            }
            assert!(matches!(ids.enter("a"), Err(PostError::Unknown { has_id: true })));
            drop(first);
            second.join().unwrap().unwrap();
        });
        assert!(ids.enter("a").is_ok());
        assert!(ids.at_work().ids.is_empty() && ids.at_work().awaited.is_empty());
    }

    #[test]
    fn what_was_looked_at_is_kept_for_the_same_claims_and_the_rest_counts_from_the_first_look() {
        let ids = Ids::default();
        let mut look = ids.take("a", 1, 5);
        assert!(!look.has_rested());
        look.rest_begins(Duration::ZERO);
        look.looked = Looked { rows: [(0, 7)].into(), next_offset: 9 };
        ids.keep("a", look);
        let mut look = ids.take("a", 1, 5);
        assert_eq!((look.looked.rows.get(&0), look.looked.next_offset), (Some(&7), 9));
        look.rest_begins(Duration::from_secs(60));
        assert!(look.has_rested());
        look.attempted(&Missing::Refused { reason: "r".to_owned() }, 1, Duration::from_secs(60));
        assert!(!look.has_rested());
        assert!(matches!(look.refusal(), Some(PostError::Refused { n_there: 1, .. })));
        ids.keep("a", look);
        // Another server took over.
        let look = ids.take("a", 3, 5);
        assert_eq!((look.looked.rows.len(), look.looked.next_offset, look.has_rested()), (0, 5, false));
    }

    #[test]
    fn what_is_known_has_a_bound() {
        let ids = Ids::default();
        (0..=LOOKS_MOST).for_each(|id| ids.keep(&id.to_string(), Look::new(1, 0)));
        assert_eq!(ids.looks().len(), 1);
        let mut look = Look::new(1, 0);
        look.looked.rows = (0..ROWS_MOST).map(|row| (row, 0)).collect();
        ids.keep("large", look);
        ids.keep("next", Look::new(1, 0));
        assert_eq!(ids.looks().len(), 1);
    }
}
