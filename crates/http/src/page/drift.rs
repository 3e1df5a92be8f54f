//! How the newest batch differs from those that a version was trained on: from `/v1/models/{m}/versions/{v}/drift`, which is computed on demand.

use maud::{Markup, html};
use serde_json::Value;

use super::chart::histogram;
use super::format;
use super::values::{list, number, text, whole, word};
use crate::serve::ApiError;

/// Further ones are in the JSON.
const COLUMNS_SHOWN: usize = 30;

/// `path`: of the version in the API.
pub fn section(drift: &Result<Value, ApiError>, path: &str) -> Markup {
    html! {
        section #drift data-live data-waits[drift.as_ref().is_ok_and(|drift| word(drift, "status") == "computing")] {
            h2 { "How the newest batch differs" }
            @match drift {
                Err(error) => p .muted { (error.message) },
                Ok(drift) if word(drift, "status") == "computing" => p .empty { "Being computed; this part fills itself, or reload in a moment." },
                Ok(drift) if word(drift, "status") == "failed" => p .notice { (word(drift, "reason")) },
                Ok(drift) => (ready(drift, path)),
            }
        }
    }
}

fn ready(drift: &Value, path: &str) -> Markup {
    let columns = list(drift, "columns");
    let before = list(drift, "reference_batches").iter().map(text).collect::<Vec<_>>().join(", ");
    let rows = |used: &str, of: &str| match (whole(drift, used), whole(drift, of)) {
        (used, of) if used == of => format!("{} rows", format::count(of)),
        (used, of) => format!("{} of {} rows", format::count(used), format::count(of)),
    };
    html! {
        @for note in list(drift, "notes") { p .muted { (text(note)) } }
        @if !columns.is_empty() {
            p {
                "Batch " a href={ "/page/batches/" (whole(drift, "batch")) } { (whole(drift, "batch")) } " (" (rows("rows", "of")) ") beside "
                @if word(drift, "against") == "before" { "the batch before, " } @else { "those it was trained on, " }
                (before) " (" (rows("reference_rows", "reference_of")) ")."
            }
            div .scroll tabindex="0" role="region" aria-label="Drift" {
                table {
                    thead { tr {
                        th scope="col" { "What" } th scope="col" { "Change" } th .num scope="col" { "PSI" } th .num scope="col" { "by chance up to" }
                        th scope="col" { "Test" } th .num scope="col" { "p" } th .num scope="col" { "Missing, before and now" }
                        th scope="col" { "Before" } th scope="col" { "Now" }
                    } }
                    tbody { @for column in columns.iter().take(COLUMNS_SHOWN) { (row(column)) } }
                }
            }
            p .muted {
                @if columns.len() > COLUMNS_SHOWN { "The first " (COLUMNS_SHOWN) " of " (columns.len()) " columns. " }
                "Moderate from a stability index (PSI) of 0.1 on, major from 0.25 on, where chance alone gives less. With many rows a small p says little. "
                a href={ (path) "/drift" } { "As JSON" }
            }
        }
    }
}

fn row(column: &Value) -> Markup {
    let verdict = word(column, "verdict");
    let said = |key: &str| number(column, key).map_or_else(|| "–".to_owned(), format::number);
    let percent =
        |key: &str| number(column, key).map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0));
    let counts = |key: &str| list(column, "bins").iter().filter_map(|bin| number(bin, key)).collect::<Vec<f64>>();
    let (before, now) = (counts("reference"), counts("rows"));
    // A bar for each bin, whatever it is of.
    let edges: Vec<f64> = (0..=before.len()).map(|edge| edge as f64).collect();
    html! {
        tr {
            th scope="row" { @if word(column, "role") == "prediction" { "what it answers" } @else { code { (word(column, "name")) } } }
            td .bad[matches!(verdict, "moderate" | "major")] { (verdict) }
            td .num { (said("psi")) } td .num .muted { (said("chance")) }
            td { @if number(column, "statistic").is_some() { (if word(column, "test") == "chi_squared" { "χ² " } else { "KS " }) (said("statistic")) } @else { "–" } }
            td .num { (said("p")) }
            td .num { (percent("reference_missing")) " · " (percent("missing")) }
            td { (histogram(&format!("{} before", word(column, "name")), &edges, &before, true)) }
            td {
                (histogram(&format!("{} now", word(column, "name")), &edges, &now, true))
                @for new in list(column, "new").iter().take(3) { span .muted { "new: " (word(new, "value")) " (" (format::count(whole(new, "rows"))) ") " } }
            }
        }
    }
}
