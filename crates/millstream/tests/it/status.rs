//! What is told of a running pipeline: the real binary, asked while it works and after.

use serde_json::{Value, json};

use crate::common::{Bench, until};

/// A hundred rows, of which every tenth is a reject.
fn rows() -> String {
    let row = |i: usize| {
        let number = if i % 10 == 3 { "bad!".to_owned() } else { i.to_string() };
        format!("{i},{number},{}\n", ["Bath", "York", "\"Ely, St\""][i % 3])
    };
    format!("id,x,town\n{}", (0..100).map(row).collect::<String>())
}

const RULES: &str =
    "batch.rows = 100\nbatch.max_rejects = 50\nstream.partitions = 2\n[schema.columns]\nx = \"float64\"\n";

fn column<'a>(statistics: &'a Value, name: &str) -> &'a Value {
    statistics["columns"].as_array().unwrap().iter().find(|column| column["name"] == name).unwrap()
}

#[test]
fn a_batch_tells_its_columns_and_its_rejects_whatever_its_format() {
    for format in ["parquet", "csv", "jsonl"] {
        let bench = Bench::with_source(rows().as_bytes(), &format!("batch.format = \"{format}\"\n{RULES}"));
        let mut served = bench.serve(&[]);
        served.wait_for("batch 1 committed");
        served.wait_until("the batch", |_| served.get("/v1/batches/1").status == 200);
        let statistics = served.ask("/v1/batches/1/statistics");
        assert_eq!((&statistics["rows"], &statistics["rows_read"]), (&json!(90), &json!(90)), "{statistics}");
        let names: Vec<&Value> =
            statistics["columns"].as_array().unwrap().iter().map(|column| &column["name"]).collect();
        assert_eq!(names, ["id", "x", "town", "_time"]);
        let numbers: Vec<f64> = (0..100).filter(|i| i % 10 != 3).map(f64::from).collect();
        let mean = numbers.iter().sum::<f64>() / 90.0;
        let deviation = (numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 90.0).sqrt();
        let x = column(&statistics, "x");
        assert_eq!((&x["min"], &x["max"], &x["distinct"], &x["nulls"]), (&json!(0), &json!(99), &json!(90), &json!(0)));
        assert!((x["mean"].as_f64().unwrap() - mean).abs() < 1e-9, "{x}");
        assert!((x["deviation"].as_f64().unwrap() - deviation).abs() < 1e-9, "{x}");
        let counts = x["histogram"]["counts"].as_array().unwrap();
        assert_eq!((counts.len(), counts.iter().filter_map(Value::as_u64).sum::<u64>()), (20, 90));
        let town = column(&statistics, "town");
        let top: u64 = town["top"].as_array().unwrap().iter().filter_map(|top| top["rows"].as_u64()).sum();
        assert_eq!((&town["distinct"], top), (&json!(3), 90), "{town}");
        assert_eq!(served.ask("/v1/batches/1/statistics"), statistics, "kept");

        let rejects = served.ask("/v1/batches/1/rejects?offset=3&limit=4");
        assert_eq!((&rejects["batch"], &rejects["total"]), (&json!(1), &json!(10)));
        let rejects = rejects["rejects"].as_array().unwrap();
        assert_eq!(rejects.len(), 4);
        for reject in rejects {
            assert!(reject["reason"].as_str().unwrap().contains("\"x\" holds"), "{reject}");
            assert!(
                reject["offset"].is_i64() && reject["partition"].is_u64() && reject["value"].is_string(),
                "{reject}"
            );
        }
        assert_eq!(served.refused("/v1/batches/9/statistics").0, 404);
        assert_eq!(served.refused("/v1/batches/1/rejects?limit=x").0, 422);

        let status = served.ask("/v1/status");
        let told = &status["rejects"];
        assert_eq!(told["reasons"][0]["records"], 10, "{told}");
        assert_eq!((told["newest"].as_array().unwrap().len(), &told["others"]), (8, &json!(0)));
        assert!(!told["reasons"][0]["reason"].as_str().unwrap().contains("bad!"), "{told}");
        assert_eq!((&status["batch"]["rows_read"], &status["source"]["records_behind"]), (&json!(100), &json!(0)));
        let latest = status["latest"].as_array().unwrap();
        assert!(
            (1..=8).contains(&latest.len()) && latest.iter().all(|row| row["row"]["town"].is_string()),
            "{latest:?}"
        );
        served.stopped();
    }
}

#[test]
fn a_slow_source_is_seen_to_fill_its_batch() {
    let bench = Bench::new(5000, "batch.rows = 4000\nbatch.idle = \"90s\"\nsource.rate = 50\n");
    let served = bench.serve(&[]);
    served.wait_until("rows of the open batch", |status| status["batch"]["rows_read"].as_u64() > Some(60));
    let status = served.ask("/v1/status");
    let closes = "at 4,000 rows, when nothing comes for 90 s or when the source ends";
    assert_eq!(status["batch"]["closes"], closes);
    let rows = status["batch"]["rows"].as_u64().unwrap();
    assert!((1..4000).contains(&rows), "the numbers go on with the rows: {status}");
    for rate in [&status["batch"]["rows_per_second"], &status["source"]["rows_per_second"]] {
        let rate = rate.as_f64().unwrap();
        assert!(rate > 5.0 && rate < 500.0, "{status}");
    }
    assert!(status["source"]["records_behind"].as_u64().unwrap() < 1000, "{status}");
    let newest = |status: &Value| status["latest"].as_array().unwrap().last().unwrap()["offset"].as_i64().unwrap();
    let seen = newest(&status);
    served.wait_until("newer rows", |status| newest(status) > seen);
    until("points of the history that grow", || {
        let history = served.ask("/v1/status/history");
        assert_eq!(history["every_ms"], 1000);
        let points = history["points"].as_array().unwrap();
        let read: Vec<u64> = points.iter().filter_map(|point| point["rows_read"].as_u64()).collect();
        assert!(read.is_sorted(), "{history}");
        (read.len() > 1 && read.last() > read.first() && points.last()?["requests"].as_u64() > Some(0)).then_some(())
    });
    served.stopped();
}

#[test]
fn what_another_process_reads_is_not_said_to_be_nothing() {
    let bench = Bench::new(300, "batch.parts = 3\n");
    bench.run_well(&[]);
    let served = bench.serving(&["serve", "test.toml"], |_| {});
    let status = served.ask("/v1/status");
    for unknown in [
        &status["latest"],
        &status["rejects"],
        &status["batch"]["rows_read"],
        &status["batch"]["rows_per_second"],
        &status["batch"]["closes"],
        &status["source"]["records_behind"],
    ] {
        assert!(unknown.is_null(), "{status}");
    }
    served.stopped();
}
