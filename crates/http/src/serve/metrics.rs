//! Counters in Prometheus' text format. Two dozen lines of our own: the exporter crates bring a recorder, a registry and
//! thirty dependencies for five families.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use millstream_base::status::Snapshot;
use millstream_model::registry::Served;
use millstream_stream::batch::Batch;

/// Upper bounds in seconds.
const BUCKETS: [f64; 11] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 10.0];

#[derive(Default)]
pub struct Metrics {
    /// By route pattern: a closed set, so its size is bounded. The lock is held for a few nanoseconds.
    routes: Mutex<BTreeMap<String, Requests>>,
}

#[derive(Default)]
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
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut totals = Totals::default();
        for requests in routes.values() {
            totals.count += requests.by_status.values().sum::<u64>();
            totals.errors += requests.by_status.range(400..).map(|(_, count)| count).sum::<u64>();
            totals.seconds += requests.seconds;
        }
        totals
    }

    pub fn count(&self, pattern: &str, status: StatusCode, elapsed: Duration) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if !routes.contains_key(pattern) {
            routes.insert(pattern.to_owned(), Requests::default());
        }
        let Some(requests) = routes.get_mut(pattern) else { return };
        let seconds = elapsed.as_secs_f64();
        *requests.by_status.entry(status.as_u16()).or_default() += 1;
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        requests.buckets[bucket] += 1;
        requests.seconds += seconds;
    }

    /// With the gauges of the rest of the process. `batches`: `None` where they are not known.
    pub fn render(&self, status: &Snapshot, served: &Served, batches: Option<&[Batch]>) -> String {
        let mut text = String::with_capacity(4096);
        self.render_requests(&mut text);
        let (sent, rejects) = (status.source.rows_sent, status.batch.rejects_total);
        family(&mut text, "millstream_rows_sent_total", "counter", "Records sent to the topic", sent);
        family(&mut text, "millstream_rejects_total", "counter", "Records that do not fit the schema", rejects);
        if let Some(batches) = batches {
            let rows: u64 = batches.iter().map(Batch::rows).sum();
            family(&mut text, "millstream_batches", "gauge", "Complete batches", batches.len());
            family(&mut text, "millstream_batch_rows", "gauge", "Rows in complete batches", rows);
        }
        let broker = u8::from(status.broker.reachable);
        family(&mut text, "millstream_broker_reachable", "gauge", "1 while the broker answers", broker);
        head(&mut text, "millstream_versions", "gauge", "Versions served");
        for model in served.models.values() {
            let (name, versions) = (escape(&model.name), model.n_versions());
            line(&mut text, format_args!("millstream_versions{{model=\"{name}\"}} {versions}"));
        }
        text
    }

    fn render_requests(&self, text: &mut String) {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        head(text, "millstream_requests_total", "counter", "Requests answered");
        for (route, requests) in routes.iter() {
            for (status, count) in &requests.by_status {
                let route = escape(route);
                let labels = format_args!("route=\"{route}\",status=\"{status}\"");
                line(text, format_args!("millstream_requests_total{{{labels}}} {count}"));
            }
        }
        let name = "millstream_request_duration_seconds";
        head(text, name, "histogram", "From the request's head to the answer's head");
        for (route, requests) in routes.iter() {
            let route = escape(route);
            let mut total = 0;
            for (bound, count) in BUCKETS.iter().zip(&requests.buckets) {
                total += count;
                line(text, format_args!("{name}_bucket{{route=\"{route}\",le=\"{bound}\"}} {total}"));
            }
            total += requests.buckets[BUCKETS.len()];
            line(text, format_args!("{name}_bucket{{route=\"{route}\",le=\"+Inf\"}} {total}"));
            line(text, format_args!("{name}_sum{{route=\"{route}\"}} {}", requests.seconds));
            line(text, format_args!("{name}_count{{route=\"{route}\"}} {total}"));
        }
    }
}

/// Of models that somebody asked for it: nothing is computed for this.
pub fn add_drift(text: &mut String, newest: &BTreeMap<String, f64>) {
    head(text, "millstream_drift_psi", "gauge", "Largest stability index of the newest batch that was compared");
    for (model, psi) in newest {
        let model = escape(model);
        line(text, format_args!("millstream_drift_psi{{model=\"{model}\"}} {psi}"));
    }
}

fn family(text: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    head(text, name, kind, help);
    line(text, format_args!("{name} {value}"));
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    line(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

fn line(text: &mut String, arguments: std::fmt::Arguments) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{arguments}");
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
