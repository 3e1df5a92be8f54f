//! The n best of a sequence of scored items, whatever its order.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::Scored;

/// Ordered so that the worst is the greatest, which a heap has on top. Scores are never NaN, and zeros are positive.
struct Worst(Scored);

impl Ord for Worst {
    fn cmp(&self, other: &Worst) -> Ordering {
        other.0.score.total_cmp(&self.0.score).then(self.0.item.cmp(&other.0.item))
    }
}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Worst) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Worst {
    fn eq(&self, other: &Worst) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Worst {}

/// Holds `n` items at most.
pub(crate) struct Best {
    n: usize,
    heap: BinaryHeap<Worst>,
}

impl Best {
    pub(crate) fn new(n: usize) -> Best {
        Best { n, heap: BinaryHeap::with_capacity(n) }
    }

    /// Takes the item if it is among the n best so far; never one without a score.
    pub(crate) fn push(&mut self, item: u32, score: f32) {
        if score.is_nan() {
            return;
        }
        // −0 and +0 are equal scores, and must tie.
        let new = Worst(Scored { item, score: score + 0.0 });
        if self.heap.len() < self.n {
            self.heap.push(new);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && new < *worst
        {
            *worst = new;
        }
    }

    /// The score that a new item must reach, for some items, to be taken; `None` while any is.
    pub(crate) fn floor(&self) -> Option<f32> {
        if self.heap.len() < self.n { None } else { self.heap.peek().map(|worst| worst.0.score) }
    }

    /// Best first.
    pub(crate) fn into_sorted(self) -> Vec<Scored> {
        self.heap.into_sorted_vec().into_iter().map(|worst| worst.0).collect()
    }
}
