//! One look at a server, and how it is said. Whatever is not there, or of another kind than expected, is left out.

use millstream_base::grouped;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::client::{Client, ClientError};
use crate::cli::table::{plain, table};

/// Of them the first ones are asked for their measures.
const MODELS_MOST: usize = 50;
const MEASURED_MOST: usize = 20;
const PROBLEMS_MOST: usize = 50;
/// Of a name or a sentence of the server.
const CHARS_MOST: usize = 200;
/// Requests a second are those of so many seconds.
const RATE_SECONDS: usize = 5;
/// Where a version is measured, in the order of what tells most, and its measures likewise.
const PLACES: [&str; 3] = ["common", "next_batch", "holdout"];
const MEASURES: [&str; 8] = ["rmse", "log_loss", "silhouette", "ndcg_10", "accuracy", "mae", "known_items", "inertia"];

pub(super) struct Look {
    pub problems: Vec<String>,
    pub json: Value,
}

impl Look {
    pub async fn take(client: &Client) -> Result<Self, ClientError> {
        let status = client.get("/v1/status").await?;
        // The rest of a server of another release may be missing.
        let history = client.get("/v1/status/history").await.unwrap_or_default();
        let batches = client.get("/v1/batches?limit=0").await.unwrap_or_default();
        let listed = client.get(&format!("/v1/models?limit={MODELS_MOST}")).await.unwrap_or_default();
        let mut models = Vec::new();
        for model in list(&listed, "models").iter().take(MODELS_MOST) {
            let mut shown = json!({
                "name": model.get("name"), "algorithm": model.get("algorithm"), "serving": model.get("serving"),
                "champion": model.get("champion"), "latest": model.get("latest"), "versions": list(model, "versions").len(),
            });
            if let (Some(name), Some(serving), true) =
                (model["name"].as_str(), model["serving"].as_u64(), models.len() < MEASURED_MOST)
            {
                let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
                if let Ok(version) = client.get(&format!("/v1/models/{name}/versions/{serving}")).await {
                    shown["measured"] = measured(&version);
                    shown["beats_baseline"] = version["beats_baseline"].clone();
                }
            }
            models.push(shown);
        }
        let problems = problems(&status);
        let json = json!({
            "url": client.base(), "reachable": true, "problems": problems,
            "status": status, "batches": batches["total"], "answers": answers(&history), "models": models,
            "models_total": listed["total"],
        });
        Ok(Self { problems, json })
    }

    /// A screen of it.
    pub fn text(&self) -> String {
        let (look, status) = (&self.json, &self.json["status"]);
        let mut lines = vec![format!(
            "{} at {}: {}, millstream {}",
            word(&status["pipeline"]),
            word(&look["url"]),
            word(&status["state"]),
            word(&status["millstream"])
        )];
        let mut fact = |name: &str, said: String| {
            if !said.is_empty() {
                lines.push(format!("{name:<10}{said}"));
            }
        };
        fact("source", source(&status["source"]));
        fact("topic", topic(status));
        fact("batches", batches(look));
        for training in list(status, "training").iter().take(MODELS_MOST) {
            let numbers: Vec<String> =
                list(training, "batches").iter().take(5).map(|number| number.to_string()).collect();
            let more = if list(training, "batches").len() > 5 { " …" } else { "" };
            let progress = Some(word(&training["progress"])).filter(|progress| !progress.is_empty());
            let progress = progress.map_or(String::new(), |progress| format!(", {progress}"));
            fact("training", format!("{} on batches {}{more}{progress}", word(&training["model"]), numbers.join(" ")));
        }
        let loading: Vec<String> = list(status, "loading").iter().take(5).map(word).collect();
        fact("loading", loading.join(", "));
        fact("answers", answered(&look["answers"]));
        let rows: Vec<Vec<String>> = list(look, "models").iter().map(model_row).collect();
        let mut text = lines.join("\n") + "\n";
        if !rows.is_empty() {
            let names = ["model", "algorithm", "serves", "champion", "versions", "measured", "baseline", "verdict"];
            text.push_str(&format!("\n{}", table(&names, &rows)));
            let total = look["models_total"].as_u64().unwrap_or(0);
            if total > rows.len() as u64 {
                text.push_str(&format!("{} of {total} models\n", rows.len()));
            }
        }
        if !self.problems.is_empty() {
            text.push_str("\nproblems\n");
            text.extend(self.problems.iter().map(|problem| format!("  {}\n", short(problem))));
        }
        text
    }

    /// All of it in a line, for what is no terminal.
    pub fn line(&self) -> String {
        let (look, status) = (&self.json, &self.json["status"]);
        let models = list(look, "models").iter().filter_map(|model| {
            let serving = model["serving"].as_u64()?;
            Some(format!("{}@{serving}", word(&model["name"])))
        });
        let parts = [
            format!("{} {}", word(&status["pipeline"]), word(&status["state"])),
            source(&status["source"]),
            behind(status),
            batches(look),
            models.collect::<Vec<_>>().join(" "),
            answered(&look["answers"]),
            match self.problems.as_slice() {
                [] => "no problems".to_owned(),
                problems => {
                    format!("problems: {}", problems.iter().map(|one| short(one)).collect::<Vec<_>>().join("; "))
                }
            },
        ];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" | ") + "\n"
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// As a terminal may show it.
fn short(text: &str) -> String {
    let text = plain(text);
    if text.chars().count() <= CHARS_MOST { text } else { text.chars().take(CHARS_MOST).chain(['…']).collect() }
}

fn word(value: &Value) -> String {
    short(value.as_str().unwrap_or_default())
}

fn count(value: &Value) -> Option<String> {
    Some(grouped(&value.as_u64()?.to_string()))
}

fn problems(status: &Value) -> Vec<String> {
    let told = ["problems", "registry_problems"].into_iter().flat_map(|key| list(status, key));
    let mut problems: Vec<String> = told.filter_map(Value::as_str).take(PROBLEMS_MOST).map(str::to_owned).collect();
    if status["state"] == "failed" && problems.is_empty() {
        problems.push("the pipeline failed: its log says why".to_owned());
    }
    problems
}

fn measured(version: &Value) -> Value {
    let mut found = PLACES.iter().flat_map(|place| {
        let scores = &version["metrics"][*place];
        MEASURES.iter().filter_map(move |measure| {
            let value = scores[*measure].as_f64()?;
            Some(json!({"on": place, "measure": measure, "value": value, "baseline": scores["baseline"][*measure].as_f64()}))
        })
    });
    found.next().unwrap_or_default()
}

/// Of the points of the last seconds.
fn answers(history: &Value) -> Value {
    let points = list(history, "points");
    let Some(newest) = points.last() else { return Value::Null };
    let before = &points[points.len().saturating_sub(RATE_SECONDS + 1)];
    let grown = |key: &str| Some(newest[key].as_f64()? - before[key].as_f64()?);
    let seconds = grown("time_ms").map(|ms| ms / 1e3).filter(|seconds| *seconds > 0.0);
    let rate = seconds.zip(grown("requests")).map(|(seconds, requests)| (requests / seconds).max(0.0));
    json!({"per_second": rate, "latency_ms": newest["latency_ms"], "requests": newest["requests"], "errors": newest["errors"]})
}

fn answered(answers: &Value) -> String {
    let Some(rate) = answers["per_second"].as_f64() else { return String::new() };
    let latency = answers["latency_ms"].as_f64().map_or(String::new(), |ms| format!(", {ms:.2} ms each"));
    let errors = count(&answers["errors"]).zip(count(&answers["requests"]));
    let errors = errors.map_or(String::new(), |(errors, all)| format!(", {errors} errors of {all}"));
    format!("{rate:.1} requests/s{latency}{errors}")
}

fn source(source: &Value) -> String {
    let Some(sent) = count(&source["rows_sent"]) else { return String::new() };
    let of = count(&source["rows_total"]).map_or(String::new(), |total| format!(" of {total}"));
    let rate = source["rows_per_second"].as_f64().filter(|rate| *rate > 0.0);
    let rate = match (source["ended"].as_bool(), rate) {
        (Some(true), _) => ", ended".to_owned(),
        (_, Some(rate)) => format!(", {rate:.0} rows/s"),
        (_, None) => String::new(),
    };
    format!("{sent}{of} rows sent{rate}")
}

fn behind(status: &Value) -> String {
    count(&status["source"]["records_behind"]).map_or(String::new(), |behind| format!("{behind} records behind"))
}

fn topic(status: &Value) -> String {
    let broker = &status["broker"];
    let address = word(&broker["address"]);
    let broker = match (address.is_empty(), broker["reachable"].as_bool()) {
        (true, _) => String::new(),
        (false, Some(true)) => format!("the broker {address} answers"),
        (false, _) => format!("the broker {address} does not answer"),
    };
    let said = [word(&status["source"]["topic"]), broker, behind(status)];
    said.into_iter().filter(|said| !said.is_empty()).collect::<Vec<_>>().join(", ")
}

fn batches(look: &Value) -> String {
    let open = &look["status"]["batch"];
    let complete = count(&look["batches"]).map_or(String::new(), |total| format!("{total} batches"));
    let open_rows = open["rows"].as_u64().filter(|_| open["batch"].as_u64().is_some_and(|batch| batch > 0));
    let filling = open_rows.map_or(String::new(), |rows| {
        let of = count(&open["rows_expected"]).map_or(String::new(), |rows| format!(" of {rows}"));
        let closes = Some(word(&open["closes"])).filter(|closes| !closes.is_empty());
        let closes = closes.map_or(String::new(), |closes| format!(", closes {closes}"));
        format!("batch {} has {}{of} rows{closes}", open["batch"], grouped(&rows.to_string()))
    });
    let rejects = open["rejects_total"].as_u64().filter(|rejects| *rejects > 0);
    let rejects = rejects.map_or(String::new(), |rejects| format!("{} rejects", grouped(&rejects.to_string())));
    [complete, filling, rejects].into_iter().filter(|said| !said.is_empty()).collect::<Vec<_>>().join("; ")
}

fn model_row(model: &Value) -> Vec<String> {
    let number = |key: &str| model[key].as_u64().map_or("–".to_owned(), |number| number.to_string());
    let measured = &model["measured"];
    let value = |key: &str| measured[key].as_f64().map(|value| format!("{value:.5}"));
    let shown = value("value").map_or("–".to_owned(), |value| {
        format!("{} {value} on {}", word(&measured["measure"]), word(&measured["on"]).replace('_', " "))
    });
    let verdict = match model["beats_baseline"].as_bool() {
        Some(true) => "beats its baseline",
        Some(false) => "worse than its baseline",
        None => "–",
    };
    vec![
        word(&model["name"]),
        word(&model["algorithm"]),
        number("serving"),
        number("champion"),
        number("versions"),
        shown,
        value("baseline").unwrap_or("–".to_owned()),
        verdict.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn look(status: Value) -> Look {
        let problems = problems(&status);
        let json = json!({"url": "http://a", "status": status, "batches": 2, "models_total": 1,
            "answers": answers(&json!({"points": [
                {"time_ms": 1000, "requests": 10, "errors": 0},
                {"time_ms": 3000, "requests": 30, "errors": 1, "latency_ms": 0.25}]})),
            "models": [{"name": "close", "algorithm": "als", "serving": 3, "champion": 3, "versions": 4, "beats_baseline": true,
                "measured": measured(&json!({"metrics": {"common": null, "next_batch": {"rmse": 2.5, "baseline": {"rmse": 3.0}}}}))}]});
        Look { problems, json }
    }

    #[test]
    fn a_look_is_said_as_a_screen_and_as_a_line() {
        let look = look(
            json!({"pipeline": "p", "state": "running", "millstream": "0.1.0", "problems": ["full"], "training": [],
            "source": {"rows_sent": 1200, "rows_total": 3000, "rows_per_second": 50.0, "topic": "t", "records_behind": 7},
            "batch": {"batch": 3, "rows": 20, "rows_expected": 1000, "closes": "at 1,000 rows", "rejects_total": 2},
            "broker": {"address": "b:1", "reachable": true}}),
        );
        let text = look.text();
        for said in [
            "p at http://a: running, millstream 0.1.0\n",
            "source    1,200 of 3,000 rows sent, 50 rows/s\n",
            "topic     t, the broker b:1 answers, 7 records behind\n",
            "batches   2 batches; batch 3 has 20 of 1,000 rows, closes at 1,000 rows; 2 rejects\n",
            "answers   10.0 requests/s, 0.25 ms each, 1 errors of 30\n",
            "rmse 2.50000 on next batch  3.00000   beats its baseline\n",
            "\nproblems\n  full\n",
        ] {
            assert!(text.contains(said), "{said:?} in\n{text}");
        }
        let line = look.line();
        assert!(
            line.matches('\n').count() == 1 && line.contains(" | close@3 | ") && line.contains("problems: full"),
            "{line}"
        );
    }

    /// Any JSON, with texts that would do harm on a terminal.
    fn any_json() -> impl Strategy<Value = Value> {
        let text = prop_oneof![Just("\u{1b}]0;x\u{7}\u{9b}2J\r\n".to_owned()), any::<String>()];
        let keys = vec![
            "pipeline",
            "state",
            "source",
            "topic",
            "rows_sent",
            "batch",
            "closes",
            "broker",
            "address",
            "reachable",
            "problems",
            "training",
            "model",
            "batches",
            "progress",
            "loading",
            "millstream",
            "rows_total",
            "registry_problems",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text.prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 60, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::vec((prop::sample::select(keys.clone()), inner), 0..12).prop_map(|pairs| {
                    Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_is_said_without_control_characters(status in any_json()) {
            let look = look(status);
            let line = look.line();
            for text in [look.text(), line.clone()] {
                prop_assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text:?}");
            }
            prop_assert_eq!(line.matches('\n').count(), 1);
            let json = crate::cli::table::plain_json(look.json.to_string());
            prop_assert!(!json.chars().any(char::is_control));
            prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), look.json);
        }
    }
}
