//! What a Parquet file claims, looked at before the library takes memory for it: the footer before it is read, the pages of a row
//! group before they are unpacked. A few bytes can claim lists of a hundred million nulls, or a text of 20 MB in every row.

use std::io::Read;
use std::sync::Arc;

use millstream_store::StoredFile;
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;

use super::limits::{
    BATCH_BYTES_MOST, COLUMNS_MOST, FOOTER_BYTES_MOST, LISTS_UNSEEN_BYTES_MOST, NESTING_MOST, PAGE_BYTES_MOST,
    PAGE_VALUES_MOST, PAGES_BYTES_MOST, ROW_BYTES_MOST, TEXTS_UNSEEN_BYTES_MOST,
};
use super::parquet_levels::{SIZES, Windows, longest_by_delta, longest_by_length};
use super::parquet_page::{PageClaim, PageKind, page_header};
use super::parquet_unpack::unpacks_within;
use super::thrift::{Kind, Thrift, Torn};

/// The last bytes of a file: the footer's length, and `PAR1`.
const TAIL_BYTES: u64 = 8;
/// Of a value that is no text: a number, a time, 16 bytes at most.
const NUMBER_BYTES: u64 = 16;
/// Elements of a schema for each of its columns: lists and maps take three.
const ELEMENTS_A_COLUMN: usize = 4;

pub(super) fn general(message: String) -> ParquetError {
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
    let mut schema = None;
    let read = Thrift::new(&bytes).read_struct(|thrift, id, kind| match (&schema, id, kind) {
        // Nothing else is looked at, and of two schemas the library takes the first.
        (Some(_), ..) => Ok(false),
        (None, 2, Kind::List) => {
            schema = Some(check_schema(thrift)?);
            Ok(true)
        }
        // The version. What else stands before the schema the library might read otherwise, and come to another one.
        (None, 1, Kind::Integer) => Ok(false),
        (None, ..) => Err(Torn::Damaged),
    });
    match (schema, read) {
        (Some(Err(fault)), _) => Err(fault),
        (Some(Ok(())), Ok(())) => Ok(()),
        (None, Ok(())) | (_, Err(Torn::Short | Torn::Damaged)) => Err(general("its metadata is damaged".to_owned())),
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
        let n_children = element(thrift)?;
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

const PLAIN_DICTIONARY: i64 = 2;
const DELTA_LENGTH_BYTE_ARRAY: i64 = 6;
const DELTA_BYTE_ARRAY: i64 = 7;
const RLE_DICTIONARY: i64 = 8;

/// How many elements lie in one. Its fields have the types by which the library reads them, whatever they say.
fn element(thrift: &mut Thrift) -> Result<i64, Torn> {
    let mut n_children = 0;
    thrift.read_struct(|thrift, id, kind| {
        match (id, kind) {
            (5, Kind::Integer) => n_children = thrift.integer()?,
            (10, Kind::Struct) => logical_type(thrift)?,
            (4, Kind::Binary) | (1..=3 | 6..=9, Kind::Integer) => return Ok(false),
            (1..=10, _) => return Err(Torn::Damaged),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(n_children)
}

/// What a column is beyond its physical type: a struct of one struct.
fn logical_type(thrift: &mut Thrift) -> Result<(), Torn> {
    let damaged_unless = |is_whole: bool| if is_whole { Ok(false) } else { Err(Torn::Damaged) };
    thrift.read_struct(|thrift, of, kind| {
        // The format has 18, and passes over one.
        if !matches!(of, 1..=8 | 10..=18) {
            return Ok(false);
        }
        damaged_unless(kind == Kind::Struct)?;
        thrift.read_struct(|thrift, id, kind| match (of, id) {
            // Digits, and how edges between points are meant.
            (5, 1 | 2) | (18, 2) => damaged_unless(kind == Kind::Integer),
            // Whether a time is in UTC, and whether an integer has a sign.
            (7 | 8, 1) | (10, 2) => damaged_unless(matches!(kind, Kind::True | Kind::False)),
            // The unit of a time, which is one of three structs without fields.
            (7 | 8, 2) => {
                damaged_unless(kind == Kind::Struct)?;
                thrift.read_struct(|_, _, kind| damaged_unless(kind == Kind::Struct))?;
                Ok(true)
            }
            (10 | 16, 1) => damaged_unless(kind == Kind::Byte),
            (17 | 18, 1) => damaged_unless(kind == Kind::Binary),
            _ => Ok(false),
        })?;
        Ok(true)
    })
}

/// A column of a row group: what its pages claim.
struct Claims<'a> {
    column: &'a ColumnChunkMetaData,
    name: String,
    pages: Vec<PageClaim>,
    /// Texts whose lengths nobody has looked at: those of the rows of a window may come to so much more than their mean.
    unseen: u64,
}

/// How many rows of the row group may be unpacked together, at most `rows_most`: so few that all columns of them come to no more than
/// `BATCH_BYTES_MOST`, whatever is in them, or one row that comes to no more than `ROW_BYTES_MOST`.
pub(super) fn rows_at_once(
    file: &Arc<StoredFile>,
    group: &RowGroupMetaData,
    rows_most: u64,
) -> Result<u64, ParquetError> {
    let rows = number(group.num_rows())?;
    let mut claims = Vec::with_capacity(group.num_columns());
    let mut held = 0_u64;
    for column in group.columns() {
        let column = Claims::of(file, column, rows)?;
        held = held.saturating_add(column.held());
        // Before the next column is looked at: each look costs something too.
        if held > PAGES_BYTES_MOST {
            let most = PAGES_BYTES_MOST >> 20;
            return Err(general(format!(
                "the largest pages of its columns, which are in memory together, come to more than {most} MiB; write smaller pages"
            )));
        }
        claims.push(column);
    }
    let unseen = |claims: &[Claims]| claims.iter().fold(0_u64, |total, column| total.saturating_add(column.unseen));
    if unseen(&claims) > TEXTS_UNSEEN_BYTES_MOST {
        for column in claims.iter_mut().filter(|column| column.unseen > 0) {
            column.weigh(file, rows, true)?;
        }
    }
    let unseen = unseen(&claims);
    let (lists, plain): (Vec<_>, Vec<_>) = claims.iter().partition(|column| column.is_list());
    let a_row = plain.iter().fold(0_u64, |total, column| total.saturating_add(column.each()));
    let in_lists = lists.iter().fold(0_u64, |total, column| total.saturating_add(column.total()));
    let (at_once, one_row) = if in_lists <= LISTS_UNSEEN_BYTES_MOST {
        let left = BATCH_BYTES_MOST.saturating_sub(in_lists.saturating_add(unseen));
        (left / a_row.max(1), a_row.saturating_add(in_lists).saturating_add(unseen))
    } else {
        let mut windows: Vec<u64> = (0..SIZES).map(|k| a_row.saturating_mul(1 << k).saturating_add(unseen)).collect();
        for column in &lists {
            for (window, more) in windows.iter_mut().zip(column.windows(file, rows)?) {
                *window = window.saturating_add(more);
            }
        }
        let fits = |k: &usize| windows[*k] <= BATCH_BYTES_MOST && 1 << k <= rows_most;
        ((0..SIZES).rev().find(fits).map_or(1, |k| 1 << k), windows[0])
    };
    if one_row > ROW_BYTES_MOST {
        let most = ROW_BYTES_MOST >> 20;
        let widest = claims.iter().max_by_key(|column| if column.is_list() { column.total() } else { column.each() });
        let name = widest.map_or("", |column| column.name.as_str());
        return Err(general(format!(
            "one row may take {one_row} bytes, most of it in column {name}: at most {most} MiB"
        )));
    }
    Ok(at_once.clamp(1, rows_most.max(1)))
}

impl<'a> Claims<'a> {
    fn of(file: &Arc<StoredFile>, column: &'a ColumnChunkMetaData, rows: u64) -> Result<Self, ParquetError> {
        let name = column.column_path().string();
        let values = number(column.num_values())?;
        if column.column_descr().max_rep_level() == 0 && values != rows {
            return Err(general(format!("column {name}: {values} values of {rows} rows")));
        }
        let pages = pages(file, column, &name)?;
        // Of a list nothing tells which values are in which row.
        let data = pages.iter().filter(|page| page.is_data());
        let claimed = data.fold(0_u64, |total, page| total.saturating_add(page.values));
        if claimed != values {
            return Err(general(format!("column {name}: its pages have {claimed} values, its metadata {values}")));
        }
        let mut claims = Self { column, name, pages, unseen: 0 };
        claims.weigh(file, rows, false)?;
        Ok(claims)
    }

    fn is_list(&self) -> bool {
        self.column.column_descr().max_rep_level() > 0
    }

    fn data(&self) -> impl Iterator<Item = &PageClaim> {
        self.pages.iter().filter(|page| page.is_data())
    }

    /// How much a value of each page takes; with `look_inside` also of texts that stand as they are.
    fn weigh(&mut self, file: &Arc<StoredFile>, rows: u64, look_inside: bool) -> Result<(), ParquetError> {
        let descr = self.column.column_descr();
        let fixed = match descr.physical_type() {
            Type::BYTE_ARRAY => None,
            Type::FIXED_LEN_BYTE_ARRAY => Some(number(descr.type_length().into())?.max(NUMBER_BYTES)),
            Type::BOOLEAN | Type::INT32 | Type::INT64 | Type::INT96 | Type::FLOAT | Type::DOUBLE => Some(NUMBER_BYTES),
        };
        let longest = match fixed {
            Some(_) => 0,
            None if self.pages.iter().any(|page| page.kind == PageKind::Dictionary) => {
                longest_in_dictionary(file, self.column, rows, &self.name)?
            }
            None => 0,
        };
        let fault = || general(format!("column {}: pages that are not those of its headers", self.name));
        let is_delta = |page: &&PageClaim| matches!(page.encoding, DELTA_LENGTH_BYTE_ARRAY | DELTA_BYTE_ARRAY);
        let looks_inside = look_inside || self.data().any(|page| is_delta(&page));
        let walked = if looks_inside { self.longest_by_page(file, rows)? } else { Vec::new() };
        let mut unseen = 0;
        for (index, page) in self.pages.iter_mut().filter(|page| page.is_data()).enumerate() {
            let of_text = match page.encoding {
                PLAIN_DICTIONARY | RLE_DICTIONARY => longest,
                _ if looks_inside => *walked.get(index).ok_or_else(fault)?,
                _ => {
                    unseen = unseen.max(page.bytes);
                    page.bytes.div_ceil(page.values.max(1))
                }
            };
            page.each = fixed.unwrap_or(of_text.max(NUMBER_BYTES));
        }
        // A window's rows lie in whole pages, whose texts come to what their mean says, and in parts of the first and the last.
        self.unseen = if fixed.is_some() { 0 } else { unseen.saturating_mul(2) };
        Ok(())
    }

    /// A value, where each row has one.
    fn each(&self) -> u64 {
        self.data().map(|page| page.each).max().unwrap_or(0)
    }

    /// All values of the row group.
    fn total(&self) -> u64 {
        self.data().fold(0, |total, page| total.saturating_add(page.each.saturating_mul(page.values)))
    }

    /// What is in memory while rows are unpacked: a page and the dictionary.
    fn held(&self) -> u64 {
        let of = |is_data: bool| {
            let pages = self.pages.iter().filter(move |page| page.is_data() == is_data);
            pages.map(|page| page.bytes).max().unwrap_or(0)
        };
        of(true).saturating_add(of(false))
    }

    /// The longest text of each page that has no dictionary; counts of differences take memory themselves.
    fn longest_by_page(&self, file: &Arc<StoredFile>, rows: u64) -> Result<Vec<u64>, ParquetError> {
        let fault = || general(format!("column {}: a page whose lengths are damaged", self.name));
        let mut longest = Vec::new();
        self.unpacked(file, rows, |page| {
            let count = page.num_values().into();
            let values = match (sections(page, self.column), page.encoding()) {
                (Some((_, values)), _) => values,
                // Behind levels of the older way of packing: no text is longer than its page.
                (None, Encoding::PLAIN) => {
                    longest.push(page.buffer().len() as u64);
                    return Ok(());
                }
                (None, _) => return Err(fault()),
            };
            longest.push(match page.encoding() {
                // No value at all: not even a head.
                _ if values.is_empty() => 0,
                Encoding::DELTA_LENGTH_BYTE_ARRAY => longest_by_delta(values, false, count).ok_or_else(fault)?,
                Encoding::DELTA_BYTE_ARRAY => longest_by_delta(values, true, count).ok_or_else(fault)?,
                Encoding::PLAIN => longest_by_length(values),
                _ => 0,
            });
            Ok(())
        })?;
        Ok(longest)
    }

    /// What 1, 2, 4, … rows come to in a column of lists.
    fn windows(&self, file: &Arc<StoredFile>, rows: u64) -> Result<Vec<u64>, ParquetError> {
        let fault = || general(format!("column {}: the lists of a page are damaged", self.name));
        let mut windows = Windows::default();
        let mut claims = self.data();
        self.unpacked(file, rows, |page| {
            let claim = claims.next().ok_or_else(fault)?;
            let levels = sections(page, self.column).ok_or_else(fault)?.0;
            let most = self.column.column_descr().max_rep_level();
            windows.page(levels, most, page.num_values().into(), claim.each).ok_or_else(fault)
        })?;
        let (found, most) = windows.end();
        if found != rows {
            return Err(general(format!("column {}: lists of {found} rows, of {rows}", self.name)));
        }
        Ok(most)
    }

    /// Unpacks one data page after the other; they are small enough: that is known.
    fn unpacked(
        &self,
        file: &Arc<StoredFile>,
        rows: u64,
        mut each: impl FnMut(&Page) -> Result<(), ParquetError>,
    ) -> Result<(), ParquetError> {
        let rows = usize::try_from(rows).map_err(|_| general(format!("{rows} rows")))?;
        let mut reader = SerializedPageReader::new(Arc::clone(file), self.column, rows, None)?;
        while let Some(page) = reader.get_next_page()? {
            match page {
                Page::DictionaryPage { .. } => {}
                Page::DataPage { .. } | Page::DataPageV2 { .. } => each(&page)?,
            }
        }
        Ok(())
    }
}

/// Of a data page: the repetition levels, and the values. `None`: it is cut short.
fn sections<'a>(page: &'a Page, column: &ColumnChunkMetaData) -> Option<(&'a [u8], &'a [u8])> {
    let descr = column.column_descr();
    match page {
        Page::DataPage { buf, rep_level_encoding, def_level_encoding, .. } => {
            let mut rest = &buf[..];
            let mut levels = |most: i16, encoding: Encoding| {
                if most == 0 {
                    return Some(&[][..]);
                }
                // The older way of packing, of old writers, is not followed.
                let (length, after) = rest.split_first_chunk::<4>().filter(|_| encoding == Encoding::RLE)?;
                let (levels, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
                rest = after;
                Some(levels)
            };
            let repetition = levels(descr.max_rep_level(), *rep_level_encoding)?;
            levels(descr.max_def_level(), *def_level_encoding)?;
            Some((repetition, rest))
        }
        Page::DataPageV2 { buf, rep_levels_byte_len, def_levels_byte_len, .. } => {
            let (repetition, rest) = buf.split_at_checked(usize::try_from(*rep_levels_byte_len).ok()?)?;
            let (_, values) = rest.split_at_checked(usize::try_from(*def_levels_byte_len).ok()?)?;
            Some((repetition, values))
        }
        Page::DictionaryPage { .. } => None,
    }
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
        // A value of a dictionary takes a byte at least, and its count takes memory.
        if page.kind == PageKind::Dictionary && page.values > page.bytes {
            let PageClaim { values, bytes, .. } = page;
            return Err(general(format!("column {name}: a dictionary of {values} values in {bytes} bytes")));
        }
        if page.values > PAGE_VALUES_MOST {
            let values = page.values;
            return Err(general(format!("column {name}: a page of {values} values: at most {PAGE_VALUES_MOST}")));
        }
        if page.is_packed {
            let start = at.saturating_add(header).saturating_add(page.levels_bytes);
            let packed = file.get_read(start)?.take(packed.saturating_sub(page.levels_bytes));
            if !unpacks_within(column.compression(), packed, page.bytes) {
                return Err(general(format!(
                    "column {name}: a page that unpacks to more than the {} bytes that it claims",
                    page.bytes
                )));
            }
        }
        pages.push(page);
        at = at + header + packed;
    }
    Ok(pages)
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
    Ok(longest_by_length(&buf))
}
