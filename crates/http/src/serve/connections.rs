//! The connections: how many there are, which of them may wait, and that health can be asked whatever the others do.
//!
//! Up to `CONNECTIONS_MAX` have a place. Beyond, a connection waits in a small reserve: health and metrics are answered there, anything
//! else as soon as a place is free, or with 503. A new one always gets in, for the one that has waited longest in the reserve goes.
//! Where no place is left, connections that have asked for nothing for a while are closed, and of those that are idle just now as many
//! as wait for a place. One that prepares an answer is left alone for a second, and then closed after its answer. Over HTTP/2 (`http2`) a
//! connection has several requests at once: each beyond the first takes a place of its own, until its answer is read, but health takes none.
//! Without a place it takes no more requests once it has answered, as over HTTP/1.1.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, Version, header};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::app::App;
use super::error::{ApiError, shortened};
use super::gate::Gate;
use super::guard::{Peer, is_health};
use super::history::History;
use super::http2;
use super::oip::grpc;
use super::predict::COMPUTING_MOST;
use super::request_id::{self, REQUEST_ID};
use super::shadow;
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
    tokio::spawn(shadow::keep(Arc::clone(&app)));
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
            under_way: AtomicUsize::new(0),
            must_go: Notify::new(),
            leaves: Notify::new(),
            farewell: OnceLock::new(),
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
    /// Requests that are prepared; over HTTP/2 also those whose answers are not read yet.
    under_way: AtomicUsize,
    /// The reserve is full.
    must_go: Notify,
    /// What HTTP/1.1 says by `Connection: close`.
    leaves: Notify,
    /// When it was told to take no more requests.
    farewell: OnceLock<Instant>,
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
        let is_idle = self.has_asked() && self.under_way.load(Ordering::Relaxed) == 0;
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

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let under_way = UnderWay::new(&self);
        if request.version() != Version::HTTP_2 {
            return self.answer_in_place(request, false).await;
        }
        self.answer_call(request, under_way).await
    }

    /// A call of gRPC, for which alone HTTP/2 is spoken: what answers without an end, as events do, has its bounds by HTTP/1.1.
    async fn answer_call(&self, mut request: Request<Incoming>, mut under_way: UnderWay) -> Response<Body> {
        let path = request.uri().path();
        if !grpc::is_of_grpc(path) {
            let message = format!("nothing at {} by HTTP/2, which is for gRPC: ask by HTTP/1.1", shortened(path));
            return refused(ApiError::not_found("unknown_path", message), &request);
        }
        let asks_health = is_health(path);
        // What HTTP/1.1 has as a header stands in the target.
        let host = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        if let Some(host) = host.filter(|_| !request.headers().contains_key(header::HOST)) {
            request.headers_mut().insert(header::HOST, host);
        }
        let is_call = grpc::is_call(&request);
        // A client that does not take the word would hold its connection by calls for ever.
        let is_late = self.farewell.get().is_some_and(|said| said.elapsed() >= http2::FAREWELL);
        let mut response = if is_late {
            refused(ApiError::busy("this connection takes no more calls"), &request)
        } else if asks_health || under_way.takes_place() {
            self.answer_in_place(request, under_way.place.is_some()).await
        } else {
            refused(too_many_connections(), &request)
        };
        if response.headers_mut().remove(header::CONNECTION).is_some() {
            self.leaves.notify_one();
        }
        if !is_call {
            return response;
        }
        let most = http2::read_within(response.body().size_hint().lower());
        let (unread, read) = oneshot::channel::<Infallible>();
        tokio::spawn(async move {
            // A client that grants no room for an answer looks to its connection as one with nothing to read.
            if timeout(most, read).await.is_err() {
                under_way.connection.give_up.notify_one();
            }
            drop(under_way);
        });
        grpc::ended(response, unread)
    }

    /// `has_own`: the request has a place, whether or not its connection has one.
    async fn answer_in_place(&self, mut request: Request<Incoming>, has_own: bool) -> Response<Body> {
        let now = u64::try_from(self.opened.elapsed().as_millis()).map_or(NOT_ASKED - 1, |now| now.min(NOT_ASKED - 1));
        self.asked_after_ms.store(now, Ordering::Relaxed);
        let needs_place = !has_own && !is_health(request.uri().path());
        if needs_place && !self.has_place() && !self.takes_place().await {
            return closing(refused(too_many_connections(), &request));
        }
        let target = request.uri().clone();
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        let response = self.app.handle(request.map(Body::new)).await;
        let id = response.headers().get(REQUEST_ID).cloned();
        let mut response = self.app.answers.held(response, target.path(), &self.give_up).await;
        // Where there was no room for it, this is another answer.
        if let Some(id) = id {
            request_id::mark(&mut response, id);
        }
        if self.has_place() { response } else { closing(response) }
    }

    /// Ends when the connection has been idle for so long, or has had its time after the `farewell`, which its client need not answer.
    async fn rests(&self, idle_most: Option<Duration>, farewell: Option<Instant>) {
        let Some(idle_most) = idle_most else { return std::future::pending().await };
        loop {
            let left = match farewell {
                Some(said) => http2::FAREWELL.saturating_sub(said.elapsed()),
                None => idle_most.saturating_sub(self.silence()),
            };
            if left.is_zero() && self.under_way.load(Ordering::Relaxed) == 0 {
                return;
            }
            sleep(left.max(http2::LOOK_EVERY)).await;
        }
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

/// A request while it is under way.
struct UnderWay {
    connection: Arc<Connection>,
    /// Others of its connection are, too.
    is_beside_others: bool,
    /// Given back with it.
    place: Option<OwnedSemaphorePermit>,
}

impl UnderWay {
    fn new(connection: &Arc<Connection>) -> Self {
        let is_beside_others = connection.under_way.fetch_add(1, Ordering::Relaxed) > 0;
        Self { connection: Arc::clone(connection), is_beside_others, place: None }
    }

    /// A place beside that of its connection, where it needs one. It does not wait: its body would stand in memory meanwhile.
    fn takes_place(&mut self) -> bool {
        if !self.is_beside_others {
            return true;
        }
        self.place = Arc::clone(&self.connection.places).try_acquire_owned().ok();
        if self.place.is_none() {
            self.connection.call.crowded(1);
        }
        self.place.is_some()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.connection.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

fn too_many_connections() -> ApiError {
    ApiError::busy("too many connections are open")
}

/// An answer to a request that is not looked into.
fn refused(error: ApiError, request: &Request<Incoming>) -> Response<Body> {
    let mut response = error.into_response_at(request.uri().path());
    request_id::mark(&mut response, request_id::of(request.headers()));
    response
}

fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// One connection, to its end.
async fn converse(connection: Arc<Connection>, stream: TcpStream, mut told: watch::Receiver<Word>) {
    // Small answers must not wait for an acknowledgement of the one before; without it they are only slower.
    let _ = stream.set_nodelay(true);
    let has_place = connection.has_place();
    let within = |most| if has_place { most } else { HEAD_TIMEOUT_IN_RESERVE };
    match connection.app.context.gate.tls() {
        None => {
            let greeting = timeout(within(HEAD_TIMEOUT), http2::is_spoken(&stream));
            if let Some(is_http2) = greeted(&connection, &mut told, greeting).await {
                // What its first bytes took is of the first head's time.
                let head_by = connection.opened + within(HEAD_TIMEOUT);
                speak(connection, Paced::new(stream), is_http2, head_by, told).await;
            }
        }
        Some(acceptor) => {
            let greeting = timeout(within(HANDSHAKE_TIMEOUT), tls::accept(&acceptor, stream));
            if let Some(stream) = greeted(&connection, &mut told, greeting).await {
                let is_http2 = tls::is_http2(&stream);
                let head_by = Instant::now() + within(HEAD_TIMEOUT);
                speak(connection, stream, is_http2, head_by, told).await;
            }
        }
    }
}

/// What comes of a connection's first bytes; `None`: nothing that can be answered. It may have to make room meanwhile, as one that has not asked for
/// anything yet, which it is.
async fn greeted<T>(
    connection: &Connection,
    told: &mut watch::Receiver<Word>,
    greeting: impl Future<Output = Result<Option<T>, Elapsed>>,
) -> Option<T> {
    let mut greeting = std::pin::pin!(greeting);
    loop {
        tokio::select! {
            greeted = greeting.as_mut() => return greeted.ok().flatten(),
            word = next(told) => if word.stopping || connection.makes_room() {
                return None;
            },
            () = connection.must_go.notified(), if !connection.has_place() => return None,
        }
    }
}

/// HTTP, to its end. `head_by`: when its first head has to be there.
async fn speak<S>(connection: Arc<Connection>, stream: S, is_http2: bool, head_by: Instant, told: watch::Receiver<Word>)
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
    if is_http2 {
        let served = http2::builder().serve_connection(TokioIo::new(stream), service);
        return attend(
            connection,
            served,
            hyper::server::conn::http2::Connection::graceful_shutdown,
            Some(head_timeout),
            head_by,
            told,
        )
        .await;
    }
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(HEAD_BYTES_MAX);
    let served = builder.serve_connection(TokioIo::new(stream), service);
    attend(connection, served, http1::Connection::graceful_shutdown, None, head_by, told).await;
}

/// Until a connection ends, or has to. `shut_down` takes no more requests; `idle_most`: where it does not see to it itself;
/// elsewhere `head_by` is the end of the first head's time, of which hyper does not know what went by before.
async fn attend<C: Future<Output = hyper::Result<()>>>(
    connection: Arc<Connection>,
    served: C,
    shut_down: impl Fn(Pin<&mut C>),
    idle_most: Option<Duration>,
    head_by: Instant,
    mut told: watch::Receiver<Word>,
) {
    let mut served = std::pin::pin!(served);
    let ended = loop {
        let farewell = connection.farewell.get().copied();
        tokio::select! {
            ended = served.as_mut() => break ended,
            word = next(&mut told), if farewell.is_none() => {
                if word.stopping || connection.makes_room() {
                    if !connection.has_asked() {
                        return;
                    }
                    // Closes an idle connection at once, another one after its answer.
                    connection.farewell.get_or_init(Instant::now);
                    shut_down(served.as_mut());
                }
            }
            () = connection.leaves.notified(), if farewell.is_none() => {
                connection.farewell.get_or_init(Instant::now);
                shut_down(served.as_mut());
            }
            () = sleep_until(head_by), if idle_most.is_none() && !connection.has_asked() => {
                if !connection.has_asked() {
                    return;
                }
            }
            () = connection.rests(idle_most, farewell) => {
                if farewell.is_some() {
                    return;
                }
                connection.farewell.get_or_init(Instant::now);
                shut_down(served.as_mut());
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
