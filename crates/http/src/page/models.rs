//! Models: each with its versions on one line of sight, the curve of its first measure with the baseline drawn in and the served one marked.

use maud::{Markup, html};
use serde_json::Value;

use super::cards::pager;
use super::chart::{Axes, Series, bars, lines};
use super::values::{self, Query, encode, list, number, whole, word};
use super::{Made, Page, aliases, compare, format, traffic};
use crate::serve::{Asker, loaded_versions};

const PER_PAGE: usize = 20;
/// Where a version is measured, in the order of what tells most: all versions on the same records first.
pub const MEASURED: [(&str, &str); 3] =
    [("common", "held out, all batches"), ("next_batch", "next batch"), ("holdout", "held out")];

/// The newest versions of a model, and the measure that decides.
pub struct Curve {
    pub model: String,
    pub algorithm: String,
    pub serving: u64,
    /// The oldest first.
    pub versions: Vec<Value>,
    pub n_versions: u64,
    /// Of the newest training.
    pub seconds: Option<f64>,
}

/// From memory alone: a page that is looked at again and again reads no store for it.
pub fn curves(asker: &Asker<'_>, models: &Value) -> Vec<Curve> {
    let mut curves = Vec::new();
    for model in list(models, "models") {
        let name = word(model, "name");
        let n_versions = list(model, "versions").len() as u64;
        let versions = loaded_versions(asker.app, name);
        curves.push(Curve {
            model: name.to_owned(),
            algorithm: word(model, "algorithm").to_owned(),
            serving: whole(model, "serving"),
            seconds: versions.last().and_then(|version| number(version, "training_seconds")),
            n_versions,
            versions,
        });
    }
    curves
}

/// The measures of a kind of model that are drawn: name, title, whether less is better.
pub fn measures(version: &Value) -> &'static [(&'static str, &'static str, bool)] {
    match word(version, "task") {
        "regression" => &[("rmse", "RMSE", true), ("mae", "MAE", true), ("r2", "R²", false)],
        "classification" => &[("log_loss", "log-loss", true), ("accuracy", "accuracy", false), ("auc", "AUC", false)],
        "recommendation" => &[("rmse", "RMSE", true), ("ndcg_10", "NDCG@10", false), ("recall_10", "recall@10", false)],
        "clustering" => &[("silhouette", "silhouette", false), ("inertia", "inertia", true)],
        _ => &[("rmse", "RMSE", true), ("known_items", "known items", false)],
    }
}

/// Versions and a measure of each.
type Points = Vec<(f64, f64)>;

impl Curve {
    /// A measure over versions, of where it was measured on most of them; with the baseline's.
    fn series(&self, measure: &str) -> Option<(&'static str, Points, Points)> {
        let of = |place: &str, inner: Option<&str>| -> Points {
            let point = |version: &Value| {
                let measured = version.get("metrics")?.get(place)?;
                let scores = inner.map_or(Some(measured), |inner| measured.get(inner))?;
                Some((number(version, "version")?, number(scores, measure)?))
            };
            self.versions.iter().filter_map(point).collect()
        };
        let places = MEASURED.iter().map(|(place, title)| (*title, of(place, None), of(place, Some("baseline"))));
        // Of two as full ones the first: it comes last here, and `max_by_key` takes the last.
        places.rev().max_by_key(|(_, points, _)| points.len()).filter(|(_, points, _)| !points.is_empty())
    }

    pub fn chart(&self, measure: &str, title: &str) -> Markup {
        let Some((place, points, baseline)) = self.series(measure) else { return html! {} };
        if let ([(version, value)], [(_, trivial)]) = (points.as_slice(), baseline.as_slice()) {
            let rows = [(format!("version {version}"), *value, None), ("baseline".to_owned(), *trivial, None)];
            return html! { (bars(&format!("{title}, {place}"), &rows)) };
        }
        let said = format!("{title} of {} over its versions, {place}", self.model);
        let axes =
            Axes { title: &said, x: "version", y: title, x_text: format::number, from_zero: false, counts: true };
        let series = [
            Series { name: &self.model, points, is_baseline: false },
            Series { name: "baseline", points: baseline, is_baseline: true },
        ];
        let n_drawn = if series.iter().any(|series| series.is_baseline && !series.points.is_empty()) { 2 } else { 1 };
        html! {
            (lines(&axes, series.get(..n_drawn).unwrap_or_default(), Some(self.serving as f64)))
            p .muted { (place) "; the line down is version " (self.serving) ", which is served" }
        }
    }

    pub fn sparkline(&self) -> Markup {
        let Some(measure) = self.versions.last().map(measures).and_then(<[_]>::first) else { return html! {} };
        let Some((_, points, _)) = self.series(measure.0).filter(|(_, points, _)| points.len() > 1) else {
            return html! {};
        };
        let (low, high) = points.iter().fold((f64::MAX, f64::MIN), |(low, high), (_, y)| (low.min(*y), high.max(*y)));
        let step = 96.0 / (points.len() - 1) as f64;
        let place = |value: f64| if high > low { 22.0 - (value - low) / (high - low) * 20.0 } else { 12.0 };
        let path: Vec<String> = points
            .iter()
            .enumerate()
            .map(|(index, (_, y))| format!("{:.1},{:.1}", 2.0 + index as f64 * step, place(*y)))
            .collect();
        html! {
            svg .spark viewBox="0 0 100 24" role="img" aria-label={ (measure.1) " over the versions of " (self.model) } {
                polyline .line .s0 points=(path.join(" ")) {}
            }
        }
    }
}

pub fn verdict(version: &Value) -> Markup {
    html! {
        @match version.get("beats_baseline").and_then(Value::as_bool) {
            Some(true) => span .verdict .good { "✓ beats its baseline" },
            Some(false) => span .verdict .bad { "✗ does not beat its baseline" },
            None => span .muted { "not held against a baseline" },
        }
    }
}

/// What its answers are, as a title: of a model with an `output` that, made of what it learnt.
pub fn answer_name(version: &Value) -> String {
    match version.get("output").and_then(Value::as_str) {
        Some(output) => format!("{output}, of {}", word(version, "target")),
        None => word(version, "target").to_owned(),
    }
}

/// What a model answers.
pub fn subject(version: &Value) -> String {
    let expression = |key: &str| version.get(key).map(|of| word(of, "expression").to_owned()).unwrap_or_default();
    match word(version, "task") {
        "regression" | "classification" => answer_name(version),
        // Of an imported one the stream need not have the columns.
        "recommendation" => match version.get("imported").and_then(|of| of.get("parameters")) {
            Some(of) => format!("{} for {}", word(of, "itemCol"), word(of, "userCol")),
            None => format!("{} for {}", expression("item"), expression("user")),
        },
        "clustering" => "clusters".to_owned(),
        "similarity" | "neighbourhood" => format!("what is like a {}", expression("id")),
        _ => "what is popular".to_owned(),
    }
}

pub async fn all(asker: &Asker<'_>) -> Made {
    let models = asker.get("/v1/models?limit=1000").await?;
    let curves = curves(asker, &models);
    let body = html! {
        h1 { "Models" }
        p .lead {
            "Every version is measured on records that no model trains on, and on the next batch before anything trains on it, beside a trivial "
            "guess on the same rows."
        }
        @if curves.is_empty() { p .empty { "The pipeline file has no model." } }
        div #models .columns data-live {
            @for curve in &curves {
                section .card {
                    h2 { a href={ "/page/models/" (encode(&curve.model)) } { (curve.model) } }
                    @match curve.versions.iter().find(|version| whole(version, "version") == curve.serving).or(curve.versions.last()) {
                        Some(version) => {
                            p .muted { (curve.algorithm.replace('_', " ")) " → " (subject(version)) }
                            p { (verdict(version)) }
                            @if let Some((measure, title, _)) = measures(version).first() { (curve.chart(measure, title)) }
                            p {
                                (format::count(curve.n_versions)) @if curve.n_versions == 1 { " version" } @else { " versions" }
                                " · " a href={ "/page/try/model/" (encode(&curve.model)) } { "try it" span .hidden { ": " (curve.model) } }
                            }
                        },
                        None => { p .muted { (curve.algorithm.replace('_', " ")) } p .empty { "No version yet: its first training is still to come." } },
                    }
                }
            }
        }
    };
    Ok(Page::new("Models", "/page/models", body))
}

pub async fn one(asker: &Asker<'_>, model: &str, query: &Query) -> Made {
    let described = asker.get(&format!("/v1/models/{}", encode(model))).await?;
    let curves = curves(asker, &serde_json::json!({"models": [described]}));
    let Some(curve) = curves.first() else {
        return Err(crate::serve::ApiError::internal("a model without a description"));
    };
    // The newest first, which the API has last.
    let offset = query.offset(curve.n_versions);
    let end = curve.n_versions.saturating_sub(offset as u64);
    let begin = end.saturating_sub(PER_PAGE as u64);
    let path = format!("/v1/models/{}/versions?offset={begin}&limit={}", encode(model), end - begin);
    let versions = asker.get(&path).await?;
    let newest = curve.versions.last();
    let aliases = aliases::section(asker, model, list(&described, "versions")).await?;
    let traffic = traffic::section(asker, model, &described).await?;
    let here = format!("/page/models/{}", encode(model));
    let body = html! {
        p .trail { a href="/page/models" { "Models" } }
        h1 { (model) }
        p .muted {
            (curve.algorithm.replace('_', " ")) @if let Some(newest) = newest { " → " (subject(newest)) }
            " · " a href={ "/page/try/model/" (encode(model)) } { "try it" }
            @if curve.n_versions > 1 { " · " a href={ "/page/compare/" (encode(model)) } { "compare versions" } }
        }
        @match newest {
            None => p .empty { "No version yet: its first training is still to come." },
            Some(newest) => {
                div #curves .columns data-live {
                    @for (measure, title, _) in measures(newest) {
                        @let drawn = curve.chart(measure, title);
                        @if !drawn.0.is_empty() { section .card { h2 { (title) } (drawn) } }
                    }
                }
                (aliases)
                (traffic)
                @if curve.n_versions > 1 { section { h2 { "Compare two versions" } (compare::form(model, &described, &Query::default())) } }
                section #table data-live {
                    h2 { "Versions" }
                    (table(model, list(&versions, "versions").iter().rev().collect(), curve.serving, described.get("aliases").unwrap_or(&Value::Null)))
                    (pager(offset, PER_PAGE, curve.n_versions, |offset| values::target(&here, &query.with(&[("offset", Some(&offset.to_string()))]))))
                }
            },
        }
    };
    Ok(Page::new(model, "/page/models", body))
}

fn table(model: &str, versions: Vec<&Value>, serving: u64, aliases: &Value) -> Markup {
    let measures =
        versions.iter().find(|version| version.get("task").is_some()).map_or(&[][..], |version| measures(version));
    let named = |number: u64| -> Vec<&str> {
        let aliases = aliases.as_object().into_iter().flatten();
        aliases.filter(|(_, of)| of.as_u64() == Some(number)).map(|(name, _)| name.as_str()).collect()
    };
    html! {
        div .scroll tabindex="0" role="region" aria-label={ "Versions of " (model) } {
            table {
                thead { tr {
                    th scope="col" { "Version" } th scope="col" { "Trained on" }
                    @for (_, title) in MEASURED { th scope="col" { (title) } }
                    th scope="col" { "Against its baseline" }
                } }
                tbody {
                    @for version in versions {
                        @let number = whole(version, "version");
                        tr {
                            th scope="row" {
                                a href={ "/page/models/" (encode(model)) "/" (number) } { (number) }
                                @if number == serving { " " span .tag { "served" } }
                                @if version.get("removed").is_some() { " " span .tag .alias { "removed" } }
                                @for alias in named(number) { " " span .tag .alias { (alias) } }
                            }
                            td { (batches(version)) div .muted { (format::count(whole(version, "rows"))) " rows" } }
                            @for (place, _) in MEASURED { td { (measured(version, place, measures)) } }
                            td { (verdict(version)) @if let Some(decision) = version.get("decision") { div .muted { (decided(decision)) } } }
                        }
                    }
                }
            }
        }
    }
}

/// What `promote` said of it, in short.
pub fn decided(decision: &Value) -> String {
    let said = if decision.get("promote") == Some(&Value::Bool(true)) { "promoted" } else { "not promoted" };
    format!("{said} ({})", word(decision, "rule"))
}

pub fn batches(version: &Value) -> String {
    let numbers: Vec<u32> =
        list(version, "batches").iter().filter_map(|batch| u32::try_from(batch.as_u64()?).ok()).collect();
    format!("{} {}", if numbers.len() == 1 { "batch" } else { "batches" }, format::ranges(&numbers))
}

fn measured(version: &Value, place: &str, measures: &[(&str, &str, bool)]) -> Markup {
    let Some(scores) =
        version.get("metrics").and_then(|metrics| metrics.get(place)).filter(|scores| scores.is_object())
    else {
        return html! { span .muted { "–" } };
    };
    html! {
        @for (key, title, less) in measures.iter().take(2) {
            @if let Some(value) = number(scores, key) {
                div .nowrap {
                    span .muted { (title) " " } strong { (format::number(value)) }
                    @if let Some(trivial) = scores.get("baseline").and_then(|baseline| number(baseline, key)) {
                        " " span .baseline .bad[if *less { value >= trivial } else { value <= trivial }] { "(" (format::number(trivial)) ")" }
                    }
                }
            }
        }
    }
}
