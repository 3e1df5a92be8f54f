//! The embedded broker as the pipeline file names it: opened here, or found where another process has it open.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::json;

use crate::config::{BrokerChoice, Pipeline, Retention};
use crate::status::Status;
use crate::topic::Topic;

/// The broker a pipeline uses, and its topic there.
pub(super) struct Reached {
    /// Lives as long as this: others may read the topic while the models are served.
    pub broker: Option<millstream_broker::Broker>,
    pub topic: Topic,
    /// The embedded broker's log, on this machine.
    pub log: Option<PathBuf>,
}

/// Starts the embedded broker, or names the one to go to.
pub(super) fn reach(pipeline: &Pipeline, status: &Status) -> anyhow::Result<Reached> {
    let (broker, servers, log) = match &pipeline.stream.broker {
        BrokerChoice::Servers(servers) => (None, servers.clone(), None),
        BrokerChoice::Embedded { listen, data } => {
            let (broker, address) = open_broker(*listen, None, data, pipeline.stream.retention, status)?;
            (broker, address.to_string(), Some(data.clone()))
        }
    };
    status.update(|snapshot| snapshot.broker.address.clone_from(&servers));
    let topic = Topic::new(&pipeline.stream.topic, &servers, &pipeline.stream.properties);
    Ok(Reached { broker, topic, log })
}

/// Opens the embedded broker's log, or finds who has it open. A taken port is no reason to fail: a free one is taken, and said.
pub fn open_broker(
    listen: SocketAddr,
    advertise: Option<(String, u16)>,
    data: &std::path::Path,
    retention: Retention,
    status: &Status,
) -> anyhow::Result<(Option<millstream_broker::Broker>, SocketAddr)> {
    use millstream_broker::{BrokerError, Config, Opened, open};
    let config = |listen| Config {
        advertise: advertise.clone(),
        retention: retention.age,
        retention_bytes: retention.bytes,
        ..Config::new(data, listen)
    };
    let opened = match open(config(listen)) {
        Err(BrokerError::PortInUse { address }) => {
            let free = SocketAddr::new(address.ip(), 0);
            let opened = open(config(free))?;
            let message =
                format!("stream.listen = {address} is taken by another program; the embedded broker takes a free port");
            status.event("broker", message, json!({}));
            opened
        }
        opened => opened?,
    };
    Ok(match opened {
        Opened::Started(broker) => {
            let address = broker.address();
            status.event(
                "broker",
                format!("the embedded broker listens on {address}"),
                json!({ "address": address.to_string() }),
            );
            (Some(broker), address)
        }
        Opened::Running { address } => {
            status.event(
                "broker",
                format!("the log is served by another process, at {address}"),
                json!({ "address": address.to_string() }),
            );
            (None, address)
        }
    })
}
