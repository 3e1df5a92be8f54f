//! Least squares, optionally with an l2 penalty, from one pass over the rows.

mod fit;
mod model;
mod params;

pub use fit::{Gram, PARAMETERS_MAX, fit};
pub use model::Model;
pub use params::{Params, SPECS};
