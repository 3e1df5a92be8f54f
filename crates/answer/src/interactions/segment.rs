//! A run of interactions, packed by user and by item; never changed once made. Pure.
//!
//! An interaction costs 24 bytes here: item 4, rating 4, time 8, mark 4, and 4 where it stands in its item's list; 2 more where
//! there are groups.

use std::ops::Range;

/// One row that was read, in codes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    pub user: u32,
    pub item: u32,
    /// NaN: the row has none.
    pub rating: f32,
    /// Milliseconds since the epoch, or the row's number in the stream where a model has no time; `i64::MIN`: unknown.
    pub time: i64,
    pub mark: Mark,
    /// `NO_GROUP`: in none.
    pub group: u16,
}

pub const NO_GROUP: u16 = u16::MAX;

/// What a version must know of a row to say whether it trained on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u32);

const HELD_OUT: u32 = 1 << 31;
const FILTERED: u32 = 1 << 30;

impl Mark {
    pub fn new(batch: u32, held_out: bool, passes: bool) -> Self {
        let batch = batch & (FILTERED - 1);
        Self(batch | if held_out { HELD_OUT } else { 0 } | if passes { 0 } else { FILTERED })
    }

    pub fn batch(self) -> u32 {
        self.0 & (FILTERED - 1)
    }

    pub fn held_out(self) -> bool {
        self.0 & HELD_OUT != 0
    }

    /// Whether `where` holds.
    pub fn passes(self) -> bool {
        self.0 & FILTERED == 0
    }
}

/// What one user and one item have to do with each other, by one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry {
    pub item: u32,
    pub rating: f32,
    pub time: i64,
    pub mark: Mark,
    /// `NO_GROUP`: in none.
    pub group: u16,
}

#[derive(Debug, Default)]
pub struct Segment {
    /// Distinct, ascending; of the same length the ends of their entries.
    users: Vec<u32>,
    user_ends: Vec<u32>,
    /// By user, then by item, then as they came.
    items: Vec<u32>,
    ratings: Vec<f32>,
    times: Vec<i64>,
    marks: Vec<Mark>,
    /// Empty where no row is in a group.
    groups: Vec<u16>,
    /// Distinct, ascending; of the same length the ends of their places.
    rated_items: Vec<u32>,
    item_ends: Vec<u32>,
    /// Indices of entries, by item, then by user.
    places: Vec<u32>,
}

impl Segment {
    /// `rows` in the order in which they came, fewer than 2^32; sorted as the entries are.
    pub fn new(rows: &mut [Row]) -> Self {
        rows.sort_by_key(|row| (u64::from(row.user) << 32) | u64::from(row.item));
        let mut segment = Self::with_capacity(rows.len(), rows.iter().any(|row| row.group != NO_GROUP));
        for row in rows.iter() {
            let Row { user, item, rating, time, mark, group } = *row;
            segment.push(user, Entry { item, rating, time, mark, group });
        }
        segment.index_items();
        segment
    }

    fn with_capacity(len: usize, has_groups: bool) -> Self {
        Self {
            items: Vec::with_capacity(len),
            ratings: Vec::with_capacity(len),
            times: Vec::with_capacity(len),
            marks: Vec::with_capacity(len),
            groups: Vec::with_capacity(if has_groups { len } else { 0 }),
            ..Self::default()
        }
    }

    /// Both in one; `newer` came after `older`.
    pub fn merge(older: &Self, newer: &Self) -> Self {
        let has_groups = !older.groups.is_empty() || !newer.groups.is_empty();
        let mut merged = Self::with_capacity(older.len() + newer.len(), has_groups);
        let mut users: Vec<u32> = older.users.iter().chain(&newer.users).copied().collect();
        users.sort_unstable();
        users.dedup();
        for user in users {
            let (mut left, mut right) = (older.of_user(user).peekable(), newer.of_user(user).peekable());
            while let (Some(old), Some(new)) = (left.peek(), right.peek()) {
                let next = if old.item <= new.item { left.next() } else { right.next() };
                next.into_iter().for_each(|entry| merged.push(user, entry));
            }
            left.chain(right).for_each(|entry| merged.push(user, entry));
        }
        merged.index_items();
        merged
    }

    fn push(&mut self, user: u32, entry: Entry) {
        self.items.push(entry.item);
        self.ratings.push(entry.rating);
        self.times.push(entry.time);
        self.marks.push(entry.mark);
        if entry.group != NO_GROUP || !self.groups.is_empty() {
            self.groups.resize(self.items.len() - 1, NO_GROUP);
            self.groups.push(entry.group);
        }
        let end = index(self.items.len());
        match (self.users.last(), self.user_ends.last_mut()) {
            (Some(last), Some(last_end)) if *last == user => *last_end = end,
            _ => {
                self.users.push(user);
                self.user_ends.push(end);
            }
        }
    }

    /// A counting sort of the entries by item.
    fn index_items(&mut self) {
        let n_items = self.items.iter().max().map_or(0, |most| *most as usize + 1);
        let mut next = vec![0_u32; n_items + 1];
        self.items.iter().for_each(|item| next[*item as usize + 1] += 1);
        for item in 0..n_items {
            next[item + 1] += next[item];
            if next[item + 1] > next[item] {
                self.rated_items.push(index(item));
                self.item_ends.push(next[item + 1]);
            }
        }
        self.places = vec![0; self.items.len()];
        for (place, item) in self.items.iter().enumerate() {
            let slot = &mut next[*item as usize];
            self.places[*slot as usize] = index(place);
            *slot += 1;
        }
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn users(&self) -> &[u32] {
        &self.users
    }

    /// A user's entries, by item, those of one item as they came.
    pub fn of_user(&self, user: u32) -> impl Iterator<Item = Entry> + '_ {
        self.range_of_user(user).map(|place| self.entry(place))
    }

    /// A user's items, ascending, one as often as there are entries.
    pub fn items_of_user(&self, user: u32) -> &[u32] {
        &self.items[self.range_of_user(user)]
    }

    /// What the user has to do with one item, as it came.
    pub fn of_pair(&self, user: u32, item: u32) -> impl Iterator<Item = Entry> + '_ {
        let range = self.range_of_user(user);
        let items = &self.items[range.clone()];
        let first = range.start + items.partition_point(|other| *other < item);
        (first..range.end).map(|place| self.entry(place)).take_while(move |entry| entry.item == item)
    }

    /// Who has to do with the item: users ascending, the entries of one as they came.
    pub fn of_item(&self, item: u32) -> impl Iterator<Item = (u32, Entry)> + '_ {
        let places = match self.rated_items.binary_search(&item) {
            Ok(at) => range(&self.item_ends, at),
            Err(_) => 0..0,
        };
        self.places[places].iter().map(|place| (self.user_at(*place), self.entry(*place as usize)))
    }

    fn range_of_user(&self, user: u32) -> Range<usize> {
        self.users.binary_search(&user).map_or(0..0, |at| range(&self.user_ends, at))
    }

    fn user_at(&self, place: u32) -> u32 {
        self.users[self.user_ends.partition_point(|end| *end <= place)]
    }

    fn entry(&self, place: usize) -> Entry {
        Entry {
            item: self.items[place],
            rating: self.ratings[place],
            time: self.times[place],
            mark: self.marks[place],
            group: self.groups.get(place).copied().unwrap_or(NO_GROUP),
        }
    }
}

fn range(ends: &[u32], at: usize) -> Range<usize> {
    let start = if at == 0 { 0 } else { ends[at - 1] };
    start as usize..ends[at] as usize
}

/// A segment holds fewer than 2^32 entries, so that this never saturates: `Table` packs `ROWS_PACKED` and merges to `MERGED_MOST`.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let row = (0..6_u32, 0..6_u32, 0..5_u32, 1..4_u32, any::<bool>(), any::<bool>());
        let row = row.prop_map(|(user, item, rating, batch, held_out, passes)| Row {
            user,
            item,
            rating: rating as f32,
            time: i64::from(rating * 7 % 5),
            mark: Mark::new(batch, held_out, passes),
            group: if rating < 3 { NO_GROUP } else { 7 },
        });
        prop::collection::vec(row, 0..40)
    }

    fn entry(row: &Row) -> Entry {
        Entry { item: row.item, rating: row.rating, time: row.time, mark: row.mark, group: row.group }
    }

    fn check(segment: &Segment, rows: &[Row]) {
        for user in 0..7 {
            let mut expected: Vec<Entry> = rows.iter().filter(|row| row.user == user).map(entry).collect();
            expected.sort_by_key(|entry| entry.item);
            assert_eq!(segment.of_user(user).collect::<Vec<_>>(), expected);
            assert!(segment.items_of_user(user).iter().eq(expected.iter().map(|entry| &entry.item)));
            for item in 0..7 {
                let pair = |row: &&Row| row.user == user && row.item == item;
                assert!(segment.of_pair(user, item).eq(rows.iter().filter(pair).map(entry)));
            }
        }
        for item in 0..7 {
            let mut expected: Vec<_> =
                rows.iter().filter(|row| row.item == item).map(|row| (row.user, entry(row))).collect();
            expected.sort_by_key(|(user, _)| *user);
            assert_eq!(segment.of_item(item).collect::<Vec<_>>(), expected);
        }
        assert_eq!(segment.len(), rows.len());
    }

    proptest! {
        #[test]
        fn rows_are_found_by_user_and_by_item(rows in rows()) {
            check(&Segment::new(&mut rows.clone()), &rows);
        }

        #[test]
        fn two_segments_merge_into_what_one_would_be(older in rows(), newer in rows()) {
            let merged = Segment::merge(&Segment::new(&mut older.clone()), &Segment::new(&mut newer.clone()));
            check(&merged, &[older, newer].concat());
        }
    }

    #[test]
    fn a_mark_keeps_its_parts_apart() {
        for (held_out, passes) in [(false, false), (false, true), (true, false), (true, true)] {
            let mark = Mark::new(12_345, held_out, passes);
            assert_eq!((mark.batch(), mark.held_out(), mark.passes()), (12_345, held_out, passes));
        }
    }
}
