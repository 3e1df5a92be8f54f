//! A source in S3, as the file that it is there. The AWS variables say who asks, as for the store.

use millstream_store::{S3Store, StoreError, StoredFile};

use super::SourceError;

/// `url`: `s3://bucket/key`, as the pipeline file was checked for.
pub(super) fn open(url: &str) -> Result<StoredFile, SourceError> {
    let (bucket, key) = url.get(5..).and_then(|rest| rest.split_once('/')).unwrap_or_default();
    S3Store::object(bucket, key).map_err(|error| match error {
        StoreError::Missing { .. } => SourceError::Missing { place: url.to_owned() },
        source => SourceError::S3 { place: url.to_owned(), source },
    })
}
