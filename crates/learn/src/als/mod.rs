//! Alternating least squares: a vector for every user and every item, whose product is the predicted rating (explicit
//! feedback; Zhou, Wilkinson, Schreiber and Pan 2008) or the preference (implicit; Hu, Koren and Volinsky 2008).

mod biases;
mod early_stop;
mod equation;
mod fit;
mod half_step;
mod initial;
mod kernel;
mod model;
mod params;
mod ratings;
mod rows;

pub use fit::{Fit, Start, fit, fit_until, fitted_to, from_vectors};
pub use model::Model;
pub use params::{Feedback, LambdaScale, ListRule, Params, SPECS};
pub use ratings::{RATING_MAX, Ratings};
