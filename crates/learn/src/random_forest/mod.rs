//! Random forests (Breiman 2001) on histograms of quantile bins, for numbers and for classes.

mod criterion;
mod fit;
mod grow;
mod model;
mod params;
mod sample;

pub use crate::trees::ensemble::Task;
pub use fit::{BINS_MAX, CLASSES_MAX, fit_classification, fit_regression};
pub use model::Model;
pub use params::{FeatureCount, Params, SPECS};
