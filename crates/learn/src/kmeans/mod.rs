//! k-means: k clusters of rows, each around its mean (Lloyd 1982), started by greedy k-means++ (Arthur and Vassilvitskii
//! 2007), with k given or chosen by the silhouette (Rousseeuw 1987).
//!
//! Distances are over standardised columns unless told otherwise. A categorical column is one-hot and weighs as much as a
//! numeric one, whatever the number of its categories; only the index of a row's category is ever held.

mod centers;
mod describe;
mod evaluate;
mod fit;
mod kernel;
mod lloyd;
mod measure;
mod model;
mod params;
mod points;
mod sample;
mod seeding;
mod silhouette;
mod space;
mod summary;

pub use describe::{ColumnValue, Description, Level, Trait};
pub use evaluate::Evaluation;
pub use fit::{Axes, CLUSTER_VALUES_MAX, axes, fit, from_centers};
pub use model::{Model, Nearest, Tried};
pub use params::{Clusters, Params, SPECS};
pub use silhouette::silhouette;
