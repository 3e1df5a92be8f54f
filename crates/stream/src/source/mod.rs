//! The dataset that is replayed: read row by row, profiled once (rows, types, digest).
//! A row is one record whatever it looks like; a malformed one becomes a stub with its reason, never a hole.

pub mod check;
mod csv_ahead;
mod csv_bytes;
mod csv_rows;
mod dataset;
pub mod demo;
mod error;
mod file_records;
mod files;
#[cfg(test)]
mod fixture;
mod infer;
mod input;
mod jsonl;
mod limits;
mod look;
mod order;
mod parquet_batches;
mod parquet_levels;
mod parquet_limits;
mod parquet_page;
mod parquet_rows;
mod parquet_unpack;
mod profile;
mod records;
mod s3;
mod seen_times;
mod settings;
mod sniff;
mod stdin;
#[cfg(test)]
mod tests;
mod thrift;
mod written;

pub use dataset::{Dataset, Reader, Row};
pub use error::SourceError;
pub use files::FILE_COLUMN;
pub use look::{ColumnLook, Look, TimeLook, columns, look};
pub use parquet_batches::ParquetBatches;
pub use profile::{Fingerprint, Profile, Sampled, profile_records};
pub use settings::{Charset, Compression, CsvFormat, Pace, Source, SourceFormat, SourcePlace, format_by_name};
pub use sniff::Sniffed;
pub use written::NumberForm;
