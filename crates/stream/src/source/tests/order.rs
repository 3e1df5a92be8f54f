//! `source.order_by`: the same rows, in the order of a column, over every format.

use std::sync::Arc;

use datafusion::arrow::array::{Date32Array, Int64Array, StringArray, TimestampNanosecondArray};
use proptest::prelude::*;

use super::*;
use crate::schema::Dialect;
use crate::source::dataset::sort;
use crate::source::{Row, SourceError};

#[test]
fn numbers_then_texts_then_nulls_then_stubs_each_as_they_came() {
    let text = "x,i\nb,1\n,2\n10,3\nragged\n9,4\n1e1,5\na,6\n-3,7\n,8\n1,2,3\n";
    let bench = Bench::new("a.csv", text.as_bytes()).ordered("x");
    let ragged = |count: usize| format!("<{count} fields, the header has 2>");
    let expected = ["-3,7", "9,4", "10,3", "1e1,5", "a,6", "b,1", ",2", ",8", &ragged(1), &ragged(3)];
    assert_eq!(bench.values(Encoding::Csv), expected);

    let text = "{\"x\":\"9\"}\n{\"x\":10}\n[]\n{}\n{\"x\":true}\n{\"x\":9}\n{\"x\":null}\n{\"x\":9.5}\n";
    let bench = Bench::new("a.jsonl", text.as_bytes()).ordered("x");
    let expected = [
        "{\"x\":9}",
        "{\"x\":9.5}",
        "{\"x\":10}",
        "{\"x\":\"9\"}",
        "{\"x\":true}",
        "{}",
        "{\"x\":null}",
        "<a JSON list; expected an object>",
    ];
    assert_eq!(bench.values(Encoding::Json), expected);
}

#[test]
fn numbers_go_by_their_value_however_they_are_written() {
    let order = |dialect: Dialect| {
        let bench = Bench::new("a.csv", b"x\n 9\n+10\n.5\n1.\n-.5\n007\n2\n").ordered("x");
        let dataset = bench.dataset();
        dataset.profile(&SchemaRules { dialect, ..SchemaRules::default() }).unwrap();
        texts(&rows(&dataset, Encoding::Csv).unwrap())
    };
    assert_eq!(order(Dialect::Second), ["-.5", ".5", "1.", "2", " 9", "+10", "007"]);
    // A store of an earlier release goes on in the order that it began with.
    assert_eq!(order(Dialect::First), ["2", " 9", "+10", "-.5", ".5", "007", "1."]);
}

#[test]
fn times_of_parquet_go_by_their_value_whatever_their_text() {
    // As text, ".5Z" would come before "Z", and the year 10000 before 2023.
    let at = TimestampNanosecondArray::from(vec![Some(500_000_000), None, Some(0), Some(-1)]).with_timezone("UTC");
    let day = Date32Array::from(vec![2_932_897, 0, 19_675, -800_000]);
    let bytes = parquet_of(&[("at", array(at)), ("day", array(day)), ("i", array(Int64Array::from(vec![0, 1, 2, 3])))]);
    let order = |column: &str| -> Vec<String> {
        let values = Bench::new("a.parquet", &bytes).ordered(column).values(Encoding::Csv);
        values.iter().map(|value| value.rsplit(',').next().unwrap().to_owned()).collect()
    };
    assert_eq!(order("at"), ["3", "2", "0", "1"]);
    assert_eq!(order("day"), ["3", "1", "2", "0"]);
}

fn sorted(bench: &Bench, chunk_bytes: usize) -> Vec<Row> {
    let records = bench.dataset().records_of_a_test(Encoding::Json);
    let mut row = Row::default();
    let mut sorted = sort("a test", records, &mut row, chunk_bytes, &Arc::default()).unwrap();
    let mut rows = Vec::new();
    while sorted.next(&mut row).unwrap() {
        rows.push(std::mem::take(&mut row));
    }
    rows
}

#[test]
fn a_full_disk_says_where_to_make_room() {
    let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = SourceError::Spill { place: "a.csv".to_owned(), folder: "/var/tmp".to_owned(), source };
    assert!(said(error).starts_with("a.csv: its rows need room for a while in /var/tmp"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_rows_come_in_order_and_none_is_lost(
        found in proptest::collection::vec(proptest::option::of(-50_i64..50), 1..120),
        chunk_bytes in 1_usize..4000,
    ) {
        let mut csv = "x,i\n".to_owned();
        let mut jsonl = String::new();
        for (i, x) in found.iter().enumerate() {
            csv += &format!("{},{i}\n", x.map_or(String::new(), |x| x.to_string()));
            jsonl += &format!("{}\n", serde_json::json!({ "x": x, "i": i }));
        }
        let indices = (0..).take(found.len());
        let parquet = parquet_of(&[
            ("x", Arc::new(Int64Array::from(found.clone()))),
            ("i", Arc::new(Int64Array::from(indices.collect::<Vec<i64>>()))),
        ]);
        let mut expected: Vec<usize> = (0..found.len()).collect();
        expected.sort_by_key(|i| (found[*i].is_none(), found[*i]));
        for (name, bytes) in [
            ("a.csv", csv.clone().into_bytes()),
            ("a.csv.gz", gzip(csv.as_bytes())),
            ("a.jsonl", jsonl.clone().into_bytes()),
            ("a.jsonl.zst", zstd(jsonl.as_bytes())),
            ("a.parquet", parquet),
        ] {
            let bench = Bench::new(name, &bytes).ordered("x");
            let rows = sorted(&bench, chunk_bytes);
            let order: Vec<usize> = rows.iter().map(|row| {
                let object: serde_json::Value = serde_json::from_slice(&row.value).unwrap();
                usize::try_from(object["i"].as_u64().unwrap()).unwrap()
            }).collect();
            prop_assert_eq!(&order, &expected, "{}", name);
            // The size of a chunk changes nothing, and neither does another start.
            prop_assert_eq!(&bench.rows(Encoding::Json).unwrap(), &rows);
        }
    }

    #[test]
    fn texts_come_in_the_order_of_their_bytes(found in proptest::collection::vec("[aé~ \u{1f600}]{1,3}", 1..60)) {
        let mut expected = found.clone();
        expected.sort();
        let bytes = parquet_of(&[("x", Arc::new(StringArray::from(found)))]);
        let rows = sorted(&Bench::new("a.parquet", &bytes).ordered("x"), 64);
        let found: Vec<String> = rows.iter().map(|row| {
            let object: serde_json::Value = serde_json::from_slice(&row.value).unwrap();
            object["x"].as_str().unwrap().to_owned()
        }).collect();
        prop_assert_eq!(found, expected);
    }
}
