//! What is no source: an error that says what to mend, from the first pass and from the rows alike, and never a panic.

use datafusion::arrow::array::{Int32Array, StringArray};
use proptest::prelude::*;

use super::*;
use crate::source::SourcePlace;

fn check(name: &str, bytes: &[u8], expected: &str) {
    let error = said(Bench::new(name, bytes).dataset().profile(&SchemaRules::default()).unwrap_err());
    assert!(error.contains(name) && error.contains(expected), "{error}");
}

#[test]
fn a_file_without_rows_says_so() {
    let empty = "the file is empty: it needs at least one row";
    check("a.csv", b"", empty);
    check("a.jsonl", b"", empty);
    check("a.jsonl", b"\n \r\n\n", empty);
    check("a.parquet", b"", empty);
    check("a.parquet", &parquet_of(&[("a", array(Int32Array::from(Vec::<i32>::new())))]), empty);
    check("a.csv", b"a,b\n", "the file has a header line and no row after it");
}

#[test]
fn a_file_of_another_kind_says_so() {
    let utf16 = "is UTF-16: say so with encoding = \"utf-16\"";
    for name in ["a.csv", "a.jsonl"] {
        check(name, b"\xff\xfe{\0}\0", utf16);
        check(name, b"\xfe\xff\0{\0}", utf16);
        check(name, b"{\0\"\0a\0", utf16);
    }
    check("a.csv", b"PK\x03\x04\x14\0\0\0", "it is a zip archive: unpack it first");
    check("a.jsonl", b"[1,2]\n[3]\n", "no row can be read as one: a JSON list; expected an object");
    check("a.jsonl", b"a,b\n1,2\n", "no row can be read as one: not a JSON object");
    check("a.jsonl", b"{}\n{}\n", "no row can be read as one: its objects are empty");
    let parquet = "cannot be read as Parquet: is it whole, and a Parquet file at all?";
    check("a.parquet", b"a,b\n1,2\n", parquet);
    check("a.parquet", b"PAR1", parquet);
    let whole = parquet_of(&[("a", array(Int32Array::from(vec![1, 2, 3])))]);
    check("a.parquet", &whole[..whole.len() - 3], parquet);
    check("a.parquet", &gzip(&whole), parquet);
}

#[test]
fn a_folder_and_nothing_are_no_sources() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.csv", "a.jsonl", "a.parquet"] {
        let mut bench = Bench::new(name, b"");
        bench.source.place = SourcePlace::File(folder.path().to_owned());
        let error = said(bench.dataset().profile(&SchemaRules::default()).unwrap_err());
        assert!(error.contains("the folder holds no "), "{error}");
        bench.source.place = SourcePlace::File(folder.path().join("none.csv"));
        for error in [bench.rows(Encoding::Json).map(drop), bench.dataset().fingerprint().map(drop)] {
            assert!(said(error.unwrap_err()).contains("none.csv: no such file"));
        }
    }
}

#[test]
fn a_damaged_parquet_file_names_the_row() {
    let values: Vec<i32> = (0..6).collect();
    let mut bytes = parquet_of(&[("a", array(Int32Array::from(values)))]);
    // Inside the first column chunk, after the magic bytes.
    bytes[6..40].fill(0xff);
    let error = said(Bench::new("a.parquet", &bytes).rows(Encoding::Json).unwrap_err());
    assert!(error.contains("a.parquet: reading failed at row 1"), "{error}");
}

#[test]
fn no_byte_of_a_parquet_file_can_be_changed_to_bring_the_reader_down() {
    let whole = parquet_of(&[
        ("a", array(Int32Array::from(vec![1, 2, 3]))),
        ("s", array(StringArray::from(vec!["x", "y", "z"]))),
    ]);
    for place in 0..whole.len() {
        for mask in [0xff, 0x55, 0x01] {
            let mut bytes = whole.clone();
            bytes[place] ^= mask;
            let bench = Bench::new("a.parquet", &bytes);
            let _ = bench.dataset().profile(&SchemaRules::default());
            let _ = bench.rows(Encoding::Csv);
        }
    }
}

#[test]
fn a_quote_that_is_never_closed_does_not_fill_the_memory() {
    let mut text = b"a\n1\n\"".to_vec();
    text.extend(b"x\n".repeat(40 << 20));
    let error = said(Bench::new("a.csv", &text).dataset().profile(&SchemaRules::default()).unwrap_err());
    assert!(error.contains("reading failed at row 2") && error.contains("is a quote never closed?"), "{error}");
}

#[test]
fn an_endless_line_is_one_stub() {
    let mut text = b"{\"a\":1}\n{\"a\":\"".to_vec();
    text.extend(vec![b'x'; 100 << 20]);
    text.extend(b"\"}\n{\"a\":2}\n");
    let bench = Bench::new("a.jsonl", &text);
    let found = bench.values(Encoding::Json);
    assert_eq!(found.len(), 3);
    assert_eq!(found[1], "<more than the 1000000 bytes that fit into a record>");
    assert_eq!(bench.dataset().profile(&SchemaRules::default()).unwrap().rows, Some(3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_a_reader_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        text in "[{}\\[\\]\",:a1 \n\r\\\\]{0,200}",
        ending in prop::sample::select(&["csv", "jsonl", "parquet", "csv.gz", "jsonl.zst"][..]),
    ) {
        let packed = match ending {
            "csv.gz" => gzip(text.as_bytes()),
            "jsonl.zst" => zstd(text.as_bytes()),
            _ => text.clone().into_bytes(),
        };
        for content in [&bytes, &packed] {
            let bench = Bench::new(&format!("a.{ending}"), content);
            let _ = bench.dataset().profile(&SchemaRules::default());
            for encoding in [Encoding::Json, Encoding::Csv] {
                let _ = bench.rows(encoding);
            }
        }
    }
}
