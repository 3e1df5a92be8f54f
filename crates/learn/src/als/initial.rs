//! Where the iterations begin: random vectors, or those of an earlier model.

use crate::Seed;
use crate::error::FitError;
use crate::numeric::{mix, random};

use super::equation::{Equation, narrow};
use super::fit::Start;
use super::half_step::{Factors, Method, half_step};
use super::model::Model;
use super::params::Params;
use super::rows::Rows;

/// The code in [`Start`] of a user or item which the earlier model did not have.
pub(super) const NEW: u32 = u32::MAX;

/// Vectors of length 1 in a random direction, as Spark begins; a function of seed and code alone. Vectors of one quadrant
/// only, nearer to ratings of one sign, were tried: on MovieLens they need four times the iterations to the same RMSE.
/// Users without ratings get 0.
pub(super) fn cold_users(by_user: &Rows, rank: usize, equation: &Equation, seed: Seed) -> Factors {
    let mut users = Factors::zeros(by_user.n_rows(), rank);
    for user in 0..by_user.n_rows() {
        if !by_user.range(user).is_empty() {
            random_vector(seed, user, equation.nonnegative, &mut users.vector_mut(user)[..rank]);
        }
    }
    users
}

fn random_vector(seed: Seed, user: usize, nonnegative: bool, vector: &mut [f32]) {
    let key = mix(seed.0 ^ mix(user as u64));
    let mut squares = 0.0;
    for (value, index) in vector.iter_mut().zip(0u64..) {
        // The sum of four uniform numbers is as good as a normal one here, and the same on every platform.
        let bits = random(key, index);
        let sum: i32 = (0..4).map(|at| i32::from((bits >> (16 * at)).to_le_bytes()[0])).sum();
        let normal = f64::from(sum) - 509.5;
        *value = narrow(if nonnegative { normal.abs() } else { normal });
        squares += normal * normal;
    }
    let length = narrow(squares.sqrt());
    vector.iter_mut().for_each(|value| *value /= length);
}

/// Users and items beginning with the vectors they had. Every user is then solved from the known items, so that new ones
/// begin where fold-in would put them; only who rated nothing known begins at random.
pub(super) fn warm(
    by_user: &Rows,
    n_items: usize,
    start: &Start,
    equation: &Equation,
    method: Method,
    seed: Seed,
) -> Result<(Factors, Factors), FitError> {
    let model = start.model;
    let rank = model.rank();
    let mut users =
        known("users", &start.users, by_user.n_rows(), model.n_users(), rank, |code| &model.user(code)[..rank])?;
    let mut items = known("items", &start.items, n_items, model.n_items(), rank, |code| model.item(code))?;
    if equation.nonnegative {
        for lanes in users.lanes.iter_mut().chain(&mut items.lanes) {
            lanes.iter_mut().for_each(|value| *value = value.max(0.0));
        }
    }
    half_step(by_user, &items, equation, method, &mut users);
    for user in 0..by_user.n_rows() {
        if !by_user.range(user).is_empty() && users.vector(user).iter().all(|value| *value == 0.0) {
            random_vector(seed, user, equation.nonnegative, &mut users.vector_mut(user)[..rank]);
        }
    }
    Ok((users, items))
}

fn known<'a>(
    side: &'static str,
    codes: &[u32],
    n: usize,
    n_known: usize,
    rank: usize,
    vector: impl Fn(u32) -> &'a [f32],
) -> Result<Factors, FitError> {
    if codes.len() != n {
        return Err(FitError::StartLength { side, expected: n, found: codes.len() });
    }
    let mut factors = Factors::zeros(n, rank);
    for (at, &code) in codes.iter().enumerate() {
        if code != NEW && code as usize >= n_known {
            return Err(FitError::StartCode { side, code, known: n_known });
        }
        if code != NEW {
            factors.vector_mut(at)[..rank].copy_from_slice(vector(code));
        }
    }
    Ok(factors)
}

/// Why a model cannot be begun from, or `None` where it can.
pub(super) fn unfit(model: &Model, params: &Params) -> Option<String> {
    if model.rank() != params.rank as usize {
        return Some(format!("its rank is {}, not {}", model.rank(), params.rank));
    }
    if model.has_biases() != params.biases {
        return Some("only one of the two has biases".to_owned());
    }
    (model.feedback() != params.feedback).then(|| "it was fitted on the other kind of feedback".to_owned())
}
