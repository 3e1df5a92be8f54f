//! A place to split a feature at.

use super::bins::MISSING_BIN;

/// Bins of a feature, with that for missing.
pub(crate) const N_BINS: usize = 256;

/// A place to split a feature at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cut {
    /// Comparable within one node.
    pub(crate) gain: f64,
    /// Bins up to this one, without that for missing, go left.
    pub(crate) bin: u8,
    pub(crate) missing_left: bool,
}

impl Cut {
    pub(crate) fn goes_left(self, bin: u8) -> bool {
        if bin == MISSING_BIN { self.missing_left } else { bin <= self.bin }
    }

    /// For each bin whether it goes right.
    pub(crate) fn goes_right(self) -> [bool; N_BINS] {
        let mut goes_right = [false; N_BINS];
        for (bin, right) in (0..=u8::MAX).zip(&mut goes_right) {
            *right = !self.goes_left(bin);
        }
        goes_right
    }
}

/// Missing values, where the node has seen none, go with the greater part of it. `weight`: of the node, `left`: of what
/// the cut sends left.
pub(crate) fn when_none_missing(cut: Cut, missing: i64, weight: i64, left: impl FnOnce() -> i64) -> Cut {
    if missing > 0 { cut } else { Cut { missing_left: 2 * left() >= weight, ..cut } }
}
