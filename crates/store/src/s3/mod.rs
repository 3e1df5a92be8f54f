//! The store in a bucket of S3, or of a server that speaks its protocol (MinIO, Ceph, R2).
//!
//! A create is one put on the condition that the key is absent (`If-None-Match: *`): 412 is "exists", 409 and every lost
//! answer are "unknown", to be read back. Requests run on threads of their own, so that any thread may call and wait.

mod blocks;
mod failure;
mod settings;
mod upload;

use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use object_store::aws::AmazonS3;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{ListResult, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;

use self::blocks::Blocks;
pub use self::settings::S3Endpoint;
use self::settings::{Patience, Settings};
use self::upload::Upload;
use super::{Created, PartWriter, Store, StoreError, StoredFile, Verified, too_large};

/// A file up to this size is read by one request, a larger one piece by piece: no request outlasts its timeout.
const READ_PIECE_BYTES: u64 = 16 << 20;

type Failed = object_store::Error;

pub struct S3Store {
    service: Arc<Service>,
    verified: Verified,
}

impl S3Store {
    /// Opens the bucket with the AWS variables, and proves that it keeps what the batches rest on. `prefix`: without slashes
    /// at its ends; empty for the whole bucket.
    pub fn open(bucket: &str, prefix: &str) -> Result<Self, StoreError> {
        Self::open_proven(bucket, prefix, Self::prove)
    }

    /// Opens the bucket for who only reads: nothing is written there, and the credentials need no right to.
    pub fn open_reading(bucket: &str, prefix: &str) -> Result<Self, StoreError> {
        Self::open_proven(bucket, prefix, |trial| {
            trial.prove_credentials()?;
            trial.list("_").map(drop)
        })
    }

    /// An object of any bucket to read, with the AWS variables: nothing is written there.
    pub fn object(bucket: &str, key: &str) -> Result<StoredFile, StoreError> {
        Self::open_proven(bucket, "", |trial| trial.open(key).map(drop))?.open(key)
    }

    /// `prove`: a first request, which fails soon where a setting is wrong.
    fn open_proven(
        bucket: &str,
        prefix: &str,
        prove: impl FnOnce(&Self) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let place = if prefix.is_empty() { format!("s3://{bucket}") } else { format!("s3://{bucket}/{prefix}") };
        let unusable = |problem: String| StoreError::Unusable {
            place: place.clone(),
            source: io::Error::new(io::ErrorKind::InvalidInput, "the AWS variables of the environment"),
            problem,
        };
        let settings = Settings::new(bucket, &settings::environment()).map_err(unusable)?;
        let threads = Arc::new(Threads::start().map_err(|source| StoreError::Io { key: place.clone(), source })?);
        let with = |patience: Patience| -> Result<Self, StoreError> {
            let client = settings.client(patience).map_err(|error| failure::classify(&error, &place, &place))?;
            let (threads, prefix, place) = (threads.clone(), prefix.to_owned(), place.clone());
            let service = Arc::new(Service { client: Arc::new(client), threads, prefix, place });
            Ok(Self { service, verified: Verified::default() })
        };
        prove(&with(Patience::Trial)?).map_err(|error| settings.unreachable(error, &place))?;
        with(Patience::Work)
    }

    /// That the credentials read, write, list and delete, and that of two creates of one key only the first is let through.
    fn prove(&self) -> Result<(), StoreError> {
        let service = &self.service;
        self.prove_credentials()?;
        let key = format!("_probe-{}", uuid::Uuid::new_v4().simple());
        if !self.list(&key)?.is_empty() {
            return Err(StoreError::NotExclusive { place: service.place.clone() });
        }
        let proven = self.prove_exclusive(&key);
        self.delete(&key)?;
        proven
    }

    fn prove_credentials(&self) -> Result<(), StoreError> {
        let service = &self.service;
        let credentials = service.client.credentials().clone();
        let found = service.wait(async move { credentials.get_credential().await });
        found.map(drop).map_err(|error| StoreError::Unusable {
            place: service.place.clone(),
            problem: "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned(),
            source: io::Error::other(error),
        })
    }

    fn prove_exclusive(&self, key: &str) -> Result<(), StoreError> {
        // "Exists" may be the answer to a repeated request whose first answer was lost: what is there tells.
        if self.create(key, b"first")? == Created::Exists && self.read(key)? != b"first" {
            return Err(StoreError::NotExclusive { place: self.service.place.clone() });
        }
        match self.create(key, b"second")? {
            Created::Exists if self.read(key)? == b"first" => Ok(()),
            Created::Exists | Created::Mine => Err(StoreError::NotExclusive { place: self.service.place.clone() }),
        }
    }
}

impl S3Store {
    /// What `take` finds on each page of a listing.
    fn names(
        &self,
        prefix: &str,
        delimiter: Option<&'static str>,
        take: impl Fn(ListResult) -> Vec<String> + Send + 'static,
    ) -> Result<Vec<String>, StoreError> {
        let client = self.service.client.clone();
        let whole_prefix = self.service.object_name(prefix);
        self.service.ask(prefix, async move {
            let (mut names, mut page_token) = (Vec::new(), None);
            loop {
                let delimiter = delimiter.map(Cow::Borrowed);
                let options = PaginatedListOptions { page_token, delimiter, ..PaginatedListOptions::default() };
                let page = client.list_paginated(Some(&whole_prefix), options).await?;
                names.extend(take(page.result));
                page_token = page.page_token;
                if page_token.is_none() {
                    return Ok(names);
                }
            }
        })
    }
}

impl Store for S3Store {
    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let (client, path) = (self.service.client.clone(), self.service.path(key)?);
        let payload = PutPayload::from(Bytes::copy_from_slice(bytes));
        let put = async move { client.put_opts(&path, payload, PutMode::Create.into()).await };
        match self.service.wait(put) {
            Ok(_) => Ok(Created::Mine),
            Err(error) if failure::exists(&error) => Ok(Created::Exists),
            Err(error) => Err(self.service.failed(key, &error)),
        }
    }

    fn writer(&self, key: &str) -> Result<Box<dyn PartWriter>, StoreError> {
        Ok(Box::new(Upload::new(self.service.clone(), key)?))
    }

    fn read_up_to(&self, key: &str, bytes_most: u64) -> Result<Vec<u8>, StoreError> {
        let (client, path) = (self.service.client.clone(), self.service.path(key)?);
        let read = self.service.ask(key, async move {
            let whole = client.get(&path).await?;
            let length = whole.meta.size;
            if length > bytes_most {
                return Ok(Err(length));
            }
            if length <= READ_PIECE_BYTES {
                return Ok(Ok(whole.bytes().await?.into()));
            }
            drop(whole);
            let (mut bytes, mut start) = (Vec::new(), 0);
            while start < length {
                let end = length.min(start + READ_PIECE_BYTES);
                bytes.extend_from_slice(&client.get_range(&path, start..end).await?);
                start = end;
            }
            Ok(Ok(bytes))
        })?;
        read.map_err(|length| too_large(self.place(key), length, bytes_most))
    }

    fn open(&self, key: &str) -> Result<StoredFile, StoreError> {
        Ok(StoredFile::Remote(Arc::new(Blocks::open(self.service.clone(), key)?)))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let names = self.names(prefix, None, |page| {
            page.objects.into_iter().map(|object| String::from(object.location)).collect()
        })?;
        let own = self.service.object_name("");
        let mut keys: Vec<String> = names
            .iter()
            .filter_map(|name| name.strip_prefix(&own))
            .filter(|key| key.starts_with(prefix))
            .map(str::to_owned)
            .collect();
        keys.sort();
        Ok(keys)
    }

    fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let names =
            self.names(prefix, Some("/"), |page| page.common_prefixes.into_iter().map(String::from).collect())?;
        let whole_prefix = self.service.object_name(prefix);
        let name = |found: &String| Some(found.strip_prefix(&whole_prefix)?.trim_end_matches('/').to_owned());
        let mut names: Vec<String> = names.iter().filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        let (client, path) = (self.service.client.clone(), self.service.path(key)?);
        match self.service.ask(key, async move { client.delete(&path).await }) {
            Ok(()) | Err(StoreError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn place(&self, key: &str) -> String {
        format!("{}/{key}", self.service.place)
    }

    fn verified(&self) -> &Verified {
        &self.verified
    }
}

/// The bucket, as every reader and writer of it needs it.
struct Service {
    client: Arc<AmazonS3>,
    threads: Arc<Threads>,
    prefix: String,
    place: String,
}

impl Service {
    fn object_name(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) }
    }

    fn object_path(&self, key: &str) -> Result<Path, Failed> {
        Ok(Path::parse(self.object_name(key))?)
    }

    fn path(&self, key: &str) -> Result<Path, StoreError> {
        self.object_path(key).map_err(|error| self.failed(key, &error))
    }

    fn failed(&self, key: &str, error: &Failed) -> StoreError {
        failure::classify(error, key, &format!("{}/{key}", self.place))
    }

    /// Runs it on the store's threads and waits: from any thread, also one that serves others.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Failed>> + Send + 'static,
    ) -> Result<T, Failed> {
        let (tell, told) = mpsc::sync_channel(1);
        self.threads.handle.spawn(async move {
            // The one who waits does not leave before.
            let _ = tell.send(work.await);
        });
        told.recv().unwrap_or_else(|_| {
            Err(Failed::Generic { store: "S3", source: "a thread of the store has ended: please report this".into() })
        })
    }

    fn ask<T: Send + 'static>(
        &self,
        key: &str,
        work: impl Future<Output = Result<T, Failed>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.wait(work).map_err(|error| self.failed(key, &error))
    }

    /// Runs it without waiting.
    fn begin<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Failed>> + Send + 'static,
    ) -> JoinHandle<Result<T, Failed>> {
        self.threads.handle.spawn(work)
    }

    fn length(&self, key: &str) -> Result<u64, StoreError> {
        let (client, path) = (self.client.clone(), self.path(key)?);
        self.ask(key, async move { Ok(client.head(&path).await?.size) })
    }
}

/// Two threads carry all requests: they only wait, and sign what is sent.
struct Threads {
    handle: Handle,
    /// Taken by drop alone.
    runtime: Option<Runtime>,
}

impl Threads {
    fn start() -> io::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().thread_name("store").build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // The last owner may be a thread of another runtime, where waiting for the end is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
