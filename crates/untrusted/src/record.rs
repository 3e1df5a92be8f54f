//! A stored JSON record: its format is looked at before anything else in it, and what is read is a struct of known fields.

use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Debug, thiserror::Error)]
pub enum RecordFault {
    #[error(transparent)]
    NotTheRecord(#[from] serde_json::Error),
    #[error("it has format {found}")]
    UnknownFormat { found: u64 },
}

pub fn read<T: DeserializeOwned>(bytes: &[u8], format: u32) -> Result<T, RecordFault> {
    #[derive(Deserialize)]
    struct Header {
        format: u64,
    }
    let header: Header = serde_json::from_slice(bytes)?;
    if header.format != u64::from(format) {
        return Err(RecordFault::UnknownFormat { found: header.format });
    }
    Ok(serde_json::from_slice(bytes)?)
}
