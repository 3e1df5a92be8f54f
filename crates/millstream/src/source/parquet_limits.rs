//! What a Parquet file claims, looked at before the library takes memory for it: the footer before it is read, the pages of a row
//! group before they are unpacked. A few bytes can claim lists of a hundred million nulls, or a text of 20 MB in every row.

use std::io::Read;
use std::sync::Arc;

use parquet::basic::Type;
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;

use super::limits::{
    BATCH_BYTES_MOST, COLUMNS_MOST, FOOTER_BYTES_MOST, LIST_BYTES_MOST, LIST_VALUES_MOST, NESTING_MOST,
    PAGE_BYTES_MOST, PAGE_VALUES_MOST,
};
use super::thrift::{Kind, Thrift, Torn};
use crate::store::StoredFile;

/// The last bytes of a file: the footer's length, and `PAR1`.
const TAIL_BYTES: u64 = 8;
/// A page's header is some 50 bytes, and more with the least and the greatest of long texts.
const HEADER_BYTES: [u64; 3] = [256, 64 << 10, 4 << 20];
/// Of a value that is no text: a number, a time, 16 bytes at most.
const NUMBER_BYTES: u64 = 16;
/// Elements of a schema for each of its columns: lists and maps take three.
const ELEMENTS_A_COLUMN: usize = 4;

fn general(message: String) -> ParquetError {
    ParquetError::General(message)
}

fn number(number: i64) -> Result<u64, ParquetError> {
    u64::try_from(number).map_err(|_| general(format!("it says {number} of what can only be counted")))
}

/// Whether the footer is small enough to be read, and its schema flat and narrow enough to be walked through.
pub(super) fn check_footer(file: &StoredFile, length: u64) -> Result<(), ParquetError> {
    // What is no Parquet at all is said by the library.
    let Some(tail) = length.checked_sub(TAIL_BYTES) else { return Ok(()) };
    let bytes = file.get_bytes(tail, 8)?;
    let [a, b, c, d, ..] = bytes[..] else { return Ok(()) };
    let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
    let Some(start) = tail.checked_sub(footer) else { return Ok(()) };
    if footer > FOOTER_BYTES_MOST {
        let most = FOOTER_BYTES_MOST >> 20;
        return Err(general(format!(
            "its metadata takes {footer} bytes: at most {most} MiB; write it with larger row groups"
        )));
    }
    let Ok(footer) = usize::try_from(footer) else { return Ok(()) };
    let bytes = file.get_bytes(start, footer)?;
    let mut schema = Ok(());
    let read = Thrift::new(&bytes).read_struct(|thrift, id, kind| {
        if id != 2 || kind != Kind::List {
            return Ok(false);
        }
        schema = check_schema(thrift)?;
        // Nothing else is looked at; the library does.
        Ok(true)
    });
    match read {
        Ok(()) => schema,
        Err(Torn::Short | Torn::Damaged) => {
            Err(schema.err().unwrap_or_else(|| general("its metadata is damaged".to_owned())))
        }
    }
}

/// The elements of a schema stand in a list, each before those that lie in it.
fn check_schema(thrift: &mut Thrift) -> Result<Result<(), ParquetError>, Torn> {
    let (length, _) = thrift.list()?;
    if usize::try_from(length).is_ok_and(|length| length > COLUMNS_MOST * ELEMENTS_A_COLUMN) {
        return Ok(Err(general(format!("{length} elements of a schema: at most {COLUMNS_MOST} columns"))));
    }
    // Of each element that is open: how many are still to come in it.
    let mut open: Vec<i64> = Vec::new();
    for _ in 0..length {
        let mut n_children = 0;
        thrift.read_struct(|thrift, id, kind| {
            if id != 5 || kind != Kind::Integer {
                return Ok(false);
            }
            n_children = thrift.integer()?;
            Ok(true)
        })?;
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        if n_children > 0 {
            open.push(n_children);
        }
        while open.last().is_some_and(|left| *left <= 0) {
            open.pop();
        }
        if open.len() > NESTING_MOST {
            return Ok(Err(general(format!("columns nested deeper than {NESTING_MOST}"))));
        }
        if open.first().is_some_and(|left| usize::try_from(*left).is_ok_and(|left| left > COLUMNS_MOST)) {
            return Ok(Err(general(format!("more than {COLUMNS_MOST} columns"))));
        }
    }
    Ok(Ok(()))
}

/// What the header of a page claims.
#[derive(Debug, Default, Clone, Copy)]
struct PageClaim {
    is_dictionary: bool,
    bytes: u64,
    values: u64,
    encoding: i64,
}

/// `DELTA_BYTE_ARRAY`: a value may hold all that came before it in the page.
const DELTA_BYTE_ARRAY: i64 = 7;
const PLAIN_DICTIONARY: i64 = 2;
const RLE_DICTIONARY: i64 = 8;

/// How many rows of the row group may be unpacked together, at most `rows_most`: so few that no batch takes more than
/// `BATCH_BYTES_MOST` of a column, whatever is in it.
pub(super) fn rows_at_once(
    file: &Arc<StoredFile>,
    group: &RowGroupMetaData,
    rows_most: u64,
) -> Result<u64, ParquetError> {
    let rows = number(group.num_rows())?;
    let mut at_once = rows_most;
    for column in group.columns() {
        at_once = at_once.min(rows_of_column(file, column, rows)?);
    }
    Ok(at_once.max(1))
}

fn rows_of_column(file: &Arc<StoredFile>, column: &ColumnChunkMetaData, rows: u64) -> Result<u64, ParquetError> {
    let name = column.column_path().string();
    let is_list = column.column_descr().max_rep_level() > 0;
    let values = number(column.num_values())?;
    if is_list && values > LIST_VALUES_MOST {
        return Err(general(format!(
            "column {name}: {values} values in a row group of {rows} rows: at most {LIST_VALUES_MOST}; write smaller row groups"
        )));
    }
    if !is_list && values != rows {
        return Err(general(format!("column {name}: {values} values of {rows} rows")));
    }
    let pages = pages(file, column, &name)?;
    // Of a list nothing tells which values are in which row.
    let claimed = pages.iter().filter(|page| !page.is_dictionary).map(|page| page.values).sum::<u64>();
    if claimed != values {
        return Err(general(format!("column {name}: its pages have {claimed} values, its metadata {values}")));
    }
    let fixed = match column.column_descr().physical_type() {
        Type::BYTE_ARRAY => None,
        Type::FIXED_LEN_BYTE_ARRAY => Some(number(column.column_descr().type_length().into())?.max(NUMBER_BYTES)),
        Type::BOOLEAN | Type::INT32 | Type::INT64 | Type::INT96 | Type::FLOAT | Type::DOUBLE => Some(NUMBER_BYTES),
    };
    let longest = match fixed {
        Some(bytes) => bytes,
        None if pages.iter().any(|page| page.is_dictionary) => longest_in_dictionary(file, column, rows, &name)?,
        None => 0,
    };
    // Of each page the bytes that a value of it takes: as a share of the page's, or the longest that there may be.
    let worst = |page: &PageClaim| match page.encoding {
        _ if fixed.is_some() => (longest, 1),
        PLAIN_DICTIONARY | RLE_DICTIONARY => (longest, 1),
        DELTA_BYTE_ARRAY => (page.bytes, 1),
        _ => (page.bytes, page.values.max(1)),
    };
    let data = || pages.iter().filter(|page| !page.is_dictionary);
    if !is_list {
        let of_page = |page: &PageClaim| {
            let (bytes, values) = worst(page);
            BATCH_BYTES_MOST.saturating_mul(values) / bytes.max(1)
        };
        return Ok(data().map(of_page).min().unwrap_or(u64::MAX));
    }
    // A sum beyond all numbers is refused below like any other that is too large.
    let total = data().fold(0_u64, |total, page| {
        let (bytes, values) = worst(page);
        total.saturating_add(bytes.saturating_mul(page.values / values.max(1)).max(if values > 1 { bytes } else { 0 }))
    });
    if total > LIST_BYTES_MOST {
        let most = LIST_BYTES_MOST >> 20;
        return Err(general(format!(
            "column {name}: lists of a row group that may take {total} bytes: at most {most} MiB; write smaller row groups"
        )));
    }
    Ok((BATCH_BYTES_MOST.saturating_mul(rows) / total.max(1)).max(1))
}

/// The headers of all pages of a column in a row group.
fn pages(file: &StoredFile, column: &ColumnChunkMetaData, name: &str) -> Result<Vec<PageClaim>, ParquetError> {
    let (mut at, length) = column.byte_range();
    let end = at.checked_add(length).ok_or_else(|| general(format!("column {name} lies outside the file")))?;
    let mut pages = Vec::new();
    while at < end {
        let (page, header, packed) = page_header(file, at, end - at)
            .map_err(|error| general(format!("column {name}: the header of a page: {error}")))?;
        if page.bytes > PAGE_BYTES_MOST || packed > PAGE_BYTES_MOST {
            let (bytes, most) = (page.bytes.max(packed), PAGE_BYTES_MOST >> 20);
            return Err(general(format!("column {name}: a page of {bytes} bytes: at most {most} MiB")));
        }
        if page.values > PAGE_VALUES_MOST {
            let values = page.values;
            return Err(general(format!("column {name}: a page of {values} values: at most {PAGE_VALUES_MOST}")));
        }
        pages.push(page);
        at = at + header + packed;
    }
    Ok(pages)
}

/// The claims, the length of the header, and that of what follows it in the file.
fn page_header(file: &StoredFile, at: u64, left: u64) -> Result<(PageClaim, u64, u64), ParquetError> {
    for most in HEADER_BYTES {
        let mut bytes = Vec::new();
        file.get_read(at)?.take(most.min(left)).read_to_end(&mut bytes)?;
        let mut thrift = Thrift::new(&bytes);
        let (mut page, mut unpacked, mut packed, mut values) = (PageClaim::default(), 0, 0, 0);
        let read = thrift.read_struct(|thrift, id, kind| {
            match (id, kind) {
                (1, Kind::Integer) => page.is_dictionary = thrift.integer()? == 2,
                (2, Kind::Integer) => unpacked = thrift.integer()?,
                (3, Kind::Integer) => packed = thrift.integer()?,
                // Of a data page, a dictionary and a data page of the second version.
                (5 | 7 | 8, Kind::Struct) => thrift.read_struct(|thrift, field, kind| {
                    match (id, field, kind) {
                        (_, 1, Kind::Integer) => values = thrift.integer()?,
                        (5 | 7, 2, Kind::Integer) | (8, 4, Kind::Integer) => page.encoding = thrift.integer()?,
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?,
                _ => return Ok(false),
            }
            Ok(true)
        });
        match read {
            Ok(()) => {
                (page.bytes, page.values) = (number(unpacked)?, number(values)?);
                return Ok((page, thrift.at() as u64, number(packed)?));
            }
            Err(Torn::Short) if most < left => {}
            Err(Torn::Short | Torn::Damaged) => return Err(general("it is damaged".to_owned())),
        }
    }
    Err(general(format!("it takes more than {} bytes", HEADER_BYTES[2])))
}

/// The longest text of a dictionary, which each row may have. Its page is small enough to be unpacked: that is known.
fn longest_in_dictionary(
    file: &Arc<StoredFile>,
    column: &ColumnChunkMetaData,
    rows: u64,
    name: &str,
) -> Result<u64, ParquetError> {
    let rows = usize::try_from(rows).map_err(|_| general(format!("{rows} rows")))?;
    let mut reader = SerializedPageReader::new(Arc::clone(file), column, rows, None)?;
    let Some(Page::DictionaryPage { buf, .. }) = reader.get_next_page()? else {
        return Err(general(format!("column {name}: its dictionary is not its first page")));
    };
    let (mut left, mut longest) = (&buf[..], 0);
    while let Some((length, rest)) = left.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length);
        longest = longest.max(u64::from(length));
        // What is cut short the library says.
        left = usize::try_from(length).ok().and_then(|length| rest.get(length..)).unwrap_or(&[]);
    }
    Ok(longest)
}
