//! The rows of the store's complete batches.

use std::sync::Arc;

use millstream_model::ratings::RatingReader;
use millstream_model::rows::RowsError;
use millstream_store::SharedStore;
use millstream_stream::batch::{Batch, StoredBatches, read_schema};

use super::{Read, Rule, Source};

pub struct StoredRows {
    pub store: SharedStore,
    pub batches: Arc<StoredBatches>,
}

impl Source for StoredRows {
    fn batches(&self) -> Result<Arc<[Batch]>, String> {
        self.batches.complete().map_err(|error| error.to_string())
    }

    fn read(&self, rule: &Rule, batch: &Batch, visit: &mut dyn FnMut(&Read)) -> Result<(), String> {
        let store = self.store.as_ref();
        let schema = read_schema(store).map_err(|error| error.to_string())?;
        let schema = schema.ok_or("the store has no schema")?;
        let reader = RatingReader::new(&rule.columns, rule.filter.as_deref(), rule.holdout, &schema);
        let reader = reader.map_err(|error| error.to_string())?;
        let read = reader.for_each(store, batch, |block| {
            for row in 0..block.len() {
                let (Some(user), Some(item)) = (block.user(row), block.item(row)) else { continue };
                visit(&Read {
                    user,
                    item,
                    rating: block.rating(row),
                    time: block.time(row),
                    group: block.group(row),
                    held_out: block.held_out(row),
                    passes: block.passes(row),
                });
            }
            Ok::<(), RowsError>(())
        });
        read.map_err(|error| error.to_string())
    }
}
