//! Rows as values and keys, of every format and in both encodings.

use std::sync::Arc;

use csv::ByteRecord;
use datafusion::arrow::array::types::Int32Type;
use datafusion::arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array,
    Float64Array, Int32Array, Int64Array, ListArray, StringArray, StructArray, TimestampMicrosecondArray, UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Field};
use proptest::prelude::*;

use super::*;
use crate::record::{MAX_RECORD_BYTES, RowDecoder};
use crate::source::Row;

fn check(bench: &Bench, json: &[&str], csv: &[&str]) {
    assert_eq!(bench.values(Encoding::Json), json);
    assert_eq!(bench.values(Encoding::Csv), csv);
}

#[test]
fn csv_rows_say_what_the_file_said() {
    let bench = Bench::new("a.csv", b"\xef\xbb\xbfid,x\r\n007,1.50\r\n,\"a, \"\"b\"\"\"\r\n1\r\n");
    let ragged = "<1 fields, the header has 2>";
    check(
        &bench,
        &[r#"{"id":"007","x":1.50}"#, r#"{"id":null,"x":"a, \"b\""}"#, ragged],
        &["007,1.50", r#","a, ""b""""#, ragged],
    );
}

#[test]
fn jsonl_rows_stay_as_they_are_written() {
    let text = "\u{feff} {\"a\": 1.50, \"b\":\"x\\n\"} \r\n\n  \t\n{\"b\":\"\",\"c\":[1, {\"d\":null}]}\n[1]\n{\"a\":1,\"a\":2}\n{\"a\":null}";
    let list = "<a JSON list; expected an object>";
    let twice = "<the key \"a\" stands twice in the object>";
    check(
        &Bench::new("a.jsonl", text.as_bytes()),
        &["{\"a\": 1.50, \"b\":\"x\\n\"}", "{\"b\":\"\",\"c\":[1, {\"d\":null}]}", list, twice, "{\"a\":null}"],
        &["1.50,\"x\n\",", ",\"\",\"[1, {\"\"d\"\":null}]\"", list, twice, ",,"],
    );
}

#[test]
fn parquet_values_keep_their_digits() {
    let dictionary: DictionaryArray<Int32Type> = vec![Some("a\""), None].into_iter().collect();
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), None]);
    let inner: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None]));
    let nested = StructArray::from(vec![(Arc::new(Field::new("y", DataType::Utf8, true)), inner)]);
    let bytes = parquet_of(&[
        ("i", array(Int64Array::from(vec![i64::MIN, 9_007_199_254_740_993]))),
        ("u", array(UInt64Array::from(vec![u64::MAX, 0]))),
        ("f", array(Float64Array::from(vec![0.1 + 0.2, f64::NAN]))),
        ("g", array(Float32Array::from(vec![0.1, f32::INFINITY]))),
        ("d", array(Decimal128Array::from(vec![-50, 12_345]).with_precision_and_scale(9, 2).unwrap())),
        ("flag", array(BooleanArray::from(vec![Some(true), None]))),
        ("day", array(Date32Array::from(vec![19_675, 0]))),
        ("at", array(TimestampMicrosecondArray::from(vec![1_700_000_000_500_000, 0]).with_timezone("UTC"))),
        ("local", array(TimestampMicrosecondArray::from(vec![1_700_000_000_000_000, 0]))),
        ("s", array(dictionary)),
        ("bytes", array(BinaryArray::from_vec(vec![b"text", b"\xff"]))),
        ("list", array(list)),
        ("o", array(nested)),
    ]);
    let bench = Bench::new("a.parquet", &bytes);
    let json = [
        r#"{"i":-9223372036854775808,"u":18446744073709551615,"f":0.30000000000000004,"g":0.1,"d":-0.50,"flag":true,"day":"2023-11-14","at":"2023-11-14T22:13:20.500Z","local":"2023-11-14T22:13:20","s":"a\"","bytes":"text","list":[1,null],"o":{"y":"x"}}"#,
        r#"{"i":9007199254740993,"u":0,"f":null,"g":null,"d":123.45,"flag":null,"day":"1970-01-01","at":"1970-01-01T00:00:00Z","local":"1970-01-01T00:00:00","s":null,"bytes":null,"list":null,"o":{"y":null}}"#,
    ];
    let csv = [
        r#"-9223372036854775808,18446744073709551615,0.30000000000000004,0.1,-0.50,true,2023-11-14,2023-11-14T22:13:20.500Z,2023-11-14T22:13:20,"a""",text,"[1,null]","{""y"":""x""}""#,
        r#"9007199254740993,0,,,123.45,,1970-01-01,1970-01-01T00:00:00Z,1970-01-01T00:00:00,,,,"{""y"":null}""#,
    ];
    check(&bench, &json, &csv);
}

#[test]
fn keys_are_what_the_file_has() {
    let keys = |bench: Bench| -> Vec<Option<String>> {
        let rows = bench.keyed("k").rows(Encoding::Json).unwrap();
        rows.into_iter().map(|row| row.key.map(|key| String::from_utf8(key).unwrap())).collect()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(keys(Bench::new("a.csv", b"x,k\n1,007\n2,\n3\n4,\" a\"\n")), [some("007"), None, None, some(" a")]);
    let text = "{\"k\":\"a\\u0062\"}\n{\"k\":1.50}\n{\"k\":null}\n{\"x\":1}\n{\"k\":\"\"}\n{\"k\":[1, 2]}\n";
    let expected = [some("ab"), some("1.50"), None, None, None, some("[1, 2]")];
    assert_eq!(keys(Bench::new("a.jsonl", text.as_bytes())), expected);
    let parquet = parquet_of(&[("k", Arc::new(Int32Array::from(vec![Some(7), None])))]);
    assert_eq!(keys(Bench::new("a.parquet", &parquet)), [some("7"), None]);
}

#[test]
fn a_row_too_large_for_a_record_is_a_stub_of_bearable_length() {
    let large = "x".repeat(MAX_RECORD_BYTES);
    // The key counts too: together they must fit.
    let half = "x".repeat(MAX_RECORD_BYTES * 2 / 3);
    let csv = |text: &str| Bench::new("a.csv", format!("a,k\n1,{text}\n").as_bytes()).keyed("k");
    let jsonl = |text: &str| Bench::new("a.jsonl", format!("{{\"k\":\"{text}\"}}\n").as_bytes()).keyed("k");
    let parquet = |text: &str| {
        let bytes = parquet_of(&[("k", Arc::new(StringArray::from(vec![text])))]);
        Bench::new("a.parquet", &bytes).keyed("k")
    };
    for text in [&large, &half] {
        for bench in [csv(text), jsonl(text), parquet(text)] {
            let rows = bench.rows(Encoding::Json).unwrap();
            assert_eq!(rows.len(), 1);
            assert!(rows[0].stub.as_ref().unwrap().contains("fit into a record"), "{:?}", rows[0].stub);
            assert!(rows[0].value.len() <= 64 * 1024 && rows[0].key.is_none());
        }
    }
}

#[test]
fn a_key_that_came_after_the_columns_were_found_is_not_lost_without_a_word() {
    let bench = Bench::new("a.jsonl", b"{\"b\":1,\"a\":2}\n{\"a\":3,\"late\":4}\n");
    let dataset = bench.dataset();
    let stored = Bench::new("stored.csv", b"a,b\n1,2\n").dataset().profile(&SchemaRules::default()).unwrap();
    dataset.obey(&stored.schema);
    let found = texts(&rows(&dataset, Encoding::Csv).unwrap());
    assert_eq!(found, ["2,1", "<the key \"late\" is none of the columns found at first>"]);
    // A profile finds it, and so does a reader that has neither.
    assert_eq!(bench.values(Encoding::Csv), ["1,2,", ",3,4"]);
}

/// Fields as a csv line of any quoting, and as they are expected back: csv knows no difference between empty and null.
fn csv_line(fields: &[Option<String>]) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(fields.iter().map(|field| field.as_deref().unwrap_or_default())).unwrap();
    writer.into_inner().unwrap()
}

fn object(fields: &[Option<String>]) -> String {
    let members = fields.iter().enumerate();
    let members = members.map(|(i, field)| (format!("c{i}"), serde_json::json!(field)));
    serde_json::Value::Object(members.collect()).to_string()
}

/// The fields of values of ours, in whichever encoding.
fn fields_of(rows: &[Row], encoding: Encoding, width: usize) -> Vec<Vec<Option<String>>> {
    rows.iter()
        .map(|row| {
            assert_eq!(row.stub, None);
            match encoding {
                Encoding::Json => {
                    let object: serde_json::Value = serde_json::from_slice(&row.value).unwrap();
                    let text = |value: &serde_json::Value| match value {
                        serde_json::Value::Null => None,
                        serde_json::Value::String(text) => Some(text.clone()),
                        number => Some(number.to_string()),
                    };
                    (0..width).map(|i| text(&object[format!("c{i}")])).collect()
                }
                Encoding::Csv => {
                    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(row.value.as_slice());
                    let mut record = ByteRecord::new();
                    if !reader.read_byte_record(&mut record).unwrap() {
                        // One null alone is an empty line.
                        return vec![None; width];
                    }
                    assert_eq!(record.len(), width, "{:?}", String::from_utf8_lossy(&row.value));
                    let text =
                        |field: &[u8]| Some(String::from_utf8(field.to_vec()).unwrap()).filter(|t| !t.is_empty());
                    record.iter().map(text).collect()
                }
            }
        })
        .collect()
}

/// The same values as a batch reads them back.
fn decoded(bench: &Bench, rows: &[Row], encoding: Encoding) -> Vec<Vec<Option<String>>> {
    let text = ColumnRule { kind: Some(ColumnType::Utf8), null: None, from: None, bad: Bad::Reject };
    let columns = (0..WIDTH).map(|i| (format!("c{i}"), text.clone())).collect();
    let rules = SchemaRules { columns, ..SchemaRules::default() };
    let mut schema = bench.dataset().profile(&rules).unwrap().schema;
    if encoding == Encoding::Json {
        // By name; a jsonl file may show them in another order.
        schema.columns.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let mut decoder = RowDecoder::new(&schema, encoding).unwrap();
    for row in rows {
        decoder.push(&row.value, 0, 0, 0, 0).unwrap();
    }
    let batch = decoder.take().unwrap().rows;
    let column = |i: usize| batch.column_by_name(&format!("c{i}")).unwrap().as_string::<i32>();
    let field = |i: usize, row: usize| column(i).is_valid(row).then(|| column(i).value(row).to_owned());
    (0..batch.num_rows()).map(|row| (0..WIDTH).map(|i| field(i, row)).collect()).collect()
}

const WIDTH: usize = 3;

fn any_rows() -> impl Strategy<Value = Vec<Vec<Option<String>>>> {
    // Never a number: JSON writes it in other ways.
    let field = proptest::option::of("[a\",;\r\n\\\\ é\u{1f600}]{1,8}");
    proptest::collection::vec(proptest::collection::vec(field, WIDTH..=WIDTH), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_rows_survive_every_format_and_packing(found in any_rows(), cut in 0_usize..1000) {
        let mut csv = b"c0,c1,c2\n".to_vec();
        found.iter().for_each(|fields| csv.extend(csv_line(fields)));
        let jsonl: String = found.iter().map(|fields| object(fields) + "\n").collect();
        let column = |i: usize| -> ArrayRef {
            Arc::new(StringArray::from(found.iter().map(|fields| fields[i].clone()).collect::<Vec<_>>()))
        };
        let parquet = parquet_of(&[("c0", column(0)), ("c1", column(1)), ("c2", column(2))]);
        // Members and frames may end anywhere, in the middle of a row too.
        let in_two = |bytes: &[u8], pack: fn(&[u8]) -> Vec<u8>| {
            let (first, second) = bytes.split_at(cut % (bytes.len() + 1));
            [pack(first), pack(second)].concat()
        };
        let files = [
            ("a.csv", csv.clone()),
            ("a.csv.gz", in_two(&csv, gzip)),
            ("a.csv.zst", in_two(&csv, zstd)),
            ("a.jsonl", jsonl.clone().into_bytes()),
            ("a.jsonl.gz", in_two(jsonl.as_bytes(), gzip)),
            ("a.jsonl.zst", in_two(jsonl.as_bytes(), zstd)),
            ("a.parquet", parquet),
        ];
        for (name, bytes) in files {
            let bench = Bench::new(name, &bytes);
            for encoding in [Encoding::Json, Encoding::Csv] {
                let rows = bench.rows(encoding).unwrap();
                prop_assert_eq!(&fields_of(&rows, encoding, WIDTH), &found, "{} {:?}", name, encoding);
                prop_assert_eq!(&decoded(&bench, &rows, encoding), &found, "{} {:?}", name, encoding);
                prop_assert_eq!(rows, bench.rows(encoding).unwrap(), "the same again");
            }
        }
    }
}

/// A Parquet file of columns that Arrow's writer does not write, each with its values.
fn parquet_by_hand(schema: &str, write: impl Fn(usize, &mut parquet::file::writer::SerializedColumnWriter)) -> Vec<u8> {
    let schema = Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer =
        parquet::file::writer::SerializedFileWriter::new(&mut bytes, schema, std::sync::Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut index = 0;
    while let Some(mut column) = group.next_column().unwrap() {
        write(index, &mut column);
        column.close().unwrap();
        index += 1;
    }
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn no_digit_of_a_parquet_file_is_lost() {
    let decimals = |digits, scale, values: &[i128]| {
        array(Decimal128Array::from(values.to_vec()).with_precision_and_scale(digits, scale).unwrap())
    };
    let cases: Vec<(ArrayRef, ColumnType, [&str; 2])> = vec![
        (array(UInt64Array::from(vec![1, 7])), ColumnType::Int64, ["1", "7"]),
        (array(UInt64Array::from(vec![u64::MAX, 7])), ColumnType::Utf8, ["18446744073709551615", "7"]),
        (decimals(9, 2, &[-50, 12_345]), ColumnType::Float64, ["-0.50", "123.45"]),
        (decimals(38, 2, &[-50, 12_345]), ColumnType::Float64, ["-0.50", "123.45"]),
        (decimals(38, 2, &[1, 99_999_999_999_999_999]), ColumnType::Utf8, ["0.01", "999999999999999.99"]),
        (decimals(18, 0, &[1, -7]), ColumnType::Int64, ["1", "-7"]),
        (decimals(38, 0, &[1, 7]), ColumnType::Int64, ["1", "7"]),
        (decimals(38, 0, &[1, 9_223_372_036_854_775_808]), ColumnType::Utf8, ["1", "9223372036854775808"]),
    ];
    for (values, kind, texts) in cases {
        let shown = format!("{values:?}");
        let bench = Bench::new("a.parquet", &parquet_of(&[("a", values)]));
        let profile = bench.dataset().profile(&SchemaRules::default()).unwrap();
        assert_eq!(profile.schema.columns[0].kind, kind, "{shown}");
        assert_eq!(bench.values(Encoding::Json), texts.map(|text| format!("{{\"a\":{text}}}")), "{shown}");
        // What is stored has them, too.
        let mut decoder = RowDecoder::new(&profile.schema, Encoding::Json).unwrap();
        for (offset, row) in (0..).zip(bench.rows(Encoding::Json).unwrap()) {
            decoder.push(&row.value, 0, offset, 0, 0).unwrap();
        }
        let rows = decoder.take().unwrap().rows;
        if kind == ColumnType::Utf8 {
            assert_eq!(rows.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), texts, "{shown}");
        }
    }
}

#[test]
fn uuids_and_times_of_96_bits_are_read_as_what_they_are() {
    use parquet::data_type::{FixedLenByteArray, FixedLenByteArrayType, Int96, Int96Type};
    let schema = "message m { required fixed_len_byte_array(16) id (UUID); required int96 at; }";
    // Nanoseconds of the day, and the Julian day: 1970-01-01 is 2,440,588, 9999-12-31 is 5,373,484.
    let at = |day: u32, nanos: u64| {
        let mut at = Int96::new();
        let [low, high] = [nanos & 0xffff_ffff, nanos >> 32].map(|half| u32::try_from(half).unwrap());
        at.set_data(low, high, day);
        at
    };
    let bytes = parquet_by_hand(schema, |index, column| match index {
        0 => {
            let ids = [0_u8, 255].map(|byte| FixedLenByteArray::from(vec![byte; 16]));
            column.typed::<FixedLenByteArrayType>().write_batch(&ids, None, None).unwrap();
        }
        _ => {
            let times = [at(2_440_588, 1_500_000_000), at(5_373_484, 0)];
            column.typed::<Int96Type>().write_batch(&times, None, None).unwrap();
        }
    });
    let bench = Bench::new("a.parquet", &bytes);
    let profile = bench.dataset().profile(&SchemaRules::default()).unwrap();
    assert_eq!(profile.warnings, [""; 0]);
    let expected = [
        r#"{"id":"00000000-0000-0000-0000-000000000000","at":"1970-01-01T00:00:01.500"}"#,
        r#"{"id":"ffffffff-ffff-ffff-ffff-ffffffffffff","at":"9999-12-31T00:00:00"}"#,
    ];
    assert_eq!(bench.values(Encoding::Json), expected);
}
