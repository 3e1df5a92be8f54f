//! Counters in Prometheus' text format. Two dozen lines of our own: the exporter crates bring a recorder, a registry and
//! thirty dependencies for five families.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use millstream_model::registry::Version;

/// Upper bounds in seconds.
const BUCKETS: [f64; 11] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 10.0];

/// Versions of a model that have counters of their own.
const VERSIONS_MOST: usize = 50;
/// A version that nobody asked for so long makes room for another one.
const KEPT_UNASKED: Duration = Duration::from_secs(3 * 3600);

/// Behind one lock, which every request takes once and for a few nanoseconds.
#[derive(Default)]
pub struct Metrics(Mutex<RequestCounts>);

#[derive(Default, Clone)]
struct RequestCounts {
    /// By route pattern: a closed set, so its size is bounded.
    routes: BTreeMap<String, Requests>,
    /// Of models that there are.
    models: BTreeMap<String, OfVersions>,
}

#[derive(Default, Clone)]
struct OfVersions {
    /// With when each was asked last.
    versions: BTreeMap<u32, (Instant, Requests)>,
    /// Of those for which there was no room.
    others: Option<Requests>,
}

#[derive(Default, Clone)]
struct Requests {
    by_status: BTreeMap<u16, u64>,
    /// Not cumulative; the last one is beyond all bounds.
    buckets: [u64; BUCKETS.len() + 1],
    seconds: f64,
}

/// Of all routes, since the process began.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    pub count: u64,
    /// Answers of 400 and above.
    pub errors: u64,
    pub seconds: f64,
}

impl Metrics {
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for requests in self.counted().routes.values() {
            totals.count += requests.by_status.values().sum::<u64>();
            totals.errors += requests.by_status.range(400..).map(|(_, count)| count).sum::<u64>();
            totals.seconds += requests.seconds;
        }
        totals
    }

    /// `versions`: those that were asked. `is_named`: whether an alias, or `latest`, names one.
    pub fn count<'a>(
        &self,
        pattern: &str,
        status: StatusCode,
        elapsed: Duration,
        versions: impl Iterator<Item = &'a Version>,
        is_named: impl Fn(&Version) -> bool,
    ) {
        let mut counted = self.counted();
        let RequestCounts { routes, models } = &mut *counted;
        with(routes, pattern, |requests: &mut Requests| requests.add(status, elapsed));
        for version in versions {
            let (number, now) = (version.file.version, Instant::now());
            let add = |model: &mut OfVersions| model.of(number, now, || is_named(version)).add(status, elapsed);
            with(models, &version.file.model, add);
        }
    }

    fn counted(&self) -> MutexGuard<'_, RequestCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn render(&self, text: &mut String) {
        // No request waits while it is written.
        let RequestCounts { routes, models } = self.counted().clone();
        let by_route: Vec<(String, &Requests)> =
            routes.iter().map(|(route, requests)| (format!("route=\"{}\"", escape(route)), requests)).collect();
        let of_all = ("millstream_requests_total", "millstream_request_duration_seconds");
        render(text, of_all, "Requests answered", &by_route);
        let mut by_version = Vec::new();
        for (model, OfVersions { versions, others }) in &models {
            let labels = |version: &str| format!("model=\"{}\",version=\"{version}\"", escape(model));
            by_version.extend(versions.iter().map(|(number, (_, requests))| (labels(&number.to_string()), requests)));
            by_version.extend(others.iter().map(|requests| (labels("other"), requests)));
        }
        let of_models = ("millstream_model_requests_total", "millstream_model_request_duration_seconds");
        render(text, of_models, "Requests that a version answered or refused", &by_version);
    }
}

/// A name is copied when it first comes.
fn with<T: Default>(map: &mut BTreeMap<String, T>, name: &str, change: impl FnOnce(&mut T)) {
    match map.get_mut(name) {
        Some(known) => change(known),
        None => change(map.entry(name.to_owned()).or_default()),
    }
}

impl OfVersions {
    /// Where all have counters that may: in place of the one that was asked longest ago.
    fn of(&mut self, version: u32, now: Instant, is_named: impl FnOnce() -> bool) -> &mut Requests {
        if !self.versions.contains_key(&version) && self.versions.len() >= VERSIONS_MOST {
            let oldest = self.versions.iter().map(|(number, (asked, _))| (*asked, *number)).min();
            match oldest {
                Some((asked, oldest)) if now.saturating_duration_since(asked) >= KEPT_UNASKED || is_named() => {
                    self.versions.remove(&oldest);
                }
                _ => return self.others.get_or_insert_default(),
            }
        }
        let (asked, requests) = self.versions.entry(version).or_insert_with(|| (now, Requests::default()));
        *asked = now;
        requests
    }
}

impl Requests {
    fn add(&mut self, status: StatusCode, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        *self.by_status.entry(status.as_u16()).or_default() += 1;
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        self.buckets[bucket] += 1;
        self.seconds += seconds;
    }
}

/// `all`: with their labels.
fn render(text: &mut String, (total, duration): (&str, &str), help: &str, all: &[(String, &Requests)]) {
    head(text, total, "counter", help);
    for (labels, requests) in all {
        for (status, count) in &requests.by_status {
            line(text, format_args!("{total}{{{labels},status=\"{status}\"}} {count}"));
        }
    }
    head(text, duration, "histogram", "From the request's head to the answer's head");
    for (labels, requests) in all {
        let mut below = 0;
        for (bound, count) in BUCKETS.iter().zip(&requests.buckets) {
            below += count;
            line(text, format_args!("{duration}_bucket{{{labels},le=\"{bound}\"}} {below}"));
        }
        below += requests.buckets[BUCKETS.len()];
        line(text, format_args!("{duration}_bucket{{{labels},le=\"+Inf\"}} {below}"));
        line(text, format_args!("{duration}_sum{{{labels}}} {}", requests.seconds));
        line(text, format_args!("{duration}_count{{{labels}}} {below}"));
    }
}

pub fn family(text: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    head(text, name, kind, help);
    line(text, format_args!("{name} {value}"));
}

pub fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    line(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

pub fn line(text: &mut String, arguments: std::fmt::Arguments) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{arguments}");
}

pub fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(of: &OfVersions) -> u64 {
        of.others.iter().flat_map(|requests| requests.by_status.values()).sum()
    }

    #[test]
    fn so_many_versions_have_counters_and_make_room_when_nobody_asks_for_them() {
        let (mut of, begun) = (OfVersions::default(), Instant::now());
        let minute = |minute: u64| begun + Duration::from_secs(60 * minute);
        let ask = |of: &mut OfVersions, version: u32, at, is_named: bool| {
            of.of(version, at, || is_named).add(StatusCode::OK, Duration::from_millis(1));
        };
        (1..=10_000).for_each(|version| ask(&mut of, version, begun, false));
        assert_eq!((of.versions.len(), counted(&of)), (VERSIONS_MOST, 10_000 - 50));
        // The first is still asked for; 20,000 is what an alias names.
        ask(&mut of, 1, minute(1), false);
        ask(&mut of, 20_000, minute(2), true);
        assert!(
            of.versions.len() == VERSIONS_MOST && of.versions.contains_key(&1) && of.versions.contains_key(&20_000)
        );
        ask(&mut of, 30_000, minute(3), false);
        assert!(!of.versions.contains_key(&30_000));
        ask(&mut of, 30_000, minute(180), false);
        assert!(
            of.versions.len() == VERSIONS_MOST && of.versions.contains_key(&30_000) && of.versions.contains_key(&1)
        );
        assert_eq!(counted(&of), 10_000 - 50 + 1);
    }
}
