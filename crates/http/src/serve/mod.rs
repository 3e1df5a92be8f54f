//! The HTTP API: models, batches, the user's routes, health and the live page, from what the registry holds now.
//!
//! A request takes one snapshot and keeps it: versions come and go without a failed request. What a client makes large has a bound:
//! connections, heads and idleness in `connections`, unread answers in `stream` and `answers`, bodies in `body`, values and rows in
//! `rows` and `predict`, what a template repeats in `template`. Who may ask for what is decided in `guard`, by what `gate` knows of them; pages of other
//! sites are refused in `site`. docs/limits.md has the figures.

mod aliases;
mod answer_log;
mod answers;
mod app;
mod body;
#[cfg(test)]
mod bounds_tests;
mod catalogue;
pub mod check;
mod compare;
mod connections;
mod described;
mod drift;
mod endpoints;
mod error;
mod exchange;
#[cfg(test)]
pub(crate) mod fixture;
mod gate;
mod gauges;
mod guard;
mod history;
mod hosts;
mod http2;
#[cfg(test)]
mod http2_tests;
mod insights;
mod keys;
#[cfg(test)]
mod keys_tests;
mod lineage;
mod lists;
mod live;
mod metrics;
mod mlflow;
#[cfg(test)]
mod mutation_tests;
mod oip;
mod openapi;
mod pages;
mod patience;
mod predict;
mod rates;
mod recommend;
mod records;
mod reloaded;
mod reply;
mod request_id;
mod route;
mod route_action;
mod rows;
mod settings;
mod shadow;
mod shares;
mod site;
#[cfg(test)]
mod socket_tests;
mod statistics;
mod stream;
mod template;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
#[cfg(test)]
mod traffic_tests;
mod verifying;
mod views;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

pub use answer_log::{ANSWER_COLUMNS, AnswerLog};
pub use app::App;
pub use connections::serve;
pub use endpoints::Answer;
pub use error::ApiError;
pub use gate::Gate;
pub use hosts::{Sites, host_and_port, is_address, origin, sites};
pub use keys::{DrawnKey, KeyScope, check_key_name, parse_rate};
pub(crate) use lists::loaded_versions;
pub(crate) use openapi::document;
pub use pages::{Answered, Asker, PageKind, Pages};
pub(crate) use reply::{asset, csv_answer, html_page, see_other};
pub(crate) use route::UserRoute;
pub(crate) use rows::parse_pairs;
pub use settings::{
    Ambiguous, Card, DeclaredPage, ImagesFrom, LogSettings, Origin, PageSubject, Route, Serve, ServeSettings, Shadow,
    Show, Traffic, ViewCall,
};

use millstream_answer::catalogue::{Catalogues, Images};
use millstream_answer::interactions::Interactions;
use millstream_answer::views::Views;
use millstream_base::status::Status;
use millstream_model::registry::Registry;
use millstream_model::train::Explainer;
use millstream_stream::batch::{Batch, BatchSnapshot, BatchStatistics};
use millstream_stream::posting::Posting;

const BACKLOG: u32 = 1024;
/// What the kernel keeps of an answer that is not read, and of a body that we do not read (it doubles this): 1,024 connections hold
/// 256 MiB of each.
const SOCKET_BUFFER_BYTES: u32 = 128 << 10;

/// What the API answers from.
pub struct ServeContext {
    pub settings: ServeSettings,
    pub registry: Arc<Registry>,
    pub status: Arc<Status>,
    pub batches: Arc<dyn BatchSource>,
    pub interactions: Arc<Interactions>,
    /// `None`: the pipeline has no `[catalogue]`.
    pub catalogue: Option<Arc<Catalogues>>,
    /// Of a folder of the store, where the catalogue has one.
    pub images: Option<Arc<Images>>,
    pub views: Arc<Views>,
    pub explainer: Arc<Explainer>,
    pub pages: Arc<dyn Pages>,
    pub gate: Gate,
    /// Takes what clients send to the topic.
    pub posting: Arc<Posting>,
    /// `None`: no answer is kept.
    pub answer_log: Option<Arc<AnswerLog>>,
}

/// The stored batches. What may read files runs off the serving threads.
pub trait BatchSource: Send + Sync {
    /// Those that are complete, as the last look at the store found them. Reads nothing and waits for nobody.
    fn snapshot(&self) -> BatchSnapshot;

    /// The files of those rows that are not known to be what was written. Reads nothing and waits for nobody.
    fn unverified(&self, batch: &Batch, offset: usize, limit: usize) -> Vec<String>;

    /// Whether that file is known to be what was written. Reads nothing and waits for nobody.
    fn is_verified(&self, file: &str) -> bool;

    /// Whether it is: read whole, unless it is known.
    fn verify_file(&self, file: &str) -> Result<(), BatchReadError>;

    /// Rows `offset..offset + limit` of a batch, in stored order; fewer or none at its end.
    fn rows(
        &self,
        batch: &Batch,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, BatchReadError>;

    /// Rejects `offset..offset + limit` of a batch, as they are stored; fewer or none at its end.
    fn rejects(
        &self,
        batch: &Batch,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, BatchReadError>;

    /// What the columns of a batch are like.
    fn statistics(&self, batch: &Batch) -> Result<BatchStatistics, BatchReadError>;
}

#[derive(Debug, thiserror::Error)]
#[error("a stored batch cannot be read: {message}")]
pub struct BatchReadError {
    /// With the file's name: for the log and the status, which are the owner's.
    pub message: String,
    /// The store does not answer: nothing is known to be wrong with the file.
    pub is_away: bool,
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
        // Connections have it from their listener.
        socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    });
    listening.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => ServeError::InUse { address },
        _ => ServeError::Listen { address, source },
    })
}

/// Ends when the server stops, or is gone.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
