//! The embedded broker as the pipeline file names it: opened here, or found where another process has it open.

use std::net::SocketAddr;
use std::path::PathBuf;

use millstream_broker::{Broker, BrokerError, Config, Opened};
use serde_json::json;

use crate::config::{BrokerChoice, Pipeline};
use millstream_base::status::{EventKind, Status};
use millstream_stream::topic::{CLIENT_ID, Topic};

/// The broker a pipeline uses, and its topic there.
pub(super) struct Reached {
    /// Lives as long as this: others may read the topic while the models are served.
    pub broker: Option<Broker>,
    pub topic: Topic,
    /// The embedded broker's log, on this machine.
    pub log: Option<PathBuf>,
}

/// Starts the embedded broker, or names the one to go to. A taken port is no reason to fail: a free one is taken, and said.
pub(super) fn reach(pipeline: &Pipeline, status: &Status) -> anyhow::Result<Reached> {
    let (broker, servers, log) = match &pipeline.stream.broker {
        BrokerChoice::Servers(servers) => (None, servers.clone(), None),
        BrokerChoice::Embedded { listen, advertise, data } => {
            let own_client_id =
                pipeline.stream.properties.get("client.id").map_or(CLIENT_ID, String::as_str).to_owned();
            let config = Config {
                retention: pipeline.stream.retention.age,
                retention_bytes: pipeline.stream.retention.bytes,
                advertise: advertise.clone(),
                own_client_id: Some(own_client_id),
                reserved_topic: Some(pipeline.stream.topic.clone()),
                ..Config::new(data, *listen)
            };
            let opened = match millstream_broker::open(config.clone()) {
                Err(BrokerError::PortInUse { address }) => {
                    let opened =
                        millstream_broker::open(Config { listen: SocketAddr::new(address.ip(), 0), ..config })?;
                    let message = format!(
                        "stream.listen = {address} is taken by another program; the embedded broker takes a free port"
                    );
                    status.event(EventKind::Broker, message, json!({}));
                    opened
                }
                opened => opened?,
            };
            let (broker, address) = say(opened, status);
            if broker.is_some() && listen.ip().is_unspecified() && advertise.is_none() {
                let message = "the embedded broker tells each client the address by which it came; where others cannot reach \
                               that, as behind a container's forwarded port, set stream.advertise = \"host:port\"";
                status.event(EventKind::Broker, message, json!({}));
            }
            (broker, address.to_string(), Some(data.clone()))
        }
    };
    status.update(|snapshot| snapshot.broker.address.clone_from(&servers));
    let topic = Topic::new(&pipeline.stream.topic, &servers, &pipeline.stream.properties);
    Ok(Reached { broker, topic, log })
}

/// Opens a log to serve it at the address that is configured and at no other, or finds who has it open.
pub fn open_broker(config: Config, status: &Status) -> anyhow::Result<(Option<Broker>, SocketAddr)> {
    Ok(say(millstream_broker::open(config)?, status))
}

/// Tells where the log is served, and by whom.
fn say(opened: Opened, status: &Status) -> (Option<Broker>, SocketAddr) {
    let (broker, address, message) = match opened {
        Opened::Started(broker) => {
            let address = broker.address();
            (Some(broker), address, format!("the embedded broker listens on {address}"))
        }
        Opened::Running { address } => (None, address, format!("the log is served by another process, at {address}")),
    };
    status.event(EventKind::Broker, message, json!({ "address": address.to_string() }));
    (broker, address)
}
