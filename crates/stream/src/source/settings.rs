//! `[source]` of the pipeline file: where the rows lie, and how they are read and paced.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub place: SourcePlace,
    pub format: SourceFormat,
    pub compression: Compression,
    pub pace: Pace,
    pub csv: CsvFormat,
    /// The column whose value is the Kafka key; `None`: rows go to the partitions in turn.
    pub key: Option<String>,
    /// The column whose order the rows are replayed in.
    pub order_by: Option<String>,
    /// Of the random delays.
    pub seed: u64,
}

/// Where the rows lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourcePlace {
    File(PathBuf),
    Stdin,
    /// `s3://bucket/key`.
    S3(String),
}

impl std::fmt::Display for SourcePlace {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(out, "{}", path.display()),
            Self::Stdin => write!(out, "standard input"),
            Self::S3(url) => write!(out, "{url}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFormat {
    Csv,
    Jsonl,
    Parquet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// How fast rows are replayed.
#[derive(Debug, Clone, PartialEq)]
pub enum Pace {
    FullSpeed,
    Fixed(Duration),
    /// Uniform in `low..=high`, per record.
    Uniform {
        low: Duration,
        high: Duration,
    },
    /// Rows per second.
    Rate(f64),
    /// By event time, so many times faster.
    Speed(f64),
}

#[derive(Debug, Clone, PartialEq)]
pub struct CsvFormat {
    pub separator: u8,
    pub quote: u8,
    /// Without a header line columns are called `column_1`, `column_2`, …
    pub header: bool,
}

impl Default for CsvFormat {
    fn default() -> Self {
        Self { separator: b',', quote: b'"', header: true }
    }
}

/// The format and packing that a name tells by its endings; one that tells nothing is plain csv.
pub fn format_by_name(name: &str) -> (SourceFormat, Compression) {
    let name = name.to_lowercase();
    let (name, compression) = match (name.strip_suffix(".gz"), name.strip_suffix(".zst")) {
        (Some(name), _) => (name, Compression::Gzip),
        (None, Some(name)) => (name, Compression::Zstd),
        (None, None) => (name.as_str(), Compression::None),
    };
    let format = match name.rsplit_once('.') {
        Some((_, "jsonl" | "ndjson" | "json")) => SourceFormat::Jsonl,
        Some((_, "parquet")) => SourceFormat::Parquet,
        Some(_) | None => SourceFormat::Csv,
    };
    (format, compression)
}
