//! A source in a folder of its own, for the tests.

use std::path::PathBuf;

use tempfile::TempDir;

use super::{Dataset, Row, SourceError};
use crate::record::Encoding;
use crate::source::{Source, SourcePlace};

pub struct Bench {
    pub source: Source,
    pub path: PathBuf,
    _folder: TempDir,
}

impl Bench {
    /// The file's ending says what it is, as in a pipeline.
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let source = Source::of_name(SourcePlace::File(path.clone()), name);
        Self { source, path, _folder: folder }
    }

    pub fn keyed(mut self, column: &str) -> Self {
        self.source.key = Some(column.to_owned());
        self
    }

    pub fn ordered(mut self, column: &str) -> Self {
        self.source.order_by = Some(column.to_owned());
        self
    }

    pub fn dataset(&self) -> Dataset {
        Dataset::new(&self.source)
    }

    pub fn rows(&self, encoding: Encoding) -> Result<Vec<Row>, SourceError> {
        rows(&self.dataset(), encoding)
    }

    pub fn values(&self, encoding: Encoding) -> Vec<String> {
        texts(&self.rows(encoding).unwrap())
    }
}

pub fn rows(dataset: &Dataset, encoding: Encoding) -> Result<Vec<Row>, SourceError> {
    let mut reader = dataset.reader(encoding)?;
    let (mut row, mut rows) = (Row::default(), Vec::new());
    while reader.next(&mut row)? {
        rows.push(std::mem::take(&mut row));
    }
    assert!(!reader.next(&mut row)?, "the end is the end");
    Ok(rows)
}

/// The values; of stubs the reason, in angle brackets.
pub fn texts(rows: &[Row]) -> Vec<String> {
    let text = |row: &Row| match &row.stub {
        None => String::from_utf8_lossy(&row.value).into_owned(),
        Some(reason) => format!("<{reason}>"),
    };
    rows.iter().map(text).collect()
}

/// An error with its causes.
pub fn said(error: SourceError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
