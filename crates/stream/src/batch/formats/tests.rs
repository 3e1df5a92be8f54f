use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray, TimestampMillisecondArray,
};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;

use super::*;

const TEXTS: [BatchFormat; 2] = [BatchFormat::Csv, BatchFormat::Jsonl];

fn schema() -> SchemaRef {
    let instant = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("price, in \"₹\"", DataType::Float64, true),
        Field::new("id", DataType::Int64, true),
        Field::new("town\n", DataType::Utf8, true),
        Field::new("new", DataType::Boolean, true),
        Field::new("_partition", DataType::Int32, false),
        Field::new("_offset", DataType::Int64, false),
        Field::new("_time", instant, false),
    ]))
}

type Row = (Option<f64>, Option<i64>, Option<String>, Option<bool>, i32, i64);

fn batch(rows: &[Row]) -> RecordBatch {
    let times = TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.5 / 7)).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.2.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.3).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|row| Some(row.4)).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| Some(row.5)).collect::<Int64Array>()),
        Arc::new(times),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn written(format: BatchFormat, rows: &RecordBatch) -> Vec<u8> {
    let mut writer = match format {
        BatchFormat::Csv => TextWriter::csv(Vec::new(), &rows.schema()),
        BatchFormat::Jsonl => TextWriter::jsonl(Vec::new(), &rows.schema()),
        BatchFormat::Parquet => unreachable!("no text"),
    };
    writer.write(rows).unwrap();
    writer.finish().unwrap()
}

fn read(format: BatchFormat, bytes: Vec<u8>, columns: &[usize], rows: usize) -> Result<RecordBatch, ArrowError> {
    let blocks = read_part(format, Box::new(std::io::Cursor::new(bytes)), schema(), columns, rows)?;
    let blocks = blocks.collect::<Result<Vec<_>, _>>()?;
    assert!(blocks.iter().all(|block| (1..=rows).contains(&block.num_rows())));
    concat_batches(&Arc::new(schema().project(columns)?), &blocks)
}

/// Bit by bit: `-0.0` is not `0.0`.
fn same(left: &RecordBatch, right: &RecordBatch) -> bool {
    left.schema() == right.schema()
        && left.columns().iter().zip(right.columns()).all(|(a, b)| a.to_data() == b.to_data())
}

fn rows() -> Vec<Row> {
    vec![
        (Some(1.0), Some(i64::MIN), Some(String::new()), Some(true), 0, 0),
        (None, None, None, None, 0, 1),
        (Some(-0.0), Some(i64::MAX), Some("say \"hi\",\r\nthen\tgo 😀\u{0}".to_owned()), Some(false), 2, 5),
    ]
}

#[test]
fn a_csv_part_is_rfc_4180_with_a_header() {
    let text = String::from_utf8(written(BatchFormat::Csv, &batch(&rows()[..2]))).unwrap();
    assert_eq!(
        text,
        "\"price, in \"\"₹\"\"\",id,\"town\n\",new,_partition,_offset,_time\n\
         1.0,-9223372036854775808,\"\",true,0,0,1970-01-01T00:00:00.000Z\n\
         ,,,,0,1,1970-01-01T00:00:00.000Z\n"
    );
}

#[test]
fn a_jsonl_part_is_one_object_a_row_with_every_column() {
    let text = String::from_utf8(written(BatchFormat::Jsonl, &batch(&rows()[..2]))).unwrap();
    assert_eq!(
        text,
        r#"{"price, in \"₹\"":1.0,"id":-9223372036854775808,"town\n":"","new":true,"_partition":0,"_offset":0,"_time":"1970-01-01T00:00:00.000Z"}
{"price, in \"₹\"":null,"id":null,"town\n":null,"new":null,"_partition":0,"_offset":1,"_time":"1970-01-01T00:00:00.000Z"}
"#
    );
}

#[test]
fn what_is_not_the_part_that_was_written_is_an_error_that_names_the_row() {
    let whole = written(BatchFormat::Csv, &batch(&rows()));
    let check = |format, bytes: &[u8], expected: &str| {
        let error = read(format, bytes.to_vec(), &[0, 1, 3, 6], 2).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(BatchFormat::Csv, b"", "row 1 of the file: the header is not that of its schema");
    check(BatchFormat::Csv, b"a,b\n1,2\n", "row 1 of the file: the header");
    check(BatchFormat::Csv, &whole[..whole.len() - 3], "row 4 of the file: the file ends in the middle of a row");
    let with = |row: &str| {
        let mut bytes = written(BatchFormat::Csv, &batch(&[]));
        bytes.extend_from_slice(row.as_bytes());
        bytes
    };
    check(BatchFormat::Csv, &with("1,2\n"), "row 2 of the file: 2 fields, its schema has 7");
    check(BatchFormat::Csv, &with("x,2,a,true,0,0,0\n"), "holds \"x\", which is not of its type");
    check(BatchFormat::Csv, &with("1,2,a,true,0,0,soon\n"), "column \"_time\" holds \"soon\"");
    check(BatchFormat::Csv, &with("1,2,a,true,0,0,\n"), "_time");
    check(BatchFormat::Csv, &with("1,2,\"a,true,0,0,0\n"), "row 2 of the file: the file ends in the middle of a row");
    check(BatchFormat::Jsonl, b"{\n", "row 1 of the file: no JSON object");
    check(BatchFormat::Jsonl, b"{\"id\":1}\n", "row 1 of the file: no column \"price");
    let parquet = read_part(BatchFormat::Parquet, Box::new(std::io::empty()), schema(), &[0], 1);
    assert!(parquet.is_err_and(|error| error.to_string().contains("Parquet reader")));
}

#[test]
fn a_format_is_known_by_the_name_of_its_file() {
    assert_eq!(BatchFormat::of_file("part-0000-abc.parquet"), Some(BatchFormat::Parquet));
    assert_eq!(BatchFormat::of_file("part-0000-abc.csv"), Some(BatchFormat::Csv));
    assert_eq!(BatchFormat::of_file("part-0000-abc.jsonl"), Some(BatchFormat::Jsonl));
    assert_eq!(BatchFormat::of_file("part-0000-abc"), None);
}

#[test]
fn the_rows_of_no_column_are_still_counted() {
    for format in TEXTS {
        let bytes = written(format, &batch(&rows()));
        let blocks = read_part(format, Box::new(std::io::Cursor::new(bytes)), schema(), &[], 2).unwrap();
        assert_eq!(blocks.map(|block| block.unwrap().num_rows()).collect::<Vec<_>>(), [2, 1], "{format:?}");
    }
}

prop_compose! {
    fn any_row()(
        number in proptest::option::of(prop_oneof![
            any::<f64>().prop_filter("parts hold no others", |x| x.is_finite()), Just(-0.0), Just(1e300), Just(5e-324)
        ]),
        integer in proptest::option::of(prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX)]),
        text in proptest::option::of(prop_oneof!["(?s)[a\",\r\n\\\\ é]{0,8}", "(?s).{0,8}", Just("null".to_owned())]),
        truth in any::<Option<bool>>(), partition in any::<i32>(), offset in any::<i64>(),
    ) -> Row {
        (number, integer, text, truth, partition, offset)
    }
}

proptest! {
    #[test]
    fn every_row_comes_back_the_same(
        rows in proptest::collection::vec(any_row(), 0..9),
        mask in any::<u8>(),
        block_rows in 1_usize..5,
    ) {
        let rows = batch(&rows);
        let columns: Vec<usize> = (0..7).filter(|i| mask & (1 << i) != 0 || *i == 6).collect();
        for format in TEXTS {
            let found = read(format, written(format, &rows), &columns, block_rows).unwrap();
            prop_assert!(same(&found, &rows.project(&columns).unwrap()), "{format:?}: {found:?}");
        }
    }

    #[test]
    fn damage_is_an_error_or_other_rows_never_a_panic(
        rows in proptest::collection::vec(any_row(), 1..4), place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        for format in TEXTS {
            let mut bytes = written(format, &batch(&rows));
            let place = place.index(bytes.len());
            bytes[place] = byte;
            let _ = read(format, bytes, &[0, 1, 2, 3, 4, 5, 6], 2);
        }
    }
}
