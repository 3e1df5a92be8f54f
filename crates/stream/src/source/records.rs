//! The rows of any format as records: key, value, and what they are ordered by.

use std::fmt::Write as _;

use csv::ByteRecord;

use super::csv_rows::CsvRows;
use super::jsonl::{JsonLines, members};
use super::order::{write_order, write_order_of_field, write_order_of_stub};
use super::parquet_rows::ParquetRows;
use super::{Row, SourceError};
use crate::record::{Cell, Encoding, Member, Payload, RowEncoder, STUB_BYTES, key_prefix, stub, too_large};
use crate::schema::Dialect;

#[expect(clippy::large_enum_variant, reason = "a reader has one")]
pub(super) enum Records {
    Csv(CsvRecords),
    Jsonl(JsonRecords),
    Parquet(ParquetRecords),
}

/// Is there a column of this name?
pub(super) fn has_column<'a, I: Iterator<Item = &'a str>>(
    place: &str,
    key: &'static str,
    name: Option<&str>,
    columns: impl Fn() -> I,
) -> Result<Option<usize>, SourceError> {
    let Some(name) = name else { return Ok(None) };
    match columns().position(|column| column == name) {
        Some(index) => Ok(Some(index)),
        None => Err(SourceError::NoColumn {
            place: place.to_owned(),
            key,
            name: name.to_owned(),
            columns: columns().map(str::to_owned).collect(),
        }),
    }
}

impl Records {
    pub fn csv(
        place: &str,
        rows: CsvRows,
        encoding: Encoding,
        dialect: Dialect,
        key: Option<&str>,
        order: Option<&str>,
    ) -> Result<Self, SourceError> {
        let columns = || rows.columns().iter().map(String::as_str);
        let key = has_column(place, "source.key", key, columns)?;
        let order = has_column(place, "source.order_by", order, columns)?;
        let encoder = RowEncoder::of_encoding(rows.columns(), encoding);
        let record = ByteRecord::new();
        Ok(Self::Csv(CsvRecords { rows, encoder, record, dialect, key, order }))
    }

    /// `columns`: the fields of a csv value, in their order.
    pub fn jsonl(
        lines: JsonLines,
        encoding: Encoding,
        flatten: bool,
        columns: &[String],
        key: Option<&str>,
        order: Option<&str>,
    ) -> Self {
        let names = JsonNames {
            encoding,
            flatten,
            columns: columns.to_vec(),
            key: key.map(str::to_owned),
            order: order.map(str::to_owned),
        };
        Self::Jsonl(JsonRecords { lines, names })
    }

    pub fn parquet(
        place: &str,
        rows: ParquetRows,
        encoding: Encoding,
        key: Option<&str>,
        order: Option<&str>,
    ) -> Result<Self, SourceError> {
        let columns = || rows.columns().iter().map(String::as_str);
        let key = has_column(place, "source.key", key, columns)?;
        has_column(place, "source.order_by", order, columns)?;
        let prefixes = rows.columns().iter().enumerate().map(|(i, name)| key_prefix(i, name)).collect();
        Ok(Self::Parquet(ParquetRecords { rows, encoding, prefixes, key }))
    }

    /// By the file's header or schema, where it has one.
    pub fn columns(&self) -> Option<&[String]> {
        match self {
            Self::Csv(records) => Some(records.rows.columns()),
            Self::Jsonl(_) => None,
            Self::Parquet(records) => Some(records.rows.columns()),
        }
    }

    /// Reads the next row; false at the end.
    pub fn next(&mut self, row: &mut Row) -> Result<bool, SourceError> {
        self.read(row, None)
    }

    /// As `next`, and writes what the row is ordered by.
    pub fn next_with_order(&mut self, row: &mut Row, order: &mut Vec<u8>) -> Result<bool, SourceError> {
        let more = self.read(row, Some(order))?;
        if more && row.stub.is_some() {
            write_order_of_stub(order);
        }
        Ok(more)
    }

    fn read(&mut self, row: &mut Row, order: Option<&mut Vec<u8>>) -> Result<bool, SourceError> {
        row.key = None;
        match self {
            Self::Csv(records) => records.read(row, order),
            Self::Jsonl(records) => records.read(row, order),
            Self::Parquet(records) => records.read(row, order),
        }
    }
}

pub(super) struct CsvRecords {
    rows: CsvRows,
    encoder: RowEncoder,
    record: ByteRecord,
    dialect: Dialect,
    key: Option<usize>,
    order: Option<usize>,
}

impl CsvRecords {
    fn read(&mut self, row: &mut Row, order: Option<&mut Vec<u8>>) -> Result<bool, SourceError> {
        if !self.rows.next(&mut self.record)? {
            return Ok(false);
        }
        row.stub = match self.encoder.encode(&self.record, &mut row.value) {
            Payload::Row => None,
            Payload::Stub { reason } => Some(reason),
        };
        let lines = self.rows.lines();
        if row.stub.is_none() && lines.is_unclosed {
            stub(&self.record, &mut row.value, String::new());
            row.stub = Some("a quote is never closed".to_owned());
        }
        if let Some(reason) = &mut row.stub {
            if lines.count > 1 {
                let _ = write!(
                    reason,
                    "; it begins in line {} and goes on for {} lines: if that is no text of several lines, a quote is not closed (quote = \"\" takes quotes for text)",
                    lines.first, lines.count
                );
            }
            return Ok(true);
        }
        if let Some(field) = self.key.and_then(|index| self.record.get(index)).filter(|field| !field.is_empty()) {
            if let Some(reason) = too_large(&row.value, Some(field)) {
                stub(&self.record, &mut row.value, String::new());
                row.stub = Some(reason);
                return Ok(true);
            }
            row.key = Some(field.to_vec());
        }
        if let (Some(order), Some(index)) = (order, self.order) {
            // The encoder took every field for UTF-8.
            let field = self.record.get(index).and_then(|field| std::str::from_utf8(field).ok());
            write_order_of_field(field.unwrap_or_default(), self.dialect, order);
        }
        Ok(true)
    }
}

pub(super) struct JsonRecords {
    lines: JsonLines,
    names: JsonNames,
}

struct JsonNames {
    encoding: Encoding,
    flatten: bool,
    columns: Vec<String>,
    key: Option<String>,
    order: Option<String>,
}

impl JsonRecords {
    fn read(&mut self, row: &mut Row, order: Option<&mut Vec<u8>>) -> Result<bool, SourceError> {
        let Some(line) = self.lines.next()? else { return Ok(false) };
        row.stub = self.names.encode(line, row, order).err();
        if row.stub.is_some() {
            row.key = None;
            row.value.clear();
            row.value.extend_from_slice(&line[..line.len().min(STUB_BYTES)]);
        }
        Ok(true)
    }
}

impl JsonNames {
    /// Fills the row; why it is none becomes its stub.
    fn encode(&self, line: &[u8], row: &mut Row, order: Option<&mut Vec<u8>>) -> Result<(), String> {
        let members = members(line, self.flatten)?;
        row.value.clear();
        match self.encoding {
            Encoding::Json => row.value.extend_from_slice(line),
            Encoding::Csv => self.write_csv(&members, &mut row.value)?,
        }
        let named = |name: &Option<String>| {
            let name = name.as_ref()?;
            members.iter().find(|member| member.name == *name)
        };
        let mut held = String::new();
        if let Some(member) = named(&self.key) {
            let text = member.cell(&mut held)?.text().filter(|text| !text.is_empty());
            row.key = text.map(|text| text.as_bytes().to_vec());
        }
        if let Some(order) = order {
            match named(&self.order) {
                Some(member) => write_order(member.cell(&mut held)?, order),
                None => write_order(Cell::Null, order),
            }
        }
        too_large(&row.value, row.key.as_deref()).map_or(Ok(()), Err)
    }

    fn write_csv(&self, members: &[Member], out: &mut Vec<u8>) -> Result<(), String> {
        let mut found = 0;
        let mut held = String::new();
        for (i, column) in self.columns.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            // Most often the members stand in the order of the columns.
            let in_place = members.get(i).filter(|member| member.name == *column);
            if let Some(member) = in_place.or_else(|| members.iter().find(|member| member.name == *column)) {
                found += 1;
                member.cell(&mut held)?.write_csv(out);
            }
        }
        // A csv value has no place for it: it must not be lost without a word.
        // An object that is null in one row is taken apart in others.
        let is_nothing = |member: &Member| self.flatten && member.token() == "null";
        let is_lost = |member: &&Member| !is_nothing(member) && !self.columns.iter().any(|c| member.name == *c);
        match members.iter().find(|member| found < members.len() && is_lost(member)) {
            Some(member) => Err(format!("the key {:?} is none of the columns found at first", member.name)),
            None => Ok(()),
        }
    }
}

pub(super) struct ParquetRecords {
    rows: ParquetRows,
    encoding: Encoding,
    /// `{"a":`, `,"b":`, …
    prefixes: Vec<Vec<u8>>,
    key: Option<usize>,
}

impl ParquetRecords {
    fn read(&mut self, row: &mut Row, order: Option<&mut Vec<u8>>) -> Result<bool, SourceError> {
        if !self.rows.advance()? {
            return Ok(false);
        }
        row.value.clear();
        for (column, prefix) in self.prefixes.iter().enumerate() {
            let cell = self.rows.cell(column);
            match self.encoding {
                Encoding::Json => {
                    row.value.extend_from_slice(prefix);
                    cell.write_json(&mut row.value);
                }
                Encoding::Csv => {
                    if column > 0 {
                        row.value.push(b',');
                    }
                    cell.write_csv(&mut row.value);
                }
            }
        }
        if self.encoding == Encoding::Json {
            row.value.push(b'}');
        }
        let key = self.key.and_then(|column| self.rows.cell(column).text()).filter(|text| !text.is_empty());
        row.stub = too_large(&row.value, key.map(str::as_bytes));
        if row.stub.is_some() {
            row.value.truncate(STUB_BYTES);
            return Ok(true);
        }
        row.key = key.map(|text| text.as_bytes().to_vec());
        if let Some(order) = order {
            write_order(self.rows.order_cell(), order);
        }
        Ok(true)
    }
}
