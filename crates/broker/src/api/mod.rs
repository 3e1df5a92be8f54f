//! One function per request of the protocol.
//!
//! Fence: decoded requests in, answers out. No bytes of the wire (`wire`), no files (`log`, `catalogue`).

mod admin;
mod configs;
mod fetch;
mod groups;
mod metadata;
mod offsets;
mod produce;
#[cfg(test)]
mod tests;
mod topics;

use std::net::SocketAddr;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{BrokerId, RequestKind, ResponseKind};
use kafka_protocol::protocol::StrBytes;
use tracing::error;

use crate::budget::Grant;
use crate::shared::Shared;
use crate::wire;

/// The only node.
pub(crate) const NODE: BrokerId = BrokerId(0);
/// No error, in the protocol's numbers.
pub(crate) const NONE: i16 = 0;

/// Who asks.
pub(crate) struct Caller<'a> {
    pub(crate) version: i16,
    pub(crate) client_id: &'a StrBytes,
    /// Our end of the connection: the address under which this client reaches us.
    pub(crate) local: SocketAddr,
    /// The address to give instead of it.
    pub(crate) advertise: Option<&'a (String, u16)>,
    pub(crate) peer: SocketAddr,
    /// Whether the connection was closed meanwhile: then nobody waits for the answer.
    pub(crate) is_gone: &'a dyn Fn() -> bool,
}

impl Caller<'_> {
    fn host(&self) -> StrBytes {
        StrBytes::from_string(self.advertise.map_or_else(|| self.local.ip().to_string(), |(host, _)| host.clone()))
    }

    fn port(&self) -> i32 {
        i32::from(self.advertise.map_or_else(|| self.local.port(), |(_, port)| *port))
    }
}

/// What to send back.
pub(crate) struct Answer {
    /// `None`: the client wants none (Produce with acks = 0).
    pub(crate) response: Option<ResponseKind>,
    /// About how large it will be.
    pub(crate) bytes_hint: usize,
    /// The memory it holds, until it is sent.
    pub(crate) grant: Option<Grant>,
}

impl From<ResponseKind> for Answer {
    fn from(response: ResponseKind) -> Self {
        Self { response: Some(response), bytes_hint: 0, grant: None }
    }
}

/// Whether a request may wait for what other clients do.
pub(crate) fn waits(request: &RequestKind) -> bool {
    matches!(request, RequestKind::Fetch(_) | RequestKind::JoinGroup(_) | RequestKind::SyncGroup(_))
}

/// Whether the answer may be much larger than the request: as large as what is kept.
pub(crate) fn is_large(request: &RequestKind) -> bool {
    matches!(
        request,
        RequestKind::DescribeConfigs(_)
            | RequestKind::DescribeGroups(_)
            | RequestKind::DescribeLogDirs(_)
            | RequestKind::ListGroups(_)
            | RequestKind::OffsetFetch(_)
    )
}

/// Answers one request. Only requests of [`wire::schema::APIS`] come here.
pub(crate) fn handle(shared: &Shared, caller: &Caller<'_>, request: RequestKind) -> Answer {
    let response = match request {
        RequestKind::Produce(request) => return produce::produce(shared, caller, request),
        RequestKind::Fetch(request) => return fetch::fetch(shared, caller, &request),
        RequestKind::ApiVersions(_) => ResponseKind::ApiVersions(wire::api_versions()),
        RequestKind::Metadata(request) => metadata::metadata(shared, caller, request),
        RequestKind::ListOffsets(request) => offsets::list_offsets(shared, caller, request),
        RequestKind::OffsetForLeaderEpoch(request) => offsets::leader_epoch(shared, request),
        RequestKind::InitProducerId(request) => produce::init_producer_id(shared, &request),
        RequestKind::CreateTopics(request) => topics::create(shared, caller, request),
        RequestKind::DeleteTopics(request) => topics::delete(shared, caller, request),
        RequestKind::FindCoordinator(request) => groups::find_coordinator(caller, request),
        RequestKind::JoinGroup(request) => groups::join(shared, caller, request),
        RequestKind::SyncGroup(request) => groups::sync(shared, caller, request),
        RequestKind::Heartbeat(request) => groups::heartbeat(shared, &request),
        RequestKind::LeaveGroup(request) => groups::leave(shared, caller, request),
        RequestKind::OffsetCommit(request) => groups::commit(shared, request),
        RequestKind::OffsetFetch(request) => groups::fetch_offsets(shared, caller, request),
        RequestKind::DescribeGroups(request) => admin::describe_groups(shared, request),
        RequestKind::ListGroups(request) => admin::list_groups(shared, caller, &request),
        RequestKind::DeleteGroups(request) => admin::delete_groups(shared, request),
        RequestKind::DescribeConfigs(request) => configs::describe(shared, request),
        RequestKind::AlterConfigs(request) => configs::alter(shared, request),
        RequestKind::IncrementalAlterConfigs(request) => configs::alter_some(shared, request),
        RequestKind::CreatePartitions(request) => topics::grow(shared, request),
        RequestKind::DeleteRecords(request) => offsets::delete_records(shared, request),
        RequestKind::OffsetDelete(request) => admin::delete_offsets(shared, request),
        RequestKind::DescribeLogDirs(request) => admin::describe_log_dirs(shared, &request),
        RequestKind::DescribeCluster(_) => admin::describe_cluster(shared, caller),
        other => {
            // The schema table and this match list the same requests; a test holds them together.
            error!(?other, "request without a handler");
            return Answer { response: None, bytes_hint: 0, grant: None };
        }
    };
    response.into()
}

/// An error's number.
pub(crate) fn code(error: ResponseError) -> i16 {
    error.code()
}
