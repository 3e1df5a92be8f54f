//! Codes of words, as [`Ids`] gives them, with one memory access for nearly every word: words come again and again.

use crate::ids::{Id, Ids};

/// 512 KiB, which stays near the processor.
const SLOTS: usize = 1 << 15;

/// The longest word, in bytes, that a slot can hold.
const SLOT_BYTES: usize = 11;

/// Interns words. The newest short word of each slot is found without a look at the ids.
pub(super) struct Lexicon {
    ids: Ids,
    /// Four bytes of a code, eleven of a word and its length. A free one has length 0.
    slots: Vec<u128>,
}

impl Lexicon {
    pub(super) fn new() -> Lexicon {
        Lexicon { ids: Ids::texts(), slots: vec![0; SLOTS] }
    }

    pub(super) fn intern(&mut self, word: &str) -> u32 {
        if word.len() > SLOT_BYTES || word.is_empty() {
            return self.ids.intern(Id::Text(word));
        }
        let mut bytes = [0; 16];
        bytes[4..4 + word.len()].copy_from_slice(word.as_bytes());
        bytes[15] = u8::try_from(word.len()).unwrap_or(u8::MAX);
        let key = u128::from_le_bytes(bytes);
        let slot = &mut self.slots[slot_of(key)];
        if *slot >> 32 == key >> 32 {
            return code_of(*slot);
        }
        let code = self.ids.intern(Id::Text(word));
        *slot = key | u128::from(code);
        code
    }

    pub(super) fn into_ids(self) -> Ids {
        self.ids
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a word are mixed, of which the top bits are used")]
fn slot_of(key: u128) -> usize {
    let mixed = (key as u64 ^ ((key >> 64) as u64).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (u64::BITS - SLOTS.trailing_zeros())) as usize
}

#[expect(clippy::cast_possible_truncation, reason = "the code is the low half")]
fn code_of(slot: u128) -> u32 {
    slot as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn codes_are_those_of_ids(words in prop::collection::vec("[abé\0]{0,14}", 0..300)) {
            let mut ids = Ids::texts();
            let mut lexicon = Lexicon::new();
            for word in &words {
                prop_assert_eq!(lexicon.intern(word), ids.intern(Id::Text(word)));
            }
            prop_assert_eq!(lexicon.into_ids(), ids);
        }
    }

    #[test]
    fn words_that_share_a_slot_keep_their_codes() {
        let words: Vec<String> = (0..100_000).map(|number| format!("w{number}")).collect();
        let mut lexicon = Lexicon::new();
        for _ in 0..2 {
            for (code, word) in (0u32..).zip(&words) {
                assert_eq!(lexicon.intern(word), code);
            }
        }
    }
}
