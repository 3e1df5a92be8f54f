//! When the next row is due. Pure: the clock and the seed come in as arguments.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::source::Pace;

pub struct Pacer {
    pace: Pace,
    rng: ChaCha8Rng,
    rows: u64,
    due: Duration,
    /// Of the replay by event time: when its first row with a time was sent, that time, and the latest one so far.
    clock: Option<EventClock>,
}

#[derive(Clone, Copy)]
struct EventClock {
    started: Duration,
    first_ms: i64,
    latest_ms: i64,
}

impl Pacer {
    pub fn new(pace: &Pace, seed: u64) -> Self {
        Self { pace: pace.clone(), rng: ChaCha8Rng::seed_from_u64(seed), rows: 0, due: Duration::ZERO, clock: None }
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
            // Only `next_event` knows the row's time.
            Pace::Speed(_) => return now,
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

    /// As `next`, for a pace that goes by event time: a row is due as long after the first as it happened after it, divided by the
    /// factor. The first one is due at once; so is one without a time, or with a time that others had reached. A late caller
    /// catches up. Every other pace is that of `next`.
    pub fn next_event(&mut self, now: Duration, event_time_ms: Option<i64>) -> Duration {
        let Pace::Speed(factor) = self.pace else { return self.next(now) };
        let Some(time_ms) = event_time_ms else { return now };
        let Some(clock) = &mut self.clock else {
            self.clock = Some(EventClock { started: now, first_ms: time_ms, latest_ms: time_ms });
            return now;
        };
        if time_ms <= clock.latest_ms {
            return now;
        }
        clock.latest_ms = time_ms;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a span in milliseconds stays far below 2^53, or is absurd anyway"
        )]
        let since_s = clock.first_ms.abs_diff(time_ms) as f64 / 1e3 / factor;
        let since = Duration::try_from_secs_f64(since_s).unwrap_or(Duration::MAX);
        clock.started.saturating_add(since)
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

    #[test]
    fn event_time_goes_so_many_times_faster() {
        let mut pacer = Pacer::new(&Pace::Speed(60.0), 1);
        let ms = Duration::from_millis;
        let mut due = |now: u64, time_s: Option<i64>| pacer.next_event(ms(now), time_s.map(|time| time * 1000));
        assert_eq!(due(500, None), ms(500), "without a time, at once");
        assert_eq!(due(1000, Some(1_700_000_000)), ms(1000), "the first, at once");
        assert_eq!(due(1000, Some(1_700_000_060)), ms(2000), "a minute is a second");
        assert_eq!(due(2000, Some(1_700_000_030)), ms(2000), "out of order, at once");
        assert_eq!(due(2000, None), ms(2000));
        assert_eq!(due(9000, Some(1_700_000_120)), ms(3000), "a late caller catches up");
        assert_eq!(due(9000, Some(1_700_000_900)), ms(16_000), "and is then in step again");
        assert!(due(9000, Some(i64::MAX / 1000)) > ms(1 << 40));
        let mut never = Pacer::new(&Pace::Speed(1e-300), 1);
        assert_eq!(never.next_event(ms(0), Some(0)), ms(0));
        assert_eq!(never.next_event(ms(0), Some(1)), Duration::MAX);
        let mut fixed = Pacer::new(&Pace::Fixed(ms(5)), 1);
        assert_eq!([fixed.next_event(ms(0), Some(0)), fixed.next_event(ms(0), Some(9))], [ms(0), ms(5)]);
    }
}
