//! Models that Spark's ML trained and saved: their folders read, checked, and turned into what is served here.
//!
//! The layout is that of Spark 3.5 to 4.x (older releases differ little). Nothing of a folder is believed: how much there is of it is
//! looked at before memory is taken, and what is not understood is named.

mod columns;
mod error;
mod folder;
mod saved;
#[cfg(test)]
mod tests;
mod trees;

pub use columns::Matrix;
pub use error::SavedError;
pub use folder::Folder;
pub use saved::{
    Affine, AlsModel, Assembler, Bucketizer, ClassColumns, Factors, Imputer, IndexToString, Invalid, KmeansModel,
    LinearModel, LogisticModel, OneHot, Saved, Scaler, Stage, StringIndexer,
};
pub use trees::{Classes, Ensemble, Node, Test, Tree, TreeModel};
