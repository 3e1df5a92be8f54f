//! The time of day, by which records and positions grow old.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970; 0 with a clock before that, when nothing is old.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
