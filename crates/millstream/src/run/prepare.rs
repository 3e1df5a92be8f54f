//! What is decided once before a row flows: the source's profile, the topic, the identity and the schema in the store.

use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use serde_json::json;

use crate::batch::{Committed, Identity, Plan, SourceIdentity, committed, create_or_read, read as read_identity};
use crate::config::{ConfigFaults, Faults, Pipeline, check_models};
use crate::schema::{FORMAT, StreamSchema};
use crate::source::{self, Profile};
use crate::status::{Status, now_ms};
use crate::store::{Settled, SharedStore, Store, read_optional, settle};
use crate::topic::{Topic, TopicState};

pub const SCHEMA_KEY: &str = "schema/000001.json";

pub struct Prepared {
    pub identity: Identity,
    pub schema: StreamSchema,
    pub state: TopicState,
    pub plan: Plan,
}

/// The checks that need the data: the models' columns and expressions. Warnings go to the status.
pub fn check_data(pipeline: &Pipeline, schema: &StreamSchema, status: &Status) -> Result<(), ConfigFaults> {
    let mut faults = Faults::new(pipeline.file.display().to_string());
    check_models(pipeline, schema, &mut faults);
    for warning in faults.finish()? {
        status.event("warning", warning.to_string(), json!({}));
    }
    Ok(())
}

pub fn prepare(
    pipeline: &Pipeline,
    store: &SharedStore,
    topic: &Topic,
    status: &Status,
    stop: &AtomicBool,
) -> anyhow::Result<Prepared> {
    let path = &pipeline.source.path;
    let stored = read_identity(store.as_ref())?;
    let stored_schema = read_schema(store.as_ref())?;
    // The first pass is needed once; later a digest tells whether it is still the same file.
    let profile = match (&stored, &stored_schema) {
        (Some(identity), Some(_)) => {
            identity.matches_source(&source::fingerprint(path)?)?;
            None
        }
        _ => Some(first_pass(pipeline, status)?),
    };
    let schema = match (stored_schema, &profile) {
        (Some(schema), _) => {
            obeys_pins(pipeline, &schema)?;
            schema
        }
        (None, Some(profile)) => profile.schema.clone(),
        (None, None) => bail!("the store has no schema and none was inferred"),
    };
    check_data(pipeline, &schema, status)?;
    let state =
        topic.prepare(pipeline.stream.partitions.get(), stop, &|message| status.event("broker", message, json!({})))?;
    let identity = match (stored, profile) {
        (Some(identity), _) => identity,
        (None, Some(profile)) => {
            write_schema(store.as_ref(), &profile.schema)?;
            create_or_read(store.as_ref(), &new_identity(pipeline, &state, &profile))?
        }
        (None, None) => bail!("the store has no identity and no source was read"),
    };
    identity.matches(&pipeline.name, &topic.name, &state)?;
    let Committed { checkpoint, .. } = committed(store.as_ref(), &identity.base_offsets)?;
    let positions: Vec<i64> = checkpoint.iter().map(|(_, offset)| *offset).collect();
    identity.log_reaches(&positions, &state)?;
    let source_rows = identity.source.as_ref().map(|source| source.rows);
    let plan = Plan {
        rule: pipeline.batch.rule,
        limit: pipeline.batch.limit,
        source_rows,
        base_offsets: identity.base_offsets.clone(),
    };
    status.update(|snapshot| {
        snapshot.source.rows_total = source_rows;
        snapshot.broker.reachable = true;
    });
    Ok(Prepared { identity, schema, state, plan })
}

fn first_pass(pipeline: &Pipeline, status: &Status) -> anyhow::Result<Profile> {
    let path = &pipeline.source.path;
    let profile = source::profile(path, &pipeline.source.csv, &pipeline.schema)?;
    let types: Vec<String> =
        profile.schema.columns.iter().map(|column| format!("{} {}", column.name, column.kind.name())).collect();
    let message = format!("{}: {} rows of {}", path.display(), profile.rows, types.join(", "));
    status.event("source_profiled", message, json!({ "rows": profile.rows, "bytes": profile.fingerprint.bytes }));
    for warning in &profile.warnings {
        status.event("warning", warning.clone(), json!({}));
    }
    if let Some(time) = &pipeline.schema.time
        && profile.schema.column(time).is_none()
    {
        bail!(
            "{}: schema.time = {time:?}: the source has no such column; it has {}",
            pipeline.file.display(),
            types.join(", ")
        );
    }
    if let Some(column) = pipeline.schema.columns.keys().find(|name| profile.schema.column(name).is_none()) {
        bail!(
            "{}: schema.columns.{column}: the source has no such column; it has {}",
            pipeline.file.display(),
            types.join(", ")
        );
    }
    Ok(profile)
}

fn new_identity(pipeline: &Pipeline, state: &TopicState, profile: &Profile) -> Identity {
    let id = || uuid::Uuid::new_v4().simple().to_string();
    Identity {
        format: FORMAT,
        attempt: id(),
        store_id: id(),
        name: pipeline.name.clone(),
        cluster: state.cluster.clone(),
        topic: pipeline.stream.topic.clone(),
        topic_id: state.topic_id.clone(),
        partitions: pipeline.stream.partitions.get(),
        // A topic that is not empty belongs to an earlier store: begin after it.
        base_offsets: state.watermarks.iter().map(|(_, high)| *high).collect(),
        encoding: "json".to_owned(),
        key: None,
        source: Some(SourceIdentity { rows: profile.rows, fingerprint: profile.fingerprint.clone() }),
        created_at_ms: now_ms(),
    }
}

pub fn read_schema(store: &dyn Store) -> anyhow::Result<Option<StreamSchema>> {
    let Some(bytes) = read_optional(store, SCHEMA_KEY)? else { return Ok(None) };
    let place =
        || format!("{}: cannot be read as format 1: restore it, or use another store.url", store.place(SCHEMA_KEY));
    let schema: StreamSchema = serde_json::from_slice(&bytes).with_context(place)?;
    if schema.format != FORMAT {
        bail!(place());
    }
    Ok(Some(schema))
}

fn write_schema(store: &dyn Store, schema: &StreamSchema) -> anyhow::Result<()> {
    let bytes = serde_json::to_vec_pretty(schema)?;
    match settle(store, SCHEMA_KEY, &bytes)? {
        Settled::Mine => Ok(()),
        Settled::There(_) => bail!(
            "{}: another schema was written there before this store was complete: delete the folder, or use another store.url",
            store.place(SCHEMA_KEY)
        ),
    }
}

/// The schema was written once; what the file pins now must agree with it.
fn obeys_pins(pipeline: &Pipeline, schema: &StreamSchema) -> anyhow::Result<()> {
    let remedy = "the schema was written once, with the first batch: put the key back, or begin anew with another store.url and stream.topic";
    if pipeline.schema.time != schema.time {
        bail!(
            "{}: schema.time = {:?}, the store has {:?}: {remedy}",
            pipeline.file.display(),
            pipeline.schema.time,
            schema.time
        );
    }
    for (name, rule) in &pipeline.schema.columns {
        let stored = schema.column(name);
        let agrees = stored.is_some_and(|column| rule.kind.is_none_or(|kind| kind == column.kind));
        if !agrees {
            let found = stored.map_or("no such column", |column| column.kind.name());
            bail!("{}: schema.columns.{name}: the store has {found}: {remedy}", pipeline.file.display());
        }
    }
    Ok(())
}
