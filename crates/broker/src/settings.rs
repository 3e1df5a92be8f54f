//! Settings of one topic, by Apache Kafka's names.
//!
//! Pure. Three can be set: `retention.ms`, `retention.bytes`, `segment.bytes`. Those that say how a cluster or its disks work are taken
//! and have no effect here. The others that clients know stand fixed, since another value would change what records mean; setting one
//! to what it is anyway is no fault, so that tools which repeat all of them work.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Config;
use crate::retention::Limits;

/// What was set for a topic: names of [`SETTABLE`] only, each value checked.
pub(crate) type Set = BTreeMap<String, String>;

/// The names that can be set.
pub(crate) const SETTABLE: [&str; 3] = [RETENTION_BYTES, RETENTION_MS, SEGMENT_BYTES];

const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const SEGMENT_BYTES: &str = "segment.bytes";
/// Taken without effect: of one node that keeps whole segments no record is lost, kept or read otherwise by any of them. A value of
/// `max.message.bytes` beyond the broker's own bound takes no larger records.
const WITHOUT_EFFECT: [&str; 24] = [
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.downconversion.enable",
    "message.format.version",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.difference.max.ms",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "segment.index.bytes",
    "segment.ms",
];
/// Apache Kafka's least segment size, before version 4.1.
const SEGMENT_BYTES_LEAST: i64 = 14;
/// Names and values in messages are cut to this.
const SHORT_CHARS: usize = 256;

/// Why a setting is refused, for the person who set it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingFault {
    #[error("this broker has no setting {name}; a topic's are {}", SETTABLE.join(", "))]
    Unknown { name: String },
    #[error("{name} is {fixed} in this broker and cannot be set to {value}")]
    Fixed { name: String, fixed: String, value: String },
    #[error("{name} = {value}: must be a whole number, {rule}")]
    Value { name: String, value: String, rule: &'static str },
    #[error("{name} cannot be changed bit by bit: it is no list")]
    NoList { name: String },
}

/// One setting as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) is_set: bool,
    /// Whether the broker was started with it, rather than by default.
    pub(crate) is_configured: bool,
}

/// Settings that are the same for every topic.
fn fixed(config: &Config) -> [(&'static str, String, bool); 5] {
    [
        ("cleanup.policy", "delete".to_owned(), false),
        ("compression.type", "producer".to_owned(), false),
        ("max.message.bytes", config.max_batch_bytes.to_string(), true),
        ("message.timestamp.type", "CreateTime".to_owned(), false),
        ("min.insync.replicas", "1".to_owned(), false),
    ]
}

/// A client's text as it may stand in a message.
pub(crate) fn short(text: &str) -> String {
    match text.char_indices().nth(SHORT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether a setting is taken and has no effect: who set it is told so in the log.
pub(crate) fn is_without_effect(name: &str) -> bool {
    WITHOUT_EFFECT.contains(&name)
}

/// Checks one setting: the value to keep; `None`: it says what stands anyway, or has no effect here.
pub(crate) fn check(config: &Config, name: &str, value: &str) -> Result<Option<String>, SettingFault> {
    if is_without_effect(name) {
        return Ok(None);
    }
    if let Some((_, fixed, _)) = fixed(config).into_iter().find(|(known, _, _)| *known == name) {
        return if fixed.eq_ignore_ascii_case(value) {
            Ok(None)
        } else {
            Err(SettingFault::Fixed { name: name.to_owned(), fixed, value: short(value) })
        };
    }
    let (least, rule) = match name {
        RETENTION_MS => (-1, "of milliseconds, or -1 to keep records for ever"),
        RETENTION_BYTES => (-1, "of bytes in each partition, or -1 for no limit"),
        SEGMENT_BYTES => (SEGMENT_BYTES_LEAST, "of bytes, at least 14"),
        _ => return Err(SettingFault::Unknown { name: short(name) }),
    };
    // Kept as a number: its text may be as long as a request.
    match value.trim().parse::<i64>() {
        Ok(number) if number >= least => Ok(Some(number.to_string())),
        Ok(_) | Err(_) => Err(SettingFault::Value { name: name.to_owned(), value: short(value), rule }),
    }
}

fn number(set: &Set, name: &str) -> Option<i64> {
    set.get(name)?.trim().parse().ok()
}

/// What a topic keeps: its own word, or the broker's.
pub(crate) fn limits(config: &Config, set: &Set) -> Limits {
    let age = match number(set, RETENTION_MS) {
        Some(ms) => u64::try_from(ms).ok().map(Duration::from_millis),
        None => config.retention,
    };
    let bytes = match number(set, RETENTION_BYTES) {
        Some(bytes) => u64::try_from(bytes).ok(),
        None => config.retention_bytes,
    };
    Limits { age, bytes }
}

/// The size at which a topic's segments end.
pub(crate) fn segment_bytes(config: &Config, set: &Set) -> u64 {
    let own = number(set, SEGMENT_BYTES).and_then(|bytes| u64::try_from(bytes).ok());
    limits(config, set).segment_bytes(own.unwrap_or(config.segment_bytes))
}

/// All settings of a topic, by name.
pub(crate) fn all(config: &Config, set: &Set) -> Vec<Setting> {
    let unlimited = || "-1".to_owned();
    let broker = |name| match name {
        RETENTION_MS => config.retention.map_or_else(unlimited, |age| age.as_millis().to_string()),
        RETENTION_BYTES => config.retention_bytes.map_or_else(unlimited, |bytes| bytes.to_string()),
        _ => config.segment_bytes.to_string(),
    };
    let is_configured = |name| match name {
        RETENTION_MS => config.retention.is_some(),
        RETENTION_BYTES => config.retention_bytes.is_some(),
        _ => true,
    };
    let own = SETTABLE.map(|name| Setting {
        name,
        value: set.get(name).cloned().unwrap_or_else(|| broker(name)),
        is_set: set.contains_key(name),
        is_configured: is_configured(name),
    });
    let fixed = fixed(config).map(|(name, value, is_configured)| Setting { name, value, is_set: false, is_configured });
    let mut all: Vec<Setting> = fixed.into_iter().chain(own).collect();
    all.sort_by_key(|setting| setting.name);
    all
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    fn config() -> Config {
        Config::new("x", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    #[test]
    fn a_setting_is_kept_or_refused_with_what_to_mend() {
        let check = |name, value| check(&config(), name, value).map_err(|fault| fault.to_string());
        assert_eq!(check("retention.ms", "1000"), Ok(Some("1000".to_owned())));
        assert_eq!(check("retention.bytes", "-1"), Ok(Some("-1".to_owned())));
        assert_eq!(check("cleanup.policy", "delete"), Ok(None));
        let padded = format!(" {}7", "0".repeat(1_000_000));
        assert_eq!(check("retention.ms", &padded), Ok(Some("7".to_owned())), "kept as a number");
        let long = "x".repeat(1_000_000);
        for (name, value) in [(long.as_str(), "1"), ("retention.ms", &long), ("cleanup.policy", &long)] {
            assert!(check(name, value).unwrap_err().len() < 500);
        }
        for (name, value) in [("segment.ms", "604800000"), ("max.message.bytes", "1"), ("min.insync.replicas", "2")] {
            assert_eq!((check(name, value), is_without_effect(name)), (Ok(None), true), "{name}");
        }
        let refused = [
            ("cleanup.policy", "compact", "is delete in this broker"),
            ("cleanup.policy", "compact,delete", "is delete in this broker"),
            ("message.timestamp.type", "LogAppendTime", "is CreateTime in this broker"),
            ("retention.ms", "-2", "-1 to keep records for ever"),
            ("retention.ms", "7d", "whole number"),
            ("segment.bytes", "13", "at least 14"),
            ("retention.hours", "1", "a topic's are retention.bytes, retention.ms, segment.bytes"),
        ];
        for (name, value, message) in refused {
            let said = check(name, value).unwrap_err();
            assert!(said.contains(message), "{said}");
        }
    }

    #[test]
    fn a_topic_s_own_word_wins_and_minus_one_is_for_ever() {
        let config = Config { retention: Some(Duration::from_secs(7)), retention_bytes: Some(5), ..config() };
        let set = |name: &str, value: &str| Set::from([(name.to_owned(), value.to_owned())]);
        let seven = Some(Duration::from_secs(7));
        assert_eq!(limits(&config, &Set::new()), Limits { age: seven, bytes: Some(5) });
        assert_eq!(limits(&config, &set("retention.ms", "-1")), Limits { age: None, bytes: Some(5) });
        assert_eq!(limits(&config, &set("retention.bytes", "9")), Limits { age: seven, bytes: Some(9) });
        let of =
            |name| all(&config, &set("retention.ms", "3")).into_iter().find(|setting| setting.name == name).unwrap();
        assert_eq!((of("retention.ms").value.as_str(), of("retention.ms").is_set), ("3", true));
        assert_eq!((of("retention.bytes").value.as_str(), of("retention.bytes").is_set), ("5", false));
    }
}
