//! The broker's settings. Fence: plain data; nothing here reads a file or the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How the broker is run. Start from [`Config::new`] and change what differs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen. Port 0 means a free port; [`crate::Broker::address`] tells which.
    pub listen: SocketAddr,
    /// The host and port that clients are told to connect to: of a proxy or a forwarded port before this broker. Default
    /// `None`: the address by which each client came.
    pub advertise: Option<(String, u16)>,
    /// The `client.id` of the pipeline's own clients: from this machine they go on by the address by which they came, whatever
    /// `advertise` says, which others need and they may not reach. Default none.
    pub own_client_id: Option<String>,
    /// The folder of the log. Created if absent, held by one process at a time.
    pub data: PathBuf,
    /// Partitions of a topic that is created without a count. Default 1.
    pub default_partitions: i32,
    /// Whether a client that names an unknown topic creates it (Metadata). Default true.
    pub auto_create: bool,
    /// Whole segments whose newest record is older than this are removed, in topics without a `retention.ms` of their
    /// own. Default `None`: kept for ever.
    pub retention: Option<Duration>,
    /// The oldest segments of a partition are removed while the others hold this many bytes, in topics without a
    /// `retention.bytes` of their own. Default `None`: kept whatever the size.
    pub retention_bytes: Option<u64>,
    /// A segment file is closed before it would grow past this. Default 256 MiB.
    pub segment_bytes: u64,
    /// How often written data is forced to the disk. Default `None`: an acknowledged record is in the
    /// operating system's page cache, which survives any end of this process and is lost only when the
    /// machine loses power; [`crate::sync_through`] forces it where it must not be lost.
    pub flush_interval: Option<Duration>,
    /// Connections beyond this take the place of one that does nothing, or are closed at once. Default 256.
    pub max_connections: usize,
    /// A request that claims more is not read, its connection closed. Default 64 MiB.
    pub max_request_bytes: usize,
    /// A record batch beyond this is answered MESSAGE_TOO_LARGE. Default 16 MiB.
    pub max_batch_bytes: usize,
    /// A record batch whose records decompress to more is answered MESSAGE_TOO_LARGE: a consumer takes a whole batch into
    /// memory. Default 64 MiB.
    pub max_decoded_bytes: u64,
    /// All requests being read or handled together; a request waits for its share. Default 256 MiB.
    pub max_in_flight_bytes: usize,
    /// One Fetch answer carries at most this, whatever the client allows, but always one batch.
    /// Default 8 MiB.
    pub max_fetch_bytes: usize,
    /// Partitions of all topics together, each an open file. Default 512.
    pub max_partitions: usize,
    /// The pipeline's own topic: it may have so many partitions for itself, however many others there are. Its consumer
    /// group is named by [`crate::Broker::reserve_group`]. Default none.
    pub reserved_topic: Option<String>,
    /// How long the first round of an empty consumer group waits for more members, so that workers started
    /// together share one round. Default 100 ms.
    pub group_initial_delay: Duration,
}

impl Config {
    /// The documented defaults.
    pub fn new(data: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            listen,
            advertise: None,
            own_client_id: None,
            data: data.into(),
            default_partitions: 1,
            auto_create: true,
            retention: None,
            retention_bytes: None,
            segment_bytes: 256 * MIB as u64,
            flush_interval: None,
            max_connections: 256,
            max_request_bytes: 64 * MIB,
            max_batch_bytes: 16 * MIB,
            max_decoded_bytes: 64 * MIB as u64,
            max_in_flight_bytes: 256 * MIB,
            max_fetch_bytes: 8 * MIB,
            max_partitions: 512,
            reserved_topic: None,
            group_initial_delay: Duration::from_millis(100),
        }
    }
}
