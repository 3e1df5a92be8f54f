//! When to stop: after each iteration ratings kept apart are predicted, and the vectors that did best are kept.

use std::cmp::Ordering;

use rayon::prelude::*;

use crate::chunks::split;
use crate::numeric::index_u32;

use super::biases::Biases;
use super::half_step::Factors;
use super::kernel::Lanes;
use super::params::Feedback;
use super::ratings::Ratings;

/// The items a ranking is judged by.
const TOP: usize = 10;

/// What the validation ratings are predicted with.
pub(super) struct Watch<'a> {
    training: &'a Ratings,
    validation: &'a Ratings,
    feedback: Feedback,
    scale: Option<(f32, f32)>,
    biases: Option<&'a Biases>,
    /// Of implicit feedback: the users whose rankings are judged.
    sample: Vec<u32>,
    /// Whether an item has a rating to train on.
    trained: Vec<bool>,
    patience: u32,
    /// After each iteration.
    pub(super) measures: Vec<f64>,
    /// The index in `measures` of the best.
    best: usize,
    best_items: Vec<Lanes>,
}

impl<'a> Watch<'a> {
    /// `None` where no validation rating has a user and an item to train on.
    pub(super) fn new(
        training: &'a Ratings,
        validation: &'a Ratings,
        feedback: Feedback,
        (scale, biases): (Option<(f32, f32)>, Option<&'a Biases>),
        rank: usize,
        patience: u32,
    ) -> Option<Watch<'a>> {
        let trained: Vec<bool> = training.item_counts().into_iter().map(|count| count > 0).collect();
        let n_users = sample_users(training.n_items(), rank);
        let mut watch = Watch {
            training,
            validation,
            feedback,
            scale,
            biases,
            sample: Vec::new(),
            trained,
            patience,
            measures: Vec::new(),
            best: 0,
            best_items: Vec::new(),
        };
        let usable = match feedback {
            Feedback::Explicit => {
                (0..watch.validation.n_users()).any(|user| watch.predictable(index_u32(user)).next().is_some())
            }
            Feedback::Implicit => {
                let mut sample = validation.sample_users(n_users);
                sample.retain(|&user| !watch.relevant(user).is_empty());
                watch.sample = sample;
                !watch.sample.is_empty()
            }
        };
        usable.then_some(watch)
    }

    /// Judges the vectors after an iteration; true when it is time to stop.
    pub(super) fn stop(&mut self, users: &Factors, items: &Factors) -> bool {
        let measure = match self.feedback {
            Feedback::Explicit => self.rmse(users, items),
            Feedback::Implicit => self.ndcg(users, items),
        };
        self.measures.push(measure);
        let last = self.measures.len() - 1;
        let better = match self.feedback {
            Feedback::Explicit => measure < self.measures[self.best],
            Feedback::Implicit => measure > self.measures[self.best],
        };
        if last == 0 || better {
            self.best = last;
            self.best_items.clone_from(&items.lanes);
        }
        self.patience > 0 && last - self.best >= self.patience as usize
    }

    /// The iteration, from 0, and its item vectors which did best, unless it was the last of those done.
    pub(super) fn better_items(self, done: usize) -> Option<(usize, Vec<Lanes>)> {
        (self.patience > 0 && self.best + 1 < done).then_some((self.best, self.best_items))
    }

    /// The validation ratings of a user which training can predict.
    fn predictable(&self, user: u32) -> impl Iterator<Item = (u32, f32)> {
        let (items, values) =
            if self.training.of_user(user).0.is_empty() { (&[][..], &[][..]) } else { self.validation.of_user(user) };
        let pairs = items.iter().copied().zip(values.iter().copied());
        pairs.filter(|(item, _)| self.trained[*item as usize])
    }

    /// Predictions are clamped to the scale, as they are served.
    fn rmse(&self, users: &Factors, items: &Factors) -> f64 {
        /// Users to a chunk.
        const CHUNK: usize = 1024;
        let (low, high) = self.scale.map_or((f64::MIN, f64::MAX), |(low, high)| (f64::from(low), f64::from(high)));
        let chunks: Vec<_> = split(0..self.validation.n_users(), CHUNK).collect();
        let of_chunk = |chunk: &std::ops::Range<usize>| {
            let mut sum = (0.0, 0u64);
            for user in chunk.clone() {
                for (item, value) in self.predictable(index_u32(user)) {
                    let expected = self.biases.map_or(0.0, |biases| biases.expected(biases.users[user], item));
                    let score = expected + f64::from(product(users.vector(user), items.vector(item as usize)));
                    let error = score.clamp(low, high) - f64::from(value);
                    sum = (sum.0 + error * error, sum.1 + 1);
                }
            }
            sum
        };
        let sums: Vec<(f64, u64)> = chunks.par_iter().map(of_chunk).collect();
        let (squares, n) = sums.iter().fold((0.0, 0), |total, sum| (total.0 + sum.0, total.1 + sum.1));
        (squares / n as f64).sqrt()
    }

    /// What a user liked and training did not show, ascending.
    fn relevant(&self, user: u32) -> Vec<u32> {
        let seen = self.training.of_user(user).0;
        let liked = self.predictable(user).filter(|(item, value)| *value > 0.0 && seen.binary_search(item).is_err());
        liked.map(|(item, _)| item).collect()
    }

    fn ndcg(&self, users: &Factors, items: &Factors) -> f64 {
        let of_user = |&user: &u32| {
            let relevant = self.relevant(user);
            let top = self.top(user, users, items);
            let gain = |position: usize| 1.0 / (position as f64 + 2.0).log2();
            let hits = top.iter().enumerate().filter(|(_, item)| relevant.binary_search(item).is_ok());
            let found: f64 = hits.map(|(position, _)| gain(position)).sum();
            found / (0..relevant.len().min(TOP)).map(gain).sum::<f64>()
        };
        let gains: Vec<f64> = self.sample.par_iter().map(of_user).collect();
        gains.iter().sum::<f64>() / gains.len() as f64
    }

    /// The best items the user has not rated in training, best first, equals by code.
    fn top(&self, user: u32, users: &Factors, items: &Factors) -> Vec<u32> {
        let vector = users.vector(user as usize);
        let mut seen = self.training.of_user(user).0.iter().peekable();
        let mut scored: Vec<(f32, u32)> = Vec::with_capacity(self.trained.len());
        for (item, trained) in self.trained.iter().enumerate() {
            let item = index_u32(item);
            if seen.next_if_eq(&&item).is_none() && *trained {
                scored.push((product(vector, items.vector(item as usize)), item));
            }
        }
        let order = |a: &(f32, u32), b: &(f32, u32)| -> Ordering { b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)) };
        if scored.len() > TOP {
            scored.select_nth_unstable_by(TOP - 1, order);
            scored.truncate(TOP);
        }
        scored.sort_unstable_by(order);
        scored.into_iter().map(|(_, item)| item).collect()
    }
}

/// How many users are ranked after an iteration: as many as cost four thousand million products, but at least 50.
fn sample_users(n_items: usize, rank: usize) -> usize {
    (4_000_000_000 / (n_items * rank).max(1)).clamp(50, 2000)
}

fn product(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}
