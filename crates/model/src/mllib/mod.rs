//! Models that Spark's ML trained and saved: their folders read, checked, and turned into what is served here.
//!
//! The layout is that of Spark 3.5 to 4.x (older releases differ little). Nothing of a folder is believed: how much there is of it is
//! looked at before memory is taken, and what is not understood is named.

mod columns;
mod convert;
mod error;
mod folder;
mod import;
mod parameters;
mod pipeline;
mod saved;
#[cfg(test)]
mod tests;
mod trees;

pub use columns::Matrix;
pub use convert::{ConvertError, FoldIn, Holds, VectorColumn, VectorSlot, clusters, factors, linear, logistic, trees};
pub use error::SavedError;
pub use folder::{Folder, Limits};
pub use import::{ImportOptions, import};
pub use saved::{
    Affine, AlsModel, Assembler, Bucketizer, ClassColumns, Imputer, IndexToString, Invalid, KmeansModel, LinearModel,
    LogisticModel, OneHot, Saved, SavedFactors, SavedStage, Scaler, StringIndexer,
};
pub use trees::{Ensemble, SavedClasses, SavedNode, SavedTree, SplitTest, TreeModel};
