//! One csv record as its fields (RFC 4180): an unquoted empty field is null, a quoted one the empty text.

/// Where a field ends in the text of all of them, and whether it is null.
#[derive(Debug, Clone, Copy)]
struct End {
    end: usize,
    is_null: bool,
}

/// The fields of one record; kept from record to record, so that its memory is used again.
#[derive(Debug, Default)]
pub struct CsvFields {
    text: Vec<u8>,
    ends: Vec<End>,
}

impl CsvFields {
    /// Takes a record apart; what was held before is gone. The line end is no part of it.
    pub fn split(&mut self, record: &[u8]) -> Result<(), &'static str> {
        self.text.clear();
        self.ends.clear();
        let mut rest = record;
        loop {
            let after = match rest.strip_prefix(b"\"") {
                Some(inside) => self.quoted(inside)?,
                None => {
                    let end = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
                    self.text.extend_from_slice(&rest[..end]);
                    self.ends.push(End { end: self.text.len(), is_null: end == 0 });
                    &rest[end..]
                }
            };
            match after.split_first() {
                None => return Ok(()),
                Some((b',', next)) => rest = next,
                Some(_) => return Err("there is text between a closing quote and the next comma"),
            }
        }
    }

    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// `None`: null, or there is no such field.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = self.ends.get(index).filter(|end| !end.is_null)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before].end);
        Some(&self.text[start..end.end])
    }

    /// Reads a field after its opening quote; answers what follows the closing one.
    fn quoted<'a>(&mut self, mut inside: &'a [u8]) -> Result<&'a [u8], &'static str> {
        loop {
            let quote = inside.iter().position(|byte| *byte == b'"').ok_or("a quote is never closed")?;
            self.text.extend_from_slice(&inside[..quote]);
            inside = &inside[quote + 1..];
            match inside.strip_prefix(b"\"") {
                Some(rest) => {
                    self.text.push(b'"');
                    inside = rest;
                }
                None => {
                    self.ends.push(End { end: self.text.len(), is_null: false });
                    return Ok(inside);
                }
            }
        }
    }
}

/// Writes a text as a field, quoted where it must be; the empty text is quoted, since nothing at all is null.
pub fn write_csv_text(text: &str, out: &mut Vec<u8>) {
    let plain = !text.is_empty() && !text.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'));
    if plain {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for (i, piece) in text.split('"').enumerate() {
        if i > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(piece.as_bytes());
    }
    out.push(b'"');
}

/// A record without its line end, if it has one.
pub fn without_line_end(record: &[u8]) -> &[u8] {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(record: &str) -> Result<Vec<Option<String>>, &'static str> {
        let mut fields = CsvFields::default();
        fields.split(b"left over,from before")?;
        fields.split(record.as_bytes())?;
        Ok((0..fields.count())
            .map(|i| fields.get(i).map(|field| String::from_utf8_lossy(field).into_owned()))
            .collect())
    }

    fn check(record: &str, expected: &[Option<&str>]) {
        let expected: Vec<Option<String>> = expected.iter().map(|field| field.map(str::to_owned)).collect();
        assert_eq!(split(record), Ok(expected), "{record}");
    }

    #[test]
    fn nothing_is_null_and_quoted_nothing_is_the_empty_text() {
        check("a,b", &[Some("a"), Some("b")]);
        check("", &[None]);
        check(",\"\",", &[None, Some(""), None]);
        check("\"a,\"\"b\"\"\r\nc\",5\" disk", &[Some("a,\"b\"\r\nc"), Some("5\" disk")]);
        assert!(split("\"open").is_err());
        assert!(split("\"a\"b,c").is_err());
    }

    proptest! {
        #[test]
        fn every_text_comes_back(texts in proptest::collection::vec(proptest::option::of("(?s)[a\",\r\né ]{0,6}"), 1..5)) {
            let mut record = Vec::new();
            for (i, text) in texts.iter().enumerate() {
                if i > 0 {
                    record.push(b',');
                }
                if let Some(text) = text {
                    write_csv_text(text, &mut record);
                }
            }
            prop_assert_eq!(split(std::str::from_utf8(&record).unwrap()), Ok(texts));
        }
    }
}
