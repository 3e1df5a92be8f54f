//! The dataset that is replayed: read row by row, profiled once (rows, types, digest).
//! A row is one record whatever it looks like; a malformed one becomes a stub with its reason, never a hole.

pub mod check;
mod csv_rows;
mod dataset;
pub mod demo;
mod error;
#[cfg(test)]
mod fixture;
mod infer;
mod input;
mod jsonl;
mod limits;
mod order;
mod parquet_levels;
mod parquet_limits;
mod parquet_page;
mod parquet_rows;
mod parquet_unpack;
mod profile;
mod records;
mod s3;
mod settings;
mod stdin;
#[cfg(test)]
mod tests;
mod thrift;

pub use dataset::{Dataset, Reader, Row};
pub use error::SourceError;
pub use profile::{Fingerprint, Profile, Sampled, profile, profile_records};
pub use settings::{Compression, CsvFormat, Pace, Source, SourceFormat, SourcePlace, format_by_name};
