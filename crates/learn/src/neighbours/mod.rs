//! The nearest rows by mixed numeric and categorical columns, found by an exact scan.

mod fit;
mod model;
mod params;
mod scan;

pub use fit::fit;
pub use model::{Model, Neighbour, StoredValue};
pub use params::{Metric, Params, SPECS};
