//! Who may ask from within a browser: pages of this server, and of the origins that `serve.cors` names.
//!
//! A page of any site can make a browser send requests to this machine. Two things tell them apart: the request has the `Origin` of
//! its page, and where the site's own name was pointed here (DNS rebinding) it has that name as its `Host`.

use std::net::SocketAddr;

use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use millstream_untrusted::inference::request::HEADER_LENGTH;

use super::error::{ApiError, shortened};
use super::request_id::REQUEST_ID;
use super::settings::Serve;
use crate::serve::{Sites, host_and_port, is_address, origin};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// An origin of another site that may read the answer.
pub type Reader = Option<HeaderValue>;

/// Lets a request in, or says which line of the pipeline file would.
pub fn admit<B>(sites: &Sites, request: &Request<B>) -> Result<Reader, ApiError> {
    let headers = request.headers();
    let host = match (only(headers, &header::HOST)?, request.uri().authority()) {
        // A target with a host in it stands for the header, and both must be ours.
        (host, Some(target)) => {
            host.map(|host| ours(sites, host)).transpose()?;
            Some(target.as_str())
        }
        (host, None) => host,
    };
    let Some(host) = host else {
        return match request.version() < Version::HTTP_11 {
            // No browser speaks it: a probe of an old kind.
            true => Ok(None),
            false => Err(ApiError::bad_request("the header Host must name this server")),
        };
    };
    ours(sites, host)?;
    match only(headers, &header::ORIGIN)? {
        Some(origin) => of_origin(sites, host, origin),
        None => without_origin(sites, request.method(), headers).map(|()| None),
    }
}

/// What of a header stands there once; several are a fault, for one of them is not what we look at.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(ApiError::bad_request(format!("the header {name} is no text"))),
        },
        (Some(_), Some(_)) => Err(ApiError::bad_request(format!("the header {name} is given more than once"))),
    }
}

fn ours(sites: &Sites, host: &str) -> Result<(), ApiError> {
    // Most requests; and nothing is allocated for them.
    if host.parse::<SocketAddr>().is_ok() {
        return Ok(());
    }
    let Some((name, _)) = host_and_port(host) else {
        return Err(ApiError::bad_request(format!("the header Host is no name of a host: {:?}", shortened(host))));
    };
    if name == "localhost" || is_address(&name) || sites.hosts.contains(&name) {
        return Ok(());
    }
    let name = shortened(&name);
    let message = format!(
        "this server does not answer to the name {name}; if it is one of its own, add it to the pipeline file: \
        serve.hosts = [\"{name}\"]"
    );
    Err(ApiError::forbidden("host", message))
}

fn of_origin(sites: &Sites, host: &str, given: &str) -> Result<Reader, ApiError> {
    // Of a sandboxed frame or a file it is "null", which is nobody's.
    let Ok(origin) = origin(given) else { return Err(foreign(given)) };
    if is_same(sites, &origin, host) {
        return Ok(None);
    }
    if !sites.cors.contains(&origin) {
        return Err(foreign(given));
    }
    HeaderValue::from_str(given).map(Some).map_err(|_| foreign(given))
}

/// Whether a page of this origin is of this server; behind a proxy it may have come by https. With TLS one that came without is not: whoever is on the way
/// could have made it.
fn is_same(sites: &Sites, origin: &str, host: &str) -> bool {
    let Some((scheme, site)) = origin.split_once("://") else { return false };
    if sites.is_tls && scheme != "https" {
        return false;
    }
    let usual = if scheme == "https" { 443 } else { 80 };
    let parts = |text| host_and_port(text).map(|(host, port)| (host, port.unwrap_or(usual)));
    parts(site).is_some_and(|site| Some(site) == parts(host))
}

/// Whether no page of another site asks, as far as a browser says it: also of those that may read.
pub fn is_of_own_page(sites: &Sites, headers: &HeaderMap) -> bool {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match (text(&header::ORIGIN), text(&header::HOST)) {
        (None, _) => !matches!(text(&SEC_FETCH_SITE), Some("cross-site" | "same-site")),
        (Some(given), host) => origin(given).is_ok_and(|origin| host.is_some_and(|host| is_same(sites, &origin, host))),
    }
}

fn foreign(origin: &str) -> ApiError {
    let origin = shortened(origin);
    let message = format!(
        "a page of {origin} may not ask this server: it is another site; if it may, add it to the pipeline \
        file: serve.cors = [\"{origin}\"]"
    );
    ApiError::forbidden("origin", message)
}

/// A picture, a script or a form of another site's page has no `Origin`; what browsers say of it instead. A link that a person
/// follows is no such thing. With `serve.cors` it may be of one of those, which nothing tells: it cannot read the answer anyway.
fn without_origin(sites: &Sites, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
    let says = |name: &HeaderName, words: &[&str]| {
        headers.get(name).is_some_and(|value| words.iter().any(|word| value == word))
    };
    let is_foreign = says(&SEC_FETCH_SITE, &["cross-site", "same-site"]);
    let is_link = says(&SEC_FETCH_MODE, &["navigate"]) && (method == Method::GET || method == Method::HEAD);
    if is_foreign && !is_link && sites.cors.is_empty() {
        let message = "a page of another site may not ask this server; if it may, add it to the pipeline file: serve.cors = [\"https://…\"]";
        return Err(ApiError::forbidden("origin", message));
    }
    Ok(())
}

/// Says on the answer who may read it.
pub fn mark<B>(sites: &Sites, reader: Reader, response: &mut Response<B>) {
    let headers = response.headers_mut();
    if !sites.cors.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    let Some(reader) = reader else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, reader);
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "x-model-version, x-model-alias, x-request-id, retry-after, inference-header-content-length",
        ),
    );
}

/// With TLS, browsers that came by a name of the pipeline file come by https from then on. `localhost` is everybody's, and addresses have no such thing.
pub fn is_for_ever_https(sites: &Sites, headers: &HeaderMap) -> bool {
    if !sites.is_tls {
        return false;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).and_then(host_and_port);
    host.is_some_and(|(name, _)| sites.hosts.contains(&name))
}

/// Of OPTIONS, what scripts of another origin may send here.
pub fn preflight(allow: &'static str, serve: &Serve, asked: &HeaderMap, headers: &mut HeaderMap) {
    headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    if !asked.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        return;
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(allow));
    let length = HeaderName::from_static(HEADER_LENGTH);
    let own = [header::CONTENT_TYPE, REQUEST_ID, serve.split_header.clone(), length].into_iter();
    for name in own.chain(serve.keys.is_some().then_some(header::AUTHORIZATION)) {
        headers.append(header::ACCESS_CONTROL_ALLOW_HEADERS, name.into());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    if asked.contains_key("access-control-request-private-network") {
        headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites() -> Sites {
        let [cors, hosts] = ["https://app.example", "models.example"].map(|one| vec![one.to_owned()]);
        Sites { cors, hosts, is_tls: false }
    }

    fn asked(sites: &Sites, target: &str, pairs: &[(&str, &str)]) -> Result<Option<String>, (u16, String)> {
        let mut request = Request::get(target);
        for (name, value) in pairs {
            request = request.header(*name, *value);
        }
        let admitted = admit(sites, &request.body(()).unwrap());
        let reader = admitted.map_err(|error| (error.status.as_u16(), error.message))?;
        Ok(reader.map(|reader| reader.to_str().unwrap().to_owned()))
    }

    #[test]
    fn only_names_of_the_server_are_answered() {
        let check = |hosts: &[&str], expected: Result<Option<String>, u16>| {
            let pairs: Vec<(&str, &str)> = hosts.iter().map(|host| ("host", *host)).collect();
            assert_eq!(asked(&sites(), "/", &pairs).map_err(|(status, _)| status), expected, "{hosts:?}");
        };
        for host in [
            "localhost",
            "LocalHost:8080",
            "localhost.",
            "127.0.0.1:1",
            "10.1.2.3",
            "[::1]:8080",
            "[2001:db8::1]",
            "models.example",
            "Models.Example.:443",
        ] {
            check(&[host], Ok(None));
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "models.example.evil",
            "127.0.0.1.evil.example",
            "xmodels.example",
            "foo.localhost",
        ] {
            check(&[host], Err(403));
        }
        for host in
            ["", "user@localhost", "localhost:80:80", "localhost, evil.example", "::1", "[::1", "1.2.3", "localhost/"]
        {
            check(&[host], Err(400));
        }
        check(&[], Err(400));
        check(&["localhost", "localhost"], Err(400));
        let (_, message) = asked(&sites(), "/", &[("host", "New.example:80")]).unwrap_err();
        assert!(message.contains(r#"serve.hosts = ["new.example"]"#), "{message}");
    }

    #[test]
    fn the_target_of_a_request_counts_as_its_host() {
        let check = |target, host| asked(&sites(), target, &[("host", host)]).map_err(|(status, _)| status);
        assert_eq!(check("http://localhost:8080/", "localhost:8080"), Ok(None));
        assert_eq!(check("http://evil.example/", "localhost"), Err(403));
        assert_eq!(check("http://localhost/", "evil.example"), Err(403));
        let mut old = Request::get("/").body(()).unwrap();
        *old.version_mut() = Version::HTTP_10;
        assert!(admit(&sites(), &old).is_ok(), "a probe without a Host");
        old.headers_mut().insert("host", HeaderValue::from_static("evil.example"));
        assert!(admit(&sites(), &old).is_err());
    }

    #[test]
    fn a_page_of_another_site_is_refused_unless_it_is_named() {
        let check = |host: &str, origin: &str| {
            asked(&sites(), "/", &[("host", host), ("origin", origin)]).map_err(|(status, _)| status)
        };
        for (host, origin) in [
            ("localhost:8080", "http://localhost:8080"),
            ("localhost", "http://localhost"),
            ("localhost:80", "http://localhost"),
            ("models.example", "https://models.example"),
            ("models.example:443", "https://models.example"),
            ("[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(check(host, origin), Ok(None), "{host} {origin}");
        }
        assert_eq!(check("localhost:8080", "https://app.example"), Ok(Some("https://app.example".to_owned())));
        for origin in [
            "http://localhost:3000",
            "http://localhost",
            "http://127.0.0.1:8080",
            "https://app.example:444",
            "http://app.example",
            "https://app.example.evil",
            "null",
            "",
            "file://",
            "chrome-extension://x",
            "http://localhost:8080/",
            "https://app.example https://evil.example",
        ] {
            assert_eq!(check("localhost:8080", origin), Err(403), "{origin}");
        }
        let both = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://evil.example")];
        assert!(asked(&sites(), "/", &both).is_err(), "one of two origins is another site");
        let (_, message) =
            asked(&sites(), "/", &[("host", "localhost"), ("origin", "https://new.example")]).unwrap_err();
        assert!(message.contains(r#"serve.cors = ["https://new.example"]"#), "{message}");
    }

    #[test]
    fn with_tls_a_page_that_came_without_is_another_sites() {
        let tls = Sites { is_tls: true, ..sites() };
        let check = |origin: &str, is_own: bool| {
            let pairs = [("host", "models.example:8443"), ("origin", origin)];
            assert_eq!(asked(&tls, "/", &pairs).is_ok(), is_own, "{origin}");
            let headers: HeaderMap =
                pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            assert_eq!(is_of_own_page(&tls, &headers), is_own, "{origin}");
        };
        check("https://models.example:8443", true);
        for origin in ["http://models.example:8443", "https://models.example", "http://models.example"] {
            check(origin, false);
        }
        let for_ever = |sites: &Sites, host: &str| {
            is_for_ever_https(sites, &[(header::HOST, host.parse().unwrap())].into_iter().collect())
        };
        assert!(for_ever(&tls, "models.example:8443") && !for_ever(&sites(), "models.example"));
        assert!(!for_ever(&tls, "localhost:8443") && !for_ever(&tls, "127.0.0.1"));
    }

    #[test]
    fn what_another_sites_page_embeds_is_refused_and_its_links_are_not() {
        let check = |sites: &Sites, site: &str, mode: &str| {
            asked(sites, "/v1/views/x", &[("host", "localhost"), ("sec-fetch-site", site), ("sec-fetch-mode", mode)])
                .is_ok()
        };
        let none = Sites::default();
        assert!(
            check(&none, "same-origin", "cors")
                && check(&none, "none", "navigate")
                && check(&none, "cross-site", "navigate")
        );
        assert!(!check(&none, "cross-site", "no-cors") && !check(&none, "same-site", "cors"));
        assert!(check(&sites(), "cross-site", "no-cors"));
    }
}
