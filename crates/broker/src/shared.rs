//! What all connections share: the logs, the groups, memory and the stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::budget::{Budget, Grant};
use crate::catalogue::Catalogue;
use crate::committed::Committed;
use crate::config::Config;
use crate::connections::Connections;
use crate::coordinator::Coordinator;
use crate::error::BrokerError;
use crate::trouble::Trouble;

/// Between two looks for memory that others hold.
const MEMORY_LOOK: Duration = Duration::from_millis(250);

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) catalogue: Catalogue,
    pub(crate) coordinator: Coordinator,
    pub(crate) committed: Committed,
    /// Memory of fetch answers, apart from that of requests: a full one must not stop producers.
    pub(crate) answers: Arc<Budget>,
    /// The pipeline's own group, once it is known: strangers who fill the tables do not keep it out.
    pub(crate) reserved_group: OnceLock<String>,
    pub(crate) requests: Arc<Budget>,
    /// One answer at a time is made that is not bounded by its request.
    pub(crate) large_answer: Mutex<()>,
    pub(crate) stopping: AtomicBool,
    pub(crate) stopped: Mutex<()>,
    pub(crate) stop_wake: Condvar,
    pub(crate) connections: Connections,
    pub(crate) refusing: Trouble,
    pub(crate) accepting: Trouble,
}

impl Shared {
    /// Everything but the threads and the port.
    pub(crate) fn open(config: Config) -> Result<Self, BrokerError> {
        let in_flight = config.max_in_flight_bytes.max(config.max_request_bytes);
        let answers = in_flight.max(config.max_fetch_bytes).max(config.max_batch_bytes);
        Ok(Self {
            catalogue: Catalogue::open(&config)?,
            coordinator: Coordinator::new(config.group_initial_delay),
            committed: Committed::open(&config.data)?,
            answers: Budget::new(answers),
            reserved_group: OnceLock::new(),
            requests: Budget::new(in_flight),
            large_answer: Mutex::new(()),
            stopping: AtomicBool::new(false),
            stopped: Mutex::new(()),
            stop_wake: Condvar::new(),
            connections: Connections::default(),
            refusing: Trouble::default(),
            accepting: Trouble::default(),
            config,
        })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn is_reserved(&self, group: &str) -> bool {
        self.reserved_group.get().is_some_and(|reserved| reserved == group)
    }

    /// Takes memory for a connection, if need be from those that are slow with theirs. False: there is none.
    pub(crate) fn take(&self, grant: &mut Grant, bytes: usize, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if grant.grow(bytes, left.min(MEMORY_LOOK)) {
                return true;
            }
            if left.is_zero() || self.is_stopping() {
                return false;
            }
            self.connections.close_slowest();
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Shared {
    /// Nothing waits any more, as when the broker stops.
    pub(crate) fn stop_waiting(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// With the defaults, in an empty folder.
    pub(crate) fn for_tests(data: &std::path::Path) -> Self {
        let config = Config::new(data, std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0)));
        Self::open(config).expect("empty folder")
    }
}
