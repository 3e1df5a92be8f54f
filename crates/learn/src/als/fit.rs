//! The iterations: items from users, then users from items, so that every user's vector is in the end the solution for
//! the final vectors of the items, which is what fold-in computes.

use std::borrow::Cow;

use crate::error::FitError;
use crate::{Seed, Step, Stopped};

use super::biases::Biases;
use super::early_stop::Watch;
use super::equation::Equation;
use super::half_step::{Factors, Method, half_step};
use super::initial::{cold_users, unfit, warm};
use super::model::Model;
use super::params::{Feedback, Params};
use super::ratings::Ratings;

/// A warm start: for each code of the new tables the code it had in `model`, `u32::MAX` for a new one.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    pub model: &'a Model,
    /// One for each user of the ratings.
    pub users: Vec<u32>,
    /// One for each item of the ratings.
    pub items: Vec<u32>,
}

/// What a fit gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    pub model: Model,
    /// The iterations behind the model's vectors: those after the best of an early stop are not counted.
    pub iterations: u32,
    /// After each iteration that was done: the RMSE of clamped predictions (explicit) or NDCG@10 of at most 2,000 users
    /// (implicit) on the validation ratings. Empty without any that can be predicted.
    pub validation: Vec<f64>,
    /// For people: what was noticed and decided.
    pub notes: Vec<String>,
}

/// As [`fit_until`], to the end.
///
/// # Errors
/// Those of [`fit_until`] but [`FitError::Stopped`].
pub fn fit(
    ratings: &Ratings,
    validation: Option<&Ratings>,
    start: Option<&Start>,
    params: &Params,
    seed: Seed,
) -> Result<Fit, FitError> {
    fit_until(ratings, validation, start, params, seed, &|_| false)
}

/// Fits vectors of users and items to the ratings. `validation`, of the same users and items, is for stopping early; its
/// pairs of a user or an item without ratings to train on are left out. `stopped` is asked before every half of an iteration, its steps being
/// iterations.
///
/// # Errors
/// [`FitError::NoRows`]; [`FitError::ValidationShape`]; [`FitError::StartLength`] and [`FitError::StartCode`];
/// [`FitError::Stopped`] when `stopped` says so.
pub fn fit_until(
    ratings: &Ratings,
    validation: Option<&Ratings>,
    start: Option<&Start>,
    params: &Params,
    seed: Seed,
    stopped: Stopped,
) -> Result<Fit, FitError> {
    let Some(extremes) = ratings.extremes() else {
        return Err(FitError::NoRows);
    };
    check_validation(ratings, validation)?;
    let scale = scale_of(params, extremes);
    let mut notes = notes_on(ratings, extremes, scale, params);
    let biases = params.biases.then(|| Biases::fit(ratings));
    let watch = validation.and_then(|validation| {
        let known = (scale, biases.as_ref());
        Watch::new(ratings, validation, params.feedback(), known, params.rank as usize, params.early_stop)
    });
    if validation.is_some_and(|validation| !validation.is_empty()) && watch.is_none() {
        notes.push("no validation rating has a user and an item to train on, so nothing was stopped early".to_owned());
    }
    let method = Method::of(&Equation::of(params), params.rank as usize);
    let rests = biases.as_ref().map(|biases| biases.rests(ratings));
    let fitted = rests.as_ref().unwrap_or(ratings);
    let trained = iterate(fitted, start, params, seed, (watch, stopped), method, &mut notes)?;
    let (users, items) = (trained.users.unpadded(), trained.items.unpadded());
    let model = Model::new(users, items, params, scale, (ratings, biases));
    Ok(Fit { model, iterations: trained.iterations, validation: trained.measures, notes })
}

/// What vectors are fitted to, for who fits them elsewhere: with biases what these leave over of the ratings.
pub fn fitted_to<'a>(ratings: &'a Ratings, params: &Params) -> Cow<'a, Ratings> {
    if params.biases { Cow::Owned(Biases::fit(ratings).rests(ratings)) } else { Cow::Borrowed(ratings) }
}

/// The fit of vectors that were fitted elsewhere to what [`fitted_to`] says, the users' last. `users`: n_users × rank, and `items`: n_items ×
/// rank, finite and row-major; 0 where there is no rating.
///
/// # Errors
/// [`FitError::NoRows`]; [`FitError::VectorCount`].
pub fn from_vectors(
    ratings: &Ratings,
    params: &Params,
    (users, items): (Vec<f32>, Vec<f32>),
    iterations: u32,
) -> Result<Fit, FitError> {
    let Some(extremes) = ratings.extremes() else {
        return Err(FitError::NoRows);
    };
    let rank = params.rank as usize;
    for (side, vectors, expected) in [("users", &users, ratings.n_users()), ("items", &items, ratings.n_items())] {
        if vectors.len() != expected * rank {
            return Err(FitError::VectorCount { side, expected, found: vectors.len() });
        }
    }
    let scale = scale_of(params, extremes);
    let notes = notes_on(ratings, extremes, scale, params);
    let biases = params.biases.then(|| Biases::fit(ratings));
    let model = Model::new(users, items, params, scale, (ratings, biases));
    Ok(Fit { model, iterations, validation: Vec::new(), notes })
}

fn scale_of(params: &Params, extremes: (f32, f32)) -> Option<(f32, f32)> {
    match params.feedback() {
        Feedback::Explicit => Some(params.scale.unwrap_or(extremes)),
        Feedback::Implicit => None,
    }
}

struct Trained {
    users: Factors,
    items: Factors,
    iterations: u32,
    measures: Vec<f64>,
}

fn iterate(
    ratings: &Ratings,
    start: Option<&Start>,
    params: &Params,
    seed: Seed,
    (mut watch, stopped): (Option<Watch>, Stopped),
    method: Method,
    notes: &mut Vec<String>,
) -> Result<Trained, FitError> {
    let go_on = |done| match stopped(Step { done, of: params.iterations }) {
        true => Err(FitError::Stopped),
        false => Ok(()),
    };
    let equation = Equation::of(params);
    let (by_user, by_item) = (&ratings.rows, ratings.rows.transposed(ratings.n_items()));
    let (mut users, mut items) = begin(ratings, start, params, seed, method, notes)?;
    let mut iterations = 0;
    for _ in 0..params.iterations {
        go_on(iterations)?;
        half_step(&by_item, &users, &equation, method, &mut items);
        go_on(iterations)?;
        half_step(by_user, &items, &equation, method, &mut users);
        iterations += 1;
        if watch.as_mut().is_some_and(|watch| watch.stop(&users, &items)) {
            break;
        }
    }
    // The items decide the users: only theirs are kept of the best iteration, and the last half-step is done again.
    let mut users_are_exact = method == Method::Exact;
    let mut measures = Vec::new();
    if let Some(mut watch) = watch {
        measures = std::mem::take(&mut watch.measures);
        if let Some((best, best_items)) = watch.better_items(measures.len()) {
            notes.push(stop_note(iterations, params, best, &measures, params.feedback()));
            items.lanes = best_items;
            iterations = crate::numeric::index_u32(best) + 1;
            users_are_exact = false;
        }
    }
    if !users_are_exact {
        go_on(iterations)?;
        half_step(by_user, &items, &equation, Method::Exact, &mut users);
    }
    Ok(Trained { users, items, iterations, measures })
}

/// The first vectors: of the earlier model where there is one that fits, else random.
fn begin(
    ratings: &Ratings,
    start: Option<&Start>,
    params: &Params,
    seed: Seed,
    method: Method,
    notes: &mut Vec<String>,
) -> Result<(Factors, Factors), FitError> {
    let (equation, rank) = (Equation::of(params), params.rank as usize);
    if let Some(start) = start {
        match unfit(start.model, params) {
            None => return warm(&ratings.rows, ratings.n_items(), start, &equation, method, seed),
            Some(reason) => notes.push(format!("began anew and not from the earlier version: {reason}")),
        }
    }
    Ok((cold_users(&ratings.rows, rank, &equation, seed), Factors::zeros(ratings.n_items(), rank)))
}

fn check_validation(ratings: &Ratings, validation: Option<&Ratings>) -> Result<(), FitError> {
    let Some(validation) = validation else { return Ok(()) };
    let expected = (ratings.n_users(), ratings.n_items());
    let found = (validation.n_users(), validation.n_items());
    if found == expected { Ok(()) } else { Err(FitError::ValidationShape { expected, found }) }
}

fn stop_note(done: u32, params: &Params, best: usize, measures: &[f64], feedback: Feedback) -> String {
    let measure = match feedback {
        Feedback::Explicit => "RMSE",
        Feedback::Implicit => "NDCG@10",
    };
    let kept = best + 1;
    let value = measures[best];
    let most = params.iterations;
    format!(
        "stopped after {done} of {most} iterations; kept those of iteration {kept}, whose validation {measure} {value:.4} was the best"
    )
}

fn notes_on(ratings: &Ratings, extremes: (f32, f32), scale: Option<(f32, f32)>, params: &Params) -> Vec<String> {
    let mut notes = Vec::new();
    let rank = params.rank as usize;
    let n_items = ratings.item_counts().into_iter().filter(|count| *count > 0).count();
    let n_users = (0..ratings.n_users()).filter(|&user| !ratings.rows.range(user).is_empty()).count();
    for (what, n) in [("users", n_users), ("items", n_items)] {
        if rank > n {
            notes.push(format!(
                "rank {rank} is above the number of {what} with ratings, {n}: rank {n} predicts as well"
            ));
        }
    }
    for (what, all, with) in [("users", ratings.n_users(), n_users), ("items", ratings.n_items(), n_items)] {
        if with < all {
            notes.push(format!("{} of {all} {what} have no ratings: their vectors are 0", all - with));
        }
    }
    let (low, high) = extremes;
    if let Some((lowest, highest)) = scale
        && (low < lowest || high > highest)
    {
        let inside = |value: &&f32| **value >= lowest && **value <= highest;
        let n = ratings.len() - ratings.rows.values.iter().filter(inside).count();
        notes.push(format!("{n} ratings lie outside the scale {lowest} to {highest}; they were fitted on as they are"));
    }
    if low == high && params.feedback == Feedback::Explicit {
        notes.push(format!("every rating is {low}: there is no taste in them to learn"));
    }
    notes
}
