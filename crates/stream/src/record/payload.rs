//! A row as the value of a record that says what the file said: a JSON object, or a csv line.
//!
//! Of csv, a field that is a valid JSON number stands verbatim, an empty one is null, every other one is a string: `007` stays
//! `007`. In a csv line, nothing at all is null and `""` the empty text. Types are applied at ingest, not here.

use csv::ByteRecord;

use super::Encoding;
use super::csv_text::write_csv_text;

/// A larger row becomes a stub: Apache Kafka takes 1 MiB with all overhead by default.
pub const MAX_RECORD_BYTES: usize = 1_000_000;

/// What a stub keeps of a row that is too large.
pub const STUB_BYTES: usize = 64 * 1024;

/// The header of a stub record; its value is the reason.
pub const REJECT_HEADER: &str = "millstream-reject";

/// One value of a row, as its format tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    Null,
    Text(&'a str),
    /// As JSON writes it: a number, true or false, a list or an object.
    Raw(&'a str),
}

impl<'a> Cell<'a> {
    /// A csv field; csv knows no types.
    pub fn of_field(field: &'a str) -> Self {
        match field {
            "" => Self::Null,
            field if is_json_number(field.as_bytes()) => Self::Raw(field),
            field => Self::Text(field),
        }
    }

    /// What stands in the file, without JSON's quotes.
    pub fn text(self) -> Option<&'a str> {
        match self {
            Self::Null => None,
            Self::Text(text) | Self::Raw(text) => Some(text),
        }
    }

    pub fn write_json(self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Text(text) => write_string(text, out),
            Self::Raw(text) => out.extend_from_slice(text.as_bytes()),
        }
    }

    pub fn write_csv(self, out: &mut Vec<u8>) {
        if let Some(text) = self.text() {
            write_csv_text(text, out);
        }
    }
}

/// Why the value, with its key, is no record.
pub fn too_large(value: &[u8], key: Option<&[u8]>) -> Option<String> {
    let bytes = value.len() + key.map_or(0, <[u8]>::len);
    (bytes > MAX_RECORD_BYTES).then(|| format!("{bytes} bytes, at most {MAX_RECORD_BYTES} fit into a record"))
}

#[derive(Debug, PartialEq, Eq)]
pub enum Payload {
    Row,
    /// The buffer holds the raw fields, cut to a bearable length.
    Stub {
        reason: String,
    },
}

/// Of the rows of a csv source.
pub struct RowEncoder {
    /// `{"a":`, `,"b":`, …
    prefixes: Vec<Vec<u8>>,
    columns: Vec<String>,
    encoding: Encoding,
}

impl RowEncoder {
    /// Of JSON objects.
    pub fn new(columns: &[String]) -> Self {
        Self::of_encoding(columns, Encoding::Json)
    }

    pub fn of_encoding(columns: &[String], encoding: Encoding) -> Self {
        let prefixes = columns.iter().enumerate().map(|(i, name)| key_prefix(i, name)).collect();
        Self { prefixes, columns: columns.to_vec(), encoding }
    }

    /// Writes the record's value into `out`, which is cleared first.
    pub fn encode(&self, record: &ByteRecord, out: &mut Vec<u8>) -> Payload {
        out.clear();
        if record.len() != self.prefixes.len() {
            return stub(record, out, format!("{} fields, the header has {}", record.len(), self.prefixes.len()));
        }
        match self.encoding {
            Encoding::Json => self.encode_json(record, out),
            Encoding::Csv => self.encode_csv(record, out),
        }
    }

    fn encode_csv(&self, record: &ByteRecord, out: &mut Vec<u8>) -> Payload {
        for (i, field) in record.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            match std::str::from_utf8(field) {
                Ok(text) => Cell::of_field(text).write_csv(out),
                Err(_) => return stub(record, out, format!("column {:?} is not UTF-8", self.columns[i])),
            }
        }
        self.fits(record, out)
    }

    fn encode_json(&self, record: &ByteRecord, out: &mut Vec<u8>) -> Payload {
        for (i, (prefix, field)) in self.prefixes.iter().zip(record).enumerate() {
            out.extend_from_slice(prefix);
            if field.is_empty() {
                out.extend_from_slice(b"null");
            } else if is_json_number(field) {
                out.extend_from_slice(field);
            } else if let Ok(text) = std::str::from_utf8(field) {
                write_string(text, out);
            } else {
                return stub(record, out, format!("column {:?} is not UTF-8", self.columns[i]));
            }
        }
        out.push(b'}');
        self.fits(record, out)
    }

    fn fits(&self, record: &ByteRecord, out: &mut Vec<u8>) -> Payload {
        match too_large(out, None) {
            Some(reason) => stub(record, out, reason),
            None => Payload::Row,
        }
    }
}

/// The bytes that come before a column's value in a record of ours.
pub fn key_prefix(index: usize, name: &str) -> Vec<u8> {
    let mut prefix = vec![if index == 0 { b'{' } else { b',' }];
    write_string(name, &mut prefix);
    prefix.push(b':');
    prefix
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    }
}

/// Keeps the fields of a row that is no record, cut to a bearable length.
pub fn stub(record: &ByteRecord, out: &mut Vec<u8>, reason: String) -> Payload {
    out.clear();
    for (i, field) in record.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(field);
        if out.len() > STUB_BYTES {
            out.truncate(STUB_BYTES);
            break;
        }
    }
    Payload::Stub { reason }
}

/// RFC 8259 §6: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`.
pub fn is_json_number(bytes: &[u8]) -> bool {
    let digits = |rest: &[u8]| rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    let mut rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent);
        let count = digits(exponent);
        return count > 0 && count == exponent.len();
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode_as(encoding: Encoding, columns: &[&str], fields: &[&[u8]]) -> (Payload, String) {
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        let mut out = Vec::new();
        let payload = RowEncoder::of_encoding(&columns, encoding).encode(&ByteRecord::from(fields.to_vec()), &mut out);
        (payload, String::from_utf8_lossy(&out).into_owned())
    }

    fn encode(columns: &[&str], fields: &[&[u8]]) -> (Payload, String) {
        encode_as(Encoding::Json, columns, fields)
    }

    #[test]
    fn a_csv_line_keeps_null_and_text_apart() {
        let (payload, line) = encode_as(Encoding::Csv, &["a", "b", "c", "d"], &[b"007", b"", b"x,\"y\"", b" 1\n"]);
        assert_eq!((payload, line.as_str()), (Payload::Row, "007,,\"x,\"\"y\"\"\",\" 1\n\""));
        let mut out = Vec::new();
        Cell::Text("").write_csv(&mut out);
        assert_eq!(out, b"\"\"");
        assert!(matches!(encode_as(Encoding::Csv, &["a"], &[b"\xff"]).0, Payload::Stub { .. }));
    }

    #[test]
    fn the_topic_carries_what_the_file_said() {
        let (payload, json) = encode(&["id", "x", "t", "e"], &[b"007", b"1.50", b"a \"b\"\n", b""]);
        assert_eq!((payload, json.as_str()), (Payload::Row, r#"{"id":"007","x":1.50,"t":"a \"b\"\n","e":null}"#));
    }

    #[test]
    fn a_row_that_cannot_be_a_record_becomes_a_stub_with_its_reason() {
        let reason = |payload| match payload {
            Payload::Stub { reason } => reason,
            Payload::Row => String::new(),
        };
        assert_eq!(reason(encode(&["a", "b"], &[b"1"]).0), "1 fields, the header has 2");
        assert_eq!(reason(encode(&["a"], &[b"\xff"]).0), "column \"a\" is not UTF-8");
        let large = vec![b'x'; MAX_RECORD_BYTES];
        let (payload, raw) = encode(&["a"], &[&large]);
        assert!(reason(payload).contains("at most"));
        assert_eq!(raw.len(), STUB_BYTES);
    }

    proptest! {
        #[test]
        fn a_number_is_what_serde_json_takes_for_one(text in "-?[0-9]{0,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?[ x]?") {
            let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|value| value.is_number());
            prop_assert_eq!(is_json_number(text.as_bytes()), theirs && text.trim() == text);
        }

        #[test]
        fn every_row_of_text_is_json_again(fields in proptest::collection::vec(".*", 1..5)) {
            let columns: Vec<String> = (0..fields.len()).map(|i| format!("c \"{i}")).collect();
            let mut out = Vec::new();
            let record = ByteRecord::from(fields.clone());
            prop_assert_eq!(RowEncoder::new(&columns).encode(&record, &mut out), Payload::Row);
            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&out).unwrap();
            for (column, field) in columns.iter().zip(&fields) {
                match &object[column] {
                    serde_json::Value::String(text) => prop_assert_eq!(text, field),
                    serde_json::Value::Null => prop_assert_eq!("", field),
                    _ => prop_assert!(is_json_number(field.as_bytes())),
                }
            }
        }
    }
}
