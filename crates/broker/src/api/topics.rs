//! CreateTopics (versions 2 to 7), CreatePartitions (0 to 3) and DeleteTopics (1 to 6).

use std::collections::BTreeSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, ResponseKind, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tracing::error;
use uuid::Uuid;

use super::{Caller, NONE, code, configs};
use crate::catalogue::{ChangeFault, CreateFault};
use crate::settings;
use crate::shared::Shared;

/// CreateTopics. One replica, as there is one node. Settings that this broker does not serve are refused.
pub(super) fn create(shared: &Shared, caller: &Caller<'_>, request: CreateTopicsRequest) -> ResponseKind {
    let mut seen = BTreeSet::new();
    let topics = request.topics.into_iter().map(|asked| {
        let result = if seen.insert(asked.name.clone()) {
            create_one(shared, &asked, request.validate_only)
        } else {
            Err((ResponseError::InvalidRequest, "the topic is named twice".to_owned()))
        };
        let response = CreatableTopicResult::default().with_name(asked.name);
        match result {
            Ok((id, partitions)) => {
                let response = response.with_error_code(NONE);
                let response = if caller.version >= 7 { response.with_topic_id(id) } else { response };
                if caller.version >= 5 {
                    let settings = described(shared, &response.name);
                    response.with_num_partitions(partitions).with_replication_factor(1).with_configs(Some(settings))
                } else {
                    response
                }
            }
            Err((error, message)) => {
                response.with_error_code(code(error)).with_error_message(Some(StrBytes::from_string(message)))
            }
        }
    });
    ResponseKind::CreateTopics(CreateTopicsResponse::default().with_topics(topics.collect()))
}

/// The settings of a topic that was just made; none of one that was only checked.
fn described(shared: &Shared, name: &str) -> Vec<CreatableTopicConfigs> {
    /// DYNAMIC_TOPIC_CONFIG, or DEFAULT_CONFIG.
    const SOURCE: fn(bool) -> i8 = |is_set| if is_set { 1 } else { 5 };
    let Some(topic) = shared.catalogue.topic(name) else {
        return Vec::new();
    };
    let describe = |setting: settings::Setting| {
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_static_str(setting.name))
            .with_value(Some(StrBytes::from_string(setting.value)))
            .with_read_only(!settings::SETTABLE.contains(&setting.name))
            .with_config_source(SOURCE(setting.is_set))
    };
    settings::all(&shared.config, &topic.settings).into_iter().map(describe).collect()
}

fn create_one(
    shared: &Shared,
    asked: &CreatableTopic,
    validate_only: bool,
) -> Result<(Uuid, i32), (ResponseError, String)> {
    if !matches!(asked.replication_factor, -1 | 1) {
        let message = "there is one node: the replication factor is 1".to_owned();
        return Err((ResponseError::InvalidReplicationFactor, message));
    }
    let partitions = if asked.assignments.is_empty() {
        match asked.num_partitions {
            -1 => shared.config.default_partitions,
            partitions => partitions,
        }
    } else {
        i32::try_from(asked.assignments.len()).unwrap_or(i32::MAX)
    };
    let given = asked.configs.iter().map(|config| (config.name.as_str(), config.value.as_ref().map(StrBytes::as_str)));
    let settings = configs::checked(shared, given)?;
    let made = if validate_only {
        let checked = shared.catalogue.check_new(&asked.name, partitions);
        checked.map(|()| Uuid::nil())
    } else {
        let made = shared.catalogue.create(&asked.name, partitions, settings);
        made.map(|topic| topic.id)
    };
    made.map(|id| (id, partitions)).map_err(|fault| match fault {
        CreateFault::Exists => {
            (ResponseError::TopicAlreadyExists, format!("topic {} exists", settings::short(&asked.name)))
        }
        CreateFault::NameInvalid => (
            ResponseError::InvalidTopicException,
            "a topic name is 1 to 249 letters, digits, dots, underscores and hyphens".to_owned(),
        ),
        CreateFault::PartitionsInvalid => {
            (ResponseError::InvalidPartitions, "a topic has at least one partition".to_owned())
        }
        CreateFault::TooManyPartitions => too_many_partitions(shared),
        CreateFault::Disk(cause) => {
            error!(%cause, "topic not created");
            (ResponseError::KafkaStorageError, cause.to_string())
        }
    })
}

fn too_many_partitions(shared: &Shared) -> (ResponseError, String) {
    let message = format!("all topics together may have {} partitions", shared.config.max_partitions);
    (ResponseError::InvalidPartitions, message)
}

/// CreatePartitions.
pub(super) fn grow(shared: &Shared, request: CreatePartitionsRequest) -> ResponseKind {
    let results = request.topics.into_iter().map(|asked| {
        let grown = if request.validate_only {
            shared.catalogue.check_grown(&asked.name, asked.count).map(|_| ())
        } else {
            shared.catalogue.grow(&asked.name, asked.count)
        };
        let result = CreatePartitionsTopicResult::default().with_name(asked.name);
        match grown {
            Ok(()) => result.with_error_code(NONE),
            Err(fault) => {
                let (error, message) = grow_fault(shared, fault);
                result.with_error_code(code(error)).with_error_message(Some(StrBytes::from_string(message)))
            }
        }
    });
    ResponseKind::CreatePartitions(CreatePartitionsResponse::default().with_results(results.collect()))
}

fn grow_fault(shared: &Shared, fault: ChangeFault) -> (ResponseError, String) {
    match fault {
        ChangeFault::TopicUnknown => (ResponseError::UnknownTopicOrPartition, "there is no such topic".to_owned()),
        ChangeFault::NotMore { present } => {
            let message = format!("the topic has {present} partitions already, and can only get more");
            (ResponseError::InvalidPartitions, message)
        }
        ChangeFault::TooManyPartitions => too_many_partitions(shared),
        ChangeFault::Disk(cause) => {
            error!(%cause, "partitions not added");
            (ResponseError::KafkaStorageError, cause.to_string())
        }
    }
}

/// DeleteTopics, by name or, from version 6 on, by id. Positions that groups committed go with the topic.
pub(super) fn delete(shared: &Shared, caller: &Caller<'_>, request: DeleteTopicsRequest) -> ResponseKind {
    let named = |name: TopicName| DeleteTopicState::default().with_name(Some(name));
    let asked: Vec<DeleteTopicState> =
        if caller.version >= 6 { request.topics } else { request.topic_names.into_iter().map(named).collect() };
    let mut deleted = BTreeSet::new();
    let results: Vec<(DeleteTopicState, Option<TopicName>, i16)> = asked
        .into_iter()
        .map(|state| {
            let by_id = || {
                let topic = shared.catalogue.topic_of_id(state.topic_id)?;
                Some(TopicName(StrBytes::from_string(topic.name.clone())))
            };
            let name = state.name.clone().or_else(by_id);
            let error_code = match &name {
                None => code(ResponseError::UnknownTopicId),
                Some(name) => delete_one(shared, name),
            };
            if let (Some(name), NONE) = (&name, error_code) {
                deleted.insert(name.as_str().to_owned());
            }
            (state, name, error_code)
        })
        .collect();
    // All positions in one walk.
    let storage = (!shared.committed.forget(|_, topic, _| deleted.contains(topic)))
        .then(|| code(ResponseError::KafkaStorageError));
    let responses = results.into_iter().map(|(state, name, error_code)| {
        let error_code = if error_code == NONE { storage.unwrap_or(NONE) } else { error_code };
        let response = DeletableTopicResult::default().with_name(name).with_error_code(error_code);
        if caller.version >= 6 { response.with_topic_id(state.topic_id) } else { response }
    });
    ResponseKind::DeleteTopics(DeleteTopicsResponse::default().with_responses(responses.collect()))
}

fn delete_one(shared: &Shared, name: &str) -> i16 {
    match shared.catalogue.delete(name) {
        Ok(true) => NONE,
        Ok(false) => code(ResponseError::UnknownTopicOrPartition),
        Err(cause) => {
            error!(%cause, "topic not deleted");
            code(ResponseError::KafkaStorageError)
        }
    }
}
