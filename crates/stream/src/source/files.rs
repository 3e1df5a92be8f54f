//! The files of a source: one, or those of a folder or of a pattern, in the order of their names. Reads no bytes of them.

use std::io;
use std::path::{Path, PathBuf};

use glob::MatchOptions;

use super::SourceError;
use super::profile::Fingerprint;
use crate::source::{Source, SourceFormat, SourcePlace};

/// Holds the name of a row's file, where a source is several.
pub const FILE_COLUMN: &str = "_file";

/// What a source's path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    pub places: Vec<SourcePlace>,
    /// As `FILE_COLUMN` has them; `None`: the source is one file, and there is no such column.
    pub names: Option<Vec<String>>,
    /// Files of the folder that are not read.
    pub others: usize,
}

impl Files {
    /// Of all of them: of their names and what is in each.
    pub fn fingerprint(&self, mut each: Vec<Fingerprint>) -> Option<Fingerprint> {
        let Some(names) = &self.names else { return each.pop() };
        let mut hasher = blake3::Hasher::new();
        for (name, fingerprint) in names.iter().zip(&each) {
            hasher.update(name.as_bytes()).update(b"\0").update(fingerprint.digest.as_bytes()).update(b"\n");
        }
        let bytes = each.iter().map(|fingerprint| fingerprint.bytes).sum();
        Some(Fingerprint { bytes, digest: hasher.finalize().to_hex().to_string() })
    }

    pub fn of(source: &Source) -> Result<Self, SourceError> {
        let one = || Self { places: vec![source.place.clone()], names: None, others: 0 };
        let SourcePlace::File(path) = &source.place else { return Ok(one()) };
        let (mut paths, others) = if path.is_dir() {
            in_folder(path, source.format)?
        } else if is_pattern(path) && !path.exists() {
            (matching(path)?, 0)
        } else {
            return Ok(one());
        };
        paths.sort_by(|one, other| one.as_os_str().as_encoded_bytes().cmp(other.as_os_str().as_encoded_bytes()));
        Ok(Self { names: Some(names(&paths)), places: paths.into_iter().map(SourcePlace::File).collect(), others })
    }
}

fn is_pattern(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

fn in_folder(folder: &Path, format: SourceFormat) -> Result<(Vec<PathBuf>, usize), SourceError> {
    let place = || folder.display().to_string();
    let unreadable = |source| SourceError::Unreadable { place: place(), source };
    let (mut paths, mut others) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(['.', '_']) || path.is_dir() {
            continue;
        }
        match SourceFormat::of_ending(&name) {
            Some(found) if found == format => paths.push(path),
            other => others.push(other),
        }
    }
    if !paths.is_empty() {
        return Ok((paths, others.len()));
    }
    let other = others.into_iter().flatten().next();
    let fault = match other {
        Some(other) => {
            format!("its files are not {} but {}: set format = \"{}\"", format.name(), other.name(), other.name())
        }
        None => format!("the folder holds no {} file", format.name()),
    };
    Err(SourceError::NoFile { place: place(), fault })
}

fn matching(pattern: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let place = || pattern.display().to_string();
    let bad = |fault: String| SourceError::NoFile { place: place(), fault };
    let text = pattern.to_str().ok_or_else(|| bad("the pattern is not UTF-8".to_owned()))?;
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::default() };
    let found = glob::glob_with(text, options).map_err(|error| bad(format!("this is no pattern: {error}")))?;
    let mut paths = Vec::new();
    for path in found {
        let path = path.map_err(|error| SourceError::Unreadable {
            place: error.path().display().to_string(),
            source: io::Error::from(error),
        })?;
        if !path.is_dir() {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(bad("no file has such a name (the path is relative to the working directory)".to_owned()));
    }
    Ok(paths)
}

/// Without their folders, unless two are called the same.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let short = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut names: Vec<String> = paths.iter().map(short).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() == paths.len() {
        paths.iter().map(short).collect()
    } else {
        paths.iter().map(|path| path.display().to_string()).collect()
    }
}
