//! Rows in, exact batches out: the path of a record from its source to a committed batch.
//!
//! The modules look only down, in this order: `expression` and `schema` (SQL of one row, types of columns), `record` (what a row
//! looks like as a Kafka message), `source` (readers of datasets), `topic` (librdkafka), `batch` (cuts, parts, manifests), `replay`
//! (sends a source into a topic and decides the cuts), `posting` (sends rows that clients post).

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod batch;
pub mod expression;
pub mod posting;
pub mod record;
pub mod replay;
pub mod schema;
pub mod source;
pub mod topic;
