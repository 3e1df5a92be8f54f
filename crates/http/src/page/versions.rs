//! The versions of every model, each beside the trivial baseline on the same rows, in plain words.

use maud::{Markup, html};
use millstream_model::registry::{Evaluation, EvaluationKind, ModelFile, Scores, Served, ServedModel, Task, Version};

use super::format;
use crate::serve::App;

/// The newest ones of each model; `/v1/models/{m}/versions` has all.
const VERSIONS_SHOWN: usize = 8;
const KINDS: [(EvaluationKind, &str); 3] = [
    (EvaluationKind::Holdout, "Held out"),
    (EvaluationKind::Common, "Held out, all batches"),
    (EvaluationKind::NextBatch, "Next batch"),
];

pub fn models(app: &App, served: &Served) -> Markup {
    let names = app.model_names(served);
    html! {
        section #models aria-labelledby="models-title" {
            h2 #models-title { "Models" }
            p .muted {
                "Every version is measured on records that no model trains on, and on the next batch before anything \
                 trains on it, beside a trivial guess on the same rows."
            }
            @if names.is_empty() { p .empty { "The pipeline file has no model." } }
            @for name in &names {
                @match served.models.get(name) {
                    Some(model) => (table(model)),
                    None => {
                        h3 .model { (name) }
                        p .empty { "No version yet: its first training is still to come." }
                    },
                }
            }
        }
    }
}

fn table(model: &ServedModel) -> Markup {
    let serving = model.champion_or_latest().map(|version| version.file.version);
    html! {
        h3 .model {
            (model.name) " " span .muted { (model.algorithm.replace('_', " ")) }
            @if let Some(version) = model.champion_or_latest() { " " span .muted { "→ " (subject(&version.file)) } }
        }
        div .scroll tabindex="0" role="region" aria-label={ "Versions of " (model.name) } {
            table {
                thead { tr {
                    th scope="col" { "Version" } th scope="col" { "Trained on" }
                    @for (_, title) in KINDS { th scope="col" { (title) } }
                    th scope="col" { "Against its baseline" }
                } }
                tbody {
                    @for version in model.loaded().rev().take(VERSIONS_SHOWN) {
                        (row(model, version, serving))
                    }
                }
            }
        }
        @if model.n_versions() > VERSIONS_SHOWN {
            p .muted {
                "The newest " (VERSIONS_SHOWN) " of " (model.n_versions()) "; "
                a href={ "/v1/models/" (super::forms::encode(&model.name)) "/versions" } { "all" }
            }
        }
    }
}

/// What a model answers.
pub(super) fn subject(file: &ModelFile) -> String {
    match &file.task {
        Task::Regression | Task::Classification { .. } => file.target.clone(),
        Task::Recommendation(task) => format!("{} for {}", task.item.expression, task.user.expression),
        Task::Clustering(task) => format!("{} clusters", task.clusters),
        Task::Similarity(task) => format!("{} of similar texts", task.id.expression),
        Task::Neighbourhood(task) => format!("{} of near values", task.id.expression),
        Task::Popularity(task) => format!("{} by popularity", task.item.expression),
    }
}

fn row(model: &ServedModel, version: &Version, serving: Option<u32>) -> Markup {
    let file = &version.file;
    let batches: Vec<u32> = file.batches.iter().map(|batch| batch.batch).collect();
    let word = if batches.len() == 1 { "batch" } else { "batches" };
    let aliases = model.aliases.iter().filter(|(_, number)| **number == file.version);
    html! {
        tr {
            th scope="row" {
                a href={ "/v1/models/" (super::forms::encode(&file.model)) "/versions/" (file.version) } { (file.version) }
                @if serving == Some(file.version) { " " span .tag { "serving" } }
                @for (alias, _) in aliases { " " span .tag .alias { (alias) } }
            }
            td {
                div .nowrap { (word) " " (format::ranges(&batches)) }
                div .muted .nowrap { (format::count(file.rows)) " rows, " (format::number(file.training_seconds)) " s" }
                @for note in &file.notes { div .note { (note) } }
            }
            @for (kind, _) in KINDS { td { (measured(version, version.evaluation(kind))) } }
            td { (verdict(version)) }
        }
    }
}

/// The measures that decide and tell most, and the same ones of the baseline.
fn measured(version: &Version, evaluation: Option<&Evaluation>) -> Markup {
    let Some(evaluation) = evaluation else { return html! { span .muted { "–" } } };
    let scores = &evaluation.scores;
    let measures: &[(&str, &str)] = match version.file.task {
        Task::Regression => &[("rmse", "RMSE")],
        Task::Classification { .. } => &[("log_loss", "log-loss"), ("accuracy", "accuracy")],
        Task::Recommendation(_) => &[("rmse", "RMSE"), ("ndcg_10", "NDCG@10")],
        Task::Clustering(_) => &[("silhouette", "silhouette"), ("inertia", "inertia")],
        Task::Similarity(_) | Task::Neighbourhood(_) => &[("known_items", "known items")],
        Task::Popularity(_) => &[("rmse", "RMSE"), ("known_items", "known items")],
    };
    html! {
        @for (key, label) in measures {
            @if let Some(value) = scores.measures.get(*key).copied().flatten() {
                div .nowrap { span .muted { (label) " " } strong { (format::number(value)) } }
                @if let Some(trivial) = scores.baseline.measures.get(*key).copied().flatten() {
                    div .nowrap .baseline .bad[is_worse(scores, key, value, trivial)] {
                        (baseline_name(scores, key)) " " (format::number(trivial))
                    }
                }
            }
        }
        @if scores.rows == 0 { span .muted { "no rows to measure on" } }
        @else { div .muted .nowrap { (format::count(scores.rows)) " rows" } }
        @if let Some(counts) = scores.counts.filter(|counts| counts.new_users > 0) {
            div .muted .nowrap {
                (format::count(counts.folded_in_users)) " of " (format::count(counts.new_users)) " new users folded in"
            }
        }
        @if let Some(counts) = scores.counts.filter(|counts| counts.unknown_pairs > 0) {
            div .muted .nowrap { (format::count(counts.unknown_pairs)) " of unknown users or items" }
        }
        @if let Some(counts) = scores.counts.filter(|counts| counts.repeated > 0) {
            div .muted .nowrap { (format::count(counts.repeated)) " of pairs trained on, or said again" }
        }
    }
}

/// Whether the trivial guess did better by this measure; where one verdict is on all of them, by that.
fn is_worse(scores: &Scores, key: &str, value: f64, trivial: f64) -> bool {
    match (scores.counts, key) {
        (None, "silhouette") => value <= trivial,
        (None, "inertia") => value >= trivial,
        (None, _) => scores.beats_baseline == Some(false),
        (Some(_), "rmse") => value >= trivial,
        (Some(_), _) => value <= trivial,
    }
}

/// A recommender's errors are held against the items' means, its lists against popularity.
fn baseline_name<'a>(scores: &'a Scores, key: &str) -> &'a str {
    match (scores.counts, key) {
        (None, "silhouette") => "random clusters",
        (None, "inertia") => "one cluster",
        (None, _) => &scores.baseline.kind,
        (Some(_), "rmse") => "item mean",
        (Some(_), _) => "popularity",
    }
}

fn verdict(version: &Version) -> Markup {
    html! {
        @match version.beats_baseline() {
            Some(true) => span .verdict .good { "✓ beats its baseline" },
            Some(false) => span .verdict .bad { "✗ does not beat its baseline" },
            None if !version.has_baseline() => span .muted { "nothing trivial to hold it against" },
            None => span .muted { "not measured yet" },
        }
        @let worse: Vec<&str> = KINDS.iter().filter(|(kind, _)| is_beaten(version, *kind)).map(|(_, name)| *name).collect();
        @if !worse.is_empty() { div .muted { "worse on: " (worse.join("; ").to_lowercase()) } }
    }
}

fn is_beaten(version: &Version, kind: EvaluationKind) -> bool {
    version.evaluation(kind).is_some_and(|evaluation| evaluation.scores.beats_baseline == Some(false))
}
