//! Files that claim more than they hold, or hold more than a row may: an error or a stub, before memory is taken.

use std::io::{Seek, SeekFrom, Write as _};

use datafusion::arrow::array::{Int32Array, Int64Array, ListArray, StringArray, StructArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Int64Type};
use millstream_store::StoredFile;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::*;
use crate::record::MAX_RECORD_BYTES;
use crate::source::limits::{COLUMNS_MOST, PAGE_VALUES_MOST};
use crate::source::parquet_limits::check_footer;

/// One row group, dictionaries as large as they get.
pub(super) fn parquet_whole(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, array)| (*name, array.clone(), true)));
    let batch = batch.unwrap();
    let properties = WriterProperties::builder().set_dictionary_page_size_limit(1 << 30).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// What reading all of it ends with, where it does not come to its end.
pub(super) fn fault(name: &str, bytes: &[u8]) -> String {
    let bench = Bench::new(name, bytes);
    let profiled = bench.dataset().profile(&SchemaRules::default());
    let read = profiled.and_then(|_| bench.rows(Encoding::Json));
    read.map_or_else(said, |rows| panic!("{name}: {} rows", rows.len()))
}

#[test]
fn no_format_has_more_columns_than_the_others() {
    let most = COLUMNS_MOST;
    let names = |count: usize| (0..count).map(|i| format!("c{i}")).collect::<Vec<_>>();
    let line = |count: usize| vec!["1"; count].join(",");
    let csv = |count: usize| format!("{}\n{}\n", names(count).join(","), line(count));
    assert_eq!(Bench::new("a.csv", csv(most).as_bytes()).rows(Encoding::Json).unwrap().len(), 1);
    for (name, bytes) in [
        ("a.csv", csv(most + 1).into_bytes()),
        ("a.csv", csv(100_000).into_bytes()),
        ("a.csv.gz", gzip(csv(100_000).as_bytes())),
    ] {
        let fault = fault(name, &bytes);
        assert!(fault.contains("at most 10000"), "{fault}");
    }
    let json = names(most + 1).iter().map(|name| format!("\"{name}\":1")).collect::<Vec<_>>().join(",");
    let found = fault("a.jsonl", format!("{{{json}}}\n").as_bytes());
    assert!(found.contains("more than 10000"), "{found}");
    let one = array(Int64Array::from(vec![1]));
    let columns = names(most + 1);
    let columns: Vec<(&str, ArrayRef)> = columns.iter().map(|name| (name.as_str(), one.clone())).collect();
    let found = fault("a.parquet", &parquet_whole(&columns));
    assert!(found.contains("more than 10000 columns"), "{found}");
}

#[test]
fn no_value_is_nested_deeper_than_its_readers_take() {
    let nested = |depth: usize| {
        let leaf: ArrayRef = array(Int64Array::from(vec![1]));
        (0..depth).fold(leaf, |inner, _| {
            let fields = Fields::from(vec![Field::new("a", inner.data_type().clone(), true)]);
            array(StructArray::new(fields, vec![inner], None))
        })
    };
    let whole = Bench::new("a.parquet", &parquet_whole(&[("a", nested(30))]));
    assert_eq!(whole.rows(Encoding::Json).unwrap().len(), 1);
    // To write such a file takes a deep stack, and so would reading it.
    let write = move || parquet_whole(&[("a", nested(400))]);
    let deep = std::thread::Builder::new().stack_size(256 << 20).spawn(write).unwrap().join().unwrap();
    let found = fault("a.parquet", &deep);
    assert!(found.contains("nested deeper than 32"), "{found}");
    let deep = format!("{{\"a\":{}{}}}\n{{\"a\":1}}\n", "[".repeat(100_000), "]".repeat(100_000));
    let rows = Bench::new("a.jsonl", deep.as_bytes()).values(Encoding::Json);
    assert_eq!(rows, ["<the key \"a\" is nested deeper than 32>", "{\"a\":1}"]);
}

#[test]
fn a_row_that_is_too_long_is_a_stub_in_every_format() {
    let long = "x".repeat(MAX_RECORD_BYTES + 1);
    let texts = StringArray::from(vec!["a", &long, "b"]);
    for (name, bytes) in [
        ("a.csv", format!("t\na\n{long}\nb\n").into_bytes()),
        ("a.csv.zst", zstd(format!("t\na\n{long}\nb\n").as_bytes())),
        ("a.jsonl", format!("{{\"t\":\"a\"}}\n{{\"t\":\"{long}\"}}\n{{\"t\":\"b\"}}\n").into_bytes()),
        ("a.parquet", parquet_whole(&[("t", array(texts))])),
    ] {
        let rows = Bench::new(name, &bytes).values(Encoding::Json);
        assert_eq!((rows.len(), rows[0].as_str(), rows[2].as_str()), (3, "{\"t\":\"a\"}", "{\"t\":\"b\"}"), "{name}");
        assert!(rows[1].starts_with('<') && rows[1].contains("1000000"), "{name}: {}", &rows[1][..60]);
    }
}

#[test]
fn a_text_that_stands_once_and_counts_in_every_row_is_unpacked_a_few_times_at_most() {
    let long = "x".repeat(20 << 20);
    let rows = 12;
    let texts: ArrayRef = array(StringArray::from(vec![long.as_str(); rows]));
    let bytes = parquet_whole(&[("t", texts)]);
    // It is in the file once.
    assert!(bytes.len() < 22 << 20, "{}", bytes.len());
    let bench = Bench::new("a.parquet", &bytes);
    let read = bench.rows(Encoding::Json).unwrap();
    assert!(read.len() == rows && read.iter().all(|row| row.stub.is_some()));
    let file = Arc::new(StoredFile::Local(std::fs::File::open(&bench.path).unwrap()));
    let metadata = parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(&*file).unwrap();
    let at_once = crate::source::parquet_limits::rows_at_once(&file, metadata.row_group(0), 4096).unwrap();
    assert_eq!(at_once, 3);
}

#[test]
fn short_texts_are_unpacked_as_many_as_ever() {
    let texts: ArrayRef = array(StringArray::from_iter_values((0..20_000).map(|row| format!("text {}", row % 5000))));
    let bench = Bench::new("a.parquet", &parquet_whole(&[("t", texts)]));
    let file = Arc::new(StoredFile::Local(std::fs::File::open(&bench.path).unwrap()));
    let metadata = parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(&*file).unwrap();
    let at_once = crate::source::parquet_limits::rows_at_once(&file, metadata.row_group(0), 4096).unwrap();
    assert_eq!(at_once, 4096);
}

#[test]
fn a_list_of_millions_of_nulls_is_refused_before_it_is_unpacked() {
    let count = usize::try_from(PAGE_VALUES_MOST).unwrap() + 1;
    let field = Arc::new(Field::new_list_field(DataType::Int32, true));
    let nulls: ArrayRef = array(Int32Array::new_null(count));
    let list = ListArray::new(field, OffsetBuffer::from_lengths([count]), nulls, None);
    let bytes = parquet_whole(&[("l", array(list))]);
    assert!(bytes.len() < 16 << 10, "{}", bytes.len());
    let found = fault("a.parquet", &bytes);
    assert!(found.contains("column l.list.item") && found.contains("at most 16777216"), "{found}");
    let some = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    let rows = Bench::new("a.parquet", &parquet_whole(&[("l", array(some))])).values(Encoding::Json);
    assert_eq!(rows, ["{\"l\":[1,null]}", "{\"l\":null}", "{\"l\":[]}"]);
}

#[test]
fn metadata_that_is_larger_than_any_is_not_read() {
    let bench = Bench::new("a.parquet", b"PAR1");
    let mut file = std::fs::File::options().write(true).open(&bench.path).unwrap();
    // Sparse: nothing of it is on the disk.
    file.set_len(200 << 20).unwrap();
    file.seek(SeekFrom::End(0)).unwrap();
    file.write_all(&(150_u32 << 20).to_le_bytes()).unwrap();
    file.write_all(b"PAR1").unwrap();
    let found = said(bench.rows(Encoding::Json).unwrap_err());
    assert!(found.contains("at most 16 MiB"), "{found}");
}

proptest! {
    // Whatever stands in a footer, looking at it ends, without a panic.
    #[test]
    fn any_footer_is_looked_at(footer in prop::collection::vec(any::<u8>(), 0..600), schema: bool) {
        let mut bytes = b"PAR1".to_vec();
        // The version, then what may be a list of schema elements.
        let head: &[u8] = if schema { &[0x15, 0x02, 0x19, 0xfc] } else { &[] };
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(&footer);
        bytes.extend_from_slice(&u32::try_from(head.len() + footer.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(b"PAR1");
        let bench = Bench::new("a.parquet", &bytes);
        let file = StoredFile::Local(std::fs::File::open(&bench.path).unwrap());
        let _ = check_footer(&file, bytes.len() as u64);
        prop_assert!(bench.rows(Encoding::Json).is_err());
    }

    // A whole file with a byte of it changed is read, or is an error.
    #[test]
    fn a_changed_byte_is_no_panic(at: prop::sample::Index, byte: u8) {
        let texts: ArrayRef = array(StringArray::from_iter((0..50).map(|row| (row % 7 != 3).then(|| format!("t{}", row % 9)))));
        let numbers: ArrayRef = array(Int64Array::from_iter_values(0..50));
        let lists = (0..50).map(|row| Some((0..row % 4).map(Some)));
        let lists: ArrayRef = array(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
        let mut bytes = parquet_whole(&[("t", texts), ("n", numbers), ("l", lists)]);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Bench::new("a.parquet", &bytes).rows(Encoding::Json);
    }
}
