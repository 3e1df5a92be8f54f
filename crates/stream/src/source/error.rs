//! What can be wrong with a source. Every message names the place, and what to mend.

use std::io;

use millstream_store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{place}: no such file: point source.path at the dataset (relative to the working directory)")]
    Missing { place: String },
    #[error("{place}: cannot be read: mend its rights or point source.path elsewhere")]
    Unreadable {
        place: String,
        #[source]
        source: io::Error,
    },
    #[error("{place}: {fault}")]
    NoFile { place: String, fault: String },
    #[error("{place}: the file is empty: it needs at least one row")]
    Empty { place: String },
    #[error("{place}: the file has a header line and no row after it")]
    HeaderOnly { place: String },
    #[error("{place}: the header line {fault}")]
    Header { place: String, fault: String },
    #[error("{place}: is UTF-16: say so with encoding = \"utf-16\", beside its path")]
    Utf16 { place: String },
    #[error("{place}: no row can be read as one: {reason}")]
    NoRow { place: String, reason: String },
    #[error(
        "{place}: more than {most} different keys in its objects: keys that are data (ids, dates) make no columns; turn them \
         into values"
    )]
    TooManyColumns { place: String, most: usize },
    #[error("{place}: {key} = {name:?}: the source has no such column; it has {}", columns.join(", "))]
    NoColumn { place: String, key: &'static str, name: String, columns: Vec<String> },
    #[error("{place}: cannot be read as Parquet: is it whole, and a Parquet file at all?")]
    NotParquet {
        place: String,
        #[source]
        source: parquet::errors::ParquetError,
    },
    #[error("{place}: reading failed at row {row}")]
    Read {
        place: String,
        row: u64,
        #[source]
        source: io::Error,
    },
    #[error("standard input is a terminal: pipe the rows into this command, or point source.path at a file")]
    Terminal,
    #[error("standard input was read already, and can be read only once; write it to a file first")]
    ReadTwice,
    #[error(
        "{place}: its rows need room for a while in {folder}: free some there, or set TMPDIR to another folder and start again"
    )]
    Spill {
        place: String,
        folder: String,
        #[source]
        source: io::Error,
    },
    #[error("{place}: cannot be read from S3: mend source.path or the AWS variables")]
    S3 {
        place: String,
        #[source]
        source: StoreError,
    },
}
