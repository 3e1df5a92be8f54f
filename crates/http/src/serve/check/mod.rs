//! `[serve]` and `[[route]]` as the pipeline file has them.

mod action;
mod page;
mod route;
mod template;
mod traffic;
mod view_route;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::http::HeaderName;
use millstream_answer::views::QueryLimits;
use millstream_base::{Faults, Keys, Section, Takes, listen, size};
use toml::Table;

pub use page::{CARD, PAGE, Shown, pages};
pub use route::{ROUTE, columns_and_parameters, routes};
pub use view_route::check_view_route;

use super::{ImagesFrom, Serve, sites};

pub const SERVE: Keys = Keys {
    known: &[
        ("listen", Takes::Text),
        ("cors", Takes::Texts),
        ("hosts", Takes::Texts),
        ("images", Takes::Choice(&["linked", "drawn"])),
        ("query", Takes::Flag),
        ("query_seconds", Takes::Number),
        ("query_rows", Takes::Whole(1, QUERY_ROWS_MOST)),
        ("query_memory", Takes::Text),
        ("access_log", Takes::Flag),
        ("split_header", Takes::Text),
    ],
    later: &[("keys", "bind serve.listen to an address that only you reach")],
};

/// A longer query is no request's.
const QUERY_SECONDS_MOST: f64 = 3600.0;

/// More rows are no page's.
const QUERY_ROWS_MOST: i64 = 1_000_000;

/// Less would not hold a block of rows.
const QUERY_BYTES_LEAST: u64 = 16 << 20;

const DEFAULT_SERVE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

pub fn serve(root: &Table, faults: &mut Faults) -> Serve {
    let section = Section::of_root(root, "serve", &SERVE, faults);
    let listen = listen(&section, faults).unwrap_or(DEFAULT_SERVE);
    let images = [("linked", ImagesFrom::Anywhere), ("drawn", ImagesFrom::Here)];
    let images = section.choice("images", &images, faults).unwrap_or_default();
    Serve {
        listen,
        sites: sites(&section, faults),
        query: query_limits(&section, faults),
        images,
        access_log: section.flag("access_log", faults).unwrap_or_default(),
        split_header: split_header(&section, faults).unwrap_or(SPLIT_HEADER),
        traffic: traffic::traffic(root, faults),
    }
}

pub const SPLIT_HEADER: HeaderName = HeaderName::from_static("x-split-key");

fn split_header(section: &Section, faults: &mut Faults) -> Option<HeaderName> {
    let name = section.filled_text("split_header", faults)?;
    let header = HeaderName::from_bytes(name.as_bytes()).ok();
    if header.is_none() {
        section.fault("split_header", "must be the name of a header, such as \"x-split-key\"", faults);
    }
    header
}

fn query_limits(section: &Section, faults: &mut Faults) -> QueryLimits {
    let mut limits = QueryLimits::default();
    limits.from_requests = section.flag("query", faults).unwrap_or(limits.from_requests);
    match section.number("query_seconds", faults) {
        Some(seconds) if seconds > 0.0 && seconds <= QUERY_SECONDS_MOST => {
            limits.time = Duration::from_secs_f64(seconds)
        }
        Some(_) => section.fault("query_seconds", format!("must be above 0 and at most {QUERY_SECONDS_MOST}"), faults),
        None => {}
    }
    if let Some(rows) = section.whole("query_rows", "", faults) {
        limits.rows = usize::try_from(rows).unwrap_or(limits.rows);
    }
    match section.text("query_memory", faults).map(size) {
        Some(Ok(bytes)) if bytes >= QUERY_BYTES_LEAST => {
            limits.memory_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        Some(Ok(_)) => section.fault("query_memory", "must be at least \"16MiB\"", faults),
        Some(Err(message)) => section.fault("query_memory", message, faults),
        None => {}
    }
    limits
}
