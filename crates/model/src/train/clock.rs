//! When models are trained where `train.every` sets the pace. Pure: the time is an argument.

use std::time::Duration;

/// How long until the next training may begin: zero where none has begun, else `every` after the newest one did. Milliseconds since the
/// epoch; a clock that was set back since waits no longer than `every`.
pub(super) fn wait(every: Duration, begun_ms: Option<u64>, now_ms: u64) -> Duration {
    let elapsed = begun_ms.map_or(every, |begun_ms| Duration::from_millis(now_ms.saturating_sub(begun_ms)));
    every.saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_begins_at_once_and_then_every_so_often() {
        let check = |begun_ms, now_ms, expected_ms| {
            let found = wait(Duration::from_secs(300), begun_ms, now_ms);
            assert_eq!(found, Duration::from_millis(expected_ms), "{begun_ms:?} at {now_ms}");
        };
        check(None, 5, 0);
        check(Some(1_000), 1_000, 300_000);
        check(Some(1_000), 200_000, 101_000);
        check(Some(1_000), 301_000, 0);
        check(Some(1_000), 9_000_000, 0);
        // The clock was set back.
        check(Some(9_000_000), 1_000, 300_000);
    }
}
