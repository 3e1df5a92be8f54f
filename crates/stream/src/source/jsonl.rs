//! Rows of a jsonl source: one JSON object a line, kept as it is written. Knows lines, members and byte-order marks; knows
//! nothing of types.

use std::io::{self, BufRead, BufReader};

use super::SourceError;
use super::input::{Input, READ_BUFFER_BYTES, RowGuard, SharedDigest};
use super::limits::NESTING_MOST;
use super::profile::Fingerprint;
use crate::record::{MAX_RECORD_BYTES, Member, doubled, flattened, mended, object_members};
use crate::schema::Dialect;

/// No longer line can be a record: only its length is of interest. One byte more tells that it is longer.
const LINE_KEPT_BYTES: usize = MAX_RECORD_BYTES + 1;

pub(super) struct JsonLines {
    place: String,
    reader: BufReader<RowGuard>,
    digest: Option<SharedDigest>,
    /// The objects are elements of one list, over as many lines as it takes.
    is_list: bool,
    line: Vec<u8>,
    rows_read: u64,
    /// Rows are read as they are written, whatever JSON says: of stores of the first dialect.
    verbatim: bool,
    /// Rows that were mended.
    pub rows_mended: u64,
}

impl JsonLines {
    pub fn open(place: &str, input: Input, dialect: Dialect) -> Result<Self, SourceError> {
        let place = place.to_owned();
        let failed = |source| SourceError::Read { place: place.clone(), row: 1, source };
        let mut reader = BufReader::with_capacity(READ_BUFFER_BYTES, input.bytes);
        match reader.fill_buf().map_err(failed)? {
            [] => return Err(SourceError::Empty { place }),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, ..] | [_, 0, ..] => return Err(SourceError::Utf16 { place }),
            first if first.starts_with(b"\xef\xbb\xbf") => reader.consume(3),
            _ => {}
        }
        let mut lines = Self {
            place,
            reader,
            digest: input.digest,
            is_list: false,
            line: Vec::new(),
            rows_read: 0,
            verbatim: dialect == Dialect::First,
            rows_mended: 0,
        };
        if dialect >= Dialect::Second {
            lines.begin_list().map_err(|source| lines.failed(source))?;
        }
        Ok(lines)
    }

    /// A source that begins with `[` and an object, or with `[]`, is a list of objects.
    fn begin_list(&mut self) -> io::Result<()> {
        if self.peek()? != Some(b'[') {
            return Ok(());
        }
        self.reader.consume(1);
        self.is_list = matches!(self.peek()?, Some(b'{' | b']'));
        if !self.is_list {
            // It belongs to the first line.
            self.line.push(b'[');
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> SourceError {
        SourceError::Read { place: self.place.clone(), row: self.rows_read + 1, source }
    }

    /// The next line that is not blank, without the space around it, or the next element of the list; of one too long for a record,
    /// only its beginning.
    pub fn next(&mut self) -> Result<Option<&[u8]>, SourceError> {
        if self.is_list {
            return match self.read_element() {
                Ok(true) => {
                    self.rows_read += 1;
                    self.mend();
                    Ok(Some(&self.line))
                }
                Ok(false) => Ok(None),
                Err(source) => Err(self.failed(source)),
            };
        }
        // What stands in it before the first row is the beginning of that row.
        if self.rows_read > 0 {
            self.line.clear();
        }
        loop {
            self.reader.get_mut().bytes_of_row = 0;
            let more = match self.read_line() {
                Ok(more) => more,
                Err(source) => return Err(self.failed(source)),
            };
            if !self.line.trim_ascii().is_empty() {
                self.rows_read += 1;
                self.mend();
                return Ok(Some(self.line.trim_ascii()));
            }
            if !more {
                return Ok(None);
            }
            self.line.clear();
        }
    }

    /// What is too long for a record is none.
    fn mend(&mut self) {
        if !self.verbatim
            && self.line.len() < LINE_KEPT_BYTES
            && let Some(line) = mended(&self.line)
        {
            (self.line, self.rows_mended) = (line, self.rows_mended + 1);
        }
    }

    /// Reads up to a line end; false at the end of the source.
    fn read_line(&mut self) -> io::Result<bool> {
        loop {
            let buffer = filled(&mut self.reader)?;
            if buffer.is_empty() {
                return Ok(false);
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let length = end.unwrap_or(buffer.len());
            keep(&mut self.line, &buffer[..length]);
            self.reader.consume(end.map_or(length, |end| end + 1));
            if end.is_some() {
                return Ok(true);
            }
            // The rest of an endless line is passed over in flat memory.
            self.reader.get_mut().bytes_of_row = 0;
        }
    }

    /// Reads an element of the list up to the comma or bracket after it; false after its end.
    fn read_element(&mut self) -> io::Result<bool> {
        self.line.clear();
        match self.peek()? {
            Some(b']') => return self.end_list(),
            Some(b',') if self.rows_read > 0 => self.reader.consume(1),
            _ => {}
        }
        let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
        loop {
            self.reader.get_mut().bytes_of_row = 0;
            let buffer = filled(&mut self.reader)?;
            if buffer.is_empty() {
                let message = "the list of objects is cut short: it has no ] at its end";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
            }
            let mut end = None;
            for (i, byte) in buffer.iter().enumerate() {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = in_text,
                    b'"' => in_text = !in_text,
                    _ if in_text => {}
                    b'[' | b'{' => depth += 1,
                    b',' | b']' if depth == 0 => {
                        end = Some(i);
                        break;
                    }
                    // One more than were opened: the element is no JSON, and is told so.
                    b']' | b'}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            let length = end.unwrap_or(buffer.len());
            keep(&mut self.line, &buffer[..length]);
            self.reader.consume(length);
            if end.is_some() {
                let blanks = self.line.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
                self.line.truncate(self.line.len() - blanks);
                let blanks = self.line.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                self.line.drain(..blanks);
                return Ok(true);
            }
        }
    }

    fn end_list(&mut self) -> io::Result<bool> {
        self.reader.consume(1);
        if self.peek()?.is_some() {
            let message =
                "there is more after the end of the list of objects: it is one list, or objects in lines of their own";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        // Whoever asks again is told the same.
        self.is_list = false;
        Ok(false)
    }

    /// The next byte that is no blank; `None` at the end of the source.
    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            self.reader.get_mut().bytes_of_row = 0;
            let buffer = filled(&mut self.reader)?;
            let blanks = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let (found, is_end) = (buffer.get(blanks).copied(), buffer.is_empty());
            self.reader.consume(blanks);
            if found.is_some() || is_end {
                return Ok(found);
            }
        }
    }

    pub fn rows_read(&self) -> u64 {
        self.rows_read
    }

    /// Of what is stored, where it was asked for. Whole once `next` has answered `None`.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.digest.as_ref().map(SharedDigest::finish)
    }
}

fn filled(reader: &mut BufReader<RowGuard>) -> io::Result<&[u8]> {
    while let Err(error) = reader.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    reader.fill_buf()
}

/// Of a line, no more than tells that it is too long.
fn keep(line: &mut Vec<u8>, more: &[u8]) {
    let kept = more.len().min(LINE_KEPT_BYTES.saturating_sub(line.len()));
    line.extend_from_slice(&more[..kept]);
}

/// The members of a JSON object in their order, those of objects within it by their paths where it is to be flat; else why the line is
/// no row.
pub(super) fn members(line: &[u8], flatten: bool) -> Result<Vec<Member<'_>>, String> {
    if line.len() > MAX_RECORD_BYTES {
        return Err(format!("more than the {MAX_RECORD_BYTES} bytes that fit into a record"));
    }
    let text = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
    match text.bytes().next() {
        Some(b'{') => {}
        Some(b'[') => return Err("a JSON list; expected an object".to_owned()),
        _ => return Err("not a JSON object".to_owned()),
    }
    let found = object_members(text).map_err(|error| format!("not a JSON object: {error}"))?;
    if let Some(member) = found.iter().find(|member| nesting(member.token()) > NESTING_MOST) {
        return Err(format!("the key {:?} is nested deeper than {NESTING_MOST}", member.name));
    }
    if flatten {
        return flattened(found);
    }
    match doubled(&found) {
        Some(name) => Err(format!("the key {name:?} stands twice in the object")),
        None => Ok(found),
    }
}

/// How deep lists and objects lie in each other in a value that is known to be JSON.
fn nesting(token: &str) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    if !token.starts_with(['[', '{']) {
        return 0;
    }
    for byte in token.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            // It is balanced: it is JSON.
            b']' | b'}' if !in_text => depth -= 1,
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_their_text() {
        let found = members(br#"{"b": 1.50,"a\n":"x\u00e9","c":[1, {"d":2}],"e":null}"#, false).unwrap();
        let found: Vec<(&str, &str)> = found.iter().map(|member| (member.name.as_ref(), member.token())).collect();
        assert_eq!(found, [("b", "1.50"), ("a\n", r#""x\u00e9""#), ("c", r#"[1, {"d":2}]"#), ("e", "null")]);
    }

    #[test]
    fn a_line_that_is_no_row_says_why() {
        let check = |line: &[u8], expected: &str| {
            let reason = members(line, false).err().unwrap_or_default();
            assert!(reason.contains(expected), "{reason}");
        };
        check(b"[1,2]", "a JSON list; expected an object");
        check(b"7", "not a JSON object");
        check(br#"{"a":1"#, "not a JSON object: EOF");
        check(br#"{"a":1} x"#, "trailing characters");
        check(br#"{"a":1,"a":2}"#, "the key \"a\" stands twice");
        check(br#"{"a":1,"\u0061":2}"#, "the key \"a\" stands twice");
        check(b"{\"a\":\"\xff\"}", "not UTF-8");
        let many = (0..40).map(|i| format!("\"k{}\":1", i % 39)).collect::<Vec<_>>().join(",");
        check(format!("{{{many}}}").as_bytes(), "the key \"k0\" stands twice");
        check(&vec![b' '; MAX_RECORD_BYTES + 1], "fit into a record");
        let nested = |depth: usize| format!("{{\"a\":{}\"[]\\\"[\"{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(members(nested(32).as_bytes(), false).is_ok());
        check(nested(33).as_bytes(), "the key \"a\" is nested deeper than 32");
        check(nested(200_000).as_bytes(), "nested deeper");
    }
}
