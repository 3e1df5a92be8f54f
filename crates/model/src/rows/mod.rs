//! The rows of committed batches as training, measuring and serving read them: block by block, the held-out records told apart, the
//! others by a condition.

mod blocks;
mod condition;
mod error;
pub mod holdout;
mod kinds;

pub use blocks::{block_schema, for_each_block, for_each_block_in_order, held_out, identities, record_hashes};
pub use condition::{compile, compile_filter, condition, keep, keep_passing, keep_trained, narrow};
pub use error::RowsError;
pub use kinds::{id_kind, is_time};
