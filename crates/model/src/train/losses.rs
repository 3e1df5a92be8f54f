//! What each record, or each user, cost a version: handed over while it is measured, with what its measures are summed of, where versions are to
//! be compared. Bounded: of all records, and of all users, those of the smallest hashes count, which are the same for every version.

use std::collections::BTreeMap;

use millstream_learn::metrics::ListGains;

/// Records, or users, of a version.
pub const UNITS_MOST: usize = 20_000;

/// What the measures of one record are summed of; which numbers these are is the task's.
pub(super) type Terms = [f64; 4];

/// Of a version.
#[derive(Debug)]
pub(super) enum Losses {
    /// By the hashes of the records, ascending.
    Records(Vec<(u64, Terms)>),
    Users(UserLosses),
}

/// Records as they come.
#[derive(Debug, Default)]
pub(super) struct RecordLosses {
    kept: Vec<(u64, Terms)>,
    /// Records of a larger hash do not come in any more.
    last: Option<u64>,
}

impl RecordLosses {
    pub fn push(&mut self, record: u64, terms: Terms) {
        if self.last.is_some_and(|last| record > last) {
            return;
        }
        self.kept.push((record, terms));
        if self.kept.len() == 2 * UNITS_MOST {
            self.cut();
        }
    }

    fn cut(&mut self) {
        // Stable: of equal hashes the order of the stream.
        self.kept.sort_by_key(|(record, _)| *record);
        self.kept.truncate(UNITS_MOST);
        self.last = self.kept.get(UNITS_MOST - 1).map(|(record, _)| *record);
    }

    pub fn finish(mut self) -> Losses {
        self.cut();
        Losses::Records(self.kept)
    }
}

/// What a version's estimates and lists cost, by the hashes of users.
#[derive(Debug, Default)]
pub(super) struct UserLosses {
    /// Of each user by the hash of the item: the squared error, and the absolute one.
    pub estimates: BTreeMap<u64, BTreeMap<u64, (f64, f64)>>,
    pub lists: BTreeMap<u64, ListGains>,
}

impl UserLosses {
    /// Users are taken whole.
    pub fn add_estimate(&mut self, user: u64, item: u64, error: f64) {
        let is_full = self.estimates.len() == UNITS_MOST && !self.estimates.contains_key(&user);
        if is_full && self.estimates.last_key_value().is_some_and(|(last, _)| user > *last) {
            return;
        }
        self.estimates.entry(user).or_default().insert(item, (error * error, error.abs()));
        if self.estimates.len() > UNITS_MOST {
            self.estimates.pop_last();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_records_of_the_smallest_hashes_stay_whatever_their_order() {
        let most = UNITS_MOST as u64;
        let kept = |records: &mut dyn Iterator<Item = u64>| {
            let mut losses = RecordLosses::default();
            records.for_each(|record| losses.push(record, [record as f64, 0.0, 0.0, 0.0]));
            let Losses::Records(kept) = losses.finish() else { panic!("no records") };
            kept
        };
        let expected: Vec<(u64, Terms)> = (0..most).map(|record| (record, [record as f64, 0.0, 0.0, 0.0])).collect();
        assert_eq!(kept(&mut (0..5 * most)), expected);
        assert_eq!(kept(&mut (0..5 * most).rev()), expected);
        assert_eq!(kept(&mut (0..10).rev()).len(), 10);
    }

    #[test]
    fn users_stay_whole_or_go_whole() {
        let mut losses = UserLosses::default();
        for user in (0..UNITS_MOST as u64 + 2).rev() {
            (0..2).for_each(|item| losses.add_estimate(user, item, -2.0));
        }
        losses.add_estimate(UNITS_MOST as u64 + 9, 0, 1.0);
        losses.add_estimate(5, 7, 1.0);
        assert_eq!((losses.estimates.len(), losses.estimates[&5].len()), (UNITS_MOST, 3));
        assert!(losses.estimates.keys().copied().eq(0..UNITS_MOST as u64));
        assert_eq!(losses.estimates[&3][&1], (4.0, 2.0));
    }
}
