//! Who may ask for what not everybody may: whoever is on this machine, by no other name of it. What pages of other sites may ask is
//! decided before (`site`).

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, header};

use super::error::ApiError;
use super::site::is_of_own_page;
use crate::serve::host_and_port;

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// What tells how the process is, and nothing of its data: answered to everybody, and when nothing else is.
pub fn is_health(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/metrics" | "/ping" | "/v2/health/live" | "/v2/health/ready")
}

/// A header that only a proxy sends: the client is somewhere else.
fn is_of_a_proxy(name: &HeaderName) -> bool {
    let name = name.as_str();
    name == "forwarded" || name == "via" || name == "x-real-ip" || name.starts_with("x-forwarded-")
}

/// SQL of requests: from this machine, to this machine.
pub fn loopback(peer: Option<&Peer>, headers: &HeaderMap) -> Result<(), ApiError> {
    let message =
        "SQL is answered on this machine alone, at 127.0.0.1 or localhost; for others, write it as a [[view]]";
    if is_local(peer, headers) { Ok(()) } else { Err(ApiError::forbidden("not_local", message)) }
}

/// What changes something: from this machine, to this machine, and by no page of another site, whatever that may read.
pub fn change(peer: Option<&Peer>, headers: &HeaderMap) -> Result<(), ApiError> {
    if !is_local(peer, headers) {
        let message = "what is served is changed on this machine alone, at 127.0.0.1 or localhost; elsewhere `millstream models promote` and `rollback` do it";
        return Err(ApiError::forbidden("not_local", message));
    }
    if !is_of_own_page(headers) {
        let message = "a page of another site changes nothing here; serve.cors lets it read";
        return Err(ApiError::forbidden("origin", message));
    }
    Ok(())
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
