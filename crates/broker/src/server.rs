//! The listener, one thread per connection, and the keeper thread.
//!
//! Requests of one connection are handled in order, one at a time, as Apache Kafka does: a waiting fetch holds up what
//! the same client sent behind it, and nobody else. Fence: bytes in and out; meaning is `api`'s.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tracing::{debug, info, warn};

use crate::api::{self, Caller};
use crate::budget::{Budget, Grant};
use crate::catalogue::Catalogue;
use crate::committed::Committed;
use crate::config::Config;
use crate::coordinator::Coordinator;
use crate::error::BrokerError;
use crate::lock_file::LockFile;
use crate::locks::lock;
use crate::settings;
use crate::wire::{self, Decoded};

/// A peer that sends nothing for so long inside a request, or takes nothing of an answer, is gone.
const STALL: Duration = Duration::from_secs(30);
/// A whole request must arrive in this time, however steadily it trickles.
const REQUEST_ARRIVAL: Duration = Duration::from_secs(120);
/// A connection without a request for so long is closed, as Apache Kafka does (`connections.max.idle.ms`).
const IDLE: Duration = Duration::from_secs(600);
/// Bytes are taken from the budget and from the peer in steps of this, so that a claim alone reserves nothing.
const READ_STEP_BYTES: usize = 1024 * 1024;
/// How often the keeper looks for full segments and silent group members.
const KEEPER_PAUSE: Duration = Duration::from_millis(200);
/// How long a stop waits for answers that are under way.
const DRAIN: Duration = Duration::from_secs(5);

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) catalogue: Catalogue,
    pub(crate) coordinator: Coordinator,
    pub(crate) committed: Committed,
    /// Memory of fetch answers, apart from that of requests: a full one must not stop producers.
    pub(crate) answers: Arc<Budget>,
    requests: Arc<Budget>,
    stopping: AtomicBool,
    stopped: Mutex<()>,
    stop_wake: Condvar,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    next_id: u64,
    open: HashMap<u64, (TcpStream, Option<JoinHandle<()>>)>,
}

/// A serving broker.
pub(crate) struct Running {
    shared: Arc<Shared>,
    address: SocketAddr,
    threads: Vec<JoinHandle<()>>,
    lock_file: LockFile,
}

impl Shared {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Shared {
    /// Nothing waits any more, as when the broker stops.
    pub(crate) fn stop_waiting(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Everything but the threads and the port.
    pub(crate) fn for_tests(data: &std::path::Path) -> Self {
        let config = Config::new(data, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        Self {
            catalogue: Catalogue::open(&config).expect("empty folder"),
            coordinator: Coordinator::new(Duration::ZERO),
            committed: Committed::open(data).expect("empty folder"),
            answers: Budget::new(config.max_in_flight_bytes),
            requests: Budget::new(config.max_in_flight_bytes),
            stopping: AtomicBool::new(false),
            stopped: Mutex::new(()),
            stop_wake: Condvar::new(),
            connections: Mutex::new(Connections::default()),
            config,
        }
    }
}

/// Binds, opens the logs, then serves. The port comes first: it is the cheaper thing to fail.
pub(crate) fn start(config: Config, mut lock_file: LockFile) -> Result<Running, BrokerError> {
    let listener = bind(config.listen)?;
    let bound = listener.local_addr().map_err(|source| BrokerError::Listen { address: config.listen, source })?;
    let address = reachable(bound);
    let in_flight = config.max_in_flight_bytes.max(config.max_request_bytes);
    let answers = in_flight.max(config.max_fetch_bytes).max(config.max_batch_bytes);
    let shared = Arc::new(Shared {
        catalogue: Catalogue::open(&config)?,
        coordinator: Coordinator::new(config.group_initial_delay),
        committed: Committed::open(&config.data)?,
        answers: Budget::new(answers),
        requests: Budget::new(in_flight),
        stopping: AtomicBool::new(false),
        stopped: Mutex::new(()),
        stop_wake: Condvar::new(),
        connections: Mutex::new(Connections::default()),
        config,
    });
    let lock_path = shared.config.data.join("lock");
    lock_file.publish(address).map_err(BrokerError::disk("write", &lock_path))?;
    let mut running = Running { shared: Arc::clone(&shared), address, threads: Vec::new(), lock_file };
    let for_keeper = Arc::clone(&shared);
    let keeper = spawn("keeper", move || keep(&for_keeper));
    let acceptor = spawn("accept", move || accept(&shared, &listener));
    for thread in [keeper, acceptor] {
        running.threads.push(thread.map_err(|source| BrokerError::Thread { source })?);
    }
    info!(%address, "broker serves");
    Ok(running)
}

fn bind(address: SocketAddr) -> Result<TcpListener, BrokerError> {
    TcpListener::bind(address).map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => BrokerError::PortInUse { address },
        _ => BrokerError::Listen { address, source },
    })
}

/// An address that a client on this machine can connect to.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

fn spawn(name: &str, job: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(format!("broker-{name}")).spawn(job)
}

impl Running {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn cluster_id(&self) -> &str {
        &self.shared.catalogue.cluster_id
    }

    /// Stops: waiting requests are answered at once, connections end after the answer under way, logs are synced.
    pub(crate) fn stop(self) {
        let shared = &self.shared;
        shared.stopping.store(true, Ordering::Release);
        drop(lock(&shared.stopped));
        shared.stop_wake.notify_all();
        // The listener wakes up by one more connection.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        for thread in self.threads {
            let _ = thread.join();
        }
        shared.coordinator.wake_all();
        for topic in shared.catalogue.topics() {
            topic.partitions.iter().for_each(|log| log.waiters.wake_all());
        }
        let mut open: Vec<(TcpStream, Option<JoinHandle<()>>)> = {
            let mut connections = lock(&shared.connections);
            connections.open.drain().map(|(_, value)| value).collect()
        };
        for (stream, _) in &open {
            let _ = stream.shutdown(Shutdown::Read);
        }
        let deadline = Instant::now() + DRAIN;
        let is_busy = |handle: &Option<JoinHandle<()>>| handle.as_ref().is_some_and(|handle| !handle.is_finished());
        while open.iter().any(|(_, handle)| is_busy(handle)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        for (stream, handle) in &mut open {
            let _ = stream.shutdown(Shutdown::Both);
            if let Some(handle) = handle.take() {
                let _ = handle.join();
            }
        }
        sync_all(shared);
        drop(self.lock_file);
        info!(address = %self.address, "broker stopped");
    }
}

fn sync_all(shared: &Shared) {
    for topic in shared.catalogue.topics() {
        for log in &topic.partitions {
            log.seal_full();
            log.sync();
        }
    }
}

/// Milliseconds since 1970; 0 with a clock before that, when nothing is old.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Seals full segments, removes what is no longer kept, ends silent group members, and flushes when that is asked for.
fn keep(shared: &Shared) {
    let mut flushed = Instant::now();
    while !shared.is_stopping() {
        shared.coordinator.tick(Instant::now());
        let flush_due = shared.config.flush_interval.is_some_and(|interval| flushed.elapsed() >= interval);
        let now_ms = now_ms();
        for topic in shared.catalogue.topics() {
            let limits = settings::limits(&shared.config, &topic.settings);
            for log in &topic.partitions {
                log.mend();
                log.seal_full();
                log.retain(limits, now_ms);
                if flush_due {
                    log.sync();
                }
            }
        }
        if flush_due {
            flushed = Instant::now();
        }
        let stopped = lock(&shared.stopped);
        if !shared.is_stopping() {
            let pause = shared.config.flush_interval.unwrap_or(KEEPER_PAUSE);
            let waited = shared.stop_wake.wait_timeout(stopped, pause.min(KEEPER_PAUSE));
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for stream in listener.incoming() {
        if shared.is_stopping() {
            return;
        }
        match stream {
            Ok(stream) => admit(shared, stream),
            Err(cause) => {
                // Usually too many open files: without a pause this loop would spin.
                warn!(%cause, "connection not accepted");
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Gives a connection its thread, or closes it when there are too many.
fn admit(shared: &Arc<Shared>, stream: TcpStream) {
    let mut connections = lock(&shared.connections);
    if connections.open.len() >= shared.config.max_connections {
        warn!(limit = shared.config.max_connections, "connection refused");
        return;
    }
    let id = connections.next_id;
    connections.next_id += 1;
    let Ok(handle) = stream.try_clone() else {
        return;
    };
    connections.open.insert(id, (handle, None));
    let for_thread = Arc::clone(shared);
    let spawned = spawn("connection", move || {
        let _entry = Entry { shared: &for_thread, id };
        match serve(&for_thread, stream) {
            Ok(()) => {}
            Err(End::Io(cause)) => debug!(%cause, "connection ended"),
            Err(End::Wire(cause)) => {
                let detail = std::error::Error::source(&cause).map(ToString::to_string);
                warn!(%cause, detail, "connection closed");
            }
            Err(End::TooLarge(bytes)) => warn!(bytes, "connection closed: request length refused"),
            Err(End::NoMemory) => warn!("connection closed: no memory left for its request"),
        }
    });
    match spawned {
        Ok(thread) => {
            if let Some(entry) = connections.open.get_mut(&id) {
                entry.1 = Some(thread);
            }
        }
        Err(cause) => {
            warn!(%cause, "connection refused: no thread");
            connections.open.remove(&id);
        }
    }
}

/// A connection's place in the table, given up however its thread ends.
struct Entry<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        lock(&self.shared.connections).open.remove(&self.id);
    }
}

/// Why a connection ended before its peer closed it.
enum End {
    Io(io::Error),
    Wire(wire::WireError),
    TooLarge(i32),
    NoMemory,
}

impl From<io::Error> for End {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

impl From<wire::WireError> for End {
    fn from(cause: wire::WireError) -> Self {
        Self::Wire(cause)
    }
}

/// Serves one connection to its end.
fn serve(shared: &Shared, mut stream: TcpStream) -> Result<(), End> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
    while !shared.is_stopping() {
        let Some(length) = read_length(&mut stream)? else {
            return Ok(());
        };
        let mut grant = shared.requests.grant();
        let frame = read_frame(shared, &mut stream, length, &mut grant)?;
        let (envelope, request) = match wire::decode(&frame)? {
            Decoded::Request(request) => *request,
            Decoded::ApiVersionsTooNew { correlation_id } => {
                stream.write_all(&wire::api_versions_too_new(correlation_id)?)?;
                continue;
            }
        };
        drop(frame);
        let advertise = shared.config.advertise.as_ref();
        let caller = Caller { version: envelope.version, client_id: &envelope.client_id, local, advertise, peer };
        let answer = api::handle(shared, &caller, request);
        drop(grant);
        let Some(response) = answer.response else {
            continue;
        };
        let bytes =
            wire::encode(envelope.key, envelope.version, envelope.correlation_id, &response, answer.bytes_hint)?;
        drop(response);
        stream.write_all(&bytes)?;
    }
    Ok(())
}

/// The next request's length; `None` when the peer has closed or was idle for too long.
fn read_length(stream: &mut TcpStream) -> Result<Option<i32>, End> {
    let mut prefix = [0; 4];
    let mut filled = 0;
    let since = Instant::now();
    while filled < prefix.len() {
        match stream.read(&mut prefix[filled..]) {
            Ok(0) => return Ok(None),
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if filled > 0 || since.elapsed() > IDLE {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(i32::from_be_bytes(prefix)))
}

/// Reads a request of `length` bytes. Memory grows with what has arrived, not with what is claimed.
fn read_frame(shared: &Shared, stream: &mut TcpStream, length: i32, grant: &mut Grant) -> Result<Bytes, End> {
    let bytes = usize::try_from(length)
        .ok()
        .filter(|bytes| *bytes <= shared.config.max_request_bytes)
        .ok_or(End::TooLarge(length))?;
    let mut frame = Vec::new();
    let deadline = Instant::now() + REQUEST_ARRIVAL;
    while frame.len() < bytes {
        let step = (bytes - frame.len()).min(READ_STEP_BYTES);
        if !grant.grow(step, STALL) {
            return Err(End::NoMemory);
        }
        let start = frame.len();
        frame.resize(start + step, 0);
        stream.read_exact(&mut frame[start..])?;
        if Instant::now() > deadline {
            return Err(End::Io(ErrorKind::TimedOut.into()));
        }
    }
    Ok(Bytes::from(frame))
}
