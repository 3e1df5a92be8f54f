//! `[serve]` and `[[route]]` as the pipeline file has them.

mod action;
mod page;
mod route;
mod template;
mod traffic;
mod view_route;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use axum::http::HeaderName;
use millstream_answer::views::QueryLimits;
use millstream_base::{Faults, Keys, Section, Takes, listen, size, time_span};
use millstream_stream::batch::{BatchRule, WindowTime};
use toml::Table;

pub use page::{CARD, PAGE, Shown, pages};
pub use route::{ROUTE, columns_and_parameters, routes};
pub use view_route::check_view_route;

use super::keys::RATE_MOST;
use super::{ImagesFrom, LogSettings, Serve, sites};

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
        ("keys", Takes::Text),
        ("read", Takes::Choice(&["open", "keys"])),
        ("open", Takes::Flag),
        ("rate", Takes::Whole(1, RATE_MOST as i64)),
        ("concurrency", Takes::Whole(1, CONCURRENCY_MOST)),
        ("tls", Takes::Table),
        ("log", Takes::Table),
    ],
    later: &[],
};

pub const LOG: Keys = Keys {
    known: &[
        ("share", Takes::Number),
        ("topic", Takes::Text),
        ("rows", Takes::Whole(1, i64::MAX)),
        ("window", Takes::Text),
    ],
    later: &[],
};

/// Of kept answers, unless it is said otherwise.
const LOG_WINDOW_MS: NonZeroU64 = NonZeroU64::new(3_600_000).unwrap();

pub const TLS: Keys = Keys { known: &[("cert", Takes::Text), ("key", Takes::Text)], later: &[] };

/// As many as there are connections.
const CONCURRENCY_MOST: i64 = 1024;

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
    let keys = section.filled_text("keys", faults).map(PathBuf::from);
    let is_open = section.flag("open", faults).unwrap_or_default();
    if !is_open && !section.has("keys") && !listen.ip().to_canonical().is_loopback() {
        let message = "others than this machine reach it, and there are no keys: name a file of them (serve.keys = \"keys.txt\", where \
            `millstream keys new` writes the lines), or let everybody read (serve.open = true)";
        section.fault("listen", message, faults);
    }
    let reads_by_key = section.choice("read", &[("open", false), ("keys", true)], faults).unwrap_or_default();
    if reads_by_key && !section.has("keys") {
        section.fault("read", "needs serve.keys, the file of the keys", faults);
    }
    let rate = section.whole("rate", "for no limit, remove it", faults);
    let concurrency = section.whole("concurrency", "", faults);
    Serve {
        listen,
        sites: sites(&section, faults),
        query: query_limits(&section, faults),
        images,
        keys,
        reads_by_key,
        rate: rate.and_then(|rate| NonZeroU32::new(u32::try_from(rate).ok()?)),
        concurrency: concurrency.and_then(|most| usize::try_from(most).ok()),
        tls: tls(&section, faults),
        log: log(&section, faults),
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

fn tls(section: &Section, faults: &mut Faults) -> Option<(PathBuf, PathBuf)> {
    let tls = Section::new(section.key("tls"), Some(section.table("tls", faults)?), &TLS, faults);
    let cert =
        tls.required_text("cert", "the file of the certificates, as PEM: the server's own, then those between", faults);
    let key = tls.required_text("key", "the file of the certificate's private key, as PEM", faults);
    Some((cert?.into(), key?.into()))
}

fn log(section: &Section, faults: &mut Faults) -> Option<LogSettings> {
    let log = Section::new(section.key("log"), Some(section.table("log", faults)?), &LOG, faults);
    let share = log.number("share", faults);
    if share.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
        log.fault("share", "must be above 0 and at most 1; to keep no answers, remove serve.log", faults);
    }
    let topic = log.filled_text("topic", faults).map(str::to_owned);
    let rows = log.whole("rows", "it counts the records of a batch", faults);
    let window = time_span(&log, "window", faults);
    if log.has("rows") && log.has("window") {
        log.fault("window", "batches are cut by rows or by window; keep one of them", faults);
    }
    let rows = rows.and_then(|rows| NonZeroU64::new(u64::try_from(rows).ok()?)).map(BatchRule::Rows);
    let length_ms = window.and_then(|window| NonZeroU64::new(u64::try_from(window.as_millis()).ok()?));
    let window = BatchRule::Window { length_ms: length_ms.unwrap_or(LOG_WINDOW_MS), time: WindowTime::Arrival };
    Some(LogSettings { share: share.unwrap_or(1.0), topic, rule: rows.unwrap_or(window) })
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
