//! What is asked of versions and batches.
//!
//! The modules look only down, in this order: `query` (SQL over committed batches), `catalogue` (items with columns, facets and filters),
//! `interactions` (what users have seen), `views` (named queries with bound parameters, limits and a cache; SQL of requests in processes
//! that can be killed).

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod catalogue;
pub mod interactions;
pub mod query;
pub mod views;
