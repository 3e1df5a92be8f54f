//! Hold-out quality of the recommender on a csv of ratings, for `benches/als_quality.sh`, which puts Spark's and
//! implicit's beside it on the same split.
//!
//! usage: als_quality RATINGS.csv split FOLDER | compare | search | warm | lists
//! The csv has a header; its first four columns are user, item, rating and time, the ids being numbers. A split keeps one
//! rating in ten, by a hash of seed and row; every figure is the mean over three seeds. `split` writes
//! FOLDER/{train,test}_{seed}.csv for the peers.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::collections::BTreeMap;
use std::fmt::Write;

use millstream_learn::als::{self, Model, Params, Ratings, Start};
use millstream_learn::metrics::Ranking;
use millstream_learn::top_n::{Admit, Bitmap, Metric, TopN};
use millstream_learn::{ParamValue, Seed};
use rayon::prelude::*;

const SEEDS: [u64; 3] = [1, 2, 3];

/// What is compared with Spark: (name, parameters).
const EXPLICIT: [(&str, &str); 2] = [
    ("explicit rank 10 lambda 0.1 × 10", "rank=10 lambda=0.1 iterations=10"),
    ("nonnegative rank 12 lambda 0.16 × 21", "rank=12 lambda=0.16 iterations=21 nonnegative=true"),
];

/// What is compared with implicit.
const IMPLICIT: [(&str, &str); 2] = [
    ("implicit rank 32 alpha 1 lambda 0.1 × 15", "feedback=implicit rank=32 alpha=1 lambda=0.1 iterations=15"),
    ("implicit rank 64 alpha 5 lambda 10 × 15", "feedback=implicit rank=64 alpha=5 lambda=10 iterations=15"),
];

type Triple = (u32, u32, f32);

struct Split {
    n_users: usize,
    n_items: usize,
    train: Vec<Triple>,
    test: Vec<Triple>,
    /// Of `train`; only `warm` asks for them.
    times: Vec<u64>,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        [path, "split", folder] => write(&splits(path), folder),
        [path, "compare"] => compare(&splits(path)),
        [path, "search"] => search(&splits(path)),
        [path, "warm"] => warm(&splits(path)),
        [path, "lists"] => lists(&read(path)),
        _ => println!("usage: als_quality RATINGS.csv split FOLDER | compare | search | warm | lists"),
    }
}

/// The whole file as the training part.
fn read(path: &str) -> Split {
    let text = std::fs::read_to_string(path).unwrap();
    let (mut users, mut items) = (BTreeMap::new(), BTreeMap::new());
    let mut code = |map_is_users: bool, id: &str| {
        let map: &mut BTreeMap<u64, u32> = if map_is_users { &mut users } else { &mut items };
        let next = map.len() as u32;
        *map.entry(id.parse().unwrap()).or_insert(next)
    };
    let (triples, times): (Vec<Triple>, Vec<u64>) = text
        .lines()
        .skip(1)
        .map(|line| {
            let mut fields = line.split(',');
            let mut field = || fields.next().unwrap();
            let triple = (code(true, field()), code(false, field()), field().parse().unwrap());
            (triple, field().parse::<u64>().unwrap())
        })
        .unzip();
    Split { n_users: users.len(), n_items: items.len(), train: triples, test: vec![], times }
}

fn splits(path: &str) -> Vec<Split> {
    let Split { n_users, n_items, train: triples, times, .. } = read(path);
    let split = |seed: u64| {
        let held_out = |row: usize| mix(mix(seed) ^ row as u64).is_multiple_of(10);
        let part = |wanted: bool| {
            let rows = triples.iter().enumerate().filter(|(row, _)| held_out(*row) == wanted);
            rows.map(|(_, triple)| *triple).collect()
        };
        let times = times.iter().enumerate().filter(|(row, _)| !held_out(*row)).map(|(_, time)| *time).collect();
        Split { n_users, n_items, train: part(false), test: part(true), times }
    };
    SEEDS.iter().map(|&seed| split(seed)).collect()
}

fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn write(splits: &[Split], folder: &str) {
    for (split, seed) in splits.iter().zip(SEEDS) {
        for (name, triples) in [("train", &split.train), ("test", &split.test)] {
            let mut text = "user,item,rating\n".to_owned();
            triples.iter().for_each(|(user, item, value)| writeln!(text, "{user},{item},{value}").unwrap());
            std::fs::write(format!("{folder}/{name}_{seed}.csv"), text).unwrap();
        }
    }
}

impl Split {
    fn ratings(&self) -> Ratings {
        let t = &self.train;
        let (users, items) = (t.iter().map(|t| t.0).collect(), t.iter().map(|t| t.1).collect());
        Ratings::new(users, items, t.iter().map(|t| t.2).collect(), self.n_users, self.n_items).unwrap()
    }

    /// The first four fifths of the training ratings in the order of time.
    fn earlier(&self) -> Ratings {
        let mut order: Vec<usize> = (0..self.train.len()).collect();
        order.sort_by_key(|&row| self.times[row]);
        let train = order[..order.len() / 5 * 4].iter().map(|&row| self.train[row]).collect();
        Split { train, test: vec![], times: vec![], ..*self }.ratings()
    }

    /// The training ratings split once more, one in ten kept apart.
    fn inner(&self, seed: u64) -> Split {
        let kept_apart = |t: &&Triple| mix(mix(!seed) ^ (u64::from(t.0) << 32 | u64::from(t.1))).is_multiple_of(10);
        let (test, train) = self.train.iter().partition(kept_apart);
        Split { train, test, times: vec![], ..*self }
    }

    fn test_ratings(&self) -> Ratings {
        Split { train: self.test.clone(), test: vec![], times: vec![], ..*self }.ratings()
    }

    /// The test ratings of a user and an item with ratings to train on, as Spark's "drop" leaves them.
    fn known(&self, ratings: &Ratings) -> Vec<Triple> {
        let counts = ratings.item_counts();
        let known = |t: &&Triple| counts[t.1 as usize] > 0 && !ratings.of_user(t.0).0.is_empty();
        self.test.iter().filter(known).copied().collect()
    }
}

fn params(text: &str) -> Params {
    let value = |word: &str| match (word.parse::<i64>(), word.parse::<f64>(), word.parse::<bool>()) {
        (Ok(integer), _, _) => ParamValue::Integer(integer),
        (_, Ok(float), _) => ParamValue::Float(float),
        (_, _, Ok(bool)) => ParamValue::Bool(bool),
        _ => ParamValue::Text(word.to_owned()),
    };
    let pairs = text.split(' ').map(|pair| pair.split_once('=').unwrap());
    Params::from_values(&pairs.map(|(name, word)| (name.to_owned(), value(word))).collect()).unwrap()
}

fn rmse(test: &[Triple], predict: impl Fn(u32, u32) -> f64) -> f64 {
    let squares = test.iter().map(|&(user, item, value)| (predict(user, item) - f64::from(value)).powi(2));
    (squares.sum::<f64>() / test.len() as f64).sqrt()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// One JSON line a figure.
fn compare(splits: &[Split]) {
    let line = |case: &str, who: &str, measure: &str, value: f64| {
        println!(r#"{{"case":"{case}","who":"{who}","measure":"{measure}","value":{value:.5}}}"#);
    };
    let item_mean = mean(splits.iter().map(item_mean_rmse));
    for (case, text) in EXPLICIT {
        let both = splits.iter().zip(SEEDS).map(|(split, seed)| {
            let ratings = split.ratings();
            let test = split.known(&ratings);
            let model = als::fit(&ratings, None, None, &params(text), Seed(seed)).unwrap().model;
            let score = |user: u32, item: u32| model.score(model.user(user), item);
            (rmse(&test, score), rmse(&test, |user, item| model.clamp(score(user, item))))
        });
        let both: Vec<(f64, f64)> = both.collect();
        line(case, "millstream", "RMSE", mean(both.iter().map(|both| both.0)));
        line(case, "millstream, clamped", "RMSE", mean(both.iter().map(|both| both.1)));
        line(case, "item mean", "RMSE", item_mean);
    }
    for (case, text) in IMPLICIT {
        let of_seed = |(split, seed): (&Split, u64)| {
            let ratings = split.ratings();
            let model = als::fit(&ratings, None, None, &params(text), Seed(seed)).unwrap().model;
            ndcg(&model, &ratings, &split.known(&ratings))
        };
        line(case, "millstream", "NDCG@10", mean(splits.iter().zip(SEEDS).map(of_seed)));
    }
}

fn item_mean_rmse(split: &Split) -> f64 {
    let ratings = split.ratings();
    let means = ratings.item_means();
    rmse(&split.known(&ratings), |_, item| f64::from(means[item as usize]))
}

/// The mean over users with a test rating of Σ over hits in the ten best unseen items of 1/log₂(position + 1), over
/// that of the best order. Every test rating is a hit.
fn ndcg(model: &Model, ratings: &Ratings, test: &[Triple]) -> f64 {
    let mut relevant: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    test.iter().for_each(|t| relevant.entry(t.0).or_default().push(t.1));
    let users: Vec<(u32, Vec<u32>)> = relevant.into_iter().collect();
    let of_user = |(user, relevant): &(u32, Vec<u32>)| {
        let seen = ratings.of_user(*user).0;
        let unseen = (0..model.n_items() as u32).filter(|item| seen.binary_search(item).is_err());
        let mut scored: Vec<(f64, u32)> = unseen.map(|item| (model.score(model.user(*user), item), item)).collect();
        scored.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let gain = |position: usize| 1.0 / (position as f64 + 2.0).log2();
        let hits = scored.iter().take(10).enumerate().filter(|(_, (_, item))| relevant.contains(item));
        hits.map(|(position, _)| gain(position)).sum::<f64>() / (0..relevant.len().min(10)).map(gain).sum::<f64>()
    };
    let gains: Vec<f64> = users.par_iter().map(of_user).collect();
    mean(gains.into_iter())
}

/// Looks for the best parameters on a part of the training ratings kept apart, then fits all of them with what was found:
/// the test ratings have no say in the choice.
fn search(splits: &[Split]) {
    let inner: Vec<Split> = splits.iter().zip(SEEDS).map(|(split, seed)| split.inner(seed)).collect();
    let defaults = "rank=10 lambda=0.1 iterations=10";
    println!("hold-out: {:.5}  {defaults} (the defaults)", mean(held_out(splits, defaults)));
    println!("hold-out: {:.5}  item mean", mean(splits.iter().map(item_mean_rmse)));
    let damped = |splits: &[Split], damping: f64| mean(splits.iter().map(|split| biases_rmse(split, damping)));
    let dampings = [1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0];
    let tried = dampings.map(|damping| (damped(&inner, damping), damping));
    let (_, damping) = tried.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    println!("hold-out: {:.5}  mean + user's bias + item's bias, damping {damping}", damped(splits, damping));
    for kind in ["nonnegative=false", "nonnegative=true", "biases=true"] {
        let found = grid(&inner, kind);
        println!("{kind}, best first, RMSE on the ratings kept apart (mean of three seeds):");
        found.iter().take(8).for_each(|(rmse, text)| println!("  {rmse:.5}  {text}"));
        let (_, best) = &found[0];
        println!("  hold-out: {:.5}  {best}", mean(held_out(splits, best)));
    }
}

/// The RMSE of clamped predictions on the test ratings after every fifth iteration to the fortieth, over a grid; best
/// first.
fn grid(splits: &[Split], kind: &str) -> Vec<(f64, String)> {
    const ITERATIONS: u32 = 40;
    let prepared: Vec<(Ratings, Ratings)> =
        splits.iter().map(|split| (split.ratings(), split.test_ratings())).collect();
    let mut found: Vec<(f64, String)> = Vec::new();
    for rank in [2, 4, 8, 12, 16, 24] {
        for lambda in [0.06, 0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2] {
            let text = format!("rank={rank} lambda={lambda} {kind}");
            let long = params(&format!("{text} iterations={ITERATIONS} early_stop=0"));
            let of_seed = |((train, test), seed): (&(Ratings, Ratings), u64)| {
                als::fit(train, Some(test), None, &long, Seed(seed)).unwrap().validation
            };
            let after: Vec<Vec<f64>> = prepared.iter().zip(SEEDS).map(of_seed).collect();
            let at = |iteration: usize| mean(after.iter().map(|after| after[iteration - 1]));
            found.extend((5..=ITERATIONS as usize).step_by(5).map(|n| (at(n), format!("{text} iterations={n}"))));
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found
}

/// Of clamped predictions on the test ratings, for each split.
fn held_out<'a>(splits: &'a [Split], text: &'a str) -> impl Iterator<Item = f64> + 'a {
    splits.iter().zip(SEEDS).map(move |(split, seed)| {
        let ratings = split.ratings();
        let model = als::fit(&ratings, None, None, &params(text), Seed(seed)).unwrap().model;
        rmse(&split.known(&ratings), |user, item| model.clamp(model.score(model.user(user), item)))
    })
}

/// Of mean + user's bias + item's bias, each bias the mean of what is left over n + damping ratings, in twenty turns.
fn biases_rmse(split: &Split, damping: f64) -> f64 {
    let ratings = split.ratings();
    let (mut of_users, mut of_items) = (vec![0.0; split.n_users], vec![0.0; split.n_items]);
    let damped = |n: usize, left: &mut dyn Iterator<Item = (u32, f64)>| {
        let mut sums = vec![(0.0, damping); n];
        left.for_each(|(code, left)| sums[code as usize] = (sums[code as usize].0 + left, sums[code as usize].1 + 1.0));
        sums.into_iter().map(|(sum, n)| sum / n).collect::<Vec<f64>>()
    };
    let centre = ratings.mean();
    let over_mean: Vec<(u32, u32, f64)> = split.train.iter().map(|t| (t.0, t.1, f64::from(t.2) - centre)).collect();
    for _ in 0..20 {
        of_items = damped(split.n_items, &mut over_mean.iter().map(|t| (t.1, t.2 - of_users[t.0 as usize])));
        of_users = damped(split.n_users, &mut over_mean.iter().map(|t| (t.0, t.2 - of_items[t.1 as usize])));
    }
    let bias = |user: u32, item: u32| of_users[user as usize] + of_items[item as usize];
    rmse(&split.known(&ratings), |user, item| (centre + bias(user, item)).clamp(0.5, 5.0))
}

/// The lists of versions on the first one to four fifths of the ratings in the order of time, measured on the fifth after each as
/// Millstream does: what a user rated there at least as high as the mean is relevant; the first half of a new user's ratings is folded
/// in, and the second relevant.
fn lists(all: &Split) {
    let mut order: Vec<usize> = (0..all.train.len()).collect();
    order.sort_by_key(|&row| all.times[row]);
    let rows: Vec<Triple> = order.into_iter().map(|row| all.train[row]).collect();
    let fifth = |at: usize| rows.len() * at / 5;
    let parts: Vec<(Ratings, Vec<Triple>)> = (1..5)
        .map(|at| {
            let known = Split { train: rows[..fifth(at)].to_vec(), test: vec![], times: vec![], ..*all };
            (known.ratings(), rows[fifth(at)..fifth(at + 1)].to_vec())
        })
        .collect();
    let show = |name: &str, measured: &Ranking| {
        let (ndcg, recall) = (measured.ndcg().unwrap(), measured.recall().unwrap());
        println!("NDCG@10 {ndcg:.4}  recall@10 {recall:.4}  users {}  {name}", measured.users());
    };
    let mut popular = Ranking::new(10, all.n_items);
    for (known, next) in &parts {
        let counts = known.item_counts();
        let mut items: Vec<u32> = (0..all.n_items as u32).filter(|item| counts[*item as usize] > 0).collect();
        items.sort_by_key(|&item| std::cmp::Reverse(counts[item as usize]));
        rank_next(known, next, &mut popular, |_, (seen, _)| {
            items.iter().filter(|item| seen.binary_search(item).is_err()).take(10).copied().collect()
        });
    }
    show("popularity", &popular);
    let kinds = [
        "rank=10 lambda=0.1",
        "rank=12 lambda=0.16 iterations=21 nonnegative=true",
        "rank=16 lambda=0.14 iterations=15 biases=true ranking=prediction",
    ];
    for text in kinds {
        for text in [text.to_owned(), format!("{} ranking=support", text.replace(" ranking=prediction", ""))] {
            let mut measured = Ranking::new(10, all.n_items);
            for (known, next) in &parts {
                let model = als::fit(known, None, None, &params(&text), Seed(1)).unwrap().model;
                let index = TopN::new(model.list_factors(), model.width(), Metric::InnerProduct);
                let rated = Bitmap::from_fn(all.n_items, |item| model.item_counts()[item as usize] > 0);
                rank_next(known, next, &mut measured, |user, (seen, values)| {
                    let folded = (known.of_user(user).0.is_empty()).then(|| model.fold_in(seen, values));
                    let vector = folded.as_deref().unwrap_or(model.user(user));
                    let admit = Admit { exclude: seen, only: Some(&rated) };
                    let list = index.search(model.list_factors(), vector, 10, &admit);
                    list.into_iter().map(|scored| scored.item).collect()
                });
            }
            show(&text, &measured);
        }
    }
}

/// Adds the users of the part after `known`. `list`: of a user and what the user has rated.
fn rank_next(
    known: &Ratings,
    next: &[Triple],
    measured: &mut Ranking,
    list: impl Fn(u32, (&[u32], &[f32])) -> Vec<u32>,
) {
    let counts = known.item_counts();
    let mut of_users: BTreeMap<u32, Vec<Triple>> = BTreeMap::new();
    next.iter().for_each(|triple| of_users.entry(triple.0).or_default().push(*triple));
    for (user, triples) in of_users {
        let earlier = known.of_user(user);
        let half = if earlier.0.is_empty() { triples.len().div_ceil(2) } else { 0 };
        let is_known = |t: &&Triple| counts[t.1 as usize] > 0;
        let folded: BTreeMap<u32, f32> = triples[..half].iter().filter(is_known).map(|t| (t.1, t.2)).collect();
        let folded: (Vec<u32>, Vec<f32>) = folded.into_iter().unzip();
        let seen = if half == 0 { earlier } else { (&folded.0[..], &folded.1[..]) };
        if seen.0.is_empty() {
            continue;
        }
        let liked = triples[half..].iter().filter(is_known).filter(|t| f64::from(t.2) >= known.mean());
        let liked: Vec<u32> = liked.map(|t| t.1).filter(|item| seen.0.binary_search(item).is_err()).collect();
        if !liked.is_empty() {
            measured.add(&list(user, seen), &liked);
        }
    }
}

/// The hold-out RMSE after each iteration of a fit that begins anew, and of one that begins with a model of the first
/// four fifths of the ratings in the order of time, as a cumulative version does.
fn warm(splits: &[Split]) {
    let defaults = "rank=10 lambda=0.1 iterations=20 early_stop=0";
    let chosen = "rank=12 lambda=0.16 iterations=20 early_stop=0 nonnegative=true";
    for text in [defaults, chosen] {
        let curves = splits.iter().zip(SEEDS).map(|(split, seed)| {
            let (ratings, test) = (split.ratings(), split.test_ratings());
            let earlier = split.earlier();
            let model = als::fit(&earlier, None, None, &params(text), Seed(seed)).unwrap().model;
            let code = |known: bool, code: u32| if known { code } else { u32::MAX };
            let counts = earlier.item_counts();
            let start = Start {
                model: &model,
                users: (0..split.n_users as u32).map(|user| code(!earlier.of_user(user).0.is_empty(), user)).collect(),
                items: (0..split.n_items as u32).map(|item| code(counts[item as usize] > 0, item)).collect(),
            };
            let curve = |start| als::fit(&ratings, Some(&test), start, &params(text), Seed(seed)).unwrap().validation;
            (curve(None), curve(Some(&start)))
        });
        let (cold, warm): (Vec<Vec<f64>>, Vec<Vec<f64>>) = curves.unzip();
        println!("{text}: hold-out RMSE of clamped predictions after n iterations, begun anew and warm");
        for iteration in [1, 2, 3, 4, 5, 7, 10, 15, 20] {
            let at = |curves: &[Vec<f64>]| mean(curves.iter().map(|curve| curve[iteration - 1]));
            println!("  {iteration:>2}  {:.5}  {:.5}", at(&cold), at(&warm));
        }
    }
}
