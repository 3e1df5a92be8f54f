//! What biases and the rule for lists keep: fold-in, contributions, arrays, bytes; that lists are exact; that both are worth having.

use std::collections::{BTreeMap, BTreeSet};

use millstream_learn::als::{self, ListRule, Model, Params, Ratings, SPECS, Start};
use millstream_learn::metrics::Ranking;
use millstream_learn::top_n::{Admit, Bitmap, Metric, TopN};
use millstream_learn::{Array, LoadError, ParamDefault, ParamValue, Seed};
use proptest::prelude::*;

use super::als::{Triples, check_solves, dense_system, fit, hash, in_pool, params, ratings, rmse, triples, vectors_of};

const KINDS: [&str; 4] = [
    "rank=5 lambda=0.1 iterations=4 biases=true",
    "rank=5 lambda=0.1 iterations=4 biases=true ranking=prediction",
    "rank=44 lambda=2 lambda_scale=none iterations=3 biases=true",
    "rank=6 lambda=0.1 iterations=4 nonnegative=true ranking=support",
];

const USER_BIASES: &str = "user_biases";
const ITEM_BIASES: &str = "item_biases";
const SUPPORT_WEIGHT: &str = "support_weight";

#[test]
fn a_user_is_folded_in_as_fitted() {
    let ratings = ratings(&triples(60, 40, 0.4), 60, 40);
    for kind in KINDS {
        let (params, model) = (params(kind), fit(&ratings, kind).model);
        assert_eq!(model.width(), model.rank() + 2);
        let vectors = vectors_of(model.item_factors(), model.rank());
        for user in 0..60 {
            let (items, values) = ratings.of_user(user);
            let rest = |(&item, &value)| (item, value - model.expected(items, values, item) as f32);
            let row: BTreeMap<u32, f32> = items.iter().zip(values).map(rest).collect();
            let (a, b) = dense_system(&params, &vectors, &row);
            check_solves(&params, &a, &b, &model.user(user)[..model.rank()], 1e-4);
            for (folded, fitted) in model.fold_in(items, values).iter().zip(model.user(user)) {
                assert!((folded - fitted).abs() < 1e-3, "{kind} user {user}: {folded} is not {fitted}");
            }
        }
    }
}

#[test]
fn contributions_and_the_expected_add_up_to_the_score() {
    let ratings = ratings(&triples(50, 30, 0.4), 50, 30);
    for kind in KINDS {
        let model = fit(&ratings, kind).model;
        let (items, values) = ratings.of_user(17);
        // What is not a number is left out.
        let (items, values) = ([items, &[29]].concat(), [values, &[f32::NAN]].concat());
        let folded = model.fold_in(&items, &values);
        for item in 0..30 {
            let because = model.because(&items, &values, item);
            let sum = because.iter().sum::<f64>() + model.expected(&items, &values, item);
            let score = model.score(&folded, item);
            assert!((sum - score).abs() < 1e-5, "{kind}: {sum} is not {score}");
            let product = folded.iter().zip(model.scored_by(item)).map(|(a, b)| f64::from(*a) * f64::from(b));
            assert!((product.sum::<f64>() - score).abs() < 1e-5, "{kind}");
        }
    }
}

#[test]
fn who_rated_nothing_is_expected_at_the_mean() {
    let some: Triples = triples(40, 20, 0.4).into_iter().filter(|t| t.0 != 7 && t.1 != 3).collect();
    let model = fit(&ratings(&some, 40, 20), KINDS[0]).model;
    assert!((model.score(model.user(7), 3) - model.mean()).abs() < 1e-6);
    assert_eq!(model.fold_in(&[], &[]), model.user(7));
}

#[test]
fn any_number_of_threads_gives_the_same_arrays_and_they_the_model() {
    let ratings = ratings(&triples(300, 120, 0.3), 301, 121);
    for kind in KINDS {
        let fitted = in_pool(1, || fit(&ratings, kind));
        assert_eq!(in_pool(3, || fit(&ratings, kind)), fitted);
        let arrays = fitted.model.to_arrays();
        assert_eq!(Model::from_arrays(&arrays).as_ref(), Ok(&fitted.model), "{kind}");
        let has = [ITEM_BIASES, USER_BIASES, SUPPORT_WEIGHT].map(|name| arrays.contains_key(name));
        let biases = kind.contains("biases");
        assert_eq!(has, [biases, biases, !kind.contains("ranking=prediction")]);
    }
}

#[test]
fn damaged_biases_are_errors() {
    let arrays = fit(&ratings(&triples(40, 20, 0.4), 40, 20), KINDS[0]).model.to_arrays();
    let with = |name: &str, array: Option<Array>| {
        let mut arrays = arrays.clone();
        arrays.remove(name);
        arrays.extend(array.map(|array| (name.to_owned(), array)));
        Model::from_arrays(&arrays)
    };
    for (name, n) in [(USER_BIASES, 40), (ITEM_BIASES, 20)] {
        assert_eq!(with(name, None), Err(LoadError::NotFound { name: name.to_owned() }));
        let f32s = |data: Vec<f32>| Some(Array::F32 { shape: vec![data.len()], data });
        assert!(with(name, f32s(vec![0.0; n])).is_ok());
        assert!(with(name, f32s(vec![0.0; n + 1])).is_err());
        assert!(with(name, f32s(vec![f32::NAN; n])).is_err());
        assert!(with(name, Some(Array::F64 { shape: vec![n], data: vec![0.0; n] })).is_err());
    }
    for data in [vec![0, 1, 0], vec![0, 1, 0, 2], vec![0, 1, 1, 1], vec![1, 1, 0, 1]] {
        assert!(with("kind", Some(Array::U8 { shape: vec![data.len()], data })).is_err());
    }
    assert!(with("mean", Some(Array::F64 { shape: vec![1], data: vec![1e300] })).is_err());
    for data in [vec![0.0], vec![-1.0], vec![f64::NAN], vec![], vec![1.0, 1.0], vec![1e308]] {
        assert!(with(SUPPORT_WEIGHT, Some(Array::F64 { shape: vec![data.len()], data })).is_err());
    }
}

#[test]
fn a_model_that_names_neither_is_the_one_of_before() {
    let ratings = ratings(&triples(40, 20, 0.4), 40, 20);
    let plain = fit(&ratings, "rank=5 lambda=0.1 iterations=4");
    assert_eq!(fit(&ratings, "rank=5 lambda=0.1 iterations=4 biases=false ranking=auto"), plain);
    let names: Vec<String> = plain.model.to_arrays().into_keys().collect();
    let before = ["equation", "item_counts", "item_factors", "item_means", "kind", "mean", "scale", "user_factors"];
    assert_eq!(names, before);
    assert_eq!((plain.model.width(), plain.model.ranking()), (5, ListRule::Prediction));
    assert_eq!(plain.model.list_factors(), plain.model.item_factors());
    // A rule without biases orders the lists and changes nothing else.
    let mut ruled = fit(&ratings, "rank=5 lambda=0.1 iterations=4 ranking=support").model.to_arrays();
    assert!(ruled.remove(SUPPORT_WEIGHT).is_some());
    // Four flags, which a release that knows no rule refuses.
    let flags = |data: &[u8]| Array::U8 { shape: vec![data.len()], data: data.to_vec() };
    assert_eq!(ruled.insert("kind".to_owned(), flags(&[0, 1, 0])), Some(flags(&[0, 1, 0, 1])));
    assert_eq!(ruled, plain.model.to_arrays());
    let omitted = SPECS.iter().filter(|spec| matches!(spec.default, ParamDefault::Omitted(_)));
    assert_eq!(omitted.map(|spec| spec.name).collect::<Vec<_>>(), ["biases", "ranking"]);
}

#[test]
fn what_does_not_go_together_is_a_fault() {
    use ParamValue::{Bool, Text};
    let faults = |values: &[(&str, ParamValue)]| {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Params::from_values(&values).unwrap_err().into_iter().map(|fault| fault.name).collect::<Vec<_>>()
    };
    let implicit = ("feedback", Text("implicit".to_owned()));
    let support = ("ranking", Text("support".to_owned()));
    assert_eq!(faults(&[("biases", Text("yes".to_owned())), ("ranking", Bool(true))]), ["biases", "ranking"]);
    assert_eq!(faults(&[("biases", Bool(true)), ("nonnegative", Bool(true))]), ["biases"]);
    assert_eq!(faults(&[("biases", Bool(true)), implicit.clone(), support]), ["biases", "ranking"]);
    assert_eq!(params("feedback=implicit").ranking(), ListRule::Prediction);
    assert_eq!(params("biases=true").ranking(), ListRule::Support);
    assert_eq!(params("biases=true ranking=prediction").ranking(), ListRule::Prediction);
}

#[test]
fn an_early_stop_watches_what_is_served() {
    let triples = triples(200, 80, 0.3);
    let (validation, training): (Triples, Triples) =
        triples.iter().partition(|t| hash(u64::from(t.0 * 80 + t.1)).is_multiple_of(5));
    let (training, held_out) = (ratings(&training, 200, 80), ratings(&validation, 200, 80));
    let params = params("rank=4 lambda=0.1 iterations=5 early_stop=0 biases=true");
    let fit = als::fit(&training, Some(&held_out), None, &params, Seed(7)).unwrap();
    assert!((fit.validation[4] - rmse(&fit.model, &validation)).abs() < 1e-5, "{:?}", fit.validation);
}

#[test]
fn a_warm_start_takes_vectors_but_not_those_of_whole_ratings() {
    let ratings = ratings(&triples(200, 80, 0.3), 200, 80);
    let text = "rank=5 lambda=0.1 iterations=8 biases=true";
    let warm = |earlier: &str| {
        let model = fit(&ratings, earlier).model;
        let start = Start { model: &model, users: (0..200).collect(), items: (0..80).collect() };
        als::fit(&ratings, None, Some(&start), &params(text), Seed(7)).unwrap()
    };
    let (cold, again) = (fit(&ratings, text), warm(text));
    assert_eq!(again.notes, cold.notes);
    assert!(again.model != cold.model);
    let anew = warm("rank=5 lambda=0.1 iterations=8");
    assert_eq!(anew.model, cold.model);
    assert!(anew.notes.iter().any(|note| note.contains("only one of the two has biases")), "{:?}", anew.notes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// The index over the list factors finds the list that scoring every item gives.
    #[test]
    fn lists_are_the_best_by_the_rule(
        kind in 0..KINDS.len(), salt in 0u32..50, n in 1usize..12,
        exclude in prop::collection::btree_set(0u32..60, 0..20),
        only in prop::option::of(prop::collection::btree_set(0u32..60, 0..60)),
    ) {
        let triples: Triples = triples(90, 60, 0.2).into_iter().filter(|t| !hash(u64::from(t.0 ^ t.1 ^ salt)).is_multiple_of(3)).collect();
        let ratings = ratings(&triples, 90, 60);
        let model = fit(&ratings, KINDS[kind]).model;
        let weight = match model.to_arrays().get(SUPPORT_WEIGHT) {
            Some(Array::F64 { data, .. }) => data[0],
            _ => 0.0,
        };
        let exclude: Vec<u32> = exclude.into_iter().collect();
        let only = only.map(|only| Bitmap::from_fn(60, |item| only.contains(&item)));
        let admit = Admit { exclude: &exclude, only: only.as_ref() };
        let index = TopN::new(model.list_factors(), model.width(), Metric::InnerProduct);
        for vector in [model.user(salt).to_vec(), model.fold_in(&[3, 9, 40], &[5.0, 1.0, 4.5])] {
            let found = index.search(model.list_factors(), &vector, n, &admit);
            let value = |item: u32| {
                model.score(&vector, item) + weight * f64::from(model.item_counts()[item as usize]).ln_1p()
            };
            let admitted: Vec<u32> = (0..60).filter(|&item| admit.admits(item)).collect();
            prop_assert_eq!(found.len(), n.min(admitted.len()));
            let listed: BTreeSet<u32> = found.iter().map(|scored| scored.item).collect();
            prop_assert!(found.iter().all(|scored| (f64::from(scored.score) - value(scored.item)).abs() < 1e-4));
            prop_assert!(found.is_sorted_by(|a, b| value(a.item) > value(b.item) - 1e-5));
            let worst = found.iter().map(|scored| value(scored.item)).fold(f64::INFINITY, f64::min);
            prop_assert!(admitted.iter().all(|item| listed.contains(item) || value(*item) < worst + 1e-5));
        }
    }
}

/// Ratings of users and items that differ in kindness and quality besides taste. Some items are known to far more users than others, and
/// who knows an item likes to rate it the more the better it suits: what is chosen next is held out.
fn chosen() -> (Ratings, Triples) {
    const USERS: u32 = 300;
    const ITEMS: u32 = 400;
    let uniform = |stream: u64, key: u64| (hash(stream << 40 | key) >> 11) as f64 / (1u64 << 53) as f64;
    let of = |stream: u64, code: u32| uniform(stream, u64::from(code)) * 2.0 - 1.0;
    let (mut training, mut held_out) = (Triples::new(), Triples::new());
    for user in 0..USERS {
        for item in 0..ITEMS {
            let pair = u64::from(user * ITEMS + item);
            let taste = of(1, user) * of(2, item) + of(3, user) * of(4, item);
            let rating = 3.2 + 0.6 * of(5, user) + 0.8 * of(6, item) + 0.9 * taste + uniform(7, pair) - 0.5;
            let known = 0.9 * (1.0 + f64::from(hash(u64::from(item)) as u32 % ITEMS) / 8.0).powf(-0.9);
            if uniform(8, pair) < known * (rating / 5.0).powi(2) {
                let value = ((rating * 2.0).round() / 2.0).clamp(0.5, 5.0) as f32;
                let part = if uniform(9, pair) < 0.2 { &mut held_out } else { &mut training };
                part.push((user, item, value));
            }
        }
    }
    (ratings(&training, USERS as usize, ITEMS as usize), held_out)
}

#[test]
fn biases_predict_better_and_the_rule_ranks_better_than_popularity() {
    let (training, held_out) = chosen();
    let model = |text: &str| fit(&training, &format!("rank=8 lambda=0.14 iterations=15 {text}")).model;
    let ndcg = |list: &dyn Fn(u32, &[u32]) -> Vec<u32>| {
        let mut measured = Ranking::new(10, training.n_items());
        for user in 0..training.n_users() as u32 {
            let liked = held_out.iter().filter(|t| t.0 == user && f64::from(t.2) >= training.mean());
            let liked: Vec<u32> = liked.map(|t| t.1).collect();
            measured.add(&list(user, training.of_user(user).0), &liked);
        }
        measured.ndcg().unwrap()
    };
    let of_model = |model: &Model| {
        let index = TopN::new(model.list_factors(), model.width(), Metric::InnerProduct);
        ndcg(&|user, seen| {
            let admit = Admit { exclude: seen, only: None };
            let list = index.search(model.list_factors(), model.user(user), 10, &admit);
            list.into_iter().map(|scored| scored.item).collect()
        })
    };
    let counts = training.item_counts();
    let popularity = ndcg(&|_, seen| {
        let mut items: Vec<u32> = (0..counts.len() as u32).filter(|item| seen.binary_search(item).is_err()).collect();
        items.sort_by_key(|&item| (std::cmp::Reverse(counts[item as usize]), item));
        items
    });
    let (plain, biased) = (model(""), model("biases=true"));
    let (before, after) = (rmse(&plain, &held_out), rmse(&biased, &held_out));
    assert!(after < 0.99 * before, "{after} is not below {before}");
    let [prediction, by_prediction, support, both] =
        [&plain, &model("biases=true ranking=prediction"), &model("ranking=support"), &biased].map(of_model);
    assert!(both > 1.05 * popularity && support > 1.05 * popularity, "{both}, {support}, popularity {popularity}");
    assert!(by_prediction < popularity && prediction < popularity, "{by_prediction}, {prediction}, {popularity}");
}
