//! Fitted vectors: estimates, fold-in of users never seen, and which ratings speak for an item.

use crate::arrays::{Array, Arrays, Dim, damaged, read_f32, read_finite, read_u8, read_u32};
use crate::error::LoadError;

use super::equation::{Equation, System, narrow};
use super::half_step::{Factors, exact_gram};
use super::params::{Feedback, LambdaScale};
use super::ratings::Ratings;

/// The largest rank there is, as in the parameters.
const RANK_MAX: usize = 1024;

/// The vectors of users and items, and the equation which a vector solves.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    rank: usize,
    /// n_users × rank, row-major.
    users: Vec<f32>,
    /// n_items × rank, row-major.
    items: Vec<f32>,
    equation: Equation,
    /// Explicit feedback only.
    scale: Option<(f32, f32)>,
    mean: f64,
    item_counts: Vec<u32>,
    item_means: Vec<f32>,
    /// YᵀY of the items, rank × rank, for implicit feedback; else empty.
    gram: Vec<f64>,
}

impl Model {
    pub(super) fn new(
        users: &Factors,
        items: &Factors,
        equation: Equation,
        scale: Option<(f32, f32)>,
        ratings: &Ratings,
    ) -> Model {
        let items_unpadded = items.unpadded();
        Model {
            rank: users.rank,
            users: users.unpadded(),
            gram: gram(&equation, &items_unpadded, users.rank),
            items: items_unpadded,
            equation,
            scale,
            mean: ratings.mean(),
            item_counts: ratings.item_counts(),
            item_means: ratings.item_means(),
        }
    }

    pub fn n_users(&self) -> usize {
        self.users.len() / self.rank
    }

    pub fn n_items(&self) -> usize {
        self.items.len() / self.rank
    }

    /// The length of a vector.
    pub fn rank(&self) -> usize {
        self.rank
    }

    pub fn feedback(&self) -> Feedback {
        self.equation.feedback
    }

    /// The lowest and the highest prediction; `None` for implicit feedback, whose scores are about 0 … 1.
    pub fn scale(&self) -> Option<(f32, f32)> {
        self.scale
    }

    /// Of the ratings fitted on.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// n_items: the number of ratings fitted on.
    pub fn item_counts(&self) -> &[u32] {
        &self.item_counts
    }

    /// n_items: the mean rating, 0 without one.
    pub fn item_means(&self) -> &[f32] {
        &self.item_means
    }

    /// n_users × rank, row-major.
    pub fn user_factors(&self) -> &[f32] {
        &self.users
    }

    /// n_items × rank, row-major.
    pub fn item_factors(&self) -> &[f32] {
        &self.items
    }

    /// The vector of a user below `n_users`; zeros where nothing was rated.
    pub fn user(&self, user: u32) -> &[f32] {
        vector(&self.users, user, self.rank)
    }

    /// The vector of an item below `n_items`; zeros where nobody rated it.
    pub fn item(&self, item: u32) -> &[f32] {
        vector(&self.items, item, self.rank)
    }

    /// The product of a user's vector (rank) and an item's, not clamped.
    pub fn score(&self, user_vector: &[f32], item: u32) -> f64 {
        user_vector.iter().zip(self.item(item)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    /// A score moved into the rating scale; as it is for implicit feedback.
    pub fn clamp(&self, score: f64) -> f64 {
        match self.scale {
            Some((low, high)) => score.clamp(f64::from(low), f64::from(high)),
            None => score,
        }
    }

    /// The vector of a user with these ratings: the exact solution of the training equation. `items`: distinct, below
    /// `n_items`, one for each value. Values count as ratings do, so a caller checks them against the scale first; one
    /// that is not finite is left out. No ratings give zeros.
    pub fn fold_in(&self, items: &[u32], values: &[f32]) -> Vec<f32> {
        self.solve(items, values).1.into_iter().map(narrow).collect()
    }

    /// For each of a user's ratings, what it adds to the user's score of `item`: they sum to the product of the folded-in
    /// vector and the item's (Hu, Koren and Volinsky 2008, §5). With non-negative vectors this is exact among the
    /// components which the user has.
    pub fn because(&self, items: &[u32], values: &[f32], item: u32) -> Vec<f64> {
        let (system, solution) = self.solve(items, values);
        let free: Vec<usize> = match self.equation.nonnegative {
            true => (0..self.rank).filter(|&at| solution[at] > 0.0).collect(),
            false => (0..self.rank).collect(),
        };
        // x·y = Σ t·(A⁻¹ y)·yᵢ, A being symmetric.
        let weights = match self.equation.is_zero(values) {
            true => vec![0.0; self.rank],
            false => system.solve_for_vector(&free, self.item(item)),
        };
        let of_rating = |(&rated, &value): (&u32, &f32)| {
            let along: f64 = weights.iter().zip(self.item(rated)).map(|(weight, y)| weight * f64::from(*y)).sum();
            if value.is_finite() { self.equation.target_f64(value) * along } else { 0.0 }
        };
        items.iter().zip(values).map(of_rating).collect()
    }

    fn solve(&self, items: &[u32], values: &[f32]) -> (System, Vec<f64>) {
        let finite = items.iter().zip(values).filter(|(_, value)| value.is_finite());
        let (items, values): (Vec<u32>, Vec<f32>) = finite.unzip();
        let vectors = items.iter().map(|&item| self.item(item));
        let system = System::new(&self.equation, &self.gram, self.rank, vectors, &values);
        let solution = match self.equation.is_zero(&values) {
            true => vec![0.0; self.rank],
            false => system.solve(self.equation.nonnegative, &[]),
        };
        (system, solution)
    }

    /// `user_factors` and `item_factors`: `f32[n, rank]`; `item_counts`: `u32[n_items]`; `item_means`: `f32[n_items]`; `mean`: `f64[1]`;
    /// `scale`: `f64[2]`, or `f64[0]` without one; `equation`: `f64[2]`, lambda and alpha; `kind`: `u8[3]`, whether feedback is
    /// implicit, lambda is taken times the ratings, vectors are non-negative.
    pub fn to_arrays(&self) -> Arrays {
        let matrix = |n, data: &[f32]| Array::F32 { shape: vec![n, self.rank], data: data.to_vec() };
        let scale = self.scale.map_or(Vec::new(), |(low, high)| vec![f64::from(low), f64::from(high)]);
        let times_ratings = match self.equation.lambda_scale {
            LambdaScale::Ratings => 1,
            LambdaScale::None => 0,
        };
        let kind = vec![u8::from(self.equation.is_implicit()), times_ratings, u8::from(self.equation.nonnegative)];
        let means = Array::F32 { shape: vec![self.n_items()], data: self.item_means.clone() };
        let arrays = [
            ("user_factors", matrix(self.n_users(), &self.users)),
            ("item_factors", matrix(self.n_items(), &self.items)),
            ("item_counts", Array::u32s(self.item_counts.clone())),
            ("item_means", means),
            ("mean", Array::f64s(vec![self.mean])),
            ("scale", Array::f64s(scale)),
            ("equation", Array::f64s(vec![self.equation.lambda, self.equation.alpha])),
            ("kind", Array::u8s(kind)),
        ];
        arrays.into_iter().map(|(name, array)| (name.to_owned(), array)).collect()
    }

    /// Reads what `to_arrays` gave; anything else is an error which names the array.
    pub fn from_arrays(arrays: &Arrays) -> Result<Model, LoadError> {
        let users = read_f32(arrays, "user_factors", &[Dim::Any, Dim::Any])?;
        let rank = arrays["user_factors"].shape()[1];
        if !(1..=RANK_MAX).contains(&rank) {
            return Err(damaged("user_factors", format!("the rank is {rank}, not 1 to {RANK_MAX}")));
        }
        let items = read_f32(arrays, "item_factors", &[Dim::Any, Dim::Exactly(rank)])?;
        let n_items = items.len() / rank;
        let item_counts = read_u32(arrays, "item_counts", &[Dim::Exactly(n_items)])?;
        let item_means = read_f32(arrays, "item_means", &[Dim::Exactly(n_items)])?;
        let equation = read_equation(arrays)?;
        Ok(Model {
            rank,
            users: users.to_vec(),
            items: items.to_vec(),
            equation,
            scale: read_scale(arrays, equation.feedback)?,
            mean: read_finite(arrays, "mean", &[Dim::Exactly(1)])?[0],
            item_counts: item_counts.to_vec(),
            item_means: item_means.to_vec(),
            gram: gram(&equation, items, rank),
        })
    }
}

/// YᵀY where the equation has it.
fn gram(equation: &Equation, items: &[f32], rank: usize) -> Vec<f64> {
    if equation.is_implicit() { exact_gram(items, rank) } else { Vec::new() }
}

fn vector(factors: &[f32], code: u32, rank: usize) -> &[f32] {
    &factors[code as usize * rank..(code as usize + 1) * rank]
}

fn read_equation(arrays: &Arrays) -> Result<Equation, LoadError> {
    let numbers = read_finite(arrays, "equation", &[Dim::Exactly(2)])?;
    let (lambda, alpha) = (numbers[0], numbers[1]);
    if lambda <= 0.0 || alpha < 0.0 {
        return Err(damaged("equation", format!("lambda is {lambda} and alpha {alpha}")));
    }
    let kind = read_u8(arrays, "kind", &[Dim::Exactly(3)])?;
    if let Some(at) = kind.iter().position(|flag| *flag > 1) {
        return Err(damaged("kind", format!("value {at} is {}, not 0 or 1", kind[at])));
    }
    Ok(Equation {
        feedback: if kind[0] == 1 { Feedback::Implicit } else { Feedback::Explicit },
        lambda,
        lambda_scale: if kind[1] == 1 { LambdaScale::Ratings } else { LambdaScale::None },
        alpha,
        nonnegative: kind[2] == 1,
    })
}

fn read_scale(arrays: &Arrays, feedback: Feedback) -> Result<Option<(f32, f32)>, LoadError> {
    match (read_finite(arrays, "scale", &[Dim::Any])?, feedback) {
        ([], Feedback::Implicit) => Ok(None),
        ([low, high], Feedback::Explicit) if low <= high => Ok(Some((narrow(*low), narrow(*high)))),
        (other, _) => Err(damaged("scale", format!("it holds {other:?}"))),
    }
}
