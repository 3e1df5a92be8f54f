//! The listener, one thread per connection, and the keeper thread.
//!
//! Requests of one connection are handled in order, one at a time, as Apache Kafka does: a waiting fetch holds up what
//! the same client sent behind it, and nobody else. Fence: bytes in and out; meaning is `api`'s.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::{debug, info, warn};

use crate::api::{self, Caller};
use crate::budget::Grant;
use crate::clock::now_ms;
use crate::config::Config;
use crate::connections::{Activity, Connection};
use crate::error::{BrokerError, is_want_of_descriptors};
use crate::lock_file::LockFile;
use crate::locks::lock;
use crate::settings;
use crate::shared::Shared;
use crate::wire::{self, Decoded};

/// A peer that sends nothing for so long inside a request, or takes nothing of an answer, is gone.
const STALL: Duration = Duration::from_secs(30);
/// A whole request must arrive in this time, however steadily it trickles.
const REQUEST_ARRIVAL: Duration = Duration::from_secs(120);
/// An answer is taken in this time and at least at this rate, or its memory is another's.
const ANSWER_TAKEN: Duration = Duration::from_secs(30);
const ANSWER_BYTES_PER_SECOND: usize = 64 * 1024;
/// A request or an answer up to this is not counted: with all connections some MiB.
const SMALL_BYTES: usize = 64 * 1024;
/// What one array element takes: decoded, and as part of an answer.
const ELEMENT_BYTES: usize = 512;
/// A connection without a request for so long is closed, as Apache Kafka does (`connections.max.idle.ms`).
const IDLE: Duration = Duration::from_secs(600);
/// Bytes are taken from the budget and from the peer in steps of this, so that a claim alone reserves nothing.
const READ_STEP_BYTES: usize = 1024 * 1024;
/// How often the keeper looks for full segments and silent group members.
const KEEPER_PAUSE: Duration = Duration::from_millis(200);
/// From the beginning of a stop on, its first sync with it, so long are answers awaited that are under way; then comes the last sync,
/// for which whoever stops the broker waits longer.
pub const DRAIN: Duration = Duration::from_secs(1);
/// The listener wakes in this time also when the first sync took all of it: on this machine a connection needs next to none.
const WAKE_LEAST: Duration = Duration::from_millis(100);

/// A serving broker.
pub(crate) struct Running {
    shared: Arc<Shared>,
    address: SocketAddr,
    threads: Vec<JoinHandle<()>>,
    lock_file: LockFile,
}

/// Binds, opens the logs, then serves. The port comes first: it is the cheaper thing to fail.
pub(crate) fn start(config: Config, mut lock_file: LockFile) -> Result<Running, BrokerError> {
    let listener = bind(config.listen)?;
    let bound = listener.local_addr().map_err(|source| BrokerError::Listen { address: config.listen, source })?;
    let address = reachable(bound);
    let shared = Arc::new(Shared::open(config)?);
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

    pub(crate) fn reserve_group(&self, group: &str) {
        let _ = self.shared.reserved_group.set(group.to_owned());
    }

    pub(crate) fn cluster_id(&self) -> &str {
        &self.shared.catalogue.cluster_id
    }

    /// Stops: logs are synced, waiting requests are answered at once, connections end after the answer under way. The logs come first:
    /// whoever stops the broker may not wait for clients that hold it.
    pub(crate) fn stop(self) {
        let shared = &self.shared;
        let deadline = Instant::now() + DRAIN;
        shared.stopping.store(true, Ordering::Release);
        drop(lock(&shared.stopped));
        shared.stop_wake.notify_all();
        sync_all(shared);
        // The listener wakes up by one more connection.
        let left = deadline.saturating_duration_since(Instant::now());
        let _ = TcpStream::connect_timeout(&self.address, left.max(WAKE_LEAST));
        for thread in self.threads {
            let _ = thread.join();
        }
        shared.coordinator.wake_all();
        for topic in shared.catalogue.topics() {
            topic.partitions.iter().for_each(|log| log.waiters.wake_all());
        }
        let (open, threads) = shared.connections.drain();
        for connection in &open {
            let _ = connection.stream.shutdown(Shutdown::Read);
        }
        while threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        for connection in &open {
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
        for thread in threads {
            let _ = thread.join();
        }
        // And what the last requests wrote.
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
            Ok(stream) => {
                if shared.accepting.ends() {
                    info!("connections can be accepted again");
                }
                admit(shared, stream);
            }
            Err(cause) => {
                if is_want_of_descriptors(&cause) {
                    if shared.accepting.begins() {
                        warn!(%cause, "out of file descriptors: no connection can be accepted; raise the limit (ulimit -n)");
                    }
                } else {
                    debug!(%cause, "connection broke off before it was accepted");
                }
                // Without a pause this loop would spin.
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Gives a connection its thread, or closes it when all places are in use.
fn admit(shared: &Arc<Shared>, stream: TcpStream) {
    let places = shared.config.max_connections;
    let Some((id, connection)) = shared.connections.admit(stream, places) else {
        if shared.refusing.begins() {
            warn!(limit = places, "connections refused: all places are in use");
        }
        return;
    };
    if shared.refusing.ends() {
        info!("connections are accepted again");
    }
    let for_thread = Arc::clone(shared);
    let spawned = spawn("connection", move || {
        let _entry = Entry { shared: &for_thread, id };
        match serve(&for_thread, &connection) {
            Ok(()) => {}
            Err(_) if connection.is_closed() => debug!("connection closed for others"),
            Err(End::Io(cause)) => debug!(%cause, "connection ended"),
            Err(End::Wire(cause)) => {
                let detail = std::error::Error::source(&cause).map(ToString::to_string);
                warn!(%cause, detail, "connection closed");
            }
            Err(End::TooLarge(bytes)) => warn!(bytes, "connection closed: request length refused"),
            Err(End::NoMemory) => warn!("connection closed: no memory left for its request or answer"),
        }
    });
    if let Err(cause) = &spawned {
        warn!(%cause, "connection refused: no thread");
    }
    shared.connections.set_thread(id, spawned.ok());
}

/// A connection's place in the table, given up however its thread ends.
struct Entry<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.shared.connections.remove(self.id);
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
fn serve(shared: &Shared, connection: &Connection) -> Result<(), End> {
    let stream = &connection.stream;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
    while !shared.is_stopping() && !connection.is_closed() {
        connection.holds(0);
        connection.now(Activity::Idle);
        let Some(length) = read_length(stream)? else {
            return Ok(());
        };
        connection.now(Activity::Moving);
        let mut grant = shared.requests.grant();
        let frame = read_frame(shared, connection, length, &mut grant)?;
        let mut reserve = |elements: usize| {
            let bytes = elements * ELEMENT_BYTES;
            bytes <= SMALL_BYTES || shared.take(&mut grant, bytes, STALL)
        };
        let (envelope, request) = match wire::decode(&frame, &mut reserve)? {
            Some(Decoded::Request(request)) => *request,
            Some(Decoded::ApiVersionsTooNew { correlation_id }) => {
                write_answer(connection, &wire::api_versions_too_new(correlation_id)?)?;
                continue;
            }
            None => return Err(End::NoMemory),
        };
        drop(frame);
        connection.holds(grant.bytes());
        connection.now(if api::waits(&request) { Activity::Waiting } else { Activity::Working });
        let client_id = &envelope.client_id;
        let is_own = shared.config.own_client_id.as_deref() == Some(client_id.as_str());
        let (from, to) = (peer.ip().to_canonical(), local.ip().to_canonical());
        let is_here = from.is_loopback() || from == to;
        let advertise = shared.config.advertise.as_ref().filter(|_| !(is_own && is_here));
        let is_gone = || connection.is_gone();
        let caller = Caller { version: envelope.version, client_id, local, advertise, peer, is_gone: &is_gone };
        let one_at_a_time = api::is_large(&request).then(|| lock(&shared.large_answer));
        let answer = api::handle(shared, &caller, request);
        let Some(response) = answer.response else {
            continue;
        };
        connection.now(Activity::Working);
        let bytes =
            wire::encode(envelope.key, envelope.version, envelope.correlation_id, &response, answer.bytes_hint)?;
        drop((response, grant, one_at_a_time));
        // A fetch has taken its memory already.
        let mut held = answer.grant.unwrap_or_else(|| shared.answers.grant());
        let more = bytes.len().saturating_sub(held.bytes());
        if more > SMALL_BYTES && !shared.take(&mut held, more, STALL) {
            return Err(End::NoMemory);
        }
        connection.holds(held.bytes());
        connection.now(Activity::Moving);
        write_answer(connection, &bytes)?;
    }
    Ok(())
}

/// Writes an answer to a peer that takes it steadily.
fn write_answer(connection: &Connection, bytes: &[u8]) -> Result<(), End> {
    let mut stream = &connection.stream;
    let seconds = u64::try_from(bytes.len() / ANSWER_BYTES_PER_SECOND).unwrap_or(u64::MAX);
    let deadline = Instant::now() + ANSWER_TAKEN.saturating_add(Duration::from_secs(seconds));
    let mut rest = bytes;
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(0) => return Err(End::Io(ErrorKind::WriteZero.into())),
            Ok(written) => {
                connection.moved();
                rest = &rest[written..];
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() > deadline {
            return Err(End::Io(ErrorKind::TimedOut.into()));
        }
    }
    Ok(())
}

/// The next request's length; `None` when the peer has closed or was idle for too long.
fn read_length(mut stream: &TcpStream) -> Result<Option<i32>, End> {
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
fn read_frame(shared: &Shared, connection: &Connection, length: i32, grant: &mut Grant) -> Result<Bytes, End> {
    let bytes = usize::try_from(length)
        .ok()
        .filter(|bytes| *bytes <= shared.config.max_request_bytes)
        .ok_or(End::TooLarge(length))?;
    let mut stream = &connection.stream;
    let mut frame = Vec::new();
    let deadline = Instant::now() + REQUEST_ARRIVAL;
    while frame.len() < bytes {
        let step = (bytes - frame.len()).min(READ_STEP_BYTES);
        // A small one is not counted: it is not kept waiting by large ones.
        if bytes > SMALL_BYTES && !shared.take(grant, step, STALL) {
            return Err(End::NoMemory);
        }
        connection.holds(grant.bytes());
        let mut filled = frame.len();
        frame.resize(filled + step, 0);
        while filled < frame.len() {
            match stream.read(&mut frame[filled..]) {
                Ok(0) => return Err(End::Io(ErrorKind::UnexpectedEof.into())),
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
            connection.moved();
            if Instant::now() > deadline {
                return Err(End::Io(ErrorKind::TimedOut.into()));
            }
        }
    }
    Ok(Bytes::from(frame))
}
