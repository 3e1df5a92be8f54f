//! Batches: all of them in time, and one with what is in it.

use maud::{Markup, html};
use serde_json::Value;

use super::cards::{columns, facts, pager, table};
use super::chart::{Axes, Series, histogram, lines};
use super::values::{self, Query, cell, encode, list, number, whole, word};
use super::{Made, Page, format};
use crate::serve::{Asker, loaded_versions};

const PER_PAGE: usize = 25;
const DRAWN: usize = 200;
const ROWS_FIRST: usize = 20;

fn at(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_i64).map_or_else(|| "–".to_owned(), format::time)
}

pub async fn all(asker: &Asker<'_>, query: &Query) -> Made {
    let total = whole(&asker.get("/v1/batches?limit=0").await?, "total");
    let drawn = asker.get(&format!("/v1/batches?limit={DRAWN}&offset={}", total.saturating_sub(DRAWN as u64))).await?;
    let end = total.saturating_sub(query.offset(total) as u64);
    let begin = end.saturating_sub(PER_PAGE as u64);
    let shown = asker.get(&format!("/v1/batches?limit={}&offset={begin}", end - begin)).await?;
    let points = |key: &str| -> Vec<(f64, f64)> {
        list(&drawn, "batches")
            .iter()
            .filter_map(|batch| Some((number(batch, "batch")?, number(batch, key)?)))
            .collect()
    };
    let has_rejects = list(&drawn, "batches").iter().any(|batch| whole(batch, "rejects") > 0);
    let mut series = vec![Series { name: "rows", points: points("rows"), is_baseline: false }];
    if has_rejects {
        series.push(Series { name: "rejects", points: points("rejects"), is_baseline: false });
    }
    let axes = Axes {
        title: "Rows of each batch",
        x: "batch",
        y: "rows",
        x_text: format::number,
        from_zero: true,
        counts: true,
    };
    let body = html! {
        h1 { "Batches" }
        @if total == 0 { p .empty { "No batch is complete yet." } }
        @else {
            section #timeline .card data-live { (lines(&axes, &series, None)) }
            section #batches data-live {
                div .scroll tabindex="0" role="region" aria-label="Batches" {
                    table {
                        thead { tr {
                            th scope="col" { "Batch" } th .num scope="col" { "Rows" } th .num scope="col" { "Rejects" } th scope="col" { "Cut by" }
                            th scope="col" { "Times of the records (UTC)" } th scope="col" { "Committed (UTC)" } th scope="col" { "Digest" }
                        } }
                        tbody { @for batch in list(&shown, "batches").iter().rev() { (row(batch)) } }
                    }
                }
                (pager(query.offset(total), PER_PAGE, total, |offset| values::target("/page/batches", &query.with(&[("offset", Some(&offset.to_string()))]))))
            }
        }
    };
    Ok(Page::new("Batches", "/page/batches", body))
}

fn row(batch: &Value) -> Markup {
    let number = whole(batch, "batch");
    let digest = word(batch, "digest");
    html! {
        tr {
            th scope="row" { a href={ "/page/batches/" (number) } { (number) } }
            td .num { (format::count(whole(batch, "rows"))) }
            td .num .bad[whole(batch, "rejects") > 0] { (format::count(whole(batch, "rejects"))) }
            td { (word(batch, "reason")) }
            td .nowrap { (at(batch, "min_time")) br; (at(batch, "max_time")) }
            td .nowrap { (at(batch, "committed_at_ms")) }
            td { code title=(digest) { (digest.get(..10).unwrap_or(digest)) } }
        }
    }
}

pub async fn one(asker: &Asker<'_>, number: &str) -> Made {
    let path = format!("/v1/batches/{}", encode(number));
    let batch = asker.get(&path).await?;
    let rows = asker.get(&format!("{path}/rows?limit={ROWS_FIRST}")).await;
    let statistics = asker.get(&format!("{path}/statistics")).await.ok();
    let rejects = match whole(&batch, "rejects") {
        0 => None,
        _ => asker.get(&format!("{path}/rejects?limit={ROWS_FIRST}")).await.ok(),
    };
    let number = whole(&batch, "batch");
    let users = users(asker, number).await;
    let title = format!("Batch {number}");
    let said = [
        ("Rows", format::count(whole(&batch, "rows"))),
        ("Rejects", format::count(whole(&batch, "rejects"))),
        ("Records in all, with it", format::count(whole(&batch, "total"))),
        ("Cut by", word(&batch, "reason").to_owned()),
        ("First time of its records", at(&batch, "min_time")),
        ("Last time of its records", at(&batch, "max_time")),
        ("Committed", at(&batch, "committed_at_ms")),
        ("Digest", word(&batch, "digest").to_owned()),
    ];
    let body = html! {
        p .trail { a href="/page/batches" { "Batches" } }
        h1 { (title) }
        (facts(&said))
        @if let Some(statistics) = &statistics { (columns_of(statistics)) }
        section {
            h2 { "First rows" }
            @match &rows {
                Ok(rows) => { (table("First rows", &columns(list(rows, "rows")), list(rows, "rows"))) p { a href={ (path) "/rows" } { "Rows as JSON" } } },
                Err(error) => p .notice { (error.message) },
            }
        }
        @if let Some(rejects) = &rejects {
            section {
                h2 { "Rejects" }
                (table("Rejects", &columns(list(rejects, "rejects")), list(rejects, "rejects")))
                p .muted { (format::count(whole(rejects, "total"))) " in all; " a href={ (path) "/rejects" } { "as JSON" } }
            }
        }
        section {
            h2 { "Versions that used it" }
            @if users.is_empty() { p .muted { "None of the newest versions." } }
            ul .versions { @for (model, version) in &users { li { a href={ "/page/models/" (encode(model)) "/" (version) } { (model) "@" (version) } } } }
        }
        section { h2 { "Parts" } (table("Parts", &["partition", "rows", "rejects", "skipped", "late", "first_offset", "end_offset", "file"], list(&batch, "parts"))) }
        p { a href={ "/page/sql?sql=" (encode(&format!("select * from batches where _batch = {number} limit 100"))) } { "Ask it in SQL" } }
    };
    Ok(Page::new(title, "/page/batches", body))
}

/// Of each column what its values are like.
fn columns_of(statistics: &Value) -> Markup {
    let numbers =
        |value: &Value, key: &str| -> Vec<f64> { list(value, key).iter().filter_map(Value::as_f64).collect() };
    let shown = list(statistics, "columns").iter().filter(|column| !word(column, "name").starts_with('_'));
    let value = |column: &Value, key: &str| {
        column.get(key).filter(|value| !value.is_null()).map_or_else(|| "–".to_owned(), cell)
    };
    html! {
        section {
            h2 { "Columns" }
            @if whole(statistics, "rows_read") < whole(statistics, "rows") { p .muted { "Of the first " (format::count(whole(statistics, "rows_read"))) " rows." } }
            div .scroll tabindex="0" role="region" aria-label="Columns" {
                table {
                    thead { tr {
                        th scope="col" { "Column" } th scope="col" { "Type" } th .num scope="col" { "Missing" } th .num scope="col" { "Different" }
                        th .num scope="col" { "Least" } th .num scope="col" { "Mean" } th .num scope="col" { "Greatest" } th scope="col" { "Values" }
                    } }
                    tbody {
                        @for column in shown {
                            @let picture = column.get("histogram").unwrap_or(&Value::Null);
                            tr {
                                th scope="row" { (word(column, "name")) } td { (word(column, "type")) }
                                td .num { (value(column, "nulls")) }
                                td .num { (distinct(column)) }
                                td .num { (value(column, "min")) } td .num { (value(column, "mean")) } td .num { (value(column, "max")) }
                                td {
                                    @if picture.is_object() { (histogram(&format!("Distribution of {}", word(column, "name")), &numbers(picture, "edges"), &numbers(picture, "counts"), true)) }
                                    @else { span .muted { @for top in list(column, "top").iter().take(4) { (cell(top.get("value").unwrap_or(&Value::Null))) " (" (format::count(whole(top, "rows"))) ") " } } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Exact as far as it was counted.
fn distinct(column: &Value) -> String {
    match (column.get("distinct").and_then(Value::as_u64), column.get("distinct_counted").and_then(Value::as_u64)) {
        (Some(distinct), _) => format::count(distinct),
        (None, Some(counted)) => format!("over {}", format::count(counted)),
        (None, None) => "–".to_owned(),
    }
}

/// Of the versions in memory: the newest ones of each model.
async fn users(asker: &Asker<'_>, batch: u64) -> Vec<(String, u64)> {
    let models = asker.get("/v1/models?limit=1000").await.unwrap_or_default();
    let mut users = Vec::new();
    for model in list(&models, "models") {
        let name = word(model, "name");
        let versions = loaded_versions(asker.app, name);
        let used = versions
            .iter()
            .rev()
            .filter(|version| list(version, "batches").iter().any(|used| used.as_u64() == Some(batch)));
        users.extend(used.take(8).map(|version| (name.to_owned(), whole(version, "version"))));
    }
    users
}
