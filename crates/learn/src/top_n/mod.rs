//! The n best items for a query vector: exactly the n best by their f32 scores, ties by item.
//!
//! [`top_n_exact`] scores every item. [`TopN`] gives the same list, bit for bit, from an i8 copy of the factors: an
//! item is scored only where the error bound of its approximate score lets it reach the list.

mod best;
mod bitmap;
mod exact;
mod index;
mod kernel;

pub(crate) use best::Best;
pub use bitmap::Bitmap;
pub use exact::top_n_exact;
pub use index::TopN;

/// How an item's factors and the query make a score. The sums are in f64 and the score is their nearest f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Σ xₖ·yₖ.
    InnerProduct,
    /// Σ xₖ·yₖ / (‖x‖·‖y‖); 0 where one of them is all zeros.
    Cosine,
}

/// One item of a list: best first, equal scores by item ascending. A score that is NaN is no score: such an item is
/// in no list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    pub item: u32,
    pub score: f32,
}

/// Which items may be in a list: all of them by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Admit<'a> {
    /// Items left out, ascending.
    pub exclude: &'a [u32],
    /// When given, only the items in it may be in the list.
    pub only: Option<&'a Bitmap>,
}

impl Admit<'_> {
    pub fn admits(&self, item: u32) -> bool {
        self.only.is_none_or(|only| only.contains(item)) && self.exclude.binary_search(&item).is_err()
    }

    /// What is left out when `item` is, too.
    pub fn exclude_also(&self, item: u32) -> Vec<u32> {
        let mut exclude = self.exclude.to_vec();
        if let Err(at) = exclude.binary_search(&item) {
            exclude.insert(at, item);
        }
        exclude
    }

    /// How many of the items 0 .. `n_items` may be in a list. `exclude` holds none beyond them.
    pub fn count(&self, n_items: usize) -> usize {
        match self.only {
            None => n_items.saturating_sub(self.exclude.len()),
            Some(only) => only.count() - self.exclude.iter().filter(|item| only.contains(**item)).count(),
        }
    }
}
