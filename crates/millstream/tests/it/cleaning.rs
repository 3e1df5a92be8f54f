//! Columns made by SQL, from the file to the model, in every format of parts.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::common::Bench;
use millstream_store::LocalStore;
use millstream_stream::batch::StoredBatches;
use serde_json::json;

const PIPELINE: &str = r#"
stream.partitions = 2
batch.rows = 20
train.holdout = 0
[schema.columns]
price    = { type = "float64", from = "replace(replace(price, '₹', ''), ',', '')" }
discount = { type = "float64", from = "cast(replace(off, '%', '') as double) / 100" }
rating   = { type = "float64", null = ["", "|"] }
votes    = { type = "int64", from = "replace(votes, ',', '')", bad = "null" }
[[model]]
name = "m"
algorithm = "linear_regression"
features = ["discount"]
target = "price"
"#;

/// Forty rows; in row 7 the price is no number, in row 30 the discount, in row 9 there are no votes, in row 11 "many".
fn rows() -> String {
    let mut text = "price,off,rating,votes\n".to_owned();
    for row in 0..40 {
        let price = if row == 7 { "on request".to_owned() } else { format!("\"₹1,{row:02},900\"") };
        let off = if row == 30 { "half".to_owned() } else { format!("{row}%") };
        let votes = match row {
            9 => "",
            11 => "many",
            _ => "\"24,269\"",
        };
        let rating = if row % 5 == 0 { "|" } else { "4.2" };
        writeln!(text, "{price},{off},{rating},{votes}").unwrap();
    }
    text
}

#[test]
fn cleaned_columns_are_stored_trained_on_and_served() {
    let bench = Bench::with_source(rows().as_bytes(), PIPELINE);
    bench.run_well(&[]);
    let counts: Vec<(u64, u64)> = bench.parts().iter().map(|part| (part.4, part.5)).collect();
    assert_eq!(counts, [(10, 0), (9, 1), (9, 1), (10, 0)]);
    let store = Arc::new(LocalStore::open(&bench.path("millstream-data")).unwrap());
    let stored = StoredBatches::new(store);
    assert_eq!(stored.verify().unwrap(), Vec::<String>::new());
    let batch = stored.get(1).unwrap();
    let first = stored.rows(&batch, 0, 1).unwrap().remove(0);
    let columns: Vec<&String> = first.keys().collect();
    assert_eq!(columns, ["off", "rating", "discount", "price", "votes", "_partition", "_offset", "_time"]);
    assert_eq!((&first["price"], &first["rating"], &first["votes"]), (&json!(100_900.0), &json!(null), &json!(24269)));
    // Rows 9 and 11 are the 5th and the 6th of partition 1, whose 4th, row 7, is a reject.
    let votes: Vec<_> = stored.rows(&batch, 13, 3).unwrap().into_iter().map(|row| row["votes"].clone()).collect();
    assert_eq!(votes, [json!(null), json!(null), json!(24269)]);
    let model = bench.read("models/m/000002/model.json");
    assert_eq!(model["inputs"][0]["name"], "discount", "{model}");
}

#[test]
fn the_same_file_cut_the_same_has_the_same_rejects_in_every_format() {
    let mut found = Vec::new();
    for format in ["parquet", "csv", "jsonl"] {
        let bench = Bench::with_source(rows().as_bytes(), &PIPELINE[..PIPELINE.find("[[model]]").unwrap()]);
        let set = format!("batch.format={format}");
        let (_, said) = bench.run(&["--set", &set]);
        let parts: Vec<_> =
            bench.parts().iter().map(|part| (part.0, part.1, part.2, part.3, part.4, part.5, part.6.clone())).collect();
        assert_eq!(parts.len(), 4, "{said}");
        let mut files = Vec::new();
        let mut reasons = Vec::new();
        for batch in 1..=2 {
            for entry in std::fs::read_dir(bench.path(&format!("millstream-data/batches/batch={batch:06}"))).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                if name.starts_with("part-") {
                    files.push(name.rsplit_once('.').unwrap().1.to_owned());
                } else if name.starts_with("_rejects-") {
                    let line: serde_json::Value =
                        serde_json::from_str(std::fs::read_to_string(path).unwrap().trim()).unwrap();
                    reasons.push(line["reason"].as_str().unwrap().to_owned());
                }
            }
        }
        assert_eq!(files, [format; 4]);
        reasons.sort();
        assert_eq!(reasons.len(), 2, "{reasons:?}");
        assert!(
            reasons[0].starts_with("column \"discount\" from `cast(replace(off, '%', '') as double) / 100`: "),
            "{reasons:?}"
        );
        assert_eq!(
            reasons[1],
            "column \"price\" from `replace(replace(price, '₹', ''), ',', '')`: it gives \"on request\", expected float64, of \
             price = \"on request\""
        );
        found.push((parts, reasons));
    }
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0], found[2]);
}

#[test]
fn a_rule_that_cannot_work_is_told_by_check_and_at_the_start() {
    let bench = Bench::with_source(
        rows().as_bytes(),
        "batch.rows = 20\n[schema.columns]\ncost = { type = \"float64\", from = \"replace(prise, '₹', '')\" }\n\
         mean = { type = \"float64\", from = \"avg(rating)\" }\n",
    );
    for arguments in [&["check", "test.toml"][..], &["run", "test.toml", "--exit-when-done"]] {
        let output = bench.output(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        for line in [
            "test.toml: schema.columns.cost.from = \"replace(prise, '₹', '')\": unknown column `prise`; did you mean `price`?",
            "test.toml: schema.columns.mean.from = \"avg(rating)\": `avg` looks at many rows",
        ] {
            assert!(said.contains(line), "{said}");
        }
    }
}
