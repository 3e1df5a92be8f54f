//! A part on its way to the bucket: one put when it is small, a multipart upload when it is large.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tokio::task::JoinHandle;

use super::failure::into_io;
use super::{Failed, Service};
use crate::{PartWriter, StoreError};

/// A piece of a multipart upload; S3 takes 10,000 of them, 80 GiB of one file. Smaller files are one put.
const PIECE_BYTES: usize = 8 << 20;
/// Pieces on their way while the next one fills: an open writer holds at most (this + 1) × 8 MiB = 24 MiB.
const PIECES_UNDER_WAY: usize = 2;
/// An abort is waited for so long. The service forgets an upload that was not aborted when its own rule says so.
const ABORT_PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Upload {
    service: Arc<Service>,
    key: String,
    path: Path,
    filling: Vec<u8>,
    written: u64,
    /// Once the first piece is full.
    multipart: Option<Box<dyn MultipartUpload>>,
    under_way: VecDeque<JoinHandle<Result<(), Failed>>>,
}

impl Upload {
    pub(super) fn new(service: Arc<Service>, key: &str) -> Result<Self, StoreError> {
        let path = service.path(key)?;
        let (filling, under_way) = (Vec::new(), VecDeque::new());
        Ok(Self { service, key: key.to_owned(), path, filling, written: 0, multipart: None, under_way })
    }

    /// Sends the piece that is full, or the last one.
    fn ship(&mut self) -> Result<(), StoreError> {
        let piece = PutPayload::from(std::mem::take(&mut self.filling));
        let multipart = match &mut self.multipart {
            Some(multipart) => multipart,
            None => {
                let (client, path) = (self.service.client.clone(), self.path.clone());
                let begun = self.service.ask(&self.key, async move { client.put_multipart(&path).await })?;
                self.multipart.insert(begun)
            }
        };
        self.under_way.push_back(self.service.begin(multipart.put_part(piece)));
        self.arrive(PIECES_UNDER_WAY)
    }

    /// Waits until no more than `most` pieces are under way.
    fn arrive(&mut self, most: usize) -> Result<(), StoreError> {
        while self.under_way.len() > most {
            let Some(piece) = self.under_way.pop_front() else { break };
            self.service.ask(&self.key, async move { piece.await? })?;
        }
        Ok(())
    }

    fn put_whole(&mut self) -> Result<(), StoreError> {
        let (client, path) = (self.service.client.clone(), self.path.clone());
        let payload = PutPayload::from(std::mem::take(&mut self.filling));
        // The name is this attempt's own, so a put that is repeated writes the same bytes.
        self.service.ask(&self.key, async move { client.put(&path, payload).await })?;
        Ok(())
    }

    fn complete(&mut self) -> Result<(), StoreError> {
        if !self.filling.is_empty() {
            self.ship()?;
        }
        self.arrive(0)?;
        let Some(mut multipart) = self.multipart.take() else { return Ok(()) };
        let (multipart, completed) = self.service.ask(&self.key, async move {
            let completed = multipart.complete().await;
            Ok((multipart, completed))
        })?;
        let Err(error) = completed else { return Ok(()) };
        // Its answer may be lost. The name is this attempt's own: a file of this length is the one.
        if matches!(self.service.length(&self.key), Ok(length) if length == self.written) {
            return Ok(());
        }
        self.multipart = Some(multipart);
        Err(self.service.failed(&self.key, &error))
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filling.len() == PIECE_BYTES {
            self.ship().map_err(into_io)?;
        }
        let count = bytes.len().min(PIECE_BYTES - self.filling.len());
        self.filling.extend_from_slice(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Only whole pieces can be sent; `finish` makes the file durable.
        Ok(())
    }
}

impl PartWriter for Upload {
    // Nothing is to be seen before the put, or the completion, is done. A crash before leaves pieces that the service
    // holds for no one until its rule for unfinished uploads removes them.
    fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        if self.multipart.is_none() { self.put_whole() } else { self.complete() }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(mut multipart) = self.multipart.take() else { return };
        let under_way = std::mem::take(&mut self.under_way);
        let abort = async move {
            // A piece that arrives after the abort would be kept, so the ones under way end first.
            for piece in under_way {
                let _ = piece.await;
            }
            multipart.abort().await
        };
        let _ = self.service.wait(async move {
            // Best effort: what stays costs space, nothing else.
            let _ = tokio::time::timeout(ABORT_PATIENCE, abort).await;
            Ok(())
        });
    }
}
