//! A batch in the store: its keys, and what is told of all its parts together.

use std::sync::Arc;

use millstream_untrusted::batch::FORMAT;
pub use millstream_untrusted::batch::{Cut, CutReason, Manifest, Window};
use serde::{Deserialize, Serialize};

/// A complete batch: its cut and all its manifests, partition 0 first.
/// Cloning shares them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    #[serde(with = "shared")]
    pub cut: Arc<Cut>,
    #[serde(with = "shared")]
    pub parts: Arc<Vec<Manifest>>,
}

/// As what is shared.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Serialize, S: Serializer>(value: &Arc<T>, to: S) -> Result<S::Ok, S::Error> {
        value.as_ref().serialize(to)
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Arc<T>, D::Error> {
        T::deserialize(from).map(Arc::new)
    }
}

impl Batch {
    pub fn new(cut: Cut, parts: Vec<Manifest>) -> Self {
        Self { cut: Arc::new(cut), parts: Arc::new(parts) }
    }

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
        for part in self.parts.iter() {
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

/// Under an attempt of its own.
pub fn new_cut(batch: u32, ends: Vec<i64>, total: u64, reason: CutReason, window: Option<Window>) -> Cut {
    let attempt = uuid::Uuid::new_v4().simple().to_string();
    Cut { format: FORMAT, batch, attempt, ends, total, reason, schema: 1, window }
}
