//! The HTTP API: models, batches, the user's routes, health and the live page, from what the registry holds now.
//!
//! A request takes one snapshot and keeps it: versions come and go without a failed request. Everything a client can make
//! large (bodies, rows, connections, streams, time) has a bound here.

mod app;
mod body;
mod catalogue;
mod error;
#[cfg(test)]
pub(crate) mod fixture;
mod guard;
mod lists;
mod live;
mod metrics;
mod openapi;
mod outputs;
mod predict;
mod recommend;
mod reply;
mod route;
mod route_action;
mod rows;
mod template;
#[cfg(test)]
mod tests;
mod views;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use guard::Peer;

pub use app::App;
pub use error::ApiError;
pub(crate) use lists::all_batches;
pub(crate) use openapi::document;
pub(crate) use reply::html;
pub(crate) use route::UserRoute;

use crate::batch::Batch;
use crate::catalogue::{Catalogues, Images};
use crate::config::Pipeline;
use crate::interactions::Interactions;
use crate::registry::Registry;
use crate::status::Status;
use crate::views::Views;

/// 1,024 × (a read buffer and a small body) stay inside 128 MiB; more clients wait in the backlog.
const CONNECTIONS_MAX: usize = 1024;
const BACKLOG: u32 = 1024;
/// For a request's head, and for an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests under way get so long to end when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// After an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the API answers from.
pub struct ServeContext {
    pub pipeline: Arc<Pipeline>,
    pub registry: Arc<Registry>,
    pub status: Arc<Status>,
    pub batches: Arc<dyn BatchSource>,
    pub interactions: Arc<Interactions>,
    /// `None`: the pipeline has no `[catalogue]`.
    pub catalogue: Option<Arc<Catalogues>>,
    /// Of a folder of the store, where the catalogue has one.
    pub images: Option<Arc<Images>>,
    pub views: Arc<Views>,
}

/// The stored batches. Both calls may read files: they run off the serving threads.
pub trait BatchSource: Send + Sync {
    /// Complete batches, oldest first.
    fn batches(&self) -> Vec<Batch>;

    /// Rows `offset..offset + limit` of a complete batch, in stored order; fewer or none at its end.
    fn rows(
        &self,
        batch: u32,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, BatchReadError>;
}

#[derive(Debug, thiserror::Error)]
#[error("batch {batch} cannot be read: {message}")]
pub struct BatchReadError {
    pub batch: u32,
    pub message: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "serve.listen = {address}: the port is in use; stop the other process, or choose another (port 0 takes a free one)"
    )]
    InUse { address: SocketAddr },
    #[error("serve.listen = {address}: cannot listen there")]
    Listen { address: SocketAddr, source: std::io::Error },
}

/// Takes the address. Needs a tokio runtime around it.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let listening = socket.and_then(|socket| {
        // A restart must not wait for the sockets of the last run to leave TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    });
    listening.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => ServeError::InUse { address },
        _ => ServeError::Listen { address, source },
    })
}

/// Serves until `stop`, then lets the requests under way end.
pub async fn serve(listener: TcpListener, context: ServeContext, stop: impl Future) {
    let (tell_stop, stopping) = watch::channel(false);
    let app = Arc::new(App::new(context, stopping.clone()));
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            _ = &mut stop => break,
            accepted = accept(&listener, &slots) => {
                let Some((stream, slot)) = accepted else { continue };
                connections.spawn(converse(Arc::clone(&app), stream, stopping.clone(), slot));
            }
            // Ended connections are let go as they end.
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    // The receivers are the connections; without one there is nobody to tell.
    let _ = tell_stop.send(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests still under way were cut off");
    }
}

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// One connection, to its end.
async fn converse(app: Arc<App>, stream: TcpStream, mut stopping: watch::Receiver<bool>, _slot: OwnedSemaphorePermit) {
    // Small answers must not wait for an acknowledgement of the one before; without it they are only slower.
    let _ = stream.set_nodelay(true);
    let peer = stream.peer_addr().ok().map(Peer);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let app = Arc::clone(&app);
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        async move { Ok::<_, Infallible>(app.handle(request.map(Body::new)).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // A client that went away or spoke no HTTP.
        tracing::debug!(%error, "a connection broke off");
    }
}

/// Ends when the server stops, or is gone.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
