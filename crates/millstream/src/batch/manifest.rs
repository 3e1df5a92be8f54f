//! The stored JSON of a batch: the cut, and a part's manifest. Format 1 is final (DESIGN §6); golden files hold it.

use serde::{Deserialize, Serialize};

use super::window::Window;
use crate::schema::FORMAT;

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

impl Cut {
    pub fn new(batch: u32, ends: Vec<i64>, total: u64, reason: CutReason, window: Option<Window>) -> Self {
        let attempt = uuid::Uuid::new_v4().simple().to_string();
        Self { format: FORMAT, batch, attempt, ends, total, reason, schema: 1, window }
    }
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
    /// Offsets in the range that held no record (transactions, compaction).
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

/// A complete batch: its cut and all its manifests, partition 0 first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    pub cut: Cut,
    pub parts: Vec<Manifest>,
}

impl Batch {
    pub fn number(&self) -> u32 {
        self.cut.batch
    }

    pub fn rows(&self) -> u64 {
        self.parts.iter().map(|part| part.rows).sum()
    }

    pub fn rejects(&self) -> u64 {
        self.parts.iter().map(|part| part.rejects).sum()
    }

    /// Keys of the Parquet files, partition 0 first.
    pub fn files(&self) -> Vec<String> {
        let folder = batch_folder(self.number());
        self.parts.iter().filter_map(|part| part.file.as_ref().map(|file| format!("{folder}/{file}"))).collect()
    }

    /// BLAKE3 over the parts' digests: part of a version's identity.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in &self.parts {
            hasher.update(part.digest.as_bytes());
            hasher.update(b"\n");
        }
        hasher.finalize().to_hex().to_string()
    }
}

pub fn batch_folder(batch: u32) -> String {
    format!("batches/batch={batch:06}")
}

pub fn cut_key(batch: u32) -> String {
    format!("{}/_cut.json", batch_folder(batch))
}

pub fn manifest_key(batch: u32, partition: u32) -> String {
    format!("{}/_manifest-{partition:04}.json", batch_folder(batch))
}
