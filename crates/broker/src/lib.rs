//! A single-node broker that speaks the Kafka protocol, for one machine.
//!
//! Its job: take record batches from Kafka clients (librdkafka, kcat, the Java clients), keep them in segment files as
//! they came, and give them out again, with topics, offsets by time, idempotent producers and consumer groups.
//! Everything is kept unless [`Config::retention`], [`Config::retention_bytes`] or a topic's own settings say
//! otherwise.
//!
//! Its fence: no replication, no transactions (refused with the protocol's own error), no TLS or SASL, no compaction,
//! no static group members (they are served as dynamic ones). Records are looked into to see that consumers
//! can read them, when they are produced, and to find an offset by time. It is for one machine; a production topic lives in Apache Kafka.
//!
//! What an acknowledgement means: the batch is in the operating system's page cache. Any end of this process keeps it,
//! kill -9 included; a power cut may lose what was not yet forced to the disk, by [`Config::flush_interval`] or by
//! [`sync_through`]. Nothing is acknowledged that was not written.
//!
//! Code map, from the socket inwards:
//! - `server`: listener, one thread per connection, limits, the keeper thread (sealing, flushing, group timeouts);
//!   `connections`: who is connected, and who is closed when places or memory run out;
//! - `wire`: frames to requests and back; `schema` is the table of what is served, `guard` refuses hostile lengths;
//! - `api`: one function per request;
//! - `group`: a consumer group as a state machine; `coordinator`: all groups, and waiting for their rounds;
//!   `committed`: the offsets that groups commit;
//! - `catalogue`: topics, their ids, producer ids, the layout of the data folder; `lock_file`: one process per folder;
//! - `settings`: what can be set for a topic, and what stands fixed;
//! - `log`, `segment`, `batch`, `producers`: a partition on disk; `retention`: where it begins and what may go;
//!   `records`: the timestamps inside a batch;
//! - `files`, `locks`, `budget`, `trouble`: small tools; `fuzzing`, `samples`: for tests and `fuzz/` only.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod batch;
mod budget;
mod catalogue;
mod clock;
mod committed;
mod config;
mod connections;
mod coordinator;
mod error;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod lock_file;
mod locks;
mod log;
mod producers;
mod records;
mod retention;
#[cfg(any(test, feature = "fuzzing"))]
mod samples;
mod segment;
mod server;
mod settings;
mod shared;
mod trouble;
mod wire;

use std::net::SocketAddr;
use std::path::Path;

pub use catalogue::sync_through;
pub use config::Config;
pub use error::{BrokerError, Remedy};
pub use server::DRAIN;

/// What [`open`] found.
pub enum Opened {
    /// This process serves the folder now.
    Started(Broker),
    /// Another process serves it already, at this address; nothing was opened.
    Running { address: SocketAddr },
}

/// A broker that serves until it is stopped or dropped.
pub struct Broker {
    running: Option<server::Running>,
    address: SocketAddr,
    cluster_id: String,
}

/// Opens the data folder and serves it, unless another process does.
///
/// When it returns, clients can connect. Time to open: segments that are not sealed, at most one of
/// [`Config::segment_bytes`] per partition in the usual case, are read through.
///
/// # Errors
/// [`BrokerError::PortInUse`] when the port is another program's; [`BrokerError::Disk`], [`BrokerError::FormatUnknown`]
/// and [`BrokerError::Damaged`] when the folder cannot be used; [`BrokerError::Locked`] when its holder stays silent.
pub fn open(config: Config) -> Result<Opened, BrokerError> {
    files::create_folder(&config.data)?;
    let lock_file = match lock_file::claim(&config.data)? {
        lock_file::Claim::Running(address) => return Ok(Opened::Running { address }),
        lock_file::Claim::Ours(lock_file) => lock_file,
    };
    let running = server::start(config, lock_file)?;
    Ok(Opened::Started(Broker {
        address: running.address(),
        cluster_id: running.cluster_id().to_owned(),
        running: Some(running),
    }))
}

/// The address at which a process serves the data folder; `None`: none does. Opens nothing and makes nothing.
///
/// # Errors
/// [`BrokerError::Disk`] and [`BrokerError::Damaged`] when the lock file cannot be read.
pub fn served_at(data: &Path) -> Result<Option<SocketAddr>, BrokerError> {
    lock_file::holder(data)
}

impl Broker {
    /// Where clients connect. The port is the real one when [`Config::listen`] had port 0; an unspecified address
    /// (`0.0.0.0`) is given as loopback.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The id of this data folder's cluster, the same at every start.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Keeps room for this consumer group, however many others there are: the pipeline's own. Only the first call counts.
    pub fn reserve_group(&self, group: &str) {
        if let Some(running) = &self.running {
            running.reserve_group(group);
        }
    }

    /// Ends all connections after their current requests, forces the log to the disk and joins all threads. Dropping
    /// the broker does the same.
    pub fn stop(self) {}
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}
