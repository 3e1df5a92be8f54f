//! Ids of requests, splits, shadows, and what `/metrics`, the alerts and the dashboard say, by the real binary.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::{Bench, CLOSE_OF_EACH, Served, until};

/// Head and body of a request with a header more.
fn asked(served: &Served, path: &str, header: &str) -> (String, Value) {
    let mut stream = TcpStream::connect(&served.address).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{header}\r\n\r\n", served.address);
    stream.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), serde_json::from_str(body).unwrap_or_default())
}

fn put(served: &Served, alias: &str, version: u32) {
    let body = json!({ "version": version }).to_string();
    let answer = served.request("PUT", &format!("/v1/models/close/aliases/{alias}"), Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[test]
fn a_split_is_sticky_and_a_shadow_that_cannot_answer_is_only_counted() {
    let bench = Bench::new(300, CLOSE_OF_EACH);
    bench.run_well(&[]);
    // The versions from now on take another column: as a shadow they refuse what the others are asked.
    let rules = "split = { challenger = 0.25 }\nshadow = \"newest\"\n";
    bench.pipeline(&format!("{}{rules}", CLOSE_OF_EACH.replace("[\"Open\"]", "[\"Open\", \"Volume\"]")));
    bench.run_well(&[]);
    let mut served = bench.serving(&["serve", "test.toml", "--set", "serve.access_log=true"], |_| {});
    put(&served, "champion", 1);
    put(&served, "challenger", 2);
    put(&served, "newest", 6);
    let mut n_challenger = 0;
    for user in 0..300 {
        let ask = || {
            asked(&served, "/v1/models/close/predict?Open=20000", &format!("x-split-key: {user}")).1["version"].clone()
        };
        let version = ask();
        assert!(version == 1 || version == 2, "{version}");
        assert!(user % 10 > 0 || version == ask(), "{user}");
        n_challenger += u32::from(version == 2);
    }
    // Five standard deviations of 7.5.
    assert!((75.0 - f64::from(n_challenger)).abs() <= 37.5, "{n_challenger} of 300");
    let shadow = until("the shadow was asked", || {
        let shadow = served.ask("/v1/models/close/shadow");
        let of = |key: &str| shadow[key].as_u64().unwrap();
        (of("failed") + of("dropped") == 330).then_some(shadow)
    });
    assert_eq!((&shadow["compared"], &shadow["version"]), (&json!(0), &json!(6)), "{shadow}");
    // A shadow that can.
    put(&served, "newest", 3);
    until("answers are compared", || {
        served.ask("/v1/models/close/predict?Open=20000");
        (served.ask("/v1/models/close/shadow")["compared"].as_u64() > Some(2)).then_some(())
    });
    let (head, _) = asked(&served, "/v1/models/close/predict?Open=20000", "x-request-id: order-7");
    assert!(head.contains("x-request-id: order-7") && head.contains("x-model-alias: "), "{head}");
    let line = served.wait_for("order-7");
    for part in ["method=GET", "/v1/models/{model}/predict", "status=200", "close@", "milliseconds=", "bytes="] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!line.contains("Open"), "{line}");
    served.stopped();
}

#[test]
fn a_request_id_is_a_field_of_the_log_in_json() {
    let bench = Bench::new(100, CLOSE_OF_EACH);
    bench.run_well(&[]);
    let mut served = bench.spawn(&["serve", "test.toml", "--log-format", "json", "--set", "serve.access_log=true"]);
    let line: Value = serde_json::from_str(&served.wait_for("the page and the API: http://")).unwrap();
    let message = line["message"].as_str().unwrap().to_owned();
    served.address = message.split("http://").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let (head, _) = asked(&served, "/v1/models/close/versions/9/predict?Open=1", "x-request-id: \"quoted\\\"");
    assert!(head.starts_with("http/1.1 404") && head.contains("x-request-id: \"quoted\\\""), "{head}");
    let line: Value = serde_json::from_str(&served.wait_for("quoted")).unwrap();
    assert_eq!(
        (&line["request_id"], &line["status"], &line["method"]),
        (&json!("\"quoted\\\""), &json!(404), &json!("GET"))
    );
    assert_eq!(line["pattern"], "/v1/models/{model}/versions/{version}/predict");
    served.stopped();
}

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file)
}

/// The names of metrics in a text.
fn metrics(text: &str) -> BTreeSet<&str> {
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter| !is_of_name(letter));
    words.filter(|word| word.starts_with("millstream_")).collect()
}

#[test]
fn what_the_alerts_and_the_dashboard_name_is_told() {
    let bench = Bench::new(300, &format!("{CLOSE_OF_EACH}shadow = \"latest\"\n"));
    let served = bench.serve(&[]);
    served.wait_until("the run is done", |status| status["state"] == "done");
    put(&served, "champion", 1);
    served.ask("/v1/models/close/predict?Open=20000");
    let told = served.get("/metrics").text;
    let families: BTreeSet<&str> =
        told.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for line in told.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let family = name.split('{').next().unwrap();
        let is_known = ["", "_bucket", "_sum", "_count"]
            .iter()
            .any(|end| family.strip_suffix(end).is_some_and(|family| families.contains(family)));
        assert!(is_known && value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
    }
    for line in [
        "millstream_trainings_total{model=\"close\"} 3",
        "millstream_training_failures_total{model=\"close\"} 0",
        "millstream_alias_info{model=\"close\",alias=\"champion\",version=\"1\"} 1",
        "millstream_model_requests_total{model=\"close\",version=\"1\",status=\"200\"} 1",
        "millstream_served_data_age_seconds{model=\"close\"} ",
        "millstream_records_behind 0",
    ] {
        assert!(told.contains(line), "no {line} in\n{told}");
    }
    let (alerts, dashboard) = ("prometheus/alerts.yaml", "grafana/millstream.json");
    for file in [alerts, dashboard] {
        let text = std::fs::read_to_string(deploy(file)).unwrap();
        let named = metrics(&text);
        assert!(named.len() > 8, "{file}");
        for name in named {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(families.contains(family), "{file}: {name}");
        }
    }
    let shown: Value = serde_json::from_str(&std::fs::read_to_string(deploy(dashboard)).unwrap()).unwrap();
    let panels = shown["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let charts = panels.iter().filter(|panel| panel["type"] != "row");
    assert!(charts.flat_map(|panel| panel["targets"].as_array().unwrap()).all(|target| target["expr"].is_string()));
    // `promtool` of ci/deploy.sh parses the expressions; here, that each rule has all it needs.
    let text = std::fs::read_to_string(deploy(alerts)).unwrap();
    let rules: Vec<&str> = text.split("- alert: ").skip(1).collect();
    let names: BTreeSet<&str> = rules.iter().filter_map(|rule| rule.lines().next()).collect();
    assert_eq!((names.len(), names.iter().all(|name| name.starts_with("Millstream"))), (rules.len(), true));
    for rule in rules {
        let has = |key: &str| rule.lines().any(|line| line.trim_start().starts_with(key));
        assert!(["expr: ", "labels: { severity: ", "annotations:", "summary: \""].into_iter().all(has), "{rule}");
        let expression = rule.lines().find_map(|line| line.trim_start().strip_prefix("expr: ")).unwrap();
        let count = |of: char| expression.chars().filter(|letter| *letter == of).count();
        assert!(count('(') == count(')') && count('{') == count('}') && count('[') == count(']'), "{expression}");
    }
    served.stopped();
}
