//! Who may ask for what not everybody may: whoever is on this machine, by no page of another site.
//!
//! A page of any site can make a browser send requests to this machine. What tells them apart: such a request has the `Origin` of its
//! page, and one whose name was pointed here afterwards has that name as its `Host`.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, header};

use super::error::ApiError;

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// What tells how the process is, and nothing of its data: answered to everybody, and when nothing else is.
pub fn is_health(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/metrics")
}

/// A header that only a proxy sends: the client is somewhere else.
fn is_of_a_proxy(name: &HeaderName) -> bool {
    let name = name.as_str();
    name == "forwarded" || name == "via" || name == "x-real-ip" || name.starts_with("x-forwarded-")
}

/// A JSON content type, and an `Origin`, if any, that is the `Host`: no form and no script of another site sends such a request.
pub fn same_site(headers: &HeaderMap) -> Result<(), ApiError> {
    if !headers.contains_key(header::CONTENT_TYPE) {
        return Err(ApiError::content_type("nothing"));
    }
    super::body::require_json(headers)?;
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(host) = text(header::HOST).filter(|_| headers.get_all(header::HOST).iter().count() == 1) else {
        return Err(ApiError::bad_request("the header Host must name this server, once"));
    };
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return Ok(()) };
    let only = origins.next().is_none().then_some(origin);
    let site = only.and_then(|origin| origin.to_str().ok()?.split_once("://")).map(|(_, site)| site);
    if site.is_some_and(|site| site.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    Err(ApiError::forbidden("origin", "a page of another site may not ask this: its Origin is not this server's Host"))
}

/// From this machine, to this machine by one of its own names.
pub fn loopback(peer: Option<&Peer>, headers: &HeaderMap) -> Result<(), ApiError> {
    let is_local = |address: IpAddr| address.to_canonical().is_loopback();
    let from_here = peer.is_some_and(|Peer(address)| is_local(address.ip()));
    let by_proxy = headers.keys().any(is_of_a_proxy);
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let to_here = name.eq_ignore_ascii_case("localhost") || address.is_ok_and(is_local);
    if from_here && to_here && !by_proxy {
        return Ok(());
    }
    let message =
        "SQL is answered on this machine alone, at 127.0.0.1 or localhost; for others, write it as a [[view]]";
    Err(ApiError::forbidden("not_local", message))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        let json = ("content-type", "application/json");
        let check = |pairs: &[(&'static str, &str)]| same_site(&headers(pairs)).map_err(|error| error.status.as_u16());
        assert_eq!(check(&[json, ("host", "localhost:8080")]), Ok(()));
        assert_eq!(check(&[json, ("host", "localhost:8080"), ("origin", "http://localhost:8080")]), Ok(()));
        assert_eq!(check(&[json, ("host", "localhost:8080"), ("origin", "http://evil.example")]), Err(403));
        assert_eq!(check(&[json, ("host", "localhost:8080"), ("origin", "null")]), Err(403));
        let mut twice = headers(&[json, ("host", "localhost:8080"), ("origin", "http://localhost:8080")]);
        twice.append(header::ORIGIN, "http://evil.example".parse().unwrap());
        assert!(same_site(&twice).is_err(), "one of two origins is another site");
        assert_eq!(check(&[("content-type", "text/plain"), ("host", "localhost:8080")]), Err(415));
        assert_eq!(check(&[("host", "localhost:8080")]), Err(415));
        assert_eq!(check(&[json]), Err(400));
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
