//! One version: where it came from, what it was told, how good it is, and what its kind shows.

use axum::http::header;
use maud::{Markup, html};
use serde_json::Value;

use super::cards::facts;
use super::models::{MEASURED, batches, decided, measures, subject, verdict};
use super::values::{encode, list, number, text, whole, word};
use super::{Made, Page, drift, format, insights};
use crate::serve::Asker;

/// The newest of them; further ones stand in the line above.
const BATCHES_SHOWN: usize = 20;
/// Of a batch.
const PARTS_SHOWN: usize = 4;

pub async fn page(asker: &Asker<'_>, model: &str, version: &str) -> Made {
    let path = format!("/v1/models/{}/versions/{}", encode(model), encode(version));
    let described = asker.get(&path).await?;
    let insights = asker.get(&format!("{path}/insights")).await.ok();
    let drifted = asker.get(&format!("{path}/drift")).await;
    let clusters = match word(&described, "task") {
        "clustering" => {
            asker.get(&format!("/v1/models/{}/versions/{}/clusters", encode(model), encode(version))).await.ok()
        }
        _ => None,
    };
    let first_shown = list(&described, "batches").len().saturating_sub(BATCHES_SHOWN);
    let traced = match is_for_live_parts(asker) {
        true => None,
        false => Some(asker.get(&format!("{path}/lineage?limit={BATCHES_SHOWN}&offset={first_shown}")).await),
    };
    let number = whole(&described, "version");
    let trained = i64::try_from(whole(&described, "trained_at_ms")).unwrap_or(i64::MAX);
    let imported = described.get("imported");
    let mut lineage = match imported {
        Some(of) => vec![
            ("Imported from", format!("{}, {}", word(of, "from"), word(of, "class"))),
            ("Saved there", format!("{} UTC", format::time(trained))),
        ],
        None => {
            let seconds = format::seconds(number_of(&described, "training_seconds"));
            vec![
                ("Trained on", format!("{}, {} rows", batches(&described), format::count(whole(&described, "rows")))),
                ("At", format!("{} UTC, in {seconds}", format::time(trained))),
                ("Seed", text(described.get("seed").unwrap_or(&Value::Null))),
            ]
        }
    };
    lineage.extend([
        ("Algorithm", word(&described, "algorithm").replace('_', " ")),
        ("Identity", word(&described, "identity").to_owned()),
        ("File", word(&described, "file").to_owned()),
        ("Digest of the file", word(&described, "file_digest").to_owned()),
    ]);
    if whole(&described, "dropped_missing") > 0 {
        lineage.push((
            "Left out for missing values",
            format!("{} rows", format::count(whole(&described, "dropped_missing"))),
        ));
    }
    if let Some(parent) = described.get("parent").filter(|parent| !parent.is_null()) {
        lineage.push(("Begun from version", parent.get("version").map_or_else(|| text(parent), text)));
    }
    // Of those that were imported the stream need not have the columns: what Spark calls them is among the parameters.
    let has_columns = imported.is_none() || word(&described, "task") != "recommendation";
    for (key, said) in [
        ("user", "User"),
        ("item", "Item"),
        ("id", "Id"),
        ("rating", "Rating"),
        ("target", "Target"),
        ("output", "Output"),
    ] {
        let value = described.get(key).filter(|value| has_columns && !value.is_null());
        let said_of =
            value.map(|value| if value.is_object() { word(value, "expression").to_owned() } else { text(value) });
        lineage.extend(said_of.map(|value| (said, value)));
    }
    // Of an imported one in our words, and then in Spark's.
    let parameters: Vec<(&str, String)> = [Some(&described), imported]
        .into_iter()
        .filter_map(|of| of?.get("parameters")?.as_object())
        .flatten()
        .map(|(name, value)| (name.as_str(), text(value)))
        .collect();
    let title = format!("{model}@{number}");
    let body = html! {
        p .trail { a href="/page/models" { "Models" } " / " a href={ "/page/models/" (encode(model)) } { (model) } }
        h1 { (title) }
        p { (verdict(&described)) " " span .muted { (subject(&described)) } " · " a href={ "/page/try/model/" (encode(model)) } { "try it" } }
        @for note in list(&described, "notes") { p .notice { (text(note)) } }
        @if let Some(removed) = described.get("removed") {
            p .notice { "Removed at " (format::time(removed.get("at_ms").and_then(Value::as_i64).unwrap_or_default())) " UTC: " (word(removed, "reason")) }
        }
        @if let Some(decision) = described.get("decision") { p .notice { (decided(decision)) ": " (word(decision, "reason")) } }
        section { h2 { "How good it is" } (scores(&described)) }
        @if let Some(clusters) = &clusters { (insights::clusters(clusters)) }
        (insights::section(&described, insights.as_ref()))
        (drift::section(&drifted, &path))
        section {
            h2 { "Where it came from" }
            (facts(&lineage))
            @match &traced {
                Some(Ok(traced)) => (origin(traced, &path)),
                Some(Err(error)) => p .notice { (error.message) },
                None => p { a href={ (path) "/lineage" } { "Batches, offsets and files as JSON" } },
            }
        }
        @if !list(&described, "features").is_empty() { section { h2 { "What it reads" } ul { @for feature in list(&described, "features") { li { code { (text(feature)) } } } } } }
        @if !parameters.is_empty() { section { h2 { "Parameters" } (facts(&parameters)) } }
        p { a href=(path) { "All of it as JSON" } }
    };
    Ok(Page::new(title, "/page/models", body))
}

/// The page's script asks again and again, for the parts that are live: what is none of them, and is dear, is not asked for then.
fn is_for_live_parts(asker: &Asker<'_>) -> bool {
    asker.parts.headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes() == b"text/html")
}

/// When aliases named it, and the batches with their offsets and files. `path`: of the version in the API.
fn origin(traced: &Value, path: &str) -> Markup {
    let (named, batches) = (list(traced, "aliases"), list(traced, "batches"));
    let topic = traced.get("stream").map_or("", |stream| word(stream, "topic"));
    let shown_of = whole(traced, "total");
    html! {
        @if !named.is_empty() { ul { @for naming in named { li { (said_of(naming)) } } } }
        @if !batches.is_empty() {
            div .scroll tabindex="0" role="region" aria-label="Batches it was trained on" {
                table {
                    thead { tr {
                        th scope="col" { "Batch" } th .num scope="col" { "Rows" } th scope="col" { "Times of the records (UTC)" }
                        th scope="col" { "Offsets" @if !topic.is_empty() { " in " (topic) } } th scope="col" { "Files" } th scope="col" { "Digest" }
                    } }
                    tbody { @for batch in batches.iter().rev() { (traced_batch(batch)) } }
                }
            }
            p .muted {
                @if (batches.len() as u64) < shown_of { "The newest " (batches.len()) " of " (format::count(shown_of)) ". " }
                "Whether the files are what was written, " code { "millstream batches verify" } " finds. "
                a href={ (path) "/lineage" } { "As JSON" }
            }
        }
    }
}

fn said_of(naming: &Value) -> Markup {
    let at = |key: &str| naming.get(key).and_then(Value::as_i64).map(|at| format!("{} UTC", format::time(at)));
    let is_in_force = naming.get("in_force").and_then(Value::as_bool) == Some(true);
    html! {
        code { (word(naming, "alias")) } " named it"
        @if let Some(from) = at("from_ms") { " from " (from) }
        @if is_in_force { " until now" } @else if let Some(until) = at("until_ms") { " until " (until) }
        @if !word(naming, "by").is_empty() { ", by " (word(naming, "by")) }
        @if !word(naming, "reason").is_empty() { ": " (word(naming, "reason")) }
    }
}

fn traced_batch(batch: &Value) -> Markup {
    let at = |key: &str| batch.get(key).and_then(Value::as_i64).map_or_else(|| "–".to_owned(), format::time);
    let parts = list(batch, "parts");
    let further = parts.len().saturating_sub(PARTS_SHOWN);
    let digest = word(batch, "digest");
    html! {
        tr {
            th scope="row" { a href={ "/page/batches/" (whole(batch, "batch")) } { (whole(batch, "batch")) } }
            td .num { @match number(batch, "rows") { Some(_) => (format::count(whole(batch, "rows"))), None => "–" } }
            td .nowrap { (at("min_time")) br; (at("max_time")) }
            td .nowrap {
                @for part in parts.iter().take(PARTS_SHOWN) {
                    (whole(part, "partition")) ": " (whole(part, "first_offset")) ".." (whole(part, "end_offset")) br;
                }
                @if further > 0 { "and " (further) " more partitions" }
            }
            td {
                @for file in parts.iter().map(|part| word(part, "file")).filter(|file| !file.is_empty()).take(PARTS_SHOWN) { code { (file) } br; }
                @if word(batch, "state") != "there" { span .bad { (word(batch, "state")) } ": " (word(batch, "problem")) }
            }
            td { code title=(digest) { (digest.get(..10).unwrap_or(digest)) } }
        }
    }
}

fn number_of(value: &Value, key: &str) -> f64 {
    number(value, key).unwrap_or_default()
}

/// Each measure beside the baseline's, for each place where it was measured.
fn scores(version: &Value) -> Markup {
    let places: Vec<(&str, &Value)> = MEASURED
        .iter()
        .filter_map(|(place, title)| {
            Some((*title, version.get("metrics")?.get(place).filter(|scores| scores.is_object())?))
        })
        .collect();
    html! {
        @if places.is_empty() { p .empty { "Nothing was measured: there are no held-out records, or nothing trivial to hold it against." } }
        @else {
            div .scroll tabindex="0" role="region" aria-label="Measures" {
                table {
                    thead { tr { th scope="col" { "Measure" } @for (title, _) in &places { th .num scope="col" { (title) } th .num scope="col" { "its baseline" } } } }
                    tbody {
                        @for (key, title, less) in measures(version) {
                            tr {
                                th scope="row" { (title) }
                                @for (_, scores) in &places {
                                    @let value = number(scores, key);
                                    @let trivial = scores.get("baseline").and_then(|baseline| number(baseline, key));
                                    @let is_worse = value.zip(trivial).is_some_and(|(value, trivial)| if *less { value >= trivial } else { value <= trivial });
                                    td .num .bad[is_worse] { (value.map_or_else(|| "–".to_owned(), format::number)) }
                                    td .num .muted { (trivial.map_or_else(|| "–".to_owned(), format::number)) }
                                }
                            }
                        }
                        tr { th scope="row" { "Rows" } @for (_, scores) in &places { td .num { (format::count(whole(scores, "rows"))) } td .num .muted { (scores.get("baseline").map(|baseline| word(baseline, "kind")).unwrap_or_default()) } } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, header};
    use http_body_util::BodyExt;

    use crate::serve::fixture::fixture;

    #[tokio::test]
    async fn where_it_came_from_is_not_looked_up_for_the_live_parts() {
        let fixture = fixture(Vec::new());
        for (accept, is_whole) in
            [("text/html,application/xhtml+xml,*/*;q=0.8", true), ("*/*", true), ("text/html", false)]
        {
            let request = Request::get("/page/models/close/2").header(header::HOST, "localhost");
            let request = request.header(header::ACCEPT, accept).body(Body::empty()).unwrap();
            let bytes = fixture.app.handle(request).await.into_body().collect().await.unwrap().to_bytes();
            let page = String::from_utf8_lossy(&bytes);
            assert_eq!(page.contains("Batches it was trained on"), is_whole, "{accept}: {page}");
            assert!(page.contains("id=\"drift\"") && page.contains("/versions/2/lineage"), "{accept}: {page}");
        }
    }
}
