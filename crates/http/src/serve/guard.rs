//! Who may ask for what: with keys (`serve.keys`) whoever has one of that scope, without them whoever is on this machine, by no other name of it. What pages
//! of other sites may ask is decided before (`site`).

use std::net::{IpAddr, SocketAddr};

use axum::http::{Extensions, HeaderMap, HeaderName, Uri, header};

use super::app::App;
use super::error::{ApiError, Challenge};
use super::gate::Credential;
use super::keys::KeyScope;
use super::oip::grpc;
use super::rows::parse_query;
use super::site::is_of_own_page;
use crate::serve::host_and_port;

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// What tells how the process is, and nothing of its data: answered by any name, and when nothing else is.
pub fn is_health(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/metrics" | "/ping" | "/v2/health/live" | "/v2/health/ready")
        || path == grpc::SERVER_LIVE
        || path == grpc::SERVER_READY
}

/// Of it what is answered by any name: a question about one model tells names and versions.
pub fn is_for_any_host(uri: &Uri) -> bool {
    is_health(uri.path()) && !names_model(uri)
}

/// Of it what a probe asks, which has no rate: `/metrics` is read as all else.
pub fn is_probe(uri: &Uri) -> bool {
    is_for_any_host(uri) && uri.path() != "/metrics"
}

/// `/readyz?model=`
fn names_model(uri: &Uri) -> bool {
    let names = |query: &str| match parse_query(query) {
        Ok(said) => said.iter().any(|(name, _)| name == "model"),
        Err(_) => true,
    };
    uri.path() == "/readyz" && uri.query().is_some_and(names)
}

/// A header that only a proxy sends: the client is somewhere else.
fn is_of_a_proxy(name: &HeaderName) -> bool {
    let name = name.as_str();
    name == "forwarded" || name == "via" || name == "x-real-ip" || name.starts_with("x-forwarded-")
}

/// Whether whoever sent this may do what needs that scope.
pub fn admit(app: &App, scope: KeyScope, extensions: &Extensions, headers: &HeaderMap) -> Result<(), ApiError> {
    let gate = &app.context.gate;
    let peer = extensions.get::<Peer>();
    match scope {
        KeyScope::Read if !gate.is_closed() => return Ok(()),
        KeyScope::Read => by_key(app, scope, extensions)?,
        KeyScope::Query | KeyScope::Write if gate.has_keys() => by_key(app, scope, extensions)?,
        KeyScope::Query => return loopback(peer, headers),
        KeyScope::Write => changes_here(peer, headers)?,
    }
    if scope == KeyScope::Write && !is_of_own_page(&app.context.settings.serve.sites, headers) {
        let message = "a page of another site changes nothing here; serve.cors lets it read";
        return Err(ApiError::forbidden("origin", message));
    }
    Ok(())
}

/// The name by which a change is remembered.
pub fn who(extensions: &Extensions) -> String {
    key_name(extensions).map_or_else(|| "http".to_owned(), |name| format!("key {name}"))
}

/// Of the key that came with the request.
pub fn key_name(extensions: &Extensions) -> Option<String> {
    match extensions.get::<Credential>() {
        Some(Credential::Key(key)) => Some(key.name.clone()),
        Some(Credential::None | Credential::Unknown) | None => None,
    }
}

fn by_key(app: &App, scope: KeyScope, extensions: &Extensions) -> Result<(), ApiError> {
    let with_basic = app.context.gate.is_closed();
    let scope_name = scope.name();
    match extensions.get::<Credential>() {
        Some(Credential::Key(key)) if key.allows(scope) => Ok(()),
        Some(Credential::Key(key)) => {
            let message = format!("the key {} has not the scope {scope_name}, which this needs", key.name);
            Err(ApiError::forbidden("scope", message))
        }
        Some(Credential::Unknown) => {
            let message = "the header Authorization has no key of this server: it was mistyped, or is not in the file of keys any more";
            Err(ApiError::unauthorized("unknown_key", message, Challenge { is_unknown: true, with_basic }))
        }
        Some(Credential::None) | None => {
            let message =
                format!("this needs a key with the scope {scope_name}: send the header Authorization: Bearer KEY");
            Err(ApiError::unauthorized("no_key", message, Challenge { is_unknown: false, with_basic }))
        }
    }
}

/// SQL of requests: from this machine, to this machine.
fn loopback(peer: Option<&Peer>, headers: &HeaderMap) -> Result<(), ApiError> {
    let message = "SQL is answered on this machine alone, at 127.0.0.1 or localhost; for others, write it as a [[view]], or set serve.keys";
    if is_local(peer, headers) { Ok(()) } else { Err(ApiError::forbidden("not_local", message)) }
}

/// What changes something: from this machine, to this machine.
fn changes_here(peer: Option<&Peer>, headers: &HeaderMap) -> Result<(), ApiError> {
    let message = "what is served, and its stream, is changed on this machine alone, at 127.0.0.1 or localhost; elsewhere with a key (serve.keys); aliases also by `millstream models promote` and `rollback`";
    if is_local(peer, headers) { Ok(()) } else { Err(ApiError::forbidden("not_local", message)) }
}

/// By one of this machine's own names.
fn is_local(peer: Option<&Peer>, headers: &HeaderMap) -> bool {
    let is_local = |address: IpAddr| address.to_canonical().is_loopback();
    let from_here = peer.is_some_and(|Peer(address)| is_local(address.ip()));
    let by_proxy = headers.keys().any(is_of_a_proxy);
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).and_then(host_and_port);
    let to_here =
        host.is_some_and(|(name, _)| name == "localhost" || name.trim_matches(['[', ']']).parse().is_ok_and(is_local));
    from_here && to_here && !by_proxy
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_question_about_a_model_is_no_probe_and_metrics_have_a_rate() {
        for (target, for_any_host, probe) in [
            ("/livez", true, true),
            ("/readyz", true, true),
            ("/readyz?probe=1", true, true),
            ("/readyz?model=close", false, false),
            ("/readyz?probe=1&%6dodel=close", false, false),
            ("/livez?model=close", true, true),
            ("/metrics", true, false),
            ("/v1/models", false, false),
        ] {
            let uri: Uri = target.parse().unwrap();
            assert_eq!((is_for_any_host(&uri), is_probe(&uri)), (for_any_host, probe), "{target}");
        }
    }

    #[test]
    fn only_this_machine_by_its_own_name_is_local() {
        let check = |peer: &str, pairs: &[(&'static str, &str)]| {
            loopback(Some(&Peer(peer.parse().unwrap())), &headers(pairs)).is_ok()
        };
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "localhost"] {
            assert!(check("127.0.0.1:4000", &[("host", host)]), "{host}");
        }
        assert!(check("[::ffff:127.0.0.1]:4000", &[("host", "localhost")]));
        for host in ["evil.example:8080", "10.0.0.3:8080", "", "localhost.evil.example"] {
            assert!(!check("127.0.0.1:4000", &[("host", host)]), "{host}");
        }
        assert!(!check("10.0.0.3:4000", &[("host", "localhost:8080")]));
        for name in ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "forwarded", "via"] {
            assert!(!check("127.0.0.1:4000", &[("host", "localhost"), (name, "1.1 proxy")]), "{name}");
        }
        assert!(loopback(None, &headers(&[("host", "localhost")])).is_err());
    }
}
