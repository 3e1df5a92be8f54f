//! The upper half of the page: where the stream is, and the batches so far.

use maud::{Markup, html};

use super::format;
use crate::serve::ApiError;
use millstream_base::status::Snapshot;
use millstream_model::registry::{Served, ServedModel};
use millstream_stream::batch::Batch;

/// More rows make the page long, not clearer; `/v1/batches` has all.
const BATCHES_SHOWN: usize = 12;

/// `batches`: or why they are not known.
pub fn state(snapshot: &Snapshot, served: &Served, batches: Result<&[Batch], &ApiError>) -> Markup {
    let n_versions: usize = served.models.values().map(ServedModel::n_versions).sum();
    let problems: Vec<&String> = snapshot.problems.iter().rev().chain(&served.problems).collect();
    html! {
        section #state aria-label="State" data-state=(snapshot.state) {
            div .headline {
                span .badge data-state=(snapshot.state) { (state_word(&snapshot.state)) }
                @if !snapshot.broker.address.is_empty() {
                    span .muted {
                        "broker " (snapshot.broker.address)
                        @if !snapshot.broker.reachable { strong .bad { " not reachable" } }
                    }
                }
            }
            div .cards {
                (source_card(snapshot))
                (open_batch_card(snapshot))
                div .card {
                    h3 { "Batches" }
                    @match batches {
                        Ok(batches) => {
                            p .figure { (format::count(batches.len() as u64)) }
                            p .muted { (format::count(batches.iter().map(Batch::rows).sum())) " rows, exactly once" }
                        }
                        Err(error) => p .bad { (why(error).0) },
                    }
                }
                div .card {
                    h3 { "Versions" }
                    p .figure { (format::count(n_versions as u64)) }
                    p .muted { (training_text(snapshot, served)) }
                }
            }
            @if !problems.is_empty() {
                div .notice role="status" {
                    h3 { "Needs attention" }
                    ul { @for problem in problems.iter().take(10) { li { (problem) } } }
                }
            }
        }
    }
}

/// Why the batches are not shown, and what more there is to say.
fn why(error: &ApiError) -> (&'static str, &'static str) {
    match error.code {
        "loading" => ("are still being read", "."),
        _ => ("cannot be read", ": see what needs attention above."),
    }
}

fn state_word(state: &str) -> &str {
    match state {
        "starting" => "Starting",
        "running" => "Running",
        "done" => "Done",
        "stopping" => "Stopping",
        "failed" => "Failed",
        other => other,
    }
}

fn source_card(snapshot: &Snapshot) -> Markup {
    let source = &snapshot.source;
    html! {
        div .card {
            h3 { "Source" }
            p .figure { (format::count(source.rows_sent)) }
            p .muted {
                @match source.rows_total {
                    Some(total) => { "of " (format::count(total)) " rows" },
                    None => { "rows sent" },
                }
                @if source.ended { " · ended" }
                @else if source.rows_per_second > 0.0 { " · " (format::number(source.rows_per_second)) " rows/s" }
            }
            (bar("Rows sent", source.rows_sent, source.rows_total))
        }
    }
}

fn open_batch_card(snapshot: &Snapshot) -> Markup {
    let open = &snapshot.batch;
    html! {
        div .card {
            @if open.batch == 0 {
                h3 { "Open batch" }
                p .figure { "–" }
                p .muted { @if snapshot.state == "done" { "all are complete" } @else { "none yet" } }
            } @else {
                h3 { "Open batch " (open.batch) }
                p .figure { (format::count(open.rows)) }
                p .muted {
                    @match open.rows_expected {
                        Some(expected) => { "of " (format::count(expected)) " rows" },
                        None => { "rows so far" },
                    }
                    @if open.rejects_total > 0 { " · " (format::count(open.rejects_total)) " rejects in all" }
                    @if !open.waits_for.is_empty() {
                        " · waits for partition " (format::ranges(&open.waits_for))
                    }
                }
                (bar("Rows in the open batch", open.rows, open.rows_expected))
            }
        }
    }
}

fn bar(label: &str, value: u64, of: Option<u64>) -> Markup {
    html! {
        @if let Some(of) = of.filter(|of| *of > 0) {
            progress aria-label=(label) max=(of) value=(value.min(of)) {}
        }
    }
}

fn training_text(snapshot: &Snapshot, served: &Served) -> String {
    if snapshot.training.is_empty() {
        return match served.models.len() {
            1 => "of 1 model".to_owned(),
            n_models => format!("of {n_models} models"),
        };
    }
    let now = snapshot
        .training
        .iter()
        .map(|training| format!("{} on batch {}", training.model, format::ranges(&training.batches)));
    format!("training {}", now.collect::<Vec<_>>().join(", "))
}

pub fn batches(snapshot: &Snapshot, batches: Result<&[Batch], &ApiError>) -> Markup {
    let batches = match batches.map_err(why) {
        Ok(batches) => batches,
        Err((why, more)) => {
            return html! {
                section #batches aria-labelledby="batches-title" {
                    h2 #batches-title { "Batches" }
                    p .empty { "The batches " (why) (more) }
                }
            };
        }
    };
    html! {
        section #batches aria-labelledby="batches-title" {
            h2 #batches-title { "Batches" }
            @if batches.is_empty() {
                p .empty {
                    "No batch is complete yet."
                    @if let Some(expected) = snapshot.batch.rows_expected {
                        " The first is cut at " (format::count(expected)) " rows."
                    }
                }
            } @else {
                div .scroll tabindex="0" role="region" aria-label="Batches" {
                    table {
                        thead { tr {
                            th scope="col" { "Batch" } th .num scope="col" { "Rows" } th .num scope="col" { "Rejects" }
                            th scope="col" { "Offsets" } th scope="col" { "Time in the data (UTC)" }
                            th scope="col" { "Committed (UTC)" } th scope="col" { "Digest" }
                        } }
                        tbody { @for batch in batches.iter().rev().take(BATCHES_SHOWN) { (row(batch)) } }
                    }
                }
                @if batches.len() > BATCHES_SHOWN {
                    p .muted { "The newest " (BATCHES_SHOWN) " of " (batches.len()) "; " a href="/v1/batches" { "all" } }
                }
            }
        }
    }
}

fn row(batch: &Batch) -> Markup {
    let first = batch.parts.iter().filter_map(|part| part.min_time).min();
    let last = batch.parts.iter().filter_map(|part| part.max_time).max();
    let committed = batch.parts.iter().map(|part| part.committed_at_ms).max().unwrap_or_default();
    let digest = batch.digest();
    html! {
        tr {
            th scope="row" { a href={ "/v1/batches/" (batch.number()) } { (batch.number()) } }
            td .num { (format::count(batch.rows())) }
            td .num .bad[batch.rejects() > 0] { (format::count(batch.rejects())) }
            td {
                @for part in batch.parts.iter() {
                    div .nowrap {
                        @if batch.parts.len() > 1 { span .muted { "p" (part.partition) " " } }
                        (format::count(part.first_offset.unsigned_abs())) " – "
                        // The manifest's end is exclusive; people read the last one.
                        (format::count(part.end_offset.saturating_sub(1).unsigned_abs()))
                    }
                }
            }
            td .nowrap {
                @match (first, last) {
                    (Some(first), Some(last)) => { (format::time(first)) br; (format::time(last)) },
                    _ => { "–" },
                }
            }
            td .nowrap { (format::time(i64::try_from(committed).unwrap_or(i64::MAX))) }
            td { code title=(digest) { (digest.get(..10).unwrap_or(&digest)) } }
        }
    }
}
