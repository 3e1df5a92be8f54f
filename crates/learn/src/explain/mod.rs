//! What a fitted model does, found by asking it: which columns it goes by, how its answers follow one of them, how its
//! probabilities are to be taken, and a picture of rows with many columns. The model is a function that the caller gives.

mod bars;
mod curves;
mod importance;
mod partial;
mod principal;

pub use bars::{Bars, bars};
pub use curves::{ReliabilityBin, RocCurve, reliability, roc};
pub use importance::{Worsening, importance};
pub use partial::{Fixed, commonest, grid, partial_dependence};
pub use principal::{Principal, principal};
