//! Which alias answers whom, where a share of the requests that name no version is answered by another one: a published function of the
//! model, the alias and who asks, so that anybody can say who is answered by what. In Python
//!
//! ```python
//! lot = (xxhash.xxh64_intdigest(f"{model}/{alias}/{key}".encode()) >> 11) / 2**53
//! ```
//!
//! The aliases take their turns in the order of their names. Each takes the request if its lot is below the alias's share of what those
//! before it leave, so that every alias has its share of all, and who is answered by one that grows stays with it.

use std::collections::BTreeMap;

use xxhash_rust::xxh64::Xxh64;

use crate::rows::holdout::unit;

/// From 0 up to, not including, 1.
pub fn lot(model: &str, alias: &str, key: &[u8]) -> f64 {
    let mut hash = Xxh64::new(0);
    for part in [model.as_bytes(), b"/", alias.as_bytes(), b"/", key] {
        hash.update(part);
    }
    unit(hash.digest())
}

/// The alias that answers; `None`: whatever answers all others. `shares`: by alias, together at most 1.
pub fn drawn<'a>(model: &str, shares: &'a BTreeMap<String, f64>, key: &[u8]) -> Option<&'a str> {
    let mut left = 1.0;
    for (alias, share) in shares {
        if lot(model, alias, key) * left < *share {
            return Some(alias);
        }
        left -= share;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(all: &[(&str, f64)]) -> BTreeMap<String, f64> {
        all.iter().map(|(alias, share)| ((*alias).to_owned(), *share)).collect()
    }

    // From the Python above, with the package xxhash 4. Frozen: a change would give users other versions.
    #[test]
    fn the_lot_is_the_published_one() {
        let check = |model, alias, key: &str, expected: u64| {
            assert_eq!(lot(model, alias, key.as_bytes()), expected as f64 / (1_u64 << 53) as f64);
        };
        check("taste", "challenger", "7", 4_875_474_661_466_081);
        check("taste", "challenger", "42", 974_450_286_969_870);
        check("taste", "next", "7", 3_038_881_430_671_295);
        check("close", "challenger", "é", 193_034_548_988_012);
    }

    #[test]
    fn each_alias_has_its_share_of_all_keys() {
        let check = |all: &[(&str, f64)]| {
            let (shares, n_keys) = (shares(all), 20_000_u32);
            let mut counts: BTreeMap<Option<&str>, u32> = BTreeMap::new();
            for key in 0..n_keys {
                *counts.entry(drawn("taste", &shares, key.to_string().as_bytes())).or_default() += 1;
            }
            for (alias, share) in all {
                let found = f64::from(counts.get(&Some(*alias)).copied().unwrap_or(0));
                let (mean, n) = (share * f64::from(n_keys), f64::from(n_keys));
                // Five standard deviations of a binomial: one in millions.
                assert!((found - mean).abs() <= 5.0 * (n * share * (1.0 - share)).sqrt(), "{alias}: {found} of {mean}");
            }
        };
        check(&[("challenger", 0.1)]);
        check(&[("a", 0.5), ("b", 0.3), ("c", 0.2)]);
        check(&[("a", 0.0), ("b", 1.0)]);
        check(&[("a", 0.01), ("latest", 0.6)]);
    }

    proptest! {
        #[test]
        fn who_is_answered_by_an_alias_stays_with_it_as_its_share_grows(key: Vec<u8>, share in 0.0..1.0_f64, more in 0.0..1.0_f64) {
            let (share, grown) = (shares(&[("a", share)]), shares(&[("a", (share + more).min(1.0))]));
            if drawn("m", &share, &key).is_some() {
                prop_assert_eq!(drawn("m", &grown, &key), Some("a"));
            }
            let (all, none) = (shares(&[("a", 1.0)]), BTreeMap::new());
            prop_assert_eq!(drawn("m", &all, &key), Some("a"));
            prop_assert_eq!(drawn("m", &none, &key), None);
        }
    }
}
