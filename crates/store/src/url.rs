//! Where a store is: `store.url`.

use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum StoreUrl {
    Local(PathBuf),
    /// `prefix` without slashes at its ends; empty for the whole bucket.
    S3 {
        bucket: String,
        prefix: String,
    },
}

/// For people: a folder as it is, a bucket as its URL.
impl std::fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local(folder) => write!(f, "{}", folder.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}
