//! Durable small files: whole or absent after any crash, each naming its format.
//!
//! Fence: segments are not written here.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::BrokerError;

/// The format that this version writes and reads, in every file that it owns.
pub(crate) const FORMAT: u64 = 1;

/// Replaces `path` by `bytes`, whole or not at all.
///
/// The new file is synced before the rename and the folder after it: a crash before the rename leaves the old file
/// and a `.tmp` that the next write replaces; after it the new file stands.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), BrokerError> {
    let temporary = path.with_added_extension("tmp");
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(BrokerError::disk("write", path))?;
    match path.parent() {
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), BrokerError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(BrokerError::disk("sync", folder))
}

/// Creates a folder and its parents.
pub(crate) fn create_folder(folder: &Path) -> Result<(), BrokerError> {
    fs::create_dir_all(folder).map_err(BrokerError::disk("create", folder))
}

/// Writes a JSON document that carries its own `format` field.
pub(crate) fn write_json(path: &Path, document: &impl Serialize) -> Result<(), BrokerError> {
    let mut bytes = to_json(path, document)?;
    bytes.push(b'\n');
    write_atomically(path, &bytes)
}

/// What is to be written to `path`. An empty line in the place of what JSON cannot say would be lost at the next open.
pub(crate) fn to_json(path: &Path, document: &impl Serialize) -> Result<Vec<u8>, BrokerError> {
    serde_json::to_vec(document)
        .map_err(|error| BrokerError::disk("write", path)(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// Reads a JSON document; `None` when the file is absent. An unknown format is refused before anything else.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, BrokerError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(BrokerError::disk("read", path)(error)),
    };
    parse_json(path, &bytes).map(Some)
}

/// Reads one JSON document that was found in `path`.
pub(crate) fn parse_json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, BrokerError> {
    let damaged =
        |error: serde_json::Error| BrokerError::Damaged { path: path.to_path_buf(), detail: error.to_string() };
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(damaged)?;
    let format = value.get("format");
    if format.and_then(serde_json::Value::as_u64) != Some(FORMAT) {
        return Err(BrokerError::FormatUnknown {
            path: path.to_path_buf(),
            found: format.map_or_else(|| "none".to_owned(), ToString::to_string),
        });
    }
    serde_json::from_value(value).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_json_cannot_say_is_an_error_and_no_empty_line() {
        let document = BTreeMap::from([((1, 2), 3)]);
        assert!(matches!(to_json(Path::new("f"), &document), Err(BrokerError::Disk { .. })));
        assert_eq!(to_json(Path::new("f"), &[1, 2]).unwrap(), b"[1,2]");
    }
}
