//! How long a peer may keep us waiting: what it has is used up while we wait, and given back by the bytes that move. So a pause is
//! bounded, and so is a trickle, without a timer for each byte.

use std::time::Duration;

#[derive(Debug)]
pub struct Patience {
    left: Duration,
    most: Duration,
    bytes_per_second: u32,
}

impl Patience {
    /// `most`: for a peer that moves nothing; slower than `bytes_per_second` it is used up sooner or later.
    pub fn new(most: Duration, bytes_per_second: u32) -> Self {
        Self { left: most, most, bytes_per_second }
    }

    pub fn left(&self) -> Duration {
        self.left
    }

    pub fn waited(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }

    pub fn moved(&mut self, bytes: usize) {
        if self.left < self.most {
            let earned = Duration::from_secs_f64(bytes as f64 / f64::from(self.bytes_per_second));
            self.left = (self.left + earned).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_uses_it_up_and_a_fair_speed_never_does() {
        let check = |bytes: usize, seconds: usize| {
            let mut patience = Patience::new(Duration::from_secs(10), 1000);
            for second in 0..seconds {
                if patience.left() < Duration::from_secs(1) {
                    return Some(second);
                }
                patience.waited(Duration::from_secs(1));
                patience.moved(bytes);
            }
            None
        };
        assert_eq!(check(0, 100), Some(10));
        assert_eq!(check(1, 100), Some(10));
        assert!(check(900, 1000).is_some_and(|second| second > 80));
        assert_eq!(check(1000, 1000), None);
    }
}
