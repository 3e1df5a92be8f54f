//! Gradient boosting (Friedman 2001) with Newton steps (Chen and Guestrin 2016) on histograms of quantile bins; trees grow
//! leaf by leaf, the best first.

mod chunk;
mod draws;
mod fit;
mod grow;
mod histogram;
mod loss;
mod model;
mod params;

pub use crate::trees::ensemble::Task;
pub use fit::{CLASSES_MAX, fit_classification, fit_regression};
pub use model::Model;
pub use params::{Params, SPECS};
