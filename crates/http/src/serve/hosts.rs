//! `serve.cors` and `serve.hosts`: whose pages may read the API, and by which names it answers. Knows how hosts are written.

use std::net::{Ipv4Addr, Ipv6Addr};

use millstream_base::{Faults, Section};

/// Who may ask from within a browser.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sites {
    /// Origins, as a browser writes them.
    pub cors: Vec<String>,
    /// Names beside `localhost`, in lower case.
    pub hosts: Vec<String>,
    /// Its own pages come by https, and by nothing else.
    pub is_tls: bool,
}

const NAME_BYTES_MOST: usize = 253;
const LABEL_BYTES_MOST: usize = 63;

pub fn sites(section: &Section, faults: &mut Faults) -> Sites {
    let (cors, hosts) = (each(section, "cors", origin, faults), each(section, "hosts", host_alone, faults));
    Sites { cors, hosts, is_tls: section.has("tls") }
}

fn each(
    section: &Section,
    key: &str,
    check: impl Fn(&str) -> Result<String, String>,
    faults: &mut Faults,
) -> Vec<String> {
    let texts = section.texts(key, faults).unwrap_or_default();
    let mut checked = Vec::with_capacity(texts.len());
    for text in texts {
        match check(&text) {
            Ok(text) => checked.push(text),
            Err(message) => section.fault(key, format!("{text:?} {message}"), faults),
        }
    }
    checked
}

/// As a browser writes it: scheme, host and port, in lower case, without the port that the scheme has anyway.
pub fn origin(text: &str) -> Result<String, String> {
    let rule = "is no origin; write scheme and host, such as \"https://app.example\" or \"http://localhost:3000\"";
    if text == "*" {
        return Err("stands for every site; name the sites that may read, such as \"https://app.example\"".to_owned());
    }
    let Some((scheme, rest)) = text.split_once("://") else { return Err(rule.to_owned()) };
    let scheme = scheme.to_ascii_lowercase();
    let usual = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return Err(format!("{rule}; the scheme is http or https")),
    };
    if rest.contains(['/', '?', '#']) {
        return Err(format!("{rule}, without a path"));
    }
    match host_and_port(rest) {
        Some((host, Some(port))) if port != usual => Ok(format!("{scheme}://{host}:{port}")),
        Some((host, _)) => Ok(format!("{scheme}://{host}")),
        None => Err(rule.to_owned()),
    }
}

fn host_alone(text: &str) -> Result<String, String> {
    match host_and_port(text) {
        Some((host, None)) if !text.ends_with(':') => Ok(host),
        Some(_) => Err("must have no port; a name is good with every port".to_owned()),
        None => Err("is no name of a host; write it alone, such as \"models.example\"".to_owned()),
    }
}

/// The parts of `host` or `host:port`: the host in lower case, without a dot at its end; an IPv6 address stays in brackets.
pub fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (format!("[{}]", address.parse::<Ipv6Addr>().ok()?), port)
        }
        None => {
            let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (host_name(name)?, port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        None => return None,
        Some("") => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    Some((host, port))
}

/// Whether a host, as `host_and_port` writes it, is an address: no name that could have been pointed here.
pub fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok()
}

fn host_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_label = |label: &str| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= LABEL_BYTES_MOST && label.bytes().all(is_letter)
    };
    let is_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    let is_good = match is_number {
        // What ends in a number is an IPv4 address, or nothing.
        true => name.parse::<Ipv4Addr>().is_ok(),
        false => name.len() <= NAME_BYTES_MOST && name.split('.').all(is_label),
    };
    is_good.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_in_one_form() {
        let check = |text: &str, expected: Option<(&str, Option<u16>)>| {
            assert_eq!(host_and_port(text), expected.map(|(host, port)| (host.to_owned(), port)), "{text:?}");
        };
        check("Models.Example:8080", Some(("models.example", Some(8080))));
        check("models.example.", Some(("models.example", None)));
        check("127.0.0.1:1", Some(("127.0.0.1", Some(1))));
        check("[::1]:8080", Some(("[::1]", Some(8080))));
        check("[0:0::1]", Some(("[::1]", None)));
        check("localhost:", Some(("localhost", None)));
        let none = [
            "",
            ".",
            "::1",
            "a..b",
            "a b",
            "user@a",
            "a/b",
            "a:b",
            "a:+1",
            "a:99999",
            "1.2.3",
            "0x7f.1",
            "2130706433",
            "[::1",
            "[::1]x",
            "[fe80::1%eth0]",
            "é.example",
        ];
        for none in none {
            check(none, None);
        }
    }

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        let check = |text: &str, expected: &str| assert_eq!(origin(text).as_deref(), Ok(expected), "{text:?}");
        check("https://App.example:443", "https://app.example");
        check("http://localhost:3000", "http://localhost:3000");
        check("HTTP://[::1]:80", "http://[::1]");
        for (text, word) in [
            ("*", "every site"),
            ("null", "no origin"),
            ("app.example", "no origin"),
            ("https://", "no origin"),
            ("https://a/", "without a path"),
            ("ftp://a", "http or https"),
            ("https://u@a", "no origin"),
            ("https://*.a", "no origin"),
        ] {
            assert!(origin(text).unwrap_err().contains(word), "{text:?}");
        }
        assert!(host_alone("a.example:80").unwrap_err().contains("no port"));
        assert!(host_alone("https://a").unwrap_err().contains("alone"));
    }
}
