//! A hash table of codes, whose ids lie outside it in the order of their codes.

use std::hash::{BuildHasher, RandomState};

use super::Texts;
use crate::arrays::damaged;
use crate::error::LoadError;
use crate::numeric::index_u32;

/// Open addressing with linear probes. Under three quarters of the slots are taken: fewer
/// would be found sooner, were the table not soon larger than the caches.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    /// A power of two. Each holds the upper half of an id's hash, then its code.
    slots: Vec<u64>,
    taken: usize,
    keys: [u64; 2],
}

/// A free slot; so no code is `u32::MAX`.
const FREE: u64 = u64::MAX;

/// Where an unknown id goes, and its hash.
pub(super) struct Free {
    at: usize,
    hash: u64,
}

impl Slots {
    pub(super) fn new() -> Slots {
        Slots::with_room(8)
    }

    fn with_room(n_ids: usize) -> Slots {
        let random = RandomState::new();
        // An odd multiplier loses no bit.
        let keys = [random.hash_one(0u8), random.hash_one(1u8) | 1];
        Slots { slots: vec![FREE; (n_ids / 3 * 4 + 4).next_power_of_two().max(16)], taken: 0, keys }
    }

    /// Room for the ids of a file, unless they are too many to have codes.
    pub(super) fn for_ids(name: &str, n_ids: usize) -> Result<Slots, LoadError> {
        match u32::try_from(n_ids) {
            Ok(n) if n < u32::MAX => Ok(Slots::with_room(n_ids)),
            Ok(_) | Err(_) => Err(damaged(name, format!("{n_ids} ids are more than codes of 32 bits can tell apart"))),
        }
    }

    pub(super) fn intern_integer(&mut self, known: &mut Vec<i64>, integer: i64) -> u32 {
        match self.find_integer(known, integer) {
            Ok(code) => code,
            Err(free) => {
                let code = index_u32(known.len());
                known.push(integer);
                self.fill(free, code);
                self.grow_if_full(|keys, code| hash_integer(keys, known[code as usize]));
                code
            }
        }
    }

    pub(super) fn intern_text(&mut self, known: &mut Texts, text: &str) -> u32 {
        match self.find_text(known, text) {
            Ok(code) => code,
            Err(free) => {
                let code = index_u32(known.len());
                known.push(text);
                self.fill(free, code);
                self.grow_if_full(|keys, code| hash_text(keys, known.get(code).unwrap_or_default()));
                code
            }
        }
    }

    pub(super) fn find_integer(&self, known: &[i64], integer: i64) -> Result<u32, Free> {
        self.find(hash_integer(&self.keys, integer), |code| known[code as usize] == integer)
    }

    pub(super) fn find_text(&self, known: &Texts, text: &str) -> Result<u32, Free> {
        self.find(hash_text(&self.keys, text), |code| known.get(code) == Some(text))
    }

    /// The code of the id with that hash for which `is` holds, or where it would go.
    #[inline]
    fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Result<u32, Free> {
        let mask = self.slots.len() - 1;
        let mut at = start_of(hash) & mask;
        loop {
            let slot = self.slots[at];
            if slot == FREE {
                return Err(Free { at, hash });
            }
            if slot >> 32 == hash >> 32 && is(code_of(slot)) {
                return Ok(code_of(slot));
            }
            at = (at + 1) & mask;
        }
    }

    pub(super) fn fill(&mut self, free: Free, code: u32) {
        self.slots[free.at] = (free.hash >> 32) << 32 | u64::from(code);
        self.taken += 1;
    }

    /// The most taken slots side by side: more than any look-up goes through.
    #[cfg(test)]
    pub(super) fn longest_run(&self) -> usize {
        let longest = self.slots.chunk_by(|_, next| *next != FREE).map(<[u64]>::len).max();
        longest.unwrap_or(0)
    }

    fn grow_if_full(&mut self, hash: impl Fn(&[u64; 2], u32) -> u64) {
        if self.taken < self.slots.len() / 4 * 3 {
            return;
        }
        let mask = self.slots.len() * 2 - 1;
        let old = std::mem::replace(&mut self.slots, vec![FREE; mask + 1]);
        for slot in old.into_iter().filter(|slot| *slot != FREE) {
            let mut at = start_of(hash(&self.keys, code_of(slot))) & mask;
            while self.slots[at] != FREE {
                at = (at + 1) & mask;
            }
            self.slots[at] = slot;
        }
    }
}

#[allow(clippy::cast_possible_truncation)]
fn start_of(hash: u64) -> usize {
    hash as usize
}

#[allow(clippy::cast_possible_truncation)]
fn code_of(slot: u64) -> u32 {
    slot as u32
}

fn hash_integer(keys: &[u64; 2], integer: i64) -> u64 {
    spread(folded_product(integer.cast_unsigned() ^ keys[0], keys[1]))
}

fn hash_text(keys: &[u64; 2], text: &str) -> u64 {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let mut hash = keys[0] ^ text.len() as u64;
    for word in words {
        hash = folded_product(hash ^ u64::from_le_bytes(*word), keys[1]);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    spread(folded_product(hash ^ u64::from_le_bytes(last), keys[1]))
}

/// One product alone keeps even steps even: with one key in a hundred ids that count up lay in runs of thousands.
fn spread(hash: u64) -> u64 {
    // Of the golden ratio, and of the square root of 2.
    folded_product(hash ^ 0x9e37_79b9_7f4a_7c15, 0x6a09_e667_f3bc_c909)
}

/// Both halves of the product, xored: every bit of both numbers reaches every part of it.
fn folded_product(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    #[allow(clippy::cast_possible_truncation)]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}
