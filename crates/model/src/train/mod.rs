//! Versions from batches: which are due, what they train on, how they measure up. Its contract backwards is the manifest,
//! forwards the version.

mod clock;
mod columns;
mod compare;
mod decide;
mod encode;
mod error;
mod evaluate;
mod evaluate_clusters;
mod evaluate_items;
mod evaluate_ratings;
mod fit;
mod fit_clusters;
mod fit_items;
mod fit_ratings;
mod fit_raw;
#[cfg(any(test, feature = "testing"))]
pub mod fixture;
pub mod identity;
mod insights;
mod items;
mod keeping;
mod known;
mod losses;
mod measure;
mod measure_ratings;
mod measuring;
pub mod plan;
mod prepare;
mod priority;
mod recipe;
mod settings;
#[cfg(test)]
mod tests;
mod trainer;
mod verify;

pub use compare::{Comparison, compare, verdict};
pub use error::TrainError;
pub use evaluate::{Measured, Rows, evaluate};
pub use fit::{Trained, TrainingRun, train};
pub use insights::{BatchDrift, ColumnDrift, Explainer, Reference, Unexplained, insights, shown_reason};
pub use plan::WhenBehind;
pub use prepare::{PreparedRows, prepare};
pub use priority::come_last;
pub use recipe::Recipe;
pub use settings::TrainSettings;
pub use trainer::{TrainReport, Trainer};
pub use verify::{VerifyReport, verify};
