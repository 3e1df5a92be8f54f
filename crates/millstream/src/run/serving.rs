//! What the API is given: the registry, kept up to date, and the stored batches.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::batch::{Batch, StoredBatches};
use crate::registry::Registry;
use crate::serve::{BatchReadError, BatchSource};
use crate::status::Event;

/// New versions and evaluations are served as soon as they are stored.
pub(super) async fn follow(registry: Arc<Registry>, mut events: broadcast::Receiver<Event>) {
    loop {
        match events.recv().await {
            Ok(event) if !event.kind.starts_with("version") => {}
            // What was missed is read with the rest.
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {
                let registry = registry.clone();
                let refreshed = tokio::task::spawn_blocking(move || registry.refresh()).await;
                if let Ok(Err(error)) = refreshed {
                    tracing::warn!(%error, "the registry cannot be read");
                }
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

pub(super) struct Stored(pub Arc<StoredBatches>);

impl BatchSource for Stored {
    fn batches(&self) -> Vec<Batch> {
        self.0.complete().unwrap_or_else(|error| {
            tracing::warn!(%error, "the batches cannot be listed");
            Vec::new()
        })
    }

    fn rows(
        &self,
        batch: u32,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, BatchReadError> {
        self.0.rows(batch, offset, limit).map_err(|error| BatchReadError { batch, message: error.to_string() })
    }
}
