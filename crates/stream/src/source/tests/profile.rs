//! Types, counts and warnings of the first pass.

use std::sync::Arc;

use datafusion::arrow::array::{
    BinaryArray, BooleanArray, Decimal128Array, Float32Array, Int32Array, StringArray, TimestampMillisecondArray,
    UInt64Array,
};

use super::*;
use crate::record::write_instant;
use crate::schema::{Dialect, EpochUnit, StreamColumn, StreamSchema, TimeForm};
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
fn columns_of_whole_numbers_are_int64_and_others_float64() {
    let profile =
        check("t,a,b,c,d\n1,1,1.5,007,x\n2,,2,1,\n", &with_time("t"), "t:int64 a:int64 b:float64 c:utf8 d:utf8");
    assert_eq!(profile.rows, Some(2));
}

#[test]
fn integers_of_the_key_stay_exact() {
    let key = |text: &str| {
        let bench = Bench::new("a.csv", format!("id,x\n{text}").as_bytes()).keyed("id");
        types(&bench.dataset().profile(&SchemaRules::default()).unwrap())
    };
    assert_eq!(key("1,1\n9223372036854775807,2\n"), "id:int64 x:int64");
    assert_eq!(key("1,1\n1.5,2\n"), "id:float64 x:int64");
    // No 64 bits hold it, and a float would make two ids one.
    assert_eq!(key("1,1\n92233720368547758070,2\n"), "id:utf8 x:int64");
    // Nanoseconds have 19 digits.
    check("t\n1700000000000000000\n", &with_time("t"), "t:int64");
}

#[test]
fn a_number_that_no_f64_holds_makes_a_column_text() {
    check("a,b\n1e999,1e9\n", &SchemaRules::default(), "a:utf8 b:float64");
}

#[test]
fn a_null_marker_does_not_make_a_column_text() {
    let rules = SchemaRules { null: Some(vec!["NA".to_owned()]), ..SchemaRules::default() };
    check("a,b\n1,2\nNA,3\n", &rules, "a:int64 b:int64");
    check_jsonl("{\"a\":1}\n{\"a\":\"NA\"}\n", &rules, "a:int64");
}

#[test]
fn a_pinned_type_wins_and_a_derived_column_pins_nothing() {
    let rule = |from: Option<&str>| {
        let rule =
            ColumnRule { kind: Some(ColumnType::Utf8), null: None, from: from.map(str::to_owned), bad: Bad::Reject };
        SchemaRules { columns: [("a".to_owned(), rule)].into(), ..SchemaRules::default() }
    };
    check("a\n1\n", &rule(None), "a:utf8");
    check("a\n1\n", &rule(Some("a || 'x'")), "a:int64");
    // Its texts are cleaned by the user's own SQL, which is not for numbers.
    check("a,b\n1,1\nNA,NA\n 2, 2\n", &rule(Some("nullif(trim(a), 'NA')")), "a:utf8 b:int64");
}

#[test]
fn an_unnamed_null_marker_among_numbers_is_pointed_at() {
    let text = format!("a\n{}nothing\n", "1\n".repeat(20));
    let profile = check(&text, &SchemaRules::default(), "a:utf8");
    assert!(profile.warnings[0].contains("\"nothing\" first, in row 21"), "{:?}", profile.warnings);
}

#[test]
fn numbers_are_found_as_people_write_them() {
    let first = |text: &str| {
        let bench = Bench::new("a.csv", format!("a\n{}\n", text.replace('|', "\n")).as_bytes());
        types(&bench.dataset().profile(&SchemaRules::default()).unwrap())
    };
    for (values, expected) in [
        ("1| 2 |+3|-4", "a:int64"),
        ("1|+1.5|.5|5.|1e3", "a:float64"),
        ("1.0|2.0", "a:float64"),
        ("9223372036854775807|1", "a:int64"),
        ("9007199254740993|1", "a:int64"),
        ("9223372036854775808|1", "a:utf8"),
        ("9223372036854775808|1.5", "a:float64"),
        ("007|1", "a:utf8"),
        ("1|-007", "a:utf8"),
        ("1.5|00.5", "a:utf8"),
        ("+48600123456|+48600123457", "a:utf8"),
        ("1.5|NaN|-inf|Infinity", "a:float64"),
        ("NaN|inf", "a:utf8"),
    ] {
        assert_eq!(first(values), expected, "{values}");
    }
    let exact = check("a\n9007199254740993\n1.5\n", &SchemaRules::default(), "a:float64");
    assert!(exact.warnings[0].contains("beyond 2^53"), "{:?}", exact.warnings);
    let codes = check("zip\n01234\n20001\n", &SchemaRules::default(), "zip:utf8");
    assert!(codes.warnings[0].contains("look like codes (\"01234\" first, in row 1)"), "{:?}", codes.warnings);
    let first_dialect = SchemaRules { dialect: Dialect::First, ..SchemaRules::default() };
    check("a,b,c,d\n1,+1,NaN,NA\n2,1,1,2\n", &first_dialect, "a:float64 b:utf8 c:utf8 d:utf8");
}

#[test]
fn markers_of_missing_values_are_null_in_a_column_of_numbers() {
    let nulls = |text: &str, rules: &SchemaRules, expected: &str| {
        let profile = check(text, rules, expected);
        profile.schema.obeys(rules).unwrap();
        (profile.schema.columns[0].null.clone(), profile.warnings)
    };
    let rules = SchemaRules::default();
    for marker in ["NA", "N/A", "n/a", "null", "NULL", "None", "?", "-", "--", "\\N", "..", ".", " ", "#N/A", " ? "] {
        // Whatever their share.
        let (null, warnings) = nulls(&format!("a,b\n1,x\n{marker},\n{marker},\n"), &rules, "a:int64 b:utf8");
        assert_eq!(null, [marker]);
        assert!(warnings[0].contains(&format!("holds {marker:?} in 2 rows, taken as null")), "{warnings:?}");
    }
    let (null, warnings) = nulls("a\n1.5\nNaN\n?\n-\n?\n", &rules, "a:float64");
    assert_eq!(null, ["?", "-"]);
    assert!(
        warnings[0].contains("holds \"?\", \"-\" in 3 rows") && warnings[0].contains("\"NaN\", in row 2"),
        "{warnings:?}"
    );
    assert_eq!(nulls("a\nNA\nx\n", &rules, "a:utf8").0, [""; 0]);
    assert_eq!(nulls("a\nNA\n\"\"\n", &rules, "a:utf8").0, [""; 0]);
    assert_eq!(nulls("a\n1\nNA\nx\n", &rules, "a:utf8").0, [""; 0]);
    // What the user says comes before what is well known.
    for null in [vec![], vec!["?".to_owned()]] {
        let told = SchemaRules { null: Some(null.clone()), ..SchemaRules::default() };
        assert_eq!(nulls("a\n1\nNA\n", &told, "a:utf8").0, null);
    }
    check_jsonl("{\"a\":1,\"b\":true}\n{\"a\":\"NA\",\"b\":\"\"}\n", &rules, "a:int64 b:boolean");
    let pinned = ColumnRule { kind: Some(ColumnType::Float64), null: None, from: None, bad: Bad::Reject };
    let pinned = SchemaRules { columns: [("a".to_owned(), pinned)].into(), ..SchemaRules::default() };
    assert_eq!(nulls("a\n1\nNA\nx\n", &pinned, "a:float64").0, ["NA"]);
}

#[test]
fn the_whole_column_tells_how_its_times_are_written() {
    let check = |values: &str, rules: &SchemaRules, expected: &str| {
        let bench = Bench::new("a.csv", format!("t,x\n{},1\n", values.replace('|', ",1\n")).as_bytes());
        let profile = bench.dataset().profile(rules).unwrap();
        profile.schema.obeys(rules).unwrap();
        let form = &profile.schema.time_form;
        let shown = |time_ms: i64| {
            let mut text = Vec::new();
            write_instant(time_ms, &mut text);
            String::from_utf8(text).unwrap().split('T').next().unwrap().to_owned()
        };
        let times = profile.times.map(|(first, last)| format!("{} {}", shown(first), shown(last)));
        let unit = form.unit.map_or("-", EpochUnit::name);
        let format = form.format.as_deref().unwrap_or("-");
        assert_eq!(format!("{format} {unit} {}", times.unwrap_or_default()), expected, "{values}");
        profile.warnings.len()
    };
    let guess = with_time("t");
    assert_eq!(check("1700000000|86400", &guess, "- - 1970-01-02 2023-11-14"), 0);
    assert_eq!(check("1700000000000|86400000|-86400000", &guess, "- ms 1969-12-31 2023-11-14"), 1);
    assert_eq!(check("1700000000000000|0", &guess, "- us 1970-01-01 2023-11-14"), 1);
    assert_eq!(check("20240131|19991231", &guess, "%Y%m%d - 1999-12-31 2024-01-31"), 1);
    assert_eq!(check("20240131|20241331", &guess, "- - 1970-08-23 1970-08-23"), 0);
    assert_eq!(check("2022-1-5|2020/01/05 10:30", &guess, "- - 2020-01-05 2022-01-05"), 0);
    let told = |format: Option<&str>, unit: Option<EpochUnit>| SchemaRules {
        time_form: TimeForm { format: format.map(str::to_owned), unit },
        ..with_time("t")
    };
    let serial = told(None, Some(EpochUnit::Serial));
    assert_eq!(check("44562|44563.5", &serial, "- serial 2022-01-01 2022-01-02"), 0);
    let of_old = told(None, Some(EpochUnit::Milliseconds));
    assert_eq!(check("86400000|172800000", &of_old, "- ms 1970-01-02 1970-01-03"), 0);
    let day_first = told(Some("%d/%m/%Y"), None);
    assert_eq!(check("05/01/2022|31/12/2021", &day_first, "%d/%m/%Y - 2021-12-31 2022-01-05"), 0);
}

#[test]
fn of_a_sample_numbers_stay_float64_unless_digits_would_be_lost() {
    let check = |values: &[&str], expected: &str| {
        let sampled =
            |(offset, value): (i64, &&str)| Sampled { partition: 0, offset, value: value.as_bytes().to_vec() };
        let records: Vec<Sampled> = (0..).zip(values).map(sampled).collect();
        let found = profile_records(&records, Encoding::Csv, &SchemaRules::default()).unwrap();
        assert_eq!(types(&found), expected);
        found.schema.obeys(&SchemaRules::default()).unwrap();
        found.schema.columns[0].null.clone()
    };
    // What has not come yet may be missing.
    let null = check(&["1", "2"], "column_1:float64");
    assert!(["NA", "", "?", "\\N"].iter().all(|marker| null.iter().any(|null| null == marker)), "{null:?}");
    check(&["9007199254740993", "2"], "column_1:int64");
    check(&["9223372036854775808", "2"], "column_1:utf8");
    assert_eq!(check(&["NA", "x"], "column_1:utf8"), [""; 0]);
}

#[test]
fn ragged_rows_count_but_say_nothing_of_types() {
    let profile = check("a,b\n1,2\nx\n", &SchemaRules::default(), "a:int64 b:int64");
    assert_eq!(profile.rows, Some(2));
}

#[test]
fn objects_tell_their_types_and_columns_come_as_they_first_appear() {
    let text = "{\"b\": 1, \"t\": 5, \"flag\": true, \"s\": \"1\", \"list\": [1], \"o\": {}, \"n\": null}\n\
                no object\n\n{\"a\":1.5,\"flag\":false,\"b\":2,\"mixed\":true}\n{\"mixed\":1, \"t\": 6, \"big\": 1e999}\n";
    let expected = "b:int64 t:int64 flag:boolean s:utf8 list:utf8 o:utf8 n:utf8 a:float64 mixed:utf8 big:utf8";
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
    check(text, &rules, "userId:int64 code:float64 isbn:utf8 name:utf8 at:int64 rating:int64");
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
            assert_eq!(said.is_empty(), !stray.contains("soon"), "{said}");
        }
    };
    check(Encoding::Json, "\u{1}", "{\"x\":1}", "x:float64");
    check(Encoding::Json, "{\"x\":\"soon\"}", "{\"x\":1}", "x:float64");
    check(Encoding::Json, "{\"x\":\"soon\"}", "{\"x\":true}", "x:boolean");
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
    let profile = check_bench(&bench, &SchemaRules::default(), "a:int64 b:utf8");
    let said = profile.warnings.join("\n");
    assert!(said.contains("2 rows hold what JSON does not know"), "{said}");
    let read = |dialect| {
        let dataset = bench.dataset();
        dataset.profile(&SchemaRules { dialect, ..SchemaRules::default() }).unwrap();
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
    let expected =
        "source_time:utf8 source_offset_:int64 source_offset:int64 batch:int64 churn:int64 group by:utf8 a.b:int64";
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
fn a_target_of_0_and_1_is_said_of_parquet_too() {
    use datafusion::arrow::array::{Float64Array, Int64Array};
    let columns = [
        ("flag", array(Int64Array::from(vec![Some(0), None, Some(1)]))),
        ("share", array(Float64Array::from(vec![0.0, 1.0, 0.5]))),
        ("real", array(Float64Array::from(vec![0.0, 1.0, 1.0]))),
        ("truth", array(BooleanArray::from(vec![true, false, true]))),
        ("none", array(Int64Array::from(vec![None::<i64>, None, None]))),
    ];
    let bench = Bench::new("a.parquet", &parquet_of(&columns));
    let said = |targets: &[&str]| {
        let regressions = targets.iter().map(|target| ((*target).to_owned(), "m".to_owned())).collect();
        bench.dataset().profile(&SchemaRules { regressions, ..SchemaRules::default() }).unwrap().warnings
    };
    let found = said(&["flag", "share", "real", "truth", "other"]).join("\n");
    for (name, expected) in [("flag", true), ("real", true), ("share", false), ("truth", false)] {
        let note = format!("its target {name:?} is 0 or 1 in every row, and of a number it makes a regression");
        assert_eq!(found.contains(&note), expected, "{name}: {found}");
    }
    assert_eq!(said(&["none"]), [""; 0]);
    assert_eq!(said(&[]), [""; 0]);
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

#[test]
fn one_odd_time_does_not_decide_for_the_others() {
    let form = |text: &str| {
        let bench = Bench::new("a.csv", text.as_bytes());
        bench.dataset().profile(&with_time("t")).unwrap().schema.time_form
    };
    let plain = TimeForm::default();
    assert_eq!(form("t\n2024-02-01\n20240131\n2024-02-02\n"), plain, "texts say it themselves");
    assert_eq!(form("t\n1700000000\n1700000060\n253402300799\n"), plain, "seconds and a year 9999");
    assert_eq!(form("t\n1700000000\n1700000060000\n"), plain, "of two senders");
    assert_eq!(form("t\n-86400000\n0\n1700000060000\n").unit, Some(EpochUnit::Milliseconds), "before 1973");
    let kept =
        Bench::new("a.csv", b"_time\n20240131\n20240201\n").dataset().profile(&with_time("source_time")).unwrap();
    assert_eq!(kept.schema.time_form.format.as_deref(), Some("%Y%m%d"), "of a column that is kept under another name");
    // The times of a column that another one replaces are not its own.
    let rule =
        ColumnRule { kind: Some(ColumnType::Int64), null: None, from: Some("t / 2".to_owned()), bad: Bad::Reject };
    let rules = SchemaRules { columns: [("t".to_owned(), rule)].into(), ..with_time("t") };
    let profile = Bench::new("a.csv", b"t\n20240131\n20240201\n").dataset().profile(&rules).unwrap();
    assert_eq!(profile.schema.time_form, plain);
}

#[test]
fn a_from_is_of_the_columns_that_it_names() {
    let rule = ColumnRule {
        kind: Some(ColumnType::Float64),
        null: None,
        from: Some("replace(\"pa id\", '$', '') || paid".to_owned()),
        bad: Bad::Reject,
    };
    let rules = SchemaRules { columns: [("amount".to_owned(), rule)].into(), ..SchemaRules::default() };
    check("id,paid,pa id\n1,1,NA\nNA,NA,2\n", &rules, "id:int64 paid:utf8 pa id:utf8");
}

#[test]
fn codes_of_a_topic_are_not_forgiven_away() {
    let mut values = vec!["20001,1"; 30];
    values.push("01234,1");
    let profile = profile_records(&sampled(&values), Encoding::Csv, &SchemaRules::default()).unwrap();
    assert_eq!(types(&profile), "column_1:utf8 column_2:float64");
}
