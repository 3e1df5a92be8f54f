//! What is decided once before a row flows: the source's profile, the topic, the identity and the schema in the store.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use millstream_base::{ConfigFaults, Fault, Faults};
use millstream_store::{Settled, SharedStore, Store, StoreError, record_bytes, settle};
use serde_json::json;

use crate::config::{BrokerChoice, Pipeline, Start, check_models};
use millstream_answer::catalogue::{CatalogueFrom, Lookups, check_catalogue, check_filters, empty_items};
use millstream_answer::views::check_views;
use millstream_base::status::{EventKind, Status, now_ms};
use millstream_http::serve::Route;
use millstream_http::serve::check::check_view_route;
use millstream_stream::batch::{
    Begun, Identity, Plan, SCHEMA_KEY, SourceIdentity, create_or_read, positions, read as read_identity, read_schema,
};
use millstream_stream::schema::{FORMAT, RuleFault, StreamSchema};
use millstream_stream::source::{Dataset, Profile, Sampled, SourceError, SourcePlace, profile_records};
use millstream_stream::topic::{Topic, TopicError, TopicState, pause};

/// Who joins looks so often whether the store was begun.
const JOIN_PAUSE: Duration = Duration::from_millis(200);
/// Records of a topic that others write, from which the types are inferred.
const SAMPLE_RECORDS: usize = 1000;
/// So many records of which none can be read, and then silence: the topic is not what the pipeline says.
const UNREADABLE_RECORDS: usize = 3;

pub struct Prepared {
    pub identity: Identity,
    pub schema: StreamSchema,
    pub state: TopicState,
    pub plan: Plan,
}

/// How a process comes to a store.
#[derive(Clone, Copy)]
pub enum Join<'a> {
    /// It replays the source, and begins the store when it is new.
    Begin(&'a Dataset),
    /// Who replays begins the store; until then it waits.
    Wait,
    /// Others write the topic: the first to come begins the store.
    Listen,
}

/// The checks that need the data: the models' columns and expressions. Warnings go to the status.
pub fn check_data(pipeline: &Pipeline, schema: &StreamSchema, status: &Status) -> Result<(), ConfigFaults> {
    let mut faults = Faults::new(pipeline.file.display().to_string());
    check_models(pipeline, schema, &mut faults);
    if let Some(rules) = pipeline.catalogue.as_ref().filter(|rules| rules.from == CatalogueFrom::Batches) {
        // The tables' own faults are told with the views.
        let lookups = Lookups::read(&pipeline.tables, schema.dialect, &mut Faults::default());
        check_catalogue(rules, &lookups.extended(&schema.arrow()), schema.dialect, &mut faults);
        // What is wrong with the columns is told already.
        if let Ok(items) = empty_items(rules, &lookups, &schema.arrow(), schema.dialect) {
            check_filters(&pipeline.constant_filters(), &items, &mut faults);
        }
    }
    for (view, columns) in check_views(&pipeline.view_settings(), schema, &mut faults) {
        let asks = |route: &&Route| route.view.as_ref().is_some_and(|call| call.name == view.name);
        pipeline.routes.iter().filter(asks).for_each(|route| check_view_route(route, &columns, &mut faults));
    }
    for warning in faults.finish()? {
        status.event(EventKind::Warning, warning.to_string(), json!({}));
    }
    Ok(())
}

pub fn prepare(
    pipeline: &Pipeline,
    store: &SharedStore,
    topic: &Topic,
    join: Join,
    status: &Status,
    stop: &AtomicBool,
) -> anyhow::Result<Prepared> {
    let say = |message: String| status.event(EventKind::Broker, message, json!({}));
    if matches!(join, Join::Wait) {
        wait_for_schema(pipeline, store, status, stop)?.context("stopped")?;
    }
    let stored = read_identity(store.as_ref())?;
    let stored_schema = read_schema(store.as_ref())?;
    if let Some(identity) = &stored {
        identity.begun_as(&begun(pipeline))?;
    }
    if let Some(schema) = &stored_schema {
        obeys_pins(pipeline, schema)?;
    }
    // The first pass is needed once; later a digest tells whether it is still the same file.
    let profile = match (join, &stored, &stored_schema) {
        (Join::Begin(dataset), Some(identity), Some(_)) => {
            identity.matches_source(dataset.fingerprint()?.as_ref())?;
            None
        }
        (Join::Begin(dataset), _, _) => Some(first_pass(pipeline, dataset, status)?),
        (Join::Wait | Join::Listen, _, _) => None,
    };
    let known = stored_schema.as_ref().or(profile.as_ref().map(|profile| &profile.schema));
    if let Some(schema) = known {
        check_data(pipeline, schema, status)?;
    }
    // Before the topic is asked: a worker that commits meanwhile would seem to be ahead of it.
    let positions = stored.as_ref().map(|identity| positions(store.as_ref(), &identity.base_offsets)).transpose()?;
    let wanted = pipeline.stream.partitions.map(NonZeroU32::get);
    // A topic that others write is theirs to make, unless it is said how.
    let embedded = matches!(pipeline.stream.broker, BrokerChoice::Embedded { .. });
    let make = !matches!(join, Join::Listen) || embedded || wanted.is_some();
    let state = topic.prepare(wanted, make, stop, &say).map_err(|error| match (&error, &stored) {
        // Another number in the file would not help a store that was begun with this one.
        (TopicError::Partitions { found, .. }, Some(identity)) if identity.has_other_partitions(*found) => {
            identity.partitions_changed(*found).into()
        }
        _ => anyhow::Error::from(error),
    })?;
    let schema = match (stored_schema, &profile) {
        (Some(schema), _) => schema,
        (None, Some(profile)) => write_schema(store.as_ref(), &profile.schema, false)?,
        (None, None) => {
            let profile = listen(pipeline, topic, stored.as_ref(), &state, status, stop)?;
            check_data(pipeline, &profile.schema, status)?;
            write_schema(store.as_ref(), &profile.schema, true)?
        }
    };
    let identity = match stored {
        Some(identity) => identity,
        None => create_or_read(store.as_ref(), &new_identity(pipeline, &state, profile.as_ref())?)?,
    };
    identity.begun_as(&begun(pipeline))?;
    identity.matches(&state)?;
    identity.log_reaches(positions.as_ref().unwrap_or(&identity.base_offsets), &state)?;
    let source_rows = identity.source.as_ref().and_then(|source| source.rows);
    let plan = Plan {
        rule: pipeline.batch.rule,
        limit: pipeline.batch.limit,
        source_rows,
        base_offsets: identity.base_offsets.clone(),
        own_source: identity.source.is_some(),
        keyed: identity.key.is_some(),
    };
    status.update(|snapshot| {
        snapshot.source.rows_total = source_rows;
        snapshot.broker.reachable = true;
    });
    Ok(Prepared { identity, schema, state, plan })
}

/// Waits until the store was begun by who replays; `None` when told to stop before that.
pub fn wait_for_schema(
    pipeline: &Pipeline,
    store: &SharedStore,
    status: &Status,
    stop: &AtomicBool,
) -> anyhow::Result<Option<StreamSchema>> {
    let mut said = false;
    loop {
        // The identity is written last.
        if let (Some(_), Some(schema)) = (read_identity(store.as_ref())?, read_schema(store.as_ref())?) {
            obeys_pins(pipeline, &schema)?;
            return Ok(Some(schema));
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if !said {
            let message = format!("waiting for `replay` or `run` to begin the store {}", store.place(""));
            status.event(EventKind::Waiting, message, json!({}));
            said = true;
        }
        pause(stop, JOIN_PAUSE);
    }
}

/// Infers the schema from the first records of a topic that others write.
fn listen(
    pipeline: &Pipeline,
    topic: &Topic,
    stored: Option<&Identity>,
    state: &TopicState,
    status: &Status,
    stop: &AtomicBool,
) -> anyhow::Result<Profile> {
    let from = stored.map_or_else(|| listen_from(pipeline, state), |identity| identity.base_offsets.clone());
    status.event(EventKind::Waiting, format!("waiting for the first record of topic {:?}", topic.name), json!({}));
    let profile_of = |sample: &[Sampled]| profile_records(sample, pipeline.stream.encoding, &pipeline.schema);
    // A stray record is a reject, and decides nothing: where no other has come yet, one is waited for.
    let mut enough = |sample: &[Sampled]| match profile_of(sample) {
        Err(error @ SourceError::NoRow { .. }) if sample.len() < UNREADABLE_RECORDS => {
            status.event(EventKind::Warning, format!("{error}; waiting for a record that can"), json!({}));
            false
        }
        Ok(_) | Err(_) => true,
    };
    let sample = topic.sample(&from, SAMPLE_RECORDS, &mut enough, stop)?;
    let mut profile = profile_of(&sample)?;
    say_profile(&format!("topic {:?}", topic.name), &profile, status);
    profile.schema = with_rules(pipeline, profile.schema)?;
    Ok(profile)
}

/// Where a topic that others write is begun.
fn listen_from(pipeline: &Pipeline, state: &TopicState) -> Vec<i64> {
    let begin = |(low, high): &(i64, i64)| match pipeline.stream.start {
        Start::Earliest => *low,
        Start::Latest => *high,
    };
    state.watermarks.iter().map(begin).collect()
}

fn first_pass(pipeline: &Pipeline, dataset: &Dataset, status: &Status) -> anyhow::Result<Profile> {
    let mut profile = dataset.profile(&pipeline.schema)?;
    let place = pipeline.source.as_ref().map_or(String::new(), |source| source.place.to_string());
    say_profile(&place, &profile, status);
    profile.schema = with_rules(pipeline, profile.schema)?;
    Ok(profile)
}

fn say_profile(place: &str, profile: &Profile, status: &Status) {
    let types: Vec<String> =
        profile.schema.columns.iter().map(|column| format!("{} {}", column.name, column.kind.name())).collect();
    let rows = profile.rows.map_or("rows".to_owned(), |rows| format!("{rows} rows"));
    let message = format!("{place}: {rows} of {}", types.join(", "));
    let bytes = profile.fingerprint.as_ref().map(|fingerprint| fingerprint.bytes);
    status.event(EventKind::SourceProfiled, message, json!({ "rows": profile.rows, "bytes": bytes }));
    for warning in &profile.warnings {
        status.event(EventKind::Warning, warning.clone(), json!({}));
    }
}

/// The columns of the source with the rules of `[schema]` applied to them.
pub fn with_rules(pipeline: &Pipeline, found: StreamSchema) -> Result<StreamSchema, ConfigFaults> {
    found.apply_rules(&pipeline.schema).map_err(|found| {
        let place = pipeline.file.display().to_string();
        let fault = |RuleFault { key, value, message }| Fault {
            place: place.clone(),
            key,
            value: value.map(|value| format!("{value:?}")),
            message,
        };
        ConfigFaults(found.into_iter().map(fault).collect())
    })
}

/// What the pipeline file says of the stream, which a store keeps for ever.
fn begun(pipeline: &Pipeline) -> Begun {
    let source = pipeline.source.as_ref();
    Begun {
        name: pipeline.name.clone(),
        topic: pipeline.stream.topic.clone(),
        encoding: pipeline.stream.encoding.name().to_owned(),
        key: source.and_then(|source| source.key.clone()),
        order_by: source.and_then(|source| source.order_by.clone()),
        listens: source.is_none(),
        once: source.is_some_and(|source| source.place == SourcePlace::Stdin),
    }
}

fn new_identity(pipeline: &Pipeline, state: &TopicState, profile: Option<&Profile>) -> anyhow::Result<Identity> {
    let id = || uuid::Uuid::new_v4().simple().to_string();
    let Begun { name, topic, encoding, key, order_by, .. } = begun(pipeline);
    // A topic that is not empty belongs to an earlier store: our own source begins after it.
    let after = || state.watermarks.iter().map(|(_, high)| *high).collect();
    let found = state.watermarks.len();
    Ok(Identity {
        format: FORMAT,
        attempt: id(),
        store_id: id(),
        name,
        cluster: state.cluster.clone(),
        topic,
        topic_id: state.topic_id.clone(),
        partitions: u32::try_from(found).with_context(|| format!("the topic has {found} partitions"))?,
        base_offsets: profile.map_or_else(|| listen_from(pipeline, state), |_| after()),
        encoding,
        key,
        source: profile.map(|profile| SourceIdentity {
            rows: profile.rows,
            fingerprint: profile.fingerprint.clone(),
            order_by,
        }),
        created_at_ms: now_ms(),
    })
}

/// Answers the schema that holds. `shared`: several workers may have sampled the topic, and the first one's holds.
fn write_schema(store: &dyn Store, schema: &StreamSchema, shared: bool) -> anyhow::Result<StreamSchema> {
    let bytes = record_bytes(SCHEMA_KEY, schema)?;
    match settle(store, SCHEMA_KEY, &bytes)? {
        Settled::Mine => Ok(schema.clone()),
        Settled::There(_) if shared => {
            Ok(read_schema(store)?.ok_or_else(|| StoreError::Missing { key: SCHEMA_KEY.to_owned() })?)
        }
        Settled::There(_) => bail!(
            "{}: another schema was written there before this store was complete: delete the folder, or use another store.url",
            store.place(SCHEMA_KEY)
        ),
    }
}

/// The schema was written once; what the file pins now must agree with it.
fn obeys_pins(pipeline: &Pipeline, schema: &StreamSchema) -> anyhow::Result<()> {
    schema.obeys(&pipeline.schema).map_err(|fault| anyhow::anyhow!("{}: {fault}", pipeline.file.display()))
}
