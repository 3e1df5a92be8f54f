//! The real binary, driven as a user would. One test binary: each would link DataFusion anew, a third of a gigabyte.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod batches;
mod catalogue;
mod cleaning;
mod common;
mod eight;
mod floors;
mod golden;
mod houses;
mod imports;
mod inference;
mod insights;
mod kafka;
mod keys;
mod kills;
mod listen;
mod movies;
mod new_from;
mod pipeline;
mod products;
mod proxy;
mod query;
mod questions;
mod recommend;
mod removal;
mod s3;
mod sources;
mod spark;
mod status;
mod stops;
mod stored;
mod topic;
mod views;
mod windows;
mod workers;
