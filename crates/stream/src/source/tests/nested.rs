//! `schema.flatten`: what is in JSON objects becomes columns, in files as in topics.

use super::*;
use crate::record::RowDecoder;
use crate::schema::StreamSchema;
use crate::source::{Profile, Sampled, profile_records};

fn flat() -> SchemaRules {
    SchemaRules { flatten: true, ..SchemaRules::default() }
}

fn types(schema: &StreamSchema) -> String {
    let types = schema.columns.iter().map(|column| format!("{}:{}", column.name, column.kind.name()));
    types.collect::<Vec<_>>().join(" ")
}

/// What parts hold of these values: a line a row, of one that is a reject its reason.
fn decoded(schema: &StreamSchema, encoding: Encoding, values: &[String]) -> Vec<String> {
    let mut decoder = RowDecoder::new(schema, encoding).unwrap();
    let line = |value: &String| match decoder.push(value.as_bytes(), 0, 0, 0, 0) {
        Err(misfit) => format!("<{}>", misfit.reason),
        Ok(()) => {
            let rows = decoder.take().unwrap().rows;
            let shown = |column: &ArrayRef| {
                let text = datafusion::arrow::util::display::array_value_to_string(column, 0).unwrap();
                if column.is_null(0) { "null".to_owned() } else { text }
            };
            rows.columns()[..schema.columns.len()].iter().map(shown).collect::<Vec<_>>().join("|")
        }
    };
    values.iter().map(line).collect()
}

#[test]
fn objects_become_columns_in_every_encoding_and_what_travels_is_the_row_as_it_was() {
    // The file, its columns, its rows.
    let cases = [
        (
            r#"{"op":"u","after":{"id":7,"at":{"x":1.5}}}
               {"op":"d","after":null}
               {"op":"u","after":{"at":{"x":2},"id":8}}"#,
            "op:utf8 after.id:int64 after.at.x:float64",
            vec!["u|7|1.5", "d|null|null", "u|8|2.0"],
        ),
        (
            r#"[{"before":null,"after":{"tags":["a","b"],"none":{}}},{"before":null,"after":{"tags":[],"none":{}}}]"#,
            "before:utf8 after.tags:utf8 after.none:utf8",
            vec![r#"null|["a","b"]|{}"#, "null|[]|{}"],
        ),
        (r#"{"a":{"b":NaN}} {"a":1}"#.replace("} {", "}\n{").leak(), "a.b:utf8 a:int64", vec!["null|null", "null|1"]),
        (r#"{"a.b":1,"c":{"d":"x"}}"#, "a.b:int64 c.d:utf8", vec!["1|x"]),
        (
            "{\"a\":{\"b\":1}}\n{\"a.b\":1,\"a\":{\"b\":2}}",
            "a.b:int64",
            vec!["1", "<the key \"a.b\" stands twice in the object, once as it is and once by schema.flatten"],
        ),
    ];
    for (text, expected, lines) in cases {
        let bench = Bench::new("a.json", text.as_bytes());
        let dataset = bench.dataset();
        let profile = dataset.profile(&flat()).unwrap();
        assert_eq!(types(&profile.schema), expected, "{text}");
        assert!(profile.schema.flatten && !profile.nests);
        for encoding in [Encoding::Json, Encoding::Csv] {
            let again = bench.dataset();
            again.obey(&profile.schema);
            for dataset in [&dataset, &again] {
                let rows = rows(dataset, encoding).unwrap();
                let found: Vec<String> = rows
                    .iter()
                    .map(|row| match &row.stub {
                        Some(reason) => format!("<{reason}>"),
                        None => {
                            let value = String::from_utf8(row.value.clone()).unwrap();
                            assert!(
                                encoding == Encoding::Csv || text.contains(&value) || text.contains("NaN"),
                                "{value}"
                            );
                            decoded(&profile.schema, encoding, &[value]).remove(0)
                        }
                    })
                    .collect();
                assert_eq!(found.len(), lines.len(), "{found:?}");
                let fits = found
                    .iter()
                    .zip(&lines)
                    .all(|(found, line)| found == line || line.starts_with('<') && found.starts_with(line));
                assert!(fits, "{encoding:?} {found:?}");
            }
        }
    }
}

#[test]
fn without_the_key_objects_stay_json_and_it_is_said() {
    let text = "{\"op\":\"u\",\"after\":{\"id\":7}}\n{\"op\":\"d\",\"after\":{}}\n";
    let profile = |rules: &SchemaRules| Bench::new("a.jsonl", text.as_bytes()).dataset().profile(rules).unwrap();
    let plain = profile(&SchemaRules::default());
    assert_eq!((types(&plain.schema).as_str(), plain.nests), ("op:utf8 after:utf8", true));
    assert_eq!(
        plain.warnings,
        [
            "column \"after\" holds JSON objects in 1 rows, kept as text: schema.flatten = true makes columns of what is in them, \
             \"after.id\" first; json_get_str(\"after\", 'id') and the like read them in SQL"
        ]
    );
    let rule =
        |kind, from: Option<&str>| ColumnRule { kind, null: None, from: from.map(str::to_owned), bad: Bad::Reject };
    let pinned = [("after".to_owned(), rule(Some(ColumnType::Utf8), None))];
    let read = [("id".to_owned(), rule(Some(ColumnType::Int64), Some("json_get_int(after, 'id')")))];
    for columns in [pinned, read] {
        let rules = SchemaRules { columns: columns.into(), ..SchemaRules::default() };
        assert_eq!(profile(&rules).warnings, [""; 0]);
    }
}

#[test]
fn keys_orders_and_pins_speak_of_paths() {
    let text = "{\"a\":{\"id\":2,\"n\":\"7\"}}\n{\"a\":{\"id\":1}}\n";
    let bench = Bench::new("a.jsonl", text.as_bytes()).keyed("a.id").ordered("a.id");
    let dataset = bench.dataset();
    let rule = ColumnRule { kind: Some(ColumnType::Float64), null: None, from: None, bad: Bad::Reject };
    let rules = SchemaRules { columns: [("a.n".to_owned(), rule)].into(), ..flat() };
    assert_eq!(types(&dataset.profile(&rules).unwrap().schema), "a.id:int64 a.n:float64");
    let keys: Vec<_> = rows(&dataset, Encoding::Json).unwrap().into_iter().map(|row| row.key.unwrap()).collect();
    assert_eq!(keys, [b"1", b"2"]);
}

#[test]
fn topics_of_others_are_taken_apart_too() {
    let record = |offset: i64, value: &str| Sampled { partition: 0, offset, value: value.as_bytes().to_vec() };
    let records = [
        record(0, r#"{"after":null,"ts":1}"#),
        record(1, "\0\0\0\0\x07{\"after\":{\"id\":7,\"deep\":{\"er\":\"x\"}},\"ts\":2}"),
    ];
    let Profile { schema, .. } = profile_records(&records, Encoding::Json, &flat()).unwrap();
    assert_eq!(types(&schema), "ts:float64 after.id:float64 after.deep.er:utf8");
    let values = records.map(|record| String::from_utf8(record.value).unwrap());
    assert_eq!(decoded(&schema, Encoding::Json, &values), ["1.0|null|null", "2.0|7.0|x"]);
    let others = [
        r#"{"after":{"id":1,"deep":{"er":"\ud800"}},"ts":NaN}"#,
        r#"{"after":{"id":1},"after":{"id":2}}"#,
        r#"{"after":{"id":1}"#,
        r#"{"after":{"new":1,"later":{}},"ts":1}"#,
    ];
    let found = decoded(&schema, Encoding::Json, &others.map(str::to_owned));
    assert_eq!((found[0].as_str(), found[3].as_str()), ("null|1.0|\u{fffd}", "1.0|null|null"));
    assert!(found[1].starts_with("<the key \"after.id\" stands twice"), "{}", found[1]);
    assert!(found[2].starts_with("<not a JSON object"), "{}", found[2]);
    let mut decoder = RowDecoder::new(&schema, Encoding::Json).unwrap();
    decoder.push(others[3].as_bytes(), 0, 0, 0, 0).unwrap();
    let new: Vec<String> = decoder.new_keys().into_iter().map(|key| key.name).collect();
    assert_eq!(new.len(), 2);
    assert!(new.contains(&"after.new".to_owned()) && new.contains(&"after.later".to_owned()), "{new:?}");
}

#[test]
fn a_store_keeps_what_it_was_begun_with_and_parquet_says_what_to_do() {
    let profile = Bench::new("a.jsonl", b"{\"a\":{\"b\":1}}\n").dataset().profile(&flat()).unwrap();
    let stored = serde_json::to_string(&profile.schema).unwrap();
    assert!(stored.contains("\"flatten\":true"));
    let stored: StreamSchema = serde_json::from_str(&stored).unwrap();
    assert!(stored.obeys(&flat()).is_ok());
    let fault = stored.obeys(&SchemaRules::default()).unwrap_err().to_string();
    assert!(fault.starts_with("schema.flatten = \"false\": the store has true"), "{fault}");
    let numbers = array(datafusion::arrow::array::Int64Array::from(vec![1]));
    let fault = Bench::new("a.parquet", &parquet_of(&[("a", numbers)])).dataset().profile(&flat()).unwrap_err();
    assert!(said(fault).contains("schema.flatten is for JSON"));
}

#[test]
fn a_look_takes_objects_apart() {
    let bench = Bench::new("a.jsonl", b"{\"a\":{\"b\":1,\"c\":\"x\"}}\n{\"a\":{\"b\":2,\"c\":\"y\"}}\n");
    let look = crate::source::look(&bench.path).unwrap();
    assert_eq!((types(&look.profile.schema).as_str(), look.profile.schema.flatten), ("a.b:int64 a.c:utf8", true));
    let firsts: Vec<_> = look.columns.iter().map(|column| column.first.as_deref().unwrap()).collect();
    assert_eq!(firsts, ["1", "x"]);
    let bench = Bench::new("a.jsonl", b"{\"a\":{\"b\":1},\"a.b\":2}\n");
    let look = crate::source::look(&bench.path).unwrap();
    assert_eq!((types(&look.profile.schema).as_str(), look.profile.schema.flatten), ("a:utf8 a.b:int64", false));
}
