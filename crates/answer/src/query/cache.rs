//! Columns of parts, decoded and kept for the queries that come after: parts never change, so what is kept is never wrong. What was
//! used longest ago makes room.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use datafusion::arrow::array::{Array, ArrayRef};

/// One column of one row group, in the blocks in which it is read.
pub(super) type Column = Vec<ArrayRef>;

/// What was decoded, within a bound.
#[derive(Debug)]
pub struct ColumnCache {
    bytes_most: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    columns: HashMap<Place, Entry>,
    bytes: usize,
    clock: u64,
}

/// A part's key, one of its row groups, a column's name.
type Place = (String, usize, String);

#[derive(Debug)]
struct Entry {
    column: Column,
    bytes: usize,
    used: u64,
}

impl ColumnCache {
    pub fn new(bytes_most: usize) -> Self {
        Self { bytes_most, held: Mutex::default() }
    }

    /// Whether so many values find room beside one another, by what they take at most as a rule.
    pub fn holds(&self, values: u64) -> bool {
        usize::try_from(values).is_ok_and(|values| values.saturating_mul(super::kept::VALUE_BYTES) <= self.bytes_most)
    }

    /// Whether so much may be kept at once: a column that takes the place of all others would only drive them out.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        bytes <= self.bytes_most / 2
    }

    pub(super) fn get(&self, part: &str, row_group: usize, column: &str) -> Option<Column> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.clock += 1;
        let now = held.clock;
        let entry = held.columns.get_mut(&(part.to_owned(), row_group, column.to_owned()))?;
        entry.used = now;
        Some(entry.column.clone())
    }

    pub(super) fn put(&self, part: &str, row_group: usize, name: &str, column: Column) {
        let bytes: usize = column.iter().map(|block| block.get_array_memory_size()).sum();
        if !self.has_room_for(bytes) {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.clock += 1;
        let entry = Entry { column, bytes, used: held.clock };
        if let Some(old) = held.columns.insert((part.to_owned(), row_group, name.to_owned()), entry) {
            held.bytes -= old.bytes;
        }
        held.bytes += bytes;
        if held.bytes > self.bytes_most {
            held.make_room(self.bytes_most);
        }
    }

    /// What is held, for tests.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }
}

impl Held {
    /// Down to three quarters of the bound, so that it is not done for every column.
    fn make_room(&mut self, bytes_most: usize) {
        let mut by_age: Vec<(u64, Place)> =
            self.columns.iter().map(|(place, entry)| (entry.used, place.clone())).collect();
        by_age.sort_unstable();
        for (_, place) in by_age {
            if self.bytes <= bytes_most / 4 * 3 {
                return;
            }
            if let Some(entry) = self.columns.remove(&place) {
                self.bytes -= entry.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::Int64Array;

    use super::*;

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let column = |from: i64| -> Column { vec![Arc::new(Int64Array::from_iter_values(from..from + 1000))] };
        let cache = ColumnCache::new(100_000);
        for number in 0..9 {
            cache.put("part", number, "a", column(0));
        }
        assert!(cache.get("part", 0, "a").is_some(), "all have room, and the first is used again");
        for number in 9..15 {
            cache.put("part", number, "a", column(0));
            assert!(cache.bytes() <= 100_000);
        }
        assert!(cache.get("part", 0, "a").is_some());
        assert!(cache.get("part", 1, "a").is_none());
        assert!(cache.get("part", 14, "a").is_some());
        cache.put("part", 20, "a", (0..10).flat_map(|_| column(0)).collect());
        assert!(cache.get("part", 20, "a").is_none(), "more than half of all is not kept");
        let before = cache.bytes();
        cache.put("part", 14, "a", column(7));
        assert_eq!(cache.bytes(), before, "a column takes its own place");
    }
}
