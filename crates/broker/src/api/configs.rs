//! Settings of topics and of the broker: DescribeConfigs (versions 1 to 4), AlterConfigs (0 to 2),
//! IncrementalAlterConfigs (0 to 1).

use std::collections::BTreeSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse as Altered;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ResponseKind,
};
use kafka_protocol::protocol::StrBytes;
use tracing::{error, info};

use super::{NODE, NONE, code};
use crate::catalogue::ChangeFault;
use crate::settings::{self, Set, SettingFault};
use crate::shared::Shared;

const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;
/// DYNAMIC_TOPIC_CONFIG: set for this topic.
const SOURCE_TOPIC: i8 = 1;
/// STATIC_BROKER_CONFIG: set where the broker is started.
const SOURCE_BROKER: i8 = 4;
/// DEFAULT_CONFIG: nobody set it.
const SOURCE_DEFAULT: i8 = 5;

/// What a refused change is answered with: the error and its explanation.
type Refusal = (ResponseError, String);

fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// DescribeConfigs: all settings of a topic, and the few of the broker that clients look at. A resource that is named
/// again is not described again.
pub(super) fn describe(shared: &Shared, request: DescribeConfigsRequest) -> ResponseKind {
    let mut seen = BTreeSet::new();
    let mut is_new =
        |resource: &DescribeConfigsResource| seen.insert((resource.resource_type, resource.resource_name.clone()));
    let results = request.resources.into_iter().filter(|resource| is_new(resource)).map(|resource| {
        let result = DescribeConfigsResult::default().with_resource_type(resource.resource_type);
        let result = match describe_one(shared, &resource, request.include_synonyms) {
            Ok(settings) => result.with_error_code(NONE).with_configs(settings),
            Err((error, message)) => result.with_error_code(code(error)).with_error_message(Some(text(message))),
        };
        result.with_resource_name(resource.resource_name)
    });
    ResponseKind::DescribeConfigs(DescribeConfigsResponse::default().with_results(results.collect()))
}

/// A setting as it is described: name, value, source, whether it can be changed.
type Described = (&'static str, String, i8, bool);

fn describe_one(
    shared: &Shared,
    resource: &DescribeConfigsResource,
    with_synonyms: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let config = &shared.config;
    let all: Vec<Described> = match resource.resource_type {
        RESOURCE_TOPIC => {
            let topic = shared.catalogue.topic(&resource.resource_name).ok_or_else(topic_unknown)?;
            let describe = |setting: settings::Setting| {
                let source = match (setting.is_set, setting.is_configured) {
                    (true, _) => SOURCE_TOPIC,
                    (false, true) => SOURCE_BROKER,
                    (false, false) => SOURCE_DEFAULT,
                };
                (setting.name, setting.value, source, settings::SETTABLE.contains(&setting.name))
            };
            settings::all(config, &topic.settings).into_iter().map(describe).collect()
        }
        RESOURCE_BROKER if resource.resource_name.is_empty() => Vec::new(),
        RESOURCE_BROKER if resource.resource_name.as_str() == NODE.0.to_string() => broker_settings(shared),
        RESOURCE_BROKER => return Err((ResponseError::InvalidRequest, "the only broker is 0".to_owned())),
        _ => return Err((ResponseError::InvalidRequest, "topics and brokers have settings here".to_owned())),
    };
    let keys = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty());
    let wanted = |name: &str| keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == name));
    let describe = |(name, value, source, is_settable): Described| {
        let synonym = DescribeConfigsSynonym::default()
            .with_name(text(name))
            .with_value(Some(text(value.as_str())))
            .with_source(source);
        DescribeConfigsResourceResult::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
            .with_read_only(!is_settable)
            .with_config_source(source)
            .with_synonyms(if with_synonyms { vec![synonym] } else { Vec::new() })
    };
    Ok(all.into_iter().filter(|(name, _, _, _)| wanted(name)).map(describe).collect())
}

fn broker_settings(shared: &Shared) -> Vec<Described> {
    let config = &shared.config;
    let or_unlimited = |limit: Option<String>| {
        let source = if limit.is_some() { SOURCE_BROKER } else { SOURCE_DEFAULT };
        (limit.unwrap_or_else(|| "-1".to_owned()), source)
    };
    let (retention_ms, age_source) = or_unlimited(config.retention.map(|age| age.as_millis().to_string()));
    let (retention_bytes, bytes_source) = or_unlimited(config.retention_bytes.map(|bytes| bytes.to_string()));
    vec![
        ("auto.create.topics.enable", config.auto_create.to_string(), SOURCE_BROKER, false),
        ("default.replication.factor", "1".to_owned(), SOURCE_DEFAULT, false),
        ("log.retention.bytes", retention_bytes, bytes_source, false),
        ("log.retention.ms", retention_ms, age_source, false),
        ("log.segment.bytes", config.segment_bytes.to_string(), SOURCE_BROKER, false),
        ("message.max.bytes", config.max_batch_bytes.to_string(), SOURCE_BROKER, false),
        ("num.partitions", config.default_partitions.to_string(), SOURCE_BROKER, false),
    ]
}

fn topic_unknown() -> Refusal {
    (ResponseError::UnknownTopicOrPartition, "there is no such topic".to_owned())
}

/// The settings that a client gives a new topic, checked; those that say what stands anyway are not kept.
pub(super) fn checked<'a>(
    shared: &Shared,
    given: impl Iterator<Item = (&'a str, Option<&'a str>)>,
) -> Result<Set, Refusal> {
    let mut set = Set::new();
    for (name, value) in given {
        let Some(value) = value else {
            return Err((ResponseError::InvalidConfig, format!("{} has no value", settings::short(name))));
        };
        note(name, value);
        if let Some(value) = settings::check(&shared.config, name, value).map_err(invalid)? {
            set.insert(name.to_owned(), value);
        }
    }
    Ok(set)
}

fn note(name: &str, value: &str) {
    if settings::is_without_effect(name) {
        info!(name, value = settings::short(value), "a topic's setting is taken, and has no effect in this broker");
    }
}

// By value, as `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn invalid(fault: SettingFault) -> Refusal {
    (ResponseError::InvalidConfig, fault.to_string())
}

/// A resource may be changed once in a request: each change is written durably.
fn once(seen: &mut BTreeSet<(i8, StrBytes)>, resource_type: i8, name: &StrBytes) -> Result<(), Refusal> {
    if seen.insert((resource_type, name.clone())) {
        return Ok(());
    }
    Err((ResponseError::InvalidRequest, "the resource is named twice".to_owned()))
}

/// AlterConfigs: replaces all settings of a topic.
pub(super) fn alter(shared: &Shared, request: AlterConfigsRequest) -> ResponseKind {
    let mut seen = BTreeSet::new();
    let responses = request.resources.into_iter().map(|resource| {
        let given =
            resource.configs.iter().map(|config| (config.name.as_str(), config.value.as_ref().map(StrBytes::as_str)));
        let once = once(&mut seen, resource.resource_type, &resource.resource_name);
        let result = once.and_then(|()| checked(shared, given)).and_then(|set| {
            let target = (resource.resource_type, resource.resource_name.as_str());
            change(shared, target, request.validate_only, |old| *old = set)
        });
        let (error_code, message) = answer(result);
        Altered::default()
            .with_error_code(error_code)
            .with_error_message(message)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
    });
    ResponseKind::AlterConfigs(AlterConfigsResponse::default().with_responses(responses.collect()))
}

/// IncrementalAlterConfigs: sets and unsets settings of a topic; the others stay.
pub(super) fn alter_some(shared: &Shared, request: IncrementalAlterConfigsRequest) -> ResponseKind {
    let mut seen = BTreeSet::new();
    let responses = request.resources.into_iter().map(|resource| {
        let steps: Result<Vec<Step>, Refusal> = resource.configs.iter().map(|config| step(shared, config)).collect();
        let once = once(&mut seen, resource.resource_type, &resource.resource_name);
        let result = once.and(steps).and_then(|steps| {
            let target = (resource.resource_type, resource.resource_name.as_str());
            change(shared, target, request.validate_only, |set| {
                for Step { name, value } in steps {
                    match value {
                        Some(value) => set.insert(name, value),
                        None => set.remove(&name),
                    };
                }
            })
        });
        let (error_code, message) = answer(result);
        AlterConfigsResourceResponse::default()
            .with_error_code(error_code)
            .with_error_message(message)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
    });
    ResponseKind::IncrementalAlterConfigs(
        IncrementalAlterConfigsResponse::default().with_responses(responses.collect()),
    )
}

/// One setting's new value; `None`: the broker's again.
struct Step {
    name: String,
    value: Option<String>,
}

fn step(shared: &Shared, config: &AlterableConfig) -> Result<Step, Refusal> {
    /// The protocol's operations.
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    const APPEND: i8 = 2;
    const SUBTRACT: i8 = 3;
    let name = config.name.to_string();
    match (config.config_operation, &config.value) {
        (SET, Some(value)) => {
            note(&name, value);
            let value = settings::check(&shared.config, &name, value).map_err(invalid)?;
            Ok(Step { name, value })
        }
        (DELETE, _) => Ok(Step { name, value: None }),
        (APPEND | SUBTRACT, _) => Err(invalid(SettingFault::NoList { name: settings::short(&name) })),
        _ => {
            let name = settings::short(&name);
            Err((ResponseError::InvalidRequest, format!("{name}: an operation without a value, or an unknown one")))
        }
    }
}

fn change(
    shared: &Shared,
    (resource_type, name): (i8, &str),
    validate_only: bool,
    change: impl FnOnce(&mut Set),
) -> Result<(), Refusal> {
    if resource_type != RESOURCE_TOPIC {
        let message = "only topics can be altered here; the broker's settings are given when it is started";
        return Err((ResponseError::InvalidRequest, message.to_owned()));
    }
    if validate_only {
        return shared.catalogue.topic(name).map(|_| ()).ok_or_else(topic_unknown);
    }
    shared.catalogue.set(name, change).map_err(|fault| match fault {
        ChangeFault::Disk(cause) => {
            error!(%cause, "settings not changed");
            (ResponseError::KafkaStorageError, cause.to_string())
        }
        ChangeFault::TopicUnknown | ChangeFault::NotMore { .. } | ChangeFault::TooManyPartitions => topic_unknown(),
    })
}

fn answer(result: Result<(), Refusal>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(()) => (NONE, None),
        Err((error, message)) => (code(error), Some(text(message))),
    }
}
