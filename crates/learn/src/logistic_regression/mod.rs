//! Logistic regression for two classes, and softmax regression for more.

mod fit;
mod lbfgs;
mod model;
mod newton;
mod params;
mod pass;

pub use fit::{CLASSES_MAX, PARAMETERS_MAX, fit};
pub use model::{Ending, Model};
pub use params::{Params, SPECS};
