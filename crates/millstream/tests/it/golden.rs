//! Stores of earlier releases, from the first day on, must always load. Never edited, only joined by later formats.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_store::LocalStore;
use millstream_stream::batch::{StoredBatches, TextWriter, committed, read};
use millstream_stream::record::{Encoding, RowDecoder};
use millstream_stream::schema::StreamSchema;
use serde_json::json;

use crate::common::Bench;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_store_of_format_1_loads() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/golden/format-1/store");
    let folder = tempfile::tempdir().unwrap();
    copy(&golden, folder.path());
    let store = Arc::new(LocalStore::open(folder.path()).unwrap());
    let identity = read(store.as_ref()).unwrap().unwrap();
    assert_eq!((identity.partitions, identity.source.as_ref().unwrap().rows), (2, Some(4)));
    let found = committed(store.as_ref(), &identity.base_offsets).unwrap();
    assert_eq!((found.checkpoint, found.rejects), (vec![(2, 2), (2, 2)], 1));
    let schema = millstream::run::read_schema(store.as_ref()).unwrap().unwrap();
    assert_eq!(schema.time.as_deref(), Some("Timestamp"));
    let stored = StoredBatches::new(store);
    assert_eq!(stored.verify().unwrap(), Vec::<String>::new());
    let towns: Vec<_> = stored
        .complete()
        .unwrap()
        .iter()
        .flat_map(|batch| stored.rows(batch, 0, 9).unwrap())
        .map(|row| row["Town"].clone())
        .collect();
    assert_eq!(towns, [json!("Leeds, West"), json!(null), json!("007")]);
}

#[test]
fn a_schema_with_derived_columns_loads_and_makes_the_same_rows() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/golden/format-1/schema-derived.json");
    let text = std::fs::read_to_string(path).unwrap();
    let schema: StreamSchema = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string_pretty(&schema).unwrap(), text.trim_end());
    let mut decoder = RowDecoder::new(&schema, Encoding::Csv).unwrap();
    for (offset, record) in (0..).zip(["\"₹1,39,900\",4.2,14/11/2023", "₹399,none,15/11/2023", "₹1,|,never"]) {
        decoder.push(record.as_bytes(), 0, offset, 0, i64::MAX).unwrap();
    }
    let chunk = decoder.take().unwrap();
    assert_eq!(chunk.times(), [1_699_920_000_000, 1_700_006_400_000]);
    assert_eq!(chunk.misfits[0].1.reason, "column \"sold\" holds null, which is no time");
    let names: Vec<_> = chunk.rows.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["discounted_price", "rating", "price", "sold", "_partition", "_offset", "_time"]);
    let mut rows = TextWriter::jsonl(Vec::new(), &chunk.rows.schema());
    rows.write(&chunk.rows).unwrap();
    let lines = String::from_utf8(rows.finish().unwrap()).unwrap();
    let first = r#"{"discounted_price":"₹1,39,900","rating":4.2,"price":139900.0,"sold":1699920000,"_partition":0,"_offset":0,"_time":"2023-11-14T00:00:00.000Z"}"#;
    assert_eq!(lines.lines().next(), Some(first));
    assert!(lines.lines().nth(1).unwrap().contains(r#""rating":null,"price":399.0"#), "{lines}");
}

/// A store of the release that read what people have: its `dialect`, a column with a `key`, `ahead`, `time_unit` and `flatten`.
/// `testdata/golden/format-1-reads` is never edited; later formats join it.
#[test]
fn a_store_with_a_dialect_loads_goes_on_and_answers_as_it_did() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/golden/format-1-reads");
    let bench = Bench { folder: tempfile::tempdir().unwrap() };
    copy(&golden, bench.folder.path());
    let text = std::fs::read_to_string(golden.join("store/schema/000001.json")).unwrap();
    let schema: StreamSchema = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string_pretty(&schema).unwrap(), text.trim_end());
    for field in
        ["\"dialect\": 2", "\"key\": \"_time\"", "\"ahead\": null", "\"time_unit\": \"ms\"", "\"flatten\": true"]
    {
        assert!(text.contains(field), "{field}: {text}");
    }
    let value = r#"{"_time":4102444801000,"after":{"id":1,"at":{"town":"Leeds"}},"op":"u","tags":["a"]}"#;
    let mut decoder = RowDecoder::new(&schema, Encoding::Json).unwrap();
    decoder.push(value.as_bytes(), 0, 1, 0, 0).unwrap();
    let chunk = decoder.take().unwrap();
    assert_eq!(chunk.times(), [4_102_444_801_000]);
    let mut row = TextWriter::jsonl(Vec::new(), &chunk.rows.schema());
    row.write(&chunk.rows).unwrap();
    let row = String::from_utf8(row.finish().unwrap()).unwrap();
    assert!(row.starts_with(r#"{"source_time":4102444801000,"op":"u","after.id":1,"#), "{row}");
    assert!(row.contains(r#""after.at.town":"Leeds""#) && row.contains(r#""n":1"#), "{row}");

    let said = |arguments: &[&str]| {
        let output = bench.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr)
    };
    assert!(said(&["batches", "verify", "pipeline.toml"]).contains("whole"));
    let sql = "select count(*), sum(\"after.id\"), sum(n), max(\"after.at.town\") from batches";
    assert!(said(&["query", "pipeline.toml", "--format", "csv", sql]).contains("16,120,15,Leeds"));
    said(&["train", "pipeline.toml", "--exit-when-done"]);
    for (model, version) in [("total", "2"), ("later", "2")] {
        let folder = format!("store/models/{model}/{version:0>6}/model.json");
        assert_eq!(std::fs::read(bench.path(&folder)).unwrap(), std::fs::read(golden.join(&folder)).unwrap());
        assert!(!bench.path(&format!("store/models/{model}/000003")).exists(), "{model} is trained again");
        if std::is_x86_feature_detected!("fma") {
            assert!(said(&["models", "verify", "pipeline.toml", model, version]).contains("the same bytes"));
        }
    }

    let served = bench.serving(&["serve", "pipeline.toml", "--set", "serve.listen=127.0.0.1:0"], |_| {});
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(golden.join("answers.json")).unwrap()).unwrap();
    let predicted = |model: &str, body: &str| {
        let answer = served.request("POST", &format!("/v1/models/{model}/predict"), Some(body));
        assert_eq!(answer.status, 200, "{model} {body}: {}", answer.text);
        let (found, expected) = (answer.json["prediction"].as_f64().unwrap(), expected[model].as_f64().unwrap());
        assert!(
            (found - expected).abs() <= 1e-6 * expected.abs().max(1.0),
            "{model} {body}: {found} is not {expected}"
        );
    };
    // A row as the source has it: the object or the paths, the source's name or the stream's.
    predicted("total", r#"{"n":1,"after.price":2.5}"#);
    predicted("total", r#"{"n":1,"op":"u","after":{"id":3,"price":"2.5","at":{"town":"Hull"}},"tags":"[]","_time":1}"#);
    predicted("later", r#"{"source_time":4102444807000,"after.id":7}"#);
    predicted("later", r#"{"_time":4102444807000,"after":{"id":7}}"#);
    let answer = served.get("/v1/models/later/predict?_time=4102444807000&after.id=7");
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = served.get("/v1/models/later/predict?_time=1&source_time=2&after.id=7");
    assert_eq!(answer.status, 422, "{}", answer.text);
    served.stopped();
}
