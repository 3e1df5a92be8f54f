//! What is stored of a batch: its cut, and each part's manifest. Format 1 is final (DESIGN §6); golden files hold it. What is read
//! adds up (`sound`), or it is an error.

mod sound;
mod window;

use serde::{Deserialize, Serialize};

use crate::record;
pub use sound::{check_after, check_batch, check_offsets};
pub use window::Window;

/// Of a cut and of a manifest.
pub const FORMAT: u32 = 1;

/// `batches/batch=000001/_cut.json`: where a batch ends, decided once, for every partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    pub format: u32,
    pub batch: u32,
    pub attempt: String,
    /// The end offset of every partition, exclusive.
    pub ends: Vec<i64>,
    /// Records of all batches up to and with this one.
    pub total: u64,
    pub reason: CutReason,
    /// Number of the schema that reads it.
    pub schema: u32,
    /// Of a batch that a window of time ended: the next windows count on from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CutReason {
    Rows,
    Window,
    Idle,
    End,
    /// `batch.on_stop = "cut"`.
    Stop,
}

/// `_manifest-0000.json`: one partition's part of a batch. The newest manifests are the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub batch: u32,
    pub partition: u32,
    pub attempt: String,
    /// Rows in `file`.
    pub rows: u64,
    /// Records kept aside in `rejects_file`.
    pub rejects: u64,
    pub first_offset: i64,
    /// Exclusive.
    pub end_offset: i64,
    /// Offsets in the range that gave neither row nor reject: holes (transactions, compaction) and, since the second dialect,
    /// records without a value (tombstones).
    pub skipped: u64,
    pub late: u64,
    /// Milliseconds since the epoch, over `_time`.
    pub min_time: Option<i64>,
    pub max_time: Option<i64>,
    /// BLAKE3 over the records in offset order.
    pub digest: String,
    /// The part's name in the batch's folder; `None` when it has no row.
    pub file: Option<String>,
    /// BLAKE3 of that file's bytes.
    pub file_digest: Option<String>,
    pub rejects_file: Option<String>,
    pub schema: u32,
    pub committed_at_ms: u64,
}

impl Cut {
    /// The bytes of the cut of `batch`.
    ///
    /// # Errors
    ///
    /// What cannot be read of them, or does not add up.
    pub fn read(bytes: &[u8], batch: u32) -> Result<Self, String> {
        let cut: Self = record::read(bytes, FORMAT).map_err(|fault| fault.to_string())?;
        if cut.batch != batch {
            return Err(format!("it says it is of batch {}", cut.batch));
        }
        sound::check_cut(&cut)?;
        Ok(cut)
    }
}

impl Manifest {
    /// The bytes of the manifest of `partition` in `batch`.
    ///
    /// # Errors
    ///
    /// What cannot be read of them, or does not add up.
    pub fn read(bytes: &[u8], batch: u32, partition: u32) -> Result<Self, String> {
        let manifest: Self = record::read(bytes, FORMAT).map_err(|fault| fault.to_string())?;
        sound::check_manifest(&manifest, batch, partition)?;
        Ok(manifest)
    }
}
