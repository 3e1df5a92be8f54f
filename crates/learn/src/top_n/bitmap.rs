//! A set of items as one bit each.

/// Items are counted from 0. What is beyond the length is not in the set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

impl Bitmap {
    /// The empty set over `len` items.
    pub fn new(len: usize) -> Bitmap {
        Bitmap { words: vec![0; len.div_ceil(64)], len }
    }

    /// The items of 0 .. `len` for which `holds` is true; it is asked in ascending order.
    pub fn from_fn(len: usize, mut holds: impl FnMut(u32) -> bool) -> Bitmap {
        let mut bitmap = Bitmap::new(len);
        for item in 0..crate::numeric::index_u32(len) {
            if holds(item) {
                bitmap.set(item);
            }
        }
        bitmap
    }

    /// Puts `item` in; an item beyond the length makes the set longer.
    pub fn set(&mut self, item: u32) {
        let at = item as usize;
        if at >= self.len {
            self.len = at + 1;
            self.words.resize(self.len.div_ceil(64), 0);
        }
        self.words[at / 64] |= 1 << (at % 64);
    }

    pub fn contains(&self, item: u32) -> bool {
        self.words.get(item as usize / 64).is_some_and(|word| word >> (item % 64) & 1 == 1)
    }

    /// How many items are in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many items the set is over, in it or not.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the set is over no items at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts in every item of `other`.
    pub fn union(&mut self, other: &Bitmap) {
        if other.len > self.len {
            self.len = other.len;
            self.words.resize(other.words.len(), 0);
        }
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// The items in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().zip(0u32..).flat_map(|(&word, at)| Bits(word).map(move |bit| at * 64 + bit))
    }
}

/// The positions of the ones of a word, ascending.
pub(super) struct Bits(pub(super) u64);

impl Iterator for Bits {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (bit < 64).then_some(bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bitmap_is_a_set(len in 0usize..200, items in proptest::collection::btree_set(0u32..300, 0..40)) {
            let mut bitmap = Bitmap::new(len);
            items.iter().for_each(|&item| bitmap.set(item));
            let grown = items.last().map_or(0, |&item| item as usize + 1).max(len);
            prop_assert_eq!(bitmap.len(), grown);
            prop_assert_eq!(bitmap.count(), items.len());
            prop_assert!(bitmap.iter().eq(items.iter().copied()));
            prop_assert!((0..400).all(|item| bitmap.contains(item) == items.contains(&item)));
            prop_assert_eq!(&Bitmap::from_fn(grown, |item| items.contains(&item)), &bitmap);
            let mut union = Bitmap::new(0);
            union.union(&bitmap);
            prop_assert_eq!(union, bitmap);
        }
    }

    #[test]
    fn an_empty_bitmap_holds_nothing() {
        let empty = Bitmap::default();
        assert!(empty.is_empty() && empty.count() == 0 && !empty.contains(0) && !empty.contains(u32::MAX));
    }
}
