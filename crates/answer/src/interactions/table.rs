//! All interactions of one rule so far: one writer makes them grow, batch by batch, and readers keep the state they took.
//! Pure but for the locks around the ids.
//!
//! A batch becomes a segment; segments of like size are merged, so that few are searched and each interaction is moved a
//! few times only.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use millstream_learn::{Id, Ids};
use millstream_model::ratings::fits;
use millstream_stream::schema::ColumnType;

use super::Rule;
use super::segment::{Entry, Mark, NO_GROUP, Row, Segment};

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

/// How often an item was taken up, each user counted once, with the user's latest rating.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Popularity {
    pub users: u32,
    /// Of them, those with a rating in the scale, and the sum of these.
    rated: u32,
    sum: f64,
}

impl Popularity {
    /// The mean of the ratings, one for each user.
    pub fn mean(&self) -> Option<f64> {
        (self.rated > 0).then(|| self.sum / f64::from(self.rated))
    }
}

/// Of each item that the rows of one group name, as if these were all.
type GroupCounts = HashMap<u32, Popularity>;

#[derive(Debug, Clone, Default)]
struct Counts {
    /// A rating outside it is none here.
    scale: Option<(f64, f64)>,
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
    group_codes: HashMap<String, u16>,
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
    segments: Vec<Arc<Segment>>,
}

impl Table {
    pub fn new(rule: &Rule) -> Self {
        let ids = |kind| RwLock::new(if kind == ColumnType::Utf8 { Ids::texts() } else { Ids::integers() });
        Self {
            names: Arc::new(Names { users: ids(rule.user_kind), items: ids(rule.item_kind) }),
            segments: Vec::new(),
            counts: Counts { scale: rule.columns.scale, ..Counts::default() },
            group_codes: HashMap::new(),
            has_time: rule.columns.time.is_some(),
            n_rows: 0,
            batches: 0,
            batch: Open::default(),
        }
    }

    /// Batches 1 to this are in it.
    pub fn batches(&self) -> u32 {
        self.batches
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

    fn group(&mut self, name: &str) -> u16 {
        if let Some(code) = self.group_codes.get(name) {
            return *code;
        }
        let Ok(code) = u16::try_from(self.counts.groups.len()) else { return NO_GROUP };
        if self.counts.groups.len() == GROUPS_MOST {
            return NO_GROUP;
        }
        self.counts.groups.push((name.to_owned(), Arc::default()));
        self.group_codes.insert(name.to_owned(), code);
        code
    }

    fn pack(&mut self) {
        let mut rows = std::mem::take(&mut self.batch.rows);
        self.batch.segments.push(Arc::new(Segment::new(&mut rows)));
    }

    /// The batch is whole: the next state has it.
    pub fn end(&mut self, batch: u32) -> Shown {
        if !self.batch.rows.is_empty() {
            self.pack();
        }
        for segment in std::mem::take(&mut self.batch.segments) {
            self.count(&segment);
            self.segments.push(segment);
            self.merge();
        }
        self.batches = batch;
        self.shown()
    }

    /// Adds what a segment, not yet among the others, brings to the counts.
    fn count(&mut self, segment: &Segment) {
        let (mut before, mut new) = (Vec::new(), Vec::new());
        for user in segment.users() {
            let mut entries = segment.of_user(*user).peekable();
            while let Some(first) = entries.next() {
                new.clear();
                new.push(first);
                new.extend(std::iter::from_fn(|| entries.next_if(|next| next.item == first.item)));
                before.clear();
                before.extend(self.segments.iter().flat_map(|older| older.of_pair(*user, first.item)));
                self.counts.add(&before, &new);
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
    /// What one user said of an item in earlier rows, and in new ones.
    fn add(&mut self, before: &[Entry], new: &[Entry]) {
        let Some(latest) = new.iter().copied().reduce(later) else { return };
        let item = latest.item as usize;
        if self.items.len() <= item {
            self.items.resize(item + 1, Popularity::default());
        }
        self.items[item].add(before.iter().copied().reduce(later), latest, self.scale);
        for (at, entry) in new.iter().enumerate() {
            let Some((_, counts)) = self.groups.get_mut(usize::from(entry.group)) else { continue };
            let in_group =
                |entries: &[Entry]| entries.iter().copied().filter(|other| other.group == entry.group).reduce(later);
            // Each group once, at its first row.
            if let (None, Some(latest)) = (in_group(&new[..at]), in_group(new)) {
                Arc::make_mut(counts).entry(latest.item).or_default().add(in_group(before), latest, self.scale);
            }
        }
    }
}

impl Popularity {
    /// One user's latest word, and the one that it replaces.
    fn add(&mut self, before: Option<Entry>, latest: Entry, scale: Option<(f64, f64)>) {
        let Some(before) = before else {
            self.users += 1;
            self.rate(latest.rating, 1, scale);
            return;
        };
        self.rate(before.rating, -1, scale);
        self.rate(later(before, latest).rating, 1, scale);
    }

    fn rate(&mut self, rating: f32, times: i32, scale: Option<(f64, f64)>) {
        if fits(scale, rating) {
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
    pub fn popular_in(&self, group: &str) -> Option<Vec<(u32, Popularity)>> {
        let (_, counts) = self.counts.groups.iter().find(|(name, _)| name == group)?;
        let mut popular: Vec<(u32, Popularity)> =
            counts.iter().map(|(item, popularity)| (*item, *popularity)).collect();
        popular.sort_unstable_by_key(|(item, popularity)| (std::cmp::Reverse(popularity.users), *item));
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
    use millstream_model::model::RatingColumns;
    use millstream_model::registry::Holdout;

    /// user, item, rating, time; ratings of 0 are none, and of 5 outside the scale; rows are in the group of their time.
    type Raw = (i64, i64, u8, i64);

    fn read(raw: &Raw) -> Read<'static> {
        let (user, item, rating, time) = *raw;
        Read {
            user: Id::Integer(user),
            item: Id::Integer(item),
            rating: (rating > 0).then_some(f32::from(rating)),
            time: Some(time),
            group: group(time),
            held_out: rating == 1,
            passes: rating != 2,
        }
    }

    fn group(time: i64) -> Option<&'static str> {
        match time {
            0 | 1 => Some("early"),
            2 | 3 => Some("late"),
            _ => None,
        }
    }

    fn rule(kind: ColumnType, has_time: bool) -> Rule {
        let text = |text: &str| text.to_owned();
        Rule {
            columns: RatingColumns {
                user: text("user"),
                item: text("item"),
                rating: Some(text("rating")),
                time: has_time.then(|| text("time")),
                group: Some(text("group")),
                scale: Some((1.0, 4.0)),
                relevant: None,
            },
            user_kind: kind,
            item_kind: kind,
            filter: None,
            holdout: Holdout { share: 0.0, seed: 0 },
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was a u8")]
    fn raw_rating(rating: f32) -> u8 {
        if rating.is_nan() { 0 } else { rating as u8 }
    }

    fn table(batches: &[Vec<Raw>], has_time: bool) -> Table {
        let mut table = Table::new(&rule(ColumnType::Int64, has_time));
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
                let check = |found: Popularity, theirs: Vec<&Raw>| -> Result<(), TestCaseError> {
                    let rated = theirs.iter().filter(|raw| (1..=4).contains(&raw.2)).map(|raw| f64::from(raw.2));
                    let (count, sum) = (rated.clone().count(), rated.sum::<f64>());
                    let mean = (count > 0).then(|| sum / count as f64);
                    prop_assert_eq!(found.users as usize, theirs.len());
                    prop_assert_eq!(found.mean().map(|mean| (mean * 1e9).round()), mean.map(|mean| (mean * 1e9).round()));
                    Ok(())
                };
                check(shown.popularity(code), theirs)?;
                // In a group all is as if its rows were all there are.
                for name in ["early", "late"] {
                    let own: Vec<Vec<Raw>> = batches
                        .iter()
                        .map(|batch| batch.iter().filter(|raw| group(raw.3) == Some(name)).copied().collect())
                        .collect();
                    let own = latest(&own, has_time);
                    let found = shown.popular_in(name).into_iter().flatten().find(|(other, _)| *other == code);
                    let found = found.map_or(Popularity::default(), |(_, popularity)| popularity);
                    check(found, own.values().filter(|raw| raw.1 == item).collect())?;
                }
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
            let (before, groups) = (all(&shown), shown.popular_in("early"));
            table.begin();
            (0..7).for_each(|id| table.add(99, &read(&(id, 6 - id, 3, 1))));
            prop_assert_eq!(all(&table.shown()), all(&shown));
            table.end(99);
            prop_assert_eq!((all(&shown), shown.popular_in("early")), (before, groups));
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
        let mut table = Table::new(&rule(ColumnType::Utf8, false));
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
