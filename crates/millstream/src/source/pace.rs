//! When the next row is due. Pure: the clock and the seed come in as arguments.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::config::Pace;

pub struct Pacer {
    pace: Pace,
    rng: ChaCha8Rng,
    rows: u64,
    due: Duration,
}

impl Pacer {
    pub fn new(pace: &Pace, seed: u64) -> Self {
        Self { pace: pace.clone(), rng: ChaCha8Rng::seed_from_u64(seed), rows: 0, due: Duration::ZERO }
    }

    /// When the next row is due, since the first call's start. A late caller catches up under `rate`, and is given its
    /// pause under a delay.
    pub fn next(&mut self, now: Duration) -> Duration {
        let pause = match self.pace {
            Pace::FullSpeed => return now,
            Pace::Rate(rate) => {
                #[expect(clippy::cast_precision_loss, reason = "rows stay far below 2^53")]
                let due = Duration::try_from_secs_f64(self.rows as f64 / rate).unwrap_or(Duration::MAX);
                self.rows += 1;
                return due;
            }
            Pace::Fixed(pause) => pause,
            Pace::Uniform { low, high } => low + (high - low).mul_f64(self.rng.random::<f64>()),
        };
        // The first row waits for nobody.
        if self.rows > 0 {
            self.due = now.max(self.due) + pause;
        }
        self.rows += 1;
        self.due
    }

    pub fn is_full_speed(&self) -> bool {
        self.pace == Pace::FullSpeed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(pace: Pace, nows: &[u64]) -> Vec<u64> {
        let mut pacer = Pacer::new(&pace, 1);
        nows.iter().map(|now| u64::try_from(pacer.next(Duration::from_millis(*now)).as_millis()).unwrap()).collect()
    }

    #[test]
    fn each_pace_keeps_its_promise() {
        assert_eq!(due(Pace::FullSpeed, &[0, 3, 9]), [0, 3, 9]);
        assert_eq!(due(Pace::Rate(100.0), &[0, 0, 500]), [0, 10, 20]);
        let mut never = Pacer::new(&Pace::Rate(1e-300), 1);
        assert_eq!([never.next(Duration::ZERO), never.next(Duration::ZERO)], [Duration::ZERO, Duration::MAX]);
        assert_eq!(due(Pace::Fixed(Duration::from_millis(5)), &[0, 0, 5]), [0, 5, 10]);
        let pace = Pace::Uniform { low: Duration::from_millis(2), high: Duration::from_millis(4) };
        let delays = due(pace.clone(), &[0; 50]);
        assert_eq!(delays, due(pace, &[0; 50]));
        assert!(delays.windows(2).all(|pair| (2..=5).contains(&(pair[1] - pair[0]))), "{delays:?}");
    }
}
