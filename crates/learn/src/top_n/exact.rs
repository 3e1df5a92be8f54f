//! Scores as they are defined, and the list by scoring every admitted item.

use super::best::Best;
use super::{Admit, Metric, Scored};
use crate::numeric::index_u32;

/// The n best of the admitted items by their scores. `factors`: n_items × rank, row-major; `query`: rank.
pub fn top_n_exact(
    factors: &[f32],
    rank: usize,
    query: &[f32],
    n: usize,
    metric: Metric,
    admit: &Admit,
) -> Vec<Scored> {
    let scorer = Scorer::new(factors, rank, query, metric);
    let n_items = index_u32(scorer.n_items());
    let mut best = Best::new(n.min(scorer.n_items()));
    let mut consider = |item| {
        let score = scorer.score(item);
        // Most items end here, before they are looked for among the excluded.
        if best.floor().is_none_or(|floor| score >= floor) && admit.exclude.binary_search(&item).is_err() {
            best.push(item, score);
        }
    };
    match admit.only {
        Some(only) => only.iter().take_while(|item| *item < n_items).for_each(&mut consider),
        None => (0..n_items).for_each(&mut consider),
    }
    best.into_sorted()
}

/// Scores items for one query.
pub(super) struct Scorer<'a> {
    factors: &'a [f32],
    query: &'a [f32],
    metric: Metric,
    query_norm: f64,
}

impl<'a> Scorer<'a> {
    pub(super) fn new(factors: &'a [f32], rank: usize, query: &'a [f32], metric: Metric) -> Scorer<'a> {
        assert_eq!(query.len(), rank, "a query must have one value for each factor");
        Scorer { factors, query, metric, query_norm: dot(query, query).sqrt() }
    }

    pub(super) fn n_items(&self) -> usize {
        self.factors.len().checked_div(self.query.len()).unwrap_or(0)
    }

    pub(super) fn score(&self, item: u32) -> f32 {
        let rank = self.query.len();
        let row = &self.factors[item as usize * rank..][..rank];
        let product = dot(self.query, row);
        #[allow(clippy::cast_possible_truncation)]
        match self.metric {
            Metric::InnerProduct => product as f32,
            Metric::Cosine => {
                let norms = self.query_norm * dot(row, row).sqrt();
                if norms == 0.0 { 0.0 } else { (product / norms) as f32 }
            }
        }
    }
}

/// Σ aᵢ·bᵢ in f64, where the products are exact, in one fixed order with eight partial sums.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0; 8];
    let (a_wide, a_rest) = a.as_chunks::<8>();
    let (b_wide, b_rest) = b.as_chunks::<8>();
    for (x, y) in a_wide.iter().zip(b_wide) {
        for lane in 0..8 {
            lanes[lane] += f64::from(x[lane]) * f64::from(y[lane]);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7])) + rest
}

#[cfg(test)]
mod tests {
    use super::super::Bitmap;
    use super::*;

    const FACTORS: [f32; 10] = [1.0, 0.0, 0.0, 2.0, 2.0, 0.0, 1.0, 1.0, 0.0, 0.0];

    fn check(query: [f32; 2], n: usize, metric: Metric, admit: &Admit, expected: &[(u32, f32)]) {
        let found = top_n_exact(&FACTORS, 2, &query, n, metric, admit);
        assert_eq!(found.iter().map(|scored| (scored.item, scored.score)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_best_come_first_and_ties_are_by_item() {
        let all = Admit::default();
        check([1.0, 0.0], 3, Metric::InnerProduct, &all, &[(2, 2.0), (0, 1.0), (3, 1.0)]);
        check([1.0, 0.0], 9, Metric::Cosine, &all, &[(0, 1.0), (2, 1.0), (3, 0.5f32.sqrt()), (1, 0.0), (4, 0.0)]);
        check([0.0, -0.0], 2, Metric::InnerProduct, &all, &[(0, 0.0), (1, 0.0)]);
        check([1.0, 0.0], 0, Metric::InnerProduct, &all, &[]);
        check([f32::NAN, 0.0], 3, Metric::InnerProduct, &all, &[]);
        check([f32::NAN, 0.0], 3, Metric::Cosine, &all, &[]);
    }

    #[test]
    fn only_admitted_items_are_in_the_list() {
        let mut only = Bitmap::new(2);
        only.set(0);
        only.set(3);
        let exclude = Admit { exclude: &[2, 3, 77], only: None };
        check([1.0, 0.0], 2, Metric::InnerProduct, &exclude, &[(0, 1.0), (1, 0.0)]);
        check([1.0, 0.0], 9, Metric::InnerProduct, &Admit { exclude: &[], only: Some(&only) }, &[(0, 1.0), (3, 1.0)]);
        check([1.0, 0.0], 9, Metric::InnerProduct, &Admit { exclude: &[0], only: Some(&only) }, &[(3, 1.0)]);
    }
}
