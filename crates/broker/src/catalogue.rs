//! The topics of a data folder, and the two numbers that must never repeat: topic ids and producer ids.
//!
//! ```text
//! meta.json                         {"format":1, cluster_id, next_producer_id,
//!                                    topics: {name: {id, partitions, settings: {name: value}}}}
//! offsets.log                       committed offsets of consumer groups
//! lock                              held by the process that serves; its address
//! topics/<topic id>/<partition>/    segments: <base offset>.log and, once sealed, .index; start.json once something
//!                                   was removed
//! ```
//! Folders carry the topic's id, so that a topic deleted and made again never meets its old data.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use uuid::Uuid;

use crate::config::Config;
use crate::error::BrokerError;
use crate::files::{self, FORMAT};
use crate::locks::lock;
use crate::log::{self, PartitionLog};
use crate::settings::{self, Set};

/// Producer ids are reserved on disk in runs of so many; what is left of a run is skipped at the next start.
const PRODUCER_ID_RUN: i64 = 1000;
/// The longest topic name of Apache Kafka.
const TOPIC_NAME_CHARS: usize = 249;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Meta {
    format: u64,
    cluster_id: String,
    /// The first producer id that was never reserved.
    next_producer_id: i64,
    topics: BTreeMap<String, TopicMeta>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct TopicMeta {
    id: Uuid,
    partitions: i32,
    /// Absent before there were any.
    #[serde(default, skip_serializing_if = "Set::is_empty")]
    settings: Set,
}

/// One topic and its logs, as it stood at one moment: a change makes another one that shares the logs.
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: Uuid,
    pub(crate) settings: Set,
    pub(crate) partitions: Vec<Arc<PartitionLog>>,
}

impl Topic {
    /// The log of a partition by the number that a client gave.
    pub(crate) fn partition(&self, index: i32) -> Option<&PartitionLog> {
        self.partitions.get(usize::try_from(index).ok()?).map(Arc::as_ref)
    }
}

/// Why a topic was not made.
#[derive(Debug)]
pub(crate) enum CreateFault {
    Exists,
    NameInvalid,
    PartitionsInvalid,
    TooManyPartitions,
    Disk(BrokerError),
}

/// Why a topic was not changed.
#[derive(Debug)]
pub(crate) enum ChangeFault {
    TopicUnknown,
    /// It has as many partitions already, or more.
    NotMore {
        present: i32,
    },
    TooManyPartitions,
    Disk(BrokerError),
}

/// All topics.
pub(crate) struct Catalogue {
    config: Config,
    /// The cluster's id, made once per data folder.
    pub(crate) cluster_id: String,
    meta: Mutex<Meta>,
    topics: RwLock<BTreeMap<String, Arc<Topic>>>,
    next_producer_id: Mutex<i64>,
}

fn meta_path(data: &Path) -> PathBuf {
    data.join("meta.json")
}

fn topic_folder(data: &Path, id: Uuid) -> PathBuf {
    data.join("topics").join(id.to_string())
}

/// Kafka's rule: letters, digits, `.`, `_`, `-`; 1 to 249 of them; neither `.` nor `..`.
fn is_topic_name(name: &str) -> bool {
    (1..=TOPIC_NAME_CHARS).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

impl Catalogue {
    /// Opens all logs of a data folder. The caller holds its lock file.
    pub(crate) fn open(config: &Config) -> Result<Self, BrokerError> {
        let data = &config.data;
        files::create_folder(&data.join("topics"))?;
        let meta = match files::read_json::<Meta>(&meta_path(data))? {
            Some(meta) => meta,
            None => {
                let meta = Meta {
                    format: FORMAT,
                    cluster_id: Uuid::new_v4().simple().to_string(),
                    next_producer_id: 0,
                    topics: BTreeMap::new(),
                };
                files::write_json(&meta_path(data), &meta)?;
                meta
            }
        };
        let mut topics = BTreeMap::new();
        for (name, topic) in &meta.topics {
            let folder = topic_folder(data, topic.id);
            let partitions = (0..topic.partitions)
                .map(|partition| {
                    let segment_bytes = settings::segment_bytes(config, &topic.settings);
                    PartitionLog::open(&folder.join(partition.to_string()), segment_bytes).map(Arc::new)
                })
                .collect::<Result<Vec<_>, _>>()?;
            let settings = topic.settings.clone();
            topics.insert(name.clone(), Arc::new(Topic { name: name.clone(), id: topic.id, settings, partitions }));
        }
        sweep(data, &meta)?;
        Ok(Self {
            config: config.clone(),
            cluster_id: meta.cluster_id.clone(),
            next_producer_id: Mutex::new(meta.next_producer_id),
            meta: Mutex::new(meta),
            topics: RwLock::new(topics),
        })
    }

    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.get(name).cloned()
    }

    pub(crate) fn topic_of_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.values().find(|topic| topic.id == id).cloned()
    }

    /// All topics by name.
    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.values().cloned().collect()
    }

    /// Whether a topic could be made (CreateTopics with `validate_only`).
    pub(crate) fn check_new(&self, name: &str, partitions: i32) -> Result<(), CreateFault> {
        if !is_topic_name(name) {
            return Err(CreateFault::NameInvalid);
        }
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        if topics.contains_key(name) {
            return Err(CreateFault::Exists);
        }
        let Some(wanted) = usize::try_from(partitions).ok().filter(|count| *count > 0) else {
            return Err(CreateFault::PartitionsInvalid);
        };
        if wanted > self.partitions_left(&topics, name) {
            return Err(CreateFault::TooManyPartitions);
        }
        Ok(())
    }

    /// How many partitions a topic could have more: the reserved topic has its own count, all others share one.
    fn partitions_left(&self, topics: &BTreeMap<String, Arc<Topic>>, name: &str) -> usize {
        let is_reserved = |name: &str| self.config.reserved_topic.as_deref() == Some(name);
        let alike = topics.values().filter(|topic| is_reserved(&topic.name) == is_reserved(name));
        let present: usize = alike.map(|topic| topic.partitions.len()).sum();
        self.config.max_partitions.saturating_sub(present)
    }

    /// Makes a topic. Its logs come first, then `meta.json` names it: a crash between leaves a folder that nothing
    /// names, swept at the next open.
    pub(crate) fn create(&self, name: &str, partitions: i32, settings: Set) -> Result<Arc<Topic>, CreateFault> {
        let mut meta = lock(&self.meta);
        self.check_new(name, partitions)?;
        let id = Uuid::new_v4();
        let logs = self.make_logs(id, 0..partitions, &settings).map_err(CreateFault::Disk)?;
        let mut changed = meta.clone();
        changed.topics.insert(name.to_owned(), TopicMeta { id, partitions, settings: settings.clone() });
        self.write_meta(&mut meta, changed).map_err(CreateFault::Disk)?;
        let topic = self.publish(Topic { name: name.to_owned(), id, settings, partitions: logs });
        info!(topic = name, partitions, "topic created");
        Ok(topic)
    }

    /// Makes empty logs, durable in name.
    fn make_logs(
        &self,
        id: Uuid,
        partitions: std::ops::Range<i32>,
        settings: &Set,
    ) -> Result<Vec<Arc<PartitionLog>>, BrokerError> {
        let folder = topic_folder(&self.config.data, id);
        let segment_bytes = settings::segment_bytes(&self.config, settings);
        let mut logs = Vec::new();
        for partition in partitions {
            let folder = folder.join(partition.to_string());
            PartitionLog::create(&folder)?;
            logs.push(Arc::new(PartitionLog::open(&folder, segment_bytes)?));
        }
        files::sync_folder(&folder)?;
        files::sync_folder(&self.config.data.join("topics"))?;
        Ok(logs)
    }

    fn write_meta(&self, meta: &mut Meta, changed: Meta) -> Result<(), BrokerError> {
        files::write_json(&meta_path(&self.config.data), &changed)?;
        *meta = changed;
        Ok(())
    }

    fn publish(&self, topic: Topic) -> Arc<Topic> {
        let topic = Arc::new(topic);
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.insert(topic.name.clone(), Arc::clone(&topic));
        topic
    }

    /// Whether a topic could have `count` partitions in all (CreatePartitions); how many it has.
    pub(crate) fn check_grown(&self, name: &str, count: i32) -> Result<i32, ChangeFault> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        let topic = topics.get(name).ok_or(ChangeFault::TopicUnknown)?;
        let present = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        if count <= present {
            return Err(ChangeFault::NotMore { present });
        }
        let more = usize::try_from(count - present).unwrap_or(usize::MAX);
        if more > self.partitions_left(&topics, name) { Err(ChangeFault::TooManyPartitions) } else { Ok(present) }
    }

    /// Gives a topic more partitions, `count` in all. The logs come first, then `meta.json` counts them: a crash
    /// between leaves empty logs that nothing counts, made anew by the next try.
    pub(crate) fn grow(&self, name: &str, count: i32) -> Result<(), ChangeFault> {
        let mut meta = lock(&self.meta);
        let present = self.check_grown(name, count)?;
        let topic = self.topic(name).ok_or(ChangeFault::TopicUnknown)?;
        let added = self.make_logs(topic.id, present..count, &topic.settings).map_err(ChangeFault::Disk)?;
        let mut changed = meta.clone();
        changed.topics.get_mut(name).ok_or(ChangeFault::TopicUnknown)?.partitions = count;
        self.write_meta(&mut meta, changed).map_err(ChangeFault::Disk)?;
        let partitions = topic.partitions.iter().cloned().chain(added).collect();
        self.publish(Topic { name: name.to_owned(), id: topic.id, settings: topic.settings.clone(), partitions });
        info!(topic = name, partitions = count, "partitions added");
        Ok(())
    }

    /// Replaces a topic's settings by what `change` makes of them, durably before they are obeyed.
    pub(crate) fn set(&self, name: &str, change: impl FnOnce(&mut Set)) -> Result<(), ChangeFault> {
        let mut meta = lock(&self.meta);
        let topic = self.topic(name).ok_or(ChangeFault::TopicUnknown)?;
        let mut changed = meta.clone();
        let entry = changed.topics.get_mut(name).ok_or(ChangeFault::TopicUnknown)?;
        change(&mut entry.settings);
        let settings = entry.settings.clone();
        self.write_meta(&mut meta, changed).map_err(ChangeFault::Disk)?;
        for log in &topic.partitions {
            log.set_segment_bytes(settings::segment_bytes(&self.config, &settings));
        }
        info!(topic = name, ?settings, "topic settings changed");
        self.publish(Topic { name: name.to_owned(), id: topic.id, settings, partitions: topic.partitions.clone() });
        Ok(())
    }

    /// Removes a topic: first its name, durably, then its files. False when there is none.
    pub(crate) fn delete(&self, name: &str) -> Result<bool, BrokerError> {
        let mut meta = lock(&self.meta);
        let mut changed = meta.clone();
        let Some(removed) = changed.topics.remove(name) else {
            return Ok(false);
        };
        self.write_meta(&mut meta, changed)?;
        let topic = self.topics.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        for log in topic.iter().flat_map(|topic| &topic.partitions) {
            log.close();
        }
        let folder = topic_folder(&self.config.data, removed.id);
        fs::remove_dir_all(&folder).map_err(BrokerError::disk("remove", &folder))?;
        info!(topic = name, "topic deleted");
        Ok(true)
    }

    /// A producer id that this data folder never gave out. The run it is from is reserved on disk first: a crash
    /// skips ids, and never repeats one.
    pub(crate) fn take_producer_id(&self) -> Result<i64, BrokerError> {
        let mut next = lock(&self.next_producer_id);
        let mut meta = lock(&self.meta);
        if *next >= meta.next_producer_id {
            let mut changed = meta.clone();
            changed.next_producer_id = *next + PRODUCER_ID_RUN;
            self.write_meta(&mut meta, changed)?;
        }
        let id = *next;
        *next += 1;
        Ok(id)
    }
}

/// Removes topic folders that no topic names: deleted ones, and ones whose creation was cut short.
fn sweep(data: &Path, meta: &Meta) -> Result<(), BrokerError> {
    let folder = data.join("topics");
    let known: Vec<String> = meta.topics.values().map(|topic| topic.id.to_string()).collect();
    let entries = fs::read_dir(&folder).map_err(BrokerError::disk("list", &folder))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        // Only what this program made: a folder whose name is an id.
        let ours = name.to_str().is_some_and(|name| Uuid::parse_str(name).is_ok());
        if ours && !known.iter().any(|id| name == id.as_str()) {
            warn!(path = %entry.path().display(), "folder of no topic removed");
            fs::remove_dir_all(entry.path()).map_err(BrokerError::disk("remove", &entry.path()))?;
        }
    }
    Ok(())
}

/// Forces a partition's segments that hold offsets below `end_offset` to the disk, so that a manifest may name that
/// offset. Works from any process of the machine: files are opened by path and synced.
///
/// # Errors
/// [`BrokerError::TopicUnknown`] and [`BrokerError::PartitionUnknown`] when `data` has no such log,
/// [`BrokerError::OffsetUnknown`] when the log begins past `end_offset`, [`BrokerError::Disk`] when the sync fails:
/// then the data may be lost, and the manifest must not be written.
pub fn sync_through(data: &Path, topic: &str, partition: i32, end_offset: i64) -> Result<(), BrokerError> {
    let meta = files::read_json::<Meta>(&meta_path(data))?;
    let found = meta.as_ref().and_then(|meta| meta.topics.get(topic));
    let Some(found) = found else {
        return Err(BrokerError::TopicUnknown { topic: topic.to_owned(), data: data.to_path_buf() });
    };
    if !(0..found.partitions).contains(&partition) {
        return Err(BrokerError::PartitionUnknown { topic: topic.to_owned(), partition });
    }
    let folder = topic_folder(data, found.id).join(partition.to_string());
    if log::sync_folder_through(&folder, end_offset)? {
        Ok(())
    } else {
        Err(BrokerError::OffsetUnknown { topic: topic.to_owned(), partition, offset: end_offset })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    #[test]
    fn the_reserved_topic_has_partitions_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            max_partitions: 3,
            reserved_topic: Some("ours".to_owned()),
            ..Config::new(folder.path(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        };
        let catalogue = Catalogue::open(&config).unwrap();
        catalogue.create("theirs", 3, Set::new()).unwrap();
        assert!(matches!(catalogue.create("more", 1, Set::new()), Err(CreateFault::TooManyPartitions)));
        catalogue.create("ours", 2, Set::new()).unwrap();
        catalogue.grow("ours", 3).unwrap();
        assert!(matches!(catalogue.grow("ours", 4), Err(ChangeFault::TooManyPartitions)));
        assert!(catalogue.delete("theirs").unwrap());
        catalogue.create("more", 1, Set::new()).unwrap();
    }
}
