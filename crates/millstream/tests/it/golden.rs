//! A store of format 1, written on the first day, must always load. Never edited, only joined by later formats.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_store::LocalStore;
use millstream_stream::batch::{StoredBatches, TextWriter, committed, read};
use millstream_stream::record::{Encoding, RowDecoder};
use millstream_stream::schema::StreamSchema;
use serde_json::json;

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
