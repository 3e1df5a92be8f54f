//! The connections: how many there are, which of them may wait, and that health can be asked whatever the others do.
//!
//! Up to `CONNECTIONS_MAX` have a place. Beyond, a connection waits in a small reserve: health and metrics are answered there, anything
//! else as soon as a place is free, or with 503. A new one always gets in, for the one that has waited longest in the reserve goes.
//! Where no place is left, connections that have asked for nothing for a while are closed, and of those that are idle just now as many
//! as wait for a place. One that prepares an answer is left alone for a second, and then closed after its answer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::app::App;
use super::error::ApiError;
use super::gate::Gate;
use super::guard::{Peer, is_health};
use super::history::History;
use super::predict::COMPUTING_MOST;
use super::stream::Paced;
use super::tls;
use crate::serve::ServeContext;

/// 1,024 × (a head, a small body and a small answer, each of 64 KiB) stay inside 192 MiB.
const CONNECTIONS_MAX: usize = 1024;
/// Connections without a place: one for so many with one.
const RESERVE: usize = 16;
const RESERVE_LEAST: usize = 4;
/// A request without a place looks for one so often, `CROWDED_EVERY`.
const PLACE_LOOKS: usize = 5;
/// A head of more is refused with 431; so 1,024 unfinished ones are at most 64 MiB.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// For a request's head, and for an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// For TLS before the first head.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For either without a place.
const HEAD_TIMEOUT_IN_RESERVE: Duration = Duration::from_secs(5);
/// A connection that has asked for nothing for so long makes room when places run out; with an answer under way, after it.
const SILENT_MOST: Duration = Duration::from_secs(1);
/// Idle connections are told at most so often that places run out.
const CROWDED_EVERY: Duration = Duration::from_millis(100);
/// Of a connection that has not asked for anything yet.
const NOT_ASKED: u64 = u64::MAX;
/// Requests under way get so long to end when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// After an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Such a want is logged at most so often.
const WANT_SAID_EVERY: Duration = Duration::from_secs(10);

/// What all connections are told.
#[derive(Debug, Clone, Copy, Default)]
struct Word {
    stopping: bool,
    /// When places ran out last.
    crowded: Option<Instant>,
}

/// Serves until `stop`, then lets the requests under way end.
pub async fn serve(listener: TcpListener, context: ServeContext, stop: impl Future) {
    if let Some(most) = context.settings.serve.concurrency {
        // A second server of a process has the first one's.
        let _ = COMPUTING_MOST.set(most);
    }
    serve_most(listener, context, stop, connections_most()).await;
}

/// As many as the file descriptors allow: the store, the broker and its clients need some too.
fn connections_most() -> usize {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let half = descriptors.map_or(CONNECTIONS_MAX, |most| usize::try_from(most / 2).unwrap_or(CONNECTIONS_MAX));
    half.clamp(1, CONNECTIONS_MAX)
}

/// With so many places.
pub(super) async fn serve_most(listener: TcpListener, context: ServeContext, stop: impl Future, most: usize) {
    let (tell_streams, stopping) = watch::channel(false);
    let app = Arc::new(App::new(context, stopping));
    tokio::spawn(History::keep(Arc::clone(&app)));
    tokio::spawn(Gate::keep(Arc::clone(&app)));
    let mut door = Door::new(app, most);
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            _ = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(door.enter(stream)); }
                Err(error) => door.refused(&error).await,
            },
            // Ended connections are let go as they end.
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    // The receivers are the connections; without one there is nobody to tell.
    let _ = tell_streams.send(true);
    door.call.word.send_modify(|word| word.stopping = true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests still under way were cut off");
        connections.abort_all();
    }
}

/// Tells all connections.
struct Call {
    word: watch::Sender<Word>,
    reserve: usize,
    /// Idle connections that have still to go, for those who wait for a place.
    wanted: AtomicUsize,
}

impl Call {
    fn new(reserve: usize) -> Self {
        Self { word: watch::channel(Word::default()).0, reserve, wanted: AtomicUsize::new(0) }
    }

    /// Connections make room: silent ones, and so many more of those that are idle just now.
    fn crowded(&self, more: usize) {
        let add = |wanted: usize| Some(wanted.saturating_add(more).min(self.reserve));
        // It always adds.
        let _ = self.wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        self.word.send_if_modified(|word| {
            let is_due = word.crowded.is_none_or(|told| told.elapsed() >= CROWDED_EVERY);
            if is_due {
                word.crowded = Some(Instant::now());
            }
            is_due
        });
    }

    /// Whether one more idle connection has to go.
    fn is_wanted(&self) -> bool {
        self.wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |wanted| wanted.checked_sub(1)).is_ok()
    }
}

struct Door {
    app: Arc<App>,
    places: Arc<Semaphore>,
    call: Arc<Call>,
    want_said: Option<Instant>,
    /// Without a place, the oldest in front.
    reserve: VecDeque<Weak<Connection>>,
}

impl Door {
    fn new(app: Arc<App>, n_places: usize) -> Self {
        let call = Arc::new(Call::new((n_places / RESERVE).max(RESERVE_LEAST)));
        Self { app, places: Arc::new(Semaphore::new(n_places)), call, want_said: None, reserve: VecDeque::new() }
    }

    /// Answers the connection's whole life.
    fn enter(&mut self, stream: TcpStream) -> impl Future<Output = ()> + Send + use<> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        let is_in_reserve = place.is_none();
        let connection = Arc::new(Connection {
            app: Arc::clone(&self.app),
            places: Arc::clone(&self.places),
            call: Arc::clone(&self.call),
            peer: stream.peer_addr().ok().map(Peer),
            place: place.map_or_else(OnceLock::new, OnceLock::from),
            opened: Instant::now(),
            asked_after_ms: AtomicU64::new(NOT_ASKED),
            is_preparing: AtomicBool::new(false),
            must_go: Notify::new(),
            give_up: Arc::default(),
        });
        if is_in_reserve {
            self.reserve.retain(|other| other.upgrade().is_some_and(|other| !other.has_place()));
            if self.reserve.len() >= self.call.reserve
                && let Some(oldest) = self.reserve.pop_front().and_then(|oldest| oldest.upgrade())
            {
                oldest.must_go.notify_one();
            }
            self.reserve.push_back(Arc::downgrade(&connection));
        }
        let told = self.call.word.subscribe();
        converse(connection, stream, told)
    }

    async fn refused(&mut self, error: &io::Error) {
        if !is_want_of_descriptors(error) {
            tracing::debug!(%error, "a connection broke off before it was accepted");
            return;
        }
        if self.want_said.is_none_or(|said| said.elapsed() >= WANT_SAID_EVERY) {
            self.want_said = Some(Instant::now());
            tracing::error!(%error, "out of file descriptors: no connection can be accepted; raise the limit (ulimit -n)");
        }
        self.call.crowded(self.call.reserve);
        sleep(ACCEPT_PAUSE).await;
    }
}

/// Of this process, or of the machine.
fn is_want_of_descriptors(error: &io::Error) -> bool {
    let number = rustix::io::Errno::from_io_error(error);
    matches!(number, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
        || error.kind() == io::ErrorKind::OutOfMemory
        || matches!(number, Some(rustix::io::Errno::NOBUFS))
}

struct Connection {
    app: Arc<App>,
    places: Arc<Semaphore>,
    call: Arc<Call>,
    peer: Option<Peer>,
    /// Unset in the reserve.
    place: OnceLock<OwnedSemaphorePermit>,
    opened: Instant,
    /// When the newest request came, in milliseconds after `opened`.
    asked_after_ms: AtomicU64,
    is_preparing: AtomicBool,
    /// The reserve is full.
    must_go: Notify,
    /// The client reads a large answer for too long, and others need the room.
    give_up: Arc<Notify>,
}

impl Connection {
    fn has_place(&self) -> bool {
        self.place.get().is_some()
    }

    fn has_asked(&self) -> bool {
        self.asked_after_ms.load(Ordering::Relaxed) != NOT_ASKED
    }

    /// Whether it goes when places run out.
    fn makes_room(&self) -> bool {
        let is_idle = self.has_asked() && !self.is_preparing.load(Ordering::Relaxed);
        self.silence() >= SILENT_MOST || is_idle && self.call.is_wanted()
    }

    /// Since it was opened or asked last.
    fn silence(&self) -> Duration {
        let since = match self.asked_after_ms.load(Ordering::Relaxed) {
            NOT_ASKED => Duration::ZERO,
            asked => Duration::from_millis(asked),
        };
        self.opened.elapsed().saturating_sub(since)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        self.is_preparing.store(true, Ordering::Relaxed);
        let response = self.answer_in_place(request).await;
        self.is_preparing.store(false, Ordering::Relaxed);
        response
    }

    async fn answer_in_place(&self, mut request: Request<Incoming>) -> Response<Body> {
        let now = u64::try_from(self.opened.elapsed().as_millis()).map_or(NOT_ASKED - 1, |now| now.min(NOT_ASKED - 1));
        self.asked_after_ms.store(now, Ordering::Relaxed);
        if !self.has_place() && !is_health(request.uri().path()) && !self.takes_place().await {
            let busy = ApiError::busy("too many connections are open");
            return closing(busy.into_response_at(request.uri().path()));
        }
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        let response = self.app.handle(request.map(Body::new)).await;
        let response = self.app.answers.held(response, &self.give_up).await;
        if self.has_place() { response } else { closing(response) }
    }

    /// Waits a moment for a place, while idle connections make room.
    async fn takes_place(&self) -> bool {
        for _ in 0..PLACE_LOOKS {
            self.call.crowded(1);
            let place = tokio::select! {
                place = timeout(CROWDED_EVERY, Arc::clone(&self.places).acquire_owned()) => place,
                () = self.must_go.notified() => return false,
            };
            if let Ok(Ok(place)) = place {
                return self.place.set(place).is_ok();
            }
        }
        false
    }
}

fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// One connection, to its end.
async fn converse(connection: Arc<Connection>, stream: TcpStream, mut told: watch::Receiver<Word>) {
    // Small answers must not wait for an acknowledgement of the one before; without it they are only slower.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = connection.app.context.gate.tls() else {
        return speak(connection, Paced::new(stream), told).await;
    };
    let most = if connection.has_place() { HANDSHAKE_TIMEOUT } else { HEAD_TIMEOUT_IN_RESERVE };
    let mut shaking = std::pin::pin!(timeout(most, tls::accept(&acceptor, stream)));
    // As a connection that has not asked for anything yet, which it is.
    let shaken = loop {
        tokio::select! {
            shaken = shaking.as_mut() => break shaken,
            word = next(&mut told) => if word.stopping || connection.makes_room() {
                return;
            },
            () = connection.must_go.notified(), if !connection.has_place() => return,
        }
    };
    if let Ok(Some(stream)) = shaken {
        speak(connection, stream, told).await;
    }
}

/// HTTP, to its end.
async fn speak<S>(connection: Arc<Connection>, stream: S, mut told: watch::Receiver<Word>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = {
        let connection = Arc::clone(&connection);
        service_fn(move |request| {
            let connection = Arc::clone(&connection);
            async move { Ok::<_, Infallible>(connection.answer(request).await) }
        })
    };
    let head_timeout = if connection.has_place() { HEAD_TIMEOUT } else { HEAD_TIMEOUT_IN_RESERVE };
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(HEAD_BYTES_MAX);
    let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut is_last = false;
    let ended = loop {
        tokio::select! {
            ended = served.as_mut() => break ended,
            word = next(&mut told), if !is_last => {
                if word.stopping || connection.makes_room() {
                    if !connection.has_asked() {
                        return;
                    }
                    // Closes an idle connection at once, another one after its answer.
                    is_last = true;
                    served.as_mut().graceful_shutdown();
                }
            }
            () = connection.give_up.notified() => return,
            () = connection.must_go.notified(), if !connection.has_place() && !connection.has_asked() => {
                if !connection.has_asked() {
                    return;
                }
                // The request that came meanwhile gives up its waiting.
                connection.must_go.notify_one();
            }
        }
    };
    if let Err(error) = ended {
        // A client that went away, spoke no HTTP, or does not read.
        tracing::debug!(%error, "a connection broke off");
    }
}

/// The next word; the server is gone without one.
async fn next(told: &mut watch::Receiver<Word>) -> Word {
    match told.changed().await {
        Ok(()) => *told.borrow_and_update(),
        Err(_) => Word { stopping: true, crowded: None },
    }
}
