//! `[stream]`: the topic, the broker, and librdkafka's properties by their own names.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use toml::{Table, Value};

use super::check::DEFAULT_STORE;
use super::{BrokerChoice, Retention, Start, Stream};
use millstream_base::secrets::is_secret;
use millstream_base::{Faults, Keys, Section, Takes, duration, host_and_port, listen, nearest, size, type_name};
use millstream_http::serve::LogSettings;
use millstream_store::StoreUrl;
use millstream_stream::record::Encoding;

pub(super) const STREAM: Keys = Keys {
    known: &[
        ("topic", Takes::Text),
        ("partitions", Takes::Whole(1, PARTITIONS_MOST)),
        ("bootstrap.servers", Takes::Text),
        ("listen", Takes::Text),
        ("advertise", Takes::Text),
        ("data", Takes::Text),
        ("retention", Takes::Text),
        ("retention_bytes", Takes::OneOf(&[Takes::Whole(1, i64::MAX), Takes::Text])),
        ("encoding", Takes::Choice(&["json", "csv"])),
        ("start", Takes::Choice(&["earliest", "latest"])),
    ],
    later: &[],
};

const BOOTSTRAP: &str = "bootstrap.servers";
const EMBEDDED: &str = "embedded";
const TOPIC_CHARS_MOST: usize = 249;
const PARTITIONS_MOST: i64 = 1024;
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9092);

/// Properties on which exactness rests, each with the reason.
const RESERVED: &[(&str, &str)] = &[
    ("enable.idempotence", IDEMPOTENT),
    ("enable.gapless.guarantee", IDEMPOTENT),
    ("acks", IDEMPOTENT),
    ("request.required.acks", IDEMPOTENT),
    ("retries", IDEMPOTENT),
    ("message.send.max.retries", IDEMPOTENT),
    ("max.in.flight", IDEMPOTENT),
    ("max.in.flight.requests.per.connection", IDEMPOTENT),
    ("message.timeout.ms", NEVER_GIVEN_UP),
    ("delivery.timeout.ms", NEVER_GIVEN_UP),
    ("delivery.report.only.error", "every delivery report is compared with the offset that the row must have"),
    ("transactional.id", "rows are made exact by idempotence and offsets, not by transactions"),
    ("transaction.timeout.ms", "rows are made exact by idempotence and offsets, not by transactions"),
    ("partitioner", PARTITION_OF_ROW),
    ("group.id", "it is made from the pipeline's name and the store's id, so that two stores never share a group"),
    ("group.instance.id", "workers of the same file would throw each other out"),
    ("group.protocol", ASSIGNMENT),
    ("partition.assignment.strategy", ASSIGNMENT),
    ("auto.offset.reset", "an offset that is gone must be an error, not a silent jump"),
    ("enable.auto.commit", MANIFESTS),
    ("auto.commit.enable", MANIFESTS),
    ("auto.commit.interval.ms", MANIFESTS),
    ("enable.auto.offset.store", MANIFESTS),
    ("offset.store.method", MANIFESTS),
    ("offset.store.path", MANIFESTS),
    ("client.rack", "a follower may lag behind the offsets that a cut names"),
    ("isolation.level", "rows of aborted transactions must never be read"),
    ("allow.auto.create.topics", "the topic is made with stream.partitions, never by accident"),
    ("metadata.broker.list", "give the servers as bootstrap.servers"),
];

const IDEMPOTENT: &str = "the idempotent producer needs it to send every row once and in order";
const NEVER_GIVEN_UP: &str = "a row is never given up: a broker that is away is waited for";
const PARTITION_OF_ROW: &str = "a row's partition is a function of the row, so that a replay never doubles it";
const MANIFESTS: &str = "positions come from the batches' manifests alone";
const ASSIGNMENT: &str = "ingest works with the cooperative-sticky assignment alone";

/// Properties with no dot in their names, and the common others: for "did you mean".
const PROPERTIES: &[&str] = &[
    "debug",
    "client.id",
    "linger.ms",
    "batch.size",
    "batch.num.messages",
    "compression.type",
    "compression.codec",
    "compression.level",
    "message.max.bytes",
    "fetch.min.bytes",
    "fetch.max.bytes",
    "fetch.wait.max.ms",
    "fetch.message.max.bytes",
    "max.partition.fetch.bytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "queued.min.messages",
    "queued.max.messages.kbytes",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "socket.timeout.ms",
    "socket.keepalive.enable",
    "reconnect.backoff.ms",
    "reconnect.backoff.max.ms",
    "retry.backoff.ms",
    "request.timeout.ms",
    "statistics.interval.ms",
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "enable.ssl.certificate.verification",
    "client.rack",
    "broker.address.family",
    "log_level",
];

/// `bootstrap.servers = …` without quotes is a table in TOML: `{ bootstrap = { servers = … } }`. Takes it as meant.
pub(super) fn flatten_properties(root: &mut Table, faults: &mut Faults) {
    let Some(Value::Table(stream)) = root.get_mut("stream") else { return };
    let mut flat = Table::new();
    for (key, value) in std::mem::take(stream) {
        flatten(key, value, &mut flat, faults);
    }
    *stream = flat;
}

fn flatten(key: String, value: Value, flat: &mut Table, faults: &mut Faults) {
    match value {
        Value::Table(inner) => {
            for (inner_key, value) in inner {
                flatten(format!("{key}.{inner_key}"), value, flat, faults);
            }
        }
        value => {
            if flat.insert(key.clone(), value).is_some() {
                faults.add(format!("stream.{key}"), None, "is given twice; keep one of them");
            }
        }
    }
}

pub(super) fn stream(
    root: &Table,
    name: Option<&str>,
    store: Option<&StoreUrl>,
    faults: &mut Faults,
) -> Option<Stream> {
    let table = root.get("stream").and_then(Value::as_table);
    let is_property = |key: &str| key.contains('.') || PROPERTIES.contains(&key) || reserved(key).is_some();
    let ours = table.map(|table| {
        let own = |key: &str| STREAM.has(key) || !is_property(key);
        table.iter().filter(|(key, _)| own(key)).map(|(key, value)| (key.clone(), value.clone())).collect::<Table>()
    });
    if let Some(other) = root.get("stream").filter(|value| !value.is_table()) {
        faults.add("stream", Some(other), "expected a table; write [stream] and its keys below");
    }
    let section = Section::new("stream", ours.as_ref(), &STREAM, faults);
    let topic = topic(&section, name, faults);
    let partitions = section.whole("partitions", "", faults);
    let encoding = section.choice("encoding", &[("json", Encoding::Json), ("csv", Encoding::Csv)], faults);
    let start = section.choice("start", &[("earliest", Start::Earliest), ("latest", Start::Latest)], faults);
    if section.has("start") && root.contains_key("source") {
        section.fault("start", "belongs to a topic that others write; remove it, or remove [source]", faults);
    }
    let broker = broker(&section, store, faults);
    let retention = retention(&section, faults);
    let mut properties = BTreeMap::new();
    for (key, value) in table.into_iter().flatten() {
        if is_property(key) && !STREAM.has(key) {
            properties.extend(property(key, value, faults).map(|text| (key.clone(), text)));
        }
    }
    built_without(&properties, faults);
    let partitions = partitions.and_then(|count| NonZeroU32::new(u32::try_from(count).ok()?));
    let encoding = encoding.unwrap_or(Encoding::Json);
    let start = start.unwrap_or(Start::Earliest);
    Some(Stream { topic: topic?, partitions, broker: broker?, encoding, start, retention, properties })
}

/// What librdkafka takes and could then never connect by: it was built without.
fn built_without(properties: &BTreeMap<String, String>, faults: &mut Faults) {
    let features = ClientConfig::new().create_native_config().and_then(|config| config.get("builtin.features"));
    let features = features.unwrap_or_default();
    let lacks = |feature: &str| !features.split(',').any(|known| known == feature);
    let value = |key: &str| properties.get(key).map(|text| text.to_ascii_uppercase());
    let protocol = value("security.protocol").unwrap_or_default();
    if protocol.ends_with("SSL") && lacks("ssl") {
        faults.add_text("stream.security.protocol", &protocol, "librdkafka was built without TLS; use another build");
    }
    let key = ["sasl.mechanism", "sasl.mechanisms"].into_iter().find(|key| properties.contains_key(*key));
    let name = format!("stream.{}", key.unwrap_or("sasl.mechanism"));
    let others = "use PLAIN or SCRAM-SHA-256 or -512 over TLS, or a client certificate";
    match key.and_then(value).as_deref() {
        Some("OAUTHBEARER") if lacks("oidc") => {
            faults.add_text(
                name,
                "OAUTHBEARER",
                format!("librdkafka was built without OIDC, and has no tokens; {others}"),
            );
        }
        Some("GSSAPI") if lacks("sasl_gssapi") => {
            faults.add_text(name, "GSSAPI", format!("librdkafka was built without GSSAPI (Kerberos); {others}"));
        }
        None if protocol.starts_with("SASL") && lacks("sasl_gssapi") => {
            faults.add(
                name,
                None,
                format!("missing: without it GSSAPI (Kerberos) is meant, which librdkafka was built without; {others}"),
            );
        }
        Some(_) | None => {}
    }
}

fn topic(section: &Section, name: Option<&str>, faults: &mut Faults) -> Option<String> {
    if !section.has("topic") {
        return name.map(str::to_owned);
    }
    let topic = section.filled_text("topic", faults)?;
    if is_topic(topic) {
        return Some(topic.to_owned());
    }
    section.fault("topic", topic_rule(), faults);
    None
}

fn is_topic(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    name.chars().all(legal) && name.len() <= TOPIC_CHARS_MOST && name != "." && name != ".."
}

fn topic_rule() -> String {
    format!("must hold only letters, digits, `_`, `-` and `.`, at most {TOPIC_CHARS_MOST} of them")
}

/// The topic of kept answers is one of its own: a record of another kind in the stream's would be a reject.
pub(super) fn answers_topic(log: &LogSettings, stream: &str, faults: &mut Faults) {
    let topic = log.topic_of(stream);
    let rule = match () {
        () if !is_topic(&topic) => topic_rule(),
        () if topic == stream => "is the stream's own topic; name another one, or remove it".to_owned(),
        () => return,
    };
    faults.add_text("serve.log.topic", &topic, rule);
}

fn broker(section: &Section, store: Option<&StoreUrl>, faults: &mut Faults) -> Option<BrokerChoice> {
    let listen = listen(section, faults);
    let advertise = section.filled_text("advertise", faults).and_then(|text| match host_and_port(text) {
        Ok(found) => Some(found),
        Err(rule) => {
            section.fault("advertise", rule, faults);
            None
        }
    });
    let data = section.filled_text("data", faults).map(PathBuf::from);
    let servers = if section.has(BOOTSTRAP) { section.filled_text(BOOTSTRAP, faults)? } else { EMBEDDED };
    if servers == EMBEDDED {
        // Beside the batches made from it, so that a store and its topic are kept or deleted together.
        let data = data.or_else(|| match store? {
            StoreUrl::Local(path) => Some(path.join("topic")),
            // The log is on this machine, as its broker is.
            StoreUrl::S3 { .. } => Some(Path::new(DEFAULT_STORE).join("topic")),
        });
        return Some(BrokerChoice::Embedded { listen: listen.unwrap_or(DEFAULT_LISTEN), advertise, data: data? });
    }
    for key in ["listen", "advertise", "data", "retention", "retention_bytes"].iter().filter(|key| section.has(key)) {
        faults.warn(section.key(key), None, "has no effect: it belongs to the embedded broker");
    }
    match servers.split(',').find_map(|server| server_fault(server.trim())) {
        None => Some(BrokerChoice::Servers(servers.to_owned())),
        Some(message) => {
            section.fault(BOOTSTRAP, message, faults);
            None
        }
    }
}

fn retention(section: &Section, faults: &mut Faults) -> Retention {
    let age = section.filled_text("retention", faults).and_then(|text| match retention_age(text) {
        Ok(age) => Some(age),
        Err(rule) => {
            section.fault("retention", rule, faults);
            None
        }
    });
    let bytes = match section.value("retention_bytes") {
        Some(Value::Integer(_)) => {
            let remedy = "to keep everything, remove it";
            section.whole("retention_bytes", remedy, faults).and_then(|bytes| u64::try_from(bytes).ok())
        }
        _ => section.filled_text("retention_bytes", faults).and_then(|text| match retention_bytes(text) {
            Ok(bytes) => Some(bytes),
            Err(rule) => {
                section.fault("retention_bytes", rule, faults);
                None
            }
        }),
    };
    Retention { age, bytes }
}

/// How long records are kept: longer than not at all.
pub fn retention_age(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than zero; to keep everything, remove it".to_owned()),
        age => Ok(age),
    }
}

/// How much of a partition is kept: more than nothing.
pub fn retention_bytes(text: &str) -> Result<u64, String> {
    match size(text)? {
        0 => Err("must be more than zero; to keep everything, remove it".to_owned()),
        bytes => Ok(bytes),
    }
}

/// `[protocol://]host[:port]`, as librdkafka takes it.
fn server_fault(server: &str) -> Option<String> {
    let rule = "expected \"embedded\", or host:port and more of them after commas";
    if nearest(server, [EMBEDDED]).is_some() {
        return Some(format!("{rule}; did you mean \"embedded\"?"));
    }
    let address = server.split_once("://").map_or(server, |(_, address)| address);
    let (host, port) = match address.rsplit_once(':') {
        // An IPv6 address in brackets ends with one.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Some(format!("{rule}; `{server}` has no host"));
    }
    match port.map(str::parse::<u16>) {
        None | Some(Ok(1..)) => None,
        Some(Ok(0) | Err(_)) => Some(format!("{rule}; `{server}` has no port between 1 and 65535")),
    }
}

fn reserved(key: &str) -> Option<&'static str> {
    RESERVED.iter().find(|(name, _)| *name == key).map(|(_, why)| *why)
}

/// The value as librdkafka reads it, after librdkafka itself has looked at it.
fn property(key: &str, value: &Value, faults: &mut Faults) -> Option<String> {
    let name = format!("stream.{key}");
    if let Some(why) = reserved(key) {
        faults.add(name, Some(value), format!("is reserved: {why}; remove it"));
        return None;
    }
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        other @ (Value::Array(_) | Value::Table(_) | Value::Datetime(_)) => {
            let found = type_name(other);
            faults.add(name, Some(value), format!("expected text, a number, true or false, found {found}"));
            return None;
        }
    };
    match ClientConfig::new().set(key, &text).create_native_config() {
        Ok(_) => Some(text),
        Err(KafkaError::ClientConfig(_, description, _, _)) if description.contains("No such") => {
            let names = PROPERTIES.iter().copied().chain(STREAM.names());
            let hint = nearest(key, names).map_or(String::new(), |name| format!("; did you mean `{name}`?"));
            faults.add(name, None, format!("unknown key, and no librdkafka property either{hint}"));
            None
        }
        Err(error) => {
            let description = match &error {
                KafkaError::ClientConfig(_, description, _, _) => description.clone(),
                other => other.to_string(),
            };
            // What it says of a secret may hold it.
            let (value, description) = if is_secret(&name) {
                (None, "the value is not shown here")
            } else {
                (Some(value), description.as_str())
            };
            faults.add(name, value, format!("librdkafka refuses it: {description}"));
            None
        }
    }
}
