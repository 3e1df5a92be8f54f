//! When models are trained where `train.every` sets the pace. Pure: the time is an argument.

use std::time::Duration;

/// How long until the next training may begin: zero where none has begun, else `every` after the newest one did. Milliseconds since the
/// epoch. What began in the future, by a clock that is ahead or was set back since, holds nothing up.
pub(super) fn wait(every: Duration, begun_ms: impl IntoIterator<Item = u64>, now_ms: u64) -> Duration {
    let elapsed = begun_ms.into_iter().filter_map(|begun_ms| now_ms.checked_sub(begun_ms)).min();
    elapsed.map_or(Duration::ZERO, |elapsed_ms| every.saturating_sub(Duration::from_millis(elapsed_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_begins_at_once_and_then_every_so_often() {
        let check = |begun_ms: &[u64], now_ms, expected_ms| {
            let found = wait(Duration::from_secs(300), begun_ms.iter().copied(), now_ms);
            assert_eq!(found, Duration::from_millis(expected_ms), "{begun_ms:?} at {now_ms}");
        };
        check(&[], 5, 0);
        check(&[1_000], 1_000, 300_000);
        check(&[1_000], 200_000, 101_000);
        check(&[1_000], 301_000, 0);
        check(&[1_000], 9_000_000, 0);
        check(&[201_000, 1_000], 301_000, 200_000);
        // By a clock that is ahead, or was set back since.
        check(&[9_000_000], 1_000, 0);
        check(&[9_000_000, 1_000], 2_000, 299_000);
    }
}
