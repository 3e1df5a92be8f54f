//! Every kind of source gives the same batches: formats, packings, standard input, both encodings, order and pace.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{Bench, accounted, finish};
use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use millstream_store::{S3Store, Store as _};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const ROWS: u64 = 1200;
const BATCHES: &str = "batch.rows = 500\ntrain.holdout = 0\nschema.time = \"Timestamp\"\n";

/// Timestamp and the five numbers of a candle.
type Candle = (i64, [f64; 5]);

fn candles(bench: &Bench) -> Vec<Candle> {
    let text = std::fs::read_to_string(bench.path("rows.csv")).unwrap();
    let candle = |line: &str| {
        let (time, numbers) = line.split_once(',').unwrap();
        let numbers: Vec<f64> = numbers.split(',').map(|number| number.parse().unwrap()).collect();
        (time.parse().unwrap(), numbers.try_into().unwrap())
    };
    text.lines().skip(1).map(candle).collect()
}

const NAMES: [&str; 5] = ["Open", "High", "Low", "Close", "Volume"];

/// What the batches of one partition hold, in the order of the records.
fn stored(bench: &Bench) -> Vec<Candle> {
    let mut found = Vec::new();
    for (batch, ..) in bench.parts() {
        let manifest = bench.read(&format!("batches/batch={batch:06}/_manifest-0000.json"));
        let file = manifest["file"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let file =
            std::fs::File::open(bench.path(&format!("millstream-data/batches/batch={batch:06}/{file}"))).unwrap();
        for rows in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let rows = rows.unwrap();
            let column = |name: &str| rows.column_by_name(name).unwrap().clone();
            let times = column("Timestamp");
            let numbers = NAMES.map(column);
            found.extend((0..rows.num_rows()).map(|row| {
                let number = |column: &ArrayRef| column.as_primitive::<Float64Type>().value(row);
                (times.as_primitive::<Int64Type>().value(row), [0, 1, 2, 3, 4].map(|i| number(&numbers[i])))
            }));
        }
    }
    found
}

fn jsonl(candles: &[Candle]) -> Vec<u8> {
    let line = |(time, numbers): &Candle| {
        let members = NAMES.iter().zip(numbers).map(|(name, number)| format!(", \"{name}\": {number:?}"));
        format!("{{\"Timestamp\": {time}{}}}\n", members.collect::<String>())
    };
    candles.iter().map(line).collect::<String>().into_bytes()
}

fn parquet(candles: &[Candle]) -> Vec<u8> {
    let times: ArrayRef = Arc::new(Int64Array::from_iter_values(candles.iter().map(|candle| candle.0)));
    let number = |i: usize| -> ArrayRef { Arc::new(Float64Array::from_iter_values(candles.iter().map(|c| c.1[i]))) };
    let columns = NAMES.iter().enumerate().map(|(i, name)| (*name, number(i)));
    let batch = RecordBatch::try_from_iter(std::iter::once(("Timestamp", times)).chain(columns)).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_format_and_encoding_gives_the_same_batches() {
    let first = Bench::new(ROWS, BATCHES);
    let expected = candles(&first);
    let csv = std::fs::read(first.path("rows.csv")).unwrap();
    for (name, bytes, encoding) in [
        ("rows.csv.gz", gzip(&csv), "json"),
        ("rows.csv.zst", zstd::encode_all(csv.as_slice(), 1).unwrap(), "csv"),
        ("rows.jsonl", jsonl(&expected), "json"),
        ("rows.jsonl.gz", gzip(&jsonl(&expected)), "csv"),
        ("rows.parquet", parquet(&expected), "json"),
        ("rows.parquet", parquet(&expected), "csv"),
    ] {
        let bench = Bench::new(1, BATCHES);
        std::fs::write(bench.path(name), bytes).unwrap();
        let (path, encoding) = (format!("source.path={name}"), format!("stream.encoding={encoding}"));
        let more = ["--set", &path, "--set", &encoding];
        let said = bench.run_well(&more);
        accounted(&bench, 1, ROWS);
        assert_eq!(bench.parts().len(), 3, "{said}");
        assert!(stored(&bench) == expected, "{name} {encoding} {said}");
        // Started again, all is there, whatever the format.
        let again = bench.run_well(&more);
        assert!(again.contains("all 1200 rows are in the topic already"), "{again}");
    }
}

#[test]
fn the_same_rows_as_csv_and_as_parquet_teach_the_same_bytes() {
    let of = |number: fn(i64) -> i64| (0..400).map(number).collect::<Vec<i64>>();
    let columns =
        [("rooms", of(|i| 3 + i * 7 % 11)), ("homes", of(|i| i * 5 % 4)), ("price", of(|i| 100 + i * 13 % 97))];
    let mut csv = "rooms,homes,price\n".to_owned();
    for row in 0..400 {
        csv += &format!("{},{},{}\n", columns[0].1[row], columns[1].1[row], columns[2].1[row]);
    }
    let arrays = columns.iter().map(|(name, numbers)| (*name, Arc::new(Int64Array::from(numbers.clone())) as ArrayRef));
    let batch = RecordBatch::try_from_iter(arrays).unwrap();
    let mut parquet = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut parquet, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    // Whole numbers divided, by zero in a quarter of the rows, in a column of the source's, a feature, a condition and a target.
    let rest = "batch.rows = 200\n\
                [schema.columns]\nshare = { type = \"float64\", from = \"rooms / homes\", bad = \"null\" }\n\
                [[model]]\nname = \"price\"\nalgorithm = \"linear_regression\"\ntarget = \"price / 3\"\n\
                features = [\"rooms / homes\", \"share\", \"rooms % 4\", \"rooms\"]\nmissing = \"mean\"\n\
                where = \"price / 2 > 60.5\"\nparams = { l2 = 0.1 }\n";
    let taught = |name: &str, bytes: &[u8]| {
        let bench = Bench::with_source(b"a\n1\n", rest);
        std::fs::write(bench.path(name), bytes).unwrap();
        bench.run_well(&["--set", &format!("source.path={name}")]);
        let file = bench.read("models/price/000002/model.json");
        assert_eq!(
            (&file["dialect"], &file["inputs"][0]["type"]),
            (&serde_json::json!(2), &serde_json::json!("float64")),
            "{file}"
        );
        (file["file_digest"].clone(), file["rows"].clone(), file["identity"].clone())
    };
    assert_eq!(taught("rows.csv", csv.as_bytes()), taught("rows.parquet", &parquet));
}

#[test]
fn standard_input_is_a_source() {
    let bench = Bench::new(ROWS, BATCHES);
    let expected = candles(&bench);
    let mut command = bench.command(&["run", "test.toml", "--exit-when-done", "--set", "source.path=-"]);
    let child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let text = std::fs::read(bench.path("rows.csv")).unwrap();
    let mut input = child.stdin.as_ref().unwrap();
    input.write_all(&text).unwrap();
    let output = child.wait_with_output().unwrap();
    let (code, said) = finish(&output);
    assert_eq!(code, 0, "{said}");
    accounted(&bench, 1, ROWS);
    assert!(stored(&bench) == expected, "{said}");
}

/// Needs a server: `ci/s3.sh start FOLDER`, and export what it prints.
#[test]
fn a_source_in_s3_is_read_as_a_file_is() {
    let Some(url) = std::env::var("MILLSTREAM_TEST_S3").ok().filter(|url| !url.is_empty()) else {
        let why = "a_source_in_s3_is_read_as_a_file_is: no S3 server (MILLSTREAM_TEST_S3 is not set)";
        assert!(std::env::var("MILLSTREAM_TEST_SERVICES").as_deref() != Ok("required"), "{why}");
        std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).unwrap();
        return;
    };
    let bucket = url.strip_prefix("s3://").unwrap().trim_end_matches('/');
    let prefix = format!("tests/sources-{}", uuid::Uuid::new_v4().simple());
    let store = S3Store::open(bucket, &prefix).unwrap();
    let bench = Bench::new(ROWS, BATCHES);
    let expected = candles(&bench);
    let csv = std::fs::read(bench.path("rows.csv")).unwrap();
    for (name, bytes) in
        [("rows.csv", csv.clone()), ("a b/rows.csv.gz", gzip(&csv)), ("rows.parquet", parquet(&expected))]
    {
        store.create(name, &bytes).unwrap();
        let bench = Bench::new(1, BATCHES);
        let path = format!("source.path=s3://{bucket}/{prefix}/{name}");
        let said = bench.run_well(&["--set", &path]);
        accounted(&bench, 1, ROWS);
        assert!(stored(&bench) == expected, "{name} {said}");
        let again = bench.run_well(&["--set", &path]);
        assert!(again.contains("all 1200 rows are in the topic already"), "{again}");
    }
    let keys = store.list("").unwrap();
    assert_eq!(keys, ["a b/rows.csv.gz", "rows.csv", "rows.parquet"], "a source is only read");
    let missing = format!("source.path=s3://{bucket}/{prefix}/none.csv");
    let (code, said) = bench.run(&["--set", &missing]);
    assert!(code == 1 && said.contains("none.csv: no such file"), "{said}");
    let (code, said) = bench.run(&["--set", "source.path=s3://no-bucket-of-ours/rows.csv"]);
    assert!(code == 1 && said.contains("s3://no-bucket-of-ours/rows.csv: cannot be read from S3"), "{said}");
}

#[test]
fn rows_are_replayed_in_the_order_of_a_column() {
    let bench = Bench::new(ROWS, &format!("{BATCHES}source.order_by = \"Close\"\n"));
    let mut expected = candles(&bench);
    expected.sort_by(|a, b| a.1[3].total_cmp(&b.1[3]));
    bench.run_well(&[]);
    assert!(stored(&bench) == expected);
}

#[test]
fn event_time_sets_the_pace() {
    // 30 candles of a minute each, 600 times faster: 2.9 seconds.
    let bench = Bench::new(30, "batch.rows = 10\nschema.time = \"Timestamp\"\nsource.speed = 600\n");
    let begun = Instant::now();
    bench.run_well(&[]);
    assert!(begun.elapsed() >= Duration::from_millis(2900), "{:?}", begun.elapsed());
    accounted(&bench, 1, 30);
}

#[test]
fn a_column_that_is_not_there_is_said_by_check_and_by_run() {
    let bench = Bench::new(10, "batch.rows = 10\nsource.key = \"timestamp\"\n");
    for command in [&["check", "test.toml"][..], &["run", "test.toml", "--exit-when-done"]] {
        let (code, said) = finish(&bench.output(command));
        assert_ne!(code, 0, "{said}");
        let expected = "rows.csv: source.key = \"timestamp\": the source has no such column; it has Timestamp, Open";
        assert!(said.contains(expected), "{said}");
    }
}
