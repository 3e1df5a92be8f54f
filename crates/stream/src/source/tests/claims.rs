//! What the pages of a Parquet file claim: honest files of the usual writers come through, and bombs do not.

use datafusion::arrow::array::{DictionaryArray, Float32Array, Int64Array, ListArray, StringArray, UInt32Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{Field, UInt32Type};
use millstream_store::StoredFile;
use parquet::basic::{BrotliLevel, Compression, Encoding as ParquetEncoding, GzipLevel};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::limits::fault;
use super::*;
use crate::source::parquet_limits::{check_footer, rows_at_once};

const USUAL: u64 = 4096;

/// One row group without dictionaries, whose pages are as large as they get.
fn parquet_plain(columns: &[(&str, ArrayRef)], encoding: ParquetEncoding) -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, array)| (*name, array.clone(), true)));
    let batch = batch.unwrap();
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_encoding(encoding)
        .set_data_page_size_limit(100 << 20)
        .set_data_page_row_count_limit(1 << 20)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// One row group as most writers make it: small pages, and dictionaries where they are short.
fn parquet_usual(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, array)| (*name, array.clone(), true)));
    let batch = batch.unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn lists(length: usize, values: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let rows = values.len() / length;
    array(ListArray::new(field, OffsetBuffer::from_repeated_length(length, rows), values, None))
}

/// One row group, packed.
fn parquet_packed(column: &ArrayRef, codec: Compression, version: WriterVersion) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter([("t", column.clone())]).unwrap();
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_compression(codec)
        .set_writer_version(version)
        .set_data_page_size_limit(100 << 20)
        .set_data_page_row_count_limit(1 << 20);
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// How many rows of the first row group are unpacked together, or why none is.
fn at_once(bytes: &[u8]) -> Result<u64, String> {
    let bench = Bench::new("a.parquet", bytes);
    let file = Arc::new(StoredFile::Local(std::fs::File::open(&bench.path).unwrap()));
    let metadata = parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(&*file).unwrap();
    rows_at_once(&file, metadata.row_group(0), USUAL).map_err(|error| error.to_string())
}

#[test]
fn a_row_group_of_millions_of_numbers_in_lists_is_read_when_each_list_is_short() {
    // The rows of DuckDB's row groups, in one page as DuckDB writes them.
    let (rows, length) = (122_880, 70);
    let numbers = Float32Array::from(vec![0.5; rows * length]);
    let bytes = parquet_plain(&[("l", lists(length, array(numbers)))], ParquetEncoding::PLAIN);
    assert_eq!(at_once(&bytes), Ok(USUAL));
}

#[test]
fn tags_that_repeat_are_read_though_one_of_them_is_long() {
    let (rows, length) = (200_000, 5);
    let long = "x".repeat(600);
    let tags: Vec<&str> =
        (0..rows * length).map(|i| if i == 7 { &long } else { ["new", "sale", "red", "blue"][i % 4] }).collect();
    let bytes = parquet_usual(&[("tags", lists(length, array(StringArray::from(tags))))]);
    assert_eq!(at_once(&bytes), Ok(USUAL));
}

#[test]
fn one_row_that_comes_to_more_than_memory_is_refused_whatever_the_others_are() {
    // A text of 1 KiB that is stored once, 600,000 times in one row, of which each costs a bit.
    let texts = array(StringArray::from(vec!["x".repeat(1 << 10)]));
    let keys = UInt32Array::from(vec![0; 600_000]);
    let many: ArrayRef = array(DictionaryArray::<UInt32Type>::new(keys, texts));
    let bytes = parquet_usual(&[("l", lists(600_000, many))]);
    assert!(bytes.len() < 16 << 10, "{}", bytes.len());
    let found = fault("a.parquet", &bytes);
    assert!(found.contains("one row may take") && found.contains("column l.list.item: at most 512 MiB"), "{found}");
}

#[test]
fn what_columns_take_is_added_up() {
    let long: ArrayRef = array(StringArray::from(vec!["x".repeat(4 << 20); 16]));
    let names = ["a", "b", "c", "d"];
    let of = |n: usize| {
        let columns: Vec<_> = names[..n].iter().map(|name| (*name, long.clone())).collect();
        at_once(&super::limits::parquet_whole(&columns))
    };
    assert_eq!((of(1), of(4)), (Ok(16), Ok(4)));
}

#[test]
fn a_text_that_is_much_longer_than_the_others_of_its_page_counts_as_what_it_is() {
    let texts: ArrayRef = array(StringArray::from_iter_values(
        (0..4096).map(|row| if row == 0 { "x".repeat(8 << 20) } else { "short".to_owned() }),
    ));
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let of = |n: usize| {
        let columns: Vec<_> = names[..n].iter().map(|name| (*name, texts.clone())).collect();
        at_once(&parquet_plain(&columns, ParquetEncoding::PLAIN))
    };
    assert_eq!((of(1), of(2), of(8)), (Ok(8), Ok(4), Ok(1)));
    // Where they are few, all pages come to little, and nobody looks.
    let rows = (0..200_000).map(|row| format!("text {row}"));
    let short: ArrayRef = array(StringArray::from_iter_values(rows));
    assert_eq!(at_once(&parquet_plain(&[("t", short)], ParquetEncoding::PLAIN)), Ok(USUAL));
}

#[test]
fn the_pages_of_all_columns_are_in_memory_together_and_have_a_bound() {
    let numbers: ArrayRef = array(Int64Array::from(vec![7; 150_000]));
    let names: Vec<String> = (0..9).map(|i| format!("c{i}")).collect();
    let columns: Vec<_> = names.iter().map(|name| (name.as_str(), numbers.clone())).collect();
    let mut bytes = parquet_plain(&columns, ParquetEncoding::PLAIN);
    assert_eq!(at_once(&bytes), Ok(USUAL));
    // A data page, and the number of its unpacked bytes, which is changed for one of as many digits: 127 MiB.
    let head = [0x15, 0, 0x15];
    let mut changed = 0;
    for at in 0..bytes.len() - 8 {
        let is_page = bytes[at..at + 3] == head && bytes[at + 3..at + 6].iter().all(|byte| byte & 0x80 != 0);
        if is_page && bytes[at + 6] & 0x80 == 0 {
            let mut claim = (127_u64 << 20) << 1;
            for byte in &mut bytes[at + 3..at + 7] {
                *byte = u8::try_from(claim & 0x7f).unwrap() | 0x80;
                claim >>= 7;
            }
            bytes[at + 6] &= 0x7f;
            changed += 1;
        }
    }
    assert_eq!(changed, 9);
    let found = at_once(&bytes).unwrap_err();
    assert!(found.contains("come to more than 1024 MiB"), "{found}");
}

#[test]
fn lengths_written_as_differences_are_read_and_counted_before_memory_is_taken() {
    let rows = 20_000;
    let texts: ArrayRef = array(StringArray::from_iter_values((0..rows).map(|row| format!("text {row}"))));
    for encoding in [ParquetEncoding::DELTA_LENGTH_BYTE_ARRAY, ParquetEncoding::DELTA_BYTE_ARRAY] {
        let mut bytes = parquet_plain(&[("t", texts.clone())], encoding);
        assert_eq!(at_once(&bytes), Ok(USUAL), "{encoding}");
        assert_eq!(Bench::new("a.parquet", &bytes).rows(Encoding::Json).unwrap().len(), rows, "{encoding}");
        // Blocks of 128 in 4, and how many there are: as many as three bytes can say.
        let head = [0x80, 1, 4, 0xa0, 0x9c, 1];
        let at = bytes.windows(head.len()).rposition(|window| window == head).unwrap();
        bytes[at + 3..at + 6].copy_from_slice(&[0xff, 0xff, 0x7f]);
        let found = fault("a.parquet", &bytes);
        assert!(found.contains("column t: a page whose lengths are damaged"), "{encoding}: {found}");
    }
}

#[test]
fn a_page_that_unpacks_to_more_than_it_claims_is_refused() {
    let rows = 150_001;
    let numbers: ArrayRef = array(Int64Array::from(vec![7; rows]));
    let codecs = [Compression::GZIP(GzipLevel::default()), Compression::BROTLI(BrotliLevel::default())];
    for (codec, version) in codecs
        .iter()
        .flat_map(|codec| [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0].map(|version| (*codec, version)))
    {
        let what = format!("{codec}, {version:?}");
        let mut bytes = parquet_packed(&numbers, codec, version);
        assert_eq!(at_once(&bytes), Ok(USUAL), "{what}");
        // The header's kind, then the number of its unpacked bytes: 150,001 × 8, in four digits; one less is claimed.
        let kind = if version == WriterVersion::PARQUET_1_0 { 0 } else { 6 };
        let at = bytes.windows(3).position(|window| window == [0x15, kind, 0x15]).unwrap();
        assert!(bytes[at + 3] & 0x7f >= 2, "{what}");
        bytes[at + 3] -= 2;
        let found = fault("a.parquet", &bytes);
        assert!(found.contains("column t: a page that unpacks to more than"), "{what}: {found}");
    }
}

/// One column of numbers, in one page that is packed by gzip.
fn parquet_of_page(header: &[u8], packed: &[u8], rows: i64) -> Vec<u8> {
    let schema = Arc::new(parse_message_type("message m { required int64 t; }").unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::default()).unwrap();
    let descr = writer.schema_descr().column(0);
    let chunk = bytes::Bytes::from([header, packed].concat());
    let length = i64::try_from(chunk.len()).unwrap();
    let metadata = ColumnChunkMetaData::builder(descr)
        .set_compression(Compression::GZIP(GzipLevel::default()))
        .set_num_values(rows)
        .set_total_compressed_size(length)
        .set_total_uncompressed_size(length)
        .set_data_page_offset(0)
        .build()
        .unwrap();
    let close = ColumnCloseResult {
        bytes_written: chunk.len() as u64,
        rows_written: rows.unsigned_abs(),
        metadata,
        bloom_filter: None,
        column_index: None,
        offset_index: None,
    };
    let mut group = writer.next_row_group().unwrap();
    group.append_column(&chunk, close).unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

/// Thrift's compact protocol: the head of a field, and integers.
fn integers(fields: &[(u8, i64)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (step, value) in fields {
        bytes.push(step << 4 | 5);
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while rest >= 0x80 {
            bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        bytes.push(u8::try_from(rest).unwrap());
    }
    bytes
}

#[test]
fn a_header_that_the_library_reads_otherwise_is_refused() {
    let rows = 4;
    let numbers = gzip(&[0; 32]);
    let bomb = gzip(&vec![0; 1 << 20]);
    // Each struct without its head: of data, of a dictionary, of data of the second version.
    let first = [integers(&[(1, rows), (1, 0), (1, 3), (1, 3)]), vec![0]].concat();
    let dictionary = [integers(&[(1, rows), (1, 0)]), vec![0]].concat();
    let second = |levels: i64, flags: &[u8]| {
        [&integers(&[(1, rows), (1, 0), (1, rows), (1, 0), (1, levels), (1, 0)]), flags, &[0]].concat()
    };
    let page = |kind: i64, packed: &[u8], structs: &[&[u8]]| {
        let length = i64::try_from(packed.len()).unwrap();
        let header = [&integers(&[(1, kind), (1, 32), (1, length)])[..], &structs.concat(), &[0]].concat();
        parquet_of_page(&header, packed, rows)
    };
    // What they are like when they are whole.
    for whole in [page(0, &numbers, &[&[0x2c], &first]), page(3, &numbers, &[&[0x5c], &second(0, &[0x11])])] {
        assert_eq!(Bench::new("a.parquet", &whole).rows(Encoding::Json).unwrap().len(), 4);
    }
    let found = fault("a.parquet", &page(0, &bomb, &[&[0x2c], &first]));
    assert!(found.contains("a page that unpacks to more than"), "{found}");

    let behind = [&[0xff; 5][..], &bomb].concat();
    let length = i64::try_from(bomb.len()).unwrap();
    let with_kind = |bytes: &[u8]| {
        let rest = [integers(&[(1, 32), (1, length)]), vec![0x2c], first.clone(), vec![0]].concat();
        parquet_of_page(&[bytes, &rest].concat(), &bomb, rows)
    };
    for (what, bytes) in [
        ("levels of another kind", page(0, &behind, &[&[0x2c], &first, &[0x3c], &second(5, &[])])),
        ("data without its struct", page(0, &bomb, &[&[0x4c], &dictionary])),
        ("a dictionary without its struct", page(2, &bomb, &[])),
        ("data of the second version without its struct", page(3, &bomb, &[&[0x2c], &first])),
        ("an index page", page(1, &bomb, &[])),
        ("packed twice", page(3, &bomb, &[&[0x5c], &second(0, &[0x12, 0x01, 14])])),
        ("values twice", page(0, &bomb, &[&[0x2c], &[0x15, 8, 0x05, 2, 8], &first[2..]])),
        ("a struct twice", page(0, &bomb, &[&[0x2c], &first, &[0x0c, 10], &first])),
        ("a kind that is a double", with_kind(&[0x17, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("a kind that is true", with_kind(&[0x11, 0])),
        ("a kind of more than 32 bits", with_kind(&[0x16, 0x80, 0x80, 0x80, 0x80, 0x20])),
        ("a struct that is true", page(0, &bomb, &[&[0x21], &first])),
        ("a number of more than 16 bits", page(0, &bomb, &[&[0x2c], &first, &[0x0c, 0x90, 0x80, 8], &second(5, &[])])),
        ("a list of true", page(0, &bomb, &[&[0x2c], &first, &[0x49, 0x11, 0x0c]])),
        ("levels that are more than the page", page(3, &bomb, &[&[0x5c], &second(33, &[])])),
    ] {
        let found = fault("a.parquet", &bytes);
        assert!(
            found.contains("column t: the header of a page: ") && found.ends_with("it is damaged"),
            "{what}: {found}"
        );
    }
}

#[test]
fn a_schema_that_the_library_reads_otherwise_is_refused() {
    // The version, then lists of elements.
    let deep = [&[0x29, 0xfc, 100][..], &[0x48, 1, b'a', 0x15, 2, 0].repeat(100)].concat();
    let flat = [0x48, 1, b'a', 0];
    let list = |head: &[u8], element: &[u8]| [head, element].concat();
    let check = |what: &str, fields: &[u8], expected: &str| {
        let footer = [fields, &[0]].concat();
        let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
        let bytes = [b"PAR1", &footer[..], &length, b"PAR1"].concat();
        let bench = Bench::new("a.parquet", &bytes);
        let file = StoredFile::Local(std::fs::File::open(&bench.path).unwrap());
        let found = check_footer(&file, bytes.len() as u64).map_or_else(|error| error.to_string(), |()| String::new());
        assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{what}: {found}");
    };
    let damaged = "its metadata is damaged";
    let of = |element: &[u8]| list(&[0x15, 2, 0x19, 0x1c], element);
    check("one", &of(&flat), "");
    check("with a list of nothing behind it", &[&of(&flat)[..], &[0x29, 0]].concat(), "");
    check("an instant", &of(&[0x48, 1, b'a', 0x6c, 0x8c, 0x11, 0x1c, 0x1c, 0, 0, 0, 0, 0]), "");
    check("two", &[&deep[..], &[0x09, 4, 0x1c], &flat].concat(), "nested deeper than 32");
    check("none", &[0x15, 2], damaged);
    check("something before it", &[&[0x15, 2, 0x45, 2, 0x09, 4, 0x1c][..], &flat].concat(), damaged);
    check("a version that is true", &list(&[0x11, 0x19, 0x1c], &flat), damaged);
    check("children in a byte", &of(&[0x48, 1, b'a', 0x13, 2, 0]), damaged);
    check("a name that is true", &of(&[0x41, 0x15, 2, 0]), damaged);
    check("a width of more than a byte", &of(&[0x48, 1, b'a', 0x6c, 0xac, 0x15, 16, 0x11, 0, 0, 0]), damaged);
    check("a unit that is true", &of(&[0x48, 1, b'a', 0x6c, 0x8c, 0x11, 0x11, 0, 0, 0]), damaged);
}
