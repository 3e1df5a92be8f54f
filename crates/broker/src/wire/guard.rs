//! Walks a request before the codec does, and refuses what the codec must not see.
//!
//! The codec reserves memory for as many array elements as a peer claims, before it reads the first. A claim of two
//! thousand million would end the process, so every length and count is first held against the bytes that are there.
//! Pure: bytes in, a verdict out; allocates nothing.

use super::schema::{Field, Kind};

/// Array elements in one request: the largest honest one names each partition once or twice.
const ELEMENTS_MAX: usize = 20_000;
/// Tags below this may have a meaning to the codec, which then reads them by another rule than their length. None of
/// them is sent by a client to a broker in the versions served.
const TAGS_KNOWN: u32 = 4;

/// Why a request is not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a length or count goes past the end of the request")]
    PastEnd,
    #[error("a length or count is negative")]
    Negative,
    #[error("more than {ELEMENTS_MAX} array elements")]
    TooManyElements,
    #[error("a tagged field that clients do not send")]
    Tag,
}

struct Walk<'a> {
    rest: &'a [u8],
    flexible: bool,
    version: i16,
    elements: usize,
}

/// What a request is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measure {
    /// Array elements, tagged fields among them.
    pub(crate) elements: usize,
    /// Bytes left over: they are let pass, as Apache Kafka does, because librdkafka 2.0 (kcat 1.7.1) sends one too many
    /// in Metadata version 13.
    pub(crate) left: usize,
}

/// Checks the header behind key, version and correlation id, and the body of a request.
pub(crate) fn check(
    after_correlation: &[u8],
    fields: &[Field],
    version: i16,
    flexible: bool,
) -> Result<Measure, Malformed> {
    let mut walk = Walk { rest: after_correlation, flexible: false, version, elements: 0 };
    // The client id keeps the old string form even in flexible headers (KIP-482).
    walk.text()?;
    walk.flexible = flexible;
    walk.tags()?;
    walk.fields(fields)?;
    Ok(Measure { elements: walk.elements, left: walk.rest.len() })
}

impl Walk<'_> {
    fn skip(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.rest = self.rest.get(bytes..).ok_or(Malformed::PastEnd)?;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed::PastEnd)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// An unsigned varint of at most five bytes, as the codec reads it.
    fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value: u32 = 0;
        for index in 0..5 {
            let [byte] = self.take()?;
            value |= u32::from(byte & 0x7f) << (index * 7);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::PastEnd)
    }

    /// A compact length: 0 is null, n is n − 1.
    fn compact(&mut self) -> Result<usize, Malformed> {
        let length = self.varint()?.saturating_sub(1);
        usize::try_from(length).map_err(|_| Malformed::PastEnd)
    }

    /// A length or count in four bytes; −1 is null.
    fn long(&mut self) -> Result<usize, Malformed> {
        match i32::from_be_bytes(self.take()?) {
            -1 => Ok(0),
            length => usize::try_from(length).map_err(|_| Malformed::Negative),
        }
    }

    fn text(&mut self) -> Result<(), Malformed> {
        let length = if self.flexible {
            self.compact()?
        } else {
            match i16::from_be_bytes(self.take()?) {
                -1 => 0,
                length => usize::try_from(length).map_err(|_| Malformed::Negative)?,
            }
        };
        self.skip(length)
    }

    /// An array's count, held against the rest: an element has at least `element_bytes_min` bytes.
    fn count(&mut self, element_bytes_min: usize) -> Result<usize, Malformed> {
        let count = if self.flexible { self.compact()? } else { self.long()? };
        if count > self.rest.len() / element_bytes_min.max(1) {
            return Err(Malformed::PastEnd);
        }
        self.elements += count;
        if self.elements > ELEMENTS_MAX {
            return Err(Malformed::TooManyElements);
        }
        Ok(count)
    }

    fn tags(&mut self) -> Result<(), Malformed> {
        if !self.flexible {
            return Ok(());
        }
        let count = usize::try_from(self.varint()?).map_err(|_| Malformed::PastEnd)?;
        self.elements = self.elements.saturating_add(count);
        if self.elements > ELEMENTS_MAX {
            return Err(Malformed::TooManyElements);
        }
        for _ in 0..count {
            if self.varint()? < TAGS_KNOWN {
                return Err(Malformed::Tag);
            }
            let bytes = usize::try_from(self.varint()?).map_err(|_| Malformed::PastEnd)?;
            self.skip(bytes)?;
        }
        Ok(())
    }

    /// The fields of one struct, and its tags.
    fn fields(&mut self, fields: &[Field]) -> Result<(), Malformed> {
        for field in fields {
            if (field.from..=field.to).contains(&self.version) {
                self.value(&field.kind)?;
            }
        }
        self.tags()
    }

    fn value(&mut self, kind: &Kind) -> Result<(), Malformed> {
        match kind {
            Kind::Fixed(bytes) => self.skip(*bytes),
            Kind::Text => self.text(),
            Kind::Blob => {
                let length = if self.flexible { self.compact()? } else { self.long()? };
                self.skip(length)
            }
            Kind::Structs(fields) => {
                for _ in 0..self.count(2)? {
                    self.fields(fields)?;
                }
                Ok(())
            }
            Kind::Values(bytes) => {
                let count = self.count(*bytes)?;
                self.skip(count * bytes)
            }
            Kind::Texts => {
                for _ in 0..self.count(1)? {
                    self.text()?;
                }
                Ok(())
            }
        }
    }
}
