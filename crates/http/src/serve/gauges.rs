//! `/metrics`: what requests were counted, and how the pipeline is, in Prometheus' text format. Lines of our own: the exporter crates bring a
//! recorder, a registry and thirty dependencies. docs/operating.md has all of them.

use std::fmt::Display;

use millstream_base::status::{Snapshot, TrainingCounts, clock_ms};
use millstream_model::registry::{LATEST, Served};
use millstream_stream::batch::Batch;
use millstream_stream::posting::{PostedCounts, QueueCounts};

use super::app::App;
use super::metrics::{escape, family, head, line};
use super::shadow::AgreementSums;

/// `batches`: `None` where they are not known.
pub fn render(app: &App, status: &Snapshot, served: &Served, batches: Option<&[Batch]>) -> String {
    let mut text = String::with_capacity(16 << 10);
    app.metrics.render(&mut text);
    stream(&mut text, status, batches, app.context.posting.counts());
    let n_problems = status.problems.len() + served.problems.len();
    family(&mut text, "millstream_problems", "gauge", "Problems of /healthz", n_problems);
    models(&mut text, served, batches);
    let names = app.model_names(served);
    trainings(&mut text, status, &names);
    shadows(&mut text, app);
    answer_log(&mut text, app);
    drift(&mut text, app);
    text
}

fn answer_log(text: &mut String, app: &App) {
    let Some(log) = &app.context.answer_log else { return };
    let QueueCounts { written, waiting, dropped } = log.queue.counts();
    family(text, "millstream_answers_written_total", "counter", "Records of answers that their topic has", written);
    family(text, "millstream_answers_waiting", "gauge", "Records of answers on their way", waiting);
    let help = "Records of answers for which there was no room, or which the broker refused";
    family(text, "millstream_answers_dropped_total", "counter", help, dropped);
}

/// Of models that somebody asked for it: nothing is computed for this.
fn drift(text: &mut String, app: &App) {
    let name = "millstream_drift_psi";
    head(text, name, "gauge", "Largest stability index above chance of the newest batch that was compared");
    for (model, psi) in app.explaining.newest_drift() {
        line(text, format_args!("{name}{{model=\"{}\"}} {psi}", escape(&model)));
    }
}

fn stream(text: &mut String, status: &Snapshot, batches: Option<&[Batch]>, posted: PostedCounts) {
    let (sent, rejects) = (status.source.rows_sent, status.batch.rejects_total);
    family(text, "millstream_rows_sent_total", "counter", "Records sent to the topic", sent);
    family(text, "millstream_rejects_total", "counter", "Records that do not fit the schema", rejects);
    let name = "millstream_rejects_by_reason_total";
    head(text, name, "counter", "Records that this process kept aside, by the first reasons that came");
    if let Some(rejects) = &status.rejects {
        let reasons = rejects.reasons.iter().map(|reason| (reason.reason.as_str(), reason.records));
        for (reason, records) in reasons.chain([("other", rejects.others)]) {
            let reason = escape(reason);
            line(text, format_args!("{name}{{reason=\"{reason}\"}} {records}"));
        }
    }
    let behind = "Records of the topic that this process's ingest has still to read";
    optional(text, "millstream_records_behind", behind, status.source.records_behind);
    optional(text, "millstream_batches", "Complete batches", batches.map(<[Batch]>::len));
    let rows = batches.map(|batches| batches.iter().map(Batch::rows).sum::<u64>());
    optional(text, "millstream_batch_rows", "Rows in complete batches", rows);
    let newest = batches.and_then(<[Batch]>::last).and_then(committed_ms).map(seconds);
    optional(text, "millstream_newest_batch_timestamp_seconds", "When the newest batch was complete", newest);
    let PostedCounts { rows, unknown } = posted;
    family(text, "millstream_posted_rows_total", "counter", "Rows of /v1/records that the topic has", rows);
    let help = "Requests of /v1/records whose outcome was not known when they were answered";
    family(text, "millstream_posted_unknown_total", "counter", help, unknown);
    let broker = u8::from(status.broker.reachable);
    family(text, "millstream_broker_reachable", "gauge", "1 while the broker answers", broker);
}

fn optional(text: &mut String, name: &str, help: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        family(text, name, "gauge", help, value);
    }
}

/// Milliseconds as seconds.
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1e3
}

fn committed_ms(batch: &Batch) -> Option<i64> {
    batch.parts.iter().filter_map(|part| i64::try_from(part.committed_at_ms).ok()).max()
}

fn models(text: &mut String, served: &Served, batches: Option<&[Batch]>) {
    let name = "millstream_versions";
    head(text, name, "gauge", "Versions served");
    for model in served.models.values() {
        line(text, format_args!("{name}{{model=\"{}\"}} {}", escape(&model.name), model.n_versions()));
    }
    let name = "millstream_alias_info";
    head(text, name, "gauge", "1 for what each alias, and latest, names");
    for model in served.models.values() {
        let latest = model.latest().map(|version| (LATEST, version.file.version));
        let aliases = model.aliases.iter().map(|(alias, version)| (alias.as_str(), *version));
        for (alias, version) in aliases.chain(latest) {
            let labels = format!("model=\"{}\",alias=\"{}\",version=\"{version}\"", escape(&model.name), escape(alias));
            line(text, format_args!("{name}{{{labels}}} 1"));
        }
    }
    let newest_record = |number: u32| {
        // From 1 on, without a gap.
        let batch = batches?.get(usize::try_from(number.checked_sub(1)?).ok()?)?;
        batch.parts.iter().filter_map(|part| part.max_time).max()
    };
    let main = || served.models.values().filter_map(|model| Some((escape(&model.name), model.champion_or_latest()?)));
    let name = "millstream_served_data_age_seconds";
    head(text, name, "gauge", "Since the newest record of the newest batch of the version that answers who names none");
    for (model, version) in main() {
        if let Some(newest) = newest_record(version.newest_batch()) {
            line(text, format_args!("{name}{{model=\"{model}\"}} {}", seconds(clock_ms().saturating_sub(newest))));
        }
    }
    let latest = || served.models.values().filter_map(|model| Some((escape(&model.name), &model.latest()?.file)));
    let name = "millstream_latest_trained_timestamp_seconds";
    head(text, name, "gauge", "When the latest version was trained, by whatever process");
    for (model, file) in latest() {
        line(text, format_args!("{name}{{model=\"{model}\"}} {}", file.trained_at_ms as f64 / 1e3));
    }
    let name = "millstream_latest_training_seconds";
    head(text, name, "gauge", "How long that took");
    for (model, file) in latest() {
        line(text, format_args!("{name}{{model=\"{model}\"}} {}", file.training_seconds));
    }
}

/// A family, what it is, and its number.
type NumberOf<T> = (&'static str, &'static str, fn(&T) -> f64);

/// Of this process, each of the names also before its first.
fn trainings(text: &mut String, status: &Snapshot, names: &[String]) {
    let families: [NumberOf<TrainingCounts>; 3] = [
        ("millstream_trainings_total", "Trainings of this process that made a version", |counts| counts.trained as f64),
        ("millstream_training_failures_total", "Trainings of this process that failed", |counts| counts.failed as f64),
        ("millstream_training_seconds_total", "What the trainings that made a version took", |counts| counts.seconds),
    ];
    for (name, help, value) in families {
        head(text, name, "counter", help);
        for model in names {
            let value = status.trainings.get(model).map_or(0.0, value);
            line(text, format_args!("{name}{{model=\"{}\"}} {value}", escape(model)));
        }
    }
}

/// Of the models that have a shadow, also before its first answer.
fn shadows(text: &mut String, app: &App) {
    let waiting = app.shadows.waiting();
    family(text, "millstream_shadow_waiting", "gauge", "Requests that shadows have still to answer", waiting);
    let traffic = &app.context.settings.serve.traffic;
    let sums = app.shadows.sums();
    let all: Vec<_> = traffic
        .iter()
        .filter(|(_, traffic)| traffic.shadow.is_some())
        .map(|(model, _)| (escape(model), sums.get(model).copied().unwrap_or_default()))
        .collect();
    let name = "millstream_shadow_requests_total";
    head(text, name, "counter", "Requests that a shadow answered, failed at, or had no room for");
    for (model, of) in &all {
        for (outcome, count) in [("compared", of.compared), ("failed", of.failed), ("dropped", of.dropped)] {
            line(text, format_args!("{name}{{model=\"{model}\",outcome=\"{outcome}\"}} {count}"));
        }
    }
    let families: [NumberOf<AgreementSums>; 7] = [
        ("millstream_shadow_numbers_total", "Numbers that were compared", |of| of.numbers as f64),
        ("millstream_shadow_difference_total", "The sum of their absolute differences", |of| of.difference),
        ("millstream_shadow_classes_total", "Classes that were compared", |of| of.classes as f64),
        ("millstream_shadow_other_classes_total", "Of them those that differ", |of| of.other_classes as f64),
        ("millstream_shadow_lists_total", "Lists that were compared", |of| of.lists as f64),
        ("millstream_shadow_overlap_total", "The sum of the shares of their items that are in both", |of| of.overlap),
        ("millstream_shadow_incomparable_total", "Answers that go with none of these", |of| of.incomparable as f64),
    ];
    for (name, help, value) in families {
        head(text, name, "counter", help);
        for (model, of) in &all {
            line(text, format_args!("{name}{{model=\"{model}\"}} {}", value(&of.agreement)));
        }
    }
}
