//! The text of a csv source before it is taken apart: lines that come before the header are passed over, and a separator of several
//! bytes is given out as one. Knows no rows.

use std::io::{self, Read};

use memchr::memmem::Finder;

use super::input::RowGuard;

/// Stands for a separator of several bytes: no UTF-8 text has it.
pub(super) const SEPARATOR: u8 = 0xff;
/// Instead of a `SEPARATOR` that the source itself has: no UTF-8 text either, so that its row is still told to be none.
const STRAY: u8 = 0xfe;
/// A longer line is none of those that say something of the file.
const LINE_LOOKED_AT_BYTES: usize = 64 << 10;
const READ_BYTES: usize = 64 << 10;

pub(super) struct CsvBytes {
    guard: RowGuard,
    /// Read and not given out, from `start` on.
    ahead: Vec<u8>,
    start: usize,
    separator: Option<Finder<'static>>,
    ended: bool,
    /// Given out last, line ends apart.
    last: u8,
}

impl CsvBytes {
    pub fn new(guard: RowGuard) -> Self {
        Self { guard, ahead: Vec::new(), start: 0, separator: None, ended: false, last: 0 }
    }

    /// The first line that was not given out yet, or its beginning, with its end.
    pub fn line(&mut self) -> io::Result<&[u8]> {
        loop {
            let ahead = &self.ahead[self.start..];
            let end = memchr::memchr(b'\n', ahead).map(|end| end + 1);
            if end.is_some() || self.ended || ahead.len() >= LINE_LOOKED_AT_BYTES {
                let end = end.unwrap_or(ahead.len());
                return Ok(&self.ahead[self.start..self.start + end]);
            }
            self.fill()?;
        }
    }

    /// Passes over so many bytes of what `line` has shown.
    pub fn pass_over(&mut self, bytes: usize) {
        self.start = self.ahead.len().min(self.start + bytes);
    }

    /// Passes over a line, however long it is; false at the end of the source.
    pub fn pass_over_line(&mut self) -> io::Result<bool> {
        loop {
            let line = self.line()?;
            let (length, ends) = (line.len(), line.ends_with(b"\n"));
            self.pass_over(length);
            self.row_ended();
            if ends || length == 0 {
                return Ok(length > 0);
            }
        }
    }

    /// What fields are to be told apart by: the separator itself, or, of one that is no single byte of ASCII, `SEPARATOR`, as which each
    /// is given out from now on.
    pub fn separate_by(&mut self, separator: &[u8]) -> u8 {
        match separator {
            [byte] if byte.is_ascii() => *byte,
            several => {
                self.separator = Some(Finder::new(several).into_owned());
                SEPARATOR
            }
        }
    }

    pub fn row_ended(&mut self) {
        self.guard.bytes_of_row = 0;
    }

    pub fn is_ended(&self) -> bool {
        self.ended && self.start == self.ahead.len()
    }

    /// The last byte that is no line end.
    pub fn last(&self) -> u8 {
        self.last
    }

    fn fill(&mut self) -> io::Result<()> {
        self.ahead.drain(..self.start);
        self.start = 0;
        let held = self.ahead.len();
        self.ahead.resize(held + READ_BYTES, 0);
        let count = loop {
            match self.guard.read(&mut self.ahead[held..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.ahead.truncate(held + *count.as_ref().unwrap_or(&0));
        self.ended = count? == 0;
        Ok(())
    }

    /// What is ahead, with separators of one byte.
    fn separated(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(separator) = self.separator.clone() else { return Ok(0) };
        let length = separator.needle().len();
        let whole = loop {
            let ahead = &self.ahead[self.start..];
            // The last bytes may be the beginning of one; no others are held back, for nobody knows when more come.
            let begun =
                (1..length.min(ahead.len() + 1)).rev().find(|count| ahead.ends_with(&separator.needle()[..*count]));
            match ahead.len() - begun.unwrap_or(0) {
                _ if self.ended => break ahead.len(),
                0 => self.fill()?,
                whole => break whole,
            }
        };
        let ahead = &self.ahead[self.start..];
        let (mut from, mut written) = (0, 0);
        while from < whole && written < out.len() {
            let found = separator.find(&ahead[from..]).map(|at| from + at);
            let plain = found.unwrap_or(whole).min(whole);
            let count = (plain - from).min(out.len() - written);
            for (out, byte) in out[written..].iter_mut().zip(&ahead[from..from + count]) {
                *out = if *byte == SEPARATOR { STRAY } else { *byte };
            }
            (from, written) = (from + count, written + count);
            if Some(from) == found && from < whole && written < out.len() {
                out[written] = SEPARATOR;
                (from, written) = (from + length, written + 1);
            }
        }
        self.start += from;
        Ok(written)
    }
}

impl Read for CsvBytes {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = if self.separator.is_some() {
            self.separated(out)?
        } else if self.start < self.ahead.len() {
            let ahead = &self.ahead[self.start..];
            let count = ahead.len().min(out.len());
            out[..count].copy_from_slice(&ahead[..count]);
            self.start += count;
            count
        } else {
            let count = self.guard.read(out)?;
            self.ended = count == 0;
            count
        };
        if let Some(last) = out[..count].iter().rev().find(|byte| !matches!(byte, b'\n' | b'\r')) {
            self.last = *last;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::Stopped;
    use super::*;

    /// Gives these bytes, and fails when it is asked for more.
    struct Live(Vec<u8>);

    impl Read for Live {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            assert!(!self.0.is_empty(), "who sends the rows has not sent another one yet");
            let count = self.0.len().min(out.len());
            out[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Ok(count)
        }
    }

    #[test]
    fn a_row_is_not_held_back_until_the_next_one_comes() {
        let mut bytes = CsvBytes::new(RowGuard::new(Box::new(Live(b"1::2\n".to_vec())), &Stopped::default()));
        bytes.separate_by(b"::");
        let mut out = [0; 64];
        let count = bytes.read(&mut out).unwrap();
        assert_eq!(out[..count], *b"1\xff2\n");
    }

    #[test]
    fn a_separator_may_come_in_two_reads() {
        let mut bytes =
            CsvBytes::new(RowGuard::new(Box::new(b"1:".as_slice().chain(b":2:3::".as_slice())), &Stopped::default()));
        bytes.separate_by(b"::");
        let mut out = Vec::new();
        bytes.read_to_end(&mut out).unwrap();
        assert_eq!(out, b"1\xff2:3\xff");
    }
}
