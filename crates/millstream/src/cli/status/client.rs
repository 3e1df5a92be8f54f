//! Asks one server for JSON: in bounded time and memory, following no redirect. HTTP is `reqwest`, which the store on S3 has already.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};
use serde_json::Value;

use crate::cli::table::plain;

const CONNECT_MOST: Duration = Duration::from_secs(3);
/// From the first byte of a request to the last one of its answer.
const ANSWER_MOST: Duration = Duration::from_secs(5);
/// A version of a hundred thousand batches has a megabyte.
const ANSWER_BYTES_MOST: usize = 4 << 20;
const MESSAGE_CHARS_MOST: usize = 300;

pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<HeaderValue>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("MILLSTREAM_KEY is no key: it has characters that no header takes")]
    Key,
    #[error("{url} cannot be reached")]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{url} answers {status}{message}")]
    Refused { url: String, status: StatusCode, message: String },
    #[error("{url} answers more than {ANSWER_BYTES_MOST} bytes: no Millstream does")]
    TooLarge { url: String },
    #[error("{url} answers what is no JSON: is it a Millstream?")]
    NotJson { url: String },
}

/// `host:port`, or a URL of http or https, as the address of a server: without a slash at its end.
pub fn server_url(text: &str) -> Result<String, String> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&with_scheme).ok().filter(|url| url.has_host());
    let url = url.ok_or_else(|| "expected an address, such as http://127.0.0.1:8080".to_owned())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("expected an address of http or https".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address says no password: MILLSTREAM_KEY holds the key".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("expected the address of the server alone, without ? and #".to_owned());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

impl Client {
    pub fn new(base: &str, key: Option<String>) -> Result<Self, ClientError> {
        let key = key.filter(|key| !key.is_empty()).map(|key| HeaderValue::try_from(format!("Bearer {key}")));
        let mut key = key.transpose().map_err(|_| ClientError::Key)?;
        if let Some(key) = &mut key {
            key.set_sensitive(true);
        }
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("millstream/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .http1_only()
            .connect_timeout(CONNECT_MOST)
            .timeout(ANSWER_MOST);
        if is_of_this_machine(base) {
            // No proxy of the environment leads there.
            http = http.no_proxy();
        }
        let http = http.build().map_err(|source| ClientError::Unreachable { url: base.to_owned(), source })?;
        Ok(Self { http, base: base.to_owned(), key })
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        let url = || format!("{}{path}", self.base);
        let unreachable =
            |source: reqwest::Error| ClientError::Unreachable { url: url(), source: source.without_url() };
        let mut request = self.http.get(url());
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.clone());
        }
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MOST {
                return Err(ClientError::TooLarge { url: url() });
            }
            body.extend_from_slice(&chunk);
        }
        let answer: Option<Value> = serde_json::from_slice(&body).ok();
        if status != StatusCode::OK {
            let said = answer.as_ref().and_then(|answer| answer.pointer("/error/message")?.as_str());
            let said = said.map(|said| plain(said).chars().take(MESSAGE_CHARS_MOST).collect::<String>());
            let message = match (said, status) {
                (Some(said), _) => format!(": {said}"),
                (None, StatusCode::UNAUTHORIZED) => ": MILLSTREAM_KEY holds the key to send".to_owned(),
                (None, _) => String::new(),
            };
            return Err(ClientError::Refused { url: url(), status, message });
        }
        answer.ok_or_else(|| ClientError::NotJson { url: url() })
    }
}

fn is_of_this_machine(base: &str) -> bool {
    let host = Url::parse(base).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_host_and_port_or_a_url_without_secrets() {
        let check = |text: &str, expected: &str| assert_eq!(server_url(text).as_deref(), Ok(expected), "{text}");
        check("127.0.0.1:8080", "http://127.0.0.1:8080");
        check("https://ml.example/", "https://ml.example");
        check("http://[::1]:80/below/", "http://[::1]/below");
        check("localhost", "http://localhost");
        for (text, word) in [
            ("", "such as"),
            ("http://", "such as"),
            ("ftp://a", "http or https"),
            ("http://a:b@c", "MILLSTREAM_KEY"),
            ("http://a/?b", "without ?"),
        ] {
            assert!(server_url(text).is_err_and(|said| said.contains(word)), "{text}");
        }
        assert!(is_of_this_machine("http://[::1]:8080") && is_of_this_machine("http://127.0.0.2"));
        assert!(!is_of_this_machine("http://127.0.0.1.example"));
    }
}
