//! How many requests a second: of a key, and of each address from which others ask. Pure: the clock comes in as an argument.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Of the last second; those who asked for nothing since are forgotten. 1 MiB.
const ADDRESSES_MOST: usize = 10_000;
/// Forgetting walks through all of them.
const FORGET_EVERY: Duration = Duration::from_millis(100);

/// So many requests are left; a second brings as many as there are at most.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    pub fn full(rate: NonZeroU32, now: Instant) -> Self {
        Self { left: f64::from(rate.get()), at: now }
    }

    pub fn takes(&mut self, rate: NonZeroU32, now: Instant) -> bool {
        let rate = f64::from(rate.get());
        self.left = (self.left + now.saturating_duration_since(self.at).as_secs_f64() * rate).min(rate);
        self.at = now;
        let is_taken = self.left >= 1.0;
        if is_taken {
            self.left -= 1.0;
        }
        is_taken
    }
}

/// The same of everybody's address.
pub struct AddressRates {
    rate: NonZeroU32,
    table: Mutex<AddressTable>,
}

struct AddressTable {
    buckets: BTreeMap<IpAddr, Bucket>,
    forgot: Instant,
    /// Of all addresses for which there is no room.
    others: Bucket,
}

impl AddressRates {
    pub fn new(rate: NonZeroU32, now: Instant) -> Self {
        let table = AddressTable { buckets: BTreeMap::new(), forgot: now, others: Bucket::full(rate, now) };
        Self { rate, table: Mutex::new(table) }
    }

    pub fn takes(&self, address: IpAddr, now: Instant) -> bool {
        let address = network(address);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let table = &mut *table;
        if table.buckets.len() >= ADDRESSES_MOST && now.saturating_duration_since(table.forgot) >= FORGET_EVERY {
            // After a second a bucket is full again, as a new one is.
            table.buckets.retain(|_, bucket| now.saturating_duration_since(bucket.at) < Duration::from_secs(1));
            table.forgot = now;
        }
        let has_room = table.buckets.len() < ADDRESSES_MOST;
        let bucket = match table.buckets.get_mut(&address) {
            Some(bucket) => bucket,
            None if has_room => table.buckets.entry(address).or_insert_with(|| Bucket::full(self.rate, now)),
            None => &mut table.others,
        };
        bucket.takes(self.rate, now)
    }
}

/// Whoever has an IPv6 address has the 2⁶⁴ beside it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(rate: u32) -> NonZeroU32 {
        NonZeroU32::new(rate).unwrap()
    }

    proptest::proptest! {
        /// Whenever they come: of any span of time at most its seconds and one more.
        #[test]
        fn no_second_brings_more_than_two_rates(waits in proptest::collection::vec(0_u64..400, 1..200), per_second in 1_u32..20) {
            let mut now = Instant::now();
            let mut bucket = Bucket::full(rate(per_second), now);
            let mut taken = Vec::new();
            for wait in waits {
                now += Duration::from_millis(wait);
                if bucket.takes(rate(per_second), now) {
                    taken.push(now);
                }
            }
            for (index, first) in taken.iter().enumerate() {
                let n_within = taken[index..].iter().filter(|at| at.duration_since(*first) < Duration::from_secs(1)).count();
                proptest::prop_assert!(n_within <= 2 * per_second as usize);
            }
        }
    }

    #[test]
    fn each_address_has_its_own_and_the_table_has_a_bound() {
        let now = Instant::now();
        let rates = AddressRates::new(rate(2), now);
        let taken = |address: &str, now| rates.takes(address.parse().unwrap(), now);
        assert_eq!([(); 3].map(|()| taken("10.0.0.1", now)), [true, true, false]);
        assert!(taken("10.0.0.2", now) && taken("::ffff:10.0.0.2", now) && !taken("10.0.0.2", now));
        assert!(taken("2001:db8::1", now) && taken("2001:db8::2", now) && !taken("2001:db8::ffff:3", now));
        assert!(taken("2001:db8:0:1::1", now));
        for number in 0..2 * ADDRESSES_MOST {
            rates.takes(Ipv6Addr::from_bits(u128::try_from(number).unwrap() << 64).into(), now);
        }
        let kept = || rates.table.lock().unwrap().buckets.len();
        assert_eq!(kept(), ADDRESSES_MOST);
        assert!(!taken("10.0.0.1", now) && !taken("10.0.9.9", now), "those without room share one");
        let later = now + Duration::from_secs(2);
        assert!(taken("10.0.9.9", later) && taken("10.0.9.9", later) && !taken("10.0.9.9", later));
        assert_eq!(kept(), 1, "who is silent is forgotten");
    }
}
