//! Measures of recommended lists against the items their users chose, with binary relevance: an item was chosen or not.

use crate::top_n::Bitmap;

/// Sums over users of the measures at a list length `k`. Users that chose nothing have no measure and are left out.
///
/// Deterministic: the sums are in the order of [`add`](Ranking::add). For several threads give each a fixed range of
/// users and [`merge`](Ranking::merge) them in the order of the ranges.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    k: usize,
    n_items: usize,
    n_users: u64,
    ndcg: f64,
    recall: f64,
    average_precision: f64,
    /// The items in any of the lists.
    listed: Bitmap,
    /// Scratch of `add`: the relevant items, ascending; empty between calls.
    relevant: Vec<u32>,
}

/// The measures of one user's list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ListGains {
    pub ndcg: f64,
    pub recall: f64,
    pub average_precision: f64,
}

impl Ranking {
    /// No users yet. Lists count up to their `k`-th item; there are `n_items` that could be in one.
    pub fn new(k: usize, n_items: usize) -> Ranking {
        Ranking {
            k,
            n_items,
            n_users: 0,
            ndcg: 0.0,
            recall: 0.0,
            average_precision: 0.0,
            listed: Bitmap::new(n_items),
            relevant: Vec::new(),
        }
    }

    /// Adds one user: the list shown, best first and of distinct items, and the items chosen, in any order. Answers what was added.
    pub fn add(&mut self, ranked: &[u32], relevant: &[u32]) -> Option<ListGains> {
        if self.k == 0 || relevant.is_empty() {
            return None;
        }
        self.relevant.extend_from_slice(relevant);
        self.relevant.sort_unstable();
        self.relevant.dedup();
        let n_ideal = self.relevant.len().min(self.k);
        let (mut hits, mut gain, mut precision) = (0usize, 0.0, 0.0);
        for (at, &item) in ranked.iter().take(self.k).enumerate() {
            if (item as usize) < self.n_items {
                self.listed.set(item);
            }
            if self.relevant.binary_search(&item).is_ok() {
                hits += 1;
                gain += discount(at);
                precision += hits as f64 / (at + 1) as f64;
            }
        }
        let gains = ListGains {
            ndcg: gain / (0..n_ideal).map(discount).sum::<f64>(),
            recall: hits as f64 / self.relevant.len() as f64,
            average_precision: precision / n_ideal as f64,
        };
        self.n_users += 1;
        self.ndcg += gains.ndcg;
        self.recall += gains.recall;
        self.average_precision += gains.average_precision;
        self.relevant.clear();
        Some(gains)
    }

    /// Adds the users of `later`, which must be of the same `k` and items.
    pub fn merge(&mut self, later: &Ranking) {
        self.n_users += later.n_users;
        self.ndcg += later.ndcg;
        self.recall += later.recall;
        self.average_precision += later.average_precision;
        self.listed.union(&later.listed);
    }

    /// The users measured: those with at least one relevant item.
    pub fn users(&self) -> u64 {
        self.n_users
    }

    /// Normalised discounted cumulative gain at k, the mean over users: Σ relᵢ / log₂(i + 1) over positions i = 1 … k,
    /// divided by the same sum of the best list possible, which has min(k, relevant) hits in front (Järvelin and
    /// Kekäläinen 2002, with the discount of Burges et al. 2005, as scikit-learn's `ndcg_score`).
    pub fn ndcg(&self) -> Option<f64> {
        self.mean(self.ndcg)
    }

    /// Recall at k, the mean over users: hits in the first k / all relevant items (Herlocker et al. 2004). A user with
    /// more than k relevant items cannot reach 1.
    pub fn recall(&self) -> Option<f64> {
        self.mean(self.recall)
    }

    /// Mean average precision at k: for each user the precision at the position of every hit, summed and divided by
    /// min(k, relevant), so that the best list possible has 1 (Manning, Raghavan and Schütze 2008, § 8.4, cut at k).
    pub fn map(&self) -> Option<f64> {
        self.mean(self.average_precision)
    }

    /// The share of all items that are in the first k of any list: catalogue coverage (Herlocker et al. 2004).
    pub fn coverage(&self) -> Option<f64> {
        (self.n_users > 0 && self.n_items > 0).then(|| self.listed.count() as f64 / self.n_items as f64)
    }

    fn mean(&self, total: f64) -> Option<f64> {
        (self.n_users > 0).then(|| total / self.n_users as f64)
    }
}

/// What a hit counts at a position, from 0.
fn discount(at: usize) -> f64 {
    1.0 / ((at + 2) as f64).log2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(found: Option<f64>, expected: f64) {
        assert!(found.is_some_and(|found| (found - expected).abs() < 1e-12), "{found:?} is not {expected}");
    }

    #[test]
    fn the_measures_of_one_user_are_those_by_hand() {
        let mut ranking = Ranking::new(3, 8);
        ranking.add(&[4, 1, 7, 2], &[2, 7, 4, 5]);
        close(ranking.ndcg(), (1.0 + 0.5) / (1.0 + 1.0 / 3f64.log2() + 0.5));
        close(ranking.recall(), 2.0 / 4.0);
        close(ranking.map(), (1.0 + 2.0 / 3.0) / 3.0);
        close(ranking.coverage(), 3.0 / 8.0);
    }

    #[test]
    fn users_without_a_relevant_item_are_left_out() {
        let mut ranking = Ranking::new(10, 4);
        ranking.add(&[0, 1], &[]);
        assert_eq!((ranking.users(), ranking.ndcg(), ranking.recall()), (0, None, None));
        assert_eq!((ranking.map(), ranking.coverage()), (None, None));
        ranking.add(&[], &[3]);
        assert_eq!((ranking.users(), ranking.ndcg(), ranking.recall()), (1, Some(0.0), Some(0.0)));
        assert_eq!((ranking.map(), ranking.coverage()), (Some(0.0), Some(0.0)));
        let mut nothing_asked = Ranking::new(0, 4);
        nothing_asked.add(&[0], &[0]);
        assert_eq!((nothing_asked.users(), nothing_asked.ndcg()), (0, None));
    }

    #[test]
    fn an_item_beyond_the_count_covers_nothing() {
        let mut ranking = Ranking::new(2, 2);
        ranking.add(&[u32::MAX, 1], &[u32::MAX]);
        assert_eq!((ranking.coverage(), ranking.recall()), (Some(0.5), Some(1.0)));
    }

    proptest! {
        #[test]
        fn the_best_list_has_one_and_no_order_of_relevant_items_matters(
            relevant in prop::collection::btree_set(0u32..50, 1..20), k in 1usize..15,
        ) {
            let best: Vec<u32> = relevant.iter().copied().chain(50..60).collect();
            let mut reversed: Vec<u32> = relevant.iter().rev().copied().collect();
            reversed.extend(relevant.iter());
            let mut ranking = Ranking::new(k, 60);
            ranking.add(&best, &reversed);
            close(ranking.ndcg(), 1.0);
            close(ranking.map(), 1.0);
            close(ranking.recall(), relevant.len().min(k) as f64 / relevant.len() as f64);
        }

        #[test]
        fn merged_ranges_measure_as_one(
            users in prop::collection::vec(
                (prop::collection::btree_set(0u32..30, 0..12), prop::collection::btree_set(0u32..30, 0..6)), 1..20),
            cut in 0usize..20,
        ) {
            let mut parts = [Ranking::new(5, 30), Ranking::new(5, 30), Ranking::new(5, 30)];
            for (at, (ranked, relevant)) in users.iter().enumerate() {
                let (ranked, relevant): (Vec<u32>, Vec<u32>) =
                    (ranked.iter().rev().copied().collect(), relevant.iter().copied().collect());
                parts[0].add(&ranked, &relevant);
                parts[if at < cut { 1 } else { 2 }].add(&ranked, &relevant);
            }
            let [whole, mut first, second] = parts;
            first.merge(&second);
            prop_assert_eq!(first.users(), whole.users());
            prop_assert_eq!(first.coverage(), whole.coverage());
            for (found, expected) in
                [(first.ndcg(), whole.ndcg()), (first.recall(), whole.recall()), (first.map(), whole.map())]
            {
                prop_assert_eq!(found.is_some(), expected.is_some());
                prop_assert!((found.unwrap_or(0.0) - expected.unwrap_or(0.0)).abs() < 1e-12);
            }
        }
    }
}
