//! The first page: from the source to the answers as one picture with its numbers, and what goes on in each of them.

use std::collections::BTreeSet;
use std::time::Duration;

use maud::{Markup, html};
use millstream_base::status::now_ms;
use millstream_stream::expression::words;
use serde_json::Value;
use tokio::time::timeout;

use super::cards::{columns, table};
use super::chart::{Axes, Series, histogram, lines};
use super::models::{self, Curve};
use super::values::{Query, encode, list, number, text, whole, word};
use super::{Made, Page, format};
use crate::serve::{ApiError, Asker};

/// Batches whose averages are drawn.
const BATCHES_DRAWN: usize = 12;
/// What is not known by then is shown with the page's next look: a first page waits for nobody.
const STATISTICS_WAIT: Duration = Duration::from_millis(40);
/// More are no wider than the picture has room for.
const POINTS_DRAWN: usize = 120;
const COLUMNS_DRAWN: usize = 4;
/// Of those that are chosen, …
const CHOSEN_MOST: usize = 12;
/// … and those that there is a choice of: a query of a page has room for them.
const CHOICES_MOST: usize = 50;
/// In the query: a column that is looked at, as often as there are.
const COLUMN: &str = "column";

pub async fn page(asker: &Asker<'_>, query: &Query) -> Made {
    let status = asker.get("/v1/status").await?;
    let history = asker.get("/v1/status/history").await.unwrap_or_default();
    let batches = asker.get("/v1/batches?limit=0").await;
    let n_batches = batches.as_ref().map(|batches| whole(batches, "total")).unwrap_or_default();
    let models = asker.get("/v1/models?limit=1000").await?;
    let curves = models::curves(asker, &models);
    let body = html! {
        h1 .hidden { "What the pipeline does now" }
        (flow(&status, &history, &batches.as_ref().map(|batches| whole(batches, "total")).map_err(why), &models))
        (problems(&status))
        div .columns {
            (open_batch(&status))
            (trainings(&status, &curves))
        }
        (over_time(&history))
        (newest(&curves))
        (latest_rows(&status))
        (rejects(&status))
        (stream_columns(asker, n_batches, &curves, query).await)
    };
    Ok(Page::new("Now", "/", body))
}

/// Why the batches are not shown.
fn why(error: &ApiError) -> String {
    match error.code {
        "loading" => "are still being read".to_owned(),
        _ => format!("cannot be read: {}", error.message),
    }
}

fn last<'a>(history: &'a Value, key: &str) -> Option<&'a Value> {
    list(history, "points").last()?.get(key).filter(|value| !value.is_null())
}

/// How much a counter grew in the last seconds, for each of them.
fn rate(history: &Value, key: &str) -> Option<f64> {
    let points = list(history, "points");
    let newest = points.last()?;
    let before = points.get(points.len().saturating_sub(6))?;
    let grown = number(newest, key)? - number(before, key)?;
    let seconds = (number(newest, "time_ms")? - number(before, "time_ms")?) / 1000.0;
    (seconds > 0.0).then(|| (grown / seconds).max(0.0))
}

fn per_second(rate: Option<f64>, unit: &str) -> String {
    rate.map_or_else(String::new, |rate| format!("{} {unit}/s", format::number(rate.round())))
}

fn flow(status: &Value, history: &Value, n_batches: &Result<u64, String>, models: &Value) -> Markup {
    let none = Value::Null;
    let source = status.get("source").unwrap_or(&none);
    let batch = status.get("batch").unwrap_or(&none);
    let broker = status.get("broker").unwrap_or(&none);
    let state = word(status, "state");
    let n_versions: usize = list(models, "models").iter().map(|model| list(model, "versions").len()).sum();
    let behind = source.get("records_behind").and_then(Value::as_u64).or_else(|| last(history, "behind")?.as_u64());
    let station = |href: &str, name: &str, figure: String, said: Vec<String>, is_bad: bool| {
        html! {
            li .station .bad[is_bad] {
                h2 { @if href.is_empty() { (name) } @else { a href=(href) { (name) } } }
                p .figure { (figure) }
                @for line in said.iter().filter(|line| !line.is_empty()) { p .muted { (line) } }
            }
        }
    };
    let total = source.get("rows_total").and_then(Value::as_u64);
    let sent = whole(source, "rows_sent");
    let ended = source.get("ended").and_then(Value::as_bool).unwrap_or_default();
    let reachable = broker.get("reachable").and_then(Value::as_bool).unwrap_or_default();
    html! {
        section #flow data-live aria-label="From the source to the answers" data-state=(state) {
            p .headline {
                span .badge data-state=(state) { (state_word(state)) }
                @for loading in list(status, "loading") { " " span .muted { (text(loading)) " still being read" } }
            }
            ol .flow {
                (station("", "Source", format::count(sent), vec![
                    total.map_or_else(|| "rows sent".to_owned(), |total| format!("of {} rows", format::count(total))),
                    if ended { "ended".to_owned() } else { per_second(number(source, "rows_per_second"), "rows") },
                ], false))
                (station("", "Topic", behind.map_or_else(|| "–".to_owned(), format::count), vec![
                    "records not read yet".to_owned(),
                    match (word(broker, "address"), reachable) {
                        ("", _) => String::new(),
                        (address, true) => address.to_owned(),
                        (address, false) => format!("{address} does not answer"),
                    },
                ], !word(broker, "address").is_empty() && !reachable))
                (station("/page/batches", "Batches", n_batches.as_ref().map_or_else(|_| "–".to_owned(), |n| format::count(*n)), vec![
                    n_batches.as_ref().err().cloned().unwrap_or_else(|| "complete, exactly once".to_owned()),
                    per_second(number(batch, "rows_per_second").filter(|rate| *rate > 0.0 && state != "done"), "rows"),
                ], n_batches.is_err()))
                (station("/page/models", "Models", format::count(list(models, "models").len() as u64), vec![
                    format!("{} versions", format::count(n_versions as u64)),
                    match list(status, "training").len() { 0 => String::new(), n => format!("{n} in training") },
                ], false))
                (station("/page/try", "Answers", rate(history, "requests").map_or_else(|| "–".to_owned(), |rate| format::number(rate.round())), vec![
                    "requests a second".to_owned(),
                    last(history, "latency_ms").and_then(Value::as_f64).map_or_else(String::new, |ms| format!("{} ms each", format::number(ms))),
                ], false))
            }
        }
    }
}

fn state_word(state: &str) -> &str {
    match state {
        "starting" => "Starting",
        "running" => "Running",
        "done" => "Done: all rows are in batches, all models are trained",
        "stopping" => "Stopping",
        "failed" => "Failed",
        other => other,
    }
}

fn problems(status: &Value) -> Markup {
    let problems: Vec<&Value> =
        list(status, "problems").iter().rev().chain(list(status, "registry_problems")).take(10).collect();
    html! {
        div #problems data-live {
            @if !problems.is_empty() {
                section .notice role="status" { h2 { "Needs attention" } ul { @for problem in problems { li { (text(problem)) } } } }
            }
        }
    }
}

fn open_batch(status: &Value) -> Markup {
    let none = Value::Null;
    let open = status.get("batch").unwrap_or(&none);
    let (rows, expected) = (whole(open, "rows"), open.get("rows_expected").and_then(Value::as_u64));
    let is_open = whole(open, "batch") > 0 && word(status, "state") != "done";
    html! {
        section #open .card data-live {
            h2 { "Open batch" @if is_open { " " (whole(open, "batch")) } }
            @if is_open {
                p .figure { (format::count(rows)) @if let Some(expected) = expected { span .of { " of " (format::count(expected)) } } }
                @if let Some(expected) = expected.filter(|expected| *expected > 0) {
                    progress aria-label="Rows in the open batch" max=(expected) value=(rows.min(expected)) {}
                }
                @if !word(open, "closes").is_empty() { p .muted { "closes " (word(open, "closes")) } }
                @if whole(open, "rejects_total") > 0 { p .muted { (format::count(whole(open, "rejects_total"))) " rejects in all" } }
                @if !list(open, "waits_for").is_empty() { p .muted { "waits for partition " (text(&Value::from(list(open, "waits_for")))) } }
            } @else {
                p .muted { "No batch is open." }
            }
        }
    }
}

fn trainings(status: &Value, curves: &[Curve]) -> Markup {
    let now = now_ms() as f64;
    html! {
        section #trainings .card data-live {
            h2 { "In training" }
            @if list(status, "training").is_empty() { p .muted { "Nothing just now." } }
            @for training in list(status, "training") {
                @let model = word(training, "model");
                @let elapsed = number(training, "started_ms").map_or(0.0, |started| (now - started).max(0.0) / 1000.0);
                @let before = curves.iter().find(|curve| curve.model == model).and_then(|curve| curve.seconds);
                p { strong { (model) } " on batch " (text(&Value::from(list(training, "batches").last().cloned()))) ", " (format::seconds(elapsed)) }
                @if let Some(progress) = training["progress"].as_str() { p .muted { (progress) } }
                @match before {
                    // The last one took so long; this one may take longer, and then the bar is full and says so no more.
                    Some(before) if before > 0.0 => {
                        progress aria-label={ "Training of " (model) ", beside the seconds of the last one" } max=(before) value=(elapsed.min(before)) {}
                        p .muted { "the last one took " (format::seconds(before)) }
                    },
                    _ => { p .muted { "the first one" } },
                }
            }
        }
    }
}

fn over_time(history: &Value) -> Markup {
    let points = list(history, "points");
    let at = |point: &Value| number(point, "time_ms");
    let newest = points.last().and_then(at).unwrap_or_default();
    // Counters lose nothing when points between are left out: the rate is that of the seconds between.
    let step = points.len().div_ceil(POINTS_DRAWN).max(1);
    let spans: Vec<&[Value]> = points.rchunks(step).rev().collect();
    let ends: Vec<&Value> = spans.iter().filter_map(|span| span.last()).collect();
    let rates = |key: &str| -> Vec<(f64, f64)> {
        let pairs = ends.windows(2).filter_map(|pair| {
            let [before, after] = pair else { return None };
            let seconds = (at(after)? - at(before)?) / 1000.0;
            let grown = number(after, key)? - number(before, key)?;
            Some(((at(after)? - newest) / 1000.0, if seconds > 0.0 { grown.max(0.0) / seconds } else { f64::NAN }))
        });
        pairs.collect()
    };
    let levels = |key: &str| -> Vec<(f64, f64)> {
        let greatest = |span: &&[Value]| {
            let level = span.iter().filter_map(|point| number(point, key)).reduce(f64::max);
            Some(((at(span.last()?)? - newest) / 1000.0, level.unwrap_or(f64::NAN)))
        };
        spans.iter().filter_map(greatest).collect()
    };
    let axes = |title, y| Axes {
        title,
        x: "seconds ago",
        y,
        x_text: |value| format::number(-value),
        from_zero: true,
        counts: false,
    };
    let series = |name, points| Series { name, points, is_baseline: false };
    let has = |key: &str| points.iter().any(|point| number(point, key).is_some_and(|value| value > 0.0));
    html! {
        section #time data-live {
            @if points.len() > 2 {
                h2 { "Over time" }
                div .columns {
                    div .card {
                        h3 { "Rows a second" }
                        (lines(&axes("Rows a second, in and out, over the last minutes", "rows/s"), &[series("sent", rates("rows_sent")), series("read", rates("rows_read"))], None))
                    }
                    @if has("behind") {
                        div .card { h3 { "Records not read yet" } (lines(&axes("Records in the topic that are not read yet", "records"), &[series("behind", levels("behind"))], None)) }
                    }
                    div .card {
                        h3 { "Requests a second" }
                        (lines(&axes("Requests a second over the last minutes", "req/s"), &[series("requests", rates("requests"))], None))
                    }
                    @if has("latency_ms") {
                        div .card { h3 { "Latency" } (lines(&axes("Mean latency of a second's requests", "ms"), &[series("latency", levels("latency_ms"))], None)) }
                    }
                }
            }
        }
    }
}

/// Versions as they appeared, the newest first.
fn newest(curves: &[Curve]) -> Markup {
    let mut newest: Vec<(&Curve, &Value)> =
        curves.iter().filter_map(|curve| Some((curve, curve.versions.last()?))).collect();
    newest.sort_by_key(|(_, version)| std::cmp::Reverse(whole(version, "trained_at_ms")));
    html! {
        section #versions data-live {
            h2 { "Newest versions" }
            @if newest.is_empty() { p .empty { "No version yet: the first training is still to come." } }
            ul .versions {
                @for (curve, version) in newest.iter().take(8) {
                    @let number = whole(version, "version");
                    li {
                        a href={ "/page/models/" (encode(&curve.model)) "/" (number) } { (curve.model) "@" (number) }
                        " " (models::verdict(version))
                        " " span .muted { (format::count(whole(version, "rows"))) " rows, " (format::time(i64::try_from(whole(version, "trained_at_ms")).unwrap_or(i64::MAX))) }
                        (curve.sparkline())
                    }
                }
            }
        }
    }
}

fn latest_rows(status: &Value) -> Markup {
    let latest = list(status, "latest");
    let rows: Vec<Value> = latest.iter().rev().map(|latest| latest.get("row").unwrap_or(latest).clone()).collect();
    html! {
        div #latest data-live {
            @if !rows.is_empty() { section { h2 { "Last rows" } (table("The last rows that were read", &columns(&rows), &rows)) } }
        }
    }
}

fn rejects(status: &Value) -> Markup {
    let Some(rejects) = status.get("rejects").filter(|rejects| rejects.is_object()) else {
        return html! { div #rejects data-live {} };
    };
    let (latest, reasons) = (list(rejects, "newest"), list(rejects, "reasons"));
    html! {
        div #rejects data-live {
            @if !latest.is_empty() || !reasons.is_empty() {
                section {
                    h2 { "Rejects" }
                    ul { @for reason in reasons { li { (format::count(whole(reason, "records"))) " × " (word(reason, "reason")) } } }
                    @if !latest.is_empty() { (table("The newest rejects", &columns(latest), latest)) }
                }
            }
        }
    }
}

/// The columns that models learn from: they are looked at before others.
fn told_by_models(curves: &[Curve]) -> BTreeSet<String> {
    let newest = curves.iter().filter_map(|curve| curve.versions.last());
    let expressions = newest.flat_map(|version| {
        let one = ["target", "rating", "score", "votes"].into_iter().filter_map(|key| version.get(key));
        one.chain(list(version, "features")).filter_map(Value::as_str)
    });
    expressions.flat_map(words).collect()
}

/// Average and distribution of numbers over the stream, batch by batch; what is not counted yet comes with the next look.
async fn stream_columns(asker: &Asker<'_>, n_batches: u64, curves: &[Curve], query: &Query) -> Markup {
    let first = n_batches.saturating_sub(BATCHES_DRAWN as u64) + 1;
    let (mut counted, mut waits) = (Vec::new(), false);
    for number in (first..=n_batches).rev() {
        let path = format!("/v1/batches/{number}/statistics");
        match timeout(STATISTICS_WAIT, asker.get(&path)).await {
            Ok(Ok(statistics)) => counted.push((number, statistics)),
            // One that cannot be read says so on its own page.
            Ok(Err(_)) => {}
            Err(_) => {
                waits = true;
                break;
            }
        }
    }
    counted.reverse();
    let Some((newest, statistics)) = counted.last() else {
        return html! { div #columns data-live {} div #stream data-live data-waits[waits] {} };
    };
    let drawn = |column: &&Value| {
        !word(column, "name").starts_with('_') && column.get("histogram").is_some_and(Value::is_object)
    };
    let mut shown: Vec<&Value> = list(statistics, "columns").iter().filter(drawn).collect();
    let told = told_by_models(curves);
    shown.sort_by_key(|column| !told.contains(word(column, "name")));
    let choices: Vec<&str> = shown.iter().take(CHOICES_MOST).map(|column| word(column, "name")).collect();
    let chosen: Vec<&str> = query.pairs().filter(|(name, _)| *name == COLUMN).map(|(_, column)| column).collect();
    match chosen.is_empty() {
        true => shown.truncate(COLUMNS_DRAWN),
        false => shown.retain(|column| chosen.contains(&word(column, "name"))),
    }
    shown.truncate(CHOSEN_MOST);
    let means = |name: &str| -> Vec<(f64, f64)> {
        let of = |(batch, statistics): &(u64, Value)| {
            let column = list(statistics, "columns").iter().find(|column| word(column, "name") == name)?;
            Some((*batch as f64, self::number(column, "mean")?))
        };
        counted.iter().filter_map(of).collect()
    };
    let numbers = |value: Option<&Value>, key: &str| -> Vec<f64> {
        value.map_or(Vec::new(), |value| list(value, key).iter().filter_map(Value::as_f64).collect())
    };
    let is_shown = |name: &str| shown.iter().any(|column| word(column, "name") == name);
    html! {
        h2 { "Numbers of the stream" }
        div #columns data-live {
            @if choices.len() > 1 {
                details {
                    summary { "Other columns" }
                    form action="/" method="get" {
                        fieldset .boxes {
                            legend .hidden { "Columns that are shown" }
                            @for name in &choices { label { input type="checkbox" name=(COLUMN) value=(name) checked[is_shown(name)]; " " (name) } }
                        }
                        button .quiet type="submit" { "Show these" }
                    }
                }
            }
        }
        section #stream data-live data-waits[waits] {
            @if shown.is_empty() { p .empty { "None of these columns is in the batch." } }
            p .muted {
                @if counted.len() > 1 { "Of the " (counted.len()) " newest batches; the distribution is batch " (newest) "'s." } @else { "Of batch " (newest) "." }
                @if waits { " Further ones are being counted." }
            }
            div .columns {
                @for column in &shown {
                    @let name = word(column, "name");
                    @let picture = column.get("histogram");
                    div .card {
                        h3 { (name) @if let Some(mean) = self::number(column, "mean") { span .muted { " on average " (format::number(mean)) } } }
                        (histogram(&format!("Distribution of {name} in batch {newest}"), &numbers(picture, "edges"), &numbers(picture, "counts"), false))
                        @let points = means(name);
                        @if points.len() > 1 {
                            (lines(&Axes { title: &format!("Average of {name} in each batch"), x: "batch", y: "average", x_text: format::number, from_zero: false, counts: true },
                                &[Series { name, points, is_baseline: false }], None))
                        }
                    }
                }
            }
        }
    }
}
