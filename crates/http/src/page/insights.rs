//! What the kind of a model shows of a version: from `/v1/models/{m}/versions/{v}/insights`, which is computed on first demand.

use maud::{Markup, html};
use serde_json::Value;

use super::cards::table;
use super::chart::{Axes, Series, bars, histogram, lines, matrix, scatter};
use super::format;
use super::models::answer_name;
use super::values::{list, number, text, whole, word};

const SHARES_SAID: usize = 3;

pub fn section(version: &Value, insights: Option<&Value>) -> Markup {
    let Some(insights) = insights else { return html! {} };
    html! {
        section #insights data-live data-waits[word(insights, "status") == "computing"] {
            @match word(insights, "status") {
                "computing" => { h2 { "What it does" } p .empty { "Being computed from the held-out records; this part fills itself, or reload in a moment." } },
                "failed" => { h2 { "What it does" } p .notice { (word(insights, "reason")) } },
                _ => (ready(version, insights)),
            }
        }
    }
}

fn ready(version: &Value, insights: &Value) -> Markup {
    html! {
        @for note in list(insights, "notes") { p .muted { (text(note)) } }
        (importance(insights))
        (coefficients(insights))
        (partial(version, insights))
        (against_actual(version, insights))
        (classes(insights))
        (scattered(insights))
        (alike(insights))
        (by_group("By how often an item was rated", list(insights, "by_popularity")))
        (by_group("By how much a user had rated", list(insights, "by_history")))
    }
}

fn numbers(value: &Value, key: &str) -> Vec<f64> {
    list(value, key).iter().filter_map(Value::as_f64).collect()
}

fn pair(value: &Value) -> Option<(f64, f64)> {
    Some((value.get(0)?.as_f64()?, value.get(1)?.as_f64()?))
}

fn importance(insights: &Value) -> Markup {
    let rows: Vec<(String, f64, Option<f64>)> = list(insights, "importance")
        .iter()
        .filter_map(|row| Some((word(row, "feature").to_owned(), number(row, "increase")?, number(row, "spread"))))
        .collect();
    html! {
        @if !rows.is_empty() {
            h2 { "What it looks at" }
            p .muted { "How much worse its " (word(insights, "measure")) " becomes when a feature's values are shuffled, on at most 2,000 held-out rows." }
            (bars("Permutation importance", &rows))
        }
    }
}

fn coefficients(insights: &Value) -> Markup {
    let rows = list(insights, "coefficients");
    let mut columns = vec!["feature", "class", "value", "unit", "standardised"];
    columns.retain(|column| rows.iter().any(|row| row.get(*column).is_some_and(|value| !value.is_null())));
    html! {
        @if !rows.is_empty() {
            h2 { "Coefficients" }
            p .muted {
                @match word(insights, "kind") {
                    "classification" => "What each unit changes in the log-odds of the class.",
                    _ => "What each unit changes in the answer, before the model's output expression where it has one.",
                }
            }
            (table("Coefficients", &columns, rows.get(..200).unwrap_or(rows)))
        }
    }
}

fn partial(version: &Value, insights: &Value) -> Markup {
    let features = list(insights, "partial");
    html! {
        @if !features.is_empty() {
            h2 { "What a feature does" }
            p .muted { "The mean answer on held-out rows with one feature set to each of its values (partial dependence)." }
            div .columns {
                @for feature in features {
                    div .card {
                        h3 { (word(feature, "feature")) }
                        (dependence(version, feature))
                    }
                }
            }
        }
    }
}

fn dependence(version: &Value, feature: &Value) -> Markup {
    let points = list(feature, "points");
    let classes: Vec<String> = list(feature, "classes").iter().map(text).collect();
    let target = answer_name(version);
    let names: Vec<&str> =
        if classes.is_empty() { vec![target.as_str()] } else { classes.iter().map(String::as_str).collect() };
    let y_of = |point: &Value, index: usize| match point.get("y") {
        Some(Value::Array(values)) => values.get(index).and_then(Value::as_f64),
        Some(value) => value.as_f64(),
        None => None,
    };
    if word(feature, "kind") == "number" {
        let series: Vec<Series<'_>> = names
            .iter()
            .enumerate()
            .take(6)
            .map(|(index, name)| Series {
                name,
                points: points.iter().filter_map(|point| Some((number(point, "x")?, y_of(point, index)?))).collect(),
                is_baseline: false,
            })
            .collect();
        let title = format!("Mean answer over {}", word(feature, "feature"));
        let axes = Axes {
            title: &title,
            x: word(feature, "feature"),
            y: names.first().copied().unwrap_or_default(),
            x_text: format::number,
            from_zero: false,
            counts: false,
        };
        return lines(&axes, &series, None);
    }
    if let [name] = names.as_slice() {
        let rows: Vec<(String, f64, Option<f64>)> =
            points.iter().filter_map(|point| Some((point.get("x").map(text)?, y_of(point, 0)?, None))).collect();
        return bars(name, &rows);
    }
    // A column for each class.
    let row = |point: &Value| {
        let classes = names.iter().enumerate().map(|(index, name)| ((*name).to_owned(), y_of(point, index).into()));
        let first = ("value".to_owned(), point.get("x").cloned().unwrap_or_default());
        Value::Object([first].into_iter().chain(classes).collect())
    };
    let rows: Vec<Value> = points.iter().map(row).collect();
    table("Mean answer", &super::cards::columns(&rows), &rows)
}

fn against_actual(version: &Value, insights: &Value) -> Markup {
    let points: Vec<(f64, f64, usize)> =
        list(insights, "predicted").iter().filter_map(pair).map(|(actual, predicted)| (actual, predicted, 0)).collect();
    let residuals = insights.get("residuals").unwrap_or(&Value::Null);
    html! {
        @if !points.is_empty() {
            div .columns {
                section .card {
                    h2 { "Predicted against actual" }
                    (scatter(&Axes { title: &format!("Predicted against actual {}", answer_name(version)), x: "actual", y: "predicted", x_text: format::number, from_zero: false, counts: false }, &points, &[], true))
                    p .muted { "A perfect model's points lie on the line." }
                }
                @if residuals.is_object() {
                    section .card {
                        h2 { "Residuals" }
                        (histogram("Actual less predicted", &numbers(residuals, "edges"), &numbers(residuals, "counts"), false))
                        p .muted { "Actual less predicted: how far off, and to which side." }
                    }
                }
            }
        }
    }
}

fn classes(insights: &Value) -> Markup {
    let names: Vec<String> = list(insights, "classes").iter().map(text).collect();
    let cells: Vec<Vec<f64>> = list(insights, "confusion")
        .iter()
        .map(|row| row.as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_f64).collect())
        .collect();
    let roc: Vec<Series<'_>> = list(insights, "roc")
        .iter()
        .map(|one| Series {
            name: word(one, "class"),
            points: list(one, "points").iter().filter_map(pair).collect(),
            is_baseline: false,
        })
        .take(6)
        .collect();
    let calibration: Vec<Series<'_>> = list(insights, "calibration")
        .iter()
        .map(|one| Series {
            name: word(one, "class"),
            points: list(one, "bins")
                .iter()
                .filter_map(|bin| Some((number(bin, "predicted")?, number(bin, "observed")?)))
                .collect(),
            is_baseline: false,
        })
        .take(6)
        .collect();
    let even = || Series { name: "by chance", points: vec![(0.0, 0.0), (1.0, 1.0)], is_baseline: true };
    let right = || Series { name: "as it says", points: vec![(0.0, 0.0), (1.0, 1.0)], is_baseline: true };
    let axes = |title, x, y| Axes { title, x, y, x_text: format::number, from_zero: true, counts: false };
    html! {
        @if !cells.is_empty() {
            h2 { "What it takes for what" }
            (matrix("Confusion: rows are what it was, columns what was said", &names, &cells))
            div .columns {
                @if !roc.is_empty() {
                    section .card {
                        h2 { "ROC" }
                        (lines(&axes("True against false positives", "false positives", "true positives"), &roc.into_iter().chain([even()]).collect::<Vec<_>>(), None))
                        p .muted { @for one in list(insights, "roc").iter().take(6) { @if let Some(auc) = number(one, "auc") { (word(one, "class")) ": AUC " (format::number(auc)) " " } } }
                    }
                }
                @if !calibration.is_empty() {
                    section .card {
                        h2 { "Calibration" }
                        (lines(&axes("How often it was so, over how sure it was", "said", "was so"), &calibration.into_iter().chain([right()]).collect::<Vec<_>>(), None))
                        p .muted { "Of the rows where it said 70 %, how many were so." }
                    }
                }
            }
        }
    }
}

fn scattered(insights: &Value) -> Markup {
    let points: Vec<(f64, f64, usize)> = list(insights, "scatter")
        .iter()
        .filter_map(|point| {
            let (x, y) = pair(point)?;
            Some((x, y, usize::try_from(point.get(2)?.as_u64()?).ok()?))
        })
        .collect();
    let n_clusters = points.iter().map(|(_, _, cluster)| cluster + 1).max().unwrap_or_default();
    let names: Vec<String> = (0..n_clusters.min(12)).map(|cluster| format!("cluster {cluster}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let explained = numbers(insights, "explained");
    html! {
        @if !points.is_empty() {
            section .card {
                h2 { "The clusters" }
                (scatter(&Axes { title: "Held-out rows on two principal components, by cluster", x: "first component", y: "second", x_text: format::number, from_zero: false, counts: false }, &points, &names, false))
                @if let [first, second] = explained.as_slice() { p .muted { "Both components hold " (format::number((first + second) * 100.0)) " % of the variance." } }
            }
        }
    }
}

/// Of a column of categories the largest shares.
fn shares(value: &Value) -> Value {
    let Some(shares) = value.as_object() else { return value.clone() };
    let mut shares: Vec<(&String, f64)> =
        shares.iter().filter_map(|(name, share)| Some((name, share.as_f64()?))).collect();
    shares.sort_by(|left, right| right.1.total_cmp(&left.1));
    let said = shares.iter().take(SHARES_SAID).map(|(name, share)| format!("{name} {:.0} %", share * 100.0));
    said.collect::<Vec<_>>().join(", ").into()
}

/// Sizes, centres and labels, which a clustering says of itself.
pub fn clusters(clusters: &Value) -> Markup {
    let all = list(clusters, "clusters");
    let sizes: Vec<(String, f64, Option<f64>)> = all
        .iter()
        // Imported centres do not say it.
        .filter_map(|one| {
            Some((format!("{} {}", whole(one, "cluster"), word(one, "label")), number(one, "size")?, None))
        })
        .collect();
    let centres: Vec<Value> = all
        .iter()
        .filter_map(|one| {
            let mut centre = serde_json::Map::new();
            centre.insert("cluster".to_owned(), one.get("cluster")?.clone());
            let columns = one.get("center")?.as_object()?;
            centre.extend(columns.iter().map(|(name, value)| (name.clone(), shares(value))));
            Some(Value::Object(centre))
        })
        .collect();
    html! {
        @if !sizes.is_empty() { section { h2 { "Sizes" } (bars("Rows in each cluster", &sizes)) } }
        @if !centres.is_empty() {
            section { h2 { "Centres" } (table("Centres in the data's units", &super::cards::columns(&centres), &centres)) }
        }
    }
}

/// What the scores of similar texts, or the distances of near rows, are made of.
fn alike(insights: &Value) -> Markup {
    let shares = |key: &str, name: fn(&Value) -> String| -> Vec<(String, f64, Option<f64>)> {
        let rows = list(insights, key).iter();
        rows.filter_map(|row| Some((name(row), number(row, "share")? * 100.0, None))).collect()
    };
    let columns = shares("columns", |row| word(row, "column").to_owned());
    let terms = shares("terms", |row| format!("{} ({})", word(row, "term"), format::count(whole(row, "pairs"))));
    let features = shares("features", |row| {
        let equal = whole(row, "equal") as f64 / (whole(row, "pairs") as f64).max(1.0) * 100.0;
        format!("{} (equal in {} %)", word(row, "feature"), format::number(equal.round()))
    });
    html! {
        @if columns.len() > 1 {
            section { h2 { "Which texts make items alike" } (bars("Percent of the scores of similar items", &columns)) }
        }
        @if !terms.is_empty() {
            section {
                h2 { "Which words make items alike" }
                p .muted { "Percent of the scores of similar items, and how many pairs share the word." }
                (bars("Percent of the scores of similar items", &terms))
            }
        }
        @if !features.is_empty() {
            section {
                h2 { "What keeps near items apart" }
                p .muted { "Percent of their distances, and in how many pairs there is no difference: what near items have in common." }
                (bars("Percent of the distances of near items", &features))
            }
        }
    }
}

fn by_group(title: &str, groups: &[Value]) -> Markup {
    html! {
        @if !groups.is_empty() { section { h2 { (title) } (table(title, &super::cards::columns(groups), groups)) } }
    }
}
