//! Types, counts and warnings of the first pass.

use std::sync::Arc;

use datafusion::arrow::array::{
    BinaryArray, BooleanArray, Decimal128Array, Float32Array, Int32Array, StringArray, TimestampMillisecondArray,
    UInt64Array,
};

use super::*;
use crate::schema::{Dialect, StreamColumn, StreamSchema};
use crate::source::{Profile, Sampled, profile_records};

fn types(profile: &Profile) -> String {
    let types = profile.schema.columns.iter().map(|column| format!("{}:{}", column.name, column.kind.name()));
    types.collect::<Vec<_>>().join(" ")
}

fn check_bench(bench: &Bench, rules: &SchemaRules, expected: &str) -> Profile {
    let dataset = bench.dataset();
    let profile = dataset.profile(rules).unwrap();
    assert_eq!(types(&profile), expected);
    assert_eq!(profile.fingerprint, dataset.fingerprint().unwrap());
    let stored = std::fs::read(&bench.path).unwrap();
    let fingerprint = profile.fingerprint.clone().unwrap();
    assert_eq!(
        (fingerprint.bytes, fingerprint.digest),
        (stored.len() as u64, blake3::hash(&stored).to_hex().to_string())
    );
    profile
}

fn check(text: &str, rules: &SchemaRules, expected: &str) -> Profile {
    check_bench(&Bench::new("a.csv", text.as_bytes()), rules, expected)
}

fn check_jsonl(text: &str, rules: &SchemaRules, expected: &str) -> Profile {
    check_bench(&Bench::new("a.jsonl", text.as_bytes()), rules, expected)
}

fn with_time(time: &str) -> SchemaRules {
    SchemaRules { time: Some(time.to_owned()), ..SchemaRules::default() }
}

#[test]
fn numbers_are_float64_except_the_time() {
    let profile =
        check("t,a,b,c,d\n1,1,1.5,007,x\n2,,2,1,\n", &with_time("t"), "t:int64 a:float64 b:float64 c:utf8 d:utf8");
    assert_eq!(profile.rows, Some(2));
}

#[test]
fn integers_of_the_key_stay_exact() {
    let key = |text: &str| {
        let bench = Bench::new("a.csv", format!("id,x\n{text}").as_bytes()).keyed("id");
        types(&bench.dataset().profile(&SchemaRules::default()).unwrap())
    };
    assert_eq!(key("1,1\n9223372036854775807,2\n"), "id:int64 x:float64");
    assert_eq!(key("1,1\n1.5,2\n"), "id:float64 x:float64");
    // No 64 bits hold it, and a float would make two ids one.
    assert_eq!(key("1,1\n92233720368547758070,2\n"), "id:utf8 x:float64");
    // Nanoseconds have 19 digits.
    check("t\n1700000000000000000\n", &with_time("t"), "t:int64");
}

#[test]
fn a_number_that_no_f64_holds_makes_a_column_text() {
    check("a,b\n1e999,1e9\n", &SchemaRules::default(), "a:utf8 b:float64");
}

#[test]
fn a_null_marker_does_not_make_a_column_text() {
    let rules = SchemaRules { null: vec!["NA".to_owned()], ..SchemaRules::default() };
    check("a,b\n1,2\nNA,3\n", &rules, "a:float64 b:float64");
    check_jsonl("{\"a\":1}\n{\"a\":\"NA\"}\n", &rules, "a:float64");
}

#[test]
fn a_pinned_type_wins_and_a_derived_column_pins_nothing() {
    let rule = |from: Option<&str>| {
        let rule =
            ColumnRule { kind: Some(ColumnType::Utf8), null: None, from: from.map(str::to_owned), bad: Bad::Reject };
        SchemaRules { columns: [("a".to_owned(), rule)].into(), ..SchemaRules::default() }
    };
    check("a\n1\n", &rule(None), "a:utf8");
    check("a\n1\n", &rule(Some("a || 'x'")), "a:float64");
}

#[test]
fn an_unnamed_null_marker_among_numbers_is_pointed_at() {
    let text = format!("a\n{}NaN\n", "1\n".repeat(20));
    let profile = check(&text, &SchemaRules::default(), "a:utf8");
    assert!(profile.warnings[0].contains("\"NaN\" first, in row 21"), "{:?}", profile.warnings);
}

#[test]
fn ragged_rows_count_but_say_nothing_of_types() {
    let profile = check("a,b\n1,2\nx\n", &SchemaRules::default(), "a:float64 b:float64");
    assert_eq!(profile.rows, Some(2));
}

#[test]
fn objects_tell_their_types_and_columns_come_as_they_first_appear() {
    let text = "{\"b\": 1, \"t\": 5, \"flag\": true, \"s\": \"1\", \"list\": [1], \"o\": {}, \"n\": null}\n\
                no object\n\n{\"a\":1.5,\"flag\":false,\"b\":2,\"mixed\":true}\n{\"mixed\":1, \"t\": 6, \"big\": 1e999}\n";
    let expected = "b:float64 t:int64 flag:boolean s:utf8 list:utf8 o:utf8 n:utf8 a:float64 mixed:utf8 big:utf8";
    assert_eq!(check_jsonl(text, &with_time("t"), expected).rows, Some(4));
    let keyed = Bench::new("a.jsonl", b"{\"id\":9007199254740993}\n{\"id\":1}\n").keyed("id");
    check_bench(&keyed, &SchemaRules::default(), "id:int64");
}

#[test]
fn what_models_call_ids_and_times_are_integers_where_they_are_whole() {
    let rules = SchemaRules {
        ids: ["userId".to_owned(), "code".to_owned(), "isbn".to_owned(), "name".to_owned()].into(),
        times: ["at".to_owned()].into(),
        ..SchemaRules::default()
    };
    let text = "userId,code,isbn,name,at,rating\n1,0.5,97801403288729780140328872,a,5,4\n2,1,1,b,6,5\n";
    check(text, &rules, "userId:int64 code:float64 isbn:utf8 name:utf8 at:int64 rating:float64");
}

#[test]
fn a_parquet_file_tells_its_types_itself() {
    let bytes = parquet_of(&[
        ("i", array(Int32Array::from(vec![1, 2, 3]))),
        ("u", array(UInt64Array::from(vec![1, 2, 3]))),
        ("f", array(Float32Array::from(vec![1.0, 2.0, 3.0]))),
        ("d", array(Decimal128Array::from(vec![1, 2, 3]).with_precision_and_scale(9, 2).unwrap())),
        ("s", array(StringArray::from(vec!["1", "2", "3"]))),
        ("flag", array(BooleanArray::from(vec![true, false, true]))),
        ("time", array(TimestampMillisecondArray::from(vec![1, 2, 3]))),
        ("bytes", array(BinaryArray::from_vec(vec![b"a", b"b", b"\xff"]))),
    ]);
    let expected = "i:int64 u:int64 f:float64 d:float64 s:utf8 flag:boolean time:utf8 bytes:utf8";
    let profile = check_bench(&Bench::new("a.parquet", &bytes), &SchemaRules::default(), expected);
    assert_eq!(profile.rows, Some(3));
    assert_eq!(profile.warnings, ["column \"bytes\" holds bytes: values that are no UTF-8 text become null"]);
}

#[test]
fn a_column_that_is_not_there_is_an_error_at_once() {
    let check = |bench: Bench, expected: &str| {
        let error = said(bench.dataset().profile(&SchemaRules::default()).unwrap_err());
        assert!(error.ends_with(expected), "{error}");
    };
    let csv = || Bench::new("a.csv", b"a,b\n1,2\n");
    check(csv().keyed("id"), "a.csv: source.key = \"id\": the source has no such column; it has a, b");
    check(csv().ordered("A"), "a.csv: source.order_by = \"A\": the source has no such column; it has a, b");
    check(
        Bench::new("a.jsonl", b"{\"a\":1}\n").keyed("id"),
        "a.jsonl: source.key = \"id\": the source has no such column; it has a",
    );
    let parquet = parquet_of(&[("a", Arc::new(Int32Array::from(vec![1])))]);
    check(Bench::new("a.parquet", &parquet).ordered("id"), "\"id\": the source has no such column; it has a");
    // Later starts do not profile: the reader says it too.
    assert!(csv().keyed("id").rows(Encoding::Json).is_err());
    assert!(Bench::new("a.parquet", &parquet).ordered("id").rows(Encoding::Json).is_err());
}

/// Records of partition 1, from offset 100 on.
fn sampled(values: &[&str]) -> Vec<Sampled> {
    let record = |(offset, value): (i64, &&str)| Sampled { partition: 1, offset, value: value.as_bytes().to_vec() };
    (100..).zip(values).map(record).collect()
}

#[test]
fn a_topic_s_first_values_tell_its_columns() {
    let check = |encoding, values: &[&str], expected: &str| {
        let found = profile_records(&sampled(values), encoding, &with_time("t"));
        assert_eq!(found.map_or_else(said, |profile| types(&profile)), expected);
    };
    check(Encoding::Json, &["{\"t\":1,\"x\":2}", "oops", "{\"s\":\"a\"}\n"], "t:int64 x:float64 s:utf8");
    check(Encoding::Csv, &["1,\"a,b\",", "x", "2,c,3"], "column_1:float64 column_2:utf8 column_3:float64");
    let none = "the topic's first records: no row can be read as one: ";
    check(Encoding::Json, &["[1]"], &format!("{none}a JSON list; expected an object"));
    check(Encoding::Csv, &[], &format!("{none}there is none"));
    // Framed by a schema registry: JSON is read, anything else is said to be none.
    check(Encoding::Json, &["\0\0\0\0\x07{\"x\":1}", "\0\0\0\0\x07\x02a"], "x:float64");
    let registry = "written with schema 513 of a schema registry, and not as JSON";
    let framed = "\0\0\0\x02\x01\x02{";
    for encoding in [Encoding::Json, Encoding::Csv] {
        let error = profile_records(&sampled(&[framed]), encoding, &SchemaRules::default()).map_err(said).unwrap_err();
        assert!(error.contains(registry), "{error}");
    }
}

#[test]
fn a_stray_record_of_a_topic_decides_nothing() {
    let check = |encoding, stray: &str, usual: &str, expected: &str| {
        for place in [0, 7, 15] {
            let mut values = vec![usual; 15];
            values.insert(place, stray);
            let profile = profile_records(&sampled(&values), encoding, &SchemaRules::default()).unwrap();
            assert_eq!(types(&profile), expected, "{stray}");
            let said = profile.warnings.join("\n");
            let names_it = said.contains(&format!("first, record {} of partition 1", 100 + place));
            assert!(said.is_empty() || names_it && said.contains("\"x\" = \"utf8\""), "{said}");
            assert_eq!(said.is_empty(), !stray.contains("n/a"), "{said}");
        }
    };
    check(Encoding::Json, "\u{1}", "{\"x\":1}", "x:float64");
    check(Encoding::Json, "{\"x\":\"n/a\"}", "{\"x\":1}", "x:float64");
    check(Encoding::Json, "{\"x\":\"n/a\"}", "{\"x\":true}", "x:boolean");
    check(Encoding::Json, "[]", "{\"x\":\"a\"}", "x:utf8");
    check(Encoding::Csv, "heartbeat", "1,a", "column_1:float64 column_2:utf8");
    // Where numbers are not the most by far it is text, and the line that makes it numbers is said.
    let values = ["{\"x\":1}", "{\"x\":\"a\"}"];
    let profile = profile_records(&sampled(&values), Encoding::Json, &SchemaRules::default()).unwrap();
    let said = profile.warnings.join("\n");
    assert_eq!(types(&profile), "x:utf8");
    assert!(said.contains("\"a\" first, record 101 of partition 1") && said.contains("\"x\" = \"float64\""), "{said}");
}

#[test]
fn rows_that_json_does_not_know_are_mended_and_counted() {
    let text = "{\"a\":1,\"b\":\"x\"}\n{\"a\":NaN,\"b\":\"\\ud83d\"}\n{\"a\":-Infinity,\"b\":\"NaN\"}\n";
    let bench = Bench::new("a.jsonl", text.as_bytes());
    let profile = check_bench(&bench, &SchemaRules::default(), "a:float64 b:utf8");
    let said = profile.warnings.join("\n");
    assert!(said.contains("2 rows hold what JSON does not know"), "{said}");
    let read = |dialect| {
        let dataset = bench.dataset();
        dataset.set_dialect(dialect);
        rows(&dataset, Encoding::Json).unwrap()
    };
    let sent = texts(&read(Dialect::Second));
    assert_eq!(sent[1..], [r#"{"a":null,"b":"\ufffd"}"#, r#"{"a":null,"b":"NaN"}"#]);
    // A store that was begun before goes on with the rows that it has sent.
    assert!(read(Dialect::First)[1..].iter().all(|row| row.stub.is_some()));
}

#[test]
fn columns_with_names_of_ours_are_kept_under_another() {
    let rules = SchemaRules {
        regressions: [("churn".to_owned(), "leavers".to_owned())].into(),
        columns: [(
            "source_time".to_owned(),
            ColumnRule { kind: Some(ColumnType::Utf8), null: None, from: None, bad: Bad::Reject },
        )]
        .into(),
        ..SchemaRules::default()
    };
    let text = "_time,_offset,source_offset,batch,churn,group by,a.b\n1,2,3,4,0,x,1\n5,6,7,8,1,y,2\n";
    let expected = "source_time:utf8 source_offset_:float64 source_offset:float64 batch:float64 churn:float64 group by:utf8 a.b:float64";
    let profile = check_bench(&Bench::new("a.csv", text.as_bytes()), &rules, expected);
    let keys: Vec<&str> = profile.schema.columns.iter().map(StreamColumn::key).collect();
    assert_eq!(keys[..3], ["_time", "_offset", "source_offset"]);
    let said = profile.warnings.join("\n");
    for part in [
        "column \"_time\" is kept as \"source_time\"",
        "column \"_offset\" is kept as \"source_offset_\"",
        "column \"batch\": who reads the folders batch=000001",
        "model \"leavers\": its target \"churn\" is 0 or 1 in every row",
        "write target = '\"churn\" = 1'",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(profile.warnings.len(), 4, "{said}");
    profile.schema.clone().apply_rules(&rules).unwrap();
    // Stored, and read again.
    let stored = serde_json::to_string(&profile.schema).unwrap();
    assert_eq!(serde_json::from_str::<StreamSchema>(&stored).unwrap(), profile.schema);
    assert!(stored.contains("\"key\":\"_time\"") && stored.matches("\"key\"").count() == 2, "{stored}");
}

#[test]
fn a_pinned_column_may_come_later_on_a_topic() {
    let pin = ColumnRule { kind: Some(ColumnType::Int64), null: None, from: None, bad: Bad::Reject };
    let rules = SchemaRules { columns: [("later".to_owned(), pin)].into(), ..SchemaRules::default() };
    let profile = profile_records(&sampled(&["{\"x\":1}"]), Encoding::Json, &rules).unwrap();
    assert_eq!(types(&profile), "x:float64 later:int64");
    assert!(profile.warnings[0].contains("\"later\" of [schema.columns] is in none of the first 1 records"));
}

#[test]
fn keys_that_are_data_do_not_fill_the_memory() {
    let text: String = (0..10_001).map(|i| format!("{{\"id{i}\":1}}\n")).collect();
    let error = said(Bench::new("a.jsonl", text.as_bytes()).dataset().profile(&SchemaRules::default()).unwrap_err());
    assert!(error.contains("more than 10000 different keys"), "{error}");
}
