//! All interactions of one rule so far: one writer makes them grow, batch by batch, and readers keep the state they took.
//! Pure but for the locks around the ids.
//!
//! A batch becomes a segment; segments of like size are merged, so that few are searched and each interaction is moved a
//! few times only.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use millstream_learn::{Id, Ids};

use super::segment::{Entry, Mark, NO_GROUP, Row, Segment};
use crate::schema::ColumnType;

/// 28 MiB of rows are packed at once.
const ROWS_PACKED: usize = 1 << 20;
/// A merge holds both sides and the result: 8 M × 24 bytes more than what is shown, for its time.
const MERGED_MOST: usize = 8 << 20;
/// A `group` that has more values than this is none; the rest are in no group.
const GROUPS_MOST: usize = 1000;

/// The ids of all users and items that came so far. They only grow, so a code means the same in every state.
#[derive(Debug)]
struct Names {
    users: RwLock<Ids>,
    items: RwLock<Ids>,
}

/// How often an item was taken up, each user counted once.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Popularity {
    pub users: u32,
    /// Of them, those with a rating, and the sum of these.
    rated: u32,
    sum: f64,
}

impl Popularity {
    /// The mean of the ratings, one for each user.
    pub fn mean(&self) -> Option<f64> {
        (self.rated > 0).then(|| self.sum / f64::from(self.rated))
    }
}

/// Users who took up each item, in one group.
type GroupCounts = HashMap<u32, u32>;

#[derive(Debug, Clone, Default)]
struct Counts {
    /// By item.
    items: Vec<Popularity>,
    groups: Vec<(String, Arc<GroupCounts>)>,
}

/// One consistent state.
#[derive(Debug)]
pub struct Shown {
    names: Arc<Names>,
    /// Oldest first.
    segments: Vec<Arc<Segment>>,
    counts: Counts,
    /// Items by popularity, the most popular first.
    popular: Vec<u32>,
    n_users: usize,
    /// Batches 1 to this are in it.
    pub batches: u32,
}

/// A row as it is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Read<'a> {
    pub user: Id<'a>,
    pub item: Id<'a>,
    pub rating: Option<f32>,
    pub time: Option<i64>,
    pub group: Option<&'a str>,
    pub held_out: bool,
    pub passes: bool,
}

/// What grows. A batch is whole or not there at all.
#[derive(Debug)]
pub struct Table {
    names: Arc<Names>,
    segments: Vec<Arc<Segment>>,
    counts: Counts,
    group_codes: HashMap<String, u32>,
    /// Without times the order of the stream is the order of time.
    has_time: bool,
    n_rows: i64,
    batches: u32,
    batch: Open,
}

/// The batch that is being read.
#[derive(Debug, Default)]
struct Open {
    rows: Vec<Row>,
    /// With the group of each of its entries.
    segments: Vec<(Arc<Segment>, Vec<u32>)>,
}

impl Table {
    pub fn new(user_kind: ColumnType, item_kind: ColumnType, has_time: bool) -> Self {
        let ids = |kind| RwLock::new(if kind == ColumnType::Utf8 { Ids::texts() } else { Ids::integers() });
        Self {
            names: Arc::new(Names { users: ids(user_kind), items: ids(item_kind) }),
            segments: Vec::new(),
            counts: Counts::default(),
            group_codes: HashMap::new(),
            has_time,
            n_rows: 0,
            batches: 0,
            batch: Open::default(),
        }
    }

    /// Forgets what a batch that broke off has brought.
    pub fn begin(&mut self) {
        self.batch = Open::default();
    }

    /// The rows of a batch come in the order of the stream.
    pub fn add(&mut self, batch: u32, read: &Read) {
        let intern = |ids: &RwLock<Ids>, id| ids.write().unwrap_or_else(PoisonError::into_inner).intern(id);
        let row = Row {
            user: intern(&self.names.users, read.user),
            item: intern(&self.names.items, read.item),
            rating: read.rating.unwrap_or(f32::NAN),
            time: if self.has_time { read.time.unwrap_or(i64::MIN) } else { self.n_rows },
            mark: Mark::new(batch, read.held_out, read.passes),
            group: read.group.map_or(NO_GROUP, |name| self.group(name)),
        };
        self.n_rows += 1;
        self.batch.rows.push(row);
        if self.batch.rows.len() == ROWS_PACKED {
            self.pack();
        }
    }

    fn group(&mut self, name: &str) -> u32 {
        if let Some(code) = self.group_codes.get(name) {
            return *code;
        }
        let Ok(code) = u32::try_from(self.counts.groups.len()) else { return NO_GROUP };
        if self.counts.groups.len() == GROUPS_MOST {
            return NO_GROUP;
        }
        self.counts.groups.push((name.to_owned(), Arc::default()));
        self.group_codes.insert(name.to_owned(), code);
        code
    }

    fn pack(&mut self) {
        let mut rows = std::mem::take(&mut self.batch.rows);
        let segment = Arc::new(Segment::new(&mut rows));
        self.batch.segments.push((segment, rows.iter().map(|row| row.group).collect()));
    }

    /// The batch is whole: the next state has it.
    pub fn end(&mut self, batch: u32) -> Shown {
        if !self.batch.rows.is_empty() {
            self.pack();
        }
        for (segment, groups) in std::mem::take(&mut self.batch.segments) {
            self.count(&segment, &groups);
            self.segments.push(segment);
            self.merge();
        }
        self.batches = batch;
        self.shown()
    }

    /// Adds what a segment, not yet among the others, brings to the counts.
    fn count(&mut self, segment: &Segment, groups: &[u32]) {
        let mut place = 0;
        for user in segment.users() {
            let mut entries = segment.of_user(*user).peekable();
            while let Some(first) = entries.next() {
                let group = groups[place];
                place += 1;
                let mut latest = first;
                while let Some(next) = entries.next_if(|next| next.item == first.item) {
                    place += 1;
                    latest = later(latest, next);
                }
                let before = self.segments.iter().flat_map(|older| older.of_pair(*user, first.item)).reduce(later);
                self.counts.add(before, latest, group);
            }
        }
    }

    pub fn shown(&self) -> Shown {
        let users = |item: &u32| self.counts.items[*item as usize].users;
        // An item of a batch that broke off has an id and no users.
        let mut popular: Vec<u32> = (0..).take(self.counts.items.len()).filter(|item| users(item) > 0).collect();
        popular.sort_by_key(|item| std::cmp::Reverse(users(item)));
        let n_users = self.names.users.read().unwrap_or_else(PoisonError::into_inner).len();
        Shown {
            names: Arc::clone(&self.names),
            segments: self.segments.clone(),
            counts: self.counts.clone(),
            popular,
            n_users,
            batches: self.batches,
        }
    }

    fn merge(&mut self) {
        while let [.., older, newer] = self.segments.as_slice() {
            let len = older.len() + newer.len();
            if newer.len() * 2 < older.len() || len > MERGED_MOST {
                return;
            }
            let merged = Arc::new(Segment::merge(older, newer));
            self.segments.truncate(self.segments.len() - 2);
            self.segments.push(merged);
        }
    }
}

impl Counts {
    /// One user's latest word on an item, and the one that it replaces.
    fn add(&mut self, before: Option<Entry>, latest: Entry, group: u32) {
        let item = latest.item as usize;
        if self.items.len() <= item {
            self.items.resize(item + 1, Popularity::default());
        }
        let count = &mut self.items[item];
        let Some(before) = before else {
            count.users += 1;
            count.rate(latest.rating, 1);
            if let Some((_, counts)) = self.groups.get_mut(group as usize) {
                *Arc::make_mut(counts).entry(latest.item).or_default() += 1;
            }
            return;
        };
        count.rate(before.rating, -1);
        count.rate(later(before, latest).rating, 1);
    }
}

impl Popularity {
    fn rate(&mut self, rating: f32, times: i32) {
        if !rating.is_nan() {
            self.rated = self.rated.wrapping_add_signed(times);
            self.sum += f64::from(rating) * f64::from(times);
        }
    }
}

/// Of two words of one user on one item; the second came after the first.
fn later(first: Entry, second: Entry) -> Entry {
    if second.time >= first.time { second } else { first }
}

impl Shown {
    pub fn user(&self, id: Id) -> Option<u32> {
        self.users().code(id).filter(|code| (*code as usize) < self.n_users)
    }

    pub fn item(&self, id: Id) -> Option<u32> {
        self.items().code(id).filter(|code| (*code as usize) < self.n_items())
    }

    /// The ids of users by code. Held shortly: the writer waits for it.
    pub fn users(&self) -> RwLockReadGuard<'_, Ids> {
        self.names.users.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ids of items by code. Held shortly: the writer waits for it.
    pub fn items(&self) -> RwLockReadGuard<'_, Ids> {
        self.names.items.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn n_items(&self) -> usize {
        self.counts.items.len()
    }

    pub fn n_users(&self) -> usize {
        self.n_users
    }

    /// Whether some row tells of the user.
    pub fn has_entries(&self, user: u32) -> bool {
        self.segments.iter().any(|segment| !segment.items_of_user(user).is_empty())
    }

    /// Rows, each time a user took an item up.
    pub fn n_rows(&self) -> usize {
        self.segments.iter().map(|segment| segment.len()).sum()
    }

    /// The items a user has to do with, ascending, each once.
    pub fn seen(&self, user: u32) -> Vec<u32> {
        let mut seen: Vec<u32> =
            self.segments.iter().flat_map(|segment| segment.items_of_user(user)).copied().collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    /// A user's latest word on each item among those that `keep` lets through, by item.
    pub fn of_user(&self, user: u32, keep: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let entries = self.segments.iter().flat_map(|segment| segment.of_user(user));
        let mut entries: Vec<Entry> = entries.filter(keep).collect();
        // Stable: of one item they stay as they came.
        entries.sort_by_key(|entry| entry.item);
        latest_of_runs(entries, |entry| entry.item, |entry| *entry)
    }

    /// Each user's latest word on an item, by user.
    pub fn of_item(&self, item: u32) -> Vec<(u32, Entry)> {
        let mut entries: Vec<_> = self.segments.iter().flat_map(|segment| segment.of_item(item)).collect();
        entries.sort_by_key(|(user, _)| *user);
        latest_of_runs(entries, |(user, _)| *user, |(_, entry)| *entry)
    }

    /// Items by popularity, the most popular first.
    pub fn popular(&self) -> &[u32] {
        &self.popular
    }

    pub fn popularity(&self, item: u32) -> Popularity {
        self.counts.items.get(item as usize).copied().unwrap_or_default()
    }

    /// Items by the number of a group's users who took them up. `None`: there is no such group.
    pub fn popular_in(&self, group: &str) -> Option<Vec<(u32, u32)>> {
        let (_, counts) = self.counts.groups.iter().find(|(name, _)| name == group)?;
        let mut popular: Vec<(u32, u32)> = counts.iter().map(|(item, users)| (*item, *users)).collect();
        popular.sort_unstable_by_key(|(item, users)| (std::cmp::Reverse(*users), *item));
        Some(popular)
    }

    pub fn groups(&self) -> impl Iterator<Item = &str> + Clone {
        self.counts.groups.iter().map(|(name, _)| name.as_str())
    }
}

/// One of each run of equal keys: the latest.
fn latest_of_runs<T: Copy, K: PartialEq>(sorted: Vec<T>, key: impl Fn(&T) -> K, entry: impl Fn(&T) -> Entry) -> Vec<T> {
    let mut latest: Vec<T> = Vec::with_capacity(sorted.len());
    for next in sorted {
        match latest.last_mut() {
            Some(last) if key(last) == key(&next) => {
                if entry(&next).time >= entry(last).time {
                    *last = next;
                }
            }
            _ => latest.push(next),
        }
    }
    latest
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// user, item, rating, time; a group for every second user.
    type Raw = (i64, i64, u8, i64);

    fn read(raw: &Raw) -> Read<'static> {
        let (user, item, rating, time) = *raw;
        Read {
            user: Id::Integer(user),
            item: Id::Integer(item),
            rating: (rating > 0).then_some(f32::from(rating)),
            time: Some(time),
            group: (user % 2 == 0).then_some("even"),
            held_out: rating == 1,
            passes: rating != 2,
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was a u8")]
    fn raw_rating(rating: f32) -> u8 {
        if rating.is_nan() { 0 } else { rating as u8 }
    }

    fn table(batches: &[Vec<Raw>], has_time: bool) -> Table {
        let mut table = Table::new(ColumnType::Int64, ColumnType::Int64, has_time);
        for (number, batch) in (1..).zip(batches) {
            table.begin();
            batch.iter().for_each(|raw| table.add(number, &read(raw)));
            table.end(number);
        }
        table
    }

    /// The last row of the latest time for each pair, as a plain walk over all rows finds it.
    fn latest(batches: &[Vec<Raw>], has_time: bool) -> BTreeMap<(i64, i64), Raw> {
        let mut latest: BTreeMap<(i64, i64), Raw> = BTreeMap::new();
        for raw in batches.iter().flatten() {
            let known = latest.entry((raw.0, raw.1)).or_insert(*raw);
            if !has_time || raw.3 >= known.3 {
                *known = *raw;
            }
        }
        latest
    }

    fn batches() -> impl Strategy<Value = Vec<Vec<Raw>>> {
        prop::collection::vec(prop::collection::vec((0..7_i64, 0..7_i64, 0..6_u8, 0..5_i64), 0..25), 0..9)
    }

    proptest! {
        #[test]
        fn every_state_shows_the_last_word_of_each_pair(batches in batches(), has_time in any::<bool>()) {
            let shown = table(&batches, has_time).shown();
            let expected = latest(&batches, has_time);
            prop_assert_eq!(shown.n_rows(), batches.iter().map(Vec::len).sum::<usize>());
            let id = |ids: &Ids, code: u32| match ids.get(code) { Some(Id::Integer(id)) => id, _ => -1 };
            for user in 0..7 {
                let mine: BTreeMap<i64, u8> =
                    expected.values().filter(|raw| raw.0 == user).map(|raw| (raw.1, raw.2)).collect();
                let Some(code) = shown.user(Id::Integer(user)) else {
                    prop_assert!(mine.is_empty());
                    continue;
                };
                let found = shown.of_user(code, |_| true);
                let found: BTreeMap<i64, u8> = found.iter().map(|entry| {
                    (id(&shown.items(), entry.item), raw_rating(entry.rating))
                }).collect();
                prop_assert_eq!(&found, &mine);
                prop_assert_eq!(shown.seen(code).len(), mine.len());
            }
            for item in 0..7 {
                let theirs: Vec<&Raw> = expected.values().filter(|raw| raw.1 == item).collect();
                let Some(code) = shown.item(Id::Integer(item)) else {
                    prop_assert!(theirs.is_empty());
                    continue;
                };
                prop_assert_eq!(shown.of_item(code).len(), theirs.len());
                let ratings: Vec<f64> = theirs.iter().filter(|raw| raw.2 > 0).map(|raw| f64::from(raw.2)).collect();
                let mean = (!ratings.is_empty()).then(|| ratings.iter().sum::<f64>() / ratings.len() as f64);
                let popularity = shown.popularity(code);
                prop_assert_eq!(popularity.users as usize, theirs.len());
                prop_assert_eq!(popularity.mean().map(|mean| (mean * 1e9).round()), mean.map(|mean| (mean * 1e9).round()));
                let even = theirs.iter().filter(|raw| raw.0 % 2 == 0).count();
                let counted = shown.popular_in("even").into_iter().flatten().find(|(other, _)| *other == code);
                prop_assert_eq!(counted.map_or(0, |(_, users)| users as usize), even);
            }
            let users: Vec<u32> = shown.popular().iter().map(|item| shown.popularity(*item).users).collect();
            prop_assert!(users.is_sorted_by(|left, right| left >= right));
        }

        #[test]
        fn a_state_stays_as_it_was_while_batches_come(batches in batches()) {
            let mut table = table(&batches, true);
            let shown = table.shown();
            // As text: no rating, which is NaN, is equal to itself.
            let all = |shown: &Shown| {
                (0..7).map(|user| format!("{:?}", shown.of_user(user, |_| true))).collect::<Vec<_>>()
            };
            let (before, groups) = (all(&shown), shown.popular_in("even"));
            table.begin();
            (0..7).for_each(|id| table.add(99, &read(&(id, 6 - id, 3, 9))));
            prop_assert_eq!(all(&table.shown()), all(&shown));
            table.end(99);
            prop_assert_eq!((all(&shown), shown.popular_in("even")), (before, groups));
        }
    }

    #[test]
    fn a_batch_that_breaks_off_leaves_nothing() {
        let mut table = table(&[vec![(1, 1, 3, 0)]], true);
        table.begin();
        table.add(2, &read(&(1, 2, 3, 0)));
        table.begin();
        table.add(2, &read(&(1, 3, 3, 0)));
        let shown = table.end(2);
        assert_eq!((shown.n_rows(), shown.batches), (2, 2));
        let user = shown.user(Id::Integer(1)).unwrap();
        assert!(shown.of_item(shown.item(Id::Integer(2)).unwrap_or(9)).is_empty());
        assert_eq!(shown.of_user(user, |entry| entry.mark.batch() == 1).len(), 1);
    }

    #[test]
    fn a_group_of_too_many_values_stops_growing() {
        let mut table = Table::new(ColumnType::Utf8, ColumnType::Utf8, false);
        table.begin();
        for user in 0..2000 {
            let name = format!("g{user}");
            table.add(1, &Read { group: Some(&name), ..read(&(user, 1, 1, 0)) });
        }
        let shown = table.end(1);
        assert_eq!(shown.groups().count(), GROUPS_MOST);
        assert_eq!(shown.popularity(shown.item(Id::Text("1")).unwrap()).users, 2000);
        assert!(shown.popular_in("g1999").is_none());
    }
}
