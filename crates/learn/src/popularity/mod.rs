//! What is liked best, of all and of each group, with few votes drawn towards the mean of all votes.

mod fit;
mod model;
mod params;

pub use fit::{Columns, Sums, VoteFault, VoteRow, fit};
pub use model::{Model, Popular};
pub use params::{Params, SPECS};
