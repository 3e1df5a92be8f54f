//! Which versions answer the requests that name none, and how a shadow's answers agree with those that are sent. Nothing where the pipeline file
//! says nothing of it.

use maud::{Markup, html};
use serde_json::Value;

use super::format;
use super::values::{encode, list, number, text, whole};
use crate::serve::{ApiError, Asker};

/// `described`: the model, as the API has it.
pub async fn section(asker: &Asker<'_>, model: &str, described: &Value) -> Result<Markup, ApiError> {
    let shares = |key: &str| -> Vec<(String, f64)> {
        let shares = described.get(key).and_then(Value::as_object).into_iter().flatten();
        shares.filter_map(|(alias, share)| Some((alias.clone(), share.as_f64()?))).collect()
    };
    let (split, shadow) = (shares("split"), shares("shadow"));
    if split.is_empty() && shadow.is_empty() {
        return Ok(html! {});
    }
    let json = format!("/v1/models/{}/shadow", encode(model));
    let compared = if shadow.is_empty() { Value::Null } else { asker.get(&json).await? };
    let left = 1.0 - split.iter().map(|(_, share)| share).sum::<f64>();
    let names = |alias: &str| match described.get("aliases").and_then(|aliases| aliases.get(alias)) {
        Some(version) => format!("version {}", text(version)),
        None if alias == "latest" => format!("version {}", whole(described, "latest")),
        None => "no version yet".to_owned(),
    };
    Ok(html! {
        section #traffic data-live {
            h2 { "Traffic" }
            p { "Requests that name no version:" }
            ul {
                @for (alias, share) in &split { li { (percent(*share)) " by " strong { (alias) } ", " (names(alias)) } }
                li { (percent(left.max(0.0))) " by version " (whole(described, "serving")) }
                @for (alias, share) in &shadow { li { (percent(*share)) " computed by " strong { (alias) } ", " (names(alias)) ", too, and not sent" } }
            }
            @if !shadow.is_empty() { (comparisons(&compared, &json)) }
        }
    })
}

fn percent(share: f64) -> String {
    format!("{} %", format::number(share * 100.0))
}

fn comparisons(compared: &Value, json: &str) -> Markup {
    html! {
        p .muted {
            "Of the " a href=(json) { "shadow" } " " (format::count(whole(compared, "compared"))) " were compared, " (format::count(whole(compared, "failed")))
            " failed, " (format::count(whole(compared, "dropped"))) " were dropped for want of time."
        }
        @if !list(compared, "comparisons").is_empty() {
            div .scroll tabindex="0" role="region" aria-label="Answers of the shadow beside those that were sent" {
                table {
                    thead { tr { th scope="col" { "Sent" } th scope="col" { "Shadow" } th scope="col" { "Requests" } th scope="col" { "How they differ" } } }
                    tbody {
                        @for pair in list(compared, "comparisons") {
                            tr {
                                th scope="row" { "version " (whole(pair, "version")) }
                                td { "version " (whole(pair, "shadow")) }
                                td { (format::count(whole(pair, "compared"))) }
                                td { (differences(pair)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn differences(pair: &Value) -> Markup {
    let of = |part: &str, key: &str| pair.get(part).and_then(|part| number(part, key));
    html! {
        @if let (Some(mean), Some(p90), Some(most)) = (of("numbers", "mean_absolute"), of("numbers", "p90"), of("numbers", "max_absolute")) {
            div { "by " (format::number(mean)) " in the mean, 90 % by at most about " (format::number(p90)) ", by " (format::number(most)) " at most" }
        }
        @if let Some(share) = of("classes", "share") { div { "another class for " (percent(share)) } }
        @if let Some(overlap) = of("lists", "overlap") { div { "lists share " (percent(overlap)) " of their items" } }
    }
}
