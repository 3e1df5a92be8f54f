//! `[source]` of the pipeline file: where the rows lie, and how they are read and paced.

use std::path::PathBuf;
use std::time::Duration;

pub use encoding_rs::Encoding as Charset;

#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub place: SourcePlace,
    pub format: SourceFormat,
    pub compression: Compression,
    pub pace: Pace,
    pub csv: CsvFormat,
    /// What csv and jsonl are written in.
    pub charset: &'static Charset,
    /// The column whose value is the Kafka key; `None`: rows go to the partitions in turn.
    pub key: Option<String>,
    /// The column whose order the rows are replayed in.
    pub order_by: Option<String>,
    /// Of the random delays.
    pub seed: u64,
}

impl Source {
    /// As a file of this name is read where nothing else is said.
    pub fn of_name(place: SourcePlace, name: &str) -> Self {
        let (format, compression) = format_by_name(name);
        let (csv, charset, pace) = (CsvFormat::of_name(name), encoding_rs::UTF_8, Pace::FullSpeed);
        Self { place, format, compression, pace, csv, charset, key: None, order_by: None, seed: 1 }
    }
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvFormat {
    /// Of one or several bytes.
    pub separator: String,
    pub quote: Option<u8>,
    /// Before a quote within quotes, besides one that stands twice.
    pub escape: Option<u8>,
    /// Lines that begin with it are no rows.
    pub comment: Option<u8>,
    /// Lines before the header.
    pub skip: u32,
    /// Lines of the header. Without one columns are called `column_1`, `column_2`, …
    pub header: u32,
}

impl CsvFormat {
    /// As a file of this name has it where nothing else is said.
    pub fn of_name(name: &str) -> Self {
        let name = name.to_lowercase();
        let name = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(&name);
        let is_tabbed = [".tsv", ".tab"].iter().any(|ending| name.ends_with(ending));
        let separator = if is_tabbed { "\t" } else { "," }.to_owned();
        Self { separator, quote: Some(b'"'), escape: None, comment: None, skip: 0, header: 1 }
    }
}

impl SourceFormat {
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }

    /// That a file's name tells by its ending, before that of its packing.
    pub fn of_ending(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        let name = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "csv" | "tsv" | "tab" | "psv" | "txt" | "dat" => Some(Self::Csv),
            "jsonl" | "ndjson" | "json" => Some(Self::Jsonl),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// The format and packing that a name tells by its endings; one that tells nothing is plain csv.
pub fn format_by_name(name: &str) -> (SourceFormat, Compression) {
    let lower = name.to_lowercase();
    let compression = match (lower.ends_with(".gz"), lower.ends_with(".zst")) {
        (true, _) => Compression::Gzip,
        (false, true) => Compression::Zstd,
        (false, false) => Compression::None,
    };
    (SourceFormat::of_ending(name).unwrap_or(SourceFormat::Csv), compression)
}
