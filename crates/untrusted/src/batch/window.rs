//! Windows of time: where they begin and end. Pure.
//!
//! Windows are counted from the stream's first record on, one after the other; one without a record makes no batch, and the next
//! batch's window is the one that holds its first record.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// Milliseconds since the epoch; the end is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub start_ms: i64,
    pub end_ms: i64,
}

impl Window {
    /// The window that holds `time_ms`, counted on from `last`; the first one begins at `time_ms`. A time before the end of `last` is
    /// late: it belongs to the window right after it.
    pub fn holding(time_ms: i64, last: Option<Self>, length_ms: NonZeroU64) -> Self {
        // Longer than time is, it never ends.
        let length = length_ms.get();
        let start_ms = match last {
            None => time_ms,
            Some(last) => {
                let after = time_ms.saturating_sub(last.end_ms).max(0).unsigned_abs();
                last.end_ms.saturating_add_unsigned(after / length * length)
            }
        };
        Self { start_ms, end_ms: start_ms.saturating_add_unsigned(length) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(time: i64, last: Option<(i64, i64)>, expected: (i64, i64)) {
        let last = last.map(|(start_ms, end_ms)| Window { start_ms, end_ms });
        let window = Window::holding(time, last, NonZeroU64::new(10).unwrap());
        assert_eq!((window.start_ms, window.end_ms), expected);
    }

    #[test]
    fn windows_count_from_the_first_record_and_empty_ones_are_passed_over() {
        check(7, None, (7, 17));
        check(17, Some((7, 17)), (17, 27));
        check(26, Some((7, 17)), (17, 27));
        check(48, Some((7, 17)), (47, 57));
    }

    #[test]
    fn a_late_record_belongs_to_the_window_after_the_last() {
        check(3, Some((7, 17)), (17, 27));
    }

    #[test]
    fn a_window_that_is_longer_than_time_never_ends() {
        for length in [u64::MAX, 1 << 63, i64::MAX.unsigned_abs()] {
            let window = Window::holding(7, None, NonZeroU64::new(length).unwrap());
            assert_eq!((window.start_ms, window.end_ms), (7, i64::MAX));
        }
    }

    proptest! {
        #[test]
        fn every_time_has_its_window(time: i64, start in -1_000_000i64..1_000_000, length in 1u64..1_000_000) {
            let length = NonZeroU64::new(length).unwrap();
            let last = Window::holding(start, None, length);
            let window = Window::holding(time, Some(last), length);
            prop_assert!(window.start_ms >= last.end_ms);
            if time >= last.end_ms && window.end_ms < i64::MAX {
                prop_assert!(window.start_ms <= time && time < window.end_ms);
            }
        }
    }
}
