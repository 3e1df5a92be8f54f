//! Learning algorithms: pure and deterministic. No I/O, no async, no clock, no printing.
//!
//! Every algorithm is one folder with the same shape: `params.rs` (typed values in, checked [`Params`] out, all
//! faults at once), `fit.rs` (the arithmetic) and `model.rs` (predict, and to and from named arrays).
//! The same table, parameters and [`Seed`] give the same bytes for any number of threads: rows are summed in fixed
//! chunks which are added in chunk order, forests and boosting sum integers, and a user's or item's vector is one thread's work.
//!
//! [`Params`]: linear_regression::Params

pub mod als;
pub mod arrays;
mod chunks;
pub mod content;
pub mod error;
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

pub use arrays::{Array, Arrays};
pub use error::{FitError, LoadError, PredictError, TableError};
pub use ids::{Id, Ids};
pub use params::{ParamDefault, ParamFault, ParamSpec, ParamValue};
pub use table::{Column, Table};

/// Where every random choice of a fit comes from. Equal seeds give equal bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed(pub u64);

/// The closed set of algorithms. A new one is a new variant, and every `match` on it must then be extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Als,
    Content,
    Kmeans,
    LinearRegression,
    LogisticRegression,
    Neighbours,
    Popularity,
    RandomForest,
}

impl Algorithm {
    pub const ALL: &'static [Algorithm] = &[
        Algorithm::Als,
        Algorithm::Content,
        Algorithm::Kmeans,
        Algorithm::LinearRegression,
        Algorithm::LogisticRegression,
        Algorithm::Neighbours,
        Algorithm::Popularity,
        Algorithm::RandomForest,
    ];

    /// The name in configuration files and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Als => "als",
            Algorithm::Content => "content",
            Algorithm::Kmeans => "kmeans",
            Algorithm::LinearRegression => "linear_regression",
            Algorithm::LogisticRegression => "logistic_regression",
            Algorithm::Neighbours => "neighbours",
            Algorithm::Popularity => "popularity",
            Algorithm::RandomForest => "random_forest",
        }
    }

    /// The algorithm of that name, or `None`.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.iter().copied().find(|algorithm| algorithm.name() == name)
    }

    /// The parameters it takes: the table in the documentation is generated from these.
    pub fn specs(self) -> &'static [ParamSpec] {
        match self {
            Algorithm::Als => als::SPECS,
            Algorithm::Content => content::SPECS,
            Algorithm::Kmeans => kmeans::SPECS,
            Algorithm::LinearRegression => linear_regression::SPECS,
            Algorithm::LogisticRegression => logistic_regression::SPECS,
            Algorithm::Neighbours => neighbours::SPECS,
            Algorithm::Popularity => popularity::SPECS,
            Algorithm::RandomForest => random_forest::SPECS,
        }
    }
}
