//! Learning algorithms: pure and deterministic. No I/O, no async, no clock, no printing.
//!
//! Every algorithm is one folder with the same shape: `params.rs` (typed values in, checked [`Params`] out, all
//! faults at once), `fit.rs` (the arithmetic) and `model.rs` (predict, and to and from named arrays).
//! The same table, parameters and [`Seed`] give the same bytes for any number of threads: rows are summed in fixed
//! chunks which are added in chunk order, forests and boosting sum integers, and a user's or item's vector is one thread's work.
//!
//! [`Params`]: linear_regression::Params

mod algorithm;
pub mod als;
pub mod arrays;
mod chunks;
pub mod content;
pub mod drift;
pub mod error;
pub mod explain;
pub mod gradient_boosting;
pub mod ids;
pub mod kmeans;
mod layout;
pub mod linear_regression;
pub mod logistic_regression;
pub mod metrics;
pub mod neighbours;
mod numeric;
pub mod params;
pub mod popularity;
pub mod random_forest;
mod scales;
mod simd;
mod solve;
mod sparse;
pub mod table;
pub mod top_n;
mod trees;

pub use algorithm::{Algorithm, Kind, TargetKind, Traits};
pub use arrays::{Array, Arrays};
pub use error::{FitError, LoadError, PredictError, TableError};
pub use ids::{Id, Ids, Texts};
pub use params::{ParamDefault, ParamFault, ParamSpec, ParamValue};
pub use table::{Column, Table};
pub use trees::ensemble::ForeignTrees;

/// How far a long fit is: of so many steps so many are done. It may end sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub done: u32,
    pub of: u32,
}

/// Asked before every step of a long fit, by any of its threads: whether it is to end there, as [`FitError::Stopped`].
pub type Stopped<'a> = &'a (dyn Fn(Step) -> bool + Sync);

/// Where every random choice of a fit comes from. Equal seeds give equal bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed(pub u64);
