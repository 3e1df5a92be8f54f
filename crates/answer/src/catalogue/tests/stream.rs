//! A catalogue of the stream: batch after batch.

use std::collections::BTreeMap;

use millstream_stream::batch::{Batch, manifest_key};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const STREAM: &str =
    "from = \"batches\"\nid = \"movieId\"\ntitle = \"title\"\ncolumns = { stars = \"stars\" }\nfacets = [\"stars\"]";

fn begin(store: &SharedStore) {
    let column = |(name, kind): (&str, &str)| json!({"name": name, "type": kind, "inferred": true, "null": []});
    let columns = [("movieId", "float64"), ("title", "utf8"), ("stars", "float64"), ("unused", "utf8")].map(column);
    let schema = json!({"format": 1, "schema": 1, "columns": columns, "time": null});
    store.create("schema/000001.json", schema.to_string().as_bytes()).unwrap();
}

/// Stores a batch: for each partition, rows of offset, id, title and stars.
fn commit(store: &SharedStore, number: u32, partitions: &[&[(i64, Value, Value, f64)]]) -> Batch {
    let mut parts = Vec::new();
    for (partition, rows) in partitions.iter().enumerate() {
        let lines: String = rows
            .iter()
            .map(|(offset, id, title, stars)| {
                let row = json!({"movieId": id, "title": title, "stars": stars, "unused": null, "_partition": partition,
                    "_offset": offset, "_time": "2020-01-01T00:00:00.000Z"});
                format!("{row}\n")
            })
            .collect();
        let file = (!rows.is_empty()).then(|| format!("part-{partition:04}-a.jsonl"));
        if let Some(file) = &file {
            store.create(&format!("batches/batch={number:06}/{file}"), lines.as_bytes()).unwrap();
        }
        let manifest = json!({
            "format": 1, "batch": number, "partition": partition, "attempt": "a", "rows": rows.len(), "rejects": 0,
            "first_offset": 0, "end_offset": rows.len(), "skipped": 0, "late": 0, "min_time": null, "max_time": null,
            "digest": "", "file": file,
            "file_digest": file.as_ref().map(|_| blake3::hash(lines.as_bytes()).to_hex().to_string()),
            "rejects_file": null, "schema": 1, "committed_at_ms": 0,
        });
        let key = manifest_key(number, u32::try_from(partition).unwrap());
        store.create(&key, manifest.to_string().as_bytes()).unwrap();
        parts.push(serde_json::from_value(manifest).unwrap());
    }
    let cut =
        json!({"format": 1, "batch": number, "attempt": "a", "ends": [], "total": 0, "reason": "rows", "schema": 1});
    Batch::new(serde_json::from_value(cut).unwrap(), parts)
}

#[test]
fn each_batch_adds_what_it_brings_and_the_latest_record_wins() {
    let bench = Bench::new();
    let (catalogues, refreshed) =
        Catalogues::open(&declared(STREAM).unwrap().settings(), &bench.store).unwrap().unwrap();
    assert_eq!((refreshed.items, catalogues.is_from_batches()), (0, true));
    let empty = catalogues.snapshot();
    assert!(empty.waits() && empty.is_empty() && empty.filter("anything = 1").unwrap().count() == 0);
    empty.filter("anything at all").unwrap_err();
    assert_eq!(catalogues.refresh(&[]).unwrap(), None);

    begin(&bench.store);
    let first = commit(
        &bench.store,
        1,
        &[
            &[
                (0, json!(1.0), json!("one"), 1.0),
                (1, json!(2.0), json!("two"), 2.0),
                (2, json!(1.0), json!("uno"), 3.0),
            ],
            &[
                (0, json!(2.0), json!("due"), 4.0),
                (1, json!(null), json!("?"), 0.0),
                (2, json!(3.5), json!("?"), 0.0),
                (3, json!(1.0), json!("un"), 5.0),
            ],
        ],
    );
    let refreshed = catalogues.refresh(std::slice::from_ref(&first)).unwrap().unwrap();
    let tally = Tally { records: 7, without_id: 2, ..Tally::default() };
    assert_eq!(refreshed, Refreshed { items: 2, tally });
    // In partition 0 item 2 has the higher offset; of item 1 the latest is in partition 1.
    let expected = json!([{"id": 1, "title": "un", "stars": 5}, {"id": 2, "title": "two", "stars": 2}]);
    assert_eq!(all(&catalogues.snapshot()), expected);

    let held = catalogues.snapshot();
    assert_eq!(held.filter("stars = 2").unwrap().count(), 1);
    let second =
        commit(&bench.store, 2, &[&[(9, json!(3.0), json!("three"), 2.0), (10, json!(2.0), json!(null), 2.0)], &[]]);
    let both = [first, second];
    catalogues.refresh(&both).unwrap().unwrap();
    assert_eq!(catalogues.refresh(&both).unwrap(), None, "a batch is taken in once");
    let expected = json!([{"id": 1, "title": "un", "stars": 5}, {"id": 2, "title": null, "stars": 2},
        {"id": 3, "title": "three", "stars": 2}]);
    assert_eq!(all(&catalogues.snapshot()), expected);
    assert_eq!(catalogues.snapshot().filter("stars = 2").unwrap().count(), 2, "a new state has its own filters");
    assert_eq!(held.len(), 2, "who began with the old state ends with it");
}

#[test]
fn a_batch_that_cannot_be_read_leaves_the_items_as_they_are() {
    let bench = Bench::new();
    begin(&bench.store);
    let (catalogues, _) = Catalogues::open(&declared(STREAM).unwrap().settings(), &bench.store).unwrap().unwrap();
    let first = commit(&bench.store, 1, &[&[(0, json!(1.0), json!("one"), 1.0)]]);
    catalogues.refresh(std::slice::from_ref(&first)).unwrap();
    let second =
        commit(&bench.store, 2, &[&[(1, json!(1.0), json!("uno"), 1.0)], &[(1, json!(2.0), json!("due"), 1.0)]]);
    let mut gone = second.parts.to_vec();
    gone[1].file = Some("part-0001-gone.jsonl".to_owned());
    let gone = Batch::new((*second.cut).clone(), gone);
    let error = catalogues.refresh(&[first.clone(), gone]).unwrap_err().to_string();
    assert!(error.contains("part-0001-gone.jsonl"), "{error}");
    assert_eq!(all(&catalogues.snapshot()), json!([{"id": 1, "title": "one", "stars": 1}]));
    catalogues.refresh(&[first, second]).unwrap();
    assert_eq!(catalogues.snapshot().len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever the blocks, batches and partitions: what a table that is written record by record would hold.
    #[test]
    fn gathering_is_the_last_of_each_in_the_order_of_the_first(
        records in proptest::collection::vec((0..12_i64, 0..3_usize, 0..3_u32), 0..120),
    ) {
        let bench = Bench::new();
        begin(&bench.store);
        let (catalogues, _) = Catalogues::open(&declared(STREAM).unwrap().settings(), &bench.store).unwrap().unwrap();
        let mut batches = Vec::new();
        let (mut order, mut latest) = (Vec::new(), BTreeMap::new());
        for number in 1..=3_u32 {
            let mut partitions: Vec<Vec<(i64, Value, Value, f64)>> = vec![Vec::new(); 3];
            for (index, (id, partition, _)) in records.iter().enumerate().filter(|(_, record)| record.2 + 1 == number) {
                let offset = partitions[*partition].len() as i64;
                partitions[*partition].push((offset, json!(id), json!(format!("t{index}")), index as f64));
            }
            for (partition, rows) in partitions.iter().enumerate() {
                for (offset, id, title, _) in rows {
                    let id = id.as_i64().unwrap();
                    if !order.contains(&id) {
                        order.push(id);
                    }
                    let place = (number, *offset, partition);
                    let held = latest.entry(id).or_insert((place, title.clone()));
                    if held.0 <= place {
                        *held = (place, title.clone());
                    }
                }
            }
            batches.push(commit(&bench.store, number, &partitions.iter().map(Vec::as_slice).collect::<Vec<_>>()));
            if number != 2 {
                catalogues.refresh(&batches).unwrap();
            }
        }
        let items = catalogues.snapshot();
        let pair = |item: Map<String, Value>| (item["id"].clone(), item["title"].clone());
        let found: Vec<(Value, Value)> = (0..items.len() as u32).map(|row| pair(items.item(row))).collect();
        let expected: Vec<(Value, Value)> = order.iter().map(|id| (json!(id), latest[id].1.clone())).collect();
        prop_assert_eq!(found, expected);
    }
}
