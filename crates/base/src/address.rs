//! Where a server listens: `listen` keys.

use std::net::{IpAddr, SocketAddr};

use crate::{Faults, Section};

/// The `listen` key of a section, as an address.
pub fn listen(section: &Section, faults: &mut Faults) -> Option<SocketAddr> {
    let text = section.filled_text("listen", faults)?;
    let address = address(text);
    if let Err(message) = &address {
        section.fault("listen", message.clone(), faults);
    }
    address.ok()
}

/// `host:port` with a numeric host, or `localhost`. A port of 0 takes a free one.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.replacen("localhost", "127.0.0.1", 1).parse() {
        return Ok(address);
    }
    let hint = match text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        Ok(port) => format!("; did you mean \"127.0.0.1:{port}\"?"),
        Err(_) => String::new(),
    };
    Err(format!("must be an IP address and a port, such as \"127.0.0.1:8080\" or \"0.0.0.0:8080\"{hint}"))
}

/// `host:port` to connect to; a host of IPv6 digits stands in brackets.
pub fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = match parts {
        Some((host, port @ 1..)) if !host.is_empty() => (host.trim_matches(['[', ']']).to_owned(), port),
        Some(_) | None => return Err("expected host:port with a port between 1 and 65535".to_owned()),
    };
    match host.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => Err(format!(
            "{host} is an address to listen on, and none to connect to: name this machine as its clients do"
        )),
        Ok(_) | Err(_) => Ok((host, port)),
    }
}
