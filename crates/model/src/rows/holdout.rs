//! Which records no version of any model ever trains on: a published function of (seed, partition, offset), so that any
//! engine can repeat it. In Spark SQL the same records are those with
//!
//! ```sql
//! shiftrightunsigned(xxhash64(CAST(0 AS BIGINT), CAST(_partition AS BIGINT), CAST(_offset AS BIGINT)), 11)
//!   / 9007199254740992D < share
//! ```
//!
//! Spark's `xxhash64` chains XXH64 (Collet 2012) over its arguments: the hash so far, 42 at first, seeds the hash of the
//! next argument, a long being its 8 bytes, little-endian.

use millstream_untrusted::model::Holdout;
use xxhash_rust::xxh64::xxh64;

/// The seed of every pipeline so far; `model.json` keeps it.
pub const SEED: i64 = 0;

/// Spark's.
const HASH_SEED: u64 = 42;
/// The hash's upper 53 bits are a double's worth.
const UNIT_BITS: u32 = 53;

/// Spark's `xxhash64(seed, partition, offset)`, all three as BIGINT.
pub fn hash(seed: i64, partition: i64, offset: i64) -> u64 {
    chain(chain(chain(HASH_SEED, seed), partition), offset)
}

/// Whether no version may train on the record.
pub fn is_held_out(holdout: Holdout, partition: i64, offset: i64) -> bool {
    falls_under(hash(holdout.seed, partition, offset), holdout.share)
}

/// `is_held_out` for runs of records of one partition, whose first two hashes are the same.
#[derive(Debug, Clone, Copy)]
pub struct Sieve {
    share: f64,
    seeded: u64,
    partition: i64,
    partition_hash: u64,
}

impl Sieve {
    pub fn new(holdout: Holdout) -> Self {
        let seeded = chain(HASH_SEED, holdout.seed);
        Self { share: holdout.share, seeded, partition: 0, partition_hash: chain(seeded, 0) }
    }

    pub fn is_held_out(&mut self, partition: i64, offset: i64) -> bool {
        if partition != self.partition {
            (self.partition, self.partition_hash) = (partition, chain(self.seeded, partition));
        }
        falls_under(chain(self.partition_hash, offset), self.share)
    }
}

fn chain(hash: u64, value: i64) -> u64 {
    xxh64(&value.to_le_bytes(), hash)
}

fn falls_under(hash: u64, share: f64) -> bool {
    unit(hash) < share
}

/// A hash as a number from 0 up to, not including, 1.
pub fn unit(hash: u64) -> f64 {
    // Exact: 53 bits fit an f64, and the division by a power of two only moves the exponent.
    (hash >> (64 - UNIT_BITS)) as f64 / (1_u64 << UNIT_BITS) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Apache Spark, sql/catalyst/src/test/java/…/XXH64Suite.java, testKnownLongInputs.
    #[test]
    fn a_long_is_hashed_as_spark_hashes_it() {
        let long = i64::from_le_bytes(0xDD2F_535E_4B1F_FF9E_u64.to_le_bytes());
        assert_eq!(chain(0, long), 0xF74C_B145_1B32_B8CF);
        assert_eq!(chain(2_654_435_761, long), 0x9C44_B77F_BCC3_02C5);
    }

    // From an implementation of our own in Python that also gives the values above. Frozen: a change would mix held-out records into training.
    #[test]
    fn the_hash_of_a_record_never_changes() {
        let found: Vec<u64> = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 3, 2_330_000), (7, 0, 0)]
            .map(|(seed, partition, offset)| hash(seed, partition, offset))
            .to_vec();
        assert_eq!(found, FROZEN);
    }
    const FROZEN: [u64; 5] = [
        0x216B_6241_46C2_76FD,
        0x9EBE_76AE_5117_B1B1,
        0xFE69_B086_D02A_8832,
        0x924D_35FE_A835_02BF,
        0xDFCF_5CA1_FD0B_61D9,
    ];

    #[test]
    fn the_share_of_held_out_records_is_the_share_asked_for() {
        let holdout = Holdout { share: 0.1, seed: SEED };
        let held_out = (0..100_000).filter(|&offset| is_held_out(holdout, 0, offset)).count();
        assert!((9_700..10_300).contains(&held_out), "{held_out}");
        assert!((0..1000).all(|offset| !is_held_out(Holdout { share: 0.0, seed: SEED }, 0, offset)));
    }

    proptest! {
        #[test]
        fn a_sieve_decides_record_by_record(share in 0.0..1.0_f64, records in prop::collection::vec((0..4_i64, 0..i64::MAX), 1..50)) {
            let holdout = Holdout { share, seed: SEED };
            let mut sieve = Sieve::new(holdout);
            for (partition, offset) in records {
                prop_assert_eq!(sieve.is_held_out(partition, offset), is_held_out(holdout, partition, offset));
            }
        }
    }
}
