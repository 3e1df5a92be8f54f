//! What a version answers, by its kind: a file each.

mod clusters;
mod content;
mod ratings;
mod rows;

pub use clusters::{Assigned, Clusters};
pub use content::{Content, ContentParts, NeighbourParts, Neighbourhood, Popularity, TitleTexts};
pub use ratings::{Recommender, to_arrays};
pub(super) use rows::Answers;
pub use rows::{InputFault, Output, Prediction, Predictor, class_name};
