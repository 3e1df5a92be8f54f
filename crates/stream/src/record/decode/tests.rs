use csv::ByteRecord;
use datafusion::arrow::util::pretty::pretty_format_batches;
use proptest::prelude::*;

use super::*;
use crate::record::{RowClock, RowEncoder};
use crate::schema::{Ahead, Bad, DerivedColumn, Dialect, StreamColumn};

/// 2023-11-14 22:13:20 UTC.
const NOW_MS: i64 = 1_700_000_000_000;

fn schema(columns: &[(&str, ColumnType)], time: Option<&str>) -> StreamSchema {
    let column = |(name, kind): &(&str, ColumnType)| StreamColumn {
        null: vec!["NA".to_owned()],
        ..StreamColumn::new(*name, *kind)
    };
    StreamSchema { time: time.map(str::to_owned), ..StreamSchema::new(columns.iter().map(column).collect()) }
}

fn derived(name: &str, kind: ColumnType, from: &str) -> DerivedColumn {
    DerivedColumn { name: name.to_owned(), kind, from: from.to_owned(), bad: Bad::Reject }
}

fn decoder(schema: &StreamSchema, encoding: Encoding) -> RowDecoder {
    RowDecoder::new(schema, encoding).unwrap()
}

/// The first column of the one record, or the reason.
fn decoded(schema: &StreamSchema, encoding: Encoding, record: &str) -> String {
    let mut decoder = decoder(schema, encoding);
    match decoder.push(record.as_bytes(), 0, 0, 0, NOW_MS) {
        Ok(()) => {
            let chunk = decoder.take().unwrap();
            let array = chunk.rows.column(0);
            if array.is_null(0) {
                return "null".to_owned();
            }
            datafusion::arrow::util::display::array_value_to_string(array, 0).unwrap()
        }
        Err(misfit) => misfit.reason,
    }
}

fn check(kind: ColumnType, token: &str, expected: &str) {
    // Both paths: as we write it, and as another producer might.
    for record in [format!("{{\"x\":{token}}}"), format!("{{ \"other\": [1], \"x\" : {token} }}")] {
        assert_eq!(decoded(&schema(&[("x", kind)], None), Encoding::Json, &record), expected, "{record}");
    }
}

#[test]
fn tokens_become_the_column_s_type_or_a_reason() {
    use ColumnType::{Boolean, Float64, Int64, Utf8};
    check(Float64, "1.5", "1.5");
    check(Float64, "\"1.5\"", "1.5");
    check(Float64, "null", "null");
    check(Float64, "\"NA\"", "null");
    check(Float64, "1e999", "column \"x\" holds 1e999, expected float64");
    check(Float64, "\"abc\"", "column \"x\" holds \"abc\", expected float64");
    check(Float64, "\"inf\"", "null");
    check(Int64, "9007199254740993", "9007199254740993");
    check(Int64, "1e3", "1000");
    check(Int64, "1.5", "column \"x\" holds 1.5, expected int64");
    check(Utf8, "1.50", "1.50");
    check(Utf8, r#""a\"é""#, "a\"é");
    check(Boolean, "true", "true");
    check(Boolean, "2", "column \"x\" holds 2, expected boolean");
}

#[test]
fn numbers_are_read_as_people_write_them_from_the_second_dialect_on() {
    use ColumnType::{Float64, Int64};
    let read = |dialect: Dialect, kind, inferred, text: &str| {
        let mut schema = StreamSchema { dialect, ..schema(&[("x", kind)], None) };
        schema.columns[0].inferred = inferred;
        let found = [
            decoded(&schema, Encoding::Csv, &format!("\"{text}\"")),
            decoded(&schema, Encoding::Json, &format!("{{\"x\":\"{text}\"}}")),
        ];
        let found = found.map(|found| if found.starts_with("column") { "bad".to_owned() } else { found });
        assert_eq!(found[0], found[1], "{text}");
        found[0].clone()
    };
    for (kind, text, second, first) in [
        (Float64, " 1.5 ", "1.5", "bad"),
        (Float64, "+1.5", "1.5", "bad"),
        (Float64, ".5", "0.5", "bad"),
        (Float64, "5.", "5.0", "bad"),
        (Float64, "1e3", "1000.0", "1000.0"),
        (Float64, "NaN", "null", "bad"),
        (Float64, "-Infinity", "null", "bad"),
        (Float64, "1e999", "bad", "bad"),
        (Float64, "x", "bad", "bad"),
        (Int64, " 12 ", "12", "bad"),
        (Int64, "+12", "12", "12"),
        (Int64, "-0", "0", "0"),
        (Int64, "5.", "5", "bad"),
        (Int64, "1.5", "bad", "bad"),
        (Int64, "inf", "null", "bad"),
        (Int64, "9223372036854775807", "9223372036854775807", "9223372036854775807"),
        (Int64, "9223372036854775808", "bad", "bad"),
    ] {
        for inferred in [true, false] {
            assert_eq!(read(Dialect::Second, kind, inferred, text), second, "{text} {inferred}");
            assert_eq!(read(Dialect::First, kind, inferred, text), first, "{text} {inferred}");
        }
    }
    // A code is a number only where the user says so: what was found to be numbers would lose its zeros.
    for (kind, text, number) in
        [(Int64, "007", "7"), (Int64, "-007", "-7"), (Float64, "00.5", "0.5"), (Int64, "+48600123456", "48600123456")]
    {
        assert_eq!(read(Dialect::Second, kind, true, text), "bad", "{text}");
        assert_eq!(read(Dialect::Second, kind, false, text), number, "{text}");
    }
    assert_eq!(read(Dialect::First, Int64, true, "007"), "7");
}

#[test]
fn csv_values_are_read_by_position() {
    use ColumnType::{Float64, Int64, Utf8};
    let check = |kind, record: &str, expected: &str| {
        let schema = schema(&[("x", kind), ("y", Utf8)], None);
        assert_eq!(decoded(&schema, Encoding::Csv, record), expected, "{record}");
    };
    check(Float64, "1.5,a", "1.5");
    check(Float64, ",a", "null");
    check(Float64, "NA,a\r\n", "null");
    check(Float64, "\"1.5\",a\n", "1.5");
    check(Float64, "\"\",a", "column \"x\" holds , expected float64");
    check(Float64, "abc,a", "column \"x\" holds abc, expected float64");
    check(Int64, "9007199254740993,", "9007199254740993");
    check(Utf8, "\"\",", "");
    check(Utf8, ",", "null");
    check(Utf8, "\"a,\"\"b\"\"\nc\",d", "a,\"b\"\nc");
    check(Utf8, "007,d", "007");
    check(Utf8, "1", "1 fields, expected 2");
    check(Utf8, "1,2,3", "3 fields, expected 2");
    check(Utf8, "", "1 fields, expected 2");
    check(Utf8, "\"1,2", "not a csv record: a quote is never closed");
}

#[test]
fn a_misfit_leaves_no_trace() {
    let mut decoder = decoder(&schema(&[("a", ColumnType::Float64), ("b", ColumnType::Float64)], None), Encoding::Json);
    decoder.push(br#"{"a":1,"b":2}"#, 0, 7, 5, NOW_MS).unwrap();
    let misfit = decoder.push(br#"{"a":1,"b":"x"}"#, 0, 8, 5, NOW_MS).unwrap_err();
    assert_eq!(misfit.inferred_column.as_deref(), Some("b"));
    assert!(decoder.push(b"\xff\x00 no JSON", 0, 9, 5, NOW_MS).unwrap_err().reason.contains("not a JSON object"));
    assert!(decoder.push(b"", 0, 9, 5, NOW_MS).is_err());
    let table = pretty_format_batches(&[decoder.take().unwrap().rows]).unwrap().to_string();
    assert!(table.contains("| 1.0 | 2.0 | 0          | 7       | 1970-01-01T00:00:00.005Z |"), "{table}");
}

#[test]
fn the_frame_of_a_schema_registry_is_skipped_before_json() {
    let mut schema = schema(&[("x", ColumnType::Float64)], Some("x"));
    for (dialect, expected) in
        [(Dialect::Second, "1.5"), (Dialect::First, "written with schema 7 of a schema registry")]
    {
        schema.dialect = dialect;
        for framed in ["\0\0\0\0\x07{\"x\":1.5}", "\0\0\0\0\x07 {\"y\":0,\"x\":1.5}"] {
            let found = decoded(&schema, Encoding::Json, framed);
            assert!(found.starts_with(expected), "{found}");
            let time = RowClock::new(&schema, Encoding::Json).time_ms(framed.as_bytes(), NOW_MS);
            assert_eq!(time, (dialect == Dialect::Second).then_some(1500));
        }
    }
    schema.dialect = Dialect::Second;
    for (value, expected) in [
        ("\0\0\0\x01\0\x02\x0a", "written with schema 256 of a schema registry, and not as JSON (Avro or Protobuf"),
        ("\0\0\0\x01\0{ no JSON", "written with schema 256"),
        ("\0\0\0", "not a JSON object"),
        ("oops!", "not a JSON object"),
    ] {
        let found = decoded(&schema, Encoding::Json, value);
        assert!(found.starts_with(expected), "{found}");
    }
    assert!(decoded(&schema, Encoding::Csv, "\0\0\0\x01\0,\x02").starts_with("written with schema 256"));
}

#[test]
fn what_json_does_not_know_is_mended() {
    let mut schema = schema(&[("x", ColumnType::Utf8), ("t", ColumnType::Float64)], Some("t"));
    for (value, expected) in [
        (r#"{"t":1.5,"x":NaN}"#, "null"),
        (r#"{"t":1.5, "x":-Infinity}"#, "null"),
        (r#"{"t":1.5,"y":Infinity,"x":"\ud83d!"}"#, "\u{fffd}!"),
    ] {
        schema.dialect = Dialect::Second;
        assert_eq!(decoded(&schema, Encoding::Json, value), expected, "{value}");
        assert_eq!(RowClock::new(&schema, Encoding::Json).time_ms(value.as_bytes(), NOW_MS), Some(1500), "{value}");
        schema.dialect = Dialect::First;
        assert!(decoded(&schema, Encoding::Json, value).starts_with("not a JSON object"), "{value}");
    }
}

#[test]
fn keys_that_are_no_columns_are_told_once_and_with_a_bound() {
    let mut decoder = decoder(&schema(&[("a", ColumnType::Float64)], None), Encoding::Json);
    let mut told = |record: &str| {
        decoder.push(record.as_bytes(), 0, 0, 0, NOW_MS).unwrap();
        let keys = decoder.new_keys().into_iter().map(|key| format!("{}:{}", key.name, key.kind.name()));
        let mut keys: Vec<String> = keys.collect();
        keys.sort();
        keys.join(" ")
    };
    assert_eq!(told(r#"{"a":1}"#), "");
    assert_eq!(told(r#"{"a":1,"b":"x","c":-2,"d":true,"e":{"f":1},"g":null}"#), "b:utf8 c:float64 d:boolean e:utf8");
    assert_eq!(told(r#"{"b":"x","g":7}"#), "g:float64");
    let many: String = (0..1000).map(|i| format!(",\"k{i}\":1")).collect();
    assert_eq!(told(&format!("{{\"a\":1{many}}}")).split(' ').count(), 95);
    assert_eq!(told(r#"{"z":1}"#), "");
}

#[test]
fn a_value_that_does_not_fit_is_null_where_the_column_says_so() {
    let mut schema = schema(&[("x", ColumnType::Float64)], None);
    schema.columns[0].bad = Bad::Null;
    assert_eq!(decoded(&schema, Encoding::Json, r#"{"x":"|"}"#), "null");
    assert_eq!(decoded(&schema, Encoding::Csv, "|"), "null");
    assert_eq!(decoded(&schema, Encoding::Csv, "4.2"), "4.2");
}

/// What the decoder takes for the event time of `{"t": token}`; the clock must agree.
fn time(schema: &StreamSchema, token: &str) -> Result<i64, String> {
    let record = format!("{{\"t\":{token}}}");
    let mut decoder = decoder(schema, Encoding::Json);
    let found = match decoder.push(record.as_bytes(), 0, 0, 0, NOW_MS) {
        Err(misfit) => Err(misfit.reason),
        Ok(()) => {
            let chunk = decoder.take().unwrap();
            match chunk.times().first() {
                Some(time) => Ok(*time),
                None => Err(chunk.misfits[0].1.reason.clone()),
            }
        }
    };
    let mut clock = RowClock::new(schema, Encoding::Json);
    let told = clock.time_ms(record.as_bytes(), NOW_MS);
    assert_eq!(told, found.clone().ok(), "{record}");
    found
}

#[test]
fn event_times_are_read_from_numbers_and_texts() {
    use ColumnType::{Float64, Int64, Utf8};
    let time = |kind, token: &str| time(&schema(&[("t", kind)], Some("t")), token);
    for token in ["1700000000", "1700000000000", "1700000000000000", "1700000000000000000"] {
        assert_eq!(time(Int64, token), Ok(NOW_MS));
        assert_eq!(time(Float64, token), Ok(NOW_MS));
    }
    assert_eq!(time(Float64, "1700000000.25"), Ok(NOW_MS + 250));
    assert_eq!(time(Utf8, "\"2023-11-14T22:13:20Z\""), Ok(NOW_MS));
    assert_eq!(time(Utf8, "\"2023-11-14 22:13:20\""), Ok(NOW_MS));
    assert_eq!(time(Utf8, "\"2023-11-15T00:13:20+02:00\""), Ok(NOW_MS));
    assert_eq!(time(Utf8, "\"2023-11-14\""), Ok(1_699_920_000_000));
    assert_eq!(time(Utf8, "\"1066-10-14\""), Ok(-28_502_755_200_000));
    assert_eq!(time(Utf8, "\"soon\"").unwrap_err(), "column \"t\" holds \"soon\", which is no time");
    assert_eq!(time(Int64, "null").unwrap_err(), "column \"t\" holds null, which is no time");
    assert_eq!(
        time(Float64, "-1e300").unwrap_err(),
        format!("column \"t\" holds -1{}, which is no time", "0".repeat(300))
    );
}

#[test]
fn a_time_more_than_a_day_ahead_is_a_reject() {
    let schema = schema(&[("t", ColumnType::Int64)], Some("t"));
    assert_eq!(time(&schema, "1700086400000"), Ok(NOW_MS + 86_400_000));
    assert_eq!(
        time(&schema, "1700086400001").unwrap_err(),
        "column \"t\" holds 2023-11-15T22:13:20.001Z, which is further ahead of the clock than schema.ahead (a day, unless it is \
         given; \"any\" takes every time)"
    );
    for (ahead, expected) in [(Ahead(Some(60_000)), false), (Ahead(Some(86_400_001)), true), (Ahead(None), true)] {
        assert_eq!(time(&StreamSchema { ahead, ..schema.clone() }, "1700086400001").is_ok(), expected);
    }
}

#[test]
fn the_time_may_be_a_derived_column() {
    let mut schema = schema(&[("t", ColumnType::Utf8)], Some("when"));
    schema.derived = vec![
        derived("other", ColumnType::Float64, "cast(t as double)"),
        derived("when", ColumnType::Int64, "to_unixtime(t, '%d/%m/%Y')"),
    ];
    schema.derived[0].bad = Bad::Null;
    assert_eq!(time(&schema, "\"14/11/2023\""), Ok(1_699_920_000_000));
    assert!(
        time(&schema, "\"soon\"").unwrap_err().contains("from `to_unixtime(t, '%d/%m/%Y')`: it cannot be computed")
    );
    assert!(time(&schema, "\"17/11/2023\"").unwrap_err().contains("further ahead of the clock than schema.ahead"));
    assert_eq!(time(&schema, "null").unwrap_err(), "column \"when\" holds null, which is no time");

    // A derived column that has the name of a source column stands in its place.
    schema.derived[1].name = "t".to_owned();
    schema.time = Some("t".to_owned());
    assert_eq!(time(&schema, "\"14/11/2023\""), Ok(1_699_920_000_000));
    let mut csv = RowClock::new(&schema, Encoding::Csv);
    assert_eq!(csv.time_ms(b"14/11/2023", NOW_MS), Some(1_699_920_000_000));
    assert_eq!(csv.time_ms(b"", NOW_MS), None);
    assert_eq!(csv.time_ms(b"14/11/2023", NOW_MS), Some(1_699_920_000_000), "a misfit leaves nothing behind");
}

#[test]
fn a_clock_without_an_event_time_tells_none() {
    let mut clock = RowClock::new(&schema(&[("t", ColumnType::Int64)], None), Encoding::Json);
    assert_eq!(clock.time_ms(b"{\"t\":1700000000}", NOW_MS), None);
}

#[test]
fn derived_columns_follow_the_source_s_and_their_misfits_come_with_the_chunk() {
    let mut schema = schema(&[("price", ColumnType::Utf8), ("n", ColumnType::Float64)], None);
    schema.derived = vec![
        derived("price", ColumnType::Float64, "replace(price, '₹', '')"),
        derived("twice", ColumnType::Int64, "n * 2"),
    ];
    let mut decoder = decoder(&schema, Encoding::Csv);
    assert!(decoder.judges_late());
    for (offset, record) in (0..).zip(["₹1,1", "free,2", "₹3,0.25", ",4", "₹5,5"]) {
        decoder.push(record.as_bytes(), 3, offset, 9, NOW_MS).unwrap();
    }
    assert_eq!(decoder.rows(), 5);
    let chunk = decoder.take().unwrap();
    assert_eq!(decoder.rows(), 0);
    assert_eq!(chunk.times(), [9, 9, 9]);
    let table = pretty_format_batches(&[chunk.rows]).unwrap().to_string();
    let expected = [
        "+-----+-------+-------+------------+---------+--------------------------+",
        "| n   | price | twice | _partition | _offset | _time                    |",
        "+-----+-------+-------+------------+---------+--------------------------+",
        "| 1.0 | 1.0   | 2     | 3          | 0       | 1970-01-01T00:00:00.009Z |",
        "| 4.0 |       | 8     | 3          | 3       | 1970-01-01T00:00:00.009Z |",
        "| 5.0 | 5.0   | 10    | 3          | 4       | 1970-01-01T00:00:00.009Z |",
        "+-----+-------+-------+------------+---------+--------------------------+",
    ];
    assert_eq!(table.lines().collect::<Vec<_>>(), expected);
    let misfits: Vec<(usize, String)> = chunk.misfits.into_iter().map(|(row, misfit)| (row, misfit.reason)).collect();
    assert_eq!(misfits.len(), 2);
    assert_eq!(
        misfits[0],
        (
            1,
            "column \"price\" from `replace(price, '₹', '')`: it gives \"free\", expected float64, of price = \"free\""
                .to_owned()
        )
    );
    assert_eq!(misfits[1], (2, "column \"twice\" from `n * 2`: it gives 0.5, expected int64, of n = 0.25".to_owned()));
}

proptest! {
    #[test]
    fn what_replay_writes_is_read_back(fields in proptest::collection::vec(".{0,12}", 1..5)) {
        let names: Vec<String> = (0..fields.len()).map(|i| format!("c{i}\"")).collect();
        let kinds: Vec<(&str, ColumnType)> = names.iter().map(|name| (name.as_str(), ColumnType::Utf8)).collect();
        let mut value = Vec::new();
        RowEncoder::new(&names).encode(&ByteRecord::from(fields.clone()), &mut value);
        let mut decoder = decoder(&schema(&kinds, None), Encoding::Json);
        decoder.push(&value, 0, 0, 0, NOW_MS).unwrap();
        let rows = decoder.take().unwrap().rows;
        for (column, field) in rows.columns().iter().zip(&fields) {
            let texts = column.as_string::<i32>();
            if texts.is_null(0) {
                prop_assert!(field.is_empty() || field == "NA");
            } else {
                prop_assert_eq!(texts.value(0), field);
            }
        }
    }

    #[test]
    fn random_bytes_are_a_reject_at_worst(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut schema = schema(&[("x", ColumnType::Utf8), ("t", ColumnType::Utf8)], Some("t"));
        schema.derived = vec![derived("y", ColumnType::Float64, "trim(x)")];
        for encoding in [Encoding::Json, Encoding::Csv] {
            let mut decoder = decoder(&schema, encoding);
            let mut clock = RowClock::new(&schema, encoding);
            let mut framed = b"{\"x\":".to_vec();
            framed.extend(&bytes);
            framed.push(b'}');
            for value in [&bytes, &framed] {
                let _ = decoder.push(value, 0, 0, 0, NOW_MS);
                let _ = clock.time_ms(value, NOW_MS);
            }
            let chunk = decoder.take().unwrap();
            prop_assert!(chunk.misfits.len() + chunk.rows.num_rows() <= 2);
        }
    }
}

#[test]
fn half_a_surrogate_pair_alone_is_mended_in_whatever_order_the_columns_come() {
    let schema = schema(&[("t", ColumnType::Float64), ("x", ColumnType::Utf8)], None);
    for text in [r#"{"t":1.5,"x":"\ud83d!"}"#, r#"{ "x" : "\ud83d!", "t" : 1.5 }"#] {
        assert_eq!(
            decoded(&schema, Encoding::Json, text),
            decoded(&schema, Encoding::Json, r#"{"t":1.5,"x":"\ufffd!"}"#)
        );
    }
    let first = StreamSchema { dialect: Dialect::First, ..schema };
    assert!(decoded(&first, Encoding::Json, r#"{"t":1.5,"x":"\ud83d!"}"#).starts_with("column"));
}

#[test]
fn what_json_does_not_know_is_null_in_any_column_and_order_and_told() {
    let schema = schema(&[("t", ColumnType::Float64), ("x", ColumnType::Utf8)], None);
    let mut decoder = decoder(&schema, Encoding::Json);
    let values = [
        (r#"{"t":NaN,"x":-Infinity}"#, true),
        (r#"{ "x" : NaN, "t" : Infinity }"#, true),
        (r#"{"t":null,"x":"\ud800"}"#, true),
        (r#"{"t":1,"x":"NaN"}"#, false),
        (r#"{"t":-1,"x":null}"#, false),
    ];
    for (offset, (value, is_mended)) in (0..).zip(values) {
        decoder.push(value.as_bytes(), 0, offset, 0, NOW_MS).unwrap();
        assert_eq!((decoder.take_mended(), decoder.take_mended()), (is_mended, false), "{value}");
    }
    let rows = decoder.take().unwrap().rows;
    let texts: Vec<_> = rows.column(1).as_string::<i32>().iter().collect();
    assert_eq!(texts, [None, None, Some("\u{fffd}"), Some("NaN"), None]);
    assert_eq!(rows.column(0).null_count(), 3);
}
