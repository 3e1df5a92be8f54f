//! Batches in, versions out.
//!
//! The modules look only down, in this order: `rows` (committed batches block by block, the hold-out), `model` (what a model reads and can
//! be asked), `ratings` (users, items and ratings in them), `registry` (versions as files, loaded and served), `mllib` (models that Spark saved), `engine` (what fits arrays),
//! `train` (what is due, prepare, measure, verify).

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod engine;
pub mod mllib;
pub mod model;
pub mod ratings;
pub mod registry;
pub mod rows;
pub mod train;
