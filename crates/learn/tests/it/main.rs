//! What the algorithms keep, seen from outside. One binary: each would link the crate anew.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod als;
mod als_biases;
mod bags;
mod conformance;
mod gradient_boosting;
mod kmeans;
mod oracle;
mod oracle_boosting;
mod oracle_explain;
mod oracle_ranking;
mod similarity;
