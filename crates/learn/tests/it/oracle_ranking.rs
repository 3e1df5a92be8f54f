//! Our measures of recommended lists against scikit-learn's and implicit's on the same small case. The figures are
//! printed by `python tests/it/oracle_ranking.py`.

use millstream_learn::metrics::Ranking;
use millstream_learn::top_n::{Admit, Metric, top_n_exact};

const N_ITEMS: usize = 40;

/// Twelve users: the score of every item, and the items chosen.
fn lists() -> Vec<(Vec<f32>, Vec<u32>)> {
    let score =
        |user: u32, item: u32| f32::from(u16::try_from((item * (53 + 11 * user) + 37 * user) % 101).unwrap_or(0));
    let chosen = |user: u32, item: u32| (7 * user + 13 * item) % 17 < 2 + 3 * (user % 4) && user != 4;
    let of_user = |user| {
        let scores = (0..40).map(|item| score(user, item)).collect();
        (scores, (0..40).filter(|&item| chosen(user, item)).collect())
    };
    (0..12).map(of_user).collect()
}

fn check(k: usize, ndcg: f64, map: f64, recall: f64, coverage: f64) {
    let mut ranking = Ranking::new(k, N_ITEMS);
    for (scores, chosen) in lists() {
        let ranked = top_n_exact(&scores, 1, &[1.0], N_ITEMS, Metric::InnerProduct, &Admit::default());
        ranking.add(&ranked.iter().map(|scored| scored.item).collect::<Vec<_>>(), &chosen);
    }
    assert_eq!(ranking.users(), 11);
    let found = [ranking.ndcg(), ranking.map(), ranking.recall(), ranking.coverage()];
    for (found, expected) in found.into_iter().zip([ndcg, map, recall, coverage]) {
        assert!(found.is_some_and(|found| (found - expected).abs() < 1e-12), "{found:?} is not {expected} at {k}");
    }
}

// NDCG by scikit-learn and by implicit, MAP by implicit, recall and coverage by sets. What implicit calls precision is
// all hits / Σ min(k, relevant), another measure than our recall (0.400 at 5 where the recall is 0.123).
#[test]
fn the_measures_of_lists_are_those_of_scikit_learn_and_implicit() {
    check(1, 0.363_636_363_636_363_65, 0.363_636_363_636_363_65, 0.016_724_260_145_312_777, 0.25);
    check(5, 0.401_756_731_727_756_17, 0.279_393_939_393_939_36, 0.122_674_109_516_214_75, 0.775);
    check(10, 0.390_762_226_867_130_5, 0.234_715_007_215_007_18, 0.231_233_386_496_544_37, 0.95);
}
