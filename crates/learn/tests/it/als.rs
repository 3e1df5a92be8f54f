//! What alternating least squares keeps: determinism, fold-in as half a step, contributions that add up, arrays, and a
//! plain dense f64 reference on small cases.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use millstream_learn::als::{self, Feedback, Fit, Model, Params, Ratings, Start};
use millstream_learn::{Array, FitError, LoadError, ParamValue, Seed};
use proptest::prelude::*;

pub fn params(text: &str) -> Params {
    let value = |word: &str| match (word.parse::<i64>(), word.parse::<f64>(), word.parse::<bool>()) {
        (Ok(integer), _, _) => ParamValue::Integer(integer),
        (_, Ok(float), _) => ParamValue::Float(float),
        (_, _, Ok(bool)) => ParamValue::Bool(bool),
        _ => ParamValue::Text(word.to_owned()),
    };
    let pairs = text.split_whitespace().map(|pair| pair.split_once('=').unwrap());
    Params::from_values(&pairs.map(|(name, word)| (name.to_owned(), value(word))).collect()).unwrap()
}

/// Every kind of equation.
const KINDS: [&str; 5] = [
    "rank=5 lambda=0.1 iterations=4",
    "rank=12 lambda=0.05 iterations=3 nonnegative=true",
    "rank=48 lambda=0.1 iterations=3",
    "rank=6 lambda=0.5 feedback=implicit alpha=4 iterations=4",
    "rank=9 lambda=0.1 feedback=implicit alpha=40 lambda_scale=ratings nonnegative=true iterations=3",
];

pub fn hash(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

pub type Triples = Vec<(u32, u32, f32)>;

/// Ratings in halves from 0.5 to 5 with a structure of rank 2, about `share` of all pairs; early items are popular.
pub fn triples(n_users: u32, n_items: u32, share: f64) -> Triples {
    let uniform = |key: u64| (hash(key) >> 11) as f64 / (1u64 << 53) as f64;
    let mut triples = Vec::new();
    for user in 0..n_users {
        for item in 0..n_items {
            let key = u64::from(user) << 32 | u64::from(item);
            if uniform(key + 1) < share * 2.0 / (1.0 + f64::from(item) / f64::from(n_items) * 3.0) {
                let of = |stream: u64, code: u32| uniform(stream << 40 | u64::from(code)) * 2.0 - 1.0;
                let taste = of(1, user) * of(2, item) + of(3, user) * of(4, item) + 0.3 * of(5, item);
                let rating = 3.0 + 1.5 * taste + uniform(key + (9 << 50)) - 0.5;
                triples.push((user, item, ((rating * 2.0).round() / 2.0).clamp(0.5, 5.0) as f32));
            }
        }
    }
    triples
}

pub fn ratings(triples: &Triples, n_users: usize, n_items: usize) -> Ratings {
    let users = triples.iter().map(|t| t.0).collect();
    let items = triples.iter().map(|t| t.1).collect();
    Ratings::new(users, items, triples.iter().map(|t| t.2).collect(), n_users, n_items).unwrap()
}

pub fn fit(ratings: &Ratings, text: &str) -> Fit {
    als::fit(ratings, None, None, &params(text), Seed(7)).unwrap()
}

pub fn in_pool<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

pub fn rmse(model: &Model, triples: &Triples) -> f64 {
    let squared = |&(user, item, value): &(u32, u32, f32)| {
        (model.clamp(model.score(model.user(user), item)) - f64::from(value)).powi(2)
    };
    (triples.iter().map(squared).sum::<f64>() / triples.len() as f64).sqrt()
}

/// Gaussian elimination with partial pivoting.
fn solve_dense(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for k in 0..n {
        let pivot = (k..n).max_by(|&i, &j| a[i][k].abs().total_cmp(&a[j][k].abs())).unwrap();
        a.swap(k, pivot);
        b.swap(k, pivot);
        for i in k + 1..n {
            let factor = a[i][k] / a[k][k];
            let row = a[k].clone();
            a[i].iter_mut().zip(&row).for_each(|(x, y)| *x -= factor * y);
            b[i] -= factor * b[k];
        }
    }
    for k in (0..n).rev() {
        let known: f64 = (k + 1..n).map(|j| a[k][j] * b[j]).sum();
        b[k] = (b[k] - known) / a[k][k];
    }
    b
}

/// The system of one row by the text book, all pairs of an implicit row included.
pub fn dense_system(params: &Params, vectors: &[Vec<f64>], row: &BTreeMap<u32, f32>) -> (Vec<Vec<f64>>, Vec<f64>) {
    let n = vectors[0].len();
    let (mut a, mut b) = (vec![vec![0.0; n]; n], vec![0.0; n]);
    let mut counted = 0;
    for (code, y) in vectors.iter().enumerate() {
        let rating = row.get(&(code as u32)).map(|&r| f64::from(r));
        let (confidence, preference) = match (params.feedback(), rating) {
            (Feedback::Explicit, None) => continue,
            (Feedback::Explicit, Some(r)) => (1.0, r),
            (Feedback::Implicit, None) => (1.0, 0.0),
            (Feedback::Implicit, Some(r)) => (1.0 + params.alpha() * r.abs(), f64::from(u8::from(r > 0.0))),
        };
        counted += usize::from(rating.is_some_and(|r| r > 0.0 || params.feedback() == Feedback::Explicit));
        for i in 0..n {
            b[i] += confidence * preference * y[i];
            for j in 0..n {
                a[i][j] += confidence * y[i] * y[j];
            }
        }
    }
    let times = match params.lambda_scale() {
        als::LambdaScale::Ratings => counted as f64,
        als::LambdaScale::None => 1.0,
    };
    for (i, row) in a.iter_mut().enumerate() {
        row[i] += params.lambda() * times;
    }
    (a, b)
}

pub fn vectors_of(factors: &[f32], rank: usize) -> Vec<Vec<f64>> {
    factors.chunks_exact(rank).map(|vector| vector.iter().map(|&x| f64::from(x)).collect()).collect()
}

/// The vector solves the system; non-negative: it keeps the conditions of Karush, Kuhn and Tucker.
pub fn check_solves(params: &Params, a: &[Vec<f64>], b: &[f64], x: &[f32], tolerance: f64) {
    let size = b.iter().fold(1e-3f64, |most, b| most.max(b.abs()));
    for (i, row) in a.iter().enumerate() {
        let gradient = (row.iter().zip(x).map(|(a, x)| a * f64::from(*x)).sum::<f64>() - b[i]) / size;
        let solved =
            if params.nonnegative() && x[i] == 0.0 { gradient > -tolerance } else { gradient.abs() < tolerance };
        assert!(solved, "component {i} of {x:?} has gradient {gradient}");
        assert!(!params.nonnegative() || x[i] >= 0.0, "{x:?}");
    }
}

#[test]
fn every_user_vector_solves_the_training_equation_and_is_its_fold_in() {
    let triples = triples(60, 40, 0.4);
    let ratings = ratings(&triples, 60, 40);
    for kind in KINDS {
        let (params, model) = (params(kind), fit(&ratings, kind).model);
        let vectors = vectors_of(model.item_factors(), model.rank());
        for user in 0..60 {
            let (items, values) = ratings.of_user(user);
            let row = items.iter().copied().zip(values.iter().copied()).collect();
            let (a, b) = dense_system(&params, &vectors, &row);
            check_solves(&params, &a, &b, model.user(user), 1e-4);
            let folded = model.fold_in(items, values);
            check_solves(&params, &a, &b, &folded, 1e-6);
            let size = folded.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            for (x, y) in folded.iter().zip(model.user(user)) {
                assert!((x - y).abs() <= 1e-3 * size, "{kind} user {user}: {folded:?} is not {:?}", model.user(user));
            }
        }
    }
}

#[test]
fn contributions_add_up_to_the_score() {
    let triples = triples(50, 30, 0.4);
    let ratings = ratings(&triples, 50, 30);
    for kind in KINDS {
        let model = fit(&ratings, kind).model;
        for user in [0, 17, 49] {
            let (items, values) = ratings.of_user(user);
            let folded = model.fold_in(items, values);
            for item in 0..30 {
                let because = model.because(items, values, item);
                assert_eq!(because.len(), items.len());
                let (sum, score) = (because.iter().sum::<f64>(), model.score(&folded, item));
                assert!((sum - score).abs() < 1e-5 * score.abs().max(1.0), "{kind}: {sum} is not {score}");
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let mut triples = triples(3000, 70, 0.25);
    // One item everybody rated, which is summed by all threads together.
    triples.extend((0..40_000).map(|user| (user, 70, 1.0 + (user % 9) as f32 / 2.0)));
    let make = || ratings(&triples, 40_000, 71);
    let (one, two) = (in_pool(1, make), in_pool(2, make));
    assert_eq!(one, two);
    for kind in KINDS {
        let run = || fit(&one, kind).model.to_arrays();
        assert_eq!(in_pool(1, run), in_pool(2, run), "{kind}");
    }
}

#[test]
fn the_order_of_the_ratings_does_not_matter() {
    let mut shuffled = triples(200, 40, 0.3);
    let expected = ratings(&shuffled, 200, 40);
    shuffled.sort_by_key(|&(user, item, _)| hash(u64::from(user) << 32 | u64::from(item)));
    assert_eq!(ratings(&shuffled, 200, 40), expected);
}

#[test]
fn of_several_ratings_of_a_pair_the_last_counts() {
    let triples = vec![(1, 2, 5.0), (0, 1, 3.0), (1, 0, 2.0), (1, 2, 4.0), (1, 2, 1.0), (2, 0, 0.5)];
    let ratings = ratings(&triples, 3, 3);
    assert_eq!((ratings.len(), ratings.duplicates()), (4, 2));
    assert_eq!(ratings.of_user(0), (&[1][..], &[3.0][..]));
    assert_eq!(ratings.of_user(1), (&[0, 2][..], &[2.0, 1.0][..]));
    assert_eq!(ratings.of_user(2), (&[0][..], &[0.5][..]));
    assert_eq!(ratings.of_user(3), (&[][..], &[][..]));
    assert_eq!(ratings.item_counts(), [2, 1, 1]);
    assert_eq!(ratings.item_means(), [1.25, 3.0, 1.0]);
    assert_eq!(ratings.mean(), 6.5 / 4.0);
    let fit = fit(&ratings, "rank=2");
    // The caller may have dropped others before: it says how many there were.
    assert!(!fit.notes.iter().any(|note| note.contains("later")), "{:?}", fit.notes);
}

/// The x ≥ 0 of least xᵀAx/2 − bᵀx, by trying every set of components above 0.
fn solve_nonnegative_dense(a: &[Vec<f64>], b: &[f64]) -> Vec<f64> {
    let n = b.len();
    let cost =
        |x: &[f64]| -> f64 { (0..n).map(|i| x[i] * (0.5 * (0..n).map(|j| a[i][j] * x[j]).sum::<f64>() - b[i])).sum() };
    let candidates = (0..1u32 << n).map(|set| {
        let free: Vec<usize> = (0..n).filter(|i| set >> i & 1 == 1).collect();
        let part = free.iter().map(|&i| free.iter().map(|&j| a[i][j]).collect()).collect();
        let solved = solve_dense(part, free.iter().map(|&i| b[i]).collect());
        let mut x = vec![0.0; n];
        free.iter().zip(solved).for_each(|(&i, value)| x[i] = value);
        x
    });
    let allowed = candidates.filter(|x| x.iter().all(|value| *value >= 0.0));
    allowed.min_by(|x, y| cost(x).total_cmp(&cost(y))).unwrap()
}

/// With hardly any penalty and more components than ratings the matrix is singular but for the penalty: the solution is
/// still reached, the same from whichever vector it began, and its parts still add up to it.
#[test]
fn non_negative_vectors_are_the_solution_however_small_lambda_is() {
    let triples: Triples = triples(100, 60, 0.18);
    assert!(triples.len() > 900, "{}", triples.len());
    let ratings = ratings(&triples, 100, 60);
    for lambda in ["1e-9", "1e-6", "1e-3"] {
        for kind in ["explicit", "explicit lambda_scale=none", "implicit alpha=40"] {
            let params = params(&format!("rank=100 nonnegative=true iterations=2 lambda={lambda} feedback={kind}"));
            let model = als::fit(&ratings, None, None, &params, Seed(7)).unwrap().model;
            let vectors = vectors_of(model.item_factors(), 100);
            for user in 0..100 {
                let (items, values) = ratings.of_user(user);
                let row: BTreeMap<u32, f32> = items.iter().copied().zip(values.iter().copied()).collect();
                let (a, b) = dense_system(&params, &vectors, &row);
                let folded = model.fold_in(items, values);
                check_solves(&params, &a, &b, &folded, 2e-6);
                check_solves(&params, &a, &b, model.user(user), 2e-6);
                for item in 0..60 {
                    let sum: f64 = model.because(items, values, item).iter().sum();
                    let score = model.score(&folded, item);
                    assert!((sum - score).abs() < 1e-3 * score.abs().max(1.0), "{lambda} {kind}: {sum} is not {score}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every equation, on any ratings (0 and less included), against the text book in dense f64.
    #[test]
    fn fold_in_and_training_agree_with_a_dense_reference(
        cells in prop::collection::btree_map((0u32..6, 0u32..7), -2i32..6, 1..30),
        rank in 1usize..5,
        lambda in 0.01f64..2.0,
        implicit: bool,
        nonnegative: bool,
        times_ratings: bool,
        seed: u64,
    ) {
        let triples: Triples = cells.iter().map(|(&(user, item), &r)| (user, item, r as f32)).collect();
        let ratings = ratings(&triples, 6, 7);
        let feedback = if implicit { "implicit" } else { "explicit" };
        let scale = if times_ratings { "ratings" } else { "none" };
        let params = params(&format!(
            "rank={rank} lambda={lambda} iterations=2 alpha=3 feedback={feedback} nonnegative={nonnegative} lambda_scale={scale}"
        ));
        let model = als::fit(&ratings, None, None, &params, Seed(seed)).unwrap().model;
        let vectors = vectors_of(model.item_factors(), rank);
        for user in 0..6 {
            let (items, values) = ratings.of_user(user);
            let row: BTreeMap<u32, f32> = items.iter().copied().zip(values.iter().copied()).collect();
            let (a, b) = dense_system(&params, &vectors, &row);
            let expected = match () {
                () if b.iter().all(|b| *b == 0.0) => vec![0.0; rank],
                () if nonnegative => solve_nonnegative_dense(&a, &b),
                () => solve_dense(a, b),
            };
            let size = expected.iter().fold(1e-2, |most: f64, x| most.max(x.abs()));
            for ((x, y), trained) in expected.iter().zip(model.fold_in(items, values)).zip(model.user(user)) {
                prop_assert!((x - f64::from(y)).abs() < 1e-5 * size, "{x} is not {y}");
                prop_assert!((x - f64::from(*trained)).abs() < 2e-3 * size, "{x} is not {trained}");
            }
        }
    }
}

#[test]
fn it_learns_what_was_planted() {
    let all = triples(400, 120, 0.4);
    let (test, train): (Triples, Triples) =
        all.iter().partition(|t| hash(u64::from(t.0) << 32 | u64::from(t.1)).is_multiple_of(10));
    let ratings = ratings(&train, 400, 120);
    let mean = ratings.mean();
    let constant = (test.iter().map(|t| (f64::from(t.2) - mean).powi(2)).sum::<f64>() / test.len() as f64).sqrt();
    for kind in ["rank=4 lambda=0.05", "rank=4 lambda=0.05 nonnegative=true", "rank=48 lambda=0.1"] {
        let found = rmse(&fit(&ratings, kind).model, &test);
        assert!(found < 0.75 * constant, "{kind}: {found} is not far below {constant}");
    }
}

#[test]
fn an_early_stop_keeps_the_best_iteration() {
    let all = triples(300, 100, 0.15);
    let (test, train): (Triples, Triples) =
        all.iter().partition(|t| hash(u64::from(t.0) << 32 | u64::from(t.1)).is_multiple_of(5));
    let (train, test_ratings) = (ratings(&train, 300, 100), ratings(&test, 300, 100));
    let watched = |text: &str| als::fit(&train, Some(&test_ratings), None, &params(text), Seed(7)).unwrap();
    let stopped = watched("rank=24 lambda=0.1 iterations=30");
    let best = stopped.validation[stopped.iterations as usize - 1];
    assert!(stopped.validation.len() < 30, "{:?}", stopped.validation);
    assert_eq!(stopped.validation.len(), stopped.iterations as usize + 2);
    assert!(stopped.validation.iter().all(|measure| *measure >= best), "{:?}", stopped.validation);
    let note = stopped.notes.iter().find(|note| note.starts_with("stopped after")).unwrap();
    assert!(note.contains(&format!("iteration {}", stopped.iterations)), "{note}");
    // The model is the one of that many iterations, and its measure is the one reported.
    let same = fit(&train, &format!("rank=24 lambda=0.1 iterations={}", stopped.iterations));
    assert_eq!(stopped.model.to_arrays(), same.model.to_arrays());
    assert!((rmse(&stopped.model, &test) - best).abs() < 1e-6);
    let never = watched("rank=24 lambda=0.1 iterations=6 early_stop=0");
    assert_eq!((never.iterations, never.validation.len()), (6, 6));
    let implicit = watched("rank=8 feedback=implicit alpha=10 iterations=25");
    let best = implicit.validation[implicit.iterations as usize - 1];
    assert!(implicit.validation.iter().all(|measure| *measure <= best) && best > 0.05 && best <= 1.0);
}

#[test]
fn validation_which_cannot_be_predicted_is_said() {
    let train = ratings(&vec![(0, 0, 1.0), (1, 1, 2.0)], 3, 3);
    let fit_with = |validation: Triples| {
        als::fit(&train, Some(&ratings(&validation, 3, 3)), None, &params("rank=1 iterations=2"), Seed(1)).unwrap()
    };
    let fit = fit_with(vec![(2, 0, 1.0), (0, 2, 1.0)]);
    assert_eq!(fit.validation, [0.0; 0]);
    assert!(fit.notes.iter().any(|note| note.starts_with("no validation rating")), "{:?}", fit.notes);
    assert_eq!(fit_with(vec![(0, 1, 1.0), (2, 0, 9.0)]).validation.len(), 2);
    let other = ratings(&vec![(0, 0, 1.0)], 3, 4);
    let error = als::fit(&train, Some(&other), None, &params(""), Seed(1));
    assert_eq!(error, Err(FitError::ValidationShape { expected: (3, 3), found: (3, 4) }));
}

#[test]
fn a_warm_start_needs_fewer_iterations() {
    let all = triples(400, 100, 0.3);
    // The earlier model knew three quarters of the users and of the items, under other codes.
    let known: Triples = all.iter().filter(|t| t.0 < 300 && t.1 < 75).map(|t| (299 - t.0, 74 - t.1, t.2)).collect();
    let earlier = fit(&ratings(&known, 300, 75), "rank=6 lambda=0.05 iterations=15").model;
    let train = ratings(&all, 400, 100);
    let code = |n: u32| move |code: u32| if code < n { n - 1 - code } else { u32::MAX };
    let start =
        Start { model: &earlier, users: (0..400).map(code(300)).collect(), items: (0..100).map(code(75)).collect() };
    let with = |iterations: u32, start: Option<&Start>| {
        let text = format!("rank=6 lambda=0.05 iterations={iterations}");
        rmse(&als::fit(&train, None, start, &params(&text), Seed(3)).unwrap().model, &all)
    };
    let (warm, cold, long) = (with(3, Some(&start)), with(3, None), with(15, None));
    assert!(warm < cold && warm < 1.02 * long, "warm {warm} cold {cold} long {long}");
}

#[test]
fn a_start_which_does_not_fit_is_said_or_refused() {
    let all = triples(40, 20, 0.4);
    let train = ratings(&all, 40, 20);
    let earlier = fit(&train, "rank=3").model;
    let fit_from = |users: Vec<u32>, items: Vec<u32>, text: &str| {
        als::fit(&train, None, Some(&Start { model: &earlier, users, items }), &params(text), Seed(7))
    };
    let all_of = |n: u32| (0..n).collect::<Vec<u32>>();
    let error = fit_from(all_of(39), all_of(20), "rank=3").unwrap_err();
    assert_eq!(error, FitError::StartLength { side: "users", expected: 40, found: 39 });
    let error = fit_from(all_of(40), vec![20; 20], "rank=3").unwrap_err();
    assert_eq!(error, FitError::StartCode { side: "items", code: 20, known: 20 });
    for (text, reason) in [("rank=4", "its rank is 3, not 4"), ("rank=3 feedback=implicit", "the other kind")] {
        let begun = fit_from(all_of(40), all_of(20), text).unwrap();
        assert!(begun.notes.iter().any(|note| note.contains(reason)), "{:?}", begun.notes);
        assert_eq!(begun.model, fit(&train, text).model);
    }
    // Everything new: the same structure is found as without a start.
    let new = fit_from(vec![u32::MAX; 40], vec![u32::MAX; 20], "rank=3").unwrap().model;
    assert!((rmse(&new, &all) - rmse(&earlier, &all)).abs() < 0.05);
    let nonnegative = fit_from(all_of(40), all_of(20), "rank=3 nonnegative=true").unwrap().model;
    assert!(nonnegative.item_factors().iter().chain(nonnegative.user_factors()).all(|value| *value >= 0.0));
}

#[test]
fn few_and_equal_ratings_are_fitted() {
    let one = ratings(&vec![(0, 0, 4.0)], 1, 1);
    for kind in KINDS {
        let fit = fit(&one, kind);
        let score = fit.model.score(fit.model.user(0), 0);
        assert!(score.is_finite() && fit.model.clamp(score) > 0.3, "{kind}: {score}");
        assert!(fit.notes.iter().any(|note| note.contains("above the number of items")), "{:?}", fit.notes);
    }
    let equal: Triples = triples(30, 20, 0.5).into_iter().map(|t| (t.0, t.1, 3.5)).collect();
    let fit = fit(&ratings(&equal, 30, 20), "rank=3 lambda=0.01");
    assert!(rmse(&fit.model, &equal) < 0.05);
    assert_eq!((fit.model.scale(), fit.model.clamp(9.0), fit.model.clamp(-9.0)), (Some((3.5, 3.5)), 3.5, 3.5));
    assert!(fit.notes.iter().any(|note| note.starts_with("every rating is 3.5")), "{:?}", fit.notes);
}

#[test]
fn who_rated_nothing_has_zeros() {
    let some: Triples = triples(40, 20, 0.4).into_iter().filter(|t| t.0 != 7 && t.1 != 3).collect();
    for kind in KINDS {
        let fit = fit(&ratings(&some, 40, 20), kind);
        assert!(fit.model.user(7).iter().chain(fit.model.item(3)).all(|value| *value == 0.0), "{kind}");
        assert_eq!(fit.model.item_counts()[3], 0);
        assert!(fit.notes.iter().any(|note| note.starts_with("1 of 40 users")), "{:?}", fit.notes);
        assert_eq!(fit.model.fold_in(&[], &[]), vec![0.0; fit.model.rank()]);
        assert_eq!(fit.model.because(&[], &[], 0), [0.0; 0]);
        assert!(fit.model.fold_in(&[3], &[5.0]).iter().all(|value| value.is_finite()));
    }
}

#[test]
fn extreme_values_are_fitted_to_finite_vectors() {
    for value in [1e9f32, -1e9, 1e-30, 0.0, -3.0] {
        let extreme: Triples = triples(30, 20, 0.4).into_iter().map(|t| (t.0, t.1, t.2 * value)).collect();
        let ratings = ratings(&extreme.iter().map(|t| (t.0, t.1, t.2.clamp(-1e9, 1e9))).collect(), 30, 20);
        for kind in KINDS {
            for lambda in ["1e-9", "1e6"] {
                let model = fit(&ratings, &format!("{kind} lambda={lambda}")).model;
                let all = model.user_factors().iter().chain(model.item_factors());
                assert!(all.clone().all(|value| value.is_finite()), "{value} {kind} {lambda}");
                assert!(Model::from_arrays(&model.to_arrays()).is_ok());
            }
        }
    }
}

#[test]
fn ratings_which_cannot_be_used_are_named() {
    let make = |users: &[u32], items: &[u32], values: &[f32]| {
        Ratings::new(users.to_vec(), items.to_vec(), values.to_vec(), 3, 2).map(|ratings| ratings.len())
    };
    assert_eq!(make(&[0, 1], &[0], &[1.0]), Err(FitError::RatingLengths { users: 2, items: 1, values: 1 }));
    assert_eq!(make(&[0, 3], &[0, 1], &[1.0, 1.0]), Err(FitError::UnknownUser { row: 1, user: 3, n_users: 3 }));
    assert_eq!(make(&[0, 2], &[2, 1], &[1.0, 1.0]), Err(FitError::UnknownItem { row: 0, item: 2, n_items: 2 }));
    assert_eq!(make(&[0, 2], &[1, 1], &[1.0, f32::NAN]), Err(FitError::RatingNotFinite { row: 1 }));
    assert_eq!(make(&[0, 2], &[1, 1], &[f32::NEG_INFINITY, 1.0]), Err(FitError::RatingNotFinite { row: 0 }));
    assert_eq!(make(&[0, 2], &[1, 1], &[1.0, 2e9]), Err(FitError::RatingTooLarge { row: 1 }));
    assert_eq!(make(&[], &[], &[]), Ok(0));
    let none = Ratings::new(vec![], vec![], vec![], 3, 2).unwrap();
    assert_eq!((none.is_empty(), none.mean(), none.item_means()), (true, 0.0, vec![0.0, 0.0]));
    assert_eq!(als::fit(&none, None, None, &params(""), Seed(1)), Err(FitError::NoRows));
}

#[test]
fn a_fit_ends_soon_after_it_is_told_to() {
    let train = ratings(&triples(40, 20, 0.4), 40, 20);
    let run = |halves: usize| {
        let asked = AtomicUsize::new(0);
        let stopped = |_| asked.fetch_add(1, Ordering::Relaxed) == halves;
        als::fit_until(&train, None, None, &params("rank=3 iterations=1000"), Seed(7), &stopped)
    };
    for halves in [0, 1, 7] {
        assert_eq!(run(halves), Err(FitError::Stopped));
    }
    assert_eq!(run(usize::MAX).unwrap(), fit(&train, "rank=3 iterations=1000"));
}

#[test]
fn a_scale_which_is_given_is_the_one_clamped_to() {
    let train = ratings(&triples(30, 20, 0.4), 30, 20);
    let mut with_scale = params("rank=3 iterations=2");
    with_scale.scale = Some((1.0, 4.0));
    let fit = als::fit(&train, None, None, &with_scale, Seed(1)).unwrap();
    assert_eq!((fit.model.scale(), fit.model.clamp(0.0), fit.model.clamp(9.0)), (Some((1.0, 4.0)), 1.0, 4.0));
    assert!(fit.notes.iter().any(|note| note.contains("outside the scale 1 to 4")), "{:?}", fit.notes);
    let implicit = als::fit(&train, None, None, &params("feedback=implicit iterations=2"), Seed(1)).unwrap().model;
    assert_eq!((implicit.scale(), implicit.clamp(9.0)), (None, 9.0));
}

#[test]
fn arrays_give_back_the_model() {
    let ratings = ratings(&triples(40, 20, 0.4), 41, 21);
    for kind in KINDS {
        let model = fit(&ratings, kind).model;
        let loaded = Model::from_arrays(&model.to_arrays()).unwrap();
        assert_eq!(loaded, model, "{kind}");
        assert_eq!(loaded.fold_in(&[1, 5], &[2.0, 4.0]), model.fold_in(&[1, 5], &[2.0, 4.0]));
        assert_eq!((loaded.n_users(), loaded.n_items()), (41, 21));
    }
}

#[test]
fn arrays_which_are_damaged_are_errors() {
    let ratings = ratings(&triples(40, 20, 0.4), 40, 20);
    for kind in KINDS {
        let arrays = fit(&ratings, kind).model.to_arrays();
        for (name, array) in &arrays {
            let load = |changed: Option<Array>| {
                let mut arrays = arrays.clone();
                arrays.remove(name);
                arrays.extend(changed.map(|array| (name.clone(), array)));
                Model::from_arrays(&arrays)
            };
            assert_eq!(load(None), Err(LoadError::NotFound { name: name.clone() }));
            let n = array.n_values();
            assert!(load(Some(Array::I32 { shape: array.shape().to_vec(), data: vec![0; n] })).is_err(), "{name}");
            assert!(load(Some(Array::F32 { shape: vec![n + 1], data: vec![0.0; n] })).is_err(), "{name}");
            let damaged = match array.clone() {
                Array::F32 { shape, mut data } => {
                    data[n / 2] = f32::NAN;
                    Array::F32 { shape, data }
                }
                Array::F64 { data, .. } => Array::F64 { shape: vec![n + 1], data: [data, vec![-1.0]].concat() },
                Array::U8 { shape, mut data } => {
                    data[1] = 2;
                    Array::U8 { shape, data }
                }
                Array::U32 { data, .. } => Array::U32 { shape: vec![n - 1], data: data[1..].to_vec() },
                other @ (Array::I32 { .. } | Array::I64 { .. }) => other,
            };
            assert!(load(Some(damaged)).is_err(), "{kind} {name}");
        }
        let mut other = arrays.clone();
        other.insert("equation".to_owned(), Array::F64 { shape: vec![2], data: vec![0.0, 1.0] });
        assert!(Model::from_arrays(&other).is_err());
    }
}

#[test]
fn parameters_report_every_fault_at_once() {
    use ParamValue::{Bool, Float, Integer, Text};
    let values = [
        ("rank", Integer(0)),
        ("iterations", Float(2.0)),
        ("lambda", Float(0.0)),
        ("lambda_scale", Text("users".to_owned())),
        ("feedback", Bool(true)),
        ("alpha", Float(-1.0)),
        ("nonnegative", Text("yes".to_owned())),
        ("early_stop", Bool(false)),
        ("factors", Integer(3)),
    ];
    let faults = Params::from_values(&values.map(|(name, value)| (name.to_owned(), value)).into()).unwrap_err();
    let names: Vec<&str> = faults.iter().map(|fault| fault.name.as_str()).collect();
    let expected =
        ["factors", "rank", "iterations", "lambda", "lambda_scale", "feedback", "alpha", "nonnegative", "early_stop"];
    assert_eq!(names, expected);
    assert!(faults[4].message.contains("\"auto\", \"ratings\", \"none\""), "{}", faults[4]);
}

#[test]
fn auto_is_times_ratings_for_explicit_and_once_for_implicit() {
    use als::LambdaScale;
    assert_eq!(params("").lambda_scale(), LambdaScale::Ratings);
    assert_eq!(params("feedback=implicit").lambda_scale(), LambdaScale::None);
    assert_eq!(params("feedback=implicit lambda_scale=ratings").lambda_scale(), LambdaScale::Ratings);
}

#[test]
fn vectors_that_were_fitted_elsewhere_make_the_same_model() {
    let ratings = ratings(&triples(40, 30, 0.4), 40, 30);
    for kind in KINDS.into_iter().chain(["rank=4 biases=true iterations=3"]) {
        let (params, Fit { model, iterations, .. }) = (params(kind), fit(&ratings, kind));
        let vectors = || {
            let users = (0..40).flat_map(|user| &model.user(user)[..model.rank()]).copied();
            (users.collect::<Vec<f32>>(), model.item_factors().to_vec())
        };
        let again = als::from_vectors(&ratings, &params, vectors(), iterations).unwrap();
        assert_eq!((&again.model, again.iterations), (&model, iterations), "{kind}");
        assert_eq!(als::fitted_to(&ratings, &params).mean().abs() < 0.1, params.biases(), "{kind}");
        let (users, mut items) = vectors();
        items.pop();
        let error = als::from_vectors(&ratings, &params, (users, items), 1).unwrap_err();
        assert!(matches!(error, FitError::VectorCount { side: "items", expected: 30, .. }), "{error}");
    }
}
