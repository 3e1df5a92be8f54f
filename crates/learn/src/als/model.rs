//! Fitted vectors: estimates, fold-in of users never seen, and which ratings speak for an item.

use crate::arrays::{Array, Arrays, Dim, damaged, read_f32, read_finite, read_u8, read_u32};
use crate::error::LoadError;

use super::biases::Biases;
use super::equation::{Equation, System, narrow};
use super::half_step::exact_gram;
use super::params::{Feedback, LambdaScale, ListRule, Params};
use super::ratings::Ratings;

/// The largest rank there is, as in the parameters.
const RANK_MAX: usize = 1024;

/// Standard deviations of the ratings that an item gains in lists each time its ratings are e times as many. By NDCG@10 on
/// MovieLens the top is flat from 0.5 to 0.8.
const SUPPORT_WEIGHT: f64 = 0.7;

/// The vectors of users and items, and the equation which a vector solves.
///
/// Where there are biases or a rule for lists, a user's vector has two values more than an item's: what the user's ratings are
/// expected at, and 1. So a list is in the order of products whatever the rule, and an index over
/// [`list_factors`](Model::list_factors) finds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    rank: usize,
    /// n_users × width, row-major.
    users: Vec<f32>,
    /// n_items × rank, row-major.
    items: Vec<f32>,
    biases: Option<Biases>,
    /// Of [`ListRule::Support`], in the scale of the ratings.
    support_weight: Option<f64>,
    /// n_items × width, row-major; empty where it would be `items`.
    lists: Vec<f32>,
    equation: Equation,
    /// Of explicit feedback, where it is known.
    scale: Option<(f32, f32)>,
    mean: f64,
    item_counts: Vec<u32>,
    item_means: Vec<f32>,
    /// YᵀY of the items, rank × rank, for implicit feedback; else empty.
    gram: Vec<f64>,
}

impl Model {
    /// `users`: n_users × rank; `items`: n_items × rank.
    pub(super) fn new(
        users: Vec<f32>,
        items: Vec<f32>,
        params: &Params,
        scale: Option<(f32, f32)>,
        (ratings, biases): (&Ratings, Option<Biases>),
    ) -> Model {
        let (equation, rank) = (Equation::of(params), params.rank as usize);
        let support_weight = match params.ranking() {
            ListRule::Prediction => None,
            ListRule::Support => {
                let deviation = ratings.deviation();
                // Of equal ratings the count alone decides.
                Some(SUPPORT_WEIGHT * if deviation > 0.0 { deviation } else { 1.0 })
            }
        };
        let model = Model {
            rank,
            users,
            gram: gram(&equation, &items, rank),
            items,
            biases,
            support_weight,
            lists: Vec::new(),
            equation,
            scale,
            mean: ratings.mean(),
            item_counts: ratings.item_counts(),
            item_means: ratings.item_means(),
        };
        model.widened()
    }

    /// With what [`to_arrays`](Model::to_arrays) leaves out. `users`: n_users × rank.
    fn widened(mut self) -> Model {
        if !self.is_wide() {
            return self;
        }
        let biases = self.biases.as_ref();
        let users = self.users.chunks_exact(self.rank).enumerate();
        let users = users.flat_map(|(user, vector)| {
            let expected = biases.map_or(0.0, |biases| self.mean + f64::from(biases.users[user]));
            vector.iter().copied().chain([narrow(expected), 1.0])
        });
        let users = users.collect();
        let items = self.items.chunks_exact(self.rank).enumerate();
        let lists = items.flat_map(|(item, vector)| {
            let bias = biases.map_or(0.0, |biases| f64::from(biases.items[item]));
            let support = self.support_weight.map_or(0.0, |weight| weight * f64::from(self.item_counts[item]).ln_1p());
            vector.iter().copied().chain([1.0, narrow(bias + support)])
        });
        (self.lists, self.users) = (lists.collect(), users);
        self
    }

    pub fn n_users(&self) -> usize {
        self.users.len() / self.width()
    }

    pub fn n_items(&self) -> usize {
        self.items.len() / self.rank
    }

    /// The length of an item's vector.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The length of a user's vector: the rank, or two more.
    pub fn width(&self) -> usize {
        if self.is_wide() { self.rank + 2 } else { self.rank }
    }

    fn is_wide(&self) -> bool {
        self.biases.is_some() || self.support_weight.is_some()
    }

    pub(super) fn has_biases(&self) -> bool {
        self.biases.is_some()
    }

    pub fn ranking(&self) -> ListRule {
        if self.support_weight.is_some() { ListRule::Support } else { ListRule::Prediction }
    }

    pub fn feedback(&self) -> Feedback {
        self.equation.feedback
    }

    /// The lowest and the highest prediction; `None` for implicit feedback, whose scores are about 0 … 1, and where it is not known.
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

    /// n_users × width, row-major.
    pub fn user_factors(&self) -> &[f32] {
        &self.users
    }

    /// n_items × rank, row-major.
    pub fn item_factors(&self) -> &[f32] {
        &self.items
    }

    /// n_items × width, row-major: the order of their products with a user's vector is that of the user's list.
    pub fn list_factors(&self) -> &[f32] {
        if self.is_wide() { &self.lists } else { &self.items }
    }

    /// The vector (width) of a user below `n_users`; of who rated nothing the first `rank` values are 0.
    pub fn user(&self, user: u32) -> &[f32] {
        vector(&self.users, user, self.width())
    }

    /// The vector of an item below `n_items`; zeros where nobody rated it.
    pub fn item(&self, item: u32) -> &[f32] {
        vector(&self.items, item, self.rank)
    }

    /// What the product with a user's vector is the user's score of the item: width.
    pub fn scored_by(&self, item: u32) -> Vec<f32> {
        let bias = self.biases.as_ref().map_or(0.0, |biases| biases.items[item as usize]);
        self.item(item).iter().copied().chain([1.0, bias]).take(self.width()).collect()
    }

    /// The product of a user's vector (width) and an item's, with the biases; not clamped.
    pub fn score(&self, user_vector: &[f32], item: u32) -> f64 {
        let (tastes, expected) = user_vector.split_at(self.rank);
        let product = tastes.iter().zip(self.item(item)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        match (&self.biases, expected) {
            (Some(biases), [expected, _]) => product + (f64::from(*expected) + f64::from(biases.items[item as usize])),
            _ => product,
        }
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
    /// that is not finite is left out. No ratings give the vector of a user who rated nothing.
    pub fn fold_in(&self, items: &[u32], values: &[f32]) -> Vec<f32> {
        let bias = self.user_bias(items, values);
        let expected = bias.map_or(0.0, |bias| self.mean + f64::from(bias));
        let solution = self.solve(bias, items, values).1;
        solution.into_iter().map(narrow).chain([narrow(expected), 1.0]).take(self.width()).collect()
    }

    /// What a user with these ratings is expected to say of the item before taste: the part of the score that
    /// [`because`](Model::because) does not share out. 0 without biases.
    pub fn expected(&self, items: &[u32], values: &[f32], item: u32) -> f64 {
        let bias = self.user_bias(items, values);
        self.biases.as_ref().zip(bias).map_or(0.0, |(biases, bias)| biases.expected(bias, item))
    }

    fn user_bias(&self, items: &[u32], values: &[f32]) -> Option<f32> {
        let (items, values) = finite(items, values);
        self.biases.as_ref().map(|biases| biases.of_user(&items, &values))
    }

    /// What the vectors are fitted to.
    fn rest(&self, user_bias: Option<f32>, item: u32, value: f32) -> f32 {
        self.biases.as_ref().zip(user_bias).map_or(value, |(biases, bias)| biases.rest(bias, item, value))
    }

    /// For each of a user's ratings, what it adds to the user's score of `item`: with [`expected`](Model::expected) they sum to the
    /// score of the folded-in vector (Hu, Koren and Volinsky 2008, §5). With non-negative vectors this is exact among the
    /// components which the user has.
    pub fn because(&self, items: &[u32], values: &[f32], item: u32) -> Vec<f64> {
        let bias = self.user_bias(items, values);
        let (system, solution) = self.solve(bias, items, values);
        let free: Vec<usize> = match self.equation.nonnegative {
            true => (0..self.rank).filter(|&at| solution[at] > 0.0).collect(),
            false => (0..self.rank).collect(),
        };
        // x·y = Σ t·(A⁻¹ y)·yᵢ, A being symmetric.
        let weights = match solution.iter().all(|value| *value == 0.0) {
            true => vec![0.0; self.rank],
            false => system.solve_for_vector(&free, self.item(item)),
        };
        let of_rating = |(&rated, &value): (&u32, &f32)| {
            let along: f64 = weights.iter().zip(self.item(rated)).map(|(weight, y)| weight * f64::from(*y)).sum();
            if value.is_finite() { self.equation.target_f64(self.rest(bias, rated, value)) * along } else { 0.0 }
        };
        items.iter().zip(values).map(of_rating).collect()
    }

    fn solve(&self, user_bias: Option<f32>, items: &[u32], values: &[f32]) -> (System, Vec<f64>) {
        let (items, mut values) = finite(items, values);
        values.iter_mut().zip(&items).for_each(|(value, &item)| *value = self.rest(user_bias, item, *value));
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
    /// implicit, lambda is taken times the ratings, vectors are non-negative; and a fourth where any of these follow. With biases `user_biases`: `f32[n_users]` and
    /// `item_biases`: `f32[n_items]`; where lists are by support `support_weight`: `f64[1]`.
    pub fn to_arrays(&self) -> Arrays {
        let matrix = |n, data: &[f32]| Array::F32 { shape: vec![n, self.rank], data: data.to_vec() };
        let scale = self.scale.map_or(Vec::new(), |(low, high)| vec![f64::from(low), f64::from(high)]);
        let times_ratings = match self.equation.lambda_scale {
            LambdaScale::Ratings => 1,
            LambdaScale::None => 0,
        };
        let mut kind = vec![u8::from(self.equation.is_implicit()), times_ratings, u8::from(self.equation.nonnegative)];
        if self.is_wide() {
            // A release that does not know biases and rules refuses four flags, instead of scoring without them.
            kind.push(1);
        }
        let means = Array::F32 { shape: vec![self.n_items()], data: self.item_means.clone() };
        let users: Vec<f32> =
            self.users.chunks_exact(self.width()).flat_map(|vector| &vector[..self.rank]).copied().collect();
        let arrays = [
            ("user_factors", matrix(self.n_users(), &users)),
            ("item_factors", matrix(self.n_items(), &self.items)),
            ("item_counts", Array::u32s(self.item_counts.clone())),
            ("item_means", means),
            ("mean", Array::f64s(vec![self.mean])),
            ("scale", Array::f64s(scale)),
            ("equation", Array::f64s(vec![self.equation.lambda, self.equation.alpha])),
            ("kind", Array::u8s(kind)),
        ];
        let biases = self.biases.iter().flat_map(|biases| {
            let of = |data: &[f32]| Array::F32 { shape: vec![data.len()], data: data.to_vec() };
            [(USER_BIASES, of(&biases.users)), (ITEM_BIASES, of(&biases.items))]
        });
        let weight = self.support_weight.map(|weight| (SUPPORT, Array::f64s(vec![weight])));
        arrays.into_iter().chain(biases).chain(weight).map(|(name, array)| (name.to_owned(), array)).collect()
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
        let mean = read_finite(arrays, "mean", &[Dim::Exactly(1)])?[0];
        let model = Model {
            rank,
            users: users.to_vec(),
            items: items.to_vec(),
            biases: read_biases(arrays, mean, users.len() / rank, n_items)?,
            support_weight: read_support_weight(arrays)?,
            lists: Vec::new(),
            equation,
            scale: read_scale(arrays, equation.feedback)?,
            mean,
            item_counts: item_counts.to_vec(),
            item_means: item_means.to_vec(),
            gram: gram(&equation, items, rank),
        };
        let n_flags = if model.is_wide() { 4 } else { 3 };
        if arrays["kind"].shape() != [n_flags] {
            return Err(damaged("kind", format!("there are not {n_flags} flags, as the other arrays ask for")));
        }
        if model.biases.is_some() && (model.equation.is_implicit() || model.equation.nonnegative) {
            return Err(damaged(USER_BIASES, "biases go with explicit feedback and vectors of any sign".to_owned()));
        }
        let model = model.widened();
        if !model.users.iter().chain(&model.lists).all(|value| value.is_finite()) {
            return Err(damaged(
                if model.biases.is_some() { "mean" } else { SUPPORT },
                "scores would not be finite".to_owned(),
            ));
        }
        Ok(model)
    }
}

const USER_BIASES: &str = "user_biases";
const ITEM_BIASES: &str = "item_biases";
const SUPPORT: &str = "support_weight";

fn finite(items: &[u32], values: &[f32]) -> (Vec<u32>, Vec<f32>) {
    items.iter().zip(values).filter(|(_, value)| value.is_finite()).unzip()
}

/// Both arrays, or none.
fn read_biases(arrays: &Arrays, mean: f64, n_users: usize, n_items: usize) -> Result<Option<Biases>, LoadError> {
    if !arrays.contains_key(USER_BIASES) && !arrays.contains_key(ITEM_BIASES) {
        return Ok(None);
    }
    let users = read_f32(arrays, USER_BIASES, &[Dim::Exactly(n_users)])?.to_vec();
    let items = read_f32(arrays, ITEM_BIASES, &[Dim::Exactly(n_items)])?.to_vec();
    Ok(Some(Biases { mean, users, items }))
}

fn read_support_weight(arrays: &Arrays) -> Result<Option<f64>, LoadError> {
    if !arrays.contains_key(SUPPORT) {
        return Ok(None);
    }
    let weight = read_finite(arrays, SUPPORT, &[Dim::Exactly(1)])?[0];
    if weight > 0.0 { Ok(Some(weight)) } else { Err(damaged(SUPPORT, format!("it is {weight}"))) }
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
    let kind = read_u8(arrays, "kind", &[Dim::Any])?;
    if !(3..=4).contains(&kind.len()) {
        return Err(damaged("kind", format!("{} flags, not 3 or 4", kind.len())));
    }
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
        // Of explicit feedback where it is not known, as of factors that were trained elsewhere.
        ([], Feedback::Implicit | Feedback::Explicit) => Ok(None),
        ([low, high], Feedback::Explicit) if low <= high => Ok(Some((narrow(*low), narrow(*high)))),
        (other, _) => Err(damaged("scale", format!("it holds {other:?}"))),
    }
}
