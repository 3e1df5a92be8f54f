//! Makes each stage from what was prepared, for `run` and for the stages alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use millstream_store::SharedStore;
use serde_json::json;

use super::prepare::Prepared;
use crate::config::Pipeline;
use millstream_base::status::{EventKind, Status};
use millstream_stream::batch::ingest::{Ingest, Sharing, SyncLog};
use millstream_stream::batch::{Batch, BatchRule, Cut, Decider, Manifest, PartSettings};
use millstream_stream::replay::{Ended, Replay, SourceEnd};
use millstream_stream::source::Dataset;
use millstream_stream::topic::Topic;

/// What every stage is made of.
pub(super) struct Stages<'a> {
    pub pipeline: &'a Pipeline,
    pub store: &'a SharedStore,
    pub status: &'a Arc<Status>,
    pub topic: &'a Topic,
    pub prepared: &'a Prepared,
    /// The embedded broker's log, on this machine.
    pub log: &'a Option<PathBuf>,
}

impl Stages<'_> {
    pub fn replay(&self, dataset: Arc<Dataset>) -> anyhow::Result<Replay> {
        let source =
            self.pipeline.source.clone().context("there is no [source] to replay: this pipeline listens only")?;
        Ok(Replay {
            store: self.store.clone(),
            source,
            dataset,
            schema: self.prepared.schema.clone(),
            encoding: self.pipeline.stream.encoding,
            identity: self.prepared.identity.clone(),
            plan: self.prepared.plan.clone(),
            topic: self.topic.clone(),
            state: self.prepared.state.clone(),
            on_stop: self.pipeline.batch.on_stop,
            idle: self.pipeline.batch.idle,
            embedded_log: self.log.clone(),
            status: self.status.clone(),
        })
    }

    pub fn ingest(&self, sharing: Sharing) -> Ingest {
        Ingest {
            store: self.store.clone(),
            settings: self.settings(),
            identity: self.prepared.identity.clone(),
            plan: self.prepared.plan.clone(),
            topic: self.topic.clone(),
            sharing,
            max_rejects: self.pipeline.batch.max_rejects,
            idle: self.pipeline.batch.idle,
            sync_log: sync_log(self.log.as_deref()),
            status: self.status.clone(),
        }
    }

    pub fn decider(&self) -> Decider {
        Decider {
            store: self.store.clone(),
            settings: self.settings(),
            identity: self.prepared.identity.clone(),
            plan: self.prepared.plan.clone(),
            topic: self.topic.clone(),
            idle: self.pipeline.batch.idle,
            status: self.status.clone(),
        }
    }

    fn settings(&self) -> PartSettings {
        PartSettings {
            schema: self.prepared.schema.clone(),
            encoding: self.pipeline.stream.encoding,
            format: self.pipeline.batch.format,
        }
    }
}

/// Makes records durable in the embedded broker's log.
pub(super) fn sync_log(log: Option<&Path>) -> Option<SyncLog> {
    let data = log?.to_owned();
    Some(Box::new(move |topic, partition, end| {
        millstream_broker::sync_through(&data, topic, partition, end).map_err(Into::into)
    }))
}

/// The end offsets of a source that has ended.
pub(super) fn source_ends(store: &SharedStore) -> Result<Option<Vec<i64>>, String> {
    match SourceEnd::read(store.as_ref()) {
        Ok(end) => Ok(end.map(|end| end.ends)),
        Err(error) => Err(error.to_string()),
    }
}

/// Is this the last cut of a source that has ended? With parts only their number tells.
pub(super) fn is_last(pipeline: &Pipeline, ends: Option<&[i64]>, last: Option<&Cut>) -> bool {
    let counted = matches!(pipeline.batch.rule, BatchRule::Parts(_));
    !counted && ends.is_some() && ends == last.map(|cut| cut.ends.as_slice())
}

pub(super) fn say_batch(status: &Status, found: &Batch) {
    let (batch, rows, rejects) = (found.number(), found.rows(), found.rejects());
    let sum = |of: fn(&Manifest) -> u64| -> u64 { found.parts.iter().map(of).sum() };
    let (late, skipped) = (sum(|part| part.late), sum(|part| part.skipped));
    let count = |number: u64, what: &str| if number == 0 { String::new() } else { format!(", {number} {what}") };
    let (aside, behind, without) = (count(rejects, "rejects"), count(late, "late"), count(skipped, "skipped"));
    let message = format!("batch {batch} committed: {rows} rows{aside}{behind}{without}");
    let data = json!({
        "batch": batch, "rows": rows, "rejects": rejects, "late": late, "skipped": skipped, "total": found.cut.total,
    });
    status.event(EventKind::BatchCommitted, message, data);
}

pub(super) fn say_source_ended(status: &Status, ended: Option<&Ended>) {
    let rows = status.snapshot().source.rows_sent;
    match ended {
        Some(Ended::Source) => {
            let message = format!("the source has ended: {rows} rows sent");
            status.event(EventKind::SourceEnded, message, json!({ "rows": rows }));
        }
        Some(Ended::Limit { left }) => {
            let rest = left.map_or("the rest".to_owned(), |left| left.to_string());
            let message = format!("batch.limit is reached: {rows} rows sent, {rest} left");
            status.event(EventKind::SourceEnded, message, json!({ "rows": rows, "left": left }));
        }
        Some(Ended::Stopped) | None => {}
    }
}
